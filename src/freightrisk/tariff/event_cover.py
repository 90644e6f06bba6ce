"""EventCover: a cover of events beside the return freight, such as damage or a fall of the price, as a tariff."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from freightrisk import _check
from freightrisk._intake import DEFAULT_CLOCK
from freightrisk._shown import brief, repr_of
from freightrisk.book.codings import Coding
from freightrisk.errors import InputError
from freightrisk.models.fitted import FittedModel
from freightrisk.tariff.aggregate_shares import AggregateShares
from freightrisk.tariff.build import (
    check_kind,
    factors_of,
    family_shape,
    fitted_count_curve,
    refuse_offset,
    warn_of_offset,
)
from freightrisk.tariff.cover import Cover
from freightrisk.tariff.curves import LARGEST_INTENSITY, LimitCurve, count_curve, limit_curve
from freightrisk.tariff.event_severity import (
    EventSeverity,
    ShapedSeverity,
    amount_and_curve,
    checked_severity,
    recorded,
)
from freightrisk.tariff.funds import Fund
from freightrisk.tariff.loading import Loadings
from freightrisk.tariff.payout_check import payout_check, warn_of_shape
from freightrisk.tariff.rates import CoverCurves, RateTables
from freightrisk.tariff.record import check_new_cover, check_terms
from freightrisk.tariff.rounding import Rounding
from freightrisk.tariff.subsidy import Subsidy, in_stacking_order
from freightrisk.tariff.tariff import Tariff

OWN_SHAPE = "severity=ShapedSeverity(severity, EmpiricalShape.fit(severity, book))"


@dataclass(frozen=True)
class EventCover:
    """A cover of an event beside the return freight, such as price protection (价保) or damage (破损险).

    Parameters
    ----------
    name : str
        Name of the event.
    frequency : float or FittedModel
        Expected events an order, above 0 and at most 20, or the result of `FrequencyModel.fit`. A number is the
        intensity of Poisson events: a cover that pays one claim an order then pays 1 - exp(-frequency) claims. If a
        share p of orders has the event at least once, give -log(1 - p) and ``max_claims=1``, or give p and
        ``max_claims=None``; both pay p claims.
    severity : float, ShapedSeverity, DiscreteSeverity, ParetoSeverity or FittedModel
        Amount of one event in yuan, before the terms of the cover: a fixed amount, a distribution, or the result of
        `SeverityModel.fit`, whose family is then the distribution. With `amount_of`, the share of that column.
    cover : Cover, optional
        Terms of the cover; one claim an order and no limit by default.
    amount_of : str, optional
        Column of orders with the insured amount in yuan, such as the price. It is the same as `amount_of` of the cover.

    Raises
    ------
    InputError
        If an argument is outside its range, or if severity and cover contradict each other: a Pareto severity without a
        mean under a cover without a limit, a limit above the cap of the severity, or a discrete severity under limits
        that are no fixed amounts.

    Notes
    -----
    The relative error of a payout is below 1e-12 for a fixed amount, for discrete amounts, and for any severity without
    limit and deductible. It is below 1e-7 for other distributions (docs/method.md, equation 27).

    Examples
    --------
    Transit loss of up to 50,000 yuan, with a tail so heavy that its mean is infinite:

    >>> from freightrisk import Cover
    >>> from freightrisk.events import EventCover, ParetoSeverity
    >>> loss = EventCover("transit loss", frequency=2e-4, severity=ParetoSeverity(scale=50.0, index=0.8),
    ...                   cover=Cover(limit=50_000.0))
    >>> quote = loss.tariff().quote({})
    >>> round(quote["expected_payout"], 2), quote["list_fen"]
    (795.27, 16)
    """

    name: str
    frequency: float | FittedModel = field(kw_only=True)
    severity: EventSeverity = field(kw_only=True)
    cover: Cover = field(default=Cover(), kw_only=True)
    amount_of: str | None = field(default=None, kw_only=True)

    __repr__ = brief

    def __post_init__(self) -> None:
        event = f"event '{_check.label(self.name, argument='name of an event')}'"
        if isinstance(self.frequency, FittedModel):
            check_kind(self.frequency, "frequency")
        else:
            argument = f"frequency of {event}"
            found = _check.number(self.frequency, argument=argument, low=0.0, high=LARGEST_INTENSITY, open_low=True)
            object.__setattr__(self, "frequency", found)
        if not isinstance(self.cover, Cover):
            raise InputError(f"cover of {event} is {repr_of(self.cover)}; it must be a Cover.")
        object.__setattr__(self, "cover", _insured(self.cover, self.amount_of, event))
        object.__setattr__(self, "amount_of", self.cover.amount_of)
        object.__setattr__(self, "severity", checked_severity(self.severity, self.cover, event))
        mean = self.severity.mean if isinstance(self.severity, ShapedSeverity) else self.severity
        if isinstance(mean, FittedModel):
            check_kind(mean, "severity")

    def tariff(
        self,
        *,
        loadings: Loadings | None = None,
        subsidies: Sequence[Subsidy] = (),
        funds: Sequence[Fund] = (),
        floor_fen: int = 1,
        rounding: str = "half_even",
        dither_key: str = "",
        aggregate_shares: AggregateShares | None = None,
        clock: str | None = None,
    ) -> Tariff:
        """Return the tariff of the event, which prices, explains and is saved like every other tariff.

        Parameters
        ----------
        loadings, subsidies, funds, floor_fen, rounding, dither_key, aggregate_shares, clock
            As for `Tariff.build`.

        Returns
        -------
        Tariff
            With the name of the event.

        Notes
        -----
        The tariff prices at a mean amount and a curve of mean over limit. Under a limit for every order, the mean for a
        `ParetoSeverity` is a power of two times its scale. It stands for amounts above the limit too, which no payment
        depends on.
        """
        loadings = Loadings() if loadings is None else loadings
        check_terms(self.cover, loadings, subsidies)
        tariff = Tariff(
            name=self.name,
            cover=self.cover,
            loadings=loadings,
            subsidies=in_stacking_order(subsidies),
            funds=_check.members(funds, Fund, argument="funds"),
            rounding_rule=Rounding(rounding, dither_key, floor_fen),
            clock=self._clock if clock is None else clock,
            **_parts(self, aggregate_shares),
        )
        check_new_cover(tariff)
        return tariff

    @property
    def _clock(self) -> str:
        return self.frequency.clock if isinstance(self.frequency, FittedModel) else DEFAULT_CLOCK


def _insured(cover: Cover, amount_of: str | None, event: str) -> Cover:
    """Return the cover with the insured amount of an event."""
    if amount_of is None or amount_of == cover.amount_of:
        return cover
    if cover.amount_of is not None:
        raise InputError(
            f"{event} has amount_of={repr_of(amount_of)}, but its cover has amount_of={repr_of(cover.amount_of)}; give "
            "one column."
        )
    return replace(cover, amount_of=amount_of)


def _parts(event: EventCover, aggregate: AggregateShares | None) -> dict[str, Any]:
    """Return the arguments of a `Tariff` that follow from an event."""
    frequency, severity, cover = event.frequency, event.severity, event.cover
    models = []
    if isinstance(frequency, FittedModel):
        warn_of_offset(frequency)
        models.append(frequency)
        claims, counts, lines = RateTables.of(frequency), fitted_count_curve(frequency, cover), frequency.lines
    else:
        claims, lines = RateTables(frequency, {}), None
        counts = count_curve(cover.max_claims, merge_share=cover.merge_share)
    mean = severity.mean if isinstance(severity, ShapedSeverity) else severity
    if isinstance(mean, FittedModel):
        refuse_offset(mean)
        models.append(mean)
        amounts, curve = RateTables.of(mean), _fitted_curve(mean, event, factors_of(*models)[0])
    else:
        base, curve = amount_and_curve(severity, cover)  # type: ignore[arg-type]
        amounts = RateTables(base, {})
    codings, pairs = factors_of(*models)
    return {
        "codings": codings,
        "frequency": claims,
        "severity": amounts,
        "curves": CoverCurves(counts, curve, {}, lines, aggregate),
        "provenance": _provenance(event),
        "pairs": tuple(dict.fromkeys(pairs)),
    }


def _fitted_curve(mean: FittedModel, event: EventCover, codings: Mapping[str, Coding]) -> LimitCurve | None:
    """Return the limit curve around a fitted severity: by the event's shape, or by the shape of the model's family."""
    cover = event.cover
    if not cover.needs_curve:
        return None
    if isinstance(event.severity, ShapedSeverity):
        return limit_curve(event.severity.shape)
    curve = limit_curve(family_shape(mean))
    if cover.amount_of is None and (cover.limit is not None or cover.first_weight_fee is not None):
        frequency = event.frequency if isinstance(event.frequency, FittedModel) else mean
        warn_of_shape(mean.family, payout_check(frequency, mean, cover, codings), cure=OWN_SHAPE)
    return curve


def _provenance(event: EventCover) -> dict[str, Any]:
    frequency = event.frequency.provenance if isinstance(event.frequency, FittedModel) else event.frequency
    return {"event": {"name": event.name, "frequency": frequency, "severity": recorded(event.severity)}}
