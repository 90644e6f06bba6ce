"""The penalised objective of a fit: passes over the rows, quadratics with their best strengths, and moves."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from freightrisk._types import Array
from freightrisk.models.design import Layout, SlotNames
from freightrisk.models.families import FAMILIES, Family
from freightrisk.models.information import dispersion_value, effective_parameters, quadratic_of, tables_of
from freightrisk.models.monotone import Constraints, monotone_move
from freightrisk.models.passes import Passes, Problem, Sums
from freightrisk.models.quadratic import LONGEST, Quadratic, Reduced, State, reduce
from freightrisk.models.strengths import STRENGTH_STEPS, estimate_strengths

Pieces: TypeAlias = list[tuple[int, int]] | None

FIRST_VARIANCE = 0.1
MOST_HALVINGS = 30  # of a move


@dataclass(frozen=True)
class Step:
    """One Newton step: rows used, objective before it, largest move, halvings."""

    rows: int
    objective: float
    largest_move: float
    halvings: int


class Run(NamedTuple):
    """The state at which Newton's method ended, with the expected information at this state and the last move.

    `unsettled` is the change of each log strength that the restricted likelihood still asks for. `reduced` is the
    quadratic with penalties of these strengths, where the run has it.
    """

    state: State
    quadratic: Quadratic
    information: Array
    totals: Array
    strengths: Array
    steps: tuple[Step, ...]
    move: State
    converged: bool
    unsettled: tuple[float, ...] = ()
    reduced: Reduced | None = None


@dataclass(frozen=True)
class Objective:
    """The penalised objective of a problem: its passes, its quadratics and its moves.

    Parameters
    ----------
    problem : Problem
    layout : Layout
    labels : mapping of str to SlotNames
    monotone : Constraints or None
    passes : Passes
    pieces : list of (start, stop), optional
        The rows to read; all rows by default.
    ridge : float
        Smallest penalty of every parameter except the base. Above 0, variances are not estimated.
    """

    problem: Problem
    layout: Layout
    labels: Mapping[str, SlotNames]
    monotone: Constraints | None
    passes: Passes
    pieces: Pieces = None
    ridge: float = 0.0

    @property
    def n_rows(self) -> int:
        """Return the number of rows that a pass reads."""
        return self.problem.n_rows if self.pieces is None else sum(stop - start for start, stop in self.pieces)

    @property
    def family(self) -> Family:
        """Return the family of the responses."""
        return FAMILIES[self.problem.family]

    @property
    def estimates_variances(self) -> bool:
        """Return whether the run estimates a variance; a run with a ridge does not."""
        return self.ridge == 0.0 and any(group.variance is None for group in self.layout.groups)

    @property
    def moves_strengths(self) -> bool:
        """Return whether strengths change in the run: estimated variances, or given ones at an estimated dispersion."""
        estimated = self.family.has_dispersion and not self.problem.dispersion
        return self.estimates_variances or (self.ridge == 0.0 and bool(self.layout.groups) and estimated)

    def over(self, state: State, *, observed: bool = False, full: bool = True) -> Sums:
        """Return the sums of a pass at a state."""
        return self.passes.over(*tables_of(self.layout, state), self.pieces, observed=observed, full=full)

    def quadratic(self, sums: Sums) -> Quadratic:
        """Return the quadratic of a full pass."""
        return quadratic_of(self.layout, sums, self.passes.threads)

    def reduced(
        self,
        quadratic: Quadratic,
        strengths: Array,
        *,
        near: Reduced | None = None,
        bounded: State | None = None,
        longest: float = LONGEST,
    ) -> Reduced:
        """Return a quadratic with penalties of the given strengths; see `reduce`."""
        return reduce(
            quadratic, self.layout, self.labels, strengths, self.ridge, near=near, bounded=bounded, longest=longest
        )

    def first_strengths(self) -> Array:
        """Return the strengths to start from: of the given variances, or of FIRST_VARIANCE."""
        return np.array([1.0 / (group.variance or FIRST_VARIANCE) for group in self.layout.groups])

    def at_best(
        self,
        quadratic: Quadratic,
        state: State,
        totals: Array,
        strengths: Array,
        tolerance: float,
        *,
        near: Reduced | None = None,
        moving: Quadratic | None = None,
        rounds: int = STRENGTH_STEPS,
        again: bool = True,
    ) -> Reduced:
        """Return the quadratic at the strengths that are best for it (equation 12).

        The strengths need not be more exact than the quadratic, whose error is the square of the previous move.
        """
        dispersion = self.dispersion_at(quadratic, totals, strengths)
        given = np.array([dispersion / (group.variance or 1.0) for group in self.layout.groups])
        free = np.array([group.variance is None for group in self.layout.groups])
        start = np.where(free, strengths, given)
        return estimate_strengths(
            quadratic, self.layout, self.labels, state, start, dispersion, tolerance=tolerance, near=near,
            moving=moving, rounds=rounds, again=again,
        )  # fmt: skip

    def dispersion_at(self, quadratic: Quadratic, totals: Array, strengths: Array) -> float:
        """Return the dispersion that strengths are multiples of: 1 for a family without one."""
        if self.problem.dispersion:
            return self.problem.dispersion
        if not self.family.has_dispersion:
            return 1.0
        reduced = reduce(quadratic, self.layout, self.labels, strengths)
        edf = float(effective_parameters(reduced, self.layout, reduced.covariance).sum())
        return float(np.fmax(dispersion_value(float(totals[1]), self.problem.n_rows - edf), 1e-12))

    def move(self, reduced: Reduced, state: State) -> State:
        """Return the move to the maximum of a quadratic, among monotone states if some bands must be monotone."""
        return reduced.move(state) if self.monotone is None else monotone_move(reduced, state, self.monotone)

    def largest(self, move: State) -> float:
        """Return the largest change of the base or of a log relativity."""
        base, tables = tables_of(self.layout, move)
        return max(abs(base), float(np.abs(tables).max(initial=0.0)))

    def penalised(self, sums: Sums, state: State, strengths: Array) -> float:
        """Return the objective less half the penalty (equation 9), or minus infinity if it is not finite.

        Minus infinity makes the caller halve the move.
        """
        penalty = self.layout.penalty(strengths)
        penalty[1:] += self.ridge
        cost = float(penalty @ state.dense**2)
        cost += sum(float(max(s, self.ridge) * (u @ u)) for s, u in zip(strengths, state.nodes, strict=False))
        objective = float(sums.totals[0]) - 0.5 * cost
        return objective if np.isfinite(objective) else -np.inf

    def rises(self, before: float, after: float) -> bool:
        """Return whether the objective rises or stays the same.

        The tolerance is needed because near the maximum, the objective changes by less than its rounding error.
        """
        return after >= before - 1e-9 * (1.0 + abs(before))
