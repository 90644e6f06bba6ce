"""Claims settled by their cover, compared with the same rules in pandas; shares of many merchants under a limit."""

import numpy as np
import pandas as pd
from scipy import stats

import freightrisk as fr
from benchmarks.timing import Line, medians
from freightrisk.aggregates import AggregateLimit, AggregateShares
from freightrisk.shapes import ScaleShape

COVER = fr.Cover(
    limits=[
        fr.Limit("base", 12.0),
        fr.Limit("large", 50.0, where={"tier": ["strong"], "price": fr.Interval(above=99.0)}),
    ],
    eligible={"official_pickup": ["yes"]},
    aggregate=AggregateLimit(300.0),
)
PANJER_MERCHANTS = 40
PLATFORM = fr.ClaimPayer("platform", where={"fault": ["not_merchant"]})


def settle_lines(n: int, repeats: int) -> list[Line]:
    """Return the settlement of claims and the same rules in pandas, after checking that every fen is the same."""
    claims = claims_of(n)
    ours = fr.settle(COVER, claims, payers=[PLATFORM]).claims[["paid_fen", "platform_fen"]].to_numpy()
    if not np.array_equal(ours, by_pandas(claims)[["paid_fen", "platform_fen"]].to_numpy()):
        raise AssertionError("settle and pandas pay different fen")
    settle, pandas = medians(
        repeats, lambda: fr.settle(COVER, claims, payers=[PLATFORM]), lambda: by_pandas(claims)
    )  # fmt: skip
    return [
        Line("settle: freightrisk, aggregate by merchant and month", n, settle, pandas / settle, (0.8, 0.5)),
        Line("settle: the same rules in pandas", n, pandas),
    ]


def aggregate_lines(n: int, repeats: int) -> list[Line]:
    """Return the shares of n merchants under an aggregate limit, and Panjer's recursion in numpy for a few of them.

    The ratio compares the times of one merchant. Before, the shares of these merchants are checked.
    """
    rng = np.random.default_rng(2)
    merchants = pd.DataFrame(
        {
            "merchant_id": np.arange(n),
            "expected_claims": np.exp(rng.normal(2.0, 1.5, n)),
            "expected_payout": np.exp(rng.normal(2.3, 0.3, n)),
        }
    )

    def shares() -> AggregateShares:
        return AggregateShares.of(merchants, AggregateLimit(300.0), shape=ScaleShape(0.3), dispersion=0.3)

    some = np.linspace(0, n - 1, PANJER_MERCHANTS).astype(int)
    few = merchants.loc[some, ["expected_claims", "expected_payout"]].to_numpy()
    ours = shares().share_of(some)
    away = np.abs(np.array([by_panjer(claims, payout) for claims, payout in few]) / ours - 1.0).max()
    if away > 1e-3:  # of the recursion, whose payouts are rounded to its grid
        raise AssertionError(f"shares differ by {away:.2g} from Panjer's recursion")
    seconds, recursion = medians(repeats, shares, lambda: [by_panjer(claims, payout) for claims, payout in few])
    ratio = (recursion / len(few)) / (seconds / n)
    return [
        Line("aggregates: shares by merchant, 300 yuan a month", n, seconds, ratio, (10.0, 0.0)),
        Line("aggregates: Panjer's recursion in numpy", len(few), recursion),
    ]


def by_panjer(claims: float, payout: float, *, amount: float = 300.0, dispersion: float = 0.3) -> float:
    """Return E[min(S, amount)] / E[S] of negative binomial counts and gamma payouts by Panjer's recursion (1981)."""
    step = min(payout / 32.0, amount / 512.0)
    steps = int(np.ceil(amount / step))
    step = amount / steps
    edges = np.concatenate([[0.0], (np.arange(steps) + 0.5) * step])
    masses = np.diff(stats.gamma(1.0 / 0.3, scale=0.3 * payout).cdf(edges))
    beta = dispersion * claims
    a, b = beta / (1.0 + beta), (1.0 / dispersion - 1.0) * beta / (1.0 + beta)
    found = np.zeros(steps)
    found[0] = (1.0 + beta * (1.0 - masses[0])) ** (-1.0 / dispersion)
    for k in range(1, steps):
        j = np.arange(1, k + 1)
        found[k] = ((a + b * j / k) * masses[1 : k + 1]) @ found[k - 1 :: -1][:k] / (1.0 - a * masses[0])
    below = found @ (amount - step * np.arange(steps))
    return float((amount - below) / (claims * payout))


def claims_of(n: int) -> pd.DataFrame:
    """Return n claims of about n / 1.2 orders and n / 30 merchants in two months."""
    rng = np.random.default_rng(1)
    order = rng.integers(0, max(1, int(n / 1.2)), n)
    day = (order % 60).astype("timedelta64[D]")
    return pd.DataFrame(
        {
            "claim_id": np.arange(n),
            "order_id": order,
            "merchant_id": order % max(1, n // 30),
            "ship_date": np.datetime64("2026-05-01") + day,
            "report_date": np.datetime64("2026-05-03T00:00:00")
            + day
            + rng.integers(0, 10**6, n).astype("timedelta64[s]"),
            "freight_fen": rng.gamma(2.0, 500.0, n).astype(np.int64) + 1,
            "tier": rng.choice(["strong", "plain"], n),
            "price": np.round(rng.gamma(1.0, 90.0, n), 2),
            "official_pickup": rng.choice(["yes", "no"], n, p=[0.9, 0.1]),
            "fault": rng.choice(["merchant", "not_merchant"], n),
        }
    )


def by_pandas(claims: pd.DataFrame) -> pd.DataFrame:
    """Return what is paid by the rules of COVER, row by row: limits, one claim an order, the aggregate limit."""
    large = (claims["tier"] == "strong") & (claims["price"] > 99.0)
    offer = np.minimum(claims["freight_fen"], np.where(large, 5_000, 1_200)).where(
        claims["official_pickup"] == "yes", 0
    )
    order = claims.sort_values(["report_date", "claim_id"], kind="stable").index
    ordered = claims.loc[order, ["order_id", "merchant_id", "ship_date"]].assign(offer=offer[order])
    # With an aggregate limit, a later claim of an order is paid if the limit left nothing for the first.
    month = ordered["ship_date"].dt.to_period("M")
    left, done, paid = {}, set(), []
    for holder, number, fen in zip(
        zip(ordered["merchant_id"], month, strict=True), ordered["order_id"], ordered["offer"], strict=True
    ):
        given = 0 if number in done else min(fen, left.get(holder, 30_000))
        if given:
            done.add(number)
            left[holder] = left.get(holder, 30_000) - given
        paid.append(given)
    found = pd.Series(paid, index=order).reindex(claims.index)
    return pd.DataFrame({"paid_fen": found, "platform_fen": found.where(claims["fault"] == "not_merchant", 0)})
