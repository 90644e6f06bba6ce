"""Attacks in separate processes: a case that ends its process by a signal, or does not end, is a fault like others."""

import json
import os
import resource
import signal
import subprocess
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CHUNK = 1_000  # cases of one process
MEMORY = 6 * 2**30  # bytes of address space of a process; an allocation beyond it is a MemoryError
SECONDS = 30  # for one case
FAULTS_SHOWN = 3


class Hang(BaseException):
    """A case takes too long; a BaseException, so that no library's `except Exception` catches it."""


@dataclass
class Report:
    """Outcomes of cases, and faults by kind: the number of each and its first seeds."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: dict[str, list[Any]] = field(default_factory=dict)

    def add_fault(self, kind: str, seed: int, text: str, count: int = 1) -> None:
        """Count a fault."""
        known = self.faults.setdefault(kind, [0, []])
        known[0] += count
        if len(known[1]) < FAULTS_SHOWN:
            known[1].append([seed, text[:600]])

    def add(self, other: "Report") -> None:
        """Add the counts of another report."""
        self.outcomes.update(other.outcomes)
        for kind, (count, shown) in other.faults.items():
            for k, (seed, text) in enumerate(shown):
                self.add_fault(kind, seed, text, count - len(shown) + 1 if k == 0 else 1)

    def plain(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {"outcomes": self.outcomes, "faults": self.faults}

    @property
    def n_cases(self) -> int:
        """Return the number of cases that ended."""
        return sum(self.outcomes.values())

    @property
    def n_faults(self) -> int:
        """Return the number of cases with a fault."""
        return sum(count for count, _ in self.faults.values())

    def lines(self) -> list[str]:
        """Return the report as text."""
        found = [f"{self.n_cases:,} cases, {self.n_faults:,} faults: " + str(dict(self.outcomes.most_common()))]
        for kind, (count, shown) in self.faults.items():
            found.append(f"FAULT {kind}: {count:,} times")
            found += [f"  seed {seed}: {text!r}" for seed, text in shown]
        return found


def case_of(attack: str) -> Callable[[int], str]:
    from benchmarks.attack import arguments, broken, documents, frames

    cases = {"broken": broken.case, "documents": documents.case, "frames": frames.case, "arguments": arguments.case}
    return cases[attack]


def _place(error: BaseException) -> str:
    """Return the file and line of the library that raised an error."""
    ours = [
        step for step in traceback.extract_tb(error.__traceback__) if f"{os.sep}freightrisk{os.sep}" in step.filename
    ]
    return f" at {Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""


def run_here(attack: str, first: int, count: int, *, at: Path | None = None) -> Report:
    """Run cases in this process; the file `at` always holds the current seed and the report before it."""
    from freightrisk import FreightRiskWarning

    case, report = case_of(attack), Report()

    def stop(*_: Any) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", FreightRiskWarning)
            for seed in range(first, first + count):
                if at is not None:
                    at.write_text(json.dumps({"seed": seed, **report.plain()}))
                signal.alarm(SECONDS)
                try:
                    report.outcomes[case(seed)] += 1
                except (Exception, Hang) as error:
                    report.outcomes["fault"] += 1
                    what = str(error) if type(error).__name__ == "FaultError" else type(error).__name__ + _place(error)
                    report.add_fault(what, seed, f"{error}")
                finally:
                    signal.alarm(0)
    finally:
        signal.signal(signal.SIGALRM, before)
    return report


def run_apart(attack: str, first: int, count: int) -> Report:
    """Run cases in another process; whenever a case ends it, a new process continues after that case."""
    report, seed, stop = Report(), first, first + count
    with TemporaryDirectory() as folder:
        at = Path(folder, "seed")
        while seed < stop:
            command = [
                sys.executable,
                "-m",
                "benchmarks.attack",
                "worker",
                attack,
                str(seed),
                str(stop - seed),
                str(at),
            ]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            told = json.loads(at.read_text()) if at.exists() else {"seed": seed, "outcomes": {}, "faults": {}}
            at.unlink(missing_ok=True)
            report.add(Report(Counter(told["outcomes"]), told["faults"]))
            if done.returncode == 0:
                break
            died = told["seed"]
            report.add_fault(f"process ended with {done.returncode}", died, done.stderr[-600:])
            report.outcomes["fault"] += 1
            seed = died + 1
    return report


def work(attack: str, first: int, count: int, at: Path) -> None:
    """Run cases as a worker and write the report to a file."""
    if "ASAN_OPTIONS" not in os.environ:  # the sanitizer reserves terabytes of address space that it never uses
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    report = run_here(attack, first, count, at=at)
    at.write_text(json.dumps(report.plain()))


def run(attack: str, *, cases: int, seed: int, workers: int, show: Callable[[str], None]) -> Report:
    """Run an attack in chunks of cases, with `workers` processes at a time."""
    chunks = [(first, min(CHUNK, seed + cases - first)) for first in range(seed, seed + cases, CHUNK)]
    report = Report()
    with ThreadPoolExecutor(workers) as pool:
        for k, found in enumerate(pool.map(lambda chunk: run_apart(attack, *chunk), chunks)):
            report.add(found)
            if k % 10 == 9:
                kinds = ", ".join(f"{kind} (seed {shown[0][0]})" for kind, (_, shown) in report.faults.items())
                show(f"{report.n_cases:,} cases, {report.n_faults:,} faults {kinds}")
    return report
