"""Sums of log tables fitted by Newton steps on the score and information that the kernel accumulates over codes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check, _core
from freightrisk._parallel import chunks, in_order
from freightrisk.errors import FitError

CHUNK_ROWS = 2**17
SAMPLE_ROWS = 2**18
SAMPLE_PIECE = 2**12
ALIASED = 1e-9
PARAMETER_LIMIT = 2**13
NEAR = 0.5
# Families whose observed information differs from the expected one and is positive: near the maximum its steps are
# Newton's own, where those of the expected information close in by a fixed share of the way each.
OBSERVED = {"gamma": "gamma_observed"}

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """Rows to fit: codes, response, multiplicative offset and prior weight (empty arrays stand for ones)."""

    family: str
    codes: Mapping[str, NDArray[Any]]
    sizes: Mapping[str, int]
    response: Array
    scale: Array = field(default_factory=lambda: np.empty(0))
    weight: Array = field(default_factory=lambda: np.empty(0))

    @property
    def n_rows(self) -> int:
        """Return the number of rows."""
        return len(self.response)


class Sums(NamedTuple):
    """What one pass over the rows gives: score and information by level, cross tables, objective and totals."""

    score: Array
    information: Array
    pairs: Array
    totals: Array

    def plus(self, other: "Sums") -> "Sums":
        """Return the sums of two sets of rows."""
        for mine, theirs in zip(self, other, strict=True):
            mine += theirs
        return self


@dataclass(frozen=True)
class Layout:
    """Where each level stands: in the flat tables, and among the free parameters (the intercept is parameter 0)."""

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    free: NDArray[np.bool_]

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Return where each factor's table starts."""
        return (
            np.concatenate([[0], np.cumsum(self.sizes)[:-1]]).astype(np.int64) if self.sizes else np.empty(0, np.int64)
        )

    @property
    def n_pairs(self) -> int:
        """Return the cells of all cross tables."""
        total = sum(self.sizes)
        return (total * total - sum(size * size for size in self.sizes)) // 2

    def information_matrix(self, sums: Sums) -> Array:
        """Return the information of intercept and free levels, a dense symmetric matrix."""
        total = sum(self.sizes)
        full = np.zeros((total + 1, total + 1))
        full[0, 0] = sums.totals[3]
        full[0, 1:] = full[1:, 0] = sums.information
        np.fill_diagonal(full[1:, 1:], sums.information)
        place = 0
        for f, (rows, at) in enumerate(zip(self.sizes, self.offsets + 1, strict=True)):
            for columns, beside in zip(self.sizes[f + 1 :], self.offsets[f + 1 :] + 1, strict=True):
                block = sums.pairs[place : place + rows * columns].reshape(rows, columns)
                full[at : at + rows, beside : beside + columns] = block
                full[beside : beside + columns, at : at + rows] = block.T
                place += rows * columns
        kept = np.concatenate([[True], self.free])
        return np.asarray(full[np.ix_(kept, kept)])

    def gradient(self, sums: Sums) -> Array:
        """Return the score of intercept and free levels."""
        return np.concatenate([[sums.totals[2]], sums.score[self.free]])

    def spread(self, parameters: Array) -> tuple[float, Array]:
        """Return the base and the flat tables of a parameter vector."""
        tables = np.zeros(sum(self.sizes))
        tables[self.free] = parameters[1:]
        return float(parameters[0]), tables

    def level_name(self, parameter: int, labels: Mapping[str, tuple[str, ...]]) -> str:
        """Return "factor 'f', level 'l'" for a parameter."""
        if parameter == 0:
            return "the base"
        place = int(np.flatnonzero(self.free)[parameter - 1])
        f = int(np.searchsorted(self.offsets, place, side="right")) - 1
        return f"factor '{self.names[f]}', level '{labels[self.names[f]][place - int(self.offsets[f])]}'"


@dataclass(frozen=True)
class Step:
    """One Newton step: rows used, objective before it, largest move, halvings."""

    rows: int
    objective: float
    largest_move: float
    halvings: int


@dataclass(frozen=True)
class Solution:
    """A fitted table model in the solver's terms."""

    base: float
    tables: Array
    covariance: Array
    objective: float
    pearson: float
    steps: tuple[Step, ...]
    converged: bool


def accumulate(
    problem: Problem,
    layout: Layout,
    base: float,
    tables: Array,
    *,
    pieces: list[tuple[int, int]],
    threads: int,
    with_pairs: bool = True,
    observed: bool = False,
) -> Sums:
    """Return the sums over some pieces of the rows, the same for any number of threads.

    The information is the expected one, or the observed one where `observed` is true and the family has it.
    """
    columns = _check.code_columns(problem.codes, problem.sizes) if problem.codes else _no_columns(problem.n_rows)
    family = _core.FAMILIES[OBSERVED.get(problem.family, problem.family) if observed else problem.family]
    work = partial(_accumulate_piece, family, problem, columns, layout, base, tables, with_pairs)
    total: Sums | None = None
    for part in in_order(work, pieces, threads=threads):
        total = part if total is None else total.plus(part)
    return total if total is not None else _empty_sums(layout, with_pairs)


def _accumulate_piece(
    family: int,
    problem: Problem,
    columns: _core.CodeColumns,
    layout: Layout,
    base: float,
    tables: Array,
    with_pairs: bool,
    start: int,
    stop: int,
) -> Sums:
    sums = _empty_sums(layout, with_pairs)
    _core.accumulate(
        family,
        columns,
        layout.offsets,
        base,
        tables,
        problem.response,
        problem.scale,
        problem.weight,
        start,
        stop,
        with_pairs,
        *sums,
    )
    return sums


def _empty_sums(layout: Layout, with_pairs: bool) -> Sums:
    total = sum(layout.sizes)
    return Sums(np.zeros(total), np.zeros(total), np.zeros(layout.n_pairs if with_pairs else 0), np.zeros(4))


def _no_columns(n_rows: int) -> _core.CodeColumns:
    return _core.CodeColumns([], np.empty(0, dtype=np.int64), n_rows)


def solve(
    problem: Problem,
    layout: Layout,
    labels: Mapping[str, tuple[str, ...]],
    *,
    tolerance: float,
    max_iterations: int,
    threads: int,
) -> Solution:
    """Return the maximum likelihood tables: a start from a spread sample of the rows, then Newton on all of them."""
    parameters = np.zeros(1 + int(layout.free.sum()))
    if len(parameters) > PARAMETER_LIMIT:
        raise FitError(
            f"the model has {len(parameters):,} free levels, over the {PARAMETER_LIMIT:,} that its dense information "
            "matrix may have; pool rare levels with min_exposure= or min_claims= when the factor is declared."
        )
    parameters[0] = _start(problem)
    steps: list[Step] = []
    if problem.n_rows > 4 * SAMPLE_ROWS:
        sample = _sample_pieces(problem.n_rows)
        parameters, *_ = _newton(problem, layout, labels, parameters, steps, sample, 1e-3, 8, threads, ridge=1.0)
    everything = chunks(problem.n_rows, CHUNK_ROWS)
    parameters, sums, converged = _newton(
        problem, layout, labels, parameters, steps, everything, tolerance, max_iterations, threads, ridge=0.0
    )
    if not converged:
        raise FitError(
            f"the {problem.family} fit did not converge in {max_iterations} iterations (last move "
            f"{steps[-1].largest_move:.2g}); pool levels with few claims (min_claims=), or raise max_iterations."
        )
    base, tables = layout.spread(parameters)
    if problem.family in OBSERVED:  # standard errors take the expected information, as statsmodels does
        sums = accumulate(problem, layout, base, tables, pieces=everything, threads=threads)
    covariance = _inverse(layout.information_matrix(sums), layout, labels)
    return Solution(base, tables, covariance, float(sums.totals[0]), float(sums.totals[1]), tuple(steps), converged)


def _newton(
    problem: Problem,
    layout: Layout,
    labels: Mapping[str, tuple[str, ...]],
    parameters: Array,
    steps: list[Step],
    pieces: list[tuple[int, int]],
    tolerance: float,
    max_iterations: int,
    threads: int,
    *,
    ridge: float,
) -> tuple[Array, Sums, bool]:
    run = partial(accumulate, problem, layout, pieces=pieces, threads=threads)
    rows = sum(stop - start for start, stop in pieces)
    sums = run(*layout.spread(parameters))
    for _ in range(max_iterations):
        move = _newton_move(layout, labels, sums, parameters, ridge)
        largest, halvings = float(np.abs(move).max()), 0
        objective = _penalised(sums, parameters, ridge)
        if largest < tolerance:
            steps.append(Step(rows, objective, largest, 0))
            return parameters + move, sums, True
        while True:
            trial = run(*layout.spread(parameters + move), observed=largest < NEAR)
            if (
                _penalised(trial, parameters + move, ridge) >= objective - 1e-9 * (1.0 + abs(objective))
                or halvings == 30
            ):
                break
            move, halvings = move / 2.0, halvings + 1
        parameters, sums = parameters + move, trial
        steps.append(Step(rows, objective, largest, halvings))
    return parameters, sums, False


def _penalised(sums: Sums, parameters: Array, ridge: float) -> float:
    objective = float(sums.totals[0]) - 0.5 * ridge * float(parameters[1:] @ parameters[1:])
    return objective if np.isfinite(objective) else -np.inf


def _newton_move(
    layout: Layout, labels: Mapping[str, tuple[str, ...]], sums: Sums, parameters: Array, ridge: float
) -> Array:
    matrix, gradient = layout.information_matrix(sums), layout.gradient(sums)
    matrix[np.arange(1, len(matrix)), np.arange(1, len(matrix))] += ridge
    gradient[1:] -= ridge * parameters[1:]
    from scipy.linalg import cho_solve

    scale, factor = _factor(matrix, layout, labels)
    return np.asarray(cho_solve((factor, True), gradient / scale)) / scale


def _factor(matrix: Array, layout: Layout, labels: Mapping[str, tuple[str, ...]]) -> tuple[Array, Array]:
    """Return the scale and the Cholesky factor of a matrix scaled to unit diagonal, or raise for aliased levels."""
    from scipy.linalg import LinAlgError, cholesky

    scale = np.sqrt(np.diag(matrix))
    if not np.all(scale > 0.0):
        raise FitError(
            f"{layout.level_name(int(np.argmin(scale)), labels)} carries no information; pool it (min_claims=)."
        )
    scaled = matrix / np.outer(scale, scale)
    try:
        factor = cholesky(scaled, lower=True)
        smallest = int(np.argmin(np.diag(factor)))
        if factor[smallest, smallest] ** 2 > ALIASED:
            return scale, factor
    except LinAlgError:
        smallest = _first_dependent(scaled)
    raise FitError(
        f"{layout.level_name(smallest, labels)} is a combination of other levels in these rows, so its relativity is "
        "not determined; drop one of the factors or merge the level."
    )


def refuse_aliased(matrix: Array, layout: Layout, labels: Mapping[str, tuple[str, ...]]) -> None:
    """Raise for a level that is a combination of others, given the cross products of the design."""
    _factor(matrix, layout, labels)


def _first_dependent(matrix: Array) -> int:
    """Return the first row that the rows before it determine."""
    from scipy.linalg.lapack import dpotrf

    return max(int(dpotrf(matrix, lower=1)[1]) - 1, 0)


def _inverse(matrix: Array, layout: Layout, labels: Mapping[str, tuple[str, ...]]) -> Array:
    from scipy.linalg import cho_solve

    scale, factor = _factor(matrix, layout, labels)
    return np.asarray(cho_solve((factor, True), np.diag(1.0 / scale))) / scale[:, None]


def _start(problem: Problem) -> float:
    """Return the log of the mean response an exposure."""
    if problem.family == "gamma":
        ratio = problem.response / problem.scale if len(problem.scale) else problem.response
        return float(np.log(np.average(ratio, weights=problem.weight if len(problem.weight) else None)))
    weight = problem.weight if len(problem.weight) else np.ones(1)
    exposure = (problem.scale if len(problem.scale) else np.ones(problem.n_rows)) * weight
    return float(np.log((problem.response * weight).sum() / exposure.sum()))


def _sample_pieces(n_rows: int) -> list[tuple[int, int]]:
    """Return pieces spread evenly over the rows, some SAMPLE_ROWS in all."""
    starts = np.linspace(0, n_rows - SAMPLE_PIECE, SAMPLE_ROWS // SAMPLE_PIECE).astype(int)
    return [(int(start), int(start) + SAMPLE_PIECE) for start in starts]


def null_problem(problem: Problem) -> Problem:
    """Return the problem with a base and nothing else."""
    return replace(problem, codes={}, sizes={})
