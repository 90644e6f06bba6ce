"""The kernel of the fit against its slow twin."""

# ruff: noqa: E501 -- one line for each bad call

from dataclasses import replace
from itertools import combinations, pairwise
from math import prod
from unittest import mock

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from freightrisk import _blocks, _check, _fit, _reference
from freightrisk.errors import InputError
from freightrisk.models import cross as cross_module
from freightrisk.models.cross import CrossTables
from freightrisk.models.design import Layout, free_term
from freightrisk.models.passes import Passes, Problem

FAMILIES = tuple(_fit.FAMILIES)
BLOCK = _blocks.BLOCK_ROWS


def random_problem(seed, n, sizes, family, *, dtypes=None, scaled=True, weighted=True):
    """Rows of one family with code columns of the given sizes."""
    rng = np.random.default_rng(seed)
    dtypes = dtypes or [np.uint8] * len(sizes)
    codes = {
        f"factor_{f}": rng.integers(0, size, n).astype(dtype)
        for f, (size, dtype) in enumerate(zip(sizes, dtypes, strict=True))
    }
    trials = rng.integers(1, 9, n)
    response = {
        "poisson": lambda: rng.poisson(0.4, n),
        "bernoulli": lambda: rng.integers(0, 2, n),
        "gamma": lambda: rng.gamma(2.0, 4.0, n) + 1e-3,
        "negative_binomial": lambda: rng.negative_binomial(0.7, 0.5, n),
        "lognormal": lambda: np.exp(rng.normal(1.0, 0.8, n)),
        "inverse_gaussian": lambda: rng.wald(3.0, 2.0, n) + 1e-3,
        "tweedie": lambda: rng.gamma(2.0, 4.0, n) * rng.integers(0, 2, n),
        "beta_binomial": lambda: rng.binomial(trials, 0.4),
    }[family.removesuffix("_observed")]().astype(np.float64)
    return Problem(
        family,
        codes,
        dict(zip(codes, sizes, strict=True)),
        response,
        rng.uniform(0.1, 3.0, n) if scaled else np.empty(0),
        rng.uniform(0.0, 3.0, n) if weighted else np.empty(0),
        {"negative_binomial": 0.8, "beta_binomial": 0.3 * (seed % 2)}.get(family.removesuffix("_observed"), 1.6),
        trials=trials.astype(np.float64) if family.startswith("beta_binomial") else np.empty(0),
    )


def kernel(problem, base, tables, *, start=0, stop=None, with_pairs=True):
    """The kernel's sums over some rows, called directly."""
    cells, totals, cross = kernel_cells(problem, base, tables, start=start, stop=stop, with_pairs=with_pairs)
    pairs = [cross.pair(cells, f, g).ravel() for f, g in combinations(range(len(tables)), 2)] if with_pairs else []
    gradients, information = (cross.by_level(cells, part, full=with_pairs) for part in (0, 1))
    return gradients, information, np.concatenate([*pairs, np.empty(0)]), totals


def kernel_cells(problem, base, tables, *, start=0, stop=None, with_pairs=True):
    """What the kernel itself writes, and the tables that it fills."""
    cross = CrossTables.of(tuple(problem.sizes.values()))
    n_tables = cross.n_tables(with_pairs)
    cells, totals = np.zeros(cross.n_cells(with_pairs)[1]), np.zeros(4)
    columns = (
        _check.code_columns(problem.codes, problem.sizes)
        if problem.sizes
        else _blocks.CodeColumns([], np.empty(0, np.int64), problem.n_rows)
    )
    stop = problem.n_rows if stop is None else stop
    _fit.accumulate(
        _fit.FAMILIES[problem.family], problem.family_parameter, columns, cross.offsets, base,
        np.concatenate([*tables, np.empty(0)]), _fit.RowValues(problem.arrays), start, stop, cross.members,
        cross.firsts[: n_tables + 1], cross.places(with_pairs), cross.n_gradients, cells, totals,
    )  # fmt: skip
    return cells, totals, cross


def twin(problem, base, tables):
    """The same sums by the reference."""
    ones = np.ones(problem.n_rows)
    gradients, informations, pairs, totals = _reference.accumulate(
        problem.family,
        list(problem.codes.values()),
        tables,
        base,
        y=problem.response,
        multiplier=problem.multiplier if len(problem.multiplier) else ones,
        weight=problem.weight if len(problem.weight) else ones,
        parameter=problem.family_parameter,
        trials=problem.trials if len(problem.trials) else None,
    )
    nothing = [np.empty(0)]
    return (
        np.concatenate(gradients + nothing),
        np.concatenate(informations + nothing),
        np.concatenate([pair.ravel() for pair in pairs] + nothing),
        totals,
    )


def assert_twins(problem, seed):
    rng = np.random.default_rng(seed)
    tables = [rng.uniform(-0.4, 0.4, size) for size in problem.sizes.values()]
    for ours, theirs in zip(kernel(problem, -0.9, tables), twin(problem, -0.9, tables), strict=True):
        # Both add up to n terms, so each may be off by n roundings of the largest.
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-11)


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 3 * BLOCK),
    sizes=st.lists(st.integers(1, 7), max_size=4),
    family=st.sampled_from(FAMILIES),
    scaled=st.booleans(),
    weighted=st.booleans(),
)
@example(seed=1, n=0, sizes=[2, 3], family="poisson", scaled=True, weighted=True)
@example(seed=2, n=1, sizes=[1], family="gamma", scaled=False, weighted=False)
@example(seed=3, n=BLOCK, sizes=[4, 4], family="bernoulli", scaled=True, weighted=False)
@example(seed=4, n=BLOCK - 1, sizes=[], family="poisson", scaled=False, weighted=True)
@example(seed=5, n=2 * BLOCK + 1, sizes=[5, 1, 2], family="gamma", scaled=True, weighted=True)
def test_kernel_equals_its_twin(seed, n, sizes, family, scaled, weighted):
    problem = random_problem(seed, n, sizes, family, scaled=scaled, weighted=weighted)
    assert_twins(problem, seed)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("sizes", "dtypes"),
    [
        ((256, 3), (np.uint8, np.uint8)),
        ((3, 1_000), (np.uint8, np.uint16)),
        ((66_000, 2), (np.uint32, np.uint8)),
        ((5, 6, 7), (np.uint32, np.uint16, np.uint8)),
    ],
)
def test_codes_of_every_width(family, sizes, dtypes):
    problem = random_problem(9, 2_000, sizes, family, dtypes=dtypes)
    for codes, size in zip(problem.codes.values(), sizes, strict=True):
        codes[[0, -1]] = size - 1
    assert_twins(problem, 10)


@pytest.mark.parametrize("family", FAMILIES)
def test_read_only_input(family):
    problem = random_problem(11, 700, (4, 5), family)
    for array in (*problem.codes.values(), problem.response, problem.multiplier, problem.weight):
        array.flags.writeable = False
    assert_twins(problem, 12)


def test_strided_codes_are_read_in_their_own_order():
    problem = random_problem(13, 900, (4, 5), "poisson")
    wide = {name: np.repeat(codes, 3)[::3] for name, codes in problem.codes.items()}
    assert not wide["factor_0"].flags.c_contiguous
    tables = [np.linspace(0, 1, 4), np.linspace(0, 1, 5)]
    strided = Problem("poisson", wide, problem.sizes, problem.response, problem.multiplier, problem.weight)
    for ours, theirs in zip(kernel(strided, 0.1, tables), kernel(problem, 0.1, tables), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("family", FAMILIES)
def test_pieces_add_up_to_the_whole(family):
    problem = random_problem(14, 2_345, (4, 6), family)
    tables = [np.linspace(-1, 1, 4), np.linspace(0, 1, 6)]
    cuts = [0, 1, 511, 512, 513, 2_000, 2_345]
    parts = [kernel(problem, 0.2, tables, start=a, stop=b) for a, b in pairwise(cuts)]
    for k, whole in enumerate(kernel(problem, 0.2, tables)):
        np.testing.assert_allclose(sum(part[k] for part in parts), whole, rtol=1e-11, atol=1e-11)


def test_outputs_are_added_to_and_nothing_past_the_rows_is_read():
    problem = random_problem(15, 600, (3,), "poisson")
    spoilt = Problem(
        "poisson", problem.codes, problem.sizes, problem.response.copy(), problem.multiplier, problem.weight
    )
    spoilt.response[[0, 599]] = np.nan
    tables = [np.zeros(3)]
    for ours, theirs in zip(
        kernel(spoilt, 0.0, tables, start=1, stop=599), kernel(problem, 0.0, tables, start=1, stop=599), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert all(not part.any() for part in kernel(problem, 0.0, tables, start=5, stop=5))


def test_without_pairs_the_other_sums_are_the_same():
    problem = random_problem(16, 1_000, (3, 4), "gamma")
    tables = [np.zeros(3), np.ones(4)]
    gradient, information, pairs, totals = kernel(problem, 0.3, tables, with_pairs=False)
    whole = kernel(problem, 0.3, tables)
    assert len(pairs) == 0
    for ours, theirs in zip((gradient, information, totals), (whole[0], whole[1], whole[3]), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("family", FAMILIES)
def test_levels_and_cross_tables_add_up_to_the_totals(family):
    problem = random_problem(17, 1_500, (3, 4), family)
    gradient, information, pairs, totals = kernel(problem, -1.0, [np.zeros(3), np.ones(4)])
    cross = pairs.reshape(3, 4)
    np.testing.assert_allclose([gradient[:3].sum(), gradient[3:].sum()], totals[2], rtol=1e-11, atol=1e-10)
    np.testing.assert_allclose(cross.sum(axis=1), information[:3], rtol=1e-11)
    np.testing.assert_allclose(cross.sum(axis=0), information[3:], rtol=1e-11)
    assert cross.sum() == pytest.approx(totals[3], rel=1e-11)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("base", [-3.0, -0.4, 0.9])
def test_score_is_the_slope_of_the_objective(family, base):
    problem = random_problem(18, 400, (3,), family)
    tables, step = [np.array([0.0, 0.3, -0.2])], 1e-5
    up, down = (kernel(problem, base + side, tables)[3][0] for side in (step, -step))
    assert kernel(problem, base, tables)[3][2] == pytest.approx((up - down) / (2 * step), rel=1e-6, abs=1e-5)


@pytest.mark.parametrize("family", ["poisson", "lognormal", *(name for name in FAMILIES if "observed" in name)])
@pytest.mark.parametrize("seed", [18, 19])  # lines of an order without correlation, and with it
def test_observed_information_is_the_slope_of_the_score(family, seed):
    problem = random_problem(seed, 400, (3,), family)
    tables, step = [np.array([0.0, 0.3, -0.2])], 1e-5
    up, down = (kernel(problem, -0.4 + side, tables)[3][2] for side in (step, -step))
    assert kernel(problem, -0.4, tables)[3][3] == pytest.approx((down - up) / (2 * step), rel=1e-6)


@pytest.mark.parametrize("base", [-40.0, -9.0, 0.0, 3.0])
def test_cloglog_keeps_its_digits_at_both_ends(base):
    problem = random_problem(19, 300, (2,), "bernoulli", weighted=False)
    mean, none = problem.multiplier * np.exp(base), problem.response == 0
    # With odds = exp(m) - 1: information m^2 / odds, Pearson odds without a claim and 1 / odds with one.
    odds = np.expm1(mean)
    totals = kernel(problem, base, [np.zeros(2)])[3]
    likelihood = np.where(none, -mean, np.log1p(-np.exp(-mean)) if base > 0 else np.log(-np.expm1(-mean)))
    gradient = np.where(none, -mean, mean / odds)
    expected = [likelihood.sum(), np.where(none, odds, 1 / odds).sum(), gradient.sum(), (mean**2 / odds).sum()]
    np.testing.assert_allclose(totals, expected, rtol=1e-11)


def test_twin_keeps_its_digits_at_large_means():
    problem = random_problem(19, 300, (2,), "bernoulli", weighted=False)
    tables = [np.zeros(2)]
    for ours, theirs in zip(kernel(problem, 2.0, tables), twin(problem, 2.0, tables), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11)


@pytest.mark.parametrize("base", [-700.0, 8.0, 600.0])
@pytest.mark.parametrize("family", ["bernoulli", "bernoulli_observed"])
def test_cloglog_stays_finite_where_a_claim_is_certain_or_impossible(base, family):
    problem = random_problem(19, 300, (2,), family, scaled=False)
    sums = kernel(problem, base, [np.zeros(2)])
    assert all(np.isfinite(part).all() for part in sums)
    assert (sums[1] >= 0).all()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_give_the_same_bits(threads):
    problem = random_problem(20, 3_000, (4, 5), "poisson")
    layout = Layout((free_term("factor_0", np.ones(4, bool), 0), free_term("factor_1", np.ones(5, bool), 0)))
    pieces = [(start, min(start + 170, 3_000)) for start in range(0, 3_000, 170)]
    for full in (True, False):
        alone, together = (
            Passes(problem, layout, count).over(-0.3, np.linspace(0, 1, 9), pieces, full=full) for count in (1, threads)
        )
        assert alone.full == full
        np.testing.assert_array_equal(alone.cells, together.cells)
        np.testing.assert_array_equal(alone.totals, together.totals)


@given(sizes=st.lists(st.integers(1, 300), min_size=2, max_size=9), small=st.booleans())
@example(sizes=[200, 34, 5, 12, 16, 20, 20], small=False)
@example(sizes=[20_000, 200, 34, 5, 12], small=False)
def test_every_pair_of_factors_is_in_a_table_and_every_factor_in_one_with_gradients(sizes, small):
    limits = (16, 64) if small else (cross_module.GRADIENT_CELLS, cross_module.CROSS_CELLS)
    with mock.patch.multiple(cross_module, GRADIENT_CELLS=limits[0], CROSS_CELLS=limits[1]):
        cross = CrossTables.of(sizes)
    scored = [factor for factors in cross.sets[: cross.n_gradients] for factor in factors]
    assert sorted(scored) == list(range(len(sizes)))
    assert set(cross.table_of) == set(combinations(range(len(sizes)), 2))
    for t, factors in enumerate(cross.sets):
        limit = limits[0] if t < cross.n_gradients else limits[1]
        alone = len(factors) <= (1 if t < cross.n_gradients else 2)
        assert alone or prod(sizes[f] for f in factors) <= limit
    assert len(cross.sets) <= cross.n_gradients + len(sizes) * (len(sizes) - 1) // 2


def test_seven_factors_take_eleven_tables():
    cross = CrossTables.of([200, 34, 5, 12, 16, 20, 20])
    assert (cross.n_gradients, len(cross.sets)) == (3, 11)


@given(seed=st.integers(0, 2**32 - 1), sizes=st.lists(st.integers(1, 9), min_size=1, max_size=7))
def test_small_tables_and_wide_ones_give_the_same_sums(seed, sizes):
    problem = random_problem(seed, 700, sizes, "poisson")
    tables = [np.linspace(-0.5, 0.5, size) for size in sizes]
    wide = kernel(problem, -0.2, tables)
    with mock.patch.multiple(cross_module, GRADIENT_CELLS=1, CROSS_CELLS=1):
        for ours, theirs in zip(kernel(problem, -0.2, tables), wide, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "f4", "f8"])
@pytest.mark.parametrize("family", ["poisson", "beta_binomial"])
def test_values_of_every_kind_are_read_alike(kind, family):
    problem = random_problem(22, 1_300, (3, 4), family, weighted=False)
    problem = replace(problem, weight=np.round(np.linspace(1, 9, 1_300)), multiplier=np.round(np.linspace(1, 3, 1_300)))
    narrow = {name: getattr(problem, name).astype(kind) for name in ("response", "multiplier", "weight", "trials")}
    tables = [np.linspace(-1, 0, 3), np.linspace(0, 1, 4)]
    for ours, theirs in zip(
        kernel(replace(problem, **narrow), -0.5, tables), kernel(problem, -0.5, tables), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("multiplier", [1.0, 30.0, 700.0])
def test_exponential_is_off_by_one_unit_in_the_last_place_at_most(multiplier):
    eta = np.random.default_rng(23).uniform(-multiplier, multiplier, 20_000)
    problem = Problem("poisson", {"row": np.arange(20_000, dtype=np.uint16)}, {"row": 20_000}, np.zeros(20_000))
    found = kernel(problem, 0.0, [eta])[1]
    assert np.abs(found / np.exp(eta) - 1.0).max() < 2.5e-16


@pytest.mark.parametrize(("eta", "expected"), [(-1e5, np.exp(-708.0)), (1e5, np.exp(708.0)), (0.0, 1.0)])
def test_exponential_stays_finite(eta, expected):
    problem = Problem("poisson", {}, {}, np.zeros(1))
    found = kernel(problem, eta, [])[3]
    np.testing.assert_allclose(found[3], expected, rtol=1e-15)
    assert np.isnan(kernel(problem, np.nan, [])[3][3])


@pytest.mark.parametrize("position", [2, 3, 5, 6, 9, 10, 11, 13, 14])
def test_none_is_refused(position):
    problem = random_problem(21, 10, (2,), "poisson")
    arguments = [
        0, 0.0, _check.code_columns(problem.codes, problem.sizes), np.zeros(1, np.int64), 0.0, np.zeros(2),
        _fit.RowValues(problem.arrays), 0, 10, np.zeros(1, np.int32), np.array([0, 1], np.int32),
        np.zeros(1, np.int64), 1, np.zeros(4), np.zeros(4),
    ]  # fmt: skip
    _fit.accumulate(*arguments)
    arguments[position] = None
    with pytest.raises(TypeError, match="None"):
        _fit.accumulate(*arguments)


@pytest.mark.parametrize(
    ("codes", "sizes", "match"),
    [
        ({"zone": np.array([0, 3, 1, 4], np.uint8)}, {"zone": 3}, r"'zone' are at or above the 3 slots .* 2 rows \(first: 1, 3\)"),
        ({"zone": np.array([0, 1])}, {"zone": 3}, "codes of 'zone' are int64; they must be uint8, uint16 or uint32"),
        ({"a": np.zeros(2, np.uint8), "b": np.zeros(3, np.uint8)}, {"a": 1, "b": 1}, r"different lengths \[2, 3\]"),
        ({str(k): np.zeros(1, np.uint8) for k in range(49)}, {str(k): 1 for k in range(49)}, "49 code columns .* at most 48"),
    ],
)  # fmt: skip
def test_codes_are_proved_before_the_kernel_sees_them(codes, sizes, match):
    with pytest.raises(InputError, match=match):
        _check.code_columns(codes, sizes)


def test_columns_and_values_that_the_kernel_cannot_read_are_refused():
    with pytest.raises(ValueError, match="without slots"):
        _blocks.CodeColumns([np.zeros(3, "u1")], np.array([-(10**9)]), 3)
    with pytest.raises(ValueError, match="byte order"):
        _fit.RowValues([np.ones(3, ">f8"), *(np.empty(0) for _ in range(3))])
