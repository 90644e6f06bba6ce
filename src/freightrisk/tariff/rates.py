"""Rates by level: base and relativities, limits by level, and the paid share of freight under limits."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field

import numpy as np

from freightrisk._document import OPTIONAL
from freightrisk._frozen import EqualByContent, FrozenDict
from freightrisk._shown import counted, first_of
from freightrisk._types import Array
from freightrisk.book.codings import Coding, CrossCoding
from freightrisk.book.factors import Path
from freightrisk.errors import InputError
from freightrisk.models.fitted import FittedModel
from freightrisk.models.freight import FittedSchedule
from freightrisk.tariff.aggregate_shares import AggregateShares
from freightrisk.tariff.cover import ByLevel, Cover
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
    if limit.factor not in codings:
        raise InputError(
            f"the cover limits by factor '{limit.factor}', which no model rates; the factors are "
            f"{', '.join(codings) or 'none'}."
        )
    coding = codings[limit.factor]
    nodes = {path_label(node): node for node in coding.nodes if node}
    given = {node: limit.values[label] for label, node in nodes.items() if label in limit.values}
    levels = [
        limit.values[label] if label in limit.values else _of_nearest(path, given)
        for label, path in zip(coding.labels, coding.paths, strict=True)
    ]
    pools = _pooled(coding)
    absent = [label for label, amount in zip(coding.labels, levels, strict=True) if amount is None]
    unknown = [level for level in limit.values if level not in coding.labels and level not in nodes]
    if absent and limit.default is None:
        _refuse_unknown(limit, coding, [level for level in unknown if level not in pools][:1])
        raise InputError(
            f"the cover has no amount for {counted(len(absent), 'level')} of factor '{limit.factor}' (first: "
            f"'{absent[0]}'); list them{' or their parents,' if nodes else ''} or give a default."
        )
    known = [limit.default if amount is None else amount for amount in levels]
    below = (np.array(known, dtype=np.float64)[members] for members in coding.members)
    rest = [_fallback(limit, node, given, amounts) for node, amounts in zip(coding.nodes, below, strict=True)]
    unseen = dict(zip(coding.nodes, rest, strict=True))
    wrong = [level for level in unknown if limit.values[level] != _unseen(level, unseen)[1]]
    wrong = [level for level in wrong if level not in pools or limit.values[level] != known[pools[level]]]
    rare = next((level for level in wrong if level in pools), None)
    if rare is not None:
        pool = coding.labels[pools[rare]]
        raise InputError(
            f"the cover names level '{rare}' of factor '{limit.factor}', which the book pools into '{pool}' with limit "
            f"{known[pools[rare]]:g}; give '{pool}' the amount, use a Limit with where= in place of the level, or "
            "lower min_claims and min_exposure of the factor."
        )
    _refuse_unknown(limit, coding, wrong, unseen)
    return np.array([*known, *rest], dtype=np.float64)


def _pooled(coding: Coding) -> dict[str, int]:
    """Return the rare levels of a book by name, and the code of the level into which each is pooled."""
    return {path_label(path): code for path, code in coding.lookup.items() if coding.paths[code] != path}


def _unseen(level: str, amounts: Mapping[Path, float]) -> tuple[str, float]:
    """Return the nearest known parent of a level that the book never had, and the amount of its unseen levels."""
    parents = {path_label(node): amount for node, amount in amounts.items()}
    parts = level.split(" > ")
    name = next(name for k in range(len(parts), -1, -1) if (name := " > ".join(parts[:k])) in parents)
    return name, parents[name]


def _refuse_unknown(
    limit: ByLevel, coding: Coding, unknown: list[str], amounts: Mapping[Path, float] | None = None
) -> None:
    """Refuse levels that the book never had, whose amount is not the amount of the unseen levels of their parent."""
    if not unknown:
        return
    nodes = [path_label(node) for node in coding.nodes if node]
    parents = f"; parents of levels are {first_of(nodes)}" if nodes else ""
    rule = ""
    if amounts is not None:
        name, amount = _unseen(unknown[0], amounts)
        below = f" below '{name}'" if name else ""
        cure = f"give '{name}'" if name else "give default="
        rule = (
            f" If the book never had this level, the tariff prices it like every other unseen level{below}, and their "
            f"limit is {amount:g}: leave the level out, or {cure} its amount."
        )
    raise InputError(
        f"the cover names level '{unknown[0]}' of factor '{limit.factor}'; its levels are "
        f"{first_of(coding.labels)}{parents}.{rule}"
    )


def path_label(node: Path) -> str:
    """Return the name of an inner node, spelled as the names of the levels below it begin."""
    return " > ".join(map(str, node))


def _of_nearest(path: Path, given: Mapping[Path, float]) -> float | None:
    """Return the amount given for the deepest node on a path, None if there is none."""
    return next((given[path[:depth]] for depth in range(len(path), 0, -1) if path[:depth] in given), None)


def _fallback(limit: ByLevel, node: Path, given: Mapping[Path, float], levels: Array) -> float:
    """Return the amount of the unseen levels of a node: the node's own, its levels' common one, the default, the most.

    The largest amount is the cautious one: it does not price an unseen level too low.
    """
    own = _of_nearest(node, given)
    if own is not None:
        return own
    if limit.default is not None and not (node and len(levels) and levels.min() == levels.max()):
        return limit.default
    return float(levels.max()) if len(levels) else max(limit.values.values())


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
