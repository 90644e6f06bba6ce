"""The orders of a simulated book: category tree, merchants, days, goods, routes, prices and weights."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from freightrisk.simulation.catalogue import (
    CAMPAIGN_VOLUME,
    CAMPAIGN_WINDOWS,
    CANCELLED_SHARE,
    CATEGORY_SPREAD,
    CATEGORY_ZIPF,
    CHANNEL_MIX,
    FREQUENCY_BASE,
    INDUSTRIES,
    INDUSTRY_COLUMNS,
    LEAF_SPREAD,
    LEAF_ZIPF,
    LEAVES_BY_RANK,
    LEVEL_FREQUENCY,
    LINE_SHARES,
    PRICE_SPREAD,
    SCORE_POWER,
    SEGMENT_SHARES,
    SHIP_DELAY_SHARES,
    SIZE_CAP,
    SIZE_LARGE,
    SIZE_PARETO,
    START_DATE,
    ZONE_FIRST_FEE,
    ZONE_SHARES,
)

Floats = NDArray[np.float64]
Codes = NDArray[np.integer[Any]]
Rng = np.random.Generator


def leaf_table(rng: Rng) -> pd.DataFrame:
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
            "industry": labelled(industry[category], INDUSTRIES),
            "category": labelled(category, paths),
            "leaf": labelled(np.arange(len(labels)), labels),
            "share": (_industry("share", industry) * category_share)[category] * leaf_share,
            "relativity": relativity,
            "median_price": median_price[category],
        }
    )


def seller_table(seed: np.random.SeedSequence, n: int, deviation: float) -> pd.DataFrame:
    """Draw the merchants; each attribute has its own stream, so that more merchants leave the first ones unchanged."""
    size_rng, industry_rng, score_rng, segment_rng, deviation_rng = map(np.random.default_rng, seed.spawn(5))
    size = np.minimum((1.0 - size_rng.random(n)) ** (-1.0 / SIZE_PARETO), SIZE_CAP)
    industry = pick(industry_rng, _industry("share"), n)
    # The first merchants take one industry each, so that twelve merchants suffice to sell everything.
    industry[: len(INDUSTRIES)] = np.arange(min(n, len(INDUSTRIES)))
    segment = pick(segment_rng, SEGMENT_SHARES, n)
    segment[size > SIZE_LARGE] = list(CHANNEL_MIX).index("large")
    # Below 1e-8 the factor is 1 to double precision, and the shape of the gamma would overflow.
    spread = deviation_rng.gamma(deviation**-2, deviation**2, n) if deviation > 1e-8 else np.ones(n)
    return pd.DataFrame(
        {
            "merchant_id": np.arange(1, n + 1, dtype=np.int32),
            "experience_score": np.round(1.0 + 4.0 * score_rng.random(n) ** (1.0 / SCORE_POWER), 2),
            "segment": labelled(segment, CHANNEL_MIX),
            "industry": industry,
            "share": _share_within(industry, size) * _industry("share", industry),
            "deviation": spread,
        }
    )


def draw_orders(rng: Rng, leaves: pd.DataFrame, sellers: pd.DataFrame, n: int, n_days: int) -> pd.DataFrame:
    """Draw all orders: days, merchant, goods of the merchant's industry, route, price and weight."""
    campaign_of_day = campaign_calendar(n_days + len(SHIP_DELAY_SHARES))
    volume = np.array(CAMPAIGN_VOLUME)[campaign_of_day[:n_days]]
    order_day = np.repeat(np.arange(n_days, dtype=np.int32), rng.multinomial(n, volume / volume.sum()))
    ship_day = order_day + pick(rng, SHIP_DELAY_SHARES, n)
    shipped = rng.random(n) >= CANCELLED_SHARE
    merchant = pick(rng, sellers["share"].to_numpy(), n)
    industry = sellers["industry"].to_numpy()[merchant]
    leaf_share = leaves["share"].to_numpy().reshape(len(INDUSTRIES), -1)
    leaf = industry * leaf_share.shape[1] + pick(rng, leaf_share, n, industry)
    price_noise = np.exp(_industry("price_sigma", industry) * rng.standard_normal(n))
    weight_noise = np.exp(_industry("weight_sigma", industry) * rng.standard_normal(n))
    segment = sellers["segment"].cat.codes.to_numpy()[merchant]
    channel = pick(rng, _channel_mix(), n, segment * np.int32(len(INDUSTRIES)) + industry)
    campaign = campaign_of_day[ship_day] * shipped
    return pd.DataFrame(
        {
            "order_id": np.arange(1, n + 1, dtype=np.int64),
            "merchant_id": sellers["merchant_id"].to_numpy()[merchant],
            "order_date": date_of(order_day),
            "ship_date": np.where(shipped, date_of(ship_day), np.datetime64("NaT", "us")),
            **{level: leaves[level].array.take(leaf) for level in ("industry", "category", "leaf")},
            "zone": labelled(pick(rng, ZONE_SHARES, n), ZONE_FIRST_FEE),
            "weight_kg": np.maximum(np.round(_industry("weight_kg", industry) * weight_noise, 3), 0.001),
            "price": np.maximum(np.round(leaves["median_price"].to_numpy()[leaf] * price_noise, 2), 0.01),
            "channel": labelled(channel, LEVEL_FREQUENCY["channel"]),
            "campaign": labelled(campaign, LEVEL_FREQUENCY["campaign"]),
            "n_lines": (1 + pick(rng, LINE_SHARES, n)).astype(np.int8),
        },
        copy=False,
    )


def _channel_mix() -> Floats:
    """Return the channel shares by merchant segment and industry; `live_pull` scales the share of live sales."""
    mix = np.repeat(np.array(list(CHANNEL_MIX.values())), len(INDUSTRIES), axis=0)
    live = list(LEVEL_FREQUENCY["channel"]).index("live_stream")
    mix[:, live] *= np.tile(_industry("live_pull"), len(CHANNEL_MIX))
    return mix


def campaign_calendar(n_days: int) -> Codes:
    """Return the campaign code of each day from the start."""
    date = pd.DatetimeIndex(date_of(np.arange(n_days)))
    month_day = (date.month * 100 + date.day).to_numpy()
    code = np.zeros(n_days, dtype=np.int8)
    for campaign, (first, last) in CAMPAIGN_WINDOWS.items():
        code[(month_day >= first) & (month_day <= last)] = list(LEVEL_FREQUENCY["campaign"]).index(campaign)
    return code


def date_of(day: Codes) -> NDArray[np.datetime64]:
    """Return the dates of days that are counted from the start of the book."""
    return START_DATE + day.astype("m8[D]").astype("m8[us]")


def _industry(name: str, code: Codes | slice = slice(None)) -> Floats:
    """Return one column of the industry table: all rows, or one entry for each code."""
    return np.array([row[INDUSTRY_COLUMNS.index(name)] for row in INDUSTRIES.values()], dtype=float)[code]


def labelled(codes: Codes, labels: Iterable[str]) -> pd.Categorical:
    """Return a column of labels from their codes."""
    return pd.Categorical.from_codes(codes, categories=list(labels))


def pick(rng: Rng, shares: Sequence[float] | Floats, n: int, row: Codes | int = 0) -> Codes:
    """Draw n codes by share, or each code by the shares of its row of a table; the first codes do not depend on n."""
    return chosen(rng.random(n), shares, row)


def chosen(uniform: Floats, shares: Sequence[float] | Floats, row: Codes | int = 0) -> Codes:
    """Return the codes at which uniform numbers stand among cumulative shares, of one row or of each row of a table."""
    table = np.atleast_2d(shares)
    # Cumulative shares of row r are shifted by r, so that one search serves the draws of all rows.
    upper = table.cumsum(axis=1) / table.sum(axis=1, keepdims=True) + np.arange(len(table))[:, None]
    code: Codes = np.searchsorted(upper.ravel(), row + uniform, side="right") - row * table.shape[1]
    # Rounding may carry a draw at the edge of a row into the next row.
    return code.clip(0, table.shape[1] - 1).astype(np.int32)


def _share_within(group: Codes, size: Floats) -> Floats:
    return size / np.bincount(group, weights=size)[group]


def _spread(rng: Rng, sigma: float, group: Codes, share: Floats) -> Floats:
    """Draw lognormal relativities, cut at two standard deviations, with share-weighted mean 1 in each group."""
    relativity = np.exp(sigma * np.clip(rng.standard_normal(group.size), -2.0, 2.0))
    return relativity / np.bincount(group, weights=share * relativity)[group]
