"""Encoded orders, the input of the kernel, and the arrays and frames of its quotes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _blocks, _check, _settle
from freightrisk._columns import JoinedColumns
from freightrisk._frames import frame_like
from freightrisk._progress import progress_bar
from freightrisk._types import Array
from freightrisk.errors import InputError

DAMAGED = "coded orders are damaged: their columns have wrong lengths, types or codes; encode the orders again."
NO_DRAWS: NDArray[np.uint16] = np.empty(0, dtype=np.uint16)
NOTHING_BESIDE: NDArray[np.int64] = np.empty(0, dtype=np.int64)
NO_SUMS: Array = np.empty((0, 0))
DETAIL = ("claim_intensity", "expected_claims", "expected_payout", "pure_premium", "technical_premium")


@dataclass(frozen=True, eq=False)
class CodedOrders:
    """Orders as code columns of one tariff, ready to be priced any number of times.

    They can be pickled, so that worker processes can price orders that were encoded once. Construction proves that
    codes, positions and merchants lie within their tables; unpickling proves it again. The arrays are read-only.

    Parameters
    ----------
    columns : CodeColumns
    n_orders : int
    index : pandas Index or None
        The caller's index.
    kind : {"pandas", "polars", "arrow"}
        Kind of frame to return.
    key : str
        A hash of the meaning of the codes; a tariff with the same key can price the orders.
    draws : uint16 array, shape (n_orders,) or empty
        Draws of dithered rounding, 0 to 9,999.
    sequence : OrderSequence or None
        The sequence in which the orders are served, if a budget, a merchant cap or carried rounding needs one.
    measures : float64 array, shape (n_measures, n_orders), yuan
        Amounts of the orders that the tariff reads.
    """

    columns: _blocks.CodeColumns = field(repr=False)
    n_orders: int
    index: Any = field(repr=False)
    kind: str
    key: str = field(repr=False)
    draws: NDArray[np.uint16] = field(default_factory=lambda: np.empty(0, dtype=np.uint16), repr=False)
    sequence: Any = field(default=None, repr=False)
    measures: Array = field(default_factory=lambda: np.empty((0, 0)), repr=False)

    def __post_init__(self) -> None:
        n, draws, measures = self.n_orders, self.draws, self.measures
        whole = self.columns.rows == n and draws.dtype == np.uint16 and draws.shape in ((0,), (n,))
        whole = whole and measures.dtype == np.float64 and measures.ndim == 2 and measures.flags.c_contiguous
        whole = whole and (measures.shape[0] == 0 or measures.shape[1] == n) and bool(np.all(measures >= 0.0))
        if not whole or (self.sequence is not None and not _is_in_range(self.sequence, n)):
            raise InputError(DAMAGED)
        kept = [] if self.sequence is None else [self.sequence.permutation, self.sequence.merchants, self.sequence.keys]
        for array in (draws, measures, *kept):
            array.flags.writeable = False

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the call that unpickles these orders, which proves again everything that the kernel relies on."""
        columns = self.columns
        arrays = [np.asarray(array) for array in columns.arrays]
        rest = (self.n_orders, self.index, self.kind, self.key, self.draws, self.sequence, np.asarray(self.measures))
        return coded_again, (arrays, columns.sizes, *rest)

    def check(self, key: str, sizes: Sequence[int], *, draws: bool, in_sequence: bool, measures: int = 0) -> None:
        """Raise unless a tariff with this key, these tables and these needs can price the orders."""
        if (
            self.key != key
            or self.columns.sizes != tuple(sizes)
            or len(self.draws) != (self.n_orders if draws else 0)
            or (self.sequence is not None) != in_sequence
            or len(self.measures) != measures
        ):
            raise InputError(
                "orders were encoded for a tariff with other levels, rules, rounding or budgets; encode them with this "
                "tariff."
            )


def coded_again(
    arrays: list[NDArray[Any]],
    sizes: Sequence[int],
    n_orders: int,
    index: Any,
    kind: str,
    key: str,
    draws: NDArray[np.uint16],
    sequence: Any,
    measures: Array,
) -> CodedOrders:
    """Return coded orders from a pickle, or raise if the kernel could read outside its arrays."""
    if len(arrays) != len(sizes) or any(array.ndim != 1 for array in arrays):
        raise InputError(DAMAGED)
    columns = _blocks.CodeColumns([], np.empty(0, np.int64), n_orders)
    if arrays:
        named = {f"column {k}": array for k, array in enumerate(arrays)}
        columns = _check.code_columns(named, dict(zip(named, sizes, strict=True)))
    return CodedOrders(columns, n_orders, index, kind, key, draws, sequence, measures)


def _is_in_range(sequence: Any, n_orders: int) -> bool:
    """Return whether positions, merchants and periods of a sequence lie within their arrays."""
    lengths = ((0,), (n_orders,))
    periods = [len(labels) for labels in sequence.labels.values()]
    return (
        sequence.permutation.shape in lengths
        and sequence.merchants.shape in lengths
        and sequence.keys.shape == (len(periods), n_orders)
        and _are_below(sequence.permutation, n_orders, low=0)
        # Each position occurs once: an order settled twice would be paid twice.
        and (not len(sequence.permutation) or bool(np.all(np.bincount(sequence.permutation, minlength=n_orders) == 1)))
        and _are_below(sequence.merchants, len(sequence.names), low=0)
        and all(_are_below(keys, size, low=-1) for keys, size in zip(sequence.keys, periods, strict=True))
    )


def _are_below(codes: NDArray[Any], size: int, *, low: int) -> bool:
    return codes.dtype.kind == "i" and bool(codes.min(initial=low) >= low and codes.max(initial=low) < max(size, 1))


@dataclass(frozen=True, eq=False, repr=False)
class QuoteBuffers:
    """Arrays for the quotes of a batch of orders; made by `Tariff.buffers`.

    Parameters
    ----------
    steps : float64 array, shape (5, n_orders), or (0, n_orders) without detail
    list_fen, merchant_fen : int32 arrays, shape (n_orders,)
    payers : int32 array, shape (n_payers, n_orders)
    flags : uint8 array, shape (n_orders,)
    hits : bool array, shape (n_flags, n_orders)
        The bits of `flags`, one row for each flag.
    micro : int64 array, shape (n_orders,) or empty
        Filed premium before rounding, micro-yuan.
    rounded : int32 array, shape (n_orders,) or empty
        Rounded premium before the floor, fen.
    masks : uint64 array, shape (n_orders,) or empty
        A bit for each rule; 1 if the order is eligible for the rule.
    paid : int32 array, shape (n_rules, n_orders) or empty
        Payment of each rule, fen.
    """

    steps: Array
    list_fen: NDArray[np.int32]
    payers: NDArray[np.int32]
    merchant_fen: NDArray[np.int32]
    flags: NDArray[np.uint8]
    hits: NDArray[np.bool_]
    micro: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    rounded: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, dtype=np.int32))
    masks: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    paid: NDArray[np.int32] = field(default_factory=lambda: np.empty((0, 0), dtype=np.int32))

    def __repr__(self) -> str:
        return f"QuoteBuffers for {self.list_fen.shape[0]:,} orders"

    @property
    def outputs(self) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.uint8]]:
        """Return list_fen, payers, merchant_fen and flags, the outputs of settling."""
        return self.list_fen, self.payers, self.merchant_fen, self.flags

    def money(
        self, draws: NDArray[np.uint16], beside: NDArray[np.int64] = NOTHING_BESIDE, sums: Array = NO_SUMS
    ) -> _settle.MoneyColumns:
        """Return the kernel's money columns that are not part of the quote.

        `beside` is what other covers add, and `sums` are the sums of pure and technical premiums.
        """
        return _settle.MoneyColumns(draws, self.micro, self.rounded, self.masks, self.paid, beside, sums)

    def rows(self, permutation: NDArray[np.int64]) -> "QuoteBuffers":
        """Return buffers with the rows in another sequence; the inputs of settling are copied, its outputs are new."""
        return replace(
            self,
            list_fen=np.empty(len(permutation), dtype=np.int32),
            payers=np.empty((len(self.payers), len(permutation)), dtype=np.int32),
            merchant_fen=np.empty(len(permutation), dtype=np.int32),
            flags=self.flags[permutation],
            rounded=self.rounded[permutation],
            masks=self.masks[permutation],
            paid=np.empty((len(self.paid), len(permutation)), dtype=np.int32),
        )

    def put(self, permutation: NDArray[np.int64], settled: "QuoteBuffers") -> None:
        """Write back rows that were settled in another sequence."""
        self.list_fen[permutation], self.merchant_fen[permutation] = settled.list_fen, settled.merchant_fen
        self.payers[:, permutation], self.flags[permutation] = settled.payers, settled.flags
        if len(self.paid):
            self.paid[:, permutation] = settled.paid

    def spread_flags(self, start: int, stop: int) -> None:
        """Write each bit of the flags of some rows to a column of its own."""
        _settle.spread_flags(self.flags, start, stop, self.hits.view(np.uint8))

    def check(
        self,
        n_orders: int,
        n_payers: int,
        n_rules: int,
        *,
        n_flags: int,
        detail: bool,
        settles: bool,
        carries: bool,
        campaigns: bool,
    ) -> None:
        """Raise unless the arrays can hold the quotes of `n_orders` orders under a tariff."""
        room = np.size(self.list_fen)
        if room < n_orders:
            raise InputError(
                f"buffers hold {room:,} orders, fewer than the {n_orders:,} to price; make larger buffers with "
                f"buffers({n_orders})."
            )
        # The type and the allowed shapes of each array.
        needed: dict[str, tuple[type, list[tuple[int, ...]]]] = {
            "steps": (np.float64, [(len(DETAIL), room), *([] if detail else [(0, room), (0, 0)])]),
            "list_fen": (np.int32, [(room,)]),
            "payers": (np.int32, [(n_payers, room)]),
            "merchant_fen": (np.int32, [(room,)]),
            "flags": (np.uint8, [(room,)]),
            "hits": (np.bool_, [(n_flags, room)]),
            "micro": (np.int64, [(room,), *([] if carries else [(0,)])]),
            "rounded": (np.int32, [(room,), *([] if settles else [(0,)])]),
            "masks": (np.uint64, [(room,), *([] if settles else [(0,)])]),
            "paid": (np.int32, [(n_rules, room), *([] if campaigns else [(0, 0)])]),
        }
        for name, (kind, shapes) in needed.items():
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype != kind or array.shape not in shapes:
                raise InputError(
                    f"buffers have {name} of another type or shape than this tariff writes: they were made by a tariff "
                    "with other payers, rules or rounding, or without detail or campaigns; make new ones."
                )
            if not (array.flags.c_contiguous and array.flags.writeable):
                raise InputError(f"{name} of buffers is read-only or not contiguous; make new ones.")
        # The kernel would overwrite one output with another.
        for one, other in combinations(needed, 2):
            if np.may_share_memory(getattr(self, one), getattr(self, other)):
                raise InputError(f"{one} and {other} of buffers share memory; make new ones.")


def quote_names(payers: Sequence[str], flags: Sequence[str]) -> tuple[str, ...]:
    """Return the names of a quote's columns under a tariff with these payers of subsidies and these flags."""
    return (*DETAIL, "list_fen", *(f"{payer}_fen" for payer in payers), "merchant_fen", *flags)


def index_of(joined: JoinedColumns) -> Any:
    """Return the caller's index, None if the frame has none."""
    return getattr(joined.orders.frame, "index", None)


def frame_of(columns: Mapping[str, NDArray[Any]], coded: CodedOrders) -> Any:
    """Return quotes as the caller's kind of frame."""
    return frame_like(columns, coded.kind, coded.index)


def with_progress(done: Any, n_orders: int) -> Any:
    """Yield the elements of `done`, numbers of priced orders, and show them in a progress bar."""
    with progress_bar(n_orders, "pricing") as bar:
        for priced in done:
            bar.update(priced)
            yield priced
