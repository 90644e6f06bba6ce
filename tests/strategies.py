"""Hypothesis strategies named after the domain: covers, loadings, subsidy rules, tariffs and their orders.

Tariffs are put together without a fit, over one small world of rating factors (`CODINGS`) and order columns. What
decides the money is drawn by hypothesis and shrinks; long tables and orders come from a drawn seed.
"""

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cache

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from freightrisk import (
    Band,
    ByLevel,
    Cover,
    Factor,
    Fund,
    Hierarchy,
    Interval,
    Limit,
    Loadings,
    Subsidy,
    Tariff,
    _blocks,
    _core,
)
from freightrisk.book.codings import Coding, code_type
from freightrisk.book.factors import MISSING
from freightrisk.errors import InputError
from freightrisk.models.shapes import ScaleShape
from freightrisk.tariff import curves
from freightrisk.tariff.plan import price_plan
from freightrisk.tariff.rates import CoverCurves, RateTables
from freightrisk.tariff.rounding import Rounding
from freightrisk.tariff.subsidy import in_stacking_order

CHANNELS = ("live_stream", "mini_app", "search", "store")
ZONES = ("city", "far", "near")
LEAVES = (("apparel", "dress"), ("apparel", "shirt"), ("home", "lamp"), ("shoes", "boot"), ("shoes", "sandal"))
CLASSES = tuple(range(300))
TIERS = (1, 2, 3)
PAYERS = ("insurer", "platform", "平台")
FIRST_DAY = date(2025, 6, 1)
N_DAYS = 30
SCORES = np.round(np.arange(4.0, 5.01, 0.1), 1)
DISPERSIONS = (0.05, 0.3, 0.5, 1.0)


def flat_coding(declared, values):
    """Return the coding of a factor whose levels are the given values of one column."""
    paths = tuple((value,) for value in values)
    return Coding(declared, paths, {path: code for code, path in enumerate(paths)})


def band_coding(declared):
    """Return the coding of a band that kept all of its declared edges."""
    paths = tuple((k,) for k in range(len(declared.edges) + 1))
    return Coding(declared, paths, {path: code for code, path in enumerate(paths)}, declared.edges)


def tree_coding(declared, leaves):
    """Return the coding of a hierarchy with the given leaves."""
    return Coding(declared, leaves, {path: code for code, path in enumerate(leaves)})


CODINGS = {
    coding.name: coding
    for coding in (
        flat_coding(Factor("channel", unseen="parent", missing="level"), (*CHANNELS, MISSING)),
        flat_coding(Factor("zone"), ZONES),
        flat_coding(Factor("merchant_class", unseen="parent"), CLASSES),
        tree_coding(Hierarchy("category", ["industry", "leaf"], unseen="parent"), LEAVES),
        band_coding(Band("weight_kg", [1.0, 2.0, 5.0], valid=(0.0, 100.0))),
        band_coding(Band("score", [4.2, 4.5, 4.8], column="experience_score", valid=(1.0, 5.0))),
    )
}

seeds = st.integers(0, 2**32 - 1)
shares = st.integers(0, 30).map(lambda percent: percent / 100)
days = st.integers(-2, N_DAYS + 2).map(lambda k: FIRST_DAY + timedelta(days=k))
yuan = st.integers(100, 4000).map(lambda fen: fen / 100)
amounts_by_zone = st.tuples(yuan, yuan, yuan).map(lambda values: ByLevel("zone", dict(zip(ZONES, values, strict=True))))


@st.composite
def covers(draw, zone=True):
    """Covers with any number of claims; limits by zone only where the tariff rates it."""
    limit = draw(LIMITS if zone else FLAT_LIMITS)
    first_weight_fee = draw(FEES) if zone else None
    return Cover(max_claims=draw(CLAIM_NUMBERS), limit=limit, first_weight_fee=first_weight_fee)


@st.composite
def rule_limits(draw, name):
    """A limit by rule: flat or a share of the price, with conditions, dates and a priority."""
    share = draw(st.none() | st.sampled_from([0.05, 0.3, 1.0]))
    start, end = draw(PERIODS)
    return Limit(
        name,
        draw(st.sampled_from([0.0, 5.0, 12.0, 25.0, 50.0, 3000.0])),
        where={column: draw(CONDITIONS[column]) for column in draw(GATE_COLUMNS)},
        start=start,
        end=end,
        priority=draw(st.integers(0, 2)),
        share=share,
        of=None if share is None else "price",
    )


COVERED_BY = st.sampled_from([[], [], ["segment"], ["price"]])


@st.composite
def covers_with_rules(draw, zone=True):
    """Covers with limits by rule, conditions, a deductible and coinsurance; rules that never decide are left out."""
    rules, choose = [], draw(st.sampled_from(["largest", "smallest", "first"]))
    for k in range(draw(st.integers(0, 5))):
        more = [*rules, draw(rule_limits(f"limit {k}"))]
        with suppress(InputError):
            rules = list(Cover(limits=more, choose=choose).limits)
    return replace(
        draw(covers(zone=zone)),
        limits=rules,
        choose=choose,
        eligible={column: draw(CONDITIONS[column]) for column in draw(COVERED_BY)},
        deductible=draw(st.sampled_from([0.0, 0.0, 0.5, 6.0, 40.0])),
        coinsurance=draw(st.sampled_from([0.0, 0.0, 0.1, 0.5])),
        amount_of=draw(st.sampled_from([None, None, "price"])),
    )


CLAIM_NUMBERS = st.sampled_from([1, 1, 2, 3, None])
FLAT_LIMITS = st.none() | yuan
FEES = st.none() | amounts_by_zone
LIMITS = st.one_of(st.none(), yuan, amounts_by_zone)


@st.composite
def loadings(draw):
    """Loadings with expenses in the ranges of the trade and filed limits that sometimes bind, on ties too."""
    lowest, highest = draw(FILED_LIMITS)
    handling, policy, factor = draw(EXPENSES)
    channel, levy, profit, fraud = draw(FOUR_SHARES)
    return Loadings(
        fraud_load=fraud,
        claim_handling=handling,
        policy_cost=policy,
        channel=channel,
        levy=levy,
        profit=profit,
        filed_factor=factor,
        filed_min=lowest / 1e6,
        filed_max=highest / 1e6,
    )


OPEN = 10**13
FILED_LIMITS = st.sampled_from(
    [(0, OPEN)] * 5
    + [(low, OPEN) for low in (5_000, 15_000, 25_000, 100_000)]
    + [(0, 145_000), (0, 995_000), (15_000, 2_345_000), (0, 0), (25_000, 25_000), (145_000, 145_000)]
)
EXPENSES = st.tuples(
    st.sampled_from([0.0, 0.3, 1.25]), st.sampled_from([0.0, 0.0005, 0.001]), st.sampled_from([1.0, 1.0, 0.85, 1.3])
)
FOUR_SHARES = st.tuples(shares, shares, shares, shares)


def levels(*values):
    """Non-empty choices of levels."""
    return st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True)


CONDITIONS = {
    "channel": levels(*CHANNELS, "kiosk"),
    "segment": levels("new", "loyal", "key"),
    "tier": levels(*TIERS),
    "member": levels(True, False),
    "experience_score": st.sampled_from([Interval(above=4.8), Interval(at_most=4.5), Interval(above=4.2, at_most=4.8)]),
    "price": st.sampled_from([Interval(at_most=20), Interval(above=20, at_most=99.5), Interval(above=0)]),
    "tenure_days": st.sampled_from([Interval(above=30), Interval(at_most=90)]),
}
GATE_COLUMNS = st.lists(st.sampled_from(sorted(CONDITIONS)), max_size=2, unique=True)
BASIS_POINTS = st.sampled_from([1, 50, 1_000, 1_250, 2_500, 3_333, 5_000, 10_000]) | st.integers(1, 10_000)
AMOUNTS = {
    "percent_of_list": BASIS_POINTS.map(lambda points: points / 10_000),
    "percent_of_rest": BASIS_POINTS.map(lambda points: points / 10_000),
    "fixed_fen": st.integers(1, 60),
    "price_to_fen": st.integers(1, 60),
}
KINDS = st.sampled_from(sorted(AMOUNTS))
PERIODS = st.one_of(
    st.just((None, None)),
    st.tuples(days, st.none()),
    st.tuples(st.none(), days),
    st.tuples(days, days).map(lambda pair: tuple(sorted(pair))),
)
CAPS = st.none() | st.integers(1, 40)
GROUPS = st.sampled_from([None, None, "a", "b"])
PAYER_NAMES = st.sampled_from(PAYERS)


BUDGETS = st.none() | st.integers(0, 400) | st.just(10**6)
MERCHANT_CAPS = st.one_of(st.just((None, None)), st.tuples(st.integers(0, 60), st.sampled_from(["day", "month"])))
NO_LIMIT = st.just((None, (None, None)))
ANY_LIMIT = st.tuples(BUDGETS, MERCHANT_CAPS)


@st.composite
def subsidies(draw, name="rule", groups=GROUPS, limits=NO_LIMIT):
    """A subsidy rule of any kind, with conditions, dates, a cap and a stacking group."""
    budget, (merchant_cap, period) = draw(limits)
    kind = draw(KINDS)
    where = {column: draw(CONDITIONS[column]) for column in draw(GATE_COLUMNS)}
    start, end = draw(PERIODS)
    return Subsidy(
        name,
        draw(PAYER_NAMES),
        **{kind: draw(AMOUNTS[kind])},
        where=where,
        start=start,
        end=end,
        cap_fen=draw(CAPS),
        group=draw(groups),
        budget_fen=budget,
        merchant_cap_fen=merchant_cap,
        period=period,
    )


LIMITED_RULES = [subsidies(name=f"rule {k}", limits=ANY_LIMIT) for k in range(6)]


@st.composite
def limited_programmes(draw):
    """A list of subsidy rules of which some have budgets or caps by merchant."""
    return [draw(rule) for rule in LIMITED_RULES[: draw(st.integers(1, len(LIMITED_RULES)))]]


@st.composite
def funds(draw, name):
    """Funds with a budget, a limit by day or both, of which some spread their rest over the days."""
    per_day = draw(st.none() | st.integers(0, 60))
    budget = draw(st.integers(0, 300) | (st.none() if per_day is not None else st.nothing()))
    first, last = sorted([draw(days), draw(days)])
    dated = draw(st.booleans())
    pacing = "even" if dated and budget is not None and draw(st.booleans()) else None
    window = {"start": min(first, FIRST_DAY), "end": max(last, FIRST_DAY + timedelta(days=9))} if dated else {}
    return Fund(name, budget_fen=budget, per_day_fen=per_day, pacing=pacing, **window)


FUNDS = [funds(name) for name in ("618", "new merchants")]


@st.composite
def funded_programmes(draw):
    """Subsidy rules of which some draw on funds, and the funds."""
    rules, declared = draw(limited_programmes()), [draw(fund) for fund in FUNDS]
    names = [None, *(fund.name for fund in declared)]
    rules = [
        replace(rule, fund=draw(st.sampled_from(names)), start=None, end=None) if draw(st.booleans()) else rule
        for rule in rules
    ]
    used = {rule.fund for rule in rules}
    return rules, [fund for fund in declared if fund.name in used]


RULES = [subsidies(name=f"rule {k}") for k in range(6)]


@st.composite
def programmes(draw):
    """A list of subsidy rules in the order in which a user writes them."""
    return [draw(rule) for rule in RULES[: draw(st.integers(0, len(RULES)))]]


@cache
def limit_curve(dispersion):
    """Return the limit curve of a dispersion, made once."""
    return curves.limit_curve(ScaleShape(dispersion))


@cache
def count_curve(max_claims):
    """Return the count curve of a cover, made once."""
    return curves.count_curve(max_claims)


def rate_tables(names, rng, base):
    """Return random relativities around one for the named factors."""
    return RateTables(base, {name: np.exp(rng.normal(0.0, 0.5, CODINGS[name].n_slots)) for name in names})


def put_together(
    *, frequency, severity, cover=None, loadings=None, subsidies=(), dispersion=0.5, rounding="half_even",
    dither_key="", floor_fen=1, **more,
):  # fmt: skip
    """Return a tariff of rate tables over `CODINGS`, with the curves that its cover needs."""
    cover = Cover() if cover is None else cover
    names = dict.fromkeys([*frequency.tables, *severity.tables])
    return Tariff(
        **({"name": "drawn"} | more),
        codings={name: CODINGS[name] for name in names},
        frequency=frequency,
        severity=severity,
        cover=cover,
        loadings=Loadings() if loadings is None else loadings,
        subsidies=in_stacking_order(subsidies),
        curves=CoverCurves(count_curve(cover.max_claims), limit_curve(dispersion) if cover.needs_curve else None),
        rounding_rule=Rounding(rounding, dither_key, floor_fen),
    )


def changed(tariff, **changes):
    """Return the tariff with other values of its fields, or of the fields of its curves and of its rounding."""
    curves = {name: changes.pop(name) for name in CURVES if name in changes}
    rule = {inner: changes.pop(name) for name, inner in ROUNDING_FIELDS.items() if name in changes}
    curves = replace(tariff.curves, **curves)
    return replace(tariff, curves=curves, rounding_rule=replace(tariff.rounding_rule, **rule), **changes)


CURVES = ("count_curve", "limit_curve", "shares", "lines", "aggregate")
ROUNDING_FIELDS = {"rounding": "mode", "dither_key": "dither_key", "floor_fen": "floor_fen"}
FACTORS = st.lists(st.sampled_from(sorted(CODINGS)), unique=True, max_size=4)
FREQUENCY_BASES = st.sampled_from([1e-5, 0.002, 0.03, 0.2, 1.5])
SEVERITY_BASES = st.sampled_from([3.0, 8.0, 12.0, 25.0])
FLOORS = st.sampled_from([1, 1, 1, 0, 3])
SPREADS = st.sampled_from(DISPERSIONS)
PROGRAMMES, LOADS = programmes(), loadings()


@st.composite
def tariffs(draw, programme=PROGRAMMES, loads=LOADS, cover_of=covers):
    """Tariffs of random tables, from orders that cost next to nothing to some tens of yuan."""
    frequency, severity = draw(FACTORS), draw(FACTORS)
    rng = np.random.default_rng(draw(seeds))
    return put_together(
        frequency=rate_tables(frequency, rng, draw(FREQUENCY_BASES)),
        severity=rate_tables(severity, rng, draw(SEVERITY_BASES)),
        cover=draw(cover_of(zone="zone" in [*frequency, *severity])),
        loadings=draw(loads),
        subsidies=draw(programme),
        dispersion=draw(SPREADS),
        floor_fen=draw(FLOORS),
    )


def draw_orders(rng, n_orders):
    """Return a frame of random orders with every column of the world; some levels unseen, some values missing."""
    pick = rng.choice
    leaf = rng.integers(0, len(LEAVES) + 2, n_orders)
    leaves = np.array([*LEAVES, ("apparel", "coat"), ("toys", "kite")], dtype=object)[leaf]
    return pd.DataFrame(
        {
            "channel": pick(np.array([*CHANNELS, "kiosk", None], dtype=object), n_orders),
            "zone": pick(np.array(ZONES, dtype=object), n_orders),
            "merchant_class": rng.integers(0, len(CLASSES) + 20, n_orders),
            "industry": leaves[:, 0],
            "leaf": leaves[:, 1],
            "weight_kg": pick([0.3, 1.0, 1.2, 2.0, 4.9, 5.0, 30.0], n_orders),
            "experience_score": pick(SCORES, n_orders),
            "price": pick([0.5, 19.99, 20.0, 20.01, 99.5, 300.0], n_orders),
            "segment": pick(np.array(["new", "loyal", "key", "other", None], dtype=object), n_orders),
            "tier": pick(TIERS, n_orders),
            "member": pick([True, False], n_orders),
            "tenure_days": pick([0.0, 30.0, 31.0, 90.0, 91.0, np.nan], n_orders),
            "ship_date": np.datetime64(FIRST_DAY, "D").astype("datetime64[s]")
            + rng.integers(0, N_DAYS * 86_400, n_orders).astype("timedelta64[s]"),
        }
    )


MERCHANTS = ("m1", "m2", "m3", None)


def draw_batch(rng, n_orders):
    """Return random orders with ids, merchants and priorities, in no order, some not shipped."""
    frame = draw_orders(rng, n_orders)
    shipped = frame["ship_date"].to_numpy().astype("datetime64[D]").astype("datetime64[s]")
    return frame.assign(
        order_id=rng.permutation(n_orders),
        merchant_id=rng.choice(np.array(MERCHANTS, dtype=object), n_orders, p=[0.4, 0.3, 0.25, 0.05]),
        ship_date=np.where(rng.random(n_orders) < 0.05, np.datetime64("NaT", "s"), shipped),
        priority=rng.integers(0, 2, n_orders),
    )


def keys_of(document):
    """Return every object of a parsed document with each of its keys."""
    if isinstance(document, dict):
        here = [(document, key) for key in document]
        return here + [pair for value in document.values() for pair in keys_of(value)]
    return [pair for value in document for pair in keys_of(value)] if isinstance(document, list) else []


@st.composite
def repeated_keys(draw, document):
    """The text of a parsed document in which an object gives one key again, before or after, and that key."""
    holder, key = draw(st.sampled_from(keys_of(document)))
    items, again = dict(holder), {AGAIN: draw(st.sampled_from([holder[key], 5, "x", None, [], {}]))}
    holder.clear()
    holder.update(again | items if draw(st.booleans()) else items | again)
    return json.dumps(document).replace(json.dumps(AGAIN), json.dumps(key)), key


AGAIN = "the same key again"
FEW = st.integers(0, 40)


@st.composite
def orders(draw):
    """Frames of up to forty random orders."""
    return draw_orders(np.random.default_rng(draw(seeds)), draw(FEW))


@dataclass(frozen=True)
class Priced:
    """What the kernel wrote."""

    detail: np.ndarray
    list_fen: np.ndarray
    payers: np.ndarray
    merchant_fen: np.ndarray
    flags: np.ndarray

    def same_as(self, other):
        """Return whether every bit is the same."""
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in self.__dataclass_fields__)

    def rows(self, which):
        """Return some rows, or the same rows in another order."""
        return replace(self, **{name: getattr(self, name)[..., which] for name in self.__dataclass_fields__})


def slots_of(tariff):
    """Return how many codes each of the tariff's code columns has, by column."""
    return [coding.n_slots for coding in tariff.codings.values()] + [gate.n_slots for gate in tariff._gates]


def draw_codes(tariff, rng, n_orders):
    """Return random codes for every code column of a tariff, each of the narrowest type or a wider one."""
    widths = (np.uint8, np.uint16, np.uint32)
    return [
        rng.integers(0, slots, n_orders).astype(rng.choice(widths[widths.index(code_type(slots)) :]))
        for slots in slots_of(tariff)
    ]


TARIFFS = tariffs()
SIZES = st.one_of(FEW, st.integers(0, 1100), st.sampled_from([_blocks.BLOCK_ROWS + k for k in (-1, 0, 1)]))


@st.composite
def coded_tariffs(draw, sizes=SIZES):
    """A tariff and random codes for its code columns, around the kernel's block of rows and well below."""
    tariff = draw(TARIFFS)
    return tariff, draw_codes(tariff, np.random.default_rng(draw(seeds)), draw(sizes))


def blank(tariff, n_orders, fill=-7):
    """Return kernel outputs filled with a value that no price has."""
    return Priced(
        np.full((5, n_orders), float(fill)),
        np.full(n_orders, fill, dtype=np.int32),
        np.full((len(tariff.payers), n_orders), fill, dtype=np.int32),
        np.full(n_orders, fill, dtype=np.int32),
        np.full(n_orders, 249, dtype=np.uint8),
    )


def run_kernel(tariff, codes, n_orders, pieces=None, measures=None):
    """Return the kernel's outputs for code columns, priced piece by piece."""
    columns = _blocks.CodeColumns(codes, np.array(slots_of(tariff), dtype=np.int64), n_orders)
    plan = price_plan(tariff.pricer.plan_arguments)
    out = blank(tariff, n_orders)
    for start, stop in [(0, n_orders)] if pieces is None else pieces:
        outputs = (out.detail, out.list_fen, out.payers, out.merchant_fen, out.flags)
        _core.price(columns, plan, start, stop, *outputs, measures=measures)
    return out
