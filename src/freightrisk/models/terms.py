"""From the effects that a model asks for, and the levels that a book has, to the terms that the solver fits."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._mapped import let_go
from freightrisk._parallel import chunks
from freightrisk._shown import repr_of
from freightrisk._types import Array
from freightrisk.book.factors import ALL, MISSING, OTHER, Band, Coding, CrossCoding
from freightrisk.errors import InputError
from freightrisk.models.design import Term, Tree, Whole, free_term, nested, nested_term, smooth_term
from freightrisk.models.effects import Credibility, Effect, Free, Interaction, Smooth
from freightrisk.models.passes import PART_ROWS

AnyCoding = Coding | CrossCoding


@dataclass(frozen=True, eq=False)
class LevelSums:
    """Exposure, claims and amount of each slot of a factor in the rows that are fitted."""

    exposure: Array
    claims: Array
    amount: Array


def chosen_effects(
    codings: Mapping[str, Coding], factors: Sequence[str | Effect] | None, *, lines: str | None = None
) -> dict[str, Effect]:
    """Return the effect of each table of a model by name: by default all factors but the lines, each free."""
    if isinstance(factors, str):
        raise InputError(f"factors is the text {repr_of(factors)}; give a list, such as [{repr_of(factors)}].")
    wanted = [name for name in codings if name != lines] if factors is None else list(factors)
    effects: dict[str, Effect] = {}
    for one in wanted:
        if not isinstance(one, str | Effect):
            raise InputError(
                f"factors: {repr_of(one)} is neither the name of a factor nor an effect; give names, or Free, "
                "Credibility, Smooth, Given and Interaction."
            )
        effect = Free(one) if isinstance(one, str) else one
        needed = (effect.first, effect.second) if isinstance(effect, Interaction) else (effect.name,)
        unknown = [name for name in needed if name not in codings]
        if unknown:
            raise InputError(f"factors: the book has no factor '{unknown[0]}'; it has {', '.join(codings)}.")
        if effect.name in effects or (isinstance(effect, Interaction) and effect.name in codings):
            raise InputError(f"factors: '{effect.name}' is there twice; a model has one effect a factor.")
        _check_bands(effect, codings)
        effects[effect.name] = effect
    return effects


def _check_bands(effect: Effect, codings: Mapping[str, Coding]) -> None:
    ordered = isinstance(effect, Smooth) or (isinstance(effect, Free) and effect.monotone is not None)
    if ordered and not isinstance(codings[effect.name].declared, Band):
        what = "smooth" if isinstance(effect, Smooth) else "monotone"
        raise InputError(
            f"factor '{effect.name}' is not a Band, so its levels have no order for a {what} effect; declare a Band, "
            "or use Credibility for many thin levels."
        )


def coding_of(effect: Effect, codings: Mapping[str, Coding]) -> AnyCoding:
    """Return the coding of a table."""
    if isinstance(effect, Interaction):
        return CrossCoding(codings[effect.first], codings[effect.second])
    return codings[effect.name]


def bands_of(coding: AnyCoding) -> Whole:
    """Return the slots of a band's levels in order, without that of missing values."""
    if not isinstance(coding, Coding) or not isinstance(coding.declared, Band):
        return np.empty(0, dtype=np.int64)
    return np.array([k for k, path in enumerate(coding.paths) if path != (MISSING,)], dtype=np.int64)


def term_of(effect: Effect, coding: AnyCoding, sums: LevelSums) -> Term:
    """Return the term of an effect that is fitted."""
    present = sums.exposure > 0
    largest = _largest(sums.exposure)
    direction = {None: 0, "increasing": 1, "decreasing": -1}[getattr(effect, "monotone", None)]
    bands = bands_of(coding)
    if isinstance(effect, Free):
        return free_term(effect.name, present, largest, ordered=bands if direction else None, direction=direction)
    if isinstance(effect, Smooth):
        reference = int(bands[_largest(sums.exposure[bands])])
        return smooth_term(
            effect.name, present, bands, reference, order=effect.order, variance=effect.variance, direction=direction
        )
    if isinstance(effect, Interaction):
        slots = np.flatnonzero(present)
        tree = Tree(slots, (np.zeros(len(slots), dtype=np.int64),))
        return nested_term(effect.name, "interaction", len(present), tree, [effect.variance], centred=False)
    if isinstance(effect, Credibility) and isinstance(coding, Coding):
        tree, _ = tree_of(coding, present)
        return nested_term(effect.name, "credibility", len(present), tree, _variances(effect, tree), centred=True)
    raise InputError(f"the effect of factor '{effect.name}' is given, so there is nothing to fit.")


def _largest(exposure: NDArray[np.float64]) -> int:
    """Return the first place of the largest exposure; sums in another order of the rows are equal up to rounding."""
    return int(np.argmax(exposure >= exposure.max() * (1.0 - 1e-9)))


def tree_of(coding: Coding, present: NDArray[np.bool_]) -> tuple[Tree, list[list[Any]]]:
    """Return the tree of the slots that have exposure, and the paths of its nodes by depth."""
    slots = np.flatnonzero(present)
    n_levels = coding.n_levels
    paths = [coding.paths[k] if k < n_levels else (*coding.nodes[k - n_levels], ALL) for k in slots.tolist()]
    return nested(slots, paths, len(coding.columns), OTHER)


def _variances(effect: Credibility, tree: Tree) -> tuple[float | None, ...]:
    depth = len(tree.sizes)
    if not isinstance(effect.variance, Iterable):
        return (effect.variance,) * depth
    given = tuple(effect.variance)
    if len(given) != depth:
        raise InputError(
            f"variance of factor '{effect.name}' has {len(given)} values, but its tree has {depth} depths; give one "
            "a depth, from the top down."
        )
    return given


def level_sums(codes: NDArray[Any], n_slots: int, exposure: Array, claims: Array, amount: Array) -> LevelSums:
    """Return the sums by slot; arrays of one element stand for that value in every row, empty ones for none."""

    def total(values: Array) -> Array:
        found = np.zeros(n_slots)
        for start, stop in chunks(len(codes), PART_ROWS) if len(values) else []:
            # A single one stands for ones; of a single row it is the row's own.
            each = values[start:stop] if len(values) == len(codes) else None
            found += np.bincount(codes[start:stop], each, minlength=n_slots)
            let_go([codes, values], start, stop)
        return found

    return LevelSums(total(exposure), total(claims), total(amount))


def given_scale(scale: Array, tables: Mapping[str, Array], codes: Mapping[str, NDArray[Any]], n_rows: int) -> Array:
    """Return the multiplicative offset with the given tables in it."""
    for name, table in tables.items():
        factor = np.exp(table)[codes[name]]
        scale = factor * scale if len(scale) else factor
    return _check.real_array(scale, argument="offset", length=n_rows) if tables else scale
