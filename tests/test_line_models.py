"""Models of lines: each of an order's lines can come back, and the lines of one order go together."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from freightrisk import (
    Cover,
    Credibility,
    Factor,
    FitError,
    FrequencyModel,
    InputError,
    OrderBook,
    SeverityModel,
    Solver,
    Tariff,
    load_tariff,
)
from freightrisk.credibility import merchant_periods
from freightrisk.lines import expected_line_claims
from freightrisk.shapes import expected_claims
from freightrisk.tariff.curves import line_count_curves

AS_OF = np.datetime64("2026-06-30")
ZONE, CATEGORY = np.log([1.0, 1.5, 0.75]), np.log([1.0, 1.2, 1.6, 0.7])
BASE, CORRELATION = 0.2, 0.3


def simulated(n=30_000, correlation=CORRELATION, seed=3, most=5):
    """Orders of one to `most` lines; each comes back with probability 1 - exp(-its intensity)."""
    rng = np.random.default_rng(seed)
    zone, category, lines = rng.integers(0, 3, n), rng.integers(0, 4, n), rng.integers(1, most + 1, n)
    share = -np.expm1(-BASE * np.exp(ZONE[zone] + CATEGORY[category]))
    if correlation:
        size = 1 / correlation - 1
        share = rng.beta(share * size, (1 - share) * size)
    back = rng.binomial(lines, share)
    return pd.DataFrame({"zone": zone, "category": category, "n_lines": lines, "claims": back})


def counted(frame, **rest):
    return OrderBook.from_counts(
        frame, claims="claims", factors=[Factor("zone"), Factor("category")], lines="n_lines", **rest
    )


@pytest.fixture(scope="module")
def frame():
    return simulated()


@pytest.fixture(scope="module")
def book(frame):
    return counted(frame)


@pytest.fixture(scope="module")
def together(book):
    return FrequencyModel(family="beta_binomial").fit(book)


def test_binomial_equals_statsmodels(book):
    rng = np.random.default_rng(5)
    rest = {"offset": rng.uniform(-0.5, 0.1, book.n_orders), "weight": rng.uniform(0.5, 2.0, book.n_orders)}
    ours = FrequencyModel(family="binomial").fit(book, **rest)
    theirs = FrequencyModel(family="binomial").fit(book, solver=Solver(engine="statsmodels"), **rest)
    for name in ("log_relativity", "std_error"):
        np.testing.assert_allclose(ours.relativities[name], theirs.relativities[name], atol=1e-7)
    for name in ("intercept", "deviance", "null_deviance", "log_likelihood", "dispersion", "aic"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=1e-7)


def test_binomial_likelihood_is_that_of_the_density(book, frame):
    fitted = FrequencyModel(family="binomial").fit(book)
    share = -np.expm1(-fitted.rates(book) / frame["n_lines"])
    assert fitted.log_likelihood == pytest.approx(stats.binom.logpmf(frame["claims"], frame["n_lines"], share).sum())


def test_beta_binomial_equals_the_likelihood_maximised_directly(book, frame, together):
    y, n = frame["claims"].to_numpy(), frame["n_lines"].to_numpy()
    zone, category = frame["zone"].to_numpy(), frame["category"].to_numpy()

    def loss(parameters):
        eta = parameters[0] + np.append(0.0, parameters[1:3])[zone] + np.append(0.0, parameters[3:6])[category]
        share, r = -np.expm1(-np.exp(eta)), 1 / (1 + np.exp(-parameters[6]))
        size = 1 / r - 1
        return -stats.betabinom.logpmf(y, n, share * size, (1 - share) * size).sum() / len(y)

    start = np.array([-1.6, 0.4, -0.3, 0.2, 0.5, -0.4, -0.8])
    direct = optimize.minimize(loss, start, method="BFGS", options={"gtol": 1e-8})
    assert together.log_likelihood == pytest.approx(-direct.fun * len(y), rel=1e-10)
    assert together.family_parameter == pytest.approx(1 / (1 + np.exp(-direct.x[6])), rel=1e-5)
    zones = together.tables["zone"][:3] - together.tables["zone"][0]
    np.testing.assert_allclose(zones[1:], direct.x[1:3], atol=1e-5)


def test_truth_is_recovered(together):
    assert together.family_parameter == pytest.approx(CORRELATION, abs=0.015)
    zones = together.tables["zone"][:3] - together.tables["zone"][0]
    np.testing.assert_allclose(zones, ZONE, atol=0.06)
    # The Pearson statistic of a beta-binomial that holds is one a row.
    assert together.dispersion == pytest.approx(1.0, abs=0.03)


def test_errors_allow_for_lines_that_go_together(book, together):
    apart = FrequencyModel(family="binomial").fit(book)
    assert apart.dispersion > 1.5
    wider = together.relativities["std_error"] / apart.relativities["std_error"].where(lambda error: error > 0)
    assert wider.min() > 1.2
    # With one cluster an order the independent model's robust errors see the correlation too.
    robust = FrequencyModel(family="binomial").fit(book, cluster=np.arange(book.n_orders))
    ratio = robust.relativities["std_error"] / together.relativities["std_error"].where(lambda error: error > 0)
    # They are those of a less efficient estimator, which weighs every line alike.
    assert ratio.dropna().between(1.0, 1.1).all()


def test_robust_errors_of_the_true_model_are_its_own(book, together):
    robust = FrequencyModel(family="beta_binomial").fit(book, cluster=np.arange(book.n_orders))
    ratio = robust.relativities["std_error"] / together.relativities["std_error"].where(lambda error: error > 0)
    np.testing.assert_allclose(ratio.dropna(), 1.0, atol=0.05)


def test_independent_lines_are_binomial():
    book = counted(simulated(correlation=0.0, seed=11))
    together, apart = (FrequencyModel(family=family).fit(book) for family in ("beta_binomial", "binomial"))
    assert together.family_parameter < 0.01
    np.testing.assert_allclose(together.relativities["log_relativity"], apart.relativities["log_relativity"], atol=0.01)


def test_one_line_an_order_is_a_bernoulli():
    frame = simulated(most=1, seed=12)
    lines, orders = FrequencyModel(family="binomial"), FrequencyModel(["zone", "category"], family="bernoulli")
    book = counted(frame)
    ours, theirs = lines.fit(book), orders.fit(book)
    np.testing.assert_allclose(ours.rates(book), theirs.rates(book), rtol=1e-8)
    assert ours.log_likelihood == pytest.approx(theirs.log_likelihood, rel=1e-10)
    with pytest.raises(FitError, match="no order has two lines"):
        FrequencyModel(family="beta_binomial").fit(book)


def test_any_claim_of_independent_lines_is_a_bernoulli_with_the_lines_as_exposure():
    frame = simulated(n=60_000, correlation=0.0, seed=13)
    by_line = FrequencyModel(family="binomial").fit(counted(frame))
    first = frame.assign(claims=np.minimum(frame["claims"], 1))
    book = OrderBook.from_counts(
        first, claims="claims", exposure="n_lines", factors=[Factor("zone"), Factor("category")]
    )
    by_order = FrequencyModel(family="bernoulli").fit(book)
    gap = (by_line.relativities.iloc[:7]["log_relativity"] - by_order.relativities["log_relativity"]).abs()
    assert (gap < 4 * by_order.relativities["std_error"].max()).all()
    assert by_line.base == pytest.approx(by_order.base, rel=0.03)


def test_credibility_effects_of_lines(book):
    fitted = FrequencyModel([Credibility("category"), "zone"], family="beta_binomial").fit(book)
    nodes = fitted.credibility("category")
    assert nodes["claims"].sum() == book.n_claims
    assert nodes["credibility_z"].between(0.99, 1.0).all()
    free = FrequencyModel(["category", "zone"], family="beta_binomial").fit(book)
    gap = fitted.tables["category"][:4] - free.tables["category"][:4]
    assert np.ptp(gap) < 0.01


def test_balance_of_expected_claims(book, frame):
    fitted = FrequencyModel(family="binomial").fit(book)
    expected = fitted.expected_claims(book)
    assert expected.sum() == pytest.approx(frame["claims"].sum(), rel=1e-12)
    share = -np.expm1(-fitted.rates(book) / frame["n_lines"])
    np.testing.assert_allclose(expected, frame["n_lines"] * share, rtol=1e-12)
    half = fitted.expected_claims(book, offset=np.full(book.n_orders, np.log(0.5)))
    np.testing.assert_allclose(half, frame["n_lines"] * -np.expm1(np.log1p(-share) / 2), rtol=1e-12)
    without = fitted.expected_claims(book, without=["zone", "category"])
    np.testing.assert_allclose(without, frame["n_lines"] * -np.expm1(-fitted.base * fitted.off_balance), rtol=1e-12)


def test_lines_rate_nothing_by_themselves(book, frame):
    assert set(FrequencyModel().fit(book).tables) == {"zone", "category"}
    amounts = OrderBook.from_counts(
        frame.assign(paid=8.0 * frame["claims"]), claims="claims", amount="paid", factors=[Factor("zone")],
        lines="n_lines",
    )  # fmt: skip
    assert set(SeverityModel().fit(amounts).tables) == {"zone"}
    assert set(SeverityModel(["n_lines"]).fit(amounts).tables) == {"n_lines"}


def test_a_new_book_keeps_the_coding_of_the_lines(book, frame, together):
    later = OrderBook.from_counts(frame.head(50), claims="claims", factors=list(book.codings.values()), lines="n_lines")
    assert later.codings == book.codings
    np.testing.assert_array_equal(together.rates(later), together.rates(book)[:50])
    np.testing.assert_array_equal(book.select(frame["n_lines"].to_numpy() == 5).line_count, 5)


def test_the_number_of_lines_may_rate_too(frame):
    book = OrderBook.from_counts(
        frame, claims="claims", factors=[Factor("zone"), Factor("size", column="n_lines")], lines="n_lines"
    )
    fitted = FrequencyModel(family="binomial").fit(book)
    assert list(fitted.tables) == ["zone", "size", "n_lines"]
    assert np.abs(fitted.tables["size"]).max() < 0.1


def severity_of(frame):
    amounts = frame.assign(paid=8.0 * frame["claims"])
    return SeverityModel(["zone"]).fit(
        OrderBook.from_counts(amounts, claims="claims", amount="paid", factors=[Factor("zone"), Factor("category")])
    )


@pytest.mark.parametrize("cover", [
    Cover(max_claims=1), Cover(max_claims=3), Cover(max_claims=None), Cover(max_claims=2, merge_share=0.7),
    Cover(max_claims=None, merge_share=1.0),
])  # fmt: skip
@pytest.mark.parametrize("family", ["binomial", "beta_binomial"])
def test_tariff_prices_the_lines_of_an_order(book, frame, cover, family):
    frequency = FrequencyModel(family=family).fit(book)
    tariff = Tariff.build(frequency, severity_of(frame), cover=cover)
    orders = frame.drop(columns="claims").drop_duplicates().reset_index(drop=True)
    priced = tariff.price(orders)
    n = orders["n_lines"].to_numpy()
    share = -np.expm1(-priced["claim_intensity"].to_numpy() / n)
    exact = expected_line_claims(
        n, share, correlation=frequency.family_parameter, max_claims=cover.max_claims, merge_share=cover.merge_share
    )
    np.testing.assert_allclose(priced["expected_claims"], exact, rtol=1e-7)
    quoted = tariff.quote(orders.iloc[3].to_dict())
    assert quoted["list_fen"] == priced["list_fen"].iloc[3]


def test_tariff_of_lines_is_saved_and_explained(book, frame, together, tmp_path, capsys):
    tariff = Tariff.build(together, severity_of(frame), cover=Cover(max_claims=2, merge_share=0.4))
    orders = frame.drop(columns="claims").head(200)
    tariff.save(tmp_path / "lines.json")
    loaded = load_tariff(tmp_path / "lines.json")
    pd.testing.assert_frame_equal(loaded.price(orders), tariff.price(orders))
    sheet = loaded.explain(orders.iloc[0].to_dict())
    assert "x n_lines" in capsys.readouterr().out
    assert any("40% of further ones picked up with the first" in line for line in sheet.rows)
    with pytest.raises(InputError, match="n_lines"):
        loaded.price(orders.assign(n_lines=9))


def test_paid_claims_match_simulation_within_three_standard_errors(book, frame, together):
    tariff = Tariff.build(together, severity_of(frame), cover=Cover(max_claims=2))
    # As the tariff sees them, the orders of the book again, with new returns.
    again = simulated(n=200_000, seed=77)
    priced = tariff.price(again)["expected_claims"].to_numpy()
    paid = np.minimum(again["claims"], 2)
    truth = expected_line_claims(
        again["n_lines"],
        -np.expm1(-BASE * np.exp(ZONE[again["zone"]] + CATEGORY[again["category"]])),
        correlation=CORRELATION, max_claims=2,
    )  # fmt: skip
    error = paid.std() / np.sqrt(len(paid))
    assert abs(truth.mean() - paid.mean()) < 3 * error
    # The fit adds its own error, of 30,000 orders.
    assert abs(priced.mean() - paid.mean()) < 3 * error * np.sqrt(1 + 200_000 / book.n_orders)


@given(
    most=st.integers(1, 6), correlation=st.sampled_from([0.0, 0.02, 0.3, 0.9]),
    max_claims=st.one_of(st.none(), st.integers(1, 7)), merge_share=st.floats(0.0, 1.0),
)  # fmt: skip
def test_line_curves_keep_their_error(most, correlation, max_claims, merge_share):
    curves = line_count_curves(most, correlation=correlation, max_claims=max_claims, merge_share=merge_share)
    assert len(curves) % (most + 1) == 0
    pieces = len(curves) // (most + 1)
    np.testing.assert_array_equal(curves[-pieces:], curves[-2 * pieces : -pieces])
    t = np.concatenate([np.geomspace(1e-8, 0.1, 40), np.linspace(0.1, 0.999, 60)])
    for n in range(1, most + 1):
        curve = curves[(n - 1) * pieces : n * pieces]
        piece = np.minimum((t * pieces).astype(int), pieces - 1)
        u = t * pieces - piece
        value = t * (((curve[piece, 3] * u + curve[piece, 2]) * u + curve[piece, 1]) * u + curve[piece, 0])
        share = -np.expm1(-t / (1 - t) / n)
        exact = expected_line_claims(
            np.full(len(t), n), share, correlation=correlation, max_claims=max_claims, merge_share=merge_share
        )
        np.testing.assert_allclose(value, exact, rtol=2e-7)


@pytest.mark.parametrize(("n", "q", "r", "any_claim", "claims", "parcels"), [
    (2, 0.10, 0.0, 0.190, 1.05, 1.02), (2, 0.10, 0.3, 0.163, 1.23, 1.07), (3, 0.20, 0.0, 0.488, 1.23, 1.07),
    (3, 0.20, 0.3, 0.386, 1.55, 1.17), (5, 0.20, 0.3, 0.481, 2.08, 1.32), (5, 0.40, 0.3, 0.762, 2.63, 1.49),
])  # fmt: skip
def test_uplift_of_paying_several_claims_and_what_merged_pickup_takes_back(n, q, r, any_claim, claims, parcels):
    first, every, merged = (
        expected_line_claims([n], q, correlation=r, **terms)[0]
        for terms in ({"max_claims": 1}, {"max_claims": None}, {"max_claims": None, "merge_share": 0.7})
    )
    assert first == pytest.approx(any_claim, abs=5e-4)
    assert every / first == pytest.approx(claims, abs=6e-3)
    assert merged / first == pytest.approx(parcels, abs=6e-3)


@pytest.mark.parametrize("most", [2, 5])
@pytest.mark.parametrize("dispersion", [0.0, 0.7])
def test_parcels_of_counts_match_simulation(most, dispersion):
    rng = np.random.default_rng(9)
    mean = 0.8 if dispersion == 0 else rng.gamma(1 / dispersion, 0.8 * dispersion, 400_000)
    claims = np.minimum(rng.poisson(mean, 400_000), most)
    first = np.minimum(claims, 1)
    parcels = first + 0.4 * (claims - first)
    ours = expected_claims(np.array([0.8]), max_claims=most, dispersion=dispersion, merge_share=0.6)[0]
    assert abs(ours - parcels.mean()) < 3 * parcels.std() / np.sqrt(len(parcels))


def test_merchant_experience_of_lines(frame):
    orders = frame.assign(order_id=range(len(frame)), merchant_id=np.arange(len(frame)) % 50, ship_date=AS_OF)
    rows = np.repeat(np.arange(len(frame)), frame["claims"])
    claims = pd.DataFrame({"order_id": rows, "freight": 8.0, "report_date": AS_OF, "claim_id": range(len(rows))})
    book = OrderBook.from_frames(
        orders, claims, factors=[Factor("zone"), Factor("category")], as_of=AS_OF, lines="n_lines"
    )
    fitted = FrequencyModel(family="beta_binomial").fit(book)
    periods = merchant_periods(book, fitted, merchant=orders["merchant_id"])
    assert periods["expected"].sum() == pytest.approx(fitted.expected_claims(book).sum())
    assert periods["claims"].sum() == book.n_claims


@pytest.mark.parametrize(("change", "match"), [
    ({"n_lines": 0}, r"'n_lines' is no whole number from 1 to 255 in \d+ rows"),
    ({"n_lines": 1.5}, "'n_lines' is no whole number"),
    ({"n_lines": 256}, "'n_lines' is no whole number"),
])  # fmt: skip
def test_bad_lines_are_refused(frame, change, match):
    with pytest.raises(InputError, match=match):
        counted(frame.head(9).assign(**change))


def test_bad_calls_are_refused(frame, book):
    plain = OrderBook.from_counts(frame, claims="claims", factors=[Factor("zone")])
    with pytest.raises(InputError, match="does not know how many lines an order has; build it with lines="):
        FrequencyModel(family="binomial").fit(plain)
    with pytest.raises(InputError, match="more claims than 'n_lines' in"):
        FrequencyModel(family="binomial").fit(counted(frame.assign(claims=frame["claims"] + 1)))
    with pytest.raises(InputError, match="'n_lines' counts the lines, and the family already uses it"):
        FrequencyModel(["n_lines"], family="binomial").fit(book)
    with pytest.raises(InputError, match="'n_lines' is the name of a factor too"):
        OrderBook.from_counts(frame, claims="claims", factors=[Factor("n_lines")], lines="n_lines")
    with pytest.raises(InputError, match="missing column 'parts'"):
        OrderBook.from_counts(frame, claims="claims", factors=[Factor("zone")], lines="parts")
    with pytest.raises(InputError, match="merge_share needs a number of claims"):
        Tariff.build(FrequencyModel().fit(book), severity_of(frame), cover=Cover(max_claims=None, merge_share=0.5))
    with pytest.raises(InputError, match="merge_share"):
        Cover(merge_share=1.5)
    with pytest.raises(FitError, match="a claim in every order"):
        FrequencyModel(family="binomial").fit(counted(frame.assign(claims=frame["n_lines"])))
    with pytest.raises(InputError, match="expected claims come from a frequency model"):
        severity_of(frame).expected_claims(book)
