"""Compound distributions: sums by enumeration, Panjer's recursion, closed forms, and what a grid says of itself."""

from itertools import product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from freightrisk import FreightRiskWarning, InputError
from freightrisk.aggregates import (
    CappedCount,
    LineCount,
    NegativeBinomialCount,
    PoissonCount,
    ShapePayout,
    TableCount,
    TablePayout,
    compound_distribution,
)
from freightrisk.models.compound import ROUNDING
from freightrisk.models.payouts import payout_with_mean
from freightrisk.shapes import EmpiricalShape, ParetoTail, ScaleShape

AMOUNTS = np.random.default_rng(5).gamma(2.0, 0.5, 400)
SHAPES = [
    ScaleShape(0.5), ScaleShape(0.3, "lognormal"), EmpiricalShape(AMOUNTS), ParetoTail(ScaleShape(0.3), 2.0, 2.5),
    ScaleShape(0.0),
]  # fmt: skip


@st.composite
def shares(draw, size):
    parts = np.array(draw(st.lists(st.integers(0, 20), min_size=size, max_size=size))) + draw(st.integers(1, 5))
    return (parts / parts.sum()).tolist()


@st.composite
def bounded_counts(draw):
    if draw(st.booleans()):
        return TableCount(draw(shares(draw(st.integers(1, 5)))))
    correlation = draw(st.sampled_from([0.0, 0.2, 0.9]))
    return LineCount(draw(st.integers(1, 4)), draw(st.floats(0.0, 1.0)), correlation=correlation)


@st.composite
def fen_payouts(draw):
    amounts = draw(st.lists(st.integers(0, 4_000), min_size=1, max_size=4, unique=True))
    return TablePayout(amounts, draw(shares(len(amounts))))


def pmf(counts, size=64):
    """Return the probabilities of counts below `size`, from their generating function on the unit circle."""
    return np.fft.ifft(counts.generating(np.exp(-2j * np.pi * np.arange(size) / size))).real


def enumerated(counts, payouts):
    """Return the probability of each sum in fen, by going through every sequence of payouts."""
    found = {}
    amounts, chances = payouts.amounts_fen.tolist(), payouts.probabilities.tolist()
    for n, chance in enumerate(counts.probabilities.tolist()):
        for choice in product(range(len(amounts)), repeat=n):
            total = sum(amounts[k] for k in choice)
            found[total] = found.get(total, 0.0) + chance * float(np.prod([chances[k] for k in choice]))
    return found


# Counts


@pytest.mark.parametrize(
    ("counts", "law"),
    [
        (PoissonCount(3.0), stats.poisson(3.0)),
        (PoissonCount(1e-7), stats.poisson(1e-7)),
        (NegativeBinomialCount(3.0, dispersion=0.5), stats.nbinom(2.0, 1 / 2.5)),
        (NegativeBinomialCount(2.0, dispersion=1e-7), stats.nbinom(1e7, 1 / (1 + 2e-7))),
        (LineCount(7, 0.3), stats.binom(7, 0.3)),
        (LineCount(1, 0.3), stats.bernoulli(0.3)),
        (LineCount(7, 0.3, correlation=0.25), stats.betabinom(7, 0.9, 2.1)),
        (CappedCount(LineCount(3, 0.3), 50), stats.binom(3, 0.3)),
        (TableCount(stats.binom(4, 0.2).pmf(range(5))), stats.binom(4, 0.2)),
    ],
)
def test_generating_functions_are_those_of_the_probabilities(counts, law):
    # The largest probability at 64 or above is 1e-14, of the negative binomial.
    np.testing.assert_allclose(pmf(counts), law.pmf(np.arange(64)), atol=1e-13)
    assert counts.expected_claims == pytest.approx(law.mean(), rel=1e-9)
    assert counts.variance == pytest.approx(law.var(), rel=1e-9)
    assert counts.most in (None, round(law.support()[1]) if np.isfinite(law.support()[1]) else None)


@pytest.mark.parametrize("counts", [PoissonCount(2.0), NegativeBinomialCount(2.0, dispersion=0.4), LineCount(3, 0.9),
                                    LineCount(3, 0.9, correlation=0.5), TableCount([0.2, 0.0, 0.8])])  # fmt: skip
def test_the_slope_of_a_generating_function_at_one_is_the_mean(counts):
    step = 1e-6
    above, below = (float(counts.generating(1.0 + side)) for side in (step, -step))
    assert (above - below) / (2 * step) == pytest.approx(counts.expected_claims, rel=1e-8)
    second = (above - 2.0 + below) / step**2
    assert second + counts.expected_claims - counts.expected_claims**2 == pytest.approx(counts.variance, abs=2e-3)
    assert float(counts.generating(1.0)) == pytest.approx(1.0, abs=1e-15)


def test_a_negative_binomial_has_no_mean_of_powers_beyond_its_range():
    counts = NegativeBinomialCount(2.0, dispersion=0.5)
    np.testing.assert_array_equal(np.isinf(counts.generating([1.9, 2.0, 2.1])), [False, True, True])


@pytest.mark.parametrize(
    ("counts", "law"), [(PoissonCount(8.0), stats.poisson(8.0)), (LineCount(60, 0.5), stats.binom(60, 0.5)),
                        (NegativeBinomialCount(1e-8, dispersion=2.0), stats.nbinom(0.5, 1 / (1 + 2e-8)))],
)  # fmt: skip
@pytest.mark.parametrize("most", [1, 3, 50])
def test_paid_claims_are_counts_up_to_the_largest_number(counts, law, most):
    paid = CappedCount(counts, most)
    wanted = np.append(law.pmf(np.arange(most)), law.sf(most - 1))
    # Rounding, enlarged by 0.9^-50, is 4e-14. It is relative to the probability of any claim.
    np.testing.assert_allclose(paid.probabilities, wanted, atol=1e-13)
    np.testing.assert_allclose(paid.probabilities[1:], wanted[1:], atol=1e-11 * law.sf(0))
    # E[min(N, K)] is the sum of P(N >= k).
    assert paid.expected_claims == pytest.approx(law.sf(np.arange(most)).sum(), rel=1e-10)


def test_long_orders_have_probabilities_without_underflow():
    for lines in (
        LineCount(10_000, 0.999),
        LineCount(10_000, 0.3, correlation=0.01),
        LineCount(9, 1.0),
        LineCount(9, 0),
    ):
        found = lines.probabilities
        assert found.sum() == pytest.approx(1.0, abs=1e-12)
        assert np.arange(lines.lines + 1) @ found == pytest.approx(lines.expected_claims, rel=1e-10)


# Payouts


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    "terms", [{}, {"limit": 15.0}, {"deductible": 3.0}, {"limit": 8.0, "deductible": 3.0}], ids=str
)
def test_payouts_are_the_integrals_of_their_chances(shape, terms):
    payout = ShapePayout(10.0, shape, **terms)
    end = min(payout.largest, 40.0)
    breaks = [10.0 - payout.deductible, 20.0]  # where an amount is certain, or a tail begins
    points = [point for point in breaks if point < end]
    whole, _ = integrate.quad(lambda x: float(payout.above(x)), 0.0, end, limit=300, points=points)
    second, _ = integrate.quad(lambda x: 2 * x * float(payout.above(x)), 0.0, end, limit=300, points=points)
    assert float(payout.limited(end)) == pytest.approx(whole, rel=1e-5)
    assert payout.limited_second_moment(end) == pytest.approx(second, rel=1e-5)
    masses = payout.on_grid(end / 500, 500)
    assert masses.sum() == pytest.approx(1.0, abs=1e-13)
    assert (masses >= 0.0).all()
    assert np.linspace(0.0, end, 501) @ masses == pytest.approx(float(payout.limited(end)), rel=1e-12)


@pytest.mark.parametrize(
    ("shape", "variance"),
    [
        (ScaleShape(0.4), 40.0),
        (ScaleShape(4.0), 400.0),
        (ScaleShape(1.5, "lognormal"), 100 * np.expm1(1.5)),
        (ScaleShape(0.0), 0.0),
        (ParetoTail(ScaleShape(0.3), 2.0, 1.9), np.inf),
    ],
)
def test_variances_of_payouts(shape, variance):
    # The trapezoidal rule is within (80 / 2^14)^2 / 4 = 6e-6 of the second moment.
    assert ShapePayout(10.0, shape).variance == pytest.approx(variance, abs=6e-6, rel=1e-9)


@given(fen_payouts(), st.floats(0.0, 50.0))
def test_tables_of_payouts(payouts, amount):
    yuan = payouts.amounts_fen / 100
    assert payouts.limited(amount) == pytest.approx(np.minimum(yuan, amount) @ payouts.probabilities, abs=1e-12)
    assert payouts.above(amount) == pytest.approx(payouts.probabilities[yuan > amount].sum(), abs=1e-12)
    assert payouts.mean == pytest.approx(float(yuan @ payouts.probabilities), abs=1e-12)


@given(st.floats(0.1, 29.9), st.sampled_from(SHAPES[:4]))
def test_a_payout_with_a_given_mean_has_it(mean, shape):
    assert payout_with_mean(mean, shape, limit=30.0).mean == pytest.approx(mean, rel=1e-9)


# Sums of whole fen are exact


@given(bounded_counts(), fen_payouts())
@example(LineCount(2, 0.5), TablePayout([981, 986], [0.5, 0.5]))  # the largest sum, 19.72 yuan, is on the grid
@example(LineCount(1, 1e-12), TablePayout([1], [1.0]))  # rare claims keep their digits
@settings(max_examples=150)
def test_sums_of_fen_equal_enumeration(counts, payouts):
    total = compound_distribution(counts, payouts)
    wanted = enumerated(counts, payouts)
    fen = round(total.step * 100)
    assert max(amount for amount, chance in wanted.items() if chance > 0) <= fen * (len(total.probabilities) - 1)
    exact = np.zeros(len(total.probabilities))
    for amount, chance in wanted.items():
        if chance > 0.0:
            assert amount % fen == 0
            exact[amount // fen] += chance
    np.testing.assert_allclose(total.probabilities, exact, atol=1e-12)
    assert total.probabilities.sum() == pytest.approx(1.0, abs=1e-12)
    assert (total.check.tail, total.check.aliasing, total.check.is_complete) == (0.0, 0.0, True)
    assert total.check.is_good
    for amount in (0.0, 9.81, 19.72, 25.0, 1e6):
        paid = sum(chance * min(sum_fen / 100, amount) for sum_fen, chance in wanted.items())
        above = sum(chance for sum_fen, chance in wanted.items() if sum_fen > round(amount * 100))
        assert float(total.limited_expected_value(amount)) == pytest.approx(paid, abs=1e-10)
        assert float(total.probability_above(amount)) == pytest.approx(above, abs=1e-12)


def panjer(a, b, none, masses):
    """Return the probabilities of S by Panjer's recursion (1981), for counts with p_n = (a + b / n) p_(n - 1)."""
    found = np.zeros(len(masses))
    found[0] = none
    for k in range(1, len(masses)):
        j = np.arange(1, k + 1)
        found[k] = ((a + b * j / k) * masses[1 : k + 1]) @ found[k - 1 :: -1][:k] / (1.0 - a * masses[0])
    return found


@pytest.mark.parametrize("payouts", [TablePayout([300, 500, 800], [0.2, 0.5, 0.3]), ShapePayout(6.0, ScaleShape(0.6))])
@pytest.mark.parametrize(
    ("counts", "a", "b"),
    [
        (PoissonCount(4.0), 0.0, 4.0),
        (NegativeBinomialCount(4.0, dispersion=0.5), 2 / 3, 2 / 3),
        (LineCount(12, 0.25), -1 / 3, 13 / 3),
    ],
)
def test_panjers_recursion_is_the_slow_twin(counts, a, b, payouts):
    reach = None if isinstance(payouts, TablePayout) else 120.0
    total = compound_distribution(counts, payouts, step=1.0 if reach is None else 0.1, reach=reach)
    masses = payouts.on_grid(total.step, len(total.probabilities) - 1)
    slow = panjer(a, b, float(counts.generating(masses[0])), masses)
    np.testing.assert_allclose(total.probabilities, slow, atol=1e-12)


# Continuous payouts


def test_geometric_sums_of_exponential_payouts_have_a_closed_form():
    # Klugman, Panjer and Willmot 2012, section 9.4: with b = 3 and payouts of mean 10, S > x has probability
    # b / (1 + b) exp(-x / (10 (1 + b))).
    total = compound_distribution(NegativeBinomialCount(3.0, dispersion=1.0), ShapePayout(10.0, ScaleShape(1.0)))
    x = np.array([10.0, 50.0, 200.0, 600.0])
    # The step is 1 / 64 of the mean. The error of the limited mean is at most a few squares of it.
    np.testing.assert_allclose(total.limited_expected_value(x), 30.0 * -np.expm1(-x / 40.0), rtol=1e-4)
    np.testing.assert_allclose(total.stop_loss(x), 30.0 * np.exp(-x / 40.0), rtol=1e-4)
    np.testing.assert_allclose(total.quantile([0.5, 0.99]), -40.0 * np.log(np.array([0.5, 0.01]) / 0.75), atol=0.16)
    assert total.check.is_good
    assert not total.check.is_cut


def test_the_error_falls_with_the_square_of_the_step():
    counts, payouts = PoissonCount(6.0), ShapePayout(10.0, ScaleShape(0.5))
    steps = (0.5, 0.25, 0.125)
    coarse, middle, fine = (
        float(compound_distribution(counts, payouts, step=step).limited_expected_value(60.0)) for step in steps
    )
    assert (middle - coarse) / (fine - middle) == pytest.approx(4.0, rel=0.05)


@given(
    st.floats(0.05, 40.0), st.floats(0.0, 3.0), st.sampled_from(SHAPES[:3]), st.floats(5.0, 40.0) | st.just(np.inf)
)  # fmt: skip
@settings(max_examples=20, deadline=None)
def test_laws_of_sums(mean, dispersion, shape, limit):
    payouts = ShapePayout(10.0, shape, limit=limit)
    counts = NegativeBinomialCount(mean, dispersion=dispersion)
    total = compound_distribution(counts, payouts, step=payouts.mean / 20)
    amounts = total.step * np.arange(len(total.probabilities))
    assert total.probabilities.sum() == pytest.approx(1.0, abs=1e-12)
    assert total.probabilities[0] == pytest.approx(
        float(counts.generating(payouts.on_grid(total.step, 1)[0])), abs=1e-12
    )
    assert total.mean == pytest.approx(mean * payouts.mean, rel=1e-12)
    assert total.variance == pytest.approx(mean * payouts.variance + counts.variance * payouts.mean**2, rel=1e-12)
    assert amounts @ total.probabilities == pytest.approx(total.mean, rel=1e-8)
    assert (amounts - total.mean) ** 2 @ total.probabilities == pytest.approx(total.variance, rel=2e-3)
    places = np.linspace(0.0, total.check.reach, 200)
    limited, above = total.limited_expected_value(places), total.probability_above(places)
    slack = 1e-12 * total.mean
    assert (np.diff(limited) >= -slack).all()
    assert (np.diff(limited, 2) <= slack).all()
    assert limited[-1] == pytest.approx(total.mean, rel=1e-8)
    assert (limited <= np.minimum(places, total.mean) + slack).all()
    assert (np.diff(above) <= 0.0).all()
    levels = np.array([0.0, 0.3, 0.9, 0.999])
    quantile = total.quantile(levels)
    assert (total.probability_above(quantile) <= 1.0 - levels + 1e-12).all()
    assert (total.expected_shortfall(levels) >= quantile).all()
    assert total.expected_shortfall(0.0) == pytest.approx(total.mean, rel=1e-8)


# Grids that end early


def test_a_grid_that_ends_early_is_right_up_to_its_end():
    counts, payouts = PoissonCount(5.0), ShapePayout(10.0, ParetoTail(ScaleShape(0.5), 2.0, 2.5))
    short, long = (compound_distribution(counts, payouts, step=0.5, reach=reach) for reach in (100.0, 1_000.0))
    np.testing.assert_allclose(short.probabilities, long.probabilities[:201], atol=1e-12)
    places = np.arange(0.0, 100.5, 12.5)
    np.testing.assert_allclose(
        short.limited_expected_value(places), long.limited_expected_value(places), atol=1e-9
    )  # fmt: skip
    assert short.check.is_cut
    assert short.check.tail == pytest.approx(float(long.probability_above(100.0)), abs=ROUNDING)
    assert not short.check.is_good
    assert "lies beyond the grid" in str(short.check)
    with pytest.raises(
        InputError, match=r"amount is beyond 100.00 yuan in 1 row .*give compound_distribution a larger"
    ):
        short.probability_above([99.0, 101.0])
    with pytest.raises(InputError, match=r"probability is above 0\.9.*give compound_distribution a larger reach"):
        short.quantile(0.9999)


def test_a_tail_that_no_grid_holds_is_told():
    with pytest.warns(FreightRiskWarning, match=r"lies beyond the grid, which ends at .* yuan.* Give a larger reach"):
        compound_distribution(PoissonCount(2.0), ShapePayout(10.0, ParetoTail(ScaleShape(0.5), 2.0, 1.5)))


def test_a_step_that_is_too_large_is_told():
    with pytest.warns(FreightRiskWarning, match="the variance of the grid is off by .* give a smaller step"):
        total = compound_distribution(PoissonCount(2.0), ShapePayout(10.0, ScaleShape(0.5)), step=4.0)
    assert "with faults: see check" in repr(total)


def test_high_quantiles_of_a_heavy_tail():
    # The 0.999 quantile of Poisson(100) sums of lognormal(0, 2) amounts. Halving the step and doubling the reach moves
    # the second figure by less than a step.
    payouts = ShapePayout(float(np.exp(2.0)), ScaleShape(4.0, "lognormal"))
    coarse = compound_distribution(PoissonCount(100.0), payouts, step=0.2, reach=10_000.0)
    fine = compound_distribution(PoissonCount(100.0), payouts, step=0.1, reach=20_000.0)
    assert float(fine.quantile(0.999)) == pytest.approx(5853.1, abs=0.11)
    assert float(coarse.quantile(0.999)) == pytest.approx(float(fine.quantile(0.999)), abs=0.2)


def test_many_claims_are_nearly_normal():
    total = compound_distribution(PoissonCount(2_000.0), ShapePayout(10.0, ScaleShape(0.3)))
    score = (total.quantile([0.01, 0.5, 0.99]) - total.mean) / total.variance**0.5
    # The skewness of this sum is 0.03. The first Cornish-Fisher term, (z^2 - 1) / 6 times it, is 0.02.
    np.testing.assert_allclose(score, stats.norm.ppf([0.01, 0.5, 0.99]), atol=0.03)


@pytest.mark.parametrize("claims", [1e6])
def test_a_portfolio_has_a_coarser_grid_that_is_not_cut(claims):
    payouts = ShapePayout(10.0, ScaleShape(0.3), limit=30.0)
    total = compound_distribution(NegativeBinomialCount(claims, dispersion=0.01), payouts)
    assert total.check.is_good
    assert total.step > 10.0 / 64
    assert float(total.expected_shortfall(0.0)) == pytest.approx(total.mean, rel=1e-8)


def test_nothing_is_paid_without_claims_or_amounts():
    for counts, payouts in [
        (PoissonCount(0.0), ShapePayout(10.0, ScaleShape(0.5))),
        (LineCount(3, 0.0), TablePayout([500], [1.0])),
        (PoissonCount(3.0), TablePayout([0], [1.0])),
    ]:
        total = compound_distribution(counts, payouts)
        assert total.probabilities[0] == 1.0
        assert (total.mean, total.variance, float(total.quantile(0.9))) == (0.0, 0.0, 0.0)
        assert total.check.is_good


def test_distributions_are_equal_by_content():
    one, other = (compound_distribution(PoissonCount(2.0), TablePayout([500], [1.0])) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert TablePayout([500, 100], [0.5, 0.5]) == TablePayout([100, 500], [0.5, 0.5])
    assert TableCount([0.5, 0.5]) != TableCount([0.4, 0.6])


GOOD = (PoissonCount(2.0), ShapePayout(10.0, ScaleShape(0.5)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: PoissonCount(-1.0), "mean is -1.0; it must be a finite number in"),
        (lambda: NegativeBinomialCount(1.0, dispersion=-0.1), "dispersion is -0.1"),
        (lambda: LineCount(0, 0.5), r"lines is 0; it must be a whole number in \[1, 10000\]"),
        (lambda: LineCount(2, 1.5), "probability is 1.5"),
        (lambda: LineCount(2, 0.5, correlation=1.0), "correlation is 1.0"),
        (lambda: CappedCount(PoissonCount(1.0), 51), r"max_claims is 51; it must be a whole number in \[1, 50\]"),
        (lambda: CappedCount(1.0, 1), "counts is 1.0; it must be a ClaimCount, such as"),
        (lambda: TableCount([0.5, 0.4]), "probabilities sum to 0.9; they must sum to 1"),
        (lambda: TableCount([1.5, -0.5]), r"probabilities is negative in 1 row \(first: 1\)"),
        (lambda: TableCount([]), "probabilities has 0 values; give from 1 to 10,001"),
        (lambda: TablePayout([8.5], [1.0]), "amounts_fen is .8.5.; it must be a list of whole numbers of fen"),
        (lambda: TablePayout([-5], [1.0]), r"amounts_fen is outside \[0, 1,000,000,000,000\] in 1 row"),
        (lambda: TablePayout([5, 5], [0.5, 0.5]), "has an amount twice; add the probabilities"),
        (lambda: TablePayout([5], [0.5, 0.5]), "probabilities has 2 values for 1 amounts"),
        (lambda: ShapePayout(0.0, ScaleShape(0.5)), "freight is 0.0"),
        (lambda: ShapePayout(10.0, "gamma"), r"shape is 'gamma'; it must be a shape, such as ScaleShape\(0.3\)"),
        (lambda: ShapePayout(10.0, ScaleShape(0.5), limit=-1.0), "limit is -1.0"),
        (lambda: ShapePayout(10.0, ScaleShape(0.5), limit=np.nan), "limit is nan"),
        (lambda: ShapePayout(10.0, ScaleShape(0.5), deductible=-1.0), "deductible is -1.0"),
        (lambda: compound_distribution(3.0, GOOD[1]), "counts is 3.0; it must be a ClaimCount, such as"),
        (lambda: compound_distribution(GOOD[0], 3.0), "payouts is 3.0; it must be a ClaimPayout, such as"),
        (lambda: compound_distribution(*GOOD, step=0.0), "step is 0.0"),
        (lambda: compound_distribution(*GOOD, reach=-1.0), "reach is -1.0"),
        (lambda: compound_distribution(*GOOD, step=1e-5), "step is 1e-05, so that the grid up to .* has more than"),
        (lambda: compound_distribution(*GOOD).probability_above([-1.0]), "amount is below zero or missing in 1 row"),
        (lambda: compound_distribution(*GOOD).limited_expected_value(np.nan), "amount is below zero or missing"),
        (lambda: compound_distribution(*GOOD).quantile(1.0), r"probability is outside \[0, 1\)"),
        (lambda: compound_distribution(*GOOD).expected_shortfall([np.nan]), r"probability is outside \[0, 1\)"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()
