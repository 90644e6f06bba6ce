"""Reading and writing the entries of a batch in a ledger, within one transaction."""

from typing import Any

import sqlalchemy as sa

from freightrisk.errors import LedgerError
from freightrisk.pipeline.batch import LIMITS, Key, PricedBatch, Recorded, Snapshot, Unpriced
from freightrisk.pipeline.fund_entries import (
    fund_openings,
    fund_spending,
    give_back_to_funds,
    record_funds,
    recorded_funds,
)
from freightrisk.pipeline.tables import (
    BATCHES,
    CAMPAIGNS,
    CARRIED,
    ENTRIES,
    FUND_CAMPAIGNS,
    FUND_OPENINGS,
    FUND_TERMS,
    HEAD,
    MOST_FEN,
    OPENINGS,
    REMAINDERS,
    REVERSED,
    SPENDING,
    TERMS,
    WHOLE,
    add_to,
    campaign_row,
    counted,
)
from freightrisk.tariff.balances import MOST_REMAINDER, OrderSequence
from freightrisk.tariff.subsidy import Subsidy


def spent_now(connection: sa.Connection, unpriced: Unpriced) -> Snapshot:
    """Return the spending under the limits of a batch, and the remainders of its merchants."""
    if unpriced.coded.sequence is None:
        return Snapshot({}, {})
    sequence: OrderSequence = unpriced.coded.sequence
    spent: dict[Key, int] = {}
    for name, rule in unpriced.limited.items():
        pairs = [] if rule.period is None else [(when, str(who)) for who, when in sequence.labels[rule.period]]
        met = {(WHOLE, WHOLE), *pairs}
        periods = list(dict.fromkeys(when for when, _ in met))
        # Selected by period and filtered here, because a batch may have more merchants than a statement has parameters.
        asked = sa.select(SPENDING).where(SPENDING.c.campaign == name, SPENDING.c.period.in_(periods))
        for row in connection.execute(asked):
            if (row.period, row.merchant) in met:
                spent[name, row.period, row.merchant] = counted(row.spent_fen)
    remainders: dict[str, int] = {}
    if len(sequence.merchants):
        names = set(map(str, sequence.names))
        every = connection.execute(sa.select(REMAINDERS))
        remainders = {row.merchant: counted(row.micro, most=MOST_REMAINDER) for row in every if row.merchant in names}
    return Snapshot(spent, remainders, fund_spending(connection, [fund.name for fund in unpriced.funds]))


def recorded_of(connection: sa.Connection, batch: str) -> Recorded | None:
    """Return the record of a batch, None if the ledger has none."""
    fingerprint = connection.execute(sa.select(BATCHES.c.fingerprint).where(BATCHES.c.batch == batch)).scalar()
    if fingerprint is None:
        return None
    openings = connection.execute(sa.select(OPENINGS).where(OPENINGS.c.batch == batch))
    spent = {(row.campaign, row.period, row.merchant): counted(row.opening_fen) for row in openings}
    carried = connection.execute(sa.select(CARRIED).where(CARRIED.c.batch == batch))
    remainders = {row.merchant: counted(row.opening_micro, most=MOST_REMAINDER) for row in carried}
    kept = connection.execute(sa.select(TERMS).where(TERMS.c.batch == batch))
    terms = {row.campaign: {name: getattr(row, name) for name in LIMITS} for row in kept}
    funds = recorded_funds(connection, batch)
    opening = Snapshot(spent, remainders, fund_openings(connection, batch))
    return Recorded(opening, str(fingerprint), terms, funds)


def record(
    connection: sa.Connection,
    batch: str,
    done: PricedBatch,
    now: Snapshot,
    unpriced: Unpriced,
) -> None:
    """Record a batch: its spending, and the state from which it can be priced again."""
    for key, fen in done.spent.items():
        if now.spent.get(key, 0) + fen > MOST_FEN:
            raise LedgerError(
                f"campaign '{key[0]}' would have spent {now.spent[key] + fen} fen with batch '{batch}', and a ledger "
                f"counts up to {MOST_FEN}; give the campaign a new name, or begin a new ledger."
            )
    connection.execute(HEAD.update().values(batches=HEAD.c.batches + 1))
    number = connection.execute(sa.select(HEAD.c.batches)).scalar()
    row = {"batch": batch, "number": number, "state": "reserved", "orders": unpriced.coded.n_orders}
    connection.execute(BATCHES.insert().values(**row, fingerprint=done.fingerprint))
    # Openings of limits that the batch did not spend from are kept too, because a re-run needs the same balances.
    keys = {key for key, fen in now.spent.items() if fen} | set(done.spent)
    names = ("campaign", "period", "merchant")
    openings = [
        dict(zip(names, key, strict=True))
        | {"batch": batch, "opening_fen": now.spent.get(key, 0), "spent_fen": done.spent.get(key, 0)}
        for key in sorted(keys)
    ]
    carried = [
        {"batch": batch, "merchant": name, "opening_micro": now.remainders.get(name, 0), "closing_micro": micro}
        for name, micro in done.remainders.items()
    ]
    entries = [entry | {"batch": batch} for entry in done.entries]
    terms = [
        {name: value for name, value in campaign_row(rule).items() if name != "payer"} | {"batch": batch}
        for rule in unpriced.limited.values()
    ]
    for table, rows in ((OPENINGS, openings), (CARRIED, carried), (TERMS, terms)):
        if rows:
            connection.execute(table.insert(), rows)
    try:
        if entries:
            connection.execute(ENTRIES.insert(), entries)
    except sa.exc.IntegrityError:
        raise LedgerError(
            f"batch '{batch}': an order has money of the same campaign already, from another batch or twice in "
            "this one; release that batch or reverse the order there, or give each order one id."
        ) from None
    add_to(connection, SPENDING, SPENDING.c.spent_fen, done.spent)
    change = {(name,): micro - now.remainders.get(name, 0) for name, micro in done.remainders.items()}
    add_to(connection, REMAINDERS, REMAINDERS.c.micro, change)
    record_funds(connection, batch, done, now, unpriced)


def give_back(connection: sa.Connection, column: str, values: list[str]) -> list[Any]:
    """Subtract the fen of some batches' or orders' entries from spending and from funds, and return the entries."""
    rows = list(connection.execute(sa.select(ENTRIES).where(ENTRIES.c[column].in_(values))))
    give_back_to_funds(connection, column, values)
    back: dict[Key, int] = {}
    for row in rows:
        # A set, because the two keys are equal for a campaign without a cap by merchant.
        keys = {(row.campaign, WHOLE, WHOLE), (row.campaign, row.period, row.merchant)}
        for key in keys:
            back[key] = back.get(key, 0) - int(row.fen)
    add_to(connection, SPENDING, SPENDING.c.spent_fen, back)
    return rows


def erase(connection: sa.Connection, batch: str) -> None:
    """Give back the money and the remainders of a batch, and delete its record."""
    give_back(connection, "batch", [batch])
    carried = connection.execute(sa.select(CARRIED).where(CARRIED.c.batch == batch)).all()
    change = {(row.merchant,): row.opening_micro - row.closing_micro for row in carried}
    add_to(connection, REMAINDERS, REMAINDERS.c.micro, change)
    for table in (ENTRIES, OPENINGS, CARRIED, TERMS, FUND_OPENINGS, FUND_TERMS, REVERSED, BATCHES):
        connection.execute(table.delete().where(table.c.batch == batch))


def campaign_rows(connection: sa.Connection) -> dict[str, list[Any]]:
    """Return the payer and the budget of each campaign, and its fen confirmed, reserved and left."""
    reserved = (
        sa.select(ENTRIES.c.campaign, sa.func.sum(ENTRIES.c.fen).label("fen"))
        .join(BATCHES, BATCHES.c.batch == ENTRIES.c.batch)
        .where(BATCHES.c.state == "reserved")
        .group_by(ENTRIES.c.campaign)
    )
    whole = sa.select(SPENDING).where(SPENDING.c.period == WHOLE)
    spent = {row.campaign: counted(row.spent_fen) for row in connection.execute(whole)}
    held = {row.campaign: counted(int(row.fen)) for row in connection.execute(reserved)}
    rows = {}
    for row in connection.execute(sa.select(CAMPAIGNS).order_by(CAMPAIGNS.c.campaign)):
        total, part = spent.get(row.campaign, 0), held.get(row.campaign, 0)
        left = None if row.budget_fen is None else row.budget_fen - total
        rows[row.campaign] = [row.payer, row.budget_fen, total - part, part, left]
    return rows


def check_terms(connection: sa.Connection, limited: dict[str, Subsidy]) -> list[Subsidy]:
    """Return the campaigns that the ledger does not have; refuses campaigns with other terms than in the tariff."""
    links = {row.campaign: row.fund for row in connection.execute(sa.select(FUND_CAMPAIGNS))}
    known = {
        row.campaign: row._asdict() | {"fund": links.get(row.campaign)}
        for row in connection.execute(sa.select(CAMPAIGNS))
    }
    for name, rule in limited.items():
        terms = campaign_row(rule) | {"fund": rule.fund}
        other = [what for what, value in terms.items() if name in known and known[name][what] != value]
        if other:
            raise LedgerError(
                f"campaign '{name}' has {other[0]} {known[name][other[0]]} in the ledger and "
                f"{terms[other[0]]} in the tariff; if the tariff is right, call amend(tariff)."
            )
    return [rule for name, rule in limited.items() if name not in known]


def add_campaigns(connection: sa.Connection, rules: list[Subsidy]) -> None:
    """Write campaigns that the ledger does not have, with their limits and funds."""
    for rule in rules:
        connection.execute(CAMPAIGNS.insert().values(**campaign_row(rule)))
        if rule.fund is not None:
            connection.execute(FUND_CAMPAIGNS.insert().values(campaign=rule.name, fund=rule.fund))


def amend_campaigns(connection: sa.Connection, rules: list[Subsidy]) -> None:
    """Write campaigns with their limits and funds in the place of the campaigns of these names."""
    for table in (CAMPAIGNS, FUND_CAMPAIGNS):
        for rule in rules:
            connection.execute(table.delete().where(table.c.campaign == rule.name))
    add_campaigns(connection, rules)
