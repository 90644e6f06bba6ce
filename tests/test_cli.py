"""The command line: the demo, its files as the user's own, and mistakes that must leave nothing behind."""

import _thread
import contextlib
import io
import json
import os
import re
import runpy
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from pandas.testing import assert_frame_equal

import freightrisk
from freightrisk import (
    Balances,
    Credibility,
    Free,
    Given,
    Interaction,
    Ledger,
    Smooth,
    Subsidy,
    _demo,
    cli,
    load_tariff,
)
from freightrisk._config import parse_plan, read_plan
from freightrisk.errors import InputError
from freightrisk.events import EventCover
from freightrisk.programme.claim_totals import replaced_once
from freightrisk.programmes import Fee, Programme
from interrupts import Interrupt

N_ORDERS = 20_000
CONFIG = _demo.CONFIG.format(as_of="2026-07-01", min_age_days=60)


def run(*arguments):
    """Run a command and return its exit code and what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        code = cli.main([str(argument) for argument in arguments])
    return code, printed.getvalue()


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("cli") / "demo"
    code, printed = run("demo", "--orders", N_ORDERS, "--seed", 3, "--out", out)
    assert code == 0
    return out, printed


@pytest.fixture(scope="module")
def files(demo):
    return {Path(name).stem if name != "freightrisk.toml" else "config": demo[0] / name for name in _demo.FILES}


@pytest.fixture(scope="module")
def quotes(files):
    return pd.read_parquet(files["quotes"])


@pytest.fixture(scope="module")
def small(files, tmp_path_factory):
    """Return the first 300 orders and all merchants as Parquet and as CSV."""
    folder = tmp_path_factory.mktemp("small")
    for name, rows in (("orders", 300), ("merchants", None)):
        table = pq.read_table(files[name]).slice(0, rows)
        pq.write_table(table, folder / f"{name}.parquet")
        table.to_pandas().to_csv(folder / f"{name}.csv", index=False)
    return folder


def test_demo_writes_its_files_and_nothing_else(demo):
    assert {path.name for path in demo[0].iterdir()} == set(_demo.FILES)


def test_demo_fits_on_a_page(demo):
    lines = [line for line in demo[1].splitlines() if str(demo[0]) not in line]
    assert max(map(len, lines)) <= 110
    assert not [line for line in lines if "nan" in line.split() or "inf" in line.split()]


def test_every_fen_of_the_list_price_has_a_payer(demo, quotes):
    assert len(quotes) == N_ORDERS
    payers = quotes[["merchant_fen", "platform_fen", "insurer_fen"]].sum(axis=1)
    assert (payers == quotes["list_fen"]).all()
    total = f"{quotes['list_fen'].sum() / 100:,.2f}"
    shown = [line.split() for line in demo[1].splitlines()]
    assert ["sum", "of", "payers", total, "100.0", "%"] in shown
    assert ["list", "total", total, f"{N_ORDERS:,}"] in shown
    assert "sum of payers less list total: 0 fen" in demo[1]
    at_floor = int((quotes["merchant_fen"] == 1).sum())
    assert at_floor > 0
    assert f"the merchant pays 0.01 yuan {at_floor:,} {100 * at_floor / N_ORDERS:.1f} %" in " ".join(demo[1].split())


def test_demo_checks_orders_that_the_fit_has_not_seen(files, quotes):
    """The deciles are those of orders shipped after the fit's date and 60 days before the book's."""
    orders, claims = pd.read_parquet(files["orders"]), pd.read_parquet(files["claims"])
    later = orders["ship_date"].between("2026-07-02", "2026-11-02").to_numpy()
    assert claims["report_date"].max() <= pd.Timestamp("2027-01-01")
    calibration = pd.read_csv(files["calibration"])
    assert calibration["rows"].sum() == later.sum()
    assert calibration["actual"].sum() == claims["order_id"].isin(orders["order_id"][later]).sum()
    np.testing.assert_allclose(calibration["expected"].sum(), quotes["claim_intensity"][later].sum(), rtol=1e-12)
    rows = orders[later].assign(
        expected=quotes["claim_intensity"][later],
        claims=orders["order_id"][later].map(claims["order_id"].value_counts()),
    )
    rows["decile"] = ((rows["expected"].rank() - 0.5) * 10 // len(rows)).astype(int) + 1  # ties at their mean rank
    by_merchant = rows.fillna({"claims": 0}).groupby(["decile", "merchant_id"])[["claims", "expected"]].sum()
    squares = (by_merchant["claims"] - by_merchant["expected"]).pow(2).groupby("decile").sum()
    errors = np.sqrt(squares) / rows.groupby("decile")["expected"].sum()
    np.testing.assert_allclose(calibration["std_error_by_merchant"], errors, rtol=1e-9)


def test_fit_repeats_the_demo_tariff(files, tmp_path):
    code, printed = run(
        "fit", "--config", files["config"], "--out", tmp_path / "t.json", "--relativities", tmp_path / "r.csv"
    )
    assert code == 0
    assert "frequency model, poisson" in printed
    assert (tmp_path / "t.json").read_bytes() == files["tariff"].read_bytes()
    assert (tmp_path / "r.csv").read_bytes() == files["relativities"].read_bytes()


def test_fit_writes_its_models(files, tmp_path):
    out = [tmp_path / name for name in ("t.json", "frequency.json", "severity.json")]
    code, printed = run(
        "fit", "--config", files["config"], "--out", out[0], "--frequency", out[1], "--severity", out[2]
    )
    assert code == 0
    assert printed.rstrip().endswith(f"wrote {out[0]} and {out[1]} and {out[2]}")
    frequency, severity = map(freightrisk.load_model, out[1:])
    assert (frequency.kind, severity.kind) == ("frequency", "severity")
    tariff = freightrisk.load_tariff(out[0])
    same = {"cover": tariff.cover, "loadings": tariff.loadings, "subsidies": tariff.subsidies, "name": tariff.name,
            "floor_fen": tariff.floor_fen, "clock": tariff.clock}  # fmt: skip
    assert freightrisk.Tariff.build(frequency, severity, **same) == tariff


def test_options_of_fit_win_over_the_configuration(files, tmp_path):
    text = CONFIG.replace('family = "poisson"', 'family = "bernoulli"').replace('orders = "orders.parquet"', "")
    (tmp_path / "c.toml").write_text(text.replace('"claims.parquet"', '"none.parquet"'))
    inputs = [part for name in ("orders", "claims", "merchants") for part in (f"--{name}", files[name])]
    code, printed = run(
        "fit", "--config", tmp_path / "c.toml", *inputs, "--as-of", "2027-01-01", "--out", tmp_path / "t.json"
    )
    assert code == 0
    assert "as of 2027-01-01" in printed
    provenance = json.loads((tmp_path / "t.json").read_text())["provenance"]
    ship_date = pd.read_parquet(files["orders"])["ship_date"]
    assert provenance["frequency"]["family"] == "bernoulli"
    assert provenance["frequency"]["rows"] == (ship_date <= pd.Timestamp("2026-11-02")).sum()


def test_price_gives_the_library_quotes(files, quotes, tmp_path):
    code, printed = run(
        "price", "--tariff", files["tariff"], "--orders", files["orders"], "--merchants", files["merchants"],
        "--out", tmp_path / "q.parquet", "--keep", "order_id", "ship_date",
    )  # fmt: skip
    assert code == 0
    assert "sum of payers less list total: 0 fen" in printed
    priced, orders = pd.read_parquet(tmp_path / "q.parquet"), pd.read_parquet(files["orders"])
    assert_frame_equal(priced[["order_id", "ship_date"]], orders[["order_id", "ship_date"]])
    assert_frame_equal(priced.drop(columns="ship_date"), quotes)
    tariff = freightrisk.load_tariff(files["tariff"])
    expected = tariff.price(orders, merchants=pd.read_parquet(files["merchants"]))
    assert_frame_equal(priced.drop(columns=["order_id", "ship_date"]), expected)


def test_csv_gives_the_same_quotes_as_parquet(files, quotes, small, tmp_path):
    code, _ = run(
        "price", "--tariff", files["tariff"], "--orders", small / "orders.csv", "--merchants", small / "merchants.csv",
        "--out", tmp_path / "q.csv",
    )  # fmt: skip
    assert code == 0
    priced = pyarrow.csv.read_csv(tmp_path / "q.csv").to_pandas()
    assert_frame_equal(priced, quotes.head(300), check_dtype=False)


def test_a_csv_of_one_numeric_looking_level_keeps_the_word(files, quotes, tmp_path):
    """A file with nothing but campaign 618 must be priced as campaign "618"."""
    orders = pd.read_parquet(files["orders"])
    chosen = (orders["campaign"] == "618").to_numpy()
    orders[chosen].to_csv(tmp_path / "orders.csv", index=False)
    code, _ = run(
        "price", "--tariff", files["tariff"], "--orders", tmp_path / "orders.csv", "--merchants", files["merchants"],
        "--out", tmp_path / "q.parquet",
    )  # fmt: skip
    assert code == 0
    # A kept column of a CSV file is repeated as it stands there, as text.
    found = pd.read_parquet(tmp_path / "q.parquet").astype({"order_id": np.int64})
    assert_frame_equal(found, quotes[chosen].reset_index(drop=True))


@pytest.fixture(scope="module")
def faults(files, tmp_path_factory):
    """Return a file of claims with ids and faults, the same as CSV, and a file of payers."""
    folder = tmp_path_factory.mktemp("faults")
    claims = pd.read_parquet(files["claims"])
    claims = claims.assign(claim_id=[f"c{k}" for k in range(len(claims))], fault=["merchant", "not_merchant"] * 2
                           * (len(claims) // 4) + ["merchant"] * (len(claims) % 4))  # fmt: skip
    claims.to_parquet(folder / "claims.parquet", index=False)
    claims.to_csv(folder / "claims.csv", index=False)
    (folder / "payers.json").write_text('[{"payer": "platform", "where": {"fault": ["not_merchant"]}}]')
    return folder


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_settle_gives_the_library_claims(kind, files, faults, tmp_path):
    out = tmp_path / f"s.{kind}"
    code, printed = run(
        "settle", "--tariff", files["tariff"], "--claims", faults / f"claims.{kind}", "--orders", files["orders"],
        "--payers", faults / "payers.json", "--aggregate", 300, "--out", out,
    )  # fmt: skip
    assert code == 0
    claims, orders = pd.read_parquet(faults / "claims.parquet"), pd.read_parquet(files["orders"])
    rules = [freightrisk.ClaimPayer("platform", where={"fault": ["not_merchant"]})]
    expected = freightrisk.settle(load_tariff(files["tariff"]), claims, orders=orders, payers=rules,
                                  aggregate=freightrisk.aggregates.AggregateLimit(300.0))  # fmt: skip
    found = pd.read_parquet(out) if kind == "parquet" else pd.read_csv(out, keep_default_na=False)
    assert list(found.columns[:2]) == ["order_id", "claim_id"]
    assert_frame_equal(found[["order_id", "claim_id"]], claims[["order_id", "claim_id"]], check_dtype=False)
    assert_frame_equal(found.drop(columns=["order_id", "claim_id"]), expected.claims, check_dtype=False)
    lines = {line.split()[0]: line.split() for line in printed.splitlines() if line.strip()}
    assert lines["platform"][1] == f"{expected.claims['platform_fen'].sum() / 100:,.2f}"
    assert lines["freight"][-1] == f"{claims['freight'].sum():,.2f}"
    assert "sum of payers less freight: 0 fen" in printed
    for what, flag in (("the limit reduced", "limit_bound"), ("the aggregate limit reduced", "aggregate_bound")):
        line = next(line for line in printed.splitlines() if line.strip().startswith(f"{what} the payment"))
        assert line.split()[-3] == f"{expected.claims[flag].sum():,}"
    assert expected.claims["limit_bound"].any()
    assert "to carry totals over from run to run, give --totals" in printed


def test_settle_carries_totals_from_run_to_run(files, faults, tmp_path):
    claims = pd.read_parquet(faults / "claims.parquet").sort_values(["report_date", "claim_id"])
    told = ["settle", "--tariff", files["tariff"], "--orders", files["orders"], "--aggregate", 50]
    found = []
    for k, part in enumerate([claims[:200], claims[200:]]):
        part.to_parquet(tmp_path / f"{k}.parquet", index=False)
        code, printed = run(*told, "--claims", tmp_path / f"{k}.parquet", "--totals", tmp_path / "t.json", "--out",
                            tmp_path / f"s{k}.parquet")  # fmt: skip
        assert code == 0
        assert printed.endswith(f"wrote {tmp_path / f's{k}.parquet'} and {tmp_path / 't.json'}\n")
        found.append(pd.read_parquet(tmp_path / f"s{k}.parquet"))
    assert run(*told, "--claims", faults / "claims.parquet", "--out", tmp_path / "s.parquet")[0] == 0
    once = pd.read_parquet(tmp_path / "s.parquet").set_index("claim_id").loc[claims["claim_id"]]
    assert once["aggregate_bound"].any()
    assert_frame_equal(pd.concat(found).set_index("claim_id"), once)
    again = run(*told, "--claims", tmp_path / "0.parquet", "--totals", tmp_path / "t.json", "--out", tmp_path / "a.csv")
    assert again[0] == 2  # the totals know these claims
    assert not (tmp_path / "a.csv").exists()


@pytest.mark.parametrize("had_totals", [False, True])
def test_two_runs_of_settle_at_once_cannot_start_from_the_same_totals(files, faults, tmp_path, monkeypatch, had_totals):
    claims, totals = pd.read_parquet(faults / "claims.parquet"), tmp_path / "t.json"
    if had_totals:
        freightrisk.results.ClaimTotals().save(totals)
    for k in range(2):
        claims[k::2].to_parquet(tmp_path / f"{k}.parquet", index=False)

    def run_half(k):
        return run("settle", "--tariff", files["tariff"], "--orders", files["orders"], "--claims",
                   tmp_path / f"{k}.parquet", "--totals", totals, "--out", tmp_path / f"s{k}.csv")[0]  # fmt: skip

    settle, others = cli.settle, []

    def overtaken(*args, **more):
        found = settle(*args, **more)
        monkeypatch.setattr(cli, "settle", settle)
        others.append(run_half(1))  # a whole run between the reading of totals and their writing
        return found

    monkeypatch.setattr(cli, "settle", overtaken)
    assert (run_half(0), others) == (2, [0])
    assert not (tmp_path / "s0.csv").exists()
    assert set(freightrisk.results.ClaimTotals.load(totals).claims) == set(claims["claim_id"][1::2].tolist())
    assert run_half(0) == 0
    assert len(freightrisk.results.ClaimTotals.load(totals).claims) == len(claims)


def test_one_run_at_a_time_replaces_totals(tmp_path):
    totals, entered, results = tmp_path / "t.json", threading.Event(), []

    def second():
        entered.set()
        try:
            with replaced_once(totals, None):
                results.append("written")
        except InputError as error:
            results.append(str(error))

    with replaced_once(totals, None):
        other = threading.Thread(target=second)
        other.start()
        entered.wait()
        other.join(0.2)
        assert not results  # it waits for the lock
        totals.write_text("{}")
    other.join()
    assert "changed by another run" in results[0]


def test_settle_reads_columns_of_merchants(files, faults, tmp_path):
    cover = freightrisk.Cover(limits=[freightrisk.Limit("low", 6.0, where={"segment": ["large"]})])
    event = freightrisk.events.EventCover("freight", frequency=0.1, severity=9.0, cover=cover)
    event.tariff().save(tmp_path / "t.json")
    told = ["settle", "--tariff", tmp_path / "t.json", "--claims", faults / "claims.csv", "--orders", files["orders"]]
    assert run(*told, "--merchants", files["merchants"], "--out", tmp_path / "s.csv")[0] == 0
    orders = pd.read_parquet(files["orders"]).merge(pd.read_parquet(files["merchants"]), on="merchant_id")
    expected = freightrisk.settle(cover, pd.read_parquet(faults / "claims.parquet"), orders=orders).claims
    assert expected["limit_bound"].any()
    assert pd.read_csv(tmp_path / "s.csv")["paid_fen"].tolist() == expected["paid_fen"].tolist()
    assert run(*told, "--out", tmp_path / "none.csv")[0] == 2


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_explain_ends_in_the_quoted_fen(files, quotes, small, kind):
    row = int(np.argmax((quotes["platform_fen"] > 0) & (quotes.index < 300)))
    quote = quotes.iloc[row]
    code, printed = run(
        "explain", "--tariff", files["tariff"], "--orders", small / f"orders.{kind}",
        "--merchants", small / f"merchants.{kind}", "--order-id", int(quote["order_id"]),
    )  # fmt: skip
    assert code == 0
    paid = f"merchant {quote['merchant_fen']} + platform {quote['platform_fen']} + insurer {quote['insurer_fen']}"
    assert printed.splitlines()[-1] == f"list {quote['list_fen']} fen = {paid}"


def test_explain_takes_an_order_as_json(files, small):
    order = pq.read_table(small / "orders.parquet").slice(7, 1).to_pandas().iloc[0]
    text = order.astype(object).drop("order_date").to_json(date_format="iso")
    common = ["explain", "--tariff", files["tariff"], "--merchants", files["merchants"]]
    by_id = run(*common, "--orders", files["orders"], "--order-id", order["order_id"])
    assert by_id[0] == 0
    assert run(*common, "--json", text) == by_id


def test_version(capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"freightrisk {freightrisk.__version__}\n"


def test_the_package_runs_as_a_module(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["freightrisk", "explain", "--tariff", "none.json", "--json", "{}"])
    with pytest.raises(SystemExit) as exit_:
        runpy.run_module("freightrisk", run_name="__main__")
    assert exit_.value.code == 2
    assert "none.json" in capsys.readouterr().err


BAD_CALLS = [
    ("demo --orders 10 --out {new}/demo", "--orders is 10; it must be a whole number in"),
    ("demo --threads 0 --out {new}/demo", "threads is 0"),
    ("demo --out {new}/no/folder", "create it first"),
    ("demo --out {tariff}", "which is not a folder"),
    ("price --tariff {new}/none.json --orders {orders} --out {new}/q.parquet", "none.json' cannot be read"),
    ("price --tariff {cut} --orders {orders} --out {new}/q.parquet", "is truncated or corrupt"),
    ("price --tariff {orders} --orders {orders} --out {new}/q.parquet", "orders.parquet' is truncated or corrupt"),
    ("price --tariff {tariff} --orders {new}/none.parquet --out {new}/q.parquet", "there is no file"),
    ("price --tariff {tariff} --orders {tariff} --out {new}/q.parquet", "not readable as Parquet"),
    ("price --tariff {tariff} --orders {orders} --out {new}/q.parquet", "missing columns? .*'experience_score'"),
    ("price --tariff {tariff} --orders {bad} --merchants {merchants} --out {new}/q.parquet", "'zone'.*missing"),
    ("price --tariff {tariff} --orders {ragged} --merchants {merchants} --out {new}/q.parquet", "readable as CSV"),
    ("price --tariff {tariff} --orders {orders} --out {orders}", "is also an input"),
    ("price --tariff {tariff} --orders {orders} --out {new}", "is a folder"),
    ("price --tariff {tariff} --orders {orders} --out {new}/q.xlsx", "give the name of a .parquet or .csv file"),
    ("price --tariff {tariff} --orders {orders} --out {new}/no/q.parquet", "create it first"),
    ("price --tariff {tariff} --orders {orders} --out {new}/q.parquet --keep id", "missing column 'id'"),
    ("price --tariff {tariff} --orders {quotes} --out {new}/q.parquet --keep list_fen", "'list_fen', which is also"),
    ("price --tariff {tariff} --orders {orders} --out {new}/q.parquet --batch a", "need each other"),
    ("price --tariff {tariff} --orders {orders} --out {new}/q.parquet --ledger {new}/l.db", "need each other"),
    ("price --tariff {tariff} --orders {orders} --out {new}/l --ledger {new}/l --batch a", "is also an input"),
    ("settle --tariff {tariff} --claims {claims} --out {claims}", "is also an input"),
    ("settle --tariff {tariff} --claims {claims} --out {new}/s.csv --totals {new}/s.csv", "another output"),
    ("settle --tariff {tariff} --claims {claims} --out {new}/s.xlsx", "give the name of a .parquet or .csv file"),
    ("settle --tariff {tariff} --claims {orders} --out {new}/s.csv", "missing columns 'report_date', 'freight'"),
    ("settle --tariff {tariff} --claims {claims} --out {new}/s.csv --keep no", "missing column 'no'"),
    ("settle --tariff {tariff} --claims {claims} --out {new}/s.csv --payers {config}", "payers '.*' cannot be read"),
    ("settle --tariff {tariff} --claims {claims} --out {new}/s.csv --aggregate 0", "amount of an aggregate limit is 0"),
    (
        "settle --tariff {tariff} --claims {claims} --out {new}/s.csv --by order",
        "--by and --period need --agg",
    ),
    ("settle --tariff {tariff} --claims {claims} --out {new}/s.csv --period day", "need --aggregate; give the limit"),
    ("settle --tariff {tariff} --claims {claims} --out {new}/s.csv --aggregate 9", "missing columns? 'merchant_id'"),
    ("settle --tariff {tariff} --claims {claims} --out {new}/s.csv --totals {tariff}", "is also an input"),
    ("settle --tariff {tariff} --claims {claims} --out {new}/s.csv --totals {cut}", "truncated or corrupt"),
    (
        "price --tariff {tariff} --orders {orders} --out {new}/q.csv --ledger {tariff} --batch a",
        "file is not a database",
    ),
    ("explain --tariff {tariff} --order-id 7", "--order-id was given without --orders"),
    ("explain --tariff {tariff} --orders {orders} --order-id x7", "is 'x7' in 0 of 20,000 rows"),
    ("explain --tariff {tariff} --json [1]", "--json is not one order"),
    ("explain --tariff {tariff} --json " + "[" * 5_000, "--json is not one order: brackets are nested too deeply"),
    ('explain --tariff {tariff} --json {{"zone":"far","zone":"near"}}', "--json is not one order: key 'zone' is given"),
    ('explain --tariff {tariff} --json {{"zone":"far"}}', "missing columns 'industry'"),
    ('explain --tariff {tariff} --merchants {merchants} --json {{"zone":"far"}}', "missing column 'merchant_id'"),
    (
        'explain --tariff {tariff} --merchants {merchants} --json {{"merchant_id":-5}}',
        "'merchant_id' is -5, which names no row of merchants",
    ),
    ("fit --config {new}/none.toml --out {new}/t.json", "none.toml' cannot be read"),
    ("fit --config {bare} --out {new}/t.json", "no orders were given"),
    ("fit --config {bare} --orders {orders} --claims {claims} --out {new}/t.json", "needs a valuation date"),
    ("fit --config {config} --out {new}/t.json --relativities {new}/t.json", "another output"),
    ("fit --config {config} --out {config}", "is also an input"),
    ("fit --config {config} --out {new}/t.json --frequency {new}/f.json --severity {new}/f.json", "another output"),
    ("fit --config {config} --claims {orders} --out {new}/t.json", "claims: missing columns"),
]


@pytest.fixture(scope="module")
def places(files, small, tmp_path_factory):
    """Return the demo's files and some damaged ones."""
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "cut.json").write_bytes(files["tariff"].read_bytes()[:-100])
    (folder / "ragged.csv").write_text("order_id,zone\n1,far\n2\n")
    (folder / "bare.toml").write_text('factors = [{kind = "factor", name = "zone"}]\nfrequency = {min_age_days = 9}\n')
    bad = pd.read_csv(small / "orders.csv")
    bad.loc[[4, 9], "zone"] = None
    bad.to_csv(folder / "bad.csv", index=False)
    damaged = {"cut": "cut.json", "ragged": "ragged.csv", "bare": "bare.toml", "bad": "bad.csv"}
    return files | {name: folder / file for name, file in damaged.items()}


@pytest.mark.parametrize(("call", "message"), BAD_CALLS)
def test_bad_calls_end_in_one_line_and_write_nothing(call, message, places, tmp_path, capsys):
    before = {path: path.read_bytes() for path in places.values()}
    arguments = call.format(**{name: str(path) for name, path in places.items()}, new=str(tmp_path)).split(" ")
    assert cli.main(arguments) == 2
    said = capsys.readouterr().err
    errors = [line for line in said.splitlines() if line.startswith("freightrisk: ")]
    assert len(errors) == 1
    assert "Traceback" not in said
    assert re.search(message, errors[0]), errors[0]
    assert list(tmp_path.iterdir()) == []
    assert {path: path.read_bytes() for path in places.values()} == before


@pytest.mark.parametrize(
    "arguments",
    [[], ["prize"], ["explain", "--tariff", "t.json"], ["fit", "--config", "c", "--out", "t", "--as-of", "1.9.2026"]],
)
def test_wrong_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    assert exit_.value.code == 2
    assert capsys.readouterr().err.startswith("usage: freightrisk")


@pytest.mark.parametrize(("error", "code"), [(OSError("no space left"), 2), (KeyboardInterrupt(), 130)])
def test_a_failure_while_writing_keeps_the_old_file(error, code, files, small, tmp_path, monkeypatch, capsys):
    old = tmp_path / "q.parquet"
    old.write_bytes(b"old quotes")

    def fail(table, path, **_):
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(cli, "write_table", fail)
    arguments = ["price", "--tariff", files["tariff"], "--orders", small / "orders.parquet",
                 "--merchants", small / "merchants.parquet", "--out", old]  # fmt: skip
    assert cli.main([str(argument) for argument in arguments]) == code
    assert capsys.readouterr().err.splitlines()[-1].startswith("freightrisk: ")
    assert [path.name for path in tmp_path.iterdir()] == ["q.parquet"]
    assert old.read_bytes() == b"old quotes"


@pytest.fixture
def days(files, tmp_path):
    """Return a tariff with a budget that two of three days' orders spend, and the days' orders."""
    live = Subsidy("live", "platform", fixed_fen=5, budget_fen=700)
    load_tariff(files["tariff"]).with_subsidies([live]).save(tmp_path / "limited.json")
    table = pq.read_table(files["orders"])
    for day in range(3):
        pq.write_table(table.slice(100 * day, 100), tmp_path / f"{day}.parquet")
    pyarrow.csv.write_csv(table.slice(200, 100), tmp_path / "2.csv")
    return tmp_path


def price_day(files, days, day, *more, suffix="parquet"):
    return run("price", "--tariff", days / "limited.json", "--orders", days / f"{day}.{suffix}",
               "--merchants", files["merchants"], "--out", days / f"q{day}.parquet", *more)  # fmt: skip


def test_budgets_go_on_from_run_to_run_in_a_ledger(files, days):
    tariff, known = load_tariff(days / "limited.json"), Balances()
    merchants = pd.read_parquet(files["merchants"])
    for day, suffix in enumerate(["parquet", "parquet", "csv"]):
        expected = tariff.price(pd.read_parquet(days / f"{day}.parquet"), merchants=merchants, balances=known)
        for _ in range(2):  # a run that is repeated spends nothing
            more = ["--ledger", days / "spending.db", "--batch", f"day {day}"]
            code, printed = price_day(files, days, day, *more, suffix=suffix)
            assert code == 0
            assert "--ledger" not in printed
            assert_frame_equal(pd.read_parquet(days / f"q{day}.parquet").drop(columns="order_id"), expected)
    assert known.spent == {"live": 700}
    with Ledger(days / "spending.db") as ledger:
        assert ledger.spending().loc["live"].tolist() == ["platform", 700, 700, 0, 0]
        assert set(ledger.batches()["state"]) == {"spent"}


def test_the_ledger_command_shows_settles_and_refuses(files, days, capsys):
    where, tariff = days / "spending.db", load_tariff(days / "limited.json")
    merchants = pd.read_parquet(files["merchants"])
    with Ledger(where) as ledger:
        paid = {}
        for day in range(2):
            orders = pd.read_parquet(days / f"{day}.parquet")
            quotes = ledger.price(tariff, orders, batch=f"day {day}", merchants=merchants)
            paid[day] = dict(zip(orders["order_id"], quotes["platform_fen"], strict=True))
    total = {day: sum(fen.values()) for day, fen in paid.items()}

    def told(*more):
        code, printed = run("ledger", where, *more)
        assert code == 0
        rows = [line.split() for line in printed.splitlines()]
        return {row[0]: row[1:] for row in rows if row}, printed

    rows, printed = told()
    assert "2 batches" in printed
    assert rows["live"] == ["platform", "700", "0", str(sum(total.values())), str(700 - sum(total.values()))]
    assert "reserved" in printed
    told("--confirm", "day 0")
    rows, _ = told("--release", "day 1")
    assert rows["live"] == ["platform", "700", str(total[0]), "0", str(700 - total[0])]
    some = [order for order, fen in paid[0].items() if fen][:2]
    rows, printed = told("--reverse", *some)
    back = sum(paid[0][order] for order in some)
    assert printed.startswith(f"given back {back} fen of 2 orders")
    assert rows["live"][2] == str(total[0] - back)
    for more, message in [
        ((where, "--release", "day 0"), "is confirmed; reverse its orders instead"),
        ((where, "--confirm", "none"), "there is no batch 'none' in the ledger"),
        ((days / "none.db",), "there is no ledger '.*none.db'; freightrisk price --ledger makes one"),
        ((days / "limited.json",), "freightrisk: "),
        (("x" * 300,), "the ledger is 'x*', which cannot be found"),
    ]:
        assert cli.main(["ledger", *map(str, more)]) == 2
        assert re.search(message, capsys.readouterr().err)
    assert not (days / "none.db").exists()
    for where in (
        "postgresql:/me:hunter2@host/a",
        "postgresql+psycopg//me:hunter2@host/a",
        "mysql://me:hunter2@host/a",
    ):
        assert cli.main(["ledger", where]) == 2
        assert "hunter2" not in capsys.readouterr().err


def test_a_run_without_a_ledger_says_that_budgets_began_full(files, days, small):
    for day in range(2):
        code, printed = price_day(files, days, day)
        assert code == 0
        assert cli.NEW_BUDGETS in printed.splitlines()
        assert pd.read_parquet(days / f"q{day}.parquet")["platform_fen"].sum() > 350
    arguments = ["price", "--tariff", files["tariff"], "--orders", small / "orders.parquet",
                 "--merchants", small / "merchants.parquet", "--out", days / "q.parquet"]  # fmt: skip
    for more in ([], ["--ledger", days / "spending.db", "--batch", "a"]):
        code, printed = run(*arguments, *more)
        assert code == 0
        assert "budgets and caps" not in printed  # this tariff has none


@pytest.mark.parametrize(("error", "code"), [(OSError("no space left"), 2), (KeyboardInterrupt(), 130)])
@pytest.mark.parametrize("was_priced", [False, True])
def test_a_failure_while_writing_gives_the_money_back(error, code, was_priced, files, days, monkeypatch):
    more = ["--ledger", days / "spending.db", "--batch", "a"]
    if was_priced:
        assert price_day(files, days, 0, *more)[0] == 0
    else:
        Ledger(days / "spending.db").close()

    def state():
        with Ledger(days / "spending.db") as ledger:
            return ledger.batches().to_dict("index"), ledger.spending()["spent_fen"].sum()

    def fail(table, path, **_):
        raise error

    before = state()
    with monkeypatch.context() as patch:
        patch.setattr(cli, "write_table", fail)
        assert price_day(files, days, 0, *more)[0] == code
    assert state() == before
    assert price_day(files, days, 0, *more)[0] == 0
    assert state()[0]["a"]["state"] == "spent"


def test_a_run_stopped_behind_its_file_has_spent(files, days, monkeypatch):
    replace = os.replace

    def stopped(part, final):
        replace(part, final)
        _thread.interrupt_main()

    monkeypatch.setattr(os, "replace", stopped)
    assert price_day(files, days, 0, "--ledger", days / "spending.db", "--batch", "a")[0] == 130
    paid = pd.read_parquet(days / "q0.parquet")["platform_fen"].sum()
    with Ledger(days / "spending.db") as ledger:
        assert ledger.spending().loc["live"].tolist() == ["platform", 700, paid, 0, 700 - paid]


def test_an_interrupt_anywhere_reserves_nothing_and_says_what_stands(files, days):
    def go(at, database):
        told = io.StringIO()
        more = ["--ledger", days / database, "--batch", "a"]
        order = ["price", "--tariff", days / "limited.json", "--orders", days / "0.parquet", "--merchants",
                 files["merchants"], "--out", days / "q0.parquet", *more]  # fmt: skip
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(told), Interrupt(at) as counted:
            code = cli.main([str(one) for one in order])
        return code, told.getvalue(), counted.lines

    lines, codes = go(None, "counted.db")[2], set()
    for at in sorted({*np.linspace(50, lines - 50, 25, dtype=int).tolist(), *range(lines - 160, lines - 10, 5)}):
        (days / "q0.parquet").unlink(missing_ok=True)
        code, said, _ = go(at, f"{at}.db")
        is_there = (days / "q0.parquet").exists()
        with Ledger(days / f"{at}.db") as ledger:
            states = ledger.batches()["state"].to_list()
        assert states == (["spent"] if is_there else []), f"line {at} of {lines}"
        if code == 130:
            assert said.endswith("q0.parquet had been written\n" if is_there else "nothing was written\n")
        codes.add((code, is_there))
    assert {(130, False), (130, True)} <= codes <= {(130, False), (130, True), (0, True)}


def test_what_cannot_be_printed_undoes_nothing(files, days, monkeypatch):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    for stream in (Full(), None):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            order = ["price", "--tariff", files["tariff"], "--orders", days / "0.parquet", "--merchants",
                     files["merchants"], "--out", days / "q.parquet"]  # fmt: skip
            assert cli.main([*map(str, order)]) == 0
        (days / "q.parquet").unlink()


def test_a_demo_whose_end_cannot_be_printed_stands(tmp_path, monkeypatch):
    class FullAtTheEnd(io.StringIO):
        def write(self, text):
            if "Written to" in text:
                raise OSError(28, "No space left on device")
            return super().write(text)

    monkeypatch.setattr(sys, "stdout", FullAtTheEnd())
    assert cli.main(["demo", "--orders", "1000", "--out", str(tmp_path / "demo")]) == 0
    assert {path.name for path in (tmp_path / "demo").iterdir()} == set(_demo.FILES)


def test_a_failed_demo_leaves_no_folder(tmp_path, monkeypatch):
    def fail(table, path, **_):
        raise OSError("no space left")

    monkeypatch.setattr(_demo, "write_table", fail)
    assert run("demo", "--orders", 5_000, "--out", tmp_path / "demo")[0] == 2
    assert list(tmp_path.iterdir()) == []


BAD_CONFIGS = [
    ("floor_fen = 1 ", "floor = 1 ", "the top level: unknown key 'floor'; the keys there are 'factors', 'name'"),
    ("floor_fen = 1 ", "floor_fen = -1 ", "floor_fen is -1"),
    ("floor_fen = 1 ", "floor_fen = 0.5 ", r"Expected `int`, got `float` - at `\$.floor_fen`"),
    ("floor_fen = 1 ", "floor_fen = ", "is not valid TOML"),
    ("floor_fen = 1 ", "floor_fen = 1\nfloor_fen = 2 ", "is not valid TOML"),
    ("floor_fen = 1 ", f"floor_fen = {'[' * 5_000} ", "nests brackets too deeply"),
    ("as_of = 2026-07-01", "as_of = 2026", r"Expected `date \| null`, got `int` - at `\$.as_of`"),
    ('name = "demo return-freight cover"', 'name = ""', "name is ''"),
    ('merchants = "merchants.parquet"', 'sellers = "s"', "data: unknown key 'sellers'.*'merchants'"),
    ('freight = "freight"', 'cost = "freight"', "columns: unknown key 'cost'.*'report_date', 'freight'"),
    (
        'kind = "hierarchy"',
        'kind = "tree"',
        "entry 1 .'category_path'.: kind is 'tree'; .*'factor', 'band', 'hierarchy'",
    ),
    (
        'kind = "hierarchy"\n',
        "",
        "entry 1 .'category_path'.: 'kind' is absent; .*'factor', 'band', 'hierarchy'",
    ),
    ('columns = ["industry", "category", "leaf"]', "columns = []", "columns of hierarchy 'category_path'"),
    ("edges = [20, 50,", "bands = [20, 50,", "entry 5 .'price'.: unknown key 'bands'.*'edges'"),
    ("valid = [1, 5]", "range = [1, 5]", "entry 7 .'experience_score'.: unknown key 'range'.*'edges', 'column'"),
    ("edges = [20, 50,", "edges = [50, 20,", "edges of band 'price'"),
    ('name = "zone"\nunseen = "parent"', 'name = "zone"\nunseen = "base"', "unseen of factor 'zone' is 'base'"),
    ('name = "zone"\n', 'name = "channel"\n', "declares 'channel' twice"),
    ('factors = ["zone", "weight_kg"]', 'factors = ["region"]', "severity.factors names 'region', which no"),
    ('family = "gamma"', 'family = "normal"', "family of a severity model is 'normal'"),
    ("min_age_days = 60", "min_age_days = -1", "frequency.min_age_days is -1"),
    ("min_age_days = 60", "mature_days = 60", "frequency: unknown key 'mature_days'.*'min_age_days'"),
    ("max_claims = 1 ", 'max_claims = "many" ', "max_claims is 'many'"),
    ("limit = 25.0", "limit = -25.0", "limit is -25"),
    ("limit = 25.0", "cap = 25.0", "cover: unknown key 'cap'; the keys there are 'max_claims', 'limit'"),
    ("limit = 25.0", 'limit = {by = "zone"}', "cover.limit: unknown key 'by'.*'factor', 'values'"),
    ("levy = 0.01", "tax = 0.01", "loadings: unknown key 'tax'; the keys there are 'fraud_load'"),
    ("levy = 0.01", "levy = 0.99", "channel \\+ levy \\+ profit"),
    ("cap_fen = 50", "cap = 50", "subsidies, entry 1 .'live-stream campaign'.: unknown key 'cap'.*'cap_fen'"),
    ("fixed_fen = 10", "fixed_fen = 10\nprice_to_fen = 1", "subsidy 'new merchant' has fixed_fen and price_to_fen"),
    ("start = 2026-01-01", "start = 2026-01-01\nend = 2025-01-01", "starts on 2026-01-01, after its end"),
    ("{ above = 4.8 }", "{ over = 4.8 }", "subsidies, entry 2 .*unknown key 'over'.*'above', 'at_most'"),
    ('{ segment = ["new"] }', '{ segment = "new" }', r"got `str` - at `\$.subsidies\[2\].where"),
]


SEVERITY = 'factors = ["zone", "weight_kg"]'


def test_config_names_effects():
    effects = """factors = [
        "channel", {effect = "credibility", name = "category_path", variance = [0.2, 0.1, 0.05]},
        {effect = "smooth", name = "weight_kg", monotone = "increasing"}, {effect = "free", name = "price"},
        {effect = "given", name = "campaign", relativities = {none = 1.0, double_11 = 1.4}},
        {effect = "interaction", first = "zone", second = "weight_kg", variance = 0.01},
    ]"""
    plan = parse_plan(CONFIG.replace(SEVERITY, effects), source="f.toml", folder=Path())
    assert list(plan.severity.factors) == [
        "channel", Credibility("category_path", variance=[0.2, 0.1, 0.05]), Smooth("weight_kg", monotone="increasing"),
        Free("price"), Given("campaign", {"none": 1.0, "double_11": 1.4}),
        Interaction("zone", "weight_kg", variance=0.01),
    ]  # fmt: skip


def test_fit_with_effects(files, tmp_path):
    thin = '{effect = "credibility", name = "category_path"}, {effect = "smooth", name = "experience_score"}]'
    before, named, after = re.split(r"(?<=\n)(factors = \[.*\])(?=\nmin_age_days)", CONFIG)
    assert "category_path" in named
    (tmp_path / "c.toml").write_text(f'{before}factors = ["channel", {thin}{after}')
    inputs = [part for name in ("orders", "claims", "merchants") for part in (f"--{name}", files[name])]
    code, printed = run("fit", "--config", tmp_path / "c.toml", *inputs, "--out", tmp_path / "t.json")
    assert code == 0
    assert "category_path (" in printed
    assert "credibility)" in printed


@pytest.mark.parametrize(("wrong", "message"), [
    ('factors = [{effect = "credible", name = "zone"}]', "effect is 'credible'; .*'credibility', 'smooth', 'given'"),
    ('factors = [{name = "zone"}]', "'effect' is absent; .*'free', 'credibility'"),
    ('factors = [{effect = "smooth", name = "zone", degree = 2}]', "unknown key 'degree'; .*'effect', 'name', 'order'"),
    ('factors = [{effect = "credibility", name = "leaf"}]', "severity.factors names 'leaf', which no"),
    ('factors = [{effect = "smooth", name = "weight_kg", order = 9}]', "order"),
    ('factors = [{effect = "interaction", first = "zone", second = "leaf"}]', "severity.factors names 'leaf'"),
])  # fmt: skip
def test_mistakes_in_effects_are_named(wrong, message):
    with pytest.raises(InputError, match=message) as error:
        parse_plan(CONFIG.replace(SEVERITY, wrong), source="f.toml", folder=Path())
    assert str(error.value).startswith("configuration 'f.toml'")


@pytest.mark.parametrize(("right", "wrong", "message"), BAD_CONFIGS)
def test_config_mistakes_are_named(right, wrong, message):
    assert CONFIG.count(right) == 1
    with pytest.raises(InputError, match=message) as error:
        parse_plan(CONFIG.replace(right, wrong), source="f.toml", folder=Path())
    assert str(error.value).startswith("configuration 'f.toml'")


def test_config_becomes_library_objects(tmp_path):
    text = """
    as_of = 2026-01-02
    cover = {max_claims = "all", limit = 9, first_weight_fee = {factor = "zone", values = {near = 5}, default = 8}}
    columns = {ship_date = "", exposure = "orders"}
    data = {orders = "o.parquet"}
    [[factors]]
    kind = "factor"
    name = "zone"
    column = "route"
    [[factors]]
    kind = "band"
    name = "price"
    edges = 4
    valid = [0, inf]
    """
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "c.toml").write_text(text)
    plan = read_plan(tmp_path / "sub" / "c.toml")
    assert plan.data.orders == tmp_path / "sub" / "o.parquet"
    assert plan.data.claims is None
    assert plan.factors == (
        freightrisk.Factor("zone", column="route"),
        freightrisk.Band("price", 4),
    )
    fee = freightrisk.ByLevel("zone", {"near": 5.0}, default=8.0)
    assert plan.cover == freightrisk.Cover(max_claims=None, limit=9.0, first_weight_fee=fee)
    assert plan.loadings == freightrisk.Loadings()
    assert plan.book_columns["ship_date"] is None
    assert plan.book_columns["exposure"] == "orders"
    assert plan.book_columns["freight"] == "freight"


# Programmes


@pytest.fixture(scope="module")
def programmes(files, tmp_path_factory):
    """Return the document of a programme of two covers with fees, and that of the demo's tariff alone."""
    folder, tariff = tmp_path_factory.mktemp("programmes"), load_tariff(files["tariff"])
    transit = EventCover("transit", frequency=0.01, severity=30.0, cover=freightrisk.Cover(limit=20.0)).tariff()
    fees = [Fee("service", fixed_fen=3, where={"zone": ["far"]}), Fee("pickup", "platform", "courier", fixed_fen=2)]
    rules = [freightrisk.ClaimPayer("platform", where={"fault": ["not_merchant"]})]
    found = {
        "two": Programme("1688", [tariff, transit], fees=fees, claim_payers=rules),
        "one": Programme("p", tariff),
    }
    for name, programme in found.items():
        programme.save(folder / f"{name}.json")
    return {name: (programme, folder / f"{name}.json") for name, programme in found.items()}


def without_title(printed):
    """Return printed lines without those of a programme's title and of files."""
    lines = printed.splitlines()
    if lines[0].startswith("Programme "):
        lines = lines[lines.index("") + 1 :]
    return [line for line in lines if not line.startswith(("wrote ", "Worksheet"))]


def test_a_programme_of_one_tariff_prints_and_writes_what_the_tariff_does(files, faults, programmes, small, tmp_path):
    orders = ["--orders", small / "orders.parquet", "--merchants", files["merchants"]]
    claims = ["--claims", faults / "claims.parquet", "--orders", files["orders"], "--payers", faults / "payers.json"]
    order = str(pq.read_table(small / "orders.parquet").column("order_id")[3].as_py())
    for command, told, name in (
        ("price", orders, "q.csv"),
        ("settle", claims, "s.csv"),
        ("explain", [*orders, "--order-id", order], None),
    ):
        found = []
        for kind, document in (("tariff", files["tariff"]), ("programme", programmes["one"][1])):
            (tmp_path / kind).mkdir(exist_ok=True)
            out = [] if name is None else ["--out", tmp_path / kind / name]
            code, printed = run(command, "--tariff", document, *told, *out)
            assert code == 0
            found.append((without_title(printed), out and out[1].read_bytes()))
        assert found[0] == found[1]


def test_price_shows_the_covers_and_the_fees_of_a_programme(files, programmes, small, tmp_path):
    programme, document = programmes["two"]
    out = tmp_path / "q.parquet"
    told = ["price", "--tariff", document, "--orders", small / "orders.parquet", "--merchants", files["merchants"]]
    code, printed = run(*told, "--out", out)
    assert code == 0
    orders, merchants = (pd.read_parquet(path) for path in (small / "orders.parquet", files["merchants"]))
    expected = programme.price(orders, merchants=merchants)
    found = pd.read_parquet(out)
    assert_frame_equal(found.drop(columns="order_id"), expected)
    assert tuple(expected) == programme.quote_columns
    lines = [line.split() for line in printed.splitlines()]
    assert lines[0][:2] == ["Programme", "'1688':"]
    claims = f"{expected['transit: expected_claims'].sum():,.1f}"
    money = [f"{expected[f'transit: {name}'].sum():,.2f}" for name in ("pure_premium", "technical_premium")]
    assert ["transit", claims, *money] in lines
    service, pickup = (expected[f"fee: {fee.name}"] for fee in programme.fees)
    assert 0 < (service > 0).sum() < len(orders)
    total = f"{service.sum() / 100:,.2f}"
    assert ["service", "merchant", "platform", total, f"{(service > 0).sum():,}"] in lines
    assert ["pickup", "platform", "courier", f"{pickup.sum() / 100:,.2f}", f"{len(orders):,}"] in lines
    assert ["fees", total] in lines
    assert ["in", "total", f"{expected['merchant_total_fen'].sum() / 100:,.2f}"] in lines
    assert any(line[:2] == ["with", "fees"] for line in lines)
    assert max(map(len, printed.splitlines())) <= 110 + len(str(out))
    kept = orders.assign(**{"fee: service": 1, "transit: pure_premium": 1})
    kept.to_parquet(tmp_path / "kept.parquet")
    for name in ("fee: service", "transit: pure_premium"):
        told[4] = tmp_path / "kept.parquet"
        assert run(*told, "--out", tmp_path / "none.csv", "--keep", name)[0] == 2
        assert not (tmp_path / "none.csv").exists()


def test_a_ledger_and_explain_take_programmes(files, programmes, small, tmp_path):
    document = programmes["two"][1]
    told = ["--tariff", document, "--orders", small / "orders.parquet", "--merchants", files["merchants"]]
    code, printed = run("price", *told, "--ledger", tmp_path / "l.db", "--batch", "a", "--out", tmp_path / "l.parquet")
    assert code == 0
    assert ["service", "merchant", "platform"] in [line.split()[:3] for line in printed.splitlines()]
    row = pd.read_parquet(tmp_path / "l.parquet").iloc[5]
    code, printed = run("explain", *told, "--order-id", int(row["order_id"]))
    assert code == 0
    assert "Worksheet of programme '1688'" in printed
    assert printed.splitlines()[-1].split()[:3] == ["merchant", "total", str(row["merchant_total_fen"])]


def test_settle_shows_the_claims_of_each_cover(files, faults, programmes, tmp_path):
    programme, document = programmes["two"]
    claims = pd.read_parquet(faults / "claims.parquet")
    claims["cover"] = np.where(np.arange(len(claims)) % 3 == 0, "transit", programme.lead.name)
    told = ["settle", "--tariff", document, "--orders", files["orders"]]
    expected = freightrisk.settle(programme, claims, orders=pd.read_parquet(files["orders"]))
    claims = claims.sort_values(["report_date", "claim_id"])
    parts = []
    for k, part in enumerate([claims[:200], claims[200:]]):
        part.rename(columns={"cover": "kind"}).to_parquet(tmp_path / f"{k}.parquet", index=False)
        code, printed = run(*told, "--claims", tmp_path / f"{k}.parquet", "--cover-column", "kind", "--totals",
                            tmp_path / "t.json", "--out", tmp_path / f"s{k}.parquet")  # fmt: skip
        assert code == 0
        parts.append(pd.read_parquet(tmp_path / f"s{k}.parquet"))
        of = parts[-1][parts[-1]["cover"] == "transit"]
        line = ["transit", f"{len(of):,}", *(f"{of[name].sum() / 100:,.2f}" for name in ("freight_fen", "paid_fen"))]
        assert line in [one.split() for one in printed.splitlines()]
    found = pd.concat(parts).drop(columns=["order_id", "claim_id"])
    assert_frame_equal(found.set_index(claims.index).sort_index(), expected.claims)
    claims.to_parquet(tmp_path / "c.parquet", index=False)
    out = tmp_path / "none.csv"
    assert run(*told, "--claims", tmp_path / "c.parquet", "--out", out, "--keep", "cover")[0] == 2
    assert run(*told, "--claims", tmp_path / "c.parquet", "--out", out, "--aggregate", 9)[0] == 2
    assert not out.exists()
