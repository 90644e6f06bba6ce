"""The off-balance factor of a fit: expected responses times it add up to the observed ones."""

from collections.abc import Iterator

import numpy as np

from freightrisk._types import Array
from freightrisk.models.design import Layout
from freightrisk.models.families import FAMILIES, expected_response
from freightrisk.models.information import means
from freightrisk.models.passes import Problem
from freightrisk.models.quadratic import State

FIRST_REACH = 0.1  # of the log factor; the bracket grows fourfold until it holds the root
FARTHEST = 690.0  # exp(690) is finite


def off_balance(problem: Problem, layout: Layout, state: State, lift: float) -> float:
    """Return the factor on the rates of a fit at which expected responses add up to the observed ones.

    `lift` is the log of mean over median of a lognormal. The likelihood of Poisson counts has this balance already, so
    their factor is exactly 1. Claims that an order makes at most once are 1 - exp(-factor m), so their factor is the
    root of an equation. There is one, because the total rises with the factor to the number of orders or lines.
    """
    from scipy.optimize import brentq

    if FAMILIES[problem.family].balanced:
        return 1.0
    actual = sum(float((weight * y).sum()) for y, _, weight, _ in _rows(problem, layout, state))

    def excess(log_factor: float) -> float:
        """Return the expected total less the observed one."""
        expected = 0.0
        with np.errstate(over="ignore", under="ignore"):  # a mean of infinity is a certain claim
            for _, mean, weight, trials in _rows(problem, layout, state):
                expected += float((weight * expected_response(problem.family, mean * np.exp(log_factor), trials)).sum())
        return expected - actual

    if FAMILIES[problem.family].link == "log":
        expected = excess(lift) + actual
        return actual / expected if expected > 0.0 else float("nan")
    if excess(0.0) == 0.0:  # also if every claim is certain, so that any larger factor is a root too
        return 1.0
    reach = FIRST_REACH
    while reach < FARTHEST and (excess(-reach) > 0.0 or excess(reach) < 0.0):
        reach = min(4.0 * reach, FARTHEST)
    return float(np.exp(brentq(excess, -reach, reach, xtol=1e-15, rtol=1e-15)))


def _rows(problem: Problem, layout: Layout, state: State) -> Iterator[tuple[Array, Array, Array, Array]]:
    """Yield response, mean, weight and lines of the rows, in parts."""
    one = np.ones(1)
    for part in problem.parts():
        weight = part.weight if len(part.weight) else one
        yield part.y, means(part, layout, state), weight, part.trials if len(part.trials) else one
