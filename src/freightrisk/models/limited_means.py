"""The limited means of a fit's own claims, and their distance from the curve of the fitted family."""

from dataclasses import dataclass

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
GRID = (-3, 5)  # octaves of the grid
PLACES = 8  # of the grid in an octave
ONE = 1023  # exponent of the double 1
BIN_SHIFT = 46  # bits of a double below its exponent and the number of its bin
TENTHS = (np.arange(10) + 0.5) / 10.0
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
    ratio, mean = _sampled(fitted, rows)
    if len(ratio) < FEWEST_AMOUNTS:
        return None
    points, shares = _binned(ratio / ratio.mean(), OCTAVES)
    freight, claims = _binned(mean)
    middle = np.minimum(np.searchsorted(np.cumsum(claims), TENTHS), len(freight) - 1)
    means = shares @ np.minimum(points[:, None], RATIOS)
    return LimitedMeans(len(ratio), *(tuple(found.tolist()) for found in (freight[middle], RATIOS, means)))


def _sampled(fitted: FittedModel, rows: Rows) -> tuple[Array, Array]:
    """Return amount over fitted mean, and the mean, of all single claims, or of pieces spread over a large book."""
    starts, length = [0], rows.n_rows
    if rows.n_rows > SAMPLE_ROWS:
        length = SAMPLE_PIECE
        starts = np.linspace(0, rows.n_rows - length, SAMPLE_ROWS // length).astype(int).tolist()
    ratios, means = [], []
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
        ratios.append((rows.response[piece] / mean)[single])
        means.append(mean[single])
    return np.concatenate(ratios), np.concatenate(means)


def _binned(values: Array, octaves: tuple[int, int] | None = None) -> tuple[Array, Array]:
    """Return the means of the bins that hold values above zero, ascending, and the share of values in each."""
    place: NDArray[np.int64] = values.view(np.int64) >> BIN_SHIFT
    if octaves is not None:
        low, high = ((ONE + octave) * BINS for octave in octaves)
        place = np.clip(place, low, high - 1)
    place = place - place.min()
    count, total = np.bincount(place), np.bincount(place, values)
    some = count > 0
    return np.asarray(total[some] / count[some]), np.asarray(count[some] / len(values))


@dataclass(frozen=True, eq=False)
class FamilyTest:
    """A fit's own limited means beside the curve of its family.

    Parameters
    ----------
    own, curve : float64 arrays
        Average of min(Z, r) of the claims, and E[min(Z, r)] of the family, at each of RATIOS.
    std_errors : float64 array
        Standard errors of own less curve, if the family is right.
    p_value : float
        Chance of such a distance, if the family is right.
    """

    own: Array
    curve: Array
    std_errors: Array
    p_value: float


def family_test(fitted: FittedModel) -> FamilyTest | None:
    """Return the distance of a severity's own limited means from the curve of its family, None if it has none.

    Notes
    -----
    Ratios are divided by their average, and the curve is taken at the dispersion of the residuals, the Pearson
    statistic over the number of rows. Both estimates enter the standard errors by their influence functions
    (docs/method.md, equation 28b).
    """
    from scipy.special import gammaincc

    statistics, known = fitted.statistics, fitted.statistics.limited_means
    dispersion = statistics.dispersion * statistics.df_residual / statistics.n_rows
    if known is None or not dispersion > FLAT:
        return None
    shape = ScaleShape(dispersion, fitted.family)
    own, curve = np.array(known.means), shape.limited(RATIOS)
    of_own, of_curve = _influence(shape)
    # The dispersion comes from all rows, and own limited means from the claims that are compared.
    variance = (of_own * of_own).sum(axis=0) / known.n_claims
    variance += ((of_curve - 2.0 * of_own) * of_curve).sum(axis=0) / statistics.n_rows
    errors, above = np.sqrt(np.maximum(variance, 0.0)), shape.above(RATIOS)
    inside = np.flatnonzero((above > TESTED_WITHIN) & (above < 1.0 - TESTED_WITHIN) & (errors > 0.0))
    if not len(inside):
        return None
    tested = inside[np.unique(np.linspace(0, len(inside) - 1, TESTED).round().astype(int))]
    of_own, of_curve = of_own[:, tested] / errors[tested], of_curve[:, tested] / errors[tested]
    mixed = of_own.T @ of_curve
    covariance = of_own.T @ of_own / known.n_claims + (of_curve.T @ of_curve - mixed - mixed.T) / statistics.n_rows
    sizes, directions = np.linalg.eigh(covariance)
    kept = sizes > INDEPENDENT
    along = (directions.T @ ((own - curve)[tested] / errors[tested]))[kept]
    distance = float((along * along / sizes[kept]).sum())
    return FamilyTest(own, curve, errors, float(gammaincc(kept.sum() / 2.0, distance / 2.0)))


def _influence(shape: ScaleShape) -> tuple[Array, Array]:
    """Return what one claim adds to own limited means and to the curve, a row for each bin of the family.

    Each row is multiplied by the root of the bin's share of claims, so that sums of squares are variances.
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
    return root[:, None] * of_own, np.outer(root * of_dispersion, slope)


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
