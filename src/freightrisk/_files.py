"""Files of the command line: inputs as the library reads them, outputs that appear whole or not at all."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk.errors import InputError


def check_outputs(outputs: Sequence[Path], *, inputs: Iterable[Path | None], may_make_folder: bool = False) -> None:
    """Refuse, before any work, outputs that cannot be written or that would overwrite an input or each other."""
    taken = {path.resolve(): path for path in inputs if path is not None}
    for path in outputs:
        if path.is_dir():
            raise InputError(f"output '{path}' is a folder; give the name of a file.")
        if path.resolve() in taken:
            raise InputError(f"output '{path}' is also an input or another output; give it a name of its own.")
        folder = path.parent.parent if may_make_folder and not path.parent.exists() else path.parent
        if not folder.is_dir():
            raise InputError(f"output '{path}' is to go to '{folder}', which is no folder; create it first.")
        taken[path.resolve()] = path


def source_of(path: Path, argument: str, *, texts: Iterable[str] = ()) -> Any:
    """Return what the library reads: the path of a Parquet file, or the table of a CSV file.

    The types of a CSV file's columns are guessed, except that those in `texts` are texts whatever they look like.
    """
    if not path.is_file():
        raise InputError(f"{argument}: there is no file '{path}'; give a Parquet or CSV file.")
    if path.suffix.lower() != ".csv":
        return path
    import pyarrow as pa
    from pyarrow import csv

    options = csv.ConvertOptions(strings_can_be_null=True, column_types={name: pa.string() for name in texts})
    try:
        return csv.read_csv(path, convert_options=options)
    except pa.ArrowInvalid as error:
        raise InputError(f"{argument}: '{path}' is not readable as CSV: {error}; correct the file.") from None


def columns_of(source: Any, names: Sequence[str] | None, *, required: Sequence[str] = (), argument: str) -> Any:
    """Return a table of the named columns, as far as they are there; all of them by default."""
    if not isinstance(source, Path):
        present = source.column_names
        read = source.select
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            present = pq.read_schema(source).names
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"{argument}: '{source}' is not readable as Parquet: {error}") from None

        def read(columns: list[str]) -> Any:
            return pq.read_table(source, columns=columns)

    _check.columns_present(required, present, argument=argument)
    return read([name for name in present if names is None or name in names])


def row_of(table: Any, row: int) -> dict[str, Any]:
    """Return one row as a mapping of column to value."""
    found: dict[str, Any] = table.slice(row, 1).to_pylist()[0]
    return found


def texts_of(column: Any) -> NDArray[Any]:
    """Return a column as texts, to compare with what was typed."""
    import pyarrow as pa

    return np.asarray(column.cast(pa.string()).to_numpy(zero_copy_only=False), dtype=object)


def arrow_table(frame: Any) -> Any:
    """Return a pandas frame or a mapping of columns as a pyarrow table."""
    import pyarrow as pa

    return pa.table(frame) if isinstance(frame, dict) else pa.Table.from_pandas(frame, preserve_index=False)


def write_table(table: Any, path: Path) -> None:
    """Write a table as Parquet, or as CSV where the name says so."""
    if path.suffix.lower() == ".csv":
        from pyarrow import csv

        csv.write_csv(table, path)
    else:
        import pyarrow.parquet as pq

        pq.write_table(table, path)
