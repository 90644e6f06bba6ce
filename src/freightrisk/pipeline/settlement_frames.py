"""The frames of a settlement: their keys and sums, checked, summed by key, and read from files."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from freightrisk._intake import Id, Refused, id_of, is_missing
from freightrisk._shown import repr_of
from freightrisk.errors import InputError
from freightrisk.tariff.rounding import MICRO_PER_FEN, MOST_MICRO

if TYPE_CHECKING:
    import pandas as pd

PAYER_KEYS = ["day", "merchant_id", "payer", "campaign"]
ACCOUNT_KEYS = ["day", "merchant_id"]
CLAIM_KEYS = ["day", "merchant_id", "payer"]
FEE_KEYS = ["day", "merchant_id", "payer", "payee", "fee"]
PAYER_SUMS = ["orders", "fen"]
ACCOUNTS = ["orders", "list_fen", "received_fen", "filed_micro", "rounding_micro", "floor_income_micro"]
CLAIM_SUMS = ["claims", "fen"]
FEE_SUMS = ["orders", "fen"]
SUMS = {*PAYER_SUMS, *ACCOUNTS, *CLAIM_SUMS, *FEE_SUMS}
DAY = "datetime64[s]"


def read_frame(path: Path) -> "pd.DataFrame":
    """Return a frame of a settlement as it was before it was saved."""
    import pandas as pd
    import pyarrow as pa

    try:
        if path.suffix == ".parquet":
            kept = pd.read_parquet(path)
            return kept.assign(day=kept["day"].astype(DAY)) if "day" in kept else kept
        texts = pd.read_csv(path, dtype=str, keep_default_na=False)
        numbers = [name for name in texts if name in SUMS]
        kept = texts.astype(dict.fromkeys(numbers, "int64"))
        if "day" in kept and "merchant_id" in kept:
            day = pd.to_datetime(kept["day"].replace("", None), format="ISO8601").astype(DAY)
            kept = kept.assign(day=day, merchant_id=kept["merchant_id"].replace("", None))
        return kept
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(
            f"'{path}' cannot be read as part of a saved settlement: {error}; give the folder of a settlement."
        ) from None


def check_sums(values: NDArray[np.int64], codes: Callable[[], NDArray[Any]], most: int) -> None:
    """Refuse whole numbers whose sums by code may not fit: sums that wrap would still agree with each other."""
    if len(values) * max(float(values.max(initial=0)), -float(values.min(initial=0))) < most:
        return
    largest = np.bincount(codes(), np.abs(values.astype(np.float64))).max()
    if largest >= most:
        raise InputError(
            f"amounts of one merchant and day come to about {largest:.3g}, and their sums hold {most:.3g} at most; "
            "look at the premiums of these orders, or settle fewer orders at a time."
        )


def check_column(column: Any, most: int) -> None:
    """Refuse a column that is not of whole numbers, or whose numbers are larger than sums may be."""
    if column.dtype != np.int64:
        raise InputError(f"settlement: column '{column.name}' is of type {column.dtype}; it must be int64.")
    values = column.to_numpy()
    if len(values) and not -most < values.min() <= values.max() < most:
        raise InputError(
            f"settlement: column '{column.name}' goes from {values.min():,} to {values.max():,}; it must stay within "
            f"{most:.3g} of zero, so that sums of two are right."
        )


def no_rows(keys: list[str], sums: list[str]) -> "pd.DataFrame":
    """Return a frame of a settlement without rows; its columns have the types of other frames."""
    import pandas as pd

    row = {"day": pd.array(["2026-01-01"], dtype=DAY), "merchant_id": pd.Series([None], dtype=object)}
    texts = {name: "" for name in keys if name not in row}
    return pd.DataFrame(row).assign(**texts, **dict.fromkeys(sums, 0)).iloc[:0]


def most_of(name: str) -> int:
    """Return how far from 0 the sums of a column may be."""
    return MOST_MICRO if name.endswith("_micro") else MOST_MICRO // MICRO_PER_FEN


def _merchant(value: Any) -> Id | None:
    """Return the id of a merchant: texts of whole numbers are these numbers, as a saved settlement has them."""
    try:
        return None if is_missing(value) else id_of(value)
    except Refused as refused:
        raise InputError(f"merchant {repr_of(value)} of a settlement {refused.fault}; {refused.cure}.") from None


def tidy(frame: "pd.DataFrame", keys: list[str]) -> "pd.DataFrame":
    """Return the sums of a frame's rows by its keys, in their order."""
    import pandas as pd

    # Merchants are grouped by number: pandas would make floats of whole ids beside a missing one, and merge large ones.
    merchants = [_merchant(one) for one in frame["merchant_id"].tolist()]
    known = sorted({one for one in merchants if one is not None}, key=lambda one: (isinstance(one, str), one))
    number = {merchant: k for k, merchant in enumerate(known)}
    numbered = frame.assign(merchant_id=[len(known) if one is None else number[one] for one in merchants])
    groups = numbered.groupby(keys, dropna=False, sort=True)
    for name in frame.columns.difference(keys):
        check_sums(frame[name].to_numpy(), lambda: groups.ngroup().to_numpy(), most_of(name))
    sums = groups.sum().reset_index()
    named = [*known, None]
    return sums.assign(merchant_id=pd.Series([named[k] for k in sums["merchant_id"]], index=sums.index, dtype=object))
