"""From pure to technical premium to the list price, and the numbers on the edge of a fen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freightrisk import Cover, Loadings, _reference
from freightrisk.errors import InputError
from strategies import loadings, orders, put_together, rate_tables, tariffs


def plain_tariff(pure=1.0, loads=None, **more):
    """A tariff that prices every order at one pure premium, one claim of that many yuan an order."""
    return put_together(
        frequency=rate_tables([], None, 1.0),
        severity=rate_tables([], None, pure),
        cover=Cover(max_claims=None),
        loadings=loads,
        **more,
    )


def list_fen(pure=1.0, loads=None, **more):
    return plain_tariff(pure, loads, **more).quote({})["list_fen"]


@given(tariffs(), orders())
def test_technical_premium_is_the_stated_formula(tariff, frame):
    priced, loads = tariff.price(frame, threads=1), tariff.loadings
    claims, pure = priced["expected_claims"], priced["pure_premium"]
    np.testing.assert_array_equal(pure, claims * priced["expected_payout"])
    before_shares = pure * (1 + loads.fraud_load) + loads.claim_handling * claims + loads.policy_cost
    retained = 1 - loads.channel - loads.levy - loads.profit
    np.testing.assert_allclose(priced["technical_premium"], before_shares / retained, rtol=1e-11)


@given(tariffs(loads=st.just(Loadings())), orders())
def test_no_loadings_leave_the_pure_premium(tariff, frame):
    priced = tariff.price(frame, threads=1)
    np.testing.assert_array_equal(priced["technical_premium"], priced["pure_premium"])


@given(loadings())
def test_retained_share_is_what_the_other_shares_leave(loads):
    assert loads.retained + loads.channel + loads.levy + loads.profit == pytest.approx(1.0, abs=1e-11)
    assert 0 < loads.retained <= 1


def test_retained_share_of_three_decimals_is_exact():
    assert Loadings(channel=0.15, levy=0.01, profit=0.02).retained == 0.82
    assert Loadings(channel=0.1, levy=0.2, profit=0.0).retained == 0.7


# Half a fen to the even neighbour: the premium in yuan, and the fen.
TIES = [
    (0.005, 0),
    (0.015, 2),
    (0.025, 2),
    (0.035, 4),
    (0.045, 4),
    (0.145, 14),
    (0.155, 16),
    (1.005, 100),
    (1.015, 102),
    (2.675, 268),
    (4.445, 444),
    (123_456.785, 12_345_678),
    (999_999.995, 100_000_000),
]


@pytest.mark.parametrize(("premium", "fen"), TIES)
def test_half_a_fen_rounds_to_even_whether_filed_or_technical(premium, fen):
    assert list_fen(loads=Loadings(filed_min=premium, filed_max=premium), floor_fen=0) == fen
    assert list_fen(premium, floor_fen=0) == fen
    assert list_fen(1e-9, Loadings(policy_cost=premium), floor_fen=0) == fen


@pytest.mark.parametrize(("premium", "fen"), TIES)
def test_a_micro_yuan_beside_half_a_fen_decides(premium, fen):
    below, above = round(premium * 100 - 0.5), round(premium * 100 + 0.5)
    assert fen in (below, above)
    assert list_fen(premium - 1e-6, floor_fen=0) == below
    assert list_fen(premium + 1e-6, floor_fen=0) == above


# Yuan over 128 are exact in a float and half a micro-yuan from the next whole one.
@pytest.mark.parametrize(("pure", "micro"), [(1 / 128, 7_812), (3 / 128, 23_438), (5 / 128, 39_062)])
def test_half_a_micro_yuan_rounds_to_even(pure, micro):
    assert _reference.price_order([], plain_tariff(pure).pricer.plan_arguments, 0).micro == micro


@pytest.mark.parametrize(
    ("pure", "floor", "fen", "bound"),
    [
        (1e-12, 1, 1, True),
        (0.004999, 1, 1, True),
        (0.005, 1, 1, True),
        (0.005001, 1, 1, False),
        (0.01, 1, 1, False),
        (0.02, 3, 3, True),
        (0.03, 3, 3, False),
        (1e-12, 0, 0, False),
    ],
)
def test_floor_of_the_list_price(pure, floor, fen, bound):
    quote = plain_tariff(pure, floor_fen=floor).quote({})
    assert (quote["list_fen"], quote["merchant_fen"], quote["floor_bound"]) == (fen, fen, bound)


@pytest.mark.parametrize(
    ("pure", "fen", "bound"),
    [(0.10, 50, True), (0.4999994, 50, True), (0.5, 50, False), (0.777, 78, False), (0.9, 90, False), (0.91, 90, True)],
)
def test_filed_limits(pure, fen, bound):
    quote = plain_tariff(pure, Loadings(filed_min=0.5, filed_max=0.9)).quote({})
    assert (quote["list_fen"], quote["filed_bound"]) == (fen, bound)


def test_filed_factor_acts_before_the_filed_limits():
    assert list_fen(1.0, Loadings(filed_factor=1.3, filed_max=1.2)) == 120
    assert list_fen(1.0, Loadings(filed_factor=0.85)) == 85


def test_the_floor_is_above_the_filed_limits():
    assert list_fen(1.0, Loadings(filed_max=0.5), floor_fen=60) == 60


@given(st.floats(1e-6, 1e3), st.floats(1.0, 1.5))
def test_a_dearer_order_never_costs_less(pure, factor):
    loads = Loadings(channel=0.15, claim_handling=0.3, policy_cost=0.0005)
    assert list_fen(pure * factor, loads) >= list_fen(pure, loads)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Loadings(fraud_load=-0.01), r"fraud_load is -0.01; it must be a finite number in \[0, 1e\+06\]"),
        (lambda: Loadings(claim_handling=np.nan), "claim_handling is nan"),
        (lambda: Loadings(policy_cost="free"), "policy_cost is 'free'; it must be a number"),
        (lambda: Loadings(policy_cost=None), "policy_cost is None; it must be a number"),
        (lambda: Loadings(channel=1.0), r"channel is 1.0; it must be a finite number in \[0, 1\)"),
        (lambda: Loadings(levy=-0.1), "levy is -0.1"),
        (lambda: Loadings(profit=15), "profit is 15"),
        (lambda: Loadings(profit=True), "profit is True; it must be a number"),
        (
            lambda: Loadings(channel=0.5, levy=0.3, profit=0.2),
            r"channel \+ levy \+ profit is 1; the sum must be below 1",
        ),
        (lambda: Loadings(filed_factor=0.0), r"filed_factor is 0.0; it must be a finite number in \(0, 1000\]"),
        (lambda: Loadings(filed_min=-1.0), "filed_min is -1.0"),
        (lambda: Loadings(filed_max=np.inf), "filed_max is inf"),
        (lambda: Loadings(filed_max=1e8), "filed_max is 100000000.0"),
        (lambda: Loadings(filed_min=2.0, filed_max=1.0), "filed_min is 2, above filed_max 1; exchange them"),
    ],
)
def test_bad_calls(call, message):
    with pytest.raises(InputError, match=message):
        call()
