"""The parameters of a simulated book, and every fact planted in it."""

from dataclasses import dataclass
from math import prod

import numpy as np
import pandas as pd

from freightrisk.simulation.catalogue import (
    BAND_EDGES,
    BAND_FREQUENCY,
    COVER_DAYS,
    FREIGHT_SHAPE,
    FREQUENCY_BASE,
    LAG_MEAN_DAYS,
    LAG_SHAPE,
    LEVEL_FREQUENCY,
    WEIGHT_SEVERITY,
    ZONE_FIRST_FEE,
)
from freightrisk.simulation.orders import Floats


@dataclass(frozen=True, eq=False, repr=False)
class ActorTruth:
    """Every fact that is planted in a book of lines.

    Attributes
    ----------
    parts : tuple
        The parts as they were given: LineTruth first, then BuyerTruth, RingTruth and the others.
    orders : pandas.DataFrame
        One row an order, in the sequence of ``book.orders``: order_id; line_probability (probability that a line of
        the order comes back as a claim if the order is covered; 0 if it was cancelled); request_probability (of a
        line, if there is a funnel); buyer_factor; shift_factor (product of jumps and spikes, or of neither 1); ring_id
        (0 if no ring placed it); covered.
    buyers : pandas.DataFrame or None
        One row a buyer: buyer_id, household_id, dormitory_id (0 if none), activity, claim_factor, ring_id (0 if none).
    rings : pandas.DataFrame or None
        One row a ring: ring_id, region, far, start, end, n_members, n_orders, n_shops, claim_probability.
    jumps : pandas.DataFrame or None
        One row a merchant that jumps: merchant_id, start (first ship date), factor.
    spikes : pandas.DataFrame or None
        One row a spike: region, start, end (last ship date), factor.
    merchants : pandas.DataFrame or None
        One row a merchant, if there is an opt-in: merchant_id, policy ("never", "always", "outside_campaigns",
        "only_campaigns"), start and end (first and last ship date of the enrolment; NaT if never or open).
    parcels : pandas.DataFrame or None
        One row a parcel of the funnel: parcel_id, ring_id (0 if no ring sent it), and the signs of fraud early_return,
        weight_mismatch and route_mismatch.
    """

    parts: tuple[object, ...]
    orders: pd.DataFrame
    buyers: pd.DataFrame | None = None
    rings: pd.DataFrame | None = None
    jumps: pd.DataFrame | None = None
    spikes: pd.DataFrame | None = None
    merchants: pd.DataFrame | None = None
    parcels: pd.DataFrame | None = None

    def __repr__(self) -> str:
        tables = [
            name
            for name in ("buyers", "rings", "jumps", "spikes", "merchants", "parcels")
            if getattr(self, name) is not None
        ]
        return f"ActorTruth: {len(self.orders):,} orders; tables {', '.join(['orders', *tables])}"


@dataclass(frozen=True, eq=False, repr=False)
class BookTruth:
    """The parameters of a simulated book.

    Attributes
    ----------
    frequency_base, severity_base : float
        Claims of a shipped order at full maturity (intensity of a line in a book of lines), and mean freight of a
        claim (yuan), at relativities of 1.
    frequency, severity : dict of str to pandas.Series
        Relativities by factor. ``category_path`` is indexed by "industry > category > leaf", and a plain factor by
        level. ``region`` and ``merchant_tier`` are there if the lines have factors for them. A banded factor is indexed
        by band number in the order of its edges: band 0 is ``(-inf, e0]``, and the last band has no upper edge.
    merchant_deviation : pandas.Series
        Factor on the claim intensity of each merchant, by merchant_id, drawn from a gamma with mean 1.
    claim_intensity, mean_freight : ndarray of float64, shape (n_orders,)
        Expected claims of each order at full maturity (0 if it was cancelled before shipment or is not covered), and
        mean freight of a claim of each order (of a parcel in a book of lines), cancelled or not (yuan).
    severity_shape, lag_mean_days, lag_shape, cover_days : float
        Shape of the gamma noise of the freight (its inverse is the dispersion). The lag from shipment to report is
        gamma with this mean and shape, conditional on ending within the days of cover.
    actors : ActorTruth or None
        What is planted in a book of lines; None if the book has only orders and Poisson claims.
    """

    frequency_base: float
    severity_base: float
    frequency: dict[str, pd.Series]
    severity: dict[str, pd.Series]
    merchant_deviation: pd.Series
    claim_intensity: Floats
    mean_freight: Floats
    severity_shape: float = FREIGHT_SHAPE
    lag_mean_days: float = LAG_MEAN_DAYS
    lag_shape: float = LAG_SHAPE
    cover_days: int = COVER_DAYS
    actors: ActorTruth | None = None

    def __repr__(self) -> str:
        return (
            f"BookTruth: {len(self.claim_intensity):,} orders, base {self.frequency_base:g} claims an order "
            f"and {self.severity_base:.4g} yuan a claim"
        )


def state_truth(leaves: pd.DataFrame, sellers: pd.DataFrame, orders: pd.DataFrame) -> BookTruth:
    """Return the tables of the truth, and their product for every order."""
    zone_fee = pd.Series(ZONE_FIRST_FEE)
    paths = leaves[["industry", "category", "leaf"]].astype(str).agg(" > ".join, axis=1)
    frequency = {"category_path": pd.Series(leaves["relativity"].to_numpy(), index=paths.array)}
    frequency |= {name: pd.Series(table) for name, table in (LEVEL_FREQUENCY | BAND_FREQUENCY).items()}
    severity = {"zone": zone_fee / zone_fee.iloc[0], "weight_kg": pd.Series(WEIGHT_SEVERITY)}
    seller = orders["merchant_id"].to_numpy() - 1
    score_code = np.searchsorted(BAND_EDGES["experience_score"], sellers["experience_score"])[seller]
    codes = {"category_path": orders["leaf"].cat.codes.to_numpy(), "experience_score": score_code}
    codes |= {name: orders[name].cat.codes.to_numpy() for name in LEVEL_FREQUENCY}
    # Bands are closed on the right, which is the default side "left" of searchsorted.
    codes |= {name: np.searchsorted(BAND_EDGES[name], orders[name]) for name in ("price", "weight_kg")}
    deviation = sellers.set_index("merchant_id")["deviation"].rename("merchant_deviation")
    intensity = FREQUENCY_BASE * prod(table.to_numpy()[codes[name]] for name, table in frequency.items())
    mean_freight = zone_fee.iloc[0] * prod(table.to_numpy()[codes[name]] for name, table in severity.items())
    return BookTruth(
        frequency_base=FREQUENCY_BASE,
        severity_base=float(zone_fee.iloc[0]),
        frequency=frequency,
        severity=severity,
        merchant_deviation=deviation,
        claim_intensity=intensity * deviation.to_numpy()[seller] * orders["ship_date"].notna().to_numpy(),
        mean_freight=mean_freight,
    )
