"""Fraud loads from audits: the exact posterior, what must not change an estimate, and planted loads recovered."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from freightrisk import (
    ByLevel,
    Cover,
    Factor,
    FitError,
    FrequencyModel,
    InputError,
    Loadings,
    OrderBook,
    SeverityModel,
    Tariff,
    simulate_book,
)
from freightrisk.credibility import fraud_loads

COUNTED = pd.DataFrame(
    {"category": ["phones", "shoes", "toys", "lamps"], "audited": [900, 1500, 60, 400], "fraud": [36, 15, 2, 9]}
)


@st.composite
def audits(draw, least=2):
    """Audited claims of some segments, of which some are fraud."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    audited = np.array(draw(st.lists(st.integers(1, 3_000), min_size=least, max_size=8)))
    spread = draw(st.sampled_from([1.0, 30.0, 1e6]))
    fraud = rng.binomial(audited, rng.beta(0.05 * spread, 0.95 * spread, len(audited)))
    fraud[0] = min(max(fraud[0], 1), audited[0] - 1)
    if not 0 < fraud.sum() < audited.sum():
        audited[0], fraud[0] = 30, 2
    return pd.DataFrame({"segment": [f"s{k}" for k in range(len(audited))], "audited": audited, "fraud": fraud})


def log_likelihood(frame, mean, prior):
    return stats.betabinom(frame["audited"], mean * prior, (1.0 - mean) * prior).logpmf(frame["fraud"]).sum()


def test_mean_and_prior_have_the_largest_likelihood():
    found = fraud_loads(COUNTED, by="category")
    best = optimize.minimize(
        lambda x: -log_likelihood(COUNTED, 1.0 / (1.0 + np.exp(-x[0])), np.exp(x[1])),
        [-3.5, 5.0],
        method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4_000},
    )  # fmt: skip
    assert found.collective == pytest.approx(1.0 / (1.0 + np.exp(-best.x[0])), rel=1e-5)
    assert found.prior_audits == pytest.approx(np.exp(best.x[1]), rel=1e-4)


@given(audits())
def test_no_neighbour_is_likelier(frame):
    found = fraud_loads(frame, by="segment")
    if np.isinf(found.prior_audits):
        pooled = frame["fraud"].sum() / frame["audited"].sum()
        assert found.collective == pytest.approx(pooled)
        likely = stats.binom(frame["audited"], pooled).logpmf(frame["fraud"]).sum()
        assert likely >= log_likelihood(frame, pooled, 1e5) - 1e-4
        return
    likely = log_likelihood(frame, found.collective, found.prior_audits)
    for mean, prior in ((1.01, 1.0), (0.99, 1.0), (1.0, 1.05), (1.0, 0.95)):
        assert likely >= log_likelihood(frame, found.collective * mean, found.prior_audits * prior) - 1e-7


def test_the_share_is_the_posterior_mean_of_a_beta_prior():
    # Credibility is exact here: the posterior by a sum, without the formula of credibility.
    found = fraud_loads(COUNTED, by="category")
    prior = stats.beta(found.collective * found.prior_audits, (1.0 - found.collective) * found.prior_audits)
    precision = 0.0
    for n in COUNTED["audited"]:
        mixed = stats.betabinom(n, prior.args[0], prior.args[1])
        precision += 1.0 / (mixed.var() / n**2)
    for row in found.table.itertuples():
        # Midpoints over all shares at which the posterior is not negligible.
        u = (np.arange(400_000) + 0.5) / 400_000 * min(1.0, 8.0 * (row.fraud + 1) / row.audited)
        weight = np.exp(prior.logpdf(u) + stats.binom(row.audited, u).logpmf(row.fraud))
        total, mean, square = (float(np.sum(u**power * weight)) for power in range(3))
        assert row.undetected_share == pytest.approx(mean / total, rel=1e-6)
        assert row.fraud_load == pytest.approx(row.undetected_share / (1.0 - row.undetected_share), rel=1e-12)
        variance = square / total - (mean / total) ** 2 + (1.0 - row.credibility_z) ** 2 / precision
        assert row.share_std_error == pytest.approx(np.sqrt(variance), rel=1e-6)
        assert row.load_std_error == pytest.approx(row.share_std_error / (1.0 - row.undetected_share) ** 2, rel=1e-12)


@given(audits(), st.integers(0, 2**32 - 1))
def test_rows_may_be_split_shuffled_and_weighted_alike(frame, seed):
    rng = np.random.default_rng(seed)
    whole = fraud_loads(frame, by="segment")
    audited, fraud = frame["audited"].to_numpy(), frame["fraud"].to_numpy()
    part = rng.hypergeometric(fraud, audited - fraud, audited // 2)
    halves = pd.concat([frame.assign(audited=audited // 2, fraud=part),
                        frame.assign(audited=audited - audited // 2, fraud=fraud - part)])  # fmt: skip
    halves = halves.sample(frac=1.0, random_state=seed % 2**31)
    claims = frame.loc[frame.index.repeat(audited), ["segment"]]
    claims["fraud"] = np.concatenate([np.arange(n) < k for n, k in zip(audited, fraud, strict=True)]).astype(int)
    for again in (
        fraud_loads(halves, by="segment"),
        fraud_loads(halves.assign(weight=250.0), by="segment", weight="weight"),
        fraud_loads(claims, by="segment", audited=None),
    ):
        table = again.table.sort_values("segment").reset_index(drop=True)
        pd.testing.assert_frame_equal(table, whole.table, rtol=1e-7)


@given(audits())
def test_shares_lie_between_their_own_and_the_collective(frame):
    table, mean = fraud_loads(frame, by="segment").table, fraud_loads(frame, by="segment").collective
    low, high = np.minimum(table["observed_share"], mean), np.maximum(table["observed_share"], mean)
    assert ((table["undetected_share"] >= low * (1 - 1e-9)) & (table["undetected_share"] <= high * (1 + 1e-9))).all()
    assert table["credibility_z"].between(0.0, 1.0).all()
    assert (table["share_std_error"] > 0.0).all()
    in_order = table.sort_values("audited")
    assert in_order["credibility_z"].is_monotonic_increasing


def test_segments_alike_have_the_pooled_share():
    frame = pd.DataFrame({"segment": list("abc"), "audited": [200, 300, 500], "fraud": [4, 6, 10]})
    found = fraud_loads(frame, by="segment")
    assert found.prior_audits == np.inf
    assert found.table["credibility_z"].tolist() == [0.0] * 3
    np.testing.assert_allclose(found.table["undetected_share"], 0.02, rtol=1e-12)
    np.testing.assert_allclose(found.table["share_std_error"], np.sqrt(0.02 * 0.98 / 1_000), rtol=1e-12)


def test_a_segment_without_audits_has_the_collective():
    found = fraud_loads(
        pd.concat([COUNTED, pd.DataFrame({"category": ["new"], "audited": 0, "fraud": 0})]), by="category"
    )
    new = found.table.set_index("category").loc["new"]
    assert (new["credibility_z"], new["undetected_share"]) == (0.0, found.collective)
    assert np.isnan(new["observed_share"])
    without = fraud_loads(COUNTED, by="category")
    np.testing.assert_allclose(found.table.set_index("category").loc["phones"][1:].astype(float),
                               without.table.set_index("category").loc["phones"][1:].astype(float))  # fmt: skip


def test_weights_undo_targeted_audits():
    # Two strata in each segment: suspicious claims are audited 20 times as often and are fraud 10 times as often.
    rng = np.random.default_rng(3)
    rows = []
    for segment, share in (("a", 0.02), ("b", 0.05), ("c", 0.01), ("d", 0.03)):
        for suspicious, rate, claims, each in ((True, 5.3, 10_000, 0.2), (False, 0.53, 90_000, 0.01)):
            audited = round(claims * each)
            fraud = rng.binomial(audited, share * rate)
            rows.append((segment, suspicious, share, audited, fraud, 1.0 / each))
    frame = pd.DataFrame(rows, columns=["segment", "suspicious", "share", "audited", "fraud", "weight"])
    truth = frame.groupby("segment")["share"].first() * (0.1 * 5.3 + 0.9 * 0.53)
    found = fraud_loads(frame, by="segment", weight="weight").table.set_index("segment")
    distance = (found["undetected_share"] - truth) / found["share_std_error"]
    assert (distance.abs() < 2.0).all()
    targeted = fraud_loads(frame, by="segment").table.set_index("segment")
    assert ((targeted["undetected_share"] - truth) / targeted["share_std_error"] > 5.0).all()


def test_standard_errors_are_the_spread_around_planted_shares():
    # 40 segments in each of 40 samples: mean squared distance over squared standard error is 1 in expectation.
    rng = np.random.default_rng(8)
    squares, inside = [], []
    for _ in range(40):
        truth = rng.beta(0.02 * 200, 0.98 * 200, 40)
        audited = rng.integers(50, 1_500, 40)
        frame = pd.DataFrame({"segment": range(40), "audited": audited, "fraud": rng.binomial(audited, truth)})
        table = fraud_loads(frame, by="segment").table
        distance = (table["undetected_share"] - truth) / table["share_std_error"]
        squares.append(np.mean(distance**2))
        inside.append(np.mean(np.abs(distance) < 2.0))
    assert np.mean(squares) == pytest.approx(1.0, abs=0.12)
    assert np.mean(inside) == pytest.approx(0.954, abs=0.02)


def test_planted_loads_are_recovered_and_priced():
    """From a simulated book and its audits to a tariff that pays for the planted fraud."""
    sim, rng = simulate_book(150_000, seed=11), np.random.default_rng(13)
    shipped = sim.orders[sim.orders["ship_date"].notna()].astype({"zone": str})
    genuine = sim.claims.merge(shipped[["order_id", "zone"]], on="order_id")
    zones = sorted(shipped["zone"].unique())
    shares = dict(zip(zones, [0.01, 0.05, 0.02, 0.08, 0.03, 0.04][: len(zones)], strict=True))
    load = genuine["zone"].map({zone: share / (1.0 - share) for zone, share in shares.items()})
    copies = rng.poisson(load)  # fraud that nobody found, of the same cost as genuine claims
    paid = pd.concat([genuine.assign(is_fraud=0), genuine.loc[genuine.index.repeat(copies)].assign(is_fraud=1)])
    sampled = paid.sample(frac=0.4, random_state=5)
    found = fraud_loads(sampled, by="zone", audited=None, fraud="is_fraud")
    table = found.table.set_index("zone")
    planted = pd.Series({zone: share / (1.0 - share) for zone, share in shares.items()})
    assert ((table["fraud_load"] - planted.loc[table.index]).abs() < 2.0 * table["load_std_error"]).all()
    book = OrderBook.from_frames(shipped, genuine, factors=[Factor("zone")], report_date=None)
    models = FrequencyModel().fit(book), SeverityModel().fit(book)
    tariff = Tariff.build(*models, cover=Cover(max_claims=None), loadings=Loadings(fraud_load=found.by_level()))
    priced = tariff.price(shipped)["technical_premium"].groupby(shipped["zone"].to_numpy()).sum()[table.index]
    cost = paid.groupby("zone")["freight"].sum()[table.index]
    # The base covers genuine claims exactly by zone; the rest is the planted fraud, within its sampling error.
    genuine_cost = genuine.groupby("zone")["freight"].sum()[table.index]
    np.testing.assert_allclose(priced, genuine_cost * (1.0 + table["fraud_load"]), rtol=1e-6)
    np.testing.assert_allclose(priced, cost, rtol=0.02)


def test_the_loads_are_amounts_of_a_factor():
    found = fraud_loads(COUNTED, by="category")
    by_level = found.by_level("goods")
    assert isinstance(by_level, ByLevel)
    assert by_level.factor == "goods"
    assert by_level.default == found.collective_load == found.collective / (1.0 - found.collective)
    assert by_level.values["shoes"] == found.table.set_index("category").loc["shoes", "fraud_load"]
    assert found.by_level(default=0.0).default == 0.0
    assert repr(found).startswith("FraudLoads: 62 of 2,860 audited claims are fraud; collective 0.02")


def one(**columns):
    return pd.DataFrame({"segment": ["a", "b"], "audited": [10, 20], "fraud": [1, 2]} | columns)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fraud_loads(one(), by="zone"), "audits: missing column 'zone'"),
        (lambda: fraud_loads(one(), by="segment", weight="w"), "audits: missing column 'w'"),
        (lambda: fraud_loads(one(segment=["a", None]), by="segment"), "column 'segment' is missing in 1 row"),
        (
            lambda: fraud_loads(one(fraud=[11, 2]), by="segment"),
            "'fraud' is above the number of audited claims in 1 row",
        ),
        (lambda: fraud_loads(one(fraud=[-1, 2]), by="segment"), "'fraud' is no whole number of claims in 1 row"),
        (lambda: fraud_loads(one(audited=[10.5, 20]), by="segment"), "'audited' is no whole number of claims in 1 row"),
        (lambda: fraud_loads(one(audited=[10, np.nan]), by="segment"), "'audited' is no whole number"),
        (lambda: fraud_loads(one(w=[0.0, 1.0]), by="segment", weight="w"), "column 'w'"),
        (lambda: fraud_loads(one().head(0), by="segment"), "audits has no rows"),
        (lambda: fraud_loads(one(audited=["a", "b"], fraud=[0, 1]), by="audited", audited=None), "by is 'audited'"),
    ],
)
def test_bad_calls(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize(
    ("fraud", "message"),
    [
        ([0, 0], r"no fraud among 30 audited claims; their share is below 0.095 with 95 % confidence"),
        ([10, 20], "every audited claim is fraud"),
    ],
)
def test_audits_that_give_no_load(fraud, message):
    with pytest.raises(FitError, match=message):
        fraud_loads(one(fraud=fraud), by="segment")


def test_categories_without_rows_are_no_segments():
    audits = pd.DataFrame({"c": ["p", "s"], "audited": [900, 1500], "fraud": [36, 15]})
    wide = audits.assign(c=pd.Categorical(audits["c"], categories=["zz", "s", "p"]))
    found, plain = (fraud_loads(one, by="c").table.set_index("c") for one in (wide, audits))
    assert sorted(found.index) == ["p", "s"]
    np.testing.assert_allclose(found.loc[plain.index], plain)
    with pytest.raises(InputError, match="more than can be counted"):
        fraud_loads(pd.concat([audits.assign(audited=2**53, fraud=5)] * 2), by="c")
