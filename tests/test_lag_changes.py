"""Lags that a programme moves or stops: against lags that are fitted to the moved claims, and on simulated books."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freightrisk import Band, Factor, FrequencyModel, Hierarchy, InputError, OrderBook, ReportLag
from freightrisk.credibility import merchant_periods
from freightrisk.datasets import simulate_book

AS_OF = np.datetime64("2026-06-30")
COVER = 30
AGES = np.arange(COVER + 1)


def days(values):
    return np.asarray(values, dtype="timedelta64[D]")


def book_of(lags, ages, *, levels=None, reversed_after=None):
    """One claim an order, of the given lags and ages; -1 days stand for a claim that is not reversed."""
    ids = np.arange(len(lags))
    ship = AS_OF - days(ages)
    channel = np.full(len(ids), "shelf") if levels is None else levels
    orders = pd.DataFrame({"order_id": ids, "channel": channel, "ship_date": ship})
    claims = pd.DataFrame({"order_id": ids, "freight": 8.0, "report_date": ship + days(lags)})
    options = {}
    if reversed_after is not None:
        undone = claims["report_date"].to_numpy() + days(np.maximum(reversed_after, 0))
        claims["reversed_date"] = np.where(np.asarray(reversed_after) < 0, np.datetime64("NaT", "D"), undone)
        options = {"reversed_date": "reversed_date"}
    return OrderBook.from_frames(orders, claims, factors=[Factor("channel")], as_of=AS_OF, **options)


def fitted(lags, ages, **options):
    return ReportLag.fit(book_of(lags, ages, **options), cover_days=COVER)


def alike(found, known):
    np.testing.assert_allclose(found.share(AGES), known.share(AGES), atol=1e-12)
    np.testing.assert_allclose(found.std_errors, known.std_errors, atol=1e-9)


SOME_LAGS = st.lists(st.integers(0, COVER), min_size=1, max_size=40)


# --- twins: the same change made to the claims, and the lag fitted again --------------------------------------------


@given(lags=SOME_LAGS, sooner=st.integers(0, COVER + 5))
def test_sooner_reports_are_those_of_claims_moved_to_day_0_at_most(lags, sooner):
    lags, ages = np.array(lags), np.full(len(lags), 100)
    found = fitted(lags, ages).shifted(days=-sooner)
    alike(found, fitted(np.maximum(lags - sooner, 0), ages))
    assert found.kept_share == 1.0
    assert (found.since, found.cover_days) == ("shipment", COVER)


@given(lags=SOME_LAGS, later=st.integers(0, COVER))
def test_later_reports_leave_the_cover(lags, later):
    lags, ages = np.array(lags), np.full(len(lags), 100)
    inside = lags + later <= COVER
    lag = fitted(lags, ages)
    if not inside.any():
        with pytest.raises(InputError, match="no claim of the lag would be reported in time"):
            lag.shifted(days=later)
        return
    found = lag.shifted(days=later)
    alike(found, fitted(lags[inside] + later, ages[inside]))
    assert found.kept_share == pytest.approx(inside.mean(), abs=1e-12)


@given(data=st.data(), lags=SOME_LAGS, last=st.integers(1, COVER + 5))
def test_a_truncated_lag_is_the_lag_of_the_claims_that_are_left(data, lags, last):
    # The product limit of claims up to the limit does not use later claims, so even young orders give the same curve.
    lags = np.array(lags)
    ages = lags + np.array(data.draw(st.lists(st.integers(0, 40), min_size=len(lags), max_size=len(lags))))
    left = lags <= last
    ages[[0, int(np.argmax(left))]] = 100  # the first claim that is left, so that both fits see the whole cover
    lag = fitted(lags, ages)
    transit = data.draw(st.integers(0, last - 1))
    call = {"hours": 24 * (last - transit), "transit_days": transit}
    kept = float(lag.share(min(last, COVER)))
    if kept == 0.0:
        with pytest.raises(InputError, match="no claim of the lag would be reported in time"):
            lag.truncated(**call)
        return
    found = lag.truncated(**call)
    assert found.kept_share == kept
    if left.any():
        alike(found, fitted(lags[left], ages[left]))


@given(data=st.data(), lags=st.lists(st.integers(0, 12), min_size=3, max_size=25), last=st.integers(2, 14))
def test_reversals_follow_the_reports_that_are_left(data, lags, last):
    undone = np.array(data.draw(st.lists(st.integers(-1, 6), min_size=len(lags), max_size=len(lags))))
    undone[0], lags = -1, np.array([0, *lags[1:]])
    lag = fitted(lags, np.full(len(lags), 100), reversed_after=undone)
    found = lag.truncated(hours=24 * last, transit_days=0)
    # Equation 20 by hand. The Kaplan-Meier share that stands is that of all claims, of which none is censored early.
    standing = [np.mean((undone < 0) | (undone > spent)) for spent in range(60)]
    left = lags[lags <= last]
    for age in (0, 1, last, last + 3, 45):
        alive = sum(standing[age - one] for one in left if one <= age) / len(left)
        assert found.share(age) == pytest.approx(alive / standing[-1], abs=1e-12)
    moved = lag.shifted(days=-2)
    for age in (0, 3, 45):
        alive = sum(standing[age - one] for one in np.maximum(lags - 2, 0) if one <= age) / len(lags)
        assert moved.share(age) == pytest.approx(alive / standing[-1], abs=1e-12)


# --- laws ----------------------------------------------------------------------------------------------------------


@st.composite
def changed_lags(draw):
    """A lag, and the same lag after some changes."""
    lags = draw(SOME_LAGS)
    lag = fitted([0, *lags], np.full(len(lags) + 1, 100))
    changed = lag
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.booleans()):
            changed = changed.shifted(days=draw(st.integers(-8, 4)))
        else:
            changed = changed.truncated(hours=24 * draw(st.integers(5, 40)), transit_days=draw(st.integers(0, 9)))
    return lag, changed


@given(lags=changed_lags())
def test_shares_stay_within_0_and_1_and_never_fall(lags):
    _, lag = lags
    share = lag.share(np.arange(COVER + 10))
    assert share[0] >= 0.0
    assert share[-1] == 1.0
    assert np.all(np.diff(share) >= 0.0)
    assert 0.0 < lag.kept_share <= 1.0
    assert np.all(lag.std_errors >= 0.0)


@given(lags=SOME_LAGS, first=st.integers(0, 20), second=st.integers(0, 20))
def test_changes_add_up(lags, first, second):
    lag = fitted([0, *lags], np.full(len(lags) + 1, 100))
    alike(lag.shifted(days=-first).shifted(days=-second), lag.shifted(days=-first - second))
    alike(lag.shifted(days=0), lag)
    longer, shorter = (24 * (1 + n) for n in (first + second, first))
    twice = lag.truncated(hours=longer, transit_days=1).truncated(hours=shorter, transit_days=1)
    once = lag.truncated(hours=shorter, transit_days=1)
    alike(twice, once)
    assert twice.kept_share == pytest.approx(once.kept_share, rel=1e-12)
    sooner = lag.shifted(days=-first).truncated(hours=24, transit_days=second)
    assert sooner.kept_share == pytest.approx(lag.share(min(1 + first + second, COVER)), rel=1e-12)


def test_a_limit_after_the_cover_changes_nothing():
    lag = fitted([1, 4, 9, 30], [100, 50, 20, 40])
    alike(lag.truncated(hours=24 * 30, transit_days=0), lag)
    assert lag.truncated(hours=24 * 400, transit_days=9).kept_share == lag.kept_share == 1.0


def test_each_level_has_its_own_kept_share():
    lags, levels = [1, 1, 1, 9, 1, 9, 9, 9], np.repeat(["live", "shelf"], 4)
    book = book_of(lags, np.full(8, 60), levels=levels)
    lag = ReportLag.fit(book, by="channel", min_claims=1, cover_days=COVER).truncated(hours=48, transit_days=1)
    assert lag.kept(book).tolist() == [0.75] * 4 + [0.25] * 4
    assert lag.kept_share == 0.5
    assert "; kept 50.0%" in repr(lag)
    np.testing.assert_array_equal(lag.share([0, 1, 5], slot=0), [0, 1, 1])


def test_errors_of_a_truncated_distribution_are_not_known():
    lag = ReportLag.fit(book_of(np.arange(40) % 20, np.full(40, 60)), method="gamma", cover_days=COVER)
    found = lag.truncated(hours=72, transit_days=2)
    assert np.isnan(found.std_errors[-1, :5]).all()
    assert not found.std_errors[-1, 5:].any()
    np.testing.assert_allclose(found.share(AGES), lag.share(np.minimum(AGES, 5)) / lag.share(5))
    assert np.isfinite(lag.shifted(days=-3).std_errors).all()


# --- segments ------------------------------------------------------------------------------------------------------


INDUSTRIES = {"gold": ["rings", "chains"], "food": ["tea", "rings"], 7: ["x"]}


def segmented(n, seed, *, min_claims=0):
    """A book with a category tree and a channel, its orders, and a claim for every order."""
    rng = np.random.default_rng(seed)
    pairs = [(industry, leaf) for industry, leaves in INDUSTRIES.items() for leaf in leaves]
    picked = [pairs[k] for k in rng.integers(0, len(pairs), n)]
    orders = pd.DataFrame(
        {
            "order_id": np.arange(n),
            "industry": [industry for industry, _ in picked],
            "leaf": [leaf for _, leaf in picked],
            "channel": rng.choice(np.array(["live", "shelf", None], dtype=object), n),
            "weight": rng.uniform(0, 5, n),
            "ship_date": AS_OF - days(rng.integers(0, 40, n)),
        }
    )
    factors = [
        Hierarchy("category", ["industry", "leaf"], min_claims=min_claims, unseen="parent"),
        Factor("channel", missing="level", unseen="parent"),
        Band("weight", edges=[1.0, 2.0]),
    ]
    claims = pd.DataFrame({"order_id": np.arange(n), "freight": 8.0, "report_date": orders["ship_date"]})
    book = OrderBook.from_frames(orders, claims, factors=factors, as_of=AS_OF)
    return book, orders


@given(data=st.data(), seed=st.integers(0, 50))
def test_every_order_has_the_lag_of_the_first_rule_that_it_meets(data, seed):
    book, orders = segmented(60, seed)
    ages, one = np.full(30, 100), np.arange(30)
    lags = [fitted(one // step, ages) for step in (1, 2, 3, 4)]
    lag, rules = lags[0], []
    for other in lags[1:]:
        known = {name: sorted(orders[name].dropna().unique(), key=str) for name in ("industry", "leaf", "channel")}
        columns = data.draw(st.lists(st.sampled_from([*known]), min_size=1, max_size=2, unique=True))
        where = {
            name: data.draw(st.lists(st.sampled_from(known[name]), min_size=1, max_size=2, unique=True))
            for name in columns
        }
        if {name: set(some) for name, some in where.items()} in [
            {name: set(some) for name, some in old.items()} for old, _ in rules
        ]:
            continue
        rules.append((where, other))
        lag = lag.with_segment(where, other)
    known = []
    for k, age in enumerate(book.age_days):
        row = orders.iloc[k]
        mine = next((o for where, o in rules if all(row[name] in some for name, some in where.items())), lags[0])
        known.append(mine.share(int(age)))
    np.testing.assert_array_equal(lag.offset(book), np.log(np.maximum(known, 1e-6)))
    assert f"; {len(rules)} rule" in repr(lag)


def test_a_change_of_all_orders_changes_every_rule():
    book, orders = segmented(200, 1)
    lag = fitted([1, 3, 5, 9], np.full(4, 60))
    limited = lag.truncated(hours=48, transit_days=3, where={"industry": ["gold"]})
    gold = (orders["industry"] == "gold").to_numpy()
    np.testing.assert_array_equal(limited.kept(book), np.where(gold, 0.75, 1.0))
    np.testing.assert_array_equal(limited.share(AGES), lag.share(AGES))
    sooner = limited.shifted(days=-2)
    known = np.where(gold, limited.rules[0][1].share(book.age_days + 2), lag.share(book.age_days + 2))
    np.testing.assert_array_equal(sooner.offset(book), np.log(np.maximum(known, 1e-6)))
    np.testing.assert_allclose(sooner.truncated(hours=24, transit_days=0).kept(book), 0.5)
    np.testing.assert_array_equal(sooner.truncated(hours=24, transit_days=6).kept(book), np.where(gold, 0.75, 1.0))
    official = lag.shifted(days=-2, where={"channel": ["live"]})
    known = lag.share(book.age_days + 2 * (orders["channel"] == "live").to_numpy())
    np.testing.assert_array_equal(official.offset(book), np.log(np.maximum(known, 1e-6)))


def test_pooled_and_new_levels_are_refused_only_if_they_leave_a_condition_open():
    book, orders = segmented(300, 2)
    lag = fitted([1, 3, 5, 9], np.full(4, 60))
    new = pd.DataFrame(
        {
            "order_id": [1, 2, 3],
            "industry": ["gold", "books", "gold"],
            "leaf": ["watches", "tea", "rings"],
            "channel": "live",
            "weight": 1.0,
            "ship_date": AS_OF - days([3, 3, 3]),
        }
    )
    other = OrderBook.from_frames(
        new, new.assign(freight=8.0, report_date=AS_OF), as_of=AS_OF, factors=[*book.codings.values()]
    )
    short = {"hours": 24, "transit_days": 2}
    kept = lag.truncated(where={"industry": ["gold"]}, **short).kept(other)
    assert kept.tolist() == [0.5, 1.0, 0.5]
    # A new leaf of gold is no known leaf of gold. The leaf behind a new industry is not known.
    with pytest.raises(InputError, match=r"whether 1 order meets the conditions on 'leaf'"):
        lag.truncated(where={"leaf": ["rings"]}, **short).kept(other)
    assert lag.truncated(where={"industry": ["gold"], "leaf": ["rings"]}, **short).kept(other).tolist() == [1, 1, 0.5]
    pooled, _ = segmented(300, 2, min_claims=70)
    assert "(other)" in str(pooled.codings["category"].labels)
    with pytest.raises(InputError, match=r"pooled with others or are new to the book; declare the column as a Factor"):
        lag.truncated(where={"industry": [7]}, **short).kept(pooled)
    assert (orders["industry"] == 7).sum() < 70


def test_numbers_and_texts_of_one_spelling_are_one_level():
    book, orders = segmented(100, 3)
    lag = fitted([1, 3, 5, 9], np.full(4, 60)).truncated(hours=24, transit_days=2, where={"industry": ["7"]})
    np.testing.assert_array_equal(lag.kept(book), np.where(orders["industry"] == 7, 0.5, 1.0))


# --- receipt -------------------------------------------------------------------------------------------------------


def received_book(n=4_000, seed=1):
    """Orders with days of receipt, some later than the valuation date, and claims around receipt."""
    rng = np.random.default_rng(seed)
    ship = AS_OF - days(rng.integers(0, 80, n))
    received = ship + days(1 + rng.poisson(4, n))
    orders = pd.DataFrame({"order_id": np.arange(n), "channel": rng.choice(["live", "shelf"], n), "ship_date": ship})
    orders["delivered_date"] = np.where(received <= AS_OF, received, np.datetime64("NaT", "D"))
    report = np.maximum(received + days(rng.geometric(0.2, n) - 2), ship)
    claims = pd.DataFrame({"order_id": np.arange(n), "freight": 8.0, "report_date": report})
    return orders, claims[rng.uniform(size=n) < 0.6]


def test_a_book_from_receipt_is_the_book_of_received_orders():
    orders, claims = received_book()
    book = OrderBook.from_frames(orders, claims, factors=[Factor("channel")], as_of=AS_OF)
    found = book.aged_from_receipt(orders["delivered_date"])
    arrived = orders[orders["delivered_date"].notna()]
    theirs = claims.merge(arrived[["order_id", "delivered_date"]], on="order_id")
    theirs["report_date"] = theirs[["report_date", "delivered_date"]].max(axis=1)
    known = OrderBook.from_frames(
        arrived, theirs, factors=[*book.codings.values()], as_of=AS_OF, ship_date="delivered_date"
    )
    assert found.left_out["not_received"] == len(orders) - len(arrived) > 0
    np.testing.assert_array_equal(found.age_days, known.age_days)
    np.testing.assert_array_equal(found.claim_day, known.claim_day)
    np.testing.assert_array_equal(found.claim_count, known.claim_count)
    lag = ReportLag.fit(found, cover_days=COVER)
    np.testing.assert_array_equal(lag.shares, ReportLag.fit(known, cover_days=COVER).shares)
    assert " of receipt" in repr(lag)
    assert ", ages from receipt; " in repr(found)
    assert lag.truncated(hours=48).kept_share == lag.share(2)
    np.testing.assert_array_equal(found.align(orders["order_id"]), arrived["order_id"])


def test_days_of_receipt_are_those_of_the_clock():
    orders, claims = received_book(50)
    book = OrderBook.from_frames(orders, claims, factors=[Factor("channel")], as_of=AS_OF)
    times = pd.Series(orders["delivered_date"]).dt.tz_localize("Asia/Shanghai").dt.tz_convert("UTC")
    found, known = (book.aged_from_receipt(days_) for days_ in (times, orders["delivered_date"].to_numpy()))
    np.testing.assert_array_equal(found.ship_day, known.ship_day)
    texts = orders["delivered_date"].dt.strftime("%Y-%m-%d").to_numpy(dtype=object)
    np.testing.assert_array_equal(book.aged_from_receipt(texts).ship_day, known.ship_day)


def test_reversed_claims_are_kept_from_receipt():
    book = book_of([1, 3, 9], [40, 40, 40], reversed_after=[1, -1, 5])
    found = book.aged_from_receipt(AS_OF - days([36, 36, 36]))
    assert (found.n_claims, len(found.reversed_row)) == (1, 2)
    assert (found.reversed_report_day - found.ship_day[found.reversed_row]).astype(int).tolist() == [0, 5]
    assert (found.reversed_day - found.reversed_report_day).astype(int).tolist() == [0, 5]


# --- truth ---------------------------------------------------------------------------------------------------------


LIMITED = "jewellery"


def far(found, known, std_error):
    """How many standard errors the log of an estimate is from the truth."""
    return float(np.log(found / known) / std_error)


def fits_under_a_limit(seed):
    """Return how many standard errors a fit with and without the segment's lag is off in a simulated book.

    One industry has 48 hours from receipt. Parcels take 3 days, so its last reports have a lag of 5 days.
    """
    sim = simulate_book(400_000, seed=seed, n_days=90, merchant_deviation=0)
    industry = sim.orders["industry"].astype(str)
    limited = industry.mode()[0]
    claimed = sim.orders.assign(limited=industry == limited).merge(sim.claims, on="order_id", how="right")
    spent = (claimed["report_date"].dt.floor("D") - claimed["ship_date"].dt.floor("D")).dt.days
    claims = sim.claims[~((spent > 5) & claimed["limited"]).to_numpy()]
    book = OrderBook.from_frames(sim.orders, claims, factors=[Factor("industry")], as_of="2025-03-31")
    lag = ReportLag.fit(book.select(~book.align(industry == limited)), cover_days=85)  # orders without the limit
    segment = lag.truncated(hours=48, transit_days=3, where={"industry": [limited]})
    young = book.select(book.age_days < 30)
    mine = young.align(industry == limited)
    known = young.align(sim.truth.claim_intensity) * segment.kept(young)
    with_, without = (
        FrequencyModel(["industry"]).fit(young, offset=one.offset(young)).expected_claims(young)
        for one in (segment, lag)
    )
    assert segment.kept_share == 1.0
    assert segment.kept(young)[mine][0] == pytest.approx(lag.share(5))
    error = np.hypot(1 / np.sqrt(young.claim_count[mine].sum()), lag.std_errors[-1, 5] / lag.share(5))
    others = far(with_[~mine].sum(), known[~mine].sum(), 1 / np.sqrt(young.claim_count[~mine].sum()))
    return far(with_[mine].sum(), known[mine].sum(), error), far(without[mine].sum(), known[mine].sum(), error), others


def test_a_fit_under_a_limit_recovers_the_kept_frequency_of_simulated_books():
    # All books from one seed on, so that none is chosen; the mean of 8 has a standard error of 1 / sqrt(8).
    right, wrong, others = np.transpose([fits_under_a_limit(seed) for seed in range(1, 9)])
    assert abs(right.mean()) < 2.0 / np.sqrt(8)
    assert np.abs(right).max() < 3.5
    assert np.abs(others).max() < 3.5
    assert wrong.min() > 5.0


def draw_receipts(seed, *, limit=60, n=200_000):
    """Claims that follow receipt by gamma lags; transit differs by order; one category reports within some days."""
    rng = np.random.default_rng(seed)
    ship = AS_OF - days(rng.integers(0, 70, n))
    received = ship + days(1 + rng.poisson(5, n))
    category = rng.choice([LIMITED, "clothes"], n, p=[0.4, 0.6])
    orders = pd.DataFrame({"order_id": np.arange(n), "category": category, "ship_date": ship, "received": received})
    hit = np.flatnonzero(rng.uniform(size=n) < 0.3)
    lag = np.floor(rng.gamma(1.5, 3.0, len(hit)))
    claims = pd.DataFrame({"order_id": hit, "freight": 8.0, "report_date": received[hit] + days(lag)})
    claims = claims[lag <= np.where(category[hit] == LIMITED, limit, 60)]
    book = OrderBook.from_frames(orders, claims, factors=[Factor("category")], as_of=AS_OF)
    return book, book.aged_from_receipt(received), category == LIMITED


def test_a_lag_since_receipt_recovers_the_kept_frequency_if_transit_varies():
    history, received, _ = draw_receipts(4)
    lag, shipped = (ReportLag.fit(book, cover_days=60) for book in (received, history))
    where = {"category": [LIMITED]}
    book, received, limited = draw_receipts(9, limit=2)
    young = received.select(received.age_days < 14)
    mine = young.align(limited)
    segment = lag.truncated(hours=48, where=where)
    known = 0.3 * segment.kept(young)[mine].sum()
    error = np.hypot(1 / np.sqrt(young.claim_count[mine].sum()), lag.std_errors[-1, 2] / lag.share(2))
    right, wrong = (
        FrequencyModel().fit(young, offset=one.offset(young)).expected_claims(young)[mine].sum()
        for one in (segment, lag)
    )
    assert abs(far(right, known, error)) < 2.0
    assert far(wrong, known, error) > 5.0
    # One transit for all orders is an approximation: 0.408 in place of 0.423 at the mean of 6 days.
    rough = shipped.truncated(hours=48, transit_days=6, where=where).kept(book)[limited][0]
    assert rough == pytest.approx(segment.kept(young)[mine][0], abs=0.03)


def test_claims_before_a_limit_price_it_with_the_kept_share_in_the_offset():
    book, _ = segmented(3_000, 8)
    lag = fitted([1, 3, 5, 9], np.full(4, 60))
    limited = lag.truncated(hours=24, transit_days=2, where={"industry": ["gold"]})
    before = FrequencyModel(["category"]).fit(book, offset=lag.offset(book))
    under = FrequencyModel(["category"]).fit(book, offset=lag.offset(book) - np.log(limited.kept(book)))
    known = before.expected_claims(book) * limited.kept(book)
    np.testing.assert_allclose(under.expected_claims(book), known, rtol=1e-6)
    assert set(limited.kept(book)) == {0.5, 1.0}


def test_rules_reach_every_user_of_a_lag():
    book, _ = segmented(400, 6)
    lag = fitted([1, 3, 5, 9], np.full(4, 60)).truncated(hours=24, transit_days=2, where={"industry": ["gold"]})
    model = FrequencyModel(["channel"]).fit(book, offset=lag.offset(book))
    periods = merchant_periods(book, model, np.zeros(book.n_orders, dtype=int), lag=lag)
    known = model.expected_claims(book, offset=lag.offset(book)).sum()
    assert periods["expected"].sum() == pytest.approx(known)


# --- bad calls -----------------------------------------------------------------------------------------------------


SHORT = {"hours": 48, "transit_days": 1}
BAD_CALLS = [
    ("shifted", {"days": -3.5}, r"days is -3.5; the lag is known for whole days only"),
    ("shifted", {"days": "4"}, "days is '4'"),
    ("shifted", {"days": np.nan}, "days is nan"),
    ("shifted", {"days": 4000}, "days is 4000"),
    ("shifted", {"days": 30}, "no claim of the lag would be reported in time"),
    ("shifted", {"days": -4, "where": []}, r"where is \[\]; map columns to lists of levels"),
    ("truncated", {"hours": 36, "transit_days": 1}, "hours is 36; .* give a multiple of 24"),
    ("truncated", {"hours": 0, "transit_days": 1}, "hours is 0"),
    ("truncated", {"hours": 48}, "hours count from receipt, and the lag counts from shipment; give transit_days"),
    ("truncated", {"hours": 48, "transit_days": 1.5}, "transit_days is 1.5; it must be a whole number"),
    ("truncated", {"hours": 48, "transit_days": -1}, "transit_days is -1"),
    ("truncated", SHORT | {"where": {}}, "where is {}; map columns"),
    ("truncated", SHORT | {"where": {"category": "gold"}}, r"where\['category'\] is 'gold'; give a list of levels"),
    ("truncated", SHORT | {"where": {"category": []}}, "at least one and none missing"),
    ("truncated", SHORT | {"where": {"category": [None]}}, "at least one and none missing"),
    ("truncated", SHORT | {"where": {"category": [object()]}}, "each a text or a number"),
    ("truncated", SHORT | {"where": {3: ["gold"]}}, "a column in where is 3"),
    ("with_segment", {"where": {"category": ["gold"]}, "lag": 4}, "lag is 4; it must be a ReportLag"),
]


@pytest.mark.parametrize(("method", "call", "message"), BAD_CALLS)
def test_bad_calls_are_refused(method, call, message):
    lag = fitted([1, 3, 5, 9], np.full(4, 60))
    with pytest.raises(InputError, match=message):
        getattr(lag, method)(**call)


def test_rules_that_contradict_the_book_or_each_other_are_refused():
    book, orders = segmented(50, 1)
    lag = fitted([1, 3, 5, 9], np.full(4, 60))
    gold = {"industry": ["gold"]}
    ruled = lag.truncated(**SHORT, where=gold)
    with pytest.raises(InputError, match="an earlier rule has these conditions"):
        ruled.shifted(days=-1, where=gold)
    with pytest.raises(InputError, match="has rules of its own"):
        lag.with_segment(gold, ruled)
    for where, message in (
        ({"zone": ["far"]}, "where names the column 'zone', of which the book has no levels; it has those of industry"),
        ({"weight": [1.0]}, "where names the column 'weight', of which the book has no levels"),
        ({"industry": ["golf"]}, r"where\['industry'\] lists 'golf', which is no level of the factor 'category'"),
    ):
        with pytest.raises(InputError, match=message):
            lag.truncated(**SHORT, where=where).offset(book)
    received = book.aged_from_receipt(orders["ship_date"])
    with pytest.raises(InputError, match="counts days from shipment, and the ages of the book count from receipt"):
        lag.offset(received)
    since = ReportLag.fit(received, cover_days=COVER)
    with pytest.raises(InputError, match=r"give book.aged_from_receipt\(...\)"):
        since.offset(book)
    with pytest.raises(InputError, match="the lag counts from receipt itself; leave transit_days out"):
        since.truncated(hours=48, transit_days=3)
    with pytest.raises(InputError, match="counts from receipt, and this one from shipment"):
        lag.with_segment(gold, since)


def test_receipts_that_do_not_fit_the_book_are_refused():
    book, orders = segmented(50, 1)
    days_of = orders["ship_date"]
    undated = OrderBook.from_frames(
        orders, orders[["order_id"]].assign(freight=8.0), factors=[Factor("industry")], ship_date=None, report_date=None
    )
    for call, message in (
        (lambda: book.aged_from_receipt(days_of - days(1)), "received is before the shipment of 50 orders"),
        (lambda: book.aged_from_receipt(days_of[:9]), "values has shape"),
        (lambda: book.aged_from_receipt(np.full(50, np.datetime64("NaT", "D"))), "no order has been received by"),
        (lambda: book.aged_from_receipt(["soon"] * 50), "received"),
        (lambda: book.aged_from_receipt(days_of).aged_from_receipt(days_of), "count from receipt already"),
        (lambda: replace(book, ages_from="order"), "ages_from is 'order'; it must be one of 'shipment'"),
        (lambda: undated.aged_from_receipt(days_of), "the book has no days of shipment"),
    ):
        with pytest.raises(InputError, match=message):
            call()
