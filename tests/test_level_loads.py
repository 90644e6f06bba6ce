"""Fraud loads and filed factors by level, and moral hazard: kernel, worksheet, twin, settlement and documents agree."""

from dataclasses import replace
from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freightrisk import (
    ByLevel,
    Cover,
    Factor,
    FrequencyModel,
    InputError,
    Loadings,
    OrderBook,
    Settlement,
    SeverityModel,
    Subsidy,
    Tariff,
    _reference,
)
from freightrisk._config import parse_plan
from freightrisk.events import EventCover
from freightrisk.reports import moral_hazard_table
from freightrisk.tariff.document import parse_tariff
from freightrisk.tariff.parts import document_of, tariff_digest
from strategies import (
    CODINGS,
    FEW,
    covers,
    covers_with_rules,
    draw_batch,
    draw_codes,
    draw_orders,
    limited_programmes,
    put_together,
    rate_tables,
    run_kernel,
    seeds,
    tariffs,
)

# By level: a few levels or parents of a factor, and a default for the others.

FRAUD = st.sampled_from([0.0, 0.01, 0.03, 0.25, 3.0])
FILED = st.sampled_from([0.7, 0.85, 1.0, 1.25])
HAZARDS = st.sampled_from([0.0, 0.0, 0.05, 0.5])


@st.composite
def by_levels(draw, factors, amounts):
    """Amounts for some levels of one of the factors, with a default."""
    coding = CODINGS[draw(st.sampled_from(factors))]
    nodes = [" > ".join(map(str, node)) for node in coding.nodes if node]
    names = draw(st.lists(st.sampled_from([*coding.labels, *nodes]), min_size=1, max_size=4, unique=True))
    return ByLevel(coding.name, {name: draw(amounts) for name in names}, default=draw(amounts))


@st.composite
def level_tariffs(draw, of=None):
    """Tariffs with loads by level of one or two of their factors, and moral hazard."""
    tariff = draw(tariffs() if of is None else of)
    if not tariff.codings:
        return replace(tariff, loadings=replace(tariff.loadings, moral_hazard=draw(HAZARDS)))
    factors = sorted(tariff.codings)
    fraud, filed = draw(FRAUD | by_levels(factors, FRAUD)), draw(FILED | by_levels(factors, FILED))
    loads = replace(tariff.loadings, fraud_load=fraud, filed_factor=filed, moral_hazard=draw(HAZARDS))
    return replace(tariff, loadings=loads)


def amount_of(load, coding, code):
    """Return a load of one order, read from the words of ByLevel; None for an unseen level."""
    if not isinstance(load, ByLevel):
        return load
    if code >= coding.n_levels:
        return None
    path, label = coding.paths[code], coding.labels[code]
    parents = [" > ".join(map(str, path[:depth])) for depth in range(len(path), 0, -1)]
    return next((load.values[name] for name in (label, *parents) if name in load.values), load.default)


@given(level_tariffs(), FEW, seeds)
def test_the_kernel_is_its_slow_twin_to_the_last_bit(tariff, n, seed):
    codes = draw_codes(tariff, np.random.default_rng(seed), n) or []
    n = n if codes else 3
    priced = run_kernel(tariff, codes, n)
    for k in range(n):
        arguments = tariff.pricer.plan_arguments
        order = _reference.price_order([int(column[k]) for column in codes], arguments, len(tariff.payers))
        assert [order.claim_intensity, order.expected_claims, order.expected_payout] == priced.detail[:3, k].tolist()
        assert [order.pure_premium, order.technical_premium] == priced.detail[3:, k].tolist()
        assert (order.list_fen, order.merchant_fen) == (priced.list_fen[k], priced.merchant_fen[k])
        assert order.payers_fen == tuple(priced.payers[:, k].tolist())
        assert order.flags == priced.flags[k]


@given(level_tariffs(), seeds)
def test_each_order_has_the_premium_of_a_tariff_with_its_own_loads(tariff, seed):
    # An independent twin: for each pair of loads, the whole book under floats. Unseen levels are not compared.
    rng = np.random.default_rng(seed)
    codes = draw_codes(tariff, rng, 30) or []
    n = 30 if codes else 3
    found, loads = run_kernel(tariff, codes, n), tariff.loadings
    column = dict(zip(tariff.codings, codes, strict=False))

    def each(load):
        if not isinstance(load, ByLevel):
            return [load] * n
        return [amount_of(load, tariff.codings[load.factor], int(code)) for code in column[load.factor]]

    pairs = [*zip(each(loads.fraud_load), each(loads.filed_factor), strict=True)]
    for fraud, filed in {pair for pair in pairs if None not in pair}:
        plain = replace(tariff, loadings=replace(loads, fraud_load=fraud, filed_factor=filed))
        rows = np.flatnonzero([pair == (fraud, filed) for pair in pairs])
        assert found.rows(rows).same_as(run_kernel(plain, codes, n).rows(rows))


@given(level_tariffs(tariffs(cover_of=covers_with_rules)), seeds)
def test_quote_worksheet_and_price_agree_on_every_order(tariff, seed):
    frame = draw_orders(np.random.default_rng(seed), 6)
    priced = tariff.price(frame, threads=1)
    for k, order in enumerate(frame.to_dict("records")):
        quote = tariff.quote(order)
        assert {name: priced[name].iloc[k].item() for name in quote} == quote
        sheet = tariff.explain(order)  # raises if its fen are not the kernel's
        text = str(sheet)
        for name, title in (("fraud_load", "fraud load "), ("filed_factor", "filed factor ")):
            lines = [line for line in sheet.rows if line.startswith(title)]
            if name in tariff.loadings.by_level:
                (line,) = lines
                load = tariff.loadings.by_level[name]
                coding = tariff.codings[load.factor]
                code = coding.encode_one(order)
                assert f"{load.factor} {coding.slot_label(code)}" in line
                amount = amount_of(load, coding, code)
                assert amount is None or f"{amount:.8f}" in line
            else:
                assert lines == []
        assert ("x moral hazard" in text) == (tariff.loadings.moral_hazard > 0.0)


@given(level_tariffs())
def test_documents_bring_the_loads_back(tariff):
    again = parse_tariff(document_of(tariff))
    assert again == tariff
    assert again.loadings == tariff.loadings
    assert tariff_digest(again) == tariff_digest(tariff)
    assert (b'"moral_hazard"' in document_of(tariff)) == (tariff.loadings.moral_hazard > 0.0)


@given(tariffs(), seeds)
def test_one_amount_for_every_level_is_the_plain_load(tariff, seed):
    if not tariff.codings:
        return
    factor, loads = sorted(tariff.codings)[0], tariff.loadings
    label = tariff.codings[factor].labels[0]
    same = replace(
        loads,
        fraud_load=ByLevel(factor, {label: loads.fraud_load}, default=loads.fraud_load),
        filed_factor=ByLevel(factor, {label: loads.filed_factor}, default=loads.filed_factor),
    )
    codes = draw_codes(tariff, np.random.default_rng(seed), 700)
    assert run_kernel(replace(tariff, loadings=same), codes, 700).same_as(run_kernel(tariff, codes, 700))
    assert tariff_digest(replace(tariff, loadings=same)) != tariff_digest(tariff)
    assert replace(tariff, loadings=same).key == tariff.key  # the same codes price under both


def test_documents_of_plain_loads_are_as_before():
    # The document of a tariff that was written before loads by level existed.
    loads = Loadings(fraud_load=0.02, filed_factor=1.1)
    plain = put_together(frequency=rate_tables([], None, 0.1), severity=rate_tables([], None, 8.0),
                         cover=Cover(max_claims=None), loadings=loads)  # fmt: skip
    keys = ["fraud_load", "claim_handling", "policy_cost", "channel", "levy", "profit", "filed_factor"]
    text = document_of(plain)
    assert [key for key in (*keys, "filed_min", "filed_max") if f'"{key}"'.encode() in text] == [
        *keys,
        "filed_min",
        "filed_max",
    ]
    assert b"moral_hazard" not in text
    assert tariff_digest(plain) == "b63a93b307348444443d76df4f30beef"


# Settlement reads the filed factor of each order.


@given(level_tariffs(tariffs(programme=limited_programmes())), st.integers(1, 40), seeds)
def test_settlements_balance_and_count_the_filed_premium_of_each_order(tariff, size, seed):
    orders = draw_batch(np.random.default_rng(seed), size)
    quotes = tariff.price(orders, campaigns=True, threads=1)
    settled = Settlement.of(tariff, orders, quotes)
    assert settled.is_balanced
    assert settled.accounts["list_fen"].sum() == quotes["list_fen"].sum()
    unlimited = replace(tariff, subsidies=())
    micro = [
        _reference.price_order(
            [int(np.asarray(column)[k]) for column in unlimited.encode(orders).columns.arrays],
            unlimited.pricer.plan_arguments,
            0,
        ).filed_micro
        for k in range(size)
    ]
    assert settled.accounts["filed_micro"].sum() == sum(micro)


def test_settlements_read_the_filed_factor_from_merchants():
    tariff = put_together(
        frequency=rate_tables(["zone"], np.random.default_rng(1), 0.1), severity=rate_tables([], None, 8.0),
        loadings=Loadings(filed_factor=ByLevel("zone", {"far": 1.2}, default=1.0)),
    )  # fmt: skip
    merchants = pd.DataFrame({"merchant_id": ["a", "b"], "zone": ["far", "near"]})
    orders = pd.DataFrame({"order_id": [1, 2, 3], "merchant_id": ["a", "b", "a"], "ship_date": "2026-06-01"})
    quotes = tariff.price(orders, merchants=merchants, campaigns=True)
    settled = Settlement.of(tariff, orders, quotes, merchants=merchants)
    joined = orders.merge(merchants, on="merchant_id")
    assert settled.accounts.equals(Settlement.of(tariff, joined, quotes).accounts)
    factor = np.array([1.2, 1.0, 1.2])
    micro = np.rint(quotes["technical_premium"].to_numpy() * factor * 1e6)
    assert settled.accounts["filed_micro"].tolist() == [micro[0] + micro[2], micro[1]]
    with pytest.raises(InputError, match="missing column 'zone'"):
        Settlement.of(tariff, orders, quotes)


def test_the_formula_to_the_fen():
    # technical = (pure x (1 + fraud) + handling x claims + policy) / (1 - channel - levy - profit), by decimals.
    loads = Loadings(
        fraud_load=ByLevel("zone", {"far": 0.03, "near": 0.0}, default=0.01),
        filed_factor=ByLevel("zone", {"city": 0.9}, default=1.25),
        claim_handling=0.3, policy_cost=0.0005, channel=0.15, levy=0.01, profit=0.02, moral_hazard=0.25,
    )  # fmt: skip
    frequency = rate_tables(["zone"], np.random.default_rng(1), 0.1)
    tariff = put_together(
        frequency=frequency, severity=rate_tables([], None, 8.0), cover=Cover(max_claims=None), loadings=loads
    )
    for zone, fraud, filed in (("far", "1.03", "1.25"), ("near", "1", "1.25"), ("city", "1.01", "0.9")):
        code = tariff.codings["zone"].encode_one({"zone": zone})
        claims = Decimal("0.1") * Decimal(float(tariff.frequency.tables["zone"][code])) * Decimal("1.25")
        technical = (claims * 8 * Decimal(fraud) + Decimal("0.3") * claims + Decimal("0.0005")) / Decimal("0.82")
        fen = int((technical * Decimal(filed) * 100).to_integral_value(rounding=ROUND_HALF_EVEN))
        assert tariff.quote({"zone": zone})["list_fen"] == fen


def test_unseen_levels_take_the_load_of_their_parent():
    loads = Loadings(fraud_load=ByLevel("category", {"home": 0.0, "shoes": 0.05}, default=0.01))
    tariff = put_together(frequency=rate_tables(["category"], np.random.default_rng(1), 0.1),
                          severity=rate_tables([], None, 8.0), loadings=loads)  # fmt: skip
    new = {"industry": "shoes", "leaf": "clog"}
    sheet = str(tariff.explain(new))
    assert "fraud load                   0.05000000  of expected payouts, category " in sheet
    assert tariff.quote(new)["technical_premium"] == pytest.approx(1.05 * tariff.quote(new)["pure_premium"], rel=1e-12)
    lamp = tariff.quote({"industry": "home", "leaf": "lamp"})
    assert lamp["technical_premium"] == lamp["pure_premium"]


# Moral hazard.


@given(tariffs(cover_of=covers), seeds, st.sampled_from([0.05, 0.2, 1.0]))
def test_moral_hazard_multiplies_the_intensity_and_nothing_else(tariff, seed, hazard):
    frame = draw_orders(np.random.default_rng(seed), 20)
    with_hazard = replace(tariff, loadings=replace(tariff.loadings, moral_hazard=hazard))
    plain, more = tariff.price(frame, threads=1), with_hazard.price(frame, threads=1)
    np.testing.assert_allclose(more["claim_intensity"], plain["claim_intensity"] * (1.0 + hazard), rtol=1e-12)
    np.testing.assert_array_equal(more["expected_payout"], plain["expected_payout"])
    assert (more["list_fen"] >= plain["list_fen"]).all()
    ratio = more["expected_claims"] / plain["expected_claims"]
    assert (ratio <= (1.0 + hazard) * (1.0 + 1e-9)).all()
    if tariff.cover.max_claims is None:
        np.testing.assert_allclose(ratio, 1.0 + hazard, rtol=1e-12)


@given(tariffs(), seeds)
def test_the_table_is_the_sum_of_each_tariff(tariff, seed):
    frame = draw_orders(np.random.default_rng(seed), 20)
    values = [0.2, 0.0, 0.1]
    table = moral_hazard_table(tariff, frame, values=values)
    assert table.index.tolist() == values
    plain = tariff.price(frame)
    for value, row in zip(values, table.to_dict("records"), strict=True):
        priced = replace(tariff, loadings=replace(tariff.loadings, moral_hazard=value)).price(frame)
        for name in ("expected_claims", "pure_premium", "technical_premium"):
            assert row[name] == pytest.approx(priced[name].sum(), rel=1e-12)
        assert (row["list_fen"], row["merchant_fen"]) == (priced["list_fen"].sum(), priced["merchant_fen"].sum())
        assert row["pure_change"] == pytest.approx(priced["pure_premium"].sum() / plain["pure_premium"].sum() - 1.0)
    assert table.loc[0.0, ["pure_change", "list_change"]].tolist() == [0.0, 0.0]
    assert table.sort_index()["pure_premium"].is_monotonic_increasing
    assert moral_hazard_table(tariff, tariff.encode(frame), values=values).equals(table)


def test_an_events_intensity_has_moral_hazard():
    event = EventCover("price protection", frequency=0.02, severity=5.0, cover=Cover(max_claims=None))
    plain, more = (event.tariff(loadings=Loadings(moral_hazard=hazard)).quote({}) for hazard in (0.0, 0.5))
    assert more["pure_premium"] == pytest.approx(1.5 * plain["pure_premium"], rel=1e-12)


# Fits, configurations and refusals.


def small_models():
    orders = pd.DataFrame({"order_id": range(80), "zone": ["near", "far"] * 40, "score": [4.2, 4.9, 4.9, 4.2] * 20})
    claims = orders.loc[::7, ["order_id"]].assign(freight=8.0)
    book = OrderBook.from_frames(orders, claims, factors=[Factor("zone")], ship_date=None, report_date=None)
    return FrequencyModel().fit(book), SeverityModel().fit(book)


def test_a_built_tariff_takes_loads_by_level():
    frequency, severity = small_models()
    fraud = ByLevel("zone", {"far": 0.02}, default=0.0)
    tariff = Tariff.build(frequency, severity, loadings=Loadings(fraud_load=fraud))
    far, near = tariff.quote({"zone": "far"}), tariff.quote({"zone": "near"})
    assert far["technical_premium"] == pytest.approx(1.02 * far["pure_premium"], rel=1e-12)
    assert near["technical_premium"] == near["pure_premium"]


def test_a_configuration_takes_loads_by_level(tmp_path):
    text = """
    [[factors]]
    kind = "factor"
    name = "zone"
    [loadings]
    fraud_load = { factor = "zone", values = { far = 0.03 }, default = 0.0 }
    filed_factor = 1.1
    moral_hazard = 0.05
    """
    plan = parse_plan(text, source="x.toml", folder=tmp_path)
    assert plan.loadings.fraud_load == ByLevel("zone", {"far": 0.03}, default=0.0)
    assert (plan.loadings.filed_factor, plan.loadings.moral_hazard) == (1.1, 0.05)


def of_zone(**loads):
    return put_together(frequency=rate_tables(["zone"], np.random.default_rng(), 1.0),
                        severity=rate_tables([], None, 1.0), loadings=Loadings(**loads))  # fmt: skip


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Loadings(moral_hazard=-0.1), r"moral_hazard is -0.1; it must be a finite number in \[0, 10\]"),
        (lambda: Loadings(moral_hazard="high"), "moral_hazard is 'high'; it must be a number"),
        (lambda: Loadings(moral_hazard=ByLevel("zone", {"far": 0.1})), "moral_hazard is ByLevel.* must be a number"),
        (
            lambda: Loadings(filed_factor=ByLevel("zone", {"far": 0.0}, default=1.0)),
            r"filed_factor, amount of level 'far', is 0.0; it must be a finite number in \(0, 1000\]",
        ),
        (
            lambda: Loadings(filed_factor=ByLevel("zone", {"far": 1.0}, default=2e3)),
            "filed_factor, amount of the default, is 2000.0",
        ),
        (lambda: ByLevel("zone", {"far": -0.01}), "amount of level 'far' is -0.01"),
        (lambda: Loadings(fraud_load={"far": 0.1}), "fraud_load is {'far': 0.1}; it must be a number"),
        (
            lambda: of_zone(fraud_load=ByLevel("colour", {"red": 0.1}, default=0.0)),
            "fraud_load names factor 'colour', which no model rates; the factors are zone",
        ),
        (
            lambda: of_zone(fraud_load=ByLevel("zone", {"fat": 0.1}, default=0.0)),
            "fraud_load names level 'fat' of factor 'zone'; its levels are city, far, near",
        ),
        (
            lambda: of_zone(filed_factor=ByLevel("zone", {"far": 1.1})),
            r"filed_factor has no amount for 2 levels of factor 'zone' \(first: 'city'\); list them or give a default",
        ),
        (
            lambda: Loadings(filed_factor=ByLevel("zone", {"far": 1.1})).filed_micro(np.ones(2)),
            "filed_factor differs by level of 'zone'; give factor=, the filed factor of each order",
        ),
        (lambda: moral_hazard_table("tariff", None), "tariff is 'tariff'; it must be a Tariff"),
        (lambda: moral_hazard_table(of_zone(), {"zone": []}, values=[]), "values is empty"),
        (lambda: moral_hazard_table(of_zone(), pd.DataFrame({"zone": ["far"]}), values=[-1.0]), "moral_hazard is -1.0"),
        (lambda: moral_hazard_table(of_zone(), pd.DataFrame({"zone": []}, dtype=str)), "orders has no rows"),
        (
            lambda: moral_hazard_table(of_zone(), of_zone().encode(pd.DataFrame({"zone": ["far"]})), order_id="x"),
            "orders are already encoded",
        ),
    ],
)
def test_bad_calls(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_a_subsidy_is_of_the_loaded_price():
    tariff = replace(of_zone(fraud_load=ByLevel("zone", {"far": 1.0}, default=0.0)),
                     subsidies=(Subsidy("half", "platform", percent_of_list=0.5),))  # fmt: skip
    quote = tariff.quote({"zone": "far"})
    assert quote["list_fen"] == quote["platform_fen"] + quote["merchant_fen"]
    assert abs(quote["list_fen"] - 2 * quote["platform_fen"]) <= 1
