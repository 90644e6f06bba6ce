"""Strategies for small books whose models have one maximum, and the comparison of fits with other base levels."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import strategies as st

from freightrisk import Factor, FittedModel, OrderBook

ZONES = ("far", "near", "remote", "town")
CHANNELS = ("group_deal", "live_stream", "shelf")
SEGMENTS = (1, 2, 3)


@st.composite
def rating_cells(draw, *, max_extra_rows=12, max_claims=30):
    """Cells with every combination of levels and a claim in each, so that each relativity is finite and determined."""
    levels = [
        (zone, channel, segment)
        for zone in ZONES[: draw(st.integers(1, len(ZONES)))]
        for channel in CHANNELS[: draw(st.integers(1, len(CHANNELS)))]
        for segment in SEGMENTS[: draw(st.integers(1, len(SEGMENTS)))]
    ]
    levels += draw(st.lists(st.sampled_from(levels), max_size=max_extra_rows))
    n = len(levels)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    cells = pd.DataFrame(levels, columns=["zone", "channel", "segment"])
    return cells.assign(
        insured=np.round(rng.uniform(0.25, 40.0, n), 2),
        claims=rng.integers(1, draw(st.integers(1, max_claims)) + 1, n),
        amount=np.round(rng.gamma(draw(st.sampled_from([0.5, 2.0, 10.0])), 8.0, n) + 0.01, 2),
    )


@st.composite
def orders_with_and_without_claim(draw):
    """Orders with at most one claim; every combination of levels has both, so that the cloglog fit is finite."""
    levels = [(zone, channel) for zone in ZONES[:3] for channel in CHANNELS[: draw(st.integers(1, 3))]]
    repeats = draw(st.lists(st.integers(1, 6), min_size=len(levels), max_size=len(levels)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = [
        (*level, k % (times + 1) == 0) for level, times in zip(levels, repeats, strict=True) for k in range(times + 2)
    ]
    orders = pd.DataFrame(rows, columns=["zone", "channel", "claims"]).astype({"claims": int})
    return orders.assign(insured=np.round(rng.uniform(0.5, 1.5, len(orders)), 2))


def counted(cells, *, exposure="insured", factors=("zone", "channel", "segment"), amount=None) -> OrderBook:
    """Return the book of some cells, each factor as it stands."""
    present = [Factor(name) for name in factors if name in cells]
    return OrderBook.from_counts(cells, claims="claims", exposure=exposure, amount=amount, factors=present)


def treatment_contrasts(fitted: FittedModel, base_levels: dict[str, object] | None = None) -> pd.DataFrame:
    """Return coefficients and standard errors relative to the given levels (by default each factor's first).

    Two fits of the same model agree in these whichever level each calls its reference.
    """
    place = {parameter: 1 + k for k, parameter in enumerate(fitted.parameters)}

    def row_of(name: str, code: int) -> np.ndarray:
        row = np.zeros(len(fitted.covariance))
        if (name, code) in place:
            row[place[name, code]] = 1.0
        return row

    estimates = np.concatenate([[fitted.intercept], [fitted.tables[name][code] for name, code in place]])
    intercept, rows = row_of("", -1), {}
    intercept[0] = 1.0
    for name, coding in fitted.codings.items():
        levels = [path[0] if len(path) == 1 else path for path in coding.paths]
        base = levels.index(base_levels[name]) if base_levels else 0
        intercept = intercept + row_of(name, base)
        rows |= {
            (name, level): row_of(name, code) - row_of(name, base) for code, level in enumerate(levels) if code != base
        }
    matrix = np.array([intercept, *rows.values()])
    return pd.DataFrame(
        {
            "coefficient": matrix @ estimates,
            "std_error": np.sqrt(np.einsum("ij,jk,ik->i", matrix, fitted.covariance, matrix)),
        },
        index=[("", "(intercept)"), *rows],
    )


def formula_fit(frame, response, factors, *, family, exposure=None, offset=0.0, weight=None):
    """Fit the same model by a formula through statsmodels, with treatment contrasts to each factor's first level."""
    sorted_levels = {name: frame[name].astype(str) for name in factors if frame[name].dtype == "category"}
    model = smf.glm(
        f"{response} ~ " + " + ".join(f"C({name})" for name in factors),
        frame.assign(**sorted_levels),
        family=family,
        offset=np.zeros(len(frame)) + offset + (0.0 if exposure is None else np.log(exposure)),
        var_weights=weight,
    )
    return model.fit(tol=1e-13, tol_criterion="params", maxiter=100)


def assert_equals_formula(fitted: FittedModel, result) -> None:
    """Assert that a fit equals one by statsmodels: coefficients to 1e-7, standard errors to 1e-6."""
    ours = treatment_contrasts(fitted)
    terms = [f"C({name})[T.{level}]" for name, level in ours.index[1:]]
    assert list(result.params.index) == ["Intercept", *terms]
    np.testing.assert_allclose(ours["coefficient"], result.params, rtol=0, atol=1e-7)
    np.testing.assert_allclose(ours["std_error"], result.bse, rtol=0, atol=1e-6)
    np.testing.assert_allclose(ours["std_error"], result.bse, rtol=1e-6, atol=0)
    assert fitted.deviance == pytest.approx(result.deviance, rel=1e-11)
    assert fitted.null_deviance == pytest.approx(result.null_deviance, rel=1e-9)
    assert fitted.df_residual == result.df_resid
    assert fitted.dispersion == pytest.approx(result.pearson_chi2 / result.df_resid, rel=1e-7)


def assert_same_fit(left: FittedModel, right: FittedModel, *, atol: float) -> None:
    """Assert equal coefficients and standard errors, whatever the reference levels."""
    ours, theirs = treatment_contrasts(left), treatment_contrasts(right)
    assert list(ours.index) == list(theirs.index)
    np.testing.assert_allclose(ours["coefficient"], theirs["coefficient"], rtol=0, atol=atol)
    np.testing.assert_allclose(ours["std_error"], theirs["std_error"], rtol=10 * atol, atol=atol)
