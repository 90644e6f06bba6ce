"""Pure premium: the freight of all claims of an order in one model."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from freightrisk import _check
from freightrisk.book.book import OrderBook, check_amounts
from freightrisk.models.effects import Effect
from freightrisk.models.fit import cluster_of, codes_of, fit_rows, options_of
from freightrisk.models.fitted import FittedModel
from freightrisk.models.rows import Rows, observed, order_amounts
from freightrisk.models.solver import DEFAULT, Solver
from freightrisk.models.terms import chosen_effects, keep_factors
from freightrisk.models.young import warn_of_young_orders


@dataclass(frozen=True)
class PurePremiumModel:
    """A model of the ground-up freight of an order: ``log mean = log base + sum of log tables``, in yuan.

    Orders without claims count with 0. Amounts are Tweedie: a Poisson number of gamma claims, with variance
    proportional to mean ** power. Separate models of frequency and severity say more, and a `Tariff` is built from
    them. This model checks their product.

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
        keep_factors(self)

    def fit(
        self,
        book: OrderBook,
        *,
        offset: ArrayLike | None = None,
        weight: ArrayLike | None = None,
        cluster: ArrayLike | None = None,
        solver: Solver = DEFAULT,
    ) -> FittedModel:
        """Return the maximum quasi-likelihood fit to a book.

        Parameters
        ----------
        book : OrderBook
            The response is an order's freight per unit of exposure, and its weight is the exposure.
        offset, weight, cluster, solver
            As for `FrequencyModel.fit`.

        Returns
        -------
        FittedModel

        Raises
        ------
        InputError, FitError
            As for `FrequencyModel.fit`.
        """
        check_amounts(book)
        effects = chosen_effects(book.codings, self.factors, lines=book.lines)
        if offset is None:
            warn_of_young_orders(book)
        seen = observed("pure premium", "tweedie", book, offset=offset, weight=weight)
        exposure = np.ones(1) if book.exposure is None else book.exposure
        rows = Rows(
            family="tweedie",
            codes=codes_of(book, effects, None),
            **seen._asdict(),
            family_parameter=self.power,
            exposure=exposure,
            claims=book.counts.astype(np.float64),
            amount=order_amounts(book),
            options=options_of(exposure=book.exposure, offset=offset, weight=weight),
            cluster=cluster_of(cluster, book.n_orders, None),
        ).of_weight()
        return fit_rows("pure premium", rows, book, effects, solver=solver)
