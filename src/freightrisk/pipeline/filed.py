"""The filed factor of orders, for the accounts of a settlement."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk._columns import ColumnNames
from freightrisk.book.by_level import ByLevel
from freightrisk.book.joined import columns_with_missing, join
from freightrisk.tariff.tariff import Tariff


def filed_columns(tariff: Tariff) -> tuple[str, ...]:
    """Return the columns of orders that decide the filed factor."""
    given = tariff.loadings.filed_factor
    return tuple(tariff.codings[given.factor].columns) if isinstance(given, ByLevel) else ()


def filed_factors(tariff: Tariff, orders: Any, merchants: Any, names: ColumnNames) -> float | NDArray[np.float64]:
    """Return the filed factor of each order, or of all orders if it does not depend on a factor.

    The columns of the factor are read from orders, or from merchants if the orders lack them.
    """
    given = tariff.loadings.filed_factor
    if not isinstance(given, ByLevel):
        return given
    coding = tariff.codings[given.factor]
    joined = join(
        orders, merchants, coding.columns, names=names, also=[], may_be_missing=columns_with_missing([coding]),
        clock=tariff.clock,
    )  # fmt: skip
    by_order: NDArray[np.float64] = tariff.loadings.tables(tariff.codings)["filed_factor"][coding.encode(joined)]
    return by_order
