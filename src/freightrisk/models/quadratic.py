"""The penalised quadratic that a Newton step maximises: elimination of nested effects, variances, monotone bands.

With score g, information H and penalty S (diagonal in our parameters) a step solves (H + S) d = g - S x. The nodes of
the large tree have diagonal information given all else, so they leave the equations depth by depth, each as a number
and a row; what is left is a dense system of a few hundred unknowns.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from freightrisk._parallel import chunks, in_order
from freightrisk._types import Array
from freightrisk.errors import FitError
from freightrisk.models.design import Layout, SlotNames, Tree

ALIASED = 1e-9
LARGEST_STRENGTH = 1e9
LOG_STRENGTHS = (np.log(1e-6), np.log(LARGEST_STRENGTH))
LARGEST_LOG_STEP = 5.0
STRENGTH_TOLERANCE = 1e-11
STRENGTH_STEPS = 200
STALLED_STEPS = 10  # without half the move of before: it is rounding
STALLED_MOVE = 1e-7  # if it is below this
MIXED = 6
WILD = 1e4  # times the plain step: where a variance is almost zero, that one goes a thousandth of the way
CURVED_STEPS = 6
NEAR_ERROR = 1e-2  # of a strength, for each unit of its log from where squares were taken (5e-4 measured)
NEAR_REACH = 1.0  # the farthest
SQUARED_ROWS = 2**11


class State(NamedTuple):
    """Dense parameters, and the effects of the tree's nodes by depth."""

    dense: Array
    nodes: tuple[Array, ...]

    def plus(self, move: "State", share: float = 1.0) -> "State":
        """Return the state a share of a move away."""
        nodes = tuple(old + share * new for old, new in zip(self.nodes, move.nodes, strict=True))
        return State(self.dense + share * move.dense, nodes)

    def minus(self, other: "State") -> "State":
        """Return the move from another state to this one."""
        return self.plus(other, -1.0)


@dataclass(frozen=True, eq=False)
class Quadratic:
    """Score and information of the dense parameters; of the leaves, with their information beside the dense ones.

    What is made of them may take so many threads; it does not depend on their number.
    """

    score: Array
    matrix: Array
    leaf_score: Array
    leaf_information: Array
    cross: Array
    threads: int = 1


class Pivot(NamedTuple):
    """What eliminating one depth leaves behind: per node its information, pivot, credibility and row."""

    information: Array
    pivot: Array
    credibility: Array
    cross: Array

    def own(self, above: Array | None) -> Array:
        """Return the rows of the nodes' own effects, given those of the paths to their parents, if any."""
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
    near: "Reduced | None" = None  # that whose sums of squares, taken at strengths close by, stand for these

    def serves(self, quadratic: Quadratic) -> "Reduced | None":
        """Return where this one's sums of squares were taken, if they are of one depth and of the same information."""
        same = len(self.pivots) == 1 and self.quadratic.cross is quadratic.cross
        return (self.near or self) if same else None

    @cached_property
    def slope(self) -> Array:
        """Return how the matrix rises with the strength of a tree of one depth: the rows' squares over the pivots'."""
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
        """Return the dense right side of the step from a state, and that of each depth."""
        right = self.quadratic.score - self.penalty * state.dense
        score, sides = self.quadratic.leaf_score, []
        for depth in reversed(range(len(self.pivots))):
            pivot = self.pivots[depth]
            side = score - self.strengths[depth] * state.nodes[depth]
            right = right - pivot.cross.T @ (side / pivot.pivot)
            sides.append(side)
            if depth and self.tree is not None:
                score = self.tree.sums[depth] @ (score - pivot.credibility * side)
        return right, sides[::-1]

    def move(self, state: State) -> State:
        """Return the step to the maximum from a state."""
        from scipy.linalg import cho_solve

        scale, factor = self.factor
        right, sides = self.right_side(state)
        dense = np.asarray(cho_solve((factor, True), right / scale)) / scale
        return State(dense, self.back(dense, sides))

    def back(self, dense: Array, sides: list[Array]) -> tuple[Array, ...]:
        """Return the steps of the tree's nodes for a step of the dense parameters."""
        nodes: list[Array] = []
        path = np.zeros(1)
        for pivot, side, parent in zip(self.pivots, sides, self.tree.parents if self.tree else (), strict=True):
            nodes.append((side - pivot.information * path[parent] - pivot.cross @ dense) / pivot.pivot)
            path = path[parent] + nodes[-1]
        return tuple(nodes)

    def traces(self, covariance: Array) -> list[Array]:
        """Return for each depth the sum of the variances of its effects."""
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

    def paths(self) -> tuple[Array, Array]:
        """Return the rows of the paths down to the last nodes, and the variances of the noise.

        A path is minus its row times the dense parameters plus noise of its own.
        """
        row: Array | None = None
        noise = np.zeros(1)
        for pivot, parent in zip(self.pivots, self.tree.parents if self.tree else (), strict=True):
            above = None if row is None else row[parent]
            row = pivot.own(above) if above is None else pivot.own(above) + above
            noise = (1.0 - pivot.credibility) ** 2 * noise[parent] + 1.0 / pivot.pivot
        return (np.empty((0, len(self.matrix))) if row is None else row), noise


def _trace(square: Array, covariance: Array, noise: Array) -> Array:
    return np.array((square * covariance).sum() + noise.sum())


def forms(rows: Array, matrix: Array, threads: int) -> Array:
    """Return the quadratic form of each row, some rows at a time in cache."""
    found = np.empty(len(rows))

    def form(start: int, stop: int) -> None:
        part = rows[start:stop]
        found[start:stop] = np.einsum("ij,ij->i", part @ matrix, part)

    for _ in in_order(form, chunks(len(rows), SQUARED_ROWS), threads=threads):
        pass
    return found


def squares(rows: Array, weight: Array, threads: int) -> Array:
    """Return the weighted sum of the outer product of each row with itself, some rows at a time in cache."""

    def square(start: int, stop: int) -> Array:
        part = rows[start:stop] * np.sqrt(weight[start:stop])[:, None]
        return np.asarray(part.T @ part)

    total = np.zeros((rows.shape[1], rows.shape[1]))
    for part in in_order(square, chunks(len(rows), SQUARED_ROWS), threads=threads):
        total += part
    return total


def reduce(
    quadratic: Quadratic,
    layout: Layout,
    labels: Mapping[str, SlotNames],
    strengths: Array,
    ridge: float = 0.0,
    *,
    near: Reduced | None = None,
) -> Reduced:
    """Return the quadratic with the penalties of some strengths and the tree eliminated.

    Given the same one at strengths `near` by, the sums over a tree of one depth are taken from there: they change as
    those of the leaves' own information do, which is exact but for how leaves differ beside their information.
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
    for depth in reversed(range(layout.n_tree_groups)):
        pivot = information + strengths[depth]
        matrix -= squares(cross, 1.0 / pivot, quadratic.threads)
        pivots.append(Pivot(information, pivot, information / pivot, cross))
        if depth and tree is not None:
            left = strengths[depth] / pivot
            information, cross = tree.sums[depth] @ (information * left), tree.sums[depth] @ (cross * left[:, None])
    return Reduced(quadratic, tree, matrix, tuple(pivots[::-1]), penalty, strengths, (layout, labels))


def curved(reduced: Reduced, move: State) -> State:
    """Return a step of counts with the leaves' own moves bent to what their means allow.

    Given all else, a leaf with information h, strength s and straight move d has its maximum where h (exp(u) - 1) + s u
    = (h + s) d: thin leaves with claims move less far up than d. Moves down stay as they are.
    """
    if not reduced.pivots:
        return move
    information, d = reduced.pivots[-1].information, move.nodes[-1]
    strength = reduced.strengths[len(reduced.pivots) - 1]
    up = np.maximum(d, 0.0)
    u = np.log1p(up)
    for _ in range(CURVED_STEPS):
        means = information * np.exp(u)
        u -= (means - information + strength * u - (information + strength) * up) / (means + strength)
    return State(move.dense, (*move.nodes[:-1], np.where(d > 0.0, u, d)))


def estimate_strengths(
    quadratic: Quadratic,
    layout: Layout,
    labels: Mapping[str, SlotNames],
    state: State,
    strengths: Array,
    dispersion: float,
    *,
    tolerance: float = STRENGTH_TOLERANCE,
    near: Reduced | None = None,
) -> Reduced:
    """Return the quadratic at the strengths that maximise its restricted likelihood (those given stay).

    The fixed point of Fellner and Schall: variance = sum of squared effects / (rank - penalty * posterior variances),
    mixed over the last steps (Anderson 1965), since by itself it closes in by a fixed share of the way. Of a tree of
    one depth the sums of squares are kept until its strength has moved too far for the tolerance; those of `near`, a
    quadratic of the same information, serve first.
    """
    given = np.array([group.variance is not None for group in layout.groups])
    log = np.log(strengths)
    mixing, least, stalled = _Mixing(), np.inf, 0
    for _ in range(STRENGTH_STEPS):
        if near is not None and abs(log[0] - np.log(near.strengths[0])) > NEAR_REACH:
            near = None
        reduced = reduce(quadratic, layout, labels, np.exp(log), near=near)
        if layout.n_tree_groups == 1 and near is None:
            near = reduced
        target = np.log(dispersion) - np.log(_variances(reduced, layout, state.plus(reduced.move(state))))
        move = np.where(given, 0.0, np.clip(target, *LOG_STRENGTHS) - log)
        largest = float(np.abs(move).max())
        least, stalled = (largest, 0) if largest < 0.5 * least else (least, stalled + 1)
        rounding = stalled >= STALLED_STEPS and largest < STALLED_MOVE
        if rounding or largest < (tolerance if near is None else STRENGTH_TOLERANCE):
            log = log + move
            if near is None or NEAR_ERROR * abs(log[0] - np.log(near.strengths[0])) < tolerance:
                break
            mixing, near, least, stalled = _Mixing(), None, np.inf, 0
            continue
        step = np.where(given, 0.0, mixing.step(log, move))
        log = np.clip(log + np.clip(step, -LARGEST_LOG_STEP, LARGEST_LOG_STEP), *LOG_STRENGTHS)
    return reduce(quadratic, layout, labels, np.exp(log), near=near)


class _Mixing:
    """Anderson mixing: the step whose residual, a combination of those of the last steps, is least."""

    def __init__(self) -> None:
        self.points: list[Array] = []
        self.moves: list[Array] = []

    def step(self, point: Array, move: Array) -> Array:
        """Return the step from a point whose plain step is `move`."""
        self.points, self.moves = [*self.points, point][-MIXED:], [*self.moves, move][-MIXED:]
        if len(self.moves) == 1:
            return move
        moves, points = np.diff(self.moves, axis=0).T, np.diff(self.points, axis=0).T
        share = np.linalg.lstsq(moves, move, rcond=1e-8)[0]
        mixed = move - (points + moves) @ share
        # A step against the plain one, or far beyond it, comes from a history that no longer fits.
        wild = (mixed * move < 0.0) | (np.abs(mixed) > WILD * np.abs(move))
        return np.where(wild, move, mixed)


def _variances(reduced: Reduced, layout: Layout, state: State) -> Array:
    """Return the Fellner-Schall variance of each group at the maximum of a quadratic."""
    traces = [float(trace) for trace in reduced.traces(reduced.covariance)]
    squares = [float(nodes @ nodes) for nodes in state.nodes]
    diagonal = np.diag(reduced.covariance)
    for g in range(layout.n_tree_groups, len(layout.groups)):
        mine = layout.group_of == g
        squares.append(float((layout.weights[mine] * state.dense[mine] ** 2).sum()))
        traces.append(float((layout.weights[mine] * diagonal[mine]).sum()))
    rank = np.array([group.rank for group in layout.groups])
    left = np.maximum(rank - reduced.strengths * np.array(traces), 1e-10 * rank)
    return np.asarray(np.maximum(np.array(squares), 1e-300) / left)


def factorise(matrix: Array, layout: Layout, labels: Mapping[str, SlotNames]) -> tuple[Array, Array]:
    """Return the scale and the Cholesky factor of a matrix scaled to unit diagonal, or raise for aliased levels."""
    from scipy.linalg import LinAlgError, cholesky

    scale = np.sqrt(np.maximum(np.diag(matrix), 0.0))
    if not np.all(scale > 0.0):
        raise FitError(
            f"{layout.level_name(int(np.argmin(scale)), labels)} carries no information; pool it (min_claims=)."
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


class Constraints(NamedTuple):
    """Monotone bands as increments: parameters = basis @ coordinates, some coordinates not below zero."""

    basis: Array
    inverse: Array
    positive: NDArray[np.bool_]


def constraints(layout: Layout) -> Constraints | None:
    """Return the increments of the monotone terms in place of their parameters, or None without such terms."""
    size = layout.n_params
    inverse, positive = np.eye(size), np.zeros(size, dtype=bool)
    for term, start in zip(layout.dense, layout.starts.tolist(), strict=False):
        if term.direction == 0 or len(term.ordered) < 2:
            continue
        steps = term.direction * np.diff(term.design[term.ordered].toarray(), axis=0)
        mine = np.flatnonzero(np.abs(steps).max(axis=0) > 0)
        inverse[start + mine, start + mine] = 0.0
        inverse[np.ix_(start + mine, start + mine)] = steps[:, mine]
        positive[start + mine] = True
    return Constraints(np.asarray(np.linalg.inv(inverse)), inverse, positive) if positive.any() else None


def monotone_move(reduced: Reduced, state: State, monotone: Constraints) -> State:
    """Return the step to the maximum among the states whose bands are in order.

    In increments the problem is a quadratic with some coordinates not below zero; the others are eliminated and what
    is left is non-negative least squares (Lawson and Hanson 1974, chapter 23).
    """
    from scipy.linalg import cholesky, solve_triangular
    from scipy.optimize import nnls

    right, sides = reduced.right_side(state)
    basis, bound = monotone.basis, monotone.positive
    matrix = basis.T @ reduced.matrix @ basis
    linear = basis.T @ (right + reduced.matrix @ state.dense)
    scale = np.sqrt(np.diag(matrix))
    matrix, linear, loose = matrix / np.outer(scale, scale), linear / scale, ~bound
    inner, outer = matrix[np.ix_(loose, loose)], matrix[np.ix_(loose, bound)]
    gain = np.linalg.solve(inner, np.column_stack([outer, linear[loose]]))
    factor = cholesky(matrix[np.ix_(bound, bound)] - outer.T @ gain[:, :-1], lower=True)
    target = solve_triangular(factor, linear[bound] - outer.T @ gain[:, -1], lower=True)
    found = np.zeros(len(linear))
    found[bound] = nnls(factor.T, target, maxiter=30 * int(bound.sum()))[0]
    found[loose] = gain[:, -1] - gain[:, :-1] @ found[bound]
    dense = basis @ (found / scale) - state.dense
    return State(dense, reduced.back(dense, sides))


def covariance_of(reduced: Reduced, state: State, monotone: Constraints | None) -> Array:
    """Return the covariance of the dense parameters; bands that the order holds equal move as one."""
    if monotone is None:
        return reduced.covariance
    increments = monotone.inverse @ state.dense
    held = monotone.positive & (increments <= 1e-9 * (1.0 + np.abs(state.dense).max()))
    basis = monotone.basis[:, ~held]
    return np.asarray(basis @ np.linalg.solve(basis.T @ reduced.matrix @ basis, basis.T))
