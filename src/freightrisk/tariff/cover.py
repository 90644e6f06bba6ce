"""The cover: how many claims of an order are paid, and how much of each; and the two curves that price it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._frozen import FrozenDict
from freightrisk.errors import FreightRiskError, InputError
from freightrisk.models.lines import expected_line_claims
from freightrisk.tariff.shapes import SeverityShape

Array = NDArray[np.float64]

CURVE_ERROR = 1e-7
CURVE_PIECES = (128, 256, 512, 1024, 2048, 4096)
LARGEST_INTENSITY = 20.0  # claims an order: up to here a curve of overdispersed counts is held to its error
SMALL = 1e-12  # an intensity at which claims are in proportion to it
LOWEST_LIMIT = 1e-9  # of the mean: down to here a limit curve is held to its error


@dataclass(frozen=True)
class ByLevel:
    """An amount of yuan for each level of a rating factor.

    Parameters
    ----------
    factor : str
        Name of a rating factor of the tariff.
    values : mapping of level to float
        Yuan for each level, named as the relativities name them.
    default : float, optional
        Yuan for levels not listed, unseen ones included. Without it every level must be listed, and an unseen level
        takes the largest amount.
    """

    factor: str
    values: Mapping[Any, float]
    default: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _check.label(self.factor, argument="factor of ByLevel")
        if not self.values:
            raise InputError(f"values of ByLevel('{self.factor}') is empty; list an amount for each level.")
        checked = {str(level): _amount(value, f"amount of level '{level}'") for level, value in self.values.items()}
        object.__setattr__(self, "values", FrozenDict(checked))
        if self.default is not None:
            object.__setattr__(self, "default", _amount(self.default, "default of ByLevel"))


def _amount(value: object, argument: str) -> float:
    return _check.number(value, argument=argument, low=0.0, high=1e6, open_low=True)


@dataclass(frozen=True, kw_only=True)
class Cover:
    """What the contract pays.

    Parameters
    ----------
    max_claims : int or None
        Claims an order that are paid: 1 for one claim an order (一单一赔), None for all (一单多赔).
    merge_share : float
        Share of an order's further claims whose goods are picked up together with the first (合单取件), so that they
        cost no freight of their own. The cover then pays parcels: expected claims are 1 - merge_share times those
        after the first, plus the first, and severity is the freight of a parcel.
    limit : float or ByLevel, optional
        Most that is paid for one claim, yuan, overall or by level of a factor.
    first_weight_fee : ByLevel, optional
        For a first-weight cover: the first-weight fee by zone, the most that is paid for one claim there. None covers
        the full freight, continued weight included.

    Examples
    --------
    >>> from freightrisk import ByLevel, Cover
    >>> Cover(max_claims=1, limit=25.0, first_weight_fee=ByLevel("zone", {"near": 8.0, "far": 12.0})).limits[0].factor
    'zone'
    """

    max_claims: int | None = 1
    limit: float | ByLevel | None = None
    first_weight_fee: ByLevel | None = None
    merge_share: float = 0.0

    def __post_init__(self) -> None:
        if self.max_claims is not None:
            claims = _check.whole(self.max_claims, argument="max_claims", low=1, high=50)
            object.__setattr__(self, "max_claims", claims)
        merged = _check.number(self.merge_share, argument="merge_share", low=0.0, high=1.0)
        object.__setattr__(self, "merge_share", merged)
        if self.limit is not None and not isinstance(self.limit, ByLevel):
            object.__setattr__(self, "limit", _amount(self.limit, "limit"))
        if self.first_weight_fee is not None and not isinstance(self.first_weight_fee, ByLevel):
            raise InputError("first_weight_fee must be a ByLevel: the fee of each level of the zone factor.")

    @property
    def limits(self) -> tuple[ByLevel, ...]:
        """Return the limits that depend on a factor."""
        return tuple(part for part in (self.first_weight_fee, self.limit) if isinstance(part, ByLevel))

    @property
    def is_limited(self) -> bool:
        """Return whether the payout of a claim has any limit."""
        return self.limit is not None or self.first_weight_fee is not None

    def paid_at_most(self, claims: int) -> float:
        """Return what the cover pays of so many claims, in parcels."""
        counted = claims if self.max_claims is None else min(claims, self.max_claims)
        return 1.0 + (1.0 - self.merge_share) * (counted - 1)

    @property
    def flat_limit(self) -> float:
        """Return the overall limit of one claim in yuan, infinite if there is none."""
        return self.limit if isinstance(self.limit, float) else np.inf


def expected_claims(
    intensity: Array, *, max_claims: int | None, dispersion: float = 0.0, merge_share: float = 0.0
) -> Array:
    """Return E[min(N, K)] of Poisson or negative binomial counts N, or the parcels behind these claims.

    Parameters
    ----------
    intensity : float64 array, expected events an order
    max_claims : int or None
        K; None for no limit.
    dispersion : float
        Excess of the variance, lambda + dispersion lambda^2; 0 for Poisson counts.
    merge_share : float
        Share of an order's claims after the first that are picked up with it: P(N >= 1) plus 1 - merge_share times the
        rest.

    Notes
    -----
    The sum of P(N >= k) for k = 1 .. K, each a regularised incomplete gamma function; 1 - exp(-lambda) for K = 1. With
    a dispersion d they are incomplete beta functions of d lambda / (1 + d lambda), and (1 + d lambda)^(-1/d) takes the
    place of exp(-lambda).

    Examples
    --------
    >>> import numpy as np
    >>> from freightrisk.tariff.cover import expected_claims
    >>> expected_claims(np.array([0.5]), max_claims=1).round(6).tolist()
    [0.393469]
    """
    from scipy.special import betainc, gammainc

    intensity = np.asarray(intensity, dtype=np.float64)
    dispersion = _check.number(dispersion, argument="dispersion", low=0.0, high=1e6)
    merged = _check.number(merge_share, argument="merge_share", low=0.0, high=1.0)
    if merged > 0.0 and max_claims != 1:
        first, every = (expected_claims(intensity, max_claims=most, dispersion=dispersion) for most in (1, max_claims))
        return np.asarray(first + (1.0 - merged) * (every - first))
    if max_claims is None:
        return intensity
    if max_claims == 1:
        return -np.expm1(-intensity if dispersion == 0.0 else -np.log1p(dispersion * intensity) / dispersion)
    if dispersion > 0.0:
        again = dispersion * intensity / (1.0 + dispersion * intensity)
        return np.asarray(sum(betainc(k, 1.0 / dispersion, again) for k in range(1, max_claims + 1)))
    return np.asarray(sum(gammainc(k, intensity) for k in range(1, max_claims + 1)))


def count_curve(max_claims: int | None, dispersion: float = 0.0, merge_share: float = 0.0) -> Array:
    """Return the claim-count curve of a cover as cubic pieces, shape (pieces, 4), on equal parts of [0, 1].

    Its value q(t) gives ``claims = t q(t)`` with ``t = lambda / (1 + lambda)``: q is 1 at t = 0 and K at t = 1, and the
    ratio keeps the relative accuracy of small intensities. No pieces stand for no limit on the number of claims. With a
    dispersion the curve ends in a broken power of 1 - t; its error bound holds up to 20 claims an order.
    """
    if max_claims is None:
        if merge_share > 0.0:
            raise InputError(
                "merge_share needs a number of claims that are paid; give max_claims, which may be up to 50."
            )
        return np.empty((0, 4))
    most = Cover(max_claims=max_claims, merge_share=merge_share).paid_at_most(max_claims)

    def claims(intensity: Array) -> Array:
        return expected_claims(intensity, max_claims=max_claims, dispersion=dispersion, merge_share=merge_share)

    what = f"claim-count curve of max_claims={max_claims}, dispersion {dispersion:g}"
    end = 1.0 if dispersion == 0.0 else LARGEST_INTENSITY / (1.0 + LARGEST_INTENSITY)
    return _cubic_pieces([_count_ratio(claims, most)], what, end=end)


def line_count_curves(most: int, *, correlation: float, max_claims: int | None, merge_share: float = 0.0) -> Array:
    """Return the claim-count curves of orders of 1 to `most` lines and of a fallback, which is that of `most`.

    Shape (curves * pieces, 4), one after another; each as `count_curve`, of lambda, the intensity of all lines of an
    order: a line comes back with probability 1 - exp(-lambda / n). Where lines go together a curve starts below 1: of
    few claims, some are second ones of an order.
    """
    cover = Cover(max_claims=max_claims, merge_share=merge_share)

    def curve_of(lines: int) -> Callable[[Array], Array]:
        def claims(intensity: Array) -> Array:
            share = -np.expm1(-intensity / lines)
            return expected_line_claims(
                np.full(intensity.shape, lines), share, correlation=correlation, max_claims=max_claims,
                merge_share=merge_share,
            )  # fmt: skip

        start = float(claims(np.array([SMALL]))[0]) / SMALL
        return _count_ratio(claims, cover.paid_at_most(lines), start=min(start, 1.0))

    what = f"claim-count curves of up to {most} lines, correlation {correlation:g}"
    curves = _cubic_pieces([curve_of(lines) for lines in range(1, most + 1)], what)
    return np.concatenate([curves, curves[-len(curves) // most :]])


def _count_ratio(claims: Callable[[Array], Array], most: float, *, start: float = 1.0) -> Callable[[Array], Array]:
    """Return claims over t as a function of t = lambda / (1 + lambda), from `start` at 0 to `most` at 1."""

    def ratio(t: Array) -> Array:
        inside = (t > 0.0) & (t < 1.0)
        place = np.where(inside, t, 0.5)
        return np.where(inside, claims(place / (1.0 - place)) / place, np.where(t == 0.0, start, most))

    return ratio


def limit_curve(shape: SeverityShape) -> Array:
    """Return the limited expected value curve of a severity's shape as cubic pieces, shape (pieces, 4), on [0, 1].

    Its value q(s) gives ``payout = mu r q(s)`` with ``r = limit / (mu + limit)`` and ``s`` the fourth root of r: q is 1
    at both ends, so the payout is mu under a high limit and the limit under a low one, each to full relative accuracy.

    Notes
    -----
    The payout leaves a low limit as a power of limit / mu, the shape of the gamma, which is broken and small where the
    dispersion is large. The fourth root, by products and sums that every machine rounds alike, makes that power four
    times higher, which a cubic follows. Checked for limits down to 1e-9 of the mean, and the error bound holds there.
    """

    def ratio(s: Array) -> Array:
        share = s**4
        inside = (share > 0.0) & (share < 1.0)
        share = np.where(inside, share, 0.5)
        value = shape.limited(share / (1.0 - share)) / share
        return np.where(inside, value, 1.0)

    farthest = 1.0 if np.isinf(shape.largest_ratio) else shape.largest_ratio / (1.0 + shape.largest_ratio)
    what = f"limited expected value curve of {shape}"
    return _cubic_pieces([ratio], what, start=LOWEST_LIMIT**0.25, end=farthest**0.25)


def _cubic_pieces(
    ratios: Sequence[Callable[[Array], Array]], what: str, *, start: float = 0.0, end: float = 1.0
) -> Array:
    """Return spline coefficients, constant first, with as few pieces a curve as keep the error on [start, end]."""
    from scipy.interpolate import CubicSpline

    for pieces in CURVE_PIECES:
        nodes = np.arange(pieces + 1) / pieces
        between = (np.arange(4 * pieces) + 0.5) / (4 * pieces)
        between = between[(between >= start) & (between <= end)]
        width = (1.0 / pieces) ** np.arange(4)
        found = []
        for ratio in ratios:
            spline = CubicSpline(nodes, ratio(nodes))
            if not float(np.abs(spline(between) / ratio(between) - 1.0).max()) < CURVE_ERROR:
                break
            found.append(spline.c[::-1].T * width)
        if len(found) == len(ratios):
            return np.ascontiguousarray(np.concatenate(found))
    raise FreightRiskError(
        f"the {what} needs more than {CURVE_PIECES[-1]} pieces for a relative error of {CURVE_ERROR:g}."
    )
