"""The off-balance factor of a fit: expected responses times it add up to the observed ones."""

from collections.abc import Iterator

import numpy as np

from freightrisk._types import Array
from freightrisk.models.design import Layout
from freightrisk.models.families import FAMILIES, expected_response
from freightrisk.models.information import means
from freightrisk.models.passes import Problem
from freightrisk.models.quadratic import State

BALANCED = 1e-12  # relative difference of the totals that ends the search
ROUNDS = 50


def off_balance(problem: Problem, layout: Layout, state: State, lift: float) -> float:
    """Return the factor on the rates of a fit at which expected responses add up to the observed ones.

    `lift` is the log of mean over median of a lognormal. The likelihood of Poisson counts has this balance already, so
    their factor is exactly 1. Claims that an order makes at most once are 1 - exp(-factor m), so their factor is found
    by Newton's method on its logarithm; the total rises with it and is bounded by the number of orders or lines.
    """
    if FAMILIES[problem.family].balanced:
        return 1.0
    actual = sum(float((weight * y).sum()) for y, _, weight, _ in _rows(problem, layout, state))
    log_factor = lift
    bounded = FAMILIES[problem.family].link != "log"
    for _ in range(ROUNDS):
        expected = slope = 0.0
        for _, mean, weight, trials in _rows(problem, layout, state):
            grown = mean * np.exp(log_factor)
            each = weight * expected_response(problem.family, grown, trials)
            expected += float(each.sum())
            slope += float((weight * trials * grown * np.exp(-grown)).sum()) if bounded else float(each.sum())
        if abs(expected - actual) <= BALANCED * actual:
            break
        # In a model without a bound, the logarithm of the total is linear, so the first step is exact.
        log_factor += (actual - expected) / slope if bounded else float(np.log(actual / expected))
    return float(np.exp(log_factor - lift))


def _rows(problem: Problem, layout: Layout, state: State) -> Iterator[tuple[Array, Array, Array, Array]]:
    """Yield response, mean, weight and lines of the rows, in parts."""
    one = np.ones(1)
    for part in problem.parts():
        weight = part.weight if len(part.weight) else one
        yield part.y, means(part, layout, state), weight, part.trials if len(part.trials) else one
