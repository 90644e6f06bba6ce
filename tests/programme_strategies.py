"""Hypothesis strategies of programmes: covers beside a tariff with rules, fees of any parties, and their orders."""

import numpy as np
from hypothesis import strategies as st

from freightrisk import Cover
from freightrisk.programmes import Fee, Programme
from strategies import draw_batch, limited_programmes, loadings, put_together, rate_tables
from test_balances import FLOORS, MODES, no_missing_merchants, tariff_of

BESIDE = ("transit", "quality")
N_ORDERS = st.integers(1, 40)


@st.composite
def covers_beside(draw, name):
    """A cover of events beside the return freight, with loadings and filed limits of its own."""
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    factors = draw(st.sampled_from([[], ["zone"], ["channel", "weight_kg"]]))
    return put_together(
        name=name,
        frequency=rate_tables(factors, rng, draw(st.sampled_from([1e-5, 0.002, 0.05]))),
        severity=rate_tables(["zone"], rng, 20.0),
        cover=Cover(max_claims=draw(st.sampled_from([1, None])), deductible=draw(st.sampled_from([0.0, 3.0]))),
        loadings=draw(loadings()),
    )


@st.composite
def fees(draw):
    """Fees by amount or fixed, of several parties, of which some wait for a day and some replace others."""
    due = draw(st.sampled_from([None, "completed"]))
    every = [
        Fee("service", basis_points=60, of="paid_fen", cap_fen=1_800, due=due),
        Fee("pickup", "platform", "courier", fixed_fen=12, where={"zone": ["far"]}),
        Fee("rebate", "platform", "merchant", basis_points=25, of="price", due="completed"),
        Fee("software", fixed_fen=30, payee="insurer", where={"tier": [1]}, replaces=["service"]),
    ]
    some = draw(st.lists(st.sampled_from(every[:3]), unique=True))
    chosen = [fee for fee in every if fee in some]
    return [*chosen, every[3]] if every[0] in some and draw(st.booleans()) else chosen


@st.composite
def covered_programmes(draw, fees_of=fees):
    """Programmes of one to three covers, with rules that have budgets and caps, and any rounding."""
    first = tariff_of(draw(limited_programmes()), draw(MODES), draw(FLOORS))
    beside = [draw(covers_beside(name)) for name in BESIDE[: draw(st.integers(0, 2))]]
    return Programme("drawn programme", [first, *beside], fees=draw(fees_of()))


def orders_of(programme, n_orders, seed):
    """Return random orders with the amounts and days that fees read; some are not completed."""
    rng = np.random.default_rng(seed)
    orders = no_missing_merchants(draw_batch(rng, n_orders), programme.rounding)
    completed = orders["ship_date"] + rng.integers(0, 9, n_orders).astype("timedelta64[D]")
    return orders.assign(
        paid_fen=rng.integers(0, 500_000, n_orders),
        completed=completed.where(rng.random(n_orders) < 0.7),
    )
