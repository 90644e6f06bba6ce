"""Programmes: loss controls, and the evidence for their effects."""

from freightrisk.programme.control_evidence import ControlCell, ControlEffect, control_effect

__all__ = ["ControlCell", "ControlEffect", "control_effect"]
