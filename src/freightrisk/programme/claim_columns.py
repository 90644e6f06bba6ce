"""Claims beside their orders: names of columns, money, times, decisions, and the ids that the sequence needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._columns import MERCHANT_ID, ORDER_ID, SHIP_DATE, ColumnNames, JoinedColumns, Table, read
from freightrisk.book.joined import rows_of_ids, unique_ids
from freightrisk.errors import InputError
from freightrisk.programme.fen import MOST_FEN, Whole, fen_of

FREIGHT_FEN, DECISION, COVER = "freight_fen", "decision", "cover"
DECISIONS = ("paid", "refused", "reversed")
PAID, REFUSED, REVERSED = range(3)
NEVER = np.iinfo(np.int64).max
Days = NDArray[np.datetime64]


class ClaimColumns(TypedDict, total=False):
    """Names of columns that `settle` takes as keyword arguments, and the format of dates written as text."""

    order_id: str
    merchant_id: str
    ship_date: str
    freight: str
    report_date: str | None
    reversed_date: str
    claim_id: str
    decision: str
    cover: str
    date_format: str | None


@dataclass(frozen=True, eq=False)
class ClaimNames:
    """Names of the columns of claims.

    Parameters
    ----------
    own : ColumnNames
    decision, cover : str
    """

    own: ColumnNames
    decision: str
    cover: str


@dataclass(frozen=True, eq=False)
class ClaimRows:
    """The claims of a batch, in the rows of the caller.

    Parameters
    ----------
    joined : JoinedColumns
        The columns of the claims beside the columns of their orders.
    freight : int64 array, shape (n,), fen
    order : array of ids, shape (n,)
    claim : array of ids, shape (n,), or None
        None if the claims have no ids.
    time, reversed_at : int64 arrays, shape (n,), microseconds
        Times of report and of reversal; the largest integer without a reversal.
    day : datetime64[D] array, shape (n,)
        Day of the report; NaT if reports have no dates.
    decision : int8 array, shape (n,)
        The decision before the settlement: a place in `DECISIONS`.
    not_in_force : bool array, shape (n,)
        Whether the claim was reported before the order was shipped, or the order was never shipped.
    """

    joined: JoinedColumns
    freight: Whole
    order: NDArray[Any]
    claim: NDArray[Any] | None
    time: Whole
    reversed_at: Whole
    day: Days
    decision: NDArray[np.int8]
    not_in_force: NDArray[np.bool_]


def column_names(given: ClaimColumns) -> ClaimNames:
    """Return the names of columns that a call gave."""
    odd = sorted(set(given) - set(ClaimColumns.__annotations__))
    if odd:
        raise TypeError(f"unexpected keyword argument '{odd[0]}'; columns are named by "
                        f"{', '.join(ClaimColumns.__annotations__)}")  # fmt: skip
    plain: dict[str, Any] = {"reversed_date": "reversed_date", **given}
    decision, cover = (_check.label(plain.pop(name, name), argument=name) for name in (DECISION, COVER))
    return ClaimNames(ColumnNames(**plain), decision, cover)


def read_claims(
    claims: Any,
    orders: Any,
    wanted: Sequence[str],
    *,
    merchants: Any = None,
    named: ClaimNames,
    clock: str,
    merged: bool,
    chosen: Whole | None = None,
) -> ClaimRows:
    """Return claims beside their orders and merchants; `wanted` are the columns that conditions and limits read.

    If goods may be picked up with those of another claim (`merged`), a claim may cost nothing. `chosen` are the rows of
    claims to return; all by default.
    """
    names, decision = named.own, named.decision
    own = [names.order_id, *(name for name in (*names.of_claims, names.claim_id, decision, FREIGHT_FEN) if name)]
    needed = [names.of_role(name) for name in dict.fromkeys(wanted)]
    linked = [] if merchants is None else [names.merchant_id]
    asked = [*own, *needed, *linked, names.of_role(SHIP_DATE)]
    how: dict[str, Any] = {"key": names.order_id, "clock": clock, "date_format": names.date_format}
    table = read(claims, asked, argument="claims", **how).take(chosen)
    of_claim = [names.order_id, *([] if names.report_date is None else [names.report_date])]
    money = FREIGHT_FEN if FREIGHT_FEN in table.names else names.freight
    _check.columns_present([*of_claim, money], table.names, argument="claims")
    ids = _known(table, names.order_id)
    joined = JoinedColumns(table, names_of=names)
    if orders is not None:
        right = read(orders, [*needed, *linked, names.of_role(SHIP_DATE), names.order_id], argument="orders", **how)
        _check.columns_present([names.order_id], right.names, argument="orders")
        rows = rows_of_ids(ids, unique_ids(right, names.order_id))
        table.refuse(rows < 0, f"claims: '{names.order_id}' names no order in {{rows}}; add the orders or drop these "
                     "claims.", names.order_id)  # fmt: skip
        joined = JoinedColumns(table, right, rows, names_of=names)
    if merchants is not None:
        joined = _beside_merchants(joined, merchants, needed, how)
    given = ["claims", *([] if orders is None else ["orders"]), *([] if merchants is None else ["merchants"])]
    both = ", ".join([*given[:-2], " and ".join(given[-2:])])
    cure = (
        _check.RENAME if len(given) == 3 else "Rename the columns, or give the table that has them: orders, merchants."
    )
    _check.columns_present(needed, joined.names, argument=both, cure=cure)
    time, reversed_at, decided = _decided(table, names, decision)
    claim = _known(table, names.claim_id) if names.claim_id in table.names else None
    if claim is not None:
        unique_ids(table, str(names.claim_id))
    day = time.view("datetime64[us]").astype("datetime64[D]")
    early = _early(joined, None if names.report_date is None else day)
    if names.report_date is None:
        day = np.full(len(time), np.datetime64("NaT", "D"))
    freight = _freight(table, money, names.freight, merged=merged)
    return ClaimRows(joined, freight, ids, claim, time, reversed_at, day, decided, early)


def _beside_merchants(
    joined: JoinedColumns, merchants: Any, needed: Sequence[str], how: Mapping[str, Any]
) -> JoinedColumns:
    """Return claims and orders beside the columns of merchants that both lack."""
    own = joined.names_of.merchant_id
    lacking = [name for name in needed if name not in joined.names]
    if not lacking:
        return joined
    third = read(merchants, [*lacking, own], argument="merchants", **{**how, "key": own})
    _check.columns_present([own], joined.names, argument="claims and orders")
    _check.columns_present([own], third.names, argument="merchants")
    codes, values = joined.id_codes(MERCHANT_ID)
    rows = np.append(rows_of_ids(values, unique_ids(third, own)), -1)[codes]
    joined.refuse(
        rows < 0,
        f"claims: '{own}' is missing or names no merchant in {{rows}}; add the merchants, or give '{lacking[0]}' as a "
        "column of the claims or orders.",
        own,
    )
    return replace(joined, third=third, third_row=rows)


def _known(table: Table, column: str | None) -> NDArray[Any]:
    """Return the ids of a column; refuse missing ids."""
    ids = table.ids(str(column))
    if ids.dtype == object:
        absent = np.array([value is None for value in ids.tolist()], dtype=np.bool_)
        table.refuse(absent, f"claims: '{column}' is missing in {{rows}}; every claim needs it.")
    return ids


def _freight(table: Table, column: str, in_yuan: str, *, merged: bool) -> Whole:
    """Return the freight of each claim in fen; columns in yuan and in fen must agree if both are there."""
    amounts = table.real(column)
    table.refuse(
        np.isnan(amounts), f"claims: '{column}' is missing in {{rows}}; every claim needs its freight.", column
    )
    if merged:
        table.refuse(amounts < 0.0, f"claims: '{column}' is below 0 in {{rows}}; correct or drop these claims.", column)
    else:
        table.refuse(
            ~(amounts > 0.0), f"claims: '{column}' is not above 0 in {{rows}}; correct or drop these claims.", column
        )
    if column == FREIGHT_FEN:
        fen = np.rint(amounts)
        bad = (fen != amounts) | (amounts > MOST_FEN)
        fine = "a whole number of fen, at most 1e11"
    else:
        fen, bad = fen_of(amounts)
        fine = "an amount of yuan with at most two decimals, at most 1e9"
    table.refuse(bad, f"claims: '{column}' is not {fine}, in {{rows}}; round the amounts to whole fen first.", column)
    if in_yuan != column and in_yuan in table.names:
        yuan = table.real(in_yuan)
        table.refuse(
            ~np.isnan(yuan) & (fen_of(yuan)[0] != fen),
            f"claims: '{in_yuan}' and '{column}' differ in {{rows}}; correct one of the columns, or leave it out.",
            in_yuan,
        )
    return fen.astype(np.int64)


def _decided(table: Table, names: ColumnNames, decision: str) -> tuple[Whole, Whole, NDArray[np.int8]]:
    """Return the times of report and reversal, and the decision before the settlement, of each claim."""
    n = table.n_rows
    time, reversed_at = np.zeros(n, dtype=np.int64), np.full(n, NEVER)
    if names.report_date is not None:
        times = table.times(names.report_date)
        table.refuse(
            np.isnat(times),
            f"claims: '{names.report_date}' is missing in {{rows}}; every claim needs the time of its report, because "
            "claims are settled in this sequence.",
        )
        time = times.astype("datetime64[us]").view(np.int64)
    elif names.reversed_date in table.names:
        raise InputError("reversed_date needs the time of the report; name its column with report_date=.")
    undone = np.zeros(n, dtype=np.bool_)
    if names.reversed_date in table.names:
        times = table.times(str(names.reversed_date))
        undone = ~np.isnat(times)
        reversed_at[undone] = times[undone].astype("datetime64[us]").view(np.int64)
        table.refuse(
            reversed_at < time,
            f"claims: '{names.reversed_date}' is before '{names.report_date}' in {{rows}}; correct the dates.",
            names.reversed_date,
        )  # fmt: skip
    decided = np.where(undone, np.int8(REVERSED), np.int8(PAID))
    if decision not in table.names:
        return time, reversed_at, decided
    codes, levels = table.levels(decision)
    known = np.array([DECISIONS.index(level) if level in DECISIONS else -1 for level in levels] + [PAID], dtype=np.int8)
    given, told = known[codes], codes >= 0
    words = ", ".join(f"'{word}'" for word in DECISIONS)
    table.refuse(
        given < 0, f"claims: '{decision}' is none of {words} in {{rows}}; correct it, or leave it empty.", decision
    )
    table.refuse(
        told & (given == REVERSED) & ~undone,
        f"claims: '{decision}' is 'reversed' without a '{names.reversed_date}' in {{rows}}; give the time, because it "
        "decides which later claims get the money.",
        decision,
    )
    table.refuse(
        told & (given != REVERSED) & undone,
        f"claims: '{decision}' is not 'reversed' although there is a '{names.reversed_date}' in {{rows}}; correct one "
        "of the two.",
        decision,
    )
    return time, reversed_at, np.where(told, given, decided)


def _early(joined: JoinedColumns, reported: Days | None) -> NDArray[np.bool_]:
    """Return whether a claim was reported before the day of shipment, or the order was never shipped."""
    if joined.names_of.of_role(SHIP_DATE) not in joined.names:
        return np.zeros(joined.n_rows, dtype=np.bool_)
    days = joined.days(SHIP_DATE)
    return np.isnat(days) if reported is None else ~(reported >= days)


def ranks(ids: NDArray[Any]) -> Whole:
    """Return the rank of each id: whole numbers by size, then texts by character; equal ids have equal ranks."""
    if ids.dtype != object:
        return ids.astype(np.int64)
    import pandas as pd

    codes, values = pd.factorize(ids)
    order = sorted(range(len(values)), key=lambda k: (isinstance(values[k], str), values[k]))
    place = np.empty(len(values), dtype=np.int64)
    place[order] = np.arange(len(values))
    return np.asarray(place[codes])


def holders(joined: JoinedColumns, by: str, period: str | None, active: NDArray[np.bool_]) -> tuple[Whole, list[Any]]:
    """Return the code of merchant (or order) and period of each active claim, -1 of others, and what the codes name."""
    import pandas as pd

    column = MERCHANT_ID if by == "merchant" else ORDER_ID
    own = joined.names_of.of_role(column)
    codes, values = joined.id_codes(column)
    joined.refuse(
        active & (codes < 0),
        f"claims: '{own}' is missing in {{rows}}, but the aggregate limit is by {by}; add it to the claims or their "
        "orders.",
    )
    found = np.full(len(codes), -1, dtype=np.int64)
    names = values.tolist()
    if period is None:
        found[active], owners = pd.factorize(codes[active].astype(np.int64))
        return found, [(names[owner], "") for owner in owners.tolist()]
    when = joined.days(SHIP_DATE).astype({"day": "datetime64[D]", "month": "datetime64[M]"}[period])
    number = when[active].view(np.int64)
    first = number.min(initial=2**31)
    found[active], pairs = pd.factorize(codes[active].astype(np.int64) * 2**31 + (number - first))
    texts = (pairs % 2**31 + first).astype(when.dtype).astype(str).tolist()
    return found, [(names[owner], text) for owner, text in zip((pairs // 2**31).tolist(), texts, strict=True)]


def needed_for(by: str, period: str | None) -> list[str]:
    """Return the columns that an aggregate limit needs."""
    return [*([MERCHANT_ID] if by == "merchant" else []), *([SHIP_DATE] if period is not None else [])]
