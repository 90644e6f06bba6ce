"""Families beyond Poisson, cloglog and gamma: against statsmodels, against densities, and in a tariff."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from book_strategies import assert_same_fit
from freightrisk import (
    Band,
    Cover,
    Credibility,
    Factor,
    FrequencyModel,
    InputError,
    OrderBook,
    PurePremiumModel,
    SeverityModel,
    Smooth,
    Solver,
    Tariff,
)
from freightrisk.models.families import Response, log_wright_of, tweedie_log_likelihood
from freightrisk.shapes import expected_claims, limited_expected_value

FACTORS = [Factor("zone"), Factor("channel"), Band("score", [1.0, 2.0, 3.0])]


def frame_of(n=4_000, seed=2):
    """Orders with a zone, a channel, a score, and the mean that they make."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "zone": rng.choice(["near", "far", "remote"], n),
            "channel": rng.choice(["shelf", "live"], n),
            "score": rng.uniform(0, 4, n),
            "insured": rng.uniform(0.5, 2.0, n),
        }
    )
    frame["mean"] = np.exp(-0.5 + 0.4 * (frame["zone"] == "far") + 0.3 * (frame["channel"] == "live"))
    return frame, rng


def case(family):
    """A model of a family, a book for it, and the options of a fit with offset and weight."""
    frame, rng = frame_of()
    n, mean = len(frame), frame["mean"] * frame["insured"]
    if family == "negative_binomial":
        frame["claims"] = rng.negative_binomial(1.25, 1.25 / (1.25 + mean))
        book = OrderBook.from_counts(frame, claims="claims", exposure="insured", factors=FACTORS)
        model = FrequencyModel(family=family)
    else:
        frame["claims"] = 1
        frame["amount"] = {
            "lognormal": lambda: 10 * frame["mean"] * np.exp(rng.normal(0, 0.6, n)),
            "inverse_gaussian": lambda: rng.wald(10 * frame["mean"], 40.0),
            "tweedie": lambda: frame["mean"] * rng.gamma(2.0, 4.0, n) * rng.integers(0, 2, n) + 1e-9,
        }[family]()
        exposure = "insured" if family == "tweedie" else None
        book = OrderBook.from_counts(frame, claims="claims", amount="amount", exposure=exposure, factors=FACTORS)
        model = PurePremiumModel(power=1.6) if family == "tweedie" else SeverityModel(family=family)
    return model, book, {"offset": rng.normal(0, 0.3, n), "weight": rng.uniform(0.5, 2.0, n)}


OTHERS = ["negative_binomial", "lognormal", "inverse_gaussian", "tweedie"]


@pytest.mark.parametrize("options", ["plain", "offset", "weight", "both"])
@pytest.mark.parametrize("family", OTHERS)
def test_fit_equals_statsmodels(family, options):
    model, book, more = case(family)
    chosen = {name: more[name] for name in more if options in (name, "both")}
    ours = model.fit(book, solver=Solver(tolerance=1e-11, max_iterations=200), **chosen)
    theirs = model.fit(book, solver=Solver(engine="statsmodels"), **chosen)
    assert_same_fit(ours, theirs, atol=1e-7)
    assert ours.deviance == pytest.approx(theirs.deviance, rel=1e-9)
    assert ours.log_likelihood == pytest.approx(theirs.log_likelihood, rel=1e-9)
    assert ours.family_parameter == pytest.approx(theirs.family_parameter, rel=1e-9)


def test_negative_binomial_dispersion_is_that_of_the_discrete_model():
    import statsmodels.formula.api as smf

    model, book, _ = case("negative_binomial")
    fitted = model.fit(book, solver=Solver(tolerance=1e-11))
    columns = {name: book.codes[name] for name in book.codes} | {"y": book.claim_count}
    formula = "y ~ " + " + ".join(f"C({name})" for name in book.codes)
    theirs = smf.negativebinomial(formula, pd.DataFrame(columns), exposure=book.exposure, loglike_method="nb2").fit(
        method="newton", maxiter=200, tol=1e-12, disp=False
    )
    assert fitted.family_parameter == pytest.approx(theirs.params["alpha"], rel=1e-6)
    assert fitted.log_likelihood == pytest.approx(theirs.llf, rel=1e-9)
    assert fitted.family_parameter == pytest.approx(0.8, abs=0.15)


def test_poisson_counts_have_no_dispersion():
    frame, rng = frame_of(2_000)
    frame["claims"] = rng.binomial(5, 0.2, len(frame))  # less than Poisson variance
    book = OrderBook.from_counts(frame, claims="claims", factors=FACTORS)
    poisson, other = (FrequencyModel(family=name).fit(book) for name in ("poisson", "negative_binomial"))
    assert other.family_parameter == pytest.approx(1e-6)
    np.testing.assert_allclose(other.rates(book), poisson.rates(book), rtol=1e-6)
    assert other.log_likelihood == pytest.approx(poisson.log_likelihood, rel=1e-6)


def test_log_likelihoods_are_those_of_the_densities():
    for family in ("negative_binomial", "lognormal", "inverse_gaussian"):
        model, book, _ = case(family)
        fitted = replace(model.fit(book), off_balance=1.0)
        mean = fitted.rates(book)
        if family == "negative_binomial":
            m, size = mean * book.exposure, 1 / fitted.family_parameter
            known = stats.nbinom.logpmf(book.claim_count, size, size / (size + m)).sum()
        else:
            y = np.asarray(book.claim_amount)
            dispersion = fitted.deviance / len(y)
            if family == "lognormal":
                median = mean * np.exp(-fitted.dispersion / 2)
                known = stats.lognorm.logpdf(y, np.sqrt(dispersion), scale=median).sum()
            else:
                known = stats.invgauss.logpdf(y, mean * dispersion, scale=1 / dispersion).sum()
        assert fitted.log_likelihood == pytest.approx(known, rel=1e-9), family


def test_tweedie_likelihood_is_that_of_a_poisson_sum_of_gamma_amounts():
    power, dispersion, mean = 1.6, 2.0, 3.0
    rate = mean ** (2 - power) / (dispersion * (2 - power))
    shape, scale = (2 - power) / (power - 1), dispersion * (power - 1) * mean ** (power - 1)
    y = np.array([0.0, 0.4, 3.0, 11.0])
    k = np.arange(1, 200)[:, None]
    density = (stats.poisson.pmf(k, rate) * stats.gamma.pdf(y[1:], k * shape, scale=scale)).sum(axis=0)
    known = -rate + np.log(density).sum()
    response = Response(y, np.ones(4), np.zeros(4), np.ones(4))
    assert tweedie_log_likelihood(response, np.full(4, mean), power, dispersion) == pytest.approx(known, rel=1e-10)


def test_lognormal_predicts_means():
    frame, rng = frame_of(60_000)
    frame["claims"], spread = 1, 0.9
    frame["amount"] = 10 * frame["mean"] * np.exp(rng.normal(-(spread**2) / 2, spread, len(frame)))
    book = OrderBook.from_counts(frame, claims="claims", amount="amount", factors=FACTORS)
    fitted = SeverityModel(family="lognormal").fit(book)
    assert fitted.dispersion == pytest.approx(spread**2, rel=0.02)
    np.testing.assert_allclose(fitted.rates(book), 10 * frame["mean"], rtol=0.04)


def test_pure_premium_balances_in_total_where_the_power_is_near_one():
    model, book, _ = case("tweedie")
    near = PurePremiumModel(power=1.01).fit(book)
    total = np.bincount(book.claim_row, book.claim_amount).sum()
    assert (near.rates(book) * book.exposure).sum() == pytest.approx(total, rel=2e-3)
    assert model.fit(book).kind == "pure premium"


@pytest.mark.parametrize("family", OTHERS)
def test_penalties_enter_every_family(family):
    model, book, _ = case(family)
    factors = [Credibility("zone"), Smooth("score"), "channel"]
    shrunk = replace(model, factors=factors).fit(book, solver=Solver(max_iterations=200))
    free = model.fit(book, solver=Solver(max_iterations=200))
    assert shrunk.credibility("zone")["credibility_z"].between(0.5, 1).all()
    np.testing.assert_allclose(shrunk.rates(book), free.rates(book), rtol=0.1)


# --- in a tariff ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dispersion", [0.05, 0.45, 2.0])
@pytest.mark.parametrize("most", [1, 2, 5])
def test_expected_claims_of_overdispersed_counts(dispersion, most):
    intensity = np.array([1e-8, 1e-3, 0.2, 1.0, 7.0])
    size = 1 / dispersion
    k = np.arange(most)[:, None]
    known = stats.nbinom.sf(k, size, size / (size + intensity)).sum(axis=0)
    np.testing.assert_allclose(expected_claims(intensity, max_claims=most, dispersion=dispersion), known, rtol=1e-7)


def test_limited_expected_value_of_a_lognormal():
    from scipy.integrate import quad

    mean, limit, dispersion = 12.0, 9.0, 0.5
    law = stats.lognorm(np.sqrt(dispersion), scale=mean * np.exp(-dispersion / 2))
    known = quad(law.sf, 0, limit, epsabs=1e-12)[0]
    ours = limited_expected_value(np.array([mean]), np.array([limit]), dispersion=dispersion, family="lognormal")
    assert ours[0] == pytest.approx(known, rel=1e-9)


def built(frequency_family, severity_family, cover):
    """A tariff and its two models on simulated orders."""
    frame, rng = frame_of()
    frame["claims"] = rng.negative_binomial(1.0, 1.0 / (1.0 + frame["mean"] * frame["insured"]))
    book = OrderBook.from_counts(frame, claims="claims", exposure="insured", factors=FACTORS)
    amounts = frame.assign(claims=1, amount=10 * frame["mean"] * np.exp(rng.normal(0, 0.7, len(frame))))
    factors = list(book.codings.values())
    claims = OrderBook.from_counts(amounts, claims="claims", amount="amount", factors=factors)
    frequency = FrequencyModel(family=frequency_family).fit(book)
    severity = SeverityModel(family=severity_family).fit(claims)
    return frame, book, claims, frequency, severity, Tariff.build(frequency, severity, cover=cover)


def test_curves_of_a_tariff_come_from_the_fitted_families():
    frame, book, claims, frequency, severity, tariff = built(
        "negative_binomial", "lognormal", Cover(max_claims=1, limit=12.0)
    )
    priced = tariff.price(frame)
    intensity, mean = frequency.rates(book), severity.rates(claims)
    known = expected_claims(intensity, max_claims=1, dispersion=frequency.family_parameter)
    np.testing.assert_allclose(priced["expected_claims"], known, rtol=2e-7)
    limited = limited_expected_value(mean, np.full(len(mean), 12.0), dispersion=severity.dispersion, family="lognormal")
    np.testing.assert_allclose(priced["expected_payout"], limited, rtol=2e-7)


def test_no_limit_curve_for_an_inverse_gaussian():
    assert built("poisson", "inverse_gaussian", Cover(max_claims=None))[-1].limit_curve is None
    with pytest.raises(InputError, match="inverse_gaussian, whose spread depends on its mean"):
        built("poisson", "inverse_gaussian", Cover(max_claims=None, limit=12.0))


@pytest.mark.parametrize("power", [1.0, 2.0, 2.5])
def test_bad_powers_are_refused(power):
    with pytest.raises(InputError, match="power"):
        PurePremiumModel(power=power)


@pytest.mark.parametrize(
    ("a", "log_x"), [(99.0, 605.0), (99.0, 900.0), (60.0, 700.0), (45.0, 690.0), (2.0, -700.0), (30.0, -900.0)]
)
def test_wrights_function_beyond_the_range_of_a_double_is_its_series(a, log_x):
    from scipy.special import gammaln, logsumexp

    k = np.arange(1.0, 400_000.0)
    exact = logsumexp(k * log_x - gammaln(k + 1.0) - gammaln(a * k))
    found = log_wright_of(a, np.array([np.exp(0.5 * log_x / a)]), np.array([np.exp(-0.5 * log_x)]))
    assert found[0] == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("size", [1e3, 1e5])
def test_large_amounts_have_a_likelihood_at_a_power_near_one(size):
    rng = np.random.default_rng(4)
    claims = np.maximum(rng.poisson(size, 400), 1)
    frame = pd.DataFrame({"zone": "near", "claims": claims, "amount": rng.gamma(5.0 * claims, 1.0)})
    book = OrderBook.from_counts(frame, claims="claims", amount="amount", factors=[Factor("zone")])
    fitted = PurePremiumModel([], power=1.01).fit(book)
    mean = fitted.predict(book)[0]
    deviation = np.sqrt(fitted.dispersion * mean**1.01)
    normal = -0.5 * ((frame["amount"] - mean) / deviation) ** 2 - np.log(deviation * np.sqrt(2.0 * np.pi))
    assert fitted.log_likelihood == pytest.approx(normal.sum(), abs=400 / np.sqrt(size))
