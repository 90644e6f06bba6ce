"""Codings: the levels of a factor in a book, their codes, and the fallbacks for other values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._columns import JoinedColumns, value_of
from freightrisk._frozen import FrozenDict, digest
from freightrisk._intake import Spellings, level_of, nearest_spelling, number_of
from freightrisk._shown import counted, shown
from freightrisk.book.factors import (
    ALL,
    KINDS,
    MISSING,
    OTHER,
    Band,
    Declaration,
    Factor,
    Path,
    _Rules,
    edge_text,
    sort_key,
)
from freightrisk.book.levels import band_values, paths_to_look_up, refuse_missing
from freightrisk.book.recode import banded, looked_up
from freightrisk.errors import InputError

UNKNOWN = object()  # a part of a path that the book never had
UNSEEN_SHARE = 0.01  # a larger share of orders on unseen levels gives a warning
UNSEEN_ORDERS = 10  # and at least this many orders
SHOWN_LEVELS = 3


def code_type(n_slots: int) -> type[np.unsignedinteger[Any]]:
    """Return the narrowest unsigned type that holds codes below `n_slots`."""
    return np.uint8 if n_slots <= 2**8 else np.uint16 if n_slots <= 2**16 else np.uint32


@dataclass(frozen=True, repr=False)
class Coding:
    """The levels of a factor in a book, and the code of every value.

    Codes 0 .. n_levels-1 are the levels of the book. Codes n_levels .. n_slots-1 are fallbacks, one for each inner node
    of the tree. A flat factor has one fallback, for all of its levels. An unseen value gets the fallback of its nearest
    known ancestor.

    Parameters
    ----------
    declared : Factor, Band or Hierarchy
    paths : tuple of path
        Path of each level. A path of a flat factor has length one, and the path of band k is (k,).
    lookup : mapping of path to code
        Code of every path of the book, including rare paths.
    edges : tuple of float
        Inner edges of a band.
    """

    declared: Declaration
    paths: tuple[Path, ...]
    lookup: Mapping[Path, int]
    edges: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "lookup", FrozenDict(self.lookup))
        # Codes may come from a document, and the kernels check no bounds.
        codes = self.lookup.values()
        whole = all(isinstance(code, int) for code in codes) and {*codes} <= {*range(self.n_slots)}
        if not whole or (isinstance(self.declared, Band) and len(self.edges) >= self.n_slots):
            raise InputError(f"the codes of factor '{self.name}' are not below its {self.n_slots:,} levels.")

    def __repr__(self) -> str:
        return shown(f"Coding: {type(self.declared).__name__} {self.name}, {counted(self.n_levels, 'level')}")

    def as_document(self) -> dict[str, Any]:
        """Return the values of a document by key: the declaration, the levels, and the code of each pooled path."""
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
        """Return the coding that the values of a document describe."""
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
        """Return the factor itself; the coding of a pair returns its two factors."""
        return (self,)

    @property
    def n_levels(self) -> int:
        """Return the number of levels in the book."""
        return len(self.paths)

    @property
    def n_slots(self) -> int:
        """Return the number of levels and fallbacks."""
        return self.n_levels + len(self.nodes)

    @cached_property
    def digest(self) -> str:
        """Return a hash of the meaning of the codes."""
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
        """Return the name of each level as a table shows it; levels learned from a book have distinct names."""
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
        """Return the name of any slot, whether a level or a fallback."""
        if code < self.n_levels:
            return self.labels[code]
        return " > ".join(str(part) for part in (*self.nodes[code - self.n_levels], ALL))

    @cached_property
    def spellings(self) -> tuple[Spellings, ...]:
        """Return the known values of each of the factor's columns."""
        parts: list[dict[Any, None]] = [{} for _ in self.columns]
        for path in self.lookup:
            for depth, part in enumerate(path):
                if part not in (MISSING, OTHER):
                    parts[depth][part] = None
        return tuple(Spellings(known) for known in parts)

    def known_path(self, path: Path) -> tuple[Any, ...]:
        """Return a path in which each part is replaced by the known value that it equals or is spelled like.

        A part without such a value becomes `UNKNOWN`. It must not stay, because Python holds 1 and True to be equal.
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
            raise InputError(f"factor '{self.name}': the value is missing; give a value, or declare missing='level'.")
        if self.declared.unseen == "error":
            raise InputError(
                f"factor '{self.name}': level {path_text(path)} was not in the book; correct it, fit "
                "a book that has it, or declare the factor with unseen='parent'."
            )
        # The nearest known ancestor; the root () is always known.
        return next(self.fallback[met[:depth]] for depth in range(len(met), -1, -1) if met[:depth] in self.fallback)

    def encode(self, columns: JoinedColumns) -> NDArray[Any]:
        """Return the code of every row: uint8, uint16 or uint32."""
        if isinstance(self.declared, Band):
            return self._encode_band(columns)
        which, paths = paths_to_look_up(self.declared, columns)
        table = np.zeros(len(paths), dtype=code_type(self.n_slots))
        refused = np.zeros(len(paths), dtype=np.uint8)
        for k, path in enumerate(paths):
            try:
                table[k] = self.code_of(path)
            except InputError:
                refused[k] = 1
        if refused.any() and looked_up(which, refused, threads=columns.threads).any():
            # Any other code stands for the last path, which is the missing one.
            places = np.where((which < 0) | (which >= len(paths)), len(paths) - 1, which)
            worst = int(places[refused[places] == 1].min())
            self._refuse(places == worst, paths[worst], columns)
        codes = looked_up(which, table, threads=columns.threads)
        if (table >= self.n_levels).any():
            self._warn_unseen(codes, which, paths)
        return codes

    def _warn_unseen(self, codes: NDArray[Any], which: NDArray[Any], paths: list[Path]) -> None:
        """Warn if many orders have levels that the book never had; often they are only spelled differently."""
        unseen = codes >= self.n_levels
        n_unseen = int(unseen.sum())
        if n_unseen < UNSEEN_ORDERS or n_unseen <= UNSEEN_SHARE * len(codes):
            return
        places = np.where(which < 0, len(paths) - 1, which)[unseen]
        found = [paths[place] for place in np.unique(places)[:SHOWN_LEVELS].tolist()]
        _check.warn(
            f"factor '{self.name}': {n_unseen:,} of {len(codes):,} orders ({n_unseen / len(codes):.1%}) have levels "
            f"that the book never had. They are priced on the mean of their parent: "
            f"{', '.join(map(self._nearest, found))}."
        )

    def _nearest(self, path: Path) -> str:
        """Return an unseen level with its type, and the known level with the nearest spelling."""
        known = {" > ".join(map(str, one)): one for one in self.lookup}
        text = " > ".join(map(str, path))
        close = nearest_spelling(text, known)
        if close is None:
            return f"{path_text(path)} ({_types_text(path)})"
        other = known[close]
        return f"{path_text(path)} ({_types_text(path)}; known is {path_text(other)}, {_types_text(other)})"

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
        return int(np.searchsorted(self.edges, value, side="left"))  # bands are closed on the right

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
            refuse_missing(self.declared, bad, columns)
        columns.refuse(
            bad,
            f"factor '{self.name}': level {path_text(path)} was not in the book, in {{rows}}; correct it, "
            "fit a book that has it, or declare the factor with unseen='parent'.",
        )


def _check_paths(name: str, deepest: int, lookup: Mapping[Path, int], n_levels: int) -> None:
    """Refuse levels of a document that are not paths of the factor, or are pooled into a level that does not exist."""
    for known, code in lookup.items():
        if not 0 <= code < n_levels:
            raise InputError(f"factor '{name}': a pooled level has code {code}, but there are {n_levels} levels.")
        if not 1 <= len(known) <= deepest:
            raise InputError(f"factor '{name}': level {list(known)} is not a path of 1 to {deepest} parts.")


def _check_bands(name: str, edges: Sequence[float], numbered: list[Path]) -> None:
    if numbered != [(k,) for k in range(len(edges) + 1)] or any(np.diff(edges) <= 0):
        raise InputError(
            f"band '{name}' has {len(numbered)} bands for {len(edges)} edges; edges ascend, and there is one band more "
            "than edges."
        )


@dataclass(frozen=True, repr=False)
class CrossCoding:
    """The pairs of two factors' slots: code = first code x number of slots of the second + second code.

    Parameters
    ----------
    first, second : Coding or CrossCoding
    """

    first: "Coding | CrossCoding"
    second: "Coding | CrossCoding"

    def __repr__(self) -> str:
        return shown(f"CrossCoding: {self.name}, {counted(self.n_slots, 'pair')}")

    @property
    def factors(self) -> "tuple[Coding, ...]":
        """Return the factors that the pairs combine."""
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
        """Return the number of pairs: none is a fallback, because each factor reports its own unseen levels."""
        return self.n_slots

    def slot_label(self, code: int) -> str:
        """Return the names of both slots."""
        first, second = divmod(code, self.second.n_slots)
        return f"{self.first.slot_label(first)} x {self.second.slot_label(second)}"

    @property
    def digest(self) -> str:
        """Return a hash of the meaning of the codes."""
        return digest((self.first.digest, self.second.digest))

    def pair(self, first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
        """Return the code of each pair of codes."""
        kind = code_type(self.n_slots)  # widened first, because the product overflows the type of either factor
        return np.asarray(first.astype(kind) * kind(self.second.n_slots) + second.astype(kind))

    def encode(self, columns: JoinedColumns) -> NDArray[Any]:
        """Return the code of every row: uint8, uint16 or uint32."""
        return self.pair(self.first.encode(columns), self.second.encode(columns))

    def encode_one(self, order: Mapping[str, Any]) -> int:
        """Return the code of one order given as a mapping."""
        return self.first.encode_one(order) * self.second.n_slots + self.second.encode_one(order)


def line_coding(name: str, most: int) -> Coding:
    """Return the coding of the number of lines of an order, with one level for each number from 1 to `most`."""
    paths: tuple[Path, ...] = tuple((count,) for count in range(1, most + 1))
    return Coding(Factor(name), paths, {path: code for code, path in enumerate(paths)})


def _band_label(edges: tuple[float, ...], k: int) -> str:
    low = f"({edge_text(edges[k - 1])}" if k else "(-inf"
    return f"{low}, {edge_text(edges[k])}]" if k < len(edges) else f"{low}, inf)"


def path_text(path: Path) -> str:
    """Return a path as messages show it."""
    return "'" + " > ".join(str(part) for part in path) + "'"


def _types_text(path: Path) -> str:
    """Return the types of a path's parts in words that need no Python, such as "text"."""
    words = {str: "text", int: "number", float: "number", bool: "boolean"}
    return " > ".join(words.get(type(part), "missing") for part in path)
