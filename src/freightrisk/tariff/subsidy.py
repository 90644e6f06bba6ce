"""Subsidies: who is eligible, how much is paid and by whom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from freightrisk import _check
from freightrisk._document import sparse
from freightrisk._shown import brief, repr_of
from freightrisk.book.factors import Value
from freightrisk.errors import InputError
from freightrisk.tariff.conditions import Conditions, Interval, Window, checked_where, checked_window

LARGEST_FEN = 10**9
LARGEST_BUDGET_FEN = 10**15
PERIODS = ("day", "month")
AMOUNTS = ("percent_of_list", "percent_of_rest", "fixed_fen", "price_to_fen")
RESERVED_PAYERS = ("merchant", "list", "floor")


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

    __repr__ = brief

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
        for name in ("group", "fund"):
            if getattr(self, name) is not None:
                _check.label(getattr(self, name), argument=f"{name} of subsidy '{self.name}'")
        rule = f"subsidy '{self.name}'"
        object.__setattr__(self, "where", checked_where(self.where, rule))
        self._check_amount(given[0])
        for name, day in zip(("start", "end"), checked_window(self.start, self.end, rule), strict=True):
            object.__setattr__(self, name, day)

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


def conditions_of(rules: Sequence[Subsidy], windows: Sequence[Window] | None = None) -> list[Conditions]:
    """Return the conditions of rules; `windows` are first and last days that replace the rules' own."""
    days = [(rule.start, rule.end) for rule in rules] if windows is None else windows
    return [Conditions(rule.where, window) for rule, window in zip(rules, days, strict=True)]
