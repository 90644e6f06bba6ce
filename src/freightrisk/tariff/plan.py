"""The parts of a tariff that its documents hold, their checks, and the flat arrays that the kernel reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _core
from freightrisk._frozen import EqualByContent, FrozenDict
from freightrisk.book.factors import Coding, CrossCoding
from freightrisk.errors import InputError
from freightrisk.models.fitted import FittedModel
from freightrisk.models.freight import FittedSchedule
from freightrisk.tariff.cover import CURVE_PIECES, NO_LIMIT, ByLevel, Cover
from freightrisk.tariff.subsidy import group_numbers

if TYPE_CHECKING:
    from freightrisk.tariff.tariff import Tariff

Array = NDArray[np.float64]

UNLIMITED = 2**31 - 1
FUSED_CELLS = 2**11  # tables of so many products stay in the first cache beside a block of rows
LARGEST_RATE = 1e9


@dataclass(frozen=True, eq=False)
class RateTables(EqualByContent):
    """A base and, for each factor, the relativity of every slot: levels first, then fallbacks."""

    base: float
    tables: Mapping[str, Array]

    def __post_init__(self) -> None:
        object.__setattr__(self, "tables", FrozenDict(dict(self.tables)))

    @classmethod
    def of(cls, fitted: FittedModel | FittedSchedule) -> "RateTables":
        """Return the base and relativities of a fitted model."""
        return cls(fitted.base, {name: np.exp(table) for name, table in fitted.tables.items()})


def limit_table(limit: ByLevel, codings: Mapping[str, Coding]) -> Array:
    """Return the limit of every slot of its factor, yuan."""
    if limit.factor not in codings:
        raise InputError(
            f"the cover limits by factor '{limit.factor}', which no model rates; the factors are {', '.join(codings)}."
        )
    coding = codings[limit.factor]
    unknown = [level for level in limit.values if level not in coding.labels]
    if unknown:
        raise InputError(
            f"the cover names level '{unknown[0]}' of factor '{limit.factor}'; "
            f"its levels are {', '.join(coding.labels)}."
        )
    absent = [label for label in coding.labels if label not in limit.values]
    if absent and limit.default is None:
        raise InputError(
            f"the cover has no amount for {len(absent)} level(s) of factor '{limit.factor}' (first: '{absent[0]}'); "
            "list them or give a default."
        )
    rest = max(limit.values.values()) if limit.default is None else limit.default
    return np.array([limit.values.get(coding.slot_label(code), rest) for code in range(coding.n_slots)])


def plan_arguments(tariff: "Tariff") -> dict[str, Any]:
    """Return the arguments of `_core.PricePlan` for a tariff."""
    experience = {} if tariff.experience is None else tariff.experience.tables
    place = {name: k for k, name in enumerate([*tariff.tabled, *experience])}
    loads, rules = tariff.loadings, tariff.subsidies
    gates = {len(place) + k: gate.masks for k, gate in enumerate(tariff.gates)}
    # Where shares say what is paid under the limits, the limits themselves have been used.
    by_level = () if tariff.shares else tariff.cover.limits
    limits = [(place[limit.factor], limit_table(limit, tariff.codings)) for limit in by_level]
    known = [coding.n_levels for coding in tariff.tabled.values()]
    known += [] if tariff.experience is None else tariff.experience.known
    known += [gate.n_slots for gate in tariff.gates]
    rates = {"frequency": {**tariff.frequency.tables, **experience}, "severity": tariff.severity.tables}
    by_column = {what: {place[name]: t for name, t in rates[what].items()} for what in rates} | {"mask": gates}
    fused, tables = _fuse(by_column, len(known))
    return {
        "frequency_base": tariff.frequency.base,
        "severity_base": tariff.severity.base,
        "limit": tariff.cover.flat_limit,
        **_flat("frequency", list(tables["frequency"].items()), np.float64),
        **_flat("severity", list(tables["severity"].items()), np.float64),
        **_paired(tables["frequency"], tables["severity"]),
        **fused,
        **_flat("share", [(place[name], table) for name, table in tariff.shares.items()], np.float64),
        **_flat("limit", limits, np.float64),
        **_flat("mask", list(tables["mask"].items()), np.uint64),
        "known": np.array(known, dtype=np.int64),
        "count_curve": tariff.count_curve,
        "count_column": -1 if tariff.lines is None else place[tariff.lines],
        "count_curves": 1 if tariff.lines is None else tariff.codings[tariff.lines].n_slots,
        **(NO_LIMIT if tariff.limit_curve is None else tariff.limit_curve.plan()),
        **{
            name: getattr(loads, name)
            for name in ("fraud_load", "claim_handling", "policy_cost", "retained", "filed_factor")
        },
        "filed_min_micro": float(loads.filed_min_micro),
        "filed_max_micro": float(loads.filed_max_micro),
        "floor_fen": tariff.floor_fen,
        "rounding": _core.ROUNDING_MODES[tariff.rounding],
        "rule_kind": np.array([_core.RULE_KINDS[rule.kind] for rule in rules], dtype=np.int32),
        "rule_amount": np.array([rule.amount for rule in rules], dtype=np.int64),
        "rule_cap": np.array([UNLIMITED if rule.cap_fen is None else rule.cap_fen for rule in rules], dtype=np.int32),
        "rule_payer": np.array([tariff.payers.index(rule.payer) for rule in rules], dtype=np.int32),
        "rule_group": np.array(group_numbers(rules), dtype=np.int32),
        "rule_limited": np.array([rule.is_limited for rule in rules], dtype=np.uint8),
    }


def scheduled_shares(
    severity: FittedSchedule, cover: Cover, codings: Mapping[str, Coding], pairs: list[tuple[str, str]]
) -> tuple[list[tuple[str, str]], dict[str, Array]]:
    """Return the table of what the cover's limits leave of a schedule's mean freight, and the pairs that it needs."""
    if not cover.is_limited:
        return pairs, {}
    crossed: Coding | CrossCoding = severity.cell
    rates = [coding.name for coding in crossed.factors]
    tables = {limit.factor: limit_table(limit, codings) for limit in cover.limits}
    for name in tables:
        if name not in rates:
            pairs = [*pairs, (crossed.name, name)]
            crossed = CrossCoding(crossed, codings[name])
            rates.append(name)
    sizes = [codings[name].n_slots for name in rates]
    limit = np.full(sizes, cover.flat_limit)
    for by_level in cover.limits:
        others = [axis for axis, name in enumerate(rates) if name != by_level.factor]
        limit = np.minimum(limit, np.expand_dims(limit_table(by_level, codings), others))
    shaped = limit.reshape(severity.zone.n_slots, len(severity.weight_shares), -1)
    return pairs, {crossed.name: severity.paid_share(shaped).ravel()}


def _fuse(
    tables: Mapping[str, Mapping[int, NDArray[Any]]], n_columns: int
) -> tuple[dict[str, NDArray[np.int32]], dict[str, dict[int, NDArray[Any]]]]:
    """Return columns to be fused from two others, and the tables over these columns and those that stay.

    Columns that the same models read are taken together, largest first, each by the first fused column in which it
    leaves no more than FUSED_CELLS products: fewer tables to gather from, for the same premium. Of masks a product is
    what both allow. Columns that several models read come first in each.
    """
    steps: list[tuple[int, int, int]] = []
    found: dict[str, dict[int, NDArray[Any]]] = {what: {} for what in tables}
    readers: dict[tuple[str, ...], list[int]] = {}
    for column in sorted({column for table in tables.values() for column in table}):
        readers.setdefault(tuple(what for what in tables if column in tables[what]), []).append(column)
    for models, columns in sorted(readers.items(), key=lambda item: -len(item[0])):
        size = {column: len(tables[models[0]][column]) for column in columns}
        bins: list[tuple[int, dict[str, NDArray[Any]]]] = []
        for column in sorted(columns, key=lambda column: -size[column]):
            mine = {what: tables[what][column] for what in models}
            for k, (other, products) in enumerate(bins):
                if len(products[models[0]]) * size[column] <= FUSED_CELLS:
                    steps.append((other, column, size[column]))
                    product = {what: _products(products[what], mine[what]) for what in models}
                    bins[k] = (n_columns + len(steps) - 1, product)
                    break
            else:
                bins.append((column, mine))
        for column, products in bins:
            for what, table in products.items():
                found[what][column] = table
    first, second, width = np.array(steps, dtype=np.int32).reshape(-1, 3).T.copy()
    return {"fused_first": first, "fused_second": second, "fused_width": width}, found


def _products(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    combine = np.bitwise_and if first.dtype == np.uint64 else np.multiply
    return np.asarray(combine.outer(first, second).ravel())


def _paired(frequency: Mapping[int, Array], severity: Mapping[int, Array]) -> dict[str, NDArray[Any]]:
    """Return the tables of the columns that both models read, the first ones of each, as pairs of relativities."""
    pairs = [
        np.stack([table, severity[column]], axis=1).ravel() for column, table in frequency.items() if column in severity
    ]
    starts = np.cumsum([0, *map(len, pairs)])[:-1]
    return {"pair_offsets": starts.astype(np.int64), "pair_tables": np.concatenate([*pairs, np.empty(0)])}


def _flat(what: str, tables: Sequence[tuple[int, NDArray[Any]]], dtype: type) -> dict[str, NDArray[Any]]:
    lengths = [len(table) for _, table in tables]
    return {
        f"{what}_columns": np.array([column for column, _ in tables], dtype=np.int32),
        f"{what}_offsets": np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
        if tables
        else np.empty(0, np.int64),
        f"{what}_tables": np.concatenate([table for _, table in tables]).astype(dtype)
        if tables
        else np.empty(0, dtype),
    }


def check_rates(rates: RateTables, codings: Mapping[str, Coding | CrossCoding], what: str) -> None:
    """Refuse rates outside their range, and tables that are not of the codings' sizes."""
    if not 0.0 < rates.base < LARGEST_RATE:
        raise InputError(f"{what} base is {rates.base}; it must be above zero and below {LARGEST_RATE:g}.")
    for name, table in rates.tables.items():
        if name not in codings:
            raise InputError(f"{what} has a table for '{name}', which is no factor of the tariff.")
        if np.shape(table) != (codings[name].n_slots,):
            raise InputError(
                f"{what} table '{name}' has {np.size(table)} relativities; "
                f"its factor has {codings[name].n_slots} slots."
            )
        if not np.all((table > 0.0) & (table < LARGEST_RATE)):
            raise InputError(f"{what} table '{name}' has a relativity not above zero and below {LARGEST_RATE:g}.")


def check_curves(curves: Array, ends: Sequence[float], what: str, *, of_lines: bool = False) -> None:
    """Refuse curves that the cover does not call for, do not run from 1 to their ends, or are broken in between.

    Those of orders of several lines may start below 1.
    """
    if not ends:
        if len(curves):
            raise InputError(f"{what} has {len(curves)} pieces, but the cover has no such limit; it must be empty.")
        return
    pieces = len(curves) // len(ends)
    whole = np.ndim(curves) == 2 and np.shape(curves) == (pieces * len(ends), 4) and pieces in CURVE_PIECES
    for k, end in enumerate(ends):
        curve = curves[k * pieces : (k + 1) * pieces]
        stops = np.append(curve[1:, 0], end) if whole else np.empty(0)
        starts = whole and (0.0 < curve[0, 0] <= 1.0 if of_lines else curve[0, 0] == 1.0)
        if not starts or not np.allclose(curve.sum(axis=1), stops, rtol=1e-9, atol=0.0):
            raise InputError(
                f"{what} is no unbroken curve from 1 to {end:g} of {', '.join(map(str, CURVE_PIECES))} cubic pieces; "
                "build the tariff again."
            )
