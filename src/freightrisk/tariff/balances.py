"""What earlier orders leave to later ones: budgets, caps by merchant, and the remainders of rounding."""

import re
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check, _plan, _rounding, _settle
from freightrisk._columns import MERCHANT_ID, ORDER_ID, SHIP_DATE, JoinedColumns, value_of
from freightrisk._intake import DEFAULT_CLOCK, Id, Refused, id_of, time_of
from freightrisk._parallel import in_order
from freightrisk._shown import repr_of
from freightrisk.errors import InputError
from freightrisk.tariff.quotes import QuoteBuffers
from freightrisk.tariff.subsidy import Subsidy

Whole = NDArray[np.int64]

UNSPENDABLE = 2**62
WAVE = 8
UNIT = {"day": "D", "month": "M"}
MOST_REMAINDER = 10**10  # micro-yuan
PERIOD = re.compile(r"[0-9]{4}-[0-9]{2}(-[0-9]{2})?")
NO_ROWS: Whole = np.empty(0, dtype=np.int64)
NO_DRAWS: NDArray[np.uint16] = np.empty(0, dtype=np.uint16)


@dataclass(eq=True)
class Balances:
    """What subsidies have spent, and what rounding has left over, up to some order of a fixed order of orders.

    Pricing with one of these starts from it and updates it, so that batches priced one after another come to the same
    fen as all orders at once. Pricing that fails leaves it as it was. So does pricing that is interrupted, unless all
    orders were priced by then: an interrupt changes all of it or nothing.

    Parameters
    ----------
    spent : dict of str to int
        Fen that each limited rule has paid, by the rule's name.
    spent_by_merchant : dict of str to dict of (merchant, period) to int
        Fen that each rule with a cap by merchant has paid; periods are texts such as "2026-11-22" or "2026-11".
    remainders : dict of merchant to int
        Micro-yuan charged too little so far, where rounding carries.
    met : set of (rule, merchant, period)
        Budgets (of no merchant and period) and caps for want of which orders of the last batch were offered less.

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

    def __post_init__(self) -> None:
        for name in ("spent", "spent_by_merchant", "remainders"):
            _check.mapping(getattr(self, name), argument=f"{name} of balances")
        self.spent = {name: _fen(fen) for name, fen in self.spent.items()}
        self.remainders = _once(self.remainders, known_id, _micro)
        self.spent_by_merchant = {
            name: _once(_check.mapping(spent, argument=f"spent_by_merchant of '{name}'"), _merchant_and_period, _fen)
            for name, spent in self.spent_by_merchant.items()
        }

    def left(self, rule: Subsidy) -> int:
        """Return the fen left of a rule's budget; a very large number without one."""
        _check.instance(rule, Subsidy, argument="rule")
        if rule.budget_fen is None:
            return UNSPENDABLE
        return max(0, rule.budget_fen - _fen(self.spent.get(rule.name, 0)))

    def left_of(self, rule: Subsidy, merchant: Hashable, period: str) -> int:
        """Return the fen left of a rule's cap for one merchant and period; a very large number without a cap."""
        _check.instance(rule, Subsidy, argument="rule")
        if rule.merchant_cap_fen is None:
            return UNSPENDABLE
        key = known_id(merchant), period
        return max(0, rule.merchant_cap_fen - _fen(self.spent_by_merchant.get(rule.name, {}).get(key, 0)))

    def remainder_of(self, merchant: Hashable) -> int:
        """Return the micro-yuan that a merchant was charged too little so far."""
        return _micro(self.remainders.get(known_id(merchant), 0))

    def copy(self) -> "Balances":
        """Return balances that change apart from these."""
        after = Balances()  # what stands here was checked when it came, and is again where it is used
        after.spent, after.remainders, after.met = dict(self.spent), dict(self.remainders), set(self.met)
        after.spent_by_merchant = {name: dict(spent) for name, spent in self.spent_by_merchant.items()}
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


def become(balances: Balances, after: Balances) -> None:
    """Give balances the state of others, which are not used any more."""
    vars(balances).update(vars(after))  # one call, which no interrupt divides


def _once(given: Mapping[Any, Any], key: Callable[[Any], Any], amount: Callable[[Any], int]) -> dict[Any, int]:
    """Return amounts by the keys that ids and periods are, refusing two spellings of one."""
    found: dict[Any, int] = {}
    for name, value in given.items():
        if (known := key(name)) in found:
            raise InputError(
                f"balances have two amounts for {repr_of(name)}, one of them under another spelling; keep one."
            )
        found[known] = amount(value)
    return found


def _amounts(values: list[Any], check: Callable[[Any], int], most: int) -> Whole:
    """Return amounts as an array, each checked: a dictionary can be changed after it was."""
    if (
        all(type(value) is int for value in values)
        and -most <= min(values, default=0) <= max(values, default=0) <= most
    ):
        found = np.array(values, dtype=np.int64)
        if check is _micro or found.min(initial=0) >= 0:
            return found
    return np.array([check(value) for value in values], dtype=np.int64)


def _fen(value: Any) -> int:
    return _check.whole(value, argument="an amount of balances, in fen,", low=0, high=UNSPENDABLE)


def _micro(value: Any) -> int:
    return _check.whole(
        value, argument="a remainder of balances, in micro-yuan,", low=-MOST_REMAINDER, high=MOST_REMAINDER
    )


def _period(value: Any) -> str:
    if not isinstance(value, str) or not PERIOD.fullmatch(value):
        raise InputError(
            f"balances name the period {repr_of(value)}; write a day as '2026-06-02' and a month as '2026-06'."
        )
    return value


def check_balances(balances: Any) -> None:
    """Refuse what is no `Balances`."""
    if balances is not None and not isinstance(balances, Balances):
        raise InputError(f"balances is {repr_of(balances)}; it must be a Balances.")


@contextmanager
def spending(balances: Balances | None) -> Iterator[Balances]:
    """Give a copy to spend from; the balances become it at the end, and stay as they were if anything fails."""
    check_balances(balances)
    after = Balances() if balances is None else balances.copy()
    yield after
    if balances is not None:
        become(balances, after)


@dataclass(frozen=True, eq=False)
class Sequence:
    """The fixed order of a batch of orders, and what each of them counts against.

    Parameters
    ----------
    order : int64 array, shape (n_orders,) or empty
        Rows by priority (highest first), ship time, order id; empty where the rows stand so already.
    merchants : int32 array, shape (n_orders,) or empty
        Code of the merchant, where rounding carries.
    names : list
        The merchant of each code.
    keys : int32 array, shape (n_periods, n_orders)
        For each period that rules are capped by, a code for merchant and period; -1 where one is missing.
    labels : dict of period to list of (merchant, period)
        What the codes stand for.
    ids : array, shape (n_orders,)
        Order ids: int64, or objects that are whole numbers and texts.
    """

    order: Whole
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
) -> Sequence:
    """Return the fixed order of a batch and its merchants and periods."""
    import pandas as pd

    merchants: NDArray[np.int32] = np.empty(0, dtype=np.int32)
    names: list[Hashable] = []
    keys, labels = np.full((len(periods), joined.n_rows), -1, dtype=np.int32), {}
    if carries or periods:
        codes, values = joined.id_codes(MERCHANT_ID)
        merchants, names = codes.astype(np.int32), values.tolist()
    if carries:
        joined.refuse(
            merchants < 0,
            f"orders: '{joined.names_of.merchant_id}' is missing in {{rows}}; rounding that carries needs it.",
        )
    for k, period in enumerate(periods):
        when = joined.days(SHIP_DATE).astype(f"datetime64[{UNIT[period]}]")
        known = (merchants >= 0) & ~np.isnat(when)
        number = when[known].view(np.int64)
        first = number.min(initial=2**62)
        keys[k, known], pairs = pd.factorize(merchants[known].astype(np.int64) * 2**31 + (number - first))
        texts = (pairs % 2**31 + first).astype(when.dtype).astype(str).tolist()
        labels[period] = [(names[owner], text) for owner, text in zip((pairs // 2**31).tolist(), texts, strict=True)]
    ids = order_ids(joined)
    order = _fixed_order(joined, ids)
    return Sequence(order, merchants if carries else np.empty(0, dtype=np.int32), names, keys, labels, ids)


def order_ids(joined: JoinedColumns) -> NDArray[Any]:
    """Return the id of each order, by which budgets, remainders and draws go; refuses missing ones."""
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
) -> Sequence:
    """Return the sequence of one order given as a mapping."""
    needed = bool(periods) or carries
    merchant = value_of(order, MERCHANT_ID, id_of) if needed else None
    if carries and merchant is None:
        raise InputError(f"order: '{MERCHANT_ID}' is missing; rounding that carries needs it.")
    if value_of(order, ORDER_ID, id_of) is None:
        raise InputError(f"order: '{ORDER_ID}' is missing; give the order an id.")
    time = value_of(order, SHIP_DATE, lambda value: time_of(value, clock, date_format))
    known = merchant is not None and not np.isnat(time)
    labels = {period: [(merchant, period_of(time, period))] for period in periods}
    keys = np.full((len(periods), 1), 0 if known else -1, dtype=np.int32)
    return Sequence(NO_ROWS, np.zeros(1 if carries else 0, dtype=np.int32), [merchant], keys, labels, NO_ROWS)


def _fixed_order(joined: JoinedColumns, ids: NDArray[Any]) -> Whole:
    """Return the rows by priority, ship time and order id; nothing where they stand so already."""
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
    """Return the rank of each id: whole numbers by size, then texts by their characters; equal ids have one rank."""
    place = {
        name: k for k, name in enumerate(sorted(set(ids.tolist()), key=lambda name: (isinstance(name, str), name)))
    }
    return np.fromiter(map(place.__getitem__, ids.tolist()), dtype=np.int64, count=len(ids))


@dataclass(frozen=True, eq=False)
class Left:
    """What limited rules have left, as the kernel counts it down.

    Parameters
    ----------
    rules : list of Subsidy
    labels : dict of period to list of (merchant, period)
    budget : int64 array, shape (n_rules,)
    rule_keys, rule_start : int32 and int64 arrays, shape (n_rules,)
        As for `_settle.Limits`.
    by_key : int64 array
        Of each capped rule, for each key of its period.
    budget_met, by_key_met : uint8 arrays
        Where an order was offered less for want of money.
    """

    rules: tuple[Subsidy, ...]
    labels: Mapping[str, list[tuple[Hashable, str]]]
    budget: Whole
    rule_keys: NDArray[np.int32]
    rule_start: Whole
    by_key: Whole
    budget_met: NDArray[np.uint8]
    by_key_met: NDArray[np.uint8]

    @classmethod
    def of(cls, rules: tuple[Subsidy, ...], sequence: Sequence, balances: Balances) -> "Left":
        """Return what balances leave to a batch."""
        budget = np.array([balances.left(rule) for rule in rules], dtype=np.int64)
        rule_keys, start = np.full(len(rules), -1, dtype=np.int32), np.zeros(len(rules), dtype=np.int64)
        periods, parts, size = list(sequence.labels), [], 0
        for k, rule in enumerate(rules):
            if rule.period is None or rule.merchant_cap_fen is None:
                continue
            spent = balances.spent_by_merchant.get(rule.name, {})
            labels = sequence.labels[rule.period]
            taken = _amounts([spent.get(label, 0) for label in labels], _fen, UNSPENDABLE)
            rule_keys[k], start[k] = periods.index(rule.period), size
            parts.append(np.maximum(rule.merchant_cap_fen - taken, 0))
            size += len(labels)
        by_key = np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
        met = np.zeros(len(rules), dtype=np.uint8), np.zeros(len(by_key), dtype=np.uint8)
        return cls(rules, sequence.labels, budget, rule_keys, start, by_key, *met)

    def limits(self, keys: NDArray[np.int32]) -> _settle.Limits:
        """Return the kernel's view, which counts these arrays down."""
        return _settle.Limits(
            self.budget, keys, self.rule_keys, self.rule_start, self.by_key, self.budget_met, self.by_key_met
        )

    def allowed(self) -> int:
        """Return a bit for each rule whose budget is not at its end."""
        return sum(1 << k for k, left in enumerate(self.budget.tolist()) if left > 0)

    @property
    def is_by_merchant(self) -> bool:
        """Return whether a rule is capped by merchant, so that orders without one are not eligible."""
        return bool(np.any(self.rule_keys >= 0))

    def copy(self) -> "Left":
        """Return the same, apart."""
        return replace(self, budget=self.budget.copy(), by_key=self.by_key.copy())

    def spend(self, opening: "Left", balances: Balances) -> None:
        """Add to balances what is less than at the opening, and the limits that were met, or might have been."""
        balances.met.clear()
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


def waves(pieces: list[tuple[int, int]], sequence: Sequence | None, left: Left | None) -> list[list[tuple[int, int]]]:
    """Return the pieces of a batch in runs that are settled before the next is priced.

    Where budgets alone decide and rows stand in their order, short runs keep what is priced in vain short.
    """
    whole = sequence is None or left is None or len(sequence.order) or len(sequence.merchants) or left.is_by_merchant
    if whole or not pieces:
        return [pieces]
    return [pieces[start : start + WAVE] for start in range(0, len(pieces), WAVE)]


def settle_in_order(
    plan: _plan.PricePlan,
    into: QuoteBuffers,
    sequence: Sequence,
    left: Left,
    sums: Whole,
    pieces: list[tuple[int, int]],
    balances: Balances,
    *,
    threads: int,
) -> None:
    """Round by carrying and let budgets and caps bind, on pieces that were priced as if none of them would end.

    Parameters
    ----------
    sums : int64 array, shape (n_pieces, n_rules)
        What each limited rule paid in each piece, as priced.
    pieces : list of (start, stop)
    """
    n = pieces[-1][1] if pieces else 0
    money = into.money(NO_DRAWS)
    if plan.rounding == _plan.ROUNDING_MODES["carry"]:
        remainders = _amounts([balances.remainders.get(name, 0) for name in sequence.names], _micro, MOST_REMAINDER)
        _rounding.carry(into.micro[:n], sequence.merchants, sequence.order, remainders, into.rounded)
        balances.remainders.update(zip(sequence.names, remainders.tolist(), strict=True))
        _settle_as_if_unlimited(plan, into, money, sums, pieces, left.allowed(), threads=threads)
    if not n or not any(rule.is_limited for rule in left.rules):
        return
    if not left.is_by_merchant and bool(np.all(sums.sum(axis=0) <= left.budget)):
        left.budget[:] -= sums.sum(axis=0)
    elif len(sequence.order):
        _settle_permuted(plan, into, sequence, left, n)
    elif left.is_by_merchant:
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
    """Settle pieces by the rules that are allowed, and write what each limited one paid to the rows of `sums`."""
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
    sequence: Sequence,
    left: Left,
    sums: Whole,
    pieces: list[tuple[int, int]],
    *,
    threads: int,
) -> None:
    """Settle in order the pieces in which a budget ends; those after it anew without its rule, all at a time."""
    money, limits = into.money(NO_DRAWS), left.limits(sequence.keys)
    done, allowed = 0, left.allowed()
    while done < len(pieces):
        ends = np.any(np.cumsum(sums[done:], axis=0) > left.budget, axis=1)
        fits = int(np.argmax(ends)) if ends.any() else len(ends)
        left.budget[:] -= sums[done : done + fits].sum(axis=0)
        done += fits
        if done == len(pieces):
            return
        start, stop = pieces[done]
        _settle.settle(plan, start, stop, *into.outputs, money, None, allowed, limits)
        done += 1
        if left.allowed() != allowed and done < len(pieces):
            allowed = left.allowed()
            _settle_as_if_unlimited(plan, into, money, sums[done:], pieces[done:], allowed, threads=threads)


def _settle_permuted(plan: _plan.PricePlan, into: QuoteBuffers, sequence: Sequence, left: Left, n: int) -> None:
    """Settle a batch whose rows stand in another order than that in which money is spent."""
    order = sequence.order
    sorted_into = into.rows(order)
    keys = np.ascontiguousarray(sequence.keys[:, order])
    _settle.settle(plan, 0, n, *sorted_into.outputs, sorted_into.money(NO_DRAWS), limits=left.limits(keys))
    into.put(order, sorted_into)
