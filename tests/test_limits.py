"""Limits by rule, conditions of the cover, deductible and coinsurance: kernel, twin, judge, doors and refusals."""

import itertools
import pickle
from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freightrisk import (
    Band,
    ByLevel,
    Cover,
    Factor,
    FreightRiskWarning,
    FreightSchedule,
    FrequencyModel,
    Hierarchy,
    InputError,
    Interval,
    Limit,
    OrderBook,
    ScheduleSeverity,
    SeverityModel,
    Subsidy,
    Tariff,
    _reference,
    _settle,
)
from freightrisk.models.shapes import ScaleShape
from freightrisk.tariff.curves import LimitCurve
from freightrisk.tariff.document import parse_tariff
from freightrisk.tariff.limits import choose_limits
from freightrisk.tariff.parts import document_of
from freightrisk.tariff.rates import RateTables
from strategies import (
    DISPERSIONS,
    covers_with_rules,
    draw_codes,
    draw_orders,
    loadings,
    orders,
    programmes,
    put_together,
    run_kernel,
    seeds,
    slots_of,
    tariffs,
)

WITH_RULES = tariffs(cover_of=covers_with_rules)
FEW = st.integers(0, 40)


def measures_for(tariff, rng, n):
    """Return amounts for every measure of a tariff, 0 among them."""
    return rng.choice([0.0, 0.01, 19.99, 240.0, 5999.0, 1e6], (len(tariff.measures), n))


@st.composite
def coded(draw, sizes=FEW):
    """A tariff with limits by rule, codes for its columns, and amounts."""
    tariff, rng, n = draw(WITH_RULES), np.random.default_rng(draw(seeds)), draw(sizes)
    return tariff, draw_codes(tariff, rng, n), measures_for(tariff, rng, n), n


@given(coded())
def test_kernel_is_its_slow_twin_to_the_last_bit(drawn):
    tariff, codes, measures, n = drawn
    priced = run_kernel(tariff, codes, n, measures=measures)
    for k in range(n):
        order = _reference.price_order(
            [int(column[k]) for column in codes], tariff.pricer.plan_arguments, len(tariff.payers),
            measures=measures[:, k].tolist(),
        )  # fmt: skip
        steps = [order.claim_intensity, order.expected_claims, order.expected_payout]
        assert [*steps, order.pure_premium, order.technical_premium] == priced.detail[:, k].tolist()
        assert (order.list_fen, order.merchant_fen) == (priced.list_fen[k], priced.merchant_fen[k])
        assert order.flags == priced.flags[k]


@given(coded(sizes=st.integers(0, 1100)), st.data())
def test_cutting_the_rows_changes_nothing(drawn, data):
    tariff, codes, measures, n = drawn
    cuts = sorted({0, n, *data.draw(st.lists(st.integers(0, n), max_size=4))})
    pieces = data.draw(st.permutations(list(itertools.pairwise(cuts))))
    whole = run_kernel(tariff, codes, n, measures=measures)
    assert run_kernel(tariff, codes, n, pieces, measures=measures).same_as(whole)


# The judge: raw order values in, nothing of the package but the nouns' own fields.


def is_missing(value):
    return value is None or value is pd.NaT or value != value


def meets(where, order, start=None, end=None):
    for column, condition in where.items():
        value = order[column]
        if is_missing(value):
            return False
        inside = condition.above < value <= condition.at_most if isinstance(condition, Interval) else value in condition
        if not inside:
            return False
    day = order["ship_date"]
    if start is None and end is None:
        return True
    return not is_missing(day) and (start or date.min) <= day.date() <= (end or date.max)


def judged_limit(cover, order):
    """Return the limit by rule, the number of its rule, and whether rules of its priority differ."""
    held = [(k, rule) for k, rule in enumerate(cover.limits) if meets(rule.where, order, rule.start, rule.end)]
    if not held:
        return np.inf, len(cover.limits), False
    top = max(rule.priority for _, rule in held)
    amounts = {
        k: rule.amount if rule.of is None else min(rule.share * order[rule.of], rule.amount)
        for k, rule in held
        if rule.priority == top
    }
    best = {"largest": max(amounts.values()), "smallest": min(amounts.values()), "first": next(iter(amounts.values()))}
    limit = best[cover.choose]
    return limit, next(k for k, amount in amounts.items() if amount == limit), len(set(amounts.values())) > 1


def by_zone(limit, order):
    return np.inf if limit is None else limit.values[order["zone"]] if isinstance(limit, ByLevel) else limit


def judged_payout(cover, order, mean, shape):
    """Return the expected payment for a claim by its definition: an integral of the shape's own limited means."""
    if not meets(cover.eligible, order):
        return 0.0
    limit = min(judged_limit(cover, order)[0], by_zone(cover.limit, order), by_zone(cover.first_weight_fee, order))
    kept, deductible = 1.0 - cover.coinsurance, cover.deductible

    def limited(most):
        if np.isinf(most) or most == 0.0:
            return mean if most else 0.0
        return mean * float(shape.limited(most / mean))

    return kept * (limited(deductible + limit / kept) - limited(deductible))


@given(st.data(), covers_with_rules(), st.sampled_from(DISPERSIONS), seeds)
def test_payouts_are_what_the_judge_says(data, cover, dispersion, seed):
    rng = np.random.default_rng(seed)
    severity = RateTables(9.0, {"zone": np.exp(rng.normal(0.0, 0.5, 4))})
    tariff = put_together(
        frequency=RateTables(0.1, {}), severity=severity, cover=cover, dispersion=dispersion,
        subsidies=data.draw(programmes()),
    )  # fmt: skip
    frame = draw_orders(rng, 30)
    priced = tariff.price(frame, threads=1)
    for k, order in enumerate(frame.to_dict("records")):
        mean = 9.0 * severity.tables["zone"][["city", "far", "near"].index(order["zone"])]
        mean *= order["price"] if cover.amount_of else 1.0
        expected = judged_payout(cover, order, mean, ScaleShape(dispersion))
        # Each of the two means under a limit has a relative error of at most 1e-7 (docs/method.md, equation 27).
        assert abs(priced["expected_payout"][k] - expected) <= 2e-7 * mean + 1e-12
        if cover.limits:
            assert priced["limit_conflict"][k] == judged_limit(cover, order)[2]


@given(covers_with_rules(), orders())
def test_limits_of_frames_are_what_the_judge_says(cover, frame):
    bits = [
        sum(1 << k for k, rule in enumerate(cover.limits) if meets(rule.where, order, rule.start, rule.end))
        for order in frame.to_dict("records")
    ]
    price = frame["price"].to_numpy()
    amounts = [
        np.full(len(frame), rule.amount) if rule.of is None else np.minimum(rule.amount, rule.share * price)
        for rule in cover.limits
    ]
    found = choose_limits(
        cover.limits, cover.choose, masks=np.array(bits, dtype=np.uint64), amounts=amounts, unlimited=np.inf
    )
    wanted = [judged_limit(cover, order) for order in frame.to_dict("records")]
    assert list(zip(found.limit.tolist(), found.conflict.tolist(), strict=True)) == [(one[0], one[2]) for one in wanted]
    # Of rules with the same amount, either may be named.
    for k, (limit, rule, _) in enumerate(wanted):
        if rule < len(cover.limits):
            named = cover.limits[found.rule[k]]
            amount = named.amount if named.of is None else min(named.share * frame["price"][k], named.amount)
            assert amount == limit


@given(WITH_RULES, orders(), st.data())
def test_every_door_gives_the_same_quotes(tariff, frame, data):
    whole = tariff.price(frame, threads=1)
    again = parse_tariff(document_of(tariff), source="memory")
    assert again == tariff
    pd.testing.assert_frame_equal(again.price(frame, threads=2), whole)
    coded = pickle.loads(pickle.dumps(tariff.encode(frame)))
    pd.testing.assert_frame_equal(tariff.price(coded), whole)
    assert ("limit_conflict" in whole) == bool(tariff.cover.limits)
    if len(frame):
        k = data.draw(st.integers(0, len(frame) - 1))
        order = frame.iloc[k].to_dict()
        assert tariff.quote(order) == whole.iloc[k].to_dict()
        sheet = tariff.explain(order)
        assert sheet.quote == whole.iloc[k].to_dict()


@given(tariffs(loads=loadings()), seeds)
def test_one_flat_limit_by_rule_is_the_flat_limit_to_the_last_bit(tariff, seed):
    cover = Cover(max_claims=tariff.cover.max_claims, limit=12.0)
    flat = put_together(
        frequency=tariff.frequency, severity=tariff.severity, cover=cover, subsidies=tariff.subsidies,
        loadings=tariff.loadings,
    )  # fmt: skip
    ruled = replace(flat, cover=replace(cover, limit=None, limits=[Limit("all", 12.0)]))
    rng = np.random.default_rng(seed)
    codes = draw_codes(flat, rng, 70)
    assert slots_of(flat) == slots_of(ruled)
    assert run_kernel(ruled, codes, 70).same_as(run_kernel(flat, codes, 70))


# The market's numbers


def market(cover):
    """Return a tariff whose claims cost exactly the order's `freight`, so that the payout is the payment."""
    cover = replace(cover, amount_of="freight")
    tariff = put_together(frequency=RateTables(0.01, {}), severity=RateTables(1.0, {}), cover=cover)
    return replace(tariff, curves=replace(tariff.curves, limit_curve=LimitCurve(0, np.empty((0, 1, 4)))))


LARGE = {"tier": ["strong", "super_factory"], "order_value": Interval(above=500.0)}


def test_limits_of_1688():
    cover = Cover(
        limits=[
            Limit("base", 25.0),
            Limit("large order", 50.0, where=LARGE),
            Limit("super buyer", 200.0, where={"buyer": ["super"]}, priority=1),
        ],
        eligible={"official_pickup": ["yes"]},
    )  # fmt: skip
    frame = pd.DataFrame(
        [
            ("strong", 500.0, "plain", "yes", 25.0, False),
            ("strong", 500.01, "plain", "yes", 50.0, True),
            ("super_factory", 9e5, "plain", "yes", 50.0, True),
            ("other", 9e5, "plain", "yes", 25.0, False),
            ("strong", 9e5, "super", "yes", 200.0, False),
            ("strong", 9e5, "super", "no", 0.0, False),
            (None, np.nan, None, None, 0.0, False),
        ],
        columns=["tier", "order_value", "buyer", "official_pickup", "paid", "conflict"],
    ).assign(freight=300.0)
    quotes = market(cover).price(frame)
    assert quotes["expected_payout"].tolist() == frame["paid"].tolist()
    assert quotes["limit_conflict"].tolist()[:6] == frame["conflict"].tolist()[:6]
    smallest = market(replace(cover, choose="smallest", limits=cover.limits[1:])).price(frame)
    assert smallest["expected_payout"].tolist() == [300.0, 50.0, 50.0, 300.0, 200.0, 0.0, 0.0]


def test_custom_goods_of_1688():
    cover = Cover(limits=[Limit("custom", 3000.0, share=0.05, of="sub_order")])
    frame = pd.DataFrame({"sub_order": [5_999.0, 60_000.0, 60_001.0, 0.0], "freight": 1e6})
    assert market(cover).price(frame)["expected_payout"].tolist() == [299.95, 3_000.0, 3_000.0, 0.0]
    nothing = {"sub_order": -0.0, "freight": 1.0}
    paid = [
        market(cover).price(pd.DataFrame([nothing]))["pure_premium"][0],
        market(cover).quote(nothing)["pure_premium"],
    ]
    assert [str(premium) for premium in paid] == ["0.0", "0.0"]


def test_a_new_leaf_of_large_goods_has_the_limit_of_its_parent():
    orders_ = pd.DataFrame(
        {
            "order_id": range(60),
            "industry": ["home", "home", "toys"] * 20,
            "leaf": ["sofa", "lamp", "kite"] * 20,
        }
    )
    claims = pd.DataFrame({"order_id": range(0, 60, 2), "freight": 30.0 + np.arange(30) % 7})
    category = Hierarchy("category", ["industry", "leaf"], unseen="parent")
    book = OrderBook.from_frames(orders_, claims, factors=[category], ship_date=None, report_date=None)
    frequency, severity = FrequencyModel().fit(book), SeverityModel().fit(book)
    new = {"industry": "home", "leaf": "wardrobe"}
    for cover in (
        Cover(limits=[Limit("base", 1.0), Limit("large goods", 5000.0, where={"industry": ["home"]})]),
        Cover(limit=ByLevel("category", {"home": 5000.0}, default=1.0)),
    ):
        tariff = Tariff.build(frequency, severity, cover=cover)
        assert tariff.quote(new)["expected_payout"] > 30.0
        assert tariff.quote({"industry": "toys", "leaf": "kite"})["expected_payout"] < 1.0001


def scheduled(fees, orders_):
    """Return frequency and severity of orders whose freight follows a schedule, each order's weight known."""
    schedule = FreightSchedule(pd.DataFrame(fees).assign(first_weight_g=1000, step_weight_g=1000))
    claims = pd.DataFrame({"order_id": orders_["order_id"], "freight": 1.0})
    book = OrderBook.from_frames(orders_, claims, factors=[Factor("zone")], ship_date=None, report_date=None)
    severity = ScheduleSeverity(schedule, "zone", prior_parcels=0.0).fit(book, orders_["weight_g"])
    return FrequencyModel([]).fit(book), severity


def test_limits_of_a_freight_schedule_are_exact():
    zones = {"near": (8.0, 2.0), "far": (12.0, 5.0)}
    rng = np.random.default_rng(7)
    frame = pd.DataFrame(
        {
            "order_id": range(400), "zone": rng.choice([*zones], 400), "vip": rng.choice(["yes", "no"], 400),
            "weight_g": rng.choice([500, 1500, 3200, 9000], 400),
        }
    )  # fmt: skip
    fees = {"zone": [*zones], "first_fee": [8.0, 12.0], "step_fee": [2.0, 5.0]}
    cover = Cover(
        max_claims=None, deductible=1.0, coinsurance=0.2, eligible={"vip": ["yes", "no"]},
        limits=[Limit("base", 11.0), Limit("vip", 20.0, where={"vip": ["yes"]}, priority=1)],
    )  # fmt: skip
    frequency, severity = scheduled(fees, frame)
    tariff = Tariff.build(frequency, severity, cover=cover)
    quotes = tariff.price(frame)
    for k in range(12):
        zone = frame["zone"][k]
        weight = frame["weight_g"].to_numpy()  # without a weight factor all zones have one distribution of weights
        freight = zones[zone][0] + zones[zone][1] * np.maximum(np.ceil((weight - 1000) / 1000), 0.0)
        paid = np.minimum(0.8 * np.maximum(freight - 1.0, 0.0), 20.0 if frame["vip"][k] == "yes" else 11.0)
        assert quotes["expected_payout"][k] == pytest.approx(paid.mean(), rel=1e-12)
    pd.testing.assert_frame_equal(parse_tariff(document_of(tariff), source="memory").price(frame), quotes)
    sheet = str(tariff.explain(frame.iloc[0].to_dict()))
    assert "paid share" in sheet
    assert "limit by rule" in sheet


def test_the_worksheet_names_the_rule(capsys):
    cover = Cover(
        limits=[Limit("base", 25.0), Limit("large", 50.0, where={"price": Interval(above=99.0)})],
        eligible={"segment": ["new"]}, deductible=2.0, coinsurance=0.1,
    )  # fmt: skip
    tariff = put_together(frequency=RateTables(0.1, {}), severity=RateTables(12.0, {}), cover=cover)
    sheet = str(tariff.explain({"price": 100.0, "segment": "old"}))
    assert "limit by rule               50.00000000  yuan a claim, 'large', other rules of its priority differ" in sheet
    assert "not eligible" in sheet
    assert "deductible                   2.00000000" in sheet
    assert "coinsurance                  0.10000000" in sheet
    assert "'base'" in str(tariff.explain({"price": 99.0, "segment": "new"}))
    assert "not eligible" not in str(tariff.explain({"price": 99.0, "segment": "new"}))
    capsys.readouterr()


def test_sixty_four_limits_and_their_last_bit():
    rules = [Limit(f"limit {k}", float(k + 1), where={"tier": [k]}) for k in range(64)]
    tariff = market(Cover(limits=rules))
    frame = pd.DataFrame({"tier": [0, 31, 32, 63, 64], "freight": 300.0})
    assert tariff.price(frame)["expected_payout"].tolist() == [1.0, 32.0, 33.0, 64.0, 300.0]


def test_amounts_may_be_missing_only_where_no_rule_reads_them():
    custom = Limit("custom", 3000.0, where={"custom": ["yes"]}, share=0.05, of="sub_order")
    tariff = market(Cover(limits=[Limit("base", 25.0), custom]))
    frame = pd.DataFrame({"custom": ["no", "yes"], "sub_order": [np.nan, 600.0], "freight": 100.0})
    assert tariff.price(frame)["expected_payout"].tolist() == [25.0, 30.0]
    assert tariff.quote({"custom": "no", "sub_order": None, "freight": 100.0})["expected_payout"] == 25.0
    with pytest.raises(InputError, match=r"'sub_order' is missing in 1 row .first: 0., but the price depends on it"):
        tariff.price(frame.assign(custom="yes"))
    with pytest.raises(InputError, match="'sub_order' is missing, but the price depends on it"):
        tariff.quote({"custom": "yes", "sub_order": None, "freight": 100.0})
    with pytest.raises(InputError, match=r"'freight' is missing in 1 row .first: 1."):
        tariff.price(frame.assign(freight=[1.0, np.nan]))
    with pytest.raises(InputError, match=r"'sub_order' is below 0 or above 1e9 in 1 row .first: 1."):
        tariff.price(frame.assign(sub_order=[1.0, -2.0]))
    with pytest.raises(InputError, match=r"order: 'sub_order' is -2\.0; it must be a finite number"):
        tariff.quote({"custom": "yes", "sub_order": -2.0, "freight": 100.0})
    with pytest.raises(InputError, match="sub_order"):
        tariff.price(frame.drop(columns="sub_order"))


def test_orders_encoded_for_other_amounts_are_refused():
    one, two = (
        market(Cover(limits=[Limit("base", 25.0)])),
        put_together(
            frequency=RateTables(0.01, {}), severity=RateTables(1.0, {}), cover=Cover(limits=[Limit("base", 25.0)])
        ),
    )
    with pytest.raises(InputError, match="encoded for a tariff with other levels"):
        two.price(one.encode(pd.DataFrame({"freight": [1.0]})))


def test_rules_for_levels_that_the_book_never_had():
    frame = pd.DataFrame({"order_id": range(6), "tier": ["a", "b"] * 3})
    claims = pd.DataFrame({"order_id": [0, 1, 2], "freight": [8.0, 9.0, 10.0]})

    def build(unseen, cover):
        tier = Factor("tier", unseen=unseen)
        book = OrderBook.from_frames(frame, claims, factors=[tier], ship_date=None, report_date=None)
        return Tariff.build(FrequencyModel().fit(book), SeverityModel().fit(book), cover=cover)

    cover = Cover(limits=[Limit("base", 25.0), Limit("best", 50.0, where={"tier": ["c"]})])
    with pytest.raises(
        InputError, match=r"limit 'best' is for tier 'c', which factor 'tier' does not have.*never holds"
    ):
        build("error", cover)
    with pytest.warns(
        FreightRiskWarning, match="limit 'best' is for tier 'c'.*holds only for orders with levels newer"
    ):
        build("parent", cover)
    with pytest.raises(InputError, match="eligible of the cover is for tier 'c'"):
        build("error", Cover(eligible={"tier": ["c"]}))


def test_a_condition_on_a_banded_factor_is_an_interval():
    frame = pd.DataFrame({"order_id": range(6), "price": [5.0, 50.0] * 3})
    claims = pd.DataFrame({"order_id": [0, 1, 2], "freight": [8.0, 9.0, 10.0]})
    book = OrderBook.from_frames(frame, claims, factors=[Band("price", [20.0])], ship_date=None, report_date=None)
    cover = Cover(limits=[Limit("base", 25.0, where={"price": [5]})])
    with pytest.warns(FreightRiskWarning, match=r"limit 'base' is only for the values \[5\] of price, which is banded"):
        Tariff.build(FrequencyModel().fit(book), SeverityModel().fit(book), cover=cover)


def schedule_with_a_share():
    frame = pd.DataFrame({"order_id": range(4), "zone": "a", "weight_g": 900})
    models = scheduled({"zone": ["a"], "first_fee": [8.0], "step_fee": [2.0]}, frame)
    return Tariff.build(*models, cover=Cover(limits=[Limit("custom", 3000.0, share=0.05, of="sub_order")]))


BASE, TIER = Limit("base", 25.0), {"tier": ["a"]}
BAD = [
    (lambda: Limit("", 1.0), "name of a limit"),
    (lambda: Limit("x", -1.0), r"amount of limit 'x' is -1\.0; it must be a finite number in \[0, 1e\+06\]"),
    (lambda: Limit("x", "25"), "amount of limit 'x' is '25'; it must be a number"),
    (lambda: Limit("x", ByLevel("zone", {"a": 1.0})), "amount of limit 'x'"),
    (lambda: Limit("x", 1.0, where=["tier"]), "where of limit 'x' is .* map columns to levels or an Interval"),
    (lambda: Limit("x", 1.0, where={"tier": "a"}), r"limit 'x': where\['tier'\] is 'a'; give a list"),
    (lambda: Limit("x", 1.0, where={"tier": []}), r"limit 'x': where\['tier'\] lists no level, so it never holds"),
    (lambda: Limit("x", 1.0, start="2026-02-01", end="2026-01-01"), "limit 'x' starts on 2026-02-01, after its end"),
    (lambda: Limit("x", 1.0, priority=-1), "priority of limit 'x' is -1"),
    (lambda: Limit("x", 1.0, share=0.05), "limit 'x' has only one of share and of"),
    (lambda: Limit("x", 1.0, of="price"), "limit 'x' has only one of share and of"),
    (lambda: Limit("x", 1.0, share=0.0, of="price"), "share of limit 'x' is 0.0"),
    (lambda: Cover(limits=BASE), "limits"),
    (lambda: Cover(limits=[25.0]), "limits"),
    (lambda: Cover(limits=[BASE, BASE]), "2 rules are named 'base'; give each rule its own name"),
    (lambda: Cover(limits=[BASE] * 65), "65 limits were given; a cover takes at most 64"),
    (lambda: Cover(limits=[BASE], choose="best"), "choose is 'best'"),
    (lambda: Cover(limits=[Limit("small", 5.0, where=TIER), BASE]), "'small' never decides, because limit 'base'"),
    (lambda: Cover(limits=[BASE, Limit("big", 50.0, where=TIER)], choose="smallest"), "limit 'big' never decides"),
    (lambda: Cover(limits=[BASE, Limit("second", 50.0, where=TIER)], choose="first"), "limit 'second' never decides"),
    (lambda: Cover(limits=[BASE, Limit("top", 1.0, priority=1)]), "'base' never decides, .*priority 1"),
    (
        lambda: Cover(
            limits=[
                Limit("in", 1.0, where={"p": Interval(above=2.0, at_most=3.0)}, start="2026-01-05"),
                Limit("out", 2.0, where={"p": Interval(above=2.0)}, start="2026-01-01", priority=3),
            ]
        ),
        "limit 'in' never decides, because limit 'out' holds for all of its orders",
    ),
    (lambda: Cover(eligible=["tier"]), "where of the cover's eligible"),
    (lambda: Cover(deductible=-1.0), "deductible is -1.0"),
    (lambda: Cover(coinsurance=1.0), r"coinsurance is 1\.0; it must be a finite number in \[0, 1\)"),
    (lambda: Cover(amount_of=""), "amount_of"),
    (schedule_with_a_share, "a limit is a share of column 'sub_order', but the severity is a freight schedule"),
    (
        lambda: put_together(
            frequency=RateTables(0.1, {}), severity=RateTables(8.0, {}),
            cover=Cover(limits=[Limit("x", 1.0, where={"tier": [1]})]),
            subsidies=[Subsidy("s", "platform", fixed_fen=1, where={"tier": ["1"]})],
        ),
        "subsidies and limits name levels of 'tier' as 1 and a text with the same spelling",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_bad_limits_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_rules_that_may_decide_are_accepted():
    shared = Limit("share", 5.0, where=TIER, share=0.1, of="price")
    assert len(Cover(limits=[BASE, shared], choose="smallest").limits) == 2
    # The amounts are equal, so neither makes the other void.
    assert len(Cover(limits=[BASE, Limit("same", 25.0, where=TIER)]).limits) == 2
    early, late = Limit("early", 1.0, end="2026-01-31"), Limit("late", 2.0, start="2026-01-15", priority=1)
    assert len(Cover(limits=[early, late]).limits) == 2


def test_the_flag_of_a_conflict_is_the_fifth_bit():
    assert _settle.FLAGS["limit_conflict"] == 16
