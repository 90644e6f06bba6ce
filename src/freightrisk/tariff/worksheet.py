"""The worksheet of one order: every factor, every step, every fen."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from freightrisk import _reference
from freightrisk._columns import MERCHANT_ID, SHIP_DATE, value_of
from freightrisk._intake import id_of, time_of
from freightrisk._shown import shown
from freightrisk.book.codings import Coding, CrossCoding
from freightrisk.errors import FreightRiskError
from freightrisk.tariff.aggregate_codes import AGGREGATE
from freightrisk.tariff.balances import Balances, period_of
from freightrisk.tariff.conditions import CONTROLS, COVER
from freightrisk.tariff.funds import Fund
from freightrisk.tariff.measures import measures_of_one
from freightrisk.tariff.one_order import codes_of, draw_of
from freightrisk.tariff.rates import RateTables
from freightrisk.tariff.record import TariffRecord
from freightrisk.tariff.subsidy import Subsidy


@dataclass(frozen=True, repr=False)
class Worksheet:
    """The steps of one order's price.

    Parameters
    ----------
    rows : tuple of str
        The printed sheet; the last line holds the kernel's fen.
    quote : dict
        The kernel's quote, as `Tariff.quote` returns it.
    """

    rows: tuple[str, ...]
    quote: Mapping[str, Any]

    def __str__(self) -> str:
        return "\n".join(self.rows)

    def __repr__(self) -> str:
        return f"{self.rows[0]}: {self.rows[-1]}"  # short, because `Tariff.explain` has printed the sheet


def worksheet(
    tariff: TariffRecord,
    plan: Mapping[str, Any],
    order: Mapping[str, Any],
    quote: Mapping[str, Any],
    *,
    balances: Balances,
    date_format: str | None,
    beside: Sequence["CoverSheet"] = (),
    title: str | None = None,
    more: Sequence[str] = (),
) -> Worksheet:
    """Return the worksheet of one order. The slow twin computes the steps, and its fen must equal the kernel's.

    Parameters
    ----------
    tariff : TariffRecord
    plan : mapping
        The tariff as plain arrays, from `plan_arguments`.
    order : mapping of column to value
    quote : mapping
        The kernel's quote of the order under the same balances.
    balances : Balances
    date_format : str, optional
    beside : sequence of CoverSheet
        The covers that add their premiums before rounding.
    title : str, optional
        The first line; by default it names the tariff.
    more : sequence of str
        Lines after the last.
    """
    codes = codes_of(tariff, order, date_format=date_format)
    draw = int(draw_of(order, tariff.dither_key)[0]) if tariff.dither_key else 0
    carries = tariff.rounding == "carry"
    remainder = balances.remainder_of(value_of(order, MERCHANT_ID, id_of)) if carries else 0
    left = [_left(rule, order, balances, tariff.clock, date_format) for rule in tariff.subsidies]
    in_funds = {fund.name: _left_in_fund(fund, order, balances, tariff.clock, date_format) for fund in tariff.funds}
    amounts = measures_of_one(tariff, order, dict(zip(tariff.sizes, codes, strict=True))).ravel().tolist()
    priced = _reference.price_order(
        codes, plan, len(tariff.payers), draw=draw, remainder=remainder, left=left,
        funds=[rule.fund for rule in tariff.subsidies], left_in_funds=in_funds,
        measures=amounts, beside=sum(cover.filed_micro for cover in beside),
    )  # fmt: skip
    steps = (priced.list_fen, *priced.payers_fen, priced.merchant_fen)
    kernel = (quote["list_fen"], *(quote[f"{payer}_fen"] for payer in tariff.payers), quote["merchant_fen"])
    if steps != kernel:
        raise FreightRiskError(
            f"the worksheet's fen {steps} differ from the kernel's fen {kernel}; please report this tariff and order."
        )
    rows = [
        f"Worksheet of tariff '{tariff.name}'" if title is None else title,
        *([f"Cover '{tariff.name}'"] if beside else []),
        *_premium_lines(tariff, codes, priced, amounts),
        *_filed_lines(tariff, codes, priced),
        *_sum_lines(priced, beside),
        *_money_lines(tariff, priced, left, in_funds),
    ]
    return Worksheet(tuple(map(shown, (*rows, _last_line(tariff, quote), *more))), quote)


@dataclass(frozen=True)
class CoverSheet:
    """The worksheet of a cover beside the first: its title, its lines, and its filed premium in micro-yuan."""

    title: str
    rows: tuple[str, ...]
    filed_micro: int


def cover_sheet(
    tariff: TariffRecord, plan: Mapping[str, Any], order: Mapping[str, Any], *, date_format: str | None
) -> CoverSheet:
    """Return the worksheet of one order under a cover beside the first, up to the filed premium."""
    codes = codes_of(tariff, order, date_format=date_format)
    amounts = measures_of_one(tariff, order, dict(zip(tariff.sizes, codes, strict=True))).ravel().tolist()
    priced = _reference.price_order(codes, plan, len(tariff.payers), measures=amounts)
    rows = [*_premium_lines(tariff, codes, priced, amounts), *_filed_lines(tariff, codes, priced)]
    return CoverSheet(f"Cover '{tariff.name}'", tuple(rows), priced.filed_micro)


def _sum_lines(priced: _reference.PricedOrder, beside: Sequence[CoverSheet]) -> Iterator[str]:
    """Yield the lines of the covers beside the first, and of the sum of all."""
    for cover in beside:
        yield cover.title
        yield from cover.rows
    if beside:
        yield "Sum"
        whole = priced.filed_micro + sum(cover.filed_micro for cover in beside)
        bounded = min(whole, _reference.LARGEST_FILED)
        parts = " + ".join(f"{micro:,d}" for micro in (priced.filed_micro, *(one.filed_micro for one in beside)))
        yield _fen_line("micro-yuan", bounded, parts if bounded == whole else f"{parts}, at most 10 million yuan")


def _left(rule: Subsidy, order: Mapping[str, Any], known: Balances, clock: str, date_format: str | None) -> int:
    """Return the fen that an order can still get from a rule's budget and its cap by merchant."""
    if rule.period is None:
        return known.left(rule)
    merchant = value_of(order, MERCHANT_ID, id_of)
    time = value_of(order, SHIP_DATE, lambda value: time_of(value, clock, date_format))
    if merchant is None or np.isnat(time):
        return 0
    return min(known.left(rule), known.left_of(rule, merchant, period_of(time, rule.period)))


def _left_in_fund(fund: Fund, order: Mapping[str, Any], known: Balances, clock: str, date_format: str | None) -> int:
    """Return the fen that an order can still get from a fund."""
    if not fund.is_by_day:
        return known.left_in_fund(fund)
    time = value_of(order, SHIP_DATE, lambda value: time_of(value, clock, date_format))
    return 0 if np.isnat(time) else known.left_in_fund(fund, day=period_of(time, "day"))


def _premium_lines(
    tariff: TariffRecord, codes: list[int], priced: _reference.PricedOrder, amounts: Sequence[float]
) -> Iterator[str]:
    code = dict(zip(tariff.tabled, codes, strict=False))
    yield from _table_lines(
        "claim intensity", "claims an order", tariff.frequency, tariff.tabled, code,
        [*_intensity_lines(tariff, codes), *_control_lines(tariff, codes, priced)],
        priced.claim_intensity,
    )  # fmt: skip
    claims = "no limit on claims" if tariff.cover.max_claims is None else f"at most {tariff.cover.max_claims} an order"
    if tariff.cover.merge_share:  # docs/method.md, equation 25
        claims += f", {tariff.cover.merge_share:.0%} of further ones picked up with the first"
    yield _line("expected claims", priced.expected_claims, claims)
    yield from _table_lines(
        "mean freight" if tariff.cover.amount_of is None and "event" not in tariff.provenance else "mean claim",
        "yuan a claim" if tariff.cover.amount_of is None else "share of the amount",
        tariff.severity, tariff.tabled, code, _amount_lines(tariff, amounts), priced.mean_freight,
        total_unit="yuan a claim",
    )  # fmt: skip
    yield from _cover_lines(tariff, codes, priced)
    yield _line("pure premium", priced.pure_premium, "expected claims x expected payout")
    loads = tariff.loadings
    fraud = _level_load(tariff, "fraud_load", code)
    yield from _level_load_lines(tariff, "fraud_load", code, "of expected payouts,")
    # docs/method.md, equation 22.
    yield _line(
        "technical premium",
        priced.technical_premium,
        f"(pure x {1 + fraud:g} + {loads.claim_handling:g} x claims + {loads.policy_cost:g}) / {loads.retained:g}",
    )


def _level_load(tariff: TariffRecord, name: str, code: Mapping[str, int]) -> float:
    """Return a load of one order, which may depend on a factor."""
    load, tables = getattr(tariff.loadings, name), tariff.loadings.tables(tariff.codings)
    return float(tables[name][code[load.factor]]) if name in tables else float(load)


def _level_load_lines(tariff: TariffRecord, name: str, code: Mapping[str, int], what: str) -> Iterator[str]:
    """Yield a line with the level that decides a load, if the load depends on a factor."""
    if name in tariff.loadings.by_level:
        factor = tariff.loadings.by_level[name].factor
        level = tariff.codings[factor].slot_label(code[factor])
        yield _line(name.replace("_", " "), _level_load(tariff, name, code), f"{what} {factor} {level}".lstrip())


def _amount_lines(tariff: TariffRecord, amounts: Sequence[float]) -> Iterator[str]:
    if tariff.cover.amount_of is not None:
        yield _line(
            f"  x {tariff.cover.amount_of}", amounts[tariff.measures.index(tariff.cover.amount_of)], "yuan of the order"
        )


def _cover_lines(tariff: TariffRecord, codes: list[int], priced: _reference.PricedOrder) -> Iterator[str]:
    """Yield what the cover pays of the mean freight: its limit, deductible, coinsurance and conditions."""
    cover, choices = tariff.cover, len(tariff.cover.limits) + 1 if tariff.cover.limits else 1
    code = dict(zip(tariff.sizes, codes, strict=True))
    rule = priced.chosen.rank if cover.limits else 0
    if cover.limits:
        none = rule == len(cover.limits)
        conflict = ", other rules of its priority differ" if priced.chosen.conflict else ""
        why = "no rule holds" if none else f"'{tariff.ranked_limits[rule].name}'{conflict}"
        yield _line("limit by rule", priced.chosen.limit, f"yuan a claim, {why}")
    for name, table in tariff.shares.items():
        yield _line("  x paid share", float(table[code[name] * choices + rule]), f"of {name} under the limits")
    if cover.deductible:
        yield _line("deductible", cover.deductible, "yuan a claim")
    if cover.coinsurance:
        yield _line("coinsurance", cover.coinsurance, "of the rest stays with the buyer")
    for gate in tariff._gates:
        if COVER in gate.masks and not gate.masks[COVER][code[f"{gate.kind} of {gate.column}"]]:
            yield _line("not eligible", 0.0, f"the cover asks for another {gate.column}")
    limit = "no limit" if np.isinf(priced.limit) else f"limit {priced.limit:g} yuan a claim"
    why = "mean freight x paid share" if tariff.shares else limit
    if tariff.aggregate is not None and cover.aggregate is not None:
        share, what = float(tariff.aggregate.table[code[AGGREGATE]]), tariff.aggregate.slot_label(code[AGGREGATE])
        total = f"{cover.aggregate.amount:g} yuan" + (f" a {cover.aggregate.period}" if cover.aggregate.period else "")
        yield _line("payout of a claim", priced.expected_payout / share, why)
        yield _line("  x aggregate share", share, f"of {what} under {total}")
        why = "payout of a claim x aggregate share"
    yield _line("expected payout", priced.expected_payout, why)


def _table_lines(
    what: str,
    unit: str,
    rates: RateTables,
    codings: Mapping[str, Coding | CrossCoding],
    code: Mapping[str, int],
    more: Iterable[str],
    total: float,
    *,
    total_unit: str | None = None,
) -> Iterator[str]:
    yield _line(f"base {what}", rates.base, unit)
    for name, table in rates.tables.items():
        unseen = "  (unseen level)" if code[name] >= codings[name].n_levels else ""
        yield _line(f"  x {name}", float(table[code[name]]), codings[name].slot_label(code[name]) + unseen)
    yield from more
    yield _line(what, total, unit if total_unit is None else total_unit)


def _intensity_lines(tariff: TariffRecord, codes: list[int]) -> Iterator[str]:
    """Yield a line for each factor of the claim intensity that is not a table of the frequency."""
    yield from _experience_lines(tariff, codes)
    if tariff.loadings.moral_hazard:  # docs/method.md, equation 21a
        yield _line("  x moral hazard", 1.0 + tariff.loadings.moral_hazard, "assumed, cover against history")


def _experience_lines(tariff: TariffRecord, codes: list[int]) -> Iterator[str]:
    """Yield a line for each code column of the experience."""
    if tariff.experience is None:
        return
    tables, known = tariff.experience.tables, tariff.experience.known
    for code, end, (name, table) in zip(codes[len(tariff.tabled) :], known, tables.items(), strict=False):
        unseen = "  (unseen level)" if code >= end else ""
        # The first table holds the off-balance factor, which has a row of its own (docs/method.md, equation 41).
        factor = tariff.experience.off_balance if name == next(iter(tables)) else 1.0
        yield _line(f"  x {name}", float(table[code]) / factor, tariff.experience.slot_label(name, code) + unseen)
    if tariff.experience.off_balance != 1.0:
        yield _line("  x off-balance", tariff.experience.off_balance, "balances the experience over the book")


def _control_lines(tariff: TariffRecord, codes: list[int], priced: _reference.PricedOrder) -> Iterator[str]:
    """Yield a line for each loss control that holds (docs/method.md, equation 21b)."""
    holds, first = 2**64 - 1, len(codes) - len(tariff._gates)
    for gate, code in zip(tariff._gates, codes[first:], strict=True):
        holds &= int(gate.masks[CONTROLS][code]) if CONTROLS in gate.masks else holds
    for k, rule in enumerate(tariff.loss_controls.rules):
        if not holds >> k & 1:
            continue
        causes = tariff.loss_controls.funnel.share_of(rule.causes)
        why = f"{rule.stage}: 1 + {rule.evidence:g} x {rule.reach:g} x {rule.effect:g}"
        why += f" x {causes:g} of causes" if rule.causes else ""
        why += "" if rule.interval is None else f" ({rule.interval[0]:.3g} to {rule.interval[1]:.3g})"
        if rule.cost:
            beside = tariff.loss_controls.cost(k, priced.claim_intensity)
            why += f"; costs the merchant {beside:.6f} yuan an order beside"
        yield _line(f"  x {rule.name}", float(tariff.loss_controls.factors[k]), why)


def _filed_lines(tariff: TariffRecord, codes: list[int], priced: _reference.PricedOrder) -> Iterator[str]:
    """Yield the lines from the technical premium to the filed premium."""
    code = dict(zip(tariff.tabled, codes, strict=False))
    yield from _level_load_lines(tariff, "filed_factor", code, "")
    factor = _level_load(tariff, "filed_factor", code)
    yield _fen_line("micro-yuan", priced.micro, f"technical premium x {factor:g}, to the nearest")
    if priced.filed_micro != priced.micro:
        yield _fen_line(
            "filed micro-yuan",
            priced.filed_micro,
            f"filed limits {tariff.loadings.filed_min:g} to {tariff.loadings.filed_max:g} yuan",
        )


def _money_lines(
    tariff: TariffRecord, priced: _reference.PricedOrder, left: Sequence[int], in_funds: Mapping[str, int]
) -> Iterator[str]:
    yield _fen_line("rounded fen", priced.rounded_fen, tariff.rounding)
    yield _fen_line(
        "list fen",
        priced.list_fen,
        f"floor {tariff.floor_fen} fen" if priced.list_fen != priced.rounded_fen else "",
    )
    in_fund = dict(in_funds)
    for k, (rule, offer, paid) in enumerate(zip(tariff.subsidies, priced.offers, priced.paid, strict=True)):
        rest = left[k] if rule.fund is None else min(left[k], in_fund[rule.fund])
        why = "" if paid else f" ({_why_nothing(rule, offer, rest, is_eligible=priced.eligible >> k & 1 == 1)})"
        fund = ""
        if rule.fund is not None:
            in_fund[rule.fund] -= paid
            fund = f" from fund '{rule.fund}', which has {in_fund[rule.fund]:,} left for such orders" if paid else ""
        yield _fen_line(f"  - {rule.name}", paid, f"{rule.payer}{fund}{why}")


def _why_nothing(rule: Subsidy, offer: int, left: int, *, is_eligible: bool) -> str:
    """Return why a rule paid nothing."""
    if not is_eligible:
        return "not eligible"
    if offer:
        return f"offered {offer}, less than the best of group '{rule.group}'"
    return "nothing left of its limits" if rule.is_limited and left == 0 else "nothing left above the floor"


def _last_line(tariff: TariffRecord, quote: Mapping[str, Any]) -> str:
    payers = "".join(f" + {payer} {quote[f'{payer}_fen']}" for payer in tariff.payers)
    return f"list {quote['list_fen']} fen = merchant {quote['merchant_fen']}{payers}"


def _line(what: str, value: float, note: str) -> str:
    return f"{what:<24} {value:>14.8f}  {note}".rstrip()


def _fen_line(what: str, value: int, note: str) -> str:
    return f"{what:<24} {value:>14,d}  {note}".rstrip()
