"""Frames of any kind as named columns, reading only the columns that are asked for."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk.errors import InputError

NEAR = 2**10  # from as many whole numbers on, a hash table costs less than looking each of them up
FRAMES = "a pandas, polars or pyarrow table, or the path of a Parquet file"


class Columns(Protocol):
    """Named columns of one length."""

    @property
    def names(self) -> list[str]: ...

    @property
    def n_rows(self) -> int: ...

    def real(self, name: str) -> NDArray[np.float64]: ...

    def distinct(self, name: str, near: int = NEAR) -> tuple[NDArray[Any], NDArray[Any]]: ...

    def times(self, name: str) -> NDArray[np.datetime64]: ...

    def days(self, name: str) -> NDArray[np.datetime64]: ...

    def ids(self, name: str) -> NDArray[Any]: ...


@dataclass(frozen=True, slots=True)
class PandasColumns:
    """Columns of a pandas frame."""

    frame: Any
    argument: str
    names: list[str]
    n_rows: int

    def _column(self, name: str) -> Any:
        column = self.frame[name]
        if column.ndim != 1:
            raise InputError(f"{self.argument}: column '{name}' stands there twice; drop or rename one.")
        return column

    def real(self, name: str) -> NDArray[np.float64]:
        """Return the column as float64, NaN where missing."""
        import pandas as pd

        column = self._column(name)
        if column.dtype == np.float64 and isinstance(column.dtype, np.dtype):
            return np.ascontiguousarray(column.to_numpy())
        if pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_timedelta64_dtype(column):
            raise _not_numbers(self.argument, name, column.notna().to_numpy())
        try:
            return np.ascontiguousarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
        except (TypeError, ValueError):
            bad = pd.to_numeric(column.astype("object"), errors="coerce").isna() & column.notna()
            raise _not_numbers(self.argument, name, bad.to_numpy()) from None

    def distinct(self, name: str, near: int = NEAR) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return integer codes (-1 where missing) and the values they name, some of which need not occur.

        Whole numbers that lie less than `near` apart are places between the least and the largest.
        """
        import pandas as pd

        column = self._column(name)
        if isinstance(column.dtype, pd.CategoricalDtype):
            return column.cat.codes.to_numpy(), np.asarray(column.cat.categories)
        whole = isinstance(column.dtype, np.dtype) and column.dtype.kind in "iu"
        if whole and (found := _near(column.to_numpy(), near)):
            return found
        codes, values = pd.factorize(column)
        return codes, np.asarray(values)

    def days(self, name: str) -> NDArray[np.datetime64]:
        """Return the column as days, NaT where missing."""
        return self.times(name).astype("datetime64[D]")

    def times(self, name: str) -> NDArray[np.datetime64]:
        """Return the column as times, NaT where missing; of any zone, whose own clock counts."""
        import pandas as pd

        column = self._column(name)
        if pd.api.types.is_numeric_dtype(column) and column.notna().any():
            raise _not_dates(self.argument, name, column.notna().to_numpy())
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # of texts in several formats, some would be read day first
                times = pd.to_datetime(column)
            if getattr(times.dtype, "tz", None) is not None:
                times = times.dt.tz_localize(None)
            return np.asarray(times.to_numpy().astype("datetime64[us]"))
        except (TypeError, ValueError, UserWarning):
            bad = pd.to_datetime(column, errors="coerce", format="ISO8601").isna() & column.notna()
            raise _not_dates(self.argument, name, (bad if bad.any() else column.notna()).to_numpy()) from None

    def ids(self, name: str) -> NDArray[Any]:
        """Return the column as an array to join on."""
        return np.asarray(self._column(name))


@dataclass(frozen=True, slots=True)
class ArrowColumns:
    """Columns of a pyarrow table."""

    table: Any
    argument: str
    names: list[str]
    n_rows: int

    def real(self, name: str) -> NDArray[np.float64]:
        """Return the column as float64, NaN where missing."""
        import pyarrow as pa

        try:
            column = self.table.column(name).cast(pa.float64(), safe=False)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return self._as_pandas(name).real(name)
        return np.ascontiguousarray(column.to_numpy(), dtype=np.float64)

    def distinct(self, name: str, near: int = NEAR) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return integer codes and the values they name, as `PandasColumns.distinct`."""
        import pyarrow as pa

        column = self.table.column(name)
        if not len(column):
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=object)
        if pa.types.is_integer(column.type) and not column.null_count and (found := _near(column.to_numpy(), near)):
            return found
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        column = column.unify_dictionaries().combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = column.chunk(0) if column.num_chunks else pa.array([], column.type)
        # Unsigned indices, as polars has them, hold no -1.
        indices = column.indices.cast(pa.int64()).fill_null(-1) if column.indices.null_count else column.indices
        codes = indices.to_numpy(zero_copy_only=False)
        if pa.types.is_integer(column.dictionary.type) and not column.dictionary.null_count:
            return codes, column.dictionary.to_numpy()
        values = np.empty(len(column.dictionary), dtype=object)
        values[:] = column.dictionary.to_pylist()
        missing = [k for k, value in enumerate(values) if value is None or value != value]
        return np.where(np.isin(codes, missing), -1, codes) if missing else codes, values

    def days(self, name: str) -> NDArray[np.datetime64]:
        """Return the column as days, NaT where missing."""
        import pyarrow as pa

        column = self.table.column(name)
        if not (pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)):
            return self._as_pandas(name).days(name)
        return np.asarray(column.cast(pa.date32(), safe=False).to_numpy()).astype("datetime64[D]")

    def times(self, name: str) -> NDArray[np.datetime64]:
        """Return the column as times, NaT where missing; of any zone, whose own clock counts."""
        return self._as_pandas(name).times(name)

    def _as_pandas(self, name: str) -> PandasColumns:
        """Return one column as pandas has it, for text dates and for what is wrong with the others."""
        return PandasColumns(self.table.select([name]).to_pandas(), self.argument, [name], self.n_rows)

    def ids(self, name: str) -> NDArray[Any]:
        """Return the column as an array to join on."""
        return np.asarray(self.table.column(name).to_numpy())


@dataclass(frozen=True, slots=True)
class JoinedColumns:
    """The columns of orders and, by merchant, those of merchants; restricted to some rows of the orders.

    `threads` is how many may turn them into codes.
    """

    orders: Columns
    merchants: Columns | None = None
    merchant_row: NDArray[np.int64] | None = None
    rows: NDArray[np.int64] | None = None
    threads: int = 1
    _seen: dict[tuple[Any, ...], Any] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Return the names of both, those of the orders first."""
        return [*self.orders.names, *(self.merchants.names if self.merchants else [])]

    @property
    def n_rows(self) -> int:
        """Return the rows that are left."""
        return self.orders.n_rows if self.rows is None else len(self.rows)

    def _spread(self, values: NDArray[Any], name: str) -> NDArray[Any]:
        if name not in self.orders.names and self.merchant_row is not None:
            values = values[self.merchant_row]
        return values if self.rows is None else values[self.rows]

    def _home(self, name: str) -> Columns:
        return self.orders if name in self.orders.names or self.merchants is None else self.merchants

    def real(self, name: str) -> NDArray[np.float64]:
        """Return the column as float64, NaN where missing."""
        if ("real", name) not in self._seen:
            self._seen["real", name] = self._spread(self._home(name).real(name), name)
        return self._seen["real", name]  # type: ignore[no-any-return]

    def distinct(self, name: str, near: int = NEAR) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return integer codes (-1 where missing) and the values they name, some of which need not occur."""
        if ("distinct", name, near) not in self._seen:
            codes, values = self._home(name).distinct(name, near)
            self._seen["distinct", name, near] = self._spread(codes, name), values
        found: tuple[NDArray[Any], NDArray[Any]] = self._seen["distinct", name, near]
        return found

    def categories(self, name: str) -> tuple[NDArray[Any], list[Any]]:
        """Return integer codes (-1 where missing) and the values they name, as Python has them."""
        codes, values = self.distinct(name)
        if ("values", name) not in self._seen:
            self._seen["values", name] = _plain(values)
        return codes, self._seen["values", name]

    def days(self, name: str) -> NDArray[np.datetime64]:
        """Return the column as days, NaT where missing."""
        return self._spread(self._home(name).days(name), name)

    def times(self, name: str) -> NDArray[np.datetime64]:
        """Return the column as times, NaT where missing; of any zone, whose own clock counts."""
        return self._spread(self._home(name).times(name), name)

    def ids(self, name: str) -> NDArray[Any]:
        """Return the column as an array to join on."""
        return self._spread(self._home(name).ids(name), name)


def read(frame: Any, wanted: Sequence[str] | None, *, argument: str) -> Columns:
    """Return the columns of a frame or Parquet file; `wanted` limits what is read from a file."""
    if isinstance(frame, (str, Path)):
        return _read_parquet(Path(frame), wanted, argument)
    if _is_from(frame, "pandas") and hasattr(frame, "columns"):
        return PandasColumns(frame, argument, [str(name) for name in frame.columns], len(frame))
    if hasattr(frame, "collect") and not hasattr(frame, "__arrow_c_stream__"):
        frame = frame.collect()
    if hasattr(frame, "__arrow_c_stream__"):
        import pyarrow as pa

        names = list(getattr(frame, "columns", [])) if _is_from(frame, "polars") else None
        kept = [name for name in names if wanted is None or name in wanted] if names else None
        try:
            table = frame if isinstance(frame, pa.Table) else pa.table(frame.select(kept) if kept else frame)
        except pa.ArrowInvalid:
            raise InputError(f"{argument} is a {type(frame).__name__}; it must be {FRAMES}.") from None
        return ArrowColumns(table, argument, names or list(table.column_names), table.num_rows)
    raise InputError(f"{argument} is a {type(frame).__name__}; it must be {FRAMES}.")


def kind(frame: Any) -> str:
    """Return "polars", "arrow" or "pandas": the kind of frame to give back for this one."""
    if _is_from(frame, "polars"):
        return "polars"
    return "arrow" if _is_from(frame, "pyarrow") else "pandas"


def _read_parquet(path: Path, wanted: Sequence[str] | None, argument: str) -> ArrowColumns:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.exists():
        raise InputError(f"{argument} is the path '{path}', which does not exist; give {FRAMES}.")
    try:
        names = pq.read_schema(path).names
        kept = None if wanted is None else [name for name in names if name in wanted]
        table = pq.read_table(path, columns=kept)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{argument} is the file '{path}', which is not readable as Parquet: {error}") from None
    return ArrowColumns(table, argument, list(names), table.num_rows)


def _is_from(frame: Any, package: str) -> bool:
    return type(frame).__module__.split(".")[0] == package


def _plain(values: NDArray[Any]) -> list[Any]:
    listed: list[Any] = values.tolist()
    if values.dtype.kind in "iu":
        return listed
    return [int(value) if isinstance(value, float) and value.is_integer() else value for value in listed]


def _near(values: NDArray[Any], near: int) -> tuple[NDArray[Any], NDArray[np.int64]] | None:
    """Return whole numbers as places between the least and the largest, None where these are far apart."""
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, near)
    if high - low >= near or high > np.iinfo(np.int64).max:
        return None
    places = (values.astype(np.int64, copy=False) - low).astype(np.int16 if near <= NEAR else np.int32)
    return places, low + np.arange(high - low + 1)


def _not_numbers(argument: str, name: str, bad: NDArray[np.bool_]) -> InputError:
    where = _check.rows_text(np.flatnonzero(bad))
    return InputError(f"{argument}: column '{name}' is not a number in {where}; convert it to numbers first.")


def _not_dates(argument: str, name: str, bad: NDArray[np.bool_]) -> InputError:
    where = _check.rows_text(np.flatnonzero(bad))
    return InputError(f"{argument}: column '{name}' cannot be read as dates in {where}; convert it to datetimes first.")
