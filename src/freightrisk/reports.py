"""Reports on rounding, on the score gates of programmes, and on assumed moral hazard."""

from freightrisk.portfolio.gates import gate_report
from freightrisk.portfolio.moral_hazard import moral_hazard_table
from freightrisk.portfolio.rounding import rounding_report

__all__ = ["gate_report", "moral_hazard_table", "rounding_report"]
