"""The cover for which the curves of a tariff were made: another cover needs other curves."""

from collections.abc import Mapping
from typing import Any

from freightrisk.errors import InputError
from freightrisk.tariff.cover import Cover
from freightrisk.tariff.limits import Limit
from freightrisk.tariff.rates import CoverCurves

EXACT_KINDS = ("discrete", "pareto")
"""Severities of events whose limit curve is exact only for the limits for which it was made."""


def check_made_for(curves: CoverCurves, cover: Cover, provenance: Mapping[str, Any]) -> None:
    """Refuse curves that were made for a cover with other terms, as `dataclasses.replace` may combine them.

    The claim-count curve belongs to the number of claims that are paid. The limit curve of a distribution of amounts
    holds for every limit. The shares of a freight schedule, and the limit curves of discrete and of Pareto amounts,
    hold only for the limits, deductible and coinsurance for which they were made.
    """
    made = curves.made_for
    if made is None or made is cover:
        return
    _refuse("claim-count curves", _count_terms(made), _count_terms(cover))
    kind = _exact_kind(provenance)
    if curves.shares:
        _refuse("shares of a freight schedule", _limit_terms(made), _limit_terms(cover))
    elif curves.limit_curve is not None and kind in EXACT_KINDS:
        _refuse(f"limit curves of {kind} amounts", _limit_terms(made), _limit_terms(cover))


def _refuse(what: str, made: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    changed = [name for name in made if made[name] != new[name]]
    if changed:
        raise InputError(
            f"the tariff has {what} that were made for another cover; it differs in {', '.join(changed)}. Its prices "
            "would not be the payouts of this cover; build the tariff again with Tariff.build(..., cover=), or for an "
            "event with EventCover(..., cover=).tariff()."
        )


def _count_terms(cover: Cover) -> dict[str, Any]:
    """Return the terms that decide how many claims of an order are paid."""
    return {"max_claims": cover.max_claims, "merge_share": 0.0 if cover.max_claims == 1 else cover.merge_share}


def _limit_terms(cover: Cover) -> dict[str, Any]:
    """Return the terms that decide how much of a claim is paid, without the conditions of rules."""
    return {
        "limit": cover.limit,
        "first_weight_fee": cover.first_weight_fee,
        "limits": tuple(map(_rule_terms, cover.limits)),
        "choose": cover.choose if len(cover.limits) > 1 else None,
        "deductible": cover.deductible,
        "coinsurance": cover.coinsurance,
        "amount_of": cover.amount_of,
    }


def _rule_terms(rule: Limit) -> tuple[Any, ...]:
    # A rule without conditions bounds the payment of every order. A Pareto curve ends at the largest such bound.
    holds_always = not rule.where and rule.start is None and rule.end is None
    return rule.amount, rule.share, rule.of, rule.priority, holds_always


def _exact_kind(provenance: Mapping[str, Any]) -> Any:
    """Return the kind of severity that an event recorded in its provenance, None for other tariffs."""
    event = provenance.get("event")
    severity = event.get("severity") if isinstance(event, Mapping) else None
    return severity.get("kind") if isinstance(severity, Mapping) else None
