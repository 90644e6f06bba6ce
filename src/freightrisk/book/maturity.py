"""Maturity: the share of an order's claims that is reported by its age, net of reversed claims."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from freightrisk import _check
from freightrisk._intake import Level
from freightrisk._shown import counted, repr_of, shown
from freightrisk._types import Array
from freightrisk.book.book import OrderBook
from freightrisk.book.lag_changes import cut, limit_age, moved, whole_days
from freightrisk.book.lag_fit import cells_of, curve_of, net_of, standing_of, warn_of_short_history
from freightrisk.book.segments import Segment, checked_segment, orders_in
from freightrisk.errors import FitError, InputError

if TYPE_CHECKING:
    import pandas as pd

METHODS = ("empirical", "gamma", "lognormal", "weibull")
LEAST_SHARE = 1e-6  # an order with a smaller share carries no information


@dataclass(frozen=True, eq=False, repr=False)
class ReportLag:
    """The share F(age) of an order's claims that are on the books when the order is `age` days old.

    `ReportLag.fit` makes one from a book. A lag is the number of days from shipment to report, or from receipt to
    report for a book by `OrderBook.aged_from_receipt`. A claim that is reported on the day of shipment has lag 0.

    Parameters
    ----------
    cover_days : int
        Length of the cover. Later claims are not covered and are ignored.
    method : {"empirical", "gamma", "lognormal", "weibull"}
    by : str or None
        Factor with a curve for each of its levels.
    levels : tuple of str
        Names of the slots of this factor.
    reported : float64 array, shape (n_slots + 1, cover_days + 1)
        Share of the claims that are reported by slot and age, before reversals. The last row is the curve of the whole
        book. `shares` are the same curves net of reversals.
    std_errors : float64 array, shape (n_slots + 1, cover_days + 1)
        Standard errors of `reported`. They are NaN for a fitted distribution that was truncated.
    claims : int64 array, shape (n_slots + 1,)
        Reported claims behind each curve.
    own : bool array, shape (n_slots + 1,)
        Whether the slot has its own curve; otherwise it has the curve of the whole book.
    standing : float64 array, shape (n_days,)
        Share of the reported claims that is not reversed by each number of days after the report.
    beyond_cover : int
        Claims reported after the end of the cover.
    since : {"shipment", "receipt"}
        The day from which ages count.
    kept_shares : float64 array, shape (n_slots + 1,), optional
        Share of the claims that are still made after the lag was truncated or moved; None means 1 for each curve.
    rules : sequence of (conditions, ReportLag)
        Lags of segments, by `with_segment`. An order has the lag of the first rule whose conditions it meets. The
        curves above hold for orders that meet no rule.
    """

    cover_days: int
    method: str
    by: str | None
    levels: tuple[str, ...]
    reported: Array
    std_errors: Array
    claims: NDArray[np.int64]
    own: NDArray[np.bool_]
    standing: Array = field(default_factory=lambda: np.ones(1))
    beyond_cover: int = 0
    since: str = "shipment"
    kept_shares: Array | None = None
    rules: "tuple[tuple[Segment, ReportLag], ...]" = ()

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
        warn_of_short_history(age, cover_days, method)
        rows = np.concatenate([book.claim_row, book.reversed_row])
        reported = np.concatenate([book.claim_day, book.reversed_report_day])
        lag = (reported - book.ship_day[rows]).astype(np.int64)
        covered = lag <= cover_days
        rows, lag = rows[covered], lag[covered]
        if not len(lag):
            raise FitError(f"there is no claim within {cover_days} days of shipment; give a book with reported claims.")
        cells = cells_of(lag, np.minimum(age[rows], cover_days), cover_days)
        curves, claims, own = [], [], []
        slots = 0 if by is None else book.codings[by].n_slots
        for slot in range(slots):
            mine = book.codes[by][rows] == slot if by is not None else np.zeros(0, dtype=bool)
            claims.append(int(mine.sum()))
            own.append(claims[-1] >= min_claims)
            if own[-1]:
                part = cells_of(lag[mine], np.minimum(age[rows[mine]], cover_days), cover_days)
                curves.append(curve_of(part, method))
        whole = curve_of(cells, method)
        left = iter(curves)
        both = [next(left) if has else whole for has in own] + [whole]
        return cls(
            cover_days, method, by,
            () if by is None else tuple(map(book.codings[by].slot_label, range(slots))),
            np.stack([share for share, _ in both]), np.stack([error for _, error in both]),
            np.array([*claims, len(lag)], dtype=np.int64), np.array([*own, True]),
            standing=standing_of(book, covered), beyond_cover=int((~covered).sum()), since=book.ages_from,
        )  # fmt: skip

    @cached_property
    def shares(self) -> Array:
        """Return F by slot and age, net of reversals; after the last age, F is constant."""
        return np.stack([net_of(share, self.standing) for share in self.reported])

    @property
    def reversed_share(self) -> float:
        """Return the share of reported claims that are reversed in the end."""
        return 1.0 - float(self.standing[-1])

    @property
    def kept_share(self) -> float:
        """Return the share of the claims that are still made, for the curve of the whole book."""
        return 1.0 if self.kept_shares is None else float(self.kept_shares[-1])

    def share(self, age_days: ArrayLike, *, slot: ArrayLike | None = None) -> Array:
        """Return F at the given ages, for orders that meet no rule.

        Parameters
        ----------
        age_days : int or array of int
            Days since shipment (or receipt: `since`), zero or more.
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
            The book of the fit, or another book with the same coding of `by` and of the columns in `rules`. Its ages
            count from the same day as the lag.

        Returns
        -------
        float64 array, shape (n_orders,)

        Raises
        ------
        InputError
            If ages and lag count from different days, or if the book does not know whether an order meets a rule.
        """
        if book.ages_from != self.since:
            cure = "give book.aged_from_receipt(...)" if self.since == "receipt" else "fit the lag to the book itself"
            raise InputError(
                f"the lag counts days from {self.since}, and the ages of the book count from {book.ages_from}; {cure}."
            )
        age, share = book.age_days, np.empty(book.n_orders)
        for mine, lag in self._parts(book):
            share[mine] = lag.share(age[mine], slot=None if lag.by is None else book.codes[lag.by][mine])
        return np.log(np.maximum(share, LEAST_SHARE))

    def kept(self, book: OrderBook) -> Array:
        """Return the share of each order's claims that are still made after the lag was truncated or moved.

        A frequency that was fitted before the limit is multiplied by it: ``fitted.expected_claims(book) *
        lag.kept(book)``. A fit with `offset` to claims under the limit has it already.

        Returns
        -------
        float64 array, shape (n_orders,), from 0 to 1
        """
        kept = np.ones(book.n_orders)
        for mine, lag in self._parts(book):
            if lag.kept_shares is not None:
                kept[mine] = lag.kept_shares[-1] if lag.by is None else lag.kept_shares[book.codes[lag.by][mine]]
        return kept

    def shifted(self, days: float, *, where: Mapping[str, Sequence[Level]] | None = None) -> "ReportLag":
        """Return the lag if a programme moves every report by a number of days, such as refunds on sending back.

        Parameters
        ----------
        days : int
            Whole days; below zero if reports come sooner.
        where : mapping of column to levels, optional
            Conditions of the orders that move, as for `with_segment`; by default, all orders and all rules move.

        Returns
        -------
        ReportLag

        Raises
        ------
        InputError
            For a fraction of a day, because the lag is known for whole days only.

        Notes
        -----
        F moves to F(age - days) (docs/method.md, equation 20a). Reports that would fall before age 0 fall on age 0, so
        F stays within [0, 1] and never falls. Claims reported after the end of the cover are not brought into it,
        because the lag does not know them. A shift to later days moves reports beyond the end of the cover. They are
        not covered, so `kept_shares` is F(cover_days - days), and F is divided by it.

        Every report moves by the same number of days. Reversals follow the report, so they move with it.

        Examples
        --------
        >>> import numpy as np
        >>> from freightrisk import ReportLag
        >>> lag = ReportLag(4, "empirical", None, (), np.array([[0.1, 0.4, 0.8, 0.9, 1.0]]), np.zeros((1, 5)),
        ...                 np.array([10]), np.array([True]))
        >>> lag.shifted(days=-2).share([0, 1, 2, 3, 4]).tolist()
        [0.8, 0.9, 1.0, 1.0, 1.0]
        """
        whole = whole_days(days)
        return self._changed(lambda lag: lag._with(*moved(lag.reported, lag.std_errors, whole)), where)

    def truncated(
        self, *, hours: float, where: Mapping[str, Sequence[Level]] | None = None, transit_days: int | None = None
    ) -> "ReportLag":
        """Return the lag if claims must be reported within some hours of receipt, and later claims are not made.

        Parameters
        ----------
        hours : int
            Hours from receipt, a multiple of 24, because the lag is known for whole days only. With 48 hours, the last
            reports come on the second day after the day of receipt.
        where : mapping of column to levels, optional
            Conditions of the orders that have the limit, as for `with_segment`; by default, all orders and all rules.
        transit_days : int, optional
            Days from shipment to receipt, one number for all orders of the limit. It must be given for a lag since
            shipment, because the lag does not know receipts. A lag since receipt (`since`) refuses it.

        Returns
        -------
        ReportLag
            With the share of claims that is left in `kept_shares`: the limit is a loss control on the frequency.

        Notes
        -----
        With l the last age of a report, F(age) becomes F(min(age, l)) / F(l), and the claim intensity is multiplied by
        the kept share F(l) (docs/method.md, equation 20b). Days of a calendar cannot tell 48 hours from 71: the kept
        share of exactly 48 hours lies between F(l - 1) and F(l).

        If the time from shipment to receipt varies, `transit_days` is an approximation. A lag fitted to
        `OrderBook.aged_from_receipt` needs none.

        Examples
        --------
        >>> import numpy as np
        >>> from freightrisk import ReportLag
        >>> lag = ReportLag(4, "empirical", None, (), np.array([[0.1, 0.4, 0.8, 0.9, 1.0]]), np.zeros((1, 5)),
        ...                 np.array([10]), np.array([True]), since="receipt")
        >>> short = lag.truncated(hours=48)
        >>> short.kept_share, short.share([0, 1, 2, 3]).tolist()
        (0.8, [0.125, 0.5, 1.0, 1.0])
        """
        limit = limit_age(hours, transit_days, self.since)

        def change(lag: ReportLag) -> ReportLag:
            return lag._with(*cut(lag.reported, lag.std_errors, limit, independent=lag.method == "empirical"))

        return self._changed(change, where)

    def with_segment(self, where: Mapping[str, Sequence[Level]], lag: "ReportLag") -> "ReportLag":
        """Return this lag with another lag for the orders that meet conditions and no earlier rule.

        Parameters
        ----------
        where : mapping of column to levels
            The value of every column must be one of its levels. The columns are read by factors of the book, other than
            bands; no model has to use these factors.
        lag : ReportLag
            Without rules of its own, and since the same day as this lag.
        """
        segment = checked_segment(where)
        _check.instance(lag, ReportLag, argument="lag")
        if lag.rules or lag.since != self.since:
            fault = "has rules of its own" if lag.rules else f"counts from {lag.since}, and this one from {self.since}"
            raise InputError(f"the lag of a segment {fault}; give a lag without rules, from the same day.")
        if segment in [known for known, _ in self.rules]:
            raise InputError(
                f"where is {repr_of(dict(segment))}, and an earlier rule has these conditions, so the new one would "
                "never apply; make all changes of the segment's lag before with_segment."
            )
        return replace(self, rules=(*self.rules, (segment, lag)))

    def _changed(self, change: "Callable[[ReportLag], ReportLag]", where: object) -> "ReportLag":
        """Return the lag with a change of its own curves and of all rules, or with a changed lag for a segment."""
        if where is not None:
            return self.with_segment(checked_segment(where), change(replace(self, rules=())))
        return replace(change(self), rules=tuple((segment, change(lag)) for segment, lag in self.rules))

    def _with(self, reported: Array, errors: Array, kept: Array) -> "ReportLag":
        before = 1.0 if self.kept_shares is None else self.kept_shares
        return replace(self, reported=reported, std_errors=errors, kept_shares=before * kept)

    def _parts(self, book: OrderBook) -> "Iterator[tuple[NDArray[np.bool_], ReportLag]]":
        """Yield the orders of each rule with their lag, and at last the orders that meet no rule."""
        left = np.ones(book.n_orders, dtype=bool)
        for segment, lag in self.rules:
            mine = left & orders_in(book, segment)
            left &= ~mine
            yield mine, lag
        yield left, self

    @property
    def table(self) -> "pd.DataFrame":
        """Return a row for each age and curve: level, age_days, share, std_error; without the curves of rules."""
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
        since = "" if self.since == "shipment" else f" of {self.since}"
        kept = "" if self.kept_share == 1.0 else f"; kept {self.kept_share:.1%}"
        rules = f"; {counted(len(self.rules), 'rule')}" if self.rules else ""
        return shown(
            f"ReportLag: {self.method}, {int(self.claims[-1]):,} claims within {self.cover_days} days{since}{curves}; "
            f"{points}; reversed {self.reversed_share:.1%}{kept}{rules}"
        )
