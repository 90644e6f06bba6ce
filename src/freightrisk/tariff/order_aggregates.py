"""The share of the payouts of each order that an aggregate limit by order leaves."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from freightrisk import _check
from freightrisk._types import Array
from freightrisk.errors import InputError
from freightrisk.models.claim_counts import CappedCount, ClaimCount, LineCount, NegativeBinomialCount
from freightrisk.models.lines import LONGEST_ORDER
from freightrisk.models.payouts import checked_shape
from freightrisk.models.shapes import SeverityShape
from freightrisk.tariff.aggregate_limit import AggregateLimit
from freightrisk.tariff.aggregate_shares import LARGEST_PAYOUT, LEAST_PAYOUT, checked_shares


def order_aggregate_shares(
    intensity: ArrayLike,
    payout: ArrayLike,
    *,
    limit: AggregateLimit,
    shape: SeverityShape,
    lines: ArrayLike | None = None,
    correlation: float = 0.0,
    dispersion: float = 0.0,
    max_claims: int | None = None,
    claim_limit: float | None = None,
    tolerance: float = 1e-5,
    progress: bool = False,
) -> Array:
    """Return E[min(S, A)] / E[S] of orders under an aggregate limit by order.

    Parameters
    ----------
    intensity : array, shape (n,)
        Claim intensity of each order, 0 or more.
    payout : float or array, shape (n,)
        Mean payout of a claim of each order, yuan.
    limit : AggregateLimit
        A limit by order.
    shape : SeverityShape
        Distribution of a payout around its mean; with `claim_limit`, of the freight around its mean.
    lines : array of int, shape (n,), optional
        Lines of each order. Counts are then binomial or beta-binomial, and each line comes back with probability
        1 - exp(-intensity / lines). By default counts are Poisson or negative binomial.
    correlation : float
        Correlation of two lines of an order, with `lines`.
    dispersion : float
        Dispersion of the claims of an order, without `lines`.
    max_claims : int or None
        Largest number of claims paid for an order, from 1 to 50; None for no limit. S is then the sum of the paid
        claims.
    claim_limit, tolerance, progress
        As for `AggregateShares.of`.

    Returns
    -------
    float64 array, shape (n,), in (0, 1]

    Raises
    ------
    InputError
        If an argument is outside its range, the shapes differ, or the limit is by merchant.

    Examples
    --------
    >>> from freightrisk.aggregates import AggregateLimit, order_aggregate_shares
    >>> from freightrisk.shapes import ScaleShape
    >>> limit = AggregateLimit(15.0, by="order")
    >>> order_aggregate_shares([0.2, 0.2], 10.0, limit=limit, shape=ScaleShape(0.1), lines=[1, 5]).round(3).tolist()
    [0.986, 0.948]
    """
    if _check.instance(limit, AggregateLimit, argument="limit").by != "order":
        raise InputError("limit is by merchant; give AggregateLimit(amount, by='order').")
    rate = _check.real_array(
        intensity, argument="intensity", length=_check.numbers(intensity, argument="intensity").size
    )
    mean = _check.numbers(payout, argument="payout")
    mean = _check.real_array(np.full(len(rate), mean) if mean.ndim == 0 else mean, argument="payout", length=len(rate))
    _check.refuse_rows(~((rate >= 0.0) & (rate <= 1e6)), "intensity is outside [0, 1e+06] in {rows}; correct it.")
    _check.refuse_rows(
        ~((mean >= LEAST_PAYOUT) & (mean <= LARGEST_PAYOUT)),
        "payout is outside [0.001, 1e+06] yuan in {rows}; correct it.",
    )
    rest: dict[str, Any] = {
        "limit": limit, "shape": checked_shape(shape), "claim_limit": claim_limit, "tolerance": tolerance,
        "progress": progress,
    }  # fmt: skip
    most = None if max_claims is None else _check.whole(max_claims, argument="max_claims", low=1, high=50)
    if lines is None:
        if correlation:
            raise InputError("correlation is given without lines; give the lines of each order, or leave it out.")
        dispersion = _check.number(dispersion, argument="dispersion", low=0.0, high=1e6)
        return checked_shares(rate, mean, _count_of(None, 0.0, dispersion, most), **rest)[0]
    if dispersion:
        raise InputError("dispersion is given with lines, whose counts have a correlation instead; leave one out.")
    sizes = _lines_of(lines, len(rate))
    LineCount(1, 0.5, correlation=correlation)  # refuses a correlation outside its range
    share = np.ones(len(rate))
    for size in np.unique(sizes).tolist():
        rows = sizes == size
        share[rows], _ = checked_shares(rate[rows], mean[rows], _count_of(size, correlation, 0.0, most), **rest)
    return share


def _count_of(
    lines: int | None, correlation: float, dispersion: float, max_claims: int | None
) -> Callable[[float], ClaimCount]:
    """Return the number of paid claims of an order as a function of its claim intensity."""

    def count_of(intensity: float) -> ClaimCount:
        counts: ClaimCount
        if lines is None:
            counts = NegativeBinomialCount(intensity, dispersion=dispersion)
        else:
            counts = LineCount(lines, float(-np.expm1(-intensity / lines)), correlation=correlation)
        return counts if max_claims is None else CappedCount(counts, max_claims)

    return count_of


def _lines_of(lines: ArrayLike, length: int) -> NDArray[np.int64]:
    sizes = _check.real_array(lines, argument="lines", length=length)
    _check.refuse_rows(
        ~((sizes >= 1) & (sizes <= LONGEST_ORDER) & (sizes == np.round(sizes))),
        f"lines is no whole number from 1 to {LONGEST_ORDER:,} in {{rows}}; correct it.",
    )
    return sizes.astype(np.int64)
