"""The solver: what must not change a fit, and how it starts, steps and gives up."""

import subprocess
import sys
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from book_strategies import assert_same_fit, counted, orders_with_and_without_claim, rating_cells, treatment_contrasts
from freightrisk import FitError, FrequencyModel, OrderBook, SeverityModel, Solver
from freightrisk.book.factors import Hierarchy
from freightrisk.models import passes, table_model
from freightrisk.models.design import Layout, free_term
from freightrisk.models.information import quadratic_of
from freightrisk.models.passes import Passes, Problem
from freightrisk.models.table_model import null_problem, solve

# Books with wild amounts have a large off-balance factor.
pytestmark = pytest.mark.filterwarnings("ignore:the (amounts|claims) of the fitted rows")


TIGHT = Solver(tolerance=1e-12)


def fits(cells, **options):
    """The Poisson and the gamma fit to the same cells."""
    yield FrequencyModel().fit(counted(cells), **options)
    yield SeverityModel().fit(counted(cells, exposure=None, amount="amount"), **options)


def bits(fitted):
    """Every number of a fit."""
    numbers = [fitted.intercept, fitted.deviance, fitted.null_deviance, fitted.log_likelihood, fitted.dispersion]
    return np.concatenate([numbers, fitted.covariance.ravel(), *fitted.tables.values(), *fitted.std_errors.values()])


def big_cells(n, seed=1):
    """Rows sorted by a factor with a heavy tail, so that neighbouring rows are alike."""
    rng = np.random.default_rng(seed)
    cells = pd.DataFrame(
        {
            "zone": np.sort(np.minimum(rng.geometric(0.3, n), 9)),
            "channel": rng.integers(0, 4, n),
            "segment": rng.choice(["new", "old", "large"], n),
            "insured": rng.uniform(0.2, 3.0, n),
        }
    )
    mean = cells["insured"] * np.exp(-1.0 + 0.3 * (cells["zone"] % 3) - 0.2 * cells["channel"])
    cells["claims"] = rng.poisson(mean)
    cells["amount"] = rng.gamma(2.0, 4.0, n) * cells["claims"]
    return cells


# --- laws ----------------------------------------------------------------------------------------------------------


@given(cells=rating_cells(), data=st.data())
def test_order_of_rows_changes_nothing(cells, data):
    rows = data.draw(st.permutations(range(len(cells))))
    for one, other in zip(fits(cells, solver=TIGHT), fits(cells.iloc[rows], solver=TIGHT), strict=True):
        assert_same_fit(one, other, atol=1e-12)
        assert one.deviance == pytest.approx(other.deviance, rel=1e-9, abs=1e-9)


@given(orders=orders_with_and_without_claim(), data=st.data())
def test_order_of_rows_changes_nothing_under_cloglog(orders, data):
    rows = data.draw(st.permutations(range(len(orders))))
    model = FrequencyModel(family="bernoulli")
    one, other = (model.fit(counted(frame), solver=TIGHT) for frame in (orders, orders.iloc[rows]))
    assert_same_fit(one, other, atol=1e-11)


def test_order_of_factors_changes_nothing():
    cells = big_cells(2_000)
    for names in (["segment", "zone", "channel"], ["channel", "segment", "zone"]):
        for model in (FrequencyModel, SeverityModel):
            book = counted(cells, amount="amount")
            one, other = (
                model().fit(book, solver=TIGHT),
                model(names).fit(book, solver=TIGHT),
            )
            assert list(other.tables) == names
            ours, theirs = treatment_contrasts(one), treatment_contrasts(other)
            pd.testing.assert_frame_equal(ours, theirs.reindex(ours.index), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("chunk_rows", [1, 37, 512, 1_000, 10_000])
def test_size_of_chunks_changes_nothing(chunk_rows):
    cells = big_cells(1_500)
    plain = list(fits(cells, solver=TIGHT))
    with mock.patch.object(passes, "CHUNK_ROWS", chunk_rows):
        for one, other in zip(plain, fits(cells, solver=TIGHT), strict=True):
            assert_same_fit(one, other, atol=1e-12)


@pytest.mark.parametrize("family", ["poisson", "bernoulli", "gamma"])
def test_number_of_threads_does_not_change_a_bit(family):
    cells = big_cells(4_000)
    book = counted(cells.assign(claims=cells["claims"].clip(upper=1)), amount="amount")
    model = SeverityModel() if family == "gamma" else FrequencyModel(family=family)
    # Pieces small enough that several threads have work, in the start on a sample too.
    small = {"SAMPLE_ROWS": 512, "SAMPLE_PIECE": 64}
    with mock.patch.multiple(table_model, **small), mock.patch.object(passes, "CHUNK_ROWS", 64):
        alone = bits(model.fit(book, solver=Solver(threads=1)))
        for threads in (2, 3, 7):
            np.testing.assert_array_equal(bits(model.fit(book, solver=Solver(threads=threads))), alone)
        np.testing.assert_array_equal(bits(model.fit(book)), alone)


@pytest.mark.parametrize("order", ["sorted", "shuffled", "claims_last"])
def test_a_start_from_a_sample_ends_at_the_same_solution(order):
    cells = big_cells(6_000)
    if order != "sorted":
        cells = cells.sample(frac=1.0, random_state=1) if order == "shuffled" else cells.sort_values("claims")
    plain = list(fits(cells, solver=TIGHT))
    with mock.patch.multiple(table_model, SAMPLE_ROWS=256, SAMPLE_PIECE=32):
        sampled = list(fits(cells, solver=TIGHT))
    for one, other in zip(plain, sampled, strict=True):
        assert set(one.convergence["rows"]) == {one.n_rows}
        assert other.convergence["rows"].iloc[0] == 256
        assert other.convergence["rows"].iloc[-1] == one.n_rows
        assert_same_fit(one, other, atol=1e-10)


def test_a_level_that_the_sample_lacks_does_not_stop_the_fit():
    # One level stands in rows that no piece of the sample touches.
    cells = big_cells(3_000).sort_values("insured", ignore_index=True)
    cells.loc[100:104, ["zone", "claims"]] = [77, 2]
    plain = FrequencyModel().fit(counted(cells), solver=TIGHT)
    with mock.patch.multiple(table_model, SAMPLE_ROWS=64, SAMPLE_PIECE=16):
        assert 77 not in {
            zone for a, b in table_model._sample_pieces(3_000) for zone in cells["zone"].iloc[a:b].tolist()
        }
        assert_same_fit(plain, FrequencyModel().fit(counted(cells), solver=TIGHT), atol=1e-10)


@given(cells=rating_cells())
def test_strided_weights_and_offsets_are_read_in_their_own_order(cells):
    rng = np.random.default_rng(len(cells))
    weight, offset = rng.uniform(0.5, 2.0, (2, len(cells), 3))
    book = counted(cells)
    one = FrequencyModel().fit(book, weight=weight[:, 1], offset=offset[::-1, 2])
    other = FrequencyModel().fit(book, weight=weight[:, 1].copy(), offset=offset[::-1, 2].copy())
    np.testing.assert_array_equal(bits(one), bits(other))


def test_integer_weights_and_float32_offsets_are_welcome():
    cells = big_cells(300)
    fitted = FrequencyModel().fit(
        counted(cells), weight=np.full(300, 2, dtype=np.int8), offset=np.zeros(300, dtype=np.float32)
    )
    assert_same_fit(fitted, FrequencyModel().fit(counted(cells), weight=np.full(300, 2.0)), atol=1e-12)


# --- what a fit reports --------------------------------------------------------------------------------------------


def test_relativities_show_every_level_with_its_interval_exposure_and_claims():
    cells = big_cells(3_000)
    fitted = FrequencyModel().fit(counted(cells))
    frame = fitted.relativities
    assert list(frame.columns) == [
        "factor", "level", "relativity", "log_relativity", "std_error", "lower", "upper", "exposure", "claims",
    ]  # fmt: skip
    for name, part in frame.groupby("factor"):
        by_level = cells.groupby(cells[name].astype(str))
        part = part.set_index("level")
        np.testing.assert_allclose(part["exposure"], by_level["insured"].sum().reindex(part.index), rtol=1e-12)
        assert part["claims"].tolist() == by_level["claims"].sum().reindex(part.index).tolist()
        reference = part.iloc[fitted.references[name]]
        assert reference["exposure"] == part["exposure"].max()
        assert reference[["relativity", "std_error", "lower", "upper"]].tolist() == [1.0, 0.0, 1.0, 1.0]
    np.testing.assert_allclose(np.log(frame["upper"] / frame["lower"]), 2 * 1.959963984540054 * frame["std_error"])
    assert np.allclose(np.log(frame["relativity"]), frame["log_relativity"])


def test_severity_relativities_show_the_amounts():
    cells = big_cells(500)
    frame = SeverityModel().fit(counted(cells, amount="amount")).relativities
    some = cells[cells["claims"] > 0]
    for name, part in frame.groupby("factor"):
        expected = some.groupby(some[name].astype(str))["amount"].sum().reindex(part["level"])
        np.testing.assert_allclose(part["amount"], expected, rtol=1e-10)


def test_covariance_holds_the_standard_errors_and_the_parameters_their_order():
    fitted = FrequencyModel().fit(counted(big_cells(1_000)))
    assert fitted.covariance.shape == (1 + len(fitted.parameters),) * 2
    np.testing.assert_allclose(fitted.covariance, fitted.covariance.T, rtol=0, atol=1e-15)
    assert np.sqrt(fitted.covariance[0, 0]) == fitted.intercept_std_error
    for k, (name, code) in enumerate(fitted.parameters, start=1):
        assert np.sqrt(fitted.covariance[k, k]) == fitted.std_errors[name][code]
        assert code != fitted.references[name]


def test_convergence_record_rises_to_the_maximum():
    fitted = FrequencyModel().fit(counted(big_cells(1_000)), solver=Solver(tolerance=1e-9))
    record = fitted.convergence
    assert list(record.columns) == ["rows", "objective", "largest_move", "halvings"]
    assert (record["objective"].diff().dropna() > -1e-9).all()
    assert record["largest_move"].iloc[-1] < 1e-9
    assert (record["halvings"] >= 0).all()


def test_summary_names_what_was_fitted():
    fitted = FrequencyModel().fit(counted(big_cells(1_000)))
    text = repr(fitted)
    assert repr(fitted) == text
    for part in ("frequency model, poisson", "rows 1,000", "zone (9)", "converged in", f"{fitted.deviance:,.2f}"):
        assert part in text


def test_criteria_count_the_parameters():
    cells = big_cells(1_000)
    frequency, severity = fits(cells[cells["claims"] > 0])
    for fitted, n_parameters in ((frequency, 14), (severity, 15)):
        assert len(fitted.parameters) == 13
        assert fitted.aic == pytest.approx(2 * n_parameters - 2 * fitted.log_likelihood)
        assert fitted.bic == pytest.approx(np.log(fitted.n_rows) * n_parameters - 2 * fitted.log_likelihood)


def test_a_model_without_factors_is_the_mean():
    cells = big_cells(500)
    frequency = FrequencyModel(()).fit(counted(cells))
    assert frequency.base == pytest.approx(cells["claims"].sum() / cells["insured"].sum(), rel=1e-12)
    assert frequency.deviance == frequency.null_deviance
    assert len(frequency.relativities) == 0
    severity = SeverityModel(()).fit(counted(cells, amount="amount"))
    some = cells[cells["claims"] > 0]
    assert severity.base == pytest.approx(some["amount"].sum() / some["claims"].sum(), rel=1e-9)


def test_predictions_of_a_selection_are_those_of_its_rows():
    book = counted(big_cells(400))
    fitted, rows = FrequencyModel().fit(book), np.arange(400) % 3 == 0
    np.testing.assert_array_equal(fitted.rates(book.select(rows)), fitted.rates(book)[rows])
    expected = fitted.base * np.prod([np.exp(table[book.codes[name]]) for name, table in fitted.tables.items()], axis=0)
    np.testing.assert_allclose(fitted.rates(book), expected, rtol=1e-13)


def test_a_fitted_model_does_not_change():
    fitted = FrequencyModel().fit(counted(big_cells(400)))
    with pytest.raises(AttributeError, match="cannot assign"):
        fitted.intercept = 0.0
    with pytest.raises(TypeError, match="does not change"):
        fitted.tables["zone"] = np.zeros(10)


def test_rows_that_a_model_meets_as_fallbacks_have_a_relativity_of_their_own():
    tree = [Hierarchy("path", ["zone", "channel"], unseen="parent")]
    first = pd.DataFrame({"zone": [1, 1, 2], "channel": [1, 2, 1], "claims": [5, 6, 7]})
    codings = OrderBook.from_counts(first, claims="claims", factors=tree).codings.values()
    later = pd.DataFrame({"zone": [1, 2, 1, 1], "channel": [1, 1, 3, 4], "claims": [5, 7, 20, 40]})
    book = OrderBook.from_counts(later, claims="claims", factors=list(codings))
    fitted = FrequencyModel().fit(book)
    np.testing.assert_allclose(fitted.rates(book), [5.0, 7.0, 30.0, 30.0], rtol=1e-9)
    assert "1 > (all)" in fitted.relativities["level"].tolist()


# --- steps and giving up -------------------------------------------------------------------------------------------


def test_wild_relativities_are_reached_by_halving_steps():
    cells = pd.DataFrame({"zone": [1, 2, 3, 4], "claims": [1, 50_000, 3, 1], "insured": [1e6, 1.0, 1e-3, 1e4]})
    fitted = FrequencyModel().fit(counted(cells))
    book = counted(cells)
    np.testing.assert_allclose(fitted.rates(book) * cells["insured"], cells["claims"], rtol=1e-9)


@pytest.mark.parametrize("rate", [1e-12, 1e-6, 1e5])
def test_rates_of_any_size_are_fitted(rate):
    cells = big_cells(400)
    fitted = FrequencyModel().fit(counted(cells.assign(insured=cells["insured"] / rate)), solver=TIGHT)
    plain = FrequencyModel().fit(counted(cells), solver=TIGHT)
    assert fitted.base == pytest.approx(plain.base * rate, rel=1e-10)


def test_aliased_level_is_named_wherever_it_stands():
    cells = big_cells(600).assign(copy=lambda frame: frame["zone"].astype(str))
    book = counted(cells, factors=("channel", "zone", "copy"))
    with pytest.raises(FitError, match=r"factor 'copy', level '\d' is a combination of other levels in these rows"):
        FrequencyModel().fit(book)


def test_levels_nested_in_another_factor_are_aliased():
    cells = big_cells(600)
    cells["region"] = np.where(cells["zone"] < 3, "near", "far")
    with pytest.raises(FitError, match="is a combination of other levels"):
        FrequencyModel().fit(counted(cells, factors=("region", "zone")))


def test_nearly_aliased_factors_are_still_fitted():
    # All but one row in two thousand agree: the relativities are poorly but truly determined.
    cells = big_cells(2_000).assign(copy=lambda frame: frame["channel"])
    cells.loc[[5, 900, 1_500, 1_999], "copy"] = (cells["channel"] + 1) % 4
    cells.loc[[5, 900, 1_500, 1_999], "claims"] = 2
    fitted = FrequencyModel().fit(counted(cells, factors=("channel", "copy")))
    referee = FrequencyModel().fit(counted(cells, factors=("channel", "copy")), solver=Solver(engine="statsmodels"))
    assert_same_fit(fitted, referee, atol=1e-7)


def test_information_matrix_is_that_of_the_design_matrix():
    rng = np.random.default_rng(3)
    sizes, n = (3, 4, 2), 200
    codes = {f"f{f}": rng.integers(0, size, n).astype(np.uint8) for f, size in enumerate(sizes)}
    problem = Problem("poisson", codes, dict(zip(codes, sizes, strict=True)), rng.poisson(1.0, n).astype(float))
    free = np.array([True, False, True, True, True, True, False, False, True])
    layout = Layout(tuple(map(free_term, codes, (np.ones(size, bool) for size in sizes), (1, 3, 0))))
    tables = np.where(free, rng.normal(size=9), 0.0)
    sums = Passes(problem, layout, 1).over(0.2, tables, [(0, n)])
    dummies = np.column_stack([np.ones(n), *(codes[f"f{f}"] == k for f, size in enumerate(sizes) for k in range(size))])
    design = dummies[:, np.concatenate([[True], free])]
    mean = np.exp(0.2 + dummies[:, 1:] @ tables)
    quadratic = quadratic_of(layout, sums)
    np.testing.assert_allclose(quadratic.matrix, design.T @ (mean[:, None] * design), rtol=1e-12)
    np.testing.assert_allclose(quadratic.gradient, design.T @ (problem.response - mean), rtol=1e-10, atol=1e-12)
    assert layout.level_name(0, {}) == "the base"
    labels = {name: tuple("abcd") for name in codes}
    assert [layout.level_name(k, labels) for k in (1, 3, 6)] == [
        "factor 'f0', level 'a'", "factor 'f1', level 'a'", "factor 'f2', level 'b'",
    ]  # fmt: skip


def test_null_problem_has_a_base_alone():
    problem = Problem("gamma", {"f": np.zeros(3, np.uint8)}, {"f": 1}, np.array([1.0, 2.0, 6.0]))
    solution = solve(null_problem(problem), Layout(()), {}, solver=Solver(tolerance=1e-10, max_iterations=9, threads=1))
    assert np.exp(solution.state.dense) == pytest.approx([3.0], rel=1e-12)
    assert solution.steps[-1].largest_move < 1e-10


def test_a_factor_with_more_levels_than_a_dense_matrix_holds_is_refused():
    with (
        mock.patch.object(table_model, "PARAMETER_LIMIT", 10),
        pytest.raises(FitError, match="has 14 free levels, over"),
    ):
        FrequencyModel().fit(counted(big_cells(600)))


def test_the_first_fit_of_a_process_is_every_later_one_to_the_bit():
    # BLAS is loaded by the first fit, and its threads add up in another order than one thread does.
    script = """
import numpy as np, pandas as pd
import freightrisk as fr
rng = np.random.default_rng(3)
n = 40_000
frame = pd.DataFrame({"leaf": rng.integers(0, 400, n), "zone": rng.integers(0, 200, n), "score": rng.uniform(0, 8, n)})
frame["insured"] = rng.uniform(0.5, 2.0, n)
frame["claims"] = rng.poisson(0.4 * frame["insured"] * np.exp(0.3 * rng.normal(size=400)[frame["leaf"]]))
book = fr.OrderBook.from_counts(frame, claims="claims", exposure="insured", factors=[
    fr.Factor("leaf"), fr.Factor("zone"), fr.Band("score", range(1, 8))])
model = fr.FrequencyModel()
first, *later = [model.fit(book) for _ in range(3)]
for fit in later:
    for part in ("tables", "std_errors"):
        for name, values in getattr(first, part).items():
            assert np.array_equal(values, getattr(fit, part)[name]), (part, name)
    assert (fit.intercept, fit.variances, fit.steps) == (first.intercept, first.variances, first.steps)
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
