"""Rounding to fen: each mode against decimals, the draws of dithering, and what the modes do to merchants."""

from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from freightrisk import Cover, Subsidy, _codes, _plan, _reference, load_tariff
from freightrisk.errors import InputError
from freightrisk.reports import rounding_report
from freightrisk.tariff.plan import RateTables
from freightrisk.tariff.rounding import dither_draws, round_micro
from strategies import put_together

DECIMAL = {
    "half_even": ROUND_HALF_EVEN,
    "half_up": ROUND_HALF_UP,
    "ceiling": ROUND_CEILING,
    "down": ROUND_DOWN,
}
MICRO = st.one_of(
    st.integers(0, 60_000),
    st.integers(0, 10**13),
    st.builds(lambda fen, rest: 10_000 * fen + rest, st.integers(0, 10**9 - 1), st.sampled_from([0, 1, 5_000, 9_999])),
)


# Modes


def priced(micro, rounding, **more):
    """Return the list price of an order whose premium is a number of micro-yuan."""
    tariff = put_together(
        frequency=RateTables(1.0, {}),
        severity=RateTables(max(micro, 1e-3) / 1e6, {}),
        cover=Cover(max_claims=None),
        rounding=rounding,
        floor_fen=0,
        **more,
    )
    return tariff.quote({"order_id": 1})["list_fen"]


@given(MICRO, st.sampled_from(sorted(DECIMAL)))
def test_modes_are_those_of_decimal(micro, mode):
    exact = int((Decimal(micro) / 10_000).to_integral_value(rounding=DECIMAL[mode]))
    assert _reference.rounded_fen(micro, _plan.ROUNDING_MODES[mode]) == exact
    assert round_micro(np.array([micro]), mode).tolist() == [exact]
    if micro < 10**13:
        assert priced(micro, mode) == exact


@given(MICRO, st.integers(0, 9_999))
def test_dither_rounds_up_for_as_many_draws_as_the_fraction_has_parts(micro, draw):
    fen = round_micro(np.array([micro]), "dither", draws=np.array([draw], dtype=np.uint16))[0]
    assert fen == _reference.rounded_fen(micro, _plan.ROUNDING_MODES["dither"], draw=draw)
    every = round_micro(np.full(10_000, micro), "dither", draws=np.arange(10_000, dtype=np.uint16))
    assert every.sum() == micro
    assert set(every.tolist()) <= {micro // 10_000, micro // 10_000 + 1}


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40_000)), max_size=60))
def test_carry_leaves_no_merchant_more_than_half_a_fen_off_at_any_time(orders):
    merchants = np.array([merchant for merchant, _ in orders], dtype=np.int32)
    micro = np.array([premium for _, premium in orders], dtype=np.int64)
    remainders = np.zeros(3, dtype=np.int64)
    fen = round_micro(micro, "carry", merchants=merchants, remainders=remainders)
    assert (fen >= 0).all()
    for merchant in range(3):
        of = merchants == merchant
        owed = np.cumsum(micro[of] - 10_000 * fen[of])
        assert (np.abs(owed) <= 5_000).all()
        assert remainders[merchant] == (owed[-1] if len(owed) else 0)


@pytest.mark.parametrize("mode", [*DECIMAL, "dither", "carry"])
def test_a_tariff_of_every_mode_comes_back_from_its_document(mode, tmp_path):
    tariff = put_together(
        frequency=RateTables(0.0163, {}),
        severity=RateTables(1.0, {}),
        cover=Cover(max_claims=None),
        subsidies=[Subsidy("grant", "platform", fixed_fen=1, budget_fen=10, merchant_cap_fen=3, period="day")],
        rounding=mode,
        dither_key="a secret" if mode == "dither" else "",
    )
    tariff.save(tmp_path / "tariff.json")
    again = load_tariff(tmp_path / "tariff.json")
    orders = pd.DataFrame(
        {"order_id": range(40), "merchant_id": ["a", "b"] * 20, "ship_date": pd.Timestamp("2026-01-01")}
    )
    pd.testing.assert_frame_equal(again.price(orders), tariff.price(orders))
    assert again.subsidies == tariff.subsidies
    assert "a secret" not in repr(tariff)


# Draws


@pytest.mark.parametrize(
    ("length", "digest"),
    [  # of the bytes 0, 1, 2, ... under the key 0 to 15: Aumasson and Bernstein 2012 and their reference vectors
        (0, 0x726FDB47DD0E0E31),
        (1, 0x74F839C593DC67FD),
        (8, 0x93F5F5799A932462),
        (15, 0xA129CA6149BE45E5),
        (63, 0x958A324CEB064572),
    ],
)
def test_the_hash_has_its_published_values(length, digest):
    first, second = np.frombuffer(bytes(range(16)), dtype="<u8").tolist()
    assert _reference.keyed_hash(bytes(range(length)), first, second) == digest
    found = np.empty(1, dtype=np.uint64)
    _codes.keyed_hash(np.arange(length, dtype=np.uint8).reshape(1, length), False, first, second, found)
    assert found[0] == digest


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=6), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_the_hash_of_rows_is_that_of_its_twin(texts, first, second):
    rows = np.array(texts, dtype=np.bytes_)
    found = np.empty(len(texts), dtype=np.uint64)
    _codes.keyed_hash(rows.view(np.uint8).reshape(len(texts), rows.itemsize), True, first, second, found)
    assert found.tolist() == [_reference.keyed_hash(text.rstrip(b"\0"), first, second) for text in texts]


def test_draws_are_as_likely_one_as_another():
    draws = dither_draws(np.arange(1_000_000), "a secret")
    assert draws.max() == 9_999
    assert stats.chisquare(np.bincount(draws, minlength=10_000)).pvalue > 1e-4
    others = dither_draws(np.arange(1_000_000), "another")
    for apart in (others, np.roll(draws, 1)):
        assert abs(np.corrcoef(draws, apart)[0, 1]) < 4 / 1_000


@pytest.mark.parametrize("micro", [200, 3_333, 15_000, 35_001])
def test_dithered_totals_are_free_of_bias(micro):
    n = 1_000_000
    fen = round_micro(np.full(n, micro), "dither", draws=dither_draws(np.arange(n), "a secret"))
    share = micro % 10_000 / 10_000
    assert abs(fen.sum() - n * micro / 10_000) < 4 * np.sqrt(n * share * (1 - share))


def test_a_draw_depends_on_the_id_alone():
    ids = np.array(["JD-1", "JD-22", "订单3", ""], dtype=object)
    draws = dither_draws(ids, "k")
    for k in range(4):
        assert dither_draws(ids[[k]], "k")[0] == draws[k]
    np.testing.assert_array_equal(dither_draws(ids.astype(str), "k"), draws)
    np.testing.assert_array_equal(dither_draws(np.arange(9, dtype=np.uint8), "k"), dither_draws(np.arange(9), "k"))
    assert dither_draws(np.array([17]), "k") != dither_draws(np.array(["17"]), "k")


# The report


def books(seed):
    """A million orders of 2,000 merchants with a price each, median 0.03 yuan, sizes with a heavy tail."""
    rng = np.random.default_rng(seed)
    size = rng.pareto(1.5, 2_000) + 0.05
    merchant = rng.choice(2_000, 1_000_000, p=size / size.sum())
    return (0.03 * np.exp(0.6 * rng.normal(size=2_000)))[merchant], merchant


@pytest.mark.slow
def test_the_table_of_rounding_errors_by_merchant():
    # The figures told are those of a like book, whose merchants' sizes and prices were not. What is allowed is about
    # three standard deviations of each statistic over books drawn anew, with Pareto sizes of index 1.1 to 1.5.
    premium, merchant = books(1)
    whole = rounding_report(premium, merchant).xs("all", level="band")
    free = rounding_report(premium, merchant, floor_fen=0, modes=["dither", "carry"]).xs("all", level="band")
    told = {
        "half_even": (0.0026, -0.199, 0.220, 0.151),
        "half_up": (0.0026, -0.199, 0.220, 0.151),
        "ceiling": (0.138, 0.012, 0.522, 0.265),
        "down": (-0.139, -0.453, -0.003, 0.235),
        "dither": (0.0036, -0.020, 0.030, 0.097),
    }
    allowed = {"half_even": (0.024, 0.024, 0.046, 0.018), "ceiling": (0.041, 0.003, 0.106, 0.020)}
    allowed |= {"half_up": allowed["half_even"], "down": (0.024, 0.020, 0.007, 0.019)}
    allowed |= {"dither": (0.004, 0.005, 0.012, 0.034)}
    for mode, figures in told.items():
        found = whole.loc[mode, ["bias", "p05", "p95", "rms"]].to_numpy(dtype=float)
        assert (np.abs(found - figures) <= allowed[mode]).all(), (mode, found)
    carried = free.loc["carry"]
    assert abs(carried["bias"]) < 5e-6
    assert carried["p95"] == pytest.approx(0.0011, abs=5e-4)
    assert carried["p05"] == pytest.approx(-0.0011, abs=5e-4)
    assert carried["rms"] == pytest.approx(0.0007, abs=2e-4)
    dithered = free.loc["dither"]
    assert abs(dithered["bias"]) < 3e-4
    assert dithered["rms"] == pytest.approx(0.014, abs=0.003)
    pd.testing.assert_series_equal(whole.loc["half_even"], whole.loc["half_up"], check_names=False)


@pytest.mark.parametrize("fen", [*range(1, 10), 30])
def test_the_worst_error_between_two_fen(fen):
    premium = np.linspace(fen / 100, (fen + 1) / 100, 2_001)[:-1]
    merchant = np.repeat(np.arange(2_000), 2)
    row = rounding_report(np.repeat(premium, 2), merchant, modes=["half_even"], min_orders=1).loc[("half_even", "all")]
    told = {1: 0.196, 2: 0.116, 3: 0.083, 4: 0.064, 5: 0.053, 6: 0.045, 7: 0.039, 8: 0.034, 9: 0.030}
    if fen in told:
        assert row["rms"] == pytest.approx(told[fen], abs=6e-4)
    middle = rounding_report([(fen + 0.5) / 100], ["m"], modes=["ceiling"], min_orders=1)
    assert middle.loc[("ceiling", "all"), "bias"] == pytest.approx(1 / (2 * fen + 1))


def test_the_report_by_hand():
    premium, merchant = [0.004, 0.004, 0.024, 0.036, 0.3], ["a", "a", "b", "b", "c"]
    report = rounding_report(premium, merchant, modes=["half_even", "carry"], min_orders=2, bands=[0.01, 0.1])
    assert report.index.tolist() == [
        ("half_even", "all"),
        ("half_even", "below 0.01"),
        ("half_even", "0.01 to 0.1"),
        ("carry", "all"),
        ("carry", "below 0.01"),
        ("carry", "0.01 to 0.1"),
    ]
    nearest, carried = report.loc["half_even"], report.loc["carry"]
    assert nearest.loc["all", ["merchants", "orders"]].tolist() == [2, 4]
    assert nearest.loc["below 0.01", ["bias", "rms", "floor_income"]].tolist() == pytest.approx([1.5, 1.5, 0.02])
    assert nearest.loc["0.01 to 0.1", "bias"] == pytest.approx(0.0)
    assert nearest.loc["all", "bias"] == pytest.approx(0.38 / 0.368 - 1)
    assert carried.loc["below 0.01", "floor_income"] == pytest.approx(0.01)
    assert carried.loc["0.01 to 0.1", "bias"] == pytest.approx(0.0)


def test_a_report_of_nobody_and_bad_calls():
    empty = rounding_report([], [], modes=["half_even"])
    assert empty.loc[("half_even", "all"), "merchants"] == 0
    assert np.isnan(empty.loc[("half_even", "all"), "bias"])
    for call, message in {
        ((0.1,), ("a", "b")): "premium has shape",
        ((0.1, -1.0), ("a", "b")): "premium is negative or above 1e7 yuan in 1 row",
        ((0.1, 0.1), ("a", None)): "merchant is missing in 1 row",
    }.items():
        with pytest.raises(InputError, match=message):
            rounding_report(np.array(call[0]), np.array(call[1], dtype=object))
    with pytest.raises(InputError, match="modes is 'nearest'"):
        rounding_report([0.1], ["a"], modes=["nearest"])
    with pytest.raises(InputError, match="edges ascend"):
        rounding_report([0.1], ["a"], bands=[0.1, 0.1])
    with pytest.raises(InputError, match="order_id has shape"):
        rounding_report([0.1], ["a"], order_id=[1, 2])


def test_a_report_whose_sums_would_wrap_is_refused():
    premium = np.full(500_000, 1e7)
    with pytest.raises(InputError, match=r"premiums and floors come to 5e\+12 yuan, and their sums hold 4.61e\+12"):
        rounding_report(premium, np.zeros(len(premium), dtype=np.int64))
    report = rounding_report(premium[:400_000], np.zeros(400_000, dtype=np.int64), modes=["half_even"])
    assert report.loc[("half_even", "all"), "premium"] == 4e12
