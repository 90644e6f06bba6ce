"""Severities of events: amounts around a mean, a few amounts, Pareto amounts; and the limit curve of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from freightrisk import _check
from freightrisk._shown import repr_of
from freightrisk._types import Array
from freightrisk.book.by_level import ByLevel
from freightrisk.errors import InputError
from freightrisk.models.fitted import FittedModel
from freightrisk.models.shapes import SeverityShape
from freightrisk.tariff.cover import Cover
from freightrisk.tariff.curves import FARTHEST_OCTAVE, OCTAVE_PIECES, LimitCurve, limit_curve, limit_pieces
from freightrisk.tariff.limits import Limit

LARGEST_AMOUNT = 1e8  # yuan; tables of a tariff end at 1e9
LARGEST_INDEX = 10.0  # up to here, 2,048 cubics an octave follow the kink of a Pareto distribution at its scale
MOST_AMOUNTS = 1000
ROUNDING = 1e-9  # by which a sum of probabilities may miss 1, and a limit its cap


@dataclass(frozen=True)
class ShapedSeverity:
    """Amounts of an event that spread around a mean with a given shape.

    Parameters
    ----------
    mean : float or FittedModel
        Mean amount in yuan (or the mean share of the insured amount), or a fitted `SeverityModel`.
    shape : SeverityShape
        Distribution of amounts over their mean.

    Examples
    --------
    >>> from freightrisk.events import ShapedSeverity
    >>> from freightrisk.shapes import ScaleShape
    >>> ShapedSeverity(35.0, ScaleShape(0.8))
    ShapedSeverity(mean=35.0, shape=ScaleShape(dispersion=0.8, family='gamma'))
    """

    mean: float | FittedModel
    shape: SeverityShape

    def __post_init__(self) -> None:
        if not isinstance(self.mean, FittedModel):
            object.__setattr__(self, "mean", _amount(self.mean, "mean of ShapedSeverity"))
        if not isinstance(self.shape, SeverityShape):
            raise InputError(
                f"shape of ShapedSeverity is {repr_of(self.shape)}; it must be a SeverityShape, such as "
                "ScaleShape(0.8)."
            )


@dataclass(frozen=True)
class DiscreteSeverity:
    """A few possible amounts of an event, each with its probability, such as coupons of 5, 10 or 20 yuan.

    Parameters
    ----------
    amounts : sequence of float
        Different amounts above 0, in yuan (or shares of the insured amount), at most 1,000.
    probabilities : sequence of float
        Probability of each amount, above 0; their sum is 1.

    Notes
    -----
    The payout under limits in yuan is exact. Limits and insured amounts in columns of the orders are refused, because
    the limited expected value of a few amounts has corners, which a curve does not follow to 1e-7.

    Examples
    --------
    >>> from freightrisk.events import DiscreteSeverity
    >>> coupons = DiscreteSeverity([5.0, 10.0, 20.0], [0.5, 0.3, 0.2])
    >>> coupons.mean, coupons.limited([8.0]).round(6).tolist()
    (9.5, [6.5])
    """

    amounts: Sequence[float]
    probabilities: Sequence[float]

    def __post_init__(self) -> None:
        n = _check.numbers(self.amounts, argument="amounts").size
        amounts = _check.real_array(self.amounts, argument="amounts", length=n)
        chances = _check.real_array(self.probabilities, argument="probabilities", length=n)
        if not 1 <= n <= MOST_AMOUNTS:
            raise InputError(f"amounts has {n} values; a DiscreteSeverity has 1 to {MOST_AMOUNTS:,}.")
        wrong = (amounts <= 0.0) | (amounts > LARGEST_AMOUNT)
        _check.refuse_rows(wrong, f"amounts is not above 0 and at most {LARGEST_AMOUNT:g} in {{rows}}.")
        _check.refuse_rows(chances <= 0.0, "probabilities is not above 0 in {rows}; leave such amounts out.")
        if abs(chances.sum() - 1.0) > ROUNDING:
            raise InputError(f"probabilities add up to {chances.sum():g}; their sum must be 1.")
        if len(np.unique(amounts)) < n:
            raise InputError("amounts has a value twice; give each amount once, with its whole probability.")
        ascending = np.argsort(amounts)
        object.__setattr__(self, "amounts", tuple(map(float, amounts[ascending])))
        object.__setattr__(self, "probabilities", tuple(map(float, chances[ascending] / chances.sum())))

    @property
    def mean(self) -> float:
        """Return the mean amount."""
        return float(self.limited(np.inf))

    def limited(self, amount: ArrayLike) -> Array:
        """Return E[min(X, amount)]."""
        most = np.asarray(amount, dtype=np.float64)
        return np.asarray(np.minimum.outer(most, np.array(self.amounts)) @ np.array(self.probabilities))


@dataclass(frozen=True, kw_only=True)
class ParetoSeverity:
    """Amounts with a Pareto tail: P(X > x) is (scale / x) to the power of the index for x above the scale.

    Parameters
    ----------
    scale : float
        Smallest amount, in yuan (or a share of the insured amount), above 0.
    index : float
        Power of the tail, above 0 and at most 10. At 1 or below the mean is infinite, so that the cover needs a limit
        for every order, or the severity a cap.
    cap : float, optional
        Largest amount, such as the largest value of goods. Larger amounts are cut to the cap. It is above the scale.

    Notes
    -----
    E[min(X, x)] is scale (1 + (1 - (scale / x)^(index - 1)) / (index - 1)) for x above the scale, and
    scale (1 + log(x / scale)) for an index of 1.

    References
    ----------
    Klugman, Panjer and Willmot, Loss Models, 2012, appendix A.4.1 (single-parameter Pareto).

    Examples
    --------
    >>> from freightrisk.events import ParetoSeverity
    >>> ParetoSeverity(scale=50.0, index=0.8).limited([50.0, 50_000.0]).round(4).tolist()
    [50.0, 795.2679]
    """

    scale: float
    index: float
    cap: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", _amount(self.scale, "scale of ParetoSeverity"))
        index = _check.number(
            self.index, argument="index of ParetoSeverity", low=0.0, high=LARGEST_INDEX, open_low=True
        )
        object.__setattr__(self, "index", index)
        if self.cap is not None:
            object.__setattr__(self, "cap", _amount(self.cap, "cap of ParetoSeverity"))
            if not self.cap > self.scale:
                raise InputError(
                    f"cap of ParetoSeverity is {self.cap:g}, but its scale, the smallest amount, is {self.scale:g}; "
                    "give a cap above the scale."
                )

    @property
    def mean(self) -> float:
        """Return the mean amount; infinite for an index of 1 or below without a cap."""
        if self.cap is None and self.index <= 1.0:
            return np.inf
        return float(self.limited(np.inf))

    def limited(self, amount: ArrayLike) -> Array:
        """Return E[min(X, amount)]."""
        most = np.minimum(np.asarray(amount, dtype=np.float64), np.inf if self.cap is None else self.cap)
        power, over = self.index - 1.0, np.log(np.maximum(most / self.scale, 1.0))
        tail = over if power == 0.0 else -np.expm1(-power * over) / power
        return np.asarray(np.where(most < self.scale, most, self.scale * (1.0 + tail)))


EventSeverity: TypeAlias = float | ShapedSeverity | DiscreteSeverity | ParetoSeverity | FittedModel


def _amount(value: object, argument: str) -> float:
    return _check.number(value, argument=argument, low=0.0, high=LARGEST_AMOUNT, open_low=True)


def checked_severity(severity: Any, cover: Cover, event: str) -> EventSeverity:
    """Return the severity of an event, and refuse severities that the event's cover cannot limit."""
    if isinstance(severity, FittedModel):
        return severity
    if isinstance(severity, ShapedSeverity):
        return severity
    if isinstance(severity, DiscreteSeverity):
        _check_discrete(severity, cover, event)
        return severity
    if isinstance(severity, ParetoSeverity):
        _check_pareto(severity, cover, event)
        return severity
    if isinstance(severity, str) or not np.isscalar(severity):
        raise InputError(
            f"severity of {event} is {repr_of(severity)}; give an amount, a ShapedSeverity, a DiscreteSeverity, a "
            "ParetoSeverity, or the result of SeverityModel.fit."
        )
    return _amount(severity, f"severity of {event}")


def amount_and_curve(
    severity: float | ShapedSeverity | DiscreteSeverity | ParetoSeverity, cover: Cover
) -> tuple[float, LimitCurve | None]:
    """Return the mean amount in the tables of a tariff, and the limit curve around it, for a severity without a fit."""
    if isinstance(severity, float):
        # Without octaves, the payout of a curve is the smaller of mean and limit, which is exact for one amount.
        return severity, _smaller(0) if cover.needs_curve else None
    if not cover.needs_curve:
        return float(severity.mean), None  # type: ignore[arg-type]
    if isinstance(severity, ShapedSeverity):
        return float(severity.mean), limit_curve(severity.shape)  # type: ignore[arg-type]
    if isinstance(severity, DiscreteSeverity):
        return severity.mean, _discrete_curve(severity, cover)
    return _pareto_curve(severity, cover)


def _smaller(octave: int) -> LimitCurve:
    return LimitCurve(octave, np.empty((0, 1, 4)))


# Reach: the amount of a claim at which its payment reaches the limit, deductible + limit / (1 - coinsurance).


def _reach(cover: Cover, limit: float) -> float:
    return cover.deductible + limit / (1.0 - cover.coinsurance)


def _amounts_by_level(limit: ByLevel) -> list[float]:
    return [*limit.values.values(), *([] if limit.default is None else [limit.default])]


def largest_reach(cover: Cover) -> float | None:
    """Return an amount of a claim at which the payment of every order has reached its limit, None if there is none.

    If the cover has an insured amount, the result is a share of it.
    """
    bounds = [_largest_by_rule(cover)]
    if cover.amount_of is None:
        bounds += [max(_amounts_by_level(limit)) for limit in cover.level_limits] + [cover.flat_limit]
    bound = min(bounds)
    if np.isinf(bound) or (cover.amount_of is not None and cover.deductible > 0.0):
        return None
    return _reach(cover, bound)


def _largest_by_rule(cover: Cover) -> float:
    """Return the largest limit by rule of any order, infinite if some order has none; see `largest_reach`."""
    free = [rule for rule in cover.limits if not rule.where and rule.start is None and rule.end is None]
    if not free:
        return np.inf
    first = max(rule.priority for rule in free)  # rules of a lower priority never decide
    above = [rule for rule in cover.limits if rule.priority > first]
    same = [rule for rule in cover.limits if rule.priority == first]
    if cover.choose == "smallest":  # no order has more than the smallest limit without conditions
        least = min(_size(rule, cover) for rule in free if rule.priority == first)
        return max([least, *(_size(rule, cover) for rule in above)])
    return max(_size(rule, cover) for rule in (*above, *same))


def _size(rule: Limit, cover: Cover) -> float:
    """Return the largest amount of a rule, as a share of the insured amount if there is one."""
    if cover.amount_of is None:
        return rule.amount
    return rule.share if rule.share is not None and rule.of == cover.amount_of else np.inf


def _check_pareto(severity: ParetoSeverity, cover: Cover, event: str) -> None:
    cap, reach = severity.cap, largest_reach(cover)
    what = f"{event} has a Pareto severity with index {severity.index:g}"
    cure = "limit=" if cover.amount_of is None else f"Limit('goods', 50_000.0, share=1.0, of='{cover.amount_of}')"
    if cover.amount_of is not None and cover.deductible > 0.0:
        cure = f"{cure} and no deductible"
    if np.isinf(severity.mean) and reach is None:
        raise InputError(
            f"{what}, whose mean is infinite, but the cover has no limit that holds for every order; give the cover a "
            f"limit for every order, such as {cure}, or give an index above 1."
        )
    if cap is not None and cover.needs_curve and reach is None:
        raise InputError(
            f"{what} and a cap of {cap:g}, but no limit of the cover holds for every order; give the cover a limit "
            f"of at most the cap, such as {cure}, or leave out cap and limits."
        )
    if cap is not None and reach is not None and reach > cap * (1.0 + ROUNDING):
        raise InputError(
            f"{what} and a cap of {cap:g}, but payments reach their limit at a claim of {reach:g}, above the cap; "
            "lower the limit of the cover, or raise the cap."
        )
    if reach is not None and reach > severity.scale * 2.0**FARTHEST_OCTAVE:
        raise InputError(
            f"{what} and a scale of {severity.scale:g}, which is too far below the limit {reach:g}; raise the scale."
        )


def _pareto_curve(severity: ParetoSeverity, cover: Cover) -> tuple[float, LimitCurve]:
    """Return mean and curve of a claim that equals a Pareto amount up to the largest reach of the cover.

    No payment depends on amounts above this reach, so they may be replaced. The replacement gives the claim a mean of
    the scale times a power of two. The curve's octaves then begin at scale * 2**n, above the reach, and end at the
    scale, where the density jumps. The curve is smooth in between.
    """
    reach = largest_reach(cover)
    if reach is None:
        return severity.mean, limit_curve(_ParetoShape(severity))
    n = max(0, int(np.ceil(np.log2(reach / severity.scale)))) if reach > severity.scale else 0
    if n == 0:  # amounts are at least the scale, so each claim is paid its limit
        return severity.scale, _smaller(0)
    uncapped = ParetoSeverity(scale=severity.scale, index=severity.index)
    last = max(0, int(np.ceil(np.log2(float(uncapped.limited(severity.scale * 2.0**n)) / severity.scale))))
    mean = severity.scale * 2.0**last
    cubics, _ = limit_pieces(lambda ratio: uncapped.limited(mean / ratio) / mean, last - n, last)
    return mean, LimitCurve(last - n, cubics)


@dataclass(frozen=True)
class _ParetoShape(SeverityShape):
    """The shape of a Pareto severity with a mean; its corner lies inside a piece, which costs up to 1e-7."""

    severity: ParetoSeverity

    def limited(self, ratio: ArrayLike) -> Array:
        return self.severity.limited(np.asarray(ratio) * self.severity.mean) / self.severity.mean

    def above(self, ratio: ArrayLike) -> Array:
        amount = np.maximum(np.asarray(ratio) * self.severity.mean, self.severity.scale)
        return np.asarray((self.severity.scale / amount) ** self.severity.index)


def _check_discrete(severity: DiscreteSeverity, cover: Cover, event: str) -> None:
    if len(severity.amounts) > 1 and cover.needs_curve and cover.measures:
        raise InputError(
            f"{event} has a DiscreteSeverity, and its payout depends on column '{cover.measures[0]}' and a limit or a "
            "deductible. The mean of a few amounts under a limit that differs from order to order has corners, which "
            "no curve follows; give a ShapedSeverity, or limits in yuan for a severity in yuan."
        )
    if severity.amounts[-1] > severity.amounts[0] * 2.0**FARTHEST_OCTAVE:
        raise InputError(f"{event} has amounts that differ by more than a factor of 1e9; leave the smallest out.")


def _discrete_curve(severity: DiscreteSeverity, cover: Cover) -> LimitCurve:
    """Return a curve that is exact at every reach of the cover, because no other limit occurs.

    The curve meets the limited expected value at the ends of all pieces, and at one more place in each piece: at the
    reach in it, or in the middle.
    """
    mean, least, most = severity.mean, severity.amounts[0], severity.amounts[-1]
    first, last = _octave(mean / most), -_octave(least / mean)
    if first == last:
        return _smaller(first)
    limits = [cover.flat_limit, *(rule.amount for rule in cover.limits)]
    limits += [amount for limit in cover.level_limits for amount in _amounts_by_level(limit)]
    seen = {_reach(cover, limit) for limit in limits} | {cover.deductible}
    seen_ratios = np.array([mean * (1.0 / amount) for amount in seen if 0.0 < amount < np.inf])  # as the kernel divides
    inside = np.unique(seen_ratios[(seen_ratios >= 2.0**first) & (seen_ratios < 2.0**last)])
    octave = np.floor(np.log2(inside)).astype(int)
    octave -= inside < np.exp2(octave)
    for pieces in OCTAVE_PIECES[3:]:
        piece, at = np.divmod((inside / np.exp2(octave) - 1.0) * pieces, 1.0)
        place = (octave - first) * pieces + piece.astype(int)
        if len(np.unique(place)) == len(place):
            break
    else:
        raise InputError(
            "the cover has two limits that differ by less than 0.05 %, and a DiscreteSeverity; make these limits equal."
        )
    starts = (np.exp2(np.arange(first, last))[:, None] * (1.0 + np.arange(pieces) / pieces)).ravel()
    ends = np.append(starts[1:], 2.0**last)
    where = np.full(len(starts), 0.5)
    where[place] = np.clip(at, 1e-9, 1.0 - 1e-9)  # nearer to an end, the curve is exact to 1e-12 by itself
    before, behind, inner = (
        severity.limited(mean / ratio) / mean for ratio in (starts, ends, starts + where * (ends - starts))
    )
    bend = (inner - before - where * (behind - before)) / (where * (1.0 - where))
    cubics = np.stack([before, behind - before + bend, -bend, np.zeros(len(starts))], axis=1)
    return LimitCurve(first, cubics.reshape(last - first, pieces, 4))


def _octave(ratio: float) -> int:
    """Return the largest k with 2**k <= ratio."""
    return int(np.frexp(ratio)[1]) - 1


def recorded(severity: EventSeverity) -> Any:
    """Return what a tariff records of a severity in its provenance."""
    if isinstance(severity, ShapedSeverity):
        mean = severity.mean.provenance if isinstance(severity.mean, FittedModel) else severity.mean
        return {"kind": "shaped", "mean": mean, "shape": str(severity.shape)}
    if isinstance(severity, DiscreteSeverity):
        return {
            "kind": "discrete",
            "amounts": list(severity.amounts),
            "probabilities": list(severity.probabilities),
        }
    if isinstance(severity, ParetoSeverity):
        return {"kind": "pareto", "scale": severity.scale, "index": severity.index, "cap": severity.cap}
    return severity.provenance if isinstance(severity, FittedModel) else severity
