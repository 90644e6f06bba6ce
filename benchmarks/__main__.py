"""`python -m benchmarks` prints the table; `--check` runs small sizes and fails on ratios."""

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from itertools import cycle
from pathlib import Path

import numpy as np

from benchmarks.books import DISPERSION, SIZES, campaigns, coded_book, coded_orders, tariff
from benchmarks.routes import Columns, NumpyRoute, price_whole_columns
from freightrisk import Balances, Tariff
from freightrisk.models.design import Layout, free_term
from freightrisk.models.table_model import Problem, solve
from freightrisk.tariff.quotes import CodedOrders

# The least ratio to the peer that is accepted: at full size, and at the small size of a check.
# Of campaigns the peer is the same kernel without subsidies, and the ratio is the share of its rate that is left.
BARS = {"price": (20.0, 1.5), "campaigns": (0.4, 0.25), "fit": (2.0, 2.0)}
CHECK_SIZES = {"price": 1_000_000, "campaigns": 2_000_000, "fit": 500_000}
FULL_SIZES = {"price": 10_000_000, "campaigns": 10_000_000, "fit": 5_000_000}
BATCH = 500_000


@dataclass(frozen=True)
class Line:
    """One line of the table: what ran, on how many orders, the median seconds and the ratio to the peer."""

    what: str
    orders: int
    seconds: float
    ratio: float | None = None

    def __str__(self) -> str:
        rate = f"{self.orders / self.seconds / 1e6:8.2f} M orders/s"
        ratio = "" if self.ratio is None else f"{self.ratio:8.2f}x"
        return f"{self.what:<46} {self.orders:>12,} {self.seconds:9.3f} s {rate} {ratio}"


def medians(repeats: int, *routes: Callable[[], object]) -> list[float]:
    """Return the median seconds of each route, run in turn after one warm-up of each."""
    seconds: list[list[float]] = [[] for _ in routes]
    for repeat in range(repeats + 1):
        for route, taken in zip(routes, seconds, strict=True):
            start = time.perf_counter()
            route()
            if repeat:
                taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in seconds]


def price_lines(n: int, repeats: int) -> list[Line]:
    """Return kernel and numpy pricing of the full quote, after checking that they give the same ledger.

    The book is priced in batches, by each route in turn and into the same buffers again, as a pipeline would. The time
    of the book is that of the median batch times their number, so that a pause of the machine has no say.
    """
    priced_by = tariff()
    threads = len(os.sched_getaffinity(0))
    blocks = NumpyRoute(priced_by, DISPERSION)
    into, out = priced_by.buffers(BATCH), blocks.buffers(BATCH)
    batches = [coded_orders(BATCH, priced_by, seed=seed) for seed in range(n // BATCH)]

    def ours(used: int, codes: Columns, coded: CodedOrders) -> Columns:
        return priced_by.price_columns(coded, threads=used, buffers=into)

    def numpy_in_blocks(used: int, codes: Columns, coded: CodedOrders) -> Columns:
        return blocks.price(codes, BATCH, threads=used, out=out)

    def numpy_whole(codes: Columns, coded: CodedOrders) -> Columns:
        return price_whole_columns(priced_by, DISPERSION, codes)

    def over_the_book(route: Callable[[Columns, CodedOrders], object]) -> Callable[[], object]:
        turn = cycle(batches)
        return lambda: route(*next(turn))

    for batch in batches[:2]:
        _same_ledger(ours(threads, *batch), numpy_in_blocks(threads, *batch))
        _same_ledger(ours(threads, *batch), numpy_whole(*batch))
    routes = [partial(ours, 1), partial(ours, threads), partial(numpy_in_blocks, 1), partial(numpy_in_blocks, threads)]
    seconds = medians(repeats * len(batches), *map(over_the_book, [*routes, numpy_whole]))
    one, many, numpy_one, numpy_many, whole = (len(batches) * second for second in seconds)
    best = min(numpy_one, numpy_many, whole)
    return [
        Line("price: freightrisk, 1 thread", n, one, numpy_one / one),
        Line(f"price: freightrisk, {threads} threads", n, many, best / many),
        Line("price: numpy in blocks, 1 thread", n, numpy_one),
        Line(f"price: numpy in blocks, {threads} threads", n, numpy_many),
        Line("price: numpy on whole columns", n, whole),
    ]


def campaign_lines(n: int, repeats: int) -> list[Line]:
    """Return pricing without subsidies, and with twelve campaigns whose three budgets end within the book or do not.

    The book is priced in batches, budgets going on from each to the next. Its time is the sum of the median times of
    its batches: a pause of the machine has no say, and a batch in which a budget ends has a time of its own. Every run
    that is timed follows the same one untimed, so that none has to fetch its orders from memory put aside.
    """
    threads = len(os.sched_getaffinity(0))
    plain = replace(tariff(), subsidies=())
    ample = plain.with_subsidies(campaigns(budget_fen=10**13))
    numbers = range(max(1, n // BATCH))
    orders = [coded_orders(BATCH, ample, seed=seed)[1] for seed in numbers]
    plain_orders = [coded_orders(BATCH, plain, seed=seed)[1] for seed in numbers]
    into, plain_into = ample.buffers(BATCH, detail=False), plain.buffers(BATCH, detail=False)

    def price(priced_by: Tariff, k: int, balances: Balances) -> None:
        if priced_by is plain:
            plain.price_columns(plain_orders[k], threads=threads, detail=False, buffers=plain_into)
        else:
            priced_by.price_columns(orders[k], threads=threads, detail=False, balances=balances, buffers=into)

    def spent(priced_by: Tariff) -> dict[str, int]:
        balances = Balances()
        for k in numbers:
            price(priced_by, k, balances)
        return balances.spent

    budgets = {name: fen * (k + 1) // 4 for k, (name, fen) in enumerate(spent(ample).items())}
    ending = plain.with_subsidies(
        [replace(rule, budget_fen=budgets[rule.name]) if rule.is_limited else rule for rule in ample.subsidies]
    )
    if spent(ending) != budgets:
        raise SystemExit("the budgets did not end at zero")
    routes = (plain, ending, ample)
    seconds = np.empty((len(routes), len(numbers), repeats))
    for repeat in range(repeats):
        balances = [Balances() for _ in routes]
        for k in numbers:
            for route, priced_by in enumerate(routes):
                price(priced_by, k, balances[route].copy())
                start = time.perf_counter()
                price(priced_by, k, balances[route])
                seconds[route, k, repeat] = time.perf_counter() - start
    base, harsh, mild = np.median(seconds, axis=2).sum(axis=1).tolist()
    n = BATCH * len(numbers)
    return [
        Line(f"price: no subsidies, {threads} threads", n, base),
        Line("price: 12 campaigns, 3 budgets that end", n, harsh, base / harsh),
        Line("price: 12 campaigns, 3 budgets that do not end", n, mild, base / mild),
    ]


def _same_ledger(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    """Numpy interpolates linearly, so a premium within 1e-7 of a tie may round the other way: by one fen, rarely."""
    gap = np.abs(ours["list_fen"] - theirs["list_fen"])
    if gap.max() > 1 or (gap > 0).mean() > 1e-5:
        raise SystemExit(f"the numpy route prices {(gap > 0).sum()} orders otherwise, by up to {gap.max()} fen")
    same = gap == 0
    for name in ("platform_fen", "insurer_fen", "supplier_fen", "merchant_fen"):
        if not np.array_equal(ours[name][same], theirs[name][same]):
            raise SystemExit(f"the numpy route has another {name}")


def fit_lines(n: int, repeats: int) -> list[Line]:
    """Return our fit and glum's, after checking that the coefficients agree to 1e-7."""
    import tabmat
    from glum import GeneralizedLinearRegressor

    book = coded_book(n)
    references = {name: int(np.bincount(codes, book.exposure).argmax()) for name, codes in book.codes.items()}
    layout = Layout(tuple(free_term(name, np.ones(size, bool), references[name]) for name, size in SIZES.items()))
    labels = {name: tuple(map(str, range(size))) for name, size in SIZES.items()}
    problem = Problem("poisson", book.codes, SIZES, book.claims, book.exposure)
    threads = len(os.sched_getaffinity(0))

    def ours(used: int) -> np.ndarray:
        solution = solve(problem, layout, labels, tolerance=1e-8, max_iterations=50, threads=used)
        return solution.state.dense

    design = tabmat.SplitMatrix(
        [
            tabmat.CategoricalMatrix(_categorical(book.codes[name], size, references[name]), drop_first=True)
            for name, size in SIZES.items()
        ]
    )
    rate = book.claims / book.exposure

    def theirs() -> np.ndarray:
        model = GeneralizedLinearRegressor(
            family="poisson", alpha=0, fit_intercept=True, gradient_tol=1e-10, max_iter=50
        )
        model.fit(design, rate, sample_weight=book.exposure)
        return np.concatenate([[model.intercept_], model.coef_])

    gap = np.abs(ours(threads) - theirs()).max()
    if gap > 1e-7:
        raise SystemExit(f"glum's coefficients differ by up to {gap:.2g}")
    one, many, peer = medians(repeats, lambda: ours(1), lambda: ours(threads), theirs)
    return [
        Line("fit: freightrisk, 1 thread", n, one, peer / one),
        Line(f"fit: freightrisk, {threads} threads", n, many, peer / many),
        Line(f"fit: glum (largest coefficient gap {gap:.0e})", n, peer),
    ]


def _categorical(codes: np.ndarray, size: int, reference: int):
    """Return a pandas categorical whose first category is the reference, so that both fits drop the same level."""
    import pandas as pd

    order = np.concatenate([[reference], np.delete(np.arange(size), reference)])
    place = np.empty(size, dtype=np.int32)
    place[order] = np.arange(size)
    return pd.Categorical.from_codes(place[codes], categories=order)


def page(lines: list[Line]) -> str:
    """Return the table as a page of the documentation."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("freightrisk", "numpy", "scipy", "glum", "tabmat"))
    rows = [
        f"| {line.what} | {line.orders:,} | {line.seconds:.3f} | {line.orders / line.seconds / 1e6:.2f} | "
        f"{'' if line.ratio is None else f'{line.ratio:.2f}'} |"
        for line in lines
    ]
    return "\n".join(
        [
            "# Benchmarks",
            "",
            "Written by `python -m benchmarks --write docs/benchmarks.md`. Medians of interleaved runs in one process;",
            "a ratio is the peer's time over ours, for the same number of threads on one thread and for the peer's",
            "faster variant otherwise. Read the ratios; seconds belong to the machine.",
            "",
            "Pricing writes the full quote of coded orders (seven factors in the frequency, six in the severity, two",
            "curves, three subsidy rules, every step and every payer) in batches into the same buffers; the time of",
            "the book is that of its median batch times their number. The fits reach the same coefficients: glum runs",
            "at a gradient tolerance of 1e-10, since its default leaves differences of 1e-3.",
            "",
            "The twelve campaigns are priced without the steps of the premium, batch after batch; their ratio is the",
            "share that is left of the rate without subsidies.",
            "",
            f"Machine: {_processor()}, {len(os.sched_getaffinity(0))} cores, {platform.system()}. {packages}.",
            "",
            "| what | orders | seconds | million orders a second | ratio |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    return names[0] if names else platform.processor()


def main(argv: list[str] | None = None) -> int:
    """Run the benchmarks; return 1 where a ratio is under its bar."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--check", action="store_true", help="small sizes; fail on ratios")
    parser.add_argument("--only", choices=sorted(BARS), help="one of the benchmarks")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--write", type=Path, help="write the table as a page")
    options = parser.parse_args(argv)
    sizes = CHECK_SIZES if options.check else FULL_SIZES
    runs = {"price": price_lines, "campaigns": campaign_lines, "fit": fit_lines}
    lines: list[Line] = []
    failed = []
    for what in [options.only] if options.only else runs:
        found = runs[what](sizes[what], options.repeats)
        print(*found, sep="\n", flush=True)
        bar = BARS[what][options.check]
        if found[1].ratio < bar:
            failed.append(f"{found[1].what}: {found[1].ratio:.2f}x, under the bar of {bar:g}x")
        lines += found
    if options.write:
        options.write.write_text(page(lines))
    print("\n".join(failed) or "every ratio is above its bar")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
