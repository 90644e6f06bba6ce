"""What a fit returns, and the fit that both models share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._frozen import FrozenDict
from freightrisk.book.book import OrderBook
from freightrisk.book.factors import Coding
from freightrisk.errors import FitError, InputError
from freightrisk.models.table_model import Array, Layout, Problem, Solution, Step, null_problem, solve

if TYPE_CHECKING:
    import pandas as pd

NORMAL_975 = 1.959963984540054
LARGEST_OFFSET = 200.0
ENGINES = ("newton", "statsmodels")


@dataclass(frozen=True, repr=False)
class FittedModel:
    """A fitted sum of log tables: ``log mean = log base + sum of tables``.

    Parameters
    ----------
    kind : {"frequency", "severity"}
    family : {"poisson", "bernoulli", "gamma"}
    codings : dict of str to Coding
        Levels of each factor in the model.
    intercept, intercept_std_error : float
        Log of `base`, the mean at every factor's reference level, and its standard error.
    tables : dict of str to float64 array, shape (n_slots,)
        Log relativity of each level and, behind the levels, of each fallback.
    std_errors : dict of str to float64 array, shape (n_slots,)
        Standard errors of the log relativities: 0 for the reference, infinite where the rows had no such level.
    references : dict of str to int
        Code of each factor's reference level, the one with the most exposure.
    exposure, claims, amount : dict of str to float64 array, shape (n_slots,)
        Exposure (orders; claims for a severity), claims and freight (yuan) of each level in the fitted rows.
    covariance : float64 array
        Covariance of intercept and free levels, in the order of `parameters`.
    parameters : tuple of (factor, code)
        Free levels behind the intercept.
    deviance, null_deviance, log_likelihood : float
    dispersion : float
        Pearson statistic over residual degrees of freedom. Standard errors use it for gamma and 1 for counts.
    df_residual, n_rows : int
    steps : tuple of Step
        Convergence record; the first steps may be on a sample of the rows.
    engine : {"newton", "statsmodels"}
    """

    kind: str
    family: str
    codings: Mapping[str, Coding]
    intercept: float
    intercept_std_error: float
    tables: Mapping[str, Array]
    std_errors: Mapping[str, Array]
    references: Mapping[str, int]
    exposure: Mapping[str, Array]
    claims: Mapping[str, Array]
    amount: Mapping[str, Array]
    covariance: Array
    parameters: tuple[tuple[str, int], ...]
    deviance: float
    null_deviance: float
    log_likelihood: float
    dispersion: float
    df_residual: int
    n_rows: int
    steps: tuple[Step, ...]
    engine: str

    def __post_init__(self) -> None:
        for name in ("codings", "tables", "std_errors", "references", "exposure", "claims", "amount"):
            object.__setattr__(self, name, FrozenDict(dict(getattr(self, name))))

    @property
    def base(self) -> float:
        """Return the mean at every factor's reference level: claims an order, or yuan a claim."""
        return float(np.exp(self.intercept))

    @property
    def aic(self) -> float:
        """Return Akaike's criterion; a gamma's dispersion counts as a parameter."""
        return 2.0 * (self._n_parameters - self.log_likelihood)

    @property
    def bic(self) -> float:
        """Return Schwarz's criterion."""
        return float(np.log(self.n_rows)) * self._n_parameters - 2.0 * self.log_likelihood

    @property
    def _n_parameters(self) -> int:
        return 1 + len(self.parameters) + (self.family == "gamma")

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

        return pd.concat([self._factor_frame(name) for name in self.tables] or [pd.DataFrame()], ignore_index=True)

    def _factor_frame(self, name: str) -> "pd.DataFrame":
        import pandas as pd

        coding = self.codings[name]
        shown = np.flatnonzero((np.arange(coding.n_slots) < coding.n_levels) | (self.exposure[name] > 0))
        log_relativity, error = self.tables[name][shown], self.std_errors[name][shown]
        columns = {
            "factor": name,
            "level": [coding.slot_label(code) for code in shown.tolist()],
            "relativity": np.exp(log_relativity),
            "log_relativity": log_relativity,
            "std_error": error,
            "lower": np.exp(log_relativity - NORMAL_975 * error),
            "upper": np.where(
                np.isinf(error), np.inf, np.exp(np.where(np.isinf(error), 0.0, log_relativity + NORMAL_975 * error))
            ),
            "exposure": self.exposure[name][shown],
            "claims": self.claims[name][shown],
        }
        return pd.DataFrame(columns | ({"amount": self.amount[name][shown]} if self.kind == "severity" else {}))

    def predict(self, book: OrderBook) -> Array:
        """Return the mean of every order of a book.

        Parameters
        ----------
        book : OrderBook
            A book with the same codings, such as a selection of the one that was fitted.

        Returns
        -------
        float64 array, shape (n_orders,)
            Claim intensity per unit of exposure, or expected ground-up freight of a claim in yuan.
        """
        total = np.full(book.n_orders, self.intercept)
        for name, table in self.tables.items():
            if book.codings.get(name) != self.codings[name]:
                raise InputError(
                    f"book: its coding of factor '{name}' is not the model's; select rows of the fitted book, or build "
                    "the new book with factors=list(fitted_book.codings.values())."
                )
            total += table[book.codes[name]]
        return np.asarray(np.exp(total))

    def summary(self) -> str:
        """Return the fit on one screen: what was fitted, how well, and how it converged."""
        factors = ", ".join(f"{name} ({self.codings[name].n_levels})" for name in self.tables) or "none"
        return "\n".join(
            [
                f"{self.kind} model, {self.family}, log link, engine {self.engine}",
                f"rows {self.n_rows:,}; parameters {1 + len(self.parameters)}; residual df {self.df_residual:,}",
                f"factors: {factors}",
                f"base {self.base:.6g} (intercept {self.intercept:.6f}, std error {self.intercept_std_error:.6f})",
                f"deviance {self.deviance:,.2f} (null {self.null_deviance:,.2f}); dispersion {self.dispersion:.4f}",
                f"log likelihood {self.log_likelihood:,.2f}; AIC {self.aic:,.2f}; BIC {self.bic:,.2f}",
                f"converged in {len(self.steps)} steps, last move {self.steps[-1].largest_move:.1e}",
            ]
        )

    def __repr__(self) -> str:
        return self.summary()


@dataclass(frozen=True)
class Rows:
    """The rows that a model is fitted on, and what is reported of them by level."""

    problem: Problem
    exposure: Array
    claims: Array
    amount: Array


def chosen_factors(book: OrderBook, factors: Sequence[str] | None) -> list[str]:
    """Return the names of the model's factors, all of the book's by default."""
    if factors is None:
        return list(book.codings)
    unknown = [name for name in factors if name not in book.codings]
    if unknown:
        raise InputError(f"factors: the book has no factor '{unknown[0]}'; it has {', '.join(book.codings)}.")
    return list(factors)


def offset_scale(offset: Any, n_rows: int, exposure: Array | None) -> Array:
    """Return exposure times exp(offset), empty where both are absent."""
    scale = np.empty(0) if exposure is None else exposure
    if offset is None:
        return scale
    added = _check.real_array(offset, argument="offset", length=n_rows)
    _check.refuse_rows(
        np.abs(added) > LARGEST_OFFSET,
        f"offset is outside [-{LARGEST_OFFSET:g}, {LARGEST_OFFSET:g}] in {{rows}}; it is added to a logarithm, so give "
        "the log of a ratio.",
    )
    factor = np.exp(added)
    return np.asarray(factor * scale) if len(scale) else np.asarray(factor)


def prior_weight(weight: Any, n_rows: int) -> Array:
    """Return the weights as an array, empty where absent."""
    if weight is None:
        return np.empty(0)
    array = _check.real_array(weight, argument="weight", length=n_rows)
    _check.refuse_rows(array < 0.0, "weight is negative in {rows}; weights are zero or more.")
    if n_rows and not array.any():
        raise InputError(f"weight is zero in all of {n_rows:,} rows; give some rows a weight above zero.")
    return array


def fit_rows(
    kind: str,
    rows: Rows,
    codings: Mapping[str, Coding],
    *,
    engine: str,
    threads: int | None,
    tolerance: float,
    max_iterations: int,
) -> FittedModel:
    """Return the fitted model of some rows."""
    _check.one_of(engine, ENGINES, argument="engine")
    tolerance = _check.number(tolerance, argument="tolerance", low=0.0, high=1e-2, open_low=True)
    max_iterations = _check.whole(max_iterations, argument="max_iterations", low=1, high=10_000)
    problem = rows.problem
    by_level = {name: _level_sums(problem.codes[name], coding.n_slots, rows) for name, coding in codings.items()}
    references = {name: int(np.argmax(sums[0])) for name, sums in by_level.items()}
    _refuse_empty_fit(problem, codings, by_level)
    layout = _layout(by_level, references)
    labels = {name: tuple(map(coding.slot_label, range(coding.n_slots))) for name, coding in codings.items()}
    solver = partial(solve, tolerance=tolerance, max_iterations=max_iterations, threads=_check.threads(threads))
    if engine == "statsmodels":
        from freightrisk.models.referee import solve_with_statsmodels

        solution = solve_with_statsmodels(problem, layout, labels)
    else:
        solution = solver(problem, layout, labels)
    null = solver(null_problem(problem), Layout((), (), np.empty(0, dtype=bool)), {})
    return _report(kind, problem, codings, by_level, references, layout, solution, null, engine)


def _level_sums(codes: NDArray[Any], n_slots: int, rows: Rows) -> tuple[Array, Array, Array]:
    def total(values: Array) -> Array:
        if len(values) == 0:
            return np.zeros(n_slots)
        # A single one stands for ones; of a single row it is the row's own.
        return np.bincount(codes, values if len(values) == len(codes) else None, minlength=n_slots).astype(np.float64)

    return total(rows.exposure), total(rows.claims), total(rows.amount)


def _layout(by_level: Mapping[str, tuple[Array, Array, Array]], references: Mapping[str, int]) -> Layout:
    free = [sums[0] > 0 for sums in by_level.values()]
    for flags, reference in zip(free, references.values(), strict=True):
        flags[reference] = False
    sizes = tuple(len(flags) for flags in free)
    return Layout(tuple(by_level), sizes, np.concatenate(free) if free else np.empty(0, dtype=bool))


def _refuse_empty_fit(
    problem: Problem, codings: Mapping[str, Coding], by_level: Mapping[str, tuple[Array, Array, Array]]
) -> None:
    if not problem.n_rows or not problem.response.any():
        raise FitError(f"there are no claims in the {problem.n_rows:,} rows to fit; a model needs some.")
    if problem.family == "gamma":
        return
    if problem.family == "bernoulli":
        _refuse_certain_claims(problem, codings)
    for name, (exposure, claims, _) in by_level.items():
        empty = np.flatnonzero((exposure > 0) & (claims == 0))
        if len(empty):
            shown = ", ".join(f"'{codings[name].slot_label(code)}'" for code in empty[:5].tolist())
            raise FitError(
                f"factor '{name}': {len(empty)} level(s) have exposure but no claim (first: {shown}), so a free "
                "relativity would be zero; pool them with min_claims= when the factor is declared."
            )


def _refuse_certain_claims(problem: Problem, codings: Mapping[str, Coding]) -> None:
    if problem.response.all():
        raise FitError(f"there is a claim in every order of the {problem.n_rows:,} to fit; use family='poisson'.")
    for name, coding in codings.items():
        orders = np.bincount(problem.codes[name], minlength=coding.n_slots)
        claims = np.bincount(problem.codes[name], problem.response, minlength=coding.n_slots)
        certain = np.flatnonzero((orders > 0) & (claims == orders))
        if len(certain):
            shown = ", ".join(f"'{coding.slot_label(code)}'" for code in certain[:5].tolist())
            raise FitError(
                f"factor '{name}': {len(certain)} level(s) have a claim in every order (first: {shown}), so a free "
                "relativity would be infinite; pool them with min_exposure=, or use family='poisson'."
            )


def _report(
    kind: str,
    problem: Problem,
    codings: Mapping[str, Coding],
    by_level: Mapping[str, tuple[Array, Array, Array]],
    references: Mapping[str, int],
    layout: Layout,
    solution: Solution,
    null: Solution,
    engine: str,
) -> FittedModel:
    df_residual = problem.n_rows - len(solution.covariance)
    dispersion = solution.pearson / df_residual if df_residual > 0 else float("nan")
    covariance = solution.covariance * (dispersion if problem.family == "gamma" else 1.0)
    errors = np.full(len(solution.tables), np.inf)
    errors[layout.free] = np.sqrt(np.diag(covariance)[1:])
    tables, std_errors, parameters = {}, {}, []
    for name, at, size in zip(layout.names, layout.offsets.tolist(), layout.sizes, strict=True):
        free = layout.free[at : at + size]
        std_errors[name] = errors[at : at + size].copy()
        std_errors[name][references[name]] = 0.0
        estimated = free.copy()
        estimated[references[name]] = True
        tables[name] = _filled(solution.tables[at : at + size], estimated, codings[name], by_level[name][0])
        parameters += [(name, code) for code in np.flatnonzero(free).tolist()]
    deviance, log_likelihood = _fit_statistics(problem, solution.objective)
    return FittedModel(
        kind=kind, family=problem.family, codings=codings, intercept=solution.base,
        intercept_std_error=float(np.sqrt(covariance[0, 0])), tables=tables, std_errors=std_errors,
        references=references, exposure={name: sums[0] for name, sums in by_level.items()},
        claims={name: sums[1] for name, sums in by_level.items()},
        amount={name: sums[2] for name, sums in by_level.items()}, covariance=covariance,
        parameters=tuple(parameters), deviance=deviance, null_deviance=_fit_statistics(problem, null.objective)[0],
        log_likelihood=log_likelihood, dispersion=dispersion, df_residual=df_residual, n_rows=problem.n_rows,
        steps=solution.steps, engine=engine,
    )  # fmt: skip


def _filled(table: Array, estimated: NDArray[np.bool_], coding: Coding, exposure: Array) -> Array:
    """Give levels without rows, and the fallbacks, the exposure-weighted mean of the nearest ancestor's levels."""
    table = table.copy()
    means: dict[tuple[Any, ...], float] = {}
    for node, members in zip(coding.nodes, coding.members, strict=True):
        known = members[estimated[members]]
        if len(known):
            means[node] = float(np.log(np.average(np.exp(table[known]), weights=exposure[known])))
        else:
            means[node] = means[node[:-1]] if node else 0.0
    for code in np.flatnonzero(~estimated).tolist():
        node = coding.nodes[code - coding.n_levels] if code >= coding.n_levels else coding.paths[code][:-1]
        table[code] = means[node]
    return table


def _fit_statistics(problem: Problem, objective: float) -> tuple[float, float]:
    """Return deviance and log likelihood from the solver's objective, adding the terms it leaves out."""
    y = problem.response
    weight = problem.weight if len(problem.weight) else np.ones(len(y))
    log_scale = np.log(problem.scale) if len(problem.scale) else np.zeros(len(y))
    if problem.family == "bernoulli":
        return -2.0 * objective, objective
    if problem.family == "poisson":
        some = y > 0
        w, counts = weight[some], y[some]
        fitted = objective + float((w * counts * log_scale[some]).sum())
        saturated = float((w * (counts * np.log(counts) - counts)).sum())
        return 2.0 * (saturated - fitted), fitted - float((w * _log_gamma(counts + 1.0)).sum())
    deviance = 2.0 * (float((weight * (log_scale - np.log(y))).sum()) - float(weight.sum()) - objective)
    shape = float(weight.sum()) / deviance if deviance > 0 else np.inf
    if not np.isfinite(shape):
        return deviance, float("inf")
    constant = weight * (
        shape * np.log(shape) - _log_gamma(np.array(shape)) + (shape - 1.0) * np.log(y) - shape * log_scale
    )
    return deviance, float(constant.sum() + shape * objective)


def _log_gamma(x: Array) -> Array:
    from scipy.special import gammaln

    return np.asarray(gammaln(x))
