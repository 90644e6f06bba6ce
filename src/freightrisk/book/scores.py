"""The score that rates an order: its merchant's score some days before shipment."""

from typing import TYPE_CHECKING, Any

import numpy as np

from freightrisk import _check
from freightrisk._columns import read
from freightrisk._intake import DEFAULT_CLOCK

if TYPE_CHECKING:
    import pandas as pd


def lagged_scores(
    orders: Any,
    history: Any,
    *,
    days: int = 30,
    score: str = "experience_score",
    merchant_id: str = "merchant_id",
    ship_date: str = "ship_date",
    score_date: str = "date",
    clock: str = DEFAULT_CLOCK,
    date_format: str | None = None,
) -> "pd.Series":
    """Return the last score that each order's merchant had `days` days before shipment.

    A score is partly made of the merchant's returns. A later score may already contain claims that the rate is meant
    to predict.

    Parameters
    ----------
    orders : pandas, polars or pyarrow table, or path of a Parquet file
        With columns `merchant_id` and `ship_date`.
    history : like orders
        With columns `merchant_id`, `score_date` (the first day of the score) and `score`.
    days : int from 0 to 3,650
        The lag in days; see `ScoreCurve.lag_days`.
    score, merchant_id, ship_date, score_date : str
        Names of columns.
    clock, date_format : str
        As for `OrderBook.from_frames`.

    Returns
    -------
    pandas.Series
        Scores with the index of `orders`. The score is missing if the merchant had no score by then.

    Raises
    ------
    InputError
        If columns are missing, or a value cannot be read.

    Examples
    --------
    >>> import pandas as pd
    >>> from freightrisk.credibility import lagged_scores
    >>> orders = pd.DataFrame({"merchant_id": ["a", "a"], "ship_date": ["2026-03-01", "2026-04-15"]})
    >>> history = pd.DataFrame({"merchant_id": ["a", "a"], "date": ["2026-01-01", "2026-03-10"],
    ...                         "experience_score": [4.6, 4.9]})
    >>> lagged_scores(orders, history).tolist()
    [4.6, 4.9]
    """
    import pandas as pd

    days = _check.whole(days, argument="days", low=0, high=3650)
    how: dict[str, Any] = {"key": merchant_id, "clock": clock, "date_format": date_format}
    asked = read(orders, [merchant_id, ship_date], argument="orders", **how)
    known = read(history, [merchant_id, score_date, score], argument="history", **how)
    _check.columns_present([merchant_id, ship_date], asked.names, argument="orders")
    _check.columns_present([merchant_id, score_date, score], known.names, argument="history")
    owners = [table.ids(merchant_id).astype(object) for table in (asked, known)]
    codes, _ = pd.factorize(np.concatenate(owners))
    left = pd.DataFrame(
        {
            "merchant": codes[: asked.n_rows],
            "when": asked.times(ship_date) - np.timedelta64(days, "D"),
            "row": np.arange(asked.n_rows),
        }
    ).query("merchant >= 0")
    right = pd.DataFrame(
        {"merchant": codes[asked.n_rows :], "when": known.times(score_date), "score": known.real(score)}
    ).dropna(subset=["when"])
    found = np.full(asked.n_rows, np.nan)
    # The last score on or before the lagged day, merchant by merchant; both sides must be sorted by time.
    shipped = left.dropna(subset=["when"]).sort_values("when", kind="stable")
    joined = pd.merge_asof(shipped, right.sort_values("when", kind="stable"), on="when", by="merchant")
    found[joined["row"].to_numpy()] = joined["score"].to_numpy()
    return pd.Series(found, index=getattr(orders, "index", None), name=score)
