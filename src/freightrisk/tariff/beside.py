"""Covers beside the first one of a programme: their filed premiums, which the first one adds to its own."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from freightrisk import _core, _plan, _settle
from freightrisk._reference import LARGEST_FILED as LARGEST_FILED  # for programmes too
from freightrisk._types import Array
from freightrisk.errors import InputError
from freightrisk.tariff.quotes import DETAIL, NO_DRAWS, NOTHING_BESIDE, CodedOrders

SUMMED = ("pure_premium", "technical_premium")
NO_FEN: NDArray[np.int32] = np.empty(0, dtype=np.int32)
NO_PAID: NDArray[np.int32] = np.empty((0, 0), dtype=np.int32)
NO_MASKS: NDArray[np.uint64] = np.empty(0, dtype=np.uint64)


@dataclass(frozen=True, eq=False)
class CoverBuffers:
    """Arrays for the premiums of covers beside the first.

    Parameters
    ----------
    premium : int64 array, shape (n_orders,), micro-yuan
        Sum of the filed premiums.
    steps : list of float64 arrays, shape (5, n_orders), or (0, 0) without detail
        The steps of each cover's premium.
    flags : list of uint8 arrays, shape (n_orders,)
    unused : int32 array, shape (n_orders,)
        The kernel wants a list price, which covers do not have.
    sums : float64 array, shape (2, n_orders), or (0, 0) without detail
        Pure and technical premium of all covers, yuan.
    """

    premium: NDArray[np.int64]
    steps: list[Array]
    flags: list[NDArray[np.uint8]]
    unused: NDArray[np.int32]
    sums: Array

    @classmethod
    def of(cls, n_covers: int, n_orders: int, *, detail: bool) -> "CoverBuffers":
        """Return new arrays."""
        return cls(
            np.empty(n_orders, dtype=np.int64),
            [np.empty((len(DETAIL), n_orders) if detail else (0, 0)) for _ in range(n_covers)],
            [np.empty(n_orders, dtype=np.uint8) for _ in range(n_covers)],
            np.empty(n_orders, dtype=np.int32),
            np.empty((len(SUMMED), n_orders) if detail else (0, 0)),
        )

    def begin(self, micro: NDArray[np.int64]) -> None:
        """Let the sums begin with amounts of micro-yuan."""
        self.premium[: len(micro)] = micro
        self.sums[:] = 0.0

    def check(self, n_covers: int, n_orders: int, *, detail: bool) -> None:
        """Raise unless the arrays can hold the premiums of this many covers and orders."""
        room = len(self.premium)
        steps = {(len(DETAIL), room), *([] if detail else [(0, 0)])}
        whole = room >= n_orders and len(self.steps) == len(self.flags) == n_covers
        whole = whole and all(one.shape in steps for one in self.steps) and len(self.unused) == room
        whole = whole and self.sums.shape in {(len(SUMMED), room), *([] if detail else [(0, 0)])}
        if not whole or any(len(one) != room for one in self.flags):
            raise InputError("buffers were made for other covers, fewer orders or without detail; make new ones.")


@dataclass(frozen=True, eq=False)
class CoversBeside:
    """Covers beside the first, with the codes of the orders.

    Parameters
    ----------
    plans : sequence of PricePlan
        Plans that carry their rounding, so that the kernel stops at the filed premium.
    coded : sequence of CodedOrders
    buffers : CoverBuffers
    is_begun : bool
        Whether the sums in the buffers begin with something already (`CoverBuffers.begin`).
    """

    plans: Sequence[_plan.PricePlan]
    coded: Sequence[CodedOrders]
    buffers: CoverBuffers
    is_begun: bool = False

    @property
    def premium(self) -> NDArray[np.int64]:
        """Return the sum of the filed premiums in micro-yuan, of the rows that were priced."""
        return self.buffers.premium

    def price(self, start: int, stop: int) -> None:
        """Price rows [start, stop); each cover adds its filed premium to that of the covers before it."""
        buffers, premium = self.buffers, self.buffers.premium
        for k, (plan, coded) in enumerate(zip(self.plans, self.coded, strict=True)):
            before = premium if k or self.is_begun else NOTHING_BESIDE
            money = _settle.MoneyColumns(NO_DRAWS, premium, NO_FEN, NO_MASKS, NO_PAID, before, buffers.sums)
            _core.price(
                coded.columns, plan, start, stop, buffers.steps[k], buffers.unused, NO_PAID,
                buffers.unused, buffers.flags[k], money, measures=coded.measures,
            )  # fmt: skip

    def add_flags(self, flags: NDArray[np.uint8], start: int, stop: int) -> None:
        """Add the flags of rows [start, stop) to those of the first cover."""
        for mine in self.buffers.flags:
            flags[start:stop] |= mine[start:stop]
