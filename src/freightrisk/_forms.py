"""Columns of pandas and pyarrow, brought into one of a few forms that `_vectors` reads."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from freightrisk._intake import Refused

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, eq=False, slots=True)
class Coded:
    """A column of categories: a code for each row (-1 if missing), and the values that the codes name."""

    codes: NDArray[Any]
    values: "Raw"


# Numbers, times and booleans without missing values are arrays. A column of mixed Python objects is an array too.
Raw: TypeAlias = "NDArray[Any] | pa.ChunkedArray | Coded"


def of_series(column: Any) -> Raw:
    """Return a column of a pandas frame in one of the forms of `Raw`."""
    import pandas as pd
    import pyarrow as pa

    dtype = column.dtype
    if isinstance(dtype, np.dtype):
        return of_objects(column.to_numpy()) if dtype.kind == "O" else column.to_numpy()
    if isinstance(dtype, pd.CategoricalDtype):
        return Coded(column.array.codes, of_series(dtype.categories))
    if isinstance(dtype, (pd.PeriodDtype, pd.IntervalDtype, pd.SparseDtype)):
        raise Refused(f"is of type {dtype}", "convert it to texts, numbers or datetimes")
    try:
        return of_arrow(pa.array(column, from_pandas=True))
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return of_objects(column.to_numpy(dtype=object))


def of_objects(values: NDArray[Any]) -> Raw:
    """Return a column of Python objects as a pyarrow column if its values have one plain type, otherwise unchanged."""
    import pyarrow as pa

    listed = values.tolist()
    types = {kind for kind in set(map(type, listed)) if kind.__name__ not in ("NoneType", "NAType", "NaTType")}
    # Beside values of another type, NaN is a missing value and not a number.
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
    """Return a pyarrow column in one of the forms of `Raw`; refuse lists, structures and other nested values."""
    import pyarrow as pa

    if isinstance(column, pa.Array):
        column = pa.chunked_array([column])
    kind = column.type
    if pa.types.is_dictionary(kind) and not pa.types.is_float16(kind.value_type):
        return of_dictionary(column)
    if pa.types.is_dictionary(kind):  # of float16, whose dictionaries pyarrow merges as if they were whole numbers
        return of_arrow(column.cast(kind.value_type))
    if pa.types.is_run_end_encoded(kind):
        if str(kind.value_type).endswith("_view"):  # pyarrow cannot decode runs of this type
            return of_arrow(pa.chunked_array([column.to_pylist()], kind.value_type))
        if pa.types.is_float16(kind.value_type):  # pyarrow 16 cannot decode runs of this type
            halves = [None if value is None else np.float16(value) for value in column.to_pylist()]
            return of_arrow(pa.chunked_array([halves], kind.value_type))
        return of_arrow(
            pa.chunked_array([pa.compute.run_end_decode(chunk) for chunk in column.chunks], kind.value_type)
        )
    if pa.types.is_nested(kind) or isinstance(kind, pa.BaseExtensionType):
        raise Refused(f"is of type {kind}", "give a column with one plain value in each row")
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return np.asarray(column.to_numpy()) if numeric and not column.null_count else column


def of_dictionary(column: Any) -> Coded:
    """Return a dictionary column of pyarrow as codes and the values that the codes name."""
    import pyarrow as pa

    if not len(column):
        return Coded(np.empty(0, dtype=np.int64), of_arrow(pa.chunked_array([], column.type.value_type)))
    column = column.unify_dictionaries().combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0)
    # Polars has unsigned indices, which cannot hold -1.
    indices = column.indices.cast(pa.int64()).fill_null(-1) if column.indices.null_count else column.indices
    return Coded(indices.to_numpy(zero_copy_only=False), of_arrow(whole_texts(column.dictionary)))


def rows_of(column: Raw, rows: NDArray[np.int64]) -> Raw:
    """Return some rows of a column."""
    if isinstance(column, np.ndarray):
        return column[rows]
    if isinstance(column, Coded):
        return Coded(column.codes[rows], column.values)
    return whole_texts(column).take(rows)


def filled(column: Any, missing: Any) -> NDArray[Any]:
    """Return a column of numbers as an array in which `missing` replaces missing values."""
    return np.ascontiguousarray(column.fill_null(missing).to_numpy())


def is_text(kind: Any) -> bool:
    """Return whether a type of pyarrow is one of its three types of text."""
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or str(kind) == "string_view")


def whole_texts(column: Any) -> Any:
    """Return a column of texts in a form that every function of pyarrow accepts; some refuse the views of polars."""
    import pyarrow as pa

    whole = {"string_view": pa.large_string(), "binary_view": pa.large_binary()}.get(str(column.type))
    if whole is None:
        return column
    try:
        return column.cast(whole)
    except pa.ArrowNotImplementedError:  # pyarrow 16
        values = pa.array(column.to_pylist(), whole)
        return pa.chunked_array([values]) if isinstance(column, pa.ChunkedArray) else values
