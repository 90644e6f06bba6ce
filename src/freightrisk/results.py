"""Types that functions and methods return or that results consist of, for annotations."""

from freightrisk.datasets import SimulatedBook
from freightrisk.models.freight import FittedSchedule
from freightrisk.tariff.quotes import CodedOrders, QuoteBuffers
from freightrisk.tariff.rates import CoverCurves, RateTables
from freightrisk.tariff.rounding import Rounding
from freightrisk.tariff.worksheet import Worksheet

__all__ = [
    "CodedOrders",
    "CoverCurves",
    "FittedSchedule",
    "QuoteBuffers",
    "RateTables",
    "Rounding",
    "SimulatedBook",
    "Worksheet",
]
