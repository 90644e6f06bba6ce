"""Seeded synthetic books of return-freight insurance whose true parameters are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from freightrisk import _check
from freightrisk.simulation.actors import Parts, add_actors
from freightrisk.simulation.catalogue import (
    BAND_EDGES,
    COVER_DAYS,
    FREIGHT_SHAPE,
    LAG_MEAN_DAYS,
    LAG_SHAPE,
    LEAST_MERCHANTS,
    LEVEL_FREQUENCY,
    LINE_FREQUENCY,
    ORDERS_PER_MERCHANT,
)
from freightrisk.simulation.orders import Rng, date_of, draw_orders, leaf_table, seller_table
from freightrisk.simulation.parts import BuyerTruth, FunnelTruth, LineTruth, OptInTruth, RingTruth, ShiftTruth
from freightrisk.simulation.truth import BookTruth, state_truth

if TYPE_CHECKING:
    from freightrisk.book.factors import Band, Factor, Hierarchy


@dataclass(frozen=True, eq=False, repr=False)
class SimulatedBook:
    """A synthetic book of orders, claims and merchants, with its truth.

    Attributes
    ----------
    orders : pandas.DataFrame
        One row an order, sorted by order date: order_id, merchant_id, order_date, ship_date (whole days; NaT if
        cancelled before shipment), industry, category, leaf, zone, weight_kg (whole grams), price (yuan), channel,
        campaign (by ship date), n_lines (1 to 5; they have an effect on the claims only if `lines` is given).
    claims : pandas.DataFrame
        One row a claim, sorted by report date: claim_id, order_id, report_date, freight (yuan, ground-up). It holds
        all claims of the orders, including claims reported after ``as_of``, so that forecasts can be checked.
        ``OrderBook.from_frames(..., as_of=book.as_of)`` drops the claims that were not yet known.
    merchants : pandas.DataFrame
        One row a merchant: merchant_id, experience_score (1 to 5), segment.
    truth : BookTruth
        The parameters behind the book.
    as_of : pandas.Timestamp
        Valuation date: the day after the last day of orders.
    lines, requests, parcels, buyers, enrolments : pandas.DataFrame or None
        Tables of a book of lines, if the part is given. docs/synthetic describes their columns, and the columns that
        the parts add to orders, claims and merchants.
    """

    frequency_factors: ClassVar[tuple[str, ...]] = ("category_path", *LEVEL_FREQUENCY, *BAND_EDGES)
    severity_factors: ClassVar[tuple[str, ...]] = ("zone", "weight_kg")

    orders: pd.DataFrame
    claims: pd.DataFrame
    merchants: pd.DataFrame
    truth: BookTruth
    as_of: pd.Timestamp
    lines: pd.DataFrame | None = None
    requests: pd.DataFrame | None = None
    parcels: pd.DataFrame | None = None
    buyers: pd.DataFrame | None = None
    enrolments: pd.DataFrame | None = None

    def __repr__(self) -> str:
        return (
            f"SimulatedBook: {len(self.orders):,} orders, {len(self.claims):,} claims, "
            f"{len(self.merchants):,} merchants, as of {self.as_of.date()}"
        )

    def factors(self) -> list[Factor | Band | Hierarchy]:
        """Return declarations of the rating factors whose tables multiply exactly to the truth."""
        from freightrisk.book.factors import Band, Factor, Hierarchy

        return [
            Hierarchy("category_path", ("industry", "category", "leaf"), unseen="parent", min_claims=5),
            *(Factor(name, min_claims=5) for name in LEVEL_FREQUENCY),
            *(Band(name, edges, min_claims=5) for name, edges in BAND_EDGES.items()),
            *(Factor(name, min_claims=5) for name in LINE_FREQUENCY if name in self.truth.frequency),
        ]


def simulate_book(
    n_orders: int,
    *,
    seed: int = 0,
    n_merchants: int | None = None,
    merchant_deviation: float = 0.3,
    n_days: int = 365,
    lines: LineTruth | None = None,
    buyers: BuyerTruth | None = None,
    rings: RingTruth | None = None,
    shifts: ShiftTruth | None = None,
    funnel: FunnelTruth | None = None,
    opt_in: OptInTruth | None = None,
) -> SimulatedBook:
    """Return a synthetic book of return-freight insurance, with the parameters from which it was drawn.

    Parameters
    ----------
    n_orders : int, 1 to 10**9
        Number of orders, about 2 % of them cancelled before shipment.
    seed : int, at least 0, default 0
        The same arguments and seed give the same book.
    n_merchants : int, from 1 to 10 million, optional
        Number of merchants; by default one for 250 orders, but at least 50. With fewer than 12, some industries have
        no merchant.
    merchant_deviation : float, 0 to 10, default 0.3
        Standard deviation of each merchant's factor on the claim intensity, a gamma with mean 1. With 0 every factor is
        exactly 1. The orders do not depend on it.
    n_days : int, 1 to 36525, default 365
        Number of days on which orders arrive, starting on 1 January 2025.
    lines : LineTruth, optional
        Claims by order line, correlated within an order. By default orders claim as a whole, as Poisson counts. All
        parts below need lines.
    buyers : BuyerTruth, optional
        Buyers in households and dormitories, with accounts and hashed attributes.
    rings : RingTruth, optional
        Rings of buyers who claim far too often; they need buyers.
    shifts : ShiftTruth, optional
        Jumps of merchants' claim intensity, and spikes by region and date.
    funnel : FunnelTruth, optional
        Requests, parcels, decisions and appeals around the claims.
    opt_in : OptInTruth, optional
        Enrolment of merchants by date; orders of merchants that are out are not covered and have no claims.

    Returns
    -------
    SimulatedBook
        Orders, claims, merchants, truth and valuation date, and the tables of the parts.

    Raises
    ------
    InputError
        If an argument is not a number in the allowed range, if a part is given without the part that it needs, or if
        the book is too small for the rings or jumps.

    Notes
    -----
    Claims of a shipped order are Poisson with mean ``frequency_base * prod_f relativity_f * deviation``. The freight of
    a claim is gamma with mean ``first_fee[zone] * (1 + 0.25 * k)``, where k is the number of started kilograms above
    the first, at most 10. The categories depend only on the seed, and so do the attributes of the first merchants.
    Neither depends on ``n_orders``. Every part has its own seeded stream, and every order and line its own place in
    it. Adding a part therefore leaves the draws of the other parts as they are. In a book of lines, a line of a
    shipped order claims with probability ``1 - exp(-intensity)``, and the intensity is the product of the tables, the
    merchant's deviation, and the factors of buyer, jump and spike.

    Examples
    --------
    >>> book = simulate_book(2_000, seed=1)
    >>> len(book.orders), len(book.merchants), str(book.as_of.date())
    (2000, 50, '2026-01-01')
    >>> float(book.truth.severity_base * book.truth.severity["zone"]["remote"])
    22.0
    """
    n_orders = _check.whole(n_orders, argument="n_orders", low=1, high=10**9)
    seed = _check.whole(seed, argument="seed", low=0, high=2**63)
    if n_merchants is None:
        n_merchants = max(LEAST_MERCHANTS, n_orders // ORDERS_PER_MERCHANT)
    n_merchants = _check.whole(n_merchants, argument="n_merchants", low=1, high=10**7)
    deviation = _check.number(merchant_deviation, argument="merchant_deviation", low=0.0, high=10.0)
    n_days = _check.whole(n_days, argument="n_days", low=1, high=36_525)
    parts = Parts(lines=lines, buyers=buyers, rings=rings, shifts=shifts, funnel=funnel, opt_in=opt_in)
    # One stream for each part, so that a change of one argument leaves the other parts as they are.
    tree_seed, merchant_seed, order_seed, claim_seed = np.random.SeedSequence(seed).spawn(4)
    leaves = leaf_table(np.random.default_rng(tree_seed))
    sellers = seller_table(merchant_seed, n_merchants, deviation)
    orders = draw_orders(np.random.default_rng(order_seed), leaves, sellers, n_orders, n_days)
    truth = state_truth(leaves, sellers, orders)
    merchants = sellers[["merchant_id", "experience_score", "segment"]].copy()
    as_of = pd.Timestamp(date_of(np.array(n_days)))
    if lines is not None:
        return SimulatedBook(as_of=as_of, **add_actors(parts, truth, orders, merchants, seed=seed, n_days=n_days))
    claims = draw_claims(np.random.default_rng(claim_seed), truth, orders)
    return SimulatedBook(orders=orders, claims=claims, merchants=merchants, truth=truth, as_of=as_of)


def draw_claims(rng: Rng, truth: BookTruth, orders: pd.DataFrame) -> pd.DataFrame:
    """Draw the claims of every order, their lags and their freight."""
    row = np.repeat(np.arange(len(orders)), rng.poisson(truth.claim_intensity))
    lag_days = rng.gamma(LAG_SHAPE, LAG_MEAN_DAYS / LAG_SHAPE, row.size)
    # Lags beyond the cover are drawn again, which gives the gamma conditional on ending within the cover.
    while (late := lag_days > COVER_DAYS).any():
        lag_days[late] = rng.gamma(LAG_SHAPE, LAG_MEAN_DAYS / LAG_SHAPE, int(late.sum()))
    report_date = orders["ship_date"].to_numpy()[row] + (lag_days * 86_400).astype("m8[s]")
    freight = rng.gamma(FREIGHT_SHAPE, truth.mean_freight[row] / FREIGHT_SHAPE)
    by_report = np.argsort(report_date, kind="stable")
    return pd.DataFrame(
        {
            "claim_id": np.arange(1, row.size + 1, dtype=np.int64),
            "order_id": orders["order_id"].to_numpy()[row[by_report]],
            "report_date": report_date[by_report],
            "freight": np.maximum(np.round(freight[by_report], 2), 0.01),
        }
    )
