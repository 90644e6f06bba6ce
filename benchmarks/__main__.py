"""`python -m benchmarks` prints the table; `--check` runs small sizes and fails on ratios."""

import argparse
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.fitting import gamma_lines, leaf_lines, poisson_lines
from benchmarks.limits import limit_lines
from benchmarks.loads import load_lines
from benchmarks.numba_route import read_table
from benchmarks.pricing import (
    campaign_lines,
    core_lines,
    frame_lines,
    haute_lines,
    import_lines,
    parquet_lines,
    price_lines,
    quote_lines,
)
from benchmarks.programmes import programme_lines
from benchmarks.settling import aggregate_lines, settle_lines
from benchmarks.stored import growth_lines, stored_lines
from benchmarks.timing import Line, cores, medians, processor

PEERS = ("numpy", "scipy", "pandas", "pyarrow", "numba", "glum", "tabmat")


@dataclass(frozen=True)
class Benchmark:
    """A benchmark, with its number of orders at full size and for a check; 0 leaves it out of checks, for its time."""

    lines: Callable[[int, int], list[Line]]
    full: int
    check: int


# By name: the function, and its rows at full size and in a check.
BENCHMARKS = {
    "price": Benchmark(price_lines, 10_000_000, 1_000_000),
    "haute": Benchmark(haute_lines, 5_000_000, 0),
    "core": Benchmark(core_lines, 10_000_000, 1_000_000),
    "frame": Benchmark(frame_lines, 10_000_000, 1_000_000),
    "limits": Benchmark(limit_lines, 5_000_000, 1_000_000),
    "loads": Benchmark(load_lines, 5_000_000, 1_000_000),
    "programme": Benchmark(programme_lines, 5_000_000, 500_000),
    "quote": Benchmark(quote_lines, 1, 1),
    "import": Benchmark(import_lines, 1, 0),
    "parquet": Benchmark(parquet_lines, 100_000_000, 1_000_000),
    "campaigns": Benchmark(campaign_lines, 10_000_000, 2_000_000),
    "settle": Benchmark(settle_lines, 1_000_000, 100_000),
    "aggregates": Benchmark(aggregate_lines, 100_000, 0),
    "fit": Benchmark(poisson_lines, 5_000_000, 500_000),
    "severity": Benchmark(gamma_lines, 5_000_000, 300_000),
    "leaves": Benchmark(leaf_lines, 5_000_000, 0),
    "stored": Benchmark(stored_lines, 100_000_000, 1_000_000),
    "growth": Benchmark(growth_lines, 10_000_000, 1_000_000),
}


def copy_line(n: int = 10_000_000, repeats: int = 9) -> Line:
    """Return the time of copying n doubles, which cause 16 bytes of memory traffic each: a measure of the machine."""
    source, target = np.ones(n), np.empty(n)
    (seconds,) = medians(repeats, lambda: np.copyto(target, source))
    return Line(f"the machine: copying doubles, {16 * n / seconds / 1e9:.1f} GB/s", n, seconds)


def read_line(n: int = 10_000_000, repeats: int = 9) -> Line:
    """Return the time of reading a small table by code on all cores; a full quote reads 24 entries, or 16 if fused."""
    codes, table, threads = np.random.default_rng(1).integers(0, 256, n).astype(np.uint8), np.ones(256), cores()
    (seconds,) = medians(repeats, lambda: read_table(codes, table, threads=threads))
    return Line(f"the machine: reading a table by code, {threads} threads", n, seconds)


def page(lines: list[Line]) -> str:
    """Return the table as a page of the documentation."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("freightrisk", *PEERS))
    return "\n".join(
        [
            "# Benchmarks",
            "",
            "`python -m benchmarks --write docs/benchmarks.md` writes this page. Times are medians of interleaved",
            "runs in one process. The ratio is the peer's time over the time of freightrisk. On one thread, the peer",
            "uses one thread too; otherwise the peer's fastest variant counts. Compare the ratios, because the",
            "seconds depend on the machine. Memory is the peak above the data, measured in a separate process for",
            "each route.",
            "",
            "Pricing writes the full quote of coded orders in batches, into the same buffers each time. The quote has",
            "seven factors in both models, modifications of 50,000 merchants, two curves, three subsidy rules, every",
            "step and every payer. The core has six tables, one curve, the floor and rounding. numba writes only the",
            "list price; the kernel also writes the merchant's fen and four flags. The fits reach the same",
            "coefficients. glum runs at a gradient tolerance of 1e-10, because its default leaves differences of",
            "1e-3. For the leaves, the ratio is the time of the fit without leaves over the time with leaves. For a",
            "book on disk, the ratio is the time per order in memory over the time per order on disk.",
            "",
            "haute runs in a separate interpreter, named by the variable HAUTE_PYTHON, because its dependencies",
            "conflict with the dependencies of freightrisk. Its quotes are checked in the same way as the quotes of",
            "numpy. Without this interpreter, the lines of haute are missing.",
            "",
            "The twelve campaigns are priced without the steps of the premium, batch after batch. Their ratio is the",
            "time without subsidies over the time with campaigns.",
            "",
            f"Machine: {processor()}, {cores()} cores, {platform.system()}.",
            f"Versions: {packages}.",
            "",
            "| what | rows | seconds | million rows a second | ratio | MB above the data |",
            "|---|---|---|---|---|---|",
            *(line.cells() for line in lines),
            "",
        ]
    )


def main(argv: list[str] | None = None) -> int:
    """Run the benchmarks; return 1 if a ratio is below its bar."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--check", action="store_true", help="small sizes; fail on ratios")
    parser.add_argument("--only", choices=[*BENCHMARKS], action="append", help="one of the benchmarks; may be repeated")
    parser.add_argument("--rows", type=int, help="rows of every benchmark, instead of its full size")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--write", type=Path, help="write the table as a page")
    options = parser.parse_args(argv)
    lines = [copy_line(), read_line()]
    print(*lines, sep="\n", flush=True)
    missed = []
    for what in options.only or BENCHMARKS:
        asked = BENCHMARKS[what]
        if options.check and not asked.check:
            continue
        found = asked.lines(options.rows or (asked.check if options.check else asked.full), options.repeats)
        print(*found, sep="\n", flush=True)
        for line in found:
            # Ratios and not seconds decide, because seconds depend on the machine.
            if line.bars is not None and line.ratio is not None and line.ratio < line.bars[options.check]:
                missed.append(f"{line.what}: {line.ratio:.2f}x, below the bar of {line.bars[options.check]:.2g}x")
        lines += found
    if options.write:
        options.write.write_text(page(lines))
    print("\n".join(missed) or "every ratio is above its bar")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
