"""The database of a ledger: its own connections, the isolation of its transactions, and its errors.

Whatever engine is given, the ledger sets the isolation level that exact counting needs. A transaction that writes is
the only writer from its start: SQLite begins it with a write lock, and on PostgreSQL it is READ COMMITTED and locks one
row. A transaction that only reads sees one state of the database. If the database allows it, the ledger has its own
connections. Other users of the engine then notice nothing, and no connection is shared across a fork.
"""

import functools
import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ParamSpec, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.engine.base import OptionEngine

from freightrisk.errors import InputError, LedgerError
from freightrisk.pipeline import tables
from freightrisk.pipeline.addresses import shown, without_secrets

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

RETRIES = 8
TO_REPEAT = ("40001", "40P01")  # serialization failure, deadlock: the same transaction may succeed when repeated
# By whether a transaction writes. A writer waits for the lock on one row and must then see the last commit, which
# READ COMMITTED gives. A reader needs one state for all its statements. PostgreSQL asks to repeat neither of them;
# compatible databases may.
ISOLATION = {False: "REPEATABLE READ", True: "READ COMMITTED"}
NO_SUCH_TABLE = "42P01"
LEGACY = -1  # sqlite3.LEGACY_TRANSACTION_CONTROL of Python 3.12, under which the ledger begins transactions itself
OWN = "its tables named freightrisk_... belong to another program or release; give the ledger its own database"
CURES = {
    "not a database": "give the path of a ledger, or of a new file",
    "malformed": "restore the file from a copy",
    "lock": "another program holds it; wait until that program ends, then try again",
    "readonly": "allow this process to write to the file and its folder",
    "read-only": "give the address of the server that writes, not of its replica, and a user who may write",
    "unable to open": "check that the folder exists and that this process may write to it",
    "disk is full": "make room, then run the batch again under its id",
    "disk i/o error": "check whether the disk is full or failing, then run the batch again under its id",
    "within a transaction": "end the transaction on the engine's only connection first",
    "column": OWN,
    "relation": OWN,
    "codec can't encode": "give ids and names without halves of characters",
    "out of range": "a sum exceeds 64 bits; begin a new ledger",
    "overflow": "a sum exceeds 64 bits; begin a new ledger",
}
STATIC = 'sa.create_engine("sqlite://", poolclass=sa.StaticPool, connect_args={"check_same_thread": False})'

_LOCKS: "weakref.WeakKeyDictionary[sa.Pool, threading.RLock]" = weakref.WeakKeyDictionary()
_LIVE: "weakref.WeakValueDictionary[int, Database]" = weakref.WeakValueDictionary()
_INHERITED: list[sa.Pool] = []  # the parent's pools; kept, because closing their connections would disturb the parent


class RepeatError(LedgerError):
    """The database asks for the transaction to be repeated."""


class _Apart(OptionEngine):
    """An engine with the dialect, the options and the listeners of another engine, but with its own pool."""

    pool = cast(sa.Pool, None)  # a plain attribute, because OptionEngine's property shares the other engine's pool


class Database:
    """A database of a ledger, reached through the ledger's own connections.

    Parameters
    ----------
    engine : sqlalchemy.Engine
    is_own : bool
        Whether the engine was made for the ledger, so that nobody else uses it.
    """

    def __init__(self, engine: sa.Engine, *, is_own: bool) -> None:
        tables.check_kind(engine.url)
        if engine.dialect.name not in tables.UPSERTS:
            raise InputError(f"where is a {engine.dialect.name} database; give one of {', '.join(tables.UPSERTS)}.")
        if engine.dialect.is_async:
            raise InputError(
                f"where uses the driver '{engine.driver}', which is for asyncio; name another driver, such as "
                "postgresql+psycopg or sqlite."
            )
        self.is_sqlite = engine.dialect.name == "sqlite"
        self._is_own, self._process = is_own, os.getpid()
        # A pool of one connection is shared, because a second connection would open another database in memory.
        self.is_shared = self.is_sqlite and isinstance(engine.pool, sa.StaticPool)
        self.engine = _Apart(engine, {})
        self.engine.pool = engine.pool if self.is_shared else engine.pool.recreate()
        self._lock = self._new_lock()
        _LIVE[id(self)] = self

    def _new_lock(self) -> AbstractContextManager[Any]:
        """Return the lock of a transaction; a real one only if the pool may give one connection to several threads."""
        if self.is_shared:
            return _LOCKS.setdefault(self.engine.pool, threading.RLock())
        return nullcontext() if isinstance(self.engine.pool, (sa.QueuePool, sa.NullPool)) else threading.RLock()

    def close(self) -> None:
        """Close the connections, except a connection that the engine's owner uses too."""
        if self._is_own or not self.is_shared:
            self.engine.pool.dispose()
            self._begin_again()

    def before_fork(self) -> None:
        """Close idle connections, so that a child process inherits none."""
        if not self.is_shared:
            with self._lock:
                self.close()

    def after_fork(self) -> None:
        """Start with new connections in a child process, and leave the connections of the parent alone."""
        if not self.is_shared:
            _INHERITED.append(self.engine.pool)
            self._begin_again()

    def _begin_again(self) -> None:
        self.engine.pool = self.engine.pool.recreate()
        self._lock = self._new_lock()

    def check_isolation(self) -> None:
        """Refuse engines whose transactions do not have the isolation that the ledger needs."""
        if self.is_sqlite:
            self._refuse_apart_memories()
            return
        # now() is the start of the transaction. If it moves between two statements, each statement was a transaction.
        asked = sa.select(sa.func.current_setting("transaction_isolation"), sa.func.now())
        for alone, wanted in ISOLATION.items():
            with self.transaction(alone=alone) as connection:
                isolation, begun = connection.execute(asked).one()
                again = connection.execute(asked).one()[1]
            found = isolation if again == begun else "autocommit"
            if found.upper() != wanted:
                raise InputError(
                    f"where is an engine whose transactions are {found}, although the ledger asked for "
                    f"{wanted.lower()}; remove the listener or setting that changes it, or give the database's URL."
                )

    def _refuse_apart_memories(self) -> None:
        """Refuse engines that give each connection its own database in memory, and thus its own budgets."""
        with self.transaction() as connection:
            path = next(row[2] for row in connection.exec_driver_sql("PRAGMA database_list") if row[1] == "main")
        if not (path and os.path.exists(path)) and not self.is_shared:
            raise InputError(
                "where is an engine that gives every connection or thread its own database in memory, and thus its own "
                f'budgets; give ":memory:", a file, or an engine made by {STATIC}.'
            )

    def check_sharing(self, column: sa.Column[Any]) -> None:
        """Refuse databases whose connections do not share tables, or do not wait for each other.

        Tables of one connection (temporary tables, attached memory) would give each process its own budgets. An SQLite
        file without locks would let two processes spend the same fen.
        """
        if self.is_shared:
            return
        other = _Apart(self.engine, {})
        other.pool = self.engine.pool.recreate()
        try:
            if self.is_sqlite and self._is_without_locks(other, column):
                raise InputError(
                    "where is an SQLite database without locks, so that two processes could spend the same fen; leave "
                    "nolock and vfs out of its address, and keep it on a disk that has locks."
                )
            with self._own_errors():
                sees = _sees(other, column)
            if not sees:
                raise InputError(
                    "where is an engine whose tables belong to one connection, so that every connection would have its "
                    "own budgets; give a schema that all connections share."
                )
        finally:
            other.pool.dispose()

    def _is_without_locks(self, other: sa.Engine, column: sa.Column[Any]) -> bool:
        """Return whether two connections can write to an SQLite database at the same time."""
        is_free = False
        try:
            with self.transaction(alone=True) as connection:
                is_free = _writes(connection, column) and not _waits(other)
                connection.exec_driver_sql("ROLLBACK TO freightrisk")
        except LedgerError:  # both connections wrote, and SQLite may fail on the file afterwards
            if not is_free:
                raise
        return is_free

    @contextmanager
    def transaction(self, *, alone: bool = False) -> Iterator[sa.Connection]:
        """Begin a transaction that reads, or with `alone` one that may write; every call of the ledger uses this."""
        if self.is_shared and os.getpid() != self._process:
            raise LedgerError(
                "the ledger's database is in memory, or its engine has one connection, so a forked process cannot "
                "share it; make the ledger in each process, from a file or a URL."
            )
        with (
            self._lock,
            self._own_errors(),
            self._connection(alone=alone) as connection,
            self._as_it_was(connection),
            connection.begin(),
        ):
            if self.is_sqlite:
                # IMMEDIATE takes the write lock at once. A plain BEGIN takes it at the first write, which fails if
                # another process has written since this transaction first read.
                _begin(connection, "BEGIN IMMEDIATE" if alone else "BEGIN")
            yield connection

    @contextmanager
    def _connection(self, *, alone: bool) -> Iterator[sa.Connection]:
        """Give a connection; any failure to make it becomes a LedgerError."""
        pool: Any = self.engine.pool
        if self.is_shared and pool.connection.dbapi_connection.in_transaction:
            # The connection is not taken, because giving it back would roll the open transaction back.
            raise LedgerError(
                "the engine of the ledger has one connection, and a transaction is open on it; end that transaction "
                "first."
            )
        try:
            connection = self.engine.connect()
            if not self.is_sqlite:
                connection = connection.execution_options(isolation_level=ISOLATION[alone])
        except sa.exc.SQLAlchemyError:
            raise
        except Exception as error:  # a user's creator or listener may raise any error
            raise LedgerError(
                f"the ledger in {shown(self.engine.url)} cannot be reached: {type(error).__name__}: "
                f"{without_secrets(str(error), self.engine.url)}; check the function that connects."
            ) from None
        with connection:
            yield connection

    @contextmanager
    def _as_it_was(self, connection: sa.Connection) -> Iterator[None]:
        """Let the ledger decide when an SQLite transaction begins; restore the settings of a shared connection."""
        if not self.is_sqlite:
            yield
            return
        raw: Any = connection.connection.dbapi_connection
        before = raw.isolation_level, getattr(raw, "autocommit", LEGACY)
        # A level is set, because SQLAlchemy can be configured not to roll back connections without one.
        raw.isolation_level = "IMMEDIATE"
        if before[1] != LEGACY:
            raw.autocommit = LEGACY
            raw.rollback()
        if not self.is_shared:
            self._settle(raw, connection.connection.info)
        try:
            yield
        finally:
            if self.is_shared:
                raw.isolation_level = before[0]
                if before[1] != LEGACY:
                    raw.autocommit = before[1]

    def _settle(self, raw: Any, info: dict[Any, Any]) -> None:
        """Set once how long a connection of the ledger waits for locks and how it writes."""
        if "freightrisk" in info:
            return
        raw.execute(f"PRAGMA busy_timeout={1000 * tables.SECONDS_TO_WAIT}")
        if self._is_own:  # the journal mode belongs to the file, which may be another engine's too
            raw.execute("PRAGMA journal_mode=WAL")
        raw.execute(f"PRAGMA synchronous={tables.SYNCHRONOUS}")
        info["freightrisk"] = True

    @contextmanager
    def _own_errors(self) -> Iterator[None]:
        """Raise the errors of a database and its driver as a LedgerError with a cure and without a password."""
        try:
            yield
        except (sa.exc.SQLAlchemyError, UnicodeError, OverflowError, self._driver_error()) as error:
            raise self._told(error) from None

    def _driver_error(self) -> type[Exception]:
        """Return the base class of the driver's errors, which SQLAlchemy does not wrap if we call the driver itself."""
        found: type[Exception] = getattr(self.engine.dialect.dbapi, "Error", sa.exc.SQLAlchemyError)
        return found

    def _told(self, error: Exception) -> LedgerError:
        """Return an error of the database as a LedgerError with a cure and without a password."""
        original = getattr(error, "orig", None) or error
        said = without_secrets(str(original), self.engine.url)
        other = "check that the database runs, that address and user are right, and that the user may write tables"
        cure = next((cure for sign, cure in CURES.items() if sign in said.lower()), other)
        kind = LedgerError
        if _sqlstate(original) in TO_REPEAT:
            kind, cure = RepeatError, "others changed the same rows at the same time; try again"
        return kind(f"the ledger in {shown(self.engine.url)} cannot be used: {said}; {cure}.")


def _begin(connection: sa.Connection, statement: str) -> None:
    """Begin an SQLite transaction; a transaction that a listener of the engine began is rolled back first."""
    raw: Any = connection.connection.dbapi_connection
    if raw.in_transaction:
        connection.exec_driver_sql("ROLLBACK")
    connection.exec_driver_sql(statement)


def _writes(connection: sa.Connection, column: sa.Column[Any]) -> bool:
    """Return whether an SQLite database accepts a write; writes a column's own values, behind a savepoint."""
    connection.exec_driver_sql("SAVEPOINT freightrisk")
    try:
        connection.execute(sa.update(column.table).values({column: column}))
    except sa.exc.OperationalError:  # the database is read-only
        return False
    return True


def _waits(engine: sa.Engine) -> bool:
    """Return whether another connection is kept from writing to an SQLite database while the ledger writes."""
    connection = engine.raw_connection()
    try:
        raw: Any = connection.dbapi_connection
        raw.isolation_level = None
        raw.execute("PRAGMA busy_timeout=0")
        raw.execute("BEGIN IMMEDIATE")
        raw.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return True
    finally:
        connection.close()
    return False


def _sees(engine: sa.Engine, column: sa.Column[Any]) -> bool:
    """Return whether another connection sees a committed row of the ledger."""
    try:
        with engine.connect() as connection:
            return connection.execute(sa.select(column)).scalar() is not None
    except sa.exc.DBAPIError as error:
        if "no such table" in str(error.orig) or _sqlstate(cast(BaseException, error.orig)) == NO_SUCH_TABLE:
            return False
        raise  # another failure, such as a lock, says nothing about the tables


def _sqlstate(original: BaseException) -> str:
    """Return the code of an error of PostgreSQL, as psycopg, psycopg2 or pg8000 give it."""
    code = getattr(original, "sqlstate", None) or getattr(original, "pgcode", None)
    if code is None and original.args and isinstance(original.args[0], dict):
        code = original.args[0].get("C")
    return str(code)


def repeated(call: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Repeat a call of one transaction while the database asks for it, at most `RETRIES` times."""

    @functools.wraps(call)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        for attempt in range(RETRIES):
            try:
                return call(*args, **kwargs)
            except RepeatError:
                # The random share keeps two processes that collided from colliding again.
                time.sleep(random.uniform(0.5, 1.0) * min(0.01 * 2**attempt, 1.0))
        try:
            return call(*args, **kwargs)
        except RepeatError as error:
            raise LedgerError(f"{error} It was tried {RETRIES + 1} times.") from None

    return run


def _before_fork() -> None:
    for found in _LIVE.valuerefs():
        if (database := found()) is not None:
            database.before_fork()


def _after_fork() -> None:
    for found in _LIVE.valuerefs():
        if (database := found()) is not None:
            database.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork)
