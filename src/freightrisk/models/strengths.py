"""The strengths of penalties: dispersion over variance of each group of effects, by restricted likelihood."""

from collections.abc import Mapping

import numpy as np

from freightrisk._types import Array
from freightrisk.models.design import Layout, SlotNames
from freightrisk.models.quadratic import Quadratic, Reduced, State, reduce

LARGEST_STRENGTH = 1e9  # a variance below dispersion / 1e9 is reported as 0
NO_VARIANCE = 0.99  # share of the largest strength from which a variance counts as 0
LOG_STRENGTHS = (np.log(1e-6), np.log(LARGEST_STRENGTH))
LARGEST_LOG_STEP = 5.0
STRENGTH_TOLERANCE = 1e-11
STRENGTH_STEPS = 200
STALLED_STEPS = 10  # if a move has not halved within this many steps, it is rounding error
STALLED_MOVE = 1e-7  # and it must be below this
MIXED = 6  # steps that Anderson mixing combines
WILD = 1e4  # times the plain step; for a variance of almost zero, a plain step goes a thousandth of the way
NEAR_ERROR = 1e-2  # bound on the relative error of a strength, for each unit of log from `near` (5e-4 was measured)
NEAR_REACH = 1.0  # largest distance in log strength from `near`


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
    moving: Quadratic | None = None,
    rounds: int = STRENGTH_STEPS,
    again: bool = True,
) -> Reduced:
    """Return the quadratic at the strengths that maximise its restricted likelihood; given variances are kept.

    Notes
    -----
    The fixed point of Fellner and Schall, variance = sum of squared effects / (rank - penalty * posterior variances)
    (docs/method.md, equation 12). It is accelerated by Anderson mixing, because the plain fixed point converges only
    linearly. For a one-level tree, the leaf sums are rescaled until the strength has moved too far for the tolerance.
    If `near` is given (a reduction with the same information), its leaf sums serve first. If `moving` is given (the
    quadratic with the observed information), it determines the effects, and `quadratic` determines their posterior
    variances alone. The iteration ends after `rounds` rounds at the latest. Without `again`, rescaled sums are not
    checked: the strengths have an error of up to NEAR_ERROR times the log distance that they moved.

    References
    ----------
    Fellner 1986; Schall 1991; Anderson 1965.
    """
    given = np.array([group.variance is not None for group in layout.groups])
    log = np.log(strengths)
    mixing, least, stalled = Mixing(), np.inf, 0
    for _ in range(rounds):
        if near is not None and abs(log[0] - np.log(near.strengths[0])) > NEAR_REACH:
            near = None
        reduced = reduce(quadratic, layout, labels, np.exp(log), near=near)
        if layout.n_tree_groups == 1 and near is None:
            near = reduced
        ahead = (
            reduced if moving is None else reduce(moving, layout, labels, np.exp(log), bounded=state, longest=np.inf)
        )
        target = np.log(dispersion) - np.log(_variances(reduced, layout, state.plus(ahead.move(state))))
        move = np.where(given, 0.0, np.clip(target, *LOG_STRENGTHS) - log)
        largest = float(np.abs(move).max())
        # Near the solution, rounding keeps the moves from getting smaller. A stalled move ends the iteration too.
        least, stalled = (largest, 0) if largest < 0.5 * least else (least, stalled + 1)
        rounding = stalled >= STALLED_STEPS and largest < STALLED_MOVE
        if rounding or largest < tolerance:
            log = log + move
            # Rescaled sums have an error that grows with the distance. If it is too large, sum again and go on.
            if near is None or not again or NEAR_ERROR * abs(log[0] - np.log(near.strengths[0])) < tolerance:
                break
            mixing, near, least, stalled = Mixing(), None, np.inf, 0
            continue
        step = np.where(given, 0.0, mixing.step(log, move))
        log = np.clip(log + np.clip(step, -LARGEST_LOG_STEP, LARGEST_LOG_STEP), *LOG_STRENGTHS)
    return reduce(quadratic, layout, labels, np.exp(log), near=near)


class Mixing:
    """Anderson mixing: the combination of the last `most` steps with the smallest residual."""

    def __init__(self, most: int = MIXED) -> None:
        self.most = most
        self.points: list[Array] = []
        self.moves: list[Array] = []

    def step(self, point: Array, move: Array) -> Array:
        """Return the step from a point whose plain step is `move`."""
        self.points, self.moves = [*self.points, point][-self.most :], [*self.moves, move][-self.most :]
        if len(self.moves) == 1:
            return move
        moves, points = np.diff(self.moves, axis=0).T, np.diff(self.points, axis=0).T
        share = np.linalg.lstsq(moves, move, rcond=1e-8)[0]
        mixed = move - (points + moves) @ share
        # A step against the plain step, or far beyond it, comes from a history that no longer fits.
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
