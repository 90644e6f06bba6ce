"""Frames of any kind, and Parquet files, as pandas or pyarrow tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk.errors import InputError

FRAMES = "a pandas, polars or pyarrow table, or the path of a Parquet file"


def table_of(frame: Any, wanted: Sequence[str] | None, argument: str, key: str = "") -> tuple[Any, list[str]]:
    """Return a frame as a pandas or pyarrow table, and the names of all of its columns.

    Of a file, only `wanted` columns are read, and for messages the column `key`, if it stands there once.
    """
    if isinstance(frame, (str, Path)):
        return _read_parquet(Path(frame), wanted, argument, key)
    if is_from(frame, "pandas") and hasattr(frame, "columns"):
        return frame, [str(name) for name in frame.columns]
    if hasattr(frame, "collect") and not hasattr(frame, "__arrow_c_stream__"):
        try:
            frame = frame.collect()
        except Exception as error:
            why = str(error).splitlines()[0]
            raise InputError(f"{argument} is a lazy frame that cannot be collected: {why}.") from None
    if hasattr(frame, "__arrow_c_stream__") or hasattr(frame, "__arrow_c_array__"):
        import pyarrow as pa

        names = list(getattr(frame, "columns", [])) if is_from(frame, "polars") else None
        kept = [name for name in names if wanted is None or name in wanted or name == key] if names else None
        try:
            table = frame if isinstance(frame, pa.Table) else pa.table(frame.select(kept) if kept else frame)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, TypeError) as error:
            raise InputError(
                f"{argument} is {described(frame)} that cannot be read ({error}); give {FRAMES}."
            ) from None
        return table, names or list(table.column_names)
    raise InputError(f"{argument} is {described(frame)}; it must be {FRAMES}.")


def frame_like(columns: Mapping[str, NDArray[Any]], kind: str, index: Any) -> Any:
    """Return columns as a frame of a kind ("pandas", "polars" or "arrow"); a pandas frame has the given index."""
    if kind == "polars":
        import polars as pl

        # polars sums 32-bit columns in 32 bits, so a total above 21 million yuan would overflow.
        wide = {name: v.astype(np.int64) if v.dtype == np.int32 else v for name, v in columns.items()}
        texts = {name: pl.Series(v.tolist(), dtype=pl.String) for name, v in wide.items() if v.dtype == object}
        return pl.DataFrame(wide | texts)
    if kind == "arrow":
        import pyarrow as pa

        # Without a type, a column of texts without rows would have the type null.
        texts = {name: pa.array(v, pa.string()) for name, v in columns.items() if v.dtype == object}
        return pa.table(dict(columns) | texts)
    import pandas as pd

    return pd.DataFrame(dict(columns), index=index, copy=False)


def _read_parquet(path: Path, wanted: Sequence[str] | None, argument: str, key: str) -> tuple[Any, list[str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix.lower() == ".csv":
        raise InputError(
            f"{argument} is the path '{path}' of a CSV file, whose columns have no types; read it with "
            "pandas.read_csv(path, dtype=str), or use the command line, which takes CSV files."
        )
    if not _check.path(path, argument=argument).exists():
        raise InputError(f"{argument} is the path '{path}', which does not exist; give {FRAMES}.")
    try:
        names = list(pq.read_schema(path).names)
        if wanted is not None and names.count(key) == 1:
            wanted = [*wanted, key]
        kept = None if wanted is None else [name for name in dict.fromkeys(names) if name in wanted]
        twice = [name for name in kept or [] if names.count(name) > 1]
        if twice:
            raise InputError(f"{argument}: column '{twice[0]}' stands in '{path}' twice; drop or rename one.")
        return pq.read_table(path, columns=kept), names
    except (pa.ArrowException, OSError, UnicodeError) as error:  # a column name may be no UTF-8
        raise InputError(f"{argument} is the file '{path}', which is not readable as Parquet: {error}") from None


def is_from(frame: Any, package: str) -> bool:
    """Return whether the class of an object belongs to a package."""
    return type(frame).__module__.split(".")[0] == package


def described(value: Any) -> str:
    """Return the type of a value with the library that it is from."""
    package = type(value).__module__.split(".")[0]
    return f"a {type(value).__name__}" if package == "builtins" else f"a {type(value).__name__} of {package}"
