"""What a fit returns."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

import numpy as np
from numpy.typing import ArrayLike

from freightrisk import _check
from freightrisk._columns import ColumnNames, PricingColumns
from freightrisk._plain import write_whole
from freightrisk._shown import named, repr_of
from freightrisk._types import Array
from freightrisk.book.book import OrderBook, check_book
from freightrisk.errors import InputError
from freightrisk.models.evaluation import Evaluation, evaluate
from freightrisk.models.fit_record import FitRecord
from freightrisk.models.model_document import document_of
from freightrisk.models.objective import Step
from freightrisk.models.prediction import (
    expected_of,
    prediction_frame,
    rates_of,
    responses_of,
    rows_of_book,
    rows_of_frame,
)
from freightrisk.models.summary import ModelSummary, short_text, summary_of

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class FittedModel(FitRecord):
    """A fitted sum of log tables: ``log mean = log base + sum of tables``.

    Parameters
    ----------
    kind : {"frequency", "severity", "pure premium"}
    family : str
        See `FrequencyModel`, `SeverityModel` and `PurePremiumModel`.
    intercept, intercept_std_error : float
        Log of `base`, the mean where every relativity is 1, and its standard error.
    covariance : float64 array
        Covariance of intercept and log relativities, in the order of `parameters`. The levels of the largest
        credibility effect are not in it.
    parameters : tuple of (factor, code)
        Levels behind the intercept.
    fitted_effects : dict of str to FittedEffect
        What the fit knows of each effect, by its name. `tables`, `std_errors` and the like are read from it.
    statistics : FitStatistics
        How well the fit describes its rows. `deviance`, `dispersion` and the like are read from it.
    steps : tuple of Step
        Convergence record; the first steps may be on a sample of the rows.
    engine : {"newton", "statsmodels"}
    joint : Posterior or callable
        What `posterior` returns, or a function without arguments that computes it.
    family_parameter : float
        Dispersion d of a negative binomial (variance m + d m^2), power of a Tweedie variance, or correlation of two
        lines of an order in a beta-binomial model; else 0.
    clock : str
        Time zone of the book's days.
    off_balance : float
        Observed over expected responses of the fitted rows: claims of a frequency, yuan of a severity or a pure
        premium. Rates, predictions and tariffs are multiplied by it, so that their total is the observed one. It is 1
        for Poisson counts, whose likelihood has this balance, and for amounts seen through a limit, whose total is not
        observed. Base, relativities, deviance and log likelihood are those of the likelihood, without this factor.
    """

    @cached_property
    def convergence(self) -> "pd.DataFrame":
        """Return a row for each Newton step: rows used, objective before it, largest move, halvings."""
        import pandas as pd

        return pd.DataFrame([vars(step) for step in self.steps], columns=list(Step.__dataclass_fields__))

    @cached_property
    def relativities(self) -> "pd.DataFrame":
        """Return a row for each level of each factor.

        Columns: factor, level, relativity, log_relativity, std_error, lower and upper (95 % bounds of the
        relativity), exposure, claims, and for a severity the amount in yuan.
        """
        import pandas as pd

        with_amount = self.kind == "severity"
        found = [effect.relativities(name, with_amount=with_amount) for name, effect in self.fitted_effects.items()]
        return pd.concat(found or [pd.DataFrame()], ignore_index=True)

    @cached_property
    def effects(self) -> "pd.DataFrame":
        """Return a row for each table of the model.

        Columns: factor, effect, monotone (increasing, decreasing or empty), levels (slots with exposure),
        effective_parameters, std_deviation (of the log relativities, or of a curve's differences; of the last depth of
        a tree), variances (all depths).
        """
        import pandas as pd

        return pd.DataFrame(
            {
                "factor": name,
                "effect": effect.kind,
                "monotone": effect.monotone or "",
                "levels": effect.n_exposed,
                "effective_parameters": effect.effective_parameters,
                "std_deviation": float(np.sqrt(effect.variances[-1])) if effect.variances else np.nan,
                "variances": effect.variances,
            }
            for name, effect in self.fitted_effects.items()
        )

    def credibility(self, factor: str) -> "pd.DataFrame":
        """Return a row for each node of a credibility effect, from the top of the tree down.

        Parameters
        ----------
        factor : str
            A factor that entered the model as `Credibility`.

        Returns
        -------
        pandas.DataFrame
            Columns: node, parent, depth, exposure, claims, own_rate, parent_rate, credibility_z, rate. Rates are
            claims an order (yuan a claim for a severity) where the relativities of all other factors are 1.
        """
        import pandas as pd

        if _check.label(factor, argument="factor") not in self.nodes:
            raise InputError(
                f"factor is {repr_of(factor)}; "
                f"the model has credibility effects for {', '.join(self.nodes) or 'no factor'}."
            )
        nodes = self.nodes[factor]
        return pd.DataFrame({"node": nodes.labels, "parent": nodes.parents} | {
            name: getattr(nodes, name)
            for name in ("depth", "exposure", "claims", "own_rate", "parent_rate", "credibility_z", "rate")
        })  # fmt: skip

    def rates(self, book: OrderBook) -> Array:
        """Return the rate of every order of a book for one unit of exposure, whatever its exposure is.

        It is the base times the relativities of the order, times `off_balance`.

        Parameters
        ----------
        book : OrderBook
            A book with the same codings, such as a selection of the one that was fitted.

        Returns
        -------
        float64 array, shape (n_orders,)
            Claim intensity (of all lines of an order together), or yuan, per unit of exposure; for a severity the
            expected ground-up freight of a claim, yuan. To compare with claims, use `predict`.
        """
        check_book(book)
        return rates_of(self, rows_of_book(self, book).codes, book.n_orders)

    @overload
    def predict(self, orders: OrderBook, *, std_errors: Literal[False] = False) -> Array: ...

    @overload
    def predict(
        self,
        orders: Any,
        *,
        std_errors: bool = False,
        exposure: str | float | None = None,
        merchants: Any = None,
        threads: int | None = None,
        **columns: Unpack[PricingColumns],
    ) -> Any: ...

    def predict(
        self,
        orders: Any,
        *,
        std_errors: bool = False,
        exposure: str | float | None = None,
        merchants: Any = None,
        threads: int | None = None,
        **columns: Unpack[PricingColumns],
    ) -> Any:
        """Return the mean of every order: expected claims, expected yuan, or the expected freight of a claim.

        Exposure counts, so the sum over a book compares with its claims. `rates` leaves exposure out.

        Parameters
        ----------
        orders : OrderBook, or pandas, polars or pyarrow table, or path of a Parquet file
            A book with the same codings, such as a selection of the one that was fitted. Or plain orders with the
            columns of the model's factors, read like the orders of `Tariff.price`: by the same rules for missing and
            unseen levels, with the same errors and warnings.
        std_errors : bool
            Also return the standard error of the logarithm of each order's rate.
        exposure : str or float, optional
            Column of plain orders with their exposure, or the exposure of each of them. It must be given if the model
            was fitted to a book with exposure. A book has its own exposure.
        merchants : like orders, optional
            One row a merchant, joined by `merchant_id`, with the columns that plain orders lack.
        threads : int, optional
            Threads that read plain orders; all cores by default.
        **columns
            Names of the columns of plain orders, as for `Tariff.encode`.

        Returns
        -------
        float64 array, shape (n_orders,), for a book without `std_errors`
            Expected claims of a frequency (at most one for a Bernoulli model); expected ground-up freight of a claim,
            yuan, for a severity; expected yuan of a pure premium.
        otherwise a table of the caller's kind (pandas for a book or a path), with the caller's index
            claim_intensity (per unit of exposure) and expected_claims of a frequency; expected_freight of a severity;
            pure_premium (per unit of exposure) and expected_amount of a pure premium. With `std_errors`: std_error, the
            standard error of the logarithm of the first column, and lower and upper, its 95 % bounds. unseen_level
            says whether a factor takes a fallback.

        Raises
        ------
        InputError
            If columns are missing, values are missing or impossible, or the model does not know a level.

        Notes
        -----
        Standard errors come from the joint covariance of all levels, dispersion included (docs/method.md, "The error of
        a prediction"). A leaf of a credibility effect without data adds the variances of the effects that are not
        known. A free level without data has an infinite standard error.

        Examples
        --------
        >>> import pandas as pd
        >>> from freightrisk import Factor, FrequencyModel, OrderBook
        >>> cells = pd.DataFrame({"channel": ["shelf", "live"], "orders": [1000.0, 500.0], "claims": [20, 40]})
        >>> book = OrderBook.from_counts(cells, claims="claims", exposure="orders", factors=[Factor("channel")])
        >>> fitted = FrequencyModel().fit(book)
        >>> fitted.predict(book).round(6).tolist()
        [20.0, 40.0]
        >>> found = fitted.predict(pd.DataFrame({"channel": ["live"]}), exposure=2.0, std_errors=True)
        >>> found.drop(columns="unseen_level").round(3).iloc[0].tolist()
        [0.08, 0.158, 0.059, 0.109, 0.16]
        """
        std_errors = _check.flag(std_errors, argument="std_errors")
        if isinstance(orders, OrderBook):
            _refuse_for_a_book(exposure=exposure, merchants=merchants, threads=threads, **columns)
            rows = rows_of_book(self, orders)
            if not std_errors:
                return responses_of(self, rows, rates_of(self, rows.codes, rows.n_orders))
        else:
            names = ColumnNames.of(columns)
            rows = rows_of_frame(self, orders, exposure=exposure, merchants=merchants, threads=threads, names=names)
        return prediction_frame(self, rows, std_errors=std_errors)

    def expected_claims(
        self, book: OrderBook, *, offset: ArrayLike | None = None, without: Sequence[str] = ()
    ) -> Array:
        """Return the expected claims of every order of a book, each counted, whatever the cover pays.

        Parameters
        ----------
        book : OrderBook
            A book with the same codings, such as a selection of the one that was fitted.
        offset : array, shape (n_orders,), optional
            Added to the log of claim intensity, such as the log share of claims already reported (`ReportLag.offset`).
        without : sequence of str
            Factors to leave out.

        Returns
        -------
        float64 array, shape (n_orders,)
            Intensity times exposure for counts; 1 - exp(-that) where an order has at most one claim; for n lines
            n (1 - exp(-that / n)).

        Examples
        --------
        >>> import pandas as pd
        >>> from freightrisk import Factor, FrequencyModel, OrderBook
        >>> cells = pd.DataFrame({"channel": ["shelf", "live"] * 2, "n_lines": [2] * 4, "claims": [0, 1, 1, 2]})
        >>> book = OrderBook.from_counts(cells, claims="claims", factors=[Factor("channel")], lines="n_lines")
        >>> FrequencyModel(family="binomial").fit(book).expected_claims(book).round(6).tolist()
        [0.5, 1.5, 0.5, 1.5]
        """
        if self.kind != "frequency":
            raise InputError(f"the model is a {self.kind} model; expected claims come from a frequency model.")
        without = [_check.label(name, argument="without") for name in _check.items(without, argument="without")]
        unknown = [name for name in without if name not in self.tables]
        if unknown:
            raise InputError(f"without: the model has no factor '{unknown[0]}'; it has {named(self.tables, 'none')}.")
        check_book(book)
        rows = rows_of_book(self, book)
        mean = rates_of(self, rows.codes, book.n_orders)
        for name in without:
            mean *= np.exp(-self.tables[name][rows.codes[name]])
        if book.exposure is not None:
            mean *= book.exposure
        if offset is not None:
            mean *= np.exp(_check.real_array(offset, argument="offset", length=book.n_orders))
        return expected_of(self, rows.codes, mean)

    def evaluate(
        self,
        book: OrderBook,
        *,
        offset: ArrayLike | None = None,
        weight: ArrayLike | None = None,
        threads: int | None = None,
    ) -> Evaluation:
        """Return how well the model describes the rows of a book: deviance, log likelihood, actual and expected.

        On the rows that were fitted, deviance and log likelihood are the fit's own, up to the solver's last step.

        Parameters
        ----------
        book : OrderBook
            A book with the same codings, such as orders that were held out.
        offset, weight : array, optional
            As for the fit of the model: one value an order, or a record of claims for a severity.
        threads : int, optional
            All cores by default; the result does not depend on it.

        Returns
        -------
        Evaluation

        Raises
        ------
        InputError
            If the book has no rows, other codings, or claims that the family does not allow.

        Examples
        --------
        >>> import pandas as pd
        >>> from freightrisk import Factor, FrequencyModel, OrderBook
        >>> cells = pd.DataFrame({"channel": ["shelf", "live"] * 2, "claims": [0, 1, 0, 3]})
        >>> book = OrderBook.from_counts(cells, claims="claims", factors=[Factor("channel")])
        >>> held_out = FrequencyModel([]).fit(book.select(book.counts < 3)).evaluate(book.select(book.counts == 3))
        >>> held_out.actual, round(held_out.expected, 3), round(held_out.deviance, 3)
        (3.0, 0.333, 7.85)
        """
        return evaluate(self, book, offset=offset, weight=weight, threads=threads)

    def summary(self) -> ModelSummary:
        """Return the fit as a text with its header and its coefficients; ``repr`` is the header alone.

        Examples
        --------
        >>> import pandas as pd
        >>> from freightrisk import Factor, FrequencyModel, OrderBook
        >>> cells = pd.DataFrame({"channel": ["shelf", "live"], "orders": [1000.0, 500.0], "claims": [20, 40]})
        >>> book = OrderBook.from_counts(cells, claims="claims", exposure="orders", factors=[Factor("channel")])
        >>> summary = FrequencyModel().fit(book).summary()
        >>> summary.header["residual df"], summary.coefficients["z"].round(2).tolist()
        ('0', [-17.5, 5.06, nan])
        """
        return summary_of(self)

    def save(self, path: str | Path) -> None:
        """Write the model as one JSON document; the file appears complete or not at all.

        `load_model` reads it. The loaded model has the same numbers to the last bit, so it predicts, summarises and
        builds tariffs exactly like this one. It is equal (`==`) to this one: models are equal if their documents are.

        Parameters
        ----------
        path : str or Path
        """
        write_whole(path, document_of(self))

    def __repr__(self) -> str:
        return short_text(self)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self is other or document_of(self) == document_of(other)

    def __hash__(self) -> int:
        return hash((self.kind, self.family, self.intercept, tuple(self.fitted_effects)))


def _refuse_for_a_book(**given: Any) -> None:
    """Refuse arguments that only plain orders need."""
    odd = next((name for name, value in given.items() if value is not None), None)
    if odd is not None:
        raise InputError(f"{odd} is given, but orders is an OrderBook, which is already read; leave {odd} out.")
