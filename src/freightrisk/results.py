"""Types that functions and methods return or that results consist of, for annotations."""

from freightrisk.book.claims import ClaimRecords, Reversals
from freightrisk.book.codings import Coding, CrossCoding
from freightrisk.datasets import SimulatedBook
from freightrisk.models.evaluation import Evaluation
from freightrisk.models.fitted_effect import FitStatistics, FittedEffect, LimitedMeans, Nodes
from freightrisk.models.freight import FittedSchedule
from freightrisk.models.objective import Step
from freightrisk.models.posterior import Posterior, SlotErrors
from freightrisk.models.summary import ModelSummary
from freightrisk.programme.claim_totals import ClaimTotals
from freightrisk.programme.settled import ClaimPayments, SettledClaims
from freightrisk.tariff.quotes import CodedOrders, QuoteBuffers
from freightrisk.tariff.rates import CoverCurves, RateTables
from freightrisk.tariff.rounding import Rounding
from freightrisk.tariff.worksheet import Worksheet

__all__ = [
    "ClaimPayments",
    "ClaimRecords",
    "ClaimTotals",
    "CodedOrders",
    "Coding",
    "CoverCurves",
    "CrossCoding",
    "Evaluation",
    "FitStatistics",
    "FittedEffect",
    "FittedSchedule",
    "LimitedMeans",
    "ModelSummary",
    "Nodes",
    "Posterior",
    "QuoteBuffers",
    "RateTables",
    "Reversals",
    "Rounding",
    "SettledClaims",
    "SimulatedBook",
    "SlotErrors",
    "Step",
    "Worksheet",
]
