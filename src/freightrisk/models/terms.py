"""From the effects of a model and the levels of a book to the terms that the solver fits."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._mapped import let_go
from freightrisk._parallel import chunks
from freightrisk._shown import counted, named, repr_of
from freightrisk._types import Array
from freightrisk.book.codings import Coding, CrossCoding
from freightrisk.book.factors import ALL, MISSING, OTHER, Band
from freightrisk.errors import InputError
from freightrisk.models.design import Term, Tree, Whole, free_term, nested, nested_term, smooth_term
from freightrisk.models.effects import Credibility, Effect, Free, Interaction, Smooth
from freightrisk.models.passes import PART_ROWS

AnyCoding = Coding | CrossCoding


@dataclass(frozen=True, eq=False)
class LevelSums:
    """Exposure, claims and amount of each slot of a factor in the fitted rows."""

    exposure: Array
    claims: Array
    amount: Array


def keep_factors(model: Any) -> None:
    """Keep the factors of a model as a tuple, because a list could change after the model is made."""
    if isinstance(model.factors, list):
        object.__setattr__(model, "factors", tuple(model.factors))


def chosen_effects(
    codings: Mapping[str, Coding], factors: Sequence[str | Effect] | None, *, lines: str | None = None
) -> dict[str, Effect]:
    """Return the effect of each table of a model by name; by default, all factors except the lines are free."""
    if isinstance(factors, str):
        raise InputError(f"factors is the text {repr_of(factors)}; give a list, such as [{repr_of(factors)}].")
    default = [name for name in codings if name != lines]
    wanted = default if factors is None else [*_check.items(factors, argument="factors")]
    effects: dict[str, Effect] = {}
    for one in wanted:
        if not isinstance(one, str | Effect):
            raise InputError(
                f"factors: {repr_of(one)} is neither the name of a factor nor an effect; give names, or Free, "
                "Credibility, Smooth, Given or Interaction."
            )
        effect = Free(one) if isinstance(one, str) else one
        needed = (effect.first, effect.second) if isinstance(effect, Interaction) else (effect.name,)
        unknown = [name for name in needed if name not in codings]
        if unknown:
            raise InputError(f"factors: the book has no factor '{unknown[0]}'; it has {named(codings, 'none')}.")
        if effect.name in effects or (isinstance(effect, Interaction) and effect.name in codings):
            raise InputError(
                f"factors: '{effect.name}' occurs twice; a model has one effect for each name, so remove one."
            )
        _check_bands(effect, codings)
        effects[effect.name] = effect
    return effects


def _check_bands(effect: Effect, codings: Mapping[str, Coding]) -> None:
    ordered = isinstance(effect, Smooth) or (isinstance(effect, Free) and effect.monotone is not None)
    if ordered and not isinstance(codings[effect.name].declared, Band):
        what = "smooth" if isinstance(effect, Smooth) else "monotone"
        raise InputError(
            f"factor '{effect.name}' is not a Band, so its levels have no order for a {what} effect; declare it as a "
            "Band, or use Credibility for many thin levels."
        )


def coding_of(effect: Effect, codings: Mapping[str, Coding]) -> AnyCoding:
    """Return the coding of a table."""
    if isinstance(effect, Interaction):
        return CrossCoding(codings[effect.first], codings[effect.second])
    return codings[effect.name]


def bands_of(coding: AnyCoding) -> Whole:
    """Return the slots of a band's levels in order, without the slot of missing values."""
    if not isinstance(coding, Coding) or not isinstance(coding.declared, Band):
        return np.empty(0, dtype=np.int64)
    return np.array([k for k, path in enumerate(coding.paths) if path != (MISSING,)], dtype=np.int64)


def term_of(effect: Effect, coding: AnyCoding, sums: LevelSums) -> Term:
    """Return the term of a fitted effect. A reference level is the level with the most exposure."""
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
    """Return the first slot with the largest exposure.

    Exposures that differ only by rounding count as equal, because their sums depend on the order of the rows.
    """
    return int(np.argmax(exposure >= exposure.max() * (1.0 - 1e-9)))


def tree_of(coding: Coding, present: NDArray[np.bool_]) -> tuple[Tree, list[list[Any]]]:
    """Return the tree of the slots that have exposure, and the paths of its nodes by depth."""
    # Slots from n_levels on are fallbacks of inner nodes. One with exposure is a leaf of its own below its node.
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
            f"variance of factor '{effect.name}' has {counted(len(given), 'value')}, but its tree has "
            f"{counted(depth, 'depth')}; give one value for each depth, from the top down."
        )
    return given


def level_sums(codes: NDArray[Any], n_slots: int, exposure: Array, claims: Array, amount: Array) -> LevelSums:
    """Return the sums by slot. An array of one element stands for 1 in every row, an empty array for zeros."""

    def total(values: Array) -> Array:
        found = np.zeros(n_slots)
        for start, stop in chunks(len(codes), PART_ROWS) if len(values) else []:
            # An array of one element stands for ones, unless there is only one row.
            each = values[start:stop] if len(values) == len(codes) else None
            found += np.bincount(codes[start:stop], each, minlength=n_slots)
            let_go([codes, values], start, stop)
        return found

    return LevelSums(total(exposure), total(claims), total(amount))


def given_multiplier(
    multiplier: Array, tables: Mapping[str, Array], codes: Mapping[str, NDArray[Any]], n_rows: int
) -> Array:
    """Return the multiplicative offset times the relativities of the given tables."""
    for name, table in tables.items():
        factor = np.exp(table)[codes[name]]
        multiplier = factor * multiplier if len(multiplier) else factor
    return _check.real_array(multiplier, argument="offset", length=n_rows) if tables else multiplier
