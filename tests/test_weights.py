"""Prior weights: rows of weight 0 change nothing, and the scale of weights changes no prediction."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freightrisk import (
    Band,
    Credibility,
    Factor,
    FitError,
    FrequencyModel,
    Hierarchy,
    InputError,
    Interaction,
    OrderBook,
    PurePremiumModel,
    SeverityModel,
    Smooth,
    Solver,
    cross_validate,
)

# Books with wild amounts have a large off-balance factor, and small books have thin leaves.
pytestmark = pytest.mark.filterwarnings("ignore::freightrisk.FreightRiskWarning")

COUNTS = ("poisson", "negative_binomial", "bernoulli", "binomial", "beta_binomial")
AMOUNTS = ("gamma", "lognormal", "inverse_gaussian")
EVERY = (*COUNTS, *AMOUNTS, "tweedie")
TIGHT = Solver(tolerance=1e-11, max_iterations=300)
EFFECTS = {
    "free": ["channel", "zone"],
    "credibility": ["channel", Credibility("merchant")],
    "hierarchy": ["channel", Credibility("category", variance=(0.1, 0.05))],
    "smooth": ["channel", Smooth("score")],
    "interaction": ["channel", "zone", Interaction("channel", "zone", variance=0.1)],
}


def orders_of(seed, n=400):
    """Orders with a weight, and a claim of any family in many of them."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({
        "channel": rng.choice(["live", "shelf", "video"], n), "zone": rng.choice(["far", "near"], n),
        "merchant": rng.integers(0, 8, n), "score": rng.uniform(0.0, 8.0, n), "insured": rng.uniform(0.5, 2.0, n),
        "lines": rng.integers(1, 5, n), "weight": rng.integers(1, 4, n).astype(float),
        "offset": rng.normal(0.0, 0.2, n),
    })  # fmt: skip
    frame["group"] = frame["merchant"] % 3
    rate = 0.4 * np.exp(0.4 * (frame["channel"] == "live") + 0.1 * (frame["merchant"] - 4))
    frame["claims"] = rng.poisson(rate)
    frame["any"] = rng.binomial(1, np.minimum(rate, 0.8))
    frame["back"] = rng.binomial(frame["lines"], np.minimum(rate, 0.8) * rng.beta(3.0, 3.0, n))
    frame["amount"] = np.where(frame["claims"] > 0, rng.gamma(3.0, 4.0, n) * rate, 0.0)
    return frame


def with_rows_of_weight_zero(frame, seed, n=60):
    """The same orders with others of weight 0 among them: wild amounts, levels of their own, claims in every order."""
    rng = np.random.default_rng(seed)
    others = frame.sample(n, replace=True, random_state=seed).assign(
        weight=0.0, insured=10.0 ** rng.uniform(-6.0, 6.0, n), offset=rng.uniform(-150.0, 150.0, n)
    )
    others["claims"] = rng.integers(0, 60_000, n)
    others["amount"] = np.where(others["claims"] > 0, 10.0 ** rng.uniform(-9.0, 12.0, n), 0.0)
    others["any"], others["back"] = rng.integers(0, 9, n), rng.integers(0, 9, n)
    others.loc[others.index[: n // 3], ["channel", "merchant", "group"]] = ["nowhere", 99, 9]
    both = pd.concat([frame, others])
    return both.iloc[np.argsort(np.concatenate([np.arange(len(frame)), rng.uniform(0, len(frame), n)]))]


def fitted_of(family, frame, effects, **options):
    """Return the fit of a family to orders with their weights and offsets, and its book."""
    response = {"bernoulli": "any", "binomial": "back", "beta_binomial": "back"}.get(family, "claims")
    factors = [Factor("channel"), Factor("zone"), Factor("merchant", unseen="parent"), Band("score", [2, 4, 6]),
               Hierarchy("category", ["group", "merchant"], unseen="parent")]  # fmt: skip
    columns = {"lines": "lines"} if family in ("binomial", "beta_binomial") else {}
    columns |= {} if family in COUNTS else {"amount": "amount"}
    book = OrderBook.from_counts(frame, claims=response, exposure="insured", factors=factors, **columns)
    model = (
        PurePremiumModel(effects) if family == "tweedie"
        else SeverityModel(effects, family=family) if family in AMOUNTS else FrequencyModel(effects, family=family)
    )  # fmt: skip
    rows = frame.iloc[book.claim_row] if family in AMOUNTS else frame
    given = {"weight": rows["weight"], "offset": rows["offset"]} | options
    return model.fit(book, solver=TIGHT, **given), book


def by_level(fitted):
    """Return what is reported of the levels that fitted rows have."""
    table = fitted.relativities
    return table[table["exposure"] > 0].set_index(["factor", "level"]).sort_index()


def assert_same(one, other, frame, *, rel=1e-7):
    """Assert that two fits report the same, beside levels that no fitted row has."""
    for name in ("n_rows", "df_residual", "deviance", "null_deviance", "log_likelihood", "dispersion", "base",
                 "intercept_std_error", "off_balance", "family_parameter", "aic", "bic"):  # fmt: skip
        assert getattr(other, name) == pytest.approx(getattr(one, name), rel=rel, nan_ok=True), name
    for name in ("exposure", "claims", "null_base", "likelihood_dispersion"):
        assert getattr(other.statistics, name) == pytest.approx(getattr(one.statistics, name), rel=rel), name
    pd.testing.assert_frame_equal(by_level(one), by_level(other), rtol=rel, atol=1e-8)
    for name in one.nodes:
        pd.testing.assert_frame_equal(one.credibility(name), other.credibility(name), rtol=rel, atol=1e-8)
    assert {name: pytest.approx(found, rel=1e-4) for name, found in one.variances.items()} == other.variances
    exposure = {} if one.kind == "severity" else {"exposure": "insured"}
    first, second = (fit.predict(frame, std_errors=True, **exposure) for fit in (one, other))
    pd.testing.assert_frame_equal(first, second, rtol=rel, atol=1e-9)


# Rows of weight 0


@pytest.mark.parametrize("family", EVERY)
@pytest.mark.parametrize("effects", EFFECTS)
@settings(max_examples=3, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**16))
def test_rows_of_weight_zero_change_nothing(family, effects, seed):
    frame = orders_of(seed)
    more = with_rows_of_weight_zero(frame, seed + 1)
    one, _ = fitted_of(family, frame, EFFECTS[effects])
    other, book = fitted_of(family, more, EFFECTS[effects])
    assert_same(one, other, frame)
    rows = more.iloc[book.claim_row] if family in AMOUNTS else more
    found = other.evaluate(book, weight=rows["weight"], offset=rows["offset"])
    assert found.rows == one.n_rows
    assert found.deviance == pytest.approx(one.deviance, rel=1e-8, nan_ok=True)
    assert found.log_likelihood == pytest.approx(one.log_likelihood, rel=1e-8)


@pytest.mark.parametrize("family", ["poisson", "binomial", "lognormal"])
def test_rows_of_weight_zero_have_no_cluster(family):
    frame = orders_of(5)
    more = with_rows_of_weight_zero(frame, 6)
    fits = []
    for rows in (frame, more):
        of_claims = rows[rows["claims"] > 0] if family in AMOUNTS else rows
        plain, _ = fitted_of(family, rows, ["channel"])
        assert len(of_claims) >= plain.n_rows
        fits.append(fitted_of(family, rows, ["channel"], cluster=rows["merchant"])[0])
    assert fits[0].statistics.n_clusters == fits[1].statistics.n_clusters == 8
    assert_same(*fits, frame)


def test_a_level_of_rows_of_weight_zero_is_a_level_without_rows():
    frame = orders_of(7)
    more = with_rows_of_weight_zero(frame, 8)
    fitted, _ = fitted_of("poisson", more, ["channel", Credibility("merchant")])
    ghosts = fitted.relativities.set_index("level").loc[["nowhere", "99"]]
    assert (ghosts["exposure"] == 0).all()
    assert (ghosts["claims"] == 0).all()
    assert np.isinf(ghosts["std_error"]).all()
    merchants = fitted.predict(frame.head(1).assign(merchant=[99]), exposure=1.0)
    unseen = fitted.predict(frame.head(1).assign(merchant=[12345]), exposure=1.0)
    assert merchants["claim_intensity"].tolist() == pytest.approx(unseen["claim_intensity"].tolist(), rel=1e-12)


def refusal(family, frame, weight):
    book = OrderBook.from_counts(frame, claims="claims", factors=[Factor("channel")],
                                 **({"lines": "lines"} if family == "binomial" else {}))  # fmt: skip
    with pytest.raises(FitError) as found:
        FrequencyModel(family=family).fit(book, weight=weight)
    return str(found.value)


@pytest.mark.parametrize("family", ["poisson", "bernoulli", "binomial"])
@pytest.mark.parametrize(
    ("claims", "words"),
    [([0, 0, 1, 0, 1], "level has exposure but no claim"), ([1, 1, 1, 0, 0], "level has a claim in every order"),
     ([0, 0, 0, 0, 0], "no claims in 5 rows"), ([1, 1, 1, 1, 1], "a claim in every order of the 5")],
)  # fmt: skip
def test_refusals_see_rows_with_a_weight_alone(family, claims, words):
    if family == "poisson" and "every order" in words:
        return
    frame = pd.DataFrame({"channel": ["live", "live", "shelf", "shelf", "shelf"], "claims": claims, "lines": 1})
    others = frame.assign(claims=1 - frame["claims"])
    more = pd.concat([frame, others])
    message = refusal(family, frame, np.ones(5))
    assert words in message
    assert refusal(family, more, np.repeat([1.0, 0.0], 5)) == message


def test_cross_validation_takes_rows_of_weight_zero():
    frame = orders_of(9)
    more = with_rows_of_weight_zero(frame, 10)
    tables = []
    for rows in (frame, more):
        _, book = fitted_of("lognormal", rows, ["channel"])
        weight = rows["weight"].to_numpy()[book.claim_row]
        model = SeverityModel(["channel", Credibility("merchant")], family="lognormal")
        tables.append(cross_validate(model, book, by=rows["zone"].to_numpy(), weight=weight))
    pd.testing.assert_frame_equal(*tables, rtol=1e-6)


def test_a_book_without_any_weight_is_refused():
    _, book = fitted_of("poisson", orders_of(1), [])
    with pytest.raises(InputError, match="weight is zero in every row"):
        FrequencyModel([]).fit(book, weight=np.zeros(book.n_orders))


# The scale of weights, and weights as repetitions


def claims_of(seed, n=300):
    """Amounts of claims, or means of several of them."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"zone": rng.choice(["far", "near"], n), "merchant": rng.integers(0, 8, n), "claims": 1})
    frame["amount"] = rng.lognormal(2.0, 0.7, n) * np.where(frame["zone"] == "far", 1.6, 1.0)
    return frame


def severity_of(family, frame, effects=("zone",), **options):
    book = OrderBook.from_counts(
        frame, claims="claims", amount="amount", factors=[Factor("zone"), Factor("merchant", unseen="parent")]
    )
    return SeverityModel(list(effects), family=family).fit(book, solver=TIGHT, **options), book


@pytest.mark.parametrize("family", AMOUNTS)
@settings(max_examples=5)
@given(seed=st.integers(0, 2**16), scale=st.sampled_from([1e-6, 0.5, 1e3, 1e9]), shrunk=st.booleans())
def test_the_scale_of_weights_moves_the_dispersion_alone(family, seed, scale, shrunk):
    frame = claims_of(seed)
    weight = np.random.default_rng(seed).integers(1, 6, len(frame)).astype(float)
    effects = ["zone", Credibility("merchant", variance=0.02)] if shrunk else ["zone", "merchant"]
    one, book = severity_of(family, frame, effects, weight=weight)
    other, _ = severity_of(family, frame, effects, weight=scale * weight)
    assert other.dispersion == pytest.approx(scale * one.dispersion, rel=1e-6)
    for name in ("base", "off_balance", "intercept_std_error"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-6), name
    np.testing.assert_allclose(other.relativities["std_error"], one.relativities["std_error"], rtol=1e-5)
    np.testing.assert_allclose(other.predict(book), one.predict(book), rtol=1e-7)
    for fitted, given_weight in ((one, weight), (other, scale * weight)):
        found = fitted.evaluate(book, weight=given_weight)
        assert found.deviance == pytest.approx(fitted.deviance, rel=1e-9)
        assert found.log_likelihood == pytest.approx(fitted.log_likelihood, rel=1e-9)
        assert found.ratio == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize("family", AMOUNTS)
@settings(max_examples=5)
@given(seed=st.integers(0, 2**16), most=st.sampled_from([3, 1_000]))
def test_a_weight_predicts_like_as_many_equal_claims(family, seed, most):
    frame = claims_of(seed, 80)
    times = np.random.default_rng(seed).integers(1, most + 1, len(frame))
    weighted, book = severity_of(family, frame, weight=times)
    repeated, _ = severity_of(family, frame.loc[frame.index.repeat(times)])
    assert weighted.deviance == pytest.approx(repeated.deviance, rel=1e-8)
    np.testing.assert_allclose(weighted.tables["zone"], repeated.tables["zone"], rtol=0, atol=1e-8)
    np.testing.assert_allclose(weighted.predict(book), repeated.predict(book), rtol=1e-8)
    # Both bases are the mean of the rows. They differ by the degrees of freedom of the dispersion: 2 of 80 rows.
    assert weighted.base == pytest.approx(repeated.base, rel=0.03)
    assert weighted.off_balance == pytest.approx(repeated.off_balance, rel=0.03)


def test_lognormal_means_of_many_claims_need_no_large_balance():
    rng = np.random.default_rng(3)
    claims = pd.DataFrame(
        {"zone": rng.choice(["far", "near"], 40_000), "claims": 1, "cell": rng.integers(0, 1_500, 40_000)}
    )
    claims["amount"] = rng.lognormal(2.0, 0.6, 40_000) * np.where(claims["zone"] == "far", 1.6, 1.0)
    cells = claims.groupby(["zone", "cell"], as_index=False)[["claims", "amount"]].sum()
    singles, means = (severity_of("lognormal", rows.assign(merchant=1))[0] for rows in (claims, cells))
    assert means.off_balance == pytest.approx(1.0, abs=0.005)  # 0.82 with the lift of single claims
    assert means.base == pytest.approx(singles.base, rel=0.01)
    assert means.dispersion == pytest.approx(
        np.expm1(0.36), rel=0.06
    )  # the squared coefficient of variation of a claim


def test_weights_of_a_lognormal_behind_a_limit_repeat_rows():
    frame = claims_of(2)
    frame["amount"] = frame["amount"].clip(upper=12.0)
    times = np.random.default_rng(2).integers(1, 4, len(frame))
    weighted, book = severity_of("lognormal", frame, weight=times, limit=12.0)
    repeated, _ = severity_of("lognormal", frame.loc[frame.index.repeat(times)], limit=12.0)
    assert weighted.base == pytest.approx(repeated.base, rel=1e-7)
    assert weighted.dispersion == pytest.approx(repeated.dispersion, rel=1e-7)
    assert weighted.evaluate(book, weight=times).expected == pytest.approx(
        (times * weighted.predict(book)).sum(), rel=1e-9
    )
