"""Frames of every kind give the same columns."""

# ruff: noqa: E501 -- one line for each bad call

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from freightrisk import _columns
from freightrisk.errors import InputError

N_ROWS = 5
FRAME = pd.DataFrame(
    {
        "order_id": np.arange(N_ROWS) + 100,
        "kg": [0.5, np.nan, 2.0, 3.25, 1.0],
        "items": np.array([1, 2, 1, 3, 2], dtype=np.int16),
        "gift": [True, False, True, True, False],
        "zone": ["far", None, "near", "far", "town"],
        "channel": pd.Categorical(["live", "shelf", None, "live", "live"], categories=["shelf", "live", "unused"]),
        "ship_date": pd.to_datetime(
            ["2026-03-01 23:59:59", None, "2026-03-02", "2024-02-29 00:00:01", "1969-12-31 12:00"], format="ISO8601"
        ),
    }
)
KINDS = ("pandas", "nullable", "arrow_backed", "polars", "lazy", "arrow", "chunked", "parquet")


@pytest.fixture(params=KINDS)
def columns(request, tmp_path):
    return _columns.read(as_kind(FRAME, request.param, tmp_path), None, argument="orders")


def as_kind(frame, kind, folder):
    """Return the frame as another library's table."""
    if kind == "nullable":
        return frame.convert_dtypes()
    if kind == "arrow_backed":
        return frame.convert_dtypes(dtype_backend="pyarrow")
    if kind in ("polars", "lazy"):
        return pl.from_pandas(frame).lazy() if kind == "lazy" else pl.from_pandas(frame)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    if kind == "chunked":
        return pa.concat_tables([table.slice(0, 2), table.slice(2, 0), table.slice(2)])
    if kind == "parquet":
        frame.to_parquet(folder / "orders.parquet")
        return folder / "orders.parquet"
    return table if kind == "arrow" else frame


def categories(frame, name):
    """Return the codes of a frame's column and the values they name."""
    return _columns.JoinedColumns(_columns.read(frame, None, argument="orders")).levels(name)


def test_names_and_rows(columns):
    assert list(columns.names) == list(FRAME.columns)
    assert columns.n_rows == N_ROWS


@pytest.mark.parametrize("name", ["kg", "items"])
def test_numbers(columns, name):
    values = columns.real(name)
    assert values.dtype == np.float64
    assert values.flags.c_contiguous
    np.testing.assert_array_equal(values, FRAME[name].to_numpy(dtype=float))


@pytest.mark.parametrize("name", ["zone", "channel", "items", "gift"])
def test_categories(columns, name):
    codes, values = _columns.JoinedColumns(columns).levels(name)
    read = [None if code < 0 else values[code] for code in codes.tolist()]
    assert read == [None if pd.isna(value) else value for value in FRAME[name].tolist()]


def test_days_drop_the_time_and_keep_what_is_missing(columns):
    days = columns.days("ship_date")
    assert days.dtype == np.dtype("datetime64[D]")
    expected = ["2026-03-01", "NaT", "2026-03-02", "2024-02-29", "1969-12-31"]
    np.testing.assert_array_equal(days, np.array(expected, dtype="datetime64[D]"))


def test_ids_can_be_joined_on(columns):
    index = pd.Index(columns.ids("order_id"))
    assert index.get_indexer([104, 100, 7]).tolist() == [4, 0, -1]
    assert pd.Index(columns.ids("zone")).isna().tolist() == FRAME["zone"].isna().tolist()


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow"])
def test_dates_may_be_dates_or_text(kind, tmp_path):
    frame = pd.DataFrame({"text": ["2026-03-01", None], "date": [dt.date(2026, 3, 1), None]})
    columns = _columns.read(as_kind(frame, kind, tmp_path), None, argument="orders")
    for name in frame:
        assert columns.days(name).astype(str).tolist() == ["2026-03-01", "NaT"]


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow"])
def test_a_day_is_the_local_day(kind, tmp_path):
    times = pd.to_datetime(["2026-03-02 00:30", "2026-03-01 23:30"]).tz_localize("Asia/Shanghai")
    columns = _columns.read(as_kind(pd.DataFrame({"ship_date": times}), kind, tmp_path), None, argument="orders")
    assert columns.days("ship_date").astype(str).tolist() == ["2026-03-02", "2026-03-01"]


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow"])
def test_whole_floats_are_the_levels_of_integers(kind, tmp_path):
    frame = pd.DataFrame({"tier": [1.0, 2.0, 1.0]})
    _, values = categories(as_kind(frame, kind, tmp_path), "tier")
    assert [str(value) for value in values] == ["1", "2"]


def test_nan_is_missing_as_a_level_too():
    codes, _ = categories(pl.DataFrame({"tier": [1.0, float("nan"), 2.0]}), "tier")
    assert codes.tolist()[1] == -1


def test_only_the_wanted_columns_of_a_file_are_read(tmp_path):
    columns = _columns.read(as_kind(FRAME, "parquet", tmp_path), ["kg", "absent"], argument="orders")
    assert list(columns.names) == list(FRAME.columns)
    assert columns.frame.column_names == ["kg"]
    assert columns.n_rows == N_ROWS


def test_a_file_of_which_no_column_is_wanted_still_has_rows(tmp_path):
    assert _columns.read(as_kind(FRAME, "parquet", tmp_path), [], argument="orders").n_rows == N_ROWS


def test_numbers_are_not_copied_from_arrow_or_numpy():
    values = np.linspace(0, 1, 7)
    table = pa.table({"kg": values})
    assert np.shares_memory(_columns.read(table, None, argument="orders").real("kg"), values)


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow"])
def test_kind_of_frame_to_give_back(kind, tmp_path):
    assert _columns.kind(as_kind(FRAME, kind, tmp_path)) == kind


def test_joined_columns_take_the_merchant_of_each_order_and_the_chosen_rows():
    orders = _columns.read(pd.DataFrame({"merchant_id": [7, 8, 7], "kg": [1.0, 2.0, 3.0]}), None, argument="orders")
    merchants = _columns.read(
        pd.DataFrame({"merchant_id": [8, 7], "score": [4.5, 4.9], "kg": [0.0, 0.0], "segment": ["new", "large"]}),
        None,
        argument="merchants",
    )
    joined = _columns.JoinedColumns(orders, merchants, np.array([1, 0, 1]), np.array([0, 2]))
    assert joined.n_rows == 2
    assert joined.real("kg").tolist() == [1.0, 3.0]
    assert joined.real("score").tolist() == [4.9, 4.9]
    codes, values = joined.levels("segment")
    assert [values[code] for code in codes] == ["large", "large"]
    assert joined.ids("merchant_id").tolist() == [7, 7]


# --- bad frames ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "match"),
    [
        ([1, 2], "orders is a list; it must be a pandas, polars or pyarrow table, or the path of a Parquet file"),
        ({"kg": [1.0]}, "orders is a dict"),
        (np.zeros((2, 2)), "orders is a ndarray"),
        (None, "orders is a NoneType"),
        (pd.Series([1.0]), "orders is a Series"),
        ("no/such/orders.parquet", "orders is the path 'no/such/orders.parquet', which does not exist"),
    ],
)  # fmt: skip
def test_what_is_not_a_frame_is_refused(frame, match):
    with pytest.raises(InputError, match=match):
        _columns.read(frame, None, argument="orders")


@pytest.mark.parametrize("content", [b"", b"order_id,kg\n1,2\n", b"PAR1 cut short"])
def test_a_file_that_is_not_parquet_is_refused(tmp_path, content):
    path = tmp_path / "orders.parquet"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"orders is the file '.*orders.parquet', which is not readable as Parquet"):
        _columns.read(path, None, argument="orders")


def test_a_parquet_file_whose_column_name_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "orders.parquet"
    pd.DataFrame({"order_id": [1], "zone_of_it": ["near"]}).to_parquet(path)
    path.write_bytes(path.read_bytes().replace(b"zone_of_it", b"zone\x84of_it"))
    with pytest.raises(InputError, match=r"orders is the file '.*orders.parquet', which is not readable as Parquet"):
        _columns.read(path, None, argument="orders")


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow"])
@pytest.mark.parametrize(
    ("ask", "values", "match"),
    [
        ("real", ["1", "2", "light", "heavy"], r"orders: column 'x' is not a number in 2 rows \(first: 2, 3\).*; convert"),
        ("real", pd.to_datetime(["2026-01-01"] * 4), "orders: column 'x' is not a number but a datetime"),
        ("days", ["2026-01-01", "soon", "2026-13-01", None], r"orders: column 'x' cannot be read as dates by ISO 8601 in 2 rows \(first: 1, 2\)"),
        ("days", [20260101, 20260102, 20260103, 20260104], "orders: column 'x' cannot be read as dates"),
        ("days", [1.5, 2.5, 3.5, 4.5], "orders: column 'x' cannot be read as dates"),
    ],
)  # fmt: skip
def test_bad_columns_are_refused(kind, ask, values, match, tmp_path):
    columns = _columns.read(as_kind(pd.DataFrame({"x": values}), kind, tmp_path), None, argument="orders")
    with pytest.raises(InputError, match=match):
        getattr(columns, ask)("x")


@pytest.mark.parametrize("kind", ["i1", "u1", "i4", "i8", "u8"])
@pytest.mark.parametrize(
    ("low", "high"),
    [(0, 5), (-100, 100), (1_000, 2_023), (1_000, 2_024), (-(2**62), 2**63 - 1), (2**63 - 9, 2**63 - 1)],
)
def test_whole_numbers_are_categories_whether_near_or_far_apart(kind, low, high):
    info = np.iinfo(kind)
    low, high = (min(max(end, info.min), info.max) for end in (low, high))
    values = np.array([high, low, low, min(low + 1, high), high], dtype=kind)
    for frame in (pd.DataFrame({"x": values}), pa.table({"x": values}), pl.DataFrame({"x": values})):
        codes, names = categories(frame, "x")
        assert [names[code] for code in codes] == values.tolist()
        assert all(type(name) is int for name in names)


def test_largest_unsigned_numbers_are_categories():
    values = np.array([2**64 - 1, 2**64 - 2], dtype=np.uint64)
    codes, names = categories(pd.DataFrame({"x": values}), "x")
    assert [names[code] for code in codes] == [str(value) for value in values.tolist()]  # beyond 64 bits with a sign
