"""Newton's method on the gradient and information that the kernel accumulates over codes."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from freightrisk._types import Array
from freightrisk.models.guarded import guarded
from freightrisk.models.information import gradients_of
from freightrisk.models.objective import MOST_HALVINGS, Objective, Run, Step
from freightrisk.models.passes import Sums
from freightrisk.models.quadratic import Quadratic, Reduced, State, curved
from freightrisk.models.strengths import STRENGTH_TOLERANCE

NEAR = 0.5  # smaller moves may use the observed information; larger moves of leaves are shortened (equation 11)
SETTLED = 1e-6  # variances are fixed after a smaller relative change
STALE = 1e-2  # steps smaller than this may reuse the information matrix of the previous pass
UNSETTLED = 1e-5  # the same while variances are estimated: a reused matrix then moves them by less than SETTLED
SLOW = 0.25  # a constant information is given up after a move larger than this share of the previous move
CONTRACTED = 0.1  # an observed information is reused while a move is smaller than this share of the previous move
LAST_MOVE = 1e-11  # a fit with estimated variances ends if their last estimate asks for no larger move
LONG = 5.0  # in logs; a plain step that far may end beyond the maximum, where the information is useless
STUCK_AFTER, STUCK_STEPS, STUCK = 6, 3, 0.25  # guards take over if three steps do not shrink the moves to a quarter
STALLED = 0.5  # it also ends if this move is larger than this share of its last value, because of rounding


class _Held(NamedTuple):
    """The information that steps use, whether it is the observed information, and its age in passes."""

    quadratic: Quadratic
    observed: bool
    age: int


@dataclass(frozen=True)
class Newton:
    """Newton's method for one objective."""

    objective: Objective

    def run(self, state: State, tolerance: float, max_iterations: int) -> Run:
        """Return the maximum reached from a state."""
        sums = self.objective.over(state)
        first = (self.objective.quadratic(sums), sums.information)
        held = _Held(first[0], False, 0)
        reduced: Reduced | None = None
        strengths, settled, before, asked = self.objective.first_strengths(), self.objective.ridge > 0.0, np.inf, np.inf
        steps: list[Step] = []
        for taken in range(max_iterations):
            quadratic = held.quadratic if held.age == 0 else self._with_gradients(held.quadratic, sums)
            near = None if reduced is None else reduced.serves(quadratic)
            if settled or not self.objective.layout.groups:
                reduced, settled = self.objective.reduced(quadratic, strengths, near=near), True
            else:
                exact = max(STRENGTH_TOLERANCE, min(1e-2, before * before))
                reduced = self.objective.at_best(quadratic, state, sums.totals, strengths, exact, near=near)
                change = float(np.abs(np.log(reduced.strengths / strengths)).max())
                strengths, settled = reduced.strengths, change < SETTLED and before < STALE
            move = self._curved_move(reduced, state)
            value, largest = self.objective.penalised(sums, state, strengths), self.objective.largest(move)
            if self.objective.ridge == 0.0 and _is_stuck(steps, largest):
                return guarded(self.objective, state, strengths, tolerance, max_iterations - taken, steps)
            if largest < tolerance and settled:
                quadratic, sums, information = self._expected(quadratic, held, first, sums, state)
                ended = True
                if self.objective.estimates_variances:
                    # The strengths come from an earlier pass, and their error depends on the last bits of its sums.
                    # Only the best strengths for this quadratic are the same on every machine.
                    reduced = self.objective.at_best(quadratic, state, sums.totals, strengths, STRENGTH_TOLERANCE)
                    move, strengths = self.objective.move(reduced, state), reduced.strengths
                    largest = self.objective.largest(move)
                    ended = largest < LAST_MOVE or largest > STALLED * asked
                if ended:
                    steps.append(Step(self.objective.n_rows, value, largest, 0))
                    totals = sums.totals.copy()
                    return Run(state.plus(move), quadratic, information, totals, strengths, tuple(steps), move, True)
                held, asked = _Held(quadratic, False, 0), largest
                value = self.objective.penalised(sums, state, strengths)
            observed, full = self._next(held, settled, largest, before)
            if np.isfinite(asked) and largest < tolerance:  # the fit is about to end on the expected information
                observed, full = False, not self.objective.family.constant
            state, sums, halvings = self._raised(state, move, value, strengths, observed=observed, full=full)
            held, before = self._held_after(held, sums, observed=observed, full=full), largest
            steps.append(Step(self.objective.n_rows, value, largest, halvings))
        return Run(state, *first, sums.totals, strengths, tuple(steps), move, False)

    def _raised(
        self, state: State, move: State, value: float, strengths: Array, *, observed: bool, full: bool
    ) -> tuple[State, Sums, int]:
        """Return the state after a move, halved until it does not lower the objective, its sums and the halvings."""
        halvings = 0
        while True:
            trial = state.plus(move, 0.5**halvings)
            found = self.objective.over(trial, observed=observed, full=full)
            reached = self.objective.penalised(found, trial, strengths)
            if self.objective.rises(value, reached) or halvings == MOST_HALVINGS:
                return trial, found, halvings
            halvings += 1

    def _held_after(self, held: _Held, sums: Sums, *, observed: bool, full: bool) -> _Held:
        """Return the information for the next step: from the last pass if it was full, else the held information."""
        if full:
            return _Held(self.objective.quadratic(sums), observed, 0)
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
        if self.objective.family.constant:
            return self._with_gradients(first[0], sums), sums, first[1]
        if held.age or held.observed:
            sums = self.objective.over(state)
            quadratic = self.objective.quadratic(sums)
        return quadratic, sums, sums.information

    def _next(self, held: _Held, settled: bool, largest: float, before: float) -> tuple[bool, bool]:
        """Return whether the next pass takes the observed information, and whether it takes pairs of levels at all.

        A pass without pairs gives the gradient only and costs less than half. It is enough in two cases. If the
        information is constant, it is enough until steps are small or shrink slowly. Near the maximum, one step with
        the information of the previous pass is as good as a Newton step. With the observed information, further such
        steps follow while each is much smaller than the last.
        """
        family = self.objective.family
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
        gradient, leaf_gradient = gradients_of(self.objective.layout, sums)
        return replace(quadratic, gradient=gradient, leaf_gradient=leaf_gradient)

    def _curved_move(self, reduced: Reduced, state: State) -> State:
        """Return the move to the maximum of a quadratic; in a count model, a long move is shortened (equation 11)."""
        move = self.objective.move(reduced, state)
        if self.objective.family.counts and self.objective.largest(move) > NEAR:
            return curved(reduced, move)
        return move


def _is_stuck(steps: list[Step], largest: float) -> bool:
    """Return whether a move is too long for a plain step, or moves have stopped shrinking."""
    return largest > LONG or (len(steps) >= STUCK_AFTER and largest > STUCK * steps[-STUCK_STEPS].largest_move)
