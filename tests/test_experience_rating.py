"""Experience in a tariff: the curve of the score, merchants' own modifications, and each claim counted once."""

from dataclasses import replace
from math import comb

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freightrisk import (
    Band,
    ByLevel,
    Cover,
    ExperienceRating,
    Factor,
    FrequencyModel,
    InputError,
    Interval,
    Loadings,
    OrderBook,
    ScoreCurve,
    SeverityModel,
    Smooth,
    Subsidy,
    Tariff,
    TariffDocumentError,
    merchant_experience,
)
from freightrisk.credibility import lagged_scores, merchant_periods
from freightrisk.lines import at_most_one_claim
from freightrisk.reports import gate_report
from freightrisk.tariff.document import parse_tariff
from freightrisk.tariff.parts import plain_of
from strategies import CODINGS, band_coding, draw_batch, put_together, rate_tables, seeds

LOGISTICS = band_coding(Band("logistics", [4.3, 4.6], column="tenure_days", valid=(0.0, 100.0), missing="level"))


def curve_of(relativity, coding=CODINGS["score"], **more):
    """Return a curve with even weights on its bands."""
    bands = coding.n_levels
    weight = np.append(np.ones(bands), np.zeros(coding.n_slots - bands))
    return ScoreCurve(
        coding, np.append(relativity, np.ones(coding.n_slots - bands)), weight, **{"version": "v1"} | more
    )


FALLING = [1.5, 1.2, 1.0, 0.7]


def tariff_of(experience, rng=None, **more):
    rng = np.random.default_rng(4) if rng is None else rng
    return put_together(
        frequency=rate_tables(["channel", "category"], rng, 0.3),
        severity=rate_tables(["zone"], rng, 9.0),
        experience=experience,
        **more,
    )


@st.composite
def experiences(draw):
    """Experiences with a score, a sub-score, both or neither, and some of the batches' merchants."""
    rng = np.random.default_rng(draw(seeds))
    curves = [curve_of(np.sort(np.exp(rng.normal(0, 0.4, 4)))[::-1])]
    curves.append(curve_of(np.sort(np.exp(rng.normal(0, 0.4, 3))), CODINGS_2, higher_is_better=False))
    curves = [curve for curve, kept in zip(curves, draw(st.tuples(st.booleans(), st.booleans())), strict=True) if kept]
    names = draw(st.lists(st.sampled_from(["m1", "m2", "absent"]), unique=True, min_size=0 if curves else 1))
    return ExperienceRating(
        curves, {name: float(np.exp(rng.normal(0, 0.4))) for name in names}, off_balance=draw(SCALES)
    )


CODINGS_2 = band_coding(Band("weight", [1.5, 4.0], column="weight_kg", valid=(0.0, 100.0)))
SCALES = st.sampled_from([1.0, 0.9, 1.1])


# In the price


@given(experiences(), seeds)
def test_a_merchant_has_its_modification_and_all_others_the_curve(experience, seed):
    rng = np.random.default_rng(seed)
    frame = draw_batch(rng, 30)
    plain = tariff_of(None, cover=Cover(max_claims=None)).price(frame)
    priced = tariff_of(experience, cover=Cover(max_claims=None)).price(frame)
    score = np.ones(len(frame))
    for curve in experience.curves:
        score *= curve.at(frame[curve.coding.columns[0]])
    own = frame["merchant_id"].map(dict(experience.mods)).astype(float).to_numpy()
    expected = np.where(np.isnan(own), score, own) * experience.off_balance
    np.testing.assert_allclose(priced["claim_intensity"] / plain["claim_intensity"], expected, rtol=1e-12)
    np.testing.assert_allclose(priced["pure_premium"] / plain["pure_premium"], expected, rtol=1e-12)


@given(experiences(), seeds)
def test_quotes_and_worksheets_are_the_batch(experience, seed):
    frame = draw_batch(np.random.default_rng(seed), 4)
    tariff = tariff_of(experience, subsidies=[Subsidy("half", "platform", percent_of_list=0.5)])
    priced = tariff.price(frame)
    for row, order in zip(priced.to_dict("records"), frame.to_dict("records"), strict=True):
        assert tariff.quote(order) == row
        sheet = str(tariff.explain(order))  # which compares the slow twin with the kernel
        if order["merchant_id"] in experience.mods:
            assert f"own experience of merchant {order['merchant_id']}" in sheet
    document_bytes = msgspec.json.encode(plain_of(tariff))
    pd.testing.assert_frame_equal(parse_tariff(document_bytes).price(frame), priced)


@given(seeds)
def test_the_price_never_rises_with_the_score_and_forgets_it_once_a_merchant_is_rated(seed):
    rng = np.random.default_rng(seed)
    frame = draw_batch(rng, 40)
    tariff = tariff_of(ExperienceRating([curve_of(FALLING)], {"m1": 1.3}))
    better = frame.assign(experience_score=np.minimum(5.0, frame["experience_score"] + rng.uniform(0, 0.5, 40)))
    before, after = tariff.price(frame), tariff.price(better)
    assert (after["list_fen"] <= before["list_fen"]).all()
    rated = (frame["merchant_id"] == "m1").to_numpy()
    pd.testing.assert_frame_equal(after[rated], before[rated])


def test_whole_numbers_name_merchants_as_well():
    frame = draw_batch(np.random.default_rng(1), 20).assign(merchant_id=np.arange(20))
    priced = tariff_of(ExperienceRating(mods={3: 2.0, np.int64(5): 0.5})).price(frame)
    plain = tariff_of(ExperienceRating(mods={99: 2.0})).price(frame)
    ratio = (priced["claim_intensity"] / plain["claim_intensity"]).round(12)
    assert ratio.tolist() == [2.0 if k == 3 else 0.5 if k == 5 else 1.0 for k in range(20)]


@pytest.mark.parametrize("kind", ["i2", "i4", "i8", "u8", "Int64", "float", "category", "str", "far"])
@pytest.mark.parametrize("curves", [[], [curve_of(FALLING)]])
def test_a_merchant_is_found_however_its_number_is_held(kind, curves):
    n, far = 400, 10**12 if kind == "far" else 1
    held = "str" if kind == "str" else "i8"
    names = (np.arange(n) % 50 * far).astype(held).tolist()
    frame = draw_batch(np.random.default_rng(1), n).assign(merchant_id=names)
    mods = {name: 1.0 + k / 100 for k, name in enumerate(dict.fromkeys(names[7:90:3]))}
    priced = tariff_of(ExperienceRating(curves, mods)).price(frame)
    if kind not in ("str", "far"):
        frame = frame.astype({"merchant_id": kind})
    pd.testing.assert_frame_equal(tariff_of(ExperienceRating(curves, mods)).price(frame), priced)
    plain = tariff_of(None).price(frame)
    ratio = (priced["claim_intensity"] / plain["claim_intensity"]).to_numpy()
    expected = np.array([mods.get(name, np.nan) for name in names])
    if curves:
        expected = np.where(np.isnan(expected), curves[0].at(frame["experience_score"]), expected)
    np.testing.assert_allclose(ratio, np.nan_to_num(expected, nan=1.0), rtol=1e-12)


def test_unrated_merchants_of_a_score_that_is_missing():
    curve = curve_of([1.2, 1.0, 0.8, 1.1], replace(LOGISTICS, paths=(*LOGISTICS.paths, ("(missing)",)), lookup={
        **LOGISTICS.lookup, ("(missing)",): 3}))  # fmt: skip
    frame = draw_batch(np.random.default_rng(1), 40).assign(tenure_days=np.nan)
    priced = tariff_of(ExperienceRating([curve])).price(frame)
    plain = tariff_of(None).price(frame)
    np.testing.assert_allclose(priced["claim_intensity"], plain["claim_intensity"] * curve.relativity[3], rtol=1e-12)
    assert priced["unseen_level"].equals(plain["unseen_level"])


def test_polars_and_arrow_orders_price_alike():
    pl, pa = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    frame = draw_batch(np.random.default_rng(1), 20).drop(columns=["member"])
    tariff = tariff_of(ExperienceRating([curve_of(FALLING)], {"m1": 1.3, "m2": 0.5}))
    priced = tariff.price(frame)
    assert tariff.price(pl.from_pandas(frame))["list_fen"].to_list() == priced["list_fen"].tolist()
    assert tariff.price(pa.Table.from_pandas(frame))["list_fen"].to_pylist() == priced["list_fen"].tolist()


def test_a_programme_gate_moves_no_technical_premium():
    gated = Subsidy("star", "platform", percent_of_list=0.5, where={"experience_score": Interval(above=4.8)})
    coding = band_coding(Band("score", [4.5, 4.7, 4.9], column="experience_score", valid=(1.0, 5.0)))
    curve = curve_of(FALLING, coding)
    tariff = tariff_of(ExperienceRating([curve]), subsidies=[gated])
    frame = draw_batch(np.random.default_rng(2), 1).loc[[0, 0, 0]].reset_index(drop=True)
    priced = tariff.price(frame.assign(experience_score=[4.79, 4.8, 4.81]))
    assert priced["technical_premium"].nunique() == 1
    assert curve.step_at(4.8) == 0.0
    assert (priced["platform_fen"] > 0).tolist() == [False, False, True]  # strictly above


def test_the_curve_at_scores():
    curve = curve_of(FALLING)
    np.testing.assert_array_equal(curve.at([1.0, 4.2, 4.21, 4.8, 5.0]), curve.relativity[[0, 0, 1, 2, 3]])
    assert np.isnan(curve.at([[np.nan, 4.0]])).tolist() == [[True, False]]
    with pytest.raises(InputError, match=r"outside \[1, 5\] in 1 row"):
        curve.at([4.5, 5.1])


def test_the_step_at_a_score():
    assert curve_of(FALLING).step_at(4.8) == pytest.approx(0.7 / 1.0 - 1)
    assert curve_of(FALLING).step_at(4.79) == 0.0


# The curve


def test_a_curve_is_monotone_whichever_way():
    for relativity in ([1.0, 1.1, 0.9, 0.8], [1.5, 1.2, 0.7, 0.71]):
        with pytest.raises(InputError, match="rises"):
            curve_of(relativity)
    with pytest.raises(InputError, match="falls"):
        curve_of(FALLING, higher_is_better=False)
    assert curve_of(FALLING[::-1], higher_is_better=False).relativity[0] < 1


@given(seeds, st.floats(0.01, 100.0))
def test_a_curve_is_one_on_average_and_centring_keeps_every_ratio(seed, size):
    rng = np.random.default_rng(seed)
    curve = curve_of(np.sort(rng.uniform(0.2, 3.0, 4))[::-1])
    weight = np.append(size * rng.random(4), 0.0)
    again = curve.rebalanced(weight)
    assert weight @ again.relativity == pytest.approx(weight.sum(), rel=1e-12)
    np.testing.assert_allclose(again.relativity / curve.relativity, again.relativity[0] / curve.relativity[0])
    assert again.premium_loss(weight) == pytest.approx(0.0, abs=1e-12)
    assert again.rebalanced(weight).relativity.tolist() == again.relativity.tolist()


@pytest.mark.parametrize("relative", [0.7, 0.85, 1.0])
def test_the_leak_of_scores_that_drift(relative):
    # DOMAIN: the share above 4.8 goes from 30 % to 36 %, and premium falls by 0.06 (1 - r) / (0.70 + 0.30 r).
    coding = band_coding(Band("score", [4.8], column="experience_score", valid=(1.0, 5.0)))
    curve = ScoreCurve(coding, np.array([1.0, relative, 1.0]), np.array([70.0, 30.0, 0.0]), "v1")
    assert curve.premium_loss([64.0, 36.0, 0.0]) == pytest.approx(0.06 * (1 - relative) / (0.70 + 0.30 * relative))

    def book_of(above):
        frame = draw_batch(np.random.default_rng(1), 1).loc[[0] * 100].reset_index(drop=True)
        return frame.assign(experience_score=[5.0] * above + [4.5] * (100 - above))

    tariff = tariff_of(ExperienceRating([curve]), cover=Cover(max_claims=None))
    before = tariff.price(book_of(30))["pure_premium"].sum()
    drifted = tariff.price(book_of(36))["pure_premium"].sum()
    assert 1 - drifted / before == pytest.approx(0.06 * (1 - relative) / (0.70 + 0.30 * relative), abs=1e-12)
    centred = tariff.with_off_balance(book_of(36))
    assert centred.price(book_of(36))["pure_premium"].sum() == pytest.approx(before, rel=1e-11)


@given(experiences(), seeds, st.sampled_from([1, 2, None]))
def test_a_centred_experience_leaves_the_books_premium(experience, seed, max_claims):
    frame = draw_batch(np.random.default_rng(seed), 50)
    cover, more = Cover(max_claims=max_claims), {"rounding": "dither", "dither_key": "k"}
    centred = tariff_of(experience, cover=cover, **more).with_off_balance(frame)
    expected = tariff_of(None, cover=cover).price(frame)["pure_premium"].sum()
    assert centred.price(frame)["pure_premium"].sum() == pytest.approx(expected, rel=1e-11)
    assert centred.rounding == "dither"


def test_what_cannot_be_a_curve_or_an_experience():
    with pytest.raises(InputError, match="is a Factor"):
        ScoreCurve(CODINGS["zone"], np.ones(4), np.ones(4), "v1")
    with pytest.raises(InputError, match="must be above zero"):
        curve_of([1.0, 1.0, 0.5, 0.0])
    with pytest.raises(InputError, match="above zero somewhere"):
        ScoreCurve(CODINGS["score"], np.ones(5), np.zeros(5), "v1")
    with pytest.raises(InputError, match="needs a curve or modifications"):
        ExperienceRating()
    with pytest.raises(InputError, match="read column 'experience_score'"):
        ExperienceRating([curve_of(FALLING), curve_of(FALLING)])
    with pytest.raises(InputError, match="one merchant as 1 and as '1'"):
        ExperienceRating(mods={1: 1.0, "1": 1.0})
    with pytest.raises(InputError, match="merchant 'a' is nan"):
        ExperienceRating(mods={"a": float("nan")})
    with pytest.raises(InputError, match="no experience to balance"):
        tariff_of(None).with_off_balance(draw_batch(np.random.default_rng(1), 2))


def test_scores_of_another_version_are_refused():
    curve = curve_of(FALLING, version="2025", version_column="segment")
    tariff = tariff_of(ExperienceRating([curve], {"m1": 1.3}))
    frame = draw_batch(np.random.default_rng(1), 3).assign(segment="2025")
    assert len(tariff.price(frame)) == 3
    with pytest.raises(InputError, match=r"'segment' is another version in .*row.*version '2025'"):
        tariff.price(frame.assign(segment=["2025", "2024", None]))
    order = frame.iloc[0].to_dict()
    with pytest.raises(InputError, match="version '2025'"):
        tariff.quote(order | {"segment": "2024"})


def test_an_experience_in_a_document_that_contradicts_itself():
    tariff = tariff_of(ExperienceRating([curve_of(FALLING)], {"m1": 1.3, "m2": 0.5}))
    whole = msgspec.json.decode(msgspec.json.encode(plain_of(tariff)))
    for change in ({"mods": [1.3]}, {"merchants": ["m1", "m1"]}, {"mods": [1.3, -1.0]}, {"scale": 0.0}):
        broken = whole | {"experience": whole["experience"] | change}
        with pytest.raises(TariffDocumentError):
            parse_tariff(msgspec.json.encode(broken))


# Never twice


@pytest.fixture(scope="module")
def history():
    """A book of merchants whose score tells part of their risk, the true risk of each, and a fit with the score."""
    rng = np.random.default_rng(7)
    n, n_merchants = 60_000, 400
    score = np.round(np.clip(rng.normal(4.7, 0.15, n_merchants), 4.2, 5.0), 2)
    risk = np.exp(-1.5 * (score - 4.7)) * rng.gamma(8, 1 / 8, n_merchants)
    size = rng.pareto(1.0, n_merchants) + 0.2
    merchant = rng.choice(n_merchants, n, p=size / size.sum())
    far = rng.random(n) < 0.5
    claims = rng.poisson(0.06 * np.where(far, 1.5, 1.0) * risk[merchant])
    orders = pd.DataFrame(
        {
            "order_id": np.arange(n), "merchant_id": merchant, "zone": np.where(far, "far", "near"),
            "experience_score": score[merchant],
            "ship_date": np.datetime64("2026-01-01") + rng.integers(0, 90, n).astype("timedelta64[D]"),
        }
    )  # fmt: skip
    filed = pd.DataFrame({"order_id": np.repeat(np.arange(n), claims), "freight": 8.0})
    filed["report_date"] = orders["ship_date"].to_numpy()[filed["order_id"]] + np.timedelta64(5, "D")
    filed["claim_id"] = np.arange(len(filed))  # one fee and one lag, so an order's claims differ in their id alone
    edges = [4.4, 4.5, 4.6, 4.7, 4.8, 4.9]
    book = OrderBook.from_frames(
        orders, filed, factors=[Factor("zone"), Band("experience_score", edges, valid=(0, 5))], as_of="2026-07-01"
    )
    frequency = FrequencyModel(["zone", Smooth("experience_score", monotone="decreasing")]).fit(book)
    return orders, book, frequency, risk


def test_a_curve_alone_prices_as_the_model_it_was_taken_from(history):
    orders, book, frequency, _ = history
    severity = SeverityModel(["zone"]).fit(book)
    curve = ScoreCurve.of(frequency, book, version="2025")
    plain = Tariff.build(frequency, severity)
    moved = Tariff.build(frequency, severity, experience=ExperienceRating([curve]))
    np.testing.assert_allclose(
        moved.price(orders.head(500))["technical_premium"],
        plain.price(orders.head(500))["technical_premium"],
        rtol=1e-12,
    )
    assert list(moved.frequency.tables) == ["zone"]
    assert "experience_score" not in moved.codings
    # A load by level of the score still reads it.
    loads = Loadings(
        fraud_load=ByLevel("experience_score", {frequency.codings["experience_score"].labels[0]: 0.2}, default=0.0)
    )
    loaded = Tariff.build(frequency, severity, experience=ExperienceRating([curve]), loadings=loads)
    priced = loaded.price(orders.head(500))
    low = orders.head(500)["experience_score"].to_numpy() <= 4.4
    np.testing.assert_allclose(
        priced["technical_premium"] / priced["pure_premium"], np.where(low, 1.2, 1.0), rtol=1e-12
    )
    assert moved.provenance["experience"]["scores"]["experience_score"]["version"] == "2025"
    # With the curve flat the premium of the book is the same: the curve's average is in the base.
    whole, flat = (
        Tariff.build(frequency, severity, experience=found, cover=Cover(max_claims=None))
        for found in (None, ExperienceRating([curve]).without_effect())
    )
    assert flat.price(orders)["pure_premium"].sum() == pytest.approx(
        whole.price(orders)["pure_premium"].sum(), rel=1e-9
    )
    # Nor does it matter where the fit had its relativities centred.
    effect = frequency.fitted_effects["experience_score"]
    effects = {**frequency.fitted_effects, "experience_score": replace(effect, table=effect.table + np.log(2.0))}
    shifted = replace(frequency, fitted_effects=effects, intercept=frequency.intercept - np.log(2.0))
    again = ScoreCurve.of(shifted, book, version="2025")
    assert again.base_factor == pytest.approx(2.0 * curve.base_factor, rel=1e-12)
    np.testing.assert_allclose(again.relativity, curve.relativity, rtol=1e-12)
    built = Tariff.build(shifted, severity, experience=ExperienceRating([again]))
    assert built.frequency.base == pytest.approx(moved.frequency.base, rel=1e-12)


def test_the_same_claims_never_count_twice(history):
    _, book, frequency, _ = history
    severity = SeverityModel(["zone"]).fit(book)
    curve = ScoreCurve.of(frequency, book, version="2025")
    tariff = Tariff.build(frequency, severity, experience=ExperienceRating([curve], {1: 1.1}))
    rates = tariff.frequency
    stars = replace(curve.coding.declared, name="stars", column="experience_score")
    shop = Factor("shop", column="merchant_id")
    for coding in (replace(curve.coding, declared=stars), replace(CODINGS["merchant_class"], declared=shop)):
        again = replace(rates, tables={**rates.tables, coding.name: np.ones(coding.n_slots)})
        with pytest.raises(InputError, match="would count twice"):
            replace(tariff, frequency=again, codings={**tariff.codings, coding.name: coding})
    other = curve_of(FALLING, band_coding(Band("experience_score", [4.2, 4.5, 4.8], valid=(0.0, 5.0))))
    with pytest.raises(InputError, match="other bands"):
        Tariff.build(frequency, severity, experience=ExperienceRating([other]))


def test_merchants_are_rated_around_the_curve_on_claims_that_leave_the_score_out(history):
    orders, book, frequency, _ = history
    curve = ScoreCurve.of(frequency, book, version="2025")
    experience = ExperienceRating.of(book, frequency, orders["merchant_id"], [curve], version="2026-07")
    periods = merchant_periods(book, frequency, orders["merchant_id"], without=["experience_score"])
    periods["expected"] *= curve.base_factor
    scores = orders.groupby("merchant_id")["experience_score"].first()
    periods["prior"] = curve.at(periods["merchant_id"].map(scores))
    expected = merchant_experience(periods, prior="prior").merchants["experience_mod"]
    assert experience.mods == pytest.approx(expected.to_dict(), rel=1e-12)
    assert experience.rated.groups["balance"].iloc[0] == pytest.approx(1.0, abs=1e-6)
    few = ExperienceRating.of(book, frequency, orders["merchant_id"], [curve], min_credibility=0.5)
    z = experience.rated.merchants["credibility_z"]
    assert set(few.mods) == set(z.index[z >= 0.5])
    assert 0 < len(few.mods) < len(z)


def test_rated_merchants_are_nearer_the_truth_than_by_score_or_by_claims_alone(history):
    orders, book, frequency, risk = history
    curve = ScoreCurve.of(frequency, book, version="2025")
    experience = ExperienceRating.of(book, frequency, orders["merchant_id"], [curve])
    table = experience.rated.merchants
    base = frequency.base * curve.base_factor / 0.06
    truth = pd.Series(risk).loc[table.index] / base / np.exp(frequency.tables["zone"][1])  # zone is far, near
    size = table["expected"]

    def error(found):
        return float((size * (found - truth) ** 2).sum())

    assert error(table["experience_mod"]) < 0.9 * min(error(table["prior"]), error(table["ratio"].fillna(1.0)))


def test_a_new_rating_departs_by_a_quarter_at_most(history):
    orders, book, frequency, _ = history
    curve = ScoreCurve.of(frequency, book, version="2025")
    before = ExperienceRating([curve], dict.fromkeys(range(0, 400, 2), 1.0))
    rated = ExperienceRating.of(book, frequency, orders["merchant_id"], [curve], previous=before)
    free = ExperienceRating.of(book, frequency, orders["merchant_id"], [curve])
    assert any(not 0.75 <= mod <= 1.25 for mod in free.mods.values())
    for merchant, mod in rated.mods.items():
        assert mod == (min(1.25, max(0.75, free.mods[merchant])) if merchant % 2 == 0 else free.mods[merchant])


def test_claims_that_do_not_count_owners_and_fading(history):
    orders, book, frequency, _ = history
    fraud = book.claim_count * (orders["merchant_id"] % 3 == 0).to_numpy()
    clean = ExperienceRating.of(book, frequency, orders["merchant_id"], excluded=fraud)
    assert (clean.rated.merchants["claims"].loc[::3] == 0).all()
    owner = {k: k // 2 for k in range(400)}
    shared = ExperienceRating.of(book, frequency, orders["merchant_id"], owner=owner, half_life_days=60.0)
    pairs = pd.Series(dict(shared.mods)).groupby(lambda k: k // 2).nunique()
    assert (pairs == 1).all()


def test_process_variance_of_orders_that_claim_at_most_once(history):
    orders, book, frequency, _ = history
    one_claim = at_most_one_claim(book)
    bernoulli = FrequencyModel(["zone", Smooth("experience_score", monotone="decreasing")], family="bernoulli")
    fitted = bernoulli.fit(one_claim)
    curve = ScoreCurve.of(fitted, one_claim, version="2025")
    options = {"half_life_days": 60.0, "excluded": np.zeros(book.n_orders)}
    poisson, rated = (
        ExperienceRating.of(one_claim, fitted, orders["merchant_id"], [curve], process=process, **options)
        for process in ("poisson", "bernoulli")
    )
    periods = merchant_periods(one_claim, fitted, orders["merchant_id"], without=["experience_score"])
    periods["expected"] *= curve.base_factor
    periods["squared_expected"] *= curve.base_factor**2
    scores = orders.groupby("merchant_id")["experience_score"].first()
    periods["prior"] = curve.at(periods["merchant_id"].map(scores))
    known = merchant_experience(periods, prior="prior", process="bernoulli", age_days="age_days", half_life_days=60.0)
    assert rated.mods == pytest.approx(known.merchants["experience_mod"].to_dict(), rel=1e-12)
    assert rated.rated.groups["variance"].iloc[0] > poisson.rated.groups["variance"].iloc[0] > 0
    with pytest.raises(InputError, match="the model is of family 'poisson', in which an order may have several claims"):
        ExperienceRating.of(book, frequency, orders["merchant_id"], process="bernoulli")
    with pytest.raises(InputError, match="process"):
        ExperienceRating.of(book, frequency, orders["merchant_id"], process="binomial")


# Scores and gates


@given(seeds, st.integers(0, 12))
def test_lagged_scores_are_the_last_before_the_lag(seed, days):
    rng = np.random.default_rng(seed)
    day = np.datetime64("2026-01-01")
    history = pd.DataFrame(
        {
            "merchant_id": rng.choice(["a", "b", "c"], 12),
            "date": day + rng.permutation(12).astype("timedelta64[D]"),
            "experience_score": rng.uniform(4, 5, 12),
        }
    )
    orders = pd.DataFrame(
        {
            "merchant_id": rng.choice(["a", "b", "d"], 15),
            "ship_date": day + rng.integers(0, 30, 15).astype("timedelta64[D]"),
        },
        index=rng.permutation(15),
    )
    orders.loc[orders.index[3], "ship_date"] = pd.NaT
    found = lagged_scores(orders, history, days=days)
    assert found.index.equals(orders.index)
    for order, score in zip(orders.itertuples(), found, strict=True):
        earlier = history[
            (history["merchant_id"] == order.merchant_id)
            & (history["date"] <= order.ship_date - pd.Timedelta(days=days))
        ]  # fmt: skip
        expected = earlier.sort_values("date")["experience_score"].tolist()[-1:]
        assert [score] == expected or (np.isnan(score) and not expected)


def test_a_gate_report_by_hand():
    scores = np.array([4.7, 4.75, 4.8, 4.80001, 4.85, 4.9, 4.9, 4.95, np.nan])
    report = gate_report(scores, [9, 1, 2, 1, 0, 1, 0, 9, 9], np.ones(9), gate=4.8, width=0.1)
    assert report["units"].tolist() == [2, 4]  # 4.70 is outside, 4.80 below
    assert report["claims"].tolist() == [3, 2]
    assert report["ratio"].tolist() == [1.5, 0.5]
    assert report["p_gathering"].iloc[0] == pytest.approx(sum(comb(6, k) for k in (4, 5, 6)) / 2**6)
    # 2 of 5 claims above, with 4 of 6 expected there: as unlikely or more are 0, 1 and 2 of 5, and 5 of 5 is not.
    likely = [comb(5, k) * (4 / 6) ** k * (2 / 6) ** (5 - k) for k in range(6)]
    assert report["p_ratio"].iloc[0] == pytest.approx(sum(p for p in likely if p <= likely[2] * (1 + 1e-7)))
    with pytest.raises(InputError, match="widen"):
        gate_report(scores, np.ones(9), np.ones(9), gate=3.0)
