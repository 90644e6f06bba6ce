"""Fees: what the merchant or another payer owes beside the premium, in whole fen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._columns import JoinedColumns, value_of
from freightrisk._document import sparse
from freightrisk._frozen import digest
from freightrisk._intake import number_of
from freightrisk._shown import brief, repr_of
from freightrisk.book.factors import Value
from freightrisk.errors import InputError
from freightrisk.programme.fen import MOST_FEN, WHOLE_SHARE, Whole, fen_of, half_even
from freightrisk.tariff.conditions import RULE_LIMIT, Conditions, Gate, Interval, checked_where, checked_window
from freightrisk.tariff.subsidy import LARGEST_FEN, RESERVED_PAYERS

FEES = "fees"
MERCHANT = "merchant"
FEN = "_fen"


@sparse
@dataclass(frozen=True)
class Fee:
    """A fee beside the premium, such as a platform's technical service fee.

    Parameters
    ----------
    name : str
        Quotes have a column ``fee: <name>``.
    payer, payee : str
        Who owes it and who gets it; by default the merchant and the platform.
    basis_points : int
        Basis points (0.01 %) of the column `of`, rounded half-even to fen. Give this or `fixed_fen`.
    fixed_fen : int
        Fen an order.
    of : str
        Column of orders with the amount: in fen if its name ends with ``_fen``, else in yuan with two decimals.
    cap_fen : int, optional
        Largest fee of an order.
    where, start, end : as in `Subsidy`
        For which orders it is owed, with the first and the last ship date.
    due : str, optional
        Column of orders with the day on which it is charged, such as "completed". `Settlement` counts the fee on this
        day, and not at all while the day is missing. By default it is charged on the day of the settlement's orders.
    replaces : sequence of str
        Names of fees that are not charged where this one is, because a service has taken the place of another.

    Examples
    --------
    >>> from freightrisk.programmes import Fee
    >>> fee = Fee("technical service", basis_points=60, of="paid_fen", cap_fen=1800, where={"consigned": ["no"]})
    >>> [fee.fen(paid) for paid in (299_900, 300_000, 300_100)]
    [1799, 1800, 1800]
    """

    name: str
    payer: str = MERCHANT
    payee: str = "platform"
    basis_points: int | None = field(default=None, kw_only=True)
    fixed_fen: int | None = field(default=None, kw_only=True)
    of: str | None = field(default=None, kw_only=True)
    cap_fen: int | None = field(default=None, kw_only=True)
    where: Mapping[str, Interval | Sequence[Value]] = field(default_factory=dict, kw_only=True)
    start: date | None = field(default=None, kw_only=True)
    end: date | None = field(default=None, kw_only=True)
    due: str | None = field(default=None, kw_only=True)
    replaces: Sequence[str] = field(default=(), kw_only=True)

    __repr__ = brief

    def __post_init__(self) -> None:
        _check.label(self.name, argument="name of a fee")
        what = f"fee '{self.name}'"
        for role in ("payer", "payee"):
            who = _check.label(getattr(self, role), argument=f"{role} of {what}")
            if who != MERCHANT and (not who.isidentifier() or who in RESERVED_PAYERS):
                raise InputError(f"{role} of {what} is '{who}'; give a word such as 'platform', or 'merchant'.")
        if self.payer == self.payee:
            raise InputError(f"{what} is paid by '{self.payer}' to itself; give another payer or payee.")
        if (self.basis_points is None) == (self.fixed_fen is None):
            both = "both basis_points and fixed_fen" if self.fixed_fen is not None else "no amount"
            raise InputError(f"{what} has {both}; give one of basis_points and fixed_fen.")
        for name, high in (("basis_points", WHOLE_SHARE), ("fixed_fen", LARGEST_FEN), ("cap_fen", LARGEST_FEN)):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _check.whole(value, argument=f"{name} of {what}", low=1, high=high))
        if (self.of is None) != (self.basis_points is None):
            given = "basis_points without the column of their amount" if self.of is None else f"of='{self.of}' only"
            raise InputError(f"{what} has {given}; give basis_points=, of= together, or fixed_fen= alone.")
        for name in ("of", "due"):
            if getattr(self, name) is not None:
                _check.label(getattr(self, name), argument=f"{name} of {what}")
        object.__setattr__(self, "where", checked_where(self.where, what))
        for name, day in zip(("start", "end"), checked_window(self.start, self.end, what), strict=True):
            object.__setattr__(self, name, day)
        replaced = _check.items(self.replaces, argument=f"replaces of {what}", such="list names of fees")
        names = tuple(_check.label(one, argument=f"a name in replaces of {what}") for one in replaced)
        if len({*names}) < len(names):
            raise InputError(f"{what} replaces a fee twice: {repr_of(list(names))}; name each once.")
        object.__setattr__(self, "replaces", names)

    def fen(self, amount: Any = 0) -> Any:
        """Return the fee of amounts in fen: a whole number, or an int64 array for an array.

        Raises
        ------
        InputError
            For amounts that are no whole numbers from 0 to 1e11.
        """
        given = np.asarray(amount)
        whole = given.dtype.kind in "iu" and bool(np.all((given >= 0) & (given <= MOST_FEN)))
        if not whole:
            raise InputError(f"amount of fee '{self.name}' is {repr_of(amount)}; give whole fen from 0 to 1e11.")
        base = given.astype(np.int64)
        if self.basis_points is None:
            fee = np.full(base.shape, self.fixed_fen, dtype=np.int64)
        else:
            fee = half_even(base * self.basis_points, WHOLE_SHARE)
        found = fee if self.cap_fen is None else np.minimum(fee, self.cap_fen)
        return found if found.shape else int(found)

    @property
    def conditions(self) -> Conditions:
        """Return the conditions under which the fee is owed."""
        return Conditions(self.where, (self.start, self.end))


def check_fees(fees: Any) -> tuple[Fee, ...]:
    """Return fees, and refuse two of one name, unknown names in `replaces`, and fees that replace each other."""
    found = _check.members(fees, Fee, argument="fees")
    if len(found) > RULE_LIMIT:
        raise InputError(f"{len(found)} fees were given; a programme takes at most {RULE_LIMIT}.")
    names = [fee.name for fee in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"fees: {names.count(twice)} are named '{twice}'; give each its own name.")
    for k, fee in enumerate(found):
        unknown = [name for name in fee.replaces if name not in names]
        if unknown:
            raise InputError(
                f"fee '{fee.name}' replaces '{unknown[0]}', which is no fee here ({', '.join(map(repr, names))})."
            )
        later = [name for name in fee.replaces if names.index(name) >= k]
        if later:
            raise InputError(
                f"fee '{fee.name}' replaces '{later[0]}', which does not stand before it; list a fee after those that "
                "it replaces."
            )
    return found


def columns_of(fees: Sequence[Fee]) -> tuple[str, ...]:
    """Return the columns of amounts that fees are a share of."""
    return tuple(dict.fromkeys(fee.of for fee in fees if fee.of is not None))


@dataclass(frozen=True, eq=False)
class FeeColumns:
    """What fees read of orders.

    Parameters
    ----------
    owed : uint64 array, shape (n,)
        Bit k of a row is 1 if the order owes fee k.
    amounts : int64 array, shape (n_columns, n), fen
    key : str
        A hash of the fees that read them.
    """

    owed: NDArray[np.uint64]
    amounts: Whole
    key: str

    @classmethod
    def read(cls, fees: Sequence[Fee], gates: Sequence[Gate], joined: JoinedColumns) -> "FeeColumns":
        """Return the columns of joined orders; refuses amounts that are missing, negative or no whole fen."""
        owed = np.full(joined.n_rows, 2**64 - 1, dtype=np.uint64)
        for gate in gates:
            owed &= gate.masks[FEES][gate.encode(joined)]
        owed = _without_replaced(fees, owed)
        found = []
        for column in columns_of(fees):
            values = joined.real(column)
            needed = owed & _bits(fees, column) != 0
            joined.refuse(
                np.isnan(values) & needed,
                f"orders: '{column}' is missing in {{rows}}, but a fee is a share of it; give its amount.",
                column,
            )
            amount, bad = _fen(column, np.where(np.isnan(values), 0.0, values))
            joined.refuse(bad, f"orders: '{column}' is {_wanted(column)} in {{rows}}; give such amounts.", column)
            found.append(amount)
        return cls(owed, np.array(found, dtype=np.int64).reshape(len(found), joined.n_rows), key_of(fees))

    @classmethod
    def read_one(
        cls,
        fees: Sequence[Fee],
        gates: Sequence[Gate],
        order: Mapping[str, Any],
        *,
        clock: str,
        date_format: str | None,
    ) -> "FeeColumns":
        """Return the columns of one order, with the refusals of `read`."""
        owed = np.full(1, 2**64 - 1, dtype=np.uint64)
        for gate in gates:
            owed &= gate.masks[FEES][gate.encode_one(order, clock, date_format)]
        owed = _without_replaced(fees, owed)
        found = []
        for column in columns_of(fees):
            value = value_of(order, column, number_of)
            if np.isnan(value):
                if int(owed[0] & _bits(fees, column)):
                    raise InputError(f"order: '{column}' is missing, but a fee is a share of it; give its amount.")
                value = 0.0
            amount, bad = _fen(column, np.array([value]))
            if bad[0]:
                raise InputError(f"order: '{column}' is {repr_of(value)}, {_wanted(column)}; give such an amount.")
            found.append(amount)
        return cls(owed, np.array(found, dtype=np.int64).reshape(len(found), 1), key_of(fees))

    def fen(self, fees: Sequence[Fee]) -> dict[str, Whole]:
        """Return the fen of each fee, by its name."""
        columns, found = columns_of(fees), {}
        for k, fee in enumerate(fees):
            holds = self.owed >> np.uint64(k) & np.uint64(1) == 1
            amount = np.zeros(len(holds), dtype=np.int64) if fee.of is None else self.amounts[columns.index(fee.of)]
            found[fee.name] = np.where(holds, fee.fen(amount), 0)
        return found


def key_of(fees: Sequence[Fee]) -> str:
    """Return a hash of fees, in their order."""
    return digest(tuple(map(repr, fees)))


def _without_replaced(fees: Sequence[Fee], owed: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the masks without the fees that another owed fee replaces; the last fee decides first."""
    names = [fee.name for fee in fees]
    for k in reversed(range(len(fees))):
        replaced = sum(1 << names.index(name) for name in fees[k].replaces)
        holds = owed >> np.uint64(k) & np.uint64(1) == 1
        owed = np.where(holds, owed & ~np.uint64(replaced), owed)
    return owed


def _bits(fees: Sequence[Fee], column: str) -> np.uint64:
    return np.uint64(sum(1 << k for k, fee in enumerate(fees) if fee.of == column))


def _fen(column: str, values: NDArray[np.float64]) -> tuple[Whole, NDArray[np.bool_]]:
    """Return amounts in fen, and which are none."""
    if not column.endswith(FEN):
        return fen_of(values)
    known = (values >= 0.0) & (values <= MOST_FEN) & (values == np.floor(values))
    return np.where(known, values, 0.0).astype(np.int64), ~known


def _wanted(column: str) -> str:
    return "no whole number of fen from 0 to 1e11" if column.endswith(FEN) else "no amount of yuan with two decimals"
