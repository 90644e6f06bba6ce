"""The columns that merchants are rated by: claims and what was expected of them, priors, and recency weights."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._columns import id_array
from freightrisk._shown import counted, repr_of
from freightrisk._types import Array
from freightrisk.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

NEARLY = 1e-9  # relative rounding error of a sum of squares
LEAST, MOST = 1e-15, 1e15  # of claims and expected claims above 0
LEAST_PRIOR, MOST_PRIOR = 1e-9, 1e9  # of relativities and modifications
OLDEST = 250.0  # half-lives; older periods count 0, before squares of their weights leave the range of a double


def previous_mods(periods: "pd.DataFrame", name: str) -> Array:
    """Return the modifications in force; a missing value is a merchant without one."""
    values = _check.numbers(periods[name].to_numpy(), argument=f"periods column '{name}'").astype(np.float64)
    _check.refuse_rows(
        ~np.isnan(values) & ~((values >= LEAST_PRIOR) & (values <= MOST_PRIOR)),
        f"periods: '{name}' is not a finite modification above zero in {{rows}}; it must be from {LEAST_PRIOR:g} to "
        f"{MOST_PRIOR:g}, or missing for new merchants.",
    )
    return values


def known_ids(periods: "pd.DataFrame", name: str) -> NDArray[Any]:
    """Return the merchant or group of each row; refuse missing ones."""
    import pandas as pd

    values = id_array(periods[name], argument=f"periods column '{name}'")
    missing = int(pd.isna(values).sum())
    if missing:
        raise InputError(f"periods: '{name}' is missing in {counted(missing, 'row')}; give each one.")
    return values


def column(periods: "pd.DataFrame", name: str) -> Array:
    """Return a column of numbers that are zero or more."""
    values = _check.real_array(periods[name].to_numpy(), argument=f"periods column '{name}'", length=len(periods))
    _check.refuse_rows(values < 0.0, f"periods: '{name}' is negative in {{rows}}; it must be zero or more.")
    return values


def sums(periods: "pd.DataFrame", name: str) -> Array:
    """Return claims or expected claims, whose squares and ratios must stay within the range of a double."""
    values = column(periods, name)
    _check.refuse_rows(
        (values > MOST) | ((values > 0.0) & (values < LEAST)),
        f"periods: '{name}' is outside its range in {{rows}}; it must be 0, or from {LEAST:g} to {MOST:g}.",
    )
    return values


def priors(periods: "pd.DataFrame", name: str) -> Array:
    """Return the relativities by score."""
    values = column(periods, name)
    if (values == 0.0).any():
        raise InputError("periods: the prior of a merchant is zero; a relativity must be above zero.")
    _check.refuse_rows(
        (values < LEAST_PRIOR) | (values > MOST_PRIOR),
        f"periods: '{name}' is outside its range in {{rows}}; a relativity must be from {LEAST_PRIOR:g} to "
        f"{MOST_PRIOR:g}.",
    )
    return values


def refuse_several(rows: "pd.DataFrame", columns: Mapping[str, str]) -> None:
    """Refuse a merchant with different values in the columns of the frame that describe the merchant itself."""
    for column, name in columns.items():
        pairs = rows[["merchant", column]].dropna().drop_duplicates()
        several = pairs[pairs["merchant"].duplicated(keep=False)]
        if len(several):
            merchant = several["merchant"].tolist()[0]
            first, second = several.loc[several["merchant"] == merchant, column].tolist()[:2]
            raise InputError(
                f"periods: '{name}' differs between periods of {counted(several['merchant'].nunique(), 'merchant')} "
                f"(first: {repr_of(merchant)} has {repr_of(first)} and {repr_of(second)}); give all periods of a "
                "merchant the same value, the one in force now."
            )


def recency(periods: "pd.DataFrame", age_days: str | None, half_life_days: float | None) -> Array:
    """Return the recency weights of equation 39."""
    if (age_days is None) != (half_life_days is None):
        raise InputError(
            "age_days and half_life_days go together; give both, the column of ages and the age that counts half."
        )
    if age_days is None or half_life_days is None:
        return np.ones(len(periods))
    half_life_days = _check.number(half_life_days, argument="half_life_days", low=0.0, high=1e5, open_low=True)
    lives = column(periods, age_days) / half_life_days
    return np.asarray(np.where(lives > OLDEST, 0.0, 0.5 ** np.minimum(lives, OLDEST)))


def squares(periods: "pd.DataFrame", name: str, at_risk: Array) -> Array:
    """Return the sums of squares; refuse sums that no set of orders with at most one expected claim each can have."""
    values = column(periods, name)
    _check.refuse_rows(
        values > at_risk * (1.0 + NEARLY),
        f"periods: '{name}' exceeds the expected claims in {{rows}}; it must be the sum of the squared expected claims "
        "of orders, and each order expects at most one claim. If only the number of orders is known, give the square "
        "of the expected claims over this number.",
    )
    _check.refuse_rows(
        values > at_risk**2 * (1.0 + NEARLY),
        f"periods: '{name}' exceeds the square of the expected claims in {{rows}}; a sum of squares is at most the "
        "square of the sum. Compute both over the same orders.",
    )
    return values
