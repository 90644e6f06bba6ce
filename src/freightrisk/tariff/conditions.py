"""Conditions of rules: levels, intervals and dates of an order, compiled to a bit mask for each value of a column."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._columns import MERCHANT_ID, ORDER_ID, SHIP_DATE, JoinedColumns, value_of
from freightrisk._frozen import FrozenDict
from freightrisk._intake import DEFAULT_CLOCK, Refused, Spellings, id_of, level_of, number_of, spelling, time_of
from freightrisk._shown import repr_of
from freightrisk.book.codings import code_type
from freightrisk.book.recode import banded, looked_up
from freightrisk.errors import InputError

RULE_LIMIT = 64
COVER = "conditions of the cover"  # the kind of conditions under which a cover pays at all
CONTROLS = "loss controls"


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


Condition: TypeAlias = Interval | Sequence[Any]
Window: TypeAlias = tuple[date | None, date | None]


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


def checked_where(where: Any, rule: str) -> FrozenDict[str, Condition]:
    """Return the conditions of a rule by column; `rule` names it in messages, such as "subsidy 'spring'"."""
    if not isinstance(where, Mapping):
        raise InputError(f"where of {rule} is {repr_of(where)}; map columns to levels or an Interval.")
    argument = f"a column in where of {rule}"
    return FrozenDict({_check.label(name, argument=argument): _condition(rule, name, c) for name, c in where.items()})


def checked_window(start: Any, end: Any, rule: str) -> Window:
    """Return the first and the last day of a rule."""
    first = None if start is None else whole_day(start, f"start of {rule}")
    last = None if end is None else whole_day(end, f"end of {rule}")
    if first is not None and last is not None and first > last:
        raise InputError(f"{rule} starts on {first}, after its end {last}; exchange them.")
    return first, last


def _condition(rule: str, column: str, condition: Any) -> Condition:
    if isinstance(condition, Interval):
        return condition
    if isinstance(condition, str) or not hasattr(condition, "__iter__"):
        raise InputError(f"{rule}: where['{column}'] is {repr_of(condition)}; give a list of levels or an Interval.")
    levels = tuple(sorted((_level(rule, column, level) for level in condition), key=str))
    if not levels:
        raise InputError(f"{rule}: where['{column}'] lists no level, so it never holds; list some.")
    return levels


def _level(rule: str, column: str, level: Any) -> Any:
    """Return a level of a condition; a level of an id column is an id."""
    try:
        found = (id_of if column in (MERCHANT_ID, ORDER_ID) else level_of)(level)
    except Refused:
        found = None
    if found is None:
        raise InputError(f"{rule}: where['{column}'] lists {repr_of(level)}; a level is a text or a number.")
    return found


@dataclass(frozen=True, eq=False)
class Gate:
    """A column that conditions read, and for each of its codes a mask of the rules that accept the code.

    `masks` has an array for each kind of rules with a condition on the column, such as "subsidies" and "limits". The
    codes of levels are their places in `marks`. The codes of numbers and days are the right-closed bands between
    `marks`. The last code stands for levels that no rule names and for missing numbers.
    """

    column: str
    kind: str
    marks: tuple[Any, ...]
    masks: Mapping[str, NDArray[np.uint64]]

    @property
    def n_slots(self) -> int:
        """Return the number of codes."""
        return len(self.marks) + (1 if self.kind == "levels" else 2)

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


def _within(inner: Condition, outer: Condition) -> bool:
    """Return whether every value that meets a condition meets another condition of the same column as well."""
    if isinstance(inner, Interval) and isinstance(outer, Interval):
        return outer.above <= inner.above and inner.at_most <= outer.at_most
    if isinstance(inner, Interval) or isinstance(outer, Interval):
        return False
    return {(type(level), level) for level in inner} <= {(type(level), level) for level in outer}


def are_apart(one: Condition, other: Condition) -> bool:
    """Return whether no value meets both conditions on a column; intervals and levels are taken to share one."""
    if isinstance(one, Interval) and isinstance(other, Interval):
        return max(one.above, other.above) >= min(one.at_most, other.at_most)
    if isinstance(one, Interval) or isinstance(other, Interval):
        return False
    return not {str(level) for level in one} & {str(level) for level in other}


@dataclass(frozen=True)
class Conditions:
    """The conditions of one rule: columns with their levels or intervals, and the first and the last ship date."""

    where: Mapping[str, Condition]
    window: Window = (None, None)

    def imply(self, other: "Conditions") -> bool:
        """Return whether every order that meets these conditions meets the others as well."""
        (start, end), (first, last) = self.window, other.window
        late = first is None or (start is not None and start >= first)
        early = last is None or (end is not None and end <= last)
        columns = other.where.items()
        return late and early and all(name in self.where and _within(self.where[name], one) for name, one in columns)


def compile_gates(asked: Mapping[str, Sequence[Conditions]]) -> tuple[Gate, ...]:
    """Return the gate of every column that a condition reads.

    Parameters
    ----------
    asked : mapping of str to sequence of Conditions
        The conditions of each kind of rules, such as "subsidies" and "limits". One gate serves all kinds.
    """
    for what, rules in asked.items():
        if len(rules) > RULE_LIMIT:
            raise InputError(f"{len(rules)} {what} were given; a tariff takes at most {RULE_LIMIT}.")
    found: dict[tuple[str, str], dict[str, dict[int, Condition]]] = {}
    for what, rules in asked.items():
        for k, rule in enumerate(rules):
            for column, condition in rule.where.items():
                kind = "numbers" if isinstance(condition, Interval) else "levels"
                found.setdefault((column, kind), {}).setdefault(what, {})[k] = condition
            if rule.window != (None, None):
                days = _day_interval(*rule.window)
                found.setdefault((SHIP_DATE, "days"), {}).setdefault(what, {})[k] = days
    counts = {what: len(rules) for what, rules in asked.items()}
    return tuple(_gate(column, kind, rules, counts) for (column, kind), rules in found.items())


def _day_interval(start: date | None, end: date | None) -> Interval:
    first = -np.inf if start is None else float(np.datetime64(start, "D").astype(np.int64)) - 1.0
    last = np.inf if end is None else float(np.datetime64(end, "D").astype(np.int64))
    return Interval(above=first, at_most=last)


def _gate(column: str, kind: str, asked: Mapping[str, Mapping[int, Condition]], counts: Mapping[str, int]) -> Gate:
    conditions = [condition for rules in asked.values() for condition in rules.values()]
    spans = [condition for condition in conditions if isinstance(condition, Interval)]  # all of them, or none
    if kind == "levels":
        levels = [level for condition in conditions if not isinstance(condition, Interval) for level in condition]
        marks = tuple(sorted({(isinstance(level, bool), level): level for level in levels}.values(), key=str))
        _refuse_alike(column, marks, " and ".join(asked))
        slots = len(marks) + 1
    else:
        bounds = {bound for span in spans for bound in (span.above, span.at_most)}
        marks = tuple(sorted(bound for bound in bounds if np.isfinite(bound)))
        slots = len(marks) + 2
    places = {mark: k for k, mark in enumerate(marks)}
    masks = {}
    for what, rules in asked.items():
        masks[what] = np.full(slots, sum(1 << k for k in range(counts[what]) if k not in rules), dtype=np.uint64)
        for k, condition in rules.items():
            if isinstance(condition, Interval):
                masks[what][_band_slots(condition, marks)] |= np.uint64(1 << k)
            else:
                masks[what][[places[level] for level in condition]] |= np.uint64(1 << k)
    return Gate(column, kind, marks, FrozenDict(masks))


def _refuse_alike(column: str, marks: Sequence[Any], rules: str) -> None:
    """Refuse levels of one column that rules give in two types, because a table may hold either type."""
    whole = [mark for mark in marks if not isinstance(mark, str)]
    mixed = {isinstance(mark, bool) for mark in whole}
    texts = {spelling(mark) for mark in marks if isinstance(mark, str)}
    alike = next((mark for mark in whole if spelling(mark) in texts), None)
    if len(mixed) > 1 or alike is not None:
        what = "booleans and numbers" if len(mixed) > 1 else f"{repr_of(alike)} and a text with the same spelling"
        raise InputError(f"{rules} name levels of '{column}' as {what}; write the levels of a column in one way.")


def _band_slots(condition: Interval, marks: tuple[float, ...]) -> NDArray[np.int64]:
    """Return the codes of the right-closed bands between marks that lie within an interval."""
    ends = np.array([-np.inf, *marks, np.inf])
    return np.flatnonzero((condition.above <= ends[:-1]) & (ends[1:] <= condition.at_most))
