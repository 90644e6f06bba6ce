"""Pure premium: the freight of all claims of an order in one model."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from freightrisk import _check
from freightrisk.book.book import OrderBook, check_book
from freightrisk.models.effects import Effect
from freightrisk.models.fit import Rows, cluster_of, codes_of, fit_rows, offset_scale, prior_weight
from freightrisk.models.fitted import FittedModel
from freightrisk.models.passes import Problem
from freightrisk.models.terms import chosen_effects
from freightrisk.models.young import warn_of_young_orders


@dataclass(frozen=True)
class PurePremiumModel:
    """A model of ground-up freight an order, claims or none: ``log mean = log base + sum of log tables``, in yuan.

    Amounts are Tweedie: a Poisson number of gamma claims, with variance proportional to mean ** power. Frequency and
    severity modelled apart say more and are what a `Tariff` is built from; this model checks their product.

    Parameters
    ----------
    factors : sequence of str or effect, optional
        As for `FrequencyModel`.
    power : float
        Power of the variance, strictly between 1 and 2.

    Examples
    --------
    >>> import pandas as pd
    >>> from freightrisk import Factor, OrderBook, PurePremiumModel
    >>> orders = pd.DataFrame({"order_id": range(4), "zone": ["near", "near", "far", "far"]})
    >>> claims = pd.DataFrame({"order_id": [0, 2], "freight": [8.0, 17.0]})
    >>> book = OrderBook.from_frames(orders, claims, factors=[Factor("zone")], ship_date=None, report_date=None)
    >>> PurePremiumModel().fit(book).predict(book).round(6).tolist()
    [4.0, 4.0, 8.5, 8.5]
    """

    factors: Sequence[str | Effect] | None = None
    power: float = field(default=1.5, kw_only=True)

    def __post_init__(self) -> None:
        power = _check.number(self.power, argument="power", low=1.01, high=1.99)
        object.__setattr__(self, "power", power)

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
        """Return the maximum quasi-likelihood fit to a book.

        Parameters
        ----------
        book : OrderBook
            An order's exposure is the weight of its freight per unit of exposure.
        offset, weight, engine, threads, tolerance, max_iterations, cluster
            As for `FrequencyModel.fit`.

        Returns
        -------
        FittedModel
        """
        check_book(book)
        effects = chosen_effects(book.codings, self.factors, lines=book.lines)
        if offset is None:
            warn_of_young_orders(book)
        counts = 1.0 if book.claim_weight is None else book.claim_weight
        amount = np.bincount(book.claim_row, book.claim_amount * counts, minlength=book.n_orders).astype(np.float64)
        exposure = np.ones(1) if book.exposure is None else book.exposure
        weights = prior_weight(weight, book.n_orders)
        problem = Problem(
            "tweedie",
            codes_of(book, effects, None),
            {},
            amount / exposure,
            offset_scale(offset, book.n_orders, None),
            (weights * exposure if len(weights) else np.broadcast_to(exposure, amount.shape).copy()),
            self.power,
        )
        return fit_rows(
            "pure premium",
            Rows(problem, exposure, book.counts.astype(np.float64), amount),
            book,
            effects,
            engine=engine,
            threads=threads,
            tolerance=tolerance,
            max_iterations=max_iterations,
            cluster=cluster_of(cluster, book.n_orders, None),
        )
