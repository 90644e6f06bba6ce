"""The rule of `_intake` for whole columns; the results equal a conversion of each value by itself."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from freightrisk._forms import Coded, Raw, filled, is_text, of_dictionary
from freightrisk._intake import (
    DAY,
    DEFAULT_CLOCK,
    EXACT,
    FINITE,
    MICROSECOND,
    MISSING_TIME,
    Level,
    Refused,
    id_of,
    is_missing,
    level_of,
    microseconds,
    number_of,
    time_of,
)
from freightrisk._spelled import on_clock, text_ids, text_numbers, text_times, whole_if_all

if TYPE_CHECKING:
    import pyarrow as pa

NEAR = 2**10  # whole numbers over a smaller range get codes by subtraction; over a larger one, by a hash table
NARROW = {"float": np.float32, "halffloat": np.float16}


def numbers(column: Raw) -> NDArray[np.float64]:
    """Return a column as finite float64, NaN if missing; each value equals the result of `number_of`."""
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
        return filled(column.cast(pa.float64(), safe=False), np.nan)
    if pa.types.is_floating(kind):
        if pa.types.is_float16(kind):  # pyarrow 16 cannot fill missing values of this type
            return numbers(np.array([np.nan if value is None else value for value in column.to_pylist()], np.float16))
        return numbers(filled(column, np.nan))
    if pa.types.is_decimal(kind):
        return filled(column.cast(pa.string()).cast(pa.float64()), np.nan)
    if is_text(kind):
        return text_numbers(column)
    return _one_by_one(column, number_of, np.float64)


def times(column: Raw, clock: str = DEFAULT_CLOCK, date_format: str | None = None) -> NDArray[np.datetime64]:
    """Return a column as times of a clock in microseconds, NaT if missing; each value is as from `time_of`."""
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
    if pa.types.is_date64(kind):  # it may hold a time of day, although it should not
        return microseconds(np.asarray(column.cast(pa.timestamp("ms")).to_numpy()))
    if pa.types.is_date(kind):
        return microseconds(np.asarray(column.cast(pa.date32()).to_numpy(), dtype=DAY))
    if pa.types.is_timestamp(kind):
        instants = microseconds(np.asarray(column.to_numpy()))  # a cast of pyarrow would round towards zero
        return instants if kind.tz is None else on_clock(instants, clock)
    if is_text(kind):
        return text_times(column, clock, date_format)
    return _one_by_one(column, lambda value: time_of(value, clock), MICROSECOND)


def ids(column: Raw) -> NDArray[Any]:
    """Return a column as ids: int64 if each is a whole number, otherwise objects that equal the results of `id_of`."""
    import pyarrow as pa

    if isinstance(column, Coded):
        absent = bool((column.codes < 0).any())

        def read(values: Raw) -> NDArray[Any]:
            return ids(values).astype(object) if absent else ids(values)

        found = _named(column.codes, read, column.values, None if absent else 0)
        return whole_if_all(found) if found.dtype == object else found
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
        if is_text(column.type):
            return text_ids(column)
    return whole_if_all(_one_by_one(column, id_of, object))


def id_codes(column: Raw, near: int = NEAR) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return integer codes (-1 if missing) and the ids that they name, some of which may not occur.

    If whole numbers span less than `near`, the code of a number is its distance from the smallest number.
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
    """Return integer codes (-1 if missing) and the levels that they name, each once; some may not occur."""
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
    """Return each value as a level; refuse a column with both numbers and booleans."""
    if isinstance(values, Coded):
        codes, named = _read_values(values.codes, _levels_of, values.values)
        return [None if code < 0 else named[code] for code in codes.tolist()]
    found: list[Any] = _one_by_one(values, level_of, object).tolist()
    kinds = {type(value) for value in found}
    if bool in kinds and kinds & {int, float}:
        numeric = np.array([type(value) in (int, float) for value in found], dtype=bool)
        raise Refused("is a number, and other rows are booleans", "give only numbers or only booleans", numeric)
    return found


def _factorized(column: Raw) -> tuple[NDArray[Any], Raw]:
    """Return integer codes (-1 if missing) and the distinct values of a column, before any conversion."""
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
            coded = of_dictionary(column.dictionary_encode())
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
            column = np.array(column.to_pylist(), dtype=object)
        else:
            return coded.codes, coded.values
    if column.dtype != object:
        codes, values = pd.factorize(column)
        return codes, np.asarray(values)
    place: dict[Any, int] = {}  # by type and value, because 1, 1.0 and True are equal in Python
    found: list[Any] = []
    codes = np.full(len(column), -1, dtype=np.int64)
    for row, value in enumerate(column.tolist()):
        if is_missing(value):
            continue
        try:
            codes[row] = place.setdefault((type(value), value), len(found))
        except TypeError:  # an unhashable value, such as a list, which the conversion will refuse
            codes[row] = len(found)
        if codes[row] == len(found):
            found.append(value)
    values = np.empty(len(found), dtype=object)
    for k, value in enumerate(found):
        values[k] = value
    return codes, values


def _near(values: NDArray[Any], near: int) -> tuple[NDArray[Any], NDArray[np.int64]] | None:
    """Return whole numbers as distances from the smallest, or None if they span `near` or more."""
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, near)
    if high - low >= near or high > np.iinfo(np.int64).max:
        return None
    places = (values.astype(np.int64, copy=False) - low).astype(np.int16 if near <= NEAR else np.int32)
    return places, low + np.arange(high - low + 1)


def _named(codes: NDArray[Any], read: Callable[[Raw], NDArray[Any]], values: Raw, missing: Any) -> NDArray[Any]:
    """Return the converted value of each code, and `missing` for codes below zero."""
    codes, named = _read_values(codes, read, values)
    # Code -1 picks the last element of the table.
    table = np.append(named, np.array([missing], dtype=named.dtype))
    return np.asarray(table[codes])


def _read_values(codes: NDArray[Any], read: Callable[[Raw], Any], values: Raw) -> tuple[NDArray[Any], Any]:
    """Return codes and the converted values that they name; a wrong value that no row has is no error."""
    try:
        return codes, read(values)
    except Refused:
        import pandas as pd

        used = pd.unique(codes[codes >= 0])  # in the order of the rows, so that the first bad row is reported
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
    """Return a refusal of values as a refusal of the rows that have these values."""
    if refused.bad is None:
        return refused
    return Refused(refused.fault, refused.cure, np.append(refused.bad, False)[codes])


def _listed(column: "NDArray[Any] | pa.ChunkedArray") -> list[Any]:
    """Return the values of a column; `tolist` would turn narrow floats into wide floats, and times into numbers."""
    if isinstance(column, np.ndarray):
        as_they_are = column.dtype.kind in "mM" or (column.dtype.kind == "f" and column.dtype.itemsize < 8)
        return list(column) if as_they_are else column.tolist()
    listed, narrow = column.to_pylist(), NARROW.get(str(column.type))
    return listed if narrow is None else [value if value is None else narrow(value) for value in listed]


def _one_by_one(column: "NDArray[Any] | pa.ChunkedArray", read: Callable[[Any], Any], dtype: Any) -> NDArray[Any]:
    """Return each value, converted by itself."""
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


def _decimals(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return floats as float64; a narrow float is read as its shortest decimal, so that 4.8 stays 4.8."""
    import pyarrow as pa

    if values.dtype.itemsize >= 8:
        return np.ascontiguousarray(values, dtype=np.float64)
    if values.dtype.itemsize == 4:
        return np.asarray(pa.array(values).cast(pa.string()).cast(pa.float64()).to_numpy(zero_copy_only=False))
    return values.astype(np.str_).astype(np.float64)
