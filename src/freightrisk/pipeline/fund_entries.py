"""Reading and writing what a ledger knows of funds, within one transaction."""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

import sqlalchemy as sa

from freightrisk.errors import LedgerError
from freightrisk.pipeline.batch import FundKey, PricedBatch, Snapshot, Unpriced
from freightrisk.pipeline.tables import (
    BATCHES,
    FUND_LINES,
    FUND_OPENINGS,
    FUND_SPENDING,
    FUND_TERMS,
    FUNDS,
    MOST_FEN,
    add_to,
    counted,
)
from freightrisk.tariff.funds import FUND_DAY, Fund, funds_by_name

DAYS = ("start", "end")
TERMS = ("budget_fen", "per_day_fen", "pacing", *DAYS)


def fund_row(fund: Fund) -> dict[str, Any]:
    """Return a fund as a row of the table of funds."""
    row = {name: getattr(fund, name) for name in TERMS}
    return {"fund": fund.name} | row | {name: None if row[name] is None else str(row[name]) for name in DAYS}


def fund_of(row: Any) -> Fund:
    """Return the fund of a row."""
    terms = {name: getattr(row, name) for name in TERMS}
    days = {name: None if terms[name] is None else date.fromisoformat(terms[name]) for name in DAYS}
    return Fund(row.fund, **terms | days)


def check_fund_terms(connection: sa.Connection, funds: Iterable[Fund]) -> list[Fund]:
    """Return the funds that the ledger does not have; refuses funds with other terms than in the tariff."""
    funds = list(funds)
    if not funds:
        return []
    known = {row.fund: row._asdict() for row in connection.execute(sa.select(FUNDS))}
    for fund in funds:
        terms = fund_row(fund)
        other = [what for what, value in terms.items() if fund.name in known and known[fund.name][what] != value]
        if other:
            raise LedgerError(
                f"fund '{fund.name}' has {other[0]} {known[fund.name][other[0]]} in the ledger and {terms[other[0]]} "
                "in the tariff; if the tariff is right, call amend(tariff)."
            )
    return [fund for fund in funds if fund.name not in known]


def add_funds(connection: sa.Connection, funds: Iterable[Fund]) -> None:
    """Write funds that the ledger does not have."""
    for fund in funds:
        connection.execute(FUNDS.insert().values(**fund_row(fund)))


def fund_spending(connection: sa.Connection, names: list[str]) -> dict[FundKey, int]:
    """Return what funds have paid by ship day."""
    if not names:
        return {}
    asked = sa.select(FUND_SPENDING).where(FUND_SPENDING.c.fund.in_(names))
    return {(row.fund, row.day): counted(row.spent_fen) for row in connection.execute(asked)}


def fund_openings(connection: sa.Connection, batch: str) -> dict[FundKey, int]:
    """Return what funds had paid before a recorded batch."""
    asked = sa.select(FUND_OPENINGS).where(FUND_OPENINGS.c.batch == batch)
    return {(row.fund, row.day): counted(row.opening_fen) for row in connection.execute(asked)}


def recorded_funds(connection: sa.Connection, batch: str) -> dict[str, Fund]:
    """Return the fund of each campaign when a batch was recorded."""
    asked = sa.select(FUND_TERMS).where(FUND_TERMS.c.batch == batch)
    return {row.campaign: fund_of(row) for row in connection.execute(asked)}


def record_funds(connection: sa.Connection, batch: str, done: PricedBatch, now: Snapshot, unpriced: Unpriced) -> None:
    """Record what a batch has drawn from funds, and the state from which it can be priced again."""
    for key, fen in done.fund_spent.items():
        if now.funds.get(key, 0) + fen > MOST_FEN:
            raise LedgerError(
                f"fund '{key[0]}' would have spent {now.funds[key] + fen} fen with batch '{batch}', and a ledger "
                f"counts up to {MOST_FEN}; give the fund a new name, or begin a new ledger."
            )
    known = funds_by_name(unpriced.funds)
    opening = _opening(now, unpriced, known)
    openings = [
        {
            "batch": batch, "fund": fund, "day": day, "opening_fen": opening.get((fund, day), 0),
            "spent_fen": done.fund_spent.get((fund, day), 0),
        }
        for fund, day in sorted(opening.keys() | done.fund_spent.keys())
    ]  # fmt: skip
    terms = [
        fund_row(known[rule.fund]) | {"batch": batch, "campaign": rule.name}
        for rule in unpriced.limited.values()
        if rule.fund is not None
    ]
    lines = [line | {"batch": batch} for line in done.fund_lines]
    for table, rows in ((FUND_OPENINGS, openings), (FUND_TERMS, terms), (FUND_LINES, lines)):
        if rows:
            connection.execute(table.insert(), rows)
    add_to(connection, FUND_SPENDING, FUND_SPENDING.c.spent_fen, done.fund_spent)


def _opening(now: Snapshot, unpriced: Unpriced, known: Mapping[str, Fund]) -> dict[FundKey, int]:
    """Return what funds had paid before a batch, as few amounts that give the batch the same fen.

    Days before the batch's first day are one amount under "", the day before every day. Otherwise each batch of a fund
    would repeat all earlier days, and the ledger would grow with their square.
    """
    sequence = unpriced.coded.sequence
    first = min((day for _, day in sequence.labels.get(FUND_DAY, [])), default=None) if sequence is not None else None
    opening: dict[FundKey, int] = {}
    for (fund, day), fen in now.funds.items():
        merged = first is None or day < first or not known[fund].is_by_day
        key = fund, "" if merged else day
        if fen:
            opening[key] = min(opening.get(key, 0) + fen, MOST_FEN)
    return opening


def give_back_to_funds(connection: sa.Connection, column: str, values: list[str]) -> None:
    """Subtract what funds have paid for some batches or orders from the spending of the funds."""
    some = FUND_LINES.c[column].in_(values)
    back: dict[FundKey, int] = {}
    for row in connection.execute(sa.select(FUND_LINES).where(some)):
        key = row.fund, row.day
        back[key] = back.get(key, 0) - counted(row.fen)
    add_to(connection, FUND_SPENDING, FUND_SPENDING.c.spent_fen, back)
    connection.execute(FUND_LINES.delete().where(some))


def fund_rows(connection: sa.Connection) -> dict[str, list[int | None]]:
    """Return the budget of each fund, and its fen confirmed, reserved and left."""
    reserved = (
        sa.select(FUND_LINES.c.fund, sa.func.sum(FUND_LINES.c.fen).label("fen"))
        .join(BATCHES, BATCHES.c.batch == FUND_LINES.c.batch)
        .where(BATCHES.c.state == "reserved")
        .group_by(FUND_LINES.c.fund)
    )
    held = {row.fund: counted(int(row.fen)) for row in connection.execute(reserved)}
    spent: dict[str, int] = {}
    for row in connection.execute(sa.select(FUND_SPENDING)):
        spent[row.fund] = spent.get(row.fund, 0) + counted(row.spent_fen)
    rows: dict[str, list[int | None]] = {}
    for row in connection.execute(sa.select(FUNDS).order_by(FUNDS.c.fund)):
        total, part = spent.get(row.fund, 0), held.get(row.fund, 0)
        left = None if row.budget_fen is None else row.budget_fen - total
        rows[row.fund] = [row.budget_fen, total - part, part, left]
    return rows


def amend_funds(connection: sa.Connection, funds: Iterable[Fund]) -> None:
    """Write funds in the place of the funds of these names."""
    for fund in funds:
        connection.execute(FUNDS.delete().where(FUNDS.c.fund == fund.name))
    add_funds(connection, funds)
