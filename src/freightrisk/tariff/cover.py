"""The cover: for which orders it pays, how many claims of an order, and how much of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from freightrisk import _check
from freightrisk._document import OPTIONAL
from freightrisk._frozen import FrozenDict
from freightrisk._shown import brief
from freightrisk.book.by_level import ByLevel
from freightrisk.book.factors import Value
from freightrisk.errors import InputError
from freightrisk.tariff.aggregate_limit import AggregateLimit
from freightrisk.tariff.conditions import Conditions, Interval, checked_where
from freightrisk.tariff.limits import LARGEST_LIMIT, Limit, check_limits, measures_of


@dataclass(frozen=True, kw_only=True)
class Cover:
    """What the insurance contract pays for an order.

    Parameters
    ----------
    max_claims : int or None
        Claims an order that the cover takes, up to 50: 1 for one claim an order (一单一赔), None for all claims
        (一单多赔). A claim below the deductible is one of them.
    merge_share : float
        Share of an order's further claims whose goods are picked up together with the first (合单取件). Such claims
        cost no freight of their own. The cover then pays the first claim and the share 1 - merge_share of the further
        claims, and the severity is the freight of a parcel.
    limit : float or ByLevel, optional
        Largest payment for one claim in yuan, overall or by level of a factor.
    first_weight_fee : ByLevel, optional
        For a first-weight cover: the first-weight fee of each zone, which is the largest payment for one claim there.
        None covers the full freight, including continued weight.
    limits : sequence of Limit
        Rules for the largest payment for one claim, by conditions on the order. They hold beside `limit` and
        `first_weight_fee`: the smallest amount decides. An order that meets no rule has no limit by rule.
    choose : {"largest", "smallest", "first"}
        How the rules of one priority decide, if an order meets several. "first" is the first in the list. Quotes flag
        orders with different amounts as `limit_conflict`.
    eligible : mapping of column to levels or Interval
        Conditions of the cover, as in `Limit`. The cover pays nothing for an order that does not meet all of them.
    deductible : float
        Yuan of each claim that stay with the buyer.
    coinsurance : float
        Share of a claim above the deductible that stays with the buyer, at least 0 and below 1.
    amount_of : str, optional
        Column of orders with the insured amount in yuan, such as the price of the goods. The severity is then the share
        of this amount that a claim costs. By default the severity is in yuan.
    aggregate : AggregateLimit, optional
        Largest payment for all claims of a merchant and period, or of an order. A tariff with it needs
        `AggregateShares`.

    Notes
    -----
    A claim of X yuan is paid min((1 - coinsurance) max(X - deductible, 0), limit) (docs/method.md, equation 27a).

    Examples
    --------
    >>> from freightrisk import ByLevel, Cover, Limit
    >>> cover = Cover(max_claims=1, limit=25.0, first_weight_fee=ByLevel("zone", {"near": 8.0, "far": 12.0}))
    >>> cover.level_limits[0].factor
    'zone'
    >>> large = Limit("large order", 50.0, where={"merchant_tier": ["strong", "super_factory"]})
    >>> Cover(limits=[Limit("base", 25.0), large], eligible={"official_pickup": ["yes"]}).is_limited
    True
    """

    max_claims: int | None = 1
    limit: float | ByLevel | None = None
    first_weight_fee: ByLevel | None = None
    merge_share: float = 0.0
    limits: Sequence[Limit] = field(default=(), metadata=OPTIONAL)
    choose: str = field(default="largest", metadata=OPTIONAL)
    eligible: Mapping[str, Interval | Sequence[Value]] = field(default_factory=FrozenDict, metadata=OPTIONAL)
    deductible: float = field(default=0.0, metadata=OPTIONAL)
    coinsurance: float = field(default=0.0, metadata=OPTIONAL)
    amount_of: str | None = field(default=None, metadata=OPTIONAL)
    aggregate: AggregateLimit | None = field(default=None, metadata=OPTIONAL)

    __repr__ = brief

    def __post_init__(self) -> None:
        if self.max_claims is not None:
            claims = _check.whole(self.max_claims, argument="max_claims", low=1, high=50)
            object.__setattr__(self, "max_claims", claims)
        merged = _check.number(self.merge_share, argument="merge_share", low=0.0, high=1.0)
        object.__setattr__(self, "merge_share", merged)
        if self.limit is not None and not isinstance(self.limit, ByLevel):
            limit = _check.number(self.limit, argument="limit", low=0.0, high=LARGEST_LIMIT, open_low=True)
            object.__setattr__(self, "limit", limit)
        if self.first_weight_fee is not None and not isinstance(self.first_weight_fee, ByLevel):
            raise InputError("first_weight_fee must be a ByLevel: the fee of each level of the zone factor.")
        for name, limits in (("limit", self.limit), ("first_weight_fee", self.first_weight_fee)):
            if isinstance(limits, ByLevel):
                limits.check_amounts(name, high=LARGEST_LIMIT, open_low=True)
        object.__setattr__(self, "limits", check_limits(self.limits, self.choose))
        object.__setattr__(self, "eligible", checked_where(self.eligible, "the cover's eligible"))
        deductible = _check.number(self.deductible, argument="deductible", low=0.0, high=1e6)
        object.__setattr__(self, "deductible", deductible)
        share = _check.number(self.coinsurance, argument="coinsurance", low=0.0, high=1.0, open_high=True)
        object.__setattr__(self, "coinsurance", share)
        if self.amount_of is not None:
            _check.label(self.amount_of, argument="amount_of")
        if self.aggregate is not None:
            _check.instance(self.aggregate, AggregateLimit, argument="aggregate")

    @property
    def level_limits(self) -> tuple[ByLevel, ...]:
        """Return the limits that depend on a factor."""
        return tuple(part for part in (self.first_weight_fee, self.limit) if isinstance(part, ByLevel))

    @property
    def is_limited(self) -> bool:
        """Return whether the payout of a claim has any limit."""
        return self.limit is not None or self.first_weight_fee is not None or len(self.limits) > 0

    @property
    def needs_curve(self) -> bool:
        """Return whether the payout of a claim depends on how amounts spread around their mean."""
        return self.is_limited or self.deductible > 0.0

    @property
    def measures(self) -> tuple[str, ...]:
        """Return the columns of amounts that the cover reads: the insured amount, and columns with shares as limits."""
        insured = () if self.amount_of is None else (self.amount_of,)
        return tuple(dict.fromkeys((*insured, *measures_of(self.limits))))

    @property
    def conditions(self) -> list[Conditions]:
        """Return the conditions under which the cover pays at all, as a list of one rule; empty without conditions."""
        return [Conditions(self.eligible)] if self.eligible else []

    def paid_at_most(self, claims: int) -> float:
        """Return the largest number of parcels that the cover pays if an order has this many claims."""
        counted = claims if self.max_claims is None else min(claims, self.max_claims)
        return 1.0 + (1.0 - self.merge_share) * (counted - 1)

    @property
    def flat_limit(self) -> float:
        """Return the overall limit of one claim in yuan, infinite if there is none."""
        return self.limit if isinstance(self.limit, float) else np.inf
