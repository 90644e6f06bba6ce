"""Actual over expected, by group and by decile."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from book_strategies import counted, rating_cells
from freightrisk import FrequencyModel, actual_vs_expected
from freightrisk.errors import InputError
from freightrisk.portfolio.validation import equal_groups

COLUMNS = ["group", "rows", "exposure", "actual", "expected", "ratio", "std_error"]
positive = st.floats(1e-3, 1e3)


@given(
    rows=st.lists(st.tuples(st.integers(0, 9), positive, positive, st.sampled_from("xyz")), min_size=1, max_size=60),
    n_groups=st.integers(1, 12),
)
def test_sums_are_preserved_by_decile_and_by_group(rows, n_groups):
    actual, expected, weight, by = map(np.array, zip(*rows, strict=True))
    for options in ({"n_groups": n_groups}, {"by": by}):
        table = actual_vs_expected(actual, expected, weight=weight, **options)
        assert list(table.columns) == COLUMNS
        for column, values in {
            "rows": np.ones(len(rows)),
            "exposure": weight,
            "actual": actual,
            "expected": expected,
        }.items():
            assert table[column].sum() == pytest.approx(values.sum(), rel=1e-12)
        np.testing.assert_allclose(table["ratio"], table["actual"] / table["expected"], rtol=1e-14)
        np.testing.assert_allclose(table["std_error"], table["expected"] ** -0.5, rtol=1e-14)


@given(
    rows=st.lists(st.tuples(positive, st.floats(0.01, 1.0)), min_size=1, max_size=80),
    n_groups=st.integers(1, 12),
)
@example(rows=[(1.0, 1.0), (1.0, 1.0 - 2.3e-13)], n_groups=3)
def test_groups_are_of_equal_exposure_up_to_a_row_and_rise_with_the_rate(rows, n_groups):
    expected, weight = map(np.array, zip(*rows, strict=True))
    table = actual_vs_expected(np.zeros(len(rows)), expected, weight=weight, n_groups=n_groups)
    assert table["group"].between(1, n_groups).all()
    assert table["group"].is_monotonic_increasing
    rate = np.sort(expected / weight)
    tie = np.searchsorted(rate[np.diff(rate, prepend=0.0) > 1e-12 * rate], expected / weight, side="right")
    tied = pd.Series(weight).groupby(tie).sum().max()
    assert (table["exposure"] <= weight.sum() / n_groups + tied + 1e-9).all()
    rate = table["expected"] / table["exposure"]
    assert (rate.diff().dropna() >= -1e-9 * rate.max()).all()


def test_deciles_of_rows_with_one_exposure_each():
    rng = np.random.default_rng(1)
    expected = rng.permutation(np.arange(1.0, 1001.0))
    table = actual_vs_expected(2 * expected, expected)
    assert table["group"].tolist() == list(range(1, 11))
    assert (table["rows"] == 100).all()
    assert (table["ratio"] == 2.0).all()
    assert table["expected"].tolist() == [float(np.arange(100 * k + 1, 100 * k + 101).sum()) for k in range(10)]


rates = st.sampled_from([0.03, 0.1, 0.1 + 1e-9, 0.7, 1 / 3])


@given(
    rows=st.lists(st.tuples(st.integers(0, 9), rates, st.sampled_from([0.1, 0.3, 0.7, 1.0])), min_size=1, max_size=60),
    n_groups=st.integers(1, 12),
    data=st.data(),
)
def test_equal_predictions_share_a_group_and_the_order_of_the_rows_changes_nothing(rows, n_groups, data):
    actual, rate, weight = map(np.array, zip(*rows, strict=True))
    group = equal_groups(rate * weight / weight, weight, n_groups)
    assert all(len(set(group[rate == value].tolist())) == 1 for value in set(rate.tolist()))
    assert (np.diff(group[np.argsort(rate, kind="stable")]) >= 0).all()
    moved = data.draw(st.permutations(range(len(rows))))
    np.testing.assert_array_equal(equal_groups((rate * weight / weight)[moved], weight[moved], n_groups), group[moved])
    one, other = (
        actual_vs_expected(actual[rows], (rate * weight)[rows], weight=weight[rows], n_groups=n_groups)
        for rows in (slice(None), moved)
    )
    pd.testing.assert_frame_equal(one, other, check_exact=False, rtol=1e-12)


def test_ties_go_to_the_group_of_the_middle_of_their_exposure():
    table = actual_vs_expected([0, 1, 0, 1, 1], [1.0, 2.0, 2.0, 2.0, 3.0], n_groups=5)
    assert table["group"].tolist() == [1, 3, 5]
    assert table["rows"].tolist() == [1, 3, 1]


def test_rows_are_ranked_by_expected_per_exposure():
    table = actual_vs_expected([1, 2, 3, 4], [8.0, 1.0, 2.0, 3.0], weight=[8.0, 0.5, 0.5, 1.0], n_groups=2)
    assert table["rows"].tolist() == [1, 3]
    assert table["actual"].tolist() == [1.0, 9.0]


@pytest.mark.parametrize(
    "by",
    [
        ["far", "near", "far"],
        np.array(["far", "near", "far"]),
        pd.Series(["far", "near", "far"], index=[7, 7, 9]),
        pd.Categorical(["far", "near", "far"], categories=["none", "near", "far"]),
    ],
)
def test_groups_may_be_given(by):
    table = actual_vs_expected([1, 2, 3], [1.0, 4.0, 3.0], by=by).set_index("group")
    assert set(table.index) == {"far", "near"}
    assert table.loc["far", ["rows", "actual", "expected", "ratio"]].tolist() == [2, 4, 4, 1]
    assert table.loc["near", "std_error"] == 0.5


def test_callers_index_does_not_matter():
    frame = pd.DataFrame({"actual": [1.0, 2.0, 3.0], "expected": [1.0, 4.0, 3.0], "zone": list("aba")})
    moved = frame.set_index(pd.Index([9, 5, 9]))
    for by in (None, "zone"):
        one, other = (
            actual_vs_expected(f["actual"], f["expected"], by=by if by is None else f[by], n_groups=2)
            for f in (frame, moved)
        )
        pd.testing.assert_frame_equal(one, other)


@given(cells=rating_cells())
def test_a_poisson_model_meets_its_own_claims_in_every_level(cells):
    book = counted(cells)
    expected = FrequencyModel().fit(book).rates(book) * book.exposure
    for name in book.codes:
        ratio = actual_vs_expected(book.claim_count, expected, weight=book.exposure, by=book.codes[name])["ratio"]
        np.testing.assert_allclose(ratio, 1.0, rtol=1e-6)


def test_std_error_is_that_of_poisson_counts():
    rng = np.random.default_rng(2)
    expected = np.full(40_000, 0.3)
    table = actual_vs_expected(rng.poisson(expected), expected, by=np.arange(40_000) % 400)
    z = (table["ratio"] - 1) / table["std_error"]
    assert abs(z.mean()) < 4 / 20
    assert 0.85 < z.std() < 1.15


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (([1, 2], [1.0]), r"expected has shape \(1,\); it must be one value a row, shape \(2,\)"),
        (([], []), "actual has no rows; give at least one"),
        (([np.nan, 1], [1.0, 1.0]), r"actual is not finite in 1 row \(first: 0\)"),
        (([1, 1], [1.0, np.inf]), r"expected is not finite in 1 row \(first: 1\)"),
        (([1, 1, 1], [1.0, 0.0, -1.0]), r"expected is not above zero in 2 rows \(first: 1, 2\); leave out"),
        (([[1], [1]], [1.0, 1.0]), r"actual has shape \(2, 1\)"),
        ((1.0, 1.0), "actual"),
        ((["one"], [1.0]), "actual"),
    ],
)
def test_bad_rows_are_refused(arguments, match):
    with pytest.raises(InputError, match=match):
        actual_vs_expected(*arguments)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"weight": [1.0]}, r"weight has shape \(1,\)"),
        ({"weight": [1.0, np.nan, 1.0]}, r"weight is not finite in 1 row \(first: 1\)"),
        ({"weight": [1.0, 0.0, -2.0]}, r"weight is not above zero in 2 rows \(first: 1, 2\)"),
        ({"n_groups": 0}, r"n_groups is 0; it must be a whole number in \[1, 1000\]"),
        ({"n_groups": 2.5}, "n_groups is 2.5"),
        ({"by": ["a"]}, r"by has shape \(1,\)"),
        ({"by": [["a"], ["b", "c"]]}, "by holds objects that are not groups; give each row a number, text or day"),
        ({"by": ["a", None, "b"]}, r"by is missing in 1 row \(first: 1\)"),
    ],
)
def test_bad_options_are_refused(options, match):
    with pytest.raises(InputError, match=match):
        actual_vs_expected([1, 0, 2], [1.0, 1.0, 1.0], **options)
