"""Curves of report lags fitted to right-truncated claims, and net of claims that are reversed later."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._types import Array
from freightrisk.book.book import OrderBook
from freightrisk.errors import FitError


def warn_of_short_history(age: NDArray[np.int64], cover_days: int, method: str) -> None:
    """Warn if no order is as old as the cover is long, because the product limit cannot extrapolate."""
    oldest = int(age.max(initial=-1))
    if oldest < cover_days and method == "empirical":
        _check.warn(
            f"the oldest order is {oldest} days old, less than the {cover_days} days of cover, so shares refer to "
            f"claims within {oldest} days and frequencies lack later claims; fit a distribution (method='gamma')."
        )


def cells_of(lag: NDArray[np.int64], truncation: NDArray[np.int64], cover_days: int) -> Array:
    """Return the number of claims by lag (rows) and by the largest lag that the order's age allows (columns)."""
    size = cover_days + 1
    return np.bincount(lag * size + truncation, minlength=size * size).reshape(size, size).astype(np.float64)


def curve_of(cells: Array, method: str) -> tuple[Array, Array]:
    """Return F and its standard error by age, by one of the methods of `ReportLag.fit`."""
    return _empirical(cells) if method == "empirical" else _parametric(cells, method)


def _empirical(cells: Array) -> tuple[Array, Array]:
    """Return F and its standard error by the product limit in reversed time (docs/method.md, equation 19)."""
    events = cells.sum(axis=1)
    # at_risk[t] is n(t): the claims with lags up to t of orders that are at least t days old.
    at_risk = np.diag(np.cumsum(np.cumsum(cells[:, ::-1], axis=1)[:, ::-1], axis=0))
    # A day without claims at risk leaves F as it is.
    left = np.where(at_risk > 0, 1.0 - events / np.maximum(at_risk, 1.0), 1.0)
    share = np.append(np.cumprod(left[:0:-1])[::-1], 1.0)
    spread = np.divide(events, at_risk * (at_risk - events), out=np.zeros_like(events), where=at_risk > events)
    error = share * np.sqrt(np.append(np.cumsum(spread[:0:-1])[::-1], 0.0))
    return share, error


def _parametric(cells: Array, method: str) -> tuple[Array, Array]:
    """Return F of the distribution fitted to right-truncated lags, and its standard error by the delta method."""
    from scipy.optimize import minimize

    days = np.arange(len(cells) + 1.0)
    lags, ends = np.nonzero(cells)
    weight = cells[lags, ends]
    mean = float((weight * (lags + 0.5)).sum() / weight.sum())

    def below(parameters: Array) -> Array:
        return _distribution(method, days, parameters)

    def loss(parameters: Array) -> float:
        grid = below(parameters)
        # A lag of t whole days lies in [t, t + 1), and it is seen only if it is below the end of the truncation day.
        seen = np.maximum(grid[lags + 1] - grid[lags], 1e-300) / np.maximum(grid[ends + 1], 1e-300)
        return -float((weight * np.log(seen)).sum()) / float(weight.sum())

    start = np.array([np.log(mean), 0.0])
    found = minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 4000})
    if not found.success or not np.isfinite(found.fun):
        raise FitError(f"the {method} distribution of lags could not be fitted ({found.message}); use 'empirical'.")

    def share(parameters: Array) -> Array:
        grid = below(parameters)
        return np.asarray(grid[1:] / grid[-1])

    step = 1e-4  # in log mean and log shape; central differences have an error of the order of its square
    sides = [(found.x + step * unit, found.x - step * unit) for unit in np.eye(2)]
    slopes = np.stack([(share(up) - share(down)) / (2 * step) for up, down in sides])
    curvature = _curvature(loss, found.x, 1e-3) * float(weight.sum())
    variance = np.einsum("it,ij,jt->t", slopes, np.linalg.pinv(curvature), slopes)
    return share(found.x), np.sqrt(np.maximum(variance, 0.0))


def _distribution(method: str, days: Array, parameters: Array) -> Array:
    """Return the distribution function of the lag at each time, in days, for parameters (a, b).

    exp(a) days is the mean of a gamma, the median of a lognormal or the scale of a Weibull; exp(b) is the shape.
    """
    from scipy.special import gammainc, ndtr

    middle, shape = np.exp(np.clip(parameters, -20.0, 20.0))
    if method == "gamma":
        return np.asarray(gammainc(shape, shape * days / middle))
    if method == "weibull":
        return np.asarray(-np.expm1(-((days / middle) ** shape)))
    with np.errstate(divide="ignore"):
        return np.asarray(ndtr((np.log(days) - np.log(middle)) * shape))


def _curvature(function: Any, at: Array, step: float) -> Array:
    """Return the Hessian of a function by central differences."""
    units = step * np.eye(len(at))
    return np.array(
        [
            [
                (function(at + u + v) - function(at + u - v) - function(at - u + v) + function(at - u - v))
                / (4.0 * step * step)
                for v in units
            ]
            for u in units
        ]
    )


def standing_of(book: OrderBook, covered: NDArray[np.bool_]) -> Array:
    """Return the share of claims not reversed by each number of days after their report (Kaplan-Meier)."""
    if not len(book.reversed_row) or book.claim_day is None or book.as_of is None:
        return np.ones(1)
    reported = np.concatenate([book.claim_day, book.reversed_report_day])[covered]
    end = np.concatenate([np.full(len(book.claim_day), book.as_of), book.reversed_day])[covered]
    event = np.repeat([0.0, 1.0], [len(book.claim_day), len(book.reversed_row)])[covered]
    days = (end - reported).astype(np.int64)
    # A claim that stands is censored at the valuation date.
    size = int(days.max(initial=0)) + 1
    events = np.bincount(days, event, minlength=size)
    at_risk = np.cumsum(np.bincount(days, minlength=size)[::-1])[::-1]
    standing = np.cumprod(1.0 - events / np.maximum(at_risk, 1))
    if standing[-1] <= 0.0:
        raise FitError(
            "every claim that was followed long enough has been reversed, so the share of claims that stand is "
            "unknown; wait for older claims, or leave out reversed_date."
        )
    return np.asarray(standing[: int(np.flatnonzero(events).max()) + 1])


def net_of(share: Array, standing: Array) -> Array:
    """Return the claims on the books by age, reported and not reversed yet, as a share of ultimate net claims.

    This is docs/method.md, equation 20, a convolution of reports with survival.
    """
    if len(standing) == 1:
        return share
    reported = np.diff(share, prepend=0.0)
    ages = len(share) + len(standing) - 1
    alive = np.concatenate([standing, np.full(ages - len(standing), standing[-1])])
    return np.asarray(np.convolve(reported, alive)[:ages] / standing[-1])
