"""Predictions: of books and of plain frames, with standard errors against statsmodels and dense covariances."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from freightrisk import (
    Band,
    Credibility,
    Factor,
    Free,
    FreightRiskWarning,
    FrequencyModel,
    Given,
    Hierarchy,
    InputError,
    OrderBook,
    PurePremiumModel,
    SeverityModel,
    Smooth,
    Solver,
    Tariff,
)
from test_effects import EFFECTS, FACTORS, Dense, cells, counted

TIGHT = Solver(tolerance=1e-12, max_iterations=200)
FRAME = cells(2_000)
BOOK = counted(FRAME)
CLAIMS = FRAME[FRAME["claims"] > 0]
VARIANCES = {"category": (0.3, 0.2, 0.1), "score": 0.01, "pair": 0.05}


def whole_dense(book, kind, fitted):
    """Return the dense twin of EFFECTS over all levels of a book, also those that no fitted row has."""
    scale = fitted.dispersion if kind == "gamma" else 1.0
    dense = Dense(book, kind)
    dense.free("channel", fitted.references["channel"])
    dense.free("zone", fitted.references["zone"])
    dense.nested("category", [scale / v for v in VARIANCES["category"]])
    dense.smooth("score", 2, scale / VARIANCES["score"])
    dense.pairs("channel", "zone", scale / VARIANCES["pair"])
    return dense


def log_errors(dense, dispersion=1.0):
    return np.sqrt(dispersion * np.einsum("ij,jk,ik->i", dense.x, dense.inverse, dense.x))


# Standard errors: dense covariances


def test_standard_errors_of_counts_are_those_of_the_dense_inverse():
    fitted = FrequencyModel(EFFECTS).fit(BOOK, solver=TIGHT)
    dense = whole_dense(BOOK, "poisson", fitted).fit(BOOK.claim_count.astype(float), BOOK.exposure)
    found = fitted.predict(BOOK, std_errors=True)
    np.testing.assert_allclose(found["std_error"], log_errors(dense), rtol=1e-9)
    np.testing.assert_allclose(found["claim_intensity"], dense.mean(), rtol=1e-9)
    np.testing.assert_allclose(found["expected_claims"], dense.mean() * BOOK.exposure, rtol=1e-9)
    np.testing.assert_allclose(np.log(found["upper"] / found["lower"]), 2 * 1.959963984540054 * log_errors(dense))


def test_standard_errors_of_amounts_include_the_dispersion():
    book = counted(CLAIMS.assign(claims=1), exposure=None, amount="amount")
    fitted = SeverityModel(EFFECTS).fit(book, solver=TIGHT)
    dense = whole_dense(book, "gamma", fitted).fit(np.asarray(book.claim_amount), np.ones(len(CLAIMS)))
    found = fitted.predict(book, std_errors=True)
    # The strengths follow the dispersion, which settles to 1e-6.
    np.testing.assert_allclose(found["std_error"], log_errors(dense, fitted.dispersion), rtol=1e-6)
    assert list(found) == ["expected_freight", "std_error", "lower", "upper", "unseen_level"]


@pytest.mark.parametrize("family", ["gamma", "lognormal"])
def test_standard_errors_of_amounts_at_estimated_variances(family):
    """The reported variances are the dispersion over the strengths, so the dense twin has exactly these strengths."""
    frame = cells(3_000)
    frame = frame[frame["claims"] > 0].assign(claims=1)
    book = counted(frame, exposure=None, amount="amount")
    fitted = SeverityModel(["channel", Credibility("category")], family=family).fit(book, solver=TIGHT)
    assert min(fitted.variances["category"]) > 0.0
    phi = fitted.dispersion
    dense = Dense(book, "gamma")
    dense.free("channel", fitted.references["channel"])
    dense.nested("category", [phi / variance for variance in fitted.variances["category"]])
    x = np.concatenate(dense.columns, axis=1)
    penalty = np.zeros((x.shape[1], x.shape[1]))
    for part, place in zip(dense.penalties[1:], dense.places.values(), strict=True):
        penalty[place, place] = part
    # The expected information of a gamma or lognormal row is its weight, 1.
    covariance = phi * np.linalg.inv(x.T @ x + penalty)
    expected = np.sqrt(np.einsum("ij,jk,ik->i", x, covariance, x))
    np.testing.assert_allclose(fitted.predict(book, std_errors=True)["std_error"], expected, rtol=1e-9)


def test_standard_errors_of_one_claim_an_order_are_those_of_the_dense_inverse():
    book = counted(FRAME.assign(claims=np.minimum(FRAME["claims"], 1)))
    fitted = FrequencyModel(EFFECTS, family="bernoulli").fit(book, solver=TIGHT)
    dense = whole_dense(book, "bernoulli", fitted).fit(book.claim_count.astype(float), book.exposure)
    found = fitted.predict(book, std_errors=True)
    np.testing.assert_allclose(found["std_error"], log_errors(dense), rtol=1e-9)
    mean = fitted.off_balance * dense.mean() * BOOK.exposure
    np.testing.assert_allclose(found["expected_claims"], -np.expm1(-mean), rtol=1e-9)


@pytest.mark.parametrize("eliminated", ["category", "merchant"])
def test_unseen_leaves_add_the_variances_of_their_missing_effects(eliminated):
    merchants = np.random.default_rng(4).integers(0, 8 if eliminated == "category" else 200, len(FRAME))
    book = counted(FRAME.assign(merchant=merchants), (*FACTORS, Factor("merchant")))
    group = FRAME["group"].to_numpy()
    # A leaf, a whole group and a merchant have no rows in the fit.
    seen = (FRAME["leaf"] != FRAME["leaf"].mode()[0]).to_numpy() & (group != group[0]) & (merchants != 3)
    effects = [Credibility("category", variance=(0.3, 0.2, 0.1)), Credibility("merchant", variance=0.2), "channel"]
    fitted = FrequencyModel(effects).fit(book.select(seen), solver=TIGHT)
    assert fitted.posterior.eliminated == eliminated
    dense = Dense(book)
    dense.free("channel", fitted.references["channel"])
    dense.nested("category", [1 / 0.3, 1 / 0.2, 1 / 0.1])
    dense.nested("merchant", [1 / 0.2])
    dense.fit(np.where(seen, book.claim_count, 0.0), np.where(seen, book.exposure, 0.0))
    errors = fitted.predict(book, std_errors=True)["std_error"]
    np.testing.assert_allclose(errors, log_errors(dense), rtol=1e-9)
    assert (errors[group == group[0]] > np.sqrt(0.3)).all()


def test_pairs_without_rows_have_the_variance_of_the_interaction():
    seen = ((FRAME["channel"] != "live") | (FRAME["zone"] != "far")).to_numpy()
    fitted = FrequencyModel(EFFECTS).fit(BOOK.select(seen), solver=TIGHT)
    dense = whole_dense(BOOK, "poisson", fitted)
    dense.fit(np.where(seen, BOOK.claim_count, 0.0), np.where(seen, BOOK.exposure, 0.0))
    np.testing.assert_allclose(fitted.predict(BOOK, std_errors=True)["std_error"], log_errors(dense), rtol=1e-9)


def test_monotone_bands_that_are_held_equal_move_together():
    frame = FRAME.assign(score=8.0 - FRAME["score"])  # rising data under a falling constraint
    book = counted(frame)
    fitted = FrequencyModel([Free("score", monotone="decreasing"), "channel"]).fit(book, solver=TIGHT)
    one = FrequencyModel(["channel"]).fit(book, solver=TIGHT)
    assert np.ptp(fitted.tables["score"][:8]) < 1e-9
    left, right = (model.predict(book, std_errors=True)["std_error"] for model in (fitted, one))
    np.testing.assert_allclose(left, right, rtol=1e-6)


def test_a_curve_under_a_constraint_that_does_not_bind_has_the_errors_of_the_curve():
    effects = [Smooth("score", variance=0.01), Credibility("category", variance=0.1)]
    free = FrequencyModel(effects).fit(BOOK, solver=TIGHT)
    held = FrequencyModel([replace(effects[0], monotone="decreasing"), effects[1]]).fit(BOOK, solver=TIGHT)
    assert np.diff(free.tables["score"][:8]).max() < -0.01
    left, right = (model.predict(BOOK, std_errors=True)["std_error"] for model in (held, free))
    np.testing.assert_allclose(left, right, rtol=1e-9)


def test_clusters_widen_predictions_as_they_widen_levels():
    cluster = FRAME["group"].to_numpy()
    fitted = FrequencyModel(["channel"]).fit(BOOK, cluster=cluster)
    rows = np.ones((BOOK.n_orders, 1 + len(fitted.parameters)))
    for k, (name, code) in enumerate(fitted.parameters, start=1):
        rows[:, k] = BOOK.codes[name] == code
    variance = np.einsum("ij,jk,ik->i", rows, fitted.covariance, rows)
    np.testing.assert_allclose(fitted.predict(BOOK, std_errors=True)["std_error"], np.sqrt(variance), rtol=1e-12)
    assert fitted.predict(BOOK, std_errors=True)["std_error"].mean() > 1.5 * (
        FrequencyModel(["channel"]).fit(BOOK).predict(BOOK, std_errors=True)["std_error"].mean()
    )


# Standard errors: statsmodels


def design(frame):
    columns = pd.get_dummies(frame[["channel", "zone"]], drop_first=True, dtype=float)
    return sm.add_constant(columns)


LINKS = sm.families.links


@pytest.mark.parametrize(
    ("model", "claims", "family"),
    [
        (FrequencyModel(["channel", "zone"]), "claims", sm.families.Poisson()),
        (FrequencyModel(["channel", "zone"], family="bernoulli"), "any", sm.families.Binomial(LINKS.CLogLog())),
        (PurePremiumModel(["channel", "zone"], power=1.6), "claims", sm.families.Tweedie(var_power=1.6)),
    ],
)
def test_errors_of_counts_and_pure_premiums_are_those_of_statsmodels(model, claims, family):
    frame = FRAME.assign(any=np.minimum(FRAME["claims"], 1))
    is_amount = isinstance(model, PurePremiumModel)
    fitted = model.fit(counted(frame, claims=claims, amount="amount" if is_amount else None), solver=TIGHT)
    exposure = frame["insured"]
    response, options = frame[claims], {"offset": np.log(exposure)}
    if is_amount:
        response, options = frame["amount"] / exposure, {"var_weights": exposure}
    theirs = sm.GLM(response, design(frame), family=family, **options).fit(tol=1e-13, tol_criterion="params")
    found = fitted.predict(frame, exposure="insured", std_errors=True)
    linear = theirs.get_prediction(design(frame), offset=np.zeros(len(frame)), which="linear")
    np.testing.assert_allclose(found["std_error"], linear.se, rtol=1e-9)
    own = replace(fitted, off_balance=1.0).predict(frame, exposure="insured")
    np.testing.assert_allclose(np.log(own.iloc[:, 0]), linear.predicted, rtol=1e-9)
    expected = theirs.predict() * (exposure if is_amount else 1.0)
    np.testing.assert_allclose(own.iloc[:, 1], expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("family", "theirs"),
    [("gamma", sm.families.Gamma(LINKS.Log())), ("inverse_gaussian", sm.families.InverseGaussian(LINKS.Log()))],
)
def test_errors_of_amounts_are_those_of_statsmodels(family, theirs):
    book = counted(CLAIMS, exposure=None, amount="amount")
    fitted = SeverityModel(["channel", "zone"], family=family).fit(book, solver=TIGHT)
    y, x = CLAIMS["amount"] / CLAIMS["claims"], design(CLAIMS)
    result = sm.GLM(y, x, family=theirs, var_weights=CLAIMS["claims"]).fit(tol=1e-13, tol_criterion="params")
    linear = result.get_prediction(x, which="linear")
    found = fitted.predict(book, std_errors=True)
    np.testing.assert_allclose(found["std_error"], linear.se, rtol=1e-8)
    own = np.log(found["expected_freight"] / fitted.off_balance)
    np.testing.assert_allclose(own, linear.predicted, rtol=1e-9)


def test_both_engines_give_the_same_errors():
    ours, theirs = (
        FrequencyModel(["channel", "zone"]).fit(BOOK, solver=Solver(engine=engine, tolerance=1e-12))
        for engine in ("newton", "statsmodels")
    )
    left, right = (model.predict(BOOK, std_errors=True)["std_error"] for model in (ours, theirs))
    np.testing.assert_allclose(left, right, rtol=1e-8)


# Laws


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1))
def test_the_law_of_predictions(seed):
    """Rows in any order, in any parts, as a book or as a frame: the same numbers, never a negative variance."""
    rng = np.random.default_rng(seed)
    frame = cells(300, seed=seed % 1000)
    frame["claims"] += 1  # every free level has claims
    book = counted(frame)
    fitted = FrequencyModel(["channel", Credibility("category"), Smooth("score", variance=0.02)]).fit(book)
    whole = fitted.predict(frame, exposure="insured", std_errors=True)
    mixed = rng.permutation(len(frame))
    pd.testing.assert_frame_equal(fitted.predict(frame.iloc[mixed], exposure="insured", std_errors=True),
                                  whole.iloc[mixed])  # fmt: skip
    pd.testing.assert_frame_equal(fitted.predict(book, std_errors=True), whole)
    np.testing.assert_array_equal(fitted.predict(book), whole["expected_claims"])
    np.testing.assert_array_equal(fitted.rates(book), whole["claim_intensity"])
    assert (whole["std_error"] > 0.0).all()
    assert np.isfinite(whole.to_numpy(float)).all()


def test_more_rows_than_a_part_have_the_same_errors():
    fitted = FrequencyModel(EFFECTS).fit(BOOK)
    many = pd.concat([FRAME] * 20, ignore_index=True)
    found = fitted.predict(many, exposure=1.0, std_errors=True)["std_error"].to_numpy().reshape(20, -1)
    np.testing.assert_array_equal(found, np.broadcast_to(found[0], found.shape))


def test_twice_the_data_shrink_free_errors_by_the_root_of_two():
    one, two = (
        FrequencyModel(["channel", "zone"]).fit(counted(frame), solver=TIGHT)
        for frame in (FRAME, pd.concat([FRAME, FRAME]))
    )
    left, right = (model.predict(FRAME, exposure=1.0, std_errors=True)["std_error"] for model in (one, two))
    np.testing.assert_allclose(left, right * np.sqrt(2.0), rtol=1e-9)


def test_given_tables_have_no_error():
    given_zone = Given("zone", {"near": 1.0, "far": 1.4})
    fitted = FrequencyModel([given_zone]).fit(BOOK)
    found = fitted.predict(FRAME, exposure="insured", std_errors=True)
    np.testing.assert_allclose(found["std_error"], fitted.intercept_std_error, rtol=1e-12)
    assert "zone" not in fitted.posterior.effects


def test_errors_cover_the_truth():
    """Truth: 95 % bounds of the rates of simulated leaves cover the true rates."""
    inside = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        effect = rng.normal(0.0, 0.5, 30)
        leaf = np.repeat(np.arange(30), 20)
        rate = np.exp(-1.0 + effect)
        frame = pd.DataFrame({"leaf": leaf, "claims": rng.poisson(rate[leaf])})
        book = OrderBook.from_counts(frame, claims="claims", factors=[Factor("leaf", unseen="parent")])
        fitted = FrequencyModel([Credibility("leaf", variance=0.25)]).fit(book)
        found = fitted.predict(pd.DataFrame({"leaf": np.arange(30)}), std_errors=True)
        inside.append(((found["lower"] < rate) & (rate < found["upper"])).mean())
    assert np.mean(inside) == pytest.approx(0.95, abs=0.02)


# Frames


TREE = Hierarchy("category", ["industry", "group"], unseen="parent")
PLAIN = [Factor("channel", unseen="parent"), TREE, Band("score", [2, 4], missing="level"), Factor("zone")]


@pytest.fixture(scope="module")
def pair():
    frame = FRAME.assign(order_id=np.arange(len(FRAME)))
    claims = frame[frame["claims"] > 0][["order_id"]].assign(freight=frame.loc[frame["claims"] > 0, "amount"])
    book = OrderBook.from_frames(frame, claims, factors=PLAIN, ship_date=None, report_date=None)
    effects = ["channel", Credibility("category"), "score", "zone"]
    return FrequencyModel(effects).fit(book), SeverityModel(["zone", "channel"]).fit(book)


def odd_orders():
    orders = FRAME.head(50).copy()
    orders.loc[3:6, "channel"] = "new"
    orders.loc[10:12, "group"] = 99
    orders.loc[14, ["industry", "group"]] = [77, 99]
    orders.loc[20:25, "score"] = np.nan
    return orders


def test_a_frame_is_read_as_a_tariff_reads_it(pair):
    frame = FRAME.assign(score=FRAME["score"].where(FRAME.index > 100))
    claims = frame.assign(order_id=frame.index)[["order_id", "claims", "amount"]].query("claims > 0")
    book = OrderBook.from_frames(frame.assign(order_id=frame.index), claims.rename(columns={"amount": "freight"}),
                                 factors=PLAIN, ship_date=None, report_date=None)  # fmt: skip
    frequency = FrequencyModel(["channel", Credibility("category"), "score", "zone"]).fit(book)
    severity = SeverityModel(["zone", "channel"]).fit(book)
    tariff = Tariff.build(frequency, severity)
    orders = odd_orders()
    priced = tariff.price(orders)
    found = frequency.predict(orders, std_errors=True)
    np.testing.assert_allclose(found["claim_intensity"], priced["claim_intensity"], rtol=1e-12)
    np.testing.assert_allclose(severity.predict(orders)["expected_freight"], priced["expected_payout"], rtol=1e-12)
    assert found["unseen_level"].to_list() == priced["unseen_level"].to_list()
    free = orders["channel"] == "new"
    assert np.isinf(found.loc[free, "std_error"]).all()
    assert (found.loc[free, "lower"] == 0.0).all()
    assert np.isfinite(found.loc[~free, "std_error"]).all()


def test_frame_in_frame_out_with_the_callers_index(pair, tmp_path):
    pl, pa = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    frequency, severity = pair
    orders = FRAME.head(30).set_index(np.arange(30) * 7 + 3)
    mine = frequency.predict(orders, std_errors=True)
    assert mine.index.equals(orders.index)
    plain = mine.reset_index(drop=True)
    theirs = frequency.predict(pl.from_pandas(orders), std_errors=True)
    assert isinstance(theirs, pl.DataFrame)
    pd.testing.assert_frame_equal(theirs.to_pandas(), plain)
    arrow = frequency.predict(pa.Table.from_pandas(orders, preserve_index=False), std_errors=True)
    assert isinstance(arrow, pa.Table)
    pd.testing.assert_frame_equal(arrow.to_pandas(), plain)
    orders.to_parquet(tmp_path / "orders.parquet", index=False)
    pd.testing.assert_frame_equal(frequency.predict(tmp_path / "orders.parquet", std_errors=True), plain)
    assert list(severity.predict(orders)) == ["expected_freight", "unseen_level"]
    assert len(frequency.predict(orders.head(0))) == 0


def test_columns_of_merchants_are_joined():
    orders = pd.DataFrame({"order": range(40), "shop": np.arange(40) % 4})
    shops = pd.DataFrame({"shop": range(4), "size": ["s", "l", "s", "l"]})
    claims = pd.DataFrame({"order": [0, 1, 3, 5, 7], "freight": 8.0})
    names = {"order_id": "order", "merchant_id": "shop"}
    book = OrderBook.from_frames(
        orders, claims, merchants=shops, factors=[Factor("size")], ship_date=None, report_date=None, **names
    )
    fitted = FrequencyModel().fit(book)
    found = fitted.predict(orders, merchants=shops, merchant_id="shop")
    np.testing.assert_allclose(found["claim_intensity"], np.where(orders["shop"] % 2, 0.2, 0.05), rtol=1e-9)


def test_many_unseen_levels_are_warned_of(pair):
    orders = FRAME.head(100).assign(channel="novel")
    with pytest.warns(FreightRiskWarning, match="levels that the book never had"):
        pair[0].predict(orders)


def test_lines_are_counted():
    rng = np.random.default_rng(2)
    frame = pd.DataFrame({"zone": rng.choice(["a", "b"], 400), "n": rng.integers(1, 4, 400)})
    frame["claims"] = rng.binomial(frame["n"], 0.3)
    book = OrderBook.from_counts(frame, claims="claims", factors=[Factor("zone")], lines="n")
    for family in ("binomial", "beta_binomial"):
        fitted = FrequencyModel(family=family).fit(book)
        found = fitted.predict(frame, std_errors=True)
        np.testing.assert_allclose(found["expected_claims"], fitted.expected_claims(book), rtol=1e-13)
        np.testing.assert_array_equal(found["expected_claims"], fitted.predict(book))
        assert (found["expected_claims"] < frame["n"]).all()
        by_zone = found.groupby(frame["zone"])["std_error"].nunique()
        assert (by_zone == 1).all()


# Exposure


def test_predictions_count_exposure(shared_data):
    """Actual over predicted is 1 on a book with exposure; it was 0.52 when `predict` left exposure out."""
    policies = pd.read_parquet(shared_data / "motor_third_party" / "frequency.parquet").head(50_000)
    book = OrderBook.from_counts(policies, claims="ClaimNb", exposure="Exposure", factors=[Factor("Area")])
    fitted = FrequencyModel().fit(book)
    assert book.n_claims / fitted.predict(book).sum() == pytest.approx(1.0, rel=1e-9)
    frame = fitted.predict(policies, exposure="Exposure")
    assert book.n_claims / frame["expected_claims"].sum() == pytest.approx(1.0, rel=1e-9)
    np.testing.assert_array_equal(fitted.predict(book), fitted.expected_claims(book))
    assert book.n_claims / fitted.rates(book).sum() < 0.6


@given(st.integers(0, 10**6))
@settings(max_examples=10)
def test_predicted_claims_balance_for_every_family_of_counts(seed):
    frame = cells(400, seed=seed % 997).assign(one=1)
    frame["claims"] += np.arange(len(frame)) % 2
    frame["any"] = np.minimum(frame["claims"], 1) * (np.arange(len(frame)) % 3 > 0)
    for family, claims in (("poisson", "claims"), ("bernoulli", "any")):
        book = counted(frame, claims=claims)
        fitted = FrequencyModel(["channel"], family=family).fit(book)
        if family == "poisson":
            assert fitted.predict(book).sum() == pytest.approx(book.n_claims, rel=1e-8)
        assert (fitted.predict(book) <= (1.0 if family == "bernoulli" else np.inf)).all()
        np.testing.assert_array_equal(fitted.predict(book), fitted.expected_claims(book))


def test_a_pure_premium_counts_exposure():
    fitted = PurePremiumModel(["zone"], power=1.5).fit(counted(FRAME, amount="amount"))
    book = counted(FRAME, amount="amount")
    found = fitted.predict(FRAME, exposure="insured")
    assert list(found) == ["pure_premium", "expected_amount", "unseen_level"]
    np.testing.assert_array_equal(fitted.predict(book), found["expected_amount"])
    np.testing.assert_allclose(found["expected_amount"], found["pure_premium"] * FRAME["insured"], rtol=1e-14)


def test_a_severity_has_no_exposure():
    book = counted(CLAIMS, amount="amount")
    fitted = SeverityModel(["zone"]).fit(book)
    np.testing.assert_array_equal(fitted.predict(book), fitted.rates(book))


# Bad calls


FITTED = FrequencyModel(["channel", "zone"]).fit(BOOK)
FREIGHT = SeverityModel(["zone"]).fit(counted(CLAIMS, exposure=None, amount="amount"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: FITTED.predict(FRAME), "exposure is absent, but the model was fitted to orders with an exposure"),
        (lambda: FITTED.predict(FRAME, exposure=0.0), r"exposure is 0.0; it must be a finite number in \(0, 1e\+18\]"),
        (lambda: FITTED.predict(FRAME, exposure="units"), "missing column 'units'"),
        (
            lambda: FITTED.predict(FRAME, exposure=FRAME["claims"]),
            "^exposure is a Series; name the column of the orders",
        ),
        (lambda: FITTED.predict(FRAME, exposure=[1.0]), "^exposure is a list; name the column of the orders"),
        (lambda: FITTED.predict(FRAME, exposure=""), "exposure is ''; it must be a non-empty string"),
        (lambda: FITTED.predict(FRAME.assign(insured=-1.0), exposure="insured"), "'insured' must be above 0"),
        (lambda: FITTED.predict(FRAME[["zone"]], exposure=1.0), "missing column 'channel'"),
        (lambda: FITTED.predict(FRAME.assign(channel="x"), exposure=1.0), "level 'x' was not in the book"),
        (lambda: FITTED.predict(FRAME.assign(channel=None), exposure=1.0), "'channel' is missing"),
        (lambda: FITTED.predict(3, exposure=1.0), "orders is a int; it must be a pandas, polars or pyarrow table"),
        (lambda: FITTED.predict(BOOK, std_errors=1), "std_errors is 1; it must be True or False"),
        (lambda: FITTED.predict(BOOK, exposure="insured"), "exposure is given, but orders is an OrderBook"),
        (lambda: FITTED.predict(BOOK, merchants=FRAME), "merchants is given, but orders is an OrderBook"),
        (lambda: FREIGHT.predict(CLAIMS, exposure=1.0), "a severity is the freight of a claim; leave exposure out"),
        (lambda: FITTED.rates(FRAME), "book is a DataFrame; it must be an OrderBook"),
        (lambda: FITTED.predict(counted(FRAME, [Factor("channel")])), "coding of factor 'zone' is not the model's"),
        (lambda: FITTED.predict(FRAME, exposure=1.0, threads=0), "threads is 0; it must be a whole number"),
    ],
)
def test_bad_calls_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_a_column_of_no_role_is_refused():
    with pytest.raises(TypeError, match="unexpected keyword argument 'shipped'"):
        FITTED.predict(FRAME, exposure=1.0, shipped="x")
