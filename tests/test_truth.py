"""The truth of simulated books lies where the fitted intervals say."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from freightrisk import Band, FrequencyModel, OrderBook, SeverityModel, simulate_book

SMALL_SEEDS = range(6)
# A sound share of intervals falls outside these quantiles of the binomial once in 10,000 seeds.
TAIL = 5e-5


def book_and_truth(n_orders, seed, *, min_exposure):
    """All claims, matured; levels are pooled by exposure, since a choice by claims would bias those that stay."""
    sim = simulate_book(n_orders, seed=seed, merchant_deviation=0.0)
    declared = [replace(factor, min_claims=0, min_exposure=min_exposure) for factor in sim.factors()]
    return sim, OrderBook.from_frames(sim.orders, sim.claims, merchants=sim.merchants, factors=declared)


def true_log_relativity(coding, truth):
    """The true log relativity of each level; NaN for pools and merged bands, which have no one truth."""
    if isinstance(coding.declared, Band):
        kept = coding.edges == coding.declared.edges
        return np.log(truth.to_numpy()) if kept else np.full(coding.n_levels, np.nan)
    return np.log([truth.get(label, np.nan) for label in coding.labels])


def deviations(fitted, truth, true_base):
    """The estimates less the truth of base and free levels, and which of them have a truth."""
    logs = {name: true_log_relativity(fitted.codings[name], truth[name]) for name in fitted.tables}
    at_reference = {name: logs[name][code] for name, code in fitted.references.items()}
    true = [np.log(true_base) + sum(at_reference.values())]
    true += [logs[name][code] - at_reference[name] for name, code in fitted.parameters]
    estimated = [fitted.intercept, *(fitted.tables[name][code] for name, code in fitted.parameters)]
    return np.array(estimated) - np.array(true)


def within(fitted, difference):
    """Which deviations lie inside the 95 % intervals, of those that have a truth."""
    known = ~np.isnan(difference)
    return np.abs(difference[known]) <= 1.959963984540054 * np.sqrt(np.diag(fitted.covariance)[known])


def assert_shares_are_binomial(inside):
    n = len(inside)
    low, high = stats.binom(n, 0.95).ppf([TAIL, 1 - TAIL])
    assert low <= inside.sum() <= high, f"{inside.sum()} of {n} intervals hold the truth"


def assert_jointly_true(fitted, difference):
    """The deviations together follow the fitted covariance, correlations through the reference levels included."""
    known = np.flatnonzero(~np.isnan(difference))
    covariance = fitted.covariance[np.ix_(known, known)]
    chi_square = difference[known] @ np.linalg.solve(covariance, difference[known])
    assert TAIL < stats.chi2(len(known)).sf(chi_square) < 1 - TAIL


@pytest.mark.slow
def test_a_million_orders_recover_their_truth():
    sim, book = book_and_truth(1_000_000, 2026, min_exposure=1_500.0)
    frequency = FrequencyModel(sim.frequency_factors).fit(book)
    severity = SeverityModel(sim.severity_factors).fit(book)
    for fitted, truth, base in (
        (frequency, sim.truth.frequency, sim.truth.frequency_base),
        (severity, sim.truth.severity, sim.truth.severity_base),
    ):
        difference = deviations(fitted, truth, base)
        inside = within(fitted, difference)
        assert len(inside) >= (150 if fitted.kind == "frequency" else 15)
        assert_shares_are_binomial(inside)
        assert_jointly_true(fitted, difference)
        assert np.abs(difference[0]) < 4 * fitted.intercept_std_error
    assert severity.dispersion == pytest.approx(1 / sim.truth.severity_shape, rel=0.02)
    assert frequency.dispersion == pytest.approx(1.0, rel=0.02)


def test_smaller_books_cover_their_truth_together():
    inside, severity_inside, chi_square, n_parameters = [], [], 0.0, 0
    for seed in SMALL_SEEDS:
        sim, book = book_and_truth(30_000, seed, min_exposure=150.0)
        shipped = sim.orders[sim.orders["ship_date"].notna()]
        # The category is taken as known: 360 leaves have too few claims in a book of this size.
        names = [name for name in sim.frequency_factors if name != "category_path"]
        industry, category, leaf = (shipped[name].astype(str) for name in ("industry", "category", "leaf"))
        path = industry + " > " + category + " > " + leaf
        offset = np.log(path.map(sim.truth.frequency["category_path"]))
        frequency = FrequencyModel(names).fit(book, offset=offset)
        difference = deviations(frequency, sim.truth.frequency, sim.truth.frequency_base)
        inside.append(within(frequency, difference))
        known = np.flatnonzero(~np.isnan(difference))
        chi_square += difference[known] @ np.linalg.solve(frequency.covariance[np.ix_(known, known)], difference[known])
        n_parameters += len(known)
        severity = SeverityModel(sim.severity_factors).fit(book)
        severity_inside.append(within(severity, deviations(severity, sim.truth.severity, sim.truth.severity_base)))
    assert_shares_are_binomial(np.concatenate(inside))
    assert_shares_are_binomial(np.concatenate(severity_inside))
    assert TAIL < stats.chi2(n_parameters).sf(chi_square) < 1 - TAIL
