"""Simulated books: the claims follow the stated truth, and the book has the shape of the trade."""

import re
from hashlib import blake2b

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from freightrisk.book.book import OrderBook
from freightrisk.datasets import SimulatedBook, simulate_book
from freightrisk.errors import InputError

N_ORDERS = 120_000


@pytest.fixture(scope="module")
def sim() -> SimulatedBook:
    return simulate_book(N_ORDERS, seed=11)


@pytest.fixture(scope="module")
def plain() -> SimulatedBook:
    return simulate_book(N_ORDERS, seed=11, merchant_deviation=0)


@pytest.fixture(scope="module")
def joined(sim):
    """The claims beside their orders, and the row of each order."""
    rows = sim.claims["order_id"].map(pd.Series(np.arange(len(sim.orders)), index=sim.orders["order_id"]))
    assert rows.notna().all()
    order = sim.orders.iloc[rows.to_numpy()].reset_index(drop=True)
    return sim.claims.assign(row=rows, ship_date=order["ship_date"])


def band_codes(values, edges):
    """Bands closed on the right, without the search the module uses."""
    return pd.cut(np.asarray(values), [-np.inf, *edges, np.inf], right=True, labels=False)


def category_path(orders):
    return orders["industry"].astype(str) + " > " + orders["category"].astype(str) + " > " + orders["leaf"].astype(str)


def product_of_tables(sim, tables):
    """Multiply the published relativities for every order, through labels and bands rather than codes."""
    orders = sim.orders.merge(sim.merchants, on="merchant_id", how="left", validate="many_to_one")
    bands = {d.name: d.edges for d in sim.factors() if hasattr(d, "edges")}
    product = np.ones(len(orders))
    for name, table in tables.items():
        if name in bands:
            product *= table.to_numpy()[band_codes(orders[name], bands[name])]
        else:
            level = category_path(orders) if name == "category_path" else orders[name].astype(str)
            product *= level.map(table).to_numpy()
    return product


def digest(*frames):
    """Return a digest of frames: names, types and values, floats to ten digits."""
    found = blake2b(digest_size=12)
    for frame in frames:
        for name, column in frame.items():
            found.update(f"{name} {column.dtype}".encode())
            if isinstance(column.dtype, pd.CategoricalDtype):
                found.update(" ".join(map(str, column.cat.categories)).encode())
                column = column.cat.codes
            values = column.to_numpy()
            if values.dtype.kind == "f":
                found.update(" ".join(f"{value:.9e}" for value in values).encode())
            else:
                found.update(np.ascontiguousarray(values).tobytes())
    return found.hexdigest()


# Digests of books from before there were lines, buyers and the other parts.
OLD_BOOKS = [
    ({"n_orders": 2_000, "seed": 1}, "1c0159061d0b82d4d4a11a0d", "5a110cc561d39a8850a3e7c0"),
    (
        {"n_orders": 500, "seed": 11, "n_merchants": 7, "n_days": 40},
        "358a68ac20ee1a71d748e0e6",
        "34d6366d25869566496963c3",
    ),
    (
        {"n_orders": 3_000, "seed": 5, "merchant_deviation": 0, "n_days": 800},
        "0d3f8a7f88d9dc53b653bfe8",
        "4bf3e7836b35d1c6942bd8e9",
    ),
]


@pytest.mark.parametrize(("arguments", "frames", "tables"), OLD_BOOKS)
def test_books_without_parts_are_the_old_books(arguments, frames, tables):
    book = simulate_book(**arguments)
    assert digest(book.orders, book.claims, book.merchants) == frames
    truth = book.truth
    orders = pd.DataFrame({"intensity": truth.claim_intensity, "freight": truth.mean_freight})
    relativities = [table.to_frame("x") for table in (*truth.frequency.values(), *truth.severity.values())]
    assert digest(orders, *relativities, truth.merchant_deviation.to_frame()) == tables
    assert truth.actors is book.lines is book.requests is book.parcels is book.buyers is book.enrolments is None


def test_same_seed_same_book(sim):
    again = simulate_book(N_ORDERS, seed=11)
    assert again.orders.equals(sim.orders)
    assert again.claims.equals(sim.claims)
    assert again.merchants.equals(sim.merchants)
    np.testing.assert_array_equal(again.truth.claim_intensity, sim.truth.claim_intensity)


def test_another_seed_another_book(sim):
    other = simulate_book(N_ORDERS, seed=12)
    assert not other.orders["price"].equals(sim.orders["price"])
    assert not other.merchants["experience_score"].equals(sim.merchants["experience_score"])
    assert not other.truth.frequency["category_path"].equals(sim.truth.frequency["category_path"])


def test_categories_and_first_merchants_do_not_depend_on_the_size_of_the_book(sim):
    small = simulate_book(500, seed=11)
    n = len(small.merchants)
    assert n < len(sim.merchants)
    assert small.truth.frequency["category_path"].equals(sim.truth.frequency["category_path"])
    assert small.merchants.equals(sim.merchants.iloc[:n])
    assert small.truth.merchant_deviation.equals(sim.truth.merchant_deviation.iloc[:n])
    assert small.orders["leaf"].dtype == sim.orders["leaf"].dtype


def test_orders_do_not_depend_on_the_merchants_deviation(sim, plain):
    assert plain.orders.equals(sim.orders)
    assert plain.merchants.equals(sim.merchants)
    assert len(plain.claims) != len(sim.claims)


def test_columns_and_types(sim):
    assert sim.orders.dtypes.astype(str).to_dict() == {
        "order_id": "int64",
        "merchant_id": "int32",
        "order_date": "datetime64[us]",
        "ship_date": "datetime64[us]",
        **dict.fromkeys(["industry", "category", "leaf", "zone"], "category"),
        **dict.fromkeys(["weight_kg", "price"], "float64"),
        **dict.fromkeys(["channel", "campaign"], "category"),
        "n_lines": "int8",
    }
    assert sim.claims.dtypes.astype(str).to_dict() == {
        "claim_id": "int64",
        "order_id": "int64",
        "report_date": "datetime64[us]",
        "freight": "float64",
    }
    assert sim.merchants.dtypes.astype(str).to_dict() == {
        "merchant_id": "int32",
        "experience_score": "float64",
        "segment": "category",
    }
    assert len(sim.orders) == len(sim.truth.claim_intensity) == len(sim.truth.mean_freight) == N_ORDERS
    for frame, key in ((sim.orders, "order_id"), (sim.claims, "claim_id"), (sim.merchants, "merchant_id")):
        assert frame[key].is_unique
        assert frame.index.equals(pd.RangeIndex(len(frame)))
        assert frame.drop(columns="ship_date", errors="ignore").notna().all(axis=None)
    assert sim.orders["merchant_id"].isin(sim.merchants["merchant_id"]).all()


def test_values_are_in_range(sim):
    orders, merchants = sim.orders, sim.merchants
    assert orders["weight_kg"].min() > 0
    assert orders["price"].min() > 0
    assert orders["n_lines"].between(1, 5).all()
    assert set(orders["n_lines"]) == {1, 2, 3, 4, 5}
    assert merchants["experience_score"].between(1.0, 5.0).all()
    assert sim.claims["freight"].min() > 0
    fen = sim.claims["freight"] * 100
    np.testing.assert_allclose(fen, fen.round(), rtol=0, atol=1e-6)


def test_tree_nests_every_leaf_in_one_category_and_every_category_in_one_industry(sim):
    pairs = sim.orders[["industry", "category", "leaf"]].drop_duplicates()
    assert pairs["leaf"].is_unique
    assert pairs.groupby("category", observed=True)["industry"].nunique().max() == 1
    assert (pairs["category"].astype(str).str.split("/").str[0] == pairs["industry"].astype(str)).all()
    assert (pairs["leaf"].astype(str).str.rsplit("/", n=1).str[0] == pairs["category"].astype(str)).all()
    levels = [sim.orders[name].cat.categories.size for name in ("industry", "category", "leaf")]
    assert levels == [12, 60, 360]


def test_campaign_follows_the_ship_date(sim):
    day = sim.orders["ship_date"].dt.strftime("%m-%d")
    expected = pd.Series("none", index=day.index)
    expected[day.between("06-01", "06-20")] = "618"
    expected[day.between("10-24", "11-14")] = "double_11"
    expected[day.between("12-08", "12-14")] = "double_12"
    assert (sim.orders["campaign"].astype(str) == expected).all()
    assert sim.orders["campaign"].nunique() == 4


def test_dates_run_over_the_period(sim):
    orders = sim.orders
    assert orders["order_date"].is_monotonic_increasing
    assert orders["order_date"].iloc[0] == pd.Timestamp("2025-01-01")
    assert sim.as_of == orders["order_date"].iloc[-1] + pd.Timedelta(days=1)
    delay = (orders["ship_date"] - orders["order_date"]).dropna()
    assert delay.min() == pd.Timedelta(0)
    assert delay.max() == pd.Timedelta(days=3)
    long = simulate_book(3_000, n_days=800)
    assert long.as_of == pd.Timestamp("2025-01-01") + pd.Timedelta(days=800)
    assert set(long.orders.loc[long.orders["campaign"] == "618", "ship_date"].dt.year) == {2025, 2026}


def test_cancelled_orders_have_no_claims(sim, joined):
    cancelled = sim.orders["ship_date"].isna()
    assert abs(cancelled.sum() - 0.02 * N_ORDERS) < 4 * np.sqrt(0.02 * 0.98 * N_ORDERS)
    assert joined["ship_date"].notna().all()
    assert (sim.truth.claim_intensity[cancelled] == 0).all()
    assert (sim.truth.claim_intensity[~cancelled] > 0).all()


def test_claims_are_reported_within_the_cover_and_some_after_the_valuation(sim, joined):
    lag = joined["report_date"] - joined["ship_date"]
    assert lag.min() > pd.Timedelta(0)
    assert lag.max() <= pd.Timedelta(days=sim.truth.cover_days)
    assert sim.claims["report_date"].is_monotonic_increasing
    assert 0.005 < (sim.claims["report_date"] > sim.as_of).mean() < 0.1


def test_lag_is_the_stated_gamma(sim, joined):
    lag_days = (joined["report_date"] - joined["ship_date"]).dt.total_seconds() / 86_400
    truth = sim.truth
    law = stats.gamma(truth.lag_shape, scale=truth.lag_mean_days / truth.lag_shape)
    assert stats.kstest(lag_days, law.cdf).pvalue > 1e-3
    assert lag_days.mean() == pytest.approx(11.0, abs=4 * law.std() / np.sqrt(len(lag_days)))


def test_claims_add_up_to_the_true_intensity(sim):
    expected = sim.truth.claim_intensity.sum()
    assert abs(len(sim.claims) - expected) < 4 * np.sqrt(expected)


@pytest.mark.parametrize("by", ["industry", "category", "channel", "campaign", "zone", "n_lines", "score"])
def test_claims_add_up_to_the_true_intensity_in_every_group(sim, joined, by):
    score = sim.orders["merchant_id"].map(sim.merchants.set_index("merchant_id")["experience_score"])
    group = score.round(1) if by == "score" else sim.orders[by]
    actual = np.bincount(joined["row"], minlength=N_ORDERS)
    sums = pd.DataFrame({"actual": actual, "expected": sim.truth.claim_intensity})
    sums = sums.groupby(group, observed=True).sum()
    sums = sums[sums["expected"] > 10]
    assert len(sums) >= 4
    chi_square = ((sums["actual"] - sums["expected"]) ** 2 / sums["expected"]).sum()
    assert stats.chi2(len(sums)).sf(chi_square) > 1e-4


def test_claim_counts_are_poisson_so_an_order_can_have_several(sim, joined):
    count = np.bincount(joined["row"], minlength=N_ORDERS)
    intensity = sim.truth.claim_intensity
    several = 1 - np.exp(-intensity) * (1 + intensity)
    assert abs((count >= 2).sum() - several.sum()) < 4 * np.sqrt(several.sum())
    assert (count >= 2).sum() > 100


def test_intensity_is_the_product_of_the_tables(sim, plain):
    shipped = plain.orders["ship_date"].notna().to_numpy()
    product = plain.truth.frequency_base * product_of_tables(plain, plain.truth.frequency)
    np.testing.assert_allclose(plain.truth.claim_intensity, np.where(shipped, product, 0.0), rtol=1e-12)
    deviation = sim.orders["merchant_id"].map(sim.truth.merchant_deviation).to_numpy()
    np.testing.assert_allclose(sim.truth.claim_intensity, plain.truth.claim_intensity * deviation, rtol=1e-12)


def test_mean_freight_is_the_product_of_the_tables(sim):
    truth = sim.truth
    product = truth.severity_base * product_of_tables(sim, truth.severity)
    np.testing.assert_allclose(truth.mean_freight, product, rtol=1e-12)
    first_fee = truth.severity_base * truth.severity["zone"]
    assert first_fee.min() == pytest.approx(5.0)
    assert first_fee.max() == pytest.approx(22.0)
    assert first_fee.idxmax() == "remote"
    started = np.clip(np.ceil(sim.orders["weight_kg"].to_numpy()) - 1, 0, 10)
    by_tariff = sim.orders["zone"].astype(str).map(first_fee).to_numpy() * (1 + 0.25 * started)
    np.testing.assert_allclose(truth.mean_freight, by_tariff, rtol=1e-12)


def test_freight_is_gamma_around_its_true_mean(sim, joined):
    shape = sim.truth.severity_shape
    ratio = joined["freight"].to_numpy() / sim.truth.mean_freight[joined["row"]]
    assert ratio.mean() == pytest.approx(1.0, abs=4 / np.sqrt(shape * len(ratio)))
    assert stats.kstest(ratio, stats.gamma(shape, scale=1 / shape).cdf).pvalue > 1e-3


def test_tables_carry_the_levels_and_bands_of_the_declared_factors(sim):
    truth, declared = sim.truth, sim.factors()
    assert tuple(truth.frequency) == sim.frequency_factors == tuple(d.name for d in declared)
    assert tuple(truth.severity) == sim.severity_factors
    columns = {*sim.orders, *sim.merchants}
    for factor in declared:
        table = truth.frequency[factor.name]
        assert (table > 0).all()
        if factor.name == "category_path":
            assert factor.columns == ("industry", "category", "leaf")
            assert [path.split(" > ")[-1] for path in table.index] == list(sim.orders["leaf"].cat.categories)
        elif hasattr(factor, "edges"):
            assert factor.name in columns
            assert list(table.index) == list(range(len(factor.edges) + 1))
        else:
            assert list(table.index) == list(sim.orders[factor.name].cat.categories)
    assert len(truth.severity["weight_kg"]) == len(truth.frequency["weight_kg"])


def test_a_book_learns_the_levels_of_the_tables(sim):
    book = OrderBook.from_frames(
        sim.orders, sim.claims, factors=sim.factors(), merchants=sim.merchants, as_of=sim.as_of
    )
    known = (sim.claims["report_date"] < sim.as_of + pd.Timedelta(days=1)).sum()
    assert book.n_claims == known < len(sim.claims)
    for name, table in sim.truth.frequency.items():
        labels = [label for label in book.codings[name].labels if "(other)" not in label]
        if name in ("price", "weight_kg", "experience_score"):
            assert 4 <= len(labels) <= len(table)  # bands without claims join their neighbour
        else:
            assert len(labels) > 3
            assert set(labels) <= set(table.index)


def test_better_score_lower_frequency_and_a_campaign_raises_it(sim):
    assert sim.truth.frequency["experience_score"].is_monotonic_decreasing
    campaign = sim.truth.frequency["campaign"]
    assert (campaign.drop("none") > campaign["none"]).all()


def test_zero_deviation_is_exactly_one_for_every_merchant(plain):
    assert (plain.truth.merchant_deviation == 1.0).all()
    assert (simulate_book(100, merchant_deviation=1e-300).truth.merchant_deviation == 1.0).all()


@pytest.mark.parametrize("deviation", [0.1, 0.3, 0.8])
def test_merchant_deviation_has_mean_one_and_the_stated_spread(deviation):
    n = 20_000
    drawn = simulate_book(1, seed=2, n_merchants=n, merchant_deviation=deviation).truth.merchant_deviation
    assert list(drawn.index[:3]) == [1, 2, 3]
    assert drawn.min() > 0
    assert drawn.mean() == pytest.approx(1.0, abs=4 * deviation / np.sqrt(n))
    assert drawn.std() == pytest.approx(deviation, rel=0.05)


def test_claim_rates_lie_in_the_published_ranges(sim):
    shipped = sim.orders["ship_date"].notna().to_numpy()
    orders = sim.orders[shipped].assign(intensity=sim.truth.claim_intensity[shipped])
    assert 0.06 < orders["intensity"].mean() < 0.09
    cells = orders.groupby(["category", "channel"], observed=True)["intensity"].agg(["mean", "size"])
    cells = cells[cells["size"] >= 100]["mean"]
    assert cells.between(0.002, 0.45).all()
    rate = orders.groupby(["industry", "channel"], observed=True)["intensity"].mean()
    assert 0.15 < rate["womens_wear", "shelf"] < 0.30
    assert 0.25 < rate["womens_wear", "live_stream"] < 0.45
    assert rate["books", "shelf"] < 0.01
    pure_premium = orders["intensity"] * sim.truth.mean_freight[shipped]
    assert 0.3 < pure_premium.mean() < 1.2
    assert pure_premium.quantile(0.99) < 5
    assert pure_premium.quantile(0.01) < 0.05


def test_leaf_volumes_are_heavy_tailed(sim):
    volume = sim.orders["leaf"].value_counts()
    assert len(volume) == 360
    assert volume.min() > 0
    assert volume.iloc[:36].sum() > 0.5 * N_ORDERS
    assert volume.iloc[180:].sum() < 0.15 * N_ORDERS
    assert volume.iloc[0] > 100 * volume.iloc[-1]


def test_a_merchant_sells_in_one_industry_and_industries_have_their_share(sim):
    assert sim.orders.groupby("merchant_id")["industry"].nunique().max() == 1
    share = sim.orders["industry"].value_counts(normalize=True)
    assert share["womens_wear"] == pytest.approx(0.18, abs=0.005)
    assert share["books"] == pytest.approx(0.02, abs=0.002)
    within = sim.orders["category"].value_counts()[[f"books/{name}" for name in ("fiction", "textbooks", "maps")]]
    assert within.is_monotonic_decreasing


def test_merchant_sizes_are_heavy_tailed_and_scores_skewed(sim):
    size = sim.orders["merchant_id"].value_counts().reindex(sim.merchants["merchant_id"], fill_value=0)
    assert len(size) == N_ORDERS // 250
    assert size.nlargest(len(size) // 10).sum() > 0.35 * N_ORDERS
    assert size.median() < 0.6 * size.mean()
    merchants = simulate_book(1, n_merchants=20_000).merchants
    assert (merchants["experience_score"] > 4.8).mean() == pytest.approx(0.30, abs=0.02)
    assert merchants["segment"].value_counts(normalize=True).min() > 0.03


def test_live_merchants_sell_live(sim):
    segment = sim.orders["merchant_id"].map(sim.merchants.set_index("merchant_id")["segment"]).astype(str)
    live = (sim.orders["channel"] == "live_stream").groupby(segment).mean()
    assert live["live_streaming"] > 0.5
    assert live.drop("live_streaming").max() < 0.3


@pytest.mark.parametrize("options", [{}, {"n_merchants": 1}, {"n_merchants": 5, "n_days": 1}])
def test_smallest_books(options):
    book = simulate_book(1, **options)
    assert len(book.orders) == 1
    assert book.orders["merchant_id"].iloc[0] in set(book.merchants["merchant_id"])
    assert len(book.merchants) == options.get("n_merchants", 50)


def test_numpy_integers_are_welcome():
    book = simulate_book(np.int64(200), seed=np.uint32(3), merchant_deviation=np.float32(0.5), n_days=np.int8(30))
    assert len(book.orders) == 200
    assert book.as_of == pd.Timestamp("2025-01-31")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"n_orders": 0}, "n_orders is 0"),
        ({"n_orders": 1.5}, "n_orders is 1.5"),
        ({"n_orders": True}, "n_orders is True"),
        ({"n_orders": "many"}, "n_orders is 'many'"),
        ({"seed": -1}, "seed is -1"),
        ({"n_merchants": 0}, "n_merchants is 0"),
        ({"n_merchants": 2.0}, r"n_merchants is 2\.0"),
        ({"merchant_deviation": -0.1}, r"merchant_deviation is -0\.1"),
        ({"merchant_deviation": float("nan")}, "merchant_deviation is nan"),
        ({"merchant_deviation": None}, "merchant_deviation is None"),
        ({"n_days": 0}, "n_days is 0"),
    ],
)
def test_bad_arguments_are_refused(arguments, match):
    with pytest.raises(InputError, match=match):
        simulate_book(**{"n_orders": 10, **arguments})


def test_reprs_fit_on_a_line():
    book = simulate_book(1_000, seed=3)
    assert repr(book) == f"SimulatedBook: 1,000 orders, {len(book.claims)} claims, 50 merchants, as of 2026-01-01"
    assert re.fullmatch(r"BookTruth: 1,000 orders, base \S+ claims an order and \S+ yuan a claim", repr(book.truth))
