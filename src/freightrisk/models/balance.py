"""The off-balance factor of a fit: expected responses times it add up to the observed ones."""

from collections.abc import Callable, Iterator

import numpy as np

from freightrisk._types import Array
from freightrisk.models.design import Layout
from freightrisk.models.families import FAMILIES, expected_response
from freightrisk.models.information import means
from freightrisk.models.passes import Problem
from freightrisk.models.quadratic import State

BALANCED = 1e-12  # relative difference of the totals that ends the search
ROUNDS = 200
FARTHEST = 690.0  # exp(690) is finite


def off_balance(problem: Problem, layout: Layout, state: State, lift: float) -> float:
    """Return the factor on the rates of a fit at which expected responses add up to the observed ones.

    `lift` is the log of mean over median of a lognormal. The likelihood of Poisson counts has this balance already, so
    their factor is exactly 1. Claims that an order makes at most once are 1 - exp(-factor m), so their factor is found
    by Newton's method on its logarithm; the total rises with it to the number of orders or lines.
    """
    if FAMILIES[problem.family].balanced:
        return 1.0
    actual = sum(float((weight * y).sum()) for y, _, weight, _ in _rows(problem, layout, state))

    def at(log_factor: float) -> tuple[float, float]:
        """Return the expected total, and its slope along the log factor."""
        expected = slope = 0.0
        with np.errstate(over="ignore", under="ignore"):  # a mean of infinity is a certain claim
            for _, mean, weight, trials in _rows(problem, layout, state):
                grown = mean * np.exp(log_factor)
                expected += float((weight * expected_response(problem.family, grown, trials)).sum())
                slope += float((weight * trials * np.where(grown < FARTHEST, grown * np.exp(-grown), 0.0)).sum())
        return expected, slope

    if FAMILIES[problem.family].link == "log":
        expected = at(lift)[0]
        return actual / expected if expected > 0.0 else float("nan")
    return float(np.exp(_root(at, actual)))


def _root(at: Callable[[float], tuple[float, float]], actual: float) -> float:
    """Return the log factor at which a bounded total is the observed one: Newton's method inside a bracket."""
    low, high, log_factor = -FARTHEST, FARTHEST, 0.0
    for _ in range(ROUNDS):
        expected, slope = at(log_factor)
        if abs(expected - actual) <= BALANCED * actual:
            break
        low, high = (log_factor, high) if expected < actual else (low, log_factor)
        step = log_factor + (actual - expected) / slope if slope > 0.0 else low
        log_factor = step if low < step < high else 0.5 * (low + high)
    return log_factor


def _rows(problem: Problem, layout: Layout, state: State) -> Iterator[tuple[Array, Array, Array, Array]]:
    """Yield response, mean, weight and lines of the rows, in parts."""
    one = np.ones(1)
    for part in problem.parts():
        weight = part.weight if len(part.weight) else one
        yield part.y, means(part, layout, state), weight, part.trials if len(part.trials) else one
