"""Deviance and log likelihood of any rows, and summaries: against the fit itself, statsmodels and scikit-learn."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from freightrisk import (
    Band,
    Credibility,
    Factor,
    FitError,
    FreightRiskWarning,
    FrequencyModel,
    Given,
    InputError,
    OrderBook,
    PurePremiumModel,
    SeverityModel,
    Smooth,
    Solver,
    store_book,
)
from freightrisk.inference import likelihood_ratio_test
from test_effects import cells, counted

# Books with wild amounts have a large off-balance factor.
pytestmark = pytest.mark.filterwarnings("ignore:the (amounts|claims) of the fitted rows")


TIGHT = Solver(tolerance=1e-12, max_iterations=200)


def frame_of(n=1_500, seed=7):
    rng = np.random.default_rng(seed)
    frame = cells(n, seed=seed)
    frame["any"] = np.minimum(frame["claims"], 1)
    frame["n"] = rng.integers(1, 5, n)
    frame["back"] = rng.binomial(frame["n"], np.clip(0.2 + 0.1 * (frame["channel"] == "live"), 0, 1))
    frame["merchant"] = rng.integers(0, 30, n)
    frame["weight"] = rng.integers(1, 4, n).astype(float)
    return frame


FRAME = frame_of()
LINES = [Factor("channel"), Factor("zone")]
MERCHANT = Factor("merchant", unseen="parent")
COUNTS = ("poisson", "negative_binomial", "bernoulli", "binomial", "beta_binomial")
AMOUNTS = ("gamma", "lognormal", "inverse_gaussian")
EVERY = (*COUNTS, *AMOUNTS, "tweedie")


def case(family, frame=FRAME):
    """Return a model of a family, its book, and an offset and a weight for the rows of its fit."""
    factors = [*LINES, MERCHANT, Band("score", [2, 4, 6])]
    effects = ["channel", Credibility("merchant", variance=0.05), Smooth("score", variance=0.1)]
    if family in ("binomial", "beta_binomial"):
        book = OrderBook.from_counts(frame, claims="back", exposure="insured", factors=factors, lines="n")
        model = FrequencyModel(effects, family=family)
    elif family in COUNTS:
        claims = "any" if family == "bernoulli" else "claims"
        book = OrderBook.from_counts(frame, claims=claims, exposure="insured", factors=factors)
        model = FrequencyModel(effects, family=family)
    else:
        book = OrderBook.from_counts(frame, claims="claims", amount="amount", exposure="insured", factors=factors)
        model = PurePremiumModel(effects, power=1.6) if family == "tweedie" else SeverityModel(effects, family=family)
    rows = len(book.claim_row) if family in AMOUNTS else book.n_orders
    rng = np.random.default_rng(3)
    return model, book, rng.normal(0.0, 0.2, rows), rng.integers(1, 4, rows).astype(float)


# The fit's own numbers


@pytest.mark.parametrize("family", EVERY)
@pytest.mark.parametrize("with_options", [False, True])
def test_on_the_fitted_rows_it_is_the_fits_own(family, with_options):
    model, book, offset, weight = case(family)
    options = {"offset": offset, "weight": weight} if with_options else {}
    # A fit reports the deviance before its last step, which a penalised model takes to first order.
    fitted = model.fit(book, solver=TIGHT, **options)
    found = fitted.evaluate(book, **options)
    if family == "beta_binomial":
        assert np.isnan([found.deviance, found.null_deviance, found.explained, fitted.deviance]).all()
    else:
        assert found.deviance == pytest.approx(fitted.deviance, rel=1e-12)
        assert found.null_deviance == pytest.approx(fitted.null_deviance, rel=1e-12)
        assert found.explained == pytest.approx(1.0 - fitted.deviance / fitted.null_deviance, rel=1e-10)
    assert found.log_likelihood == pytest.approx(fitted.log_likelihood, rel=1e-12)
    assert found.rows == fitted.n_rows


@pytest.mark.parametrize("family", EVERY)
def test_given_tables_are_in_both_deviances(family):
    _, book, _, _ = case(family)
    effects = ["channel", Given("zone", {"near": 1.0, "far": 1.3})]
    model = (
        PurePremiumModel(effects) if family == "tweedie"
        else SeverityModel(effects, family=family) if family in AMOUNTS else FrequencyModel(effects, family=family)
    )  # fmt: skip
    fitted = model.fit(book)
    found = fitted.evaluate(book)
    assert found.deviance == pytest.approx(fitted.deviance, rel=1e-12, nan_ok=True)
    assert found.null_deviance == pytest.approx(fitted.null_deviance, rel=1e-12, nan_ok=True)


def test_censored_amounts_have_the_likelihood_of_the_fits_dispersion():
    frame = FRAME[FRAME["claims"] > 0].assign(claims=1)
    limit = float(frame["amount"].quantile(0.9))
    capped = counted(frame.assign(amount=np.minimum(frame["amount"], limit)), exposure=None, amount="amount")
    fitted = SeverityModel(["channel"]).fit(capped, limit=limit)
    whole = counted(frame, exposure=None, amount="amount")
    shape, mean, y = 1.0 / fitted.dispersion, fitted.predict(whole), np.asarray(whole.claim_amount)
    from scipy.stats import gamma

    expected = gamma.logpdf(y, shape, scale=mean / shape).sum()
    assert fitted.evaluate(whole).log_likelihood == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("family", [*AMOUNTS, "tweedie"])
@settings(max_examples=10)
@given(amount=st.floats(1e-6, 1e12), others=st.floats(0.5, 2.0), weight=st.sampled_from([1.0, 1e-3, 1e6]))
def test_amounts_without_residuals_have_no_likelihood(family, amount, others, weight):
    frame = pd.DataFrame({"zone": ["near", "far"] * 20, "claims": 1, "amount": amount})
    books = [
        OrderBook.from_counts(rows, claims="claims", amount="amount", factors=[Factor("zone")])
        for rows in (frame, frame.assign(amount=amount * others))
    ]
    model = PurePremiumModel() if family == "tweedie" else SeverityModel(family=family)
    fitted = model.fit(books[0], weight=np.full(40, weight))
    assert np.isnan([fitted.log_likelihood, fitted.aic, fitted.bic]).all()
    assert fitted.statistics.likelihood_dispersion == 0.0
    assert "no log likelihood, because the amounts equal their fitted means" in repr(fitted)
    for book in books:
        found = fitted.evaluate(book)
        assert np.isnan(found.log_likelihood)
        assert np.isfinite(found.deviance)
    smaller = replace(model, factors=[]).fit(books[0], weight=np.full(40, weight))
    with pytest.raises(InputError, match="the larger model has no residual"):
        likelihood_ratio_test(smaller, fitted)


@pytest.mark.parametrize("family", [*AMOUNTS, "tweedie"])
@pytest.mark.parametrize("spread", [1e-2, 1e-4])
def test_a_small_spread_has_a_likelihood(family, spread):
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {"zone": ["near", "far"] * 200, "claims": 1, "amount": 9.0 * np.exp(rng.normal(0, spread, 400))}
    )
    book = OrderBook.from_counts(frame, claims="claims", amount="amount", factors=[Factor("zone")])
    model = PurePremiumModel() if family == "tweedie" else SeverityModel(family=family)
    normal = -400 * (0.5 * np.log(2 * np.pi * np.e) + np.log(9.0 * spread))  # every family is close to normal
    assert model.fit(book).log_likelihood == pytest.approx(normal, abs=40.0)


# Laws


@settings(max_examples=20)
@given(st.sampled_from(EVERY), st.integers(0, 2**32 - 1))
def test_the_deviance_of_parts_adds_up(family, seed):
    model, book, _, _ = case(family)
    fitted = MODELS.setdefault(family, model.fit(book))
    rows = np.random.default_rng(seed).random(book.n_orders) < 0.5
    parts = [fitted.evaluate(book.select(mask)) for mask in (rows, ~rows)]
    whole = fitted.evaluate(book)
    for name in ("rows", "weight", "deviance", "null_deviance", "log_likelihood", "actual", "expected"):
        total = sum(getattr(part, name) for part in parts)
        assert total == pytest.approx(getattr(whole, name), rel=1e-9, nan_ok=True)


MODELS = {}


@pytest.mark.parametrize("family", EVERY)
def test_threads_and_weights_of_two(family):
    model, book, _, _ = case(family)
    fitted = model.fit(book)
    rows = fitted.evaluate(book).rows
    one, two, three = (fitted.evaluate(book, threads=n) for n in (1, 2, 3))
    assert one == two == three or family == "beta_binomial"  # nan differs from itself
    assert one.log_likelihood == two.log_likelihood == three.log_likelihood
    prior = np.ones(rows) if book.claim_weight is None or family == "tweedie" else np.asarray(book.claim_weight)
    twice = fitted.evaluate(book, weight=2.0 * prior)
    assert twice.deviance == pytest.approx(2.0 * one.deviance, rel=1e-12, nan_ok=True)
    assert twice.mean_deviance == pytest.approx(one.mean_deviance, rel=1e-12, nan_ok=True)


@pytest.mark.parametrize("family", ["poisson", "binomial", "gamma", "tweedie"])
def test_actual_and_expected_balance_on_the_fitted_rows(family):
    _, book, _, _ = case(family)
    models = {"gamma": SeverityModel(["zone"]), "tweedie": PurePremiumModel(["zone"], power=1.01)}
    fitted = (models.get(family) or FrequencyModel(["zone"], family=family)).fit(book, solver=TIGHT)
    found = fitted.evaluate(book)
    # Only a Poisson model and, here, almost a Tweedie model of power 1.01 balance in total.
    slack = {"poisson": 1e-9, "tweedie": 1e-3}.get(family, 0.05)
    assert found.ratio == pytest.approx(1.0, abs=slack)
    actual = book.n_claims if family in COUNTS else FRAME["amount"].sum()
    assert found.actual == pytest.approx(actual, rel=1e-12)
    if family in COUNTS:
        assert found.expected == pytest.approx(fitted.predict(book).sum(), rel=1e-12)


def test_a_stored_book_is_evaluated_like_one_in_memory(tmp_path):
    pytest.importorskip("pyarrow")
    orders = FRAME[["channel", "zone", "insured"]].assign(order_id=range(len(FRAME)))
    claims = pd.DataFrame({"order_id": np.repeat(np.arange(len(FRAME)), FRAME["claims"]), "freight": 8.0})
    claims["freight"] += np.arange(len(claims)) % 7
    orders.to_parquet(tmp_path / "orders.parquet")
    how = {"factors": LINES, "ship_date": None, "report_date": None, "exposure": "insured", "claim_id": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FreightRiskWarning)  # of claims that are alike
        memory = OrderBook.from_frames(orders, claims, **how)
        stored = store_book(tmp_path / "book", tmp_path / "orders.parquet", claims, **how)
    for model in (FrequencyModel(), SeverityModel(), PurePremiumModel()):
        one, other = (model.fit(book) for book in (memory, stored))
        assert str(one.evaluate(memory)) == str(other.evaluate(stored)) == str(one.evaluate(stored))
        pd.testing.assert_frame_equal(
            one.predict(memory, std_errors=True), other.predict(stored, std_errors=True), check_exact=True
        )


# Other libraries


def test_it_is_the_deviance_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    held = frame_of(seed=8)
    model, book, _, _ = case("poisson")
    fitted = model.fit(book)
    new = OrderBook.from_counts(held, claims="claims", exposure="insured", amount="amount",
                                factors=[*book.codings.values()])  # fmt: skip
    found = fitted.evaluate(new)
    mean = fitted.predict(new)
    assert found.mean_deviance == pytest.approx(metrics.mean_poisson_deviance(held["claims"], mean), rel=1e-12)
    flat = held["insured"] * FRAME["claims"].sum() / FRAME["insured"].sum()
    assert found.mean_null_deviance == pytest.approx(metrics.mean_poisson_deviance(held["claims"], flat), rel=1e-9)

    severity = SeverityModel(["channel"]).fit(case("gamma")[1])
    some = held["claims"] > 0
    mean = severity.predict(new)[some]
    theirs = metrics.mean_gamma_deviance(
        held.loc[some, "amount"] / held.loc[some, "claims"], mean, sample_weight=held.loc[some, "claims"]
    )
    assert severity.evaluate(new).mean_deviance == pytest.approx(theirs, rel=1e-12)

    pure = PurePremiumModel(["channel"], power=1.6).fit(case("tweedie")[1])
    theirs = metrics.mean_tweedie_deviance(
        held["amount"] / held["insured"], pure.rates(new), sample_weight=held["insured"], power=1.6
    )
    assert pure.evaluate(new).mean_deviance == pytest.approx(theirs, rel=1e-12)


def test_new_rows_have_the_likelihood_of_scipy():
    from scipy import stats

    held = frame_of(400, seed=9)
    held = held[held["merchant"].isin(FRAME["merchant"])]
    for family in ("poisson", "negative_binomial", "bernoulli", "beta_binomial"):
        model, book, _, _ = case(family)
        fitted = model.fit(book)
        claims = {"bernoulli": "any", "beta_binomial": "back"}.get(family, "claims")
        lines = "n" if family == "beta_binomial" else None
        new = OrderBook.from_counts(held, claims=claims, exposure="insured", factors=[*book.codings.values()],
                                    lines=lines)  # fmt: skip
        mean, y = replace(fitted, off_balance=1.0).predict(new), held[claims].to_numpy()
        parameter = fitted.family_parameter
        if family == "poisson":
            expected = stats.poisson.logpmf(y, mean)
        elif family == "negative_binomial":
            expected = stats.nbinom.logpmf(y, 1.0 / parameter, 1.0 / (1.0 + parameter * mean))
        elif family == "bernoulli":
            expected = stats.bernoulli.logpmf(y, mean)
        else:
            p, s = mean / held["n"].to_numpy(), 1.0 / parameter - 1.0
            expected = stats.betabinom.logpmf(y, held["n"].to_numpy(), p * s, (1.0 - p) * s)
        assert fitted.evaluate(new).log_likelihood == pytest.approx(expected.sum(), rel=1e-9)


# Summaries


def design(frame):
    # The reference is the level with the most rows, as in a fit.
    columns = [pd.get_dummies(frame[name], prefix=name, dtype=float).drop(columns=f"{name}_{frame[name].mode()[0]}")
               for name in ("channel", "zone")]  # fmt: skip
    return sm.add_constant(pd.concat(columns, axis=1))


LINKS = sm.families.links


@pytest.mark.parametrize(
    ("family", "theirs"),
    [
        ("poisson", sm.families.Poisson()),
        ("gamma", sm.families.Gamma(LINKS.Log())),
        ("inverse_gaussian", sm.families.InverseGaussian(LINKS.Log())),
    ],
)
def test_the_summary_has_the_numbers_of_statsmodels(family, theirs):
    frame = FRAME.assign(claims=1) if family != "poisson" else FRAME
    frame = frame[frame["amount"] > 0] if family != "poisson" else frame
    book = OrderBook.from_counts(
        frame, claims="claims", factors=LINES, amount=None if family == "poisson" else "amount"
    )
    model = FrequencyModel() if family == "poisson" else SeverityModel(family=family)
    fitted = model.fit(book, solver=TIGHT)
    y = frame["claims"] if family == "poisson" else frame["amount"]
    result = sm.GLM(y, design(frame), family=theirs).fit(tol=1e-13, tol_criterion="params")
    summary = fitted.summary()
    table = summary.coefficients[summary.coefficients["std_error"] > 0]
    names = ["const", *(f"{row.factor}_{row.level}" for row in table.iloc[1:].itertuples())]
    low, high = result.conf_int().loc[names].to_numpy().T
    for column, expected in (
        ("log_relativity", result.params), ("std_error", result.bse), ("z", result.tvalues),
        ("p_value", result.pvalues), ("relativity", np.exp(result.params)),
    ):  # fmt: skip
        np.testing.assert_allclose(table[column], expected.loc[names], rtol=1e-6, atol=1e-290)
    np.testing.assert_allclose(table["lower"], np.exp(low), rtol=1e-7)
    np.testing.assert_allclose(table["upper"], np.exp(high), rtol=1e-7)
    assert summary.header["rows"] == f"{len(frame):,}"
    assert summary.header["deviance"] == f"{result.deviance:,.2f}"
    assert summary.header["null deviance"] == f"{result.null_deviance:,.2f}"
    assert summary.header["residual df"] == f"{int(result.df_resid):,}"
    assert float(summary.header["dispersion"]) == pytest.approx(result.pearson_chi2 / result.df_resid, rel=1e-5)
    if family == "poisson":
        assert summary.header["log likelihood"] == f"{result.llf:,.2f}"
        assert summary.header["AIC"] == f"{result.aic:,.2f}"


def test_the_header_counts_exposure_and_claims():
    for family in EVERY:
        model, book, offset, _ = case(family)
        header = model.fit(book, offset=offset).summary().header
        assert float(header["claims"].replace(",", "")) == book.n_claims
        wanted = FRAME["insured"].sum()
        if family in ("binomial", "beta_binomial"):  # the relativities rate a line
            wanted = (FRAME["insured"] * FRAME["n"]).sum()
        if family in AMOUNTS:
            assert "exposure" not in header
        else:
            assert float(header["exposure"].replace(",", "")) == pytest.approx(wanted, abs=0.01)
        assert header["optional columns"] == ("offset" if family in AMOUNTS else "exposure and offset")


def test_the_text_of_a_summary_is_short():
    model, book, _, _ = case("poisson")
    summary = model.fit(book).summary()
    text = str(summary)
    assert repr(summary) == text
    assert "  ... and 18 more levels; see relativities" in text.splitlines()
    assert max(map(len, text.splitlines())) <= 120
    assert len(text.splitlines()) < 60
    assert summary._repr_html_().startswith("<pre>model")
    assert len(summary.coefficients) == 1 + 3 + 30 + 4
    shelf = summary.coefficients.query("std_error == 0.0")
    assert shelf["z"].isna().all()
    assert shelf["p_value"].isna().all()


def test_a_summary_escapes_what_levels_hold():
    frame = FRAME.assign(channel=np.where(FRAME["channel"] == "live", "<b>\x1b[31m", "shelf"))
    fitted = FrequencyModel(["channel"]).fit(counted(frame))
    assert "\x1b" not in str(fitted.summary())
    assert "&lt;b&gt;" in fitted.summary()._repr_html_()


def test_repr_stays_on_one_screen():
    model, book, _, _ = case("poisson")
    assert len(repr(model.fit(book)).splitlines()) == 7


# Bad calls

FITTED = FrequencyModel(["channel"]).fit(counted(FRAME))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: FITTED.evaluate(FRAME), "book is a DataFrame; it must be an OrderBook"),
        (lambda: FITTED.evaluate(counted(FRAME), offset=[1.0]), r"offset has shape \(1,\)"),
        (lambda: FITTED.evaluate(counted(FRAME), weight=-np.ones(1_500)), "weight is negative in 1,500 rows"),
        (lambda: FITTED.evaluate(counted(FRAME), threads=-1), "threads is -1"),
        (lambda: FITTED.evaluate(counted(FRAME).select(np.zeros(1_500, bool))), "the book has no rows to evaluate"),
        (lambda: FITTED.evaluate(counted(FRAME, [Band("channel", [1], column="score")])), "coding of factor 'channel'"),
        (lambda: case("bernoulli")[0].fit(case("bernoulli")[1]).evaluate(case("poisson")[1]),
         "allows at most one claim for each order"),
        (lambda: case("gamma")[0].fit(case("gamma")[1]).evaluate(case("poisson")[1]), "claims but no amounts"),
        (lambda: case("binomial")[0].fit(case("binomial")[1]).evaluate(case("poisson")[1]),
         "does not know how many lines"),
    ],
)  # fmt: skip
def test_bad_calls_are_refused(call, message):
    with pytest.raises((InputError, FitError), match=message):
        call()
