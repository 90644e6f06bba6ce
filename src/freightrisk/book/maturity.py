"""Maturity: the share of an order's claims that is reported by its age, net of reversed claims."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from freightrisk import _check
from freightrisk._shown import repr_of, shown
from freightrisk._types import Array
from freightrisk.book.book import OrderBook
from freightrisk.errors import FitError, InputError

if TYPE_CHECKING:
    import pandas as pd

METHODS = ("empirical", "gamma", "lognormal", "weibull")
LEAST_SHARE = 1e-6  # an order with a smaller share carries no information


@dataclass(frozen=True, eq=False, repr=False)
class ReportLag:
    """The share F(age) of an order's claims that are on the books when the order is `age` days old.

    `ReportLag.fit` makes one from a book. A lag is the number of days from shipment to report. A claim that is reported
    on the day of shipment has lag 0.

    Parameters
    ----------
    cover_days : int
        Length of the cover. Later claims are not covered and are ignored.
    method : {"empirical", "gamma", "lognormal", "weibull"}
    by : str or None
        Factor with a curve for each of its levels.
    levels : tuple of str
        Names of the slots of this factor.
    shares, std_errors : float64 arrays, shape (n_slots + 1, n_ages)
        F and its standard error by slot and age. The last row is the curve of the whole book. After the last age, F is
        constant. The standard errors refer to the reported share, before reversals.
    claims : int64 array, shape (n_slots + 1,)
        Reported claims behind each curve.
    own : bool array, shape (n_slots + 1,)
        Whether the slot has its own curve; otherwise it has the curve of the whole book.
    reversed_share : float
        Share of reported claims that are reversed in the end.
    beyond_cover : int
        Claims reported after the end of the cover.
    """

    cover_days: int
    method: str
    by: str | None
    levels: tuple[str, ...]
    shares: Array
    std_errors: Array
    claims: NDArray[np.int64]
    own: NDArray[np.bool_]
    reversed_share: float
    beyond_cover: int

    @classmethod
    def fit(
        cls,
        book: OrderBook,
        *,
        by: str | None = None,
        method: str = "empirical",
        cover_days: int = 90,
        min_claims: int = 500,
    ) -> "ReportLag":
        """Return the curve fitted to a book's claims.

        The book has a claim only if its lag is at most the age of its order. Short lags are therefore over-represented
        among recent orders. All methods correct for this.

        Parameters
        ----------
        book : OrderBook
            With shipment dates, report dates and a valuation date, and with orders older than the cover.
        by : str, optional
            A factor of the book. Each level with at least `min_claims` claims gets its own curve.
        method : {"empirical", "gamma", "lognormal", "weibull"}
            "empirical" estimates the share of each day by itself. The others fit a distribution. A distribution also
            serves segments with few claims, and books with a shorter history than the cover.
        cover_days : int from 1 to 3,650
            Length of the cover.
        min_claims : int
            Least number of claims for a level's own curve.

        Returns
        -------
        ReportLag

        Raises
        ------
        InputError
            If the book has no dates or no such factor.
        FitError
            If there is no claim within the cover, a distribution cannot be fitted, or every claim that was followed
            long enough has been reversed.

        Notes
        -----
        Empirical (docs/method.md, equation 19): F is the product of 1 - d(t) / n(t) over the days t after the age.
        Among orders at least t days old, d(t) claims have lag t and n(t) claims have lag t or less. This is the maximum
        likelihood estimate for right-truncated lags. Standard errors are Greenwood's, in reversed time.

        Parametric: maximum of the right-truncated likelihood of lags in whole days.

        Reversals (equation 20): f is the lag distribution, and G(s) the share of claims reversed within s days of their
        report (Kaplan-Meier). Then F(age) is the sum over lags t of f(t) (1 - G(age - t)), divided by 1 - G(infinity).
        F exceeds 1 at ages when claims still stand that will be reversed later.

        References
        ----------
        Lynden-Bell 1971; Kalbfleisch and Lawless 1989.

        Examples
        --------
        >>> import pandas as pd
        >>> from freightrisk import Factor, OrderBook, ReportLag
        >>> shipped = pd.to_datetime(["2026-01-01", "2026-01-02", "2026-04-01", "2026-06-28"])
        >>> reported = pd.to_datetime(["2026-01-04", "2026-01-03", "2026-04-02", "2026-06-30"])
        >>> orders = pd.DataFrame({"order_id": range(4), "zone": "far", "ship_date": shipped})
        >>> claims = pd.DataFrame({"order_id": range(4), "freight": 8.0, "report_date": reported})
        >>> book = OrderBook.from_frames(orders, claims, factors=[Factor("zone")], as_of="2026-06-30")
        >>> ReportLag.fit(book).share([0, 1, 2, 3]).round(4).tolist()
        [0.0, 0.4444, 0.6667, 1.0]
        """
        _check.instance(book, OrderBook, argument="book")
        _check.one_of(method, METHODS, argument="method")
        cover_days = _check.whole(cover_days, argument="cover_days", low=1, high=3650)
        min_claims = _check.whole(min_claims, argument="min_claims", low=1, high=10**9)
        if book.claim_day is None or book.ship_day is None or book.as_of is None:
            raise InputError(
                "the book has no lags; build it by OrderBook.from_frames with ship_date, report_date and as_of=."
            )
        if by is not None and _check.label(by, argument="by") not in book.codings:
            raise InputError(f"by is {repr_of(by)}; the book has {', '.join(book.codings)}.")
        age = book.age_days
        _warn_of_short_history(age, cover_days, method)
        rows = np.concatenate([book.claim_row, book.reversed_row])
        reported = np.concatenate([book.claim_day, book.reversed_report_day])
        lag = (reported - book.ship_day[rows]).astype(np.int64)
        covered = lag <= cover_days
        rows, lag = rows[covered], lag[covered]
        if not len(lag):
            raise FitError(f"there is no claim within {cover_days} days of shipment; give a book with reported claims.")
        cells = _cells(lag, np.minimum(age[rows], cover_days), cover_days)
        curves, claims, own = [], [], []
        slots = 0 if by is None else book.codings[by].n_slots
        for slot in range(slots):
            mine = book.codes[by][rows] == slot if by is not None else np.zeros(0, dtype=bool)
            claims.append(int(mine.sum()))
            own.append(claims[-1] >= min_claims)
            if own[-1]:
                part = _cells(lag[mine], np.minimum(age[rows[mine]], cover_days), cover_days)
                curves.append(_curve(part, method))
        whole = _curve(cells, method)
        left = iter(curves)
        both = [next(left) if has else whole for has in own] + [whole]
        standing = _standing(book, covered)
        return cls(
            cover_days, method, by,
            () if by is None else tuple(map(book.codings[by].slot_label, range(slots))),
            np.stack([_net(share, standing) for share, _ in both]), np.stack([error for _, error in both]),
            np.array([*claims, len(lag)], dtype=np.int64), np.array([*own, True]), 1.0 - float(standing[-1]),
            int((~covered).sum()),
        )  # fmt: skip

    def share(self, age_days: ArrayLike, *, slot: ArrayLike | None = None) -> Array:
        """Return F at the given ages.

        Parameters
        ----------
        age_days : int or array of int
            Days since shipment, zero or more.
        slot : int or array of int, optional
            Codes of the factor `by`, one for all ages or one for each; by default, the curve of the whole book.

        Returns
        -------
        float64 array, with the shape of `age_days`

        Raises
        ------
        InputError
            For an age below zero, and for a code that the factor does not have.
        """
        age = np.asarray(age_days)
        if age.dtype.kind not in "iu" or (age < 0).any():
            raise InputError("age_days must be whole days, zero or more.")
        row = np.asarray(len(self.levels) if slot is None else slot)
        if row.dtype.kind not in "iu" or (row < 0).any() or (row > len(self.levels)).any():
            raise InputError(
                f"slot is {repr_of(slot)}; it must be codes of the factor `by`, from 0 to {len(self.levels)} (the last "
                "is the whole book)."
            )
        if row.shape and row.shape != age.shape:
            raise InputError(
                f"slot has shape {row.shape} and age_days {age.shape}; give one code, or one for each age."
            )
        return np.asarray(self.shares[row, np.minimum(age, self.shares.shape[1] - 1)])

    def offset(self, book: OrderBook) -> Array:
        """Return log F at each order's age, the `offset` with which young orders can enter a frequency fit.

        For Poisson claims the offset is exact, because the claims on the books are a thinned Poisson count. For cloglog
        it is exact if the lag does not depend on the number of claims, because F then scales the intensity. Shares
        below 1e-6 are raised to 1e-6, because such orders carry no information yet.

        Parameters
        ----------
        book : OrderBook
            The book of the fit, or another book with the same coding of `by`.

        Returns
        -------
        float64 array, shape (n_orders,)
        """
        slot = None if self.by is None else book.codes[self.by]
        return np.log(np.maximum(self.share(book.age_days, slot=slot), LEAST_SHARE))

    @property
    def table(self) -> "pd.DataFrame":
        """Return a row for each age and curve: level, age_days, share, std_error."""
        import pandas as pd

        names = [self.levels[slot] if slot < len(self.levels) else "(all)" for slot in np.flatnonzero(self.own)]
        ages, days = self.shares.shape[1], self.std_errors.shape[1]
        errors = np.full((len(self.own), ages), np.nan)
        errors[:, :days] = self.std_errors
        return pd.DataFrame(
            {
                "level": np.repeat(names, ages),
                "age_days": np.tile(np.arange(ages), len(names)),
                "share": self.shares[self.own].ravel(),
                "std_error": errors[self.own].ravel(),
            }
        )

    def __repr__(self) -> str:
        points = ", ".join(f"{day}d {self.share(day):.3f}" for day in (7, 14, 30, 60) if day <= self.cover_days)
        curves = "" if self.by is None else f", {int(self.own[:-1].sum())} curves by {self.by}"
        return shown(
            f"ReportLag: {self.method}, {int(self.claims[-1]):,} claims within {self.cover_days} days{curves}; "
            f"{points}; reversed {self.reversed_share:.1%}"
        )


def _warn_of_short_history(age: NDArray[np.int64], cover_days: int, method: str) -> None:
    oldest = int(age.max(initial=-1))
    if oldest < cover_days and method == "empirical":
        _check.warn(
            f"the oldest order is {oldest} days old, less than the {cover_days} days of cover, so shares refer to "
            f"claims within {oldest} days and frequencies lack later claims; fit a distribution (method='gamma')."
        )


def _cells(lag: NDArray[np.int64], truncation: NDArray[np.int64], cover_days: int) -> Array:
    """Return the number of claims by lag (rows) and by the largest lag that the order's age allows (columns)."""
    size = cover_days + 1
    return np.bincount(lag * size + truncation, minlength=size * size).reshape(size, size).astype(np.float64)


def _curve(cells: Array, method: str) -> tuple[Array, Array]:
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


def _standing(book: OrderBook, covered: NDArray[np.bool_]) -> Array:
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


def _net(share: Array, standing: Array) -> Array:
    """Return the claims on the books by age, reported and not reversed yet, as a share of ultimate net claims.

    This is docs/method.md, equation 20, a convolution of reports with survival.
    """
    if len(standing) == 1:
        return share
    reported = np.diff(share, prepend=0.0)
    ages = len(share) + len(standing) - 1
    alive = np.concatenate([standing, np.full(ages - len(standing), standing[-1])])
    return np.asarray(np.convolve(reported, alive)[:ages] / standing[-1])
