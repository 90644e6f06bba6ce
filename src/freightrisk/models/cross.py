"""The tables that a pass over the rows fills. Gradient and information by level and by pair of levels follow from them.

A table over three or four small factors costs no more time a row than a table over two factors, and four factors make
six pairs. A few wide tables therefore replace one table for each pair.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import prod

import numpy as np
from numpy.typing import NDArray

from freightrisk._types import Array

GRADIENT_CELLS = 2**12  # most cells of a table with gradients over several factors: 64 kB
CROSS_CELLS = 2**14  # most cells of a table without gradients over three or more factors: 128 kB


@dataclass(frozen=True, eq=False)
class CrossTables:
    """Tables over sets of factors, such that each pair of factors is in at least one table.

    Parameters
    ----------
    sizes : tuple of int
        Number of slots of each factor.
    sets : tuple of tuple of int
        The factors of each table, ascending.
    n_gradients : int
        Number of tables, from the first on, that hold gradient and information. Each factor is in exactly one of them.
        The other tables hold only information.
    apart : bool
        Whether the cells of tables with the first factor come before all other cells.
    """

    sizes: tuple[int, ...]
    sets: tuple[tuple[int, ...], ...]
    n_gradients: int
    apart: bool = False

    @classmethod
    def of(cls, sizes: Sequence[int], *, apart: bool = False) -> "CrossTables":
        """Return tables for factors of the given sizes."""
        gradients = _packed(sizes)
        return cls(tuple(sizes), (*gradients, *_covering(sizes, gradients)), len(gradients), apart)

    @cached_property
    def members(self) -> NDArray[np.int32]:
        """Return the factors of all tables, one table after another."""
        return np.array([factor for factors in self.sets for factor in factors], dtype=np.int32)

    @cached_property
    def firsts(self) -> NDArray[np.int32]:
        """Return where the factors of each table start."""
        return np.cumsum([0, *map(len, self.sets)]).astype(np.int32)

    def n_tables(self, full: bool) -> int:
        """Return the number of tables, or of tables with gradients if not `full`."""
        return len(self.sets) if full else self.n_gradients

    def is_apart(self, full: bool) -> NDArray[np.bool_]:
        """Return for each table whether its cells come before all other cells."""
        return np.array([self.apart and 0 in factors for factors in self.sets[: self.n_tables(full)]], dtype=bool)

    def places(self, full: bool) -> NDArray[np.int64]:
        """Return where the cells of each table start."""
        return self._placed[full][0]

    def n_cells(self, full: bool) -> tuple[int, int]:
        """Return the number of cells of the tables that come first, and of all tables."""
        return self._placed[full][1:]

    @cached_property
    def _placed(self) -> dict[bool, tuple[NDArray[np.int64], int, int]]:
        found = {}
        for full in (True, False):
            cells = np.array(
                [self._cells(t) * (1 + (t < self.n_gradients)) for t in range(self.n_tables(full))], np.int64
            )
            shared_first = np.argsort(~self.is_apart(full), kind="stable")
            places = np.zeros(len(cells), dtype=np.int64)
            places[shared_first] = np.cumsum(cells[shared_first]) - cells[shared_first]
            found[full] = places, int(cells[self.is_apart(full)].sum()), int(cells.sum())
        return found

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """Return where each factor starts in arrays by level."""
        return np.cumsum([0, *self.sizes]).astype(np.int64)

    @cached_property
    def table_of(self) -> dict[tuple[int, int], int]:
        """Return the smallest table that holds each pair."""
        # From the largest table down, so that smaller ones overwrite it.
        descending = sorted(range(len(self.sets)), key=lambda t: -self._cells(t))
        return {pair: t for t in descending for pair in combinations(self.sets[t], 2)}

    def by_level(self, cells: Array, part: int, *, full: bool = True) -> Array:
        """Return gradient (part 0) or information (part 1) of each slot, one factor after another (equation 5)."""
        found = np.zeros(int(self.offsets[-1]))
        for t in range(self.n_gradients):
            table = self._table(cells, t, full)[..., part]
            for axis, factor in enumerate(self.sets[t]):
                others = tuple(a for a in range(table.ndim) if a != axis)
                found[self.offsets[factor] : self.offsets[factor + 1]] = table.sum(axis=others)
        return found

    def pair(self, cells: Array, first: int, second: int) -> Array:
        """Return the information of each pair of slots of two factors; `first` is below `second`."""
        t = self.table_of[first, second]
        table = self._table(cells, t, True)
        table = table[..., 1] if t < self.n_gradients else table
        others = tuple(axis for axis, factor in enumerate(self.sets[t]) if factor not in (first, second))
        return np.asarray(table.sum(axis=others) if others else table)

    def _cells(self, t: int) -> int:
        return prod(self.sizes[factor] for factor in self.sets[t])

    def _table(self, cells: Array, t: int, full: bool) -> Array:
        shape = tuple(self.sizes[factor] for factor in self.sets[t]) + ((2,) if t < self.n_gradients else ())
        start = int(self.places(full)[t])
        return cells[start : start + prod(shape)].reshape(shape)


def _packed(sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the factors in few sets: from the largest factor down, each goes into the first set with room for it."""
    sets: list[list[int]] = []
    for factor in sorted(range(len(sizes)), key=lambda factor: -sizes[factor]):
        room = next((s for s in sets if prod(sizes[f] for f in s) * sizes[factor] <= GRADIENT_CELLS), None)
        if room is None:
            sets.append([factor])
        else:
            room.append(factor)
    return [tuple(sorted(s)) for s in sets]


def _covering(sizes: Sequence[int], gradients: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Return sets for the pairs that `gradients` lack: each starts from the widest pair left and adds factors.

    The next factor is the factor that covers most of the remaining pairs; among equals, the smallest.
    """
    held = {pair for factors in gradients for pair in combinations(factors, 2)}
    left = [pair for pair in combinations(range(len(sizes)), 2) if pair not in held]
    left.sort(key=lambda pair: -sizes[pair[0]] * sizes[pair[1]])
    sets = []
    while left:
        chosen, cells = set(left[0]), sizes[left[0][0]] * sizes[left[0][1]]
        while True:
            gains = {
                factor: sum((min(factor, f), max(factor, f)) in left for f in chosen)
                for factor in range(len(sizes))
                if factor not in chosen and cells * sizes[factor] <= CROSS_CELLS
            }
            best = max(gains, key=lambda factor: (gains[factor], -sizes[factor]), default=-1)
            if best < 0 or not gains[best]:
                break
            chosen.add(best)
            cells *= sizes[best]
        sets.append(tuple(sorted(chosen)))
        left = [pair for pair in left if not set(pair) <= chosen]
    return sets
