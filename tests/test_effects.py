"""Effects that are shrunk, smooth, monotone, given or joint: against dense referees, laws and simulated truth."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from freightrisk import (
    Band,
    Cover,
    Credibility,
    Factor,
    Free,
    FrequencyModel,
    Given,
    Hierarchy,
    InputError,
    Interaction,
    OrderBook,
    SeverityModel,
    Smooth,
    Solver,
    Tariff,
    load_tariff,
)
from freightrisk.errors import FitError
from freightrisk.models.design import Layout, Tree, free_term, nested_term
from freightrisk.models.passes import Passes, sorted_by_leaf
from freightrisk.models.quadratic import Pivot, Quadratic, Reduced, State, curved, reduce
from freightrisk.models.strengths import _variances, estimate_strengths

FACTORS = (
    Factor("channel"),
    Hierarchy("category", ["industry", "group", "leaf"], unseen="parent"),
    Band("score", [1, 2, 3, 4, 5, 6, 7]),
    Factor("zone", unseen="parent"),
)


def cells(n=4_000, seed=1, rate=0.4):
    """Cells with a nested category, a banded score, a channel and a zone."""
    rng = np.random.default_rng(seed)
    industry = rng.integers(0, 3, n)
    group = industry * 4 + rng.integers(0, 4, n)
    leaf = group * 5 + np.minimum(rng.geometric(0.4, n) - 1, 4)
    frame = pd.DataFrame({"industry": industry, "group": group, "leaf": leaf})
    frame["channel"] = rng.choice(["shelf", "live", "video"], n)
    frame["zone"] = rng.choice(["near", "far"], n)
    frame["score"] = rng.uniform(0.0, 8.0, n)
    frame["insured"] = rng.uniform(0.5, 2.0, n)
    effect = rng.normal(0, 0.5, 3)[industry] + rng.normal(0, 0.4, 12)[group] + rng.normal(0, 0.3, 60)[leaf]
    log_mean = np.log(rate) + effect - 0.15 * frame["score"] + 0.3 * (frame["channel"] == "live")
    frame["claims"] = rng.poisson(frame["insured"] * np.exp(log_mean))
    frame["amount"] = np.where(frame["claims"] > 0, rng.gamma(3.0, 4.0, n) * np.exp(effect), 0.0)
    return frame


def counted(frame, factors=FACTORS, **options):
    """The book of some cells."""
    options = {"claims": "claims", "exposure": "insured"} | options
    return OrderBook.from_counts(frame, factors=list(factors), **options)


def dummies(codes, size):
    """One column a code."""
    return (np.asarray(codes)[:, None] == np.arange(size)).astype(float)


class Dense:
    """A penalised model with its design matrix written out, maximised by plain Newton steps."""

    def __init__(self, book, kind="poisson", rows=slice(None)):
        self.book, self.kind, self.rows = book, kind, rows
        self.columns, self.penalties, self.places = [np.ones((len(self._codes(next(iter(book.codes)))), 1))], [0.0], {}

    def _codes(self, name):
        return self.book.codes[name].astype(int)[self.rows]

    def add(self, name, columns, penalty):
        """Append columns with a penalty matrix."""
        start = sum(part.shape[1] for part in self.columns)
        self.columns.append(columns)
        self.penalties.append(penalty)
        self.places[name] = slice(start, start + columns.shape[1])

    def free(self, name, reference):
        columns = dummies(self._codes(name), self.book.codings[name].n_slots)
        keep = (columns.sum(axis=0) > 0) & (np.arange(columns.shape[1]) != reference)
        self.add(name, columns[:, keep], np.zeros((keep.sum(), keep.sum())))

    def nested(self, name, strengths):
        coding = self.book.codings[name]
        codes = self._codes(name)
        for depth, strength in enumerate(strengths):
            nodes = sorted({path[: depth + 1] for path in coding.paths})
            place = np.array([nodes.index(path[: depth + 1]) for path in coding.paths])
            columns = dummies(place[codes], len(nodes))
            self.add((name, depth), columns, strength * np.eye(len(nodes)))

    def smooth(self, name, order, strength):
        bands = len(self.book.codings[name].paths)
        differences = np.diff(np.eye(bands), n=order, axis=0)[:, 1:]
        self.add(name, dummies(self._codes(name), bands)[:, 1:], strength * differences.T @ differences)

    def pairs(self, first, second, strength):
        size = self.book.codings[second].n_slots
        codes = self._codes(first) * size + self._codes(second)
        _, place = np.unique(codes, return_inverse=True)
        self.add((first, second), dummies(place, place.max() + 1), strength * np.eye(place.max() + 1))

    def fit(self, y, scale):
        """Return the parameters and the inverse of the penalised information at the maximum."""
        from scipy.linalg import block_diag

        x = np.concatenate(self.columns, axis=1)
        penalty = block_diag(*[np.atleast_2d(part) for part in self.penalties])
        beta = np.zeros(x.shape[1])
        beta[0] = np.log(y.sum() / scale.sum())
        for _ in range(60):
            mean = scale * np.exp(x @ beta)
            score, information, expected = self._by_row(y, mean)
            hessian = x.T @ (information[:, None] * x) + penalty
            move = np.linalg.solve(hessian, x.T @ score - penalty @ beta)
            beta += move * min(1.0, 1.0 / np.abs(move).max())
            if np.abs(move).max() < 1e-13:
                break
        self.x, self.beta = x, beta
        self.inverse = np.linalg.inv(x.T @ (expected[:, None] * x) + penalty)
        return self

    def _by_row(self, y, mean):
        if self.kind == "poisson":
            return y - mean, mean, mean
        if self.kind == "gamma":
            return y / mean - 1.0, y / mean, np.ones_like(y)
        p = -np.expm1(-mean)
        expected = mean**2 * (1 - p) / p
        return mean * (y - p) / p, expected, expected

    def mean(self):
        return np.exp(self.x @ self.beta)


EFFECTS = [
    "channel",
    Credibility("category", variance=(0.3, 0.2, 0.1)),
    Smooth("score", variance=0.01),
    Interaction("channel", "zone", variance=0.05),
    "zone",
]


def dense_of(book, fitted, kind, rows=slice(None)):
    """The dense twin of EFFECTS at the strengths of a fit."""
    scale = fitted.dispersion if kind == "gamma" else 1.0
    dense = Dense(book, kind, rows)
    dense.free("channel", fitted.references["channel"])
    dense.free("zone", fitted.references["zone"])
    dense.nested("category", [scale / v for v in (0.3, 0.2, 0.1)])
    dense.smooth("score", 2, scale / 0.01)
    dense.pairs("channel", "zone", scale / 0.05)
    return dense


# --- referees ------------------------------------------------------------------------------------------------------


def test_poisson_equals_a_dense_newton_solution():
    book = counted(cells())
    fitted = FrequencyModel(EFFECTS).fit(book, solver=Solver(tolerance=1e-11))
    dense = dense_of(book, fitted, "poisson").fit(book.claim_count.astype(float), book.exposure)
    np.testing.assert_allclose(fitted.rates(book), dense.mean(), rtol=1e-9)


def test_bernoulli_equals_a_dense_newton_solution():
    frame = cells(rate=0.2)
    frame["claims"] = np.minimum(frame["claims"], 1)
    book = counted(frame)
    fitted = FrequencyModel(EFFECTS, family="bernoulli").fit(book, solver=Solver(tolerance=1e-11, max_iterations=200))
    dense = dense_of(book, fitted, "bernoulli").fit(book.claim_count.astype(float), book.exposure)
    np.testing.assert_allclose(fitted.rates(book) / fitted.off_balance, dense.mean(), rtol=1e-9)


def test_gamma_equals_a_dense_newton_solution():
    frame = cells()
    frame = frame[frame["claims"] > 0].assign(claims=1)
    book = counted(frame, exposure=None, amount="amount")
    fitted = SeverityModel(EFFECTS).fit(book, solver=Solver(tolerance=1e-11, max_iterations=200))
    dense = dense_of(book, fitted, "gamma").fit(np.asarray(book.claim_amount), np.ones(len(frame)))
    np.testing.assert_allclose(
        fitted.rates(book) / fitted.off_balance, dense.mean(), rtol=1e-7
    )  # dispersion settles to 1e-6


def test_standard_errors_are_those_of_the_dense_inverse():
    book = counted(cells())
    fitted = FrequencyModel(EFFECTS).fit(book, solver=Solver(tolerance=1e-11))
    dense = dense_of(book, fitted, "poisson").fit(book.claim_count.astype(float), book.exposure)
    for name in ("category", "score"):
        table, size = fitted.tables[name], book.codings[name].n_levels
        rows = np.zeros((size, dense.x.shape[1]))
        for code in range(size):
            at = int(np.flatnonzero(book.codes[name] == code)[0])
            for key, place in dense.places.items():
                if key == name or key[0] == name:
                    rows[code, place] = dense.x[at, place]
        pull = fitted.exposure[name][:size] * np.exp(table[:size])
        apart = rows - (pull / pull.sum()) @ rows
        errors = np.sqrt(np.einsum("ij,jk,ik->i", apart, dense.inverse, apart))
        np.testing.assert_allclose(fitted.std_errors[name][:size], errors, rtol=1e-7)
    centred = np.zeros(dense.x.shape[1])
    centred[0] = 1.0
    for name in ("category", "score"):
        size = book.codings[name].n_levels
        pull = fitted.exposure[name][:size] * np.exp(fitted.tables[name][:size])
        for code in range(size):
            at = int(np.flatnonzero(book.codes[name] == code)[0])
            for key, place in dense.places.items():
                if key == name or key[0] == name:
                    centred[place] += pull[code] / pull.sum() * dense.x[at, place]
    assert fitted.intercept_std_error == pytest.approx(np.sqrt(centred @ dense.inverse @ centred), rel=1e-7)


def test_two_credibility_effects_equal_a_dense_newton_solution():
    frame = cells()
    frame["merchant"] = np.random.default_rng(4).integers(0, 25, len(frame))
    book = counted(frame, (*FACTORS, Factor("merchant")))
    effects = [Credibility("category", variance=0.2), Credibility("merchant", variance=0.05)]
    fitted = FrequencyModel(effects).fit(book, solver=Solver(tolerance=1e-11))
    dense = Dense(book)
    dense.nested("category", [5.0, 5.0, 5.0])
    dense.nested("merchant", [20.0])
    dense.fit(book.claim_count.astype(float), book.exposure)
    np.testing.assert_allclose(fitted.rates(book), dense.mean(), rtol=1e-9)
    assert list(fitted.credibility("merchant")["depth"].unique()) == [1]


def one_way(groups, each, seed=3):
    """Balanced normal data: group means, and the mean squares between and within."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 0.7, groups)[:, None] + rng.normal(0, 1.3, (groups, each))
    means = values.mean(axis=1)
    between = each * means.var(ddof=1)
    within = ((values - means[:, None]) ** 2).sum() / (groups * (each - 1))
    return values, means, between, within


def test_restricted_likelihood_on_balanced_data():
    # Balanced one-way layout: variance = (mean square between - mean square within) / n, which MixedLM reports too.
    import statsmodels.formula.api as smf

    groups, each = 12, 8
    values, means, between, within = one_way(groups, each)
    tree = Tree(np.arange(groups), (np.zeros(groups, dtype=np.int64),))
    layout = Layout((nested_term("group", "credibility", groups, tree, [None], centred=True),))
    n = groups * each
    quadratic = Quadratic(
        np.array([values.sum()]), np.array([[float(n)]]), each * means, np.full(groups, float(each)),
        np.full((groups, 1), float(each)),
    )  # fmt: skip
    state = State(np.zeros(1), (np.zeros(groups),))
    strengths = estimate_strengths(quadratic, layout, {}, state, np.array([10.0]), within).strengths
    assert within / strengths[0] == pytest.approx((between - within) / each, rel=1e-6)
    frame = pd.DataFrame({"y": values.ravel(), "g": np.repeat(np.arange(groups), each)})
    mixed = smf.mixedlm("y ~ 1", frame, groups="g").fit(reml=True)
    assert within / strengths[0] == pytest.approx(float(mixed.cov_re.iloc[0, 0]), rel=1e-3)


# --- laws ----------------------------------------------------------------------------------------------------------


def test_fitted_claims_balance_at_every_unpenalised_level():
    book = counted(cells())
    fitted = FrequencyModel(["channel", Credibility("category"), Smooth("score"), "zone"]).fit(book)
    expected = fitted.rates(book) * book.exposure
    assert expected.sum() == pytest.approx(book.n_claims, rel=1e-9)
    for name in ("channel", "zone"):
        by_level = np.bincount(book.codes[name], expected)
        np.testing.assert_allclose(by_level, np.bincount(book.codes[name], book.claim_count), rtol=1e-8)


def test_threads_and_chunks_change_nothing(monkeypatch):
    book = counted(cells(20_000))
    model = FrequencyModel(["channel", Credibility("category"), Smooth("score")])
    monkeypatch.setattr("freightrisk.models.passes.CHUNK_ROWS", 1_000)
    one, two = (model.fit(book, solver=Solver(threads=threads)) for threads in (1, 2))
    for name in one.tables:
        assert np.array_equal(one.tables[name], two.tables[name])
    monkeypatch.setattr("freightrisk.models.passes.CHUNK_ROWS", 7_777)
    other = model.fit(book)
    for name in one.tables:
        np.testing.assert_allclose(one.tables[name], other.tables[name], atol=1e-7)


def assert_agree(one, other):
    """Coefficients agree to 1e-9 of their standard errors, variances to 1e-8 of themselves."""
    for name, errors in one.std_errors.items():
        apart = np.abs(one.tables[name] - other.tables[name])[errors > 0] / errors[errors > 0]
        assert apart.max(initial=0.0) < 1e-9
        np.testing.assert_allclose(other.std_errors[name], errors, rtol=1e-7)
    assert one.variances.keys() == other.variances.keys()
    for name, variances in one.variances.items():
        np.testing.assert_allclose(other.variances[name], variances, rtol=1e-8)
    np.testing.assert_allclose(other.dispersion, one.dispersion, rtol=1e-9)


TREE_AND_CURVE = [Credibility("category"), Smooth("score")]


@pytest.mark.parametrize(
    "fit",
    [
        lambda book: FrequencyModel(["channel", "zone", "score"]).fit(book),
        lambda book: FrequencyModel(["channel", Credibility("category"), "zone"]).fit(book),
        lambda book: FrequencyModel(["channel", *TREE_AND_CURVE]).fit(book),
        lambda book: FrequencyModel(["zone", Credibility("channel"), *TREE_AND_CURVE]).fit(book),
        lambda book: FrequencyModel(["zone", *TREE_AND_CURVE], family="negative_binomial").fit(book),
        lambda book: SeverityModel(["channel", "zone", "score"]).fit(book),
        lambda book: SeverityModel([Credibility("channel"), "zone", *TREE_AND_CURVE]).fit(book),
        lambda book: SeverityModel(["zone", *TREE_AND_CURVE], family="lognormal").fit(book),
        lambda book: SeverityModel(["zone", *TREE_AND_CURVE], family="inverse_gaussian").fit(book),
    ],
    ids=["free", "tree", "tree and curve", "two trees", "negative binomial", "gamma", "gamma, trees", "lognormal",
         "inverse Gaussian"],
)  # fmt: skip
def test_last_bits_of_the_sums_change_nothing(fit, monkeypatch):
    # Each kind of processor has other last bits. Here they are random, wider than any processor's, other in each pass.
    book = counted(cells(20_000), amount="amount")
    plain, exact = fit(book), Passes.over
    for seed in range(3):
        rng = np.random.default_rng(seed)

        def over(self, *arguments, rng=rng, **options):
            sums = exact(self, *arguments, **options)
            for array in (sums.cells, sums.totals):
                array *= 1.0 + 2e-16 * rng.integers(-8, 9, array.shape)
            return sums

        with monkeypatch.context() as patch:
            patch.setattr(Passes, "over", over)
            assert_agree(plain, fit(book))


def test_rows_taken_leaf_by_leaf_change_nothing(monkeypatch):
    book = counted(cells(20_000))
    sorted_by = []

    def sorting(problem, leaves, *others):
        sorted_by.append(leaves)
        return sorted_by_leaf(problem, leaves, *others)

    monkeypatch.setattr("freightrisk.models.passes.sorted_by_leaf", sorting)
    monkeypatch.setattr("freightrisk.models.passes.CHUNK_ROWS", 1_000)
    model = FrequencyModel(["channel", Credibility("category"), Smooth("score")])
    plain = model.fit(book)
    monkeypatch.setattr("freightrisk.models.passes.LARGE_CELLS", 1)
    one, two = (model.fit(book, solver=Solver(threads=threads)) for threads in (1, 3))
    assert sorted_by == ["category"] * 2  # not in the plain fit
    for name in one.tables:
        np.testing.assert_array_equal(one.tables[name], two.tables[name])
    assert_agree(plain, one)
    assert one.nodes["category"].labels == plain.nodes["category"].labels
    np.testing.assert_allclose(one.nodes["category"].credibility_z, plain.nodes["category"].credibility_z, rtol=1e-8)


def test_a_start_from_a_sample_ends_at_the_same_solution_with_one_tree_and_with_two(monkeypatch):
    book = counted(cells(20_000))
    for trees in ([Credibility("category")], [Credibility("category"), Credibility("channel")]):
        model = FrequencyModel([*trees, "zone"])
        monkeypatch.undo()
        plain = model.fit(book)
        monkeypatch.setattr("freightrisk.models.table_model.SAMPLE_ROWS", 1_024)
        monkeypatch.setattr("freightrisk.models.table_model.SAMPLE_PIECE", 64)
        sampled = model.fit(book)
        assert (sampled.steps[0].rows == 1_024) == (len(trees) == 1)
        for name in plain.tables:
            np.testing.assert_allclose(sampled.tables[name], plain.tables[name], atol=1e-7)


def test_centred_tables_have_exposure_weighted_mean_one():
    fitted = FrequencyModel([Credibility("category"), Smooth("score")]).fit(counted(cells()))
    for name in ("category", "score"):
        mean = np.average(np.exp(fitted.tables[name]), weights=fitted.exposure[name])
        assert mean == pytest.approx(1.0, rel=1e-12)


def leaves_beside_levels(seed, leaves=200, levels=6):
    """Return the quadratic of counts by leaf and level, its layout and a state to step from."""
    rng = np.random.default_rng(seed)
    expected = rng.gamma(0.3, 5.0, (leaves, 1)) * rng.dirichlet(np.full(levels + 1, 0.8), leaves)
    effect = rng.normal(0.0, rng.uniform(0.1, 1.0), (leaves, 1))
    score = rng.poisson(expected * np.exp(effect)) - expected
    tree = Tree(np.arange(leaves), (np.zeros(leaves, dtype=np.int64),))
    layout = Layout((
        nested_term("leaf", "credibility", leaves, tree, [None], centred=True),
        free_term("level", np.ones(levels + 1, dtype=bool), 0),
    ))  # fmt: skip
    by_level, by_leaf = expected.sum(axis=0)[1:], expected.sum(axis=1)
    matrix = np.block([[np.array([[expected.sum()]]), by_level[None]], [by_level[:, None], np.diag(by_level)]])
    quadratic = Quadratic(
        np.append(score.sum(), score.sum(axis=0)[1:]), matrix, score.sum(axis=1), by_leaf,
        np.column_stack([by_leaf, expected[:, 1:]]),
    )  # fmt: skip
    return quadratic, layout, State(np.zeros(levels + 1), (np.zeros(leaves),))


@given(st.integers(0, 1000), st.floats(0.01, 1e4))
@settings(max_examples=25)
def test_variances_are_a_fixed_point_although_squares_are_kept(seed, start):
    quadratic, layout, state = leaves_beside_levels(seed)
    found = estimate_strengths(quadratic, layout, {}, state, np.array([start]), 1.0)
    exact = reduce(quadratic, layout, {}, found.strengths)
    assume(found.strengths[0] < 1e5)  # else there is no variance, which the fixed point nears ever slower
    again = 1.0 / _variances(exact, layout, state.plus(exact.move(state)))
    np.testing.assert_allclose(again, found.strengths, rtol=1e-6)


@given(st.integers(0, 1000), st.floats(0.1, 100.0), st.floats(-0.3, 0.3))
@example(seed=628, strength=5.0, away=0.25)
@example(seed=986, strength=3.5, away=0.3)
@settings(max_examples=25)
def test_sums_of_squares_close_by_serve(seed, strength, away):
    quadratic, layout, _ = leaves_beside_levels(seed)
    there = reduce(quadratic, layout, {}, np.array([strength * np.exp(away)]))
    exact, near = (reduce(quadratic, layout, {}, np.array([strength]), near=near) for near in (None, there))

    def gap(reduced, name):
        scale = np.sqrt(np.diag(getattr(exact, name)))
        return float((np.abs(getattr(reduced, name) - getattr(exact, name)) / np.outer(scale, scale)).max())

    assert gap(near, "matrix") < 0.05 * abs(away) + 1e-12
    # Of 12,012 slopes the furthest was off by 0.6 of the distance, and by 0.51 of the error without rescaling.
    assert gap(near, "slope") < min(abs(away), 0.75 * gap(there, "slope")) + 1e-12
    same = reduce(quadratic, layout, {}, there.strengths, near=there)
    np.testing.assert_allclose(same.matrix, there.matrix, rtol=1e-12, atol=1e-12)


def test_variance_zero_is_the_parent_and_variance_large_is_own_data():
    frame = cells(20_000, rate=2.0)
    book = counted(frame)
    tight = FrequencyModel([Credibility("category", variance=1e-9)]).fit(book)
    np.testing.assert_allclose(tight.rates(book), book.n_claims / book.exposure.sum(), rtol=1e-4)
    loose = FrequencyModel([Credibility("category", variance=1e6)]).fit(book)
    table = loose.credibility("category").query("depth == 3")
    np.testing.assert_allclose(table["rate"], table["own_rate"], rtol=1e-4)
    assert table["credibility_z"].min() > 0.9999


def test_more_exposure_moves_credibility_toward_own_data():
    frame = cells()
    z = []
    for times in (1, 3, 10):
        many = frame.assign(insured=frame["insured"] * times, claims=frame["claims"] * times)
        fitted = FrequencyModel([Credibility("category", variance=0.1)]).fit(counted(many))
        z.append(fitted.credibility("category")["credibility_z"].to_numpy())
    assert np.all(np.diff(np.stack(z), axis=0)[:, z[0] < 0.999] > 0)


def test_own_rates_are_claims_over_exposure():
    book = counted(cells())
    table = FrequencyModel([Credibility("category")]).fit(book).credibility("category")
    np.testing.assert_allclose(table["own_rate"], table["claims"] / table["exposure"], rtol=1e-9)
    assert table.groupby("depth")["claims"].sum().tolist() == [book.n_claims] * 3
    between = (table["rate"] - table["own_rate"]) * (table["rate"] - table["parent_rate"])
    assert (between[table["depth"] == 3] <= 1e-6).mean() > 0.8


def test_a_leaf_without_data_has_its_parents_rate():
    frame = cells()
    book = counted(frame)
    fitted = FrequencyModel(["channel", Credibility("category")]).fit(book.select(frame["leaf"].to_numpy() != 7))
    coding = fitted.codings["category"]
    absent = next(k for k, path in enumerate(coding.paths) if path[-1] == 7)
    nodes = fitted.credibility("category").set_index("node")["rate"]
    parent = coding.paths[absent][:2]
    rate = fitted.base * np.exp(fitted.tables["category"])
    assert rate[absent] == pytest.approx(nodes[" > ".join(map(str, parent))], rel=1e-12)
    assert rate[coding.fallback[parent]] == pytest.approx(rate[absent], rel=1e-12)
    assert rate[coding.fallback[parent[:1]]] == pytest.approx(nodes[str(parent[0])], rel=1e-12)
    assert rate[coding.fallback[()]] == pytest.approx(fitted.base, rel=1e-12)
    assert np.isinf(fitted.std_errors["category"][absent])


def test_levels_without_claims_are_fitted():
    frame = cells(600, rate=0.02)
    fitted = FrequencyModel([Credibility("category")]).fit(counted(frame))
    assert (fitted.claims["category"] == 0).any()
    assert np.isfinite(fitted.tables["category"]).all()


@pytest.mark.parametrize(("order", "points"), [(1, 1), (2, 2), (3, 3)])
def test_a_stiff_curve_is_a_polynomial(order, points):
    fitted = FrequencyModel([Smooth("score", order=order, variance=1e-9)]).fit(counted(cells()))
    table = fitted.tables["score"][:8]
    bands = np.arange(8.0)
    fit = np.polyval(np.polyfit(bands, table, points - 1), bands)
    np.testing.assert_allclose(table, fit, atol=1e-4)


def test_an_empty_band_lies_on_the_curve():
    frame = cells()
    book = counted(frame).select(~frame["score"].between(3, 4).to_numpy())
    fitted = FrequencyModel([Smooth("score", variance=0.01)]).fit(book)
    table = fitted.tables["score"]
    assert fitted.exposure["score"][3] == 0
    assert min(table[2], table[4]) - 0.1 < table[3] < max(table[2], table[4]) + 0.1
    assert np.isfinite(fitted.std_errors["score"][3])


@given(seed=st.integers(0, 2**32 - 1), n=st.sampled_from([30, 100, 400, 3_000]), way=st.sampled_from([1, -1]))
def test_monotone_is_monotone_at_every_size(seed, n, way):
    frame = cells(n, seed=seed, rate=1.0)
    frame["score"] = frame["score"].clip(upper=7.9)
    book = counted(frame, [Band("score", [1, 2, 3, 4, 5, 6, 7], min_claims=1), Factor("zone", min_claims=1)])
    direction = {1: "increasing", -1: "decreasing"}[way]
    for effect in (Free("score", monotone=direction), Smooth("score", monotone=direction)):
        fitted = FrequencyModel([effect, "zone"]).fit(book)
        bands = fitted.tables["score"][: book.codings["score"].n_levels]
        assert np.all(way * np.diff(bands) >= 0.0)


def test_monotone_equals_pooled_adjacent_violators():
    # With one factor the constrained Poisson maximum is the isotonic regression of the rates (Barlow et al. 1972).
    from scipy.optimize import isotonic_regression

    book = counted(cells(), [Band("score", list(np.arange(0.4, 8.0, 0.4)))])
    fitted = FrequencyModel([Free("score", monotone="decreasing")]).fit(book, solver=Solver(tolerance=1e-11))
    exposure, claims = fitted.exposure["score"][:-1], fitted.claims["score"][:-1]
    known = isotonic_regression(claims / exposure, weights=exposure, increasing=False).x
    np.testing.assert_allclose(fitted.base * np.exp(fitted.tables["score"][:-1]), known, rtol=1e-8)


def test_an_order_that_holds_changes_nothing():
    frame = cells(40_000, rate=1.0)
    book = counted(frame)
    free = FrequencyModel(["score"]).fit(book, solver=Solver(tolerance=1e-11))
    assert np.all(np.diff(free.tables["score"][:8]) < 0)
    ordered = FrequencyModel([Free("score", monotone="decreasing")]).fit(book, solver=Solver(tolerance=1e-11))
    np.testing.assert_allclose(ordered.tables["score"], free.tables["score"], atol=1e-9)
    np.testing.assert_allclose(ordered.std_errors["score"], free.std_errors["score"], rtol=1e-7)


def test_a_given_table_is_an_offset():
    book = counted(cells())
    filed = {"near": 0.8, "far": 1.7}
    fitted = FrequencyModel(["channel", Given("zone", filed)]).fit(book, solver=Solver(tolerance=1e-11))
    relativity = np.array([filed[path[0]] for path in book.codings["zone"].paths])
    other = FrequencyModel(["channel"]).fit(
        book, offset=np.log(relativity[book.codes["zone"]]), solver=Solver(tolerance=1e-11)
    )
    np.testing.assert_allclose(fitted.tables["channel"], other.tables["channel"], atol=1e-10)
    np.testing.assert_allclose(np.exp(fitted.tables["zone"][:2]), relativity, rtol=1e-14)
    assert fitted.deviance == pytest.approx(other.deviance, rel=1e-12)
    referee = FrequencyModel(["channel", Given("zone", filed)]).fit(book, solver=Solver(engine="statsmodels"))
    np.testing.assert_allclose(fitted.tables["channel"], referee.tables["channel"], atol=1e-8)


def test_given_forms_agree():
    book = counted(cells())
    values = [0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6]
    labels = book.codings["score"].labels
    by_label = dict(zip(labels, values, strict=True))
    one, two = (FrequencyModel([Given("score", form)]).fit(book) for form in (values, by_label))
    np.testing.assert_allclose(one.tables["score"], two.tables["score"])


def test_effective_parameters_run_from_none_to_all():
    book = counted(cells(20_000, rate=2.0))
    few, some, all_ = (
        FrequencyModel([Credibility("category", variance=v)]).fit(book).effective_parameters["category"]
        for v in (1e-9, 0.05, 1e6)
    )
    assert few < 0.01 < some < all_
    assert all_ == pytest.approx(book.codings["category"].n_levels - 1, abs=0.5)


# --- truth ---------------------------------------------------------------------------------------------------------


def test_shrunk_relativities_beat_own_data_and_parent_only():
    rng = np.random.default_rng(11)
    leaves, n = 2_000, 60_000
    truth = np.exp(rng.normal(0, 0.4, 100)[np.arange(leaves) // 20] + rng.normal(0, 0.4, leaves))
    leaf = rng.choice(leaves, n, p=(w := rng.pareto(1.2, leaves) + 0.05) / w.sum())
    frame = pd.DataFrame({"group": leaf // 20, "leaf": leaf, "insured": 1.0})
    frame["claims"] = rng.poisson(0.3 * truth[leaf])
    book = counted(frame, [Hierarchy("category", ["group", "leaf"])])
    fitted = FrequencyModel([Credibility("category")]).fit(book)
    paths = np.array([path[1] for path in book.codings["category"].paths])
    true_rate = 0.3 * truth[paths]
    own = fitted.claims["category"][: len(paths)] / fitted.exposure["category"][: len(paths)]
    by_group = frame.groupby("group")["claims"].mean()
    parent = by_group[paths // 20].to_numpy()
    shrunk = fitted.base * np.exp(fitted.tables["category"][: len(paths)])
    errors = {
        name: ((rate - true_rate) ** 2).mean() for name, rate in (("own", own), ("parent", parent), ("z", shrunk))
    }
    assert errors["z"] < 0.8 * min(errors["own"], errors["parent"])
    assert fitted.variances["category"][1] == pytest.approx(0.16, rel=0.25)


# --- interactions in a tariff --------------------------------------------------------------------------------------


@pytest.fixture
def paired():
    """A tariff whose frequency has an interaction."""
    frame = cells()
    book = counted(frame)
    claims = frame[frame["claims"] > 0].assign(claims=1)
    severity = SeverityModel(["zone"]).fit(counted(claims, list(book.codings.values()), exposure=None, amount="amount"))
    frequency = FrequencyModel(["channel", Interaction("channel", "zone", variance=0.1)]).fit(book)
    return frame, book, frequency, Tariff.build(frequency, severity, cover=Cover(max_claims=None))


def test_a_tariff_prices_an_interaction(paired):
    frame, book, frequency, tariff = paired
    priced = tariff.price(frame)
    np.testing.assert_allclose(priced["claim_intensity"], frequency.rates(book), rtol=1e-12)
    assert tariff.quote(frame.iloc[0].to_dict())["list_fen"] == priced["list_fen"].iloc[0]
    assert "x channel x zone" in str(tariff.explain(frame.iloc[0].to_dict()))


def test_a_tariff_with_an_interaction_survives_its_document(paired, tmp_path):
    frame, _, _, tariff = paired
    tariff.save(tmp_path / "tariff.json")
    loaded = load_tariff(tmp_path / "tariff.json")
    assert loaded.pairs == (("channel", "zone"),)
    pd.testing.assert_frame_equal(loaded.price(frame), tariff.price(frame))


def test_an_unseen_zone_is_flagged_and_has_no_interaction(paired):
    frame, _, _, tariff = paired
    priced = tariff.price(frame.head(3).assign(zone="abroad"))
    channel = tariff.codings["channel"]
    codes = [channel.code_of((value,)) for value in frame["channel"].head(3)]
    assert priced["unseen_level"].all()
    known = tariff.frequency.base * tariff.frequency.tables["channel"][codes]
    np.testing.assert_allclose(priced["claim_intensity"], known, rtol=1e-12)


# --- bad calls -----------------------------------------------------------------------------------------------------

BAD = [
    ([Free("score", monotone="decreasing"), Free("score")], "'score' occurs twice"),
    ([Smooth("zone")], "'zone' is not a Band, so its levels have no order for a smooth effect"),
    ([Free("zone", monotone="increasing")], "'zone' is not a Band, so its levels have no order for a monotone effect"),
    ([Credibility("leaf")], "the book has no factor 'leaf'"),
    ([Interaction("zone", "moon")], "the book has no factor 'moon'"),
    ([3], "3 is neither the name of a factor nor an effect"),
    ([Credibility("category", variance=(0.1, 0.2))], "has 2 values, but its tree has 3 depths"),
    ([Given("zone", {"near": 1.0})], "relativities of factor 'zone' lack 1 of 2 levels"),
    ([Given("zone", [1.0, 2.0, 3.0])], "have 3 values, but the factor has 2 levels"),
]


@pytest.mark.parametrize(("effects", "message"), BAD)
def test_bad_effects_are_refused(effects, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        FrequencyModel(effects).fit(counted(cells(300)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Free("a", monotone="up"), "monotone of factor 'a'"),
        (lambda: Smooth("a", order=4), "order"),
        (lambda: Smooth("a", variance=-1), "variance of factor 'a'"),
        (lambda: Credibility("a", variance=[0.1, 0]), "variance of factor 'a'"),
        (lambda: Given("a", {"x": 0.0}), "a given relativity of factor 'a'"),
        (lambda: Interaction("a", "a"), "needs two factors"),
    ],
)
def test_bad_declarations_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize("effect", [Credibility("zone"), Smooth("score"), Free("score", monotone="decreasing")])
def test_statsmodels_refuses_penalties_and_orders(effect):
    with pytest.raises(InputError, match="engine='statsmodels' fits only free and given effects"):
        FrequencyModel([effect]).fit(counted(cells(300, rate=2.0)), solver=Solver(engine="statsmodels"))


def test_a_level_that_a_monotone_band_determines_is_named():
    rows = pd.DataFrame({"zone": ["near", "far"] * 50, "price": [10.0, 50.0] * 50, "claims": [1, 2] * 50})
    book = OrderBook.from_counts(rows, claims="claims", factors=[Factor("zone"), Band("price", [20.0])])
    with pytest.raises(FitError, match="is a combination of other levels"):
        FrequencyModel(["zone", Free("price", monotone="increasing")]).fit(book)


@given(
    move=st.lists(st.sampled_from([-3.0, -0.4, 0.0, 1e-9, 0.4, 3.0, 40.0, 800.0, 1e5, 1e300]), min_size=1, max_size=6),
    log_information=st.floats(-300.0, 20.0),
    log_strength=st.floats(-12.0, 12.0),
    down=st.booleans(),
)
@example(move=[1e5], log_information=-20.0, log_strength=8.0, down=False)  # a step from the left overflowed
def test_a_curved_step_lies_between_its_bounds(move, log_information, log_strength, down):
    d, h, s = np.array(move), np.full(len(move), 10.0**log_information), 10.0**log_strength
    tree = Tree(np.arange(len(d)), (np.zeros(len(d), int),))
    layout = Layout((nested_term("leaf", "credibility", len(d), tree, [None], centred=True),))
    pivot = Pivot(h, h + s, h / (h + s), np.zeros((len(d), 1)))
    empty = Quadratic(np.zeros(1), np.eye(1), np.zeros(len(d)), h, np.zeros((len(d), 1)))
    reduced = Reduced(empty, layout.tree, np.eye(1), (pivot,), np.zeros(1), np.array([s]), (layout, {}))
    u = curved(reduced, State(np.zeros(1), (d,)), down=down).nodes[0]
    up = d > 0.0
    if down:
        assert ((2.0 * d[~up] <= u[~up]) & (u[~up] <= d[~up])).all()
    else:
        assert np.array_equal(u[~up], d[~up])
    assert (u[up] <= d[up]).all()
    assert (u[up] >= np.log1p(np.minimum(d[up], 1e100)) * (1.0 - 1e-12)).all()
    near = (up | down) & (d > -0.5) & (d <= 3.0) & (s <= h)
    u, d, h = u[near], d[near], h[near]
    assert (np.abs(h * np.expm1(u) + s * u - (h + s) * d) <= 1e-6 * (h + s) * np.abs(d)).all()
