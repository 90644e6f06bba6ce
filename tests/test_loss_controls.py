"""Loss controls: one factor a control on the claim intensity, by conditions, and nothing else."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freightrisk import Cover, InputError, Interval, Limit, Loadings, _reference
from freightrisk.events import EventCover
from freightrisk.programmes import Funnel, LossControl, LossControls, Programme, control_effect, control_table
from strategies import (
    CONDITIONS,
    GATE_COLUMNS,
    PERIODS,
    covers_with_rules,
    draw_codes,
    orders,
    run_kernel,
    seeds,
    tariffs,
)
from test_core_price import is_missing, meets

CAUSES = {"no_reason": 0.56, "subjective": 0.3, "slight_defect": 0.09, "quality": 0.05}
WITH_RULES = tariffs(cover_of=covers_with_rules)


@st.composite
def controls(draw, most=4):
    """Controls of random stages, effects and conditions."""
    found = []
    for k in range(draw(st.integers(0, most))):
        start, end = draw(PERIODS)
        found.append(
            LossControl(
                f"control {k}", draw(st.sampled_from(["request", "return", "parcel", "paid_claim"])),
                effect=draw(st.sampled_from([-0.9, -0.13, 0.0, 0.3, 2.0])),
                evidence=draw(st.sampled_from([0.0, 0.3, 1.0])),
                reach=draw(st.sampled_from([0.2, 1.0])), where={c: draw(CONDITIONS[c]) for c in draw(GATE_COLUMNS)},
                causes=draw(st.lists(st.sampled_from(sorted(CAUSES)), unique=True, max_size=2)), start=start, end=end,
            )
        )  # fmt: skip
    return LossControls(found, Funnel(causes=CAUSES))


def factor_of(rule, order):
    """The factor of a control for an order, by its plain words; 1 if its conditions do not hold."""
    if not all(meets(condition, order[column]) for column, condition in rule.where.items()):
        return 1.0
    if rule.start is not None or rule.end is not None:
        day = order["ship_date"]
        if is_missing(day) or (rule.start and day.date() < rule.start) or (rule.end and day.date() > rule.end):
            return 1.0
    share = sum(CAUSES[cause] for cause in rule.causes) if rule.causes else 1.0
    return 1.0 + rule.evidence * rule.reach * rule.effect * share


@given(WITH_RULES, controls(), orders())
def test_the_intensity_is_multiplied_by_the_factors_that_hold(tariff, drawn, frame):
    plain, controlled = tariff.price(frame), replace(tariff, loss_controls=drawn).price(frame)
    for k, order in enumerate(frame.to_dict("records")):
        factors = [factor_of(rule, order) for rule in drawn.rules]
        assert controlled["claim_intensity"].iloc[k] == pytest.approx(
            plain["claim_intensity"].iloc[k] * np.prod(factors), rel=1e-13
        )


@given(WITH_RULES, controls(), st.integers(0, 30), seeds)
def test_kernel_is_its_slow_twin_to_the_last_bit(tariff, drawn, n, seed):
    tariff, rng = replace(tariff, loss_controls=drawn), np.random.default_rng(seed)
    codes = draw_codes(tariff, rng, n)
    measures = rng.choice([0.0, 19.99, 240.0], (len(tariff.measures), n))
    priced = run_kernel(tariff, codes, n, measures=measures)
    for k in range(n):
        order = _reference.price_order(
            [int(column[k]) for column in codes], tariff.pricer.plan_arguments, len(tariff.payers),
            measures=measures[:, k].tolist(),
        )  # fmt: skip
        steps = [order.claim_intensity, order.expected_claims, order.expected_payout]
        assert [*steps, order.pure_premium, order.technical_premium] == priced.detail[:, k].tolist()
        assert (order.list_fen, order.merchant_fen) == (priced.list_fen[k], priced.merchant_fen[k])


@given(WITH_RULES, controls(), orders(), st.sampled_from(["evidence", "reach", "effect"]))
def test_controls_at_zero_change_no_bit(tariff, drawn, frame, zero):
    nothing = LossControls([replace(rule, **{zero: 0.0}) for rule in drawn.rules], drawn.funnel)
    pd.testing.assert_frame_equal(replace(tariff, loss_controls=nothing).price(frame), tariff.price(frame))


@given(WITH_RULES, controls(), orders())
def test_worksheets_and_quotes_agree_with_frames(tariff, drawn, frame):
    tariff = replace(tariff, loss_controls=drawn)
    priced = tariff.price(frame)
    for k in range(min(3, len(frame))):
        order = frame.iloc[k].to_dict()
        sheet = tariff.pricer.explain(order)
        assert sheet.quote == {name: priced[name].iloc[k] for name in priced}
        holding = [rule.name for rule in drawn.rules if factor_of(rule, order) != 1.0]
        assert all(any(row.startswith(f"  x {name} ") for row in sheet.rows) for name in holding)


@pytest.mark.parametrize(
    ("evidence", "reach", "factor"), [(1.0, 1.0, "0.87"), (0.3, 1.0, "0.961"), (0.3, 0.6, "0.9766")]
)
def test_the_negotiation_tool_of_the_market(evidence, reach, factor):
    tool = LossControl("negotiation", "request", effect=-0.13, evidence=evidence, reach=reach, where={"tool": ["yes"]})
    tariff = EventCover("freight", frequency=0.1, severity=10.0, cover=Cover(max_claims=None)).tariff()
    priced = tariff.with_loss_controls([tool]).price(pd.DataFrame({"tool": ["yes", "no"]}))
    assert priced["claim_intensity"].tolist() == pytest.approx([0.1 * float(factor), 0.1], rel=1e-15)
    assert Decimal(str(round(tool.factor(), 12))) == Decimal(factor)


def test_a_control_acts_on_the_share_of_its_causes():
    tool = LossControl("negotiation", "request", effect=-0.5, causes=["subjective", "slight_defect"])
    tariff = EventCover("freight", frequency=0.1, severity=10.0, cover=Cover(max_claims=None)).tariff()
    funnel = Funnel(causes=CAUSES)
    controlled = tariff.with_loss_controls([tool], funnel=funnel)
    assert controlled.quote({})["claim_intensity"] == pytest.approx(0.1 * (1 - 0.5 * 0.39), rel=1e-15)
    assert controlled.with_loss_controls([replace(tool, effect=-0.2)]).loss_controls.funnel == funnel


def test_what_a_control_costs_the_merchant_stands_beside():
    # 1,000 orders have 100 claims, so 200 requests; the coupon retains 13 %, and each retained one costs 3 yuan.
    coupon = LossControl("coupon", "request", effect=-0.13, cost=3.0)
    tariff = EventCover("freight", frequency=0.1, severity=10.0, cover=Cover(max_claims=None)).tariff()
    controlled = tariff.with_loss_controls([coupon], funnel=Funnel(returns=0.625, paid_claims=0.8))
    assert controlled.loss_controls.cost(0, controlled.quote({})["claim_intensity"]) == pytest.approx(0.2 * 0.13 * 3.0)
    assert "costs the merchant 0.078000 yuan an order beside" in str(controlled.pricer.explain({}))


def test_controls_of_a_programme_belong_to_a_cover():
    freight = EventCover("freight", frequency=0.1, severity=10.0, cover=Cover(max_claims=None)).tariff()
    programme = Programme("p", [freight, replace(freight, name="damage")])
    tool = LossControl("tool", "request", effect=-0.5)
    first = programme.with_loss_controls([tool]).quote({})
    assert (first["freight: claim_intensity"], first["damage: claim_intensity"]) == (0.05, 0.1)
    second = programme.with_loss_controls([tool], cover="damage").quote({})
    assert (second["freight: claim_intensity"], second["damage: claim_intensity"]) == (0.1, 0.05)


def test_a_control_may_raise_claims_by_more_than_the_funnel_holds():
    tariff = EventCover("freight", frequency=0.1, severity=10.0, cover=Cover(max_claims=1)).tariff()
    relaxed = LossControl("refund-only relaxed", "return", effect=0.3, start="2024-07-01")
    assert tariff.with_loss_controls([relaxed]).quote({"ship_date": "2024-07-01"})["claim_intensity"] == 0.1 * 1.3
    with pytest.raises(InputError, match=r"from 0.9 to 1.17, above 1; lower the effect of 'refund-only relaxed'"):
        tariff.with_loss_controls([relaxed], funnel=Funnel(returns=0.9))


BAD = [
    (lambda: LossControl("", "request", effect=0.1), "name of a loss control"),
    (lambda: LossControl("c", "claim", effect=0.1), r"stage of loss control 'c' is 'claim'; it must be one of"),
    (lambda: LossControl("c", "request", effect=-1.0), "effect of loss control 'c'"),
    (lambda: LossControl("c", "request", effect=float("nan")), "effect of loss control 'c'"),
    (lambda: LossControl("c", "request", effect="much"), "effect of loss control 'c'"),
    (lambda: LossControl("c", "request", effect=0.1, evidence=1.1), "evidence of loss control 'c'"),
    (lambda: LossControl("c", "request", effect=0.1, reach=-0.1), "reach of loss control 'c'"),
    (lambda: LossControl("c", "request", effect=0.1, causes="quality"), "causes of loss control 'c'"),
    (lambda: LossControl("c", "request", effect=0.1, causes=["a", "a"]), "names a cause twice"),
    (lambda: LossControl("c", "request", effect=0.1, cost=-1.0), "cost of loss control 'c'"),
    (lambda: LossControl("c", "request", effect=0.1, where={"x": []}), "lists no level"),
    (lambda: LossControl("c", "request", effect=0.1, start="2025-02-01", end="2025-01-01"), "after its end"),
    (lambda: LossControl("c", "request", effect=0.1, source=7), "source of loss control 'c'"),
    (lambda: LossControls([LossControl("c", "request", effect=0.1)] * 2), "2 are named 'c'"),
    (lambda: LossControls([LossControl(str(k), "request", effect=0.1) for k in range(65)]), "at most 64"),
    (
        lambda: LossControls([LossControl("c", "request", effect=0.1, causes=["mood"])]),
        "cause 'mood', which the funnel",
    ),
    (lambda: LossControls([Limit("a", 1.0)]), "loss_controls"),
    (lambda: Funnel(returns=0.0), "returns of the funnel"),
    (lambda: Funnel(returns=1.2), "returns of the funnel"),
    (lambda: Funnel(causes={"a": 0.5, "b": 0.6}), "add up to 1.1"),
    (lambda: Funnel(causes={"a": -0.5, "b": 1.5}), "share of cause 'a'"),
]


@pytest.mark.parametrize(("make", "told"), BAD)
def test_what_cannot_be_a_control_is_refused_at_construction(make, told):
    with pytest.raises(InputError, match=told):
        make()


def test_sixty_four_controls_all_hold():
    rules = [LossControl(str(k), "request", effect=0.01, where={"x": Interval(above=float(k))}) for k in range(64)]
    tariff = EventCover("freight", frequency=0.01, severity=10.0, cover=Cover(max_claims=None)).tariff(
        loadings=Loadings(profit=0.1)
    )
    priced = tariff.with_loss_controls(rules).price(pd.DataFrame({"x": [0.0, 1.0, 33.0, 64.0]}))
    np.testing.assert_allclose(priced["claim_intensity"], 0.01 * 1.01 ** np.array([0, 1, 33, 64]), rtol=1e-13)


def test_the_table_of_controls_is_the_book_with_and_without_each():
    funnel = Funnel(returns=0.5, causes=CAUSES)
    tool = LossControl("tool", "request", effect=-0.4, where={"x": [1]}, cost=2.0)
    coupon = LossControl("coupon", "return", effect=-0.2, causes=["subjective"])
    freight = EventCover("freight", frequency=0.1, severity=10.0, cover=Cover(max_claims=None)).tariff()
    programme = Programme("p", [freight, replace(freight, name="damage")]).with_loss_controls(
        [tool, coupon], funnel=funnel
    )
    frame = pd.DataFrame({"x": [1, 1, 2]})
    table = control_table(programme, frame)
    assert table.index.tolist() == [("freight", "tool"), ("freight", "coupon")]
    left = 1 - 0.2 * 0.3  # of the coupon
    assert table["orders"].tolist() == [2, 3]
    assert table["claims"].tolist() == pytest.approx([-0.08 * left, -(0.06 + 0.06 + 0.1) * (1 - left)])
    assert table["pure_premium"].tolist() == pytest.approx((10 * table["claims"]).tolist())
    both, without = programme.price(frame), programme.with_loss_controls([coupon], funnel=funnel).price(frame)
    assert table["list_fen"].iloc[0] == both["list_fen"].sum() - without["list_fen"].sum()
    assert table["merchant_cost"].tolist() == pytest.approx([0.08 * left / 0.5 * 2.0, 0.0])
    assert control_table(programme.lead, frame)["claims"].tolist() == table["claims"].tolist()
    with pytest.raises(InputError, match="has no loss controls"):
        control_table(freight, frame)


def test_an_estimated_effect_becomes_a_control():
    rows = [
        (m, m < 20, after, 60 if m < 20 and after else 100 + m % 3, 400) for m in range(40) for after in (False, True)
    ]
    panel = pd.DataFrame(rows, columns=["merchant_id", "treated", "after", "events", "trials"])
    found = control_effect(panel)
    tool = found.as_control("tool", "return", where={"x": [1]}, source="pilot")
    assert (tool.effect, tool.evidence, tool.interval) == (found.effect, found.evidence, (found.low, found.high))
    tariff = EventCover("freight", frequency=0.1, severity=10.0, cover=Cover(max_claims=None)).tariff()
    controlled = tariff.with_loss_controls([tool])
    assert controlled.quote({"x": 1})["claim_intensity"] == pytest.approx(0.1 * (1 + found.shrunk_effect))
    assert f"({found.low:.3g} to {found.high:.3g})" in str(controlled.pricer.explain({"x": 1}))
    with pytest.raises(InputError, match="outside its interval"):
        replace(tool, effect=0.5)
