"""Merchant experience: by hand, by law and on simulated merchants."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freightrisk import (
    Band,
    Credibility,
    Factor,
    FrequencyModel,
    InputError,
    OrderBook,
    ReportLag,
    Smooth,
    merchant_experience,
)
from freightrisk.credibility import merchant_periods
from freightrisk.errors import FreightRiskWarning


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


@settings(max_examples=10)
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


# At most one claim an order


def at_most_once(rng, n_units, *, q, variance, orders=(2, 50), spread=0.2):
    """Orders that claim at most once: their unit, claims, expected claims and squares; q varies within a unit.

    The ratio to the mean is a beta variable from 0 to the reciprocal of the largest q.
    """
    top = 1.0 / (q * (1.0 + spread))
    size = (top - 1.0) / variance - 1.0
    theta = top * rng.beta(size / top, size * (1.0 - 1.0 / top), n_units)
    unit = np.repeat(np.arange(n_units), rng.integers(orders[0], orders[1] + 1, n_units))
    chance = q * rng.uniform(1.0 - spread, 1.0 + spread, len(unit))
    claims = rng.uniform(size=len(unit)) < chance * theta[unit]
    frame = pd.DataFrame({"merchant_id": unit, "claims": claims.astype(int), "expected": chance, "squared": chance**2})
    return frame, theta


def between(frame, **options):
    return merchant_experience(frame, **options).groups["variance"].iloc[0]


# DOMAIN, section 3.7: claim rate, coefficient of variation, k in orders, Z at 100, 1,000 and 10,000 orders.
BUHLMANN_K = [
    (0.005, 0.3, 2210, (0.04, 0.31, 0.82)), (0.005, 0.5, 795, (0.11, 0.56, 0.93)),
    (0.02, 0.3, 543, (0.16, 0.65, 0.95)), (0.02, 0.5, 195, (0.34, 0.84, 0.98)),
    (0.05, 0.3, 210, (0.32, 0.83, 0.98)), (0.05, 0.5, 75, (0.57, 0.93, 0.99)),
    (0.15, 0.3, 62, (0.62, 0.94, 0.99)), (0.15, 0.5, 22, (0.82, 0.98, 1.00)),
    (0.30, 0.3, 25, (0.80, 0.98, 1.00)), (0.30, 0.5, 8, (0.92, 0.99, 1.00)),
]  # fmt: skip


@pytest.mark.parametrize(("q", "coefficient", "k", "credibility"), BUHLMANN_K)
def test_k_in_orders_is_the_published_one(q, coefficient, k, credibility):
    orders = np.array([100, 1_000, 10_000])
    frame = pd.DataFrame({"merchant_id": orders, "claims": q * orders, "expected": q * orders})
    frame["squared"] = q * frame["expected"]
    rated = merchant_experience(frame, process="bernoulli", squared_expected="squared", variance=coefficient**2)
    assert rated.groups["expected_claims_for_half"].iloc[0] / q == pytest.approx(k, abs=0.5)
    np.testing.assert_allclose(rated.merchants["credibility_z"], credibility, rtol=0, atol=0.005)
    exact = (1 - q) / (coefficient**2 * q) - 1
    np.testing.assert_allclose(rated.merchants["credibility_z"], orders / (orders + exact), rtol=1e-12)


@pytest.mark.parametrize(("q", "variance", "most"), [
    (0.15, 0.25, 10), (0.15, 0.25, 50), (0.5, 0.3, 2), (0.7, 0.1, 2), (0.7, 0.1, 50),
])  # fmt: skip
def test_variance_of_orders_that_claim_at_most_once_is_recovered(q, variance, most):
    found, poisson = [], []
    for seed in range(10):
        frame, _ = at_most_once(np.random.default_rng(seed), 2_000, q=q, variance=variance, orders=(2, most))
        frame = frame.groupby("merchant_id", as_index=False).sum()
        found.append(between(frame, process="bernoulli", squared_expected="squared"))
        poisson.append(between(frame))
    error = np.std(found, ddof=1) / np.sqrt(len(found))
    assert abs(np.mean(found) - variance) < 3.5 * error
    assert error < 0.25 * variance
    # The Poisson variance leaves too little for the differences between units, and nothing if they have two orders.
    assert np.mean(poisson) < 0.9 * variance
    if most == 2:
        assert max(poisson) < 0.01


@settings(max_examples=8)
@given(seed=st.integers(0, 10**6))
def test_the_variance_is_the_root_of_its_equation(seed):
    rng = np.random.default_rng(seed)
    q = rng.choice([0.1, 0.4, 0.6])
    frame, _ = at_most_once(rng, 150, q=q, variance=0.15, orders=(1, 12))
    frame["squared"] = frame["expected"] ** 2
    found = merchant_experience(frame, process="bernoulli", squared_expected="squared")
    balance = found.groups["balance"].iloc[0]
    unit = frame.groupby("merchant_id").sum()
    m, squares = balance * unit["expected"], balance**2 * unit["squared"]

    def equation(s2):
        # Written with sums over an order and over pairs of orders: q (1 - q), and q q' of two orders.
        alone, pairs = m - squares, m**2 - squares
        return float((((unit["claims"] - m) ** 2 - alone - pairs * s2) * pairs / (alone + pairs * s2) ** 2).sum())

    s2 = found.groups["variance"].iloc[0]
    if s2 > 0:
        assert equation(s2 * (1 - 1e-6)) > 0 > equation(s2 * (1 + 1e-6))
    else:
        assert equation(0.0) <= 0


def test_the_larger_credibility_brings_mods_nearer_the_truth():
    frame, theta = at_most_once(np.random.default_rng(3), 4_000, q=0.5, variance=0.2, orders=(2, 20))
    bernoulli, poisson = (
        merchant_experience(frame, max_change=None, **options).merchants["experience_mod"]
        for options in ({"process": "bernoulli", "squared_expected": "squared"}, {})
    )
    error, before = ((mods - theta) ** 2 for mods in (bernoulli, poisson))
    assert error.mean() < 0.85 * before.mean()
    # Buhlmann's Z minimises the error: moving all mods towards the ratio or towards 1 does not lower it.
    z = merchant_experience(frame, process="bernoulli", squared_expected="squared").merchants["credibility_z"]
    ratio = (bernoulli - 1) / z
    for other in (0.9, 1.1):
        assert error.mean() < ((1 + other * z * ratio - theta) ** 2).mean()


@settings(max_examples=8)
@given(seed=st.integers(0, 10**6), power=st.integers(3, 6))
def test_rare_claims_have_the_poisson_result(seed, power):
    frame, _ = simulated(60, seed=seed)
    q = 10.0**-power
    frame["squared"] = q * frame["expected"]
    near, poisson = (
        merchant_experience(frame, max_change=None, **options).merchants
        for options in ({"process": "bernoulli", "squared_expected": "squared", "variance": 0.2}, {"variance": 0.2})
    )
    np.testing.assert_allclose(near["experience_mod"], poisson["experience_mod"], rtol=0, atol=4 * q)
    # A merchant has 0.3 expected claims or more, so the squares are at most a share q / 0.3 of m^2.
    assert between(frame, process="bernoulli", squared_expected="squared") == pytest.approx(
        between(frame), rel=20 * q, abs=20 * q
    )


@settings(max_examples=8)
@given(seed=st.integers(0, 10**6))
def test_squares_of_zero_are_poisson_to_the_last_digit(seed):
    frame, _ = simulated(80, seed=seed, score=True)
    frame = frame.assign(squared=0.0, age=np.arange(80.0), kind=frame["merchant_id"] % 3)
    options = {"prior": "prior", "age_days": "age", "half_life_days": 60.0, "group": "kind", "min_units": 5}
    with_squares = merchant_experience(frame, process="bernoulli", squared_expected="squared", **options)
    poisson = merchant_experience(frame, **options)
    pd.testing.assert_frame_equal(with_squares.merchants, poisson.merchants, check_exact=True)
    pd.testing.assert_frame_equal(with_squares.groups, poisson.groups, check_exact=True)


@settings(max_examples=4)
@given(seed=st.integers(0, 10**6))
def test_neither_rows_nor_periods_nor_owners_change_what_a_unit_tells(seed):
    rng = np.random.default_rng(seed)
    orders, _ = at_most_once(rng, 60, q=0.3, variance=0.3, orders=(1, 9))
    orders = orders.assign(prior=np.exp(rng.normal(0, 0.1, 60))[orders["merchant_id"]], age=30.0)
    options = {
        "process": "bernoulli", "squared_expected": "squared",
        "prior": "prior", "age_days": "age", "half_life_days": 90.0, "max_change": None,
    }  # fmt: skip
    known = merchant_experience(orders, **options)
    sums = {"claims": "sum", "expected": "sum", "squared": "sum", "prior": "last", "age": "last"}
    whole = orders.groupby("merchant_id", as_index=False).agg(sums)
    halves = orders.assign(half=rng.integers(0, 2, len(orders))).groupby(["merchant_id", "half"]).agg(sums)
    shops = orders.assign(owner=orders["merchant_id"], merchant_id=orders.groupby("merchant_id").cumcount() % 2)
    shops["merchant_id"] += 2 * shops["owner"]
    for frame in (whole, halves.reset_index(), orders.sample(frac=1.0, random_state=seed % 1000)):
        again = merchant_experience(frame, **options)
        pd.testing.assert_frame_equal(again.merchants, known.merchants, check_dtype=False, rtol=1e-7, atol=1e-9)
        pd.testing.assert_frame_equal(again.groups, known.groups, rtol=1e-7, atol=1e-9)
    owned = merchant_experience(shops, owner="owner", **options).merchants.groupby("unit")["experience_mod"]
    assert (owned.nunique() == 1).all()
    np.testing.assert_allclose(owned.first(), known.merchants["experience_mod"], rtol=1e-7)


def test_orders_at_their_half_life_count_half():
    n = np.array([4, 8, 30])
    frame = pd.DataFrame({"merchant_id": n, "claims": 0.4 * n, "expected": 0.4 * n, "squared": 0.16 * n, "age": 90.0})
    options = {"process": "bernoulli", "squared_expected": "squared", "variance": 0.2}
    aged = merchant_experience(frame, age_days="age", half_life_days=90.0, **options)
    k = 0.6 / (0.2 * 0.4) - 1
    np.testing.assert_allclose(aged.merchants["credibility_z"], n / 2 / (n / 2 + k), rtol=1e-12)
    assert aged.groups["expected_claims_for_half"].iloc[0] == pytest.approx(0.4 * k, rel=1e-12)


def test_variance_is_recovered_from_fading_orders():
    found = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        frame, _ = at_most_once(rng, 2_000, q=0.5, variance=0.2, orders=(2, 30))
        frame["age"] = rng.uniform(0, 360, len(frame))
        found.append(
            between(frame, process="bernoulli", squared_expected="squared", age_days="age", half_life_days=90.0)
        )
    assert abs(np.mean(found) - 0.2) < 3.5 * np.std(found, ddof=1) / np.sqrt(len(found))


@settings(max_examples=8)
@given(n=st.integers(2, 200), q=st.floats(0.01, 0.6), uneven=st.floats(0.0, 0.6))
def test_the_number_of_orders_gives_the_smallest_squares(n, q, uneven):
    chance = q * np.where(np.arange(n) % 2, 1.0 + uneven, 1.0 - uneven)
    m, squares = chance.sum(), (chance**2).sum()
    frame = pd.DataFrame({"merchant_id": [0, 1], "claims": m, "expected": m, "exact": squares, "by_count": m**2 / n})
    z = [
        merchant_experience(frame, process="bernoulli", squared_expected=name, variance=0.05)
        .merchants["credibility_z"]
        .iloc[0]
        for name in ("by_count", "exact")
    ]
    assert z[0] <= z[1] * (1 + 1e-12)
    if uneven == 0.0 and n % 2 == 0:
        assert z[0] == pytest.approx(z[1], rel=1e-12)


def test_units_of_one_order_do_not_tell_a_variance():
    rng = np.random.default_rng(4)
    q = rng.uniform(0.1, 0.7, 500)
    returned = (rng.uniform(size=500) < q).astype(int)
    single = pd.DataFrame({"merchant_id": range(500), "claims": returned, "expected": q, "squared": q**2})
    assert between(single, process="bernoulli", squared_expected="squared") == 0.0
    more, _ = at_most_once(rng, 500, q=0.5, variance=0.2)
    more["merchant_id"] += 1_000
    balanced = more.assign(expected=more["expected"] * more["claims"].sum() / more["expected"].sum())
    balanced["squared"] = balanced["expected"] ** 2
    alone = between(balanced, process="bernoulli", squared_expected="squared")
    # Claims of the single orders as expected, so that the balance stays 1.
    both = pd.concat([balanced, single.assign(claims=single["expected"])])
    assert between(both, process="bernoulli", squared_expected="squared") == pytest.approx(alone, rel=1e-6)


def test_a_variance_that_probabilities_do_not_allow_is_bounded():
    frame = pd.DataFrame({"merchant_id": [0, 1, 2], "claims": [9.0, 2.0, 0.2], "expected": [9.0, 2.0, 0.2]})
    frame["squared"] = frame["expected"] * [0.9, 0.2, 0.2]
    with pytest.warns(FreightRiskWarning, match="1 unit of 3 expect so many claims an order"):
        rated = merchant_experience(frame, process="bernoulli", squared_expected="squared", variance=0.3)
    z = rated.merchants["credibility_z"]
    assert z.loc[0] == 1.0
    assert z.loc[2] < z.loc[1] < 1.0
    # theta is at most 1 / 0.9, so its variance is at most 1 / 0.9 - 1: there Z is 1 without a warning.
    least = merchant_experience(frame, process="bernoulli", squared_expected="squared", variance=1 / 0.9 - 1).merchants[
        "credibility_z"
    ]
    assert least.loc[0] == pytest.approx(1.0, rel=1e-12)
    assert (
        merchant_experience(frame, process="bernoulli", squared_expected="squared", variance=0.0)
        .merchants["credibility_z"]
        .max()
        == 0.0
    )


def test_orders_that_are_sure_to_claim_do_not_fix_the_variance():
    frame, _ = at_most_once(np.random.default_rng(5), 1_000, q=0.4, variance=0.2)
    certain = pd.DataFrame({"merchant_id": [9_000], "claims": 8, "expected": 8.0, "squared": 8.0})
    balanced = frame.assign(expected=frame["expected"] * frame["claims"].sum() / frame["expected"].sum())
    balanced["squared"] = balanced["expected"] ** 2
    with pytest.warns(FreightRiskWarning, match="1 unit of 1,001"):
        found = between(pd.concat([balanced, certain]), process="bernoulli", squared_expected="squared")
    assert found == pytest.approx(between(balanced, process="bernoulli", squared_expected="squared"), rel=1e-9)


def test_squares_come_from_a_book_and_a_model_of_at_most_one_claim():
    rng = np.random.default_rng(8)
    n, as_of = 6_000, np.datetime64("2026-06-30")
    ship = as_of - rng.integers(0, 180, n).astype("timedelta64[D]")
    orders = pd.DataFrame({"order_id": range(n), "zone": rng.choice(["near", "far"], n), "ship_date": ship})
    orders["n_lines"] = rng.integers(1, 4, n)
    hit = np.flatnonzero(rng.uniform(size=n) < 0.4)
    claims = pd.DataFrame({"order_id": hit, "freight": 8.0, "report_date": ship[hit] + np.timedelta64(4, "D")})
    claims = claims[claims["report_date"] <= as_of]
    merchant = rng.integers(0, 40, n)
    plain = OrderBook.from_frames(orders, claims, factors=[Factor("zone")], as_of=as_of)
    lined = OrderBook.from_frames(orders, claims, factors=[Factor("zone")], as_of=as_of, lines="n_lines")
    curve = ReportLag.fit(plain)
    for family, book, lines in (
        ("bernoulli", plain, np.ones(n)), ("binomial", lined, orders["n_lines"]),
        ("beta_binomial", lined, orders["n_lines"]),
    ):  # fmt: skip
        fitted = FrequencyModel(family=family).fit(book, offset=curve.offset(book))
        periods = merchant_periods(book, fitted, merchant, lag=curve)
        chance = fitted.expected_claims(book, offset=curve.offset(book)) / lines
        squares = pd.Series(lines * chance**2).groupby(merchant).sum()
        found = periods.groupby("merchant_id")["squared_expected"].sum()
        np.testing.assert_allclose(found, squares, rtol=1e-12)
        assert (periods["squared_expected"] < periods["expected"]).all()
        assert between(periods, process="bernoulli", squared_expected="squared_expected") < 0.05
    poisson = FrequencyModel().fit(plain, offset=curve.offset(plain))
    assert "squared_expected" not in merchant_periods(plain, poisson, merchant)


def deviance(returned, chance):
    return float(-2.0 * np.where(returned, np.log(chance), np.log1p(-chance)).mean())


def test_buyers_of_a_fashion_shop_differ(shared_data):
    """Rates users on lines up to September and tests the modifications on their later lines.

    The model knows brand, size, price and whether a line was delivered, and nothing of the user.
    """
    lines = pd.read_parquet(shared_data / "fashion_returns" / "order_lines.parquet")
    lines = lines[lines["item_price"] > 0]
    delivered = lines["delivery_date"].notna().map({True: "yes", False: "no"})
    lines = lines.assign(delivered=delivered, claims=lines["returned"].astype(int))
    lines["item_size"] = lines["item_size"].astype(str)
    rated, later = lines[lines["order_date"] < "2012-10-01"], lines[lines["order_date"] >= "2012-10-01"]
    later = later[later["user_id"].isin(rated["user_id"])]
    assert (rated["user_id"].nunique(), len(later)) == (21_470, 7_458)
    factors = [Factor("brand_id", unseen="parent"), Factor("item_size", unseen="parent"), Band("item_price", 40)]
    book = OrderBook.from_counts(rated, claims="claims", factors=[*factors, Factor("delivered")])
    ahead = OrderBook.from_counts(later, claims="claims", factors=list(book.codings.values()))
    effects = [Credibility("brand_id"), Credibility("item_size"), Smooth("item_price"), "delivered"]
    fitted = FrequencyModel(effects, family="bernoulli").fit(book)
    chance = fitted.expected_claims(book)
    users = rated[["user_id", "claims"]].assign(expected=chance, squared=chance**2)
    options = {"merchant": "user_id", "max_change": None}
    poisson = merchant_experience(users, **options)
    found = merchant_experience(users, process="bernoulli", squared_expected="squared", **options)
    assert poisson.groups["variance"].iloc[0] == 0.0
    assert found.groups["variance"].iloc[0] == pytest.approx(0.153, abs=0.002)
    # Products over two lines of one user estimate the variance without any assumption on one line's variance.
    sums = users.assign(own=(users["claims"] - chance) ** 2).groupby("user_id").sum()
    products = (sums["claims"] - sums["expected"]) ** 2 - sums["own"]
    assert products.sum() / (sums["expected"] ** 2 - sums["squared"]).sum() == pytest.approx(0.166, abs=0.002)
    # A tariff multiplies the claim intensity by the modification.
    intensity, returned = fitted.rates(ahead), later["returned"].to_numpy() == 1
    before, after = (
        deviance(returned, -np.expm1(-intensity * later["user_id"].map(rating.merchants["experience_mod"]).to_numpy()))
        for rating in (poisson, found)
    )
    assert before == pytest.approx(1.2214, abs=0.001)
    assert after == pytest.approx(1.1741, abs=0.001)


BAD = [
    ({}, {"claims": "paid"}, "paid"),
    ({"claims": [-1, 2]}, {}, "'claims' is negative in 1 row"),
    ({"fraud": [9, 0]}, {"without_claims": ["fraud"]}, "exceed 'claims' in 1 row"),
    ({"segment": ["x", None]}, {"group": "segment"}, "'segment' is missing in 1 row"),
    ({"before": ["1.0", "x"]}, {"previous": "before"}, "'before' is not an array of numbers"),
    ({"before": [1.0, -1.0]}, {"previous": "before"}, r"not a finite modification above zero in 1 row \(first: 1\)"),
    ({"merchant_id": [None, "b"]}, {}, "'merchant_id' is missing in 1 row"),
    ({"prior": [0.0, 1.0]}, {"prior": "prior"}, "the prior of a merchant is zero"),
    ({"prior": [1e308, 1.0]}, {"prior": "prior"}, "'prior' is outside its range in 1 row .*from 1e-09 to 1e\\+09"),
    ({"expected": [1e300, 1.0]}, {}, "'expected' is outside its range in 1 row .*0, or from 1e-15 to 1e\\+15"),
    ({"expected": [5e-324, 1.0]}, {}, "'expected' is outside its range in 1 row"),
    ({"claims": [1e200, 1.0]}, {}, "'claims' is outside its range in 1 row"),
    ({"before": [1e-300, 1.0]}, {"previous": "before"}, "'before' is not a finite modification above zero in 1 row"),
    (
        {"merchant_id": "a", "prior": [0.8, 1.2]},
        {"prior": "prior"},
        r"'prior' differs between periods of 1 merchant \(first: 'a' has 0.8 and 1.2\)",
    ),
    (
        {"merchant_id": 7, "before": [0.8, 1.2]},
        {"previous": "before"},
        r"'before' differs .*\(first: 7 has 0.8 and 1.2",
    ),
    ({"merchant_id": 7, "who": ["x", "y"]}, {"owner": "who"}, r"'who' differs .*\(first: 7 has 'x' and 'y'"),
    ({}, {"process": "bernoulli", "squared_expected": 0}, "the name of a column is 0; it must be a non-empty"),
    ({"squared": [np.inf, 1.0]}, {"process": "bernoulli", "squared_expected": "squared"}, "'squared'.* is not finite"),
    ({"age": [0.0, 1.0]}, {"age_days": "age"}, "go together"),
    ({}, {"max_change": -0.1}, "max_change"),
    (
        {"squared": [5.0, 1.0]},
        {"process": "bernoulli", "squared_expected": "squared"},
        "'squared' exceeds the expected claims in 1 row",
    ),
    (
        {"expected": [0.5, 3.0], "squared": [0.4, 1.0]},
        {"process": "bernoulli", "squared_expected": "squared"},
        "exceeds the square of the exp",
    ),
    (
        {"squared": [-1.0, 1.0]},
        {"process": "bernoulli", "squared_expected": "squared"},
        "'squared' is negative in 1 row",
    ),
    ({"squared": [np.nan, 1.0]}, {"process": "bernoulli", "squared_expected": "squared"}, "'squared'"),
    ({}, {"process": "bernoulli"}, "missing column 'squared_expected'"),
    ({}, {"process": "binomial"}, "process is 'binomial'; it must be .*poisson.*bernoulli"),
    (
        {"squared": [0.1, 0.1]},
        {"squared_expected": "squared"},
        "process is 'poisson', which .*give process='bernoulli'",
    ),
    ({}, {"process": "bernoulli", "squared_expected": "squares"}, "missing column 'squares'"),
    (
        {"squared": 1.5, "fraud": 1.0},
        {"process": "bernoulli", "squared_expected": "squared", "without_expected": "fraud"},
        "exceeds the expect",
    ),
]


@pytest.mark.parametrize(("columns", "options", "message"), BAD)
def test_bad_calls_are_refused(columns, options, message):
    frame = pd.DataFrame({"merchant_id": ["a", "b"], "claims": [3, 2], "expected": [2.0, 3.0]}).assign(**columns)
    with pytest.raises(InputError, match=message):
        merchant_experience(frame, **options)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**16), scale=st.sampled_from([1e-15, 1e-6, 1e6, 1e14]), short=st.booleans())
def test_numbers_at_the_ends_of_their_ranges_have_finite_results(seed, scale, short):
    rng = np.random.default_rng(seed)
    n = 40
    frame = pd.DataFrame({"merchant_id": np.repeat(np.arange(n // 4), 4), "expected": rng.uniform(1.0, 9.0, n) * scale})
    frame["claims"] = np.where(
        rng.random(n) < 0.5, np.clip(frame["expected"] * rng.uniform(0.0, 2.0, n), 1e-15, 1e15), 0
    )
    frame["prior"] = np.repeat(rng.choice([1e-9, 1.0, 1e9], n // 4), 4)
    frame["age"] = rng.choice([0.0, 30.0, 4_000.0], n)
    frame["before"] = np.repeat(rng.choice([1e-9, 1.0, 1e9], n // 4), 4)
    options = {"prior": "prior", "age_days": "age", "half_life_days": 1e-3 if short else 90.0, "previous": "before"}
    rated = merchant_experience(frame, **options)
    assert np.isfinite(rated.merchants[["credibility_z", "uncapped_mod", "experience_mod"]]).all(axis=None)
    assert rated.merchants["credibility_z"].between(0.0, 1.0).all()
    shuffled = merchant_experience(frame.sample(frac=1.0, random_state=seed), **options)
    for name in ("credibility_z", "experience_mod"):
        np.testing.assert_allclose(shuffled.merchants[name], rated.merchants[name], rtol=1e-6, atol=1e-12)
