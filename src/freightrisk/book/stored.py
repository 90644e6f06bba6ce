"""Storing books on disk: a folder with one file for each column, which is mapped into memory for reading."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check, _intake
from freightrisk._columns import ColumnNames, read
from freightrisk._intake import DEFAULT_CLOCK
from freightrisk._parallel import Helper
from freightrisk._parquet import ahead, batches, check_files, file_bar, parquet_files, table_of
from freightrisk._shown import counted, repr_of
from freightrisk._staged import is_full, probe, staged
from freightrisk.book.book import OrderBook, frames_book
from freightrisk.book.codings import Coding, code_type, line_coding
from freightrisk.book.doubts import CLAIM_ID, check_claims, warn_of_alike
from freightrisk.book.factors import MISSING, Band, Declaration
from freightrisk.book.joined import columns_of, rows_of_ids
from freightrisk.book.learning import all_bands, band_coding, pooled_coding, pools
from freightrisk.book.opened import DESCRIPTION, StoredBook, open_book
from freightrisk.book.recode import exact_sums, in_doubles
from freightrisk.errors import InputError

BATCH_ROWS = 2**19
CLAIM_COLUMNS = ("claim_row", "claim_amount", "claim_day", "reversed_row", "reversed_report_day", "reversed_day")
ORDER_COLUMNS = ("claim_count", "exposure", "ship_day", "order_row")


def store_book(
    folder: str | Path,
    orders: str | Path | Sequence[str | Path],
    claims: Any,
    *,
    factors: Sequence[Declaration | Coding],
    merchants: Any = None,
    as_of: Any = None,
    order_id: str = "order_id",
    merchant_id: str = "merchant_id",
    ship_date: str | None = "ship_date",
    exposure: str | None = None,
    freight: str = "freight",
    report_date: str | None = "report_date",
    reversed_date: str | None = None,
    lines: str | None = None,
    claim_id: str | None = CLAIM_ID,
    clock: str = DEFAULT_CLOCK,
    date_format: str | None = None,
    batch_rows: int = BATCH_ROWS,
    progress: bool = False,
) -> OrderBook:
    """Read orders from Parquet files and store their book in a folder; memory does not grow with the number of orders.

    The book equals the book of `OrderBook.from_frames`, but is on disk. Models read it piece by piece and then release
    the memory. The orders are read twice, first for the levels of the factors and then for their codes.

    Parameters
    ----------
    folder : path
        Folder of the new book, which must be empty or not exist. The folder appears only when the book is complete and
        on disk. A full disk raises an `OSError`. `open_book` opens the book again. For each order, the book usually
        needs 1 or 2 bytes for each factor, and 8 bytes each for exposure, day of shipment and row, if it has them.
    orders : path, or sequence of paths
        Parquet files. A folder means the ``*.parquet`` files in it, sorted by name, except names that begin with "." or
        "_".
    claims : pandas, polars or pyarrow table, or path of a Parquet file
        All claims are held in memory, about 150 bytes for each claim.
    factors : sequence of Factor, Band, Hierarchy or Coding
        As for `OrderBook.from_frames`. A `Band` needs its edges, because quantiles would need all orders at once.
    merchants, as_of, order_id, merchant_id, ship_date, exposure, freight, report_date, reversed_date, lines, claim_id
        As for `OrderBook.from_frames`.
    clock, date_format
        As for `OrderBook.from_frames`.
    batch_rows : int
        Largest number of orders in a batch. Two batches are in memory at a time.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    OrderBook

    Raises
    ------
    InputError
        As for `OrderBook.from_frames`; the message names the rows and the file. An order id that repeats in another
        batch is found only if the order has a claim.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from freightrisk import Factor, FrequencyModel, store_book
    >>> orders = pd.DataFrame({"order_id": range(8), "zone": ["near", "far"] * 4})
    >>> claims = pd.DataFrame({"order_id": [0, 1, 3], "freight": [8.0, 15.0, 17.0]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     orders.to_parquet(Path(folder, "orders.parquet"))
    ...     book = store_book(
    ...         Path(folder, "book"), Path(folder, "orders.parquet"), claims, factors=[Factor("zone")],
    ...         ship_date=None, report_date=None,
    ...     )
    ...     book.n_orders, round(FrequencyModel().fit(book).base, 6)
    (8, 0.5)
    """
    names = ColumnNames(
        order_id=order_id, merchant_id=merchant_id, ship_date=ship_date, exposure=exposure, freight=freight,
        report_date=report_date, reversed_date=reversed_date, claim_id=claim_id, date_format=date_format,
    )  # fmt: skip
    _intake.check_clock(clock)
    final, paths = _check.path(folder, argument="folder"), parquet_files(orders)
    progress = _check.flag(progress, argument="progress")
    if lines is not None:
        _check.label(lines, argument="lines")
    batch_rows = _check.whole(batch_rows, argument="batch_rows", low=1, high=2**30)
    _check_free(final)
    wanted = {*columns_of(factors), order_id, *(() if merchants is None else (merchant_id,))}
    wanted |= {name for name in (ship_date, exposure, lines) if name is not None}
    check_files(paths, wanted, [order_id])
    merchants = table_of(merchants, "merchants")
    joined = _Claims(claims, names, clock)
    with staged([final]) as (part,):
        part.mkdir()
        source = _Source(paths, wanted, batch_rows, joined, merchants, as_of, names, lines, clock, progress)
        codings = _learned(source, factors, lines)
        warn_of_alike(codings)
        _write(source, codings, part)
    return open_book(final)


def _check_free(final: Path) -> None:
    """Refuse a path where a folder cannot be made, or where a file or a folder with content exists."""
    try:
        if final.exists() and (not final.is_dir() or any(final.iterdir())):
            raise InputError(
                f"folder is '{final}', where a file or a folder with files exists already; give another path, or "
                "remove it."
            )
        if not final.parent.is_dir():
            raise InputError(f"folder is '{final}', but there is no folder '{final.parent}'; make it first.")
        probe(final)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError) or is_full(error):
            raise
        raise InputError(f"folder is '{final}', which cannot be written: {error}; give another path.") from None


class _Claims:
    """All claims, looked up by the orders of a batch, with the number of batches in which each order was found."""

    def __init__(self, claims: Any, names: ColumnNames, clock: str) -> None:
        import pandas as pd

        wanted = [name for name in (names.order_id, *names.of_claims) if name is not None]
        asked = [*wanted, *([] if names.claim_id is None else [names.claim_id])]
        how: dict[str, Any] = {"key": names.order_id, "clock": clock, "date_format": names.date_format}
        columns = read(claims, asked, argument="claims", **how)
        _check.columns_present(wanted, columns.names, argument="claims")
        self.frame: Any = columns.frame
        self.order_id = names.order_id
        place, ids = pd.factorize(columns.ids(names.order_id))
        columns.refuse(place < 0, f"claims: '{self.order_id}' is missing in {{rows}}; every row needs one.")
        check_claims(columns, place, order_id=names.order_id, claim_id=names.claim_id, read=names.of_claims)
        self.keys, self.ids, self.place = pd.Index(ids), ids, place
        # The claims of id k are by_key[starts[k] : starts[k] + counts[k]].
        self.by_key = np.argsort(place, kind="stable")
        self.counts = np.bincount(place, minlength=len(ids))
        self.starts = np.cumsum(self.counts) - self.counts
        self.met = np.zeros(len(ids), dtype=np.int32)

    def of(self, orders: Any) -> Any:
        """Return the claims of some orders, in the sequence of the claims table."""
        columns = read(orders, None, argument="orders")
        _check.columns_present([self.order_id], columns.names, argument="orders")
        keys = rows_of_ids(columns.ids(self.order_id), self.keys)
        keys = np.unique(keys[keys >= 0])
        self.met[keys] += 1
        # For each order, the places starts .. starts + counts - 1 of `by_key`, written as one array.
        first = np.repeat(self.starts[keys] - (np.cumsum(self.counts[keys]) - self.counts[keys]), self.counts[keys])
        rows = np.sort(self.by_key[first + np.arange(len(first))])
        return self.frame.iloc[rows] if hasattr(self.frame, "iloc") else self.frame.take(rows)

    def check(self) -> None:
        """Raise unless the order of every claim was found exactly once."""
        _check.refuse_rows(
            self.met[self.place] == 0,
            f"claims: '{self.order_id}' names no order in {{rows}}; add the orders or drop these claims.",
        )
        twice = np.flatnonzero(self.met > 1)
        if len(twice):
            raise InputError(
                f"orders: '{self.order_id}' repeats for {counted(len(twice), 'order')} in several batches (first: "
                f"{repr_of(self.ids[twice[:1]].tolist()[0])}); keep one row for each order."
            )


@dataclass(frozen=True)
class _Source:
    """Orders in files, with everything that turns a batch of them into a book."""

    paths: list[Path]
    wanted: set[str]
    batch_rows: int
    claims: _Claims
    merchants: Any
    as_of: Any
    names: ColumnNames
    lines: str | None
    clock: str
    progress: bool

    def books(self, factors: Sequence[Declaration | Coding], doing: str) -> Iterator[tuple[OrderBook, int]]:
        """Yield the book of each batch, and the number of rows of the batch."""

        def book_of(table: Any) -> tuple[OrderBook, int]:
            book = frames_book(
                table, self.claims.of(table), factors=factors, merchants=self.merchants, as_of=self.as_of,
                names=self.names, lines=self.lines, clock=self.clock, checked=True,
            )  # fmt: skip
            return book, table.num_rows

        self.claims.met[:] = 0
        with ExitStack() as stack:
            reading = stack.enter_context(Helper())
            bar = stack.enter_context(file_bar(self.paths, doing)) if self.progress else None
            for book, rows in ahead(reading, batches(self.paths, self.wanted, self.batch_rows, book_of)):
                if bar is not None:
                    bar.update(rows)
                yield book, rows
        self.claims.check()


def _learned(source: _Source, factors: Sequence[Declaration | Coding], lines: str | None) -> list[Coding]:
    """Return the codings learned from all orders together."""
    if lines is None and all(isinstance(factor, Coding) for factor in factors):
        return [factor for factor in factors if isinstance(factor, Coding)]
    tallies: dict[str, dict[Any, tuple[int, float]]] = {factor.name: {} for factor in factors}
    pooling = {factor.name for factor in factors if not isinstance(factor, Coding) and pools(factor)}
    most = 0
    for book, _ in source.books([_unpooled(factor) for factor in factors], "learning levels"):
        if lines is not None:
            most = max(most, book.codings[lines].n_levels)
        for name, tally in tallies.items():
            codes, paths = book.codes[name], book.codings[name].paths
            present = np.bincount(codes, minlength=len(paths)) > 0
            exposure = exact_sums(codes, book.exposure if name in pooling else None, len(paths))
            claims = np.bincount(codes, book.counts, len(paths)).tolist()
            for k in np.flatnonzero(present[: len(paths)]).tolist():
                before = tally.get(paths[k], (0, 0.0))
                tally[paths[k]] = (before[0] + exposure[k], before[1] + claims[k])
    # Rare levels are pooled only now, because a level may be rare in each batch and not in the book.
    codings = [_coding(factor, tallies[factor.name]) for factor in factors]
    known = [factor.name for factor in factors]
    return codings if lines is None or lines in known else [*codings, line_coding(lines, most)]


def _unpooled(factor: Declaration | Coding) -> Declaration | Coding:
    """Return the factor without pooling, so that a batch keeps all of its levels."""
    if isinstance(factor, Coding):
        return factor
    if isinstance(factor, Band):
        if isinstance(factor.edges, int):
            raise InputError(
                f"edges of band '{factor.name}' asks for {factor.edges} quantiles, but quantiles need all orders at "
                "once; give the edges."
            )
        return all_bands(factor, tuple(factor.edges), missing=factor.missing == "level")
    return replace(factor, min_exposure=0.0, min_claims=0)


def _coding(factor: Declaration | Coding, exact: dict[Any, tuple[int, float]]) -> Coding:
    if isinstance(factor, Coding):
        return factor
    # Exposures were summed as whole numbers, so the sums do not depend on the cut into batches.
    exposure = in_doubles([units for units, _ in exact.values()])
    tally = {path: (sum_, claims) for (path, (_, claims)), sum_ in zip(exact.items(), exposure, strict=True)}
    if not isinstance(factor, Band):
        return pooled_coding(factor, tally)
    edges = tuple(factor.edges) if not isinstance(factor.edges, int) else ()
    sums = np.array([tally.get((k,), (0.0, 0.0)) for k in range(len(edges) + 1)])
    return band_coding(factor, edges, sums[:, 0], sums[:, 1], missing=(MISSING,) in tally)


def _write(source: _Source, codings: list[Coding], folder: Path) -> None:
    """Write the columns of the book batch by batch, and then the document that describes them."""
    counts = np.dtype(code_type(int(source.claims.counts.max(initial=0)) + 1))
    kinds = {f"codes.{k}": np.dtype(code_type(coding.n_slots)) for k, coding in enumerate(codings)}
    kinds |= {"claim_count": counts, "exposure": np.dtype("f8"), "ship_day": np.dtype("M8[D]")}
    kinds |= {"order_row": np.dtype("i8"), "claim_row": np.dtype("i8"), "claim_amount": np.dtype("f8")}
    kinds |= {name: np.dtype("M8[D]") for name in ("claim_day", "reversed_report_day", "reversed_day")}
    kinds |= {"reversed_row": np.dtype("i8")}
    lengths: dict[str, int] = {}
    left_out: dict[str, int] = {}
    n_orders = table_rows = 0
    as_of = None

    def append(book: OrderBook, rows: int) -> None:
        columns: dict[str, Any] = {name: getattr(book, name) for name in (*ORDER_COLUMNS, *CLAIM_COLUMNS)}
        columns |= {f"codes.{k}": book.codes[coding.name] for k, coding in enumerate(codings)}
        # A batch numbers its rows and its orders from 0, and the book numbers them across all batches.
        columns["order_row"] = table_rows + (np.arange(rows) if book.order_row is None else book.order_row)
        for name in ("claim_row", "reversed_row"):
            columns[name] = columns[name] + n_orders
        for name, values in columns.items():
            if values is not None:
                lengths[name] = lengths.get(name, 0) + _append(files[name], values, kinds[name])
        for why, count in book.left_out.items():
            left_out[why] = left_out.get(why, 0) + count

    with ExitStack() as stack:
        files = {name: stack.enter_context((folder / f"{name}.bin").open("wb")) for name in kinds}
        for book, rows in source.books(codings, "coding"):
            append(book, rows)
            n_orders, table_rows, as_of = n_orders + book.n_orders, table_rows + rows, book.as_of
    if not n_orders:
        raise InputError("orders: no order is in force; a book needs at least one shipped order.")
    if n_orders == table_rows:  # the book has every row, so it needs no column of row numbers
        del lengths["order_row"]
    for name in kinds.keys() - lengths.keys():
        (folder / f"{name}.bin").unlink()
    stored = StoredBook(
        codings={coding.name: coding for coding in codings},
        columns={name: (kinds[name].str, length) for name, length in lengths.items()},
        as_of=None if as_of is None else str(as_of), left_out=left_out, lines=source.lines, table_rows=table_rows,
        clock=source.clock,
    )  # fmt: skip
    (folder / DESCRIPTION).write_bytes(stored.document())


def _append(file: BinaryIO, values: NDArray[Any], kind: np.dtype[Any]) -> int:
    """Write values, and raise if some of them could not be written; numpy's `tofile` would not raise."""
    file.write(np.ascontiguousarray(values.astype(kind, copy=False)).view(np.uint8).data)
    return len(values)
