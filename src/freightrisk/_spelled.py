"""Columns of texts as the numbers, ids and times that they spell."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk._forms import filled, whole_texts
from freightrisk._intake import (
    A_NUMBER,
    FINITE,
    HALF_TEXT,
    ISO_TIME,
    MISSING_TIME,
    NOT_ISO,
    NUMBER,
    WHOLE,
    Refused,
    microseconds,
    not_of_form,
    text_id,
    time_of,
    zone,
)

ZONED_TIME = r".{10}.*(Z|[+-][0-9]{2}:[0-9]{2})"


def text_numbers(column: Any) -> NDArray[np.float64]:
    """Return texts as finite numbers, NaN if missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = whole_texts(column)
    spelled = filled(pc.match_substring_regex(column, f"^({NUMBER.pattern})$"), True)
    known = pc.if_else(spelled, pc.utf8_ltrim(column, "+"), None)  # pyarrow does not accept a plus sign
    found = filled(known.cast(pa.float64()), np.nan)
    infinite = np.isinf(found)
    bad = ~spelled | infinite
    if bad.any():
        raise (
            Refused("is infinite", FINITE, infinite)
            if infinite[bad.argmax()]
            else Refused("is not a number", A_NUMBER, ~spelled)
        )
    return found


def text_ids(column: Any) -> NDArray[Any]:
    """Return texts as ids: 64-bit integers if they spell one, otherwise the texts themselves."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = whole_texts(column)
    spelled = filled(pc.match_substring_regex(column, f"^({WHOLE.pattern})$"), False)
    short = spelled & (filled(pc.binary_length(column), 0) <= 18)  # any 18 characters fit into 64 bits
    if short.all():
        return np.asarray(column.cast(pa.int64()).to_numpy())
    zeros = filled(pc.match_substring(column, "\0"), False)
    if zeros.any():
        raise Refused(*HALF_TEXT, zeros)
    found = np.asarray(column.to_numpy(), dtype=object)
    for row in np.flatnonzero(spelled).tolist():
        found[row] = text_id(found[row])
    found[filled(pc.equal(column, ""), True)] = None
    return whole_if_all(found) if spelled.all() else found


def text_times(column: Any, clock: str, date_format: str | None) -> NDArray[np.datetime64]:
    """Return texts as times of a clock in microseconds, NaT if missing or empty."""
    import pandas as pd
    import pyarrow.compute as pc

    column = whole_texts(column)
    short = pc.replace_substring_regex(column, r"(\.[0-9]{6})[0-9]+", r"\1") if date_format is None else column
    # Digits after the microsecond are cut off, because pandas would count in nanoseconds, which end in the year 2262.
    texts = pd.Series(np.asarray(short.to_numpy(), dtype=object))
    known = filled(pc.not_equal(column, ""), False)
    found = np.full(len(texts), MISSING_TIME)
    if date_format is None:
        spelled = filled(pc.match_substring_regex(column, f"^({ISO_TIME})$"), False)
        zoned = filled(pc.match_substring_regex(column, f"^{ZONED_TIME}$"), False)
        fault, cure = NOT_ISO
    else:
        spelled, zoned = known, np.full(len(texts), "%z" in date_format)
        fault, cure = not_of_form(date_format)
    bad = known & ~spelled
    for rows, utc in ((known & ~bad & ~zoned, False), (known & ~bad & zoned, True)):
        if rows.any():
            read = pd.to_datetime(texts[rows], format=date_format or "ISO8601", utc=utc, errors="coerce")
            bad[rows] |= read.isna().to_numpy()
            moments = np.asarray((read.dt.tz_localize(None) if utc else read).to_numpy())
            try:
                moments = microseconds(moments)
                found[rows] = on_clock(moments, clock) if utc else moments
            except Refused as refused:
                bad[rows] |= refused.bad
    if bad.any() and date_format is None:
        # Before version 3, pandas counts in nanoseconds, which cover only the years 1678 to 2261. Texts outside these
        # years are converted one by one.
        year = pc.utf8_slice_codeunits(column, 0, 4)
        far = filled(pc.or_(pc.less(year, "1678"), pc.greater(year, "2261")), False)
        for row in np.flatnonzero(bad & spelled & far).tolist():
            try:
                found[row] = time_of(texts.iat[row], clock)
                bad[row] = False
            except Refused:
                pass
    if bad.any():
        raise Refused(fault, cure, bad)
    return found


def on_clock(instants: NDArray[np.datetime64], clock: str) -> NDArray[np.datetime64]:
    """Return instants in UTC as times of a clock."""
    import pandas as pd

    moved = pd.DatetimeIndex(instants).tz_localize("UTC").tz_convert(zone(clock)).tz_localize(None)
    return microseconds(np.asarray(moved))


def whole_if_all(found: NDArray[Any]) -> NDArray[Any]:
    """Return ids as int64 if each of them is a whole number."""
    whole = all(type(value) is int for value in found.tolist())
    return found.astype(np.int64) if whole else found
