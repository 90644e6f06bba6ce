"""What the terms of a cover leave of each claim, in whole fen: the deductible, the coinsurance and the limits."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from freightrisk.book.by_level import ByLevel
from freightrisk.book.codings import Coding
from freightrisk.programme.fen import WHOLE_SHARE, Whole, basis_points, exact_fen, floor_fen, half_even
from freightrisk.tariff.cover import Cover
from freightrisk.tariff.limits import Limit, choose_limits
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
    # In whole numbers 0.05 times 5,999 yuan is 299.95 yuan; in doubles it is 299.95000000000005.
    amounts = [_amount(one, measures, len(freight)) for one in cover.limits]
    chosen = choose_limits(cover.limits, cover.choose, masks=masks, amounts=amounts, unlimited=UNLIMITED)
    limit, rule = chosen.limit, chosen.rule
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
    return ClaimOffers(kept, limit, rule, names, chosen.conflict)


def _amount(rule: Limit, measures: Mapping[str, Whole], n: int) -> Whole:
    """Return the amount of a rule for n claims, cut to whole fen, because a payment above it would exceed the limit."""
    amount = np.full(n, floor_fen(rule.amount), dtype=np.int64)
    if rule.of is None or rule.share is None:
        return amount
    points = basis_points(rule.share, argument=f"share of limit '{rule.name}'")
    return np.minimum(amount, measures[rule.of] * points // WHOLE_SHARE)


def level_fen(limit: ByLevel, codings: Mapping[str, Coding], codes: NDArray[np.integer]) -> Whole:
    """Return the amount by level of each claim in fen, given the codes of its factor."""
    table = np.array([floor_fen(amount) for amount in limit_table(limit, codings).tolist()], dtype=np.int64)
    return np.asarray(table[codes])
