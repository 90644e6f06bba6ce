"""Campaigns as documents of their own, and the allocation of a budget to subsidies by segment."""

from freightrisk.portfolio.allocation import Allocation, allocate
from freightrisk.portfolio.offers import subsidy_offers
from freightrisk.tariff.campaigns import campaign_schema, load_campaigns, load_funds, save_campaigns

__all__ = [
    "Allocation",
    "allocate",
    "campaign_schema",
    "load_campaigns",
    "load_funds",
    "save_campaigns",
    "subsidy_offers",
]
