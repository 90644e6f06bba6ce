"""Parquet files as batches of orders, read one ahead, with refusals that name file and rows."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from freightrisk.errors import InputError

Read = TypeVar("Read")


def parquet_files(orders: str | Path | Sequence[str | Path]) -> list[Path]:
    """Return the files that were named, those of a folder by name."""
    named = [Path(orders)] if isinstance(orders, (str, Path)) else [Path(path) for path in orders]
    paths = [file for path in named for file in (sorted(path.glob("*.parquet")) if path.is_dir() else [path])]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise InputError(f"orders: there is no file '{missing[0]}'; give Parquet files, or folders of them.")
    if not paths:
        raise InputError(f"orders: there is no *.parquet in {', '.join(map(repr, map(str, named))) or 'the list'}.")
    return paths


def batches(paths: Sequence[Path], wanted: set[str], batch_rows: int, use: Callable[[Any], Read]) -> Iterator[Read]:
    """Yield what `use` makes of each batch of each file; at least one, so that no rows give a file of no rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in paths:
        try:
            schema = pq.read_schema(path)
            texts = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_binary(field.type)]
            # Read ahead by pyarrow, whole files would stay in memory until their end.
            file = pq.ParquetFile(path, read_dictionary=texts, pre_buffer=False)
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"orders: '{path}' is not readable as Parquet: {error}") from None
        names, first = [name for name in schema.names if name in wanted], 0
        with file:
            for batch in file.iter_batches(batch_size=batch_rows, columns=names):
                table = pa.Table.from_batches([batch])
                yield _used(use, table, f"'{path}', rows counted from row {first:,}")
                first += batch.num_rows
            if first == 0:
                yield _used(use, file.schema_arrow.empty_table().select(names), f"'{path}'")


def _used(use: Callable[[Any], Read], table: Any, where: str) -> Read:
    try:
        return use(table)
    except InputError as error:
        raise InputError(f"in {where}: {error}") from None


def ahead(reader: ThreadPoolExecutor, batches: Iterator[Read]) -> Iterator[Read]:
    """Yield what an iterator yields, one element ahead on another thread."""
    coming = reader.submit(next, batches, None)
    while (found := coming.result()) is not None:
        coming = reader.submit(next, batches, None)
        yield found


def progress_bar(paths: Sequence[Path], doing: str) -> Any:
    """Return a progress bar of the orders of some files."""
    import pyarrow.parquet as pq
    from tqdm.auto import tqdm

    total = sum(pq.read_metadata(path).num_rows for path in paths)
    return tqdm(total=total, unit=" orders", unit_scale=True, desc=doing)
