"""Fixed chunks of rows over Python threads: the chunks depend on the rows alone, so any number of threads agrees.

Nothing here waits for a lock that Python code could be stopped in the midst of taking. `ThreadPoolExecutor` does: an
interrupt that falls into its `Condition.__enter__` leaves the lock taken, and the end of the pool waits for ever.
Nor does a loop that ends in a condition stand right inside `with` or `try`: in Python 3.12 and 3.13 its jump back is
not covered by them, and interrupts fall there. `tests/test_architecture.py` looks for such loops in the whole package.
"""

import os
import sys
import threading
from _thread import start_new_thread
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import starmap
from queue import SimpleQueue
from threading import Lock
from types import TracebackType
from typing import Any, TypeVar

Result = TypeVar("Result")


class Turn:
    """Work that another thread takes up, unless it is called off before; nothing divides the one from the other."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.work, self.claim, self.over = work, dict[str, str](), Lock()
        self.is_over = False
        self.over.acquire()

    def take(self) -> None:
        """Do the work, if it was not called off."""
        if self.claim.setdefault("by", "helper") == "helper":
            try:
                self.work()
            finally:
                self.is_over = True
                self.over.release()

    def wait(self) -> None:
        """Wait until the work is done."""
        if not self.is_over:
            self.over.acquire()  # and keep it: nobody else waits, and what is let go of could be held by an interrupt

    def end(self) -> None:
        """Call the work off, or wait until it is done if it has begun; may be repeated."""
        if self.claim.setdefault("by", "caller") == "helper":
            self.wait()
        else:
            self.work = _nothing  # the work holds arrays, and the turn may be in a queue for long


def _nothing() -> None:
    pass


def end_all(turns: list[Turn]) -> None:
    """End some turns; interrupts meanwhile wait until all are at their end."""
    try:
        _end_all(turns)
    except BaseException:
        _end_all(turns)  # one may have fallen between the instructions that let it wait
        raise


def _end_all(turns: list[Turn]) -> None:
    left, stopped = list(turns), None
    while left:
        try:
            left[-1].end()
            left.pop()
        except BaseException as error:
            stopped = error
    if stopped is not None:
        raise stopped


def start(work: Callable[[], None]) -> None:
    """Start a thread; `threading.Thread` raises `RuntimeError` where an interrupt comes at the wrong moment."""

    def run() -> None:
        sys.settrace(threading.gettrace())  # as `threading.Thread` does, for debuggers and coverage
        work()

    start_new_thread(run, ())


class Helpers:
    """Threads that are started once and kept: as many as the most that one call has ever asked for.

    Starting them for each call would take as long as pricing ten thousand orders. They end with the process.
    """

    def __init__(self) -> None:
        self.turns: SimpleQueue[Turn] = SimpleQueue()
        self.lock, self.n_threads = Lock(), 0

    def offer(self, turns: list[Turn]) -> None:
        """Let helpers take some turns, when they are free; there are fewer where the system starts no more threads."""
        with self.lock, suppress(RuntimeError):
            self._start(len(turns))
        for turn in turns[: self.n_threads]:
            self.turns.put(turn)

    def _start(self, n_threads: int) -> None:
        while self.n_threads < n_threads:
            start(self._serve)
            self.n_threads += 1

    def _serve(self) -> None:
        while True:
            self.turns.get().take()


helpers = Helpers()


def _renew() -> None:
    global helpers
    helpers = Helpers()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)  # a child has none of its parent's threads


class Helper:
    """A thread for one piece of work after another, beside the calling thread; it ends with the block.

    Where the system starts no more threads, the caller does the work as it begins it.

    Examples
    --------
    >>> with Helper() as helper:
    ...     helper.begin(lambda: 6 * 7)
    ...     helper.result()
    42
    """

    def __init__(self) -> None:
        self.turns: SimpleQueue[Turn | None] = SimpleQueue()
        self.last: Turn | None = None
        self.is_alone = False
        self.found: Any = None
        self.failed: BaseException | None = None

    def __enter__(self) -> "Helper":
        try:
            start(self._serve)
        except RuntimeError:
            self.is_alone = True
        return self

    def _serve(self) -> None:
        while (turn := self.turns.get()) is not None:
            turn.take()
            del turn  # it holds what it worked on

    def begin(self, work: Callable[[], Any]) -> None:
        """Let the helper do some work, once what was begun before is done; raise what that raised."""
        self.result()

        def keep() -> None:
            try:
                self.found = work()
            except BaseException as error:
                self.failed = error

        if self.is_alone:
            keep()
        else:
            self.last = Turn(keep)
            self.turns.put(self.last)

    def result(self) -> Any:
        """Wait for the work that was begun last, and return what it returned or raise what it raised, once."""
        if self.last is not None:
            self.last.wait()
        found, failed = self.found, self.failed
        self.last = self.found = self.failed = None
        if failed is not None:
            raise failed
        return found

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        last = [] if self.last is None else [self.last]
        try:
            end_all(last)
        except BaseException:
            end_all(last)
            raise
        finally:
            self.turns.put(None)


def chunks(n_rows: int, size: int) -> list[tuple[int, int]]:
    """Return the [start, stop) pairs that cut `n_rows` rows into chunks of `size`."""
    return [(start, min(start + size, n_rows)) for start in range(0, n_rows, size)]


def in_order(work: Callable[[int, int], Result], pieces: list[tuple[int, int]], *, threads: int) -> Iterator[Result]:
    """Yield the result of `work(start, stop)` for each piece, in the order of the pieces.

    The calling thread works too: one that slept meanwhile would have to be woken, and the thread that it gave the work
    to may have been put on its own core. So a call needs no helper to come to its end, and calls inside each other, or
    from several threads, cannot wait for each other. A piece that raises ends the others; the first error in their
    order is raised.
    """
    if threads == 1 or len(pieces) <= 1:
        yield from starmap(work, pieces)
        return
    left = iter(enumerate(pieces))  # each piece is taken by one thread, since `next` is one step of the interpreter
    done: list[tuple[Result] | BaseException | None] = [None] * len(pieces)

    def take() -> bool:
        place, piece = next(left, (-1, (0, 0)))
        if place < 0:
            return False
        try:
            done[place] = (work(*piece),)
        except BaseException as error:
            done[place] = error
            for _ in left:
                pass
        return True

    def take_all() -> None:
        while take():
            pass

    first = 0

    def results() -> Iterator[Result]:
        nonlocal first
        while take():
            while first < len(pieces) and isinstance(result := done[first], tuple):
                yield result[0]
                first += 1

    turns = [Turn(take_all) for _ in range(min(threads, len(pieces)) - 1)]
    try:
        helpers.offer(turns)
        yield from results()
    finally:
        try:
            _end_pieces(left, turns)
        except BaseException:
            _end_pieces(left, turns)  # an interrupt may fall before its first line
            raise
    yield from _results_or_error(done[first:])


def _end_pieces(left: Iterator[Any], turns: list[Turn]) -> None:
    """Take all pieces that are left, so that no thread works on them, and end the turns."""
    for _ in left:
        pass
    end_all(turns)


def _results_or_error(done: list[tuple[Result] | BaseException | None]) -> Iterator[Result]:
    """Yield the results of some pieces up to the first that raised, and raise what it raised."""
    for result in done:
        if isinstance(result, BaseException):
            raise result
        if result is not None:
            yield result[0]
