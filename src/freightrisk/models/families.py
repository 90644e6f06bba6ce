"""Families of responses: their names in the kernel, and deviance and log likelihood from the kernel's objective.

Every family has m = multiplier exp(eta), where eta is the sum of the log tables. It is the mean of a row, except for
Bernoulli rows and for a line of an order: their mean is 1 - exp(-m). The kernel adds up the objective, which is the log
likelihood at dispersion 1 without the terms that do not depend on eta. The functions here add these terms, once for all
rows. The formulas are in docs/method.md, under "Nine likelihoods" and equation 8.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from freightrisk._types import Array


class Response(NamedTuple):
    """Response, prior weight, log multiplier and lines of each row."""

    y: Array
    weight: Array
    log_multiplier: Array
    trials: Array


# Amounts whose squared relative deviations average less than this equal their means but for rounding. They have no
# density.
NO_SPREAD = 1e-14
LOG_RANGE = 600.0  # of arguments of Wright's Bessel function
MOST_MIDDLE = 1e5  # index of the largest term of its series, up to which terms are added up
SMALLEST_PARAMETER = 1e-6  # an estimated parameter as small as this means Poisson counts, or independent lines
# Least and largest estimate of a family's parameter: of a dispersion of counts, and of a correlation of lines
PARAMETER_BOUNDS = {"negative_binomial": (SMALLEST_PARAMETER, 1e3), "beta_binomial": (SMALLEST_PARAMETER, 1.0 - 1e-6)}


@dataclass(frozen=True)
class Family:
    """A family of responses.

    Its parameter is a dispersion (negative binomial), a power (Tweedie) or a correlation (beta binomial).

    Parameters
    ----------
    name : str
    observed : str, optional
        The kernel's family with the observed information, if this is not the expected information.
    prefers_observed : bool
        Whether all steps near the maximum use the observed information, because it costs no more. They are then exact
        Newton steps.
    has_dispersion : bool
        Whether a dispersion multiplies the variance.
    constant : bool
        Whether the expected information is the weight at any mean.
    counts : bool
        Whether the response is a number of claims.
    lines : bool
        Whether the response counts the returned lines of an order.
    kernel : str, optional
        The kernel's family, if its name differs.
    concave : bool
        Whether the observed information is positive everywhere.
    balanced : bool
        Whether expected responses add up to the observed ones at the maximum of the likelihood.
    parameter : str
        What the parameter is; empty for a family without one.
    none_found : str
        What an estimate at its lower bound means.
    """

    name: str
    observed: str | None = None
    prefers_observed: bool = False
    has_dispersion: bool = False
    constant: bool = False
    counts: bool = False
    lines: bool = False
    kernel: str | None = None
    concave: bool = True
    balanced: bool = False
    parameter: str = ""
    none_found: str = ""

    @property
    def link(self) -> str:
        """Return the name of the link from the mean of a row, or of a line of an order, to the sum of log tables."""
        return "complementary log-log" if self.lines or self.name == "bernoulli" else "log"

    def parameter_text(self, value: float) -> str:
        """Return what a value of the parameter means, for a summary; empty for a family without a parameter."""
        if not self.parameter:
            return ""
        at_bound = bool(self.none_found) and value <= SMALLEST_PARAMETER
        return self.none_found if at_bound else f"{self.parameter} {value:.4g}"

    def statistics(self, response: Response, objective: float, parameter: float) -> tuple[float, float]:
        """Return deviance and log likelihood.

        The log likelihood is at the maximum likelihood dispersion; for gamma, at the deviance over the sum of weights.
        It is NaN for amounts that equal their means, because these have no density.
        """
        return _STATISTICS[self.name](response, objective, parameter)


FAMILIES = {
    family.name: family
    for family in (
        Family("poisson", counts=True, balanced=True),
        Family("bernoulli", "bernoulli_observed", counts=True),
        Family(
            "negative_binomial",
            "negative_binomial_observed",
            counts=True,
            parameter="dispersion of counts",
            none_found="no overdispersion found",
        ),
        Family("binomial", "beta_binomial_observed", counts=True, lines=True, kernel="beta_binomial"),
        Family(
            "beta_binomial",
            "beta_binomial_observed",
            concave=False,
            counts=True,
            lines=True,
            parameter="correlation of lines",
            none_found="no correlation of lines found",
        ),
        Family("gamma", "gamma_observed", prefers_observed=True, has_dispersion=True, constant=True),
        Family("lognormal", has_dispersion=True, constant=True),
        Family("inverse_gaussian", "inverse_gaussian_observed", concave=False, has_dispersion=True),
        Family("tweedie", "tweedie_observed", prefers_observed=True, has_dispersion=True, parameter="power"),
    )
}


def _poisson(response: Response, objective: float, __: float) -> tuple[float, float]:
    # The kernel's objective has y eta; the log likelihood has y log m = y (eta + log multiplier).
    # Rows with y = 0 add nothing.
    y, weight, log_multiplier, _ = (part[response.y > 0] for part in response)
    fitted = objective + float((weight * y * log_multiplier).sum())
    saturated = float((weight * (y * np.log(y) - y)).sum())
    return 2.0 * (saturated - fitted), fitted - float((weight * _log_gamma(y + 1.0)).sum())


def _bernoulli(_: Response, objective: float, __: float) -> tuple[float, float]:
    # The saturated log likelihood of zeros and ones is 0.
    return -2.0 * objective, objective


def _binomial(response: Response, objective: float, _: float) -> tuple[float, float]:
    from scipy.special import xlogy

    y, weight, trials = response.y, response.weight, response.trials
    saturated = float((weight * (xlogy(y, y / trials) + xlogy(trials - y, 1.0 - y / trials))).sum())
    return 2.0 * (saturated - objective), objective + float((weight * _log_choices(trials, y)).sum())


def _beta_binomial(response: Response, objective: float, correlation: float) -> tuple[float, float]:
    """Return NaN for the deviance, because the saturated likelihood has no closed form, and the log likelihood."""
    y, weight, trials = response.y, response.weight, response.trials
    # The sum over k < n and the binomial coefficient of docs/method.md, equation 4, which the kernel leaves out.
    up_to = np.cumsum(np.log(1.0 - correlation + correlation * np.arange(int(trials.max(initial=1.0)))))
    every = up_to[trials.astype(np.int64) - 1]
    return float("nan"), objective + float((weight * (_log_choices(trials, y) - every)).sum())


def _log_choices(trials: Array, y: Array) -> Array:
    return _log_gamma(trials + 1.0) - _log_gamma(y + 1.0) - _log_gamma(trials - y + 1.0)


def _negative_binomial(response: Response, objective: float, dispersion: float) -> tuple[float, float]:
    y, weight, log_multiplier, _ = (part[response.y > 0] for part in response)
    fitted = objective + float((weight * y * log_multiplier).sum())
    size = 1.0 / dispersion
    saturated = float((weight * (y * np.log(y) - (y + size) * np.log1p(dispersion * y))).sum())
    constant = weight * (
        y * np.log(dispersion) + _log_gamma(y + size) - _log_gamma(np.array(size)) - _log_gamma(y + 1.0)
    )
    return 2.0 * (saturated - fitted), fitted + float(constant.sum())


def _gamma(response: Response, objective: float, __: float) -> tuple[float, float]:
    y, weight, log_multiplier, _ = response
    deviance = 2.0 * (float((weight * (log_multiplier - np.log(y))).sum()) - float(weight.sum()) - objective)
    total = float(weight.sum())
    # The rounding error of the deviance grows with the logs.
    if not deviance > NO_SPREAD * (total + float((weight * np.abs(log_multiplier - np.log(y))).sum())):
        return deviance, float("nan")
    size = total / deviance  # the shape of docs/method.md, below equation 8
    constant = weight * (
        size * np.log(size) - _log_gamma(np.array(size)) + (size - 1.0) * np.log(y) - size * log_multiplier
    )
    return deviance, float(constant.sum() + size * objective)


def _lognormal(response: Response, objective: float, _: float) -> tuple[float, float]:
    none = NO_SPREAD * float(response.weight.sum())
    return -2.0 * objective, _normal_likelihood(response, -2.0 * objective, 1.0, none)


def _inverse_gaussian(response: Response, objective: float, _: float) -> tuple[float, float]:
    saturated = float((response.weight / response.y).sum())
    deviance = saturated - 2.0 * objective
    return deviance, _normal_likelihood(response, deviance, 1.5, NO_SPREAD * saturated)


def _normal_likelihood(response: Response, deviance: float, power: float, none: float) -> float:
    """Return the log likelihood of rows with weighted squares that sum to `deviance` and a density ~ y ** -power.

    It is NaN if the deviance is at most `none`.
    The dispersion is the maximum likelihood estimate, deviance over rows.
    """
    y, weight, *_ = (part[response.weight > 0] for part in response)
    if not deviance > none:
        return float("nan")
    constant = float((0.5 * np.log(weight) - power * np.log(y)).sum())
    return constant - 0.5 * len(y) * (float(np.log(2.0 * np.pi * deviance / len(y))) + 1.0)


def _tweedie(response: Response, objective: float, power: float) -> tuple[float, float]:
    y, weight, *_ = (part[response.y > 0] for part in response)
    saturated = float((weight * y ** (2.0 - power)).sum()) / ((1.0 - power) * (2.0 - power))
    # The log likelihood needs every mean and the dispersion: see `tweedie_log_likelihood`.
    return 2.0 * (saturated - objective), float("nan")


_STATISTICS = {
    "poisson": _poisson,
    "bernoulli": _bernoulli,
    "negative_binomial": _negative_binomial,
    "binomial": _binomial,
    "beta_binomial": _beta_binomial,
    "gamma": _gamma,
    "lognormal": _lognormal,
    "inverse_gaussian": _inverse_gaussian,
    "tweedie": _tweedie,
}


def _log_gamma(x: Array) -> Array:
    from scipy.special import gammaln

    return np.asarray(gammaln(x))


def tweedie_log_likelihood(response: Response, mean: Array, power: float, dispersion: float) -> float:
    """Return the log likelihood of Tweedie rows with variance dispersion m ** power / weight, 1 < power < 2.

    Notes
    -----
    A row is a Poisson sum of gamma amounts. Its density is written with Wright's Bessel function.

    References
    ----------
    Dunn and Smyth 2005, equation 6.
    """
    y, weight, *_ = response
    kept = weight > 0
    y, weight, mean = y[kept], weight[kept], mean[kept]
    if not dispersion > NO_SPREAD * float((weight * mean ** (2.0 - power)).mean()):
        return float("nan")
    phi = dispersion / weight
    total = float(((y * mean ** (1.0 - power) / (1.0 - power) - mean ** (2.0 - power) / (2.0 - power)) / phi).sum())
    some = y > 0
    a = (2.0 - power) / (power - 1.0)
    log_wright = log_wright_of(a, y[some] / ((power - 1.0) * phi[some]), (2.0 - power) * phi[some])
    return total + float((log_wright - np.log(y[some])).sum())


def log_wright_of(a: float, ratio: Array, divisor: Array) -> Array:
    """Return the log of Wright's Bessel function, the sum of x ** k / (k! Gamma(a k)), at x = ratio ** a / divisor.

    Beyond LOG_RANGE, x leaves the range of a double. For small x the first term is the sum. For large x the terms
    around the largest one are added up, or taken as a normal curve if there are many; its relative error is below 1e-5.
    """
    from scipy.special import gammaln, log_wright_bessel

    log_x = a * np.log(ratio) - np.log(divisor)
    plain = (np.abs(log_x) <= LOG_RANGE) & (np.abs(a * np.log(ratio)) <= LOG_RANGE)
    x = np.exp(np.clip(log_x, -LOG_RANGE, LOG_RANGE))
    x[plain] = ratio[plain] ** a / divisor[plain]
    found = np.asarray(log_wright_bessel(a, 0.0, x))
    small, large = log_x < -LOG_RANGE, log_x > LOG_RANGE
    found[small] = log_x[small] - float(gammaln(a))
    middle = np.exp((log_x[large] - a * np.log(a)) / (1.0 + a))  # the largest term, by Stirling's formula
    deviation = np.sqrt(middle / (1.0 + a))

    def term(k: Array, log_x: Array) -> Array:
        return np.asarray(k * log_x - gammaln(k + 1.0) - gammaln(a * k))

    values, few = np.log(deviation * np.sqrt(2.0 * np.pi)) + term(middle, log_x[large]), middle < MOST_MIDDLE
    first = np.maximum(np.round(middle[few]), 1.0)
    steps = np.arange(1.0, 12.0 * float(deviation[few].max(initial=0.0)) + 20.0)
    near, top = log_x[large][few], term(first, log_x[large][few])
    sums = np.ones(len(first))
    for step in steps:
        sums += np.exp(term(first + step, near) - top)
        below = first > step
        sums[below] += np.exp(term(first[below] - step, near[below]) - top[below])
    values[few] = top + np.log(sums)
    found[large] = values
    return found


def expected_response(family: str, mean: Array, trials: Array) -> Array:
    """Return the expected response of rows from their m = multiplier exp(eta) (docs/method.md, equations 1 to 3)."""
    if FAMILIES[family].lines:
        return np.asarray(-np.expm1(-mean) * (trials if len(trials) else 1.0))
    return np.asarray(-np.expm1(-mean)) if family == "bernoulli" else mean


def rising_sums(count: Array, share: Array, correlation: float, above: Callable[[Array, int], Array]) -> Array:
    """Return the sum over k < count of above(share, k) / (share (1 - correlation) + k correlation) of each row."""
    total = np.zeros(len(count))
    for k in range(int(count.max(initial=0.0))):
        some = np.flatnonzero(count > k)
        total[some] += above(share[some], k) / (share[some] * (1.0 - correlation) + k * correlation)
    return total


def row_gradients(family: str, y: Array, mean: Array, parameter: float, trials: Array) -> Array:
    """Return the gradient of each row, the slope of its log likelihood along eta, at dispersion and weight 1."""
    if FAMILIES[family].lines:
        p, none = -np.expm1(-mean), np.exp(-mean)
        back, stay = (
            rising_sums(count, share, parameter, lambda share, _: np.ones_like(share))
            for count, share in ((y, p), (trials - y, none))
        )
        return np.asarray((1.0 - parameter) * mean * none * (back - stay))
    residual = y - mean
    if family == "poisson":
        return residual
    if family == "bernoulli":
        p = -np.expm1(-mean)
        return np.asarray(mean * (y - p) / p)
    if family == "negative_binomial":
        return np.asarray(residual / (1.0 + parameter * mean))
    if family == "lognormal":
        return np.asarray(np.log(y / mean))
    # The variance is m ** power, so the gradient is (y - m) m / m ** power.
    power = {"gamma": 2.0, "inverse_gaussian": 3.0}.get(family, parameter)
    return np.asarray(residual * mean ** (1.0 - power))
