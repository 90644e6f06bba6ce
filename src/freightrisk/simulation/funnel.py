"""From returned lines to parcels and claims, and through requests, decisions and appeals if there is a funnel."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from freightrisk.simulation.catalogue import COVER_DAYS, FREIGHT_SHAPE, LAG_MEAN_DAYS, LAG_SHAPE
from freightrisk.simulation.decisions import decided
from freightrisk.simulation.draws import Draws
from freightrisk.simulation.lines import LINES_AT_MOST, Lines
from freightrisk.simulation.orders import Codes, Floats, chosen, labelled
from freightrisk.simulation.parts import FunnelTruth, LineTruth

KINDS = ("return", "exchange", "refund")
OUTCOMES = ("retained", "refund_only", "returned")
FAULTS = ("not_merchant", "merchant")
NO_YES = ("no", "yes")
# A request comes at this share of the report lag after shipment, and the pickup of its parcel later.
REQUESTED, PICKED_UP = (0.2, 0.7), (0.7, 0.95)


@dataclass(frozen=True, eq=False)
class Orders:
    """What the funnel needs of each order, by row."""

    order_id: Codes
    ship_date: NDArray[np.datetime64]
    mean_freight: Floats
    covered: NDArray[np.bool_]
    detected: Floats


@dataclass(frozen=True, eq=False)
class Parcels:
    """The parcel of each line: the place of the line that opened it, days from shipment to receipt, and freight."""

    opener: Codes
    lag_days: Floats
    freight_fen: Codes


def pack(draws: Draws, lines: Lines, apart: NDArray[np.bool_], orders: Orders, *, merge_share: float) -> Parcels:
    """Return the parcels of returned lines; lines that are `apart` have a parcel of their own."""
    place = lines.place
    first = np.full(len(orders.order_id), -1, dtype=np.int64)
    together = np.flatnonzero(~apart)[::-1]
    first[lines.row[together]] = place[together]  # the last to be written is the first line of the order
    joins = ~apart & (first[lines.row] != place) & draws.happens("merge", place, merge_share)
    opener = np.where(joins, first[lines.row], place)
    lag_days = LAG_MEAN_DAYS * draws.gamma("lag", opener, shape=LAG_SHAPE, upper=COVER_DAYS / LAG_MEAN_DAYS)
    return Parcels(opener, lag_days, _freight_fen(draws, "freight", opener, orders))


def claims_of(draws: Draws, lines: Lines, parcels: Parcels, orders: Orders, *, exchanges: LineTruth) -> pd.DataFrame:
    """Return a claim for each returned line, sorted by report; the claims of a parcel share its freight to the fen."""
    kinds = _kinds(draws, lines, exchanges)
    sent_out = (kinds == KINDS.index("exchange")) & (exchanges.exchange_legs == 2)
    outbound_fen = np.zeros(len(kinds), dtype=np.int64)
    opener = parcels.opener[sent_out]  # new goods for the exchanges of one parcel go out in one parcel
    outbound_fen[sent_out] = _shared(opener, _freight_fen(draws, "outbound", opener, orders))
    report = orders.ship_date[lines.row] + _seconds(parcels.lag_days)
    table = pd.DataFrame(
        {
            "order_id": orders.order_id[lines.row],
            "line_no": (lines.number + 1).astype(np.int8),
            "report_date": report,
            "freight": (_shared(parcels.opener, parcels.freight_fen) + outbound_fen) / 100.0,
            "kind": labelled(kinds, KINDS[:2]),
            "legs": (1 + sent_out).astype(np.int8),
            "outbound_freight": outbound_fen / 100.0,
            "place": lines.place,
        }
    ).sort_values("report_date", kind="stable", ignore_index=True)
    table.insert(0, "claim_id", np.arange(1, len(table) + 1))
    return table


def run_funnel(
    draws: Draws,
    funnel: FunnelTruth,
    lines: Lines,
    came_back: NDArray[np.bool_],
    orders: Orders,
    *,
    extra: Floats,
    exchanges: LineTruth,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return requests, parcels and claims.

    `extra` is the probability that a line of an order that does not come back as a claim has a request even so.
    """
    asked = came_back | draws.happens("request", lines.place, extra[lines.row])
    lines, came_back = lines.some(asked), came_back[asked]
    of_lines = Draws(draws.seed, "lines")  # as in a book without a funnel, so that the claims stay as they are
    outcome, outside = _outcomes(draws, funnel, lines, came_back)
    sent = outcome == OUTCOMES.index("returned")
    parcels = pack(of_lines, lines, outside | ~sent, orders, merge_share=funnel.merge_share)
    kind = np.where(outcome == OUTCOMES.index("refund_only"), 2, _kinds(of_lines, lines, exchanges))
    requests = _request_table(draws, funnel, lines, parcels, orders, kind, outcome)
    table, parcel_of = _parcel_table(draws, funnel, lines, parcels, orders, requests, sent, outside)
    requests["parcel_id"] = parcel_of.loc[requests["place"].to_numpy()].to_numpy()
    claimed = came_back & orders.covered[lines.row]
    claims = claims_of(
        of_lines,
        lines.some(claimed),
        Parcels(parcels.opener[claimed], parcels.lag_days[claimed], parcels.freight_fen[claimed]),
        orders,
        exchanges=exchanges,
    )
    joined = requests.set_index("place").loc[claims["place"].to_numpy()]
    for name in ("request_id", "parcel_id", "cause", "fault"):
        claims[name] = joined[name].array
    pickup = table["official_pickup"].array.take(claims["parcel_id"].to_numpy() - 1)
    claims["official_pickup"] = pickup
    row = claims["place"].to_numpy() // LINES_AT_MOST
    claims = decided(draws, funnel, claims, detected=orders.detected[row])
    return requests.drop(columns="place"), table, claims


def _outcomes(
    draws: Draws, funnel: FunnelTruth, lines: Lines, came_back: NDArray[np.bool_]
) -> tuple[Codes, NDArray[np.bool_]]:
    """Return what became of each request, and which returns the buyer sent outside the cover."""
    sent = 1.0 - funnel.retained_share - funnel.refund_only_share
    shares = [funnel.retained_share, funnel.refund_only_share, sent * funnel.outside_share]
    other = chosen(draws.uniform("outcome", lines.place), shares if sum(shares) > 0.0 else [1.0, 0.0, 0.0])
    outcome = np.where(came_back, OUTCOMES.index("returned"), other)
    return outcome, ~came_back & (outcome == OUTCOMES.index("returned"))


def _request_table(
    draws: Draws,
    funnel: FunnelTruth,
    lines: Lines,
    parcels: Parcels,
    orders: Orders,
    kind: Codes,
    outcome: Codes,
) -> pd.DataFrame:
    """Return the requests, sorted by date; `place` is the place of their lines."""
    place = lines.place
    low, high = REQUESTED
    after = parcels.lag_days * (low + (high - low) * draws.uniform("asked", place))
    cause = chosen(draws.uniform("cause", place), list(funnel.causes.values()))
    at_fault = np.array([funnel.merchant_fault[name] for name in funnel.causes])[cause]
    table = pd.DataFrame(
        {
            "order_id": orders.order_id[lines.row],
            "line_no": (lines.number + 1).astype(np.int8),
            "request_date": orders.ship_date[lines.row] + _seconds(after),
            "kind": labelled(kind, KINDS),
            "cause": labelled(cause, funnel.causes),
            "fault": labelled(draws.happens("fault", place, at_fault).astype(np.int8), FAULTS),
            "outcome": labelled(outcome, OUTCOMES),
            "place": place,
        }
    ).sort_values("request_date", kind="stable", ignore_index=True)
    table.insert(0, "request_id", np.arange(1, len(table) + 1))
    return table


def _parcel_table(
    draws: Draws,
    funnel: FunnelTruth,
    lines: Lines,
    parcels: Parcels,
    orders: Orders,
    requests: pd.DataFrame,
    sent: NDArray[np.bool_],
    outside: NDArray[np.bool_],
) -> tuple[pd.DataFrame, "pd.Series[Any]"]:
    """Return the parcels, sorted by pickup, and the parcel of each line by its place (0 if it was not sent)."""
    opener, first, size = np.unique(parcels.opener[sent], return_index=True, return_counts=True)
    at = np.flatnonzero(sent)[first]
    row, lag = lines.row[at], parcels.lag_days[at]
    low, high = PICKED_UP
    official = draws.happens("official", opener, funnel.official_share) & ~outside[at]
    table = pd.DataFrame(
        {
            "order_id": orders.order_id[row],
            "request_id": requests.set_index("place")["request_id"].loc[opener].to_numpy(),
            "n_lines": size.astype(np.int8),
            "pickup_date": orders.ship_date[row]
            + _seconds(lag * (low + (high - low) * draws.uniform("pickup", opener))),
            "received_date": orders.ship_date[row] + _seconds(lag),
            "official_pickup": labelled(official.astype(np.int8), NO_YES),
            "freight": parcels.freight_fen[at] / 100.0,
        }
    )
    by_pickup = np.argsort(table["pickup_date"].to_numpy(), kind="stable")
    number = np.empty(len(table), dtype=np.int64)
    number[by_pickup] = np.arange(1, len(table) + 1)
    parcel_of = np.zeros(len(lines.row), dtype=np.int64)
    parcel_of[sent] = number[np.searchsorted(opener, parcels.opener[sent])]
    table = table.iloc[by_pickup].reset_index(drop=True)
    table.insert(0, "parcel_id", np.arange(1, len(table) + 1))
    return table, pd.Series(parcel_of, index=lines.place)


def _freight_fen(draws: Draws, name: str, opener: Codes, orders: Orders) -> Codes:
    """Return the freight of parcels, in fen: a gamma around the mean of the order."""
    freight = orders.mean_freight[opener // LINES_AT_MOST] * draws.gamma(name, opener, shape=FREIGHT_SHAPE)
    # No claim of a parcel is free.
    return np.maximum(np.rint(freight * 100.0).astype(np.int64), LINES_AT_MOST)


def _shared(opener: Codes, fen: Codes) -> Codes:
    """Return each line's share of the fen of its parcel: equal shares, and the first lines take what is left."""
    _, place, size = np.unique(opener, return_inverse=True, return_counts=True)
    order = np.argsort(place, kind="stable")
    among = np.empty(len(order), dtype=np.int64)
    among[order] = np.arange(len(order)) - (np.cumsum(size) - size)[place[order]]
    share, rest = np.divmod(fen, size[place])
    return np.asarray(share + (among < rest))


def _kinds(draws: Draws, lines: Lines, exchanges: LineTruth) -> Codes:
    return draws.happens("exchange", lines.place, exchanges.exchange_share).astype(np.int8)


def _seconds(days: Floats) -> NDArray[np.timedelta64]:
    return (days * 86_400).astype("m8[s]")
