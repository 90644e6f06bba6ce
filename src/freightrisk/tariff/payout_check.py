"""The payout curve of a fitted family beside the limited means of the claims that it was fitted to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from freightrisk import _check
from freightrisk._types import Array
from freightrisk.book.codings import Coding, CrossCoding
from freightrisk.models.fitted import FittedModel
from freightrisk.models.fitted_effect import LimitedMeans
from freightrisk.models.limited_means import RATIOS, family_test
from freightrisk.tariff.cover import Cover
from freightrisk.tariff.rates import limit_table

SMALLEST = 0.005  # of the payout; a smaller difference is less than other errors of a tariff
UNLIKELY = 1e-3  # a family is doubted if its own claims would be as far away as rarely as this
ERRORS = 2.0  # a difference of fewer standard errors has no known direction
TENTHS = 10


@dataclass(frozen=True)
class PayoutCheck:
    """What a tariff expects of the claims of its severity under the limits of a cover, beside what these claims leave.

    Parameters
    ----------
    limits : (float, float), yuan
        Smallest and largest limit.
    expected, paid : float, yuan a claim
        Payout by the curve of the family at the fitted means, and payout of the claims themselves.
    of_shape : float
        Their difference over `paid`, without the part that follows from the groups' means, which are not a family's.
    std_error : float
        Standard error of `of_shape`, if the family is right.
    distance : float
        Average size of the same difference over tenths of the claims by limit over mean, over `paid`.
    distance_error : float
        The same average of the standard errors of the tenths.
    p_value : float
        Chance of such limited means, if the family is right.
    n_claims : int
    lowest, highest : (float, float)
        Limit over mean, and difference, of the tenth where the curve pays least and most beside the claims.
    """

    limits: tuple[float, float]
    expected: float
    paid: float
    of_shape: float
    std_error: float
    distance: float
    distance_error: float
    p_value: float
    n_claims: int
    lowest: tuple[float, float]
    highest: tuple[float, float]

    @property
    def difference(self) -> float:
        """Return expected over paid, less 1."""
        return self.expected / self.paid - 1.0

    @property
    def is_doubtful(self) -> bool:
        """Return whether the family is wrong and its curve moves the payout by an amount that matters."""
        total = abs(self.of_shape) > max(SMALLEST, ERRORS * self.std_error)
        tenths = self.distance > max(SMALLEST, ERRORS * self.distance_error)
        return bool(self.p_value < UNLIKELY and (total or tenths))

    @property
    def provenance(self) -> dict[str, float]:
        """Return what a tariff records of the check."""
        return {
            "lowest_limit": self.limits[0], "highest_limit": self.limits[1],
            "expected": self.expected, "paid": self.paid,
            "difference": self.difference, "of_shape": self.of_shape, "std_error": self.std_error,
            "distance": self.distance, "p_value": self.p_value, "claims": float(self.n_claims),
        }  # fmt: skip


OWN_SHAPE = "Tariff.build(..., shape=EmpiricalShape.fit(severity, book))"


def warn_of_shape(family: str, check: PayoutCheck | None, *, cure: str = OWN_SHAPE) -> None:
    """Warn if a check finds that a family prices the payout under a limit clearly too low or too high."""
    if check is None or not check.is_doubtful:
        return
    (low, under), (high, over) = check.lowest, check.highest
    spread = (
        ""
        if low == high
        else (
            f" By tenths of the claims, the difference runs from {_percent(under)} at a limit of {low:.2g} times the "
            f"mean freight to {_percent(over)} at {high:.2g} times."
        )
    )
    least, most = (f"{limit:.4g}" for limit in check.limits)
    limits = f"a limit of {least}" if least == most else f"limits of {least} to {most}"
    _check.warn(
        f"severity: the {family} curve pays {_percent(check.difference)} under {limits} yuan than the claims that the "
        f"severity was fitted to: {check.expected:.4g} yuan a claim instead of {check.paid:.4g} "
        f"({check.n_claims:,} claims, standard error {check.std_error:.2%}).{spread} Amounts are not {family} around "
        f"their means; give their own shape: {cure}, from freightrisk.shapes."
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
    A flat limit is compared with the claims themselves, group by group of the fitted means. For limits by level, each
    level has its share of claims and its average freight, and takes the limited means of the group whose fitted mean is
    nearest. Factors count as independent of each other. The shares of orders under limits by rule are not known, so
    the limits are compared one after another, each as if all orders had it. The result is the doubtful comparison with
    the largest difference, or the first one.
    """
    if cover.limits:
        amounts = dict.fromkeys(rule.amount for rule in cover.limits if rule.amount > 0.0 and rule.share is None)
        covers = [replace(cover, limits=(), limit=amount, first_weight_fee=None) for amount in amounts]
        if cover.limit is not None or cover.first_weight_fee is not None:
            covers.insert(0, replace(cover, limits=()))
        checks = [payout_check(frequency, severity, one, codings) for one in covers]
        found = [check for check in checks if check is not None]
        return max(found, key=lambda check: check.is_doubtful * abs(check.difference), default=None)
    if not cover.is_limited:
        return None
    test, known = family_test(severity), severity.statistics.limited_means
    if test is None or known is None:
        return None
    limit, freight, share = np.array([cover.flat_limit]), np.ones(1), np.ones(1)
    for factor in dict.fromkeys(by_level.factor for by_level in cover.level_limits):
        tables = [limit_table(by_level, codings) for by_level in cover.level_limits if by_level.factor == factor]
        most, mean, part = _levels((severity, frequency), factor, np.minimum.reduce(tables))
        limit = np.minimum.outer(limit, most).ravel()
        freight, share = np.multiply.outer(freight, mean).ravel(), np.multiply.outer(share, part).ravel()
    means = np.multiply.outer(freight, _within(freight, share, known)).ravel()
    shares = np.multiply.outer(share, known.shares).ravel()
    ratio = np.clip(np.repeat(limit, len(known.shares)) / means, RATIOS[0], RATIOS[-1])
    (paid, gained), (expected, due) = (_of_groups(known, means, ratio, table) for table in (known.paid, known.expected))
    total = float(shares @ (means * paid))
    error, below = (np.interp(ratio, RATIOS, values) for values in (test.std_errors, test.below))
    of_shape = means * (expected - paid - below * (due - gained))
    tenths = _Tenths.of(shares, ratio, means * paid, means * expected, of_shape, means * error)
    return PayoutCheck(
        limits=(float(limit.min()), float(limit.max())),
        expected=float(shares @ (means * expected)),
        paid=total,
        of_shape=float(shares @ of_shape) / total,
        std_error=test.std_error(shares, means, ratio) / total,
        distance=float(np.abs(tenths.of_shape).sum()) / total,
        distance_error=float(tenths.error.sum()) / total,
        p_value=test.p_value,
        n_claims=known.n_claims,
        lowest=tenths.at(int(tenths.difference.argmin())),
        highest=tenths.at(int(tenths.difference.argmax())),
    )


def _within(freight: Array, share: Array, known: LimitedMeans) -> Array:
    """Return the mean freight of the groups of one level, beside the level's average.

    Means spread over all levels as they do in the book. Levels explain a part of this spread, and the groups of one
    level have the rest.
    """
    groups, shares = np.log(known.freight), np.array(known.shares)
    between, every = _spread(np.log(freight), share), _spread(groups, shares)
    left = np.sqrt(max(every - between, 0.0) / every) if every > 0.0 else 1.0
    means = np.exp(left * groups)
    return np.asarray(means * (float(shares @ np.array(known.freight)) / float(shares @ means)))


def _spread(values: Array, share: Array) -> float:
    away = values - share @ values
    return float(share @ (away * away))


def _of_groups(
    known: LimitedMeans, means: Array, ratio: Array, table: Sequence[Sequence[float]]
) -> tuple[Array, Array]:
    """Return the value at each ratio, and at the highest, from the table of the group whose fitted mean is nearest."""
    freight = np.array(known.freight)
    group = np.searchsorted(np.sqrt(freight[1:] * freight[:-1]), means)
    found = np.empty(len(means))
    for one, values in enumerate(table):
        found[group == one] = np.interp(ratio[group == one], RATIOS, values)
    return found, np.array([values[-1] for values in table])[group]


@dataclass(frozen=True, eq=False)
class _Tenths:
    """Tenths of the claims by limit over mean: the payouts, the standard errors and the average ratio of each."""

    paid: Array
    expected: Array
    of_shape: Array
    error: Array
    ratio: Array

    @classmethod
    def of(cls, share: Array, ratio: Array, *payouts: Array) -> "_Tenths":
        order = np.argsort(ratio, kind="stable")
        middle = np.cumsum(share[order]) - share[order] / 2.0
        tenth = np.unique((TENTHS * middle / share.sum()).astype(int), return_inverse=True)[1]
        columns = [(share * value)[order] for value in (ratio, *payouts)]
        part = np.bincount(tenth, share[order]).astype(np.float64)
        of_ratio, paid, expected, of_shape, error = (
            np.bincount(tenth, column).astype(np.float64) for column in columns
        )
        return cls(paid, expected, of_shape, error / np.sqrt(part), of_ratio / part)

    @property
    def difference(self) -> Array:
        return self.expected / self.paid - 1.0

    def at(self, place: int) -> tuple[float, float]:
        return float(self.ratio[place]), float(self.difference[place])


def _levels(models: Sequence[FittedModel], factor: str, limit: Array) -> tuple[Array, Array, Array]:
    """Return limit, freight beside the average, and share of claims of a factor's levels; equal levels are one."""
    claims, amount = next(filter(None, (_sums(fitted, factor) for fitted in models)), (np.ones(len(limit)),) * 2)
    some = claims > 0
    share = claims[some] / claims.sum()
    mean = np.ones(len(share))
    if amount.any():
        mean = np.exp(np.log(amount[some] / claims[some] * claims.sum() / amount.sum()).round(2))
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
