"""The payout of one claim as a distribution, and its masses on a grid of amounts."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from freightrisk import _check
from freightrisk._frozen import EqualByContent
from freightrisk._shown import repr_of
from freightrisk._types import Array
from freightrisk.errors import InputError
from freightrisk.models.claim_counts import checked_probabilities
from freightrisk.models.shapes import SeverityShape

LARGEST_MEAN = 1e9  # yuan
LARGEST_AMOUNT_FEN = 10**12
MOST_AMOUNTS = 1_000_000
STEPS = 64  # steps of a grid in the mean of a continuous payout
PIECES = 2**14  # of the trapezoidal rule for second moments
BODY = 8.0  # the second moment is taken on a grid up to this many means, and by quadrature of octaves beyond
OCTAVES = 50
QUARTERS = 4  # pieces of an octave, each with 16 points of quadrature
NEGLIGIBLE = 1e-6  # a larger share of the second moment in the last octave means that the integral has no end


class ClaimPayout(ABC):
    """The distribution of the payout X of one claim, in yuan."""

    @property
    @abstractmethod
    def mean(self) -> float:
        """Return E[X], yuan."""

    @property
    @abstractmethod
    def variance(self) -> float:
        """Return the variance of X, yuan squared; infinite if it does not exist."""

    @property
    @abstractmethod
    def largest(self) -> float:
        """Return the largest payout in yuan, infinite if there is none."""

    @property
    @abstractmethod
    def finest_step(self) -> float:
        """Return the step of the grid in yuan that represents the payout exactly, or well if it is continuous."""

    @property
    @abstractmethod
    def is_discrete(self) -> bool:
        """Return whether the grid with the finest step represents the payout exactly."""

    @abstractmethod
    def limited(self, amount: ArrayLike) -> Array:
        """Return E[min(X, amount)] in yuan for amounts of 0 or more."""

    @abstractmethod
    def above(self, amount: ArrayLike) -> Array:
        """Return P(X > amount) for amounts of 0 or more."""

    @abstractmethod
    def limited_second_moment(self, amount: float) -> float:
        """Return E[min(X, amount)^2], yuan squared."""

    @abstractmethod
    def on_grid(self, step: float, points: int) -> Array:
        """Return masses at 0, step, ..., points * step, with the mean of min(X, points * step).

        A payout between two points of the grid is divided between them so that its mean is kept. Masses of payouts
        above the last point stand at the last point.
        """


@dataclass(frozen=True, eq=False)
class TablePayout(ClaimPayout, EqualByContent):
    """Payouts of given amounts in whole fen.

    Parameters
    ----------
    amounts_fen : int array, shape (n,)
        Different amounts from 0 to 1e12 fen.
    probabilities : array, shape (n,)
        Probability of each amount. They sum to 1 within 1e-9 and are divided by their sum.

    Examples
    --------
    >>> from freightrisk.aggregates import TablePayout
    >>> payout = TablePayout([800, 1200], [0.75, 0.25])
    >>> payout.mean, payout.finest_step, payout.limited([10.0]).tolist()
    (9.0, 4.0, [8.5])
    """

    amounts_fen: NDArray[np.int64]
    probabilities: Array

    def __post_init__(self) -> None:
        amounts: NDArray[Any]
        try:
            amounts = np.asarray(self.amounts_fen)
        except Exception:  # values may be of any class, and their errors too
            amounts = np.empty(())
        if amounts.dtype.kind not in "iu" or amounts.ndim != 1:
            raise InputError(
                f"amounts_fen is {repr_of(self.amounts_fen)}; it must be a list of whole numbers of fen, such as "
                "[800, 1200] for 8 and 12 yuan."
            )
        _check.refuse_rows(
            (amounts < 0) | (amounts > LARGEST_AMOUNT_FEN),
            f"amounts_fen is outside [0, {LARGEST_AMOUNT_FEN:,}] in {{rows}}; correct these amounts.",
        )
        chances = checked_probabilities(self.probabilities, most=MOST_AMOUNTS)
        if len(chances) != len(amounts):
            raise InputError(
                f"probabilities has {len(chances):,} values for {len(amounts):,} amounts; give one for each amount."
            )
        if len(np.unique(amounts)) < len(amounts):
            raise InputError("amounts_fen has an amount twice; add the probabilities of equal amounts.")
        ascending = np.argsort(amounts)
        ascending = ascending[chances[ascending] > 0.0]
        object.__setattr__(self, "amounts_fen", amounts[ascending].astype(np.int64))
        object.__setattr__(self, "probabilities", chances[ascending])

    @property
    def mean(self) -> float:
        """Return E[X], yuan."""
        return float(self.amounts_fen @ self.probabilities) / 100.0

    @property
    def variance(self) -> float:
        """Return the variance of X, yuan squared."""
        return float((self.amounts_fen / 100.0 - self.mean) ** 2 @ self.probabilities)

    @property
    def largest(self) -> float:
        """Return the largest payout, yuan."""
        return float(self.amounts_fen[-1]) / 100.0

    @property
    def finest_step(self) -> float:
        """Return the greatest common divisor of the amounts, yuan."""
        return max(int(np.gcd.reduce(self.amounts_fen)), 1) / 100.0

    @property
    def is_discrete(self) -> bool:
        """Return True."""
        return True

    def limited(self, amount: ArrayLike) -> Array:
        """Return E[min(X, amount)], yuan."""
        amounts, a = self.amounts_fen / 100.0, np.asarray(amount, dtype=np.float64)
        sums = np.concatenate([[0.0], np.cumsum(amounts * self.probabilities)])
        return np.asarray(sums[np.searchsorted(amounts, a, side="right")] + a * self.above(a))

    def above(self, amount: ArrayLike) -> Array:
        """Return P(X > amount)."""
        amounts, a = self.amounts_fen / 100.0, np.asarray(amount, dtype=np.float64)
        tails = np.concatenate([np.cumsum(self.probabilities[::-1])[::-1], [0.0]])
        return np.asarray(tails[np.searchsorted(amounts, a, side="right")])

    def limited_second_moment(self, amount: float) -> float:
        """Return E[min(X, amount)^2], yuan squared."""
        return float(np.minimum(self.amounts_fen / 100.0, amount) ** 2 @ self.probabilities)

    def on_grid(self, step: float, points: int) -> Array:
        """Return masses on a grid; exact if the step divides every amount."""
        # In fen, the quotient of two whole numbers is exact if it is whole. In yuan it would be off by a rounding.
        fen = step * 100.0
        place = self.amounts_fen / (float(round(fen)) if abs(fen - round(fen)) < 1e-9 * fen else fen)
        place = np.minimum(place, float(points))
        low = np.minimum(place.astype(np.int64), points - 1)
        part = place - low
        masses = np.bincount(low, (1.0 - part) * self.probabilities, points + 1)
        masses[1:] += np.bincount(low, part * self.probabilities, points)
        return np.asarray(masses, dtype=np.float64)


@dataclass(frozen=True)
class ShapePayout(ClaimPayout):
    """Payouts min(max(freight - deductible, 0), limit) of freight with a mean and a shape.

    Parameters
    ----------
    freight : float
        Mean ground-up freight of a claim, yuan, above 0.
    shape : SeverityShape
        Distribution of the freight around its mean.
    limit : float
        Largest payout of a claim, yuan, above 0; infinite by default.
    deductible : float
        Part of each freight that the cover does not pay, yuan, 0 or more.

    Notes
    -----
    E[min(X, a)] is L(d + min(a, limit)) - L(d), with the limited expected value L of the freight and the deductible d.

    Examples
    --------
    >>> from freightrisk.aggregates import ShapePayout
    >>> from freightrisk.shapes import ScaleShape
    >>> payout = ShapePayout(10.0, ScaleShape(1.0), limit=20.0)
    >>> round(payout.mean, 6), payout.above([19.0, 20.0]).round(6).tolist()
    (8.646647, [0.149569, 0.0])
    """

    freight: float
    shape: SeverityShape
    limit: float = field(default=np.inf, kw_only=True)
    deductible: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        value = _check.number(self.freight, argument="freight", low=0.0, high=LARGEST_MEAN, open_low=True)
        object.__setattr__(self, "freight", value)
        checked_shape(self.shape)
        if self.limit != np.inf:
            limit = _check.number(self.limit, argument="limit", low=0.0, high=LARGEST_MEAN, open_low=True)
            object.__setattr__(self, "limit", limit)
        less = _check.number(self.deductible, argument="deductible", low=0.0, high=LARGEST_MEAN)
        object.__setattr__(self, "deductible", less)

    @cached_property
    def mean(self) -> float:
        """Return E[X], yuan."""
        whole = self.freight if self.limit == np.inf else float(self._freight_limited(self.deductible + self.limit))
        return whole - float(self._freight_limited(self.deductible))

    @property
    def largest(self) -> float:
        """Return the limit, yuan."""
        return self.limit

    @property
    def finest_step(self) -> float:
        """Return a sixty-fourth of the mean, yuan."""
        return self.mean / STEPS

    @property
    def is_discrete(self) -> bool:
        """Return False."""
        return False

    @cached_property
    def variance(self) -> float:
        """Return the variance of X, yuan squared; infinite if it does not exist."""
        return max(self.limited_second_moment(self.limit) - self.mean**2, 0.0)

    def limited_second_moment(self, amount: float) -> float:
        """Return E[min(X, amount)^2], yuan squared; infinite if it does not exist."""
        # E[min(X, c)^2] = 2 (c L(c) - integral of L from 0 to c). L is concave, so the trapezoidal rule with step h
        # errs by at most h^2 / 4 for any shape. The rest is 2 times the integral of x P(X > x) from c to the amount.
        last = min(amount, self.limit)
        end = min(BODY * self.mean, last)
        grid = np.linspace(0.0, end, PIECES + 1)
        limited = self.limited(grid)
        second = 2.0 * (end * limited[-1] - float(np.trapezoid(limited, grid)))
        return float(second) + (self._second_beyond(end, last) if last > end else 0.0)

    def _second_beyond(self, start: float, last: float) -> float:
        """Return 2 times the integral of x P(X > x) from `start` to `last`; infinite if it does not exist."""
        ends = np.minimum(start * 2.0 ** (np.arange(QUARTERS * OCTAVES + 1) / QUARTERS), last)
        nodes, weights = np.polynomial.legendre.leggauss(16)
        middle, half = (ends[1:] + ends[:-1]) / 2.0, np.diff(ends) / 2.0
        x = middle[:, None] + half[:, None] * nodes
        pieces = (2.0 * x * self.above(x) * weights).sum(axis=1) * half
        total = float(pieces.sum())
        return np.inf if last == np.inf and pieces[-QUARTERS:].sum() > NEGLIGIBLE * total else total

    def _freight_limited(self, amount: ArrayLike) -> Array:
        """Return E[min(freight, amount)]; shapes take ratios above zero only."""
        a = np.asarray(amount, dtype=np.float64)
        some = a > 0.0
        return np.where(some, self.freight * self.shape.limited(np.where(some, a, self.freight) / self.freight), 0.0)

    def limited(self, amount: ArrayLike) -> Array:
        """Return E[min(X, amount)], yuan."""
        paid = self.deductible + np.minimum(np.asarray(amount, dtype=np.float64), self.limit)
        return np.asarray(self._freight_limited(paid) - self._freight_limited(self.deductible))

    def above(self, amount: ArrayLike) -> Array:
        """Return P(X > amount)."""
        a = np.asarray(amount, dtype=np.float64)
        freight = a + self.deductible
        some = freight > 0.0
        chance = np.where(some, self.shape.above(np.where(some, freight, self.freight) / self.freight), 1.0)
        return np.where(a < self.limit, chance, 0.0)

    def on_grid(self, step: float, points: int) -> Array:
        """Return masses on a grid by local moment matching."""
        limited = self.limited(step * np.arange(points + 1))
        # The slope of L between two points of the grid is the mass above the lower point. Rounding may make it rise
        # by 1e-16 of the mean; a running minimum removes this without moving the masses of other points.
        above = np.minimum.accumulate(np.clip(np.diff(limited) / step, 0.0, 1.0))
        return np.asarray(-np.diff(above, prepend=1.0, append=0.0))


def checked_shape(shape: Any) -> SeverityShape:
    """Return a severity shape; refuses anything else."""
    if not isinstance(shape, SeverityShape):
        raise InputError(f"shape is {repr_of(shape)}; it must be a shape, such as ScaleShape(0.3).")
    return shape


def payout_with_mean(mean: float, shape: SeverityShape, *, limit: float) -> ShapePayout:
    """Return the payout with a given mean under a limit; it solves for the mean freight before the limit."""
    from scipy.optimize import brentq

    if limit == np.inf:
        return ShapePayout(mean, shape)

    def short(log_freight: float) -> float:
        return ShapePayout(float(np.exp(log_freight)), shape, limit=limit).mean - mean

    low, high = np.log(mean), np.log(LARGEST_MEAN)
    if short(high) <= 0.0:  # every payout is practically at the limit
        return ShapePayout(LARGEST_MEAN, shape, limit=limit)
    if short(low) >= 0.0:  # practically no payout is at the limit
        return ShapePayout(mean, shape, limit=limit)
    return ShapePayout(float(np.exp(brentq(short, low, high, xtol=1e-14, rtol=1e-14))), shape, limit=limit)
