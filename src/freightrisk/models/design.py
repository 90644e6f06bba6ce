"""Terms of a table model: the parameters behind each table, their penalties, their nesting and their positions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from freightrisk._types import Array

Whole: TypeAlias = NDArray[np.int64]
Matrix: TypeAlias = Any  # a scipy.sparse array


def _none() -> Whole:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Tree:
    """Nested effects: the slot of each leaf, and the parent of each node in the depth above.

    A leaf is a node of the last depth. The parent of all nodes of the first depth is 0, the root. The root has no
    effect of its own.
    """

    slots: Whole
    parents: tuple[Whole, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Return the number of nodes of each depth."""
        return tuple(map(len, self.parents))

    @cached_property
    def sums(self) -> tuple[Matrix, ...]:
        """Return for each depth the matrix that adds up its nodes by parent."""
        from scipy.sparse import csr_array

        above = (1, *self.sizes[:-1])
        return tuple(
            csr_array((np.ones(len(parent)), (parent, np.arange(len(parent)))), shape=(rows, len(parent)))
            for parent, rows in zip(self.parents, above, strict=True)
        )

    def ancestors(self) -> list[Whole]:
        """Return for each depth the node above each leaf; for the last depth, the leaf itself."""
        at = [np.arange(len(self.slots))]
        for parent in self.parents[:0:-1]:
            at.append(parent[at[-1]])
        return at[::-1]

    def down(self, effects: Sequence[Array]) -> list[Array]:
        """Return for each depth the sum of the effects from the top down to each node."""
        paths: list[Array] = []
        for parent, effect in zip(self.parents, effects, strict=True):
            paths.append(effect + (paths[-1][parent] if paths else 0.0))
        return paths


@dataclass(frozen=True, eq=False)
class Term:
    """One table: its slots are a linear function of parameters, some of which are penalised.

    Parameters
    ----------
    name, kind : str
    n_slots : int
    design : sparse array, shape (n_slots, n_params)
    weights : float64 array, shape (n_params,)
        Eigenvalue of the penalty of each parameter; 0 for a free parameter.
    groups : int64 array, shape (n_params,)
        Index into `variances` of each penalised parameter; -1 for a free parameter.
    variances : tuple of float or None
        Variance of each penalised group; None if it is to be estimated.
    ordered : int64 array
        Slots of the bands in ascending order.
    direction : int
        1 if the table must not fall from band to band, -1 if it must not rise, 0 if it is free.
    centred : bool
        Whether the relativities are reported with exposure-weighted mean 1.
    reference : int
        Slot that is held at 0, or -1 if there is none.
    tree : Tree, optional
        The same parameters as nested effects.
    """

    name: str
    kind: str
    n_slots: int
    design: Matrix
    weights: Array
    groups: Whole
    variances: tuple[float | None, ...] = ()
    ordered: Whole = field(default_factory=_none)
    direction: int = 0
    centred: bool = False
    reference: int = -1
    tree: Tree | None = None

    @property
    def n_params(self) -> int:
        """Return the number of parameters."""
        return len(self.weights)

    @cached_property
    def chosen(self) -> Whole | None:
        """Return the slot of each parameter, or None unless every parameter is the value of one slot."""
        columns = self.design.tocsc()
        one = len(columns.data) == self.n_params and bool(np.all(np.diff(columns.indptr) == 1))
        return columns.indices.astype(np.int64) if one and bool(np.all(columns.data == 1.0)) else None

    @property
    def estimated(self) -> NDArray[np.bool_]:
        """Return for each slot whether the term determines it."""
        found = np.diff(self.design.indptr) > 0
        if self.reference >= 0:
            found[self.reference] = True
        return np.asarray(found)


def free_term(
    name: str, present: NDArray[np.bool_], reference: int, *, ordered: Whole | None = None, direction: int = 0
) -> Term:
    """Return a term with one parameter for each present slot except the reference."""
    chosen = present.copy()
    chosen[reference] = False
    slots = np.flatnonzero(chosen)
    bands = _none() if ordered is None else ordered[present[ordered]]
    return Term(
        name, "free", len(present), _selection(slots, len(present)), np.zeros(len(slots)), np.full(len(slots), -1),
        ordered=bands, direction=direction, reference=reference,
    )  # fmt: skip


def smooth_term(
    name: str,
    present: NDArray[np.bool_],
    bands: Whole,
    reference: int,
    *,
    order: int,
    variance: float | None,
    direction: int,
) -> Term:
    """Return a term with penalised differences between bands, in the eigenvectors of the penalty.

    The reference band is held at 0 during the fit. Present slots that are no bands (missing values) are free.
    """
    from scipy.linalg import block_diag
    from scipy.sparse import csr_array

    order = min(order, len(bands) - 1)
    others = np.flatnonzero(present & ~np.isin(np.arange(len(present)), bands))
    moved = bands[bands != reference]
    # In the eigenvectors the penalty is diagonal, so its parameters are shrunk like the effects of a tree.
    differences = np.diff(np.eye(len(bands)), n=order, axis=0)[:, bands != reference] if order else np.zeros((0, 0))
    values, vectors = np.linalg.eigh(differences.T @ differences)
    # Polynomials below the order of the differences have no penalty. The reference fixes the constant one.
    penalised = np.arange(len(values)) >= order - 1
    weights = np.concatenate([np.where(penalised, values, 0.0), np.zeros(len(others))])
    inner = block_diag(vectors, np.eye(len(others)))
    design = csr_array(_selection(np.concatenate([moved, others]), len(present)) @ inner)
    return Term(
        name, "smooth", len(present), design, weights, np.where(weights > 0, 0, -1),
        variances=(variance,) if weights.any() else (), ordered=bands, direction=direction, centred=True,
        reference=reference,
    )  # fmt: skip


def nested_term(
    name: str,
    kind: str,
    n_slots: int,
    tree: Tree,
    variances: Sequence[float | None],
    *,
    centred: bool,
) -> Term:
    """Return a term of nested effects."""
    from scipy.sparse import csr_array

    starts = np.cumsum([0, *tree.sizes])
    columns = np.stack([start + at for start, at in zip(starts[:-1], tree.ancestors(), strict=True)], axis=1)
    rows = np.repeat(tree.slots, columns.shape[1])
    design = csr_array((np.ones(columns.size), (rows, columns.ravel())), shape=(n_slots, int(starts[-1])))
    groups = np.repeat(np.arange(len(tree.sizes)), tree.sizes)
    return Term(
        name, kind, n_slots, design, np.ones(int(starts[-1])), groups, variances=tuple(variances), centred=centred,
        tree=tree,
    )  # fmt: skip


def nested(slots: Whole, paths: Sequence[tuple[Any, ...]], depth: int, filler: Any) -> tuple[Tree, list[list[Any]]]:
    """Return the tree of the given paths, padded to `depth` parts, and the nodes of each depth as paths."""
    padded = [path + (filler,) * (depth - len(path)) for path in paths]
    nodes: list[list[Any]] = [[()]]
    parents: list[Whole] = []
    for k in range(1, depth + 1):
        found = list(dict.fromkeys(path[:k] for path in padded)) if k < depth else padded
        above = {path: at for at, path in enumerate(nodes[-1])}
        parents.append(np.array([above[path[: k - 1]] for path in found], dtype=np.int64))
        nodes.append(found)
    return Tree(slots, tuple(parents)), nodes[1:]


def _selection(slots: Whole, n_slots: int) -> Matrix:
    from scipy.sparse import csr_array

    return csr_array((np.ones(len(slots)), (slots, np.arange(len(slots)))), shape=(n_slots, len(slots)))


class SlotNames(Protocol):
    """The names of a table's slots."""

    def __getitem__(self, code: int, /) -> str:
        """Return the name of a slot."""


class Group(NamedTuple):
    """One variance of the model: its term, its depth in the term, its value if given, and its number of effects."""

    term: str
    depth: int
    variance: float | None
    rank: int


@dataclass(frozen=True, eq=False)
class Layout:
    """The position of each term: its table in the flat tables, and its parameters after the intercept, parameter 0.

    The largest tree, if there is one, comes first. Its nodes are eliminated and never enter the dense equations. This
    is possible because, given the other parameters, the information of its nodes is diagonal, depth by depth.
    """

    terms: tuple[Term, ...]

    def __post_init__(self) -> None:
        trees = [term for term in self.terms if term.tree is not None]
        if trees:
            large = max(trees, key=lambda term: term.n_params)
            object.__setattr__(self, "terms", (large, *(term for term in self.terms if term is not large)))

    @property
    def tree(self) -> Tree | None:
        """Return the nested effects that are eliminated, or None."""
        return self.terms[0].tree if self.terms else None

    @property
    def dense(self) -> tuple[Term, ...]:
        """Return the terms of the dense equations."""
        return self.terms if self.tree is None else self.terms[1:]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the terms."""
        return tuple(term.name for term in self.terms)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Return the number of slots of each term."""
        return tuple(term.n_slots for term in self.terms)

    @cached_property
    def offsets(self) -> Whole:
        """Return where each term's table starts."""
        return np.cumsum([0, *self.sizes])[:-1].astype(np.int64)

    @property
    def n_pairs(self) -> int:
        """Return the number of cells of all tables by pairs of levels."""
        total = sum(self.sizes)
        return (total * total - sum(size * size for size in self.sizes)) // 2

    @cached_property
    def starts(self) -> Whole:
        """Return the first dense parameter of each dense term, and after them the number of dense parameters."""
        return np.cumsum([1, *(term.n_params for term in self.dense)]).astype(np.int64)

    @property
    def n_params(self) -> int:
        """Return the number of dense parameters, including the intercept."""
        return int(self.starts[-1])

    @cached_property
    def design(self) -> Matrix:
        """Return the matrix from the dense parameters to the intercept and the dense slots."""
        from scipy.sparse import block_array, csr_array

        blocks = [csr_array(np.ones((1, 1))), *(term.design for term in self.dense)]
        grid = [[block if row == column else None for column in range(len(blocks))] for row, block in enumerate(blocks)]
        return csr_array(block_array(grid))

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Return every variance of the model, starting with the eliminated tree."""
        return tuple(
            Group(term.name, depth, value, int(((term.groups == depth) & (term.weights > 0)).sum()))
            for term in self.terms
            for depth, value in enumerate(term.variances)
        )

    @property
    def n_tree_groups(self) -> int:
        """Return the number of depths of the eliminated tree."""
        return len(self.terms[0].variances) if self.tree is not None else 0

    @cached_property
    def weights(self) -> Array:
        """Return the penalty weight of each dense parameter."""
        return np.concatenate([[0.0], *(term.weights for term in self.dense)])

    @cached_property
    def group_of(self) -> Whole:
        """Return the group of each dense parameter; -1 for a free parameter."""
        parts, at = [np.array([-1])], self.n_tree_groups
        for term in self.dense:
            parts.append(np.where(term.groups >= 0, term.groups + at, -1))
            at += len(term.variances)
        return np.concatenate(parts)

    def penalty(self, strengths: Array) -> Array:
        """Return the penalty of each dense parameter, given the strength of each group."""
        # A strength is kappa = phi / sigma^2 of docs/method.md, equation 9.
        return np.asarray(self.weights * np.where(self.group_of >= 0, np.append(strengths, 0.0)[self.group_of], 0.0))

    def with_variances(self, variances: Array) -> "Layout":
        """Return the layout with given variances in place of all others."""
        values = iter(variances.tolist())
        return Layout(
            tuple(replace(term, variances=tuple(next(values) for _ in term.variances)) for term in self.terms)
        )

    def slot_name(self, base: float, tables: Array, labels: Mapping[str, SlotNames]) -> str:
        """Return the name of the level that moves most, given the moves of the base and of the flat tables."""
        if not len(tables) or abs(base) >= np.abs(tables).max():
            return "the base"
        slot = int(np.argmax(np.abs(tables)))
        t = int(np.searchsorted(self.offsets, slot, side="right")) - 1
        return f"factor '{self.names[t]}', level '{labels[self.names[t]][slot - int(self.offsets[t])]}'"

    def level_name(self, parameter: int, labels: Mapping[str, SlotNames]) -> str:
        """Return "factor 'f', level 'l'" for a dense parameter."""
        if parameter == 0:
            return "the base"
        t = int(np.searchsorted(self.starts, parameter, side="right")) - 1
        term = self.dense[t]
        if term.kind == "smooth":  # a parameter is an eigenvector over all bands
            return f"the curve of factor '{term.name}'"
        column = term.design[:, [parameter - int(self.starts[t])]]
        return f"factor '{term.name}', level '{labels[term.name][int(column.nonzero()[0][0])]}'"
