"""The order book: what is insured, coded for the kernels, with its claims."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check, _intake
from freightrisk._columns import ColumnNames, JoinedColumns, Table, plain_array, read
from freightrisk._frozen import FrozenDict
from freightrisk._intake import DEFAULT_CLOCK
from freightrisk._shown import repr_of, shown
from freightrisk.book.doubts import CLAIM_ID, check_claims, warn_of_alike, warn_of_grams
from freightrisk.book.factors import (
    MOST_LINES,
    Band,
    Coding,
    Declaration,
    Factor,
    Hierarchy,
    code_type,
    learn,
    line_coding,
)
from freightrisk.errors import InputError

OUT = {"not_shipped": "were never shipped", "shipped_after_as_of": "were shipped after that day"}
SMALLEST, LARGEST = 1e-15, 1e18  # of amounts and exposures: sums and squares of what lies between them are finite
BOUNDS = f"[{SMALLEST:g}, {LARGEST:g}]"
# Columns that must be sound wherever they are present, rated or not: (low, high).
SOUND_COLUMNS = {"weight_kg": (0.0, np.inf), "price": (0.0, np.inf)}


@dataclass(frozen=True, repr=False)
class OrderBook:
    """Insured orders as code columns, with exposure and claims.

    Build one with `OrderBook.from_frames` (orders and claims) or `OrderBook.from_counts` (rows already counted).

    Parameters
    ----------
    codings : dict of str to Coding
        Levels of each rating factor.
    codes : dict of str to uint8, uint16 or uint32 array, shape (n_orders,)
        Code of each order on each factor.
    counts : unsigned array, shape (n_orders,)
        Claims of each order, in as few bytes as hold them; `claim_count` gives them as numbers to compute with.
    exposure : float64 array, shape (n_orders,), optional
        Orders in force from shipment; None means one each.
    claim_row : int64 array, shape (n_claims,)
        Order of each claim (or of each claim record).
    claim_amount : float64 array, shape (n_claims,)
        Ground-up return freight of each claim, yuan.
    claim_day : datetime64[D] array, optional
        Day on which each claim was reported.
    claim_weight : float64 array, optional
        Claims behind each amount, where the amount is a mean; None means one each.
    ship_day : datetime64[D] array, shape (n_orders,), optional
    as_of : datetime64[D], optional
        Valuation date.
    left_out : dict of str to int
        Rows that did not enter the book, by reason.
    reversed_row : int64 array, shape (n_reversed,)
        Order of each claim that was reported and reversed by the valuation date; it counts as no claim.
    reversed_report_day, reversed_day : datetime64[D] arrays, shape (n_reversed,)
        Days on which these claims were reported and reversed.
    lines : str, optional
        Name of the factor that counts the lines of an order, where the book has one; it rates nothing by itself.
    order_row : int64 array, shape (n_orders,), optional
        Row of each order in the table of orders that the book was built from; None means all rows in their order.
    table_rows : int, optional
        Rows of that table; None means as many as there are orders.
    clock : str
        Time zone by which days of shipment and of reports were taken.
    """

    codings: Mapping[str, Coding]
    codes: Mapping[str, NDArray[Any]]
    counts: NDArray[Any]
    exposure: NDArray[np.float64] | None
    claim_row: NDArray[np.int64]
    claim_amount: NDArray[np.float64]
    claim_weight: NDArray[np.float64] | None = None
    claim_day: NDArray[np.datetime64] | None = None
    ship_day: NDArray[np.datetime64] | None = None
    as_of: np.datetime64 | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    reversed_row: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    reversed_report_day: NDArray[np.datetime64] = field(default_factory=lambda: np.empty(0, dtype="datetime64[D]"))
    reversed_day: NDArray[np.datetime64] = field(default_factory=lambda: np.empty(0, dtype="datetime64[D]"))
    lines: str | None = None
    order_row: NDArray[np.int64] | None = None
    table_rows: int | None = None
    clock: str = DEFAULT_CLOCK

    def __post_init__(self) -> None:
        for name in ("codings", "codes", "left_out"):
            object.__setattr__(self, name, FrozenDict(dict(getattr(self, name))))
        self._check_lengths()
        arrays = (
            *self.codes.values(), self.counts, self.claim_row, self.claim_amount, self.reversed_row,
            self.reversed_report_day, self.reversed_day,
        )  # fmt: skip
        for array in (*arrays, self.exposure, self.claim_weight, self.claim_day, self.ship_day, self.order_row):
            if array is not None:
                array.flags.writeable = False

    def _check_lengths(self) -> None:
        """Refuse columns that are no arrays of one length: of orders, of claims, and of claims that were reversed."""
        if self.codes.keys() != self.codings.keys():
            raise InputError(f"codes are of the factors {[*self.codes]} and codings of {[*self.codings]}.")
        groups: list[dict[str, Any]] = [
            {"counts": self.counts, "exposure": self.exposure, "ship_day": self.ship_day,
             "order_row": self.order_row, **{f"codes of '{name}'": codes for name, codes in self.codes.items()}},
            {name: getattr(self, name) for name in ("claim_row", "claim_amount", "claim_weight", "claim_day")},
            {name: getattr(self, name) for name in ("reversed_row", "reversed_report_day", "reversed_day")},
        ]  # fmt: skip
        for group in groups:
            first, *_ = group
            shape = np.shape(group[first])
            for name, array in group.items():
                if array is not None and (not isinstance(array, np.ndarray) or array.shape != shape or len(shape) != 1):
                    raise InputError(f"{name} has shape {np.shape(array)}; {first} is a column of shape {shape}.")

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
            One row an insured order; only the columns that are needed are read.
        claims : like orders
            One row a claim, joined by `order_id`; an order may have several.
        factors : sequence of Factor, Band, Hierarchy or Coding
            Rating factors, read from the orders or, failing that, from the merchants. A `Coding` keeps the levels of
            another book: ``factors=list(fitted_book.codings.values())``.
        merchants : like orders, optional
            One row a merchant, joined by `merchant_id`.
        as_of : date, optional
            Valuation date: orders shipped after it and claims reported after it are left out.
        order_id, merchant_id, freight : str
            Names of columns; freight is the ground-up return freight of a claim in yuan.
        ship_date, report_date : str or None
            Names of date columns. Orders without a shipment date never left and carry no exposure: they are left
            out. None where there is no such column.
        exposure : str, optional
            Column with the exposure of an order; one by default.
        reversed_date : str, optional
            Column of the claims with the day on which a claim was reversed, after an appeal for instance, missing where
            it stands. Claims reversed by the valuation date are no claims; `ReportLag` allows for those still to come.
        lines : str, optional
            Column of the orders with the number of lines of an order, each of which can come back: whole numbers from 1
            to 255. For `FrequencyModel(family="binomial")` and ``"beta_binomial"``.
        claim_id : str or None
            Column of the claims that tells one from another: an id that is missing or repeats is refused. Without a
            column "claim_id", or if None is given, every row counts. If more than 1 % of the rows then equal an earlier
            one in order, freight and report date, a `FreightRiskWarning` says so; without report dates nothing does.
        clock : str
            Time zone whose days count: times with a zone are converted to it, those without are taken as they stand.
        date_format : str, optional
            How texts with dates are written, as for `datetime.strptime`; ISO 8601 by default.

        Notes
        -----
        What a value of a column means, whatever kind of table it comes from, is written in docs/data_contract.md.

        Raises
        ------
        InputError
            For missing columns, repeated ids of orders or claims, claims without an order or before its shipment,
            values missing or outside their range, naming column, count and first rows.

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
        return _with_orders(
            frames_book(
                orders,
                claims,
                factors=factors,
                merchants=merchants,
                as_of=as_of,
                names=ColumnNames(
                    order_id=order_id,
                    merchant_id=merchant_id,
                    ship_date=ship_date,
                    exposure=exposure,
                    freight=freight,
                    report_date=report_date,
                    reversed_date=reversed_date,
                    claim_id=claim_id,
                    date_format=date_format,
                ),
                lines=lines,
                clock=clock,
            )
        )

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
            Column with the total amount of those claims; severity is then fitted on amount / claims with the number
            of claims as weight. Rows with claims but no amount are refused.
        exposure : str, optional
            Column with the exposure of a row, above zero; one by default.
        lines : str, optional
            Column with the number of lines that could have come back; as for `from_frames`.

        Examples
        --------
        >>> import pandas as pd
        >>> from freightrisk import Factor, OrderBook
        >>> cells = pd.DataFrame({"zone": [1, 2], "insured": [120.5, 80.0], "claims": [7, 3]})
        >>> OrderBook.from_counts(cells, claims="claims", exposure="insured", factors=[Factor("zone")]).n_claims
        10
        """
        wanted = columns_of(factors)
        names = ColumnNames(ship_date=None, exposure=exposure)
        for argument, name in (("claims", claims), ("amount", amount), ("lines", lines)):
            if name is not None:
                _check.label(name, argument=argument)
        joined = join(cells, None, wanted, names=names, also=[claims, amount, exposure, lines], argument="cells")
        warn_of_grams(joined)
        counted = joined.real(claims)
        _check.in_interval(counted, column=claims, low=0.0, high=2.0**32 - 1)
        joined.refuse(
            counted != np.floor(counted),
            f"column '{claims}' is not a whole number in {{rows}}; it counts claims.",
            claims,
        )
        rows = np.flatnonzero(counted > 0) if amount else np.empty(0, dtype=np.int64)
        total = joined.real(amount)[rows] if amount else np.empty(0)
        if amount:
            _check.in_interval(total, column=amount, low=SMALLEST, high=LARGEST, rows=rows)
            joined.refuse(
                (counted == 0) & (joined.real(amount) > 0),
                f"column '{amount}' is above zero where '{claims}' is zero in {{rows}}; correct one of the two.",
                amount,
            )
        return _with_orders(
            _assemble(
                joined,
                factors,
                claim_row=rows,
                claim_amount=total / counted[rows],
                claim_weight=counted[rows] if amount else None,
                exposure=exposure,
                claim_count=counted,
                lines=lines,
            )
        )

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
        """Return the number of claims of each order; differences and sums are right, unlike those of `counts`."""
        found = self.counts.astype(np.int64)
        found.flags.writeable = False
        return found

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
        """Return the age of each order in days, from shipment to the valuation date."""
        if self.ship_day is None or self.as_of is None:
            raise InputError("the book has no order ages; build it with a ship_date column and as_of=.")
        return (self.as_of - self.ship_day).astype(np.int64)

    def align(self, values: Any) -> NDArray[Any]:
        """Return the values of the book's orders, given one for each row of the table that it was built from.

        Parameters
        ----------
        values : array, shape (rows of that table,)
            Such as a column that is no rating factor: a weight in grams, an owner to cluster by. Values are paired with
            rows by place; the index of a Series is not read.

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
        except Exception:  # of whatever class the values are
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
            By place; an index is not read.
        """
        try:
            rows = np.asarray(rows)
        except Exception:  # of whatever class the values are
            raise InputError(f"rows is {repr_of(rows)}; give a boolean for each of {self.n_orders:,} orders.") from None
        if rows.dtype != np.bool_ or rows.shape != (self.n_orders,):
            raise InputError(
                f"rows is {rows.dtype} of shape {rows.shape}; give a boolean for each of {self.n_orders} orders."
            )
        place = np.cumsum(rows) - 1
        used, undone = rows[self.claim_row], rows[self.reversed_row]
        return replace(
            self,
            codes={name: codes[rows] for name, codes in self.codes.items()},
            counts=self.counts[rows],
            exposure=None if self.exposure is None else self.exposure[rows],
            claim_row=place[self.claim_row[used]].astype(np.int64),
            claim_amount=self.claim_amount[used],
            claim_weight=None if self.claim_weight is None else self.claim_weight[used],
            claim_day=None if self.claim_day is None else self.claim_day[used],
            ship_day=None if self.ship_day is None else self.ship_day[rows],
            reversed_row=place[self.reversed_row[undone]].astype(np.int64),
            reversed_report_day=self.reversed_report_day[undone],
            reversed_day=self.reversed_day[undone],
            order_row=np.flatnonzero(rows) if self.order_row is None else self.order_row[rows],
            table_rows=self.n_orders if self.table_rows is None else self.table_rows,
        )

    def mature(self, min_age_days: int) -> "OrderBook":
        """Return the book of the orders at least `min_age_days` old at the valuation date.

        Recent orders have not reported all of their claims; leaving them out keeps the claim frequency unbiased.
        """
        return self.select(self.age_days >= _check.whole(min_age_days, argument="min_age_days", low=0, high=36500))

    def __repr__(self) -> str:
        valued = "" if self.as_of is None else f", as of {self.as_of}"
        factors = ", ".join(f"{name} ({coding.n_levels})" for name, coding in self.codings.items())
        return shown(f"OrderBook: {self.n_orders:,} orders, {self.n_claims:,} claims{valued}; factors {factors}")


def frames_book(
    orders: Any,
    claims: Any,
    *,
    factors: Sequence[Declaration | Coding],
    merchants: Any,
    as_of: Any,
    names: ColumnNames,
    lines: str | None,
    clock: str,
    checked: bool = False,
) -> OrderBook:
    """Return the book of some orders and their claims, even if no order is in force; see `OrderBook.from_frames`.

    `checked` says that claims were looked at for repeated ones, and that a batch of orders needs no look of its own.
    """
    wanted = columns_of(factors)
    _intake.check_clock(clock)
    if lines is not None:
        _check.label(lines, argument="lines")
    joined = join(
        orders, merchants, wanted, names=names, also=[names.order_id, names.ship_date, names.exposure, lines],
        may_be_missing=columns_with_missing(factors), clock=clock,
    )  # fmt: skip
    if not checked:
        warn_of_grams(joined)
    day = None if as_of is None else _check.day(as_of, argument="as_of")
    kept, ship_day, left_out = _in_force(joined, names, day)
    claim_order, claim_day, amount, undone = _read_claims(claims, joined, names, ship_day, checked=checked)
    in_time = np.ones(len(amount), dtype=bool) if day is None or claim_day is None else claim_day <= day
    left_out["claims_after_as_of"] = int((~in_time).sum())
    place = np.full(joined.n_rows, -1, dtype=np.int64)
    place[kept] = np.arange(len(kept))
    claim_row = place[claim_order]
    used = in_time & (claim_row >= 0)
    reversed_ = used & ~np.isnat(undone)
    if day is not None:
        reversed_ &= undone <= day
    if names.reversed_date is not None:
        left_out["claims_reversed"] = int(reversed_.sum())
    used &= ~reversed_
    book_rows = JoinedColumns(joined.orders, joined.merchants, joined.merchant_row, kept, names_of=names)
    return _assemble(
        book_rows,
        factors,
        claim_row=claim_row[used],
        claim_amount=amount[used],
        claim_day=None if claim_day is None else claim_day[used],
        exposure=names.exposure,
        ship_day=None if ship_day is None else ship_day[kept],
        as_of=day,
        left_out=left_out,
        reversed_row=claim_row[reversed_],
        reversed_report_day=undone[:0] if claim_day is None else claim_day[reversed_],
        reversed_day=undone[reversed_],
        lines=lines,
        order_row=None if len(kept) == joined.n_rows else kept,
        table_rows=joined.n_rows,
        clock=clock,
    )


def check_book(book: Any) -> None:
    """Raise unless `book` is an order book."""
    if not isinstance(book, OrderBook):
        raise InputError(
            f"book is a {type(book).__name__}; it must be an OrderBook. Build one with OrderBook.from_frames(orders, "
            "claims, factors=...), for new orders with factors=list(book.codings.values()) of the book that was fitted."
        )


def _with_orders(book: OrderBook) -> OrderBook:
    warn_of_alike(book.codings.values())
    if not book.n_orders:
        why = "".join(f"; {count:,} {text}" for name, text in OUT.items() if (count := book.left_out.get(name, 0)))
        when = "" if book.as_of is None else f" on {book.as_of}"
        raise InputError(
            f"orders: no order is in force{when}; a book needs at least one shipped order{why}. Check as_of and the "
            "dates of shipment."
        )
    return book


def join(
    orders: Any,
    merchants: Any,
    wanted: Sequence[str],
    *,
    names: ColumnNames,
    also: Sequence[str | None],
    argument: str = "orders",
    threads: int | None = None,
    may_be_missing: Collection[str] = (),
    clock: str = DEFAULT_CLOCK,
) -> JoinedColumns:
    """Return the wanted columns of orders and merchants as one, each order beside its merchant.

    An order whose merchant is not among the merchants is refused unless all columns read of merchants `may_be_missing`.
    """
    threads = _check.threads(threads)
    needed = [names.of_role(name) for name in (*also, *wanted) if name is not None]
    limit = [*needed, names.order_id, names.merchant_id, *SOUND_COLUMNS]
    how: dict[str, Any] = {"clock": clock, "date_format": names.date_format}
    left = read(orders, limit, argument=argument, key=names.order_id, **how)
    if merchants is None:
        _check.columns_present(needed, left.names, argument=argument)
        joined = JoinedColumns(left, threads=threads, names_of=names)
    else:
        right = read(merchants, limit, argument="merchants", key=names.merchant_id, **how)
        _check.columns_present([names.merchant_id], left.names, argument="orders")
        _check.columns_present([names.merchant_id], right.names, argument="merchants")
        _check.columns_present(needed, [*left.names, *right.names], argument="orders and merchants")
        rows = _merchant_rows(left, right, names.merchant_id)
        of_merchants = [name for name in needed if name not in left.names]
        _check_absent(left, rows, [name for name in of_merchants if name not in may_be_missing], names.merchant_id)
        joined = JoinedColumns(left, right, rows, threads=threads, names_of=names)
    for column, (low, high) in SOUND_COLUMNS.items():
        if column in joined.names and column not in wanted:
            values = joined.real(column)
            joined.refuse(
                np.isnan(values), f"column '{column}' is missing (NaN) in {{rows}}; every row needs a number.", column
            )
            joined.refuse(
                (values < low) | (values > high),
                f"column '{column}' is outside [{low:g}, {high:g}] in {{rows}}; correct or drop these rows.",
                column,
            )
    return joined


def _check_absent(orders: Table, rows: NDArray[np.int64], needed: Sequence[str], merchant_id: str) -> None:
    """Refuse orders without a row of merchants if a column needs it, and warn of them if none does."""
    absent = np.flatnonzero(rows < 0)
    if not len(absent):
        return
    where = orders.rows_text(absent, merchant_id)
    if needed:
        raise InputError(
            f"orders: '{merchant_id}' names no row of merchants in {where}; add these merchants, or declare the factor "
            f"of '{needed[0]}' with missing='level'."
        )
    _check.warn(
        f"orders: '{merchant_id}' names no row of merchants in {where}; their columns of merchants are missing."
    )


def _outside(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray((values < SMALLEST) | (values > LARGEST))


def columns_with_missing(factors: Sequence[Declaration | Coding]) -> set[str]:
    """Return the columns of factors that have a level for missing values."""
    declared = [factor.declared if isinstance(factor, Coding) else factor for factor in factors]
    strict = {column for factor in declared if factor.missing == "error" for column in factor.columns}
    return {column for factor in declared for column in factor.columns} - strict


def columns_of(factors: Any) -> list[str]:
    """Return the columns that some declarations read."""
    declared = (Factor, Band, Hierarchy, Coding)
    if isinstance(factors, declared) or not all(
        isinstance(factor, declared) for factor in _check.items(factors, argument="factors")
    ):
        raise InputError(f"factors is {repr_of(factors)}; it must be a list of Factor, Band, Hierarchy or Coding.")
    return [name for factor in factors for name in factor.columns]


def _merchant_rows(orders: Table, merchants: Table, merchant_id: str) -> NDArray[np.int64]:
    """Return the row of each order's merchant, -1 where there is none."""
    return rows_of_ids(orders.ids(merchant_id), unique_ids(merchants, merchant_id))


def unique_ids(table: Table, column: str) -> Any:
    """Return the ids of a table as a pandas index, refusing those that are missing or stand there twice."""
    import pandas as pd

    keys = pd.Index(table.ids(column))
    for bad, fault in ((keys.isna(), "is missing"), (keys.duplicated(), "repeats an earlier row")):
        where = np.flatnonzero(bad)
        if len(where):
            cure = "every row needs one" if fault == "is missing" else "keep one row for each"
            spelled = "" if fault == "is missing" else _spellings_text(table, column, keys, int(where[0]))
            raise InputError(
                f"{table.argument}: '{column}' {fault} in {table.rows_text(where, column)}{spelled}; {cure}."
            )
    return keys


def _spellings_text(table: Table, column: str, keys: Any, row: int) -> str:
    """Return how two rows spell the same id, if they do so in two ways."""
    first = int(np.flatnonzero(keys == keys[row])[0])
    one, other = table.value(column, first), table.value(column, row)
    return f" (spelled {repr_of(one)} and {repr_of(other)})" if repr_of(one) != repr_of(other) else ""


def rows_of_ids(ids: NDArray[Any], keys: Any) -> NDArray[np.int64]:
    """Return the place of each id in an index, -1 where it is not there."""
    import pandas as pd

    target = pd.Index(ids)
    if target.dtype != keys.dtype:
        target, keys = target.astype(object), keys.astype(object)
    return np.asarray(keys.get_indexer(target), dtype=np.int64)


def _in_force(
    joined: JoinedColumns, names: ColumnNames, as_of: np.datetime64 | None
) -> tuple[NDArray[np.int64], NDArray[np.datetime64] | None, dict[str, int]]:
    """Return the rows in force at the valuation date, the shipment days and what was left out."""
    if names.ship_date is None:
        if as_of is not None:
            raise InputError("as_of needs the day of shipment; name its column with ship_date=.")
        return np.arange(joined.n_rows), None, {}
    day = joined.days(names.ship_date)
    shipped = ~np.isnat(day)
    known = shipped if as_of is None else shipped & (day <= as_of)
    counts = {"not_shipped": int((~shipped).sum()), "shipped_after_as_of": int((shipped & ~known).sum())}
    return np.flatnonzero(known), day, counts


def _read_claims(
    claims: Any, joined: JoinedColumns, names: ColumnNames, ship_day: NDArray[np.datetime64] | None, *, checked: bool
) -> tuple[NDArray[np.int64], NDArray[np.datetime64] | None, NDArray[np.float64], NDArray[np.datetime64]]:
    """Return the order row, the report day, the freight and the day of reversal of every claim."""
    if names.reversed_date is not None and names.report_date is None:
        raise InputError("reversed_date needs the day of the report; name its column with report_date=.")
    wanted = [name for name in (names.order_id, *names.of_claims) if name is not None]
    asked = [*wanted, *([] if names.claim_id is None else [names.claim_id])]
    table = read(
        claims, asked, argument="claims", key=names.order_id, clock=joined.orders.clock, date_format=names.date_format
    )
    _check.columns_present(wanted, table.names, argument="claims")
    keys = unique_ids(joined.orders, names.order_id)
    ids = table.ids(names.order_id)
    rows = rows_of_ids(ids, keys)
    if (rows < 0).any():
        raise InputError(
            f"claims: '{names.order_id}' names no order in {table.rows_text(np.flatnonzero(rows < 0), names.order_id)}"
            f"{_types_apart(keys, ids)}; add the orders or drop these claims."
        )
    amount = table.real(names.freight)
    table.refuse(np.isnan(amount), f"column '{names.freight}' is missing (NaN) in {{rows}}; every claim needs one.")
    table.refuse(
        _outside(amount),
        f"column '{names.freight}' is outside {BOUNDS} in {{rows}}; correct or drop these claims.",
        names.freight,
    )
    if not checked:
        check_claims(table, rows, order_id=names.order_id, claim_id=names.claim_id, read=names.of_claims)
    undone = np.full(len(rows), np.datetime64("NaT", "D"), dtype="datetime64[D]")
    shipped = None if ship_day is None else ship_day[rows]
    if names.report_date is None:
        if shipped is not None:
            table.refuse(
                np.isnat(shipped),
                f"claims: the order was never shipped (no '{names.ship_date}') in {{rows}}; correct the orders or drop "
                "these claims.",
            )
        return rows, None, amount, undone
    day = table.days(names.report_date)
    table.refuse(np.isnat(day), f"claims: '{names.report_date}' is missing in {{rows}}; every claim needs its date.")
    if shipped is not None:
        table.refuse(
            ~(day >= shipped),
            f"claims: '{names.report_date}' is before the order's '{names.ship_date}' (or the order was never shipped) "
            "in {rows}; correct the dates or drop these claims.",
            names.report_date,
        )
    if names.reversed_date is not None:
        undone = table.days(names.reversed_date)
        table.refuse(
            undone < day,
            f"claims: '{names.reversed_date}' is before '{names.report_date}' in {{rows}}; correct the dates.",
            names.reversed_date,
        )  # fmt: skip
    return rows, day, amount, undone


def _types_apart(keys: Any, ids: NDArray[Any]) -> str:
    """Return a note that ids of orders and claims are of two types, if none of them meet for that."""
    whole = [values.dtype.kind == "i" for values in (np.asarray(keys), ids)]
    if whole[0] == whole[1] or not len(keys):
        return ""
    return f" (ids of orders are {'numbers' if whole[0] else 'texts'}, such as {repr_of(keys[0])})"


def _assemble(
    joined: JoinedColumns,
    factors: Sequence[Declaration | Coding],
    *,
    claim_row: NDArray[np.int64],
    claim_amount: NDArray[np.float64],
    exposure: str | None,
    claim_weight: NDArray[np.float64] | None = None,
    claim_count: NDArray[np.float64] | None = None,
    lines: str | None = None,
    **rest: Any,
) -> OrderBook:
    repeated = [name for name in (factor.name for factor in factors) if [f.name for f in factors].count(name) > 1]
    if repeated:
        raise InputError(f"factors: the name '{repeated[0]}' is used twice; give each factor its own name.")
    weight = None if exposure is None else joined.real(exposure)
    if weight is not None:
        joined.refuse(np.isnan(weight), f"column '{exposure}' is missing (NaN) in {{rows}}; every row needs a number.")
        joined.refuse(
            _outside(weight),
            f"column '{exposure}' is outside {BOUNDS} in {{rows}}; correct or drop these rows.",
            exposure,
        )
    counted = np.bincount(claim_row, minlength=joined.n_rows) if claim_count is None else claim_count
    largest = int(counted.max(initial=0))
    count = counted.astype(np.uint8 if largest < 2**8 else np.uint16 if largest < 2**16 else np.uint32)
    learned = {
        factor.name: (factor, factor.encode(joined))
        if isinstance(factor, Coding)
        else learn(factor, joined, exposure=weight, claim_count=count)
        for factor in factors
    }
    if lines is not None:
        kept = next((factor for factor in factors if factor.name == lines), None)
        learned[lines] = _coded_lines(joined, lines, kept, learned.get(lines))
    return OrderBook(
        codings={name: coding for name, (coding, _) in learned.items()},
        codes={name: codes for name, (_, codes) in learned.items()},
        counts=count,
        exposure=weight,
        claim_row=claim_row,
        claim_amount=claim_amount,
        claim_weight=claim_weight,
        lines=lines,
        **rest,
    )


def _coded_lines(
    joined: JoinedColumns,
    name: str,
    kept: Declaration | Coding | None,
    known: tuple[Coding, NDArray[Any]] | None,
) -> tuple[Coding, NDArray[Any]]:
    """Return the coding of the number of lines, a level for each number up to the largest, and every order's code."""
    if known is not None:
        if not isinstance(kept, Coding) or kept != line_coding(name, kept.n_levels):
            raise InputError(
                f"lines: '{name}' is the name of a factor too; to rate by the number of lines, give that factor "
                f"another name: Factor('size', column='{name}')."
            )
        return known
    counted = joined.real(name)
    joined.refuse(
        ~((counted >= 1.0) & (counted <= MOST_LINES) & (counted == np.floor(counted))),
        f"column '{name}' is no whole number from 1 to {MOST_LINES} in {{rows}}; it counts the lines of an order.",
        name,
    )
    coding = line_coding(name, int(counted.max()))
    return coding, (counted - 1.0).astype(code_type(coding.n_slots))
