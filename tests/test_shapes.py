"""Shapes of severity: what a limit leaves of the mean, from a family, from the claims themselves, with a heavy tail."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import integrate

from freightrisk import (
    Cover,
    Factor,
    FitError,
    FreightRiskWarning,
    FrequencyModel,
    InputError,
    OrderBook,
    SeverityModel,
    Tariff,
)
from freightrisk.shapes import EmpiricalShape, ParetoTail, ScaleShape
from freightrisk.tariff.curves import limit_curve

AMOUNTS = np.random.default_rng(2).gamma(2.0, 0.5, 3_000)
SHAPES = [
    ScaleShape(0.5), ScaleShape(0.4, "lognormal"), EmpiricalShape(AMOUNTS), ParetoTail(ScaleShape(0.3), 2.0, 2.5),
    ParetoTail(EmpiricalShape(AMOUNTS), 1.8, 1.4),
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_limited_expected_value_is_the_integral_of_the_chance_above(shape):
    for ratio in (0.05, 0.7, 1.9, 6.0):
        whole, _ = integrate.quad(lambda r: float(shape.above(r)), 0.0, ratio, limit=500, points=[min(ratio, 0.5)])
        assert float(shape.limited(ratio)) == pytest.approx(whole, rel=2e-6)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_limited_expected_value_rises_is_concave_and_ends_at_one(shape):
    ratio = np.geomspace(1e-3, 1e3, 300)
    limited, above = shape.limited(ratio), shape.above(ratio)
    slope = np.diff(limited) / np.diff(ratio)
    assert (np.diff(limited) >= -1e-12).all()
    assert (np.diff(slope) <= 1e-9).all()
    assert ((above >= 0) & (above <= 1) & (np.diff(above, prepend=1.0) <= 1e-12)).all()
    far = 1e6 if isinstance(shape, ParetoTail) else 1e3
    assert shape.limited([far])[0] == pytest.approx(1.0, abs=5e-3 if isinstance(shape, ParetoTail) else 1e-9)
    assert shape.limited([1e-4])[0] == pytest.approx(1e-4, rel=0.02)


@pytest.mark.parametrize("shape", [*SHAPES, ScaleShape(3.0, "lognormal"), ScaleShape(50.0), ScaleShape(1e-5)], ids=str)
def test_limit_curve_keeps_its_error(shape):
    curve = limit_curve(shape)
    ratio = np.geomspace(2e-9, 1e9, 3_000)
    np.testing.assert_allclose(curve.share(1 / ratio), shape.limited(ratio), rtol=2e-7)


def test_smoothing_an_empirical_shape_moves_it_little():
    shape = EmpiricalShape(AMOUNTS)
    z = AMOUNTS / AMOUNTS.mean()
    for ratio in (0.2, 0.8, 1.0, 2.5):
        assert shape.limited([ratio])[0] == pytest.approx(np.minimum(z, ratio).mean(), rel=1e-3)


def test_many_amounts_are_grouped_without_losing_their_mean():
    rng = np.random.default_rng(4)
    many = rng.gamma(2.0, 0.5, 200_000)
    shape = EmpiricalShape(many, rng.uniform(0.5, 1.5, len(many)))
    assert len(shape.ratios) <= 1_024
    assert shape.ratios @ shape.weights == pytest.approx(1.0, rel=1e-12)
    np.testing.assert_allclose(shape.limited([0.3, 1.0, 3.0]), ScaleShape(0.5).limited([0.3, 1.0, 3.0]), rtol=5e-3)


@given(weight=st.floats(0.1, 50.0))
def test_a_weight_is_that_many_amounts(weight):
    two = np.repeat([0.5, 1.5], 500)
    weighted = EmpiricalShape(two, np.repeat([1.0, weight], 500))
    mean = (0.5 + weight * 1.5) / (1 + weight)
    exact = (min(0.5, 0.9 * mean) + weight * 0.9 * mean) / (1 + weight) / mean
    assume(abs(0.9 * mean - 0.5) > 0.1 and 0.9 * mean < 1.4)
    assert weighted.limited([0.9])[0] == pytest.approx(exact, rel=5e-3)


def book_of(amounts, zone):
    orders = pd.DataFrame({"order_id": range(len(amounts)), "zone": zone})
    claims = pd.DataFrame({"order_id": range(len(amounts)), "freight": amounts})
    return OrderBook.from_frames(orders, claims, factors=[Factor("zone")], ship_date=None, report_date=None)


def pareto_book(n=40_000, index=2.2, seed=8):
    """Freight of large goods: gamma to twice its mean, Pareto above."""
    rng = np.random.default_rng(seed)
    z = rng.gamma(3.0, 1 / 3.0, n)
    over = z > 2.0
    z[over] = 2.0 * rng.uniform(size=over.sum()) ** (-1 / index)
    zone = rng.integers(0, 2, n)
    return book_of(40.0 * (1 + zone) * z, zone), 40.0 * (1 + zone) * z, zone


@pytest.mark.slow
def test_tail_of_large_goods_is_found():
    book, amounts, _zone = pareto_book()
    severity = SeverityModel().fit(book)
    tail = ParetoTail.fit(severity, book, share=0.03)
    assert abs(tail.index - 2.2) < 3 * 2.2 / np.sqrt(0.03 * book.n_claims)
    mean = severity.predict(book)
    for limit in (100.0, 400.0, 1_500.0):
        paid = np.minimum(amounts, limit)
        ours = (mean * tail.limited(limit / mean)).mean()
        family = (mean * ScaleShape(severity.dispersion).limited(limit / mean)).mean()
        assert abs(ours - paid.mean()) < 3 * paid.std() / np.sqrt(len(paid))
        assert abs(ours - paid.mean()) < abs(family - paid.mean())


@pytest.mark.parametrize("kind", [EmpiricalShape, ParetoTail])
def test_tariff_limits_claims_by_their_own_shape(kind):
    book, amounts, zone = pareto_book()
    severity = SeverityModel().fit(book)
    shape = kind.fit(severity, book)
    frequency = FrequencyModel().fit(book)
    tariff = Tariff.build(frequency, severity, cover=Cover(max_claims=None, limit=150.0), shape=shape)
    orders = pd.DataFrame({"zone": zone})
    paid = np.minimum(amounts, 150.0)
    cover = Cover(max_claims=None, limit=150.0)
    with pytest.warns(FreightRiskWarning, match="the gamma curve pays 1.* less"):
        by_family = Tariff.build(frequency, severity, cover=cover)
    ours, usual = (one.price(orders)["expected_payout"].mean() for one in (tariff, by_family))
    assert abs(ours - paid.mean()) < 3 * paid.std() / np.sqrt(len(paid))
    assert abs(usual - paid.mean()) > 3 * paid.std() / np.sqrt(len(paid))
    assert type(shape).__name__ in tariff.provenance["shape"]


def test_a_shape_limits_what_a_family_cannot():
    book, *_ = pareto_book(n=4_000)
    severity = SeverityModel(family="inverse_gaussian").fit(book)
    with pytest.raises(InputError, match="or give the shape of the amounts"):
        Tariff.build(FrequencyModel().fit(book), severity, cover=Cover(limit=100.0))
    shape = EmpiricalShape.fit(severity, book)
    tariff = Tariff.build(FrequencyModel().fit(book), severity, cover=Cover(limit=100.0), shape=shape)
    assert tariff.limit_curve.share(1.0) == pytest.approx(float(shape.limited(1.0)), rel=1e-6)


def test_bad_calls_are_refused():
    with pytest.raises(InputError, match="ratios has 3 values; a shape needs 20 or more"):
        EmpiricalShape(np.ones(3))
    with pytest.raises(InputError, match="ratios is not above zero in 1 row"):
        EmpiricalShape(np.append(np.ones(30), 0.0))
    with pytest.raises(InputError, match="weights is negative"):
        EmpiricalShape(np.ones(30), -np.ones(30))
    with pytest.raises(InputError, match="weights is zero everywhere"):
        EmpiricalShape(np.ones(30), np.zeros(30))
    with pytest.raises(InputError, match="bandwidth"):
        EmpiricalShape(np.ones(30), bandwidth=0.0)
    with pytest.raises(InputError, match="index"):
        ParetoTail(ScaleShape(0.3), 2.0, 1.0)
    with pytest.raises(InputError, match=r"body is 0\.3; it must be a shape"):
        ParetoTail(0.3, 2.0, 2.0)
    with pytest.raises(InputError, match="family"):
        ScaleShape(0.3, "tweedie")
    book, *_ = pareto_book(n=300)
    severity, frequency = SeverityModel().fit(book), FrequencyModel().fit(book)
    with pytest.raises(FitError, match=r"a tail of 1\.0% has \d+ claims"):
        ParetoTail.fit(severity, book, share=0.01)
    with pytest.raises(InputError, match=r"shape is 0\.3; it must be a SeverityShape"):
        Tariff.build(frequency, severity, cover=Cover(limit=9.0), shape=0.3)
    with pytest.raises(InputError, match="severity must be a fitted severity model"):
        EmpiricalShape.fit(frequency, book)


@pytest.mark.parametrize("index", [1.05, 1.5, 1.8])
def test_a_curve_without_a_limit_leaves_the_whole_mean_of_a_heavy_tail(index):
    curve = limit_curve(ParetoTail(ScaleShape(0.3), threshold=2.0, index=index))
    assert curve.plan()["pieces"][0].tolist() == [1.0, 0.0, 0.0, 0.0]  # read for an infinite limit
    assert curve.share(np.array([1e-300])) == 1.0
