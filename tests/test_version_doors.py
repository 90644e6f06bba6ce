"""Versions at every door: Parquet, ledger, settlement, refunds and command line give the fen of `Versions.price`."""

import contextlib
import io
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from freightrisk import (
    Balances,
    ByLevel,
    Cover,
    Fund,
    InputError,
    Ledger,
    Loadings,
    Settlement,
    Subsidy,
    TariffDocumentError,
    cli,
    price_parquet,
    settle,
)
from freightrisk.datasets import simulate_book
from freightrisk.errors import LedgerError
from freightrisk.events import EventCover
from freightrisk.pipeline import tables
from freightrisk.pipeline.batch import Snapshot, Unpriced
from freightrisk.programmes import Enrolment, Fee, PhaseIn, Programme, Versions, load_priced, refunds
from freightrisk.tariff.rounding import Rounding
from programme_strategies import covered_programmes, orders_of
from strategies import ZONES, put_together, rate_tables, seeds

FEW = settings(max_examples=12)
NAMES = ("old", "new", "pilot")


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(tables, "SYNCHRONOUS", "OFF")


@st.composite
def changing_versions(draw, *, pilots=True):
    """Two programmes with the same campaigns, one after another, a phase-in, a pilot and enrolment; and orders."""
    drawn = [draw(covered_programmes()) for _ in range(3 if pilots and draw(st.booleans()) else 2)]
    old = drawn[0]
    share = draw(st.sampled_from([None, 0.0, 0.3]))
    dates = [{"end": "2025-06-09"}, {"start": "2025-06-10", "phase_in": None if share is None else PhaseIn(share)}, {}]
    programmes = [
        replace(one.with_subsidies(old.subsidies), name=name, **when)
        for one, name, when in zip(drawn, NAMES, dates, strict=False)
    ]
    for k, pilot in enumerate(programmes[2:], start=2):  # no money in common with a version of the same days
        own = [replace(rule, name=f"pilot {rule.name}") for rule in pilot.subsidies]
        half_even = replace(pilot.lead, rounding_rule=Rounding(floor_fen=pilot.floor_fen))
        programmes[k] = replace(pilot, covers=(half_even, *pilot.covers[1:])).with_subsidies(own)
    periods = {"m1": [(None, "2025-06-05"), ("2025-06-12", None)], "m2": [("2025-06-02", "2025-06-20")]}
    enrolment = Enrolment(periods) if draw(st.booleans()) else None
    versions = Versions(programmes, pilots={"pilot": ["m2"]} if len(drawn) > 2 else {}, enrolment=enrolment)
    frame = orders_of(old, draw(st.integers(1, 25)), draw(seeds))
    if any(one.rounding == "carry" for one in programmes):
        frame["merchant_id"] = frame["merchant_id"].fillna("m1")
    frame["ship_date"] = frame["ship_date"].fillna(pd.Timestamp("2025-06-10"))
    return versions, frame.sort_values(["ship_date", "order_id"])


def event(name, fen, **more):
    """A programme of a premium of some fen."""
    rules = more.pop("subsidies", ())
    cover = EventCover("freight", frequency=fen / 1000, severity=10.0, cover=Cover(max_claims=None))
    return Programme(name, cover.tariff(subsidies=rules), **more)


def two(*, old=(), new=(), **more):
    return Versions(
        [event("old", 50, end="2024-09-12", subsidies=old), event("new", 40, start="2024-09-13", subsidies=new)], **more
    )


def few(n=4):
    """Orders before and after the change, of two merchants."""
    days = [["2024-09-11", "2024-09-12", "2024-09-13", "2024-09-14"][k % 4] for k in range(n)]
    return pd.DataFrame({"order_id": range(n), "merchant_id": ["a", "b"] * (n // 2), "ship_date": days})


def plain(frame):
    """Return quotes as a pandas frame with the widths of `Versions.price`."""
    return frame.to_pandas() if hasattr(frame, "to_pandas") else frame.reset_index(drop=True)


def same(found, expected):
    pd.testing.assert_frame_equal(plain(found), plain(expected), check_dtype=False)


# --- Parquet -------------------------------------------------------------------------------------------------------


@FEW
@given(changing_versions(pilots=False), st.integers(1, 45), st.booleans(), st.booleans())
def test_batches_of_a_file_have_the_fen_of_all_orders(drawn, batch_rows, detail, campaigns):
    versions, frame = drawn
    before, after = Balances(), Balances()
    expected = versions.price(frame, balances=before, detail=detail, campaigns=campaigns)
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder, "o.parquet"), Path(folder, "q.parquet")
        frame.to_parquet(path)
        told = {"balances": after, "detail": detail, "campaigns": campaigns}
        totals = price_parquet(versions, path, out, batch_rows=batch_rows, **told)
        found = pq.read_table(out)
    same(found, expected)
    assert found.schema.field("version").type == pa.string()
    assert after == before
    money = [name for name in expected if name.endswith("_fen") or name.startswith("fee: ")]
    assert totals == {"orders": len(frame)} | {name: int(expected[name].sum()) for name in money}


@FEW
@given(changing_versions(), st.integers(0, 2**32 - 1))
def test_the_order_of_rows_changes_nothing_at_any_door(drawn, seed):
    versions, frame = drawn
    turned = frame.iloc[np.random.default_rng(seed).permutation(len(frame))]
    expected = versions.price(frame, campaigns=True)
    pd.testing.assert_frame_equal(versions.price(turned, campaigns=True).loc[frame.index], expected)
    with tempfile.TemporaryDirectory() as folder:
        turned.to_parquet(Path(folder, "o.parquet"))
        price_parquet(versions, Path(folder, "o.parquet"), Path(folder, "q.parquet"), campaigns=True)
        found = pd.read_parquet(Path(folder, "q.parquet")).set_index(turned.index).loc[frame.index]
    same(found, expected)


@FEW
@given(changing_versions())
def test_the_columns_do_not_depend_on_the_orders(drawn):
    versions, frame = drawn
    for some in (frame, frame.iloc[:1], frame.iloc[:0]):
        assert tuple(versions.price(some).columns) == versions.quote_columns
        assert tuple(versions.quote(frame.iloc[0].to_dict())) == versions.quote_columns


def test_a_file_without_orders_begins_the_types_of_the_columns(tmp_path):
    frame = few()
    files = [tmp_path / f"{k}.parquet" for k in range(3)]
    for some, path in zip((frame.iloc[:0], frame.iloc[:2], frame.iloc[2:]), files, strict=True):
        some.to_parquet(path, index=False)
    enrolment = Enrolment({"a": [(None, None)]})
    versions = two(enrolment=enrolment)
    totals = price_parquet(versions, files, tmp_path / "q.parquet", keep=["order_id"])
    found = pd.read_parquet(tmp_path / "q.parquet")
    assert found["version"].tolist() == [versions.programmes[0].version, "", versions.programmes[1].version, ""]
    assert found["enrolled"].tolist() == [True, False, True, False]
    assert totals == {"orders": 4, "list_fen": 90, "merchant_fen": 90}
    assert versions.price(pa.Table.from_pandas(frame.iloc[:0])).schema.field("version").type == pa.string()


@pytest.mark.parametrize("name", ["version", "enrolled", "phase_in_bound", "list_fen"])
def test_a_kept_column_must_not_be_a_column_of_quotes(tmp_path, name):
    versions = Versions([event("old", 50, end="2024-09-12"), event("new", 40, start="2024-09-13", phase_in=PhaseIn(0))])
    few().assign(**{name: 1}).to_parquet(tmp_path / "o.parquet")
    with pytest.raises(InputError, match=f"keep names '{name}', which is also a column of the quotes"):
        price_parquet(versions, tmp_path / "o.parquet", tmp_path / "q.parquet", keep=[name])


def test_the_total_of_a_merchant_is_its_premium_if_its_version_has_no_fees():
    fee = Fee("service", fixed_fen=7)
    versions = Versions([event("old", 50, end="2024-09-12", fees=[fee]), event("new", 40, start="2024-09-13")])
    assert versions.price(few())["merchant_total_fen"].tolist() == [57, 57, 40, 40]
    assert [versions.quote(one)["merchant_total_fen"] for one in few().to_dict("records")] == [57, 57, 40, 40]


# --- ledger --------------------------------------------------------------------------------------------------------


@FEW
@given(changing_versions(pilots=False), st.integers(0, 40), seeds)
def test_a_ledger_prices_versions_as_in_memory_and_again_from_its_record(drawn, cut, seed):
    versions, frame = drawn
    parts = {"a": frame.iloc[:cut], "b": frame.iloc[cut:]}
    balances = Balances()
    expected = {name: versions.price(part, balances=balances, campaigns=True) for name, part in parts.items()}
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder, "s.db")) as ledger:
        for name, part in parts.items():
            pd.testing.assert_frame_equal(
                ledger.price(versions, part, batch=name, campaigns=True), expected[name], check_dtype=False
            )
        after = (ledger.spending(), ledger.spending_by_merchant(), ledger.remainders(), ledger.batches())
        assert {*ledger.batches().index} == {
            f"{name}/{one.name}"
            for name, part in expected.items()
            for one in versions.programmes
            if (part["version"] == one.version).any()
        }
        for name, part in parts.items():
            turned = part.iloc[np.random.default_rng(seed).permutation(len(part))]
            again = ledger.price(versions, turned, batch=name, campaigns=True).loc[part.index]
            pd.testing.assert_frame_equal(again, expected[name], check_dtype=False)
        now = (ledger.spending(), ledger.spending_by_merchant(), ledger.remainders(), ledger.batches())
        for one, other in zip(after, now, strict=True):
            pd.testing.assert_frame_equal(one, other)
        spent = {name: fen for name, fen in ledger.spending()["reserved_fen"].items() if fen}
        assert spent == {name: fen for name, fen in balances.spent.items() if fen}


def budget(fen, **more):
    return [Subsidy("618", "platform", fixed_fen=10, budget_fen=fen, **more)]


def test_a_stopped_run_is_completed_by_the_same_call(tmp_path, monkeypatch):
    versions, frame = two(old=budget(15), new=budget(15)), few()
    with Ledger(tmp_path / "s.db") as ledger:
        whole, calls = ledger._price_new, []

        def stops(batch, unpriced):
            calls.append(batch)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return whole(batch, unpriced)

        monkeypatch.setattr(ledger, "_price_new", stops)
        with pytest.raises(KeyboardInterrupt):
            ledger.price(versions, frame, batch="b")
        assert ledger.batches().index.tolist() == ["b/old"]
        quotes = ledger.price(versions, frame, batch="b")
        assert quotes["platform_fen"].tolist() == [10, 5, 0, 0]
        assert calls == ["b/old", "b/new", "b/new"]


def test_another_process_that_records_meanwhile_is_believed(tmp_path, monkeypatch):
    versions, frame = two(old=budget(15), new=budget(15)), few()
    with Ledger(tmp_path / "s.db") as ledger, Ledger(tmp_path / "s.db") as other:
        whole, done = ledger._price_new, []

        def late(batch, unpriced):
            if not done:
                done.append(other.price(versions, frame, batch="b"))
            return whole(batch, unpriced)

        monkeypatch.setattr(ledger, "_price_new", late)
        pd.testing.assert_frame_equal(ledger.price(versions, frame, batch="b"), done[0])
        assert ledger.spending()["reserved_fen"].tolist() == [15]


def test_other_orders_or_versions_are_refused_under_a_recorded_id(tmp_path):
    versions, frame = two(old=budget(15), new=budget(15)), few()
    with Ledger(tmp_path / "s.db") as ledger:
        ledger.price(versions, frame, batch="b")
        with pytest.raises(LedgerError, match=r"batch 'b/old' is in the ledger, but none of these orders"):
            ledger.price(versions, frame.iloc[2:], batch="b")
        with pytest.raises(LedgerError, match=r"batch 'b/old' is in the ledger with other orders"):
            ledger.price(versions, frame.iloc[1:], batch="b")
        ledger.price(versions.programmes[0], frame.assign(order_id=range(10, 14)), batch="c")
        with pytest.raises(LedgerError, match="batch 'c' is in the ledger as a batch of one tariff or programme"):
            ledger.price(versions, frame.assign(order_id=range(10, 14)), batch="c")


def test_a_campaign_has_one_set_of_limits_in_a_batch_and_in_amend(tmp_path):
    frame = few()
    other = two(old=budget(15), new=budget(30))
    with Ledger(tmp_path / "s.db") as ledger:
        for call in (lambda: ledger.price(other, frame, batch="b"), lambda: ledger.amend(other)):
            with pytest.raises(LedgerError, match="campaign '618' has other limits in one programme than in another"):
                call()
        assert not len(ledger.batches())
        # Orders of one version have one set of limits; the next version amends them.
        assert ledger.price(other, frame.iloc[:2], batch="1")["platform_fen"].tolist() == [10, 5]
        ledger.amend(other.programmes[1])
        assert ledger.price(other, frame.iloc[2:], batch="2")["platform_fen"].tolist() == [10, 5]
        ledger.amend(two(old=budget(50), new=[Subsidy("new", "insurer", fixed_fen=1, budget_fen=7)]))
        assert ledger.spending()["budget_fen"].to_dict() == {"618": 50, "new": 7}
        # A recorded batch keeps the limits of its day.
        assert ledger.price(other, frame.iloc[:2], batch="1")["platform_fen"].tolist() == [10, 5]


def test_funds_of_a_name_are_one_fund(tmp_path):
    rule = Subsidy("618", "platform", fixed_fen=10, fund="pool")
    old, new = (
        replace(one, covers=[one.lead.with_subsidies([rule], funds=[Fund("pool", budget_fen=fen)])])
        for one, fen in zip(two().programmes, (15, 25), strict=True)
    )
    with Ledger(tmp_path / "s.db") as ledger:
        with pytest.raises(LedgerError, match="fund 'pool' has other limits"):
            ledger.price(Versions([old, new]), few(), batch="b")
        same_fund = replace(new, covers=[new.lead.with_subsidies([rule], funds=[Fund("pool", budget_fen=15)])])
        versions = Versions([old, same_fund])
        quotes = ledger.price(versions, few(), batch="b", campaigns=True)
        assert quotes["platform_fen"].tolist() == [10, 5, 0, 0]
        assert ledger.funds()["reserved_fen"].tolist() == [15]
    assert Settlement.of(versions, few(), quotes).by_fund(versions)["fen"].sum() == 15
    apart = Versions([old, replace(new, covers=[new.lead.with_subsidies(budget(None))])])
    with pytest.raises(InputError, match="subsidy '618' has another fund in one programme"):
        Settlement.of(versions, few(), quotes).by_fund(apart)


def test_the_phase_in_is_part_of_what_a_ledger_prices_and_compares(tmp_path):
    def capped(share, old_fen=40):
        return Versions(
            [event("old", old_fen, end="2024-09-12", subsidies=budget(25)),
             event("new", 60, start="2024-09-13", subsidies=budget(25), phase_in=PhaseIn(share))]
        )  # fmt: skip

    with Ledger(tmp_path / "s.db") as ledger:
        quotes = ledger.price(capped(0.1), few(), batch="b")
        assert quotes["list_fen"].tolist() == [40, 40, 44, 44]
        assert quotes["platform_fen"].tolist() == [10, 10, 5, 0]
        pd.testing.assert_frame_equal(quotes, capped(0.1).price(few()), check_dtype=False)
        for other in (capped(0.2), capped(0.1, 41)):
            with pytest.raises(LedgerError, match=r"batch 'b/(old|new)' is in the ledger with other orders"):
                ledger.price(other, few(), batch="b")


def test_a_phased_batch_that_is_priced_twice_has_the_same_fen():
    versions = Versions(
        [event("old", 40, end="2024-09-12", subsidies=budget(25)),
         event("new", 60, start="2024-09-13", subsidies=budget(25), phase_in=PhaseIn(0.1))]
    )  # fmt: skip
    part = versions.encode(few()).parts[1]
    moved, _ = versions.pricer.moves(part, 1)
    unpriced = Unpriced(versions.programmes[1], part.coded, {"threads": 1, "detail": True, "progress": False}, moved)
    for spent, fen in ((0, [10, 10]), (20, [5, 0]), (0, [10, 10])):
        done = unpriced.priced(Snapshot({("618", "", ""): spent}, {}))
        assert done.columns["platform_fen"].tolist() == fen
        assert done.columns["list_fen"].tolist() == [44, 44]
    assert replace(unpriced, moved=moved + 10_000).priced(Snapshot({}, {})).fingerprint != done.fingerprint


# --- settlement ----------------------------------------------------------------------------------------------------


def frames(settled):
    return [settled.payers, settled.accounts, settled.fees]


@settings(max_examples=6)
@given(changing_versions(), seeds)
def test_a_settlement_of_versions_is_the_sum_of_those_of_its_programmes(drawn, seed):
    versions, frame = drawn
    quotes = versions.price(frame, campaigns=True)
    settled = Settlement.of(versions, frame, quotes)
    assert settled.is_balanced
    assert settled.accounts["orders"].sum() == quotes["enrolled"].sum()
    assert settled.accounts["list_fen"].sum() == quotes["list_fen"].sum()
    expected = None
    for one in versions.programmes:
        mine = (quotes["version"] == one.version).to_numpy()
        if mine.any():
            alone = Settlement.of(one, frame[mine], quotes[mine])
            expected = alone if expected is None else expected + alone
    assume(expected is not None)
    turn = np.random.default_rng(seed).permutation(len(frame))
    arrow = pa.Table.from_pandas(frame, preserve_index=False)
    doors = [
        settled,
        Settlement.of(versions, frame.iloc[turn], quotes.iloc[turn]),
        Settlement.of(versions, arrow, versions.price(arrow, campaigns=True)),
        Settlement.of(versions, pl.from_arrow(arrow), versions.price(pl.from_arrow(arrow), campaigns=True)),
        Settlement.of(versions, frame, quotes.astype({"version": "category"})),
        Settlement.of(versions, frame, quotes.assign(version=quotes["version"].replace("", None))),
    ]
    for one in doors:
        for found, right in zip(frames(one), frames(expected), strict=True):
            assert (found is None) == (right is None)
            if right is not None:
                pd.testing.assert_frame_equal(found, right)


def test_a_settlement_of_files_reads_the_columns_of_filed_factors(tmp_path):
    rng = np.random.default_rng(1)
    rates = {"frequency": rate_tables(["zone"], rng, 0.05), "severity": rate_tables([], rng, 9.0)}
    by_zone = Loadings(filed_factor=ByLevel("zone", {"far": 1.5, "near": 1.0}, default=0.9))
    versions = Versions(
        [Programme("old", put_together(**rates, cover=Cover(max_claims=None)), end="2024-09-12"),
         Programme("new", put_together(**rates, cover=Cover(max_claims=None), loadings=by_zone), start="2024-09-13")]
    )  # fmt: skip
    frame = few(8).assign(zone=rng.choice(ZONES, 8))
    frame.assign(unused=1).to_parquet(tmp_path / "o.parquet")
    versions.price(frame).to_parquet(tmp_path / "q.parquet")
    found = Settlement.of(versions, tmp_path / "o.parquet", tmp_path / "q.parquet")
    assert found.is_balanced
    right = [
        int(versions.version_of(one).lead.loadings.filed_micro(
            np.array([versions.quote(one)["technical_premium"]]),
            1.0 if one["ship_date"] < "2024-09-13" else {"far": 1.5, "near": 1.0}.get(one["zone"], 0.9),
        )[0])
        for one in frame.to_dict("records")
    ]  # fmt: skip
    assert found.accounts["filed_micro"].sum() == sum(right)


def test_what_cannot_be_settled_is_refused():
    versions, frame = two(enrolment=Enrolment({"a": [(None, None)]})), few()
    quotes = versions.price(frame)
    with pytest.raises(InputError, match="'version' is 'another', which is none of these versions"):
        Settlement.of(versions, frame, quotes.assign(version="another"))
    with pytest.raises(InputError, match=r"'version' is empty, but 'list_fen' is not 0, in 4 rows"):
        Settlement.of(versions, frame, quotes.assign(version="", list_fen=5))
    with pytest.raises(InputError, match="missing column 'version'"):
        Settlement.of(versions, frame, quotes.drop(columns="version"))
    with pytest.raises(InputError, match="quotes have 3 rows and orders 4"):
        Settlement.of(versions, frame, quotes.iloc[:3])
    with pytest.raises(InputError, match="different indexes"):
        Settlement.of(versions, frame, quotes.iloc[::-1])
    with pytest.raises(InputError, match=r"do not sum to list_fen in .* \(orders of programme 'old'\)"):
        Settlement.of(versions, frame, quotes.assign(merchant_fen=1))
    with pytest.raises(InputError, match="programmes 'old', 'new'; settle the claims of each version with its"):
        settle(versions, frame)
    nobody = two(enrolment=Enrolment({"c": [(None, None)]}))
    assert Settlement.of(nobody, frame, nobody.price(frame)).accounts.empty


# --- refunds -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hold", [lambda frame: frame, pl.from_pandas, pa.Table.from_pandas])
def test_refunds_are_those_of_the_version_in_every_container(hold):
    versions = Versions(
        [event("old", 50, end="2024-09-12", refund_rule="never"),
         event("new", 40, start="2024-09-13", refund_rule="always")], enrolment=Enrolment({"a": [(None, None)]}),
    )  # fmt: skip
    orders = hold(few(8).assign(cancelled_date=["2024-09-20"] * 6 + [None] * 2))
    quotes = versions.price(orders)
    found = refunds(versions, orders, quotes)
    assert type(found) is type(quotes)
    assert found["list_fen"].to_numpy().tolist() == [0, 0, 40, 0, 0, 0, 0, 0]
    levels = versions.price(few(8)).assign(version="x").astype({"version": "category"})
    with pytest.raises(InputError, match="'version' is 'x', which is none of these versions"):
        refunds(versions, orders, levels)


def test_an_unused_category_of_versions_is_no_version():
    versions, frame = two(), few().assign(cancelled_date="2024-09-01")
    quotes = versions.price(frame).astype({"version": "category"})
    quotes["version"] = quotes["version"].cat.add_categories("never used")
    assert refunds(versions, frame, quotes)["list_fen"].sum() == 180


# --- documents and command line ------------------------------------------------------------------------------------


def run(*arguments):
    """Run a command and return its exit code, what it printed and its errors."""
    printed, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
        code = cli.main([str(argument) for argument in arguments])
    return code, printed.getvalue(), errors.getvalue()


def test_a_document_is_loaded_as_what_it_is(tmp_path):
    versions = two()
    for one in (versions, versions.programmes[0], versions.programmes[0].lead):
        one.save(tmp_path / "d.json")
        assert load_priced(tmp_path / "d.json") == one
        assert type(load_priced(tmp_path / "d.json")) is type(one)
    for text in ('{"schema": "freightrisk/model"}', "{}"):
        (tmp_path / "d.json").write_text(text)
        with pytest.raises(TariffDocumentError, match="not a document of a tariff, programme or versions"):
            load_priced(tmp_path / "d.json")
    (tmp_path / "d.json").write_text("{")
    with pytest.raises(TariffDocumentError, match="truncated or corrupt"):
        load_priced(tmp_path / "d.json")
    with pytest.raises(InputError, match="must be a Tariff, a Programme or Versions"):
        price_parquet(versions.pricer, [], tmp_path / "q.parquet")


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_the_command_line_prices_and_explains_versions(tmp_path, kind):
    fees = [Fee("service", fixed_fen=7)], [Fee("service", "platform", "courier", fixed_fen=2)]
    versions = two(old=budget(15), new=budget(15), enrolment=Enrolment({"a": [(None, None)]}))
    programmes = [replace(one, fees=some) for one, some in zip(versions.programmes, fees, strict=True)]
    versions, frame = Versions(programmes, enrolment=versions.enrolment), few(8)
    versions.save(tmp_path / "v.json")
    frame.to_parquet(tmp_path / "o.parquet") if kind == "parquet" else frame.to_csv(tmp_path / "o.csv", index=False)
    orders = ["--tariff", tmp_path / "v.json", "--orders", tmp_path / f"o.{kind}"]
    code, printed, errors = run("price", *orders, "--out", tmp_path / f"q.{kind}")
    assert (code, errors) == (0, "")
    if kind == "parquet":
        found = pd.read_parquet(tmp_path / "q.parquet")
    else:
        found = pd.read_csv(tmp_path / "q.csv", keep_default_na=False, na_values=["nan"])
    same(found.drop(columns="order_id"), versions.price(frame))
    told = " ".join(printed.split())
    said = ["old 2 1.00 0.85", "new 2 0.80 0.80", "not enrolled 4", "service platform courier 0.04 2", "in total 1.79"]
    assert [one for one in said if one not in told] == []
    code, printed, _ = run("explain", *orders, "--order-id", 2)
    assert code == 0
    assert f"version {versions.programmes[1].version}" in printed
    code, printed, _ = run("explain", *orders, "--order-id", 1)
    assert "does not take part" in printed
    code, _, errors = run("settle", "--tariff", tmp_path / "v.json", "--claims", tmp_path / f"o.{kind}",
                          "--out", tmp_path / "s.csv")  # fmt: skip
    assert code == 2
    assert "settle the claims of each version with its programme" in errors


def test_a_file_without_orders_is_priced_at_the_command_line(tmp_path):
    two().save(tmp_path / "v.json")
    few().iloc[:0].to_parquet(tmp_path / "o.parquet")
    orders = ["--tariff", tmp_path / "v.json", "--orders", tmp_path / "o.parquet"]
    code, printed, _ = run("price", *orders, "--out", tmp_path / "q.parquet")
    assert code == 0
    assert "not enrolled" in printed
    assert pq.read_schema(tmp_path / "q.parquet").field("version").type == pa.string()


def test_the_command_line_confirms_and_releases_the_batches_of_versions(tmp_path, monkeypatch):
    versions, frame = two(old=budget(15), new=budget(15)), few()
    versions.save(tmp_path / "v.json")
    frame.to_parquet(tmp_path / "o.parquet")
    call = ["price", "--tariff", tmp_path / "v.json", "--orders", tmp_path / "o.parquet",
            "--ledger", tmp_path / "s.db", "--batch", "b", "--out", tmp_path / "q.parquet"]  # fmt: skip

    def fails(*_, **__):
        raise InputError("no room")

    with monkeypatch.context() as broken:
        broken.setattr(cli, "write_table", fails)
        assert run(*call)[0] == 2
    with Ledger(tmp_path / "s.db") as ledger:
        assert not len(ledger.batches())
    for _ in range(2):
        assert run(*call)[0] == 0
        with Ledger(tmp_path / "s.db") as ledger:
            assert ledger.batches()["state"].to_dict() == {"b/old": "spent", "b/new": "spent"}
            assert ledger.spending().loc["618", ["spent_fen", "left_fen"]].tolist() == [15, 0]
    found = pd.read_parquet(tmp_path / "q.parquet")
    assert found["platform_fen"].tolist() == [10, 5, 0, 0]


# --- a simulated book, from orders to accounts ---------------------------------------------------------------------


def test_a_simulated_book_has_the_same_fen_at_every_door(tmp_path):
    book = simulate_book(4_000, seed=5)
    frame = book.orders.dropna(subset=["ship_date"]).reset_index(drop=True)
    days = frame["ship_date"].sort_values()
    change = days.iloc[len(days) // 2].normalize()
    merchants = frame["merchant_id"].unique().tolist()
    versions = Versions(
        [event("old", 50, end=(change - pd.Timedelta(days=1)).date(), subsidies=budget(9_000)),
         event("new", 70, start=change.date(), subsidies=budget(9_000), phase_in=PhaseIn(0.1)),
         event("pilot", 20)],
        pilots={"pilot": merchants[:9]}, enrolment=Enrolment({one: [(None, None)] for one in merchants[:-20]}),
    )  # fmt: skip
    expected = versions.price(frame, campaigns=True)
    assert {*expected["list_fen"]} == {0, 20, 50, 55}
    frame.to_parquet(tmp_path / "o.parquet")
    totals = price_parquet(versions, tmp_path / "o.parquet", tmp_path / "q.parquet", campaigns=True)
    same(pd.read_parquet(tmp_path / "q.parquet"), expected)
    with Ledger(tmp_path / "s.db") as ledger:
        same(ledger.price(versions, frame, batch="b", campaigns=True), expected)
    settled = Settlement.of(versions, tmp_path / "o.parquet", tmp_path / "q.parquet")
    assert settled.is_balanced
    assert settled.accounts["list_fen"].sum() == totals["list_fen"]
    assert settled.accounts["orders"].sum() == expected["enrolled"].sum() < len(frame)
    by_payer = settled.payers.groupby("payer")["fen"].sum()
    assert by_payer["platform"] == totals["platform_fen"] == 9_000
