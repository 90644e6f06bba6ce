"""The laws of the money on very many orders: drawn programmes with budgets and caps, each over a large batch.

`FREIGHTRISK_LAW_CASES` sets how many orders are priced under laws: 100,000 by default, 10,000,000 once for a release.
"""

import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freightrisk import Balances, Settlement
from freightrisk.tariff import pricing as pricing_module
from freightrisk.tariff import settling as settling_module
from strategies import draw_batch, limited_programmes, seeds, subsidies
from test_balances import FLOORS, MODES, no_missing_merchants, tariff_of, without_nothing

pytestmark = pytest.mark.slow

CASES = int(os.environ.get("FREIGHTRISK_LAW_CASES", "100000"))
SIZE = 1_000 if CASES <= 10**6 else 10_000
MANY = settings(
    max_examples=CASES // SIZE,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)
PIECES = st.sampled_from([61, 500, 2**17])
RICHER = st.sampled_from([1, 10, 50])


def drawn(rules, rounding, floor, seed, richer):
    """Return a tariff, with limits that a large batch meets somewhere inside it, and the batch."""
    rules = [replace(rule, budget_fen=None if rule.budget_fen is None else richer * rule.budget_fen) for rule in rules]
    frame = no_missing_merchants(draw_batch(np.random.default_rng(seed), SIZE), rounding)
    merchants = np.random.default_rng(seed + 1).integers(0, 30, SIZE).astype(str)
    return tariff_of(rules, rounding, floor), frame.assign(merchant_id=frame["merchant_id"].where(
        frame["merchant_id"].isna(), merchants))  # fmt: skip


@MANY
@given(limited_programmes(), MODES, FLOORS, seeds, RICHER, PIECES)
def test_payers_floor_budgets_and_caps(rules, rounding, floor, seed, richer, piece):
    tariff, frame = drawn(rules, rounding, floor, seed, richer)
    balances = Balances()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pricing_module, "PRICE_CHUNK", piece)
        quotes = tariff.price(frame, balances=balances, campaigns=True)
    money = quotes[[*(f"{payer}_fen" for payer in tariff.payers), "merchant_fen"]].to_numpy()
    assert (money.sum(axis=1) == quotes["list_fen"]).all()
    assert money.min() >= 0
    assert quotes["merchant_fen"].min() >= tariff.floor_fen
    for rule in tariff.subsidies:
        paid = quotes[f"paid: {rule.name}"]
        assert paid.min() >= 0
        assert rule.cap_fen is None or paid.max() <= rule.cap_fen
        assert rule.budget_fen is None or paid.sum() == balances.spent.get(rule.name, 0) <= rule.budget_fen
        if rule.period is not None:
            when = frame["ship_date"].dt.to_period("D" if rule.period == "day" else "M")
            assert paid.groupby([frame["merchant_id"], when]).sum().max() <= rule.merchant_cap_fen


@MANY
@given(limited_programmes(), MODES, FLOORS, seeds, RICHER, PIECES, st.sampled_from([1, 2]))
def test_rows_pieces_batches_and_threads_change_no_fen(rules, rounding, floor, seed, richer, piece, threads):
    tariff, frame = drawn(rules, rounding, floor, seed, richer)
    whole, parts = Balances(), Balances()
    expected = tariff.price(frame, balances=whole, threads=1, detail=False)
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(SIZE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pricing_module, "PRICE_CHUNK", piece)
        patch.setattr(settling_module, "WAVE", 3)
        found = tariff.price(frame.iloc[shuffled], threads=threads, detail=False)
        pd.testing.assert_frame_equal(found, expected.iloc[shuffled])
        order = frame.sort_values(["ship_date", "order_id"]).index.to_numpy()
        cuts = np.sort(rng.integers(0, SIZE, 2))
        found = [tariff.price(frame.iloc[rows], balances=parts, detail=False) for rows in np.split(order, cuts)]
    pd.testing.assert_frame_equal(pd.concat(found), expected.iloc[order])
    assert without_nothing(parts) == without_nothing(whole)


@MANY
@given(limited_programmes(), subsidies("further", groups=st.just(None)), seeds, RICHER, st.data())
def test_a_further_rule_without_limits_raises_no_price_where_limited_rules_have_no_rivals(
    rules, further, seed, richer, data
):
    rules = [replace(rule, group=None) if rule.is_limited else rule for rule in rules]
    tariff, frame = drawn(rules, "half_even", 1, seed, richer)
    place = data.draw(st.integers(0, len(tariff.subsidies)))
    more = [*tariff.subsidies[:place], further, *tariff.subsidies[place:]]
    before = tariff.price(frame, detail=False)["merchant_fen"]
    assert (tariff.with_subsidies(more).price(frame, detail=False)["merchant_fen"] <= before).all()


@MANY
@given(limited_programmes(), MODES, seeds, RICHER)
def test_reversing_every_line_leaves_nothing(rules, rounding, seed, richer):
    tariff, frame = drawn(rules, rounding, 1, seed, richer)
    frame = frame[frame["ship_date"].notna() & frame["merchant_id"].notna()].reset_index(drop=True)
    quotes = tariff.price(frame, campaigns=True)
    settled = Settlement.of(tariff, frame, quotes)
    assert settled.is_balanced
    assert settled.payers["fen"].sum() == quotes["list_fen"].sum()
    nothing = settled + -settled
    assert not nothing.payers["fen"].any()
    assert not nothing.accounts.drop(columns=["day", "merchant_id"], errors="ignore").to_numpy().any()
