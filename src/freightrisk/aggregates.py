"""Sums of payouts: the limit of their total over a period or an order."""

from freightrisk.tariff.aggregate_limit import AggregateLimit

__all__ = ["AggregateLimit"]
