"""The command line of the attacks; its exit code is 1 if there were faults."""

import argparse
import sys
from pathlib import Path

from benchmarks.attack import workers

ATTACKS = ("documents", "frames", "arguments")


def main() -> int:
    """Run an attack and return its exit code."""
    if sys.argv[1:2] == ["worker"]:
        attack, first, count, at = sys.argv[2:]
        workers.work(attack, int(first), int(count), Path(at))
        return 0
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attack", description=workers.__doc__)
    parser.add_argument("attack", choices=ATTACKS)
    parser.add_argument("--cases", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0, help="seed of the first case; later cases count up from it")
    parser.add_argument("--workers", type=int, default=1, help="number of processes at a time")
    given = parser.parse_args()
    report = workers.run(
        given.attack,
        cases=given.cases,
        seed=given.seed,
        workers=given.workers,
        show=lambda line: print(line, flush=True),
    )
    print(*report.lines(), sep="\n")
    return 1 if report.n_faults else 0


if __name__ == "__main__":
    sys.exit(main())
