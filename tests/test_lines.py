"""Returns of orders with several lines: densities, simulated and real orders."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from freightrisk import FitError, InputError
from freightrisk.lines import expected_line_claims, fit_line_returns
from freightrisk.models.lines import _slopes, _split


def simulated(probability=0.4, correlation=0.3, seed=1, per_size=20_000):
    """Orders of one to six lines by what came back."""
    rng = np.random.default_rng(seed)
    size = 1 / correlation - 1
    rows = []
    for n in range(1, 7):
        back = rng.binomial(n, rng.beta(probability * size, (1 - probability) * size, per_size))
        rows.append((n, (back == 0).sum(), ((back > 0) & (back < n)).sum(), (back == n).sum()))
    return pd.DataFrame(rows, columns=["n_lines", "none", "partial", "complete"])


def test_truth_is_recovered():
    fitted = fit_line_returns(simulated())
    assert fitted.probability == pytest.approx(0.4, abs=0.005)
    assert fitted.correlation == pytest.approx(0.3, abs=0.01)
    assert fitted.log_likelihood > fitted.independent_log_likelihood + 1_000


def test_independent_lines_have_no_correlation():
    rng = np.random.default_rng(2)
    back = rng.binomial(3, 0.3, 50_000)
    counts = [(back == 0).sum(), ((back > 0) & (back < 3)).sum(), (back == 3).sum()]
    fitted = fit_line_returns(pd.DataFrame([[3, *counts]], columns=["n_lines", "none", "partial", "complete"]))
    assert fitted.correlation < 0.02
    np.testing.assert_allclose(fitted.table["fitted_none"], fitted.table["none"], atol=0.005)


@pytest.mark.parametrize("correlation", [0.0, 1e-3, 0.05, 0.6])
def test_slopes_of_a_split_are_its_differences(correlation):
    n, p, step = np.array([1, 2, 5, 9]), np.array([0.02, 0.3, 0.5, 0.9]), 1e-6
    by_p, by_r = _slopes(n, p, correlation)
    np.testing.assert_allclose(
        by_p, (_split(n, p + step, correlation) - _split(n, p - step, correlation)) / (2 * step), rtol=1e-4, atol=1e-7
    )
    if correlation > 1e-3:
        near = (_split(n, p, correlation + step) - _split(n, p, correlation - step)) / (2 * step)
        np.testing.assert_allclose(by_r, near, rtol=1e-6, atol=1e-8)


@pytest.mark.slow
def test_split_by_order_size_of_real_orders(shared_data):
    # Data Mining Cup 2016: independent lines put half of the orders of two lines among the partial; a third are.
    frame = pd.read_parquet(shared_data / "multi_item_orders" / "orders_by_size.parquet")
    fitted = fit_line_returns(frame, lines="items_in_order", by_size=True)
    assert fitted.correlation == pytest.approx(0.2986, abs=5e-4)
    table = fitted.table[fitted.table["orders"] > 1_000]
    kinds = ["none", "partial", "complete"]
    ours = np.abs(table[[f"fitted_{kind}" for kind in kinds]].to_numpy() - table[kinds].to_numpy()).max()
    independent = np.abs(table[[f"independent_{kind}" for kind in kinds]].to_numpy() - table[kinds].to_numpy()).max()
    assert ours < 0.03
    assert independent > 0.2
    common = fit_line_returns(frame, lines="items_in_order")
    assert common.correlation > 0.25
    assert fitted.log_likelihood > common.log_likelihood > common.independent_log_likelihood


@pytest.mark.parametrize("correlation", [0.0, 0.05, 0.4])
@pytest.mark.parametrize("most", [1, 2, 5, None])
def test_expected_claims_are_those_of_the_density(correlation, most):
    n, p = np.array([1, 2, 4, 9]), np.array([0.02, 0.3, 0.5, 0.9])
    for lines, share, ours in zip(
        n, p, expected_line_claims(n, p, correlation=correlation, max_claims=most), strict=True
    ):
        k = np.arange(lines + 1)
        size = 1 / correlation - 1 if correlation else 0
        law = stats.betabinom(lines, share * size, (1 - share) * size) if correlation else stats.binom(lines, share)
        assert ours == pytest.approx((np.minimum(k, most or lines) * law.pmf(k)).sum(), rel=1e-9)


def test_expected_claims_match_simulation_within_three_standard_errors():
    rng = np.random.default_rng(6)
    fitted = fit_line_returns(simulated())
    size = 1 / fitted.correlation - 1
    for n in (1, 3, 6):
        back = rng.binomial(n, rng.beta(fitted.probability * size, (1 - fitted.probability) * size, 200_000))
        paid = np.minimum(back, 2)
        gap = fitted.expected_claims(np.array([n]), max_claims=2)[0] - paid.mean()
        assert abs(gap) < 3 * paid.std() / np.sqrt(len(paid))


def test_correlation_lowers_what_a_one_claim_cover_pays_and_leaves_the_total():
    n = np.array([2, 5, 10])
    shares = [expected_line_claims(n, 0.3, correlation=r, max_claims=1) for r in (0.0, 0.2, 0.6)]
    assert np.all(np.diff(np.stack(shares), axis=0) < 0)
    np.testing.assert_allclose(expected_line_claims(n, 0.3, correlation=0.6, max_claims=None), 0.3 * n)
    np.testing.assert_array_equal(expected_line_claims([3, 3], [0.0, 1.0], correlation=0.3, max_claims=2), [0.0, 2.0])


def test_bad_calls_are_refused():
    frame = simulated(per_size=50)
    with pytest.raises(InputError, match="is above 0 for a single line in 1 row"):
        fit_line_returns(frame.assign(partial=frame["partial"] + 1))
    with pytest.raises(InputError, match="'none' is negative"):
        fit_line_returns(frame.assign(none=-1))
    with pytest.raises(FitError, match="no order has two lines"):
        fit_line_returns(frame.head(1))
    with pytest.raises(InputError, match="from 1 to 10,000"):
        expected_line_claims([0], 0.3, max_claims=1)
    with pytest.raises(InputError, match=r"outside \[0, 1\]"):
        expected_line_claims([2], 1.3, max_claims=1)


@pytest.mark.parametrize("lines", [[0], [1.0], [10_001], [2**63 - 1], [True], "three", [[1], [1, 2]]])
def test_lines_that_no_order_has_are_refused(lines):
    with pytest.raises(InputError, match="lines must be whole numbers from 1 to 10,000"):
        expected_line_claims(lines, 0.1, max_claims=1)
    assert expected_line_claims([10_000], 0.1, max_claims=1).item() == pytest.approx(1.0)
