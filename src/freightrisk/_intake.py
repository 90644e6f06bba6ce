"""Conversion of a value of any column to an id, a level, a number or a time, under one rule for every entry point.

`id_of`, `level_of`, `number_of` and `time_of` apply the rule to one value. `_vectors` applies it to whole columns and
gives the same values faster. docs/data_contract.md states the rule in words. All of them raise `Refused` for a value
that the kind does not accept.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from freightrisk._shown import repr_of
from freightrisk.errors import InputError

Level: TypeAlias = str | int | float | bool
Id: TypeAlias = int | str

DEFAULT_CLOCK = "Asia/Shanghai"
MOST_DIGITS = 4_000  # of a whole number as an id; Python refuses to convert much longer ones (4,300 digits) to text
LARGEST_WHOLE = 10**MOST_DIGITS
WHOLE = re.compile(r"0|-?[1-9][0-9]*", re.ASCII)
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
ISO_ZONE = r"(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
ISO_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?" + ISO_ZONE + "?)?"
ISO = re.compile(ISO_TIME, re.ASCII)
MOST_COMPARED = 2_000  # known levels among which a message looks for a similar spelling; a bound on its time
EXACT: dict[Any, int] = {np.float16: 2**11, np.float32: 2**24}  # whole floats below are exact; 2**53 for float64
RESERVED = ("(missing)", "(other)", "(all)")
DIRECTIVE = re.compile(r"%(.)")
KNOWN_DIRECTIVES = frozenset("YymdjbBHIpMSfz%")
DAY = np.dtype("M8[D]")
MICROSECOND = np.dtype("M8[us]")
AN_ID = "an id is a whole number or a text"
A_LEVEL = "a level is a text, a number or a boolean"
A_NUMBER = "convert it to numbers, such as 12.5"
A_TIME = "give a date, a time, or a text such as 2026-05-31"
FINITE = "give finite numbers"
HALF_TEXT = ("is a text with a zero character or half of a character", "correct its encoding")
NOT_ISO = (
    "cannot be read as dates by ISO 8601",
    "write them as 2026-05-31, or give their format with date_format=",
)
FAR = ("is outside the years 1 to 9999", "correct it")
TIMEDELTA: Any = np.timedelta64
KIND_WORDS: tuple[tuple[Any, str], ...] = (
    ((bool, np.bool_), "boolean"),
    ((timedelta, np.timedelta64), "timedelta"),
    ((int, float, np.integer, np.floating, Decimal), "number"),
    ((datetime, np.datetime64), "datetime"),
)
MISSING_TIME = np.datetime64("NaT", "us")
FIRST_TIME, LAST_TIME = np.datetime64("0001-01-01", "us"), np.datetime64("9999-12-31T23:59:59.999999", "us")


class Refused(Exception):  # noqa: N818 -- every entry point catches it and words the message that the user sees
    """A kind does not accept some values of a column.

    Parameters
    ----------
    fault : str
        The fault of the values, as words that follow "which" or the name of the column.
    cure : str
        The cure, as an instruction.
    bad : bool array, shape (n,), optional
        True for the refused rows; all rows of the column by default.
    """

    def __init__(self, fault: str, cure: str, bad: NDArray[np.bool_] | None = None) -> None:
        super().__init__(fault, cure)
        self.fault, self.cure, self.bad = fault, cure, bad


def is_missing(value: Any) -> bool:
    """Return whether a value is None, NaN, NaT or NA."""
    if value is None or type(value).__name__ in ("NaTType", "NAType"):
        return True
    if isinstance(value, (float, np.floating)):
        return bool(value != value)
    if isinstance(value, np.datetime64):
        return bool(np.isnat(value))
    return isinstance(value, Decimal) and value.is_nan()


def id_of(value: Any) -> Id | None:
    """Return the id that a value names: a 64-bit integer, or a text that spells no such integer; None if missing."""
    if type(value) is int and -(2**63) <= value < 2**63:
        return value
    if is_missing(value) or (isinstance(value, str) and not value):
        return None
    if isinstance(value, str):
        return text_id(_sound_text(value))
    if isinstance(value, (bool, np.bool_)):
        raise Refused("is a boolean, not an id", AN_ID)
    if isinstance(value, (float, np.floating)):
        if not float(value).is_integer() or abs(float(value)) >= EXACT.get(type(value), 2**53):
            raise Refused(
                "is a floating-point number that does not name an id for certain",
                "such numbers are rounded, so read the ids as integers or texts",
            )
    elif isinstance(value, Decimal):
        if not value.is_finite() or value != value.to_integral_value() or value.adjusted() >= MOST_DIGITS:
            raise Refused("is a decimal that is not a whole number", AN_ID)
    elif not _is_whole(value):
        raise Refused(f"is {_kind(value)}, not an id", AN_ID)
    return _within_64_bits(int(value))


def level_of(value: Any) -> Level | None:
    """Return a value as a level: a text, a whole or finite number, or a boolean; None if it is missing."""
    if is_missing(value):
        return None
    if isinstance(value, str):
        if value in RESERVED:
            raise Refused(f"is the text '{value}', which stands for other levels in tables", "rename this level")
        return _sound_text(value)
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if _is_whole(value):
        return _within_64_bits(int(value))
    if (
        isinstance(value, Decimal)
        and value.is_finite()
        and value == value.to_integral_value()
        and value.adjusted() < MOST_DIGITS
    ):
        return level_of(int(value))
    if isinstance(value, (float, np.floating, Decimal)):
        number = _finite(value)
        # 3.0 and 3 are one level, because a column of integers with gaps is read as floats.
        return int(number) if number.is_integer() and abs(number) < 2**53 else number
    raise Refused(f"is {_kind(value)}, not a level", A_LEVEL)


def number_of(value: Any) -> float:
    """Return a value as a finite number; NaN if it is missing."""
    if type(value) is float and np.isfinite(value):
        return value
    if is_missing(value):
        return np.nan
    if isinstance(value, (bool, np.bool_)):
        raise Refused("is a boolean, not a number", A_NUMBER)
    if isinstance(value, str):
        if not NUMBER.fullmatch(value):
            raise Refused("is not a number", A_NUMBER)
        return _finite(float(value))
    if _is_whole(value) or isinstance(value, (float, np.floating, Decimal)):
        return _finite(value)
    raise Refused(f"is not a number but {_kind(value)}", A_NUMBER)


def time_of(value: Any, clock: str = DEFAULT_CLOCK, date_format: str | None = None) -> np.datetime64:
    """Return a value as a time on a clock, in microseconds; NaT if it is missing.

    Parameters
    ----------
    value : object
    clock : str
        Time zone of naive times. Times of other zones are converted to it.
    date_format : str, optional
        Format of texts, as for `datetime.strptime`; ISO 8601 by default.
    """
    if is_missing(value) or (isinstance(value, str) and not value):
        return MISSING_TIME
    if isinstance(value, str):
        if date_format is not None:
            return time_of(_formatted_time(value, date_format), clock)
        try:
            return time_of(_iso_time(value), clock)
        except Refused:
            raise Refused(*NOT_ISO) from None
    if isinstance(value, datetime):
        if value.tzinfo is not None:
            try:
                value = value.astimezone(zone(clock)).replace(tzinfo=None)
            except OverflowError:
                raise Refused(*FAR) from None
        value = getattr(value, "asm8", np.datetime64(value, "us"))  # a pandas.Timestamp may have nanoseconds
    if isinstance(value, date):
        return np.datetime64(value, "us")
    if isinstance(value, np.datetime64) and np.can_cast(DAY, value.dtype):  # days or finer, not months
        return microseconds(np.array([value]))[0]  # type: ignore[no-any-return]
    raise Refused(f"cannot be read as dates, because it is {_kind(value)}", A_TIME)


def spelling(value: Level) -> str:
    """Return the spelling of a level as a text: numbers in their shortest decimal form, booleans as True and False."""
    if isinstance(value, str):
        return value.capitalize() if value in ("true", "false") else value
    return repr(value)


class Spellings:
    """Known levels by their spelling, so that a text can match a number, and a number can match a text.

    Parameters
    ----------
    known : iterable of level
    """

    def __init__(self, known: Iterable[Level]) -> None:
        self.known = dict.fromkeys(known)
        self._typed = {(isinstance(level, bool), level): level for level in self.known}  # 1 == True, but not as levels
        self._alike: dict[tuple[bool, str], list[Level]] = {}
        for level in self.known:
            self._alike.setdefault((isinstance(level, str), spelling(level)), []).append(level)

    def meet(self, value: Level) -> Level | None:
        """Return the known level that equals a value, or else the only one of another type with the same spelling."""
        if (isinstance(value, bool), value) in self._typed:
            return self._typed[isinstance(value, bool), value]
        found = self._alike.get((not isinstance(value, str), spelling(value)), [])
        return found[0] if len(found) == 1 else None


def plain_spelling(text: str) -> str:
    """Return a text without differences that are usually mistakes: character width, outer spaces, letter case."""
    return unicodedata.normalize("NFKC", text).strip().casefold()


def nearest_spelling(text: str, known: Iterable[str]) -> str | None:
    """Return the known text whose spelling is closest to a text, or None if no known text is similar."""
    known = list(known)[:MOST_COMPARED]
    alike = [other for other in known if plain_spelling(other) == plain_spelling(text)]
    return next(iter(alike or get_close_matches(text, known, n=1)), None)


def check_date_format(date_format: Any) -> None:
    """Refuse a date format that does not determine the day, or that is ambiguous."""
    names = DIRECTIVE.findall(date_format) if isinstance(date_format, str) else []
    given = set(names) - {"%"}
    a_year, a_day = given & set("Yy"), "j" in given or ("d" in given and given & set("mbB"))
    once = len(given) == len([name for name in names if name != "%"])
    if not (a_year and a_day and once and set(names) <= KNOWN_DIRECTIVES):
        raise InputError(
            f"date_format is {repr_of(date_format)}; give year, month and day once each, in the codes of strptime, "
            "such as '%d/%m/%Y' or '%Y-%m-%d %H:%M:%S'."
        )


def check_clock(clock: Any) -> None:
    """Refuse a value that is not the name of a time zone."""
    zone(clock if isinstance(clock, str) else repr_of(clock))


@lru_cache(maxsize=16)
def zone(clock: str) -> ZoneInfo:
    """Return the time zone of a clock by its name, such as "Asia/Shanghai"."""
    try:
        if clock == "localtime":  # it means a different zone on each machine
            raise ValueError
        return ZoneInfo(clock)
    except (KeyError, ValueError, TypeError, OSError):
        raise InputError(
            f"clock is {repr_of(clock)}; it must be the name of a time zone, such as 'Asia/Shanghai'."
        ) from None


def _iso_time(text: str) -> datetime:
    if ISO.fullmatch(text):
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass
    raise Refused(*NOT_ISO)


def microseconds(times: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    """Return times in microseconds; refuses times outside the years 1 to 9999, which Python cannot represent."""
    if np.datetime_data(times.dtype)[0] not in ("ns", "ps", "fs", "as"):  # 64 bits of these span fewer years
        times = times.astype(times.dtype.newbyteorder("="), copy=False)
        counts = times.view(np.int64)
        low, high = (int(time.astype(times.dtype).astype(np.int64)) for time in (FIRST_TIME, LAST_TIME))
        if len(counts) and (counts.min() < low or counts.max() > high):  # NaT is stored as the smallest integer
            far = ((counts < low) | (counts > high)) & ~np.isnat(times)
            if far.any():
                raise Refused(*FAR, far)
    return times.astype(MICROSECOND)


def _formatted_time(text: str, date_format: str) -> datetime:
    import pandas as pd

    texts = pd.Series([text], dtype=object)
    found = pd.to_datetime(texts, format=date_format, utc="%z" in date_format, errors="coerce").iloc[0]
    if is_missing(found):
        raise Refused(*not_of_form(date_format))
    return found  # type: ignore[no-any-return]


def not_of_form(date_format: str) -> tuple[str, str]:
    """Return fault and cure of texts that do not match a date format."""
    return f"cannot be read as dates of the form '{date_format}'", "correct them, or the date_format="


def _is_whole(value: Any) -> bool:
    """Return whether a value is a whole number; numpy's timedelta64 is excluded, although it subclasses np.integer."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, TIMEDELTA)


def text_id(text: str) -> Id:
    """Return the 64-bit integer that a text spells, or the text if it spells no such integer."""
    if not WHOLE.fullmatch(text) or len(text) > 20:
        return text
    whole = int(text)
    return whole if -(2**63) <= whole < 2**63 else text


def _within_64_bits(whole: int) -> Id:
    """Return a whole number as it is if it fits into 64 bits, otherwise as a text."""
    if abs(whole) >= LARGEST_WHOLE:
        raise Refused(f"is a number of more than {MOST_DIGITS:,} digits", "give a shorter number")
    return whole if -(2**63) <= whole < 2**63 else str(whole)


def _sound_text(value: str) -> str:
    if "\0" in value or (not value.isascii() and any("\ud800" <= sign <= "\udfff" for sign in value)):
        raise Refused(*HALF_TEXT)
    return str.__str__(value)  # the plain text, even of a member of a str enumeration


def _finite(value: Any) -> float:
    """Return a number as float64; refuses infinity."""
    # By its shortest decimal, because float32(0.1) is meant as 0.1 and not as 0.10000000149.
    narrow = isinstance(value, (np.float16, np.float32))
    try:
        number = float(str(value)) if narrow else float(value)
    except OverflowError:
        number = np.inf
    if not np.isfinite(number):
        raise Refused("is infinite", FINITE)
    return number


def _kind(value: Any) -> str:
    """Return the type of a value in words that do not depend on the kind of table."""
    for kinds, word in KIND_WORDS:
        if isinstance(value, kinds):
            return f"a {word}"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def by_id(values: Mapping[Any, Any], argument: str) -> dict[int | str, Any]:
    """Return values by merchant id; refuses invalid ids and two spellings of one id."""
    found: dict[int | str, Any] = {}
    spelled: dict[int | str, Any] = {}
    for merchant, value in values.items():
        try:
            name = id_of(merchant)
        except Refused as refused:
            raise InputError(f"{argument}: merchant {repr_of(merchant)} {refused.fault}; {refused.cure}.") from None
        if name is None:
            raise InputError(f"{argument} has a value for a missing merchant; name each merchant.")
        if name in found:
            raise InputError(
                f"{argument} names one merchant as {repr_of(spelled[name])} and as {repr_of(merchant)}; "
                "keep one of them."
            )
        found[name], spelled[name] = value, merchant
    return found
