"""Fixed chunks of rows over Python threads: the chunks depend on the rows alone, so any number of threads agrees."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import starmap
from typing import TypeVar

Result = TypeVar("Result")

# Threads are started once: starting them anew would take as long as pricing ten thousand orders.
_pools: dict[int, ThreadPoolExecutor] = {}
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)  # a child has none of its parent's threads


def chunks(n_rows: int, size: int) -> list[tuple[int, int]]:
    """Return the [start, stop) pairs that cut `n_rows` rows into chunks of `size`."""
    return [(start, min(start + size, n_rows)) for start in range(0, n_rows, size)]


def in_order(work: Callable[[int, int], Result], pieces: list[tuple[int, int]], *, threads: int) -> Iterator[Result]:
    """Yield the result of `work(start, stop)` for each piece, in the order of the pieces.

    The calling thread works too: one that slept meanwhile would have to be woken, and the thread that it gave the work
    to may have been put on its own core. A piece that raises ends the others; the first error in their order is raised.
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

    pool = _pools.get(threads) or _pools.setdefault(threads, ThreadPoolExecutor(threads - 1, "freightrisk"))
    others = [pool.submit(take_all) for _ in range(min(threads, len(pieces)) - 1)]
    try:
        first = 0
        while take():
            while first < len(pieces) and isinstance(result := done[first], tuple):
                yield result[0]
                first += 1
    finally:
        for _ in left:
            pass
        for other in others:
            if not other.cancel():
                other.result()
    for result in done[first:]:
        if isinstance(result, BaseException):
            raise result
        if result is not None:
            yield result[0]
