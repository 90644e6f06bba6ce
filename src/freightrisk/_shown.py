"""Text for people: signs that a terminal obeys as escapes, cells that a spreadsheet would run with an apostrophe."""

import re
from functools import lru_cache
from unicodedata import category

UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Control signs, signs of direction, halves of signs, and separators of lines: none of them is seen as itself."""

LONGEST = 300  # signs of a value in a message
JOINERS = "\u200c\u200d"  # parts of words in several scripts
PLAIN = re.compile(r"[ -~¡-¬®-ʯ、-〿ぁ-ヿ㐀-䶿一-鿿！-￮]*")
FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def shown(text: str) -> str:
    r"""Return a text with its control signs and signs of direction as escapes, such as ``\x1b``.

    What is returned stands on one line and changes no colour, title or direction of what is printed around it; words of
    any script stay as they are. The escapes of a text that is escaped already stay too.

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


def repr_of(value: object) -> str:
    """Return how a value that was given is written in a message: short, on one line, whatever its type makes of it.

    Examples
    --------
    >>> print(repr_of("city"), repr_of([0] * 500)[-15:], repr_of(10**5_000))
    'city'  0, 0, 0, 0,... a number of over 4,300 digits
    """
    try:
        text = repr(value)
    except Exception:  # of any type: nothing is known of whose it is
        if isinstance(value, int):
            return "a number of over 4,300 digits"
        return f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."


def cell(text: str) -> str:
    """Return the text of a spreadsheet's cell, with an apostrophe before what would be a formula; numbers stay."""
    return "'" + text if FORMULA.match(text) and not NUMBER.fullmatch(text) else text
