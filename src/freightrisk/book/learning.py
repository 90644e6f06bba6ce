"""Learning a factor from a book: the levels that occur, the rare levels that are pooled, and the edges of bands."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk._columns import JoinedColumns
from freightrisk.book.codings import Coding, code_type, path_text
from freightrisk.book.factors import ALL, MISSING, OTHER, Band, Declaration, Path, sort_key
from freightrisk.book.levels import band_values, observed_paths, refuse_missing
from freightrisk.book.recode import exact_sums, in_doubles, looked_up
from freightrisk.errors import InputError

EDGE_DIGITS = 12
EDGE_ULPS = 4.0  # an edge as near as this to a number of 12 digits differs from it by rounding only


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
                refuse_missing(declared, which == k, columns)
    present = np.bincount(which, minlength=len(paths)) > 0
    weight = in_doubles(exact_sums(which, exposure if pools(declared) else None, len(paths)))
    claims = np.bincount(which, claim_count, minlength=len(paths))
    coding = pooled_coding(declared, {path: (weight[k], claims[k]) for k, path in enumerate(paths) if present[k]})
    table = np.array([coding.lookup.get(path, 0) for path in paths], dtype=code_type(coding.n_slots))
    return coding, looked_up(which, table, threads=columns.threads)


def pools(declared: Declaration) -> bool:
    """Return whether a factor pools rare levels; only then is the exposure of its levels needed."""
    return declared.min_exposure > 0.0 or declared.min_claims > 0


def pooled_coding(declared: Declaration, observed: Mapping[Path, tuple[float, float]]) -> Coding:
    """Return the coding of a factor, given exposure and claims of every path that a book has."""
    # Paths are sorted, because sums over paths depend on their order and the order of rows must not matter.
    pooled = _pool(declared, {path: observed[path] for path in sorted(observed, key=sort_key)})
    levels = tuple(sorted(set(pooled.values()), key=sort_key))
    place = {path: code for code, path in enumerate(levels)}
    coding = Coding(declared, levels, place | {path: place[target] for path, target in pooled.items()})
    _check_spelling(coding)
    return coding


def _check_spelling(coding: Coding) -> None:
    """Raise if two labels are spelled alike, among all levels, rare levels and means of branches."""
    spelled: dict[str, Path] = {}
    for path in (*((*node, ALL) for node in coding.nodes), *coding.lookup):
        label = " > ".join(map(str, path))
        if ALL in path and path in coding.lookup:
            raise InputError(
                f"factor '{coding.name}': the book has a level {path_text(path)}, but '{ALL}' names the mean of all "
                "levels; rename the level."
            )
        if label in spelled:
            one, other = (repr(which[0]) if len(which) == 1 else repr(which) for which in (spelled[label], path))
            raise InputError(
                f"factor '{coding.name}': {one} and {other} are two levels that are both spelled '{label}', so tables "
                "and covers could not distinguish them; make them one level (one type of value), or rename one."
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
    """Return the coding of a band, given exposure and claims between the edges, and whether values are missing."""
    kept = _merge_bands(declared, edges, exposure, claims)
    return all_bands(declared, kept, missing=missing)


def all_bands(declared: Band, edges: tuple[float, ...], *, missing: bool) -> Coding:
    """Return the coding in which every band between the edges is a level."""
    paths: tuple[Path, ...] = tuple((k,) for k in range(len(edges) + 1))
    paths += ((MISSING,),) if missing else ()
    return Coding(declared, paths, {path: k for k, path in enumerate(paths)}, edges)


def _pool(declared: Declaration, observed: Mapping[Path, tuple[float, float]]) -> dict[Path, Path]:
    """Return the level that each observed path belongs to: itself, or the "(other)" of an ancestor."""
    target = {path: path for path in observed}
    for path in _rare(declared, observed, target):
        target[path] = (*path[:-1], OTHER)
    # From the deepest pools up, a pool that is still rare joins the "(other)" one level higher.
    for depth in range(len(declared.columns), 1, -1):
        for level in _rare(declared, observed, target):
            if len(level) == depth and level[-1] == OTHER:
                target = {path: (*level[:-2], OTHER) if old == level else old for path, old in target.items()}
    # At the top, "(other)" absorbs the smallest level (fewest claims, then least exposure) while it is rare.
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
    if not len(values):
        return ()
    # The place of each edge in whole numbers: `np.quantile` ends at 195.00000000000003 between 190 and 200.
    low, rest = np.divmod(np.arange(1, bands) * (len(values) - 1), bands)
    ordered = np.partition(values, np.unique([low, low + (rest > 0)]))
    start, stop = ordered[low], ordered[low + (rest > 0)]
    edges = start + (stop - start) * (rest / bands)
    near = np.array([float(f"{edge:.{EDGE_DIGITS}g}") for edge in edges])
    slack = EDGE_ULPS * np.spacing(np.maximum(np.abs(start), np.abs(stop)))
    edges = np.unique(np.where((rest > 0) & (np.abs(near - edges) <= slack), near, edges))
    # An edge at the largest value would leave the last band empty.
    return tuple(edges[edges < values.max()].tolist())


def _merge_bands(
    declared: Band, edges: tuple[float, ...], exposure: NDArray[np.float64], claims: NDArray[np.float64]
) -> tuple[float, ...]:
    """Merge each rare band with the next higher band, and a rare remainder at the top with the band below."""
    kept: list[float] = []
    weight = count = 0.0
    for k in range(len(edges) + 1):
        weight, count = weight + exposure[k], count + claims[k]
        # The bound 1e-300 makes an empty band rare, even if the declaration sets no minimum.
        rare = weight < max(declared.min_exposure, 1e-300) or count < declared.min_claims
        if k < len(edges) and not rare:
            kept.append(edges[k])
            weight = count = 0.0
        elif k == len(edges) and rare and kept:
            kept.pop()
    return tuple(kept)
