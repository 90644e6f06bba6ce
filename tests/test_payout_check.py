"""The payout curve of a severity's family beside the severity's own claims, and the warning if the two part."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from freightrisk import (
    Band,
    ByLevel,
    Cover,
    Factor,
    FreightRiskWarning,
    FrequencyModel,
    InputError,
    Interaction,
    Limit,
    OrderBook,
    SeverityModel,
    Solver,
    Tariff,
)
from freightrisk.models.limited_means import RATIOS, SAMPLE_ROWS, family_test
from freightrisk.shapes import EmpiricalShape, ParetoTail, ScaleShape
from freightrisk.tariff.payout_check import UNLIKELY, payout_check

SPREADS = {
    "gamma": lambda rng, n: rng.gamma(2.0, 0.5, n),
    "lognormal": lambda rng, n: np.exp(0.8 * rng.standard_normal(n) - 0.32),
}
MEANS = np.array([8.0, 12.0, 20.0])
LIMITS = (0.5, 1.0, 2.0, 4.0)


def book_of(amounts, zone=None):
    zone = np.zeros(len(amounts), dtype=int) if zone is None else zone
    orders = pd.DataFrame({"order_id": range(len(amounts)), "zone": zone, "side": np.arange(len(amounts)) % 2})
    claims = pd.DataFrame({"order_id": range(len(amounts)), "freight": amounts})
    return OrderBook.from_frames(
        orders, claims, factors=[Factor("zone"), Factor("side")], ship_date=None, report_date=None
    )


def drawn(n, spread="gamma", seed=0):
    """Return claims of three zones whose ratios to their means have one distribution."""
    rng = np.random.default_rng(seed)
    zone = rng.integers(0, 3, n)
    return book_of(MEANS[zone] * SPREADS[spread](rng, n), zone)


def models(book, family="gamma", factors=("zone",), **more):
    return FrequencyModel([]).fit(book), SeverityModel(list(factors), family=family).fit(book, **more)


def quiet(call, *arguments, **more):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FreightRiskWarning)
        return call(*arguments, **more)


@pytest.fixture(scope="module")
def freight_by_weight(shared_data):
    """Return half of a marketplace's freight as a book, with a frequency and a gamma severity by weight."""
    frame = pd.read_parquet(shared_data / "marketplace_freight" / "order_items.parquet")
    frame = frame[(frame["freight_value"] > 0) & frame["product_weight_g"].notna()].sample(frac=0.5, random_state=1)
    book = OrderBook.from_counts(
        frame.assign(one=1), factors=[Band("product_weight_g", 20)], claims="one", amount="freight_value"
    )
    return book, FrequencyModel([]).fit(book), SeverityModel().fit(book)


def build(book, cover, family="gamma", shape=None, **more):
    return Tariff.build(*models(book, family, **more), cover=cover, shape=shape)


def doubted(book, family="gamma"):
    """Return whether a tariff would warn under any limit from half to five times the mean freight."""
    severity = SeverityModel(["zone"], family=family).fit(book, solver=Solver(threads=1))
    test = family_test(severity)
    if test is None or test.p_value >= UNLIKELY:
        return False  # under every limit
    covers = [Cover(limit=float(ratio * MEANS.mean())) for ratio in LIMITS]
    return any(payout_check(severity, severity, cover, severity.codings).is_doubtful for cover in covers)


# Laws


@given(st.lists(st.floats(0.1, 50.0), min_size=20, max_size=200))
def test_own_limited_means_are_averages_of_the_smaller_of_ratio_and_limit(amounts):
    z = np.array(amounts) / np.mean(amounts)
    assume(np.var(z) > 1e-5)
    known = SeverityModel([]).fit(book_of(amounts)).statistics.limited_means
    np.testing.assert_allclose(known.means, [np.minimum(z, ratio).mean() for ratio in known.ratios], rtol=1e-7)
    np.testing.assert_allclose(known.paid, [known.means], rtol=1e-7)  # one mean, one group
    assert known.n_claims == len(amounts)
    np.testing.assert_allclose(known.freight, np.mean(amounts), rtol=1e-7)


@given(st.lists(st.tuples(st.floats(0.1, 50.0), st.integers(0, 3)), min_size=60, max_size=200))
def test_payouts_of_the_groups_are_those_of_their_claims(claims):
    amount, zone = np.array([one for one, _ in claims]), np.array([zone for _, zone in claims])
    amount = amount * 3.0**zone  # fitted means far enough apart for groups of their own
    severity = SeverityModel(["zone"], family="gamma").fit(book_of(amount, zone))
    known = severity.statistics.limited_means
    assume(known is not None and len(known.shares) == len(np.unique(zone)))
    mean = {level: amount[zone == level].mean() for level in zone}
    for group, level in enumerate(sorted(mean, key=mean.__getitem__)):
        assert known.shares[group] == pytest.approx((zone == level).mean(), rel=1e-6)
        assert known.freight[group] == pytest.approx(mean[level], rel=1e-5)
        limits = np.array(known.ratios) * known.freight[group]
        own = np.minimum.outer(limits, amount[zone == level]).mean(axis=1)
        np.testing.assert_allclose(np.array(known.paid[group]) * known.freight[group], own, rtol=1e-4)


SHAPES = {0: 10.0, 1: 2.0, 2: 0.6}  # of gamma amounts by zone: far zones spread more


@pytest.mark.parametrize("limit", [
    6.0, 12.0, 20.0, 40.0, ByLevel("zone", {"0": 6.0, "1": 12.0, "2": 30.0}),
    ByLevel("side", {"0": 8.0, "1": 20.0}),
])  # fmt: skip
def test_the_stated_size_is_the_tariffs_error_where_the_spread_depends_on_the_mean(limit):
    rng = np.random.default_rng(3)
    zone = rng.integers(0, 3, 30_000)
    shape = np.array(list(SHAPES.values()))[zone]
    book = book_of(MEANS[zone] * rng.gamma(shape, 1.0 / shape), zone)
    frequency, severity = models(book, factors=("zone", "side"))
    tariff = quiet(Tariff.build, frequency, severity, cover=Cover(max_claims=None, limit=limit))
    orders = pd.DataFrame({"zone": book.codes["zone"], "side": book.codes["side"]})
    expected = tariff.price(orders)["expected_payout"].mean()
    most = limit if isinstance(limit, float) else np.array(list(limit.values.values()))[book.codes[limit.factor]]
    paid = np.minimum(book.claim_amount, most).mean()
    told = tariff.provenance["payout_check"]
    slack = 1e-3 if isinstance(limit, float) else 3e-3  # the check rounds the mean freight of a level to 1 %
    assert told["expected"] == pytest.approx(expected, rel=slack)
    assert told["paid"] == pytest.approx(paid, rel=slack)
    assert told["difference"] == pytest.approx(expected / paid - 1.0, abs=slack)


@pytest.mark.parametrize("limit", [10.0, 15.0, 20.0, 30.0, 50.0])
def test_the_stated_size_is_the_tariffs_error_on_real_freight(freight_by_weight, limit):
    book, frequency, severity = freight_by_weight
    tariff = quiet(Tariff.build, frequency, severity, cover=Cover(max_claims=None, limit=limit))
    mean = severity.predict(book)
    expected = (mean * tariff.curves.limit_curve.share(mean / limit)).sum()
    error = expected / np.minimum(book.claim_amount, limit).sum() - 1.0
    assert tariff.provenance["payout_check"]["difference"] == pytest.approx(error, abs=1.5e-3)


@given(st.floats(0.01, 1000.0))
def test_the_unit_of_money_changes_nothing(unit):
    book = drawn(300, "lognormal")
    scaled = replace(book, claims=replace(book.claims, amount=book.claim_amount * unit))
    found, again = (SeverityModel(["zone"]).fit(one).statistics.limited_means for one in (book, scaled))
    np.testing.assert_allclose(found.means, again.means, rtol=1e-6)
    # Bins of means and of amounts begin at other amounts, which moves their edges but not their sums.
    assert sum(found.shares) == pytest.approx(sum(again.shares))
    one, two = (np.array(known.shares) * known.freight for known in (found, again))
    assert one.sum() * unit == pytest.approx(two.sum(), rel=1e-6)


@pytest.mark.parametrize("family", ["gamma", "lognormal"])
def test_standard_errors_are_those_of_many_books(family):
    # The difference of own limited means and curve, over 200 books of the family, has the stated standard error.
    found, told = [], []
    for seed in range(200):
        test = family_test(SeverityModel(["zone"], family=family).fit(drawn(1_000, family, seed)))
        found.append(test.own - test.curve)
        told.append(test.std_errors)
    middle = (RATIOS >= 0.25) & (RATIOS <= 3.0)
    spread, stated = np.std(found, axis=0)[middle], np.mean(told, axis=0)[middle]
    assert (np.abs(spread / stated - 1.0) < 0.2).all()
    assert (np.abs(np.mean(found, axis=0)[middle]) < 0.5 * stated).all()


def test_the_check_is_the_difference_of_the_two_payouts_of_the_book():
    book = drawn(5_000, "lognormal")
    frequency, severity = models(book)
    mean = severity.predict(book)
    for cover, limit in (
        (Cover(max_claims=None, limit=11.0), np.full(5_000, 11.0)),
        (Cover(max_claims=None, limit=ByLevel("zone", {"0": 6.0, "1": 12.0, "2": 30.0})),
         np.array([6.0, 12.0, 30.0])[book.codes["zone"]]),
    ):  # fmt: skip
        ratio = book.claim_amount / mean[book.claim_row]
        own = mean.mean() * np.minimum(ratio / ratio.mean() * mean, limit).mean() / mean.mean()
        curve = (mean * ScaleShape(severity.dispersion * severity.statistics.df_residual / 5_000).limited(
            limit / mean
        )).mean()  # fmt: skip
        check = payout_check(frequency, severity, cover, severity.codings)
        assert check.difference == pytest.approx(curve / own - 1.0, abs=4e-3)
        assert check.difference < -0.02


# Truth: no false alarms, and none missing


@pytest.mark.parametrize(("n", "books"), [
    (100, 100), (1_000, 40), pytest.param(10_000, 100, marks=pytest.mark.slow),
    pytest.param(100_000, 20, marks=pytest.mark.slow),
])  # fmt: skip
def test_a_family_that_is_right_is_not_doubted(n, books):
    for family in SPREADS:
        alarms = sum(doubted(drawn(n, family, seed), family) for seed in range(books))
        assert alarms <= max(1, books // 100)


def test_a_wrong_family_is_doubted_at_2000_claims():
    for seed in range(25):
        assert doubted(drawn(2_000, "lognormal", seed))


def test_a_sample_of_real_freight_is_doubted_and_its_own_shape_pays_what_was_paid(shared_data, freight_by_weight):
    # Freight of a marketplace is two-peaked around its mean by weight; the gamma curve pays 3 % less at half the mean.
    frame = pd.read_parquet(shared_data / "marketplace_freight" / "order_items.parquet")
    frame = frame[(frame["freight_value"] > 0) & frame["product_weight_g"].notna()]
    held = frame.drop(frame.sample(frac=0.5, random_state=1).index)
    book, frequency, severity = freight_by_weight
    later = OrderBook.from_counts(
        held.assign(one=1), factors=[*book.codings.values()], claims="one", amount="freight_value"
    )
    mean, amount = severity.predict(later), later.claim_amount
    limit = float(0.75 * mean.mean())
    with pytest.warns(FreightRiskWarning, match="the gamma curve pays .* less"):
        tariff = Tariff.build(frequency, severity, cover=Cover(max_claims=None, limit=limit))
    shape = EmpiricalShape.fit(severity, book)
    own = Tariff.build(frequency, severity, cover=tariff.cover, shape=shape)
    paid = np.minimum(amount * mean.sum() / amount.sum(), limit).mean()
    by_curve, by_own = (t.price(held)["expected_payout"].mean() / paid - 1.0 for t in (tariff, own))
    assert abs(by_own) < 0.5 * abs(by_curve)


@pytest.mark.parametrize("limit", [8.0, 12.0, 40.0])
def test_a_tariff_warns_with_size_direction_and_cure(limit):
    book = drawn(20_000, "lognormal")
    direction = "less" if limit < 20.0 else "more"
    match = (
        rf"the gamma curve pays \d+\.\d% {direction} under a limit of {limit:g} yuan .*: \d+\.\d+ yuan a claim "
        r"instead of \d+\.\d+ \(20,000 claims, .*shape=EmpiricalShape.fit\(severity, book\)"
    )
    with pytest.warns(FreightRiskWarning, match=match):
        tariff = build(book, Cover(max_claims=None, limit=limit))
    own = build(book, Cover(max_claims=None, limit=limit), shape=EmpiricalShape.fit(models(book)[1], book))
    orders = pd.DataFrame({"zone": book.codes["zone"]})
    with_own, with_curve = (t.price(orders)["expected_payout"].mean() for t in (own, tariff))
    told = tariff.provenance["payout_check"]
    assert with_own == pytest.approx(np.minimum(book.claim_amount, limit).mean(), rel=0.01)
    assert told["difference"] == pytest.approx(with_curve / with_own - 1.0, abs=5e-3)


def test_limits_by_rule_are_compared_one_after_another():
    book = drawn(20_000, "lognormal")
    large = Limit("large", 5_000.0, where={"zone": [2]}, priority=1)
    limits = [large, Limit("base", 12.0), Limit("nothing", 0.0, where={"zone": [9]}, priority=2)]
    with pytest.warns(FreightRiskWarning, match="under a limit of 12 yuan"):
        tariff = build(book, Cover(limits=limits[:2]))
    assert tariff.provenance["payout_check"]["highest_limit"] == 12.0
    with pytest.warns(FreightRiskWarning, match="under a limit of 8 yuan"):
        build(book, Cover(limit=8.0, limits=[large]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build(book, Cover(limits=[large]))
        build(book, Cover(limits=limits[:2]), "lognormal")
        build(book, Cover(limits=[Limit("share", 12.0, share=0.05, of="price")]))  # its amounts are not known
        build(book, Cover(deductible=3.0))


def test_the_right_family_and_covers_without_a_limit_give_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build(drawn(20_000, "lognormal"), Cover(max_claims=None))
        build(drawn(20_000, "lognormal"), Cover(limit=12.0), "lognormal")
        build(drawn(20_000, "gamma"), Cover(limit=12.0))
        build(drawn(20_000, "lognormal"), Cover(limit=5_000.0))  # no claim comes near this limit


def test_a_given_shape_is_not_compared():
    book = drawn(20_000, "lognormal")
    for shape in (ScaleShape(0.9), ParetoTail(ScaleShape(0.9), 3.0, 3.0)):
        assert "payout_check" not in build(book, Cover(limit=12.0), shape=shape).provenance


def test_a_check_stays_in_the_document():
    with pytest.warns(FreightRiskWarning, match="gamma curve"):
        tariff = build(drawn(3_000, "lognormal"), Cover(limit=9.0))
    from freightrisk.tariff.document import parse_tariff
    from freightrisk.tariff.parts import document_of

    again = parse_tariff(document_of(tariff))
    assert again.provenance["payout_check"] == tariff.provenance["payout_check"]
    assert again == tariff


# What is not compared


def test_amounts_at_their_limit_have_no_limited_means():
    book = drawn(2_000)
    cut = replace(book, claims=replace(book.claims, amount=np.minimum(book.claim_amount, 15.0)))
    assert SeverityModel(["zone"]).fit(cut, limit=15.0).statistics.limited_means is None
    assert SeverityModel(["zone"]).fit(book, limit=1e5).statistics.limited_means is not None


def test_fits_with_many_parameters_few_claims_or_another_family_have_no_limited_means():
    rng = np.random.default_rng(3)
    crowded = book_of(rng.gamma(2.0, 0.5, 300), np.arange(300) // 5)
    assert SeverityModel(["zone"]).fit(crowded).statistics.limited_means is None
    assert SeverityModel([]).fit(book_of(rng.gamma(2.0, 0.5, 19))).statistics.limited_means is None
    assert SeverityModel([], family="inverse_gaussian").fit(crowded).statistics.limited_means is None
    assert FrequencyModel([]).fit(crowded).statistics.limited_means is None


def test_averages_of_several_claims_are_left_out():
    cells = pd.DataFrame({"zone": ["a"] * 600, "n": [1] * 300 + [4] * 300})
    cells["freight"] = np.random.default_rng(1).gamma(2.0 * cells["n"], 5.0)
    book = OrderBook.from_counts(cells, claims="n", amount="freight", factors=[Factor("zone")])
    assert SeverityModel([]).fit(book).statistics.limited_means.n_claims == 300


def test_flat_amounts_are_not_compared():
    book = book_of(np.full(100, 8.0))
    assert family_test(SeverityModel([]).fit(book)) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build(book, Cover(limit=6.0), factors=())


def test_a_large_book_is_compared_by_a_sample():
    n = 2 * SAMPLE_ROWS
    book = drawn(n)
    known = SeverityModel(["zone"]).fit(book).statistics.limited_means
    assert known.n_claims == SAMPLE_ROWS
    assert sum(known.shares) == pytest.approx(1.0)
    weight = np.array(known.shares) * known.freight
    np.testing.assert_allclose(weight @ known.paid, weight @ known.expected, rtol=0.01)
    np.testing.assert_allclose(known.means, ScaleShape(0.5).limited(known.ratios), rtol=0.01)


def test_limits_of_a_factor_in_an_interaction_are_found():
    book = drawn(5_000, "lognormal")
    cover = Cover(
        limit=ByLevel("side", {"0": 6.0, "1": 12.0}), first_weight_fee=ByLevel("zone", {"0": 5.0}, default=9.0)
    )
    frequency = FrequencyModel([]).fit(book)
    by_factor = payout_check(frequency, models(book, factors=("zone", "side"))[1], cover, book.codings)
    crossed = SeverityModel([Interaction("zone", "side", variance=0.1)]).fit(book)
    assert payout_check(frequency, crossed, cover, book.codings).difference == pytest.approx(
        by_factor.difference, abs=0.01
    )


# Offsets


def test_a_severity_with_an_offset_is_refused():
    book = drawn(200)
    with pytest.raises(InputError, match=r"severity was fitted with offset=.* Fit the severity without it"):
        build(book, Cover(max_claims=None), offset=np.full(200, np.log(0.3)))


def test_an_offset_of_reported_shares_is_accepted_and_one_of_exposures_warned_of():
    book = drawn(200)
    severity = SeverityModel(["zone"]).fit(book)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for share in (0.3, 1.0, 1.4):
            frequency = FrequencyModel([]).fit(book, offset=np.full(200, np.log(share)))
            assert Tariff.build(frequency, severity, cover=Cover(max_claims=None)).frequency.base == pytest.approx(
                1.0 / share, rel=1e-6
            )
    frequency = FrequencyModel([]).fit(book, offset=np.log(np.full(200, 365.0)))
    with pytest.warns(FreightRiskWarning, match=r"offset of up to 5.9, a factor of 365, but .* exposure="):
        Tariff.build(frequency, severity, cover=Cover(max_claims=None))
