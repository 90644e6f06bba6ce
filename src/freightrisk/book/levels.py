"""Columns as the levels that a factor declares: paths of values, and numbers of a band."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk._columns import JoinedColumns
from freightrisk.book.factors import MISSING, Band, Declaration, Path
from freightrisk.book.recode import looked_up, paired


def observed_paths(declared: Declaration, columns: JoinedColumns) -> tuple[NDArray[np.int32], list[Path]]:
    """Return for every row the number of its path, and the paths."""
    parts = [columns.levels(name) for name in declared.columns]
    which = np.zeros(columns.n_rows, dtype=np.int32)
    paths: list[Path] = [()]
    for codes, values in parts:
        values = [*values, MISSING]
        present, which = _observed_pairs(which, len(paths), codes, len(values), columns.threads)
        paths = [(*paths[k // len(values)], values[k % len(values)]) for k in present.tolist()]
    return which, paths


def paths_to_look_up(declared: Declaration, columns: JoinedColumns) -> tuple[NDArray[Any], list[Path]]:
    """Return for every row the number of its path, and the paths, some of which need not occur.

    The categories of one column do as they are, where they are fewer than the rows; missing ones are the last path.
    """
    if len(declared.columns) == 1:
        codes, values = columns.levels(declared.columns[0])
        if len(values) <= max(columns.n_rows, 2**8):
            return codes, [(value,) for value in (*values, MISSING)]
    return observed_paths(declared, columns)


def band_values(declared: Band, columns: JoinedColumns) -> NDArray[np.float64]:
    """Return the numbers of a band's column, refusing those outside its valid interval."""
    column = declared.columns[0]
    values = columns.real(column)
    low, high = declared.valid
    if ((values >= low) & (values <= min(high, np.finfo(np.float64).max))).all():
        return values
    missing = np.isnan(values)
    if missing.any() and declared.missing == "error":
        refuse_missing(declared, missing, columns)
    columns.refuse(
        (values < low) | (values > high),
        f"column '{column}' is outside [{low:g}, {high:g}] in {{rows}}; correct these rows or widen valid=.",
        column,
    )
    return values


def _observed_pairs(
    which: NDArray[np.int32], n_paths: int, codes: NDArray[Any], n_values: int, threads: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the pairs of path and value that occur, ascending, as path * n_values + value, and each row's among them.

    Codes below zero are the last value.
    """
    if n_paths * n_values > 2**24:
        pairs = which.astype(np.int64) * n_values + np.where(codes < 0, n_values - 1, codes)
        present, inverse = np.unique(pairs, return_inverse=True)
        return present, inverse.astype(np.int32)
    seen = np.zeros(n_paths * n_values, dtype=np.uint8)
    paired(which, codes, n_values, seen, threads=threads)
    present = np.flatnonzero(seen)
    number = np.zeros(len(seen), dtype=np.uint32)
    number[present] = np.arange(len(present))
    return present, looked_up(which, number, threads=threads).view(np.int32)


def refuse_missing(declared: Declaration, bad: NDArray[np.bool_], columns: JoinedColumns) -> None:
    """Raise if a factor that refuses missing values has some; name their rows."""
    names = ", ".join(f"'{column}'" for column in declared.columns)
    columns.refuse(
        bad,
        f"factor '{declared.name}': column {names} is missing in {{rows}}; "
        "fill these rows, or declare the factor with missing='level'.",
    )
