"""Enrolment: which merchants are in the cover on which ship dates, and which orders are covered."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from freightrisk.simulation.catalogue import SHIP_DELAY_SHARES, START_DATE
from freightrisk.simulation.draws import Draws
from freightrisk.simulation.orders import campaign_calendar, chosen, date_of, labelled
from freightrisk.simulation.parts import OptInTruth

POLICIES = ("never", "always", "outside_campaigns", "only_campaigns")
NEVER, ALWAYS, OUTSIDE, ONLY = range(4)
# The last day of an enrolment that has no end: later than any day of a book, and still a date in microseconds.
OPEN = 1_000_000


def draw_enrolment(
    draws: Draws, opt_in: OptInTruth, deviation: pd.Series, orders: pd.DataFrame, *, n_days: int
) -> tuple[NDArray[np.bool_], pd.DataFrame, pd.DataFrame]:
    """Return which orders are covered, the enrolments by merchant and date, and the truth of each merchant."""
    merchant_id = deviation.index.to_numpy()
    n_dates = n_days + len(SHIP_DELAY_SHARES)  # days on which orders ship
    # The odds of never joining fall as the odds of joining rise with the deviation.
    odds = (
        opt_in.never_share / (1.0 - opt_in.never_share) * np.maximum(deviation.to_numpy(), 1e-12) ** -opt_in.selection
    )
    joins = ~draws.happens("joins", merchant_id, odds / (1.0 + odds))
    shares = (opt_in.outside_campaigns_share, opt_in.only_campaigns_share)
    style = chosen(draws.uniform("policy", merchant_id), [1.0 - sum(shares) + 1e-300, *shares]) + ALWAYS
    policy = np.where(joins, style, NEVER).astype(np.int8)
    late = draws.happens("late", merchant_id, opt_in.late_share)
    start = np.where(late, 1 + draws.whole("start", merchant_id, max(1, n_days - 1)), 0)
    leaves = draws.happens("leaves", merchant_id, opt_in.left_share)
    end = np.where(leaves, start + draws.whole("end", merchant_id, np.maximum(n_days - start, 1)), OPEN)
    campaign = campaign_calendar(n_dates) > 0
    covered = _covered(orders, policy, start, end, campaign)
    table = _intervals(merchant_id, policy, start, end, campaign)
    ever = policy != NEVER
    truth = pd.DataFrame(
        {
            "merchant_id": merchant_id,
            "policy": labelled(policy, POLICIES),
            "start": np.where(ever, date_of(start), np.datetime64("NaT", "us")),
            "end": np.where(ever & (end != OPEN), date_of(end), np.datetime64("NaT", "us")),
        }
    )
    return covered, table, truth


def _covered(
    orders: pd.DataFrame,
    policy: NDArray[np.int8],
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    campaign: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Return which orders were shipped while their merchant was in the cover."""
    ship = orders["ship_date"].to_numpy()
    shipped = np.flatnonzero(~np.isnat(ship))
    day = ((ship[shipped] - START_DATE) // np.timedelta64(1, "D")).astype(np.int64)
    seller = orders["merchant_id"].to_numpy()[shipped] - 1
    style, promoted = policy[seller], campaign[day]
    inside = (style == ALWAYS) | ((style == OUTSIDE) & ~promoted) | ((style == ONLY) & promoted)
    covered = np.zeros(len(ship), dtype=bool)
    covered[shipped] = inside & (day >= start[seller]) & (day <= end[seller])
    return covered


def _intervals(
    merchant_id: NDArray[np.int64],
    policy: NDArray[np.int8],
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    campaign: NDArray[np.bool_],
) -> pd.DataFrame:
    """Return the intervals of ship dates in which merchants are enrolled, closed at both ends; NaT is an open end."""
    edges = np.flatnonzero(np.diff(campaign)) + 1
    first = np.concatenate([[0], edges])
    # Beyond the dates of the book, the last run goes on.
    last = np.concatenate([edges - 1, [OPEN]])
    runs = {ALWAYS: (np.array([0]), np.array([OPEN]))}
    runs |= {
        style: (first[campaign[first] == on], last[campaign[first] == on])
        for style, on in ((OUTSIDE, False), (ONLY, True))
    }
    parts = []
    for style, (low, high) in runs.items():
        of = np.repeat(np.flatnonzero(policy == style), len(low))
        opened = np.maximum(np.tile(low, len(of) // max(len(low), 1)), start[of])
        closed = np.minimum(np.tile(high, len(of) // max(len(low), 1)), end[of])
        kept = opened <= closed
        parts.append(np.stack([of[kept], opened[kept], closed[kept]]))
    of, opened, closed = np.concatenate(parts, axis=1)
    order = np.lexsort((opened, of))
    return pd.DataFrame(
        {
            "merchant_id": merchant_id[of[order]],
            "start": date_of(opened[order]),
            "end": np.where(closed[order] == OPEN, np.datetime64("NaT", "us"), date_of(closed[order])),
        }
    )
