"""Limits by level of a hierarchy: parents stand for the levels below them, and unseen levels keep their limit."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from freightrisk import (
    ByLevel,
    Cover,
    Factor,
    FreightSchedule,
    FrequencyModel,
    Hierarchy,
    InputError,
    Limit,
    OrderBook,
    ScheduleSeverity,
    SeverityModel,
    Subsidy,
    Tariff,
    settle,
    simulate_book,
)
from freightrisk.book.factors import OTHER
from freightrisk.events import EventCover
from freightrisk.shapes import ScaleShape
from freightrisk.tariff.document import parse_tariff
from freightrisk.tariff.parts import document_of, plain_of
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
    own = next((depth for depth in range(len(path), 0, -1) if named(path[:depth]) in values), 0)
    pool = coding.paths[coding.lookup[path]] if path in coding.lookup else ()
    if named(pool) in values and len(pool) > own:
        return values[named(pool)]
    if own:
        return values[named(path[:own])]
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


# Rare levels that the book pools

POOLS = ((OTHER,), ("x", OTHER), ("y", OTHER), ("x", "p", OTHER), ("y", "q", OTHER))


@st.composite
def pooled_books(draw):
    """A book of a tree whose leaves have few or many claims, and pools those with few."""
    counts = draw(st.dictionaries(st.sampled_from(LEAVES), st.integers(1, 30), min_size=4))
    rows = [leaf for leaf in sorted(counts) for _ in range(40)]
    claimed = np.concatenate([np.arange(40) < counts[leaf] for leaf in sorted(counts)])
    orders = pd.DataFrame(rows, columns=list("abc")).assign(order_id=range(len(rows)))
    claims = orders.loc[claimed, ["order_id"]].assign(freight=np.arange(claimed.sum()) % 3 + 8.0)
    tree = replace(TREE, min_claims=draw(st.sampled_from([0, 5, 15, 25, 60])))
    return OrderBook.from_frames(orders, claims, factors=[tree], ship_date=None, report_date=None)


@settings(max_examples=60)
@given(
    book=pooled_books(),
    values=st.dictionaries(paths | st.sampled_from(POOLS), amounts, min_size=1, max_size=4),
    default=st.sampled_from([None, 20.0, 30.0, 40.0]),
)
def test_every_order_has_the_amount_of_its_own_path_or_the_tariff_is_refused(book, values, default):
    # The levels that a contract names are the orders' own, whatever the book pools to rate them.
    coding = book.codings["category"]
    known = {*coding.lookup, *coding.nodes}
    values = {named(path): amount for path, amount in values.items() if path in known}
    assume(values)
    models = FrequencyModel(["category"]).fit(book), SeverityModel([]).fit(book)
    cover = Cover(max_claims=None, limit=ByLevel("category", values, default=default))
    wanted = {path: amount_of(values, default, coding, path) for path in coding.lookup}
    try:
        tariff = Tariff.build(*models, cover=cover, shape=ScaleShape(0.5))
    except InputError:
        event("refused")
        slots = {(code, wanted[path]) for path, code in coding.lookup.items()}
        assert None in wanted.values() or len(slots) > coding.n_levels
        return
    event("built")
    orders = pd.DataFrame(LEAVES, columns=list("abc")).assign(order_id=range(len(LEAVES)), freight=500.0)
    unseen = np.array([leaf not in coding.lookup for leaf in LEAVES])
    for part in (orders[unseen], orders[~unseen]):
        paid = settle(tariff, part, report_date=None).claims["paid_fen"] / 100
        leaves = part[["a", "b", "c"]].itertuples(index=False, name=None)
        assert paid.tolist() == [amount_of(values, default, coding, leaf) for leaf in leaves]


def few_books():
    """Return a book in which novels and comics have too few claims, so that both are pooled at the top."""
    leaves = [("home", "lamp")] * 400 + [("toys", "lego")] * 400 + [("books", "novel")] * 30 + [("books", "comic")] * 30
    orders = pd.DataFrame(leaves, columns=["group", "leaf"]).assign(order_id=range(len(leaves)))
    claims = orders.iloc[[*range(0, 800, 8), 801, 830, 850]].assign(freight=lambda rows: 8.0 + np.arange(len(rows)) % 3)
    tree = Hierarchy("category", ["group", "leaf"], unseen="parent", min_claims=20)
    return OrderBook.from_frames(orders, claims, factors=[tree], ship_date=None, report_date=None)


def few_models():
    book = few_books()
    return FrequencyModel(["category"]).fit(book), SeverityModel([]).fit(book)


SHAPE = ScaleShape(0.5)


def few_tariff(limit, **terms):
    return Tariff.build(*few_models(), cover=Cover(limit=limit, **terms), shape=SHAPE)


def first_weight(limit):
    return Tariff.build(*few_models(), cover=Cover(first_weight_fee=limit), shape=SHAPE)


def of_event(limit):
    return EventCover("loss", frequency=few_models()[0], severity=30.0, cover=Cover(limit=limit)).tariff()


def replaced(limit):
    tariff = few_tariff(20.0)
    return replace(tariff, cover=replace(tariff.cover, limit=limit))


@pytest.mark.parametrize("door", [few_tariff, first_weight, of_event, replaced])
@pytest.mark.parametrize(("values", "match"), [
    ({"books": 50.0}, (
     "50 for 'books' of factor 'category', but the book pools 2 rare levels of it (books > comic, books > novel) into "
     "'(other)', where the amount is 12. A tariff gives all levels of a pool one amount. Use rules in its place, such "
     "as limits=[Limit('books', 50, where={'group': ['books']}, priority=1)]; or lower min_claims and min_exposure of "
     "the factor; or give '(other)' the amount 50 too.")),
    ({"books": 50.0, "books > novel": 50.0}, "50 for 'books' of factor 'category', but the book pools 1 rare level"),
    ({"books": 50.0, "(other)": 12.0}, "50 for 'books' of factor 'category', but the book pools 2 rare levels"),
    ({"books": 12.0, "books > novel": 12.0, "home": 30.0},
     "30 for 'home' of factor 'category', but the book pools 1 rare level of it (home > lamp) into '(other)'"),
    ({"books": 50.0, "home": 20.0}, "The same is true of 1 more listed name. A tariff"),
    ({"books > novel": 50.0}, "which the book pools into '(other)' with amount 12; give '(other)' the amount"),
])  # fmt: skip
def test_amounts_that_do_not_reach_pooled_levels_are_refused_at_every_door(door, values, match):
    with pytest.raises(InputError, match=re.escape(match)):
        door(ByLevel("category", values, default=12.0))


@pytest.mark.parametrize("values", [
    {"(other)": 12.0}, {"toys": 50.0}, {"books": 50.0, "(other)": 50.0}, {"books": 12.0}, {"books > novel": 12.0},
    {"books > novel": 50.0, "books": 50.0, "(other)": 50.0},
])  # fmt: skip
@pytest.mark.parametrize("door", [few_tariff, first_weight, of_event, replaced])
def test_amounts_that_reach_all_levels_of_a_pool_are_accepted(door, values):
    assert door(ByLevel("category", values, default=12.0)).cover.level_limits


def test_a_document_from_before_pooled_levels_were_refused_prices_as_before():
    tariff = few_tariff(ByLevel("category", {"toys": 50.0, "books > novel": 12.0}, default=12.0))
    plain = json.loads(json.dumps(plain_of(tariff)))
    plain["cover"]["limit"]["values"] = {"toys": 50.0, "books": 50.0, "books > novel": 50.0}
    del plain["digest"]
    old = parse_tariff(json.dumps(plain).encode())
    orders = pd.DataFrame({"group": ["home", "toys", "books"], "leaf": ["lamp", "lego", "novel"]})
    pd.testing.assert_frame_equal(old.price(orders), tariff.price(orders))
    free = old.with_subsidies([Subsidy("launch", "platform", percent_of_list=1.0)])  # campaigns leave the cover alone
    assert free.price(orders)["list_fen"].tolist() == tariff.price(orders)["list_fen"].tolist()
    covered = replace(old, cover=replace(old.cover, eligible={"group": ["books"]}))
    assert covered.price(orders)["expected_payout"].tolist()[:2] == [0.0, 0.0]


def test_rules_give_the_industries_of_a_simulated_book_their_own_limits():
    sim = simulate_book(3_000, seed=3, n_merchants=40)
    tree = Hierarchy("category_path", ["industry", "category", "leaf"], unseen="parent", min_claims=20)
    book = OrderBook.from_frames(sim.orders, sim.claims, factors=[tree], as_of=sim.as_of)
    models = FrequencyModel(["category_path"]).fit(book), SeverityModel([]).fit(book)
    values = {name: 30.0 + k for k, name in enumerate(sorted(sim.orders["industry"].unique()))}
    with pytest.raises(InputError, match=r"but the book pools .* rare levels of it .* where the amount is 12"):
        Tariff.build(*models, cover=Cover(limit=ByLevel("category_path", values, default=12.0)), shape=SHAPE)
    rules = [Limit(name, amount, where={"industry": [name]}, priority=1) for name, amount in values.items()]
    tariff = Tariff.build(*models, cover=Cover(limits=[Limit("rest", 12.0), *rules]), shape=SHAPE)
    orders = sim.orders.dropna(subset=["ship_date"])
    paid = settle(tariff, orders.assign(freight=900.0), report_date=None).claims["paid_fen"]
    assert (paid / 100).tolist() == orders["industry"].map(values).tolist()
