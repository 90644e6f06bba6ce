"""Newton's method with guards, for fits whose plain steps do not contract.

The plain steps of `newton` use the expected information (Fisher scoring) until the variances have settled. Scoring does
not contract if the observed information is more than twice the expected information. One claim of twenty times the mean
in a thin leaf is enough. The steps here have three guards:

- the observed information near the maximum, also while the variances are estimated;
- a bound on the move of each parameter (docs/method.md, equation 12a);
- variances that move only while the other parameters are near their maximum, by accelerated steps.
"""

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from freightrisk._types import Array
from freightrisk.errors import FitError
from freightrisk.models.families import FAMILIES
from freightrisk.models.information import quadratic_of
from freightrisk.models.quadratic import LONGEST, Quadratic, Reduced, State, reduce
from freightrisk.models.strengths import LOG_STRENGTHS, STRENGTH_STEPS, STRENGTH_TOLERANCE, Mixing

if TYPE_CHECKING:
    from freightrisk.models.newton import Newton, Run, Step

STEADY = 0.3  # variances move only if the other parameters ask for no larger move,
SHARE = 0.1  # nor for one that is larger than this share of the variances' last residual
LEAST_CURVATURE = 1e-2
RESIDUAL = 1e-9  # change of a log variance that ends the search for the variances
LARGEST_LOG_STEP = 3.0
SHORTER, LONGER = 0.3, 2.0
MOST_STEPS, MORE_STEPS = 20.0, 4.0
HELD_STEPS, HELD_ROUNDS = 10, 10
MOST_HALVINGS = 30
FARTHEST = 8.0
STALLED_ROUNDS, STALLED_RESIDUAL = 6, 1e-6


class _Point:
    """The quadratics at a state, the sums of its pass, and the information of each level."""

    def __init__(self, newton: "Newton", state: State) -> None:
        sums = newton.over(state)
        self.newton, self.state = newton, state
        self.sums, self.totals, self.information = sums, sums.totals.copy(), sums.information
        self.expected = quadratic_of(newton.layout, sums, newton.passes.threads)

    @cached_property
    def observed(self) -> Quadratic | None:
        """Return the quadratic with the observed information, or None where that is the expected information."""
        newton = self.newton
        if FAMILIES[newton.problem.family].observed is None:
            return None
        return quadratic_of(newton.layout, newton.over(self.state, observed=True), newton.passes.threads)


class _Search:
    """The search for the log strengths at which the restricted likelihood asks for no change."""

    def __init__(self, estimated: NDArray[np.bool_]) -> None:
        self.estimated = estimated
        self.mixing, self.least, self.stalled = Mixing(), np.inf, 0
        self.steady, self.rounds = STEADY, 0
        self.reach, self.last = np.full(len(estimated), LARGEST_LOG_STEP), np.zeros(len(estimated))
        self.most = np.full(len(estimated), MOST_STEPS)

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
        self.steady = max(1e-10, min(STEADY, SHARE * largest))
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
        self.last = residual
        step = np.clip(self.mixing.step(log, residual), -self.reach, self.reach)
        return np.where(self.estimated, np.clip(log + step, *LOG_STRENGTHS), log + step)


class _Best(NamedTuple):
    """The residual closest to zero so far, with the point and the strengths that left it."""

    residual: Array
    point: _Point
    strengths: Array


def guarded(
    newton: "Newton", state: State, strengths: Array, tolerance: float, most: int, steps: list["Step"]
) -> "Run":
    """Return the maximum reached from a state in at most `most` further steps, which are added to `steps`.

    If the search for the variances has not ended when HELD_STEPS steps are left, the variances are held where the
    restricted likelihood asked for the smallest change. `Run.unsettled` then has that change of each log strength.
    """
    from freightrisk.models.newton import Run, Step

    groups = newton.layout.groups
    search, settled = _Search(np.array([group.variance is None for group in groups])), not groups
    point = _Point(newton, state)
    best, unsettled = _Best(np.full(len(groups), np.inf), point, strengths), ()
    longest = LONGEST
    for left in range(most, 0, -1):
        if not settled and left <= HELD_STEPS and search.rounds >= HELD_ROUNDS:
            settled, point, strengths, unsettled = True, best.point, best.strengths, tuple(best.residual.tolist())
        move = _move(newton, point, strengths, longest)
        largest, ended = newton.largest(move), settled
        if not settled and largest < search.steady:
            log = np.log(strengths)
            residual = search.residual(*_residuals(newton, point, strengths))
            if np.abs(residual).max() < np.abs(best.residual).max():
                best = _Best(residual, point, strengths)
            ended = search.ended(residual)
            strengths = np.exp(log + residual if ended else search.next(log, residual))
            move = _move(newton, point, strengths, longest)
            largest = newton.largest(move)
        objective = newton.penalised(point.sums, point.state, strengths)
        if largest < tolerance and ended:
            steps.append(Step(newton.n_rows, objective, largest, 0))
            return Run(
                point.state.plus(move), point.expected, point.information, point.totals, strengths, tuple(steps), move,
                True, unsettled,
            )  # fmt: skip
        point, halvings = _raised(newton, point, move, objective, strengths)
        steps.append(Step(newton.n_rows, objective, largest, halvings))
        # A level far from its maximum gets longer steps, as long as they raise the objective.
        longest = min(2.0 * longest, FARTHEST) if largest >= 0.9 * longest and not halvings else LONGEST
    return Run(
        point.state, point.expected, point.information, point.totals, strengths, tuple(steps), move, False, unsettled
    )


def _raised(newton: "Newton", point: _Point, move: State, objective: float, strengths: Array) -> tuple[_Point, int]:
    """Return the point after a move, halved until it does not lower the objective, and the halvings."""
    halvings = 0
    while True:
        found = _Point(newton, point.state.plus(move, 0.5**halvings))
        if newton.rises(objective, newton.penalised(found.sums, found.state, strengths)) or halvings == MOST_HALVINGS:
            return found, halvings
        halvings += 1


def _move(newton: "Newton", point: _Point, strengths: Array, longest: float) -> State:
    """Return the move from a point: bounded if it is long, with the observed information if the maximum is close."""

    def reduced(quadratic: Quadratic, bounded: State | None = None) -> Reduced:
        return reduce(
            quadratic, newton.layout, newton.labels, strengths, newton.ridge, bounded=bounded, longest=longest
        )

    state, plain = point.state, reduced(point.expected)
    move = newton.move(plain, state)
    if newton.largest(move) > longest:
        move = newton.move(reduced(point.expected, state), state)
    if newton.largest(move) > LONGEST or point.observed is None:
        return move
    seen = reduced(point.observed)
    if not all((pivot.pivot > 0.0).all() for pivot in seen.pivots):
        seen = reduced(point.observed, state)
    closer = newton.move(replace(seen, matrix=_positive(seen, plain, state)), state)
    return closer if newton.largest(closer) <= LONGEST else move


def _positive(seen: Reduced, expected: Reduced, state: State) -> Array:
    """Return the matrix of a quadratic with negative curvatures turned round, and with bounded moves.

    The observed information of some families may be negative. A step from a saddle must then lead away from it. Each
    direction's curvature is raised until its own move is at most LONGEST, as in `reduce`.
    """
    scale = np.sqrt(np.diag(expected.matrix))
    values, vectors = np.linalg.eigh(seen.matrix / np.outer(scale, scale))
    if values[0] > LEAST_CURVATURE:
        return seen.matrix
    right = seen.right_side(state)[0]
    longest = np.abs(vectors / scale[:, None]).max(axis=0) * np.abs(vectors.T @ (right / scale))
    raised = np.maximum(np.maximum(np.abs(values), longest / LONGEST), LEAST_CURVATURE**2)
    return np.asarray((vectors * raised) @ vectors.T * np.outer(scale, scale))


def _residuals(newton: "Newton", point: _Point, strengths: Array) -> tuple[Array, Array]:
    """Return the changes of the log strengths in one step of the fixed point, and to the best ones of a quadratic."""
    try:
        return _asked(newton, point, strengths, 1, point.observed), _asked(
            newton, point, strengths, STRENGTH_STEPS, point.observed
        )
    except FitError:  # the observed information of some families may be negative
        return _asked(newton, point, strengths, 1, None), _asked(newton, point, strengths, STRENGTH_STEPS, None)


def _asked(newton: "Newton", point: _Point, strengths: Array, rounds: int, moving: Quadratic | None) -> Array:
    found = newton.at_best(
        point.expected, point.state, point.totals, strengths, STRENGTH_TOLERANCE, rounds=rounds, moving=moving
    )
    return np.asarray(np.log(found.strengths / strengths))
