"""Enrolment: which merchants take part in a programme, and from which day to which."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._columns import MERCHANT_ID, read
from freightrisk._frozen import FrozenDict
from freightrisk._intake import Id, Refused, id_of
from freightrisk._shown import counted, repr_of, shown
from freightrisk.errors import InputError
from freightrisk.tariff.conditions import whole_day

Bools = NDArray[np.bool_]
Period = tuple[date | None, date | None]
FIRST, LAST = np.datetime64("0001-01-01", "D"), np.datetime64("9999-12-31", "D")


@dataclass(frozen=True, repr=False)
class Enrolment:
    """The periods in which merchants take part; an order of another merchant or day has no price.

    Parameters
    ----------
    periods : mapping of merchant to sequence of (start, end)
        First and last ship date of each period, both inclusive; None for no first or no last day. The periods of a
        merchant do not overlap. A merchant may leave before a promotion and come back after it.

    Examples
    --------
    >>> from freightrisk.programmes import Enrolment
    >>> out_for_618 = [("2025-01-01", "2025-06-14"), ("2025-06-21", None)]
    >>> Enrolment({"m1": out_for_618, "m2": [("2025-03-01", None)]})
    Enrolment: 2 merchants, 3 periods
    """

    periods: Mapping[Id, Sequence[Period]]

    def __post_init__(self) -> None:
        given = _check.mapping(self.periods, argument="periods of an enrolment")
        found: dict[Id, tuple[Period, ...]] = {}
        for merchant, periods in given.items():
            name = _id(merchant)
            if name in found:
                raise InputError(f"enrolment names merchant {repr_of(name)} twice, as number and text; keep one.")
            found[name] = _in_order(name, periods)
        object.__setattr__(self, "periods", FrozenDict(found))

    @classmethod
    def of(cls, table: Any, *, merchant_id: str = MERCHANT_ID, start: str = "start", end: str = "end") -> "Enrolment":
        """Return the enrolment of a table with a row for each period.

        Parameters
        ----------
        table : pandas, polars or pyarrow table, or path of a Parquet file
        merchant_id, start, end : str
            Its columns. A missing day is no first or no last day.

        Examples
        --------
        ``Enrolment.of(pd.DataFrame({"merchant_id": ["m1"], "start": ["2025-01-01"], "end": [None]}))``
        """
        asked = [merchant_id, start, end]
        rows = read(table, asked, argument="enrolment", key=merchant_id)
        _check.columns_present(asked, rows.names, argument="enrolment")
        ids = rows.ids(merchant_id)
        rows.refuse(
            np.array([one is None for one in ids.tolist()], dtype=np.bool_),
            f"enrolment: '{merchant_id}' is missing in {{rows}}; every period needs its merchant.",
        )
        days = [rows.days(name).astype("datetime64[D]").astype(object).tolist() for name in (start, end)]
        found: dict[Id, list[Period]] = {}
        for merchant, first, last in zip(ids.tolist(), *days, strict=True):
            found.setdefault(merchant, []).append((first, last))
        return cls(found)

    def as_document(self) -> dict[str, Any]:
        """Return the values of a document by key: a row for each period, because ids are numbers or texts."""
        rows = [(merchant, *map(_text, one)) for merchant, periods in self.periods.items() for one in periods]
        return {"periods": rows}

    @classmethod
    def of_document(cls, periods: Sequence[tuple[int | str, str | None, str | None]]) -> "Enrolment":
        """Return the enrolment that the values of a document describe."""
        found: dict[Id, list[Any]] = {}
        for merchant, first, last in periods:
            found.setdefault(merchant, []).append((first, last))
        return cls(found)

    def __repr__(self) -> str:
        periods = sum(map(len, self.periods.values()))
        return shown(f"Enrolment: {counted(len(self.periods), 'merchant')}, {counted(periods, 'period')}")

    @cached_property
    def _table(self) -> tuple[dict[Id, int], NDArray[np.int64], NDArray[np.datetime64], NDArray[np.datetime64]]:
        """Return the number of each merchant, where its periods begin, and their first and last days."""
        number = {merchant: k for k, merchant in enumerate(self.periods)}
        ends = np.cumsum([0, *map(len, self.periods.values())])
        days = [one for periods in self.periods.values() for one in periods]
        first = np.array([FIRST if start is None else start for start, _ in days], dtype="datetime64[D]")
        last = np.array([LAST if end is None else end for _, end in days], dtype="datetime64[D]")
        return number, ends.astype(np.int64), first, last

    def holds(self, merchants: tuple[NDArray[Any], NDArray[Any]], days: NDArray[np.datetime64]) -> Bools:
        """Return whether each order's merchant takes part on its day.

        Parameters
        ----------
        merchants : (codes, ids)
            The code of each order's merchant, -1 for a missing one, and the id of each code.
        days : datetime64 array, shape (n,)
            A missing day belongs to no period.
        """
        number, starts, first, last = self._table
        codes, ids = merchants
        known = np.array([number.get(one, -1) for one in ids.tolist()] + [-1], dtype=np.int64)[codes]
        day = days.astype("datetime64[D]")
        # Periods are sorted by merchant, then by day, so one search finds the last period that has begun.
        span = (LAST - FIRST).astype(np.int64) + 2
        owner = np.repeat(np.arange(len(number)), np.diff(starts))
        begun = (
            np.searchsorted(
                owner * span + (first - FIRST).astype(np.int64), known * span + (day - FIRST).astype(np.int64), "right"
            )
            - 1
        )
        place = np.maximum(begun, 0)
        if not len(owner):
            return np.zeros(len(day), dtype=np.bool_)
        mine = (begun >= 0) & (known >= 0) & (owner[place] == known) & ~np.isnat(day)
        return np.asarray(mine & (day <= last[place]))


def _text(day: date | None) -> str | None:
    return None if day is None else str(day)


def _id(merchant: Any) -> Id:
    try:
        found = id_of(merchant)
    except Refused as refused:
        raise InputError(f"enrolment: merchant {repr_of(merchant)} {refused.fault}; {refused.cure}.") from None
    if found is None:
        raise InputError("enrolment has a missing merchant; name each by its id.")
    return found


def _in_order(merchant: Id, periods: Any) -> tuple[Period, ...]:
    what = f"enrolment of merchant {repr_of(merchant)}"
    found = []
    for period in _check.items(periods, argument=what, such="list periods (start, end)"):
        pair = _check.items(period, argument=f"a period in the {what}", such="give (start, end)")
        if len(pair) != 2:
            raise InputError(f"a period in the {what} is {repr_of(period)}; give (start, end), None for no day.")
        first, last = (None if day is None else whole_day(day, f"a day in the {what}") for day in pair)
        if first is not None and last is not None and first > last:
            raise InputError(f"the {what} starts on {first}, after its end {last}; exchange them.")
        found.append((first, last))
    found.sort(key=lambda one: one[0] or date.min)
    for (start, end), (later, _) in pairwise(found):
        if end is None or later is None or later <= end:
            raise InputError(
                f"the {what} has periods that overlap: from {start} to {end or 'no end'}, and from {later}; join them."
            )
    return tuple(found)
