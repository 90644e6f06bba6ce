"""Seeded synthetic books of return-freight insurance whose true parameters are known.

The tables behind them are illustrative, inside published ranges (see docs/synthetic). Claim frequency and mean freight
are exact products of these tables, so a model with the factors of `SimulatedBook.factors` can fit them exactly.
"""

from freightrisk.simulation.book import SimulatedBook, simulate_book
from freightrisk.simulation.parts import BuyerTruth, FunnelTruth, LineTruth, OptInTruth, RingTruth, ShiftTruth
from freightrisk.simulation.truth import ActorTruth, BookTruth

__all__ = [
    "ActorTruth",
    "BookTruth",
    "BuyerTruth",
    "FunnelTruth",
    "LineTruth",
    "OptInTruth",
    "RingTruth",
    "ShiftTruth",
    "SimulatedBook",
    "simulate_book",
]


def __dir__() -> list[str]:
    """Return the public names, so that completion shows nothing else."""
    return __all__
