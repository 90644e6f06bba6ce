"""Rating factors: what the caller declares, what a book teaches, and how values become codes.

A declaration (`Factor`, `Band`, `Hierarchy`) says where a rating factor comes from and what to do with missing, unseen
and rare levels. A `Coding` is that declaration after a book has been seen: the levels and the code of each.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._columns import JoinedColumns, value_of
from freightrisk._document import tagged
from freightrisk._frozen import FrozenDict, digest
from freightrisk._intake import Spellings, level_of, nearest_spelling, number_of
from freightrisk._shown import repr_of
from freightrisk.book.recode import banded, exact_sums, in_doubles, looked_up, paired
from freightrisk.errors import InputError

MISSING = "(missing)"
OTHER = "(other)"
MOST_LINES = 255
ALL = "(all)"

UNKNOWN = object()
UNSEEN_SHARE = 0.01  # of the orders, from which on unseen levels are warned of
UNSEEN_ORDERS = 10
SHOWN_LEVELS = 3

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
        Column of the orders (or merchants) that holds it; `name` by default.
    missing : {"error", "level"}
        Refuse missing values, or give them a level "(missing)" of their own.
    unseen : {"error", "parent"}
        What pricing does with a level that the book never had: refuse it, or take the exposure-weighted mean of all
        levels and flag the order.
    min_exposure, min_claims : float, int
        Levels with less exposure or fewer claims in the book are pooled as "(other)". A pool that is still too small
        takes in the smallest level that is left: the one with the fewest claims, then the least exposure, then the
        first in the order of levels. The order of the rows decides nothing.

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

    Rare leaves are pooled as "(other)" under their parent, and the pool under its own parent if it is still rare.
    With ``unseen="parent"`` an unseen leaf takes the exposure-weighted mean of its nearest known ancestor.

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
        Inner edges in ascending order; an int asks for that many bands at quantiles of the book.
    column : str, optional
        Column of the orders (or merchants) that holds it; `name` by default.
    valid : (float, float)
        Values outside this closed interval are refused as wrong.
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


def code_type(n_slots: int) -> type[np.unsignedinteger[Any]]:
    """Return the narrowest unsigned type that holds codes below `n_slots`."""
    return np.uint8 if n_slots <= 2**8 else np.uint16 if n_slots <= 2**16 else np.uint32


@dataclass(frozen=True)
class Coding:
    """The levels of a factor in a book, and the code of every value.

    Codes 0 .. n_levels-1 are levels that the book had. Codes n_levels .. n_slots-1 are fallbacks, one for each inner
    node of the tree (a flat factor has one, for all of its levels): an unseen value gets the fallback of its nearest
    known ancestor.

    Parameters
    ----------
    declared : Factor, Band or Hierarchy
    paths : tuple of path
        Path of each level; of length one for a flat factor, and (k,) for band k.
    lookup : mapping of path to code
        Every path that the book had, rare ones included.
    edges : tuple of float
        Inner edges of a band.
    """

    declared: Declaration
    paths: tuple[Path, ...]
    lookup: Mapping[Path, int]
    edges: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "lookup", FrozenDict(self.lookup))
        codes = self.lookup.values()
        whole = all(isinstance(code, int) for code in codes) and {*codes} <= {*range(self.n_slots)}
        if not whole or (isinstance(self.declared, Band) and len(self.edges) >= self.n_slots):
            raise InputError(f"the codes of factor '{self.name}' are not below its {self.n_slots:,} levels.")

    def as_document(self) -> dict[str, Any]:
        """Return the values of a document by key: the declaration, the levels, and the rare paths pooled into one."""
        declared, levels = self.declared, {*self.paths}
        band = declared if isinstance(declared, Band) else None
        low, high = band.valid if band else (-np.inf, np.inf)
        return {
            "kind": type(declared).__name__.lower(),
            "name": self.name,
            "columns": self.columns,
            **{rule.name: getattr(declared, rule.name) for rule in fields(_Rules)},
            "levels": self.paths,
            "pooled": [(path, code) for path, code in self.lookup.items() if path not in levels],
            "edges": self.edges,
            "declared_edges": band.edges if band else (),
            "valid": (low if np.isfinite(low) else None, high if np.isfinite(high) else None),
        }

    @classmethod
    def of_document(
        cls, kind: str, name: str, columns: Sequence[str], missing: str, unseen: str, min_exposure: float,
        min_claims: int, levels: Sequence[Path], pooled: Sequence[tuple[Path, int]], edges: Sequence[float],
        declared_edges: Sequence[float] | int, valid: tuple[float | None, float | None],
    ) -> "Coding":  # fmt: skip
        """Return the coding of the values of a document."""
        lookup = {path: code for code, path in enumerate(levels)} | dict(pooled)
        _check_paths(name, len(columns) if kind == "hierarchy" else 1, lookup, len(levels))
        if len(lookup) != len(levels) + len(pooled) or not levels:
            raise InputError(f"factor '{name}' has no level, or names one twice.")
        if kind not in KINDS or (kind != "hierarchy" and len(columns) != 1):
            raise InputError(f"factor '{name}' is a '{kind}' of {len(columns)} columns; that kind is not known.")
        given: dict[str, Any] = {"columns": columns} if kind == "hierarchy" else {"column": columns[0]}
        if kind == "band":
            _check_bands(name, edges, [path for path in levels if isinstance(path[0], int)])
            low, high = valid
            bounds = (-np.inf if low is None else low, np.inf if high is None else high)
            given |= {"edges": declared_edges, "valid": bounds}
        rules = {"missing": missing, "unseen": unseen, "min_exposure": min_exposure, "min_claims": min_claims}
        return cls(KINDS[kind](name, **given, **rules), tuple(levels), lookup, tuple(edges))

    @property
    def name(self) -> str:
        """Return the factor's name."""
        return self.declared.name

    @property
    def columns(self) -> Sequence[str]:
        """Return the columns that the factor reads."""
        return self.declared.columns

    @property
    def factors(self) -> "tuple[Coding, ...]":
        """Return the factor itself, as a pair returns both of its own."""
        return (self,)

    @property
    def n_levels(self) -> int:
        """Return the number of levels that the book had."""
        return len(self.paths)

    @property
    def n_slots(self) -> int:
        """Return the number of levels and fallbacks."""
        return self.n_levels + len(self.nodes)

    @cached_property
    def digest(self) -> str:
        """Return a hash of what the codes mean."""
        declared = self.declared
        valid = tuple(map(float, declared.valid)) if isinstance(declared, Band) else ()
        rules = (type(declared).__name__, declared.name, tuple(declared.columns), declared.missing, declared.unseen)
        edges, known = tuple(map(float, self.edges)), sorted((code, repr(path)) for path, code in self.lookup.items())
        return digest((rules, valid, edges, self.paths, known))

    @cached_property
    def nodes(self) -> tuple[Path, ...]:
        """Return the inner nodes of the tree, the root first."""
        inner = {path[:depth] for path in self.lookup for depth in range(len(path))}
        return tuple(sorted({(), *inner}, key=lambda path: (len(path), sort_key(path))))

    @cached_property
    def fallback(self) -> dict[Path, int]:
        """Return the code of each inner node."""
        return {node: self.n_levels + k for k, node in enumerate(self.nodes)}

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Return the name of each level as a table shows it; no two levels that a book teaches share one."""
        if isinstance(self.declared, Band):
            return tuple(
                MISSING if path == (MISSING,) else _band_label(self.edges, k) for k, path in enumerate(self.paths)
            )
        return tuple(" > ".join(str(part) for part in path) for path in self.paths)

    @cached_property
    def members(self) -> tuple[NDArray[np.int64], ...]:
        """Return the codes of the levels below each inner node."""
        return tuple(
            np.array([k for k, path in enumerate(self.paths) if path[: len(node)] == node], dtype=np.int64)
            for node in self.nodes
        )

    def slot_label(self, code: int) -> str:
        """Return the name of any slot, fallbacks included."""
        if code < self.n_levels:
            return self.labels[code]
        return " > ".join(str(part) for part in (*self.nodes[code - self.n_levels], ALL))

    @cached_property
    def spellings(self) -> tuple[Spellings, ...]:
        """Return the values that the book had in each of the factor's columns."""
        parts: list[dict[Any, None]] = [{} for _ in self.columns]
        for path in self.lookup:
            for depth, part in enumerate(path):
                if part not in (MISSING, OTHER):
                    parts[depth][part] = None
        return tuple(Spellings(known) for known in parts)

    def known_path(self, path: Path) -> tuple[Any, ...]:
        """Return a path with each part exchanged for the known level that it is, or that alone is spelled so.

        A part that meets none is `UNKNOWN`, which equals nothing: Python takes 1 for True.
        """
        if isinstance(self.declared, Band):
            return path
        met = []
        for part, known in zip(path, self.spellings, strict=False):
            level = part if part is None or part in (MISSING, OTHER) else known.meet(part)
            met.append(UNKNOWN if level is None else level)
        return tuple(met)

    def code_of(self, path: Path) -> int:
        """Return the code of one path, or raise for an unseen one if the declaration says so."""
        met = self.known_path(path)
        if met in self.lookup:
            return self.lookup[met]
        if MISSING in path and self.declared.missing == "error":
            raise InputError(f"factor '{self.name}': the value is missing; give one, or declare missing='level'.")
        if self.declared.unseen == "error":
            raise InputError(
                f"factor '{self.name}': level {_path_text(path)} was not in the book; "
                "correct it, or declare the factor with unseen='parent'."
            )
        return next(self.fallback[met[:depth]] for depth in range(len(met), -1, -1) if met[:depth] in self.fallback)

    def encode(self, columns: JoinedColumns) -> NDArray[Any]:
        """Return the code of every row: uint8, uint16 or uint32."""
        if isinstance(self.declared, Band):
            return self._encode_band(columns)
        which, paths = _paths_to_look_up(self.declared, columns)
        table = np.zeros(len(paths), dtype=code_type(self.n_slots))
        refused = np.zeros(len(paths), dtype=np.uint8)
        for k, path in enumerate(paths):
            try:
                table[k] = self.code_of(path)
            except InputError:
                refused[k] = 1
        if refused.any() and looked_up(which, refused, threads=columns.threads).any():
            places = np.where((which < 0) | (which >= len(paths)), len(paths) - 1, which)
            worst = int(places[refused[places] == 1].min())
            self._refuse(places == worst, paths[worst], columns)
        codes = looked_up(which, table, threads=columns.threads)
        if (table >= self.n_levels).any():
            self._warn_unseen(codes, which, paths)
        return codes

    def _warn_unseen(self, codes: NDArray[Any], which: NDArray[Any], paths: list[Path]) -> None:
        """Warn if many orders have levels that the book never had: most often they are only spelled otherwise."""
        unseen = codes >= self.n_levels
        n_unseen = int(unseen.sum())
        if n_unseen < UNSEEN_ORDERS or n_unseen <= UNSEEN_SHARE * len(codes):
            return
        places = np.where(which < 0, len(paths) - 1, which)[unseen]
        found = [paths[place] for place in np.unique(places)[:SHOWN_LEVELS].tolist()]
        _check.warn(
            f"factor '{self.name}': {n_unseen:,} of {len(codes):,} orders ({n_unseen / len(codes):.1%}) have levels "
            f"that the book never had, and are priced on the mean of their parent: "
            f"{', '.join(map(self._nearest, found))}."
        )

    def _nearest(self, path: Path) -> str:
        """Return an unseen level with its type, and the known level that is spelled most like it."""
        known = {" > ".join(map(str, one)): one for one in self.lookup}
        text = " > ".join(map(str, path))
        close = nearest_spelling(text, known)
        if close is None:
            return f"{_path_text(path)} ({_types_text(path)})"
        other = known[close]
        return f"{_path_text(path)} ({_types_text(path)}; known is {_path_text(other)}, {_types_text(other)})"

    def encode_one(self, order: Mapping[str, Any]) -> int:
        """Return the code of one order given as a mapping."""
        if not isinstance(self.declared, Band):
            values = [value_of(order, column, level_of) for column in self.declared.columns]
            return self.code_of(tuple(MISSING if value is None else value for value in values))
        value = value_of(order, self.declared.columns[0], number_of)
        if value != value:
            return self.code_of((MISSING,))
        low, high = self.declared.valid
        if not low <= value <= high:
            column = self.declared.columns[0]
            raise InputError(
                f"order: '{column}' is {value:g}, outside [{low:g}, {high:g}]; correct it or widen valid=."
            )
        return int(np.searchsorted(self.edges, value, side="left"))

    def _encode_band(self, columns: JoinedColumns) -> NDArray[Any]:
        values = band_values(cast(Band, self.declared), columns)
        codes: NDArray[Any] = banded(values, np.array(self.edges), threads=columns.threads)
        codes = codes.astype(code_type(self.n_slots), copy=False)
        if self.declared.missing == "level":
            missing = np.isnan(values)
            if missing.any():
                codes[missing] = self.code_of((MISSING,))
        return codes

    def _refuse(self, bad: NDArray[np.bool_], path: Path, columns: JoinedColumns) -> None:
        if MISSING in path and self.declared.missing == "error":
            _refuse_missing(self.declared, bad, columns)
        columns.refuse(
            bad,
            f"factor '{self.name}': level {_path_text(path)} was not in the book, in {{rows}}; "
            "correct it, or declare the factor with unseen='parent'.",
        )


def _check_paths(name: str, deepest: int, lookup: Mapping[Path, int], n_levels: int) -> None:
    """Refuse the levels of a document that are no paths of the factor, or that are pooled into none."""
    for known, code in lookup.items():
        if not 0 <= code < n_levels:
            raise InputError(f"factor '{name}': a pooled level has code {code}, but there are {n_levels} levels.")
        if not 1 <= len(known) <= deepest:
            raise InputError(f"factor '{name}': level {list(known)} is no path of at most {deepest} parts.")


def _check_bands(name: str, edges: Sequence[float], numbered: list[Path]) -> None:
    if numbered != [(k,) for k in range(len(edges) + 1)] or any(np.diff(edges) <= 0):
        raise InputError(
            f"band '{name}' has {len(numbered)} bands for {len(edges)} edges; edges ascend, and there is one band more "
            "than edges."
        )


@dataclass(frozen=True)
class CrossCoding:
    """The pairs of two factors' slots: code of the first times the slots of the second, plus code of the second.

    Parameters
    ----------
    first, second : Coding or CrossCoding
    """

    first: "Coding | CrossCoding"
    second: "Coding | CrossCoding"

    @property
    def factors(self) -> "tuple[Coding, ...]":
        """Return the factors behind the pairs."""
        return (*self.first.factors, *self.second.factors)

    @property
    def name(self) -> str:
        """Return the name of the pair."""
        return f"{self.first.name} x {self.second.name}"

    @property
    def columns(self) -> Sequence[str]:
        """Return the columns that both factors read."""
        return tuple(dict.fromkeys((*self.first.columns, *self.second.columns)))

    @property
    def n_slots(self) -> int:
        """Return the number of pairs."""
        return self.first.n_slots * self.second.n_slots

    @property
    def n_levels(self) -> int:
        """Return the number of pairs; an unseen level is a matter of its own factor."""
        return self.n_slots

    def slot_label(self, code: int) -> str:
        """Return the names of both slots."""
        first, second = divmod(code, self.second.n_slots)
        return f"{self.first.slot_label(first)} x {self.second.slot_label(second)}"

    @property
    def digest(self) -> str:
        """Return a hash of what the codes mean."""
        return digest((self.first.digest, self.second.digest))

    def pair(self, first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
        """Return the code of each pair of codes."""
        kind = code_type(self.n_slots)
        return np.asarray(first.astype(kind) * kind(self.second.n_slots) + second.astype(kind))

    def encode(self, columns: JoinedColumns) -> NDArray[Any]:
        """Return the code of every row: uint8, uint16 or uint32."""
        return self.pair(self.first.encode(columns), self.second.encode(columns))

    def encode_one(self, order: Mapping[str, Any]) -> int:
        """Return the code of one order given as a mapping."""
        return self.first.encode_one(order) * self.second.n_slots + self.second.encode_one(order)


def line_coding(name: str, most: int) -> Coding:
    """Return the coding of a column that counts the lines of an order: a level for each number from 1 to `most`."""
    paths: tuple[Path, ...] = tuple((count,) for count in range(1, most + 1))
    return Coding(Factor(name), paths, {path: code for code, path in enumerate(paths)})


def learn(
    declared: Declaration,
    columns: JoinedColumns,
    *,
    exposure: NDArray[np.float64] | None,
    claim_count: NDArray[Any],
) -> tuple[Coding, NDArray[Any]]:
    """Return the coding of a factor learned from a book's rows, and the code of every row."""
    if isinstance(declared, Band):
        return _learn_band(declared, columns, exposure, claim_count)
    which, paths = observed_paths(declared, columns)
    if declared.missing == "error":
        for k, path in enumerate(paths):
            if MISSING in path and (which == k).any():
                _refuse_missing(declared, which == k, columns)
    present = np.bincount(which, minlength=len(paths)) > 0
    weight = in_doubles(exact_sums(which, exposure if pools(declared) else None, len(paths)))
    claims = np.bincount(which, claim_count, minlength=len(paths))
    coding = pooled_coding(declared, {path: (weight[k], claims[k]) for k, path in enumerate(paths) if present[k]})
    table = np.array([coding.lookup.get(path, 0) for path in paths], dtype=code_type(coding.n_slots))
    return coding, looked_up(which, table, threads=columns.threads)


def pools(declared: Declaration) -> bool:
    """Return whether a factor pools rare levels, so that the exposure of its levels decides something."""
    return declared.min_exposure > 0.0 or declared.min_claims > 0


def pooled_coding(declared: Declaration, observed: Mapping[Path, tuple[float, float]]) -> Coding:
    """Return the coding of a factor, given exposure and claims of every path that a book has."""
    # In an order of their own, since sums over paths follow it.
    pooled = _pool(declared, {path: observed[path] for path in sorted(observed, key=sort_key)})
    levels = tuple(sorted(set(pooled.values()), key=sort_key))
    place = {path: code for code, path in enumerate(levels)}
    coding = Coding(declared, levels, place | {path: place[target] for path, target in pooled.items()})
    _check_spelling(coding)
    return coding


def _check_spelling(coding: Coding) -> None:
    """Raise if two levels, rare ones and the means of branches included, are spelled alike."""
    spelled: dict[str, Path] = {}
    for path in (*((*node, ALL) for node in coding.nodes), *coding.lookup):
        label = " > ".join(map(str, path))
        if ALL in path and path in coding.lookup:
            raise InputError(
                f"factor '{coding.name}': the book has a level {_path_text(path)}, but '{ALL}' names the mean of all "
                "levels; rename the level."
            )
        if label in spelled:
            one, other = (repr(which[0]) if len(which) == 1 else repr(which) for which in (spelled[label], path))
            raise InputError(
                f"factor '{coding.name}': {one} and {other} are two levels that are both spelled '{label}', so tables "
                "and covers could not tell them apart; make them one level (one type of value), or rename one."
            )
        spelled[label] = path


def band_coding(
    declared: Band,
    edges: tuple[float, ...],
    exposure: NDArray[np.float64],
    claims: NDArray[np.float64],
    *,
    missing: bool,
) -> Coding:
    """Return the coding of a band, given exposure and claims between the edges, and whether a value is missing."""
    kept = _merge_bands(declared, edges, exposure, claims)
    return all_bands(declared, kept, missing=missing)


def all_bands(declared: Band, edges: tuple[float, ...], *, missing: bool) -> Coding:
    """Return the coding that has every band between some edges."""
    paths: tuple[Path, ...] = tuple((k,) for k in range(len(edges) + 1))
    paths += ((MISSING,),) if missing else ()
    return Coding(declared, paths, {path: k for k, path in enumerate(paths)}, edges)


def observed_paths(declared: Declaration, columns: JoinedColumns) -> tuple[NDArray[np.int32], list[Path]]:
    """Return for every row the number of its path, and the paths."""
    parts = [columns.levels(name) for name in declared.columns]
    which = np.zeros(columns.n_rows, dtype=np.int32)
    paths: list[Path] = [()]
    for codes, values in parts:
        values = [*values, MISSING]
        present, which = _observed_pairs(which, len(paths), codes, len(values), columns.threads)
        paths = [(*paths[k // len(values)], values[k % len(values)]) for k in present.tolist()]
    return which, paths


def _paths_to_look_up(declared: Declaration, columns: JoinedColumns) -> tuple[NDArray[Any], list[Path]]:
    """Return for every row the number of its path, and the paths, some of which need not occur.

    The categories of one column do as they are, where they are fewer than the rows; missing ones are the last path.
    """
    if len(declared.columns) == 1:
        codes, values = columns.levels(declared.columns[0])
        if len(values) <= max(columns.n_rows, 2**8):
            return codes, [(value,) for value in (*values, MISSING)]
    return observed_paths(declared, columns)


def band_values(declared: Band, columns: JoinedColumns) -> NDArray[np.float64]:
    """Return the numbers of a band's column, refusing those outside its valid interval."""
    column = declared.columns[0]
    values = columns.real(column)
    low, high = declared.valid
    if ((values >= low) & (values <= min(high, np.finfo(np.float64).max))).all():
        return values
    missing = np.isnan(values)
    if missing.any() and declared.missing == "error":
        _refuse_missing(declared, missing, columns)
    columns.refuse(
        (values < low) | (values > high),
        f"column '{column}' is outside [{low:g}, {high:g}] in {{rows}}; correct these rows or widen valid=.",
        column,
    )
    return values


def sort_key(path: Path) -> tuple[tuple[int, Any], ...]:
    """Return a key that sorts numbers before words, and "(missing)" and "(other)" last."""
    return tuple(
        (2, part) if part in (MISSING, OTHER) else (0, part) if isinstance(part, (int, float)) else (1, str(part))
        for part in path
    )


def _observed_pairs(
    which: NDArray[np.int32], n_paths: int, codes: NDArray[Any], n_values: int, threads: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the pairs of path and value that occur, ascending, as path * n_values + value, and each row's among them.

    Codes below zero are the last value.
    """
    if n_paths * n_values > 2**24:
        pairs = which.astype(np.int64) * n_values + np.where(codes < 0, n_values - 1, codes)
        present, inverse = np.unique(pairs, return_inverse=True)
        return present, inverse.astype(np.int32)
    seen = np.zeros(n_paths * n_values, dtype=np.uint8)
    paired(which, codes, n_values, seen, threads=threads)
    present = np.flatnonzero(seen)
    number = np.zeros(len(seen), dtype=np.uint32)
    number[present] = np.arange(len(present))
    return present, looked_up(which, number, threads=threads).view(np.int32)


def _pool(declared: Declaration, observed: Mapping[Path, tuple[float, float]]) -> dict[Path, Path]:
    """Return the level that each observed path belongs to: itself, or the "(other)" of an ancestor."""
    target = {path: path for path in observed}
    for path in _rare(declared, observed, target):
        target[path] = (*path[:-1], OTHER)
    for depth in range(len(declared.columns), 1, -1):
        for level in _rare(declared, observed, target):
            if len(level) == depth and level[-1] == OTHER:
                target = {path: (*level[:-2], OTHER) if old == level else old for path, old in target.items()}
    while (OTHER,) in _rare(declared, observed, target) and len(set(target.values())) > 1:
        totals = _totals(observed, target)
        named = (level for level in totals if level != (OTHER,))
        smallest = min(named, key=lambda level: (*totals[level][::-1], sort_key(level)))
        target = {path: (OTHER,) if old == smallest else old for path, old in target.items()}
    return target


def _totals(
    observed: Mapping[Path, tuple[float, float]], target: Mapping[Path, Path]
) -> dict[Path, tuple[float, float]]:
    """Return exposure and claims of each level."""
    totals: dict[Path, tuple[float, float]] = {}
    for path, level in target.items():
        exposure, claims = totals.get(level, (0.0, 0.0))
        totals[level] = (exposure + observed[path][0], claims + observed[path][1])
    return totals


def _rare(
    declared: Declaration, observed: Mapping[Path, tuple[float, float]], target: Mapping[Path, Path]
) -> list[Path]:
    """Return the levels with too little exposure or too few claims."""
    totals = _totals(observed, target)
    return [
        level
        for level, (exposure, claims) in totals.items()
        if exposure < declared.min_exposure or claims < declared.min_claims
    ]


def _learn_band(
    declared: Band, columns: JoinedColumns, exposure: NDArray[np.float64] | None, claim_count: NDArray[Any]
) -> tuple[Coding, NDArray[Any]]:
    values = band_values(declared, columns)
    missing = np.isnan(values)
    edges = _quantile_edges(values[~missing], declared.edges) if isinstance(declared.edges, int) else declared.edges
    codes = np.where(missing, len(edges) + 1, np.searchsorted(np.array(edges), values, side="left"))
    weight = np.array(in_doubles(exact_sums(codes, exposure if pools(declared) else None, len(edges) + 2)))
    claims = np.bincount(codes, claim_count, minlength=len(edges) + 2).astype(np.float64)
    coding = band_coding(declared, tuple(edges), weight[:-1], claims[:-1], missing=bool(missing.any()))
    kept = np.array(coding.edges)
    codes = np.where(missing, len(kept) + 1, np.searchsorted(kept, values, side="left"))
    return coding, codes.astype(code_type(coding.n_slots))


def _quantile_edges(values: NDArray[np.float64], bands: int) -> tuple[float, ...]:
    edges = np.unique(np.quantile(values, np.arange(1, bands) / bands)) if len(values) else np.array([])
    return tuple(edges[edges < values.max(initial=-np.inf)].tolist())


def _merge_bands(
    declared: Band, edges: tuple[float, ...], exposure: NDArray[np.float64], claims: NDArray[np.float64]
) -> tuple[float, ...]:
    """Merge each rare band upwards, and what is left of the last one downwards."""
    kept: list[float] = []
    weight = count = 0.0
    for k in range(len(edges) + 1):
        weight, count = weight + exposure[k], count + claims[k]
        rare = weight < max(declared.min_exposure, 1e-300) or count < declared.min_claims
        if k < len(edges) and not rare:
            kept.append(edges[k])
            weight = count = 0.0
        elif k == len(edges) and rare and kept:
            kept.pop()
    return tuple(kept)


def edge_text(edge: float) -> str:
    """Return the shortest decimal that is the edge exactly, so that two edges never look alike."""
    return repr(float(edge) + 0.0).removesuffix(".0")


def _band_label(edges: tuple[float, ...], k: int) -> str:
    low = f"({edge_text(edges[k - 1])}" if k else "(-inf"
    return f"{low}, {edge_text(edges[k])}]" if k < len(edges) else f"{low}, inf)"


def _interval(value: Any, *, argument: str) -> tuple[float, float]:
    try:
        low, high = (float(bound) for bound in value)
    except Exception:  # of whatever class the value is
        low = high = np.nan
    if not low < high:
        raise InputError(f"{argument} is {repr_of(value)}; it must be two numbers, the lower one first.")
    return low, high


def _column(column: Any, name: str) -> str:
    return name if column is None else _check.label(column, argument=f"column of factor '{name}'")


def _path_text(path: Path) -> str:
    return "'" + " > ".join(str(part) for part in path) + "'"


def _types_text(path: Path) -> str:
    """Return the types of a path's parts, such as "text", in the words of an actuary."""
    words = {str: "text", int: "number", float: "number", bool: "boolean"}
    return " > ".join(words.get(type(part), "missing") for part in path)


def _refuse_missing(declared: Declaration, bad: NDArray[np.bool_], columns: JoinedColumns) -> None:
    names = ", ".join(f"'{column}'" for column in declared.columns)
    columns.refuse(
        bad,
        f"factor '{declared.name}': column {names} is missing in {{rows}}; "
        "fill these rows, or declare the factor with missing='level'.",
    )
