"""Severity seen through a limit: against the written-out likelihood and against what was cut off."""

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, special, stats

from freightrisk import Credibility, Factor, FitError, InputError, OrderBook, SeverityModel, Solver
from freightrisk.models.censored import _dispersion, _mills
from freightrisk.models.passes import Problem

ZONES = ("near", "far", "remote")


def amounts_of(n=20_000, seed=1, family="gamma", spread=0.5):
    """Claims of three zones with means 8, 12 and 18 yuan and the given dispersion."""
    rng = np.random.default_rng(seed)
    zone = rng.integers(0, 3, n)
    mean = np.array([8.0, 12.0, 18.0])[zone]
    if family == "gamma":
        amount = rng.gamma(1 / spread, mean * spread)
    else:
        amount = mean * np.exp(rng.normal(-spread / 2, np.sqrt(spread), n))
    return pd.DataFrame({"zone": np.array(ZONES)[zone], "claims": 1, "amount": amount})


def book_of(frame, limit=np.inf):
    return OrderBook.from_counts(
        frame.assign(amount=np.minimum(frame["amount"], limit)),
        claims="claims",
        amount="amount",
        factors=[Factor("zone")],
    )


@pytest.mark.parametrize("family", ["gamma", "lognormal"])
def test_equals_the_censored_likelihood_maximised_directly(family):
    frame = amounts_of(1_500, family=family)
    limit = 14.0
    book = book_of(frame, limit)
    fitted = SeverityModel(family=family).fit(book, limit=limit, solver=Solver(tolerance=1e-10))
    y, codes = np.asarray(book.claim_amount), book.codes["zone"]
    hidden = y >= limit

    def loss(parameters):
        mean, dispersion = np.exp(parameters[codes]), np.exp(parameters[3])
        if family == "gamma":
            law = stats.gamma(1 / dispersion, scale=mean * dispersion)
        else:
            law = stats.lognorm(np.sqrt(dispersion), scale=mean * np.exp(-dispersion / 2))
        return -np.where(hidden, law.logsf(y), law.logpdf(y)).sum()

    exact = {"xatol": 1e-9, "fatol": 1e-10, "maxiter": 4_000}
    best = optimize.minimize(loss, np.array([2.0, 2.5, 3.0, -0.7]), method="Nelder-Mead", options=exact)
    rates = fitted.base * np.exp(fitted.tables["zone"][:3])
    np.testing.assert_allclose(rates, np.exp(best.x[:3]), rtol=1e-5)
    assert fitted.dispersion == pytest.approx(np.exp(best.x[3]), rel=1e-5)
    assert fitted.log_likelihood == pytest.approx(-best.fun, rel=1e-8)


@pytest.mark.parametrize("family", ["gamma", "lognormal"])
@pytest.mark.parametrize("near", [None, 0.4])
def test_last_bits_of_the_means_leave_the_dispersion_where_it_is(family, near):
    amount = np.minimum(amounts_of(3_000, family=family)["amount"].to_numpy(), 14.0)
    problem, mean = Problem(family, {}, {}, amount), np.full(len(amount), 12.0)
    plain = _dispersion(problem, mean, amount == 14.0, near)
    for seed in range(5):
        moved = mean * (1.0 + 1e-15 * np.random.default_rng(seed).uniform(-1.0, 1.0, len(mean)))
        assert _dispersion(problem, moved, amount == 14.0, near) == pytest.approx(plain, rel=1e-11)


@pytest.mark.parametrize("family", ["gamma", "lognormal"])
def test_recovers_the_uncensored_mean(family):
    frame = amounts_of(40_000, family=family)
    limit = 14.0
    book = book_of(frame, limit)
    known = frame.groupby("zone")["amount"].mean()
    truth = known[[path[0] for path in book.codings["zone"].paths]].to_numpy()
    naive = SeverityModel(family=family).fit(book)
    fitted = SeverityModel(family=family).fit(book, limit=limit)
    overall = frame["amount"].mean()
    assert naive.predict(book).mean() < 0.9 * overall
    assert fitted.predict(book).mean() == pytest.approx(overall, rel=0.01)
    np.testing.assert_allclose(fitted.base * np.exp(fitted.tables["zone"][:3]), truth, rtol=0.02)


def test_a_limit_that_no_claim_reaches_changes_nothing():
    frame = amounts_of(2_000)
    book = book_of(frame)
    with_limit, without = SeverityModel().fit(book, limit=1e6), SeverityModel().fit(book)
    np.testing.assert_array_equal(with_limit.tables["zone"], without.tables["zone"])
    assert with_limit.dispersion == without.dispersion


def test_limits_may_differ_by_order():
    frame = amounts_of(30_000)
    limit = np.where(frame["zone"] == "near", 8.0, 25.0)
    fitted = SeverityModel().fit(book_of(frame, limit), limit=limit)
    assert fitted.predict(book_of(frame)).mean() == pytest.approx(frame["amount"].mean(), rel=0.01)


def test_penalties_work_with_a_limit():
    frame = amounts_of(50_000)
    fitted = SeverityModel([Credibility("zone")]).fit(book_of(frame, 14.0), limit=14.0)
    assert fitted.predict(book_of(frame)).mean() == pytest.approx(frame["amount"].mean(), rel=0.02)
    assert fitted.dispersion == pytest.approx(0.5, rel=0.03)


def test_errors_are_wider_than_without_a_limit_and_hold_the_truth():
    # Score statistics over 25 books: the 95 % interval of far over near holds the truth in most.
    held = 0
    for seed in range(25):
        book = book_of(amounts_of(1_000, seed=seed), 14.0)
        fitted = SeverityModel().fit(book, limit=14.0, solver=Solver(threads=1))
        coding = book.codings["zone"]
        codes = {path[0]: k for k, path in enumerate(coding.paths)}
        reference = coding.paths[fitted.references["zone"]][0]
        means = {"near": 8.0, "far": 12.0, "remote": 18.0}
        other = next(zone for zone in ZONES if zone != reference)
        gap = fitted.tables["zone"][codes[other]] - np.log(means[other] / means[reference])
        held += abs(gap) < 1.96 * fitted.std_errors["zone"][codes[other]]
    assert held >= 21


def test_far_limits_do_not_underflow():
    from freightrisk.models.censored import _gamma_hazard

    x = np.array([50.0, 700.0, 900.0, 1e5])
    known = np.array([float(special.gammaincc(2.5, 50.0))])
    assert _gamma_hazard(2.5, x)[0] == pytest.approx(stats.gamma.pdf(50.0, 2.5) * 50.0 / known[0], rel=1e-10)
    assert np.all(_gamma_hazard(2.5, x) > x - 2.5)
    np.testing.assert_allclose(_mills(np.array([0.0, 30.0]))[0], [np.sqrt(2 / np.pi), 30.0333], rtol=1e-5)


def test_bad_calls_are_refused():
    frame = amounts_of(300)
    book = book_of(frame, 14.0)
    with pytest.raises(InputError, match=r"amounts are above their limit in .* of the book's claims"):
        SeverityModel().fit(book, limit=10.0)
    with pytest.raises(InputError, match="statsmodels' has no censored fit"):
        SeverityModel().fit(book, limit=1e6, solver=Solver(engine="statsmodels"))
    with pytest.raises(FitError, match="family 'inverse_gaussian' has no"):
        SeverityModel(family="inverse_gaussian").fit(book, limit=1e6)
    with pytest.raises(FitError, match="family 'inverse_gaussian' has no censored likelihood here"):
        SeverityModel(family="inverse_gaussian").fit(book, limit=14.0)
    with pytest.raises(InputError, match="statsmodels' has no censored fit"):
        SeverityModel().fit(book, limit=14.0, solver=Solver(engine="statsmodels"))
    many = OrderBook.from_counts(frame.assign(claims=2), claims="claims", amount="amount", factors=[Factor("zone")])
    with pytest.raises(InputError, match="means of several"):
        SeverityModel().fit(many, limit=1e3)


# Limits that say nothing, or nothing but


@pytest.mark.parametrize("family", ["gamma", "lognormal"])
@pytest.mark.parametrize("effects", [["zone"], [Credibility("zone", variance=0.3)]])
@pytest.mark.parametrize("spread", [0.5, 1e-3])
def test_a_limit_far_below_the_mean_says_nothing(family, effects, spread):
    frame = amounts_of(300, seed=4, family=family, spread=spread)
    limits = np.full(len(frame), 18.0)
    tiny = frame.head(40).assign(amount=1e-6)
    both = pd.concat([frame, tiny])
    fits = []
    for rows, most in ((frame, limits), (both, np.append(limits, np.full(40, 1e-6)))):
        book = OrderBook.from_counts(
            rows.assign(amount=np.minimum(rows["amount"], most)), claims="claims", amount="amount",
            factors=[Factor("zone")],
        )  # fmt: skip
        fits.append(SeverityModel(effects, family=family).fit(book, limit=most))
    one, other = fits
    assert other.dispersion == pytest.approx(one.dispersion, rel=1e-6)
    first, second = (fitted.predict(frame.head(30), std_errors=True) for fitted in fits)
    pd.testing.assert_frame_equal(first, second, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("family", ["gamma", "lognormal"])
def test_amounts_that_are_all_at_their_limit_are_refused(family):
    frame = amounts_of(60, family=family)
    with pytest.raises(FitError, match="all 60 amounts are at their limit, so that no amount shows"):
        SeverityModel(family=family).fit(book_of(frame, 1e-3), limit=1e-3)
    hidden = frame.assign(amount=np.where(frame["zone"] == "far", 30.0, np.minimum(frame["amount"], 29.0)))
    with pytest.raises(FitError, match=r"factor 'zone': all amounts of 1 level are at their limit \(first: 'far'\)"):
        SeverityModel(family=family).fit(book_of(hidden, 30.0), limit=30.0)
    assert np.isfinite(SeverityModel([Credibility("zone")], family=family).fit(book_of(hidden), limit=30.0).base)
    weight = (frame["amount"] >= 9.0).astype(float)  # the amounts below the limit do not count
    count = int(weight.sum())
    with pytest.raises(FitError, match=f"all {count} amounts are at their limit"):
        SeverityModel([], family=family).fit(book_of(frame, 9.0), limit=9.0, weight=weight)


def test_the_mills_ratio_keeps_its_digits():
    z = np.array([-60.0, -8.0, -1.0, 0.0, 1.0])
    mills, beyond = _mills(z)
    np.testing.assert_allclose(mills, stats.norm.pdf(z) / stats.norm.sf(z), rtol=1e-13, atol=1e-300)
    np.testing.assert_allclose(beyond, mills - z, rtol=1e-15)
    z = np.array([8.0, 60.0, 290.0, 310.0, 1e4, 1e8])
    exact = np.zeros(len(z))
    for k in range(400, 0, -1):  # Laplace's continued fraction of M - z
        exact = k / (z + exact)
    mills, beyond = _mills(z)
    np.testing.assert_allclose(mills, z + exact, rtol=1e-14)
    np.testing.assert_allclose(beyond, exact, rtol=1e-10)
