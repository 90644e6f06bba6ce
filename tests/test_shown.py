"""What leaves the library as text: no sign that a terminal obeys, no cell that a spreadsheet runs, no secret."""

import contextlib
import csv
import datetime as dt
import io
import json
import pickle
import re
import warnings
from dataclasses import replace
from pathlib import Path
from unicodedata import category

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import freightrisk
from freightrisk import (
    Balances,
    Band,
    ByLevel,
    Cover,
    ExperienceRating,
    Factor,
    FreightRiskError,
    FreightRiskWarning,
    FreightSchedule,
    FrequencyModel,
    Hierarchy,
    InputError,
    Loadings,
    OrderBook,
    ScheduleSeverity,
    Settlement,
    SeverityModel,
    Subsidy,
    Tariff,
    cli,
    load_tariff,
    price_parquet,
)
from freightrisk._files import write_report
from freightrisk._shown import cell, shown
from freightrisk.campaigns import load_campaigns
from freightrisk.tariff.document import parse_tariff
from freightrisk.tariff.parts import document_of
from strategies import changed, covers_with_rules

EVIL = "near\x1b]0;owned\x07\r\n\u202e退货\x9b2J"
SAFE = r"near\x1b]0;owned\x07\r\n\u202e退货\x9b2J"
KEY = "k3y-that-nobody-may-see"
FORMULAS = ("=1+1", "+cmd|' /C calc'!A0", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "＝1+1")
ORDERS = pd.DataFrame(
    {
        "order_id": np.arange(400) + 1,
        "zone": np.resize([EVIL, "=2+3", "far"], 400),
        "channel": np.resize(["live", "search"], 400),
        "merchant_id": np.resize(["m1", EVIL], 400),
        "ship_date": pd.Timestamp("2026-06-01"),
        "price": 20.0,
    }
)

CLAIMS = ORDERS.iloc[::5][["order_id"]].assign(freight=8.5, report_date=pd.Timestamp("2026-06-20"))


def signs_unseen(text):
    """Return the signs of a text that a terminal obeys or that turn or break its lines."""
    return [sign for sign in text if category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp") and sign not in "\u200c\u200d"]


def book_of(factors=None):
    factors = [Factor("zone"), Factor("channel")] if factors is None else factors
    return OrderBook.from_frames(ORDERS, CLAIMS, factors=factors, as_of="2026-09-01")


@pytest.fixture(scope="module")
def tariff():
    book = book_of()
    return Tariff.build(
        FrequencyModel(["zone", "channel"]).fit(book),
        SeverityModel().fit(book),
        subsidies=[Subsidy(f"gift {EVIL}", "platform", fixed_fen=5, where={"zone": [EVIL]}, budget_fen=900)],
        rounding="dither",
        dither_key=KEY,
        name=f"tariff {EVIL}",
    )


# The two functions


@given(st.text())
def test_shown_text_has_no_sign_that_a_terminal_obeys(text):
    found = shown(text)
    assert signs_unseen(found) == []
    assert shown(found) == found
    assert not signs_unseen(text) or found != text


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"])))
def test_other_text_stays_as_it_is(text):
    assert shown(text) == text


def test_every_sign_by_itself():
    found = [chr(code) for code in range(0x110000) if shown(chr(code)) != chr(code)]
    assert found == [sign for sign in map(chr, range(0x110000)) if signs_unseen(sign)]


@pytest.mark.parametrize("text", ["退货运费险：￥８，“平台”", "наложенный", "दिल्ली", "😀👩‍👧", "a\\b", "C:\\new\\x1b"])
def test_words_of_any_script_stay(text):
    assert shown(text) == text


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_get_an_apostrophe(text):
    assert cell(text) == "'" + text


@pytest.mark.parametrize("text", ["", "a=1", "退货", "-5", "+8.5", "-1e-3", "-.5", "(-5, 2]", "'=1"])
def test_other_cells_stay(text):
    assert cell(text) == text


# Messages


@pytest.mark.parametrize("kind", [FreightRiskError, InputError, FreightRiskWarning])
def test_every_message_is_made_of_printable_signs(kind):
    error = kind(f"level '{EVIL}' is unknown")
    assert str(error) == f"level '{SAFE}' is unknown"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert str(kind()) == ""


def _renamed(document, old, new):
    return document.replace(json.dumps(old, ensure_ascii=False).encode(), json.dumps(new, ensure_ascii=False).encode())


PROVOKED = {
    "unseen level": lambda t, folder: t.price(ORDERS.assign(zone=EVIL + "x")),
    "missing column": lambda t, folder: t.price(ORDERS.rename(columns={"zone": EVIL})),
    "column asked for": lambda t, folder: t.price(ORDERS, order_id=EVIL),
    "one order": lambda t, folder: t.quote({"zone": EVIL + "x", "channel": "live", "order_id": EVIL}),
    "no order": lambda t, folder: t.quote(EVIL),
    "no frame": lambda t, folder: t.price(EVIL),
    "file that is not there": lambda t, folder: load_tariff(folder / EVIL),
    "campaigns that are not there": lambda t, folder: load_campaigns(folder / EVIL),
    "Parquet that is not there": lambda t, folder: price_parquet(t, folder / EVIL, folder / "out.parquet"),
    "folder that is not there": lambda t, folder: t.save(folder / EVIL / "tariff.json"),
    "rounding": lambda t, folder: changed(t, rounding=EVIL),
    "key without a use": lambda t, folder: changed(t, rounding="half_even"),
    "key with a zero": lambda t, folder: changed(t, dither_key=KEY + "\0"),
    "key of another type": lambda t, folder: changed(t, dither_key=[KEY]),
    "key in bytes": lambda t, folder: changed(t, dither_key=KEY.encode()),
    "key cut in a document": lambda t, folder: parse_tariff(document_of(t).partition(KEY.encode())[0] + KEY.encode()),
    "key given twice": lambda t, folder: parse_tariff(
        document_of(t).replace(b'"dither_key"', b'"dither_key": "' + KEY.encode() + b'", "dither_key"')
    ),
    "key that is a list": lambda t, folder: parse_tariff(_renamed(document_of(t), KEY, [KEY])),
    "key changed": lambda t, folder: parse_tariff(document_of(t).replace(KEY.encode(), KEY.encode() + b"2")),
    "key of a zero": lambda t, folder: parse_tariff(_renamed(document_of(t), KEY, KEY + "\0")),
    "unknown field": lambda t, folder: parse_tariff(_renamed(document_of(t), "floor_fen", EVIL)),
    "schema": lambda t, folder: parse_tariff(_renamed(document_of(t), "freightrisk/tariff", EVIL)),
    "source": lambda t, folder: parse_tariff(b"{", source=EVIL),
    "band": lambda t, folder: Band(EVIL, [2, 1]),
    "hierarchy": lambda t, folder: Hierarchy(EVIL, []),
    "fee": lambda t, folder: ByLevel("zone", {EVIL: -1.0}),
    "limit of no level": lambda t, folder: replace(t, cover=Cover(limit=ByLevel("zone", {EVIL + "x": 1.0}))),
    "limit of no factor": lambda t, folder: replace(t, cover=Cover(limit=ByLevel(EVIL, {"a": 1.0}))),
    "loadings": lambda t, folder: Loadings(channel=EVIL),
    "payer": lambda t, folder: Subsidy("rule", EVIL, fixed_fen=1),
    "two rules": lambda t, folder: t.with_subsidies([Subsidy(EVIL, "platform", fixed_fen=1)] * 2),
    "rule amount": lambda t, folder: Subsidy(EVIL, "platform", fixed_fen=EVIL),
    "rule dates": lambda t, folder: Subsidy(EVIL, "platform", fixed_fen=1, start=EVIL),
    "balances": lambda t, folder: Balances(spent={EVIL: EVIL}),
    "balances of a merchant": lambda t, folder: Balances(spent_by_merchant={"a": {(EVIL, EVIL): 1}}),
    "modification": lambda t, folder: ExperienceRating([], {EVIL: -1.0}, "1"),
    "order ids": lambda t, folder: t.price(ORDERS.assign(order_id=[[EVIL]] * len(ORDERS))),
    "dates": lambda t, folder: t.price(ORDERS.assign(ship_date=EVIL)),
    "book dates": lambda t, folder: OrderBook.from_frames(
        ORDERS.assign(ship_date=EVIL), CLAIMS, factors=[Factor("zone")], as_of="2026-09-01"
    ),
    "claims without orders": lambda t, folder: OrderBook.from_frames(
        ORDERS, CLAIMS.assign(order_id=EVIL), factors=[Factor("zone")], as_of="2026-09-01"
    ),
    "numbers": lambda t, folder: OrderBook.from_frames(
        ORDERS, CLAIMS.assign(freight=EVIL), factors=[Factor("zone")], as_of="2026-09-01"
    ),
    "factor of no book": lambda t, folder: FrequencyModel([EVIL]).fit(book_of()),
    "settlement": lambda t, folder: Settlement.of(t, ORDERS, t.price(ORDERS), merchant_id=EVIL),
}


@pytest.mark.parametrize("name", PROVOKED)
def test_no_message_holds_a_key_or_an_escape_sequence(tariff, tmp_path, name):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(FreightRiskError) as raised:
            PROVOKED[name](tariff, tmp_path)
    told = [raised.value, *(warning.message for warning in caught)]
    while told[-1] is not None:
        told.append(told[-1].__cause__)
    for text in [str(one) for one in told if one is not None]:
        assert KEY not in text
        assert signs_unseen(text) == []


def test_the_planted_name_is_in_the_messages(tariff, tmp_path):
    with pytest.raises(FreightRiskError) as raised:
        PROVOKED["unseen level"](tariff, tmp_path)
    assert SAFE in str(raised.value)


def test_warnings_show_names_as_text():
    orders = ORDERS.assign(weight_kg=2_000.0)
    book = OrderBook.from_frames(ORDERS, CLAIMS, factors=[Factor("zone", unseen="parent")], as_of="2026-09-01")
    built = Tariff.build(FrequencyModel(["zone"]).fit(book), SeverityModel().fit(book))
    with pytest.warns(FreightRiskWarning) as caught:
        built.price(orders.assign(zone=EVIL.upper()))
    assert all(signs_unseen(str(warning.message)) == [] for warning in caught)


# Objects as text


def test_objects_are_printed_on_their_own_lines(tariff):
    evil = f"zone {EVIL}"
    book = OrderBook.from_frames(
        ORDERS.rename(columns={"zone": evil}), CLAIMS, factors=[Factor(evil)], as_of="2026-09-01"
    )
    fitted = FrequencyModel([evil]).fit(book)
    fees = pd.DataFrame(
        {evil: [EVIL], "first_fee": [8.0], "step_fee": [2.0], "first_weight_g": 1000, "step_weight_g": 1000}
    )
    schedule = FreightSchedule(fees, zone=[evil])
    quotes = tariff.price(ORDERS, campaigns=True)
    for thing in (
        book,
        schedule,
        tariff,
        Settlement.of(tariff, ORDERS, quotes),
        ExperienceRating([], {"m": 1.0}, EVIL),
    ):
        assert signs_unseen(repr(thing)) == []
    assert signs_unseen(repr(fitted).replace("\n", "")) == []
    assert len(repr(fitted).splitlines()) == 7


def test_worksheets_are_printed_line_by_line(tariff, capsys):
    sheet = tariff.explain(ORDERS.iloc[0])
    assert signs_unseen("".join(sheet.rows)) == []
    assert capsys.readouterr().out.splitlines() == list(sheet.rows)
    assert SAFE in str(sheet)
    assert KEY not in str(sheet) + repr(tariff)


# The command line

PROGRESS = re.compile(r"\rpricing: [^\r\n]*")
CONFIG = """
name = "evil"
as_of = 2026-09-01
[[factors]]
kind = "factor"
name = "zone"
[[factors]]
kind = "factor"
name = "channel"
[frequency]
factors = ["zone", "channel"]
[severity]
factors = ["channel"]
"""


@pytest.fixture
def desk(tmp_path):
    """Return a folder with a planted name that holds orders, claims and a configuration, and its tariff."""
    folder = tmp_path / "desk \x1b[31m\u202e"
    folder.mkdir()
    ORDERS.to_parquet(folder / "orders.parquet")
    CLAIMS.to_parquet(folder / "claims.parquet")
    (folder / "fit.toml").write_text(CONFIG, encoding="utf-8")
    return folder


def run(*arguments):
    """Run a command and return its code and all that it printed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as stopped:
            code = stopped.code
    return code, out.getvalue() + err.getvalue()


def fit(desk):
    return run(
        "fit", "--config", desk / "fit.toml", "--orders", desk / "orders.parquet", "--claims", desk / "claims.parquet",
        "--out", desk / "tariff.json", "--relativities", desk / "relativities.csv",
    )  # fmt: skip


def test_the_command_line_prints_planted_names_as_text(desk):
    orders, tariff = desk / "orders.parquet", desk / "tariff.json"
    pd.read_parquet(orders).assign(zone="x" + EVIL).to_parquet(desk / "unseen.parquet")
    runs = [
        (0, fit(desk)),
        (0, run("price", "--tariff", tariff, "--orders", orders, "--out", desk / "quotes.csv")),
        (0, run("explain", "--tariff", tariff, "--orders", orders, "--order-id", 1)),
        (2, run("price", "--tariff", tariff, "--orders", desk / "unseen.parquet", "--out", desk / "quotes.csv")),
        (2, run("price", "--tariff", tariff, "--orders", desk / EVIL, "--out", desk / "quotes.csv")),
        (2, run("price", "--tariff", desk / EVIL, "--orders", orders, "--out", desk / "quotes.csv")),
        (2, run("price", "--tariff", tariff, "--orders", orders, "--out", desk / EVIL / "quotes.csv")),
        (2, run("explain", "--tariff", tariff, "--json", json.dumps({EVIL: EVIL}))),
        (2, run("explain", "--tariff", tariff, "--json", "{}", EVIL)),
        (2, run("fit", "--config", desk / EVIL, "--out", desk / "other.json")),
        (2, run(EVIL)),
    ]
    for k, (expected, (code, printed)) in enumerate(runs):
        assert code == expected, (k, printed)
        assert signs_unseen(PROGRESS.sub("", printed).replace("\n", "")) == [], k
    lines = runs[0][1][1].splitlines()
    assert any(r"\u202e退货\x9b2J" in line for line in lines)


def test_reports_mark_formulas_and_data_stays(desk):
    assert fit(desk)[0] == 0
    with (desk / "relativities.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.reader(file))
    assert (desk / "relativities.csv").read_bytes().startswith(b"\xef\xbb\xbf")  # by which spreadsheets know UTF-8
    cells = [text for row in rows for text in row]
    assert "'=2+3" in cells
    assert "=2+3" not in cells
    run("price", "--tariff", desk / "tariff.json", "--orders", desk / "orders.parquet", "--out", desk / "quotes.csv",
        "--keep", "order_id", "zone")  # fmt: skip
    assert set(pd.read_csv(desk / "quotes.csv")["zone"]) == set(ORDERS["zone"])


def test_a_report_keeps_numbers_and_whatever_else_it_holds(tmp_path):
    when = pd.Timestamp("2026-06-01")
    frame = pd.DataFrame({"=a": [*FORMULAS, "-5"], "n": -1.5, "k": -3, "day": when, "b": True})
    frame["c"] = pd.Categorical(["=x"] * len(frame))
    frame["none"] = None
    write_report(frame, tmp_path / "report.csv")
    with Path(tmp_path, "report.csv").open(newline="", encoding="utf-8-sig") as file:
        head, *rows = csv.reader(file)
    assert head == ["'=a", "n", "k", "day", "b", "c", "none"]
    begun = ["'" + text for text in FORMULAS if text[0] not in "\t\r"]
    assert [row[0] for row in rows] == [*begun[:4], r"\t=1", r"\r=1", begun[4], "-5"]
    assert {tuple(row[1:]) for row in rows} == {("-1.5", "-3", "2026-06-01", "True", "'=x", "")}


def test_schedules_show_their_zones_as_text():
    book = book_of()
    fees = pd.DataFrame({"zone": [EVIL, "=2+3", "far"], "first_fee": 8.0, "step_fee": 2.0})
    fees = fees.assign(first_weight_g=1000, step_weight_g=1000)
    fitted = ScheduleSeverity(FreightSchedule(fees), zone="zone").fit(book, weight_g=np.full(len(ORDERS), 900))
    assert signs_unseen(repr(fitted)) == []
    with pytest.raises(FreightRiskError) as raised:
        FreightSchedule(fees.iloc[:1]).freight([EVIL + "x"], [900])
    assert signs_unseen(str(raised.value)) == []


@given(covers_with_rules())
def test_the_terms_of_a_cover_are_shown_without_defaults(cover):
    names = {**vars(freightrisk), "inf": float("inf"), "datetime": dt, **vars(freightrisk.aggregates)}
    assert eval(repr(cover), names) == cover
    assert repr(freightrisk.Cover()) == "Cover()"
    assert repr(freightrisk.Limit("base", 25.0)) == "Limit(name='base', amount=25.0)"
    assert repr(freightrisk.ClaimPayer("platform")) == "ClaimPayer(payer='platform')"
    assert "None" not in repr(freightrisk.Subsidy("live", "platform", fixed_fen=30))
    assert ("deductible" in repr(cover)) == (cover.deductible != 0.0)
