"""The version of each quote: which programme priced an order, read back from quotes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._columns import Table
from freightrisk._shown import repr_of
from freightrisk.errors import InputError
from freightrisk.programme.version_pricing import VERSION
from freightrisk.programme.version_record import VersionsRecord


def places_of(versions: VersionsRecord, quotes: Table) -> NDArray[np.int64]:
    """Return the place of the programme that priced each order, -1 for orders that were not priced.

    Raises
    ------
    InputError
        For quotes without the column `version`, or with a version that is none of these.
    """
    _check.columns_present([VERSION], quotes.names, argument="quotes")
    codes, levels = quotes.levels(VERSION)
    known = {one.version: k for k, one in enumerate(versions.programmes)} | {"": -1}
    used = {int(code) for code in np.unique(np.asarray(codes))}
    unknown = [level for code, level in enumerate(levels) if code in used and level not in known]
    if unknown:
        raise InputError(
            f"quotes: '{VERSION}' is {repr_of(unknown[0])}, which is none of these versions; give the versions that "
            "priced these orders."
        )
    places = np.array([*(known.get(str(level), -1) for level in levels), -1], dtype=np.int64)
    found: NDArray[Any] = places[np.asarray(codes).astype(np.int64)]
    return found
