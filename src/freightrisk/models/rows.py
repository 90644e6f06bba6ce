"""What a model observes in the rows of a book: response, multiplier, weight and lines, for its fit and for checks."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._mapped import largest, let_go
from freightrisk._parallel import chunks
from freightrisk._types import Array
from freightrisk.book.book import OrderBook, check_amounts, check_book
from freightrisk.errors import InputError
from freightrisk.models.design import Layout
from freightrisk.models.families import FAMILIES
from freightrisk.models.passes import PART_ROWS, Problem
from freightrisk.models.terms import given_multiplier

LARGEST_OFFSET = 200.0


class Observed(NamedTuple):
    """Response, multiplier (exposure times exp(offset)), prior weight and lines of each row; empty arrays are ones."""

    response: NDArray[Any]
    multiplier: Array
    weight: Array
    trials: Array


def _ones() -> Array:
    """Return the array that stands for a column of ones."""
    return np.empty(0)


@dataclass(frozen=True, eq=False, kw_only=True)
class Rows:
    """The rows that a model is fitted on; empty arrays stand for ones.

    Parameters
    ----------
    family : str
    codes : mapping of str to array
        Codes of each effect's table.
    response, multiplier, weight, trials, family_parameter
        As for `Problem`, without the given tables in `multiplier`.
    exposure, claims, amount : float64 array
        Reported by level.
    options : tuple of str
        Names of the optional columns that entered: exposure, offset, weight.
    cluster : array, optional
        The cluster of each row.
    at_limit : bool array, optional
        Which responses are known only to be at least that.
    kept : int64 array, optional
        Which rows of the book these are, after `of_weight`; all of them if None.
    """

    family: str
    codes: Mapping[str, NDArray[Any]]
    response: NDArray[Any]
    exposure: Array
    claims: NDArray[Any]
    amount: Array
    multiplier: Array = field(default_factory=_ones)
    weight: Array = field(default_factory=_ones)
    trials: Array = field(default_factory=_ones)
    family_parameter: float = 0.0
    options: tuple[str, ...] = ()
    cluster: NDArray[Any] | None = None
    at_limit: NDArray[np.bool_] | None = None
    kept: NDArray[np.int64] | None = None

    @property
    def n_rows(self) -> int:
        """Return the number of rows."""
        return len(self.response)

    def problem(self, layout: Layout, given: Mapping[str, Array]) -> Problem:
        """Return the rows as the solver takes them: the codes of estimated tables, with given ones in the offset."""
        return Problem(
            family=self.family,
            codes={name: self.codes[name] for name in layout.names},
            sizes={term.name: term.n_slots for term in layout.terms},
            response=self.response,
            multiplier=given_multiplier(self.multiplier, given, self.codes, self.n_rows),
            weight=self.weight,
            family_parameter=self.family_parameter,
            trials=self.trials,
        )

    def of_weight(self) -> "Rows":
        """Return the rows without those of weight 0, which a fit must not notice.

        Such a row has no likelihood. It would still count in n - p, as exposure of its level, and as a response that
        a refusal or a start reads.
        """
        kept = weighted_rows(self.weight)
        if kept is None:
            return self

        def of(column: Any) -> Any:
            """Return the kept rows of a column; an array that stands for ones or zeros has none."""
            return column if column is None or len(column) != self.n_rows else np.asarray(column[kept])

        columns = {
            name: of(getattr(self, name))
            for name in ("response", "multiplier", "weight", "trials", "exposure", "claims", "amount", "cluster",
                         "at_limit")
        }  # fmt: skip
        return replace(self, codes={name: of(codes) for name, codes in self.codes.items()}, kept=kept, **columns)


def weighted_rows(weight: Array) -> NDArray[np.int64] | None:
    """Return the rows of a weight above 0, or None if these are all rows."""
    return None if bool((weight > 0.0).all()) else np.flatnonzero(weight > 0.0)


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
    weights = prior_weight(weight, book.n_orders)
    counting = weights > 0.0 if len(weights) else True  # what a row of weight 0 holds does not matter
    if family == "bernoulli" and largest(book.counts) > 1:
        _check.refuse_rows(
            (book.counts > 1) & counting,
            "family='bernoulli' allows at most one claim for each order, but there are more in {rows}; "
            "use family='poisson', or build the book with one claim for each order.",
        )
    trials = _none()
    if FAMILIES[family].lines:
        trials = book.line_count.astype(np.float64)
        _check.refuse_rows(
            (book.counts > trials) & counting,
            f"there are more claims than '{book.lines}' in {{rows}}; a line comes back at most once, so correct one of "
            "the two numbers.",
        )
    multiplier = offset_multiplier(offset, book.n_orders, book.exposure)
    return Observed(book.counts, multiplier, weights, trials)


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
