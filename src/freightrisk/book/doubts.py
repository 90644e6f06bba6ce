"""Warnings of likely mistakes in the rows of a book: claims given twice, weights in another unit, similar levels."""

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._columns import JoinedColumns, Table
from freightrisk._intake import plain_spelling
from freightrisk._shown import repr_of
from freightrisk.book.codings import Coding
from freightrisk.book.factors import Band
from freightrisk.errors import InputError

CLAIM_ID = "claim_id"
MOST_REPEATS = 0.01  # share of claims; a few equal claims are plausible
WEIGHT_KG = "weight_kg"
HEAVIEST_KG = 100  # for a median; single parcels may be heavier
LOOKED_AT = 10_000  # orders, spread over the rows


def warn_of_grams(columns: JoinedColumns, read: Collection[str]) -> None:
    """Warn if a column that factors `read`, and whose name says kilograms, must hold grams."""
    if WEIGHT_KG not in read or not columns.n_rows:
        return
    try:
        known = columns.real(WEIGHT_KG)
    except InputError:  # a factor of texts may have that name
        return
    known = known[:: max(1, len(known) // LOOKED_AT)]
    known = known[~np.isnan(known)]
    with np.errstate(over="ignore"):  # the mean of two values of 1e308 is infinite, and rightly above any parcel
        median = float(np.median(known)) if len(known) else 0.0
    if median > HEAVIEST_KG:
        _check.warn(
            f"column '{WEIGHT_KG}' has a median of {median:,.4g} kg, more than parcels weigh ({HEAVIEST_KG} kg), so it "
            "may be in grams; divide it by 1,000, or rename the column if its unit is another."
        )


def warn_of_alike(codings: Iterable[Coding]) -> None:
    """Warn of levels that differ only in width, outer spaces or letter case, because they are usually one level."""
    for coding in codings:
        if isinstance(coding.declared, Band):
            continue
        for depth, column in enumerate(coding.columns):
            alike: dict[str, str] = {}
            pairs = []
            for level in coding.spellings[depth].known:
                first = alike.setdefault(plain_spelling(level), level) if isinstance(level, str) else level
                if first != level:
                    pairs.append((first, level))
            if pairs:
                more = f" (and {len(pairs) - 1} more such pairs)" if len(pairs) > 1 else ""
                _check.warn(
                    f"factor '{coding.name}': levels {repr_of(pairs[0][0])} and {repr_of(pairs[0][1])} of column "
                    f"'{column}'{more} differ only in width, spaces or letter case, and are two levels; spell them the "
                    "same way if they are one level."
                )
                return


def claim_columns(present: list[str], claim_id: str | None) -> list[str]:
    """Return the column of claim ids, if there is one. The column with the default name is optional."""
    return [] if claim_id is None or (claim_id == CLAIM_ID and claim_id not in present) else [claim_id]


def check_claims(
    table: Table, order: NDArray[np.int64], *, order_id: str, claim_id: str | None, read: list[str | None]
) -> None:
    """Raise if a claim id is missing or repeats; without ids, warn if many rows are equal.

    Parameters
    ----------
    table : Table
        The claims.
    order : int64 array, shape (n_claims,)
        Number of each claim's order.
    order_id, claim_id : str
        Names of columns.
    read : list of str or None
        Names of the columns of freight, report date and date of reversal; None if there is no such column.
    """
    named = claim_columns(table.names, claim_id)
    _check.columns_present(named, table.names, argument="claims")
    if named:
        _check_ids(table, named[0])
    elif read[1] is not None:
        _warn_of_repeats(table, order, order_id, [name for name in read if name is not None])


def _check_ids(table: Table, claim_id: str) -> None:
    import pandas as pd

    keys = pd.Index(table.ids(claim_id))
    table.refuse(
        np.asarray(keys.isna()),
        f"claims: '{claim_id}' is missing in {{rows}}; give every claim its id, or build the book with claim_id=None.",
    )
    if keys.is_unique:
        return
    repeated = np.flatnonzero(keys.duplicated())
    shown = ", ".join(str(key) for key in keys[repeated].unique()[: _check.SHOWN_ROWS].tolist())
    raise InputError(
        f"claims: '{claim_id}' repeats an earlier row in {table.rows_text(repeated)}, such as ids {shown}; keep one "
        "row for each claim, because every row counts. If the column does not name claims, give claim_id=None."
    )


def _warn_of_repeats(table: Table, order: NDArray[np.int64], order_id: str, read: list[str]) -> None:
    """Warn if many claims equal an earlier claim in every column that is read: order, freight and dates."""
    import pandas as pd

    # Only orders with several claims can have equal claims, and such orders are few.
    several = np.flatnonzero(np.bincount(order)[order] > 1) if len(order) else order
    columns: dict[str, NDArray[Any]] = {"order": order[several], "freight": table.real(read[0])[several]}
    columns |= {name: table.days(name)[several] for name in read[1:]}
    again = several[pd.DataFrame(columns).duplicated().to_numpy()]
    if len(again) > MOST_REPEATS * len(order):
        ids = list(dict.fromkeys(table.ids(order_id)[again[:100]].tolist()))[: _check.SHOWN_ROWS]
        _check.warn(
            f"claims: {len(again):,} of {len(order):,} rows equal an earlier row in order, {', '.join(read)} (first "
            f"orders: {', '.join(map(str, ids))}), and every row counts as a claim. Drop rows that were given twice. "
            "If they are different claims, give them a column of ids (claim_id=)."
        )
