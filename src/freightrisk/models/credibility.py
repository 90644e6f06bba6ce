"""Classical credibility on frames: Buhlmann, Buhlmann-Straub and its hierarchical form (Jewell)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._columns import JoinedColumns, read
from freightrisk._shown import counted
from freightrisk._types import Array
from freightrisk.book.joined import LARGEST, SMALLEST
from freightrisk.errors import FitError, InputError

if TYPE_CHECKING:
    import pandas as pd

Parents = NDArray[np.int64]

METHODS = ("unbiased", "iterative")
COLLECTIVES = ("credibility", "weight")
COLUMNS = ("weight", "mean", "credibility_z", "premium")  # of a result, beside the columns of the groups


@dataclass(frozen=True, eq=False, repr=False)
class ClassicalCredibility:
    """Credibility estimates of risks and of the groups above them.

    Parameters
    ----------
    collective : float
        The collective mean, in the unit of the values.
    between : tuple of float
        Variance of the true means between groups, one for each level from the outermost to the risks.
    within : float
        Variance of a value of weight one around the true mean of its risk.
    levels : tuple of DataFrame
        One table for each level from the outermost to the risks, one row for each group. Columns: the group's path,
        weight (sum over its rows), mean, credibility_z and premium. The mean of a risk is the mean of its rows. The
        mean of a group is the mean of its members weighted by their credibility.
    """

    collective: float
    between: tuple[float, ...]
    within: float
    levels: tuple["pd.DataFrame", ...]

    @property
    def table(self) -> "pd.DataFrame":
        """Return the table of the risks."""
        return self.levels[-1]

    def __repr__(self) -> str:
        between = ", ".join(f"{variance:.6g}" for variance in self.between)
        return (
            f"ClassicalCredibility: collective {self.collective:.6g}, between {between}, within {self.within:.6g}; "
            f"{counted(len(self.table), 'risk')}"
        )


def buhlmann(frame: Any, *, risk: str, value: str) -> ClassicalCredibility:
    """Return Buhlmann's credibility premiums: every observation has the same weight.

    Parameters
    ----------
    frame : pandas, polars or pyarrow table, or path of a Parquet file
        One row for each observation of a risk. Rows without a value are absent cells.
    risk, value : str
        Columns of the risk and of the observed value, such as a claim frequency or a mean amount.

    Returns
    -------
    ClassicalCredibility

    Raises
    ------
    InputError
        If columns or risks are missing, or values are infinite.
    FitError
        If there are fewer than two risks, or no risk was observed twice.

    Notes
    -----
    This is the result of `buhlmann_straub` if all weights are 1.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"leaf": ["coat", "coat", "lamp", "lamp"], "frequency": [0.10, 0.14, 0.02, 0.04]})
    >>> buhlmann(frame, risk="leaf", value="frequency").table["premium"].round(4).tolist()
    [0.1172, 0.0328]
    """
    return _credibility(frame, [risk], value, None, "unbiased", "credibility")


def buhlmann_straub(
    frame: Any, *, risk: str, value: str, weight: str, method: str = "unbiased", collective: str = "credibility"
) -> ClassicalCredibility:
    """Return Buhlmann and Straub's credibility premiums: observations are weighted by their exposure.

    Parameters
    ----------
    frame : pandas, polars or pyarrow table, or path of a Parquet file
        One row for each observation of a risk. Rows without value and weight are absent cells, not observations of
        weight 0.
    risk, value, weight : str
        Columns of the risk, of the observed ratio (claims an order, yuan a claim) and of its weight, above zero.
    method : {"unbiased", "iterative"}
        Estimator of the variance between risks: unbiased, or the fixed point of Bichsel and Straub.
    collective : {"credibility", "weight"}
        Weights of the risks in the collective mean: their Z or their exposure. With Z, the premiums are best linear
        unbiased.

    Returns
    -------
    ClassicalCredibility

    Raises
    ------
    InputError
        If columns or risks are missing, values are infinite, or weights are not above zero.
    FitError
        If there are fewer than two risks, or no risk was observed twice.

    Notes
    -----
    The premium is ``Z mean + (1 - Z) collective`` with ``Z = w a / (w a + s2)``. Here w is the weight of the risk, a
    is the variance between risks, and s2 is the variance within risks (docs/method.md, equations 35 to 37).

    Limit cases: as w -> infinity the premium is the risk's own mean. If a = 0 it is the collective mean. A negative
    unbiased estimate of a is replaced by 0.

    References
    ----------
    Buhlmann and Gisler, A Course in Credibility Theory, 2005, chapter 4.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"leaf": ["coat", "coat", "lamp", "lamp"], "orders": [100, 300, 40, 20],
    ...                       "frequency": [0.10, 0.14, 0.02, 0.04]})
    >>> fitted = buhlmann_straub(frame, risk="leaf", value="frequency", weight="orders")
    >>> fitted.table["credibility_z"].round(3).tolist()
    [0.968, 0.819]
    """
    return _credibility(frame, [risk], value, weight, method, collective)


def jewell(
    frame: Any, *, path: Sequence[str], value: str, weight: str, collective: str = "credibility"
) -> ClassicalCredibility:
    """Return Jewell's hierarchical credibility premiums along a path such as industry > category > leaf.

    Parameters
    ----------
    frame : pandas, polars or pyarrow table, or path of a Parquet file
        One row for each observation of a risk. Rows without value and weight are absent cells.
    path : sequence of str
        Columns from the outermost group to the risk. Together they identify a risk.
    value, weight : str
        As for `buhlmann_straub`.
    collective : {"credibility", "weight"}
        As for `buhlmann_straub`, for the outermost groups.

    Returns
    -------
    ClassicalCredibility

    Notes
    -----
    The mean X of a group is the mean of its members weighted by their credibilities z. The variance between the groups
    of a level is the fixed point ``b = sum z (X - mean of the parent)^2 / (groups - parents)``. A group's premium is
    ``z X + (1 - z)`` times its parent's premium.

    References
    ----------
    Buhlmann and Gisler, A Course in Credibility Theory, 2005, chapter 6.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"industry": list("aaaabbbb"), "leaf": list("uuvvxxyy"), "orders": 100,
    ...                       "frequency": [0.10, 0.12, 0.14, 0.16, 0.02, 0.03, 0.05, 0.04]})
    >>> fitted = jewell(frame, path=["industry", "leaf"], value="frequency", weight="orders")
    >>> [len(table) for table in fitted.levels]
    [2, 4]
    """
    wanted = "give a list of columns from the outermost group to the risk"
    columns = _check.items(path, argument="path", such=wanted)
    if not columns:
        raise InputError(f"path is empty; {wanted}.")
    return _credibility(frame, list(columns), value, weight, "iterative", collective)


def _credibility(
    frame: Any, path: list[str], value: str, weight: str | None, method: str, collective: str
) -> ClassicalCredibility:
    import pandas as pd

    _check.one_of(method, METHODS, argument="method")
    _check.one_of(collective, COLLECTIVES, argument="collective")
    groups, values, weights = _observations(frame, path, value, weight)
    keys = [groups.iloc[:, : depth + 1].drop_duplicates() for depth in range(len(path))]
    keys = [key.sort_values(list(key.columns), kind="stable").reset_index(drop=True) for key in keys]
    row_risk = _numbers(groups, keys[-1])
    parents = [np.zeros(len(keys[0]), dtype=np.int64)]
    parents += [_numbers(below.iloc[:, :-1], above) for above, below in pairwise(keys)]
    risk_weight = np.bincount(row_risk, weights).astype(np.float64)
    risk_mean = np.bincount(row_risk, weights * values) / risk_weight
    observed_again = len(values) - len(risk_weight)
    if observed_again < 1 or len(keys[0]) < 2:
        raise FitError(
            f"{counted(len(values), 'observation')} of {counted(len(risk_weight), 'risk')} in "
            f"{counted(len(keys[0]), 'outermost group')} do not determine the variances; give at least two outermost "
            "groups, and at least one risk with two observations."
        )
    # s2 of docs/method.md, equation 35.
    within = float(weights @ (values - risk_mean[row_risk]) ** 2) / observed_again
    if method == "unbiased":
        variances = [_unbiased_between(risk_weight, risk_mean, within)]
    else:
        variances = _iterated_between(parents, risk_weight, risk_mean, within)
    means, precisions = _walk_up(parents, risk_weight, risk_mean, within, variances)
    exposure = [risk_weight]
    for parent in parents[:0:-1]:
        exposure.insert(0, np.bincount(parent, exposure[0]).astype(np.float64))
    mean = float(np.average(means[0], weights=precisions[0] if collective == "credibility" else exposure[0]))
    tables, premium = [], np.array([mean])
    for depth, key in enumerate(keys):
        # Equation 35: the precision of a risk is w / (a w + s2), so Z is the variance between risks times it.
        z = np.minimum(variances[depth] * precisions[depth], 1.0)  # rounding may exceed 1
        premium = z * means[depth] + (1.0 - z) * premium[parents[depth]]
        columns = {"weight": exposure[depth], "mean": means[depth], "credibility_z": z, "premium": premium}
        tables.append(pd.concat([key, pd.DataFrame(columns)], axis=1))
    return ClassicalCredibility(mean, tuple(variances), within, tuple(tables))


def _observations(frame: Any, path: list[str], value: str, weight: str | None) -> tuple["pd.DataFrame", Array, Array]:
    """Return the groups, values and weights of the cells that are present."""
    import pandas as pd

    wanted = [*path, value, *([] if weight is None else [weight])]
    columns = JoinedColumns(read(frame, wanted, argument="frame"))
    _check.columns_present(wanted, columns.names, argument="frame")
    own = next((name for name in path if name in COLUMNS), None)
    if own is not None:
        raise InputError(f"a group has the column '{own}', which the result needs for itself; rename the column.")
    values = columns.real(value)
    weights = np.ones(len(values)) if weight is None else columns.real(weight)
    # A cell without a value is absent only if it has no weight either; a weight without a value is an error.
    absent = np.isnan(values) & ((weights == 0) | np.isnan(weights) | (weight is None))
    kept = np.flatnonzero(~absent)
    groups = {}
    for name in path:
        codes, levels = columns.levels(name)
        _check.refuse_rows(codes[kept] < 0, f"column '{name}' is missing in {{rows}}; name the risk.", rows=kept)
        groups[name] = pd.Series(np.array(levels, dtype=object)[codes[kept]])
    _check.refuse_rows(
        ~(np.abs(values[kept]) <= LARGEST),
        f"column '{value}' is missing or beyond {LARGEST:g} in {{rows}}; give a number.",
        rows=kept,
    )
    if weight is not None:
        _check.in_interval(weights[kept], column=weight, low=SMALLEST, high=LARGEST, rows=kept)
    return pd.DataFrame(groups), values[kept], weights[kept]


def _numbers(rows: "pd.DataFrame", keys: "pd.DataFrame") -> Parents:
    """Return, for each row, the row of `keys` with the same values."""
    numbered = keys.assign(_number=np.arange(len(keys)))
    return np.asarray(rows.merge(numbered, on=list(keys.columns), how="left")["_number"], dtype=np.int64)


def _unbiased_between(weight: Array, mean: Array, within: float) -> float:
    """Return a of docs/method.md, equation 36."""
    total = weight.sum()
    spread = float(weight @ (mean - np.average(mean, weights=weight)) ** 2) - (len(weight) - 1) * within
    return max(0.0, float(total * spread / (total**2 - weight @ weight)))


def _walk_up(
    parents: list[Parents], weight: Array, mean: Array, within: float, between: Sequence[float]
) -> tuple[list[Array], list[Array]]:
    """Return the means and the precisions of every level, the outermost first; credibility is variance times precision.

    The precision says how exactly a group's mean measures the true mean of its parent. It is one over the sum of two
    variances: between groups, and of the group's mean around the group's own true mean.
    """
    # Without any variance the precisions are infinite. Their ratios are then the ratios of the weights.
    precision = weight / (between[-1] * weight + within) if between[-1] + within > 0.0 else weight
    means, precisions = [mean], [precision]
    for depth in range(len(parents) - 1, 0, -1):
        total = np.bincount(parents[depth], precisions[0])
        means.insert(0, np.bincount(parents[depth], precisions[0] * means[0]) / total)
        precisions.insert(0, total / (between[depth - 1] * total + 1.0))
    return means, precisions


def _iterated_between(parents: list[Parents], weight: Array, mean: Array, within: float) -> list[float]:
    """Return the fixed point of the variances between the groups of each level, the outermost first.

    The variance of a level depends only on the levels below it, so the variances are found from the risks up.
    """
    between: list[float] = []
    noise = within / weight
    for depth in range(len(parents) - 1, -1, -1):
        between.insert(0, _fixed_point(parents[depth], mean, noise))
        if depth:
            spread = between[0] + noise
            precision = 1.0 / spread if spread.any() else weight
            total = np.bincount(parents[depth], precision).astype(np.float64)
            mean, noise, weight = np.bincount(parents[depth], precision * mean) / total, 1.0 / total, total
    return between


def _fixed_point(parent: Parents, mean: Array, noise: Array) -> float:
    """Return the root b of b = sum of z (mean - centre)^2 / freedom, z = b / (b + noise), or 0 if none is above 0.

    This is docs/method.md, equation 37. Divided by b, the sum falls as b rises, so there is at most one root above 0.
    """
    from scipy.optimize import brentq

    freedom = len(parent) - len(np.unique(parent))

    def excess(b: float) -> float:
        precision = 1.0 / (b + noise)
        centre = np.bincount(parent, precision * mean) / np.bincount(parent, precision)
        return float(precision @ (mean - centre[parent]) ** 2) / freedom - 1.0

    if freedom == 0:
        return 0.0
    # z is at most 1, so the unweighted variance bounds the root from above. It is the root itself without noise.
    plain = np.bincount(parent, mean) / np.bincount(parent)
    most = float(((mean - plain[parent]) ** 2).sum()) / freedom
    if most <= 0.0 or not noise.any():
        return most
    if excess(0.0) <= 0.0:
        return 0.0
    return float(brentq(excess, 0.0, most, xtol=1e-300, rtol=1e-14))
