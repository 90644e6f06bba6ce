"""Fits of classic insurance data equal the numbers that R prints for them."""

import json

import numpy as np
import pandas as pd
import pytest

from book_strategies import treatment_contrasts
from freightrisk import Factor, FrequencyModel, OrderBook, PurePremiumModel, SeverityModel, Solver

# Each model as R fitted it: file, claims, exposure, amount, factors with their base levels (treatment contrasts).
DATACAR = {"agecat": 1, "area": "A", "veh_age": 1, "gender": "F"}
SWEDEN = {"Kilometres": 1, "Zone": 1, "Bonus": 1, "Make": 1}
MODELS = {
    "MASS_Insurance_poisson": (
        "motor_mass/cells",
        {"claims": "Claims", "exposure": "Holders"},
        {"District": 1, "Group": "<1l", "Age": "<25"},
    ),
    "dataCar_poisson": ("motor_datacar/policies", {"claims": "numclaims", "exposure": "exposure"}, DATACAR),
    "dataCar_negbin": ("motor_datacar/policies", {"claims": "numclaims", "exposure": "exposure"}, DATACAR),
    "dataCar_tweedie15": (
        "motor_datacar/policies",
        {"claims": "numclaims", "exposure": "exposure", "amount": "claimcst0"},
        DATACAR,
    ),
    "dataCar_gamma_severity": (
        "motor_datacar/policies",
        {"claims": "numclaims", "amount": "claimcst0"},
        {name: DATACAR[name] for name in ("agecat", "area", "gender")},
    ),
    "swautoins_poisson": ("motor_sweden/cells", {"claims": "Claims", "exposure": "Insured"}, SWEDEN),
    "swautoins_gamma": ("motor_sweden/cells", {"claims": "Claims", "amount": "Payment"}, SWEDEN),
}
# The terms of these two count the levels in the order of MASS.
NUMBERED_LEVELS = {"Group": ("<1l", "1-1.5l", "1.5-2l", ">2l"), "Age": ("<25", "25-29", "30-35", ">35")}


@pytest.fixture(scope="module", params=MODELS)
def case(request, shared_data):
    """The fit of one model, its coefficients in R's contrasts and order, and what R printed."""
    path, columns, bases = MODELS[request.param]
    frame = pd.read_parquet(shared_data / f"{path}.parquet")
    published = json.loads((shared_data / "oracles" / "r_glm.json").read_text())[request.param]
    book = OrderBook.from_counts(frame, factors=[Factor(name) for name in bases], **columns)
    fitted = model_of(request.param).fit(book, solver=Solver(tolerance=1e-11))
    terms = [("", "(intercept)"), *(r_term(term, bases) for term in published["terms"][1:])]
    return fitted, treatment_contrasts(fitted, bases), published, terms


def model_of(name):
    """Return our model for one of R's."""
    if "tweedie" in name:
        return PurePremiumModel(power=1.5)
    if "gamma" in name:
        return SeverityModel()
    return FrequencyModel(family="negative_binomial" if "negbin" in name else "poisson")


def r_term(term, bases):
    """Return the factor and the level of one of R's terms."""
    name = max((factor for factor in bases if term.startswith(factor)), key=len)
    level = term.removeprefix(name)
    if name in NUMBERED_LEVELS:
        return name, NUMBERED_LEVELS[name][int(level) - 1]
    return name, int(level) if isinstance(bases[name], int) else level


def test_coefficients_and_standard_errors(case):
    fitted, ours, published, terms = case
    assert sorted(terms, key=str) == sorted(ours.index, key=str)
    # R stops when the deviance moves by less than 1e-8 of itself: Fisher scoring for a gamma is then 2e-8 away, and
    # for a Tweedie 5e-8.
    atol = {"gamma": 3e-8, "tweedie": 6e-8}.get(fitted.family, 2e-9)
    np.testing.assert_allclose(ours.loc[terms, "coefficient"], published["coef"], rtol=0, atol=atol)
    rtol = 3e-7 if fitted.family == "tweedie" else 1e-7
    np.testing.assert_allclose(ours.loc[terms, "std_error"], published["se"], rtol=rtol, atol=0)


def test_statistics(case):
    fitted, _, published, _ = case
    assert fitted.n_rows == published["n"]
    assert fitted.df_residual == published["df_residual"]
    assert fitted.deviance == pytest.approx(published["deviance"], rel=1e-11)
    assert fitted.null_deviance == pytest.approx(published["null_deviance"], rel=1e-11)
    assert fitted.dispersion == pytest.approx(published["pearson_dispersion"], rel=1e-7)
    if published["logLik"] is not None:  # R leaves out a Tweedie's
        assert fitted.log_likelihood == pytest.approx(published["logLik"], rel=1e-11)


def test_aic_of_r(case):
    fitted, _, published, _ = case
    if published["logLik"] is None:
        pytest.skip("R gives no likelihood")
    n_parameters = len(published["coef"]) + (fitted.family != "poisson")
    assert fitted.aic == pytest.approx(2 * n_parameters - 2 * published["logLik"], rel=1e-11)
