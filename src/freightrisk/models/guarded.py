"""Newton's method with guards, for fits whose plain steps do not contract.

The plain steps of `newton` use the expected information (Fisher scoring) until the variances have settled. Scoring does
not contract if the observed information is more than twice the expected information. One claim of twenty times the mean
in a thin leaf is enough. The steps here have three guards:

- the observed information, also while the variances are estimated;
- a bound on the move of each parameter;
- variances that move only while the other parameters are near their maximum, by accelerated steps.

docs/method.md describes them under "Guarded steps".
"""

from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from freightrisk._types import Array
from freightrisk.errors import FitError
from freightrisk.models.monotone import on_face
from freightrisk.models.objective import MOST_HALVINGS, Objective, Run, Step
from freightrisk.models.quadratic import LONGEST, Quadratic, Reduced, State
from freightrisk.models.strengths import LOG_STRENGTHS, STRENGTH_STEPS, STRENGTH_TOLERANCE, Mixing

FARTHEST = 8.0  # longest bounded move of a parameter; the bound doubles from LONGEST while steps need no halving
LEAST_CURVATURE = 1e-2  # share of the expected information below which a direction is bounded too
# The search for the variances
STEADY = 0.3  # the variances change only when no parameter asks for a larger move,
SHARE = 0.1  # nor for a larger share of the last change that the variances asked for
RESIDUAL = 1e-9  # change of a log variance that ends the search
STALLED_ROUNDS, STALLED_RESIDUAL = 6, 1e-6  # so does a change below this that no longer halves, because of rounding
LARGEST_LOG_STEP = 3.0
SHORTER, LONGER = 0.3, 2.0  # the reach of a log strength shrinks when its change turns round, and grows otherwise
MOST_STEPS, MORE_STEPS = 20.0, 4.0  # single steps in a change; more if they keep their direction
SLOW = 0.7  # share of the last change above which a change counts as slow, and is doubled
HELD_STEPS, HELD_ROUNDS = 12, 3  # variances are held when so few steps are left, after so many rounds,
HELD_MOST = 30  # if there were at least so many steps to take


class _Point:
    """The quadratics at a state, the sums of its pass, and the information of each level."""

    def __init__(self, objective: Objective, state: State) -> None:
        sums = objective.over(state)
        self.objective, self.state = objective, state
        self.sums, self.totals, self.information = sums, sums.totals.copy(), sums.information
        self.expected = objective.quadratic(sums)

    @cached_property
    def observed(self) -> Quadratic | None:
        """Return the quadratic with the observed information, or None where that is the expected information."""
        if self.objective.family.observed is None:
            return None
        return self.objective.quadratic(self.objective.over(self.state, observed=True))


class _Search:
    """The search for the log strengths at which the restricted likelihood asks for no change."""

    def __init__(self, estimated: NDArray[np.bool_]) -> None:
        self.estimated = estimated
        self.mixing, self.least, self.stalled = Mixing(), np.inf, 0
        self.steady, self.rounds = STEADY, 0
        self.reach, self.last = np.full(len(estimated), LARGEST_LOG_STEP), np.zeros(len(estimated))
        self.most, self.push = np.full(len(estimated), MOST_STEPS), np.ones(len(estimated))

    def residual(self, one: Array, best: Array) -> Array:
        """Return the change to ask for, given one step of the fixed point and the best strengths of the quadratic.

        The best strengths may jump, because the restricted likelihood of a quadratic may have two maxima. One step is
        a continuous function of the strengths. It gives the direction and bounds the change.
        """
        bounded = np.sign(one) * np.minimum(np.abs(best), self.most * np.abs(one))
        return np.where(one * best > 0.0, bounded, one)

    def ended(self, residual: Array) -> bool:
        """Return whether the residual is as small as it can get."""
        largest = float(np.abs(residual).max())
        self.rounds += 1
        self.steady = min(STEADY, SHARE * largest)
        self.least, self.stalled = (largest, 0) if largest < 0.5 * self.least else (self.least, self.stalled + 1)
        return largest < RESIDUAL or (self.stalled >= STALLED_ROUNDS and largest < STALLED_RESIDUAL)

    def next(self, log: Array, residual: Array) -> Array:
        """Return the log strengths to try after those that have left a residual."""
        if self.stalled >= STALLED_ROUNDS:
            self.mixing, self.least, self.stalled = Mixing(), np.inf, 0
        turned = (residual * self.last < 0.0) & (np.abs(residual) > 0.5 * np.abs(self.last))
        self.reach = np.where(turned, SHORTER * self.reach, np.minimum(LONGER * self.reach, LARGEST_LOG_STEP))
        back = residual * self.last < 0.0
        self.most = np.maximum(np.where(back, self.most / MORE_STEPS, self.most * MORE_STEPS), MOST_STEPS)
        step = self.mixing.step(log, residual)
        # The strengths may be far from their fixed point although each step asks for little.
        slow = (residual * self.last > 0.0) & (np.abs(residual) > SLOW * np.abs(self.last))
        self.push = np.where(slow, 2.0 * self.push, 1.0)
        step = np.where(slow & (np.abs(step) < np.abs(self.push * residual)), self.push * residual, step)
        self.last = residual
        step = np.clip(step, -self.reach, self.reach)
        return np.where(self.estimated, np.clip(log + step, *LOG_STRENGTHS), log + step)


class _Best(NamedTuple):
    """The residual closest to zero so far, with the point and the strengths that left it."""

    residual: Array
    point: _Point
    strengths: Array


def guarded(
    objective: Objective, state: State, strengths: Array, tolerance: float, most: int, steps: list[Step]
) -> Run:
    """Return the maximum reached from a state in at most `most` further steps, which are added to `steps`.

    If the search for the variances has not ended when only HELD_STEPS steps are left, the variances are held where the
    restricted likelihood asked for the smallest change. `Run.unsettled` then has that change of each log strength.
    """
    groups = objective.layout.groups
    search, settled = _Search(np.array([group.variance is None for group in groups])), not groups
    point = _Point(objective, state)
    best, unsettled = _Best(np.full(len(groups), np.inf), point, strengths), ()
    longest, least, still = LONGEST, np.inf, 0
    for left in range(most, 0, -1):
        if not settled and left <= HELD_STEPS and search.rounds >= HELD_ROUNDS and most >= HELD_MOST:
            settled, point, strengths, unsettled = True, best.point, best.strengths, tuple(best.residual.tolist())
        move = _move(objective, point, strengths, longest)
        largest, ended = objective.largest(move), settled
        if not settled and largest < max(search.steady, tolerance):
            log = np.log(strengths)
            residual = search.residual(*_residuals(objective, point, strengths))
            if np.abs(residual).max() < np.abs(best.residual).max():
                best = _Best(residual, point, strengths)
            ended = search.ended(residual)
            strengths = np.exp(log + residual if ended else search.next(log, residual))
            move = _move(objective, point, strengths, longest)
            largest = objective.largest(move)
        value = objective.penalised(point.sums, point.state, strengths)
        # Large weights leave a rounding error in the moves that is above the tolerance.
        least, still = (largest, 0) if largest < 0.5 * least else (least, still + 1)
        if ended and (largest < tolerance or (still >= STALLED_ROUNDS and largest < STALLED_RESIDUAL)):
            steps.append(Step(objective.n_rows, value, largest, 0))
            return Run(
                point.state.plus(move), point.expected, point.information, point.totals, strengths, tuple(steps), move,
                True, unsettled,
            )  # fmt: skip
        point, halvings = _raised(objective, point, move, value, strengths)
        steps.append(Step(objective.n_rows, value, largest, halvings))
        # A level far from its maximum gets longer steps, as long as they raise the objective.
        longest = min(2.0 * longest, FARTHEST) if largest >= 0.9 * longest and not halvings else LONGEST
    return Run(
        point.state, point.expected, point.information, point.totals, strengths, tuple(steps), move, False, unsettled
    )


def _raised(objective: Objective, point: _Point, move: State, value: float, strengths: Array) -> tuple[_Point, int]:
    """Return the point after a move, halved until it does not lower the objective, and the halvings."""
    halvings = 0
    while True:
        found = _Point(objective, point.state.plus(move, 0.5**halvings))
        if objective.rises(value, objective.penalised(found.sums, found.state, strengths)) or halvings == MOST_HALVINGS:
            return found, halvings
        halvings += 1


def _move(objective: Objective, point: _Point, strengths: Array, longest: float) -> State:
    """Return the move from a point, bounded if it is long.

    Where the likelihood is concave, every move follows the observed information. Elsewhere only moves close to the
    maximum do.
    """
    state = point.state
    if objective.family.concave:
        seen = point.expected if point.observed is None else point.observed
        move = objective.move(objective.reduced(seen, strengths), state)
        if objective.largest(move) <= longest:
            return move
        return objective.move(objective.reduced(seen, strengths, bounded=state, longest=longest), state)
    plain = objective.reduced(point.expected, strengths)
    move = objective.move(plain, state)
    if objective.largest(move) > longest:
        move = objective.move(objective.reduced(point.expected, strengths, bounded=state, longest=longest), state)
    if objective.largest(move) > LONGEST or point.observed is None:
        return move
    # Without a bound on moves, this only keeps the curvature of each node above zero.
    curved = objective.reduced(point.observed, strengths, bounded=state, longest=np.inf)
    matrix = curved.matrix if objective.monotone is None else on_face(curved, plain, state, objective.monotone)
    closer = objective.move(replace(curved, matrix=_positive(matrix, curved, plain, state)), state)
    length = objective.largest(closer)
    return closer if length <= LONGEST else closer.times(LONGEST / length)


def _positive(matrix: Array, seen: Reduced, expected: Reduced, state: State) -> Array:
    """Return a matrix for a quadratic with negative curvatures turned round, and with bounded moves.

    The observed information of some families may be negative. A step from a saddle must then lead away from it. Each
    direction's curvature is raised until its own move is at most LONGEST, as in `reduce`.
    """
    scale = np.sqrt(np.diag(expected.matrix))
    values, vectors = np.linalg.eigh(matrix / np.outer(scale, scale))
    if values[0] > LEAST_CURVATURE:
        return matrix
    right = seen.right_side(state)[0]
    longest = np.abs(vectors / scale[:, None]).max(axis=0) * np.abs(vectors.T @ (right / scale))
    raised = np.maximum(np.maximum(np.abs(values), longest / LONGEST), LEAST_CURVATURE**2)
    return np.asarray((vectors * raised) @ vectors.T * np.outer(scale, scale))


def _residuals(objective: Objective, point: _Point, strengths: Array) -> tuple[Array, Array]:
    """Return the changes of the log strengths in one step of the fixed point, and to the best ones of a quadratic."""
    try:
        return _asked(objective, point, strengths, 1, point.observed), _asked(
            objective, point, strengths, STRENGTH_STEPS, point.observed
        )
    except FitError:  # the observed information of some families may be negative
        return _asked(objective, point, strengths, 1, None), _asked(objective, point, strengths, STRENGTH_STEPS, None)


def _asked(objective: Objective, point: _Point, strengths: Array, rounds: int, moving: Quadratic | None) -> Array:
    found = objective.at_best(
        point.expected, point.state, point.totals, strengths, STRENGTH_TOLERANCE, rounds=rounds, moving=moving
    )
    return np.asarray(np.log(found.strengths / strengths))
