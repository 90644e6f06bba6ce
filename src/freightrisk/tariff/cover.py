"""The cover: how many claims of an order are paid, and how much of each; and the two curves that price it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._frozen import FrozenDict
from freightrisk.errors import FreightRiskError, InputError

Array = NDArray[np.float64]

CURVE_ERROR = 1e-7
CURVE_PIECES = (128, 256, 512, 1024, 2048, 4096)
SCALE_FAMILIES = ("gamma", "lognormal")  # the mean moves these without changing their shape
LARGEST_INTENSITY = 20.0  # claims an order: up to here a curve of overdispersed counts is held to its error
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

    def __post_init__(self) -> None:
        if self.max_claims is not None:
            claims = _check.whole(self.max_claims, argument="max_claims", low=1, high=50)
            object.__setattr__(self, "max_claims", claims)
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

    @property
    def flat_limit(self) -> float:
        """Return the overall limit of one claim in yuan, infinite if there is none."""
        return self.limit if isinstance(self.limit, float) else np.inf


def expected_claims(intensity: Array, *, max_claims: int | None, dispersion: float = 0.0) -> Array:
    """Return E[min(N, K)] of Poisson or negative binomial counts N.

    Parameters
    ----------
    intensity : float64 array, expected events an order
    max_claims : int or None
        K; None for no limit.
    dispersion : float
        Excess of the variance, lambda + dispersion lambda^2; 0 for Poisson counts.

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
    if max_claims is None:
        return intensity
    if max_claims == 1:
        return -np.expm1(-intensity if dispersion == 0.0 else -np.log1p(dispersion * intensity) / dispersion)
    if dispersion > 0.0:
        again = dispersion * intensity / (1.0 + dispersion * intensity)
        return np.asarray(sum(betainc(k, 1.0 / dispersion, again) for k in range(1, max_claims + 1)))
    return np.asarray(sum(gammainc(k, intensity) for k in range(1, max_claims + 1)))


def limited_expected_value(mean: Array, limit: Array, *, dispersion: float, family: str = "gamma") -> Array:
    """Return E[min(X, limit)] of gamma or lognormal amounts X.

    Parameters
    ----------
    mean, limit : float64 arrays, yuan
        An infinite limit gives the mean.
    dispersion : float
        Variance over squared mean, for a lognormal the variance of the log; zero means that every amount is the mean.
    family : {"gamma", "lognormal"}

    Notes
    -----
    Gamma: with shape a = 1 / dispersion and x = a limit / mean it is mean P(a + 1, x) + limit Q(a, x), P and Q the
    lower and upper regularised incomplete gamma functions (Klugman, Panjer and Willmot, Loss Models, 2012,
    appendix A.3).
    Lognormal: with s the standard deviation of the log and x = log(limit / mean) / s it is
    mean Phi(x - s/2) + limit Phi(-x - s/2) (appendix A.5).
    Limit cases: limit -> 0 gives limit, limit -> infinity gives mean.

    Examples
    --------
    >>> import numpy as np
    >>> from freightrisk.tariff.cover import limited_expected_value
    >>> limited_expected_value(np.array([10.0]), np.array([10.0]), dispersion=1.0).round(6).tolist()
    [6.321206]
    """
    from scipy.special import gammainc, gammaincc, ndtr

    _check.one_of(family, SCALE_FAMILIES, argument="family")
    mean, limit = np.broadcast_arrays(np.asarray(mean, dtype=np.float64), np.asarray(limit, dtype=np.float64))
    if dispersion == 0.0:
        return np.minimum(mean, limit)
    bounded = np.where(np.isinf(limit), 1.0, limit)
    if family == "lognormal":
        deviation = np.sqrt(dispersion)
        with np.errstate(divide="ignore"):
            x = np.log(bounded / mean) / deviation
        value = mean * ndtr(x - deviation / 2.0) + bounded * ndtr(-x - deviation / 2.0)
        return np.where(np.isinf(limit), mean, value)
    x = bounded / mean / dispersion
    value = mean * gammainc(1.0 / dispersion + 1.0, x) + bounded * gammaincc(1.0 / dispersion, x)
    return np.where(np.isinf(limit), mean, value)


def count_curve(max_claims: int | None, dispersion: float = 0.0) -> Array:
    """Return the claim-count curve of a cover as cubic pieces, shape (pieces, 4), on equal parts of [0, 1].

    Its value q(t) gives ``claims = t q(t)`` with ``t = lambda / (1 + lambda)``: q is 1 at t = 0 and K at t = 1, and the
    ratio keeps the relative accuracy of small intensities. No pieces stand for no limit on the number of claims. With a
    dispersion the curve ends in a broken power of 1 - t; its error bound holds up to 20 claims an order.
    """
    if max_claims is None:
        return np.empty((0, 4))

    def ratio(t: Array) -> Array:
        inside = (t > 0.0) & (t < 1.0)
        place = np.where(inside, t, 0.5)
        value = expected_claims(place / (1.0 - place), max_claims=max_claims, dispersion=dispersion) / place
        return np.where(inside, value, np.where(t == 0.0, 1.0, float(max_claims)))

    what = f"claim-count curve of max_claims={max_claims}, dispersion {dispersion:g}"
    end = 1.0 if dispersion == 0.0 else LARGEST_INTENSITY / (1.0 + LARGEST_INTENSITY)
    return _cubic_pieces(ratio, what, end=end)


def limit_curve(dispersion: float, family: str = "gamma") -> Array:
    """Return the limited expected value curve of a severity as cubic pieces, shape (pieces, 4), on [0, 1].

    Its value q(s) gives ``payout = mu r q(s)`` with ``r = limit / (mu + limit)`` and ``s`` the fourth root of r: q is 1
    at both ends, so the payout is mu under a high limit and the limit under a low one, each to full relative accuracy.

    Notes
    -----
    The payout leaves a low limit as a power of limit / mu, the shape of the gamma, which is broken and small where the
    dispersion is large. The fourth root, two square roots that every machine rounds alike, makes that power four times
    higher, which a cubic follows. Checked for limits down to 1e-9 of the mean, and the error bound holds there.
    """

    def ratio(s: Array) -> Array:
        share = s**4
        inside = (share > 0.0) & (share < 1.0)
        share = np.where(inside, share, 0.5)
        limited = limited_expected_value(1.0 - share, share, dispersion=dispersion, family=family)
        value = limited / (share * (1.0 - share))
        return np.where(inside, value, 1.0)

    what = f"limited expected value curve of dispersion {dispersion:g}"
    return _cubic_pieces(ratio, what, start=LOWEST_LIMIT**0.25)


def _cubic_pieces(ratio: Callable[[Array], Array], what: str, *, start: float = 0.0, end: float = 1.0) -> Array:
    """Return spline coefficients, constant first, with as few pieces as keep the error on [start, end]."""
    from scipy.interpolate import CubicSpline

    for pieces in CURVE_PIECES:
        nodes = np.arange(pieces + 1) / pieces
        spline = CubicSpline(nodes, ratio(nodes))
        between = (np.arange(4 * pieces) + 0.5) / (4 * pieces)
        between = between[(between >= start) & (between <= end)]
        if float(np.abs(spline(between) / ratio(between) - 1.0).max()) < CURVE_ERROR:
            width = (1.0 / pieces) ** np.arange(4)
            return np.ascontiguousarray(spline.c[::-1].T * width)
    raise FreightRiskError(
        f"the {what} needs more than {CURVE_PIECES[-1]} pieces for a relative error of {CURVE_ERROR:g}."
    )
