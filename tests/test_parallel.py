"""Pieces over threads: every result once and in order, errors raised, nothing left running."""

import threading
import time

import pytest

from freightrisk._parallel import chunks, in_order

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
    other.join()
