"""Amounts by level for rare levels that a book pools: refused if the pooled level would get another amount."""

from collections.abc import Mapping
from typing import NamedTuple

from freightrisk._shown import counted, first_of, repr_of
from freightrisk.book.by_level import ByLevel, level_table, path_label
from freightrisk.book.codings import Coding
from freightrisk.book.factors import MISSING, OTHER, Path
from freightrisk.errors import InputError
from freightrisk.tariff.cover import Cover

SHOWN = 3  # pooled levels in a message
NO_VALUES = (MISSING, OTHER)  # parts of paths that no column has as a value


class _Unmet(NamedTuple):
    """A rare level whose listed amount a tariff cannot give: what is listed, and the pool that replaces the level."""

    path: Path
    listed: Path
    pool: str
    amount: float


def refuse_pooled_limits(cover: Cover, codings: Mapping[str, Coding]) -> None:
    """Refuse limits by level of a cover that do not reach a rare level; documents are read without this check."""
    for name, amounts in (("first_weight_fee", cover.first_weight_fee), ("limit", cover.limit)):
        if isinstance(amounts, ByLevel):
            refuse_pooled_amounts(amounts, codings, what=f"{name} of the cover", with_rules=True)


def refuse_pooled_amounts(
    amounts: ByLevel, codings: Mapping[str, Coding], *, what: str, with_rules: bool = False
) -> None:
    """Refuse amounts by level that do not reach a rare level of the book, because the book pools it.

    A rare level has the code of its pool, such as "(other)", and with it the amount of the pool. The amount is right if
    it equals the amount of the deepest listed name on the level's own path, or if the pool is listed below this name.

    Parameters
    ----------
    amounts : ByLevel
    codings : mapping of str to Coding
        Factors of the tariff, among them the factor of the amounts.
    what : str
        Name of the amounts in the message.
    with_rules : bool
        Whether the message suggests a `Limit` in place of the amount.

    Raises
    ------
    InputError
    """
    coding = codings[amounts.factor]
    table = level_table(amounts, codings, what)
    unmet = []
    for path, code in coding.lookup.items():
        pool = coding.paths[code]
        listed = next((path[:k] for k in range(len(path), 0, -1) if path_label(path[:k]) in amounts.values), None)
        if path == pool or listed is None or (path_label(pool) in amounts.values and len(pool) > len(listed)):
            continue
        if amounts.values[path_label(listed)] != table[code]:
            unmet.append(_Unmet(path, listed, coding.labels[code], float(table[code])))
    if unmet:
        raise InputError(_message(amounts, coding, unmet, what, with_rules=with_rules))


def _message(amounts: ByLevel, coding: Coding, unmet: list[_Unmet], what: str, *, with_rules: bool) -> str:
    """Return which amounts do not reach which rare levels, what these would get, and what to change."""
    first = unmet[0]
    name, alike = path_label(first.listed), [one for one in unmet if one.listed == first.listed]
    amount = amounts.values[name]
    others = len({one.listed for one in unmet}) - 1
    more = f" The same is true of {counted(others, 'more listed name')}." if others else ""
    where = {
        column: [part] for column, part in zip(coding.columns, first.listed, strict=False) if part not in NO_VALUES
    }
    rule = f"limits=[Limit({repr_of(name)}, {amount:g}, where={where}, priority=1)]"
    instead = f"Use rules in its place, such as {rule}; or lower" if with_rules else "Lower"
    return (
        f"{what} is {amount:g} for '{name}' of factor '{coding.name}', but the book pools "
        f"{counted(len(alike), 'rare level')} of it ({first_of([path_label(one.path) for one in alike], SHOWN)}) into "
        f"'{first.pool}', where the amount is {first.amount:g}.{more} A tariff gives all levels of a pool one amount. "
        f"{instead} min_claims and min_exposure of the factor; or give '{first.pool}' the amount {amount:g} too."
    )
