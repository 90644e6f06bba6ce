"""A fit whose maximum exists arrives, also with outliers; one that cannot arrive names what keeps it from it."""

import numpy as np
import pandas as pd
import pytest
from benchmarks.arrival import FAMILIES, MOST_STEPS, outlier_book
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.optimize import root

from freightrisk import (
    Band,
    Credibility,
    Factor,
    FreightRiskError,
    FreightRiskWarning,
    FrequencyModel,
    Interaction,
    OrderBook,
    PurePremiumModel,
    SeverityModel,
    Smooth,
    Solver,
)
from freightrisk.errors import FitError
from freightrisk.models.families import row_gradients

# Books with wild amounts have a large off-balance factor.
pytestmark = pytest.mark.filterwarnings("ignore:the (amounts|claims) of the fitted rows")


UNSETTLED = (6, "inverse_gaussian")  # seed and family of a book whose variances settle slowly, if at all


def gradients(fitted, book):
    """Gradient of each row, and the codes of its levels."""
    rows = book.claim_row if fitted.kind == "severity" else slice(None)
    mean = fitted.rates(book)[rows] / fitted.off_balance
    trials = np.empty(0)
    exposure = np.ones(book.n_orders) if book.exposure is None else book.exposure
    weight = np.ones(len(mean))
    if fitted.kind == "frequency":
        y, mean = book.claim_count, mean * exposure
        if fitted.lines is not None:
            trials = book.line_count.astype(float)
            mean = mean / trials
    elif fitted.kind == "severity":
        y = book.claim_amount
        weight = weight if book.claim_weight is None else book.claim_weight
        if fitted.family == "lognormal":
            mean = mean * np.exp(-0.5 * fitted.dispersion)  # a lognormal model rates medians
    else:
        total = np.bincount(book.claim_row, book.claim_amount * book.claim_weight, book.n_orders)
        y, weight = total / exposure, exposure
    return weight * row_gradients(fitted.family, y, mean, fitted.family_parameter, trials)


@pytest.mark.filterwarnings("ignore::freightrisk.FreightRiskWarning")
@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 10_000))
def test_books_with_outliers_arrive_at_a_maximum(family, seed):
    try:
        world = outlier_book(seed, family)
        fitted = world.fit()
    except FreightRiskError as refusal:
        message = str(refusal)
    else:
        assert sum(step.rows == fitted.n_rows for step in fitted.steps) <= 2 * MOST_STEPS  # without and with an order
        # The base has no penalty, so the gradients of all rows add up to zero at a maximum.
        each = gradients(fitted, world.book)
        assert abs(each.sum()) < 1e-6 * np.abs(each).sum()
        return
    named = ("factor '", "the base still moves", "the base carries no information", "there are no claims")
    assert any(part in message for part in named)


def leaves_with_an_outlier(family, times, seed=1):
    """100 leaves of 30 rows, and one more leaf with a single row of so many times the mean."""
    rng = np.random.default_rng(seed)
    leaf = np.repeat(np.arange(100), 30)
    effect = np.exp(rng.normal(0.0, 0.22, 100))[leaf]
    if family == "negative_binomial":
        rows = pd.DataFrame({"leaf": leaf, "claims": rng.poisson(0.2 * effect * rng.gamma(2.0, 0.5, len(leaf)))})
        rows = pd.concat([rows, pd.DataFrame({"leaf": [100], "claims": [int(0.2 * times) + 1]})])
        return OrderBook.from_counts(rows, claims="claims", factors=[Factor("leaf")])
    rows = pd.DataFrame({"leaf": leaf, "claims": 1, "amount": 12.0 * effect * rng.gamma(4.0, 0.25, len(leaf))})
    rows = pd.concat([rows, pd.DataFrame({"leaf": [100], "claims": [1], "amount": [12.0 * times]})])
    return OrderBook.from_counts(rows, claims="claims", amount="amount", factors=[Factor("leaf")])


def model_of(family, effects):
    if family == "tweedie":
        return PurePremiumModel(effects, power=1.5)
    model = FrequencyModel if family == "negative_binomial" else SeverityModel
    return model(effects, family=family)


@pytest.mark.parametrize(
    ("family", "times"),
    [
        *((family, times) for family in ("gamma", "tweedie", "negative_binomial") for times in (1.0, 20.0, 100.0, 1e4)),
        *(("inverse_gaussian", times) for times in (1.0, 20.0, 100.0)),
    ],
)
@pytest.mark.parametrize("variance", [None, 0.05])
def test_one_claim_far_above_the_mean_in_a_thin_leaf(family, times, variance):
    book = leaves_with_an_outlier(family, times)
    fitted = model_of(family, [Credibility("leaf", variance=variance)]).fit(book)
    assert len(fitted.steps) <= MOST_STEPS
    assert fitted.unsettled == ()


@pytest.mark.parametrize("family", ["gamma", "tweedie", "inverse_gaussian", "negative_binomial"])
@pytest.mark.parametrize("times", [20.0, 1_000.0])
def test_the_maximum_is_that_of_a_general_optimiser(family, times):
    book = leaves_with_an_outlier(family, times)
    fitted = model_of(family, [Credibility("leaf", variance=0.05)]).fit(book, solver=Solver(tolerance=1e-10))
    strength = (1.0 if family == "negative_binomial" else fitted.dispersion) / 0.05
    leaf = book.codes["leaf"]
    y = book.claim_count if family == "negative_binomial" else np.bincount(book.claim_row, book.claim_amount)

    def slopes(x):
        each = row_gradients(family, y, np.exp(x[0] + x[1:][leaf]), fitted.family_parameter, np.empty(0))
        return np.append(each.sum(), np.bincount(leaf, each) - strength * x[1:])

    start = np.append(np.log(y.mean()), np.zeros(101))
    found = root(slopes, start, method="hybr", options={"xtol": 1e-12})
    assert np.abs(slopes(found.x)).max() < 1e-6
    np.testing.assert_allclose(
        fitted.rates(book) / fitted.off_balance, np.exp(found.x[0] + found.x[1:][leaf]), rtol=1e-7
    )


def test_amounts_of_every_size_in_a_few_cells_arrive():
    # A fit of free levels that scoring does not finish in 50 steps
    cells = pd.DataFrame(
        [
            ("far", "group", 1, 2, 0.73), ("far", "group", 2, 5, 0.02), ("far", "group", 3, 3, 4.03),
            ("far", "live", 1, 1, 3.20), ("far", "shelf", 1, 4, 4.30), ("far", "shelf", 2, 4, 4.35),
            ("near", "group", 1, 5, 0.16), ("near", "group", 2, 1, 2.22), ("remote", "group", 1, 1, 1.90),
            ("remote", "live", 1, 5, 2.68), ("remote", "live", 2, 1, 2.93), ("remote", "live", 3, 3, 1.24),
        ],
        columns=["zone", "channel", "segment", "claims", "amount"],
    )  # fmt: skip
    factors = [Factor(name) for name in ("zone", "channel", "segment")]
    book = OrderBook.from_counts(cells, claims="claims", amount="amount", factors=factors)
    assert len(SeverityModel().fit(book, solver=Solver(tolerance=1e-13)).steps) < MOST_STEPS


@pytest.mark.parametrize("family", ["poisson", "bernoulli", "negative_binomial"])
def test_a_fit_without_a_finite_maximum_names_the_level_that_runs_away(family):
    # The slope of the curve has no penalty. With claims in the last band alone, the other bands fall without end.
    bands = np.repeat(np.arange(12.0), 20)
    rows = pd.DataFrame({"price": bands, "claims": (bands == 11.0) & (np.arange(240) % 20 < 3)}).astype(int)
    book = OrderBook.from_counts(rows, claims="claims", factors=[Band("price", [k + 0.5 for k in range(11)])])
    with pytest.raises(FitError, match=r"factor 'price'"):
        FrequencyModel([Smooth("price", order=2)], family=family).fit(book)


def test_variances_that_do_not_settle_are_held_and_named(monkeypatch):
    # Whether the search settles at last depends on the last bits of sums. So it is cut short after its first round.
    monkeypatch.setattr("freightrisk.models.guarded.HELD_ROUNDS", 1)
    monkeypatch.setattr("freightrisk.models.guarded.HELD_STEPS", MOST_STEPS)
    seed, family = UNSETTLED
    with pytest.warns(FreightRiskWarning, match="the variances of '.*' did not settle: .* a factor of") as caught:
        fitted = outlier_book(seed, family).fit()
    named = fitted.unsettled
    assert named
    assert any(f"'{name}'" in str(caught[0].message) for name in named)


def test_a_monotone_curve_has_the_variance_of_the_curve_without_the_order():
    rng = np.random.default_rng(5)
    price = rng.uniform(0.0, 10.0, 4_000)
    claims = rng.poisson(0.1 * np.exp(0.1 * price))
    rows = pd.DataFrame({"price": price, "claims": claims})
    book = OrderBook.from_counts(rows, claims="claims", factors=[Band("price", np.arange(1.0, 10.0).tolist())])
    loose, ordered = (FrequencyModel([Smooth("price", monotone=way)]).fit(book) for way in (None, "increasing"))
    assert loose.variances["price"] == pytest.approx(ordered.variances["price"], rel=1e-9)
    assert np.all(np.diff(ordered.tables["price"][:10]) >= -1e-9)


@pytest.mark.parametrize("family", ["gamma", "tweedie", "inverse_gaussian", "negative_binomial"])
def test_guards_and_plain_steps_end_at_the_same_fit(family, monkeypatch):
    book, model = leaves_with_an_outlier(family, 1.5), model_of(family, [Credibility("leaf")])
    plain = model.fit(book)
    monkeypatch.setattr("freightrisk.models.newton.STUCK_AFTER", 3)
    monkeypatch.setattr("freightrisk.models.newton.STUCK", 0.0)
    guarded = model.fit(book)
    np.testing.assert_allclose(guarded.rates(book), plain.rates(book), rtol=1e-9)
    np.testing.assert_allclose(guarded.variances["leaf"], plain.variances["leaf"], rtol=1e-7)


@pytest.mark.parametrize("family", ["gamma", "negative_binomial"])
def test_order_of_rows_and_threads_change_nothing(family):
    rng = np.random.default_rng(6)
    leaf = np.repeat(np.arange(60), 20)
    amount = 12.0 * np.exp(rng.normal(0.0, 0.4, 60))[leaf] * rng.gamma(4.0, 0.25, len(leaf))
    amount[7] = 5_000.0
    rows = pd.DataFrame({"leaf": leaf, "claims": 1, "amount": amount})
    if family == "negative_binomial":
        rows = pd.DataFrame({"leaf": leaf, "claims": rng.poisson(0.02 * amount)})
    columns = {"claims": "claims"} | ({} if family == "negative_binomial" else {"amount": "amount"})
    model, fits = model_of(family, [Credibility("leaf")]), []
    for order, threads in ((np.arange(len(rows)), 1), (rng.permutation(len(rows)), 2)):
        # Factors are declared by the first book, so that codes are the same.
        factors = [fits[0].codings["leaf"]] if fits else [Factor("leaf")]
        book = OrderBook.from_counts(rows.iloc[order], **columns, factors=factors)
        fits.append(model.fit(book, solver=Solver(threads=threads)))
    one, other = fits
    assert np.abs(one.tables["leaf"] - other.tables["leaf"]).max() < 1e-9 * one.std_errors["leaf"][:60].min()
    assert abs(one.intercept - other.intercept) < 1e-9 * one.intercept_std_error
    # The standard error of a log variance of 60 leaves is about 0.2.
    assert abs(np.log(one.variances["leaf"][0] / other.variances["leaf"][0])) < 1e-6 * 0.2


@pytest.mark.parametrize("family", ["gamma", "inverse_gaussian"])
def test_curves_beside_an_interaction_arrive_on_the_freight_of_a_marketplace(family, shared_data):
    items = pd.read_parquet(shared_data / "marketplace_freight" / "order_items.parquet")
    items = items[(items["freight_value"] > 0) & items["product_weight_g"].notna()].head(20_000).assign(claims=1)
    items["volume"] = items[["product_length_cm", "product_height_cm", "product_width_cm"]].prod(axis=1)
    factors = [Band(name, 40) for name in ("product_weight_g", "volume", "price")]
    book = OrderBook.from_counts(items, claims="claims", amount="freight_value", factors=factors)
    effects = [*map(Smooth, ("product_weight_g", "volume", "price")), Interaction("product_weight_g", "volume")]
    fitted = SeverityModel(effects, family=family).fit(book)
    assert len(fitted.steps) < MOST_STEPS
    assert fitted.unsettled == ()
