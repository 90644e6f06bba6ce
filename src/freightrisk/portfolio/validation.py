"""Validation of a model: actual over expected, by group and by decile of the prediction."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from freightrisk import _check
from freightrisk.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

TIE = 1e-12


def actual_vs_expected(
    actual: ArrayLike,
    expected: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    by: Any = None,
    n_groups: int = 10,
) -> "pd.DataFrame":
    """Return actual over expected by group.

    Parameters
    ----------
    actual, expected : array, shape (n,)
        Actual and expected claims (or amounts) of each row; expected is above zero.
    weight : array, shape (n,), optional
        Exposure of each row; one by default.
    by : array, shape (n,), optional
        Group of each row. By default, rows are ranked by expected per exposure and cut into groups of equal exposure
        (deciles). Arrays are paired by position; an index is not read.
    n_groups : int
        Number of these groups. Rows with equal expected per exposure stay together, in the group that contains the
        middle of their exposure. If the model has few different prices, groups have unequal exposure and some group
        numbers do not occur.

    Returns
    -------
    DataFrame
        group, rows, exposure, actual, expected, ratio, and std_error (standard error of the ratio under Poisson counts;
        a lower bound for amounts).

    Raises
    ------
    InputError
        If an array has another length, a missing value or no rows, or if an expected value or weight is not above zero.

    Examples
    --------
    >>> from freightrisk import actual_vs_expected
    >>> actual_vs_expected([1, 0, 2, 1], [0.5, 0.5, 1.5, 1.5], n_groups=2)["ratio"].tolist()
    [1.0, 1.0]
    """
    import pandas as pd

    n = _check.numbers(actual, argument="actual").size
    seen = _check.real_array(actual, argument="actual", length=n)
    foreseen = _check.real_array(expected, argument="expected", length=n)
    exposure = np.ones(n) if weight is None else _check.real_array(weight, argument="weight", length=n)
    if not n:
        raise InputError("actual has no rows; give at least one.")
    _check.refuse_rows(foreseen <= 0.0, "expected is not above zero in {rows}; leave out rows with nothing expected.")
    _check.refuse_rows(exposure <= 0.0, "weight is not above zero in {rows}; leave out rows without exposure.")
    if by is None:
        group = equal_groups(foreseen / exposure, exposure, n_groups)
    else:
        given = by if hasattr(by, "dtype") else list(_check.items(by, argument="by"))
        try:
            shape = np.shape(given)
        except Exception:  # foreign objects may raise any error, and lists of unequal lengths raise ValueError
            raise InputError("by holds objects that are not groups; give each row a number, text or day.") from None
        if len(shape) != 1:
            raise InputError(f"by has shape {shape}; it must be one group a row, shape ({n},).")
        group = pd.Series(given).reset_index(drop=True)
    if group.shape != (n,):
        raise InputError(f"by has shape {group.shape}; it must be one group a row, shape ({n},).")
    _check.refuse_rows(np.asarray(pd.isna(group)), "by is missing in {rows}; give every row its group.")
    rows = pd.DataFrame({"group": group, "rows": 1, "exposure": exposure, "actual": seen, "expected": foreseen})
    table = rows.groupby("group", observed=True).sum().reset_index()
    table["ratio"] = table["actual"] / table["expected"]
    table["std_error"] = 1.0 / np.sqrt(table["expected"])
    return table


def equal_groups(rate: NDArray[np.float64], exposure: NDArray[np.float64], n_groups: int) -> NDArray[np.int64]:
    """Return the group, 1 to n_groups, of each row by rank of its rate; groups have equal exposure except for ties.

    Rates within one part in 10^12 count as ties, because prediction over exposure is rounded.
    """
    _check.whole(n_groups, argument="n_groups", low=1, high=1000)
    by_rate = np.lexsort((exposure, rate))  # by exposure too, so that rounding in sums ignores the by_rate of rows
    ranked, end = rate[by_rate], np.cumsum(exposure[by_rate])
    begins = np.flatnonzero(np.diff(ranked, prepend=-np.inf) > TIE * ranked)
    before = np.append(0.0, end)[begins]
    after = np.append(before[1:], end[-1])
    middle = (before + after) / 2.0 / end[-1] * n_groups
    group = np.empty(len(rate), dtype=np.int64)
    sizes = np.diff(begins, append=len(rate))
    group[by_rate] = np.repeat(np.minimum(middle, n_groups - 1).astype(np.int64) + 1, sizes)
    return group
