"""Refunds: what goes back of premiums when orders are cancelled, by the rule of each order's programme."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._columns import ORDER_ID, SHIP_DATE, Table, kind, read
from freightrisk._frames import frame_like
from freightrisk.errors import InputError
from freightrisk.programme.programme import Programme
from freightrisk.programme.quoted import check_same_rows, whole_fen
from freightrisk.programme.quoted_versions import places_of
from freightrisk.programme.record import ALWAYS, BEFORE_SHIPMENT
from freightrisk.programme.version_pricing import VERSION
from freightrisk.programme.versions import Versions

LISTED, MERCHANT = "list_fen", "merchant_fen"


def refunds(
    priced_by: Programme | Versions,
    orders: Any,
    quotes: Any,
    *,
    cancelled: str = "cancelled_date",
    ship_date: str = SHIP_DATE,
    date_format: str | None = None,
) -> Any:
    """Return what goes back to each payer of an order's premium, in fen, because the order was cancelled.

    Parameters
    ----------
    priced_by : Programme or Versions
        That priced the orders. Of versions, each order's own decides (column `version` of the quotes).
    orders : pandas, polars or pyarrow table, or path of a Parquet file
        One row an order, with `cancelled`, the time of its cancellation or nothing, and `ship_date`, which is missing
        for goods that were not sent.
    quotes : like orders
        Their quotes, in the same rows.
    cancelled, ship_date : str
    date_format : str, optional
        How texts with times are written; ISO 8601 by default.

    Returns
    -------
    table of the kind of the quotes
        refunded (bool), list_fen, <payer>_fen for each payer, and merchant_fen: 0 where nothing goes back. The refund
        of the list price is the sum of the others.

    Raises
    ------
    InputError
        For missing columns, other numbers of rows, and quotes of unknown versions.

    Examples
    --------
    >>> import pandas as pd
    >>> from freightrisk import Cover
    >>> from freightrisk.events import EventCover
    >>> from freightrisk.programmes import Programme, refunds
    >>> freight = EventCover("freight", frequency=0.05, severity=9.0, cover=Cover(max_claims=None)).tariff()
    >>> programme = Programme("2024", freight)
    >>> orders = pd.DataFrame({"ship_date": ["2024-09-12", None], "cancelled_date": ["2024-09-14", "2024-09-13"]})
    >>> refunds(programme, orders, programme.price(orders))["list_fen"].tolist()
    [0, 45]
    """
    if not isinstance(priced_by, (Programme, Versions)):
        raise InputError(f"priced_by is a {type(priced_by).__name__}; give a Programme or Versions.")
    programmes = priced_by.programmes if isinstance(priced_by, Versions) else (priced_by,)
    asked = read(
        orders,
        [cancelled, ship_date, ORDER_ID],
        argument="orders",
        key=ORDER_ID,
        clock=priced_by.clock,
        date_format=date_format,
    )
    _check.columns_present([cancelled, ship_date], asked.names, argument="orders")
    money = [LISTED, *dict.fromkeys(f"{payer}_fen" for one in programmes for payer in one.payers), MERCHANT]
    by_version = [VERSION] if isinstance(priced_by, Versions) else []
    told = read(quotes, [*money, *by_version, ORDER_ID], argument="quotes", key=ORDER_ID)
    _check.columns_present([*money, *by_version], told.names, argument="quotes")
    if told.n_rows != asked.n_rows:
        raise InputError(f"quotes have {told.n_rows:,} rows and orders {asked.n_rows:,}; give those of one batch.")
    check_same_rows(asked, told, ORDER_ID)
    amounts = whole_fen(told, money)
    parts = sum((amounts[name] for name in money[1:]), np.zeros(told.n_rows, dtype=np.int64))
    told.refuse(parts != amounts[LISTED], "quotes: payers do not sum to list_fen in {rows}; give what price returned.")
    when, sent = asked.times(cancelled), asked.times(ship_date)
    undone = ~np.isnat(when)
    before = undone & (np.isnat(sent) | (when < sent))
    rule = _rules(priced_by, told)
    back = np.where(rule == ALWAYS, undone, np.where(rule == BEFORE_SHIPMENT, before, False))
    fen = {name: np.where(back, values, 0) for name, values in amounts.items()}
    return frame_like({"refunded": back, **fen}, kind(quotes), getattr(told.frame, "index", None))


def _rules(priced_by: Programme | Versions, told: Table) -> NDArray[Any]:
    """Return the refund rule of each quote; "" for orders that were not priced."""
    if isinstance(priced_by, Programme):
        return np.full(told.n_rows, priced_by.refund_rule, dtype=object)
    rules = [*(one.refund_rule for one in priced_by.programmes), ""]
    return np.array(rules, dtype=object)[places_of(priced_by, told)]
