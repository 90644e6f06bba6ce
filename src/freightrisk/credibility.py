"""Credibility on frames, and the experience and scores of merchants."""

from freightrisk.book.scores import lagged_scores
from freightrisk.models.credibility import ClassicalCredibility, buhlmann, buhlmann_straub, jewell
from freightrisk.models.merchant_experience import MerchantExperience, merchant_periods

__all__ = [
    "ClassicalCredibility",
    "MerchantExperience",
    "buhlmann",
    "buhlmann_straub",
    "jewell",
    "lagged_scores",
    "merchant_periods",
]
