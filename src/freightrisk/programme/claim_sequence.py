"""Claims in their fixed sequence: which are paid, under the number of claims of an order and the aggregate limit."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from freightrisk.programme.fen import Whole
from freightrisk.tariff.rounding import whole_sums

Bools = NDArray[np.bool_]
NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, eq=False)
class GivenBack:
    """Reversals of claims that were settled before this batch.

    Parameters
    ----------
    time : int64 array, shape (m,), microseconds
    order, holder : int64 arrays, shape (m,)
        Codes of the order, and of merchant (or order) and period; -1 if the batch has no claim of it.
    fen : int64 array, shape (m,)
    """

    time: Whole
    order: Whole
    holder: Whole
    fen: Whole


@dataclass(frozen=True, eq=False)
class ClaimQueue:
    """The claims of a batch, in their sequence, with what they may be paid and what was paid before.

    Parameters
    ----------
    time : int64 array, shape (n,), microseconds
        Time of the report.
    reversed_at : int64 array, shape (n,), microseconds
        Time of the reversal; the largest integer if there is none.
    offer : int64 array, shape (n,), fen
        What the terms of the cover leave of the claim; 0 for claims that are not paid anyway.
    counts : bool array, shape (n,)
        Whether the claim takes one of the claims of its order: all claims with an offer, and those that the deductible
        takes whole.
    order, holder : int64 arrays, shape (n,)
        Codes of the order, and of merchant (or order) and period. The holder is -1 without an aggregate limit.
    counted : int64 array, shape (n_orders,)
        Claims of each order that count, before this batch.
    spent : int64 array, shape (n_holders,), fen
        Payments of each holder before this batch.
    back : GivenBack
    max_claims : int or None
    aggregate : int or None
        Fen.
    """

    time: Whole
    reversed_at: Whole
    offer: Whole
    counts: Bools
    order: Whole
    holder: Whole
    counted: Whole
    spent: Whole
    back: GivenBack
    max_claims: int | None
    aggregate: int | None


@dataclass(frozen=True, eq=False)
class Paid:
    """What each claim of a queue was paid at its report, before its own reversal.

    Parameters
    ----------
    fen : int64 array, shape (n,)
    over : bool array, shape (n,)
        Whether the order had its number of claims already.
    cut : bool array, shape (n,)
        Whether the aggregate limit reduced the payment, also to nothing.
    """

    fen: Whole
    over: Bools
    cut: Bools


def pay_in_sequence(queue: ClaimQueue) -> Paid:
    """Return the payments of a queue.

    Most claims need no loop: no aggregate limit can bind for their holder, and no reversal can free a place for a later
    claim of their order. The others are paid one after another.
    """
    n = len(queue.offer)
    active = queue.counts
    slow = _slow(queue, active)
    fen, over, cut = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.bool_), np.zeros(n, dtype=np.bool_)
    fast = active & ~slow
    if queue.max_claims is not None:
        over = fast & (queue.counted[queue.order] + _places(queue.order, fast) >= queue.max_claims)
    paid = fast & ~over
    fen[paid] = queue.offer[paid]
    for row, given, is_over in _one_by_one(queue, np.flatnonzero(slow)):
        fen[row] = given
        over[row], cut[row] = is_over, not is_over and given < queue.offer[row]
    return Paid(fen, over, cut)


def _slow(queue: ClaimQueue, active: Bools) -> Bools:
    """Return the claims whose payment may depend on more than the number of earlier claims of their order."""
    slow = np.zeros(len(active), dtype=np.bool_)
    n_orders = len(queue.counted)
    by_order = np.zeros(n_orders, dtype=np.bool_)
    if queue.aggregate is not None:
        # Offers are the most that a holder can get: reversals and refused claims only lower the sum.
        held = queue.offer > 0
        most = queue.spent + whole_sums(queue.holder[held], queue.offer[held], len(queue.spent))
        slow = active & np.append(most > queue.aggregate, False)[queue.holder]  # the last one is for no holder
        by_order[queue.order[slow]] = True
    if queue.max_claims is not None:
        full = queue.counted + np.bincount(queue.order[active], minlength=n_orders) > queue.max_claims
        undone = np.zeros(n_orders, dtype=np.bool_)
        undone[queue.order[active & (queue.reversed_at < NEVER)]] = True
        undone[queue.back.order[queue.back.order >= 0]] = True
        # A claim of a slow order may be refused for the aggregate limit, and leaves its place to a later claim.
        slow = active & (by_order | (full & undone))[queue.order]
    return slow


def _places(order: Whole, which: Bools) -> Whole:
    """Return the number of earlier claims of the same order among some claims."""
    places = np.zeros(len(order), dtype=np.int64)
    rows = np.flatnonzero(which)
    by_order = rows[np.argsort(order[rows], kind="stable")]
    codes = order[by_order]
    starts = np.flatnonzero(np.append(True, codes[1:] != codes[:-1])[: len(codes)])
    sizes = np.diff(np.append(starts, len(codes)))
    places[by_order] = np.arange(len(codes)) - np.repeat(starts, sizes)
    return places


def _one_by_one(queue: ClaimQueue, rows: Whole) -> Iterator[tuple[int, int, bool]]:
    """Yield row, payment in fen, and whether the order had its claims already, for claims in their sequence.

    Reversals give money back, and free their place in the order, for claims that are reported after them.
    """
    counted, spent = queue.counted.tolist(), queue.spent.tolist()
    most = NEVER if queue.max_claims is None else queue.max_claims
    aggregate = NEVER if queue.aggregate is None else queue.aggregate
    back, undone = queue.back, rows[queue.reversed_at[rows] < NEVER]
    times = np.concatenate([back.time, queue.reversed_at[undone]])
    whose = np.concatenate([-1 - np.arange(len(back.time)), undone])  # below 0: a reversal of an earlier batch
    turn = np.argsort(times, kind="stable")
    reversals = [*zip(times[turn].tolist(), whose[turn].tolist(), strict=True), (NEVER, 0)]
    earlier = [*zip(back.order.tolist(), back.holder.tolist(), back.fen.tolist(), strict=True)]
    orders, holders = queue.order.tolist(), queue.holder.tolist()
    given: dict[int, int] = {}
    place, next_time = 0, reversals[0][0]
    columns = (queue.time[rows].tolist(), queue.offer[rows].tolist())
    for row, time, offer in zip(rows.tolist(), *columns, strict=True):
        while next_time < time:
            who = reversals[place][1]
            order, holder, fen = (orders[who], holders[who], given.get(who)) if who >= 0 else earlier[-1 - who]
            if fen is not None and order >= 0:
                counted[order] -= 1
            if fen and holder >= 0:
                spent[holder] -= fen
            place += 1
            next_time = reversals[place][0]
        order, holder = orders[row], holders[row]
        if counted[order] >= most:
            yield row, 0, True
            continue
        fen = offer
        if holder >= 0:
            fen = min(offer, max(aggregate - spent[holder], 0))
            spent[holder] += fen
        if fen or not offer:  # a claim that an aggregate limit refuses leaves its place to a later one
            counted[order] += 1
            given[row] = fen
        yield row, fen, False
