"""The effect of a loss control from tables before and after: referees, exact cases, coverage, and bad tables."""

import time

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freightrisk import FitError, FreightRiskWarning, InputError, simulate_book
from freightrisk.datasets import FunnelTruth, LineTruth
from freightrisk.programme.control_contrast import StageRows, _Model, _Stratum
from freightrisk.programmes import control_effect

EFFECT = -0.13
QUIET = pytest.mark.filterwarnings("ignore::freightrisk.errors.FreightRiskWarning")


def panel(seed, *, treated=12, control=20, before=3, after=3, variation=0.2, sizes=0.7, orders=300.0, late=False):
    """Return merchant-months with a common trend, merchants' own changes and a control that takes 13 %."""
    rng = np.random.default_rng(seed)
    group = np.arange(treated + control) < treated
    size = orders * np.exp(rng.normal(0.0, sizes, len(group)) - sizes**2 / 2)
    rate = 0.2 * np.exp(rng.normal(0.0, 0.3, len(group)))
    change = np.exp(rng.normal(0.0, variation, len(group)) - variation**2 / 2)
    merchant, month = (one.ravel() for one in np.indices((len(group), before + after)))
    is_after = month >= before
    mean = rate[merchant] * np.exp(0.05 * month) * np.where(is_after, change[merchant], 1.0)
    mean *= np.where(is_after & group[merchant], 1.0 + EFFECT, 1.0)
    trials = rng.poisson(size[merchant])
    if late:  # treated merchants join in the last month before, others at the start
        trials = np.where(group[merchant] & (merchant % 2 == 0) & (month < before - 1), 0, trials)
    return pd.DataFrame(
        {
            "merchant_id": merchant + 1,
            "treated": group[merchant],
            "after": is_after,
            "month": month,
            "events": rng.binomial(trials, np.minimum(mean, 0.95)),
            "trials": trials,
            "mean": mean * trials,
        }
    )


def cells(events, trials):
    """Return four rows: control before and after, treated before and after."""
    sides = {"treated": [False, False, True, True], "after": [False, True, False, True]}
    return pd.DataFrame({**sides, "events": events, "trials": trials})


# Exact cases


@given(st.lists(st.integers(1, 10**6), min_size=4, max_size=4), st.lists(st.integers(0, 10**7), min_size=4, max_size=4))
def test_one_row_a_cell_is_the_closed_form(events, more):
    trials = np.add(events, more)
    with pytest.warns(FreightRiskWarning, match="a single row does not show how rows vary.* from Poisson counts alone"):
        found = control_effect(cells(events, trials), cluster=None)
    logs = np.log(np.divide(events, trials))
    assert np.log1p(found.effect) == pytest.approx(logs[3] - logs[2] - (logs[1] - logs[0]), rel=1e-9, abs=1e-9)
    assert found.standard_error**2 == pytest.approx((1.0 / np.array(events)).sum(), rel=1e-9)
    assert (found.overdispersion, found.degrees_of_freedom) == (pytest.approx(1.0, rel=1e-9), np.inf)
    wide = 1.959963984540054 * found.standard_error
    assert np.log1p([found.low, found.high]) == pytest.approx(
        [np.log1p(found.effect) - wide, np.log1p(found.effect) + wide], rel=1e-6, abs=1e-9
    )


def test_one_merchant_in_each_group_is_the_closed_form_too():
    table = cells([400, 420, 300, 260], [2000, 2000, 1000, 1100]).assign(merchant_id=[1, 1, 2, 2])
    with pytest.warns(FreightRiskWarning, match="control and treated: a single merchant"):
        found = control_effect(table)
    assert found.with_merchants
    assert 1 + found.effect == pytest.approx((260 / 1100) / (300 / 1000) / ((420 / 2000) / (400 / 2000)), rel=1e-12)
    assert found.standard_error**2 == pytest.approx(1 / 400 + 1 / 420 + 1 / 300 + 1 / 260, rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_a_common_trend_leaves_no_bias(seed):
    # With each count at its mean, any consistent estimate is exact, even if merchants join at different times.
    table = panel(seed, variation=0.0, late=True).drop(columns="events").rename(columns={"mean": "events"})
    assert control_effect(table, period="month").effect == pytest.approx(EFFECT, abs=1e-10)
    assert control_effect(table, period="month").pre_trend == pytest.approx(0.0, abs=1e-10)
    assert abs(control_effect(table).effect - EFFECT) > 1e-4  # without periods the trend of the late ones enters


# Referees


def test_merchant_effects_equal_statsmodels_with_dummies():
    import statsmodels.api as sm

    table = panel(3, treated=4, control=6, late=True)
    dummies = pd.get_dummies(table[["merchant_id", "month"]].astype("category"), dtype=float)
    design = dummies.drop(columns="month_0").assign(effect=1.0 * (table["treated"] & table["after"]))
    some = (table["trials"] > 0).to_numpy()
    model = sm.GLM(table["events"][some], design[some], sm.families.Poisson(), offset=np.log(table["trials"][some]))
    groups = {"groups": table["merchant_id"][some], "use_correction": False}
    fitted = model.fit(tol=1e-14, cov_type="cluster", cov_kwds=groups)
    plain = model.fit(tol=1e-14)
    found = control_effect(table, period="month")
    assert np.log1p(found.effect) == pytest.approx(fitted.params["effect"], abs=1e-9)
    assert found.standard_error**2 / found.overdispersion == pytest.approx(plain.bse["effect"] ** 2, rel=1e-7)
    one = table[some]
    rows = StageRows(
        *(one[name].to_numpy() for name in ("events", "trials", "treated", "after", "merchant_id", "month"))
    )
    model = _Model.of(rows, rows.merchant - 1, rows.period)
    influence, _, _ = model.influence(model.solved())
    squares = np.bincount(rows.merchant, influence) ** 2
    assert squares.sum() == pytest.approx(fitted.bse["effect"] ** 2, rel=1e-7)


@given(st.integers(0, 2**32 - 1), st.integers(2, 9), st.sampled_from([0.0, 0.05, 3.0]))
def test_the_variance_of_a_stratum_equals_matrices(seed, size, between):
    rng = np.random.default_rng(seed)
    poisson = rng.uniform(0.01, 1.0, size)
    part = _Stratum("treated", rng.normal(0.0, 1.0, size), poisson, np.zeros(size))
    h = poisson / poisson.sum()
    noise = np.diag(poisson + between * h**2)
    take = np.eye(size) - np.outer(h, np.ones(size))
    covariance = take @ noise @ take.T
    scale = np.diag(np.diag(noise) / np.diag(covariance))
    variance, freedom = part.variance(between)
    least = np.trace(noise) if h.max() > 0.5 else 0.0
    assert variance == pytest.approx(max(part.influence @ scale @ part.influence, least), rel=1e-9)
    assert np.trace(scale @ covariance) == pytest.approx(np.trace(noise), rel=1e-9)
    product = scale @ covariance
    assert freedom == pytest.approx(np.trace(noise) ** 2 / np.trace(product @ product), rel=1e-6)
    expected = np.diag(take @ np.diag(poisson) @ take.T).sum(), np.diag(take @ np.diag(h**2) @ take.T).sum()
    beyond, unit = part.excess()
    assert (beyond, unit) == pytest.approx((part.influence @ part.influence - expected[0], expected[1]), rel=1e-9)


def test_equal_merchants_have_one_degree_of_freedom_less_than_their_number():
    part = _Stratum("treated", np.array([1.0, -2.0, 0.5, 0.5]), np.full(4, 0.1), np.zeros(4))
    assert part.variance(0.7) == pytest.approx((4 / 3 * (1.0 + 4.0 + 0.25 + 0.25), 3.0))


# Laws


@QUIET
@given(st.integers(0, 10**6), st.booleans(), st.integers(2, 5), st.integers(2, 5))
def test_row_order_splits_and_units_change_nothing(seed, periods, treated, control):
    table = panel(seed, treated=treated, control=control, orders=60.0)
    period = "month" if periods else None
    found = control_effect(table, period=period)
    shuffled = control_effect(table.sample(frac=1.0, random_state=seed % 1000), period=period)
    half = table.assign(events=table["events"] / 2, trials=table["trials"] / 2)
    split = control_effect(pd.concat([half, half]), period=period)
    more = control_effect(table.assign(trials=3 * table["trials"]), period=period)
    for other in (shuffled, split, more):
        assert np.log1p(other.effect) == pytest.approx(np.log1p(found.effect), abs=1e-9)
    for other in (shuffled, split):
        assert other.standard_error == pytest.approx(found.standard_error, rel=1e-8)
        assert other.degrees_of_freedom == pytest.approx(found.degrees_of_freedom, rel=1e-6)
    swapped = control_effect(table.assign(treated=~table["treated"]), period=period)
    assert np.log1p(swapped.effect) == pytest.approx(-np.log1p(found.effect), abs=1e-9)
    assert swapped.standard_error == pytest.approx(found.standard_error, rel=1e-8)


@QUIET
@pytest.mark.parametrize("seed", range(5))
def test_amounts_in_fen_have_the_error_of_their_merchants(seed):
    # Freight of 900 fen an event: the error may not shrink because the numbers are larger.
    counts = panel(seed, variation=0.3)
    amounts = counts.assign(events=counts["events"] * 900, trials=counts["trials"] * 5_000)
    one, other = control_effect(counts), control_effect(amounts)
    assert other.effect == pytest.approx(one.effect, rel=1e-9)
    assert other.standard_error == pytest.approx(one.standard_error, rel=0.1)
    assert other.evidence == pytest.approx(one.evidence, rel=0.1)


@QUIET
@given(st.integers(0, 10**6), st.floats(1e-6, 10.0), st.floats(1e-6, 10.0))
def test_evidence_times_effect_is_the_shrunk_effect(seed, prior, other):
    found = control_effect(panel(seed, treated=3, control=3), prior_sd=prior)
    assert 0.0 <= found.evidence <= 1.0
    assert found.evidence * found.effect == found.shrunk_effect
    assert found.shrunk_effect == pytest.approx((1.0 + found.effect) ** found.credibility_z - 1.0, rel=1e-9, abs=1e-12)
    z = found.credibility_z
    assert z == pytest.approx(prior**2 / (prior**2 + found.standard_error**2), rel=1e-12)
    near = -np.log1p(found.effect) * z * (1.0 - z) / 2.0
    assert found.evidence - z == pytest.approx(near, abs=0.1 * np.log1p(found.effect) ** 2)
    again = control_effect(panel(seed, treated=3, control=3), prior_sd=other)
    assert (prior - other) * (found.evidence - again.evidence) >= 0.0


def test_no_effect_has_the_evidence_z():
    with pytest.warns(FreightRiskWarning):
        found = control_effect(cells([10, 10, 10, 10], 100), cluster=None)
    assert found.effect == 0.0
    assert found.evidence == found.credibility_z == pytest.approx(0.01 / (0.01 + 0.4))


@QUIET
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 2), st.integers(0, 3)), max_size=14),
    st.sampled_from([None, "month"]),
    st.sampled_from([None, "merchant_id"]),
)
def test_any_table_gives_finite_numbers_or_is_refused(rows, period, cluster):
    table = pd.DataFrame(rows, columns=["merchant_id", "month", "events", "more"], dtype=np.int64)
    table = table.assign(
        trials=table["events"] + table["more"], treated=table["merchant_id"] > 1, after=table["month"] > 1
    )
    try:
        found = control_effect(table, period=period, cluster=cluster)
    except (InputError, FitError):
        return
    assert np.isfinite([found.effect, found.standard_error, found.evidence, found.overdispersion]).all()
    assert found.low <= found.effect <= found.high
    assert found.degrees_of_freedom > 0.0
    assert found.low >= -1.0
    assert 0.0 <= found.evidence <= 1.0


# Truth


@QUIET  # a pre-trend is beyond two standard errors by chance
@pytest.mark.parametrize(("period", "seeds"), [(None, 1_000), ("month", 400)])
def test_the_interval_covers_overdispersed_merchants(period, seeds):
    tables = (panel(seed, before=1 + (period is not None), after=1) for seed in range(seeds))
    found = [control_effect(table, period=period) for table in tables]
    assert 0.93 <= np.mean([one.low <= EFFECT <= one.high for one in found]) <= 0.97
    logs = np.log1p([one.effect for one in found])
    assert np.sqrt(np.mean([one.standard_error**2 for one in found])) == pytest.approx(logs.std(), rel=0.1)
    # The exponential of an unbiased log is too large on average, by half the variance of the log.
    ratios = np.exp(logs) - logs.var() * (1 + EFFECT) / 2
    assert ratios.mean() == pytest.approx(1 + EFFECT, abs=3.5 * ratios.std() / seeds**0.5)
    assert np.mean([one.overdispersion for one in found]) > 2.0


@QUIET
def test_the_interval_covers_for_one_treated_merchant():
    found = [control_effect(panel(seed, treated=1, control=30, sizes=0.4)) for seed in range(500)]
    assert 0.92 <= np.mean([one.low <= EFFECT <= one.high for one in found]) <= 0.97


def test_a_simulated_funnel_shows_its_retained_share():
    # Before, 5 % of the requests are retained; with the tool, 13 % of the others too. Odd merchants get the tool.
    parts = []
    for seed, share in ((1, 0.05), (2, 1.0 - 0.95 * (1.0 + EFFECT))):
        book = simulate_book(150_000, seed=seed, n_merchants=60, lines=LineTruth(),
                             funnel=FunnelTruth(retained_share=share))  # fmt: skip
        merchant = book.orders.set_index("order_id")["merchant_id"]
        asked = book.requests.assign(merchant_id=lambda one, by=merchant: one["order_id"].map(by))
        asked["after"] = asked["request_date"] >= "2025-07-01"
        asked["treated"] = asked["merchant_id"] % 2 == 1
        asked["month"] = asked["request_date"].dt.strftime("%Y-%m")
        parts.append(asked[(asked["treated"] & asked["after"]) == (seed == 2)])
    asked = pd.concat(parts).assign(events=lambda one: (one["outcome"] != "retained").astype(int), trials=1)
    keys = ["merchant_id", "treated", "after", "month"]
    table = asked.groupby(keys, as_index=False)[["events", "trials"]].sum()
    found = control_effect(table, period="month")
    assert found.with_merchants
    assert found.low < EFFECT < found.high
    assert found.high < -0.05
    assert abs(np.log1p(found.pre_trend)) < 2.0 * found.pre_trend_error
    assert sum(cell.events for cell in found.cells) <= table["events"].sum()


# The trend before


def test_groups_that_did_not_move_alike_before_are_reported():
    table = panel(5, variation=0.02, before=4)
    drift = np.where(table["treated"] & ~table["after"] & (table["month"] >= 2), 0.7, 1.0)
    alike = control_effect(table, period="month").pre_trend
    table["events"] = np.floor(table["events"] * drift).astype(int)
    with pytest.warns(
        FreightRiskWarning, match=r"changed by -\d+\.\d% relative to the control group, which is \d+\.\d"
    ):
        found = control_effect(table, period="month")
    assert (1.0 + found.pre_trend) / (1.0 + alike) == pytest.approx(0.7, abs=0.01)
    assert "pre-trend -" in str(found)


def test_there_is_no_trend_with_one_period_before_or_without_periods():
    table = panel(5, before=1)
    assert control_effect(table, period="month").pre_trend is None
    assert control_effect(table).pre_trend_error is None
    empty = panel(5, before=2)
    empty.loc[empty["treated"] & (empty["month"] == 1), "events"] = 0
    assert control_effect(empty, period="month").pre_trend is None


@pytest.mark.parametrize("seed", range(3))
def test_the_placebo_is_the_same_estimate_on_the_rows_before(seed):
    table = panel(seed, before=5)
    before = table[~table["after"]].assign(after=lambda one: one["month"] >= 3)
    placebo = control_effect(before, period="month")
    found = control_effect(table, period="month")
    assert found.pre_trend == pytest.approx(placebo.effect, rel=1e-9)
    assert found.pre_trend_error == pytest.approx(placebo.standard_error, rel=1e-9)


# Merchants that do not repeat


@pytest.mark.parametrize("cluster", [None, "merchant_id"])
def test_without_repeated_merchants_each_cell_has_one_rate(cluster):
    table = panel(2).assign(merchant_id=lambda one: np.arange(len(one)))
    found = control_effect(table, cluster=cluster, period="month")
    sums = table.groupby(["treated", "after"])[["events", "trials"]].sum()
    logs = np.log(sums["events"] / sums["trials"]).to_numpy()
    assert not found.with_merchants
    assert np.log1p(found.effect) == pytest.approx(logs[3] - logs[2] - logs[1] + logs[0], rel=1e-9)
    assert [cell.events for cell in found.cells] == sums["events"].tolist()
    assert [cell.merchants for cell in found.cells] == ([None] * 4 if cluster is None else [60, 60, 36, 36])


def test_one_side_without_repeated_merchants_is_compared_by_cells():
    table = panel(2)
    table["merchant_id"] += 100 * (table["treated"] & table["after"])
    found = control_effect(table)
    assert not found.with_merchants
    assert found.standard_error == pytest.approx(
        control_effect(table.assign(merchant_id=table["merchant_id"] * 2 + table["after"])).standard_error
    )


def test_merchants_of_one_side_are_left_out_and_counted():
    table = panel(2)
    gone = table[~((table["merchant_id"] == 3) & table["after"])]
    found = control_effect(gone)
    assert found.unpaired == 1
    assert found.effect == pytest.approx(control_effect(table[table["merchant_id"] != 3]).effect, rel=1e-12)
    assert "1 merchant left out" in str(found)
    many = table[~((table["merchant_id"] % 2 == 1) & table["after"])]
    with pytest.warns(
        FreightRiskWarning, match="events are left out, because they have no trials before or none after"
    ):
        assert control_effect(many).unpaired == 16


def test_rows_without_trials_and_merchants_without_events_change_nothing():
    table = panel(2)
    found = control_effect(table, period="month")
    zero = table[:6].assign(merchant_id=900, events=0)
    more = control_effect(pd.concat([table, zero, zero.assign(merchant_id=901, trials=0)]), period="month")
    assert (more.effect, more.standard_error) == pytest.approx((found.effect, found.standard_error), rel=1e-12)
    assert more.cells[2].merchants == found.cells[2].merchants + 1


@pytest.mark.parametrize("seed", range(4))
def test_a_merchant_with_nearly_all_of_its_group_varies_as_a_single_one(seed):
    # The tiny merchant shows nothing, so it must not make the large one look certain.
    table = panel(seed, treated=1, control=20, orders=3_000.0)
    tiny = cells([4, 5, 4, 5], 20).query("treated").assign(merchant_id=99)
    with pytest.warns(FreightRiskWarning, match="treated: a single merchant"):
        single = control_effect(table)
    both = control_effect(pd.concat([table, tiny]))
    assert both.evidence == pytest.approx(single.evidence, abs=0.05)
    assert both.degrees_of_freedom < single.degrees_of_freedom


def test_a_merchant_alone_in_its_periods_says_nothing():
    table = panel(2, treated=2, control=8, before=1, after=1)
    # The second treated merchant has its own month after, whose factor takes all that the merchant could say.
    own = (table["merchant_id"] == 2) & table["after"]
    alone = table.assign(month=table["month"].mask(own, table["month"] + 10))
    with pytest.warns(FreightRiskWarning, match="treated: a single merchant"):
        found = control_effect(alone, period="month")
    with pytest.warns(FreightRiskWarning, match="treated: a single merchant"):
        without = control_effect(table[table["merchant_id"] != 2], period="month")
    assert found.effect == pytest.approx(without.effect, rel=1e-9)
    assert found.standard_error == pytest.approx(without.standard_error, rel=1e-9)


def test_a_single_treated_merchant_varies_as_the_control_merchants_do():
    table = panel(4, treated=1, control=30, orders=3_000.0)
    with pytest.warns(
        FreightRiskWarning, match="treated: a single merchant .* from the other rows; give more merchants"
    ):
        found = control_effect(table)
    calm = panel(4, treated=1, control=30, orders=3_000.0, variation=0.0)
    with pytest.warns(FreightRiskWarning):
        sure = control_effect(calm)
    assert found.standard_error > 0.1 > sure.standard_error
    assert found.evidence < 0.5 < sure.evidence


# Tables of any kind, and speed


def test_tables_of_any_kind_give_the_same(tmp_path):
    table = panel(6).assign(month=lambda one: pd.Timestamp("2026-01-01") + pd.to_timedelta(30 * one["month"], "D"))
    table.to_parquet(tmp_path / "table.parquet")
    found = control_effect(table, period="month")
    for other in (pl.from_pandas(table), pa.Table.from_pandas(table), tmp_path / "table.parquet"):
        assert control_effect(other, period="month") == found
    text = table.assign(
        month=table["month"].dt.strftime("%Y-%m-%d"), merchant_id=table["merchant_id"].map("m{}".format)
    )
    assert control_effect(text, period="month").effect == pytest.approx(found.effect, rel=1e-12)
    names = {"treated": "t", "after": "a", "events": "e", "trials": "n", "merchant_id": "shop"}
    renamed = table.rename(columns=names)
    assert (
        control_effect(renamed, treated="t", after="a", events="e", trials="n", cluster="shop", period="month") == found
    )


def test_a_hundred_thousand_merchant_months_take_less_than_five_seconds():
    table = panel(1, treated=3_000, control=5_334, before=6, after=6)
    start = time.perf_counter()
    found = control_effect(table, period="month")
    assert time.perf_counter() - start < 5.0
    assert found.low < EFFECT < found.high
    assert found.cells[0].rows + found.cells[1].rows == 12 * 5_334


def test_the_text_states_effect_evidence_and_cells():
    text = str(control_effect(panel(6), period="month"))
    assert text.startswith("effect -")
    for part in ("95 % interval", "evidence 0.", "shrunk effect -", "with merchant effects", "treated after: "):
        assert part in text


# Bad tables


def changed(**columns):
    return lambda: panel(1).assign(**columns)


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (lambda: panel(1).drop(columns=["events", "merchant_id"]), {},
         "table: missing columns 'events', 'merchant_id'; .*If the table names no merchants, give cluster=None"),
        (lambda: 3, {}, "table is a int; it must be a pandas, polars or pyarrow table"),
        (lambda: panel(1), {"cluster": "shop"}, "missing column 'shop'"),
        (lambda: panel(1), {"treated": 3}, "treated is 3; it must be a non-empty string"),
        (lambda: panel(1), {"level": 95}, r"level is 95; it must be a finite number in \(0, 1\)"),
        (lambda: panel(1), {"prior_sd": 0.0}, r"prior_sd is 0.0; it must be a finite number in \(0, 10\]"),
        (changed(treated=1), {}, r"'treated' has the value 1; it must hold True or False.*table\['treated'\] == 1"),
        (changed(after="yes"), {}, "column 'after' has the value 'yes'"),
        (changed(treated=None), {}, "column 'treated' is missing in 192 rows"),
        (changed(treated=lambda one: one["after"]), {}, "'treated' is True and False for one value of 'merchant_id'"),
        (changed(treated=True), {}, "no row with trials of the control group before the control; .*treated=False"),
        (changed(treated=False), {}, "no row with trials of the treated group before"),
        (changed(after=True), {}, "no row with trials of the control group before the control; .*after=False"),
        (changed(after=False), {}, "no row with trials of the control group after"),
        (lambda: panel(1)[:0], {}, "no row with trials of the control group before"),
        (changed(events=lambda one: one["trials"] + 1), {}, "'events' exceeds column 'trials' in 192 rows"),
        (changed(events=-1), {}, "column 'events' is negative in 192 rows"),
        (changed(trials=-1, events=-2), {}, "column 'events' is negative in 192 rows"),
        (changed(events=np.nan), {}, "column 'events' is missing in 192 rows .*give a count"),
        (changed(trials=np.inf), {}, "column 'trials' is infinite"),
        (changed(merchant_id=None), {}, "column 'merchant_id' is missing in 192 rows"),
        (changed(month=None), {"period": "month"}, "column 'month' is missing in 192 rows"),
        (changed(month=lambda one: one["month"] // 2), {"period": "month"}, "'after' is False in 32 rows .*2026-05"),
        (changed(month=lambda one: -one["month"]), {"period": "month"}, "'after' is False in 96 rows"),
        (changed(month=lambda one: one["month"].astype(object).mask(one["month"] == 0, "x")), {"period": "month"},
         "column 'month' has texts and numbers, which have no order"),
        (changed(month=[[1]] * 192), {"period": "month"}, "column 'month'"),
    ],
)  # fmt: skip
def test_bad_tables_are_refused(table, options, message):
    with pytest.raises(InputError, match=message):
        control_effect(table(), **options)


@pytest.mark.parametrize("group", ["control", "treated"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_cell_without_events_is_refused_with_the_cure(group, when):
    table = panel(1)
    empty = (table["treated"] == (group == "treated")) & (table["after"] == (when == "after"))
    with pytest.raises(
        FitError, match=f"the {group} rows {when} the control have no events.*give longer periods or more"
    ):
        control_effect(table.assign(events=table["events"].mask(empty, 0)))


@pytest.mark.parametrize("some", [False, True])
def test_periods_that_leave_the_effect_open_are_refused(some):
    # After, the control group has trials in month 2 only, and the treated have events in month 3 only.
    table = panel(1, before=2, after=2, orders=40.0)
    lost = table["after"] & ((table["month"] == 2) == table["treated"])
    table["events"] = table["events"].mask(lost, 0)
    table["trials"] = table["trials"].mask(lost & ~(table["treated"] & some), 0)
    with pytest.raises(FitError, match=r"leave the effect open.*leave period= out"):
        control_effect(table, period="month")
    assert np.isfinite(control_effect(table).effect)


def test_all_events_occur_is_the_largest_rate():
    with pytest.warns(FreightRiskWarning):
        found = control_effect(cells([9, 9, 9, 9], 9), cluster=None)
    assert found.effect == 0.0
    assert found.high > 0.0 > found.low
