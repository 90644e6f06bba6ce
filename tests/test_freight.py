"""Freight schedules: fees to the fen, and severity on the distribution of weight."""

import math
import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from scipy import stats

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
    Limit,
    OrderBook,
    ScheduleSeverity,
    Tariff,
    load_tariff,
    settle,
)
from freightrisk.shapes import ScaleShape

FEES = pd.DataFrame({
    "zone": ["near", "mid", "far"], "first_fee": [8.0, 10.0, 14.5], "step_fee": [2.0, 4.0, 8.5],
    "first_weight_g": [1000, 1000, 500], "step_weight_g": [1000, 500, 500], "remote_fee": [0.0, 0.0, 3.0],
    "scheduled_payout": [9.0, 12.0, 20.0],
})  # fmt: skip
SCHEDULE = FreightSchedule(FEES, packaging_fee=0.5)
LIMITS = {"silver": 12.0, "gold": 25.0}
ORDERS = 20_000


def simulated(n=ORDERS, seed=5):
    rng = np.random.default_rng(seed)
    leaf = rng.choice(["a1", "a2", "b1", "b2"], n, p=[0.5, 0.3, 0.195, 0.005])
    orders = pd.DataFrame({
        "order_id": np.arange(n), "industry": [name[0] for name in leaf], "leaf": leaf,
        "zone": rng.choice(["near", "mid", "far"], n, p=[0.6, 0.3, 0.1]), "tier": rng.choice(list(LIMITS), n),
        "weight_g": np.exp(rng.normal(6.5 + 0.6 * np.isin(leaf, ["b1", "b2"]), 0.7)),
    })  # fmt: skip
    back = rng.uniform(size=n) < 0.2
    freight = SCHEDULE.freight(orders["zone"], orders["weight_g"])
    return orders, pd.DataFrame({"order_id": np.flatnonzero(back), "freight": freight[back]})


@pytest.fixture(scope="module")
def frames():
    return simulated()


@pytest.fixture(scope="module")
def book(frames):
    factors = [Factor("zone"), Hierarchy("goods", ["industry", "leaf"], unseen="parent"), Factor("tier")]
    return OrderBook.from_frames(*frames, factors=factors, ship_date=None, report_date=None)


@pytest.fixture(scope="module")
def frequency(book):
    return FrequencyModel(["zone", "tier"]).fit(book)


def by_hand(zone, grams):
    row = FEES.set_index("zone").loc[zone]
    steps = max(0, math.ceil((grams - row.first_weight_g) / row.step_weight_g))
    return row.first_fee + row.step_fee * steps + row.remote_fee + 0.5


@given(zone=st.sampled_from(["near", "mid", "far"]), grams=st.integers(1, 60_000))
def test_freight_is_the_fee_counted_by_hand(zone, grams):
    assert SCHEDULE.freight([zone], [grams])[0] == pytest.approx(by_hand(zone, grams), abs=1e-9)


@given(hectograms=st.integers(1, 600))
def test_kilograms_in_single_precision_cost_what_their_decimals_cost(hectograms):
    narrow = 1000.0 * np.array([hectograms / 10], dtype=np.float32).astype(np.float64)
    assert SCHEDULE.freight(["near"], narrow) == SCHEDULE.freight(["near"], [100 * hectograms])


@given(grams=st.integers(1, 50_000), more=st.integers(0, 5_000))
def test_freight_never_falls_with_weight_and_is_in_whole_fen(grams, more):
    freight = SCHEDULE.freight(["far", "far"], [grams, grams + more])
    assert freight[0] <= freight[1]
    np.testing.assert_array_equal(freight, np.round(freight, 2))


def test_steps_begin_just_above_their_weight():
    # 1.1 kg and a step of 100 g: in floating point (1.1 - 1) / 0.1 is a little more than 1.
    fees = FEES.head(1).assign(step_weight_g=100)
    schedule = FreightSchedule(fees)
    weights = np.array([1.0, 1.1, 1.1000001, 1.2, 1.3]) * 1000
    assert schedule.freight(["near"] * 5, weights).tolist() == [8.0, 10.0, 12.0, 12.0, 14.0]


def test_volume_weight_is_billed_where_it_is_larger():
    schedule = FreightSchedule(FEES, volume_divisor=8_000)
    assert schedule.billed_weight([500, 500, 500], [4_000, 4_001, 16_000]).tolist() == [500, 501, 2_000]
    assert schedule.freight(["near", "near"], [500, 500], [8_000, 8_001]).tolist() == [8.0, 10.0]
    with pytest.raises(InputError, match="bills by volume too; give volume_cm3"):
        schedule.freight(["near"], [500])
    with pytest.raises(InputError, match="has no volume_divisor"):
        SCHEDULE.freight(["near"], [500], [4_000])


def test_zone_pairs():
    fees = pd.DataFrame({
        "origin": ["ZJ", "ZJ", "GD"], "destination": ["ZJ", "XJ", "ZJ"], "first_fee": [6.0, 18.0, 9.0],
        "step_fee": [1.0, 16.0, 4.0], "first_weight_g": 1000, "step_weight_g": 1000,
    })  # fmt: skip
    schedule = FreightSchedule(fees, zone=["origin", "destination"])
    assert schedule.freight([("ZJ", "XJ"), ("GD", "ZJ")], [1_500, 900]).tolist() == [34.0, 9.0]
    assert schedule.first_fees == {"ZJ > ZJ": 6.0, "ZJ > XJ": 18.0, "GD > ZJ": 9.0}
    rng = np.random.default_rng(3)
    rows = fees.iloc[rng.integers(0, 3, 500)].reset_index(drop=True)
    orders = rows[["origin", "destination"]].assign(order_id=range(500), weight_g=rng.uniform(200, 4_000, 500))
    claims = pd.DataFrame({"order_id": range(100), "freight": 8.0})
    book = OrderBook.from_frames(
        orders, claims, factors=[Hierarchy("route", ["origin", "destination"], unseen="parent")], ship_date=None,
        report_date=None,
    )  # fmt: skip
    fitted = ScheduleSeverity(schedule, zone="route").fit(book, orders["weight_g"])
    tariff = Tariff.build(
        FrequencyModel().fit(book), fitted, cover=Cover(first_weight_fee=ByLevel("route", schedule.first_fees))
    )
    known = tariff.quote({"origin": "ZJ", "destination": "XJ"})
    # Whatever it weighs, a parcel costs its first fee at least, so under that limit it costs just that.
    assert known["expected_payout"] == pytest.approx(18.0)
    assert known["limit_bound"]
    unseen = tariff.quote({"origin": "ZJ", "destination": "BJ"})
    assert unseen["unseen_level"]
    assert 6.0 < unseen["expected_payout"] < 18.0


def test_mean_of_the_freight_is_not_the_freight_of_the_mean():
    # A first kilogram of 8 yuan, 2 more for each begun one, and a lognormal weight of median 1.2 kg and mean 1.44 kg.
    fees = FEES.head(1).drop(columns=["remote_fee", "scheduled_payout"])
    weight = stats.lognorm(0.6, scale=1200.0)
    for first_weight, most, continued, above in ((1000, 10.0, 1.84, 0.62), (3000, 8.0, 0.20, 0.06)):
        schedule = FreightSchedule(fees.assign(first_weight_g=first_weight))
        assert schedule.freight(["near"], [weight.mean()])[0] == most
        assert schedule.expected("near", weight) - 8.0 == pytest.approx(continued, abs=0.006)
        assert weight.sf(first_weight) == pytest.approx(above, abs=0.006)
    schedule = FreightSchedule(fees)
    whole = schedule.expected("near", weight)
    for limit in (8.5, 12.0, 15.0, 25.0):
        # What is cut off: the steps whose fee is above the limit, in whole or in part, each as often as it begins.
        steps = np.arange(400)
        cut = np.minimum(2.0, np.maximum(10.0 + 2.0 * steps - limit, 0.0)) * weight.sf(1000 * (steps + 1))
        assert schedule.expected("near", weight, limit=limit) == pytest.approx(whole - cut.sum(), rel=1e-12)


def test_expected_freight_of_a_sample_and_of_its_distribution_agree():
    weight = stats.gamma(2.0, scale=700.0)
    sample = weight.rvs(200_000, random_state=4)
    for zone, limit in (("near", np.inf), ("far", 30.0)):
        paid = np.minimum(SCHEDULE.freight([zone] * len(sample), sample), limit)
        assert SCHEDULE.expected(zone, sample, limit=limit) == pytest.approx(paid.mean(), rel=1e-12)
        gap = SCHEDULE.expected(zone, weight, limit=limit) - paid.mean()
        assert abs(gap) < 3 * paid.std() / np.sqrt(len(paid))


def test_table_without_shrinkage_is_the_mean_over_the_parcels(frames, book):
    orders, _ = frames
    fitted = ScheduleSeverity(SCHEDULE, "zone", "goods", prior_parcels=0.0).fit(book, orders["weight_g"])
    for row in fitted.table.itertuples():
        weights = orders.loc[orders["leaf"] == row.goods.split(" > ")[1], "weight_g"]
        paid = SCHEDULE.freight([row.zone] * len(weights), weights)
        assert row.mean_freight == pytest.approx(paid.mean(), rel=1e-12)
        assert row.first_weight_share == pytest.approx(by_hand(row.zone, 1) / paid.mean(), rel=1e-12)
        assert row.parcels == len(weights)
        assert row.gain == pytest.approx(row.scheduled_payout - paid.mean(), rel=1e-9, abs=1e-9)
    np.testing.assert_allclose(
        fitted.predict(book)[:5], [
            fitted.table.set_index(["zone", "goods"]).loc[(row.zone, f"{row.industry} > {row.leaf}"), "mean_freight"]
            for row in orders.head(5).itertuples()
        ],
    )  # fmt: skip


def test_thin_leaves_lean_on_their_parent(frames, book):
    orders, _ = frames
    alone, shrunk, parent = (
        ScheduleSeverity(SCHEDULE, "zone", "goods", prior_parcels=prior).fit(book, orders["weight_g"])
        for prior in (0.0, 50.0, 1e8)
    )
    slot = book.codings["goods"].labels.index("b > b2")
    rows = [fitted.expected_paid(np.inf)[0, slot] for fitted in (alone, shrunk, parent)]
    n = shrunk.weight_parcels[slot]
    node = shrunk.expected_paid(np.inf)[0, book.codings["goods"].fallback[("b",)]]
    assert rows[1] == pytest.approx((n * rows[0] + 50 * node) / (n + 50), rel=1e-9)
    assert shrunk.weight_shares.sum(axis=1) == pytest.approx(1.0)


@pytest.mark.parametrize("cover", [
    Cover(), Cover(limit=15.0), Cover(limit=ByLevel("tier", LIMITS)),
    Cover(limit=ByLevel("tier", LIMITS), first_weight_fee=ByLevel("zone", {"near": 20.0, "mid": 10.5, "far": 15.0})),
    Cover(limit=ByLevel("goods", {"a > a1": 9.0, "b > b1": 30.0}, default=13.0)),
])  # fmt: skip
def test_tariff_pays_the_limited_freight_of_the_parcels(frames, book, frequency, cover, tmp_path):
    orders, _ = frames
    severity = ScheduleSeverity(SCHEDULE, "zone", "goods", prior_parcels=0.0).fit(book, orders["weight_g"])
    tariff = Tariff.build(frequency, severity, cover=cover)
    priced = tariff.price(orders)
    limit = np.full(len(orders), cover.flat_limit)
    for part in cover.level_limits:
        named = orders["industry"] + " > " + orders["leaf"] if part.factor == "goods" else orders[part.factor]
        most = named.map(dict(part.values))
        limit = np.minimum(limit, most.fillna(part.default) if part.default else most)
    # Every order of a cell pays the mean over the cell's zone and limit and the weights of all zones.
    frame = orders.assign(limit=limit, ours=priced["expected_payout"])
    for (zone, leaf, most), cell in frame.groupby(["zone", "leaf", "limit"]):
        weights = orders.loc[orders["leaf"] == leaf, "weight_g"]
        paid = np.minimum(SCHEDULE.freight([zone] * len(weights), weights), most)
        np.testing.assert_allclose(cell["ours"], paid.mean(), rtol=1e-12)
    bound = priced["expected_payout"] < 0.99 * severity.predict(book)
    np.testing.assert_array_equal(priced["limit_bound"], bound)
    tariff.save(tmp_path / "schedule.json")
    pd.testing.assert_frame_equal(load_tariff(tmp_path / "schedule.json").price(orders.head(99)), priced.head(99))
    assert "share" in str(tariff.explain(orders.iloc[0].to_dict())) or not cover.is_limited


def test_claims_of_new_orders_cost_what_the_tariff_expects(frames, book, frequency):
    orders, _ = frames
    severity = ScheduleSeverity(SCHEDULE, "zone", "goods").fit(book, orders["weight_g"])
    tariff = Tariff.build(frequency, severity, cover=Cover(limit=ByLevel("tier", LIMITS)))
    new, _ = simulated(n=100_000, seed=99)
    paid = np.minimum(SCHEDULE.freight(new["zone"], new["weight_g"]), new["tier"].map(LIMITS))
    gap = tariff.price(new)["expected_payout"].mean() - paid.mean()
    assert abs(gap) < 3 * paid.std() * np.sqrt(1 / len(new) + 1 / len(orders))


def test_claims_only_uses_the_parcels_that_came_back(frames, book):
    orders, claims = frames
    fitted = ScheduleSeverity(SCHEDULE, "zone").fit(book, orders["weight_g"], claims_only=True)
    assert fitted.weight_parcels.tolist() == [book.n_claims]
    back = orders.loc[claims["order_id"], "weight_g"]
    near = fitted.table.set_index("zone").loc["near", "mean_freight"]
    assert near == pytest.approx(SCHEDULE.freight(["near"] * len(back), back).mean(), rel=1e-12)


def test_scheduled_basis_pays_its_zone_whatever_the_parcel_cost(frames, book, frequency):
    orders, _ = frames
    fitted = ScheduleSeverity(SCHEDULE, "zone", "goods", basis="scheduled").fit(book, orders["weight_g"])
    priced = Tariff.build(frequency, fitted, cover=Cover(limit=18.0)).price(orders)
    known = orders["zone"].map(dict(zip(FEES["zone"], FEES["scheduled_payout"], strict=True)))
    np.testing.assert_allclose(priced["expected_payout"], np.minimum(known, 18.0), rtol=1e-12)
    # The table compares with what the parcels cost: near orders gain a little, far ones lose.
    actual = ScheduleSeverity(SCHEDULE, "zone", "goods").fit(book, orders["weight_g"])
    pd.testing.assert_frame_equal(fitted.table, actual.table)


def test_severity_from_a_schedule_recovers_that_of_claims(frames, book):
    # The statistical severity of the same book, cell by cell, is the schedule's within its error.
    orders, claims = frames
    fitted = ScheduleSeverity(SCHEDULE, "zone", "goods").fit(book, orders["weight_g"])
    expected = fitted.predict(book)[claims["order_id"]]
    gap = claims["freight"].mean() - expected.mean()
    assert abs(gap) < 3 * claims["freight"].std() / np.sqrt(len(claims))


def test_volume_weight_of_a_real_marketplace(shared_data):
    # 89,966 items of Olist with weights and sizes: billed weight over weight, category by category.
    frame = pd.read_parquet(shared_data / "marketplace_freight" / "order_items.parquet")
    sides = ["product_length_cm", "product_height_cm", "product_width_cm"]
    frame = frame[(frame["product_weight_g"] > 0) & frame[sides].notna().all(axis=1)].reset_index(drop=True)
    frame = frame.assign(
        zone="near", order_id=range(len(frame)), category=frame["product_category_name"].astype(object).fillna("none")
    )
    claims = frame.head(100)[["order_id"]].assign(freight=8.0)
    book = OrderBook.from_frames(
        frame, claims, factors=[Factor("zone"), Factor("category")], ship_date=None, report_date=None
    )
    volume = frame[sides].prod(axis=1)
    light, bulky = (
        ScheduleSeverity(FreightSchedule(FEES, volume_divisor=divisor), "zone", "category", prior_parcels=0.0).fit(
            book, frame["product_weight_g"], volume_cm3=volume
        ).table.set_index("category")["mean_freight"]
        for divisor in (1e6, 6_000)
    )  # fmt: skip
    assert (bulky >= light - 1e-9).all()
    assert bulky.mean() > light.mean() + 1.0
    direct = FreightSchedule(FEES, volume_divisor=6_000).freight(frame["zone"], frame["product_weight_g"], volume)
    weights = frame.groupby("category").size()
    assert (bulky * weights).sum() / weights.sum() == pytest.approx(direct.mean(), rel=1e-9)


@pytest.mark.parametrize(("change", "match"), [
    ({"first_fee": 0.0}, "'first_fee' must be above zero"),
    ({"step_fee": -1.0}, "'step_fee' must be at or above zero"),
    ({"first_fee": 8.005}, "'first_fee' is not in whole fen"),
    ({"step_weight_g": 0}, "'step_weight_g' must be above zero"),
    ({"first_weight_g": 999.5}, "'first_weight_g' is not in whole grams"),
    ({"zone": "near"}, "a zone twice .*'near'"),
    ({"first_fee": np.nan}, "first_fee"),
])  # fmt: skip
def test_bad_fees_are_refused(change, match):
    with pytest.raises(InputError, match=match):
        FreightSchedule(FEES.assign(**change))


def test_bad_calls_are_refused(frames, book, frequency):
    orders, _ = frames
    with pytest.raises(InputError, match="missing column 'step_fee'"):
        FreightSchedule(FEES.drop(columns="step_fee"))
    with pytest.raises(InputError, match="packaging_fee is not in whole fen"):
        FreightSchedule(FEES, packaging_fee=0.005)
    with pytest.raises(InputError, match="zone is not in the schedule in 1 row"):
        SCHEDULE.freight(["near", "moon"], [500, 500])
    with pytest.raises(InputError, match="weight_g is not above zero in 1 row"):
        SCHEDULE.freight(["near", "near"], [500, 0])
    with pytest.raises(InputError, match="zone has 2 values and weight_g has 1"):
        SCHEDULE.freight(["near", "near"], [500])
    with pytest.raises(InputError, match="zone 'moon' is not in the schedule"):
        SCHEDULE.expected("moon", [500])
    with pytest.raises(InputError, match="steps of 500 g; correct its weight"):
        ScheduleSeverity(SCHEDULE, "zone").fit(book, orders["weight_g"] * 1e4)
    with pytest.raises(InputError, match="give one for each of 20,000 orders"):
        ScheduleSeverity(SCHEDULE, "zone").fit(book, [500.0])
    with pytest.raises(InputError, match="zone is 'route', which is not a factor"):
        ScheduleSeverity(SCHEDULE, "route").fit(book, orders["weight_g"])
    with pytest.raises(InputError, match="basis='scheduled' needs a column scheduled_payout"):
        ScheduleSeverity(FreightSchedule(FEES.drop(columns="scheduled_payout")), "zone", basis="scheduled")
    with pytest.raises(InputError, match=r"the schedule has no fees for 1 level.* 'far'"):
        ScheduleSeverity(FreightSchedule(FEES.head(2)), "zone").fit(book, orders["weight_g"])
    with pytest.raises(InputError, match="zone and weight are both 'zone'"):
        ScheduleSeverity(SCHEDULE, "zone", "zone")
    with pytest.raises(InputError, match="schedule is 3; it must be a FreightSchedule"):
        ScheduleSeverity(3, "zone")
    severity = ScheduleSeverity(SCHEDULE, "zone").fit(book, orders["weight_g"])
    with pytest.raises(InputError, match="a freight schedule has its own distribution of amounts"):
        Tariff.build(frequency, severity, shape=ScaleShape(0.3))
    with pytest.raises(InputError, match="which no model rates"):
        Tariff.build(frequency, severity, cover=Cover(limit=ByLevel("goods", {"a > a1": 9.0}, default=13.0)))
    banded = OrderBook.from_frames(
        orders, orders.head(9).assign(freight=8.0), factors=[Band("weight_g", 4)], ship_date=None, report_date=None
    )
    with pytest.raises(InputError, match="declare a Factor or a Hierarchy of the schedule's columns"):
        ScheduleSeverity(SCHEDULE, "weight_g").fit(banded, orders["weight_g"])
    with pytest.raises(InputError, match="its coding of factor 'zone' differs from the fit's"):
        severity.predict(banded)


def test_kilograms_given_for_grams_are_told():
    frame = pd.DataFrame({"order_id": range(4), "zone": ["near", "far"] * 2})
    claims = pd.DataFrame({"order_id": [0, 1], "freight": [8.0, 12.0]})
    book = OrderBook.from_frames(frame, claims, factors=[Factor("zone")], ship_date=None, report_date=None)
    fees = pd.DataFrame({
        "zone": ["near", "far"], "first_fee": 5.0, "step_fee": 1.0, "first_weight_g": 1000, "step_weight_g": 1000,
    })  # fmt: skip
    model = ScheduleSeverity(FreightSchedule(fees), "zone")
    model.fit(book, np.array([400.0, 900.0, 1500.0, 3000.0]))
    with pytest.warns(FreightRiskWarning, match=r"weight_g has a median of 1\.2 g, .* multiply it by 1,000"):
        model.fit(book, np.array([0.4, 0.9, 1.5, 3.0]))


# Another cover in an old tariff

TERMS = {
    "max_claims": st.sampled_from([1, 2, None]),
    "limit": st.sampled_from([None, 11.0, 30.0, ByLevel("tier", LIMITS), ByLevel("goods", {"a": 9.0}, default=13.0)]),
    "first_weight_fee": st.sampled_from([None, ByLevel("zone", {"near": 20.0, "mid": 10.5, "far": 15.0})]),
    "limits": st.sampled_from([
        (), [Limit("all", 12.0)], [Limit("base", 9.0), Limit("gold", 21.0, where={"tier": ["gold"]}, priority=1)],
        [Limit("lowest", 9.0), Limit("silver", 21.0, where={"tier": ["silver"]}, priority=1)],
        [Limit("base", 12.0), Limit("gold", 10.0, where={"tier": ["gold"]}, priority=1)],
    ]),
    "choose": st.sampled_from(["largest", "smallest", "first"]),
    "deductible": st.sampled_from([0.0, 3.0]),
    "coinsurance": st.sampled_from([0.0, 0.5]),
    "eligible": st.sampled_from([{}, {"tier": ["gold"]}, {"channel": ["live"]}]),
}  # fmt: skip


@pytest.fixture(scope="module")
def fitted(frames, book, frequency):
    return frequency, ScheduleSeverity(SCHEDULE, "zone", "goods").fit(book, frames[0]["weight_g"])


@settings(max_examples=60)
@given(old=st.fixed_dictionaries(TERMS), new=st.fixed_dictionaries({}, optional=TERMS))
def test_another_cover_is_refused_or_priced_as_a_new_tariff_prices_it(frames, fitted, old, new):
    orders = frames[0].head(300).assign(channel="live")
    tariff = Tariff.build(*fitted, cover=Cover(**old))
    cover = replace(tariff.cover, **new)
    built = Tariff.build(*fitted, cover=cover)
    for one in (tariff, pickle.loads(pickle.dumps(tariff)), tariff.with_subsidies([])):
        try:
            changed = replace(one, cover=cover)
        except InputError:
            event("refused")
            assert {*new} - {"eligible"}
            continue
        event("priced")
        pd.testing.assert_frame_equal(changed.price(orders), built.price(orders))
        assert changed.digest == built.digest
        assert changed == built


@pytest.mark.parametrize(("new", "differs"), [
    ({"limit": 11.0}, "limit"), ({"limit": None}, "limit"), ({"deductible": 3.0}, "deductible"),
    ({"coinsurance": 0.5}, "coinsurance"), ({"limit": ByLevel("tier", LIMITS)}, "limit"),
    ({"first_weight_fee": ByLevel("zone", {"near": 9.0}, default=12.0)}, "first_weight_fee"),
    ({"limit": None, "limits": [Limit("all", 7.0)]}, "limit, limits"), ({"amount_of": "price"}, "amount_of"),
])  # fmt: skip
def test_shares_hold_only_for_the_terms_for_which_they_were_made(fitted, new, differs, tmp_path):
    tariff = Tariff.build(*fitted, cover=Cover(limit=7.0))
    tariff.save(tmp_path / "tariff.json")
    for one in (tariff, load_tariff(tmp_path / "tariff.json")):
        with pytest.raises(InputError, match=f"shares of a freight schedule .* it differs in {differs}. .* build the"):
            replace(one, cover=replace(one.cover, **new))


def test_a_schedule_is_settled_under_its_cover_with_a_condition(frames, fitted):
    rules = [Limit("base", 9.0), Limit("gold", 21.0, where={"tier": ["gold"]}, priority=1)]
    tariff = Tariff.build(*fitted, cover=Cover(limit=ByLevel("goods", {"a": 9.0}, default=13.0), limits=rules))
    renamed = [replace(rules[0], name="all"), replace(rules[1], where={"tier": ["silver"]})]  # amounts as before
    strict = replace(tariff, cover=replace(tariff.cover, eligible={"pickup": ["yes"]}, limits=renamed))
    claims = frames[0].head(4).assign(freight=50.0, pickup=["yes", "yes", "no", "no"])
    paid = settle(strict, claims, report_date=None).claims["paid_fen"]
    most = np.where(claims["industry"] == "a", 900, 1300)
    wanted = np.minimum(most, np.where(claims["tier"] == "silver", 2100, 900)) * [1, 1, 0, 0]
    assert paid.tolist() == wanted.tolist()


def test_claim_counts_hold_only_for_the_claims_for_which_they_were_made(fitted):
    tariff = Tariff.build(*fitted, cover=Cover(max_claims=2))
    with pytest.raises(InputError, match=r"claim-count curves .* it differs in max_claims, merge_share"):
        replace(tariff, cover=Cover(max_claims=3, merge_share=0.5))  # at most 2 paid claims too
    every = Tariff.build(*fitted, cover=Cover(max_claims=None))
    with pytest.raises(InputError, match=r"claim-count curves .* it differs in merge_share"):
        replace(every, cover=Cover(max_claims=None, merge_share=0.5))
