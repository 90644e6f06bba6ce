"""Columns of tables as ids, levels, numbers and times: their names, and the columns of orders with their merchants."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check, _vectors
from freightrisk._forms import Raw, of_arrow, of_series, rows_of
from freightrisk._frames import described, is_from, table_of
from freightrisk._intake import DEFAULT_CLOCK, MISSING_TIME, Level, Refused, check_date_format
from freightrisk._shown import repr_of
from freightrisk._vectors import NEAR
from freightrisk.errors import FreightRiskError, InputError

Read = TypeVar("Read")

ORDER_ID, MERCHANT_ID, SHIP_DATE = "order_id", "merchant_id", "ship_date"
LOOKED_AT = 1_000  # number of ids that are checked for signs of floats
FLOAT = re.compile(r"-?[0-9]+\.0")
ROLES = (ORDER_ID, MERCHANT_ID, SHIP_DATE)


class PricingColumns(TypedDict, total=False):
    """Names of columns that pricing takes as keyword arguments, with the meaning of `ColumnNames`."""

    order_id: str
    merchant_id: str
    ship_date: str
    priority: str | None
    date_format: str | None


@dataclass(frozen=True, kw_only=True)
class ColumnNames:
    """Names of the columns that are not factors, and the format of dates written as text.

    Parameters
    ----------
    order_id, merchant_id : str
    ship_date : str or None
        Time of shipment; None if a book has no such column.
    priority : str, optional
        Number that decides the sequence in which budgets serve orders, highest first.
    date_format : str, optional
        Format of dates written as text, as for `datetime.strptime`; ISO 8601 by default.
    exposure, freight, report_date, reversed_date, claim_id
        As for `OrderBook.from_frames`.

    Notes
    -----
    A tariff uses the names order_id, merchant_id and ship_date for these columns, whatever their names in a table are.
    """

    order_id: str = ORDER_ID
    merchant_id: str = MERCHANT_ID
    ship_date: str | None = SHIP_DATE
    priority: str | None = None
    date_format: str | None = None
    exposure: str | None = None
    freight: str = "freight"
    report_date: str | None = "report_date"
    reversed_date: str | None = None
    claim_id: str | None = "claim_id"

    def __post_init__(self) -> None:
        for name in (one.name for one in fields(self)):
            value = getattr(self, name)
            if name == "date_format" and value is not None:
                check_date_format(value)
            elif value is not None or name in ("order_id", "merchant_id", "freight"):
                _check.label(value, argument=name)

    @classmethod
    def of(cls, given: PricingColumns) -> "ColumnNames":
        """Return the column names that a call gave as keyword arguments."""
        odd = sorted(set(given) - set(PricingColumns.__annotations__))
        if odd:
            known = ", ".join(PricingColumns.__annotations__)
            raise TypeError(f"unexpected keyword argument '{odd[0]}'; columns are named by {known}")
        return cls(**given)

    @property
    def of_claims(self) -> list[str | None]:
        """Return the columns of a claim besides its ids: freight, report date and date of reversal."""
        return [self.freight, self.report_date, self.reversed_date]

    @cached_property
    def renamed(self) -> dict[str, str]:
        """Return the names in the tables of the columns whose names in a tariff differ, by the tariff's names."""
        return {name: self.of_role(name) for name in ROLES if self.of_role(name) != name}

    def of_role(self, name: str) -> str:
        """Return the name in the tables of the column that a tariff calls `name`."""
        return (getattr(self, name) or name) if name in ROLES else name


@dataclass(frozen=True, eq=False, slots=True)
class Table:
    """The columns of one pandas or pyarrow table, for all or some of its rows.

    Parameters
    ----------
    frame : pandas.DataFrame or pyarrow.Table
        The caller's table with all of its rows.
    argument : str
        The caller's name of the table, for messages.
    names : list of str
    n_rows : int
    key : str
        Column that names a row in messages, if the table has it.
    clock : str
        Time zone of naive times.
    date_format : str, optional
    places : int64 array, shape (n_rows,), optional
        The rows of the frame; all by default.
    """

    frame: Any
    argument: str
    names: list[str]
    n_rows: int
    key: str = ""
    clock: str = DEFAULT_CLOCK
    date_format: str | None = None
    places: NDArray[np.int64] | None = None

    def take(self, rows: NDArray[np.int64] | None) -> "Table":
        """Return some rows; messages still name the rows of the caller's table."""
        return self if rows is None else replace(self, n_rows=len(rows), places=rows)

    def refuse_twice(self, name: str) -> None:
        """Raise if the table has two columns of a name."""
        if self.names.count(name) > 1:
            raise InputError(f"{self.argument}: column '{name}' stands there twice; drop or rename one.")

    def raw(self, name: str) -> Raw:
        """Return a column in one of the forms that `_vectors` reads."""
        self.refuse_twice(name)
        arrow, frame = hasattr(self.frame, "column_names"), self.frame
        place = (frame.column_names if arrow else self.names).index(name)
        found = of_arrow(frame.column(place)) if arrow else of_series(frame.iloc[:, place])
        return found if self.places is None else rows_of(found, self.places)

    def _as(self, name: str, read: Callable[[Raw], Read]) -> Read:
        try:
            return read(self.raw(name))
        except Refused as refused:
            bad = np.ones(self.n_rows, dtype=bool) if refused.bad is None else refused.bad
            where = self.rows_text(np.flatnonzero(bad), name)
            message = f"{self.argument}: column '{name}' {refused.fault} in {where}; {refused.cure}."
            raise InputError(message) from None
        except Exception as error:  # from pyarrow and pandas, for example for texts that are not UTF-8
            if isinstance(error, (FreightRiskError, MemoryError)):
                raise
            raise InputError(
                f"{self.argument}: column '{name}' cannot be read: {error}; correct its encoding or its type."
            ) from None

    def real(self, name: str) -> NDArray[np.float64]:
        """Return the column as finite float64, NaN if missing."""
        return self._as(name, _vectors.numbers)

    def levels(self, name: str) -> tuple[NDArray[Any], list[Level]]:
        """Return integer codes (-1 if missing) and the levels that they name, some of which may not occur."""
        return self._as(name, _vectors.levels)

    def times(self, name: str) -> NDArray[np.datetime64]:
        """Return the column as times of the clock in microseconds, NaT if missing."""
        return self._as(name, lambda raw: _vectors.times(raw, self.clock, self.date_format))

    def days(self, name: str) -> NDArray[np.datetime64]:
        """Return the column as days of the clock, NaT if missing."""
        return self.times(name).astype("datetime64[D]")

    def ids(self, name: str) -> NDArray[Any]:
        """Return the column as ids: int64 if each is a whole number, otherwise objects, None if missing."""
        found: NDArray[Any] = self._as(name, _vectors.ids)
        self._warn_of_floats(name, found)
        return found

    def _warn_of_floats(self, name: str, ids: NDArray[Any]) -> None:
        """Warn of ids such as '17850.0': whole numbers that were floats when they were written to a text file."""
        first = ids[:LOOKED_AT].tolist() if ids.dtype == object else []
        texts = [one for one in first if isinstance(one, str)]
        if texts and len(texts) == len([one for one in first if one is not None]) and all(map(FLOAT.fullmatch, texts)):
            _check.warn(
                f"{self.argument}: ids in column '{name}' are texts such as {repr_of(texts[0])}, which is another id "
                f"than {texts[0].removesuffix('.0')}; "
                "they look like whole numbers that were floats when they were written."
            )

    def id_codes(self, name: str, near: int = NEAR) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return integer codes (-1 if missing) and the ids that they name, some of which may not occur."""
        codes, values = self._as(name, lambda raw: _vectors.id_codes(raw, near))
        self._warn_of_floats(name, values)
        return codes, values

    def rows_text(self, rows: NDArray[np.int64], name: str | None = None) -> str:
        """Return "2 rows (first: 4, 8), such as 'x' of order_id 17": some rows, and the first row's value in a column.

        Parameters
        ----------
        rows : int64 array
            Positions in the table. For a pandas frame, the text shows the labels of its index instead.
        name : str, optional
            The column.
        """
        index = getattr(self.frame, "index", None)
        shown = rows[: _check.SHOWN_ROWS].tolist()
        places = shown if self.places is None else self.places[shown].tolist()
        labels = places if index is None else [index[row] for row in places]
        text = f"{len(rows):,} row{'s' if len(rows) != 1 else ''} (first: {', '.join(map(str, labels))})"
        if name is not None and name in self.names and len(rows):
            text += f", such as {_shown(self.value(name, shown[0]))}"
        if self.key in self.names and self.key != name and len(rows):
            text += f" of {self.key} {_shown(self.value(self.key, shown[0]))}"
        return text

    def refuse(self, bad: NDArray[np.bool_], message: str, column: str | None = None) -> None:
        """Raise `message` if any element of `bad` is true, with "{rows}" replaced by `rows_text`."""
        where = np.flatnonzero(bad)
        if len(where):
            raise InputError(message.replace("{rows}", self.rows_text(where, column)))

    def value(self, name: str, row: int) -> Any:
        """Return one value of the table without conversion."""
        row = row if self.places is None else int(self.places[row])
        if hasattr(self.frame, "column_names"):
            found = self.frame.column(self.frame.column_names.index(name))[row]
            narrow = {"float": np.float32, "halffloat": np.float16}.get(str(found.type))
            try:
                plain = found.as_py()
            except (OverflowError, ValueError):  # a time outside Python's years, or with a part of a microsecond
                return found.cast("string").as_py()
            return plain if narrow is None or plain is None else narrow(plain)
        return self.frame.iloc[row, self.names.index(name)]


@dataclass(frozen=True, eq=False, slots=True)
class JoinedColumns:
    """The columns of orders joined with the columns of their merchants, for all or some rows of the orders.

    Parameters
    ----------
    orders, merchants : Table
    merchant_row : int64 array, shape (rows of orders,), optional
        Row of each order's merchant. It is -1 if the merchant is absent; the merchant's columns are then missing.
    rows : int64 array, optional
        Rows of the orders to return; all rows by default.
    threads : int
        Number of threads that may turn columns into codes.
    names_of : ColumnNames
        Names in the tables of the columns that a tariff knows by their roles.
    third, third_row : Table and int64 array, shape (rows of orders,), optional
        A third table for the columns that the others lack, such as merchants beside claims and their orders, and the
        row of it for each row of the first table; -1 as for merchant_row.
    """

    orders: Table
    merchants: Table | None = None
    merchant_row: NDArray[np.int64] | None = None
    rows: NDArray[np.int64] | None = None
    threads: int = 1
    names_of: ColumnNames = field(default_factory=ColumnNames)
    third: Table | None = None
    third_row: NDArray[np.int64] | None = None
    _seen: dict[tuple[Any, ...], Any] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Return the names of all columns, first of the orders, then of the merchants and of the third table."""
        return [name for table in (self.orders, self.merchants, self.third) if table for name in table.names]

    @property
    def n_rows(self) -> int:
        """Return the number of rows of the orders that are returned."""
        return self.orders.n_rows if self.rows is None else len(self.rows)

    def _home(self, name: str) -> Table:
        if self.third is not None and name not in (
            *self.orders.names,
            *(self.merchants.names if self.merchants else ()),
        ):
            return self.third
        return self.orders if name in self.orders.names or self.merchants is None else self.merchants

    def _spread(self, values: NDArray[Any], name: str, missing: Any) -> NDArray[Any]:
        home = self._home(name)
        row = None if home is self.orders else self.third_row if home is self.third else self.merchant_row
        if row is not None:
            absent = row < 0  # row -1 then picks the last element, where `missing` is appended
            if absent.any() or not len(values):
                table = np.append(values, np.array([missing], dtype=values.dtype if missing is not None else object))
                values = table[row]
            else:
                values = values[row]
        return values if self.rows is None else values[self.rows]

    def _read(self, kind: str, name: str, read: Callable[[Table, str], Read]) -> Read:
        """Return a column by one kind; it is converted only once."""
        name = self.names_of.of_role(name)
        if (kind, name) not in self._seen:
            self._seen[kind, name] = read(self._home(name), name)
        found: Read = self._seen[kind, name]
        return found

    def real(self, name: str) -> NDArray[np.float64]:
        """Return the column as finite float64, NaN if missing."""
        return self._read("real", name, lambda home, own: self._spread(home.real(own), own, np.nan))

    def levels(self, name: str) -> tuple[NDArray[Any], list[Level]]:
        """Return integer codes (-1 if missing) and the levels that they name, some of which may not occur."""

        def read(home: Table, own: str) -> tuple[NDArray[Any], list[Level]]:
            codes, values = home.levels(own)
            return self._spread(_signed(codes), own, -1), values

        return self._read("levels", name, read)

    def times(self, name: str) -> NDArray[np.datetime64]:
        """Return the column as times of the clock in microseconds, NaT if missing."""
        missing = MISSING_TIME
        return self._read("times", name, lambda home, own: self._spread(home.times(own), own, missing))

    def days(self, name: str) -> NDArray[np.datetime64]:
        """Return the column as days of the clock, NaT if missing."""
        return self.times(name).astype("datetime64[D]")

    def ids(self, name: str) -> NDArray[Any]:
        """Return the column as ids: int64 if each is a whole number, otherwise objects, None if missing."""
        return self._read("ids", name, lambda home, own: self._spread(home.ids(own), own, None))

    def id_codes(self, name: str, near: int = NEAR) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return integer codes (-1 if missing) and the ids that they name, some of which may not occur."""

        def read(home: Table, own: str) -> tuple[NDArray[Any], NDArray[Any]]:
            codes, values = home.id_codes(own, near)
            return self._spread(_signed(codes), own, -1), values

        return self._read(f"id codes {near}", name, read)

    def refuse(self, bad: NDArray[np.bool_], message: str, column: str | None = None) -> None:
        """Raise `message` if any element of `bad` is true, with "{rows}" replaced by `Table.rows_text`."""
        where = np.flatnonzero(bad)
        if not len(where):
            return
        name = None if column is None else self.names_of.of_role(column)
        rows = where if self.rows is None else self.rows[where]
        raise InputError(message.replace("{rows}", self.orders.rows_text(rows, name)))


def read(
    frame: Any,
    wanted: Sequence[str] | None,
    *,
    argument: str,
    key: str = "",
    clock: str = DEFAULT_CLOCK,
    date_format: str | None = None,
) -> Table:
    """Return the columns of a frame or Parquet file; from a file, only `wanted` columns and the `key` are read."""
    if date_format is not None:
        check_date_format(date_format)
    table, names = table_of(frame, wanted, argument, key)
    return Table(table, argument, names, len(table), key, clock, date_format)


def one_order(order: Any, names: ColumnNames) -> Mapping[str, Any]:
    """Return one order, given as a mapping or a row of a pandas frame, under the tariff's names of columns."""
    if isinstance(order, tuple) and hasattr(order, "_asdict"):  # a row of itertuples
        order = order._asdict()
    if type(order) is not dict and not isinstance(order, Mapping):
        if not (is_from(order, "pandas") and getattr(order, "ndim", 0) == 1 and hasattr(order, "index")):
            raise InputError(
                f"order is {described(order)}; give a mapping of column and value, such as {{'channel': 'search'}}, "
                "or one row of a pandas frame, such as orders.iloc[0]."
            )
        if not order.index.is_unique:
            raise InputError("order has two values of one column; drop or rename one.")
        values = order.array  # to_dict of pandas would turn a float32 of 4.8 into 4.800000190734863
        order = {str(name): values[k] for k, name in enumerate(order.index)}
    if type(order) is not dict:
        order = {str(name): value for name, value in order.items()}
    if not names.renamed:
        return order  # type: ignore[no-any-return]
    given = {name: order[own] for name, own in names.renamed.items() if own in order}
    return {name: value for name, value in order.items() if name not in names.renamed} | given


def value_of(order: Mapping[str, Any], name: str, read: Callable[[Any], Any]) -> Any:
    """Return the converted value of an order; a refusal has the same words as for a whole column."""
    value = order.get(name)
    try:
        return read(value)
    except Refused as refused:
        raise InputError(f"order: '{name}' is {_shown(value)}, which {refused.fault}; {refused.cure}.") from None


def plain_array(values: Any) -> NDArray[Any]:
    """Return one value for each row as an array; whole numbers with gaps stay objects, because floats round."""
    import pandas as pd

    if isinstance(getattr(values, "dtype", None), pd.api.extensions.ExtensionDtype):
        return np.asarray(values.to_numpy(dtype=object) if pd.isna(values).any() else values)
    missing = getattr(values, "null_count", 0)  # of pyarrow; polars has a method
    if missing() if callable(missing) else missing:
        return np.array([*(values.to_list() if callable(missing) else values.to_pylist()), None], dtype=object)[:-1]
    return np.asarray(values)


def id_array(values: Any, *, argument: str) -> NDArray[Any]:
    """Return an array of ids in the form of `Table.ids`, given one id for each row."""
    return _one_column(values, argument, "id").ids(argument)


def day_array(values: Any, *, argument: str, clock: str) -> NDArray[np.datetime64]:
    """Return an array of days of the clock, NaT if missing, given one time for each row."""
    return replace(_one_column(values, argument, "date"), clock=clock).days(argument)


def _one_column(values: Any, argument: str, what: str) -> Table:
    import pandas as pd

    try:
        column = values if isinstance(values, pd.Series) else pd.Series(np.asarray(values))
    except Exception:  # values may be of any class, and their errors too
        raise InputError(f"{argument} is {repr_of(values)}; give one {what} for each row, shape (n_rows,).") from None
    return Table(column.reset_index(drop=True).to_frame(argument), argument, [argument], len(column))


def kind(frame: Any) -> str:
    """Return "polars", "arrow" or "pandas": the kind of frame in which to return results for this frame."""
    if is_from(frame, "polars"):
        return "polars"
    return "arrow" if is_from(frame, "pyarrow") else "pandas"


def _signed(codes: NDArray[Any]) -> NDArray[Any]:
    """Return codes in a type that can hold -1."""
    return codes if codes.dtype.kind == "i" else codes.astype(np.int64)


def _shown(value: Any) -> str:
    text = repr_of(value.item() if isinstance(value, np.generic) and not isinstance(value, np.datetime64) else value)
    return text if len(text) <= 60 else text[:57] + "..."
