"""Planted shifts: merchants whose claim intensity jumps on a day, and regions with a spike of some days."""

import numpy as np
import pandas as pd

from freightrisk.errors import InputError
from freightrisk.simulation.catalogue import START_DATE
from freightrisk.simulation.draws import Draws
from freightrisk.simulation.orders import Codes, Floats, date_of, labelled
from freightrisk.simulation.parts import ShiftTruth
from freightrisk.simulation.regions import REGIONS


def plant_shifts(
    draws: Draws, shifts: ShiftTruth, orders: pd.DataFrame, region: Codes, *, n_days: int
) -> tuple[Floats, pd.DataFrame, pd.DataFrame]:
    """Return the factor on each order's intensity, the jumps by merchant, and the spikes by region."""
    shipped = orders["ship_date"].notna().to_numpy()
    day = np.full(len(orders), -1, dtype=np.int64)
    day[shipped] = (orders["ship_date"].to_numpy()[shipped] - START_DATE) // np.timedelta64(1, "D")
    merchant = orders["merchant_id"].to_numpy()
    sold = np.bincount(merchant[shipped])
    fit = np.flatnonzero(sold >= shifts.least_orders)
    if len(fit) < shifts.n_jumps:
        raise InputError(
            f"shifts: n_jumps is {shifts.n_jumps:,}, and {len(fit):,} merchants have {shifts.least_orders:,} shipped "
            "orders or more. Lower n_jumps or least_orders of ShiftTruth, or simulate more orders."
        )
    jumping = np.sort(fit[np.argsort(draws.uniform("jumps", fit))[: shifts.n_jumps]])
    quarter = n_days // 4
    since = np.full(len(sold) + 1, np.iinfo(np.int64).max)
    since[jumping] = quarter + draws.whole("since", jumping, max(1, n_days - 2 * quarter))
    factor = np.where(shipped & (day >= since[merchant]), shifts.jump_factor, 1.0)
    place = _regions_of_spikes(draws, shifts.n_spikes)
    start = np.full(len(REGIONS), np.iinfo(np.int64).max - shifts.spike_days)
    start[place] = draws.whole("spike", place, max(1, n_days - shifts.spike_days + 1))
    inside = (day >= start[region]) & (day < start[region] + shifts.spike_days)
    factor[inside] *= shifts.spike_factor
    jumps = pd.DataFrame({"merchant_id": jumping, "start": date_of(since[jumping]), "factor": shifts.jump_factor})
    spikes = pd.DataFrame(
        {
            "region": labelled(place, REGIONS),
            "start": date_of(start[place]),
            "end": date_of(start[place] + shifts.spike_days - 1),
            "factor": shifts.spike_factor,
        }
    )
    return factor, jumps, spikes


def _regions_of_spikes(draws: Draws, n: int) -> Codes:
    """Return different regions, larger ones more often."""
    # Exponential waiting times divided by the people: the first n to come are a draw without replacement.
    people = np.array([row[2] for row in REGIONS.values()])
    waiting = -np.log(draws.uniform("regions", np.arange(len(people)))) / people
    return np.sort(np.argsort(waiting)[:n])
