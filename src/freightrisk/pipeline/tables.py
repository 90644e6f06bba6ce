"""The tables of a ledger, and the databases that hold them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from freightrisk import _check
from freightrisk._shown import repr_of
from freightrisk.errors import InputError, LedgerError
from freightrisk.pipeline.addresses import EXAMPLE, looks_like_an_address
from freightrisk.tariff.subsidy import Subsidy

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1
LOCK_NUMBER = 7_210_661  # of the advisory lock under which tables are made; any constant serves
WHOLE = ""  # stands for the merchant and the period of a budget, because a primary key may not be NULL
MOST_FEN = 2**62  # as in Balances; adding the spending of one batch still fits into 64 bits
SECONDS_TO_WAIT = 120  # for a lock of SQLite or a connection of the pool
SYNCHRONOUS = "FULL"  # SQLite flushes a transaction to the disk before it commits, so it survives a loss of power

TABLES = sa.MetaData()


def _fund_terms() -> list[sa.Column[Any]]:
    """Return the columns of the terms of a fund; days are texts such as "2026-06-18"."""
    return [
        sa.Column("budget_fen", sa.BigInteger),
        sa.Column("per_day_fen", sa.BigInteger),
        sa.Column("pacing", sa.Text),
        sa.Column("start", sa.Text),
        sa.Column("end", sa.Text),
    ]


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
ENTRIES = sa.Table(
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

FUNDS = sa.Table(
    "freightrisk_funds",
    TABLES,
    sa.Column("fund", sa.Text, primary_key=True),
    *_fund_terms(),
)
FUND_CAMPAIGNS = sa.Table(
    "freightrisk_fund_campaigns",
    TABLES,
    sa.Column("campaign", sa.Text, primary_key=True),
    sa.Column("fund", sa.Text, nullable=False),
)
FUND_SPENDING = sa.Table(
    "freightrisk_fund_spending",
    TABLES,
    sa.Column("fund", sa.Text, primary_key=True),
    sa.Column("day", sa.Text, primary_key=True),
    sa.Column("spent_fen", sa.BigInteger, nullable=False),
)
FUND_OPENINGS = sa.Table(
    "freightrisk_fund_openings",
    TABLES,
    sa.Column("batch", sa.Text, primary_key=True),
    sa.Column("fund", sa.Text, primary_key=True),
    sa.Column("day", sa.Text, primary_key=True),
    sa.Column("opening_fen", sa.BigInteger, nullable=False),
    sa.Column("spent_fen", sa.BigInteger, nullable=False),
)
FUND_TERMS = sa.Table(
    "freightrisk_fund_terms",
    TABLES,
    sa.Column("batch", sa.Text, primary_key=True),
    sa.Column("campaign", sa.Text, primary_key=True),
    sa.Column("fund", sa.Text, nullable=False),
    *_fund_terms(),
)
FUND_LINES = sa.Table(
    "freightrisk_fund_lines",
    TABLES,
    sa.Column("order_id", sa.Text, primary_key=True),
    sa.Column("campaign", sa.Text, primary_key=True),
    sa.Column("batch", sa.Text, nullable=False, index=True),
    sa.Column("fund", sa.Text, nullable=False),
    sa.Column("day", sa.Text, nullable=False),
    sa.Column("fen", sa.BigInteger, nullable=False),
)

UPSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def engine_of(where: Any) -> sa.Engine:
    """Return the engine of a path or URL; an SQLite engine creates its file when it connects."""
    if not isinstance(where, (str, Path)):
        if hasattr(where, "sync_engine"):
            raise InputError("where is an engine for asyncio; give a URL, or an engine of sqlalchemy.create_engine.")
        # Only the type of other values is shown, because they may hold a password.
        given = repr_of(where) if where is None or isinstance(where, (int, float)) else f"a {type(where).__name__}"
        raise InputError(f"where is {given}; give the path of an SQLite file, a URL or an engine.")
    url = _url(where) if isinstance(where, str) and "://" in where else _file(where)
    try:
        return sa.create_engine(url, **_options(url))
    except sa.exc.NoSuchModuleError:
        raise InputError(
            f"where names the driver '{url.drivername}', which SQLAlchemy does not know; give a URL such as {EXAMPLE}."
        ) from None
    except ImportError as error:
        raise InputError(
            f"where names the driver '{url.drivername}', whose package '{error.name or 'greenlet'}' is not installed; "
            f"install it, or name another driver, such as {EXAMPLE}."
        ) from None
    except (sa.exc.SQLAlchemyError, TypeError, ValueError):
        # The original message is dropped, because it repeats the address and its password.
        raise InputError(
            f"where begins with '{url.drivername}://', but its parts do not fit this database; write it as "
            f"{EXAMPLE}, or sqlite:///name.db for a file."
        ) from None


def _options(url: sa.URL) -> dict[str, Any]:
    """Return the arguments of `create_engine` for the ledger's own engine, which any number of threads share."""
    # check_same_thread=False, because a pool hands a connection from one thread to the next.
    if url.get_backend_name() != "sqlite":
        return {"pool_timeout": SECONDS_TO_WAIT}
    if url.database in (None, "", ":memory:"):
        return {"poolclass": sa.StaticPool, "connect_args": {"check_same_thread": False}}
    return {"poolclass": sa.QueuePool, "max_overflow": -1, "connect_args": {"check_same_thread": False}}


def _file(where: str | Path) -> sa.URL:
    """Return the URL of exactly this file, whatever the characters of its name."""
    if where == ":memory:":
        return sa.URL.create("sqlite", database=":memory:")
    if isinstance(where, str) and looks_like_an_address(where):
        # The message does not repeat the text, which may hold a password.
        raise InputError(
            f"where has no '://' but looks like the address of a database; write it as {EXAMPLE}, or give a file of "
            "such a name as pathlib.Path."
        )
    path = _check.path(where, argument="where")
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
        begins = f"begins with '{kind}://'" if re.fullmatch(r"[a-z0-9+_]{0,30}", kind) else "has a '://'"
        raise InputError(f"where {begins} but is not the URL of a database; write it as {EXAMPLE}.") from None
    check_kind(url)
    return url


def check_kind(url: sa.URL) -> None:
    """Refuse databases other than SQLite and PostgreSQL."""
    if url.get_backend_name() not in UPSERTS:
        raise InputError(f"where is a {url.get_backend_name()} database; give one of {', '.join(UPSERTS)}.")


def counted(value: Any, *, most: int = MOST_FEN) -> int:
    """Return an amount read from a ledger; refuses values that no ledger writes, such as values edited by hand."""
    if not isinstance(value, int) or abs(value) > most:
        raise LedgerError(
            f"the ledger holds the amount {repr_of(value)}, which is not a whole number from -{most} to {most}; "
            "restore the database from a copy, or begin a new ledger."
        )
    return value


def table_of(asked: sa.Select[Any], rows: Sequence[Any]) -> "pd.DataFrame":
    """Return rows as a frame; without rows, columns have the types that they have with rows."""
    import pandas as pd

    kinds = {one.name: "int64" if isinstance(one.type, sa.Integer) else str for one in asked.selected_columns}
    frame = pd.DataFrame(rows, columns=list(kinds))
    return frame if rows else frame.astype(kinds)


def table_by_name(rows: Mapping[str, Any], name: str, columns: list[str]) -> "pd.DataFrame":
    """Return rows by name as a frame with the names as its index, an index of texts without rows too."""
    import pandas as pd

    return pd.DataFrame(list(rows.values()), index=pd.Index(list(rows), name=name, dtype=str), columns=columns)


def campaign_row(rule: Subsidy) -> dict[str, Any]:
    """Return a campaign as a row of the table of campaigns."""
    return {
        "campaign": rule.name,
        "payer": rule.payer,
        "budget_fen": rule.budget_fen,
        "merchant_cap_fen": rule.merchant_cap_fen,
        "period": rule.period,
    }


def add_to(connection: sa.Connection, table: sa.Table, column: Any, amounts: Mapping[Any, int]) -> None:
    """Add whole amounts to rows given by their primary keys; missing rows are made."""
    names = [part.name for part in table.primary_key]
    rows = [
        dict(zip(names, key, strict=True)) | {column.name: amount} for key, amount in sorted(amounts.items()) if amount
    ]
    if rows:
        # The database adds, so that nothing read earlier is written back.
        asked = UPSERTS[connection.dialect.name](table)
        added = column + asked.excluded[column.name]
        connection.execute(asked.on_conflict_do_update(index_elements=names, set_={column.name: added}), rows)
