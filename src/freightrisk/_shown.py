"""Text for people: control characters become escapes, and cells that a spreadsheet would run get an apostrophe."""

import re
from collections.abc import Collection, Iterable
from dataclasses import MISSING, fields
from functools import lru_cache
from itertools import chain, islice
from typing import Any
from unicodedata import category

UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories of invisible characters: controls, direction marks, surrogates, line and paragraph separators."""

LONGEST = 300  # characters of a value in a message
MOST_VALUES = 100_000  # of a container in a message
CONTAINERS = (list, tuple, dict, set, frozenset)
JOINERS = "\u200c\u200d"  # invisible too, but parts of words in several scripts
PLAIN = re.compile(r"[ -~¡-¬®-ʯ、-〿ぁ-ヿ㐀-䶿一-鿿！-￮]*")
FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def shown(text: str) -> str:
    r"""Return a text with its control characters and direction marks as escapes, such as ``\x1b``.

    The result is one line. It does not change the colour, title or direction of the text around it. Words of any script
    stay as they are. A text that is already escaped does not change.

    Examples
    --------
    >>> print(shown("退货\x1b[31m red"))
    退货\x1b[31m red
    """
    return text if PLAIN.fullmatch(text) else "".join(map(_sign, text))


@lru_cache(maxsize=4096)
def _sign(sign: str) -> str:
    if category(sign) not in UNSEEN or sign in JOINERS:
        return sign
    return sign.encode("unicode_escape").decode("ascii")


def brief(noun: Any) -> str:
    """Return the repr of a dataclass with the fields that differ from their defaults; it makes an equal object."""
    found = []
    for one in fields(noun):
        value = getattr(noun, one.name)
        default = one.default if one.default_factory is MISSING else one.default_factory()
        if one.repr and (default is MISSING or value != default):
            found.append(f"{one.name}={value!r}")
    return f"{type(noun).__name__}({', '.join(found)})"


def repr_of(value: object) -> str:
    """Return a value as messages show it: its repr, cut to 300 characters; no type can make it fail.

    Examples
    --------
    >>> print(repr_of("city"), repr_of([0] * 500)[-15:], repr_of(10**5_000))
    'city'  0, 0, 0, 0,... a number of over 4,300 digits
    """
    if isinstance(value, CONTAINERS) and _is_large(value):
        return f"a {type(value).__name__} of over {MOST_VALUES:,} values"
    try:
        text = repr(value)
    except Exception:  # the repr of a foreign type may raise any error
        if isinstance(value, int):
            return "a number of over 4,300 digits"
        return f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."


def _is_large(value: object) -> bool:
    """Return whether a container holds more values than a message is made from, all levels together.

    A few lists that contain each other several times can stand for more values than fit into memory.
    """
    open_values: list[Any] = [value]
    count = 0
    while open_values and count <= MOST_VALUES:
        one = open_values.pop()
        inside = list(islice(chain(one, one.values()) if isinstance(one, dict) else iter(one), MOST_VALUES + 1))
        count += len(inside)
        open_values += [item for item in inside if isinstance(item, CONTAINERS)]
    return count > MOST_VALUES


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, in the plural unless the count is 1.

    Examples
    --------
    >>> counted(1, "step"), counted(1200, "step")
    ('1 step', '1,200 steps')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def named(names: Iterable[object], none: str) -> str:
    """Return names with commas between them, or the text `none` if there are no names."""
    return ", ".join(map(str, names)) or none


def first_of(names: Collection[object], most: int = 20) -> str:
    """Return the first names with commas between them, and how many more there are."""
    shown_names = ", ".join(map(str, islice(names, most)))
    return f"{shown_names} and {len(names) - most:,} more" if len(names) > most else shown_names


def cell(text: str) -> str:
    """Return the text of a spreadsheet cell, with an apostrophe in front if it would run as a formula; numbers stay."""
    return "'" + text if FORMULA.match(text) and not NUMBER.fullmatch(text) else text
