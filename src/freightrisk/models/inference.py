"""Tests of whole factors, comparison of nested models, and covariance under dependence within clusters of orders."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._shown import counted, repr_of
from freightrisk._types import Array
from freightrisk.errors import InputError
from freightrisk.models.design import Layout
from freightrisk.models.families import FAMILIES, row_gradients
from freightrisk.models.fitted import FittedModel
from freightrisk.models.information import means
from freightrisk.models.passes import Problem
from freightrisk.models.table_model import Solution

if TYPE_CHECKING:
    import pandas as pd


def clustered_covariance(problem: Problem, layout: Layout, solution: Solution, clusters: NDArray[np.int64]) -> Array:
    """Return the covariance of the dense parameters when rows of one cluster depend on each other.

    Notes
    -----
    The sandwich V M V times C / (C - 1) (n - 1) / (n - k), for C clusters, n rows and k parameters (docs/method.md,
    equation 17). V is the inverse of the (penalised) expected information. M is the sum over clusters of the outer
    product of the cluster's gradient. If a tree is eliminated, the gradient of a row is the part that the effect of
    its leaf does not absorb.

    References
    ----------
    Liang and Zeger 1986.
    """
    from scipy.sparse import csr_array

    mean = means(problem, layout, solution.state)
    gradient = row_gradients(problem.family, problem.y, mean, problem.family_parameter, problem.trials)
    gradient = gradient * problem.weight if len(problem.weight) else gradient
    count = int(clusters.max()) + 1

    def by_cluster(codes: NDArray[Any], size: int) -> Any:
        return csr_array((gradient, (clusters, codes)), shape=(count, size))

    parts = [np.bincount(clusters, gradient, count)[:, None]]
    parts += [by_cluster(problem.codes[term.name], term.n_slots) @ term.design.toarray() for term in layout.dense]
    gradients = np.concatenate(parts, axis=1)
    # A change of the dense parameters moves the leaf's own effect too, by minus the row that `paths` gives.
    if layout.tree is not None and solution.reduced is not None:
        place = np.zeros(layout.terms[0].n_slots, dtype=np.int64)
        place[layout.tree.slots] = np.arange(len(layout.tree.slots))
        leaves = by_cluster(place[problem.codes[layout.terms[0].name]], len(layout.tree.slots))
        rows, scale, _ = solution.reduced.paths()
        gradients -= (leaves if scale is None else leaves.multiply(scale)) @ rows
    n, k = problem.n_rows, float(solution.edf.sum())
    if count < 2 or n - k <= 0:
        raise InputError(
            f"cluster has {counted(count, 'value')} in {counted(n, 'row')}; clustered errors need two clusters or more."
        )
    correction = count / (count - 1) * (n - 1) / (n - k)
    half = gradients @ solution.covariance
    return np.asarray(correction * (half.T @ half))


@dataclass(frozen=True)
class NestedTest:
    """A test of a smaller model within a larger one.

    Parameters
    ----------
    test : {"chi2", "F"}
        "chi2" is the likelihood ratio test, for counts. "F" is the analysis of deviance with the dispersion of the
        larger model, for amounts.
    statistic, degrees_of_freedom, p_value : float
    """

    test: str
    statistic: float
    degrees_of_freedom: float
    p_value: float


def likelihood_ratio_test(smaller: FittedModel, larger: FittedModel) -> NestedTest:
    """Return the test of a model against a model with more levels or factors, fitted to the same rows.

    Parameters
    ----------
    smaller, larger : FittedModel
        Without penalised effects, because such an effect has no whole number of parameters.

    Returns
    -------
    NestedTest

    Raises
    ------
    InputError
        If a model has a penalised effect, the models differ in family or rows, or `larger` has no more parameters.

    Notes
    -----
    For counts, twice the difference of the log likelihoods is compared with chi-square. For amounts the dispersion is
    estimated. The difference of deviance for each added parameter, divided by the dispersion, is compared with F.

    References
    ----------
    McCullagh and Nelder 1989, section 2.3.

    Examples
    --------
    >>> import pandas as pd
    >>> from freightrisk import Factor, FrequencyModel, OrderBook
    >>> from freightrisk.inference import likelihood_ratio_test
    >>> cells = pd.DataFrame({"channel": ["shelf", "live"], "orders": [1000.0, 500.0], "claims": [20, 40]})
    >>> book = OrderBook.from_counts(cells, claims="claims", exposure="orders", factors=[Factor("channel")])
    >>> test = likelihood_ratio_test(FrequencyModel([]).fit(book), FrequencyModel().fit(book))
    >>> round(test.statistic, 3), test.degrees_of_freedom
    (27.726, 1.0)
    """
    from scipy.stats import chi2, f

    for model in (smaller, larger):
        if not isinstance(model, FittedModel):
            raise InputError(f"a model is {repr_of(model)}; give two fitted models.")
        penalised = [name for name, kind in model.kinds.items() if model.variances.get(name)]
        if penalised:
            raise InputError(f"the effect of factor '{penalised[0]}' is penalised; compare the models by aic instead.")
    if (smaller.family, smaller.n_rows) != (larger.family, larger.n_rows):
        raise InputError(
            f"the models are {smaller.family} on {smaller.n_rows:,} rows and {larger.family} on {larger.n_rows:,}; "
            "compare two models of one family on the same rows."
        )
    freedom = smaller.df_residual - larger.df_residual
    if freedom <= 0:
        parameters = [model.n_rows - model.df_residual for model in (smaller, larger)]
        raise InputError(
            f"the number of parameters of the larger model is {parameters[1]:.6g}, and of the smaller model "
            f"{parameters[0]:.6g}; give the model with fewer parameters first."
        )
    if FAMILIES[larger.family].has_dispersion:
        if larger.statistics.likelihood_dispersion == 0.0 or not larger.dispersion > 0.0:
            raise InputError(
                "the larger model has no residual, because its amounts equal their fitted means or it has as many "
                "parameters as rows; a test needs an estimate of the dispersion, so give a model with fewer parameters."
            )
        statistic = (smaller.deviance - larger.deviance) / freedom / larger.dispersion
        p_value = float(f.sf(statistic, freedom, larger.df_residual))
        return NestedTest("F", float(statistic), float(freedom), p_value)
    statistic = 2.0 * (larger.log_likelihood - smaller.log_likelihood)
    return NestedTest("chi2", statistic, float(freedom), float(chi2.sf(statistic, freedom)))


def wald_tests(fitted: FittedModel) -> "pd.DataFrame":
    """Return one row for each free factor, with the test that all of its relativities are 1.

    Parameters
    ----------
    fitted : FittedModel

    Returns
    -------
    pandas.DataFrame
        Columns: factor, degrees_of_freedom, statistic, p_value. For counts the statistic is compared with chi-square.
        For amounts it is divided by its degrees of freedom and compared with F. If the model was fitted with
        `cluster=`, the test allows for dependence within clusters.

    Examples
    --------
    >>> import pandas as pd
    >>> from freightrisk import Factor, FrequencyModel, OrderBook
    >>> from freightrisk.inference import wald_tests
    >>> cells = pd.DataFrame({"channel": ["shelf", "live"], "orders": [1000.0, 500.0], "claims": [20, 40]})
    >>> book = OrderBook.from_counts(cells, claims="claims", exposure="orders", factors=[Factor("channel")])
    >>> wald_tests(FrequencyModel().fit(book))["statistic"].round(3).tolist()
    [25.624]
    """
    import pandas as pd
    from scipy.stats import chi2, f

    _check.instance(fitted, FittedModel, argument="fitted")
    rows = []
    for name, kind in fitted.kinds.items():
        places = [k for k, (factor, _) in enumerate(fitted.parameters, start=1) if factor == name]
        if kind != "free" or not places:
            continue
        effect = fitted.tables[name][[code for factor, code in fitted.parameters if factor == name]]
        block = fitted.covariance[np.ix_(places, places)]
        # Clustered errors with few clusters, or equal monotone bands, give a block below full rank.
        rank = int(np.linalg.matrix_rank(block))
        statistic = float(effect @ np.linalg.pinv(block, hermitian=True) @ effect)
        p_value = float(chi2.sf(statistic, rank))
        if FAMILIES[fitted.family].has_dispersion:
            statistic /= rank
            p_value = float(f.sf(statistic, rank, fitted.df_residual))
        rows.append((name, rank, statistic, p_value))
    return pd.DataFrame(rows, columns=["factor", "degrees_of_freedom", "statistic", "p_value"])
