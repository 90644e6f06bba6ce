"""The share of a sum of payouts that an aggregate limit leaves, for many merchants or orders at once."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from freightrisk._types import Array
from freightrisk.models.claim_counts import LARGEST_MEAN, ClaimCount
from freightrisk.models.payouts import ClaimPayout, payout_with_mean
from freightrisk.models.shapes import SeverityShape

FEWEST_STEPS, MOST_STEPS = 2**11, 2**17  # of a grid up to the limit
STEPS = 64  # in the mean of a payout, if the limit is at most SEVERAL payouts; slowly fewer for higher limits
SEVERAL = 32.0
PADDED = 2  # length of a transform in lengths of its grid
TILT = 24.0  # fall of the tilted grid over its transform: sums that wrap around are scaled by 4e-11
ROUNDING = 3e-10  # of the limit: sums that wrap around, and rounding that the tilt enlarges
MOST_PAIRS = 256  # pairs of expected claims and mean payout that are evaluated without interpolation
FEWEST_CLAIMS = 1e-9  # smaller expected claims have the share of this number; the share is constant there
SPACING = 0.5  # of the first nodes, in logs
MOST_NODES = 2**15  # of both axes together: pairs that are evaluated
SAMPLE = 32  # pairs at which interpolated shares are compared with evaluated ones
MARGIN = 0.05  # by which nodes reach beyond the data, in logs

CountOf = Callable[[float], ClaimCount]
Watcher = Callable[[int], Any]


def limited_sums(counts: Sequence[ClaimCount], payouts: ClaimPayout, *, amount: float, steps: int) -> Array:
    """Return E[min(S, amount)] for several numbers of claims with one distribution of payouts.

    With p_k = P(S = k h) for h = amount / steps, the result is amount P(S > 0) less the sum of p_k (amount - k h) over
    1 <= k < steps (docs/method.md, equation 46). By Parseval's theorem the sum is a product of transforms, so no
    transform has to be inverted. Payouts may be cut off at the amount, and sums above it do not count. A tilt scales
    sums that wrap around by 4e-11.
    """
    from scipy import fft

    step = amount / steps
    masses = payouts.on_grid(step, steps)
    size = fft.next_fast_len(PADDED * steps, real=True)
    places = np.arange(steps + 1)
    rise = np.exp(TILT / size * places)
    points = fft.rfft(masses / rise, size)
    weights = np.conj(fft.rfft((amount - step * places) * rise, size)) / size
    weights[1 : (size + 1) // 2] *= 2.0  # each of these points stands for its conjugate too
    found = np.empty(len(counts))
    for row, count in enumerate(counts):
        none = float(count.log_generating(masses[0]))
        # Without the sum 0, both terms are proportional to rare claims and keep their digits.
        below = float((count.generating_above(points, none) @ weights).real)
        found[row] = -amount * np.expm1(none) - below
    return found


class _Shares:
    """Log shares E[min(S, A)] / E[S] at pairs of expected claims and mean payout."""

    def __init__(
        self, amount: float, count_of: CountOf, shape: SeverityShape, limit: float, *, watcher: Watcher
    ) -> None:
        self.amount, self.count_of, self.shape, self.limit = amount, count_of, shape, limit
        self.watcher = watcher
        self.grid_error = 0.0

    def at(self, claims: Array, payout: float) -> Array:
        """Return log shares for several expected claims with one mean payout."""
        payouts = payout_with_mean(payout, self.shape, limit=self.limit)
        # The error of the grid is about 1 / (20 k^2 sqrt(n)) for k steps in each of n payouts that make up the limit.
        payouts_within = self.amount / payout
        steps = STEPS * payouts_within * min(1.0, (SEVERAL / payouts_within) ** 0.25)
        steps = 2 * int(np.ceil(min(max(steps, FEWEST_STEPS), MOST_STEPS) / 2.0))
        # No merchant has this many claims, but a node with a high load and a low payout may.
        counts = [*map(self.count_of, np.minimum(claims, LARGEST_MEAN).tolist())]
        paid = np.array([count.expected_claims for count in counts]) * payout
        share = limited_sums(counts, payouts, amount=self.amount, steps=steps) / paid
        # The error of the grid falls with the square of its step. It is largest if E[S] is close to the limit.
        near = [int(np.abs(np.log(paid / self.amount)).argmin())]
        rough = limited_sums([counts[near[0]]], payouts, amount=self.amount, steps=steps // 2)
        rough /= paid[near]
        self.grid_error = max(self.grid_error, abs(float(rough[0] / share[near[0]]) - 1.0) / 3.0)
        self.watcher(len(claims))
        return np.log(np.clip(share, 1e-300, 1.0))


def limited_shares(
    claims: Array,
    payout: Array,
    *,
    amount: float,
    count_of: CountOf,
    shape: SeverityShape,
    limit: float,
    tolerance: float,
    watcher: Watcher,
) -> tuple[Array, float]:
    """Return the shares E[min(S, amount)] / E[S] in (0, 1], and an estimate of their largest relative error.

    `count_of` gives the number of claims for expected claims, or for a claim intensity whose paid claims may be fewer.
    Up to MOST_PAIRS pairs of expected claims and mean payout are evaluated. More are interpolated by a bicubic spline.
    An interval between nodes is halved until the spline predicts its middle within the tolerance. Finally, some pairs
    are evaluated and compared with the spline.
    """
    claims = np.maximum(claims, FEWEST_CLAIMS)
    # Both errors of the transform are proportional to the claims if claims are rare.
    rounding = ROUNDING * amount / float((payout * np.maximum(claims, 1.0)).min())
    shares = _Shares(amount, count_of, shape, limit, watcher=watcher)
    pairs, place = np.unique(np.stack([claims, payout], axis=1), axis=0, return_inverse=True)
    if len(pairs) <= MOST_PAIRS:
        logs = np.empty(len(pairs))
        for value in np.unique(pairs[:, 1]):
            rows = np.flatnonzero(pairs[:, 1] == value)
            logs[rows] = shares.at(pairs[rows, 0], float(value))
        return np.exp(logs)[place.ravel()], shares.grid_error + rounding
    # The share changes fastest where E[S] passes the limit. Nodes by load E[S] / A have this place in one row for every
    # payout.
    first, second = np.log(claims * payout / amount), np.log(payout)

    def evaluate(rows: Array, columns: Array) -> Array:
        every = [shares.at(np.exp(rows - v) * amount, float(np.exp(v))) for v in columns.tolist()]
        return np.stack(every, axis=1)

    spline = _surface(evaluate, (first, second), tolerance)
    # The sample is spread over all pairs, which are sorted by claims.
    sample = pairs[np.linspace(0, len(pairs) - 1, SAMPLE).astype(int)]
    exact = np.concatenate([shares.at(row[:1], float(row[1])) for row in sample])
    found = spline.ev(np.log(sample.prod(axis=1) / amount), np.log(sample[:, 1]))
    error = float(np.abs(np.expm1(found - exact)).max())
    return np.minimum(np.exp(spline.ev(first, second)), 1.0), error + shares.grid_error + rounding


def _surface(
    evaluate: Callable[[Array, Array], Array],
    data: tuple[Array, Array],
    tolerance: float,
) -> Any:
    """Return a bicubic spline through nodes that are dense where the share bends."""
    from scipy.interpolate import CubicSpline, RectBivariateSpline

    nodes = [_first_nodes(values) for values in data]
    values = evaluate(nodes[0], nodes[1])
    for axis in (0, 1):
        is_open = np.ones(len(nodes[axis]) - 1, dtype=bool)
        while is_open.any() and values.size + is_open.sum() * len(nodes[1 - axis]) <= MOST_NODES:
            where = np.flatnonzero(is_open)
            middle = (nodes[axis][where] + nodes[axis][where + 1]) / 2.0
            new = evaluate(middle, nodes[1]) if axis == 0 else evaluate(nodes[0], middle)
            wrong = np.abs(np.expm1(CubicSpline(nodes[axis], values, axis=axis)(middle) - new)).max(axis=1 - axis)
            nodes[axis] = np.insert(nodes[axis], where + 1, middle)
            values = np.insert(values, where + 1, new, axis=axis)
            is_open[where] = wrong > tolerance
            # A halved interval stands for both of its halves.
            is_open = np.insert(is_open, where + 1, is_open[where])
    return RectBivariateSpline(nodes[0], nodes[1], values)


def _first_nodes(values: Array) -> Array:
    low, high = float(values.min()) - MARGIN, float(values.max()) + MARGIN
    return np.linspace(low, high, max(5, int(np.ceil((high - low) / SPACING)) + 1))
