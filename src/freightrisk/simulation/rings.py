"""Planted rings: which orders they take, and who their members are."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from freightrisk.errors import InputError
from freightrisk.simulation.buyers import ring_members
from freightrisk.simulation.catalogue import START_DATE
from freightrisk.simulation.draws import Draws
from freightrisk.simulation.orders import Codes, date_of, labelled
from freightrisk.simulation.parts import RingTruth
from freightrisk.simulation.regions import REGIONS, is_remote

NEW_ACCOUNT_DAYS = 90


@dataclass(frozen=True, eq=False)
class PlantedRings:
    """Rings by order and by buyer, and their table."""

    ring_id: Codes
    buyer_id: Codes
    buyers: pd.DataFrame
    buyer_truth: pd.DataFrame
    table: pd.DataFrame


def plant_rings(
    draws: Draws, rings: RingTruth, orders: pd.DataFrame, region: Codes, *, n_days: int, buyer_id: Codes, first_id: int
) -> PlantedRings:
    """Return the orders and members of the rings; the orders stay as they are but for their buyers."""
    day = ((orders["order_date"].to_numpy() - START_DATE) // np.timedelta64(1, "D")).astype(np.int64)
    free = orders["ship_date"].notna().to_numpy(copy=True)
    number = np.arange(rings.n_rings)
    start = draws.whole("start", number, max(1, n_days - rings.days + 1))
    far = draws.happens("far", number, rings.far_share)
    ring_id, buyer_id = np.zeros(len(orders), dtype=np.int64), buyer_id.copy()
    merchant, places, rows = orders["merchant_id"].to_numpy(), [], []
    by_day = np.searchsorted(day, np.arange(n_days + 1))  # the orders are sorted by day
    for k in range(rings.n_rings):
        window = np.arange(by_day[start[k]], by_day[min(start[k] + rings.days, n_days)])
        window = window[free[window]]
        place, taken = _orders_of_ring(draws, rings, k, window, region[window], merchant[window], far=bool(far[k]))
        free[taken] = False
        ring_id[taken] = k + 1
        # Every member has the same number of orders, in an order drawn by lot.
        buyer_id[taken] = first_id + k * rings.members + np.arange(len(taken)) % rings.members
        places.append(place)
        rows.append(taken)
    home = np.array(places, dtype=np.int64)
    ring = np.repeat(number, rings.members)
    member = np.tile(np.arange(rings.members), rings.n_rings)
    group = ring * rings.members + member // rings.members_per_attribute
    opened = start[ring] - 1 - draws.whole("opened", np.arange(len(ring)), NEW_ACCOUNT_DAYS)
    people, truth = ring_members(draws.seed, ring + 1, group, home[ring], opened, first_id)
    table = pd.DataFrame(
        {
            "ring_id": number + 1,
            "region": labelled(home, REGIONS),
            "far": far,
            "start": date_of(start),
            "end": date_of(np.minimum(start + rings.days, n_days) - 1),
            "n_members": rings.members,
            "n_orders": np.array([len(taken) for taken in rows], dtype=np.int64),
            "n_shops": np.array([len(np.unique(merchant[taken])) for taken in rows], dtype=np.int64),
            "claim_probability": rings.claim_probability,
        }
    )
    return PlantedRings(ring_id, buyer_id, people, truth, table)


def _orders_of_ring(
    draws: Draws, rings: RingTruth, ring: int, window: Codes, region: Codes, merchant: Codes, *, far: bool
) -> tuple[int, NDArray[np.int64]]:
    """Return the region of a ring, and the orders that it takes from the free orders of its days."""
    wanted = rings.members * rings.orders_per_member
    count = np.bincount(region, minlength=len(REGIONS)) * (is_remote() == far)
    if count.max() < wanted:
        raise InputError(
            f"rings: ring {ring + 1} needs {wanted:,} shipped orders of one {'remote' if far else 'other'} region "
            f"within {rings.days:,} days, and no region has more than {count.max():,}. Simulate more orders, or lower "
            f"members, orders_per_member{' or far_share' if far else ''} of RingTruth, or raise days."
        )
    enough = np.flatnonzero(count >= wanted)
    place = int(enough[draws.whole("region", np.array([ring]), len(enough))[0]])
    here = np.flatnonzero(region == place)
    sold = np.bincount(merchant[here])
    shops = np.argsort(-sold, kind="stable")[: rings.shops]
    # Orders of the chosen shops come first, and lots decide among them and among the rest.
    lot = draws.uniform("lot", window[here]) + ~np.isin(merchant[here], shops)
    return place, np.asarray(window[here[np.argsort(lot, kind="stable")[:wanted]]], dtype=np.int64)
