"""The ledger on SQLite and PostgreSQL: once for each batch, whoever prices beside, whenever the process is killed."""

import os
import signal
import sqlite3
import time
import traceback
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ledgers
from forks import fork
from freightrisk import Balances, Ledger, LedgerError, Subsidy, Tariff
from freightrisk.errors import InputError
from freightrisk.pipeline import tables
from freightrisk.programmes import Fee, Programme
from ledgers import (
    assert_priced_as_in_memory,
    batches_of,
    priced_by_threads,
    priced_in_any_interleaving,
    replayed,
    small_batches,
    state_of,
)
from programme_strategies import covered_programmes, orders_of
from strategies import draw_batch, limited_programmes, seeds
from test_balances import MODES, no_missing_merchants, orders_at, tariff_of, without_nothing

# The fixtures: ledgers in SQLite and PostgreSQL, no waiting for the disk
postgres_url, where = ledgers.postgres_url, ledgers.where
without_waiting_for_the_disk = ledgers.without_waiting_for_the_disk

FEN = ["list_fen", "merchant_fen"]


def grants(**more):
    """Three limited rules and one without limits, of which two are rivals."""
    return [
        Subsidy("live", "platform", percent_of_list=0.3, budget_fen=2_000, **more),
        Subsidy("new", "insurer", fixed_fen=9, merchant_cap_fen=60, period="day", group="sale"),
        Subsidy("sale", "平台", percent_of_rest=0.2, budget_fen=700, group="sale"),
        Subsidy("always", "insurer", fixed_fen=1),
    ]


def spent(ledger):
    spending = ledger.spending()
    return (spending["spent_fen"] + spending["reserved_fen"]).to_dict()


# One writer


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limited_programmes(), MODES, seeds, st.lists(st.integers(0, 30), max_size=3))
def test_batches_come_to_what_the_same_orders_come_to_in_memory(tmp_path, rules, rounding, seed, cuts):
    tariff = tariff_of(rules, rounding)
    frame = no_missing_merchants(draw_batch(np.random.default_rng(seed), 30), rounding)
    balances, name = Balances(), f"{time.monotonic_ns()}.db"
    with Ledger(tmp_path / name) as ledger:
        assert_priced_as_in_memory(ledger, tariff, frame, balances, cuts)
        if tariff.in_sequence:
            found = Balances(
                {name: fen for name, fen in spent(ledger).items() if fen},
                {},
                dict(ledger.remainders().query("micro != 0").itertuples(index=False, name=None)),
            )
            for row in ledger.spending_by_merchant().query("spent_fen != 0").itertuples():
                found.spent_by_merchant.setdefault(row.campaign, {})[row.merchant, row.period] = row.spent_fen
            assert found == without_nothing(balances)


def test_reserved_is_spent_once_confirmed(where):
    tariff = tariff_of([Subsidy("grant", "platform", fixed_fen=10, budget_fen=55)])
    with Ledger(where) as ledger:
        ledger.price(tariff, orders_at(37, 4), batch="a")
        assert ledger.spending().loc["grant"].tolist() == ["platform", 55, 0, 40, 15]
        ledger.confirm("a")
        ledger.confirm("a")
        assert ledger.spending().loc["grant"].tolist() == ["platform", 55, 40, 0, 15]
        late = orders_at(37, 3).assign(order_id=[10, 11, 12])
        assert ledger.price(tariff, late, batch="b")["platform_fen"].tolist() == [10, 5, 0]
        assert ledger.batches().to_dict("index") == {
            "a": {"number": 1, "state": "spent", "orders": 4},
            "b": {"number": 2, "state": "reserved", "orders": 3},
        }
        with pytest.raises(LedgerError, match="there is no batch 'c'"):
            ledger.confirm("c")


@pytest.mark.parametrize("rounding", ["half_even", "carry"])
def test_reversing_every_order_leaves_nothing_spent(where, rounding):
    tariff, frames = tariff_of(grants(), rounding), batches_of(3)
    frames = [no_missing_merchants(frame, rounding) for frame in frames]
    with Ledger(where) as ledger:
        paid = {}
        for k, frame in enumerate(frames):
            quotes = ledger.price(tariff, frame, batch=str(k), campaigns=True)
            for rule in tariff.subsidies[:3]:
                paid[rule.name] = paid.get(rule.name, 0) + int(quotes[f"paid: {rule.name}"].sum())
        assert spent(ledger) == paid
        first = ledger.reverse(frames[0]["order_id"])
        again = ledger.reverse(frames[0]["order_id"])
        assert len(first) > 0
        assert len(again) == 0
        rest = ledger.reverse(pd.concat(frames)["order_id"])
        assert pd.concat([first, rest]).groupby("campaign")["fen"].sum().to_dict() == paid
        assert set(spent(ledger).values()) == {0}
        assert not ledger.spending_by_merchant()["spent_fen"].any()
        quotes = ledger.price(tariff, frames[2], batch="2")
        pd.testing.assert_frame_equal(quotes[FEN], ledger.price(tariff, frames[2], batch="2")[FEN])


def test_money_given_back_is_there_for_later_orders(where):
    tariff = tariff_of([Subsidy("grant", "platform", fixed_fen=10, budget_fen=30, merchant_cap_fen=30, period="day")])
    with Ledger(where) as ledger:
        ledger.price(tariff, orders_at(37, 4), batch="a")
        ledger.reverse([0])
        late = orders_at(37, 2).assign(order_id=[10, 11])
        assert ledger.price(tariff, late, batch="b")["platform_fen"].tolist() == [10, 0]
        # The first batch still comes to its own fen.
        assert ledger.price(tariff, orders_at(37, 4), batch="a")["platform_fen"].tolist() == [10, 10, 10, 0]
        assert ledger.spending().loc["grant", "left_fen"] == 0


def test_batches_without_limited_campaigns_are_recorded_too(where):
    tariff = tariff_of([Subsidy("always", "insurer", fixed_fen=1)])
    first, second = batches_of(2)
    with Ledger(where) as ledger:
        quotes = ledger.price(tariff, first, batch="one")
        pd.testing.assert_frame_equal(quotes, tariff.price(first))
        shuffled = first.sample(frac=1.0, random_state=3).drop(columns="order_id")
        pd.testing.assert_frame_equal(ledger.price(tariff, shuffled, batch="one"), tariff.price(shuffled))
        ledger.confirm("one")
        assert ledger.batches()["state"].to_dict() == {"one": "spent"}
        with pytest.raises(LedgerError, match="batch 'one' is in the ledger with other orders"):
            ledger.price(tariff, second, batch="one")
        # A limit that the rule gets later did not hold for this batch.
        limited = tariff_of([Subsidy("always", "insurer", fixed_fen=1, budget_fen=3)])
        pd.testing.assert_frame_equal(ledger.price(limited, first, batch="one"), quotes)
        assert ledger.price(limited, second, batch="two")["insurer_fen"].sum() == 3


@pytest.mark.parametrize("rounding", ["half_even", "carry"])
def test_a_released_batch_was_never_there(where, rounding):
    tariff, frames = tariff_of(grants(), rounding), [no_missing_merchants(f, rounding) for f in batches_of(2)]
    with Ledger(where) as ledger:
        ledger.price(tariff, frames[0], batch="a")
        before = state_of(ledger)
        ledger.price(tariff, frames[1], batch="b")
        ledger.release("b")
        after = state_of(ledger)
        assert after[0] == before[0]
        assert [row for row in after[1] if row["spent_fen"]] == before[1]
        assert after[2:] == before[2:]
        ledger.confirm("a")
        with pytest.raises(LedgerError, match="batch 'a' is confirmed; reverse its orders instead"):
            ledger.release("a")
        with pytest.raises(LedgerError, match="batch 'b' is not in the ledger"):
            ledger.release("b")


def test_what_is_refused(where, tmp_path):
    tariff = tariff_of([Subsidy("grant", "platform", fixed_fen=10, budget_fen=30)])
    with Ledger(where) as ledger:
        ledger.price(tariff, orders_at(37, 2), batch="a")
        with pytest.raises(LedgerError, match="batch 'a' is in the ledger with other orders, merchants or"):
            ledger.price(tariff, orders_at(37, 3), batch="a")
        with pytest.raises(LedgerError, match="an order has money of the same campaign already"):
            ledger.price(tariff, orders_at(37, 2), batch="b")
        assert spent(ledger) == {"grant": 20}
        richer = tariff_of([Subsidy("grant", "platform", fixed_fen=10, budget_fen=50)])
        with pytest.raises(LedgerError, match="'grant' has budget_fen 30 in the ledger and 50 in the tariff"):
            ledger.price(richer, orders_at(37, 2).assign(order_id=[7, 8]), batch="b")
        ledger.amend(richer)
        quotes = ledger.price(richer, orders_at(37, 4).assign(order_id=[6, 7, 8, 9]), batch="b")
        assert quotes["platform_fen"].tolist() == [10, 10, 10, 0]
        with pytest.raises(InputError, match="batch is ''"):
            ledger.price(tariff, orders_at(37, 2), batch="")
        plain = tariff_of([Subsidy("gift", "platform", fixed_fen=10)])
        assert ledger.price(plain, orders_at(37, 2), batch="c")["platform_fen"].tolist() == [10, 10]
        assert ledger.batches().index.tolist() == ["a", "b", "c"]
    with pytest.raises(InputError, match="which does not exist; create it first"):
        Ledger(tmp_path / "nowhere" / "spending.db")
    with pytest.raises(InputError, match="where is 3"):
        Ledger(3)


@pytest.mark.parametrize("capped", [{}, {"merchant_cap_fen": 12, "period": "day"}])
def test_a_batch_in_doubt_runs_again_after_its_campaign_was_amended(where, capped):
    before = tariff_of([Subsidy("grant", "platform", fixed_fen=10, budget_fen=25)])
    orders = orders_at(37, 4)
    with Ledger(where) as ledger:
        first = ledger.price(before, orders, batch="a")
        assert first["platform_fen"].tolist() == [10, 10, 5, 0]
        after = tariff_of([Subsidy("grant", "platform", fixed_fen=10, budget_fen=40, **capped)])
        ledger.amend(after)
        for tariff in (before, after):
            pd.testing.assert_frame_equal(ledger.price(tariff, orders, batch="a"), first)
        assert spent(ledger) == {"grant": 25}
        more = ledger.price(after, orders.assign(order_id=orders["order_id"] + 9), batch="b")
        assert more["platform_fen"].tolist() == ([10, 2, 0, 0] if capped else [10, 5, 0, 0])
        ledger.release("a")
        assert ledger.price(after, orders, batch="a")["platform_fen"].sum() == (0 if capped else 25)


def test_an_amendment_while_a_batch_is_priced_is_seen(tmp_path, monkeypatch):
    rule = Subsidy("grant", "platform", fixed_fen=10, budget_fen=25)
    tariff, price_columns = tariff_of([rule]), Tariff.price_columns
    with Ledger(tmp_path / "a.db") as ledger:

        def disturbed(self, coded, **more):
            ledger.amend(tariff_of([replace(rule, budget_fen=5)]))
            return price_columns(self, coded, **more)

        monkeypatch.setattr(Tariff, "price_columns", disturbed)
        with pytest.raises(LedgerError, match="'grant' has budget_fen 5 in the ledger and 25 in the tariff"):
            ledger.price(tariff, orders_at(37, 4), batch="a")
        assert spent(ledger) == {"grant": 0}
        assert not len(ledger.batches())


def test_a_ledger_of_another_version_is_refused(tmp_path):
    Ledger(tmp_path / "spending.db").close()
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'spending.db'}")
    with engine.begin() as connection:
        connection.execute(tables.HEAD.update().values(version=99))
    engine.dispose()
    refused = tables.engine_of(tmp_path / "spending.db")
    with pytest.raises(LedgerError, match="version 99"):
        Ledger(refused)
    assert refused.pool.checkedin() == 0  # nothing is left open


def test_texts_as_ids_and_any_order_of_rows(where):
    tariff = tariff_of([Subsidy("grant", "platform", fixed_fen=10, merchant_cap_fen=15, period="day")])
    frame = orders_at(37, 3).assign(order_id=["订单-b", "订单-a", "订单-c"])
    with Ledger(where) as ledger:
        assert ledger.price(tariff, frame, batch="a")["platform_fen"].tolist() == [5, 10, 0]
        assert ledger.price(tariff, frame.iloc[::-1], batch="a")["platform_fen"].tolist() == [0, 10, 5]
        assert ledger.reverse(["订单-b"])["fen"].tolist() == [5]


# Paths, URLs and databases that are no ledger

NAMES = [
    "618?mode=ro.db", "50%25off.db", "%2e.db", "a#b.db", "c:d.db", "x&y=z.db", "file:x.db", "直播 618.db", "a b+c;d.db",
    "'quoted\".db", "@host.db",
]  # fmt: skip


def main_files(folder):
    """Return the names of the files in a folder, without those that SQLite keeps beside a database."""
    return [path.name for path in folder.iterdir() if not path.name.endswith(("-wal", "-shm"))]


@pytest.mark.parametrize("kind", [Path, str])
@pytest.mark.parametrize("name", NAMES)
def test_a_path_is_the_file_that_it_names(tmp_path, name, kind):
    tariff = tariff_of([Subsidy("grant", "platform", fixed_fen=10, budget_fen=55)])
    for batch in range(2):
        with Ledger(kind(tmp_path / name)) as ledger:
            frame = orders_at(37, 2)
            ledger.price(tariff, frame.assign(order_id=frame["order_id"] + 2 * batch), batch=str(batch))
            assert main_files(tmp_path) == [name]
            assert spent(ledger) == {"grant": 20 * (batch + 1)}


def test_a_path_without_a_folder_is_in_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Ledger(":memory:").close()
    assert main_files(tmp_path) == []
    for where in (Path(":memory:"), "plain.db", "sqlite:///url.db"):
        Ledger(where).close()
    assert sorted(main_files(tmp_path)) == [":memory:", "plain.db", "url.db"]


SECRET = "s3cr3t-word"
URLS = [
    ("postgres://u:{}@127.0.0.1/x", InputError, "where is a postgres database; give one of sqlite, postgresql"),
    ("mysql://u:{}@127.0.0.1/x", InputError, "where is a mysql database; give one of"),
    ("postgresql+none://u:{}@127.0.0.1/x", InputError, r"'postgresql\+none', which SQLAlchemy does not know"),
    ("postgresql+psycopg2://u:{}@127.0.0.1/x", InputError, "'psycopg2' is not installed; install it, or name"),
    ("postgresql+psycopg://u:{}@127.0.0.1:port/x", InputError, "where begins with 'postgresql.*' but is not the URL"),
    ("://u:{}@127.0.0.1/x", InputError, "but is not the URL"),
    ("postgresql+psycopg://u:{}@127.0.0.1:1/x", LedgerError, r"//u:\*\*\*@127.0.0.1:1/x cannot be used: .*; check"),
    ("postgresql+psycopg://u@127.0.0.1:1/x?password={}", LedgerError, "check that the database runs"),
    ("postgresql+psycopg://u:{}@127.0.0.1:1/x?{}=1", LedgerError, "cannot be used"),
    ("sqlite:////nowhere/x.db", LedgerError, "check that the folder exists"),
]


@pytest.mark.parametrize(("url", "error", "message"), URLS)
def test_urls_that_lead_nowhere_are_refused_without_their_password(url, error, message):
    pytest.importorskip("psycopg")
    with pytest.raises(error, match=message) as raised:
        Ledger(url.replace("{}", SECRET))
    assert SECRET not in "".join(traceback.format_exception(raised.value))
    assert len(str(raised.value)) < 500
    assert "\n" not in str(raised.value)


def test_files_that_are_no_ledger_are_refused(tmp_path):
    (tmp_path / "text.db").write_text("no database " * 50)
    with sqlite3.connect(tmp_path / "columns.db") as other:
        other.execute("create table freightrisk_ledger (entry integer)")
    other.close()
    with sqlite3.connect(tmp_path / "books.db") as other:
        other.execute("create table ledger (entry integer)")
    other.close()
    with pytest.raises(LedgerError, match="file is not a database; give the path of a ledger"):
        Ledger(tmp_path / "text.db")
    with pytest.raises(LedgerError, match="belong to another program or release; give the ledger its own database"):
        Ledger(tmp_path / "columns.db")
    with pytest.raises(InputError, match="which is a folder; give the name of a file in it"):
        Ledger(tmp_path)
    Ledger(tmp_path / "books.db").close()  # another program's tables have other names
    assert all(name.startswith("freightrisk_") for name in tables.TABLES.tables)


def test_a_file_that_may_only_be_read_and_one_that_is_held(tmp_path, monkeypatch):
    tariff = tariff_of([Subsidy("grant", "platform", fixed_fen=10, budget_fen=55)])
    path = tmp_path / "spending.db"
    Ledger(path).close()
    with Ledger(f"sqlite:///file:{path}?mode=ro&uri=true") as ledger:
        assert spent(ledger) == {}
        with pytest.raises(LedgerError, match="allow this process to write to the file and its folder"):
            ledger.price(tariff, orders_at(37, 4), batch="a")
    monkeypatch.setattr(tables, "SECONDS_TO_WAIT", 0)
    with Ledger(path) as ledger:
        held = sqlite3.connect(path, isolation_level=None)
        held.execute("BEGIN IMMEDIATE")
        assert spent(ledger) == {}  # reading does not wait
        for call in (lambda: Ledger(path), lambda: ledger.price(tariff, orders_at(37, 4), batch="a")):
            with pytest.raises(LedgerError, match="database is locked; another program holds it; wait until"):
                call()
        held.close()
        assert ledger.price(tariff, orders_at(37, 4), batch="a")["platform_fen"].tolist() == [10, 10, 10, 10]


@pytest.mark.parametrize(
    "call",
    [
        lambda ledger, tariff: ledger.price(tariff, orders_at(37, 4), batch="b"),
        lambda ledger, tariff: ledger.confirm("a"),
        lambda ledger, tariff: ledger.release("a"),
        lambda ledger, tariff: ledger.reverse([0]),
        lambda ledger, tariff: ledger.amend(tariff),
        lambda ledger, tariff: ledger.spending(),
        lambda ledger, tariff: ledger.spending_by_merchant(),
        lambda ledger, tariff: ledger.batches(),
        lambda ledger, tariff: ledger.remainders(),
    ],
)
def test_every_call_gives_a_databases_errors_as_the_librarys_own(where, call):
    tariff = tariff_of([Subsidy("grant", "platform", fixed_fen=10, budget_fen=55)], "carry")
    with Ledger(where) as ledger:
        ledger.price(tariff, orders_at(37, 4), batch="a")
        with ledger._engine.begin() as connection:
            tables.TABLES.drop_all(connection)
        with pytest.raises(LedgerError, match=r"the ledger in .* cannot be used: .*; .*\.$") as raised:
            call(ledger, tariff)
        assert raised.value.__suppress_context__


def test_texts_that_no_database_holds(where):
    tariff = tariff_of([Subsidy("grant", "platform", fixed_fen=10, budget_fen=55)])
    with Ledger(where) as ledger:
        with pytest.raises(InputError, match="zero character or half of a character"):
            ledger.price(tariff, orders_at(37, 4), batch="\ud800")
        assert not len(ledger.batches())


# Several writers


@pytest.mark.parametrize("rounding", ["half_even", "carry"])
def test_writers_at_one_time_spend_as_one_after_another(where, rounding):
    tariff = tariff_of(grants(), rounding)
    frames = {str(k): no_missing_merchants(frame, rounding) for k, frame in enumerate(batches_of(24, size=25))}
    found = priced_by_threads(where, tariff, frames)
    with Ledger(where) as ledger:
        expected, balances = replayed(ledger, tariff, frames)
        assert len(ledger.batches()) == 24
        for batch, quotes in expected.items():
            pd.testing.assert_frame_equal(found[batch], quotes)
        assert spent(ledger) == balances.spent
        assert ledger.spending().loc["live", "left_fen"] == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limited_programmes(), st.sampled_from(["half_even", "carry"]), seeds, st.data())
def test_any_interleaving_spends_as_one_after_another(tmp_path, rules, rounding, seed, data):
    tariff = tariff_of(rules, rounding)
    frames = small_batches(seed, rounding)
    where = tmp_path / f"{time.monotonic_ns()}.db"
    found = priced_in_any_interleaving(where, tariff, frames, data)
    if not tariff.in_sequence:
        return
    with Ledger(where) as ledger:
        expected, balances = replayed(ledger, tariff, frames)
        assert set(expected) == set(frames)
        for batch, quotes in expected.items():
            pd.testing.assert_frame_equal(found[batch], quotes)
        assert spent(ledger) == {rule.name: balances.spent[rule.name] for rule in tariff.subsidies if rule.is_limited}
        for rule in tariff.subsidies:
            assert rule.budget_fen is None or spent(ledger)[rule.name] <= rule.budget_fen


def test_a_budget_that_lost_to_a_rival_for_want_of_money_was_met(tmp_path, monkeypatch):
    # 3 fen of the grant are left and lose to 5, so that 3 are left again; money given back meanwhile would win.
    rivals = [
        Subsidy("grant", "platform", fixed_fen=10, budget_fen=13, group="sale"),
        Subsidy("five", "insurer", fixed_fen=5, group="sale"),
    ]
    tariff, price_columns = tariff_of(rivals), Tariff.price_columns
    first, second = orders_at(37, 1), orders_at(37, 1).assign(order_id=7)
    with Ledger(tmp_path / "a.db") as ledger:
        ledger.price(tariff, first, batch="first")

        def disturbed(self, coded, **more):
            columns = {name: values.copy() for name, values in price_columns(self, coded, **more).items()}
            ledger.reverse([0])
            return columns

        monkeypatch.setattr(Tariff, "price_columns", disturbed)
        quotes = ledger.price(tariff, second, batch="second")
        assert quotes[["platform_fen", "insurer_fen"]].values.tolist() == [[10, 0]]
        assert spent(ledger) == {"grant": 10}


# Kills


def price_all(where, tariff, frames, folder, *, until=None):
    """Price, write and confirm every batch whose quotes are not confirmed yet, as a pipeline would."""
    with Ledger(where) as ledger:
        states = ledger.batches()["state"].to_dict()
        for batch, frame in frames.items():
            if states.get(batch) != "spent":
                quotes = ledger.price(tariff, frame, batch=batch, threads=1, detail=False)
                quotes.to_pickle(folder / f"{batch}.part")
                os.replace(folder / f"{batch}.part", folder / f"{batch}.pickle")
                ledger.confirm(batch)
            if batch == until:
                return


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes that it forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize(("rounding", "wanted"), [("half_even", 50), ("carry", 12)])
def test_kills_change_no_fen(where, tmp_path, rounding, wanted):
    tariff = replace(tariff_of(grants(), rounding), name="killed")
    frames = {f"{k:03}": no_missing_merchants(frame, rounding) for k, frame in enumerate(batches_of(60, size=60))}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    start = time.perf_counter()
    price_all(tmp_path / "whole.db", tariff, frames, whole)
    seconds = (time.perf_counter() - start) / len(frames)
    rng, kills, stood = np.random.default_rng(9), 0, set()

    def written():
        return len(list(killed.glob("*.pickle")))

    while kills < wanted:
        child = fork()
        if child == 0:
            status = 1
            try:
                price_all(where, tariff, frames, killed)
                status = 0
            finally:
                os._exit(status)
        # However slow the machine: at some moment in this child's first batch or after it
        wanted_batches = written() + rng.integers(0, 2)
        while written() < wanted_batches and not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            time.sleep(seconds / 10.0)
        time.sleep(rng.uniform(0.0, 2.0) * seconds)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if status == signal.SIGKILL:
            kills += 1
            stood.add(written())
        else:  # it came to the end: begin again with a ledger of its own
            assert status == 0
            check_killed(where, tmp_path, frames, whole, killed)
            for path in killed.iterdir():
                path.unlink()
            empty(where)
    price_all(where, tariff, frames, killed)
    check_killed(where, tmp_path, frames, whole, killed)
    assert len(stood) > 3  # the kills came at different batches


def empty(where):
    with Ledger(where) as ledger, ledger._engine.begin() as connection:
        for table in (tables.SPENDING, tables.REMAINDERS, tables.BATCHES, tables.OPENINGS):
            connection.execute(table.delete())
        for table in (tables.CARRIED, tables.ENTRIES, tables.REVERSED, tables.TERMS):
            connection.execute(table.delete())
        connection.execute(tables.HEAD.update().values(batches=0))


def check_killed(where, tmp_path, frames, whole, killed):
    with Ledger(where) as ledger, Ledger(tmp_path / "whole.db") as expected:
        assert state_of(ledger) == state_of(expected)
    for batch in frames:
        pd.testing.assert_frame_equal(
            pd.read_pickle(killed / f"{batch}.pickle"), pd.read_pickle(whole / f"{batch}.pickle")
        )


def test_a_ledger_keeps_its_clock(where):
    with Ledger(where, clock="Etc/UTC") as ledger:
        assert ledger.clock == "Etc/UTC"
    with Ledger(where) as ledger:
        assert ledger.clock == "Etc/UTC"
        capped = tariff_of([Subsidy("cap", "platform", fixed_fen=5, merchant_cap_fen=8, period="day")])
        with pytest.raises(LedgerError, match="and the ledger's clock is 'Etc/UTC'"):
            ledger.price(capped, orders_at(37, 2), batch="a")
        late = orders_at(37, 2).assign(ship_date=pd.to_datetime(["2025-06-01 15:30", "2025-06-01 16:30"], utc=True))
        assert ledger.price(replace(capped, clock="Etc/UTC"), late, batch="a")["platform_fen"].sum() == 8
        assert ledger.spending_by_merchant()["period"].tolist() == ["2025-06-01"]
    with pytest.raises(LedgerError, match="the clock of this ledger is 'Etc/UTC'"):
        Ledger(where, clock="Asia/Shanghai")
    with pytest.raises(InputError, match="clock is 'Shanghai'; it must be the name of a time zone"):
        Ledger(where, clock="Shanghai")


# Programmes


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(covered_programmes(), seeds, st.lists(st.integers(0, 30), max_size=3))
def test_batches_of_programmes_come_to_what_they_come_to_in_memory(tmp_path, programme, seed, cuts):
    frame, balances = orders_of(programme, 30, seed), Balances()
    with Ledger(tmp_path / f"{time.monotonic_ns()}.db") as ledger:
        assert_priced_as_in_memory(ledger, programme, frame, balances, cuts)
        if programme.in_sequence:
            assert {name: fen for name, fen in spent(ledger).items() if fen} == {
                name: fen for name, fen in without_nothing(balances).spent.items() if fen
            }


def test_a_programme_of_one_tariff_is_the_tariff_in_a_ledger(where):
    tariff = tariff_of(grants())
    frame = batches_of(1)[0]
    with Ledger(where) as ledger:
        first = ledger.price(tariff, frame, batch="a", campaigns=True)
        again = ledger.price(Programme("p", tariff), frame, batch="a", campaigns=True)
        pd.testing.assert_frame_equal(again, first)
        before = state_of(ledger)
        assert ledger.price(Programme("other", tariff), frame, batch="a")["list_fen"].equals(first["list_fen"])
        assert state_of(ledger) == before


def test_a_replay_keeps_the_fees_of_its_batch(where):
    tariff = tariff_of(grants())
    fee = Fee("service", fixed_fen=12, where={"tier": [1]})
    covers = [tariff, replace(tariff_of([]), name="transit")]
    programme = Programme("p", covers, fees=[fee])
    frame = batches_of(1)[0]
    with Ledger(where) as ledger:
        first = ledger.price(programme, frame, batch="a")
        ledger.amend(programme.with_subsidies([replace(tariff.subsidies[0], budget_fen=9_999), *tariff.subsidies[1:]]))
        amended = programme.with_subsidies([replace(tariff.subsidies[0], budget_fen=9_999), *tariff.subsidies[1:]])
        pd.testing.assert_frame_equal(ledger.price(amended, frame, batch="a"), first)
        others = [
            replace(programme, fees=[replace(fee, fixed_fen=13)]),
            replace(programme, fees=[replace(fee, payee="courier")]),
            replace(programme, fees=()),
            Programme("p", tariff, fees=[fee]),
        ]
        for other in others:
            with pytest.raises(LedgerError, match="is in the ledger with other orders, merchants or another tariff"):
                ledger.price(other, frame, batch="a")
        for call in (lambda: ledger.price("p", frame, batch="b"), lambda: ledger.amend("p")):
            with pytest.raises(InputError, match="tariff is 'p'; it must be a Tariff, a Programme or Versions"):
                call()
