"""Products of many rows with matrices, a few rows at a time over threads."""

import numpy as np

from freightrisk._parallel import chunks, in_order
from freightrisk._types import Array

SQUARED_ROWS = 2**11  # rows at a time, which stay in cache


def forms(rows: Array, matrix: Array, threads: int) -> Array:
    """Return the quadratic form of each row; a few rows at a time stay in cache."""
    found = np.empty(len(rows))

    def form(start: int, stop: int) -> None:
        part = rows[start:stop]
        found[start:stop] = np.einsum("ij,ij->i", part @ matrix, part)

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
