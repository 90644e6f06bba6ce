"""Deviance and log likelihood of rows, from the objective that the kernel adds up."""

from itertools import islice

import numpy as np

from freightrisk._types import Array
from freightrisk.models.families import FAMILIES, Response, tweedie_log_likelihood
from freightrisk.models.passes import Problem


def fit_statistics(problem: Problem, objective: float) -> tuple[float, float]:
    """Return deviance and log likelihood from the solver's objective, adding the terms it leaves out."""
    family = FAMILIES[problem.family]
    if not family.counts:
        return family.statistics(response_of(problem), objective, problem.family_parameter)
    # For counts, both are sums over rows, and the objective adds to both.
    found = np.array(family.statistics(response_of(next(problem.parts())), objective, problem.family_parameter))
    for part in islice(problem.parts(), 1, None):
        found += family.statistics(response_of(part), 0.0, problem.family_parameter)
    return float(found[0]), float(found[1])


def response_of(problem: Problem) -> Response:
    """Return response, prior weight, log multiplier and lines of each row of a problem."""
    n = problem.n_rows
    log_multiplier = np.log(problem.multiplier) if len(problem.multiplier) else np.zeros(n)
    weight = problem.weight if len(problem.weight) else np.ones(n)
    return Response(problem.y, weight, log_multiplier, problem.trials if len(problem.trials) else np.ones(n))


def log_lift(family: str, dispersion: float, rows_per_weight: float) -> float:
    """Return the log of mean over median of a lognormal amount; 0 for other families, which are fitted to means.

    The log of a row of weight w has variance dispersion / w. The lift is half the mean of these variances, weighted by
    w: half the dispersion times the number of rows over the sum of their weights (docs/method.md, equation 2b).
    """
    return 0.5 * dispersion * rows_per_weight if family == "lognormal" else 0.0


def likelihood_dispersion(problem: Problem, deviance: float, dispersion: float, log_likelihood: float) -> float:
    """Return the dispersion at which the log likelihood of a fit is: 1 for counts, 0 for amounts without one.

    For gamma, lognormal and inverse Gaussian amounts it is the estimate of `FAMILIES`; for Tweedie amounts, and behind
    a limit, the dispersion of the fit.
    """
    if FAMILIES[problem.family].counts:
        return 1.0
    if np.isnan(log_likelihood):
        return 0.0
    if problem.family == "tweedie" or np.isnan(deviance):
        return dispersion
    weight = problem.weight if len(problem.weight) else np.ones(problem.n_rows)
    return deviance / float(weight.sum() if problem.family == "gamma" else (weight > 0).sum())


def log_likelihood_at(problem: Problem, deviance: float, mean: Array, dispersion: float) -> float:
    """Return the log likelihood of amounts at a given dispersion, from their deviance around given means.

    Notes
    -----
    A deviance of amounts is twice the difference to the saturated log likelihood, times the dispersion. The saturated
    one depends on the dispersion only (docs/method.md, below equation 8).
    """
    from scipy.special import gammaln

    response = response_of(problem)
    kept = response.weight > 0
    y, w = response.y[kept], response.weight[kept]
    if problem.family == "tweedie":
        return tweedie_log_likelihood(response, mean, problem.family_parameter, dispersion)
    if not dispersion > 0.0:  # a fit without any residual
        return float("nan")
    if problem.family == "gamma":
        size = 1.0 / dispersion
        saturated = w.sum() * (size * np.log(size) - float(gammaln(size)) - size) - (w * np.log(y)).sum()
    else:
        power = 1.0 if problem.family == "lognormal" else 1.5
        saturated = (0.5 * np.log(w) - power * np.log(y)).sum() - 0.5 * len(y) * np.log(2.0 * np.pi * dispersion)
    return float(saturated - 0.5 * deviance / dispersion)
