"""Presets: every number has its source, and the numbers of the market hold to the fen through the programmes."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import freightrisk
from freightrisk import (
    Balances,
    ByLevel,
    Cover,
    Free,
    FrequencyModel,
    InputError,
    Interval,
    Loadings,
    OrderBook,
    SeverityModel,
    presets,
    settle,
    simulate_book,
)
from freightrisk.aggregates import AggregateLimit, AggregateShares
from freightrisk.events import EventCover
from freightrisk.programme.preset_data import GRADES, NAMES, USES, PresetData, preset_data
from freightrisk.programmes import Enrolment, Programme, Versions, load_programme, load_versions

FEES = ByLevel("zone", {"intra_province": 5.0, "neighbouring": 7.0, "mid_range": 9.0, "far": 12.0, "remote": 22.0})
EVENTS = presets.illustrative("buyer_protection_1688")
PLAIN_EVENTS = {name: pair for name, pair in EVENTS.items() if name != "refund only"}
KEPT = ("order_id", "merchant_id", "ship_date", "channel", "zone", "weight_kg")
JD = {"large_goods": [], "light_cheap": None, "merge_share": 0.0, "packaging": None}
ORDER_1688 = {
    "order_id": 1, "merchant_id": 7, "ship_date": "2024-09-13", "channel": "shelf", "zone": "far", "weight_kg": 0.5,
    "leaf": "none", "industry": "books", "category": "none", "official_pickup": "yes", "merchant_tier": "standard",
    "buyer_tier": "standard", "order_value": 80.0, "sub_order": 80.0, "goods_value": 80.0, "custom": "no",
    "high_repurchase": "no", "repeat_rate": "low", "paid": 80.0, "consigned": "no", "refunded_before_shipment": "no",
}  # fmt: skip


@pytest.fixture(scope="module")
def data():
    return simulate_book(20_000, seed=3)


@pytest.fixture(scope="module")
def shipped(data):
    return data.orders.dropna(subset="ship_date")


@pytest.fixture(scope="module")
def models(data):
    book = OrderBook.from_frames(
        data.orders, data.claims, merchants=data.merchants, factors=data.factors(), as_of=data.as_of
    )
    return FrequencyModel([Free("channel")]).fit(book), SeverityModel([Free("zone"), Free("weight_kg")]).fit(book)


def protection(models, **more):
    given = {"large_order": 1_000.0, "big_purchase": 5_000.0, "events": PLAIN_EVENTS}
    return presets.buyer_protection_1688(*models, **{**given, **more})


def every_preset(models):
    """Return every preset with every option, by name."""
    controls = [presets.negotiation_tool(evidence=0.3, reach=0.5), presets.account_integrity(effect=-0.1, evidence=0.5)]
    rescue = [presets.order_rescue(effect=-0.1, evidence=0.5)]
    return {
        "taobao_seller": presets.taobao_seller(
            *models, first_weight_fee=FEES, double_11={}, discounts_618={"new": 0.5},
            dates_618=("2024-06-01", "2024-06-20"), loss_controls=controls,
        ),
        "taobao_buyer": presets.taobao_buyer(*models, first_weight_fee=FEES),
        "return_treasure": presets.return_treasure(
            *models, first_weight_fee=FEES, part_of_users=True, loss_controls=controls
        ),
        "buyer_protection_1688": protection(models, events=EVENTS, monthly_refunds={"high": 500.0}, backstop=True),
        "jd_2023": presets.jd_2023(*models, first_weight_fee=FEES),
        "jd_2024": presets.jd_2024(
            *models, large_goods=["furniture"], light_cheap=(20.0, 0.5), merge_share=0.7, packaging=0.5,
            return_damage=(0.001, 0.3), childrens_goods=["childrens"], loss_controls=rescue,
        ),
    }  # fmt: skip


# The documents


def test_the_documents_are_those_of_the_package():
    folder = Path(freightrisk.__file__).parent / "programme" / "presets"
    assert sorted(path.stem for path in folder.glob("*.json")) == presets.names() == [*NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_every_value_has_a_source_or_says_that_it_has_none(name):
    numbers = presets.table(name)
    assert not numbers.duplicated(["section", "item"]).any()
    assert (numbers["unit"] != "").all()
    for row in numbers.to_dict("records"):
        assert row["grade"] in GRADES
        assert row["use"] in USES
        sourced = re.fullmatch(r"S\d(-\d+)?|W\d+[ab]?", row["source"]) is not None
        if row["grade"] == "assumed":
            assert row["source"] == ""
            assert len(row["note"]) > 20, "an assumption tells its reason"
        elif row["grade"] == "not published":
            assert row["value"] is None
            assert row["use"] in ("argument", "fact")
            assert row["note"]
        else:
            assert sourced, row
            assert row["source"].startswith("W") == (row["grade"] in "ABC")
        assert (row["use"] == "argument") <= (row["value"] is None)
        assert (row["use"] == "illustrative") <= (row["grade"] == "assumed")


def test_the_values_that_are_applied_are_those_that_the_functions_read(models, monkeypatch):
    read, plain = set(), PresetData.__call__

    def noted(self, section, item):
        read.add((section, item))
        return plain(self, section, item)

    monkeypatch.setattr(PresetData, "__call__", noted)
    every_preset(models)
    jd_merged, _ = presets.jd_2024(*models, **JD), protection(models)
    assert jd_merged.cover.max_claims is None
    applied = {key for name in NAMES for key, one in preset_data(name).items.items() if one.use == "applied"}
    assert read == applied


def test_a_preset_is_a_programme_document(models, tmp_path):
    for name, offer in every_preset(models).items():
        offer.save(tmp_path / name)
        load = load_versions if isinstance(offer, Versions) else load_programme
        assert load(tmp_path / name) == offer


# 1688: the numbers of DOMAIN.md 1.6


@pytest.mark.parametrize(
    ("paid", "consigned", "refunded", "fee"),
    [(2_999.0, "no", "no", 1799), (3_000.0, "no", "no", 1800), (3_001.0, "no", "no", 1800), (3_000.0, "yes", "no", 0),
     (3_000.0, "no", "yes", 0), (0.0, "no", "no", 0)],
)  # fmt: skip
def test_the_service_fee_is_charged_once_and_at_most_18_yuan(models, paid, consigned, refunded, fee):
    order = ORDER_1688 | {"paid": paid, "consigned": consigned, "refunded_before_shipment": refunded}
    versions = protection(models)
    new = versions.quote(order)
    old = versions.quote(order | {"ship_date": "2024-09-12 23:59:59"})
    assert (new["fee: technical service"], new["fee: assured purchase"]) == (fee, 0)
    assert (old["fee: technical service"], old["fee: assured purchase"]) == (0, fee)
    assert new["merchant_fen"] == old["merchant_fen"] == 0
    assert new["platform_fen"] == new["list_fen"] > 0
    assert new["merchant_total_fen"] == old["merchant_total_fen"] == fee


def claims_of(versions, cover, freight, **order):
    """Return the settled claims of a cover, for rows of orders that differ in some columns."""
    programme = versions.programmes[-1]
    n = len(freight)
    orders = pd.DataFrame([ORDER_1688] * n).assign(order_id=range(n), **order)
    claims = pd.DataFrame({"order_id": range(n), "freight": freight, "report_date": "2024-10-20", "cover": cover})
    claims["fault"], claims["good_data"] = "not_merchant", "no"
    payers = dict.fromkeys((one.name for one in programme.covers), programme.claim_payers)
    return settle(programme, claims, orders=orders, payers=payers).claims


@pytest.mark.parametrize(
    ("order", "most"),
    [({}, 2500), ({"order_value": 1_000.01}, 2500), ({"merchant_tier": "strong"}, 2500),
     ({"merchant_tier": "strong", "order_value": 1_000.0}, 2500),
     ({"merchant_tier": "strong", "order_value": 1_000.01}, 5000),
     ({"merchant_tier": "super_factory", "order_value": 5_000.0}, 5000),
     ({"merchant_tier": "super_factory", "order_value": 5_000.01}, 20_000), ({"buyer_tier": "super"}, 20_000),
     ({"order_value": 5_000.01}, 20_000), ({"official_pickup": "no"}, 0),
     ({"official_pickup": "no", "buyer_tier": "super"}, 0)],
)  # fmt: skip
def test_return_freight_is_limited_by_tier_and_order_with_official_pickup(models, order, most):
    versions = protection(models)
    found = claims_of(versions, "return freight", [most / 100 + 0.01, 900.0, 1.0], **order)
    assert found["paid_fen"].tolist() == [most, most, min(100, most)]
    priced = versions.quote(ORDER_1688 | order)
    assert priced["return freight: expected_payout"] <= most / 100
    assert (priced["return freight: pure_premium"] > 0) == (most > 0)


def test_the_other_reading_gives_strong_merchants_200_yuan_for_every_order(models):
    versions = protection(models, reading="S3-5", large_order=None, big_purchase=None)
    found = claims_of(versions, "return freight", [900.0, 900.0], merchant_tier=["strong", "standard"])
    assert found["paid_fen"].tolist() == [20_000, 2_500]


def test_limits_that_contradict_each_other_are_flagged(models):
    order = ORDER_1688 | {"merchant_tier": "strong", "order_value": 6_000.0}
    assert protection(models).quote(order)["limit_conflict"]
    assert not protection(models).quote(ORDER_1688)["limit_conflict"]


def test_custom_goods_and_transit_loss_are_limited_by_the_order(models):
    versions = protection(models, events={"custom goods": (0.01, 1.0), "transit loss": (0.01, 1.0)})
    rows = [(5_999.0, 299.95, 5_999.0), (59_999.0, 2_999.95, 50_000.0), (60_000.0, 3_000.0, 50_000.0)]
    for value, custom, transit in [*rows, (90_000.0, 3_000.0, 50_000.0), (49_999.0, 2_499.95, 49_999.0)]:
        order = ORDER_1688 | {"custom": "yes", "sub_order": value, "goods_value": value}
        quote = versions.quote(order)
        assert quote["custom goods: expected_payout"] == pytest.approx(custom, rel=1e-12)
        assert quote["transit loss: expected_payout"] == pytest.approx(transit, rel=1e-12)
        for cover, most in (("custom goods", custom), ("transit loss", transit)):
            paid = claims_of(versions, cover, [value], custom="yes", sub_order=value, goods_value=value)["paid_fen"]
            assert paid.tolist() == [round(100 * most)]
    assert versions.quote(ORDER_1688 | {"sub_order": 5_999.0})["custom goods: pure_premium"] == 0.0


def test_late_deliveries_of_a_merchant_are_paid_300_yuan_a_month(models):
    days = ["2024-09-13"] * 61 + ["2024-10-01"] * 2
    found = claims_of(protection(models), "late delivery", [5.0] * 63, ship_date=days, high_repurchase="yes")
    month = found["paid_fen"].to_numpy()
    assert month[:60].sum() == 30_000
    assert month[60:].tolist() == [0, 500, 500]
    others = claims_of(protection(models), "late delivery", [5.0], high_repurchase="no")
    assert others["paid_fen"].tolist() == [0]


def test_shares_of_the_monthly_limit_are_the_caller_s(models):
    shares = AggregateShares(AggregateLimit(300.0), {7: 0.5})
    order = ORDER_1688 | {"high_repurchase": "yes"}
    whole, half = (protection(models, **more).quote(order) for more in ({}, {"delay_shares": shares}))
    assert half["late delivery: pure_premium"] == pytest.approx(0.5 * whole["late delivery: pure_premium"])


def test_claims_are_paid_by_fault(models):
    versions = protection(models, backstop=True)
    programme = versions.programmes[-1]
    claims = pd.DataFrame(
        {"order_id": [1, 2, 3, 4], "freight": 10.0, "report_date": "2024-09-20", "good_data": ["no", "no", "yes", None],
         "fault": ["not_merchant", "merchant", "merchant", None]}
    )  # fmt: skip
    orders = pd.DataFrame([ORDER_1688] * 4).assign(order_id=[1, 2, 3, 4])
    found = settle(programme, claims, orders=orders).claims
    assert found["platform_fen"].tolist() == [1000, 0, 1000, 1000]
    assert found["merchant_fen"].tolist() == [0, 1000, 0, 0]
    without = settle(protection(models).programmes[-1], claims, orders=orders).claims
    assert without["merchant_fen"].tolist() == [0, 1000, 1000, 0]
    assert without["insurer_fen"].sum() == found["insurer_fen"].sum() == 0


def test_refunds_without_return_have_the_merchant_s_monthly_amount(models):
    versions = protection(models, events=EVENTS, monthly_refunds={"high": 500.0, "very_high": 1_000.0})
    days = ["2024-09-13"] * 3
    for level, most in (("high", 50_000), ("very_high", 100_000)):
        found = claims_of(versions, f"refund only: {level}", [400.0] * 3, ship_date=days, repeat_rate=level)
        assert found["paid_fen"].sum() == most
    quote = versions.quote(ORDER_1688 | {"repeat_rate": "high"})
    assert quote["refund only: high: pure_premium"] > quote["refund only: very_high: pure_premium"] == 0.0


def test_12_and_13_september_are_two_versions(models):
    versions = protection(models)
    assert [str(one.start) for one in versions.programmes] == ["2024-09-12", "2024-09-13"]
    assert [one.name for one in versions.programmes[0].covers] == ["return freight", "fast refund", "disputed orders"]
    assert len(versions.programmes[1].covers) == 6
    with pytest.raises(InputError, match="versions go from 2024-09-12 to the last day"):
        versions.quote(ORDER_1688 | {"ship_date": "2024-09-11"})


def test_merchants_that_did_not_join_keep_the_services_of_all_orders(models):
    versions = protection(models, joined=[7])
    mine, other = (versions.quote(ORDER_1688 | {"merchant_id": merchant}) for merchant in (7, 8))
    assert mine["fee: technical service"] == 48
    assert other["fee: technical service"] == other["merchant_total_fen"] == 0
    assert mine["list_fen"] > other["list_fen"] > 0


def test_columns_of_other_names_give_the_same_fen(models):
    names = {one: f"my {one}" for one in ORDER_1688 if one not in KEPT}
    roles = {one: names[one] for one in names if one not in ("leaf", "industry", "category")}
    order = ORDER_1688 | {"custom": "yes", "high_repurchase": "yes", "merchant_tier": "strong", "order_value": 1_200.0}
    renamed = {names.get(name, name): value for name, value in order.items()}
    one, other = protection(models).quote(order), protection(models, columns=roles).quote(renamed)
    other.pop("version")
    one.pop("version")
    assert one == other


def test_orders_without_a_column_are_refused_by_the_caller_s_name(models):
    order = {name: value for name, value in ORDER_1688.items() if name != "official_pickup"}
    with pytest.raises(InputError, match=r"missing column.*'my pickup'"):
        protection(models, columns={"official_pickup": "my pickup"}).quote(order)
    with pytest.raises(InputError, match=r"missing column.*'official_pickup'"):
        protection(models).price(pd.DataFrame([order]))


# Taobao


@pytest.mark.parametrize(("evidence", "factor"), [(1.0, 0.87), (0.3, 0.961), (0.0, 1.0)])
def test_the_negotiation_tool_keeps_thirteen_percent_of_the_requests_it_reaches(models, evidence, factor):
    tool = presets.negotiation_tool(evidence=evidence, reach=1.0)
    for make in (presets.taobao_seller, presets.return_treasure):
        programme = make(*models, first_weight_fee=FEES, loss_controls=[tool])
        order = {"channel": "shelf", "zone": "far", "weight_kg": 0.5}
        used, unused = (programme.quote(order | {"negotiation_tool": one})["claim_intensity"] for one in ("yes", "no"))
        assert used == pytest.approx(factor * unused, rel=1e-14)
        assert unused == make(*models, first_weight_fee=FEES).quote(order)["claim_intensity"]


def test_account_integrity_needs_a_score_strictly_above_the_gate(models):
    rule = presets.account_integrity(effect=-0.2, evidence=0.5, column="score")
    programme = presets.taobao_seller(*models, first_weight_fee=FEES, loss_controls=[rule])
    order = {"channel": "shelf", "zone": "far", "weight_kg": 0.5, "ship_date": "2025-01-09"}
    at, above, before = (
        programme.quote(order | more)["claim_intensity"]
        for more in ({"score": 4.8}, {"score": 4.81}, {"score": 4.81, "ship_date": "2025-01-08 23:59"})
    )
    assert at == before
    assert above == pytest.approx(0.9 * at, rel=1e-14)


def test_return_treasure_pays_the_first_weight_and_at_most_26_yuan(models):
    wide = ByLevel("zone", FEES.values | {"remote": 40.0})
    programme = presets.return_treasure(*models, first_weight_fee=wide)
    claims = pd.DataFrame({"order_id": [1, 2, 3], "freight": 90.0, "report_date": "2024-10-01"})
    orders = pd.DataFrame({"order_id": [1, 2, 3], "zone": ["far", "remote", "remote"], "ship_date": "2024-09-05"})
    paid = settle(programme, claims, orders=orders).claims
    assert paid["paid_fen"].tolist() == paid["platform_fen"].tolist() == [1200, 2600, 2600]
    flat = presets.return_treasure(*models, first_weight_fee=None)
    assert settle(flat, claims, orders=orders).claims["paid_fen"].tolist() == [2600] * 3
    assert str(programme.start) == "2024-09-03"


def test_return_treasure_costs_at_most_nine_tenths_and_covers_part_of_the_users(models):
    order = {"channel": "live_stream", "zone": "remote", "weight_kg": 0.5, "buyer_kind": "yes"}
    full, usual, deep = (
        presets.return_treasure(*models, first_weight_fee=FEES, saving=one).quote(order) for one in (0.0, None, 0.3)
    )
    assert full["merchant_fen"] == full["list_fen"] == usual["list_fen"] > 10
    assert usual["merchant_fen"] <= 0.9 * full["merchant_fen"] + 0.5
    assert deep["merchant_fen"] <= 0.7 * full["merchant_fen"] + 0.5
    part = presets.return_treasure(
        *models, first_weight_fee=FEES, part_of_users=True, columns={"covered_user": "buyer_kind"}
    )
    assert part.quote(order)["list_fen"] == full["list_fen"]
    out = part.quote(order | {"buyer_kind": "no"})
    assert (out["pure_premium"], out["list_fen"], out["floor_bound"]) == (0.0, 1, True)


def test_a_seller_pays_from_one_fen_to_three_yuan_unless_the_loadings_say_otherwise(models):
    order = {"channel": "live_stream", "zone": "remote", "weight_kg": 0.5}
    dear = Loadings(filed_factor=100.0)
    assert presets.taobao_seller(*models, first_weight_fee=FEES, loadings=dear).quote(order)["list_fen"] == 300
    cheap = Loadings(filed_factor=1e-4)
    quote = presets.taobao_seller(*models, first_weight_fee=FEES, loadings=cheap).quote(order)
    assert (quote["list_fen"], quote["merchant_fen"], quote["filed_bound"]) == (1, 1, True)
    own = replace(dear, filed_max=50.0)
    assert presets.taobao_seller(*models, first_weight_fee=FEES, loadings=own).quote(order)["list_fen"] > 300


def test_the_campaigns_of_taobao_have_their_days_segments_and_fund(models):
    programme = presets.taobao_seller(
        *models, first_weight_fee=FEES, double_11={"kind": ["eligible"]},
        discounts_618={"new": 0.5, "small_medium": 0.3}, dates_618=("2024-06-01", "2024-06-20"),
        columns={"segment": "kind"}, loadings=Loadings(filed_min=1.0),
    )  # fmt: skip
    rows = [("2022-10-23", "eligible", 0), ("2022-10-24", "eligible", 20), ("2022-11-11 23:59", "eligible", 20),
            ("2022-11-12", "eligible", 0), ("2022-11-01", "new", 0), ("2024-05-31", "new", 0),
            ("2024-06-01", "new", 50), ("2024-06-20", "small_medium", 30), ("2024-06-21", "small_medium", 0),
            ("2024-06-05", "large", 0)]  # fmt: skip
    orders = pd.DataFrame(rows, columns=["ship_date", "kind", "fen"]).assign(
        order_id=range(10), channel="shelf", zone="far", weight_kg=0.5
    )
    priced = programme.price(orders, balances=Balances())
    assert (priced["list_fen"] == 100).all()
    assert priced["platform_fen"].tolist() == orders["fen"].tolist()
    assert programme.funds[0].budget_fen == 45_000_000_000


def test_a_buyer_pays_the_whole_price(models, shipped):
    programme = presets.taobao_buyer(*models, first_weight_fee=FEES)
    priced = programme.price(shipped.head(500))
    assert (priced["buyer_fen"] == priced["list_fen"]).all()
    assert (priced["merchant_fen"] == 0).all()
    assert priced["list_fen"].min() >= 1
    dear = presets.taobao_buyer(*models, first_weight_fee=None, loadings=Loadings(filed_factor=1e3))
    assert dear.price(shipped.head(9))["buyer_fen"].tolist() == [1150] * 9
    claims = pd.DataFrame({"order_id": [1], "freight": 90.0, "report_date": "2024-10-01"})
    orders = pd.DataFrame({"order_id": [1], "zone": "far", "ship_date": "2024-09-05"})
    assert settle(dear, claims, orders=orders).claims["paid_fen"].tolist() == [2500]


# JD


def test_large_goods_are_paid_up_to_5000_yuan_also_on_a_new_leaf(models):
    programme = presets.jd_2024(*models, **JD | {"large_goods": ["furniture"]}, columns={"category": "industry"})
    orders = pd.DataFrame(
        {"order_id": [1, 2, 3, 4], "industry": ["furniture", "furniture", "furniture", "books"],
         "ship_date": "2024-11-01", "leaf": ["sofas-01", "a new leaf", "sofas-01", "maps"]}
    )  # fmt: skip
    claims = pd.DataFrame({"order_id": [1, 2, 3, 4], "freight": [5_000.01, 6_000.0, 4_999.99, 6_000.0],
                           "report_date": "2024-11-05"})  # fmt: skip
    paid = settle(programme, claims, orders=orders).claims["paid_fen"]
    assert paid.tolist() == [500_000, 500_000, 499_999, 600_000]
    order = {"channel": "shelf", "zone": "far", "weight_kg": 0.5}
    big, small = (programme.quote(order | {"industry": one}) for one in ("furniture", "books"))
    assert big["expected_payout"] == pytest.approx(small["expected_payout"], rel=1e-6)


def test_large_goods_may_be_a_level_above_the_leaves(models, data, shipped):
    programme = presets.jd_2024(*models, **JD | {"large_goods": ["furniture/sofas"]})
    quotes = programme.price(shipped.head(300))
    assert len(quotes) == 300
    assert {*programme.columns_read} == {"channel", "zone", "weight_kg", "category"}


def test_light_cheap_goods_cost_one_fen(models):
    programme = presets.jd_2024(*models, **JD | {"light_cheap": (20.0, 0.5)})
    order = {"channel": "live_stream", "zone": "remote", "weight_kg": 0.5, "category": "x"}
    rows = [(20.0, 0.5, True), (20.01, 0.5, False), (20.0, 0.501, False), (1.0, 0.01, True)]
    for price, weight, light in rows:
        quote = programme.quote(order | {"price": price, "weight_kg": weight})
        assert (quote["merchant_fen"] == 1) == light
        assert quote["merchant_fen"] + quote["insurer_fen"] == quote["list_fen"] > 10
    plain = presets.jd_2024(*models, **JD, price_cut=False, loadings=Loadings(filed_factor=1e-4))
    quote = plain.quote(order)
    assert (quote["list_fen"], quote["floor_bound"]) == (1, True)


def test_the_price_is_cut_by_a_tenth_and_for_childrens_goods_by_three_tenths(models):
    filed = {"loadings": Loadings(filed_min=1.0)}
    programme = presets.jd_2024(*models, **JD, childrens_goods=["childrens"], columns={"category": "industry"}, **filed)
    order = {"channel": "shelf", "zone": "far", "weight_kg": 0.5}
    assert programme.quote(order | {"industry": "books"})["insurer_fen"] == 10
    assert programme.quote(order | {"industry": "childrens"})["insurer_fen"] == 30


def test_the_upgrade_pays_every_claim_with_continued_weight_and_merges_pickups(models):
    order = {"channel": "live_stream", "zone": "remote", "weight_kg": 0.5}
    before = presets.jd_2023(*models, first_weight_fee=FEES).quote(order)
    every, merged, packed = (
        presets.jd_2024(*models, **JD | more, price_cut=False).quote(order)
        for more in ({}, {"merge_share": 0.7}, {"packaging": 2.0, "merge_share": 0.7})
    )
    rate = before["claim_intensity"]
    assert before["expected_claims"] == pytest.approx(-np.expm1(-rate), rel=1e-6)
    assert every["expected_claims"] == rate
    first = -np.expm1(-rate)
    assert merged["expected_claims"] == pytest.approx(first + 0.3 * (rate - first), rel=1e-6)
    assert every["expected_payout"] >= before["expected_payout"]
    assert packed["packaging: pure_premium"] == pytest.approx(2.0 * merged["expected_claims"], rel=1e-9)
    rescue = [presets.order_rescue(effect=-0.1, evidence=1.0)]
    rescued = presets.jd_2024(*models, **JD | {"packaging": 2.0}, loss_controls=rescue).quote(order)
    for cover in ("return freight", "packaging"):
        assert rescued[f"{cover}: claim_intensity"] == pytest.approx(0.9 * rate, rel=1e-14)


def test_damage_of_the_return_parcel_is_a_share_of_the_declared_value(models):
    programme = presets.jd_2024(*models, **JD, return_damage=(0.001, 0.25), columns={"declared_value": "value"})
    quote = programme.quote({"channel": "shelf", "zone": "far", "weight_kg": 0.5, "value": 800.0})
    assert quote["return damage: pure_premium"] == pytest.approx(0.001 * 0.25 * 800.0)


# Refusals


@pytest.fixture(scope="module")
def without_zone(data):
    book = OrderBook.from_frames(
        data.orders, data.claims, merchants=data.merchants, factors=data.factors(), as_of=data.as_of
    )
    return FrequencyModel([Free("channel")]).fit(book), SeverityModel([Free("channel")]).fit(book)


@pytest.mark.parametrize(
    "make", [presets.taobao_seller, presets.taobao_buyer, presets.return_treasure, presets.jd_2023]
)
def test_models_without_the_factor_of_the_fees_are_refused(without_zone, make):
    with pytest.raises(InputError, match=rf"preset '{make.__name__}' needs the factor 'zone' in the models.*'channel'"):
        make(*without_zone, first_weight_fee=FEES)


BAD = [
    (lambda m: presets.table("taobao"), "name of a preset"),
    (lambda m: presets.illustrative("x"), "name of a preset"),
    (lambda m: presets.table(["jd_2023"]), "name of a preset"),
    (lambda m: presets.account_integrity(effect=-0.1, evidence=1.0, column=["score"]), "column"),
    (lambda m: protection(m, delay_shares={"a": 0.5}), "delay_shares"),
    (lambda m: presets.return_treasure(*m, first_weight_fee=FEES, loss_controls=pd.Series([1.0])), "loss_controls"),
    (lambda m: presets.jd_2023(m[1], m[0], first_weight_fee=None), "frequency is a severity model"),
    (lambda m: presets.jd_2023(*m, first_weight_fee=8.0), "first_weight_fee"),
    (
        lambda m: presets.taobao_seller(*m, first_weight_fee=FEES, columns={"zone": "z"}),
        "names 'zone'.*it reads 'segment'",
    ),
    (
        lambda m: presets.taobao_seller(*m, first_weight_fee=FEES, discounts_618={"new": 0.1}),
        "discounts_618 and dates_618",
    ),
    (
        lambda m: presets.taobao_seller(*m, first_weight_fee=FEES, discounts_618={}, dates_618=("2024-06-01",)),
        "give .start",
    ),
    (lambda m: presets.return_treasure(*m, first_weight_fee=FEES, saving=1.0), "saving"),
    (lambda m: presets.return_treasure(*m, first_weight_fee=FEES, part_of_users="yes"), "part_of_users"),
    (lambda m: protection(m, events={"rain": (1.0, 1.0)}), "events names 'rain'; the events are 'fast refund'"),
    (lambda m: protection(m, events={"custom goods": 0.1}), "give .frequency, severity."),
    (lambda m: protection(m, events=EVENTS), "monthly_refunds and the event 'refund only' together"),
    (lambda m: protection(m, monthly_refunds={"high": 1.0}), "monthly_refunds and the event 'refund only' together"),
    (lambda m: protection(m, reading="S3-7"), "reading"),
    (lambda m: protection(m, big_purchase=1_000.0), "big_purchase is 1000, not above large_order"),
    (lambda m: protection(m, big_purchase=-1.0), "big_purchase"),
    (lambda m: protection(m, joined="m1"), "joined"),
    (lambda m: protection(m, backstop=1), "backstop"),
    (lambda m: protection(m, columns={"pickup": "x"}), "'official_pickup'"),
    (lambda m: presets.jd_2024(*m, **JD | {"merge_share": 1.5}), "merge_share"),
    (lambda m: presets.jd_2024(*m, **JD | {"large_goods": "sofa"}), "large_goods"),
    (lambda m: presets.jd_2024(*m, **JD | {"light_cheap": (1.0,)}), "light_cheap"),
    (lambda m: presets.jd_2024(*m, **JD | {"packaging": -1.0}), "packaging"),
    (lambda m: presets.jd_2024(*m, **JD, return_damage=0.1), "return damage"),
    (lambda m: presets.jd_2024(*m, **JD, price_cut=None), "price_cut"),
    (lambda m: presets.jd_2023(*m, first_weight_fee=FEES, loadings=0.2), "loadings"),
    (lambda m: presets.negotiation_tool(evidence=1.2, reach=1.0), "evidence"),
    (lambda m: presets.order_rescue(effect=-1.0, evidence=1.0), "effect"),
]


@pytest.mark.parametrize(("make", "told"), BAD, ids=range(len(BAD)))
def test_what_cannot_be_a_preset_is_refused(models, make, told):
    with pytest.raises(InputError, match=told):
        make(models)


def test_other_keyword_arguments_are_refused(models):
    with pytest.raises(TypeError, match="unexpected keyword argument 'floor'; presets hand on shape"):
        presets.jd_2023(*models, first_weight_fee=FEES, floor=2)


# Programmes side by side


class World:
    """What the laws need, without a representation that hypothesis would print."""

    def __init__(self, models, data, shipped):
        self.offers, self.merchants, self.shipped = offers_of(models), data.merchants, shipped

    def orders(self, seed):
        return with_columns(self.shipped.sample(60, random_state=seed))


@pytest.fixture(scope="module")
def world(models, data, shipped):
    return World(models, data, shipped)


def offers_of(models):
    treasure = replace(presets.return_treasure(*models, first_weight_fee=FEES), start=None)
    out = Enrolment({merchant: [(None, "2025-06-30")] for merchant in range(1, 41)})
    return {
        "seller": presets.taobao_seller(*models, first_weight_fee=FEES),
        "treasure": treasure,
        "enrolled": Versions([treasure], enrolment=out),
        "1688": protection(models),
        "jd": presets.jd_2024(*models, **JD | {"packaging": 1.0, "light_cheap": (20.0, 1.0)}),
    }


def with_columns(orders):
    fixed = {name: value for name, value in ORDER_1688.items() if name not in orders}
    return orders.assign(**fixed | {"paid": orders["price"]})


@given(st.integers(0, 2**32 - 1))
def test_a_comparison_is_the_sum_of_the_quotes(world, seed):
    orders, offers = world.orders(seed), world.offers
    found = presets.compare(orders, offers).set_index("programme")
    assert (found["merchant_fen"] + found["platform_fen"]
            + found["insurer_fen"] == found["list_fen"]).all()  # fmt: skip
    assert (found["merchant_fen"] + found["fees_fen"] == found["merchant_total_fen"]).all()
    assert (found["orders"] == 60).all()
    for name, offer in offers.items():
        quotes, row = offer.price(orders), found.loc[name]
        enrolled = quotes["enrolled"] if "enrolled" in quotes else np.ones(60, dtype=bool)
        assert row["priced"] == enrolled.sum()
        for fen in ("list_fen", "merchant_fen"):
            assert row[fen] == quotes[fen].sum()
        pure = quotes["pure_premium"].sum()
        assert row["pure_premium"] == pytest.approx(pure)
        if row["list_fen"]:
            assert row["loss_ratio"] == pytest.approx(100 * pure / quotes["list_fen"].sum())
            assert row["premium_per_order"] == pytest.approx(quotes["list_fen"].sum() / 100 / enrolled.sum())
            assert row["floor_share"] == pytest.approx((quotes["floor_bound"] & enrolled).sum() / enrolled.sum())
        fees = [column for column in quotes if column.startswith("fee: ")]
        assert row["fees_fen"] == quotes[fees].to_numpy().sum()
        claims = [column for column in quotes if column.endswith("expected_claims")]
        assert row["expected_claims"] == pytest.approx(np.nansum(quotes[claims].to_numpy()))


@given(st.integers(0, 2**32 - 1), st.sampled_from(["industry", "segment", "n_lines"]))
def test_segments_of_a_comparison_add_up_to_the_book(world, seed, by):
    orders, offers, merchants = world.orders(seed), world.offers, world.merchants
    whole = presets.compare(orders, offers, merchants=merchants)
    parts = presets.compare(orders, offers, merchants=merchants, by=by)
    assert not parts.duplicated(["programme", by]).any()
    sums = parts.groupby("programme", sort=False).sum(numeric_only=True)
    for name in ("orders", "priced", "list_fen", "merchant_fen", "platform_fen", "fees_fen", "merchant_total_fen"):
        assert sums[name].tolist() == whole[name].tolist()
    np.testing.assert_allclose(sums["pure_premium"], whole["pure_premium"])
    home = orders.merge(merchants, on="merchant_id")
    counts = home[by].value_counts()
    first = parts[parts["programme"] == "seller"].set_index(by)["orders"]
    assert first.to_dict() == {level: count for level, count in counts.items() if count}


def test_a_comparison_takes_every_kind_of_table_and_names(models, shipped):
    orders = shipped.head(50).astype(
        dict.fromkeys(("industry", "category", "leaf", "zone", "channel", "campaign"), str)
    )
    seller = presets.taobao_seller(*models, first_weight_fee=FEES)
    expected = presets.compare(orders, [seller], by="zone")
    pd.testing.assert_frame_equal(presets.compare(pl.from_pandas(orders), [seller], by="zone"), expected)
    assert expected["programme"].unique().tolist() == ["Taobao freight insurance for sellers, 2022 to 2024"]
    versions = protection(models)
    assert presets.compare(pd.DataFrame([ORDER_1688]), [versions])["programme"].tolist() == [
        "1688 buyer protection, 2024-09-12 / 1688 buyer protection, 2024-09-13"
    ]
    missing = orders.assign(zone2=[None, *orders["zone"].iloc[1:]])
    assert presets.compare(missing, [seller], by="zone2")["zone2"].isna().tolist()[-1]


def test_a_segment_without_orders_in_force_has_no_ratios(models):
    freight = EventCover("freight", frequency=0.05, severity=9.0, cover=Cover(max_claims=None)).tariff()
    versions = Versions([Programme("p", freight)], enrolment=Enrolment({"a": [(None, None)]}))
    orders = pd.DataFrame({"merchant_id": ["a", "b"], "ship_date": "2024-01-01"})
    found = presets.compare(orders, {"p": versions}, by="merchant_id")
    assert found["priced"].tolist() == [1, 0]
    assert found["premium_per_order"].isna().tolist() == [False, True]
    assert found["loss_ratio"].isna().tolist() == [False, True]


def test_a_tariff_may_stand_beside_programmes():
    freight = EventCover("freight", frequency=0.05, severity=9.0, cover=Cover(max_claims=None)).tariff()
    found = presets.compare(pd.DataFrame({"x": [1]}), [freight, Programme("p", freight)])
    assert found.drop(columns="programme").nunique().max() == 1


@pytest.mark.parametrize(
    ("offers", "told"),
    [([], "offers is empty"), ([1], "an offer is 1"), ({"a": None}, "an offer is None"), ("abc", "offers"),
     ({1: None}, "name of an offer")],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused(offers, told):
    with pytest.raises(InputError, match=told):
        presets.compare(pd.DataFrame({"x": [1]}), offers)


def test_two_programmes_of_one_name_are_refused():
    freight = EventCover("freight", frequency=0.05, severity=9.0, cover=Cover(max_claims=None)).tariff()
    with pytest.raises(InputError, match="2 are named 'freight'; give a mapping"):
        presets.compare(pd.DataFrame({"x": [1]}), [freight, freight])
    with pytest.raises(InputError, match=r"missing column.*'y'"):
        presets.compare(pd.DataFrame({"x": [1]}), [freight], by="y")


def test_conditions_of_the_campaign_may_be_intervals(models):
    where = {"score": Interval(above=4.6)}
    programme = presets.taobao_seller(*models, first_weight_fee=FEES, double_11=where)
    assert dict(programme.subsidies[0].where) == where
