"""The penalised quadratic that a Newton step maximises: elimination of nested effects, variances, monotone bands.

With gradient g, information H and penalty S (diagonal in our parameters), the step d from parameters x solves
(H + S) d = g - S x. Given all other parameters, the nodes of one depth of the large tree have diagonal information.
They are therefore eliminated depth by depth (docs/method.md, equation 10). A dense system with a few hundred unknowns
remains.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from freightrisk._types import Array
from freightrisk.errors import FitError
from freightrisk.models.design import Layout, SlotNames, Tree
from freightrisk.models.products import combination, products, squares

ALIASED = 1e-9  # a squared pivot, at unit diagonal, below which a level is a combination of other levels
LONGEST = 1.0  # bound on a parameter's move, in logs
LEAST_SHARE = 0.1  # of a penalty: the least curvature of a bounded move
LEAST_INFORMATION, LARGEST_MOVE, LARGEST_EXPONENT = 1e-100, 1e100, 400.0  # keep these steps in the range of a double
CURVED_STEPS = 6  # of Newton's method, in one unknown for each leaf


class State(NamedTuple):
    """Dense parameters, and the effects of the tree's nodes by depth."""

    dense: Array
    nodes: tuple[Array, ...]

    def plus(self, move: "State", share: float = 1.0) -> "State":
        """Return the state after a share of a move."""
        nodes = tuple(old + share * new for old, new in zip(self.nodes, move.nodes, strict=True))
        return State(self.dense + share * move.dense, nodes)

    def times(self, share: float) -> "State":
        """Return a share of a move."""
        return State(share * self.dense, tuple(share * nodes for nodes in self.nodes))

    def minus(self, other: "State") -> "State":
        """Return the move from another state to this one."""
        return self.plus(other, -1.0)


@dataclass(frozen=True, eq=False)
class Quadratic:
    """Gradient and information of the dense parameters and of the leaves, and their cross-information.

    Parameters
    ----------
    gradient, matrix : float64 arrays, shape (p,) and (p, p)
        Of the dense parameters.
    leaf_gradient, leaf_information : float64 arrays, shape (leaves,)
    cross : float64 array, shape (leaves, p)
        Cross-information of each leaf with the dense parameters.
    threads : int
        Threads of the computations with these arrays. The results do not depend on it.
    """

    gradient: Array
    matrix: Array
    leaf_gradient: Array
    leaf_information: Array
    cross: Array
    threads: int = 1


class Pivot(NamedTuple):
    """Information, pivot, credibility and row of cross-information of each eliminated node of one depth."""

    information: Array
    pivot: Array
    credibility: Array
    cross: Array

    def own(self, above: Array | None) -> Array:
        """Return the rows of the nodes' own effects, given the rows of the paths to their parents (None at the top)."""
        scaled = self.cross / self.pivot[:, None]
        return scaled if above is None else scaled - self.credibility[:, None] * above


@dataclass(frozen=True, eq=False)
class Reduced:
    """A penalised quadratic with the tree eliminated."""

    quadratic: Quadratic
    tree: Tree | None
    matrix: Array
    pivots: tuple[Pivot, ...]
    penalty: Array
    strengths: Array
    labels: tuple[Layout, Mapping[str, SlotNames]]
    near: "Reduced | None" = None  # a reduction at nearby strengths, whose sums over leaves were rescaled for this one

    def serves(self, quadratic: Quadratic) -> "Reduced | None":
        """Return the reduction whose leaf sums can be rescaled for a quadratic, or None.

        The tree must have one depth, and the cross-information must be the same.
        """
        same = len(self.pivots) == 1 and self.quadratic.cross is quadratic.cross
        return (self.near or self) if same else None

    @cached_property
    def slope(self) -> Array:
        """Return the derivative of the matrix by the strength of a one-level tree."""
        pivot = self.pivots[0]
        if self.near is None:
            return squares(pivot.cross, 1.0 / pivot.pivot**2, self.quadratic.threads)
        there = self.near.pivots[0]
        share = (pivot.information / pivot.pivot) @ (pivot.information / pivot.pivot)
        return self.near.slope * (share / (there.credibility @ there.credibility))

    @cached_property
    def factor(self) -> tuple[Array, Array]:
        """Return the scale and Cholesky factor of the dense matrix, or raise for a parameter that is not determined."""
        return factorise(self.matrix, *self.labels)

    @cached_property
    def covariance(self) -> Array:
        """Return the inverse of the dense matrix."""
        from scipy.linalg import cho_solve

        scale, factor = self.factor
        return np.asarray(cho_solve((factor, True), np.diag(1.0 / scale))) / scale[:, None]

    def right_side(self, state: State) -> tuple[Array, list[Array]]:
        """Return the dense right side of the step from a state, and the right side of each depth."""
        right = self.quadratic.gradient - self.penalty * state.dense
        gradient, sides = self.quadratic.leaf_gradient, []
        for depth in reversed(range(len(self.pivots))):
            pivot = self.pivots[depth]
            side = gradient - self.strengths[depth] * state.nodes[depth]
            right = right - combination(side / pivot.pivot, pivot.cross, self.quadratic.threads)
            sides.append(side)
            if depth and self.tree is not None:
                gradient = self.tree.sums[depth] @ (gradient - pivot.credibility * side)
        return right, sides[::-1]

    def move(self, state: State) -> State:
        """Return the step from a state to the maximum of the quadratic (docs/method.md, equation 6)."""
        from scipy.linalg import cho_solve

        scale, factor = self.factor
        right, sides = self.right_side(state)
        dense = np.asarray(cho_solve((factor, True), right / scale)) / scale
        return State(dense, self.back(dense, sides))

    def back(self, dense: Array, sides: list[Array]) -> tuple[Array, ...]:
        """Return the steps of the tree's nodes, given the step of the dense parameters; parents come first."""
        nodes: list[Array] = []
        path = np.zeros(1)
        for pivot, side, parent in zip(self.pivots, sides, self.tree.parents if self.tree else (), strict=True):
            beside = products(pivot.cross, dense, self.quadratic.threads)
            nodes.append((side - pivot.information * path[parent] - beside) / pivot.pivot)
            path = path[parent] + nodes[-1]
        return tuple(nodes)

    def traces(self, covariance: Array) -> list[Array]:
        """Return for each depth the sum of the variances of its effects."""
        # An effect is minus its row times the dense parameters, plus z times the noise of the path above, plus noise.
        if len(self.pivots) == 1:
            return [_trace(self.slope, covariance, 1.0 / self.pivots[0].pivot)]
        traces: list[Array] = []
        row: Array | None = None
        noise = np.zeros(1)
        for pivot, parent in zip(self.pivots, self.tree.parents if self.tree else (), strict=True):
            above, noise = None if row is None else row[parent], noise[parent]
            own, z = pivot.own(above), pivot.credibility
            square = squares(own, np.ones(len(own)), self.quadratic.threads)
            traces.append(_trace(square, covariance, z * z * noise + 1.0 / pivot.pivot))
            row, noise = own if above is None else own + above, (1.0 - z) ** 2 * noise + 1.0 / pivot.pivot
        return traces

    def paths(self) -> tuple[Array, Array | None, Array]:
        """Return the rows, their factors and the noise variance of the paths down to the leaves.

        In the posterior, the sum of the effects on a path is minus its row times the dense parameters, plus noise. In
        a tree of one depth, the rows are those of the cross-information, and the factors make paths of them.
        """
        if len(self.pivots) == 1:
            return self.pivots[0].cross, 1.0 / self.pivots[0].pivot, 1.0 / self.pivots[0].pivot
        row: Array | None = None
        noise = np.zeros(1)
        for pivot, parent in zip(self.pivots, self.tree.parents if self.tree else (), strict=True):
            above = None if row is None else row[parent]
            row = pivot.own(above) if above is None else pivot.own(above) + above
            noise = (1.0 - pivot.credibility) ** 2 * noise[parent] + 1.0 / pivot.pivot
        return (np.empty((0, len(self.matrix))) if row is None else row), None, noise


def _trace(square: Array, covariance: Array, noise: Array) -> Array:
    return np.array((square * covariance).sum() + noise.sum())


def reduce(
    quadratic: Quadratic,
    layout: Layout,
    labels: Mapping[str, SlotNames],
    strengths: Array,
    ridge: float = 0.0,
    *,
    near: Reduced | None = None,
    bounded: State | None = None,
    longest: float = LONGEST,
) -> Reduced:
    """Return the quadratic with penalties of the given strengths, and with the tree eliminated.

    For a one-level tree, `near` is a reduction computed at a nearby strength. Its leaf sums are rescaled instead of
    recomputed. This is exact if all leaves have the same cross-information per unit of their own information.

    If `bounded` is given, the curvature of each parameter is raised until its own move from this state is at most
    `longest` (Levenberg 1944, with a bound for each parameter). Moves within the bound stay the same.
    """
    penalty = layout.penalty(strengths)
    penalty[1:] += ridge
    matrix = quadratic.matrix + np.diag(penalty)
    if near is not None and layout.n_tree_groups == 1:
        information = quadratic.leaf_information
        pivot = information + max(float(strengths[0]), ridge)
        own = Pivot(information, pivot, information / pivot, quadratic.cross)
        there = near.pivots[0]
        rise = float(information**2 @ (1.0 / there.pivot - 1.0 / pivot)) / float(there.credibility @ there.credibility)
        matrix += near.matrix - quadratic.matrix - np.diag(near.penalty) + rise * near.slope
        return Reduced(
            quadratic, layout.tree, matrix, (own,), penalty, np.maximum(strengths, ridge), (layout, labels), near
        )
    pivots: list[Pivot] = []
    information, cross = quadratic.leaf_information, quadratic.cross
    tree, strengths = layout.tree, np.maximum(strengths, ridge)
    gradient, right = quadratic.leaf_gradient, quadratic.gradient
    # docs/method.md, equation 10: leaves first, then their parents, up to the first depth.
    for depth in reversed(range(layout.n_tree_groups)):
        pivot = information + strengths[depth]
        if bounded is not None:
            side = gradient - strengths[depth] * bounded.nodes[depth]
            pivot = np.maximum(np.maximum(pivot, np.abs(side) / longest), LEAST_SHARE * strengths[depth])
            right = right - cross.T @ (side / pivot)
        matrix -= squares(cross, 1.0 / pivot, quadratic.threads)
        pivots.append(Pivot(information, pivot, information / pivot, cross))
        if depth and tree is not None:
            left = (strengths[depth] if bounded is None else pivot - information) / pivot
            if bounded is not None:
                gradient = tree.sums[depth] @ (gradient - information / pivot * side)
            information, cross = tree.sums[depth] @ (information * left), tree.sums[depth] @ (cross * left[:, None])
    if bounded is not None:
        curvature = np.diag(matrix)
        matrix += np.diag(np.maximum(np.abs(right - penalty * bounded.dense) / longest - curvature, 0.0))
    return Reduced(quadratic, tree, matrix, tuple(pivots[::-1]), penalty, strengths, (layout, labels))


def curved(reduced: Reduced, move: State, *, down: bool) -> State:
    """Return a step of a count model in which the moves of the leaves lead to their own maxima.

    Given all other parameters, a leaf with information h, strength s and straight move d has its maximum at the u that
    solves h (exp(u) - 1) + s u = (h + s) d (docs/method.md, equation 11). It is below d. This is exact for Poisson
    counts. For other counts, moves down are kept, because their information falls less than the mean; `down` is false.
    """
    if not reduced.pivots:
        return move
    information, d = reduced.pivots[-1].information, move.nodes[-1]
    strength = reduced.strengths[len(reduced.pivots) - 1]
    d = np.clip(d, -LARGEST_MOVE, LARGEST_MOVE)
    # If d > 0, the root lies between the solution without penalty and the smaller of d and log(1 + d) + log(1 + s / h).
    # A step of Newton's method may leave this range, up to where exp overflows. A move down is at most doubled.
    up = np.maximum(d, 0.0)
    share = np.log1p(strength / np.maximum(information, LEAST_INFORMATION))
    most = np.minimum(np.minimum(d, np.log1p(up) + share), LARGEST_EXPONENT)
    least = np.where(d > 0.0, np.log1p(up), 2.0 * d)
    u = np.where(d > 0.0, least, d)
    for _ in range(CURVED_STEPS):
        means = information * np.exp(u)
        step = (means - information + strength * u - (information + strength) * d) / (means + strength)
        u = np.clip(u - step, least, most)
    return State(move.dense, (*move.nodes[:-1], u if down else np.where(d > 0.0, u, d)))


def factorise(matrix: Array, layout: Layout, labels: Mapping[str, SlotNames]) -> tuple[Array, Array]:
    """Return the scale and the Cholesky factor of a matrix scaled to unit diagonal, or raise for aliased levels."""
    from scipy.linalg import LinAlgError, cholesky

    scale = np.sqrt(np.maximum(np.diag(matrix), 0.0))
    if not np.all(scale > 0.0):
        raise FitError(
            f"{layout.level_name(int(np.argmin(scale)), labels)} carries no information in these rows; pool it with "
            "other levels (min_claims=)."
        )
    scaled = matrix / np.outer(scale, scale)
    try:
        factor = cholesky(scaled, lower=True)
        smallest = int(np.argmin(np.diag(factor)))
        if factor[smallest, smallest] ** 2 > ALIASED:
            return scale, factor
    except LinAlgError:
        smallest = _first_dependent(scaled)
    raise FitError(
        f"{layout.level_name(smallest, labels)} is a combination of other levels in these rows, so its relativity is "
        "not determined; drop one of the factors or merge the level."
    )


def _first_dependent(matrix: Array) -> int:
    """Return the first row that the rows before it determine."""
    from scipy.linalg.lapack import dpotrf

    return max(int(dpotrf(matrix, lower=1)[1]) - 1, 0)
