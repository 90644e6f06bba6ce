"""Covers of events beside the return freight, such as damage, late arrival or a fall of the price, as tariffs."""

from freightrisk.tariff.event_cover import EventCover
from freightrisk.tariff.event_severity import DiscreteSeverity, ParetoSeverity, ShapedSeverity

__all__ = ["DiscreteSeverity", "EventCover", "ParetoSeverity", "ShapedSeverity"]
