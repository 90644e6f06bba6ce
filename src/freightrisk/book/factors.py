"""Rating factors as the caller declares them.

A declaration (`Factor`, `Band`, `Hierarchy`) names the columns of a rating factor and the treatment of missing, unseen
and rare levels. A `Coding` (freightrisk/book/codings.py) is a declaration together with the levels of a book and their
codes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from freightrisk import _check
from freightrisk._document import tagged
from freightrisk._shown import repr_of
from freightrisk.errors import InputError

MISSING = "(missing)"
OTHER = "(other)"
MOST_LINES = 255  # so that the code of a number of lines fits one byte
ALL = "(all)"
Value: TypeAlias = str | int | float | bool | None
Path: TypeAlias = tuple[Value, ...]


def _check_rules(declared: "Declaration") -> None:
    _check.label(declared.name, argument="name of a factor")
    _check.one_of(declared.missing, ("error", "level"), argument=f"missing of factor '{declared.name}'")
    _check.one_of(declared.unseen, ("error", "parent"), argument=f"unseen of factor '{declared.name}'")
    _check.number(declared.min_exposure, argument=f"min_exposure of factor '{declared.name}'", low=0.0)
    _check.whole(declared.min_claims, argument=f"min_claims of factor '{declared.name}'", low=0, high=2**31)


@dataclass(frozen=True, kw_only=True)
class _Rules:
    missing: str = "error"
    unseen: str = "error"
    min_exposure: float = 0.0
    min_claims: int = 0


@tagged(kind="factor")
@dataclass(frozen=True)
class Factor(_Rules):
    """A rating factor whose levels are the distinct values of one column.

    Parameters
    ----------
    name : str
        Name of the factor.
    column : str, optional
        Column of the orders (or merchants) that holds the factor; `name` by default.
    missing : {"error", "level"}
        Refuse missing values, or give them a level "(missing)" of their own.
    unseen : {"error", "parent"}
        If an order has a level that the book never had, pricing refuses it ("error"), or takes the exposure-weighted
        mean of all levels and flags the order ("parent").
    min_exposure, min_claims : float, int
        Levels with less exposure or fewer claims in the book are pooled as "(other)". While the pool is too small, it
        absorbs the smallest remaining level: fewest claims, then least exposure, then first in the order of levels. The
        order of the rows has no influence.

    Examples
    --------
    >>> from freightrisk import Factor
    >>> Factor("channel", unseen="parent").columns
    ('channel',)
    """

    name: str
    column: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _check_rules(self)
        object.__setattr__(self, "column", _column(self.column, self.name))

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns that the factor reads."""
        return (self.column or self.name,)


@tagged(kind="hierarchy")
@dataclass(frozen=True)
class Hierarchy(_Rules):
    """A rating factor whose levels are paths in a tree, such as industry > category > leaf.

    Rare leaves are pooled as "(other)" under their parent. A pool that is still rare joins the "(other)" one level
    higher. With ``unseen="parent"``, an unseen leaf takes the exposure-weighted mean of its nearest known ancestor.

    Parameters
    ----------
    name : str
        Name of the factor.
    columns : sequence of str
        Columns from the top of the tree to the leaf.
    missing, unseen, min_exposure, min_claims
        As for `Factor`.

    Examples
    --------
    >>> from freightrisk import Hierarchy
    >>> Hierarchy("category", ["industry", "leaf"], unseen="parent").columns
    ('industry', 'leaf')
    """

    name: str
    columns: Sequence[str]

    def __post_init__(self) -> None:
        _check_rules(self)
        if not _check.items(self.columns, argument=f"columns of hierarchy '{self.name}'"):
            raise InputError(
                f"columns of hierarchy '{self.name}' is {repr_of(self.columns)}; give a list of column names."
            )
        object.__setattr__(self, "columns", tuple(self.columns))


@tagged(kind="band")
@dataclass(frozen=True)
class Band(_Rules):
    """A rating factor made of bands of a number, closed on the right: (-inf, e0], (e0, e1], ..., (e_last, inf).

    Parameters
    ----------
    name : str
        Name of the factor.
    edges : sequence of float, or int
        Inner edges in ascending order. An int is a number of bands, with edges at quantiles of the book.
    column : str, optional
        Column of the orders (or merchants) that holds the factor; `name` by default.
    valid : (float, float)
        Values outside this closed interval are refused.
    missing, unseen, min_exposure, min_claims
        As for `Factor`; a rare band is merged with its neighbour.

    Examples
    --------
    >>> from freightrisk import Band
    >>> Band("weight_kg", [1, 2, 3], valid=(0, 100)).edges
    (1.0, 2.0, 3.0)
    """

    name: str
    edges: Sequence[float] | int
    column: str | None = field(default=None, kw_only=True)
    valid: tuple[float, float] = field(default=(0.0, np.inf), kw_only=True)

    def __post_init__(self) -> None:
        _check_rules(self)
        object.__setattr__(self, "column", _column(self.column, self.name))
        object.__setattr__(self, "valid", _interval(self.valid, argument=f"valid of band '{self.name}'"))
        if isinstance(self.edges, (int, np.integer)):
            bands = _check.whole(self.edges, argument=f"edges of band '{self.name}'", low=2, high=256)
            object.__setattr__(self, "edges", bands)
            return
        wanted = "give ascending numbers, or a whole number of bands"
        given = _check.items(self.edges, argument=f"edges of band '{self.name}'", such=wanted)
        edges = tuple(_check.number(edge, argument=f"an edge of band '{self.name}'") for edge in given)
        if any(low >= high for low, high in pairwise(edges)) or len(edges) > 255:
            raise InputError(f"edges of band '{self.name}' are {edges}; give at most 255, strictly ascending.")
        object.__setattr__(self, "edges", edges)

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns that the factor reads."""
        return (self.column or self.name,)


Declaration: TypeAlias = Factor | Band | Hierarchy
KINDS: dict[str, Callable[..., Declaration]] = {kind.__name__.lower(): kind for kind in (Factor, Band, Hierarchy)}


def sort_key(path: Path) -> tuple[tuple[int, Any], ...]:
    """Return a key that sorts numbers before text, and "(missing)" and "(other)" last."""
    return tuple(
        (2, part) if part in (MISSING, OTHER) else (0, part) if isinstance(part, (int, float)) else (1, str(part))
        for part in path
    )


def edge_text(edge: float) -> str:
    """Return the shortest decimal that reads back as the edge, so that different edges never look alike."""
    return repr(float(edge) + 0.0).removesuffix(".0")  # + 0.0 turns -0.0 into 0.0


def _interval(value: Any, *, argument: str) -> tuple[float, float]:
    try:
        low, high = (float(bound) for bound in value)
    except Exception:  # the value may be of any class, and its errors too
        low = high = np.nan
    if not low < high:
        raise InputError(f"{argument} is {repr_of(value)}; it must be two numbers, the lower one first.")
    return low, high


def _column(column: Any, name: str) -> str:
    return name if column is None else _check.label(column, argument=f"column of factor '{name}'")
