"""Settled claims against a slow judge that knows the rules only in words, and against the numbers of the trade."""

import json
import re
from dataclasses import replace
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import pairwise

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freightrisk import (
    ByLevel,
    ClaimPayer,
    Cover,
    InputError,
    Interval,
    Limit,
    Settlement,
    settle,
)
from freightrisk._document import to_plain
from freightrisk.aggregates import AggregateLimit
from freightrisk.datasets import BuyerTruth, FunnelTruth, LineTruth, simulate_book
from freightrisk.programme.claim_totals import REASONS, SEAL, document_of
from freightrisk.programmes import Programme
from freightrisk.results import ClaimTotals
from strategies import covers_with_rules, draw_orders, put_together, rate_tables, seeds

NOT_MINE = ClaimPayer("platform", where={"fault": ["not_merchant"]})

# The judge: rows as dictionaries, whole numbers and Decimal, one claim after another.


def yuan(value):
    return Decimal(repr(float(value)))


def whole(amount):
    return int(amount.to_integral_value(rounding=ROUND_HALF_EVEN))


def is_missing(value):
    return value is None or value is pd.NaT or value != value


def meets_all(where, row):
    for column, condition in where.items():
        value = row[column]
        if is_missing(value):
            return False
        inside = isinstance(condition, Interval) and condition.above < value <= condition.at_most
        if not (inside or (not isinstance(condition, Interval) and value in condition)):
            return False
    return True


def holds(rule, row):
    """A limit holds for its conditions and between its first and last ship date."""
    if not meets_all(rule.where, row):
        return False
    if rule.start is None and rule.end is None:
        return True
    day = row["ship_date"]
    return not is_missing(day) and (rule.start or date.min) <= day.date() <= (rule.end or date.max)


def amount_fen(rule, row):
    cut = int(yuan(rule.amount) * 100)
    return cut if rule.of is None else min(cut, int(yuan(rule.share) * yuan(row[rule.of]) * 100))


def limit_by_rule(cover, row):
    """The limit in fen of the rules that hold, and whether those of the highest priority differ."""
    met = [rule for rule in cover.limits if holds(rule, row)]
    first = [rule for rule in met if rule.priority == max(one.priority for one in met)]
    if not first:
        return None, "", False
    fen = [amount_fen(rule, row) for rule in first]
    chosen = fen[0] if cover.choose == "first" else {"largest": max, "smallest": min}[cover.choose](fen)
    name = first[0].name if cover.choose == "first" else first[fen.index(chosen)].name
    return chosen, name, len(set(fen)) > 1


def limit_of(cover, row):
    fen, name, conflict = limit_by_rule(cover, row)
    for field, amount in (("first_weight_fee", cover.first_weight_fee), ("limit", cover.limit)):
        if amount is not None:
            flat = amount.values[row["zone"]] if isinstance(amount, ByLevel) else amount
            own = int(yuan(flat) * 100)
            if fen is None or own < fen:
                fen, name = own, field
    return fen, name, conflict


def offered(cover, row):
    """What the terms leave of a claim, and why not."""
    kept = whole((1 - yuan(cover.coinsurance)) * max(row["freight_fen"] - yuan(cover.deductible) * 100, Decimal(0)))
    limit, name, conflict = limit_of(cover, row)
    reason = ""
    if row["decision"] == "refused":
        reason = "refused_before"
    elif is_missing(row["ship_date"]) or row["report_date"].date() < row["ship_date"].date():
        reason = "not_in_force"
    elif not meets_all(cover.eligible, row):
        reason = "not_eligible"
    elif limit == 0:
        reason = "limit_zero"
    elif kept == 0:
        reason = "under_deductible"
    is_covered = reason not in ("refused_before", "not_in_force", "not_eligible")
    bound = is_covered and limit is not None and limit < kept
    offer = 0 if reason else kept if limit is None else min(kept, limit)
    return offer, reason, {"limit_rule": name, "limit_bound": bound, "limit_conflict": is_covered and conflict}


def split(payers, row, paid):
    found = {"insurer": 0} | {rule.payer: 0 for rule in payers}
    for rule in payers:
        if meets_all(rule.where, row):
            part = whole(yuan(rule.share) * (paid - sum(found.values())))
            found[rule.payer] += part
    found["insurer"] += paid - sum(found.values())
    return found


def holder(aggregate, row):
    who = row["merchant_id"] if aggregate.by == "merchant" else row["order_id"]
    day = row["ship_date"]
    return who, {None: "", "day": str(day)[:10], "month": str(day)[:7]}[aggregate.period]


TAKEN = ("", "under_deductible")


def judge(cover, rows, *, payers=(), aggregate=None):
    """Return what a settlement says of each row, from all reports and reversals one after another."""
    events = [(row["report_date"], 0, row["claim_id"], k) for k, row in enumerate(rows)]
    events += [(row["reversed_date"], 1, row["claim_id"], k) for k, row in enumerate(rows)
               if not is_missing(row["reversed_date"])]  # fmt: skip
    said, counted, spent = [{} for _ in rows], {}, {}
    for _, is_reversal, _, k in sorted(events):
        row, order = rows[k], rows[k]["order_id"]
        if is_reversal:
            back = said[k]["first"]
            said[k]["reversed_fen"] = back
            counted[order] = counted.get(order, 0) - (said[k]["reason"] in TAKEN)
            if aggregate is not None and back:
                spent[holder(aggregate, row)] -= back
            continue
        offer, reason, more = offered(cover, row)
        paid, cut = offer, False
        if reason in TAKEN and cover.max_claims is not None and counted.get(order, 0) >= cover.max_claims:
            paid, reason = 0, "over_max_claims"
        elif offer and aggregate is not None:
            left = int(yuan(aggregate.amount) * 100) - spent.get(holder(aggregate, row), 0)
            paid, cut = min(offer, max(left, 0)), offer > left
            spent[holder(aggregate, row)] = spent.get(holder(aggregate, row), 0) + paid
            reason = "" if paid else "aggregate_exhausted"
        counted[order] = counted.get(order, 0) + (reason in TAKEN)
        said[k] = {"first": paid, "reversed_fen": 0, "reason": reason, "aggregate_bound": cut, **more}
    return [_final(one, row, payers) for one, row in zip(said, rows, strict=True)]


def _final(one, row, payers):
    first = one.pop("first")
    paid = first - one["reversed_fen"]
    decision = "reversed" if one["reversed_fen"] else "paid" if paid else "refused"
    fen = {f"{name}_fen": value for name, value in split(payers, row, paid).items()}
    freight = row["freight_fen"]
    return one | fen | {"freight_fen": freight, "paid_fen": paid, "buyer_fen": freight - paid, "decision": decision}


def draw_claims(rng, n, *, n_orders, days=60):
    """Return random claims with all columns of their orders, in no order, some refused or reversed, and the orders."""
    orders = draw_orders(rng, n_orders).assign(
        order_id=rng.permutation(n_orders),
        merchant_id=rng.choice(np.array(["m1", "m2", "17"], dtype=object), n_orders),
    )
    orders["ship_date"] = np.where(
        rng.random(n_orders) < 0.05, np.datetime64("NaT", "s"), orders["ship_date"].to_numpy()
    )
    start = (
        orders["ship_date"].min().to_datetime64() if orders["ship_date"].notna().any() else np.datetime64("2025-06-01")
    )
    sent = orders["ship_date"].to_numpy().astype("datetime64[s]")
    orders["ship_date"] = start + (sent - start) % np.timedelta64(max(days // 2, 1), "D")  # most claims are in force
    hours = rng.integers(0, 24 * days, n).astype("timedelta64[h]")  # whole hours, so that some claims share a time
    report = (start.astype("datetime64[h]") + hours).astype("datetime64[us]")
    undone = rng.random(n) < 0.2
    back = np.where(
        undone, report + rng.integers(0, 24 * min(20, days), n).astype("timedelta64[h]"), np.datetime64("NaT", "us")
    )
    decided = np.where(
        undone, "reversed", rng.choice(np.array(["paid", "refused", None], dtype=object), n, p=[0.5, 0.1, 0.4])
    )
    claims = pd.DataFrame(
        {
            "claim_id": rng.permutation(n),
            "order_id": rng.choice(orders["order_id"].to_numpy(), n),
            "freight": rng.choice([1, 2, 50, 699, 700, 1201, 1250, 2500, 6000, 99_999], n) / 100,
            "report_date": report,
            "reversed_date": back,
            "decision": decided,
            "fault": rng.choice(np.array(["merchant", "not_merchant", None], dtype=object), n),
        }
    )
    return claims, orders


def judged_rows(claims, orders):
    """Return claims beside their orders as dictionaries, with the freight in fen."""
    joined = claims.merge(orders, on="order_id", how="left")
    fen = [int(yuan(value) * 100) for value in joined["freight"]]
    return joined.assign(freight_fen=fen).to_dict("records")


def tariff_of(cover):
    return put_together(frequency=rate_tables(["zone"], np.random.default_rng(0), 0.03),
                        severity=rate_tables(["zone"], np.random.default_rng(1), 12.0), cover=cover)  # fmt: skip


AMOUNTS = st.sampled_from([0.01, 3.0, 30.0, 120.0, 100_000.0])
AGGREGATES = st.one_of(
    st.none(),
    st.builds(AggregateLimit, AMOUNTS, period=st.sampled_from(["day", "month", None])),
    st.builds(AggregateLimit, AMOUNTS, by=st.just("order")),
)
PAYER_LISTS = st.sampled_from(
    [
        (),
        (NOT_MINE,),
        (ClaimPayer("platform", where={"fault": ["not_merchant"]}, share=0.3333), ClaimPayer("merchant", share=0.5)),
        (ClaimPayer("insurer", share=0.0001), ClaimPayer("平台", where={"tier": [1, 2]}, share=0.5),
         ClaimPayer("platform", share=0.25), NOT_MINE),
    ]
)  # fmt: skip


@given(covers_with_rules(), AGGREGATES, PAYER_LISTS, seeds, st.integers(1, 60) | st.just(500))
@settings(max_examples=120)
def test_settlement_is_what_the_judge_says(cover, aggregate, payers, seed, n):
    claims, orders = draw_claims(np.random.default_rng(seed), n, n_orders=max(1, n // 3))
    settled = settle(tariff_of(cover), claims, orders=orders, payers=payers, aggregate=aggregate)
    expected = judge(cover, judged_rows(claims, orders), payers=payers, aggregate=aggregate)
    assert set(settled.claims.columns) == set(expected[0])
    assert settled.claims[[*expected[0]]].to_dict("records") == expected
    assert set(settled.claims["reason"]) <= set(REASONS)


def pieces_of(claims, cuts):
    """Split claims at places of their sequence; a reversal may arrive in a later piece than its claim."""
    turn = claims.sort_values(["report_date", "claim_id"])
    edges = [0, *sorted(cuts), len(turn)]
    return [turn.iloc[low:high] for low, high in pairwise(edges)]


@given(covers_with_rules(), AGGREGATES, PAYER_LISTS, seeds, st.data())
@settings(max_examples=60)
def test_batches_split_in_any_way_pay_the_same_fen(cover, aggregate, payers, seed, data):
    # Within one day, reversals often have the time of a report, and a batch may end between the two.
    claims, orders = draw_claims(np.random.default_rng(seed), 40, n_orders=12, days=data.draw(st.sampled_from([1, 60])))
    tariff = tariff_of(cover)
    told = {"orders": orders, "payers": payers, "aggregate": aggregate}
    once = settle(tariff, claims, **told)
    cuts = data.draw(st.lists(st.integers(0, len(claims)), max_size=4))
    totals, parts = ClaimTotals(), []
    for piece in pieces_of(claims, cuts):
        settled = settle(tariff, piece, totals=totals, **told)
        document = document_of(settled.totals)
        assert json.loads(document) == SEAL.plain(json.loads(json.dumps(to_plain(settled.totals))))
        totals = SEAL.read(ClaimTotals, document, source="totals")
        parts.append(settled.claims)
    whole_parts = [part for part in parts if len(part)]  # pandas has another type for texts without rows
    pd.testing.assert_frame_equal(pd.concat(whole_parts).sort_index(), once.claims.sort_index())
    assert totals == once.totals


@given(covers_with_rules(), AGGREGATES, seeds, st.data())
@settings(max_examples=60)
def test_a_reversal_that_arrives_later_gives_the_same_totals(cover, aggregate, seed, data):
    """Each claim comes as it is known at its report; its reversal comes as a row of a later batch."""
    claims, orders = draw_claims(np.random.default_rng(seed), 40, n_orders=12)
    tariff, told = tariff_of(cover), {"orders": orders, "aggregate": aggregate}
    once = settle(tariff, claims, **told)
    cuts = data.draw(st.lists(st.integers(0, len(claims)), max_size=4))
    totals, known, final = ClaimTotals(), set(), {}
    pieces = pieces_of(claims, cuts)
    for k, piece in enumerate(pieces):
        end = pieces[k]["report_date"].max() if len(piece) else pd.Timestamp.min
        late = claims["claim_id"].isin(known) & (claims["reversed_date"] < end)
        fresh = piece.assign(
            decision=piece["decision"].where(
                piece["reversed_date"] < end, piece["decision"].replace("reversed", "paid")
            ),
            reversed_date=piece["reversed_date"].where(piece["reversed_date"] < end),
        )
        known |= set(piece.loc[piece["reversed_date"] >= end, "claim_id"])
        known -= set(claims.loc[late, "claim_id"])
        batch = pd.concat([fresh, claims[late]])
        settled = settle(tariff, batch, totals=totals, **told)
        totals = settled.totals
        final |= dict(zip(batch["claim_id"], settled.claims.to_dict("records"), strict=True))
    last = claims[claims["claim_id"].isin(known)]
    settled = settle(tariff, last, totals=totals, **told)
    final |= dict(zip(last["claim_id"], settled.claims.to_dict("records"), strict=True))
    assert final == dict(zip(claims["claim_id"], once.claims.to_dict("records"), strict=True))
    assert settled.totals.claims == once.totals.claims


@given(covers_with_rules(), AGGREGATES, st.booleans(), seeds)
@settings(max_examples=60)
def test_the_sequence_of_rows_changes_nothing(cover, aggregate, with_ids, seed):
    rng = np.random.default_rng(seed)
    claims, orders = draw_claims(rng, 50, n_orders=9, days=2)  # two days: most hours have several claims
    if not with_ids:
        claims = claims.drop(columns="claim_id")
    tariff, told = tariff_of(cover), {"payers": [NOT_MINE], "aggregate": aggregate}
    once = settle(tariff, claims, orders=orders, **told)
    mixed = claims.iloc[rng.permutation(len(claims))]
    again = settle(tariff, mixed, orders=orders.iloc[rng.permutation(len(orders))], **told)
    assert again.totals == once.totals
    if with_ids:
        pd.testing.assert_frame_equal(again.claims.loc[claims.index], once.claims)
        return
    # Equal rows may exchange their places, so rows are compared together with what they hold.
    both = [pd.concat([claims, one.claims.loc[claims.index]], axis=1) for one in (once, again)]
    first, second = (sorted(map(repr, frame.astype(object).to_numpy().tolist())) for frame in both)
    assert first == second


def test_payers_sum_to_the_freight_on_a_million_rows():
    """Every fen of every claim has a payer or stays with the buyer, on 200 frames of 5,000 rows."""
    rng = np.random.default_rng(7)
    payers = [
        ClaimPayer("platform", where={"fault": ["not_merchant"]}, share=0.3333),
        ClaimPayer("merchant", share=0.1),
    ]
    for k in range(200):
        rules = [
            Limit("base", float(rng.integers(0, 50)), share=0.3, of="price"),
            Limit("tier", 8.0, where={"tier": [1]}),
        ]
        cover = Cover(
            max_claims=[None, 1, 2][k % 3], limits=rules[: k % 4], deductible=k % 5 / 4, coinsurance=[0.0, 0.1][k % 2]
        )
        claims, orders = draw_claims(rng, 5_000, n_orders=2_500)
        aggregate = [None, AggregateLimit(3000.0), AggregateLimit(15.0, by="order")][k % 3]
        found = settle(cover, claims, orders=orders, payers=payers, aggregate=aggregate).claims
        fen = found[["platform_fen", "merchant_fen", "insurer_fen"]]
        assert (fen.sum(axis=1) == found["paid_fen"]).all()
        assert (found["paid_fen"] + found["buyer_fen"] == found["freight_fen"]).all()
        assert (fen >= 0).all().all()
        assert (found["buyer_fen"] >= 0).all()
        assert ((found["paid_fen"] > 0) == (found["decision"] == "paid")).all()


# The numbers of the 1688 rules.


def one_day(**columns):
    n = len(next(iter(columns.values())))
    return pd.DataFrame({"order_id": range(n), "report_date": pd.Timestamp("2026-06-20"), **columns})


@pytest.mark.parametrize(
    ("sub_order", "fen"),
    [(5_999.0, 29_995), (20.0, 100), (0.19, 0), (59_999.99, 299_999), (60_000.0, 300_000), (60_000.01, 300_000),
     (1e9, 300_000)],
)  # fmt: skip
def test_custom_goods_are_paid_five_percent_of_the_sub_order_and_at_most_3000_yuan(sub_order, fen):
    cover = Cover(limits=[Limit("custom", 3000.0, share=0.05, of="sub_order")])
    found = settle(cover, one_day(freight=[9_000.0], sub_order=[sub_order])).claims
    assert found["paid_fen"].tolist() == [fen]
    assert found["buyer_fen"].tolist() == [900_000 - fen]


def test_return_freight_by_tier_and_official_pickup_alone():
    """Base 25 yuan, 50 for large orders of strong merchants and super factories, 200 for super buyers, 0 otherwise."""
    cover = Cover(
        limits=[
            Limit("base", 25.0),
            Limit("large order", 50.0, where={"merchant_tier": ["strong", "super_factory"], "large": ["yes"]}),
            Limit("super buyer", 200.0, where={"buyer_tier": ["super"]}),
        ],
        eligible={"official_pickup": ["yes"]},
    )
    claims = one_day(
        freight=[300.0] * 6,
        merchant_tier=["standard", "strong", "strong", "super_factory", "strong", None],
        large=["yes", "no", "yes", "yes", "yes", "yes"],
        buyer_tier=["standard", "standard", "standard", "super", "standard", "super"],
        official_pickup=["yes", "yes", "yes", "yes", "no", "yes"],
    )
    found = settle(cover, claims).claims
    assert found["paid_fen"].tolist() == [2_500, 2_500, 5_000, 20_000, 0, 20_000]
    assert found["limit_rule"].tolist() == ["base", "base", "large order", "super buyer", "large order", "super buyer"]
    assert found["limit_conflict"].tolist() == [False, False, True, True, False, True]
    assert found["reason"].tolist() == ["", "", "", "", "not_eligible", ""]


def test_a_merchant_month_stops_at_30000_fen():
    claims = one_day(
        freight=[120.0, 100.0, 90.0, 1.0, 50.0, 40.0],
        merchant_id=["m1", "m1", "m1", "m1", "m1", "m2"],
        ship_date=pd.to_datetime(["2026-06-30", "2026-06-01", "2026-06-02", "2026-06-03", "2026-05-31", "2026-06-01"]),
    ).assign(report_date=pd.Timestamp("2026-07-01") + pd.to_timedelta(range(6), unit="D"))
    settled = settle(Cover(), claims, aggregate=AggregateLimit(300.0))
    assert settled.claims["paid_fen"].tolist() == [12_000, 10_000, 8_000, 0, 5_000, 4_000]
    assert settled.claims["aggregate_bound"].tolist() == [False, False, True, True, False, False]
    assert settled.claims["reason"].tolist() == ["", "", "", "aggregate_exhausted", "", ""]
    assert settled.totals.paid == {("m1", "2026-06"): 30_000, ("m1", "2026-05"): 5_000, ("m2", "2026-06"): 4_000}


def test_a_reversal_gives_money_and_place_back_and_reopens_nothing():
    days = pd.to_datetime(["2026-06-01", "2026-06-02", "2026-06-03", "2026-06-05", "2026-06-06"])
    claims = pd.DataFrame(
        {
            "claim_id": [1, 2, 3, 4, 5],
            "order_id": [1, 1, 2, 1, 3],
            "freight": [200.0, 10.0, 150.0, 150.0, 250.0],
            "report_date": days,
            "reversed_date": [pd.Timestamp("2026-06-04"), None, None, None, None],
            "merchant_id": "m",
            "ship_date": pd.Timestamp("2026-05-20"),
        }
    )
    found = settle(Cover(max_claims=1), claims, aggregate=AggregateLimit(300.0)).claims
    # 200 are paid, 10 are over the order's one claim, 100 of 150 are left; 200 come back, of which 150 and 50 are paid.
    assert found["paid_fen"].tolist() == [0, 0, 10_000, 15_000, 5_000]
    assert found["reversed_fen"].tolist() == [20_000, 0, 0, 0, 0]
    assert found["decision"].tolist() == ["reversed", "refused", "paid", "paid", "paid"]
    assert found["reason"].tolist() == ["", "over_max_claims", "", "", ""]


def test_claims_without_ids_that_differ_in_their_merchant_alone_have_a_fixed_sequence():
    claims = one_day(freight=[10.0, 10.0], merchant_id=["b", "a"], ship_date=pd.Timestamp("2026-06-01")).assign(
        order_id=7
    )
    for rows in (claims, claims[::-1]):
        settled = settle(Cover(max_claims=1), rows, aggregate=AggregateLimit(300.0))
        assert settled.totals.paid == {("a", "2026-06"): 1_000}


@pytest.mark.parametrize("cut", range(5))
def test_a_reversal_serves_claims_after_its_time_wherever_a_batch_ends(cut):
    """A claim of the same hour as the reversal does not get its place, also not in a later batch."""
    hours = pd.to_timedelta([10, 12, 12, 13], unit="h")
    claims = pd.DataFrame(
        {
            "claim_id": [1, 2, 3, 4],
            "order_id": [7, 8, 7, 7],
            "freight": 10.0,
            "report_date": pd.Timestamp("2026-06-01") + hours,
            "reversed_date": [pd.Timestamp("2026-06-01 12:00"), pd.NaT, pd.NaT, pd.NaT],
        }
    )
    first = settle(Cover(max_claims=1), claims[:cut])
    second = settle(Cover(max_claims=1), claims[cut:], totals=first.totals)
    paid = [*first.claims["paid_fen"], *second.claims["paid_fen"]]
    assert paid == [0, 1_000, 0, 1_000]


def test_a_simulated_book_with_decisions_is_settled():
    """The book's decisions and official pickup decide; the platform pays if the merchant is not at fault."""
    book = simulate_book(20_000, seed=5, lines=LineTruth(), buyers=BuyerTruth(), funnel=FunnelTruth())
    cover = Cover(
        max_claims=None,
        limits=[Limit("base", 25.0), Limit("super buyer", 200.0, where={"buyer_tier": ["super"]}, priority=1)],
        eligible={"official_pickup": ["yes"]},
    )
    told = {"orders": book.orders.merge(book.merchants, on="merchant_id", suffixes=("", "_of_merchant")),
            "payers": [NOT_MINE, ClaimPayer("merchant")]}  # fmt: skip
    found = settle(cover, book.claims, **told).claims
    beside = book.claims.merge(told["orders"], on="order_id", how="left", suffixes=("", "_of_order"))
    was = beside["decision"].to_numpy()
    picked = beside["official_pickup"].eq("yes").to_numpy()
    assert {*was} == {"paid", "refused", "reversed"}
    assert (found["decision"].to_numpy() == np.where(picked & (was != "refused"), was, "refused")).all()
    limit = np.where(beside["buyer_tier"].eq("super"), 20_000, 2_500)
    paid = np.where(picked & (was == "paid"), np.minimum(found["freight_fen"], limit), 0)
    assert (found["paid_fen"].to_numpy() == paid).all()
    is_platform = beside["fault"].eq("not_merchant").to_numpy()
    assert (found["platform_fen"].to_numpy() == np.where(is_platform, paid, 0)).all()
    assert (found["merchant_fen"].to_numpy() == np.where(is_platform, 0, paid)).all()


def test_fault_decides_the_payer():
    claims = one_day(freight=[10.0, 10.0, 10.01], fault=["not_merchant", "merchant", None])
    payers = [NOT_MINE, ClaimPayer("merchant", where={"fault": ["merchant"]})]
    settled = settle(Cover(), claims, payers=payers)
    assert settled.payers == ("platform", "merchant", "insurer")
    assert settled.claims[["platform_fen", "merchant_fen", "insurer_fen"]].to_numpy().tolist() == [
        [1_000, 0, 0], [0, 1_000, 0], [0, 0, 1_001],
    ]  # fmt: skip
    assert settled.by_payer().to_dict("list") == {
        "payer": ["platform", "merchant", "insurer", "buyer"], "claims": [1, 1, 1, 0], "fen": [1_000, 1_000, 1_001, 0],
    }  # fmt: skip
    assert settled.by_reason().to_dict("list") == {
        "decision": ["paid"], "reason": [""], "claims": [3], "freight_fen": [3_001], "paid_fen": [3_001],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("cover", "freight", "fen"),
    [
        (Cover(limit=12.349), 20.0, 1_234),  # a limit is cut to whole fen
        (Cover(coinsurance=0.5), 0.03, 2),  # 1.5 fen, to even
        (Cover(coinsurance=0.5), 0.01, 0),  # 0.5 fen, to even
        (Cover(deductible=5.0, coinsurance=0.1), 17.35, 1_112),  # 1,111.5 fen, to even
        (Cover(deductible=5.0, coinsurance=0.1), 17.45, 1_120),  # 1,120.5 fen, to even
        (Cover(limits=[Limit("a", 10.0, share=0.3, of="freight")]), 0.29, 8),  # 8.7 fen are cut
        (Cover(limit=1e6), 1e9, 10**8),
    ],
)
def test_rounding(cover, freight, fen):
    assert settle(cover, one_day(freight=[freight])).claims["paid_fen"].tolist() == [fen]


# Frames, names and totals.


def test_every_kind_of_frame_in_and_out(tmp_path):
    claims, orders = draw_claims(np.random.default_rng(3), 200, n_orders=80)
    claims.index = claims.index[::-1] + 5
    cover = Cover(limits=[Limit("base", 25.0), Limit("price", 60.0, share=0.3, of="price")], eligible={"tier": [1, 2]})
    told = {"payers": [NOT_MINE], "aggregate": AggregateLimit(100.0)}
    expected = settle(cover, claims, orders=orders, **told)
    assert expected.claims.index.equals(claims.index)
    plain = expected.claims.reset_index(drop=True)
    table, other = pa.Table.from_pandas(claims, preserve_index=False), pa.Table.from_pandas(orders)
    found = settle(cover, table, orders=other, **told)
    pd.testing.assert_frame_equal(found.claims.to_pandas(), plain)
    frame = settle(cover, pl.from_arrow(table), orders=pl.from_arrow(other), **told)
    assert frame.claims.schema["reason"] == pl.String
    pd.testing.assert_frame_equal(frame.claims.to_pandas(), plain)
    claims.to_parquet(tmp_path / "claims.parquet", index=False)
    stored = settle(cover, tmp_path / "claims.parquet", orders=orders, **told)
    pd.testing.assert_frame_equal(stored.claims, plain)
    assert found.totals == frame.totals == stored.totals == expected.totals
    for one in (found, frame, stored):
        pd.testing.assert_frame_equal(one.by_reason(), expected.by_reason())


def test_columns_may_have_other_names_and_money_may_be_fen():
    claims, orders = draw_claims(np.random.default_rng(4), 100, n_orders=40)
    told = {"payers": [NOT_MINE], "aggregate": AggregateLimit(100.0)}
    expected = settle(Cover(), claims, orders=orders, **told)
    names = {
        "order_id": "单号",
        "claim_id": "nr",
        "report_date": "at",
        "reversed_date": "undone",
        "decision": "verdict",
    }
    names |= {"freight": "fee", "merchant_id": "shop", "ship_date": "sent"}
    found = settle(Cover(), claims.rename(columns=names), orders=orders.rename(columns=names), **told, **names)
    pd.testing.assert_frame_equal(found.claims, expected.claims)
    fen = claims.assign(freight_fen=np.rint(claims["freight"] * 100).astype(int)).drop(columns="freight")
    pd.testing.assert_frame_equal(settle(Cover(), fen, orders=orders, **told).claims, expected.claims)


def test_a_column_of_the_claims_wins_over_one_of_the_orders():
    claims = one_day(freight=[10.0, 10.0], fault=["not_merchant", "merchant"])
    orders = pd.DataFrame({"order_id": [0, 1], "fault": "merchant"})
    assert settle(Cover(), claims, orders=orders, payers=[NOT_MINE]).claims["platform_fen"].tolist() == [1_000, 0]


def test_no_claims_and_no_dates():
    empty = one_day(freight=[1.0]).iloc[:0]
    settled = settle(Cover(), empty, payers=[ClaimPayer("platform")], aggregate=AggregateLimit(1.0, by="order"),
                     ship_date="report_date")  # fmt: skip
    assert len(settled.claims) == 0
    assert settled.by_payer()["fen"].tolist() == [0, 0, 0]
    undated = pd.DataFrame({"order_id": [1, 1], "claim_id": ["b", "a"], "freight": [1.0, 2.0]})
    assert settle(Cover(), undated, report_date=None).claims["paid_fen"].tolist() == [0, 200]


def test_claims_before_shipment_are_not_in_force():
    claims = one_day(freight=[1.0] * 3, ship_date=pd.to_datetime(["2026-06-20 23:00", "2026-06-21 00:00", None]))
    assert settle(Cover(), claims).claims["reason"].tolist() == ["", "not_in_force", "not_in_force"]


def test_totals_are_a_document(tmp_path):
    claims, orders = draw_claims(np.random.default_rng(5), 300, n_orders=100)
    claims["claim_id"] = claims["claim_id"].map(lambda k: f"c{k}" if k % 2 else k)
    totals = settle(Cover(max_claims=None), claims, orders=orders, aggregate=AggregateLimit(1e6)).totals
    assert totals.pending
    totals.save(tmp_path / "totals.json")
    assert ClaimTotals.load(tmp_path / "totals.json") == totals
    text = (tmp_path / "totals.json").read_text("utf-8")
    (tmp_path / "totals.json").write_text(text.replace('"by": "merchant"', '"by": "order"'), "utf-8")
    with pytest.raises(InputError, match="was changed after it was saved"):
        ClaimTotals.load(tmp_path / "totals.json")
    (tmp_path / "totals.json").write_text(text[: len(text) // 2], "utf-8")
    with pytest.raises(InputError, match="is truncated or corrupt"):
        ClaimTotals.load(tmp_path / "totals.json")


# Sums of a settlement.


def not_zero(sums):
    return sums[(sums[["claims", "fen"]] != 0).any(axis=1)].reset_index(drop=True)


@given(covers_with_rules(), AGGREGATES, PAYER_LISTS, seeds, st.data())
@settings(max_examples=15)
def test_settlements_of_batches_add_up_to_all_claims(cover, aggregate, payers, seed, data):
    """Also if a reversal arrives in a later batch, whose payers are others by then."""
    claims, orders = draw_claims(np.random.default_rng(seed), 40, n_orders=12)
    tariff, told = tariff_of(cover), {"orders": orders, "aggregate": aggregate}
    settled = settle(tariff, claims, payers=payers, **told)
    once = Settlement.of_claims(settled, claims, orders=orders)
    end = data.draw(st.sampled_from(sorted(claims["report_date"])))
    late = (claims["report_date"] <= end) & (claims["reversed_date"] > end)
    decided, undone = claims["decision"].where(~late, "paid"), claims["reversed_date"].where(~late)
    known = claims.assign(decision=decided, reversed_date=undone)
    first = known[known["report_date"] <= end]
    second = claims[(claims["report_date"] > end) | late]
    one = settle(tariff, first, payers=payers, **told)
    other = settle(tariff, second, totals=one.totals, payers=payers, **told)
    parts = [Settlement.of_claims(part, rows, orders=orders) for part, rows in ((one, first), (other, second))]
    both = parts[0] + parts[1]
    pd.testing.assert_frame_equal(not_zero(both.claims), not_zero(once.claims))
    for payer, fen in settled.by_payer().set_index("payer")["fen"].drop("buyer").items():
        assert once.claims.loc[once.claims["payer"] == payer, "fen"].sum() == fen
    back = settle(tariff, second, totals=one.totals, **told)  # nobody but the insurer pays in this batch
    undone = Settlement.of_claims(back, second, orders=orders)
    paid = (parts[0] + undone).claims.groupby("payer")["fen"].sum()
    assert (paid >= 0).all()


def test_claims_of_a_settlement_by_day_merchant_and_payer(tmp_path):
    claims = pd.DataFrame(
        {
            "claim_id": [1, 2, 3],
            "order_id": [1, 2, 3],
            "freight": [10.0, 20.0, 30.0],
            "report_date": pd.to_datetime(["2026-06-01 10:00", "2026-06-01 12:00", "2026-06-02 00:00"]),
            "reversed_date": [None, pd.Timestamp("2026-06-05"), None],
            "fault": ["not_merchant", "not_merchant", "merchant"],
        }
    )
    orders = pd.DataFrame({"order_id": [1, 2, 3], "merchant_id": ["m1", "m1", None]})
    found = Settlement.of_claims(settle(Cover(), claims, payers=[NOT_MINE]), claims, orders=orders)
    assert found.claims.astype({"day": str}).to_dict("list") == {
        "day": ["2026-06-01", "2026-06-02", "2026-06-05"],
        "merchant_id": ["m1", None, "m1"],
        "payer": ["platform", "insurer", "platform"],
        "claims": [2, 1, -1],
        "fen": [3_000, 3_000, -2_000],
    }
    assert repr(found) == ("Settlement: 2 claims, 40.00 yuan; paid by platform 10.00, insurer 30.00")
    assert found.is_balanced
    for form in ("parquet", "csv"):
        paths = found.save(tmp_path, format=form)
        assert [path.name for path in paths] == [f"{name}.{form}" for name in ("payers", "accounts", "claims")]
        pd.testing.assert_frame_equal(Settlement.load(tmp_path, format=form).claims, found.claims, check_dtype=False)
    assert ((found - found).claims[["claims", "fen"]] == 0).all().all()
    plain = Settlement(found.payers, found.accounts)
    assert (plain + plain).claims is None
    pd.testing.assert_frame_equal((plain + found).claims, found.claims)
    with pytest.raises(InputError, match="has the claims of another settlement"):
        plain.save(tmp_path)
    with pytest.raises(InputError, match="claims have 2 rows and settled 3"):
        Settlement.of_claims(settle(Cover(), claims), claims[:2], orders=orders)
    with pytest.raises(InputError, match="claims: missing column 'merchant_id'"):
        Settlement.of_claims(settle(Cover(), claims), claims)


# Bad calls.

CLAIMS = one_day(freight=[10.0, 20.0]).assign(claim_id=[1, 2], price=[1.0, 2.0])
SETTLED = settle(Cover(), CLAIMS).totals
SHARE = Cover(limits=[Limit("custom", 3000.0, share=0.05, of="sub_order")])
UNDONE = CLAIMS.assign(reversed_date=pd.Timestamp("2026-06-21"))

BAD = [
    (lambda: settle("cover", CLAIMS), "terms is 'cover'; it must be a Cover, a Tariff or a Programme"),
    (lambda: settle(Cover(limit=ByLevel("zone", {"near": 8.0})), CLAIMS), "give the tariff instead of the cover"),
    (lambda: settle(SHARE, CLAIMS), "claims: missing column 'sub_order'; the columns present are 'order_id'"),
    (lambda: settle(SHARE, CLAIMS, orders=CLAIMS[["order_id"]]), "claims and orders: missing column 'sub_order'"),
    (lambda: settle(SHARE, CLAIMS.assign(sub_order=np.nan)), "'sub_order' is missing in 2 rows .* is a share of it"),
    (lambda: settle(SHARE, CLAIMS.assign(sub_order=1.001)), "'sub_order' is not an amount of yuan with at most two"),
    (lambda: settle(Cover(), CLAIMS, aggregate=AggregateLimit(1.0)), "missing columns 'merchant_id', 'ship_date'"),
    (lambda: settle(Cover(), CLAIMS.assign(merchant_id=None), aggregate=AggregateLimit(1.0, period=None)),
     "'merchant_id' is missing in 2 rows .* aggregate limit is by merchant"),
    (lambda: settle(Cover(), CLAIMS, payers=[NOT_MINE]), "claims: missing column 'fault'"),
    (lambda: settle(Cover(), CLAIMS, payers=[ClaimPayer("platform"), NOT_MINE]), "rule 2 .'platform'. never pays"),
    (lambda: settle(Cover(eligible={"fault": ["merchant"]}), CLAIMS, payers=[NOT_MINE]),
     "rule 1 .'platform'. never pays, because its condition on 'fault' and the cover's own have no value in common"),
    (lambda: settle(Cover(eligible={"price": Interval(at_most=1)}), CLAIMS,
                    payers=[ClaimPayer("platform", where={"price": Interval(above=1)})]), "condition on 'price'"),
    (lambda: settle(Cover(), UNDONE, report_date=None), "reversed_date needs the time of the report"),
    (lambda: settle(Cover(), CLAIMS, payers=NOT_MINE), "payers is .* it must be a list"),
    (lambda: settle(Cover(), CLAIMS, aggregate=300.0), "aggregate is 300.0; it must be an AggregateLimit"),
    (lambda: settle(Cover(), CLAIMS, totals={}), "totals is {}; it must be a ClaimTotals"),
    (lambda: settle(Cover(), CLAIMS, totals=SETTLED), "'claim_id' was settled in an earlier batch in 2 rows"),
    (lambda: settle(Cover(), UNDONE, totals=settle(Cover(), UNDONE, totals=SETTLED).totals), "reversed once"),
    (lambda: settle(Cover(), UNDONE.assign(order_id=[8, 9]), totals=SETTLED), "for another order in 2 rows"),
    (lambda: settle(Cover(), CLAIMS.assign(claim_id=[3, 4]), totals=SETTLED, aggregate=AggregateLimit(1.0, by="order")),
     "totals count payments without an aggregate limit, .* by order; settle with the same"),
    (lambda: settle(Cover(), CLAIMS.assign(freight=[1.0, 1.005])), "'freight' is not an amount of yuan .* 1 row"),
    (lambda: settle(Cover(), CLAIMS.assign(freight=[0.1 + 0.2, 1.0])), "such as 0.30000000000000004 of order_id 0"),
    (lambda: settle(Cover(), CLAIMS.assign(freight=[1.0, -1.0])), "'freight' is not above 0 in 1 row"),
    (lambda: settle(Cover(), CLAIMS.assign(freight=[1.0, np.nan])), "'freight' is missing in 1 row"),
    (lambda: settle(Cover(), CLAIMS.assign(freight_fen=[1.5, 2.0])), "'freight_fen' is not a whole number of fen"),
    (lambda: settle(Cover(), CLAIMS.assign(freight_fen=[100, 200])), "'freight' and 'freight_fen' differ in "),
    (lambda: settle(Cover(), CLAIMS.assign(freight_fen=100, cost=[1.0, 2.0]), freight="cost"),
     "'cost' and 'freight_fen' differ in 1 row"),
    (lambda: settle(Cover(), CLAIMS.drop(columns="freight")), "missing column 'freight'"),
    (lambda: settle(Cover(), CLAIMS.drop(columns="report_date")), "missing column 'report_date'"),
    (lambda: settle(Cover(), CLAIMS.assign(report_date=[None, "2026-06-20"])), "'report_date' is missing in 1 row"),
    (lambda: settle(Cover(), CLAIMS.assign(order_id=[None, 1])), "'order_id' is missing in 1 row"),
    (lambda: settle(Cover(), CLAIMS.assign(claim_id=[1, 1])), "'claim_id' repeats an earlier row in 1 row"),
    (lambda: settle(Cover(), CLAIMS.assign(claim_id=[1, None])), "'claim_id' is missing in 1 row"),
    (lambda: settle(Cover(), CLAIMS, orders=CLAIMS[["order_id"]][:1]), "'order_id' names no order in 1 row"),
    (lambda: settle(Cover(), CLAIMS, orders=CLAIMS[["order_id"]].assign(order_id=0)), "orders: 'order_id' repeats"),
    (lambda: settle(Cover(), CLAIMS.assign(decision=["paid", "ok"])), "'decision' is none of 'paid', 'refused', 'rev"),
    (lambda: settle(Cover(), CLAIMS.assign(decision="reversed")), "'reversed' without a 'reversed_date' in 2 rows"),
    (lambda: settle(Cover(), UNDONE.assign(decision="paid")), "not 'reversed' although there is a 'reversed_date'"),
    (lambda: settle(Cover(), UNDONE.assign(reversed_date="2026-06-19")), "'reversed_date' is before 'report_date'"),
    (lambda: settle(Cover(deductible=0.125), CLAIMS), "deductible of the cover is 0.125 yuan; .* two decimals"),
    (lambda: settle(Cover(coinsurance=1 / 3), CLAIMS), "coinsurance of the cover is 0.33.*; .* four decimals"),
    (lambda: settle(replace(SHARE, limits=[replace(SHARE.limits[0], share=1 / 3)]), CLAIMS.assign(sub_order=1.0)),
     "share of limit 'custom' is 0.33.* four decimals"),
    (lambda: ClaimPayer("a b"), "payer of a claim is 'a b'; it names a column"),
    (lambda: ClaimPayer("buyer"), "other than buyer, freight, paid, reversed"),
    (lambda: ClaimPayer("platform", share=0.0), "share of claim payer 'platform' is 0.0"),
    (lambda: ClaimPayer("platform", share=1 / 3), "claims are settled in whole basis points"),
    (lambda: ClaimPayer("platform", where={"fault": []}), "claim payer 'platform': where.'fault'. lists no level"),
    (lambda: ClaimTotals(by="shop"), "by of claim totals is 'shop'"),
    (lambda: ClaimTotals(paid={"m1": 3}), "claim totals have 'm1'; write a holder and a period"),
    (lambda: ClaimTotals(paid={("m1", "June"): 3}), "claim totals name the period 'June'"),
    (lambda: ClaimTotals(paid={("m1", ""): -3}), "an amount of claim totals, in fen, is -3"),
    (lambda: ClaimTotals(orders={None: 1}), "claim totals have a missing id"),
    (lambda: ClaimTotals(claims={1: (1, None, "", ())}), "write order, holder, period, payments and reason of a claim"),
    (lambda: ClaimTotals(claims={1: (1, None, "", 5, "")}), "payments of a claim is 5; list payers with their fen"),
    (lambda: ClaimTotals(claims={1: (1, None, "", [5], "")}), "write a payer and fen, such as"),
    (lambda: ClaimTotals(claims={1: (1, None, "", (), "rain")}), "claim totals have the reason 'rain'"),
    (lambda: ClaimTotals(pending=[("soon", 1, None, "", 5)]), "claim totals have a reversal at 'soon'"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_bad_calls_say_what_to_change(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert re.search(message, str(caught.value)), str(caught.value)


def test_an_unknown_keyword_is_a_type_error():
    with pytest.raises(TypeError, match="unexpected keyword argument 'order'; columns are named by order_id"):
        settle(Cover(), CLAIMS, order="order_id")


def test_the_aggregate_limit_of_the_cover_is_settled():
    claims = pd.DataFrame(
        {
            "order_id": range(4),
            "merchant_id": "m",
            "ship_date": "2026-06-01",
            "report_date": "2026-06-09",
            "freight": 9.0,
        }
    )
    cover = Cover(aggregate=AggregateLimit(20.0))
    settled = settle(cover, claims)
    assert settled.claims["paid_fen"].tolist() == [900, 900, 200, 0]
    assert settle(Cover(), claims, aggregate=AggregateLimit(20.0)).claims.equals(settled.claims)
    assert settle(cover, claims, aggregate=AggregateLimit(20.0)).claims.equals(settled.claims)
    with pytest.raises(InputError, match=r"aggregate is AggregateLimit\(amount=30.*but the cover has"):
        settle(cover, claims, aggregate=AggregateLimit(30.0))


@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow", "parquet"])
def test_columns_of_merchants_come_from_the_merchants(kind, tmp_path):
    cover = Cover(
        max_claims=None,
        limits=[Limit("base", 5.0), Limit("strong", 50.0, where={"merchant_tier": ["strong"]}, priority=1)],
        aggregate=AggregateLimit(60.0),
    )
    merchants = pd.DataFrame({"merchant_id": [7, 8, 9], "merchant_tier": ["strong", None, "new"], "zone": ["x"] * 3})
    orders = pd.DataFrame({"order_id": range(6), "merchant_id": [7, 8, 9, 7, 8, 9], "ship_date": "2026-06-01"})
    claims = pd.DataFrame({"order_id": [5, 3, 1, 0], "report_date": "2026-06-09", "freight": [9.0, 40.0, 9.0, 40.0]})
    expected = settle(cover, claims, orders=orders.merge(merchants, on="merchant_id")).claims
    assert expected["paid_fen"].tolist() == [500, 2_000, 500, 4_000]
    assert expected["limit_rule"].tolist() == ["base", "strong", "base", "strong"]
    turned = {"pandas": lambda frame: frame, "polars": pl.from_pandas, "pyarrow": pa.Table.from_pandas}
    tables = {"orders": orders, "merchants": merchants}
    if kind == "parquet":
        for name, table in tables.items():
            table.to_parquet(tmp_path / name)
        found = settle(cover, claims, **{name: tmp_path / name for name in tables})
    else:
        found = settle(cover, claims, **{name: turned[kind](table) for name, table in tables.items()})
    pd.testing.assert_frame_equal(found.claims, expected)
    own = claims.assign(merchant_id=[9, 7, 8, 7], ship_date="2026-06-01")  # without orders
    pd.testing.assert_frame_equal(settle(cover, own, merchants=merchants).claims, expected)
    with pytest.raises(InputError, match=r"'merchant_id' is missing or names no merchant in 2 rows \(first: 1, 3\)"):
        settle(cover, claims, orders=orders, merchants=merchants[1:])
    with pytest.raises(InputError, match=r"claims, orders and merchants: missing column 'merchant_tier'"):
        settle(cover, claims, orders=orders, merchants=merchants[["merchant_id"]])
    with pytest.raises(
        InputError, match=r"claims and orders: missing column 'merchant_tier'.* give the table .* merchants"
    ):
        settle(cover, claims, orders=orders)
    with pytest.raises(InputError, match=r"missing column 'merchant_id'.* give the orders that have it"):
        Settlement.of_claims(found, claims)
    # A column of the claims or orders goes before a column of the merchants, as in a price.
    both = settle(cover, claims.assign(merchant_tier="new"), orders=orders, merchants=merchants).claims
    assert both["limit_rule"].eq("base").all()


# Programmes: the claims of several covers

NAMES = ("freight", "transit", "quality")


@st.composite
def claimed_programmes(draw):
    """Programmes of one to three covers with terms, aggregate limits and payers of their own."""
    names = NAMES[: draw(st.integers(1, 3))]
    tariffs = [replace(tariff_of(draw(covers_with_rules())), name=name) for name in names]
    payers = {name: draw(PAYER_LISTS) for name in names}
    limits = {name: draw(AGGREGATES) for name in names}
    return Programme("p", tariffs), {"payers": payers, "aggregate": limits}


def claims_of_covers(programme, seed, n):
    rng = np.random.default_rng(seed)
    claims, orders = draw_claims(rng, n, n_orders=max(1, n // 4))
    return claims.assign(cover=rng.choice([cover.name for cover in programme.covers], n)), orders


@given(claimed_programmes(), seeds, st.integers(1, 60))
@settings(max_examples=60)
def test_claims_of_several_covers_are_those_of_each_cover(drawn, seed, n):
    programme, told = drawn
    claims, orders = claims_of_covers(programme, seed, n)
    settled = settle(programme, claims, orders=orders, **told)
    is_one = len(programme.covers) == 1
    assert settled.covers == (() if is_one else tuple(cover.name for cover in programme.covers))
    for cover in programme.covers:
        mine = claims["cover"] == cover.name
        if not mine.any():
            continue
        rows = judged_rows(claims[mine].drop(columns="cover"), orders)
        expected = judge(cover.cover, rows, payers=told["payers"][cover.name], aggregate=told["aggregate"][cover.name])
        found = settled.claims[mine]
        assert found[[*expected[0]]].to_dict("records") == expected
        others = [f"{name}_fen" for name in settled.payers if f"{name}_fen" not in expected[0]]
        assert not found[others].any().any()
        assert is_one or set(found["cover"]) == {cover.name}
    money = [f"{name}_fen" for name in settled.payers]
    assert (settled.claims[money].sum(axis=1) == settled.claims["paid_fen"]).all()
    sums = settled.by_cover()
    assert sums["paid_fen"].sum() == (0 if is_one else settled.claims["paid_fen"].sum())
    assert sums["claims"].sum() == (0 if is_one else n)


@given(claimed_programmes(), seeds, st.data())
@settings(max_examples=60)
def test_batches_of_several_covers_pay_the_same_fen(drawn, seed, data):
    programme, told = drawn
    claims, orders = claims_of_covers(programme, seed, 40)
    merchants = orders[["order_id", "merchant_id"]]
    told = {**told, "orders": orders}
    once = settle(programme, claims, **told)
    totals, parts, sums = ClaimTotals(), [], []
    for piece in pieces_of(claims, data.draw(st.lists(st.integers(0, len(claims)), max_size=4))):
        settled = settle(programme, piece, totals=totals, **told)
        document = document_of(settled.totals)
        assert json.loads(document) == SEAL.plain(json.loads(json.dumps(to_plain(settled.totals))))
        totals = SEAL.read(ClaimTotals, document, source="totals")
        assert totals == settled.totals
        if len(piece):
            parts.append(settled.claims)
            sums.append(Settlement.of_claims(settled, piece, orders=merchants))
    pd.testing.assert_frame_equal(pd.concat(parts).sort_index(), once.claims.sort_index())
    assert totals == once.totals
    whole = Settlement.of_claims(once, claims, orders=merchants)
    pd.testing.assert_frame_equal(sum(sums[1:], sums[0]).claims, whole.claims)


@given(covers_with_rules(), AGGREGATES, PAYER_LISTS, seeds)
def test_a_programme_of_one_tariff_settles_claims_as_the_tariff(cover, aggregate, payers, seed):
    claims, orders = draw_claims(np.random.default_rng(seed), 30, n_orders=9)
    tariff, told = replace(tariff_of(cover), name="freight"), {"orders": orders, "aggregate": aggregate}
    rules = {} if any(one.where.keys() & cover.eligible.keys() for one in payers) else {"claim_payers": payers}
    mine = settle(Programme("p", tariff, **rules), claims, **told, **({} if rules else {"payers": payers}))
    theirs = settle(tariff, claims, **told, payers=payers)
    pd.testing.assert_frame_equal(mine.claims, theirs.claims)
    assert document_of(mine.totals) == document_of(theirs.totals)
    assert (mine.covers, mine.payers) == ((), theirs.payers)
    # Totals of the tariff serve a programme that it is the first cover of, and those of one cover hold no others.
    two = Programme("p", [tariff, replace(tariff_of(Cover()), name="transit")])
    told = {"orders": orders, "aggregate": {"freight": aggregate} if aggregate else None}
    again = settle(two, claims.assign(cover="transit"), totals=replace(theirs.totals, claims={}), **told)
    assert replace(again.totals, covers={}, first="") == replace(theirs.totals, claims={})
    transit = settle(Cover(), claims, orders=orders).totals
    assert again.totals.covers == ({} if transit == ClaimTotals() else {"transit": transit})
    assert "covers" not in json.loads(document_of(theirs.totals))


TWO = Programme(
    "1688",
    [replace(tariff_of(Cover(max_claims=1)), name="freight"), replace(tariff_of(Cover(limit=5.0)), name="transit")],
    claim_payers=[NOT_MINE],
)


def test_the_payers_of_a_programme_pay_claims_of_its_first_cover():
    claims = one_day(freight=[9.0, 8.0, 7.0], cover=["freight", "transit", "freight"], fault="not_merchant")
    settled = settle(TWO, claims)
    money = ["cover", "paid_fen", "platform_fen", "insurer_fen", "buyer_fen"]
    assert list(settled.claims.columns[:3]) == ["cover", "freight_fen", "paid_fen"]
    assert settled.claims[money].values.tolist() == [
        ["freight", 900, 900, 0, 0],
        ["transit", 500, 0, 500, 300],
        ["freight", 700, 700, 0, 0],
    ]
    everyone = settle(TWO, claims, payers={"transit": [NOT_MINE]})
    assert everyone.claims["insurer_fen"].tolist() == [900, 0, 700]
    assert settle(TWO, claims, payers=[]).payers == ("insurer",)
    first = settle(TWO, claims.drop(columns="cover"))
    assert first.claims["cover"].tolist() == ["freight"] * 3
    named = settle(TWO, claims.rename(columns={"cover": "险种"}), cover="险种")
    pd.testing.assert_frame_equal(named.claims, settled.claims)
    for hold in (pl.from_pandas, pa.Table.from_pandas):
        assert settle(TWO, hold(claims)).claims["paid_fen"].to_numpy().tolist() == [900, 500, 700]
    assert repr(settled.totals) == "ClaimTotals: 0 claims with an id, 2 orders with claims; and of transit"


def test_counts_of_claims_are_those_of_each_cover():
    claims = one_day(freight=[9.0, 8.0, 7.0], cover=["freight", "transit", "freight"], claim_id=[1, 2, 3])
    claims["order_id"] = 1
    settled = settle(TWO, claims, payers=[])
    assert settled.claims["reason"].tolist() == ["", "", "over_max_claims"]
    later = one_day(freight=[9.0, 8.0], cover=["transit", "freight"]).assign(order_id=1, claim_id=["a", "b"])
    again = settle(TWO, later, payers=[], totals=settled.totals)
    assert again.claims["reason"].tolist() == ["over_max_claims", "over_max_claims"]
    empty = settle(TWO, claims.iloc[:0], payers=[], totals=settled.totals)
    assert empty.totals == settled.totals
    assert len(empty.claims) == 0


def of_covers(**more):
    return one_day(freight=[9.0, 8.0], claim_id=["a", "b"], **more)


BAD_COVERS = [
    (lambda: settle(TWO, of_covers(cover=["freight", "glass"])), r"'transit'\) in 1 row \(first: 1\), such as 'glass'"),
    (lambda: settle(TWO, of_covers(cover=["freight", None])), "'cover' names none of the covers"),
    (lambda: settle(Programme("p", TWO.lead), of_covers(cover="transit")), "names none of the covers"),
    (lambda: settle(TWO, of_covers(), aggregate=AggregateLimit(3.0)), "aggregate is one limit, but each cover counts"),
    (lambda: settle(TWO, of_covers(), aggregate={"glass": AggregateLimit(3.0)}), "aggregate names cover 'glass'"),
    (lambda: settle(TWO.lead, of_covers(), aggregate={"freight": AggregateLimit(3.0)}), "aggregate is .* must be an"),
    (lambda: settle(TWO, of_covers(), payers={"glass": []}), "payers names cover 'glass', which is none of the covers"),
    (lambda: settle(Programme("p", TWO.lead), of_covers(), payers={"transit": []}), "payers names cover 'transit'"),
    (lambda: settle(TWO.lead, of_covers(), payers={"freight": [NOT_MINE]}), "payers is .* list whose items are each"),
    (lambda: settle(TWO.lead, of_covers(), totals=ClaimTotals(covers={"transit": ClaimTotals(orders={1: 1})})),
     "totals count claims of cover 'transit', which is not settled here"),
    (lambda: settle(TWO, of_covers(), totals=ClaimTotals(covers={"glass": ClaimTotals(orders={1: 1})})),
     "totals count claims of cover 'glass'"),
    (lambda: settle(TWO, of_covers(cover=["freight", "transit"]).assign(claim_id="a")), "'claim_id' repeats"),
    (lambda: settle(TWO, of_covers(cover="transit"), payers=[],
                    totals=settle(TWO, of_covers(cover="freight"), payers=[]).totals),
     "was settled in an earlier batch under cover 'freight' in 2 rows"),
    (lambda: settle(TWO, pa.Table.from_pandas(of_covers(cover=["transit", "freight"]).assign(freight=[5.0, -1.0])),
                    payers=[]), r"'freight' is not above 0 in 1 row \(first: 1\)"),
    (lambda: ClaimTotals(covers={"a": 3}), "totals of cover 'a' is 3"),
    (lambda: ClaimTotals(covers={"a": ClaimTotals(covers={"b": ClaimTotals()})}), "have covers of their own"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), BAD_COVERS, ids=[message[:40] for _, message in BAD_COVERS])
def test_bad_calls_with_covers_say_what_to_change(call, message):
    with pytest.raises(InputError, match=message):
        call()
