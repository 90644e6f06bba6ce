"""Buyers: households, dormitories, accounts with a history, and hashed devices, addresses and phones."""

from hashlib import blake2b
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from freightrisk.simulation.catalogue import START_DATE
from freightrisk.simulation.draws import Draws
from freightrisk.simulation.orders import Codes, date_of, labelled
from freightrisk.simulation.parts import BuyerTruth
from freightrisk.simulation.regions import REGIONS

STANDINGS = ("clean", "watch", "limited")
HISTORY_CLAIM_RATE = 0.07
# An account is watched, or limited, from these claims and this share of claims among the orders of its history.
WATCHED, LIMITED = (3, 0.25), (4, 0.4)
OLDEST_DAYS = 20_000  # 1970: no account is older
HASHED = ("device", "address", "phone")


def draw_buyers(draws: Draws, buyers: BuyerTruth, region: Codes) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the buyers and their truth: as many in each region as its orders need."""
    orders = np.bincount(region, minlength=len(REGIONS))
    least = (orders > 0).astype(np.int64)
    home = np.repeat(np.arange(len(REGIONS)), np.maximum(np.rint(orders / buyers.orders_per_buyer).astype(int), least))
    row = np.arange(len(home))
    dormitory = _dormitories(draws, buyers, home)
    household = _households(draws, buyers, home, dormitory > 0)
    first = np.unique(household, return_index=True)[1][household]
    activity = draws.factor("activity", row, deviation=buyers.activity_deviation)
    deviation = draws.factor("claims", row, deviation=buyers.claim_deviation)
    numbers = {
        "device": np.where(draws.happens("device", row, buyers.shared_device_share), first, row),
        # Addresses of dormitories are numbered below 0, apart from the addresses of households.
        "address": np.where(dormitory > 0, -dormitory, household),
        "phone": np.where(draws.happens("phone", row, buyers.shared_phone_share), first, row),
    }
    # Geometric, because an age is a whole number of days and at least 1; an exponential rounded up is half a day older.
    younger = max(1.0 - 1.0 / buyers.account_age_days, 1e-300)
    age_days = np.ceil(np.log(draws.uniform("age", row)) / np.log(younger)).clip(1, OLDEST_DAYS).astype(np.int64)
    # The highest activity ranks first, whatever the share is.
    high = np.argsort(np.argsort(-activity, kind="stable"), kind="stable") < round(buyers.super_share * len(row))
    table = pd.DataFrame(
        {
            "buyer_id": row + 1,
            "region": labelled(home, REGIONS),
            **hashed(draws.seed, numbers),
            "account_opened": date_of(-age_days),
            "buyer_tier": labelled(high.astype(np.int8), ("standard", "super")),
            **_history(draws, row, activity * age_days / 365.0 * buyers.orders_per_buyer, deviation),
        }
    )
    truth = {"household_id": household + 1, "dormitory_id": dormitory, "activity": activity, "claim_factor": deviation}
    return table, pd.DataFrame({"buyer_id": row + 1, **truth, "ring_id": 0})


def choose_buyers(draws: Draws, region: Codes, home: Codes, activity: NDArray[np.float64]) -> Codes:
    """Return the row of each order's buyer: a buyer of the region, by activity."""
    total = np.concatenate([[0.0], np.cumsum(activity)])
    start = np.searchsorted(home, np.arange(len(REGIONS) + 1))
    low, high = total[start[:-1]], total[start[1:]]
    place = low[region] + draws.uniform("buyer", np.arange(len(region))) * (high - low)[region]
    found = np.searchsorted(total, place, side="right") - 1
    return np.asarray(np.clip(found, start[region], start[region + 1] - 1))


def hashed(seed: int, numbers: dict[str, Codes], *, space: str = "buyers") -> dict[str, NDArray[Any]]:
    """Return columns of hashes of seeded numbers: equal numbers of one column have equal hashes."""
    columns = {}
    for name, values in numbers.items():
        known, place = np.unique(values, return_inverse=True)
        texts = [blake2b(f"{seed} {space} {name} {k}".encode(), digest_size=8).hexdigest() for k in known.tolist()]
        columns[f"{name}_hash"] = np.array(texts, dtype=object)[place]
    return columns


def _dormitories(draws: Draws, buyers: BuyerTruth, home: Codes) -> Codes:
    """Return the number of each buyer's dormitory from 1 on, 0 for a buyer outside one."""
    inside = np.flatnonzero(draws.happens("dormitory", np.arange(len(home)), buyers.dormitory_share))
    place = np.arange(len(inside)) - np.searchsorted(home[inside], home[inside])
    room = home[inside] * (len(home) + 1) + place // buyers.dormitory_size
    number = np.zeros(len(home), dtype=np.int64)
    number[inside] = np.unique(room, return_inverse=True)[1] + 1
    return number


def _households(draws: Draws, buyers: BuyerTruth, home: Codes, alone: NDArray[np.bool_]) -> Codes:
    """Return the number of each buyer's household: runs of buyers of one region; residents of dormitories are alone."""
    number = np.empty(len(home), dtype=np.int64)
    # Runs leave out the residents of dormitories. Otherwise each resident would end a household early.
    together = np.flatnonzero(~alone)
    # A run goes on with the chance that makes its length geometric with the stated mean.
    starts = ~draws.happens("household", together, 1.0 - 1.0 / buyers.household_size)
    starts[1:] |= home[together[1:]] != home[together[:-1]]
    starts[:1] = True
    number[together] = np.cumsum(starts) - 1
    number[alone] = np.count_nonzero(starts) + np.arange(len(home) - len(together))
    return number


def _history(draws: Draws, row: Codes, mean: NDArray[np.float64], deviation: NDArray[np.float64]) -> dict[str, Any]:
    """Return orders and claims before the book, geometric and binomial, and the standing that follows from them."""
    from scipy.stats import binom

    mean = np.maximum(mean, 1e-9)
    orders = np.floor(np.log(draws.uniform("orders", row)) / np.log(mean / (1.0 + mean))).astype(np.int64)
    chance = np.minimum(HISTORY_CLAIM_RATE * deviation, 1.0)
    claims = binom.ppf(draws.uniform("history", row), orders, chance).astype(np.int64)
    share = claims / np.maximum(orders, 1)
    standing = np.zeros(len(row), dtype=np.int8)
    for code, (least, most) in enumerate((WATCHED, LIMITED), 1):
        standing[(claims >= least) & (share >= most)] = code
    return {"orders_before": orders, "claims_before": claims, "standing": labelled(standing, STANDINGS)}


def ring_members(
    seed: int, ring: Codes, group: Codes, region: Codes, opened_day: Codes, first_id: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the buyers of rings and their truth; a group shares device, address and phone, and has no history."""
    n = len(ring)
    buyer_id = np.arange(first_id, first_id + n)
    table = pd.DataFrame(
        {
            "buyer_id": buyer_id,
            "region": labelled(region, REGIONS),
            **hashed(seed, dict.fromkeys(HASHED, group), space="rings"),
            "account_opened": START_DATE + opened_day.astype("m8[D]").astype("m8[us]"),
            "buyer_tier": labelled(np.zeros(n, dtype=np.int8), ("standard", "super")),
            "orders_before": 0,
            "claims_before": 0,
            "standing": labelled(np.zeros(n, dtype=np.int8), STANDINGS),
        }
    )
    truth = pd.DataFrame(
        {
            "buyer_id": buyer_id,
            "household_id": 0,
            "dormitory_id": 0,
            "activity": 0.0,
            "claim_factor": 1.0,
            "ring_id": ring,
        }
    )
    return table, truth
