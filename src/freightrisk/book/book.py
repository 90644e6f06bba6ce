"""The order book: insured orders as codes for the kernels, with their claims."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._columns import ColumnNames, day_array, plain_array
from freightrisk._frozen import FrozenDict
from freightrisk._intake import DEFAULT_CLOCK, check_clock
from freightrisk._mapped import on_disk
from freightrisk._shown import counted, repr_of, shown
from freightrisk.book.claims import DAY, ClaimRecords, Reversals, seal, taken
from freightrisk.book.codings import Coding
from freightrisk.book.doubts import CLAIM_ID
from freightrisk.book.factors import Declaration
from freightrisk.book.joined import LARGEST, SMALLEST
from freightrisk.book.reading import read_counts, read_frames, with_orders
from freightrisk.book.receipt import from_receipt, known_receipts
from freightrisk.errors import InputError

CODES = ("uint8", "uint16", "uint32")
OPTIONAL = ("exposure", "ship_day", "order_row")


@dataclass(frozen=True, eq=False, repr=False)
class OrderBook:
    """Insured orders as code columns, with exposure and claims.

    Build a book with `OrderBook.from_frames` (orders and claims) or `OrderBook.from_counts` (rows already counted).

    Parameters
    ----------
    codings : dict of str to Coding
        Levels of each rating factor.
    codes : dict of str to uint8, uint16 or uint32 array, shape (n_orders,)
        Code of each order on each factor.
    counts : unsigned array, shape (n_orders,)
        Number of claims of each order, in the narrowest type that holds them. Compute with `claim_count` instead.
    exposure : float64 array, shape (n_orders,), optional
        Orders in force from shipment; None means 1 for each order.
    claims : ClaimRecords
        Order, amount, weight and day of each claim. `claim_row`, `claim_amount`, `claim_weight` and `claim_day` return
        these columns.
    ship_day : datetime64[D] array, shape (n_orders,), optional
    as_of : datetime64[D], optional
        Valuation date.
    left_out : dict of str to int
        Number of rows that did not enter the book, by reason.
    reversals : Reversals
        Order and days of each claim that was reversed by the valuation date. Such a claim does not count.
        `reversed_row`, `reversed_report_day` and `reversed_day` return these columns.
    lines : str, optional
        Name of the factor that counts the lines of an order, if the book has one; it rates nothing by itself.
    order_row : int64 array, shape (n_orders,), optional
        Row of each order in the table of orders from which the book was built; None means all rows in their order.
    table_rows : int, optional
        Number of rows of that table; None means the number of orders.
    clock : str
        Time zone that defines the days of shipment and of reports.
    ages_from : {"shipment", "receipt"}
        The day from which ages count. In a book by `aged_from_receipt`, `ship_day` holds the days of receipt.
    """

    codings: Mapping[str, Coding]
    codes: Mapping[str, NDArray[Any]]
    counts: NDArray[Any]
    exposure: NDArray[np.float64] | None
    claims: ClaimRecords
    ship_day: NDArray[np.datetime64] | None = None
    as_of: np.datetime64 | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    reversals: Reversals = field(default_factory=Reversals)
    lines: str | None = None
    order_row: NDArray[np.int64] | None = None
    table_rows: int | None = None
    clock: str = DEFAULT_CLOCK
    ages_from: str = "shipment"

    def __post_init__(self) -> None:
        for name in ("codings", "codes", "left_out"):
            object.__setattr__(self, name, FrozenDict(dict(getattr(self, name))))
        if self.codes.keys() != self.codings.keys():
            raise InputError(
                f"codes are given for the factors {[*self.codes]} and codings for {[*self.codings]}; give both for the "
                "same factors."
            )
        kinds = {"counts": CODES, "exposure": ("float64",), "ship_day": (DAY,), "order_row": ("int64",)}
        columns = {name: (getattr(self, name), kind) for name, kind in kinds.items()}
        seal(columns | {f"codes of '{name}'": (codes, CODES) for name, codes in self.codes.items()}, lacking=OPTIONAL)
        _check.instance(self.claims, ClaimRecords, argument="claims of a book")
        _check.instance(self.reversals, Reversals, argument="reversals of a book")
        check_clock(self.clock)
        _check.one_of(self.ages_from, ("shipment", "receipt"), argument="ages_from")
        if self.lines is not None and self.lines not in self.codings:
            raise InputError(f"lines is {repr_of(self.lines)}, which is not a factor of the book.")
        for name in ("claim_row", "reversed_row"):
            _within(getattr(self, name), name, 0, self.n_orders - 1)
        for name in ("exposure", "claim_amount", "claim_weight"):
            _within(getattr(self, name), name, SMALLEST, LARGEST)

    @classmethod
    def from_frames(
        cls,
        orders: Any,
        claims: Any,
        *,
        factors: Sequence[Declaration | Coding],
        merchants: Any = None,
        as_of: Any = None,
        order_id: str = "order_id",
        merchant_id: str = "merchant_id",
        ship_date: str | None = "ship_date",
        exposure: str | None = None,
        freight: str = "freight",
        report_date: str | None = "report_date",
        reversed_date: str | None = None,
        lines: str | None = None,
        claim_id: str | None = CLAIM_ID,
        clock: str = DEFAULT_CLOCK,
        date_format: str | None = None,
    ) -> "OrderBook":
        """Return the book of some orders and their claims.

        Parameters
        ----------
        orders : pandas, polars or pyarrow table, or path of a Parquet file
            One row for each insured order. Only the columns that are needed are read.
        claims : like orders
            One row for each claim, joined by `order_id`. An order may have several claims.
        factors : sequence of Factor, Band, Hierarchy or Coding
            Rating factors. A column that the orders lack is read from the merchants. A `Coding` keeps the levels of
            another book: ``factors=list(fitted_book.codings.values())``.
        merchants : like orders, optional
            One row for each merchant, joined by `merchant_id`.
        as_of : date, optional
            Valuation date. Orders shipped after it and claims reported after it are left out.
        order_id, merchant_id, freight : str
            Names of columns; freight is the ground-up return freight of a claim in yuan.
        ship_date, report_date : str or None
            Names of date columns; None if there is no such column. Orders without a shipment date carry no exposure and
            are left out.
        exposure : str, optional
            Column with the exposure of an order; 1 by default.
        reversed_date : str, optional
            Column of the claims with the day on which a claim was reversed, for example after an appeal. It is missing
            if the claim stands. Claims reversed by the valuation date do not count. `ReportLag` allows for later
            reversals.
        lines : str, optional
            Column of the orders with the number of lines of an order that can come back, a whole number from 1 to 255.
            It is needed for `FrequencyModel(family="binomial")` and ``"beta_binomial"``.
        claim_id : str or None
            Column of the claims with an id of the claim; a missing or repeated id is refused. Without a column
            "claim_id", or with None, every row counts. A `FreightRiskWarning` is then given if more than 1 % of the
            rows equal an earlier row in order, freight and report date. Without report dates there is no warning.
        clock : str
            Time zone whose days count. Times with a zone are converted to it; times without a zone are taken as they
            stand.
        date_format : str, optional
            Format of dates written as text, as for `datetime.strptime`; ISO 8601 by default.

        Notes
        -----
        docs/data_contract.md defines the meaning of a value in a column, for every kind of table.

        Raises
        ------
        InputError
            If a column is missing, an id of an order or claim repeats, a claim has no order or precedes its shipment,
            or a value is missing or outside its range. The message names the column, the count and the first rows.

        Examples
        --------
        >>> import pandas as pd
        >>> from freightrisk import Factor, OrderBook
        >>> orders = pd.DataFrame({"order_id": [1, 2, 3], "channel": ["shelf", "live", "live"],
        ...                        "ship_date": pd.to_datetime(["2026-05-01", "2026-05-02", None])})
        >>> claims = pd.DataFrame({"order_id": [2], "freight": [8.5], "report_date": pd.to_datetime(["2026-05-09"])})
        >>> book = OrderBook.from_frames(orders, claims, factors=[Factor("channel")])
        >>> book.n_orders, book.n_claims, dict(book.left_out)
        (2, 1, {'not_shipped': 1, 'shipped_after_as_of': 0, 'claims_after_as_of': 0})
        """
        names = ColumnNames(
            order_id=order_id,
            merchant_id=merchant_id,
            ship_date=ship_date,
            exposure=exposure,
            freight=freight,
            report_date=report_date,
            reversed_date=reversed_date,
            claim_id=claim_id,
            date_format=date_format,
        )
        read = read_frames(
            orders, claims, factors=factors, merchants=merchants, as_of=as_of, names=names, lines=lines, clock=clock
        )
        return OrderBook(**with_orders(read))

    @classmethod
    def from_counts(
        cls,
        cells: Any,
        *,
        claims: str,
        factors: Sequence[Declaration | Coding],
        amount: str | None = None,
        exposure: str | None = None,
        lines: str | None = None,
    ) -> "OrderBook":
        """Return the book of rows that already hold a number of claims, such as policies or rating cells.

        Parameters
        ----------
        cells : pandas, polars or pyarrow table, or path of a Parquet file
        claims : str
            Column with the number of claims of a row.
        amount : str, optional
            Column with the total amount of these claims. Severity is then fitted on amount / claims, with the number of
            claims as weight. Rows with claims but no amount are refused.
        exposure : str, optional
            Column with the exposure of a row, above zero; 1 by default.
        lines : str, optional
            Column with the number of lines that can come back, as for `from_frames`.

        Examples
        --------
        >>> import pandas as pd
        >>> from freightrisk import Factor, OrderBook
        >>> cells = pd.DataFrame({"zone": [1, 2], "insured": [120.5, 80.0], "claims": [7, 3]})
        >>> OrderBook.from_counts(cells, claims="claims", exposure="insured", factors=[Factor("zone")]).n_claims
        10
        """
        read = read_counts(cells, claims=claims, factors=factors, amount=amount, exposure=exposure, lines=lines)
        return OrderBook(**with_orders(read))

    @property
    def n_orders(self) -> int:
        """Return the number of orders in force."""
        return len(self.counts)

    @property
    def n_claims(self) -> int:
        """Return the number of claims."""
        return int(self.counts.sum(dtype=np.int64))

    @property
    def claim_count(self) -> NDArray[np.int64]:
        """Return the number of claims of each order as int64, which cannot overflow in sums or differences."""
        found = self.counts.astype(np.int64)
        found.flags.writeable = False
        return found

    @property
    def claim_row(self) -> NDArray[np.int64]:
        """Return the position of the order of each claim, or of each record of several claims."""
        return self.claims.row

    @property
    def claim_amount(self) -> NDArray[np.float64]:
        """Return the ground-up return freight of each claim, yuan."""
        return self.claims.amount

    @property
    def claim_weight(self) -> NDArray[np.float64] | None:
        """Return the number of claims behind each amount; None means 1 for each amount."""
        return self.claims.weight

    @property
    def claim_day(self) -> NDArray[np.datetime64] | None:
        """Return the day on which each claim was reported, or None if the days are not known."""
        return self.claims.day

    @property
    def reversed_row(self) -> NDArray[np.int64]:
        """Return the position of the order of each reversed claim."""
        return self.reversals.row

    @property
    def reversed_report_day(self) -> NDArray[np.datetime64]:
        """Return the day on which each reversed claim was reported."""
        return self.reversals.report_day

    @property
    def reversed_day(self) -> NDArray[np.datetime64]:
        """Return the day on which each reversed claim was reversed."""
        return self.reversals.day

    @property
    def total_exposure(self) -> float:
        """Return the exposure of the book, in orders."""
        return float(self.n_orders if self.exposure is None else self.exposure.sum())

    @property
    def line_count(self) -> NDArray[np.int64]:
        """Return the number of lines of each order."""
        if self.lines is None:
            raise InputError("the book does not know how many lines an order has; build it with lines=.")
        return self.codes[self.lines].astype(np.int64) + 1

    @property
    def age_days(self) -> NDArray[np.int64]:
        """Return the age of each order in days, from shipment (or receipt: `ages_from`) to the valuation date."""
        if self.ship_day is None or self.as_of is None:
            raise InputError(
                "the book has no order ages; build it by OrderBook.from_frames with ship_date= and as_of=. A book by "
                "OrderBook.from_counts has no dates."
            )
        return (self.as_of - self.ship_day).astype(np.int64)

    def align(self, values: Any) -> NDArray[Any]:
        """Return the values of the book's orders, given a value for each row of the table of orders.

        Parameters
        ----------
        values : array, shape (rows of the table,)
            For example a column that is not a rating factor, such as a weight in grams or an owner for clusters. Values
            are paired with rows by position; the index of a Series is not read.

        Examples
        --------
        >>> import pandas as pd
        >>> from freightrisk import Factor, OrderBook
        >>> orders = pd.DataFrame({"order_id": [1, 2, 3], "channel": ["shelf", "live", "shelf"],
        ...                        "ship_date": pd.to_datetime(["2026-05-01", None, "2026-05-02"]),
        ...                        "weight_g": [400, 900, 650]})
        >>> claims = pd.DataFrame({"order_id": [1], "freight": [8.0], "report_date": pd.to_datetime(["2026-05-09"])})
        >>> book = OrderBook.from_frames(orders, claims, factors=[Factor("channel")])
        >>> book.align(orders["weight_g"]).tolist()
        [400, 650]
        """
        try:
            array = plain_array(values)
        except Exception:  # values may be of any class, and their errors too
            array = np.empty(())
        rows = self.n_orders if self.table_rows is None else self.table_rows
        if array.shape != (rows,):
            raise InputError(
                f"values has shape {array.shape}; give one for each row of the orders that the book was built from, "
                f"shape ({rows},)."
            )
        return array if self.order_row is None else array[self.order_row]

    def select(self, rows: NDArray[np.bool_]) -> "OrderBook":
        """Return the book of the orders where `rows` is true, with the same codings.

        Parameters
        ----------
        rows : bool array, shape (n_orders,)
            True for the orders to keep, by position; an index is not read.
        """
        try:
            rows = np.asarray(rows)
        except Exception:  # values may be of any class, and their errors too
            raise InputError(f"rows is {repr_of(rows)}; give a boolean for each of {self.n_orders:,} orders.") from None
        if rows.dtype != np.bool_ or rows.shape != (self.n_orders,):
            raise InputError(
                f"rows is {rows.dtype} of shape {rows.shape}; give a boolean for each of {self.n_orders:,} orders."
            )
        place = np.cumsum(rows) - 1  # new position of each kept order, for the claims that name it
        return replace(
            self,
            codes={name: codes[rows] for name, codes in self.codes.items()},
            counts=self.counts[rows],
            exposure=taken(self.exposure, rows),
            claims=self.claims.taken(rows[self.claim_row], place),
            ship_day=taken(self.ship_day, rows),
            reversals=self.reversals.taken(rows[self.reversed_row], place),
            order_row=np.flatnonzero(rows) if self.order_row is None else self.order_row[rows],
            table_rows=self.n_orders if self.table_rows is None else self.table_rows,
        )

    def mature(self, min_age_days: int) -> "OrderBook":
        """Return the book of the orders at least `min_age_days` old at the valuation date.

        Recent orders have not yet reported all of their claims. Without them, the claim frequency is unbiased.
        """
        return self.select(self.age_days >= _check.whole(min_age_days, argument="min_age_days", low=0, high=36500))

    def aged_from_receipt(self, received: Any) -> "OrderBook":
        """Return the book of the orders that were received by the valuation date, with ages and lags from receipt.

        Parameters
        ----------
        received : dates, shape (rows of the table,)
            Day of receipt for each row of the table of orders, as for `align`; missing if the order has not arrived.

        Notes
        -----
        A claim reported before receipt counts as reported on the day of receipt. Orders that have not arrived are left
        out with their claims, so frequencies are those of received orders.
        """
        if self.ages_from != "shipment":
            raise InputError(
                "the ages of the book count from receipt already; give the book that counts from shipment."
            )
        days = self.align(day_array(received, argument="received", clock=self.clock))
        arrived = known_receipts(days, self.ship_day, self.as_of)
        part = self.select(arrived)
        return replace(part, **from_receipt(part, days[arrived], self.n_orders))

    def __repr__(self) -> str:
        valued = "" if self.as_of is None else f", as of {self.as_of}"
        valued += "" if self.ages_from == "shipment" else f", ages from {self.ages_from}"
        factors = ", ".join(f"{name} ({coding.n_levels})" for name, coding in self.codings.items())
        size = f"{counted(self.n_orders, 'order')}, {counted(self.n_claims, 'claim')}{valued}"
        return shown(f"OrderBook: {size}; factors {factors or 'none'}")


def frames_book(orders: Any, claims: Any, **how: Any) -> OrderBook:
    """Return the book of some orders and claims, even if it has no order; `how` is passed to `read_frames`."""
    return OrderBook(**read_frames(orders, claims, **how))


def check_book(book: Any) -> None:
    """Raise unless `book` is an order book."""
    if not isinstance(book, OrderBook):
        raise InputError(
            f"book is a {type(book).__name__}; it must be an OrderBook. Build one with OrderBook.from_frames(orders, "
            "claims, factors=...). For new orders, give factors=list(book.codings.values()) of the fitted book."
        )


def check_amounts(book: Any) -> None:
    """Raise unless `book` is an order book whose claims have amounts."""
    check_book(book)
    if book.n_claims and not len(book.claim_row):
        raise InputError(
            f"the book has {counted(book.n_claims, 'claim')} but no amounts; name their column with amount= of "
            "OrderBook.from_counts, or build the book by OrderBook.from_frames."
        )


def _within(values: NDArray[Any] | None, name: str, low: float, high: float) -> None:
    """Refuse values of a column outside their range; `open_book` has checked columns on disk."""
    if values is None or not len(values) or on_disk(values):
        return
    if not (low <= values.min() and values.max() <= high):
        raise InputError(f"{name} is from {values.min():g} to {values.max():g}; it must be from {low:g} to {high:g}.")
