"""Budgets, caps by merchant and carried rounding: an order at a time by hand, in any rows, pieces and threads."""

import datetime as dt
import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freightrisk import Balances, Cover, Subsidy, _reference
from freightrisk._intake import is_missing
from freightrisk.errors import InputError
from freightrisk.tariff import pricing as pricing_module
from freightrisk.tariff import settling as settling_module
from freightrisk.tariff.one_order import codes_of
from freightrisk.tariff.plan import RateTables
from freightrisk.tariff.quotes import coded_again
from freightrisk.tariff.rounding import dither_draws
from interrupts import interrupted, lines_of
from strategies import CLASSES, changed, draw_batch, limited_programmes, put_together, seeds, subsidies

MODES = st.sampled_from(["half_even", "half_up", "ceiling", "down", "dither", "carry"])
FLOORS = st.sampled_from([1, 1, 0, 3])
SIZES = st.integers(0, 60)
MONEY = ["list_fen", "merchant_fen"]


def tariff_of(rules, rounding="half_even", floor_fen=1, funds=()):
    """A tariff whose premium of merchant class k is 0.37 k fen."""
    return put_together(
        frequency=RateTables(0.01, {"merchant_class": np.maximum(0.37 * np.array([*CLASSES, 0.5]), 1e-6)}),
        severity=RateTables(1.0, {}),
        cover=Cover(max_claims=None),
        subsidies=rules,
        floor_fen=floor_fen,
        rounding=rounding,
        dither_key="a secret" if rounding == "dither" else "",
        funds=funds,
    )


def in_fixed_order(frame, *, priority):
    """Return the rows by priority, ship time and order id, one after another by plain comparison."""

    def place(row):
        shipped = frame["ship_date"].iloc[row]
        return (
            -frame["priority"].iloc[row] if priority else 0,
            (1, 0) if pd.isna(shipped) else (0, shipped.value),
            frame["order_id"].iloc[row],
        )

    return sorted(range(len(frame)), key=place)


def room_by_hand(fund, spent, day):
    """Return what an order of a ship day can get from a fund that has spent some fen on each day."""
    left = [2**62]
    if fund.budget_fen is not None:
        left.append(fund.budget_fen - sum(spent.values()))
    if fund.per_day_fen is not None:
        left.append(fund.per_day_fen - spent.get(day, 0) if day else 0)
    if fund.pacing is not None:
        days = [str(one.date()) for one in pd.date_range(fund.start, fund.end)]
        if day not in days:
            return 0
        rest = fund.budget_fen - sum(fen for when, fen in spent.items() if when < day)
        left.append(max(0, rest) // len(days[days.index(day) :]) - spent.get(day, 0))
    return max(0, min(left))


def by_hand(tariff, frame, *, priority=False, balances=None):
    """Return list, merchant's fen and what each rule paid of every order, from dictionaries and the slow twin."""
    balances = Balances() if balances is None else balances
    plan, found = tariff.pricer.plan_arguments, {}
    orders = frame.to_dict("records")
    for row in in_fixed_order(frame, priority=priority):
        order = orders[row]
        merchant, shipped = order["merchant_id"], order["ship_date"]
        counted = not is_missing(merchant) and not is_missing(shipped)
        left, labels = [], []
        for rule in tariff.subsidies:
            spent = balances.spent.get(rule.name, 0)
            room = 2**62 if rule.budget_fen is None else rule.budget_fen - spent
            label = None
            if rule.period is not None:
                label = (merchant, str(shipped.date())[: 10 if rule.period == "day" else 7]) if counted else None
                taken = balances.spent_by_merchant.get(rule.name, {}).get(label, 0)
                room = min(room, rule.merchant_cap_fen - taken) if counted else 0
            left.append(room)
            labels.append(label)
        day = str(shipped.date()) if not is_missing(shipped) else ""
        in_funds = {
            fund.name: room_by_hand(fund, balances.spent_by_fund.get(fund.name, {}), day) for fund in tariff.funds
        }
        draw = int(dither_draws(np.array([order["order_id"]]), "a secret")[0])
        carried = balances.remainders.get(merchant, 0)
        priced = _reference.price_order(
            codes_of(tariff, order), plan, len(tariff.payers), draw=draw, remainder=carried, left=left,
            funds=[rule.fund for rule in tariff.subsidies], left_in_funds=in_funds,
        )  # fmt: skip
        by_day = {fund.name for fund in tariff.funds if fund.is_by_day}
        if tariff.rounding == "carry":
            balances.remainders[merchant] = carried + priced.filed_micro - 10_000 * priced.rounded_fen
        for rule, label, fen in zip(tariff.subsidies, labels, priced.paid, strict=True):
            if rule.is_limited:
                balances.spent[rule.name] = balances.spent.get(rule.name, 0) + fen
            if fen and rule.fund is not None:
                spent = balances.spent_by_fund.setdefault(rule.fund, {})
                key = day if rule.fund in by_day else ""
                spent[key] = spent.get(key, 0) + fen
            if fen and rule.period is not None:
                spent = balances.spent_by_merchant.setdefault(rule.name, {})
                spent[label] = spent.get(label, 0) + fen
        found[row] = (priced.list_fen, priced.merchant_fen, *priced.paid, priced.flags & 1)
    columns = [*MONEY, *(f"paid: {rule.name}" for rule in tariff.subsidies), "floor_bound"]
    return pd.DataFrame([found[row] for row in range(len(frame))], columns=columns), balances


def priced(tariff, frame, **more):
    columns = [*MONEY, *(f"paid: {rule.name}" for rule in tariff.subsidies), "floor_bound"]
    return tariff.price(frame, campaigns=True, **more)[columns].astype(np.int64).reset_index(drop=True)


def without_nothing(balances):
    """Return balances without the rules and merchants that spent nothing."""
    return Balances(
        {name: fen for name, fen in balances.spent.items() if fen},
        {name: spent for name, spent in balances.spent_by_merchant.items() if spent},
        {name: micro for name, micro in balances.remainders.items() if micro},
        spent_by_fund={
            name: {day: fen for day, fen in spent.items() if fen}
            for name, spent in balances.spent_by_fund.items()
            if any(spent.values())
        },
    )


def no_missing_merchants(frame, rounding):
    return frame.assign(merchant_id=frame["merchant_id"].fillna("m1")) if rounding == "carry" else frame


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Pieces of seven orders, so that budgets end in the middle of a batch of many pieces."""
    monkeypatch.setattr(pricing_module, "PRICE_CHUNK", 7)
    monkeypatch.setattr(settling_module, "WAVE", 3)


@given(limited_programmes(), MODES, FLOORS, SIZES, seeds, st.booleans(), st.sampled_from([1, 2]))
def test_a_batch_comes_to_what_its_orders_come_to_one_by_one(rules, rounding, floor, size, seed, priority, threads):
    tariff = tariff_of(rules, rounding, floor)
    frame = no_missing_merchants(draw_batch(np.random.default_rng(seed), size), rounding)
    expected, spent = by_hand(tariff, frame, priority=priority)
    balances = Balances()
    found = priced(tariff, frame, priority="priority" if priority else None, balances=balances, threads=threads)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)
    assert without_nothing(balances) == without_nothing(spent)


@given(limited_programmes(), MODES, SIZES, seeds, st.data())
def test_rows_pieces_and_threads_change_nothing(rules, rounding, size, seed, data):
    tariff, rng = tariff_of(rules, rounding), np.random.default_rng(seed)
    frame = no_missing_merchants(draw_batch(rng, size), rounding)
    whole, balances = Balances(), Balances()
    expected = priced(tariff, frame, balances=whole, threads=1)
    shuffled = rng.permutation(size)
    pd.testing.assert_frame_equal(
        priced(tariff, frame.iloc[shuffled], threads=2), expected.iloc[shuffled].reset_index(drop=True)
    )
    order = in_fixed_order(frame, priority=False)
    cuts = sorted(data.draw(st.lists(st.integers(0, size), max_size=3)))
    parts = [order[start:stop] for start, stop in zip([0, *cuts], [*cuts, size], strict=True)]
    found = pd.concat([priced(tariff, frame.iloc[rows], balances=balances, threads=1) for rows in parts])
    pd.testing.assert_frame_equal(found.reset_index(drop=True), expected.iloc[order].reset_index(drop=True))
    assert without_nothing(balances) == without_nothing(whole)


@given(limited_programmes(), MODES, FLOORS, SIZES, seeds)
def test_the_ledger_of_every_order_and_every_limit_holds(rules, rounding, floor, size, seed):
    tariff = tariff_of(rules, rounding, floor)
    frame = no_missing_merchants(draw_batch(np.random.default_rng(seed), size), rounding)
    balances = Balances()
    quotes = tariff.price(frame, campaigns=True, balances=balances)
    payers = [f"{payer}_fen" for payer in tariff.payers]
    np.testing.assert_array_equal(quotes[payers].sum(axis=1) + quotes["merchant_fen"], quotes["list_fen"])
    assert (quotes[[*payers, "merchant_fen"]] >= 0).all().all()
    assert (quotes["merchant_fen"] >= floor).all()
    for payer in tariff.payers:
        of_payer = [f"paid: {rule.name}" for rule in tariff.subsidies if rule.payer == payer]
        np.testing.assert_array_equal(quotes[of_payer].sum(axis=1), quotes[f"{payer}_fen"])
    for rule in tariff.subsidies:
        paid = quotes[f"paid: {rule.name}"]
        if rule.is_limited:
            assert balances.spent.get(rule.name, 0) == paid.sum()
        if rule.budget_fen is not None:
            assert paid.sum() <= rule.budget_fen
        if rule.period is not None:
            when = frame["ship_date"].dt.to_period("D" if rule.period == "day" else "M")
            assert paid[frame["merchant_id"].isna() | when.isna()].sum() == 0
            assert paid.groupby([frame["merchant_id"], when]).sum().max() <= rule.merchant_cap_fen or not paid.any()


@given(limited_programmes(), subsidies("further", groups=st.just(None)), SIZES, seeds, st.data())
def test_a_further_rule_without_limits_never_raises_a_price_where_no_limited_rule_has_rivals(
    rules, further, size, seed, data
):
    rules = [replace(rule, group=None) if rule.is_limited else rule for rule in rules]
    frame = draw_batch(np.random.default_rng(seed), size)
    place = data.draw(st.integers(0, len(rules)))
    before = tariff_of(rules).price(frame)["merchant_fen"]
    after = tariff_of([*rules[:place], further, *rules[place:]]).price(frame)["merchant_fen"]
    assert (after <= before).all()


def test_a_further_rule_may_let_a_rival_with_a_budget_win_and_run_dry():
    # 60 fen: half of the rest, or 26 of a budget of 26. Ten off first, and the budget wins the first order.
    rivals = [
        Subsidy("half", "platform", percent_of_rest=0.5, group="sale"),
        Subsidy("grant", "insurer", fixed_fen=26, budget_fen=26, group="sale"),
    ]
    orders = pd.DataFrame({"order_id": [1, 2], "ship_date": pd.Timestamp("2025-06-01"), "merchant_class": 163})
    ten = Subsidy("ten", "platform", fixed_fen=10)
    fewer, more = (tariff_of(rules).price(orders)["merchant_fen"].tolist() for rules in (rivals, [ten, *rivals]))
    assert fewer == [30, 30]
    assert more == [24, 25]
    # So it may raise the price of another order: the second, of 40 fen, had the budget, and is left with the half.
    orders = orders.assign(merchant_class=[163, 108])
    ten = replace(ten, where={"merchant_class": [163]})
    fewer, more = (tariff_of(rules).price(orders)["merchant_fen"].tolist() for rules in (rivals, [ten, *rivals]))
    assert fewer == [30, 14]
    assert more == [24, 20]


@given(limited_programmes(), MODES, seeds)
def test_a_quote_is_the_price_of_a_batch_of_one_and_spends_nothing(rules, rounding, seed):
    tariff = tariff_of(rules, rounding)
    frame = no_missing_merchants(draw_batch(np.random.default_rng(seed), 12), rounding)
    balances = Balances()
    tariff.price(frame.iloc[:11], balances=balances)
    before = balances.copy()
    quote = tariff.quote(frame.iloc[11].to_dict(), balances=balances)
    assert balances == before
    assert quote == tariff.price(frame.iloc[[11]], balances=before).iloc[0].to_dict()


@given(limited_programmes(), MODES, seeds)
def test_the_worksheet_agrees_where_limits_bind(rules, rounding, seed):
    tariff = tariff_of(rules, rounding)
    frame = no_missing_merchants(draw_batch(np.random.default_rng(seed), 12), rounding)
    balances = Balances()
    tariff.price(frame.iloc[:11], balances=balances)
    sheet = tariff.explain(frame.iloc[11].to_dict(), balances=balances)
    assert sheet.quote == tariff.quote(frame.iloc[11].to_dict(), balances=balances)


# What fails half way


@given(limited_programmes(), MODES, seeds, st.data())
def test_an_interrupt_at_any_line_spends_all_or_nothing(rules, rounding, seed, data):
    tariff = tariff_of(rules, rounding)
    rng = np.random.default_rng(seed)
    first, second = (no_missing_merchants(draw_batch(rng, 20), rounding) for _ in range(2))
    before = Balances()
    tariff.price(first, balances=before)
    after = before.copy()
    lines = lines_of(lambda: tariff.price(second, balances=after, threads=1))
    balances = before.copy()
    stopped = interrupted(
        lambda: tariff.price(second, balances=balances, threads=1), data.draw(st.integers(1, lines + 20))
    )
    assert balances in ([before, after] if stopped else [after])
    if balances != after:
        tariff.price(second, balances=balances)
        assert balances == after


@pytest.mark.parametrize("where", ["settle_in_order", "frame_of"])
@pytest.mark.parametrize("rounding", ["half_even", "carry"])
def test_pricing_that_fails_spends_nothing(monkeypatch, where, rounding):
    tariff = tariff_of([Subsidy("grant", "platform", fixed_fen=10, budget_fen=25)], rounding)
    balances = Balances()
    tariff.price(orders_at(3.7, 1), balances=balances)
    before = balances.copy()
    whole = getattr(pricing_module, where)

    def fail(*arguments, **more):
        whole(*arguments, **more)
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(pricing_module, where, fail)
        with pytest.raises(MemoryError):
            tariff.price(orders_at(3.7, 4), balances=balances)
    assert balances == before
    assert balances.met == before.met


def orders_at(fen, n, **more):
    frame = pd.DataFrame({"order_id": range(n), "merchant_id": "m1", "ship_date": pd.Timestamp("2025-06-01")})
    return frame.assign(merchant_class=round(fen / 0.37), **more)


def test_the_order_that_meets_the_end_of_a_budget_is_paid_what_is_left():
    tariff = tariff_of([Subsidy("grant", "platform", fixed_fen=10, budget_fen=25)])
    balances = Balances()
    assert tariff.price(orders_at(37, 4), balances=balances)["platform_fen"].tolist() == [10, 10, 5, 0]
    assert balances == Balances({"grant": 25})
    assert tariff.price(orders_at(37, 2), balances=balances)["platform_fen"].tolist() == [0, 0]
    assert balances.left(tariff.subsidies[0]) == 0


def test_rules_at_their_end_leave_the_others_as_they_were():
    # Budgets of 25, 40 and none over pieces of seven orders: each end is met in another piece.
    rules = [
        Subsidy("small", "platform", fixed_fen=3, budget_fen=25),
        Subsidy("large", "insurer", percent_of_rest=0.1, budget_fen=40),
        Subsidy("ever", "platform", percent_of_rest=0.5),
    ]
    tariff, frame = tariff_of(rules), orders_at(37, 60)
    balances = Balances()
    expected, spent = by_hand(tariff, frame.assign(priority=0))
    for threads in (1, 2):
        balances = Balances()
        pd.testing.assert_frame_equal(
            priced(tariff, frame, balances=balances, threads=threads), expected, check_dtype=False
        )
        assert without_nothing(balances) == without_nothing(spent)
        assert balances.spent == {"small": 25, "large": 40}
    assert {name for name, _, _ in balances.met} == {"small", "large"}
    assert priced(tariff, frame, balances=balances)["paid: small"].sum() == 0


@pytest.mark.parametrize("rounding", ["half_even", "carry", "dither"])
def test_no_orders_spend_nothing(rounding):
    tariff, balances = tariff_of([Subsidy("grant", "platform", fixed_fen=10, budget_fen=25)], rounding), Balances()
    assert tariff.price(orders_at(37, 0), balances=balances, campaigns=True)["paid: grant"].tolist() == []
    assert without_nothing(balances) == Balances()


@pytest.mark.parametrize("missing", [{"merchant_id": None}, {"ship_date": pd.NaT}])
def test_an_order_that_counts_against_nobody_is_not_eligible_for_a_capped_rule(missing):
    rule = Subsidy("grant", "platform", fixed_fen=10, merchant_cap_fen=15, period="day")
    tariff, frame = tariff_of([rule]), orders_at(37, 2)
    assert tariff.price(frame.assign(**missing))["platform_fen"].tolist() == [0, 0]
    assert tariff.quote(frame.iloc[0].to_dict() | missing)["platform_fen"] == 0


def test_a_cap_by_merchant_and_month_starts_anew_with_the_month():
    tariff = tariff_of([Subsidy("grant", "platform", fixed_fen=10, merchant_cap_fen=15, period="month")])
    days = pd.to_datetime(["2025-05-30", "2025-05-31", "2025-06-01", "2025-06-02", "2025-06-03"])
    frame = orders_at(37, 5).assign(ship_date=days)
    balances = Balances()
    assert tariff.price(frame, balances=balances)["platform_fen"].tolist() == [10, 5, 10, 5, 0]
    assert balances.spent_by_merchant == {"grant": {("m1", "2025-05"): 15, ("m1", "2025-06"): 15}}


def test_times_of_one_day_decide_who_is_served():
    tariff = tariff_of([Subsidy("grant", "platform", fixed_fen=10, budget_fen=10)])
    times = pd.to_datetime(["2025-06-01 10:00:00.000002", "2025-06-01 10:00:00.000001", "2025-06-01 23:00:00.0"])
    frame = orders_at(37, 3).assign(ship_date=times, vip=[0, 0, 1])
    assert tariff.price(frame)["platform_fen"].tolist() == [0, 10, 0]
    assert tariff.price(frame, priority="vip")["platform_fen"].tolist() == [0, 0, 10]


@pytest.mark.parametrize("ids", [["b", "a"], [2, 1]])
def test_at_one_time_the_order_id_decides(ids):
    tariff = tariff_of([Subsidy("grant", "platform", fixed_fen=10, budget_fen=10)])
    assert tariff.price(orders_at(37, 2).assign(order_id=ids))["platform_fen"].tolist() == [0, 10]


def test_carried_rounding_charges_each_merchant_within_half_a_fen():
    tariff, rng = tariff_of([], "carry", floor_fen=0), np.random.default_rng(3)
    frame = draw_batch(rng, 3_000)
    frame = frame.assign(merchant_class=rng.integers(0, 9, 3_000), merchant_id=frame["merchant_id"].fillna("m1"))
    quotes = tariff.price(frame)
    due = np.rint(1e6 * quotes["technical_premium"])
    owed = (due - 10_000 * quotes["list_fen"]).groupby(frame["merchant_id"]).sum()
    assert owed.abs().max() <= 5_000
    nearest = tariff_of([], floor_fen=0).price(frame)["list_fen"]
    assert (due - 10_000 * nearest).groupby(frame["merchant_id"]).sum().abs().max() > 50_000


@pytest.mark.parametrize(
    ("missing", "rounding"), [("ship_date", "carry"), ("order_id", "dither"), ("merchant_id", "carry")]
)
def test_what_the_order_of_orders_needs_must_be_there(missing, rounding):
    with pytest.raises(InputError, match=f"missing column '{missing}'"):
        tariff_of([], rounding).price(orders_at(37, 2).drop(columns=missing))


def test_bad_ids_and_priorities_are_refused():
    tariff = tariff_of([Subsidy("grant", "platform", fixed_fen=10, budget_fen=10)])
    mixed = orders_at(37, 3).assign(order_id=["a", "b", None])
    with pytest.raises(InputError, match=r"'order_id' is missing in 1 row \(first: 2\)"):
        tariff.price(mixed)
    with pytest.raises(InputError, match=r"'vip' is missing in 1 row \(first: 0\)"):
        tariff.price(orders_at(37, 3).assign(vip=[np.nan, 0, 1]), priority="vip")
    with pytest.raises(InputError, match=r"'order_id' is missing in 1 row \(first: 2\)"):
        tariff_of([], "dither").price(mixed)
    with pytest.raises(InputError, match=r"'order_id' is missing in 1 row \(first: 2\)"):
        tariff_of([], "dither").price(mixed.assign(order_id=[1.0, 2.0, np.nan]))
    with pytest.raises(InputError, match=r"'merchant_id' is missing in 1 row \(first: 1\)"):
        tariff_of([], "carry").price(orders_at(37, 3).assign(merchant_id=["a", None, "b"]))


def test_limits_are_checked():
    with pytest.raises(InputError, match="has only one of merchant_cap_fen and period"):
        Subsidy("a", "platform", fixed_fen=1, merchant_cap_fen=5)
    with pytest.raises(InputError, match="period of subsidy 'a' is 'year'"):
        Subsidy("a", "platform", fixed_fen=1, merchant_cap_fen=5, period="year")
    with pytest.raises(InputError, match="budget_fen of subsidy 'a' is -1"):
        Subsidy("a", "platform", fixed_fen=1, budget_fen=-1)
    twice = [Subsidy("a", "platform", fixed_fen=1, budget_fen=5), Subsidy("a", "insurer", fixed_fen=1)]
    with pytest.raises(
        InputError, match="2 rules are named 'a', but the name identifies a rule's payments and its budget"
    ):
        tariff_of(twice)
    with pytest.raises(InputError, match="dither_key of a tariff that rounds by dither is ''"):
        changed(tariff_of([]), rounding="dither")
    with pytest.raises(InputError, match="dither_key is given, but rounding is 'half_even'"):
        changed(tariff_of([]), dither_key="x")


def test_quotes_in_other_frames_and_buffers():
    tariff = tariff_of([Subsidy("grant", "platform", fixed_fen=10, budget_fen=25)])
    frame = orders_at(37, 4)
    polars = pytest.importorskip("polars")
    table = polars.DataFrame(frame)
    quotes = tariff.price(table, campaigns=True)
    assert quotes["paid: grant"].to_list() == [10, 10, 5, 0]
    # polars sums 32 bits in 32 bits; numpy, pandas and pyarrow take 64.
    assert {quotes.schema[name] for name in quotes.columns if name.endswith(("_fen", "grant"))} == {polars.Int64}
    coded = tariff.encode(table.to_arrow())
    buffers = tariff.buffers(4, campaigns=True)
    for _ in range(2):
        columns = tariff.price_columns(coded, threads=1, campaigns=True, buffers=buffers)
        assert columns["paid: grant"].tolist() == [10, 10, 5, 0]
    with pytest.raises(InputError, match="without detail or campaigns"):
        tariff.price_columns(coded, threads=1, campaigns=True, buffers=tariff.buffers(4))
    with pytest.raises(InputError, match="rounded of another type or shape than this tariff writes"):
        tariff.price_columns(coded, threads=1, buffers=tariff_of([Subsidy("a", "platform", fixed_fen=1)]).buffers(4))


# Orders that were encoded once


@given(limited_programmes(), MODES, FLOORS, seeds, st.integers(0, 40))
def test_pickled_orders_are_priced_as_they_were(rules, rounding, floor, seed, size):
    tariff = tariff_of(rules, rounding, floor)
    frame = no_missing_merchants(draw_batch(np.random.default_rng(seed), size), rounding)
    coded = tariff.encode(frame)
    again = pickle.loads(pickle.dumps(coded))
    elsewhere = pickle.loads(pickle.dumps(tariff))
    pd.testing.assert_frame_equal(elsewhere.price(again, campaigns=True), tariff.price(coded, campaigns=True))


def forged(coded, **changes):
    """Return the parts of a pickle with some of them changed."""
    names = ("arrays", "sizes", "n_orders", "index", "kind", "key", "draws", "sequence", "measures")
    parts = dict(zip(names, coded.__reduce__()[1], strict=True))
    return {name: change(parts[name]) for name, change in changes.items()} | {
        name: part for name, part in parts.items() if name not in changes
    }


CAPPED = Subsidy("a", "platform", fixed_fen=2, merchant_cap_fen=50, period="day")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"arrays": lambda arrays: [array + np.uint8(200) for array in arrays]}, "at or above the .* slots"),
        ({"arrays": lambda arrays: [array[:9] for array in arrays]}, "have wrong lengths"),
        (
            {"arrays": lambda arrays: [*arrays, arrays[0][:9]], "sizes": lambda sizes: [*sizes, sizes[0]]},
            "different lengths",
        ),
        ({"arrays": lambda arrays: [*arrays, arrays[0]]}, "have wrong lengths"),
        ({"arrays": lambda arrays: [array.astype(np.int64) for array in arrays]}, "are int64; they must be"),
        ({"n_orders": lambda n: n + 1}, "have wrong lengths"),
        ({"draws": lambda draws: np.zeros(3, dtype=np.uint16)}, "have wrong lengths"),
        ({"measures": lambda measures: np.zeros((1, 19))}, "have wrong lengths"),
        ({"measures": lambda measures: np.full((1, 20), np.nan)}, "have wrong lengths"),
        ({"measures": lambda measures: np.zeros((1, 20), dtype=np.float32)}, "have wrong lengths"),
        ({"measures": lambda measures: np.zeros((1, 40))[:, ::2]}, "have wrong lengths"),
        ({"sequence": lambda found: replace(found, keys=found.keys + 10**6)}, "damaged"),
        ({"sequence": lambda found: replace(found, keys=found.keys[:, :3])}, "damaged"),
        ({"sequence": lambda found: replace(found, permutation=np.arange(1, 21))}, "damaged"),
        ({"sequence": lambda found: replace(found, merchants=np.full(20, -1, dtype=np.int32))}, "damaged"),
    ],
)
def test_damaged_pickles_are_refused(changes, match):
    tariff = tariff_of([CAPPED], "carry")
    coded = tariff.encode(no_missing_merchants(draw_batch(np.random.default_rng(1), 20), "carry"))
    with pytest.raises(InputError, match=match):
        coded_again(**forged(coded, **changes))


def test_orders_of_other_tables_or_needs_are_refused_by_the_pricing_of_columns():
    tariff = tariff_of([CAPPED], "dither")
    coded = tariff.encode(draw_batch(np.random.default_rng(1), 20))
    for changes in (
        {"sizes": lambda sizes: [size + 1 for size in sizes]},
        {"draws": lambda draws: draws[:0]},
        {"sequence": lambda _: None},
    ):
        with pytest.raises(InputError, match="rounding or budgets; encode them with this tariff"):
            tariff.price_columns(coded_again(**forged(coded, **changes)), threads=1)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"spent_by_merchant": {"c": {(17, "2026-06-02"): 20, ("17", "2026-06-02"): 1}}}, "two amounts for"),
        ({"remainders": {17: 1, "17": 2}}, "two amounts for '17'"),
        ({"spent_by_merchant": {"c": {(17, dt.date(2026, 6, 2)): 20}}}, "name the period datetime.date"),
        ({"remainders": {17: 10**30}}, "a remainder of balances"),
        ({"spent": {"c": "5"}}, "an amount of balances"),
        ({"spent": {"c": -100}}, "an amount of balances"),
        ({"spent": {"c": 5000.5}}, "an amount of balances"),
        ({"remainders": {None: 1}}, "missing merchant"),
    ],
)
def test_balances_hold_whole_amounts_of_one_merchant_each(contents, message):
    with pytest.raises(InputError, match=message):
        Balances(**contents)


def test_balances_know_a_merchant_by_its_id():
    capped = Subsidy("c", "platform", fixed_fen=5, merchant_cap_fen=20, period="day")
    spent = Balances(spent_by_merchant={"c": {("17", "2026-06-02"): 20}})
    assert [spent.left_of(capped, merchant, "2026-06-02") for merchant in (17, "17", 17.0, 18)] == [0, 0, 0, 20]
    for door in (tariff_of([capped]).quote, tariff_of([capped]).price):
        with pytest.raises(InputError, match=r"balances is .*; it must be a Balances"):
            door(orders_at(37, 1) if door.__name__ == "price" else orders_at(37, 1).iloc[0], balances={"c": 1})


WRONG_REMAINDERS = [10**14, 2**63 - 1, -(2**63), 2**63, 2**70, 1.5, np.nan, np.inf, "9", None, True]
WRONG_FEN = [-1, -(2**63), 2**63, 10**30, 1.5, np.nan, "9", None, True]


@pytest.mark.parametrize(
    ("where", "wrong"),
    [("remainders", value) for value in WRONG_REMAINDERS]
    + [(where, value) for where in ("spent", "spent_by_merchant") for value in WRONG_FEN],
)
def test_amounts_that_were_put_into_balances_later_are_checked_where_they_are_used(where, wrong):
    rule = Subsidy("gift", "platform", fixed_fen=5, budget_fen=100, merchant_cap_fen=50, period="day")
    tariff, orders = tariff_of([rule], "carry"), orders_at(37, 3)
    merchant, day = orders["merchant_id"].iloc[0], str(orders["ship_date"].iloc[0].date())
    balances = Balances()
    change = {"spent": {"gift": wrong}, "remainders": {merchant: wrong}}
    change["spent_by_merchant"] = {"gift": {(merchant, day): wrong}}
    getattr(balances, where).update(change[where])
    before = balances.copy()
    for door in (
        lambda: tariff.price(orders, balances=balances),
        lambda: tariff.quote(orders.iloc[0], balances=balances),
        lambda: tariff.explain(orders.iloc[0], balances=balances),
    ):
        with pytest.raises(InputError, match=r"of balances, in .*; it must be a whole number in"):
            door()
    assert repr(balances) == repr(before)
