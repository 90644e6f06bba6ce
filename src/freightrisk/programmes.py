"""Programmes: several covers in one price, with fees, loss controls and dates."""

from freightrisk.programme.fee import Fee
from freightrisk.programme.programme import Programme, load_programme
from freightrisk.tariff.loss_control import Funnel, LossControl, LossControls

__all__ = ["Fee", "Funnel", "LossControl", "LossControls", "Programme", "load_programme"]
