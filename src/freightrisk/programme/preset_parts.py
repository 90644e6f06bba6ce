"""Parts that presets share: names of columns, checks of models, covers of events, loss controls."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypedDict

from freightrisk import _check
from freightrisk._shown import repr_of
from freightrisk.book.by_level import ByLevel
from freightrisk.book.factors import Value
from freightrisk.errors import InputError
from freightrisk.models.fitted import FittedModel
from freightrisk.models.freight import FittedSchedule
from freightrisk.models.shapes import SeverityShape
from freightrisk.programme.preset_data import PresetData, preset_data
from freightrisk.tariff.aggregate_shares import AggregateShares
from freightrisk.tariff.build import check_kind, factors_of
from freightrisk.tariff.conditions import Interval
from freightrisk.tariff.cover import Cover
from freightrisk.tariff.event_cover import EventCover
from freightrisk.tariff.event_severity import EventSeverity
from freightrisk.tariff.experience_rating import ExperienceRating
from freightrisk.tariff.funds import Fund
from freightrisk.tariff.loading import Loadings
from freightrisk.tariff.loss_control import LossControl
from freightrisk.tariff.subsidy import Subsidy
from freightrisk.tariff.tariff import Tariff

RETURN_FREIGHT = "return freight"
Severity = FittedModel | FittedSchedule
Where = Mapping[str, Interval | Sequence[Value]]
Events = Mapping[str, tuple[float | FittedModel, EventSeverity]]


class Terms(TypedDict, total=False):
    """Keyword arguments that presets hand on to `Tariff.build`."""

    shape: SeverityShape
    loadings: Loadings
    experience: ExperienceRating
    rounding: str
    dither_key: str
    clock: str


def checked_terms(terms: Terms) -> Terms:
    """Return the terms, and refuse other keyword arguments."""
    odd = [name for name in terms if name not in Terms.__annotations__]
    if odd:
        raise TypeError(
            f"unexpected keyword argument '{odd[0]}'; presets hand on {', '.join(Terms.__annotations__)} to a tariff."
        )
    return terms


def roles_of(preset: PresetData, columns: Any, roles: Sequence[str]) -> dict[str, str]:
    """Return the caller's name of each column that a preset reads."""
    given = {} if columns is None else dict(_check.mapping(columns, argument="columns"))
    unknown = [role for role in given if role not in roles]
    if unknown:
        raise InputError(
            f"columns of preset '{preset.name}' names {repr_of(unknown[0])}, which it does not read; it reads "
            f"{', '.join(map(repr, roles))}."
        )
    for role, name in given.items():
        _check.label(name, argument=f"column for '{role}'")
    return {role: given.get(role, role) for role in roles}


def check_models(preset: PresetData, frequency: Any, severity: Any, *, factors: Sequence[str]) -> None:
    """Refuse values that are no models, and models without a factor that the preset needs."""
    check_kind(frequency, "frequency")
    check_kind(severity, "severity")
    known = factors_of(frequency, severity)[0]
    absent = [name for name in factors if name not in known]
    if absent:
        raise InputError(
            f"preset '{preset.name}' needs the factor '{absent[0]}' in the models, which have "
            f"{', '.join(map(repr, known)) or 'none'}; fit a model with it, or give an amount by another factor."
        )


def first_weight_factors(fee: Any) -> list[str]:
    """Return the factor of first-weight fees, if there are any."""
    return [] if fee is None else [_check.instance(fee, ByLevel, argument="first_weight_fee").factor]


def freight_tariff(
    preset: PresetData,
    frequency: FittedModel,
    severity: Severity,
    cover: Cover,
    *,
    terms: Terms,
    floor_fen: int,
    subsidies: Sequence[Subsidy] = (),
    funds: Sequence[Fund] = (),
    controls: Sequence[LossControl] = (),
) -> Tariff:
    """Return the tariff of the return freight, whose price stays within the preset's range if it has one."""
    given: Any = {**terms, "loadings": filed(preset, terms.get("loadings"))}
    tariff = Tariff.build(
        frequency, severity, cover=cover, subsidies=subsidies, funds=funds, floor_fen=floor_fen,
        name=RETURN_FREIGHT, **given,
    )  # fmt: skip
    return tariff.with_loss_controls(controls) if controls else tariff


def checked_controls(controls: Any) -> tuple[LossControl, ...]:
    """Return loss controls, and refuse other values."""
    return _check.members(controls, LossControl, argument="loss_controls")


def filed(preset: PresetData, loadings: Loadings | None) -> Loadings:
    """Return loadings with the preset's range of the price, unless they have one of their own."""
    found = Loadings() if loadings is None else _check.instance(loadings, Loadings, argument="loadings")
    if ("covers", "premium, most") not in preset.items:
        return found
    plain = Loadings()
    if (found.filed_min, found.filed_max) != (plain.filed_min, plain.filed_max):
        return found
    return replace(found, filed_min=preset("covers", "premium, least"), filed_max=preset("covers", "premium, most"))


def checked_events(events: Any, allowed: Sequence[str]) -> Events:
    """Return events by name, and refuse unknown ones and values that are no pair."""
    found = _check.mapping(events, argument="events")
    for name, pair in found.items():
        if name not in allowed:
            raise InputError(f"events names {repr_of(name)}; the events are {', '.join(map(repr, allowed))}.")
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise InputError(f"event '{name}' is {repr_of(pair)}; give (frequency, severity), as for `EventCover`.")
    return found


def event_tariff(
    name: str,
    numbers: tuple[float | FittedModel, EventSeverity],
    cover: Cover,
    *,
    lead: Tariff,
    terms: Terms,
    shares: AggregateShares | None = None,
) -> Tariff:
    """Return the tariff of an event beside the return freight, with the loadings and the clock of the caller."""
    frequency, severity = numbers
    event = EventCover(name, frequency=frequency, severity=severity, cover=cover)
    return event.tariff(loadings=terms.get("loadings"), clock=lead.clock, aggregate_shares=shares)


def negotiation_tool(*, evidence: float, reach: float, where: Where | None = None) -> LossControl:
    """Return the negotiation tool of Taobao (售后协商工具), which retained 13 % of one merchant's refund requests.

    Parameters
    ----------
    evidence : float, 0 to 1
        How much of the 13 % is believed. One merchant tells of it, so give little; `control_effect` measures your own.
    reach : float, 0 to 1
        Share of the requests that it reaches. It is for subjective reasons and slight defects.
    where : mapping of column to levels or Interval, optional
        The orders of merchants that use it; by default ``{"negotiation_tool": ["yes"]}``.

    Examples
    --------
    >>> from freightrisk import presets
    >>> presets.negotiation_tool(evidence=1.0, reach=1.0).factor()
    0.87
    >>> presets.negotiation_tool(evidence=0.3, reach=1.0).factor()
    0.961
    """
    data, key = preset_data("taobao_seller"), "negotiation tool: effect"
    return LossControl(
        "negotiation tool",
        data("loss_controls", "negotiation tool: stage"),
        effect=data("loss_controls", key),
        evidence=evidence,
        reach=reach,
        where={"negotiation_tool": ["yes"]} if where is None else where,
        source=data.source("loss_controls", key),
    )


def account_integrity(*, effect: float, evidence: float, column: str = "experience_score") -> LossControl:
    """Return Taobao's account integrity system, for merchants with an experience score strictly above 4.8.

    Parameters
    ----------
    effect : float
        Relative change of the paid claims, such as -0.02. No figure was published.
    evidence : float, 0 to 1
        How much of the effect is believed.
    column : str
        Column of orders or merchants with the score.

    Examples
    --------
    >>> from freightrisk import presets
    >>> presets.account_integrity(effect=-0.02, evidence=0.5).where["experience_score"]
    Interval(above=4.8, at_most=inf)
    """
    data, key = preset_data("taobao_seller"), "account integrity: score above"
    return LossControl(
        "account integrity",
        data("loss_controls", "account integrity: stage"),
        effect=effect,
        evidence=evidence,
        where={_check.label(column, argument="column"): Interval(above=data("loss_controls", key))},
        start=data("dates", "account integrity: first day"),
        source=data.source("loss_controls", key),
    )


def order_rescue(*, effect: float, evidence: float, where: Where | None = None) -> LossControl:
    """Return JD's automatic order rescue (自动挽单).

    Parameters
    ----------
    effect : float
        Relative change of the return requests, such as -0.05. No figure was published.
    evidence : float, 0 to 1
        How much of the effect is believed.
    where : mapping of column to levels or Interval, optional
        Orders for which it holds; all by default.

    Examples
    --------
    >>> from freightrisk import presets
    >>> presets.order_rescue(effect=-0.05, evidence=0.4).factor()
    0.98
    """
    data, key = preset_data("jd_2024"), "order rescue: stage"
    return LossControl(
        "order rescue",
        data("loss_controls", key),
        effect=effect,
        evidence=evidence,
        where={} if where is None else where,
        source=data.source("loss_controls", key),
    )
