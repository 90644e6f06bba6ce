"""Every door gives the same codes, fen, ledger lines and worksheets for the same orders, whatever holds them."""

import datetime as dt
import decimal
import tempfile
import tracemalloc
import warnings
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from freightrisk import (
    ClaimPayer,
    Cover,
    ExperienceRating,
    Factor,
    FrequencyModel,
    Hierarchy,
    InputError,
    Interval,
    Ledger,
    Limit,
    OrderBook,
    ScoreCurve,
    Settlement,
    Subsidy,
    price_parquet,
    settle,
    store_book,
)
from freightrisk.aggregates import AggregateLimit
from freightrisk.cli import main
from freightrisk.credibility import lagged_scores, merchant_periods
from freightrisk.programmes import Fee, Programme
from freightrisk.tariff.one_order import codes_of
from freightrisk.tariff.rates import RateTables
from strategies import CHANNELS, CLASSES, CODINGS, LEAVES, ZONES, put_together, rate_tables, seeds

N_ORDERS = 1_000
FEW = 4  # orders that are priced one at a time
MERCHANTS = {
    "whole": [17, 18, 2**52, -5, 0],  # with missing ones pandas holds them as floats
    "texts": ["17", "017", "A17", " 17", "平台", "9223372036854775808", "-5"],
}
RENAMED = {"order_id": "订单号", "merchant_id": "店铺", "ship_date": "发货时间"}
DAY_FIRST = "%d/%m/%Y %H:%M:%S"


@cache
def tariffs():
    """Return tariffs that read every kind of value."""
    rng = np.random.default_rng(8)
    rates = {
        "frequency": rate_tables(["channel", "merchant_class", "weight_kg"], rng, 0.3),
        "severity": rate_tables(["zone", "category"], rng, 9.0),
    }
    budget = [
        Subsidy("budget", "platform", percent_of_list=0.3, budget_fen=9_000, where={"tier": [1, 2]}),
        Subsidy("cap", "insurer", fixed_fen=20, merchant_cap_fen=90, period="day"),
    ]
    rules = [
        Subsidy("dates", "platform", fixed_fen=7, start="2025-06-05", end="2025-06-20"),
        Subsidy("levels", "platform", fixed_fen=5, where={"segment": ["new", "101"], "member": [True]}),
        Subsidy("numbers", "insurer", fixed_fen=4, where={"price": Interval(above=19.99, at_most=99.5)}),
        Subsidy("gate", "insurer", fixed_fen=3, where={"experience_score": Interval(above=4.8)}),
        Subsidy("merchant", "平台", fixed_fen=2, where={"merchant_id": [17, "A17"]}),
    ]
    mods = {17: 1.3, "A17": 0.7, "017": 1.1, 2**52: 0.9, "9223372036854775808": 1.2}
    coding = CODINGS["score"]
    curve = ScoreCurve(
        coding,
        np.array([1.5, 1.2, 1.0, 0.7, 1.0]),
        np.array([1.0, 1, 1, 1, 0]),
        version="2026",
        version_column="version",
    )
    transit = put_together(
        name="transit",
        frequency=rate_tables(["channel"], rng, 0.01),
        severity=rate_tables(["weight_kg", "zone"], rng, 30.0),
        cover=Cover(max_claims=None),
    )
    fees = [
        Fee("service", basis_points=60, of="price", cap_fen=40, where={"member": [True]}),
        Fee("pickup", "platform", "courier", fixed_fen=3, where={"merchant_id": [17, "A17"]}),
    ]
    return {
        "programme": Programme("p", [put_together(**rates, subsidies=budget), transit], fees=fees),
        "plain": put_together(**rates),
        "dither": put_together(**rates, rounding="dither", dither_key="key"),
        "budget": put_together(**rates, subsidies=budget),
        "carry": put_together(**rates, rounding="carry"),
        "experience": put_together(**rates, experience=ExperienceRating((curve,), mods)),
        "rules": put_together(**rates, subsidies=rules),
    }


def draw_table(rng, ids, zone, n_orders=N_ORDERS, *, some_missing=False):
    """Return random orders as an Arrow table: what the values mean, before a container holds them."""
    pick = rng.choice
    missing = (rng.random((2, n_orders)) < 0.1) & some_missing
    leaves = np.array(LEAVES)[rng.integers(0, len(LEAVES), n_orders)]
    merchants = np.where(missing[0], None, pick(np.array(MERCHANTS[ids], dtype=object), n_orders))
    order_id = rng.permutation(n_orders) + 2**31
    seconds = rng.integers(0, 30 * 86_400, n_orders) + np.datetime64("2025-06-01", "s").astype(int)
    table = {
        "order_id": pa.array(order_id)
        if ids == "whole"
        else pa.array([f"{'' if k % 3 else 'T'}{k}" for k in order_id]),
        "merchant_id": pa.array(merchants.tolist(), pa.int64() if ids == "whole" else pa.string()),
        "channel": pa.array([*pick(np.array([*CHANNELS, None], dtype=object), n_orders)], pa.string()),
        "zone": pa.array(pick(ZONES, n_orders)),
        "merchant_class": pa.array(pick(CLASSES, n_orders)),
        "industry": pa.array(leaves[:, 0]),
        "leaf": pa.array(leaves[:, 1]),
        "weight_kg": pa.array(pick([0.3, 1.0, 1.2, 2.0, 4.9, 5.0], n_orders)),
        "experience_score": pa.array(pick([4.2, 4.5, 4.8, 4.9], n_orders)),
        "version": pa.array(["2026"] * n_orders) if ids == "texts" else pa.array([2026] * n_orders),
        "price": pa.array(pick([0.5, 19.99, 20.0, 99.5, 300.0], n_orders)),
        "segment": pa.array(pick(["new", "101", "old"], n_orders))
        if ids == "texts"
        else pa.array(pick([101, 7], n_orders)),
        "tier": pa.array(pick([1, 2, 3], n_orders)),
        "member": pa.array(pick([True, False], n_orders)),
        "ship_date": pa.array(seconds, pa.int64(), mask=missing[1]).cast(pa.timestamp("s", zone)),
        "priority": pa.array(rng.integers(0, 3, n_orders)),
    }
    return pa.table(table)


# --- containers ----------------------------------------------------------------------------------------------------


def with_types(table, change):
    """Return the table with each column cast to another type, or as it is."""
    schema = pa.schema([(field.name, change(field) or field.type) for field in table.schema])
    columns = []
    for column, kind in zip(table.columns, schema.types, strict=True):
        views = kind == pa.string_view()  # to which pyarrow 16 casts nothing
        columns.append(pa.array(column.to_pylist(), kind) if views else column.cast(kind))
    return pa.table(columns, schema=schema)


def narrow(field):
    if pa.types.is_floating(field.type):
        return pa.float32()
    return (
        pa.int16()
        if field.name in ("merchant_class", "tier", "version", "segment", "priority")
        and pa.types.is_integer(field.type)
        else None
    )


def decimals(field):
    if pa.types.is_floating(field.type):
        return pa.decimal128(12, 2)
    return pa.decimal128(38, 0) if pa.types.is_integer(field.type) else None


def dictionaries(table):
    """Return columns of levels and ids as dictionaries, another one in each chunk."""
    parts = [table.slice(0, 7), table.slice(7, 0), table.slice(7)]
    columns = {}
    for field in table.schema:
        chunks = [part.column(field.name).combine_chunks() for part in parts]
        encode = not (pa.types.is_timestamp(field.type) or pa.types.is_boolean(field.type))
        chunks = [chunk.chunk(0) if isinstance(chunk, pa.ChunkedArray) else chunk for chunk in chunks]
        columns[field.name] = pa.chunked_array([chunk.dictionary_encode() if encode else chunk for chunk in chunks])
    return pa.table(columns)


def times_in(unit):
    return lambda table: with_types(
        table, lambda field: pa.timestamp(unit, field.type.tz) if pa.types.is_timestamp(field.type) else None
    )


def texts(table, date_format=None):
    """Return every column as texts, as a CSV file has them."""
    columns = {}
    for field in table.schema:
        column = table.column(field.name)
        if pa.types.is_timestamp(field.type):
            moments = column.to_pylist()
            write = dt.datetime.isoformat if date_format is None else lambda moment: moment.strftime(date_format)
            columns[field.name] = pa.array(
                [None if moment is None else write(moment) for moment in moments], pa.string()
            )
        else:
            columns[field.name] = column.cast(pa.string())
    return pa.table(columns)


NULLABLE = {
    pa.int64(): pd.Int64Dtype(),
    pa.float64(): pd.Float64Dtype(),
    pa.string(): pd.StringDtype(),
    pa.bool_(): pd.BooleanDtype(),
}


def categories(table):
    frame = table.to_pandas()
    levels = [name for name in frame if name not in ("ship_date", "priority", "price", "weight_kg", "experience_score")]
    return frame.astype(dict.fromkeys(levels, "category"))


CONTAINERS = {
    "pandas": lambda table: table.to_pandas(),
    "objects": lambda table: pd.DataFrame(
        {name: pd.Series(table.column(name).to_pylist(), dtype=object) for name in table.column_names}
    ),
    "index": lambda table: table.to_pandas().set_index(np.arange(table.num_rows) * 3 + 5),
    "nullable": lambda table: table.to_pandas(types_mapper=NULLABLE.get),
    "arrow in pandas": lambda table: table.to_pandas(types_mapper=pd.ArrowDtype),
    "categories": categories,
    "polars": pl.from_arrow,
    "lazy polars": lambda table: pl.from_arrow(table).lazy(),
    "polars categories": lambda table: pl.from_arrow(table).with_columns(pl.col(pl.String).cast(pl.Categorical)),
    "narrow": lambda table: with_types(table, narrow),
    "narrow pandas": lambda table: with_types(table, narrow).to_pandas(),
    "decimals": lambda table: with_types(table, decimals),
    "large texts": lambda table: with_types(
        table, lambda field: pa.large_string() if pa.types.is_string(field.type) else None
    ),
    "text views": lambda table: with_types(
        table, lambda field: pa.string_view() if pa.types.is_string(field.type) else None
    ),
    "dictionaries": dictionaries,
    "chunks": lambda table: pa.concat_tables([table.slice(0, 5), table.slice(5, 0), table.slice(5)]),
    "ms": times_in("ms"),
    "us": times_in("us"),
    "ns": times_in("ns"),
    "texts": texts,
}
FILES = ("pandas", "nullable", "narrow", "decimals", "large texts", "dictionaries", "ns", "texts")


def arrow_of(held):
    """Return a container as the Arrow table that a file of it has."""
    if isinstance(held, pd.DataFrame):
        return pa.Table.from_pandas(held, preserve_index=False)
    return held


def money_of(quotes):
    """Return quotes as plain arrays, whatever holds them."""
    if isinstance(quotes, pl.DataFrame):
        quotes = quotes.to_arrow()
    if isinstance(quotes, pa.Table):
        quotes = quotes.to_pandas()
    return {name: quotes[name].to_numpy() for name in quotes}


def assert_same(found, expected, where):
    assert found.keys() == expected.keys(), where
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=f"{where}: {name}")


@st.composite
def cases(draw):
    """A book of orders: its seed, how ids are written, the zone of its times and what its columns are called."""
    return (
        draw(seeds),
        draw(st.sampled_from(sorted(MERCHANTS))),
        draw(st.sampled_from([None, "UTC", "Asia/Shanghai"])),
        draw(st.booleans()),
    )


def orders_of(case, n_orders=N_ORDERS, *, some_missing=False):
    """Return the orders of a case and how a call names their columns."""
    seed, ids, zone, renamed = case
    table = draw_table(np.random.default_rng(seed), ids, zone, n_orders, some_missing=some_missing)
    columns = {"priority": "priority"}
    if renamed:
        columns |= RENAMED
        table = table.rename_columns([RENAMED.get(name, name) for name in table.column_names])
    return table, columns


pytestmark = pytest.mark.filterwarnings("ignore:.*have levels that the book never had:freightrisk.FreightRiskWarning")
ONE_BOOK = settings(max_examples=2)


@pytest.mark.parametrize("name", tariffs())
@ONE_BOOK
@given(case=cases())
def test_prices_do_not_depend_on_what_holds_the_orders(name, case):
    tariff = tariffs()[name]
    table, columns = orders_of(case, some_missing=name != "carry")
    expected = money_of(tariff.price(table, campaigns=True, **columns))
    for container, hold in CONTAINERS.items():
        held = hold(table)
        quotes = tariff.price(held, campaigns=True, **columns)
        assert_same(money_of(quotes), expected, container)
        if isinstance(held, pd.DataFrame):
            assert quotes.index.equals(held.index)
    day_first = texts(table, DAY_FIRST)
    if case[2] is None:
        assert_same(
            money_of(tariff.price(day_first, campaigns=True, **columns, date_format=DAY_FIRST)), expected, DAY_FIRST
        )
    elif tariff.in_sequence or name == "rules":
        with pytest.raises(InputError, match="cannot be read as dates by ISO 8601"):
            tariff.price(day_first, **columns)


@ONE_BOOK
@given(case=cases())
def test_settled_claims_do_not_depend_on_what_holds_them(case):
    table, columns = orders_of(case, 300)
    del columns["priority"]
    freight = np.random.default_rng(case[0]).choice([5.03, 9.99, 12.5, 59.9], table.num_rows)
    shipped = table.column(columns.get("ship_date", "ship_date"))
    claims = table.append_column("freight", pa.array(freight)).append_column("report_date", shipped)
    cover = Cover(limits=[Limit("share", 40.0, share=0.3, of="price")], eligible={"tier": [1, 2]}, deductible=0.5)
    payers = [ClaimPayer("platform", where={"channel": ["search"], "weight_kg": Interval(above=1.2)}, share=0.3)]
    told = {"payers": payers, "aggregate": AggregateLimit(60.0), **columns}
    settled = settle(cover, claims, **told)
    assert settled.claims["aggregate_bound"].to_pylist().count(True) > 5
    for container, hold in CONTAINERS.items():
        held = hold(claims)
        found = settle(cover, held, **told)
        assert_same(money_of(found.claims), money_of(settled.claims), container)
        assert found.totals == settled.totals
        if isinstance(held, pd.DataFrame):
            assert found.claims.index.equals(held.index)


@ONE_BOOK
@given(case=cases())
def test_claims_of_several_covers_do_not_depend_on_what_holds_them(case):
    table, columns = orders_of(case, 300)
    del columns["priority"]
    rng = np.random.default_rng(case[0])
    shipped = table.column(columns.get("ship_date", "ship_date"))
    claims = table.append_column("freight", pa.array(rng.choice([5.03, 9.99, 12.5, 59.9], table.num_rows)))
    claims = claims.append_column("report_date", shipped)
    claims = claims.append_column("cover", pa.array(rng.choice(["drawn", "transit"], table.num_rows)))
    programme = Programme("p", tariffs()["programme"].covers)
    told = {"payers": {"transit": [ClaimPayer("platform", where={"tier": [1]}, share=0.3)]}, **columns}
    settled = settle(programme, claims, **told)
    assert {*settled.claims["cover"].to_pylist()} == {"drawn", "transit"}
    for container, hold in CONTAINERS.items():
        held = hold(claims)
        found = settle(programme, held, **told)
        assert_same(money_of(found.claims), money_of(settled.claims), container)
        assert found.totals == settled.totals
        if isinstance(held, pd.DataFrame):
            assert found.claims.index.equals(held.index)


@pytest.mark.parametrize("name", tariffs())
@ONE_BOOK
@given(case=cases())
def test_one_order_is_priced_as_a_batch_of_one(name, case):
    tariff = tariffs()[name]
    table, columns = orders_of(case, FEW, some_missing=name != "carry")
    for row in range(FEW):
        alone = table.slice(row, 1)
        expected = {key: values[0] for key, values in money_of(tariff.price(alone, **columns)).items()}
        orders = [("mapping", alone.to_pylist()[0]), ("texts", texts(alone).to_pylist()[0])]
        for container in ("pandas", "objects", "nullable", "arrow in pandas", "categories", "narrow pandas"):
            orders.append((container, CONTAINERS[container](alone).iloc[0]))
        orders.append(("decimals", with_types(alone, decimals).to_pylist()[0]))
        for container, order in orders:
            assert tariff.quote(order, **columns) == expected, container
            with redirect_stdout(StringIO()) as shown:
                sheet = tariff.explain(order, **columns)
            assert sheet.quote == expected, container
            assert sheet.rows[-1] == shown.getvalue().splitlines()[-1]
            line = f"list {expected['list_fen']} fen = merchant {expected['merchant_fen']}"
            assert any(row.startswith(line) for row in sheet.rows[-4:])  # fees stand behind it
            for cover in getattr(tariff, "covers", [tariff]):
                assert codes_of(
                    cover, {**{key: order[key] for key in alone.column_names}, **own_names(order, columns)}
                ) == codes_of(cover, own_names(alone.to_pylist()[0], columns))


def own_names(order, columns):
    """Return an order by the names that a tariff knows columns by."""
    return {**dict(order), **{role: order[own] for role, own in columns.items() if role in RENAMED}}


@pytest.mark.parametrize("name", ["budget", "carry", "programme"])
@ONE_BOOK
@given(case=cases())
def test_a_ledger_knows_a_batch_again_whatever_holds_it(name, case):
    tariff = tariffs()[name]
    table, columns = orders_of(case, some_missing=name != "carry")
    expected = money_of(tariff.price(table, **columns))
    written = set()
    with tempfile.TemporaryDirectory() as folder:
        with Ledger(Path(folder, "one.db")) as ledger:
            for container, hold in CONTAINERS.items():
                assert_same(money_of(ledger.price(tariff, hold(table), batch="a", **columns)), expected, container)
            written.add(content_of(ledger))
        for container in ("objects", "categories", "decimals", "texts"):
            with Ledger(Path(folder, f"{container}.db")) as ledger:
                ledger.price(tariff, CONTAINERS[container](table), batch="a", **columns)
                written.add(content_of(ledger))
    assert len(written) == 1


def content_of(ledger):
    """Return the lines, spending and remainders of a ledger."""
    with ledger._engine.connect() as connection:
        lines = connection.execute(
            sa.text("select order_id, campaign, period, merchant, fen from freightrisk_lines")
        ).all()
    shown = [ledger.spending(), ledger.spending_by_merchant(), ledger.remainders()]
    return (tuple(sorted(map(tuple, lines))), *(repr(frame.to_dict("list")) for frame in shown))


@pytest.mark.parametrize("name", ["plain", "budget", "experience", "rules", "programme"])
@settings(max_examples=1)
@given(case=cases())
def test_files_and_the_command_line_give_the_same_fen(name, case):
    tariff = tariffs()[name]
    table, columns = orders_of(case, some_missing=True)
    order_id = columns.get("order_id", "order_id")
    expected = money_of(tariff.price(table, **columns))
    ids = table.column(order_id).cast(pa.string()).to_pylist()
    options = [part for role, own in columns.items() for part in (f"--{role.replace('_', '-')}-column", own)]
    with tempfile.TemporaryDirectory() as name_of_folder:
        folder = Path(name_of_folder)
        tariff.save(folder / "tariff.json")
        sources = []
        for container in FILES:
            pq.write_table(arrow_of(CONTAINERS[container](table)), folder / f"{container}.parquet")
            sources.append(folder / f"{container}.parquet")
            price_parquet(tariff, sources[-1], folder / "out.parquet", **columns)
            assert_same(money_of(pd.read_parquet(folder / "out.parquet")), expected, container)
            assert_same(money_of(tariff.price(sources[-1], **columns)), expected, container)
        pa_csv.write_csv(texts(table), folder / "orders.csv")
        for source in [*sources[:3], folder / "orders.csv"]:
            call = ["--tariff", str(folder / "tariff.json"), "--orders", str(source), *options]
            with redirect_stdout(StringIO()):
                assert main(["price", *call, "--out", str(folder / "quotes.parquet")]) == 0
            quotes = pd.read_parquet(folder / "quotes.parquet")
            assert quotes.pop(order_id).astype(str).tolist() == ids
            assert_same(money_of(quotes), expected, source.name)
            with redirect_stdout(StringIO()) as shown:
                assert main(["explain", *call, "--order-id", ids[3]]) == 0
            last = tariff.quote(table.to_pylist()[3], **columns)
            line = f"list {last['list_fen']} fen = merchant {last['merchant_fen']}"
            assert any(row.startswith(line) for row in shown.getvalue().splitlines()[-4:])


FACTORS = [
    Factor("channel", missing="level"),
    Factor("merchant_class"),
    Factor("segment"),
    Factor("member"),
    Hierarchy("category", ["industry", "leaf"]),
]
BOOK_COLUMNS = ("claim_count", "claim_row", "claim_amount", "claim_day", "ship_day")


@ONE_BOOK
@given(case=cases())
def test_books_and_what_is_made_of_them_do_not_depend_on_the_container(case):
    table, columns = orders_of(case)
    columns.pop("priority")
    order_id, merchant_id, ship_date = (columns.get(name, name) for name in RENAMED)
    few = table.slice(0, 200)
    reported = pa.compute.add(few.column(ship_date), pa.scalar(dt.timedelta(days=3), pa.duration("s")))
    claims = pa.table(
        {order_id: few.column(order_id), "freight": np.linspace(5.0, 25.0, 200).round(1), "report_date": reported}
    )
    history = pa.table(
        {
            merchant_id: pa.array(
                list(dict.fromkeys(few.column(merchant_id).to_pylist())), few.column(merchant_id).type
            ),
            "experience_score": pa.array(
                [4.2, 4.8, 4.9, 4.6, 4.8, 4.5, 4.7][: len(set(few.column(merchant_id).to_pylist()))]
            ),
            "date": few.column(ship_date).slice(0, len(set(few.column(merchant_id).to_pylist()))),
        }
    )
    rules = tariffs()["rules"]
    quotes = rules.price(table, campaigns=True, **columns)
    lagged_names = {name: own for name, own in columns.items() if name in ("merchant_id", "ship_date")}
    settle = {"merchant_id": merchant_id, "day": ship_date}

    def read(hold):
        orders, said = hold(table), hold(claims)
        book = OrderBook.from_frames(orders, said, factors=FACTORS, as_of="2025-08-01", **columns)
        settled = Settlement.of(rules, orders, quotes, **settle)
        scores = lagged_scores(orders, hold(history), days=2, **lagged_names)
        return book, settled, scores, orders

    book, settled, scores, _ = read(lambda table: table)
    frequency = FrequencyModel(["channel"]).fit(book)
    rated = ExperienceRating.of(book, frequency, table.column(merchant_id))
    assert len(rated.mods) > 1
    for container, hold in CONTAINERS.items():
        other, settled_too, scores_too, orders = read(hold)
        same_book(other, book, texts=container == "texts")
        pd.testing.assert_frame_equal(settled_too.payers, settled.payers)
        pd.testing.assert_frame_equal(settled_too.accounts, settled.accounts)
        np.testing.assert_array_equal(scores_too.to_numpy(), scores.to_numpy())
        if not isinstance(orders, pl.LazyFrame):
            again = ExperienceRating.of(book, frequency, orders[merchant_id])
            assert again.mods == rated.mods, container
    with tempfile.TemporaryDirectory() as folder:
        for container in FILES:
            held = [arrow_of(CONTAINERS[container](part)) for part in (table.slice(0, 333), table.slice(333))]
            paths = [Path(folder, f"{container}.{k}.parquet") for k in range(2)]
            for path, part in zip(paths, held, strict=True):
                pq.write_table(part, path)
            stored = store_book(
                Path(folder, container),
                paths,
                CONTAINERS[container](claims),
                factors=FACTORS,
                as_of="2025-08-01",
                **columns,
            )
            same_book(stored, book, texts=container == "texts")


def same_book(found, expected, *, texts):
    """Compare two books; levels of a book of texts are spelled, not typed."""
    for name in BOOK_COLUMNS:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    for name, coding in expected.codings.items():
        if not texts:
            assert found.codings[name].paths == coding.paths
            np.testing.assert_array_equal(found.codes[name], expected.codes[name])
        labels = np.array(expected.codings[name].labels)[expected.codes[name]]
        assert (
            np.char.lower(np.array(found.codings[name].labels)[found.codes[name]]).tolist()
            == np.char.lower(labels).tolist()
        )


def test_merchants_may_be_held_otherwise_than_orders():
    tariff = tariffs()["experience"]
    whole, columns = orders_of((5, "texts", None, True))
    of_merchants = ["experience_score", "version"]
    merchants = (
        whole.select([RENAMED["merchant_id"], *of_merchants]).to_pandas().drop_duplicates(RENAMED["merchant_id"])
    )
    merchants = merchants.head(5)  # two have no row
    rows = whole.to_pandas().drop(columns=of_merchants)
    orders = rows[rows[RENAMED["merchant_id"]].isin(merchants[RENAMED["merchant_id"]])].reset_index(drop=True)
    joined = orders.merge(merchants, on=RENAMED["merchant_id"], how="left")
    expected = money_of(tariff.price(joined, **columns))
    held_orders, held_merchants = (pa.Table.from_pandas(frame, preserve_index=False) for frame in (orders, merchants))
    for container, hold in CONTAINERS.items():
        for other in (container, "objects", "categories", "texts", "polars"):
            found = tariff.price(hold(held_orders), merchants=CONTAINERS[other](held_merchants), **columns)
            assert_same(money_of(found), expected, (container, other))
    with pytest.raises(InputError, match="names no row of merchants"):
        tariff.price(rows, merchants=merchants, **columns)


# --- values that are refused ---------------------------------------------------------------------------------------

DAY = dt.date(2026, 6, 1)
NO_ID = r"does not name an id for certain|is a boolean, not an id|is an? \w+, not an id|is of type"
NO_LEVEL = r"is an? \w+, not a level|is of type|is infinite"
NO_NUMBER = "is infinite|is not a number|is a boolean, not a number|is of type"
NO_TIME = "cannot be read as dates|is of type"
BAD = [
    (column, value, NO_ID)
    for column in ("order_id", "merchant_id")
    for value in (2.0**53, 17.5, True, [17], {"a": 1}, b"17", DAY)
]
BAD += [("channel", value, NO_LEVEL) for value in (DAY, ["live"], {"a": 1}, b"live", np.inf)]
BAD += [("weight_kg", value, NO_NUMBER) for value in (np.inf, "1e999", True, "heavy", [1.0], DAY, b"1")]
BAD += [
    ("ship_date", value, NO_TIME)
    for value in ("05/06/2026", 20260618, 1.5, True, ["2026-06-18"], b"2026-06-18", "2026-02-30")
]


def small():
    """Return eight orders, their claims and their quotes."""
    orders = draw_table(np.random.default_rng(2), "whole", None, 8)
    claims = pa.table(
        {"order_id": orders.column("order_id").slice(0, 2), "freight": [8.0, 9.5], "report_date": ["2025-07-09"] * 2}
    )
    return orders, claims


def through_file(call):
    def door(orders):
        with tempfile.TemporaryDirectory() as folder:
            pq.write_table(arrow_of(orders), Path(folder, "orders.parquet"))
            call(Path(folder, "orders.parquet"), Path(folder))

    return door


def command(path, folder):
    tariffs()["budget"].save(folder / "tariff.json")
    with warnings.catch_warnings(), redirect_stderr(StringIO()) as said:
        assert (
            main(
                [
                    "price",
                    "--tariff",
                    str(folder / "tariff.json"),
                    "--orders",
                    str(path),
                    "--out",
                    str(folder / "out.parquet"),
                ]
            )
            == 2
        )
    raise InputError(said.getvalue())


def ledger_door(orders):
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder, "a.db")) as ledger:
        try:
            ledger.price(tariffs()["budget"], orders, batch="a")
        finally:
            assert len(ledger.batches()) == 0


def first_row(orders):
    if isinstance(orders, pd.DataFrame):
        return orders.iloc[0]
    return orders.to_pylist()[0]


BAND = CODINGS["weight_kg"].declared
BOOK_FACTORS = [Factor("channel", missing="level"), BAND]


def book_door(orders):
    OrderBook.from_frames(orders, small()[1], factors=BOOK_FACTORS)


def store_door(path, folder):
    store_book(folder / "book", path, small()[1], factors=BOOK_FACTORS)


def parquet_door(path, folder):
    price_parquet(tariffs()["budget"], path, folder / "out.parquet")


def scores_door(orders):
    history = small()[0]
    lagged_scores(
        orders, history.rename_columns([{"ship_date": "date"}.get(name, name) for name in history.column_names])
    )


def quote_door(name):
    return lambda orders: tariffs()[name].quote(first_row(orders))


PAYERS = [
    ClaimPayer("platform", where={"channel": ["search"]}),
    ClaimPayer("merchant", where={"weight_kg": Interval(above=1.0)}),
]


def settle_door(orders):
    settle(Cover(), small()[1], orders=orders, payers=PAYERS, aggregate=AggregateLimit(9.0))


BOOK = ("order_id", "channel", "weight_kg", "ship_date")
ALL = (*BOOK, "merchant_id")
DOORS = {
    "price": (lambda orders: tariffs()["budget"].price(orders), ALL),
    "encode": (lambda orders: tariffs()["carry"].encode(orders), ALL),
    "quote": (quote_door("budget"), ALL),
    "quote by codes": (quote_door("rules"), ("channel", "weight_kg", "ship_date")),
    "explain": (lambda orders: tariffs()["budget"].explain(first_row(orders)), ALL),
    "dither": (quote_door("dither"), ("order_id", "channel", "weight_kg")),
    "experience": (quote_door("experience"), ("merchant_id", "channel", "weight_kg")),
    "ledger": (ledger_door, ALL),
    "price_parquet": (through_file(parquet_door), ALL),
    "command line": (through_file(command), ALL),
    "book": (book_door, BOOK),
    "store_book": (through_file(store_door), BOOK),
    "settle": (settle_door, ALL),
    "settlement": (
        lambda orders: Settlement.of(tariffs()["rules"], orders, quotes_of_rules()),
        ("merchant_id", "ship_date"),
    ),
    "lagged_scores": (scores_door, ("merchant_id", "ship_date")),
    "experience of merchants": (lambda orders: merchants_door(orders), ("merchant_id",)),
}


@cache
def quotes_of_rules():
    return tariffs()["rules"].price(small()[0], campaigns=True)


def merchants_door(orders):
    book = OrderBook.from_frames(*small(), factors=[Factor("zone")], as_of="2025-08-01")
    merchant_periods(book, FrequencyModel([]).fit(book), orders["merchant_id"])


@pytest.mark.parametrize("container", ["pandas", "arrow"])
@pytest.mark.parametrize("door", DOORS)
def test_good_orders_pass_every_door(door, container):
    call, _ = DOORS[door]
    orders = small()[0] if container == "arrow" else small()[0].to_pandas()
    if door == "ledger":
        tariffs()["budget"].price(orders)
    elif door == "command line":
        with pytest.raises(AssertionError):
            call(orders)
    else:
        call(orders)


@pytest.mark.parametrize("container", ["objects", "arrow", "one of many"])
@pytest.mark.parametrize("door", DOORS)
def test_bad_values_are_refused_at_every_door(door, container):
    call, columns = DOORS[door]
    for column, value, fault in BAD:
        if column not in columns:
            continue
        orders = small()[0]
        if container == "arrow":
            place = orders.column_names.index(column)
            orders = orders.set_column(place, column, pa.array([value] * orders.num_rows))
        else:
            orders = orders.to_pandas()
            values = orders[column].astype(object).tolist()
            several = [value, *values[1:]] if container == "one of many" else [value] * len(values)
            if container == "one of many" and (door in ("price_parquet", "command line", "store_book")):
                continue  # a file has one type a column
            held = np.empty(len(values), dtype=object)
            held[:] = several
            orders[column] = pd.Series(held, dtype=object)
        with pytest.raises(InputError, match=fault) as refused:
            call(orders)
        assert column in str(refused.value) or door == "experience of merchants", (column, value)


def twice(table, column):
    """Return a table that has a column twice."""
    return table.append_column(column, table.column(column))


@pytest.mark.parametrize("column", ["order_id", "merchant_id", "channel", "weight_kg", "ship_date"])
@pytest.mark.parametrize("door", [name for name in DOORS if name != "experience of merchants"])
def test_a_column_that_stands_there_twice_is_refused_if_it_is_read(door, column):
    call, columns = DOORS[door]
    if column not in columns:
        return
    held = twice(small()[0], column)
    frame = pd.concat([small()[0].to_pandas(), small()[0].to_pandas()[[column]]], axis=1)
    one_order = first_row(frame).index.has_duplicates and door in (
        "quote",
        "quote by codes",
        "explain",
        "dither",
        "experience",
    )
    for orders in [frame] if one_order else [held, frame]:
        if isinstance(orders, pd.DataFrame) and door in ("price_parquet", "command line", "store_book"):
            continue  # pandas writes no such file
        with pytest.raises(InputError, match=r"twice|two values of one column"):
            call(orders)


def test_explain_refuses_a_column_that_stands_twice_in_the_file(tmp_path, capsys):
    tariffs()["plain"].save(tmp_path / "tariff.json")
    lines = [",".join(names) for names in ([*texts(small()[0]).column_names, "channel"], ["x"] * 17)]
    (tmp_path / "orders.csv").write_text("\n".join(lines))
    call = ["--tariff", str(tmp_path / "tariff.json"), "--orders", str(tmp_path / "orders.csv")]
    assert main(["explain", *call, "--order-id", "x"]) == 2
    assert "column 'channel' stands there twice" in capsys.readouterr().err


def test_a_column_is_kept_once(tmp_path, capsys):
    pq.write_table(small()[0], tmp_path / "orders.parquet")
    pq.write_table(twice(small()[0], "price"), tmp_path / "twice.parquet")
    tariff = tariffs()["plain"]
    with pytest.raises(InputError, match="keep names 'price' twice; name each column once"):
        price_parquet(tariff, tmp_path / "orders.parquet", tmp_path / "out.parquet", keep=["price", "price"])
    with pytest.raises(InputError, match=r"column 'price' stands (there )?twice"):
        price_parquet(tariff, tmp_path / "twice.parquet", tmp_path / "out.parquet", keep=["price"])
    tariff.save(tmp_path / "tariff.json")
    lines = [",".join(row) for row in ([*small()[0].column_names, "price"], ["1"] * 17)]
    (tmp_path / "twice.csv").write_text("\n".join(lines))
    for source in ("twice.parquet", "twice.csv"):
        call = [
            "price",
            "--tariff",
            str(tmp_path / "tariff.json"),
            "--orders",
            str(tmp_path / source),
            "--keep",
            "price",
        ]
        assert main([*call, "--out", str(tmp_path / "out.parquet")]) == 2
        assert "column 'price' stands" in capsys.readouterr().err


@pytest.mark.parametrize("batch", ["a\0b", "\ud800"])
def test_texts_that_no_database_holds_are_refused_as_names_of_batches(batch, tmp_path):
    with (
        Ledger(tmp_path / "a.db") as ledger,
        pytest.raises(InputError, match=r"batch is .* with a zero character or half"),
    ):
        ledger.price(tariffs()["budget"], small()[0], batch=batch)


# --- ids of unusual size -------------------------------------------------------------------------------------------


def test_ids_beyond_64_bits_are_texts_in_every_container(tmp_path):
    table, _ = orders_of((3, "whole", None, False), 50)
    large = [2**64 + k for k in range(50)]
    held = {
        "texts": pa.array([str(number) for number in large]),
        "decimal": pa.array([decimal.Decimal(number) for number in large], pa.decimal128(38, 0)),
        "wide decimal": pa.array([decimal.Decimal(number) for number in large], pa.decimal256(40, 0)),
    }
    orders = {
        name: table.set_column(0, "order_id", column).set_column(1, "merchant_id", column)
        for name, column in held.items()
    }
    orders["objects"] = table.to_pandas().assign(
        order_id=pd.Series(large, dtype=object), merchant_id=pd.Series(large, dtype=object)
    )
    for name in ("dither", "budget", "carry"):
        tariff = tariffs()[name]
        expected = money_of(tariff.price(orders["texts"]))
        with Ledger(tmp_path / f"{name}.db") as ledger:
            for container, frame in orders.items():
                assert_same(money_of(tariff.price(frame)), expected, container)
                if name != "dither":
                    assert_same(money_of(ledger.price(tariff, frame, batch="a")), expected, container)


def test_one_long_id_takes_no_memory_for_the_others():
    table, _ = orders_of((4, "texts", None, False))
    ids = table.column("order_id").to_pylist()
    table = table.set_column(0, "order_id", pa.array(["x" * 2**20, *ids[1:]]))
    tariff = tariffs()["dither"]
    tracemalloc.start()
    try:
        tariff.price(table)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * 2**20


def test_a_named_column_that_is_absent_is_refused_at_every_door():
    plain = put_together(
        frequency=RateTables(0.1, {}), severity=RateTables(9.0, {}), cover=Cover(max_claims=None),
        subsidies=[Subsidy("june", "platform", fixed_fen=5, start="2026-06-01", budget_fen=100)],
    )  # fmt: skip
    frame = pd.DataFrame({"order_id": [1, 2], "ship_date": pd.Timestamp("2026-06-02"), 5: 1})
    for door in (plain.quote, plain.explain):
        with pytest.raises(InputError, match="missing column 'shipped'"):
            door(frame.iloc[0], ship_date="shipped")
        with pytest.raises(InputError, match="missing column 'prio'"):
            door(frame.iloc[0], priority="prio")
    with pytest.raises(InputError, match="missing column 'shipped'"):
        plain.price(frame, ship_date="shipped")
    coded = plain.encode(frame, priority="5")
    assert plain.price(coded)["platform_fen"].tolist() == [5, 5]
    assert plain.quote(frame.iloc[0], priority="5")["platform_fen"] == 5
    with pytest.raises(InputError, match="orders are already encoded"):
        plain.price(coded, ship_date="shipped")


def test_a_reader_of_merchants_serves_every_batch(tmp_path):
    plain = put_together(
        frequency=RateTables(0.1, {}), severity=RateTables(9.0, {}), cover=Cover(max_claims=None),
        subsidies=[Subsidy("far", "platform", fixed_fen=5, where={"segment": ["key"]})],
    )  # fmt: skip
    pd.DataFrame({"order_id": range(8), "merchant_id": 17}).to_parquet(tmp_path / "orders.parquet")
    merchants = pa.table({"merchant_id": [17], "segment": ["key"]})
    for given_as in (merchants, merchants.to_reader(), pl.from_arrow(merchants).lazy()):
        totals = price_parquet(
            plain, tmp_path / "orders.parquet", tmp_path / "quotes.parquet", merchants=given_as, batch_rows=3
        )
        assert totals["platform_fen"] == 40
