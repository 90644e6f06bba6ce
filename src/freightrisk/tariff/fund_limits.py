"""The money left in funds while a batch is settled, as arrays that the kernel counts down."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
from numpy.typing import NDArray

from freightrisk import _funds
from freightrisk.tariff.balances import NO_KEYS, Balances, OrderSequence, Whole, fund_spending
from freightrisk.tariff.funds import FUND_DAY, UNSPENDABLE, Fund
from freightrisk.tariff.subsidy import Subsidy, group_numbers


@dataclass(frozen=True, eq=False)
class RemainingFunds:
    """The money left in funds.

    Parameters
    ----------
    funds : tuple of Fund
    days : list of str
        The ship days of the batch in their order, if a fund limits days.
    of_rule : int32 array, shape (n_rules,)
        Number of each rule's fund, -1 for none.
    shared : uint8 array, shape (n_funds,)
        1 if rules at several places of the stacking order draw on the fund. Their draws alternate order by order.
    left : int64 array, shape (n_funds,)
    before, spent : int64 arrays, shape (n_funds, n_days)
        Fen paid for orders of earlier days, and of each day.
    met : uint8 array, shape (n_funds,)
        1 if the fund has reduced an offer, else 0.
    """

    funds: tuple[Fund, ...]
    days: list[str]
    of_rule: NDArray[np.int32]
    shared: NDArray[np.uint8]
    left: Whole
    before: Whole
    spent: Whole
    met: NDArray[np.uint8]

    @classmethod
    def of(
        cls, rules: Sequence[Subsidy], funds: tuple[Fund, ...], sequence: OrderSequence, balances: Balances
    ) -> "RemainingFunds":
        """Return the money that a batch finds in funds after the spending in `balances`."""
        names = [fund.name for fund in funds]
        days = [day for _, day in sequence.labels.get(FUND_DAY, [])]
        places = {name: set[int]() for name in names}
        for rule, place in zip(rules, group_numbers(rules), strict=True):
            if rule.fund is not None:
                places[rule.fund].add(place)
        paid = [fund_spending(balances, fund, days) for fund in funds]
        return cls(
            funds,
            days,
            np.array([-1 if rule.fund is None else names.index(rule.fund) for rule in rules], dtype=np.int32),
            np.array([len(places[name]) > 1 for name in names], dtype=np.uint8),
            np.array([balances.left_in_fund(fund) for fund in funds], dtype=np.int64),
            np.array([before for _, before in paid], dtype=np.int64).reshape(len(funds), len(days)),
            np.array([spent for spent, _ in paid], dtype=np.int64).reshape(len(funds), len(days)),
            np.zeros(len(funds), dtype=np.uint8),
        )

    @property
    def is_by_day(self) -> bool:
        """Return whether a fund limits what one ship day may spend."""
        return any(fund.is_by_day for fund in self.funds)

    def kernel(self, keys: NDArray[np.int32]) -> _funds.Funds:
        """Return the kernel's view of these arrays; `keys` has a row for each period, the days of funds last."""
        days = [date.fromisoformat(day) for day in self.days]
        left = [[fund.days_left(day) for day in days] for fund in self.funds]
        return _funds.Funds(
            self.of_rule,
            self.left,
            _amounts(fund.budget_fen for fund in self.funds),
            _amounts(fund.per_day_fen for fund in self.funds),
            np.array([fund.is_by_day for fund in self.funds], dtype=np.uint8),
            np.array([fund.pacing is not None for fund in self.funds], dtype=np.uint8),
            self.shared,
            self.met,
            keys[-1] if self.is_by_day else NO_KEYS,
            np.array(left, dtype=np.int64).reshape(self.spent.shape),
            self.before,
            self.spent,
        )

    def copy(self) -> "RemainingFunds":
        """Return a copy whose amounts are counted down independently."""
        return replace(self, left=self.left.copy(), before=self.before.copy(), spent=self.spent.copy())

    def sums_of(self, sums: Whole) -> Whole:
        """Return what each fund pays, from what each rule pays (the last axis)."""
        return np.stack([sums[..., self.of_rule == f].sum(axis=-1) for f in range(len(self.funds))], axis=-1)

    def is_open(self, rule: int) -> bool:
        """Return whether a rule has a fund with money left, or no fund."""
        return self.of_rule[rule] < 0 or bool(self.left[self.of_rule[rule]] > 0)

    def spend(self, opening: "RemainingFunds", balances: Balances) -> None:
        """Add the spending since `opening` to balances, and record the funds that reduced an offer or may have."""
        balances.met_funds = {fund.name for f, fund in enumerate(self.funds) if self.met[f] or self.left[f] == 0}
        for f, fund in enumerate(self.funds):
            spent = balances.spent_by_fund.setdefault(fund.name, {})
            paid = {"": int(opening.left[f] - self.left[f])}
            if fund.is_by_day:
                paid = dict(zip(self.days, (self.spent[f] - opening.spent[f]).tolist(), strict=True))
            for day, fen in paid.items():
                if fen:
                    spent[day] = spent.get(day, 0) + fen


def _amounts(values: Iterable[int | None]) -> Whole:
    """Return amounts as an array, with an amount too large to spend for None."""
    return np.array([UNSPENDABLE if value is None else value for value in values], dtype=np.int64)
