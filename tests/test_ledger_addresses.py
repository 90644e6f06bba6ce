"""No password of a database's address reaches anybody, however the address was mistyped; odd names and amounts."""

import logging
import subprocess
import sys
import traceback
import warnings
from urllib.parse import quote

import pandas as pd
import pytest
import sqlalchemy as sa

import postgres
import writers
from freightrisk import Ledger, LedgerError, Subsidy
from freightrisk.cli import main
from freightrisk.errors import FreightRiskError, InputError
from freightrisk.pipeline import addresses, tables
from test_balances import orders_at, tariff_of

SECRETS = ["s3cr3t-w0rd", "p@ss/w0rd#?", "two w0rds", "c0lon:word", "100%w0rd", "w0"]
ADDRESSES = [
    "postgresql+psycopg://user:{}@127.0.0.1:1/x",
    "postgresql+psycopg://user:{}@nowhere.invalid/x",
    "postgresql+psycopg://user:{}@no where/x",
    "postgresql+psycopg://user:{}@127.0.0.1:port/x",
    "postgresql+psycopg://user:{}@127.0.0.1:1:2/x",
    "postgresql+psycopg://user:{}@@127.0.0.1:1/x",
    "postgresql+psycopg://user:{}/x",
    "postgresql+psycopg://:{}@127.0.0.1:1/x",
    "postgresql+psycopg://{}@127.0.0.1:1@/x",
    "postgresql+psycopg://user@{}@127.0.0.1:1/x",
    "postgresql+psycopg:///user:{}@127.0.0.1:1/x",
    "postgresql+psycopg://user@127.0.0.1:1/x?password={}",
    "postgresql+psycopg://user@127.0.0.1:1/x?sslpassword={}&sslmode=no",
    "postgresql+psycopg://user@127.0.0.1:1/x?options={}",
    "postgresql+psycopg://user@127.0.0.1:1/x?pasword={}",
    "postgresql+psycopg://user@127.0.0.1:1/x?token={}",
    "postgresql+psycopg://user@127.0.0.1:1/x password={}",
    "postgresql://user:{}@127.0.0.1:1/x",
    "postgres://user:{}@127.0.0.1:1/x",
    "postgresql+none://user:{}@127.0.0.1:1/x",
    " postgresql+psycopg://user:{}@127.0.0.1:1/x",
    "user:{}@postgresql://127.0.0.1/x",
    "postgresql+psycopg:/user:{}@127.0.0.1:1/x",
    "postgresql:user:{}@127.0.0.1:1/x",
    "jdbc:postgresql:/user:{}@127.0.0.1/x",
    "user:{}@127.0.0.1:1/x",
    "host=127.0.0.1 port=1 user=u password={}",
    "host=127.0.0.1 port=1 user=u password = '{}'",
    "mysql://user:{}@127.0.0.1/x",
    "sqlite://user:{}@127.0.0.1/x",
    "sqlite+pysqlcipher://:{}@/x.db",
    "sqlite:///x.db?timeout={}",
    "sqlite:////nowhere/user:{}@host/x.db",
    "://user:{}@127.0.0.1/x",
]


def spelled(secret):
    """Return the spellings of a secret, and its parts that are long enough to be told from other words."""
    parts = [part for sign in "@/#?: %" for part in secret.split(sign) if "0" in part and len(part) > 3]
    return {secret, quote(secret, safe=""), *parts}


def told(call):
    """Return all that is said while a call fails: message, repr, traceback with its contexts, warnings, log lines."""
    lines, handler = [], logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logging.getLogger().addHandler(handler)
    try:
        with warnings.catch_warnings(record=True, action="always") as caught, pytest.raises(FreightRiskError) as raised:
            call()
    finally:
        logging.getLogger().removeHandler(handler)
    error = raised.value
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
    said = [str(error), repr(error), *traceback.format_exception(error), *lines, *(str(one.message) for one in caught)]
    return "\n".join(said)


@pytest.fixture
def in_a_folder(tmp_path, monkeypatch):
    """Work in an empty folder, in which nothing may appear."""
    pytest.importorskip("psycopg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "2")
    yield tmp_path
    assert not any("w0" in path.name for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("address", ADDRESSES)
def test_no_password_is_told(in_a_folder, address, secret):
    for form in {secret, quote(secret, safe="")}:
        if "sqlite:////nowhere" not in address and "=" not in address and form != secret and "://" not in address:
            continue
        given = address.replace("{}", form)
        said = told(lambda given=given: Ledger(given))
        for one in spelled(secret):
            assert one not in said.replace("ValueError", "").replace("127.0.0.1", "")


@pytest.mark.parametrize("address", [one for one in ADDRESSES if one.startswith("postgresql+psycopg://user:")][:3])
def test_no_password_of_an_engine_is_told(in_a_folder, address):
    engine = sa.create_engine(address.replace("{}", quote(SECRETS[1], safe="")))
    said = told(lambda: Ledger(engine))
    assert not [one for one in spelled(SECRETS[1]) if one in said]
    args = sa.create_engine("postgresql+psycopg://127.0.0.1:1/x", connect_args={"password": SECRETS[0]})
    assert SECRETS[0] not in told(lambda: Ledger(args))

    def connect():
        import psycopg

        return psycopg.connect(f"host=127.0.0.1 {SECRETS[0]}")

    made = sa.create_engine("postgresql+psycopg://", creator=connect)
    assert SECRETS[0] not in told(lambda: Ledger(made))


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_command_line_tells_no_password(in_a_folder, address, capsys):
    tariff_of([Subsidy("grant", "platform", fixed_fen=10, budget_fen=55)]).save(in_a_folder / "t.json")
    orders_at(37, 2).to_csv(in_a_folder / "orders.csv", index=False)
    given = ["price", "--tariff", "t.json", "--orders", "orders.csv", "--out", "q.csv", "--batch", "a"]
    assert main([*given, "--ledger", address.replace("{}", SECRETS[0])]) == 2
    said = "".join(capsys.readouterr())
    assert "freightrisk: " in said
    assert SECRETS[0] not in said
    with pytest.raises(SystemExit):
        main([*given, "--lodger", address.replace("{}", SECRETS[0])])
    assert SECRETS[0] not in "".join(capsys.readouterr())


def test_what_is_no_secret_is_told(tmp_path):
    url = sa.make_url("postgresql+psycopg://user:s3cr3t@db.example:5432/spending?sslmode=require&password=0ther")
    assert addresses.shown(url) == "postgresql+psycopg://user:***@db.example:5432/spending"
    assert addresses.without_secrets("no user s3cr3t at db.example\nmore", url) == "no user *** at db.example"
    assert addresses.shown(sa.make_url("postgresql://user@db/x")) == "postgresql://user@db/x"
    for name in ("c:d.db", "a@b.db", "file:x.db", "x&y=z.db", "/a:b/c@d.db", "./u:p@h.db", "mysql.db", "postgres/x.db"):
        assert not addresses.looks_like_an_address(name) or name == "postgres/x.db"
    with Ledger(tmp_path / "password=x.db") as ledger:  # a Path is always a path
        assert not len(ledger.batches())


# Names and amounts


@pytest.fixture(scope="module")
def server_url():
    with postgres.server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request, tmp_path, monkeypatch):
    """Where a ledger is that has nothing in it."""
    monkeypatch.setattr(tables, "SYNCHRONOUS", "OFF")
    if request.param == "sqlite":
        return tmp_path / "spending.db"
    return writers.emptied(request.getfixturevalue("server_url"))


NAMES = [
    "'; DROP TABLE freightrisk_spending; --", '"; DROP TABLE freightrisk_lines; --', "x' OR '1'='1", "\\'); --",
    "%s %(a)s :b ? $1 {c}", "é" * 700, "直播", "a\tb", " a", "m17",
]  # fmt: skip


def test_names_are_only_names(where):
    with Ledger(where) as ledger:
        for k, name in enumerate(NAMES):
            rule = Subsidy(name, "platform", fixed_fen=5, merchant_cap_fen=8, period="day", budget_fen=1000)
            orders = orders_at(37, 3).assign(order_id=[f"{name} {k} {i}" for i in range(3)], merchant_id=name)
            for _ in range(2):
                quotes = ledger.price(tariff_of([rule]), orders, batch=name)
                assert quotes["platform_fen"].tolist() == [5, 3, 0]
        assert set(ledger.spending().index) == set(NAMES)
        assert set(ledger.spending_by_merchant()["merchant"]) == set(NAMES)
        assert ledger.reverse([f"{NAMES[0]} 0 0"])["fen"].tolist() == [5]
        ledger.confirm(NAMES[1])
        ledger.release(NAMES[2])
        assert len(ledger.batches()) == len(NAMES) - 1


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "", " "])
def test_names_that_no_database_holds(where, name):
    rule = Subsidy("cap", "platform", fixed_fen=5, merchant_cap_fen=8, period="day")
    with Ledger(where) as ledger:
        with pytest.raises(InputError, match="batch is"):
            ledger.price(tariff_of([rule]), orders_at(37, 3), batch=name)
        if name.strip():
            for column in ("order_id", "merchant_id"):
                orders = orders_at(37, 1).assign(**{column: pd.Series([name], dtype=object)})
                with pytest.raises(InputError, match=f"(column '{column}'|{column})"):
                    ledger.price(tariff_of([rule]), orders, batch="a")
        assert not len(ledger.batches())


def test_ids_are_one_in_every_type_and_batch(where):
    rule = Subsidy("cap", "platform", fixed_fen=5, merchant_cap_fen=12, period="day")
    tariff = tariff_of([rule])
    with Ledger(where) as ledger:
        paid = []
        for k, merchant in enumerate([17, "17", 17.0, "017"]):
            column = pd.Series([merchant], dtype="str" if isinstance(merchant, str) else None)
            quotes = ledger.price(tariff, orders_at(37, 1).assign(order_id=k, merchant_id=column), batch=str(k))
            paid += quotes["platform_fen"].tolist()
        assert paid == [5, 5, 2, 5]  # "017" is another text
        mixed = pd.Series([17, "17", "18", 18], dtype=object)
        quotes = ledger.price(tariff, orders_at(37, 4).assign(order_id=range(10, 14), merchant_id=mixed), batch="m")
        assert quotes["platform_fen"].tolist() == [0, 0, 5, 5]
        for k, order in enumerate([1, "1", 1.0]):
            with pytest.raises(LedgerError, match="has money of the same campaign already"):
                ledger.price(tariff, orders_at(37, 1).assign(order_id=pd.Series([order])), batch=f"again {k}")
        for missing in (pd.Series([1.0, None]), pd.Series(["a", None]), pd.Series([None, None], dtype=object)):
            with pytest.raises(InputError, match="order_id"):
                ledger.price(tariff, orders_at(37, 2).assign(order_id=missing), batch="missing")


def test_sums_beyond_64_bits_are_refused(where):
    tariff = tariff_of([Subsidy("cap", "platform", fixed_fen=5, merchant_cap_fen=10**15, period="day")])
    with Ledger(where) as ledger:
        ledger.price(tariff, orders_at(37, 1), batch="a")
        engine = ledger._engine
        for amount, match in [
            (
                2**62 - 4,
                rf"campaign 'cap' would have spent {2**62 + 6} fen with batch 'b', and a ledger counts up to {2**62};",
            ),
            (2**63 - 1, f"the ledger holds the amount {2**63 - 1}, which is not a whole number from -"),
            (-(2**63), "the ledger holds the amount -"),
        ]:
            with engine.begin() as connection:
                connection.execute(
                    tables.SPENDING.update().where(tables.SPENDING.c.period == "").values(spent_fen=amount)
                )
            before = ledger.batches()
            with pytest.raises(LedgerError, match=match):
                ledger.price(tariff, orders_at(37, 2).assign(order_id=[7, 8]), batch="b")
            assert ledger.batches().equals(before)
        with pytest.raises(LedgerError, match="the ledger holds the amount"):
            ledger.spending()
        with engine.begin() as connection:
            connection.execute(tables.SPENDING.update().values(spent_fen=5))
            connection.execute(tables.ENTRIES.update().values(fen=2**62))
            connection.execute(
                tables.ENTRIES.insert().values(
                    order_id="x", campaign="cap", batch="a", period="", merchant="", fen=2**62
                )
            )
        with pytest.raises(LedgerError, match=r"overflow; a sum exceeds 64 bits|holds the amount"):
            ledger.spending()


def test_a_new_process_tells_no_password_either(tmp_path):
    pytest.importorskip("psycopg")
    code = f"from freightrisk import Ledger; Ledger('postgresql+psycopg://u:{SECRETS[0]}@127.0.0.1:1/x')"
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 1
    assert "LedgerError: the ledger in postgresql+psycopg://u:***@127.0.0.1:1/x cannot be used" in done.stderr
    assert SECRETS[0] not in done.stderr.replace(code, "")


def test_the_repr_of_a_ledger_shows_where_it_is_and_no_password(tmp_path):
    with Ledger(tmp_path / "spent.db") as ledger:
        assert repr(ledger).startswith("Ledger in sqlite")
        assert "spent.db" in repr(ledger)
    engine = sa.create_engine(f"sqlite:///file:{tmp_path}/other.db?uri=true&key=hidden-secret")
    with Ledger(engine) as ledger:
        assert "hidden-secret" not in repr(ledger)
    engine.dispose()
