"""Claim severity: the gamma model of the freight of a claim."""

# ruff: noqa: E501 -- one line for each bad call

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from book_strategies import (
    assert_equals_formula,
    assert_same_fit,
    counted,
    formula_fit,
    rating_cells,
    treatment_contrasts,
)
from freightrisk import Factor, FrequencyModel, OrderBook, SeverityModel, Solver, simulate_book
from freightrisk.errors import FitError, InputError

# Books with wild amounts have a large off-balance factor.
pytestmark = pytest.mark.filterwarnings("ignore:the (amounts|claims) of the fitted rows")


GAMMA = sm.families.Gamma(sm.families.links.Log())
# Fisher scoring closes in on a gamma's maximum step by step: this leaves the laws room for rounding only.
TIGHT = 1e-12


def gamma_book(cells):
    return counted(cells, exposure=None, amount="amount")


# --- the same model elsewhere --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def claims():
    """Claims of a simulated book beside the levels of their orders, and the book."""
    sim = simulate_book(25_000, seed=7)
    joined = sim.claims.merge(sim.orders, on="order_id", validate="many_to_one")
    rng = np.random.default_rng(8)
    joined = joined.assign(offset=rng.normal(0.0, 0.3, len(joined)), weight=rng.uniform(0.2, 3.0, len(joined)))
    book = OrderBook.from_frames(sim.orders, joined, factors=[Factor("zone"), Factor("channel"), Factor("campaign")])
    return joined, book


@pytest.mark.parametrize(("offset", "weight"), [(False, False), (True, False), (False, True), (True, True)])
def test_simulated_claims_equal_statsmodels(claims, offset, weight):
    joined, book = claims
    options = {"offset": joined["offset"] if offset else None, "weight": joined["weight"] if weight else None}
    fitted = SeverityModel().fit(book, solver=Solver(tolerance=1e-11), **options)
    result = formula_fit(
        joined,
        "freight",
        list(book.codings),
        family=GAMMA,
        offset=joined["offset"] if offset else 0.0,
        weight=options["weight"],
    )
    assert_equals_formula(fitted, result)
    referee = SeverityModel().fit(book, solver=Solver(engine="statsmodels"), **options)
    assert_same_fit(fitted, referee, atol=1e-9)
    for name in ("deviance", "null_deviance", "log_likelihood", "dispersion"):
        assert getattr(fitted, name) == pytest.approx(getattr(referee, name), rel=1e-9)


def test_default_tolerance_is_enough_for_seven_digits(claims):
    _, book = claims
    assert_same_fit(SeverityModel().fit(book), SeverityModel().fit(book, solver=Solver(tolerance=TIGHT)), atol=1e-8)


@pytest.mark.parametrize(
    ("path", "columns", "names"),
    [
        ("motor_datacar/policies", ("numclaims", "claimcst0"), ["agecat", "area", "veh_age", "gender", "veh_body"]),
        ("motor_sweden/cells", ("Claims", "Payment"), ["Kilometres", "Zone", "Bonus", "Make"]),
    ],
)
def test_motor_claims_equal_statsmodels(shared_data, path, columns, names):
    cells = pd.read_parquet(shared_data / f"{path}.parquet")
    count, amount = columns
    book = OrderBook.from_counts(cells, claims=count, amount=amount, factors=[Factor(name) for name in names])
    fitted = SeverityModel().fit(book)
    some = cells[cells[count] > 0]
    some = some.assign(mean_amount=some[amount] / some[count])
    assert_equals_formula(fitted, formula_fit(some, "mean_amount", names, family=GAMMA, weight=some[count]))
    assert_same_fit(fitted, SeverityModel().fit(book, solver=Solver(engine="statsmodels")), atol=2e-8)


@given(cells=rating_cells())
def test_log_likelihood_is_that_of_gamma_densities_with_the_dispersion_of_the_deviance(cells):
    # As R's logLik.glm: dispersion = deviance / sum of weights, each log density times its weight.
    fitted = SeverityModel().fit(gamma_book(cells), solver=Solver(tolerance=TIGHT))
    weight, amount = cells["claims"].to_numpy(), (cells["amount"] / cells["claims"]).to_numpy()
    mean = replace(fitted, off_balance=1.0).predict(gamma_book(cells))
    dispersion = fitted.deviance / weight.sum()
    if dispersion > 1e-9:
        densities = stats.gamma.logpdf(amount, 1 / dispersion, scale=mean * dispersion)
        assert fitted.log_likelihood == pytest.approx((weight * densities).sum(), rel=1e-6, abs=1e-6)


# --- laws ----------------------------------------------------------------------------------------------------------


@given(cells=rating_cells())
def test_ratios_of_amounts_to_their_likelihood_means_balance_by_every_level_and_amounts_in_total(cells):
    book = gamma_book(cells)
    fitted = SeverityModel().fit(book, solver=Solver(tolerance=TIGHT))
    assert (cells["claims"] * fitted.predict(book)).sum() == pytest.approx(cells["amount"].sum(), rel=1e-12)
    ratio = cells["amount"] / replace(fitted, off_balance=1.0).predict(book)
    for codes in (np.zeros(len(cells), dtype=int), *book.codes.values()):
        np.testing.assert_allclose(np.bincount(codes, ratio), np.bincount(codes, cells["claims"]), rtol=1e-9)


@given(cells=rating_cells(), currency=st.sampled_from([0.01, 7.3, 100.0]))
def test_the_unit_of_money_changes_the_base_alone(cells, currency):
    one = SeverityModel().fit(gamma_book(cells), solver=Solver(tolerance=TIGHT))
    other = SeverityModel().fit(
        gamma_book(cells.assign(amount=cells["amount"] * currency)), solver=Solver(tolerance=TIGHT)
    )
    assert other.intercept == pytest.approx(one.intercept + np.log(currency), abs=1e-10)
    for name in one.tables:
        np.testing.assert_allclose(one.tables[name], other.tables[name], rtol=0, atol=1e-10)
        np.testing.assert_allclose(one.std_errors[name], other.std_errors[name], rtol=1e-8)


@given(cells=rating_cells())
def test_weight_replaces_the_number_of_claims(cells):
    book = gamma_book(cells)
    one = SeverityModel().fit(book, solver=Solver(tolerance=TIGHT))
    assert_same_fit(one, SeverityModel().fit(book, weight=cells["claims"], solver=Solver(tolerance=TIGHT)), atol=0.0)
    tenfold = SeverityModel().fit(book, weight=10.0 * cells["claims"], solver=Solver(tolerance=TIGHT))
    assert tenfold.dispersion == pytest.approx(10 * one.dispersion, rel=1e-9, abs=1e-12, nan_ok=True)
    # Standard errors follow the dispersion, so the scale of the weights cancels.
    assert_same_fit(one, tenfold, atol=1e-10)


@given(cells=rating_cells(), data=st.data())
def test_weight_two_is_the_claim_twice(cells, data):
    times = np.array(data.draw(st.lists(st.integers(1, 3), min_size=len(cells), max_size=len(cells))))
    once = cells.assign(claims=1)
    weighted = SeverityModel().fit(gamma_book(once), weight=times, solver=Solver(tolerance=TIGHT))
    repeated = SeverityModel().fit(gamma_book(once.loc[once.index.repeat(times)]), solver=Solver(tolerance=TIGHT))
    np.testing.assert_allclose(
        treatment_contrasts(weighted)["coefficient"], treatment_contrasts(repeated)["coefficient"], rtol=0, atol=1e-10
    )
    assume(weighted.dispersion > 1e-9)  # amounts that the tables fit exactly have no likelihood to compare
    for name in ("deviance", "log_likelihood"):
        assert getattr(weighted, name) == pytest.approx(getattr(repeated, name), rel=1e-8, abs=1e-8)


@given(cells=rating_cells(), seed=st.integers(0, 99))
def test_offset_divides_the_amounts(cells, seed):
    offset = np.random.default_rng(seed).normal(0.0, 0.5, len(cells))
    one = SeverityModel().fit(gamma_book(cells), offset=offset, solver=Solver(tolerance=TIGHT))
    other = SeverityModel().fit(
        gamma_book(cells.assign(amount=cells["amount"] / np.exp(offset))), solver=Solver(tolerance=TIGHT)
    )
    assert_same_fit(one, other, atol=1e-9)
    assert one.deviance == pytest.approx(other.deviance, rel=1e-8, abs=1e-8)


@given(seed=st.integers(0, 99))
def test_claims_and_their_means_give_the_same_relativities(seed):
    rng = np.random.default_rng(seed)
    claims = pd.DataFrame({"zone": rng.integers(0, 3, 60), "channel": rng.integers(0, 2, 60), "claims": 1})
    claims["amount"] = rng.gamma(3.0, 5.0, 60)
    cells = claims.groupby(["zone", "channel"], as_index=False).sum()
    one, other = (SeverityModel().fit(gamma_book(frame), solver=Solver(tolerance=TIGHT)) for frame in (claims, cells))
    np.testing.assert_allclose(
        treatment_contrasts(one)["coefficient"], treatment_contrasts(other)["coefficient"], rtol=0, atol=1e-10
    )
    assert one.null_deviance - one.deviance == pytest.approx(other.null_deviance - other.deviance, rel=1e-7, abs=1e-9)


def test_one_factor_has_a_closed_form():
    cells = pd.DataFrame({"zone": [1, 1, 2, 2], "claims": [3, 1, 1, 1], "amount": [24.0, 12.0, 30.0, 10.0]})
    fitted = SeverityModel().fit(gamma_book(cells), solver=Solver(tolerance=TIGHT))
    assert fitted.references == {"zone": 0}
    assert fitted.base == pytest.approx(9.0, rel=1e-10)
    assert np.exp(fitted.tables["zone"][1]) == pytest.approx(20 / 9, rel=1e-10)
    ratio = np.array([8 / 9, 12 / 9, 30 / 20, 10 / 20])
    dispersion = ((ratio - 1) ** 2 @ cells["claims"]) / 2
    assert fitted.dispersion == pytest.approx(dispersion, rel=1e-9)
    assert fitted.std_errors["zone"][1] == pytest.approx(np.sqrt(dispersion * (1 / 4 + 1 / 2)), rel=1e-9)
    frame = fitted.relativities
    assert frame["exposure"].tolist() == frame["claims"].tolist() == [4.0, 2.0]
    assert frame["amount"].tolist() == [36.0, 40.0]


def test_levels_without_claims_get_the_mean_severity_of_the_others():
    cells = pd.DataFrame({"zone": [1, 2, 3], "claims": [4, 1, 0], "amount": [36.0, 21.0, 0.0]})
    book = gamma_book(cells)
    fitted = SeverityModel().fit(book)
    assert np.isinf(fitted.std_errors["zone"][2])
    np.testing.assert_allclose(fitted.predict(book), [9.0, 21.0, 57 / 5], rtol=1e-9)


# --- bad input -----------------------------------------------------------------------------------------------------

CELLS = pd.DataFrame({"zone": [1, 1, 2, 2], "twin": list("aabb"), "claims": 1, "amount": [4.0, 5.0, 9.0, 8.0]})


def fit(cells=CELLS, *, model=None, factors=("zone",), **options):
    return (model or SeverityModel()).fit(counted(cells, exposure=None, amount="amount", factors=factors), **options)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: SeverityModel(family="poisson"), InputError, "family of a severity model is 'poisson'; it must be one of 'gamma'"),
        (lambda: fit(model=SeverityModel(["age"])), InputError, "factors: the book has no factor 'age'; it has zone"),
        (lambda: fit(factors=("zone", "twin")), FitError, "factor 'twin', level 'b' is a combination of other levels"),
        (lambda: fit(weight=[1, 2, 3]), InputError, r"weight has shape \(3,\); it must be one value a row, shape \(4,\)"),
        (lambda: fit(weight=[1, 2, 3, -1]), InputError, r"weight is negative in 1 row \(first: 3\)"),
        (lambda: fit(weight=np.zeros(4)), InputError, "weight"),
        (lambda: fit(offset=[0, 0, np.nan, 0]), InputError, r"offset is not finite in 1 row \(first: 2\)"),
        (lambda: fit(offset=[0, 0, 900.0, 0]), InputError, r"offset .* in 1 row \(first: 2\)"),
        (lambda: fit(solver=Solver(engine="r")), InputError, "engine is 'r'"),
        (lambda: fit(solver=Solver(threads=-2)), InputError, "threads is -2"),
        (lambda: fit(solver=Solver(tolerance=1.0)), InputError, r"tolerance is 1.0; it must be a finite number in \(0, 0.01\]"),
        (lambda: fit(CELLS.assign(amount=[1.0, 2.0, 1e6, 3e6]), solver=Solver(max_iterations=1)), FitError, "the gamma fit did not converge in 1 iteration: factor 'zone', level '2' still moves"),
    ],
)  # fmt: skip
def test_bad_fits_are_refused(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_frequency_and_severity_make_the_pure_premium_of_the_book():
    rng = np.random.default_rng(3)
    cells = pd.DataFrame({"zone": [1, 2, 3], "insured": [900.0, 500.0, 80.0], "claims": [60, 80, 9]})
    cells["amount"] = cells["claims"] * rng.uniform(5, 20, 3)
    book = counted(cells, amount="amount")
    premium = FrequencyModel().fit(book).rates(book) * SeverityModel().fit(book).predict(book)
    np.testing.assert_allclose(premium * cells["insured"], cells["amount"], rtol=1e-9)
