"""Amounts by level for rare levels that a book pools: refused if the pooled level would get another amount."""

from collections.abc import Mapping
from typing import NamedTuple

from freightrisk._shown import counted, first_of, repr_of
from freightrisk.book.codings import Coding
from freightrisk.book.factors import MISSING, OTHER, Path
from freightrisk.errors import InputError
from freightrisk.tariff.cover import ByLevel
from freightrisk.tariff.rates import limit_table, path_label

SHOWN = 3  # pooled levels in a message


class _Unmet(NamedTuple):
    """A rare level whose listed amount a tariff cannot give: what is listed, and the pool that replaces the level."""

    path: Path
    listed: Path
    pool: str
    amount: float


def refuse_pooled_amounts(amounts: ByLevel, codings: Mapping[str, Coding], *, what: str = "the cover's limit") -> None:
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

    Raises
    ------
    InputError
    """
    coding = codings[amounts.factor]
    table = limit_table(amounts, codings)
    unmet = []
    for path, code in coding.lookup.items():
        pool = coding.paths[code]
        listed = next((path[:k] for k in range(len(path), 0, -1) if path_label(path[:k]) in amounts.values), None)
        if path == pool or listed is None or (path_label(pool) in amounts.values and len(pool) > len(listed)):
            continue
        if amounts.values[path_label(listed)] != table[code]:
            unmet.append(_Unmet(path, listed, coding.labels[code], float(table[code])))
    if unmet:
        raise InputError(_message(amounts, coding, unmet, what))


def _message(amounts: ByLevel, coding: Coding, unmet: list[_Unmet], what: str) -> str:
    """Return which amounts do not reach which rare levels, what these would get, and what to change."""
    first = unmet[0]
    name, alike = path_label(first.listed), [one for one in unmet if one.listed == first.listed]
    amount = amounts.values[name]
    others = len({one.listed for one in unmet}) - 1
    more = f" The same is true of {counted(others, 'more listed name')}." if others else ""
    parts = zip(coding.columns, first.listed, strict=False)
    where = {column: [part] for column, part in parts if part not in (MISSING, OTHER)}
    return (
        f"{what} is {amount:g} for '{name}' of factor '{coding.name}', but the book pools "
        f"{counted(len(alike), 'rare level')} of it ({first_of([path_label(one.path) for one in alike], SHOWN)}) into "
        f"'{first.pool}', where the amount is {first.amount:g}.{more} A tariff gives all levels of a pool one amount. "
        f"Use rules in its place, such as limits=[Limit({repr_of(name)}, {amount:g}, where={where}, priority=1)]; or "
        f"lower min_claims and min_exposure of the factor; or give '{first.pool}' the amount {amount:g} too."
    )
