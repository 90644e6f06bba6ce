"""Tests of factors and clustered errors against statsmodels, and their laws."""

import numpy as np
import pandas as pd
import pytest

from freightrisk import Credibility, Factor, FrequencyModel, InputError, OrderBook, SeverityModel, Solver
from freightrisk.inference import likelihood_ratio_test, wald_tests


def book_of(n=3_000, seed=5, amount=False):
    """Orders of merchants that share a random effect."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"zone": rng.choice(["near", "far"], n), "channel": rng.choice(["a", "b", "c"], n)})
    frame["merchant"] = rng.integers(0, 60, n)
    mean = 0.5 * np.exp(0.4 * (frame["zone"] == "far") + rng.normal(0, 0.5, 60)[frame["merchant"]])
    frame["claims"] = 1 if amount else rng.poisson(mean)
    frame["amount"] = rng.gamma(2.0, 5.0 * mean)
    options = {"amount": "amount"} if amount else {}
    book = OrderBook.from_counts(frame, claims="claims", factors=[Factor("zone"), Factor("channel")], **options)
    return frame, book


def statsmodels_fit(book, amount, **options):
    """The same model by formula."""
    import statsmodels.api as sm
    import statsmodels.formula.api as smf

    data = pd.DataFrame(dict(book.codes))
    data["y"] = book.claim_amount if amount else book.claim_count
    family = sm.families.Gamma(sm.families.links.Log()) if amount else sm.families.Poisson()
    return smf.glm("y ~ C(zone) + C(channel)", data, family=family).fit(tol=1e-13, tol_criterion="params", **options)


def test_clustered_errors_of_amounts_are_the_sandwich_around_the_expected_information():
    # The bread of R's sandwich package; statsmodels takes the observed information, which differs for a gamma.
    frame, book = book_of(amount=True)
    fitted = SeverityModel().fit(book, cluster=frame["merchant"], solver=Solver(tolerance=1e-11))
    x = np.column_stack([np.ones(len(frame)), *((book.codes[name] == code) for name, code in fitted.parameters)])
    scores = (np.asarray(book.claim_amount) * fitted.off_balance / fitted.predict(book) - 1.0)[:, None] * x
    totals = pd.DataFrame(scores).groupby(frame["merchant"].to_numpy()).sum().to_numpy()
    inverse, n, k = np.linalg.inv(x.T @ x), *x.shape
    known = inverse @ totals.T @ totals @ inverse * 60 / 59 * (n - 1) / (n - k)
    np.testing.assert_allclose(fitted.covariance, known, rtol=1e-7, atol=1e-12)


def test_clustered_errors_of_counts_equal_statsmodels():
    frame, book = book_of()
    fitted = FrequencyModel().fit(book, cluster=frame["merchant"], solver=Solver(tolerance=1e-11))
    groups = {"cov_type": "cluster", "cov_kwds": {"groups": frame["merchant"].to_numpy()}}
    theirs = statsmodels_fit(book, False, **groups)
    # A contrast of two zones does not depend on the reference level.
    code = next(code for name, code in fitted.parameters if name == "zone")
    assert fitted.std_errors["zone"][code] == pytest.approx(theirs.bse.iloc[1], rel=1e-6)
    plain = FrequencyModel().fit(book)
    np.testing.assert_allclose(plain.tables["zone"], fitted.tables["zone"], atol=1e-7)
    assert fitted.std_errors["zone"][code] != pytest.approx(plain.std_errors["zone"][code], rel=1e-3)


def test_clusters_of_one_row_are_the_sandwich():
    frame, book = book_of()
    fitted = FrequencyModel().fit(book, cluster=np.arange(len(frame)), solver=Solver(tolerance=1e-11))
    theirs = statsmodels_fit(book, False, cov_type="HC1")
    code = next(code for name, code in fitted.parameters if name == "zone")
    assert fitted.std_errors["zone"][code] == pytest.approx(theirs.bse.iloc[1], rel=1e-3)


def test_clustered_errors_with_an_eliminated_effect_equal_the_dense_sandwich():
    frame, book = book_of()
    effects = ["zone", Credibility("channel", variance=0.1)]
    fitted = FrequencyModel(effects).fit(book, cluster=frame["merchant"], solver=Solver(tolerance=1e-11))
    zone = (book.codes["zone"] != fitted.references["zone"]).astype(float)
    x = np.column_stack([np.ones(len(zone)), zone, *(book.codes["channel"] == k for k in range(3))]).astype(float)
    mean = fitted.predict(book)
    inverse = np.linalg.inv(x.T @ (mean[:, None] * x) + np.diag([0, 0, 10.0, 10.0, 10.0]))
    scores = pd.DataFrame((book.claim_count - mean)[:, None] * x).groupby(frame["merchant"].to_numpy()).sum().to_numpy()
    n, k = len(zone), fitted.n_rows - fitted.df_residual
    sandwich = inverse @ scores.T @ scores @ inverse * 60 / 59 * (n - 1) / (n - k)
    code = next(code for name, code in fitted.parameters if name == "zone")
    assert fitted.std_errors["zone"][code] == pytest.approx(np.sqrt(sandwich[1, 1]), rel=1e-7)


@pytest.mark.parametrize("amount", [False, True])
def test_wald_tests_equal_statsmodels(amount):
    _, book = book_of(amount=amount)
    model = SeverityModel() if amount else FrequencyModel()
    ours = wald_tests(model.fit(book, solver=Solver(tolerance=1e-11))).set_index("factor")
    theirs = statsmodels_fit(book, amount).wald_test_terms(scalar=True).table.loc[["C(zone)", "C(channel)"]]
    chi2 = ours["statistic"] * (ours["degrees_of_freedom"] if amount else 1)
    np.testing.assert_allclose(chi2, theirs["statistic"].astype(float), rtol=1e-6)
    if not amount:
        np.testing.assert_allclose(ours["p_value"], theirs["pvalue"].astype(float), rtol=1e-6)


def test_likelihood_ratio_is_the_difference_of_two_fits():
    from scipy.stats import chi2

    _, book = book_of()
    small, large = FrequencyModel(["zone"]).fit(book), FrequencyModel().fit(book)
    test = likelihood_ratio_test(small, large)
    assert (test.test, test.degrees_of_freedom) == ("chi2", 2.0)
    assert test.statistic == pytest.approx(small.deviance - large.deviance, rel=1e-9)
    assert test.p_value == pytest.approx(chi2.sf(test.statistic, 2))


def test_amounts_are_compared_by_f():
    from scipy.stats import f

    _, book = book_of(amount=True)
    small, large = SeverityModel(["zone"]).fit(book), SeverityModel().fit(book)
    test = likelihood_ratio_test(small, large)
    known = (small.deviance - large.deviance) / 2 / large.dispersion
    assert (test.test, test.statistic) == ("F", pytest.approx(known))
    assert test.p_value == pytest.approx(f.sf(known, 2, large.df_residual))


@pytest.mark.slow
def test_levels_of_tests_are_as_stated():
    # Under the truth p-values are uniform: 200 books without an effect of channel.
    p_values = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        frame = pd.DataFrame({"channel": rng.integers(0, 4, 800), "claims": rng.poisson(0.6, 800)})
        book = OrderBook.from_counts(frame, claims="claims", factors=[Factor("channel")])
        p_values.append(likelihood_ratio_test(FrequencyModel([]).fit(book), FrequencyModel().fit(book)).p_value)
    assert 0.02 < np.mean(np.array(p_values) < 0.05) < 0.09


def test_bad_comparisons_are_refused():
    _, book = book_of()
    small, large = FrequencyModel(["zone"]).fit(book), FrequencyModel().fit(book)
    with pytest.raises(InputError, match="give the model with fewer parameters first"):
        likelihood_ratio_test(large, small)
    with pytest.raises(InputError, match="compare two models of one family"):
        likelihood_ratio_test(small, FrequencyModel(family="negative_binomial").fit(book))
    with pytest.raises(InputError, match="'channel' is penalised"):
        likelihood_ratio_test(small, FrequencyModel(["zone", Credibility("channel")]).fit(book))
    with pytest.raises(InputError, match="give one value for each"):
        FrequencyModel().fit(book, cluster=[1, 2])
    with pytest.raises(InputError, match="two clusters or more"):
        FrequencyModel().fit(book, cluster=np.zeros(book.n_orders))
    with pytest.raises(InputError, match="cluster has groups that cannot be ordered, or that are of several kinds"):
        FrequencyModel().fit(book, cluster=[1, "1"] * (book.n_orders // 2) + [1] * (book.n_orders % 2))
    with pytest.raises(InputError, match="cluster is missing in 1 row "):
        FrequencyModel().fit(book, cluster=[None] + ["m"] * (book.n_orders - 1))
