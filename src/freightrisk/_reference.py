"""The slow twins of the kernels: plain, one row or one formula at a time, integers for money.

They are what the kernels are tested against, and what a tariff's worksheet shows step by step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb, inf, log, prod
from struct import pack, unpack
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from freightrisk import _plan, _settle
from freightrisk._types import Array

MICRO_PER_FEN = 10_000
LARGEST_MICRO = 10**15
LARGEST_FILED = 10**13
LIMIT_MATTERS = 0.99


def accumulate(
    family: str,
    codes: Sequence[NDArray[Any]],
    tables: Sequence[Array],
    base: float,
    *,
    y: Array,
    multiplier: Array,
    weight: Array,
    parameter: float = 0.0,
    trials: Array | None = None,
) -> tuple[list[Array], list[Array], list[Array], Array]:
    """Return gradient and information by level, the cross tables and the sums of `_fit.accumulate`."""
    eta = base + sum((table[code] for table, code in zip(tables, codes, strict=True)), np.zeros(len(y)))
    mean = multiplier * np.exp(eta)
    name = family.removesuffix("_observed")
    observed = family != name
    if name == "beta_binomial":
        found = _lines_by_row(mean, y, np.ones(len(y)) if trials is None else trials, parameter, observed)
    else:
        rows = _amounts_by_row if name not in ("poisson", "bernoulli", "negative_binomial") else _counts_by_row
        found = rows(name, eta, mean, y, parameter, observed)
    gradient, information, objective, pearson = (weight * part for part in found)
    gradients = [
        np.bincount(code, gradient, len(table)).astype(np.float64) for code, table in zip(codes, tables, strict=True)
    ]
    informations = [
        np.bincount(code, information, len(table)).astype(np.float64) for code, table in zip(codes, tables, strict=True)
    ]
    pairs: list[Array] = []
    for f in range(len(codes)):
        for g in range(f + 1, len(codes)):
            cross = np.zeros((len(tables[f]), len(tables[g])))
            np.add.at(cross, (codes[f], codes[g]), information)
            pairs.append(cross)
    return (
        gradients,
        informations,
        pairs,
        np.array([objective.sum(), pearson.sum(), gradient.sum(), information.sum()]),
    )


Rows = tuple[Array, Array, Array, Array]


def _counts_by_row(family: str, eta: Array, mean: Array, y: Array, dispersion: float, observed: bool) -> Rows:
    if family == "poisson":
        return y - mean, mean, y * eta - mean, (y - mean) ** 2 / mean
    if family == "negative_binomial":
        variance = mean + dispersion * mean**2
        objective = y * eta - (y + 1 / dispersion) * np.log1p(dispersion * mean)
        information = mean * (1 + dispersion * y) / (1 + dispersion * mean) ** 2 if observed else mean**2 / variance
        return mean * (y - mean) / variance, information, objective, (y - mean) ** 2 / variance
    p, none = -np.expm1(-mean), np.exp(-mean)
    slope = mean * none  # of p along eta
    information = np.where(y > 0, slope**2 / p**2 - (1 - mean) * slope / p, mean) if observed else mean * slope / p
    return (
        mean * (y - p) / p,
        information,
        np.where(y > 0, np.log(p), 0.0) - (1 - y) * mean,
        np.divide((y - p) ** 2, p * none, out=np.zeros_like(p), where=none > 0),
    )


def _lines_by_row(mean: Array, y: Array, trials: Array, correlation: float, observed: bool) -> Rows:
    p, none = -np.expm1(-mean), np.exp(-mean)
    slope = mean * none
    gradient, information, objective = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
    for i, n in enumerate(trials.astype(int)):
        for count in range(n + 1):
            come = [p[i] * (1 - correlation) + k * correlation for k in range(count)]
            stay = [none[i] * (1 - correlation) + k * correlation for k in range(n - count)]
            both = [1 - correlation + k * correlation for k in range(n)]
            likely = comb(n, count) * prod(come) * prod(stay) / prod(both)
            squares = sum(1 / value**2 for value in (*come, *stay))
            if not observed:
                information[i] += likely * ((1 - correlation) * slope[i]) ** 2 * squares
            if count == y[i]:
                gradient[i] = (
                    (1 - correlation) * slope[i] * (sum(1 / value for value in come) - sum(1 / value for value in stay))
                )
                objective[i] = sum(log(value) for value in (*come, *stay))
                if observed:
                    information[i] = ((1 - correlation) * slope[i]) ** 2 * squares - (1 - mean[i]) * gradient[i]
    spread = trials * p * none * (1 + (trials - 1) * correlation)
    return gradient, information, objective, (y - trials * p) ** 2 / spread


def _amounts_by_row(family: str, eta: Array, mean: Array, y: Array, power: float, observed: bool) -> Rows:
    if family == "gamma":
        ratio = y / mean
        information = ratio if observed else np.ones_like(y)
        return ratio - 1, information, -(ratio + eta), (ratio - 1) ** 2
    if family == "lognormal":
        residual = np.log(y / mean)
        return residual, np.ones_like(y), -(residual**2) / 2, residual**2
    if family == "inverse_gaussian":
        information = (2 * y - mean) / mean**2 if observed else 1 / mean
        return (y - mean) / mean**2, information, 1 / mean - y / (2 * mean**2), (y - mean) ** 2 / mean**3
    p = power
    expected = mean ** (2 - p)
    curvature = (2 - p) * mean ** (2 - p) + (p - 1) * y * mean ** (1 - p)
    return (
        (y - mean) * mean ** (1 - p),
        curvature if observed else expected,
        y * mean ** (1 - p) / (1 - p) - mean ** (2 - p) / (2 - p),
        (y - mean) ** 2 / mean**p,
    )


class Settled(NamedTuple):
    """What each rule offered and paid, what each payer pays and what the merchant pays, all in fen."""

    offers: tuple[int, ...]
    paid: tuple[int, ...]
    payers_fen: tuple[int, ...]
    merchant_fen: int


class ChosenLimit(NamedTuple):
    """The limit by rule of an order, infinite without one; its rule; whether rules of the same priority differ."""

    limit: float
    rank: int
    conflict: bool


@dataclass(frozen=True)
class PricedOrder:
    """The quote of one order and the amounts behind it; bit k of `eligible` is that of rule k.

    `chosen` is the limit by rule.
    """

    claim_intensity: float
    expected_claims: float
    mean_freight: float
    limit: float
    expected_payout: float
    pure_premium: float
    technical_premium: float
    micro: int
    filed_micro: int
    rounded_fen: int
    list_fen: int
    settled: Settled
    flags: int
    eligible: int
    chosen: ChosenLimit

    @property
    def offers(self) -> tuple[int, ...]:
        """Return the fen that each rule offered."""
        return self.settled.offers

    @property
    def paid(self) -> tuple[int, ...]:
        """Return the fen that each rule paid."""
        return self.settled.paid

    @property
    def payers_fen(self) -> tuple[int, ...]:
        """Return the fen that each payer pays."""
        return self.settled.payers_fen

    @property
    def merchant_fen(self) -> int:
        """Return the fen that the merchant pays."""
        return self.settled.merchant_fen


def half_even(numerator: int, denominator: int) -> int:
    """Return the nearest integer to a ratio of non-negative integers, ties to even."""
    whole, rest = divmod(numerator, denominator)
    return whole + (2 * rest > denominator or (2 * rest == denominator and whole % 2 == 1))


def curve_value(curve: Array, t: float) -> float:
    """Return the value of a curve of cubic pieces at t in [0, 1]."""
    place = t * len(curve)
    k = min(int(place), len(curve) - 1)
    place -= k
    a, b, c, d = (float(coefficient) for coefficient in curve[k])
    return ((d * place + c) * place + b) * place + a


def limited_payout(mean: float, limit: float, curve: Mapping[str, Any]) -> float:
    """Return the payout of a mean under a limit, from the piece of their ratio's octave; see `LimitCurve.plan`."""
    (word,) = unpack("<q", pack("<d", mean * (1.0 / limit if limit else inf)))
    whole, inside = divmod(word, 2 ** curve["bits"])
    k = min(max(whole - curve["first"], 0), len(curve["pieces"]) - 1)
    (place,) = unpack("<d", pack("<q", inside + (1023 << 52)))
    a, b, c, d = (float(coefficient) for coefficient in curve["pieces"][k])
    u = place - 1.0
    return float((((d * u + c) * u + b) * u + a) * min(mean, limit * curve["top"]))


def rounded_fen(micro: int, mode: int, *, draw: int = 0, remainder: int = 0) -> int:
    """Return micro-yuan in fen, with the draw of dithering or what rounding left over before."""
    modes = _plan.ROUNDING_MODES
    if mode == modes["half_even"]:
        return half_even(micro, MICRO_PER_FEN)
    if mode == modes["carry"]:
        return half_even(max(micro + remainder, 0), MICRO_PER_FEN)
    added = {modes["half_up"]: 5_000, modes["ceiling"]: 9_999, modes["down"]: 0, modes["dither"]: draw}[mode]
    return (micro + added) // MICRO_PER_FEN


def keyed_hash(text: bytes, first_key: int, second_key: int) -> int:
    """Return SipHash-2-4 of some bytes."""
    whole = 2**64 - 1
    v = [first_key ^ 0x736F6D6570736575, second_key ^ 0x646F72616E646F6D]
    v += [first_key ^ 0x6C7967656E657261, second_key ^ 0x7465646279746573]

    def turn(x: int, bits: int) -> int:
        return (x << bits | x >> (64 - bits)) & whole

    def mix(rounds: int) -> None:
        for _ in range(rounds):
            v[0], v[2] = (v[0] + v[1]) & whole, (v[2] + v[3]) & whole
            v[1], v[3], v[0] = turn(v[1], 13) ^ v[0], turn(v[3], 16) ^ v[2], turn(v[0], 32)
            v[2], v[0] = (v[2] + v[1]) & whole, (v[0] + v[3]) & whole
            v[1], v[3], v[2] = turn(v[1], 17) ^ v[2], turn(v[3], 21) ^ v[0], turn(v[2], 32)

    padded = text + bytes(-(len(text) + 1) % 8) + bytes([len(text) % 256])
    for start in range(0, len(padded), 8):
        word = int.from_bytes(padded[start : start + 8], "little")
        v[3] ^= word
        mix(2)
        v[0] ^= word
    v[2] ^= 0xFF
    mix(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def price_order(
    codes: Sequence[int],
    plan: Mapping[str, Any],
    n_payers: int,
    *,
    draw: int = 0,
    remainder: int = 0,
    left: Sequence[int] | None = None,
    funds: Sequence[str | None] | None = None,
    left_in_funds: Mapping[str, int] | None = None,
    measures: Sequence[float] = (),
    beside: int = 0,
) -> PricedOrder:
    """Return the quote of one order from its codes and the arguments of a `PricePlan`.

    Rounding goes by a draw or by a remainder of micro-yuan, where it asks for one; `left` is what each rule's budget
    and cap by merchant have left, fen. `funds` names the fund of each rule, and `left_in_funds` is what each fund has
    left for the order. `measures` are the order's amounts in yuan, and `beside` is the filed premium of its other
    covers in micro-yuan.
    """
    unseen = any(code >= known for code, known in zip(codes, plan["known"], strict=True))
    codes = [*codes]
    for first, second, width in zip(*(plan["fused"][name] for name in ("first", "second", "width")), strict=True):
        codes.append(codes[first] * width + codes[second])
    intensity = _product(codes, plan["frequency"], float(plan["frequency"]["base"]))
    controls = _eligible(codes, plan["controls"]["masks"])
    for k, factor in enumerate(plan["controls"]["factors"].tolist()):
        intensity *= factor if controls >> k & 1 else 1.0
    claims = _expected_claims(intensity, codes, plan["count_curve"])
    mean = _product(codes, plan["severity"], float(plan["severity"]["base"]))
    terms, chosen = plan["payout_terms"], chosen_limit(codes, plan["limit_rules"], measures)
    mean *= measures[terms["measure"]] if terms["measure"] >= 0 else 1.0
    limit = min([float(plan["limits"]["base"]), *_gathered(codes, plan["limits"]), chosen.limit])
    payout = _payout(mean, limit, chosen.rank, codes, plan)
    pure = claims * payout
    loads = plan["loads"]
    with_fraud, factor = (_product(codes, loads[name], loads[name]["base"]) for name in ("with_fraud", "filed_factor"))
    costs = pure * with_fraud + loads["claim_handling"] * claims + loads["policy_cost"]
    technical = costs * (1.0 / loads["retained"])
    micro = round(min(technical * factor * 1e6, float(LARGEST_MICRO)))
    filed = min(max(micro, int(loads["filed_min_micro"])), int(loads["filed_max_micro"]))
    whole = min(filed + beside, LARGEST_FILED) if beside else filed
    rounded = rounded_fen(whole, plan["rounding"], draw=draw, remainder=remainder)
    listed = max(rounded, plan["floor_fen"])
    eligible = _eligible(codes, plan["masks"])
    settled = settle(listed, eligible, plan, n_payers, left, funds, left_in_funds)
    merchant = settled.merchant_fen
    bits = _settle.FLAGS
    on_floor = rounded < plan["floor_fen"] or (merchant == plan["floor_fen"] and merchant < listed)
    flags = bits["limit_bound"] * (payout < LIMIT_MATTERS * terms["kept"] * mean)
    flags |= bits["filed_bound"] * (filed != micro) | bits["limit_conflict"] * chosen.conflict
    flags |= bits["floor_bound"] * on_floor | bits["unseen_level"] * unseen
    return PricedOrder(
        intensity, claims, mean, limit, payout, pure, technical, micro, filed, rounded, listed, settled, int(flags),
        eligible, chosen,
    )  # fmt: skip


def chosen_limit(codes: Sequence[int], rules: Mapping[str, Any], measures: Sequence[float]) -> ChosenLimit:
    """Return the limit of the rules with the highest priority among the rules whose conditions an order meets."""
    holds, start = _eligible(codes, rules["masks"]), 0
    found = ChosenLimit(inf, len(rules["amount"]), False)
    for end in map(int, rules["ends"]):
        amounts = {}
        for k in range(start, end):
            if holds >> k & 1:
                amount, measure = float(rules["amount"][k]), int(rules["measure"][k])
                amounts[k] = amount if measure < 0 else min(float(rules["share"][k]) * measures[measure], amount)
        if amounts:
            # Of the first rules the first has the highest rank, so it comes last.
            best = [max(amounts.values()), min(amounts.values()), [*amounts.values()][-1]][rules["choose"]]
            rank = next(k for k, amount in amounts.items() if amount == best)
            found = ChosenLimit(best, rank, len(set(amounts.values())) > 1)
        start = end
    return found


def _payout(mean: float, limit: float, rule: int, codes: Sequence[int], plan: Mapping[str, Any]) -> float:
    """Return the expected payout of a claim with a mean, under a limit and the deductible, times the shares."""
    terms, shares, curve = plan["payout_terms"], plan["limit_rules"]["shares"], plan["limit_curve"]
    payout, kept, deductible = mean, terms["kept"], terms["deductible"]
    if len(curve["pieces"]):
        payout = limited_payout(mean, deductible + limit / kept, curve)
        if deductible > 0.0:
            payout = max(payout - limited_payout(mean, deductible, curve), 0.0)
    choices = len(plan["limit_rules"]["amount"]) + 1
    for column, offset in zip(shares["columns"], shares["offsets"], strict=True):
        payout *= float(shares["entries"][offset + codes[column] * choices + rule])
    return float(_product(codes, plan["shares"], payout) * kept)


def _expected_claims(intensity: float, codes: Sequence[int], curve: Mapping[str, Any]) -> float:
    """Return the claims that the cover counts: the intensity itself where it has no curve."""
    if not len(curve["pieces"]):
        return intensity
    t = intensity / (1.0 + intensity)
    chosen = codes[curve["column"]] if curve["column"] >= 0 else 0
    each = len(curve["pieces"]) // curve["curves"]
    return t * curve_value(curve["pieces"][chosen * each : (chosen + 1) * each], t)


def settle(
    listed: int,
    eligible: int,
    plan: Mapping[str, Any],
    n_payers: int,
    left: Sequence[int] | None = None,
    funds: Sequence[str | None] | None = None,
    left_in_funds: Mapping[str, int] | None = None,
) -> Settled:
    """Return what each rule offered and paid, what each payer pays and what the merchant pays, all in fen."""
    given = plan["rules"]
    rules = range(len(given["kind"]))
    groups = [int(group) for group in given["group"]]
    rest, floor = listed, plan["floor_fen"]
    offers, paid, payers = [0 for _ in rules], [0 for _ in rules], [0] * n_payers
    fund_of, in_fund = [None for _ in rules] if funds is None else funds, dict(left_in_funds or {})
    for group in dict.fromkeys(groups):
        members = [k for k in rules if groups[k] == group]
        for k in members:
            wanted = _wanted(int(given["kind"][k]), int(given["amount"][k]), listed, rest)
            offers[k] = max(0, min(wanted, int(given["cap"][k]), rest - floor)) if eligible >> k & 1 else 0
            if left is not None:
                offers[k] = min(offers[k], left[k])
            offers[k] = min(offers[k], in_fund.get(fund_of[k] or "", offers[k]))
        best = max(members, key=lambda k: offers[k])
        paid[best] = offers[best]
        if (name := fund_of[best]) in in_fund:
            in_fund[name] -= paid[best]
        payers[int(given["payer"][best])] += offers[best]
        rest -= offers[best]
    return Settled(tuple(offers), tuple(paid), tuple(payers), rest)


def _wanted(kind: int, amount: int, listed: int, rest: int) -> int:
    if kind == _plan.RULE_KINDS["percent_of_list"]:
        return half_even(listed * amount, 10_000)
    if kind == _plan.RULE_KINDS["percent_of_rest"]:
        return half_even(rest * amount, 10_000)
    return amount if kind == _plan.RULE_KINDS["fixed_fen"] else rest - amount


def _gathered(codes: Sequence[int], tables: Mapping[str, Any]) -> list[Any]:
    places = zip(tables["columns"], tables["offsets"], strict=True)
    return [tables["entries"][offset + codes[column]].item() for column, offset in places]


def _product(codes: Sequence[int], tables: Mapping[str, Any], base: float) -> float:
    for relativity in _gathered(codes, tables):
        base *= relativity
    return base


def _eligible(codes: Sequence[int], masks: Mapping[str, Any]) -> int:
    mask = 2**64 - 1
    for allowed in _gathered(codes, masks):
        mask &= allowed
    return mask
