"""The distribution of the sum of the payouts of a random number of claims, by the fast Fourier transform."""

from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from freightrisk import _check
from freightrisk._frozen import EqualByContent
from freightrisk._shown import counted, repr_of
from freightrisk._types import Array
from freightrisk.errors import InputError
from freightrisk.models.claim_counts import ClaimCount
from freightrisk.models.payouts import ClaimPayout

MOST_POINTS = 2**21  # of a grid
LIGHT = 100.0  # standard deviations from the mean to the end of the tail, if it is light
COARSER = 4  # largest factor on the finest step of a payout without a variance, if the grid would have too many points
NEGLIGIBLE_TAIL = 1e-13  # probability beyond a grid that counts as none
PADDED = 4  # length of a tilted transform in lengths of its grid
TILT = 30.0  # fall of a tilted grid over its transform, in logs: sums that wrap around are scaled by 1e-13
ROUGH = 2**11  # points of the grid on which the reach is found
SNAP = 1e-7  # of a step: an amount this close to a point of the grid is the point
LARGEST_MEAN_ERROR = 1e-8
LARGEST_VARIANCE_ERROR = 1e-3
NO_VARIANCE = 1e-10  # of the squared mean: a smaller variance is compared with this one
LARGEST_TOTAL_ERROR = 1e-9
ROUNDING = 1e-11  # of the sum of all probabilities on a cut grid


@dataclass(frozen=True)
class GridCheck:
    """How well the grid of a compound distribution represents it.

    Parameters
    ----------
    step, reach : float
        Step and last point of the grid, yuan.
    is_complete : bool
        Whether the grid has the largest possible sum.
    tail : float
        Upper bound of the probability beyond the grid. If the grid was cut off (`is_cut`), the probability itself, but
        at least 1e-11, which is the rounding of a sum of probabilities.
    is_cut : bool
        Whether the probability beyond the grid is not negligible. The probabilities on the grid are correct even then.
    aliasing : float
        Upper bound of the probability of sums that wrapped around to another point of the grid.
    total_error : float
        Sum of the computed probabilities and `tail`, less 1, before they were scaled to 1. It shows rounding.
    mean_error, variance_error : float
        Mean and variance of the grid over the exact ones, less 1. If the grid was cut off, `variance_error` compares
        variances with payouts up to the end of the grid.

    Notes
    -----
    Local moment matching keeps the mean of a payout. It moves each payout by at most one step, so it raises the second
    moment of a payout by at most a quarter of the squared step.
    """

    step: float
    reach: float
    is_complete: bool
    is_cut: bool
    tail: float
    aliasing: float
    total_error: float
    mean_error: float
    variance_error: float

    @property
    def faults(self) -> tuple[str, ...]:
        """Return each fault with its cure."""
        found = []
        if self.is_cut:
            found.append(
                f"a probability of {self.tail:.2g} lies beyond the grid, which ends at {self.reach:,.2f} yuan, so that "
                f"its mean is off by {self.mean_error:.2g}; amounts up to the end of the grid are right. Give a larger "
                "reach, or a payout with a limit."
            )
        elif not abs(self.mean_error) <= LARGEST_MEAN_ERROR:
            found.append(
                f"the mean of the grid is off by {self.mean_error:.2g}, because of rounding or amounts beyond its end; "
                "give a payout with a limit, or a larger step."
            )
        if not abs(self.variance_error) <= LARGEST_VARIANCE_ERROR:
            found.append(
                f"the variance of the grid is off by {self.variance_error:.2g}, because its step is {self.step:g} "
                "yuan; give a smaller step."
            )
        if not self.is_cut and not abs(self.total_error) <= LARGEST_TOTAL_ERROR:
            found.append(
                f"the probabilities sum to 1 {self.total_error:+.2g}, because of rounding; give a larger step, so that "
                "the grid has fewer points."
            )
        return tuple(found)

    @property
    def is_good(self) -> bool:
        """Return whether the check found no fault."""
        return not self.faults

    def __str__(self) -> str:
        how = "good" if self.is_good else " ".join(self.faults)
        return (
            f"grid of {self.reach / self.step:,.0f} steps of {self.step:g} yuan: {how}\n"
            f"tail {self.tail:.2g}, aliasing {self.aliasing:.2g}, errors of total {self.total_error:.2g}, mean "
            f"{self.mean_error:.2g}, variance {self.variance_error:.2g}"
        )


@dataclass(frozen=True, eq=False, repr=False)
class CompoundDistribution(EqualByContent):
    """The distribution of S = X_1 + ... + X_N on a grid of amounts; `compound_distribution` makes it.

    Parameters
    ----------
    probabilities : array, shape (n + 1,)
        Probability of S = 0, step, ..., n * step.
    mean, variance : float
        Exact moments of S, yuan and yuan squared.
    check : GridCheck
        How good the grid is.
    """

    probabilities: Array
    mean: float
    variance: float
    check: GridCheck

    @property
    def step(self) -> float:
        """Return the step of the grid, yuan."""
        return self.check.step

    @cached_property
    def _above(self) -> Array:
        """Return P(S > k step), summed from the smallest probabilities."""
        beyond = self.check.tail if self.check.is_cut else 0.0
        return np.cumsum(np.concatenate([[beyond], self.probabilities[:0:-1]]))[::-1]

    @cached_property
    def _below(self) -> Array:
        """Return E[S; S <= k step] in yuan."""
        return np.cumsum(self.probabilities * (self.step * np.arange(len(self.probabilities))))

    def _place(self, amount: ArrayLike) -> tuple[Array, Any]:
        """Return amounts and the last points of the grid that are not above them."""
        a = _check.numbers(amount, argument="amount")
        _check.refuse_rows(~(a.ravel() >= 0.0), "amount is below zero or missing in {rows}; give yuan of 0 or more.")
        last = len(self.probabilities) - 1
        if self.check.is_cut:
            _check.refuse_rows(
                a.ravel() > self.check.reach * (1.0 + SNAP),
                f"amount is beyond {self.check.reach:,.2f} yuan in {{rows}}, where the grid ends with a probability of "
                f"{self.check.tail:.2g} beyond; give compound_distribution a larger reach.",
            )
        return a, np.minimum(np.floor(np.minimum(a / self.step, last + 1.0) + SNAP), last).astype(np.int64)

    def probability_above(self, amount: ArrayLike) -> Array:
        """Return P(S > amount).

        Parameters
        ----------
        amount : array, yuan
            Amounts of 0 or more.

        Returns
        -------
        float64 array, shape of `amount`
        """
        _, k = self._place(amount)
        return np.asarray(self._above[k])

    def limited_expected_value(self, amount: ArrayLike) -> Array:
        """Return E[min(S, amount)], yuan; see `probability_above` for the argument."""
        a, k = self._place(amount)
        some = self._above[k] > 0.0
        return np.asarray(self._below[k] + np.where(some, np.where(some, a, 0.0) * self._above[k], 0.0))

    def stop_loss(self, amount: ArrayLike) -> Array:
        """Return E[max(S - amount, 0)], yuan; see `probability_above` for the argument."""
        return np.asarray(np.maximum(self.mean - self.limited_expected_value(amount), 0.0))

    def quantile(self, probability: ArrayLike) -> Array:
        """Return the smallest amount on the grid with P(S <= amount) >= probability (value at risk).

        Parameters
        ----------
        probability : array, in [0, 1)

        Returns
        -------
        float64 array, shape of `probability`, yuan
            For continuous payouts, the amount is rounded to the grid.

        Raises
        ------
        InputError
            If a probability is outside [0, 1), or its quantile lies beyond the grid.
        """
        p = _check.numbers(probability, argument="probability")
        if not np.all((p >= 0.0) & (p < 1.0)):
            raise InputError("probability is outside [0, 1); give the probability of the amounts up to the quantile.")
        # P(S > x) keeps its digits in the tail. 1e-15 is the rounding of 1 - p.
        place = np.searchsorted(-self._above, -(1.0 - p) - 1e-15, side="left")
        if (place == len(self._above)).any():
            raise InputError(
                f"probability is above {1.0 - self.check.tail:.6g}, the probability of the amounts on the grid; give "
                "compound_distribution a larger reach."
            )
        return np.asarray(self.step * place)

    def expected_shortfall(self, probability: ArrayLike) -> Array:
        """Return the average of the quantiles above a probability (tail value at risk), yuan.

        Parameters
        ----------
        probability : array, in [0, 1)

        Notes
        -----
        It is q + E[max(S - q, 0)] / (1 - p) with the quantile q of p. It equals E[S | S > q] if P(S <= q) = p.

        References
        ----------
        Acerbi and Tasche 2002.
        """
        quantile = self.quantile(probability)
        return np.asarray(quantile + self.stop_loss(quantile) / (1.0 - np.asarray(probability, dtype=np.float64)))

    def __repr__(self) -> str:
        return (
            f"CompoundDistribution: mean {self.mean:,.4g}, standard deviation {self.variance**0.5:,.4g} yuan; "
            f"{counted(len(self.probabilities), 'point')} with step {self.step:g} yuan, "
            f"{'good' if self.check.is_good else 'with faults: see check'}"
        )


def compound_distribution(
    counts: ClaimCount, payouts: ClaimPayout, *, step: float | None = None, reach: float | None = None
) -> CompoundDistribution:
    """Return the distribution of the sum of the payouts of a random number of claims.

    Parameters
    ----------
    counts : ClaimCount
        Distribution of the number of claims.
    payouts : ClaimPayout
        Distribution of the payout of a claim. Payouts are independent of each other and of the number of claims.
    step : float, optional
        Step of the grid, yuan. By default the greatest common divisor of the amounts of a `TablePayout`, or a
        sixty-fourth of the mean of other payouts. It is a multiple of this if the grid would have more than 2,097,152
        points.
    reach : float, optional
        End of the grid, yuan. By default the largest possible sum, or the amount that a sum exceeds with a probability
        of at most 1e-13.

    Returns
    -------
    CompoundDistribution

    Raises
    ------
    InputError
        If an argument is outside its range, or a given step or reach needs more than 2,097,152 points.

    Warns
    -----
    FreightRiskWarning
        If the check of the grid finds a fault and no `reach` was given.

    Notes
    -----
    The transform of S is E[z^N] at the transform of X (docs/method.md, equations 43 to 45). For whole fen the result is
    exact but for rounding, about 1e-15. If the grid must end before the tail is negligible, payouts are cut off at its
    end, which does not change the probabilities of smaller sums. The transform is then tilted, so that sums that
    wrap around have a weight of 1e-13.

    References
    ----------
    Gerber 1982; Grübel and Hermesmeier 1999; Klugman, Panjer and Willmot, Loss Models, 2012, sections 9.6 and 9.8.

    Examples
    --------
    >>> from freightrisk.aggregates import LineCount, PoissonCount, TablePayout, compound_distribution
    >>> order = compound_distribution(LineCount(2, 0.5), TablePayout([1000], [1.0]))
    >>> order.probabilities.round(6).tolist(), order.limited_expected_value(15.0).round(6).tolist()
    ([0.25, 0.5, 0.25], 8.75)
    >>> month = compound_distribution(PoissonCount(20.0), TablePayout([800, 1200], [0.75, 0.25]))
    >>> month.quantile([0.5, 0.99]).tolist(), month.check.is_good
    ([180.0, 284.0], True)
    """
    if not isinstance(counts, ClaimCount):
        raise InputError(f"counts is {repr_of(counts)}; it must be a ClaimCount, such as PoissonCount(30.0).")
    if not isinstance(payouts, ClaimPayout):
        raise InputError(f"payouts is {repr_of(payouts)}; it must be a ClaimPayout, such as ShapePayout(10.0, shape).")
    size, points, kind = _grid(counts, payouts, step, reach)
    # Payouts beyond a grid that ends early stand one step beyond it, so that no point of the grid has their mass.
    masses = payouts.on_grid(size, points + (kind == "cut"))
    found, aliasing = _transformed(counts, masses, kind == "cut")
    found = found[: points + 1]
    total = float(found.sum())
    mean = counts.expected_claims * payouts.mean
    variance = counts.expected_claims * payouts.variance + counts.variance * payouts.mean**2
    amounts = size * np.arange(points + 1)
    if kind == "cut":
        probabilities, tail = found, max(1.0 - total, ROUNDING)
        end = size * (points + 1)
        capped, level = payouts.limited_second_moment(end), float(payouts.limited(end)) ** 2
        exact = counts.expected_claims * (capped - level) + counts.variance * level
        spread = exact + counts.expected_claims * (float(np.append(amounts, end) ** 2 @ masses) - capped)
    else:
        probabilities, tail = found / total, NEGLIGIBLE_TAIL if kind == "far" else 0.0
        exact, spread = variance, float((amounts - mean) ** 2 @ probabilities)
    check = GridCheck(
        step=size, reach=size * points, is_complete=kind == "complete", is_cut=kind == "cut", tail=tail,
        aliasing=aliasing, total_error=total - 1.0 if kind != "cut" else 0.0,
        mean_error=float(amounts @ probabilities) / mean - 1.0 if mean > 0.0 else 0.0,
        # The rounding of a variance is relative to the squared mean.
        variance_error=(spread - exact) / max(exact, NO_VARIANCE * mean**2) if mean > 0.0 else 0.0,
    )  # fmt: skip
    if reach is None and not check.is_good:
        _check.warn(f"compound_distribution: {' '.join(check.faults)}")
    return CompoundDistribution(probabilities, mean, variance, check)


def _grid(counts: ClaimCount, payouts: ClaimPayout, step: float | None, reach: float | None) -> tuple[float, int, str]:
    """Return the step, the number of steps, and how the grid ends: "complete", "far" (no tail) or "cut"."""
    if step is not None:
        step = _check.number(step, argument="step", low=0.0, high=1e9, open_low=True)
    if reach is not None:
        reach = _check.number(reach, argument="reach", low=0.0, high=1e15, open_low=True)
    finest = payouts.finest_step if step is None else step
    most = counts.most
    if most == 0 or payouts.mean <= 0.0:
        return (finest if finest > 0.0 else 1.0), 1, "complete"
    complete = np.inf if most is None else most * payouts.largest
    # A grid with the largest sum is preferred: there is nothing beyond it to bound.
    whole = complete / finest <= MOST_POINTS
    far = complete if whole else min(complete, _far_reach(counts, payouts))
    wanted = far if reach is None else min(reach, far)
    if wanted / finest > MOST_POINTS and step is None:
        finest *= max(min(np.ceil(wanted / finest / MOST_POINTS), _coarsest(counts, payouts, far) // finest), 1.0)
    if wanted / finest > MOST_POINTS * (1.0 + SNAP) and (step is not None or reach is not None):
        given = f"step is {finest:g}" if step is not None else f"reach is {wanted:g}"
        raise InputError(
            f"{given}, so that the grid up to {wanted:,.2f} yuan has more than {MOST_POINTS:,} points; give "
            f"{'a larger step or a smaller reach' if step is not None else 'a smaller reach, or a larger step'}."
        )
    points = max(ceil(min(wanted / finest, MOST_POINTS) - SNAP), 1)
    end = points * finest * (1.0 + SNAP)
    return finest, points, "complete" if end >= complete else "far" if end >= far else "cut"


def _coarsest(counts: ClaimCount, payouts: ClaimPayout, far: float) -> float:
    """Return the largest step that keeps the variance, infinite for a light tail: its grid must not be cut."""
    if payouts.variance == np.inf:
        return COARSER * payouts.finest_step
    claims = counts.expected_claims
    variance = claims * payouts.variance + counts.variance * payouts.mean**2
    if far <= claims * payouts.mean + LIGHT * variance**0.5:
        return np.inf
    # The step h raises the second moment of a payout by about h^2 / 6.
    return float(np.sqrt(6.0 * LARGEST_VARIANCE_ERROR * variance / claims))


def _far_reach(counts: ClaimCount, payouts: ClaimPayout) -> float:
    """Return an amount that a sum exceeds with a probability of at most NEGLIGIBLE_TAIL; infinite if none is found.

    Some payout exceeds c with a probability of at most E[N] P(X > c). If none does, Chernoff's bound holds for payouts
    cut off at c: log P(S >= x) <= log E[exp(t S)] - t x for each t > 0.
    """
    largest = payouts.largest
    if largest == np.inf:
        candidates = payouts.mean * 2.0 ** np.arange(60)
        rare = counts.expected_claims * payouts.above(candidates) <= NEGLIGIBLE_TAIL / 2.0
        if not rare.any():
            return np.inf
        largest = float(candidates[np.argmax(rare)])
    step = largest / ROUGH
    masses = payouts.on_grid(step, ROUGH)
    t = np.geomspace(1e-8, 60.0, 400) / largest
    some = np.flatnonzero(masses)
    # Local moment matching never lowers E[exp(t X)], because exp is convex. So the bound holds for X itself.
    moments = 1.0 + np.expm1(np.multiply.outer(t, step * some)) @ masses[some]
    with np.errstate(over="ignore"):
        bounds = (counts.log_generating(moments) - np.log(NEGLIGIBLE_TAIL / 2.0)) / t
    return float(bounds.min())


def _transformed(counts: ClaimCount, masses: Array, is_cut: bool) -> tuple[Array, float]:
    """Return the probabilities of S on the grid, and a bound of the probability that wrapped around."""
    from scipy import fft

    points = len(masses)
    size = fft.next_fast_len(PADDED * points if is_cut else points, real=True)
    tilt = TILT / size if is_cut else 0.0
    fall = np.exp(-tilt * np.arange(points))
    # The probability of the sum 0 is left out of the transform, so that the rounding of the others is relative to the
    # probability of any payout.
    none = float(counts.log_generating(masses[0]))
    inside = counts.generating_above(fft.rfft(masses * fall, size), none)
    found = fft.irfft(inside, size)[:points] / fall
    found[0] = np.exp(none)
    return np.maximum(found, 0.0), float(np.exp(-TILT)) if is_cut else 0.0
