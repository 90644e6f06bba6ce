"""The settlement of orders of several versions: the rows of each version, for its programme."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from freightrisk import _check
from freightrisk._columns import Table, read
from freightrisk.errors import InputError
from freightrisk.pipeline.filed import filed_columns
from freightrisk.pipeline.quote_sums import LIST, told_columns
from freightrisk.programme.priced import PricedBy, covers_of, fees_of, programmes_of
from freightrisk.programme.programme import Programme
from freightrisk.programme.quoted import check_same_rows
from freightrisk.programme.quoted_versions import places_of
from freightrisk.programme.version_pricing import VERSION, taken
from freightrisk.programme.versions import Versions


def rows_by_version(
    versions: Versions, orders: Any, quotes: Any, *, merchant_id: str, order_id: str, day: str
) -> Iterator[tuple[Programme, Any, Any]]:
    """Yield each programme that has orders, with the rows of its orders and quotes.

    Raises
    ------
    InputError
        For quotes of other orders or of unknown versions, and for orders without a version that have a price.
    """
    due = [fee.due for fee in fees_of(versions) if fee.due is not None]
    factors = [name for one in versions.programmes for name in filed_columns(covers_of(one)[0])]
    own = [merchant_id, day, order_id, *due, *factors]
    asked = read(orders, own, argument="orders", key=merchant_id)
    priced = [name for one in versions.programmes for name in told_columns(one)]
    money = [VERSION, order_id, *dict.fromkeys(priced)]
    told = read(quotes, money, argument="quotes", key=order_id)
    check_same_rows(asked, told, order_id)
    places = places_of(versions, told)
    _check_unpriced(told, places < 0)
    for k, programme in enumerate(versions.programmes):
        rows = np.flatnonzero(places == k)
        if len(rows):
            yield programme, taken(asked.frame, rows, own), taken(told.frame, rows, money)


def _check_unpriced(told: Table, outside: Any) -> None:
    """Refuse orders without a version that have a price."""
    _check.columns_present([LIST], told.names, argument="quotes")
    told.refuse(
        outside & (told.real(LIST) != 0.0),
        f"quotes: '{VERSION}' is empty, but '{LIST}' is not 0, in {{rows}}; give what price returned.",
        LIST,
    )


def funds_of_campaigns(priced: PricedBy) -> dict[str, str | None]:
    """Return the fund of each campaign; refuses a campaign that draws on different funds in different programmes."""
    found: dict[str, str | None] = {}
    for programme in programmes_of(priced):
        for rule in programme.subsidies:
            if found.setdefault(rule.name, rule.fund) != rule.fund:
                raise InputError(
                    f"subsidy '{rule.name}' has another fund in one programme than in another; settle the orders of "
                    "each programme apart, and give by_fund this programme."
                )
    return found
