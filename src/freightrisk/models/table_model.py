"""Sums of log tables fitted by Newton steps on the score and information that the kernel accumulates over codes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple, TypeAlias

import numpy as np

from freightrisk._parallel import chunks, in_order
from freightrisk._types import Array
from freightrisk.errors import FitError
from freightrisk.models.design import Layout, SlotNames, Whole
from freightrisk.models.families import FAMILIES
from freightrisk.models.passes import Passes, Problem, Sums
from freightrisk.models.quadratic import (
    STRENGTH_TOLERANCE,
    Constraints,
    Quadratic,
    Reduced,
    State,
    constraints,
    covariance_of,
    curved,
    estimate_strengths,
    monotone_move,
    reduce,
)
from freightrisk.models.solver import Solver

SAMPLE_ROWS = 2**18
SAMPLE_PIECE = 2**12
FILLED_ROWS = 2**10
PARAMETER_LIMIT = 2**13
CELL_LIMIT = 2**28
NEAR = 0.5
FIRST_VARIANCE = 0.1
SETTLED = 1e-6
Pieces: TypeAlias = list[tuple[int, int]] | None
STALE = 1e-2  # moves below this may take the information of the pass before
UNSETTLED = 1e-5  # and those below this while variances are estimated, which it moves by no more than SETTLED
SLOW = 0.25  # of the move before: a constant information no longer serves
CONTRACTED = 0.1  # and go on with it while each is so much smaller than the last
LAST_MOVE = 1e-11  # a fit ends where the best strengths for its quadratic ask for no larger move
STALLED = 0.5  # of the same move before: rounding keeps it from getting smaller


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
    information : float64 array, optional
        Expected information of each level at the maximum, one factor after another.
    strengths : float64 array
        Dispersion over variance of each group.
    objective, pearson, dispersion, edf : float
    steps : tuple of Step
    """

    state: State
    covariance: Array
    reduced: Reduced | None
    information: Array | None
    strengths: Array
    objective: float
    pearson: float
    dispersion: float
    edf: Array
    steps: tuple[Step, ...]


def quadratic_of(layout: Layout, sums: Sums, threads: int = 1) -> Quadratic:
    """Return score and information of the dense parameters and of the tree's leaves."""
    tree, sizes, offsets = layout.tree, layout.sizes, layout.offsets
    first = 0 if tree is None else 1
    skipped = sizes[0] if first else 0
    total = sum(sizes) - skipped
    information = sums.information
    full = np.zeros((total + 1, total + 1))
    full[0, 0] = sums.totals[3]
    full[0, 1:] = full[1:, 0] = information[skipped:]
    np.fill_diagonal(full[1:, 1:], information[skipped:])
    for f, rows in islice(enumerate(sizes), first, None):
        for g in range(f + 1, len(sizes)):
            block = sums.pair(f, g)
            at, beside = int(offsets[f]) + 1 - skipped, int(offsets[g]) + 1 - skipped
            full[at : at + rows, beside : beside + sizes[g]] = block
            full[beside : beside + sizes[g], at : at + rows] = block.T
    leaves = _leaves(layout)
    design = layout.design
    score, leaf_score = scores_of(layout, sums)
    return Quadratic(
        score=score,
        matrix=np.asarray(design.T @ (design.T @ full).T),
        leaf_score=leaf_score,
        leaf_information=information[leaves],
        cross=_cross_of(layout, sums, leaves, threads),
        threads=threads,
    )


def _cross_of(layout: Layout, sums: Sums, leaves: Whole, threads: int) -> Array:
    """Return the information of each leaf beside the dense parameters."""
    cross = np.empty((len(leaves), layout.n_params))
    if not len(leaves):
        return cross
    blocks = [sums.pair(0, g) for g in range(1, len(layout.sizes))]

    def fill(start: int, stop: int) -> None:
        rows = leaves[start:stop]
        cross[start:stop, 0] = sums.information[rows]
        for block, term, at in zip(blocks, layout.dense, layout.starts.tolist(), strict=False):
            mine = block[rows]
            found = mine @ term.design if term.chosen is None else np.take(mine, term.chosen, axis=1)
            cross[start:stop, at : at + term.n_params] = found

    for _ in in_order(fill, chunks(len(leaves), FILLED_ROWS), threads=threads):
        pass
    return cross


def scores_of(layout: Layout, sums: Sums) -> tuple[Array, Array]:
    """Return the score of the dense parameters and of the tree's leaves."""
    skipped = 0 if layout.tree is None else layout.sizes[0]
    return layout.design.T @ np.append(sums.totals[2], sums.score[skipped:]), sums.score[_leaves(layout)]


def _leaves(layout: Layout) -> Whole:
    return np.empty(0, dtype=np.int64) if layout.tree is None else layout.tree.slots


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


def solve(
    problem: Problem,
    layout: Layout,
    labels: Mapping[str, SlotNames],
    *,
    solver: Solver,
    start: State | None = None,
) -> Solution:
    """Return the tables of maximum (penalised) likelihood.

    A start from a spread sample of the rows unless one is given, then Newton's method on all of them.
    """
    import scipy.linalg  # noqa: F401 (the limit holds for the libraries that are loaded before it is set)
    from threadpoolctl import threadpool_limits

    _refuse_size(layout)
    # Of a few hundred unknowns threads of BLAS make nothing faster, and those that wait for more take our cores.
    with threadpool_limits(limits=1, user_api="blas"):
        return _solve(problem, layout, labels, start, solver)


def _solve(
    problem: Problem,
    layout: Layout,
    labels: Mapping[str, SlotNames],
    start: State | None,
    solver: Solver,
) -> Solution:
    threads = solver.n_threads
    tree = layout.tree
    nodes = () if tree is None else tuple(np.zeros(size) for size in tree.sizes)
    state = State(np.zeros(layout.n_params), nodes) if start is None else start
    if start is None:
        state.dense[0] = _start(problem)
    steps: tuple[Step, ...] = ()
    if start is None and problem.n_rows > 4 * SAMPLE_ROWS and all(term.tree is None for term in layout.dense):
        # The leaves of a tree wait: of a sample each has too few rows.
        dense = Layout(layout.dense)
        few = _Newton(problem, dense, labels, constraints(dense), Passes(problem, dense, threads))
        sample = few.run(State(state.dense, ()), 1e-3, 8, pieces=_sample_pieces(problem.n_rows), ridge=1.0)
        state, steps = State(sample.state.dense, nodes), sample.steps
    newton = _Newton(problem, layout, labels, constraints(layout), Passes(problem, layout, threads))
    found = newton.run(state, solver.tolerance, solver.max_iterations)
    steps += found.steps
    if not found.converged:
        raise FitError(
            f"the {problem.family} fit did not converge in {solver.max_iterations} iterations (last move "
            f"{steps[-1].largest_move:.2g}); pool levels with few claims (min_claims=), or raise max_iterations."
        )
    reduced = reduce(found.quadratic, layout, labels, found.strengths)
    covariance = covariance_of(reduced, found.state, newton.monotone)
    edf = effective_parameters(reduced, layout, covariance)
    return Solution(
        found.state, covariance, reduced, found.information, found.strengths, float(found.totals[0]),
        float(found.totals[1]),
        problem.dispersion or dispersion_value(float(found.totals[1]), problem.n_rows - float(edf.sum())), edf, steps,
    )  # fmt: skip


def effective_parameters(reduced: Reduced, layout: Layout, covariance: Array) -> Array:
    """Return the effective number of parameters of the intercept and of each term."""
    each = np.einsum("ij,ji->i", covariance, reduced.matrix) - np.diag(covariance) * reduced.penalty
    parts = [each[:1].sum()]
    if layout.tree is not None:
        traces = reduced.traces(covariance)
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
    """Where Newton's method ended, with the expected information there."""

    state: State
    quadratic: Quadratic
    information: Array
    totals: Array
    strengths: Array
    steps: tuple[Step, ...]
    converged: bool


class _Held(NamedTuple):
    """The information that steps go by: whether it is the observed one, and how many passes ago it was taken."""

    quadratic: Quadratic
    observed: bool
    age: int


@dataclass(frozen=True)
class _Newton:
    """Newton's method for one problem."""

    problem: Problem
    layout: Layout
    labels: Mapping[str, SlotNames]
    monotone: Constraints | None
    passes: Passes

    def over(self, state: State, pieces: Pieces = None, *, observed: bool = False, full: bool = True) -> Sums:
        """Return the sums of a pass at a state."""
        return self.passes.over(*tables_of(self.layout, state), pieces, observed=observed, full=full)

    def run(
        self, state: State, tolerance: float, max_iterations: int, *, pieces: Pieces = None, ridge: float = 0.0
    ) -> _Run:
        """Return the maximum reached from a state, over all rows or some pieces of them."""
        rows = self.problem.n_rows if pieces is None else sum(stop - start for start, stop in pieces)
        sums = self.over(state, pieces)
        first = (quadratic_of(self.layout, sums, self.passes.threads), sums.information)
        held = _Held(first[0], False, 0)
        reduced: Reduced | None = None
        strengths, settled, before = self._first_strengths(), ridge > 0.0, np.inf
        estimated, asked = ridge == 0.0 and any(group.variance is None for group in self.layout.groups), np.inf
        steps: list[Step] = []
        for _ in range(max_iterations):
            quadratic = held.quadratic if held.age == 0 else self._with_scores(held.quadratic, sums)
            near = None if reduced is None else reduced.serves(quadratic)
            if settled or not self.layout.groups:
                reduced, settled = reduce(quadratic, self.layout, self.labels, strengths, ridge, near=near), True
            else:
                reduced = self._at_best(quadratic, state, sums, strengths, before, near)
                change = float(np.abs(np.log(reduced.strengths / strengths)).max())
                strengths, settled = reduced.strengths, change < SETTLED and before < STALE
            move = self._move(reduced, state)
            if FAMILIES[self.problem.family].counts and self._largest(move) > NEAR:
                move = curved(reduced, move)
            objective = self._penalised(sums, state, strengths, ridge)
            largest, halvings = self._largest(move), 0
            if largest < tolerance and settled:
                quadratic, sums, information = self._expected(quadratic, held, first, sums, state, pieces)
                ended = True
                if estimated:
                    # The strengths are those of an earlier pass, and how exact they are depends on the last bits of
                    # its sums. Only strengths that are best for this quadratic are the same on every machine.
                    reduced = self._at_best(quadratic, state, sums, strengths, 0.0, None)
                    move, strengths = self._move(reduced, state), reduced.strengths
                    largest = self._largest(move)
                    ended = largest < LAST_MOVE or largest > STALLED * asked
                if ended:
                    steps.append(Step(rows, objective, largest, 0))
                    return _Run(
                        state.plus(move), quadratic, information, sums.totals.copy(), strengths, tuple(steps), True
                    )
                held, asked = _Held(quadratic, False, 0), largest
                objective = self._penalised(sums, state, strengths, ridge)
            observed, full = self._next(held, settled, largest, before)
            if np.isfinite(asked) and largest < tolerance:  # the end is near, and asks for the expected information
                observed, full = False, not FAMILIES[self.problem.family].constant
            while True:
                trial = state.plus(move, 0.5**halvings)
                found = self.over(trial, pieces, observed=observed, full=full)
                reached = self._penalised(found, trial, strengths, ridge)
                if reached >= objective - 1e-9 * (1.0 + abs(objective)) or halvings == 30:
                    break
                halvings += 1
            state, sums, before = trial, found, largest
            held = (
                _Held(quadratic_of(self.layout, sums, self.passes.threads), observed, 0)
                if full
                else held._replace(age=held.age + 1)
            )
            steps.append(Step(rows, objective, largest, halvings))
        return _Run(state, *first, sums.totals, strengths, tuple(steps), False)

    def _expected(
        self,
        quadratic: Quadratic,
        held: _Held,
        first: tuple[Quadratic, Array],
        sums: Sums,
        state: State,
        pieces: Pieces,
    ) -> tuple[Quadratic, Sums, Array]:
        """Return the quadratic at a state with its expected information, which statsmodels takes for standard errors.

        Its sums and the information of each level come with it.
        """
        if FAMILIES[self.problem.family].constant:
            return self._with_scores(first[0], sums), sums, first[1]
        if held.age or held.observed:
            sums = self.over(state, pieces)
            quadratic = quadratic_of(self.layout, sums, self.passes.threads)
        return quadratic, sums, sums.information

    def _next(self, held: _Held, settled: bool, largest: float, before: float) -> tuple[bool, bool]:
        """Return whether the next pass takes the observed information, and whether it takes that of pairs at all.

        A pass for the scores alone costs less than half. It serves where the information is constant, until steps
        are small or shrink slowly, and near the maximum: one step on the information of the pass before is as good as
        Newton's own, and where that is the observed one, so are more of them while each is much smaller than the last.
        """
        family = FAMILIES[self.problem.family]
        observed = settled and family.observed is not None and largest < NEAR
        if family.constant and not held.observed:
            if not observed or STALE < largest < SLOW * before:
                return False, False
            return True, True
        close = largest < (STALE if settled else UNSETTLED) and held.observed == observed
        if close and (held.age == 0 or (observed and largest < CONTRACTED * before)):
            return observed, False
        return observed, True

    def _with_scores(self, quadratic: Quadratic, sums: Sums) -> Quadratic:
        score, leaf_score = scores_of(self.layout, sums)
        return replace(quadratic, score=score, leaf_score=leaf_score)

    def _first_strengths(self) -> Array:
        return np.array([1.0 / (group.variance or FIRST_VARIANCE) for group in self.layout.groups])

    def _at_best(
        self, quadratic: Quadratic, state: State, sums: Sums, strengths: Array, before: float, near: Reduced | None
    ) -> Reduced:
        """Return the quadratic at the strengths that are best for it.

        They need to be no more exact than the quadratic, which is off by the square of the move before.
        """
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
        exact = max(STRENGTH_TOLERANCE, min(1e-2, before * before))
        return estimate_strengths(
            quadratic, self.layout, self.labels, state, start, dispersion, tolerance=exact, near=near
        )

    def _move(self, reduced: Reduced, state: State) -> State:
        return reduced.move(state) if self.monotone is None else monotone_move(reduced, state, self.monotone)

    def _largest(self, move: State) -> float:
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
    above = below = 0.0
    for part in problem.parts():
        weight = part.weight if len(part.weight) else np.ones(part.n_rows)
        exposure = part.scale if len(part.scale) else np.ones(part.n_rows)
        if problem.family in ("gamma", "lognormal", "inverse_gaussian"):
            above, below = above + float(weight @ (part.y / exposure)), below + float(weight.sum())
        else:
            lines = part.trials if len(part.trials) else np.ones(part.n_rows)
            above, below = above + float(weight @ part.y), below + float(weight @ (exposure * lines))
    return float(np.log(above / below))


def _sample_pieces(n_rows: int) -> list[tuple[int, int]]:
    """Return pieces spread evenly over the rows, some SAMPLE_ROWS in all."""
    starts = np.linspace(0, n_rows - SAMPLE_PIECE, SAMPLE_ROWS // SAMPLE_PIECE).astype(int)
    return [(int(start), int(start) + SAMPLE_PIECE) for start in starts]


def null_problem(problem: Problem) -> Problem:
    """Return the problem with a base and nothing else."""
    return replace(problem, codes={}, sizes={})
