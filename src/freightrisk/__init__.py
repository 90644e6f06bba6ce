"""Pricing of e-commerce return-freight insurance: category models, tariffs, and quotes to the fen."""

from typing import TYPE_CHECKING, Any

from freightrisk.book.book import OrderBook
from freightrisk.book.factors import Band, Factor, Hierarchy
from freightrisk.book.maturity import ReportLag
from freightrisk.book.scores import lagged_scores
from freightrisk.errors import (
    FitError,
    FreightRiskError,
    FreightRiskWarning,
    InputError,
    LedgerError,
    TariffDocumentError,
)
from freightrisk.models.credibility import ClassicalCredibility, buhlmann, buhlmann_straub, jewell
from freightrisk.models.effects import Credibility, Free, Given, Interaction, Smooth
from freightrisk.models.experience import MerchantExperience, merchant_experience, merchant_periods
from freightrisk.models.fitted import FittedModel
from freightrisk.models.freight import FittedSchedule, FreightSchedule, ScheduleSeverity
from freightrisk.models.frequency import FrequencyModel, at_most_one_claim
from freightrisk.models.inference import NestedTest, likelihood_ratio_test, wald_tests
from freightrisk.models.lines import LineReturns, expected_line_claims, fit_line_returns
from freightrisk.models.pure_premium import PurePremiumModel
from freightrisk.models.severity import SeverityModel
from freightrisk.models.shapes import EmpiricalShape, ParetoTail, ScaleShape, SeverityShape, limited_expected_value
from freightrisk.models.solver import Solver
from freightrisk.pipeline.opened import open_book
from freightrisk.pipeline.parquet import price_parquet
from freightrisk.pipeline.settlement import Settlement
from freightrisk.pipeline.stored import store_book
from freightrisk.portfolio.allocation import Allocation, allocate, subsidy_offers
from freightrisk.portfolio.gates import gate_report
from freightrisk.portfolio.rounding import rounding_report
from freightrisk.portfolio.validation import actual_vs_expected
from freightrisk.tariff.balances import Balances
from freightrisk.tariff.campaigns import campaign_schema, load_campaigns, save_campaigns
from freightrisk.tariff.cover import ByLevel, Cover, expected_claims
from freightrisk.tariff.document import load_tariff
from freightrisk.tariff.experience import Experience
from freightrisk.tariff.loading import Loadings
from freightrisk.tariff.quotes import CodedOrders, QuoteBuffers
from freightrisk.tariff.score import ScoreCurve
from freightrisk.tariff.subsidy import Interval, Subsidy
from freightrisk.tariff.tariff import Tariff
from freightrisk.tariff.worksheet import Worksheet

if TYPE_CHECKING:
    from freightrisk.datasets import SimulatedBook, simulate_book
    from freightrisk.pipeline.ledger import Ledger as Ledger

__version__ = "0.1.0"

# Without Ledger, so that a star import needs no extra.
__all__ = [
    "Allocation",
    "Balances",
    "Band",
    "ByLevel",
    "ClassicalCredibility",
    "CodedOrders",
    "Cover",
    "Credibility",
    "EmpiricalShape",
    "Experience",
    "Factor",
    "FitError",
    "FittedModel",
    "FittedSchedule",
    "Free",
    "FreightRiskError",
    "FreightRiskWarning",
    "FreightSchedule",
    "FrequencyModel",
    "Given",
    "Hierarchy",
    "InputError",
    "Interaction",
    "Interval",
    "LedgerError",
    "LineReturns",
    "Loadings",
    "MerchantExperience",
    "NestedTest",
    "OrderBook",
    "ParetoTail",
    "PurePremiumModel",
    "QuoteBuffers",
    "ReportLag",
    "ScaleShape",
    "ScheduleSeverity",
    "ScoreCurve",
    "Settlement",
    "SeverityModel",
    "SeverityShape",
    "SimulatedBook",
    "Smooth",
    "Solver",
    "Subsidy",
    "Tariff",
    "TariffDocumentError",
    "Worksheet",
    "actual_vs_expected",
    "allocate",
    "at_most_one_claim",
    "buhlmann",
    "buhlmann_straub",
    "campaign_schema",
    "expected_claims",
    "expected_line_claims",
    "fit_line_returns",
    "gate_report",
    "jewell",
    "lagged_scores",
    "likelihood_ratio_test",
    "limited_expected_value",
    "load_campaigns",
    "load_tariff",
    "merchant_experience",
    "merchant_periods",
    "open_book",
    "price_parquet",
    "rounding_report",
    "save_campaigns",
    "simulate_book",
    "store_book",
    "subsidy_offers",
    "wald_tests",
]


def __getattr__(name: str) -> Any:
    """Load the synthetic book, which needs pandas at import, and the ledger, which needs an extra, when asked for."""
    if name in ("SimulatedBook", "simulate_book"):
        from freightrisk import datasets

        return getattr(datasets, name)
    if name == "Ledger":
        try:
            from freightrisk.pipeline.ledger import Ledger
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f"{error}; a ledger needs pip install freightrisk[ledger]") from None

        return Ledger
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
