"""The distribution of claim amounts around their mean. It decides how much of the mean remains under a limit."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from freightrisk import _check
from freightrisk._shown import counted, repr_of
from freightrisk._types import Array
from freightrisk.book.book import OrderBook, check_amounts
from freightrisk.errors import FitError, InputError
from freightrisk.models.fitted import FittedModel

SCALE_FAMILIES = ("gamma", "lognormal")  # their shape is the same at every mean
NO_DISPERSION = 1e-30  # a smaller dispersion counts as 0: the standard deviation is below the last digit of the mean
POINTS = 1024  # largest number of points of an empirical shape; more amounts are grouped by rank
BLOCK = 512  # ratios evaluated at a time
REACH = 6.5  # a kernel is cut off at this many widths; 4e-11 of its probability lies beyond
NEIGHBOURS = 8  # number of neighbours on either side whose distance sets the width of a kernel
WIDEST = 0.5  # largest width of a kernel
FEWEST_AMOUNTS = 20


class SeverityShape(ABC):
    """The distribution of the ratio Z of an amount to its mean; it is the same at every mean.

    Z has mean 1. A shape gives the limited expected value E[min(Z, r)] and the probability P(Z > r).
    """

    @abstractmethod
    def limited(self, ratio: ArrayLike) -> Array:
        """Return E[min(Z, ratio)] for ratios above zero."""

    @abstractmethod
    def above(self, ratio: ArrayLike) -> Array:
        """Return P(Z > ratio)."""


@dataclass(frozen=True)
class ScaleShape(SeverityShape):
    """A gamma or lognormal shape.

    Parameters
    ----------
    dispersion : float
        Variance over squared mean; for a lognormal, the variance of the log. If it is 0, every amount is the mean.
    family : {"gamma", "lognormal"}

    Examples
    --------
    >>> from freightrisk.shapes import ScaleShape
    >>> ScaleShape(1.0).limited([0.5, 1.0, 2.0]).round(6).tolist()
    [0.393469, 0.632121, 0.864665]
    """

    dispersion: float
    family: str = "gamma"

    def __post_init__(self) -> None:
        value = _check.number(self.dispersion, argument="dispersion", low=0.0, high=1e6)
        object.__setattr__(self, "dispersion", value)
        _check.one_of(self.family, SCALE_FAMILIES, argument="family")

    def limited(self, ratio: ArrayLike) -> Array:
        """Return E[min(Z, ratio)]."""
        r = np.asarray(ratio, dtype=np.float64)
        return limited_expected_value(np.ones_like(r), r, dispersion=self.dispersion, family=self.family)

    def above(self, ratio: ArrayLike) -> Array:
        """Return P(Z > ratio)."""
        from scipy.special import gammaincc, ndtr

        r = np.asarray(ratio, dtype=np.float64)
        if self.dispersion < NO_DISPERSION:
            return np.asarray(r < 1.0, dtype=np.float64)
        if self.family == "gamma":
            return np.asarray(gammaincc(1.0 / self.dispersion, r / self.dispersion))
        deviation = np.sqrt(self.dispersion)
        return np.asarray(ndtr(-np.log(r) / deviation - deviation / 2.0))


@dataclass(frozen=True, eq=False, repr=False)
class EmpiricalShape(SeverityShape):
    """The smoothed distribution of claim amounts over their fitted means.

    Each ratio is the mean of a lognormal kernel, so that the curve has no corners. The ratios are divided by their
    mean. A `ParetoTail` describes amounts beyond the largest ratio.

    Parameters
    ----------
    ratios : array, shape (n,)
        At least 20 ratios of an amount to its mean, above zero.
    weights : array, shape (n,), optional
        Weight of each ratio, zero or more; by default 1.
    bandwidth : float in [0.001, 1]
        Smallest standard deviation of the log of a kernel. If ratios are sparse, the standard deviation is half the
        distance between the logs of the eighth neighbours on either side, up to 0.5.

    Raises
    ------
    InputError
        If there are fewer than 20 ratios, or an argument is outside its range.

    Notes
    -----
    For kernels with mean z and variance b^2 of the log, E[min(Z, r)] is the weighted mean of
    z Phi(x - b/2) + r Phi(-x - b/2), with x = log(r / z) / b. More than 1,024 ratios are grouped by rank, and each
    group is represented by its mean.

    References
    ----------
    Loftsgaarden and Quesenberry 1965, for the width by neighbours.

    Examples
    --------
    >>> import numpy as np
    >>> from freightrisk.shapes import EmpiricalShape
    >>> shape = EmpiricalShape(np.linspace(0.5, 1.5, 101))
    >>> shape.limited([0.25, 1.0, 9.0]).round(3).tolist()
    [0.25, 0.871, 1.0]
    """

    ratios: Array
    weights: Array | None = None
    bandwidth: float = field(default=0.02, kw_only=True)

    def __post_init__(self) -> None:
        n = _check.numbers(self.ratios, argument="ratios").size
        found = _check.real_array(self.ratios, argument="ratios", length=n)
        if n < FEWEST_AMOUNTS:
            raise InputError(f"ratios has {counted(n, 'value')}; a shape needs {FEWEST_AMOUNTS} or more.")
        _check.refuse_rows(found <= 0.0, "ratios is not above zero in {rows}; give amounts over their means.")
        weight = np.ones(n) if self.weights is None else _check.real_array(self.weights, argument="weights", length=n)
        _check.refuse_rows(weight < 0.0, "weights is negative in {rows}; weights are zero or more.")
        if not weight.any():
            raise InputError("weights is zero everywhere; give some ratios a weight above zero.")
        width = _check.number(self.bandwidth, argument="bandwidth", low=1e-3, high=1.0)
        points, share = _grouped(found, weight / weight.sum())
        object.__setattr__(self, "ratios", points / (points @ share))
        object.__setattr__(self, "weights", share)
        object.__setattr__(self, "bandwidth", width)

    @cached_property
    def _kernels(self) -> tuple[Array, Array, Array]:
        """Return the width of each kernel, and bounds `lower` and `upper` of the ratios that kernels reach.

        Kernel k and all kernels before it end below upper[k]. Kernel k and all kernels after it begin above lower[k].
        """
        z = self.ratios
        place = np.arange(len(z))
        first, last = np.maximum(place - NEIGHBOURS, 0), np.minimum(place + NEIGHBOURS, len(z) - 1)
        width = np.clip(np.log(z[last] / z[first]) / 2.0, self.bandwidth, max(WIDEST, self.bandwidth))
        upper = np.maximum.accumulate(z * np.exp(REACH * width))
        lower = np.minimum.accumulate((z * np.exp(-REACH * width))[::-1])[::-1]
        return width, lower, upper

    @classmethod
    def fit(cls, severity: FittedModel, book: OrderBook, *, bandwidth: float = 0.02) -> "EmpiricalShape":
        """Return the shape of a book's claims around a severity model."""
        return cls(*ratios_of(severity, book), bandwidth=bandwidth)

    def limited(self, ratio: ArrayLike) -> Array:
        """Return E[min(Z, ratio)]."""
        from scipy.special import ndtr

        def near(r: Array, z: Array, width: Array) -> Array:
            x = np.log(r / z) / width
            return np.asarray(z * ndtr(x - width / 2.0) + r * ndtr(-x - width / 2.0))

        return self._mean(ratio, near, lambda r, below, above: below + r * above)

    def above(self, ratio: ArrayLike) -> Array:
        """Return P(Z > ratio)."""
        from scipy.special import ndtr

        def near(r: Array, z: Array, width: Array) -> Array:
            return np.asarray(ndtr(-np.log(r / z) / width - width / 2.0))

        return self._mean(ratio, near, lambda _, __, above: above)

    def _mean(
        self,
        ratio: ArrayLike,
        near: Callable[[Array, Array, Array], Array],
        far: Callable[[Array, Array, Array], Array],
    ) -> Array:
        """Return the mean over all kernels: `near` for kernels around a ratio, `far` from the sums of all others."""
        z, share = self.ratios, np.asarray(self.weights)
        width, lower, upper = self._kernels
        shares, amounts = (np.concatenate([[0.0], np.cumsum(part)]) for part in (share, share * z))
        every = np.asarray(ratio, dtype=np.float64).ravel()
        value = np.empty(len(every))
        for start in range(0, len(every), BLOCK):
            r = every[start : start + BLOCK]
            low, high = np.searchsorted(upper, r), np.searchsorted(lower, r, side="right")
            # Kernels low to high - 1 reach the ratio. Each pair of a ratio and such a kernel becomes one element.
            row = np.repeat(np.arange(len(r)), high - low)
            place = np.arange(len(row)) - np.repeat(np.cumsum(high - low) - high, high - low)
            around = np.bincount(row, share[place] * near(r[row], z[place], width[place]), len(r))
            value[start : start + BLOCK] = around + far(r, amounts[low], shares[-1] - shares[high])
        return value.reshape(np.shape(ratio))

    def __str__(self) -> str:
        return f"EmpiricalShape of {counted(len(self.ratios), 'point')}, bandwidth {self.bandwidth:g}"

    __repr__ = __str__


@dataclass(frozen=True)
class ParetoTail(SeverityShape):
    """A shape with Pareto amounts above a threshold, such as the freight of large goods.

    Below the threshold, amounts have the distribution of `body`. Above it, P(Z > z) falls as a power of z from its
    value in the body at the threshold. The resulting distribution is divided by its mean.

    Parameters
    ----------
    body : SeverityShape
    threshold : float
        Start of the tail, in means of the body, above 0.
    index : float
        Power of the tail, above 1.

    Notes
    -----
    Let u be the threshold and S the body's P(Z > u). The limited expected value at r > u is the body's limited expected
    value at u plus S u / (index - 1) (1 - (u / r)^(index - 1)) (docs/method.md, equation 28).

    References
    ----------
    Klugman, Panjer and Willmot, Loss Models, 2012, appendix A.2.3.

    Examples
    --------
    >>> from freightrisk.shapes import ParetoTail, ScaleShape
    >>> tail = ParetoTail(ScaleShape(0.3), threshold=2.0, index=2.5)
    >>> (tail.above([2.0, 4.0]) / ScaleShape(0.3).above([2.0, 4.0])).round(1).tolist()
    [0.9, 29.1]
    """

    body: SeverityShape
    threshold: float
    index: float

    def __post_init__(self) -> None:
        if not isinstance(self.body, SeverityShape):
            raise InputError(f"body is {repr_of(self.body)}; it must be a shape, such as ScaleShape(dispersion).")
        threshold = _check.number(self.threshold, argument="threshold", low=0.0, high=1e6, open_low=True)
        object.__setattr__(self, "threshold", threshold)
        object.__setattr__(
            self, "index", _check.number(self.index, argument="index", low=1.0, high=100.0, open_low=True)
        )

    @classmethod
    def fit(
        cls, severity: FittedModel, book: OrderBook, *, share: float = 0.05, body: SeverityShape | None = None
    ) -> "ParetoTail":
        """Return the shape of a book's claims around a severity model, with a Pareto tail above a quantile.

        Parameters
        ----------
        severity : FittedModel
        book : OrderBook
        share : float in (0, 0.5]
            Share of claims in the tail.
        body : SeverityShape, optional
            By default the `EmpiricalShape` of the claims.

        Returns
        -------
        ParetoTail

        Raises
        ------
        FitError
            If the tail has fewer than 20 claims, or is so heavy that it has no mean.

        Notes
        -----
        The index is the maximum likelihood estimate: the weight above the threshold over the weighted sum of
        log(z / threshold).

        References
        ----------
        Hill 1975.
        """
        share = _check.number(share, argument="share", low=0.0, high=0.5, open_low=True)
        ratios, weights = ratios_of(severity, book)
        weights = np.ones(len(ratios)) if weights is None else weights
        body = EmpiricalShape(ratios, weights) if body is None else body
        descending = np.argsort(ratios)[::-1]
        in_tail = np.cumsum(weights[descending]) <= share * weights.sum()
        if in_tail.sum() < FEWEST_AMOUNTS:
            raise FitError(
                f"a tail of {share:.1%} has {counted(int(in_tail.sum()), 'claim')}, and a tail needs {FEWEST_AMOUNTS}; "
                "raise share, or give a shape without a tail."
            )
        threshold = float(ratios[descending[in_tail]].min())
        tail, weight = ratios[descending[in_tail]], weights[descending[in_tail]]
        # The threshold is the smallest amount of the tail, so this amount does not count as above the threshold.
        index = float((weight.sum() - weight[-1]) / (weight * np.log(tail / threshold)).sum())
        if not index > 1.0:
            raise FitError(
                f"the tail's index is {index:.2f}, but a tail with an index of 1 or below has no mean; fit the "
                "severity with a limit first."
            )
        return cls(body, threshold / float((ratios * weights).sum() / weights.sum()), index)

    @property
    def _mean(self) -> float:
        """Return the mean of body and tail before both are divided by it."""
        u = self.threshold
        return float(self.body.limited(u) + self.body.above(u) * u / (self.index - 1.0))

    def limited(self, ratio: ArrayLike) -> Array:
        """Return E[min(Z, ratio)]."""
        mean, u, power = self._mean, self.threshold, self.index - 1.0
        r = np.atleast_1d(np.asarray(ratio, dtype=np.float64)) * mean
        over = self.body.above(u) * u / power * -np.expm1(power * np.log(u / np.maximum(r, u)))
        value = np.full(r.shape, self.body.limited(u)) + over
        value[r < u] = self.body.limited(r[r < u])
        return np.asarray((value / mean).reshape(np.shape(ratio)))

    def above(self, ratio: ArrayLike) -> Array:
        """Return P(Z > ratio)."""
        u = self.threshold
        r = np.atleast_1d(np.asarray(ratio, dtype=np.float64)) * self._mean
        value = np.asarray(self.body.above(u) * (u / np.maximum(r, u)) ** self.index)
        value[r < u] = self.body.above(r[r < u])
        return value.reshape(np.shape(ratio))


def ratios_of(severity: Any, book: OrderBook) -> tuple[Array, Array | None]:
    """Return the ratio of each claim amount to its fitted mean, and the number of claims behind it (None for 1)."""
    if not isinstance(severity, FittedModel) or severity.kind != "severity":
        raise InputError("severity must be a fitted severity model; give the result of SeverityModel.fit.")
    check_amounts(book)
    if not len(book.claim_amount):
        raise InputError("the book has no claim amounts, so it has no shape to fit; give a book with claims.")
    return book.claim_amount / severity.predict(book)[book.claim_row], book.claim_weight


def _grouped(values: Array, share: Array) -> tuple[Array, Array]:
    """Return ascending values with their shares; if there are more than POINTS, neighbours are merged at their mean."""
    ascending = np.argsort(values, kind="stable")
    values, share = values[ascending], share[ascending]
    kept = share > 0
    values, share = values[kept], share[kept]
    if len(values) <= POINTS:
        return values, share
    # Groups have about equal shares; the middle of an amount's share decides its group.
    group = np.minimum(((np.cumsum(share) - share / 2.0) * POINTS).astype(int), POINTS - 1)
    total = np.bincount(group, share, POINTS)
    some = total > 0
    return np.asarray(np.bincount(group, share * values, POINTS)[some] / total[some]), np.asarray(total[some])


def limited_expected_value(mean: ArrayLike, limit: ArrayLike, *, dispersion: float, family: str = "gamma") -> Array:
    """Return E[min(X, limit)] of gamma or lognormal amounts X.

    Parameters
    ----------
    mean, limit : float64 arrays, yuan
        An infinite limit gives the mean.
    dispersion : float
        Variance over squared mean; for a lognormal, the variance of the log. If it is 0, every amount is the mean.
    family : {"gamma", "lognormal"}

    Returns
    -------
    float64 array, yuan

    Notes
    -----
    Gamma: mean P(a + 1, x) + limit Q(a, x), with a = 1 / dispersion and x = a limit / mean (docs/method.md,
    equation 26). P and Q are the lower and upper regularised incomplete gamma functions.

    Lognormal: mean Phi(x - s/2) + limit Phi(-x - s/2), with s the standard deviation of the log and
    x = log(limit / mean) / s.

    Limit cases: limit -> 0 gives limit, limit -> infinity gives mean.

    References
    ----------
    Klugman, Panjer and Willmot, Loss Models, 2012, appendices A.3 (gamma) and A.5 (lognormal).

    Examples
    --------
    >>> import numpy as np
    >>> from freightrisk.shapes import limited_expected_value
    >>> limited_expected_value(np.array([10.0]), np.array([10.0]), dispersion=1.0).round(6).tolist()
    [6.321206]
    """
    from scipy.special import gammainc, gammaincc, ndtr

    _check.one_of(family, SCALE_FAMILIES, argument="family")
    dispersion = _check.number(dispersion, argument="dispersion", low=0.0, high=1e9)
    mean, limit = _check.numbers(mean, argument="mean"), _check.numbers(limit, argument="limit")
    try:
        mean, limit = np.broadcast_arrays(mean, limit)
    except ValueError:
        raise InputError(
            f"mean has shape {mean.shape} and limit has shape {limit.shape}; give one mean and one limit for each row."
        ) from None
    if dispersion < NO_DISPERSION:
        return np.asarray(np.minimum(mean, limit))
    bounded = np.where(np.isinf(limit), 1.0, limit)  # a stand-in, because inf times a probability of 0 is NaN
    if family == "lognormal":
        deviation = np.sqrt(dispersion)
        with np.errstate(divide="ignore"):
            x = np.log(bounded / mean) / deviation
        value = mean * ndtr(x - deviation / 2.0) + bounded * ndtr(-x - deviation / 2.0)
        return np.where(np.isinf(limit), mean, value)
    x = bounded / mean / dispersion
    value = mean * gammainc(1.0 / dispersion + 1.0, x) + bounded * gammaincc(1.0 / dispersion, x)
    return np.where(np.isinf(limit), mean, value)
