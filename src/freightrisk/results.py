"""Types that functions and methods return, for annotations."""

from freightrisk.datasets import SimulatedBook
from freightrisk.models.freight import FittedSchedule
from freightrisk.tariff.quotes import CodedOrders, QuoteBuffers
from freightrisk.tariff.worksheet import Worksheet

__all__ = ["CodedOrders", "FittedSchedule", "QuoteBuffers", "SimulatedBook", "Worksheet"]
