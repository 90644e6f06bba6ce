"""ClaimPayer: who pays a claim, by conditions such as the fault; and how a payment is divided in fen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._document import from_plain, sparse
from freightrisk._plain import json_document
from freightrisk._shown import brief
from freightrisk.book.factors import Value
from freightrisk.errors import FreightRiskError, InputError
from freightrisk.programme.fen import WHOLE_SHARE, basis_points, half_even
from freightrisk.tariff.conditions import RULE_LIMIT, Conditions, Interval, are_apart, checked_where

INSURER = "insurer"
RESERVED = ("buyer", "freight", "paid", "reversed")


@sparse
@dataclass(frozen=True)
class ClaimPayer:
    """A rule that says who pays the claims that meet its conditions.

    The rules of a settlement are tried in their order. The first rule whose conditions hold pays its share of the
    payment. Later rules that hold pay their shares of the rest. The insurer pays what no rule pays.

    Parameters
    ----------
    payer : str
        Who pays. The settled claims have a column ``<payer>_fen``. Several rules may name one payer.
    where : mapping of column to levels or Interval
        Conditions on columns of the claims or of their orders that must all hold, as in `Limit`. A claim with a missing
        value does not meet the condition.
    share : float
        Share of the payment that earlier rules left, above 0 and at most 1. It is a whole number of basis points
        (0.0001), and its money is rounded half-even to fen.

    Examples
    --------
    The platform pays claims that are not wholly the merchant's fault. The merchant pays half of the others:

    >>> from freightrisk import ClaimPayer
    >>> rules = [ClaimPayer("platform", where={"fault": ["not_merchant"]}), ClaimPayer("merchant", share=0.5)]
    >>> rules[0].payer, rules[1].share
    ('platform', 0.5)
    """

    payer: str
    where: Mapping[str, Interval | Sequence[Value]] = field(default_factory=dict, kw_only=True)
    share: float = field(default=1.0, kw_only=True)

    __repr__ = brief

    def __post_init__(self) -> None:
        _check.label(self.payer, argument="payer of a claim")
        if not self.payer.isidentifier() or self.payer in RESERVED:
            raise InputError(
                f"payer of a claim is '{self.payer}'; it names a column, so give a word such as 'platform', other than "
                f"{', '.join(RESERVED)}."
            )
        rule = f"claim payer '{self.payer}'"
        object.__setattr__(self, "where", checked_where(self.where, rule))
        share = _check.number(self.share, argument=f"share of {rule}", low=0.0, high=1.0, open_low=True)
        basis_points(share, argument=f"share of {rule}")
        object.__setattr__(self, "share", share)

    @property
    def conditions(self) -> Conditions:
        """Return the conditions of the claims that the rule pays for."""
        return Conditions(self.where)


def check_payers(payers: Any, *, eligible: Mapping[str, Any] | None = None) -> tuple[ClaimPayer, ...]:
    """Return the rules, and refuse rules that never pay.

    An earlier rule may pay all of their claims in full, or their conditions may contradict the conditions of the cover.
    """
    rules = _check.members(payers, ClaimPayer, argument="payers")
    if len(rules) > RULE_LIMIT:
        raise InputError(f"{len(rules)} payers were given; a settlement takes at most {RULE_LIMIT}.")
    for k, rule in enumerate(rules):
        covered = {} if eligible is None else eligible
        apart = [name for name, one in rule.where.items() if name in covered and are_apart(one, covered[name])]
        if apart:
            raise InputError(
                f"payers: rule {k + 1} ('{rule.payer}') never pays, because its condition on '{apart[0]}' and the "
                f"cover's own have no value in common; correct one of the two."
            )
        other = next((one for one in rules[:k] if one.share == 1.0 and rule.conditions.imply(one.conditions)), None)
        if other is not None:
            raise InputError(
                f"payers: rule {k + 1} ('{rule.payer}') never pays, because an earlier rule ('{other.payer}') pays all "
                f"of its claims in full; put it before that rule, or remove it."
            )
    return rules


def load_payers(path: str | Path) -> tuple[ClaimPayer, ...]:
    """Return the rules of a JSON document: a list with an object for each rule, with the keys of `ClaimPayer`."""
    path = _check.path(path, argument="path")
    try:
        plain = json_document(path.read_bytes())
        if not isinstance(plain, list):
            raise InputError("it must be a list of rules.")
        return check_payers([from_plain(ClaimPayer, one, whole=False) for one in plain])
    except (msgspec.MsgspecError, FreightRiskError, OSError, UnicodeError) as error:
        raise InputError(f"payers '{path}' cannot be read: {error}") from None


def payer_names(rules: Sequence[ClaimPayer]) -> tuple[str, ...]:
    """Return the payers in the order of their first rule; the insurer is the last unless a rule names it."""
    return tuple(dict.fromkeys([*(rule.payer for rule in rules), INSURER]))


def divided(
    rules: Sequence[ClaimPayer], paid: NDArray[np.int64], masks: NDArray[np.uint64]
) -> dict[str, NDArray[np.int64]]:
    """Return the fen of each payer; they sum to the payments.

    Parameters
    ----------
    rules : sequence of ClaimPayer
    paid : int64 array, shape (n,), fen
    masks : uint64 array, shape (n,)
        Bit k of a row is 1 if the claim meets the conditions of rule k.
    """
    found = {name: np.zeros(len(paid), dtype=np.int64) for name in payer_names(rules)}
    rest = paid.copy()
    for k, rule in enumerate(rules):
        holds = (masks >> np.uint64(k)) & np.uint64(1) == 1
        points = basis_points(rule.share, argument="share")
        offer = rest if points == WHOLE_SHARE else half_even(rest * points, WHOLE_SHARE)
        part = np.where(holds, offer, 0)
        found[rule.payer] += part
        rest -= part
    found[INSURER] += rest
    return found
