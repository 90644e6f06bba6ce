"""Sums of log tables fitted by Newton steps on the gradient and information that the kernel accumulates over codes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from freightrisk._shown import counted
from freightrisk._types import Array
from freightrisk.errors import FitError
from freightrisk.models.design import Layout, SlotNames
from freightrisk.models.information import dispersion_value, effective_parameters, tables_of
from freightrisk.models.monotone import constraints, covariance_of
from freightrisk.models.newton import Newton
from freightrisk.models.objective import Objective, Run, Step
from freightrisk.models.passes import Passes, Problem
from freightrisk.models.quadratic import Reduced, State, reduce
from freightrisk.models.solver import Solver
from freightrisk.models.strengths import LARGEST_STRENGTH, NO_VARIANCE

SAMPLE_ROWS = 2**18
SAMPLE_PIECE = 2**12
PARAMETER_LIMIT = 2**13
CELL_LIMIT = 2**28


@dataclass(frozen=True, eq=False)
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
    unsettled : tuple of float
        Change of each log strength that the restricted likelihood still asks for; empty or 0 where the variances have
        settled.
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
    unsettled: tuple[float, ...] = ()


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
        few = Objective(
            problem, dense, labels, constraints(dense), Passes(problem, dense, threads),
            pieces=_sample_pieces(problem.n_rows), ridge=1.0,
        )  # fmt: skip
        sample = Newton(few, State(state.dense, ())).run(1e-3, 8)
        state, steps = State(sample.state.dense, nodes), sample.steps
    objective = Objective(problem, layout, labels, constraints(layout), Passes(problem, layout, threads))
    none = np.zeros(len(layout.groups), dtype=bool)
    unsettled: tuple[float, ...] = ()
    if objective.monotone is not None and objective.estimates_variances:
        loose = replace(objective, monotone=None)
        found = _arrived(loose, state, solver)
        steps += found.steps
        none = found.strengths >= NO_VARIANCE * LARGEST_STRENGTH
        variances = loose.dispersion_at(found.quadratic, found.totals, found.strengths) / found.strengths
        objective, unsettled = replace(objective, layout=layout.with_variances(variances)), found.unsettled
    found = _arrived(objective, state, solver)
    steps += found.steps
    unsettled = max(unsettled, found.unsettled, key=lambda changes: max(map(abs, changes), default=0.0))
    strengths = np.where(none, LARGEST_STRENGTH, found.strengths)
    reduced = found.reduced
    if reduced is None or none.any():
        reduced = reduce(found.quadratic, layout, labels, strengths)
    covariance = covariance_of(reduced, found.state, objective.monotone)
    edf = effective_parameters(reduced, layout, covariance)
    return Solution(
        found.state, covariance, reduced, found.information, strengths, float(found.totals[0]),
        float(found.totals[1]),
        problem.dispersion or dispersion_value(float(found.totals[1]), problem.n_rows - float(edf.sum())), edf, steps,
        unsettled,
    )  # fmt: skip


def _arrived(objective: Objective, state: State, solver: Solver) -> Run:
    """Return the run of Newton's method from a state, or raise with the level that still moves most."""
    found = Newton(objective, state).run(solver.tolerance, solver.max_iterations)
    if found.converged:
        return found
    base, tables = tables_of(objective.layout, found.move)
    raise FitError(
        f"the {objective.problem.family} fit did not converge in {counted(solver.max_iterations, 'iteration')}: "
        f"{objective.layout.slot_name(base, tables, objective.labels)} still moves by "
        f"{objective.largest(found.move):.2g}; pool levels with few claims (min_claims=), look for "
        "amounts or counts far above the others, or give solver=Solver(max_iterations=...) with a larger number."
    )


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


def _start(problem: Problem) -> float:
    """Return the log of the mean response an exposure."""
    above = below = 0.0
    for part in problem.parts():
        weight = part.weight if len(part.weight) else np.ones(part.n_rows)
        exposure = part.multiplier if len(part.multiplier) else np.ones(part.n_rows)
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
