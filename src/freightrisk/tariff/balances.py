"""Running totals that later orders start from, and the fixed sequence in which a batch spends money."""

import re
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._columns import MERCHANT_ID, ORDER_ID, SHIP_DATE, JoinedColumns, value_of
from freightrisk._intake import DEFAULT_CLOCK, Id, Refused, id_of, time_of
from freightrisk._shown import repr_of
from freightrisk.errors import InputError
from freightrisk.tariff.conditions import whole_day
from freightrisk.tariff.funds import FUND_DAY, UNSPENDABLE, Fund, paid_before
from freightrisk.tariff.subsidy import Subsidy

Whole = NDArray[np.int64]

UNIT = {"day": "D", "month": "M"}
MOST_REMAINDER = 10**10  # micro-yuan
PERIOD = re.compile(r"[0-9]{4}-[0-9]{2}(-[0-9]{2})?")
NO_ROWS: Whole = np.empty(0, dtype=np.int64)
NO_KEYS: NDArray[np.int32] = np.empty(0, dtype=np.int32)


@dataclass(eq=True)
class Balances:
    """Running totals of spending and rounding remainders, up to a point in a fixed sequence of orders.

    Pricing with balances starts from them and updates them. Batches priced one after another therefore give the same
    fen as all orders at once. If pricing fails, the balances are unchanged. If it is interrupted, they are unchanged or
    completely updated.

    Parameters
    ----------
    spent : dict of str to int
        Fen that each limited rule has paid, by the rule's name.
    spent_by_merchant : dict of str to dict of (merchant, period) to int
        Fen that each rule with a merchant cap has paid. Periods are texts such as "2026-11-22" or "2026-11".
    remainders : dict of merchant to int
        For carried rounding: micro-yuan that each merchant was undercharged so far.
    met : set of (rule, merchant, period)
        Budgets and caps that ran short in the last batch. A budget has no merchant and no period.
    spent_by_fund : dict of str to dict of day to int
        Fen that each fund has paid, by ship day as a text such as "2026-06-18". The day "" holds what a fund without a
        limit by day has paid; it counts as before every day.
    met_funds : set of str
        Funds that ran short in the last batch.

    Examples
    --------
    >>> from freightrisk import Balances, Subsidy
    >>> balances = Balances(spent={"618 live": 120})
    >>> balances.left(Subsidy("618 live", "platform", fixed_fen=5, budget_fen=1000))
    880
    """

    spent: dict[str, int] = field(default_factory=dict)
    spent_by_merchant: dict[str, dict[tuple[Hashable, str], int]] = field(default_factory=dict)
    remainders: dict[Hashable, int] = field(default_factory=dict)
    met: set[tuple[str, Hashable, str]] = field(default_factory=set, compare=False)
    spent_by_fund: dict[str, dict[str, int]] = field(default_factory=dict)
    met_funds: set[str] = field(default_factory=set, compare=False)

    def __post_init__(self) -> None:
        for name in ("spent", "spent_by_merchant", "remainders", "spent_by_fund"):
            _check.mapping(getattr(self, name), argument=f"{name} of balances")
        self.met_funds = set(_check.items(self.met_funds, argument="met_funds of balances", such="it must be a set"))
        self.met = set(_check.items(self.met, argument="met of balances", such="it must be a set"))
        self.spent = {name: _fen(fen) for name, fen in self.spent.items()}
        self.remainders = _once(self.remainders, known_id, _micro)
        self.spent_by_merchant = {
            name: _once(_check.mapping(spent, argument=f"spent_by_merchant of '{name}'"), _merchant_and_period, _fen)
            for name, spent in self.spent_by_merchant.items()
        }
        self.spent_by_fund = {
            name: _once(_check.mapping(spent, argument=f"spent_by_fund of '{name}'"), _fund_day, _fen)
            for name, spent in self.spent_by_fund.items()
        }

    def left(self, rule: Subsidy) -> int:
        """Return the fen left of a rule's own budget; 2**62 if it has none. `left_in_fund` tells about its fund."""
        _check.instance(rule, Subsidy, argument="rule")
        if rule.budget_fen is None:
            return UNSPENDABLE
        return max(0, rule.budget_fen - _fen(self.spent.get(rule.name, 0)))

    def left_of(self, rule: Subsidy, merchant: Hashable, period: str) -> int:
        """Return the fen left of a rule's cap for one merchant and period; 2**62 if the rule has no cap."""
        _check.instance(rule, Subsidy, argument="rule")
        if rule.merchant_cap_fen is None:
            return UNSPENDABLE
        key = known_id(merchant), period
        return max(0, rule.merchant_cap_fen - _fen(self.spent_by_merchant.get(rule.name, {}).get(key, 0)))

    def left_in_fund(self, fund: Fund, *, day: date | str | None = None) -> int:
        """Return the fen left of a fund, or what of it orders of one ship day can still get; 2**62 without a limit.

        Parameters
        ----------
        fund : Fund
        day : datetime.date, or text such as "2026-06-18", optional
            A whole day, as the tariff's clock counts the days of ship times.

        Examples
        --------
        >>> from freightrisk import Balances, Fund
        >>> fund = Fund("618", budget_fen=1000, pacing="even", start="2026-06-16", end="2026-06-18")
        >>> balances = Balances(spent_by_fund={"618": {"2026-06-16": 200}})
        >>> balances.left_in_fund(fund), balances.left_in_fund(fund, day="2026-06-17")
        (800, 400)
        """
        _check.instance(fund, Fund, argument="fund")
        spent = {when: _fen(fen) for when, fen in self.spent_by_fund.get(fund.name, {}).items()}
        left = UNSPENDABLE if fund.budget_fen is None else max(0, fund.budget_fen - sum(spent.values()))
        if day is None:
            return left
        # A time would need a clock: one moment belongs to different days in Shanghai and in London.
        text = str(whole_day(day, "day"))
        (before,) = paid_before(spent, [text])
        return max(0, min(left, fund.day_limit(text, spent_before=before) - spent.get(text, 0)))

    def remainder_of(self, merchant: Hashable) -> int:
        """Return the micro-yuan that a merchant was undercharged so far."""
        return _micro(self.remainders.get(known_id(merchant), 0))

    def copy(self) -> "Balances":
        """Return independent balances with the same amounts."""
        after = Balances()  # no checks here: amounts were checked on entry and are checked again before use
        after.spent, after.remainders, after.met = dict(self.spent), dict(self.remainders), set(self.met)
        after.spent_by_merchant = {name: dict(spent) for name, spent in self.spent_by_merchant.items()}
        after.spent_by_fund = {name: dict(spent) for name, spent in self.spent_by_fund.items()}
        after.met_funds = set(self.met_funds)
        return after


def known_id(merchant: Hashable) -> Id:
    """Return the id of a merchant that balances name."""
    try:
        found = id_of(merchant)
    except Refused as refused:
        raise InputError(f"balances: merchant {repr_of(merchant)} {refused.fault}; {refused.cure}.") from None
    if found is None:
        raise InputError("balances name a missing merchant; name each merchant by its id.")
    return found


def _merchant_and_period(pair: Any) -> tuple[Id, str]:
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise InputError(
            f"balances name {repr_of(pair)} for a cap; write a merchant and a period, such as ('m1', '2026-06')."
        )
    return known_id(pair[0]), _period(pair[1])


def _fund_day(day: Any) -> str:
    if day == "" or (isinstance(day, str) and len(_period(day)) == len("2026-06-02")):
        return str(day)
    raise InputError(f"balances name the day {repr_of(day)} of a fund; write a day as '2026-06-02', or '' for none.")


def become(balances: Balances, after: Balances) -> None:
    """Give balances the state of others, which must not be used afterwards."""
    vars(balances).update(vars(after))  # a single call, so an interrupt cannot leave half of the state


def _once(given: Mapping[Any, Any], key: Callable[[Any], Any], amount: Callable[[Any], int]) -> dict[Any, int]:
    """Return amounts by checked key; refuses two spellings of one key."""
    found: dict[Any, int] = {}
    for name, value in given.items():
        if (known := key(name)) in found:
            raise InputError(
                f"balances have two amounts for {repr_of(name)}, one of them in another spelling; keep one."
            )
        found[known] = amount(value)
    return found


def spent_by_label(balances: Balances, rule: Subsidy, labels: list[tuple[Hashable, str]]) -> Whole:
    """Return the fen that a rule with a cap has paid to each merchant and period of a list."""
    spent = balances.spent_by_merchant.get(rule.name, {})
    return _amounts([spent.get(label, 0) for label in labels], _fen, UNSPENDABLE)


def remainders_of(balances: Balances, merchants: list[Hashable]) -> Whole:
    """Return the micro-yuan that each merchant of a list was undercharged so far."""
    return _amounts([balances.remainders.get(name, 0) for name in merchants], _micro, MOST_REMAINDER)


def _amounts(values: list[Any], check: Callable[[Any], int], most: int) -> Whole:
    """Return amounts as an array, each checked again, because dictionaries can change after construction."""
    if (
        all(type(value) is int for value in values)
        and -most <= min(values, default=0) <= max(values, default=0) <= most
    ):
        found = np.array(values, dtype=np.int64)
        if check is _micro or found.min(initial=0) >= 0:
            return found
    return np.array([check(value) for value in values], dtype=np.int64)


def fund_spending(balances: Balances, fund: Fund, days: list[str]) -> tuple[Whole, Whole]:
    """Return the fen that a fund has paid for each day of a list, and for all days before it."""
    spent = balances.spent_by_fund.get(fund.name, {})
    paid = _amounts([spent.get(day, 0) for day in days], _fen, UNSPENDABLE)
    known = {day: _fen(fen) for day, fen in spent.items()}
    return paid, np.array(paid_before(known, days), dtype=np.int64)


def _fen(value: Any) -> int:
    return _check.whole(value, argument="an amount of balances, in fen,", low=0, high=UNSPENDABLE)


def _micro(value: Any) -> int:
    return _check.whole(
        value, argument="a remainder of balances, in micro-yuan,", low=-MOST_REMAINDER, high=MOST_REMAINDER
    )


def _period(value: Any) -> str:
    if not isinstance(value, str) or not PERIOD.fullmatch(value) or not _is_in_calendar(value):
        raise InputError(
            f"balances name the period {repr_of(value)}; write a day as '2026-06-02' and a month as '2026-06'."
        )
    return value


def _is_in_calendar(period: str) -> bool:
    """Return whether a day or a month exists."""
    try:
        date.fromisoformat(period if len(period) == len("2026-06-02") else f"{period}-01")
    except ValueError:
        return False
    return True


def check_balances(balances: Any) -> None:
    """Refuse a value that is not a `Balances`."""
    if balances is not None and not isinstance(balances, Balances):
        raise InputError(f"balances is {repr_of(balances)}; it must be a Balances.")


@contextmanager
def spending(balances: Balances | None) -> Iterator[Balances]:
    """Yield a copy to spend from. At the end the balances take its state; an error leaves them unchanged."""
    check_balances(balances)
    after = Balances() if balances is None else balances.copy()
    yield after
    if balances is not None:
        become(balances, after)


@dataclass(frozen=True, eq=False)
class OrderSequence:
    """The sequence in which a batch of orders spends budgets, and the limits that each order counts against.

    Parameters
    ----------
    permutation : int64 array, shape (n_orders,) or empty
        Rows by priority (highest first), ship time, order id. Empty if the rows already have this sequence.
    merchants : int32 array, shape (n_orders,) or empty
        Code of the merchant, if rounding carries.
    names : list
        The merchant of each code.
    keys : int32 array, shape (n_periods, n_orders)
        For each period of a merchant cap, the code of merchant and period; -1 if either is missing. If funds limit
        days, a last row has the code of the ship day.
    labels : dict of period to list of (merchant, period)
        Merchant and period of each code. Days of funds are in their order, and have no merchant.
    ids : array, shape (n_orders,)
        Order ids: int64, or objects that are whole numbers and texts.
    """

    permutation: Whole
    merchants: NDArray[np.int32]
    names: list[Hashable]
    keys: NDArray[np.int32]
    labels: Mapping[str, list[tuple[Hashable, str]]]
    ids: NDArray[Any]


def period_of(day: np.datetime64, period: str) -> str:
    """Return a day, or its month, as a text."""
    return str(day.astype(f"datetime64[{UNIT[period]}]"))


def sequence_of(
    joined: JoinedColumns,
    *,
    periods: tuple[str, ...],
    carries: bool,
) -> OrderSequence:
    """Return the sequence of a batch, with its merchants and periods."""
    import pandas as pd

    merchants: NDArray[np.int32] = np.empty(0, dtype=np.int32)
    names: list[Hashable] = []
    keys, labels = np.full((len(periods), joined.n_rows), -1, dtype=np.int32), {}
    if carries or any(period in UNIT for period in periods):
        codes, values = joined.id_codes(MERCHANT_ID)
        merchants, names = codes.astype(np.int32), values.tolist()
    if carries:
        joined.refuse(
            merchants < 0,
            f"orders: '{joined.names_of.merchant_id}' is missing in {{rows}}; carried rounding needs it.",
        )
    for k, period in enumerate(periods):
        if period == FUND_DAY:
            keys[k], labels[period] = _days_of(joined)
            continue
        when = joined.days(SHIP_DATE).astype(f"datetime64[{UNIT[period]}]")
        known = (merchants >= 0) & ~np.isnat(when)
        number = when[known].view(np.int64)
        first = number.min(initial=2**62)
        keys[k, known], pairs = pd.factorize(merchants[known].astype(np.int64) * 2**31 + (number - first))
        texts = (pairs % 2**31 + first).astype(when.dtype).astype(str).tolist()
        labels[period] = [(names[owner], text) for owner, text in zip((pairs // 2**31).tolist(), texts, strict=True)]
    ids = order_ids(joined)
    permutation = _fixed_order(joined, ids)
    return OrderSequence(permutation, merchants if carries else np.empty(0, dtype=np.int32), names, keys, labels, ids)


def _days_of(joined: JoinedColumns) -> tuple[NDArray[np.int32], list[tuple[Hashable, str]]]:
    """Return the code of each order's ship day, -1 if it is missing, and the days in their order."""
    import pandas as pd

    days = joined.days(SHIP_DATE).astype("datetime64[D]")
    known = ~np.isnat(days)
    codes = np.full(joined.n_rows, -1, dtype=np.int32)
    codes[known], found = pd.factorize(days[known].view(np.int64), sort=True)
    return codes, [(None, day) for day in found.astype("datetime64[D]").astype(str).tolist()]


def order_ids(joined: JoinedColumns) -> NDArray[Any]:
    """Return the id of each order, on which the sequence and the draws depend; refuses missing ids."""
    ids = joined.ids(ORDER_ID)
    if ids.dtype == object:
        absent = np.array([value is None for value in ids.tolist()], dtype=bool)
        joined.refuse(absent, f"orders: '{joined.names_of.order_id}' is missing in {{rows}}; give each order an id.")
    return ids


def sequence_of_one(
    order: Mapping[str, Any],
    *,
    periods: tuple[str, ...],
    carries: bool,
    clock: str = DEFAULT_CLOCK,
    date_format: str | None = None,
) -> OrderSequence:
    """Return the sequence of one order given as a mapping."""
    needed = carries or any(period in UNIT for period in periods)
    merchant = value_of(order, MERCHANT_ID, id_of) if needed else None
    if carries and merchant is None:
        raise InputError(f"order: '{MERCHANT_ID}' is missing; carried rounding needs it.")
    if value_of(order, ORDER_ID, id_of) is None:
        raise InputError(f"order: '{ORDER_ID}' is missing; give the order an id.")
    time = value_of(order, SHIP_DATE, lambda value: time_of(value, clock, date_format))
    shipped = not np.isnat(time)
    labels: dict[str, list[tuple[Hashable, str]]] = {
        period: [(merchant, period_of(time, period))] for period in periods if period in UNIT
    }
    if FUND_DAY in periods:
        labels[FUND_DAY] = [(None, period_of(time, "day"))] if shipped else []
    known = [shipped and (merchant is not None or period not in UNIT) for period in periods]
    keys = np.where(known, 0, -1).astype(np.int32).reshape(-1, 1)
    return OrderSequence(NO_ROWS, np.zeros(1 if carries else 0, dtype=np.int32), [merchant], keys, labels, NO_ROWS)


def _fixed_order(joined: JoinedColumns, ids: NDArray[Any]) -> Whole:
    """Return the rows by priority, ship time and order id; empty if the rows already have this sequence."""
    times, priority = joined.times(SHIP_DATE), joined.names_of.priority
    shipped = times.astype("datetime64[us]").view(np.int64)
    shipped[np.isnat(times)] = np.iinfo(np.int64).max
    first = np.zeros(len(ids)) if priority is None else -joined.real(priority)
    joined.refuse(np.isnan(first), f"orders: '{priority}' is missing in {{rows}}; give each order a number.")
    last = ids if ids.dtype != object else _ranks(ids)
    before = first[:-1] < first[1:]
    even = first[:-1] == first[1:]
    for values in (shipped, last):
        before |= even & (values[:-1] < values[1:])
        even &= values[:-1] == values[1:]
    if bool(np.all(before | even)):
        return NO_ROWS
    return np.lexsort((last, shipped, first)).astype(np.int64)


def _ranks(ids: NDArray[Any]) -> Whole:
    """Return the rank of each id: whole numbers by size, then texts by character; equal ids have equal ranks."""
    place = {
        name: k for k, name in enumerate(sorted(set(ids.tolist()), key=lambda name: (isinstance(name, str), name)))
    }
    return np.fromiter(map(place.__getitem__, ids.tolist()), dtype=np.int64, count=len(ids))
