"""Claim frequency: the number of claims of an order."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike

from freightrisk import _check
from freightrisk.book.book import OrderBook, check_book
from freightrisk.errors import InputError
from freightrisk.models.effects import Effect
from freightrisk.models.families import FAMILIES as FAMILIES_BY_NAME
from freightrisk.models.fit import cluster_of, codes_of, fit_rows, options_of, with_lines
from freightrisk.models.fitted import FittedModel
from freightrisk.models.rows import Rows, observed
from freightrisk.models.solver import DEFAULT, Solver
from freightrisk.models.terms import chosen_effects, keep_factors
from freightrisk.models.young import warn_of_young_orders

FAMILIES = ("poisson", "negative_binomial", "bernoulli", "binomial", "beta_binomial")


@dataclass(frozen=True)
class FrequencyModel:
    """A model of claim intensity: ``log lambda = log base + sum of log tables``.

    Parameters
    ----------
    factors : sequence of str or effect, optional
        Factors of the book to use; by default all of them. A name stands for a free relativity for each level. Other
        effects are `Credibility`, `Smooth`, `Given`, `Interaction` and `Free` with `monotone`.
    family : {"poisson", "negative_binomial", "bernoulli", "binomial", "beta_binomial"}
        The distribution of an order's claims.

        - Poisson: claim counts.
        - Negative binomial (NB2): counts with variance m + d m^2, above their mean m. The dispersion d is estimated by
          maximum likelihood.
        - Bernoulli with the complementary log-log link: covers with at most one claim an order. P(claim) is
          1 - exp(-exposure * lambda), so lambda means the same as in a Poisson model.
        - Binomial: returned lines of orders whose lines the book counts (``lines=``). Each of n lines comes back with
          probability 1 - exp(-exposure * lambda / n), independently of the others.
        - Beta-binomial: the same, if lines of one order tend to come back together. Their correlation is
          estimated by maximum likelihood.

        With the last two families the relativities rate a line, and lambda is the intensity of all n lines together.
        Without correlation, the probability of any claim is therefore the same as in the other families.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from freightrisk import Factor, FrequencyModel, OrderBook
    >>> cells = pd.DataFrame({"channel": ["shelf", "live"], "orders": [1000.0, 500.0], "claims": [20, 40]})
    >>> book = OrderBook.from_counts(cells, claims="claims", exposure="orders", factors=[Factor("channel")])
    >>> fitted = FrequencyModel().fit(book)
    >>> fitted.base, fitted.relativities["relativity"].round(6).tolist()
    (0.02, [4.0, 1.0])
    """

    factors: Sequence[str | Effect] | None = None
    family: str = field(default="poisson", kw_only=True)

    def __post_init__(self) -> None:
        _check.one_of(self.family, FAMILIES, argument="family of a frequency model")
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
        """Return the maximum likelihood fit to a book.

        Parameters
        ----------
        book : OrderBook
        offset : array, shape (n_orders,), optional
            Added to log lambda, for instance the log of the share of claims already reported. Element k of this array
            and of the arrays below belongs to order k of the book; an index is not read. `OrderBook.align` puts columns
            into this sequence. A tariff prices every order at offset 0, that is, with all of its claims reported.
            Without an offset, the fit gives a `FreightRiskWarning` if orders are so young that more
            than 5 % of the book's claims are still to be reported.
        weight : array, shape (n_orders,), optional
            Prior weights of the rows, 0 or more. A row of weight 0 is left out of the fit.
        cluster : array, shape (n_orders,), optional
            Groups of orders that share influences beyond their factors, such as merchants. Standard errors then allow
            for any dependence within a cluster. The levels of an eliminated credibility effect keep the standard errors
            of the model.
        solver : Solver
            Engine, tolerance, largest number of iterations, and threads.

        Returns
        -------
        FittedModel

        Raises
        ------
        InputError
            If an argument has the wrong shape, or the claims of an order do not fit the family.
        FitError
            If a level has no claim, a level is a combination of others, or Newton's method does not converge.
        """
        check_book(book)
        effects = chosen_effects(book.codings, self.factors, lines=book.lines)
        if FAMILIES_BY_NAME[self.family].lines and book.lines in effects:
            raise InputError(
                f"factors: '{book.lines}' counts the lines, and the family already uses it; to rate by the number of "
                f"lines too, declare Factor('size', column='{book.lines}')."
            )
        seen = observed("frequency", self.family, book, offset=offset, weight=weight)
        if offset is None:
            warn_of_young_orders(book)
        exposure = np.ones(1) if book.exposure is None else book.exposure
        rows = Rows(
            family=self.family,
            codes=codes_of(book, effects, None),
            **seen._asdict(),
            exposure=exposure * seen.trials if len(seen.trials) else exposure,  # the relativities rate a line
            claims=book.counts,
            amount=np.empty(0),
            options=options_of(exposure=book.exposure, offset=offset, weight=weight),
            cluster=cluster_of(cluster, book.n_orders, None),
        ).of_weight()
        fitted = fit_rows("frequency", rows, book, effects, solver=solver)
        if offset is not None:
            offsets = _check.numbers(offset, argument="offset")
            largest_offset = float((offsets if rows.kept is None else offsets[rows.kept]).max())
            fitted = replace(fitted, statistics=replace(fitted.statistics, largest_offset=largest_offset))
        return with_lines(fitted, book, rows) if len(seen.trials) else fitted


def at_most_one_claim(book: OrderBook) -> OrderBook:
    """Return the book of a one-claim cover, with only the first reported claim of each order.

    If several claims were reported on one day, or the book has no dates, the first in the table of claims is kept.

    Parameters
    ----------
    book : OrderBook

    Returns
    -------
    OrderBook

    Raises
    ------
    InputError
        If the book was built from counts, because its amounts are means over several claims.
    """
    _check.instance(book, OrderBook, argument="book")
    if book.claim_weight is not None:
        raise InputError(
            "book was built from counts, so its amounts are means over several claims; build it from orders and claims."
        )
    by_day = np.arange(len(book.claim_row)) if book.claim_day is None else np.argsort(book.claim_day, kind="stable")
    _, place = np.unique(book.claim_row[by_day], return_index=True)
    first = by_day[place]
    return replace(
        book,
        counts=np.minimum(book.counts, 1),
        claims=book.claims.taken(first),
    )
