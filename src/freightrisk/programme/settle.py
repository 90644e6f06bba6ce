"""settle: claims under the terms of a cover, in a fixed sequence, to the fen of each payer."""

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._columns import JoinedColumns, kind
from freightrisk._intake import DEFAULT_CLOCK
from freightrisk._shown import repr_of
from freightrisk.book.by_level import ByLevel
from freightrisk.book.codings import Coding
from freightrisk.errors import InputError
from freightrisk.programme.claim_batch import UNDER, SettledBatch, settle_batch
from freightrisk.programme.claim_columns import (
    DECISIONS,
    PAID,
    REFUSED,
    REVERSED,
    ClaimColumns,
    ClaimRows,
    column_names,
    needed_for,
    read_claims,
)
from freightrisk.programme.claim_payer import ClaimPayer, check_payers
from freightrisk.programme.claim_terms import FIRST_WEIGHT, FLAT, ClaimOffers, level_fen, offers_of
from freightrisk.programme.claim_totals import REASONS, ClaimTotals
from freightrisk.programme.fen import Whole, fen_of
from freightrisk.programme.settled import ClaimPayments, SettledClaims, claims_frame
from freightrisk.tariff.aggregate_limit import AggregateLimit
from freightrisk.tariff.conditions import COVER, Gate, compile_gates
from freightrisk.tariff.cover import Cover
from freightrisk.tariff.limits import Limit, measures_of
from freightrisk.tariff.record import TariffRecord

Masks = Mapping[str, NDArray[np.uint64]]


def settle(
    terms: Cover | TariffRecord,
    claims: Any,
    *,
    orders: Any = None,
    merchants: Any = None,
    payers: Sequence[ClaimPayer] = (),
    aggregate: AggregateLimit | None = None,
    totals: ClaimTotals | None = None,
    **columns: Unpack[ClaimColumns],
) -> SettledClaims:
    """Return what the cover pays for each claim, who pays it, and what is left with the buyer, in whole fen.

    Parameters
    ----------
    terms : Cover or Tariff
        The cover, or a tariff with it. Limits by level of a factor need the tariff. Days are days of its clock.
    claims : pandas, polars or pyarrow table, or path of a Parquet file
        One row a claim, with order_id, report_date, and freight (yuan, at most two decimals) or freight_fen. These
        columns are read if they are there: claim_id; decision, which is "paid", "refused", "reversed" or missing;
        reversed_date, the time of a reversal; ship_date of the order.
    orders : like claims, optional
        One row an order, with order_id. It has the columns of conditions, limits and factors that the claims lack.
    merchants : like claims, optional
        One row a merchant, joined by merchant_id, with the columns that claims and orders lack.
    payers : sequence of ClaimPayer
        Who pays, by conditions. The insurer pays the rest.
    aggregate : AggregateLimit, optional
        Largest sum of payments of a merchant or an order in a period of the ship date. By default the limit of the
        cover, if it has one.
    totals : ClaimTotals, optional
        Totals of earlier batches, from `SettledClaims.totals`. By default nothing was paid before.
    **columns
        Names of the columns order_id, merchant_id, ship_date, freight, report_date, reversed_date, claim_id and
        decision; by default their own names. With ``report_date=None`` all claims are reported at one time. date_format
        is the format of dates written as text, ISO 8601 by default.

    Returns
    -------
    SettledClaims

    Raises
    ------
    InputError
        For missing columns, ids and times, amounts that are no whole number of fen, claims of unknown orders, claims
        that an earlier batch has settled, payers that never pay, and terms with fractions of a fen or of a basis point.

    Notes
    -----
    A claim of X yuan is paid min((1 - coinsurance) max(X - deductible, 0), limit). The product is rounded half-even to
    fen, and limits are cut to whole fen. Claims are paid in a fixed sequence: by time of the report, then by claim id
    (without ids by order id and the content of the row). A claim that the cover takes counts for `max_claims` of its
    order, also if the deductible leaves nothing of it; a refused claim does not. A reversal gives money and place back
    to the claims that are reported after it; a claim that was refused stays refused (docs/method.md, Claims).

    Examples
    --------
    >>> import pandas as pd
    >>> from freightrisk import ClaimPayer, Cover, Limit, settle
    >>> cover = Cover(limits=[Limit("base", 25.0)], eligible={"official_pickup": ["yes"]})
    >>> claims = pd.DataFrame({"order_id": [1, 2, 3], "report_date": "2026-06-20", "freight": [12.0, 31.5, 9.9]})
    >>> claims["official_pickup"] = ["yes", "yes", "no"]
    >>> claims["fault"] = ["merchant", "not_merchant", "merchant"]
    >>> settled = settle(cover, claims, payers=[ClaimPayer("platform", where={"fault": ["not_merchant"]})])
    >>> settled.claims[["paid_fen", "platform_fen", "insurer_fen", "buyer_fen", "reason"]]
       paid_fen  platform_fen  insurer_fen  buyer_fen        reason
    0      1200             0         1200          0
    1      2500          2500            0        650
    2         0             0            0        990  not_eligible
    """
    cover, clock, codings = _terms(terms)
    rules = check_payers(payers, eligible=cover.eligible)
    aggregate = _aggregate_of(cover, aggregate)
    before = ClaimTotals() if totals is None else _check.instance(totals, ClaimTotals, argument="totals")
    before.check(aggregate)
    names, decision = column_names(columns)
    asked = {"limits": [one.conditions for one in cover.limits], COVER: cover.conditions}
    gates = compile_gates({**asked, "payers": [rule.conditions for rule in rules]})
    by_level = _by_level(cover)
    wanted = [gate.column for gate in gates] + [*measures_of(cover.limits)]
    wanted += [column for limit in by_level.values() for column in codings[limit.factor].columns]
    wanted += [] if aggregate is None else needed_for(aggregate.by, aggregate.period)
    rows = read_claims(
        claims, orders, wanted, merchants=merchants, names=names, decision=decision, clock=clock,
        merged=cover.merge_share > 0.0,
    )  # fmt: skip
    masks = _masks(gates, rows.joined, (*asked, "payers"))
    levels = {what: level_fen(one, codings, codings[one.factor].encode(rows.joined)) for what, one in by_level.items()}
    measures = _measures(cover.limits, rows.joined, masks["limits"])
    offers = offers_of(cover, rows.freight, masks=masks["limits"], measures=measures, levels=levels)
    reason = _reasons(rows, offers, masks[COVER] & np.uint64(1) == 1)
    batch = settle_batch(
        rows, np.where(reason == 0, offers.offer, 0), reason=reason, ties=[offers.offer, offers.rule],
        payers=rules, payer_masks=masks["payers"],
        max_claims=cover.max_claims, aggregate=aggregate, totals=before,
    )  # fmt: skip
    found = _columns(rows, offers, batch)
    index = getattr(rows.joined.orders.frame, "index", None)
    return SettledClaims(
        claims_frame(found, kind(claims), index), batch.totals, tuple(batch.parts), _payments(rows, batch)
    )


def _terms(terms: Any) -> tuple[Cover, str, Mapping[str, Coding]]:
    """Return the cover, the clock and the codings of a cover or tariff."""
    if isinstance(terms, TariffRecord):
        return terms.cover, terms.clock, terms.codings
    if not isinstance(terms, Cover):
        raise InputError(f"terms is {repr_of(terms)}; it must be a Cover or a Tariff.")
    if terms.level_limits:
        raise InputError(
            f"the cover has a limit by level of factor '{terms.level_limits[0].factor}', whose levels only a tariff "
            "knows; give the tariff instead of the cover."
        )
    return terms, DEFAULT_CLOCK, {}


def _aggregate_of(cover: Cover, aggregate: AggregateLimit | None) -> AggregateLimit | None:
    """Return the aggregate limit of the cover or of the call; refuses two different ones."""
    if aggregate is None:
        return cover.aggregate
    _check.instance(aggregate, AggregateLimit, argument="aggregate")
    if cover.aggregate is not None and cover.aggregate != aggregate:
        raise InputError(
            f"aggregate is {aggregate}, but the cover has {cover.aggregate}; leave aggregate out, or settle under a "
            "cover with the other limit."
        )
    return aggregate


def _by_level(cover: Cover) -> dict[str, ByLevel]:
    """Return the limits by level, by their field of the cover."""
    both = {FIRST_WEIGHT: cover.first_weight_fee, FLAT: cover.limit}
    return {name: one for name, one in both.items() if isinstance(one, ByLevel)}


def _masks(gates: Sequence[Gate], joined: JoinedColumns, kinds: Sequence[str]) -> Masks:
    """Return for each kind of rules a bit mask of the rules whose conditions each claim meets."""
    masks = {what: np.full(joined.n_rows, 2**64 - 1, dtype=np.uint64) for what in kinds}
    for gate in gates:
        codes = gate.encode(joined)
        for what, table in gate.masks.items():
            masks[what] &= table[codes]
    return masks


def _measures(limits: Sequence[Limit], joined: JoinedColumns, masks: NDArray[np.uint64]) -> dict[str, Whole]:
    """Return the columns of which limits are a share in fen; a missing amount that no limit of the claim reads is 0."""
    found = {}
    for column in measures_of(limits):
        values = joined.real(column)
        absent = np.isnan(values)
        shares = np.uint64(sum(1 << k for k, rule in enumerate(limits) if rule.of == column))
        joined.refuse(
            absent & (masks & shares != 0),
            f"claims: '{column}' is missing in {{rows}}, but a limit is a share of it; give its amount in yuan.",
            column,
        )
        found[column], bad = fen_of(np.where(absent, 0.0, values))
        joined.refuse(
            bad,
            f"claims: '{column}' is not an amount of yuan with at most two decimals, from 0 to 1e9, in {{rows}}; round "
            "the amounts to whole fen first.",
            column,
        )
    return found


def _reasons(rows: ClaimRows, offers: ClaimOffers, is_eligible: NDArray[np.bool_]) -> NDArray[np.int8]:
    """Return why the terms leave nothing of each claim, as a place in `REASONS`; the first reason counts."""
    faults = {
        "refused_before": rows.decision == REFUSED,
        "not_in_force": rows.not_in_force,
        "not_eligible": ~is_eligible,
        "limit_zero": offers.limit == 0,
        UNDER: offers.kept == 0,
    }
    reason = np.zeros(len(rows.freight), dtype=np.int8)
    for name, holds in reversed(faults.items()):
        reason[holds] = REASONS.index(name)
    return reason


def _payments(rows: ClaimRows, batch: SettledBatch) -> ClaimPayments:
    """Return what each payer paid in this batch, and what was given back in it."""
    undone = rows.decision == REVERSED
    when = np.where(undone, rows.reversed_at, 0).view("datetime64[us]").astype("datetime64[D]")
    back_day = np.where(undone, when, np.datetime64("NaT", "D"))
    paid = {name: np.where(batch.is_new, fen, 0) for name, fen in batch.parts.items()}
    back = {name: np.where(undone, fen, 0) for name, fen in batch.parts.items()}
    return ClaimPayments(rows.day, back_day, paid, back)


def _columns(rows: ClaimRows, offers: ClaimOffers, batch: SettledBatch) -> dict[str, NDArray[Any]]:
    """Return the columns of settled claims by name."""
    undone = (rows.decision == REVERSED) & (batch.fen > 0)
    paid = np.where(undone, 0, batch.fen)
    decided = np.where(undone, REVERSED, np.where(paid > 0, PAID, REFUSED))
    covered = ~np.isin(batch.reason, [REASONS.index(one) for one in ("refused_before", "not_in_force", "not_eligible")])
    return {
        "freight_fen": rows.freight,
        "paid_fen": paid,
        **{f"{name}_fen": np.where(undone, 0, fen) for name, fen in batch.parts.items()},
        "buyer_fen": rows.freight - paid,
        "reversed_fen": np.where(undone, batch.fen, 0),
        "decision": np.array(DECISIONS, dtype=object)[decided],
        "reason": np.array(REASONS, dtype=object)[batch.reason],
        "limit_rule": np.array(offers.names, dtype=object)[offers.rule],
        "limit_bound": covered & (offers.kept > offers.limit),
        "limit_conflict": covered & offers.conflict,
        "aggregate_bound": batch.cut,
    }
