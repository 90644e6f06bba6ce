"""Newton's method on the gradient and information that the kernel accumulates over codes."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from freightrisk._types import Array
from freightrisk.models.guarded import guarded
from freightrisk.models.information import gradients_of
from freightrisk.models.objective import MOST_HALVINGS, Objective, Run, Step
from freightrisk.models.quadratic import Quadratic, Reduced, State, curved
from freightrisk.models.strength_search import STALE, Place, StrengthSearch

NEAR = 0.5  # smaller moves may use the observed information; larger moves of leaves are curved (equation 11)
SLOW = 0.25  # a constant information is given up after a move larger than this share of the previous move
CONTRACTED = 0.1  # an observed information is reused while a move is smaller than this share of the previous move
LONG = 5.0  # in logs; a plain step that far may end beyond the maximum, where the information is useless
STUCK_AFTER, STUCK_STEPS, STUCK = 6, 3, 0.25  # guards take over if three steps do not shrink the moves to a quarter


class _Held(NamedTuple):
    """The information that steps use, whether it is the observed information, and its age in passes."""

    quadratic: Quadratic
    observed: bool
    age: int


class Newton:
    """A run of Newton's method for one objective, from a state."""

    def __init__(self, objective: Objective, state: State) -> None:
        self.objective, self.state = objective, state
        self.sums = objective.over(state)
        self.held = _Held(objective.quadratic(self.sums), False, 0)
        # The expected information of some families is the same at every state.
        self.constant = (self.held.quadratic, self.sums.information) if objective.family.constant else None
        self.search = StrengthSearch(objective)
        self.reduced: Reduced | None = None
        self.before = np.inf  # largest move of the last step
        self.steps: list[Step] = []

    def run(self, tolerance: float, max_iterations: int) -> Run:
        """Return the maximum reached."""
        objective, search = self.objective, self.search
        for taken in range(max_iterations):
            place = self._place()
            near = self.reduced and self.reduced.serves(place.quadratic)
            self.reduced = search.reduced(place, self.before, near)
            del near
            move = self._curved_move(self.reduced)
            largest = objective.largest(move)
            if objective.ridge == 0.0 and _is_stuck(self.steps, largest):
                return guarded(objective, self.state, search.strengths, tolerance, max_iterations - taken, self.steps)
            value = objective.penalised(self.sums, self.state, search.strengths)
            if largest < tolerance and search.settled:
                place, information = self._expected(place)
                self.reduced = search.last(place, self.before, self.reduced)
                move = objective.move(self.reduced, self.state)
                largest = objective.largest(move)
                if search.ended:
                    self.steps.append(Step(objective.n_rows, value, largest, 0))
                    return self._ended(place, information, move)
                value = objective.penalised(self.sums, self.state, search.strengths)
            del place
            self._step(move, value, largest, *self._next(largest, tolerance))
        return self._ended(self._place(), self.sums.information, move, converged=False)

    def _place(self) -> Place:
        """Return the state with the quadratic for the next step."""
        held = self.held
        quadratic = held.quadratic if held.age == 0 else self._with_gradients(held.quadratic)
        is_fresh = not held.observed and (held.age == 0 or self.constant is not None)
        return Place(self.state, quadratic, self.sums.totals, is_fresh)

    def _ended(self, place: Place, information: Array, move: State, *, converged: bool = True) -> Run:
        state = self.state.plus(move) if converged else self.state
        reduced = self.reduced if self.reduced and self.reduced.quadratic is place.quadratic else None
        return Run(
            state, place.quadratic, information, self.sums.totals.copy(), self.search.strengths, tuple(self.steps),
            move, converged, reduced=reduced,
        )  # fmt: skip

    def _step(self, move: State, value: float, largest: float, observed: bool, full: bool) -> None:
        """Move the state, by halves until the objective is not lower, and take the information for the next step."""
        halvings = 0
        while True:
            trial = self.state.plus(move, 0.5**halvings)
            sums = self.objective.over(trial, observed=observed, full=full)
            reached = self.objective.penalised(sums, trial, self.search.strengths)
            if self.objective.rises(value, reached) or halvings == MOST_HALVINGS:
                break
            halvings += 1
        self.state, self.sums, self.before = trial, sums, largest
        self.steps.append(Step(self.objective.n_rows, value, largest, halvings))
        if full:
            del self.held  # the next quadratic may take the memory of this one
            self.reduced = self.search.best = None
            self.held = _Held(self.objective.quadratic(sums), observed, 0)
        else:
            self.held = self.held._replace(age=self.held.age + 1)

    def _expected(self, place: Place) -> tuple[Place, Array]:
        """Return the state with its expected information, and the information of each level.

        Standard errors use the expected information, as in statsmodels.
        """
        if self.constant is not None:
            quadratic, information = self.constant
            quadratic = self._with_gradients(quadratic)
            self.held = _Held(quadratic, False, 0)
            return place._replace(quadratic=quadratic, is_fresh=True), information
        if not place.is_fresh:
            self.sums = self.objective.over(self.state)
            self.held = _Held(self.objective.quadratic(self.sums), False, 0)
            place = self._place()
        return place, self.sums.information

    def _next(self, largest: float, tolerance: float) -> tuple[bool, bool]:
        """Return whether the next pass takes the observed information, and whether it takes pairs of levels at all.

        A pass without pairs gives the gradient only and costs less than half. It is enough in two cases. If the
        information is constant, it is enough until steps are small or shrink slowly. Near the maximum, one step with
        the information of the previous pass is as good as a Newton step. With the observed information, further such
        steps follow while each is much smaller than the last. Strengths that still move need a new information.
        """
        family, held, settled = self.objective.family, self.held, self.search.settled
        near_end = largest < tolerance or (family.observed is None and largest * largest < tolerance * self.before)
        if settled and near_end and self.objective.moves_strengths:  # about to end, on the expected information
            return False, not family.constant
        observed = settled and family.prefers_observed and largest < NEAR
        if family.constant and not held.observed:
            if not observed or STALE < largest < SLOW * self.before:
                return False, False
            return True, True
        close = settled and largest < STALE and held.observed == observed
        if close and (held.age == 0 or (observed and largest < CONTRACTED * self.before)):
            return observed, False
        return observed, True

    def _with_gradients(self, quadratic: Quadratic) -> Quadratic:
        gradient, leaf_gradient = gradients_of(self.objective.layout, self.sums)
        return replace(quadratic, gradient=gradient, leaf_gradient=leaf_gradient)

    def _curved_move(self, reduced: Reduced) -> State:
        """Return the move to the maximum of a quadratic; in a count model, long moves are curved (equation 11)."""
        move = self.objective.move(reduced, self.state)
        if self.objective.family.counts and self.objective.largest(move) > NEAR:
            return curved(reduced, move, down=self.objective.family.name == "poisson")
        return move


def _is_stuck(steps: list[Step], largest: float) -> bool:
    """Return whether a move is too long for a plain step, or moves have stopped shrinking."""
    return largest > LONG or (len(steps) >= STUCK_AFTER and largest > STUCK * steps[-STUCK_STEPS].largest_move)
