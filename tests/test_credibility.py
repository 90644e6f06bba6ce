"""Classical credibility: published numbers, the balanced case by hand, and what must not change an estimate."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freightrisk import FitError, InputError
from freightrisk.credibility import buhlmann, buhlmann_straub, jewell

COHORTS = {1: 1, 2: 2, 3: 1, 4: 2, 5: 2}


@pytest.fixture(scope="module")
def hachemeister(shared_data):
    """Mean amounts and claim counts of five states in twelve quarters, one row a cell."""
    wide = pd.read_parquet(shared_data / "credibility" / "hachemeister.parquet").astype({"state": int})
    cells = pd.wide_to_long(wide, ["ratio", "weight"], i="state", j="quarter", sep=".").reset_index()
    return cells.assign(cohort=cells["state"].map(COHORTS))


@pytest.fixture(scope="module")
def published(shared_data):
    """Estimates of R's actuar 3.3.2 on the same data."""
    return json.loads((shared_data / "oracles" / "credibility_and_published.json").read_text())["hachemeister"]


def test_buhlmann_equals_actuar(hachemeister, published):
    fitted, oracle = buhlmann(hachemeister, risk="state", value="ratio"), published["buhlmann"]
    assert fitted.collective == pytest.approx(oracle["collective"], rel=1e-12)
    assert fitted.between == pytest.approx((oracle["between"],), rel=1e-10)
    assert fitted.within == pytest.approx(oracle["within"], rel=1e-10)
    assert fitted.table["premium"].tolist() == pytest.approx(oracle["premium"], rel=1e-10)


def test_buhlmann_straub_equals_actuar(hachemeister, published):
    fitted, oracle = by_weight(hachemeister, "state"), published["buhlmann_straub"]
    assert fitted.collective == pytest.approx(oracle["collective"], rel=1e-12)
    assert fitted.between == pytest.approx((oracle["between"],), rel=1e-10)
    assert fitted.within == pytest.approx(oracle["within"], rel=1e-12)
    assert fitted.table["credibility_z"].tolist() == pytest.approx(oracle["z"], rel=1e-10)
    assert fitted.table["premium"].tolist() == pytest.approx(oracle["premium"], rel=1e-10)


def test_iterated_variances_equal_actuar(hachemeister, published):
    # actuar stops its iteration at a change of 1.5e-8.
    fitted = by_weight(hachemeister, "state", method="iterative")
    oracle = published["buhlmann_straub_iterative"]
    assert fitted.between == pytest.approx((oracle["between"],), rel=1e-8)
    assert fitted.table["premium"].tolist() == pytest.approx(oracle["premium"], rel=1e-9)
    fitted = jewell(hachemeister, path=["cohort", "state"], value="ratio", weight="weight")
    oracle = published["hierarchical_cohort_1_2_1_2_2_iterative"]
    assert fitted.collective == pytest.approx(oracle["collective"], rel=1e-9)
    assert fitted.between == pytest.approx((oracle["between_cohort"], oracle["between_state"]), rel=1e-7)
    assert fitted.levels[0]["premium"].tolist() == pytest.approx(oracle["cohort_premium"], rel=1e-9)
    by_state = fitted.table.sort_values("state")["premium"].tolist()
    assert by_state == pytest.approx(oracle["state_premium"], rel=1e-9)


def by_weight(cells, risk, **options):
    return buhlmann_straub(cells, risk=risk, value="ratio", weight="weight", **options)


@st.composite
def books(draw):
    """Cells of some risks in two industries, each risk observed at least twice."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    counts = draw(st.lists(st.integers(2, 5), min_size=4, max_size=9))
    rows = [(f"i{k % 2}", f"r{k:02d}") for k, n in enumerate(counts) for _ in range(n)]
    cells = pd.DataFrame(rows, columns=["industry", "risk"])
    level = pd.Series(rng.normal(5.0, draw(st.sampled_from([0.0, 0.3, 2.0])), len(counts)))
    mean = level[cells["risk"].str[1:].astype(int)].to_numpy()
    weight = np.round(rng.uniform(0.5, 400.0, len(cells)), 1)
    return cells.assign(weight=weight, ratio=mean + rng.normal(0.0, 4.0, len(cells)) / np.sqrt(weight))


@given(books(), st.sampled_from(["unbiased", "iterative"]))
def test_premium_lies_between_the_risks_own_mean_and_the_collective_one(cells, method):
    fitted = by_weight(cells, "risk", method=method)
    table = fitted.table
    assert table["credibility_z"].between(0.0, 1.0).all()
    ends = np.sort([table["mean"], np.full(len(table), fitted.collective)], axis=0)
    slack = 1e-12 * np.abs(ends[1])
    assert ((table["premium"] >= ends[0] - slack) & (table["premium"] <= ends[1] + slack)).all()
    order = np.argsort(table["weight"].to_numpy())
    assert (np.diff(table["credibility_z"].to_numpy()[order]) >= 0.0).all()


@given(books(), st.sampled_from(["unbiased", "iterative"]))
def test_premiums_weighted_by_exposure_meet_the_observed_total(cells, method):
    # With the credibility-weighted collective mean the premiums are balanced: sum w (mean - premium) = 0.
    table = by_weight(cells, "risk", method=method).table
    gap = table["weight"] @ (table["mean"] - table["premium"])
    assert abs(gap) <= 1e-7 * (table["weight"] @ table["mean"].abs())


@given(books(), st.randoms(use_true_random=False))
def test_order_of_rows_and_unit_change_nothing(cells, random):
    shuffled = cells.sample(frac=1.0, random_state=random.randrange(2**31)).assign(ratio=lambda f: 100 * f["ratio"])
    one = jewell(cells, path=["industry", "risk"], value="ratio", weight="weight")
    other = jewell(shuffled, path=["industry", "risk"], value="ratio", weight="weight")
    for mine, theirs in zip(one.levels, other.levels, strict=True):
        np.testing.assert_allclose(theirs["premium"], 100 * mine["premium"], rtol=1e-7)
        np.testing.assert_allclose(theirs["weight"], mine["weight"], rtol=1e-12)


@given(books())
def test_a_path_of_one_column_is_buhlmann_straub(cells):
    one = jewell(cells, path=["risk"], value="ratio", weight="weight")
    pd.testing.assert_frame_equal(one.table, by_weight(cells, "risk", method="iterative").table)


@given(books(), st.floats(0.01, 100.0))
def test_unit_of_weight_changes_the_variance_within_alone(cells, unit):
    one, other = by_weight(cells, "risk"), by_weight(cells.assign(weight=cells["weight"] * unit), "risk")
    assert other.within == pytest.approx(one.within * unit, rel=1e-9)
    np.testing.assert_allclose(other.table["premium"], one.table["premium"], rtol=1e-9)


def balanced(seed=3, industries=5, leaves=4, times=6):
    """Cells of equal weight in a tree: industry and leaf effects of known variance."""
    rng = np.random.default_rng(seed)
    ranges = [range(industries), range(leaves), range(times)]
    cells = pd.MultiIndex.from_product(ranges, names=["industry", "leaf", "t"]).to_frame(index=False)
    ratio = rng.normal(0, 3.0, industries)[cells["industry"]]
    ratio = ratio + rng.normal(0, 2.0, (industries, leaves))[cells["industry"], cells["leaf"]]
    return cells.assign(ratio=10.0 + ratio + rng.normal(0.0, 1.0, len(cells)), weight=1.0)


def test_balanced_variances_are_those_of_nested_analysis_of_variance():
    cells = balanced()
    fitted = jewell(cells, path=["industry", "leaf"], value="ratio", weight="weight")
    leaf_means = cells.groupby(["industry", "leaf"])["ratio"].mean()
    industry_means = leaf_means.groupby("industry").mean()
    within = cells.groupby(["industry", "leaf"])["ratio"].var().mean()
    between_leaves = leaf_means.groupby("industry").var().mean() - within / 6
    between_industries = industry_means.var() - (between_leaves + within / 6) / 4
    assert fitted.within == pytest.approx(within, rel=1e-12)
    assert fitted.between == pytest.approx((between_industries, between_leaves), rel=1e-9)
    assert fitted.collective == pytest.approx(cells["ratio"].mean(), rel=1e-12)


def test_methods_agree_on_balanced_risks():
    cells = balanced().assign(risk=lambda f: f["industry"] * 10 + f["leaf"])
    unbiased, iterated = by_weight(cells, "risk"), by_weight(cells, "risk", method="iterative")
    assert iterated.between == pytest.approx(unbiased.between, rel=1e-9)


def test_true_variances_are_found():
    cells = balanced(seed=9, industries=400, leaves=10, times=4)
    fitted = jewell(cells, path=["industry", "leaf"], value="ratio", weight="weight")
    assert fitted.between == pytest.approx((9.0, 4.0), rel=0.2)
    assert fitted.within == pytest.approx(1.0, rel=0.05)


def test_risks_that_do_not_differ_take_the_collective_mean():
    cells = pd.DataFrame({"risk": list("aabb"), "ratio": [1.0, 3.0, 1.0, 3.0], "weight": [1.0, 1.0, 2.0, 2.0]})
    for method in ("unbiased", "iterative"):
        fitted = by_weight(cells, "risk", method=method)
        assert fitted.between == pytest.approx((0.0,), abs=1e-9)
        np.testing.assert_allclose(fitted.table["premium"], 2.0, rtol=1e-9)


def test_collective_mean_by_exposure():
    cells = balanced().assign(risk=lambda f: f["industry"], weight=lambda f: 1.0 + f["industry"])
    fitted = by_weight(cells, "risk", collective="weight")
    assert fitted.collective == pytest.approx(np.average(cells["ratio"], weights=cells["weight"]), rel=1e-12)
    assert fitted.collective != by_weight(cells, "risk").collective


def test_absent_cells_are_no_observations():
    cells = balanced().assign(risk=lambda f: f["industry"])
    gaps = pd.concat([cells, cells.head(7).assign(ratio=np.nan, weight=[0.0, np.nan] * 3 + [0.0])])
    pd.testing.assert_frame_equal(by_weight(gaps, "risk").table, by_weight(cells, "risk").table)
    pd.testing.assert_frame_equal(
        buhlmann(gaps, risk="risk", value="ratio").table, buhlmann(cells, risk="risk", value="ratio").table
    )


CELLS = pd.DataFrame({"risk": list("aabb"), "ratio": [1.0, 2.0, 3.0, 5.0], "weight": [1.0, 2.0, 3.0, 4.0]})


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"ratio": [1.0, np.inf, 3.0, 5.0]}, InputError, r"column 'ratio' is infinite in 1 row \(first: 1\)"),
        ({"ratio": [1.0, np.nan, 3.0, 5.0]}, InputError, "column 'ratio' is missing or beyond"),
        ({"weight": [1.0, 0.0, 3.0, 5.0]}, InputError, r"column 'weight' is outside .* 1 row \(first: 1\)"),
        ({"weight": [1.0, 1.0, -3.0, np.nan]}, InputError, r"column 'weight' is missing \(NaN\) in 1 row \(first: 3\)"),
        ({"risk": ["a", None, "b", "b"]}, InputError, r"column 'risk' is missing in 1 row \(first: 1\)"),
        ({"risk": list("abcd")}, FitError, "4 observations of 4 risks .* two outermost groups"),
        ({"risk": list("aaaa")}, FitError, "of 1 risk in 1 outermost group do not"),
    ],
)
def test_bad_cells(change, error, message):
    with pytest.raises(error, match=message):
        by_weight(CELLS.assign(**change), "risk")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: by_weight(CELLS, "leaf"), "frame: missing column 'leaf'"),
        (lambda: by_weight(CELLS, "risk", method="reml"), "method is 'reml'; it must be one of 'unbi"),
        (lambda: by_weight(CELLS, "risk", collective="mean"), "collective is 'mean'"),
        (lambda: jewell(CELLS, path="risk", value="ratio", weight="weight"), "path is 'risk'; give a list of columns"),
        (lambda: jewell(CELLS, path=[], value="ratio", weight="weight"), "path is empty"),
        (lambda: buhlmann([1, 2], risk="risk", value="ratio"), "frame is a list; it must be a pandas, polars"),
    ],
)
def test_bad_calls(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_nested_credibility_foretells_the_next_year_of_workers_compensation(shared_data):
    # Loss ratios of 121 occupation classes: fitted to the first five years, tested on the sixth.
    frame = pd.read_parquet(shared_data / "credibility" / "workers_compensation.parquet")
    frame = frame[frame["PR"] > 0].assign(ratio=lambda rows: rows["LOSS"] / rows["PR"])
    known, ahead = frame[frame["YR"] < 6], frame[frame["YR"] == 6]
    fitted = buhlmann_straub(known, risk="CL", value="ratio", weight="PR")
    nested = jewell(known.assign(tens=known["CL"] // 10), path=["tens", "CL"], value="ratio", weight="PR")
    own = fitted.levels[-1].set_index("CL")

    def error(premium):
        here = premium.reindex(ahead["CL"]).to_numpy()
        kept = ~np.isnan(here)
        return np.average((here - ahead["ratio"].to_numpy())[kept] ** 2, weights=ahead["PR"].to_numpy()[kept])

    alone, together = error(own["mean"]), error(pd.Series(fitted.collective, own.index))
    # Most payroll is in classes that need no other: one collective neither helps nor harms, neighbours help.
    assert error(own["premium"]) == pytest.approx(alone, rel=0.01)
    assert error(nested.levels[-1].set_index("CL")["premium"]) < min(alone, together)


@pytest.mark.parametrize("name", ["weight", "mean", "credibility_z", "premium"])
def test_a_group_may_not_have_the_name_of_a_result(name):
    frame = pd.DataFrame({name: ["a", "a", "b", "b"], "value": [1.0, 2.0, 3.0, 4.0], "w": 1.0})
    with pytest.raises(InputError, match=f"a group has the column '{name}'"):
        buhlmann_straub(frame, risk=name, value="value", weight="w")
