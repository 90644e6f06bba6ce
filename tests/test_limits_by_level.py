"""Limits by level of a hierarchy: parents stand for the levels below them, and unseen levels keep their limit."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from freightrisk import (
    ByLevel,
    Cover,
    Factor,
    FreightSchedule,
    FrequencyModel,
    Hierarchy,
    InputError,
    OrderBook,
    ScheduleSeverity,
    SeverityModel,
    Tariff,
)
from freightrisk.tariff.document import parse_tariff
from freightrisk.tariff.parts import document_of
from freightrisk.tariff.rates import limit_table
from strategies import tree_coding

TREE = Hierarchy("category", ["a", "b", "c"], unseen="parent")
LEAVES = tuple((a, b, c) for a in "xy" for b in "pq" for c in "123")
amounts = st.integers(1, 4).map(lambda k: 10.0 * k)
paths = st.sampled_from(sorted({path[:depth] for path in LEAVES for depth in (1, 2, 3)}))


def named(path):
    return " > ".join(path)


def amount_of(values, default, coding, path):
    """Return what ByLevel says of one path, seen or not, read word by word from its docstring."""
    for depth in range(len(path), 0, -1):
        if named(path[:depth]) in values:
            return values[named(path[:depth])]
    if path in coding.lookup:
        return default
    parents = [path[:depth] for depth in range(len(path), -1, -1) if path[:depth] in coding.nodes]
    below = [amount_of(values, default, coding, leaf) for leaf in coding.paths if leaf[: len(parents[0])] == parents[0]]
    if parents[0] and len(set(below)) == 1:
        return below[0]
    return max(below) if default is None else default


@given(
    leaves=st.sets(st.sampled_from(LEAVES), min_size=2),
    values=st.dictionaries(paths, amounts, min_size=1),
    default=st.none() | amounts,
)
def test_every_level_and_every_unseen_level_has_the_amount_that_by_level_says(leaves, values, default):
    coding = tree_coding(TREE, tuple(sorted(leaves)))
    known = {*coding.paths, *coding.nodes}
    values = {named(path): amount for path, amount in values.items() if path in known}
    assume(values)
    wanted = [amount_of(values, default, coding, leaf) for leaf in coding.paths]
    if None in wanted:
        with pytest.raises(InputError, match="list them or their parents, or give a default"):
            limit_table(ByLevel("category", values, default=default), {"category": coding})
        return
    table = limit_table(ByLevel("category", values, default=default), {"category": coding})
    for leaf in LEAVES:  # unseen leaves and unseen parents too
        assert table[coding.code_of(leaf)] == amount_of(values, default, coding, leaf), leaf
    assert table[coding.code_of(("new", "p", "1"))] == amount_of(values, default, coding, ("new", "p", "1"))


@given(st.lists(amounts, min_size=len(LEAVES), max_size=len(LEAVES)))
def test_a_parent_is_the_list_of_its_levels(each):
    coding = {"category": tree_coding(TREE, LEAVES)}
    of_parent = {path[:2]: amount for path, amount in zip(LEAVES, each, strict=True)}
    by_parent = ByLevel("category", {named(path): amount for path, amount in of_parent.items()})
    by_leaf = ByLevel("category", {named(path): of_parent[path[:2]] for path in LEAVES})
    np.testing.assert_array_equal(limit_table(by_parent, coding), limit_table(by_leaf, coding))


def furniture():
    rng = np.random.default_rng(4)
    leaf = rng.choice(["sofa", "table", "lamp", "shirt", "dress"], 4_000)
    group = np.where(np.isin(leaf, ["sofa", "table", "lamp"]), "furniture", "clothes")
    orders = pd.DataFrame({"order_id": range(4_000), "group": group, "leaf": leaf})
    claims = orders.assign(freight=np.where(group == "furniture", 60.0, 10.0) * rng.gamma(4.0, 0.25, 4_000))
    factors = [Hierarchy("category", ["group", "leaf"], unseen="parent")]
    return OrderBook.from_frames(orders, claims, factors=factors, ship_date=None, report_date=None)


NEW = pd.DataFrame({"group": ["furniture", "furniture", "clothes"], "leaf": ["sofa", "new", "shirt"]})
PARENT = ByLevel("category", {"furniture": 72.13}, default=24.99)
LISTED = ByLevel("category", {f"furniture > {leaf}": 72.13 for leaf in ("sofa", "table", "lamp")}, default=24.99)


@pytest.mark.parametrize("limit", [PARENT, LISTED], ids=["parent", "leaves"])
def test_a_new_leaf_is_paid_up_to_its_parents_limit_at_every_door(limit):
    book = furniture()
    frequency, severity = FrequencyModel().fit(book), SeverityModel().fit(book)
    tariff = Tariff.build(frequency, severity, cover=Cover(max_claims=None, limit=limit))
    again = parse_tariff(document_of(tariff))
    assert again == tariff
    for one in (tariff, again):
        paid = one.price(NEW)["expected_payout"].to_numpy()
        assert paid[1] == pytest.approx(paid[0], rel=0.05)
        assert paid[1] > 45.0  # under a limit of 24.99 it would be below that
        quotes = [one.quote(order) for order in NEW.to_dict("records")]
        np.testing.assert_allclose([quote["expected_payout"] for quote in quotes], paid, rtol=1e-12)
        assert "72.13" in str(one.explain(NEW.iloc[1].to_dict()))
        assert "24.99" in str(one.explain(NEW.iloc[2].to_dict()))


def test_parents_limit_the_freight_of_a_schedule():
    book = furniture()
    fees = pd.DataFrame({"zone": ["all"], "first_fee": [50.0], "step_fee": [10.0], "first_weight_g": [1000],
                         "step_weight_g": [1000]})  # fmt: skip
    orders = pd.DataFrame({"order_id": range(200), "zone": "all", "group": ["furniture", "clothes"] * 100,
                           "leaf": ["sofa", "shirt"] * 100})  # fmt: skip
    factors = [Factor("zone"), *[coding.declared for coding in book.codings.values()]]
    claims = orders.head(20).assign(freight=50.0)
    book = OrderBook.from_frames(orders, claims, factors=factors, ship_date=None, report_date=None)
    severity = ScheduleSeverity(FreightSchedule(fees), "zone").fit(book, np.full(200, 900))
    limit = ByLevel("category", {"furniture": 40.0}, default=20.0)
    tariff = Tariff.build(FrequencyModel(["category"]).fit(book), severity, cover=Cover(max_claims=None, limit=limit))
    priced = tariff.price(NEW.assign(zone="all"))
    np.testing.assert_allclose(priced["expected_payout"], [40.0, 40.0, 20.0], rtol=1e-12)


@given(
    leaves=st.sets(st.sampled_from(LEAVES), min_size=2),
    values=st.dictionaries(paths, amounts, min_size=1),
    default=amounts,
)
def test_a_listed_level_has_its_amount_or_is_refused(leaves, values, default):
    # A cover that is accepted pays what the contract lists, for levels of the book and for levels never sold.
    coding = tree_coding(TREE, tuple(sorted(leaves)))
    limit = ByLevel("category", {named(path): amount for path, amount in values.items()}, default=default)
    known = {path: amount for path, amount in values.items() if path in {*coding.paths, *coding.nodes}}
    try:
        table = limit_table(limit, {"category": coding})
    except InputError:
        of_known = ByLevel("category", {named(path): one for path, one in known.items()} or {"x": 1.0}, default=default)
        assume(known)
        table = limit_table(of_known, {"category": coding})
        unsold = [path for path in values if path not in known]
        assert any(values[path] != table[coding.code_of((*path, "1", "1")[:3])] for path in unsold)
        return
    for path, amount in values.items():
        if len(path) == 3:
            assert table[coding.code_of(path)] == amount


def test_a_leaf_that_was_never_sold_may_be_listed_with_its_parents_amount():
    book = furniture()
    models = FrequencyModel().fit(book), SeverityModel().fit(book)
    limit = ByLevel("category", {"furniture": 72.13, "furniture > pouf": 72.13}, default=24.99)
    covers = [Cover(max_claims=None, limit=one) for one in (PARENT, limit)]
    one, two = (Tariff.build(*models, cover=cover).price(NEW)["expected_payout"] for cover in covers)
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(("limit", "match"), [
    (ByLevel("category", {"furniture": 72.0, "furniture > pouf": 90.0}, default=20.0),
     "like every other unseen level below 'furniture', and their amount is 72: .* or give 'furniture' its amount"),
    (ByLevel("category", {"toys > kite": 90.0}, default=20.0),
     "like every other unseen level, and their amount is 20: .* or give default= its amount"),
    (ByLevel("category", {"clothes": 9.0, "furniture > sofa": 1.0, "furniture > table": 1.0}),
     "no amount for 1 level of factor 'category' .first: 'furniture > lamp'"),
    (ByLevel("category", {"furnitur": 5.0}, default=1.0), "names level 'furnitur' .*parents .* clothes, furniture"),
    (ByLevel("category", {"furniture": 5.0}), r"no amount for 2 levels of .*'clothes > dress'.* or their parents"),
    (ByLevel("category", {"furniture > (all)": 5.0}, default=1.0), "names level"),
])  # fmt: skip
def test_bad_levels_are_refused(limit, match):
    book = furniture()
    with pytest.raises(InputError, match=match):
        Tariff.build(FrequencyModel().fit(book), SeverityModel().fit(book), cover=Cover(limit=limit))
