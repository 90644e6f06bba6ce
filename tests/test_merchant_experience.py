"""Merchant experience: by hand, by law and on simulated merchants."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freightrisk import Band, FrequencyModel, InputError, OrderBook, ReportLag, Smooth, merchant_experience
from freightrisk.credibility import merchant_periods


def simulated(n=3_000, variance=0.16, seed=1, score=False):
    """Merchants with expected claims over three decades and a gamma ratio to what is expected of them."""
    rng = np.random.default_rng(seed)
    expected = 10 ** rng.uniform(-0.5, 2.5, n)
    theta = rng.gamma(1 / variance, variance, n)
    prior = np.exp(rng.normal(0, 0.3, n)) if score else np.ones(n)
    claims = rng.poisson(expected * theta * prior)
    frame = pd.DataFrame({"merchant_id": np.arange(n), "claims": claims, "expected": expected, "prior": prior})
    return frame, theta * prior


def test_z_by_hand():
    # k = 1 / 0.25 = 4 expected claims; O / E = 2 at E = 12, so Z = 0.75; the balance is kept at 1 by the other.
    periods = pd.DataFrame({"merchant_id": ["m", "n"], "claims": [24, 4], "expected": [12.0, 16.0]})
    rated = merchant_experience(periods, variance=0.25)
    assert rated.groups["balance"].tolist() == [1.0]
    np.testing.assert_allclose(rated.merchants["credibility_z"], [0.75, 0.8])
    np.testing.assert_allclose(rated.merchants["experience_mod"], [0.75 * 2 + 0.25, 0.8 * 0.25 + 0.2])
    assert rated.groups["expected_claims_for_half"].tolist() == [4.0]


def test_posterior_is_z_times_ratio_plus_the_rest_of_the_prior():
    frame, _ = simulated(score=True)
    rated = merchant_experience(frame, prior="prior", max_change=None).merchants
    balance = frame["claims"].sum() / (frame["expected"] * frame["prior"]).sum()
    known = (
        rated["credibility_z"] * frame["claims"] / (frame["expected"] * balance)
        + (1 - rated["credibility_z"]) * frame["prior"]
    )
    np.testing.assert_allclose(rated["experience_mod"], known, rtol=1e-12)


def test_variance_is_recovered():
    for variance in (0.04, 0.16, 0.5):
        found = [
            merchant_experience(simulated(variance=variance, seed=seed)[0]).groups["variance"].iloc[0]
            for seed in range(8)
        ]
        assert np.mean(found) == pytest.approx(variance, rel=0.08)


def test_no_variance_where_merchants_are_alike():
    rng = np.random.default_rng(2)
    expected = rng.uniform(5, 50, 4_000)
    found = [
        merchant_experience(
            pd.DataFrame({"merchant_id": range(4_000), "claims": rng.poisson(expected), "expected": expected})
        )
        for _ in range(4)
    ]
    assert max(rated.groups["variance"].iloc[0] for rated in found) < 1e-3
    assert max(abs(rated.merchants["experience_mod"] - 1).max() for rated in found) < 0.1


def test_mods_beat_own_ratio_and_one():
    frame, truth = simulated(10_000)
    rated = merchant_experience(frame, max_change=None).merchants
    error = ((rated["experience_mod"] - truth) ** 2).mean()
    own = ((frame["claims"] / frame["expected"] - truth) ** 2).mean()
    assert error < 0.7 * min(own, ((1 - truth) ** 2).mean())


def test_the_score_fades_for_large_merchants_and_helps_small_ones():
    frame, truth = simulated(10_000, score=True)
    with_score = merchant_experience(frame, prior="prior", max_change=None).merchants["experience_mod"]
    without = merchant_experience(frame, max_change=None).merchants["experience_mod"]
    small, large = frame["expected"] < 2, frame["expected"] > 100
    gain = (without - truth) ** 2 - (with_score - truth) ** 2
    assert gain[small].mean() > 5 * gain[large].mean() > 0


@given(claims=st.integers(0, 40), expected=st.floats(0.1, 50.0), more=st.floats(1.5, 20.0))
def test_more_experience_moves_toward_own_ratio(claims, expected, more):
    periods = pd.DataFrame({"merchant_id": ["m"], "claims": [claims], "expected": [expected]})
    rest = pd.DataFrame({"merchant_id": ["rest"], "claims": [10_000], "expected": [10_000.0]})
    one, many = (
        merchant_experience(
            pd.concat([periods.assign(claims=claims * times, expected=expected * times), rest]), variance=0.2
        ).merchants.loc["m"]
        for times in (1, more)
    )
    assert many["credibility_z"] > one["credibility_z"]
    assert 0 <= one["credibility_z"] < 1


def test_a_merchant_without_history_has_its_prior():
    frame, _ = simulated(200, score=True)
    new = pd.DataFrame({"merchant_id": [10**6], "claims": [0], "expected": [0.0], "prior": [1.3]})
    row = merchant_experience(pd.concat([frame, new]), prior="prior").merchants.loc[10**6]
    assert (row["credibility_z"], row["experience_mod"]) == (0.0, 1.3)


def test_owners_are_one_unit():
    frame, _ = simulated(400)
    frame["owner"] = np.where(frame["merchant_id"] < 5, "holding", None)
    rated = merchant_experience(frame, owner="owner", variance=0.2).merchants
    assert rated["unit"].iloc[0] == "holding"
    assert rated["experience_mod"].iloc[:5].nunique() == 1
    joined = frame.assign(merchant_id=frame["merchant_id"].where(frame["merchant_id"] >= 5, 0))
    alone = merchant_experience(joined, variance=0.2).merchants
    assert rated["experience_mod"].iloc[0] == pytest.approx(alone["experience_mod"].loc[0], rel=1e-12)


def test_recency_weights():
    frame, _ = simulated(300)
    twice = pd.concat([frame.assign(age_days=0.0), frame.assign(age_days=360.0, claims=0)])
    faded = merchant_experience(twice, age_days="age_days", half_life_days=1.0, variance=0.2).merchants
    fresh = merchant_experience(frame, variance=0.2).merchants
    np.testing.assert_allclose(faded["experience_mod"], fresh["experience_mod"], rtol=1e-9)
    again = pd.concat([frame.assign(age_days=0.0), frame.assign(age_days=360.0)])
    equal = merchant_experience(again, age_days="age_days", half_life_days=1e5, variance=0.2).merchants
    assert (equal["credibility_z"] > fresh["credibility_z"]).all()
    # At the half-life experience counts as half of it: Z = m / (m + 5) with half the expected claims.
    aged = merchant_experience(
        frame.assign(age_days=np.where(frame["merchant_id"] % 2, 90.0, 0.0)),
        age_days="age_days", half_life_days=90.0, variance=0.2,
    ).merchants  # fmt: skip
    weight = np.where(frame["merchant_id"] % 2, 0.5, 1.0)
    balance = (weight * frame["claims"]).sum() / (weight * frame["expected"]).sum()
    counted = weight * frame["expected"].to_numpy() * balance
    np.testing.assert_allclose(aged["credibility_z"], counted / (counted + 5.0), rtol=1e-12)


def test_fraud_and_reversals_do_not_count():
    frame, _ = simulated(300)
    noisy = frame.assign(claims=frame["claims"] + 3, fraud=1, appealed=2)
    clean = merchant_experience(frame, variance=0.2).merchants
    adjusted = merchant_experience(noisy, without_claims=["fraud", "appealed"], variance=0.2).merchants
    np.testing.assert_allclose(adjusted["experience_mod"], clean["experience_mod"], rtol=1e-12)
    less = frame.assign(expected=frame["expected"] + 1.0, of_fraud=1.0)
    out = merchant_experience(less, without_expected="of_fraud", variance=0.2).merchants
    np.testing.assert_allclose(out["experience_mod"], clean["experience_mod"], rtol=1e-9)


def test_the_change_is_capped():
    frame, _ = simulated(500)
    rated = merchant_experience(frame.assign(before=1.0), previous="before", max_change=0.1).merchants
    assert rated["experience_mod"].between(0.9 - 1e-12, 1.1 + 1e-12).all()
    assert set(rated["capped"]) == {True, False}
    free = merchant_experience(frame.assign(before=1.0), previous="before", max_change=None).merchants
    assert not free["capped"].any()


def test_groups_have_their_own_variance():
    calm, _ = simulated(2_000, variance=0.02, seed=3)
    wild, _ = simulated(2_000, variance=0.6, seed=4)
    few, _ = simulated(10, variance=0.2, seed=5)
    frame = pd.concat(
        [calm.assign(kind="calm"), wild.assign(kind="wild", merchant_id=wild["merchant_id"] + 10_000),
         few.assign(kind="few", merchant_id=few["merchant_id"] + 50_000)]
    )  # fmt: skip
    groups = merchant_experience(frame, group="kind").groups
    assert groups.loc["wild", "variance"] > 10 * groups.loc["calm", "variance"]
    assert groups["pooled"].to_dict() == {"calm": False, "few": True, "wild": False}
    pooled = merchant_experience(frame, group="kind", min_units=10**6).groups["variance"].iloc[0]
    assert groups.loc["few", "variance"] == pytest.approx(pooled)


def test_periods_come_from_a_book_and_a_model():
    rng = np.random.default_rng(7)
    n = 40_000
    as_of = np.datetime64("2026-06-30")
    merchant = rng.integers(0, 50, n)
    score = rng.uniform(3, 5, 50)[merchant]
    ship = as_of - rng.integers(0, 180, n).astype("timedelta64[D]")
    orders = pd.DataFrame({"order_id": np.arange(n), "score": score, "ship_date": ship})
    hit = np.flatnonzero(rng.uniform(size=n) < 0.3 * np.exp(-0.3 * (score - 4)))
    lag = rng.gamma(2.5, 4.0, len(hit)).astype("timedelta64[D]")
    claims = pd.DataFrame({"order_id": hit, "freight": 8.0, "report_date": ship[hit] + lag})
    book = OrderBook.from_frames(orders, claims, factors=[Band("score", [3.5, 4.0, 4.5])], as_of=as_of)
    curve = ReportLag.fit(book)
    fitted = FrequencyModel([Smooth("score", monotone="decreasing")]).fit(book, offset=curve.offset(book))
    periods = merchant_periods(book, fitted, merchant, lag=curve)
    assert periods["claims"].sum() == book.n_claims
    assert periods["orders"].sum() == book.n_orders
    assert periods["expected"].sum() == pytest.approx(book.n_claims, rel=1e-6)
    no_score = merchant_periods(book, fitted, merchant, without=["score"], lag=curve)
    assert no_score["expected"].sum() == pytest.approx((fitted.base * np.exp(curve.offset(book))).sum(), rel=1e-9)
    newest = periods[periods["age_days"] == 15.0]
    assert newest["expected"].sum() / newest["orders"].sum() < 0.9 * periods["expected"].sum() / n
    with pytest.raises(InputError, match="has no factor 'zone'"):
        merchant_periods(book, fitted, merchant, without=["zone"])
    with pytest.raises(InputError, match="give one value for each"):
        merchant_periods(book, fitted, merchant[:5])


BAD = [
    ({}, {"claims": "paid"}, "paid"),
    ({"claims": [-1, 2]}, {}, "'claims' is negative in 1 row"),
    ({"fraud": [9, 0]}, {"without_claims": ["fraud"]}, "exceed 'claims' in 1 row"),
    ({"merchant_id": [None, "b"]}, {}, "'merchant_id' is missing in 1 row"),
    ({"prior": [0.0, 1.0]}, {"prior": "prior"}, "the prior of a merchant is zero"),
    ({"age": [0.0, 1.0]}, {"age_days": "age"}, "go together"),
    ({}, {"max_change": -0.1}, "max_change"),
]


@pytest.mark.parametrize(("columns", "options", "message"), BAD)
def test_bad_calls_are_refused(columns, options, message):
    frame = pd.DataFrame({"merchant_id": ["a", "b"], "claims": [3, 2], "expected": [2.0, 3.0]}).assign(**columns)
    with pytest.raises(InputError, match=message):
        merchant_experience(frame, **options)
