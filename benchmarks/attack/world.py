"""Small fitted tariffs that together have every part of a document, and orders for them."""

from functools import cache

import numpy as np
import pandas as pd

from freightrisk import (
    Band,
    ByLevel,
    Cover,
    Credibility,
    ExperienceRating,
    Factor,
    FittedModel,
    Free,
    FreightSchedule,
    FrequencyModel,
    Hierarchy,
    Interaction,
    Interval,
    Loadings,
    OrderBook,
    ScheduleSeverity,
    ScoreCurve,
    SeverityModel,
    Smooth,
    Subsidy,
    Tariff,
)

FIRST_DAY = np.datetime64("2026-06-01T00:00:00")
CHANNELS = ("live_stream", "search", "shelf", "平台")
ZONES = ("city", "near", "far")
LEAVES = (("apparel", "dress"), ("apparel", "shirt"), ("home", "lamp"), ("shoes", "boot"))
MERCHANTS = ("m1", "m2", "m3", "m4")

FACTORS = [
    Factor("channel", unseen="parent", missing="level"),
    Factor("zone"),
    Hierarchy("category", ["industry", "leaf"], unseen="parent", min_claims=3),
    Band("weight_kg", [1.0, 2.0, 5.0], valid=(0.0, 100.0)),
    Band("score", [4.2, 4.5, 4.8], column="experience_score", valid=(1.0, 5.0)),
]

OPEN_RULES = [
    Subsidy("live", "platform", percent_of_list=0.2, where={"channel": ["live_stream", "search"]}, cap_fen=50),
    Subsidy("score", "insurer", percent_of_rest=0.1, where={"experience_score": Interval(above=4.8)}),
    Subsidy("一分钱", "平台", price_to_fen=1, where={"price": Interval(at_most=20)}, start="2026-06-10", group="one"),
    Subsidy("member", "平台", fixed_fen=3, where={"member": [True], "tier": [1, 2]}, end="2026-06-20", group="one"),
]
LIMITED_RULES = [
    Subsidy("budget", "platform", fixed_fen=7, budget_fen=60),
    Subsidy("by day", "insurer", percent_of_list=0.3, merchant_cap_fen=9, period="day"),
    Subsidy("by month", "insurer", price_to_fen=2, merchant_cap_fen=9, period="month", budget_fen=100, group="two"),
    Subsidy("other", "platform", fixed_fen=2, group="two"),
]


def draw_orders(n_orders: int, seed: int) -> pd.DataFrame:
    """Return orders with all columns that any of the tariffs reads."""
    rng = np.random.default_rng(seed)
    leaf = rng.integers(0, len(LEAVES), n_orders)
    paths = np.array(LEAVES, dtype=object)[leaf]
    return pd.DataFrame(
        {
            "order_id": rng.permutation(n_orders) + 1,
            "merchant_id": rng.choice(np.array(MERCHANTS, dtype=object), n_orders),
            "ship_date": FIRST_DAY + rng.integers(0, 30 * 86_400, n_orders).astype("timedelta64[s]"),
            "channel": rng.choice(np.array(CHANNELS, dtype=object), n_orders),
            "zone": rng.choice(np.array(ZONES, dtype=object), n_orders),
            "industry": paths[:, 0],
            "leaf": paths[:, 1],
            "weight_kg": rng.choice([0.3, 1.0, 1.2, 4.9, 30.0], n_orders),
            "experience_score": rng.choice(np.round(np.arange(4.0, 5.01, 0.1), 1), n_orders),
            "price": rng.choice([0.5, 19.99, 20.0, 99.5, 300.0], n_orders),
            "tier": rng.integers(1, 4, n_orders),
            "member": rng.choice([True, False], n_orders),
            "lines": rng.integers(1, 4, n_orders),
            "priority": rng.integers(0, 2, n_orders),
        }
    )


def book_of(n_orders: int, *, lines: bool = False) -> OrderBook:
    """Return a book of drawn orders; three in ten have a claim."""
    orders = draw_orders(n_orders, 8)
    rng = np.random.default_rng(9)
    claimed = orders[rng.random(len(orders)) < 0.3]
    claims = claimed[["order_id"]].assign(
        freight=rng.gamma(10.0, 0.9, len(claimed)).round(2) + 0.01,
        report_date=claimed["ship_date"] + pd.Timedelta("9D"),
    )
    return OrderBook.from_frames(orders, claims, factors=FACTORS, as_of="2026-09-01", lines="lines" if lines else None)


@cache
def models() -> dict[str, FittedModel]:
    """Return fitted models by name that together have every part of a document."""
    book, by_line = book_of(1_000), book_of(1_000, lines=True)
    effects = [Credibility("category"), Smooth("score"), "channel", Interaction("zone", "channel")]
    return {
        "wide": FrequencyModel(effects).fit(book),
        "free": FrequencyModel(["channel", "zone"], family="negative_binomial").fit(book),
        "lines": FrequencyModel(["channel"], family="beta_binomial").fit(by_line),
        "freight": SeverityModel(["zone", Free("weight_kg", monotone="increasing")], family="lognormal").fit(book),
    }


@cache
def tariffs() -> dict[str, Tariff]:
    """Return the tariffs by name, fitted once in each process."""
    book, by_line = book_of(3_000), book_of(3_000, lines=True)
    frequency = FrequencyModel(["channel", "category"]).fit(book)
    severity = SeverityModel(["zone", "weight_kg"]).fit(book)
    fees = ByLevel("zone", {"city": 6.0, "near": 8.0, "far": 12.5})
    full = Tariff.build(
        FrequencyModel(["channel", "category", "score"]).fit(book),
        severity,
        cover=Cover(max_claims=2, limit=20.0, first_weight_fee=fees),
        loadings=Loadings(channel=0.15, profit=0.02, claim_handling=0.3, fraud_load=0.01, filed_max=9.0),
        subsidies=OPEN_RULES,
        name="full",
    )
    crossed = FrequencyModel(["channel", Interaction("zone", "weight_kg")]).fit(book)
    schedule = pd.DataFrame({"zone": ZONES, "first_fee": [6.0, 8.0, 12.5], "step_fee": [1.0, 2.0, 6.0]}).assign(
        first_weight_g=1000, step_weight_g=1000
    )
    grams = np.random.default_rng(7).integers(100, 6_000, book.n_orders)
    scheduled = ScheduleSeverity(FreightSchedule(schedule), zone="zone").fit(book, weight_g=grams)
    score = book.codings["score"]
    curve = ScoreCurve(score, np.linspace(1.3, 0.7, score.n_slots), np.ones(score.n_slots), version="2026")
    unlimited = Cover(max_claims=None)
    # Each further tariff adds parts that "full" lacks: limits, carried and dithered rounding, lines, pairs, experience.
    return {
        "full": full,
        "plain": Tariff.build(frequency, severity, cover=unlimited, name="plain"),
        "limited": Tariff.build(
            frequency, severity, cover=unlimited, subsidies=LIMITED_RULES, rounding="carry", name="limited"
        ),
        "drawn": Tariff.build(
            frequency, severity, subsidies=OPEN_RULES[:1], rounding="dither", dither_key="a key", name="drawn"
        ),
        "lines": Tariff.build(
            FrequencyModel(["channel"], family="beta_binomial").fit(by_line),
            severity,
            cover=Cover(max_claims=2, merge_share=0.25),
            name="lines",
        ),
        "crossed": Tariff.build(crossed, scheduled, cover=Cover(limit=9.0), name="crossed"),
        "rated": Tariff.build(
            frequency, severity, experience=ExperienceRating([curve], {"m1": 0.7, "m2": 1.4}, "2026-06"), name="rated"
        ),
    }
