"""The preset of 1688: buyer protection of September 2024, with its limits, events, fee, payers and two dates."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Unpack

from freightrisk import _check
from freightrisk.errors import InputError
from freightrisk.models.fitted import FittedModel
from freightrisk.programme.claim_payer import ClaimPayer
from freightrisk.programme.fee import Fee
from freightrisk.programme.preset_data import PresetData, preset_data
from freightrisk.programme.preset_parts import (
    Events,
    Severity,
    Terms,
    check_models,
    checked_events,
    checked_terms,
    event_tariff,
    freight_tariff,
    roles_of,
)
from freightrisk.programme.programme import Programme
from freightrisk.programme.versions import Versions
from freightrisk.tariff.aggregate_limit import AggregateLimit
from freightrisk.tariff.aggregate_shares import AggregateShares
from freightrisk.tariff.conditions import Interval
from freightrisk.tariff.cover import Cover
from freightrisk.tariff.limits import Limit
from freightrisk.tariff.subsidy import Subsidy
from freightrisk.tariff.tariff import Tariff

ROLES = (
    *("official_pickup", "merchant_tier", "buyer_tier", "order_value", "sub_order", "goods_value", "custom"),
    *("high_repurchase", "repeat_rate", "paid", "consigned", "refunded_before_shipment", "completed", "fault"),
    "good_data",
)
EVENTS = ("fast refund", "disputed orders", "custom goods", "late delivery", "transit loss", "refund only")
READINGS = ("S3-6", "S3-5")
SERVICE, EARLIER = "technical service", "assured purchase"


def buyer_protection_1688(
    frequency: FittedModel,
    severity: Severity,
    *,
    large_order: float | None,
    big_purchase: float | None,
    events: Events,
    reading: str = "S3-6",
    joined: Collection[int | str] | None = None,
    delay_shares: AggregateShares | None = None,
    monthly_refunds: Mapping[str, float] | None = None,
    backstop: bool = False,
    columns: Mapping[str, str] | None = None,
    **terms: Unpack[Terms],
) -> Versions:
    """Return 1688's buyer protection (买家保障) on models of your own, as the versions of 12 and 13 September 2024.

    On 12 September all orders get return freight, fast refund and payment of disputed orders. From 13 September the
    merchants that joined have the other events and the technical service fee of 0.6 %, at most 18 yuan a sub-order. The
    platform bears the price of the covers, so that a merchant pays the fee. The numbers and their sources are
    ``presets.table("buyer_protection_1688")``.

    Parameters
    ----------
    frequency : FittedModel
        Returns that are not wholly the merchant's fault. The merchant pays the others.
    severity : FittedModel or FittedSchedule
    large_order, big_purchase : float or None
        Yuan above which an order of a strong merchant has a limit of 50 yuan, and any order a limit of 200. Neither was
        published. None leaves the rule out.
    events : mapping of str to (frequency, severity)
        "fast refund", "disputed orders" (severity as a share of order_value), "custom goods" (share of sub_order),
        "late delivery" (yuan), "transit loss" (share of goods_value), "refund only" (share of order_value), as for
        `EventCover`. An event without numbers is left out, and nobody published any: `illustrative` has examples.
    reading : {"S3-6", "S3-5"}
        The article contradicts itself: strong merchants and super factories have 50 yuan for large orders ("S3-6"), or
        200 yuan for every order ("S3-5").
    joined : collection of merchants, optional
        Merchants that joined; the others keep the services of 12 September. By default all joined.
    delay_shares : AggregateShares, optional
        What the limit of 300 yuan a merchant and month leaves of the payouts for late deliveries. By default all of it,
        which is on the safe side.
    monthly_refunds : mapping of str to float, optional
        Yuan a month that the platform pays merchants for refunds without return, for each level of repeat_rate. The
        amounts were not published. It needs the event "refund only".
    backstop : bool
        Whether the platform also pays claims that are wholly the fault of merchants with good data.
    columns : mapping of str to str, optional
        Your names of the columns official_pickup, merchant_tier, buyer_tier, order_value, sub_order, goods_value,
        custom, high_repurchase, repeat_rate, paid, consigned, refunded_before_shipment and completed of orders, and of
        fault and good_data of claims. `presets.table` has their levels. Only columns of rules that are there are read.
    **terms
        As for `taobao_seller`.

    Returns
    -------
    Versions

    Raises
    ------
    InputError
        For values that are no models, unknown events or columns, and limits that never decide.

    Notes
    -----
    A day before 12 September 2024 has no version. On 12 September the fee is that of the earlier product (安心购), with
    the same terms. With `joined` it is left out, because nobody published which merchants had that product. The
    platform promises its own money, so the list price is a cost and not a premium.

    Examples
    --------
    >>> from freightrisk import FrequencyModel, Free, OrderBook, SeverityModel, presets, simulate_book
    >>> data = simulate_book(5_000, seed=1)
    >>> book = OrderBook.from_frames(data.orders, data.claims, merchants=data.merchants, factors=data.factors(),
    ...                              as_of=data.as_of)
    >>> frequency, severity = FrequencyModel([Free("channel")]).fit(book), SeverityModel([Free("zone")]).fit(book)
    >>> versions = presets.buyer_protection_1688(frequency, severity, large_order=1_000.0, big_purchase=5_000.0,
    ...                                          events={})
    >>> order = {"ship_date": "2024-09-13", "channel": "shelf", "zone": "far", "official_pickup": "yes",
    ...          "merchant_tier": "standard", "buyer_tier": "standard", "order_value": 80.0, "paid": 2_999.0,
    ...          "consigned": "no", "refunded_before_shipment": "no"}
    >>> quote = versions.quote(order)
    >>> quote["merchant_fen"], quote["fee: technical service"], quote["merchant_total_fen"]
    (0, 1799, 1799)
    """
    data, terms = preset_data("buyer_protection_1688"), checked_terms(terms)
    roles = roles_of(data, columns, ROLES)
    _check.one_of(reading, READINGS, argument="reading")
    check_models(data, frequency, severity, factors=[])
    lead = freight_tariff(
        data, frequency, severity, _return_cover(data, roles, large_order, big_purchase, reading), terms=terms,
        subsidies=[_bears(data)], floor_fen=data("subsidies", "smallest price of the merchant"),
    )  # fmt: skip
    sold = _Sold(data, roles, checked_events(events, EVENTS), terms, lead)
    payers = _payers(data, roles, backstop=_check.flag(backstop, argument="backstop"))
    services = [lead, *sold.services()]
    whole = [*services, *sold.joined_only(delay_shares, monthly_refunds)]
    start = date.fromisoformat(data("dates", "joined merchants: first day"))
    title = data.title.partition(",")[0]
    new = Programme(f"{title}, {start}", whole, fees=[_fee(data, roles, SERVICE)], claim_payers=payers, start=start)
    first = data("dates", "all orders: first day")
    old = Programme(
        f"{title}, {first}",
        services,
        fees=[_fee(data, roles, EARLIER)] if joined is None else [],
        claim_payers=payers,
        start=first,
        end=start - timedelta(days=1) if joined is None else None,
    )
    merchants = None if joined is None else _check.items(joined, argument="joined", such="list ids of merchants")
    return Versions([old, new], {} if merchants is None else {new.name: merchants})


def _return_cover(
    data: PresetData, roles: Mapping[str, str], large: float | None, big: float | None, reading: str
) -> Cover:
    """Return the cover of the return freight: 25, 50 or 200 yuan with official pickup, nothing without."""
    key = "return freight: limit"
    most, middle = data("covers", f"{key}, big purchases and super buyers"), f"{key}, large orders of strong merchants"
    strong = {roles["merchant_tier"]: [data("segments", one) for one in ("strong merchant", "super factory")]}
    buyer = {roles["buyer_tier"]: [data("segments", "super buyer")]}
    bounds = {
        name: None if bound is None else _check.number(bound, argument=name, low=0.0, high=1e9)
        for name, bound in (("large_order", large), ("big_purchase", big))
    }
    large, big = bounds["large_order"], bounds["big_purchase"]
    rules = [Limit("base", data("covers", key)), Limit("super buyer", most, where=buyer, priority=1)]
    if big is not None:
        rules.append(Limit("big purchase", most, where={roles["order_value"]: Interval(above=big)}, priority=1))
    if reading == "S3-5":
        rules.append(Limit("strong merchant", most, where=strong, priority=1))
    elif large is not None:
        if big is not None and big <= large:
            raise InputError(
                f"big_purchase is {big:g}, not above large_order {large:g}, so that the limit of large orders would "
                "never decide; give a larger big_purchase, or large_order=None."
            )
        where = strong | {roles["order_value"]: Interval(above=large)}
        rules.append(Limit("large order", data("covers", middle), where=where, priority=1))
    pickup = {roles["official_pickup"]: [data("covers", "return freight: official pickup")]}
    return Cover(max_claims=data("covers", "return freight: claims an order"), limits=rules, eligible=pickup)


def _bears(data: PresetData) -> Subsidy:
    return Subsidy("borne by the platform", "platform", percent_of_list=data("subsidies", "share of the platform"))


def _fee(data: PresetData, roles: Mapping[str, str], name: str) -> Fee:
    """Return the technical service fee; that of the earlier product has the same terms."""
    key = "technical service"
    free = {
        roles[one.replace(" ", "_")]: [data("fees", f"{key}: {one}")]
        for one in ("refunded before shipment", "consigned")
    }
    return Fee(
        name,
        basis_points=data("fees", f"{key}: rate"),
        of=roles["paid"],
        cap_fen=data("fees", f"{key}: most"),
        where=free,
        due=roles[data("fees", f"{key}: due")],
    )


def _payers(data: PresetData, roles: Mapping[str, str], *, backstop: bool) -> list[ClaimPayer]:
    """Return who pays a claim: the merchant if it is wholly its fault, otherwise the platform."""
    fault = {roles["fault"]: ["merchant"]}
    good = fault | {roles["good_data"]: [data("segments", "good data")]}
    first = [ClaimPayer(data("claim_payers", "merchant's fault, good data"), where=good)] if backstop else []
    return [
        *first,
        ClaimPayer(data("claim_payers", "wholly the merchant's fault"), where=fault),
        ClaimPayer(data("claim_payers", "not wholly the merchant's fault")),
    ]


@dataclass(frozen=True, eq=False)
class _Sold:
    """The covers beside the return freight, for the events that have numbers."""

    data: PresetData
    roles: Mapping[str, str]
    events: Events
    terms: Terms
    lead: Tariff

    def services(self) -> list[Tariff]:
        """Return the services of all orders."""
        whole = Cover(max_claims=None, amount_of=self.roles["order_value"])
        return self._tariffs({"fast refund": whole, "disputed orders": whole})

    def joined_only(self, delay_shares: AggregateShares | None, monthly: Mapping[str, float] | None) -> list[Tariff]:
        """Return the covers of merchants that joined."""
        return [*self._goods(), *self._delay(delay_shares), *self._refunds(monthly)]

    def _goods(self) -> list[Tariff]:
        data, roles = self.data, self.roles
        share, most = data("covers", "custom goods: share"), data("covers", "custom goods: most")
        custom = Cover(
            max_claims=None,
            limits=[Limit("custom goods", most, share=share, of=roles["sub_order"])],
            eligible={roles["custom"]: [data("segments", "custom goods")]},
            amount_of=roles["sub_order"],
        )
        limit = data("covers", "transit loss: limit")
        transit = Cover(max_claims=None, limit=limit, amount_of=roles["goods_value"])
        return self._tariffs({"custom goods": custom, "transit loss": transit})

    def _delay(self, shares: AggregateShares | None) -> list[Tariff]:
        """Return the cover of late deliveries; the limit of a merchant and month is part of it."""
        limit = AggregateLimit(self.data("covers", "late delivery: limit"), by="merchant", period="month")
        where = {self.roles["high_repurchase"]: [self.data("segments", "high repurchase rate")]}
        cover = Cover(max_claims=None, eligible=where, aggregate=limit)
        given = None if shares is None else _check.instance(shares, AggregateShares, argument="delay_shares")
        share = AggregateShares(limit, {}) if given is None else given
        return self._tariffs({"late delivery": cover}, shares=share)

    def _refunds(self, monthly: Mapping[str, float] | None) -> list[Tariff]:
        """Return a cover of refunds without return for each level of the repeat rate."""
        event = "refund only"
        if (monthly is None) != (event not in self.events):
            raise InputError(f"give monthly_refunds and the event '{event}' together; neither was published.")
        if monthly is None:
            return []
        found = []
        for level, amount in _check.mapping(monthly, argument="monthly_refunds").items():
            limit = AggregateLimit(amount, by="merchant", period="month")
            cover = Cover(
                max_claims=None, eligible={self.roles["repeat_rate"]: [level]}, aggregate=limit,
                amount_of=self.roles["order_value"],
            )  # fmt: skip
            found.append(self._tariff(f"{event}: {level}", event, cover, shares=AggregateShares(limit, {})))
        return found

    def _tariffs(self, covers: Mapping[str, Cover], **more: Any) -> list[Tariff]:
        return [self._tariff(name, name, cover, **more) for name, cover in covers.items() if name in self.events]

    def _tariff(self, name: str, event: str, cover: Cover, **more: Any) -> Tariff:
        return event_tariff(name, self.events[event], cover, lead=self.lead, terms=self.terms, **more)
