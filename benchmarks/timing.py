"""Timing of routes: medians of interleaved runs in one process. Peak memory is measured in a separate process."""

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Batch = TypeVar("Batch")

LARGE = 2_000_000  # memory is measured from this number of rows on; with fewer, the libraries' own memory dominates


@dataclass(frozen=True)
class Line:
    """One line of the table: the route, its number of orders, the median seconds and the ratio to the peer.

    `bars` are the smallest accepted ratios, at full size and at the small size of a check. A bar is 0 if the load of
    the machine would decide the ratio. `peak_mb` is the peak memory above the data.
    """

    what: str
    orders: int
    seconds: float
    ratio: float | None = None
    bars: tuple[float, float] | None = None
    peak_mb: float | None = None

    def __str__(self) -> str:
        rate = f"{self.orders / self.seconds / 1e6:8.2f} M/s" if self.orders > 1 else " " * 12
        seconds = f"{self.seconds:10.3f} s " if self.seconds > 1e-3 else f"{self.seconds * 1e6:10.2f} us"
        ratio = " " * 9 if self.ratio is None else f"{self.ratio:8.2f}x"
        peak = "" if self.peak_mb is None else f" {self.peak_mb:8,.0f} MB"
        return f"{self.what:<50} {self.orders:>12,} {seconds} {rate} {ratio}{peak}"

    def cells(self) -> str:
        """Return the line as a row of the documentation's table."""
        seconds = f"{self.seconds:.3f}" if self.seconds > 1e-3 else f"{self.seconds:.2e}"
        rate = f"{self.orders / self.seconds / 1e6:.2f}" if self.orders > 1 else ""
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        peak = "" if self.peak_mb is None else f"{self.peak_mb:,.0f}"
        return f"| {self.what} | {self.orders:,} | {seconds} | {rate} | {ratio} | {peak} |"


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def medians(repeats: int, *routes: Callable[[], object]) -> list[float]:
    """Return the median seconds of each route; routes take turns, after one warm-up of each."""
    seconds: list[list[float]] = [[] for _ in routes]
    for repeat in range(repeats + 1):
        for route, taken in zip(routes, seconds, strict=True):
            start = time.perf_counter()
            route()
            if repeat:
                taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in seconds]


def over(batches: Sequence[Batch], route: Callable[[Batch], object]) -> Callable[[], object]:
    """Return a function that runs a route on all batches of a book, one after another."""

    def run() -> None:
        for batch in batches:
            route(batch)

    return run


def peak_above(route: Callable[[], object]) -> float:
    """Return the largest rise of this process's resident memory while a route runs, in megabytes."""
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak that the kernel records
    before = _status("VmRSS")
    route()
    return (_status("VmHWM") - before) / 1024


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(name)))


def apart(route: str, *arguments: object) -> float | None:
    """Return the number that `python -m benchmarks.peaks ROUTE ARGUMENTS` prints; None if memory cannot be read."""
    if platform.system() != "Linux":
        return None
    command = [sys.executable, "-m", "benchmarks.peaks", route, *map(str, arguments)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def seconds_of_import(module: str, repeats: int) -> float:
    """Return the median seconds of importing a module in a fresh interpreter, less the start of the interpreter."""

    def run(code: str) -> None:
        subprocess.run([sys.executable, "-c", code], check=True)

    whole, bare = medians(repeats, lambda: run(f"import {module}"), lambda: run(""))
    return whole - bare


def processor() -> str:
    """Return the processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
