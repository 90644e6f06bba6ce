"""The fit that frequency and severity share: rows and effects in, a `FittedModel` out."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._parallel import chunks
from freightrisk._shown import counted, repr_of
from freightrisk._types import Array
from freightrisk.book.book import OrderBook
from freightrisk.book.codings import Coding, CrossCoding
from freightrisk.errors import FitError, InputError
from freightrisk.models.balance import FARTHEST, off_balance
from freightrisk.models.censored import solve_censored
from freightrisk.models.design import Layout, SlotNames
from freightrisk.models.effects import Effect, Free, Given, Interaction, given_table
from freightrisk.models.families import FAMILIES, PARAMETER_BOUNDS, rising_sums
from freightrisk.models.fit_doubts import thin_effects, unsettled_effects, warn_of_balance, warn_of_upper_bound
from freightrisk.models.fitted import FittedModel
from freightrisk.models.fitted_effect import FittedEffect
from freightrisk.models.inference import clustered_covariance
from freightrisk.models.information import means
from freightrisk.models.passes import PART_ROWS, Problem
from freightrisk.models.report import Report, filled
from freightrisk.models.rows import Rows, total
from freightrisk.models.solver import Solver
from freightrisk.models.strengths import Mixing
from freightrisk.models.table_model import Solution, null_problem, solve
from freightrisk.models.terms import AnyCoding, LevelSums, coding_of, level_sums, term_of

PARAMETER_ROUNDS = 50
PARAMETER_TOLERANCE = 1e-10
LEAST_BALANCE, MOST_BALANCE = 0.8, 1.25  # an off-balance factor beyond these is warned of
LARGEST_STEP = 3.0  # of the log parameter in a round
# Changes below this end the rounds once they no longer halve: a parameter near zero is known to rounding.
PARAMETER_NOISE = 1e-7


def options_of(**columns: Any) -> tuple[str, ...]:
    """Return the names of the optional columns that are given."""
    return tuple(name for name, column in columns.items() if column is not None)


def codes_of(book: OrderBook, effects: Mapping[str, Effect], rows: NDArray[np.int64] | None) -> dict[str, NDArray[Any]]:
    """Return the codes of each effect's table, of all orders or of some."""
    found = {}
    for name, effect in effects.items():
        if isinstance(effect, Interaction):
            coding = CrossCoding(book.codings[effect.first], book.codings[effect.second])
            codes = coding.pair(book.codes[effect.first], book.codes[effect.second])
        else:
            codes = book.codes[name]
        found[name] = codes if rows is None else codes[rows]
    return found


def fit_rows(
    kind: str,
    rows: Rows,
    book: OrderBook,
    effects: Mapping[str, Effect],
    *,
    solver: Solver,
) -> FittedModel:
    """Return the fitted model of some rows."""
    _check.instance(solver, Solver, argument="solver")
    codings = {name: coding_of(effect, book.codings) for name, effect in effects.items()}
    sums = {
        name: level_sums(codes, codings[name].n_slots, rows.exposure, rows.claims, rows.amount)
        for name, codes in rows.codes.items()
    }
    _refuse_empty_fit(rows, effects, codings, sums)
    given = _given_tables(effects, codings, sums)
    terms = tuple(term_of(effect, codings[name], sums[name]) for name, effect in effects.items() if name not in given)
    layout = Layout(terms)
    labels = {name: _Labels(codings[name]) for name in layout.names}
    found = _solved(rows.problem(layout, given), layout, labels, solver, rows.at_limit)
    unsettled = unsettled_effects(layout, found.solution.unsettled)
    null = solve(null_problem(found.problem), Layout(()), {}, solver=solver)
    clustered, clusters = None, 0
    if rows.cluster is not None:
        clusters_by_row = _cluster_codes(rows.cluster)
        clustered = clustered_covariance(found.problem, layout, found.solution, clusters_by_row)
        clusters = int(clusters_by_row.max()) + 1
    report = Report(
        kind, found.problem, layout, found.solution, effects, codings, sums, given, clustered, found.log_likelihood
    )
    fitted = report.model(null, solver.engine)
    n_censored = 0 if rows.at_limit is None else int(rows.at_limit.sum())
    how = replace(
        fitted.statistics, n_clusters=clusters, n_censored=n_censored, options=rows.options,
        exposure=total(rows.exposure, rows.n_rows), claims=total(rows.claims, rows.n_rows),
    )  # fmt: skip
    if fitted.parameter_bound == "upper" and rows.family_parameter == 0.0:
        warn_of_upper_bound(fitted, ESTIMATED[fitted.family][0])
    thin = thin_effects(fitted, effects) if FAMILIES[rows.family].counts else ()
    known = {
        name: replace(effect, doubts=("unsettled",) * (name in unsettled) + ("thin",) * (name in thin))
        for name, effect in fitted.fitted_effects.items()
    }
    balance = _balance(found, layout, fitted, report.lift)
    if not LEAST_BALANCE <= balance <= MOST_BALANCE:
        warn_of_balance(kind, rows.family, balance)
    return replace(fitted, clock=book.clock, statistics=how, fitted_effects=known, off_balance=balance)


def _balance(found: "_Solved", layout: Layout, fitted: FittedModel, lift: float) -> float:
    """Return the off-balance factor; refuse a fit without a finite mean."""
    balance = float("nan")
    if abs(fitted.intercept) <= FARTHEST:
        censored = found.log_likelihood is not None
        balance = 1.0 if censored else off_balance(found.problem, layout, found.solution.state, lift)
    if not (np.isfinite(balance) and balance > 0.0):
        raise FitError(
            f"the {fitted.family} fit has no finite mean: the log of its base is {fitted.intercept:g} and its "
            f"dispersion {fitted.dispersion:g}. There are too few rows for the levels, or weights or offsets are too "
            "large; pool levels, or correct the weights."
        )
    return balance


class _Solved(NamedTuple):
    """A solution, with the problem that it solves and its log likelihood, if that is not the family's own."""

    problem: Problem
    solution: Solution
    log_likelihood: float | None = None


def _solved(
    problem: Problem,
    layout: Layout,
    labels: Mapping[str, SlotNames],
    solver: Solver,
    at_limit: NDArray[np.bool_] | None,
) -> _Solved:
    newton = partial(solve, labels=labels, solver=solver)
    if problem.family in ESTIMATED and problem.family_parameter == 0.0:
        problem = replace(problem, family_parameter=fitted_parameter(problem, layout, newton))
    if at_limit is not None:
        if solver.engine != "newton":
            raise InputError(
                "engine='statsmodels' has no censored fit; leave limit= out, or use solver=Solver(engine='newton')."
            )
        if at_limit.any():
            return _Solved(*solve_censored(problem, at_limit, layout, newton, tolerance=10 * solver.tolerance))
    if solver.engine == "statsmodels":
        from freightrisk.models.referee import solve_with_statsmodels

        return _Solved(problem, solve_with_statsmodels(problem, layout, labels, solver))
    return _Solved(problem, newton(problem, layout))


def fitted_parameter(problem: Problem, layout: Layout, solver: Callable[..., Solution]) -> float:
    """Return the maximum likelihood estimate of the family's parameter, with the tables at their own maximum.

    Tables and parameter are orthogonal in expectation, or nearly so. They are fitted in turns. Anderson mixing of the
    log parameter speeds up the rounds where outliers make the two depend on each other.
    """
    simple, given_means = ESTIMATED[problem.family]
    solution = solver(replace(problem, family=simple), layout)
    parameter = given_means(problem, means(problem, layout, solution.state))
    change, mixing = np.inf, Mixing()
    for _ in range(PARAMETER_ROUNDS):
        solution = solver(replace(problem, family_parameter=parameter), layout, start=solution.state)
        asked = np.log(given_means(problem, means(problem, layout, solution.state)) / parameter)
        last, change = change, abs(asked)
        if change < PARAMETER_TOLERANCE or 0.5 * last < change < PARAMETER_NOISE:
            return float(parameter * np.exp(asked))
        step = mixing.step(np.array([np.log(parameter)]), np.array([asked]))[0]
        # An extrapolated correlation must stay below 1, and a parameter within its range.
        least, most = PARAMETER_BOUNDS[problem.family]
        parameter = float(np.clip(parameter * np.exp(np.clip(step, -LARGEST_STEP, LARGEST_STEP)), least, most))
    raise FitError(
        f"the parameter of the {problem.family} family did not converge in {PARAMETER_ROUNDS} rounds (last "
        f"{parameter:.4g}); pool levels with few claims (min_claims=), or use family='{simple}'."
    )


def correlation_given_means(problem: Problem, mean: Array) -> float:
    """Return the correlation of largest likelihood, between 1e-6 (as good as independent) and 1 - 1e-6."""
    from scipy.optimize import brentq

    several = problem.trials > 1
    if not several.any():
        raise FitError("no order has two lines or more, so that a correlation could be seen; use family='binomial'.")
    y, n = problem.y[several], problem.trials[several]
    p = -np.expm1(-mean[several])
    weight = problem.weight[several] if len(problem.weight) else np.ones(len(y))

    def slope(log_odds: float) -> float:
        r = float(1.0 / (1.0 + np.exp(-log_odds)))
        back, stay = (
            rising_sums(count, share, r, lambda share, k: k - share) for count, share in ((y, p), (n - y, 1.0 - p))
        )
        every = np.cumsum([(k - 1.0) / (1.0 - r + k * r) for k in range(int(n.max()))])[n.astype(int) - 1]
        return float((weight * (back + stay - every)).sum())

    least, largest = PARAMETER_BOUNDS["beta_binomial"]
    low, high = (float(np.log(r / (1.0 - r))) for r in (least, largest))
    if slope(low) <= 0.0:
        return least
    if slope(high) >= 0.0:
        return largest
    return float(1.0 / (1.0 + np.exp(-brentq(slope, low, high, xtol=1e-13, rtol=1e-14))))


def dispersion_given_means(problem: Problem, mean: Array) -> float:
    """Return the dispersion of largest likelihood, between 1e-6 (as good as Poisson) and 1e3."""
    from scipy.optimize import brentq
    from scipy.special import digamma

    weight = problem.weight if len(problem.weight) else np.ones(problem.n_rows)
    some = problem.y > 0
    y, w = problem.y[some], weight[some]

    def slope(log_shape: float) -> float:
        size = float(np.exp(-log_shape))
        counted = float((w * (digamma(y + size) - digamma(size))).sum())
        rest = (mean - problem.y) / (size + mean) - np.log1p(mean / size)
        return counted + float((weight * rest).sum())

    least, largest = PARAMETER_BOUNDS["negative_binomial"]
    low, high = np.log(least), np.log(largest)
    if slope(low) <= 0.0 <= slope(high):
        return float(np.exp(brentq(slope, low, high, xtol=1e-13, rtol=1e-14)))
    return least if slope(low) > 0.0 else largest


# Families whose parameter is estimated: the family to start from, and the parameter of largest likelihood given the
# means.
ESTIMATED: dict[str, tuple[str, Callable[[Problem, Array], float]]] = {
    "negative_binomial": ("poisson", dispersion_given_means),
    "beta_binomial": ("binomial", correlation_given_means),
}


def with_lines(fitted: FittedModel, book: OrderBook, rows: Rows) -> FittedModel:
    """Return a model of lines as one of orders: with the number of lines as a given table."""
    name = str(book.lines)
    coding = book.codings[name]
    codes = book.codes[name] if rows.kept is None else book.codes[name][rows.kept]
    sums = level_sums(codes, coding.n_slots, rows.exposure, rows.claims, rows.amount)
    counter = FittedEffect(
        coding=coding,
        kind="lines",
        table=np.log(np.minimum(np.arange(coding.n_slots) + 1.0, coding.n_levels)),
        std_errors=np.zeros(coding.n_slots),
        exposure=sums.exposure,
        claims=sums.claims,
        amount=sums.amount,
    )
    return replace(fitted, fitted_effects={**fitted.fitted_effects, name: counter})


def cluster_of(cluster: Any, n_orders: int, rows: NDArray[np.int64] | None) -> Any:
    """Return the cluster of each row that is fitted, given that of each order."""
    if cluster is None:
        return None
    values = _check.groups(cluster, argument="cluster", length=n_orders)
    if values.shape != (n_orders,):
        found = f"cluster is {repr_of(cluster)}" if values.ndim == 0 else f"cluster has shape {values.shape}"
        raise InputError(f"{found}; give one value for each of {n_orders:,} orders.")
    return values if rows is None else values[rows]


def _cluster_codes(cluster: Any) -> NDArray[np.int64]:
    import pandas as pd

    try:
        codes: NDArray[np.int64] = pd.factorize(np.asarray(cluster))[0].astype(np.int64)
    except TypeError:
        raise InputError("cluster has values that are no ids; give numbers or texts.") from None
    _check.refuse_rows(codes < 0, "cluster is missing in {rows}; give each order one, such as its merchant.")
    return codes


class _Labels:
    """The names of a coding's slots, made when one is asked for."""

    def __init__(self, coding: AnyCoding) -> None:
        self.coding = coding

    def __getitem__(self, code: int) -> str:
        return self.coding.slot_label(code)


def _given_tables(
    effects: Mapping[str, Effect], codings: Mapping[str, AnyCoding], sums: Mapping[str, LevelSums]
) -> dict[str, Array]:
    tables = {}
    for name, effect in effects.items():
        coding = codings[name]
        if isinstance(effect, Given) and isinstance(coding, Coding):
            levels = given_table(effect, coding.labels, coding.paths)
            table = np.concatenate([levels, np.zeros(coding.n_slots - coding.n_levels)])
            known = np.arange(coding.n_slots) < coding.n_levels
            tables[name] = filled(table, known, coding, sums[name].exposure)
    return tables


def _refuse_empty_fit(
    rows: Rows,
    effects: Mapping[str, Effect],
    codings: Mapping[str, AnyCoding],
    sums: Mapping[str, LevelSums],
) -> None:
    if not rows.n_rows and FAMILIES[rows.family].counts:
        raise FitError("the book has no rows to fit; mature() or select() may have left none. Keep some orders.")
    if not any(rows.response[start:stop].any() for start, stop in chunks(rows.n_rows, PART_ROWS)):
        raise FitError(f"there are no claims in {counted(rows.n_rows, 'row')} to fit; a model needs some.")
    if rows.at_limit is not None:
        _refuse_hidden_amounts(rows, rows.at_limit, effects, codings)
    if not FAMILIES[rows.family].counts:
        return
    most = rows.trials if len(rows.trials) else np.ones(1)
    bounded = rows.family == "bernoulli" or FAMILIES[rows.family].lines
    if bounded and bool((rows.response == most).all()):
        raise FitError(f"there is a claim in every order of the {rows.n_rows:,} to fit; use family='poisson'.")
    for name, effect in effects.items():
        if not isinstance(effect, Free):
            continue
        if bounded:
            _refuse_certain_claims(rows, name, codings[name])
        empty = np.flatnonzero((sums[name].exposure > 0) & (sums[name].claims == 0))
        if len(empty):
            shown = ", ".join(f"'{codings[name].slot_label(code)}'" for code in empty[:5].tolist())
            raise FitError(
                f"factor '{name}': {_levels_have(len(empty))} exposure but no claim (first: {shown}), so a free "
                f"relativity would be zero; pool them with min_claims= when the factor is declared, or use "
                f"Credibility('{name}')."
            )


def _levels_have(count: int) -> str:
    return f"{counted(count, 'level')} {'has' if count == 1 else 'have'}"


def _refuse_hidden_amounts(
    rows: Rows, at_limit: NDArray[np.bool_], effects: Mapping[str, Effect], codings: Mapping[str, AnyCoding]
) -> None:
    """Refuse amounts that are all at their limit, of the book or of a free level, because any larger mean fits."""
    if at_limit.all():
        found = "the only amount is at its" if rows.n_rows == 1 else f"all {rows.n_rows:,} amounts are at their"
        raise FitError(
            f"limit: {found} limit, so that no amount shows how much freight lies behind it. Fit the amounts before "
            "the limit was applied, or leave limit= out to fit the amounts paid."
        )
    for name, effect in effects.items():
        if not isinstance(effect, Free) or effect.monotone is not None:  # a neighbour bounds a monotone level
            continue
        n_slots = codings[name].n_slots
        amounts, hidden = (np.bincount(codes, minlength=n_slots) for codes in
                           (rows.codes[name], rows.codes[name][at_limit]))  # fmt: skip
        above = np.flatnonzero((amounts > 0) & (amounts == hidden))
        if len(above):
            shown = ", ".join(f"'{codings[name].slot_label(code)}'" for code in above[:5].tolist())
            raise FitError(
                f"factor '{name}': all amounts of {counted(len(above), 'level')} are at their limit (first: {shown}), "
                f"so a free relativity would be infinite; pool levels, or use Credibility('{name}')."
            )


def _refuse_certain_claims(rows: Rows, name: str, coding: AnyCoding) -> None:
    orders = np.bincount(rows.codes[name], rows.trials if len(rows.trials) else None, coding.n_slots)
    claims = np.bincount(rows.codes[name], rows.response, minlength=coding.n_slots)
    certain = np.flatnonzero((orders > 0) & (claims == orders))
    if len(certain):
        shown = ", ".join(f"'{coding.slot_label(code)}'" for code in certain[:5].tolist())
        raise FitError(
            f"factor '{name}': {_levels_have(len(certain))} a claim in every order (first: {shown}), so a free "
            "relativity would be infinite; pool them with min_exposure=, or use family='poisson'."
        )
