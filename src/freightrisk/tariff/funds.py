"""Funds: one budget that several subsidies draw on, and what of its rest each ship day may spend."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import accumulate

from freightrisk import _check
from freightrisk._document import sparse
from freightrisk._shown import brief
from freightrisk.errors import InputError
from freightrisk.tariff.conditions import Window, whole_day
from freightrisk.tariff.subsidy import LARGEST_BUDGET_FEN, Subsidy, periods_of

UNSPENDABLE = 2**62  # stands for no limit
FUND_DAY = "day of a fund"  # stands for the days of funds beside the periods of caps by merchant
PACINGS = ("even",)
MOST_DAYS = 3660


@sparse
@dataclass(frozen=True)
class Fund:
    """A budget that several subsidies share, with an optional limit for each ship day.

    A subsidy draws on the fund if its `fund` is the fund's name. Orders are served in the fixed sequence of budgets,
    and the rules of one order in their stacking order. The order that exhausts the fund gets the rest of it.

    Parameters
    ----------
    name : str
    budget_fen : int, optional
        Largest payment of all rules of the fund together.
    per_day_fen : int, optional
        Largest payment for the orders of one ship day. A fund needs `budget_fen` or `per_day_fen`, and may have both.
    pacing : {"even"}, optional
        "even" limits each ship day to its equal share of the rest: what orders of earlier days left of the budget,
        divided by the number of days that remain, rounded down to fen. Money that a day leaves unspent goes to the
        later days. Needs `budget_fen`, `start` and `end`.
    start, end : datetime.date, or text such as "2026-06-18", optional
        First and last ship date of the orders that draw on the fund, both inclusive.

    Notes
    -----
    An order without a ship date draws nothing from a fund that has dates or a limit by day. `Balances` and a `Ledger`
    hold the spending of earlier batches by ship day.

    Examples
    --------
    >>> import datetime as dt
    >>> from freightrisk import Fund
    >>> fund = Fund("618", budget_fen=1000, pacing="even", start="2026-06-16", end="2026-06-18")
    >>> fund.day_limit(dt.date(2026, 6, 16)), fund.day_limit(dt.date(2026, 6, 17), spent_before=200)
    (333, 400)
    """

    name: str
    budget_fen: int | None = field(default=None, kw_only=True)
    per_day_fen: int | None = field(default=None, kw_only=True)
    pacing: str | None = field(default=None, kw_only=True)
    start: date | None = field(default=None, kw_only=True)
    end: date | None = field(default=None, kw_only=True)

    __repr__ = brief

    def __post_init__(self) -> None:
        _check.label(self.name, argument="name of a fund")
        for name in ("budget_fen", "per_day_fen"):
            limit = getattr(self, name)
            if limit is not None:
                what = f"{name} of fund '{self.name}'"
                object.__setattr__(self, name, _check.whole(limit, argument=what, low=0, high=LARGEST_BUDGET_FEN))
        if self.budget_fen is None and self.per_day_fen is None:
            raise InputError(f"fund '{self.name}' has no amount; give budget_fen, per_day_fen or both.")
        for name in ("start", "end"):
            day = getattr(self, name)
            if day is not None:
                object.__setattr__(self, name, whole_day(day, f"{name} of fund '{self.name}'"))
        if self.start is not None and self.end is not None and self.start > self.end:
            raise InputError(f"fund '{self.name}' starts on {self.start}, after its end {self.end}; exchange them.")
        if self.pacing is not None:
            self._check_pacing()

    def _check_pacing(self) -> None:
        _check.one_of(self.pacing, PACINGS, argument=f"pacing of fund '{self.name}'")
        absent = [name for name in ("budget_fen", "start", "end") if getattr(self, name) is None]
        if absent:
            raise InputError(
                f"fund '{self.name}' has pacing but no {' and no '.join(absent)}; pacing spreads the rest of a budget "
                "over the days from start to end, so give all three, or give per_day_fen instead of pacing."
            )
        n_days = self.days_left(self.start or date.min)
        if n_days > MOST_DAYS:
            raise InputError(
                f"fund '{self.name}' has {n_days:,} days; pacing takes at most {MOST_DAYS:,}. Give a nearer end."
            )

    @property
    def is_by_day(self) -> bool:
        """Return whether the fund limits what one ship day may spend."""
        return self.per_day_fen is not None or self.pacing is not None

    def days_left(self, day: date | str) -> int:
        """Return the number of days from a day to the end of the fund, both included; 0 after the end or without one.

        Parameters
        ----------
        day : datetime.date, or text such as "2026-06-18"

        Raises
        ------
        InputError
            If `day` is not a whole day.
        """
        day = whole_day(day, "day")
        return 0 if self.end is None else max(0, (self.end - day).days + 1)

    def day_limit(self, day: date | str, *, spent_before: int = 0) -> int:
        """Return the largest payment for all orders of a ship day; 2**62 if nothing limits it.

        Parameters
        ----------
        day : datetime.date, or text such as "2026-06-18"
        spent_before : int, 0 to 2**62, fen
            Payments of the fund for orders of earlier days.

        Raises
        ------
        InputError
            If `day` is not a whole day, or `spent_before` is not a whole number of fen.
        """
        day = whole_day(day, "day")
        spent_before = _check.whole(spent_before, argument="spent_before", low=0, high=UNSPENDABLE)
        if (self.start is not None and day < self.start) or (self.end is not None and day > self.end):
            return 0
        limit = UNSPENDABLE if self.per_day_fen is None else self.per_day_fen
        if self.pacing is None or self.budget_fen is None:
            return limit
        return min(limit, max(0, self.budget_fen - spent_before) // self.days_left(day))


def check_funds(rules: Sequence[Subsidy], funds: Sequence[Fund]) -> tuple[Fund, ...]:
    """Return funds; refuses funds that do not match the rules that draw on them."""
    funds = _check.members(funds, Fund, argument="funds")
    names = [fund.name for fund in funds]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(
            f"funds: {names.count(twice)} funds are named '{twice}', so the fund would have two budgets; keep one of "
            "them, or give each fund its own name."
        )
    for rule in rules:
        if rule.fund is not None and rule.fund not in names:
            declared = f"the declared funds are {', '.join(map(repr, names))}" if names else "no fund is declared"
            raise InputError(
                f"subsidy '{rule.name}' draws on fund '{rule.fund}', but {declared}; declare it beside the rules, "
                f"such as funds=[Fund('{rule.fund}', budget_fen=...)], or correct the name."
            )
    unused = next((name for name in names if all(rule.fund != name for rule in rules)), None)
    if unused is not None:
        raise InputError(
            f"funds: no subsidy draws on fund '{unused}'; give the rules fund='{unused}', or remove the fund."
        )
    windows_of(rules, funds)
    return funds


def paid_before(spent: Mapping[str, int], days: Iterable[str]) -> list[int]:
    """Return the fen paid for earlier days, for each day of a list; at most an amount too large to spend."""
    known = sorted(spent.items())
    dates, totals = [day for day, _ in known], [0, *accumulate(fen for _, fen in known)]
    return [min(totals[bisect_left(dates, day)], UNSPENDABLE) for day in days]


def funds_by_name(funds: Sequence[Fund]) -> Mapping[str, Fund]:
    """Return funds by their names."""
    return {fund.name: fund for fund in funds}


def windows_of(rules: Sequence[Subsidy], funds: Sequence[Fund]) -> list[Window]:
    """Return the first and the last ship day on which each rule can pay; refuses rules whose fund has other days."""
    known, windows = funds_by_name(funds), []
    for rule in rules:
        fund = None if rule.fund is None else known[rule.fund]
        starts = [one.start for one in (rule, fund) if one is not None and one.start is not None]
        ends = [one.end for one in (rule, fund) if one is not None and one.end is not None]
        start, end = max(starts, default=None), min(ends, default=None)
        if start is not None and end is not None and start > end:
            raise InputError(
                f"subsidy '{rule.name}' can never pay, because its days ({rule.start} to {rule.end}) and the days of "
                f"fund '{rule.fund}' have none in common; change start or end of one of them."
            )
        windows.append((start, end))
    return windows


def keyed_periods(rules: tuple[Subsidy, ...], funds: Sequence[Fund]) -> tuple[str, ...]:
    """Return the periods by which limits count orders: of caps by merchant, then the days of funds."""
    return periods_of(rules) + ((FUND_DAY,) if any(fund.is_by_day for fund in funds) else ())
