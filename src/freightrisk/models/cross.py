"""Which tables a pass over the rows fills, so that score and information by level and by pair of levels follow.

A table over three or four small factors costs a row no more than one over two, and holds six pairs of them. So each
pair is read off one of a few wide tables instead of having one of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import prod

import numpy as np
from numpy.typing import NDArray

from freightrisk.models.design import Array

SCORE_CELLS = 2**12  # score and information of so many cells are 64 kB
CROSS_CELLS = 2**14


@dataclass(frozen=True, eq=False)
class CrossTables:
    """Tables over sets of factors, each pair of factors in one of them.

    Parameters
    ----------
    sizes : tuple of int
        Slots of each factor.
    sets : tuple of tuple of int
        The factors of each table, ascending.
    n_scores : int
        So many tables, the first ones, hold score and information, and have each factor once; the others hold
        information alone.
    """

    sizes: tuple[int, ...]
    sets: tuple[tuple[int, ...], ...]
    n_scores: int

    @classmethod
    def of(cls, sizes: Sequence[int]) -> "CrossTables":
        """Return tables for factors of some sizes."""
        scores = _packed(sizes)
        return cls(tuple(sizes), (*scores, *_covering(sizes, scores)), len(scores))

    @cached_property
    def members(self) -> NDArray[np.int32]:
        """Return the factors of all tables, one table after another."""
        return np.array([factor for factors in self.sets for factor in factors], dtype=np.int32)

    @cached_property
    def firsts(self) -> NDArray[np.int32]:
        """Return where the factors of each table start."""
        return np.cumsum([0, *map(len, self.sets)]).astype(np.int32)

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """Return where the cells of each table start, and their number."""
        cells = [self._cells(t) * (2 if t < self.n_scores else 1) for t in range(len(self.sets))]
        return np.cumsum([0, *cells]).astype(np.int64)

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """Return where each factor starts in what is held by level."""
        return np.cumsum([0, *self.sizes]).astype(np.int64)

    @cached_property
    def table_of(self) -> dict[tuple[int, int], int]:
        """Return the smallest table that holds each pair."""
        order = sorted(range(len(self.sets)), key=lambda t: -self._cells(t))
        return {pair: t for t in order for pair in combinations(self.sets[t], 2)}

    def by_level(self, cells: Array, part: int) -> Array:
        """Return score (0) or information (1) of each slot of each factor, one factor after another."""
        found = np.zeros(int(self.offsets[-1]))
        for t in range(self.n_scores):
            table = self._table(cells, t)[..., part]
            for axis, factor in enumerate(self.sets[t]):
                others = tuple(a for a in range(table.ndim) if a != axis)
                found[self.offsets[factor] : self.offsets[factor + 1]] = table.sum(axis=others)
        return found

    def pair(self, cells: Array, first: int, second: int) -> Array:
        """Return the information of each pair of slots of two factors, the first before the second."""
        t = self.table_of[first, second]
        table = self._table(cells, t)
        table = table[..., 1] if t < self.n_scores else table
        others = tuple(axis for axis, factor in enumerate(self.sets[t]) if factor not in (first, second))
        return np.asarray(table.sum(axis=others) if others else table)

    def _cells(self, t: int) -> int:
        return prod(self.sizes[factor] for factor in self.sets[t])

    def _table(self, cells: Array, t: int) -> Array:
        shape = tuple(self.sizes[factor] for factor in self.sets[t])
        return cells[self.places[t] : self.places[t + 1]].reshape(shape + ((2,) if t < self.n_scores else ()))


def _packed(sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the factors in as few sets as fit, largest first, each into the first set with room."""
    sets: list[list[int]] = []
    for factor in sorted(range(len(sizes)), key=lambda factor: -sizes[factor]):
        room = next((s for s in sets if prod(sizes[f] for f in s) * sizes[factor] <= SCORE_CELLS), None)
        if room is None:
            sets.append([factor])
        else:
            room.append(factor)
    return [tuple(sorted(s)) for s in sets]


def _covering(sizes: Sequence[int], scores: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Return sets that hold the pairs that `scores` do not: the widest pair left, with what adds most pairs to it."""
    held = {pair for factors in scores for pair in combinations(factors, 2)}
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
