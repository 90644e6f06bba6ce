"""Report lags from right-truncated claims: by hand, by law, on simulated and on real lags."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freightrisk import (
    Factor,
    FitError,
    FreightRiskWarning,
    FrequencyModel,
    InputError,
    OrderBook,
    PurePremiumModel,
    ReportLag,
)
from freightrisk.models.young import unreported_share

AS_OF = np.datetime64("2026-06-30")


def book_of(n=60_000, seed=1, days=200, rate=0.3, mean_lag=11.0, reversed_rate=0.0, growth=0.0, fast=1.0):
    """A book whose claims have gamma lags; live orders report `fast` times as soon; some claims are reversed."""
    rng = np.random.default_rng(seed)
    recent = rng.uniform(0, 1, n) ** (1.0 + growth)
    ship = AS_OF - (recent * days).astype("timedelta64[D]")
    channel = rng.choice(["shelf", "live"], n)
    orders = pd.DataFrame({"order_id": np.arange(n), "channel": channel, "ship_date": ship})
    hit = np.flatnonzero(rng.uniform(size=n) < rate)
    lag = rng.gamma(2.5, mean_lag / 2.5, len(hit)) / np.where(channel[hit] == "live", fast, 1.0)
    inside = lag < 91
    hit, lag = hit[inside], np.floor(lag[inside])
    claims = pd.DataFrame({"order_id": hit, "freight": 8.0, "report_date": ship[hit] + lag.astype("timedelta64[D]")})
    undone = rng.uniform(size=len(hit)) < reversed_rate
    after = rng.integers(1, 15, len(hit)).astype("timedelta64[D]")
    claims["reversed_date"] = np.where(undone, claims["report_date"] + after, np.datetime64("NaT", "D"))
    options = {"reversed_date": "reversed_date"} if reversed_rate else {}
    book = OrderBook.from_frames(orders, claims, factors=[Factor("channel")], as_of=AS_OF, **options)
    return orders, claims, book


def small_book(lags, ages):
    """One order a claim, of the given lags and ages."""
    ids = np.arange(len(lags))
    ship = AS_OF - np.array(ages, dtype="timedelta64[D]")
    orders = pd.DataFrame({"order_id": ids, "channel": "shelf", "ship_date": ship})
    claims = pd.DataFrame(
        {"order_id": ids, "freight": 8.0, "report_date": ship + np.array(lags, dtype="timedelta64[D]")}
    )
    return OrderBook.from_frames(orders, claims, factors=[Factor("channel")], as_of=AS_OF)


# --- by hand -------------------------------------------------------------------------------------------------------


def test_product_limit_by_hand():
    # Lags 1, 2, 2, 5 of old orders and 1 of an order of age 1. Day 5: 1 of 4. Day 2: 2 of 3. Day 1: all 2.
    lag = ReportLag.fit(small_book([1, 2, 2, 5, 1], [100, 100, 100, 100, 1]))
    np.testing.assert_allclose(lag.share([0, 1, 2, 3, 4, 5, 90]), [0, 0.25, 0.75, 0.75, 0.75, 1, 1], atol=1e-15)


def test_without_truncation_it_is_the_empirical_distribution():
    rng = np.random.default_rng(3)
    lags = rng.integers(0, 60, 400)
    lag = ReportLag.fit(small_book(lags, np.full(400, 120)))
    known = [(lags <= day).mean() for day in range(91)]
    np.testing.assert_allclose(lag.share(np.arange(91)), known, atol=1e-12)
    binomial = np.sqrt(np.array(known) * (1 - np.array(known)) / 400)
    np.testing.assert_allclose(lag.std_errors[-1], binomial, atol=1e-9)


def test_lags_beyond_the_cover_are_counted_and_left_out():
    lag = ReportLag.fit(small_book([3, 95], [200, 200]))
    assert (lag.beyond_cover, int(lag.claims[-1])) == (1, 1)


# --- laws ----------------------------------------------------------------------------------------------------------


@given(data=st.data(), n=st.integers(1, 40))
def test_shares_rise_to_one(data, n):
    ages = data.draw(st.lists(st.integers(90, 200), min_size=n, max_size=n))
    lags = [data.draw(st.integers(0, min(age, 90))) for age in ages]
    share = ReportLag.fit(small_book(lags, ages)).share(np.arange(91))
    assert np.all(np.diff(share) >= -1e-15)
    assert share[-1] == 1.0


@given(seed=st.integers(0, 1000))
def test_thinning_by_age_does_not_move_the_curve_systematically(seed):
    _, _, book = book_of(20_000, seed=seed)
    lag = ReportLag.fit(book)
    known = ReportLag.fit(book.mature(91))
    gap = lag.share(np.arange(91)) - known.share(np.arange(91))
    assert np.abs(gap).max() < 0.05


# --- truth ---------------------------------------------------------------------------------------------------------


def true_share(mean_lag=11.0):
    from scipy.stats import gamma

    law = gamma(2.5, scale=mean_lag / 2.5)
    return law.cdf(np.arange(1, 92)) / law.cdf(91)


@pytest.mark.parametrize("method", ["empirical", "gamma"])
def test_true_curve_is_within_its_errors(method):
    _, _, book = book_of(200_000)
    lag = ReportLag.fit(book, method=method)
    gap = np.abs(lag.share(np.arange(91)) - true_share())
    # Past the last lag that was seen the product limit is 1 with error 0: add what 1 in a book of claims may hide.
    assert np.all(gap <= 4.5 * lag.std_errors[-1] + 5.0 / lag.claims[-1])
    assert lag.std_errors[-1][11] < 0.01


def test_distributions_are_close_to_lags_of_another_kind():
    _, _, book = book_of(100_000)
    for method in ("weibull", "lognormal"):
        assert np.abs(ReportLag.fit(book, method=method).share(np.arange(91)) - true_share()).max() < 0.06


def test_a_distribution_reaches_beyond_a_short_history():
    _, _, book = book_of(200_000, days=40)
    with pytest.warns(FreightRiskWarning, match="the oldest order is 39 days old"):
        short = ReportLag.fit(book)
    assert short.share(39) == 1.0
    assert ReportLag.fit(book, method="gamma").share(20) == pytest.approx(true_share()[20], abs=0.02)


def test_naive_frequency_is_biased_and_the_mature_one_is_not():
    # The last 30 days of a steady book: DOMAIN.md's illustration, mean lag 11 days, understates by about a third.
    _, _, book = book_of(400_000, rate=0.1)
    lag = ReportLag.fit(book)
    recent = book.select(book.age_days < 30)
    naive = recent.n_claims / recent.n_orders
    fitted = FrequencyModel([]).fit(recent, offset=lag.offset(recent))
    assert 1 - naive / 0.1 > 0.30
    assert fitted.base == pytest.approx(0.1, rel=0.02)


def test_new_weeks_enter_the_fit_without_bias_by_level():
    _, _, book = book_of(300_000, growth=1.0, fast=2.0)
    lag = ReportLag.fit(book, by="channel")
    assert lag.own.tolist() == [True, True, False, True]
    live, shelf = (book.codings["channel"].lookup[(name,)] for name in ("live", "shelf"))
    assert lag.share(7, slot=live) > lag.share(7, slot=shelf) + 0.2
    fitted = FrequencyModel().fit(book, offset=lag.offset(book))
    with pytest.warns(FreightRiskWarning, match=r"about .*% of the book's claims are still to be reported on"):
        plain = FrequencyModel().fit(book)
    ratio, naive = (np.exp(model.tables["channel"][live] - model.tables["channel"][shelf]) for model in (fitted, plain))
    assert ratio == pytest.approx(1.0, abs=0.02)
    assert naive > 1.05


def test_a_fit_tells_of_young_orders_unless_it_allows_for_them():
    _, _, book = book_of(20_000)
    old, young = book.select(book.age_days > 90), book.select(book.age_days < 30)
    assert unreported_share(old) == 0.0
    ages, lags = young.age_days, (young.claim_day - young.ship_day[young.claim_row]).astype(int)
    assert unreported_share(young) == pytest.approx(np.mean([np.mean(lags > age) for age in ages]))
    FrequencyModel([]).fit(old)
    FrequencyModel([]).fit(young, offset=ReportLag.fit(book).offset(young))
    for model in (FrequencyModel([]), PurePremiumModel([])):
        with pytest.warns(FreightRiskWarning, match=r"book.mature\(days\)\), or give offset=ReportLag.fit"):
            model.fit(young)


def test_reversed_claims_are_net():
    _, claims, book = book_of(300_000, rate=0.2, reversed_rate=0.25)
    assert book.left_out["claims_reversed"] == len(book.reversed_row) > 0
    assert book.n_claims + len(book.reversed_row) == (claims["report_date"] <= pd.Timestamp(AS_OF)).sum()
    lag = ReportLag.fit(book)
    assert lag.reversed_share == pytest.approx(0.25, abs=0.01)
    assert lag.share(np.arange(120)).max() > 1.0
    assert lag.share(150) == pytest.approx(1.0)
    fitted = FrequencyModel([]).fit(book, offset=lag.offset(book))
    assert fitted.base == pytest.approx(0.15, rel=0.02)
    recent = book.select(book.age_days < 40)
    assert FrequencyModel([]).fit(recent, offset=lag.offset(recent)).base == pytest.approx(0.15, rel=0.03)


def test_selection_keeps_reversals_with_their_orders():
    _, _, book = book_of(5_000, reversed_rate=0.3)
    rows = np.random.default_rng(1).uniform(size=book.n_orders) < 0.4
    part = book.select(rows)
    assert len(part.reversed_row) == rows[book.reversed_row].sum()
    assert np.array_equal(part.ship_day[part.reversed_row], book.ship_day[book.reversed_row[rows[book.reversed_row]]])


def test_thin_levels_take_the_curve_of_the_book():
    _, _, book = book_of(4_000)
    lag = ReportLag.fit(book, by="channel", min_claims=10**6)
    assert not lag.own[:-1].any()
    assert np.array_equal(lag.shares[0], lag.shares[-1])
    assert lag.table["level"].unique().tolist() == ["(all)"]


# --- real lags -----------------------------------------------------------------------------------------------------


def test_cancellations_of_a_retailer(shared_data):
    # UCI Online Retail: purchases to August 2011, cancellations to December. As of 31 August recent ones are missing.
    frame = pd.read_parquet(shared_data / "online_retail" / "cancellations.parquet").dropna(subset=["lag_days"])
    bought = frame["purchase_date"].dt.floor("D")
    orders = pd.DataFrame({"order_id": np.arange(len(frame)), "channel": "web", "ship_date": bought})
    cancelled = frame["InvoiceDate"].dt.floor("D").to_numpy()
    claims = pd.DataFrame({"order_id": np.arange(len(frame)), "freight": 1.0, "report_date": cancelled})
    claims = claims[claims["report_date"].to_numpy() >= orders["ship_date"].to_numpy()]
    orders = orders[orders["order_id"].isin(claims["order_id"])]
    late = OrderBook.from_frames(orders, claims, factors=[Factor("channel")], as_of="2011-12-08")
    early = OrderBook.from_frames(orders, claims, factors=[Factor("channel")], as_of="2011-08-31")
    known, found = ReportLag.fit(late), ReportLag.fit(early)
    naive = early.claim_day - early.ship_day[early.claim_row]
    naive_share = (naive.astype(int) <= 30).mean() / (naive.astype(int) <= 90).mean()
    assert abs(found.share(30) - known.share(30)) < 0.02
    assert abs(found.share(30) - known.share(30)) < abs(naive_share - known.share(30))


# --- bad calls -----------------------------------------------------------------------------------------------------


def test_bad_calls_are_refused():
    orders, claims, book = book_of(500)
    undated = OrderBook.from_frames(orders, claims, factors=[Factor("channel")], report_date=None)
    with pytest.raises(InputError, match="the book has no lags"):
        ReportLag.fit(undated)
    with pytest.raises(InputError, match="by is 'zone'; the book has channel"):
        ReportLag.fit(book, by="zone")
    with pytest.raises(InputError, match="method"):
        ReportLag.fit(book, method="beta")
    with pytest.raises(FitError, match="no claim within 90 days"):
        ReportLag.fit(small_book([95], [100]))
    with pytest.raises(InputError, match="whole days, zero or more"):
        ReportLag.fit(book).share([-1])
    two = orders.head(2).assign(ship_date=AS_OF - np.timedelta64(100, "D"))
    reported = {"order_id": two["order_id"], "freight": 8.0, "report_date": two["ship_date"]}
    undone = pd.DataFrame(reported | {"reversed_date": two["ship_date"] + np.timedelta64(5, "D")})
    gone = OrderBook.from_frames(two, undone, factors=[Factor("channel")], as_of=AS_OF, reversed_date="reversed_date")
    with pytest.raises(FitError, match="every claim that was followed long enough has been reversed"):
        ReportLag.fit(gone)
    late = claims.assign(reversed_date=claims["report_date"] - np.timedelta64(1, "D"))
    with pytest.raises(InputError, match="'reversed_date' is before 'report_date'"):
        OrderBook.from_frames(orders, late, factors=[Factor("channel")], reversed_date="reversed_date")
    with pytest.raises(InputError, match="reversed_date needs the day of the report"):
        OrderBook.from_frames(
            orders, claims, factors=[Factor("channel")], report_date=None, reversed_date="reversed_date"
        )


@pytest.mark.parametrize("slot", [2, -1, [0, 9], 0.5, "a", [0, 1, 0]])
def test_slots_that_the_factor_does_not_have_are_refused(slot):
    lag = ReportLag.fit(small_book([1, 2, 2, 5, 1], [100, 100, 100, 100, 1]))
    with pytest.raises(InputError, match="slot"):
        lag.share([7, 8], slot=slot)
