"""The two curves that price a cover: paid claims by claim intensity, and the share of the mean that a limit leaves."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import numpy as np

from freightrisk import _check
from freightrisk._frozen import EqualByContent
from freightrisk._types import Array
from freightrisk.errors import FreightRiskError, InputError
from freightrisk.models.lines import expected_line_claims
from freightrisk.models.shapes import SeverityShape
from freightrisk.tariff.cover import Cover

Cubics: TypeAlias = Annotated[Array, (-1, 4)]

CURVE_ERROR = 1e-7
CURVE_PIECES = (128, 256, 512, 1024, 2048, 4096)
OCTAVE_PIECES = (16, 32, 64, 128, 256, 512, 1024, 2048)
LARGEST_INTENSITY = 20.0  # claims an order; the error bound of overdispersed curves holds up to here
SMALL = 1e-12  # at this intensity, expected claims are proportional to the intensity
FARTHEST_OCTAVE = 30  # a limit curve covers limits from 2**-30 to 2**30 means at most
ONE_BITS = np.int64(1023 << 52)  # of the double 1
# Amounts nearly all equal their mean if a limit at the mean leaves less than this share unpaid.
NEARLY_FLAT = 5e-4
NOTHING = 1e-12  # a limit curve ends where its distance from the mean or the limit falls below this


def expected_claims(
    intensity: Array, *, max_claims: int | None, dispersion: float = 0.0, merge_share: float = 0.0
) -> Array:
    """Return E[min(N, K)] for Poisson or negative binomial counts N, or the expected parcels behind these claims.

    Parameters
    ----------
    intensity : float64 array, expected events an order
    max_claims : int or None
        K; None for no limit.
    dispersion : float
        Dispersion d of the variance lambda + d lambda^2; 0 for Poisson counts.
    merge_share : float
        Share of an order's further claims that are picked up with the first. The result is P(N >= 1) plus
        1 - merge_share times the expected further claims.

    Notes
    -----
    E[min(N, K)] is the sum of P(N >= k) for k = 1 .. K. For Poisson counts each term is a regularised incomplete gamma
    function, and the sum is 1 - exp(-lambda) for K = 1. With a dispersion d each term is a regularised incomplete beta
    function of d lambda / (1 + d lambda), and the sum is 1 - (1 + d lambda)^(-1/d) for K = 1.

    Examples
    --------
    >>> import numpy as np
    >>> from freightrisk.shapes import expected_claims
    >>> expected_claims(np.array([0.5]), max_claims=1).round(6).tolist()
    [0.393469]
    """
    from scipy.special import betainc, gammainc

    intensity = _check.numbers(intensity, argument="intensity")
    if max_claims is not None:
        max_claims = _check.whole(max_claims, argument="max_claims", low=1, high=10_000)
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

    The curve q(t) gives ``claims = t q(t)`` with ``t = lambda / (1 + lambda)`` (docs/method.md, equation 24). It is 1
    at t = 0 and K at t = 1. The ratio q is stored instead of the claims, because it keeps the relative accuracy of
    small intensities.
    A cover that pays all claims has no pieces. With a dispersion, q behaves like a fractional power of 1 - t near
    t = 1, which cubics follow badly. The error bound therefore holds up to 20 claims an order.
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
    """Return the claim-count curves of orders with 1 to `most` lines, and of a fallback that equals the last.

    The curves stand one after another, shape (curves * pieces, 4). Each is a function of lambda, the intensity of all
    lines of an order, as in `count_curve`. A line is returned with probability 1 - exp(-lambda / n). If returns of
    lines are correlated, a curve starts below 1, because even rare claims are sometimes second claims of an order.
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
    """Return claims / t as a function of t = lambda / (1 + lambda), from `start` at t = 0 to `most` at t = 1."""

    def ratio(t: Array) -> Array:
        inside = (t > 0.0) & (t < 1.0)
        place = np.where(inside, t, 0.5)
        return np.where(inside, claims(place / (1.0 - place)) / place, np.where(t == 0.0, start, most))

    return ratio


def cubics_within(cubics: Array, most: float) -> bool:
    """Return whether all cubic pieces, constant term first, stay above zero and do not exceed `most`."""
    a, b, c, d = np.reshape(cubics, (-1, 4)).T
    # On its interval, a cubic lies between the smallest and the largest of its four Bernstein coefficients.
    corners = np.array([a, a + b / 3.0, a + (2.0 * b + c) / 3.0, a + b + c + d])
    return bool(np.all((corners > 0.0) & (corners <= most)))


@dataclass(frozen=True, eq=False)
class LimitCurve(EqualByContent):
    """The share of the mean that a limit leaves, as cubic pieces over octaves of the mean.

    Octave k holds the means from 2**k to 2**(k + 1) limits. Every octave has the same number of pieces of equal width.
    The variable of a cubic runs from 0 to 1 over its piece; its constant term comes first. Below the first octave the
    share is 1, and above the last octave the payout is constant.

    Parameters
    ----------
    first : int
        The first octave.
    pieces : float64 array, shape (octaves, pieces, 4)
        Payout over mean, as a function of mean over limit. Without octaves the payout is the smaller of mean and limit.

    Raises
    ------
    InputError
        If pieces do not join, or if the payout at an end is not in (0, 1] of the mean or of the limit.
    """

    first: int
    pieces: Array

    def __post_init__(self) -> None:
        curve = np.asarray(self.pieces, dtype=np.float64)
        object.__setattr__(self, "pieces", curve)
        if curve.ndim != 3 or curve.shape[2] != 4 or curve.shape[1] not in (1, *OCTAVE_PIECES):
            raise InputError(
                f"limit_curve has shape {curve.shape}; an octave has {', '.join(map(str, OCTAVE_PIECES))} cubics. "
                "Build the tariff again."
            )
        _check.whole(self.first, argument="first octave of limit_curve", low=-FARTHEST_OCTAVE, high=FARTHEST_OCTAVE)
        _check.whole(self.last, argument="last octave of limit_curve", low=-FARTHEST_OCTAVE, high=FARTHEST_OCTAVE)
        if not np.all(np.isfinite(curve)):
            raise InputError("limit_curve has pieces that are not finite; build the tariff again.")
        starts, stops = curve[:, :, 0].ravel(), curve.sum(axis=2).ravel()
        ends = (starts[0], stops[-1] * 2.0**self.last) if len(starts) else (1.0, 1.0)
        whole = np.allclose(starts[1:], stops[:-1], rtol=1e-9, atol=0.0)
        if not (whole and all(0.0 < end < 1.0 + 1e-9 for end in ends) and cubics_within(curve, 2.0)):
            raise InputError("limit_curve is not an unbroken curve from the mean to the limit; build the tariff again.")

    def as_document(self) -> dict[str, Any]:
        """Return the values of a document by key."""
        return {"first": self.first, "last": self.last, "octaves": self.pieces}

    @classmethod
    def of_document(cls, first: int, last: int, octaves: Sequence[Cubics]) -> "LimitCurve":
        """Return the curve of the values of a document."""
        if len(octaves) != last - first:
            raise InputError(f"limit_curve has {len(octaves)} octaves, but runs from octave {first} to octave {last}.")
        if len({len(octave) for octave in octaves}) > 1:
            raise InputError("the octaves of limit_curve have different numbers of pieces.")
        return cls(first, np.array(octaves) if octaves else np.empty((0, 1, 4)))

    @property
    def last(self) -> int:
        """Return the number of the octave behind the last one."""
        return self.first + len(self.pieces)

    def share(self, ratio: Array) -> Array:
        """Return payout over mean at the given ratios of mean over limit."""
        plan = self.plan()
        bits = np.asarray(ratio, dtype=np.float64).view(np.int64)
        piece = np.clip((bits >> plan["bits"]) - plan["first"], 0, len(plan["pieces"]) - 1)
        u = (bits & ((1 << plan["bits"]) - 1) | ONE_BITS).view(np.float64) - 1.0
        a, b, c, d = plan["pieces"][piece].T
        return np.asarray((((d * u + c) * u + b) * u + a) * (np.minimum(ratio, plan["top"]) / ratio))

    def plan(self) -> dict[str, Any]:
        """Return the curve as the kernel reads it, with a constant piece at either end.

        The kernel takes the bits of the double mean / limit: the upper bits minus `first` are the number of the piece,
        and the lower `bits` bits are the place within it (docs/method.md, equation 27). The payout is the cubic's value
        times the smaller of the mean and `top` limits.
        """
        octaves, pieces, _ = self.pieces.shape
        cubics = self.pieces.reshape(-1, 4)
        behind = cubics[-1].sum() if octaves else 2.0**-self.first
        constant = np.zeros((2, 4))
        constant[:, 0] = 1.0, behind  # no limit leaves the whole mean
        bits = 52 - (pieces.bit_length() - 1)
        return {
            "pieces": np.concatenate([constant[:1], cubics * float(pieces) ** np.arange(4), constant[1:]]),
            "bits": bits,
            "first": ((1023 + self.first) << 52 >> bits) - 1,
            "top": 2.0**self.last,
        }


NO_LIMIT = {"pieces": np.empty((0, 4)), "bits": 52, "first": 0, "top": 1.0}


def limit_curve(shape: SeverityShape) -> LimitCurve:
    """Return the limited expected value curve of a severity's shape, with the fewest pieces that keep the error bound.

    The relative error is below 1e-7. If amounts are nearly equal (dispersion below 1e-6), the curve turns from the mean
    to the limit within less than one piece. The result is then either the curve with the most pieces or the smaller of
    mean and limit, whichever is closer. The error is below 3e-5 for means within 1 % of the limit and below 1e-7 for
    all others.

    Examples
    --------
    >>> import numpy as np
    >>> from freightrisk.shapes import ScaleShape
    >>> from freightrisk.tariff.curves import limit_curve
    >>> limit_curve(ScaleShape(1.0)).share(np.array([1e-6, 1.0, 1e6])).round(9).tolist()
    [1.0, 0.632120559, 1e-06]

    Notes
    -----
    The payout approaches the mean and the limit like a power or faster. Within an octave, cubics follow a power equally
    well at every distance from the end. The octaves end where the payout equals the mean or the limit to 1e-12.
    """

    def paid(ratio: Array) -> Array:
        return shape.limited(1.0 / ratio)

    octaves = np.arange(-FARTHEST_OCTAVE, FARTHEST_OCTAVE + 1)
    ends = np.exp2(octaves).astype(np.float64)
    first = max(octaves[1.0 - paid(ends) < NOTHING], default=-FARTHEST_OCTAVE)
    last = min(octaves[1.0 - ends * paid(ends) < NOTHING], default=FARTHEST_OCTAVE)
    if first >= last:
        return LimitCurve(int(first), np.empty((0, 1, 4)))
    cubics, error = limit_pieces(paid, int(first), int(last))
    if error < CURVE_ERROR:
        return LimitCurve(int(first), cubics)
    # The error of min(mean, limit) is largest where mean and limit are equal.
    corner = 1.0 / float(paid(np.ones(1))[0]) - 1.0
    if corner < NEARLY_FLAT:
        return LimitCurve(0, np.empty((0, 1, 4))) if corner < error else LimitCurve(int(first), cubics)
    raise FreightRiskError(
        f"the limited expected value curve of {shape} needs more than {OCTAVE_PIECES[-1]} pieces an octave for a "
        f"relative error of {CURVE_ERROR:g}."
    )


def limit_pieces(paid: Callable[[Array], Array], first: int, last: int) -> tuple[Array, float]:
    """Return the cubics of the octaves from `first` to `last`, and their largest relative error.

    The number of pieces of an octave is the smallest that keeps the error bound, or the largest if none does.

    Parameters
    ----------
    paid : function of mean over limit
        Payout over mean.
    first, last : int
        The first octave, and the octave behind the last.
    """
    from scipy.interpolate import CubicSpline

    starts = 2.0 ** np.arange(first, last)[:, None]
    for pieces in OCTAVE_PIECES:
        nodes = np.append((starts * (1.0 + np.arange(pieces) / pieces)).ravel(), 2.0**last)
        values = paid(nodes)
        values[0] = 1.0 if 1.0 - values[0] < NOTHING else values[0]
        values[-1] = 2.0**-last if 1.0 - nodes[-1] * values[-1] < NOTHING else values[-1]
        spline, width = CubicSpline(nodes, values), np.diff(nodes)
        between = (nodes[:-1, None] + width[:, None] * (np.arange(4) + 0.5) / 4.0).ravel()
        error = float(np.abs(spline(between) / paid(between) - 1.0).max())
        if error < CURVE_ERROR:
            break
    return (spline.c[::-1].T * width[:, None] ** np.arange(4)).reshape(last - first, pieces, 4), error


def _cubic_pieces(ratios: Sequence[Callable[[Array], Array]], what: str, *, end: float = 1.0) -> Array:
    """Return spline coefficients, constant term first, with the fewest pieces that keep the error bound on [0, end]."""
    from scipy.interpolate import CubicSpline

    for pieces in CURVE_PIECES:
        nodes = np.arange(pieces + 1) / pieces
        between = (np.arange(4 * pieces) + 0.5) / (4 * pieces)
        between = between[between <= end]
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
