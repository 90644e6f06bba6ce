"""Severity seen through a limit: the freight of an amount at its limit is only known to be at least the limit.

Each round replaces a censored amount by a pseudo-amount and a weight. With these, the family's kernel computes the
gradient and the information of the censored likelihood at the current mean (docs/method.md, equation 16). The same
solver and kernel therefore fit both kinds of rows.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from freightrisk._types import Array
from freightrisk.errors import FitError
from freightrisk.models.design import Layout
from freightrisk.models.information import means, tables_of
from freightrisk.models.passes import Problem
from freightrisk.models.table_model import Solution

FAMILIES = ("gamma", "lognormal")
ROUNDS = 100
LOG_DISPERSIONS = (np.log(1e-6), np.log(1e3))
LEAST_INFORMATION = 1e-250  # of a row that is certain to reach its limit, so that averages by level stay defined
FAR = 300.0  # standard deviations; beyond them the expansion of M - z is exact to 1e-13
ROUGH = 1e-4  # tolerance of the first search, in log dispersion
APART = 0.02  # step of the differences, in log dispersion
# Central differences over 1, 2 and 3 times APART. Their weighted sum is 60 APART times the slope, and the
# error of the slope is APART^6 / 140 times the seventh derivative.
SLOPE_WEIGHTS = ((1, 45.0), (2, -9.0), (3, 1.0))


def solve_censored(
    problem: Problem,
    at_limit: NDArray[np.bool_],
    layout: Layout,
    solver: Callable[..., Solution],
    *,
    tolerance: float,
) -> tuple[Problem, Solution, float]:
    """Return the last pseudo-problem, its solution and the log likelihood of the censored amounts.

    Parameters
    ----------
    problem : Problem
        Gamma or lognormal. The response of the rows `at_limit` is their limit.
    at_limit : bool array, shape (n,)
        Rows whose amount is at its limit.
    solver : callable
        Returns the solution of a problem, from a layout and optionally a start.
    tolerance : float
        The rounds end when the base and the log relativities move by less than this.

    Raises
    ------
    FitError
        If 100 rounds do not converge.

    Notes
    -----
    Gradient and information of a censored row are docs/method.md, equation 14 (gamma) and equation 15 (lognormal).

    References
    ----------
    Tobin 1958.
    """
    solution, dispersion = solver(problem, layout), None
    for _ in range(ROUNDS):
        mean = means(problem, layout, solution.state)
        dispersion = _dispersion(problem, mean, at_limit, dispersion)
        pseudo = _pseudo(problem, mean, at_limit, dispersion)
        before = tables_of(layout, solution.state)
        solution = solver(pseudo, layout, start=solution.state)
        after = tables_of(layout, solution.state)
        if max(abs(after[0] - before[0]), float(np.abs(after[1] - before[1]).max(initial=0.0))) < tolerance:
            mean = means(problem, layout, solution.state)
            return pseudo, solution, _Likelihood(problem, mean, at_limit).at(dispersion)
    raise FitError(
        f"the censored {problem.family} fit did not converge in {ROUNDS} rounds; {int(at_limit.sum()):,} of "
        f"{len(at_limit):,} amounts are at their limit. Pool levels with few amounts below it, or leave limit= out to "
        "fit the amounts paid."
    )


def _pseudo(problem: Problem, mean: Array, at_limit: NDArray[np.bool_], dispersion: float) -> Problem:
    """Return the problem with pseudo-rows in place of the rows at their limit (docs/method.md, equations 14 to 16)."""
    weight = problem.weight.copy() if len(problem.weight) else np.ones(problem.n_rows)
    response = problem.response.copy()
    limit, middle = problem.response[at_limit], mean[at_limit]
    if problem.family == "gamma":
        shape = 1.0 / dispersion
        x = shape * limit / middle
        h = _gamma_hazard(shape, x)
        # The score over the information is 1 / (a - x + h). The hazard h cancels, and may underflow to 0.
        slope = np.maximum(shape - x + h, 1e-12)
        information = h * slope / shape
        response[at_limit] = middle * (1.0 + 1.0 / slope)
    else:
        deviation = np.sqrt(dispersion)
        mills, slope = _mills(np.log(limit / middle) / deviation)
        information = mills * slope
        response[at_limit] = middle * np.exp(deviation / slope)
    weight[at_limit] *= np.maximum(information, LEAST_INFORMATION)
    return replace(problem, response=response, weight=weight, dispersion=dispersion)


def _gamma_hazard(shape: float, x: Array) -> Array:
    """Return x f(x) / S(x) of a gamma with scale 1; if S underflows, by its expansion for large x."""
    from scipy.special import gammaincc, gammaln

    tail = gammaincc(shape, x)
    far = tail < 1e-290
    log_density = shape * np.log(x) - x - gammaln(shape)
    value = np.exp(log_density - np.log(np.where(far, 1.0, tail)))
    return np.asarray(np.where(far, x - shape + 1.0 + (shape - 1.0) / x, value))


def _mills(z: Array) -> tuple[Array, Array]:
    """Return the inverse Mills ratio M, the normal density over the upper tail probability, and M - z."""
    from scipy.special import erfcx

    mills = np.asarray(np.sqrt(2.0 / np.pi) / erfcx(z * np.sqrt(0.5)))
    beyond = np.maximum(z, FAR) ** -2.0  # the difference M - z loses its digits there: M - z = 1/z - 2/z^3 + 10/z^5 ...
    return mills, np.where(z > FAR, np.sqrt(beyond) * (1.0 - beyond * (2.0 - 10.0 * beyond)), mills - z)


def _dispersion(problem: Problem, mean: Array, at_limit: NDArray[np.bool_], near: float | None) -> float:
    """Return the maximum likelihood dispersion for the current means, in a bracket around the last dispersion."""
    from scipy.optimize import brentq, minimize_scalar

    likelihood = _Likelihood(problem, mean, at_limit)
    low, high = LOG_DISPERSIONS
    bounds = (low, high) if near is None else (max(low, np.log(near) - 0.5), min(high, np.log(near) + 0.5))

    def at(log_dispersion: float) -> float:
        return likelihood.at(float(np.exp(log_dispersion)))

    found = minimize_scalar(
        lambda log_dispersion: -at(log_dispersion), bounds=bounds, method="bounded", options={"xatol": ROUGH}
    )

    def slope(middle: float) -> float:
        return sum(w * (at(middle + k * APART) - at(middle - k * APART)) for k, w in SLOPE_WEIGHTS)

    # The likelihood is flat at its maximum, so its values locate the maximum to 1e-8 at best, and differently on each
    # processor. Its slope crosses zero there, and locates the maximum to the last digits.
    low, high = float(found.x) - 4.0 * ROUGH, float(found.x) + 4.0 * ROUGH
    if slope(low) > 0.0 > slope(high):
        return float(np.exp(brentq(slope, low, high, xtol=1e-13, rtol=1e-14)))
    return float(np.exp(found.x))  # an end of the range


class _Likelihood:
    """The log likelihood as a function of the dispersion. Rows below their limit enter only through sums."""

    def __init__(self, problem: Problem, mean: Array, at_limit: NDArray[np.bool_]) -> None:
        weight = problem.weight if len(problem.weight) else np.ones(problem.n_rows)
        seen = ~at_limit
        w, ratio = weight[seen], problem.response[seen] / mean[seen]
        logs = np.log(ratio)
        self.family = problem.family
        self.count, self.logs = float(w.sum()), float((w * logs).sum())
        self.total, self.squares = float((w * ratio).sum()), float((w * logs * logs).sum())
        self.amounts = float((w * np.log(problem.response[seen])).sum())
        self.weight, self.limit = weight[at_limit], problem.response[at_limit] / mean[at_limit]

    def at(self, dispersion: float) -> float:
        """Return the log likelihood."""
        from scipy.special import gammaincc, gammaln, log_ndtr

        if self.family == "gamma":
            shape = 1.0 / dispersion
            normal = shape * np.log(shape) - gammaln(shape)
            seen = normal * self.count + shape * (self.logs - self.total)
            x = shape * self.limit
            tail = gammaincc(shape, x)
            far = -x + (shape - 1.0) * np.log(x) - gammaln(shape)  # first term of the expansion of log Q for large x
            hidden = np.where(tail < 1e-290, far, np.log(np.maximum(tail, 1e-300)))
        else:
            seen = -0.5 * (self.squares / dispersion + self.count * np.log(2.0 * np.pi * dispersion))
            hidden = log_ndtr(-np.log(self.limit) / np.sqrt(dispersion))
        return float(seen) - self.amounts + float((self.weight * hidden).sum())
