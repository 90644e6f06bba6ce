"""Claim frequency: the Poisson and the complementary log-log model."""

# ruff: noqa: E501 -- one line for each bad call

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st

from book_strategies import (
    assert_equals_formula,
    assert_same_fit,
    counted,
    formula_fit,
    orders_with_and_without_claim,
    rating_cells,
    treatment_contrasts,
)
from freightrisk import Band, Factor, FrequencyModel, OrderBook, SeverityModel, Solver, simulate_book
from freightrisk.errors import FitError, InputError
from freightrisk.lines import at_most_one_claim

POISSON = sm.families.Poisson()
CLOGLOG = sm.families.Binomial(sm.families.links.CLogLog())
EDGES = {"price": (20.0, 100.0, 500.0), "weight_kg": (1.0, 3.0)}
TIGHT = 1e-12


@pytest.fixture(scope="module")
def simulated():
    """Orders of a simulated book with levels, bands by pandas, exposure, offset, weight and claims."""
    sim = simulate_book(12_000, seed=5)
    orders = sim.orders[sim.orders["ship_date"].notna()].reset_index(drop=True)
    rng = np.random.default_rng(6)
    n = len(orders)
    orders = orders.assign(
        insured=rng.uniform(0.2, 2.0, n), offset=rng.normal(0.0, 0.3, n), weight=rng.uniform(0.2, 3.0, n)
    )
    orders["claims"] = orders["order_id"].map(sim.claims["order_id"].value_counts()).fillna(0).astype(int)
    for name, edges in EDGES.items():
        orders[f"{name}_band"] = np.digitize(orders[name], edges, right=True)
    declared = [Factor("channel"), Factor("zone"), *(Band(f"{name}_band", e, column=name) for name, e in EDGES.items())]
    return orders, sim.claims[sim.claims["order_id"].isin(orders["order_id"])], declared


def simulated_book(simulated, *, exposure):
    orders, claims, declared = simulated
    return OrderBook.from_frames(orders, claims, factors=declared, exposure="insured" if exposure else None)


# --- the same model elsewhere --------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["poisson", "bernoulli"])
@pytest.mark.parametrize(
    ("exposure", "offset", "weight"),
    [(False, False, False), (True, False, False), (True, True, False), (False, False, True), (True, True, True)],
)
def test_simulated_orders_equal_statsmodels(simulated, family, exposure, offset, weight):
    orders, _, declared = simulated
    book = simulated_book(simulated, exposure=exposure)
    response = orders["claims"]
    if family == "bernoulli":
        book, response = at_most_one_claim(book), response.clip(upper=1)
    options = {
        "offset": orders["offset"] if offset else None,
        "weight": orders["weight"] if weight else None,
    }
    fitted = FrequencyModel(family=family).fit(book, **options)
    result = formula_fit(
        orders.assign(response=response),
        "response",
        [factor.name for factor in declared],
        family=POISSON if family == "poisson" else CLOGLOG,
        exposure=orders["insured"] if exposure else None,
        offset=orders["offset"] if offset else 0.0,
        weight=options["weight"],
    )
    assert_equals_formula(fitted, result)
    assert fitted.log_likelihood == pytest.approx(result.llf, rel=1e-11)
    assert fitted.aic == pytest.approx(result.aic, rel=1e-11)
    referee = FrequencyModel(family=family).fit(book, solver=Solver(engine="statsmodels"), **options)
    assert referee.engine == "statsmodels"
    assert_same_fit(fitted, referee, atol=1e-8)
    for name in ("deviance", "null_deviance", "log_likelihood", "dispersion"):
        assert getattr(fitted, name) == pytest.approx(getattr(referee, name), rel=1e-9)


DATACAR_FACTORS = ["agecat", "area", "veh_age", "gender", "veh_body"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "claims"), [("poisson", "numclaims"), ("bernoulli", "clm")], ids=["poisson", "cloglog"]
)
def test_motor_policies_equal_statsmodels(shared_data, family, claims):
    policies = pd.read_parquet(shared_data / "motor_datacar" / "policies.parquet")
    factors = [Factor(name) for name in DATACAR_FACTORS]
    book = OrderBook.from_counts(policies, claims=claims, exposure="exposure", factors=factors)
    fitted = FrequencyModel(family=family).fit(book)
    elsewhere = POISSON if family == "poisson" else CLOGLOG
    result = formula_fit(policies, claims, DATACAR_FACTORS, family=elsewhere, exposure=policies["exposure"])
    assert_equals_formula(fitted, result)
    assert fitted.log_likelihood == pytest.approx(result.llf, rel=1e-11)


def test_motor_cells_equal_statsmodels(shared_data):
    cells = pd.read_parquet(shared_data / "motor_sweden" / "cells.parquet")
    names = ["Kilometres", "Zone", "Bonus", "Make"]
    book = OrderBook.from_counts(cells, claims="Claims", exposure="Insured", factors=[Factor(name) for name in names])
    weight = np.random.default_rng(1).uniform(0.5, 2.0, len(cells))
    for options in ({}, {"weight": weight}):
        fitted = FrequencyModel().fit(book, **options)
        result = formula_fit(cells, "Claims", names, family=POISSON, exposure=cells["Insured"], **options)
        assert_equals_formula(fitted, result)
        assert fitted.log_likelihood == pytest.approx(result.llf, rel=1e-11)
        assert_same_fit(fitted, FrequencyModel().fit(book, solver=Solver(engine="statsmodels"), **options), atol=1e-8)


# --- laws ----------------------------------------------------------------------------------------------------------


@given(cells=rating_cells())
def test_fitted_claims_balance_in_total_and_by_every_level(cells):
    book = counted(cells)
    expected = FrequencyModel().fit(book, solver=Solver(tolerance=TIGHT)).rates(book) * book.exposure
    for codes in (np.zeros(len(cells), dtype=int), *book.codes.values()):
        np.testing.assert_allclose(np.bincount(codes, expected), np.bincount(codes, cells["claims"]), rtol=1e-10)


@given(cells=rating_cells(), row=st.integers(0, 10**6))
def test_a_row_split_into_halves_of_its_exposure_changes_nothing(cells, row):
    row %= len(cells)
    some = int(cells["claims"].iloc[row]) // 3
    halves = cells.iloc[[row, row]].assign(insured=cells["insured"].iloc[row] / 2)
    halves["claims"] = [some, cells["claims"].iloc[row] - some]
    split = pd.concat([cells.drop(index=row), halves], ignore_index=True)
    one, other = (FrequencyModel().fit(counted(frame), solver=Solver(tolerance=TIGHT)) for frame in (cells, split))
    assert_same_fit(one, other, atol=1e-10)
    assert one.null_deviance - one.deviance == pytest.approx(other.null_deviance - other.deviance, rel=1e-8, abs=1e-8)


@given(orders=orders_with_and_without_claim(), row=st.integers(0, 10**6))
def test_an_order_without_claim_split_in_time_changes_nothing_under_cloglog(orders, row):
    quiet = np.flatnonzero(orders["claims"] == 0)
    row = quiet[row % len(quiet)]
    halves = orders.iloc[[row, row]].assign(insured=orders["insured"].iloc[row] / 2)
    split = pd.concat([orders.drop(index=row), halves], ignore_index=True)
    model = FrequencyModel(family="bernoulli")
    one, other = (model.fit(counted(frame), solver=Solver(tolerance=1e-11)) for frame in (orders, split))
    np.testing.assert_allclose(
        treatment_contrasts(one)["coefficient"], treatment_contrasts(other)["coefficient"], rtol=0, atol=1e-9
    )
    assert one.log_likelihood == pytest.approx(other.log_likelihood, rel=1e-10)


@pytest.mark.parametrize("family", ["poisson", "bernoulli"])
@given(orders=orders_with_and_without_claim())
def test_offset_form_equals_exposure_form(family, orders):
    model = FrequencyModel(family=family)
    exposure = model.fit(counted(orders), solver=Solver(tolerance=TIGHT))
    offset = model.fit(counted(orders, exposure=None), offset=np.log(orders["insured"]), solver=Solver(tolerance=TIGHT))
    assert_same_fit(exposure, offset, atol=1e-11)
    for name in ("deviance", "null_deviance", "log_likelihood", "dispersion"):
        assert getattr(exposure, name) == pytest.approx(getattr(offset, name), rel=1e-10)


@pytest.mark.parametrize("family", ["poisson", "bernoulli"])
@given(orders=orders_with_and_without_claim(), data=st.data())
def test_weight_two_is_the_row_twice(family, orders, data):
    times = data.draw(st.lists(st.integers(1, 3), min_size=len(orders), max_size=len(orders)))
    model = FrequencyModel(family=family)
    weighted = model.fit(counted(orders), weight=times, solver=Solver(tolerance=TIGHT))
    repeated = model.fit(counted(orders.loc[orders.index.repeat(times)]), solver=Solver(tolerance=TIGHT))
    assert_same_fit(weighted, repeated, atol=1e-10)
    for name in ("deviance", "null_deviance", "log_likelihood"):
        assert getattr(weighted, name) == pytest.approx(getattr(repeated, name), rel=1e-10)


@given(orders=orders_with_and_without_claim(), row=st.integers(0, 10**6))
def test_weight_zero_is_no_row(orders, row):
    orders = pd.concat([orders, orders.iloc[[row % len(orders)]].assign(insured=7.0)], ignore_index=True)
    weight = np.ones(len(orders))
    weight[-1] = 0.0
    for family in ("poisson", "bernoulli"):
        model = FrequencyModel(family=family)
        assert_same_fit(
            model.fit(counted(orders), weight=weight, solver=Solver(tolerance=TIGHT)),
            model.fit(counted(orders.iloc[:-1]), solver=Solver(tolerance=TIGHT)),
            atol=1e-10,
        )


@given(orders=orders_with_and_without_claim(), scale=st.sampled_from([0.1, 365.0, 1e4]))
def test_the_unit_of_exposure_changes_the_base_alone(orders, scale):
    for family in ("poisson", "bernoulli"):
        model = FrequencyModel(family=family)
        one = model.fit(counted(orders), solver=Solver(tolerance=TIGHT))
        other = model.fit(counted(orders.assign(insured=orders["insured"] * scale)), solver=Solver(tolerance=TIGHT))
        assert one.intercept == pytest.approx(other.intercept + np.log(scale), abs=1e-10)
        for name in one.tables:
            np.testing.assert_allclose(one.tables[name], other.tables[name], rtol=0, atol=1e-10)


def test_poisson_and_cloglog_agree_for_tiny_rates():
    # With claims a millionth of the orders, p = lambda and 1 - p = 1 up to a part in a million.
    orders = pd.DataFrame({"zone": [1, 1, 2, 2], "claims": [0, 1, 0, 1], "many": [3e6, 1.0, 5e6, 2.0]})
    book = counted(orders, exposure=None, factors=("zone",))
    one, other = (FrequencyModel(family=family).fit(book, weight=orders["many"]) for family in ("poisson", "bernoulli"))
    assert other.base == pytest.approx(one.base, rel=1e-6)
    np.testing.assert_allclose(one.tables["zone"], other.tables["zone"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(one.std_errors["zone"], other.std_errors["zone"], rtol=1e-6)


def test_cloglog_base_means_what_the_poisson_base_means():
    # P(a claim) = 1 - exp(-exposure * lambda): 30 of 100 with an exposure of 2 each.
    orders = pd.DataFrame({"claims": [1] * 30 + [0] * 70, "insured": 2.0})
    fitted = FrequencyModel(family="bernoulli").fit(counted(orders, factors=()))
    assert fitted.base == pytest.approx(-np.log(0.7) / 2.0, rel=1e-9)
    # The variance of log(-log(1-p)) by the delta method: p / (n (1-p) log(1-p)^2).
    assert fitted.intercept_std_error == pytest.approx(np.sqrt(0.3 / 70) / -np.log(0.7), rel=1e-8)


def test_one_factor_has_a_closed_form():
    cells = pd.DataFrame({"zone": [1, 2, 3], "claims": [40, 10, 90], "insured": [400.0, 500.0, 300.0]})
    fitted = FrequencyModel().fit(counted(cells))
    assert fitted.references == {"zone": 1}
    assert fitted.base == pytest.approx(0.02, rel=1e-10)
    np.testing.assert_allclose(np.exp(fitted.tables["zone"][:3]), [5.0, 1.0, 15.0], rtol=1e-10)
    np.testing.assert_allclose(
        fitted.std_errors["zone"][[0, 2]], np.sqrt([1 / 40 + 1 / 10, 1 / 90 + 1 / 10]), rtol=1e-9
    )
    assert fitted.intercept_std_error == pytest.approx(np.sqrt(1 / 10), rel=1e-9)
    assert fitted.deviance == pytest.approx(0.0, abs=1e-9)
    assert fitted.df_residual == 0
    assert np.isnan(fitted.dispersion)


# --- bad input -----------------------------------------------------------------------------------------------------

ORDERS = pd.DataFrame(
    {"zone": [1, 1, 2, 2, 3, 3], "twin": list("aabbcc"), "claims": [1, 2, 1, 3, 1, 1], "insured": 2.0}
)
QUIET = ORDERS.assign(claims=[1, 2, 0, 0, 0, 0])


def fit(orders=ORDERS, *, model=None, factors=("zone",), **options):
    return (model or FrequencyModel()).fit(counted(orders, factors=factors), **options)


@given(cells=rating_cells(), data=st.data())
def test_the_order_of_the_rows_changes_a_fit_by_rounding_alone(cells, data):
    tied = cells.assign(insured=cells["insured"].round(1) + 0.1, claims=1)
    for frame in (cells, tied):
        moved = frame.iloc[data.draw(st.permutations(range(len(frame))))]
        one, other = (FrequencyModel().fit(counted(rows)) for rows in (frame, moved))
        assert other.references == one.references
        assert other.base == pytest.approx(one.base, rel=1e-9)
        for name, table in one.tables.items():
            np.testing.assert_allclose(other.tables[name], table, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: FrequencyModel(family="gamma"), InputError, "family of a frequency model is 'gamma'; it must be one of 'poisson', 'negative_binomial', 'bernoulli'"),
        (lambda: fit(model=FrequencyModel(["zone", "age"])), InputError, "factors: the book has no factor 'age'; it has zone"),
        (lambda: fit(model=FrequencyModel(family="bernoulli")), InputError, r"at most one claim for each order, but there are more in 2 rows \(first: 1, 3\); use family='poisson'"),
        (lambda: fit(QUIET), FitError, r"factor 'zone': 2 levels have exposure but no claim \(first: '2', '3'\).* pool them with min_claims="),
        (lambda: fit(ORDERS.assign(claims=0)), FitError, "there are no claims in 6 rows to fit"),
        (lambda: fit(factors=("zone", "twin")), FitError, "factor 'twin', level '[abc]' is a combination of other levels .* drop one of the factors"),
        (lambda: fit(factors=("zone", "twin"), solver=Solver(engine="statsmodels")), FitError, "combination of other levels"),
        (lambda: fit(weight=np.ones(5)), InputError, r"weight has shape \(5,\); it must be one value a row, shape \(6,\)"),
        (lambda: fit(weight=[1, 1, np.nan, 1, np.inf, 1]), InputError, r"weight is not finite in 2 rows \(first: 2, 4\)"),
        (lambda: fit(weight=[1, -1, 1, 1, 1, -2]), InputError, r"weight is negative in 2 rows \(first: 1, 5\)"),
        (lambda: fit(weight=["a"] * 6), InputError, "weight"),
        (lambda: fit(weight=np.zeros(6)), InputError, "weight"),
        (lambda: fit(offset=np.zeros((6, 1))), InputError, r"offset has shape \(6, 1\)"),
        (lambda: fit(offset=[0, 0, 0, -np.inf, 0, 0]), InputError, r"offset is not finite in 1 row \(first: 3\)"),
        (lambda: fit(offset=[0, 0, 0, 800.0, 0, 0]), InputError, r"offset .* in 1 row \(first: 3\)"),
        (lambda: fit(solver=Solver(engine="irls")), InputError, "engine is 'irls'; it must be one of 'newton', 'statsmodels'"),
        (lambda: fit(solver=Solver(threads=0)), InputError, r"threads is 0; it must be a whole number in \[1, 1024\]"),
        (lambda: fit(solver=Solver(threads="all")), InputError, "threads is 'all'"),
        (lambda: fit(solver=Solver(tolerance=0)), InputError, r"tolerance is 0; it must be a finite number in \(0, 0.01\]"),
        (lambda: fit(solver=Solver(tolerance=float("nan"))), InputError, "tolerance is nan"),
        (lambda: fit(solver=Solver(max_iterations=0)), InputError, "max_iterations is 0; it must be a whole number"),
        (lambda: fit(solver=Solver(max_iterations=2)), FitError, r"the poisson fit did not converge in 2 iterations: factor .* still moves by .*; pool levels"),
    ],
)  # fmt: skip
def test_bad_fits_are_refused(call, error, match):
    with pytest.raises(error, match=match):
        call()


@pytest.mark.parametrize(
    ("zones", "claims"), [([1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]), ([1, 1, 1, 2, 2, 2], [1, 1, 1, 1, 1, 0])]
)
def test_cloglog_without_an_order_free_of_claims_has_no_maximum(zones, claims):
    orders = ORDERS.assign(zone=zones, claims=claims)
    with pytest.raises(FitError, match="a claim in every order"):
        fit(orders, model=FrequencyModel(family="bernoulli"))


def test_models_read_books_of_their_own_coding_only():
    fitted = fit()
    other = counted(ORDERS.assign(zone=[1, 1, 2, 2, 2, 2]), factors=("zone",))
    for book in (other, counted(ORDERS, factors=("twin",))):
        with pytest.raises(
            InputError, match="book: its coding of factor 'zone' is not the model's; select rows of the"
        ):
            fitted.rates(book)


def test_severity_of_a_book_without_amounts_is_refused():
    with pytest.raises(InputError, match="the book has 9 claims but no amounts"):
        SeverityModel().fit(counted(ORDERS))


@pytest.mark.parametrize(
    "weight",
    [
        np.full(6, np.datetime64("2026-06-01")),
        np.full(6, np.timedelta64(3, "D")),
        np.full(6, 1.0 + 5.0j),
        np.ma.array(np.ones(6), mask=[True] + [False] * 5),
    ],
    ids=["times", "durations", "complex", "masked"],
)
def test_arrays_that_are_no_numbers_are_no_weights(weight):
    cells = pd.DataFrame({"zone": ["near", "far"] * 3, "claims": 2.0})
    book = OrderBook.from_counts(cells, claims="claims", factors=[Factor("zone")])
    with pytest.raises(InputError, match="weight is not an array of numbers"):
        FrequencyModel().fit(book, weight=weight)


def test_clusters_of_another_byte_order_are_the_same_clusters():
    cells = pd.DataFrame({"zone": ["near", "far"] * 3, "claims": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]})
    book = OrderBook.from_counts(cells, claims="claims", factors=[Factor("zone")])
    one, other = (FrequencyModel().fit(book, cluster=np.array([1, 1, 2, 2, 3, 3], kind)) for kind in ("<i8", ">i8"))
    assert one.intercept_std_error == other.intercept_std_error


@pytest.mark.parametrize("factors", [1, 2.5, True])
def test_factors_that_are_no_list_are_refused(factors):
    cells = pd.DataFrame({"zone": ["near", "far"] * 3, "claims": 2.0})
    book = OrderBook.from_counts(cells, claims="claims", factors=[Factor("zone")])
    with pytest.raises(InputError, match="factors is"):
        FrequencyModel(factors).fit(book)
