"""Claims of a book: their records beside the orders, reversed claims, and how both are read."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._columns import ColumnNames, JoinedColumns, Table, read
from freightrisk._shown import counted, repr_of
from freightrisk.book.doubts import check_claims
from freightrisk.book.joined import refuse_outside, rows_of_ids, unique_ids
from freightrisk.errors import InputError

Days = NDArray[np.datetime64]
DAY = "datetime64[D]"
OPTIONAL = ("claim_weight", "claim_day")


@dataclass(frozen=True, eq=False, repr=False)
class ClaimRecords:
    """Claims of a book, or records of several claims each.

    Parameters
    ----------
    row : int64 array, shape (n_claims,)
        Order of each claim.
    amount : float64 array, shape (n_claims,)
        Ground-up return freight of each claim, yuan.
    weight : float64 array, optional
        Claims behind each amount, where the amount is a mean; None means one each.
    day : datetime64[D] array, optional
        Day on which each claim was reported.
    """

    row: NDArray[np.int64]
    amount: NDArray[np.float64]
    weight: NDArray[np.float64] | None = None
    day: Days | None = None

    def __post_init__(self) -> None:
        kinds = {"row": "int64", "amount": "float64", "weight": "float64", "day": DAY}
        seal({f"claim_{name}": (getattr(self, name), (kind,)) for name, kind in kinds.items()}, lacking=OPTIONAL)

    def __repr__(self) -> str:
        optional = [name for name in ("weight", "day") if getattr(self, name) is not None]
        return f"ClaimRecords: {counted(len(self.row), 'record')}{' with ' if optional else ''}{' and '.join(optional)}"

    def taken(self, which: NDArray[Any], place: NDArray[np.int64] | None = None) -> "ClaimRecords":
        """Return some of the claims; if `place` is given, it holds the new row of each order."""
        return ClaimRecords(
            _moved(self.row[which], place), self.amount[which], taken(self.weight, which), taken(self.day, which)
        )


@dataclass(frozen=True, eq=False, repr=False)
class Reversals:
    """Claims that were reported and reversed by the valuation date; they count as no claims.

    Parameters
    ----------
    row : int64 array, shape (n_reversed,)
        Order of each reversed claim.
    report_day, day : datetime64[D] arrays, shape (n_reversed,)
        Days on which these claims were reported and reversed.
    """

    row: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    report_day: Days = field(default_factory=lambda: np.empty(0, dtype="datetime64[D]"))
    day: Days = field(default_factory=lambda: np.empty(0, dtype="datetime64[D]"))

    def __post_init__(self) -> None:
        kinds = {"row": "int64", "report_day": DAY, "day": DAY}
        seal({f"reversed_{name}": (getattr(self, name), (kind,)) for name, kind in kinds.items()})

    def __repr__(self) -> str:
        return f"Reversals: {counted(len(self.row), 'reversed claim')}"

    def taken(self, which: NDArray[Any], place: NDArray[np.int64]) -> "Reversals":
        """Return some of the reversed claims; `place` holds the new row of each order."""
        return Reversals(_moved(self.row[which], place), self.report_day[which], self.day[which])


def seal(columns: Mapping[str, tuple[Any, tuple[str, ...]]], *, lacking: Collection[str] = ()) -> None:
    """Refuse columns that are not arrays of their types and of the first one's length, and make them read-only.

    Parameters
    ----------
    columns : dict of name to (array or None, types)
        The types that the array may have.
    lacking : collection of names
        Columns that may be None.
    """
    first, *_ = columns
    shape = np.shape(columns[first][0])
    for name, (array, kinds) in columns.items():
        if array is None and name in lacking:
            continue
        if not isinstance(array, np.ndarray) or not any(array.dtype == np.dtype(kind) for kind in kinds):
            found = f"of type {array.dtype}" if isinstance(array, np.ndarray) else repr_of(array)
            raise InputError(f"{name} is {found}; it must be an array of type {' or '.join(kinds)}.")
        if array.shape != shape or len(shape) != 1:
            raise InputError(f"{name} has shape {np.shape(array)}; {first} is a column of shape {shape}.")
    for array, _ in columns.values():
        if array is not None:
            array.flags.writeable = False


def taken(values: NDArray[Any] | None, which: NDArray[Any]) -> NDArray[Any] | None:
    """Return some of the values of a column that a book may lack."""
    return None if values is None else values[which]


def _moved(row: NDArray[np.int64], place: NDArray[np.int64] | None) -> NDArray[np.int64]:
    return row if place is None else place[row].astype(np.int64)


def read_claims(
    claims: Any, joined: JoinedColumns, names: ColumnNames, ship_day: Days | None, *, checked: bool
) -> tuple[NDArray[np.int64], Days | None, NDArray[np.float64], Days]:
    """Return the order row, the report day, the freight and the day of reversal of every claim."""
    if names.reversed_date is not None and names.report_date is None:
        raise InputError("reversed_date needs the day of the report; name its column with report_date=.")
    wanted = [name for name in (names.order_id, *names.of_claims) if name is not None]
    asked = [*wanted, *([] if names.claim_id is None else [names.claim_id])]
    table = read(
        claims, asked, argument="claims", key=names.order_id, clock=joined.orders.clock, date_format=names.date_format
    )
    _check.columns_present(wanted, table.names, argument="claims")
    rows = _order_rows(table, joined.orders, names.order_id)
    amount = table.real(names.freight)
    refuse_outside(table, amount, names.freight, what="claims")
    if not checked:
        check_claims(table, rows, order_id=names.order_id, claim_id=names.claim_id, read=names.of_claims)
    day, undone = _days(table, names, None if ship_day is None else ship_day[rows])
    return rows, day, amount, undone


def _order_rows(table: Table, orders: Table, order_id: str) -> NDArray[np.int64]:
    """Return the row of each claim's order, refusing claims that have none."""
    keys = unique_ids(orders, order_id)
    ids = table.ids(order_id)
    rows = rows_of_ids(ids, keys)
    if (rows < 0).any():
        raise InputError(
            f"claims: '{order_id}' names no order in {table.rows_text(np.flatnonzero(rows < 0), order_id)}"
            f"{_types_apart(keys, ids)}; add the orders or drop these claims."
        )
    return rows


def _days(table: Table, names: ColumnNames, shipped: Days | None) -> tuple[Days | None, Days]:
    """Return the day of report and the day of reversal of each claim, given the day of shipment of its order."""
    undone = np.full(table.n_rows, np.datetime64("NaT", "D"), dtype="datetime64[D]")
    if names.report_date is None:
        if shipped is not None:
            table.refuse(
                np.isnat(shipped),
                f"claims: the order was never shipped (no '{names.ship_date}') in {{rows}}; correct the orders or drop "
                "these claims.",
            )
        return None, undone
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
    return day, undone


def _types_apart(keys: Any, ids: NDArray[Any]) -> str:
    """Return a note that ids of orders and claims are of two types, if none of them meet for that."""
    whole = [values.dtype.kind == "i" for values in (np.asarray(keys), ids)]
    if whole[0] == whole[1] or not len(keys):
        return ""
    return f" (ids of orders are {'numbers' if whole[0] else 'texts'}, such as {repr_of(keys[0])})"
