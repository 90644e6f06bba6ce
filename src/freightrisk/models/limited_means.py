"""The limited means of a fit's own claims, and their distance from the curve of the fitted family."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from freightrisk._types import Array
from freightrisk.models.fitted import FittedModel
from freightrisk.models.fitted_effect import LimitedMeans
from freightrisk.models.rows import Rows
from freightrisk.models.shapes import FEWEST_AMOUNTS, SCALE_FAMILIES, ScaleShape

SAMPLE_ROWS = 2**16  # of more claims, this many are compared; the error of a limited mean is then about 0.1 %
SAMPLE_PIECE = 2**11
MOST_PARAMETERS = 0.1  # for a claim; residuals of a fit with more have another distribution than amounts
FLAT = 1e-6  # distributions with a smaller dispersion differ by less than 0.05 % under any limit
OCTAVES = (-10, 10)  # of ratios that bins tell apart
BINS = 64  # of an octave; the ratios of the grid are edges of bins
MEANS = 16  # bins of fitted means in an octave
GROUPS = 10
DIGITS = 8  # of the numbers that a fit keeps
GRID = (-3, 5)  # octaves of the grid
PLACES = 8  # of the grid in an octave
ONE = 1023  # exponent of the double 1
FRACTION_BITS = 52  # of a double
STEP = 0.01  # relative, of differences in the dispersion
TESTED = 5  # most ratios that the test of the family takes together
TESTED_WITHIN = 0.02  # of the family's amounts lie beyond the ratios that are tested, at either end
INDEPENDENT = 0.01  # directions with a smaller share of variance are left out of the test

RATIOS = np.append(np.outer(2.0 ** np.arange(*GRID), 1.0 + np.arange(PLACES) / PLACES).ravel(), 2.0 ** GRID[1])
"""Ratios of limit to mean at which limited means are taken."""


def limited_means(fitted: FittedModel, rows: Rows) -> LimitedMeans | None:
    """Return the limited means of the claims that a severity was fitted to, None if a family cannot be held to them."""
    crowded = rows.n_rows - fitted.df_residual > MOST_PARAMETERS * rows.n_rows
    if fitted.family not in SCALE_FAMILIES or fitted.statistics.n_censored or crowded:
        return None
    dispersion = residual_dispersion(fitted)
    amount, mean = _sampled(fitted, rows)
    if len(amount) < FEWEST_AMOUNTS or not dispersion > FLAT:
        return None
    _, place = np.unique(_bin_of(mean, MEANS), return_inverse=True)
    claims, total = np.bincount(place), np.bincount(place, mean)
    middle = (np.cumsum(claims) - claims / 2.0) / len(mean)
    group = np.unique((GROUPS * middle).astype(int), return_inverse=True)[1]
    shares = np.bincount(group, claims).astype(np.float64)
    freight = np.bincount(group, total) / shares
    amount = amount * (mean.sum() / amount.sum())
    paid = _limited(amount / freight[group[place]], group[place])
    curve = ScaleShape(dispersion, fitted.family).limited(np.outer(freight[group] * claims / total, RATIOS))
    expected = [np.bincount(group, total * column) / (shares * freight) for column in curve.T]
    ratio = amount / mean
    means = _limited(ratio / ratio.mean(), np.zeros(len(ratio), dtype=np.int64))[0]
    return LimitedMeans(
        n_claims=len(amount),
        shares=_kept(shares / len(amount)),
        freight=_kept(freight),
        ratios=tuple(RATIOS.tolist()),
        paid=tuple(map(_kept, paid)),
        expected=tuple(map(_kept, np.transpose(expected))),
        means=_kept(means),
    )


def residual_dispersion(fitted: FittedModel) -> float:
    """Return the dispersion of the residuals: they spread less than amounts, because the fit follows them."""
    statistics = fitted.statistics
    return statistics.dispersion * statistics.df_residual / statistics.n_rows


def _kept(values: Array) -> tuple[float, ...]:
    return tuple(float(f"{value:.{DIGITS}g}") for value in values)


def _bin_of(values: Array, bins: int) -> NDArray[np.int64]:
    """Return the number of the bin of each value above zero, counted through the octaves, of which 1 begins one."""
    shift = FRACTION_BITS - (bins.bit_length() - 1)
    found: NDArray[np.int64] = (values.view(np.int64) >> shift) - ONE * bins
    return found


def _limited(ratio: Array, group: NDArray[np.int64]) -> Array:
    """Return the average of min(ratio, r) in each group at each r of RATIOS, which are edges of bins."""
    first, size = OCTAVES[0] * BINS, (OCTAVES[1] - OCTAVES[0]) * BINS
    cell = group * size + np.clip(_bin_of(ratio, BINS) - first, 0, size - 1)
    n_cells = size * (int(group.max()) + 1)
    count, total = (np.bincount(cell, weight, n_cells).reshape(-1, size) for weight in (None, ratio))
    edge = _bin_of(RATIOS, BINS) - first - 1
    above = count.sum(axis=1, keepdims=True) - np.cumsum(count, axis=1)[:, edge]
    return np.asarray((np.cumsum(total, axis=1)[:, edge] + RATIOS * above) / count.sum(axis=1, keepdims=True))


def _sampled(fitted: FittedModel, rows: Rows) -> tuple[Array, Array]:
    """Return amount and fitted mean of all single claims, or of pieces spread over a large book."""
    starts, length = [0], rows.n_rows
    if rows.n_rows > SAMPLE_ROWS:
        length = SAMPLE_PIECE
        starts = np.linspace(0, rows.n_rows - length, SAMPLE_ROWS // length).astype(int).tolist()
    amounts, means = [], []
    for start in starts:
        piece = slice(start, start + length)
        linear = np.full(length, fitted.intercept)
        for name, effect in fitted.fitted_effects.items():
            linear += effect.table[rows.codes[name][piece]]
        mean = fitted.off_balance * np.exp(linear)
        if len(rows.multiplier):
            mean *= rows.multiplier[piece]
        # The average of several claims spreads less than one claim.
        single = rows.weight[piece] == 1.0 if len(rows.weight) else slice(None)
        amounts.append(rows.response[piece][single])
        means.append(mean[single])
    return np.concatenate(amounts), np.concatenate(means)


@dataclass(frozen=True, eq=False)
class FamilyTest:
    """A fit's own limited means beside the curve of its family.

    Parameters
    ----------
    own, curve : float64 array
        Average of min(Z, r) of the claims, and E[min(Z, r)] of the family, at each of RATIOS.
    below : float64 array
        E[Z; Z < r] of the family at each of RATIOS: what the curve gains if the mean rises by its own size.
    p_value : float
        Chance of such a distance, if the family is right.
    of_own, of_both, slope : float64 array
        Variance of one claim's influence on own limited means, its covariance with the claim's influence on the
        dispersion, and the derivative of the curve by the dispersion.
    of_dispersion : float
        Variance of one claim's influence on the dispersion.
    n_claims, n_rows : int
        Claims behind own limited means, and behind the dispersion.
    """

    own: Array
    curve: Array
    below: Array
    p_value: float
    of_own: Array
    of_both: Array
    slope: Array
    of_dispersion: float
    n_claims: int
    n_rows: int

    @property
    def std_errors(self) -> Array:
        """Return the standard errors of own less curve at each of RATIOS, if the family is right."""
        of_curve = self.slope * (self.slope * self.of_dispersion - 2.0 * self.of_both)
        return np.sqrt(np.maximum(self.of_own / self.n_claims + of_curve / self.n_rows, 0.0))

    def std_error(self, share: Array, mean: Array, ratio: Array) -> float:
        """Return the standard error of the mean payout of groups of claims, less the payout by the curve.

        Parameters
        ----------
        share : float64 array
            Share of claims in each group.
        mean : float64 array
            Mean freight of each group.
        ratio : float64 array
            Limit over mean freight.
        """
        own, both, slope = (np.interp(ratio, RATIOS, values) for values in (self.of_own, self.of_both, self.slope))
        common = float(share @ (mean * slope))
        of_curve = common * (common * self.of_dispersion - 2.0 * float(share @ (mean * both)))
        return float(np.sqrt(max(float(share @ (mean * mean * own)) / self.n_claims + of_curve / self.n_rows, 0.0)))


def family_test(fitted: FittedModel) -> FamilyTest | None:
    """Return the distance of a severity's own limited means from the curve of its family, None if it has none.

    Notes
    -----
    Ratios are divided by their average, and the curve is taken at the dispersion of the residuals, the Pearson
    statistic over the number of rows. Both estimates enter the standard errors by their influence functions
    (docs/method.md, equation 28b).
    """
    from scipy.special import gammaincc

    known, n_rows = fitted.statistics.limited_means, fitted.statistics.n_rows
    if known is None:
        return None
    shape = ScaleShape(residual_dispersion(fitted), fitted.family)
    own, curve = np.array(known.means), shape.limited(RATIOS)
    # The dispersion comes from all rows, and own limited means from the claims that are compared.
    of_own, of_dispersion, slope = _influence(shape)
    above = shape.above(RATIOS)
    test = FamilyTest(
        own, curve, curve - RATIOS * above, 1.0, (of_own * of_own).sum(axis=0), of_dispersion @ of_own, slope,
        float(of_dispersion @ of_dispersion), known.n_claims, n_rows,
    )  # fmt: skip
    errors = test.std_errors
    inside = np.flatnonzero((above > TESTED_WITHIN) & (above < 1.0 - TESTED_WITHIN) & (errors > 0.0))
    if not len(inside):
        return None
    tested = inside[np.unique(np.linspace(0, len(inside) - 1, TESTED).round().astype(int))]
    of_own, slope = of_own[:, tested] / errors[tested], slope[tested] / errors[tested]
    mixed = np.outer(of_dispersion @ of_own, slope)
    covariance = of_own.T @ of_own / known.n_claims
    covariance += (np.outer(slope, slope) * test.of_dispersion - mixed - mixed.T) / n_rows
    sizes, directions = np.linalg.eigh(covariance)
    kept = sizes > INDEPENDENT
    along = (directions.T @ ((own - curve)[tested] / errors[tested]))[kept]
    distance = float((along * along / sizes[kept]).sum())
    return replace(test, p_value=float(gammaincc(kept.sum() / 2.0, distance / 2.0)))


def _influence(shape: ScaleShape) -> tuple[Array, Array, Array]:
    """Return what one claim adds to own limited means and to the dispersion, and the curve's derivative by it.

    Each row, for a bin of the family, is multiplied by the root of the bin's share of claims, so that sums of squares
    are variances.
    """
    low, high = (ScaleShape(shape.dispersion * (1.0 + k * STEP), shape.family).limited(RATIOS) for k in (-1.0, 1.0))
    slope = (high - low) / (2.0 * STEP * shape.dispersion)
    points, shares = _family_bins(shape)
    root, column = np.sqrt(shares), points[:, None]
    paid, under = np.minimum(column, RATIOS), column < RATIOS
    of_own = paid - shares @ paid - ((shares * points) @ under) * (column - 1.0)
    spread = points - 1.0 if shape.family == "gamma" else np.log(points) - shares @ np.log(points)
    of_dispersion = spread * spread - shares @ (spread * spread)
    if shape.family == "gamma":  # the average ratio enters the Pearson statistic too; the average log does not
        of_dispersion -= 2.0 * (shares @ (spread * spread)) * spread
    return root[:, None] * of_own, root * of_dispersion, slope


def _family_bins(shape: ScaleShape) -> tuple[Array, Array]:
    """Return the mean ratio of each bin under a family, and the bin's share of claims."""
    edges = np.outer(2.0 ** np.arange(*OCTAVES), 1.0 + np.arange(BINS) / BINS).ravel()
    above = np.concatenate([[1.0], shape.above(edges), [0.0]])
    below = np.concatenate([[0.0], shape.limited(edges) - edges * above[1:-1], [1.0]])  # mean of the smaller ratios
    shares = -np.diff(above)
    some = shares > 1e-12
    points = np.diff(below)[some] / shares[some]
    ends = np.concatenate([[edges[0] / 2.0], edges, [2.0 * edges[-1]]])
    return np.clip(points, ends[:-1][some], ends[1:][some]), shares[some] / shares[some].sum()
