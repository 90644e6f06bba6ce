"""Claim severity: the ground-up return freight of a claim."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from freightrisk import _check
from freightrisk.book.book import OrderBook, check_amounts
from freightrisk.errors import FitError, InputError
from freightrisk.models.censored import FAMILIES as CENSORED
from freightrisk.models.effects import Effect
from freightrisk.models.fit import cluster_of, codes_of, fit_rows, options_of
from freightrisk.models.fitted import FittedModel
from freightrisk.models.limited_means import limited_means
from freightrisk.models.rows import Rows, observed
from freightrisk.models.solver import DEFAULT, Solver
from freightrisk.models.terms import chosen_effects, keep_factors

FAMILIES = ("gamma", "lognormal", "inverse_gaussian")


@dataclass(frozen=True)
class SeverityModel:
    """A model of the freight of a claim: ``log mu = log base + sum of log tables``, in yuan.

    Parameters
    ----------
    factors : sequence of str or effect, optional
        As for `FrequencyModel`.
    family : {"gamma", "lognormal", "inverse_gaussian"}
        All families have a log link.

        - Gamma: the coefficient of variation is the same at every level. Ratios of amounts to their means average 1 at
          every free level. Amounts themselves balance in total alone (`FittedModel.off_balance`).
        - Lognormal: the coefficient of variation is also the same at every level. The model is fitted to the logs.
          Predictions are means. They exceed the medians by the factor exp(half the variance of the log) for single
          claims, and by less for means of several claims (docs/method.md, equation 2b).
        - Inverse Gaussian: the variance grows with the cube of the mean. Its spread around the mean therefore differs
          from level to level, so a tariff with a limit needs a shape besides: ``Tariff.build(..., shape=)``, such as
          `freightrisk.shapes.EmpiricalShape`. The argument `limit` of `fit` is refused.

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
        keep_factors(self)

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
            Added to log mu. Element k belongs to element k of the book's `claim_amount`, and element k of the arrays of
            shape (n_orders,) below to order k. `Tariff.build` refuses a severity with an offset, because a tariff has
            none.
        weight : array, shape (n_claim_records,), optional
            Prior weights, 0 or more. By default, the number of claims behind each amount. An amount of weight 0 is left
            out of the fit. With `limit`, a weight repeats its row.
        cluster : array, shape (n_orders,), optional
            As for `FrequencyModel.fit`.
        limit : float or array, shape (n_orders,), optional
            Largest amount that a claim could show, yuan, if the book holds amounts paid. Examples are the limit of the
            cover and the first-weight fee. An amount at its limit then counts as at least the limit, and the model is
            fitted to the freight behind it. The dispersion is the maximum likelihood estimate, and there is no
            deviance. Only for gamma and lognormal, for amounts of single claims, and for the engine "newton".
        solver : Solver
            As for `FrequencyModel.fit`.

        Returns
        -------
        FittedModel

        Raises
        ------
        InputError
            If an argument has the wrong shape, or amounts exceed their limit.
        FitError
            As for `FrequencyModel.fit`. If `limit` is given, also if the family has no likelihood behind a limit, or if
            all amounts, of the book or of a free level, are at their limit.

        Notes
        -----
        For the likelihood behind a limit see docs/method.md, equations 14 to 16.
        """
        check_amounts(book)
        effects = chosen_effects(book.codings, self.factors, lines=book.lines)
        if limit is not None and self.family not in CENSORED:
            raise FitError(
                f"limit: family '{self.family}' has no censored likelihood here; use family {' or '.join(CENSORED)}."
            )
        at_limit = None if limit is None else _at_limit(limit, book)
        seen = observed("severity", self.family, book, offset=offset, weight=weight)
        claims = seen.weight if len(seen.weight) else np.ones(1)
        rows = Rows(
            family=self.family,
            codes=codes_of(book, effects, book.claim_row),
            **seen._asdict(),
            exposure=claims,
            claims=claims,
            amount=book.claim_amount * claims,
            options=options_of(offset=offset, weight=weight),
            cluster=cluster_of(cluster, book.n_orders, book.claim_row),
            at_limit=at_limit,
        ).of_weight()
        fitted = fit_rows("severity", rows, book, effects, solver=solver)
        found = limited_means(fitted, rows)
        return replace(fitted, statistics=replace(fitted.statistics, limited_means=found))


def _at_limit(limit: ArrayLike, book: OrderBook) -> NDArray[np.bool_]:
    """Return for each claim whether it is at its limit; refuse amounts above their limit."""
    if book.claim_weight is not None and bool((book.claim_weight != 1.0).any()):
        raise InputError(
            "limit needs the amount of each claim, but the book has means of several claims; build it from orders and "
            "claims."
        )
    given = _check.numbers(limit, argument="limit")
    given = np.full(book.n_orders, given) if given.ndim == 0 else given
    most = _check.real_array(given, argument="limit", length=book.n_orders)[book.claim_row]
    slack = 1e-9 * most  # amounts may equal their limit only up to rounding
    _check.refuse_rows(
        book.claim_amount > most + slack,
        "amounts are above their limit in {rows} of the book's claims; give the largest amount that each claim could "
        "show.",
    )
    return np.asarray(book.claim_amount >= most - slack)
