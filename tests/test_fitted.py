"""What a fit shows of itself: its summary, its table of effects, and the reprs of its parts."""

import numpy as np
import pandas as pd
import pytest

from freightrisk import (
    Band,
    Credibility,
    Factor,
    FitError,
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
)
from freightrisk.inference import likelihood_ratio_test

FACTORS = [Factor("zone"), Band("score", [1.0, 2.0, 3.0])]
PARTLY = [Free("zone"), Smooth("score", variance=0.01)]


def frame_of(n=3_000, seed=5):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"zone": rng.choice(["near", "far"], n), "score": rng.uniform(0, 4, n), "n_lines": 3})
    frame["merchant"] = rng.integers(0, 40, n)
    mean = np.exp(-0.7 + 0.5 * (frame["zone"] == "far") - 0.1 * frame["score"])
    frame["many"] = rng.negative_binomial(1.0, 1.0 / (1.0 + mean))
    frame["once"] = (rng.random(n) < -np.expm1(-mean)).astype(int)
    frame["few"] = rng.binomial(3, 0.2, n)
    frame["together"] = np.where(rng.random(n) < 0.1, 1, 3 * rng.binomial(1, 0.2, n))
    frame["one"] = 1
    frame["amount"] = rng.gamma(3.0, 4.0 * mean)
    frame["freight"] = np.where(frame["once"] > 0, frame["amount"], 0.0)
    return frame


FRAME = frame_of()


def book_of(claims, amount=None, lines=None):
    return OrderBook.from_counts(FRAME, claims=claims, amount=amount, factors=FACTORS, lines=lines)


def frequency(family, claims, **options):
    lines = "n_lines" if "binomial" in family and family != "negative_binomial" else None
    return FrequencyModel(["zone"], family=family).fit(book_of(claims, lines=lines), **options)


@pytest.mark.parametrize(
    ("fitted", "link"),
    [
        (lambda: frequency("poisson", "many"), "log"),
        (lambda: frequency("negative_binomial", "many"), "log"),
        (lambda: frequency("bernoulli", "once"), "complementary log-log"),
        (lambda: frequency("binomial", "few"), "complementary log-log"),
        (lambda: frequency("beta_binomial", "together"), "complementary log-log"),
        (lambda: SeverityModel(["zone"]).fit(book_of("one", "amount")), "log"),
        (lambda: PurePremiumModel(["zone"]).fit(book_of("once", "freight")), "log"),
    ],
)
def test_the_summary_names_the_link_of_the_family(fitted, link):
    model = fitted()
    first = repr(model).splitlines()[0]
    assert first == f"{model.kind} model, {model.family}, {link} link, engine newton"


def test_the_summary_says_what_the_parameter_of_the_family_is():
    found = frequency("negative_binomial", "many")
    assert f"; dispersion of counts {found.family_parameter:.4g}\n" in repr(found)
    assert "; no overdispersion found (the estimate is at its lower bound 1e-06)\n" in repr(
        frequency("negative_binomial", "few")
    )
    lines = frequency("beta_binomial", "together")
    assert f"; correlation of lines {lines.family_parameter:.4g}\n" in repr(lines)
    pure = PurePremiumModel(["zone"], power=1.6).fit(book_of("once", "freight"))
    assert "; power 1.6\n" in repr(pure)
    assert "family parameter" not in "".join(repr(model) for model in (found, lines, pure))


def test_the_summary_says_why_there_is_no_deviance():
    assert "no deviance for this family; dispersion" in repr(frequency("beta_binomial", "together"))
    limit = float(np.quantile(FRAME["amount"], 0.9))
    capped = FRAME.assign(amount=np.minimum(FRAME["amount"], limit))
    book = OrderBook.from_counts(capped, claims="one", amount="amount", factors=FACTORS)
    fitted = SeverityModel(["zone"]).fit(book, limit=limit)
    assert fitted.statistics.n_censored == 300
    assert "no deviance, because 300 amounts reached the limit; dispersion" in repr(fitted)
    assert "\ndeviance" in repr(SeverityModel(["zone"]).fit(book, limit=limit + 1))


def test_the_summary_shows_clusters_and_optional_columns():
    book, zeros = book_of("many"), np.zeros(len(FRAME))
    plain = FrequencyModel().fit(book)
    clustered = FrequencyModel().fit(book, cluster=FRAME["merchant"], offset=zeros)
    both = FrequencyModel().fit(book, offset=zeros, weight=zeros + 1.0)
    assert "\nstandard errors allow for dependence within 40 clusters\n" in repr(clustered)
    assert clustered.statistics.n_clusters == 40
    assert "cluster" not in repr(plain)
    assert repr(plain).splitlines()[0].endswith("engine newton")
    assert repr(clustered).splitlines()[0].endswith(", with offset")
    assert repr(both).splitlines()[0].endswith(", with offset and weight")


@pytest.mark.parametrize("direction", ["increasing", "decreasing"])
def test_monotone_effects_are_shown(direction):
    for effect, shown in ((Free, ""), (Smooth, "smooth, ")):
        fitted = FrequencyModel(["zone", effect("score", monotone=direction)]).fit(book_of("many"))
        assert f"score (4, {shown}monotone {direction})" in repr(fitted)
        assert fitted.effects.set_index("factor")["monotone"].to_dict() == {"zone": "", "score": direction}


def test_whole_numbers_are_printed_whole():
    assert "rows 3,000; parameters 2; residual df 2,998\n" in repr(frequency("poisson", "many"))
    fitted = FrequencyModel(PARTLY).fit(book_of("many"))
    parameters = 3_000 - fitted.df_residual
    assert f"parameters {parameters:.2f}; residual df {fitted.df_residual:,.2f}\n" in repr(fitted)
    held = FrequencyModel([Credibility("zone", variance=1e-9)]).fit(book_of("many"))
    assert held.df_residual != round(held.df_residual)
    assert "parameters 1; residual df 2,999\n" in repr(held)


def test_one_step_is_a_step():
    one = FrequencyModel([]).fit(book_of("many"), solver=Solver(tolerance=0.01))
    assert len(one.steps) == 1
    assert "converged in 1 step, last move" in repr(one)


# statsmodels


def test_statsmodels_reports_its_own_iterations():
    book = book_of("many")
    referee = FrequencyModel().fit(book, solver=Solver(engine="statsmodels"))
    assert len(referee.steps) > 2
    assert referee.steps[-1].largest_move <= 1e-8
    assert f"fitted by statsmodels in {len(referee.steps)} steps, last move" in repr(referee)
    rough = FrequencyModel().fit(book, solver=Solver(engine="statsmodels", tolerance=0.01))
    assert len(rough.steps) < len(referee.steps)


def test_statsmodels_takes_the_largest_number_of_iterations():
    few = Solver(engine="statsmodels", max_iterations=1)
    with pytest.raises(FitError, match=r"did not converge in 1 iteration \(last move .*solver=Solver\(max_iterations="):
        FrequencyModel().fit(book_of("many"), solver=few)


def test_messages_name_the_solver_where_its_arguments_stand():
    book, theirs = book_of("many"), Solver(engine="statsmodels")
    with pytest.raises(InputError, match=r"solver=Solver\(engine='newton'\)"):
        FrequencyModel([Smooth("score")]).fit(book, solver=theirs)
    with pytest.raises(InputError, match=r"solver=Solver\(engine='newton'\)"):
        SeverityModel().fit(book_of("one", "amount"), limit=FRAME["amount"].max(), solver=theirs)
    with pytest.raises(FitError, match=r"solver=Solver\(max_iterations=\.\.\.\)"):
        FrequencyModel().fit(book, solver=Solver(max_iterations=2))


# Books without amounts


@pytest.mark.parametrize("model", [PurePremiumModel(["zone"]), SeverityModel(["zone"])])
def test_a_book_without_amounts_is_refused_by_models_of_amounts(model):
    book = book_of("once")
    with pytest.raises(InputError, match=rf"book has {book.n_claims:,} claims but no amounts.*amount= of OrderBook"):
        model.fit(book)


# Reprs


def test_the_parts_of_a_fit_have_short_reprs():
    frame = FRAME.assign(leaf=np.arange(len(FRAME)) % 60)
    book = OrderBook.from_counts(frame, claims="many", factors=[Hierarchy("path", ["zone", "leaf"]), Factor("zone")])
    fitted = FrequencyModel([Credibility("path"), Given("zone", {"near": 1.0, "far": 1.2})]).fit(book)
    assert repr(fitted.nodes["path"]) == "Nodes: 122 nodes of 2 depths"
    for part in (fitted.fitted_effects["path"], fitted.codings["path"], book.claims, book.reversals):
        assert "\n" not in repr(part)
        assert len(repr(part)) < 120


# Words of messages


def test_messages_count_in_the_plural_where_it_is_one():
    book, one = book_of("many"), FrequencyModel([])
    few = FRAME.assign(zone=["rare", *FRAME["zone"][1:]], many=[0, *FRAME["many"][1:]])
    with pytest.raises(FitError, match=r"factor 'zone': 1 level has exposure but no claim"):
        FrequencyModel(["zone"]).fit(OrderBook.from_counts(few, claims="many", factors=FACTORS))
    with pytest.raises(InputError, match=r"relativities of factor 'zone' have 1 value, but the factor has 2 levels"):
        FrequencyModel([Given("zone", [1.0])]).fit(book)
    with pytest.raises(InputError, match="cluster has 1 value in 3,000 rows"):
        one.fit(book, cluster=np.zeros(len(FRAME)))
    with pytest.raises(InputError, match="parameters of the larger model is 1, and of the smaller model 2; give"):
        likelihood_ratio_test(FrequencyModel(["zone"]).fit(book), one.fit(book))


def test_an_empty_list_of_names_says_none():
    bare = OrderBook.from_counts(FRAME, claims="many", factors=[])
    assert repr(bare).endswith("factors none")
    with pytest.raises(InputError, match=r"has no factor 'zone'; it has none\."):
        FrequencyModel(["zone"]).fit(bare)
    with pytest.raises(InputError, match=r"has no factor 'zone'; it has none\."):
        FrequencyModel().fit(bare).expected_claims(bare, without=["zone"])


# An estimated parameter at a bound of its range


def lines_of(claims, n_lines=4):
    frame = pd.DataFrame({"claims": claims, "n_lines": n_lines})
    return OrderBook.from_counts(frame, claims="claims", factors=[], lines="n_lines")


@pytest.mark.parametrize(("family", "book", "bound"), [
    ("negative_binomial", lines_of([1, 0] * 50), "lower"),
    ("negative_binomial", lines_of([0, 0, 1, 5] * 50), None),
    ("beta_binomial", lines_of([1] * 50), "lower"),
    ("beta_binomial", lines_of([0, 1, 2, 4] * 50), None),
])  # fmt: skip
def test_a_parameter_at_its_lower_bound_is_flagged(family, book, bound):
    found = FrequencyModel(family=family).fit(book)
    assert found.parameter_bound == bound
    assert (f"at its {bound} bound" in repr(found)) == (bound is not None)


@pytest.mark.parametrize(("family", "claims"), [
    ("negative_binomial", [0] * 2_000 + [60_000]), ("beta_binomial", [0, 4, 0] * 50),
])  # fmt: skip
def test_a_parameter_at_its_upper_bound_is_flagged_and_warned_of(family, claims):
    with pytest.warns(FreightRiskWarning, match="is at its upper bound .*, where the likelihood still rises"):
        found = FrequencyModel(family=family).fit(lines_of(claims))
    assert found.parameter_bound == "upper"
    assert "(the estimate is at its upper bound" in repr(found)


def test_families_without_an_estimated_parameter_have_no_bound():
    assert frequency("poisson", "many").parameter_bound is None
    assert PurePremiumModel(["zone"], power=1.01).fit(book_of("once", "freight")).parameter_bound is None
