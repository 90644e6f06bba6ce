"""Parquet files as batches of orders, read one batch ahead; errors name the file and the rows."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from freightrisk import _check
from freightrisk._columns import read
from freightrisk._parallel import Helper
from freightrisk._progress import progress_bar
from freightrisk.errors import InputError

Read = TypeVar("Read")

NO_DATA = (".", "_")  # first characters of unfinished files and markers, as in Spark and pyarrow; these are not data


def parquet_files(orders: str | Path | Sequence[str | Path]) -> list[Path]:
    """Return the files that were given; the files of a folder are sorted by name."""
    wanted = "give the path of a Parquet file or folder, or a list of paths"
    given = [orders] if isinstance(orders, (str, Path)) else _check.items(orders, argument="orders", such=wanted)
    named = [_check.path(path, argument="orders") for path in given]
    paths = [file for path in named for file in (_in_folder(path) if path.is_dir() else [path])]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise InputError(f"orders: there is no file '{missing[0]}'; give Parquet files, or folders of them.")
    texts = [path for path in paths if path.suffix.lower() == ".csv"]
    if texts:
        raise InputError(
            f"orders: '{texts[0]}' is a CSV file; write it as Parquet, or use the command line, which reads CSV."
        )
    if not paths:
        raise InputError(
            f"orders: there is no *.parquet in {', '.join(map(repr, map(str, named))) or 'the list'}; files whose "
            "names begin with '.' or '_' are not read."
        )
    return paths


def _in_folder(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.parquet") if not path.name.startswith(NO_DATA))


def check_files(paths: Iterable[Path], wanted: set[str], required: Sequence[str]) -> None:
    """Refuse, before any work, files that are not Parquet, lack a column, or have a wanted column twice."""
    import pyarrow.parquet as pq

    for path in paths:
        with _readable(path):
            names = pq.read_schema(path).names
        _columns_once(path, names, wanted)
        _check.columns_present(required, names, argument=f"orders: in '{path}'")


def table_of(source: Any, argument: str) -> Any:
    """Return the table of a file, a lazy frame or a reader, which is read only once; None for None."""
    return None if source is None else read(source, None, argument=argument).frame


def batches(
    paths: Sequence[Path], wanted: set[str], batch_rows: int, use: Callable[[Any], Read], *, key: str = ""
) -> Iterator[Read]:
    """Yield the result of `use` for each batch of each file; a file without rows gives one empty batch.

    Besides the `wanted` columns, messages use the column `key`, if it stands in the file once.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in paths:
        with _readable(path):
            schema = pq.read_schema(path)
            texts = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_binary(field.type)]
            # pre_buffer=False, because pyarrow would otherwise keep each whole file in memory until its end.
            file = pq.ParquetFile(path, read_dictionary=texts, pre_buffer=False)
        _columns_once(path, schema.names, wanted)
        by_key = {key} if schema.names.count(key) == 1 else set()
        names, first = [name for name in schema.names if name in wanted | by_key], 0
        with file:
            for batch in _whole(path, file.iter_batches(batch_size=batch_rows, columns=names)):
                table = pa.Table.from_batches([batch])
                yield _used(use, table, f"'{path}', rows counted from row {first:,}")
                first += batch.num_rows
            if first == 0:
                yield _used(use, file.schema_arrow.empty_table().select(names), f"'{path}'")


def _whole(path: Path, found: Iterator[Any]) -> Iterator[Any]:
    """Yield batches, and refuse a damaged one; damage after the file's metadata is found only at this stage."""
    while True:
        with _readable(path):
            batch = next(found, None)
        if batch is None:
            return
        yield batch


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, UnicodeError) as error:  # a column name may not be UTF-8
        raise InputError(f"orders: '{path}' is not readable as Parquet: {error}; export the file again.") from None


def _columns_once(path: Path, names: Sequence[str], wanted: set[str]) -> None:
    twice = [name for name in names if name in wanted and names.count(name) > 1]
    if twice:
        raise InputError(f"orders: column '{twice[0]}' stands twice in '{path}'; drop or rename one.")


def _used(use: Callable[[Any], Read], table: Any, where: str) -> Read:
    try:
        return use(table)
    except InputError as error:
        raise InputError(f"in {where}: {error}") from None


def ahead(reader: Helper, batches: Iterator[Read]) -> Iterator[Read]:
    """Yield the elements of an iterator, reading one element ahead on another thread."""

    def read_on() -> Read | None:
        return next(batches, None)

    reader.begin(read_on)
    while (found := reader.result()) is not None:
        reader.begin(read_on)
        yield found


def file_bar(paths: Sequence[Path], doing: str) -> Any:
    """Return a progress bar of the orders of some files."""
    import pyarrow.parquet as pq

    return progress_bar(sum(pq.read_metadata(path).num_rows for path in paths), doing)
