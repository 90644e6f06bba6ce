"""The joint covariance of a fit's intercept and levels, and from it the variance of the log rate of every order."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk._document import ExactArray, IndexArray
from freightrisk._frozen import FrozenDict
from freightrisk._parallel import chunks
from freightrisk._shown import counted, shown
from freightrisk._types import Array

ROWS = 2**14  # orders at a time; their leaves have one row of cross covariances each


def _empty() -> Array:
    return np.empty(0)


@dataclass(frozen=True, eq=False, repr=False)
class SlotErrors:
    """Where the slots of one effect stand in a `Posterior`.

    Parameters
    ----------
    places : int64 array, shape (n_slots,)
        Row of each slot in the joint covariance (of the eliminated effect: row of `Posterior.cross`). It is -1 for a
        slot that is held at a constant, such as a reference level.
    variances : float64 array, shape (n_slots,)
        Variance of what a slot has beyond its row: the effects of a tree or an interaction of which no fitted row knows
        anything. It is infinite for a free level that no row had, because nothing bounds its relativity.
    """

    places: IndexArray
    variances: ExactArray

    def __repr__(self) -> str:
        return f"SlotErrors: {counted(len(self.places), 'slot')}"


@dataclass(frozen=True, eq=False, repr=False)
class Posterior:
    """The joint covariance of the intercept and all levels of a fit, with the dispersion included.

    Without penalised effects it is the covariance of the estimates. With penalised effects it is the posterior
    covariance at the fitted variances.

    Parameters
    ----------
    covariance : float64 array, shape (points, points)
        Covariance of the intercept, which comes first, and of the levels of all effects but the eliminated one.
    effects : dict of str to SlotErrors
        The slots of each fitted effect. Given tables have no error.
    eliminated : str
        Name of the effect whose levels are eliminated from the equations of a fit; empty if there is none.
    cross : float64 array, shape (nodes, points)
        Covariance of each level of the eliminated effect with the intercept and with each other level.
    cross_variances : float64 array, shape (nodes,)
        Variance of each level of the eliminated effect.
    """

    covariance: Array
    effects: Mapping[str, SlotErrors]
    eliminated: str = ""
    cross: Array = field(default_factory=lambda: np.empty((0, 0)))
    cross_variances: Array = field(default_factory=_empty)

    def __post_init__(self) -> None:
        object.__setattr__(self, "effects", FrozenDict(dict(self.effects)))

    def __repr__(self) -> str:
        beside = f", beside {counted(len(self.cross), 'node')} of {self.eliminated}" if self.eliminated else ""
        return shown(f"Posterior: {counted(len(self.covariance), 'point')}{beside}")

    def variances_of(self, codes: Mapping[str, NDArray[Any]], n_rows: int) -> Array:
        """Return the variance of the log rate of each row, given the row's code on each effect.

        Notes
        -----
        The sum of all entries of the joint covariance of the intercept and the row's levels, and the variance of
        effects that no fitted row determined (docs/method.md, "The error of a prediction").
        """
        found = np.empty(n_rows)
        # The last row and column are zero, and place -1 points to them.
        joint = np.pad(self.covariance, (0, 1))
        for start, stop in chunks(n_rows, ROWS):
            part = {name: codes[name][start:stop] for name in self.effects}
            found[start:stop] = self._variances(joint, part, stop - start)
        return found

    def _variances(self, joint: Array, codes: Mapping[str, NDArray[Any]], n_rows: int) -> Array:
        places = {name: errors.places[codes[name]] for name, errors in self.effects.items()}
        dense = [np.zeros(n_rows, dtype=np.int64), *(at for name, at in places.items() if name != self.eliminated)]
        total = np.zeros(n_rows)
        for at in dense:
            total += joint[at, at]
        for first, second in combinations(dense, 2):
            total += 2.0 * joint[first, second]
        if self.eliminated:
            total += self._eliminated(places[self.eliminated], dense)
        total = np.maximum(total, 0.0)  # rounding may take a variance of zero below zero
        for name, errors in self.effects.items():
            total += errors.variances[codes[name]]
        return total

    def _eliminated(self, nodes: NDArray[np.int64], dense: list[NDArray[np.int64]]) -> Array:
        """Return the own variance of each row's node and twice its covariances with the row's other levels."""
        present, row = np.unique(nodes, return_inverse=True)
        cross = np.pad(self.cross[present], ((0, 0), (0, 1)))
        own = self.cross_variances[present]
        if len(present) and present[0] < 0:  # a slot without a node
            cross[0], own[0] = 0.0, 0.0
        total = own[row]
        for at in dense:
            total += 2.0 * cross[row, at]
        return np.asarray(total)
