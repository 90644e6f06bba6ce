"""Files of the command line: inputs as the library reads them, outputs that appear whole or not at all."""

import codecs
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from freightrisk import _check
from freightrisk._columns import read
from freightrisk._intake import Refused, id_of
from freightrisk._shown import cell, counted, repr_of, shown
from freightrisk._staged import is_full, probe
from freightrisk.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd", ".zip": "zip"}


def check_outputs(outputs: Sequence[Path], *, inputs: Iterable[Path | None], may_make_folder: bool = False) -> None:
    """Refuse, before any work, outputs that cannot be written or that would overwrite an input or each other."""
    taken = {path.resolve(): path for path in inputs if path is not None}
    for path in outputs:
        if path.is_dir():
            raise InputError(f"output '{path}' is a folder; give the name of a file.")
        # Resolved, because two spellings or a link may name one file.
        if path.resolve() in taken:
            raise InputError(f"output '{path}' is also an input or another output; give it a name of its own.")
        folder = path.parent.parent if may_make_folder and not path.parent.exists() else path.parent
        if not folder.is_dir():
            raise InputError(f"output '{path}' would go to '{folder}', which is not a folder; create it first.")
        if path.exists() and not path.is_file():
            raise InputError(f"output '{path}' is not a regular file; give the name of a file.")
        try:
            probe(path if path.parent.exists() else path.parent)
        except (OSError, ValueError) as error:
            if is_full(error):
                raise
            raise InputError(f"output '{path}' cannot be written: {error}; give another path.") from None
        taken[path.resolve()] = path


def source_of(path: Path, argument: str, *, encoding: str = "utf-8") -> Any:
    """Return a source that the library reads: the path of a Parquet file, or a CSV file as a table of texts.

    The kind of the column decides what a text means, as in any other table. An empty field is missing; "" is a text.
    """
    if not path.is_file():
        raise InputError(f"{argument}: there is no file '{path}'; give a Parquet or CSV file.")
    if path.suffix.lower() != ".csv":
        return path
    import pyarrow as pa
    from pyarrow import csv

    notes = csv.ParseOptions(newlines_in_values=True)  # otherwise a quoted field with a line break may become two rows
    try:
        if not codecs.lookup(encoding)._is_text_encoding:
            raise LookupError
        how = {"read_options": csv.ReadOptions(encoding=encoding), "parse_options": notes}
        names = csv.open_csv(path, **how).schema.names
        types = dict.fromkeys(names, pa.string())
        options = csv.ConvertOptions(
            column_types=types, strings_can_be_null=True, quoted_strings_can_be_null=False, null_values=[""]
        )
        return csv.read_csv(path, **how, convert_options=options)
    except LookupError:
        raise InputError(
            f"encoding is '{encoding}', which is not known; give utf-8 or gb18030, for instance."
        ) from None
    except (pa.ArrowInvalid, UnicodeError) as error:
        cure = "correct the file"
        if isinstance(error, UnicodeError) or "UTF8" in str(error).upper().replace("-", ""):
            cure = f"it is not encoded in {encoding}; save it as UTF-8 or give its encoding, as in --encoding gb18030"
        raise InputError(f"{argument}: '{path}' is not readable as CSV: {error}; {cure}.") from None


def row_with_id(source: Any, column: str, wanted: Any, *, argument: str, needed: Iterable[str] = ()) -> dict[str, Any]:
    """Return the one row of a table or file with the wanted id, as a mapping of column to value.

    A mapping holds one value for each column, so the table must not have a `needed` column twice.
    """
    table = read(source, None, argument=argument, key=column)
    _check.columns_present([column], table.names, argument=argument)
    for name in needed:
        table.refuse_twice(name)
    ids = table.ids(column)
    try:
        known = id_of(wanted)
    except Refused as refused:
        raise InputError(f"{column} is {repr_of(wanted)}, which {refused.fault}; {refused.cure}.") from None
    rows = np.flatnonzero(ids == known)
    if len(rows) != 1:
        some = ", ".join(map(str, ids[:3].tolist()))
        raise InputError(
            f"{argument}: '{column}' is '{wanted}' in {len(rows)} of {counted(len(ids), 'row')}; give an id of "
            f"exactly one row, such as {some}."
        )
    return {name: table.value(name, int(rows[0])) for name in table.names}


def kept_columns(source: Any, keep: Sequence[str], *, argument: str) -> dict[str, Any]:
    """Return columns of a table or file that an output repeats, by name; refuse names that are absent or not unique."""
    table = read(source, keep, argument=argument)
    _check.columns_present(keep, table.names, argument=argument)
    for name in keep:
        table.refuse_twice(name)
    if len(set(keep)) < len(keep):
        raise InputError(f"--keep names '{max(keep, key=list(keep).count)}' twice; name each column once.")
    return {name: table.frame.column(name) for name in keep}


def refuse_clash(keep: Sequence[str], names: Iterable[str], *, of: str, inside: str) -> None:
    """Refuse repeated columns that have the name of a column of the result."""
    clash = [name for name in keep if name in [*names]]
    if clash:
        raise InputError(f"--keep names '{clash[0]}', which is also a column of {of}; rename it in the {inside}.")


def row_of(table: Any, row: int) -> dict[str, Any]:
    """Return one row as a mapping of column to value."""
    found: dict[str, Any] = table.slice(row, 1).to_pylist()[0]
    return found


def arrow_table(frame: Any) -> Any:
    """Return a pandas frame or a mapping of columns as a pyarrow table."""
    import pyarrow as pa

    if not isinstance(frame, dict):
        return pa.Table.from_pandas(frame, preserve_index=False)
    # Without a type, a column of texts without rows would have the type null.
    texts = {name: pa.array([], pa.string()) for name, v in frame.items() if _is_empty_text(v)}
    return pa.table(frame | texts)


def _is_empty_text(column: Any) -> bool:
    return isinstance(column, np.ndarray) and column.dtype == object and not len(column)


def write_report(frame: "pd.DataFrame", path: Path, *, name: Path | None = None) -> None:
    """Write a report as CSV for people: a text that a spreadsheet would run as a formula gets an apostrophe in front.

    `write_table` writes data for programs, such as quotes with their ids, and changes nothing in it.
    """
    safe = frame.rename(columns=lambda name: cell(shown(str(name))))
    for place, column in enumerate(frame.columns):
        if not np.issubdtype(np.asarray(frame[column]).dtype, np.number):
            texts = [cell(shown(value)) if isinstance(value, str) else value for value in frame[column].tolist()]
            safe.isetitem(place, np.array(texts, dtype=object))
    # The byte order mark tells spreadsheets that the file is UTF-8. Without it they garble Chinese.
    safe.to_csv(path, index=False, encoding="utf-8-sig", compression=compression_of(name or path))


def compression_of(path: Path) -> dict[str, str] | None:
    """Return pandas' compression for a CSV file of that name."""
    method = COMPRESSIONS.get(path.suffix.lower())
    if method == "zip":
        return {"method": method, "archive_name": path.stem}
    return None if method is None else {"method": method}


def write_table(table: Any, path: Path, *, name: Path | None = None) -> None:
    """Write a table as CSV if its final name ends in .csv, otherwise as Parquet."""
    if (name or path).suffix.lower() == ".csv":
        from pyarrow import csv

        csv.write_csv(table, path)
    else:
        import pyarrow.parquet as pq

        pq.write_table(table, path)
