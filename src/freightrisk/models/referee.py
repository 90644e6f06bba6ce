"""The same unpenalised models through statsmodels, to hold the solver to account."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from freightrisk.errors import FitError, InputError
from freightrisk.models.table_model import Array, Layout, Problem, Solution, Step, refuse_aliased

DESIGN_LIMIT = 2**31


def design_matrix(problem: Problem, layout: Layout) -> Array:
    """Return the dense design matrix: a column of ones, then a dummy for each free level."""
    n_columns = 1 + int(layout.free.sum())
    if 8 * problem.n_rows * n_columns > DESIGN_LIMIT:
        raise InputError(
            f"engine='statsmodels' needs a dense design matrix of {problem.n_rows:,} x {n_columns}, over 2 GiB; "
            "fit a selection of the book, or use engine='newton'."
        )
    place: NDArray[np.int64] = np.where(layout.free, np.cumsum(layout.free), -1)
    matrix = np.zeros((problem.n_rows, n_columns))
    matrix[:, 0] = 1.0
    for name, at in zip(layout.names, layout.offsets.tolist(), strict=True):
        columns = place[at + problem.codes[name].astype(np.int64)]
        rows = np.flatnonzero(columns > 0)
        matrix[rows, columns[rows]] = 1.0
    return matrix


def solve_with_statsmodels(problem: Problem, layout: Layout, labels: Mapping[str, tuple[str, ...]]) -> Solution:
    """Return the solution of statsmodels' iteratively reweighted least squares."""
    import statsmodels.api as sm

    families = {
        "poisson": sm.families.Poisson(),
        "bernoulli": sm.families.Binomial(sm.families.links.CLogLog()),
        "gamma": sm.families.Gamma(sm.families.links.Log()),
    }
    design = design_matrix(problem, layout)
    refuse_aliased(design.T @ design, layout, labels)
    offset = np.log(problem.scale) if len(problem.scale) else None
    weight = problem.weight if len(problem.weight) else None
    model = sm.GLM(
        problem.response,
        design,
        family=families[problem.family],
        offset=offset,
        var_weights=weight,
    )
    result = model.fit(tol=1e-13, maxiter=200, tol_criterion="params")
    if not result.converged:
        raise FitError(f"the {problem.family} fit of statsmodels did not converge; use engine='newton'.")
    base, tables = layout.spread(np.asarray(result.params))
    return Solution(
        base,
        tables,
        np.asarray(result.normalized_cov_params),
        _objective(problem, np.asarray(result.predict(which="linear")), np.asarray(result.mu)),
        float(result.pearson_chi2),
        (Step(problem.n_rows, float("nan"), 0.0, 0),),
        bool(result.converged),
    )


def _objective(problem: Problem, linear: Array, mean: Array) -> float:
    """Return the kernel's objective at the fitted values."""
    weight = problem.weight if len(problem.weight) else np.ones(problem.n_rows)
    y = problem.response
    eta = linear - (np.log(problem.scale) if len(problem.scale) else 0.0)
    if problem.family == "poisson":
        return float((weight * (y * eta - mean)).sum())
    if problem.family == "gamma":
        return -float((weight * (y / mean + eta)).sum())
    hit = y > 0
    return float((weight[hit] * np.log(mean[hit])).sum() + (weight[~hit] * np.log1p(-mean[~hit])).sum())
