"""ClaimTotals: what earlier claims leave to later ones, as a document."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from freightrisk import _check
from freightrisk._frozen import FrozenDict
from freightrisk._intake import Id, Refused, id_of
from freightrisk._plain import write_whole
from freightrisk._sealed import Seal
from freightrisk._shown import repr_of, shown
from freightrisk._staged import followed
from freightrisk._unfinished import locked
from freightrisk.errors import InputError
from freightrisk.tariff.aggregate_limit import AGGREGATES, AggregateLimit
from freightrisk.tariff.balances import PERIOD

REASONS = (
    "", "refused_before", "not_in_force", "not_eligible", "limit_zero", "over_max_claims", "under_deductible",
    "aggregate_exhausted",
)  # fmt: skip
DONE = "reversed"  # the reason of a reversed claim in totals: it cannot be reversed again
SEAL = Seal("claim totals", "freightrisk/claim-totals", 1, InputError)
MOST = 2**62  # fen
KNOWN_REASONS = (*REASONS, DONE)
ALL_TIME = ""  # the period of an aggregate limit without a period

# Rows of a document: ids are numbers or texts.
_PAID_ROWS = Sequence[tuple[int | str, str, int]]
_ORDER_ROWS = Sequence[tuple[int | str, int]]
_CLAIM_ROWS = Sequence[tuple[int | str, int | str, int | str | None, str, Sequence[tuple[str, int]], str]]
_PENDING_ROWS = Sequence[tuple[str, int | str, int | str | None, str, int]]

Holder = tuple[Id, str]
Payments = tuple[tuple[str, int], ...]
Settled = tuple[Id, Id | None, str, Payments, str]
Pending = tuple[str, Id, Id | None, str, int]


@dataclass(frozen=True, repr=False)
class ClaimTotals:
    """Running totals of settled claims, up to a point in their fixed sequence.

    `settle` starts from totals and returns new ones (`SettledClaims.totals`). Batches that are settled one after
    another therefore give the same fen as all claims at once.

    Parameters
    ----------
    by : {"", "merchant", "order"}
        Whose payments `paid` counts; "" without an aggregate limit.
    period : {"day", "month"} or None
        The period by which `paid` counts.
    paid : mapping of (merchant or order, period) to int
        Fen paid, less what reversals gave back. Periods are texts such as "2026-11-22" or "2026-11", and "" for all
        time.
    orders : mapping of order to int
        Number of claims of each order that count for `max_claims`, less reversed ones.
    claims : mapping of claim id to (order, holder, period, payments, reason)
        Each claim with an id: payments as (payer, fen), and the reason if nothing was paid. A later reversal is
        recognised by the id.
    pending : sequence of (time, order, holder, period, fen)
        Reversals that are later than all claims settled so far. They give money back to the claims after them.
    covers : mapping of name to ClaimTotals
        Totals of the covers of a programme beside its first one, which has the totals above.
    first : str
        Name of the first cover, if a programme of several covers was settled.

    Examples
    --------
    >>> from freightrisk.results import ClaimTotals
    >>> totals = ClaimTotals(by="merchant", period="month", paid={("m1", "2026-06"): 29_000})
    >>> totals.paid["m1", "2026-06"]
    29000
    """

    by: str = ""
    period: str | None = None
    paid: Mapping[Holder, int] = field(default_factory=FrozenDict)
    orders: Mapping[Id, int] = field(default_factory=FrozenDict)
    claims: Mapping[Id, Settled] = field(default_factory=FrozenDict)
    pending: Sequence[Pending] = ()
    covers: Mapping[str, "ClaimTotals"] = field(default_factory=FrozenDict)
    first: str = ""

    def __post_init__(self) -> None:
        _check.one_of(self.by, ("", *AGGREGATES), argument="by of claim totals")
        if self.period is not None:
            _check.one_of(self.period, ("day", "month"), argument="period of claim totals")
        for name in ("paid", "orders", "claims", "covers"):
            given = _check.mapping(getattr(self, name), argument=f"{name} of claim totals")
            object.__setattr__(self, name, given if isinstance(given, FrozenDict) else _CHECKED[name](given))
        object.__setattr__(self, "pending", tuple(map(_pending, self.pending)))

    def __repr__(self) -> str:
        paid = sum(self.paid.values())
        return shown(
            f"ClaimTotals: {len(self.claims):,} claims with an id, {len(self.orders):,} orders with claims"
            + (f", {paid / 100:,.2f} yuan by {self.by}" if self.by else "")
            + (f"; and of {', '.join(self.covers)}" if self.covers else "")
        )

    def check(self, aggregate: AggregateLimit | None) -> None:
        """Refuse totals that counted under another aggregate limit, because theirs would start at zero again."""
        mine, theirs = (self.by, self.period), terms_of(aggregate)
        if mine != theirs and self != ClaimTotals():
            raise InputError(
                f"totals count payments {_words(*mine)}, but this settlement counts them "
                f"{_words(*theirs)}; settle with the same aggregate, or start with new totals."
            )

    def check_covers(self, names: Sequence[str], first: str = "") -> None:
        """Refuse totals of covers other than these, which stand beside the first: later totals would lose them."""
        if self.first and first and self.first != first:
            raise InputError(
                f"totals have '{self.first}' as the first cover, but the programme has '{first}'; settle with the "
                "covers in the same order."
            )
        lost = [name for name in self.covers if name not in names]
        if lost:
            raise InputError(
                f"totals count claims of cover '{lost[0]}', which is not settled here; settle with the programme that "
                "has the cover, or remove it from the totals: dataclasses.replace(totals, covers={...})."
            )

    def save(self, path: str | Path) -> None:
        """Write the totals as a JSON document, which appears whole or not at all; `load` reads it.

        Examples
        --------
        >>> import pathlib, tempfile
        >>> from freightrisk.results import ClaimTotals
        >>> totals = ClaimTotals(orders={17: 1})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     totals.save(pathlib.Path(folder, "totals.json"))
        ...     ClaimTotals.load(pathlib.Path(folder, "totals.json")) == totals
        True
        """
        write_whole(path, document_of(self))

    @classmethod
    def load(cls, path: str | Path) -> "ClaimTotals":
        """Return the totals of a document that `save` has written.

        Raises
        ------
        InputError
            If the file is truncated, was changed, or is no document of claim totals.
        """
        data, source = SEAL.file(path)
        return SEAL.read(cls, data, source=source)

    def as_document(self) -> dict[str, Any]:
        """Return the values of a document by key; mappings are rows, because ids are numbers or texts."""
        return {
            "by": self.by,
            "period": self.period,
            "paid": [(*holder, fen) for holder, fen in self.paid.items()],
            "orders": [*self.orders.items()],
            "claims": [(claim, *settled) for claim, settled in self.claims.items()],
            "pending": self.pending,
            "covers": tuple((name, *[*one.as_document().values()][:-2]) for name, one in self.covers.items()),
            "first": self.first,
        }

    @classmethod
    def of_document(
        cls,
        by: str,
        period: str | None,
        paid: _PAID_ROWS,
        orders: _ORDER_ROWS,
        claims: _CLAIM_ROWS,
        pending: _PENDING_ROWS,
        covers: Sequence[tuple[str, str, str | None, _PAID_ROWS, _ORDER_ROWS, _CLAIM_ROWS, _PENDING_ROWS]] = (),
        first: str = "",
    ) -> "ClaimTotals":
        """Return the totals that the values of a document describe."""
        return cls(
            by, period, {(holder, when): fen for holder, when, fen in paid}, dict(orders),
            {claim: tuple(settled) for claim, *settled in claims}, pending,  # type: ignore[misc]
            {name: cls.of_document(*rest) for name, *rest in covers},  # type: ignore[arg-type]
            first,
        )  # fmt: skip


def document_of(totals: ClaimTotals) -> bytes:
    """Return the document of claim totals."""
    # The values are plain already. `to_plain` would visit each of them, and took three quarters of the time of `save`.
    fields = {name: value for name, value in totals.as_document().items() if name not in ("covers", "first") or value}
    return msgspec.json.format(msgspec.json.encode(SEAL.plain(fields)), indent=1)


def state_of(path: Path | None) -> bytes | None:
    """Return a digest of a file of totals; None if there is no file."""
    if path is None or not path.exists():
        return None
    return hashlib.blake2b(path.read_bytes()).digest()


@contextmanager
def replaced_once(path: Path | None, before: bytes | None) -> Iterator[None]:
    """Let no other run replace a file of totals meanwhile; refuse if one has replaced it since `before`.

    Two runs that start from the same totals would pay twice what the terms allow once, and the totals would lose the
    claims of one of the runs.
    """
    if path is None:
        yield
        return
    with locked(followed(path).parent):
        if state_of(path) != before:
            raise InputError(
                f"the totals '{path}' were changed by another run since this run read them, so nothing was written; "
                "start this run again after the other has ended."
            )
        yield


def terms_of(aggregate: AggregateLimit | None) -> tuple[str, str | None]:
    """Return whose payments an aggregate limit counts, and by which period."""
    return ("", None) if aggregate is None else (aggregate.by, aggregate.period)


def _words(by: str, period: str | None) -> str:
    return "without an aggregate limit" if not by else f"by {by}" + (f" and {period}" if period else "")


def _id(value: Any) -> Id:
    try:
        found = id_of(value)
    except Refused as refused:
        raise InputError(f"claim totals: the id {repr_of(value)} {refused.fault}; {refused.cure}.") from None
    if found is None:
        raise InputError("claim totals have a missing id; name each order, merchant and claim by its id.")
    return found


def _fen(value: Any) -> int:
    return _check.whole(value, argument="an amount of claim totals, in fen,", low=0, high=MOST)


def _period(value: Any) -> str:
    if value != ALL_TIME and not (isinstance(value, str) and PERIOD.fullmatch(value)):
        raise InputError(
            f"claim totals name the period {repr_of(value)}; write a day as '2026-06-02', a month as '2026-06', and '' "
            "for all time."
        )
    return str(value)


def _row(value: Any, length: int, such: str) -> tuple[Any, ...]:
    if not isinstance(value, (tuple, list)) or len(value) != length:
        raise InputError(f"claim totals have {repr_of(value)}; write {such}.")
    return tuple(value)


def _paid(given: Mapping[Any, Any]) -> FrozenDict[Holder, int]:
    rows = [(_row(key, 2, "a holder and a period, such as ('m1', '2026-06')"), fen) for key, fen in given.items()]
    return FrozenDict({(_id(holder), _period(when)): _fen(fen) for (holder, when), fen in rows})


def _orders(given: Mapping[Any, Any]) -> FrozenDict[Id, int]:
    return FrozenDict(
        {_id(key): _check.whole(n, argument="a number of claims", low=0, high=2**31) for key, n in given.items()}
    )


def _settled(given: Mapping[Any, Any]) -> FrozenDict[Id, Settled]:
    found: dict[Id, Settled] = {}
    for key, value in given.items():
        order, holder, when, payments, reason = _row(value, 5, "order, holder, period, payments and reason of a claim")
        held = None if holder is None else _id(holder)
        if reason not in KNOWN_REASONS:
            raise InputError(f"claim totals have the reason {repr_of(reason)}; it must be one of {KNOWN_REASONS}.")
        found[_id(key)] = (_id(order), held, _period(when), _payments(payments), reason)
    return FrozenDict(found)


def _payments(value: Any) -> Payments:
    given = _check.items(value, argument="payments of a claim", such="list payers with their fen")
    rows = [_row(one, 2, "a payer and fen, such as ('insurer', 1250)") for one in given]
    return tuple((_check.label(payer, argument="payer of a claim"), _fen(fen)) for payer, fen in rows)


def fen_of(claim: Settled) -> int:
    """Return what was paid for a claim, in fen."""
    return sum(fen for _, fen in claim[3])


def _pending(value: Any) -> Pending:
    when, order, holder, period, fen = _row(value, 5, "time, order, holder, period and fen of a reversal")
    try:
        time = str(np.datetime64(when, "us"))
    except (ValueError, TypeError):
        raise InputError(f"claim totals have a reversal at {repr_of(when)}; write a time such as 2026-06-02.") from None
    return time, _id(order), None if holder is None else _id(holder), _period(period), _fen(fen)


def _covers(given: Mapping[Any, Any]) -> FrozenDict[str, ClaimTotals]:
    for name, one in given.items():
        _check.label(name, argument="name of a cover in claim totals")
        if _check.instance(one, ClaimTotals, argument=f"totals of cover '{name}'").covers:
            raise InputError(f"totals of cover '{name}' have covers of their own; list all covers in one mapping.")
    return FrozenDict(given)


_CHECKED: dict[str, Any] = {"paid": _paid, "orders": _orders, "claims": _settled, "covers": _covers}
