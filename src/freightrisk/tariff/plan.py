"""The compiled tariff: its record as the flat arrays and numbers that the pricing kernel and its slow twin read."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _core
from freightrisk.tariff.cover import NO_LIMIT
from freightrisk.tariff.rates import RateTables, limit_table
from freightrisk.tariff.record import TariffRecord
from freightrisk.tariff.subsidy import group_numbers

Array = NDArray[np.float64]

UNLIMITED = 2**31 - 1
FUSED_CELLS = 2**11  # tables of so many products stay in the first cache beside a block of rows


def plan_arguments(tariff: TariffRecord) -> dict[str, Any]:
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
    frequency = RateTables(tariff.frequency.base, {**tariff.frequency.tables, **experience})
    rates = {"frequency": frequency, "severity": tariff.severity}
    by_column = {what: {place[name]: t for name, t in rates[what].tables.items()} for what in rates} | {"mask": gates}
    fused, tables = _fuse(by_column, len(known))
    return {
        "sizes": np.array(list(tariff.sizes.values()), dtype=np.int64),
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
