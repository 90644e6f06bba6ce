"""The cover's expected values against sums and integrals, and its curves against the exact functions."""

from dataclasses import replace
from math import exp, factorial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from freightrisk import ByLevel, Cover, Factor, FrequencyModel, OrderBook, SeverityModel, Tariff
from freightrisk.book.codings import Coding
from freightrisk.errors import InputError
from freightrisk.shapes import ScaleShape, expected_claims, limited_expected_value
from freightrisk.tariff.curves import LimitCurve, count_curve, limit_curve
from freightrisk.tariff.plan import RateTables
from strategies import put_together, rate_tables, run_kernel

INTENSITIES = np.sort(np.concatenate([np.geomspace(1e-8, 1e4, 4001), np.linspace(0.01, 30, 3001)]))
RATIOS = np.geomspace(1e-6, 1e6, 20_011)  # mean over limit
DISPERSIONS = [1e-4, 1e-3, 0.01, 0.05, 0.1, 0.3, 0.5, 0.6, 0.7, 0.9, 1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 7.0, 10.0, 20.0]

intensities = st.floats(-18, 9).map(np.exp)
means = st.floats(0.05, 500)
limits = st.floats(0.05, 500)
dispersions = st.floats(0.01, 4.0)


def kernel_claims(intensity, max_claims):
    """Expected claims as the kernel computes them, one order an intensity."""
    return priced_means(intensity, "frequency", Cover(max_claims=max_claims)).detail[1]


def kernel_payout(mean, limit, dispersion):
    """Expected payout as the kernel computes it, one order a mean."""
    return priced_means(mean, "severity", Cover(limit=limit), dispersion).detail[2]


def priced_means(values, model, cover, dispersion=0.5):
    """Price one order for each claim intensity or mean freight: a factor with as many levels as there are values."""
    factor = Coding(Factor("case"), tuple((k,) for k in range(len(values))), {(k,): k for k in range(len(values))})
    one = RateTables(1.0, {})
    rates = {"frequency": one, "severity": one, model: RateTables(1.0, {"case": np.append(values, 1.0)})}
    tariff = replace(
        put_together(frequency=one, severity=one, cover=cover, dispersion=dispersion), codings={"case": factor}, **rates
    )
    return run_kernel(tariff, [np.arange(len(values), dtype=np.uint32)], len(values))


# E[min(N, K)] of Poisson counts


@pytest.mark.parametrize("max_claims", range(1, 11))
def test_expected_claims_is_the_sum_over_poisson_counts(max_claims):
    for intensity in (0.0, 1e-8, 1e-3, 0.2, 1.0, 3.0, 8.0, 40.0):
        probability = [exp(-intensity) * intensity**n / factorial(n) for n in range(150)]
        direct = sum(p * min(n, max_claims) for n, p in enumerate(probability))
        value = expected_claims(np.array([intensity]), max_claims=max_claims)
        assert value == pytest.approx(direct, rel=1e-12, abs=1e-300)


def test_expected_claims_of_one_claim_and_of_any_number():
    np.testing.assert_allclose(expected_claims(INTENSITIES, max_claims=1), -np.expm1(-INTENSITIES), rtol=1e-15)
    np.testing.assert_array_equal(expected_claims(INTENSITIES, max_claims=None), INTENSITIES)


@pytest.mark.parametrize("max_claims", range(1, 11))
def test_count_curve_keeps_the_relative_accuracy_of_small_and_large_intensities(max_claims):
    exact = stats.poisson.sf(np.arange(max_claims)[:, None], INTENSITIES).sum(axis=0)
    priced = kernel_claims(INTENSITIES, max_claims)
    np.testing.assert_allclose(priced, exact, rtol=1e-6)


@pytest.mark.parametrize("max_claims", [1, 2, 3, 7, 10])
def test_priced_claims_rise_and_stay_below_intensity_and_the_most_claims(max_claims):
    intensity = INTENSITIES[: np.searchsorted(INTENSITIES, 3 * max_claims)]
    claims = kernel_claims(intensity, max_claims)
    assert (np.diff(claims)[np.diff(intensity) > 1e-5 * intensity[1:]] > 0).all()
    assert (claims <= intensity * (1 + 1e-7)).all()
    assert (kernel_claims(INTENSITIES, max_claims) <= max_claims * (1 + 1e-7)).all()


def test_any_number_of_claims_prices_the_intensity_itself():
    np.testing.assert_array_equal(kernel_claims(INTENSITIES[::10], None), INTENSITIES[::10])


@pytest.mark.parametrize("max_claims", [20, 50])
def test_every_number_of_claims_that_a_cover_takes_has_a_curve(max_claims):
    assert count_curve(Cover(max_claims=max_claims).max_claims).shape[1] == 4


# E[min(X, limit)] of gamma amounts


@given(means, limits, dispersions)
def test_limited_expected_value_is_the_integral_of_the_survival_function(mean, limit, dispersion):
    shape, scale = 1 / dispersion, mean * dispersion
    start = min(scale * float(special.gammaincinv(shape, 1e-12)), limit)  # nearly all amounts are above it
    edges = np.linspace(np.log(start), np.log(limit), 61)
    nodes, weights = np.polynomial.legendre.leggauss(40)
    half = np.diff(edges)[:, None] / 2
    x = np.exp(edges[:-1, None] + half * (nodes + 1))
    direct = start + (weights * half * x * special.gammaincc(shape, x / scale)).sum()
    value = limited_expected_value(np.array([mean]), np.array([limit]), dispersion=dispersion)
    assert value == pytest.approx(direct, rel=1e-8)


@given(means, limits)
def test_limited_expected_value_of_exponential_amounts(mean, limit):
    value = limited_expected_value(np.array([mean]), np.array([limit]), dispersion=1.0)
    assert value == pytest.approx(-mean * np.expm1(-limit / mean), rel=1e-12)


@given(means, dispersions)
def test_limited_expected_value_rises_in_the_limit_is_concave_and_ends_at_the_mean(mean, dispersion):
    limit = mean * np.linspace(0.02, 30.0, 400)
    value = limited_expected_value(np.full(400, mean), limit, dispersion=dispersion)
    slack = 1e-12 * mean
    assert (np.diff(value) >= -slack).all()
    assert (np.diff(value, 2) <= slack).all()
    assert (value <= np.minimum(mean, limit) * (1 + 1e-12)).all()
    ends = limited_expected_value(np.array([mean, mean]), np.array([1e-9 * mean, np.inf]), dispersion=dispersion)
    assert ends[1] == mean
    if dispersion <= 0.5:  # at higher ones small amounts are common and the value leaves the limit sooner
        assert ends[0] == pytest.approx(1e-9 * mean, rel=1e-12)


def test_no_dispersion_pays_the_smaller_of_mean_and_limit():
    value = limited_expected_value(np.array([8.0, 8.0, 8.0]), np.array([5.0, 9.0, np.inf]), dispersion=0.0)
    assert value.tolist() == [5.0, 8.0, 8.0]


@pytest.mark.parametrize("dispersion", DISPERSIONS)
def test_limit_curve_keeps_relative_accuracy_under_high_and_low_limits(dispersion):
    shape = 1 / dispersion
    x = shape / RATIOS
    exact = RATIOS * special.gammainc(shape + 1, x) + special.gammaincc(shape, x)  # the limit is one
    payout = kernel_payout(RATIOS, 1.0, dispersion)
    np.testing.assert_allclose(payout, exact, rtol=2e-7)


@given(
    power=st.floats(-24, -4) | st.sampled_from([-323.0, -300.0, -31.0, -30.0, -8.0, -8.3, -6.3, -6.0]),
    family=st.sampled_from(["gamma", "lognormal"]),
)
def test_limit_curves_exist_down_to_no_dispersion(power, family):
    shape = ScaleShape(10.0**power, family)
    spread = max(10.0 ** (power / 2), 1e-9)
    ratio = np.concatenate(
        [RATIOS[::50], 1.0 + spread * np.linspace(-8.0, 8.0, 401), 1.0 + np.linspace(-0.01, 0.01, 401)]
    )
    share, exact = limit_curve(shape).share(ratio), shape.limited(1.0 / ratio)
    smallest = np.minimum(1.0, 1.0 / ratio)
    sharp = power < np.log10(5e-14) or power > -6
    np.testing.assert_allclose(share, exact, rtol=2e-7 if sharp else 3e-5)
    np.testing.assert_allclose(exact, smallest, rtol=0.4 * spread + 1e-6 if power < -4 else 0.01)
    far = np.abs(np.log(ratio)) > max(0.01, 8 * spread)
    np.testing.assert_allclose(share[far], smallest[far], rtol=2e-7)


@pytest.mark.parametrize("odd", [8.0, 8.0001, 8.01, 8.1, 8.5])
def test_nearly_flat_freight_is_priced_under_a_limit(odd):
    orders = pd.DataFrame({"order_id": range(1000), "zone": ["near", "far"] * 500})
    claims = pd.DataFrame({"order_id": range(300), "freight": [odd] * 3 + [8.0] * 297})
    book = OrderBook.from_frames(orders, claims, factors=[Factor("zone")], ship_date=None, report_date=None)
    frequency, severity = FrequencyModel([]).fit(book), SeverityModel([]).fit(book)
    mean = claims["freight"].mean()
    for limit in (25.0, 8.2, 7.5, 4.0):
        tariff = Tariff.build(frequency, severity, cover=Cover(limit=limit))
        payout = tariff.price(orders.head(1))["expected_payout"].item()
        if abs(mean / limit - 1.0) > 8 * np.sqrt(severity.dispersion):
            assert payout == pytest.approx(min(mean, limit), rel=1e-6)
        assert payout <= min(mean, limit) * (1.0 + 3e-5)


@pytest.mark.parametrize("dispersion", [0.01, 0.1, 0.5, 1.0])
def test_priced_payout_rises_in_mean_and_limit(dispersion):
    mean = np.geomspace(0.1, 100.0, 3000)
    low, high = kernel_payout(mean, 5.0, dispersion), kernel_payout(mean, 12.0, dispersion)
    tolerance = 1 + 1e-7
    assert (low <= high * tolerance).all()
    assert (low <= 5.0 * tolerance).all()
    assert (high <= mean * tolerance).all()
    assert (low[1:] >= low[:-1] / tolerance).all()


@pytest.mark.parametrize("dispersion", DISPERSIONS)
def test_a_high_limit_leaves_the_mean_and_a_low_one_is_paid(dispersion):
    far = np.array([1e-12, 1e-300, 1e12, 1e300])
    share = limit_curve(ScaleShape(dispersion)).share(far)
    assert share[:2].tolist() == [1.0, 1.0]
    paid = share[2:] * far[2:]
    if dispersion <= 0.5:  # at higher ones the payout leaves the limit sooner
        np.testing.assert_allclose(paid, 1.0, rtol=1e-12)
    assert (paid > 0.0).all()
    assert (paid <= 1.0 + 1e-12).all()


@pytest.mark.parametrize(
    ("first", "pieces", "message"),
    [
        (31, np.empty((0, 1, 4)), "first octave of limit_curve is 31"),
        (0, np.ones((2, 4)), r"limit_curve has shape \(2, 4\)"),
        (0, np.ones((1, 3, 4)), r"limit_curve has shape \(1, 3, 4\)"),
        (
            0,
            np.full((1, 16, 4), [1.0, 0.0, 0.0, 0.0]),
            "limit_curve is not an unbroken curve",
        ),  # two limits at the end
        (0, np.full((1, 16, 4), [0.5, 0.1, 0.0, 0.0]), "limit_curve is not an unbroken curve"),
    ],
)
def test_what_is_no_limit_curve_is_refused(first, pieces, message):
    with pytest.raises(InputError, match=message):
        LimitCurve(first, pieces)


def test_without_dispersion_the_curve_is_the_smaller_of_both():
    mean = np.geomspace(1e-3, 1e3, 301)
    np.testing.assert_allclose(kernel_payout(mean, 1.0, 0.0), np.minimum(mean, 1.0), rtol=1e-15)


@given(st.floats(-1.5, 1.5), st.integers(-12, 12), st.sampled_from([16, 64]))
def test_the_bits_of_a_ratio_name_its_piece(ratio, first, pieces):
    # Of a broken curve, which has another constant in each piece.
    rng = np.random.default_rng(pieces + first)
    cubics = np.zeros((2, pieces, 4))
    cubics[:, :, 0] = rng.uniform(0.1, 1.0, (2, pieces))
    curve = object.__new__(LimitCurve)
    object.__setattr__(curve, "first", first)
    object.__setattr__(curve, "pieces", cubics)
    x = 2.0 ** (first + 1 + ratio)
    if 2.0**first <= x < 2.0 ** (first + 2):
        octave = int(np.floor(np.log2(x)))
        expected = cubics[octave - first, int((x / 2.0**octave - 1.0) * pieces), 0]
    else:
        expected = 1.0 if x < 2.0**first else cubics[-1, -1, 0] * 2.0 ** (first + 2) / x
    assert float(curve.share(x)) == pytest.approx(expected, rel=1e-12)


@given(st.integers(1, 10))
def test_count_curve_is_one_at_first_and_the_most_claims_at_last(max_claims):
    curve = count_curve(max_claims)
    assert curve[0, 0] == 1.0
    assert curve[-1].sum() == pytest.approx(max_claims, rel=1e-14)


@pytest.mark.parametrize(
    "curve",
    [
        count_curve(1), count_curve(4),
        *(limit_curve(ScaleShape(dispersion)).pieces.reshape(-1, 4) for dispersion in (0.3, 1.0)),
    ],
)  # fmt: skip
def test_pieces_of_a_curve_meet(curve):
    np.testing.assert_allclose(curve[:-1].sum(axis=1), curve[1:, 0], rtol=1e-13)


# Covers


def test_limits_of_a_cover():
    fee, by_zone = ByLevel("zone", {"near": 8, "far": 12.5}), ByLevel("zone", {"near": 20}, default=30)
    assert Cover().level_limits == ()
    assert Cover().flat_limit == np.inf
    assert Cover(limit=25).flat_limit == 25.0
    assert Cover(limit=25, first_weight_fee=fee).level_limits == (fee,)
    assert Cover(limit=by_zone, first_weight_fee=fee).level_limits == (fee, by_zone)
    assert fee.values == {"near": 8.0, "far": 12.5}


def test_levels_of_an_amount_are_named_as_tables_name_them():
    assert ByLevel("n_lines", {1: 8.0, "2": 9.0}).values == {"1": 8.0, "2": 9.0}


BY_ZONE = ByLevel("zone", {"near": 8.0})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Cover(max_claims=0), r"max_claims is 0; it must be a whole number in \[1, 50\]"),
        (lambda: Cover(max_claims=51), "max_claims is 51"),
        (lambda: Cover(max_claims=1.0), "max_claims is 1.0"),
        (lambda: Cover(max_claims=True), "max_claims is True"),
        (lambda: Cover(max_claims="all"), "max_claims is 'all'"),
        (lambda: Cover(limit=0), r"limit is 0; it must be a finite number in \(0, 1e\+06\]"),
        (lambda: Cover(limit=-1.0), "limit is -1.0"),
        (lambda: Cover(limit=np.nan), "limit is nan"),
        (lambda: Cover(limit=np.inf), "limit is inf"),
        (lambda: Cover(limit="25"), "limit is '25'; it must be a number"),
        (lambda: Cover(first_weight_fee=8.0), "first_weight_fee must be a ByLevel: the fee of each level of the zone"),
        (lambda: ByLevel("", {"near": 8.0}), "factor of ByLevel is ''; it must be a non-empty string"),
        (lambda: ByLevel("zone", {}), r"values of ByLevel\('zone'\) is empty; list an amount for each level"),
        (
            lambda: ByLevel("tier", {1: 8.0, "1": 9.0}),
            r"values of ByLevel\('tier'\) names a level twice, as number and text; keep one",
        ),
        (lambda: ByLevel("zone", {"near": -8.0}), "amount of level 'near' is -8.0"),
        (lambda: ByLevel("zone", {"near": None}), "amount of level 'near' is None; it must be a number"),
        (lambda: ByLevel("zone", {"near": 8.0}, default=-1.0), "default of ByLevel is -1.0"),
        (
            lambda: Cover(limit=ByLevel("zone", {"near": 8.0}, default=0.0)),
            r"limit, amount of the default, is 0.0; it must be a finite number in \(0, 1e\+06\]",
        ),
        (
            lambda: Cover(first_weight_fee=ByLevel("zone", {"near": 0.0, "far": 9.0})),
            "first_weight_fee, amount of level 'near', is 0.0",
        ),
        (
            lambda: put_together(
                frequency=rate_tables(["channel"], np.random.default_rng(), 1.0),
                severity=rate_tables([], None, 1.0),
                cover=Cover(first_weight_fee=BY_ZONE),
            ),
            "the cover names factor 'zone', which no model rates; the factors are channel",
        ),
        (
            lambda: put_together(
                frequency=rate_tables(["zone"], np.random.default_rng(), 1.0),
                severity=rate_tables([], None, 1.0),
                cover=Cover(limit=BY_ZONE),
            ),
            r"no amount for 2 levels of factor 'zone' \(first: 'city'\); list them or give a default",
        ),
        (
            lambda: put_together(
                frequency=rate_tables(["zone"], np.random.default_rng(), 1.0),
                severity=rate_tables([], None, 1.0),
                cover=Cover(limit=ByLevel("zone", {"nearby": 8.0}, default=9.0)),
            ),
            "the cover names level 'nearby' of factor 'zone'; its levels are city, far, near",
        ),
    ],
)
def test_bad_calls(call, message):
    with pytest.raises(InputError, match=message):
        call()
