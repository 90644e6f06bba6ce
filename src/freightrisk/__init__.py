"""Pricing of e-commerce return-freight insurance: category models, tariffs, and quotes to the fen.

This module has the names for everyday work, from a book to prices. The modules `aggregates`, `campaigns`,
`credibility`, `datasets`, `events`, `inference`, `ledger`, `lines`, `plots`, `presets`, `programmes`, `reports`,
`results` and `shapes` have the other names. They are imported at first use.
"""

import importlib as _importlib
from importlib.util import find_spec as _find_spec
from typing import TYPE_CHECKING

from freightrisk.book.book import OrderBook
from freightrisk.book.by_level import ByLevel
from freightrisk.book.factors import Band, Factor, Hierarchy
from freightrisk.book.maturity import ReportLag
from freightrisk.book.opened import open_book
from freightrisk.book.stored import store_book
from freightrisk.errors import (
    FitError,
    FreightRiskError,
    FreightRiskWarning,
    InputError,
    LedgerError,
    ModelDocumentError,
    TariffDocumentError,
)
from freightrisk.models.document import load_model
from freightrisk.models.effects import Credibility, Free, Given, Interaction, Smooth
from freightrisk.models.fitted import FittedModel
from freightrisk.models.freight import ScheduleSeverity
from freightrisk.models.frequency import FrequencyModel
from freightrisk.models.merchant_experience import merchant_experience
from freightrisk.models.pure_premium import PurePremiumModel
from freightrisk.models.schedule import FreightSchedule
from freightrisk.models.severity import SeverityModel
from freightrisk.models.solver import Solver
from freightrisk.pipeline.parquet import price_parquet
from freightrisk.pipeline.settlement import Settlement
from freightrisk.portfolio.cross_validation import cross_validate
from freightrisk.portfolio.validation import actual_vs_expected
from freightrisk.programme.claim_payer import ClaimPayer
from freightrisk.programme.settle import settle
from freightrisk.tariff.balances import Balances
from freightrisk.tariff.conditions import Interval
from freightrisk.tariff.cover import Cover
from freightrisk.tariff.document import load_tariff
from freightrisk.tariff.experience_rating import ExperienceRating
from freightrisk.tariff.funds import Fund
from freightrisk.tariff.limits import Limit
from freightrisk.tariff.loading import Loadings
from freightrisk.tariff.score import ScoreCurve
from freightrisk.tariff.subsidy import Subsidy
from freightrisk.tariff.tariff import Tariff

if TYPE_CHECKING:
    from freightrisk.datasets import simulate_book
    from freightrisk.pipeline.ledger import Ledger as Ledger

__version__ = "0.1.0"

# Ledger is left out, because a star import would otherwise need the extra "ledger".
__all__ = [
    "Balances",
    "Band",
    "ByLevel",
    "ClaimPayer",
    "Cover",
    "Credibility",
    "ExperienceRating",
    "Factor",
    "FitError",
    "FittedModel",
    "Free",
    "FreightRiskError",
    "FreightRiskWarning",
    "FreightSchedule",
    "FrequencyModel",
    "Fund",
    "Given",
    "Hierarchy",
    "InputError",
    "Interaction",
    "Interval",
    "LedgerError",
    "Limit",
    "Loadings",
    "ModelDocumentError",
    "OrderBook",
    "PurePremiumModel",
    "ReportLag",
    "ScheduleSeverity",
    "ScoreCurve",
    "Settlement",
    "SeverityModel",
    "Smooth",
    "Solver",
    "Subsidy",
    "Tariff",
    "TariffDocumentError",
    "actual_vs_expected",
    "cross_validate",
    "load_model",
    "load_tariff",
    "merchant_experience",
    "open_book",
    "price_parquet",
    "settle",
    "simulate_book",
    "store_book",
]

# Imported at first use, because simulate_book needs pandas, and Ledger and plots need an extra.
_LAZY = {"simulate_book": "datasets", "Ledger": "ledger"}
_MODULES = (
    "aggregates",
    "campaigns",
    "credibility",
    "datasets",
    "events",
    "inference",
    "ledger",
    "lines",
    "plots",
    "presets",
    "programmes",
    "reports",
    "results",
    "shapes",
)


_RENAMED = {"Experience": "ExperienceRating"}


def _names_of(module: str) -> list[str]:
    names: list[str] = _importlib.import_module(f"freightrisk.{module}").__all__
    return names


def __getattr__(name: str) -> object:
    """Return a module or a name that is imported at first use."""
    if name in _MODULES:
        return _importlib.import_module(f"freightrisk.{name}")
    if name in _LAZY:
        return getattr(_importlib.import_module(f"freightrisk.{_LAZY[name]}"), name)
    if name in _RENAMED:
        raise AttributeError(f"freightrisk has no {name!r}; it is now freightrisk.{_RENAMED[name]}.")
    for module in _MODULES:
        if not name.startswith("_") and module != "ledger" and name in _names_of(module):
            raise AttributeError(f"freightrisk has no {name!r}; import it from freightrisk.{module}.")
    raise AttributeError(f"module 'freightrisk' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names, including the names that are imported at first use.

    A ledger is listed only if sqlalchemy is installed, because tools such as `help` import every listed name.
    """
    absent = set() if _find_spec("sqlalchemy") else {"ledger", "Ledger"}
    return sorted({*__all__, *_LAZY, *_MODULES, "__version__"} - absent)


del TYPE_CHECKING
