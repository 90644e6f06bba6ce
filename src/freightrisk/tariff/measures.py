"""Amounts of orders in yuan that pricing reads beside codes: the insured amount, and columns with shares as limits."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._columns import JoinedColumns, value_of
from freightrisk._intake import number_of
from freightrisk._types import Array
from freightrisk.errors import InputError
from freightrisk.tariff.record import TariffRecord

LARGEST_MEASURE = 1e9  # yuan


def measures_of(tariff: TariffRecord, joined: JoinedColumns, codes: Mapping[str, NDArray[Any]]) -> Array:
    """Return the amounts of every order, shape (columns, orders), yuan.

    An amount may be missing, which counts as 0, only if no limit that holds for the order is a share of it.

    Parameters
    ----------
    tariff : TariffRecord
    joined : JoinedColumns
    codes : dict of str to array
        Codes of the tariff's condition columns, by the name of the code column.
    """
    found = np.zeros((len(tariff.measures), joined.n_rows))
    for k, column in enumerate(tariff.measures):
        values = joined.real(column)
        absent = np.isnan(values)
        if absent.any():
            needed = absent & _is_read(tariff, column, codes, joined.n_rows)
            _check.refuse_rows(
                needed,
                f"orders: '{column}' is missing in {{rows}}, but the price depends on it; give its amount in yuan.",
            )
        outside = (values < 0.0) | (values > LARGEST_MEASURE)
        _check.refuse_rows(outside, f"orders: '{column}' is below 0 or above 1e9 in {{rows}}; give amounts of yuan.")
        found[k] = np.where(absent, 0.0, values) + 0.0  # -0.0 becomes 0.0
    return found


def measures_of_one(tariff: TariffRecord, order: Mapping[str, Any], codes: Mapping[str, int]) -> Array:
    """Return the amounts of one order, shape (columns, 1), yuan."""
    found = np.zeros((len(tariff.measures), 1))
    arrays = {name: np.array([code]) for name, code in codes.items()}
    for k, column in enumerate(tariff.measures):
        value = value_of(order, column, number_of)
        if np.isnan(value):
            if _is_read(tariff, column, arrays, 1)[0]:
                raise InputError(f"order: '{column}' is missing, but the price depends on it; give its amount in yuan.")
            value = 0.0
        found[k] = _check.number(value, argument=f"order: '{column}'", low=0.0, high=LARGEST_MEASURE) + 0.0
    return found


def _is_read(tariff: TariffRecord, column: str, codes: Mapping[str, NDArray[Any]], n: int) -> NDArray[np.bool_]:
    """Return for each order whether its price depends on an amount: it is insured, or a limit that holds reads it."""
    if column == tariff.cover.amount_of:
        return np.ones(n, dtype=np.bool_)
    shares = sum(1 << k for k, rule in enumerate(tariff.ranked_limits) if rule.of == column)
    holds = np.full(n, 2**64 - 1, dtype=np.uint64)
    for gate in tariff._gates:
        if "limits" in gate.masks:
            holds &= gate.masks["limits"][codes[f"{gate.kind} of {gate.column}"]]
    return np.asarray(holds & np.uint64(shares) != 0)
