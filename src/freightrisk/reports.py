"""Reports on rounding and on the score gates of programmes."""

from freightrisk.portfolio.gates import gate_report
from freightrisk.portfolio.rounding import rounding_report

__all__ = ["gate_report", "rounding_report"]
