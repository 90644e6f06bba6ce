"""Settlement of a batch in its sequence: budgets, funds and caps are counted down, rounding remainders carried over."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from freightrisk import _plan, _rounding, _settle
from freightrisk._parallel import in_order
from freightrisk.tariff.balances import Balances, OrderSequence, Whole, remainders_of, spent_by_label
from freightrisk.tariff.fund_limits import RemainingFunds
from freightrisk.tariff.funds import Fund
from freightrisk.tariff.quotes import NO_DRAWS, QuoteBuffers
from freightrisk.tariff.subsidy import Subsidy

WAVE = 8


@dataclass(frozen=True, eq=False)
class RemainingLimits:
    """The money left in budgets, funds and merchant caps; the kernel counts it down.

    Parameters
    ----------
    rules : tuple of Subsidy
    labels : dict of period to list of (merchant, period)
    budget : int64 array, shape (n_rules,)
    rule_keys, rule_start : int32 and int64 arrays, shape (n_rules,)
        As for `_settle.Limits`.
    by_key : int64 array
        Fen that each capped rule has left for each merchant and period.
    budget_met, by_key_met : uint8 arrays
        1 if the limit has reduced an offer, else 0.
    funds : RemainingFunds or None
        None if the tariff has no fund.
    """

    rules: tuple[Subsidy, ...]
    labels: Mapping[str, list[tuple[Hashable, str]]]
    budget: Whole
    rule_keys: NDArray[np.int32]
    rule_start: Whole
    by_key: Whole
    budget_met: NDArray[np.uint8]
    by_key_met: NDArray[np.uint8]
    funds: RemainingFunds | None = None

    @classmethod
    def of(
        cls, rules: tuple[Subsidy, ...], funds: tuple[Fund, ...], sequence: OrderSequence, balances: Balances
    ) -> "RemainingLimits":
        """Return the limits that a batch has left after the spending in `balances`."""
        budget = np.array([balances.left(rule) for rule in rules], dtype=np.int64)
        rule_keys, start = np.full(len(rules), -1, dtype=np.int32), np.zeros(len(rules), dtype=np.int64)
        periods, parts, size = list(sequence.labels), [], 0
        for k, rule in enumerate(rules):
            if rule.period is None or rule.merchant_cap_fen is None:
                continue
            labels = sequence.labels[rule.period]
            taken = spent_by_label(balances, rule, labels)
            rule_keys[k], start[k] = periods.index(rule.period), size
            parts.append(np.maximum(rule.merchant_cap_fen - taken, 0))
            size += len(labels)
        by_key = np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
        met = np.zeros(len(rules), dtype=np.uint8), np.zeros(len(by_key), dtype=np.uint8)
        shared = RemainingFunds.of(rules, funds, sequence, balances) if funds else None
        return cls(rules, sequence.labels, budget, rule_keys, start, by_key, *met, shared)

    def limits(self, keys: NDArray[np.int32]) -> _settle.Limits:
        """Return the kernel's view of these arrays, through which it counts them down."""
        funds = None if self.funds is None else self.funds.kernel(keys)
        return _settle.Limits(
            self.budget, keys, self.rule_keys, self.rule_start, self.by_key, self.budget_met, self.by_key_met, funds
        )

    def allowed(self) -> int:
        """Return a bit mask of the rules whose budget and fund are not exhausted."""
        open_ = [left > 0 for left in self.budget.tolist()]
        if self.funds is not None:
            open_ = [is_open and self.funds.is_open(k) for k, is_open in enumerate(open_)]
        return sum(1 << k for k, is_open in enumerate(open_) if is_open)

    def exceeded(self, sums: Whole) -> NDArray[np.bool_]:
        """Return whether payments by rule (the last axis) exceed a budget or a fund."""
        over: NDArray[np.bool_] = np.any(sums > self.budget, axis=-1)
        return over if self.funds is None else over | np.any(self.funds.sums_of(sums) > self.funds.left, axis=-1)

    def take(self, paid: Whole) -> None:
        """Subtract the payments of each rule, which no limit has reduced."""
        self.budget[:] -= paid
        if self.funds is not None:
            self.funds.left[:] -= self.funds.sums_of(paid)

    @property
    def is_by_key(self) -> bool:
        """Return whether a limit depends on the order's merchant or ship day, so that orders are settled one by one."""
        return bool(np.any(self.rule_keys >= 0)) or (self.funds is not None and self.funds.is_by_day)

    def copy(self) -> "RemainingLimits":
        """Return a copy whose amounts are counted down independently."""
        funds = None if self.funds is None else self.funds.copy()
        return replace(self, budget=self.budget.copy(), by_key=self.by_key.copy(), funds=funds)

    def spend(self, opening: "RemainingLimits", balances: Balances) -> None:
        """Add the spending since `opening` to balances, and record the limits that reduced an offer or may have."""
        balances.met.clear()
        balances.met_funds.clear()
        if self.funds is not None and opening.funds is not None:
            self.funds.spend(opening.funds, balances)
        for k, rule in enumerate(self.rules):
            if not rule.is_limited:
                continue
            if self.budget_met[k] or (rule.budget_fen is not None and self.budget[k] == 0):
                balances.met.add((rule.name, None, ""))
            paid = int(opening.budget[k] - self.budget[k])
            balances.spent[rule.name] = balances.spent.get(rule.name, 0) + paid
            if rule.period is None:
                continue
            labels = self.labels[rule.period]
            part = slice(self.rule_start[k], self.rule_start[k] + len(labels))
            used = opening.by_key[part] - self.by_key[part]
            balances.met |= {(rule.name, *labels[place]) for place in np.flatnonzero(self.by_key_met[part]).tolist()}
            by_merchant = balances.spent_by_merchant.setdefault(rule.name, {})
            for place in np.flatnonzero(used).tolist():
                by_merchant[labels[place]] = by_merchant.get(labels[place], 0) + int(used[place])


def waves(
    pieces: list[tuple[int, int]], sequence: OrderSequence | None, left: RemainingLimits | None
) -> list[list[tuple[int, int]]]:
    """Return the pieces of a batch in runs; each run is settled before the next run is priced.

    If only budgets bind and rows are already in sequence, the runs are short, so that little has to be repriced when a
    budget is exhausted.
    """
    in_rows = sequence is not None and not len(sequence.permutation) and not len(sequence.merchants)
    whole = not in_rows or left is None or left.is_by_key
    if whole or not pieces:
        return [pieces]
    return [pieces[start : start + WAVE] for start in range(0, len(pieces), WAVE)]


def settle_in_order(
    plan: _plan.PricePlan,
    into: QuoteBuffers,
    sequence: OrderSequence,
    left: RemainingLimits,
    sums: Whole,
    pieces: list[tuple[int, int]],
    balances: Balances,
    *,
    threads: int,
) -> None:
    """Settle pieces in sequence: carry remainders and apply budgets and caps.

    The pieces were priced under the assumption that no budget is exhausted.

    Parameters
    ----------
    sums : int64 array, shape (n_pieces, n_rules)
        Fen that each limited rule paid in each piece, as priced.
    pieces : list of (start, stop)
    """
    n = pieces[-1][1] if pieces else 0
    money = into.money(NO_DRAWS)
    if plan.rounding == _plan.ROUNDING_MODES["carry"]:
        remainders = remainders_of(balances, sequence.names)
        _rounding.carry(into.micro[:n], sequence.merchants, sequence.permutation, remainders, into.rounded)
        balances.remainders.update(zip(sequence.names, remainders.tolist(), strict=True))
        _settle_as_if_unlimited(plan, into, money, sums, pieces, left.allowed(), threads=threads)
    if not n or not any(rule.is_limited for rule in left.rules):
        return
    if not left.is_by_key and not left.exceeded(sums.sum(axis=0)):
        left.take(sums.sum(axis=0))
    elif len(sequence.permutation):
        _settle_permuted(plan, into, sequence, left, n)
    elif left.is_by_key:
        _settle.settle(plan, 0, n, *into.outputs, money, limits=left.limits(sequence.keys))
    else:
        _settle_budgets(plan, into, sequence, left, sums, pieces, threads=threads)


def _settle_as_if_unlimited(
    plan: _plan.PricePlan,
    into: QuoteBuffers,
    money: _settle.MoneyColumns,
    sums: Whole,
    pieces: list[tuple[int, int]],
    allowed: int,
    *,
    threads: int,
) -> None:
    """Settle pieces under the allowed rules, and write the payments of each limited rule to the rows of `sums`."""
    if not pieces:
        return
    first, size = pieces[0][0], pieces[0][1] - pieces[0][0]
    sums[:] = 0

    def settle(start: int, stop: int) -> None:
        _settle.settle(plan, start, stop, *into.outputs, money, sums[(start - first) // size], allowed)

    for _ in in_order(settle, pieces, threads=threads):
        pass


def _settle_budgets(
    plan: _plan.PricePlan,
    into: QuoteBuffers,
    sequence: OrderSequence,
    left: RemainingLimits,
    sums: Whole,
    pieces: list[tuple[int, int]],
    *,
    threads: int,
) -> None:
    """Settle each piece in which a budget is exhausted by itself, and later pieces again without the rule."""
    money, limits = into.money(NO_DRAWS), left.limits(sequence.keys)
    done, allowed = 0, left.allowed()
    while done < len(pieces):
        ends = left.exceeded(np.cumsum(sums[done:], axis=0))
        fits = int(np.argmax(ends)) if ends.any() else len(ends)
        left.take(sums[done : done + fits].sum(axis=0))
        done += fits
        if done == len(pieces):
            return
        start, stop = pieces[done]
        _settle.settle(plan, start, stop, *into.outputs, money, None, allowed, limits)
        done += 1
        if left.allowed() != allowed and done < len(pieces):
            allowed = left.allowed()
            _settle_as_if_unlimited(plan, into, money, sums[done:], pieces[done:], allowed, threads=threads)


def _settle_permuted(
    plan: _plan.PricePlan, into: QuoteBuffers, sequence: OrderSequence, left: RemainingLimits, n: int
) -> None:
    """Settle a batch whose rows are not in the sequence in which money is spent."""
    permutation = sequence.permutation
    sorted_into = into.rows(permutation)
    keys = np.ascontiguousarray(sequence.keys[:, permutation])
    _settle.settle(plan, 0, n, *sorted_into.outputs, sorted_into.money(NO_DRAWS), limits=left.limits(keys))
    into.put(permutation, sorted_into)
