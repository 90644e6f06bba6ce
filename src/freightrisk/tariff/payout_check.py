"""The payout curve of a fitted family beside the limited means of the claims that it was fitted to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from freightrisk import _check
from freightrisk._types import Array
from freightrisk.book.codings import Coding, CrossCoding
from freightrisk.models.fitted import FittedModel
from freightrisk.models.limited_means import RATIOS, family_test
from freightrisk.tariff.cover import Cover
from freightrisk.tariff.rates import limit_table

SMALLEST = 0.005  # of the payout; a smaller difference is less than other errors of a tariff
UNLIKELY = 1e-3  # a family is doubted if its own claims would be as far away as rarely as this
ERRORS = 2.0  # a difference of fewer standard errors has no known direction


@dataclass(frozen=True)
class PayoutCheck:
    """How far the payout of a family's curve is from the payout by the claims' own limited means.

    Parameters
    ----------
    difference : float
        Payout of the curve over payout by own limited means, less 1, under the limits of a cover.
    std_error : float
    distance : float
        Average size of the difference at the limits of single claims, over the average payout.
    p_value : float
        Chance of such own limited means, if the family is right.
    n_claims : int
    lowest, highest : (float, float)
        Limit over mean, and the difference there, where the curve pays least and most beside own limited means.
    """

    difference: float
    std_error: float
    distance: float
    p_value: float
    n_claims: int
    lowest: tuple[float, float]
    highest: tuple[float, float]

    @property
    def is_doubtful(self) -> bool:
        """Return whether the family is wrong and its curve moves the payout by an amount that matters."""
        matters = self.distance > max(SMALLEST, ERRORS * self.std_error)
        return bool(self.p_value < UNLIKELY and matters)

    @property
    def provenance(self) -> dict[str, float]:
        """Return what a tariff records of the check."""
        return {
            "difference": self.difference, "std_error": self.std_error, "distance": self.distance,
            "p_value": self.p_value, "claims": float(self.n_claims),
        }  # fmt: skip


def warn_of_shape(family: str, check: PayoutCheck | None) -> None:
    """Warn if a check finds that a family prices the payout under a limit clearly too low or too high."""
    if check is None or not check.is_doubtful:
        return
    (low, under), (high, over) = check.lowest, check.highest
    spread = (
        ""
        if low == high
        else (
            f" The difference runs from {_percent(under)} at a limit of {low:.2g} times the mean freight to "
            f"{_percent(over)} at {high:.2g} times."
        )
    )
    _check.warn(
        f"severity: the {family} curve pays {_percent(check.difference)} under the limits of this cover than the "
        f"ratios of {check.n_claims:,} claims to their means do (standard error {check.std_error:.1%}).{spread} "
        f"Amounts are not {family} around their means; give their own shape: Tariff.build(..., "
        "shape=EmpiricalShape.fit(severity, book)), from freightrisk.shapes."
    )


def _percent(difference: float) -> str:
    return f"{abs(difference):.1%} {'less' if difference < 0 else 'more'}"


def payout_check(
    frequency: FittedModel, severity: FittedModel, cover: Cover, codings: Mapping[str, Coding]
) -> PayoutCheck | None:
    """Return the check of a severity's own curve under the limits of a cover, None if nothing can be compared.

    Parameters
    ----------
    frequency, severity : FittedModel
    cover : Cover
    codings : dict of str to Coding
        Codings of the tariff's factors.

    Notes
    -----
    A claim's limit over its mean is taken for each tenth of the fitted means, and for each level of the factors of the
    limits. Levels have their share of claims and their average freight. Factors count as independent of each other.
    """
    test, known = family_test(severity), severity.statistics.limited_means
    if test is None or known is None:
        return None
    limit, freight, share = np.array([cover.flat_limit]), np.ones(1), np.ones(1)
    for factor in dict.fromkeys(by_level.factor for by_level in cover.limits):
        tables = [limit_table(by_level, codings) for by_level in cover.limits if by_level.factor == factor]
        most, mean, part = _levels((severity, frequency), factor, np.minimum.reduce(tables))
        limit = np.minimum.outer(limit, most).ravel()
        freight, share = np.multiply.outer(freight, mean).ravel(), np.multiply.outer(share, part).ravel()
    means = np.multiply.outer(freight, known.freight).ravel()
    ratio = np.clip(np.repeat(limit, len(known.freight)) / means, RATIOS[0], RATIOS[-1])
    weight = np.repeat(share, len(known.freight)) * means
    own, curve, error = (np.interp(ratio, RATIOS, values) for values in (test.own, test.curve, test.std_errors))
    relative = curve / own - 1.0
    paid = float(weight @ own)
    least, largest = int(relative.argmin()), int(relative.argmax())
    return PayoutCheck(
        difference=float(weight @ (curve - own)) / paid,
        std_error=float(weight @ error) / paid,  # as if the errors at all ratios were one error
        distance=float(weight @ np.abs(curve - own)) / paid,
        p_value=test.p_value,
        n_claims=known.n_claims,
        lowest=(float(ratio[least]), float(relative[least])),
        highest=(float(ratio[largest]), float(relative[largest])),
    )


def _levels(models: Sequence[FittedModel], factor: str, limit: Array) -> tuple[Array, Array, Array]:
    """Return limit, freight beside the average, and share of claims of a factor's levels; equal levels are one."""
    claims, amount = next(filter(None, (_sums(fitted, factor) for fitted in models)), (np.ones(len(limit)),) * 2)
    some = claims > 0
    share = claims[some] / claims.sum()
    mean = np.ones(len(share))
    if amount.any():
        mean = np.exp(np.log(amount[some] / claims[some] * claims.sum() / amount.sum()).round(1))
    groups, place = np.unique(np.stack([limit[some], mean]), axis=1, return_inverse=True)
    return groups[0], groups[1], np.bincount(place.ravel(), share).astype(np.float64)


def _sums(fitted: FittedModel, factor: str) -> tuple[Array, Array] | None:
    """Return claims and freight of a fit's rows by slot of a factor, None if the fit does not have the factor."""
    for effect in fitted.fitted_effects.values():
        coding, sums = effect.coding, (effect.claims.astype(np.float64), effect.amount)
        if coding.name == factor:
            return sums
        if isinstance(coding, CrossCoding):
            for axis, one in enumerate((coding.first, coding.second)):
                if one.name == factor:
                    sizes = (coding.first.n_slots, coding.second.n_slots)
                    claims, amount = (column.reshape(sizes).sum(axis=1 - axis) for column in sums)
                    return claims, amount
    return None
