"""Orders, claims and counts from frames, as the fields of an OrderBook."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check, _intake
from freightrisk._columns import ColumnNames, JoinedColumns
from freightrisk.book.claims import ClaimRecords, Reversals, read_claims
from freightrisk.book.codings import Coding, code_type, line_coding
from freightrisk.book.doubts import warn_of_alike, warn_of_grams
from freightrisk.book.factors import MOST_LINES, Declaration
from freightrisk.book.joined import SMALLEST, columns_of, columns_with_missing, join, refuse_outside
from freightrisk.book.learning import learn
from freightrisk.errors import InputError

OUT = {"not_shipped": "were never shipped", "shipped_after_as_of": "were shipped after that day"}


def read_frames(
    orders: Any,
    claims: Any,
    *,
    factors: Sequence[Declaration | Coding],
    merchants: Any,
    as_of: Any,
    names: ColumnNames,
    lines: str | None,
    clock: str,
    checked: bool = False,
) -> dict[str, Any]:
    """Return the fields of the book of some orders and claims, even if no order is in force.

    Parameters are as for `OrderBook.from_frames`.

    `checked` says that claims were looked at for repeated ones, and that a batch of orders needs no look of its own.
    """
    wanted = columns_of(factors)
    _intake.check_clock(clock)
    if lines is not None:
        _check.label(lines, argument="lines")
    joined = join(
        orders, merchants, wanted, names=names, also=[names.order_id, names.ship_date, names.exposure, lines],
        may_be_missing=columns_with_missing(factors), clock=clock,
    )  # fmt: skip
    if not checked:
        warn_of_grams(joined, wanted)
    day = None if as_of is None else _check.day(as_of, argument="as_of")
    kept, ship_day, left_out = _in_force(joined, names, day)
    claim_order, claim_day, amount, undone = read_claims(claims, joined, names, ship_day, checked=checked)
    in_time = np.ones(len(amount), dtype=bool) if day is None or claim_day is None else claim_day <= day
    left_out["claims_after_as_of"] = int((~in_time).sum())
    place = np.full(joined.n_rows, -1, dtype=np.int64)
    place[kept] = np.arange(len(kept))
    claim_row = place[claim_order]
    used = in_time & (claim_row >= 0)
    reversed_ = used & ~np.isnat(undone)
    if day is not None:
        reversed_ &= undone <= day
    if names.reversed_date is not None:
        left_out["claims_reversed"] = int(reversed_.sum())
    used &= ~reversed_
    book_rows = JoinedColumns(joined.orders, joined.merchants, joined.merchant_row, kept, names_of=names)
    return _assemble(
        book_rows,
        factors,
        ClaimRecords(claim_row[used], amount[used], day=None if claim_day is None else claim_day[used]),
        exposure=names.exposure,
        ship_day=None if ship_day is None else ship_day[kept],
        as_of=day,
        left_out=left_out,
        reversals=Reversals(
            claim_row[reversed_], undone[:0] if claim_day is None else claim_day[reversed_], undone[reversed_]
        ),
        lines=lines,
        order_row=None if len(kept) == joined.n_rows else kept,
        table_rows=joined.n_rows,
        clock=clock,
    )


def read_counts(
    cells: Any,
    *,
    claims: str,
    factors: Sequence[Declaration | Coding],
    amount: str | None,
    exposure: str | None,
    lines: str | None,
) -> dict[str, Any]:
    """Return the fields of the book of rows that already hold a number of claims; see `OrderBook.from_counts`."""
    wanted = columns_of(factors)
    names = ColumnNames(ship_date=None, exposure=exposure)
    for argument, name in (("claims", claims), ("amount", amount), ("lines", lines)):
        if name is not None:
            _check.label(name, argument=argument)
    joined = join(cells, None, wanted, names=names, also=[claims, amount, exposure, lines], argument="cells")
    warn_of_grams(joined, wanted)
    counted = joined.real(claims)
    _check.in_interval(counted, column=claims, low=0.0, high=2.0**32 - 1)
    joined.refuse(
        counted != np.floor(counted),
        f"column '{claims}' is not a whole number in {{rows}}; it counts claims.",
        claims,
    )
    rows = np.flatnonzero(counted > 0) if amount else np.empty(0, dtype=np.int64)
    total = np.empty(0)
    if amount:
        amounts = joined.real(amount)
        total = amounts[rows]
        refuse_outside(joined, np.where(counted > 0, amounts, SMALLEST), amount)
        joined.refuse(
            (counted == 0) & (amounts > 0),
            f"column '{amount}' is above zero where '{claims}' is zero in {{rows}}; correct one of the two.",
            amount,
        )
    records = ClaimRecords(rows, total / counted[rows], weight=counted[rows] if amount else None)
    return _assemble(joined, factors, records, exposure=exposure, claim_count=counted, lines=lines)


def with_orders(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a book, refusing one without orders and warning of levels that look alike."""
    warn_of_alike(fields["codings"].values())
    if not len(fields["counts"]):
        left_out, as_of = fields.get("left_out", {}), fields.get("as_of")
        why = "".join(f"; {count:,} {text}" for name, text in OUT.items() if (count := left_out.get(name, 0)))
        when = "" if as_of is None else f" on {as_of}"
        raise InputError(
            f"orders: no order is in force{when}; a book needs at least one shipped order{why}. Check as_of and the "
            "dates of shipment."
        )
    return fields


def _in_force(
    joined: JoinedColumns, names: ColumnNames, as_of: np.datetime64 | None
) -> tuple[NDArray[np.int64], NDArray[np.datetime64] | None, dict[str, int]]:
    """Return the rows in force at the valuation date, the shipment days and what was left out."""
    if names.ship_date is None:
        if as_of is not None:
            raise InputError("as_of needs the day of shipment; name its column with ship_date=.")
        return np.arange(joined.n_rows), None, {}
    day = joined.days(names.ship_date)
    shipped = ~np.isnat(day)
    known = shipped if as_of is None else shipped & (day <= as_of)
    counts = {"not_shipped": int((~shipped).sum()), "shipped_after_as_of": int((shipped & ~known).sum())}
    return np.flatnonzero(known), day, counts


def _assemble(
    joined: JoinedColumns,
    factors: Sequence[Declaration | Coding],
    claims: ClaimRecords,
    *,
    exposure: str | None,
    claim_count: NDArray[np.float64] | None = None,
    lines: str | None = None,
    **rest: Any,
) -> dict[str, Any]:
    """Return the fields of a book: its orders as codes and counts, beside its claims and the `rest`."""
    repeated = [name for name in (factor.name for factor in factors) if [f.name for f in factors].count(name) > 1]
    if repeated:
        raise InputError(f"factors: the name '{repeated[0]}' is used twice; give each factor its own name.")
    weight = None if exposure is None else joined.real(exposure)
    if exposure is not None and weight is not None:
        refuse_outside(joined, weight, exposure)
    counted = np.bincount(claims.row, minlength=joined.n_rows) if claim_count is None else claim_count
    largest = int(counted.max(initial=0))
    count = counted.astype(np.uint8 if largest < 2**8 else np.uint16 if largest < 2**16 else np.uint32)
    learned = {
        factor.name: (factor, factor.encode(joined))
        if isinstance(factor, Coding)
        else learn(factor, joined, exposure=weight, claim_count=count)
        for factor in factors
    }
    if lines is not None:
        kept = next((factor for factor in factors if factor.name == lines), None)
        learned[lines] = _coded_lines(joined, lines, kept, learned.get(lines))
    return {
        "codings": {name: coding for name, (coding, _) in learned.items()},
        "codes": {name: codes for name, (_, codes) in learned.items()},
        "counts": count,
        # A copy, because the column may be memory of the caller's table.
        "exposure": weight if weight is None else weight.copy(),
        "claims": claims,
        "lines": lines,
        **rest,
    }


def _coded_lines(
    joined: JoinedColumns,
    name: str,
    kept: Declaration | Coding | None,
    known: tuple[Coding, NDArray[Any]] | None,
) -> tuple[Coding, NDArray[Any]]:
    """Return the coding of the number of lines, a level for each number up to the largest, and every order's code."""
    if known is not None:
        if not isinstance(kept, Coding) or kept != line_coding(name, kept.n_levels):
            raise InputError(
                f"lines: '{name}' is the name of a factor too; to rate by the number of lines, give that factor "
                f"another name: Factor('size', column='{name}')."
            )
        return known
    counted = joined.real(name)
    joined.refuse(
        ~((counted >= 1.0) & (counted <= MOST_LINES) & (counted == np.floor(counted))),
        f"column '{name}' is no whole number from 1 to {MOST_LINES} in {{rows}}; it counts the lines of an order.",
        name,
    )
    coding = line_coding(name, int(counted.max()))
    return coding, (counted - 1.0).astype(code_type(coding.n_slots))
