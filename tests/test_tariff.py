"""Tariffs: the same price whatever the frame, the threads and the order of rows, and nothing priced by accident."""

import pickle
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, replace
from functools import partial
from unittest import mock

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freightrisk import (
    Band,
    ByLevel,
    Cover,
    ExperienceRating,
    Factor,
    FreightRiskWarning,
    FrequencyModel,
    Hierarchy,
    InputError,
    Interval,
    Loadings,
    OrderBook,
    SeverityModel,
    Subsidy,
    Tariff,
)
from freightrisk.tariff import pricing as module
from freightrisk.tariff.one_order import Quoter, codes_of
from freightrisk.tariff.plan import RateTables
from strategies import (
    CHANNELS,
    CODINGS,
    changed,
    draw_orders,
    flat_coding,
    orders,
    put_together,
    rate_tables,
    tariffs,
)

RULES = [
    Subsidy("live", "platform", percent_of_list=0.2, where={"channel": ["live_stream"]}, cap_fen=50),
    Subsidy("score", "insurer", percent_of_rest=0.1, where={"experience_score": Interval(above=4.8)}),
    Subsidy("june", "platform", price_to_fen=1, where={"price": Interval(at_most=20)}, start="2025-06-10"),
    Subsidy("members", "insurer", fixed_fen=2, where={"member": [True], "tier": [1, 3], "segment": ["key"]}),
]


@pytest.fixture(scope="module")
def tariff():
    rng = np.random.default_rng(4)
    return put_together(
        frequency=rate_tables(["channel", "merchant_class", "category", "score"], rng, 0.05),
        severity=rate_tables(["zone", "weight_kg"], rng, 9.0),
        cover=Cover(
            max_claims=1, limit=25.0, first_weight_fee=ByLevel("zone", {"city": 9.0, "near": 12.0, "far": 20.0})
        ),
        loadings=Loadings(channel=0.15, profit=0.02, claim_handling=0.3),
        subsidies=RULES,
    )


@pytest.fixture(scope="module")
def frame():
    return draw_orders(np.random.default_rng(6), 300)


@pytest.fixture(scope="module")
def priced(tariff, frame):
    return tariff.price(frame)


def same(left, right):
    pd.testing.assert_frame_equal(left, right, check_exact=True)


# The columns


def test_columns_and_types(tariff, priced, frame):
    steps = ["claim_intensity", "expected_claims", "expected_payout", "pure_premium", "technical_premium"]
    fen = ["list_fen", "platform_fen", "insurer_fen", "merchant_fen"]
    flags = ["floor_bound", "limit_bound", "filed_bound", "unseen_level"]
    assert list(priced) == steps + fen + flags
    assert priced.dtypes.astype(str).tolist() == ["float64"] * 5 + ["int32"] * 4 + ["bool"] * 4
    assert priced.index.equals(frame.index)
    assert tariff.payers == ("platform", "insurer")
    same(tariff.price(frame, detail=False), priced[fen + flags])


@given(tariffs(), orders())
def test_detail_changes_no_fen(tariff, frame):
    full, short = tariff.price(frame, threads=1), tariff.price(frame, threads=1, detail=False)
    same(short, full[list(short)])


@given(tariffs(), orders())
def test_quote_is_price_row_by_row(tariff, frame):
    rows = tariff.price(frame, threads=1).to_dict("records")
    for order, row in zip(frame.to_dict("records")[:8], rows, strict=False):
        quote = tariff.quote(order)
        assert quote == row
        assert {type(value) for value in quote.values()} <= {float, int, bool}


NUMBERS = [1, 1.0, True, 0, False, -0.0, np.int8(1), np.float32(0.5), 4.8, 99.0, np.inf, -np.inf, 10**400]
NO_NUMBERS = ["1", "true", "", np.str_("live_stream"), None, np.nan, pd.NA, pd.NaT, np.bool_(True), (1,), [1], {}]
ODD = st.sampled_from([*NUMBERS, *NO_NUMBERS, np.datetime64("2025-06-11")])


def codes_or_refusal(encode, order):
    """Return codes, or the message of their refusal."""
    try:
        return encode(order)
    except InputError as error:
        return str(error)


@given(tariffs(), orders(), st.data())
def test_what_a_quote_remembers_changes_nothing(tariff, frame, data):
    quoter = Quoter(tariff, tariff.pricer.plan)
    for order in frame.to_dict("records")[:8]:
        if data.draw(st.booleans()):
            order[data.draw(st.sampled_from(sorted(order)))] = data.draw(ODD)
        if data.draw(st.booleans()):
            del order[data.draw(st.sampled_from(sorted(order)))]
        assert codes_or_refusal(quoter._codes, order) == codes_or_refusal(partial(codes_of, tariff), order)


def test_a_quote_takes_no_default_for_a_column(tariff, frame):
    order = frame.to_dict("records")[0]
    del order["channel"]
    with pytest.raises(InputError, match="missing column 'channel'"):
        tariff.quote(defaultdict(lambda: "live_stream", order))


def test_one_instant_is_one_day_in_every_zone(tariff, frame):
    # Midnight of the tenth in Shanghai, where the June rule begins, is the afternoon of the ninth in Greenwich.
    order = frame.to_dict("records")[0] | {"price": 10.0}
    there = pd.Timestamp("2025-06-10 00:30", tz="Asia/Shanghai")
    here = there.tz_convert("UTC")
    assert there == here
    for kind in (lambda time: time, pd.Timestamp.to_pydatetime):
        fresh = replace(tariff)
        quotes = [fresh.quote(order | {"ship_date": kind(time)}) for time in (there, here)]
        expected = [fresh.price(pd.DataFrame([order | {"ship_date": kind(time)}])) for time in (there, here)]
        assert quotes == [priced.to_dict("records")[0] for priced in expected]
        assert quotes[0] == quotes[1]
        greenwich = replace(tariff, clock="Etc/UTC").quote(order | {"ship_date": kind(here)})
        assert quotes[0]["merchant_fen"] < greenwich["merchant_fen"]


def test_threads_quote_apart(tariff, frame):
    records = frame.to_dict("records")
    expected = [tariff.quote(order) for order in records]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(tariff.quote, records * 4)) == expected * 4


@given(tariffs(), orders())
def test_encoding_first_changes_nothing(tariff, frame):
    coded = tariff.encode(frame)
    assert coded.n_orders == len(frame)
    same(tariff.price(coded, threads=1), tariff.price(frame, threads=1))
    same(tariff.price(coded, threads=1), tariff.price(coded, threads=1))


@pytest.mark.parametrize("threads", [1, 2, 3, 8, None])
@pytest.mark.parametrize("chunk", [1, 7, 100, 299, 300, 10_000])
def test_threads_and_chunks_change_nothing(tariff, frame, priced, threads, chunk):
    with mock.patch.object(module, "PRICE_CHUNK", chunk):
        same(tariff.price(frame, threads=threads), priced)


def test_several_chunks_of_the_real_size(tariff, frame, priced):
    repeats = module.PRICE_CHUNK // len(frame) + 1
    coded = tariff.encode(pd.concat([frame] * repeats, ignore_index=True))
    assert coded.n_orders > module.PRICE_CHUNK
    fen = tariff.price(coded, detail=False)
    np.testing.assert_array_equal(
        fen["merchant_fen"].to_numpy().reshape(repeats, -1), np.tile(priced["merchant_fen"], (repeats, 1))
    )


def test_progress_changes_nothing(tariff, frame, priced, capsys):
    same(tariff.price(frame, progress=True), priced)
    assert "pricing" in capsys.readouterr().err


def test_row_order_changes_nothing(tariff, frame, priced):
    order = np.random.default_rng(1).permutation(len(frame))
    same(tariff.price(frame.iloc[order]), priced.iloc[order])


# Frames


@pytest.mark.parametrize(
    "index",
    [
        pd.Index([f"order {k}" for k in range(300)], name="id"),
        pd.Index([7] * 300),
        pd.MultiIndex.from_product([range(3), list("abcde"), range(20)], names=["day", "shop", "line"]),
        pd.date_range("2025-06-01", periods=300, freq="h"),
        pd.RangeIndex(600, 0, -2),
    ],
    ids=["words", "duplicates", "multi", "times", "backwards"],
)
def test_the_callers_index_comes_back(tariff, frame, priced, index):
    result = tariff.price(frame.set_axis(index))
    assert result.index.identical(index)
    same(result.reset_index(drop=True), priced)


def test_polars_in_polars_out(tariff, frame, priced):
    polars = pl.from_arrow(pa.Table.from_pandas(frame))
    for result in (tariff.price(polars), tariff.price(polars.lazy())):
        assert isinstance(result, pl.DataFrame)
        wide = {name: np.int64 for name in priced if name.endswith("_fen")}  # polars sums 32 bits in 32 bits
        same(result.to_arrow().to_pandas(), priced.astype(wide))


def test_arrow_in_arrow_out(tariff, frame, priced):
    result = tariff.price(pa.Table.from_pandas(frame))
    assert isinstance(result, pa.Table)
    same(result.to_pandas(), priced)


def test_arrow_in_many_chunks(tariff, frame, priced):
    parts = [pa.Table.from_pandas(frame.iloc[start : start + 70]) for start in range(0, 300, 70)]
    same(tariff.price(pa.concat_tables(parts)).to_pandas(), priced)


def test_parquet_path_in_pandas_out(tariff, frame, priced, tmp_path):
    path = tmp_path / "orders.parquet"
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path)
    same(tariff.price(path), priced)
    same(tariff.price(str(path)), priced)


@pytest.mark.parametrize("kind", ["category", "string", "arrow"])
def test_words_may_be_kept_in_any_way(tariff, frame, priced, kind):
    words = ["channel", "zone", "industry", "leaf", "segment"]
    dtype = pd.ArrowDtype(pa.string()) if kind == "arrow" else kind
    same(tariff.price(frame.astype(dict.fromkeys(words, dtype))), priced)


def test_unused_categories_are_not_orders(tariff, frame, priced):
    zone = pd.Categorical(frame["zone"], categories=["city", "moon", "far", "near"])
    same(tariff.price(frame.assign(zone=zone)), priced)


@pytest.mark.parametrize("dtype", ["int16", "float64", "Int64", "category"])
def test_whole_numbers_may_be_kept_in_any_way(tariff, frame, priced, dtype):
    same(tariff.price(frame.astype({"merchant_class": dtype, "tier": dtype})), priced)


def test_more_columns_and_another_order_of_columns_change_nothing(tariff, frame, priced):
    more = frame.assign(note="x", list_fen=-1)
    same(tariff.price(more[sorted(more, reverse=True)]), priced)


def test_strided_and_read_only_columns(tariff, frame, priced):
    block = np.asfortranarray(np.repeat(frame[["weight_kg", "experience_score", "price"]].to_numpy(), 2, axis=0))[::2]
    block.setflags(write=False)
    numbers = pd.DataFrame(block, columns=["weight_kg", "experience_score", "price"], copy=False)
    same(tariff.price(frame.drop(columns=list(numbers)).join(numbers)), priced)


def test_no_orders_and_one_order(tariff, frame, priced):
    same(tariff.price(frame.iloc[:0]), priced.iloc[:0])
    same(tariff.price(frame.iloc[[17]]), priced.iloc[[17]])
    assert tariff.price(pa.Table.from_pandas(frame.iloc[:0])).num_rows == 0


def test_no_orders_in_a_polars_frame(tariff, frame):
    assert tariff.price(pl.from_arrow(pa.Table.from_pandas(frame)).head(0)).height == 0


def test_pricing_leaves_the_callers_frame_alone(tariff, frame):
    before = frame.copy(deep=True)
    result = tariff.price(frame)
    result["list_fen"] = 0
    same(frame, before)


# Merchants


@pytest.fixture(scope="module")
def merchants():
    rng = np.random.default_rng(2)
    ids = np.array([f"m{k}" for k in range(40)], dtype=object)
    classes, scores = rng.integers(0, 310, 40), rng.choice([4.2, 4.8, 4.9], 40)
    return pd.DataFrame({"merchant_id": ids, "merchant_class": classes, "experience_score": scores})


@pytest.fixture(scope="module")
def orders_of_merchants(frame, merchants):
    picked = np.random.default_rng(3).choice(merchants["merchant_id"].to_numpy(), len(frame))
    return frame.drop(columns=["merchant_class", "experience_score"]).assign(merchant_id=picked)


def test_joined_merchants_are_those_merged_by_hand(tariff, merchants, orders_of_merchants):
    by_hand = tariff.price(orders_of_merchants.merge(merchants, on="merchant_id", how="left"))
    same(tariff.price(orders_of_merchants, merchants=merchants), by_hand)
    same(tariff.price(orders_of_merchants, merchants=merchants.sample(frac=1, random_state=1)), by_hand)
    same(tariff.price(tariff.encode(orders_of_merchants, merchants=merchants)), by_hand)


def test_merchants_of_another_kind_of_frame_and_another_key(tariff, merchants, orders_of_merchants):
    by_hand = tariff.price(orders_of_merchants, merchants=merchants)
    same(tariff.price(orders_of_merchants, merchants=pa.Table.from_pandas(merchants)), by_hand)
    same(tariff.price(orders_of_merchants, merchants=pl.from_arrow(pa.Table.from_pandas(merchants))), by_hand)
    shops = [table.rename(columns={"merchant_id": "shop"}) for table in (orders_of_merchants, merchants)]
    same(tariff.price(shops[0], merchants=shops[1], merchant_id="shop"), by_hand)


def test_a_column_of_the_orders_goes_before_the_merchants(tariff, merchants, orders_of_merchants):
    own = orders_of_merchants.assign(experience_score=5.0)
    by_hand = own.merge(merchants.drop(columns="experience_score"), on="merchant_id", how="left")
    same(tariff.price(own, merchants=merchants), tariff.price(by_hand))


# Levels that the book did not have


@pytest.fixture(scope="module")
def book():
    """Six leaves under two industries with known exposures and claim counts."""
    leaves = {"apparel": {"dress": 40, "shirt": 60, "coat": 20}, "home": {"lamp": 50, "sofa": 10, "rug": 20}}
    rows = [(top, leaf) for top, below in leaves.items() for leaf, n in below.items() for _ in range(n)]
    frame = pd.DataFrame(rows, columns=["industry", "leaf"])
    frame["order_id"] = range(len(frame))
    frame["exposure"] = 0.5 + (frame["order_id"] % 4) / 4
    frame["zone"] = np.where(frame["order_id"] % 3 == 0, "far", "near")
    claimed = frame["order_id"][frame["order_id"] % 5 < 2].to_numpy()
    claims = pd.DataFrame({"order_id": claimed, "freight": 6.0 + claimed % 7})
    tree = Hierarchy("category", ["industry", "leaf"], unseen="parent")
    return OrderBook.from_frames(
        frame,
        claims,
        factors=[tree, Factor("zone", unseen="parent")],
        exposure="exposure",
        ship_date=None,
        report_date=None,
    )


@pytest.fixture(scope="module")
def fitted(book):
    frequency, severity = FrequencyModel(["category", "zone"]).fit(book), SeverityModel(["zone"]).fit(book)
    return frequency, severity, Tariff.build(frequency, severity, cover=Cover(max_claims=None))


@pytest.mark.parametrize(
    ("path", "members"),
    [
        (("apparel", "hat"), ["apparel > coat", "apparel > dress", "apparel > shirt"]),
        (("home", "dress"), ["home > lamp", "home > rug", "home > sofa"]),
        (
            ("toys", "kite"),
            ["apparel > coat", "apparel > dress", "apparel > shirt", "home > lamp", "home > rug", "home > sofa"],
        ),
    ],
)
def test_an_unseen_leaf_is_priced_at_its_parents_exposure_weighted_mean(fitted, path, members):
    frequency, severity, tariff = fitted
    shown = frequency.relativities.query("factor == 'category'").set_index("level").loc[members]
    relativity = np.average(shown["relativity"], weights=shown["exposure"])
    zone = frequency.relativities.query("factor == 'zone'").set_index("level").loc["far", "relativity"]
    quote = tariff.quote({"industry": path[0], "leaf": path[1], "zone": "far"})
    assert quote["claim_intensity"] == pytest.approx(frequency.base * relativity * zone, rel=1e-12)
    assert quote["unseen_level"]
    assert not tariff.quote({"industry": "home", "leaf": "rug", "zone": "far"})["unseen_level"]
    assert severity.kind == "severity"


def test_only_unseen_levels_are_flagged(tariff, frame, priced):
    known_leaf = [path in CODINGS["category"].lookup for path in zip(frame["industry"], frame["leaf"], strict=True)]
    known = np.array(known_leaf) & frame["channel"].isin([*CHANNELS, None]) & (frame["merchant_class"] < 300)
    np.testing.assert_array_equal(priced["unseen_level"], ~known)
    assert 0 < known.sum() < len(frame)


def test_limit_flag_marks_payouts_that_a_limit_cuts_by_a_hundredth(tariff, frame, priced):
    free = changed(tariff, cover=Cover(max_claims=1), limit_curve=None).price(frame)
    np.testing.assert_array_equal(priced["limit_bound"], priced["expected_payout"] < 0.99 * free["expected_payout"])
    assert not free["limit_bound"].any()


def test_an_unseen_zone_takes_the_largest_amount_or_the_default():
    zone = flat_coding(Factor("zone", unseen="parent"), ("far", "near"))
    rates = RateTables(1.0, {"zone": np.ones(3)})
    base = put_together(
        frequency=RateTables(1.0, {}), severity=RateTables(1e8, {}), cover=Cover(limit=1.0), dispersion=0.05
    )

    def payout(limit, zone_name):
        tariff = replace(base, codings={"zone": zone}, frequency=rates, cover=Cover(limit=limit))
        return tariff.quote({"zone": zone_name})["expected_payout"]

    assert payout(ByLevel("zone", {"far": 12.0, "near": 8.0}), "moon") == pytest.approx(12.0, rel=1e-6)
    assert payout(ByLevel("zone", {"far": 12.0}, default=5.0), "moon") == pytest.approx(5.0, rel=1e-6)
    assert payout(ByLevel("zone", {"far": 12.0}, default=5.0), "near") == pytest.approx(5.0, rel=1e-6)
    assert payout(ByLevel("zone", {"far": 12.0}, default=5.0), "far") == pytest.approx(12.0, rel=1e-6)


# Buffers


def test_buffers_take_batch_after_batch(tariff, frame):
    plain = tariff.encode(frame), tariff.encode(frame.iloc[5:25])
    buffers = tariff.buffers(len(frame))
    for coded in plain:
        fresh = tariff.price_columns(coded, threads=1)
        again = tariff.price_columns(coded, threads=2, buffers=buffers)
        assert list(again) == list(fresh)
        for name, values in again.items():
            np.testing.assert_array_equal(values, fresh[name])
            assert np.shares_memory(values, tariff.price_columns(coded, threads=1, buffers=buffers)[name])


def test_buffers_without_detail(tariff, frame):
    coded = tariff.encode(frame)
    columns = tariff.price_columns(coded, threads=1, detail=False, buffers=tariff.buffers(len(frame), detail=False))
    whole = tariff.price_columns(coded, threads=1)
    assert "pure_premium" not in columns
    for name, values in columns.items():
        np.testing.assert_array_equal(values, whole[name])


def test_buffers_that_do_not_fit_are_refused(tariff, frame):
    coded = tariff.encode(frame)
    with pytest.raises(InputError, match=f"buffers hold 3 orders, fewer than the {len(frame)} to price"):
        tariff.price_columns(coded, threads=1, buffers=tariff.buffers(3))
    with pytest.raises(InputError, match="steps of another type or shape than this tariff writes"):
        tariff.price_columns(coded, threads=1, buffers=tariff.buffers(len(frame), detail=False))
    with pytest.raises(InputError, match="payers of another type or shape than this tariff writes"):
        tariff.price_columns(coded, threads=1, buffers=replace(tariff, subsidies=()).buffers(len(frame)))
    with pytest.raises(InputError, match="n_orders is -1"):
        tariff.buffers(-1)


# Building


def test_a_built_tariff_prices_with_its_models(book, fitted):
    frequency, severity, tariff = fitted
    orders = pd.DataFrame({"industry": ["home", "apparel"], "leaf": ["lamp", "coat"], "zone": ["far", "near"]})
    priced = tariff.price(orders)
    table = {
        name: dict(zip(frequency.codings[name].labels, np.exp(log), strict=False))
        for name, log in frequency.tables.items()
    }
    expected = [
        frequency.base * table["category"]["home > lamp"] * table["zone"]["far"],
        frequency.base * table["category"]["apparel > coat"] * table["zone"]["near"],
    ]
    np.testing.assert_allclose(priced["claim_intensity"], expected, rtol=1e-14)
    zone = dict(zip(severity.codings["zone"].labels, np.exp(severity.tables["zone"]), strict=False))
    np.testing.assert_allclose(
        priced["expected_payout"], severity.base * np.array([zone["far"], zone["near"]]), rtol=1e-14
    )
    assert tariff.provenance["frequency"]["rows"] == book.n_orders
    assert tariff.provenance["severity"]["family"] == "gamma"
    assert list(tariff.codings) == ["category", "zone"]


def test_build_puts_rules_in_stacking_order(fitted):
    frequency, severity, _ = fitted
    rules = [
        Subsidy(name, "platform", fixed_fen=1, group=group) for name, group in [("a", "g"), ("b", None), ("c", "g")]
    ]
    assert [rule.name for rule in Tariff.build(frequency, severity, subsidies=rules).subsidies] == ["a", "c", "b"]


def test_a_tariff_says_what_it_is_and_does_not_change(tariff):
    assert repr(tariff) == ("Tariff 'drawn': 6 factors, 321 levels, 4 subsidies by platform, insurer, floor 1 fen")
    with pytest.raises(FrozenInstanceError):
        tariff.floor_fen = 2
    with pytest.raises(TypeError):
        tariff.codings["zone"] = None


def test_a_pickled_tariff_prices_the_same(tariff, frame, priced):
    same(pickle.loads(pickle.dumps(tariff)).price(frame), priced)


# Bad calls


def with_subsidies(n_rules):
    return [Subsidy(f"rule {k}", "platform", fixed_fen=1, where={f"column {k}": ["x"]}) for k in range(n_rules)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f, s: Tariff.build(s, s), "frequency is a severity model; give the result of a frequency model's fit"),
        (lambda f, s: Tariff.build(f, f), "severity is a frequency model; give the result of a severity model's fit"),
        (lambda f, s: Tariff.build(FrequencyModel(), s), "frequency is a FrequencyModel model"),
        (lambda f, s: Tariff.build(f, None), "severity is a NoneType model"),
        (lambda f, s: Tariff.build(f, s, name=""), "name of the tariff is ''; it must be a non-empty string"),
        (
            lambda f, s: Tariff.build(f, s, floor_fen=-1),
            r"floor_fen is -1; it must be a whole number in \[0, 1000000\]",
        ),
        (lambda f, s: Tariff.build(f, s, floor_fen=0.01), "floor_fen is 0.01; it must be a whole number"),
        (lambda f, s: Tariff.build(f, s, rounding="up"), "rounding is 'up'; it must be one of 'half_even'"),
        (lambda f, s: Tariff.build(f, s, subsidies=with_subsidies(65)), "65 subsidies were given; .* at most 64"),
        (lambda f, s: Tariff.build(f, s, subsidies=with_subsidies(47)), "reads 47 columns of conditions and 2 factors"),
        (
            lambda f, s: Tariff.build(f, s, cover=Cover(limit=ByLevel("colour", {"red": 1.0}))),
            "the cover names factor 'colour', which no model rates; the factors are category, zone",
        ),
        (lambda f, s: Tariff.build(f, s, cover=25.0), "cover is 25.0; .* Cover"),
        (lambda f, s: Tariff.build(f, s, loadings=0.15), "loadings is 0.15; .* Loadings"),
        (lambda f, s: Tariff.build(f, s, subsidies=["live"]), "subsidies .* Subsidy"),
        (lambda f, s: Tariff.build(f, s, subsidies=RULES[0]), "subsidies .* Subsidy"),
    ],
)
def test_bad_builds(fitted, call, message):
    with pytest.raises(InputError, match=message):
        call(*fitted[:2])


def test_models_of_two_codings_do_not_make_a_tariff(book, fitted):
    other = book.select(book.codes["zone"] == 0)
    frame = pd.DataFrame({"order_id": [1, 2, 3], "zone": ["city", "far", "near"]})
    claims = pd.DataFrame({"order_id": [1, 2, 3, 3], "freight": [5.0, 6.0, 7.0, 9.0]})
    cities = OrderBook.from_frames(frame, claims, factors=[Factor("zone")], ship_date=None, report_date=None)
    with pytest.raises(InputError, match="factor 'zone' has other levels in severity than in frequency; fit both to"):
        Tariff.build(fitted[0], SeverityModel(["zone"]).fit(cities))
    assert other.codings["zone"] == book.codings["zone"]


def rates_of(**tables):
    return RateTables(0.1, {name: np.asarray(table, dtype=float) for name, table in tables.items()})


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"frequency": rates_of(zone=[1.0])}, "'zone' has 1 relativities; .* 4 slots"),
        ({"severity": rates_of(zone=[1.0, np.nan, 1.0, 1.0])}, "'zone' .* above zero"),
        ({"severity": rates_of(zone=[1.0, 0.0, 1.0, 1.0])}, "'zone' .* above zero"),
        ({"frequency": rates_of(colour=[1.0])}, "'colour', which is not a factor"),
        ({"frequency": RateTables(0.0, {})}, "frequency base is 0.0; it must be above zero"),
        ({"count_curve": np.empty((0, 4))}, "count_curve"),
        ({"limit_curve": None}, "limit_curve"),
        ({"subsidies": (RULES[0], replace(RULES[1], group="g"), RULES[2], replace(RULES[3], group="g"))}, "group"),
        ({"codings": {f"f{k}": CODINGS["zone"] for k in range(60)} | dict(CODINGS)}, "at most 48"),
    ],
)
def test_a_tariff_put_together_by_hand_is_checked_as_a_document_is(tariff, more, message):
    subsidies = more.get("subsidies", ())
    with pytest.raises(InputError, match=message):
        changed(tariff, **{"subsidies": subsidies} | more)


def named(name):
    """Return the zone's coding under another name."""
    return flat_coding(Factor(name, column="zone"), ("city", "far", "near"))


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("channel x zone", {"pairs": (("channel", "zone"),)}),
        ("levels of channel", {"subsidies": RULES[:1]}),
        ("days of ship_date", {"subsidies": RULES[2:3]}),
        ("experience", {"experience": ExperienceRating(mods={1: 1.2})}),
        ("zone", {"pairs": (("channel", "zone"), ("channel", "zone"))}),
    ],
)
def test_two_code_columns_of_one_name_make_no_tariff(tariff, name, more):
    plain = replace(tariff, subsidies=())
    replace(plain, codings=dict(tariff.codings) | {"other": named("other")})
    with pytest.raises(InputError, match=r"has two code columns named '.*' among its factors, .*; rename a factor"):
        replace(plain, codings=dict(tariff.codings) | {name: named(name)}, **more)


def test_a_factor_under_another_name_is_refused(tariff):
    with pytest.raises(InputError, match="codings has factor 'zone' under 'region'; use its own name"):
        replace(tariff, codings=dict(tariff.codings) | {"region": CODINGS["zone"]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda f: f.drop(columns="zone"),
            "orders: missing column 'zone'; the columns present are 'channel', 'merchant_",
        ),
        (lambda f: f.drop(columns=["leaf", "price"]), "orders: missing columns 'leaf', 'price'; the columns present"),
        (lambda f: f.drop(columns="ship_date"), "orders: missing column 'ship_date'"),
        (
            lambda f: f.assign(zone=[*["near"] * 4, "moon", *["far"] * 294, "sun"]),
            r"factor 'zone': level 'moon' was not in the book, in 1 row \(first: 4\).*; .* unseen='parent'",
        ),
        (
            lambda f: f.assign(zone=[*["near"] * 298, None, None]),
            r"factor 'zone': column 'zone' is missing in 2 rows \(first: 298, 299\).*; fill .* missing='level'",
        ),
        (
            lambda f: f.assign(industry=[None] + ["home"] * 299),
            r"factor 'category': column 'industry', 'leaf' is missing in 1 row \(first: 0\)",
        ),
        (
            lambda f: f.assign(weight_kg=np.where(f.index % 100 == 7, np.nan, 1.0)),
            r"factor 'weight_kg': column 'weight_kg' is missing in 3 rows \(first: 7, 107, 207\)",
        ),
        (
            lambda f: f.assign(weight_kg=-1.0),
            r"column 'weight_kg' is outside \[0, 100\] in 300 rows \(first: 0, 1, 2, 3, 4\)",
        ),
        (lambda f: f.assign(weight_kg=np.inf), r"column 'weight_kg' is infinite in 300 rows"),
        (
            lambda f: f.assign(weight_kg=["heavy"] + [1.0] * 299),
            r"orders: column 'weight_kg' is not a number in 1 row \(first: 0\)",
        ),
        (
            lambda f: f.assign(experience_score=5.01),
            r"column 'experience_score' is outside \[1, 5\] in 300 rows .* widen valid=",
        ),
        (lambda f: f.assign(experience_score=0.0), r"column 'experience_score' is outside \[1, 5\]"),
        (lambda f: f.assign(price="cheap"), r"orders: column 'price' is not a number in 300 rows"),
        (lambda f: f.assign(ship_date="soon"), "orders: column 'ship_date' cannot be read as dates"),
        (lambda f: f.to_dict("records"), "orders is a list; it must be a pandas, polars or pyarrow table, or the path"),
        (lambda f: None, "orders is a NoneType; it must be"),
        (lambda f: "nowhere.parquet", "orders is the path 'nowhere.parquet', which does not exist"),
        (lambda f: pd.concat([f, f["zone"]], axis=1), "'zone' .* twice"),
    ],
)
def test_bad_orders(tariff, frame, change, message):
    with pytest.raises(InputError, match=message):
        tariff.price(change(frame))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda m: m.iloc[1:],
            r"orders: 'merchant_id' names no row of merchants in \d+ rows? \(first: \d+.*add these merchants",
        ),
        (
            lambda m: pd.concat([m, m.iloc[:2]]),
            r"merchants: 'merchant_id' repeats an earlier row in 2 rows \(first: 0, 1\), such as 'm0'",
        ),
        (
            lambda m: m.assign(merchant_id=[None, *m["merchant_id"][1:]]),
            r"merchants: 'merchant_id' is missing in 1 row \(first: 0\)",
        ),
        (lambda m: m.drop(columns="merchant_id"), "merchants: missing column 'merchant_id'"),
        (lambda m: m.drop(columns="merchant_class"), "orders and merchants: missing column 'merchant_class'"),
        (lambda m: m.assign(experience_score=6.0), r"column 'experience_score' is outside \[1, 5\]"),
        (lambda m: 5, "merchants is a int; it must be a pandas, polars or pyarrow table"),
    ],
)
def test_bad_merchants(tariff, orders_of_merchants, merchants, change, message):
    with pytest.raises(InputError, match=message):
        tariff.price(orders_of_merchants, merchants=change(merchants))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"zone": "moon"}, "factor 'zone': level 'moon' was not in the book; correct it, fit a book"),
        ({"zone": ["far"]}, r"order: 'zone' is \['far'\], which is a list, not a level"),
        ({"zone": None}, "factor 'zone': the value is missing; give a value, or declare missing='level'"),
        ({"weight_kg": None}, "factor 'weight_kg': the value is missing"),
        ({"weight_kg": -0.1}, r"'weight_kg' is -0.1, outside \[0, 100\]"),
        ({"weight_kg": "1 kg"}, "'weight_kg' is '1 kg', which is not a number"),
        ({"experience_score": 5.01}, r"'experience_score' is 5.01, outside \[1, 5\]"),
        ({"experience_score": 0.99}, "'experience_score' is 0.99"),
    ],
)
def test_bad_quotes(tariff, frame, more, message):
    with pytest.raises(InputError, match=message):
        tariff.quote(frame.to_dict("records")[0] | more)


def test_a_quote_names_the_columns_it_lacks(tariff):
    with pytest.raises(InputError, match=r"order: missing columns 'channel', 'merchant_class', .*present are 'zone'"):
        tariff.quote({"zone": "far"})


@pytest.mark.parametrize("threads", [0, -1, 1.5, "all", True])
def test_bad_threads(tariff, frame, threads):
    with pytest.raises(InputError, match=r"threads is .*; it must be a whole number in \[1, 1024\]"):
        tariff.price(frame, threads=threads)


def test_orders_encoded_for_another_tariff_are_refused(tariff, frame):
    coded = tariff.encode(frame)
    fewer = replace(tariff, subsidies=tariff.subsidies[:1])
    wider = replace(CODINGS["score"], declared=Band("score", [4.2, 4.5, 4.8], column="experience_score", valid=(0, 9)))
    others = [fewer, replace(tariff, codings=dict(tariff.codings) | {"score": wider})]
    for other in others:
        with pytest.raises(InputError, match="encoded for a tariff with other levels, rules"):
            other.price(coded)
    dearer = replace(tariff, frequency=replace(tariff.frequency, base=0.1), loadings=Loadings())
    same(dearer.price(coded), dearer.price(frame))


@pytest.mark.parametrize("most", [None, 3])
def test_several_claims_on_a_model_of_one_claim_are_doubted(most):
    rng = np.random.default_rng(2)
    orders = pd.DataFrame({"order_id": range(600), "zone": rng.choice(["near", "far"], 600)})
    claims = pd.DataFrame({"order_id": rng.choice(600, 200, replace=False), "freight": 9.0 + rng.random(200)})
    book = OrderBook.from_frames(orders, claims, factors=[Factor("zone")], ship_date=None, report_date=None)
    returned, freight = FrequencyModel(family="bernoulli").fit(book), SeverityModel().fit(book)
    with pytest.warns(FreightRiskWarning, match="at most one claim an order"):
        Tariff.build(returned, freight, cover=Cover(max_claims=most))
    sold = Tariff.build(returned, freight, cover=Cover(max_claims=1)).price(orders)
    assert sold["expected_claims"].sum() == pytest.approx(200.0)
