"""Funds: several rules draw on one budget, and its rest by day; split into batches, in rows, threads and ledgers."""

import datetime as dt
import json
import os
import pickle
import re
import signal
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ledgers
import test_balances
from forks import fork
from freightrisk import (
    Balances,
    Fund,
    Ledger,
    LedgerError,
    Settlement,
    Subsidy,
    Tariff,
    _funds,
    _settle,
    cli,
    load_tariff,
)
from freightrisk.campaigns import campaign_schema, load_campaigns, load_funds, save_campaigns
from freightrisk.errors import InputError, TariffDocumentError
from freightrisk.pipeline import tables
from freightrisk.tariff import pricing as pricing_module
from freightrisk.tariff.funds import paid_before
from ledgers import (
    assert_priced_as_in_memory,
    batches_of,
    priced_by_threads,
    priced_in_any_interleaving,
    replayed,
    small_batches,
    state_of,
)
from strategies import draw_batch, funded_programmes, limited_programmes, seeds
from test_balances import (
    FLOORS,
    MODES,
    SIZES,
    by_hand,
    in_fixed_order,
    no_missing_merchants,
    orders_at,
    priced,
    tariff_of,
    without_nothing,
)

# The fixtures: ledgers in SQLite and PostgreSQL, no waiting for the disk
postgres_url, where = ledgers.postgres_url, ledgers.where
without_waiting_for_the_disk = ledgers.without_waiting_for_the_disk
small_pieces = test_balances.small_pieces

FEN = ["list_fen", "platform_fen", "insurer_fen", "merchant_fen"]


def two_rules(fund="618", **more):
    """Two rules of one fund, of which each would pay 10 fen an order."""
    return [
        Subsidy("live", "platform", fixed_fen=10, fund=fund, **more),
        Subsidy("new", "insurer", fixed_fen=10, fund=fund, **more),
    ]


def days_of(n_days, per_day, fen=37):
    """Orders of 37 fen, so many a day from 1 June 2025, with an id each."""
    frame = orders_at(fen, n_days * per_day)
    return frame.assign(ship_date=pd.Timestamp("2025-06-01") + pd.to_timedelta(np.arange(len(frame)) // per_day, "D"))


# Laws


def test_two_rules_of_a_fund_of_1000_fen_spend_1000_fen_together():
    tariff, balances = tariff_of(two_rules(), funds=[Fund("618", budget_fen=1_000)]), Balances()
    quotes = tariff.price(orders_at(37, 90), campaigns=True, balances=balances)
    assert quotes[["platform_fen", "insurer_fen"]].to_numpy().sum() == 1_000
    # The rules alternate order by order: 50 orders get 10 fen of each, and the others nothing.
    assert quotes["platform_fen"].tolist() == quotes["insurer_fen"].tolist() == [10] * 50 + [0] * 40
    assert balances.spent_by_fund == {"618": {"": 1_000}}
    assert balances.left_in_fund(tariff.funds[0]) == 0
    assert balances.met_funds == {"618"}
    assert quotes[["paid: live", "paid: new"]].sum().tolist() == [500, 500]
    alone = tariff_of([replace(rule, fund=None, budget_fen=1_000) for rule in two_rules()])
    assert alone.price(orders_at(37, 200))[["platform_fen", "insurer_fen"]].to_numpy().sum() == 2_000


@given(funded_programmes(), MODES, FLOORS, SIZES, seeds, st.booleans(), st.sampled_from([1, 2]))
def test_a_batch_comes_to_what_its_orders_come_to_one_by_one(programme, rounding, floor, size, seed, priority, threads):
    rules, funds = programme
    tariff = tariff_of(rules, rounding, floor, funds)
    frame = no_missing_merchants(draw_batch(np.random.default_rng(seed), size), rounding)
    expected, spent = by_hand(tariff, frame, priority=priority)
    balances = Balances()
    found = priced(tariff, frame, priority="priority" if priority else None, balances=balances, threads=threads)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)
    assert without_nothing(balances) == without_nothing(spent)


@given(funded_programmes(), MODES, SIZES, seeds, st.data())
def test_any_split_into_batches_gives_the_fen_of_one_batch(programme, rounding, size, seed, data):
    rules, funds = programme
    tariff, rng = tariff_of(rules, rounding, funds=funds), np.random.default_rng(seed)
    frame = no_missing_merchants(draw_batch(rng, size), rounding)
    whole, balances = Balances(), Balances()
    expected = priced(tariff, frame, balances=whole, threads=1)
    shuffled = rng.permutation(size)
    pd.testing.assert_frame_equal(
        priced(tariff, frame.iloc[shuffled], threads=2), expected.iloc[shuffled].reset_index(drop=True)
    )
    order = in_fixed_order(frame, priority=False)
    cuts = sorted(data.draw(st.lists(st.integers(0, size), max_size=3)))
    parts = [order[start:stop] for start, stop in pairwise([0, *cuts, size])]
    found = pd.concat([priced(tariff, frame.iloc[rows], balances=balances, threads=1) for rows in parts])
    pd.testing.assert_frame_equal(found.reset_index(drop=True), expected.iloc[order].reset_index(drop=True))
    assert without_nothing(balances) == without_nothing(whole)


@given(funded_programmes(), MODES, SIZES, seeds)
def test_spent_and_rest_are_the_budget(programme, rounding, size, seed):
    rules, funds = programme
    tariff = tariff_of(rules, rounding, funds=funds)
    frame = no_missing_merchants(draw_batch(np.random.default_rng(seed), size), rounding)
    balances = Balances()
    quotes = tariff.price(frame, campaigns=True, balances=balances)
    day = frame["ship_date"].dt.strftime("%Y-%m-%d")
    for fund in funds:
        of_fund = [f"paid: {rule.name}" for rule in tariff.subsidies if rule.fund == fund.name]
        paid = quotes[of_fund].sum(axis=1)
        assert sum(balances.spent_by_fund[fund.name].values()) == paid.sum()
        if fund.budget_fen is not None:
            assert paid.sum() + balances.left_in_fund(fund) == fund.budget_fen
        by_day = paid.groupby(day).sum()
        if fund.is_by_day:
            assert {when: fen for when, fen in by_day.items() if fen} == {
                when: fen for when, fen in balances.spent_by_fund[fund.name].items() if fen
            }
            assert not paid[day.isna()].any()
        if fund.per_day_fen is not None:
            assert by_day.max() <= fund.per_day_fen or not paid.any()
        if fund.start is not None:
            outside = (frame["ship_date"].dt.date < fund.start) | (frame["ship_date"].dt.date > fund.end)
            assert not paid[outside].any()


@given(limited_programmes(), MODES, SIZES, seeds)
def test_a_fund_that_does_not_end_changes_no_fen(rules, rounding, size, seed):
    frame = no_missing_merchants(draw_batch(np.random.default_rng(seed), size), rounding)
    ample = [replace(rule, fund="618") for rule in rules]
    expected = priced(tariff_of(rules, rounding), frame)
    pd.testing.assert_frame_equal(
        priced(tariff_of(ample, rounding, funds=[Fund("618", budget_fen=10**15)]), frame), expected
    )


@given(limited_programmes(), MODES, SIZES, seeds, st.integers(0, 300))
def test_a_fund_of_one_rule_is_the_rules_budget(rules, rounding, size, seed, budget):
    frame = no_missing_merchants(draw_batch(np.random.default_rng(seed), size), rounding)
    own = [replace(rule, budget_fen=budget) for rule in rules]
    funded = [replace(rule, budget_fen=None, fund=rule.name) for rule in rules]
    funds = [Fund(rule.name, budget_fen=budget) for rule in rules]
    pd.testing.assert_frame_equal(
        priced(tariff_of(funded, rounding, funds=funds), frame), priced(tariff_of(own, rounding), frame)
    )


@given(st.integers(0, 2_000), st.integers(1, 6), st.integers(1, 12))
def test_a_paced_day_spends_at_most_its_share_of_the_rest_and_the_last_day_may_spend_all(budget, n_days, per_day):
    end = dt.date(2025, 6, 1) + dt.timedelta(days=n_days - 1)
    fund = Fund("618", budget_fen=budget, pacing="even", start="2025-06-01", end=end)
    tariff, frame = tariff_of(two_rules(), funds=[fund]), days_of(n_days, per_day)
    paid = tariff.price(frame)[["platform_fen", "insurer_fen"]].sum(axis=1).groupby(frame["ship_date"]).sum()
    rest = budget
    for k, fen in enumerate(paid.tolist()):
        assert fen == min(20 * per_day, rest // (n_days - k))  # 20 fen an order are wanted
        rest -= fen


@given(funded_programmes(), MODES, seeds)
def test_quotes_and_worksheets_agree_with_a_batch_of_one_and_spend_nothing(programme, rounding, seed):
    rules, funds = programme
    tariff = tariff_of(rules, rounding, funds=funds)
    frame = no_missing_merchants(draw_batch(np.random.default_rng(seed), 12), rounding)
    balances = Balances()
    tariff.price(frame.iloc[:11], balances=balances)
    before, order = balances.copy(), frame.iloc[11].to_dict()
    quote = tariff.quote(order, balances=balances)
    assert tariff.explain(order, balances=balances).quote == quote
    assert balances == before
    assert quote == tariff.price(frame.iloc[[11]], balances=before).iloc[0].to_dict()


@given(funded_programmes(), MODES, seeds, st.integers(0, 40))
def test_pickled_tariffs_and_orders_are_priced_as_they_were(programme, rounding, seed, size):
    rules, funds = programme
    tariff = tariff_of(rules, rounding, funds=funds)
    coded = tariff.encode(no_missing_merchants(draw_batch(np.random.default_rng(seed), size), rounding))
    elsewhere = pickle.loads(pickle.dumps(tariff))
    again = pickle.loads(pickle.dumps(coded))
    pd.testing.assert_frame_equal(elsewhere.price(again, campaigns=True), tariff.price(coded, campaigns=True))


@pytest.mark.parametrize("n_orders", [1_500, 40_000])
@pytest.mark.parametrize("terms", [{}, {"per_day_fen": 3_001}, {"pacing": "even", "start": "2025-06-01"}])
def test_blocks_of_the_kernel_come_to_what_orders_come_to_one_by_one(monkeypatch, n_orders, terms):
    # Pieces of the usual size: the fund ends within a block of rows, where the rules must alternate order by order.
    monkeypatch.setattr(pricing_module, "PRICE_CHUNK", 2**14)
    end = {"end": "2025-06-07"} if "start" in terms else {}
    tariff = tariff_of(two_rules(), funds=[Fund("618", budget_fen=9 * n_orders + 7, **terms, **end)])
    frame = days_of(10, n_orders // 10)
    whole, parts = Balances(), Balances()
    quotes = tariff.price(frame, balances=whole, detail=False)
    cuts = [0, *range(311, n_orders, 977), n_orders]
    split = [tariff.price(frame.iloc[start:stop], balances=parts, detail=False) for start, stop in pairwise(cuts)]
    pd.testing.assert_frame_equal(pd.concat(split), quotes)
    assert whole == parts
    paid = quotes[["platform_fen", "insurer_fen"]].to_numpy()
    # An order gets money of the second rule only if the first was served in full: no rule overtakes the other.
    assert (paid[paid[:, 1] > 0, 0] == 10).all()
    assert paid.sum() == sum(whole.spent_by_fund["618"].values()) <= 9 * n_orders + 7
    if not terms:
        assert paid.sum() == 9 * n_orders + 7


# By hand


def test_a_rules_own_budget_and_the_fund_both_hold():
    rules = [replace(rule, budget_fen=budget) for rule, budget in zip(two_rules(), (25, 1_000), strict=True)]
    tariff, balances = tariff_of(rules, funds=[Fund("618", budget_fen=60)]), Balances()
    quotes = tariff.price(orders_at(37, 6), balances=balances)
    assert quotes["platform_fen"].tolist() == [10, 10, 5, 0, 0, 0]
    assert quotes["insurer_fen"].tolist() == [10, 10, 10, 5, 0, 0]
    assert balances.spent == {"live": 25, "new": 35}
    assert balances.left(tariff.subsidies[1]) == 965
    assert balances.left_in_fund(tariff.funds[0]) == 0


def test_rivals_of_one_fund_draw_once_for_an_order():
    rules = [replace(rule, group="sale") for rule in two_rules()]
    tariff = tariff_of(rules, funds=[Fund("618", budget_fen=25)])
    quotes = tariff.price(orders_at(37, 4))
    assert quotes["platform_fen"].tolist() == [10, 10, 5, 0]
    assert quotes["insurer_fen"].tolist() == [0, 0, 0, 0]


def test_money_that_a_day_leaves_goes_to_the_later_days():
    fund = Fund("618", budget_fen=100, pacing="even", start="2025-06-01", end="2025-06-04")
    tariff = tariff_of(two_rules()[:1], funds=[fund])
    frame = days_of(4, 6).drop(index=[0, 1, 2, 3, 4])  # one order on the first day, which spends 10 of its 25
    balances = Balances()
    quotes = tariff.price(frame, balances=balances)
    assert quotes["platform_fen"].groupby(frame["ship_date"]).sum().tolist() == [10, 30, 30, 30]
    assert balances.spent_by_fund["618"] == {f"2025-06-0{k}": fen for k, fen in enumerate((10, 30, 30, 30), 1)}
    # An order of the first day that comes late gets the rest of that day, as long as the fund has money.
    late = frame.head(2).assign(order_id=[98, 99], ship_date=pd.Timestamp("2025-06-01"))
    richer = tariff.with_subsidies(tariff.subsidies, funds=[replace(fund, budget_fen=108)])
    assert richer.price(late, balances=balances)["platform_fen"].tolist() == [8, 0]


def test_spending_from_before_a_fund_had_days_counts_as_before_every_day():
    plain, balances = tariff_of(two_rules(), funds=[Fund("618", budget_fen=100)]), Balances()
    plain.price(days_of(1, 2), balances=balances)
    assert balances.spent_by_fund == {"618": {"": 40}}
    paced = Fund("618", budget_fen=100, pacing="even", start="2025-06-01", end="2025-06-03")
    assert balances.left_in_fund(paced, day="2025-06-01") == 20
    later = plain.with_subsidies(plain.subsidies, funds=[paced])
    assert later.price(days_of(1, 2).assign(order_id=[7, 8]), balances=balances)[FEN[1:3]].to_numpy().sum() == 20


@given(st.dictionaries(st.sampled_from(["", *(f"2025-06-{day:02}" for day in range(1, 9))]), st.integers(0, 2**62)))
def test_paid_before_is_the_sum_of_the_earlier_days(spent):
    days = [f"2025-06-{day:02}" for day in (3, 1, 8, 9)]
    assert paid_before(spent, days) == [min(sum(fen for at, fen in spent.items() if at < day), 2**62) for day in days]


@given(st.dates(dt.date(2026, 6, 14), dt.date(2026, 6, 20)), st.integers(0, 2_000))
def test_a_day_is_the_same_day_however_it_is_given(day, spent):
    fund = Fund("618", budget_fen=1_000, pacing="even", start="2026-06-15", end="2026-06-18")
    balances = Balances(spent_by_fund={"618": {"2026-06-14": spent}})
    for one in (str(day), pd.Timestamp(day), np.datetime64(day), dt.datetime.combine(day, dt.time())):
        assert fund.days_left(one) == fund.days_left(day)
        limit = fund.day_limit(one, spent_before=np.int64(spent))
        assert type(limit) is int
        assert limit == fund.day_limit(day, spent_before=spent)
        assert balances.left_in_fund(fund, day=one) == balances.left_in_fund(fund, day=day)


def test_a_fund_of_thousands_of_days_comes_to_what_its_days_come_to_one_by_one():
    frame = orders_at(37, 6_000)
    frame = frame.assign(ship_date=pd.Timestamp("1990-01-01") + pd.to_timedelta(np.arange(6_000) // 2, "D"))
    for terms, paid in (
        ({"per_day_fen": 15}, [15, 0]),
        ({"budget_fen": 45_000, "pacing": "even", "start": "1990-01-01", "end": "1998-03-19"}, [15, 0]),
    ):
        tariff = tariff_of(two_rules(), funds=[Fund("618", **terms)])
        assert tariff.price(frame, balances=Balances())[FEN[1:3]].sum(axis=1).tolist() == paid * 3_000


def test_orders_without_a_ship_date():
    frame = orders_at(37, 2).assign(ship_date=pd.NaT)
    assert tariff_of(two_rules(), funds=[Fund("618", budget_fen=30)]).price(frame)["platform_fen"].tolist() == [10, 10]
    for terms in ({"per_day_fen": 30}, {"budget_fen": 30, "end": "2030-01-01"}):
        assert tariff_of(two_rules(), funds=[Fund("618", **terms)]).price(frame)["platform_fen"].tolist() == [0, 0]


def test_the_worksheet_names_the_fund_and_its_end():
    tariff, balances = tariff_of(two_rules(), funds=[Fund("618", budget_fen=35)]), Balances()
    order = orders_at(37, 1).iloc[0].to_dict()
    assert "platform from fund '618', which has 25 left for such orders" in str(tariff.explain(order))
    tariff.price(orders_at(37, 2), balances=balances)
    assert "nothing left of its limits" in str(tariff.explain(order, balances=balances))


def test_a_settlement_sums_what_a_fund_paid():
    tariff = tariff_of(two_rules(), funds=[Fund("618", budget_fen=50)])
    frame = days_of(2, 2)
    settled = Settlement.of(tariff, frame, tariff.price(frame, campaigns=True))
    assert settled.is_balanced
    assert settled.by_fund(tariff).values.tolist() == [
        [pd.Timestamp("2025-06-01"), "618", "insurer", 20], [pd.Timestamp("2025-06-01"), "618", "platform", 20],
        [pd.Timestamp("2025-06-02"), "618", "platform", 10],
    ]  # fmt: skip


# Documents


def test_tariffs_with_funds_are_saved_and_loaded_and_those_without_have_no_key_for_them(tmp_path):
    fund = Fund("618", budget_fen=1_000, per_day_fen=50, pacing="even", start="2025-06-01", end="2025-06-20")
    tariff, plain = tariff_of(two_rules(), funds=[fund]), tariff_of([replace(rule, fund=None) for rule in two_rules()])
    for one in (tariff, plain):
        one.save(tmp_path / "tariff.json")
        document = json.loads((tmp_path / "tariff.json").read_bytes())
        assert ("funds" in document) == (one is tariff)
        loaded = load_tariff(tmp_path / "tariff.json")
        assert loaded.funds == one.funds
        assert loaded.digest == one.digest
        assert loaded.price(days_of(3, 4)).equals(one.price(days_of(3, 4)))
    tariff.save(tmp_path / "tariff.json")
    document = json.loads((tmp_path / "tariff.json").read_bytes())
    document["funds"][0]["budget_fen"] = 2_000
    (tmp_path / "tariff.json").write_text(json.dumps(document))
    with pytest.raises(TariffDocumentError, match="was changed after it was saved"):
        load_tariff(tmp_path / "tariff.json")
    del document["funds"]
    (tmp_path / "tariff.json").write_text(json.dumps(document | {"digest": ""}))
    with pytest.raises(TariffDocumentError, match="draws on fund '618', but no fund is declared"):
        load_tariff(tmp_path / "tariff.json")


@pytest.mark.parametrize("suffix", ["json", "yaml"])
@given(programme=funded_programmes())
def test_campaigns_with_funds_come_back(tmp_path_factory, suffix, programme):
    rules, funds = programme
    path = tmp_path_factory.mktemp("campaigns") / f"rules.{suffix}"
    save_campaigns(rules, path, funds=funds)
    tariff = tariff_of([]).with_subsidies(load_campaigns(path), funds=load_funds(path))
    assert tariff == tariff_of(rules, funds=funds)
    assert (suffix == "yaml") or ("funds" in json.loads(path.read_bytes())) == bool(funds)


def test_campaigns_written_by_hand(tmp_path):
    path = tmp_path / "618.yaml"
    path.write_text(
        "schema: freightrisk/campaigns\nversion: 1\n"
        "funds:\n  - {name: 618, budget_fen: 1000, pacing: even, start: 2026-06-01, end: 2026-06-18}\n"
        "subsidies:\n  - {name: live, payer: platform, fixed_fen: 5, fund: '618'}\n".replace("name: 618", "name: '618'")
    )
    assert load_funds(path) == (Fund("618", budget_fen=1_000, pacing="even", start="2026-06-01", end="2026-06-18"),)
    assert load_campaigns(path)[0].fund == "618"
    path.write_text(path.read_text().replace("fund: '618'", "fund: '619'"))
    with pytest.raises(InputError, match=r"draws on fund '619', but the declared funds are '618'; declare it"):
        load_campaigns(path)
    definitions = campaign_schema()["$defs"]
    assert set(definitions["Fund"]["properties"]) == {"name", "budget_fen", "per_day_fen", "pacing", "start", "end"}
    assert definitions["Campaigns"]["required"] == ["schema", "version", "subsidies"]


def test_a_name_that_looks_like_a_number_needs_quotes(tmp_path):
    (tmp_path / "c.yaml").write_text(
        "schema: freightrisk/campaigns\nversion: 1\n"
        "subsidies: [{name: live, payer: platform, fixed_fen: 5, fund: 618}]\nfunds: [{name: '618', budget_fen: 9}]\n"
    )
    message = (
        r"Expected `str \| null`, got `int` - at `\$\.subsidies\[0\]\.fund`\. A text .* needs quotes, such as '618'"
    )
    with pytest.raises(InputError, match=message):
        load_funds(tmp_path / "c.yaml")


def test_funds_of_a_configuration():
    from freightrisk._config import parse_plan

    text = """
    factors = [{ kind = "factor", name = "zone" }]
    [[funds]]
    name = "618"
    budget_fen = 1000
    pacing = "even"
    start = 2026-06-01
    end = 2026-06-18
    [[subsidies]]
    name = "live"
    payer = "platform"
    fixed_fen = 5
    fund = "618"
    """
    plan = parse_plan(text, source="first.toml", folder=Path())
    assert plan.funds == (Fund("618", budget_fen=1_000, pacing="even", start="2026-06-01", end="2026-06-18"),)
    with pytest.raises(InputError, match="draws on fund '617', but the declared funds are '618'"):
        parse_plan(text.replace('fund = "618"', 'fund = "617"'), source="first.toml", folder=Path())


def test_the_command_line_shows_the_funds_of_a_ledger(tmp_path, capsys):
    with Ledger(tmp_path / "a.db") as ledger:
        ledger.price(tariff_of(two_rules(), funds=[Fund("618", budget_fen=70)]), orders_at(37, 2), batch="a")
    assert cli.main(["ledger", str(tmp_path / "a.db"), "--reverse", "0"]) == 0
    shown = capsys.readouterr().out
    assert "given back 20 fen of 1 order" in shown
    assert re.search(r"1 fund\n.*\n.*\n618 +70 +0 +20 +50", shown)


# The kernel


def test_the_kernel_refuses_funds_that_do_not_match_its_rows_and_rules():
    whole = {
        "of_rule": np.array([0, 0], np.int32), "left": np.array([9]), "budget": np.array([9]),
        "per_day": np.array([9]), "by_day": np.ones(1, np.uint8), "paced": np.ones(1, np.uint8),
        "shared": np.ones(1, np.uint8), "met": np.zeros(1, np.uint8), "keys": np.zeros(4, np.int32),
        "days_left": np.ones((1, 1), np.int64), "before": np.zeros((1, 1), np.int64),
        "spent": np.zeros((1, 1), np.int64),
    }  # fmt: skip
    tariff = tariff_of(two_rules(), funds=[Fund("618", budget_fen=9)])
    into, plan = tariff.buffers(4), tariff.pricer.plan
    into.rounded[:], into.masks[:], into.flags[:] = 37, 3, 0

    def settle(**changes):
        none = np.full(2, -1, np.int32)
        limits = _settle.Limits(
            np.full(2, 2**62), np.zeros((0, 4), np.int32), none, np.zeros(2, np.int64), np.zeros(0, np.int64),
            np.zeros(2, np.uint8), np.zeros(0, np.uint8), _funds.Funds(**whole | changes),
        )  # fmt: skip
        _settle.settle(plan, 0, 4, *into.outputs, into.money(np.empty(0, np.uint16)), limits=limits)
        return into.payers[:, :4].sum()

    assert settle() == 9
    for changes, match in [
        ({"of_rule": np.array([0], np.int32)}, "funds for fewer rules"),
        ({"of_rule": np.array([0, 1], np.int32)}, "funds for fewer rules"),
        ({"per_day": np.array([9, 9])}, "funds of unequal length"),
        ({"before": np.zeros((1, 2), np.int64)}, "funds of unequal days"),
        ({"keys": np.zeros(3, np.int32)}, "funds with days for fewer rows"),
        ({"keys": np.full(4, 1, np.int32)}, "a day of a fund out of range"),
    ]:
        whole["left"], whole["spent"], whole["before"] = np.array([9]), np.zeros((1, 1), int), np.zeros((1, 1), int)
        with pytest.raises(ValueError, match=match):
            settle(**changes)


# Ledgers


def funded(fund=None):
    """A tariff whose three limited rules draw on one fund, beside a rule without limits."""
    rules = [
        Subsidy("live", "platform", percent_of_list=0.3, fund="618"),
        Subsidy("new", "insurer", fixed_fen=9, merchant_cap_fen=60, period="day", group="sale", fund="618"),
        Subsidy("sale", "平台", percent_of_rest=0.2, budget_fen=700, group="sale", fund="618"),
        Subsidy("always", "insurer", fixed_fen=1),
    ]
    return tariff_of(rules, funds=[Fund("618", budget_fen=2_000) if fund is None else fund])


PACED = Fund("618", budget_fen=2_500, pacing="even", start="2025-06-01", end="2025-06-30")


def drawn(ledger):
    """Return what funds have paid by day, without zeros, as balances hold it."""
    found = {}
    for row in ledger.funds_by_day().query("spent_fen != 0").itertuples():
        found.setdefault(row.fund, {})[row.day] = row.spent_fen
    return found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(funded_programmes(), MODES, seeds, st.lists(st.integers(0, 30), max_size=3))
def test_a_ledgers_batches_come_to_what_the_orders_come_to_in_memory(tmp_path, programme, rounding, seed, cuts):
    rules, funds = programme
    tariff = tariff_of(rules, rounding, funds=funds)
    frame = no_missing_merchants(draw_batch(np.random.default_rng(seed), 30), rounding)
    balances, name = Balances(), f"{time.monotonic_ns()}.db"
    with Ledger(tmp_path / name) as ledger:
        assert_priced_as_in_memory(ledger, tariff, frame, balances, cuts)
        assert drawn(ledger) == without_nothing(balances).spent_by_fund
        left = ledger.funds()["left_fen"]
        for fund in funds:
            assert fund.budget_fen is None or left[fund.name] == balances.left_in_fund(fund)
        ledger.reverse(frame["order_id"])
        assert drawn(ledger) == {}


def test_reserved_confirmed_reversed_and_released(where):
    tariff = tariff_of(two_rules(), funds=[Fund("618", budget_fen=70)])
    with Ledger(where) as ledger:
        first = ledger.price(tariff, orders_at(37, 2), batch="a")
        assert ledger.funds().loc["618"].tolist() == [70, 0, 40, 30]
        ledger.confirm("a")
        assert ledger.funds().loc["618"].tolist() == [70, 40, 0, 30]
        late = orders_at(37, 3).assign(order_id=[10, 11, 12])
        assert ledger.price(tariff, late, batch="b")[FEN[1:3]].sum(axis=1).tolist() == [20, 10, 0]
        assert ledger.reverse([0])["fen"].tolist() == [10, 10]
        assert ledger.funds().loc["618"].tolist() == [70, 20, 30, 20]
        ledger.release("b")
        assert ledger.funds().loc["618"].tolist() == [70, 20, 0, 50]
        pd.testing.assert_frame_equal(ledger.price(tariff, orders_at(37, 2), batch="a"), first)
        assert ledger.price(tariff, late, batch="b")[FEN[1:3]].sum(axis=1).tolist() == [20, 20, 10]
        assert ledger.spending()["spent_fen"].sum() + ledger.spending()["reserved_fen"].sum() == 70


FRAMES = ("funds", "funds_by_day", "spending", "spending_by_merchant", "batches", "remainders")


def test_the_frames_of_an_empty_ledger_have_the_types_of_a_full_one(where):
    with Ledger(where) as ledger:
        empty = {name: getattr(ledger, name)() for name in FRAMES}
        rules = [*two_rules(), Subsidy("cap", "platform", fixed_fen=1, merchant_cap_fen=9, period="day")]
        tariff = tariff_of(rules, "carry", funds=[Fund("618", per_day_fen=70)])
        ledger.price(tariff, orders_at(40, 2), batch="a")
        for name in FRAMES:
            full = getattr(ledger, name)()
            assert len(full)
            assert not len(empty[name])
            assert empty[name].dtypes.to_dict() == full.dtypes.to_dict()
            assert (empty[name].index.dtype, empty[name].index.name) == (full.index.dtype, full.index.name)


def test_the_record_of_a_batch_does_not_grow_with_the_days_before_it(tmp_path):
    fund = Fund("618", budget_fen=900, pacing="even", start="2025-06-01", end="2025-06-30")
    tariff, found = tariff_of(two_rules(), funds=[fund]), {}
    with Ledger(tmp_path / "a.db") as ledger:
        frames = {str(day): days_of(1, 5).assign(order_id=range(9 * day, 9 * day + 5)) for day in range(20)}
        for batch, frame in frames.items():
            frames[batch] = frame.assign(ship_date=frame["ship_date"] + pd.Timedelta(days=int(batch)))
            found[batch] = ledger.price(tariff, frames[batch], batch=batch)
        late = frames["3"].assign(order_id=range(900, 905))  # of a day before days that have spent
        found["late"] = ledger.price(tariff, late, batch="late")
        for batch, quotes in found.items():
            pd.testing.assert_frame_equal(ledger.price(tariff, frames.get(batch, late), batch=batch), quotes)
        with ledger._engine.connect() as connection:
            rows = pd.read_sql(sa.select(tables.FUND_OPENINGS), connection)
        assert rows["spent_fen"].sum() == sum(drawn(ledger)["618"].values())
        total = rows.groupby("batch")["opening_fen"].sum()
        assert total["late"] == sum(drawn(ledger)["618"].values()) - rows["spent_fen"][rows["batch"] == "late"].sum()
    assert rows.groupby("batch").size().drop("late").max() == 2


def test_other_terms_are_refused_until_the_ledger_is_amended(where):
    fund = Fund("618", budget_fen=30, start="2025-05-01", end="2025-06-30")
    tariff, late = tariff_of(two_rules(), funds=[fund]), orders_at(37, 2).assign(order_id=[7, 8])
    with Ledger(where) as ledger:
        first = ledger.price(tariff, orders_at(37, 2), batch="a")
        richer = tariff.with_subsidies(tariff.subsidies, funds=[replace(fund, budget_fen=50)])
        with pytest.raises(LedgerError, match=r"fund '618' has budget_fen 30 in the ledger and 50 in the tariff; if"):
            ledger.price(richer, late, batch="b")
        moved = tariff_of([replace(rule, fund="1111") for rule in two_rules()], funds=[Fund("1111", budget_fen=50)])
        with pytest.raises(LedgerError, match="campaign 'live' has fund 618 in the ledger and 1111 in the tariff"):
            ledger.price(moved, late, batch="b")
        ledger.amend(richer)
        assert ledger.price(richer, late, batch="b")[FEN[1:3]].to_numpy().sum() == 20
        ledger.amend(moved)
        more = late.assign(order_id=[17, 18])
        assert ledger.price(moved, more, batch="c")[FEN[1:3]].to_numpy().sum() == 40
        for one in (tariff, richer, moved):  # the terms of the batch hold for its re-run
            pd.testing.assert_frame_equal(ledger.price(one, orders_at(37, 2), batch="a"), first)
        assert ledger.funds()["left_fen"].to_dict() == {"1111": 10, "618": 0}


@pytest.mark.parametrize("fund", [None, PACED])
def test_a_snapshot_that_others_overtook_is_priced_again(tmp_path, monkeypatch, fund):
    tariff, price_columns = funded(fund), Tariff.price_columns
    frames = {str(k): frame for k, frame in enumerate(batches_of(12, size=20))}
    waiting, found = list(frames), {}

    def run(batch):
        with Ledger(tmp_path / "a.db") as ledger:
            found[batch] = ledger.price(tariff, frames[batch], batch=batch, threads=1)

    def disturbed(self, coded, **more):
        columns = {name: values.copy() for name, values in price_columns(self, coded, **more).items()}
        if len(waiting) % 2:  # another batch is recorded while this one is being priced
            run(waiting.pop())
        return columns

    monkeypatch.setattr(Tariff, "price_columns", disturbed)
    while waiting:
        run(waiting.pop())
    monkeypatch.setattr(Tariff, "price_columns", price_columns)
    with Ledger(tmp_path / "a.db") as ledger:
        expected, balances = replayed(ledger, tariff, frames)
        for batch, quotes in expected.items():
            pd.testing.assert_frame_equal(found[batch], quotes)
        assert drawn(ledger) == without_nothing(balances).spent_by_fund


@pytest.mark.parametrize("fund", [None, PACED])
def test_writers_at_one_time_spend_a_fund_as_one_after_another(where, fund):
    tariff, frames = funded(fund), {str(k): frame for k, frame in enumerate(batches_of(24, size=25))}
    found = priced_by_threads(where, tariff, frames)
    with Ledger(where) as ledger:
        expected, balances = replayed(ledger, tariff, frames)
        assert len(ledger.batches()) == 24
        for batch, quotes in expected.items():
            pd.testing.assert_frame_equal(found[batch], quotes)
        assert drawn(ledger) == without_nothing(balances).spent_by_fund
        assert ledger.funds().loc["618", "left_fen"] == balances.left_in_fund(tariff.funds[0])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12)
@given(funded_programmes(), st.sampled_from(["half_even", "carry"]), seeds, st.data())
def test_any_interleaving_draws_on_funds_as_one_after_another(tmp_path, programme, rounding, seed, data):
    rules, funds = programme
    tariff, frames = tariff_of(rules, rounding, funds=funds), small_batches(seed, rounding)
    where = tmp_path / f"{time.monotonic_ns()}.db"
    found = priced_in_any_interleaving(where, tariff, frames, data)
    with Ledger(where) as ledger:
        expected, balances = replayed(ledger, tariff, frames)
        assert set(expected) == set(frames)
        for batch, quotes in expected.items():
            pd.testing.assert_frame_equal(found[batch], quotes)
            pd.testing.assert_frame_equal(ledger.price(tariff, frames[batch], batch=batch), quotes)
        assert drawn(ledger) == without_nothing(balances).spent_by_fund


def write_all(where, tariff, frames):
    with Ledger(where) as ledger:
        states = ledger.batches()["state"].to_dict()
        for batch, frame in frames.items():
            if states.get(batch) != "spent":
                ledger.price(tariff, frame, batch=batch, threads=1, detail=False)
                ledger.confirm(batch)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes that it forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("fund", [None, PACED])
def test_kills_change_no_fen_of_a_fund(tmp_path, fund):
    tariff, rng = funded(fund), np.random.default_rng(4)
    frames = {f"{k:03}": frame for k, frame in enumerate(batches_of(40, size=30))}
    start = time.perf_counter()
    write_all(tmp_path / "whole.db", tariff, frames)
    seconds, kills, reach = time.perf_counter() - start, 0, 0.25
    for _ in range(12):
        child = fork()
        if child == 0:
            status = 1
            try:
                write_all(tmp_path / "killed.db", tariff, frames)
                status = 0
            finally:
                os._exit(status)
        time.sleep(rng.uniform(0.08, 1.0) * reach * seconds)
        os.kill(child, signal.SIGKILL)
        was_running = os.waitpid(child, 0)[1] == signal.SIGKILL
        kills, reach = kills + was_running, reach if was_running else reach / 2  # later writers have less to write
    assert kills > 2
    write_all(tmp_path / "killed.db", tariff, frames)
    with Ledger(tmp_path / "killed.db") as ledger, Ledger(tmp_path / "whole.db") as expected:
        assert state_of(ledger) == state_of(expected)
        assert drawn(ledger) == drawn(expected)
        pd.testing.assert_frame_equal(ledger.funds(), expected.funds())
        assert ledger.funds().loc["618", "left_fen"] == tariff.funds[0].budget_fen - sum(drawn(ledger)["618"].values())


def test_a_ledger_from_before_funds_is_continued(tmp_path):
    tariff = tariff_of([Subsidy("grant", "platform", fixed_fen=10, budget_fen=55)])
    with Ledger(tmp_path / "a.db") as ledger:
        first = ledger.price(tariff, orders_at(37, 2), batch="a")
        with ledger._engine.begin() as connection:
            fingerprint = connection.execute(sa.select(tables.BATCHES.c.fingerprint)).scalar()
            for name, table in tables.TABLES.tables.items():
                if "fund" in name:
                    table.drop(connection)
    # The fingerprint of this batch in ledgers that earlier commits of this library wrote
    assert fingerprint == BEFORE_FUNDS
    with Ledger(tmp_path / "a.db") as ledger:
        pd.testing.assert_frame_equal(ledger.price(tariff, orders_at(37, 2), batch="a"), first)
        assert ledger.spending().loc["grant", "left_fen"] == 35


BEFORE_FUNDS = "a3861b750e41cdba74bd23f4b55caec8"


def day_limit_after(spent):
    fund = Fund("618", budget_fen=1_000, pacing="even", start="2026-06-15", end="2026-06-18")
    return fund.day_limit("2026-06-16", spent_before=spent)


# Bad calls


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: Fund("a"), "fund 'a' has no amount; give budget_fen, per_day_fen or both"),
        (lambda: Fund("", budget_fen=1), "name of a fund is ''"),
        (lambda: Fund("a", budget_fen=-1), "budget_fen of fund 'a' is -1"),
        (lambda: Fund("a", per_day_fen=1.5), "per_day_fen of fund 'a' is 1.5"),
        (lambda: Fund("a", budget_fen=9, pacing="even", end="2026-06-01"), "has pacing but no start; pacing spreads"),
        (lambda: Fund("a", per_day_fen=9, pacing="even"), "has pacing but no budget_fen and no start and no end"),
        (lambda: Fund("a", budget_fen=9, pacing="fast"), "pacing of fund 'a' is 'fast'; it must be one of"),
        (lambda: Fund("a", budget_fen=9, start="2026-06-02", end="2026-06-01"), "after its end 2026-06-01; exchange"),
        (lambda: Fund("a", budget_fen=9, end="2026-06-02 10:00"), "end of fund 'a' is '2026-06-02 10:00'; the first"),
        (
            lambda: Fund("a", budget_fen=9, pacing="even", start="2000-01-01", end="2026-06-01"),
            "fund 'a' has 9,649 days; pacing takes at most 3,660. Give a nearer end",
        ),
        (lambda: Subsidy("a", "platform", fixed_fen=1, fund=""), "fund of subsidy 'a' is ''"),
        (lambda: tariff_of(two_rules()), r"'live' draws on fund '618', but no fund is declared; declare it beside"),
        (
            lambda: tariff_of(two_rules(), funds=[Fund("616", budget_fen=1)]),
            r"draws on fund '618', but the declared funds are '616'; declare it beside the rules, such as funds=\[Fund",
        ),
        (
            lambda: tariff_of(two_rules(), funds=[Fund("618", budget_fen=1), Fund("b", budget_fen=1)]),
            "no subsidy draws on fund 'b'; give the rules fund='b', or remove the fund",
        ),
        (
            lambda: tariff_of(two_rules(), funds=[Fund("618", budget_fen=1), Fund("618", budget_fen=2)]),
            "2 funds are named '618', so the fund would have two budgets; keep one of them",
        ),
        (lambda: tariff_of(two_rules(), funds=["618"]), "funds is .*; it must be a list whose items are each a Fund"),
        (lambda: tariff_of(two_rules()[:1]).with_subsidies(two_rules(), funds="618"), "no fund is declared"),
        (lambda: tariff_of([]).with_subsidies(two_rules(), funds="618"), "funds is '618'; it must be a list"),
        (
            lambda: tariff_of(two_rules(end="2026-05-31"), funds=[Fund("618", budget_fen=1, start="2026-06-01")]),
            r"'live' can never pay, because its days \(None to 2026-05-31\) and the days of fund '618' have none",
        ),
        (lambda: save_campaigns(two_rules(), "x.json"), "draws on fund '618', but no fund is declared"),
        (lambda: Balances(spent_by_fund={"a": {"2026-06": 1}}), "name the day '2026-06' of a fund; write a day as"),
        (lambda: Balances(spent_by_fund={"a": {"2026-02-30": 1}}), "name the period '2026-02-30'; write a day as"),
        (lambda: Balances(spent_by_fund={"a": {"": -1}}), "an amount of balances"),
        (lambda: Balances(spent_by_fund={"a": 1}), "spent_by_fund of 'a' is 1"),
        (lambda: Balances(met_funds="618"), "met_funds of balances is '618'; it must be a set"),
        (lambda: Balances().left_in_fund("618"), "fund is '618'; it must be a Fund"),
        (lambda: Balances().left_in_fund(Fund("a", per_day_fen=1), day="today"), "day is 'today'; it must be a date"),
        (
            lambda: Balances().left_in_fund(Fund("a", per_day_fen=1), day=pd.Timestamp("2026-06-16 23:00", tz="UTC")),
            r"day is Timestamp\('2026-06-16 23:00:00\+0000'.*give a day without a time, such as '2026-06-16'",
        ),
        (lambda: Fund("a", per_day_fen=1).day_limit(None), "day is None; it must be a date"),
        (lambda: Fund("a", per_day_fen=1).days_left(5), "day is 5; it must be a date"),
        (lambda: Fund("a", per_day_fen=1).day_limit("2026-06-16 10:00"), "give a day without a time"),
        (lambda: day_limit_after(float("nan")), r"spent_before is nan; it must be a whole number in \[0, 46"),
        (lambda: day_limit_after(-5), "spent_before is -5"),
        (lambda: day_limit_after(1.5), "spent_before is 1.5"),
    ],
)
def test_bad_calls(call, match):
    with pytest.raises(InputError, match=match):
        call()
