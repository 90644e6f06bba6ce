"""Books on disk that may be larger than memory: storing from Parquet and fitting, and the growth of time with rows."""

import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.books import SIZES, coded_book, coded_orders, codes, tables, tariff
from benchmarks.fitting import Fits
from benchmarks.timing import LARGE, Line, apart, cores, medians
from freightrisk import Factor, FrequencyModel, OrderBook, Solver, open_book, store_book

PIECE = 1_000_000
COMPARED = 5_000_000
OPTIONS = {
    "factors": [Factor(name) for name in SIZES], "ship_date": None, "report_date": None, "exposure": "exposure",
}  # fmt: skip


def write_orders(folder: Path, n: int) -> None:
    """Write n orders and their claims as Parquet files, drawn one piece at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    relativities = tables(tuple(SIZES), np.random.default_rng(5))
    claimed, writer = [], None
    for first in range(0, n, PIECE):
        rows = min(PIECE, n - first)
        rng = np.random.default_rng([9, first])  # seeded by piece, so that a larger book begins with the same orders
        drawn, exposure, mean = codes(rows, rng), rng.uniform(0.2, 1.0, rows), np.full(rows, 0.1)
        for name, table in relativities.items():
            mean *= table[drawn[name]]
        ids = np.arange(first, first + rows)
        claimed.append(np.repeat(ids, rng.poisson(exposure * mean)))
        levels = {
            name: pa.DictionaryArray.from_arrays(column.astype(np.int16), np.arange(SIZES[name]))
            for name, column in drawn.items()
        }
        table = pa.table({"order_id": ids, "exposure": exposure} | levels)
        writer = writer or pq.ParquetWriter(folder / "orders.parquet", table.schema)
        writer.write_table(table, row_group_size=2**19)
    if writer is not None:
        writer.close()
    ids = np.concatenate(claimed)
    pq.write_table(pa.table({"order_id": ids, "freight": np.full(len(ids), 9.0)}), folder / "claims.parquet")


def store(folder: str) -> OrderBook:
    """Store the book of the orders and claims in a folder, beside them."""
    book = Path(folder, "book")
    return store_book(book, Path(folder, "orders.parquet"), Path(folder, "claims.parquet"), **OPTIONS)


def stored_lines(n: int, repeats: int) -> list[Line]:
    """Return the time to store a book from Parquet, to fit it, and to fit its first orders in memory.

    The ratio is the fit's time per order in memory over its time per order on disk. The first fit reads cold files.
    """
    threads = cores()
    with tempfile.TemporaryDirectory() as folder:
        write_orders(Path(folder), n)
        start = time.perf_counter()
        book = store(folder)
        stored = time.perf_counter() - start
        few = min(n, COMPARED)
        head = book.select(np.arange(n) < few)
        model = FrequencyModel()
        on_disk, in_memory = medians(
            repeats, lambda: model.fit(book, solver=Solver(threads=threads)), lambda: model.fit(head)
        )
        peaks = [apart(route, folder) for route in ("stored", "restored")]
    each = in_memory / few
    return [
        Line("Parquet to a book on disk", n, stored, None, None, peaks[1]),
        Line(f"fit: a book on disk, {threads} threads", n, on_disk, each / (on_disk / n), (1 / 1.3, 0.0), peaks[0]),
        Line("fit: its first orders in memory", few, in_memory),
    ]


def fit_stored(folder: str) -> None:
    """Fit the book of a folder."""
    FrequencyModel().fit(open_book(Path(folder, "book")), solver=Solver(threads=cores()))


def growth_lines(n: int, repeats: int) -> list[Line]:
    """Return fit and pricing for powers of ten of rows up to n, and the power p if time grows with rows as rows^p."""
    priced_by, threads, found = tariff(), cores(), []
    sizes = [10**k for k in range(5, 10) if 10**k <= n]
    seconds = np.empty((2, len(sizes)))
    for k, rows in enumerate(sizes):
        fits = Fits.of("poisson", coded_book(rows))
        _, coded = coded_orders(rows, priced_by)
        into = priced_by.buffers(rows)
        seconds[:, k] = medians(
            repeats,
            lambda fits=fits: fits.ours(threads),
            lambda coded=coded, into=into: priced_by.price_columns(coded, threads=threads, buffers=into),
        )
        peaks = [apart("ours", "poisson", rows), apart("at_once", rows)] if rows >= LARGE // 2 else [None, None]
        found += [
            Line(f"{what} {rows:.0e}", rows, seconds[j, k], None, None, peaks[j])
            for j, what in enumerate(("fit:", "price at once:"))
        ]
    if len(sizes) > 1:
        powers = [np.polyfit(np.log(sizes), np.log(taken), 1)[0] for taken in seconds]
        found += [
            Line(f"{what} time grows with rows to the power {power:.2f}", sizes[-1], taken[-1])
            for what, power, taken in zip(("fit:", "price:"), powers, seconds, strict=True)
        ]
    return found
