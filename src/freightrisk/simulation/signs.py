"""Signs of fraud around returned parcels: delivery to the buyer, weight and origin of the waybill."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from freightrisk.simulation.draws import Draws
from freightrisk.simulation.lines import LINES_AT_MOST
from freightrisk.simulation.orders import Floats, labelled
from freightrisk.simulation.parts import FunnelTruth, RingTruth
from freightrisk.simulation.regions import REGIONS

SIGNS = ("early_return", "weight_mismatch", "route_mismatch")
TRANSIT_DAYS = {"intra_province": 1.5, "neighbouring": 2.0, "mid_range": 3.0, "far": 4.0, "remote": 6.0}
TRANSIT_SHAPE = 4  # a whole number, so that the days are a sum of exponentials
# An honest parcel weighs what its lines weigh within 5 %, and a parcel with other goods much less.
HONEST_WEIGHT, OTHER_WEIGHT = (0.95, 1.05), (0.05, 0.5)
LATE_DAYS = 5.0  # a parcel that goes back early does so up to these days before delivery


def add_signs(
    draws: Draws,
    parts: tuple[FunnelTruth, RingTruth | None],
    orders: pd.DataFrame,
    requests: pd.DataFrame,
    parcels: pd.DataFrame,
    *,
    region: pd.Categorical,
    ring_id: NDArray[np.int64],
) -> tuple[NDArray[np.datetime64], pd.DataFrame, pd.DataFrame]:
    """Return when each order reached its buyer, the parcels with weight and origin, and the signs of each parcel."""
    funnel, rings = parts
    row = np.searchsorted(orders["order_id"].to_numpy(), parcels["order_id"].to_numpy())
    line_no = requests.set_index("request_id")["line_no"].loc[parcels["request_id"].to_numpy()].to_numpy()
    place = row * LINES_AT_MOST + line_no - 1
    shares = {name: _shares(name, funnel, rings, ring_id) for name in SIGNS}
    early = draws.happens("early", np.arange(len(orders)), shares["early_return"])
    lighter = draws.happens("lighter", place, shares["weight_mismatch"][row])
    elsewhere = draws.happens("elsewhere", place, shares["route_mismatch"][row])
    delivered = _delivered(draws, orders, requests, parcels, row, early)
    lines = parcels["n_lines"].to_numpy() / orders["n_lines"].to_numpy()[row]
    low, high = np.where(lighter, *(np.array(bounds)[:, None] for bounds in (OTHER_WEIGHT, HONEST_WEIGHT)))
    weight = orders["weight_kg"].to_numpy()[row] * lines * (low + (high - low) * draws.uniform("weight", place))
    # A step of 1 to 30 in the circle of the regions leads to another region.
    step = np.where(elsewhere, 1 + draws.whole("origin", place, len(REGIONS) - 1), 0)
    origin = (region.codes.astype(np.int64)[row] + step) % len(REGIONS)
    truth = pd.DataFrame(
        {
            "parcel_id": parcels["parcel_id"],
            "ring_id": ring_id[row],
            "early_return": early[row],
            "weight_mismatch": lighter,
            "route_mismatch": elsewhere,
        }
    )
    parcels = parcels.assign(weight_kg=np.maximum(np.round(weight, 3), 0.001), origin_region=labelled(origin, REGIONS))
    return delivered, parcels, truth


def _shares(name: str, funnel: FunnelTruth, rings: RingTruth | None, ring_id: NDArray[np.int64]) -> Floats:
    """Return the chance of a sign for each order."""
    of_ring = 0.0 if rings is None else getattr(rings, f"{name}_share")
    return np.where(ring_id > 0, of_ring, funnel.stray_sign_share)


def _delivered(
    draws: Draws,
    orders: pd.DataFrame,
    requests: pd.DataFrame,
    parcels: pd.DataFrame,
    row: NDArray[np.int64],
    early: NDArray[np.bool_],
) -> NDArray[np.datetime64]:
    """Return when each order reached its buyer: before its returns are requested, or after they are picked up."""
    n, ship = len(orders), orders["ship_date"].to_numpy()
    rows = np.arange(n)
    zone = np.array([TRANSIT_DAYS[name] for name in orders["zone"].cat.categories])[orders["zone"].cat.codes]
    stages = (-np.log(draws.uniform(f"transit {k}", rows)) for k in range(TRANSIT_SHAPE))
    days = zone * np.sum(list(stages), axis=0) / TRANSIT_SHAPE
    back = requests[requests["outcome"] == "returned"]
    asked = np.searchsorted(orders["order_id"].to_numpy(), back["order_id"].to_numpy())
    first, last = np.full(n, np.inf), np.full(n, -np.inf)
    np.minimum.at(first, asked, _days(back["request_date"].to_numpy() - ship[asked]))
    np.maximum.at(last, row, _days(parcels["pickup_date"].to_numpy() - ship[row]))
    days = np.minimum(days, first * draws.uniform("before", rows))
    late = early & np.isfinite(last)
    days[late] = last[late] + LATE_DAYS * draws.uniform("after", rows[late]) + 1.0 / 24.0
    return np.asarray(ship + (days * 86_400).astype("m8[s]"))


def _days(spans: NDArray[np.timedelta64]) -> Floats:
    return spans / np.timedelta64(1, "D")
