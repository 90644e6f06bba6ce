"""Books with every actor: each planted fact is in the truth, and is recovered from the tables."""

import re
from dataclasses import FrozenInstanceError, fields, replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from freightrisk import FrequencyModel, OrderBook
from freightrisk.datasets import (
    BuyerTruth,
    FunnelTruth,
    LineTruth,
    OptInTruth,
    RingTruth,
    ShiftTruth,
    SimulatedBook,
    simulate_book,
)
from freightrisk.errors import InputError
from freightrisk.lines import fit_line_returns
from freightrisk.simulation.catalogue import MERCHANT_TIERS
from freightrisk.simulation.draws import Draws
from freightrisk.simulation.lines import draw_returns, lines_of
from freightrisk.simulation.regions import REGIONS, REMOTE

N_ORDERS, CORRELATION = 120_000, 0.3
EVERYTHING = {
    "lines": LineTruth(correlation=CORRELATION),
    "buyers": BuyerTruth(),
    "rings": RingTruth(n_rings=6, members=6, orders_per_member=10, days=150),
    "shifts": ShiftTruth(n_jumps=12, n_spikes=4, spike_factor=4.0, spike_days=21),
    "funnel": FunnelTruth(),
    "opt_in": OptInTruth(selection=1.0),
}
TABLES = ("orders", "claims", "merchants", "lines", "requests", "parcels", "buyers", "enrolments")


def simulated(**parts) -> SimulatedBook:
    return simulate_book(N_ORDERS, seed=11, **parts)


@pytest.fixture(scope="module")
def lined():
    """A book of lines and nothing else."""
    return simulated(lines=EVERYTHING["lines"])


@pytest.fixture(scope="module")
def plain():
    """A book of lines whose merchants are equal."""
    return simulated(lines=EVERYTHING["lines"], merchant_deviation=0)


@pytest.fixture(scope="module")
def funnelled():
    return simulated(lines=EVERYTHING["lines"], funnel=FunnelTruth())


@pytest.fixture(scope="module")
def peopled():
    return simulated(lines=EVERYTHING["lines"], buyers=BuyerTruth())


@pytest.fixture(scope="module")
def full():
    return simulated(**EVERYTHING)


def assert_same(left, right):
    """Assert that two frames have the same columns, types and values."""
    # pandas' own assertion takes seconds for columns of a hundred thousand labels.
    assert left.dtypes.astype(str).to_dict() == right.dtypes.astype(str).to_dict()
    assert left.equals(right)


def by_order(book, claims=None):
    """Return the number of claims of each order, in the sequence of the orders."""
    claims = book.claims if claims is None else claims
    return np.bincount(claims["order_id"] - 1, minlength=len(book.orders))


def z_of_claims(book, which, *, correlation=CORRELATION):
    """Return claims less expected claims of some orders over the standard deviation of beta-binomial counts."""
    facts, n = book.truth.actors.orders, book.orders["n_lines"].to_numpy().astype(float)
    p = facts["line_probability"].to_numpy() * facts["covered"].to_numpy()
    variance = n * p * (1 - p) * (1 + (n - 1) * correlation)
    return (by_order(book)[which].sum() - (n * p)[which].sum()) / np.sqrt(variance[which].sum())


def z_of_share(successes, trials, share):
    return (successes - trials * share) / np.sqrt(max(trials * share * (1 - share), 1e-9))


def lined_up(book, table, columns):
    """Return columns of the orders beside the rows of a table with order_id."""
    return book.orders[columns].iloc[table["order_id"].to_numpy() - 1].reset_index(drop=True)


# Draws


@given(st.integers(0, 2**63), st.lists(st.integers(0, 2**40), min_size=1, max_size=20), st.sampled_from(["a", "value"]))
def test_a_draw_depends_on_its_row_alone(seed, rows, name):
    draws = Draws(seed, "lines")
    together = draws.uniform(name, np.array(rows))
    assert [draws.uniform(name, np.array([row]))[0] for row in rows] == together.tolist()
    assert ((together > 0) & (together < 1)).all()


def test_draws_are_uniform_and_names_parts_and_neighbours_are_independent():
    rows = np.arange(200_000)
    columns = [
        Draws(5, part).uniform(name, rows) for part in ("lines", "funnel") for name in ("lag", "freight", "merge")
    ]
    columns.append(np.roll(columns[0], 1))
    for column in columns:
        assert stats.kstest(column, "uniform").pvalue > 1e-3
    correlation = np.corrcoef(columns) - np.eye(len(columns))
    assert np.abs(correlation).max() < 4.5 / np.sqrt(len(rows))


def test_gamma_draws_have_their_law_below_the_cut():
    drawn = Draws(3, "lines").gamma("lag", np.arange(100_000), shape=2.5, upper=3.0)
    law = stats.gamma(2.5, scale=1 / 2.5)
    assert drawn.max() <= 3.0
    assert stats.kstest(drawn, lambda x: law.cdf(x) / law.cdf(3.0)).pvalue > 1e-3


# Lines


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("probability", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_urn_draws_beta_binomial_counts(n, probability, correlation):
    orders = 40_000
    lines = lines_of(np.full(orders, n))
    back = draw_returns(Draws(7, "lines"), lines, np.full(orders, probability), correlation=correlation)
    seen = np.bincount(np.bincount(lines.row[back], minlength=orders), minlength=n + 1)
    size = 1 / max(correlation, 1e-9) - 1
    chances = stats.betabinom.pmf(np.arange(n + 1), n, probability * size, (1 - probability) * size)
    common = chances * orders > 5
    chi_square = ((seen - orders * chances)[common] ** 2 / (orders * chances)[common]).sum()
    assert stats.chi2(common.sum()).sf(chi_square) > 1e-4
    # No line of an order is special.
    each = np.bincount(lines.number[back], minlength=n)
    assert (np.abs(each - orders * probability) < 4.5 * np.sqrt(orders * probability * (1 - probability))).all()


def test_no_order_claims_more_than_its_lines_and_no_line_claims_twice(lined):
    assert (by_order(lined) <= lined.orders["n_lines"]).all()
    assert not lined.claims.duplicated(["order_id", "line_no"]).any()
    assert (lined.claims["line_no"] <= lined_up(lined, lined.claims, ["n_lines"])["n_lines"]).all()


def test_lines_are_the_lines_of_the_orders_and_add_up_to_the_order_value(lined):
    np.testing.assert_array_equal(np.bincount(lined.lines["order_id"])[1:], lined.orders["n_lines"])
    value = lined.lines.groupby("order_id")["line_value"].sum()
    np.testing.assert_allclose(value, lined.orders["order_value"], rtol=0, atol=1e-6)
    first = lined.lines[lined.lines["line_no"] == 1]
    np.testing.assert_array_equal(first["line_value"], lined.orders["price"])


@pytest.mark.parametrize("by", ["industry", "channel", "campaign", "zone", "n_lines"])
def test_claims_of_lines_add_up_to_the_truth_in_every_group(lined, by):
    for _, rows in lined.orders.groupby(by, observed=True).indices.items():
        assert abs(z_of_claims(lined, rows)) < 4.5
    assert lined.truth.claim_intensity.sum() == pytest.approx(len(lined.claims), abs=5 * np.sqrt(len(lined.claims)))


def test_line_probability_is_that_of_the_tables(plain):
    shipped = plain.orders["ship_date"].notna().to_numpy()
    old = simulated(merchant_deviation=0)
    probability = plain.truth.actors.orders["line_probability"].to_numpy()
    np.testing.assert_allclose(-np.log1p(-probability), old.truth.claim_intensity, rtol=1e-9, atol=1e-15)
    assert (probability[~shipped] == 0).all()
    np.testing.assert_allclose(plain.truth.claim_intensity, probability * plain.orders["n_lines"], rtol=1e-12)


@pytest.mark.parametrize("correlation", [0.0, CORRELATION])
def test_counts_of_returned_lines_recover_probability_and_correlation(correlation):
    book = simulated(lines=LineTruth(correlation=correlation), merchant_deviation=0)
    one_leaf = book.orders["leaf"].astype(str).eq(book.orders["leaf"].mode()[0]).to_numpy()
    rows = np.flatnonzero(book.orders["industry"].eq("womens_wear") & book.orders["ship_date"].notna())
    assert one_leaf.sum() > 1_000
    frame = pd.DataFrame({"n_lines": book.orders["n_lines"].iloc[rows], "claims": by_order(book)[rows]})
    none, complete = frame["claims"] == 0, frame["claims"] == frame["n_lines"]
    counts = frame.assign(none=none, partial=~none & ~complete, complete=complete)
    counts = counts.groupby("n_lines")[["none", "partial", "complete"]].sum().reset_index()
    fitted = fit_line_returns(counts)
    # Probabilities differ between the orders, which adds their variance over p (1 - p) to the correlation.
    p = book.truth.actors.orders["line_probability"].to_numpy()[rows]
    spread = p.var() / (p.mean() * (1 - p.mean()))
    expected = correlation + (1 - correlation) * spread
    assert fitted.probability == pytest.approx(p.mean(), abs=0.01)
    assert fitted.correlation == pytest.approx(expected, abs=0.03)


def distances_from_truth(book, fitted):
    """Return the fitted less the true log relativities over their standard errors, against the reference levels."""
    for name, truth in book.truth.frequency.items():
        table = fitted.relativities[fitted.relativities["factor"] == name].reset_index(drop=True)
        if name in ("price", "weight_kg", "experience_score"):
            table["level"] = table.index
            assert len(table) <= len(truth)
            if len(table) < len(truth):  # bands with few claims joined their neighbours
                continue
        table = table[table["level"].isin(truth.index)].set_index("level")
        reference = table.index[table["std_error"] == 0][0]
        rest = table.drop(reference)
        true = np.log(truth[rest.index]) - np.log(truth[reference])
        yield from (rest["log_relativity"] - true) / rest["std_error"]


@pytest.mark.parametrize(
    ("family", "correlation", "tiers"),
    [("beta_binomial", CORRELATION, {"black_label": 3.0, "strong": 0.5}), ("binomial", 0.0, {})],
)
def test_models_of_lines_recover_tables_and_correlation(family, correlation, tiers):
    lines = LineTruth(correlation=correlation, merchant_tier_factors=tiers)
    sim = simulated(lines=lines, merchant_deviation=0)
    assert ("merchant_tier" in sim.truth.frequency) == bool(tiers)
    factors = sim.factors()
    book = OrderBook.from_frames(sim.orders, sim.claims, factors=factors, merchants=sim.merchants, lines="n_lines")
    assert book.n_claims == len(sim.claims)
    fitted = FrequencyModel([factor.name for factor in factors], family=family).fit(book)
    assert (fitted.family_parameter or 0.0) == pytest.approx(correlation, abs=0.02)
    assert fitted.dispersion == pytest.approx(1.0, abs=0.03)
    scores = np.array(list(distances_from_truth(sim, fitted)))
    assert len(scores) > 200
    assert np.abs(scores).max() < 4.5
    assert np.mean(scores**2) == pytest.approx(1.0, abs=0.5)  # leaves share the error of their reference


def test_regions_and_tiers_have_their_factors(plain):
    effects = {"region": {"guangdong": 2.0, "tibet": 0.0, "henan": 0.5}, "merchant_tier": {"super_factory": 3.0}}
    lines = LineTruth(
        correlation=CORRELATION, region_factors=effects["region"], merchant_tier_factors=effects["merchant_tier"]
    )
    book = simulated(lines=lines, merchant_deviation=0)
    assert [one.name for one in book.factors()][-2:] == ["region", "merchant_tier"]
    tier = book.merchants["merchant_tier"].array.take(book.orders["merchant_id"] - 1)
    levels = book.orders[["region"]].assign(merchant_tier=tier)
    factor = np.ones(N_ORDERS)
    for name, table in effects.items():
        assert book.truth.frequency[name].to_dict() == dict.fromkeys(levels[name].cat.categories, 1.0) | table
        factor *= levels[name].astype(str).map(table).fillna(1.0)
        for level in {"standard", "shandong", *table} & set(levels[name].cat.categories) - {"tibet"}:
            which = levels[name].eq(level).to_numpy()
            assert which.sum() > 100
            assert abs(z_of_claims(book, which)) < 4
    assert by_order(book)[levels["region"].eq("tibet")].sum() == 0
    was, now = (-np.log1p(-one.truth.actors.orders["line_probability"]) for one in (plain, book))
    np.testing.assert_allclose(now, was * factor, rtol=1e-9, atol=1e-15)
    untouched = (factor == 1.0).to_numpy()
    np.testing.assert_array_equal(by_order(book)[untouched], by_order(plain)[untouched])


@pytest.mark.parametrize("funnel", [None, FunnelTruth()])
def test_exchanges_of_two_legs_pay_the_parcel_with_the_new_goods_too(funnel):
    one, two = (
        simulated(lines=LineTruth(correlation=0.5, exchange_share=0.4, exchange_legs=legs), funnel=funnel).claims
        for legs in (1, 2)
    )
    assert one["legs"].eq(1).all()
    assert one["outbound_freight"].eq(0).all()
    exchange = two["kind"].eq("exchange")
    np.testing.assert_array_equal(two["legs"], np.where(exchange, 2, 1))
    np.testing.assert_array_equal(two["outbound_freight"] > 0, exchange)
    back, out = ((two[name] * 100).round().astype(int) for name in ("freight", "outbound_freight"))
    np.testing.assert_array_equal(back - out, (one["freight"] * 100).round())
    rest = ["claim_id", "order_id", "line_no", "report_date", "kind"]
    assert_same(two[rest], one[rest])
    if funnel is None:
        return
    # The exchanges of one parcel go out in one parcel, whose freight has the law of a return.
    sent = pd.DataFrame({"parcel": two["parcel_id"], "order_id": two["order_id"], "fen": out})[exchange]
    by_parcel = sent.groupby("parcel").agg(order_id=("order_id", "first"), fen=("fen", "sum"), n=("fen", "size"))
    assert (by_parcel["n"] > 1).any()
    assert sent.groupby("parcel")["fen"].agg(lambda parts: parts.max() - parts.min()).max() <= 1
    mean = simulated(lines=LineTruth()).truth.mean_freight[by_parcel["order_id"] - 1]
    ratio = by_parcel["fen"] / 100 / mean
    assert abs(ratio.mean() - 1) < 4 / np.sqrt(10 * len(ratio))
    assert ratio.std() == pytest.approx(10**-0.5, rel=0.05)


def test_exchanges_have_their_share(lined):
    share = lined.claims["kind"].eq("exchange")
    assert abs(z_of_share(share.sum(), len(share), 0.1)) < 4
    assert set(lined.claims["kind"].cat.categories) == {"return", "exchange"}


# A part leaves the others as they are


def test_the_same_arguments_give_the_same_book(full):
    again = simulated(**EVERYTHING)
    for name in TABLES:
        assert_same(getattr(again, name), getattr(full, name))
    for name in ("orders", "buyers", "rings", "jumps", "spikes", "merchants"):
        assert_same(getattr(again.truth.actors, name), getattr(full.truth.actors, name))


def test_parts_leave_the_orders_of_the_old_book_as_they_are(full):
    old = simulated()
    assert_same(full.orders[old.orders.columns.tolist()], old.orders)
    assert_same(full.merchants[old.merchants.columns.tolist()], old.merchants)
    for name, table in old.truth.frequency.items():
        pd.testing.assert_series_equal(full.truth.frequency[name], table)


def test_a_part_leaves_the_draws_of_the_others_as_they_are(lined, funnelled, peopled, full):
    for book in (funnelled, peopled, full):
        assert_same(book.lines, lined.lines)
        assert book.orders["region"].equals(lined.orders["region"])
    key = ["order_id", "line_no", "kind"]
    claimed = [book.claims[key].sort_values(key, ignore_index=True) for book in (lined, funnelled)]
    assert_same(*claimed)
    n = len(peopled.buyers)
    assert_same(full.buyers.head(n), peopled.buyers)


def test_orders_that_no_part_touches_keep_their_claims(lined):
    shifted = simulated(lines=EVERYTHING["lines"], shifts=EVERYTHING["shifts"], opt_in=EVERYTHING["opt_in"])
    facts = shifted.truth.actors.orders
    same = (facts["shift_factor"] == 1) & facts["covered"]
    assert 0.3 < same.mean() < 0.99
    key = ["order_id", "line_no", "kind", "report_date", "freight"]
    kept = [
        book.claims.loc[same.to_numpy()[book.claims["order_id"] - 1], key].sort_values(key, ignore_index=True)
        for book in (lined, shifted)
    ]
    assert_same(*kept)


# Buyers


def test_every_order_has_a_buyer_of_its_region_and_a_region_of_its_zone(full):
    buyers = full.buyers.set_index("buyer_id")
    assert full.buyers["buyer_id"].is_unique
    home = full.orders["buyer_id"].map(buyers["region"])
    assert home.notna().all()
    assert (home.astype(str) == full.orders["region"].astype(str)).all()
    remote = full.orders["region"].isin(REMOTE)
    assert (remote == (full.orders["zone"] == "remote")).all()
    seller = full.orders["merchant_id"].map(full.merchants.set_index("merchant_id")["region"]).astype(str)
    same = seller == full.orders["region"].astype(str)
    assert (same == (full.orders["zone"] == "intra_province")).all()


def test_an_address_is_one_household_or_one_dormitory(peopled):
    known = peopled.buyers.merge(peopled.truth.actors.buyers, on="buyer_id", validate="one_to_one")
    home = known["dormitory_id"] == 0
    assert known[home].groupby("household_id")["address_hash"].nunique().max() == 1
    assert known[~home].groupby("dormitory_id")["address_hash"].nunique().max() == 1
    n_addresses = known.loc[home, "household_id"].nunique() + known.loc[~home, "dormitory_id"].nunique()
    assert known["address_hash"].nunique() == n_addresses
    assert known.groupby("address_hash")["region"].nunique().max() == 1
    assert known[~home].groupby("household_id").size().max() == 1
    assert abs(z_of_share((~home).sum(), len(home), 0.05)) < 4
    assert 20 < known[~home].groupby("dormitory_id").size().max() <= 40


@pytest.mark.parametrize(("size", "dormitories"), [(2.2, 0.05), (6.0, 0.5), (1.0, 0.2), (10.0, 0.0)])
def test_households_have_their_mean_size_whatever_share_lives_in_dormitories(size, dormitories):
    options = BuyerTruth(household_size=size, dormitory_share=dormitories, orders_per_buyer=1)
    book = simulate_book(40_000, seed=5, lines=LineTruth(), buyers=options)
    known, region = book.truth.actors.buyers, book.buyers["region"]
    home = (known["dormitory_id"] == 0).to_numpy()
    assert abs(z_of_share((~home).sum(), len(home), dormitories)) < 4
    # A buyer starts a household with probability 1 / size, and the first buyer of a region always starts one.
    n, first = home.sum(), region[home].nunique()
    assert abs(z_of_share(known.loc[home, "household_id"].nunique() - first, n - first, 1 / size)) < 4


@pytest.mark.parametrize("mean", [1.0, 1.5, 30.0, 3_650.0])
def test_accounts_have_their_mean_age(mean):
    options = BuyerTruth(account_age_days=mean, orders_per_buyer=1)
    book = simulate_book(20_000, seed=6, lines=LineTruth(), buyers=options)
    age_days = (book.orders["order_date"].min() - book.buyers["account_opened"]).dt.days
    assert age_days.min() >= 1
    cut = 1 - (1 - 1 / mean) ** 20_000
    assert abs(age_days.mean() - mean * cut) <= 4 * np.sqrt(mean * (mean - 1) / len(age_days))


def test_devices_and_phones_are_shared_in_the_household_alone(peopled):
    known = peopled.buyers.merge(peopled.truth.actors.buyers, on="buyer_id")
    for name in ("device_hash", "phone_hash"):
        assert known.groupby(name)["household_id"].nunique().max() == 1
    assert known["device_hash"].nunique() < known["phone_hash"].nunique() < len(known)
    assert known.loc[known["dormitory_id"] > 0, "device_hash"].is_unique


def test_hashes_hold_no_number_of_a_person(peopled):
    for name in ("device_hash", "address_hash", "phone_hash"):
        assert peopled.buyers[name].str.fullmatch("[0-9a-f]{16}").all()
    again = simulate_book(N_ORDERS, seed=12, lines=LineTruth(), buyers=BuyerTruth())
    assert not set(again.buyers["phone_hash"]) & set(peopled.buyers["phone_hash"])


def test_accounts_have_a_history_and_the_standing_that_follows_from_it(peopled):
    buyers = peopled.buyers
    assert (buyers["account_opened"] < peopled.orders["order_date"].min()).all()
    assert (buyers["claims_before"] <= buyers["orders_before"]).all()
    share = buyers["claims_before"] / buyers["orders_before"].clip(lower=1)
    assert share[buyers["standing"] == "limited"].min() >= 0.4
    assert share[buyers["standing"] == "watch"].between(0.25, 1).all()
    assert 0.9 < (buyers["standing"] == "clean").mean() < 1
    age_days = (peopled.orders["order_date"].min() - buyers["account_opened"]).dt.days
    assert age_days.mean() == pytest.approx(1_000, rel=5 / np.sqrt(len(buyers)))


def test_buyers_claim_by_their_factor_and_super_buyers_order_most(peopled):
    truth = peopled.truth.actors.buyers
    factor = truth["claim_factor"].to_numpy()[peopled.orders["buyer_id"] - 1]
    np.testing.assert_array_equal(factor, peopled.truth.actors.orders["buyer_factor"])
    for half in (factor < 1, factor >= 1):
        assert abs(z_of_claims(peopled, half)) < 4
    assert truth["claim_factor"].std() == pytest.approx(0.3, abs=0.01)
    assert peopled.buyers["buyer_tier"].eq("super").sum() == round(0.02 * len(truth))
    volume = peopled.orders.groupby("buyer_tier", observed=True).size() / peopled.buyers["buyer_tier"].value_counts()
    assert volume["super"] > 3 * volume["standard"]
    assert len(peopled.orders) / len(truth) == pytest.approx(8, rel=0.05)
    assert truth["claim_factor"].corr(peopled.buyers["claims_before"] / peopled.buyers["orders_before"]) > 0.1


def test_without_a_factor_of_buyers_lines_claim_as_in_a_book_without_buyers(lined):
    book = simulated(lines=EVERYTHING["lines"], buyers=BuyerTruth(claim_deviation=0))
    assert_same(book.claims, lined.claims)


# The funnel


def test_keys_join(full):
    orders, requests, parcels, claims = full.orders, full.requests, full.parcels, full.claims
    for frame, key in ((requests, "request_id"), (parcels, "parcel_id"), (claims, "claim_id")):
        np.testing.assert_array_equal(frame[key], np.arange(1, len(frame) + 1))
        assert frame["order_id"].isin(orders["order_id"]).all()
    assert not requests.duplicated(["order_id", "line_no"]).any()
    sent = requests[requests["outcome"] == "returned"]
    assert set(sent["parcel_id"]) == set(parcels["parcel_id"])
    assert (requests.loc[requests["outcome"] != "returned", "parcel_id"] == 0).all()
    np.testing.assert_array_equal(sent["parcel_id"].value_counts().sort_index(), parcels["n_lines"])
    opened = requests.set_index("request_id").loc[parcels["request_id"]]
    np.testing.assert_array_equal(opened["order_id"], parcels["order_id"])
    np.testing.assert_array_equal(opened["parcel_id"], parcels["parcel_id"])
    asked = requests.set_index("request_id").loc[claims["request_id"]]
    for name in ("order_id", "line_no", "parcel_id", "kind", "cause", "fault"):
        np.testing.assert_array_equal(asked[name].astype(str), claims[name].astype(str))
    packed = parcels.set_index("parcel_id").loc[claims["parcel_id"]]
    for name in ("order_id", "official_pickup"):
        np.testing.assert_array_equal(packed[name].astype(str), claims[name].astype(str))


def test_dates_are_in_order(full):
    claims = full.claims
    asked = full.requests.set_index("request_id").loc[claims["request_id"], "request_date"].to_numpy()
    packed = full.parcels.set_index("parcel_id").loc[claims["parcel_id"]]
    shipped = lined_up(full, claims, ["order_date", "ship_date"])
    steps = [shipped["order_date"], shipped["ship_date"], asked, packed["pickup_date"], packed["received_date"]]
    steps += [claims["report_date"], claims["decision_date"], claims["closed_date"]]
    for before, after in pairwise(steps):
        assert (np.asarray(before) <= np.asarray(after)).all()
    np.testing.assert_array_equal(packed["received_date"], claims["report_date"])
    assert (claims["report_date"] - shipped["ship_date"] <= pd.Timedelta(days=90)).all()
    appealed = claims[claims["appeal"] != "none"]
    assert (appealed["decision_date"] <= appealed["appeal_date"]).all()
    assert (appealed["appeal_date"] <= appealed["closed_date"]).all()
    assert claims["report_date"].is_monotonic_increasing
    requests = full.requests.merge(full.orders[["order_id", "ship_date"]], on="order_id")
    assert (requests["request_date"] >= requests["ship_date"]).all()
    asked_by_parcel = full.requests[full.requests["parcel_id"] > 0].groupby("parcel_id")["request_date"].max()
    assert (asked_by_parcel.to_numpy() <= full.parcels["pickup_date"].to_numpy()).all()


def test_stages_have_their_shares(funnelled):
    facts, n = funnelled.truth.actors.orders, funnelled.orders["n_lines"]
    funnel, requests = FunnelTruth(), funnelled.requests
    asked, claimed = n * facts["request_probability"], n * facts["line_probability"]
    assert len(requests) == pytest.approx(asked.sum(), abs=5 * np.sqrt(asked.sum()))
    uncapped = facts["request_probability"] < 1
    assert uncapped.mean() > 0.99
    np.testing.assert_allclose(claimed[uncapped], funnel.claim_share * asked[uncapped], rtol=1e-12)
    part = requests[uncapped.to_numpy()[requests["order_id"] - 1]]
    without_claim = part[~part["request_id"].isin(funnelled.claims["request_id"])]
    sent = 1 - funnel.retained_share - funnel.refund_only_share
    shares = {
        "retained": funnel.retained_share,
        "refund_only": funnel.refund_only_share,
        "returned": sent * funnel.outside_share,
    }
    for outcome, share in shares.items():
        seen = (without_claim["outcome"] == outcome).sum()
        assert abs(z_of_share(seen, len(without_claim), share / (1 - funnel.claim_share))) < 4
    assert (part.loc[~part.index.isin(without_claim.index), "outcome"] == "returned").all()
    assert len(funnelled.claims) / len(requests) == pytest.approx(funnel.claim_share, abs=0.02)
    returned = part[part["outcome"] == "returned"]
    outside = ~returned["request_id"].isin(funnelled.claims["request_id"])
    assert outside.mean() == pytest.approx(funnel.outside_share, abs=0.015)


def test_causes_and_faults_have_their_shares(funnelled):
    funnel, requests = FunnelTruth(), funnelled.requests
    for cause, share in funnel.causes.items():
        rows = requests["cause"] == cause
        assert abs(z_of_share(rows.sum(), len(rows), share)) < 4
        at_fault = requests.loc[rows, "fault"].eq("merchant")
        assert abs(z_of_share(at_fault.sum(), len(at_fault), funnel.merchant_fault[cause])) < 4


def test_parcels_hold_lines_of_one_order_and_merge_by_their_share(funnelled):
    claims = funnelled.claims.sort_values(["order_id", "line_no"])
    assert claims.groupby("parcel_id")["order_id"].nunique().max() == 1
    of_order = claims.groupby("order_id")["parcel_id"]
    further = len(claims) - of_order.ngroups
    merged = len(claims) - of_order.nunique().sum()
    assert further > 500
    assert abs(z_of_share(merged, further, 0.7)) < 4


def test_the_claims_of_a_parcel_share_its_freight_to_the_fen(full):
    fen = ((full.claims["freight"] - full.claims["outbound_freight"]) * 100).round().astype(int)
    total = fen.groupby(full.claims["parcel_id"]).sum()
    packed = (full.parcels.set_index("parcel_id")["freight"] * 100).round().astype(int)
    np.testing.assert_array_equal(total, packed[total.index])
    assert fen.min() >= 1
    spread = fen.groupby(full.claims["parcel_id"]).agg(lambda parts: parts.max() - parts.min())
    assert spread.max() <= 1


def test_parcels_have_the_lag_and_the_freight_of_the_truth(funnelled):
    truth, parcels = funnelled.truth, funnelled.parcels
    lag_days = (parcels["received_date"] - lined_up(funnelled, parcels, ["ship_date"])["ship_date"]).dt.total_seconds()
    law = stats.gamma(truth.lag_shape, scale=truth.lag_mean_days / truth.lag_shape)
    assert stats.kstest(lag_days / 86_400, lambda x: law.cdf(x) / law.cdf(90)).pvalue > 1e-3
    ratio = parcels["freight"].to_numpy() / truth.mean_freight[parcels["order_id"] - 1]
    assert stats.kstest(ratio, stats.gamma(10, scale=0.1).cdf).pvalue > 1e-3


def test_parcels_outside_the_cover_are_not_official(full):
    official = full.parcels["official_pickup"].eq("yes")
    claimed = full.parcels["parcel_id"].isin(full.claims["parcel_id"])
    assert abs(z_of_share(official[claimed].sum(), claimed.sum(), 0.9)) < 4
    outside = full.requests[~full.requests["request_id"].isin(full.claims["request_id"])]
    own = full.parcels["request_id"].isin(outside["request_id"]) & (full.parcels["n_lines"] == 1)
    in_cover = full.truth.actors.orders["covered"].to_numpy()[full.parcels["order_id"] - 1]
    assert not official[own & in_cover].any()


def test_decisions_and_appeals_have_their_shares(funnelled):
    funnel, claims = FunnelTruth(), funnelled.claims
    decision, appeal = claims["decision"].astype(str), claims["appeal"].astype(str)
    at_first = (decision == "refused") | (appeal == "buyer")
    assert abs(z_of_share(at_first.sum(), len(claims), funnel.refused_share)) < 4
    assert abs(z_of_share((appeal == "buyer").sum(), at_first.sum(), funnel.buyer_appeal_share)) < 4
    assert abs(z_of_share((appeal == "merchant").sum(), (~at_first).sum(), funnel.merchant_appeal_share)) < 4
    accepted = claims["appeal_outcome"] == "accepted"
    assert abs(z_of_share(accepted.sum(), (appeal != "none").sum(), funnel.appeal_success)) < 4
    np.testing.assert_array_equal(decision == "reversed", accepted & (appeal == "merchant"))
    np.testing.assert_array_equal(claims["reversed_date"].notna(), decision == "reversed")
    np.testing.assert_array_equal(claims["reason"].eq("none"), (decision == "paid") & (appeal != "buyer"))
    assert claims.loc[decision == "reversed", "reversed_date"].equals(claims.loc[decision == "reversed", "closed_date"])


def test_a_book_takes_the_reversed_claims(funnelled):
    paid = funnelled.claims[funnelled.claims["decision"] != "refused"]
    book = OrderBook.from_frames(
        funnelled.orders, paid, factors=[], reversed_date="reversed_date", claim_id="claim_id", lines="n_lines"
    )
    assert book.n_claims == (paid["decision"] == "paid").sum()


def test_a_funnel_that_loses_nothing_has_a_request_for_each_claim():
    funnel = FunnelTruth(retained_share=0, refund_only_share=0, outside_share=0, merge_share=0, refused_share=0)
    book = simulate_book(20_000, seed=2, lines=LineTruth(), funnel=funnel)
    alone = simulate_book(20_000, seed=2, lines=LineTruth())
    assert len(book.requests) == len(book.parcels) == len(book.claims)
    assert_same(book.claims[alone.claims.columns.tolist()], alone.claims)


# Rings


def test_rings_are_planted_as_the_truth_says(full):
    rings, truth = EVERYTHING["rings"], full.truth.actors
    facts, table = truth.orders, truth.rings
    assert table["ring_id"].tolist() == list(range(1, 7))
    np.testing.assert_array_equal(facts["ring_id"].value_counts().drop(0).sort_index(), table["n_orders"])
    assert (table["n_orders"] == rings.members * rings.orders_per_member).all()
    assert (table["region"].isin(REMOTE) == table["far"]).all()
    assert {True, False} == set(table["far"])
    placed = full.orders[(facts["ring_id"] > 0).to_numpy()].assign(ring_id=facts["ring_id"][facts["ring_id"] > 0])
    beside = placed.merge(table, on="ring_id", suffixes=("", "_ring"))
    assert (beside["order_date"] >= beside["start"]).all()
    assert (beside["order_date"] <= beside["end"]).all()
    assert (beside["region"].astype(str) == beside["region_ring"].astype(str)).all()
    np.testing.assert_array_equal(placed.groupby("ring_id")["merchant_id"].nunique(), table["n_shops"])
    orders_of = placed["buyer_id"].value_counts()
    assert (orders_of == rings.orders_per_member).all()
    in_ring = truth.buyers.set_index("buyer_id")["ring_id"]
    np.testing.assert_array_equal(placed["buyer_id"].map(in_ring), placed["ring_id"])
    assert (in_ring > 0).sum() == rings.n_rings * rings.members


def test_members_of_a_ring_share_attributes_that_nobody_else_has(full):
    known = full.buyers.merge(full.truth.actors.buyers, on="buyer_id")
    member = known["ring_id"] > 0
    for name in ("device_hash", "address_hash", "phone_hash"):
        assert not set(known.loc[member, name]) & set(known.loc[~member, name])
        of_ring = known[member].groupby("ring_id")[name]
        assert (of_ring.nunique() == 2).all()  # six members, at most five by attribute
        assert known[member].groupby(name)["ring_id"].nunique().max() == 1
    opened = known[member].merge(full.truth.actors.rings, on="ring_id", suffixes=("", "_ring"))
    age_days = (opened["start"] - opened["account_opened"]).dt.days
    assert age_days.between(1, 90).all()


def test_more_rings_leave_the_first_as_they_are_and_few_shops_suffice_if_they_are_large():
    actors = {"lines": LineTruth(), "buyers": BuyerTruth()}
    few, more = (
        simulate_book(30_000, seed=6, n_merchants=12, **actors, rings=RingTruth(n_rings=n, members=3, shops=5))
        for n in (2, 4)
    )
    assert_same(more.truth.actors.rings.head(2), few.truth.actors.rings)
    assert_same(more.buyers.head(len(few.buyers)), few.buyers)
    first = few.truth.actors.orders["ring_id"] > 0
    assert_same(more.orders[first], few.orders[first])
    assert (more.truth.actors.rings["n_shops"] <= 5).all()


def test_rings_claim_at_the_planted_rate(full):
    facts = full.truth.actors.orders
    placed = (facts["ring_id"] > 0).to_numpy()
    assert (facts.loc[placed, "line_probability"] == 0.8).all()
    assert abs(z_of_claims(full, placed)) < 4
    covered = placed & facts["covered"].to_numpy()
    rate = by_order(full)[covered].sum() / full.orders["n_lines"][covered].sum()
    assert rate > 0.7
    assert abs(z_of_claims(full, ~placed)) < 4


def test_rings_are_found_out_by_their_share(full):
    ring = full.truth.actors.orders["ring_id"].to_numpy()[full.claims["order_id"] - 1] > 0
    fraud = full.claims["reason"].eq("fraud").to_numpy()
    assert not fraud[~ring].any()
    assert abs(z_of_share(fraud[ring].sum(), ring.sum(), 0.3)) < 4
    assert full.claims.loc[fraud, "decision"].eq("refused").all()


SIGNS = ("early_return", "weight_mismatch", "route_mismatch")


def test_signs_of_fraud_are_in_the_parcels_that_the_truth_names(full):
    parcels, signs = full.parcels, full.truth.actors.parcels
    assert parcels["parcel_id"].equals(signs["parcel_id"])
    orders = lined_up(full, parcels, ["delivered_date", "region", "weight_kg", "n_lines"])
    np.testing.assert_array_equal(parcels["pickup_date"] < orders["delivered_date"], signs["early_return"])
    np.testing.assert_array_equal(
        parcels["origin_region"].astype(str) != orders["region"].astype(str), signs["route_mismatch"]
    )
    expected_kg = orders["weight_kg"] * parcels["n_lines"] / orders["n_lines"]
    for lighter, (low, high) in {False: (0.95, 1.05), True: (0.05, 0.5)}.items():
        some = signs["weight_mismatch"] == lighter
        assert parcels["weight_kg"][some].between(low * expected_kg[some] - 5e-4, high * expected_kg[some] + 1e-3).all()


def test_rings_and_honest_buyers_have_their_shares_of_signs(full):
    parcels, signs = full.parcels, full.truth.actors.parcels
    ring = full.truth.actors.orders["ring_id"].to_numpy()[parcels["order_id"] - 1]
    np.testing.assert_array_equal(signs["ring_id"], ring)
    assert (ring > 0).sum() > 200
    for name, share in zip(SIGNS, (0.3, 0.4, 0.4), strict=True):
        # Parcels of one order go back early together, so its orders are counted.
        seen = signs[name].groupby(parcels["order_id"]).max() if name == "early_return" else signs[name]
        of_ring = signs["ring_id"].groupby(parcels["order_id"]).max() > 0 if name == "early_return" else ring > 0
        assert abs(z_of_share(seen[of_ring].sum(), of_ring.sum(), share)) < 4
        assert abs(z_of_share(seen[~of_ring].sum(), (~of_ring).sum(), 0.005)) < 4


def test_goods_reach_the_buyer_after_shipment_and_before_an_honest_return_is_asked_for(full):
    orders = full.orders
    assert orders["delivered_date"].isna().equals(orders["ship_date"].isna())
    assert not (orders["delivered_date"] < orders["ship_date"]).any()
    back = full.requests[full.requests["outcome"] == "returned"].merge(full.truth.actors.parcels, on="parcel_id")
    delivered = lined_up(full, back, ["delivered_date"])["delivered_date"]
    np.testing.assert_array_equal(back["request_date"] < delivered, back["early_return"])
    days = (orders["delivered_date"] - orders["ship_date"]).dt.total_seconds() / 86_400
    kept = ~orders["order_id"].isin(full.requests["order_id"]) & orders["ship_date"].notna()
    for zone, mean in {"intra_province": 1.5, "remote": 6.0}.items():
        some = days[kept & (orders["zone"] == zone)]
        assert abs(some.mean() - mean) < 4 * mean / np.sqrt(4 * len(some))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_signs_leave_everything_else_as_it_is(full, share):
    shares = {f"{name}_share": share for name in SIGNS}
    rings, funnel = replace(EVERYTHING["rings"], **shares), FunnelTruth(stray_sign_share=1 - share)
    book = simulated(**EVERYTHING | {"rings": rings, "funnel": funnel})
    for name in TABLES:
        left, right = (
            getattr(one, name).drop(columns=["delivered_date", "origin_region"], errors="ignore")
            for one in (book, full)
        )
        if name == "parcels":
            left, right = left.drop(columns="weight_kg"), right.drop(columns="weight_kg")
        assert_same(left, right)
    signs = book.truth.actors.parcels
    for name in SIGNS:
        np.testing.assert_array_equal(signs[name], (signs["ring_id"] > 0) == bool(share))


# Shifts


def test_jumps_can_be_seen_in_the_claims_of_their_merchants(lined):
    book = simulated(lines=EVERYTHING["lines"], shifts=ShiftTruth(n_jumps=12, n_spikes=0))
    jumps = book.truth.actors.jumps
    assert len(jumps) == 12
    assert jumps["merchant_id"].is_unique
    start = book.orders["merchant_id"].map(jumps.set_index("merchant_id")["start"])
    after = (book.orders["ship_date"] >= start).to_numpy()
    np.testing.assert_array_equal(book.truth.actors.orders["shift_factor"], np.where(after, 2.5, 1.0))
    assert abs(z_of_claims(book, after)) < 4
    before = lined.truth.actors.orders["line_probability"].to_numpy()
    jumped = book.truth.actors.orders["line_probability"].to_numpy()
    np.testing.assert_allclose(np.log1p(-jumped[after]), 2.5 * np.log1p(-before[after]), rtol=1e-9)
    np.testing.assert_array_equal(jumped[~after], before[~after])
    n = book.orders["n_lines"].to_numpy()
    ratio = by_order(book)[after].sum() / (n * before)[after].sum()
    assert 1.8 < ratio < 2.6  # below 2.5, because a line claims at most once
    days = (jumps["start"] - pd.Timestamp("2025-01-01")).dt.days
    assert days.between(91, 274).all()


def test_spikes_can_be_seen_in_their_regions_and_days():
    book = simulated(lines=EVERYTHING["lines"], shifts=ShiftTruth(n_jumps=0, n_spikes=4, spike_factor=4, spike_days=21))
    spikes, orders = book.truth.actors.spikes, book.orders
    assert len(spikes) == 4
    assert spikes["region"].is_unique
    inside = np.zeros(len(orders), dtype=bool)
    for spike in spikes.itertuples():
        of = orders["region"].eq(spike.region) & orders["ship_date"].between(spike.start, spike.end)
        inside |= of.to_numpy()
        assert (spike.end - spike.start).days == 20
        same_days = orders["ship_date"].between(spike.start, spike.end) & ~of
        claims, n = by_order(book), orders["n_lines"]
        assert claims[of].sum() / n[of].sum() > 1.5 * claims[same_days].sum() / n[same_days].sum()
    np.testing.assert_array_equal(book.truth.actors.orders["shift_factor"], np.where(inside, 4.0, 1.0))
    assert abs(z_of_claims(book, inside)) < 4


# Opt-in


def test_orders_are_covered_in_the_enrolments_alone(full):
    orders, enrolments = full.orders, full.enrolments
    pairs = orders[["order_id", "merchant_id", "ship_date"]].merge(enrolments, on="merchant_id")
    inside = (pairs["ship_date"] >= pairs["start"]) & ~(pairs["ship_date"] > pairs["end"])
    covered = orders["order_id"].isin(pairs.loc[inside, "order_id"])
    np.testing.assert_array_equal(orders["covered"], covered)
    assert orders["covered"].to_numpy()[full.claims["order_id"] - 1].all()
    assert 0.5 < orders["covered"].mean() < 0.95
    assert (full.truth.claim_intensity[~orders["covered"]] == 0).all()
    # Orders outside the cover have requests and returns all the same.
    assert (~orders["covered"].to_numpy()[full.requests["order_id"] - 1]).sum() > 500


def test_enrolments_of_a_merchant_do_not_overlap(full):
    assert (full.enrolments["end"].isna() | (full.enrolments["start"] <= full.enrolments["end"])).all()
    later = full.enrolments.groupby("merchant_id")["start"].shift(-1)
    assert (later.isna() | (later > full.enrolments["end"])).all()


def test_policies_keep_their_windows(full):
    truth = full.truth.actors.merchants.set_index("merchant_id")
    policy = full.orders["merchant_id"].map(truth["policy"]).astype(str)
    promoted = full.orders["campaign"] != "none"
    covered = full.orders["covered"]
    assert not covered[policy == "never"].any()
    assert not covered[(policy == "outside_campaigns") & promoted].any()
    assert not covered[(policy == "only_campaigns") & ~promoted].any()
    start, end = (full.orders["merchant_id"].map(truth[name]) for name in ("start", "end"))
    assert (full.orders["ship_date"] >= start)[covered].all()
    assert not (full.orders["ship_date"] > end)[covered].any()
    for name in ("always", "outside_campaigns", "only_campaigns"):
        assert covered[policy == name].any()
    assert truth["start"].isna().eq(truth["policy"] == "never").all()
    assert set(full.enrolments["merchant_id"]) <= set(truth.index[truth["policy"] != "never"])


@pytest.mark.parametrize(("selection", "sign"), [(2.0, 1), (0.0, 0), (-2.0, -1)])
def test_selection_decides_who_joins(selection, sign):
    options = OptInTruth(never_share=0.4, selection=selection)
    book = simulate_book(1_000, seed=4, n_merchants=20_000, lines=LineTruth(), opt_in=options)
    joined = book.truth.actors.merchants["policy"].ne("never").to_numpy()
    deviation = book.truth.merchant_deviation.to_numpy()
    gap = deviation[joined].mean() - deviation[~joined].mean()
    error = deviation.std() * np.sqrt(1 / joined.sum() + 1 / (~joined).sum())
    assert gap / error * sign > 10 if sign else abs(gap / error) < 4


def test_shares_of_enrolment():
    options = OptInTruth()
    truth = simulate_book(1_000, seed=4, n_merchants=20_000, lines=LineTruth(), opt_in=options).truth.actors.merchants
    joined = truth[truth["policy"] != "never"]
    assert abs(z_of_share(len(joined), len(truth), 0.85)) < 4
    late = joined["start"] > pd.Timestamp("2025-01-01")
    for seen, share in (
        (late, options.late_share),
        (joined["end"].notna(), options.left_share),
        (joined["policy"] == "outside_campaigns", options.outside_campaigns_share),
        (joined["policy"] == "only_campaigns", options.only_campaigns_share),
    ):
        assert abs(z_of_share(seen.sum(), len(joined), share)) < 4


# Merchants, smallest books, bad calls


def test_merchants_have_tiers_and_regions():
    merchants = simulate_book(1, n_merchants=20_000, lines=LineTruth()).merchants
    tiers = merchants["merchant_tier"].value_counts()
    for tier, share in {"standard": 0.80, "strong": 0.12, "super_factory": 0.05, "black_label": 0.03}.items():
        assert abs(z_of_share(tiers[tier], 20_000, share)) < 4
    assert abs(z_of_share((merchants["region"] == "zhejiang").sum(), 20_000, 0.25)) < 4


@pytest.mark.parametrize("options", [{}, {"n_merchants": 1}, {"n_merchants": 5, "n_days": 1}])
@pytest.mark.parametrize("n", [1, 7, 300])
def test_smallest_books_of_lines(n, options):
    parts = {name: EVERYTHING[name] for name in ("lines", "buyers", "funnel", "opt_in")}
    none = {"rings": RingTruth(n_rings=0), "shifts": ShiftTruth(n_jumps=0, n_spikes=0)}
    book = simulate_book(n, **options, **parts, **none)
    assert len(book.orders) == n
    assert book.orders["buyer_id"].isin(book.buyers["buyer_id"]).all()
    assert len(book.truth.actors.rings) == len(book.truth.actors.jumps) == len(book.truth.actors.spikes) == 0


SHARES = st.floats(0, 1)


@settings(max_examples=30)
@given(
    lines=st.builds(
        LineTruth, correlation=st.floats(0, 0.99), exchange_share=SHARES, exchange_legs=st.sampled_from([1, 2]),
        region_factors=st.dictionaries(st.sampled_from(list(REGIONS)), st.floats(0, 100)),
        merchant_tier_factors=st.dictionaries(st.sampled_from(list(MERCHANT_TIERS)), st.floats(0, 100)),
    ),
    buyers=st.builds(
        BuyerTruth, claim_deviation=st.floats(0, 5), activity_deviation=st.floats(0, 5), dormitory_share=SHARES,
        shared_device_share=SHARES, household_size=st.floats(1, 10), orders_per_buyer=st.floats(1, 100),
    ),
    funnel=st.builds(
        FunnelTruth, retained_share=st.floats(0, 0.4), refund_only_share=st.floats(0, 0.5),
        outside_share=st.floats(0, 0.99),
        merge_share=SHARES, refused_share=SHARES, appeal_success=SHARES, official_share=SHARES,
        stray_sign_share=SHARES,
    ),
    opt_in=st.builds(
        OptInTruth, never_share=st.floats(0, 0.99), late_share=SHARES, left_share=SHARES, selection=st.floats(-10, 10),
        outside_campaigns_share=st.floats(0, 0.5), only_campaigns_share=st.floats(0, 0.5),
    ),
    deviation=st.floats(0, 10),
)  # fmt: skip
def test_keys_join_in_any_book(lines, buyers, funnel, opt_in, deviation):
    book = simulate_book(
        800, seed=3, merchant_deviation=deviation, lines=lines, buyers=buyers, funnel=funnel, opt_in=opt_in
    )
    test_keys_join(book)
    test_dates_are_in_order(book)
    test_signs_of_fraud_are_in_the_parcels_that_the_truth_names(book)
    if len(book.claims):
        test_the_claims_of_a_parcel_share_its_freight_to_the_fen(book)
    assert (by_order(book) <= book.orders["n_lines"]).all()


@pytest.mark.parametrize("part", EVERYTHING.values(), ids=list(EVERYTHING))
def test_parts_are_frozen_equal_by_content_and_refuse_what_is_out_of_range(part):
    assert replace(part) == part
    assert hash(replace(part)) == hash(part)
    with pytest.raises(FrozenInstanceError):
        part.other = 1
    for one in fields(part):
        for bad in (-11, None, "many", float("nan")):
            with pytest.raises(InputError, match=f"{type(part).__name__}: {one.name}"):
                replace(part, **{one.name: bad})


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"buyers": BuyerTruth()}, r"buyers is given without lines; give lines=LineTruth\(\) too"),
        ({"funnel": FunnelTruth()}, "funnel is given without lines"),
        (
            {"lines": LineTruth(), "rings": RingTruth()},
            r"rings is given without buyers; give buyers=BuyerTruth\(\) too",
        ),
        ({"lines": 0.3}, r"lines is 0\.3; it must be a LineTruth"),
        ({"lines": LineTruth(), "funnel": OptInTruth()}, "funnel is OptInTruth.*it must be a FunnelTruth"),
        (
            {"lines": LineTruth(), "shifts": ShiftTruth()},
            "n_jumps is 10, and 0 merchants have 200 shipped orders or more",
        ),
        (
            {"lines": LineTruth(), "buyers": BuyerTruth(), "rings": RingTruth()},
            "ring 1 needs 80 shipped orders of one .* region within 60 days, and no region has more than",
        ),
    ],
)
def test_books_that_cannot_be_are_refused(arguments, match):
    with pytest.raises(InputError, match=match):
        simulate_book(100, **arguments)


@pytest.mark.parametrize(
    ("kind", "values", "match"),
    [
        (LineTruth, {"exchange_legs": 3}, r"LineTruth: exchange_legs is 3; .*\[1, 2\]"),
        (LineTruth, {"region_factors": {"mars": 2.0}}, "a level of region_factors is 'mars'; it must be one of"),
        (LineTruth, {"merchant_tier_factors": {"strong": -1}}, "merchant_tier_factors of 'strong' is -1"),
        (LineTruth, {"correlation": 1.0}, r"LineTruth: correlation is 1\.0; .*\[0, 0\.99\]"),
        (
            FunnelTruth,
            {"retained_share": 0.6, "refund_only_share": 0.5},
            "retained_share and refund_only_share add up to 1.1; together",
        ),
        (
            FunnelTruth,
            {"causes": {"no_reason": 0.5}},
            r"causes add up to 0\.5; the shares of all causes must add up to 1",
        ),
        (FunnelTruth, {"causes": {"new": 1.0}}, "merchant_fault has no probability for 'new'; give one"),
        (FunnelTruth, {"causes": {"no_reason": 2.0}}, "causes of 'no_reason' is 2.0"),
        (
            OptInTruth,
            {"outside_campaigns_share": 0.7, "only_campaigns_share": 0.6},
            r"only_campaigns_share add up to 1\.3; together",
        ),
        (BuyerTruth, {"dormitory_size": 1}, "dormitory_size is 1"),
        (RingTruth, {"members": 2.5}, "members is 2.5"),
    ],
)
def test_parts_that_cannot_be_are_refused(kind, values, match):
    with pytest.raises(InputError, match=match):
        kind(**values)


def test_reprs_of_truth_fit_on_a_line(full, lined):
    assert repr(lined.truth.actors) == "ActorTruth: 120,000 orders; tables orders"
    assert re.fullmatch(
        r"ActorTruth: .* tables orders, buyers, rings, jumps, spikes, merchants, parcels", repr(full.truth.actors)
    )
    assert full.truth.actors.parts == tuple(EVERYTHING.values())
