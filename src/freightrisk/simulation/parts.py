"""The parts of a simulated book besides orders, claims and merchants, as their true parameters."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from freightrisk import _check
from freightrisk._frozen import FrozenDict
from freightrisk.errors import InputError
from freightrisk.simulation.catalogue import MERCHANT_TIERS
from freightrisk.simulation.regions import REGIONS

CAUSES = {"no_reason": 0.60, "size_or_colour": 0.20, "quality": 0.10, "damaged": 0.06, "wrong_goods": 0.04}
MERCHANT_FAULT = {"no_reason": 0.0, "size_or_colour": 0.1, "quality": 0.6, "damaged": 0.3, "wrong_goods": 0.9}


def _shares(part: object, *names: str, high: float = 1.0) -> None:
    """Refuse fields that are not numbers in [0, high]."""
    for name in names:
        value = _check.number(getattr(part, name), argument=f"{type(part).__name__}: {name}", low=0.0, high=high)
        object.__setattr__(part, name, value)


def _numbers(part: object, *, low: float, high: float, **names: Any) -> None:
    for name, value in names.items():
        value = _check.number(value, argument=f"{type(part).__name__}: {name}", low=low, high=high)
        object.__setattr__(part, name, value)


def _wholes(part: object, *, low: int, high: int, **names: Any) -> None:
    for name, value in names.items():
        value = _check.whole(value, argument=f"{type(part).__name__}: {name}", low=low, high=high)
        object.__setattr__(part, name, value)


def _table(part: object, name: str, key: str, *, high: float) -> Mapping[str, float]:
    """Return a field that is a mapping of texts to numbers in [0, high], and keep a copy in its place."""
    label = f"{type(part).__name__}: {name}"
    given = _check.mapping(getattr(part, name), argument=label)
    table = FrozenDict(
        {
            _check.label(one, argument=f"{label}: {key}"): _check.number(
                value, argument=f"{label} of {one!r}", low=0.0, high=high
            )
            for one, value in given.items()
        }
    )
    object.__setattr__(part, name, table)
    return table


def _together(part: object, *names: str, high: float) -> None:
    total = sum(getattr(part, name) for name in names)
    if total > high:
        raise InputError(
            f"{type(part).__name__}: {' and '.join(names)} add up to {total:g}; together they must be at most {high:g}."
        )


@dataclass(frozen=True, kw_only=True)
class LineTruth:
    """Claims by order line: each line of an order comes back with its probability, and the lines go together.

    The lines of an order are beta-binomial. A line claims with probability ``1 - exp(-intensity)``, and its intensity
    is the product of the tables of the truth. So `FrequencyModel(family="beta_binomial")` has the form of the truth.

    Parameters
    ----------
    correlation : float, 0 to 0.99, default 0.3
        Correlation of two lines of one order; with 0 the lines are independent (binomial). Illustrative.
    exchange_share : float, 0 to 1, default 0.1
        Share of the claims that exchange the goods instead of returning them. Illustrative.
    exchange_legs : int, 1 or 2, default 1
        Legs of freight in the claim of an exchange. With 2 the claim also pays the parcel with the new goods, whose
        freight is drawn like the freight of the return.
    region_factors : mapping of str to float, 0 to 100, default empty
        Factor on the claim intensity by region of the address. Other regions have 1.
    merchant_tier_factors : mapping of str to float, 0 to 100, default empty
        Factor on the claim intensity by tier of the merchant. Other tiers have 1.

    Examples
    --------
    >>> from freightrisk.datasets import LineTruth, simulate_book
    >>> book = simulate_book(2_000, seed=1, lines=LineTruth(correlation=0.3))
    >>> len(book.lines) == int(book.orders["n_lines"].sum())
    True
    """

    correlation: float = 0.3
    exchange_share: float = 0.1
    exchange_legs: int = 1
    region_factors: Mapping[str, float] = field(default_factory=lambda: FrozenDict({}))
    merchant_tier_factors: Mapping[str, float] = field(default_factory=lambda: FrozenDict({}))

    def __post_init__(self) -> None:
        _shares(self, "correlation", high=0.99)
        _shares(self, "exchange_share")
        _wholes(self, low=1, high=2, exchange_legs=self.exchange_legs)
        for name, levels in (("region_factors", REGIONS), ("merchant_tier_factors", MERCHANT_TIERS)):
            for level in _table(self, name, "a level", high=100.0):
                _check.one_of(level, levels, argument=f"LineTruth: a level of {name}")


@dataclass(frozen=True, kw_only=True)
class BuyerTruth:
    """Buyers in households and dormitories, with devices, addresses, phones and a history.

    Parameters
    ----------
    orders_per_buyer : float, 1 to 10,000, default 8
        Mean number of orders of a buyer in the book.
    activity_deviation : float, 0 to 5, default 1
        Standard deviation of each buyer's factor on the number of orders, a gamma with mean 1.
    claim_deviation : float, 0 to 5, default 0.3
        Standard deviation of each buyer's factor on the claim intensity, a gamma with mean 1.
    household_size : float, 1 to 10, default 2.2
        Mean number of buyers in a household outside dormitories; sizes are 1 plus a geometric number. A household
        shares its address.
    shared_device_share, shared_phone_share : float, 0 to 1, default 0.2 and 0.05
        Share of the buyers who use the device, or the phone, of the first member of their household.
    dormitory_share : float, 0 to 1, default 0.05
        Share of the buyers who live in a dormitory. They share its address and nothing else.
    dormitory_size : int, 2 to 10,000, default 40
        Largest number of buyers at the address of one dormitory.
    account_age_days : float, 1 to 3,650, default 1,000
        Mean age of an account on the first day of the book, in days. Ages are geometric and cut at 20,000 days, which
        lowers the mean by 0.5 % at most.
    super_share : float, 0 to 1, default 0.02
        Share of the buyers with the tier "super": the buyers with the most orders (1688 marks buyers by purchases).

    Examples
    --------
    >>> from freightrisk.datasets import BuyerTruth, LineTruth, simulate_book
    >>> book = simulate_book(2_000, seed=1, lines=LineTruth(), buyers=BuyerTruth())
    >>> bool(book.orders["buyer_id"].isin(book.buyers["buyer_id"]).all())
    True
    """

    orders_per_buyer: float = 8.0
    activity_deviation: float = 1.0
    claim_deviation: float = 0.3
    household_size: float = 2.2
    shared_device_share: float = 0.2
    shared_phone_share: float = 0.05
    dormitory_share: float = 0.05
    dormitory_size: int = 40
    account_age_days: float = 1_000.0
    super_share: float = 0.02

    def __post_init__(self) -> None:
        _numbers(self, low=1.0, high=10_000.0, orders_per_buyer=self.orders_per_buyer)
        _numbers(self, low=1.0, high=3_650.0, account_age_days=self.account_age_days)
        _numbers(self, low=1.0, high=10.0, household_size=self.household_size)
        _shares(self, "activity_deviation", "claim_deviation", high=5.0)
        _shares(self, "shared_device_share", "shared_phone_share", "dormitory_share", "super_share")
        _wholes(self, low=2, high=10_000, dormitory_size=self.dormitory_size)


@dataclass(frozen=True, kw_only=True)
class RingTruth:
    """Planted rings: buyers who share devices, addresses and phones, and claim far too often.

    A ring takes orders of one region within some weeks, most of them from few shops. Far rings take a remote region.

    Parameters
    ----------
    n_rings : int, 0 to 10,000, default 5
        Number of rings.
    members : int, 2 to 1,000, default 10
        Buyers of a ring. Their accounts are less than 90 days old when the ring starts.
    orders_per_member : int, 1 to 1,000, default 8
        Orders of each member.
    claim_probability : float, 0 to 1, default 0.8
        Probability that a line of a ring's order claims.
    far_share : float, 0 to 1, default 0.5
        Probability that a ring's address is in a remote region (a sign in fraud cases of 2017 to 2025, see
        docs/synthetic).
    members_per_attribute : int, 2 to 1,000, default 5
        Members who share one device, one address and one phone.
    shops : int, 1 to 1,000, default 3
        Merchants whose orders a ring takes first.
    days : int, 1 to 3,650, default 60
        Days from the first to the last day on which a ring orders.
    detected_share : float, 0 to 1, default 0.3
        Share of the ring's claims that are refused as fraud, if the book has a funnel.
    early_return_share : float, 0 to 1, default 0.3
        Share of the ring's orders whose parcels go back before the goods have reached the buyer, if the book has a
        funnel. Illustrative, as the next two.
    weight_mismatch_share : float, 0 to 1, default 0.4
        Share of the ring's parcels that weigh much less than the goods.
    route_mismatch_share : float, 0 to 1, default 0.4
        Share of the ring's parcels whose waybill starts in another region than the region of the address.

    Examples
    --------
    >>> from freightrisk.datasets import BuyerTruth, LineTruth, RingTruth, simulate_book
    >>> rings = RingTruth(n_rings=2, members=3, orders_per_member=2)
    >>> book = simulate_book(20_000, seed=1, lines=LineTruth(), buyers=BuyerTruth(), rings=rings)
    >>> book.truth.actors.rings["n_orders"].tolist()
    [6, 6]
    """

    n_rings: int = 5
    members: int = 10
    orders_per_member: int = 8
    claim_probability: float = 0.8
    far_share: float = 0.5
    members_per_attribute: int = 5
    shops: int = 3
    days: int = 60
    detected_share: float = 0.3
    early_return_share: float = 0.3
    weight_mismatch_share: float = 0.4
    route_mismatch_share: float = 0.4

    def __post_init__(self) -> None:
        _wholes(self, low=0, high=10_000, n_rings=self.n_rings)
        _wholes(self, low=2, high=1_000, members=self.members, members_per_attribute=self.members_per_attribute)
        _wholes(self, low=1, high=1_000, orders_per_member=self.orders_per_member, shops=self.shops)
        _wholes(self, low=1, high=3_650, days=self.days)
        _shares(self, "claim_probability", "far_share", "detected_share")
        _shares(self, "early_return_share", "weight_mismatch_share", "route_mismatch_share")


@dataclass(frozen=True, kw_only=True)
class ShiftTruth:
    """Planted shifts of the claim intensity: jumps of merchants from a day on, spikes of a region for some days.

    Parameters
    ----------
    n_jumps : int, 0 to 100,000, default 10
        Number of merchants whose intensity jumps, on a day in the middle half of the book.
    jump_factor : float, 0 to 100, default 2.5
        Factor on the claim intensity of orders shipped on the day of the jump or later.
    least_orders : int, 1 to 10 million, default 200
        Least number of shipped orders of a merchant that jumps, so that the jump can be seen.
    n_spikes : int, 0 to 31, default 3
        Number of regions with a spike.
    spike_factor : float, 0 to 100, default 3
        Factor on the claim intensity of orders shipped to the region in the days of the spike.
    spike_days : int, 1 to 3,650, default 14
        Days of a spike.

    Examples
    --------
    >>> from freightrisk.datasets import LineTruth, ShiftTruth, simulate_book
    >>> book = simulate_book(20_000, seed=1, lines=LineTruth(), shifts=ShiftTruth(n_jumps=4, n_spikes=2))
    >>> len(book.truth.actors.jumps), len(book.truth.actors.spikes)
    (4, 2)
    """

    n_jumps: int = 10
    jump_factor: float = 2.5
    least_orders: int = 200
    n_spikes: int = 3
    spike_factor: float = 3.0
    spike_days: int = 14

    def __post_init__(self) -> None:
        _wholes(self, low=0, high=100_000, n_jumps=self.n_jumps)
        _wholes(self, low=1, high=10**7, least_orders=self.least_orders)
        _wholes(self, low=0, high=31, n_spikes=self.n_spikes)
        _wholes(self, low=1, high=3_650, spike_days=self.spike_days)
        _shares(self, "jump_factor", "spike_factor", high=100.0)


@dataclass(frozen=True, kw_only=True)
class FunnelTruth:
    """The way from a request to a paid claim: requests, returns, parcels, claims, decisions, appeals.

    Parameters
    ----------
    retained_share : float, 0 to 1, default 0.13
        Share of the requests that are withdrawn after a negotiation (one merchant reported over 13 %).
    refund_only_share : float, 0 to 1, default 0.3
        Share of the requests that are refunded without a return. Both shares together are at most 0.99.
    outside_share : float, 0 to 0.99, default 0.25
        Share of the returns that the buyer sends outside the cover, without a claim.
    merge_share : float, 0 to 1, default 0.7
        Probability that a further line of an order is picked up in the parcel of its first line (合单取件).
    official_share : float, 0 to 1, default 0.9
        Share of the parcels that official logistics pick up (官方取件), apart from returns that the buyer sends outside
        the cover. Illustrative.
    refused_share : float, 0 to 1, default 0.03
        Share of the claims that are refused at first for another reason than fraud. Illustrative.
    buyer_appeal_share, merchant_appeal_share : float, 0 to 1, default 0.3 and 0.04
        Share of the refused claims that the buyer appeals, and of the paid claims that the merchant appeals.
        Illustrative.
    appeal_success : float, 0 to 1, default 0.4
        Share of the appeals that succeed. A refused claim is then paid, and a paid claim is reversed. Illustrative.
    stray_sign_share : float, 0 to 1, default 0.005
        Share of the honest returns with a sign of fraud, for each of the three signs of `RingTruth`. Illustrative.
    causes : mapping of str to float
        Share of each cause of a request; the shares add up to 1.
    merchant_fault : mapping of str to float
        Probability that a cause is the merchant's fault (全商责), for each cause.

    Notes
    -----
    The claims per request of covered orders are ``(1 - retained_share - refund_only_share) * (1 - outside_share)``, by
    default 0.43; quotes of merchants imply 0.25 to 0.5 (docs/synthetic). Orders outside the cover have requests and
    parcels too, but no claims. The claims of lines do not depend on the funnel: requests that come to no claim are
    drawn beside them.

    Examples
    --------
    >>> from freightrisk.datasets import FunnelTruth
    >>> round(FunnelTruth().claim_share, 4)
    0.4275
    """

    retained_share: float = 0.13
    refund_only_share: float = 0.30
    outside_share: float = 0.25
    merge_share: float = 0.7
    official_share: float = 0.9
    refused_share: float = 0.03
    buyer_appeal_share: float = 0.3
    merchant_appeal_share: float = 0.04
    appeal_success: float = 0.4
    stray_sign_share: float = 0.005
    causes: Mapping[str, float] = field(default_factory=lambda: FrozenDict(CAUSES))
    merchant_fault: Mapping[str, float] = field(default_factory=lambda: FrozenDict(MERCHANT_FAULT))

    def __post_init__(self) -> None:
        _shares(self, "retained_share", "refund_only_share", "merge_share", "official_share", "refused_share")
        _shares(self, "buyer_appeal_share", "merchant_appeal_share", "appeal_success", "stray_sign_share")
        _shares(self, "outside_share", high=0.99)
        _together(self, "retained_share", "refund_only_share", high=0.99)
        for name in ("causes", "merchant_fault"):
            _table(self, name, "a cause", high=1.0)
        total = sum(self.causes.values())
        if abs(total - 1.0) > 1e-9:
            raise InputError(f"FunnelTruth: causes add up to {total:g}; the shares of all causes must add up to 1.")
        absent = [cause for cause in self.causes if cause not in self.merchant_fault]
        if absent:
            raise InputError(
                f"FunnelTruth: merchant_fault has no probability for {', '.join(map(repr, absent))}; give one for each "
                "cause."
            )

    @property
    def claim_share(self) -> float:
        """Claims per request of covered orders."""
        return (1.0 - self.retained_share - self.refund_only_share) * (1.0 - self.outside_share)


@dataclass(frozen=True, kw_only=True)
class OptInTruth:
    """Enrolment of merchants by date: who joins, when, and who is out around promotions.

    Parameters
    ----------
    never_share : float, 0 to 0.99, default 0.15
        Share of the merchants that never join, at the mean deviation of a merchant.
    late_share : float, 0 to 1, default 0.25
        Share of the joining merchants that join on a later day, uniform over the book; the others join on the first.
    outside_campaigns_share, only_campaigns_share : float, 0 to 1, default 0.15 and 0.05
        Share of the joining merchants that opt out for every campaign, and that opt in for campaigns only. Together at
        most 1.
    left_share : float, 0 to 1, default 0.05
        Share of the joining merchants that leave for good, on a day uniform over the rest of the book.
    selection : float, -10 to 10, default 0
        The odds of joining are multiplied by the merchant's deviation to this power: above 0 is adverse selection,
        below 0 advantageous selection.

    Notes
    -----
    The shares are illustrative. Merchants may leave the cover around promotions since 2025 (docs/synthetic).

    Examples
    --------
    >>> from freightrisk.datasets import LineTruth, OptInTruth, simulate_book
    >>> book = simulate_book(2_000, seed=1, lines=LineTruth(), opt_in=OptInTruth())
    >>> sorted(book.enrolments.columns)
    ['end', 'merchant_id', 'start']
    """

    never_share: float = 0.15
    late_share: float = 0.25
    outside_campaigns_share: float = 0.15
    only_campaigns_share: float = 0.05
    left_share: float = 0.05
    selection: float = 0.0

    def __post_init__(self) -> None:
        _shares(self, "never_share", high=0.99)
        _shares(self, "late_share", "outside_campaigns_share", "only_campaigns_share", "left_share")
        _together(self, "outside_campaigns_share", "only_campaigns_share", high=1.0)
        _numbers(self, low=-10.0, high=10.0, selection=self.selection)
