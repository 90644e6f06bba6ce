"""Orders with several lines: how many lines come back, and how many claims a cover pays."""

from freightrisk.models.frequency import at_most_one_claim
from freightrisk.models.lines import LineReturns, expected_line_claims, fit_line_returns

__all__ = ["LineReturns", "at_most_one_claim", "expected_line_claims", "fit_line_returns"]
