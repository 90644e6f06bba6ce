"""Subsidies: who is eligible, how much is paid and by whom; conditions as a bit mask for each level of a column."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._columns import MERCHANT_ID, ORDER_ID, SHIP_DATE, JoinedColumns, value_of
from freightrisk._document import sparse
from freightrisk._frozen import FrozenDict
from freightrisk._intake import DEFAULT_CLOCK, Refused, Spellings, id_of, level_of, number_of, spelling, time_of
from freightrisk._shown import repr_of
from freightrisk.book.codings import code_type
from freightrisk.book.factors import Value
from freightrisk.book.recode import banded, looked_up
from freightrisk.errors import InputError

RULE_LIMIT = 64
LARGEST_FEN = 10**9
LARGEST_BUDGET_FEN = 10**15
PERIODS = ("day", "month")
AMOUNTS = ("percent_of_list", "percent_of_rest", "fixed_fen", "price_to_fen")
RESERVED_PAYERS = ("merchant", "list", "floor")


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A condition on a number: it must be above one bound and not above another.

    Examples
    --------
    >>> from freightrisk import Interval
    >>> Interval(above=4.8)  # a score of 4.8 itself does not qualify
    Interval(above=4.8, at_most=inf)
    """

    above: float = -np.inf
    at_most: float = np.inf

    def __post_init__(self) -> None:
        for name in ("above", "at_most"):
            bound = getattr(self, name)
            if isinstance(bound, (bool, str)) or not isinstance(bound, (int, float, np.integer, np.floating)):
                raise InputError(f"{name} of Interval is {repr_of(bound)}; it must be a number.")
            try:
                object.__setattr__(self, name, float(bound))
            except OverflowError:
                raise InputError(f"{name} of Interval is {repr_of(bound)}; it is too large for a number.") from None
        if not self.above < self.at_most:
            raise InputError(
                f"Interval(above={self.above}, at_most={self.at_most}) is empty; above must be the smaller."
            )


Condition: TypeAlias = Interval | tuple[Any, ...]


@sparse
@dataclass(frozen=True)
class Subsidy:
    """A rule that pays part of a merchant's price.

    Rules apply one after another. Among the rules of one `group` only the rule that pays most applies (the first of
    equals), at the place of the group's first rule. No rule lowers the merchant's price below the floor, and the payer
    keeps the money that the floor leaves unspent.

    Parameters
    ----------
    name : str
        Name of the rule.
    payer : str
        Who pays the subsidy. Quotes have a column ``<payer>_fen``.
    percent_of_list, percent_of_rest : float
        Share of the list price, or of the price that earlier rules left. It is a whole number of basis points (0.1 is
        10 %), and the payment is rounded half-even to fen.
    fixed_fen : int
        Payment in fen for each order.
    price_to_fen : int
        The rule pays the amount that lowers the merchant's price to this many fen.
    where : mapping of column to levels or Interval
        Conditions that must all hold: the value of the column is one of the levels, or lies in the interval. An order
        with a missing value is not eligible.
    start, end : datetime.date, or text such as "2026-06-18", optional
        First and last ship date of eligible orders, both inclusive. A datetime at midnight is taken as its day. A value
        with any other time of day is refused.
    cap_fen : int, optional
        Largest payment for one order.
    group : str, optional
        Stacking group.
    budget_fen : int, optional
        Largest payment for all orders together. The order that exhausts the budget gets the rest of it.
    merchant_cap_fen : int, optional
        Largest payment to one merchant in a `period`. Orders without a merchant or a ship date are then not eligible.
    period : {"day", "month"}, optional
        Calendar period of the merchant's cap, by the orders' ship date.
    fund : str, optional
        Name of the `Fund` that the rule draws on, together with all other rules that name it. The rule's own limits
        hold too.

    Notes
    -----
    Orders draw on budgets, funds and merchant caps in a fixed sequence: by priority, then ship time, then order id. The
    sequence of rows does not matter. `Balances` holds the spending of earlier batches.

    Examples
    --------
    >>> from freightrisk import Interval, Subsidy
    >>> rule = Subsidy("618 live", "platform", percent_of_list=0.2, where={"channel": ["live_stream"]}, cap_fen=50)
    >>> rule.kind, rule.amount
    ('percent_of_list', 2000)
    """

    name: str
    payer: str
    percent_of_list: float | None = field(default=None, kw_only=True)
    percent_of_rest: float | None = field(default=None, kw_only=True)
    fixed_fen: int | None = field(default=None, kw_only=True)
    price_to_fen: int | None = field(default=None, kw_only=True)
    where: Mapping[str, Interval | Sequence[Value]] = field(default_factory=dict, kw_only=True)
    start: date | None = field(default=None, kw_only=True)
    end: date | None = field(default=None, kw_only=True)
    cap_fen: int | None = field(default=None, kw_only=True)
    group: str | None = field(default=None, kw_only=True)
    budget_fen: int | None = field(default=None, kw_only=True)
    merchant_cap_fen: int | None = field(default=None, kw_only=True)
    period: str | None = field(default=None, kw_only=True)
    fund: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _check.label(self.name, argument="name of a subsidy")
        _check.label(self.payer, argument=f"payer of subsidy '{self.name}'")
        if not self.payer.isidentifier() or self.payer in RESERVED_PAYERS:
            raise InputError(
                f"payer of subsidy '{self.name}' is '{self.payer}'; it names a column, so give a word such as "
                f"'platform', other than {', '.join(RESERVED_PAYERS)}."
            )
        given = [kind for kind in AMOUNTS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise InputError(
                f"subsidy '{self.name}' has {' and '.join(given) or 'no amount'}; give exactly one of "
                f"{', '.join(AMOUNTS)}."
            )
        if not isinstance(self.where, Mapping):
            raise InputError(
                f"where of subsidy '{self.name}' is {repr_of(self.where)}; map columns to levels or an Interval."
            )
        for name in ("group", "fund"):
            if getattr(self, name) is not None:
                _check.label(getattr(self, name), argument=f"{name} of subsidy '{self.name}'")
        object.__setattr__(
            self,
            "where",
            FrozenDict({self._column(name): _condition(self.name, name, c) for name, c in self.where.items()}),
        )
        self._check_amount(given[0])
        self._check_dates()

    def _column(self, name: Any) -> str:
        return _check.label(name, argument=f"a column in where of subsidy '{self.name}'")

    def _check_amount(self, kind: str) -> None:
        what = f"{kind} of subsidy '{self.name}'"
        if kind.startswith("percent"):
            share = _check.number(getattr(self, kind), argument=what, low=0.0, high=1.0, open_low=True)
            if abs(share * 1e4 - round(share * 1e4)) > 1e-6:
                raise InputError(f"{what} is {repr_of(share)}; it must be a whole number of basis points (0.0001).")
            object.__setattr__(self, kind, share)
        else:
            object.__setattr__(self, kind, _check.whole(getattr(self, kind), argument=what, low=1, high=LARGEST_FEN))
        for name in ("cap_fen", "budget_fen", "merchant_cap_fen"):
            limit = getattr(self, name)
            if limit is not None:
                low, high = (1, LARGEST_FEN) if name == "cap_fen" else (0, LARGEST_BUDGET_FEN)
                limit = _check.whole(limit, argument=f"{name} of subsidy '{self.name}'", low=low, high=high)
                object.__setattr__(self, name, limit)
        if (self.merchant_cap_fen is None) != (self.period is None):
            raise InputError(
                f"subsidy '{self.name}' has only one of merchant_cap_fen and period; give both, because a cap "
                "holds for a period."
            )
        if self.period is not None:
            _check.one_of(self.period, PERIODS, argument=f"period of subsidy '{self.name}'")

    def _check_dates(self) -> None:
        for name in ("start", "end"):
            day = getattr(self, name)
            if day is not None:
                object.__setattr__(self, name, whole_day(day, f"{name} of subsidy '{self.name}'"))
        if self.start is not None and self.end is not None and self.start > self.end:
            raise InputError(f"subsidy '{self.name}' starts on {self.start}, after its end {self.end}; exchange them.")

    @property
    def kind(self) -> str:
        """Return the name of the amount that the rule has."""
        return next(kind for kind in AMOUNTS if getattr(self, kind) is not None)

    @property
    def is_limited(self) -> bool:
        """Return whether earlier payments of the rule limit its later payments."""
        return self.budget_fen is not None or self.merchant_cap_fen is not None or self.fund is not None

    @property
    def amount(self) -> int:
        """Return the amount: basis points of a percentage, fen otherwise."""
        value = getattr(self, self.kind)
        return round(value * 1e4) if self.kind.startswith("percent") else int(value)


def whole_day(value: Any, argument: str) -> date:
    """Return a day. Midnight of a datetime is a day too, because many tables hold dates that way."""
    found: date = _check.day(value, argument=argument).astype(object)
    timed = False
    if isinstance(value, str):  # "2026-06-21T00:00" as an end may mean with or without the 21st
        timed = not _is_day(value)
    elif isinstance(value, datetime):  # nanoseconds are those of pandas
        timed = value.time() != time() or getattr(value, "nanosecond", 0) != 0
    elif isinstance(value, np.datetime64):
        timed = value != value.astype("datetime64[D]") or np.datetime_data(value)[0] in "YMW"  # such as a month
    if timed:
        raise InputError(
            f"{argument} is {repr_of(value)}; the first and the last day are whole days, so give a day without a time, "
            f"such as '{found}'."
        )
    return found


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _condition(rule: str, column: str, condition: Any) -> Condition:
    if isinstance(condition, Interval):
        return condition
    if isinstance(condition, str) or not hasattr(condition, "__iter__"):
        raise InputError(
            f"subsidy '{rule}': where['{column}'] is {repr_of(condition)}; give a list of levels or an Interval."
        )
    levels = tuple(sorted((_level(rule, column, level) for level in condition), key=str))
    if not levels:
        raise InputError(f"subsidy '{rule}': where['{column}'] lists no level, so nobody is eligible; list some.")
    return levels


def _level(rule: str, column: str, level: Any) -> Any:
    """Return a level of a condition; a level of an id column is an id."""
    try:
        found = (id_of if column in (MERCHANT_ID, ORDER_ID) else level_of)(level)
    except Refused:
        found = None
    if found is None:
        raise InputError(f"subsidy '{rule}': where['{column}'] lists {repr_of(level)}; a level is a text or a number.")
    return found


@dataclass(frozen=True, eq=False)
class Gate:
    """A column that decides eligibility, and for each of its codes a mask of the rules that accept the code.

    The codes of levels are their places in `marks`. The codes of numbers and days are the right-closed bands between
    `marks`. The last code stands for levels that no rule names and for missing numbers.
    """

    column: str
    kind: str
    marks: tuple[Any, ...]
    masks: NDArray[np.uint64]

    @property
    def n_slots(self) -> int:
        """Return the number of codes."""
        return len(self.masks)

    def encode(self, columns: JoinedColumns) -> NDArray[Any]:
        """Return the code of every row."""
        if self.kind == "levels":
            codes, values = columns.levels(self.column)
            table = np.array(
                [self._level_code(value) for value in values] + [self.n_slots - 1],
                dtype=code_type(self.n_slots),
            )
            return looked_up(codes, table, threads=columns.threads)
        days = self.kind == "days"
        numbers = _day_numbers(columns.days(self.column)) if days else columns.real(self.column)
        return self._band(numbers, threads=columns.threads)

    def encode_one(self, order: Mapping[str, Any], clock: str = DEFAULT_CLOCK, date_format: str | None = None) -> int:
        """Return the code of one order given as a mapping."""
        if self.kind == "levels":
            return self._level_code(value_of(order, self.column, level_of))
        if self.kind == "days":
            time = value_of(order, self.column, lambda value: time_of(value, clock, date_format))
            return int(self._band(_day_numbers(np.array([time])))[0])
        return int(self._band(np.array([value_of(order, self.column, number_of)]))[0])

    def _level_code(self, value: Any) -> int:
        """Return the code of a level. A text equals a number only if it spells exactly one level that rules name."""
        met = None if value is None else self._spellings.meet(value)
        return self._places.get(met, self.n_slots - 1)

    @property
    def meaning(self) -> tuple[Any, ...]:
        """Return what the codes mean, as plain values."""
        return self.column, self.kind, self.marks if self.kind == "levels" else tuple(map(float, self.marks))

    @cached_property
    def _spellings(self) -> Spellings:
        return Spellings(self.marks)

    @cached_property
    def _places(self) -> dict[Any, int]:
        return {mark: k for k, mark in enumerate(self.marks)}

    def _band(self, values: NDArray[np.float64], *, threads: int = 1) -> NDArray[Any]:
        codes = banded(values, np.array(self.marks, dtype=np.float64), threads=threads)
        codes[np.isnan(values)] = self.n_slots - 1
        return codes


def _day_numbers(days: NDArray[np.datetime64]) -> NDArray[np.float64]:
    whole = days.astype("datetime64[D]", copy=False).view(np.int64)  # a cast of times takes ten times as long as a view
    numbers = whole.astype(np.float64)
    numbers[np.isnat(days)] = np.nan
    return numbers


def in_stacking_order(subsidies: Sequence[Subsidy]) -> tuple[Subsidy, ...]:
    """Return the rules with the members of each group together, at the place of the group's first member."""
    subsidies = _check.members(subsidies, Subsidy, argument="subsidies")
    place: dict[str, int] = {}
    for k, rule in enumerate(subsidies):
        place.setdefault(rule.group if rule.group is not None else f"\0{k}", k)
    stacked = sorted(range(len(subsidies)), key=lambda k: (place[subsidies[k].group or f"\0{k}"], k))
    return tuple(subsidies[k] for k in stacked)


def refuse_same_names(rules: Sequence[Subsidy]) -> None:
    """Raise if two rules have the same name, because the name identifies a quote column, a budget and a campaign."""
    names = [rule.name for rule in rules]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(
            f"subsidies: {names.count(twice)} rules are named '{twice}', but the name identifies a rule's payments and "
            "its budget; give each rule its own name."
        )


def periods_of(rules: tuple[Subsidy, ...]) -> tuple[str, ...]:
    """Return the periods of the rules' merchant caps."""
    return tuple(dict.fromkeys(rule.period for rule in rules if rule.period is not None))


def group_numbers(rules: Sequence[Subsidy]) -> list[int]:
    """Return the number of each rule's group; a rule without a group is a group of its own."""
    numbers: list[int] = []
    for k, rule in enumerate(rules):
        same = k > 0 and rule.group is not None and rule.group == rules[k - 1].group
        numbers.append(numbers[-1] if same else (numbers[-1] + 1 if numbers else 0))
    return numbers


Window: TypeAlias = tuple[date | None, date | None]


def compile_gates(rules: Sequence[Subsidy], windows: Sequence[Window] | None = None) -> tuple[Gate, ...]:
    """Return the gate of every column that a condition reads; `windows` are other first and last days of the rules."""
    if len(rules) > RULE_LIMIT:
        raise InputError(f"{len(rules)} subsidies were given; a tariff takes at most {RULE_LIMIT}.")
    conditions: dict[tuple[str, str], dict[int, Condition]] = {}
    for k, rule in enumerate(rules):
        for column, condition in rule.where.items():
            kind = "numbers" if isinstance(condition, Interval) else "levels"
            conditions.setdefault((column, kind), {})[k] = condition  # type: ignore[assignment]
        window = (rule.start, rule.end) if windows is None else windows[k]
        if window != (None, None):
            conditions.setdefault((SHIP_DATE, "days"), {})[k] = _day_interval(*window)
    return tuple(_gate(column, kind, asked, len(rules)) for (column, kind), asked in conditions.items())


def _day_interval(start: date | None, end: date | None) -> Interval:
    first = -np.inf if start is None else float(np.datetime64(start, "D").astype(np.int64)) - 1.0
    last = np.inf if end is None else float(np.datetime64(end, "D").astype(np.int64))
    return Interval(above=first, at_most=last)


def _gate(column: str, kind: str, asked: Mapping[int, Condition], n_rules: int) -> Gate:
    if kind == "levels":
        named = {(isinstance(level, bool), level): level for levels in asked.values() for level in levels}  # type: ignore[union-attr]
        marks = tuple(sorted(named.values(), key=str))
        _refuse_alike(column, marks)
        slots = len(marks) + 1
    else:
        bounds = {bound for span in asked.values() for bound in (span.above, span.at_most)}  # type: ignore[union-attr]
        marks = tuple(sorted(bound for bound in bounds if np.isfinite(bound)))
        slots = len(marks) + 2
    masks = np.full(slots, sum(1 << k for k in range(n_rules) if k not in asked), dtype=np.uint64)
    places = {mark: k for k, mark in enumerate(marks)}
    for k, condition in asked.items():
        accepted = _band_slots(condition, marks) if isinstance(condition, Interval) else [places[v] for v in condition]
        masks[accepted] |= np.uint64(1 << k)
    return Gate(column, kind, marks, masks)


def _refuse_alike(column: str, marks: Sequence[Any]) -> None:
    """Refuse levels of one column that rules give in two types, because a table may hold either type."""
    whole = [mark for mark in marks if not isinstance(mark, str)]
    mixed = {isinstance(mark, bool) for mark in whole}
    texts = {spelling(mark) for mark in marks if isinstance(mark, str)}
    alike = next((mark for mark in whole if spelling(mark) in texts), None)
    if len(mixed) > 1 or alike is not None:
        what = "booleans and numbers" if len(mixed) > 1 else f"{repr_of(alike)} and a text with the same spelling"
        raise InputError(f"subsidies name levels of '{column}' as {what}; write the levels of a column in one way.")


def _band_slots(condition: Interval, marks: tuple[float, ...]) -> NDArray[np.int64]:
    """Return the codes of the right-closed bands between marks that lie within an interval."""
    ends = np.array([-np.inf, *marks, np.inf])
    return np.flatnonzero((condition.above <= ends[:-1]) & (ends[1:] <= condition.at_most))
