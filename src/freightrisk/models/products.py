"""Products of many rows with matrices, a few rows at a time over threads."""

import numpy as np

from freightrisk._parallel import chunks, in_order
from freightrisk._types import Array

SQUARED_ROWS = 2**11  # rows at a time, which stay in cache


def products(rows: Array, vector: Array, threads: int) -> Array:
    """Return the product of each row with a vector."""
    found = np.empty(len(rows))

    def product(start: int, stop: int) -> None:
        np.matmul(rows[start:stop], vector, out=found[start:stop])

    for _ in in_order(product, chunks(len(rows), SQUARED_ROWS), threads=threads):
        pass
    return found


def combination(weight: Array, rows: Array, threads: int) -> Array:
    """Return the weighted sum of rows."""
    total = np.zeros(rows.shape[1])
    parts = in_order(
        lambda start, stop: np.asarray(weight[start:stop] @ rows[start:stop]),
        chunks(len(rows), SQUARED_ROWS),
        threads=threads,
    )
    for part in parts:
        total += part
    return total


def forms(rows: Array, matrix: Array, threads: int, *, scale: Array | None = None, shift: Array | None = None) -> Array:
    """Return the quadratic form of each row, after a factor and a shift; a few rows at a time stay in cache."""
    from threadpoolctl import threadpool_limits

    found = np.empty(len(rows))

    def form(start: int, stop: int) -> None:
        part = rows[start:stop] if scale is None else rows[start:stop] * scale[start:stop, None]
        part = part if shift is None else part - shift
        found[start:stop] = np.einsum("ij,ij->i", part @ matrix, part)

    with threadpool_limits(limits=1, user_api="blas"):  # the threads here are ours
        for _ in in_order(form, chunks(len(rows), SQUARED_ROWS), threads=threads):
            pass
    return found


def squares(rows: Array, weight: Array, threads: int) -> Array:
    """Return the weighted sum of the rows' outer products with themselves; a few rows at a time stay in cache."""

    def square(start: int, stop: int) -> Array:
        part = rows[start:stop] * np.sqrt(weight[start:stop])[:, None]
        return np.asarray(part.T @ part)

    total = np.zeros((rows.shape[1], rows.shape[1]))
    for part in in_order(square, chunks(len(rows), SQUARED_ROWS), threads=threads):
        total += part
    return total
