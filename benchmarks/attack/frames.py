"""Odd frames: columns of other types, values, times and ids, in every container, for every call that reads rows.

The library refuses each frame by an error, or returns as many rows, no missing number, and a payer for every fen.
"""

import datetime as dt
import decimal
import random
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.attack.documents import check_message, require
from benchmarks.attack.world import FACTORS, draw_orders, tariffs
from freightrisk import Factor, FreightRiskError, FrequencyModel, OrderBook, Settlement, Tariff, price_parquet

Column = Any
OUR_FILES = "freightrisk-attack-"
NUMBERS: list[Any] = [
    np.inf, -np.inf, np.nan, 0, -0.0, -1, 0.5, 1e308, 5e-324, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), 10**40,
    np.float32(1.5), np.int8(3), decimal.Decimal("4.8"), decimal.Decimal("NaN"), True, 3 + 1j,
]  # fmt: skip
TEXTS: list[Any] = [
    "", " ", "17", "17.0", "017", "1e3", "nan", "None", "(missing)", "(other)", "(all)", "=1+1", "é", "é", "\0",
    "\ud800", "\x1b[2J", "\u202e", "a\nb", "x" * 5_000, np.str_("city"), b"city",
]  # fmt: skip
TIMES: list[Any] = [
    "2026-06-01", "2026-06-01T10:00:00.123456789", "2026-06-01T10:00+08:00", "05/06/2026", "2026-13-45", "0001-01-01",
    "9999-12-31", "10000-01-01", "now", dt.date(2026, 6, 1), dt.datetime(2026, 6, 2, 23, 59),
    dt.time(3, 4), pd.Timestamp("2026-06-01", tz="UTC"), pd.Timestamp("2026-06-01"), pd.NaT, 1_780_000_000,
]  # fmt: skip
OTHERS: list[Any] = [None, pd.NA, [], [1], ["a", "b"], {}, {"a": 1}, (1, 2), frozenset(), object(), len, float]
TYPES = ["int8", "uint8", ">i2", "int32", "uint64", ">f8", "float16", "float32", "bool", "complex128"]
ZONES = ["Asia/Shanghai", "UTC", "America/New_York"]


def _some_of(values: list[Any]) -> Callable[[pd.Series, random.Random], Column]:
    """Return a change that puts odd values, one or three of them, into some rows."""

    def change(column: pd.Series, rng: random.Random) -> Column:
        chosen = [rng.choice(values) for _ in range(rng.choice((1, 1, 3)))]
        share = rng.choice((0.1, 0.5, 1.0))
        rows = [rng.choice(chosen) if rng.random() < share else value for value in column]
        odd = pd.Series([None] * len(rows), index=column.index, dtype=object)
        for k, value in enumerate(rows):
            odd.iat[k] = value
        return odd

    return change


def _numeric(column: pd.Series) -> pd.Series:
    return pd.to_numeric(column, errors="coerce").fillna(0)


def _read_only_stride(column: pd.Series, rng: random.Random) -> Column:
    table = np.zeros((len(column), 3))
    table[:, 1] = _numeric(column)
    table.flags.writeable = False
    return pd.Series(table[:, 1][:: rng.choice((1, -1))], index=column.index, copy=False)


def _days(column: pd.Series, rng: random.Random) -> Column:
    unit = rng.choice(("s", "ms", "us", "ns"))
    texts = ["2026-06-01", "NaT", "1677-09-22", "2262-04-11", "0001-01-01", "9999-12-31"]
    chosen = [rng.choice(texts[: 6 if unit == "s" else 4]) for _ in column]
    return pd.Series(np.array(chosen, dtype=f"datetime64[{unit}]"), index=column.index)


CHANGES: dict[str, Callable[[pd.Series, random.Random], Column]] = {
    "some numbers": _some_of(NUMBERS),
    "some texts": _some_of(TEXTS),
    "some times": _some_of(TIMES),
    "some others": _some_of(OTHERS),
    "a mixture": _some_of([*NUMBERS, *TEXTS, *TIMES, *OTHERS]),
    "texts": lambda column, rng: column.astype(rng.choice(("str", "string", "category", "string[pyarrow]"))),
    "bytes": lambda column, rng: pd.Series([str(value).encode() for value in column], index=column.index),
    "fixed bytes": lambda column, rng: pd.Series(np.asarray(column.astype(str), dtype="S9"), index=column.index),
    "numbers": lambda column, rng: _numeric(column).astype(rng.choice(TYPES)),
    "masked": lambda column, rng: _numeric(column).astype("Float64").mask(np.arange(len(column)) % 3 == 0),
    "whole masked": lambda column, rng: column.astype("Int64").mask(np.arange(len(column)) % 2 == 0),
    "arrow": lambda column, rng: column.astype(pd.ArrowDtype(pa.array(column).type)),
    "sparse": lambda column, rng: pd.Series(pd.arrays.SparseArray(_numeric(column)), index=column.index),
    "read-only": _read_only_stride,
    "scaled": lambda column, rng: _numeric(column) * rng.choice((-1.0, 1e300, 1e-300, 1e6, 1.0 + 1e-9)),
    "missing": lambda column, rng: pd.Series([rng.choice((None, np.nan))] * len(column), index=column.index),
    "days": _days,
    "zoned": lambda column, rng: pd.Series(
        pd.date_range("2026-06-01", periods=len(column), tz=rng.choice(ZONES)), index=column.index
    ),
    "spans": lambda column, rng: pd.Series(pd.to_timedelta(np.arange(len(column)), unit="h"), index=column.index),
    "periods": lambda column, rng: pd.Series(
        pd.period_range("2026-06", periods=len(column), freq="M"), index=column.index
    ),
    "intervals": lambda column, rng: pd.Series(pd.interval_range(0, len(column)), index=column.index),
    "categories": lambda column, rng: column.astype("category").cat.set_categories(
        column.drop_duplicates().tolist()[::-1], ordered=True
    ),
    "same": lambda column, rng: pd.Series([column.iloc[0]] * len(column), index=column.index),
}


def _changed(frame: pd.DataFrame, rng: random.Random, column: str | None = None) -> pd.DataFrame:
    """Return a frame with one column changed, or the frame itself if pandas cannot make the change."""
    name = rng.choice(list(frame)) if column is None else column
    try:
        return frame.assign(**{name: CHANGES[rng.choice(list(CHANGES))](frame[name], rng)})
    except FreightRiskError:
        raise
    except Exception:
        return frame


def _chunked(frame: pd.DataFrame, rng: random.Random) -> Any:
    table, cut = pa.Table.from_pandas(frame, preserve_index=False), rng.randrange(len(frame) + 1)
    return pa.concat_tables([table.slice(0, cut), table.slice(cut, 0), table.slice(cut)])


def _dictionaries(frame: pd.DataFrame, rng: random.Random) -> Any:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    for k, name in enumerate(table.column_names):
        if pa.types.is_string(table.schema.field(k).type) and rng.random() < 0.6:
            table = table.set_column(k, name, table.column(k).dictionary_encode())
    return table


def _as_file(frame: pd.DataFrame, rng: random.Random) -> Any:
    path = Path(tempfile.gettempdir(), f"{OUR_FILES}{rng.randrange(10**9)}.parquet")
    frame.to_parquet(path, index=False)
    return path


CONTAINERS: list[Callable[[pd.DataFrame, random.Random], Any]] = [
    lambda frame, rng: frame,
    lambda frame, rng: frame,
    lambda frame, rng: frame.iloc[::-1],
    lambda frame, rng: frame.sample(frac=1.0, random_state=rng.randrange(1_000)),
    lambda frame, rng: frame.set_axis([5] * len(frame)),
    lambda frame, rng: frame.set_index(["order_id", "zone"], drop=False),
    lambda frame, rng: pl.from_pandas(frame),
    lambda frame, rng: pl.from_pandas(frame).lazy(),
    lambda frame, rng: pl.from_pandas(frame).with_columns(pl.col("zone").cast(pl.Categorical)),
    _chunked,
    _dictionaries,
    lambda frame, rng: pa.RecordBatch.from_pandas(frame, preserve_index=False),
    _as_file,
]
STRANGE: list[Callable[[pd.DataFrame, random.Random], Any]] = [
    lambda frame, rng: pd.concat([frame, frame[[rng.choice(list(frame))]]], axis=1),
    lambda frame, rng: frame.drop(columns=rng.choice(list(frame))),
    lambda frame, rng: frame.iloc[:0],
    lambda frame, rng: frame.rename(
        columns={rng.choice(list(frame)): rng.choice([0, None, "", ("a", "b"), "Zone", "zone ", "\x1b[0m"])}
    ),
    lambda frame, rng: frame.T,
    lambda frame, rng: pd.concat([frame] * 2),
    lambda frame, rng: pd.concat({"a": frame}, axis=1),
    lambda frame, rng: rng.choice([None, 5, {}, {"zone": ["city"]}, [1], np.zeros((3, 3)), object(), b"x"]),
    lambda frame, rng: rng.choice(["nowhere.parquet", "no\x1bwhere.parquet", Path("/")]),
    lambda frame, rng: rng.choice([frame["zone"], frame.to_dict("list"), frame.to_records(), frame.to_numpy()]),
]  # fmt: skip


def _cannot_cross(frame: pd.DataFrame) -> bool:
    """Return whether a frame holds values that make pyarrow or polars themselves end the process."""
    odd = (complex, type, type(len))
    return any(
        isinstance(value, odd) or (isinstance(value, str) and "\ud800" in value)
        for name in frame
        for value in frame[name]
        if frame[name].dtype == object
    )


def _contained(frame: pd.DataFrame, rng: random.Random) -> Any:
    """Return a frame in some container, or the frame itself if the container cannot hold it."""
    if rng.random() < 0.1:
        return rng.choice(STRANGE)(frame, rng)
    choices = CONTAINERS[:6] if _cannot_cross(frame) else CONTAINERS
    try:
        return rng.choice(choices)(frame, rng)
    except Exception:
        return frame


def _rows(given: Any) -> int | None:
    if isinstance(given, (pd.DataFrame, pl.DataFrame, pa.Table, pa.RecordBatch)):
        return len(given) if not isinstance(given, pa.RecordBatch) else given.num_rows
    return None


def _pandas(quotes: Any) -> pd.DataFrame:
    return quotes if isinstance(quotes, pd.DataFrame) else quotes.to_pandas()


def check_quotes(tariff: Tariff, quotes: Any, rows: int | None) -> pd.DataFrame:
    """Check the laws of money on quotes."""
    found = _pandas(quotes)
    require(rows is None or len(found) == rows, "a quote for every row")
    require(not found.isna().any().any(), "no quote is missing")
    money = found[[name for name in found if name.endswith("_fen")]].astype(np.int64)
    require((money >= 0).all().all(), "no fen below zero")
    require((money["list_fen"] == money.drop(columns="list_fen").sum(axis=1)).all(), "payers sum to the list price")
    require((money["merchant_fen"] >= tariff.floor_fen).all(), "the merchant pays the floor")
    return found


def _price(frame: pd.DataFrame, given: Any, tariff: Tariff, rng: random.Random) -> None:
    columns = {"priority": "priority"} if rng.random() < 0.2 else {}
    if rng.random() < 0.2:
        quotes = tariff.price(tariff.encode(given, **columns), campaigns=True)
    else:
        quotes = tariff.price(given, campaigns=True, threads=rng.choice((1, 2)), **columns)
    found = check_quotes(tariff, quotes, _rows(given))
    plain = isinstance(given, pd.DataFrame) and given.columns.is_unique and not tariff.in_sequence
    for k in range(min(len(found), 2) if plain else 0):
        one = tariff.quote(dict(given.iloc[k]))
        same = (one["list_fen"], one["merchant_fen"]) == (found["list_fen"].iloc[k], found["merchant_fen"].iloc[k])
        require(same, "a quote of one order equals the quote of its row")


def _merchants(frame: pd.DataFrame, given: Any, tariff: Tariff, rng: random.Random) -> None:
    orders = draw_orders(len(frame), 5)
    moved = [name for name in ("experience_score", "tier") if name in orders]
    quotes = tariff.price(orders.drop(columns=moved), merchants=given, campaigns=True)
    check_quotes(tariff, quotes, len(orders))


def _settle(frame: pd.DataFrame, given: Any, tariff: Tariff, rng: random.Random) -> None:
    quotes = tariff.price(given, campaigns=True)
    settled = Settlement.of(tariff, given, quotes)
    require(settled.is_balanced, "a settlement is balanced")
    require((settled + settled - settled).is_balanced, "a settlement stays balanced")


def _quote(frame: pd.DataFrame, given: Any, tariff: Tariff, rng: random.Random) -> None:
    order: Any = dict(frame.iloc[rng.randrange(len(frame))])
    for name in order:
        if rng.random() < 0.15:
            order[name] = rng.choice([*NUMBERS, *TEXTS, *TIMES, *OTHERS, np.array([1, 2]), np.array(1.0)])
    order = rng.choice([None, [], "x", {}, frame]) if rng.random() < 0.03 else order
    one = tariff.quote(order)
    paid = sum(value for name, value in one.items() if name.endswith("_fen") and name != "list_fen")
    require(one["list_fen"] == paid and one["merchant_fen"] >= tariff.floor_fen, "payers sum to the list price")
    require(str(tariff.pricer.explain(order)), "a worksheet is printed")


def _book(frame: pd.DataFrame, given: Any, tariff: Tariff, rng: random.Random) -> None:
    claims = pd.DataFrame({"order_id": frame["order_id"].iloc[: 1 + len(frame) // 3], "freight": 8.0})
    claims["report_date"] = pd.Timestamp("2026-07-09")
    as_of = rng.choice((None, "2026-09-01"))
    book = OrderBook.from_frames(given, claims, factors=FACTORS, as_of=as_of)
    require(all(len(codes) == book.n_orders for codes in book.codes.values()), "a code for every order")
    require(0 <= book.n_claims <= len(claims), "no more claims than were given")
    FrequencyModel(["zone"]).fit(book)


def _claims(frame: pd.DataFrame, given: Any, tariff: Tariff, rng: random.Random) -> None:
    orders = draw_orders(len(frame), 5)
    claims = pd.DataFrame({"order_id": orders["order_id"], "freight": 8.0, "report_date": pd.Timestamp("2026-07-09")})
    claims = _changed(claims.assign(undone=pd.NaT), rng).assign(zone="city")
    as_of = rng.choice((None, "2026-09-01"))
    book = OrderBook.from_frames(
        orders, _contained(claims, rng), factors=[Factor("zone")], reversed_date="undone", as_of=as_of
    )
    require(np.isfinite(book.claim_amount).all() and (book.claim_amount > 0).all(), "amounts are numbers above zero")


def _counts(frame: pd.DataFrame, given: Any, tariff: Tariff, rng: random.Random) -> None:
    cells = draw_orders(len(frame), 5)[["zone"]].assign(claims=1, paid=8.0, insured=1.0)
    cells = _changed(cells, rng)
    book = OrderBook.from_counts(
        cells, claims="claims", amount="paid", exposure="insured", factors=[Factor("zone", missing="level")]
    )
    require(book.n_claims >= 0 and np.isfinite(book.total_exposure), "counts are numbers")


def _parquet(frame: pd.DataFrame, given: Any, tariff: Tariff, rng: random.Random) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "orders.parquet"), Path(folder, "quotes.parquet")
        rows = _damaged_file(frame, source, rng)
        keep = rng.choice(([], ["order_id"], ["order_id", "zone"], [rng.choice(list(frame))]))
        try:
            told = price_parquet(tariff, source, out, keep=keep, batch_rows=rng.choice((1, 3, 1_000)), threads=1)
            found = pq.read_table(out)
            require(rows in (None, found.num_rows) and told["orders"] == found.num_rows, "a quote for every row")
        finally:
            left = {path.name for path in Path(folder).iterdir()} - {source.name, out.name}
            require(not left, "no part of a file is left")


def _damaged_file(frame: pd.DataFrame, path: Path, rng: random.Random) -> int | None:
    """Write a frame as Parquet, sometimes with damaged bytes; return its number of rows if it is not damaged."""
    rows_at_once = rng.choice((1, 3, 100))
    try:
        table = pa.Table.from_pandas(frame if not _cannot_cross(frame) else draw_orders(3, 5), preserve_index=False)
        pq.write_table(table, path, row_group_size=rows_at_once)
    except Exception:  # Parquet cannot hold every value of a frame
        table = pa.Table.from_pandas(draw_orders(3, 5), preserve_index=False)
        pq.write_table(table, path, row_group_size=rows_at_once)
    if rng.random() > 0.25:
        return table.num_rows
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 3, 20))):
        data[rng.randrange(len(data))] = rng.randrange(256)
    path.write_bytes(data[: rng.choice((len(data), len(data), rng.randrange(len(data))))])
    return None


DOORS: list[Callable[[pd.DataFrame, Any, Tariff, random.Random], None]] = [
    _price, _price, _price, _merchants, _settle, _quote, _book, _book, _claims, _counts, _parquet,
]  # fmt: skip


def case(seed: int) -> str:
    """Return the outcome for the frame of a seed; raises `FaultError`, or any error that the library must not raise."""
    rng = random.Random(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings of pandas about odd columns are not under test
        frame = draw_orders(rng.choice((1, 2, 8, 8, 30)), rng.randrange(50))
        for _ in range(rng.choice((0, 1, 1, 1, 2, 4))):
            frame = _changed(frame, rng)
        given = _contained(frame, rng)
    door, tariff = rng.choice(DOORS), rng.choice(list(tariffs().values()))
    name = door.__name__.strip("_")
    try:
        door(frame, given, tariff, rng)
    except FreightRiskError as error:
        check_message(error)
        return f"{name} refused"
    finally:
        if isinstance(given, Path) and given.name.startswith(OUR_FILES):
            given.unlink(missing_ok=True)
    return f"{name} done"
