"""Subsidies: who is eligible to the day and the decimal, how much, and what more rules can and cannot do."""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta, timezone

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freightrisk import Cover, Factor, FrequencyModel, Interval, Loadings, OrderBook, SeverityModel, Subsidy, Tariff
from freightrisk.errors import FreightRiskWarning, InputError
from freightrisk.tariff.conditions import compile_gates
from freightrisk.tariff.plan import RateTables
from freightrisk.tariff.quotes import quote_names
from freightrisk.tariff.subsidy import conditions_of, group_numbers, in_stacking_order
from strategies import (
    CLASSES,
    draw_orders,
    limited_programmes,
    orders,
    programmes,
    put_together,
    seeds,
    subsidies,
)

STEPS = ["claim_intensity", "expected_claims", "expected_payout", "pure_premium", "technical_premium", "list_fen"]


def priced_by_class(rules=(), *, floor_fen=1):
    """A tariff whose list price of merchant class k is k fen."""
    table = np.maximum([*CLASSES, 0.5], 1e-6)
    return put_together(
        frequency=RateTables(0.01, {"merchant_class": table}),
        severity=RateTables(1.0, {}),
        cover=Cover(max_claims=None),
        subsidies=rules,
        floor_fen=floor_fen,
    )


def paid_fen(rules, fen, *, floor_fen=1, **order):
    """Return (fen of each payer, merchant's fen) of an order with the given list price."""
    rules = [rules] if isinstance(rules, Subsidy) else rules
    tariff = priced_by_class(rules, floor_fen=floor_fen)
    order = draw_orders(np.random.default_rng(0), 1).to_dict("records")[0] | {"merchant_class": fen} | order
    quote = tariff.quote(order)
    assert quote["list_fen"] == max(fen, floor_fen)
    return *(quote[f"{payer}_fen"] for payer in tariff.payers), quote["merchant_fen"]


def subsidy_gates(rules):
    return compile_gates({"subsidies": conditions_of(rules)})


def gift(**more):
    """A rule of ten fen."""
    return Subsidy("gift", "platform", fixed_fen=10, **more)


# Laws


@given(programmes(), orders())
def test_subsidies_never_touch_the_premium(rules, frame):
    with_rules, without = (priced_by_class(some).price(frame, threads=1) for some in (rules, ()))
    pd.testing.assert_frame_equal(with_rules[STEPS], without[STEPS], check_exact=True)


@given(programmes(), subsidies("further", groups=st.just(None)), st.data(), seeds)
def test_a_further_rule_anywhere_never_raises_a_merchants_price(rules, further, data, seed):
    frame = draw_orders(np.random.default_rng(seed), 200)
    place = data.draw(st.integers(0, len(rules)))
    fewer, more = rules, [*rules[:place], further, *rules[place:]]
    before, after = (priced_by_class(some).price(frame, threads=1)["merchant_fen"] for some in (fewer, more))
    assert (after <= before).all()


@given(programmes(), subsidies("further"), seeds)
def test_a_further_rule_at_the_end_never_raises_a_merchants_price_even_in_a_group(rules, further, seed):
    frame = draw_orders(np.random.default_rng(seed), 200)
    before, after = (
        priced_by_class(some).price(frame, threads=1)["merchant_fen"] for some in (rules, [*rules, further])
    )
    assert (after <= before).all()


@pytest.mark.parametrize(
    "nobody",
    [
        {"where": {"channel": ["no such channel"]}},
        {"where": {"experience_score": Interval(above=5.0)}},
        {"where": {"channel": ["search"], "price": Interval(above=1e6)}},
        {"end": "2024-12-31"},
        {"start": date(2026, 1, 1)},
    ],
)
@given(rules=programmes(), frame=orders(), data=st.data())
def test_a_rule_for_nobody_changes_nothing(nobody, rules, frame, data):
    place = data.draw(st.integers(0, len(rules)))
    rule = Subsidy("for nobody", "nobody", percent_of_list=1.0, **nobody)
    before = priced_by_class(rules).price(frame, threads=1)
    after = priced_by_class([*rules[:place], rule, *rules[place:]]).price(frame, threads=1)
    assert (after["nobody_fen"] == 0).all()
    pd.testing.assert_frame_equal(after[list(before)], before, check_exact=True)


ONE_GROUP = [subsidies(name=f"rule {k}", groups=st.just("one")) for k in range(4)]


@given(st.integers(1, 4).flatmap(lambda n: st.tuples(*ONE_GROUP[:n])), orders())
def test_a_group_pays_what_its_best_rule_alone_would_pay(rules, frame):
    together = priced_by_class(rules).price(frame, threads=1)["merchant_fen"].to_numpy()
    alone = [priced_by_class([rule]).price(frame, threads=1)["merchant_fen"].to_numpy() for rule in rules]
    np.testing.assert_array_equal(together, np.min(alone, axis=0))


@given(programmes())
def test_stacking_order_keeps_groups_together_at_the_place_of_their_first_rule(rules):
    ordered = in_stacking_order(rules)
    assert sorted(rule.name for rule in ordered) == sorted(rule.name for rule in rules)
    firsts = [rule for k, rule in enumerate(rules) if rule.group not in {r.group for r in rules[:k]} - {None}]
    numbers = group_numbers(ordered)
    assert [ordered[numbers.index(number)] for number in dict.fromkeys(numbers)] == firsts
    assert in_stacking_order(ordered) == ordered
    for name in {rule.group for rule in rules} - {None}:
        assert len({number for number, rule in zip(numbers, ordered, strict=True) if rule.group == name}) == 1


@given(st.one_of(programmes(), limited_programmes()), orders())
def test_columns_of_a_quote_have_a_name_each_and_what_rules_pay_is_what_their_payers_pay(rules, frame):
    tariff = priced_by_class(rules)
    coded = tariff.encode(frame.assign(order_id=range(len(frame)), merchant_id="m"))
    quotes = tariff.price(coded, campaigns=True)
    assert len(set(quotes.columns)) == len(quotes.columns) == len(quote_names(tariff.payers, tariff.flags)) + len(rules)
    for payer in tariff.payers:
        paid = sum(quotes[f"paid: {rule.name}"] for rule in rules if rule.payer == payer)
        pd.testing.assert_series_equal(quotes[f"{payer}_fen"], paid, check_names=False)


@given(st.one_of(programmes(), limited_programmes()).filter(len), st.data())
def test_two_rules_of_one_name_make_no_tariff(rules, data):
    rule, more = data.draw(st.sampled_from(rules)), data.draw(subsidies("further"))
    with pytest.raises(InputError, match=f"2 rules are named '{rule.name}', .* give each rule its own name"):
        priced_by_class([*rules, replace(more, name=rule.name)])


# Eligibility


DAYS = st.dates(date(1970, 1, 1), date(2200, 1, 1))
CLOCKS = st.times().filter(lambda clock: clock != time())
ZONES = st.sampled_from([None, UTC, timezone(timedelta(hours=8))])


@given(DAYS, ZONES)
def test_a_day_is_the_same_however_it_is_held(day, zone):
    midnight = datetime.combine(day, time(), zone)
    held = [day, str(day), midnight, pd.Timestamp(midnight), np.datetime64(day), np.datetime64(day, "ns")]
    assert {(rule.start, rule.end) for rule in (gift(start=one, end=one) for one in held)} == {(day, day)}


@given(DAYS, CLOCKS, ZONES)
def test_a_time_of_day_is_refused_as_first_or_last_day(day, clock, zone):
    then = datetime.combine(day, clock, zone)
    timed = [then, pd.Timestamp(then), then.isoformat(), then.isoformat(sep=" ", timespec="seconds")]
    timed += [f"{day}T00:00", f"{day} 00:00:00Z", pd.Timestamp(day) + pd.Timedelta(1)]
    timed += [np.datetime64(day, "ns") + np.timedelta64(1, "ns")]
    for one in [*timed, np.datetime64(day, "M"), np.datetime64(day, "Y")]:
        for end in ("start", "end"):
            with pytest.raises(InputError, match=f"{end} of subsidy 'gift' is .*; .* give a day without a time"):
                gift(**{end: one})


@pytest.mark.parametrize(("score", "fen"), [(4.7, 0), (4.80, 0), (np.nextafter(4.8, 5), 10), (4.81, 10), (5.0, 10)])
def test_a_score_of_4_80_itself_does_not_qualify(score, fen):
    assert paid_fen(gift(where={"experience_score": Interval(above=4.8)}), 100, experience_score=score)[0] == fen


@pytest.mark.parametrize(("price", "fen"), [(0.0, 10), (19.99, 10), (20.0, 10), (20.000001, 0), (1e9, 0)])
def test_a_price_of_20_itself_qualifies_for_at_most_20(price, fen):
    assert paid_fen(gift(where={"price": Interval(at_most=20)}), 100, price=price)[0] == fen


@pytest.mark.parametrize(
    ("day", "fen"),
    [
        ("2025-05-31T23:59:59", 0),
        ("2025-06-01T00:00:00", 10),
        ("2025-06-10T12:00:00", 10),
        ("2025-06-20T23:59:59", 10),
        ("2025-06-21T00:00:00", 0),
    ],
)
def test_first_and_last_day_are_inside(day, fen):
    rule = gift(start="2025-06-01", end=date(2025, 6, 20))
    for given_day in (day, datetime.fromisoformat(day), pd.Timestamp(day), np.datetime64(day)):
        assert paid_fen(rule, 100, ship_date=given_day)[0] == fen
    frame = draw_orders(np.random.default_rng(0), 1).assign(ship_date=pd.Timestamp(day))
    assert priced_by_class([rule]).price(frame)["platform_fen"].tolist() == [min(fen, frame["merchant_class"][0])]


@pytest.mark.parametrize(
    "period", [{"start": "2025-06-01"}, {"end": "2025-06-01"}, {"start": "2025-06-01", "end": "2025-06-01"}]
)
def test_periods_open_at_one_end_and_of_one_day(period):
    inside = {"start": ["2025-06-01", "2099-01-01"], "end": ["1990-01-01", "2025-06-01"]}
    days = {*inside.get("start", []), *inside.get("end", [])} | {"2025-05-31", "2025-06-02"}
    for day in days:
        fen = 10 if period.get("start", "0") <= day <= period.get("end", "9") else 0
        assert paid_fen(gift(**period), 100, ship_date=day)[0] == fen


@pytest.mark.parametrize(
    ("where", "missing"),
    [
        ({"channel": ["search"]}, {"channel": None}),
        ({"segment": ["new"]}, {"segment": np.nan}),
        ({"tenure_days": Interval(above=-1e9)}, {"tenure_days": np.nan}),
        ({"tenure_days": Interval(at_most=1e9)}, {"tenure_days": None}),
        ({"tenure_days": Interval()}, {"tenure_days": np.nan}),
    ],
)
def test_a_missing_value_is_never_eligible(where, missing):
    assert paid_fen(gift(where=where), 100, **missing) == (0, 100)
    frame = draw_orders(np.random.default_rng(0), 2).assign(**missing, merchant_class=100)
    assert priced_by_class([gift(where=where)]).price(frame)["platform_fen"].tolist() == [0, 0]


def test_an_order_not_shipped_gets_no_dated_subsidy():
    frame = draw_orders(np.random.default_rng(0), 2).assign(merchant_class=100)
    frame["ship_date"] = pd.to_datetime([None, "2025-06-01"])
    assert priced_by_class([gift(start="2025-01-01")]).price(frame)["platform_fen"].tolist() == [0, 10]
    assert paid_fen(gift(start="2025-01-01"), 100, ship_date=None) == (0, 100)


def test_one_column_may_carry_levels_and_intervals():
    rules = [gift(where={"tier": [2]}), Subsidy("key", "insurer", fixed_fen=3, where={"tier": Interval(above=1)})]
    assert [paid_fen(rules, 100, tier=tier) for tier in (1, 2, 3)] == [(0, 0, 100), (10, 3, 87), (0, 3, 97)]


def test_a_flag_is_a_level():
    rule = gift(where={"member": [True]})
    assert [paid_fen(rule, 100, member=member)[0] for member in (True, False)] == [10, 0]
    frame = draw_orders(np.random.default_rng(0), 2).assign(member=[True, False], merchant_class=100)
    assert priced_by_class([rule]).price(frame)["platform_fen"].tolist() == [10, 0]


# Amounts


@pytest.mark.parametrize(
    ("rule", "fen", "expected"),
    [
        # Percentages of 5, 15, 25, 35 fen that end in half a fen go to the even one.
        ({"percent_of_list": 0.5}, 1, (0, 1)),
        ({"percent_of_list": 0.5}, 3, (2, 1)),
        ({"percent_of_list": 0.5}, 5, (2, 3)),
        ({"percent_of_list": 0.5}, 7, (4, 3)),
        ({"percent_of_list": 0.1}, 5, (0, 5)),
        ({"percent_of_list": 0.1}, 15, (2, 13)),
        ({"percent_of_list": 0.1}, 25, (2, 23)),
        ({"percent_of_list": 0.1}, 35, (4, 31)),
        ({"percent_of_rest": 0.1}, 45, (4, 41)),
        ({"percent_of_list": 0.0001}, 299, (0, 299)),
        ({"percent_of_list": 0.29}, 50, (14, 36)),
        ({"percent_of_list": 0.57}, 50, (28, 22)),
        ({"percent_of_list": 1.0}, 50, (49, 1)),
        ({"fixed_fen": 10}, 50, (10, 40)),
        ({"fixed_fen": 50}, 50, (49, 1)),
        ({"fixed_fen": 10}, 1, (0, 1)),
        ({"price_to_fen": 1}, 50, (49, 1)),
        ({"price_to_fen": 1}, 1, (0, 1)),
        ({"price_to_fen": 20}, 50, (30, 20)),
        ({"price_to_fen": 60}, 50, (0, 50)),
        ({"price_to_fen": 1, "cap_fen": 30}, 50, (30, 20)),
        ({"percent_of_list": 0.5, "cap_fen": 20}, 50, (20, 30)),
        ({"percent_of_list": 0.5, "cap_fen": 25}, 50, (25, 25)),
        ({"fixed_fen": 10, "cap_fen": 4}, 50, (4, 46)),
    ],
)
def test_amount_of_one_rule(rule, fen, expected):
    assert paid_fen(Subsidy("rule", "platform", **rule), fen) == expected


@pytest.mark.parametrize(("floor_fen", "expected"), [(0, (50, 0)), (1, (49, 1)), (3, (47, 3)), (60, (0, 60))])
def test_what_the_floor_leaves_unspent_stays_with_the_payer(floor_fen, expected):
    assert paid_fen(Subsidy("all", "platform", percent_of_list=1.0), 50, floor_fen=floor_fen) == expected


def test_rules_apply_in_order():
    percent = Subsidy("half", "platform", percent_of_rest=0.5)
    fixed = Subsidy("ten", "insurer", fixed_fen=10)
    assert paid_fen([percent, fixed], 100) == (50, 10, 40)
    assert paid_fen([fixed, percent], 100) == (10, 45, 45)


def test_percent_of_list_does_not_see_earlier_rules():
    rules = [Subsidy("ten", "insurer", fixed_fen=10), Subsidy("half", "platform", percent_of_list=0.5)]
    assert paid_fen(rules, 100) == (10, 50, 40)


def test_best_of_a_group_applies_at_the_place_of_its_first_rule():
    rules = [
        Subsidy("ten", "insurer", fixed_fen=10, group="sale"),
        Subsidy("half of the rest", "platform", percent_of_rest=0.5),
        Subsidy("thirty", "seller", fixed_fen=30, group="sale"),
    ]
    assert paid_fen(rules, 100) == (0, 30, 35, 35)


def test_the_first_of_a_group_wins_ties():
    rules = [Subsidy(f"from {payer}", payer, fixed_fen=10, group="sale") for payer in ("insurer", "platform")]
    assert paid_fen(rules, 100) == (10, 0, 90)


def test_one_payer_of_several_rules_has_one_column():
    rules = [Subsidy("a", "platform", fixed_fen=10), Subsidy("b", "platform", percent_of_rest=0.5)]
    assert paid_fen(rules, 100) == (55, 45)


def test_a_payer_may_have_a_chinese_name():
    tariff = priced_by_class([Subsidy("大促补贴", "平台", fixed_fen=10)])
    assert tariff.quote({"merchant_class": 100})["平台_fen"] == 10


def test_subsidies_act_on_the_filed_and_floored_price():
    tariff = put_together(
        frequency=RateTables(1.0, {}),
        severity=RateTables(0.9, {}),
        cover=Cover(max_claims=None),
        loadings=Loadings(filed_max=0.5),
        subsidies=[Subsidy("half", "platform", percent_of_list=0.5)],
    )
    assert tariff.quote({})["merchant_fen"] == 25


def test_rules_are_normalised():
    rule = Subsidy("x", "p", percent_of_list=0.07, where={"tier": np.array([2, 1])}, start="2025-06-01")
    assert (rule.kind, rule.amount, rule.start) == ("percent_of_list", 700, date(2025, 6, 1))
    assert rule.where["tier"] == (1, 2)
    assert all(type(level) is int for level in rule.where["tier"])
    with pytest.raises(TypeError):
        rule.where["tier"] = (3,)


def test_every_whole_basis_point_is_exact():
    assert [Subsidy("x", "p", percent_of_list=k / 10_000).amount for k in range(1, 10_001)] == list(range(1, 10_001))


def bad(**more):
    return Subsidy("sale", "platform", **more)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Subsidy("", "platform", fixed_fen=1), "name of a subsidy is ''; it must be a non-empty string"),
        (lambda: Subsidy("sale", "", fixed_fen=1), "payer of subsidy 'sale' is ''"),
        (
            lambda: Subsidy("sale", "the platform", fixed_fen=1),
            "payer of subsidy 'sale' is 'the platform'; .* give a word",
        ),
        (lambda: Subsidy("sale", "merchant", fixed_fen=1), "other than merchant, list, floor"),
        (lambda: Subsidy("sale", "list", fixed_fen=1), "other than merchant, list, floor"),
        (
            lambda: bad(),
            r"subsidy 'sale' has no amount; give exactly one of percent_of_list, percent_of_rest, fixed_fen",
        ),
        (lambda: bad(fixed_fen=1, percent_of_list=0.1), r"has percent_of_list and fixed_fen; give exactly one"),
        (lambda: bad(percent_of_list=0.0), r"percent_of_list of subsidy 'sale' is 0.0; .* in \(0, 1\]"),
        (lambda: bad(percent_of_list=20), "percent_of_list of subsidy 'sale' is 20"),
        (lambda: bad(percent_of_rest=0.12345), r"is 0.12345; it must be a whole number of basis points \(0.0001\)"),
        (lambda: bad(percent_of_rest=np.nan), "percent_of_rest of subsidy 'sale' is nan"),
        (lambda: bad(percent_of_rest="10%"), "percent_of_rest of subsidy 'sale' is '10%'; it must be a number"),
        (lambda: bad(fixed_fen=0), r"fixed_fen of subsidy 'sale' is 0; it must be a whole number in \[1, 1000000000\]"),
        (lambda: bad(fixed_fen=-5), "fixed_fen of subsidy 'sale' is -5"),
        (lambda: bad(fixed_fen=1.5), "fixed_fen of subsidy 'sale' is 1.5; it must be a whole number"),
        (lambda: bad(fixed_fen=True), "fixed_fen of subsidy 'sale' is True"),
        (lambda: bad(price_to_fen=0.01), "price_to_fen of subsidy 'sale' is 0.01; it must be a whole number"),
        (lambda: bad(fixed_fen=1, cap_fen=0), "cap_fen of subsidy 'sale' is 0"),
        (lambda: bad(fixed_fen=1, cap_fen=2.0), "cap_fen of subsidy 'sale' is 2.0"),
        (
            lambda: bad(fixed_fen=1, start="2025-06-02", end="2025-06-01"),
            "starts on 2025-06-02, after its end 2025-06-01",
        ),
        (
            lambda: bad(fixed_fen=1, where={"channel": "search"}),
            r"where\['channel'\] is 'search'; give a list of levels",
        ),
        (
            lambda: bad(fixed_fen=1, where={"price": 20}),
            r"where\['price'\] is 20; give a list of levels or an Interval",
        ),
        (
            lambda: bad(fixed_fen=1, where={"tier": [1, None]}),
            r"where\['tier'\] lists None; a level is a text or a num",
        ),
        (lambda: bad(fixed_fen=1, where={"tier": [np.nan]}), r"where\['tier'\] lists nan"),
        (
            lambda: bad(fixed_fen=1, where={"day": [np.datetime64("2025-06-01")]}),
            r"where\['day'\] lists np.datetime64\('2025-06-01'\)",
        ),
        (lambda: bad(fixed_fen=1, where={"channel": []}), r"where\['channel'\] lists no level, so it never holds"),
        (
            lambda: Interval(above=5, at_most=4),
            r"Interval\(above=5.0, at_most=4.0\) is empty; above must be the smaller",
        ),
        (lambda: Interval(above=4.8, at_most=4.8), "is empty"),
        (lambda: Interval(above=np.nan), "is empty"),
        (lambda: subsidy_gates([gift()] * 65), "65 subsidies were given; a tariff takes at most 64"),
        (lambda: Interval(above="high"), "'high'"),
        (lambda: Interval(above="4.8"), "'4.8'"),
        (lambda: bad(fixed_fen=1, start="2025-13-01"), "start of subsidy 'sale' is '2025-13-01'"),
        (lambda: bad(fixed_fen=1, end="tomorrow"), "end of subsidy 'sale' is 'tomorrow'"),
        (lambda: bad(fixed_fen=1, where=["search"]), "where of subsidy 'sale'"),
        (lambda: bad(fixed_fen=1, where=None), "where of subsidy 'sale'"),
        (lambda: in_stacking_order([bad(fixed_fen=1, group="")]), "group of subsidy 'sale' is ''"),
        (
            lambda: paid_fen(gift(where={"tenure_days": Interval(above=1)}), 100, tenure_days="long"),
            "'tenure_days' is 'long', which is not a number",
        ),
        (lambda: paid_fen(gift(start="2025-06-01"), 100, ship_date="soon"), "'ship_date' is 'soon'"),
    ],
)
def test_bad_calls(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize("missing", [{"ship_date": pd.NaT}, {"tenure_days": pd.NA}])
def test_missing_values_of_pandas_are_missing_in_a_quote_too(missing):
    where = {} if "ship_date" in missing else {"tenure_days": Interval(above=1)}
    rule = gift(where=where, start="2025-06-01" if "ship_date" in missing else None)
    assert paid_fen(rule, 100, **missing) == (0, 100)


# --- rules for levels that no factor has -------------------------------------------------------------------------


def built(levels, *, unseen="parent", known=("live", "search", "shelf")):
    """Return a tariff of a fit whose channel has some levels, with a rule for others."""
    cells = pd.DataFrame({"channel": known, "claims": 5, "exposure": 100.0, "amount": 40.0})
    book = OrderBook.from_counts(
        cells, claims="claims", exposure="exposure", amount="amount", factors=[Factor("channel", unseen=unseen)]
    )
    rule = gift(where={"channel": levels})
    return Tariff.build(FrequencyModel().fit(book), SeverityModel([]).fit(book), subsidies=[rule])


def test_a_rule_for_a_level_that_no_order_of_the_fit_had_is_told_with_the_nearest():
    with pytest.warns(FreightRiskWarning, match="for channel 'Live', which factor 'channel' does not have.*is 'live'"):
        tariff = built(["Live"])
    with pytest.warns(FreightRiskWarning, match="'Live'"):
        tariff.with_subsidies(tariff.subsidies)
    with pytest.raises(InputError, match=r"'serch', which factor 'channel' does not have. Such .* is 'search'"):
        built(["serch"], unseen="error")
    with pytest.raises(InputError, match=r"'live', which factor 'channel' does not have: its levels are numbers"):
        built(["live"], known=(101, 102))


@pytest.mark.parametrize(("levels", "known"), [(["101"], (101, 102)), ([101], ("101", "102")), ([101.0], (101, 102))])
def test_a_rule_meets_a_level_of_another_type_by_its_spelling(levels, known):
    tariff = built(levels, known=known, unseen="error")
    for values in (known, [str(value) for value in known], [int(value) for value in known]):
        quotes = tariff.price(pd.DataFrame({"channel": pd.Series(values)}))
        assert (quotes["platform_fen"] > 0).tolist() == [True, False]


def test_rules_name_the_levels_of_a_column_in_one_way():
    for levels in ([True], ["1"]):
        with pytest.raises(InputError, match="subsidies name levels of 'm' as"):
            subsidy_gates([gift(where={"m": [1]}), Subsidy("other", "insurer", fixed_fen=1, where={"m": levels})])
    both = [gift(where={"merchant_id": [17]}), Subsidy("other", "insurer", fixed_fen=1, where={"merchant_id": ["17"]})]
    (gate,) = subsidy_gates(both)
    assert gate.marks == (17,)
    assert [gate.encode_one({"merchant_id": value}) for value in (17, "17", 17.0, "017")] == [0, 0, 0, 1]


@pytest.mark.parametrize("column", [1, None, True, b"x", ("a", "b"), ""])
def test_a_condition_names_its_column_by_a_text(column):
    with pytest.raises(InputError, match="a column in where of subsidy 'gift' is"):
        gift(where={column: ["x"]})


def test_a_condition_with_many_levels_has_their_masks():
    levels = list(range(60_000))
    (gate,) = subsidy_gates([gift(where={"m": levels}), Subsidy("other", "insurer", fixed_fen=1)])
    assert gate.masks["subsidies"].tolist() == [3] * 60_000 + [2]


def test_one_warning_names_the_unknown_levels_of_a_rule():
    with pytest.warns(FreightRiskWarning) as caught:
        built([f"level {k}" for k in range(300)])
    assert len(caught) == 1
    assert "'level 0' (and 299 more levels), which factor 'channel' does not have" in str(caught[0].message)
