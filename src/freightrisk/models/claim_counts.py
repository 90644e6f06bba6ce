"""The number of claims of a merchant and period, or of an order, as a distribution with a generating function."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from freightrisk import _check
from freightrisk._frozen import EqualByContent
from freightrisk._shown import repr_of
from freightrisk._types import Array
from freightrisk.errors import InputError
from freightrisk.models.lines import INDEPENDENT, LONGEST_ORDER

LARGEST_MEAN = 1e9
NO_DISPERSION = 1e-12  # smaller dispersions count as 0: they change the variance of up to 10,000 claims by 1e-8 of it
CIRCLE = 256  # points of a circle on which probabilities are read from a generating function
RADIUS = 0.9  # of the circle: 0.9^256 is 2e-12, and 0.9^-50, which enlarges rounding, is 194
SUM_OF_ONE = 1e-9  # largest distance of the sum of given probabilities from 1


class ClaimCount(ABC):
    """The distribution of a number of claims N.

    A count gives its mean, its variance, its largest value and its probability generating function E[z^N].
    """

    @property
    @abstractmethod
    def expected_claims(self) -> float:
        """Return E[N], claims."""

    @property
    @abstractmethod
    def variance(self) -> float:
        """Return the variance of N, claims squared."""

    @property
    @abstractmethod
    def most(self) -> int | None:
        """Return the largest number of claims, None if there is none."""

    @abstractmethod
    def log_generating(self, z: ArrayLike) -> Any:
        """Return log E[z^N] for complex z of modulus up to 1, or real z above 0; infinite if it does not exist."""

    def generating(self, z: ArrayLike) -> Any:
        """Return the probability generating function E[z^N].

        Parameters
        ----------
        z : float64 or complex128 array
            Complex numbers of modulus up to 1, or real numbers above 0.

        Returns
        -------
        array, shape of z
            Infinite at real numbers for which the mean does not exist.
        """
        return np.exp(self.log_generating(z))

    def generating_above(self, z: ArrayLike, log_none: float) -> Any:
        """Return E[z^N] less exp(log_none), without a loss of digits if both are close to 1 because claims are rare."""
        logs = self.log_generating(z)
        if log_none > -1.0:
            return np.exp(log_none) * np.expm1(logs - log_none)
        return np.exp(logs) - np.exp(log_none)


@dataclass(frozen=True)
class PoissonCount(ClaimCount):
    """Poisson counts.

    Parameters
    ----------
    mean : float
        Expected claims, from 0 to 1e9.

    Examples
    --------
    >>> from freightrisk.aggregates import PoissonCount
    >>> count = PoissonCount(2.0)
    >>> float(count.generating(0.0).round(6)), count.variance
    (0.135335, 2.0)
    """

    mean: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", _mean_of(self.mean))

    @property
    def expected_claims(self) -> float:
        """Return E[N], claims."""
        return self.mean

    @property
    def variance(self) -> float:
        """Return the variance of N."""
        return self.mean

    @property
    def most(self) -> int | None:
        """Return None, because the counts have no bound."""
        return None if self.mean > 0.0 else 0

    def log_generating(self, z: ArrayLike) -> Any:
        """Return log E[z^N] = mean (z - 1)."""
        return self.mean * (np.asarray(z) - 1.0)


@dataclass(frozen=True)
class NegativeBinomialCount(ClaimCount):
    """Negative binomial counts: Poisson counts whose mean varies between merchants and periods.

    Parameters
    ----------
    mean : float
        Expected claims m, from 0 to 1e9.
    dispersion : float
        Dispersion d of the variance m + d m^2, from 0 (Poisson) to 1e6.

    Notes
    -----
    E[z^N] is (1 - d m (z - 1))^(-1/d). For d -> 0 it becomes exp(m (z - 1)).

    References
    ----------
    Klugman, Panjer and Willmot, Loss Models, 2012, appendix B.2.1.4 (with r = 1 / d and beta = d m).

    Examples
    --------
    >>> from freightrisk.aggregates import NegativeBinomialCount
    >>> count = NegativeBinomialCount(2.0, dispersion=0.5)
    >>> float(count.generating(0.0).round(6)), count.variance
    (0.25, 4.0)
    """

    mean: float
    dispersion: float = field(kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", _mean_of(self.mean))
        value = _check.number(self.dispersion, argument="dispersion", low=0.0, high=1e6)
        object.__setattr__(self, "dispersion", value)

    @property
    def expected_claims(self) -> float:
        """Return E[N], claims."""
        return self.mean

    @property
    def variance(self) -> float:
        """Return the variance m + d m^2."""
        return self.mean + self.dispersion * self.mean**2

    @property
    def most(self) -> int | None:
        """Return None, because the counts have no bound."""
        return None if self.mean > 0.0 else 0

    def log_generating(self, z: ArrayLike) -> Any:
        """Return log E[z^N] = -log(1 - d m (z - 1)) / d."""
        step = self.mean * (np.asarray(z) - 1.0)
        if self.dispersion < NO_DISPERSION:
            return step
        if np.iscomplexobj(step):
            return -_log1p(-self.dispersion * step) / self.dispersion
        inside = self.dispersion * step < 1.0
        return np.where(inside, -np.log1p(np.where(inside, -self.dispersion * step, 0.0)) / self.dispersion, np.inf)


@dataclass(frozen=True)
class LineCount(ClaimCount):
    """Returned lines of an order, as binomial or beta-binomial counts; one line gives a Bernoulli count.

    Parameters
    ----------
    lines : int
        Lines of the order, from 1 to 10,000.
    probability : float
        Probability that a line comes back, in [0, 1].
    correlation : float
        Correlation of two lines of the order, in [0, 1); 0 for independent lines (binomial).

    Notes
    -----
    The distribution is the one of `expected_line_claims` (docs/method.md, equation 38).

    Examples
    --------
    >>> from freightrisk.aggregates import LineCount
    >>> LineCount(2, 0.5).probabilities.round(6).tolist()
    [0.25, 0.5, 0.25]
    >>> LineCount(2, 0.5, correlation=0.5).probabilities.round(6).tolist()
    [0.375, 0.25, 0.375]
    """

    lines: int
    probability: float
    correlation: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lines", _check.whole(self.lines, argument="lines", low=1, high=LONGEST_ORDER))
        chance = _check.number(self.probability, argument="probability", low=0.0, high=1.0)
        object.__setattr__(self, "probability", chance)
        together = _check.number(self.correlation, argument="correlation", low=0.0, high=1.0 - 1e-9)
        object.__setattr__(self, "correlation", together)

    @property
    def expected_claims(self) -> float:
        """Return E[N], claims."""
        return self.lines * self.probability

    @property
    def variance(self) -> float:
        """Return the variance n p (1 - p) (1 + (n - 1) r), with correlation r."""
        return self.expected_claims * (1.0 - self.probability) * (1.0 + (self.lines - 1) * self.correlation)

    @property
    def most(self) -> int | None:
        """Return the largest number of claims."""
        return self.lines if self.probability > 0.0 else 0

    @cached_property
    def probabilities(self) -> Array:
        """Return P(N = 0), ..., P(N = lines)."""
        n, p, r = self.lines, self.probability, self.correlation
        r = 0.0 if r < INDEPENDENT else r
        if p in (0.0, 1.0):
            return np.asarray(np.arange(n + 1) == round(n * p), dtype=np.float64)
        k = np.arange(n)
        # The logs of P(N = k) are sums of logs of ratios, so that no probability underflows on the way to a larger one.
        stay, back = (1.0 - p) * (1.0 - r) + (n - 1 - k) * r, p * (1.0 - r) + k * r
        none = np.log1p(-p * (1.0 - r) / (1.0 - r + k * r)).sum()
        logs = none + np.concatenate([[0.0], np.cumsum(np.log((n - k) / (k + 1.0) * back / stay))])
        found = np.exp(logs)
        return np.asarray(found / found.sum())

    def log_generating(self, z: ArrayLike) -> Any:
        """Return log E[z^N]."""
        z = np.asarray(z)
        with np.errstate(divide="ignore"):
            if self.correlation < INDEPENDENT:
                step = self.probability * (z - 1.0)
                if not np.iscomplexobj(step):
                    return self.lines * np.log1p(step)
                logs = _log1p(step)  # minus infinity times a complex number would not be a number
                return self.lines * logs.real + 1j * (self.lines * logs.imag)
            return _log_of_table(z, self.probabilities)


@dataclass(frozen=True, eq=False)
class TableCount(ClaimCount, EqualByContent):
    """Counts with given probabilities.

    Parameters
    ----------
    probabilities : array, shape (n,)
        P(N = 0), P(N = 1), ..., P(N = n - 1), up to 10,001 values that sum to 1 within 1e-9. They are divided by their
        sum.

    Examples
    --------
    >>> from freightrisk.aggregates import TableCount
    >>> count = TableCount([0.7, 0.2, 0.1])
    >>> round(count.expected_claims, 6), round(count.variance, 6), count.most
    (0.4, 0.44, 2)
    """

    probabilities: Array

    def __post_init__(self) -> None:
        found = checked_probabilities(self.probabilities, most=LONGEST_ORDER + 1)
        object.__setattr__(self, "probabilities", found)

    @property
    def expected_claims(self) -> float:
        """Return E[N], claims."""
        return float(np.arange(len(self.probabilities)) @ self.probabilities)

    @property
    def variance(self) -> float:
        """Return the variance of N."""
        return float((np.arange(len(self.probabilities)) - self.expected_claims) ** 2 @ self.probabilities)

    @property
    def most(self) -> int | None:
        """Return the largest number of claims with a probability above 0."""
        return int(np.flatnonzero(self.probabilities)[-1])

    def log_generating(self, z: ArrayLike) -> Any:
        """Return log E[z^N]."""
        with np.errstate(divide="ignore"):
            return _log_of_table(np.asarray(z), self.probabilities)


@dataclass(frozen=True)
class CappedCount(ClaimCount):
    """The number of paid claims min(N, K) of counts N.

    Parameters
    ----------
    counts : ClaimCount
    max_claims : int
        Largest number of claims paid, K, from 1 to 50.

    Notes
    -----
    P(N = k) for k < K follows from E[z^N] at points of a circle of radius r < 1, of which P(N = k + M) contributes
    r^M of itself with M = 256 points.

    Examples
    --------
    >>> from freightrisk.aggregates import CappedCount, PoissonCount
    >>> CappedCount(PoissonCount(1.0), 1).probabilities.round(6).tolist()
    [0.367879, 0.632121]
    """

    counts: ClaimCount
    max_claims: int

    def __post_init__(self) -> None:
        if not isinstance(self.counts, ClaimCount):
            raise InputError(f"counts is {repr_of(self.counts)}; it must be a ClaimCount, such as PoissonCount(0.2).")
        most = _check.whole(self.max_claims, argument="max_claims", low=1, high=50)
        object.__setattr__(self, "max_claims", most)

    @cached_property
    def probabilities(self) -> Array:
        """Return P(min(N, K) = 0), ..., P(min(N, K) = K)."""
        turn = np.exp(2j * np.pi * np.arange(CIRCLE) / CIRCLE)
        none = float(self.counts.log_generating(0.0))
        # Without P(N = 0), the rounding of the others is relative to the probability of any claim.
        found = np.fft.fft(self.counts.generating_above(RADIUS * turn, none)).real[: self.max_claims] / CIRCLE
        found = np.maximum(found / RADIUS ** np.arange(self.max_claims), 0.0)
        found[0] = np.exp(none)
        return np.append(found, max(-np.expm1(none) - float(found[1:].sum()), 0.0))

    @property
    def expected_claims(self) -> float:
        """Return E[min(N, K)], claims."""
        return float(np.arange(self.max_claims + 1) @ self.probabilities)

    @property
    def variance(self) -> float:
        """Return the variance of min(N, K)."""
        return float((np.arange(self.max_claims + 1) - self.expected_claims) ** 2 @ self.probabilities)

    @property
    def most(self) -> int | None:
        """Return the largest number of paid claims."""
        return self.max_claims if self.counts.most is None else min(self.counts.most, self.max_claims)

    def log_generating(self, z: ArrayLike) -> Any:
        """Return log E[z^min(N, K)]."""
        with np.errstate(divide="ignore"):
            return _log_of_table(np.asarray(z), self.probabilities)


def checked_probabilities(values: ArrayLike, *, most: int) -> Array:
    """Return probabilities divided by their sum; refuses values below 0 and a sum that is not 1 within 1e-9."""
    size = _check.numbers(values, argument="probabilities").size
    found = _check.real_array(values, argument="probabilities", length=size)
    if not 1 <= size <= most:
        raise InputError(f"probabilities has {size:,} values; give from 1 to {most:,}.")
    _check.refuse_rows(found < 0.0, "probabilities is negative in {rows}; probabilities are zero or more.")
    total = float(found.sum())
    if not abs(total - 1.0) <= SUM_OF_ONE:
        raise InputError(f"probabilities sum to {total:.12g}; they must sum to 1, so divide them by their sum.")
    return np.asarray(found / total)


def _mean_of(mean: Any) -> float:
    return _check.number(mean, argument="mean", low=0.0, high=LARGEST_MEAN)


def _log1p(w: Any) -> Any:
    """Return log(1 + w) of complex numbers, which keeps the digits of a small w; numpy's complex log1p does not."""
    with np.errstate(divide="ignore"):
        # Rounding may leave less than -1 of a 1 + w that is practically 0.
        square = np.maximum(2.0 * w.real + np.abs(w) ** 2, -1.0)
        return 0.5 * np.log1p(square) + 1j * np.arctan2(w.imag, 1.0 + w.real)


def _log_of_table(z: Any, probabilities: Array) -> Any:
    """Return the log of sum p_k z^k, as log1p of sum p_k (z^k - 1), which keeps the digits of rare claims."""
    # The coefficients of sum p_k (z^k - 1) / (z - 1) are the probabilities P(N > k).
    above = np.cumsum(probabilities[::-1])[::-1][1:]
    if not len(above):
        return np.zeros(np.shape(z))
    step = (z - 1.0) * np.polynomial.polynomial.polyval(z, above)
    return _log1p(step) if np.iscomplexobj(step) else np.log1p(np.maximum(step, -1.0))
