"""What a higher claim intensity under the cover than in the history would change in the premiums of a book."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from freightrisk import _check
from freightrisk._columns import PricingColumns
from freightrisk.errors import InputError
from freightrisk.tariff.quotes import CodedOrders
from freightrisk.tariff.tariff import Tariff

if TYPE_CHECKING:
    import pandas as pd

SUMS = ("expected_claims", "pure_premium", "technical_premium", "list_fen", "merchant_fen")


def moral_hazard_table(
    tariff: Tariff,
    orders: Any,
    *,
    values: Sequence[float] = (0.0, 0.05, 0.1, 0.2),
    merchants: Any = None,
    threads: int | None = None,
    **columns: Unpack[PricingColumns],
) -> "pd.DataFrame":
    """Return the totals of a book for several assumptions about moral hazard.

    No causal estimate of moral hazard is known, so it is an assumption, and this table shows what depends on it.

    Parameters
    ----------
    tariff : Tariff
        Its own `moral_hazard` is replaced.
    orders : CodedOrders, or pandas, polars or pyarrow table, or path of a Parquet file
    values : sequence of float
        Values of `Loadings.moral_hazard`, from 0 to 10.
    merchants, columns
        As for `Tariff.encode`.
    threads : int, optional
        All cores by default; the totals of fen do not depend on it.

    Returns
    -------
    pandas.DataFrame
        Indexed by moral_hazard: expected_claims (claims), pure_premium and technical_premium (yuan), list_fen and
        merchant_fen (integers), totals of all orders; pure_change and list_change, relative to no moral hazard.

    Raises
    ------
    InputError
        If there are no orders or values, or the tariff has an aggregate limit: its shares belong to one intensity.

    Notes
    -----
    Budgets are spent from their start for each value. Under a cover with `max_claims`, expected claims rise by less
    than the intensity (docs/method.md, equation 21a).

    Examples
    --------
    >>> import pandas as pd
    >>> from freightrisk import Cover, Factor, FrequencyModel, OrderBook, SeverityModel, Tariff
    >>> orders = pd.DataFrame({"order_id": range(8), "zone": ["near", "far"] * 4})
    >>> claims = pd.DataFrame({"order_id": [0, 1, 3], "freight": [8.0, 15.0, 17.0]})
    >>> book = OrderBook.from_frames(orders, claims, factors=[Factor("zone")], ship_date=None, report_date=None)
    >>> tariff = Tariff.build(FrequencyModel().fit(book), SeverityModel().fit(book), cover=Cover(max_claims=1))
    >>> table = moral_hazard_table(tariff, orders, values=[0.0, 0.1]).reset_index()
    >>> table[["moral_hazard", "list_fen", "pure_change"]].round(4)
       moral_hazard  list_fen  pure_change
    0           0.0      3228       0.0000
    1           0.1      3476       0.0778
    """
    import pandas as pd

    _check.instance(tariff, Tariff, argument="tariff")
    if tariff.aggregate is not None:
        raise InputError(
            "the tariff has an aggregate limit, whose shares were computed for one claim intensity; compute "
            "AggregateShares for each value and price with each tariff."
        )
    hazards = [*_check.items(values, argument="values")]
    if not hazards:
        raise InputError("values is empty; give at least one value of moral hazard.")
    tariffs = [replace(tariff, loadings=replace(tariff.loadings, moral_hazard=value)) for value in (0.0, *hazards)]
    if isinstance(orders, CodedOrders):
        if merchants is not None or columns:
            raise InputError("orders are already encoded; give merchants and names of columns to `encode` instead.")
        coded = orders
    else:
        coded = tariff.encode(orders, merchants=merchants, threads=threads, **columns)
    if not coded.n_orders:
        raise InputError("orders has no rows; give the book to price.")
    plain, *totals = [_totals(one, coded, threads) for one in tariffs]
    for row in totals:
        row["pure_change"] = row["pure_premium"] / plain["pure_premium"] - 1.0 if plain["pure_premium"] else 0.0
        row["list_change"] = row["list_fen"] / plain["list_fen"] - 1.0 if plain["list_fen"] else 0.0
    index = pd.Index([one.loadings.moral_hazard for one in tariffs[1:]], name="moral_hazard")
    return pd.DataFrame(totals, index=index)


def _totals(tariff: Tariff, coded: CodedOrders, threads: int | None) -> dict[str, float]:
    """Return the totals of all orders; sums of fen are exact."""
    priced = tariff.price_columns(coded, threads=threads)
    return {
        name: int(priced[name].sum(dtype=np.int64)) if name.endswith("_fen") else float(priced[name].sum())
        for name in SUMS
    }
