"""Parquet to Parquet: orders are priced batch after batch, while the next is read and the last is written."""

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from freightrisk import _check
from freightrisk._columns import ColumnNames, PricingColumns
from freightrisk._parallel import Helper
from freightrisk._parquet import NO_DATA, ahead, batches, check_files, file_bar, parquet_files, table_of
from freightrisk._staged import staged
from freightrisk.errors import InputError
from freightrisk.programme.priced import PricedBy, check_priced, quote_columns
from freightrisk.programme.version_pricing import VERSION
from freightrisk.tariff.balances import Balances, become, check_balances

BATCH_ROWS = 2**19
COMPRESSIONS = ("none", "snappy", "gzip", "brotli", "lz4", "zstd")

Batch = tuple[Any, Any]  # columns to keep, and orders that are encoded


def price_parquet(
    tariff: PricedBy,
    orders: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    merchants: Any = None,
    keep: Sequence[str] = (),
    balances: Balances | None = None,
    threads: int | None = None,
    detail: bool = True,
    campaigns: bool = False,
    batch_rows: int = BATCH_ROWS,
    compression: str = "lz4",
    progress: bool = False,
    **columns: Unpack[PricingColumns],
) -> dict[str, int]:
    """Price the orders of Parquet files into one Parquet file, in memory that does not grow with their number.

    Parameters
    ----------
    tariff : Tariff, Programme or Versions
        Of versions, quotes have the columns of all programmes, also if the files hold orders of one version only.
    orders : path, or sequence of paths
        Parquet files in the order in which they are priced; a folder stands for the ``*.parquet`` files in it, by name,
        except names that begin with "." or "_".
    out : path
        The file to write: a row for each order in the same order. It appears whole or not at all. Fen are 32 bits wide:
        cast them before a sum where a tool sums 32 bits in 32 bits, as polars does.
    merchants, threads, detail, campaigns, progress, columns
        As for `Tariff.price`.
    keep : sequence of str
        Columns of the orders that the quotes take over, such as the order's id.
    balances : Balances, optional
        What was spent of budgets before; updated once the output file is in place, and left as it was if the run fails
        or is interrupted. Budgets go on from each batch to the next, so that within a batch they serve orders by
        `priority` and time, and batches as they stand in the files.
    batch_rows : int
        Most orders in memory at a time (a few such batches are on their way).
    compression : str
        Of the columns of fen and flags: "none", "snappy", "gzip", "brotli", "lz4" or "zstd"; the steps of the premium
        are written as they are.

    Returns
    -------
    dict of str to int
        The number of orders, and the sum of each column of fen, also of fees.

    Raises
    ------
    InputError
        As for `Tariff.price`, saying in which rows of which file; before any work for arguments that cannot be right.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from freightrisk import Cover, Factor, FrequencyModel, OrderBook, SeverityModel, Tariff, price_parquet
    >>> orders = pd.DataFrame({"order_id": range(8), "zone": ["near", "far"] * 4})
    >>> claims = pd.DataFrame({"order_id": [0, 1, 3], "freight": [8.0, 15.0, 17.0]})
    >>> book = OrderBook.from_frames(orders, claims, factors=[Factor("zone")], ship_date=None, report_date=None)
    >>> tariff = Tariff.build(FrequencyModel().fit(book), SeverityModel().fit(book), cover=Cover(max_claims=1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     orders.to_parquet(Path(folder, "orders.parquet"))
    ...     price_parquet(tariff, Path(folder, "orders.parquet"), Path(folder, "quotes.parquet"), keep=["order_id"])
    {'orders': 8, 'list_fen': 3228, 'merchant_fen': 3228}
    """
    tariff = check_priced(tariff)
    check_balances(balances)
    detail, campaigns = _check.flag(detail, argument="detail"), _check.flag(campaigns, argument="campaigns")
    progress = _check.flag(progress, argument="progress")
    paths, out = parquet_files(orders), _check.output_path(out, argument="out")
    _check_apart(out, orders, [*paths, *([merchants] if isinstance(merchants, (str, Path)) else [])])
    keep = _kept(keep, tariff)
    batch_rows = _check.whole(batch_rows, argument="batch_rows", low=1, high=2**30)
    threads = _check.threads(threads)
    compression = _compression(compression)
    merchants = table_of(merchants, "merchants")
    names = ColumnNames.of(columns)
    wanted = _wanted(tariff, names, paths, keep, merchants)
    known = Balances() if balances is None else balances.copy()
    totals: dict[str, int] = {"orders": 0}

    def encode(table: Any) -> Batch:
        coded = tariff.encode(table, merchants=merchants, threads=threads, **columns)
        return table.select(keep), coded

    def spend() -> None:
        if balances is not None:
            become(balances, known)

    with ExitStack() as stack:
        (part,) = stack.enter_context(staged([out], then=spend))
        output = _Output(part, keep, compression, batch_rows)
        stack.callback(output.let_go)
        stack.push(output.close)  # once no thread writes any more
        reading, writing = stack.enter_context(Helper()), stack.enter_context(Helper())
        bar = stack.enter_context(file_bar(paths, "pricing")) if progress else None
        buffers = [tariff.buffers(batch_rows, detail=detail, campaigns=campaigns) for _ in range(2)]
        for k, (kept, coded) in enumerate(
            ahead(reading, batches(paths, wanted, batch_rows, encode, key=names.order_id))
        ):
            priced = tariff.pricer.price_columns(
                coded, threads=threads, detail=detail, campaigns=campaigns, balances=known, buffers=buffers[k % 2]
            )
            table = _table({name: _plain(kept.column(name)) for name in keep}, priced)
            writing.begin(partial(output.write, table))  # waits for what was priced into the other buffers
            if bar is not None:
                bar.update(coded.n_orders)
            _count(totals, coded.n_orders, priced)
        writing.result()
    return totals


class _Output:
    """A Parquet file that begins with its first table, whose types all others take.

    Parameters
    ----------
    path : Path
    keep : list of str
        Columns of the orders, which are written with dictionaries, as the version of quotes is.
    compression : str
        Of all columns but the steps of the premium.
    batch_rows : int
        Most rows of a row group.
    """

    def __init__(self, path: Path, keep: list[str], compression: str, batch_rows: int) -> None:
        self.path, self.keep, self.compression, self.batch_rows = path, keep, compression, batch_rows
        self.file: Any = None
        self.writer: Any = None

    def write(self, table: Any) -> None:
        """Append a table."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self.writer is None:
            steps = [one.name for one in table.schema if pa.types.is_floating(one.type) and one.name not in self.keep]
            plain = {name: "none" if name in steps else self.compression for name in table.column_names}
            listed = [*self.keep, VERSION]
            self.file = pa.OSFile(str(self.path), "wb")
            self.writer = pq.ParquetWriter(self.file, table.schema, use_dictionary=listed, compression=plain)
        try:
            table = table.cast(self.writer.schema)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise InputError(f"orders: a column of keep has another type than in the first file: {error}") from None
        self.writer.write_table(table, row_group_size=self.batch_rows)

    def close(self, _: object, failed: BaseException | None, __: object) -> None:
        """End the file; after a failure, a second one is not reported."""
        if self.writer is not None:
            with suppress(*([] if failed is None else [Exception])):
                self.writer.close()

    def let_go(self) -> None:
        """Release the file, whatever has failed."""
        # A writer that fails leaves its file open, and its bytes on the disk; deleted, it would close itself once more.
        if self.writer is not None:
            self.writer.is_open = False
        if self.file is not None:
            self.file.close()


def _wanted(tariff: PricedBy, names: ColumnNames, paths: Sequence[Path], keep: list[str], merchants: Any) -> set[str]:
    """Return the columns to read of the orders, once every file is known to hold those that it must."""
    wanted = {*map(names.of_role, tariff.columns_read), *keep}
    wanted |= set() if merchants is None else {names.merchant_id}
    wanted |= set() if names.priority is None else {names.priority}
    # The frame of merchants may hold the column of priority instead.
    by_priority = [names.priority] if names.priority is not None and tariff.in_sequence and merchants is None else []
    check_files(paths, wanted, [*keep, *by_priority])
    return wanted


def _count(totals: dict[str, int], n_orders: int, priced: dict[str, Any]) -> None:
    """Add a batch to the number of orders and to the sum of each column of fen."""
    totals["orders"] += n_orders
    for name, values in priced.items():
        if name.endswith("_fen") or name.startswith("fee: "):
            totals[name] = totals.get(name, 0) + int(values.sum(dtype=np.int64))


def _check_apart(out: Path, orders: Any, read: Sequence[str | Path]) -> None:
    """Refuse an output that is an input, or among the orders, where another run would take it for orders."""
    named = [orders] if isinstance(orders, (str, Path)) else orders
    folders = [Path(path).resolve() for path in named if Path(path).is_dir()]
    place = out.resolve()
    if place in [Path(path).resolve() for path in read]:
        raise InputError(f"out is '{out}', which is one of the files that are read; give another.")
    if place.parent in folders and place.match("*.parquet") and not place.name.startswith(NO_DATA):
        raise InputError(f"out is '{out}' in a folder of orders, where the next run would price it; give another.")


def _kept(keep: Sequence[str], tariff: PricedBy) -> list[str]:
    """Return the columns that the quotes take over."""
    given = [keep] if isinstance(keep, str) else _check.items(keep, argument="keep")
    names = [_check.label(name, argument="keep") for name in given]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"keep names '{twice[0]}' twice; name each column once.")
    clash = [name for name in names if name in quote_columns(tariff) or name.startswith("paid: ")]
    if clash:
        raise InputError(f"keep names '{clash[0]}', which is also a column of the quotes; rename it in the orders.")
    return names


def _compression(name: Any) -> str:
    """Return a compression that this build of pyarrow has."""
    import pyarrow as pa

    there = [one for one in COMPRESSIONS if one == "none" or pa.Codec.is_available(one)]
    return _check.one_of(name.lower() if isinstance(name, str) else name, there, argument="compression")


def _table(kept: dict[str, Any], columns: dict[str, Any]) -> Any:
    """Return the columns of a batch; no quote is missing, and columns that say so are written faster."""
    import pyarrow as pa

    # Texts have their type even without rows: the first batch decides the types of the file.
    texts = {name: pa.array(v, pa.string()) for name, v in columns.items() if v.dtype == object}
    found = pa.table(kept | columns | texts)
    fields = [field if field.name in kept else field.with_nullable(False) for field in found.schema]
    return found.cast(pa.schema(fields))


def _plain(column: Any) -> Any:
    """Return a column as it is in its file, where texts were read as categories."""
    import pyarrow as pa

    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
