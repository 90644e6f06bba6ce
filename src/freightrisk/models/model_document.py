"""Documents of fitted models: a fit as plain data with a digest, and bytes as the fields of a fit, all of them proved.

Fields have no defaults, because a lost field would then change a prediction silently.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from freightrisk import _check, _intake
from freightrisk._document import ExactArray, ExactFloat, to_plain
from freightrisk._sealed import Seal
from freightrisk._shown import counted, repr_of
from freightrisk._types import Array
from freightrisk.book.codings import Coding, CrossCoding, line_coding
from freightrisk.errors import InputError, ModelDocumentError
from freightrisk.models.families import FAMILIES
from freightrisk.models.fit_record import FitRecord
from freightrisk.models.fitted_effect import DOUBTS, FitStatistics, FittedEffect, Nodes
from freightrisk.models.objective import Step
from freightrisk.models.posterior import Posterior, SlotErrors

SEAL = Seal("model", "freightrisk/model", 1, ModelDocumentError)
KINDS = ("frequency", "severity", "pure premium")
WITHOUT_ERRORS = ("given", "lines")
EFFECTS = ("free", "credibility", "smooth", "interaction", *WITHOUT_ERRORS)
LARGEST_LOG = 600.0  # of a base and the widest relativities together: 1e260, so that no rate overflows
LARGEST_VARIANCE = 1e100
OPTIONS = ("exposure", "offset", "weight")


@dataclass(frozen=True, eq=False)
class EffectPart:
    """One effect of a document: its factors by name, and the fields of `FittedEffect` and `SlotErrors`."""

    name: str
    factors: tuple[str, ...]
    kind: str
    table: ExactArray
    std_errors: ExactArray
    exposure: ExactArray
    claims: ExactArray
    amount: ExactArray
    effective_parameters: ExactFloat
    variances: tuple[float, ...]
    reference: int | None
    monotone: str | None
    nodes: Nodes | None
    errors: SlotErrors | None
    doubts: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class JointPart:
    """The joint covariance of a document, matrices as one list; `covariance` is empty if it is the model's own."""

    covariance: ExactArray
    eliminated: str
    cross: ExactArray
    cross_variances: ExactArray


@dataclass(frozen=True, eq=False)
class ModelPart:
    """A fitted model as a document holds it."""

    kind: str
    family: str
    family_parameter: float
    engine: str
    clock: str
    off_balance: float
    intercept: float
    intercept_std_error: ExactFloat
    factors: Annotated[Mapping[str, Coding], "name"]
    effects: tuple[EffectPart, ...]
    parameters: tuple[tuple[str, int], ...]
    covariance: ExactArray
    joint: JointPart
    statistics: FitStatistics
    steps: tuple[tuple[int, ExactFloat, ExactFloat, int], ...]


def document_of(fitted: FitRecord) -> bytes:
    """Return the document of a fitted model."""
    return msgspec.json.encode(SEAL.plain(to_plain(_part_of(fitted)))) + b"\n"


def fields_of(data: bytes, *, source: str) -> dict[str, Any]:
    """Return the fields of the fitted model of a document's bytes.

    Raises
    ------
    ModelDocumentError
    """
    part = SEAL.read(ModelPart, data, source=source)
    try:
        return _fields(part)
    except InputError as error:
        raise ModelDocumentError(f"'{source}' contradicts itself: {error}") from None


def _part_of(fitted: FitRecord) -> ModelPart:
    posterior = fitted.posterior
    is_own = posterior.covariance.tobytes() == fitted.covariance.tobytes()
    return ModelPart(
        kind=fitted.kind,
        family=fitted.family,
        family_parameter=fitted.family_parameter,
        engine=fitted.engine,
        clock=fitted.clock,
        off_balance=fitted.off_balance,
        intercept=fitted.intercept,
        intercept_std_error=fitted.intercept_std_error,
        factors={one.name: one for effect in fitted.fitted_effects.values() for one in effect.coding.factors},
        effects=tuple(
            EffectPart(
                name, tuple(one.name for one in effect.coding.factors), effect.kind, effect.table, effect.std_errors,
                effect.exposure, effect.claims, effect.amount, effect.effective_parameters, effect.variances,
                effect.reference, effect.monotone, effect.nodes, posterior.effects.get(name), effect.doubts,
            )
            for name, effect in fitted.fitted_effects.items()
        ),
        parameters=fitted.parameters,
        covariance=fitted.covariance.ravel(),
        joint=JointPart(
            np.empty(0) if is_own else posterior.covariance.ravel(), posterior.eliminated, posterior.cross.ravel(),
            posterior.cross_variances,
        ),
        statistics=fitted.statistics,
        steps=tuple((step.rows, step.objective, step.largest_move, step.halvings) for step in fitted.steps),
    )  # fmt: skip


def _fields(part: ModelPart) -> dict[str, Any]:
    """Return the fields of a fitted model; refuse parts that no fit has."""
    _check.one_of(part.kind, KINDS, argument="kind")
    _check.one_of(part.family, FAMILIES, argument="family")
    _check.one_of(part.engine, ("newton", "statsmodels"), argument="engine")
    _intake.check_clock(part.clock)
    _check.number(part.intercept, argument="intercept", low=-LARGEST_LOG, high=LARGEST_LOG)
    _check.number(part.family_parameter, argument="family_parameter", low=0.0, high=1e9)
    _check.number(part.off_balance, argument="off_balance", low=0.0, high=1e9, open_low=True)
    is_counted = FAMILIES[part.family].counts
    if is_counted != (part.kind == "frequency") or (part.family == "tweedie") != (part.kind == "pure premium"):
        raise InputError(f"the family of a {part.kind} model is '{part.family}', which such a model does not have.")
    has_dispersion = bool(np.isfinite(part.statistics.dispersion))
    effects = {one.name: _effect(one, part.factors, has_dispersion) for one in part.effects}
    if len(effects) < len(part.effects):
        raise InputError("two effects have one name; give each its own.")
    widest = abs(part.intercept) + sum(float(np.abs(effect.table).max(initial=0.0)) for effect in effects.values())
    if widest > LARGEST_LOG:
        raise InputError(f"base and relativities multiply to e^{widest:.0f}; they must stay below e^{LARGEST_LOG:.0f}.")
    lines = [name for name, effect in effects.items() if effect.kind == "lines"]
    if len(lines) != int(FAMILIES[part.family].lines):
        raise InputError(f"the {part.family} family needs {int(FAMILIES[part.family].lines)} effects of kind 'lines'.")
    size = len(part.parameters) + 1
    for name, code in part.parameters:
        if name not in effects or not 0 <= code < effects[name].coding.n_slots:
            raise InputError(f"parameters name slot {code} of factor {repr_of(name)}, which the model does not have.")
    covariance = _matrix(part.covariance, size, size, "covariance", has_dispersion)
    return {
        "kind": part.kind, "family": part.family, "intercept": part.intercept,
        "intercept_std_error": _spread([part.intercept_std_error], "intercept_std_error", has_dispersion)[0].item(),
        "covariance": covariance, "parameters": part.parameters, "fitted_effects": effects,
        "statistics": _statistics(part.statistics), "steps": _steps(part.steps), "engine": part.engine,
        "joint": _posterior(part, covariance, effects, has_dispersion),
        "family_parameter": part.family_parameter, "clock": part.clock, "off_balance": part.off_balance,
    }  # fmt: skip


def _effect(part: EffectPart, factors: Mapping[str, Coding], has_dispersion: bool) -> FittedEffect:
    unknown = [name for name in part.factors if name not in factors]
    if unknown or not 1 <= len(part.factors) <= 2:
        raise InputError(f"effect '{part.name}' is of {list(part.factors)}; give one or two factors of the document.")
    codings = [factors[name] for name in part.factors]
    coding: Coding | CrossCoding = codings[0] if len(codings) == 1 else CrossCoding(*codings)
    _check.one_of(part.kind, EFFECTS, argument=f"kind of effect '{part.name}'")
    if part.name != coding.name or (len(codings) == 2) != (part.kind == "interaction"):
        raise InputError(f"effect '{part.name}' is of kind '{part.kind}' of factors {list(part.factors)}.")
    of = f"of effect '{part.name}'"
    for name in ("table", "std_errors", "exposure", "claims", "amount"):
        _sized(getattr(part, name), coding.n_slots, f"{name} {of}")
    _bounded(part.table, -LARGEST_LOG, LARGEST_LOG, f"table {of}")
    for name in ("exposure", "claims", "amount"):
        _bounded(getattr(part, name), 0.0, np.finfo(np.float64).max, f"{name} {of}")
    _bounded(np.array(part.variances), 0.0, 1e9, f"variances {of}")
    _spread(part.std_errors, f"std_errors {of}", has_dispersion)
    if part.reference is not None:
        _check.whole(part.reference, argument=f"reference {of}", low=0, high=coding.n_slots - 1)
    for doubt in part.doubts:
        _check.one_of(doubt, DOUBTS, argument=f"doubts {of}")
    if part.monotone is not None:
        _check.one_of(part.monotone, ("increasing", "decreasing"), argument=f"monotone {of}")
    if part.kind == "lines":
        counted_lines = np.log(np.minimum(np.arange(coding.n_slots) + 1.0, coding.n_levels))
        if coding != line_coding(part.name, coding.n_levels) or not np.array_equal(part.table, counted_lines):
            raise InputError(f"effect '{part.name}' of kind 'lines' does not count lines from 1 on.")
    if part.nodes is not None:
        for name in ("parents", "depth", "exposure", "claims", "own_rate", "parent_rate", "credibility_z", "rate"):
            _sized(getattr(part.nodes, name), len(part.nodes.labels), f"{name} of the nodes {of}")
    return FittedEffect(
        coding=coding, kind=part.kind, table=part.table, std_errors=part.std_errors, exposure=part.exposure,
        claims=part.claims, amount=part.amount, effective_parameters=part.effective_parameters,
        variances=part.variances, reference=part.reference, nodes=part.nodes, monotone=part.monotone,
        doubts=part.doubts,
    )  # fmt: skip


def _posterior(
    part: ModelPart, covariance: Array, effects: Mapping[str, FittedEffect], has_dispersion: bool
) -> Posterior:
    joint = part.joint
    size = isqrt(len(joint.covariance)) if len(joint.covariance) else len(covariance)
    whole = covariance
    if len(joint.covariance):
        whole = _matrix(joint.covariance, size, size, "joint covariance", has_dispersion)
    n_nodes = len(joint.cross_variances)
    _spread(joint.cross_variances, "cross_variances", has_dispersion)
    cross = _matrix(joint.cross, n_nodes, size if n_nodes else 0, "cross", has_dispersion)
    errors = {one.name: one.errors for one in part.effects if one.errors is not None}
    if (joint.eliminated != "") != (n_nodes > 0) or (n_nodes and joint.eliminated not in errors):
        raise InputError(f"eliminated is {repr_of(joint.eliminated)}, which has no errors among the effects.")
    for name, effect in effects.items():
        if (name in errors) == (effect.kind in WITHOUT_ERRORS):
            raise InputError(f"effect '{name}' of kind '{effect.kind}' has {'no ' * (name not in errors)}errors.")
    for name, slots in errors.items():
        _sized(slots.places, effects[name].coding.n_slots, f"places of effect '{name}'")
        _sized(slots.variances, effects[name].coding.n_slots, f"variances of the slots of effect '{name}'")
        _bounded(slots.places, -1, (n_nodes if name == joint.eliminated else size) - 1, f"places of effect '{name}'")
        _spread(slots.variances, f"variances of the slots of effect '{name}'", True)
    ordered = [joint.eliminated] * bool(n_nodes)
    ordered += [name for name in errors if name != joint.eliminated]
    return Posterior(whole, {name: errors[name] for name in ordered}, joint.eliminated, cross, joint.cross_variances)


def _statistics(found: FitStatistics) -> FitStatistics:
    _check.whole(found.n_rows, argument="n_rows", low=1, high=2**62)
    for name in ("n_clusters", "n_censored"):
        _check.whole(getattr(found, name), argument=name, low=0, high=2**62)
    for name in ("exposure", "claims"):
        _check.number(getattr(found, name), argument=f"{name} of statistics", low=0.0)
    _check.number(found.df_residual, argument="df_residual of statistics")
    _check.number(found.null_base, argument="null_base of statistics", low=-LARGEST_LOG, high=LARGEST_LOG)
    for option in found.options:
        _check.one_of(option, OPTIONS, argument="an option of statistics")
    return found


def _steps(rows: Sequence[tuple[int, float, float, int]]) -> tuple[Step, ...]:
    if not rows:
        raise InputError("steps are empty; a fit has at least one.")
    return tuple(Step(*row) for row in rows)


def _sized(values: Any, size: int, what: str) -> None:
    if len(values) != size:
        raise InputError(f"{what} has {counted(len(values), 'value')} instead of {size:,}.")


def _bounded(values: NDArray[Any], low: float, high: float, what: str) -> None:
    """Refuse values that are not numbers or lie outside an interval."""
    bad = ~((values >= low) & (values <= high))
    if bad.any():
        raise InputError(f"{what} has {values[bad][0]} in place {int(np.argmax(bad))}; give [{low:g}, {high:g}].")


def _spread(values: Any, what: str, has_dispersion: bool) -> Array:
    """Return standard errors or variances; they are not numbers only if the dispersion is not defined."""
    array = np.asarray(values, dtype=np.float64)
    found = array if has_dispersion else np.where(np.isnan(array), 0.0, array)
    _bounded(np.where(np.isposinf(found), 0.0, found), 0.0, LARGEST_VARIANCE, what)
    return array


def _matrix(values: Array, rows: int, columns: int, what: str, has_dispersion: bool) -> Array:
    _sized(values, rows * columns, what)
    found = values if has_dispersion else np.where(np.isnan(values), 0.0, values)
    _bounded(found, -LARGEST_VARIANCE, LARGEST_VARIANCE, what)
    return values.reshape(rows, columns)
