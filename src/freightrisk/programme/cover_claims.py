"""Claims of several covers: each cover's claims settled by its own terms, in the rows of the caller."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk._columns import Table, kind, read
from freightrisk._frozen import FrozenDict
from freightrisk.book.joined import unique_ids
from freightrisk.errors import InputError
from freightrisk.programme.claim_payer import check_payers, payer_names
from freightrisk.programme.claim_totals import ClaimTotals
from freightrisk.programme.cover_settle import ClaimTables, CoverSettled, settle_cover
from freightrisk.programme.fen import Whole
from freightrisk.programme.settled import ClaimPayments, SettledClaims, claims_frame
from freightrisk.tariff.tariff import Tariff

NEVER = np.datetime64("NaT", "D")


def settle_covers(
    covers: Sequence[Tariff], tables: ClaimTables, payers: Any, aggregate: Any, *, totals: ClaimTotals
) -> SettledClaims:
    """Return the claims of several covers, settled.

    Parameters
    ----------
    covers : sequence of Tariff
    tables : ClaimTables
    payers : sequence of ClaimPayer, or mapping of cover to such sequences
        A sequence is for the first cover.
    aggregate : mapping of cover to AggregateLimit, or None
    totals : ClaimTotals
    """
    names = [cover.name for cover in covers]
    totals.check_covers(names[1:], names[0])
    before = [
        replace(totals, covers=FrozenDict(), first=""),
        *(totals.covers.get(name, ClaimTotals()) for name in names[1:]),
    ]
    rules, limits = rules_of(payers, covers), limits_of(aggregate, covers)
    table = _table(tables)
    place = _cover_of(table, tables.names.cover, names)
    _check_ids(table, tables, place, dict(zip(names, before, strict=True)))
    rows = [np.flatnonzero(place == k) for k in range(len(covers))]
    # A cover without claims needs none of its columns, but the first one tells which columns claims must have.
    settled = [
        settle_cover(cover, tables, rules[k], aggregate=limits[k], totals=before[k], chosen=rows[k])
        if len(rows[k]) or (k == 0 and not table.n_rows)
        else None
        for k, cover in enumerate(covers)
    ]
    after = [was if one is None else one.totals for was, one in zip(before, settled, strict=True)]
    others = {name: one for name, one in zip(names[1:], after[1:], strict=True) if one != ClaimTotals()}
    parts = [(chosen, one) for chosen, one in zip(rows, settled, strict=True) if one is not None]
    listed = [payer_names(rules[k]) if one is None else one.payers for k, one in enumerate(settled)]
    everyone = tuple(dict.fromkeys(payer for some in listed for payer in some))
    columns = {"cover": np.array([*names, ""], dtype=object)[place]} | _columns(parts, everyone, table.n_rows)
    return SettledClaims(
        claims_frame(columns, kind(tables.claims), getattr(table.frame, "index", None)),
        replace(after[0], covers=FrozenDict(others), first=names[0] if len(names) > 1 else ""),
        everyone,
        _payments(parts, everyone, table.n_rows),
        tuple(names),
    )


def check_one_cover(name: str, tables: ClaimTables) -> None:
    """Refuse claims of covers other than the only one of a programme."""
    _cover_of(_table(tables), tables.names.cover, [name])


def _table(tables: ClaimTables) -> Table:
    """Return the columns of claims that tell their covers apart."""
    own = tables.names.own
    wanted = [tables.names.cover, own.order_id, *([] if own.claim_id is None else [own.claim_id])]
    return read(tables.claims, wanted, argument="claims", key=own.order_id)


def _cover_of(table: Table, column: str, names: Sequence[str]) -> NDArray[np.int64]:
    """Return the place of each claim's cover; without the column all claims are of the first."""
    if column not in table.names:
        return np.zeros(table.n_rows, dtype=np.int64)
    codes, levels = table.levels(column)
    known = np.array([names.index(str(one)) if str(one) in names else -1 for one in levels] + [-1], dtype=np.int64)
    place = np.where(codes < 0, -1, known[codes])
    table.refuse(
        place < 0,
        f"claims: '{column}' names none of the covers ({', '.join(map(repr, names))}) in {{rows}}; correct it, or "
        "leave the column out if all claims are of the first cover.",
        column,
    )
    return np.asarray(place)


def rules_of(payers: Any, covers: Sequence[Tariff]) -> list[Any]:
    """Return the payers of each cover, checked."""
    names = [cover.name for cover in covers]
    given = payers if isinstance(payers, Mapping) else {names[0]: payers}
    _check_known(given, names, "payers")
    return [check_payers(given.get(cover.name, ()), eligible=cover.cover.eligible) for cover in covers]


def limits_of(aggregate: Any, covers: Sequence[Tariff]) -> list[Any]:
    """Return the aggregate limit that a call gives for each cover, None for covers without one."""
    names = [cover.name for cover in covers]
    if isinstance(aggregate, Mapping):
        _check_known(aggregate, names, "aggregate")
    elif aggregate is not None and len(covers) > 1:
        raise InputError(
            "aggregate is one limit, but each cover counts its own payments; give a mapping of cover to limit, such as "
            f"aggregate={{'{names[0]}': AggregateLimit(300.0)}}."
        )
    return [aggregate.get(name) for name in names] if isinstance(aggregate, Mapping) else [aggregate] * len(covers)


def _check_known(given: Mapping[Any, Any], names: Sequence[str], argument: str) -> None:
    unknown = next((name for name in given if name not in names), None)
    if unknown is not None:
        raise InputError(
            f"{argument} names cover {unknown!r}, which is none of the covers ({', '.join(map(repr, names))}); correct "
            "it."
        )


def _check_ids(table: Table, tables: ClaimTables, place: NDArray[np.int64], totals: Mapping[str, ClaimTotals]) -> None:
    """Refuse one id of two claims, and claims that an earlier batch settled under another cover."""
    column = tables.names.own.claim_id
    if column is None or column not in table.names:
        return
    ids = unique_ids(table, column).tolist()
    for k, (name, one) in enumerate(totals.items()):
        if one.claims:
            elsewhere = np.array([known in one.claims for known in ids], dtype=np.bool_) & (place != k)
            table.refuse(
                elsewhere,
                f"claims: '{column}' was settled in an earlier batch under cover '{name}' in {{rows}}; correct the "
                "claim or its cover.",
                column,
            )


def _columns(
    parts: Sequence[tuple[Whole, CoverSettled]], payers: Iterable[str], n_rows: int
) -> dict[str, NDArray[Any]]:
    """Return the columns of all covers in the rows of the caller; who pays nothing of a cover pays 0."""
    money = [f"{payer}_fen" for payer in payers]
    first = parts[0][1].columns
    names = [name for name in first if name not in money]
    at = names.index("paid_fen") + 1
    found: dict[str, NDArray[Any]] = {}
    for name in [*names[:at], *money, *names[at:]]:
        found[name] = np.zeros(n_rows, dtype=first[name].dtype if name in first else np.int64)
        for rows, one in parts:
            if name in one.columns:
                found[name][rows] = one.columns[name]
    return found


def _payments(parts: Sequence[tuple[Whole, CoverSettled]], payers: Iterable[str], n_rows: int) -> ClaimPayments:
    """Return the payments of all covers in the rows of the caller."""
    days = {name: np.full(n_rows, NEVER) for name in ("day", "back_day")}
    money = {name: {payer: np.zeros(n_rows, dtype=np.int64) for payer in payers} for name in ("paid", "back")}
    for rows, one in parts:
        for name, values in days.items():
            values[rows] = getattr(one.payments, name)
        for name, by_payer in money.items():
            for payer, fen in getattr(one.payments, name).items():
                by_payer[payer][rows] = fen
    return ClaimPayments(days["day"], days["back_day"], money["paid"], money["back"])
