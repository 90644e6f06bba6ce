"""From a solution to the joint covariance of its levels, those of an eliminated tree and of unseen leaves included."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk._types import Array
from freightrisk.book.codings import Coding
from freightrisk.book.factors import OTHER
from freightrisk.models.design import Layout, Term, Tree, Whole
from freightrisk.models.posterior import Posterior, SlotErrors
from freightrisk.models.products import forms
from freightrisk.models.quadratic import Reduced
from freightrisk.models.terms import AnyCoding, tree_of

Path = tuple[Any, ...]


def known_ancestor(coding: Coding, code: int, known: Container[Path]) -> Path:
    """Return the nearest known node above a level or fallback of a tree; the root () is always known."""
    node = coding.nodes[code - coding.n_levels] if code >= coding.n_levels else coding.paths[code][:-1]
    padded = node + (OTHER,) * (len(coding.columns) - 1 - len(node))
    if node and node not in known and padded in known:
        return padded
    while node and node not in known:
        node = node[:-1]
    return node


@dataclass(eq=False)
class _Points:
    """The rows of the dense parameters that the points of a joint covariance are, the intercept first."""

    n_params: int
    rows: list[Array] = field(default_factory=list)
    count: int = 1

    def add(self, start: int, own: Array) -> NDArray[np.int64]:
        """Append the rows of one effect, whose parameters begin at `start`, and return their places."""
        wide = np.zeros((len(own), self.n_params))
        wide[:, start : start + own.shape[1]] = own
        self.rows.append(wide)
        self.count += len(own)
        return np.arange(self.count - len(own), self.count)

    @property
    def matrix(self) -> Array:
        """Return all rows."""
        first = np.zeros((1, self.n_params))
        first[0, 0] = 1.0
        return np.concatenate([first, *self.rows])


def posterior_of(
    layout: Layout,
    reduced: Reduced | None,
    covariance: Array,
    *,
    codings: Mapping[str, AnyCoding],
    variances: Mapping[str, Sequence[float]],
    dispersion: float,
) -> Posterior:
    """Return the joint covariance of a fit.

    Parameters
    ----------
    layout : Layout
    reduced : Reduced, optional
        The last penalised quadratic, needed if a tree is eliminated.
    covariance : float64 array
        Covariance of the dense parameters, with the dispersion included.
    codings : dict of str to Coding or CrossCoding
    variances : dict of str to sequence of float
        Variances of each penalised effect, from the top of a tree down.
    dispersion : float
    """
    points, effects = _Points(layout.n_params), {}
    for term, start in zip(layout.dense, layout.starts.tolist(), strict=False):
        effects[term.name] = _dense_slots(term, start, points, codings[term.name], variances.get(term.name, ()))
    rows = points.matrix
    by_point = covariance @ rows.T
    is_same = rows.shape[0] == rows.shape[1] and np.array_equal(rows, np.eye(len(rows)))
    joint = covariance if is_same else rows @ by_point
    if layout.tree is None or reduced is None:
        return Posterior(joint, effects)
    term = layout.terms[0]
    nodes = _nodes(reduced)
    own, row, noise = _tree_slots(term, layout.tree, codings[term.name], variances[term.name], nodes)
    # A node is minus its row times the dense parameters, plus noise.
    cross = -(row @ by_point)
    own_variances = forms(row, covariance, reduced.quadratic.threads) + noise * dispersion
    return Posterior(joint, {term.name: own, **effects}, term.name, cross, own_variances)


def _dense_slots(term: Term, start: int, points: _Points, coding: AnyCoding, variances: Sequence[float]) -> SlotErrors:
    """Return the slots of an effect in the dense equations, whose rows are appended to the points."""
    places = np.full(term.n_slots, -1, dtype=np.int64)
    beyond = np.zeros(term.n_slots)
    moved = term.estimated & (np.arange(term.n_slots) != term.reference)
    places[moved] = points.add(start, term.design[np.flatnonzero(moved)].toarray())
    if term.tree is None:
        beyond[~term.estimated] = np.inf
        return SlotErrors(places, beyond)
    depths, at = _unseen(term, coding)
    for depth in range(1, len(term.tree.sizes)):
        slots = np.flatnonzero(depths == depth)
        places[slots] = points.add(start, _inner_rows(term.tree, depth, at[slots])) if len(slots) else -1
    beyond[depths >= 0] = _missing(variances)[depths[depths >= 0]]
    return SlotErrors(places, beyond)


def _tree_slots(
    term: Term,
    tree: Tree,
    coding: AnyCoding,
    variances: Sequence[float],
    nodes: list[tuple[Array, Array]],
) -> tuple[SlotErrors, Array, Array]:
    """Return the slots of the eliminated effect, and the rows and noise of the nodes that they have."""
    places = np.full(term.n_slots, -1, dtype=np.int64)
    beyond = np.zeros(term.n_slots)
    rows, noises = [nodes[-1][0]], [nodes[-1][1]]
    places[tree.slots] = np.arange(len(tree.slots))
    depths, at = _unseen(term, coding)
    count = len(tree.slots)
    for depth in range(1, len(tree.sizes)):
        slots = np.flatnonzero(depths == depth)
        if not len(slots):
            continue
        row, noise = nodes[depth - 1]
        rows.append(row[at[slots]])
        noises.append(noise[at[slots]])
        places[slots] = count + np.arange(len(slots))
        count += len(slots)
    beyond[depths >= 0] = _missing(variances)[depths[depths >= 0]]
    # The rows of the leaves may be large, so they are copied only if other rows follow.
    whole = rows[0] if len(rows) == 1 else np.concatenate(rows)
    return SlotErrors(places, beyond), whole, np.concatenate(noises)


def _unseen(term: Term, coding: AnyCoding) -> tuple[Whole, Whole]:
    """Return for each slot without data the depth of its nearest known node and the place of that node there.

    The depth is 0 for the root, and -1 for a slot with data.
    """
    depths, at = np.full(term.n_slots, -1), np.zeros(term.n_slots, dtype=np.int64)
    unseen = np.flatnonzero(~term.estimated)
    depths[unseen] = 0
    if not isinstance(coding, Coding) or not len(unseen):
        return depths, at
    _, names = tree_of(coding, term.estimated)
    place = {path: (depth, k) for depth, nodes in enumerate(names[:-1], start=1) for k, path in enumerate(nodes)}
    for code in unseen.tolist():
        depths[code], at[code] = place.get(known_ancestor(coding, code, place), (0, 0))
    return depths, at


def _missing(variances: Sequence[float]) -> Array:
    """Return the sum of the variances below each depth of a tree, from the root to the leaves."""
    return np.append(np.cumsum(np.asarray(variances, dtype=np.float64)[::-1])[::-1], 0.0)


def _inner_rows(tree: Tree, depth: int, nodes: Whole) -> Array:
    """Return the rows of inner nodes: a one for the node and for each node above it."""
    starts = np.cumsum([0, *tree.sizes])
    rows = np.zeros((len(nodes), int(starts[-1])))
    for above in range(depth - 1, -1, -1):
        rows[np.arange(len(nodes)), starts[above] + nodes] = 1.0
        nodes = tree.parents[above][nodes]
    return rows


def _nodes(reduced: Reduced) -> list[tuple[Array, Array]]:
    """Return for each depth the row and the noise variance of the path down to each node (see `Reduced.paths`)."""
    found: list[tuple[Array, Array]] = []
    row: Array | None = None
    noise = np.zeros(1)
    for pivot, parent in zip(reduced.pivots, reduced.tree.parents if reduced.tree else (), strict=True):
        above = None if row is None else row[parent]
        row = pivot.own(above) if above is None else pivot.own(above) + above
        noise = (1.0 - pivot.credibility) ** 2 * noise[parent] + 1.0 / pivot.pivot
        found.append((row, noise))
    return found
