"""Expected responses of every family add up to the observed ones, by one factor that tariffs price with."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from benchmarks.arrival import FAMILIES, outlier_book
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freightrisk import (
    Cover,
    Credibility,
    Factor,
    FreightRiskError,
    FreightRiskWarning,
    FrequencyModel,
    OrderBook,
    SeverityModel,
    Tariff,
    load_model,
)
from freightrisk.errors import FitError


@pytest.mark.filterwarnings("ignore::freightrisk.FreightRiskWarning")
@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=5, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(20_000, 30_000))
def test_expected_responses_add_up_to_the_observed_ones(family, seed):
    try:
        world = outlier_book(seed, family)
        fitted = world.fit()
    except FreightRiskError:
        return
    book, expected = world.book, fitted.predict(world.book)
    if fitted.kind == "frequency":
        assert expected.sum() == pytest.approx(book.n_claims, rel=1e-7 if family == "poisson" else 1e-10)
    elif fitted.kind == "severity":
        assert expected[book.claim_row].sum() == pytest.approx(book.claim_amount.sum(), rel=1e-10)
    else:
        assert expected.sum() == pytest.approx((book.claim_amount * book.claim_weight).sum(), rel=1e-10)
    if family == "poisson":
        assert fitted.off_balance == 1.0


def thin_users(n_users=2_000, per=2, deviation=0.8, seed=1):
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(n_users), per)
    intensity = 0.6 * np.exp(rng.normal(0.0, deviation, n_users))[user]
    claims = (rng.uniform(size=len(user)) < -np.expm1(-intensity)).astype(int)
    return OrderBook.from_counts(pd.DataFrame({"user": user, "claims": claims}), claims="claims",
                                 factors=[Factor("user")]), intensity  # fmt: skip


def test_thin_leaves_of_one_claim_orders_are_in_balance():
    book, intensity = thin_users()
    fitted = FrequencyModel([Credibility("user")], family="bernoulli").fit(book)
    without = replace(fitted, off_balance=1.0).predict(book).sum()
    assert without > 1.02 * book.n_claims  # what the likelihood alone expects
    assert fitted.predict(book).sum() == pytest.approx(book.n_claims, rel=1e-12)
    assert fitted.off_balance < 0.98
    # The balanced total is close to the truth, which the book varies around by chance.
    assert fitted.predict(book).sum() == pytest.approx(-np.expm1(-intensity).sum(), rel=0.03)


def test_the_factor_enters_the_tariff_and_the_document(tmp_path):
    book, _ = thin_users(400)
    frequency = FrequencyModel([Credibility("user")], family="bernoulli").fit(book)
    claims = pd.DataFrame({"user": np.arange(400), "n": 1, "amount": np.random.default_rng(2).gamma(3.0, 4.0, 400)})
    amounts = OrderBook.from_counts(claims, claims="n", amount="amount", factors=[book.codings["user"]])
    severity = SeverityModel([Credibility("user")], family="lognormal").fit(amounts)
    tariff = Tariff.build(frequency, severity, cover=Cover(max_claims=1))
    assert tariff.frequency.base == pytest.approx(frequency.base * frequency.off_balance, rel=1e-15)
    orders = pd.DataFrame({"user": np.arange(400)})
    priced = tariff.price(orders)
    np.testing.assert_allclose(priced["claim_intensity"], frequency.predict(orders)["claim_intensity"], rtol=1e-12)
    np.testing.assert_allclose(priced["expected_payout"], severity.predict(orders)["expected_freight"], rtol=1e-12)
    assert f"off-balance {frequency.off_balance:.6g}" in repr(frequency)
    frequency.save(tmp_path / "frequency.json")
    assert load_model(tmp_path / "frequency.json").off_balance == frequency.off_balance


@pytest.mark.parametrize(("per", "thin"), [(2, True), (30, False)])
def test_variances_from_thin_leaves_are_flagged_because_they_are_too_small(per, thin):
    found = []
    for seed in range(4):
        book, _ = thin_users(4_000 // per, per, seed=seed)
        fitted = FrequencyModel([Credibility("user")], family="bernoulli").fit(book)
        assert (fitted.thin == ("user",)) == thin == ("from thin leaves, too small: user" in repr(fitted))
        found.append(fitted.variances["user"][0] / 0.64)
    # docs/method.md, Thin leaves, has the figures
    assert (0.25 < np.mean(found) < 0.55) if thin else (0.8 < np.mean(found) < 1.1)
    given = FrequencyModel([Credibility("user", variance=0.64)], family="bernoulli").fit(book)
    assert given.thin == ()


def test_weights_and_offsets_count():
    book, _ = thin_users(300)
    rng = np.random.default_rng(3)
    weight, offset = rng.uniform(0.0, 2.0, book.n_orders), rng.normal(0.0, 0.3, book.n_orders)
    fitted = FrequencyModel([], family="bernoulli").fit(book, weight=weight, offset=offset)
    expected = fitted.expected_claims(book, offset=offset)
    assert (weight * expected).sum() == pytest.approx((weight * book.claim_count).sum(), rel=1e-12)


def test_amounts_at_a_limit_have_no_factor():
    rng = np.random.default_rng(4)
    rows = pd.DataFrame({"order_id": np.arange(500), "zone": "near"})
    claims = pd.DataFrame({"order_id": np.arange(500), "freight": np.minimum(rng.gamma(2.0, 6.0, 500), 15.0)})
    book = OrderBook.from_frames(rows, claims, factors=[Factor("zone")], ship_date=None, report_date=None)
    assert SeverityModel([]).fit(book, limit=15.0).off_balance == 1.0


def test_thousands_of_thin_accounts_of_a_fashion_shop_are_in_balance(shared_data):
    lines = pd.read_parquet(shared_data / "fashion_returns" / "order_lines.parquet")
    book = OrderBook.from_counts(lines.assign(returned=lines["returned"].astype(int)), claims="returned",
                                 factors=[Factor("user_id")])  # fmt: skip
    fitted = FrequencyModel([Credibility("user_id")], family="bernoulli").fit(book)
    assert fitted.predict(book).sum() == pytest.approx(lines["returned"].sum(), rel=1e-12)
    assert abs(replace(fitted, off_balance=1.0).predict(book).sum() / lines["returned"].sum() - 1.0) > 0.01


def test_a_factor_far_from_one_is_warned_of():
    rng = np.random.default_rng(9)
    amounts = rng.lognormal(2.5, 0.5, 600)
    amounts[3] *= 10_000.0
    book = OrderBook.from_counts(pd.DataFrame({"zone": "near", "n": 1, "amount": amounts}), claims="n", amount="amount",
                                 factors=[Factor("zone")])  # fmt: skip
    with pytest.warns(FreightRiskWarning, match=r"the amounts of the fitted rows are [\d.]+ times"):
        fitted = SeverityModel([], family="lognormal").fit(book)
    assert fitted.off_balance > 5.0


@pytest.mark.parametrize("claims", [[1, 1, 1, 1, 0], [1, 1, 0, 1, 0], [0, 0, 0, 0, 1]])
@pytest.mark.parametrize("family", ["bernoulli", "binomial"])
@pytest.mark.filterwarnings("ignore:the claims of the fitted rows")
def test_exposures_of_a_day_and_of_a_year_have_a_factor(claims, family):
    # A Newton step from the likelihood's total would leave the range of a double here.
    rows = pd.DataFrame({"zone": "near", "exposure": [1.0, 1.0, 1.0, 365.0, 365.0], "claims": claims, "lines": 2})
    lines = {"lines": "lines"} if family == "binomial" else {}
    book = OrderBook.from_counts(rows, claims="claims", exposure="exposure", factors=[Factor("zone")], **lines)
    fitted = FrequencyModel([], family=family).fit(book)
    assert fitted.predict(book).sum() == pytest.approx(sum(claims), rel=1e-10)


def test_a_mean_that_is_not_finite_is_refused():
    rows = pd.DataFrame({"zone": ["near"], "n": [1], "amount": [5.0]})
    book = OrderBook.from_counts(rows, claims="n", amount="amount", factors=[Factor("zone")])
    with pytest.raises(FitError, match=r"the lognormal fit has no finite mean: .* too few rows for the levels"):
        SeverityModel([], family="lognormal").fit(book)


def test_claims_of_weight_zero_are_no_claims():
    book = OrderBook.from_counts(
        pd.DataFrame({"zone": ["near"] * 3, "n": [1, 0, 0]}), claims="n", factors=[Factor("zone")]
    )
    with pytest.raises(FitError, match="there are no claims in 2 rows"):
        FrequencyModel([]).fit(book, weight=[0.0, 1.0, 1.0])
