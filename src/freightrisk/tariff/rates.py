"""Rates by level: base and relativities, limits by level, and the paid share of freight under limits."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field

import numpy as np

from freightrisk._document import OPTIONAL
from freightrisk._frozen import EqualByContent, FrozenDict
from freightrisk._types import Array
from freightrisk.book.by_level import ByLevel, level_table
from freightrisk.book.codings import Coding, CrossCoding
from freightrisk.errors import InputError
from freightrisk.models.fitted import FittedModel
from freightrisk.models.freight import FittedSchedule
from freightrisk.tariff.aggregate_shares import AggregateShares
from freightrisk.tariff.cover import Cover
from freightrisk.tariff.curves import CURVE_PIECES, Cubics, LimitCurve, cubics_within
from freightrisk.tariff.limits import ranked

LARGEST_RATE = 1e9
LARGEST_PRODUCT = 1e100
"""Largest product of a base and its tables; its inverse is the smallest. No real premium comes near either bound.

A premium multiplies two such products and loadings of at most 1e27. It stays below 1e300, so no double overflows.
"""


@dataclass(frozen=True, eq=False)
class RateTables(EqualByContent):
    """A base, and for each factor the relativity of every slot: levels first, then fallbacks."""

    base: float
    tables: Mapping[str, Array]

    def __post_init__(self) -> None:
        object.__setattr__(self, "tables", FrozenDict(dict(self.tables)))

    @classmethod
    def of(cls, fitted: FittedModel | FittedSchedule) -> "RateTables":
        """Return the base, with the off-balance factor, and the relativities of a fitted model."""
        balance = fitted.off_balance if isinstance(fitted, FittedModel) else 1.0
        return cls(fitted.base * balance, {name: np.exp(table) for name, table in fitted.tables.items()})


@dataclass(frozen=True, eq=False)
class CoverCurves(EqualByContent):
    """The curves from expected claims and freight to the claims and the freight that a cover pays.

    Parameters
    ----------
    count_curve : float64 array, shape (pieces, 4)
        Paid claims by claim intensity, see `freightrisk.tariff.curves`; empty for a cover without a maximum.
    limit_curve : LimitCurve, optional
        Share of the mean freight under a limit; None for a cover without a limit.
    shares : dict of str to float64 array
        Tables of the share of a claim's mean freight under the limits. They replace the limit curve if the severity is
        a freight schedule.
    lines : str, optional
        Factor that counts the lines of an order. It selects the claim-count curve.
    aggregate : AggregateShares, optional
        Share of each merchant's payouts under the aggregate limit; None for a cover without one.

    Attributes
    ----------
    made_for : Cover or None
        Cover of the first tariff with these curves, None for new curves. `dataclasses.replace(tariff, cover=...)` keeps
        the curves and so their cover, and `check_made_for` compares it with the new cover. Documents do not have it.
    """

    count_curve: Cubics
    limit_curve: LimitCurve | None = None
    shares: Mapping[str, Array] = field(default_factory=dict)
    lines: str | None = None
    aggregate: AggregateShares | None = field(default=None, metadata=OPTIONAL | {"key": "aggregate_shares"})
    made_for: Cover | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shares", FrozenDict(dict(self.shares)))

    def of_cover(self, cover: Cover) -> "CoverCurves":
        """Return the curves as made for a cover, unless another tariff has made them its own."""
        if self.made_for is not None:
            return self
        curves = copy(self)
        object.__setattr__(curves, "made_for", cover)
        return curves


def limit_table(limit: ByLevel, codings: Mapping[str, Coding]) -> Array:
    """Return the limit in yuan for every slot of the factor of a limit, as `ByLevel` describes it."""
    return level_table(limit, codings, "the cover")


def scheduled_shares(
    severity: FittedSchedule, cover: Cover, codings: Mapping[str, Coding], pairs: list[tuple[str, str]]
) -> tuple[list[tuple[str, str]], dict[str, Array]]:
    """Return the pairs of factors that a schedule needs, and the table of the paid share of the mean freight."""
    if not cover.needs_curve:
        return pairs, {}
    if cover.measures:
        raise InputError(
            f"a limit is a share of column '{cover.measures[0]}', but the severity is a freight schedule, whose payout "
            "is tabulated for amounts that are known in advance; fit the severity with SeverityModel, or give the "
            "limit without share and of."
        )
    crossed: Coding | CrossCoding = severity.cell
    rates = [coding.name for coding in crossed.factors]
    tables = {limit.factor: limit_table(limit, codings) for limit in cover.level_limits}
    for name in tables:
        if name not in rates:
            pairs = [*pairs, (crossed.name, name)]
            crossed = CrossCoding(crossed, codings[name])
            rates.append(name)
    # One cell for each combination of zone, weight and the factors of the limits; the lowest limit of a cell binds.
    sizes = [codings[name].n_slots for name in rates]
    limit = np.full(sizes, cover.flat_limit)
    for by_level in cover.level_limits:
        others = [axis for axis, name in enumerate(rates) if name != by_level.factor]
        limit = np.minimum(limit, np.expand_dims(limit_table(by_level, codings), others))
    # With limits by rule, a cell has an entry for each rule that may decide, and one for orders without a rule.
    if cover.limits:
        by_rule = np.array([*(rule.amount for rule in ranked(cover.limits, cover.choose)), np.inf])
        limit = np.minimum(limit[..., None], by_rule)
    shaped = limit.reshape(severity.zone.n_slots, len(severity.weight_shares), -1)
    # The payment reaches the limit at this amount of the claim (docs/method.md, equation 27b).
    share = severity.paid_share(cover.deductible + shaped / (1.0 - cover.coinsurance))
    if cover.deductible > 0.0:
        share = np.maximum(share - severity.paid_share(np.full((1, 1, 1), cover.deductible)), 0.0)
    return pairs, {crossed.name: share.ravel()}


def check_rates(rates: RateTables, codings: Mapping[str, Coding | CrossCoding], what: str) -> None:
    """Refuse rates outside their range, and tables whose sizes differ from their codings."""
    if not 0.0 < rates.base < LARGEST_RATE:
        raise InputError(f"{what} base is {rates.base}; it must be above zero and below {LARGEST_RATE:g}.")
    for name, table in rates.tables.items():
        if name not in codings:
            raise InputError(f"{what} has a table for '{name}', which is not a factor of the tariff.")
        if np.shape(table) != (codings[name].n_slots,):
            raise InputError(
                f"{what} table '{name}' has {np.size(table)} relativities; "
                f"its factor has {codings[name].n_slots} slots."
            )
        if not np.all((table > 0.0) & (table < LARGEST_RATE)):
            raise InputError(
                f"{what} table '{name}' has a relativity outside its range; relativities must be above zero and below "
                f"{LARGEST_RATE:g}."
            )


def check_shares(shares: Mapping[str, Array], codings: Mapping[str, Coding | CrossCoding], cover: Cover) -> None:
    """Refuse shares outside [0, 1], and tables whose sizes differ from their codings and the cover's limits by rule."""
    choices = len(cover.limits) + 1 if cover.limits else 1
    for name, table in shares.items():
        if name not in codings:
            raise InputError(f"shares has a table for '{name}', which is not a factor of the tariff.")
        slots = codings[name].n_slots * choices
        if np.shape(table) != (slots,):
            raise InputError(f"shares table '{name}' has {np.size(table)} entries; its factor and limits need {slots}.")
        if not np.all((table >= 0.0) & (table <= 1.0)):
            raise InputError(f"shares table '{name}' has an entry outside [0, 1]; build the tariff again.")


def check_aggregate(shares: AggregateShares | None, cover: Cover) -> None:
    """Refuse shares under another limit than the cover's, and a limit by order, which no share by merchant prices."""
    if cover.aggregate is not None and cover.aggregate.by == "order":
        raise InputError(
            "the cover has an aggregate limit by order, which a tariff does not price; multiply its payouts by "
            "freightrisk.aggregates.order_aggregate_shares, or limit the aggregate by merchant. Settlement takes both."
        )
    if (shares is None) != (cover.aggregate is None) or (shares is not None and shares.limit != cover.aggregate):
        found = "no shares" if shares is None else f"shares under {shares.limit}"
        raise InputError(
            f"the aggregate limit of the cover is {cover.aggregate}, but the tariff has {found}; give both: "
            "Cover(aggregate=limit) and aggregate_shares=AggregateShares.of(merchants, limit, ...)."
        )


def check_products(what: str, base: float, tables: Mapping[str, Array]) -> None:
    """Refuse tables whose products of relativities leave the range in which pricing computes.

    The largest product uses only relativities above one, and the smallest only relativities below one. All partial
    products therefore lie between the two.
    """
    # In logs, because the products themselves may overflow.
    logs = {name: np.log10([np.min(table), np.max(table)]) for name, table in tables.items() if len(table)}
    most = max(np.log10(base), 0.0) + sum(max(high, 0.0) for _, high in logs.values())
    least = min(np.log10(base), 0.0) + sum(min(low, 0.0) for low, _ in logs.values())
    bound = np.log10(LARGEST_PRODUCT)
    for size, of, end in ((most, "largest", 1), (-least, "smallest", 0)):
        if size > bound:
            widest = max(logs, key=lambda name: abs(logs[name][end]), default="")
            raise InputError(
                f"{what} base and the {of} relativities of its {len(tables)} tables multiply to about "
                f"1e{'' if end else '-'}{size:.0f}; the product must lie between 1e-{bound:.0f} and 1e{bound:.0f}. "
                f"Look at table '{widest}', whose relativities are the farthest from 1."
            )


def check_curves(curves: Array, ends: Sequence[float], what: str, *, of_lines: bool = False) -> None:
    """Refuse curves that the cover does not use, curves with gaps, and curves that do not run from 1 to their ends.

    The curves of orders with several lines may start below 1.
    """
    if not ends:
        if len(curves):
            raise InputError(f"{what} has {len(curves)} pieces, but the cover has no such limit; it must be empty.")
        return
    if not np.all(np.isfinite(curves)):
        raise InputError(f"{what} is not finite in {int((~np.isfinite(curves)).sum())} places; build the tariff again.")
    pieces = len(curves) // len(ends)
    whole = np.ndim(curves) == 2 and np.shape(curves) == (pieces * len(ends), 4) and pieces in CURVE_PIECES
    for k, end in enumerate(ends):
        curve = curves[k * pieces : (k + 1) * pieces]
        stops = np.append(curve[1:, 0], end) if whole else np.empty(0)
        starts = whole and (0.0 < curve[0, 0] <= 1.0 if of_lines else curve[0, 0] == 1.0)
        joined = starts and np.allclose(curve.sum(axis=1), stops, rtol=1e-9, atol=0.0)
        if not joined or not cubics_within(curve, 2.0 * max(end, 1.0)):
            raise InputError(
                f"{what} is not an unbroken curve from 1 to {end:g} of {', '.join(map(str, CURVE_PIECES))} cubic "
                "pieces; build the tariff again."
            )
