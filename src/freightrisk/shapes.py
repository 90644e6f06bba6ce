"""How the amounts of claims spread around their mean, and what a cover pays of them."""

from freightrisk.models.shapes import EmpiricalShape, ParetoTail, ScaleShape, SeverityShape, limited_expected_value
from freightrisk.tariff.cover import expected_claims

__all__ = ["EmpiricalShape", "ParetoTail", "ScaleShape", "SeverityShape", "expected_claims", "limited_expected_value"]
