"""The compiled tariff: the flat arrays and numbers that the pricing kernel and its slow twin read."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _plan
from freightrisk._types import Array
from freightrisk.book.by_level import ByLevel
from freightrisk.tariff.aggregate_codes import AGGREGATE
from freightrisk.tariff.conditions import CONTROLS, COVER
from freightrisk.tariff.curves import NO_LIMIT
from freightrisk.tariff.limits import limit_arguments
from freightrisk.tariff.rates import RateTables, limit_table
from freightrisk.tariff.record import TariffRecord
from freightrisk.tariff.subsidy import group_numbers

LOADS = ("claim_handling", "policy_cost", "retained")
UNLIMITED = 2**31 - 1
FUSED_CELLS = 2**11  # a table of this many products fits into the first-level cache beside a block of rows


PARTS: dict[str, Callable[..., Any]] = {
    "frequency": _plan.TableSet,
    "severity": _plan.TableSet,
    "shares": _plan.TableSet,
    "limits": _plan.TableSet,
    "masks": _plan.MaskSet,
    "pairs": _plan.TableSet,
    "fused": _plan.FusedColumns,
    "count_curve": _plan.CountPieces,
    "limit_curve": _plan.LimitPieces,
    "limit_rules": _plan.LimitRules,
    "controls": _plan.Controls,
    "payout_terms": _plan.PayoutTerms,
    "loads": _plan.Loads,
    "with_fraud": _plan.TableSet,
    "filed_factor": _plan.TableSet,
    "rules": _plan.Rules,
}


def price_plan(arguments: Mapping[str, Any]) -> _plan.PricePlan:
    """Return the plan of the kernel from the arguments that `plan_arguments` returns."""
    return _plan.PricePlan(**_parts(arguments))


def _parts(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments whose mappings are replaced by the kernel's objects, the innermost first."""
    return {name: PARTS[name](**_parts(value)) if name in PARTS else value for name, value in arguments.items()}


def plan_arguments(tariff: TariffRecord) -> dict[str, Any]:
    """Return the arguments of `_plan.PricePlan` for a tariff; the arguments of its parts are mappings."""
    experience = {} if tariff.experience is None else tariff.experience.tables
    limited = {} if tariff.aggregate is None else {AGGREGATE: tariff.aggregate.table}
    place = {name: k for k, name in enumerate([*tariff.tabled, *experience, *limited])}
    cover, gates = tariff.cover, {len(place) + k: gate.masks for k, gate in enumerate(tariff._gates)}
    by_level = () if tariff.shares else cover.level_limits  # shares already contain the limits
    limits = [(place[limit.factor], limit_table(limit, tariff.codings)) for limit in by_level]
    known = [coding.n_levels for coding in tariff.tabled.values()]
    known += [] if tariff.experience is None else tariff.experience.known
    known += [*map(len, limited.values()), *(gate.n_slots for gate in tariff._gates)]
    frequency = RateTables(tariff.frequency.base, {**tariff.frequency.tables, **experience})
    rates = {"frequency": frequency, "severity": tariff.severity}
    by_column: dict[str, dict[int, NDArray[Any]]] = {
        what: {place[name]: table for name, table in rates[what].tables.items()} for what in rates
    }
    for what, rules in (("mask", "subsidies"), ("limit", "limits")):
        by_column[what] = {column: masks[rules] for column, masks in gates.items() if rules in masks}
    shares = [(place[name], table) for name, table in tariff.shares.items()]
    whole = [(place[name], table) for name, table in limited.items()] + _eligibility(gates)
    fused, tables = _fuse(by_column, len(known))
    return {
        "sizes": np.array(list(tariff.sizes.values()), dtype=np.int64),
        "known": np.array(known, dtype=np.int64),
        "frequency": {"base": tariff.intensity_base, **_flat(tables["frequency"].items())},
        "severity": {"base": tariff.severity.base, **_flat(tables["severity"].items())},
        "shares": {"base": 1.0, **_flat(([] if cover.limits else shares) + whole)},
        "limits": {"base": cover.flat_limit, **_flat(limits)},
        "masks": _flat(tables["mask"].items(), np.uint64),
        "pairs": {"base": 1.0, **_flat(_paired(tables["frequency"], tables["severity"]))},
        "fused": fused,
        "count_curve": _counts(tariff, place),
        "controls": _controls(tariff, gates),
        **_payout(tariff, _flat(tables["limit"].items(), np.uint64), shares),
        "loads": _loads(tariff, place),
        "rules": _rules(tariff),
        "rounding": _plan.ROUNDING_MODES[tariff.rounding],
        "floor_fen": tariff.floor_fen,
    }


def _payout(tariff: TariffRecord, masks: dict[str, Any], shares: list[tuple[int, Array]]) -> dict[str, Any]:
    """Return the arguments that decide the payout of a claim beside its curve."""
    cover = tariff.cover
    return {
        "limit_curve": NO_LIMIT if tariff.limit_curve is None else tariff.limit_curve.plan(),
        "limit_rules": {
            **limit_arguments(cover.limits, cover.choose, tariff.measures),
            "masks": masks,
            "shares": {"base": 1.0, **_flat(shares if cover.limits else [])},
        },
        "payout_terms": {
            "kept": 1.0 - cover.coinsurance,
            "deductible": 0.0 if tariff.shares else cover.deductible,  # shares already contain it
            "measure": -1 if cover.amount_of is None else tariff.measures.index(cover.amount_of),
        },
    }


def _loads(tariff: TariffRecord, place: Mapping[str, int]) -> dict[str, Any]:
    """Return the arguments of `_plan.Loads`. A load by level is a table on the code column of its factor."""
    loads = tariff.loadings
    fraud, factor = loads.fraud_load, loads.filed_factor
    by_level = loads.tables(tariff.codings).items()
    tables = {name: [(place[loads.by_level[name].factor], table)] for name, table in by_level}
    return {
        "with_fraud": {
            "base": 1.0 if isinstance(fraud, ByLevel) else 1.0 + fraud,
            **_flat((column, 1.0 + table) for column, table in tables.get("fraud_load", [])),
        },
        "filed_factor": {
            "base": 1.0 if isinstance(factor, ByLevel) else factor,
            **_flat(tables.get("filed_factor", [])),
        },
        **{name: getattr(loads, name) for name in LOADS},
        "filed_min_micro": float(loads.filed_min_micro),
        "filed_max_micro": float(loads.filed_max_micro),
    }


def _eligibility(gates: Mapping[int, Mapping[str, NDArray[Any]]]) -> list[tuple[int, Array]]:
    """Return a table for each column that the cover's conditions read: 1 for levels that are covered, 0 for others."""
    return [(column, masks[COVER].astype(np.float64)) for column, masks in gates.items() if COVER in masks]


def _counts(tariff: TariffRecord, place: Mapping[str, int]) -> dict[str, Any]:
    """Return the arguments of `_plan.CountPieces`."""
    if tariff.lines is None:
        return {"pieces": tariff.count_curve, "curves": 1, "column": -1}
    curves = tariff.codings[tariff.lines].n_slots
    return {"pieces": tariff.count_curve, "curves": curves, "column": place[tariff.lines]}


def _controls(tariff: TariffRecord, gates: Mapping[int, Mapping[str, NDArray[Any]]]) -> dict[str, Any]:
    """Return the arguments of `_plan.Controls`."""
    masks = ((column, tables[CONTROLS]) for column, tables in gates.items() if CONTROLS in tables)
    return {"masks": _flat(masks, np.uint64), "factors": tariff.loss_controls.factors}


def _rules(tariff: TariffRecord) -> dict[str, NDArray[Any]]:
    """Return the arguments of `_plan.Rules`, an entry of each array for each subsidy."""
    rules = tariff.subsidies
    return {
        "kind": np.array([_plan.RULE_KINDS[rule.kind] for rule in rules], dtype=np.int32),
        "amount": np.array([rule.amount for rule in rules], dtype=np.int64),
        "cap": np.array([UNLIMITED if rule.cap_fen is None else rule.cap_fen for rule in rules], dtype=np.int32),
        "payer": np.array([tariff.payers.index(rule.payer) for rule in rules], dtype=np.int32),
        "group": np.array(group_numbers(rules), dtype=np.int32),
        "limited": np.array([rule.is_limited for rule in rules], dtype=np.uint8),
    }


def _fuse(
    tables: Mapping[str, Mapping[int, NDArray[Any]]], n_columns: int
) -> tuple[dict[str, NDArray[np.int32]], dict[str, dict[int, NDArray[Any]]]]:
    """Return fused columns, each made of two earlier columns, and the tables over the fused and the other columns.

    Fusing replaces two table reads an order by one, for the same premium. Only columns that the same models read are
    fused. The largest column goes first, and each column joins the first fused column whose product table then has at
    most FUSED_CELLS entries. The product of two relativities is their product; the product of two masks is their
    intersection. Columns that several models read come first in each model.
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
    return {"first": first, "second": second, "width": width}, found


def _products(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    combine = np.bitwise_and if first.dtype == np.uint64 else np.multiply
    return np.asarray(combine.outer(first, second).ravel())


def _paired(frequency: Mapping[int, Array], severity: Mapping[int, Array]) -> list[tuple[int, Array]]:
    """Return the tables of the columns that both models read, as pairs of relativities."""
    return [
        (column, np.stack([table, severity[column]], axis=1).ravel())
        for column, table in frequency.items()
        if column in severity
    ]


def _flat(tables: Iterable[tuple[int, NDArray[Any]]], dtype: type = np.float64) -> dict[str, NDArray[Any]]:
    """Return the column and the start of each table, and the entries of all tables one after another."""
    pairs = list(tables)
    ends = np.cumsum([0, *(len(table) for _, table in pairs)])
    return {
        "columns": np.array([column for column, _ in pairs], dtype=np.int32),
        "offsets": ends[:-1].astype(np.int64),
        "entries": np.concatenate([*(table for _, table in pairs), np.empty(0, dtype)]).astype(dtype),
    }
