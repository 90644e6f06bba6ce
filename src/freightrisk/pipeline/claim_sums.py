"""Settled claims as sums of a settlement: payments and what reversals gave back, by day, merchant and payer."""

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._columns import ColumnNames, JoinedColumns, read
from freightrisk.book.joined import rows_of_ids, unique_ids
from freightrisk.errors import InputError
from freightrisk.pipeline.settlement_frames import CLAIM_KEYS, DAY, check_sums, most_of
from freightrisk.programme.settled import SettledClaims
from freightrisk.tariff.rounding import whole_sums

if TYPE_CHECKING:
    import pandas as pd


def claim_sums(settled: SettledClaims, claims: Any, orders: Any, *, merchant_id: str, order_id: str) -> "pd.DataFrame":
    """Return claims and fen of each day, merchant and payer; a reversal has the day of the reversal and a minus sign.

    Parameters
    ----------
    settled : SettledClaims
    claims, orders : as for `settle`
        The claims that were settled, and their orders if the claims lack the merchant.
    merchant_id, order_id : str
    """
    import pandas as pd

    _check.instance(settled, SettledClaims, argument="settled")
    money = settled.payments
    merchants, names = _merchants(claims, orders, merchant_id, order_id)
    if len(merchants) != len(money.day):
        raise InputError(
            f"claims have {len(merchants):,} rows and settled {len(money.day):,}; give the claims that were settled."
        )
    rows = []
    for sign, days, by_payer in ((1, money.day, money.paid), (-1, money.back_day, money.back)):
        for payer, fen in by_payer.items():
            some = np.flatnonzero(fen)
            group, place = _groups(days[some], merchants[some], names)
            check_sums(fen[some], partial(np.asarray, group), most_of("fen"))
            sums = sign * whole_sums(group, fen[some], len(place))
            counts = sign * np.bincount(group, minlength=len(place))
            rows.append(place.assign(payer=payer, claims=counts, fen=sums))
    found = pd.concat(rows, ignore_index=True)
    return found.astype({"day": DAY, "claims": "int64", "fen": "int64"})[[*CLAIM_KEYS, "claims", "fen"]]


def _merchants(claims: Any, orders: Any, merchant_id: str, order_id: str) -> tuple[NDArray[Any], list[Any]]:
    """Return the code of each claim's merchant, and the merchants; the last one is the missing merchant."""
    left = read(claims, [order_id, merchant_id], argument="claims", key=order_id)
    joined = JoinedColumns(left, names_of=ColumnNames(order_id=order_id, merchant_id=merchant_id))
    if merchant_id not in left.names and orders is not None:
        right = read(orders, [order_id, merchant_id], argument="orders", key=order_id)
        _check.columns_present([order_id], left.names, argument="claims")
        _check.columns_present([order_id, merchant_id], right.names, argument="orders")
        rows = rows_of_ids(left.ids(order_id), unique_ids(right, order_id))
        joined = JoinedColumns(left, right, rows, names_of=joined.names_of)
    cure = "Rename the column, or give the orders that have it."
    _check.columns_present([merchant_id], joined.names, argument="claims", cure=cure)
    codes, values = joined.id_codes("merchant_id")
    return codes, [*values.tolist(), None]


def _groups(
    days: NDArray[np.datetime64], merchants: NDArray[Any], names: list[Any]
) -> tuple[NDArray[np.int64], "pd.DataFrame"]:
    """Return the number of each payment's day and merchant, and the day and merchant of each number."""
    import pandas as pd

    day, when = pd.factorize(days, use_na_sentinel=False)
    owner = np.where(merchants < 0, len(names) - 1, merchants).astype(np.int64)
    group, keys = pd.factorize(day.astype(np.int64) * len(names) + owner)
    owners = np.array(names, dtype=object)[keys % len(names)]
    return group, pd.DataFrame({"day": when[keys // len(names)].astype(DAY), "merchant_id": owners})
