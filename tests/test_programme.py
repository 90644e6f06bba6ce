"""Programmes: the price of several covers is their sum, rounded once; fees to the fen; versions by day."""

import pickle
from dataclasses import replace
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freightrisk import (
    Balances,
    ByLevel,
    ClaimPayer,
    Cover,
    FreightRiskWarning,
    InputError,
    Interval,
    Limit,
    Loadings,
    Subsidy,
    TariffDocumentError,
    settle,
)
from freightrisk._columns import ColumnNames
from freightrisk.events import EventCover, ShapedSeverity
from freightrisk.programmes import (
    Enrolment,
    Fee,
    PhaseIn,
    Programme,
    Versions,
    load_programme,
    load_versions,
    refunds,
)
from freightrisk.shapes import ScaleShape
from freightrisk.tariff.quotes import DETAIL
from freightrisk.tariff.rounding import Rounding
from strategies import (
    CODINGS,
    changed,
    covers_with_rules,
    draw_batch,
    draw_orders,
    limited_programmes,
    orders,
    programmes,
    put_together,
    rate_tables,
    seeds,
    tariffs,
)

WITH_RULES = tariffs(cover_of=covers_with_rules)
PLAIN = tariffs(programme=st.just([]), cover_of=covers_with_rules)
FEES = st.lists(
    st.sampled_from(
        [
            Fee("service", basis_points=60, of="price", cap_fen=180, where={"segment": ["new", "loyal"]}),
            Fee("listing", fixed_fen=3, start="2025-06-05"),
            Fee("insurer's", payer="insurer", payee="merchant", basis_points=1, of="price", where={"member": [True]}),
            Fee("software", basis_points=250, of="price", where={"price": Interval(above=20.0)}),
        ]
    ),
    unique_by=lambda fee: fee.name,
    max_size=4,
)


SUBSIDIES = programmes()


@st.composite
def whole_programmes(draw, subsidies=SUBSIDIES):
    """A programme of one to four covers with fees; the first has subsidies."""
    first = replace(draw(tariffs(programme=subsidies, cover_of=covers_with_rules)), name="first")
    more = [replace(draw(PLAIN), name=f"more {k}") for k in range(draw(st.integers(0, 3)))]
    return Programme("drawn", [first, *more], fees=draw(FEES))


@given(whole_programmes(), orders())
def test_the_price_is_the_sum_of_the_covers_rounded_once(programme, frame):
    priced = programme.price(frame, threads=1)
    alone = [cover.price(frame, threads=1) for cover in programme.covers]
    filed = [
        cover.loadings.filed_micro(one["technical_premium"].to_numpy())
        for cover, one in zip(programme.covers, alone, strict=True)
    ]
    whole = [min(sum(map(int, row)), 10**13) for row in zip(*filed, strict=True)]
    fen = [int((Decimal(micro) / 10_000).to_integral_value(rounding=ROUND_HALF_EVEN)) for micro in whole]
    assert priced["list_fen"].tolist() == [max(one, programme.floor_fen) for one in fen]
    several = len(programme.covers) > 1
    for cover, one in zip(programme.covers, alone, strict=True):
        for name in DETAIL:
            np.testing.assert_array_equal(priced[f"{cover.name}: {name}" if several else name], one[name])
    for name in ("limit_bound", "filed_bound", "unseen_level"):
        np.testing.assert_array_equal(priced[name], np.any([one[name] for one in alone], axis=0) if alone else False)
    if several:
        assert priced["filed_micro"].tolist() == whole
        np.testing.assert_allclose(priced["pure_premium"], sum(one["pure_premium"] for one in alone), rtol=1e-14)
    # The money after the list price is that of a tariff with this list price and the rules of the first cover.
    payers = [priced[f"{payer}_fen"] for payer in programme.payers]
    assert (sum(payers, priced["merchant_fen"]) == priced["list_fen"]).all()
    assert list(priced.columns) == list(programme.quote_columns)


@given(whole_programmes(), orders(), st.data())
def test_every_door_gives_the_same_quote(programme, frame, data):
    priced = programme.price(frame)
    n = len(frame)
    coded = programme.encode(frame)
    pd.testing.assert_frame_equal(programme.price(pickle.loads(pickle.dumps(coded))), priced)
    buffers = programme.buffers(n + data.draw(st.integers(0, 3)))
    for _ in range(2):
        columns = programme.price_columns(coded, threads=2, buffers=buffers)
        pd.testing.assert_frame_equal(pd.DataFrame(columns, index=frame.index), priced)
    short = programme.price_columns(coded, detail=False)
    assert {*short} == {*priced} - {name for name in priced if priced[name].dtype == np.float64} - {"filed_micro"}
    table = programme.price(pa.Table.from_pandas(frame))
    assert table.column_names == list(priced.columns)
    assert table["merchant_fen"].to_pylist() == priced["merchant_fen"].tolist()
    for k in range(min(n, 3)):
        order = frame.iloc[k].to_dict()
        quote = programme.quote(order)
        assert quote == {name: priced[name].iloc[k] for name in priced}
        # The worksheet's slow twin refuses another fen than the kernel's.
        assert programme.pricer.explain(order).quote == quote


@given(whole_programmes(limited_programmes()), seeds)
def test_budgets_of_a_programme_do_not_depend_on_rows_or_batches(programme, seed):
    rng = np.random.default_rng(seed)
    frame = draw_batch(rng, 40)
    whole = Balances()
    priced = programme.price(frame, balances=whole, priority="priority", campaigns=True)
    turned = frame.iloc[rng.permutation(40)]
    again = Balances()
    other = programme.price(turned, balances=again, priority="priority", campaigns=True)
    pd.testing.assert_frame_equal(other.loc[frame.index], priced)
    assert again == whole
    for rule in programme.subsidies:
        if rule.budget_fen is not None:
            assert priced[f"paid: {rule.name}"].sum() <= rule.budget_fen


@given(WITH_RULES, orders())
def test_a_programme_of_one_tariff_is_the_tariff(tariff, frame):
    programme = Programme("alone", tariff)
    pd.testing.assert_frame_equal(programme.price(frame, campaigns=True), tariff.price(frame, campaigns=True))
    assert programme.columns_read == tariff.columns_read
    assert programme.pricer is tariff.pricer


@pytest.mark.parametrize("mode", ["half_even", "half_up", "ceiling", "down", "dither", "carry"])
def test_the_sum_is_rounded_by_the_mode_of_the_first_cover(mode):
    rng = np.random.default_rng(5)
    frame = draw_batch(rng, 400)
    frame["merchant_id"] = frame["merchant_id"].fillna("m4")
    key = "a secret" if mode == "dither" else ""
    one, two = (
        put_together(
            frequency=rate_tables(["channel"], rng, 0.01), severity=rate_tables(["zone"], rng, 8.0), name=name,
            cover=Cover(max_claims=None),
        )
        for name in ("one", "two")
    )  # fmt: skip
    lead = changed(one, rounding=mode, dither_key=key)
    priced = Programme("both", [lead, replace(two, rounding_rule=Rounding("ceiling", "", 7))]).price(frame)
    # A tariff whose premium is a number of micro-yuan of the order is rounded by the same rule.
    micro = priced["filed_micro"]
    event = EventCover("same", frequency=1.0, severity=1.0, cover=Cover(max_claims=None), amount_of="yuan")
    same = event.tariff(rounding=mode, dither_key=key).price(frame.assign(yuan=micro / 1e6))
    assert (
        same["filed_micro"] if "filed_micro" in same else same["technical_premium"] * 1e6
    ).round().tolist() == micro.tolist()
    assert priced["list_fen"].tolist() == same["list_fen"].tolist()


def test_a_factor_that_covers_share_is_encoded_once(monkeypatch):
    rng = np.random.default_rng(0)
    covers = [
        put_together(
            frequency=rate_tables(["channel", "zone"], rng, 0.01), severity=rate_tables(["zone"], rng, 8.0), name=name
        )
        for name in ("one", "two", "three")
    ]
    asked = []
    kind = type(CODINGS["zone"])
    encode = kind.encode
    monkeypatch.setattr(kind, "encode", lambda self, joined: asked.append(self.name) or encode(self, joined))
    Programme("three", covers).encode(draw_orders(rng, 10))
    assert sorted(asked) == ["channel", "zone"]


# Fees: the numbers of DOMAIN.md 1.6


@pytest.fixture
def freight():
    return EventCover("freight", frequency=0.02, severity=9.0, cover=Cover(max_claims=None)).tariff()


SERVICE = Fee(
    "technical service", basis_points=60, of="paid_fen", cap_fen=1800,
    where={"consigned": ["no"], "refunded_before_shipment": ["no"]}, due="completed",
)  # fmt: skip


@pytest.mark.parametrize(
    ("paid", "consigned", "refunded", "fee"),
    [(299_900, "no", "no", 1799), (300_000, "no", "no", 1800), (300_100, "no", "no", 1800), (300_000, "yes", "no", 0),
     (300_000, "no", "yes", 0), (0, "no", "no", 0), (83, "no", "no", 0), (84, "no", "no", 1)],
)  # fmt: skip
def test_the_technical_service_fee_is_that_of_the_market(freight, paid, consigned, refunded, fee):
    programme = Programme("1688", freight, fees=[SERVICE])
    order = {"paid_fen": paid, "consigned": consigned, "refunded_before_shipment": refunded}
    quote = programme.quote(order)
    assert (quote["fee: technical service"], quote["merchant_total_fen"]) == (fee, 18 + fee)
    frame = programme.price(pd.DataFrame([order, order]))
    assert frame["fee: technical service"].tolist() == [fee, fee]
    sheet = str(programme.pricer.explain(order))
    assert f"merchant total           {18 + fee:>14,d}" in sheet


def test_a_fee_of_a_service_that_another_replaces_is_not_charged_twice(freight):
    old = Fee("assured", basis_points=60, of="paid", where={"joined": ["old", "both"]})
    new = Fee("protection", basis_points=60, of="paid", where={"joined": ["new", "both"]}, replaces=["assured"])
    programme = Programme("1688", freight, fees=[old, new])
    frame = programme.price(pd.DataFrame({"paid": [100.0] * 4, "joined": ["old", "new", "both", "none"]}))
    assert frame["fee: assured"].tolist() == [60, 0, 0, 0]
    assert frame["fee: protection"].tolist() == [0, 60, 60, 0]
    assert frame["merchant_total_fen"].tolist() == [78, 78, 78, 18]


@given(st.integers(0, 10**11), st.integers(1, 10_000), st.none() | st.integers(1, 10**6))
def test_a_fee_is_half_even_in_whole_fen(amount, points, cap):
    exact = int((Decimal(amount) * points / 10_000).to_integral_value(rounding=ROUND_HALF_EVEN))
    fee = Fee("f", basis_points=points, of="x_fen", cap_fen=cap)
    assert fee.fen(amount) == (exact if cap is None else min(exact, cap))
    assert fee.fen(np.array([amount])).tolist() == [fee.fen(amount)]


@pytest.mark.parametrize(
    ("value", "told"),
    [(np.nan, "'paid' is missing"), (-1.0, "'paid' is no amount of yuan"), (1.005, "'paid' is no amount of yuan"),
     (1e10, "'paid' is no amount of yuan")],
)  # fmt: skip
def test_amounts_that_are_no_money_are_refused(freight, value, told):
    programme = Programme("p", freight, fees=[Fee("f", basis_points=60, of="paid")])
    with pytest.raises(InputError, match=told):
        programme.price(pd.DataFrame({"paid": [1.0, value]}))
    with pytest.raises(InputError, match="'paid' is"):
        programme.quote({"paid": value})


def test_a_missing_amount_of_an_order_that_owes_no_fee_is_not_read(freight):
    programme = Programme("p", freight, fees=[Fee("f", basis_points=60, of="paid", where={"consigned": ["no"]})])
    frame = pd.DataFrame({"paid": [100.0, np.nan], "consigned": ["no", "yes"]})
    assert programme.price(frame)["fee: f"].tolist() == [60, 0]
    assert programme.quote({"paid": None, "consigned": "yes"})["fee: f"] == 0


# Documents


@given(whole_programmes(), st.sampled_from([(None, None), ("2025-06-01", None), ("2025-06-01", "2025-06-30")]))
def test_a_document_holds_the_whole_programme(tmp_path_factory, programme, window):
    programme = replace(programme, start=window[0], end=window[1], claim_payers=[ClaimPayer("platform", share=0.5)])
    path = tmp_path_factory.mktemp("programme") / "p.json"
    programme.save(path)
    loaded = load_programme(path)
    assert loaded == programme
    assert loaded.digest == programme.digest
    frame = draw_orders(np.random.default_rng(1), 20)
    pd.testing.assert_frame_equal(loaded.price(frame), programme.price(frame))
    assert pickle.loads(pickle.dumps(programme)) == programme


def test_a_version_is_the_content_without_provenance(freight):
    programme = Programme("p", freight)
    noted = Programme("p", replace(freight, provenance={"note": "another hand"}))
    assert noted.version == programme.version
    assert noted != programme
    dearer = Programme("p", replace(freight, loadings=Loadings(profit=0.01)))
    assert dearer.version != programme.version


def test_a_tariff_document_is_no_programme(freight, tmp_path):
    freight.save(tmp_path / "t.json")
    with pytest.raises(TariffDocumentError, match="is not a programme document"):
        load_programme(tmp_path / "t.json")


def bad_programmes():
    cover = Cover(max_claims=None)
    one = EventCover("one", frequency=0.1, severity=5.0, cover=cover).tariff()
    two = EventCover("two", frequency=0.1, severity=5.0, cover=cover).tariff()
    paid = EventCover("paid", frequency=0.1, severity=5.0, cover=cover).tariff(
        subsidies=[Subsidy("s", "platform", fixed_fen=1)]
    )
    other = EventCover("clock", frequency=0.1, severity=5.0, cover=cover).tariff(clock="UTC")
    fee = Fee("f", fixed_fen=1)
    return [
        (lambda: Programme("", one), "name of the programme"),
        (lambda: Programme("p", []), "has no covers"),
        (lambda: Programme("p", [one, one]), "2 are named 'one'"),
        (lambda: Programme("p", [one, cover]), "covers"),
        (lambda: Programme("p", [one, paid]), "cover 'paid' has subsidies.*first cover, 'one'"),
        (lambda: Programme("p", [one, other]), "clock"),
        (lambda: Programme("p", one, fees=[fee, fee]), "2 are named 'f'"),
        (lambda: Programme("p", one, fees=[replace(fee, replaces=["g"])]), "replaces 'g', which is no fee"),
        (lambda: Programme("p", one, fees=[replace(fee, replaces=["f"])]), "does not stand before it"),
        (lambda: Programme("p", one, fees=[Fee(str(k), fixed_fen=1) for k in range(65)]), "at most 64"),
        (lambda: Programme("p", one, fees="f"), "fees"),
        (lambda: Programme("p", one, claim_payers=[ClaimPayer(f"p{k}", share=0.5) for k in range(65)]), "at most 64"),
        (lambda: Programme("p", one, start="2025-02-01", end="2025-01-01"), "starts on 2025-02-01, after its end"),
        (lambda: Programme("p", one, refund_rule="sometimes"), "refund_rule"),
        (lambda: Programme("p", one, claim_payers=[ClaimPayer("a"), ClaimPayer("b")]), "never pays"),
        (lambda: Fee("f"), "no amount; give one of"),
        (lambda: Fee("f", fixed_fen=1, basis_points=1, of="x"), "both basis_points and fixed_fen"),
        (lambda: Fee("f", basis_points=1), "without the column"),
        (lambda: Fee("f", fixed_fen=1, of="x"), "of='x' only"),
        (lambda: Fee("f", fixed_fen=0), "fixed_fen of fee 'f'"),
        (lambda: Fee("f", basis_points=0.006, of="x"), "basis_points of fee 'f'"),
        (lambda: Fee("f", payer="platform", fixed_fen=1), "to itself"),
        (lambda: Fee("f", payer="the platform", fixed_fen=1), "payer of fee 'f'"),
        (lambda: Fee("f", fixed_fen=1, where={"a": []}), "lists no level"),
        (lambda: Programme("p", two).with_loss_controls([], cover="three"), "cover is 'three'"),
    ]


@pytest.mark.parametrize(("make", "told"), bad_programmes())
def test_what_cannot_be_a_programme_is_refused_at_construction(make, told):
    with pytest.raises(InputError, match=told):
        make()


def test_a_fee_of_an_unknown_column_is_refused_by_name(freight):
    programme = Programme("p", freight, fees=[Fee("f", basis_points=60, of="paid")])
    with pytest.raises(InputError, match=r"missing column.*'paid'"):
        programme.price(pd.DataFrame({"price": [1.0]}))
    with pytest.raises(InputError, match=r"missing column.*'paid'"):
        programme.quote({"price": 1.0})


def test_orders_and_buffers_of_another_programme_are_refused(freight):
    transit = replace(freight, name="transit")
    both, three = Programme("p", [freight, transit]), Programme("q", [freight, transit, replace(freight, name="third")])
    frame = pd.DataFrame({"x": [1, 2]})
    with pytest.raises(InputError, match="not encoded for this programme"):
        both.price_columns(freight.encode(frame))
    with pytest.raises(InputError, match="not encoded for this programme"):
        both.price_columns(three.encode(frame))
    coded = both.encode(frame)
    for buffers in (freight.buffers(2), both.buffers(2, detail=False), three.buffers(2), both.buffers(1)):
        with pytest.raises(InputError, match="buffers"):
            both.price_columns(coded, buffers=buffers)


def test_limits_of_a_further_cover_flag_their_conflicts(freight):
    rules = [Limit("a", 1.0, where={"x": [1, 2]}), Limit("b", 2.0, where={"x": [1, 3]})]
    severity = ShapedSeverity(5.0, ScaleShape(0.5))
    more = EventCover("more", frequency=0.1, severity=severity, cover=Cover(max_claims=None, limits=rules)).tariff()
    priced = Programme("p", [freight, more]).price(pd.DataFrame({"x": [1, 2, 4]}))
    assert priced["limit_conflict"].tolist() == [True, False, False]
    assert priced["limit_bound"].tolist() == [True, True, False]


def test_the_floor_binds_once(freight):
    cheap = [
        EventCover(name, frequency=1e-6, severity=1.0, cover=Cover(max_claims=None)).tariff()
        for name in ("a", "b", "c")
    ]
    priced = Programme("p", cheap).price(pd.DataFrame({"x": [1]}))
    assert priced["list_fen"].tolist() == [1]  # 0.01 yuan for the whole, not for each of three covers
    assert priced["floor_bound"].tolist() == [True]


def test_a_first_weight_fee_by_level_works_in_a_further_cover():
    rng = np.random.default_rng(3)
    fees = ByLevel("zone", {"near": 4.0, "city": 6.0, "far": 8.0})
    rates = {"frequency": rate_tables(["zone"], rng, 0.1), "severity": rate_tables(["zone"], rng, 8.0)}
    one = put_together(**rates, cover=Cover(first_weight_fee=fees), name="first weight")
    two = put_together(**rates, cover=Cover(max_claims=None), name="whole")
    frame = draw_orders(rng, 50)
    both = Programme("p", [two, one]).price(frame)
    np.testing.assert_array_equal(both["first weight: pure_premium"], one.price(frame)["pure_premium"])


# Versions by ship date


def event(name, fen, **more):
    """A programme of a premium of some fen."""
    tariff = EventCover(name, frequency=fen / 1000, severity=10.0, cover=Cover(max_claims=None)).tariff()
    return Programme(name, tariff, **more)


def test_1688_changes_between_the_twelfth_and_the_thirteenth_of_september():
    versions = Versions(
        [event("assured", 50, end="2024-09-11"), event("all orders", 40, start="2024-09-12", end="2024-09-12"),
         event("new rules", 30, start="2024-09-13")]
    )  # fmt: skip
    days = ["2024-09-11 23:59:59", "2024-09-12 00:00", "2024-09-12 23:59:59.999", "2024-09-13", "2025-01-01"]
    frame = pd.DataFrame({"ship_date": days})
    priced = versions.price(frame)
    assert priced["list_fen"].tolist() == [50, 40, 40, 30, 30]
    assert priced["version"].tolist() == [versions.programmes[k].version for k in (0, 1, 1, 2, 2)]
    for k, day in enumerate(days):
        assert versions.quote({"ship_date": day}) == {name: priced[name].iloc[k] for name in priced}
    assert "version " + versions.programmes[0].version in str(versions.pricer.explain({"ship_date": days[0]}))


@st.composite
def calendars(draw):
    """Versions over consecutive days, a pilot for one merchant, enrolment, and orders."""
    start = date(2025, 6, 1)
    lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    starts = [start + timedelta(days=sum(lengths[:k])) for k in range(len(lengths) + 1)]
    parts = [
        event(f"v{k}", 10 + k, start=None if k == 0 and draw(st.booleans()) else first, end=later - timedelta(days=1))
        for k, (first, later) in enumerate(pairwise(starts))
    ]
    pilots = {}
    if draw(st.booleans()):
        parts.append(event("pilot", 99, start=start + timedelta(days=draw(st.integers(0, 9)))))
        pilots = {"pilot": ["m2"]}
    periods = {
        "m1": [(None, start + timedelta(days=3)), (start + timedelta(days=6), None)],
        "m2": [(start, start + timedelta(days=20))],
    }
    enrolment = Enrolment(periods) if draw(st.booleans()) else None
    n = draw(st.integers(0, 30))
    rng = np.random.default_rng(draw(seeds))
    span = (starts[-1] - start).days
    days = [start + timedelta(days=int(k)) for k in rng.integers(0, span, n)]
    frame = pd.DataFrame({"ship_date": pd.to_datetime(days), "merchant_id": rng.choice(["m1", "m2", "m3"], n)})
    order = draw(st.permutations(range(len(parts))))
    return Versions([parts[k] for k in order], pilots=pilots, enrolment=enrolment), frame


def judged(versions, order):
    """The programme of an order by the plain words, None if its merchant does not take part."""
    day = order["ship_date"].date()
    if versions.enrolment is not None:
        periods = versions.enrolment.periods.get(order["merchant_id"], ())
        if not any((a or date.min) <= day <= (b or date.max) for a, b in periods):
            return None
    holds = [one for one in versions.programmes if (one.start or date.min) <= day <= (one.end or date.max)]
    pilots = [one for one in holds if order["merchant_id"] in versions.pilots.get(one.name, ())]
    base = [one for one in holds if one.name not in versions.pilots]
    return (pilots or base)[0]


@given(calendars(), st.data())
def test_each_order_has_the_version_of_its_day_and_merchant(drawn, data):
    versions, frame = drawn
    priced = versions.price(frame)
    for k, order in enumerate(frame.to_dict("records")):
        right = judged(versions, order)
        row = priced.iloc[k]
        assert row["enrolled"] == (right is not None)
        assert row["version"] == ("" if right is None else right.version)
        assert row["list_fen"] == (0 if right is None else right.quote({})["list_fen"])
        assert np.isnan(row["pure_premium"]) == (right is None)
    turn = data.draw(st.permutations(range(len(frame))))
    pd.testing.assert_frame_equal(versions.price(frame.iloc[turn]), priced.iloc[turn])
    coded = pickle.loads(pickle.dumps(versions.encode(frame)))
    pd.testing.assert_frame_equal(versions.price(coded), priced)


def test_versions_are_saved_and_loaded(tmp_path):
    versions = Versions(
        [event("old", 50, end="2024-09-12"), event("new", 30, start="2024-09-13"),
         event("pilot", 10, start="2024-09-01")],
        pilots={"pilot": ["m2", 17]}, enrolment=Enrolment({"m1": [("2024-01-01", None)], 17: [(None, "2024-12-31")]}),
    )  # fmt: skip
    versions.save(tmp_path / "v.json")
    loaded = load_versions(tmp_path / "v.json")
    assert loaded == versions
    assert loaded.enrolment == versions.enrolment
    assert loaded.table().equals(versions.table())
    assert list(versions.table()["programme"]) == ["old", "pilot", "new"]


def bad_versions():
    old, new = event("old", 50, end="2024-09-12"), event("new", 30, start="2024-09-13")
    late, one, two = replace(new, start="2024-09-15"), event("a", 1), event("b", 1)
    return [
        (lambda: Versions([]), "has no programmes"),
        (lambda: Versions([old, old]), "2 programmes are named 'old'"),
        (lambda: Versions([old, replace(new, start="2024-09-12")]), "overlap; end the first on the day before"),
        (lambda: Versions([old, replace(new, start=None)]), "overlap"),
        (lambda: Versions([replace(old, end=None), new]), "overlap"),
        (
            lambda: Versions([old, late]),
            "no programme holds between 2024-09-12.*2024-09-14",
        ),
        (lambda: Versions([old, new], pilots={"newer": ["m1"]}), "'newer', which is no programme here"),
        (lambda: Versions([old, new], pilots={"new": []}), "has no merchants"),
        (
            lambda: Versions([old, new, one, two], pilots={"a": ["m"], "b": ["m"]}),
            "overlap for merchant 'm'",
        ),
        (lambda: Versions([old, new], enrolment={"m": []}), "enrolment"),
        (lambda: Enrolment({"m": [("2025-01-01", "2025-02-01"), ("2025-02-01", None)]}), "periods that overlap"),
        (lambda: Enrolment({"m": [("2025-02-01", "2025-01-01")]}), "starts on 2025-02-01, after its end"),
        (lambda: Enrolment({"m": [("2025-02-01",)]}), "give .start, end."),
        (lambda: Enrolment({None: [(None, None)]}), "missing merchant"),
    ]


@pytest.mark.parametrize(("make", "told"), bad_versions())
def test_what_cannot_be_versions_is_refused_at_construction(make, told):
    with pytest.raises(InputError, match=told):
        make()


def test_a_day_without_a_version_is_refused():
    versions = Versions([event("only", 50, start="2024-09-12", end="2024-09-30")])
    frame = pd.DataFrame({"ship_date": ["2024-09-12", "2024-10-01", None]})
    with pytest.raises(InputError, match=r"no version in 2 rows.*versions go from 2024-09-12 to 2024-09-30"):
        versions.price(frame)
    with pytest.raises(InputError, match="versions go from"):
        versions.quote({"ship_date": "2024-10-01"})


@pytest.mark.parametrize(
    ("rule", "back"), [("before_shipment", [0, 45, 45, 0, 0]), ("always", [45, 45, 45, 0, 0]), ("never", [0] * 5)]
)
def test_a_premium_goes_back_by_the_rule_of_its_version(rule, back):
    tariff = EventCover("freight", frequency=0.05, severity=9.0, cover=Cover(max_claims=None)).tariff(
        subsidies=[Subsidy("s", "platform", percent_of_list=0.2)]
    )
    programme = Programme("2024", tariff, refund_rule=rule)
    orders = pd.DataFrame(
        {
            "ship_date": ["2024-09-12", None, "2024-09-12", "2024-09-12", None],
            "cancelled_date": ["2024-09-14", "2024-09-13", "2024-09-11", None, None],
        }
    )
    found = refunds(programme, orders, programme.price(orders))
    assert found["list_fen"].tolist() == back
    assert (found["platform_fen"] + found["merchant_fen"]).tolist() == back
    later = Versions([replace(programme, end="2024-12-31")])
    dated = orders.assign(ship_date="2024-09-12")
    assert refunds(later, dated, later.price(dated)).columns.tolist() == found.columns.tolist()


def test_enrolment_of_a_table_is_that_of_its_rows():
    table = pd.DataFrame(
        {
            "merchant_id": ["a", "a", 7],
            "start": ["2025-01-01", "2025-06-21", None],
            "end": ["2025-06-14", None, "2025-12-31"],
        }
    )
    found = Enrolment.of(table)
    assert found.periods["a"] == ((date(2025, 1, 1), date(2025, 6, 14)), (date(2025, 6, 21), None))
    assert found.periods[7] == ((None, date(2025, 12, 31)),)
    assert repr(found) == "Enrolment: 2 merchants, 3 periods"


# Phase-in at a new version


@given(
    whole_programmes(limited_programmes()), whole_programmes(), orders(), st.sampled_from([0.0, 0.05, 0.3, 3.0]),
    st.integers(0, 3), st.sampled_from([None, "2025-06-10"]), seeds,
)  # fmt: skip
def test_list_prices_move_within_the_phase_in_and_the_rest_follows(new, old, frame, share, least, until, seed):
    cap = PhaseIn(share, least, until=until)
    old, new = replace(old, name="old", end="1999-12-31"), replace(new, name="new", start="2000-01-01", phase_in=cap)
    frame = draw_batch(np.random.default_rng(seed), len(frame)).assign(ship_date=frame["ship_date"].to_numpy())
    versions = Versions([old, new])
    priced = versions.price(frame, priority="priority", campaigns=True)
    listed = new.listing.price(frame)["list_fen"].to_numpy().astype(int)
    before = old.listing.price(frame)["list_fen"].to_numpy().astype(int)
    days = frame["ship_date"].dt.date.tolist()
    for k, day in enumerate(days):
        change = max(int(Decimal(str(share)) * before[k]), least)
        wanted = min(max(listed[k], before[k] - change), before[k] + change)
        wanted = wanted if until is None or day <= date.fromisoformat(until) else listed[k]
        assert priced["list_fen"].iloc[k] == max(wanted, new.floor_fen)
        assert priced["phase_in_bound"].iloc[k] == (wanted != listed[k])
        if wanted != listed[k]:
            assert priced["filed_micro"].iloc[k] == wanted * 10_000
    paid = [priced[f"paid: {rule.name}"] for rule in new.subsidies]
    assert (sum(paid, priced["merchant_fen"]) == priced["list_fen"]).all()
    for rule, fen in zip(new.subsidies, paid, strict=True):
        assert rule.budget_fen is None or fen.sum() <= rule.budget_fen
    for k in range(min(2, len(frame))):
        order = frame.iloc[k].to_dict()
        quote = versions.quote(order, priority="priority")
        alone = versions.price(frame.iloc[[k]], priority="priority")
        assert quote == pytest.approx({name: alone[name].iloc[0] for name in alone}, nan_ok=True)
        assert versions.pricer.explain(order).quote == pytest.approx(quote, nan_ok=True)


def test_the_worksheet_says_what_the_phase_in_does():
    old, new = event("old", 40, end="2024-09-12"), event("new", 60, start="2024-09-13", phase_in=PhaseIn(0.1))
    versions = Versions([old, new])
    sheet = str(versions.pricer.explain({"ship_date": "2024-09-13"}))
    assert "Phase-in" in sheet
    assert "-160,000  list 60 fen, 40 under 'old', which may move by 10.00%" in sheet
    assert versions.price(pd.DataFrame({"ship_date": ["2024-09-13"]}))["list_fen"].tolist() == [44]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: PhaseIn(-0.1), "share of a phase-in"),
        (lambda: PhaseIn(0.10005), "share of a phase-in"),
        (lambda: PhaseIn(0.1, -1), "at_least_fen of a phase-in"),
        (lambda: PhaseIn(0.1, until="soon"), "until of a phase-in"),
        (lambda: Versions([event("only", 5, phase_in=PhaseIn(0.1))]), "no version before it"),
        (lambda: event("p", 5, phase_in=0.1), "phase_in"),
    ],
)
def test_what_cannot_be_a_phase_in_is_refused(make, told):
    with pytest.raises(InputError, match=told):
        make()


def test_versions_read_renamed_columns_of_orders_and_merchants():
    tariff = EventCover("old", frequency=0.01, severity=10.0, cover=Cover(max_claims=None)).tariff(
        subsidies=[Subsidy("big", "platform", fixed_fen=2, where={"tier": ["big"]})]
    )
    old = Programme("old", tariff, end="2024-09-12")
    dearer = replace(tariff, loadings=Loadings(profit=0.5))
    new = Programme("new", dearer, start="2024-09-13", phase_in=PhaseIn(0.1))
    versions = Versions([old, new], enrolment=Enrolment({"m1": [(None, None)], "m2": [("2024-09-13", None)]}))
    orders = pd.DataFrame({"shop": ["m1", "m2", "m2"], "sent": ["2024-09-12", "2024-09-12", "2024-09-14"]})
    merchants = pd.DataFrame({"shop": ["m1", "m2"], "tier": ["big", "small"]})
    named = {"merchant_id": "shop", "ship_date": "sent"}
    priced = versions.price(orders, merchants=merchants, **named)
    assert priced[["list_fen", "platform_fen", "merchant_fen"]].to_numpy().tolist() == [
        [10, 2, 8],
        [0, 0, 0],
        [11, 0, 11],
    ]
    assert priced["enrolled"].tolist() == [True, False, True]
    for k in range(3):
        quote = versions.quote(orders.iloc[k].to_dict(), merchants=merchants, **named)
        assert quote == pytest.approx({name: priced[name].iloc[k] for name in priced}, nan_ok=True)
        sheet = versions.pricer.explain(
            orders.iloc[k].to_dict(), merchants=merchants, names=ColumnNames(merchant_id="shop", ship_date="sent")
        )
        assert sheet.quote == pytest.approx(quote, nan_ok=True)


# What an attack found


def test_orders_encoded_for_other_fees_are_refused(freight):
    fees = [Fee("a", basis_points=100, of="a_fen"), Fee("b", basis_points=100, of="b_fen")]
    frame = pd.DataFrame({"a_fen": [10_000], "b_fen": [990_000]})
    one, other, fewer = (Programme("p", freight, fees=some) for some in (fees, fees[::-1], fees[:1]))
    for programme in (other, fewer, Programme("p", [freight, replace(freight, name="b")])):
        with pytest.raises(InputError, match="encode"):
            one.price_columns(programme.encode(frame))


def test_a_pilot_shares_no_budget_with_a_version_of_the_same_days():
    def funded(name, rule, **more):
        tariff = EventCover("f", frequency=0.05, severity=9.0, cover=Cover(max_claims=None)).tariff(subsidies=[rule])
        return Programme(name, tariff, **more)

    rule = Subsidy("618", "platform", fixed_fen=10, budget_fen=20)
    base, pilot = funded("base", rule), funded("pilot", rule, start="2024-06-01")
    with pytest.raises(InputError, match=r"share the campaign '618'.*campaign of its own name"):
        Versions([base, pilot], pilots={"pilot": ["p"]})
    apart = funded("pilot", replace(rule, name="618 pilot"), start="2024-06-01")
    assert len(Versions([base, apart], pilots={"pilot": ["p"]}).programmes) == 2


def test_the_list_order_of_versions_changes_nothing():
    old, new = event("old", 50, end="2024-09-12"), event("new", 40, start="2024-09-13")
    pilot = event("pilot", 200, start="2024-09-13", phase_in=PhaseIn(0.1))
    frame = pd.DataFrame({"ship_date": ["2024-09-14"], "merchant_id": [1]})
    found = {
        (
            Versions(some, pilots={"pilot": [1]}).digest,
            Versions(some, pilots={"pilot": [1]}).price(frame)["list_fen"][0],
        )
        for some in ([old, new, pilot], [pilot, old, new], [new, pilot, old])
    }
    assert len(found) == 1
    assert next(iter(found))[1] == 55  # the merchants of the pilot had the old version before


@pytest.mark.parametrize("amount", [299_950.9, [1.5], "12", -5000, True, 9 * 10**17, np.nan, None, 2**70])
def test_a_fee_of_what_is_no_fen_is_refused(amount):
    with pytest.raises(InputError, match="give whole fen"):
        Fee("s", basis_points=60, of="paid_fen").fen(amount)


def test_a_fee_replaces_each_fee_once():
    with pytest.raises(InputError, match="replaces a fee twice"):
        Fee("b", fixed_fen=2, replaces=["a", "a"])


def test_two_columns_of_one_name_are_refused(freight):
    fee, paid = replace(freight, name="fee"), replace(freight, name="paid")
    with pytest.raises(InputError, match="'fee: pure_premium' would be two columns"):
        Programme("x", [fee, freight], fees=[Fee("pure_premium", fixed_fen=7)])
    rule = Subsidy("pure_premium", "platform", fixed_fen=3)
    with pytest.raises(InputError, match="'paid: pure_premium' would be two columns"):
        Programme("x", [paid.with_subsidies([rule]), freight])


def test_an_order_without_merchant_owes_a_fee_of_merchants_only_if_its_condition_holds(freight):
    fee = Fee("g", basis_points=100, of="amt_fen", where={"mz": ["x"]})
    orders = pd.DataFrame({"order_id": [1, 2], "merchant_id": ["m1", "m2"]})
    merchants = pd.DataFrame({"merchant_id": ["m1"], "mz": ["x"], "amt_fen": [1000]})
    programme = Programme("b", freight, fees=[fee])
    with pytest.warns(FreightRiskWarning, match="names no row of merchants"):
        assert programme.price(orders, merchants=merchants)["fee: g"].tolist() == [10, 0]


@pytest.mark.parametrize("bad", [45.9, np.nan, 1e300, 1000])
def test_refunds_check_their_quotes(bad):
    programme = event("old", 50)
    orders = pd.DataFrame({"order_id": [1, 2], "ship_date": "2024-09-14", "cancelled_date": ["2024-09-13", None]})
    quotes = pd.DataFrame({"order_id": [1, 2], "list_fen": [50, 99], "merchant_fen": [50, 99]})
    assert refunds(programme, orders, quotes)["list_fen"].tolist() == [50, 0]
    with pytest.raises(InputError, match="quotes"):
        refunds(programme, orders, quotes.iloc[::-1])
    with pytest.raises(InputError, match="quotes"):
        refunds(programme, orders, quotes.assign(list_fen=[bad, 99]))


def test_totals_belong_to_the_covers_in_their_order():
    one, two = (
        EventCover(name, frequency=0.1, severity=5.0, cover=Cover(max_claims=1)).tariff() for name in ("one", "two")
    )
    claim = pd.DataFrame({"order_id": [1], "report_date": "2024-01-01", "freight_fen": [100], "cover": "one"})
    totals = settle(Programme("p", [one, two]), claim).totals
    later = claim.assign(report_date="2024-01-02")
    assert settle(Programme("p", [one, two]), later, totals=totals).claims["reason"].tolist() == ["over_max_claims"]
    with pytest.raises(InputError, match="the covers in the same order"):
        settle(Programme("p", [two, one]), later, totals=totals)


def test_columns_that_pricing_does_not_read_do_not_matter_to_versions():
    versions = Versions([event("old", 50, end="2024-09-12"), event("new", 40, start="2024-09-13")])
    views = pa.array([["a"], ["b"]], pa.list_(pa.string_view()))
    table = pa.table({"ship_date": ["2024-09-12", "2024-09-13"], "x": views})
    assert versions.price(table)["list_fen"].to_pylist() == [50, 40]
