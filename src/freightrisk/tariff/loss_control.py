"""Loss controls: what changes the way from a request to a paid claim, and what it costs the merchant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property

import numpy as np

from freightrisk import _check
from freightrisk._document import OPTIONAL, sparse
from freightrisk._frozen import FrozenDict
from freightrisk._shown import brief, repr_of
from freightrisk._types import Array
from freightrisk.book.factors import Value
from freightrisk.errors import InputError
from freightrisk.tariff.conditions import RULE_LIMIT, Conditions, Interval, checked_where, checked_window

STAGES = ("request", "return", "parcel", "paid_claim")
LARGEST_EFFECT = 9.0


@sparse
@dataclass(frozen=True, kw_only=True)
class Funnel:
    """The way from a request to a paid claim, as the shares that go on at each stage.

    Parameters
    ----------
    returns : float
        Share of the requests that become a return of goods; the others are withdrawn or refunded without a return.
    parcels : float
        Share of the returns that are a parcel of their own.
    paid_claims : float
        Share of the parcels whose freight is claimed and paid.
    causes : mapping of str to float
        Share of each cause among the requests; the shares add up to 1.

    Examples
    --------
    >>> from freightrisk.programmes import Funnel
    >>> Funnel(returns=0.52, paid_claims=0.8).claims_per("request")
    0.41600000000000004
    """

    returns: float = 1.0
    parcels: float = 1.0
    paid_claims: float = 1.0
    causes: Mapping[str, float] = field(default_factory=FrozenDict)

    __repr__ = brief

    def __post_init__(self) -> None:
        for name in ("returns", "parcels", "paid_claims"):
            share = _check.number(
                getattr(self, name), argument=f"{name} of the funnel", low=0.0, high=1.0, open_low=True
            )
            object.__setattr__(self, name, share)
        given = _check.mapping(self.causes, argument="causes of the funnel")
        causes = {
            _check.label(cause, argument="a cause of the funnel"): _check.number(
                share, argument=f"share of cause '{cause}'", low=0.0, high=1.0
            )
            for cause, share in given.items()
        }
        if causes and abs(sum(causes.values()) - 1.0) > 1e-6:
            raise InputError(
                f"the causes of the funnel add up to {sum(causes.values()):g}; their shares must sum to 1."
            )
        object.__setattr__(self, "causes", FrozenDict(causes))

    def going_on(self, stage: str) -> float:
        """Return the share of the stage before that reaches a stage; 1 for requests, which have no stage before."""
        _check.one_of(stage, STAGES, argument="stage")
        return {"request": 1.0, "return": self.returns, "parcel": self.parcels, "paid_claim": self.paid_claims}[stage]

    def claims_per(self, stage: str) -> float:
        """Return the expected paid claims for one event of a stage."""
        _check.one_of(stage, STAGES, argument="stage")
        later = STAGES[STAGES.index(stage) + 1 :]
        return float(np.prod([self.going_on(one) for one in later]))

    def share_of(self, causes: Sequence[str]) -> float:
        """Return the share of requests with one of these causes, 1 without causes."""
        for cause in causes:
            _check.one_of(cause, self.causes, argument="a cause")
        return min(sum(self.causes[cause] for cause in causes), 1.0) if causes else 1.0


@sparse
@dataclass(frozen=True)
class LossControl:
    """A measure that changes one stage of the way from a request to a paid claim.

    It multiplies the claim intensity of the orders for which it holds by
    ``1 + evidence * reach * effect * share of its causes`` (docs/method.md, equation 21b). It is never a discount on
    the premium: without evidence it changes nothing. A control that was in force during the history is in the frequency
    already; give only controls that are new.

    Parameters
    ----------
    name : str
    stage : {"request", "return", "parcel", "paid_claim"}
        The stage whose number changes: requests, returns of goods, parcels of their own, or paid claims.
    effect : float
        Relative change of the stage where the control is used, above -1: -0.13 for 13 % fewer. It may be positive.
    evidence : float, 0 to 1
        How much of the effect is believed. A claim of one merchant who tells of a success deserves little.
    reach : float, 0 to 1
        Share of the events of these orders that the control reaches.
    causes : sequence of str
        Causes on which it acts, of the funnel's causes; without any, all.
    where, start, end : as in `Subsidy`
        For which orders it holds, with the first and the last ship date.
    cost : float
        Yuan that the merchant pays beside the premium, for coupons or part refunds, for each event that the control
        prevents.
    source : str
        Where the effect is from.
    interval : (float, float), optional
        Ends of the effect's confidence interval, for the worksheet; `ControlEffect.as_control` gives them.

    Examples
    --------
    >>> from freightrisk.programmes import LossControl
    >>> tool = LossControl("negotiation", "request", effect=-0.13, evidence=0.3, where={"uses_tool": ["yes"]})
    >>> tool.factor()
    0.961
    """

    name: str
    stage: str
    effect: float = field(kw_only=True)
    evidence: float = field(default=1.0, kw_only=True)
    reach: float = field(default=1.0, kw_only=True)
    causes: Sequence[str] = field(default=(), kw_only=True)
    where: Mapping[str, Interval | Sequence[Value]] = field(default_factory=dict, kw_only=True)
    start: date | None = field(default=None, kw_only=True)
    end: date | None = field(default=None, kw_only=True)
    cost: float = field(default=0.0, kw_only=True)
    source: str = field(default="", kw_only=True)
    interval: tuple[float, float] | None = field(default=None, kw_only=True)

    __repr__ = brief

    def __post_init__(self) -> None:
        _check.label(self.name, argument="name of a loss control")
        what = f"loss control '{self.name}'"
        _check.one_of(self.stage, STAGES, argument=f"stage of {what}")
        effect = _check.number(self.effect, argument=f"effect of {what}", low=-1.0, high=LARGEST_EFFECT, open_low=True)
        object.__setattr__(self, "effect", effect)
        for name, high in (("evidence", 1.0), ("reach", 1.0), ("cost", 1e6)):
            value = _check.number(getattr(self, name), argument=f"{name} of {what}", low=0.0, high=high)
            object.__setattr__(self, name, value)
        causes = _check.items(self.causes, argument=f"causes of {what}", such="list causes of the funnel")
        found = tuple(_check.label(cause, argument=f"a cause of {what}") for cause in causes)
        if len(set(found)) < len(found):
            raise InputError(f"{what} names a cause twice; its causes are {repr_of(list(found))}.")
        object.__setattr__(self, "causes", found)
        object.__setattr__(self, "where", checked_where(self.where, what))
        for name, day in zip(("start", "end"), checked_window(self.start, self.end, what), strict=True):
            object.__setattr__(self, name, day)
        if not isinstance(self.source, str):
            raise InputError(f"source of {what} is {repr_of(self.source)}; it must be a text.")
        if self.interval is not None:
            ends = _check.items(self.interval, argument=f"interval of {what}", such="give its two ends")
            if len(ends) != 2:
                raise InputError(f"interval of {what} is {repr_of(self.interval)}; give its two ends.")
            low, high = (
                _check.number(end, argument=f"an end of the interval of {what}", low=-1.0, high=1e6) for end in ends
            )
            if not low <= self.effect <= high:
                raise InputError(f"effect of {what} is {self.effect:g}, outside its interval {low:g} to {high:g}.")
            object.__setattr__(self, "interval", (low, high))

    def factor(self, causes: float = 1.0) -> float:
        """Return the factor on the claim intensity, if its causes have this share of the requests."""
        return 1.0 + self.evidence * self.reach * self.effect * causes

    @property
    def conditions(self) -> Conditions:
        """Return the conditions under which the control holds."""
        return Conditions(self.where, (self.start, self.end))


@dataclass(frozen=True)
class LossControls:
    """The loss controls of a tariff, and the funnel on which they act.

    Parameters
    ----------
    rules : sequence of LossControl
        At most 64. The factors of all that hold for an order are multiplied.
    funnel : Funnel
        By default every request comes to a claim, and no causes are known.
    """

    rules: Sequence[LossControl] = ()
    funnel: Funnel = field(default=Funnel(), metadata=OPTIONAL)

    def __post_init__(self) -> None:
        rules = _check.members(self.rules, LossControl, argument="loss_controls")
        _check.instance(self.funnel, Funnel, argument="funnel")
        object.__setattr__(self, "rules", rules)
        if len(rules) > RULE_LIMIT:
            raise InputError(f"{len(rules)} loss controls were given; a tariff takes at most {RULE_LIMIT}.")
        names = [rule.name for rule in rules]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"loss controls: {names.count(twice)} are named '{twice}'; give each its own name.")
        for rule in rules:
            unknown = [cause for cause in rule.causes if cause not in self.funnel.causes]
            if unknown:
                known = ", ".join(map(repr, self.funnel.causes)) or "none"
                raise InputError(
                    f"loss control '{rule.name}' is for cause '{unknown[0]}', which the funnel does not have (it has "
                    f"{known}); give the share of each cause: Funnel(causes={{...}})."
                )
        self._check_shares()

    def _check_shares(self) -> None:
        """Refuse controls that raise a share of the funnel above 1, if all of them hold."""
        for stage in STAGES[1:]:
            most = self.funnel.going_on(stage)
            raised = [k for k, rule in enumerate(self.rules) if rule.stage == stage and self.factors[k] > 1.0]
            for k in raised:
                most *= self.factors[k]
            # Without a stated share of the funnel, nothing is known to be exceeded.
            if raised and self.funnel.going_on(stage) < 1.0 < most:
                raise InputError(
                    f"loss controls raise the share of stage '{stage}' from {self.funnel.going_on(stage):g} to "
                    f"{most:g}, above 1; lower the effect of '{self.rules[raised[-1]].name}'."
                )

    @cached_property
    def factors(self) -> Array:
        """Return the factor of each control on the claim intensity of the orders for which it holds."""
        return np.array([rule.factor(self.funnel.share_of(rule.causes)) for rule in self.rules], dtype=np.float64)

    def cost(self, k: int, claims: float) -> float:
        """Return the expected yuan that control k costs the merchant, beside the premium.

        Parameters
        ----------
        k : int
        claims : float
            Claim intensity with all controls.
        """
        rule, factor = self.rules[k], float(self.factors[k])
        prevented = claims / factor - claims
        return max(prevented, 0.0) / self.funnel.claims_per(rule.stage) * rule.cost
