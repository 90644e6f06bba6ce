"""Comparison of the two sides of a programme's gate on the score of merchants."""

from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from freightrisk import _check
from freightrisk.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


def gate_report(
    scores: ArrayLike, claims: ArrayLike, expected: ArrayLike, *, gate: float = 4.8, width: float = 0.1
) -> "pd.DataFrame":
    """Return counts and claims on both sides of a programme's gate, to show whether merchants gather just above it.

    Parameters
    ----------
    scores : array, shape (n,)
        Scores of merchants (or orders); missing scores are left out. Arrays are paired by position; an index is not
        read.
    claims, expected : arrays, shape (n,)
        Actual claims, and claims expected without the score.
    gate : float
        The programme's privileges need a score strictly above the gate.
    width : float
        Width of each of the two compared bands.

    Returns
    -------
    pandas.DataFrame
        Rows "below" (up to and including the gate) and "above". Columns: from_score, to_score, units, claims, expected,
        ratio (claims over expected), p_gathering and p_ratio.

    Raises
    ------
    InputError
        If one side of the gate has no scores or no expected claims, or if claims are negative.

    Notes
    -----
    p_gathering is the probability of at least so many units above if both sides were equally likely. It is a binomial
    test of McCrary's question. p_ratio is the probability of ratios at least so different if the true ratios were
    equal. This test is exact, because Poisson claims are binomial given their sum.

    Examples
    --------
    >>> import numpy as np
    >>> from freightrisk.reports import gate_report
    >>> scores = np.r_[np.full(40, 4.75), np.full(80, 4.85)]
    >>> report = gate_report(scores, np.ones(120), np.ones(120))
    >>> report["units"].tolist(), bool(report["p_gathering"].iloc[0] < 0.001)
    ([40, 80], True)
    """
    import pandas as pd
    from scipy.stats import binomtest

    width = _check.number(width, argument="width", low=0.0, high=1e6, open_low=True)
    gate = _check.number(gate, argument="gate", low=-1e9, high=1e9)
    values = _check.numbers(scores, argument="scores")
    if values.ndim != 1:
        raise InputError(f"scores has shape {values.shape}; give one for each merchant or order, shape (n,).")
    counted = _check.real_array(claims, argument="claims", length=len(values))
    at_risk = _check.real_array(expected, argument="expected", length=len(values))
    _check.refuse_rows((counted < 0.0) | (at_risk < 0.0), "claims or expected is negative in {rows}; correct them.")
    low, high = round(gate - width, 9), round(gate + width, 9)  # in doubles, 4.8 + 0.1 is slightly less than 4.9
    below, above = (values > low) & (values <= gate), (values > gate) & (values <= high)
    frame = pd.DataFrame(
        {
            "from_score": [low, gate],
            "to_score": [gate, high],
            "units": [int(below.sum()), int(above.sum())],
            "claims": [counted[below].sum(), counted[above].sum()],
            "expected": [at_risk[below].sum(), at_risk[above].sum()],
        },
        index=pd.Index(["below", "above"], name="side"),
    )
    if (frame["units"] == 0).any():
        raise InputError(f"there are {frame['units'].tolist()} scores within {width:g} of {gate:g}; widen the bands.")
    if (frame["expected"] <= 0.0).any():
        raise InputError(f"no claims are expected on one side of {gate:g}; widen the bands.")
    frame["ratio"] = frame["claims"] / frame["expected"]
    units, total = frame["units"].to_numpy(), round(float(frame["claims"].sum()))
    frame["p_gathering"] = binomtest(int(units[1]), int(units.sum()), 0.5, alternative="greater").pvalue
    share = float(frame["expected"].iloc[1] / frame["expected"].sum())
    frame["p_ratio"] = binomtest(round(float(frame["claims"].iloc[1])), total, share).pvalue if total else 1.0
    return frame
