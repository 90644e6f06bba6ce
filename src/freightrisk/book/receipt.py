"""Books whose ages count from receipt: orders that have arrived, with the day of arrival in place of shipment."""

from dataclasses import replace
from typing import Any

import numpy as np

from freightrisk._shown import counted
from freightrisk.book.claims import Days, Reversals
from freightrisk.errors import InputError


def known_receipts(received: Days, ship_day: Days | None, as_of: np.datetime64 | None) -> Any:
    """Return which orders have been received by the valuation date, given the day of each order's receipt."""
    if ship_day is None:
        raise InputError(
            "the book has no days of shipment, so receipts cannot be checked; build it by OrderBook.from_frames with "
            "ship_date=."
        )
    early = int((received < ship_day).sum())  # a missing day is not before another
    if early:
        raise InputError(f"received is before the shipment of {counted(early, 'order')}; correct these days.")
    arrived = ~np.isnat(received) if as_of is None else received <= as_of
    if not arrived.any():
        when = "" if as_of is None else f" by {as_of}"
        raise InputError(f"received: no order has been received{when}; give the days of receipt, not all missing.")
    return arrived


def from_receipt(part: Any, received: Days, n_before: int) -> dict[str, Any]:
    """Return the fields that change when ages count from receipt, for a book of received orders.

    A claim that was reported before receipt counts as reported on the day of receipt, and so does a reversal.
    """
    claims, back = part.claims, part.reversals
    day = None if claims.day is None else np.maximum(claims.day, received[claims.row])
    first = received[back.row]
    return {
        "ship_day": received,
        "claims": replace(claims, day=day),
        "reversals": Reversals(back.row, np.maximum(back.report_day, first), np.maximum(back.day, first)),
        "left_out": {**part.left_out, "not_received": n_before - part.n_orders},
        "ages_from": "receipt",
    }
