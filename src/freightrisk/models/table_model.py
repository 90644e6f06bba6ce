"""Sums of log tables fitted by Newton steps on the score and information that the kernel accumulates over codes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check, _core
from freightrisk._parallel import chunks, in_order
from freightrisk.errors import FitError
from freightrisk.models.design import Array, Layout, SlotNames
from freightrisk.models.families import FAMILIES
from freightrisk.models.quadratic import (
    STRENGTH_TOLERANCE,
    Constraints,
    Quadratic,
    Reduced,
    State,
    constraints,
    covariance_of,
    estimate_strengths,
    monotone_move,
    reduce,
)

CHUNK_ROWS = 2**17
LANES = 4
SAMPLE_ROWS = 2**18
SAMPLE_PIECE = 2**12
PARAMETER_LIMIT = 2**13
CELL_LIMIT = 2**28
NEAR = 0.5
FIRST_VARIANCE = 0.1
SETTLED = 1e-6


@dataclass(frozen=True)
class Problem:
    """Rows to fit: codes, response, multiplicative offset, prior weight and lines (empty arrays stand for ones).

    `shape` is the dispersion of a negative binomial, the power of a Tweedie variance or the correlation of a beta
    binomial. `dispersion` is what is known of a scaled family's, 0 where the Pearson statistic estimates it.
    """

    family: str
    codes: Mapping[str, NDArray[Any]]
    sizes: Mapping[str, int]
    response: Array
    scale: Array = field(default_factory=lambda: np.empty(0))
    weight: Array = field(default_factory=lambda: np.empty(0))
    shape: float = 0.0
    dispersion: float = 0.0
    trials: Array = field(default_factory=lambda: np.empty(0))

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
class Step:
    """One Newton step: rows used, objective before it, largest move, halvings."""

    rows: int
    objective: float
    largest_move: float
    halvings: int


@dataclass(frozen=True)
class Solution:
    """A fitted table model in the solver's terms.

    Parameters
    ----------
    state : State
        Dense parameters and effects of the tree's nodes.
    covariance : float64 array
        Covariance of the dense parameters at dispersion 1.
    reduced : Reduced, optional
        The last penalised quadratic; absent where another engine fitted.
    sums : Sums, optional
        Score and information at the maximum.
    strengths : float64 array
        Dispersion over variance of each group.
    objective, pearson, dispersion, edf : float
    steps : tuple of Step
    """

    state: State
    covariance: Array
    reduced: Reduced | None
    sums: Sums | None
    strengths: Array
    objective: float
    pearson: float
    dispersion: float
    edf: Array
    steps: tuple[Step, ...]


def quadratic_of(layout: Layout, sums: Sums) -> Quadratic:
    """Return score and information of the dense parameters and of the tree's leaves."""
    tree, sizes, offsets = layout.tree, layout.sizes, layout.offsets
    first = 0 if tree is None else 1
    skipped = sizes[0] if first else 0
    total = sum(sizes) - skipped
    full = np.zeros((total + 1, total + 1))
    full[0, 0] = sums.totals[3]
    full[0, 1:] = full[1:, 0] = sums.information[skipped:]
    np.fill_diagonal(full[1:, 1:], sums.information[skipped:])
    leaves = np.empty(0, dtype=np.int64) if tree is None else tree.slots
    cross = np.zeros((len(leaves), layout.n_params))
    cross[:, 0] = sums.information[leaves]
    place = 0
    for f, rows in enumerate(sizes):
        for g in range(f + 1, len(sizes)):
            block = sums.pairs[place : place + rows * sizes[g]].reshape(rows, sizes[g])
            place += rows * sizes[g]
            if f < first:
                start, term = int(layout.starts[g - 1]), layout.terms[g]
                cross[:, start : start + term.n_params] = block[leaves] @ term.design
                continue
            at, beside = int(offsets[f]) + 1 - skipped, int(offsets[g]) + 1 - skipped
            full[at : at + rows, beside : beside + sizes[g]] = block
            full[beside : beside + sizes[g], at : at + rows] = block.T
    design = layout.design
    return Quadratic(
        score=design.T @ np.append(sums.totals[2], sums.score[skipped:]),
        matrix=np.asarray(design.T @ (design.T @ full).T),
        leaf_score=sums.score[leaves],
        leaf_information=sums.information[leaves],
        cross=cross,
    )


def tables_of(layout: Layout, state: State) -> tuple[float, Array]:
    """Return the base and the flat tables of a state."""
    dense = layout.design @ state.dense
    if layout.tree is None:
        return float(dense[0]), np.asarray(dense[1:])
    table = np.zeros(layout.sizes[0])
    table[layout.tree.slots] = layout.tree.down(state.nodes)[-1]
    return float(dense[0]), np.concatenate([table, dense[1:]])


def means(problem: Problem, layout: Layout, state: State) -> Array:
    """Return the mean of every row, its scale included."""
    base, flat = tables_of(layout, state)
    linear = np.full(problem.n_rows, base)
    for term, at in zip(layout.terms, layout.offsets.tolist(), strict=True):
        linear += flat[at : at + term.n_slots][problem.codes[term.name]]
    np.exp(linear, out=linear)
    return linear * problem.scale if len(problem.scale) else linear


def accumulate(
    problem: Problem,
    layout: Layout,
    base: float,
    tables: Array,
    *,
    pieces: list[tuple[int, int]],
    threads: int,
    observed: bool = False,
    store: list[Sums] | None = None,
) -> Sums:
    """Return the sums over some pieces of the rows, the same for any number of threads.

    The information is the expected one, or the observed one where `observed` is true and the family has it. Sums in
    `store`, from an earlier call with the same pieces, are written over; the result is the first of them.
    """
    codes = {name: problem.codes[name] for name in layout.names}
    columns = _check.code_columns(codes, problem.sizes) if codes else _no_columns(problem.n_rows)
    family = FAMILIES[problem.family]
    kernel = family.observed if observed and family.observed else family.kernel or family.name
    lanes = _lanes(pieces, layout.n_pairs)
    sums = [] if store is None else store
    if len(sums) != len(lanes):
        sums[:] = [_empty_sums(layout) for _ in lanes]

    def work(lane: int, _: int) -> Sums:
        for part in sums[lane]:
            part.fill(0.0)
        first, last = lanes[lane]
        for start, stop in pieces[first:last]:
            _core.accumulate(
                _core.FAMILIES[kernel], problem.shape, columns, layout.offsets, base, tables, problem.response,
                problem.scale, problem.weight, problem.trials, start, stop, True, *sums[lane],
            )  # fmt: skip
        return sums[lane]

    total: Sums | None = None
    for part in in_order(work, [(lane, lane) for lane in range(len(lanes))], threads=threads):
        total = part if total is None else total.plus(part)
    return total if total is not None else _empty_sums(layout)


def _lanes(pieces: list[tuple[int, int]], n_pairs: int) -> list[tuple[int, int]]:
    """Return runs of pieces that share sums: LANES at least, and more where the rows pay for their cross tables."""
    rows = sum(stop - start for start, stop in pieces)
    count = min(len(pieces), max(LANES, rows // max(1, 4 * n_pairs)))
    ends = np.linspace(0, len(pieces), count + 1).astype(int).tolist()
    return list(pairwise(ends))


def _empty_sums(layout: Layout) -> Sums:
    total = sum(layout.sizes)
    return Sums(np.zeros(total), np.zeros(total), np.zeros(layout.n_pairs), np.zeros(4))


def _no_columns(n_rows: int) -> _core.CodeColumns:
    return _core.CodeColumns([], np.empty(0, dtype=np.int64), n_rows)


def solve(
    problem: Problem,
    layout: Layout,
    labels: Mapping[str, SlotNames],
    *,
    tolerance: float,
    max_iterations: int,
    threads: int,
    start: State | None = None,
) -> Solution:
    """Return the tables of maximum (penalised) likelihood.

    A start from a spread sample of the rows unless one is given, then Newton's method on all of them.
    """
    _refuse_size(layout)
    tree = layout.tree
    nodes = () if tree is None else tuple(np.zeros(size) for size in tree.sizes)
    state = State(np.zeros(layout.n_params), nodes) if start is None else start
    if start is None:
        state.dense[0] = _start(problem)
    newton = _Newton(problem, layout, labels, threads, constraints(layout))
    if start is None and problem.n_rows > 4 * SAMPLE_ROWS:
        sample = newton.run(state, _sample_pieces(problem.n_rows), 1e-3, 8, ridge=1.0)
        state, steps = sample.state, sample.steps
    else:
        steps = ()
    everything = chunks(problem.n_rows, CHUNK_ROWS)
    found = newton.run(state, everything, tolerance, max_iterations, ridge=0.0)
    steps += found.steps
    if not found.converged:
        raise FitError(
            f"the {problem.family} fit did not converge in {max_iterations} iterations (last move "
            f"{steps[-1].largest_move:.2g}); pool levels with few claims (min_claims=), or raise max_iterations."
        )
    sums = found.sums
    if FAMILIES[problem.family].observed:  # standard errors take the expected information, as statsmodels does
        sums = newton.accumulate(found.state, everything)
    reduced = reduce(quadratic_of(layout, sums), layout, labels, found.strengths)
    covariance = covariance_of(reduced, found.state, newton.monotone)
    edf = effective_parameters(reduced, layout, covariance)
    return Solution(
        found.state, covariance, reduced, sums, found.strengths, float(sums.totals[0]), float(sums.totals[1]),
        problem.dispersion or dispersion_value(float(sums.totals[1]), problem.n_rows - float(edf.sum())), edf, steps,
    )  # fmt: skip


def effective_parameters(reduced: Reduced, layout: Layout, covariance: Array) -> Array:
    """Return the effective number of parameters of the intercept and of each term."""
    each = np.einsum("ij,ji->i", covariance, reduced.matrix) - np.diag(covariance) * reduced.penalty
    parts = [each[:1].sum()]
    if layout.tree is not None:
        traces = reduced.spread(covariance)[0]
        shrunk = sum(float(s * t) for s, t in zip(reduced.strengths, traces, strict=False))
        parts.append(layout.terms[0].n_params - shrunk)
    parts += [part.sum() for part in np.split(each[1:], layout.starts[1:-1] - 1)] if layout.dense else []
    return np.array(parts)


def dispersion_value(pearson: float, left: float) -> float:
    """Return the Pearson statistic over the residual degrees of freedom, NaN where there are none."""
    return pearson / left if left > 1e-6 else float("nan")


def _refuse_size(layout: Layout) -> None:
    if layout.n_params > PARAMETER_LIMIT:
        raise FitError(
            f"the model has {layout.n_params:,} free levels, over the {PARAMETER_LIMIT:,} that its dense information "
            "matrix may have; pool rare levels with min_exposure= or min_claims= when the factor is declared."
        )
    if layout.n_pairs > CELL_LIMIT:
        raise FitError(
            f"the tables of each two factors have {layout.n_pairs:,} cells together, over the {CELL_LIMIT:,} that a "
            "fit may hold; pool rare levels with min_exposure= or min_claims= when the factor is declared."
        )


class _Run(NamedTuple):
    """Where Newton's method ended."""

    state: State
    sums: Sums
    strengths: Array
    steps: tuple[Step, ...]
    converged: bool


@dataclass(frozen=True)
class _Newton:
    """Newton's method for one problem."""

    problem: Problem
    layout: Layout
    labels: Mapping[str, SlotNames]
    threads: int
    monotone: Constraints | None
    store: list[Sums] = field(default_factory=list)

    def accumulate(self, state: State, pieces: list[tuple[int, int]], *, observed: bool = False) -> Sums:
        base, tables = tables_of(self.layout, state)
        return accumulate(
            self.problem, self.layout, base, tables, pieces=pieces, threads=self.threads, observed=observed,
            store=self.store,
        )  # fmt: skip

    def run(
        self, state: State, pieces: list[tuple[int, int]], tolerance: float, max_iterations: int, *, ridge: float
    ) -> _Run:
        rows = sum(stop - start for start, stop in pieces)
        sums = self.accumulate(state, pieces)
        strengths, settled, change = self._first_strengths(), ridge > 0.0, 1.0
        steps: list[Step] = []
        for _ in range(max_iterations):
            quadratic = quadratic_of(self.layout, sums)
            if not settled:
                strengths, change = self._strengths(quadratic, state, sums, strengths, change)
                settled = change < SETTLED
            move = self._move(reduce(quadratic, self.layout, self.labels, strengths, ridge), state)
            objective = self._penalised(sums, state, strengths, ridge)
            largest, halvings = self._largest(state, move), 0
            if largest < tolerance and settled:
                steps.append(Step(rows, objective, largest, 0))
                return _Run(state.plus(move), sums, strengths, tuple(steps), True)
            while True:
                trial = state.plus(move, 0.5**halvings)
                found = self.accumulate(trial, pieces, observed=settled and largest < NEAR)
                reached = self._penalised(found, trial, strengths, ridge)
                if reached >= objective - 1e-9 * (1.0 + abs(objective)) or halvings == 30:
                    break
                halvings += 1
            state, sums = trial, found
            steps.append(Step(rows, objective, largest, halvings))
        return _Run(state, sums, strengths, tuple(steps), False)

    def _first_strengths(self) -> Array:
        return np.array([1.0 / (group.variance or FIRST_VARIANCE) for group in self.layout.groups])

    def _strengths(
        self, quadratic: Quadratic, state: State, sums: Sums, strengths: Array, change: float
    ) -> tuple[Array, float]:
        """Return the strengths for the present quadratic, and by how much their logs have moved at most.

        The further they moved last time, the less exact they need to be this time.
        """
        if not self.layout.groups:
            return strengths, 0.0
        dispersion = 1.0
        if self.problem.dispersion:
            dispersion = self.problem.dispersion
        elif FAMILIES[self.problem.family].scaled:
            reduced = reduce(quadratic, self.layout, self.labels, strengths)
            edf = float(effective_parameters(reduced, self.layout, reduced.covariance).sum())
            found = dispersion_value(float(sums.totals[1]), self.problem.n_rows - edf)
            dispersion = float(np.fmax(found, 1e-12))
        given = np.array([dispersion / (group.variance or 1.0) for group in self.layout.groups])
        free = np.array([group.variance is None for group in self.layout.groups])
        start = np.where(free, strengths, given)
        exact = max(STRENGTH_TOLERANCE, min(1e-2, 0.05 * change))
        changed = estimate_strengths(quadratic, self.layout, self.labels, state, start, dispersion, tolerance=exact)
        return changed, float(np.abs(np.log(changed / strengths)).max())

    def _move(self, reduced: Reduced, state: State) -> State:
        return reduced.move(state) if self.monotone is None else monotone_move(reduced, state, self.monotone)

    def _largest(self, state: State, move: State) -> float:
        """Return the largest change of the base or of a log relativity."""
        base, tables = tables_of(self.layout, move)
        return max(abs(base), float(np.abs(tables).max(initial=0.0)))

    def _penalised(self, sums: Sums, state: State, strengths: Array, ridge: float) -> float:
        penalty = self.layout.penalty(strengths)
        penalty[1:] += ridge
        cost = float(penalty @ state.dense**2)
        cost += sum(float(max(s, ridge) * (u @ u)) for s, u in zip(strengths, state.nodes, strict=False))
        objective = float(sums.totals[0]) - 0.5 * cost
        return objective if np.isfinite(objective) else -np.inf


def _start(problem: Problem) -> float:
    """Return the log of the mean response an exposure."""
    if problem.family in ("gamma", "lognormal", "inverse_gaussian"):
        ratio = problem.response / problem.scale if len(problem.scale) else problem.response
        return float(np.log(np.average(ratio, weights=problem.weight if len(problem.weight) else None)))
    weight = problem.weight if len(problem.weight) else np.ones(1)
    exposure = (problem.scale if len(problem.scale) else np.ones(problem.n_rows)) * weight
    exposure = exposure * problem.trials if len(problem.trials) else exposure
    return float(np.log((problem.response * weight).sum() / exposure.sum()))


def _sample_pieces(n_rows: int) -> list[tuple[int, int]]:
    """Return pieces spread evenly over the rows, some SAMPLE_ROWS in all."""
    starts = np.linspace(0, n_rows - SAMPLE_PIECE, SAMPLE_ROWS // SAMPLE_PIECE).astype(int)
    return [(int(start), int(start) + SAMPLE_PIECE) for start in starts]


def null_problem(problem: Problem) -> Problem:
    """Return the problem with a base and nothing else."""
    return replace(problem, codes={}, sizes={})
