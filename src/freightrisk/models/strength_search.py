"""The search for the strengths of penalties between the steps of Newton's method."""

from typing import NamedTuple

import numpy as np

from freightrisk._types import Array
from freightrisk.models.objective import Objective
from freightrisk.models.quadratic import Quadratic, Reduced, State
from freightrisk.models.strengths import MIXED, NEAR_ERROR, STRENGTH_TOLERANCE, Mixing

SETTLED = 1e-6  # strengths are held after a smaller relative change
STALE = 1e-2  # after a larger step, strengths have not settled, and its information matrix is not used again
MIXED_FROM = 0.1  # best strengths are mixed after steps smaller than this
MOST_MIXED = 0.5  # share of the plain change of a log strength by which mixing may correct it
COARSE, FINER = 1e-4, 0.1  # bound on the change that ends a search; its share of the error of the quadratic
LAST_MOVE = 1e-11  # the run ends if it expects no larger move after the last one
STALLED = 0.5  # it also ends if the move is larger than this share of its last value, because of rounding


class Place(NamedTuple):
    """A state with its quadratic and the totals of its pass.

    The quadratic is fresh if it has the expected information at this state.
    """

    state: State
    quadratic: Quadratic
    totals: Array
    is_fresh: bool


class StrengthSearch:
    """The strengths of the penalties in a run.

    Each step takes the best strengths for its quadratic. After they have settled, they are held until the run is near
    its end. Held strengths come from an earlier pass, and their error depends on the last bits of its sums. Only the
    best strengths for the last quadratic are the same on every machine. The last steps therefore search again, with the
    expected information.

    The best strengths converge linearly, because a quadratic does not know how its information moves with them.
    Anderson mixing corrects most of this.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.strengths = objective.first_strengths()
        self.settled = objective.ridge > 0.0 or not objective.layout.groups
        self.ending, self.ended = False, False
        self.asked = np.inf  # the move that the last exact search asked for
        # Older steps than these would only blur a slope that the last ones determine.
        self.mixing = Mixing(min(len(self.strengths) + 1, MIXED))
        self.best: Reduced | None = None

    def reduced(self, place: Place, before: float, near: Reduced | None) -> Reduced:
        """Return a quadratic with the strengths for the next step; `before` is the largest move of the last step."""
        if self.ending and place.is_fresh:
            self.best = self._best(place, STRENGTH_TOLERANCE, near)
            return self.best
        if self.settled:
            return self.objective.reduced(place.quadratic, self.strengths, near=near)
        # The error of a quadratic is the square of the previous move.
        best = self._best(place, max(STRENGTH_TOLERANCE, min(COARSE, FINER * before * before)), near)
        self.settled = self._change(best) < SETTLED and before < STALE
        if before < MIXED_FROM:
            return self._mixed(best)
        self.strengths = best.strengths
        return best

    def last(self, place: Place, before: float, reduced: Reduced) -> Reduced:
        """Return a fresh quadratic with the strengths of an exact search, and note whether the run ends with them."""
        if not self.objective.moves_strengths:
            self.ended = True
            return reduced
        best, self.best, self.ending = self.best, None, True
        if best is None or best.quadratic is not place.quadratic:
            best = self._best(place, STRENGTH_TOLERANCE, reduced.serves(place.quadratic))
        largest = self.objective.largest(self.objective.move(best, place.state))
        is_exact = NEAR_ERROR * self._change(best) < STRENGTH_TOLERANCE
        following = largest if largest >= before else largest * (largest / before)
        self.ended = (is_exact and following < LAST_MOVE) or largest > STALLED * self.asked
        self.asked = largest
        return self._mixed(best)

    def _best(self, place: Place, tolerance: float, near: Reduced | None) -> Reduced:
        """Return the quadratic with its best strengths.

        Sums over leaves may be rescaled from an earlier reduction, if its strengths are close enough for the tolerance.
        """
        state, quadratic, totals, _ = place
        if near is not None and NEAR_ERROR * abs(np.log(self.strengths[0] / near.strengths[0])) > tolerance:
            near = None
        return self.objective.at_best(quadratic, state, totals, self.strengths, tolerance, near=near, again=False)

    def _change(self, best: Reduced) -> float:
        return float(np.abs(np.log(best.strengths / self.strengths)).max())

    def _mixed(self, best: Reduced) -> Reduced:
        """Return the quadratic with the strengths to which the last best ones lead."""
        log = np.log(self.strengths)
        move = np.log(best.strengths) - log
        step = self.mixing.step(log, move)
        if np.all(np.abs(step - move) <= MOST_MIXED * np.abs(move)):
            self.strengths = np.exp(log + step)
            return self.objective.reduced(best.quadratic, self.strengths, near=best.serves(best.quadratic))
        self.strengths = best.strengths
        return best
