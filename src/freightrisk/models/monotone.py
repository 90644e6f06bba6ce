"""Monotone bands: the step of a quadratic among states whose bands do not fall (or do not rise)."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from freightrisk._types import Array
from freightrisk.models.design import Layout
from freightrisk.models.quadratic import Reduced, State


class Constraints(NamedTuple):
    """Monotone bands as increments: parameters = basis @ coordinates, with the `positive` coordinates at least 0."""

    basis: Array
    inverse: Array
    positive: NDArray[np.bool_]


def constraints(layout: Layout) -> Constraints | None:
    """Return the increments that replace the parameters of monotone terms, or None if no term is monotone."""
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
    """Return the step from a state to the maximum among states with monotone bands.

    In increments, the problem is a quadratic in which some coordinates must be at least zero. The other coordinates are
    eliminated. The remaining problem is non-negative least squares (Lawson and Hanson 1974, chapter 23).
    """
    from scipy.linalg import cholesky, solve_triangular
    from scipy.optimize import nnls

    _ = reduced.factor  # raises for a level that others determine, and names it
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


def _held(state: State, monotone: Constraints) -> NDArray[np.bool_]:
    """Return the increments that the monotone constraint holds at 0."""
    increments = monotone.inverse @ state.dense
    return np.asarray(monotone.positive & (increments <= 1e-9 * (1.0 + np.abs(state.dense).max())))


def on_face(seen: Reduced, expected: Reduced, state: State, monotone: Constraints) -> Array:
    """Return the matrix of a quadratic with the curvature of held increments taken from the expected information.

    The observed information may be negative in the direction of an increment that is held at 0. Such a direction says
    nothing about the maximum. The curvature that the free parameters leave to it is that of the expected information.
    If the free parameters themselves have a negative curvature, the matrix is returned as it is.
    """
    held = _held(state, monotone)
    matrix, other = (monotone.basis.T @ one.matrix @ monotone.basis for one in (seen, expected))
    free = ~held
    if not held.any() or not np.linalg.eigvalsh(matrix[np.ix_(free, free)])[0] > 0.0:
        return seen.matrix
    left = other[np.ix_(held, held)] - _absorbed(other, free, held)
    matrix[np.ix_(held, held)] = _absorbed(matrix, free, held) + left
    return np.asarray(monotone.inverse.T @ matrix @ monotone.inverse)


def _absorbed(matrix: Array, free: NDArray[np.bool_], held: NDArray[np.bool_]) -> Array:
    """Return the information of held increments that the free parameters absorb."""
    beside = matrix[np.ix_(free, held)]
    return np.asarray(beside.T @ np.linalg.solve(matrix[np.ix_(free, free)], beside))


def covariance_of(reduced: Reduced, state: State, monotone: Constraints | None) -> Array:
    """Return the covariance of the dense parameters; bands that the monotone constraint holds equal move together."""
    if monotone is None:
        return reduced.covariance
    basis = monotone.basis[:, ~_held(state, monotone)]
    return np.asarray(basis @ np.linalg.solve(basis.T @ reduced.matrix @ basis, basis.T))
