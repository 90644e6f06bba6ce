"""Amounts by level of a factor: for listed levels, the levels below listed parents, and unseen levels."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from freightrisk import _check
from freightrisk._frozen import FrozenDict
from freightrisk._shown import counted, first_of
from freightrisk._types import Array
from freightrisk.book.codings import Coding
from freightrisk.book.factors import Path
from freightrisk.errors import InputError

LARGEST_AMOUNT = 1e6


@dataclass(frozen=True)
class ByLevel:
    """An amount for each level of a rating factor: yuan of a limit, a fraud load or a filed factor.

    Parameters
    ----------
    factor : str
        Name of a rating factor of the tariff.
    values : mapping of level to float
        Amount for each level, from 0 to 1,000,000; amounts of limits and filed factors are above 0. Levels are named as
        in the relativities. The parent of levels of a `Hierarchy` can be listed too, such as "home" or
        "home > furniture". Its amount holds for all levels below it that are not listed, seen or unseen; of several
        parents, the deepest decides.
    default : float, optional
        Amount for all levels without an amount. Without a default, every level or a parent of it must be listed.

    Notes
    -----
    An unseen level without an amount takes the amount that all known levels of its nearest known parent share. If they
    differ, it takes the default, and without a default the largest of their amounts. An unseen level without a parent
    takes the default, and without a default the largest amount of all levels.

    A level that the book never had may be listed too, with its parents, such as "home > lamp". A tariff prices all
    unseen levels of one parent alike. So the amount must be the one that the unseen levels of its parent take; any
    other amount is refused. To change it, give the parent an amount, or for a factor without parents the default.

    A book pools rare levels, for example as "(other)", and a tariff gives all levels of a pool one amount. So an amount
    must also be right for the rare levels below its name. A new tariff is refused if it lists a parent, or the rare
    level itself, with another amount than its pool has. A pool can be listed like a level. If it stands below the
    parent, such as "home > (other)" below "home", its amount decides. Rules (`Limit`) read the orders' own values, so
    pools do not matter to them.

    Examples
    --------
    >>> from freightrisk import ByLevel
    >>> ByLevel("category", {"home": 30.0, "home > furniture": 70.0}, default=20.0).values["home > furniture"]
    70.0
    """

    factor: str
    values: Mapping[Any, float]
    default: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _check.label(self.factor, argument="factor of ByLevel")
        if not _check.mapping(self.values, argument=f"values of ByLevel('{self.factor}')"):
            raise InputError(f"values of ByLevel('{self.factor}') is empty; list an amount for each level.")
        checked = {str(level): _amount(value, f"amount of level '{level}'") for level, value in self.values.items()}
        if len(checked) < len(self.values):
            raise InputError(f"values of ByLevel('{self.factor}') names a level twice, as number and text; keep one.")
        object.__setattr__(self, "values", FrozenDict(checked))
        if self.default is not None:
            object.__setattr__(self, "default", _amount(self.default, "default of ByLevel"))

    @property
    def amounts(self) -> dict[str, float]:
        """Return every amount by what it is for: its level, or the default."""
        found = {f"level '{level}'": amount for level, amount in self.values.items()}
        return found if self.default is None else found | {"the default": self.default}

    def check_amounts(self, argument: str, *, high: float, open_low: bool) -> None:
        """Refuse amounts outside [0, high], or (0, high] if `open_low`, for the use as an argument of another noun."""
        for what, amount in self.amounts.items():
            _check.number(amount, argument=f"{argument}, amount of {what},", low=0.0, high=high, open_low=open_low)


def _amount(value: object, argument: str) -> float:
    return _check.number(value, argument=argument, low=0.0, high=LARGEST_AMOUNT)


def level_table(given: ByLevel, codings: Mapping[str, Coding], what: str) -> Array:
    """Return the amount for every slot of a factor, as `ByLevel` describes it.

    Parameters
    ----------
    given : ByLevel
    codings : mapping of str to Coding
    what : str
        The subject of messages, such as "the cover".

    Returns
    -------
    float64 array, shape (slots,)
        Levels first, then the fallbacks of unseen levels.
    """
    if given.factor not in codings:
        raise InputError(
            f"{what} names factor '{given.factor}', which no model rates; the factors are "
            f"{', '.join(codings) or 'none'}."
        )
    coding = codings[given.factor]
    nodes = {path_label(node): node for node in coding.nodes if node}
    of_nodes = {node: given.values[label] for label, node in nodes.items() if label in given.values}
    levels = [
        given.values[label] if label in given.values else _of_nearest(path, of_nodes)
        for label, path in zip(coding.labels, coding.paths, strict=True)
    ]
    pools = _pooled(coding)
    absent = [label for label, amount in zip(coding.labels, levels, strict=True) if amount is None]
    unknown = [level for level in given.values if level not in coding.labels and level not in nodes]
    if absent and given.default is None:
        _refuse_unknown(given, coding, what, [level for level in unknown if level not in pools][:1])
        raise InputError(
            f"{what} has no amount for {counted(len(absent), 'level')} of factor '{given.factor}' (first: "
            f"'{absent[0]}'); list them{' or their parents,' if nodes else ''} or give a default."
        )
    known = [given.default if amount is None else amount for amount in levels]
    below = (np.array(known, dtype=np.float64)[members] for members in coding.members)
    rest = [_fallback(given, node, of_nodes, amounts) for node, amounts in zip(coding.nodes, below, strict=True)]
    unseen = dict(zip(coding.nodes, rest, strict=True))
    wrong = [level for level in unknown if given.values[level] != _unseen(level, unseen)[1]]
    wrong = [level for level in wrong if level not in pools or given.values[level] != known[pools[level]]]
    rare = next((level for level in wrong if level in pools), None)
    if rare is not None:
        pool = coding.labels[pools[rare]]
        raise InputError(
            f"{what} names level '{rare}' of factor '{given.factor}', which the book pools into '{pool}' with amount "
            f"{known[pools[rare]]:g}; give '{pool}' the amount, or lower min_claims and min_exposure of the factor."
        )
    _refuse_unknown(given, coding, what, wrong, unseen)
    return np.array([*known, *rest], dtype=np.float64)


def _pooled(coding: Coding) -> dict[str, int]:
    """Return the rare levels of a book by name, and the code of the level into which each is pooled."""
    return {path_label(path): code for path, code in coding.lookup.items() if coding.paths[code] != path}


def _unseen(level: str, amounts: Mapping[Path, float]) -> tuple[str, float]:
    """Return the nearest known parent of a level that the book never had, and the amount of its unseen levels."""
    parents = {path_label(node): amount for node, amount in amounts.items()}
    parts = level.split(" > ")
    name = next(name for k in range(len(parts), -1, -1) if (name := " > ".join(parts[:k])) in parents)
    return name, parents[name]


def _refuse_unknown(
    given: ByLevel, coding: Coding, what: str, unknown: list[str], amounts: Mapping[Path, float] | None = None
) -> None:
    """Refuse levels that the book never had, whose amount is not the amount of the unseen levels of their parent."""
    if not unknown:
        return
    nodes = [path_label(node) for node in coding.nodes if node]
    parents = f"; parents of levels are {first_of(nodes)}" if nodes else ""
    rule = ""
    if amounts is not None:
        name, amount = _unseen(unknown[0], amounts)
        below = f" below '{name}'" if name else ""
        cure = f"give '{name}'" if name else "give default="
        rule = (
            f" If the book never had this level, the tariff prices it like every other unseen level{below}, and their "
            f"amount is {amount:g}: leave the level out, or {cure} its amount."
        )
    raise InputError(
        f"{what} names level '{unknown[0]}' of factor '{given.factor}'; its levels are "
        f"{first_of(coding.labels)}{parents}.{rule}"
    )


def path_label(node: Path) -> str:
    """Return the name of an inner node, spelled as the names of the levels below it begin."""
    return " > ".join(map(str, node))


def _of_nearest(path: Path, given: Mapping[Path, float]) -> float | None:
    """Return the amount given for the deepest node on a path, None if there is none."""
    return next((given[path[:depth]] for depth in range(len(path), 0, -1) if path[:depth] in given), None)


def _fallback(given: ByLevel, node: Path, of_nodes: Mapping[Path, float], levels: Array) -> float:
    """Return the amount of the unseen levels of a node: the node's own, its levels' common one, the default, the most.

    The largest amount is the cautious one: it does not price an unseen level too low.
    """
    own = _of_nearest(node, of_nodes)
    if own is not None:
        return own
    if given.default is not None and not (node and len(levels) and levels.min() == levels.max()):
        return given.default
    return float(levels.max()) if len(levels) else max(given.values.values())
