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

    `work` must not call this function itself.
    """
    if threads == 1 or len(pieces) <= 1:
        yield from starmap(work, pieces)
        return
    pool = _pools.get(threads) or _pools.setdefault(threads, ThreadPoolExecutor(threads, "freightrisk"))
    yield from pool.map(lambda piece: work(*piece), pieces)
