"""Distributions of claim amounts around their mean, and the part of a claim that a cover pays."""

from freightrisk.models.shapes import EmpiricalShape, ParetoTail, ScaleShape, SeverityShape, limited_expected_value
from freightrisk.tariff.curves import expected_claims

__all__ = ["EmpiricalShape", "ParetoTail", "ScaleShape", "SeverityShape", "expected_claims", "limited_expected_value"]
