"""Versions as data: programmes with their days, pilots and enrolment, their checks, and the choice for each order."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._columns import MERCHANT_ID, SHIP_DATE, value_of
from freightrisk._document import OPTIONAL
from freightrisk._frozen import FrozenDict
from freightrisk._intake import Id, Refused, id_of, time_of
from freightrisk._shown import repr_of
from freightrisk.errors import InputError
from freightrisk.programme.enrolment import FIRST, LAST, Bools, Enrolment
from freightrisk.programme.programme import Programme


@dataclass(frozen=True, repr=False, eq=False)
class VersionsRecord:
    """All data of versions. `Versions` has the same fields and describes them."""

    programmes: Sequence[Programme]
    pilots: Mapping[str, Sequence[Id]] = field(default_factory=FrozenDict, metadata=OPTIONAL)
    enrolment: Enrolment | None = field(default=None, metadata=OPTIONAL)

    def __post_init__(self) -> None:
        programmes = _check.members(self.programmes, Programme, argument="programmes")
        if not programmes:
            raise InputError("versions has no programmes; give at least one.")
        names = [one.name for one in programmes]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"versions: {names.count(twice)} programmes are named '{twice}'; give each its own name.")
        clocks = {one.clock for one in programmes}
        if len(clocks) > 1:
            raise InputError(f"versions: programmes have the clocks {sorted(clocks)}; build all with one clock.")
        if self.enrolment is not None:
            _check.instance(self.enrolment, Enrolment, argument="enrolment")
        object.__setattr__(self, "pilots", _pilots(self.pilots, names))
        in_turn = sorted(programmes, key=lambda one: (_first(one).astype(int), one.name in self.pilots, one.name))
        object.__setattr__(self, "programmes", tuple(in_turn))
        _check_days([one for one in self.programmes if one.name not in self.pilots])
        for k, one in enumerate(self.programmes):
            if one.phase_in is not None and self.before(k) is None:
                raise InputError(
                    f"programme '{one.name}' has a phase_in, but no version before it to compare with; leave it out."
                )
        self._check_pilots()

    def _check_pilots(self) -> None:
        """Refuse two pilots that have a merchant and a day in common."""
        tried = [one for one in self.programmes if one.name in self.pilots]
        for k, one in enumerate(tried):
            for other in tried[:k]:
                both = {*self.pilots[one.name]} & {*self.pilots[other.name]}
                if both and max(_first(one), _first(other)) <= min(_last(one), _last(other)):
                    raise InputError(
                        f"pilots '{other.name}' and '{one.name}' overlap for merchant {repr_of(min(both, key=str))}; "
                        "give each merchant one pilot a day."
                    )
        for one in tried:
            for other in self.programmes:
                if other is not one and max(_first(one), _first(other)) <= min(_last(one), _last(other)):
                    _check_money_apart(one, other)

    def before(self, k: int) -> Programme | None:
        """Return the last version for everyone that starts before programme k; None for the first."""
        start = _first(self.programmes[k])
        base = [one for one in self.programmes if one.name not in self.pilots and _first(one) < start]
        return base[-1] if base else None

    @property
    def clock(self) -> str:
        """Return the time zone that decides the day of a time."""
        return self.programmes[0].clock

    @cached_property
    def columns_read(self) -> tuple[str, ...]:
        """Return the columns of orders (or merchants) that pricing reads."""
        found = [SHIP_DATE]
        found += [MERCHANT_ID] if self.by_merchant else []
        return tuple(dict.fromkeys([*found, *(name for one in self.programmes for name in one.columns_read)]))

    @property
    def in_sequence(self) -> bool:
        """Return whether the payments of an order depend on earlier orders, in any version."""
        return any(one.in_sequence for one in self.programmes)

    def choose(
        self, days: NDArray[np.datetime64], merchants: tuple[NDArray[Any], NDArray[Any]] | None
    ) -> tuple[NDArray[np.int64], Bools]:
        """Return the place of each order's programme, -1 for a day without one, and whether its merchant takes part.

        Parameters
        ----------
        days : datetime64 array, shape (n,)
        merchants : (codes, ids), optional
            The code of each order's merchant, -1 for a missing one, and the id of each code; for pilots and enrolment.
        """
        found = np.full(len(days), -1, dtype=np.int64)
        day = days.astype("datetime64[D]")
        for k, one in enumerate(self.programmes):
            if one.name not in self.pilots:
                found[(day >= _first(one)) & (day <= _last(one))] = k
        if merchants is None:
            return found, np.ones(len(days), dtype=np.bool_)
        codes, ids = merchants
        for k, one in enumerate(self.programmes):
            if one.name in self.pilots:
                chosen = {*self.pilots[one.name]}
                mine = np.array([*(merchant in chosen for merchant in ids.tolist()), False], dtype=np.bool_)[codes]
                found[mine & (day >= _first(one)) & (day <= _last(one))] = k
        everyone = np.ones(len(days), dtype=np.bool_)
        return found, everyone if self.enrolment is None else self.enrolment.holds(merchants, days)

    def version_of(self, order: Mapping[str, Any], date_format: str | None = None) -> Programme | None:
        """Return the programme of one order, None if its merchant does not take part."""
        _check.columns_present([SHIP_DATE, *([MERCHANT_ID] if self.by_merchant else [])], list(order), argument="order")
        time = value_of(order, SHIP_DATE, lambda value: time_of(value, self.clock, date_format))
        merchants = None
        if self.by_merchant:
            ids = np.empty(1, dtype=object)
            ids[0] = value_of(order, MERCHANT_ID, id_of)
            merchants = (np.array([-1 if ids[0] is None else 0]), ids)
        found, enrolled = self.choose(np.array([time], dtype="datetime64[s]"), merchants)
        if not enrolled[0]:
            return None
        if found[0] < 0:
            raise InputError(f"order: 'ship_date' is {repr_of(order['ship_date'])}; {self.days_said}.")
        return self.programmes[int(found[0])]

    @property
    def by_merchant(self) -> bool:
        """Return whether the choice depends on the merchant."""
        return bool(self.pilots) or self.enrolment is not None

    @property
    def days_said(self) -> str:
        """Return a text with the days that have a version."""
        base = [one for one in self.programmes if one.name not in self.pilots] or self.programmes
        return f"versions go from {base[0].start or 'the first day'} to {base[-1].end or 'the last day'}"


def _check_money_apart(pilot: Programme, other: Programme) -> None:
    """Refuse a pilot that shares a budget with a version of the same days: their orders could not be served in turn."""
    if pilot.rounding == other.rounding == "carry":
        raise InputError(
            f"pilot '{pilot.name}' and '{other.name}' hold on the same days and both carry remainders, which "
            "they could not do in turn; give the pilot another rounding."
        )
    limited = [{rule.name for rule in one.subsidies if rule.is_limited} for one in (pilot, other)]
    funds = [{fund.name for fund in one.funds} for one in (pilot, other)]
    for what, (mine, theirs) in (("campaign", limited), ("fund", funds)):
        both = sorted(mine & theirs)
        if both:
            raise InputError(
                f"pilot '{pilot.name}' and '{other.name}' hold on the same days and share the {what} '{both[0]}', "
                f"whose money they could not spend in turn; give the pilot a {what} of its own name."
            )


def _first(programme: Programme) -> np.datetime64:
    return FIRST if programme.start is None else np.datetime64(programme.start, "D")


def _last(programme: Programme) -> np.datetime64:
    return LAST if programme.end is None else np.datetime64(programme.end, "D")


def _check_days(programmes: Sequence[Programme]) -> None:
    """Refuse programmes, sorted by their first day, that overlap or leave days out."""
    for one, later in pairwise(programmes):
        if one.end is None or later.start is None or later.start <= one.end:
            raise InputError(
                f"programmes '{one.name}' (to {one.end or 'no end'}) and '{later.name}' (from "
                f"{later.start or 'no start'}) overlap; end the first on the day before the second starts, or make one "
                "of them a pilot of some merchants."
            )
        if later.start != one.end + timedelta(days=1):
            raise InputError(
                f"no programme holds between {one.end}, the end of '{one.name}', and {later.start}, the start of "
                f"'{later.name}'; let the first end on {later.start - timedelta(days=1)}."
            )


def _pilots(given: Any, names: Sequence[str]) -> FrozenDict[str, tuple[Id, ...]]:
    """Return the merchants of each pilot, as ids."""
    found: dict[str, tuple[Id, ...]] = {}
    for name, merchants in _check.mapping(given, argument="pilots").items():
        if name not in names:
            raise InputError(
                f"pilots names '{name}', which is no programme here; the programmes are {', '.join(names)}."
            )
        listed = _check.items(merchants, argument=f"merchants of pilot '{name}'", such="list ids of merchants")
        if not listed:
            raise InputError(f"pilot '{name}' has no merchants; list some, or leave the pilot out.")
        found[name] = tuple(sorted({*_ids(name, listed)}, key=lambda one: (isinstance(one, str), one)))
    return FrozenDict(found)


def _ids(pilot: str, merchants: Iterable[Any]) -> Iterable[Id]:
    for merchant in merchants:
        try:
            one = id_of(merchant)
        except Refused as refused:
            raise InputError(
                f"pilot '{pilot}': merchant {repr_of(merchant)} {refused.fault}; {refused.cure}."
            ) from None
        if one is None:
            raise InputError(f"pilot '{pilot}' has a missing merchant; list ids.")
        yield one
