"""From fitted models to the parts of a tariff that follow from them: levels, tables, curves and provenance."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from freightrisk import _check
from freightrisk._shown import repr_of
from freightrisk._types import Array
from freightrisk.book.by_level import ByLevel
from freightrisk.book.codings import Coding, CrossCoding
from freightrisk.errors import InputError
from freightrisk.models.fitted import FittedModel
from freightrisk.models.freight import FittedSchedule
from freightrisk.models.shapes import SCALE_FAMILIES, ScaleShape, SeverityShape
from freightrisk.tariff.aggregate_shares import AggregateShares
from freightrisk.tariff.cover import Cover
from freightrisk.tariff.curves import count_curve, limit_curve, line_count_curves
from freightrisk.tariff.experience_rating import ExperienceRating
from freightrisk.tariff.payout_check import PayoutCheck, payout_check, warn_of_shape
from freightrisk.tariff.rates import CoverCurves, RateTables, scheduled_shares

LARGEST_SHARE = float(np.log(2.0))  # a share of reported claims exceeds 1 only by claims that are reversed later


def _warn_of_one_claim(frequency: FittedModel, cover: Cover) -> None:
    """Warn of a cover of several claims on a model that saw at most one claim of each order."""
    if frequency.family == "bernoulli" and cover.max_claims != 1:
        most = "every claim" if cover.max_claims is None else f"up to {cover.max_claims} claims"
        _check.warn(
            f"the frequency is of at most one claim an order (family 'bernoulli'), but the cover pays {most}. Claims "
            "after the first are priced as those of a Poisson count, which no data support. If an order has at most "
            "one claim, use max_claims=1; else fit a family of counts."
        )


def parts_of_models(
    frequency: FittedModel,
    severity: FittedModel | FittedSchedule,
    *,
    cover: Cover,
    shape: SeverityShape | None,
    experience: ExperienceRating | None,
    aggregate: AggregateShares | None,
    loads: Mapping[str, ByLevel],
) -> dict[str, Any]:
    """Return the arguments of a `Tariff` that follow from its models, its cover and its loads by level."""
    if shape is not None and not isinstance(shape, SeverityShape):
        raise InputError(
            f"shape is {repr_of(shape)}; it must be a SeverityShape, such as EmpiricalShape.fit(severity, book)."
        )
    refuse_offset(severity)
    warn_of_offset(frequency)
    _warn_of_one_claim(frequency, cover)
    codings, pairs = factors_of(frequency, severity)
    claims, freight = RateTables.of(frequency), RateTables.of(severity)
    if experience is not None:
        _check.instance(experience, ExperienceRating, argument="experience")
        claims = experience.taken_out_of(claims, codings)
        # The coding of a score stays only if a table, an interaction, a limit or a load still reads it.
        used = [name for pair in pairs for name in pair]
        used += [by_level.factor for by_level in (*cover.level_limits, *loads.values())]
        for score in experience.curves:
            if score.name not in (*used, *freight.tables):
                codings.pop(score.name, None)
    shares: dict[str, Array] = {}
    curve = check = None
    if isinstance(severity, FittedSchedule):
        if shape is not None:
            raise InputError(
                "shape is given, but a freight schedule has its own distribution of amounts; leave shape out."
            )
        pairs, shares = scheduled_shares(severity, cover, codings, pairs)
    elif cover.needs_curve:
        curve = limit_curve(family_shape(severity) if shape is None else shape)
        compared = shape is None and cover.amount_of is None  # limits of shares are yuan, but the claims are shares
        check = payout_check(frequency, severity, cover, codings) if compared else None
        warn_of_shape(severity.family, check)
    return {
        "codings": codings,
        "frequency": claims,
        "severity": freight,
        "curves": CoverCurves(fitted_count_curve(frequency, cover), curve, shares, frequency.lines, aggregate),
        "provenance": _provenance(frequency, severity, shape, experience, check),
        "pairs": tuple(dict.fromkeys(pairs)),
    }


def refuse_offset(severity: FittedModel | FittedSchedule) -> None:
    """Refuse a severity that was fitted with an offset."""
    if isinstance(severity, FittedModel) and "offset" in severity.statistics.options:
        raise InputError(
            "severity was fitted with offset=, but a tariff has no offset and would price every order at offset 0. Fit "
            "the severity without it: give known relativities as the effect Given, and bring amounts to one price "
            "level before the book is built."
        )


def warn_of_offset(frequency: FittedModel) -> None:
    """Warn of a frequency whose offset is no share of reported claims."""
    largest = frequency.statistics.largest_offset
    if largest > LARGEST_SHARE:
        _check.warn(
            f"frequency was fitted with an offset of up to {largest:.3g}, a factor of {np.exp(largest):.3g}, but the "
            "tariff prices every order at offset 0. That is right for the log share of reported claims, which is near "
            "0 or below. If the offset is the log of an exposure, build the book with exposure=. Known relativities "
            "are the effect Given."
        )


def check_kind(fitted: object, wanted: str) -> None:
    """Refuse a value that is not a fitted model of the wanted kind."""
    if not isinstance(fitted, FittedModel | FittedSchedule) or fitted.kind != wanted:
        found = getattr(fitted, "kind", type(fitted).__name__)
        raise InputError(f"{wanted} is a {found} model; give the result of a {wanted} model's fit.")


def _provenance(
    frequency: FittedModel,
    severity: FittedModel | FittedSchedule,
    shape: SeverityShape | None,
    experience: ExperienceRating | None,
    check: PayoutCheck | None,
) -> dict[str, Any]:
    found: dict[str, Any] = {fitted.kind: fitted.provenance for fitted in (frequency, severity)}
    if check is not None:
        found["payout_check"] = check.provenance
    if experience is not None:
        found["experience"] = experience.provenance
    return found if shape is None else found | {"shape": str(shape)}


def fitted_count_curve(frequency: FittedModel, cover: Cover) -> Array:
    """Return the claim-count curves of a cover for the counts of a fitted frequency."""
    if frequency.lines is not None:
        # One curve for each number of lines, because the count of an order is beta-binomial in its lines.
        most = frequency.codings[frequency.lines].n_levels
        return line_count_curves(
            most, correlation=frequency.family_parameter, max_claims=cover.max_claims, merge_share=cover.merge_share
        )
    dispersion = frequency.family_parameter if frequency.family == "negative_binomial" else 0.0
    return count_curve(cover.max_claims, dispersion, cover.merge_share)


def family_shape(severity: FittedModel) -> SeverityShape:
    """Return the shape of a severity's family, and refuse families whose shape depends on their mean."""
    if severity.family not in SCALE_FAMILIES:
        raise InputError(
            f"severity is {severity.family}, whose spread depends on its mean, so one curve cannot limit its claims; "
            f"for a cover with a limit fit {' or '.join(SCALE_FAMILIES)}, or give the shape of the amounts."
        )
    return ScaleShape(severity.dispersion, severity.family)


def factors_of(*models: FittedModel | FittedSchedule) -> tuple[dict[str, Coding], list[tuple[str, str]]]:
    """Return the codings of models' factors, including the factors of interactions, and the pairs that interact.

    Models must agree about the levels of the factors that they share.
    """
    found: dict[str, Coding] = {}
    pairs: list[tuple[str, str]] = []
    for fitted in models:
        own: dict[str, Coding] = {}
        for coding in fitted.codings.values():
            for one in coding.factors:
                own.setdefault(one.name, one)
            if isinstance(coding, CrossCoding):
                pairs.append((coding.first.name, coding.second.name))
        other = next((name for name in found if own.get(name, found[name]) != found[name]), None)
        if other is not None:
            raise InputError(
                f"factor '{other}' has other levels in severity than in frequency; fit both to books with the same "
                "coding."
            )
        found |= own
    return found, pairs
