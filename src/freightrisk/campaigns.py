"""Campaigns apart from the tariff: their documents, and which segment is offered which subsidy."""

from freightrisk.portfolio.allocation import Allocation, allocate, subsidy_offers
from freightrisk.tariff.campaigns import campaign_schema, load_campaigns, save_campaigns

__all__ = ["Allocation", "allocate", "campaign_schema", "load_campaigns", "save_campaigns", "subsidy_offers"]
