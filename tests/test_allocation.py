"""Budget allocation: against every allocation there is, by law, and back through a tariff to the fen."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freightrisk import Cover, InputError
from freightrisk.campaigns import Allocation, allocate, subsidy_offers
from strategies import draw_orders, put_together, rate_tables, seeds


@st.composite
def offer_tables(draw):
    """Offers to a few segments: an offer of nothing, and some that cost and cover more and more."""
    rng = np.random.default_rng(draw(seeds))
    rows = []
    for segment in range(draw(st.integers(1, 4))):
        covered = np.cumsum(rng.integers(0, 30, 3))
        fen = np.cumsum(rng.integers(1, 40, 3)) * covered
        fen[0] = 0
        for k in range(3):
            rows.append((f"s{segment}", 5 * k, "platform", float(covered[k]), float(fen[k]), rng.uniform(-5, 20)))
    return pd.DataFrame(rows, columns=["segment", "subsidy_fen", "payer", "covered", "platform_fen", "worth"])


BUDGETS = st.integers(0, 4000)


def best_of_all(offers, budget, objective="covered"):
    """Return the most that any choice of one offer or none a segment reaches within the budget."""
    groups = [[None, *group.index] for _, group in offers.groupby("segment")]
    best = -np.inf
    for choice in product(*groups):
        rows = offers.loc[[row for row in choice if row is not None]]
        if rows["platform_fen"].sum() <= budget:
            best = max(best, rows[objective].sum())
    return best


@given(offer_tables(), BUDGETS, st.sampled_from(["covered", "worth"]))
def test_whole_offers_are_the_best_there_are(offers, budget, objective):
    found = allocate(offers, budget, objective=objective)
    assert found.objective == pytest.approx(best_of_all(offers, budget, objective), abs=1e-6)
    assert found.offers["platform_fen"].sum() <= budget
    assert found.offers["segment"].is_unique
    assert (found.offers["share"] == 1.0).all()
    assert found.offers[objective].sum() == pytest.approx(found.objective)
    assert found.bound >= found.objective - 1e-9


@given(offer_tables(), BUDGETS)
def test_divisible_offers_reach_at_least_as_much_and_the_shadow_price_is_the_slope(offers, budget):
    found = allocate(offers, budget, whole=False)
    assert found.objective == found.bound
    assert found.objective >= allocate(offers, budget).objective - 1e-9
    assert found.offers["platform_fen"].sum() <= budget + 1e-6
    assert found.offers.groupby("segment")["share"].sum().max() <= 1 + 1e-9 if len(found.offers) else True
    price = found.limits["shadow_price"].iloc[0]
    more, less = (allocate(offers, max(0, budget + step), whole=False).objective for step in (1, -1))
    # The objective is concave in the budget, so that its price lies between the two differences.
    assert more - found.objective <= price + 1e-7
    if budget >= 1:
        assert price <= found.objective - less + 1e-7


@given(offer_tables(), BUDGETS)
def test_limits_of_segments_hold_and_cost(offers, budget):
    free = allocate(offers, budget, whole=False)
    limits = pd.DataFrame({"max_fen": [150.0, np.nan], "max_covered": [np.nan, 20.0]}, index=["s0", "s1"])
    limits = limits.loc[[name for name in limits.index if name in set(offers["segment"])]]
    for whole in (True, False):
        found = allocate(offers, budget, whole=whole, limits=limits)
        sums = found.offers.groupby("segment")[["platform_fen", "covered"]].sum()
        assert sums["platform_fen"].get("s0", 0.0) <= 150 + 1e-6
        assert sums["covered"].get("s1", 0.0) <= 20 + 1e-6
        assert found.objective <= free.objective + 1e-9
        assert (found.limits["shadow_price"] >= -1e-9).all()


def test_what_a_segment_must_have_costs_the_others():
    offers = pd.DataFrame(
        {
            "segment": ["dear", "cheap"], "subsidy_fen": [10, 10], "payer": "platform", "covered": [10.0, 100.0],
            "platform_fen": [100.0, 100.0],
        }
    )  # fmt: skip
    free = allocate(offers, 100, whole=False)
    assert free.offers["segment"].tolist() == ["cheap"]
    assert free.objective == 100
    least = allocate(offers, 100, whole=False, limits=pd.DataFrame({"min_covered": [5.0]}, index=["dear"]))
    assert least.objective == pytest.approx(5 + 50)
    # One more order that must be covered there takes 10 fen, that is 10 orders, from the cheap segment.
    assert least.limits.loc["dear", "shadow_price"] == pytest.approx(1 - 10)
    with pytest.raises(InputError, match="no allocation meets"):
        allocate(offers, 10, limits=pd.DataFrame({"min_covered": [5.0]}, index=["dear"]))
    with pytest.raises(InputError, match="try whole=False"):
        allocate(offers, 60, limits=pd.DataFrame({"min_covered": [5.0]}, index=["dear"]))


def test_every_payer_keeps_to_its_own_budget():
    offers = pd.DataFrame(
        {
            "segment": ["a", "b", "c"], "subsidy_fen": 1, "payer": ["x", "y", "x"], "covered": [9.0, 8.0, 7.0],
            "x_fen": [50.0, np.nan, 50.0], "y_fen": [np.nan, 50.0, np.nan],
        }
    )  # fmt: skip
    found = allocate(offers, {"x": 60, "y": 40})
    assert found.offers["segment"].tolist() == ["a"]
    assert found.limits["used"].to_dict() == {"x": 50.0, "y": 0.0}
    assert allocate(offers, {"x": 60, "y": 50}).objective == 17
    assert allocate(offers, 100).objective == 17
    with pytest.raises(InputError, match="offers are paid by"):
        allocate(offers, {"x": 60})


def drawn_quotes(seed=3, n=400):
    rng = np.random.default_rng(seed)
    frame = draw_orders(rng, n).assign(segment=rng.choice(["new", "key", "loyal"], n))
    tariff = put_together(
        frequency=rate_tables(["channel"], rng, 0.03), severity=rate_tables(["zone"], rng, 9.0), cover=Cover()
    )
    return frame, tariff, tariff.price(frame)


RESPONSE = pd.DataFrame(
    [(name, amount, take_up) for name in ("new", "key") for amount, take_up in ((0, 0.0), (8, 1.0), (20, 1.0))],
    columns=["segment", "subsidy_fen", "take_up"],
)


@pytest.mark.parametrize("budget", [3_000, 6_000])
def test_an_allocation_spends_to_the_fen_what_its_rules_spend_in_a_tariff(budget):
    from dataclasses import replace

    frame, tariff, quotes = drawn_quotes()
    offers = subsidy_offers(quotes, frame["segment"], RESPONSE)
    found = allocate(offers, budget)
    rules = found.subsidies("segment")
    assert isinstance(found, Allocation)
    assert rules
    paid = replace(tariff, subsidies=tuple(rules)).price(frame)
    assert paid["platform_fen"].sum() == found.offers["platform_fen"].sum() <= budget
    assert (paid["merchant_fen"] >= 1).all()
    eligible = frame["segment"].isin(found.offers["segment"])
    assert found.offers["received_fen"].sum() == paid.loc[eligible, "list_fen"].sum()


def test_the_insurer_gives_nothing_below_the_technical_premium_unless_another_pays():
    frame, _, quotes = drawn_quotes()
    alone = subsidy_offers(quotes, frame["segment"], RESPONSE, payer="insurer")
    assert (alone.loc[alone["subsidy_fen"] > 0, "below_technical"] > 0).all()
    with_offers_of_nothing = allocate(alone, 10_000, objective="received_fen")
    assert len(with_offers_of_nothing.refused) == 4
    with pytest.raises(InputError, match="less than the technical premium"):
        allocate(alone[alone["subsidy_fen"] > 0], 10_000)
    # Loaded list prices leave something to give.
    loaded = quotes.assign(list_fen=quotes["list_fen"] + 12)
    named = subsidy_offers(loaded, frame["segment"], RESPONSE, payer="insurer", shortfall_payer="platform")
    assert (named["below_technical"] == 0).all()
    assert (named["margin_fen"] >= 0).all()
    needed = np.ceil(loaded["technical_premium"].to_numpy() * 100 - 1e-9)
    for offer in named.to_dict("records"):
        mine = (frame["segment"] == offer["segment"]).to_numpy()
        paid = np.minimum(offer["subsidy_fen"], loaded["list_fen"].to_numpy()[mine] - 1)
        own = np.minimum(paid, loaded["list_fen"].to_numpy()[mine] - needed[mine])
        assert offer["insurer_fen"] == own.sum() * offer["take_up"]
        assert offer["platform_fen"] == (paid - own).sum() * offer["take_up"]
    shared = allocate(named[named["subsidy_fen"] == 20], {"insurer": 1e9, "platform": 1e9})
    with pytest.raises(InputError, match="a rule has one payer"):
        shared.subsidies("segment")
    within = subsidy_offers(
        loaded, frame["segment"], RESPONSE.assign(subsidy_fen=RESPONSE["subsidy_fen"] // 2), payer="insurer"
    )
    assert (within["below_technical"] == 0).all()


def test_parts_of_segments_are_no_rules():
    offers = pd.DataFrame(
        {"segment": ["a"], "subsidy_fen": [5], "payer": ["x"], "covered": [10.0], "x_fen": [100.0], "orders": [20]}
    )
    found = allocate(offers, 50, whole=False)
    assert found.offers[["share", "covered", "x_fen", "orders"]].values.tolist() == [[0.5, 5.0, 50.0, 10.0]]
    with pytest.raises(InputError, match="a part of a segment"):
        found.subsidies("segment")
    assert "0.50 of 0.50 yuan" in repr(found)


def test_thousands_of_segments():
    rng = np.random.default_rng(1)
    n = 2_000
    take_up = np.sort(rng.random((n, 5)), axis=1)
    frame = pd.DataFrame(
        {
            "segment": np.repeat(np.arange(n), 5), "subsidy_fen": np.tile([0, 5, 10, 20, 30], n), "payer": "platform",
            "covered": (1000 * take_up).ravel(), "platform_fen": (1000 * take_up * [0, 5, 10, 20, 30]).ravel(),
        }
    )  # fmt: skip
    found = allocate(frame, 5e6, gap=1e-4)
    assert found.offers["platform_fen"].sum() <= 5e6
    assert found.bound * (1 - 1e-4) <= found.objective <= found.bound


def test_what_cannot_be_allocated():
    frame, _, quotes = drawn_quotes()
    falling = RESPONSE.assign(take_up=[0.5, 0.4, 0.6, 0.1, 0.2, 0.3])
    for change, message in (
        ({"response": falling}, "lower take-up than a smaller"),
        ({"response": pd.concat([RESPONSE, RESPONSE])}, "is given twice"),
        ({"response": RESPONSE.assign(take_up=1.1)}, "not a share"),
        ({"response": RESPONSE.head(3).assign(segment="absent")}, "has no orders"),
        ({"payer": "received"}, "names a column"),
        ({"segment": frame["segment"].head(3)}, "one for each of"),
    ):
        given_ = {"segment": frame["segment"], "response": RESPONSE, "payer": "platform"} | change
        with pytest.raises(InputError, match=message):
            subsidy_offers(quotes, given_["segment"], given_["response"], payer=given_["payer"])
    offers = subsidy_offers(quotes, frame["segment"], RESPONSE)
    with pytest.raises(InputError, match="'most_fen'"):
        allocate(offers, 10, limits=pd.DataFrame({"most_fen": [1]}, index=["new"]))
    with pytest.raises(InputError, match="segment 'absent'"):
        allocate(offers, 10, limits=pd.DataFrame({"max_fen": [1]}, index=["absent"]))
    with pytest.raises(InputError, match="no column"):
        allocate(offers.drop(columns="platform_fen"), 10)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("list_fen", 1e30, r"column 'list_fen' is outside \[0, 1e\+10\] in 1 row"),
        ("list_fen", 1.5, r"'list_fen' is not a whole number in 1 row"),
        ("technical_premium", -1.0, r"column 'technical_premium' is outside \[0, 1e\+08\] in 1 row"),
        ("technical_premium", 1e13, r"column 'technical_premium' is outside \[0, 1e\+08\] in 1 row"),
        ("technical_premium", np.nan, r"quotes: 'technical_premium' is not finite in 1 row"),
    ],
)
def test_quotes_whose_sums_would_wrap_are_refused(column, value, message):
    quotes = pd.DataFrame({"list_fen": [30.0, 50.0], "technical_premium": [0.20, 0.50]})
    quotes.loc[1, column] = value
    response = pd.DataFrame({"segment": "new", "subsidy_fen": [0, 20], "take_up": [0.5, 0.8]})
    with pytest.raises(InputError, match=message):
        subsidy_offers(quotes, ["new", "new"], response)
