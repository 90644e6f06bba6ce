"""Covers of events: price is frequency times the exact limited expectation; documents, refusals, real amounts."""

import os
import re
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import event as happened
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

import freightrisk
from freightrisk import (
    Band,
    ByLevel,
    Cover,
    Factor,
    FrequencyModel,
    InputError,
    Interval,
    Limit,
    Loadings,
    OrderBook,
    SeverityModel,
    Subsidy,
    Tariff,
    load_tariff,
    price_parquet,
)
from freightrisk.cli import main
from freightrisk.events import DiscreteSeverity, EventCover, ParetoSeverity, ShapedSeverity
from freightrisk.shapes import EmpiricalShape, ParetoTail, ScaleShape
from freightrisk.tariff.curves import CURVE_ERROR

EXACT = 1e-12
GOODS = Limit("goods", 50_000.0, share=1.0, of="price")

# Covers, orders and the payments that they promise

terms = st.fixed_dictionaries(
    {"deductible": st.sampled_from([0.0]) | st.floats(0.1, 40.0), "coinsurance": st.sampled_from([0.0, 0.2, 0.75])}
)
yuan = st.floats(0.5, 60_000.0)


@st.composite
def flat_covers(draw):
    """Covers with a limit for every order: by the orders' zone, or the overall limit."""
    rules = [Limit("x", draw(yuan), where={"zone": ["x"]}), Limit("y", draw(yuan), where={"zone": ["y"]}, priority=2)]
    return Cover(max_claims=None, limit=draw(yuan), limits=rules, **draw(terms))


@st.composite
def share_covers(draw):
    """Covers with a limit for every order, which for zone y is a share of the sub-order."""
    rules = [Limit("base", draw(yuan)), Limit("y", draw(yuan), share=0.05, of="sub_order", where={"zone": ["y"]})]
    return Cover(max_claims=None, limits=rules, choose="smallest", **draw(terms))


ORDERS = pd.DataFrame(
    {
        "zone": ["x", "y", "z", "y", "y"],
        "sub_order": [10.0, 900.0, 0.0, 60_000.0, 3e6],
        "price": [20.0, 3.5, 1200.0, 60_000.0, 0.0],
    }
)


def limits_of(cover, orders=ORDERS):
    """Return the limit of each order, read word by word from the rules of the covers above."""
    found = []
    for _, order in orders.iterrows():
        held = [rule for rule in cover.limits if all(order[c] in levels for c, levels in rule.where.items())]
        top = [rule for rule in held if rule.priority == max(one.priority for one in held)]
        amounts = [min(r.amount, np.inf if r.share is None else r.share * order[r.of]) for r in top]
        found.append(min([*amounts[:1], *amounts[1:], cover.flat_limit]))
    return np.array(found)


NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)


def between(above, low, high, *, corner):
    """Return the integral of a survival function, over logs of the amount, in 80 pieces that end at its corner."""
    if high <= low:
        return 0.0
    start, stop = np.log(max(low, 1e-9)), np.log(high)
    edges = np.unique([*np.linspace(start, stop, 81), np.clip(np.log(corner), start, stop)])
    half = np.diff(edges)[:, None] / 2.0
    amount = np.exp(edges[:-1, None] + half * (1.0 + NODES))
    return float((half * WEIGHTS * amount * above(amount)).sum()) + max(1e-9 - low, 0.0)


def check_payouts(tariff, cover, above, *, frequency, scale=1.0, corner=1.0):
    """Compare pure premiums with the frequency times the integral of the survival function of amounts."""
    premium = tariff.price(ORDERS)["pure_premium"].to_numpy()
    kept = 1.0 - cover.coinsurance
    reach = cover.deductible + limits_of(cover) / kept
    for paid, most, size in zip(premium, reach, np.broadcast_to(scale, len(ORDERS)), strict=True):
        if size == 0.0:
            assert paid == 0.0
            continue
        ends = (min(cover.deductible, most) / size, most / size)
        below, every = (size * between(above, 0.0, end, corner=corner) for end in ends)
        error = CURVE_ERROR * (every + below)  # a deductible takes the difference of two values of the curve
        assert paid == pytest.approx(frequency * kept * (every - below), abs=frequency * kept * error)


@given(st.floats(0.5, 5_000.0), flat_covers() | share_covers(), st.floats(1e-5, 15.0))
def test_a_fixed_amount_is_paid_as_the_cover_says(amount, cover, frequency):
    tariff = EventCover("late arrival", frequency=frequency, severity=amount, cover=cover).tariff()
    limit, kept = limits_of(cover), 1.0 - cover.coinsurance
    paid = np.minimum(kept * max(amount - cover.deductible, 0.0), limit)
    wanted = np.where(limit > 0.0, frequency * paid, 0.0)
    found = tariff.price(ORDERS)["pure_premium"].to_numpy()
    np.testing.assert_allclose(found, wanted, rtol=EXACT, atol=EXACT * frequency * (amount + cover.deductible))


@given(
    st.dictionaries(st.floats(0.05, 4_000.0).map(lambda x: round(x, 2)), st.integers(1, 9), min_size=1, max_size=12),
    flat_covers() | terms.map(lambda found: Cover(max_claims=None, **found)),
    st.floats(1e-5, 15.0),
)
def test_a_few_amounts_under_limits_in_yuan_are_exact(weights, cover, frequency):
    amounts, chances = np.array(list(weights)), np.array(list(weights.values())) / sum(weights.values())
    severity = DiscreteSeverity(amounts, chances)
    tariff = EventCover("mispricing", frequency=frequency, severity=severity, cover=cover).tariff()
    kept = 1.0 - cover.coinsurance
    rest = kept * np.maximum(amounts - cover.deductible, 0.0)
    limit = limits_of(cover) if cover.limits else np.full(len(ORDERS), np.inf)
    wanted = frequency * np.minimum.outer(limit, rest) @ chances
    found = tariff.price(ORDERS)["pure_premium"].to_numpy()
    np.testing.assert_allclose(found, wanted, rtol=EXACT, atol=EXACT * frequency * (severity.mean + cover.deductible))


def test_a_few_amounts_are_exact_under_limits_by_level_and_near_each_other():
    coupons = DiscreteSeverity([20.0, 5.0, 10.0], [0.2, 0.5, 0.3])
    cells = pd.DataFrame({"zone": ["near", "far"], "orders": [100.0, 50.0], "events": [20, 40]})
    book = OrderBook.from_counts(cells, claims="events", exposure="orders", factors=[Factor("zone")])
    near = 7.0
    for far in (5.0, 6.9, 7.01, 12.0, 19.999, 20.0, 25.0):
        cover = Cover(max_claims=None, limit=ByLevel("zone", {"near": near, "far": far}), deductible=2.0)
        event = EventCover("mispricing", frequency=FrequencyModel().fit(book), severity=coupons, cover=cover)
        found = event.tariff().price(pd.DataFrame({"zone": ["near", "far"]}))["expected_payout"]
        wanted = [0.5 * min(3.0, m) + 0.3 * min(8.0, m) + 0.2 * min(18.0, m) for m in (near, far)]
        assert found.tolist() == pytest.approx(wanted, rel=EXACT)


@given(st.floats(1.0, 2_000.0), st.sampled_from([0.05, 0.8, 3.0]), flat_covers() | share_covers())
def test_amounts_around_a_mean_pay_the_integral_of_their_survival_function(mean, dispersion, cover):
    severity = ShapedSeverity(mean, ScaleShape(dispersion))
    tariff = EventCover("damage", frequency=0.01, severity=severity, cover=cover).tariff()
    amounts = stats.gamma(1.0 / dispersion, scale=mean * dispersion)
    check_payouts(tariff, cover, amounts.sf, frequency=0.01)


@settings(max_examples=60)
@given(
    st.sampled_from([
        30.0, ShapedSeverity(30.0, ScaleShape(0.8)), DiscreteSeverity([5.0, 10.0, 20.0], [0.6, 0.3, 0.1]),
        ParetoSeverity(scale=50.0, index=0.8), ParetoSeverity(scale=10.0, index=2.0),
    ]),
    *[flat_covers() | share_covers() | terms.map(lambda found: Cover(max_claims=None, **found))] * 2,
    st.sampled_from(["all", "limits", "limit", "deductible", "coinsurance", "eligible"]),
)  # fmt: skip
def test_another_cover_is_refused_or_priced_as_a_new_tariff_prices_it(severity, cover, other, changed):
    try:
        old = EventCover("loss", frequency=0.01, severity=severity, cover=cover)
    except InputError:
        return
    tariff = old.tariff()
    term = {"eligible": {"zone": ["x", "y"]}} if changed == "eligible" else {changed: getattr(other, changed, None)}
    new = other if changed == "all" else replace(cover, **term)
    try:
        found = replace(tariff, cover=new)
    except InputError:
        happened("refused")
        assert changed != "eligible"
        generic = isinstance(severity, float | ShapedSeverity)
        assert not generic or cover.needs_curve != new.needs_curve
        return
    happened("priced")
    built = replace(old, cover=new).tariff()
    assert found.price(ORDERS)["pure_premium"].tolist() == built.price(ORDERS)["pure_premium"].tolist()


@pytest.mark.parametrize(("severity", "old", "new", "match"), [
    (ParetoSeverity(scale=50.0, index=0.8), Cover(limit=5_000.0), Cover(limit=500_000.0),
     "limit curves of pareto amounts that were made for another cover; it differs in limit. "),
    (ParetoSeverity(scale=50.0, index=0.8), Cover(limits=[Limit("all", 500.0)]),
     Cover(limits=[Limit("all", 500.0, where={"zone": ["y"]})]), "it differs in limits"),
    (DiscreteSeverity([5.0, 10.0, 20.0], [0.6, 0.3, 0.1]), Cover(limit=15.0), Cover(limit=10.0),
     "limit curves of discrete amounts that were made for another cover; it differs in limit. "),
    (DiscreteSeverity([5.0, 20.0], [0.5, 0.5]), Cover(limit=15.0, deductible=2.0), Cover(limit=15.0, coinsurance=0.2),
     r"differs in deductible, coinsurance. .* with EventCover\(..., cover=\).tariff\(\)"),
])  # fmt: skip
def test_curves_that_are_exact_for_some_limits_hold_for_no_others(severity, old, new, match):
    tariff = EventCover("loss", frequency=0.01, severity=severity, cover=old).tariff()
    with pytest.raises(InputError, match=match):
        replace(tariff, cover=new)


def pareto(scale, index):
    return lambda amount: (scale / np.maximum(amount, scale)) ** index


@given(st.floats(0.5, 300.0), st.sampled_from([0.3, 0.8, 1.0, 1.3, 2.5, 6.0, 10.0]), flat_covers() | share_covers())
def test_pareto_amounts_pay_the_integral_of_their_survival_function(scale, index, cover):
    severity = ParetoSeverity(scale=scale, index=index)
    tariff = EventCover("transit loss", frequency=0.002, severity=severity, cover=cover).tariff()

    check_payouts(tariff, cover, pareto(scale, index), frequency=0.002, corner=scale)
    most = cover.flat_limit if cover.limit is not None else cover.limits[0].amount
    reach = cover.deductible + most / (1.0 - cover.coinsurance)
    if reach > scale:  # with a cap at the largest limit, the same tariff
        capped = ParetoSeverity(scale=scale, index=index, cap=reach)
        again = EventCover("transit loss", frequency=0.002, severity=capped, cover=cover).tariff()
        assert again.price(ORDERS)["pure_premium"].tolist() == tariff.price(ORDERS)["pure_premium"].tolist()


@given(st.floats(0.5, 300.0), st.sampled_from([1.05, 1.3, 2.5, 10.0]), terms)
def test_pareto_amounts_with_a_mean_need_no_limit(scale, index, terms):
    cover = Cover(max_claims=None, limits=[Limit("x", 80.0, where={"zone": ["x"]})], **terms)
    severity = ParetoSeverity(scale=scale, index=index)
    found = EventCover("loss", frequency=1.0, severity=severity, cover=cover).tariff().price(ORDERS)["pure_premium"]
    mean = scale * index / (index - 1.0)
    below = severity.limited(cover.deductible)
    assert found[2] == pytest.approx((1.0 - cover.coinsurance) * (mean - below), abs=2 * CURVE_ERROR * mean)
    free = EventCover("loss", frequency=1.0, severity=severity, cover=Cover(max_claims=None)).tariff()
    assert free.quote({})["pure_premium"] == pytest.approx(mean, rel=EXACT)


@pytest.mark.parametrize("limit", [10.0, 50.0, 50.000001, 51.0, 99.9, 100.0, 400.0, 49_999.0, 50_000.0])
def test_a_pareto_tail_without_a_mean_under_limits_around_its_scale(limit):
    severity = ParetoSeverity(scale=50.0, index=0.8, cap=50_000.0)
    cover = Cover(max_claims=None, limit=limit)
    found = EventCover("transit loss", frequency=1.0, severity=severity, cover=cover).tariff().quote({})
    wanted = limit if limit < 50.0 else 50.0 * (1.0 + ((limit / 50.0) ** 0.2 - 1.0) / 0.2)
    assert found["expected_payout"] == pytest.approx(wanted, rel=CURVE_ERROR)


def test_a_pareto_curve_is_short_because_its_ends_are_powers_of_two():
    event = EventCover("loss", frequency=0.1, severity=ParetoSeverity(scale=50, index=0.8), cover=Cover(limit=50_000.0))
    tariff = event.tariff()
    assert tariff.limit_curve.pieces.shape == (10, 32, 4)
    assert np.log2(tariff.severity.base / 50.0) % 1.0 == 0.0


# Shares of a column


def test_transit_loss_pays_the_value_of_the_goods_up_to_the_limit():
    cover = Cover(max_claims=None, limit=50_000.0)
    event = EventCover("transit loss", frequency=3e-4, severity=1.0, cover=cover, amount_of="value")
    value = np.array([0.0, 1.0, 49_999.99, 50_000.0, 50_000.01, 1e6])
    found = event.tariff().price(pd.DataFrame({"value": value}))["pure_premium"].to_numpy()
    np.testing.assert_allclose(found, 3e-4 * np.minimum(value, 50_000.0), rtol=EXACT)
    assert event.cover.amount_of == event.amount_of == "value"


@given(st.sampled_from(["gamma", "lognormal"]), st.floats(0.02, 0.9), terms)
def test_a_share_of_the_price_under_a_share_of_the_sub_order(family, share, terms):
    limit = Limit("custom", 3000.0, share=0.05, of="sub_order")  # DOMAIN S3-10
    cover = Cover(max_claims=None, limits=[limit], **terms)
    severity = ShapedSeverity(share, ScaleShape(0.6, family))
    event = EventCover("custom goods", frequency=0.03, severity=severity, cover=cover, amount_of="price")
    width = np.sqrt(0.6)
    gamma, lognormal = stats.gamma(1.0 / 0.6, scale=share * 0.6), stats.lognorm(width, scale=share * np.exp(-0.3))
    above = gamma.sf if family == "gamma" else lognormal.sf
    check_payouts(event.tariff(), cover, above, frequency=0.03, scale=ORDERS["price"])


@given(st.sampled_from([0.4, 1.0, 2.0]), st.floats(0.01, 0.6))
def test_a_pareto_share_of_the_price_without_a_mean(index, scale):
    cover = Cover(max_claims=None, limits=[GOODS])
    severity = ParetoSeverity(scale=scale, index=index, cap=1.0)
    event = EventCover("return transit", frequency=0.004, severity=severity, cover=cover, amount_of="price")
    above = pareto(scale, index)
    check_payouts(event.tariff(), cover, above, frequency=0.004, scale=ORDERS["price"], corner=scale)


def test_a_share_without_limits_is_the_mean_share():
    pair = DiscreteSeverity([0.1, 0.3], [0.5, 0.5])
    event = EventCover("fall", frequency=0.5, severity=pair, cover=Cover(max_claims=None), amount_of="price")
    assert event.tariff().price(ORDERS)["pure_premium"].tolist() == pytest.approx(0.1 * ORDERS["price"], rel=EXACT)


def test_an_order_without_a_limit_gets_the_whole_mean_of_a_heavy_tail():
    rule = Limit("x", 25.0, where={"zone": ["x"]})
    shape = ParetoTail(ScaleShape(0.3), threshold=2.0, index=1.1)
    severity = ShapedSeverity(10.0, shape)
    tariff = EventCover("loss", frequency=1.0, severity=severity, cover=Cover(max_claims=None, limits=[rule])).tariff()
    paid = tariff.price(pd.DataFrame({"zone": ["x", "z"]}))["expected_payout"]
    assert paid.tolist() == pytest.approx([10.0 * float(shape.limited(2.5)), 10.0], rel=CURVE_ERROR)


# Frequencies


@pytest.mark.parametrize(("most", "wanted"), [(1, 1 - np.exp(-0.4)), (3, special.gammainc([1, 2, 3], 0.4).sum())])
def test_paid_events_follow_poisson_counts(most, wanted):
    event = EventCover("late arrival", frequency=0.4, severity=5.0, cover=Cover(max_claims=most))
    assert event.tariff().quote({})["expected_claims"] == pytest.approx(wanted, rel=CURVE_ERROR)


@pytest.fixture(scope="module")
def fits():
    rng = np.random.default_rng(8)
    orders = pd.DataFrame({"order_id": np.arange(4_000), "zone": rng.choice(["near", "far"], 4_000)})
    hit = rng.random(4_000) < np.where(orders["zone"] == "far", 0.3, 0.1)
    claims = pd.DataFrame({"order_id": orders["order_id"][hit], "freight": rng.gamma(2.0, 6.0, int(hit.sum()))})
    book = OrderBook.from_frames(orders, claims, factors=[Factor("zone")], ship_date=None, report_date=None)
    return book, FrequencyModel().fit(book), SeverityModel().fit(book)


ZONES = pd.DataFrame({"zone": ["near", "far", "near"]})


def test_two_fitted_models_are_the_tariff_that_they_build(fits):
    book, frequency, severity = fits
    shape, cover = EmpiricalShape.fit(severity, book), Cover(limit=15.0)
    event = EventCover("damage", frequency=frequency, severity=ShapedSeverity(severity, shape), cover=cover)
    built = Tariff.build(frequency, severity, shape=shape, cover=cover)
    pd.testing.assert_frame_equal(event.tariff().price(ZONES), built.price(ZONES))
    by_family = EventCover("damage", frequency=frequency, severity=severity, cover=cover).tariff()
    pd.testing.assert_frame_equal(by_family.price(ZONES), Tariff.build(frequency, severity, cover=cover).price(ZONES))


def test_one_fitted_model_and_one_number(fits):
    _, frequency, severity = fits
    cover = Cover(max_claims=None, limit=1e6)
    found = EventCover("damage", frequency=frequency, severity=7.5, cover=cover).tariff().price(ZONES)
    assert (found["pure_premium"] / frequency.predict(ZONES)["claim_intensity"]).tolist() == pytest.approx(
        [7.5] * 3, rel=EXACT
    )
    found = EventCover("damage", frequency=0.02, severity=severity, cover=Cover(max_claims=None)).tariff().price(ZONES)
    assert found["pure_premium"].tolist() == pytest.approx(
        0.02 * severity.predict(ZONES)["expected_freight"], rel=EXACT
    )


def test_a_family_that_its_claims_disagree_with_is_warned_of():
    rng = np.random.default_rng(3)
    amounts = np.where(rng.random(5_000) < 0.5, 4.0, 40.0) * rng.uniform(0.99, 1.01, 5_000)
    orders = pd.DataFrame({"order_id": np.arange(5_000)})
    claims = orders.assign(freight=amounts)
    book = OrderBook.from_frames(orders, claims, factors=[], ship_date=None, report_date=None)
    severity = SeverityModel().fit(book)
    event = EventCover("damage", frequency=0.1, severity=severity, cover=Cover(limit=15.0))
    with pytest.warns(freightrisk.FreightRiskWarning, match=r"give their own shape: severity=ShapedSeverity\("):
        event.tariff()


# Every door


SUBSIDY = Subsidy("launch", "platform", percent_of_list=0.3)
LOADS = Loadings(channel=0.15, profit=0.03, claim_handling=0.4)
EVENTS = {
    "fixed": EventCover("晚到赔", frequency=0.03, severity=5.0),
    "shaped": EventCover(
        "price protection", frequency=0.4, severity=ShapedSeverity(0.3, ScaleShape(0.4)),
        cover=Cover(max_claims=None, limits=[Limit("sub", 30.0, share=0.2, of="sub_order")]), amount_of="price",
    ),
    "discrete": EventCover(
        "mispricing", frequency=0.01, severity=DiscreteSeverity([5.0, 10.0, 20.0], [0.5, 0.3, 0.2]),
        cover=Cover(limit=8.0),
    ),
    "pareto": EventCover(
        "transit loss", frequency=2e-3, severity=ParetoSeverity(scale=50.0, index=0.8),
        cover=Cover(limits=[Limit("all", 50_000.0), Limit("x", 300.0, where={"zone": ["x"]}, priority=1)]),
    ),
}  # fmt: skip


@pytest.fixture(params=EVENTS)
def tariff(request):
    return EVENTS[request.param].tariff(loadings=LOADS, subsidies=[SUBSIDY])


def test_all_doors_give_the_same_fen(tariff, tmp_path, capsys):
    orders = ORDERS.assign(order_id=range(len(ORDERS)))
    priced = tariff.price(orders)
    assert priced["list_fen"].sum() > 0
    fen = [name for name in priced if name.endswith("_fen")]
    for row, order in enumerate(orders.to_dict("records")):
        assert {name: tariff.quote(order)[name] for name in fen} == priced[fen].iloc[row].to_dict()
        assert str(tariff.explain(order)).splitlines()[-1].startswith(f"list {priced['list_fen'][row]} fen")
    coded = tariff.price_columns(tariff.encode(orders), threads=2)
    assert coded["merchant_fen"].tolist() == priced["merchant_fen"].tolist()
    orders.to_parquet(tmp_path / "orders.parquet")
    price_parquet(tariff, tmp_path / "orders.parquet", tmp_path / "quotes.parquet", keep=["order_id"])
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "quotes.parquet")[fen], priced[fen])
    tariff.save(tmp_path / "tariff.json")
    arguments = ["price", "--tariff", "tariff.json", "--orders", "orders.parquet", "--out", "by_line.parquet"]
    assert main([str(tmp_path / one) if "." in one else one for one in arguments]) == 0
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "by_line.parquet")[fen], priced[fen])
    capsys.readouterr()


def test_a_document_holds_the_event_and_prices_alike(tariff, tmp_path):
    tariff.save(tmp_path / "tariff.json")
    loaded = load_tariff(tmp_path / "tariff.json")
    assert loaded == tariff
    pd.testing.assert_frame_equal(loaded.price(ORDERS), tariff.price(ORDERS))
    event = next(one for one in EVENTS.values() if one.name == tariff.name)
    assert loaded.provenance["event"]["name"] == event.name
    assert loaded.provenance["event"]["frequency"] == event.frequency


def test_the_provenance_states_the_severity(fits):
    book, frequency, severity = fits
    assert [event.tariff().provenance["event"]["severity"] for event in EVENTS.values()] == [
        5.0,
        {"kind": "shaped", "mean": 0.3, "shape": "ScaleShape(dispersion=0.4, family='gamma')"},
        {"kind": "discrete", "amounts": [5.0, 10.0, 20.0], "probabilities": [0.5, 0.3, 0.2]},
        {"kind": "pareto", "scale": 50.0, "index": 0.8, "cap": None},
    ]
    fitted = EventCover("damage", frequency=frequency, severity=severity).tariff().provenance["event"]
    assert (fitted["frequency"], fitted["severity"]) == (frequency.provenance, severity.provenance)
    shaped = ShapedSeverity(severity, EmpiricalShape.fit(severity, book))
    recorded = EventCover("damage", frequency=0.1, severity=shaped).tariff().provenance["event"]["severity"]
    assert recorded["mean"] == severity.provenance


ALONE = """
import sys
from freightrisk import load_tariff
for path in sys.argv[1:]:
    print(load_tariff(path).quote({"zone": "x", "price": 20.0, "sub_order": 10.0})["merchant_fen"])
print(sorted({name.split(".")[0] for name in sys.modules} & {"scipy", "statsmodels", "pandas"}))
"""


def test_loaded_events_price_without_scipy(tmp_path):
    wanted = []
    for name, event in EVENTS.items():
        event.tariff().save(tmp_path / name)
        wanted.append(str(event.tariff().quote(ORDERS.iloc[0])["merchant_fen"]))
    home = str(Path(freightrisk.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])}
    call = [sys.executable, "-c", ALONE, *(str(tmp_path / name) for name in EVENTS)]
    run = subprocess.run(call, capture_output=True, text=True, check=True, env=environment)
    assert run.stdout.splitlines() == [*wanted, "[]"]


# Refusals

HEAVY = ParetoSeverity(scale=50.0, index=0.8)
CAPPED = ParetoSeverity(scale=50.0, index=0.8, cap=50_000.0)
PAIR = DiscreteSeverity([5.0, 10.0], [0.5, 0.5])
BY_ZONE = [Limit("x", 80.0, where={"zone": ["x"]})]

ALL, ABOVE = Limit("all", 50_000.0), Limit("x", 60_000.0, where={"zone": ["x"]})


def event(frequency=0.1, severity=5.0, cover=None, **rest):
    return EventCover("e", frequency=frequency, severity=severity, cover=Cover() if cover is None else cover, **rest)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: EventCover(7, frequency=0.1, severity=5.0), "name of an event is 7"),
        (lambda: event(frequency=0.0), "frequency of event 'e' is 0.0"),
        (lambda: event(frequency=20.5), "frequency of event 'e' is 20.5"),
        (lambda: event(frequency=float("nan")), "frequency of event 'e' is nan"),
        (lambda: event(frequency="often"), "frequency of event 'e' is 'often'"),
        (lambda: event(severity=0.0), "severity of event 'e' is 0.0"),
        (lambda: event(severity="high"), "severity of event 'e' is 'high'; give an amount, a ShapedSeverity"),
        (lambda: event(severity=[5.0]), r"severity of event 'e' is \[5.0\]; give an amount"),
        (lambda: event(severity=None), "severity of event 'e' is None; give an amount"),
        (lambda: event(cover=7.0), "cover of event 'e' is 7.0; it must be a Cover"),
        (lambda: event(cover=Cover(amount_of="a"), amount_of="b"), "amount_of='b', but its cover has amount_of='a'"),
        (lambda: event(amount_of=7), "amount_of is 7"),
        (lambda: event().tariff(loadings=0.1), "loadings is 0.1"),
        (lambda: event().tariff(subsidies="all"), "subsidies is 'all'"),
        (lambda: event(cover=Cover(limit=ByLevel("zone", {"x": 5.0}))).tariff(), "names factor 'zone', which no"),
        # Severities
        (lambda: ShapedSeverity(-1.0, ScaleShape(0.5)), "mean of ShapedSeverity is -1.0"),
        (lambda: ShapedSeverity(1.0, 0.5), "shape of ShapedSeverity is 0.5; it must be a SeverityShape"),
        (lambda: DiscreteSeverity([], []), "amounts has 0 values"),
        (lambda: DiscreteSeverity([5.0], [0.5, 0.5]), "probabilities has"),
        (lambda: DiscreteSeverity([5.0, 0.0], [0.5, 0.5]), "amounts is not above 0 and at most 1e[+]08 in 1 row"),
        (lambda: DiscreteSeverity([5.0, 6.0], [1.0, 0.0]), "probabilities is not above 0 in 1 row"),
        (lambda: DiscreteSeverity([5.0, 6.0], [0.5, 0.4]), "probabilities add up to 0.9; their sum must be 1"),
        (lambda: DiscreteSeverity([5.0, 5.0], [0.5, 0.5]), "amounts has a value twice"),
        (lambda: ParetoSeverity(scale=0.0, index=1.0), "scale of ParetoSeverity is 0.0"),
        (lambda: ParetoSeverity(scale=1.0, index=0.0), "index of ParetoSeverity is 0.0"),
        (lambda: ParetoSeverity(scale=1.0, index=11.0), "index of ParetoSeverity is 11.0"),
        (lambda: ParetoSeverity(scale=5.0, index=2.0, cap=5.0), "cap of ParetoSeverity is 5, but its scale"),
        # Contradictions of severity and cover
        (lambda: event(severity=HEAVY), "index 0.8, whose mean is infinite, but the cover has no limit that holds"),
        (lambda: event(severity=HEAVY, cover=Cover(limits=BY_ZONE)), "no limit that holds for every order"),
        (lambda: event(severity=HEAVY, cover=Cover(deductible=5.0)), "give the cover a limit for every order, such as"),
        (
            lambda: event(severity=HEAVY, cover=Cover(limit=500.0), amount_of="price"),
            re.escape("such as Limit('goods', 50_000.0, share=1.0, of='price'), or give an index above 1"),
        ),
        (
            lambda: event(severity=HEAVY, cover=Cover(limits=[GOODS], deductible=1.0), amount_of="price"),
            r"of='price'\) and no deductible",
        ),
        (lambda: event(severity=CAPPED, cover=Cover(limit=50_001.0)), "payments reach their limit at a claim of 50001"),
        (lambda: event(severity=CAPPED, cover=Cover(limit=45_000.0, coinsurance=0.2)), "claim of 56250, above the cap"),
        (lambda: event(severity=CAPPED, cover=Cover(limits=[ALL, ABOVE])), "at a claim of 60000, above the cap"),
        (lambda: event(severity=CAPPED, cover=Cover(limits=BY_ZONE)), "a cap of 50000, but no limit of the cover"),
        (lambda: event(severity=PAIR, cover=Cover(limit=7.0), amount_of="price"), "depends on column 'price' and"),
        (
            lambda: event(severity=PAIR, cover=Cover(limits=[Limit("s", 7.0, share=0.1, of="sub")])),
            "depends on column 'sub' and a limit or a deductible",
        ),
        (
            lambda: event(severity=PAIR, cover=Cover(limits=[Limit("a", 7.0), *[BY_ZONE[0]]], limit=7.0001)).tariff(),
            "two limits that differ by less than 0.05 %",
        ),
        (
            lambda: event(severity=ParetoSeverity(scale=1e-6, index=0.5), cover=Cover(limit=5e4)),
            "a scale of 1e-06, which is too far below the limit 50000",
        ),
        (lambda: event(severity=DiscreteSeverity([1e-3, 1e7], [0.5, 0.5])), "differ by more than a factor of 1e9"),
        # Orders
        (lambda: event(amount_of="price").tariff().price(ORDERS[["zone"]]), "missing column 'price'"),
        (lambda: event(amount_of="price").tariff().quote({"zone": "x"}), "price"),
    ],
)  # fmt: skip
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_the_smallest_limit_without_conditions_bounds_all_rules_of_its_priority():
    half = {"share": 0.5, "of": "sub_order", "where": {"zone": ["y"]}}
    cover = Cover(limits=[ALL, Limit("half", 60_000.0, **half)], choose="smallest")
    found = event(severity=CAPPED, cover=cover).tariff().price(ORDERS)["expected_payout"]
    wanted = HEAVY.limited([50_000.0, 450.0, 50_000.0, 30_000.0, 50_000.0])
    assert found.tolist() == pytest.approx(wanted.tolist(), rel=CURVE_ERROR)
    above = Cover(limits=[ALL, Limit("half", 60_000.0, priority=1, **half)], choose="smallest")
    with pytest.raises(InputError, match="at a claim of 60000, above the cap"):
        event(severity=CAPPED, cover=above)


def test_models_of_the_other_kind_are_refused(fits):
    _, frequency, severity = fits
    with pytest.raises(InputError, match="frequency is a severity model"):
        event(frequency=severity)
    for wrong in (frequency, ShapedSeverity(frequency, ScaleShape(0.5))):
        with pytest.raises(InputError, match="severity is a frequency model"):
            event(severity=wrong)


# Real data


def falls_of_price(lines, days):
    """Return how far the price of each line falls within `days` days: to the lowest price from the next day on."""
    day = lines["InvoiceDate"].to_numpy().astype("datetime64[D]").astype(np.int64)
    key = lines["StockCode"].cat.codes.to_numpy().astype(np.int64) * 100_000 + day
    keys, place = np.unique(key, return_inverse=True)
    low = np.full(len(keys), np.inf)
    np.minimum.at(low, place, lines["UnitPrice"].to_numpy())
    end, later = np.searchsorted(keys, keys + days, side="right"), np.full(len(keys), np.inf)
    for step in range(1, days + 1):  # distinct days of one product; more than `days` of them do not fit
        at = np.flatnonzero(np.arange(len(keys)) + step < end)
        later[at] = np.minimum(later[at], low[at + step])
    return np.maximum(lines["UnitPrice"].to_numpy() - later[place], 0.0)


@pytest.fixture(scope="module")
def lines(shared_data):
    columns = ["StockCode", "InvoiceDate", "UnitPrice", "is_cancel"]
    lines = pd.read_parquet(shared_data / "online_retail" / "lines.parquet", columns=columns)
    return lines[(lines["UnitPrice"] > 0.0) & ~lines["is_cancel"]].reset_index(drop=True)


@pytest.mark.parametrize(("days", "percent"), [(7, 39.4), (15, 50.1), (30, 59.4)])
def test_falls_of_price_of_a_shop_are_priced_for_products_that_the_fit_has_not_seen(lines, days, percent):
    fall, price = falls_of_price(lines, days), lines["UnitPrice"].to_numpy()
    assert round(100.0 * np.mean(fall > 0.0), 1) == percent
    known = np.array([zlib.crc32(code.encode()) % 2 == 0 for code in lines["StockCode"].cat.categories])
    product = lines["StockCode"].cat.codes.to_numpy()
    seen = known[product]
    orders = pd.DataFrame({"order_id": np.arange(len(lines)), "price": price})
    events = pd.DataFrame({"order_id": orders["order_id"], "freight": fall / price})[seen & (fall > 0.0)]
    bands = [Band("price", edges=[0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0])]
    book = OrderBook.from_frames(orders[seen], events, factors=bands, ship_date=None, report_date=None)
    frequency, severity = FrequencyModel().fit(book), SeverityModel().fit(book)
    shares = ShapedSeverity(severity, EmpiricalShape.fit(severity, book))
    cover = Cover(max_claims=None, limits=[Limit("line", 1.0)])
    tariff = EventCover("价保", frequency=frequency, severity=shares, cover=cover, amount_of="price").tariff()
    expected = tariff.price(orders[~seen])["pure_premium"].to_numpy()
    paid = np.minimum(fall[~seen], 1.0)
    # Products differ, so lines of one product are one observation; the fit saw as many products as it is tested on.
    error = np.sqrt(2.0 * (np.bincount(product[~seen], paid - expected) ** 2).sum())
    assert abs(paid.sum() - expected.sum()) < error
    assert error < 0.035 * paid.sum()
    share = events["freight"].to_numpy()
    alike = ShapedSeverity(float(share.mean()), EmpiricalShape(share / share.mean()))
    often = float(np.mean(fall[seen] > 0.0))
    one = EventCover("价保", frequency=often, severity=alike, cover=cover, amount_of="price").tariff()
    # Prices of expensive goods fall more often, so one frequency and one share for all prices is too low.
    assert one.price(orders[~seen])["pure_premium"].sum() < paid.sum() - 2.0 * error


def test_partial_returns_of_two_items_under_one_claim_and_under_all(shared_data):
    frame = pd.read_parquet(shared_data / "multi_item_orders" / "orders_by_size.parquet")
    row = frame[frame["items_in_order"] == 2].iloc[0]
    none, partial, complete = (int(row[kind]) for kind in ("none", "partial", "complete"))
    orders = none + partial + complete
    assert round(100.0 * partial / orders, 1) == 32.3
    cells = pd.DataFrame({"items": 2, "returned": np.repeat([0, 1, 2], [none, partial, complete])})
    book = OrderBook.from_counts(cells, claims="returned", factors=[], lines="items")
    together = FrequencyModel(family="beta_binomial").fit(book)
    order = pd.DataFrame({"items": [2]})
    paid = {1: (partial + complete) / orders, None: (partial + 2 * complete) / orders}
    for most, wanted in paid.items():
        cover = Cover(max_claims=most)
        tariff = EventCover("180-day replacement", frequency=together, severity=30.0, cover=cover).tariff()
        assert tariff.price(order)["pure_premium"][0] == pytest.approx(30.0 * wanted, rel=1e-6)
        number = EventCover("180-day replacement", frequency=paid[None], severity=30.0, cover=cover).tariff()
        poisson = number.price(order)["pure_premium"][0] / (30.0 * wanted)
        assert poisson == pytest.approx(1.0 if most is None else 0.976, abs=1e-3)  # Poisson events are independent


@pytest.mark.parametrize(("items", "percent"), [(2, 32.3), (3, 50.7), (4, 62.8), (5, 70.8)])
def test_the_share_of_orders_with_a_return_is_an_intensity(items, percent, shared_data):
    frame = pd.read_parquet(shared_data / "multi_item_orders" / "orders_by_size.parquet").set_index("items_in_order")
    row = frame.loc[items]
    assert round(100.0 * row["partial"] / row.sum(), 1) == percent
    some = 1.0 - row["none"] / row.sum()
    once = EventCover("taste", frequency=-np.log1p(-some), severity=30.0, cover=Cover(max_claims=1)).tariff()
    assert once.quote({})["expected_claims"] == pytest.approx(some, rel=CURVE_ERROR)


@pytest.fixture(scope="module")
def parcels(shared_data):
    columns = ["freight_value", "product_weight_g"]
    items = pd.read_parquet(shared_data / "marketplace_freight" / "order_items.parquet", columns=columns)
    items = items[(items["freight_value"] > 0.0) & items["product_weight_g"].notna()]
    items = pd.DataFrame({"freight": items["freight_value"], "weight_g": items["product_weight_g"].astype(float)})
    return items.sample(frac=1.0, random_state=5).reset_index(drop=True)


CLASSES = {  # limit, weights
    15.0: Interval(at_most=500.0),
    25.0: Interval(above=500.0, at_most=5_000.0),
    50.0: Interval(above=5_000.0),
}
RULES = [Limit(f"up to {limit:g}", limit, where={"weight_g": weights}) for limit, weights in CLASSES.items()]


def shaped(freight):
    return ShapedSeverity(float(freight.mean()), EmpiricalShape(freight / freight.mean()))


def test_freight_of_a_marketplace_under_limits_by_weight(parcels):
    middle = len(parcels) // 2
    seen, later = parcels[:middle], parcels[middle:]
    off = {}
    for limit, weights in CLASSES.items():
        own, rest = (
            part.loc[(part["weight_g"] > weights.above) & (part["weight_g"] <= weights.at_most)]
            for part in (seen, later)
        )
        cover = Cover(max_claims=None, limits=RULES)
        paid = np.minimum(rest["freight"], limit)
        expected = (
            EventCover("逆向保价", frequency=1.0, severity=shaped(own["freight"].to_numpy()), cover=cover)
            .tariff().price(rest[["weight_g"]])["expected_payout"]
        )  # fmt: skip
        error = np.sqrt(paid.var() * (1.0 / len(own) + 1.0 / len(rest)))
        assert abs(expected.mean() - paid.mean()) < 3.0 * error
        # The kernels of the shape move the limited mean of its own amounts by less than 0.2 %.
        assert expected.iloc[0] == pytest.approx(np.minimum(own["freight"], limit).mean(), rel=2e-3)
        together = EventCover("逆向保价", frequency=1.0, severity=shaped(seen["freight"].to_numpy()), cover=cover)
        off[limit] = together.tariff().price(rest[["weight_g"]])["expected_payout"].mean() / paid.mean() - 1.0
    # One distribution for all weights is no model of limits by weight: the payouts are off by these percentages.
    assert {limit: 100.0 * value for limit, value in off.items()} == pytest.approx({15: 6, 25: -3, 50: -41}, abs=1.0)


@pytest.mark.parametrize("limit", [15.0, 25.0, 50.0])
def test_freight_of_a_marketplace_under_one_limit(parcels, limit):
    freight = parcels["freight"].to_numpy()
    seen, later = np.split(freight, [len(freight) // 2])
    event = EventCover("逆向保价", frequency=0.05, severity=shaped(seen), cover=Cover(limit=limit))
    expected = event.tariff().quote({})["expected_payout"]
    assert expected == pytest.approx(np.minimum(seen, limit).mean(), rel=2e-3)
    paid = np.minimum(later, limit)
    assert abs(expected - paid.mean()) < 3.0 * paid.std() * np.sqrt(2.0 / len(paid))


def test_a_worksheet_of_an_event_has_no_freight():
    for severity, amount in ((5.0, {}), (0.1, {"amount_of": "price"})):
        event = EventCover("late arrival", frequency=0.02, severity=severity, **amount)
        sheet = str(event.tariff().explain({"price": 80.0}))
        assert "\nmean claim " in sheet
        assert "freight" not in sheet
