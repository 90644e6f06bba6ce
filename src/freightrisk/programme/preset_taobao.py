"""Presets of Taobao and Tmall: freight insurance for sellers and for buyers, and Return Treasure (退货宝)."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Unpack

from freightrisk import _check
from freightrisk._shown import repr_of
from freightrisk.book.by_level import ByLevel
from freightrisk.errors import InputError
from freightrisk.models.fitted import FittedModel
from freightrisk.programme.claim_payer import ClaimPayer
from freightrisk.programme.preset_data import PresetData, preset_data
from freightrisk.programme.preset_parts import (
    RETURN_FREIGHT,
    Severity,
    Terms,
    Where,
    check_models,
    checked_controls,
    checked_terms,
    first_weight_factors,
    freight_tariff,
    roles_of,
)
from freightrisk.programme.programme import Programme
from freightrisk.tariff.cover import Cover
from freightrisk.tariff.funds import Fund
from freightrisk.tariff.loss_control import LossControl
from freightrisk.tariff.subsidy import Subsidy

FUND_618 = "618 2024"


def taobao_seller(
    frequency: FittedModel,
    severity: Severity,
    *,
    first_weight_fee: ByLevel | None,
    double_11: Where | None = None,
    discounts_618: Mapping[str, float] | None = None,
    dates_618: tuple[date | str, date | str] | None = None,
    loss_controls: Sequence[LossControl] = (),
    columns: Mapping[str, str] | None = None,
    **terms: Unpack[Terms],
) -> Programme:
    """Return Taobao's freight insurance for sellers on models of your own, with its campaigns of 2022 and 2024.

    The cover pays one claim an order, at most the first-weight fee. A price lies between 0.01 and 3 yuan. The numbers
    and their sources are ``presets.table("taobao_seller")``.

    Parameters
    ----------
    frequency : FittedModel
    severity : FittedModel or FittedSchedule
    first_weight_fee : ByLevel or None
        First-weight fee of each zone, because no payout matrix was published. None if the claims of the severity are
        first-weight fees already.
    double_11 : mapping of column to levels or Interval, optional
        The merchants that got 20 % off in the campaign of 2022, by conditions as in `Subsidy`; {} for all. By default
        the discount is left out, because the source does not say who was eligible.
    discounts_618 : mapping of str to float, optional
        Discount of each merchant segment in the campaign 618 of 2024, as a share of the list price. All draw on one
        fund of 450 million yuan. By default they are left out, because only the fund was published.
    dates_618 : (start, end), optional
        First and last ship date of these discounts.
    loss_controls : sequence of LossControl
        Such as `negotiation_tool` and `account_integrity`.
    columns : mapping of str to str, optional
        Your name of the column "segment", if it has another.
    **terms
        shape, loadings, experience, rounding, dither_key and clock of `Tariff.build`. Loadings with filed limits of
        their own keep them.

    Returns
    -------
    Programme

    Raises
    ------
    InputError
        If the models lack the factor of the first-weight fees, or an argument is outside its range.

    Examples
    --------
    >>> from freightrisk import ByLevel, FrequencyModel, Free, OrderBook, SeverityModel, presets, simulate_book
    >>> data = simulate_book(5_000, seed=1)
    >>> book = OrderBook.from_frames(data.orders, data.claims, merchants=data.merchants, factors=data.factors(),
    ...                              as_of=data.as_of)
    >>> frequency = FrequencyModel([Free("channel"), Free("zone")]).fit(book)
    >>> severity = SeverityModel([Free("zone")]).fit(book)
    >>> fees = ByLevel("zone", {"intra_province": 5.0, "neighbouring": 7.0, "mid_range": 9.0}, default=12.0)
    >>> seller = presets.taobao_seller(frequency, severity, first_weight_fee=fees, double_11={})
    >>> seller.subsidies[0].start, seller.lead.loadings.filed_max
    (datetime.date(2022, 10, 24), 3.0)
    """
    data, terms = preset_data("taobao_seller"), checked_terms(terms)
    roles = roles_of(data, columns, ["segment"])
    check_models(data, frequency, severity, factors=first_weight_factors(first_weight_fee))
    subsidies, funds = _seller_campaigns(data, roles["segment"], double_11, discounts_618, dates_618)
    tariff = freight_tariff(
        data, frequency, severity, _first_weight_cover(data, first_weight_fee), terms=terms, subsidies=subsidies,
        funds=funds, floor_fen=data("subsidies", "smallest price"), controls=checked_controls(loss_controls),
    )  # fmt: skip
    return _programme(data, tariff)


def taobao_buyer(
    frequency: FittedModel, severity: Severity, *, first_weight_fee: ByLevel | None, **terms: Unpack[Terms]
) -> Programme:
    """Return Taobao's freight insurance for buyers on models of your own.

    The cover pays one claim an order, at most the first-weight fee and 25 yuan. The buyer pays the whole price, at
    least 0.01 and at most 11.5 yuan: quotes have it as ``buyer_fen``, and ``merchant_fen`` is 0. The numbers and their
    sources are ``presets.table("taobao_buyer")``.

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
    See `taobao_seller` for models and fees; then ``presets.taobao_buyer(frequency, severity, first_weight_fee=fees)``.
    """
    data, terms = preset_data("taobao_buyer"), checked_terms(terms)
    check_models(data, frequency, severity, factors=first_weight_factors(first_weight_fee))
    share = data("subsidies", "share of the buyer")
    tariff = freight_tariff(
        data, frequency, severity,
        _first_weight_cover(data, first_weight_fee, limit=data("covers", "return freight: limit")),
        terms=terms, subsidies=[Subsidy("paid by the buyer", "buyer", percent_of_list=share)],
        floor_fen=data("subsidies", "smallest price of the merchant"),
    )  # fmt: skip
    return _programme(data, tariff)


def return_treasure(
    frequency: FittedModel,
    severity: Severity,
    *,
    first_weight_fee: ByLevel | None,
    saving: float | None = None,
    part_of_users: bool = False,
    loss_controls: Sequence[LossControl] = (),
    columns: Mapping[str, str] | None = None,
    **terms: Unpack[Terms],
) -> Programme:
    """Return Return Treasure (退货宝) on models of your own: a service of the platform since 3 September 2024.

    It pays the first weight of returns and exchanges, at most 26 yuan. The price is the price of the models less the
    saving, because no fee table was published. The numbers and their sources are
    ``presets.table("return_treasure")``.

    Parameters
    ----------
    frequency, severity, first_weight_fee, loss_controls, **terms
        As for `taobao_seller`. The claims of the book include exchanges.
    saving : float, optional
        Share of the list price that the merchant does not pay, at least 0 and below 1. By default 0.1: at most 90 %
        of the former premium. Promoters tell of 0.1 to 0.3. Give 0 to show the price of the models.
    part_of_users : bool
        Whether it covers orders of part of the users only (a pilot of 2025): those with "yes" in "covered_user". The
        other orders have no cover and cost the floor of 1 fen.
    columns : mapping of str to str, optional
        Your name of the column "covered_user", if it has another.

    Returns
    -------
    Programme
        Its first day is 3 September 2024. Merchants may leave around promotions: ``Versions([programme],
        enrolment=...)``.

    Raises
    ------
    InputError
        As for `taobao_seller`.

    Examples
    --------
    See `taobao_seller` for models and fees; then ``presets.return_treasure(frequency, severity,
    first_weight_fee=fees, saving=0.2)``.
    """
    data, terms = preset_data("return_treasure"), checked_terms(terms)
    roles = roles_of(data, columns, ["covered_user"])
    check_models(data, frequency, severity, factors=first_weight_factors(first_weight_fee))
    share = data("subsidies", "saving, least") if saving is None else saving
    share = _check.number(share, argument="saving", low=0.0, high=1.0, open_high=True)
    covered = {roles["covered_user"]: [data("covers", "return freight: covered users")]}
    cover = _first_weight_cover(
        data, first_weight_fee, limit=data("covers", "return freight: limit"),
        eligible=covered if _check.flag(part_of_users, argument="part_of_users") else {},
    )  # fmt: skip
    payer = data("subsidies", "payer")
    tariff = freight_tariff(
        data, frequency, severity, cover, terms=terms, floor_fen=data("subsidies", "smallest price"),
        subsidies=[Subsidy("saving", payer, percent_of_list=share)] if share else [],
        controls=checked_controls(loss_controls),
    )  # fmt: skip
    return _programme(data, tariff, start=data("dates", "first day"))


def _first_weight_cover(data: PresetData, fee: ByLevel | None, **more: Any) -> Cover:
    return Cover(max_claims=data("covers", "return freight: claims an order"), first_weight_fee=fee, **more)


def _programme(data: PresetData, tariff: Any, **more: Any) -> Programme:
    payer = data("claim_payers", RETURN_FREIGHT)
    return Programme(
        data.title, tariff, claim_payers=[ClaimPayer(payer)], refund_rule=data("covers", "premium: refund"), **more
    )


def _seller_campaigns(
    data: PresetData,
    segment: str,
    double_11: Where | None,
    discounts: Mapping[str, float] | None,
    dates: tuple[date | str, date | str] | None,
) -> tuple[list[Subsidy], list[Fund]]:
    """Return the subsidies of the two campaigns, and the fund of the second."""
    found = []
    if double_11 is not None:
        name = "Double 11 2022"
        found.append(
            Subsidy(
                name, data("subsidies", f"{name}: payer"), percent_of_list=data("subsidies", f"{name}: discount"),
                where=double_11, start=data("dates", f"{name}: first day"), end=data("dates", f"{name}: last day"),
            )
        )  # fmt: skip
    if (discounts is None) != (dates is None):
        raise InputError("give discounts_618 and dates_618 together; neither was published.")
    if discounts is None or dates is None:
        return found, []
    pair = _check.items(dates, argument="dates_618", such="give (start, end)")
    if len(pair) != 2:
        raise InputError(f"dates_618 is {repr_of(dates)}; give (start, end).")
    start, end = pair
    found += [
        Subsidy(
            f"{FUND_618}: {level}", data("subsidies", "618 2024: payer"), percent_of_list=share, start=start, end=end,
            where={segment: [level]}, fund=FUND_618,
        )
        for level, share in _check.mapping(discounts, argument="discounts_618").items()
    ]  # fmt: skip
    budget_fen = round(100 * data("subsidies", "618 2024: fund"))
    return found, [Fund(FUND_618, budget_fen=budget_fen)]
