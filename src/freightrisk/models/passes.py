"""Rows to fit, and the kernel's passes over them: in fixed pieces, on several threads, in bounded memory."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _blocks, _check, _fit
from freightrisk._mapped import let_go, on_disk
from freightrisk._parallel import chunks, in_order
from freightrisk._types import Array
from freightrisk.models.cross import CrossTables
from freightrisk.models.design import Layout
from freightrisk.models.families import FAMILIES

CHUNK_ROWS = 2**17  # of a piece; the cut depends only on the number of rows, so sums do not depend on threads
PART_ROWS = 2**20  # of a part in double precision
LANES = 4  # least number of runs of pieces, each with its own sums
LARGE_CELLS = 2**20  # of a tree with other factors, beyond which rows are taken leaf by leaf


@dataclass(frozen=True, eq=False)
class Problem:
    """Rows to fit: codes, response, multiplicative offset, prior weight and lines (empty arrays stand for ones).

    Response, offset, weight and lines are float64, float32, uint8, uint16 or uint32. `family_parameter` is the
    dispersion of a negative binomial, the power of a Tweedie variance or the correlation of a beta binomial.
    `dispersion` multiplies the variance of a family that has one; 0 if the Pearson statistic estimates it.
    """

    family: str
    codes: Mapping[str, NDArray[Any]]
    sizes: Mapping[str, int]
    response: NDArray[Any]
    multiplier: NDArray[Any] = field(default_factory=lambda: np.empty(0))
    weight: NDArray[Any] = field(default_factory=lambda: np.empty(0))
    family_parameter: float = 0.0
    dispersion: float = 0.0
    trials: NDArray[Any] = field(default_factory=lambda: np.empty(0))

    @property
    def n_rows(self) -> int:
        """Return the number of rows."""
        return len(self.response)

    @property
    def y(self) -> Array:
        """Return the response of all rows in double precision."""
        return self.response.astype(np.float64, copy=False)

    @property
    def arrays(self) -> list[NDArray[Any]]:
        """Return response, offset, weight and lines."""
        return [self.response, self.multiplier, self.weight, self.trials]

    def parts(self) -> Iterator["Problem"]:
        """Yield the problem in parts of consecutive rows, in double precision; temporary arrays stay small."""
        for start, stop in chunks(self.n_rows, PART_ROWS):
            values = [array[start:stop].astype(np.float64, copy=False) for array in self.arrays]
            codes = {name: column[start:stop] for name, column in self.codes.items()}
            response, multiplier, weight, trials = values
            yield replace(self, codes=codes, response=response, multiplier=multiplier, weight=weight, trials=trials)
            let_go([*self.codes.values(), *self.arrays], start, stop)


@dataclass(frozen=True, eq=False)
class Sums:
    """The result of a pass over the rows: gradient and information by level and by pair of levels, and totals.

    Parameters
    ----------
    tables : CrossTables
    cells : float64 array
        The cells of all tables if `full`, else of the tables with gradients.
    totals : float64 array, shape (4,)
        Objective, Pearson sum, total gradient and total information.
    full : bool
        Whether the information of pairs of levels was computed.
    """

    tables: CrossTables
    cells: Array
    totals: Array
    full: bool

    @cached_property
    def gradient(self) -> Array:
        """Return the gradient of each level, one factor after another."""
        return self.tables.by_level(self.cells, 0, full=self.full)

    @cached_property
    def information(self) -> Array:
        """Return the information of each level."""
        return self.tables.by_level(self.cells, 1, full=self.full)

    def pair(self, first: int, second: int) -> Array:
        """Return the information of each pair of levels of two factors; `first` is below `second`."""
        return self.tables.pair(self.cells, first, second)


class Passes:
    """The kernel's passes over the rows of a problem.

    The tables over a tree of many leaves and another factor are far larger than a cache. If the rows are in memory,
    they are therefore taken leaf by leaf. A pass then writes to a few rows of these tables at a time. Threads share the
    tables, because each thread has leaves of its own.

    Parameters
    ----------
    problem : Problem
    layout : Layout
    threads : int
    """

    def __init__(self, problem: Problem, layout: Layout, threads: int) -> None:
        leaves = layout.names[0] if layout.tree is not None else ""
        large = bool(leaves) and layout.sizes[0] * sum(layout.sizes[1:]) > LARGE_CELLS
        by_leaf = large and not any(map(on_disk, problem.codes.values()))
        if by_leaf:
            problem = sorted_by_leaf(problem, leaves, layout.names, threads)
        codes = {name: problem.codes[name] for name in layout.names}
        self.problem, self.layout, self.threads = problem, layout, threads
        self.columns = _check.code_columns(codes, problem.sizes) if codes else _no_columns(problem.n_rows)
        self.values = _fit.RowValues([np.ascontiguousarray(array) for array in problem.arrays])
        self.tables = CrossTables.of(layout.sizes, apart=by_leaf)
        self.arrays = [*codes.values(), *problem.arrays]
        self.pieces = chunks(problem.n_rows, CHUNK_ROWS)
        if by_leaf:
            column = problem.codes[leaves]
            # Pieces begin and end with a leaf, so that no two threads write to the same cells.
            cuts = np.searchsorted(column, column[[start for start, _ in self.pieces]])
            self.pieces = list(pairwise(dict.fromkeys([*cuts.tolist(), problem.n_rows])))
        self.stores: dict[bool, tuple[Array, Array]] = {}

    def over(
        self,
        base: float,
        tables: Array,
        pieces: list[tuple[int, int]] | None = None,
        *,
        observed: bool = False,
        full: bool = True,
    ) -> Sums:
        """Return the sums over all rows or some pieces of them; they do not depend on the number of threads.

        The information is the expected information. If `observed` is true and the family supports it, it is the
        observed information. Without `full`, the information of pairs is left out. The next call with the same `full`
        overwrites the result.
        """
        problem, layout, cross = self.problem, self.layout, self.tables
        family = FAMILIES[problem.family]
        kernel = _fit.FAMILIES[family.observed if observed and family.observed else family.kernel or family.name]
        shared, n_cells = cross.n_cells(full)
        pieces = self.pieces if pieces is None else pieces
        lanes = _lanes(pieces, n_cells - shared)
        cells, totals = self._store(len(lanes), shared, n_cells, full)
        own = cells[shared:].reshape(len(totals), n_cells - shared)
        places, mine = cross.places(full), ~cross.is_apart(full)
        firsts = cross.firsts[: cross.n_tables(full) + 1]
        cells[:shared] = 0.0

        def work(lane: int, _: int) -> int:
            own[lane] = 0.0
            totals[lane] = 0.0
            first, last = lanes[lane]
            for start, stop in pieces[first:last]:
                _fit.accumulate(
                    kernel, problem.family_parameter, self.columns, layout.offsets, base, tables, self.values,
                    start, stop, cross.members, firsts, places + lane * (n_cells - shared) * mine,
                    cross.n_gradients, cells, totals[lane],
                )  # fmt: skip
                let_go(self.arrays, start, stop)
            return lane

        # Lanes are added in their order, whichever thread finishes first.
        for lane in in_order(work, [(lane, lane) for lane in range(len(lanes))], threads=self.threads):
            if lane:
                own[0] += own[lane]
                totals[0] += totals[lane]
        return Sums(cross, cells[:n_cells], totals[0], full)

    def _store(self, lanes: int, shared: int, n_cells: int, full: bool) -> tuple[Array, Array]:
        lanes = max(1, lanes)
        if full not in self.stores or len(self.stores[full][1]) != lanes:
            self.stores[full] = np.zeros(shared + lanes * (n_cells - shared)), np.zeros((lanes, 4))
        return self.stores[full]


def sorted_by_leaf(problem: Problem, leaves: str, names: tuple[str, ...], threads: int) -> Problem:
    """Return the problem with its rows sorted by leaf; rows of one leaf keep their order."""
    column = problem.codes[leaves]
    small = column.astype(np.uint16) if problem.sizes[leaves] <= 2**16 else column  # numpy sorts 16 bits by radix
    by_leaf = np.argsort(small, kind="stable")
    arrays = [*problem.arrays, *(problem.codes[name] for name in names)]

    def sort(k: int, _: int) -> NDArray[Any]:
        return arrays[k].take(by_leaf) if len(arrays[k]) else arrays[k]

    response, multiplier, weight, trials, *codes = in_order(sort, [(k, k) for k in range(len(arrays))], threads=threads)
    by_name = dict(zip(names, codes, strict=True))
    return replace(problem, codes=by_name, response=response, multiplier=multiplier, weight=weight, trials=trials)


def _lanes(pieces: list[tuple[int, int]], n_cells: int) -> list[tuple[int, int]]:
    """Return runs of pieces that share sums: at least LANES if there are pieces enough, at most 16 LANES."""
    # Each run has cells to clear and to add. More than LANES runs therefore need four rows or more for each cell.
    rows = sum(stop - start for start, stop in pieces)
    count = min(len(pieces), max(LANES, min(16 * LANES, rows // max(1, 4 * n_cells))))
    ends = np.linspace(0, len(pieces), count + 1).astype(int).tolist()
    return list(pairwise(ends))


def _no_columns(n_rows: int) -> _blocks.CodeColumns:
    return _blocks.CodeColumns([], np.empty(0, dtype=np.int64), n_rows)
