"""Values to codes and codes to table entries, in chunks over threads; sums by code in exact arithmetic."""

from collections.abc import Callable, Hashable, Sequence
from itertools import repeat
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from freightrisk import _codes
from freightrisk._parallel import chunks, in_order

CHUNK_ROWS = 2**18
MOST_EDGES = 255  # a band is a byte
UNIT_BITS = 1127  # 1074 for the least double, 2^-1074, and 53 for a mantissa as a whole number
# The signed type that holds every unsigned value of a size in bytes; for 8 bytes, larger values turn negative.
SIGNED = {1: np.int16, 2: np.int32, 4: np.int64, 8: np.int64}

Slot = TypeVar("Slot", np.uint8, np.uint16, np.uint32, np.unsignedinteger[Any])


class Places:
    """The place of each value in a list. Whole numbers are looked up without a loop in Python.

    Parameters
    ----------
    values : sequence
        The list, without repeats.
    """

    def __init__(self, values: Sequence[Hashable]) -> None:
        self.of_one = {value: place for place, value in enumerate(values)}
        self._sorted = np.empty(0, dtype=np.int64)
        if values and all(type(value) is int and abs(value) < 2**63 for value in values):
            numbers = np.array(values, dtype=np.int64)
            self._order = np.argsort(numbers)
            self._sorted = numbers[self._order]

    def of(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """Return the place of each value; the length of the list for a value that is not in it."""
        none = len(self.of_one)
        # int64 lookups are exact only if the type of the values fits into int64; all else goes through a dictionary.
        if not len(self._sorted) or values.dtype.kind not in "iu" or not np.can_cast(values.dtype, np.int64):
            return np.fromiter(map(self.of_one.get, values.tolist(), repeat(none)), np.int64, len(values))
        at = np.searchsorted(self._sorted, values)
        at[at == none] = 0
        return np.where(self._sorted[at] == values, self._order[at], none)


def looked_up(categories: NDArray[Any], table: NDArray[Slot], *, threads: int) -> NDArray[Slot]:
    """Return the table's entry for each row's category; a category outside the table gets the last entry.

    Parameters
    ----------
    categories : integer array, shape (n,)
    table : uint8, uint16 or uint32 array, shape (m,), m > 0
    threads : int

    Returns
    -------
    array of the table's type, shape (n,)
    """
    found, size = _bytes_of(categories)
    out = np.empty(len(categories), dtype=table.dtype)
    entries, entry_size = np.ascontiguousarray(table).view(np.uint8), table.dtype.itemsize
    written = out.view(np.uint8)
    _over_rows(lambda a, b: _codes.recode(found, size, entries, entry_size, a, b, written), len(out), threads)
    return out


def paired(
    which: NDArray[np.int32], categories: NDArray[Any], n_values: int, seen: NDArray[np.uint8], *, threads: int
) -> None:
    """Replace `which` by which * n_values + category, and mark the pairs that occur in `seen`.

    A category outside [0, n_values) counts as n_values - 1. Several threads may mark the same pair, because they write
    the same value.
    """
    found, size = _bytes_of(categories)
    _over_rows(lambda a, b: _codes.pair_categories(found, size, n_values, a, b, which, seen), len(which), threads)


def banded(values: NDArray[np.float64], edges: NDArray[np.float64], *, threads: int) -> NDArray[np.uint8]:
    """Return the number of edges below each value, of at most 255 ascending edges; 0 for NaN."""
    padded = np.full(1 << len(edges).bit_length(), np.inf)
    padded[: len(edges)] = edges
    values, out = np.ascontiguousarray(values), np.empty(len(values), dtype=np.uint8)
    _over_rows(lambda start, stop: _codes.band_codes(values, padded, start, stop, out), len(out), threads)
    return out


def exact_sums(which: NDArray[Any], weights: NDArray[np.float64] | None, size: int) -> list[int]:
    """Return the sum of the weights of each code in units of 2^-1127, without rounding.

    The last digits of a sum of doubles depend on the order of the rows, and a comparison of two sums may depend on
    these digits. Exact sums do not depend on the order of the rows, or on a division into pieces. `in_doubles` rounds
    them once.

    Parameters
    ----------
    which : integer array, shape (n,)
        Code of each row, below `size`.
    weights : float64 array, shape (n,), finite, at least 0, optional
        By default 1 for each row.
    size : int
        Number of codes.

    Returns
    -------
    list of int
    """
    if weights is None:
        return [count << UNIT_BITS for count in np.bincount(which, minlength=size).tolist()]
    mantissa, exponent = np.frexp(weights)
    whole = np.ldexp(mantissa, 53).astype(np.int64)  # a weight is whole * 2^(exponent - 53)
    sums = [0] * size
    for power in np.unique(exponent).tolist():
        rows = exponent == power
        codes, parts = which[rows], whole[rows]
        # Sums of parts of 18 bits over 2^35 rows stay below 2^53, so doubles add them up without rounding.
        for shift in (0, 18, 36):
            found = np.bincount(codes, (parts >> shift) & (2**18 - 1), minlength=size)
            for code in np.flatnonzero(found).tolist():
                sums[code] += int(found[code]) << (UNIT_BITS + power - 53 + shift)
    return sums


def in_doubles(sums: list[int]) -> list[float]:
    """Return the doubles nearest to sums in units of 2^-1127."""
    one = 1 << UNIT_BITS
    return [units / one for units in sums]


def _over_rows(work: Callable[[int, int], None], n_rows: int, threads: int) -> None:
    for _ in in_order(work, chunks(n_rows, CHUNK_ROWS), threads=threads):
        pass


def _bytes_of(categories: NDArray[Any]) -> tuple[NDArray[np.uint8], int]:
    """Return the bytes of categories as signed integers, and the number of bytes of each category."""
    signed = categories.dtype.kind == "i" and categories.dtype.isnative
    found = np.ascontiguousarray(categories, dtype=None if signed else SIGNED[categories.dtype.itemsize])
    return found.view(np.uint8), found.dtype.itemsize
