"""Orders beside their merchants: rows found by id, the columns that factors read, and bounds that columns keep."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._columns import ColumnNames, JoinedColumns, Table, read
from freightrisk._intake import DEFAULT_CLOCK
from freightrisk._shown import repr_of
from freightrisk.book.codings import Coding
from freightrisk.book.factors import Band, Declaration, Factor, Hierarchy
from freightrisk.errors import InputError

SMALLEST, LARGEST = 1e-15, 1e18  # of amounts and exposures: sums and squares of what lies between them are finite


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
    limit = needed if merchants is None else [*needed, names.merchant_id]
    how: dict[str, Any] = {"clock": clock, "date_format": names.date_format}
    left = read(orders, limit, argument=argument, key=names.order_id, **how)
    if merchants is None:
        _check.columns_present(needed, left.names, argument=argument)
        return JoinedColumns(left, threads=threads, names_of=names)
    right = read(merchants, limit, argument="merchants", key=names.merchant_id, **how)
    _check.columns_present([names.merchant_id], left.names, argument="orders")
    _check.columns_present([names.merchant_id], right.names, argument="merchants")
    _check.columns_present(needed, [*left.names, *right.names], argument="orders and merchants")
    rows = _merchant_rows(left, right, names.merchant_id)
    of_merchants = [name for name in needed if name not in left.names]
    _check_absent(left, rows, [name for name in of_merchants if name not in may_be_missing], names.merchant_id)
    return JoinedColumns(left, right, rows, threads=threads, names_of=names)


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


def refuse_outside(
    table: Table | JoinedColumns, values: NDArray[np.float64], column: str, *, what: str = "rows"
) -> None:
    """Refuse amounts or exposures of a column that are missing, not above 0, or too large for sums and squares."""
    table.refuse(np.isnan(values), f"column '{column}' is missing (NaN) in {{rows}}; every one needs a number.", column)
    correct = f"correct or drop these {what}."
    low = f"column '{column}' must be above 0, and at least {SMALLEST:g}, but is not in {{rows}}; {correct}"
    table.refuse(values < SMALLEST, low, column)
    table.refuse(values > LARGEST, f"column '{column}' is above {LARGEST:g} in {{rows}}; {correct}", column)


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
