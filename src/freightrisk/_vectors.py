"""The rule of `_intake` for whole columns: each value becomes the id, level, number or time that it is by itself."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from freightrisk._intake import (
    A_NUMBER,
    DAY,
    DEFAULT_CLOCK,
    EXACT,
    FINITE,
    HALF_TEXT,
    ISO_TIME,
    MICROSECOND,
    MISSING_TIME,
    NOT_ISO,
    NUMBER,
    WHOLE,
    Level,
    Refused,
    id_of,
    is_missing,
    level_of,
    microseconds,
    not_of_form,
    number_of,
    text_id,
    time_of,
    zone,
)

if TYPE_CHECKING:
    import pyarrow as pa

NEAR = 2**10  # from as many whole numbers on, a hash table costs less than looking each of them up
NARROW = {"float": np.float32, "halffloat": np.float16}
ZONED_TIME = r".{10}.*(Z|[+-][0-9]{2}:[0-9]{2})"


@dataclass(frozen=True, slots=True)
class Coded:
    """A column of categories: a code for each row, -1 where it is missing, and the values that codes name."""

    codes: NDArray[Any]
    values: "Raw"


# Numbers, times and booleans without missing values are arrays; a column of odd Python objects is an array too.
Raw: TypeAlias = "NDArray[Any] | pa.ChunkedArray | Coded"


def numbers(column: Raw) -> NDArray[np.float64]:
    """Return a column as finite float64, NaN where missing; each value as `number_of` has it."""
    import pyarrow as pa

    if isinstance(column, Coded):
        return _named(column.codes, numbers, column.values, np.nan)
    if isinstance(column, np.ndarray):
        if column.dtype.kind in "iu":
            return np.ascontiguousarray(column, dtype=np.float64)
        if column.dtype.kind == "f":
            found = _decimals(column)
            if np.isinf(found).any():
                raise Refused("is infinite", FINITE, np.isinf(found))
            return found
        return _one_by_one(column, number_of, np.float64)
    kind = column.type
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if pa.types.is_integer(kind):
        return _filled(column.cast(pa.float64(), safe=False), np.nan)
    if pa.types.is_floating(kind):
        if pa.types.is_float16(kind):  # pyarrow 16 fills no gaps of these
            return numbers(np.array([np.nan if value is None else value for value in column.to_pylist()], np.float16))
        return numbers(_filled(column, np.nan))
    if pa.types.is_decimal(kind):
        return _filled(column.cast(pa.string()).cast(pa.float64()), np.nan)
    if _is_text(kind):
        return _text_numbers(column)
    return _one_by_one(column, number_of, np.float64)


def times(column: Raw, clock: str = DEFAULT_CLOCK, date_format: str | None = None) -> NDArray[np.datetime64]:
    """Return a column as times of a clock in microseconds, NaT where missing; each value as `time_of` has it."""
    import pyarrow as pa

    if isinstance(column, Coded):
        return _named(column.codes, lambda values: times(values, clock, date_format), column.values, MISSING_TIME)
    if isinstance(column, np.ndarray):
        if column.dtype.kind == "M" and np.can_cast(DAY, column.dtype):
            return microseconds(column)
        texts = np.array([isinstance(value, str) for value in column.tolist()], dtype=bool)
        if date_format is not None and texts.any():
            found = np.full(len(column), MISSING_TIME)
            found[texts] = times(pa.chunked_array([pa.array(column[texts], pa.string())]), clock, date_format)
            found[~texts] = times(column[~texts], clock)
            return found
        return _one_by_one(column, lambda value: time_of(value, clock), MICROSECOND)
    kind = column.type
    if pa.types.is_null(kind):
        return np.full(len(column), MISSING_TIME)
    if pa.types.is_date64(kind):  # which may hold a time of day, although it should not
        return microseconds(np.asarray(column.cast(pa.timestamp("ms")).to_numpy()))
    if pa.types.is_date(kind):
        return microseconds(np.asarray(column.cast(pa.date32()).to_numpy(), dtype=DAY))
    if pa.types.is_timestamp(kind):
        instants = microseconds(np.asarray(column.to_numpy()))  # a cast of pyarrow would round towards zero
        return instants if kind.tz is None else _on_clock(instants, clock)
    if _is_text(kind):
        return _text_times(column, clock, date_format)
    return _one_by_one(column, lambda value: time_of(value, clock), MICROSECOND)


def ids(column: Raw) -> NDArray[Any]:
    """Return a column as ids: int64 if each is a whole number, otherwise objects as `id_of` has them."""
    import pyarrow as pa

    if isinstance(column, Coded):
        absent = bool((column.codes < 0).any())

        def read(values: Raw) -> NDArray[Any]:
            return ids(values).astype(object) if absent else ids(values)

        found = _named(column.codes, read, column.values, None if absent else 0)
        return _whole_if_all(found) if found.dtype == object else found
    if isinstance(column, np.ndarray) and column.dtype.kind in "iu":
        if np.can_cast(column.dtype, np.int64) or not len(column) or column.max() < 2**63:
            return column.astype(np.int64, copy=False)
    elif isinstance(column, np.ndarray) and column.dtype.kind == "f" and len(column):
        with np.errstate(invalid="ignore"):
            whole = (np.abs(column) < EXACT.get(column.dtype.type, 2**53)) & (column == np.rint(column))
        if whole.all():
            return column.astype(np.int64)
    elif not isinstance(column, np.ndarray):
        if pa.types.is_integer(column.type) and not pa.types.is_uint64(column.type) and not column.null_count:
            return np.asarray(column.to_numpy()).astype(np.int64, copy=False)
        if _is_text(column.type):
            return _text_ids(column)
    return _whole_if_all(_one_by_one(column, id_of, object))


def id_codes(column: Raw, near: int = NEAR) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return integer codes (-1 where missing) and the ids that they name, some of which need not occur.

    Whole numbers that lie less than `near` apart are places between the least and the largest.
    """
    import pandas as pd

    if isinstance(column, np.ndarray) and column.dtype.kind in "iu" and (found := _near(column, near)):
        return found
    codes, values = _factorized(column)
    codes, named = _read_values(codes, ids, values)
    if named.dtype == np.int64 and ((named[1:] > named[:-1]).all() or len(np.unique(named)) == len(named)):
        return codes, named
    again, unique = pd.factorize(named)
    return np.append(again, -1)[codes], np.asarray(unique)


def levels(column: Raw) -> tuple[NDArray[Any], list[Level]]:
    """Return integer codes (-1 where missing) and the levels that they name, each once; some need not occur."""
    if isinstance(column, np.ndarray) and column.dtype.kind in "iu" and (found := _near(column, NEAR)):
        return found[0], found[1].tolist()
    codes, values = _factorized(column)
    if isinstance(values, np.ndarray) and values.dtype.kind in "iu":
        named: list[Any] = list(map(level_of, values.tolist())) if values.dtype == np.uint64 else values.tolist()
    else:
        codes, named = _read_values(codes, _levels_of, values)
    place: dict[Any, int] = {}
    numbered = [place.setdefault(value, len(place)) if value is not None else -1 for value in named]
    if -1 in numbered or len(place) < len(named):
        codes = np.array([*numbered, -1], dtype=np.int64)[codes]
    return codes, list(place)


def _levels_of(values: Raw) -> list[Any]:
    """Return each value as a level; refuses numbers beside booleans."""
    if isinstance(values, Coded):
        codes, named = _read_values(values.codes, _levels_of, values.values)
        return [None if code < 0 else named[code] for code in codes.tolist()]
    found: list[Any] = _one_by_one(values, level_of, object).tolist()
    kinds = {type(value) for value in found}
    if bool in kinds and kinds & {int, float}:
        numeric = np.array([type(value) in (int, float) for value in found], dtype=bool)
        raise Refused("is a number, and other rows are booleans", "write all rows in one way", numeric)
    return found


def of_objects(values: NDArray[Any]) -> Raw:
    """Return a column of Python objects as pyarrow has it if its values are of one plain type, otherwise as it is."""
    import pyarrow as pa

    listed = values.tolist()
    types = {kind for kind in set(map(type, listed)) if kind.__name__ not in ("NoneType", "NAType", "NaTType")}
    if float in types and len(types) > 1 and all(value != value for value in listed if type(value) is float):
        types.discard(float)
    if not types:
        return pa.chunked_array([pa.nulls(len(values))])
    plain = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    if len(types) > 1 or not types <= plain.keys():
        return values
    try:
        return of_arrow(pa.array(values, plain[types.pop()], from_pandas=True))
    except (pa.ArrowInvalid, UnicodeEncodeError, OverflowError):  # integers beyond 64 bits, texts of half characters
        return values


def of_arrow(column: Any) -> Raw:
    """Return a column of pyarrow in one of few forms; refuses lists, structures and other nested values."""
    import pyarrow as pa

    if isinstance(column, pa.Array):
        column = pa.chunked_array([column])
    kind = column.type
    if pa.types.is_dictionary(kind) and not pa.types.is_float16(kind.value_type):
        return _of_dictionary(column)
    if pa.types.is_dictionary(kind):  # pyarrow joins dictionaries of these as if they were whole numbers
        return of_arrow(column.cast(kind.value_type))
    if pa.types.is_run_end_encoded(kind):
        if str(kind.value_type).endswith("_view"):  # pyarrow decodes no runs of these
            return of_arrow(pa.chunked_array([column.to_pylist()], kind.value_type))
        if pa.types.is_float16(kind.value_type):  # nor, in pyarrow 16, of these
            halves = [None if value is None else np.float16(value) for value in column.to_pylist()]
            return of_arrow(pa.chunked_array([halves], kind.value_type))
        return of_arrow(
            pa.chunked_array([pa.compute.run_end_decode(chunk) for chunk in column.chunks], kind.value_type)
        )
    if pa.types.is_nested(kind) or isinstance(kind, pa.BaseExtensionType):
        raise Refused(f"is of type {kind}", "give a column of one plain value a row")
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return np.asarray(column.to_numpy()) if numeric and not column.null_count else column


def _of_dictionary(column: Any) -> Coded:
    import pyarrow as pa

    if not len(column):
        return Coded(np.empty(0, dtype=np.int64), of_arrow(pa.chunked_array([], column.type.value_type)))
    column = column.unify_dictionaries().combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0)
    # Unsigned indices, as polars has them, hold no -1.
    indices = column.indices.cast(pa.int64()).fill_null(-1) if column.indices.null_count else column.indices
    return Coded(indices.to_numpy(zero_copy_only=False), of_arrow(_whole_texts(column.dictionary)))


def _factorized(column: Raw) -> tuple[NDArray[Any], Raw]:
    """Return integer codes (-1 where missing) and the values of a column, each once as it is spelled."""
    import pandas as pd
    import pyarrow as pa

    if isinstance(column, Coded):
        return column.codes, column.values
    if not isinstance(column, np.ndarray):
        if pa.types.is_null(column.type):
            return np.full(len(column), -1, dtype=np.int64), np.empty(0, dtype=object)
        if pa.types.is_float16(column.type):
            values = np.empty(len(column), dtype=object)
            values[:] = _listed(column)
            return _factorized(values)
        try:
            coded = _of_dictionary(column.dictionary_encode())
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
            column = np.array(column.to_pylist(), dtype=object)
        else:
            return coded.codes, coded.values
    if column.dtype != object:
        codes, values = pd.factorize(column)
        return codes, np.asarray(values)
    place: dict[Any, int] = {}  # 1, 1.0 and True are equal, but not the same value
    found: list[Any] = []
    codes = np.full(len(column), -1, dtype=np.int64)
    for row, value in enumerate(column.tolist()):
        if is_missing(value):
            continue
        try:
            codes[row] = place.setdefault((type(value), value), len(found))
        except TypeError:  # a list, for instance, which no kind takes
            codes[row] = len(found)
        if codes[row] == len(found):
            found.append(value)
    values = np.empty(len(found), dtype=object)
    for k, value in enumerate(found):
        values[k] = value
    return codes, values


def _near(values: NDArray[Any], near: int) -> tuple[NDArray[Any], NDArray[np.int64]] | None:
    """Return whole numbers as places between the least and the largest, None where these are far apart."""
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, near)
    if high - low >= near or high > np.iinfo(np.int64).max:
        return None
    places = (values.astype(np.int64, copy=False) - low).astype(np.int16 if near <= NEAR else np.int32)
    return places, low + np.arange(high - low + 1)


def _named(codes: NDArray[Any], read: Callable[[Raw], NDArray[Any]], values: Raw, missing: Any) -> NDArray[Any]:
    """Return for each code what is read of its value; `missing` for codes below zero."""
    codes, named = _read_values(codes, read, values)
    table = np.append(named, np.array([missing], dtype=named.dtype))
    return np.asarray(table[codes])


def _read_values(codes: NDArray[Any], read: Callable[[Raw], Any], values: Raw) -> tuple[NDArray[Any], Any]:
    """Return codes and what is read of the values that they name; values that no row has may be wrong."""
    try:
        return codes, read(values)
    except Refused:
        import pandas as pd

        used = pd.unique(codes[codes >= 0])  # as rows have them, so that the fault is that of the first row
        place = np.full(1 + (int(used.max()) if len(used) else -1) + 1, -1, dtype=np.int64)
        place[used] = np.arange(len(used))
        codes = place[codes]
    try:
        return codes, read(_taken(values, used))
    except Refused as refused:
        raise _spread(refused, codes) from None


def _taken(values: Raw, places: NDArray[Any]) -> Raw:
    if isinstance(values, Coded):
        return Coded(values.codes[places], values.values)
    return values[places] if isinstance(values, np.ndarray) else values.take(places)


def _spread(refused: Refused, codes: NDArray[Any]) -> Refused:
    """Return a refusal of values as one of the rows that have them."""
    if refused.bad is None:
        return refused
    return Refused(refused.fault, refused.cure, np.append(refused.bad, False)[codes])


def _listed(column: "NDArray[Any] | pa.ChunkedArray") -> list[Any]:
    """Return the values of a column; a plain list would have narrow floats as wide ones, and times as numbers."""
    if isinstance(column, np.ndarray):
        as_they_are = column.dtype.kind in "mM" or (column.dtype.kind == "f" and column.dtype.itemsize < 8)
        return list(column) if as_they_are else column.tolist()
    listed, narrow = column.to_pylist(), NARROW.get(str(column.type))
    return listed if narrow is None else [value if value is None else narrow(value) for value in listed]


def _one_by_one(column: "NDArray[Any] | pa.ChunkedArray", read: Callable[[Any], Any], dtype: Any) -> NDArray[Any]:
    """Return what is read of each value by itself."""
    values = _listed(column)
    found = np.empty(len(values), dtype=dtype)
    bad: dict[tuple[str, str], list[int]] = {}
    for row, value in enumerate(values):
        try:
            found[row] = read(value)
        except Refused as refused:
            bad.setdefault((refused.fault, refused.cure), []).append(row)
    if bad:
        (fault, cure), rows = next(iter(bad.items()))
        marked = np.zeros(len(values), dtype=bool)
        marked[rows] = True
        raise Refused(fault, cure, marked)
    return found


def _whole_if_all(found: NDArray[Any]) -> NDArray[Any]:
    whole = all(type(value) is int for value in found.tolist())
    return found.astype(np.int64) if whole else found


def _filled(column: Any, missing: Any) -> NDArray[Any]:
    """Return a column of numbers as an array with `missing` for those that are."""
    return np.ascontiguousarray(column.fill_null(missing).to_numpy())


def _decimals(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return floats as float64; a narrow one stands for its shortest decimal, so that 4.8 is 4.8."""
    import pyarrow as pa

    if values.dtype.itemsize >= 8:
        return np.ascontiguousarray(values, dtype=np.float64)
    if values.dtype.itemsize == 4:
        return np.asarray(pa.array(values).cast(pa.string()).cast(pa.float64()).to_numpy(zero_copy_only=False))
    return values.astype(np.str_).astype(np.float64)


def _text_numbers(column: Any) -> NDArray[np.float64]:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = _whole_texts(column)
    spelled = _filled(pc.match_substring_regex(column, f"^({NUMBER.pattern})$"), True)
    known = pc.if_else(spelled, pc.utf8_ltrim(column, "+"), None)  # pyarrow reads no plus sign
    found = _filled(known.cast(pa.float64()), np.nan)
    infinite = np.isinf(found)
    bad = ~spelled | infinite
    if bad.any():
        raise (
            Refused("is infinite", FINITE, infinite)
            if infinite[bad.argmax()]
            else Refused("is not a number", A_NUMBER, ~spelled)
        )
    return found


def _text_ids(column: Any) -> NDArray[Any]:
    """Return texts as ids: the integers that they spell, and the texts that spell none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = _whole_texts(column)
    spelled = _filled(pc.match_substring_regex(column, f"^({WHOLE.pattern})$"), False)
    short = spelled & (_filled(pc.binary_length(column), 0) <= 18)
    if short.all():
        return np.asarray(column.cast(pa.int64()).to_numpy())
    zeros = _filled(pc.match_substring(column, "\0"), False)
    if zeros.any():
        raise Refused(*HALF_TEXT, zeros)
    found = np.asarray(column.to_numpy(), dtype=object)
    for row in np.flatnonzero(spelled).tolist():
        found[row] = text_id(found[row])
    found[_filled(pc.equal(column, ""), True)] = None
    return _whole_if_all(found) if spelled.all() else found


def _text_times(column: Any, clock: str, date_format: str | None) -> NDArray[np.datetime64]:
    import pandas as pd
    import pyarrow.compute as pc

    column = _whole_texts(column)
    short = pc.replace_substring_regex(column, r"(\.[0-9]{6})[0-9]+", r"\1") if date_format is None else column
    texts = pd.Series(np.asarray(short.to_numpy(), dtype=object))  # nanoseconds would end in the year 2262
    known = _filled(pc.not_equal(column, ""), False)
    found = np.full(len(texts), MISSING_TIME)
    if date_format is None:
        spelled = _filled(pc.match_substring_regex(column, f"^({ISO_TIME})$"), False)
        zoned = _filled(pc.match_substring_regex(column, f"^{ZONED_TIME}$"), False)
        fault, cure = NOT_ISO
    else:
        spelled, zoned = known, np.full(len(texts), "%z" in date_format)
        fault, cure = not_of_form(date_format)
    bad = known & ~spelled
    for rows, utc in ((known & ~bad & ~zoned, False), (known & ~bad & zoned, True)):
        if rows.any():
            read = pd.to_datetime(texts[rows], format=date_format or "ISO8601", utc=utc, errors="coerce")
            bad[rows] |= read.isna().to_numpy()
            moments = np.asarray((read.dt.tz_localize(None) if utc else read).to_numpy())
            try:
                moments = microseconds(moments)
                found[rows] = _on_clock(moments, clock) if utc else moments
            except Refused as refused:
                bad[rows] |= refused.bad
    if bad.any() and date_format is None:
        # Before its version 3, pandas counts these texts in nanoseconds, which hold no other years.
        year = pc.utf8_slice_codeunits(column, 0, 4)
        far = _filled(pc.or_(pc.less(year, "1678"), pc.greater(year, "2261")), False)
        for row in np.flatnonzero(bad & spelled & far).tolist():
            try:
                found[row] = time_of(texts.iat[row], clock)
                bad[row] = False
            except Refused:
                pass
    if bad.any():
        raise Refused(fault, cure, bad)
    return found


def _on_clock(instants: NDArray[np.datetime64], clock: str) -> NDArray[np.datetime64]:
    """Return instants of UTC as times of a clock."""
    import pandas as pd

    moved = pd.DatetimeIndex(instants).tz_localize("UTC").tz_convert(zone(clock)).tz_localize(None)
    return microseconds(np.asarray(moved))


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or str(kind) == "string_view")


def _whole_texts(column: Any) -> Any:
    """Return a column of texts in a form that every function of pyarrow takes, which views (of polars) are not."""
    import pyarrow as pa

    whole = {"string_view": pa.large_string(), "binary_view": pa.large_binary()}.get(str(column.type))
    if whole is None:
        return column
    try:
        return column.cast(whole)
    except pa.ArrowNotImplementedError:  # pyarrow 16
        values = pa.array(column.to_pylist(), whole)
        return pa.chunked_array([values]) if isinstance(column, pa.ChunkedArray) else values
