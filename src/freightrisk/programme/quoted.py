"""Quotes that come back: whether their rows are those of the orders, and their columns of fen."""

import numpy as np
from numpy.typing import NDArray

from freightrisk._columns import Table
from freightrisk.errors import InputError

Fen = dict[str, NDArray[np.int64]]


def whole_fen(told: Table, names: list[str], unit: str = "fen") -> Fen:
    """Return columns of fen as whole numbers; floats hold them exactly below 2**53."""
    floats = {name: told.real(name) for name in names}
    for name, values in floats.items():
        told.refuse(
            ~((np.abs(values) < 2.0**53) & (values == np.floor(values))),
            f"quotes: '{name}' is no whole number of {unit} in {{rows}}; give what price returned.",
            name,
        )
    return {name: values.astype(np.int64) for name, values in floats.items()}


def check_same_rows(orders: Table, quotes: Table, order_id: str) -> None:
    """Raise where numbers of rows, ids of orders, or indexes of two pandas frames say that rows are not the same."""
    if quotes.n_rows != orders.n_rows:
        raise InputError(f"quotes have {quotes.n_rows:,} rows and orders {orders.n_rows:,}; give those of one batch.")
    if order_id in orders.names and order_id in quotes.names:
        apart = np.asarray(orders.ids(order_id) != quotes.ids(order_id), dtype=bool)
        quotes.refuse(
            apart if apart.shape else np.full(quotes.n_rows, apart),
            f"quotes: '{order_id}' is another than that of the orders in {{rows}}, so the rows are not the same; give "
            "quotes in the order of the orders.",
            order_id,
        )
    mine, theirs = (getattr(table.frame, "index", None) for table in (orders, quotes))
    if mine is None or theirs is None or mine.equals(theirs):
        return
    place = next((k for k, (one, other) in enumerate(zip(mine, theirs, strict=True)) if str(one) != str(other)), 0)
    raise InputError(
        f"quotes and orders have different indexes (first at row {place}: {theirs[place]} and {mine[place]}), so "
        "their rows are not the same. Give quotes.loc[orders.index], or reset both indexes if the rows do correspond."
    )
