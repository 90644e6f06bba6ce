"""Presets of JD: freight insurance before and after the upgrade of 2024."""

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from freightrisk import _check
from freightrisk._shown import repr_of
from freightrisk.book.by_level import ByLevel
from freightrisk.book.factors import Value
from freightrisk.errors import InputError
from freightrisk.models.fitted import FittedModel
from freightrisk.programme.claim_payer import ClaimPayer
from freightrisk.programme.preset_data import PresetData, preset_data
from freightrisk.programme.preset_parts import (
    RETURN_FREIGHT,
    Severity,
    Terms,
    check_models,
    checked_controls,
    checked_events,
    checked_terms,
    event_tariff,
    first_weight_factors,
    freight_tariff,
    roles_of,
)
from freightrisk.programme.programme import Programme
from freightrisk.tariff.conditions import Interval
from freightrisk.tariff.cover import Cover
from freightrisk.tariff.event_severity import EventSeverity
from freightrisk.tariff.limits import LARGEST_LIMIT, Limit
from freightrisk.tariff.loss_control import LossControl
from freightrisk.tariff.subsidy import Subsidy
from freightrisk.tariff.tariff import Tariff

ROLES = ("category", "price", "weight_kg", "declared_value")
PACKAGING, RETURN_DAMAGE = "packaging", "return damage"


def jd_2023(
    frequency: FittedModel, severity: Severity, *, first_weight_fee: ByLevel | None, **terms: Unpack[Terms]
) -> Programme:
    """Return JD's freight insurance before the upgrade, on models of your own.

    The cover pays one claim an order (一单一赔), at most the first-weight fee. The numbers and their sources are
    ``presets.table("jd_2023")``.

    Parameters
    ----------
    frequency, severity, first_weight_fee, **terms
        As for `taobao_seller`.

    Returns
    -------
    Programme

    Raises
    ------
    InputError
        As for `taobao_seller`.

    Examples
    --------
    See `jd_2024`.
    """
    data, terms = preset_data("jd_2023"), checked_terms(terms)
    check_models(data, frequency, severity, factors=first_weight_factors(first_weight_fee))
    cover = Cover(max_claims=data("covers", "return freight: claims an order"), first_weight_fee=first_weight_fee)
    tariff = freight_tariff(
        data, frequency, severity, cover, terms=terms, floor_fen=data("subsidies", "smallest price")
    )
    return _programme(data, [tariff])


def jd_2024(
    frequency: FittedModel,
    severity: Severity,
    *,
    large_goods: Sequence[Value],
    light_cheap: tuple[float, float] | None,
    merge_share: float,
    packaging: float | None,
    return_damage: tuple[float | FittedModel, EventSeverity] | None = None,
    childrens_goods: Sequence[Value] = (),
    price_cut: bool = True,
    loss_controls: Sequence[LossControl] = (),
    columns: Mapping[str, str] | None = None,
    **terms: Unpack[Terms],
) -> Programme:
    """Return JD's freight insurance after the upgrade of 2024, on models of your own.

    The cover pays every claim of an order (一单多赔) with its continued weight, up to 5,000 yuan for large goods.
    Further claims of an order may be picked up with the first. The numbers and their sources are
    ``presets.table("jd_2024")``.

    Parameters
    ----------
    frequency : FittedModel
    severity : FittedModel or FittedSchedule
        Of the whole freight of a parcel.
    large_goods : sequence of levels
        Levels of the column "category" that are large appliances or furniture; their claims have a limit of 5,000 yuan.
        They may be a higher level of a `Hierarchy`, which then includes new leaves. Other goods have no limit.
    light_cheap : (float, float) or None
        Largest price in yuan and largest weight in kg of the goods for which a merchant pays 0.01 yuan. Neither was
        published. None leaves the rule out.
    merge_share : float, 0 to 1
        Share of further claims of an order that are picked up with the first (合单取件). Not published.
    packaging : float or None
        Yuan of packaging for each claim, which the buyer no longer pays. Not published. None leaves it out.
    return_damage : (frequency, severity), optional
        Damage of the return parcel (逆向保价): events an order, and their cost as a share of "declared_value", as for
        `EventCover`. By default it is left out.
    childrens_goods : sequence of levels
        Levels of "category" whose price is cut by 30 %.
    price_cut : bool
        Whether the insurer gives up 10 % of the list price, or 30 % for children's goods. False shows the price of the
        models.
    loss_controls : sequence of LossControl
        Such as `order_rescue`. They hold for the packaging too.
    columns : mapping of str to str, optional
        Your names of the columns category, price, weight_kg and declared_value.
    **terms
        As for `taobao_seller`. An `experience` holds for the return freight alone.

    Returns
    -------
    Programme

    Raises
    ------
    InputError
        If an argument is outside its range.

    Examples
    --------
    >>> from freightrisk import ByLevel, FrequencyModel, Free, OrderBook, SeverityModel, presets, simulate_book
    >>> data = simulate_book(20_000, seed=1)
    >>> book = OrderBook.from_frames(data.orders, data.claims, merchants=data.merchants, factors=data.factors(),
    ...                              as_of=data.as_of)
    >>> frequency = FrequencyModel([Free("channel")]).fit(book)
    >>> severity = SeverityModel([Free("zone"), Free("weight_kg")]).fit(book)
    >>> fees = {"intra_province": 5.0, "neighbouring": 7.0, "mid_range": 9.0, "far": 12.0, "remote": 22.0}
    >>> before = presets.jd_2023(frequency, severity, first_weight_fee=ByLevel("zone", fees))
    >>> after = presets.jd_2024(frequency, severity, large_goods=["furniture"], light_cheap=(20.0, 0.5),
    ...                         merge_share=0.7, packaging=None, columns={"category": "industry"})
    >>> orders = data.orders.dropna(subset="ship_date")
    >>> found = presets.compare(orders, {"before": before, "after": after})
    >>> bool(found["pure_premium"].iloc[1] > found["pure_premium"].iloc[0])
    True
    """
    data, terms = preset_data("jd_2024"), checked_terms(terms)
    roles = roles_of(data, columns, ROLES)
    check_models(data, frequency, severity, factors=[])
    controls = checked_controls(loss_controls)
    merged = _check.number(merge_share, argument="merge_share", low=0.0, high=1.0)
    large = _check.items(large_goods, argument="large_goods", such="list levels of the category")
    limit = data("covers", "return freight: limit, large goods")
    counted = "claims counted with merged pickup" if merged else "claims an order"
    most = data("covers", f"return freight: {counted}")
    cover = Cover(
        max_claims=most,
        merge_share=merged,
        limits=[Limit("large goods", limit, where={roles["category"]: large})] if large else [],
    )
    cut = _cut(data, roles, childrens_goods) if _check.flag(price_cut, argument="price_cut") else []
    lead = freight_tariff(
        data, frequency, severity, cover, terms=terms, subsidies=[*cut, *_light_cheap(data, roles, light_cheap)],
        floor_fen=data("subsidies", "smallest price"), controls=controls,
    )  # fmt: skip
    covers = [lead]
    if packaging is not None:
        every = Cover(max_claims=most, merge_share=merged)
        tariff = event_tariff(PACKAGING, (frequency, packaging), every, lead=lead, terms=terms)
        covers.append(tariff.with_loss_controls(controls) if controls else tariff)
    if return_damage is not None:
        pair = checked_events({RETURN_DAMAGE: return_damage}, [RETURN_DAMAGE])[RETURN_DAMAGE]
        column = roles["declared_value"]
        declared = Limit("declared value", LARGEST_LIMIT, share=1.0, of=column)
        damage = Cover(max_claims=None, limits=[declared], amount_of=column)
        covers.append(event_tariff(RETURN_DAMAGE, pair, damage, lead=lead, terms=terms))
    return _programme(data, covers)


def _programme(data: PresetData, covers: Sequence[Tariff]) -> Programme:
    payer = data("claim_payers", RETURN_FREIGHT)
    rule = data("covers", "premium: refund")
    return Programme(data.title, covers, claim_payers=[ClaimPayer(payer)], refund_rule=rule)


def _cut(data: PresetData, roles: Mapping[str, str], childrens: Any) -> list[Subsidy]:
    """Return the cuts of the price, of which the larger one holds."""
    payer, group = data("subsidies", "price cut: payer"), "price cut"
    levels = _check.items(childrens, argument="childrens_goods", such="list levels of the category")
    found = [Subsidy("price cut", payer, percent_of_list=data("subsidies", "price cut"), group=group)]
    if levels:
        name = "price cut, children's goods"
        where = {roles["category"]: levels}
        share = data("subsidies", name)
        found.append(Subsidy(name, payer, percent_of_list=share, where=where, group=group))
    return found


def _light_cheap(data: PresetData, roles: Mapping[str, str], most: Any) -> list[Subsidy]:
    if most is None:
        return []
    pair = _check.items(most, argument="light_cheap", such="give (yuan, kg)")
    if len(pair) != 2:
        raise InputError(f"light_cheap is {repr_of(most)}; give (yuan, kg): the largest price and weight.")
    price, weight = (_check.number(one, argument="a bound of light_cheap", low=0.0, high=1e9) for one in pair)
    name = "light cheap goods"
    return [
        Subsidy(
            name, data("subsidies", f"{name}: payer"), price_to_fen=data("subsidies", f"{name}: price"),
            where={roles["price"]: Interval(at_most=price), roles["weight_kg"]: Interval(at_most=weight)},
        )
    ]  # fmt: skip
