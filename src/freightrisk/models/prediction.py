"""What a fit predicts for orders: of a book, or of a plain frame that is read as a tariff reads it."""

from collections.abc import Collection, Mapping, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._columns import ColumnNames, kind
from freightrisk._frames import frame_like
from freightrisk._types import Array
from freightrisk.book.book import OrderBook
from freightrisk.book.codings import Coding, CrossCoding
from freightrisk.book.doubts import warn_of_grams
from freightrisk.book.joined import columns_with_missing, join, refuse_outside
from freightrisk.errors import InputError
from freightrisk.models.families import expected_response
from freightrisk.models.fit_record import FitRecord
from freightrisk.models.fitted_effect import NORMAL_975

# The columns of a prediction: per unit of exposure, and with the exposure of each order.
RATES = {"frequency": "claim_intensity", "severity": "expected_freight", "pure premium": "pure_premium"}
EXPECTED = {"frequency": "expected_claims", "pure premium": "expected_amount"}


@dataclass(frozen=True, eq=False)
class CodedRows:
    """Orders as codes of a fit's tables, with their exposure; empty exposure stands for ones.

    Parameters
    ----------
    codes : dict of str to array
        Code of each order in each table.
    n_orders : int
    exposure : float64 array, shape (n_orders,) or empty
    unseen : bool array, shape (n_orders,)
        Whether a factor of the order takes a fallback.
    index : pandas Index or None
    kind : {"pandas", "polars", "arrow"}
    """

    codes: Mapping[str, NDArray[Any]]
    n_orders: int
    exposure: Array
    unseen: NDArray[np.bool_]
    index: Any = None
    kind: str = "pandas"


def book_codes(record: FitRecord, book: OrderBook, without: Collection[str] = ()) -> dict[str, NDArray[Any]]:
    """Return the codes of a book's orders in each table of a fit."""
    return {name: effect.codes(book) for name, effect in record.fitted_effects.items() if name not in without}


def log_sums(base: float, record: FitRecord, codes: Mapping[str, NDArray[Any]], n_rows: int) -> Array:
    """Return a base plus the log relativities of some tables."""
    total = np.full(n_rows, base)
    for name, column in codes.items():
        total += record.fitted_effects[name].table[column]
    return total


def rates_of(record: FitRecord, codes: Mapping[str, NDArray[Any]], n_rows: int) -> Array:
    """Return the rate of each row, off-balance included: claims or yuan per unit of exposure, or yuan a claim."""
    return np.asarray(record.off_balance * np.exp(log_sums(record.intercept, record, codes, n_rows)))


def expected_of(record: FitRecord, codes: Mapping[str, NDArray[Any]], mean: Array) -> Array:
    """Return the expected claims of rows, given their intensity times exposure."""
    if record.lines is None:
        return expected_response(record.family, mean, np.empty(0))
    trials = np.exp(record.fitted_effects[record.lines].table)[codes[record.lines]]
    return expected_response(record.family, mean / trials, trials)


def responses_of(record: FitRecord, rows: CodedRows, rates: Array) -> Array:
    """Return the expected response of each order, with its exposure counted."""
    mean = rates * rows.exposure if len(rows.exposure) and record.kind != "severity" else rates
    return expected_of(record, rows.codes, mean) if record.kind == "frequency" else mean


def rows_of_book(record: FitRecord, book: OrderBook) -> CodedRows:
    """Return the orders of a book as codes of a fit's tables."""
    codes = book_codes(record, book)
    exposure = np.empty(0) if book.exposure is None else book.exposure
    return CodedRows(codes, book.n_orders, exposure, _unseen(record, book.codes, book.n_orders))


def rows_of_frame(
    record: FitRecord,
    orders: Any,
    *,
    exposure: str | float | None,
    merchants: Any,
    threads: int | None,
    names: ColumnNames,
) -> CodedRows:
    """Return the orders of a frame as codes of a fit's tables, read like orders that a tariff prices."""
    column = _exposure_column(record, exposure)
    base = _base_codings(record)
    wanted = [name for coding in base.values() for name in coding.columns]
    joined = join(
        orders, merchants, list(dict.fromkeys(wanted)), names=names, also=[column], threads=threads,
        may_be_missing=columns_with_missing([*base.values()]), clock=record.clock,
    )  # fmt: skip
    warn_of_grams(joined, wanted)
    own = {name: coding.encode(joined) for name, coding in base.items()}
    codes = {name: _pair(effect.coding, own) for name, effect in record.fitted_effects.items()}
    units = np.empty(0)
    if column is not None:
        units = joined.real(column)
        refuse_outside(joined, units, column)
    elif exposure is not None:
        units = np.full(joined.n_rows, float(exposure))
    index = getattr(joined.orders.frame, "index", None)
    return CodedRows(codes, joined.n_rows, units, _unseen(record, own, joined.n_rows), index, kind(orders))


def _exposure_column(record: FitRecord, exposure: str | float | None) -> str | None:
    """Return the column with the exposure of orders, None if it is one number for all of them."""
    if record.kind == "severity" and exposure is not None:
        raise InputError("exposure is given, but a severity is the freight of a claim; leave exposure out.")
    if isinstance(exposure, str):
        return _check.label(exposure, argument="exposure")
    if isinstance(exposure, Sized):  # a column instead of its name
        raise InputError(
            f"exposure is a {type(exposure).__name__}; name the column of the orders that holds it, such as "
            "predict(orders.assign(exposure=...), exposure='exposure'), or give one number for all orders."
        )
    if exposure is not None:
        _check.number(exposure, argument="exposure", low=0.0, high=1e18, open_low=True)
    elif "exposure" in record.statistics.options:
        raise InputError(
            "exposure is absent, but the model was fitted to orders with an exposure; name its column, such as "
            "exposure='exposure', or give exposure=1.0 for one unit each."
        )
    return None


def _base_codings(record: FitRecord) -> dict[str, Coding]:
    """Return the coding of each factor of a fit, once, the factors of interactions included."""
    return {one.name: one for effect in record.fitted_effects.values() for one in effect.coding.factors}


def _pair(coding: Coding | CrossCoding, codes: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    if isinstance(coding, CrossCoding):
        return coding.pair(_pair(coding.first, codes), _pair(coding.second, codes))
    return codes[coding.name]


def _unseen(record: FitRecord, codes: Mapping[str, NDArray[Any]], n_rows: int) -> NDArray[np.bool_]:
    found = np.zeros(n_rows, dtype=bool)
    for name, coding in _base_codings(record).items():
        found |= codes[name] >= coding.n_levels
    return found


def prediction_frame(record: FitRecord, rows: CodedRows, *, std_errors: bool) -> Any:
    """Return the predictions for orders as a frame of their kind; see `FittedModel.predict`."""
    rates = rates_of(record, rows.codes, rows.n_orders)
    columns: dict[str, NDArray[Any]] = {RATES[record.kind]: rates}
    if std_errors:
        error = np.sqrt(record.posterior.variances_of(rows.codes, rows.n_orders))
        with np.errstate(over="ignore"):
            lower, upper = rates * np.exp(-NORMAL_975 * error), rates * np.exp(NORMAL_975 * error)
        columns |= {"std_error": error, "lower": lower, "upper": upper}  # of the rate, so they stand beside it
    if record.kind in EXPECTED:
        columns[EXPECTED[record.kind]] = responses_of(record, rows, rates)
    return frame_like(columns | {"unseen_level": rows.unseen}, rows.kind, rows.index)
