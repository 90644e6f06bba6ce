"""`python -m benchmarks.peaks ROUTE ...` prints the peak memory of a route above its data, in megabytes."""

import sys
import tempfile
from pathlib import Path

from benchmarks.timing import cores, peak_above


def ours(family: str, n: str) -> float:
    """Return the peak of our fit."""
    from benchmarks.books import coded_book
    from benchmarks.fitting import Fits

    Fits.of(family, coded_book(500_000)).ours(1)  # a first fit, because imported modules are not memory of the fit
    fits = Fits.of(family, coded_book(int(n)))
    return peak_above(lambda: fits.ours(cores()))


def glum(family: str, n: str) -> float:
    """Return the peak of glum's fit; its design matrix counts as data."""
    from benchmarks.books import coded_book
    from benchmarks.fitting import Fits

    few = Fits.of(family, coded_book(500_000))
    few.theirs(few.design())
    fits = Fits.of(family, coded_book(int(n)))
    design = fits.design()
    return peak_above(lambda: fits.theirs(design))


def parquet(source: str) -> float:
    """Return the peak of pricing a Parquet file into another."""
    from benchmarks.books import tariff
    from freightrisk import price_parquet

    with tempfile.TemporaryDirectory() as folder:
        return peak_above(lambda: price_parquet(tariff(), source, Path(folder, "quotes.parquet")))


def at_once(n: str) -> float:
    """Return the peak of pricing coded orders at once, including the quotes."""
    from benchmarks.books import coded_orders, tariff

    priced_by = tariff()
    _, few = coded_orders(1_000, priced_by)
    priced_by.price_columns(few, threads=cores())
    _, coded = coded_orders(int(n), priced_by)
    return peak_above(lambda: priced_by.price_columns(coded, threads=cores()))


def stored(folder: str) -> float:
    """Return the peak of fitting a book on disk."""
    from benchmarks.stored import fit_stored

    return peak_above(lambda: fit_stored(folder))


def restored(folder: str) -> float:
    """Return the peak of storing a book again."""
    import shutil

    from benchmarks.stored import store

    shutil.rmtree(Path(folder, "book"))
    return peak_above(lambda: store(folder))


if __name__ == "__main__":
    routes = {route.__name__: route for route in (ours, glum, parquet, at_once, stored, restored)}
    print(routes[sys.argv[1]](*sys.argv[2:]))
