"""A batch of claims between two totals: its sequence, the reversals of earlier claims, and the totals after it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk._frozen import FrozenDict
from freightrisk._intake import Id
from freightrisk.programme.claim_columns import REVERSED, ClaimRows, holders, ranks
from freightrisk.programme.claim_payer import ClaimPayer, divided
from freightrisk.programme.claim_sequence import Bools, ClaimQueue, GivenBack, pay_in_sequence
from freightrisk.programme.claim_totals import (
    DONE,
    REASONS,
    ClaimTotals,
    Holder,
    Payments,
    Pending,
    Settled,
    fen_of,
    terms_of,
)
from freightrisk.programme.fen import Whole
from freightrisk.tariff.aggregate_limit import AggregateLimit
from freightrisk.tariff.rounding import whole_sums

NOBODY: tuple[None, str] = (None, "")
OVER, EXHAUSTED = REASONS.index("over_max_claims"), REASONS.index("aggregate_exhausted")
UNDER = "under_deductible"
COUNTED = ("", UNDER)  # reasons of claims that take one of the claims of their order


@dataclass(frozen=True, eq=False)
class SettledBatch:
    """What a batch of claims was paid at its report, in the rows of the caller, and the totals after it.

    Parameters
    ----------
    fen : int64 array, shape (n,)
        Payment at the report, before a reversal.
    parts : dict of payer to int64 array, shape (n,)
        What each payer pays of it.
    reason : int8 array, shape (n,)
        Why nothing was paid: a place in `REASONS`.
    cut : bool array, shape (n,)
        Whether the aggregate limit reduced the payment.
    is_new : bool array, shape (n,)
        False for claims that were settled in an earlier batch and are reversed in this one.
    totals : ClaimTotals
    """

    fen: Whole
    parts: dict[str, Whole]
    reason: NDArray[np.int8]
    cut: Bools
    is_new: Bools
    totals: ClaimTotals


@dataclass(frozen=True, eq=False)
class _Coded:
    """Codes of each claim's order, and of its merchant (or order) and period; the last holder is nobody."""

    order: Whole
    holder: Whole
    orders: list[Id]
    holders: list[Any]

    def name_of(self, row: int) -> tuple[Id, Id | None, str]:
        """Return order, holder and period of a claim."""
        return (self.orders[self.order[row]], *self.holders[self.holder[row]])


def settle_batch(
    rows: ClaimRows,
    offer: Whole,
    *,
    reason: NDArray[np.int8],
    ties: Sequence[NDArray[Any]],
    payers: Sequence[ClaimPayer],
    payer_masks: NDArray[np.uint64],
    max_claims: int | None,
    aggregate: AggregateLimit | None,
    totals: ClaimTotals,
) -> SettledBatch:
    """Return what the claims of a batch are paid.

    Parameters
    ----------
    rows : ClaimRows
    offer : int64 array, shape (n,), fen
        What the terms of the cover leave of each claim; 0 if nothing.
    reason : int8 array, shape (n,)
        Why the terms leave nothing: a place in `REASONS`. A claim that the deductible takes whole still counts.
    ties : sequence of arrays, shape (n,)
        What else may differ between claims without an id, so that the sequence does not depend on that of the rows.
    payers, payer_masks
        As for `divided`.
    max_claims, aggregate
        Terms of the cover.
    totals : ClaimTotals
    """
    earlier = _earlier(rows, totals)
    is_new = np.ones(len(offer), dtype=np.bool_)
    is_new[[*earlier]] = False
    coded = _coded(rows, aggregate, is_new & (offer > 0))
    turn = _sequence(rows, [*ties, payer_masks, _holder_ranks(coded)])
    turn = turn[is_new[turn]]
    back = ((row, one) for row, one in earlier.items() if one[4] in COUNTED)
    waiting = [*totals.pending, *(_pending(rows, row, one[:3], fen_of(one)) for row, one in back)]
    queue = ClaimQueue(
        time=rows.time[turn],
        reversed_at=rows.reversed_at[turn],
        offer=offer[turn],
        counts=_is_counted(reason)[turn],
        order=coded.order[turn],
        holder=coded.holder[turn],
        counted=_lookup(totals.orders, coded.orders),
        spent=_lookup(totals.paid, coded.holders[:-1]),
        back=_given_back(waiting, coded),
        max_claims=max_claims,
        aggregate=None if aggregate is None else aggregate.amount_fen,
    )
    paid = pay_in_sequence(queue)
    fen, cut, reason = np.zeros_like(offer), np.zeros(len(offer), dtype=np.bool_), reason.copy()
    fen[turn], cut[turn] = paid.fen, paid.cut
    reason[turn[paid.over]] = OVER
    reason[cut & (fen == 0)] = EXHAUSTED
    parts = divided(payers, fen, payer_masks)
    for row, one in earlier.items():
        fen[row], reason[row] = fen_of(one), REASONS.index(one[4])
        cut[row] = reason[row] == EXHAUSTED or 0 < fen[row] < offer[row]
        for payer, paid_fen in one[3]:  # the money goes back to whom it came from, whoever would pay now
            parts.setdefault(payer, np.zeros_like(fen))[row] = paid_fen
    batch = SettledBatch(fen, parts, reason, cut, is_new, totals)
    after = _after(rows, coded, batch, earlier=earlier, waiting=waiting)
    by, period = terms_of(aggregate)
    return replace(batch, totals=ClaimTotals(by, period, *after))


def _coded(rows: ClaimRows, aggregate: AggregateLimit | None, active: Bools) -> _Coded:
    import pandas as pd

    order, orders = pd.factorize(rows.order)
    holder: Whole = np.full(len(active), -1, dtype=np.int64)
    held: list[Any] = []
    if aggregate is not None:
        holder, held = holders(rows.joined, aggregate.by, aggregate.period, active)
    return _Coded(order.astype(np.int64), holder, orders.tolist(), [*held, NOBODY])


def _earlier(rows: ClaimRows, totals: ClaimTotals) -> dict[int, Settled]:
    """Return the claims that totals know; refuse those with another order, or not to be reversed."""
    if rows.claim is None or not totals.claims:
        return {}
    found = {row: totals.claims[one] for row, one in enumerate(rows.claim.tolist()) if one in totals.claims}
    bad = np.zeros(len(rows.freight), dtype=np.bool_)
    bad[[row for row, one in found.items() if rows.decision[row] != REVERSED or one[4] == DONE]] = True
    column = rows.joined.names_of.claim_id
    rows.joined.refuse(
        bad,
        f"claims: '{column}' was settled in an earlier batch in {{rows}}; a claim is settled once and reversed once. "
        "Leave these claims out; only a reversal of an earlier claim may follow.",
        column,
    )
    other = np.zeros(len(bad), dtype=np.bool_)
    other[[row for row, one in found.items() if rows.order[row] != one[0]]] = True
    rows.joined.refuse(
        other,
        f"claims: '{column}' was settled in an earlier batch for another order in {{rows}}; correct the claim or the "
        "order of the reversal.",
        column,
    )
    return found


def _sequence(rows: ClaimRows, ties: Sequence[NDArray[Any]]) -> Whole:
    """Return the rows by time of the report, then by claim id; without ids, by order and by what they hold."""
    if rows.claim is not None:
        return np.lexsort((ranks(rows.claim), rows.time))
    return np.lexsort((*ties, rows.decision, rows.reversed_at, rows.freight, ranks(rows.order), rows.time))


def _holder_ranks(coded: _Coded) -> Whole:
    """Return the rank of each claim's holder by name, because codes follow the sequence of the rows."""
    known = coded.holders[:-1]
    place = np.zeros(len(coded.holders), dtype=np.int64)
    place[sorted(range(len(known)), key=lambda k: (isinstance(known[k][0], str), known[k]))] = np.arange(len(known))
    return place[coded.holder]


def _is_counted(reason: NDArray[np.int8]) -> Bools:
    return np.isin(reason, [REASONS.index(one) for one in COUNTED])


def _lookup(amounts: Mapping[Any, int], keys: Sequence[Any]) -> Whole:
    if not amounts:
        return np.zeros(len(keys), dtype=np.int64)
    return np.array([amounts.get(key, 0) for key in keys], dtype=np.int64)


def _pending(rows: ClaimRows, row: int, whose: tuple[Id, Id | None, str], fen: int) -> Pending:
    """Return the reversal of a claim."""
    return (str(np.datetime64(int(rows.reversed_at[row]), "us")), *whose, int(fen))


def _time(one: Pending) -> int:
    return int(np.datetime64(one[0], "us").astype(np.int64))


def _given_back(waiting: Sequence[Pending], coded: _Coded) -> GivenBack:
    orders: dict[Any, int] = {}
    held: dict[Any, int] = {}
    if waiting:
        orders = {name: k for k, name in enumerate(coded.orders)}
        held = {name: k for k, name in enumerate(coded.holders[:-1])}
    columns = [
        [_time(one) for one in waiting],
        [orders.get(one[1], -1) for one in waiting],
        [held.get((one[2], one[3]), -1) for one in waiting],
        [one[4] for one in waiting],
    ]
    return GivenBack(*(np.array(column, dtype=np.int64) for column in columns))


def _after(
    rows: ClaimRows, coded: _Coded, batch: SettledBatch, *, earlier: Mapping[int, Settled], waiting: list[Pending]
) -> tuple[Mapping[Holder, int], Mapping[Id, int], Mapping[Id, Settled], tuple[Pending, ...]]:
    """Return the totals after a batch; those of `batch` are the totals before it."""
    before, got = batch.totals, batch.is_new & _is_counted(batch.reason)
    undone = got & (rows.decision == REVERSED)
    own = [_pending(rows, row, coded.name_of(row), batch.fen[row]) for row in np.flatnonzero(undone).tolist()]
    # A reversal counts for claims that are reported after it, so one at or after the last report waits.
    last = int(rows.time[batch.is_new].max(initial=np.iinfo(np.int64).min))
    is_due = [(one, _time(one) < last) for one in (*waiting, *own)]
    by_order = _added(before.orders, coded.orders, np.bincount(coded.order[got], minlength=len(coded.orders)))
    sums = whole_sums(coded.holder[got], batch.fen[got], len(coded.holders))  # the last sum is that of nobody
    by_holder = _added(before.paid, coded.holders[:-1], sums[:-1])
    for _, order, holder, when, fen in (one for one, due in is_due if due):
        by_order[order] = by_order.get(order, 0) - 1
        if holder is not None:
            by_holder[holder, when] = by_holder.get((holder, when), 0) - fen
    claims = before.claims
    if rows.claim is not None:
        known = rows.claim.tolist()
        done = {known[row]: (*one[:3], (), DONE if one[4] in COUNTED else one[4]) for row, one in earlier.items()}
        claims = FrozenDict(dict(claims) | _records(rows, coded, batch, undone) | done)
    left = tuple(sorted((one for one, due in is_due if not due), key=str))
    return FrozenDict(by_holder), FrozenDict(by_order), claims, left


def _added(amounts: Mapping[Any, int], keys: Sequence[Any], more: Whole) -> dict[Any, int]:
    """Return amounts with more added; keys without any amount get no entry."""
    which = np.flatnonzero(more)
    pairs = zip([keys[k] for k in which.tolist()], more[which].tolist(), strict=True)
    if not amounts:
        return dict(pairs)
    return dict(amounts) | {key: amounts.get(key, 0) + value for key, value in pairs}


def _records(rows: ClaimRows, coded: _Coded, batch: SettledBatch, undone: Bools) -> dict[Id, Settled]:
    """Return what totals remember of each claim with an id, so that a later reversal knows its payment."""
    ids = [] if rows.claim is None else rows.claim.tolist()
    payments: list[Payments] = [()] * len(ids)
    for payer, part in batch.parts.items():
        paid = np.flatnonzero((part > 0) & ~undone)
        for row, fen in zip(paid.tolist(), part[paid].tolist(), strict=True):
            payments[row] = (*payments[row], (payer, fen))
    whose = [coded.orders[code] for code in coded.order.tolist()]
    held = [coded.holders[code] for code in coded.holder.tolist()]
    words = (*REASONS, DONE)
    after = [words[code] for code in np.where(undone, len(REASONS), batch.reason).tolist()]
    return {
        claim: (order, holder, when, money, reason)
        for claim, order, (holder, when), money, reason in zip(ids, whose, held, payments, after, strict=True)
    }
