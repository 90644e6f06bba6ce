"""One rule for every value: a column of any container gives what its values give one by one."""

import datetime as dt
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freightrisk import _columns, _vectors
from freightrisk._intake import MISSING_TIME, Refused, id_of, level_of, number_of, time_of, zone
from freightrisk.errors import InputError

CLOCKS = ("Asia/Shanghai", "UTC", "America/New_York")


def kinds(clock):
    """Return for each kind of values what reads one value, and what reads a column as a list of the same values."""
    return {
        "id": (id_of, lambda raw: _vectors.ids(raw).tolist()),
        "id code": (id_of, lambda raw: named(*_vectors.id_codes(raw))),
        "level": (level_of, lambda raw: named(*_vectors.levels(raw))),
        "number": (number_of, lambda raw: _vectors.numbers(raw).tolist()),
        "time": (lambda value: time_of(value, clock), lambda raw: list(_vectors.times(raw, clock))),
    }


def named(codes, values):
    """Return what codes stand for, None for those below zero."""
    listed = list(values)
    assert len(set(listed)) == len(listed)
    return [None if code < 0 else whole(listed[code]) for code in codes.tolist()]


def whole(value):
    return value.item() if isinstance(value, np.generic) else value


def outcome(read, values):
    """Return what is read of each value, or the first fault and its rows."""
    found, bad = [], {}
    for row, value in enumerate(values):
        try:
            found.append(read(value))
        except Refused as refused:
            bad.setdefault((refused.fault, refused.cure), []).append(row)
    return next(iter(bad.items())) if bad else [*map(plain, found)]


def outcome_of_column(read, raw, n_rows):
    """Return what is read of a column, or the fault and its rows."""
    try:
        found = read(raw)
    except Refused as refused:
        bad = np.ones(n_rows, dtype=bool) if refused.bad is None else refused.bad
        return (refused.fault, refused.cure), np.flatnonzero(bad).tolist()
    return [*map(plain, found)]


def plain(value):
    """Return a value with its type, so that 1, 1.0 and True differ; missing values are alike."""
    if value is None or value != value:
        return None
    return (str(value), "time") if isinstance(value, np.datetime64) else (value, type(value))


def mixes_booleans_and_numbers(values):
    """Return whether levels hold booleans beside numbers, which a column may not."""
    types = {type(level) for level in values}
    return bool in types and bool(types & {int, float})


def check(values, column, clock=CLOCKS[0]):
    """Compare a column with its values one by one, for every kind."""
    for kind, (one, all_) in kinds(clock).items():
        expected = outcome(one, values)
        table = _columns.read(column, None, argument="orders")
        assert table.n_rows == len(values)
        found = outcome_of_column(all_, table.raw("x"), len(values))
        if kind == "level" and isinstance(expected, list) and mixes_booleans_and_numbers(map(level_of, values)):
            assert isinstance(found, tuple)
            continue
        assert found == expected, kind


# --- containers ----------------------------------------------------------------------------------------------------


def frame(series):
    return pd.DataFrame({"x": series})


def pandas_numpy(values, family):
    missing = any(value is None for value in values)
    if missing and family.numpy.kind not in "fM":
        return None
    return frame(
        pd.Series(np.array([family.hole if v is None else getattr(v, "asm8", v) for v in values], dtype=family.numpy))
    )


def pandas_object(values, family):
    return frame(pd.Series(as_objects(values), dtype=object))


def pandas_holes(values, family):
    """Return objects with every spelling of a missing value."""
    holes = [None, np.nan, pd.NA, pd.NaT]
    return frame(pd.Series(as_objects([holes[k % 4] if v is None else v for k, v in enumerate(values)]), dtype=object))


def pandas_nullable(values, family):
    if family.nullable == "UInt64":  # pandas makes floats of a list of such numbers
        return frame(pa.array(values, family.arrow).to_pandas(types_mapper=lambda _: pd.UInt64Dtype()))
    return frame(pd.Series(pd.array(values, dtype=family.nullable)))


def pandas_arrow(values, family):
    return frame(pd.Series(pd.array(pa.array(values, family.arrow), dtype=pd.ArrowDtype(family.arrow))))


def pandas_category(values, family):
    categories = list(dict.fromkeys(v for v in values if v is not None))
    codes = [-1 if v is None else categories.index(v) for v in values]
    index = (
        pd.Index(np.array([getattr(v, "asm8", v) for v in categories], family.numpy))
        if family.numpy is not None
        else pd.Index(as_objects(categories))
    )
    return frame(pd.Series(pd.Categorical.from_codes(codes, categories=index)))


def polars(values, family):
    return pl.DataFrame({"x": pl.from_arrow(pa.array(values, family.arrow))})


def polars_categorical(values, family):
    return pl.DataFrame({"x": pl.Series(values, dtype=pl.Categorical)})


def polars_enum(values, family):
    return pl.DataFrame({"x": pl.Series(values, dtype=pl.Enum(sorted({"unused", *values} - {None})))})


def arrow(values, family):
    return pa.table({"x": pa.array(values, family.arrow)})


def arrow_chunks(values, family):
    """Return chunks, an empty one among them, each a slice with an offset."""
    array = pa.array([None, *values, None], family.arrow)
    half = 1 + len(values) // 2
    chunks = [array.slice(1, half - 1), array.slice(half, 0), array.slice(half, len(values) + 1 - half)]
    return pa.table({"x": pa.chunked_array(chunks, family.arrow)})


def arrow_dictionary(values, family):
    """Return a dictionary with unused, repeated and missing entries, read through a slice."""
    entries = [*dict.fromkeys(v for v in values if v is not None)]
    places = [None if v is None else entries.index(v) for v in values]
    entries = [*entries, *entries[:1], None]
    indices = pa.array([None, *places], pa.int8() if len(entries) < 100 else pa.int16())
    return pa.table({"x": pa.DictionaryArray.from_arrays(indices, pa.array(entries, family.arrow)).slice(1)})


def arrow_dictionaries(values, family):
    """Return chunks with a dictionary each."""
    kind = pa.dictionary(pa.uint16(), family.arrow)
    half = len(values) // 2
    chunks = []
    for part in (values[half:][::-1], values[:half]):
        entries = [*dict.fromkeys(v for v in part if v is not None)]
        places = pa.array([None if v is None else entries.index(v) for v in part], pa.uint16())
        chunks.append(pa.DictionaryArray.from_arrays(places, pa.array(entries, family.arrow)))
    chunks[0] = chunks[0].take(pa.array(range(len(chunks[0]) - 1, -1, -1), pa.int64()))
    return pa.table({"x": pa.chunked_array(chunks[::-1], kind)})


def arrow_runs(values, family):
    if not values:
        return None
    # The ends as a list: pyarrow 16 takes no array of them.
    runs = pa.RunEndEncodedArray.from_arrays([*range(1, len(values) + 1)], pa.array(values, family.arrow))
    return pa.table({"x": runs})


def as_objects(values):
    found = np.empty(len(values), dtype=object)
    for k, value in enumerate(values):
        found[k] = value
    return found


# --- families of values --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Family:
    """Values of one type, and the containers that hold them unchanged."""

    values: st.SearchStrategy
    arrow: Any = None
    numpy: Any = None
    nullable: Any = None
    more: tuple = ()
    without: tuple = ()
    hole: Any = field(default=np.nan)

    @property
    def containers(self):
        found = [pandas_object, pandas_holes, pandas_category, *self.more]
        if self.numpy is not None:
            found.append(pandas_numpy)
        if self.nullable is not None:
            found.append(pandas_nullable)
        if self.arrow is not None:
            found += [pandas_arrow, polars, arrow, arrow_chunks, arrow_dictionary, arrow_dictionaries, arrow_runs]
        return [container for container in found if container not in self.without]


def integers(name):
    info = np.iinfo(name)
    near = [info.min, info.max, 0, 1, 7, -1, 2**24, 2**24 + 1, 2**53 + 1, 2**63 - 1, 2**63, -(2**53) - 1]
    near = [value for value in near if info.min <= value <= info.max]
    nullable = f"{'U' if name[0] == 'u' else ''}Int{name.lstrip('uint')}"
    values = st.sampled_from(near) | st.integers(int(info.min), int(info.max))
    return Family(values, getattr(pa, name)(), np.dtype(name), nullable)


def floats(width):
    kind = np.dtype(f"f{width // 8}").type
    usual = [0.0, -0.0, 1.0, 5.0, 4.8, 0.1, 17.0, -3.0, float(2**10), float(2**11)]
    usual += [float(2**24), float(2**24 - 1), float(2**53), float(2**53 - 1), 1e300, np.inf]
    usual = [value for value in usual if value <= float(np.finfo(kind).max) or value == np.inf]
    drawn = (st.sampled_from(usual) | st.floats(width=width, allow_nan=False)).map(kind)
    arrow_type = {16: pa.float16(), 32: pa.float32(), 64: pa.float64()}[width]
    nullable = None if width == 16 else f"Float{width}"
    without = (pandas_category, polars) if width == 16 else ()
    return Family(drawn, arrow_type, np.dtype(kind), nullable, without=without)


def decimals(precision, scale, arrow_type):
    digits = st.integers(-(10**precision) + 1, 10**precision - 1)
    usual = st.sampled_from([0, 1, 5, 17, 480, 2**24 + 1, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1])
    usual = usual.map(lambda number: number * 10**scale).filter(lambda number: abs(number) < 10**precision)
    small = st.integers(-999, 999)
    # Without tuples a Decimal is rounded to the digits of the context.
    drawn = (usual | digits | small).map(
        lambda number: Decimal((int(number < 0), tuple(map(int, str(abs(number)))), -scale))
    )
    without = (polars,) if precision > 38 else ()
    return Family(drawn, arrow_type, without=without)


WORDS = [
    "",
    " ",
    "NA",
    "nan",
    "None",
    "True",
    "false",
    " live",
    "live",
    "17",
    "017",
    "17.0",
    " 17",
    "A17",
    "-5",
    "-0",
    "+5",
    "0",
]
WORDS += [
    "12.5",
    "-3",
    "1e-3",
    ".5",
    "5.",
    "1e400",
    "-1e400",
    "1e-400",
    "+.5e+3",
    "٣",
    "１７",
    "inf",
    "Infinity",
    "0x10",
    "1_000",
]
WORDS += [
    str(2**63 - 1),
    str(2**63),
    str(-(2**63)),
    str(-(2**63) - 1),
    "1" * 25,
    "17\n",
    "\n17",
    "1e",
    ".",
    "0.1" * 2,
    "é",
    "平台",
]
ISO = ["2026-06-18", "2026-06-18 09:30", "2026-06-18T09:30:00.5+08:00", "2026-06-01T00:30Z", "2026-13-01", "2026-02-30"]
ISO += [
    "05/06/2026",
    "20260618",
    "2026-06",
    "2026-06-18T24:00",
    "2026-06-18 9:30",
    "2026-06-18T09:30:00.123456789",
    "1969-12-31T23:59:59.9999999",
]
ISO += [
    "2026-06-18T09:30:60",
    "2026-06-18T09:30:00.1234567+05:30",
    "2026-06-18T09:30+24:00",
    "0001-01-01",
    "9999-12-31 23:59:59.999999",
]
ISO += [
    "0000-01-01",
    "0001-01-01T00:00Z",
    "9999-12-31T23:59Z",
    "0001-01-01T00:00+08:00",
    "1500-02-29",
    "2026-06-18T09:30-00:00",
    "soon",
    "2026-06-18\n",
]
ISO += [
    "2026-06-18T09:30+08:60",
    "2026-06-18T09:30:00.",
    "2026-06-18T",
    "2026-06-18Z",
    "1900-01-01T00:00Z",
    "1986-05-04T02:30",
]
SOUND_TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
SPELLED = (
    st.integers(-(2**64), 2**64).map(str) | st.floats().map(repr) | st.datetimes().map(lambda time: time.isoformat())
)
TEXTS = st.sampled_from(WORDS) | st.sampled_from(ISO) | SOUND_TEXTS | SPELLED
TEXT_CONTAINERS = (polars_categorical, polars_enum)

NEW_YORK, SHANGHAI = (ZoneInfo(name) for name in ("America/New_York", "Asia/Shanghai"))
MOMENTS = st.datetimes(dt.datetime(1678, 1, 1), dt.datetime(2261, 1, 1)) | st.sampled_from(
    [
        dt.datetime(1969, 12, 31, 23, 59, 59, 999_999),
        dt.datetime(2026, 3, 8, 7, 0),
        dt.datetime(2026, 6, 1),
        dt.datetime(1986, 5, 4, 2, 30),
    ]
)
STEPS = {"s": 10**6, "ms": 10**3, "us": 1}


def times(unit, zone):
    """Return times of a unit, with a zone or without."""

    def cut(moment):
        return moment.replace(microsecond=moment.microsecond // STEPS[unit] * STEPS[unit])

    drawn = MOMENTS.map(cut)
    if unit == "ns":
        drawn = st.tuples(MOMENTS, st.integers(0, 999)).map(
            lambda pair: pd.Timestamp(pair[0]).as_unit("ns") + pd.Timedelta(pair[1], "ns")
        )
    if zone is not None:
        drawn = drawn.map(lambda time: localized(time, zone))
    numpy = None if zone is not None else np.dtype(f"M8[{unit}]")
    without = (polars,) if unit == "s" else ()
    return Family(
        drawn,
        pa.timestamp(unit, zone),
        numpy,
        None if zone is None else f"datetime64[{unit}, {zone}]",
        hole=np.datetime64("NaT", "us"),
        without=without,
    )


def localized(moment, zone):
    """Return a moment of UTC as a time of a zone."""
    if isinstance(moment, pd.Timestamp):
        return moment.tz_localize("UTC").tz_convert(zone)
    return moment.replace(tzinfo=dt.UTC).astimezone(ZoneInfo(zone))


FAMILIES = {name: integers(name) for name in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")}
FAMILIES |= {f"float{width}": floats(width) for width in (16, 32, 64)}
FAMILIES |= {
    "decimal128(5, 2)": decimals(5, 2, pa.decimal128(5, 2)),
    "decimal128(38, 0)": decimals(38, 0, pa.decimal128(38, 0)),
    "decimal128(30, 12)": decimals(30, 12, pa.decimal128(30, 12)),
    "decimal256(60, 3)": decimals(60, 3, pa.decimal256(60, 3)),
    "boolean": Family(st.booleans(), pa.bool_(), np.dtype(bool), "boolean"),
    "string": Family(TEXTS, pa.string(), nullable="string", more=TEXT_CONTAINERS),
    "large_string": Family(TEXTS, pa.large_string()),
    "string_view": Family(TEXTS, pa.string_view(), without=(arrow_dictionary, arrow_dictionaries, pandas_arrow)),
    "bytes": Family(st.binary(max_size=3), pa.binary()),
    "date32": Family(st.dates(), pa.date32()),
    "date64": Family(st.dates(), pa.date64(), without=(polars,)),
    "missing": Family(st.none(), pa.null(), without=(arrow_dictionary, arrow_dictionaries)),
}
FAMILIES |= {
    f"times {unit} {zone}": times(unit, zone)
    for unit in ("s", "ms", "us", "ns")
    for zone in (None, "UTC", "Asia/Shanghai", "America/New_York")
}


@pytest.mark.parametrize("name", FAMILIES)
@given(data=st.data())
def test_a_column_of_any_container_is_what_its_values_are_one_by_one(name, data):
    family = FAMILIES[name]
    values = data.draw(st.lists(family.values, max_size=6) | st.lists(family.values | st.none(), max_size=6))
    clock = data.draw(st.sampled_from(CLOCKS))
    for container in family.containers:
        column = container(values, family)
        if column is not None:
            check(values, column, clock)


def objects(values):
    return pd.DataFrame({"x": pd.Series(as_objects(values), dtype=object)})


ANYTHING = st.one_of(
    *(FAMILIES[name].values for name in FAMILIES if FAMILIES[name].arrow not in (pa.null(), pa.float16())),
    st.none(),
    st.integers(-(10**30), 10**30),
    st.timedeltas(),
    st.times(),
    st.lists(st.integers(), max_size=2),
    st.sampled_from(
        [
            "a\0b",
            "\ud800",
            np.True_,
            np.int8(5),
            np.uint64(2**63),
            np.datetime64("2026-06-01"),
            np.datetime64("2026-06"),
        ]
    ),
    st.sampled_from(
        [
            Decimal("NaN"),
            Decimal("Infinity"),
            Decimal("1E+30"),
            Decimal("1E+5000"),
            10**4001,
            10**5001,
            np.str_("17"),
            pd.Timestamp("2026-06-01"),
        ]
    ),
)


@given(values=st.lists(ANYTHING, max_size=6), clock=st.sampled_from(CLOCKS))
def test_objects_of_many_types_are_what_they_are_one_by_one(values, clock):
    check(values, objects(values), clock)


DATE_FORMATS = ("%d/%m/%Y", "%Y%m%d", "%d.%m.%Y %H:%M", "%m-%d-%Y %H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S%z")


@given(data=st.data())
@pytest.mark.parametrize("date_format", DATE_FORMATS)
def test_texts_of_a_date_format_are_times_as_python_reads_them(date_format, data):
    clock = data.draw(st.sampled_from(CLOCKS))
    spelled = MOMENTS.map(lambda moment: moment.replace(tzinfo=dt.UTC).strftime(date_format))
    values = data.draw(st.lists(spelled | st.sampled_from([None, "", "2026-06-18", "soon"]), max_size=6))

    def one(value):
        if not value:
            return MISSING_TIME
        try:
            return time_of(dt.datetime.strptime(value, date_format), clock)
        except ValueError:
            raise Refused(
                f"cannot be read as dates of the form '{date_format}'", "correct them, or the date_format="
            ) from None

    expected = outcome(one, values)
    family = FAMILIES["string"]
    for column in [objects(values), *(container(values, family) for container in family.containers)]:
        raw = None if column is None else _columns.read(column, None, argument="orders").raw("x")
        if raw is not None:
            found = outcome_of_column(lambda raw: list(_vectors.times(raw, clock, date_format)), raw, len(values))
            assert found == expected
    assert outcome(lambda value: time_of(value, clock, date_format), values) == expected


# --- the tables of docs/data_contract.md ---------------------------------------------------------------------------

REFUSED = object()
AFTERNOON = dt.datetime(2026, 5, 31, 18, tzinfo=dt.UTC)
TABLES = [
    ("id", 17, 17),
    ("id", 2**63, "9223372036854775808"),
    ("id", "17", 17),
    ("id", "0", 0),
    ("id", "-5", -5),
    ("id", "9223372036854775808", "9223372036854775808"),
    ("id", "017", "017"),
    ("id", "17.0", "17.0"),
    ("id", " 17", " 17"),
    ("id", "A17", "A17"),
    ("id", 17.0, 17),
    ("id", 2.0**53 - 1, 2**53 - 1),
    ("id", np.float32(2**24 - 1), 2**24 - 1),
    ("id", np.float32(2**24), REFUSED),
    ("id", 2.0**53, REFUSED),
    ("id", 17.5, REFUSED),
    ("id", Decimal("17.00"), 17),
    ("id", Decimal("17.5"), REFUSED),
    ("id", Decimal(2**70), str(2**70)),
    ("id", True, REFUSED),
    ("id", b"17", REFUSED),
    ("id", dt.date(2026, 6, 1), REFUSED),
    ("id", [17], REFUSED),
    ("id", "", None),
    ("id", float("nan"), None),
    ("level", "NA", "NA"),
    ("level", " live", " live"),
    ("level", "", ""),
    ("level", 5, 5),
    ("level", 5.0, 5),
    ("level", Decimal("5.00"), 5),
    ("level", Decimal(2**53 + 1), 2**53 + 1),
    ("level", np.float32(4.8), 4.8),
    ("level", 2.5, 2.5),
    ("level", True, True),
    ("level", dt.date(2026, 6, 1), REFUSED),
    ("level", b"live", REFUSED),
    ("level", [1], REFUSED),
    ("level", float("inf"), REFUSED),
    ("number", 3, 3.0),
    ("number", 4.8, 4.8),
    ("number", np.float32(4.8), 4.8),
    ("number", np.float16(4.8), 4.8),
    ("number", Decimal("4.80"), 4.8),
    ("number", "12.5", 12.5),
    ("number", "-3", -3.0),
    ("number", "1e-3", 0.001),
    ("number", "+3", 3.0),
    ("number", float("inf"), REFUSED),
    ("number", True, REFUSED),
    ("number", dt.date(2026, 6, 1), REFUSED),
    ("number", "", REFUSED),
    ("number", " 3", REFUSED),
    ("number", "heavy", REFUSED),
    ("time", AFTERNOON, "2026-06-01T02:00"),
    ("time", dt.datetime(2026, 5, 31, 18), "2026-05-31T18:00"),
    ("time", dt.date(2026, 6, 18), "2026-06-18"),
    ("time", "2026-06-18", "2026-06-18"),
    ("time", "2026-06-18 09:30", "2026-06-18T09:30"),
    ("time", "2026-06-18T09:30:00.5+08:00", "2026-06-18T09:30:00.5"),
    ("time", "2026-05-31T18:00Z", "2026-06-01T02:00"),
    ("time", "2026-06-18T09:30:00.123456789", "2026-06-18T09:30:00.123456"),
    ("time", "05/06/2026", REFUSED),
    ("time", 20260618, REFUSED),
    ("time", 1.5, REFUSED),
    ("time", "9999-12-31T23:59Z", REFUSED),
    ("time", "", None),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value", "expected"), TABLES)
def test_each_row_of_the_rule(kind, value, expected):
    one, all_ = kinds(CLOCKS[0])[kind]
    if kind == "time" and isinstance(expected, str):
        expected = np.datetime64(expected, "us")
    for found in (
        outcome(one, [value]),
        outcome_of_column(all_, _columns.read(objects([value]), None, argument="orders").raw("x"), 1),
    ):
        assert found[1] == [0] if expected is REFUSED else found == [plain(expected)]


@pytest.mark.parametrize(
    "container", [objects, lambda values: pa.table({"x": values}), lambda values: pl.DataFrame({"x": values})]
)
@pytest.mark.parametrize("kind", kinds(CLOCKS[0]))
@pytest.mark.parametrize("values", [[["near"], ["far"]], [{"a": 1}, {"a": 2}]])
def test_nested_values_are_refused_by_every_kind(container, kind, values):
    _, all_ = kinds(CLOCKS[0])[kind]
    with pytest.raises(Refused):
        all_(_columns.read(container(values), None, argument="orders").raw("x"))


@pytest.mark.parametrize("unit", ["s", "ms", "D"])
@pytest.mark.parametrize("year", [0, 10_000])
def test_times_outside_the_years_of_texts_are_refused(unit, year):
    days = np.array([(year - 1970) * 366, 0]).astype("M8[D]").astype(f"M8[{unit}]")
    column = (
        pa.table({"x": pa.array(days.astype("M8[D]").astype(int), pa.int32()).cast(pa.date32())})
        if unit == "D"
        else pd.DataFrame({"x": days})
    )
    with pytest.raises(Refused) as refused:
        _vectors.times(_columns.read(column, None, argument="orders").raw("x"))
    assert refused.value.fault == "is outside the years 1 to 9999"
    assert refused.value.bad.tolist() == [True, False]


def test_the_first_hours_of_the_year_1_are_refused_alike():
    text = "0001-01-01T00:00+08:00"  # in the year 0 of Greenwich, which neither Python nor numpy's texts can name
    with pytest.raises(Refused):
        time_of(text)
    with pytest.raises(Refused):
        _vectors.times(_columns.read(pd.DataFrame({"x": [text]}), None, argument="orders").raw("x"))


@pytest.mark.parametrize("read", [id_of, level_of, number_of, time_of])
def test_a_length_of_time_is_no_value(read):
    columns = {id_of: _vectors.ids, level_of: _vectors.levels, number_of: _vectors.numbers, time_of: _vectors.times}
    for unit in ("s", "ns", "D"):
        with pytest.raises(Refused, match="timedelta"):
            read(np.timedelta64(1, unit))
    with pytest.raises(Refused, match="timedelta"):
        columns[read](np.array([1, 2], dtype="m8[ns]"))


@pytest.mark.parametrize("form", ["mixed", "%d/%m", "%H:%M", "%Y", "%Q", "%Y-%m-%d %Z", "%Y %U", "%Y%Y-%m-%d", "%", 5])
def test_a_form_of_dates_names_one_whole_day(form):
    with pytest.raises(InputError, match=r"date_format is .*; give year, month and day once each"):
        _columns.ColumnNames(date_format=form)
    with pytest.raises(InputError, match="date_format is "):
        _columns.read(pd.DataFrame({"x": ["05/06/2026"]}), None, argument="orders", date_format=form)


@pytest.mark.parametrize("form", ["%d/%m/%Y", "%Y-%m-%d %H:%M:%S%z", "%Y%j", "%d %b %y", "%I:%M %p %d.%m.%Y"])
def test_forms_of_dates(form):
    assert _columns.ColumnNames(date_format=form).date_format == form


@pytest.mark.parametrize("clock", ["localtime", "Shanghai", "", "../etc/passwd", None, 8])
def test_a_clock_is_the_name_of_a_zone(clock):
    with pytest.raises(InputError, match=r"clock is .*; it must be the name of a time zone"):
        zone(clock)


def test_texts_that_are_not_utf8_are_refused_by_name():
    raw = pa.array(["附近".encode("gbk")], pa.binary())
    bad = pa.table({"x": pa.Array.from_buffers(pa.string(), 1, raw.buffers())})
    table = _columns.read(bad, None, argument="orders")
    for read in (table.ids, table.levels, table.real):
        with pytest.raises(InputError, match=r"column 'x' cannot be read: .*; correct its encoding"):
            read("x")
