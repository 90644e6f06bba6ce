"""Between tables and parameters: the tables and means of a state, and gradient and information from a pass's sums."""

from itertools import islice

import numpy as np

from freightrisk._parallel import chunks, in_order
from freightrisk._types import Array
from freightrisk.models.design import Layout, Whole
from freightrisk.models.passes import Problem, Sums
from freightrisk.models.quadratic import Quadratic, Reduced, State

FILLED_ROWS = 2**10


def quadratic_of(layout: Layout, sums: Sums, threads: int = 1) -> Quadratic:
    """Return gradient and information of the dense parameters and of the tree's leaves."""
    tree, sizes, offsets = layout.tree, layout.sizes, layout.offsets
    first = 0 if tree is None else 1
    skipped = sizes[0] if first else 0
    total = sum(sizes) - skipped
    information = sums.information
    full = np.zeros((total + 1, total + 1))
    full[0, 0] = sums.totals[3]
    full[0, 1:] = full[1:, 0] = information[skipped:]
    np.fill_diagonal(full[1:, 1:], information[skipped:])
    for f, rows in islice(enumerate(sizes), first, None):
        for g in range(f + 1, len(sizes)):
            block = sums.pair(f, g)
            at, beside = int(offsets[f]) + 1 - skipped, int(offsets[g]) + 1 - skipped
            full[at : at + rows, beside : beside + sizes[g]] = block
            full[beside : beside + sizes[g], at : at + rows] = block.T
    leaves = _leaves(layout)
    design = layout.design
    gradient, leaf_gradient = gradients_of(layout, sums)
    return Quadratic(
        gradient=gradient,
        matrix=np.asarray(design.T @ (design.T @ full).T),
        leaf_gradient=leaf_gradient,
        leaf_information=information[leaves],
        cross=_cross_of(layout, sums, leaves, threads),
        threads=threads,
    )


def _cross_of(layout: Layout, sums: Sums, leaves: Whole, threads: int) -> Array:
    """Return the information of each leaf beside the dense parameters."""
    cross = np.empty((len(leaves), layout.n_params))
    if not len(leaves):
        return cross
    blocks = [sums.pair(0, g) for g in range(1, len(layout.sizes))]

    def fill(start: int, stop: int) -> None:
        rows = leaves[start:stop]
        cross[start:stop, 0] = sums.information[rows]
        for block, term, at in zip(blocks, layout.dense, layout.starts.tolist(), strict=False):
            mine = block[rows]
            found = mine @ term.design if term.chosen is None else np.take(mine, term.chosen, axis=1)
            cross[start:stop, at : at + term.n_params] = found

    for _ in in_order(fill, chunks(len(leaves), FILLED_ROWS), threads=threads):
        pass
    return cross


def gradients_of(layout: Layout, sums: Sums) -> tuple[Array, Array]:
    """Return the gradient of the dense parameters and of the tree's leaves."""
    skipped = 0 if layout.tree is None else layout.sizes[0]
    return layout.design.T @ np.append(sums.totals[2], sums.gradient[skipped:]), sums.gradient[_leaves(layout)]


def _leaves(layout: Layout) -> Whole:
    return np.empty(0, dtype=np.int64) if layout.tree is None else layout.tree.slots


def tables_of(layout: Layout, state: State) -> tuple[float, Array]:
    """Return the base and the flat tables of a state."""
    dense = layout.design @ state.dense
    if layout.tree is None:
        return float(dense[0]), np.asarray(dense[1:])
    table = np.zeros(layout.sizes[0])
    table[layout.tree.slots] = layout.tree.down(state.nodes)[-1]
    return float(dense[0]), np.concatenate([table, dense[1:]])


def means(problem: Problem, layout: Layout, state: State) -> Array:
    """Return the mean of every row, its multiplier included."""
    base, flat = tables_of(layout, state)
    linear = np.full(problem.n_rows, base)
    for term, at in zip(layout.terms, layout.offsets.tolist(), strict=True):
        linear += flat[at : at + term.n_slots][problem.codes[term.name]]
    np.exp(linear, out=linear)
    return linear * problem.multiplier if len(problem.multiplier) else linear


def effective_parameters(reduced: Reduced, layout: Layout, covariance: Array) -> Array:
    """Return the effective number of parameters of the intercept and of each term."""
    each = np.einsum("ij,ji->i", covariance, reduced.matrix) - np.diag(covariance) * reduced.penalty
    parts = [each[:1].sum()]
    if layout.tree is not None:
        traces = reduced.traces(covariance)
        shrunk = sum(float(s * t) for s, t in zip(reduced.strengths, traces, strict=False))
        parts.append(layout.terms[0].n_params - shrunk)
    parts += [part.sum() for part in np.split(each[1:], layout.starts[1:-1] - 1)] if layout.dense else []
    return np.array(parts)


def dispersion_value(pearson: float, left: float) -> float:
    """Return the Pearson statistic over the residual degrees of freedom, NaN where there are none."""
    return pearson / left if left > 1e-6 else float("nan")
