"""What a stop leaves: after kills, interrupts and full disks a result is old or new, whole, and balances go with it."""

import _thread
import contextlib
import io
import os
import signal
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forks import end_after, fork
from freightrisk import Balances, Factor, InputError, Settlement, Subsidy, _demo, cli, price_parquet, store_book
from freightrisk.campaigns import save_campaigns
from interrupts import At, interrupted, lines_of, stopped_after
from strategies import draw_batch
from test_balances import no_missing_merchants, tariff_of

resource = pytest.importorskip("resource")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes that it forks"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*can be read by others"),
    # An interrupt in a finalizer is not raised, but told.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

RULES = [
    Subsidy("grant", "platform", fixed_fen=9, budget_fen=300),
    Subsidy("capped", "insurer", fixed_fen=3, merchant_cap_fen=40, period="day"),
]
TARIFF = tariff_of(RULES, "carry")
SECRET = tariff_of(RULES, "dither")
STOPS = 30
FEWER = {"fitting": 12, "showing": 6, "showing_again": 6}  # of writers that take long
MEASURED = {}
STEPS = ("mkdir", "open", "replace", "fsync", "link", "rename", "unlink", "rmdir", "chmod")


def everything(balances):
    """Return all that balances hold; `==` leaves out what was met."""
    return balances.spent, balances.spent_by_merchant, balances.remainders, balances.met


@dataclass
class Job:
    """A writer, the folder that it writes to, what stands there before, and what it leaves."""

    folder: Path
    write: Callable[[], object]
    old: dict[str, bytes]
    opening: Balances
    balances: Balances
    spends: bool
    stops: int

    def begin(self):
        """Put back what stood there before; what is hidden stays."""
        for name in self.found():
            (self.folder / name).unlink()
        for place in self.folder.iterdir():
            if not place.name.startswith("."):
                place.rmdir()
        for name, content in self.old.items():
            (self.folder / name).write_bytes(content)
        self.reset_balances()

    def reset_balances(self):
        vars(self.balances).update(vars(self.opening.copy()))

    def found(self):
        """Return the files that are not hidden."""
        files = {path.relative_to(self.folder): path for path in self.folder.rglob("*") if path.is_file()}
        return {str(name): path.read_bytes() for name, path in files.items() if not name.parts[0].startswith(".")}

    def hidden(self):
        return [path.name for path in self.folder.iterdir() if path.name.startswith(".")]

    def measure(self, name):
        """Write twice, once for each writer, and keep what a whole run leaves, its lines, and its steps on the disk."""
        if name not in MEASURED:
            self.begin()
            with counted_steps() as steps:
                self.write()
            new, closing = self.found(), everything(self.balances)
            self.begin()
            lines = lines_of(self.write)
            assert self.found() == new != self.old
            assert self.spends == (closing != everything(self.opening))
            MEASURED[name] = new, closing, lines, len(steps)
        self.new, self.closing, self.lines, self.steps = MEASURED[name]
        return self

    def is_new(self):
        """Return whether the result is new; it is old or new in all of its files, and balances go with it."""
        found = self.found()
        assert found in (self.old, self.new)
        assert everything(self.balances) == (self.closing if found == self.new else everything(self.opening))
        return found == self.new


def orders_of(size, seed=5):
    return no_missing_merchants(draw_batch(np.random.default_rng(seed), size), "carry")


def saving(folder, inputs):
    return lambda balances: SECRET.save(folder / "tariff.json"), ["tariff.json"]


def campaigns(folder, inputs):
    return lambda balances: save_campaigns(RULES, folder / "campaigns.json"), ["campaigns.json"]


def parquet(folder, inputs):
    orders_of(60).to_parquet(inputs / "orders.parquet")
    return lambda balances: price_parquet(
        TARIFF, inputs / "orders.parquet", folder / "q.parquet", balances=balances, batch_rows=20, threads=2
    ), ["q.parquet"]


def settling(folder, inputs):
    orders = orders_of(60)
    settled = Settlement.of(TARIFF, orders, TARIFF.price(orders, campaigns=True))
    return lambda balances: settled.save(folder), ["payers.parquet", "accounts.parquet"]


def storing(folder, inputs):
    n = 300
    orders = pd.DataFrame({"order_id": range(n), "zone": ["a", "b"] * (n // 2), "e": 1.0})
    orders.assign(ship_date=pd.Timestamp("2026-01-01")).to_parquet(inputs / "orders.parquet")
    claims = pd.DataFrame({"order_id": range(0, n, 9), "freight": 8.0, "report_date": pd.Timestamp("2026-01-09")})
    return lambda balances: store_book(
        folder / "new", inputs / "orders.parquet", claims, factors=[Factor("zone")], exposure="e", batch_rows=100
    ), []


def command(folder, *arguments):
    """Return a run of the command line; it raises what stopped it, once that was told and is true."""

    def standing():
        return {path: path.stat().st_ino for path in folder.rglob("*") if path.is_file() and ".part" not in str(path)}

    def run(balances):
        before = standing()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as told:
            code = cli.main([*map(str, arguments), "--threads", "2"])
        if code == 130:
            said = "nothing was written" if standing() == before else "had been written"
            assert said in told.getvalue()
            raise KeyboardInterrupt
        if code:
            raise OSError(told.getvalue())

    return run


def pricing(folder, inputs):
    TARIFF.save(inputs / "tariff.json")
    orders_of(60).to_parquet(inputs / "orders.parquet")
    given_here = ["--tariff", inputs / "tariff.json", "--orders", inputs / "orders.parquet"]
    return command(folder, "price", *given_here, "--out", folder / "q.csv"), ["q.csv"]


CONFIG = """
name = "two zones"
floor_fen = 1
[data]
orders = "orders.csv"
claims = "claims.csv"
[[factors]]
kind = "factor"
name = "zone"
[frequency]
family = "poisson"
factors = ["zone"]
[severity]
family = "gamma"
factors = ["zone"]
[cover]
limit = 25.0
[loadings]
profit = 0.02
"""


def fitting(folder, inputs):
    (inputs / "fit.toml").write_text(CONFIG)
    orders = [f"{k},{'ab'[k % 2]},2026-01-01" for k in range(200)]
    claims = [f"{k},{5 + k % 7},2026-01-09" for k in range(0, 200, 3)]
    (inputs / "orders.csv").write_text("\n".join(["order_id,zone,ship_date", *orders]))
    (inputs / "claims.csv").write_text("\n".join(["order_id,freight,report_date", *claims]))
    files = ["tariff.json", "relativities.csv", "frequency.json", "severity.json"]
    options = ("--out", "--relativities", "--frequency", "--severity")
    out = [part for option, file in zip(options, files, strict=True) for part in (option, folder / file)]
    return command(folder, "fit", "--config", inputs / "fit.toml", *out), files


def showing(folder, inputs):
    return command(folder, "demo", "--orders", "3000", "--out", folder / "new"), []


def showing_again(folder, inputs):
    return command(folder, "demo", "--orders", "3000", "--out", folder), list(_demo.FILES)


WRITERS = {
    one.__name__: one
    for one in (saving, campaigns, parquet, settling, storing, pricing, fitting, showing, showing_again)
}


def job_of(name, place):
    folder, inputs = place / "out", place / "inputs"
    folder.mkdir(exist_ok=True)
    inputs.mkdir()
    write, files = WRITERS[name](folder, inputs)
    opening = Balances(spent={"grant": 7})
    balances = opening.copy()
    old, stops = dict.fromkeys(files, b"old"), FEWER.get(name, STOPS)
    return Job(folder, lambda: write(balances), old, opening, balances, name == "parquet", stops).measure(name)


@pytest.fixture(params=list(WRITERS))
def job(request, tmp_path):
    return job_of(request.param, tmp_path)


# Steps on the disk, and children that are stopped


@contextlib.contextmanager
def counted_steps(stop_at=None, stop=None):
    """Count the calls of the operating system that change the disk, and call `stop` before one of them."""
    steps, real = [], {name: getattr(os, name) for name in STEPS}

    def counting(name):
        def step(*arguments, **more):
            steps.append(name)
            if len(steps) == stop_at:
                stop()
            return real[name](*arguments, **more)

        return step

    for name in STEPS:
        setattr(os, name, counting(name))
    try:
        yield steps
    finally:
        for name, call in real.items():
            setattr(os, name, call)


def forked(work):
    """Run some work in a child, and return its id and a pipe to which the child can write."""
    reading, writing = os.pipe()
    child = fork()
    if child == 0:
        os.close(reading)
        end_after(lambda: work(writing), writing)
    os.close(writing)
    return child, reading


def ended(child, reading):
    """Wait for a child, and return whether it was killed."""
    os.close(reading)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL)
    return status == signal.SIGKILL


def killed_at_step(job, step):
    """Kill a writer right before it changes the disk for some time; return whether it came so far."""

    def work(_):
        with counted_steps(step, lambda: os.kill(os.getpid(), signal.SIGKILL)):
            job.write()

    return ended(*forked(work))


def killed_after_line(job, at):
    """Kill a writer from outside, as soon as it has come to some line; return whether it had not ended yet."""

    def work(writing):
        with At(at, lambda: os.write(writing, b".")):
            job.write()

    child, reading = forked(work)
    os.read(reading, 1)  # waits for the line, or for the end
    os.kill(child, signal.SIGKILL)
    return ended(child, reading)


def killed_at_line(job, at):
    """Let a writer kill itself at some line."""

    def work(_):
        with At(at, lambda: os.kill(os.getpid(), signal.SIGKILL)):
            job.write()

    return ended(*forked(work))


def interrupted_at_step(job, step):
    """Interrupt a writer right before a step on the disk, in whatever thread; return whether it stopped."""
    try:
        with counted_steps(step, _thread.interrupt_main):
            job.write()
        return False
    except KeyboardInterrupt:
        return True


def spread(n, most):
    """Return n numbers from 1 to most, evenly spread."""
    return sorted({1 + k * most // n for k in range(n)})


def spread_to_the_end(n, most):
    """Return n numbers from 1 to most, evenly spread, and most is one of them."""
    return [*spread(n - 1, most - 1), most]


def check_next_run(job):
    """Check that the next run leaves the whole result, and nothing of those that were killed."""
    job.reset_balances()
    if not job.old and job.found():
        job.begin()
    job.write()
    assert job.is_new()
    assert job.hidden() == []


def test_kills_leave_old_or_new_and_the_next_run_cleans_up(job):
    kills, seen = 0, set()
    for step in spread_to_the_end(min(job.stops // 2, job.steps), job.steps):
        job.begin()
        kills += killed_at_step(job, step)
        seen.add(some_moved(job) or job.found() == job.new)
        check_next_run(job)
    for at in spread(job.stops - kills, job.lines):
        job.begin()
        if not killed_after_line(job, at):  # it had ended before the kill
            job.begin()
            assert killed_at_line(job, 1 + at // 2)
        kills += 1
        assert some_moved(job) or job.found() in (job.old, job.new)
        check_next_run(job)
    assert kills == job.stops
    assert {False, True} <= seen


def some_moved(job):
    """Return whether the kill came between the moves of several files, each of which is whole."""
    names = list(job.old)
    return any(
        job.found() == job.old | {name: job.new[name] for name in names[:moved]} for moved in range(1, len(names))
    )


def test_interrupts_leave_old_or_new_with_their_balances(job):
    rng, stops, seen, third = np.random.default_rng(3), 0, set(), job.stops // 3
    lines = [*spread(third, job.lines), *range(job.lines - STOPS // 3, job.lines, STOPS // job.stops)]
    ways = [
        partial(stopped_after, job.write, at, rng.uniform(1e-6, 2e-3)) if k % 2 else partial(interrupted, job.write, at)
        for k, at in enumerate(lines)
    ]
    for stopped in [*ways, *(partial(interrupted_at_step, job, step) for step in spread_to_the_end(third, job.steps))]:
        job.begin()
        stops += stopped()
        assert job.hidden() == []
        seen.add(job.is_new())
    assert stops >= job.stops // 3
    assert seen == {False, True}


# Disks that take no more


def failing(job, prepare):
    """Run a writer in a child in which something was prepared, and return what it says."""

    def work(writing):
        prepare()
        job.write()

    child, reading = forked(work)
    told = os.read(reading, 5000).decode()
    os.close(reading)
    os.waitpid(child, 0)
    return told


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_file_that_cannot_grow_is_told_of_and_leaves_nothing(job, share):
    most = int(share * max(map(len, job.new.values())))

    def no_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    job.begin()
    told = failing(job, no_room)
    assert told.startswith("OSError: ")
    assert "File too large" in told or "error code 27" in told
    assert str(job.folder) in told
    assert not job.is_new()
    assert job.hidden() == []


@pytest.mark.parametrize("name", list(WRITERS))
def test_a_folder_that_cannot_be_written_is_refused(name):
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        job = job_of(name, Path(place))
        job.begin()
        job.folder.chmod(0o555)

        def nobody():
            if os.geteuid() == 0:
                os.setuid(65534)

        told = failing(job, nobody)
        job.folder.chmod(0o755)
        assert told.startswith(("InputError: ", "OSError: freightrisk: "))
        assert "cannot be written: [Errno 13] Permission denied" in told
        assert "give another path" in told
        assert not job.is_new()
        assert job.hidden() == []


# Balances in memory


@settings(max_examples=10)
@given(st.data())
def test_a_signal_at_any_moment_changes_all_of_the_balances_or_nothing(data):
    first, second = orders_of(40, 1), orders_of(40, 2)
    before = Balances()
    TARIFF.price(first, balances=before)
    after = before.copy()
    lines = lines_of(lambda: TARIFF.price(second, balances=after, threads=2))
    assert before.met != after.met or before.spent != after.spent
    order = second.iloc[0].to_dict()
    for _ in range(STOPS // 3):
        at, seconds = 1 + int(data.draw(st.floats(0.0, 1.0)) * lines), data.draw(st.floats(1e-6, 2e-3))
        balances = before.copy()
        stopped = stopped_after(lambda b=balances: TARIFF.price(second, balances=b, threads=2), at, seconds)
        assert everything(balances) in ([everything(before)] if stopped else []) + [everything(after)]
        balances = before.copy()
        for call in (TARIFF.quote, TARIFF.pricer.explain):
            stopped_after(lambda b=balances, call=call: call(order, balances=b), min(at, 60), seconds / 10)
            assert everything(balances) == everything(before)


# Modes


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_document_with_a_secret_is_its_owners_alone(tmp_path):
    SECRET.save(tmp_path / "secret.json")
    TARIFF.save(tmp_path / "open.json")
    (tmp_path / "other").touch()
    assert mode_of(tmp_path / "secret.json") == 0o600
    assert mode_of(tmp_path / "open.json") == mode_of(tmp_path / "other")
    replace(TARIFF, name="without a secret").save(tmp_path / "secret.json")
    assert mode_of(tmp_path / "secret.json") == 0o600  # as the file that was there


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o444, 0o604])
def test_every_writer_keeps_the_mode_of_the_file_that_was_there(job, mode):
    job.begin()
    places = [job.folder / name for name in job.old]
    if not places:
        places = [job.folder / "new"]
        places[0].mkdir()
        mode |= 0o700
    for place in places:
        place.chmod(mode)
    job.write()
    assert [mode_of(place) for place in places] == [mode] * len(places)


def test_a_file_that_is_no_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="is not a regular file"):
        TARIFF.save(tmp_path / "pipe")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
