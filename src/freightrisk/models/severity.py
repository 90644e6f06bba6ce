"""Claim severity: the ground-up return freight of a claim."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from freightrisk import _check
from freightrisk.book.book import OrderBook, check_book
from freightrisk.errors import InputError
from freightrisk.models.effects import Effect
from freightrisk.models.fit import Rows, cluster_of, codes_of, fit_rows, offset_scale, prior_weight
from freightrisk.models.fitted import FittedModel
from freightrisk.models.solver import DEFAULT, Solver
from freightrisk.models.terms import chosen_effects

FAMILIES = ("gamma", "lognormal", "inverse_gaussian")


@dataclass(frozen=True)
class SeverityModel:
    """A model of the freight of a claim: ``log mu = log base + sum of log tables``, in yuan.

    Parameters
    ----------
    factors : sequence of str or effect, optional
        As for `FrequencyModel`.
    family : {"gamma", "lognormal", "inverse_gaussian"}
        All with log link. Gamma: the coefficient of variation is the same at every level, and fitted amounts balance
        at every level. Lognormal: the same, fitted to the logs; predictions are means, exp(half the variance of the
        log) above the medians. Inverse Gaussian: the variance grows with the cube of the mean.

    Examples
    --------
    >>> import pandas as pd
    >>> from freightrisk import Factor, OrderBook, SeverityModel
    >>> orders = pd.DataFrame({"order_id": range(4), "zone": ["near", "near", "far", "far"]})
    >>> claims = pd.DataFrame({"order_id": range(4), "freight": [7.0, 9.0, 15.0, 17.0]})
    >>> book = OrderBook.from_frames(orders, claims, factors=[Factor("zone")], ship_date=None, report_date=None)
    >>> fitted = SeverityModel().fit(book)
    >>> fitted.predict(book).round(6).tolist()
    [8.0, 8.0, 16.0, 16.0]
    """

    factors: Sequence[str | Effect] | None = None
    family: str = field(default="gamma", kw_only=True)

    def __post_init__(self) -> None:
        _check.one_of(self.family, FAMILIES, argument="family of a severity model")

    def fit(
        self,
        book: OrderBook,
        *,
        offset: ArrayLike | None = None,
        weight: ArrayLike | None = None,
        cluster: ArrayLike | None = None,
        limit: ArrayLike | None = None,
        solver: Solver = DEFAULT,
    ) -> FittedModel:
        """Return the maximum likelihood fit to the claims of a book.

        Parameters
        ----------
        book : OrderBook
        offset : array, shape (n_claim_records,), optional
            Added to log mu. Paired by place with the book's `claim_amount`; arrays by order, with the book's orders.
        weight : array, shape (n_claim_records,), optional
            Prior weights, instead of the number of claims behind each amount.
        cluster : array, shape (n_orders,), optional
        limit : float or array, shape (n_orders,), optional
            Most that a claim could show, yuan, such as the cover's limit or the first-weight fee, where the book's
            amounts are what was paid. An amount at its limit then counts as at least that, and the fit is of the
            freight behind it. The dispersion is the maximum likelihood one and there is no deviance. For gamma and
            lognormal, and amounts of single claims.
        solver : Solver
            As for `FrequencyModel.fit`.

        Returns
        -------
        FittedModel
        """
        check_book(book)
        effects = chosen_effects(book.codings, self.factors, lines=book.lines)
        n_records = len(book.claim_amount)
        counts = book.claim_weight if weight is None else prior_weight(weight, n_records)
        at_limit = None if limit is None else _at_limit(limit, book)
        claims = np.ones(1) if counts is None else counts
        rows = Rows(
            family=self.family,
            codes=codes_of(book, effects, book.claim_row),
            response=np.asarray(book.claim_amount),
            scale=offset_scale(offset, n_records, None),
            weight=np.empty(0) if counts is None else counts,
            exposure=claims,
            claims=claims,
            amount=book.claim_amount * claims,
        )
        return fit_rows(
            "severity",
            rows,
            book,
            effects,
            solver=solver,
            cluster=cluster_of(cluster, book.n_orders, book.claim_row),
            at_limit=at_limit,
        )


def _at_limit(limit: ArrayLike, book: OrderBook) -> NDArray[np.bool_]:
    """Return which claims are at their limit, refusing amounts above it."""
    if book.claim_weight is not None and bool((book.claim_weight != 1.0).any()):
        raise InputError(
            "limit needs the amount of each claim, but the book has means of several; use orders and claims."
        )
    given = _check.numbers(limit, argument="limit")
    given = np.full(book.n_orders, given) if given.ndim == 0 else given
    most = _check.real_array(given, argument="limit", length=book.n_orders)[book.claim_row]
    slack = 1e-9 * most
    _check.refuse_rows(
        book.claim_amount > most + slack,
        "amounts are above their limit in claims {rows}; the limit is what a claim could show at most.",
    )
    return np.asarray(book.claim_amount >= most - slack)
