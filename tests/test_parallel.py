"""Pieces over threads: every result once and in order, errors raised, nothing left running."""

import _thread
import os
import signal
import threading
import time
import weakref
from functools import partial

import pytest

from forks import fork
from freightrisk import _parallel
from freightrisk._parallel import Helper, chunks, in_order
from interrupts import interrupted, lines_of, stopped_after

PIECES = chunks(1003, 10)


@pytest.mark.parametrize("threads", [1, 2, 3, 200])
def test_results_come_in_the_order_of_the_pieces(threads):
    found = list(in_order(lambda start, stop: (start, stop), PIECES, threads=threads))
    assert found == PIECES
    assert found[-1] == (1000, 1003)


@pytest.mark.parametrize("threads", [2, 4])
def test_the_calling_thread_and_others_share_the_work(threads):
    meet = threading.Barrier(threads)

    def work(start, stop):
        meet.wait(timeout=60)  # passes only when so many pieces run at once
        return threading.get_ident()

    workers = set(in_order(work, chunks(threads, 1), threads=threads))
    assert len(workers) == threads
    assert threading.get_ident() in workers


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_the_first_error_is_raised_and_ends_the_rest(threads):
    seen = []

    def work(start, stop):
        seen.append(start)
        time.sleep(0.001)
        if start >= 20:
            raise ZeroDivisionError(start)
        return start

    results = in_order(work, PIECES, threads=threads)
    assert [next(results), next(results)] == [0, 10]
    with pytest.raises(ZeroDivisionError, match=r"^20$"):
        list(results)
    assert len(seen) < 20


def test_a_consumer_that_stops_early_leaves_nothing_running():
    running = []

    def work(start, stop):
        running.append(start)
        time.sleep(0.001)
        running.remove(start)

    results = in_order(work, PIECES, threads=3)
    next(results)
    results.close()
    assert running == []


def test_callers_in_several_threads_do_not_wait_for_each_other():
    inner = threading.Event()

    def outer_work(start, stop):
        if start == 0:
            assert inner.wait(timeout=60)
        return start

    def second_caller():
        assert list(in_order(lambda start, stop: stop, PIECES, threads=2)) == [stop for _, stop in PIECES]
        inner.set()

    other = threading.Thread(target=second_caller)
    results = in_order(outer_work, PIECES, threads=2)
    other.start()
    assert list(results) == [start for start, _ in PIECES]
    other.join(timeout=60)
    assert not other.is_alive()


@pytest.fixture
def fresh(monkeypatch):
    """Helpers of a test's own, and the number of threads before; those of other tests stay."""
    monkeypatch.setattr(_parallel, "helpers", _parallel.Helpers())
    return _thread._count()


def test_no_more_threads_are_kept_than_the_most_that_were_asked_for(fresh):
    for threads in [*range(2, 41), 3, 40, 17, 40]:
        assert list(in_order(lambda start, stop: start, PIECES, threads=threads)) == [start for start, _ in PIECES]
        assert _thread._count() - fresh <= 39
    while _thread._count() - fresh < 39:  # a thread is counted once it runs
        time.sleep(0.001)
    assert _thread._count() - fresh == 39


@pytest.mark.parametrize("threads", [2, 5])
def test_calls_inside_calls_from_several_threads_come_to_an_end(threads):
    def inner(start, stop):
        return sum(in_order(lambda a, b: b - a, chunks(stop - start, 3), threads=threads))

    found = []

    def outer():
        found.append(sum(in_order(inner, PIECES, threads=threads)))

    callers = [threading.Thread(target=outer) for _ in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(timeout=120)
    assert found == [1003] * 6


def test_work_that_was_called_off_is_let_go(fresh):
    done = []
    for _ in range(3):
        turn = _parallel.Turn(partial(done.append, threading.Event()))
        held = weakref.ref(turn.work.args[0])
        turn.end()
        assert held() is None
        turn.take()
        turn.end()
    assert done == []


def test_without_new_threads_the_calling_thread_does_all(fresh, monkeypatch):
    def refused(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_parallel, "start_new_thread", refused)
    assert list(in_order(lambda start, stop: (start, stop), PIECES, threads=4)) == PIECES


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_helpers_of_its_own():
    meet = threading.Barrier(2)

    def work(start, stop):
        meet.wait(timeout=60)
        return start

    assert list(in_order(work, [(0, 1), (1, 2)], threads=2)) == [0, 1]
    child = fork()
    if child == 0:
        os._exit(0 if list(in_order(work, [(0, 1), (1, 2)], threads=2)) == [0, 1] else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="stops by a timer of the system")
def test_nothing_runs_on_after_an_interrupt():
    running = []

    def work(start, stop):
        running.append(start)
        time.sleep(0.0005)
        running.remove(start)

    stops = 0
    for k in range(1, 40):
        stops += stopped_after(lambda: list(in_order(work, PIECES, threads=3)), k, k / 10_000.0)
        before = sorted(running)
        time.sleep(0.001)
        assert sorted(running) == before  # at most pieces of the calling thread, which were cut short
    assert stops > 20


# A helper beside the calling thread


def test_a_helper_does_one_piece_after_another_beside_the_caller():
    seen, caller = [], threading.get_ident()

    def work(k):
        seen.append((k, threading.get_ident() != caller))
        if k == 3:
            raise ZeroDivisionError(k)
        return k

    with Helper() as helper:
        assert helper.result() is None
        for k in range(3):
            helper.begin(partial(work, k))
        assert helper.result() == 2
        helper.begin(partial(work, 3))
        with pytest.raises(ZeroDivisionError, match=r"^3$"):
            helper.begin(partial(work, 4))
        assert helper.result() is None  # an error is raised once, and what was to follow is not begun
        helper.begin(partial(work, 5))
        assert helper.result() == 5
    assert seen == [(k, True) for k in (0, 1, 2, 3, 5)]


def test_the_end_of_a_helper_waits_for_what_runs_and_ends_its_thread():
    running, before = [], _thread._count()

    def work():
        running.append(1)
        time.sleep(0.01)
        running.clear()

    with Helper() as helper:
        helper.begin(work)
        while not running:
            time.sleep(0.0001)
    assert running == []
    deadline = time.monotonic() + 60.0
    while _thread._count() > before and time.monotonic() < deadline:
        time.sleep(0.001)
    assert _thread._count() <= before


def test_a_helper_without_a_thread_works_in_the_calling_thread(monkeypatch):
    def refused(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_parallel, "start_new_thread", refused)
    with Helper() as helper:
        for k in range(3):
            helper.begin(lambda k=k: (k, threading.get_ident()))
            assert helper.result() == (k, threading.get_ident())


def test_no_interrupt_makes_a_helper_wait_for_ever():
    """One interrupt in fifty runs left the lock of a ThreadPoolExecutor taken, whose end waited for it."""
    stops, done = 0, []

    def work():
        with Helper() as helper:
            for k in range(20):
                helper.begin(partial(done.append, k))

    lines = lines_of(work)
    for at in range(1, lines):
        stops += interrupted(work, at)
    for k in range(400):
        stops += stopped_after(work, 1 + k % lines, k / 1e6)
    assert stops > lines
