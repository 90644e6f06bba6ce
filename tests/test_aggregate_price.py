"""Prices under an aggregate limit by merchant: the expected payout times the merchant's share, at every door."""

import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freightrisk import (
    Cover,
    ExperienceRating,
    Factor,
    FrequencyModel,
    InputError,
    Limit,
    Loadings,
    OrderBook,
    SeverityModel,
    Tariff,
    _reference,
)
from freightrisk.aggregates import AggregateLimit, AggregateShares
from freightrisk.events import EventCover
from freightrisk.tariff.document import parse_tariff
from freightrisk.tariff.parts import document_of
from freightrisk.tariff.rates import RateTables
from strategies import FLOORS, draw_batch, put_together, seeds

MONTH = AggregateLimit(300.0)
IDS = st.lists(st.sampled_from(["m1", "m2", "m3", 7, 12345678901]), unique=True, max_size=4)
SHARES = st.sampled_from([1.0, 0.5, 0.25, 1e-3, 0.9173])


@st.composite
def shares_of(draw):
    """Shares of some merchants and size bands."""
    bands = draw(st.lists(st.sampled_from(["new", "loyal", "key"]), unique=True, max_size=3))
    return AggregateShares(
        MONTH, {one: draw(SHARES) for one in draw(IDS)}, {band: draw(SHARES) for band in bands}, draw(SHARES),
        size_column="segment" if bands else None,
    )  # fmt: skip


def under(shares, **more):
    """Return a tariff under the shares, and the same tariff without them."""
    cover = Cover(limits=[Limit("base", 25.0)], aggregate=MONTH)
    plain = put_together(
        frequency=RateTables(0.3, {}), severity=RateTables(12.0, {}), cover=replace(cover, aggregate=None), **more
    )
    return replace(plain, cover=cover, curves=replace(plain.curves, aggregate=shares)), plain


@given(shares_of(), FLOORS, seeds, st.integers(0, 40))
def test_the_payout_is_multiplied_by_the_share_at_every_door(shares, floor, seed, size):
    tariff, plain = under(shares, floor_fen=floor, loadings=Loadings(fraud_load=0.1, policy_cost=0.01))
    frame = draw_batch(np.random.default_rng(seed), size)
    quotes, before = tariff.price(frame, threads=1), plain.price(frame, threads=1)
    # The judge: the merchant's share, or that of its size band, or the default, by the nouns' own fields.
    bands = [shares.size_shares.get(band, shares.default) for band in frame["segment"]]
    share = [shares.shares.get(one, band) for one, band in zip(frame["merchant_id"], bands, strict=True)]
    assert quotes["expected_payout"].tolist() == (before["expected_payout"] * np.array(share)).tolist()
    pd.testing.assert_frame_equal(tariff.price(pickle.loads(pickle.dumps(tariff.encode(frame)))), quotes)
    again = parse_tariff(document_of(tariff), source="memory")
    assert again == tariff
    pd.testing.assert_frame_equal(again.price(frame, threads=2), quotes)
    for k in range(min(size, 3)):
        order = frame.iloc[k].to_dict()
        assert tariff.quote(order) == quotes.iloc[k].to_dict()
        sheet = {line[:25].strip(): line[25:].split(maxsplit=1) for line in str(tariff.explain(order)).splitlines()}
        assert sheet["payout of a claim"] == [f"{before['expected_payout'].iloc[k]:.8f}", "limit 25 yuan a claim"]
        assert sheet["x aggregate share"][0] == f"{share[k]:.8f}"
        assert sheet["x aggregate share"][1].endswith(" under 300 yuan a month")
        assert sheet["expected payout"][0] == f"{quotes['expected_payout'].iloc[k]:.8f}"
    known = frame["merchant_id"].notna().to_numpy()
    ids = frame["merchant_id"][known].tolist()
    np.testing.assert_array_equal(shares.share_of(ids, sizes=frame["segment"][known]), np.array(share)[known])


def test_the_kernel_is_its_slow_twin():
    tariff, _ = under(AggregateShares(MONTH, {"a": 0.31, "b": 0.77}, {"s": 0.913}, 0.641, size_column="size"))
    frame = pd.DataFrame({"merchant_id": ["a", "b", "c", "d", None], "size": ["s", "s", "s", None, "t"]})
    quotes = tariff.price(frame)
    for code, payout in enumerate(quotes["expected_payout"].to_numpy()[[0, 1, 2, 3]].tolist()):
        assert _reference.price_order([code], tariff.pricer.plan_arguments, 0).expected_payout == payout
    assert quotes["expected_payout"][3] == quotes["expected_payout"][4]


def test_size_bands_may_stand_in_the_table_of_merchants():
    tariff, plain = under(AggregateShares(MONTH, {}, {"small": 0.5}, 0.25, size_column="size"))
    orders = pd.DataFrame({"merchant_id": [1, 2, 3]})
    merchants = pd.DataFrame({"merchant_id": [1, 2], "size": ["small", "large"]})
    with pytest.warns(UserWarning, match="merchant"):
        quotes = tariff.price(orders, merchants=merchants)
    share = quotes["expected_payout"] / plain.price(pd.DataFrame(index=range(3)))["expected_payout"]
    assert share.tolist() == [0.5, 0.25, 0.25]


def test_whole_ids_are_merchants_however_they_are_written():
    tariff, _ = under(AggregateShares(MONTH, {7: 0.5}, default=1.0))
    payouts = [tariff.price(pd.DataFrame({"merchant_id": ids}))["expected_payout"][0] for ids in ([7], ["7"], [7.0])]
    assert len(set(payouts)) == 1
    assert tariff.quote({"merchant_id": "7"})["expected_payout"] == payouts[0]


def fitted():
    orders = pd.DataFrame({"order_id": range(60), "zone": ["a", "b"] * 30})
    claims = pd.DataFrame({"order_id": range(0, 60, 3), "freight": 8.0 + np.arange(20) % 5})
    book = OrderBook.from_frames(orders, claims, factors=[Factor("zone")], ship_date=None, report_date=None)
    return FrequencyModel().fit(book), SeverityModel().fit(book)


def test_a_tariff_is_built_with_the_shares():
    shares = AggregateShares(MONTH, {"a": 0.5}, default=0.9)
    tariff = Tariff.build(*fitted(), cover=Cover(aggregate=MONTH), aggregate_shares=shares)
    plain = Tariff.build(*fitted())
    order = {"merchant_id": "a", "zone": "b"}
    assert tariff.quote(order)["pure_premium"] == pytest.approx(0.5 * plain.quote(order)["pure_premium"], rel=1e-12)
    assert tariff.with_subsidies([]).curves.aggregate == shares


SHARE = AggregateShares(MONTH, {"a": 0.5})
BAD = [
    (lambda: Cover(aggregate=300.0), "aggregate"),
    (lambda: Tariff.build(*fitted(), cover=Cover(aggregate=MONTH)), "but the tariff has no shares; give both"),
    (
        lambda: Tariff.build(*fitted(), aggregate_shares=SHARE),
        "aggregate limit of the cover is None, but the tariff has",
    ),
    (
        lambda: Tariff.build(*fitted(), cover=Cover(aggregate=AggregateLimit(200.0)), aggregate_shares=SHARE),
        r"is AggregateLimit\(amount=200\.0.*but the tariff has shares under AggregateLimit\(amount=300\.0",
    ),
    (
        lambda: Tariff.build(*fitted(), cover=Cover(aggregate=AggregateLimit(9.0, by="order"))),
        "aggregate limit by order, which a tariff does not price; multiply its payouts by .*order_aggregate_shares",
    ),
    (lambda: AggregateShares(MONTH, {"a": 0.5}, {"small": 0.5}), "size_shares needs size_column"),
    (lambda: AggregateShares(MONTH, {"a": 0.5}, size_column=""), "size_column"),
    (lambda: under(SHARE)[0].price(pd.DataFrame({"zone": ["a"]})), "merchant_id"),
    (lambda: under(SHARE)[0].quote({"zone": "a"}), "merchant_id"),
]


def test_a_quote_without_the_columns_of_amounts_and_merchants_is_refused():
    rated = replace(under(SHARE)[1], experience=ExperienceRating(mods={"a": 2.0}))
    share = Cover(limits=[Limit("custom", 30.0, share=0.1, of="sub_order", where={"custom": ["yes"]})])
    custom = put_together(frequency=RateTables(0.3, {}), severity=RateTables(12.0, {}), cover=share)
    for tariff, column in ((rated, "merchant_id"), (custom, "sub_order")):
        with pytest.raises(InputError, match=f"order: missing column '{column}'"):
            tariff.quote({"custom": "no"})


@pytest.mark.parametrize(("call", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_bad_aggregates_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_an_event_is_priced_under_an_aggregate_limit():
    # 1688: late delivery pays at most 300 yuan a month of a merchant (docs/events.md)
    shares = AggregateShares(MONTH, {"m1": 0.5}, default=0.75)
    late = EventCover("delay", frequency=0.02, severity=5.0, cover=Cover(max_claims=None, aggregate=MONTH))
    quotes = late.tariff(aggregate_shares=shares).price(pd.DataFrame({"merchant_id": ["m1", "m2"]}))
    assert quotes["expected_payout"].tolist() == [2.5, 3.75]
    with pytest.raises(InputError, match=r"the tariff has no shares; give both.*aggregate_shares="):
        late.tariff()


def test_limit_bound_counts_the_aggregate_limit_as_the_docs_say():
    shares = AggregateShares(MONTH, {"m1": 0.98, "m2": 0.995}, default=1.0)
    late = EventCover("delay", frequency=0.02, severity=5.0, cover=Cover(aggregate=MONTH))
    quotes = late.tariff(aggregate_shares=shares).price(pd.DataFrame({"merchant_id": ["m1", "m2", "m3"]}))
    assert quotes["limit_bound"].tolist() == [True, False, False]
