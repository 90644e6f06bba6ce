"""Seeded synthetic books of return-freight insurance whose true parameters are known.

The tables below are illustrative, inside published ranges (see docs/synthetic). Claim frequency and mean freight are
exact products of these tables, so a model with the factors of `SimulatedBook.factors` can fit them exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    from freightrisk.book.factors import Band, Factor, Hierarchy

__all__ = ["BookTruth", "SimulatedBook", "simulate_book"]

Floats = NDArray[np.float64]
Codes = NDArray[np.integer[Any]]
Rng = np.random.Generator

INDUSTRY_COLUMNS = ("share", "claim_rate", "weight_kg", "weight_sigma", "price", "price_sigma", "live_pull")
INDUSTRIES = {  # the columns above, then the categories, largest first
    "womens_wear": (0.18, 0.165, 0.45, 0.45, 130, 0.60, 2.0, "dresses tops trousers knitwear coats"),
    "home_kitchen": (0.16, 0.021, 1.10, 0.75, 60, 0.80, 0.8, "storage cookware bedding tableware lighting"),
    "beauty": (0.11, 0.019, 0.30, 0.50, 90, 0.75, 1.5, "skincare make_up hair_care fragrance tools"),
    "shoes_bags": (0.10, 0.105, 1.00, 0.35, 160, 0.65, 1.2, "womens_shoes trainers mens_shoes bags luggage"),
    "groceries": (0.10, 0.008, 2.20, 0.70, 45, 0.60, 0.8, "snacks grain_oil drinks tea cleaning"),
    "childrens": (0.09, 0.055, 0.60, 0.60, 80, 0.70, 1.2, "kids_clothes toys kids_shoes baby_care school"),
    "electronics": (0.09, 0.018, 0.60, 0.80, 180, 1.10, 0.6, "phone_parts audio computers smart_home photo"),
    "mens_wear": (0.07, 0.080, 0.55, 0.45, 120, 0.60, 1.0, "shirts trousers jackets suits underwear"),
    "accessories": (0.03, 0.050, 0.20, 0.50, 70, 0.90, 2.0, "jewellery hats scarves belts watches"),
    "sports": (0.03, 0.045, 1.20, 0.80, 110, 0.80, 0.8, "sportswear fitness camping cycling fishing"),
    "books": (0.02, 0.005, 0.80, 0.60, 40, 0.55, 0.7, "fiction textbooks picture_books comics maps"),
    "furniture": (0.02, 0.018, 7.00, 0.70, 380, 0.80, 0.6, "chairs tables shelves sofas mattresses"),
}
LEAVES_BY_RANK, CATEGORY_ZIPF, LEAF_ZIPF = (8, 7, 6, 5, 4), 1.0, 1.8
CATEGORY_SPREAD, LEAF_SPREAD, PRICE_SPREAD = 0.18, 0.25, 0.25

LEVEL_FREQUENCY = {
    "channel": {"shelf": 1.0, "live_stream": 1.55, "group_deal": 0.85, "ten_billion": 0.92, "search": 1.08},
    "campaign": {"none": 1.00, "618": 1.20, "double_11": 1.35, "double_12": 1.12},
    "zone": {"intra_province": 1.00, "neighbouring": 0.98, "mid_range": 0.95, "far": 0.90, "remote": 0.80},
}
BAND_EDGES = {
    "price": (20.0, 50.0, 100.0, 200.0, 500.0, 1000.0),
    "weight_kg": (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0),
    "experience_score": (3.5, 4.0, 4.3, 4.5, 4.6, 4.7, 4.8, 4.9),
}
BAND_FREQUENCY = {
    "price": (0.60, 0.82, 1.00, 1.10, 1.16, 1.10, 0.95),
    "weight_kg": (1.00, 0.97, 0.94, 0.91, 0.88, 0.86, 0.84, 0.82, 0.81, 0.80, 0.78),
    "experience_score": (1.42, 1.30, 1.20, 1.13, 1.08, 1.04, 1.00, 0.95, 0.90),
}
ZONE_FIRST_FEE = {"intra_province": 5.0, "neighbouring": 7.0, "mid_range": 9.0, "far": 12.0, "remote": 22.0}
WEIGHT_SEVERITY = (1.00, 1.25, 1.50, 1.75, 2.00, 2.25, 2.50, 2.75, 3.00, 3.25, 3.50)
FREQUENCY_BASE, FREIGHT_SHAPE, LAG_MEAN_DAYS, LAG_SHAPE, COVER_DAYS = 0.05, 10.0, 11.0, 2.5, 90

CHANNEL_MIX = {  # by merchant segment, channels in the order above
    "new": (0.50, 0.12, 0.16, 0.07, 0.15),
    "small_medium": (0.48, 0.12, 0.14, 0.10, 0.16),
    "quality_industry": (0.46, 0.08, 0.14, 0.22, 0.10),
    "live_streaming": (0.15, 0.70, 0.05, 0.05, 0.05),
    "large": (0.50, 0.14, 0.08, 0.14, 0.14),
}
SEGMENT_SHARES = (0.27, 0.49, 0.13, 0.11, 0.00)  # "large" has no share, because size decides it
SIZE_PARETO, SIZE_CAP, SIZE_LARGE, SCORE_POWER = 1.2, 300.0, 8.0, 7.0
ORDERS_PER_MERCHANT, LEAST_MERCHANTS, START_DATE = 250, 50, np.datetime64("2025-01-01", "us")
CAMPAIGN_WINDOWS = {"618": (601, 620), "double_11": (1024, 1114), "double_12": (1208, 1214)}
CAMPAIGN_VOLUME, CANCELLED_SHARE = (1.0, 1.8, 2.5, 1.5), 0.02
SHIP_DELAY_SHARES, LINE_SHARES = (0.45, 0.35, 0.15, 0.05), (0.72, 0.17, 0.07, 0.03, 0.01)
ZONE_SHARES = (0.20, 0.28, 0.27, 0.19, 0.06)


def __dir__() -> list[str]:
    """Return the public names, so that completion shows nothing else."""
    return __all__


@dataclass(frozen=True, eq=False, repr=False)
class BookTruth:
    """The parameters of a simulated book.

    Attributes
    ----------
    frequency_base, severity_base : float
        Claims of a shipped order at full maturity, and mean freight of a claim (yuan), at relativities of 1.
    frequency, severity : dict of str to pandas.Series
        Relativities by factor. ``category_path`` is indexed by "industry > category > leaf", and a plain factor by
        level. A banded factor is indexed by band number in the order of its edges: band 0 is ``(-inf, e0]``, and the
        last band has no upper edge.
    merchant_deviation : pandas.Series
        Factor on the claim intensity of each merchant, by merchant_id, drawn from a gamma with mean 1.
    claim_intensity, mean_freight : ndarray of float64, shape (n_orders,)
        Expected claims of each order at full maturity (0 if it was cancelled before shipment), and mean freight of a
        claim of each order, cancelled or not (yuan).
    severity_shape, lag_mean_days, lag_shape, cover_days : float
        Shape of the gamma noise of the freight (its inverse is the dispersion). The lag from shipment to report is
        gamma with this mean and shape, conditional on ending within the days of cover.
    """

    frequency_base: float
    severity_base: float
    frequency: dict[str, pd.Series]
    severity: dict[str, pd.Series]
    merchant_deviation: pd.Series
    claim_intensity: Floats
    mean_freight: Floats
    severity_shape: float = FREIGHT_SHAPE
    lag_mean_days: float = LAG_MEAN_DAYS
    lag_shape: float = LAG_SHAPE
    cover_days: int = COVER_DAYS

    def __repr__(self) -> str:
        return (
            f"BookTruth: {len(self.claim_intensity):,} orders, base {self.frequency_base:g} claims an order "
            f"and {self.severity_base:.4g} yuan a claim"
        )


@dataclass(frozen=True, eq=False, repr=False)
class SimulatedBook:
    """A synthetic book of orders, claims and merchants, with its truth.

    Attributes
    ----------
    orders : pandas.DataFrame
        One row an order, sorted by order date: order_id, merchant_id, order_date, ship_date (whole days; NaT if
        cancelled before shipment), industry, category, leaf, zone, weight_kg (whole grams), price (yuan), channel,
        campaign (by ship date), n_lines (1 to 5, without effect on the claims).
    claims : pandas.DataFrame
        One row a claim, sorted by report date: claim_id, order_id, report_date, freight (yuan, ground-up). It holds
        all claims of the orders, including claims reported after ``as_of``, so that forecasts can be checked.
        ``OrderBook.from_frames(..., as_of=book.as_of)`` drops the claims that were not yet known.
    merchants : pandas.DataFrame
        One row a merchant: merchant_id, experience_score (1 to 5), segment.
    truth : BookTruth
        The parameters behind the book.
    as_of : pandas.Timestamp
        Valuation date: the day after the last day of orders.
    """

    frequency_factors: ClassVar[tuple[str, ...]] = ("category_path", *LEVEL_FREQUENCY, *BAND_EDGES)
    severity_factors: ClassVar[tuple[str, ...]] = ("zone", "weight_kg")

    orders: pd.DataFrame
    claims: pd.DataFrame
    merchants: pd.DataFrame
    truth: BookTruth
    as_of: pd.Timestamp

    def __repr__(self) -> str:
        return (
            f"SimulatedBook: {len(self.orders):,} orders, {len(self.claims):,} claims, "
            f"{len(self.merchants):,} merchants, as of {self.as_of.date()}"
        )

    def factors(self) -> list[Factor | Band | Hierarchy]:
        """Return declarations of the rating factors whose tables multiply exactly to the truth."""
        from freightrisk.book.factors import Band, Factor, Hierarchy

        return [
            Hierarchy("category_path", ("industry", "category", "leaf"), unseen="parent", min_claims=5),
            *(Factor(name, min_claims=5) for name in LEVEL_FREQUENCY),
            *(Band(name, edges, min_claims=5) for name, edges in BAND_EDGES.items()),
        ]


def simulate_book(
    n_orders: int,
    *,
    seed: int = 0,
    n_merchants: int | None = None,
    merchant_deviation: float = 0.3,
    n_days: int = 365,
) -> SimulatedBook:
    """Return a synthetic book of return-freight insurance, with the parameters from which it was drawn.

    Parameters
    ----------
    n_orders : int, 1 to 10**9
        Number of orders, about 2 % of them cancelled before shipment.
    seed : int, at least 0, default 0
        The same arguments and seed give the same book.
    n_merchants : int, from 1 to 10 million, optional
        Number of merchants; by default one for 250 orders, but at least 50. With fewer than 12, some industries have
        no merchant.
    merchant_deviation : float, 0 to 10, default 0.3
        Standard deviation of each merchant's factor on the claim intensity, a gamma with mean 1. With 0 every factor is
        exactly 1. The orders do not depend on it.
    n_days : int, 1 to 36525, default 365
        Number of days on which orders arrive, starting on 1 January 2025.

    Returns
    -------
    SimulatedBook
        Orders, claims, merchants, truth and valuation date.

    Raises
    ------
    InputError
        If an argument is not a number in the allowed range.

    Notes
    -----
    Claims of a shipped order are Poisson with mean ``frequency_base * prod_f relativity_f * deviation``. The freight of
    a claim is gamma with mean ``first_fee[zone] * (1 + 0.25 * k)``, where k is the number of started kilograms above
    the first, at most 10. The categories depend only on the seed, and so do the attributes of the first merchants.
    Neither depends on ``n_orders``.

    Examples
    --------
    >>> book = simulate_book(2_000, seed=1)
    >>> len(book.orders), len(book.merchants), str(book.as_of.date())
    (2000, 50, '2026-01-01')
    >>> float(book.truth.severity_base * book.truth.severity["zone"]["remote"])
    22.0
    """
    from freightrisk import _check

    n_orders = _check.whole(n_orders, argument="n_orders", low=1, high=10**9)
    seed = _check.whole(seed, argument="seed", low=0, high=2**63)
    if n_merchants is None:
        n_merchants = max(LEAST_MERCHANTS, n_orders // ORDERS_PER_MERCHANT)
    n_merchants = _check.whole(n_merchants, argument="n_merchants", low=1, high=10**7)
    deviation = _check.number(merchant_deviation, argument="merchant_deviation", low=0.0, high=10.0)
    n_days = _check.whole(n_days, argument="n_days", low=1, high=36_525)
    # One stream for each part, so that a change of one argument leaves the other parts as they are.
    tree_seed, merchant_seed, order_seed, claim_seed = np.random.SeedSequence(seed).spawn(4)
    leaves = _leaf_table(np.random.default_rng(tree_seed))
    sellers = _seller_table(merchant_seed, n_merchants, deviation)
    orders = _draw_orders(np.random.default_rng(order_seed), leaves, sellers, n_orders, n_days)
    truth = _state_truth(leaves, sellers, orders)
    return SimulatedBook(
        orders=orders,
        claims=_draw_claims(np.random.default_rng(claim_seed), truth, orders),
        merchants=sellers[["merchant_id", "experience_score", "segment"]].copy(),
        truth=truth,
        as_of=pd.Timestamp(_date(np.array(n_days))),
    )


def _leaf_table(rng: Rng) -> pd.DataFrame:
    """Draw the category tree, one row a leaf; relativities have mean 1 over the orders of their parent."""
    paths = [f"{name}/{stem}" for name, row in INDUSTRIES.items() for stem in str(row[-1]).split()]
    industry, category_rank = np.divmod(np.arange(len(paths)), len(LEAVES_BY_RANK))
    category = np.repeat(np.arange(len(paths)), np.array(LEAVES_BY_RANK)[category_rank])
    rank = np.concatenate([np.arange(1, LEAVES_BY_RANK[k] + 1) for k in category_rank])
    labels = [f"{paths[c]}/{paths[c].split('/')[1]}-{r:02d}" for c, r in zip(category, rank, strict=True)]
    category_share = _share_within(industry, (category_rank + 1.0) ** -CATEGORY_ZIPF)
    leaf_share = _share_within(category, rank**-LEAF_ZIPF)
    rate = _industry("claim_rate", industry) * _spread(rng, CATEGORY_SPREAD, industry, category_share)
    relativity = _spread(rng, LEAF_SPREAD, category, leaf_share) * rate[category] / FREQUENCY_BASE
    median_price = _industry("price", industry) * np.exp(PRICE_SPREAD * rng.standard_normal(len(paths)))
    return pd.DataFrame(
        {
            "industry": _labelled(industry[category], INDUSTRIES),
            "category": _labelled(category, paths),
            "leaf": _labelled(np.arange(len(labels)), labels),
            "share": (_industry("share", industry) * category_share)[category] * leaf_share,
            "relativity": relativity,
            "median_price": median_price[category],
        }
    )


def _seller_table(seed: np.random.SeedSequence, n: int, deviation: float) -> pd.DataFrame:
    """Draw the merchants; each attribute has its own stream, so that more merchants leave the first ones unchanged."""
    size_rng, industry_rng, score_rng, segment_rng, deviation_rng = map(np.random.default_rng, seed.spawn(5))
    size = np.minimum((1.0 - size_rng.random(n)) ** (-1.0 / SIZE_PARETO), SIZE_CAP)
    industry = _pick(industry_rng, _industry("share"), n)
    # The first merchants take one industry each, so that twelve merchants suffice to sell everything.
    industry[: len(INDUSTRIES)] = np.arange(min(n, len(INDUSTRIES)))
    segment = _pick(segment_rng, SEGMENT_SHARES, n)
    segment[size > SIZE_LARGE] = list(CHANNEL_MIX).index("large")
    # Below 1e-8 the factor is 1 to double precision, and the shape of the gamma would overflow.
    spread = deviation_rng.gamma(deviation**-2, deviation**2, n) if deviation > 1e-8 else np.ones(n)
    return pd.DataFrame(
        {
            "merchant_id": np.arange(1, n + 1, dtype=np.int32),
            "experience_score": np.round(1.0 + 4.0 * score_rng.random(n) ** (1.0 / SCORE_POWER), 2),
            "segment": _labelled(segment, CHANNEL_MIX),
            "industry": industry,
            "share": _share_within(industry, size) * _industry("share", industry),
            "deviation": spread,
        }
    )


def _draw_orders(rng: Rng, leaves: pd.DataFrame, sellers: pd.DataFrame, n: int, n_days: int) -> pd.DataFrame:
    """Draw all orders: days, merchant, goods of the merchant's industry, route, price and weight."""
    campaign_of_day = _campaign_calendar(n_days + len(SHIP_DELAY_SHARES))
    volume = np.array(CAMPAIGN_VOLUME)[campaign_of_day[:n_days]]
    order_day = np.repeat(np.arange(n_days, dtype=np.int32), rng.multinomial(n, volume / volume.sum()))
    ship_day = order_day + _pick(rng, SHIP_DELAY_SHARES, n)
    shipped = rng.random(n) >= CANCELLED_SHARE
    merchant = _pick(rng, sellers["share"].to_numpy(), n)
    industry = sellers["industry"].to_numpy()[merchant]
    leaf_share = leaves["share"].to_numpy().reshape(len(INDUSTRIES), -1)
    leaf = industry * leaf_share.shape[1] + _pick(rng, leaf_share, n, industry)
    price_noise = np.exp(_industry("price_sigma", industry) * rng.standard_normal(n))
    weight_noise = np.exp(_industry("weight_sigma", industry) * rng.standard_normal(n))
    segment = sellers["segment"].cat.codes.to_numpy()[merchant]
    channel = _pick(rng, _channel_mix(), n, segment * np.int32(len(INDUSTRIES)) + industry)
    campaign = campaign_of_day[ship_day] * shipped
    return pd.DataFrame(
        {
            "order_id": np.arange(1, n + 1, dtype=np.int64),
            "merchant_id": sellers["merchant_id"].to_numpy()[merchant],
            "order_date": _date(order_day),
            "ship_date": np.where(shipped, _date(ship_day), np.datetime64("NaT", "us")),
            **{level: leaves[level].array.take(leaf) for level in ("industry", "category", "leaf")},
            "zone": _labelled(_pick(rng, ZONE_SHARES, n), ZONE_FIRST_FEE),
            "weight_kg": np.maximum(np.round(_industry("weight_kg", industry) * weight_noise, 3), 0.001),
            "price": np.maximum(np.round(leaves["median_price"].to_numpy()[leaf] * price_noise, 2), 0.01),
            "channel": _labelled(channel, LEVEL_FREQUENCY["channel"]),
            "campaign": _labelled(campaign, LEVEL_FREQUENCY["campaign"]),
            "n_lines": (1 + _pick(rng, LINE_SHARES, n)).astype(np.int8),
        },
        copy=False,
    )


def _state_truth(leaves: pd.DataFrame, sellers: pd.DataFrame, orders: pd.DataFrame) -> BookTruth:
    """Return the tables of the truth, and their product for every order."""
    zone_fee = pd.Series(ZONE_FIRST_FEE)
    paths = leaves[["industry", "category", "leaf"]].astype(str).agg(" > ".join, axis=1)
    frequency = {"category_path": pd.Series(leaves["relativity"].to_numpy(), index=paths.array)}
    frequency |= {name: pd.Series(table) for name, table in (LEVEL_FREQUENCY | BAND_FREQUENCY).items()}
    severity = {"zone": zone_fee / zone_fee.iloc[0], "weight_kg": pd.Series(WEIGHT_SEVERITY)}
    seller = orders["merchant_id"].to_numpy() - 1
    score_code = np.searchsorted(BAND_EDGES["experience_score"], sellers["experience_score"])[seller]
    codes = {"category_path": orders["leaf"].cat.codes.to_numpy(), "experience_score": score_code}
    codes |= {name: orders[name].cat.codes.to_numpy() for name in LEVEL_FREQUENCY}
    # Bands are closed on the right, which is the default side "left" of searchsorted.
    codes |= {name: np.searchsorted(BAND_EDGES[name], orders[name]) for name in ("price", "weight_kg")}
    deviation = sellers.set_index("merchant_id")["deviation"].rename("merchant_deviation")
    intensity = FREQUENCY_BASE * prod(table.to_numpy()[codes[name]] for name, table in frequency.items())
    mean_freight = zone_fee.iloc[0] * prod(table.to_numpy()[codes[name]] for name, table in severity.items())
    return BookTruth(
        frequency_base=FREQUENCY_BASE,
        severity_base=float(zone_fee.iloc[0]),
        frequency=frequency,
        severity=severity,
        merchant_deviation=deviation,
        claim_intensity=intensity * deviation.to_numpy()[seller] * orders["ship_date"].notna().to_numpy(),
        mean_freight=mean_freight,
    )


def _draw_claims(rng: Rng, truth: BookTruth, orders: pd.DataFrame) -> pd.DataFrame:
    """Draw the claims of every order, their lags and their freight."""
    row = np.repeat(np.arange(len(orders)), rng.poisson(truth.claim_intensity))
    lag_days = rng.gamma(LAG_SHAPE, LAG_MEAN_DAYS / LAG_SHAPE, row.size)
    # Lags beyond the cover are drawn again, which gives the gamma conditional on ending within the cover.
    while (late := lag_days > COVER_DAYS).any():
        lag_days[late] = rng.gamma(LAG_SHAPE, LAG_MEAN_DAYS / LAG_SHAPE, int(late.sum()))
    report_date = orders["ship_date"].to_numpy()[row] + (lag_days * 86_400).astype("m8[s]")
    freight = rng.gamma(FREIGHT_SHAPE, truth.mean_freight[row] / FREIGHT_SHAPE)
    by_report = np.argsort(report_date, kind="stable")
    return pd.DataFrame(
        {
            "claim_id": np.arange(1, row.size + 1, dtype=np.int64),
            "order_id": orders["order_id"].to_numpy()[row[by_report]],
            "report_date": report_date[by_report],
            "freight": np.maximum(np.round(freight[by_report], 2), 0.01),
        }
    )


def _channel_mix() -> Floats:
    """Return the channel shares by merchant segment and industry; `live_pull` scales the share of live sales."""
    mix = np.repeat(np.array(list(CHANNEL_MIX.values())), len(INDUSTRIES), axis=0)
    live = list(LEVEL_FREQUENCY["channel"]).index("live_stream")
    mix[:, live] *= np.tile(_industry("live_pull"), len(CHANNEL_MIX))
    return mix


def _campaign_calendar(n_days: int) -> Codes:
    """Return the campaign code of each day from the start."""
    date = pd.DatetimeIndex(_date(np.arange(n_days)))
    month_day = (date.month * 100 + date.day).to_numpy()
    code = np.zeros(n_days, dtype=np.int8)
    for campaign, (first, last) in CAMPAIGN_WINDOWS.items():
        code[(month_day >= first) & (month_day <= last)] = list(LEVEL_FREQUENCY["campaign"]).index(campaign)
    return code


def _date(day: Codes) -> NDArray[np.datetime64]:
    return START_DATE + day.astype("m8[D]").astype("m8[us]")


def _industry(name: str, code: Codes | slice = slice(None)) -> Floats:
    """Return one column of the industry table: all rows, or one entry for each code."""
    return np.array([row[INDUSTRY_COLUMNS.index(name)] for row in INDUSTRIES.values()], dtype=float)[code]


def _labelled(codes: Codes, labels: Iterable[str]) -> pd.Categorical:
    return pd.Categorical.from_codes(codes, categories=list(labels))


def _pick(rng: Rng, shares: Sequence[float] | Floats, n: int, row: Codes | int = 0) -> Codes:
    """Draw n codes by share, or each code by the shares of its row of a table; the first codes do not depend on n."""
    table = np.atleast_2d(shares)
    # Cumulative shares of row r are shifted by r, so that one search serves the draws of all rows.
    upper = table.cumsum(axis=1) / table.sum(axis=1, keepdims=True) + np.arange(len(table))[:, None]
    code: Codes = np.searchsorted(upper.ravel(), row + rng.random(n), side="right") - row * table.shape[1]
    # Rounding may carry a draw at the edge of a row into the next row.
    return code.clip(0, table.shape[1] - 1).astype(np.int32)


def _share_within(group: Codes, size: Floats) -> Floats:
    return size / np.bincount(group, weights=size)[group]


def _spread(rng: Rng, sigma: float, group: Codes, share: Floats) -> Floats:
    """Draw lognormal relativities, cut at two standard deviations, with share-weighted mean 1 in each group."""
    relativity = np.exp(sigma * np.clip(rng.standard_normal(group.size), -2.0, 2.0))
    return relativity / np.bincount(group, weights=share * relativity)[group]
