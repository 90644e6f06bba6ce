"""What a model observes in the rows of a book: response, multiplier, weight and lines, for its fit and for checks."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._mapped import largest, let_go
from freightrisk._parallel import chunks
from freightrisk._types import Array
from freightrisk.book.book import OrderBook, check_amounts, check_book
from freightrisk.errors import InputError
from freightrisk.models.families import FAMILIES
from freightrisk.models.passes import PART_ROWS

LARGEST_OFFSET = 200.0


class Observed(NamedTuple):
    """Response, multiplier (exposure times exp(offset)), prior weight and lines of each row; empty arrays are ones."""

    response: NDArray[Any]
    multiplier: Array
    weight: Array
    trials: Array


def observed(kind: str, family: str, book: OrderBook, *, offset: Any = None, weight: Any = None) -> Observed:
    """Return what a model of some kind and family observes in a book: a row an order, or a claim for a severity."""
    if kind == "frequency":
        return _counts(family, book, offset, weight)
    check_amounts(book)
    if kind == "severity":
        n_records = len(book.claim_amount)
        counts = book.claim_weight if weight is None else prior_weight(weight, n_records)
        multiplier = offset_multiplier(offset, n_records, None)
        return Observed(np.asarray(book.claim_amount), multiplier, np.empty(0) if counts is None else counts, _none())
    amount = order_amounts(book)
    exposure = np.ones(1) if book.exposure is None else book.exposure
    weights = prior_weight(weight, book.n_orders)
    # The variance of a Poisson sum is proportional to exposure, so freight per unit has weight exposure.
    weights = weights * exposure if len(weights) else np.broadcast_to(exposure, amount.shape).copy()
    return Observed(amount / exposure, offset_multiplier(offset, book.n_orders, None), weights, _none())


def order_amounts(book: OrderBook) -> Array:
    """Return the freight of all claims of each order, yuan."""
    counts = 1.0 if book.claim_weight is None else book.claim_weight
    return np.bincount(book.claim_row, book.claim_amount * counts, minlength=book.n_orders).astype(np.float64)


def _counts(family: str, book: OrderBook, offset: Any, weight: Any) -> Observed:
    check_book(book)
    if family == "bernoulli" and largest(book.counts) > 1:
        _check.refuse_rows(
            book.counts > 1,
            "family='bernoulli' allows at most one claim for each order, but there are more in {rows}; "
            "use family='poisson', or build the book with one claim for each order.",
        )
    trials = _none()
    if FAMILIES[family].lines:
        trials = book.line_count.astype(np.float64)
        _check.refuse_rows(
            book.counts > trials,
            f"there are more claims than '{book.lines}' in {{rows}}; a line comes back at most once, so correct one of "
            "the two numbers.",
        )
    multiplier = offset_multiplier(offset, book.n_orders, book.exposure)
    return Observed(book.counts, multiplier, prior_weight(weight, book.n_orders), trials)


def _none() -> Array:
    return np.empty(0)


def offset_multiplier(offset: Any, n_rows: int, exposure: Array | None) -> Array:
    """Return exposure times exp(offset), empty where both are absent."""
    multiplier = np.empty(0) if exposure is None else exposure
    if offset is None:
        return multiplier
    added = _check.real_array(offset, argument="offset", length=n_rows)
    _check.refuse_rows(
        np.abs(added) > LARGEST_OFFSET,
        f"offset is outside [-{LARGEST_OFFSET:g}, {LARGEST_OFFSET:g}] in {{rows}}; it is added to a logarithm, so give "
        "the log of a ratio.",
    )
    factor = np.exp(added)
    return np.asarray(factor * multiplier) if len(multiplier) else np.asarray(factor)


def prior_weight(weight: Any, n_rows: int) -> Array:
    """Return the weights as an array, empty where absent."""
    if weight is None:
        return np.empty(0)
    array = _check.real_array(weight, argument="weight", length=n_rows)
    _check.refuse_rows(array < 0.0, "weight is negative in {rows}; weights are zero or more.")
    if n_rows and not array.any():
        raise InputError("weight is zero in every row; give some rows a weight above zero.")
    return array


def total(values: NDArray[Any], n_rows: int) -> float:
    """Return the sum of a column in bounded memory; an array of one element stands for 1 in every row."""
    if len(values) != n_rows:
        return float(n_rows) if len(values) else 0.0
    found = 0.0
    for start, stop in chunks(n_rows, PART_ROWS):
        found += float(values[start:stop].sum(dtype=np.float64))
        let_go([values], start, stop)
    return found
