"""The worksheet: every step it prints is the kernel's, and its last line is the quote."""

import re

import numpy as np
import pytest
from hypothesis import given

from freightrisk import Cover, ExperienceRating, Interval, Loadings, Subsidy
from freightrisk.errors import InputError
from freightrisk.tariff.plan import RateTables
from strategies import CODINGS, draw_orders, put_together, rate_tables, seeds, tariffs


def one_order(seed):
    return draw_orders(np.random.default_rng(seed), 1).to_dict("records")[0]


@pytest.fixture
def tariff():
    zone = np.array([1.0, 2.0, 0.5, 1.1])
    tree = np.append(np.ones(5), [1.25] * 4)
    return put_together(
        frequency=RateTables(0.1, {"zone": zone, "category": tree}),
        severity=RateTables(10.0, {"zone": zone}),
        cover=Cover(max_claims=None),
        loadings=Loadings(channel=0.5, filed_max=3.0),
        subsidies=[
            Subsidy("small", "platform", fixed_fen=5, group="sale"),
            Subsidy("large", "insurer", fixed_fen=30, group="sale"),
            Subsidy("score", "platform", percent_of_rest=0.5, where={"experience_score": Interval(above=4.8)}),
        ],
        name="by hand",
    )


FAR = {"zone": "far", "industry": "home", "leaf": "lamp", "experience_score": 4.8}


@given(tariffs(), seeds)
def test_last_line_is_the_quote(tariff, seed):
    order = one_order(seed)
    sheet, quote = tariff.pricer.explain(order), tariff.quote(order)
    assert sheet.quote == quote
    payers = "".join(f" + {payer} {quote[f'{payer}_fen']}" for payer in tariff.payers)
    assert sheet.rows[-1] == f"list {quote['list_fen']} fen = merchant {quote['merchant_fen']}{payers}"
    listed, *parts = map(int, re.findall(r"-?\b\d+\b", sheet.rows[-1]))
    assert listed == sum(parts)


@given(tariffs(), seeds)
def test_printed_steps_are_the_kernels(tariff, seed):
    order = one_order(seed)
    sheet = tariff.pricer.explain(order)
    printed = {line[:24].strip(): line[24:].split()[0] for line in sheet.rows[1:-1]}
    for step in ("claim intensity", "expected claims", "expected payout", "pure premium", "technical premium"):
        assert float(printed[step]) == pytest.approx(sheet.quote[step.replace(" ", "_")], abs=5.1e-9)
    assert int(printed["list fen"].replace(",", "")) == sheet.quote["list_fen"]


@given(tariffs(), seeds)
def test_factors_multiply_to_the_printed_intensity(tariff, seed):
    lines = list(tariff.pricer.explain(one_order(seed)).rows)
    last = next(k for k, line in enumerate(lines) if line.startswith("claim intensity"))
    factors = [float(line[24:].split()[0]) for line in lines[1:last]]
    assert len(factors) == 1 + len(tariff.frequency.tables)
    assert np.prod(factors) == pytest.approx(float(lines[last][24:].split()[0]), abs=1e-6)


def test_the_whole_sheet(tariff):
    assert str(tariff.pricer.explain(FAR)).splitlines() == [
        "Worksheet of tariff 'by hand'",
        "base claim intensity         0.10000000  claims an order",
        "  x zone                     2.00000000  far",
        "  x category                 1.00000000  home > lamp",
        "claim intensity              0.20000000  claims an order",
        "expected claims              0.20000000  no limit on claims",
        "base mean freight           10.00000000  yuan a claim",
        "  x zone                     2.00000000  far",
        "mean freight                20.00000000  yuan a claim",
        "expected payout             20.00000000  no limit",
        "pure premium                 4.00000000  expected claims x expected payout",
        "technical premium            8.00000000  (pure x 1 + 0 x claims + 0) / 0.5",
        "micro-yuan                    8,000,000  technical premium x 1, to the nearest",
        "filed micro-yuan              3,000,000  filed limits 0 to 3 yuan",
        "rounded fen                         300  half_even",
        "list fen                            300",
        "  - small                             0  platform (offered 5, less than the best of group 'sale')",
        "  - large                            30  insurer",
        "  - score                             0  platform (not eligible)",
        "list 300 fen = merchant 270 + platform 0 + insurer 30",
    ]


def test_unseen_levels_are_named(tariff):
    lines = tariff.pricer.explain(FAR | {"leaf": "candle"}).rows
    assert "  x category                 1.25000000  home > (all)  (unseen level)" in lines
    lines = tariff.pricer.explain(FAR | {"industry": "toys"}).rows
    assert "  x category                 1.25000000  (all)  (unseen level)" in lines


def test_cover_and_floor_are_named(tariff):
    cheap = put_together(
        frequency=RateTables(1e-9, {}), severity=RateTables(1.0, {}), cover=Cover(max_claims=2, limit=12.5), floor_fen=3
    )
    lines = cheap.pricer.explain({}).rows
    assert any(line.startswith("expected claims") and line.endswith("at most 2 an order") for line in lines)
    assert any(line.startswith("expected payout") and line.endswith("limit 12.5 yuan a claim") for line in lines)
    assert "list fen                              3  floor 3 fen" in lines
    assert lines[-1] == "list 3 fen = merchant 3"


def test_explain_prints_what_it_returns(tariff, capsys):
    sheet = tariff.explain(FAR)
    assert capsys.readouterr().out == f"{sheet}\n"
    assert repr(sheet) == f"{sheet.rows[0]}: {sheet.rows[-1]}"  # a console shows it below the sheet
    assert sheet.rows[-1].startswith("list 300 fen = merchant 270")


def test_a_rule_that_pays_nothing_says_why():
    rules = [
        Subsidy("empty", "platform", fixed_fen=5, budget_fen=0),
        Subsidy("all", "platform", percent_of_list=1.0),
        Subsidy("late", "insurer", fixed_fen=9),
        Subsidy("other", "insurer", fixed_fen=9, where={"channel": ["store"]}),
    ]
    free = put_together(frequency=RateTables(0.1, {}), severity=RateTables(10.0, {}), subsidies=rules)
    rows = free.pricer.explain({"channel": "live", "order_id": 1, "ship_date": "2026-06-01"}).rows
    assert [row.split("  ")[-1] for row in rows[-5:-1]] == [
        "platform (nothing left of its limits)",
        "platform",
        "insurer (nothing left above the floor)",
        "insurer (not eligible)",
    ]


def test_the_off_balance_factor_has_a_row_of_its_own():
    mods = ExperienceRating(mods={"m1": 1.3}, off_balance=0.9)
    tariff = put_together(frequency=RateTables(0.1, {}), severity=RateTables(10.0, {}), experience=mods)
    for merchant, mod in (("m1", 1.3), ("m2", 1.0)):
        sheet = tariff.pricer.explain({"merchant_id": merchant})
        values = [float(row[24:].split()[0]) for row in sheet.rows[1:5]]
        assert values == pytest.approx([0.1, mod, 0.9, 0.1 * mod * 0.9])


def test_bands_show_their_interval():
    rates = rate_tables(["weight_kg", "channel"], np.random.default_rng(1), 0.1)
    tariff = put_together(frequency=rates, severity=RateTables(8.0, {}))
    lines = tariff.pricer.explain({"weight_kg": 1.0, "channel": None}).rows
    assert any(line.startswith("  x weight_kg") and line.endswith("(-inf, 1]") for line in lines)
    assert any(line.startswith("  x channel") and line.endswith("(missing)") for line in lines)
    lines = tariff.pricer.explain({"weight_kg": 5.1, "channel": "store"}).rows
    assert any(line.startswith("  x weight_kg") and line.endswith("(5, inf)") for line in lines)


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (
            {"zone": "far"},
            "order: missing columns 'industry', 'leaf', 'experience_score'; the columns present are 'zone'",
        ),
        (FAR | {"zone": "moon"}, "factor 'zone': level 'moon' was not in the book; correct it, fit a book"),
        (FAR | {"zone": None}, "factor 'zone': the value is missing; give a value, or declare missing='level'"),
    ],
)
def test_bad_orders(tariff, order, message, capsys):
    with pytest.raises(InputError, match=message):
        tariff.explain(order)
    assert capsys.readouterr().out == ""


def test_every_slot_of_every_factor_has_a_label():
    for coding in CODINGS.values():
        labels = [coding.slot_label(code) for code in range(coding.n_slots)]
        assert len(set(labels)) == coding.n_slots
