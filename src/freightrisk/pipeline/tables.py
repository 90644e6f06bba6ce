"""The tables of a ledger, and the databases that hold them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from freightrisk.errors import InputError, LedgerError
from freightrisk.tariff.subsidy import Subsidy

VERSION = 1
LOCK_NUMBER = 7_210_661  # any constant: the advisory lock under which tables are made
WHOLE = ""  # the merchant and period of a budget
SECONDS_TO_WAIT = 120
SYNCHRONOUS = "FULL"  # an SQLite transaction is on the disk before it counts, so that it outlives a loss of power

TABLES = sa.MetaData()
HEAD = sa.Table(
    "freightrisk_ledger",
    TABLES,
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("batches", sa.BigInteger, nullable=False),
    sa.Column("clock", sa.Text, nullable=False),
)
CAMPAIGNS = sa.Table(
    "freightrisk_campaigns",
    TABLES,
    sa.Column("campaign", sa.Text, primary_key=True),
    sa.Column("payer", sa.Text, nullable=False),
    sa.Column("budget_fen", sa.BigInteger),
    sa.Column("merchant_cap_fen", sa.BigInteger),
    sa.Column("period", sa.Text),
)
SPENDING = sa.Table(
    "freightrisk_spending",
    TABLES,
    sa.Column("campaign", sa.Text, primary_key=True),
    sa.Column("period", sa.Text, primary_key=True),
    sa.Column("merchant", sa.Text, primary_key=True),
    sa.Column("spent_fen", sa.BigInteger, nullable=False),
)
REMAINDERS = sa.Table(
    "freightrisk_remainders",
    TABLES,
    sa.Column("merchant", sa.Text, primary_key=True),
    sa.Column("micro", sa.BigInteger, nullable=False),
)
BATCHES = sa.Table(
    "freightrisk_batches",
    TABLES,
    sa.Column("batch", sa.Text, primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False, unique=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("orders", sa.BigInteger, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False),
)
OPENINGS = sa.Table(
    "freightrisk_openings",
    TABLES,
    sa.Column("batch", sa.Text, primary_key=True),
    sa.Column("campaign", sa.Text, primary_key=True),
    sa.Column("period", sa.Text, primary_key=True),
    sa.Column("merchant", sa.Text, primary_key=True),
    sa.Column("opening_fen", sa.BigInteger, nullable=False),
    sa.Column("spent_fen", sa.BigInteger, nullable=False),
)
CARRIED = sa.Table(
    "freightrisk_carried",
    TABLES,
    sa.Column("batch", sa.Text, primary_key=True),
    sa.Column("merchant", sa.Text, primary_key=True),
    sa.Column("opening_micro", sa.BigInteger, nullable=False),
    sa.Column("closing_micro", sa.BigInteger, nullable=False),
)
LINES = sa.Table(
    "freightrisk_lines",
    TABLES,
    sa.Column("order_id", sa.Text, primary_key=True),
    sa.Column("campaign", sa.Text, primary_key=True),
    sa.Column("batch", sa.Text, nullable=False, index=True),
    sa.Column("period", sa.Text, nullable=False),
    sa.Column("merchant", sa.Text, nullable=False),
    sa.Column("fen", sa.BigInteger, nullable=False),
)
REVERSED = sa.Table(
    "freightrisk_reversed",
    TABLES,
    sa.Column("batch", sa.Text, primary_key=True),
    sa.Column("order_id", sa.Text, primary_key=True),
    sa.Column("campaign", sa.Text, primary_key=True),
    sa.Column("fen", sa.BigInteger, nullable=False),
)
TERMS = sa.Table(
    "freightrisk_terms",
    TABLES,
    sa.Column("batch", sa.Text, primary_key=True),
    sa.Column("campaign", sa.Text, primary_key=True),
    sa.Column("budget_fen", sa.BigInteger),
    sa.Column("merchant_cap_fen", sa.BigInteger),
    sa.Column("period", sa.Text),
)

EXAMPLE = "postgresql+psycopg://user@host/database"
SHOWN = 200  # characters of a database's own message
OWN = "its tables named freightrisk_... are of another program or release; give the ledger a database of its own"
CURES = {
    "not a database": "give the path of a ledger, or of a new file",
    "malformed": "restore the file from a copy",
    "lock": "another program holds it; let that end, then try again",
    "readonly": "let this process write to the file and its folder",
    "unable to open": "check that the folder exists and that this process may write to it",
    "disk is full": "make room, then run the batch again under its id",
    "column": OWN,
    "relation": OWN,
    "codec can't encode": "give ids and names that are whole texts",
}

UPSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def engine_of(where: str | Path) -> sa.Engine:
    """Return the engine of a path or URL; an SQLite one makes its file and begins every transaction alone."""
    if not isinstance(where, (str, Path)):
        raise InputError(f"where is {where!r}; give the path of an SQLite file, a URL or an engine.")
    url = _url(where) if isinstance(where, str) and "://" in where else _file(where)
    sqlite_only = {"connect_args": {"timeout": SECONDS_TO_WAIT}} if url.get_backend_name() == "sqlite" else {}
    try:
        engine = sa.create_engine(url, **sqlite_only)
    except sa.exc.NoSuchModuleError:
        raise InputError(
            f"where names the driver '{url.drivername}', which SQLAlchemy does not know; give a URL such as {EXAMPLE}."
        ) from None
    except ModuleNotFoundError as error:
        raise InputError(
            f"where names the driver '{url.drivername}', whose package '{error.name}' is not installed; install it, or "
            f"name another driver, such as {EXAMPLE}."
        ) from None
    if sqlite_only:
        _alone(engine)
    return engine


def _file(where: str | Path) -> sa.URL:
    """Return the URL of exactly this file, whatever the characters of its name."""
    if where == ":memory:":
        return sa.URL.create("sqlite", database=":memory:")
    path = Path(where)
    if path.is_dir():
        raise InputError(f"where is '{path}', which is a folder; give the name of a file in it.")
    if not path.parent.is_dir():
        raise InputError(f"where is '{path}' in the folder '{path.parent}', which does not exist; create it first.")
    return sa.URL.create("sqlite", database=str(path.absolute()))


def _url(text: str) -> sa.URL:
    # Neither message repeats the text, which may hold a password.
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError):
        kind = text.partition("://")[0]
        raise InputError(f"where begins with '{kind}://' but is no URL of a database; write it as {EXAMPLE}.") from None
    if url.get_backend_name() not in UPSERTS:
        raise InputError(f"where is a {url.get_backend_name()} database; give one of {', '.join(UPSERTS)}.")
    return url


def _alone(engine: sa.Engine) -> None:
    """Let every transaction of an SQLite database begin as its only writer."""

    @sa.event.listens_for(engine, "connect")
    def on_connect(raw: Any, _: object) -> None:
        raw.isolation_level = None  # the driver begins no transaction of its own
        raw.execute("PRAGMA journal_mode=WAL")
        raw.execute(f"PRAGMA synchronous={SYNCHRONOUS}")

    @sa.event.listens_for(engine, "begin")
    def on_begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextmanager
def own_errors(url: sa.URL) -> Iterator[None]:
    """Raise the errors of a database and its driver as a LedgerError that says what to do and shows no password."""
    try:
        yield
    except (sa.exc.SQLAlchemyError, UnicodeError, OverflowError) as error:
        said = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        given = url.query.get("password", ())  # normalized_query fails in SQLAlchemy 2.0.0
        for secret in (url.password, *((given,) if isinstance(given, str) else given)):
            said = said.replace(str(secret), "***") if secret else said
        other = "check that the database runs, that its address and user are right, and what the user may do"
        cure = next((cure for sign, cure in CURES.items() if sign in said.lower()), other)
        name = url.set(query={}).render_as_string(hide_password=True)
        raise LedgerError(f"the ledger in {name} cannot be used: {said[:SHOWN]}; {cure}.") from None


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
