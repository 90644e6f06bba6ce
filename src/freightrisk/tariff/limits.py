"""Limits by rule: the largest payment for a claim, by conditions on the order, with priorities."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._document import sparse
from freightrisk._shown import brief
from freightrisk.book.factors import Value
from freightrisk.errors import InputError
from freightrisk.tariff.conditions import RULE_LIMIT, Conditions, Interval, checked_where, checked_window

LARGEST_LIMIT = 1e6  # yuan; the largest sum insured of the market is 50,000
LARGEST_PRIORITY = 1_000
CHOICES = ("largest", "smallest", "first")


@sparse
@dataclass(frozen=True)
class Limit:
    """A rule that limits the payment for a claim of the orders that meet its conditions.

    Among the rules that an order meets, the rules with the highest priority decide. If several of them have this
    priority, the cover's `choose` decides between their amounts.

    Parameters
    ----------
    name : str
        Name of the rule.
    amount : float
        Largest payment for one claim in yuan, from 0 to 1,000,000. 0 pays nothing.
    where : mapping of column to levels or Interval
        Conditions that must all hold: the value of the column is one of the levels, or lies in the interval. An order
        with a missing value does not meet the condition. A condition on a column of a `Hierarchy` holds for everything
        below that level, seen or unseen.
    start, end : datetime.date, or text such as "2026-06-18", optional
        First and last ship date of the orders, both inclusive.
    priority : int
        From 0 to 1,000; a rule with a higher priority replaces rules with a lower one.
    share, of : float and str, optional
        The limit is then the smaller of `amount` and `share` times the column `of` of the order, in yuan. The share is
        above 0 and at most 10.

    Examples
    --------
    The limits of 1688 for custom goods, 5 % of the sub-order and at most 3,000 yuan:

    >>> from freightrisk import Cover, Limit
    >>> Cover(limits=[Limit("custom", 3000.0, share=0.05, of="sub_order")]).measures
    ('sub_order',)
    >>> super_buyer = Limit("super buyer", 200.0, where={"buyer": ["super"]}, priority=1)
    >>> [limit.amount for limit in Cover(limits=[Limit("base", 25.0), super_buyer]).limits]
    [25.0, 200.0]
    """

    name: str
    amount: float
    where: Mapping[str, Interval | Sequence[Value]] = field(default_factory=dict, kw_only=True)
    start: date | None = field(default=None, kw_only=True)
    end: date | None = field(default=None, kw_only=True)
    priority: int = field(default=0, kw_only=True)
    share: float | None = field(default=None, kw_only=True)
    of: str | None = field(default=None, kw_only=True)

    __repr__ = brief

    def __post_init__(self) -> None:
        rule = f"limit '{_check.label(self.name, argument='name of a limit')}'"
        amount = _check.number(self.amount, argument=f"amount of {rule}", low=0.0, high=LARGEST_LIMIT)
        object.__setattr__(self, "amount", amount)
        object.__setattr__(self, "where", checked_where(self.where, rule))
        for name, day in zip(("start", "end"), checked_window(self.start, self.end, rule), strict=True):
            object.__setattr__(self, name, day)
        priority = _check.whole(self.priority, argument=f"priority of {rule}", low=0, high=LARGEST_PRIORITY)
        object.__setattr__(self, "priority", priority)
        if (self.share is None) != (self.of is None):
            raise InputError(f"{rule} has only one of share and of; give both: the limit is a share of a column.")
        if self.share is not None:
            share = _check.number(self.share, argument=f"share of {rule}", low=0.0, high=10.0, open_low=True)
            object.__setattr__(self, "share", share)
            _check.label(self.of, argument=f"of of {rule}")

    @property
    def conditions(self) -> Conditions:
        """Return the columns, levels, intervals and ship dates of the orders that the rule limits."""
        return Conditions(self.where, (self.start, self.end))


def check_limits(limits: Any, choose: str) -> tuple[Limit, ...]:
    """Return the rules of a cover, and refuse rules with one name and rules that never decide a limit."""
    rules = _check.members(limits, Limit, argument="limits")
    _check.one_of(choose, CHOICES, argument="choose")
    if len(rules) > RULE_LIMIT:
        raise InputError(f"{len(rules)} limits were given; a cover takes at most {RULE_LIMIT}.")
    names = [rule.name for rule in rules]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"limits: {names.count(twice)} rules are named '{twice}'; give each rule its own name.")
    for k, rule in enumerate(rules):
        for j, other in enumerate(rules):
            if j != k and rule.conditions.imply(other.conditions) and _outranks(other, rule, choose, is_earlier=j < k):
                raise InputError(
                    f"limit '{rule.name}' never decides, because limit '{other.name}' holds for all of its orders and "
                    f"takes precedence (priority {other.priority} against {rule.priority}, choose='{choose}'); raise "
                    f"the priority of '{rule.name}', add a condition to '{other.name}', or remove '{rule.name}'."
                )
    return rules


def _outranks(other: Limit, rule: Limit, choose: str, *, is_earlier: bool) -> bool:
    """Return whether `other` decides each order that meets both rules, whatever the order's columns."""
    if other.priority != rule.priority:
        return other.priority > rule.priority
    if choose == "first":
        return is_earlier
    if rule.share is not None or other.share is not None:
        return False
    return other.amount > rule.amount if choose == "largest" else other.amount < rule.amount


def ranked(limits: Sequence[Limit], choose: str) -> tuple[Limit, ...]:
    """Return the rules by rank, the lowest first: by priority, and in a priority by the choice among amounts.

    Among rules with the same amount for every order, the rule with the highest rank decides.
    """
    sign = {"largest": 1.0, "smallest": -1.0, "first": 0.0}[choose]
    last_first = [*reversed(limits)]  # sorting keeps the sequence of equals, so that the first of them ranks highest
    return tuple(sorted(last_first, key=lambda rule: (rule.priority, sign * rule.amount)))


def measures_of(limits: Sequence[Limit]) -> tuple[str, ...]:
    """Return the columns of which limits are a share."""
    return tuple(dict.fromkeys(rule.of for rule in limits if rule.of is not None))


def limit_arguments(limits: Sequence[Limit], choose: str, measures: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of `_plan.LimitRules` for the rules by rank.

    Parameters
    ----------
    limits : sequence of Limit
    choose : str
    measures : sequence of str
        Columns of amounts of the orders, in the sequence in which the kernel gets them.
    """
    rules = ranked(limits, choose)
    sizes = [len(list(members)) for _, members in groupby(rules, key=lambda rule: rule.priority)]
    rivals = [
        sum(1 << k for k, other in enumerate(rules) if other.priority == rule.priority and other.amount != rule.amount)
        for rule in rules
    ]
    return {
        "amount": np.array([rule.amount for rule in rules], dtype=np.float64),
        "share": np.array([0.0 if rule.share is None else rule.share for rule in rules], dtype=np.float64),
        "measure": np.array([-1 if rule.of is None else measures.index(rule.of) for rule in rules], dtype=np.int32),
        "rivals": np.array(rivals, dtype=np.uint64),
        "ends": np.cumsum(sizes, dtype=np.int32),
        "choose": CHOICES.index(choose),
    }


@dataclass(frozen=True, eq=False)
class ChosenLimits:
    """The limit of each row and what decided it.

    Parameters
    ----------
    limit : array, shape (n,)
        In the unit of the amounts.
    rule : int64 array, shape (n,)
        The number of the deciding rule; the number of rules if none holds.
    conflict : bool array, shape (n,)
        Whether rules of the deciding priority have different amounts.
    """

    limit: NDArray[Any]
    rule: NDArray[np.int64]
    conflict: NDArray[np.bool_]


def choose_limits(
    limits: Sequence[Limit], choose: str, *, masks: NDArray[np.uint64], amounts: Sequence[NDArray[Any]], unlimited: Any
) -> ChosenLimits:
    """Return the limit of every row.

    Parameters
    ----------
    limits : sequence of Limit
    choose : {"largest", "smallest", "first"}
    masks : uint64 array, shape (n,)
        Bit k of a row is 1 if the row meets the conditions of rule k.
    amounts : sequence of array, shape (n,)
        The amount of each rule, in yuan or in fen.
    unlimited : float or int
        The limit of rows for which no rule holds.
    """
    n = len(masks)
    limit = np.full(n, unlimited)
    rule, conflict = np.full(n, len(limits), dtype=np.int64), np.zeros(n, dtype=np.bool_)
    by_priority = sorted(range(len(limits)), key=lambda k: limits[k].priority)
    for _, members in groupby(by_priority, key=lambda k: limits[k].priority):
        value, best = np.full(n, unlimited), np.full(n, -1, dtype=np.int64)
        apart = np.zeros(n, dtype=np.bool_)
        for k in members:
            amount = amounts[k]
            holds = (masks >> np.uint64(k)) & np.uint64(1) == 1
            apart |= holds & (best >= 0) & (amount != value)
            better = {"largest": amount > value, "smallest": amount < value, "first": np.zeros(n, bool)}[choose]
            takes = holds & ((best < 0) | better)
            value[takes], best[takes] = amount[takes], k
        decided = best >= 0
        limit[decided], rule[decided], conflict[decided] = value[decided], best[decided], apart[decided]
    return ChosenLimits(limit, rule, conflict)
