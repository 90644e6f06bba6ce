"""Newton's method on the gradient and information that the kernel accumulates over codes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

import numpy as np

from freightrisk._types import Array
from freightrisk.models.design import Layout, SlotNames
from freightrisk.models.families import FAMILIES
from freightrisk.models.guarded import guarded
from freightrisk.models.information import (
    dispersion_value,
    effective_parameters,
    gradients_of,
    quadratic_of,
    tables_of,
)
from freightrisk.models.monotone import Constraints, monotone_move
from freightrisk.models.passes import Passes, Problem, Sums
from freightrisk.models.quadratic import Quadratic, Reduced, State, curved, reduce
from freightrisk.models.strengths import STRENGTH_STEPS, STRENGTH_TOLERANCE, estimate_strengths

Pieces: TypeAlias = list[tuple[int, int]] | None

MOST_HALVINGS = 30
NEAR = 0.5  # smaller moves may use the observed information; larger moves of leaves are shortened (equation 11)
FIRST_VARIANCE = 0.1
SETTLED = 1e-6  # variances are fixed after a smaller relative change
STALE = 1e-2  # steps smaller than this may reuse the information matrix of the previous pass
UNSETTLED = 1e-5  # the same while variances are estimated: a reused matrix then moves them by less than SETTLED
SLOW = 0.25  # a constant information is given up after a move larger than this share of the previous move
CONTRACTED = 0.1  # an observed information is reused while a move is smaller than this share of the previous move
LAST_MOVE = 1e-11  # a fit with estimated variances ends if their last estimate asks for no larger move
LONG = 5.0  # in logs; a plain step that far may end beyond the maximum, where the information is useless
STUCK_AFTER, STUCK_STEPS, STUCK = 6, 3, 0.25  # guards take over if three steps do not shrink the moves to a quarter
STALLED = 0.5  # it also ends if this move is larger than this share of its last value, because of rounding


@dataclass(frozen=True)
class Step:
    """One Newton step: rows used, objective before it, largest move, halvings."""

    rows: int
    objective: float
    largest_move: float
    halvings: int


class Run(NamedTuple):
    """The state at which Newton's method ended, with the expected information at this state and the last move.

    `unsettled` is the change of each log strength that the restricted likelihood still asks for.
    """

    state: State
    quadratic: Quadratic
    information: Array
    totals: Array
    strengths: Array
    steps: tuple[Step, ...]
    move: State
    converged: bool
    unsettled: tuple[float, ...] = ()


class _Held(NamedTuple):
    """The information that steps use, whether it is the observed information, and its age in passes."""

    quadratic: Quadratic
    observed: bool
    age: int


@dataclass(frozen=True)
class Newton:
    """Newton's method for one problem.

    Parameters
    ----------
    problem : Problem
    layout : Layout
    labels : mapping of str to SlotNames
    monotone : Constraints or None
    passes : Passes
    pieces : list of (start, stop), optional
        The rows to read; all rows by default.
    ridge : float
        Smallest penalty of every parameter except the base. Above 0, variances are not estimated.
    """

    problem: Problem
    layout: Layout
    labels: Mapping[str, SlotNames]
    monotone: Constraints | None
    passes: Passes
    pieces: Pieces = None
    ridge: float = 0.0

    @property
    def n_rows(self) -> int:
        """Return the number of rows that a pass reads."""
        return self.problem.n_rows if self.pieces is None else sum(stop - start for start, stop in self.pieces)

    @property
    def estimates_variances(self) -> bool:
        """Return whether the run estimates a variance; a run with a ridge does not."""
        return self.ridge == 0.0 and any(group.variance is None for group in self.layout.groups)

    def over(self, state: State, *, observed: bool = False, full: bool = True) -> Sums:
        """Return the sums of a pass at a state."""
        return self.passes.over(*tables_of(self.layout, state), self.pieces, observed=observed, full=full)

    def run(self, state: State, tolerance: float, max_iterations: int) -> Run:
        """Return the maximum reached from a state."""
        sums = self.over(state)
        first = (quadratic_of(self.layout, sums, self.passes.threads), sums.information)
        held = _Held(first[0], False, 0)
        reduced: Reduced | None = None
        strengths, settled, before, asked = self._first_strengths(), self.ridge > 0.0, np.inf, np.inf
        steps: list[Step] = []
        for taken in range(max_iterations):
            quadratic = held.quadratic if held.age == 0 else self._with_gradients(held.quadratic, sums)
            near = None if reduced is None else reduced.serves(quadratic)
            if settled or not self.layout.groups:
                reduced, settled = reduce(quadratic, self.layout, self.labels, strengths, self.ridge, near=near), True
            else:
                exact = max(STRENGTH_TOLERANCE, min(1e-2, before * before))
                reduced = self.at_best(quadratic, state, sums.totals, strengths, exact, near=near)
                change = float(np.abs(np.log(reduced.strengths / strengths)).max())
                strengths, settled = reduced.strengths, change < SETTLED and before < STALE
            move = self._curved_move(reduced, state)
            objective, largest = self.penalised(sums, state, strengths), self.largest(move)
            if self.ridge == 0.0 and _is_stuck(steps, largest):
                return guarded(self, state, strengths, tolerance, max_iterations - taken, steps)
            if largest < tolerance and settled:
                quadratic, sums, information = self._expected(quadratic, held, first, sums, state)
                ended = True
                if self.estimates_variances:
                    # The strengths come from an earlier pass, and their error depends on the last bits of its sums.
                    # Only the best strengths for this quadratic are the same on every machine.
                    reduced = self.at_best(quadratic, state, sums.totals, strengths, STRENGTH_TOLERANCE)
                    move, strengths = self.move(reduced, state), reduced.strengths
                    largest = self.largest(move)
                    ended = largest < LAST_MOVE or largest > STALLED * asked
                if ended:
                    steps.append(Step(self.n_rows, objective, largest, 0))
                    totals = sums.totals.copy()
                    return Run(state.plus(move), quadratic, information, totals, strengths, tuple(steps), move, True)
                held, asked = _Held(quadratic, False, 0), largest
                objective = self.penalised(sums, state, strengths)
            observed, full = self._next(held, settled, largest, before)
            if np.isfinite(asked) and largest < tolerance:  # the fit is about to end on the expected information
                observed, full = False, not FAMILIES[self.problem.family].constant
            state, sums, halvings = self._raised(state, move, objective, strengths, observed=observed, full=full)
            held, before = self._held_after(held, sums, observed=observed, full=full), largest
            steps.append(Step(self.n_rows, objective, largest, halvings))
        return Run(state, *first, sums.totals, strengths, tuple(steps), move, False)

    def _raised(
        self, state: State, move: State, objective: float, strengths: Array, *, observed: bool, full: bool
    ) -> tuple[State, Sums, int]:
        """Return the state after a move, halved until it does not lower the objective, its sums and the halvings."""
        halvings = 0
        while True:
            trial = state.plus(move, 0.5**halvings)
            found = self.over(trial, observed=observed, full=full)
            reached = self.penalised(found, trial, strengths)
            if self.rises(objective, reached) or halvings == MOST_HALVINGS:
                return trial, found, halvings
            halvings += 1

    def rises(self, before: float, after: float) -> bool:
        """Return whether the objective rises or stays the same.

        The tolerance is needed because near the maximum, the objective changes by less than its rounding error.
        """
        return after >= before - 1e-9 * (1.0 + abs(before))

    def _held_after(self, held: _Held, sums: Sums, *, observed: bool, full: bool) -> _Held:
        """Return the information for the next step: from the last pass if it was full, else the held information."""
        if full:
            return _Held(quadratic_of(self.layout, sums, self.passes.threads), observed, 0)
        return held._replace(age=held.age + 1)

    def _expected(
        self,
        quadratic: Quadratic,
        held: _Held,
        first: tuple[Quadratic, Array],
        sums: Sums,
        state: State,
    ) -> tuple[Quadratic, Sums, Array]:
        """Return the quadratic at a state with the expected information, the sums, and the information of each level.

        Standard errors use the expected information, as in statsmodels.
        """
        if FAMILIES[self.problem.family].constant:
            return self._with_gradients(first[0], sums), sums, first[1]
        if held.age or held.observed:
            sums = self.over(state)
            quadratic = quadratic_of(self.layout, sums, self.passes.threads)
        return quadratic, sums, sums.information

    def _next(self, held: _Held, settled: bool, largest: float, before: float) -> tuple[bool, bool]:
        """Return whether the next pass takes the observed information, and whether it takes pairs of levels at all.

        A pass without pairs gives the gradient only and costs less than half. It is enough in two cases. If the
        information is constant, it is enough until steps are small or shrink slowly. Near the maximum, one step with
        the information of the previous pass is as good as a Newton step. With the observed information, further such
        steps follow while each is much smaller than the last.
        """
        family = FAMILIES[self.problem.family]
        observed = settled and family.prefers_observed and largest < NEAR
        if family.constant and not held.observed:
            if not observed or STALE < largest < SLOW * before:
                return False, False
            return True, True
        close = largest < (STALE if settled else UNSETTLED) and held.observed == observed
        if close and (held.age == 0 or (observed and largest < CONTRACTED * before)):
            return observed, False
        return observed, True

    def _with_gradients(self, quadratic: Quadratic, sums: Sums) -> Quadratic:
        gradient, leaf_gradient = gradients_of(self.layout, sums)
        return replace(quadratic, gradient=gradient, leaf_gradient=leaf_gradient)

    def _first_strengths(self) -> Array:
        return np.array([1.0 / (group.variance or FIRST_VARIANCE) for group in self.layout.groups])

    def at_best(
        self,
        quadratic: Quadratic,
        state: State,
        totals: Array,
        strengths: Array,
        tolerance: float,
        *,
        near: Reduced | None = None,
        moving: Quadratic | None = None,
        rounds: int = STRENGTH_STEPS,
    ) -> Reduced:
        """Return the quadratic at the strengths that are best for it (equation 12).

        The strengths need not be more exact than the quadratic, whose error is the square of the previous move.
        """
        dispersion = self.dispersion_at(quadratic, totals, strengths)
        given = np.array([dispersion / (group.variance or 1.0) for group in self.layout.groups])
        free = np.array([group.variance is None for group in self.layout.groups])
        start = np.where(free, strengths, given)
        return estimate_strengths(
            quadratic, self.layout, self.labels, state, start, dispersion, tolerance=tolerance, near=near,
            moving=moving, rounds=rounds,
        )  # fmt: skip

    def dispersion_at(self, quadratic: Quadratic, totals: Array, strengths: Array) -> float:
        """Return the dispersion that strengths are multiples of: 1 for a family without one."""
        if self.problem.dispersion:
            return self.problem.dispersion
        if not FAMILIES[self.problem.family].has_dispersion:
            return 1.0
        reduced = reduce(quadratic, self.layout, self.labels, strengths)
        edf = float(effective_parameters(reduced, self.layout, reduced.covariance).sum())
        return float(np.fmax(dispersion_value(float(totals[1]), self.problem.n_rows - edf), 1e-12))

    def _curved_move(self, reduced: Reduced, state: State) -> State:
        """Return the move to the maximum of a quadratic; in a count model, a long move is shortened (equation 11)."""
        move = self.move(reduced, state)
        if FAMILIES[self.problem.family].counts and self.largest(move) > NEAR:
            return curved(reduced, move)
        return move

    def move(self, reduced: Reduced, state: State) -> State:
        """Return the move to the maximum of a quadratic, among monotone states if some bands must be monotone."""
        return reduced.move(state) if self.monotone is None else monotone_move(reduced, state, self.monotone)

    def largest(self, move: State) -> float:
        """Return the largest change of the base or of a log relativity."""
        base, tables = tables_of(self.layout, move)
        return max(abs(base), float(np.abs(tables).max(initial=0.0)))

    def penalised(self, sums: Sums, state: State, strengths: Array) -> float:
        """Return the objective less half the penalty (equation 9), or minus infinity if it is not finite.

        Minus infinity makes the caller halve the move.
        """
        penalty = self.layout.penalty(strengths)
        penalty[1:] += self.ridge
        cost = float(penalty @ state.dense**2)
        cost += sum(float(max(s, self.ridge) * (u @ u)) for s, u in zip(strengths, state.nodes, strict=False))
        objective = float(sums.totals[0]) - 0.5 * cost
        return objective if np.isfinite(objective) else -np.inf


def _is_stuck(steps: list[Step], largest: float) -> bool:
    """Return whether a move is too long for a plain step, or moves have stopped shrinking."""
    return largest > LONG or (len(steps) >= STUCK_AFTER and largest > STUCK * steps[-STUCK_STEPS].largest_move)
