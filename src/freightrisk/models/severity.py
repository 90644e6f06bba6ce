"""Claim severity: the ground-up return freight of a claim."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from freightrisk import _check
from freightrisk.book.book import OrderBook
from freightrisk.models.effects import Effect
from freightrisk.models.fit import Rows, cluster_of, codes_of, fit_rows, offset_scale, prior_weight
from freightrisk.models.fitted import FittedModel
from freightrisk.models.table_model import Problem
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
        engine: str = "newton",
        threads: int | None = None,
        tolerance: float = 1e-8,
        max_iterations: int = 50,
        cluster: ArrayLike | None = None,
    ) -> FittedModel:
        """Return the maximum likelihood fit to the claims of a book.

        Parameters
        ----------
        book : OrderBook
        offset : array, shape (n_claim_records,), optional
            Added to log mu.
        weight : array, shape (n_claim_records,), optional
            Prior weights, instead of the number of claims behind each amount.
        cluster : array, shape (n_orders,), optional
        engine, threads, tolerance, max_iterations
            As for `FrequencyModel.fit`.

        Returns
        -------
        FittedModel
        """
        effects = chosen_effects(book.codings, self.factors)
        n_records = len(book.claim_amount)
        counts = book.claim_weight if weight is None else prior_weight(weight, n_records)
        problem = Problem(
            self.family,
            codes_of(book, effects, book.claim_row),
            {},
            np.asarray(book.claim_amount),
            offset_scale(offset, n_records, None),
            np.empty(0) if counts is None else counts,
        )
        claims = np.ones(1) if counts is None else counts
        _check.threads(threads)
        rows = Rows(problem, claims, claims, book.claim_amount * claims)
        return fit_rows(
            "severity",
            rows,
            book,
            effects,
            engine=engine,
            threads=threads,
            tolerance=tolerance,
            max_iterations=max_iterations,
            cluster=cluster_of(cluster, book.n_orders, book.claim_row),
        )
