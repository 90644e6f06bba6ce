"""Programmes: several covers in one price, with fees, loss controls and dates."""

from freightrisk.programme.control_evidence import ControlCell, ControlEffect, control_effect
from freightrisk.programme.control_table import control_table
from freightrisk.programme.enrolment import Enrolment
from freightrisk.programme.fee import Fee
from freightrisk.programme.phase_in import PhaseIn
from freightrisk.programme.priced import load_priced
from freightrisk.programme.programme import Programme, load_programme
from freightrisk.programme.refunds import refunds
from freightrisk.programme.versions import Versions, load_versions
from freightrisk.tariff.loss_control import Funnel, LossControl, LossControls

__all__ = [
    "ControlCell",
    "ControlEffect",
    "Enrolment",
    "Fee",
    "Funnel",
    "LossControl",
    "LossControls",
    "PhaseIn",
    "Programme",
    "Versions",
    "control_effect",
    "control_table",
    "load_priced",
    "load_programme",
    "load_versions",
    "refunds",
]
