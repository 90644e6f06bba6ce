"""The same unpenalised models through statsmodels, to check the solver."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from freightrisk._shown import counted
from freightrisk._types import Array
from freightrisk.errors import FitError, InputError
from freightrisk.models.design import Layout, SlotNames
from freightrisk.models.information import dispersion_value
from freightrisk.models.objective import Step
from freightrisk.models.passes import Problem
from freightrisk.models.quadratic import State, factorise
from freightrisk.models.solver import Solver
from freightrisk.models.table_model import Solution

DESIGN_LIMIT = 2**31  # bytes of a dense design matrix


def design_matrix(problem: Problem, layout: Layout) -> Array:
    """Return the dense design matrix: a column of ones, then a column of zeros and ones for each free level."""
    n_columns = layout.n_params
    if 8 * problem.n_rows * n_columns > DESIGN_LIMIT:
        raise InputError(
            f"engine='statsmodels' needs a dense design matrix of {problem.n_rows:,} x {n_columns}, more than 2 GiB; "
            "fit a selection of the book, or use solver=Solver(engine='newton')."
        )
    matrix = np.zeros((problem.n_rows, n_columns))
    matrix[:, 0] = 1.0
    for term, start in zip(layout.dense, layout.starts.tolist(), strict=False):
        matrix[:, start : start + term.n_params] = term.design[problem.codes[term.name]].toarray()
    return matrix


def solve_with_statsmodels(
    problem: Problem, layout: Layout, labels: Mapping[str, SlotNames], solver: Solver
) -> Solution:
    """Return the solution of statsmodels' iteratively reweighted least squares.

    The tolerance and the largest number of iterations are those of `solver`.

    Raises
    ------
    InputError
        If an effect has a penalty or is monotone, because statsmodels fits neither here.
    FitError
        If a level is a combination of others, or the fit does not converge.
    """
    other = next((term for term in layout.terms if term.kind != "free" or term.direction), None)
    if other is not None:
        raise InputError(
            f"engine='statsmodels' fits only free and given effects, but the effect of factor '{other.name}' is "
            f"{'monotone' if other.direction else other.kind}; use solver=Solver(engine='newton')."
        )
    import statsmodels.api as sm

    design = design_matrix(problem, layout)
    # statsmodels would return one of many solutions for aliased levels. This call raises the solver's own error.
    factorise(design.T @ design, layout, labels)
    offset = np.log(problem.multiplier) if len(problem.multiplier) else None
    weight = problem.weight if len(problem.weight) else None
    response = problem.y
    if problem.family == "binomial":  # statsmodels takes the share of lines, weighted by their number
        response, weight = response / problem.trials, problem.trials * (1.0 if weight is None else weight)
    if problem.family == "lognormal":
        response, offset = np.log(response) - (0.0 if offset is None else offset), None
    model = sm.GLM(response, design, family=_family(problem, sm.families), offset=offset, var_weights=weight)
    result = model.fit(tol=solver.tolerance, maxiter=solver.max_iterations, tol_criterion="params")
    steps = _steps(result.fit_history["params"], problem.n_rows)
    if not result.converged:
        raise FitError(
            f"the {problem.family} fit of statsmodels did not converge in {counted(len(steps), 'iteration')} (last "
            f"move {steps[-1].largest_move:.2g}); give solver=Solver(max_iterations=...) with a larger number, or use "
            "solver=Solver(engine='newton')."
        )
    pearson = float(result.pearson_chi2)
    return Solution(
        State(np.asarray(result.params), ()),
        np.asarray(result.normalized_cov_params),
        None,
        None,
        np.empty(0),
        _objective(problem, np.asarray(result.predict(which="linear")), np.asarray(result.mu)),
        pearson,
        dispersion_value(pearson, problem.n_rows - layout.n_params),
        np.array([1.0, *(term.n_params for term in layout.terms)]),
        steps,
    )


def _steps(states: Sequence[Any], n_rows: int) -> tuple[Step, ...]:
    """Return the convergence record, given statsmodels' states: infinity, the start, and the state of each iteration.

    The objective is not recorded. The first move is from zero.
    """
    moves = (np.abs(np.subtract(after, before)).max() for before, after in pairwise(states[1:]))
    return tuple(Step(n_rows, float("nan"), float(move), 0) for move in moves)


def _family(problem: Problem, families: Any) -> Any:
    log = families.links.Log()
    return {
        "poisson": families.Poisson,
        "bernoulli": lambda: families.Binomial(families.links.CLogLog()),
        "binomial": lambda: families.Binomial(families.links.CLogLog()),
        "negative_binomial": lambda: families.NegativeBinomial(log, alpha=problem.family_parameter),
        "gamma": lambda: families.Gamma(log),
        "lognormal": families.Gaussian,
        "inverse_gaussian": lambda: families.InverseGaussian(log),
        "tweedie": lambda: families.Tweedie(log, var_power=problem.family_parameter),
    }[problem.family]()


def _objective(problem: Problem, linear: Array, mean: Array) -> float:
    """Return the kernel's objective at the fitted values (docs/method.md, "Nine likelihoods")."""
    weight = problem.weight if len(problem.weight) else np.ones(problem.n_rows)
    y, p = problem.y, problem.family_parameter
    eta = linear - (np.log(problem.multiplier) if len(problem.multiplier) and problem.family != "lognormal" else 0.0)
    if problem.family in ("bernoulli", "binomial"):
        from scipy.special import xlog1py, xlogy

        trials = problem.trials if len(problem.trials) else 1.0
        return float((weight * (xlogy(y, mean) + xlog1py(trials - y, -mean))).sum())
    multiplier = problem.multiplier if len(problem.multiplier) else 1.0
    by_row = {
        "poisson": lambda: y * eta - mean,
        "negative_binomial": lambda: y * eta - (y + 1.0 / p) * np.log1p(p * mean),
        "gamma": lambda: -(y / mean + eta),
        "lognormal": lambda: -0.5 * (np.log(y / multiplier) - linear) ** 2,
        "inverse_gaussian": lambda: 1.0 / mean - 0.5 * y / mean**2,
        "tweedie": lambda: y * mean ** (1.0 - p) / (1.0 - p) - mean ** (2.0 - p) / (2.0 - p),
    }[problem.family]()
    return float((weight * by_row).sum())
