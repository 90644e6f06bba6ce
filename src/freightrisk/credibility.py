"""Credibility on frames, fraud loads from audits, and the experience and scores of merchants."""

from freightrisk.book.scores import lagged_scores
from freightrisk.models.credibility import ClassicalCredibility, buhlmann, buhlmann_straub, jewell
from freightrisk.models.fraud import FraudLoads, fraud_loads
from freightrisk.models.merchant_experience import MerchantExperience, merchant_periods

__all__ = [
    "ClassicalCredibility",
    "FraudLoads",
    "MerchantExperience",
    "buhlmann",
    "buhlmann_straub",
    "fraud_loads",
    "jewell",
    "lagged_scores",
    "merchant_periods",
]
