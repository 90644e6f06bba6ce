"""Cross-validation: against folds by hand, scikit-learn, laws of its folds, and real orders out of time."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freightrisk import (
    Band,
    Credibility,
    Factor,
    FitError,
    FrequencyModel,
    InputError,
    OrderBook,
    PurePremiumModel,
    SeverityModel,
    Smooth,
    Solver,
    cross_validate,
)
from test_effects import cells, counted
from test_evaluation import EVERY, case

# Books with wild amounts have a large off-balance factor.
pytestmark = pytest.mark.filterwarnings("ignore:the (amounts|claims) of the fitted rows")


FRAME = cells(900)
BOOK = counted(FRAME)
MODEL = FrequencyModel(["channel", "zone"])
COLUMNS = ["fold", "train_rows", "test_rows", "mean_deviance", "mean_null_deviance", "explained", "log_likelihood",
           "actual", "expected", "ratio"]  # fmt: skip


def dated(n=3_000, months=5, seed=2):
    """A book with days of shipment over some months."""
    rng = np.random.default_rng(seed)
    orders = pd.DataFrame({"order_id": range(n), "zone": rng.choice(["near", "far"], n)})
    orders["ship_date"] = np.datetime64("2026-01-01") + rng.integers(0, 30 * months, n)
    back = rng.random(n) < np.where(orders["zone"] == "far", 0.3, 0.1)
    claims = orders[back][["order_id"]].assign(
        freight=rng.gamma(5.0, 2.0, back.sum()), report_date=orders.loc[back, "ship_date"] + pd.Timedelta(days=5)
    )
    return OrderBook.from_frames(orders, claims, factors=[Factor("zone")])


DATED = dated()


# Folds by hand


def test_a_group_is_tested_on_the_model_of_the_others():
    group = FRAME["industry"].to_numpy()
    found = cross_validate(MODEL, BOOK, by=group)
    assert list(found) == COLUMNS
    assert found["fold"].tolist() == [0, 1, 2]
    for k, row in enumerate(found.itertuples()):
        fitted = MODEL.fit(BOOK.select(group != k))
        held = fitted.evaluate(BOOK.select(group == k))
        assert (row.train_rows, row.test_rows) == ((group != k).sum(), (group == k).sum())
        for name in COLUMNS[3:]:
            assert getattr(row, name) == getattr(held, name)
        assert row.actual == FRAME.loc[group == k, "claims"].sum()
        flat = FRAME.loc[group != k, "claims"].sum() / FRAME.loc[group != k, "insured"].sum()
        mean = flat * FRAME.loc[group == k, "insured"]
        y = FRAME.loc[group == k, "claims"]
        null = 2 * (np.where(y > 0, y * np.log(np.maximum(y, 1) / mean), 0.0) - (y - mean)).mean()
        assert row.mean_null_deviance == pytest.approx(null, rel=1e-9)


def test_months_are_tested_on_the_months_before():
    found = cross_validate(FrequencyModel(), DATED, by="ship_month")
    month = DATED.ship_day.astype("datetime64[M]").astype(str)
    assert found["fold"].tolist() == sorted(set(month))[1:]
    for row in found.itertuples():
        assert row.train_rows == (month < row.fold).sum()
        assert row.test_rows == (month == row.fold).sum()
        fitted = FrequencyModel().fit(DATED.select(month < row.fold))
        assert row.expected == pytest.approx(fitted.predict(DATED.select(month == row.fold)).sum(), rel=1e-12)
    apart = cross_validate(FrequencyModel(), DATED, by="ship_month", train="others")
    assert apart["fold"].tolist() == sorted(set(month))
    assert (apart["train_rows"] + apart["test_rows"] == DATED.n_orders).all()
    ordered = cross_validate(FrequencyModel(), DATED, by=month, train="earlier")
    pd.testing.assert_frame_equal(ordered, found)
    by_time = cross_validate(FrequencyModel(), DATED, by=pd.Series(DATED.ship_day).dt.to_period("M").dt.start_time,
                             train="earlier")  # fmt: skip
    assert by_time["fold"].dt.strftime("%Y-%m").tolist() == found["fold"].tolist()
    pd.testing.assert_frame_equal(by_time.drop(columns="fold"), found.drop(columns="fold"))


@pytest.mark.parametrize("family", EVERY)
def test_every_family_has_folds(family):
    model, book, offset, weight = case(family)
    solver = Solver(max_iterations=200)  # an inverse Gaussian fit with an estimated variance takes more than 50 steps
    found = cross_validate(model, book, by=3, offset=offset, weight=weight, solver=solver)
    assert len(found) == 3
    rows = len(book.claim_row) if isinstance(model, SeverityModel) else book.n_orders
    assert found["test_rows"].sum() == rows
    assert (found["train_rows"] + found["test_rows"] == rows).all()
    assert found["log_likelihood"].notna().all()
    assert found["mean_deviance"].isna().all() == (family == "beta_binomial")
    assert found["ratio"].between(0.5, 2.0).all()


def test_offset_and_weight_go_with_their_rows():
    offset, weight = np.log(FRAME["insured"]), np.random.default_rng(2).integers(1, 4, len(FRAME)).astype(float)
    plain = counted(FRAME, exposure=None)
    left = cross_validate(MODEL, plain, by=4, offset=offset, weight=weight)
    right = cross_validate(MODEL, BOOK, by=4, weight=weight)
    pd.testing.assert_frame_equal(left, right, rtol=1e-9)


# Laws


@settings(max_examples=10)
@given(st.integers(2, 7), st.integers(0, 2**32 - 1))
def test_random_folds_test_every_order_once(folds, seed):
    found = cross_validate(MODEL, BOOK, by=folds, rng=np.random.default_rng(seed))
    assert found["fold"].tolist() == list(range(1, folds + 1))
    assert found["test_rows"].sum() == BOOK.n_orders
    assert found["test_rows"].max() - found["test_rows"].min() <= 1
    assert found["actual"].sum() == BOOK.n_claims
    again = cross_validate(MODEL, BOOK, by=folds, rng=np.random.default_rng(seed))
    pd.testing.assert_frame_equal(found, again, check_exact=True)


def test_the_default_folds_are_always_the_same():
    one, two = (cross_validate(MODEL, BOOK) for _ in range(2))
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    assert len(one) == 5


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_do_not_matter(threads):
    model = FrequencyModel([Credibility("category"), Smooth("score", variance=0.01), "channel"])
    one = cross_validate(model, BOOK, by=3, solver=Solver(threads=1))
    pd.testing.assert_frame_equal(
        cross_validate(model, BOOK, by=3, solver=Solver(threads=threads)), one, check_exact=True
    )


def test_levels_that_only_tested_orders_have_take_their_parents_rate():
    frame = FRAME.assign(merchant=np.arange(len(FRAME)) % 30)
    book = counted(frame, [Factor("merchant"), Factor("channel")])  # unseen="error" is for pricing
    found = cross_validate(FrequencyModel([Credibility("merchant"), "channel"]), book, by=frame["merchant"] % 3)
    assert found["ratio"].between(0.5, 2.0).all()
    train = frame["merchant"] % 3 != 0
    fitted = FrequencyModel(["merchant"]).fit(book.select(train.to_numpy()))
    mean = frame.loc[train, "claims"].sum() / frame.loc[train, "insured"].sum()
    expected = mean * frame.loc[~train, "insured"].sum()
    alone = cross_validate(FrequencyModel(["merchant"]), book, by=frame["merchant"] % 3)
    assert alone.loc[0, "expected"] == pytest.approx(fitted.predict(book.select(~train.to_numpy())).sum(), rel=1e-12)
    assert alone.loc[0, "expected"] == pytest.approx(expected, rel=1e-6)


def test_a_progress_bar_counts_tested_orders(capsys):
    quiet = cross_validate(MODEL, BOOK, by=3)
    assert capsys.readouterr().err == ""
    pd.testing.assert_frame_equal(cross_validate(MODEL, BOOK, by=3, progress=True), quiet, check_exact=True)
    assert "900/900" in capsys.readouterr().err


# Other libraries


def test_folds_are_those_of_scikit_learn():
    linear = pytest.importorskip("sklearn.linear_model")
    metrics, selection = pytest.importorskip("sklearn.metrics"), pytest.importorskip("sklearn.model_selection")
    x = pd.get_dummies(FRAME[["channel", "zone"]], drop_first=True, dtype=float)
    rate, exposure = FRAME["claims"] / FRAME["insured"], FRAME["insured"]
    group = np.empty(len(FRAME), dtype=int)
    expected = []
    for k, (train, test) in enumerate(selection.KFold(4, shuffle=True, random_state=1).split(x)):
        group[test] = k
        model = linear.PoissonRegressor(alpha=0.0, tol=1e-12, max_iter=10_000, solver="newton-cholesky")
        model.fit(x.iloc[train], rate.iloc[train], sample_weight=exposure.iloc[train])
        mean = model.predict(x.iloc[test]) * exposure.iloc[test]
        expected.append(metrics.mean_poisson_deviance(FRAME["claims"].iloc[test], mean))
    found = cross_validate(MODEL, BOOK, by=group, solver=Solver(tolerance=1e-11))
    np.testing.assert_allclose(found["mean_deviance"], expected, rtol=1e-8)


# Real orders


def test_returns_of_a_fashion_shop_out_of_time(shared_data):
    lines = pd.read_parquet(shared_data / "fashion_returns" / "order_lines.parquet")
    lines["color"] = lines["item_color"].astype(str)
    lines["title"] = lines["user_title"].astype(str)
    claims = lines.loc[lines["returned"] == 1, ["order_item_id", "order_date"]].assign(freight=1.0)
    factors = [Factor("color"), Factor("title", min_claims=20), Band("item_price", [20, 40, 60, 80, 100, 150])]
    book = OrderBook.from_frames(
        lines, claims, factors=factors, order_id="order_item_id", ship_date="order_date", report_date=None
    )
    model = FrequencyModel([Credibility("color"), "title", Smooth("item_price")], family="bernoulli")
    found = cross_validate(model, book, by="ship_month")
    assert found["fold"].tolist() == [f"2012-{month:02d}" for month in range(5, 13)]
    # The price and the colour explain a part of every month that the months before did not see.
    assert (found["explained"] > 0.01).all()
    assert found["ratio"].between(0.85, 1.15).all()
    null = cross_validate(FrequencyModel([], family="bernoulli"), book, by="ship_month")
    np.testing.assert_allclose(null["explained"], 0.0, atol=1e-8)
    np.testing.assert_allclose(null["mean_deviance"], found["mean_null_deviance"], rtol=1e-8)


def test_motor_policies_in_five_folds(shared_data):
    policies = pd.read_parquet(shared_data / "motor_third_party" / "frequency.parquet").head(60_000)
    factors = [Factor("Area"), Band("BonusMalus", [50, 60, 80, 100]), Factor("VehGas")]
    book = OrderBook.from_counts(policies, claims="ClaimNb", exposure="Exposure", factors=factors)
    found = cross_validate(FrequencyModel(), book)
    assert (found["explained"] > 0.005).all()
    assert found["ratio"].between(0.9, 1.1).all()
    assert found["actual"].sum() / found["expected"].sum() == pytest.approx(1.0, abs=2e-3)


# Failures


def test_a_fit_that_fails_says_in_which_fold():
    frame = FRAME.assign(claims=np.where(FRAME["zone"] == "far", FRAME["industry"] == 0, FRAME["claims"] + 1))
    message = r"fold 0 \(fitted to \d+ orders\): factor 'zone': 1 level has exposure but no claim"
    with pytest.raises(FitError, match=message):
        cross_validate(MODEL, counted(frame), by=frame["industry"])


def test_a_fold_without_claims_says_so():
    frame = FRAME.assign(claims=np.where(FRAME["industry"] == 0, 0, FRAME["claims"]))
    book = counted(frame.assign(amount=np.where(frame["claims"] > 0, 8.0, 0.0)), amount="amount")
    with pytest.raises(InputError, match=r"fold 0 \(fitted to \d+ orders\): the book has no claims to evaluate"):
        cross_validate(SeverityModel([]), book, by=frame["industry"])


GROUPS = np.zeros(900, dtype=int)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cross_validate(MODEL, FRAME), "book is a DataFrame; it must be an OrderBook"),
        (lambda: cross_validate("poisson", BOOK), "model is 'poisson'; give a FrequencyModel"),
        (
            lambda: cross_validate(MODEL.fit(BOOK), BOOK),
            r"^model is a fitted frequency model, .* the model before its fit, such as FrequencyModel\(\.\.\.\)\.$",
        ),
        (lambda: cross_validate(MODEL, BOOK, by=1), r"by is 1; it must be a whole number in \[2, 900\]"),
        (lambda: cross_validate(MODEL, BOOK, by=True), "by is True"),
        (lambda: cross_validate(MODEL, BOOK, by=2.5), "by is 2.5; give a number of folds"),
        (lambda: cross_validate(MODEL, BOOK, by="month"), "by is 'month'; give a number of folds, 'ship_month', or"),
        (lambda: cross_validate(MODEL, BOOK, by="ship_month"), "the book has no days of shipment"),
        (lambda: cross_validate(MODEL, BOOK, by=GROUPS), "by has 1 group; cross-validation needs two"),
        (lambda: cross_validate(MODEL, BOOK, by=GROUPS[:3]), r"by is an array of shape \(3,\)"),
        (lambda: cross_validate(MODEL, BOOK, by=[None, *range(899)]), "by is missing in 1 row"),
        (lambda: cross_validate(MODEL, BOOK, by=np.array([{}] * 900)), "by has groups that cannot be ordered"),
        (
            lambda: cross_validate(MODEL, BOOK, by=[1, "1"] * 450),
            "by has groups that cannot be ordered, or that are of se",
        ),
        (lambda: cross_validate(MODEL, BOOK, by=np.arange(900) * 1j), "by has groups that cannot be ordered"),
        (
            lambda: cross_validate(MODEL, BOOK, by=np.ma.array(GROUPS, mask=np.arange(900) < 2)),
            "by is missing in 2 rows",
        ),
        (lambda: cross_validate(MODEL, BOOK, by=pd.array([None] + [1] * 899, dtype="Int64")), "by is missing in 1 row"),
        (lambda: cross_validate(MODEL, BOOK, by=pd.Categorical([None] + [1] * 899)), "by is missing in 1 row"),
        (lambda: cross_validate(MODEL, BOOK, train="later"), "train is 'later'; it must be one of"),
        (lambda: cross_validate(MODEL, BOOK, train="earlier"), "random folds have no order"),
        (lambda: cross_validate(MODEL, BOOK, rng=3), "rng is 3; it must be a Generator"),
        (lambda: cross_validate(MODEL, BOOK, by=GROUPS, rng=np.random.default_rng()), "rng is given, but by names"),
        (lambda: cross_validate(MODEL, BOOK, offset=[1.0]), r"offset has shape \(1,\)"),
        (lambda: cross_validate(MODEL, BOOK, solver=3), "solver is 3; it must be a Solver"),
        (lambda: cross_validate(MODEL, BOOK, progress=1), "progress is 1; it must be True or False"),
    ],
)
def test_bad_calls_are_refused(call, message):
    with warnings.catch_warnings(), pytest.raises((InputError, FitError), match=message):
        call()


def test_a_pure_premium_is_checked_too():
    book = counted(FRAME, amount="amount")
    found = cross_validate(PurePremiumModel(["channel"]), book, by=3)
    assert found["actual"].sum() == pytest.approx(FRAME["amount"].sum(), rel=1e-9)


THIRDS = np.arange(900) % 3
SAME_GROUPS = {
    "float16": THIRDS.astype(np.float16), "float32": THIRDS.astype(np.float32),
    "longdouble": THIRDS.astype("longdouble"), "another byte order": THIRDS.astype(">i4"),
    "nullable": pd.array(THIRDS, dtype="Int64"),
    "masked without a gap": np.ma.array(THIRDS), "categorical": pd.Categorical(THIRDS), "text": THIRDS.astype(str),
    "objects": THIRDS.astype(object), "strings": pd.array(THIRDS.astype(str), dtype="string"),
    "another index": pd.Series(THIRDS, index=np.arange(900)[::-1]),
}  # fmt: skip


@pytest.mark.parametrize("kind", SAME_GROUPS)
def test_the_type_of_groups_changes_no_fold(kind):
    known = cross_validate(MODEL, BOOK, by=THIRDS)
    found = cross_validate(MODEL, BOOK, by=SAME_GROUPS[kind])
    assert [int(name) for name in found["fold"]] == [0, 1, 2]
    pd.testing.assert_frame_equal(found.drop(columns="fold"), known.drop(columns="fold"))
    plain = MODEL.fit(BOOK, cluster=THIRDS)
    assert MODEL.fit(BOOK, cluster=SAME_GROUPS[kind]).intercept_std_error == plain.intercept_std_error


def test_narrow_floats_are_their_shortest_decimals():
    for narrow in (np.float16, np.float32):
        found = cross_validate(MODEL, BOOK, by=(THIRDS + 0.1).astype(narrow))
        assert found["fold"].tolist() == [0.1, 1.1, 2.1]


def test_an_ordered_categorical_has_its_own_order():
    names = pd.Categorical(np.array(["q4", "q1", "q2"])[THIRDS], categories=["q4", "q3", "q1", "q2"], ordered=True)
    found = cross_validate(MODEL, BOOK, by=names, train="earlier")
    assert found["fold"].tolist() == ["q1", "q2"]
    assert found["train_rows"].tolist() == [300, 600]
    assert cross_validate(MODEL, BOOK, by=pd.Series(names), train="earlier").equals(found)
