"""Segments of a book: the orders that meet conditions on the levels of columns that the book's factors read."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._frozen import FrozenDict
from freightrisk._intake import Level, Refused, level_of
from freightrisk._shown import counted, repr_of
from freightrisk.book.book import OrderBook
from freightrisk.book.codings import Coding
from freightrisk.book.factors import MISSING, OTHER, Band, Path
from freightrisk.errors import InputError

Segment: TypeAlias = FrozenDict[str, tuple[Level, ...]]
Flags: TypeAlias = NDArray[np.bool_]


def checked_segment(where: Any) -> Segment:
    """Return conditions as levels by column, or raise if they are not such a mapping."""
    if not isinstance(where, Mapping) or not where:
        raise InputError(
            f"where is {repr_of(where)}; map columns to lists of levels, such as {{'category': ['jewellery']}}."
        )
    found = {_check.label(name, argument="a column in where"): _levels(name, some) for name, some in where.items()}
    return FrozenDict(found)


def _levels(column: str, given: Any) -> tuple[Level, ...]:
    rule = f"where['{column}'] is {repr_of(given)}; give a list of levels"
    try:
        levels = [level_of(level) for level in _check.items(given, argument=f"where['{column}']")]
    except (InputError, Refused):
        raise InputError(f"{rule}, each a text or a number.") from None
    if not levels or None in levels:
        raise InputError(f"{rule}, at least one and none missing.")
    return tuple(sorted((level for level in levels if level is not None), key=str))


def orders_in(book: OrderBook, where: Segment) -> Flags:
    """Return whether each order of a book meets all conditions.

    A missing value meets no condition. The book knows the levels of its factors only. So an order whose value was
    pooled with others, or was not in the book of the coding, may leave a condition open; such orders are refused.
    """
    inside, open_ = np.ones(book.n_orders, dtype=bool), np.zeros(book.n_orders, dtype=bool)
    for column, levels in where.items():
        met, missed = _known(book, column, levels)
        open_ |= ~met & ~missed
        inside &= ~missed
    unsure = int((inside & open_).sum())
    if unsure:
        columns = ", ".join(f"'{column}'" for column in where)
        raise InputError(
            f"where: the book does not know whether {counted(unsure, 'order')} {'meets' if unsure == 1 else 'meet'} "
            f"the conditions on {columns}, because their levels are pooled with others or are new to the book; declare "
            "the column as a Factor of the book without min_exposure and min_claims (no model has to use it)."
        )
    return inside


def _known(book: OrderBook, column: str, levels: tuple[Level, ...]) -> tuple[Flags, Flags]:
    """Return which orders certainly meet a condition, and which certainly do not."""
    codings = [one for one in book.codings.values() if column in one.columns and not isinstance(one.declared, Band)]
    if not codings:
        readable = [name for one in book.codings.values() if not isinstance(one.declared, Band) for name in one.columns]
        raise InputError(
            f"where names the column '{column}', of which the book has no levels; it has those of "
            f"{', '.join(dict.fromkeys(readable)) or 'no column'}. Declare the column as a Factor of the book."
        )
    met, missed = np.zeros(book.n_orders, dtype=bool), np.zeros(book.n_orders, dtype=bool)
    for coding in codings:
        meets, misses = _slots(coding, column, levels)
        met |= meets[book.codes[coding.name]]
        missed |= misses[book.codes[coding.name]]
    return met, missed


def _slots(coding: Coding, column: str, levels: tuple[Level, ...]) -> tuple[Flags, Flags]:
    """Return which slots of a factor hold only values that meet a condition, and which hold none."""
    depth = [*coding.columns].index(column)
    wanted = {_typed(_met(coding, depth, level)) for level in levels}
    some, others = np.zeros(coding.n_slots, dtype=bool), np.zeros(coding.n_slots, dtype=bool)
    for path, code in coding.lookup.items():
        if OTHER not in path:  # the paths that were pooled stand in the lookup by themselves
            (some if len(path) > depth and _typed(path[depth]) in wanted else others)[code] = True
    for node, code in coding.fallback.items():
        if len(node) > depth:
            (some if _typed(node[depth]) in wanted else others)[code] = True
            continue
        # Values behind a node are none of its known children, and nothing else is known of them.
        others[code] = True
        some[code] = not (len(node) == depth and wanted <= _children(coding, node))
    return some & ~others, others & ~some


def _met(coding: Coding, depth: int, level: Level) -> Level:
    found = coding.spellings[depth].meet(level)
    if found is None:
        raise InputError(
            f"where['{coding.columns[depth]}'] lists {repr_of(level)}, which is no level of the factor "
            f"'{coding.name}'; correct its spelling, or leave it out."
        )
    return found


def _children(coding: Coding, node: Path) -> set[tuple[bool, Any]]:
    below = [path for path in coding.lookup if len(path) > len(node) and path[: len(node)] == node]
    return {_typed(path[len(node)]) for path in below if path[len(node)] not in (MISSING, OTHER)}


def _typed(part: Any) -> tuple[bool, Any]:
    """Return a part of a path so that 1 and True differ."""
    return isinstance(part, bool), part
