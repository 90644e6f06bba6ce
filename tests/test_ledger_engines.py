"""The ledger's guarantee for every engine that it accepts, in threads and in processes that were forked or spawned."""

import multiprocessing
import os
import pickle
import sqlite3
import warnings
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
import sqlalchemy as sa

import ledgers
import writers
from forks import fork
from freightrisk import Ledger, LedgerError, Subsidy
from freightrisk.errors import InputError
from freightrisk.pipeline import database, tables
from test_balances import orders_at, tariff_of

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
CAN_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
RULE = Subsidy("grant", "platform", fixed_fen=10, budget_fen=55)


# The fixtures: ledgers in SQLite and PostgreSQL, no waiting for the disk
postgres_url, where = ledgers.postgres_url, ledgers.where
without_waiting_for_the_disk = ledgers.without_waiting_for_the_disk


def url_of(where):
    return where if "://" in str(where) else f"sqlite:///{where}"


def price(ledger, first, batch, n=4):
    frame = orders_at(37, n)
    return ledger.price(tariff_of([RULE]), frame.assign(order_id=frame["order_id"] + first), batch=batch)


def spent(ledger):
    return int(ledger.spending()["reserved_fen"].sum())


# Engines


def set_level(engine, level):
    """Set the isolation of each transaction in a listener, after SQLAlchemy has set what was asked."""

    @sa.event.listens_for(engine, "begin")
    def on_begin(connection):
        connection.exec_driver_sql(f"SET TRANSACTION ISOLATION LEVEL {level}")

    return engine


def recipe(engine):
    """Begin SQLite's transactions as the documentation of SQLAlchemy says, deferred."""

    @sa.event.listens_for(engine, "connect")
    def on_connect(raw, _):
        raw.isolation_level = None

    @sa.event.listens_for(engine, "begin")
    def on_begin(connection):
        connection.exec_driver_sql("BEGIN")

    return engine


ENGINES = {
    "plain": lambda url: sa.create_engine(url),
    "autocommit": lambda url: sa.create_engine(url, isolation_level="AUTOCOMMIT"),
    "autocommit option": lambda url: sa.create_engine(url).execution_options(isolation_level="AUTOCOMMIT"),
    "serializable": lambda url: sa.create_engine(url, isolation_level="SERIALIZABLE"),
    "no pool": lambda url: sa.create_engine(url, poolclass=sa.NullPool),
    "one connection": lambda url: sa.create_engine(
        url, poolclass=sa.StaticPool, connect_args={"check_same_thread": False} if url.startswith("sqlite") else {}
    ),
    "echo": lambda url: sa.create_engine(url, hide_parameters=True, echo_pool=False),
}
if hasattr(sqlite3.Connection, "autocommit"):  # Python 3.12
    for value in (True, False):
        ENGINES[f"autocommit={value}"] = lambda url, value=value: sa.create_engine(
            url, connect_args={"autocommit": value} if url.startswith("sqlite") else {}
        )
if tuple(map(int, sa.__version__.split(".")[:3])) >= (2, 0, 43):
    ENGINES["no rollback"] = lambda url: sa.create_engine(
        url, isolation_level="AUTOCOMMIT", skip_autocommit_rollback=True
    )


@pytest.mark.parametrize("kind", ENGINES)
def test_any_engine_spends_as_one_after_another(where, kind):
    Ledger(where).close()
    orders, rules, n = [writers.orders_of(k) for k in range(24)], writers.tariff(), 4

    def work(start):
        engine = ENGINES[kind](url_of(where))
        with Ledger(engine) as ledger:
            found = [(k, ledger.price(rules, orders[k], batch=str(k), threads=1)) for k in range(start, 24, n)]
        engine.dispose()
        return [(k, quotes["platform_fen"].tolist(), quotes["insurer_fen"].tolist()) for k, quotes in found]

    with ThreadPoolExecutor(n) as pool:
        answers = [one for part in pool.map(work, range(n)) for one in part]
    writers.check(where, answers, 24, ended=False)


@pytest.mark.parametrize("kind", ENGINES)
def test_a_transaction_that_fails_leaves_nothing_and_holds_nothing(where, kind):
    engine = ENGINES[kind](url_of(where))
    with Ledger(engine) as ledger:
        price(ledger, 0, "a")
        with pytest.raises(LedgerError, match="has money of the same campaign already"):
            price(ledger, 3, "b", n=1)
        assert ledger.batches().index.tolist() == ["a"]
        assert spent(ledger) == 40
        with Ledger(where) as other:
            price(other, 10, "c")
    engine.dispose()


def test_an_engine_stays_as_it_was_for_others(where):
    engine, seen = sa.create_engine(url_of(where), isolation_level="AUTOCOMMIT"), []
    before = engine.pool
    sa.event.listen(engine, "before_cursor_execute", lambda *given: seen.append(given[2]))
    with engine.connect() as mine:
        raw = mine.connection.dbapi_connection
        with Ledger(engine) as ledger:
            price(ledger, 0, "a")
        assert engine.pool is before
        assert any("freightrisk_batches" in statement for statement in seen)  # the engine's listeners see it all
        if engine.dialect.name == "sqlite":
            assert raw.isolation_level is None
            assert mine.exec_driver_sql("PRAGMA synchronous").scalar() == 2
            assert mine.exec_driver_sql("PRAGMA busy_timeout").scalar() == 5000
            assert mine.exec_driver_sql("PRAGMA journal_mode").scalar() == "delete"
        else:
            assert raw.autocommit
        assert mine.exec_driver_sql("select count(*) from freightrisk_batches").scalar() == 1
    engine.dispose()


def test_listeners_that_begin_are_replaced_on_sqlite(tmp_path):
    engine = recipe(sa.create_engine(f"sqlite:///{tmp_path / 'a.db'}"))
    with Ledger(engine) as ledger:
        price(ledger, 0, "a")
        assert spent(ledger) == 40
    engine.dispose()


@pytest.mark.parametrize("level", ["SERIALIZABLE", "READ COMMITTED"])
def test_listeners_that_change_the_isolation_are_refused(postgres_url, level):
    engine = set_level(sa.create_engine(postgres_url), level)
    with pytest.raises(InputError, match=f"transactions are {level.lower()}, although the ledger asked for"):
        Ledger(engine)
    engine.dispose()


def test_an_engines_schema_is_kept(postgres_url):
    writers.emptied(postgres_url)
    engine = sa.create_engine(postgres_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("drop schema if exists finance cascade")
        connection.exec_driver_sql("create schema finance")
    with Ledger(engine.execution_options(schema_translate_map={None: "finance"})) as ledger:
        price(ledger, 0, "a")
        assert spent(ledger) == 40
    names = sa.inspect(engine).get_table_names("finance")
    assert "freightrisk_ledger" in names
    assert not [name for name in sa.inspect(engine).get_table_names("public") if name.startswith("freightrisk")]
    engine.dispose()


def test_an_engine_with_a_function_that_connects(tmp_path):
    def connect():
        return sqlite3.connect(tmp_path / "made.db", check_same_thread=False)

    engine = sa.create_engine("sqlite://", creator=connect, poolclass=sa.QueuePool)
    with Ledger(engine) as ledger:
        price(ledger, 0, "a")
    with Ledger(tmp_path / "made.db") as ledger:
        assert spent(ledger) == 40

    def fails():
        raise OSError("no way to postgresql://u:s3cr3t@host/x")

    with pytest.raises(LedgerError, match=r"cannot be reached: OSError: no way to postgresql:\*\*\*@host/x; check"):
        Ledger(sa.create_engine("sqlite:///x.db", creator=fails))


def test_memories():
    static = {"poolclass": sa.StaticPool, "connect_args": {"check_same_thread": False}}
    engine = sa.create_engine("sqlite://", **static)
    with Ledger(engine) as first, Ledger(engine) as second:
        price(first, 0, "a")
        price(second, 10, "b")
        assert spent(first) == spent(second) == 55
        with engine.begin() as mine:
            assert mine.exec_driver_sql("select count(*) from freightrisk_batches").scalar() == 2
            mine.exec_driver_sql("create table mine (a)")
            mine.exec_driver_sql("insert into mine values (1)")
            with pytest.raises(LedgerError, match="has one connection, and a transaction is open on it"):
                first.spending()
    with engine.connect() as mine:  # closing a ledger leaves what others use
        assert mine.exec_driver_sql("select count(*) from mine").scalar() == 1
    engine.dispose()
    for apart in (
        sa.create_engine("sqlite://", poolclass=sa.pool.SingletonThreadPool),
        sa.create_engine("sqlite:///file::memory:?uri=true", poolclass=sa.QueuePool),
        sa.create_engine("sqlite://", poolclass=sa.NullPool),
    ):
        with pytest.raises(InputError, match=r'connection or thread its own database in memory.*":memory:"'):
            Ledger(apart)
        apart.dispose()


@pytest.mark.parametrize("where", [":memory:", "sqlite://"])
def test_threads_share_a_ledger_in_memory(where):
    with Ledger(where) as ledger, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda k: price(ledger, 10 * k, str(k))["platform_fen"].sum(), range(8)))
        assert sum(found) == spent(ledger) == 55


def test_threads_share_a_ledger(where):
    with Ledger(where) as ledger, ThreadPoolExecutor(24) as pool:
        found = list(pool.map(lambda k: price(ledger, 10 * k, str(k))["platform_fen"].sum(), range(24)))
        assert sum(found) == spent(ledger) == 55


def test_other_kinds_of_engine_are_refused():
    pytest.importorskip("psycopg")
    engine = sa.create_engine("sqlite://")
    engine.dialect.is_async = True
    with pytest.raises(InputError, match="where uses the driver 'pysqlite', which is for asyncio; name another driver"):
        Ledger(engine)
    with pytest.raises(InputError, match=r"'greenlet' is not installed|which is for asyncio") as raised:
        Ledger("postgresql+psycopg_async://u:s3cr3t@127.0.0.1:1/x")
    assert "s3cr3t" not in str(raised.value)

    class AsyncEngine:
        sync_engine = None

    with pytest.raises(InputError, match=r"where is an engine for asyncio; give a URL, or an engine of sqlalchemy"):
        Ledger(AsyncEngine())
    with pytest.raises(InputError, match="where is a dict; give the path"):
        Ledger({"password": "s3cr3t"})


def test_a_server_that_only_reads(postgres_url):
    writers.emptied(postgres_url)
    Ledger(postgres_url).close()
    reading = sa.create_engine(postgres_url, connect_args={"options": "-c default_transaction_read_only=on"})
    with Ledger(reading) as ledger:
        assert spent(ledger) == 0
        with pytest.raises(LedgerError, match="read-only transaction; give the address of the server that writes"):
            price(ledger, 0, "a")
    reading.dispose()


# Transactions that the database wants repeated


@pytest.mark.parametrize("code", ["40001", "40P01"])
def test_what_the_database_wants_repeated_is_repeated(postgres_url, code):
    writers.emptied(postgres_url)
    engine = sa.create_engine(postgres_url)
    with Ledger(postgres_url) as ledger:
        with engine.begin() as connection:
            connection.exec_driver_sql("drop sequence if exists refusals")
            connection.exec_driver_sql("create sequence refusals")
            connection.exec_driver_sql(f"""
                create or replace function refuse() returns trigger language plpgsql as $$
                begin
                    if nextval('refusals') <= 5 then
                        raise exception 'could not serialize access' using errcode = '{code}';
                    end if;
                    return new;
                end $$""")
            connection.exec_driver_sql(
                "create trigger refuse before insert on freightrisk_batches for each row execute function refuse()"
            )
        assert price(ledger, 0, "a")["platform_fen"].tolist() == [10, 10, 10, 10]
        assert spent(ledger) == 40
        with engine.begin() as connection:
            connection.exec_driver_sql("alter sequence refusals restart minvalue -1000000 start -1000000")
        with pytest.raises(
            LedgerError, match=r"could not serialize access; others .* It was tried 9 times\.$"
        ) as raised:
            price(ledger, 10, "b")
        assert type(raised.value) is LedgerError
        assert ledger.batches().index.tolist() == ["a"]
    engine.dispose()


# Batches that others record meanwhile


@pytest.mark.parametrize("others", [1, 3, 5])
def test_a_batch_that_another_records_meanwhile_is_that_batch(where, others, monkeypatch):
    # Each time this process prices, another spends, and at last records this very batch.
    rule = Subsidy("grant", "platform", percent_of_list=0.2, budget_fen=60)
    tariff, orders = tariff_of([rule]), orders_at(37, 4)
    with Ledger(where) as ledger, Ledger(where) as other:
        disturbances = list(range(others))
        enter = Ledger._enter

        def disturbed(self, batch, *given):
            if self is ledger and disturbances:
                k = disturbances.pop(0)
                if k == others - 1:
                    other.price(tariff, orders, batch="mine")
                else:
                    more = orders_at(37, 1)
                    other.price(tariff, more.assign(order_id=100 + k), batch=f"other {k}")
            return enter(self, batch, *given)

        monkeypatch.setattr(Ledger, "_enter", disturbed)
        quotes = ledger.price(tariff, orders, batch="mine")
        monkeypatch.undo()
        pd.testing.assert_frame_equal(quotes, other.price(tariff, orders, batch="mine"))
        batches = ledger.batches().index.tolist()
        assert batches.count("mine") == 1


def test_a_batch_recorded_under_other_limits_meanwhile_is_that_batch(where, monkeypatch):
    tariff, orders = tariff_of([RULE]), orders_at(37, 4)
    lower = tariff_of([Subsidy("grant", "platform", fixed_fen=10, budget_fen=25)])
    with Ledger(where) as ledger, Ledger(where) as other:
        opening = Ledger._opening

        def disturbed(self, *given):
            if self is ledger:
                other.amend(lower)
                other.price(lower, orders, batch="a")
            return opening(self, *given)

        monkeypatch.setattr(Ledger, "_opening", disturbed)
        assert ledger.price(tariff, orders, batch="a")["platform_fen"].tolist() == [10, 10, 5, 0]
        with pytest.raises(LedgerError, match="batch 'a' is in the ledger with other orders, merchants or"):
            ledger.price(tariff_of([Subsidy("gift", "platform", fixed_fen=1)]), orders, batch="a")


# Processes


def child(ledger, first, batch, found):
    try:
        found.put(int(price(ledger, first, batch)["platform_fen"].sum()))
    except Exception as error:
        found.put(f"{type(error).__name__}: {error}")


def in_children(start, ledger, n=3):
    """Return what children come to that were given one ledger."""
    context = multiprocessing.get_context(start)
    found = context.Queue()
    processes = [context.Process(target=child, args=(ledger, 10 * k, str(k), found), daemon=True) for k in range(n)]
    for process in processes:
        process.start()
    answers = [found.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    return answers


@CAN_FORK
@pytest.mark.parametrize("kind", ["plain", "autocommit", "no pool", "serializable"])
def test_a_ledger_in_forked_children(where, kind):
    engine = ENGINES[kind](url_of(where))
    for given in (where, engine):
        with Ledger(given) as ledger:
            for batch in ledger.batches().index:
                ledger.release(batch)
            answers = in_children("fork", ledger)
            assert sum(answers) == 55
            assert spent(ledger) == 55  # the parent's connections still work
    engine.dispose()


@CAN_FORK
def test_children_inherit_no_connection(tmp_path):
    path = tmp_path / "a.db"
    ledger = Ledger(path)
    assert spent(ledger) == 0
    reading, writing = os.pipe()
    process = fork()
    if process == 0:
        try:
            handles = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
            os.write(writing, str(sum(handle.startswith(str(path)) for handle in handles)).encode())
        finally:
            os._exit(0)
    os.waitpid(process, 0)
    assert os.read(reading, 10) == b"0"
    os.close(reading)
    os.close(writing)
    ledger.close()


@CAN_FORK
def test_what_a_forked_child_cannot_share_is_refused_there():
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool, connect_args={"check_same_thread": False})
    for given in (":memory:", engine):
        with Ledger(given) as ledger:
            for answer in in_children("fork", ledger, n=1):
                assert answer.startswith("LedgerError: the ledger's database is in memory, or its engine has one conn")
    engine.dispose()


def test_a_pickled_ledger_is_made_again_or_refused(where, tmp_path, monkeypatch):
    with Ledger(where) as ledger:
        assert sum(in_children("spawn", ledger, n=2)) == 55
        written = pickle.dumps(ledger)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pickle.loads(written) as again:
        assert spent(again) == 55
    engine = sa.create_engine(url_of(where))
    for given in (":memory:", "sqlite://", engine):
        with Ledger(given) as ledger, pytest.raises(LedgerError, match="cannot be pickled; give another process the"):
            pickle.dumps(ledger)
    engine.dispose()


@pytest.mark.parametrize(("start", "shared"), [("fork", True), ("fork", False), ("spawn", False)])
@pytest.mark.parametrize("kind", ["path", "engine"])
def test_processes_with_duplicates_come_to_the_sequence(where, kind, start, shared):
    if start not in multiprocessing.get_all_start_methods() or (start == "spawn" and kind == "path"):
        pytest.skip("one spawn is enough, and some systems do not fork")
    answers, _ = writers.run(where, kind, start, 3, 14, shared=shared)
    writers.check(where, answers, 42, ended=False)


# What is refused is closed


def test_refused_databases_are_closed(tmp_path):
    path = tmp_path / "a.db"
    Ledger(path).close()
    with sqlite3.connect(path) as other:
        other.execute("update freightrisk_ledger set version = 99")
    other.close()
    folder, kept = "/proc/self/fd", []
    before = len(os.listdir(folder)) if os.path.isdir(folder) else 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(20):
            with pytest.raises(LedgerError, match="version 99") as raised:
                Ledger(path)
            kept.append(raised.value)  # with its frames
    if os.path.isdir(folder):
        assert len(os.listdir(folder)) <= before
    assert len(kept) == 20


APART = {
    "nolock": lambda path: f"sqlite:///file:{path}?nolock=1&uri=true",
    "no locks of the system": lambda path: f"sqlite:///file:{path}?vfs=unix-none&uri=true",
    "memory by its system": lambda path: "sqlite:///file:/memory-of-one?vfs=memdb&uri=true",
    "temporary tables": lambda path: sa.create_engine(
        f"sqlite:///{path}", execution_options={"schema_translate_map": {None: "temp"}}
    ),
}


@pytest.mark.parametrize("kind", APART)
def test_databases_whose_connections_are_apart_are_refused(tmp_path, kind):
    with pytest.raises(InputError, match=r"without locks|belong to one connection|in memory"):
        Ledger(APART[kind](tmp_path / "ledger.db"))


def test_attached_memory_is_refused(tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path}/a.db", execution_options={"schema_translate_map": {None: "mem"}})
    sa.event.listen(engine, "connect", lambda raw, _: raw.execute("ATTACH ':memory:' AS mem"))
    with pytest.raises(InputError, match="belong to one connection"):
        Ledger(engine)


def test_temporary_tables_of_postgresql_are_refused(postgres_url):
    for where in (
        f"{postgres_url}&options=-csearch_path%3Dpg_temp",
        sa.create_engine(postgres_url, execution_options={"schema_translate_map": {None: "pg_temp"}}),
    ):
        with pytest.raises(InputError, match="belong to one connection"):
            Ledger(where)


def test_a_schema_of_its_own_is_taken(postgres_url):
    engine = sa.create_engine(postgres_url, execution_options={"schema_translate_map": {None: "risk"}})
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE SCHEMA IF NOT EXISTS risk"))
    with Ledger(engine) as ledger:
        assert ledger.batches().empty
    engine.dispose()


def test_a_lock_says_nothing_of_the_tables(tmp_path):
    url, column = f"sqlite:///{tmp_path / 'a.db'}", tables.HEAD.c.version
    engine = sa.create_engine(url, connect_args={"timeout": 0})
    assert not database._sees(engine, column)  # there is no table
    Ledger(url).close()
    assert database._sees(engine, column)
    engine.dispose()
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    other.execute("pragma locking_mode = exclusive")
    other.execute("begin exclusive")
    with pytest.raises(sa.exc.OperationalError, match="locked"):
        database._sees(engine, column)
    other.close()
    engine.dispose()
