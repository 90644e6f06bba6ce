"""How well a fit describes the rows of any book: deviance and log likelihood, and claims or freight over expected."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from freightrisk import _check
from freightrisk._types import Array
from freightrisk.book.book import OrderBook
from freightrisk.errors import InputError
from freightrisk.models.design import Layout
from freightrisk.models.families import FAMILIES, expected_response
from freightrisk.models.fit_record import FitRecord
from freightrisk.models.likelihood import fit_statistics, log_lift, log_likelihood_at
from freightrisk.models.passes import Passes, Problem
from freightrisk.models.prediction import book_codes, log_sums
from freightrisk.models.rows import Observed, observed, weighted_rows


@dataclass(frozen=True)
class Evaluation:
    """How well a fitted model describes the rows of a book, made by `FittedModel.evaluate`.

    Parameters
    ----------
    rows : int
        Rows of the book with a weight above 0: orders, or records of claims for a severity.
    weight : float
        Sum of the rows' weights: prior weights for counts, claims for a severity, exposure for a pure premium.
    deviance, null_deviance : float
        Deviance of the model, and of a model with the fit's overall mean and nothing else. Both are nan for a
        beta-binomial, which has no deviance in closed form; use `log_likelihood`.
    log_likelihood : float
        Log likelihood of the rows at the fit's parameters and dispersion. It is nan if the fit is of amounts without
        residuals, such as a flat fee: its dispersion is 0, so amounts have no density. Use the deviance.
    actual, expected : float
        Claims, or freight in yuan, of the rows and as the model expects them.

    Examples
    --------
    >>> import pandas as pd
    >>> from freightrisk import Factor, FrequencyModel, OrderBook
    >>> cells = pd.DataFrame({"channel": ["shelf", "live"], "orders": [1000.0, 500.0], "claims": [20, 40]})
    >>> book = OrderBook.from_counts(cells, claims="claims", exposure="orders", factors=[Factor("channel")])
    >>> FrequencyModel([]).fit(book).evaluate(book).mean_deviance
    13.863
    """

    rows: int
    weight: float
    deviance: float
    null_deviance: float
    log_likelihood: float
    actual: float
    expected: float

    @property
    def mean_deviance(self) -> float:
        """Return the deviance for each unit of weight."""
        return self.deviance / self.weight

    @property
    def mean_null_deviance(self) -> float:
        """Return the null deviance for each unit of weight."""
        return self.null_deviance / self.weight

    @property
    def explained(self) -> float:
        """Return the share of the null deviance that the model explains; below 0 if it is worse than the mean."""
        return 1.0 - self.deviance / self.null_deviance if self.null_deviance > 0.0 else float("nan")

    @property
    def ratio(self) -> float:
        """Return actual over expected."""
        return self.actual / self.expected


def evaluate(
    record: FitRecord,
    book: OrderBook,
    *,
    offset: object = None,
    weight: object = None,
    threads: int | None = None,
) -> Evaluation:
    """Return how well a fit describes the rows of a book; see `FittedModel.evaluate`."""
    threads = _check.threads(threads)
    seen = observed(record.kind, record.family, book, offset=offset, weight=weight)
    if not len(seen.response):
        raise InputError(f"the book has no {'claims' if record.kind == 'severity' else 'rows'} to evaluate.")
    rows: Any = book.claim_row if record.kind == "severity" else slice(None)
    kept = weighted_rows(seen.weight)
    if kept is not None:  # a row of weight 0 has no likelihood, whatever its response or mean is
        seen = Observed(*(column[kept] if len(column) else column for column in seen))
        rows = rows[kept] if record.kind == "severity" else kept
    # A lognormal fit is of medians, and the intercept is that of means.
    known = record.statistics
    lift = log_lift(record.family, known.dispersion, 1.0 if known.n_censored else known.n_rows / known.claims)
    # The relativities of a model of lines rate one line, so the number of lines is left out.
    left_out = {name for name, kind in record.kinds.items() if kind == "lines"}
    fitted_tables = {name for name, kind in record.kinds.items() if kind != "given"}
    means = [
        np.exp(log_sums(base, record, book_codes(record, book, without), book.n_orders))[rows] * ones(seen.multiplier)
        for base, without in ((record.intercept - lift, left_out), (record.statistics.null_base, fitted_tables))
    ]
    fitted, null = (
        Problem(
            family=record.family, codes={}, sizes={}, response=seen.response, multiplier=mean, weight=seen.weight,
            family_parameter=record.family_parameter, trials=seen.trials,
        )
        for mean in means
    )  # fmt: skip
    deviance, log_likelihood = _statistics(fitted, threads)
    if not FAMILIES[record.family].counts:
        log_likelihood = log_likelihood_at(fitted, deviance, means[0], record.statistics.likelihood_dispersion)
    weights = ones(seen.weight)
    expected = expected_response(record.family, means[0] * np.exp(lift) * record.off_balance, seen.trials)
    return Evaluation(
        rows=len(seen.response),
        weight=float(np.broadcast_to(weights, seen.response.shape).sum()),
        deviance=deviance,
        null_deviance=_statistics(null, threads)[0],
        log_likelihood=log_likelihood,
        actual=float((weights * seen.response).sum(dtype=np.float64)),
        expected=float((weights * expected).sum()),
    )


def ones(values: Array) -> Array:
    """Return the values of a column, or a one that stands for all rows if the column is empty."""
    return values if len(values) else np.ones(1)


def _statistics(problem: Problem, threads: int) -> tuple[float, float]:
    """Return deviance and log likelihood of rows whose means are the multipliers, by the kernel of the fit."""
    passed = Passes(problem, Layout(()), threads).over(0.0, np.empty(0), full=False)
    return fit_statistics(problem, float(passed.totals[0]))
