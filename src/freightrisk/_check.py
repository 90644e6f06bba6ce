"""The only code that converts or refuses arguments. A message names the argument, the value, the rule and the cure."""

import os
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from freightrisk import _blocks
from freightrisk._mapped import largest
from freightrisk._shown import repr_of
from freightrisk._staged import is_full, probe
from freightrisk.errors import FreightRiskWarning, InputError

Kind = TypeVar("Kind")

SHOWN_ROWS = 5
PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


def warn(message: str) -> None:
    """Warn with `message`, at the line of the caller's code that led to the warning."""
    # Frames of the package are skipped, so that the warning shows a line that the caller can change.
    frame: FrameType | None = sys._getframe(1)
    level = 2
    while frame is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, FreightRiskWarning, stacklevel=level)


def rows_text(rows: NDArray[Any], total: int | None = None) -> str:
    """Return "3 rows (first: 4, 8, 15)" for an array of row numbers."""
    total = len(rows) if total is None else total
    shown = ", ".join(str(row) for row in rows[:SHOWN_ROWS].tolist())
    return f"{total:,} row{'s' if total != 1 else ''} (first: {shown})"


def refuse_rows(bad: NDArray[np.bool_], message: str, *, rows: NDArray[np.int64] | None = None) -> None:
    """Raise `message` with its "{rows}" filled in, if any element of `bad` is true."""
    where = np.flatnonzero(bad)
    if len(where):
        # str.replace and not str.format, because names of columns may hold braces.
        raise InputError(message.replace("{rows}", rows_text(where if rows is None else rows[where])))


RENAME = "Rename the columns or name the right ones in the call."


def columns_present(wanted: Iterable[str], present: Sequence[str], *, argument: str, cure: str = RENAME) -> None:
    """Raise unless every wanted column is present."""
    wanted = [label(name, argument=f"{argument}: the name of a column") for name in wanted]
    missing = [name for name in dict.fromkeys(wanted) if name not in present]
    if missing:
        raise InputError(
            f"{argument}: missing column{'s' if len(missing) > 1 else ''} {_names(missing)}; "
            f"the columns present are {_names(present)}. {cure}"
        )


def in_interval(
    values: NDArray[np.float64],
    *,
    column: str,
    low: float,
    high: float,
    open_low: bool = False,
    rows: NDArray[np.int64] | None = None,
) -> None:
    """Raise if a value is NaN, or outside [low, high] (or (low, high])."""
    refuse_rows(
        np.isnan(values),
        f"column '{column}' is missing (NaN) in {{rows}}; every row needs a number. Fill or drop these rows.",
        rows=rows,
    )
    bad = (values <= low) if open_low else (values < low)
    bad |= (values > high) | np.isinf(values)
    refuse_rows(
        bad,
        f"column '{column}' is outside {'(' if open_low else '['}{low:g}, {high:g}] in {{rows}}; "
        "correct or drop these rows.",
        rows=rows,
    )


def number(
    value: Any,
    *,
    argument: str,
    low: float = -np.inf,
    high: float = np.inf,
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    """Return `value` as a finite float inside the interval."""
    text = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise InputError(f"{argument} is {repr_of(value)}; it must be a number in {text}.")
    try:
        result = float(value)
    except OverflowError:  # a Python int may exceed the range of a double
        result = np.inf
    too_low = result <= low if open_low else result < low
    too_high = result >= high if open_high else result > high
    if not np.isfinite(result) or too_low or too_high:
        raise InputError(f"{argument} is {repr_of(value)}; it must be a finite number in {text}.")
    return result


def whole(value: Any, *, argument: str, low: int, high: int) -> int:
    """Return `value` as an int inside [low, high]."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or not low <= int(value) <= high:
        raise InputError(f"{argument} is {repr_of(value)}; it must be a whole number in [{low}, {high}].")
    return int(value)


def one_of(value: Any, allowed: Iterable[str], *, argument: str) -> str:
    """Return `value` if it is one of the allowed words."""
    allowed = list(allowed)
    if not isinstance(value, str) or value not in allowed:
        raise InputError(f"{argument} is {repr_of(value)}; it must be one of {_names(allowed)}.")
    return str(value)


def flag(value: Any, *, argument: str) -> bool:
    """Return `value` if it is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise InputError(f"{argument} is {repr_of(value)}; it must be True or False.")
    return bool(value)


def instance(value: Any, kind: type[Kind], *, argument: str) -> Kind:
    """Return `value` if it is an instance of a class."""
    if not isinstance(value, kind):
        raise InputError(f"{argument} is {repr_of(value)}; it must be {_with_article(kind.__name__)}.")
    return value


def members(values: Any, kind: type[Kind], *, argument: str) -> tuple[Kind, ...]:
    """Return the items of a list if all are instances of a class."""
    found = items(values, argument=argument)
    if not all(isinstance(value, kind) for value in found):
        what = _with_article(kind.__name__)
        raise InputError(f"{argument} is {repr_of(values)}; it must be a list whose items are each {what}.")
    return found


def items(values: Any, *, argument: str, such: str = "it must be a list") -> tuple[Any, ...]:
    """Return the items of a list or another container, but not the characters of a text; `such` is the rule."""
    try:
        if isinstance(values, (str, bytes)):
            raise TypeError
        return tuple(values)
    except Exception:  # iterating over an object of any class may raise any error
        raise InputError(f"{argument} is {repr_of(values)}; {such}.") from None


def mapping(value: Any, *, argument: str) -> Mapping[Any, Any]:
    """Return `value` if it maps keys to values."""
    if not isinstance(value, Mapping):
        raise InputError(f"{argument} is {repr_of(value)}; it must be a mapping, such as a dict.")
    return value


def frame(value: Any, *, argument: str) -> Any:
    """Return `value` if it is a pandas DataFrame."""
    import pandas as pd

    if not isinstance(value, pd.DataFrame):
        raise InputError(f"{argument} is a {type(value).__name__}; it must be a DataFrame of pandas.")
    return value


def _with_article(word: str) -> str:
    return f"{'an' if word[0] in 'AEIO' else 'a'} {word}"


def label(value: Any, *, argument: str) -> str:
    """Return a non-empty string that any file and database can hold."""
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{argument} is {repr_of(value)}; it must be a non-empty string.")
    if "\0" in value or any("\ud800" <= sign <= "\udfff" for sign in value):
        raise InputError(
            f"{argument} is {repr_of(value)}, with a zero character or half of a character; correct its encoding."
        )
    return value


def secret(value: Any, *, argument: str) -> str:
    """Return a label; the error never shows it, unless it is empty or only spaces."""
    try:
        return label(value, argument=argument)
    except InputError:
        if isinstance(value, str) and not value.strip():
            raise
    raise InputError(
        f"{argument} must be a string without zero characters or halves of characters; it is a {type(value).__name__}, "
        "which is not shown because it is secret."
    )


def path(value: Any, *, argument: str) -> Path:
    """Return `value` as a path, whether or not a file exists there."""
    if not isinstance(value, (str, os.PathLike)) or not str(value):
        raise InputError(f"{argument} is {repr_of(value)}; it must be a path.")
    try:
        os.stat(value)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except (OSError, ValueError) as error:  # a name that is too long, links in a ring, a zero character
        raise InputError(f"{argument} is '{value}', which cannot be found: {error}; give another path.") from None
    return Path(value)


def output_path(value: Any, *, argument: str) -> Path:
    """Return the path of a file that can be written; to prove it, a hidden folder is made beside it and removed."""
    final = path(value, argument=argument)
    try:
        if final.is_dir():
            raise InputError(f"{argument} is '{final}', which is a folder; give the name of a file.")
        if final.exists() and not final.is_file():
            raise InputError(f"{argument} is '{final}', which is not a regular file; give the name of a file.")
        if not final.parent.is_dir():
            raise InputError(f"{argument} is '{final}' in '{final.parent}', which does not exist; create it first.")
        probe(final)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        if is_full(error):
            raise
        raise InputError(f"{argument} is '{final}', which cannot be written: {error}; give another path.") from None
    return final


def real_array(values: ArrayLike, *, argument: str, length: int) -> NDArray[np.float64]:
    """Return a contiguous float64 array of the given length with no NaN or infinity."""
    array = numbers(values, argument=argument)
    if array.shape != (length,):
        raise InputError(f"{argument} has shape {array.shape}; it must be one value a row, shape ({length},).")
    refuse_rows(~np.isfinite(array), f"{argument} is not finite in {{rows}}; give a finite number for every row.")
    return np.ascontiguousarray(array)


def numbers(values: ArrayLike, *, argument: str) -> NDArray[np.float64]:
    """Return a float64 array of any shape."""
    try:
        if np.ma.isMaskedArray(values) or np.asarray(values).dtype.kind in "cmM":  # complex, durations, times
            raise TypeError
        return np.asarray(values, dtype=np.float64)
    except Exception:  # converting objects of any class may raise any error
        raise InputError(f"{argument} is not an array of numbers; give one number for each row.") from None


def groups(values: Any, *, argument: str, length: int) -> NDArray[Any]:
    """Return the group of each order as an array of this machine's types; of the wrong shape, (), if there is none.

    A narrow float stands for its shortest decimal.
    """
    import pandas as pd

    try:
        array = np.asarray(values)
        listed = isinstance(values, list | tuple) and array.dtype.kind in "US"
        if listed and not all(isinstance(value, str | bytes) for value in values):
            array = np.asarray(values, dtype=object)  # numpy spells the numbers among texts, so that 1 becomes "1"
        kinds = "" if array.dtype.kind != "O" else pd.api.types.infer_dtype(array.ravel(), skipna=True)
    except Exception:  # converting objects of any class may raise any error
        return np.empty(())
    if array.shape != (length,):
        return array
    if np.ma.isMaskedArray(values):
        refuse_rows(np.ma.getmaskarray(values), f"{argument} is missing in {{rows}}; give every order its group.")
    if array.dtype.kind in "cV" or kinds in ("mixed", "mixed-integer", "complex"):
        raise InputError(
            f"{argument} has groups that cannot be ordered, or that are of several kinds; give numbers, texts or days "
            "for all orders."
        )
    if array.dtype.kind == "f":
        exact = array.dtype.itemsize >= np.dtype(np.float64).itemsize
        return array.astype(np.float64) if exact else array.astype(str).astype(np.float64)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def day(value: Any, *, argument: str) -> np.datetime64:
    """Return a date, a time or an ISO text as a day; a time with a zone keeps the day of that zone."""
    result = np.datetime64("NaT", "D")
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else value
        found = found.date() if isinstance(found, datetime) else found
        if isinstance(found, (date, np.datetime64)):
            result = np.datetime64(found).astype("datetime64[D]")
    except Exception:  # converting an object of any class may raise any error
        pass
    if np.isnat(result):
        raise InputError(f"{argument} is {repr_of(value)}; it must be a date, such as '2026-05-31'.")
    return result


def threads(value: int | None) -> int:
    """Return the number of threads; by default, the number of cores that this process may use."""
    if value is not None:
        return whole(value, argument="threads", low=1, high=1024)
    # A container may restrict the process to fewer cores than os.cpu_count() reports.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def code_columns(codes: Mapping[str, NDArray[Any]], sizes: Mapping[str, int]) -> _blocks.CodeColumns:
    """Prove that every code is below its column's size and return the columns in the kernels' form."""
    if len(codes) > _blocks.COLUMN_LIMIT:
        raise InputError(f"{len(codes)} code columns were given; the kernels take at most {_blocks.COLUMN_LIMIT}.")
    arrays = [np.ascontiguousarray(array) for array in codes.values()]
    lengths = {len(array) for array in arrays}
    if len(lengths) > 1:
        raise InputError(f"code columns have different lengths {sorted(lengths)}; they must have the same length.")
    # The release build of the kernels checks no bounds, so an unproved code could read outside its table.
    most = np.zeros(len(codes), dtype=np.int64)
    for k, (name, array) in enumerate(codes.items()):
        if array.dtype not in (np.uint8, np.uint16, np.uint32):
            raise InputError(f"codes of '{name}' are {array.dtype}; they must be uint8, uint16 or uint32.")
        most[k] = largest(array)
        if len(array) and most[k] >= sizes[name]:
            refuse_rows(
                array >= sizes[name],
                f"codes of '{name}' are at or above the {sizes[name]} slots of its table in {{rows}}; "
                "encode the rows with the coding of the model or tariff that reads them.",
            )
    slots = np.array([sizes[name] for name in codes], dtype=np.int64)
    return _blocks.CodeColumns(arrays, slots, lengths.pop() if lengths else 0, most)


def _names(names: Iterable[Any]) -> str:
    return ", ".join(f"'{name}'" for name in names)
