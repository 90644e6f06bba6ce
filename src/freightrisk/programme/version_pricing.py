"""The pricer of versions: each order is priced by its programme, and the quotes stand in the rows of the orders."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._columns import SHIP_DATE, ColumnNames, kind, one_order, read, value_of
from freightrisk._intake import time_of
from freightrisk.errors import InputError
from freightrisk.programme.programme import Programme
from freightrisk.programme.record import TOTAL
from freightrisk.programme.transition import LISTED, Transition, transitions
from freightrisk.programme.version_record import VersionsRecord
from freightrisk.tariff.balances import Balances
from freightrisk.tariff.pricing import PLAIN_NAMES, price_frame
from freightrisk.tariff.quotes import CodedOrders
from freightrisk.tariff.worksheet import CoverSheet, Worksheet

VERSION, ENROLLED, PHASED = "version", "enrolled", "phase_in_bound"
MERCHANT_FEN = "merchant_fen"
Moves = tuple[NDArray[np.int64], NDArray[np.bool_]]


@dataclass(frozen=True, eq=False)
class VersionPart:
    """The orders of one programme.

    Parameters
    ----------
    place : int
        Place of the programme among the versions.
    rows : int64 array
        Rows of the orders among all.
    coded : CodedOrders
    listings : (CodedOrders, CodedOrders) or None
        The orders for the list prices of the programme and of the version before it, if list prices are phased in.
    phased : bool array
        Whether the phase-in holds on the order's day; empty without one.
    """

    place: int
    rows: NDArray[np.int64]
    coded: CodedOrders
    listings: tuple[CodedOrders, CodedOrders] | None
    phased: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class VersionedOrders:
    """Orders encoded for versions: those of each programme, with their rows among all.

    Parameters
    ----------
    parts : tuple of VersionPart
    n_orders : int
    index : pandas Index or None
    kind : {"pandas", "polars", "arrow"}
    key : str
        Digest of the versions.
    """

    parts: tuple[VersionPart, ...]
    n_orders: int
    index: Any
    kind: str
    key: str


class VersionsPricer:
    """Pricer of orders under versions, with the methods of `Pricer`.

    Parameters
    ----------
    versions : VersionsRecord
    key : str
        Digest of the versions.
    """

    def __init__(self, versions: VersionsRecord, key: str) -> None:
        self.versions, self.key = versions, key
        self.transitions = transitions(versions)

    def encode(
        self, orders: Any, *, merchants: Any = None, names: ColumnNames = PLAIN_NAMES, threads: int | None = None
    ) -> VersionedOrders:
        """Return orders as the code columns of their programmes."""
        versions = self.versions
        when = SHIP_DATE if names.ship_date is None else names.ship_date
        wanted = [*map(names.of_role, versions.columns_read), names.order_id, names.merchant_id, when]
        wanted += [] if names.priority is None else [names.priority]
        table = read(
            orders, wanted, argument="orders", key=names.order_id, clock=versions.clock, date_format=names.date_format
        )
        _check.columns_present(
            [when, *([names.merchant_id] if versions.by_merchant else [])], table.names, argument="orders"
        )
        days = table.days(when)
        place, enrolled = versions.choose(days, table.id_codes(names.merchant_id) if versions.by_merchant else None)
        table.refuse(
            enrolled & (place < 0),
            f"orders: '{when}' is missing or has no version in {{rows}}; {versions.days_said}.",
            when,
        )
        parts = []
        for k, programme in enumerate(versions.programmes):
            rows = np.flatnonzero(enrolled & (place == k))
            if not len(rows):
                continue
            some = table.frame if len(rows) == table.n_rows else taken(table.frame, rows, wanted)
            change = self.transitions.get(k)
            phased = np.empty(0, dtype=np.bool_) if change is None else change.cap.holds(days[rows])
            asked = [programme] if change is None else [programme, programme.listing, change.before.listing]
            coded = []
            for one in asked:
                try:
                    coded.append(one.pricer.encode(some, merchants=merchants, names=names, threads=threads))
                except InputError as error:
                    in_all = some is table.frame or hasattr(some, "iloc")  # pandas tells the caller's own labels
                    where = "" if in_all else f" (rows among those of programme '{programme.name}')"
                    raise InputError(f"{error}{where}") from None
            parts.append(VersionPart(k, rows, coded[0], None if change is None else (coded[1], coded[2]), phased))
        index = getattr(table.frame, "index", None)
        return VersionedOrders(tuple(parts), table.n_rows, index, kind(orders), self.key)

    def price(
        self,
        orders: Any,
        *,
        merchants: Any = None,
        names: ColumnNames = PLAIN_NAMES,
        balances: Balances | None = None,
        threads: int | None = None,
        detail: bool = True,
        campaigns: bool = False,
        progress: bool = False,
    ) -> Any:
        """Return one row for each order in the caller's kind of frame."""
        return price_frame(
            self, VersionedOrders, orders, merchants=merchants, names=names, balances=balances, threads=threads,
            detail=detail, campaigns=campaigns, progress=progress,
        )  # fmt: skip

    def price_columns(
        self,
        coded: VersionedOrders,
        *,
        threads: int | None = None,
        detail: bool = True,
        campaigns: bool = False,
        progress: bool = False,
        balances: Balances | None = None,
        buffers: None = None,
    ) -> dict[str, NDArray[Any]]:
        """Return quotes as arrays; versions are priced in the order of their days, on the same balances."""
        _check.instance(coded, VersionedOrders, argument="coded")
        if coded.key != self.key:
            raise InputError("orders were not encoded for these versions; give the result of their encode(orders).")
        balances = Balances() if balances is None else balances
        told: dict[str, Any] = {"threads": threads, "detail": detail, "campaigns": campaigns, "progress": progress}
        done = [self._part(part, balances, told) for part in coded.parts]
        return self.together(coded, done, detail=detail, campaigns=campaigns)

    def together(
        self, coded: VersionedOrders, done: Sequence[Mapping[str, NDArray[Any]]], *, detail: bool, campaigns: bool
    ) -> dict[str, NDArray[Any]]:
        """Return the quotes of the parts of `coded` in the rows of the orders, with `version` and `enrolled`."""
        found = self._empty(coded.n_orders, detail=detail, campaigns=campaigns)
        for part, columns in zip(coded.parts, done, strict=True):
            for name in columns.keys() & found.keys():
                found[name][part.rows] = columns[name]
            if TOTAL in found and TOTAL not in columns:  # a version without fees beside one with fees
                found[TOTAL][part.rows] = columns[MERCHANT_FEN]
            found[VERSION][part.rows], found[ENROLLED][part.rows] = self.versions.programmes[part.place].version, True
        return found

    def _part(self, part: VersionPart, balances: Balances, told: dict[str, Any]) -> dict[str, NDArray[Any]]:
        """Return the quotes of the orders of one programme."""
        change, moves = self.transitions.get(part.place), self.moves(part, told["threads"])
        if change is None or moves is None:
            return self.versions.programmes[part.place].pricer.price_columns(part.coded, balances=balances, **told)
        moved, bound = moves
        return change.pricer.price_columns(part.coded, balances=balances, moved=moved, **told) | {PHASED: bound}

    def moves(self, part: VersionPart, threads: int | None) -> Moves | None:
        """Return the micro-yuan that a phase-in adds to each premium, and where it binds; None without a phase-in.

        They depend on list prices alone, so earlier spending does not change them.
        """
        change = self.transitions.get(part.place)
        if change is None or part.listings is None:
            return None
        new, old = (
            one.pricer.price_columns(coded, threads=threads)
            for one, coded in zip((change.programme.listing, change.before.listing), part.listings, strict=True)
        )
        return change.moved(new, old[LISTED], part.phased)

    def kinds(self, *, detail: bool, campaigns: bool) -> dict[str, Any]:
        """Return the type of each column of quotes, whichever versions the orders have."""
        found: dict[str, Any] = {}
        for programme in self.versions.programmes:
            found |= programme.pricer.kinds(detail=detail, campaigns=campaigns)
            found |= {} if programme.phase_in is None else {PHASED: np.dtype(np.bool_)}
        return found | {VERSION: np.dtype(np.object_), ENROLLED: np.dtype(np.bool_)}

    def _empty(self, n: int, *, detail: bool, campaigns: bool) -> dict[str, NDArray[Any]]:
        """Return the columns of quotes with rows that say nothing."""
        kinds = self.kinds(detail=detail, campaigns=campaigns)
        nothing = {"f": np.nan, "O": ""}
        return {name: np.full(n, nothing.get(one.kind, 0), dtype=one) for name, one in kinds.items()}

    def buffers(self, n_orders: int, *, detail: bool = True, campaigns: bool = False) -> None:
        """Return nothing: the number of orders of each version is not known before."""

    def quote(
        self, order: Any, *, merchants: Any = None, balances: Balances | None = None, names: ColumnNames = PLAIN_NAMES
    ) -> dict[str, Any]:
        """Return the price of one order; zeros and missing steps if its merchant does not take part."""
        known = one_order(order, names)
        programme = self.versions.version_of(known, names.date_format)
        said = {name: values.tolist()[0] for name, values in self._empty(1, detail=True, campaigns=False).items()}
        if programme is None:
            return said
        asked: dict[str, Any] = {"merchants": merchants, "balances": balances, "names": names}
        change = self._transition_of(programme)
        if change is None:
            quote = programme.pricer.quote(order, **asked)
        else:
            moved = self._moved(change, order, merchants, names)
            quote = change.pricer.quote(order, moved=moved.filed_micro, **asked) | {PHASED: bool(moved.rows)}
        if TOTAL in said and TOTAL not in quote:
            quote[TOTAL] = quote[MERCHANT_FEN]
        return said | quote | {VERSION: programme.version, ENROLLED: True}

    def _transition_of(self, programme: Programme) -> Transition | None:
        return self.transitions.get(self.versions.programmes.index(programme))

    def _moved(self, change: Transition, order: Any, merchants: Any, names: ColumnNames) -> CoverSheet:
        """Return what a phase-in adds to the premium of one order; it has lines if the cap binds."""
        new, old = (
            one.pricer.quote(order, merchants=merchants, names=names)
            for one in (change.programme.listing, change.before.listing)
        )
        day = value_of(
            one_order(order, names), SHIP_DATE, lambda value: time_of(value, self.versions.clock, names.date_format)
        )
        columns = {name: np.array([value]) for name, value in new.items()}
        holds = change.cap.holds(np.array([day], dtype="datetime64[s]"))
        moved, bound = change.moved(columns, np.array([old[LISTED]]), holds)
        said = f"list {new[LISTED]:,} fen, {old[LISTED]:,} under '{change.before.name}', which may move by "
        said += f"{change.cap.share:.2%}"
        rows = (f"{'micro-yuan':<24} {moved[0]:>14,d}  {said}",) if bound[0] else ()
        return CoverSheet("Phase-in", rows, int(moved[0]))

    def explain(
        self, order: Any, *, merchants: Any = None, balances: Balances | None = None, names: ColumnNames = PLAIN_NAMES
    ) -> Worksheet:
        """Return the worksheet of one order under its programme."""
        known = one_order(order, names)
        programme = self.versions.version_of(known, names.date_format)
        if programme is None:
            rows = ("No price: the merchant does not take part on this day",)
            return Worksheet(rows, self.quote(order, merchants=merchants, names=names))
        asked: dict[str, Any] = {"merchants": merchants, "balances": balances, "names": names}
        change = self._transition_of(programme)
        moved = None if change is None else self._moved(change, order, merchants, names)
        if change is None or moved is None or not moved.rows:
            sheet = programme.pricer.explain(order, **asked)
        else:
            sheet = change.pricer.explain(order, moved=moved, **asked)
        title = f"{sheet.rows[0]}, version {programme.version}"
        return Worksheet((title, *sheet.rows[1:]), self.quote(order, **asked))


def taken(frame: Any, rows: NDArray[np.int64], wanted: Sequence[str]) -> Any:
    """Return some rows of a pandas or pyarrow table; of the latter, only wanted columns, because not all can be cut."""
    if not hasattr(frame, "column_names"):
        return frame.iloc[rows]
    import pyarrow as pa

    frame = frame.select([name for name in frame.column_names if name in wanted])
    # polars gives views of strings, of which pyarrow takes no rows.
    plain = [
        field.with_type(pa.large_string()) if pa.types.is_string_view(field.type) else field for field in frame.schema
    ]
    return frame.cast(pa.schema(plain)).take(rows)
