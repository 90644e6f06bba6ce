"""A short run of the attacks in benchmarks/attack, and the proof that their workers see what goes wrong."""

import signal
import subprocess
import sys

import pytest

pytest.importorskip("polars", reason="polars is not installed, so odd frames cannot be made")
pytest.importorskip("yaml", reason="PyYAML is not installed, so campaigns in YAML cannot be made")

from benchmarks.attack import workers


@pytest.mark.parametrize(("attack", "cases"), [("documents", 300), ("frames", 120), ("arguments", 300)])
def test_a_short_attack_finds_nothing(attack, cases):
    before = {path.name for path in workers.ROOT.iterdir()}
    report = workers.run_apart(attack, 77_000, cases)
    assert {path.name for path in workers.ROOT.iterdir()} <= before  # odd texts are names of files too
    assert report.n_cases == cases
    assert report.faults == {}, "\n".join(report.lines())
    assert len(report.outcomes) > 2  # some are refused and some priced, by several doors


def test_signals_errors_warnings_and_broken_laws_are_seen():
    report = workers.run("broken", cases=14, seed=0, workers=2, show=print)
    kinds = {kind: (count, [seed for seed, _ in shown]) for kind, (count, shown) in report.faults.items()}
    assert kinds == {
        f"process ended with {-signal.SIGSEGV}": (2, [0, 7]),
        "ZeroDivisionError": (2, [1, 8]),
        "a law": (2, [2, 9]),
        "RuntimeWarning": (2, [3, 10]),
    }
    assert report.n_faults == 8


def test_a_case_that_does_not_end_is_seen(monkeypatch):
    monkeypatch.setattr(workers, "SECONDS", 1)
    monkeypatch.setattr(workers, "case_of", lambda attack: lambda seed: signal.pause())
    assert [*workers.run_here("none", 5, 1).faults] == ["Hang"]


@pytest.mark.parametrize(("first", "code"), [("0", 1), ("4", 0)])
def test_the_exit_code_tells_of_faults(first, code):
    call = f"sys.argv = ['', 'broken', '--cases', '3', '--seed', '{first}']; sys.exit(m.main())"
    code_of = f"import sys; from benchmarks.attack import __main__ as m; m.ATTACKS = ('broken',); {call}"
    command = [sys.executable, "-c", code_of]
    assert subprocess.run(command, cwd=workers.ROOT, capture_output=True).returncode == code
