"""Aggregate limits: what they leave of a merchant's or an order's payouts, by laws, closed forms and simulation."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freightrisk import FreightRiskWarning, InputError
from freightrisk._document import from_plain, to_plain
from freightrisk.aggregates import (
    AggregateLimit,
    AggregateShares,
    LineCount,
    NegativeBinomialCount,
    PoissonCount,
    ShapePayout,
    compound_distribution,
    order_aggregate_shares,
)
from freightrisk.models import limited_sums as engine
from freightrisk.models.limited_sums import limited_sums
from freightrisk.shapes import EmpiricalShape, ParetoTail, ScaleShape

RATIOS = np.random.default_rng(5).gamma(2.0, 0.5, 400)
SHAPES = [ScaleShape(0.5), ScaleShape(0.3, "lognormal"), EmpiricalShape(RATIOS), ParetoTail(ScaleShape(0.3), 2.0, 2.5)]
MONTH, ORDER = AggregateLimit(300.0), AggregateLimit(30.0, by="order")


def merchants_of(claims, payout=10.0, **more):
    names = [f"m{k}" for k in range(len(claims))]
    return pd.DataFrame({"merchant_id": names, "expected_claims": claims, "expected_payout": payout, **more})


def shares_of(claims, payout=10.0, *, limit=MONTH, shape=SHAPES[0], dispersion=0.3, **more):
    found = AggregateShares.of(merchants_of(claims, payout), limit, shape=shape, dispersion=dispersion, **more)
    return np.array([*found.shares.values()])


def many(n=3_000, seed=1):
    """Return merchants of all sizes, more than are evaluated one by one."""
    rng = np.random.default_rng(seed)
    sizes = np.exp(rng.normal(1.0, 2.0, n))
    bands = np.where(sizes > 10.0, "large", "small").astype(object)
    return merchants_of(sizes, np.exp(rng.normal(2.2, 0.4, n)), size_band=bands)


# The sums


@pytest.mark.parametrize(
    ("counts", "shape"),
    [(PoissonCount(25.0), SHAPES[0]), (PoissonCount(1e-5), SHAPES[1]), (LineCount(30, 1.0), SHAPES[1]),
     (NegativeBinomialCount(60.0, dispersion=0.7), SHAPES[2]), (LineCount(40, 0.7, correlation=0.2), SHAPES[3])],
    ids=str,
)  # fmt: skip
def test_limited_sums_are_those_of_the_whole_distribution(counts, shape):
    payouts = ShapePayout(10.0, shape, limit=60.0)
    (found,) = limited_sums([counts], payouts, amount=300.0, steps=2_000)
    total = compound_distribution(counts, payouts, step=0.15, reach=300.0)
    assert found == pytest.approx(float(total.limited_expected_value(300.0)), abs=300.0 * engine.ROUNDING)


def test_rare_claims_keep_their_digits():
    payouts = ShapePayout(10.0, ScaleShape(1.0))
    (found,) = limited_sums([PoissonCount(1e-9)], payouts, amount=15.0, steps=4_096)
    # A merchant with hardly a claim has one claim at most. The second claim changes the share by 1e-9.
    assert found / 1e-8 == pytest.approx(-np.expm1(-1.5), rel=1e-7)


def test_geometric_sums_of_exponential_payouts_have_a_closed_form():
    # E[min(S, A)] = 10 m (1 - exp(-A / (10 (1 + m)))) for claims of dispersion 1 and exponential payouts of mean 10.
    claims = np.array([0.5, 3.0, 30.0, 300.0])
    exact = 1.0 - np.exp(-300.0 / (10.0 * (1.0 + claims)))
    np.testing.assert_allclose(shares_of(claims, shape=ScaleShape(1.0), dispersion=1.0), exact, rtol=1e-5)


@pytest.mark.parametrize(
    ("claims", "dispersion", "limit"), [(5.0, 0.0, 40.0), (30.0, 0.0, 300.0), (30.0, 0.8, 300.0), (200.0, 0.5, 300.0)]
)
def test_shares_agree_with_simulation(claims, dispersion, limit):
    rng, n = np.random.default_rng(11), 100_000
    level = rng.gamma(1 / dispersion, dispersion, n) if dispersion else np.ones(n)
    counts = rng.poisson(claims * level)
    sums = np.where(counts > 0, rng.gamma(np.maximum(counts, 1) / 0.5, 0.5 * 10.0), 0.0)
    paid = np.minimum(sums, limit) / (10.0 * claims)
    (share,) = shares_of([claims], limit=AggregateLimit(limit), dispersion=dispersion)
    assert abs(share - paid.mean()) <= 4.5 * paid.std() / np.sqrt(n)


# Laws


@given(
    st.lists(st.floats(1e-3, 500.0), min_size=2, max_size=6, unique=True), st.floats(0.0, 2.0),
    st.sampled_from(SHAPES[:2]), st.floats(5.0, 100.0),
)  # fmt: skip
@settings(max_examples=20, deadline=None)
def test_shares_fall_with_the_expected_claims(claims, dispersion, shape, amount):
    claims = np.sort(claims)
    share = shares_of(claims, limit=AggregateLimit(round(amount, 2)), dispersion=dispersion, shape=shape)
    assert ((share > 0.0) & (share <= 1.0)).all()
    assert (np.diff(share) <= 1e-9).all()
    # No payout exceeds the limit, and the limit leaves less than the expected payouts.
    assert (share <= np.minimum(1.0, round(amount, 2) / (10.0 * claims)) + 1e-9).all()


@given(st.floats(0.01, 60.0), st.floats(0.0, 1.0))
@settings(max_examples=12, deadline=None)
def test_shares_rise_with_the_limit_and_end_at_one(claims, dispersion):
    limits = [50.0, 300.0, 301.0, 8e3]
    share = [shares_of([claims], limit=AggregateLimit(limit), dispersion=dispersion)[0] for limit in limits]
    assert (np.diff(share) >= -engine.ROUNDING * 8e3 / (10.0 * min(claims, 1.0))).all()
    assert share[-1] == pytest.approx(1.0, abs=1e-6)


@given(st.floats(0.1, 100.0), st.floats(0.0, 1.0), st.sampled_from([2.0, 10.0]))
@settings(max_examples=15, deadline=None)
def test_the_unit_of_money_does_not_matter(claims, dispersion, factor):
    one = shares_of([claims], dispersion=dispersion)
    other = shares_of([claims], 10.0 * factor, limit=AggregateLimit(300.0 * factor), dispersion=dispersion)
    np.testing.assert_allclose(one, other, rtol=1e-9)


def test_more_dispersion_leaves_less():
    shares = [shares_of([25.0], dispersion=dispersion)[0] for dispersion in (0.0, 0.1, 0.5, 2.0)]
    assert (np.diff(shares) < -0.01).all()


def test_a_limit_of_one_claim_keeps_the_mean_and_leaves_more():
    free, limited = shares_of([25.0]), shares_of([25.0], claim_limit=15.0)
    assert 0.0 < limited[0] - free[0] < 0.1
    payouts = engine.payout_with_mean(10.0, SHAPES[0], limit=15.0)
    total = compound_distribution(NegativeBinomialCount(25.0, dispersion=0.3), payouts)
    assert limited[0] == pytest.approx(float(total.limited_expected_value(300.0)) / 250.0, rel=1e-5)


# Tables of merchants


@pytest.mark.parametrize(("shape", "dispersion"), [(SHAPES[0], 0.0), (SHAPES[3], 0.5)], ids=str)
def test_interpolated_shares_keep_their_error(shape, dispersion):
    merchants = many()
    found = AggregateShares.of(merchants, MONTH, shape=shape, dispersion=dispersion)
    assert found.error <= 1e-5
    rows = np.random.default_rng(4).choice(len(merchants), 60, replace=False)
    exact = AggregateShares.of(merchants.iloc[rows], MONTH, shape=shape, dispersion=dispersion)
    names = merchants["merchant_id"].iloc[rows]
    np.testing.assert_allclose(found.share_of(names), exact.share_of(names), rtol=1e-5)


def test_a_size_band_keeps_the_payout_of_its_merchants():
    merchants = many(60)
    found = AggregateShares.of(merchants, MONTH, shape=SHAPES[0], dispersion=0.3, size="size_band")
    own = found.share_of(merchants["merchant_id"])
    expected = (merchants["expected_claims"] * merchants["expected_payout"]).to_numpy()
    for band, share in found.size_shares.items():
        rows = (merchants["size_band"] == band).to_numpy()
        assert share * expected[rows].sum() == pytest.approx((own * expected)[rows].sum(), rel=1e-12)
    assert found.default * expected.sum() == pytest.approx((own * expected).sum(), rel=1e-12)
    assert set(found.size_shares) == {"small", "large"}
    assert found.size_shares["large"] < found.default < found.size_shares["small"]


def test_merchants_without_expected_claims_get_the_share_of_their_band():
    merchants = merchants_of([5.0, 80.0, np.nan, np.nan, np.nan], size_band=["s", "l", "l", None, "new"])
    found = AggregateShares.of(merchants, MONTH, shape=SHAPES[0], dispersion=0.3, size="size_band")
    first, second, third, fourth, fifth = found.shares.values()
    assert (third, fourth, fifth) == (second, found.default, found.default)
    assert found.size_shares == {"s": pytest.approx(first), "l": pytest.approx(second)}
    asked = found.share_of(["m0", "x", "x", "x"], sizes=["l", "s", "l", "none"])
    assert asked.tolist() == [first, found.size_shares["s"], found.size_shares["l"], found.default]
    assert found.share_of(["m1", "x"]).tolist() == [second, found.default]


def test_merchants_without_a_claim_have_the_share_of_one_claim():
    zero, rare = shares_of([0.0, 1e-9], limit=AggregateLimit(15.0))
    assert zero == rare
    assert zero == pytest.approx(float(ScaleShape(0.5).limited(1.5)), rel=1e-7)


@pytest.mark.parametrize("package", ["polars", "pyarrow", "parquet"])
def test_every_kind_of_frame_gives_the_same_shares(package, tmp_path):
    merchants = many(50)
    if package == "polars":
        other = pytest.importorskip("polars").from_pandas(merchants)
    elif package == "pyarrow":
        other = pytest.importorskip("pyarrow").Table.from_pandas(merchants)
    else:
        other = tmp_path / "merchants.parquet"
        merchants.to_parquet(other)
    one, two = (
        AggregateShares.of(frame, MONTH, shape=SHAPES[0], dispersion=0.3, size="size_band")
        for frame in (merchants, other)
    )
    assert one == two
    assert hash(one) == hash(two)


def test_whole_numbers_as_ids_and_bands():
    merchants = pd.DataFrame({"shop": [7, 8], "claims": [5, 80], "yuan": [10, 10], "tier": [1, 2]})
    found = AggregateShares.of(
        merchants, MONTH, shape=SHAPES[0], dispersion=0.3, merchant_id="shop", claims="claims", payout="yuan",
        size="tier",
    )  # fmt: skip
    assert found.share_of([8, 9], sizes=[1, 2]).tolist() == [found.shares[8], found.size_shares["2"]]


@pytest.mark.parametrize("limit", [MONTH, AggregateLimit(50.5, period="day"), AggregateLimit(50.5, period=None), ORDER])
def test_limits_come_back_from_documents(limit):
    assert from_plain(AggregateLimit, json.loads(json.dumps(to_plain(limit)))) == limit


@pytest.mark.parametrize("size", [None, "size_band"])
def test_shares_come_back_from_documents(size):
    found = AggregateShares.of(many(40), MONTH, shape=SHAPES[0], dispersion=0.3, size=size)
    plain = json.loads(json.dumps(to_plain(found)))
    assert [*plain] == ["limit", "merchants", "shares", "sizes", "size_shares", "default", "error", "size_column"]
    assert from_plain(AggregateShares, plain) == found
    plain["merchants"][1] = plain["merchants"][0]
    with pytest.raises(InputError, match=r"40 shares for 40 merchants \(39 different\); give one for each"):
        from_plain(AggregateShares, plain)


def test_an_error_above_the_tolerance_is_told(monkeypatch):
    monkeypatch.setattr(engine, "MOST_NODES", 600)
    with pytest.warns(FreightRiskWarning, match="the estimated relative error of a share is .*, above the tolerance"):
        found = AggregateShares.of(many(300), MONTH, shape=ScaleShape(0.0), dispersion=0.0)
    assert found.error > 1e-5


def test_a_progress_bar_shows_the_shares(capsys):
    AggregateShares.of(many(20), MONTH, shape=SHAPES[0], dispersion=0.3, progress=True)
    assert "aggregate limits: 20" in capsys.readouterr().err
    AggregateShares.of(many(20), MONTH, shape=SHAPES[0], dispersion=0.3)
    assert capsys.readouterr().err == ""


def test_the_text_of_shares():
    found = AggregateShares(MONTH, {"a": 0.5}, {"small": 0.9}, 0.8, size_column="size")
    assert repr(found) == (
        "AggregateShares of 300.00 yuan a merchant and month: 1 merchant with shares from 0.5000, 1 size band, default "
        "0.8000"
    )


# Orders


def test_an_order_of_one_line_has_one_claim():
    share = order_aggregate_shares([0.1, 2.0], [10.0, 20.0], limit=ORDER, shape=SHAPES[0], lines=[1, 1])
    np.testing.assert_allclose(share, ScaleShape(0.5).limited([3.0, 1.5]), rtol=1e-5)


@pytest.mark.parametrize("correlation", [0.0, 0.3])
def test_orders_by_intensity_and_lines(correlation):
    rng = np.random.default_rng(2)
    rate, lines = np.exp(rng.normal(-1.0, 1.0, 600)), rng.integers(1, 4, 600)
    share = order_aggregate_shares(
        rate, 12.0, limit=ORDER, shape=SHAPES[0], lines=lines, correlation=correlation, claim_limit=25.0
    )
    payouts = engine.payout_with_mean(12.0, SHAPES[0], limit=25.0)
    for row in range(8):
        n = int(lines[row])
        counts = LineCount(n, float(-np.expm1(-rate[row] / n)), correlation=correlation)
        total = compound_distribution(counts, payouts, step=0.01)
        assert share[row] == pytest.approx(float(total.limited_expected_value(30.0)) / total.mean, rel=2e-5)
    # An order of one line has one claim at most, whatever its probability.
    assert np.ptp(share[lines == 1]) < 1e-5


def test_orders_without_lines_have_poisson_claims():
    (share,) = order_aggregate_shares([3.0], 10.0, limit=ORDER, shape=ScaleShape(1.0), dispersion=1.0)
    assert share == pytest.approx(-np.expm1(-30.0 / 40.0), rel=1e-5)
    poisson = order_aggregate_shares([3.0], 10.0, limit=ORDER, shape=ScaleShape(1.0))
    assert poisson[0] > share


@pytest.mark.parametrize("lines", [None, [3, 3]])
def test_one_paid_claim_has_the_share_of_one_claim(lines):
    share = order_aggregate_shares([0.2, 3.0], 10.0, limit=ORDER, shape=SHAPES[0], lines=lines, max_claims=1)
    np.testing.assert_allclose(share, float(ScaleShape(0.5).limited(3.0)), rtol=1e-5)


def test_fewer_paid_claims_leave_more():
    share = [
        order_aggregate_shares([4.0], 10.0, limit=ORDER, shape=SHAPES[0], max_claims=most)[0]
        for most in (1, 2, 5, 50, None)
    ]
    assert (np.diff(share[:4]) < -1e-3).all()
    assert share[4] == pytest.approx(share[3], rel=1e-9)


@pytest.mark.parametrize("terms", [{"lines": 40, "correlation": 0.1}, {"max_claims": 3, "dispersion": 0.5}], ids=str)
def test_orders_of_any_intensity_have_a_share(terms):
    rate = np.exp(np.linspace(-20.0, 13.0, 300))
    terms = terms | {"lines": np.full(300, terms["lines"])} if "lines" in terms else terms
    share = order_aggregate_shares(rate, 8.0, limit=ORDER, shape=SHAPES[0], **terms)
    assert ((share > 0.0) & (share <= 1.0)).all()
    assert (np.diff(share) <= 1e-5).all()
    assert share[0] == pytest.approx(share[1], rel=1e-5)


def test_merchants_of_any_size_have_a_share():
    claims = np.exp(np.linspace(-20.0, 20.0, 300))
    share = shares_of(claims, np.geomspace(5.0, 5e3, 300)[::-1], tolerance=1e-3)
    assert ((share > 0.0) & (share <= 1.0)).all()


def test_an_order_that_certainly_returns_every_line():
    (share,) = order_aggregate_shares([1e6], 10.0, limit=ORDER, shape=ScaleShape(0.0), lines=[5])
    assert share == pytest.approx(0.6, rel=1e-5)


# Refusals


def made(frame=None, limit=MONTH, **more):
    frame = merchants_of([5.0]) if frame is None else frame
    return AggregateShares.of(frame, limit, **{"shape": SHAPES[0], "dispersion": 0.3} | more)


def order(rate=(0.5,), payout=10.0, **more):
    return order_aggregate_shares([*rate], payout, **{"limit": ORDER, "shape": SHAPES[0]} | more)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: AggregateLimit(0.0), "amount of an aggregate limit is 0.0; it must be a finite number in"),
        (lambda: AggregateLimit(3.005), "is 3.005 yuan; it must be a whole number of fen, such as 300.0"),
        (lambda: AggregateLimit(3.0, by="buyer"), "by of an aggregate limit is 'buyer'; it must be one of 'merchant'"),
        (lambda: AggregateLimit(3.0, period="week"), "period of an aggregate limit is 'week'; it must be one of 'day'"),
        (lambda: AggregateLimit(3.0, by="order", period="day"), "period is 'day' with by='order'"),
        (lambda: AggregateShares(300.0, {}), "limit is 300.0; it must be an AggregateLimit"),
        (lambda: AggregateShares(ORDER, {}), "limit is by order; AggregateShares needs a limit by merchant"),
        (lambda: AggregateShares(MONTH, {"a": 0.0}), r"shares of 'a' is 0.0; it must be a finite number in \(0, 1\]"),
        (lambda: AggregateShares(MONTH, {"a": 1.0, None: 1.0}), "shares has a value for a missing merchant"),
        (lambda: AggregateShares(MONTH, {}, {"small": 2.0}), "size_shares of 'small' is 2.0"),
        (lambda: AggregateShares(MONTH, {}, {3: 0.5}), "a size band of size_shares is 3; it must be a non-empty"),
        (lambda: AggregateShares(MONTH, {}, default=1.5), "default is 1.5"),
        (lambda: made(limit=ORDER), "limit is by order"),
        (lambda: made(shape=0.3), r"shape is 0.3; it must be a shape, such as ScaleShape\(0.3\)"),
        (lambda: made(dispersion=-1.0), "dispersion is -1.0"),
        (lambda: made(tolerance=0.0), "tolerance is 0.0"),
        (lambda: made(progress="yes"), "progress is 'yes'; it must be True or False"),
        (lambda: made([5.0]), "merchants is a list; it must be a pandas, polars or pyarrow table"),
        (lambda: made(claims="volume"), "merchants: missing column 'volume'; the columns present are"),
        (lambda: made(merchants_of([-1.0])), r"'expected_claims' is outside \[0, 1e\+09\] in 1 row"),
        (lambda: made(merchants_of([1.0], 0.0)), r"'expected_payout' is not in \[0\.001, 1e\+06\] yuan in 1 row"),
        (lambda: made(merchants_of([1.0], np.nan)), r"'expected_payout' is not in \[0\.001, 1e\+06\] yuan in 1 row"),
        (lambda: made(merchants_of([np.nan])), "'expected_claims' is missing in every row"),
        (lambda: made(merchants_of([1.0, 1.0]).assign(merchant_id="a")), "'merchant_id' repeats in 1 row"),
        (lambda: made(merchants_of([1.0]).assign(merchant_id=None)), "'merchant_id' is missing in 1 row"),
        (lambda: made(claim_limit=8.0), "a mean payout exceeds claim_limit, 8 yuan, in 1 row"),
        (lambda: made().share_of(["a"], sizes=["b", "c"]), r"sizes has shape \(2,\); give one size band for each of 1"),
        (lambda: order(limit=MONTH), r"limit is by merchant; give AggregateLimit\(amount, by='order'\)"),
        (lambda: order(rate=[-0.5]), r"intensity is outside \[0, 1e\+06\] in 1 row"),
        (lambda: order(payout=[10.0, 10.0]), r"payout has shape \(2,\); it must be one value a row"),
        (lambda: order(payout=0.0), r"payout is outside \[0\.001, 1e\+06\] yuan in 1 row"),
        (lambda: order(lines=[0]), "lines is no whole number from 1 to 10,000 in 1 row"),
        (lambda: order(lines=[1.5]), "lines is no whole number from 1 to 10,000 in 1 row"),
        (lambda: order(max_claims=0), r"max_claims is 0; it must be a whole number in \[1, 50\]"),
        (lambda: order(correlation=0.3), "correlation is given without lines"),
        (lambda: order(lines=[2], correlation=1.0), "correlation is 1.0"),
        (lambda: order(lines=[2], dispersion=0.3), "dispersion is given with lines"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()
