"""Sums of payouts: how much of them an aggregate limit leaves, and their distribution over a period or an order."""

from freightrisk.models.claim_counts import (
    CappedCount,
    ClaimCount,
    LineCount,
    NegativeBinomialCount,
    PoissonCount,
    TableCount,
)
from freightrisk.models.compound import CompoundDistribution, GridCheck, compound_distribution
from freightrisk.models.payouts import ClaimPayout, ShapePayout, TablePayout
from freightrisk.tariff.aggregate_limit import AggregateLimit
from freightrisk.tariff.aggregate_shares import AggregateShares
from freightrisk.tariff.order_aggregates import order_aggregate_shares

__all__ = [
    "AggregateLimit",
    "AggregateShares",
    "CappedCount",
    "ClaimCount",
    "ClaimPayout",
    "CompoundDistribution",
    "GridCheck",
    "LineCount",
    "NegativeBinomialCount",
    "PoissonCount",
    "ShapePayout",
    "TableCount",
    "TablePayout",
    "compound_distribution",
    "order_aggregate_shares",
]
