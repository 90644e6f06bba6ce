"""Tariffs whose numbers leave what pricing computes with are refused, and those at its ends are priced."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freightrisk import Cover, ExperienceRating, Factor, InputError, Loadings, Tariff, TariffDocumentError
from freightrisk.models.shapes import ScaleShape
from freightrisk.tariff.curves import count_curve, limit_curve
from freightrisk.tariff.document import parse_tariff
from freightrisk.tariff.parts import document_of
from freightrisk.tariff.rates import LARGEST_PRODUCT, CoverCurves, RateTables, check_products
from freightrisk.tariff.rounding import Rounding
from strategies import changed, flat_coding

STEPS = ["claim_intensity", "expected_claims", "expected_payout", "pure_premium", "technical_premium"]
NAMES = [f"f{k}" for k in range(40)]
ORDERS = pd.DataFrame({name: ["a"] * 3 for name in NAMES})
CURVE = limit_curve(ScaleShape(0.5))


def tariff_of(frequency, severity, *, base=(1.0, 1.0), cover=None, **more):
    """Return a tariff of one level a factor, with the same relativity for it and for unseen ones."""
    cover = Cover(max_claims=None) if cover is None else cover
    names = NAMES[: max(len(frequency), len(severity))]
    rates = [
        RateTables(start, {name: np.full(2, value) for name, value in zip(NAMES, values, strict=False)})
        for start, values in zip(base, (frequency, severity), strict=True)
    ]
    return Tariff(
        name="ends",
        codings={name: flat_coding(Factor(name, unseen="parent"), ("a",)) for name in names},
        frequency=rates[0],
        severity=rates[1],
        cover=cover,
        loadings=more.pop("loadings", Loadings()),
        subsidies=(),
        curves=CoverCurves(count_curve(cover.max_claims), CURVE if cover.is_limited else None, more.pop("shares", {})),
        rounding_rule=Rounding(more.pop("rounding", "half_even")),
        **more,
    )


@pytest.mark.parametrize("value", [9e8, 1e-8])
def test_forty_relativities_that_leave_the_doubles_are_refused(value):
    for frequency, severity, what in (([value] * 40, [], "frequency"), ([], [value] * 40, "severity")):
        with pytest.raises(
            InputError, match=rf"{what} base and the \w+ relativities of its 40 tables multiply to about"
        ):
            tariff_of(frequency, severity)
    with pytest.raises(InputError, match="multiply to about"):  # one model may not make up for the other
        tariff_of([9e8] * 40, [1e-9] * 40)


def test_the_message_names_the_table_and_the_bound():
    with pytest.raises(
        InputError, match=r"multiply to about 1e101; the product must lie between 1e-100 and 1e100. Look at table 'f7'"
    ):
        tariff_of([1e8] * 7 + [9e8] + [1e8] * 4 + [1e4], [])


def test_a_document_of_such_a_tariff_is_refused():
    tree = json.loads(document_of(tariff_of([1.5] * 40, [])))
    for table in tree["frequency"]["tables"].values():
        table[:] = [9e8, 9e8]
    tree["digest"] = ""
    with pytest.raises(TariffDocumentError, match="contradicts itself: frequency base and the largest relativities"):
        parse_tariff(json.dumps(tree).encode())


def test_experience_and_shares_count():
    with pytest.raises(InputError, match="frequency base and the largest relativities of its 12 tables"):
        tariff_of([8e8] * 11, [], experience=ExperienceRating([], {"m": 99.0}, "1", 99.0))
    with pytest.raises(InputError, match="severity base and the smallest relativities of its 12 tables"):
        tariff_of([], [1e-9] * 11, cover=Cover(limit=8.0, max_claims=None), shares={"f0": np.full(2, 1e-9)})


powers = st.integers(-36, 35).map(lambda quarters: quarters / 4 + 0.01)
LOADS = st.sampled_from(
    [Loadings(), Loadings(fraud_load=1e6, claim_handling=1e6, policy_cost=1e6, channel=0.999999999)]
)
COVERS = st.sampled_from(
    [Cover(max_claims=None), Cover(), Cover(max_claims=3, limit=1e6), Cover(max_claims=None, limit=1e-6)]
)


@given(st.lists(powers, max_size=14), st.lists(powers, max_size=14), COVERS, LOADS)
def test_a_tariff_is_refused_or_every_step_of_its_price_is_a_number(frequency, severity, cover, loads):
    tables = [10.0 ** np.array(values) for values in (frequency, severity)]
    inside = all(
        sum(max(value, 0.0) for value in values) <= np.log10(LARGEST_PRODUCT)
        and sum(min(value, 0.0) for value in values) >= -np.log10(LARGEST_PRODUCT)
        for values in (frequency, severity)
    )
    if not inside:
        with pytest.raises(InputError, match="multiply to about"):
            tariff_of(*tables, cover=cover, loadings=loads)
        return
    tariff = tariff_of(*tables, cover=cover, loadings=loads)
    quotes = tariff.price(ORDERS, threads=1)
    steps = quotes[STEPS].to_numpy()
    assert np.isfinite(steps).all()
    assert (steps > 0.0).all()
    assert quotes["list_fen"].between(1, 10**9).all()
    assert tariff.quote(ORDERS.iloc[0])["list_fen"] == quotes["list_fen"].iloc[0]


@pytest.mark.parametrize("share", [1e-3, 1.0])
def test_the_premium_ends_at_the_largest_that_may_be_filed(share):
    rates = [8e8] * 11
    for rounding in ("half_even", "ceiling", "half_up"):
        tariff = tariff_of(rates, rates, rounding=rounding, loadings=Loadings(filed_max=1e7 * share))
        assert tariff.price(ORDERS)["list_fen"].tolist() == [round(1e9 * share)] * 3


@given(st.permutations([1e40, 1e40, 1e-60, 1e-30, 1.0]))
def test_products_are_bounded_whatever_the_order_of_tables(values):
    tables = {f"t{k}": np.array([value]) for k, value in enumerate(values)}
    check_products("some", 1e15, tables)
    with pytest.raises(InputError, match="largest"):
        check_products("some", 1e21, tables)
    with pytest.raises(InputError, match="smallest"):
        check_products("some", 1e-11, tables)


# Curves


def wild(pieces, k, size):
    """Return pieces of which one runs far away and comes back to its end."""
    found = pieces.copy()
    found[..., k, 1] += size
    found[..., k, 2] -= size
    return found


@pytest.mark.parametrize("size", [100.0, -100.0, 1e15])
def test_curves_that_leave_their_range_between_their_ends_are_refused(size):
    limited = tariff_of([1.0], [8.0], cover=Cover(max_claims=2, limit=9.0))
    with pytest.raises(InputError, match="count_curve is not an unbroken curve"):
        changed(limited, count_curve=wild(limited.count_curve, 5, size))
    with pytest.raises(InputError, match="limit_curve is not an unbroken curve"):
        replace(CURVE, pieces=wild(CURVE.pieces, 5, size))


@pytest.mark.parametrize("size", [np.inf, np.nan])
def test_curves_that_are_not_finite_are_refused(size):
    limited = tariff_of([1.0], [8.0], cover=Cover(max_claims=2, limit=9.0))
    with pytest.raises(InputError, match="count_curve is not finite in "):
        changed(limited, count_curve=limited.count_curve * size)
    with pytest.raises(InputError, match="limit_curve has pieces that are not finite"):
        replace(CURVE, pieces=CURVE.pieces * size)


@pytest.mark.parametrize(("first", "octaves"), [(0, 1200), (30, 200), (-30, 61), (30, 1)])
def test_limit_curves_of_too_many_octaves_are_refused(first, octaves):
    with pytest.raises(InputError, match="last octave of limit_curve is "):
        replace(CURVE, first=first, pieces=np.full((octaves, 1, 4), [1.0, 0.0, 0.0, 0.0]))
    tree = json.loads(document_of(tariff_of([1.0], [8.0], cover=Cover(limit=9.0))))
    tree |= {
        "digest": "",
        "limit_curve": {"first": first, "last": first + octaves, "octaves": [[[1.0, 0.0, 0.0, 0.0]]] * octaves},
    }
    with pytest.raises(TariffDocumentError, match="last octave of limit_curve is "):
        parse_tariff(json.dumps(tree).encode())
