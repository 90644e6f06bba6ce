"""Declarations of rating factors: what a book teaches them, and the code of every value."""

# ruff: noqa: E501 -- one line for each bad call

import enum
import math
import warnings
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freightrisk import Band, Factor, FrequencyModel, Hierarchy, OrderBook
from freightrisk.book.learning import all_bands
from freightrisk.errors import FreightRiskWarning, InputError

TREE = ["industry", "category", "leaf"]


def book_of(frame, *factors, exposure=None):
    """Return the book of rows with one claim each, unless they say otherwise."""
    cells = pd.DataFrame(frame)
    return OrderBook.from_counts(
        cells if "claims" in cells else cells.assign(claims=1),
        claims="claims",
        exposure=exposure,
        factors=list(factors),
    )


def labels_of(book, name):
    """Return the label of every row."""
    coding = book.codings[name]
    return [coding.slot_label(code) for code in book.codes[name].tolist()]


# --- levels --------------------------------------------------------------------------------------------------------


def test_levels_are_sorted_numbers_before_words_before_missing_and_other():
    values = ["shelf", None, 10, 2, "live"]
    frame = {"x": np.array(values * 2, dtype=object), "claims": [3, 3, 3, 3, 3, 3, 3, 3, 3, 0]}
    assert book_of(frame, Factor("x", missing="level")).codings["x"].labels == (
        "2", "10", "live", "shelf", "(missing)",
    )  # fmt: skip


def test_levels_do_not_depend_on_the_order_of_the_rows_or_of_categories():
    values = ["b", "a", "c", "a"]
    plain = book_of({"x": values}, Factor("x"))
    category = book_of({"x": pd.Categorical(values, categories=["c", "b", "a", "unused"])}, Factor("x"))
    assert plain.codings == category.codings
    assert labels_of(plain, "x") == labels_of(category, "x") == values


def test_column_may_have_another_name():
    book = book_of(
        {"ch": ["a", "b"], "kg": [0.5, 3.0]}, Factor("channel", column="ch"), Band("weight", [1], column="kg")
    )
    assert labels_of(book, "channel") == ["a", "b"]
    assert labels_of(book, "weight") == ["(-inf, 1]", "(1, inf)"]


def test_missing_values_get_a_level_of_their_own():
    frame = {"x": ["a", None, "b", None], "kg": [1.0, np.nan, 2.0, 3.0]}
    book = book_of(frame, Factor("x", missing="level"), Band("kg", [1.5], missing="level"))
    assert labels_of(book, "x") == ["a", "(missing)", "b", "(missing)"]
    assert labels_of(book, "kg") == ["(-inf, 1.5]", "(missing)", "(1.5, inf)", "(1.5, inf)"]


@pytest.mark.parametrize(
    ("n_levels", "dtype"),
    [(1, np.uint8), (255, np.uint8), (256, np.uint16), (300, np.uint16), (70_000, np.uint32)],
)
def test_codes_are_as_narrow_as_levels_and_fallback_allow(n_levels, dtype):
    values = np.arange(n_levels)[::-1]
    book = book_of({"x": values}, Factor("x"))
    assert book.codes["x"].dtype == dtype
    assert (book.codings["x"].n_levels, book.codings["x"].n_slots) == (n_levels, n_levels + 1)
    np.testing.assert_array_equal(book.codes["x"], values)


# --- bands ---------------------------------------------------------------------------------------------------------


def test_bands_are_closed_on_the_right():
    values = [0.0, 1.0, math.nextafter(1.0, 2.0), 2.0, math.nextafter(2.0, 3.0), 1e9]
    book = book_of({"kg": values}, Band("kg", [1, 2]))
    assert book.codes["kg"].tolist() == [0, 0, 1, 1, 2, 2]
    assert book.codings["kg"].labels == ("(-inf, 1]", "(1, 2]", "(2, inf)")


@given(
    values=st.lists(st.floats(0, 100, allow_nan=False), min_size=1, max_size=40),
    edges=st.lists(st.integers(0, 100), min_size=1, max_size=6, unique=True),
)
def test_bands_agree_with_pandas(values, edges):
    edges = sorted(edges)
    every_band = [*edges, edges[-1] + 1]
    coding = book_of({"kg": every_band}, Band("kg", edges)).codings["kg"]
    ours = [coding.encode_one({"kg": value}) for value in values]
    assert ours == pd.cut(values, [-np.inf, *edges, np.inf], right=True, labels=False).tolist()


@given(st.lists(st.integers(1, 10**5), min_size=2, max_size=300), st.sampled_from([2, 4, 5, 8, 10, 20]))
def test_edges_at_quantiles_are_decimals_without_rounding_errors(cents, bands):
    coding = book_of({"kg": np.array(cents) / 100}, Band("kg", bands)).codings["kg"]
    ordered = sorted(cents)
    exact = set()
    for k in range(1, bands):
        low, rest = divmod(k * (len(cents) - 1), bands)
        step = ordered[min(low + 1, len(cents) - 1)] - ordered[low]
        exact.add(float(Fraction(ordered[low] * bands + step * rest, 100 * bands)))
    assert set(coding.edges) <= exact  # 195.0, and not 195.00000000000003


def test_empty_bands_are_merged_with_their_neighbour():
    coding = book_of({"kg": [0.5, 0.7, 5.0]}, Band("kg", [1, 2, 3, 9])).codings["kg"]
    assert coding.edges == (1.0,)


@pytest.mark.parametrize(
    ("claims", "edges"),
    [
        ([9, 9, 9, 9], (1.0, 2.0, 3.0)),
        ([1, 9, 9, 9], (2.0, 3.0)),  # a rare band goes up
        ([9, 1, 9, 9], (1.0, 3.0)),
        ([9, 9, 9, 1], (1.0, 2.0)),  # the last one goes down
        ([9, 9, 2, 2], (1.0, 2.0)),
        ([2, 2, 2, 2], (2.0,)),
        ([1, 1, 1, 0], ()),
    ],
)
def test_rare_bands_are_merged(claims, edges):
    frame = {"kg": [0.5, 1.5, 2.5, 3.5], "claims": claims}
    assert book_of(frame, Band("kg", [1, 2, 3], min_claims=4)).codings["kg"].edges == edges


@given(
    claims=st.lists(st.integers(0, 6), min_size=2, max_size=9),
    exposure=st.lists(st.integers(1, 6), min_size=2, max_size=9),
    least=st.integers(0, 8),
)
def test_merged_bands_keep_the_edges_they_can_and_are_never_rare(claims, exposure, least):
    n = min(len(claims), len(exposure))
    frame = {"kg": np.arange(n) + 0.5, "claims": claims[:n], "insured": np.array(exposure[:n], dtype=float)}
    declared = Band("kg", range(1, n), min_claims=least, min_exposure=float(least))
    book = book_of(frame, declared, exposure="insured")
    coding, codes = book.codings["kg"], book.codes["kg"]
    assert set(coding.edges) <= set(declared.edges)
    if coding.n_levels > 1:
        assert np.bincount(codes, book.claim_count).min() >= least
        assert np.bincount(codes, book.exposure).min() >= least
    assert len(np.unique(codes)) == coding.n_levels


def test_quantile_bands_hold_equal_numbers_of_rows():
    values = np.random.default_rng(1).permutation(np.arange(1_000) / 8)
    book = book_of({"kg": values}, Band("kg", 8))
    assert np.bincount(book.codes["kg"]).tolist() == [125] * 8


@given(values=st.lists(st.sampled_from([1.0, 2.0, 2.5, 7.0]), min_size=1, max_size=30), bands=st.integers(2, 12))
def test_quantile_bands_of_ties_are_never_empty(values, bands):
    book = book_of({"kg": values}, Band("kg", bands))
    assert len(np.unique(book.codes["kg"])) == book.codings["kg"].n_levels <= bands


@given(edges=st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=8, unique=True))
def test_band_labels_are_distinct_and_show_their_edges_exactly(edges):
    edges = sorted({edge + 0.0 for edge in edges})
    coding = all_bands(Band("x", edges, valid=(-math.inf, math.inf)), tuple(edges), missing=True)
    assert len(set(coding.labels)) == len(edges) + 2
    shown = [label[1:-1].split(", ") for label in coding.labels[:-1]]
    assert [(float(low), float(high)) for low, high in shown] == list(pairwise([-math.inf, *edges, math.inf]))


def test_band_labels_are_short_where_the_edge_is():
    coding = book_of(
        {"x": [1_000_000, 1_000_001.5, 1_000_003, 1e17]}, Band("x", [1_000_001, 1_000_002, 2.5e16])
    ).codings["x"]
    assert coding.labels == (
        "(-inf, 1000001]", "(1000001, 1000002]", "(1000002, 2.5e+16]", "(2.5e+16, inf)",
    )  # fmt: skip
    assert book_of({"x": [4.75, 4.85]}, Band("x", [4.8])).codings["x"].labels == ("(-inf, 4.8]", "(4.8, inf)")
    grid = np.arange(4.0, 5.0, 0.1)
    assert "(4.6999999999999975, 4.799999999999997]" in all_bands(Band("x", grid), tuple(grid), missing=False).labels


# --- names of levels -----------------------------------------------------------------------------------------------

parts = st.sampled_from([1, "1", 1.5, "1.5", "a", "b", "a > b", "b > a", "(other)", "(all)"])


@given(rows=st.lists(st.tuples(parts, parts), min_size=1, max_size=8), least=st.integers(0, 2))
def test_no_two_levels_share_a_label(rows, least):
    frame = pd.DataFrame({"x": [x for x, _ in rows], "y": [y for _, y in rows]}, dtype=object)
    distinct = [{str(value): value for value in values} for values in (frame["x"], frame["y"])]
    paths = {" > ".join(map(str, row)): row for row in rows}
    if (
        any(len(values) < frame[name].nunique() for values, name in zip(distinct, "xy", strict=True))
        or len(paths) < len(set(rows))
        or {"(all)", "(other)"} & (distinct[0].keys() | distinct[1].keys())
    ):
        with pytest.raises(InputError, match=r"both spelled|stands for other levels"):
            book_of(frame, *(Factor(name, min_claims=least) for name in "xy"), Hierarchy("path", ["x", "y"]))
        return
    book = book_of(frame, Factor("x", min_claims=least), Hierarchy("path", ["x", "y"], min_claims=least))
    for coding in book.codings.values():
        slots = [coding.slot_label(code) for code in range(coding.n_slots)]
        assert len(set(slots)) == coding.n_slots
        spelled = [" > ".join(map(str, path)) for path in coding.lookup]
        assert len(set(spelled)) == len(coding.lookup)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"x": [1, "1", "a"]}, "factor 'x': 1 and '1' are two levels that are both spelled '1', so .* rename one"),
        ({"x": ["True", True, "a"]}, "True.* are two levels that are both spelled 'True'"),
        (
            {"x": ["(all)", "a", "a"]},
            r"column 'x' is the text '\(all\)', which stands for other levels in tables in 1 row",
        ),
    ],
)
def test_levels_of_one_name_are_refused(values, match):
    with pytest.raises(InputError, match=match):
        book_of({name: np.array(column, dtype=object) for name, column in values.items()}, Factor("x"))


def test_paths_of_one_name_are_refused():
    frame = {"top": ["x", "x > y"], "leaf": ["y > z", "z"]}
    match = r"factor 'h': \('x', 'y > z'\) and \('x > y', 'z'\) are two levels that are both spelled 'x > y > z'"
    with pytest.raises(InputError, match=match):
        book_of(frame, Hierarchy("h", ["top", "leaf"]))


# --- rare levels ---------------------------------------------------------------------------------------------------


def test_rare_levels_of_a_flat_factor_become_other():
    frame = {"x": list("abcd"), "claims": [9, 2, 3, 8]}
    book = book_of(frame, Factor("x", min_claims=4))
    assert labels_of(book, "x") == ["a", "(other)", "(other)", "d"]
    assert book.codings["x"].lookup == {("a",): 0, ("b",): 2, ("c",): 2, ("d",): 1, ("(other)",): 2}


def test_a_pool_that_is_still_rare_takes_in_the_smallest_level():
    frame = {"x": list("abcd"), "claims": [9, 2, 5, 8]}
    assert labels_of(book_of(frame, Factor("x", min_claims=4)), "x") == ["a", "(other)", "(other)", "d"]


def test_levels_are_rare_by_exposure_too():
    frame = {"x": list("aabc"), "insured": [3.0, 3.0, 5.0, 5.5]}
    book = book_of(frame, Factor("x", min_exposure=6.0), exposure="insured")
    assert labels_of(book, "x") == ["a", "a", "(other)", "(other)"]


def test_a_missing_level_can_be_pooled_as_rare():
    frame = {"x": ["a", "b", None, "c"], "claims": [9, 9, 1, 3]}
    book = book_of(frame, Factor("x", missing="level", min_claims=4))
    assert labels_of(book, "x") == ["a", "b", "(other)", "(other)"]


TREE_ROWS = pd.DataFrame(
    [
        ("wear", "dress", "mini", 20),
        ("wear", "dress", "midi", 3),
        ("wear", "dress", "maxi", 4),
        ("wear", "coats", "down", 20),
        ("wear", "coats", "wool", 1),
        ("wear", "shirt", "polo", 2),
        ("books", "maps", "city", 1),
    ],
    columns=[*TREE, "claims"],
)


def test_rare_leaves_are_pooled_under_their_parent_and_a_rare_pool_under_its_own():
    book = book_of(TREE_ROWS[:6], Hierarchy("path", TREE, min_claims=3))
    assert labels_of(book, "path") == [
        "wear > dress > mini",
        "wear > dress > midi",
        "wear > dress > maxi",
        "wear > coats > down",
        "wear > (other)",
        "wear > (other)",
    ]
    pooled = labels_of(book_of(TREE_ROWS[:4], Hierarchy("path", TREE, min_claims=5)), "path")
    assert pooled == ["wear > dress > mini", *["wear > dress > (other)"] * 2, "wear > coats > down"]


def test_a_pool_that_is_rare_in_its_industry_goes_to_the_root():
    book = book_of(TREE_ROWS, Hierarchy("path", TREE, min_claims=3))
    labels = labels_of(book, "path")
    # The one book joins the smallest level that is left, a dress.
    assert labels[6] == labels[1] == "(other)"
    assert labels[4] == labels[5] == "wear > (other)"
    assert TREE_ROWS["claims"].groupby(labels).sum().min() >= 3


@given(
    claims=st.lists(st.integers(0, 9), min_size=12, max_size=12),
    least=st.integers(0, 40),
)
def test_pooled_trees_have_no_rare_level_and_no_leaf_leaves_its_branch(claims, least):
    frame = pd.DataFrame(
        [(i, f"{i}{c}", f"{i}{c}{leaf}") for i in "ab" for c in "xyz" for leaf in "12"], columns=TREE
    ).assign(claims=claims)
    book = book_of(frame, Hierarchy("path", TREE, min_claims=least))
    coding, codes = book.codings["path"], book.codes["path"]
    if coding.n_levels > 1:
        assert np.bincount(codes, book.claim_count).min() >= least
    for row, code in zip(frame[TREE].itertuples(index=False), codes.tolist(), strict=True):
        path = coding.paths[code]
        assert path == tuple(row) or path[-1] == "(other)"
        assert path[:-1] == tuple(row)[: len(path) - 1]


@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from("abcdef"),
            st.sampled_from(["xy", "xz", "wv"]),
            st.sampled_from([1, 1, 1, 0, 2]),
            st.sampled_from([0.1, 0.2, 0.3, 0.7, 1 / 3, 1.0]),
            st.sampled_from([0.5, 1.5, 2.5, 3.5]),
        ),
        min_size=6,
        max_size=25,
    ),
    min_claims=st.integers(0, 4),
    min_exposure=st.sampled_from([0.0, 0.3, 0.6, 1.0]),
    data=st.data(),
)
def test_the_order_of_the_rows_changes_no_level(rows, min_claims, min_exposure, data):
    frame = pd.DataFrame(
        [(leaf, *path, *rest) for leaf, path, *rest in rows],
        columns=["leaf", "industry", "category", "claims", "insured", "kg"],
    )
    places = data.draw(st.permutations(range(len(frame))))
    rules = {"min_claims": min_claims, "min_exposure": min_exposure}
    declared = [Factor("leaf", **rules), Hierarchy("path", TREE, **rules), Band("kg", [1, 2, 3], **rules)]
    for exposure in (None, "insured"):
        one = book_of(frame, *declared, exposure=exposure)
        other = book_of(frame.iloc[places], *declared, exposure=exposure)
        assert other.codings == one.codings
        for name, codes in one.codes.items():
            np.testing.assert_array_equal(other.codes[name], codes[places])


def test_of_rare_levels_that_tie_the_first_level_is_pooled():
    frame = pd.DataFrame({"x": list("dbca"), "claims": [2, 2, 2, 1]})
    for rows in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]):
        assert book_of(frame.iloc[rows], Factor("x", min_claims=2)).codings["x"].labels == ("c", "d", "(other)")


# --- the same levels for another book ------------------------------------------------------------------------------


def test_coding_of_one_book_serves_another():
    first = book_of({"x": list("aabab"), "kg": [0.5, 1.5, 2.5, 2.5, 0.5]}, Factor("x"), Band("kg", [1, 2]))
    second = book_of({"x": list("bb"), "kg": [9.0, 1.0]}, *first.codings.values())
    assert second.codings == first.codings
    assert labels_of(second, "x") == ["b", "b"]
    assert labels_of(second, "kg") == ["(2, inf)", "(-inf, 1]"]
    fitted = FrequencyModel().fit(first)
    assert fitted.rates(second).shape == (2,)


def test_rare_levels_of_one_book_keep_their_pool_in_another():
    first = book_of({"x": list("abc"), "claims": [9, 1, 4]}, Factor("x", min_claims=3))
    second = book_of({"x": list("bca")}, *first.codings.values())
    assert labels_of(second, "x") == ["(other)", "(other)", "a"]


def test_unseen_levels_are_refused_with_their_rows():
    first = book_of({"x": list("ab")}, Factor("x"))
    with pytest.raises(InputError, match=r"factor 'x': level 'z' was not in the book, in 2 rows \(first: 1, 2\)"):
        book_of({"x": list("azz")}, *first.codings.values())
    with pytest.raises(InputError, match="factor 'x': level 'z' was not in the book; correct it"):
        first.codings["x"].encode_one({"x": "z"})


def test_unseen_level_of_a_flat_factor_gets_the_mean_relativity_by_exposure():
    frame = {"x": list("aabc"), "insured": [60.0, 40.0, 30.0, 20.0], "claims": [6, 4, 6, 1]}
    first = book_of(frame, Factor("x", unseen="parent"), exposure="insured")
    fitted = FrequencyModel().fit(first)
    second = book_of({"x": ["new"]}, *first.codings.values())
    assert labels_of(second, "x") == ["(all)"]
    # The mean over the book of a model that balances is the book's own frequency.
    assert fitted.rates(second)[0] == pytest.approx(17 / 150, rel=1e-9)


def test_unseen_leaf_gets_the_mean_of_its_nearest_known_ancestor():
    frame = TREE_ROWS.assign(insured=[100.0, 20.0, 30.0, 400.0, 50.0, 60.0, 70.0])
    first = book_of(frame, Hierarchy("path", TREE, unseen="parent"), exposure="insured")
    fitted = FrequencyModel().fit(first)
    orders = pd.DataFrame(
        [("wear", "dress", "new"), ("wear", "new", "new"), ("new", "dress", "mini"), ("wear", "dress", "mini")],
        columns=TREE,
    )
    second = book_of(orders, *first.codings.values())
    assert labels_of(second, "path") == ["wear > dress > (all)", "wear > (all)", "(all)", "wear > dress > mini"]
    expected = [27 / 150, 50 / 660, 51 / 730, 20 / 100]
    np.testing.assert_allclose(fitted.rates(second), expected, rtol=1e-9)


def test_an_ancestor_whose_leaves_were_all_pooled_hands_on_to_its_parent():
    frame = TREE_ROWS[:6].assign(insured=[100.0, 20.0, 30.0, 400.0, 50.0, 60.0])
    first = book_of(frame, Hierarchy("path", TREE, unseen="parent", min_claims=3), exposure="insured")
    fitted = FrequencyModel().fit(first)
    second = book_of(pd.DataFrame([("wear", "shirt", "new")], columns=TREE), *first.codings.values())
    assert fitted.rates(second)[0] == pytest.approx(50 / 660, rel=1e-9)


def test_a_level_without_rows_in_the_fitted_selection_gets_the_mean():
    book = book_of(
        {"x": list("abc"), "claims": [5, 2, 9], "insured": [10.0, 10.0, 10.0]}, Factor("x"), exposure="insured"
    )
    fitted = FrequencyModel().fit(book.select(np.array([True, True, False])))
    np.testing.assert_allclose(fitted.rates(book), [0.5, 0.2, 0.35], rtol=1e-9)
    row = fitted.relativities.set_index("level").loc["c"]
    assert (row["exposure"], row["claims"], row["lower"]) == (0.0, 0.0, 0.0)
    assert np.isinf(row["std_error"])


@given(
    values=st.lists(st.sampled_from(["a", "b", "c", None]), min_size=4, max_size=12),
    fresh=st.lists(st.sampled_from(["a", "b", "c", "d", None]), min_size=1, max_size=6),
    weights=st.lists(st.floats(0, 9), min_size=12, max_size=12),
)
def test_one_order_and_a_column_of_orders_get_the_same_code(values, fresh, weights):
    declared = [
        Factor("x", missing="level", unseen="parent"),
        Hierarchy("path", ["y", "x"], missing="level", unseen="parent"),
        Band("kg", [1, 4], missing="level", unseen="parent"),
    ]
    first = book_of({"x": values, "y": values[::-1], "kg": weights[: len(values)]}, *declared)
    orders = pd.DataFrame({"x": fresh, "y": fresh[::-1], "kg": [*weights[: len(fresh) - 1], np.nan]})
    second = book_of(orders, *first.codings.values())
    for name, coding in first.codings.items():
        alone = [coding.encode_one(order) for order in orders.to_dict("records")]
        assert second.codes[name].tolist() == alone


def test_encode_one_knows_numpy_scalars_and_missing_of_every_kind():
    coding = book_of({"x": [1, 2, 3]}, Factor("x", unseen="parent", missing="level")).codings["x"]
    assert [coding.encode_one({"x": value}) for value in (np.int8(2), 2.0, np.float32(2.0))] == [1, 1, 1]
    fallbacks = [coding.encode_one({"x": value}) for value in (None, np.nan, pd.NA, pd.NaT, 99)]
    assert fallbacks == [3] * 5


# --- bad declarations and values -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declare", "match"),
    [
        (lambda: Factor(""), "name of a factor is ''"),
        (lambda: Factor(3), "name of a factor is 3"),
        (lambda: Factor("x", missing="drop"), "missing of factor 'x' is 'drop'; it must be one of 'error', 'level'"),
        (lambda: Factor("x", unseen="base"), "unseen of factor 'x' is 'base'; it must be one of 'error', 'parent'"),
        (lambda: Factor("x", min_exposure=-1), "min_exposure of factor 'x' is -1"),
        (lambda: Factor("x", min_exposure=float("nan")), "min_exposure of factor 'x' is nan"),
        (lambda: Factor("x", min_claims=1.5), "min_claims of factor 'x' is 1.5"),
        (lambda: Factor("x", min_claims=-1), "min_claims of factor 'x' is -1"),
        (lambda: Hierarchy("x", []), r"columns of hierarchy 'x' is \[\]; give a list"),
        (lambda: Hierarchy("x", "leaf"), "columns of hierarchy 'x' is 'leaf'; it must be a list"),
        (lambda: Hierarchy("", ["leaf"]), "name of a factor is ''"),
        (lambda: Band("x", [2, 1]), r"edges of band 'x' are \(2.0, 1.0\); .* strictly ascending"),
        (lambda: Band("x", [1, 1]), "strictly ascending"),
        (lambda: Band("x", ["a"]), "an edge of band 'x' is 'a'"),
        (lambda: Band("x", [1, float("inf")]), "an edge of band 'x' is inf"),
        (lambda: Band("x", [float("nan")]), "an edge of band 'x' is nan"),
        (lambda: Band("x", range(256)), "give at most 255"),
        (lambda: Band("x", 1), "edges of band 'x' is 1"),
        (lambda: Band("x", True), "edges of band 'x' is True"),
        (lambda: Band("x", 3.5), "edges of band 'x' is 3.5"),
        (lambda: Band("x", None), "edges of band 'x' is None"),
        (lambda: Band("x", [1], valid=(5, 1)), r"valid of band 'x' is \(5, 1\)"),
        (lambda: Band("x", [1], valid=(0,)), r"valid of band 'x' is \(0,\)"),
        (lambda: Band("x", [1], valid=None), "valid of band 'x' is None"),
    ],
)
def test_bad_declarations_are_refused(declare, match):
    with pytest.raises(InputError, match=match):
        declare()


def test_edges_may_come_from_numpy():
    assert Band("x", np.array([1, 2])).edges == (1.0, 2.0)
    assert Band("x", np.int64(4)).edges == 4


@pytest.mark.parametrize(
    ("frame", "declared", "match"),
    [
        ({"x": ["a", None, "b", None]}, Factor("x"), r"factor 'x': column 'x' is missing in 2 rows \(first: 1, 3\)"),
        ({"x": [1.0, np.nan]}, Factor("x"), r"factor 'x': column 'x' is missing in 1 row \(first: 1\)"),
        ({"a": ["q", "r"], "b": ["s", None]}, Hierarchy("h", ["a", "b"]), r"factor 'h': column 'a', 'b' is missing in 1 row \(first: 1\)"),
        ({"kg": [1.0, np.nan]}, Band("kg", [1]), r"factor 'kg': column 'kg' is missing in 1 row \(first: 1\)"),
        ({"kg": [1.0, -0.5, -2.0]}, Band("kg", [1]), r"column 'kg' is outside \[0, inf\] in 2 rows \(first: 1, 2\)"),
        ({"kg": [np.inf, 1.0]}, Band("kg", [1]), r"column 'kg' is infinite in 1 row \(first: 0\)"),
        ({"score": [4.9, 5.1, 0.0]}, Band("score", [4.5], valid=(1, 5)), r"column 'score' is outside \[1, 5\] in 2 rows \(first: 1, 2\)"),
        ({"kg": ["1", "heavy"]}, Band("kg", [1]), r"column 'kg' is not a number in 1 row \(first: 1\)"),
        ({"y": [1, 2]}, Factor("x"), "missing column 'x'; the columns present are 'y', 'claims'"),
    ],
)  # fmt: skip
def test_bad_values_are_refused(frame, declared, match):
    with pytest.raises(InputError, match=match):
        book_of(frame, declared)


@pytest.mark.parametrize(
    ("order", "match"),
    [
        ({"x": None, "kg": 1.0}, "factor 'x': the value is missing; give a value, or declare missing='level'"),
        ({"x": "z", "kg": 1.0}, "factor 'x': level 'z' was not in the book"),
        ({"x": "a", "kg": -1.0}, r"'kg' is -1, outside \[0, inf\]"),
        ({"x": "a", "kg": "light"}, "'kg' is 'light', which is not a number"),
        ({"x": "a"}, "factor 'kg': the value is missing"),
    ],
)
def test_bad_values_of_one_order_are_refused(order, match):
    codings = book_of({"x": ["a", "b"], "kg": [0.5, 2.0]}, Factor("x"), Band("kg", [1])).codings
    with pytest.raises(InputError, match=match):
        [coding.encode_one(order) for coding in codings.values()]


def test_a_whole_number_beyond_all_doubles_is_refused_as_one():
    with pytest.raises(InputError, match="must be a finite number"):
        Band("weight_kg", [1, 10**400])


# --- what is most likely a slip is told -----------------------------------------------------------------------------

LEAVES = ["dress", "shoe", "toy"]


def coded_after_fit(values, *, unseen="parent", known=LEAVES):
    """Return the codes of some values under a factor that was fitted on others."""
    coding = book_of({"leaf": known}, Factor("leaf", unseen=unseen)).codings["leaf"]
    cells = pd.DataFrame({"leaf": values, "claims": 1})
    return OrderBook.from_counts(cells, claims="claims", factors=[coding]).codes["leaf"]


@pytest.mark.filterwarnings("default:factor .* have levels:freightrisk.errors.FreightRiskWarning")
@given(n_seen=st.integers(0, 2_000), n_unseen=st.integers(0, 60))
def test_unseen_levels_are_told_from_one_in_a_hundred_and_ten_orders_on(n_seen, n_unseen):
    values = ["toy"] * n_seen + ["Dress "] * n_unseen
    if not values:
        return
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", FreightRiskWarning)
        coded_after_fit(values)
    expected = n_unseen >= 10 and n_unseen > 0.01 * len(values)
    assert len(told) == expected
    if expected:
        assert "'Dress ' (text; known is 'dress', text)" in str(told[0].message)


def test_levels_of_another_type_meet_by_spelling_alone():
    known = [101, 102, 103]
    assert coded_after_fit(["101", "103", "102"], known=known).tolist() == [0, 2, 1]
    assert coded_after_fit([101.0, 103.0], known=["101", "102", "103"]).tolist() == [0, 2]
    assert coded_after_fit(["101.0", "0101", " 101"], known=known).tolist() == [3, 3, 3]
    assert coded_after_fit(["True", "false"], known=[True, False]).tolist() == [1, 0]


def test_levels_that_differ_in_case_or_width_alone_are_told():
    with pytest.warns(FreightRiskWarning, match="levels 'Live' and 'live' of column 'x' differ only in width"):
        book_of({"x": ["live", "Live", "shelf"]}, Factor("x"))
    with pytest.warns(FreightRiskWarning, match="differ only in width"):
        book_of({"x": ["Ａ类", "A类"], "y": ["b", "b"]}, Hierarchy("path", ["x", "y"]))
    assert book_of({"x": ["live", "lives"]}, Factor("x")).codings["x"].n_levels == 2


def test_one_is_not_true():
    coding = book_of({"x": [True, False]}, Factor("x", unseen="parent")).codings["x"]
    assert [coding.code_of((value,)) for value in (True, False, 1, 0, "True", "1")] == [1, 0, 2, 2, 1, 2]
    numbered = book_of({"x": [1, 0]}, Factor("x", unseen="parent")).codings["x"]
    assert [numbered.code_of((value,)) for value in (1, 0, True, "1", "True")] == [1, 0, 2, 1, 2]


@pytest.mark.parametrize("text", ["(missing)", "(other)", "(all)"])
def test_texts_that_stand_for_other_levels_are_no_levels(text):
    with pytest.raises(InputError, match="which stands for other levels in tables in 1 row"):
        book_of({"x": ["a", text]}, Factor("x", missing="level"))
    coding = book_of({"x": ["a", None]}, Factor("x", missing="level", unseen="parent")).codings["x"]
    with pytest.raises(InputError, match="rename this level"):
        coding.encode_one({"x": text})


class Zone(str, enum.Enum):  # noqa: UP042 -- whose str() is no value, unlike that of StrEnum
    NEAR = "near"


def test_a_text_of_an_enumeration_is_its_text():
    coding = book_of({"zone": ["far", "near"]}, Factor("zone")).codings["zone"]
    assert coding.encode_one({"zone": Zone.NEAR}) == coding.encode_one({"zone": "near"})
    assert labels_of(book_of({"zone": pd.Series([Zone.NEAR], dtype=object)}, coding), "zone") == ["near"]


def test_a_warning_names_the_callers_own_line():
    with pytest.warns(FreightRiskWarning) as told:
        book_of({"x": ["live", "Live"]}, Factor("x"))
    assert told[0].filename == __file__
