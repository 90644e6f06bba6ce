"""Programmes: several covers in one price, with fees, loss controls and dates."""

from freightrisk.tariff.loss_control import Funnel, LossControl, LossControls

__all__ = ["Funnel", "LossControl", "LossControls"]
