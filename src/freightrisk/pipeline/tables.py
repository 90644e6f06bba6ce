"""The tables of a ledger, and the databases that hold them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from freightrisk.errors import InputError
from freightrisk.tariff.subsidy import Subsidy

VERSION = 1
LOCK_NUMBER = 7_210_661  # any constant: the advisory lock under which tables are made
WHOLE = ""  # the merchant and period of a budget
SECONDS_TO_WAIT = 120
SYNCHRONOUS = "FULL"  # an SQLite transaction is on the disk before it counts, so that it outlives a loss of power

TABLES = sa.MetaData()
HEAD = sa.Table(
    "ledger",
    TABLES,
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("batches", sa.BigInteger, nullable=False),
)
CAMPAIGNS = sa.Table(
    "campaigns",
    TABLES,
    sa.Column("campaign", sa.Text, primary_key=True),
    sa.Column("payer", sa.Text, nullable=False),
    sa.Column("budget_fen", sa.BigInteger),
    sa.Column("merchant_cap_fen", sa.BigInteger),
    sa.Column("period", sa.Text),
)
SPENDING = sa.Table(
    "spending",
    TABLES,
    sa.Column("campaign", sa.Text, primary_key=True),
    sa.Column("period", sa.Text, primary_key=True),
    sa.Column("merchant", sa.Text, primary_key=True),
    sa.Column("spent_fen", sa.BigInteger, nullable=False),
)
REMAINDERS = sa.Table(
    "remainders",
    TABLES,
    sa.Column("merchant", sa.Text, primary_key=True),
    sa.Column("micro", sa.BigInteger, nullable=False),
)
BATCHES = sa.Table(
    "batches",
    TABLES,
    sa.Column("batch", sa.Text, primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False, unique=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("orders", sa.BigInteger, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False),
)
OPENINGS = sa.Table(
    "openings",
    TABLES,
    sa.Column("batch", sa.Text, primary_key=True),
    sa.Column("campaign", sa.Text, primary_key=True),
    sa.Column("period", sa.Text, primary_key=True),
    sa.Column("merchant", sa.Text, primary_key=True),
    sa.Column("opening_fen", sa.BigInteger, nullable=False),
    sa.Column("spent_fen", sa.BigInteger, nullable=False),
)
CARRIED = sa.Table(
    "carried",
    TABLES,
    sa.Column("batch", sa.Text, primary_key=True),
    sa.Column("merchant", sa.Text, primary_key=True),
    sa.Column("opening_micro", sa.BigInteger, nullable=False),
    sa.Column("closing_micro", sa.BigInteger, nullable=False),
)
LINES = sa.Table(
    "lines",
    TABLES,
    sa.Column("order_id", sa.Text, primary_key=True),
    sa.Column("campaign", sa.Text, primary_key=True),
    sa.Column("batch", sa.Text, nullable=False, index=True),
    sa.Column("period", sa.Text, nullable=False),
    sa.Column("merchant", sa.Text, nullable=False),
    sa.Column("fen", sa.BigInteger, nullable=False),
)
REVERSED = sa.Table(
    "reversed",
    TABLES,
    sa.Column("batch", sa.Text, primary_key=True),
    sa.Column("order_id", sa.Text, primary_key=True),
    sa.Column("campaign", sa.Text, primary_key=True),
    sa.Column("fen", sa.BigInteger, nullable=False),
)
TERMS = sa.Table(
    "terms",
    TABLES,
    sa.Column("batch", sa.Text, primary_key=True),
    sa.Column("campaign", sa.Text, primary_key=True),
    sa.Column("budget_fen", sa.BigInteger),
    sa.Column("merchant_cap_fen", sa.BigInteger),
    sa.Column("period", sa.Text),
)

UPSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def engine_of(where: str | Path) -> sa.Engine:
    """Return the engine of a path or URL; an SQLite one makes its file and begins every transaction alone."""
    if not isinstance(where, (str, Path)):
        raise InputError(f"where is {where!r}; give the path of an SQLite file, a URL or an engine.")
    text = str(where)
    if "://" not in text:
        if not Path(text).parent.is_dir():
            raise InputError(
                f"where is '{text}' in the folder '{Path(text).parent}', which does not exist; create it first."
            )
        text = f"sqlite:///{text}"
    if not text.startswith("sqlite"):
        return sa.create_engine(text)
    engine = sa.create_engine(text, connect_args={"timeout": SECONDS_TO_WAIT})

    @sa.event.listens_for(engine, "connect")
    def on_connect(raw: Any, _: object) -> None:
        raw.isolation_level = None  # the driver begins no transaction of its own
        raw.execute("PRAGMA journal_mode=WAL")
        raw.execute(f"PRAGMA synchronous={SYNCHRONOUS}")

    @sa.event.listens_for(engine, "begin")
    def on_begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def campaign_row(rule: Subsidy) -> dict[str, Any]:
    """Return a campaign as its row."""
    return {
        "campaign": rule.name,
        "payer": rule.payer,
        "budget_fen": rule.budget_fen,
        "merchant_cap_fen": rule.merchant_cap_fen,
        "period": rule.period,
    }


def add_to(connection: sa.Connection, table: sa.Table, column: Any, amounts: Mapping[Any, int]) -> None:
    """Add whole amounts to rows named by their primary keys, making those that are missing."""
    names = [part.name for part in table.primary_key]
    rows = [
        dict(zip(names, key, strict=True)) | {column.name: amount} for key, amount in sorted(amounts.items()) if amount
    ]
    if rows:
        asked = UPSERTS[connection.dialect.name](table)
        added = column + asked.excluded[column.name]
        connection.execute(asked.on_conflict_do_update(index_elements=names, set_={column.name: added}), rows)
