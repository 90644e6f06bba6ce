"""What the terms of a cover leave of each claim, in whole fen: the deductible, the coinsurance and the limits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from freightrisk.book.codings import Coding
from freightrisk.programme.fen import WHOLE_SHARE, Whole, basis_points, exact_fen, floor_fen, half_even
from freightrisk.tariff.cover import ByLevel, Cover
from freightrisk.tariff.limits import Limit, ranked
from freightrisk.tariff.rates import limit_table

UNLIMITED = 2**62
FIRST_WEIGHT, FLAT = "first_weight_fee", "limit"


@dataclass(frozen=True, eq=False)
class ClaimOffers:
    """What the terms of a cover leave of each claim, before claims of one order and aggregate limits are counted.

    Parameters
    ----------
    kept : int64 array, shape (n,), fen
        The claim after the deductible and the coinsurance.
    limit : int64 array, shape (n,), fen
        2**62 without a limit.
    rule : int64 array, shape (n,)
        Place of the limit that decided in `names`.
    names : tuple of str
        The rules of the cover, "first_weight_fee", "limit", and "" for no limit.
    conflict : bool array, shape (n,)
        Whether rules of the deciding priority have different amounts.
    """

    kept: Whole
    limit: Whole
    rule: Whole
    names: tuple[str, ...]
    conflict: NDArray[np.bool_]

    @property
    def offer(self) -> Whole:
        """Return the smaller of the claim after the deductible and the coinsurance, and the limit."""
        return np.minimum(self.kept, self.limit)


def offers_of(
    cover: Cover,
    freight: Whole,
    *,
    masks: NDArray[np.uint64],
    measures: Mapping[str, Whole],
    levels: Mapping[str, Whole],
) -> ClaimOffers:
    """Return what the terms of a cover leave of each claim.

    Parameters
    ----------
    cover : Cover
    freight : int64 array, shape (n,), fen
    masks : uint64 array, shape (n,)
        Bit k of a row is 1 if the claim meets the conditions of limit k.
    measures : mapping of str to int64 array, shape (n,), fen
        Columns of which limits are a share.
    levels : mapping of str to int64 array, shape (n,), fen
        The amount of each claim under "first_weight_fee" and "limit", if they depend on a factor.
    """
    points = WHOLE_SHARE - basis_points(cover.coinsurance, argument="coinsurance of the cover")
    deductible = exact_fen(cover.deductible, argument="deductible of the cover")
    kept = half_even(np.maximum(freight - deductible, 0) * points, WHOLE_SHARE)
    limit, rule, conflict = chosen_fen(cover.limits, cover.choose, masks=masks, measures=measures)
    n_rules = len(cover.limits)
    rule[limit == UNLIMITED] = n_rules + 2
    others = {FIRST_WEIGHT: levels.get(FIRST_WEIGHT), FLAT: levels.get(FLAT)}
    if isinstance(cover.limit, float):
        others[FLAT] = np.full(len(freight), floor_fen(cover.limit), dtype=np.int64)
    for k, amount in enumerate(others.values()):
        if amount is not None:
            rule[amount < limit] = n_rules + k
            limit = np.minimum(limit, amount)
    names = (*(one.name for one in cover.limits), FIRST_WEIGHT, FLAT, "")
    return ClaimOffers(kept, limit, rule, names, conflict)


def chosen_fen(
    limits: Sequence[Limit], choose: str, *, masks: NDArray[np.uint64], measures: Mapping[str, Whole]
) -> tuple[Whole, Whole, NDArray[np.bool_]]:
    """Return the limit by rule of every claim in fen, the rule that decided, and whether rules conflict.

    It is `choose_limits` in whole numbers: 0.05 times 5,999 yuan is 299.95 yuan here, and 299.95000000000005 in
    doubles. Amounts and shares of columns are cut to whole fen, because a payment above them would exceed the limit.
    """
    n = len(masks)
    limit, rule = np.full(n, UNLIMITED, dtype=np.int64), np.full(n, len(limits), dtype=np.int64)
    conflict = np.zeros(n, dtype=np.bool_)
    for _, members in groupby(ranked(limits), key=lambda k: limits[k].priority):
        value, best = np.full(n, UNLIMITED, dtype=np.int64), np.full(n, -1, dtype=np.int64)
        apart = np.zeros(n, dtype=np.bool_)
        for k in members:
            amount = _amount(limits[k], measures, n)
            holds = (masks >> np.uint64(k)) & np.uint64(1) == 1
            apart |= holds & (best >= 0) & (amount != value)
            better = {"largest": amount > value, "smallest": amount < value, "first": np.zeros(n, bool)}[choose]
            takes = holds & ((best < 0) | better)
            value[takes], best[takes] = amount[takes], k
        decided = best >= 0
        limit[decided], rule[decided], conflict[decided] = value[decided], best[decided], apart[decided]
    return limit, rule, conflict


def _amount(rule: Limit, measures: Mapping[str, Whole], n: int) -> Whole:
    amount = np.full(n, floor_fen(rule.amount), dtype=np.int64)
    if rule.of is None or rule.share is None:
        return amount
    points = basis_points(rule.share, argument=f"share of limit '{rule.name}'")
    return np.minimum(amount, measures[rule.of] * points // WHOLE_SHARE)


def level_fen(limit: ByLevel, codings: Mapping[str, Coding], codes: NDArray[np.integer]) -> Whole:
    """Return the amount by level of each claim in fen, given the codes of its factor."""
    table = np.array([floor_fen(amount) for amount in limit_table(limit, codings).tolist()], dtype=np.int64)
    return np.asarray(table[codes])
