"""Loads by level compared with loads for all orders, and with numpy after the kernel."""

from dataclasses import replace
from functools import partial

import numpy as np

import freightrisk as fr
from benchmarks.books import coded_orders, tariff
from benchmarks.timing import Line, medians, over

BATCH = 500_000
FRAUD = fr.ByLevel("category", {level: 0.001 * (level % 30) for level in range(0, 200, 7)}, default=0.01)
FILED = fr.ByLevel("channel", {0: 0.9, 3: 1.15}, default=1.0)


def load_lines(n: int, repeats: int) -> list[Line]:
    """Return kernel pricing with two loads by level and with two numbers, and numpy's loads on the kernel's steps.

    All on one thread. Before, the list prices of both ways are compared.
    """
    alike = replace(tariff(), subsidies=())
    by_level = replace(alike, loadings=replace(alike.loadings, fraud_load=FRAUD, filed_factor=FILED))
    books = [coded_orders(BATCH, alike, seed=seed) for seed in range(max(1, n // BATCH))]
    buffers = alike.buffers(BATCH)
    codes, coded = books[0]
    listed = by_level.price_columns(coded, threads=1)["list_fen"]
    if not np.array_equal(_by_numpy(alike, by_level, buffers, (codes, coded)), listed):
        raise AssertionError("list prices with loads by numpy differ from the kernel's")
    routes = [over(books, partial(_price, one, buffers)) for one in (alike, by_level)]
    numpy = over(books, partial(_by_numpy, alike, by_level, buffers))
    one, two, with_numpy = medians(repeats, *routes, numpy)
    return [
        Line("loads: one for all orders, 1 thread", n, one),
        Line("loads: two by level, 1 thread", n, two, with_numpy / two, (1.5, 1.2)),
        Line("loads: two by level in numpy after the kernel", n, with_numpy),
    ]


def _price(one: fr.Tariff, into: object, batch: tuple[object, object]) -> object:
    return one.price_columns(batch[1], threads=1, buffers=into)


def _by_numpy(alike: fr.Tariff, by_level: fr.Tariff, into: object, batch: tuple[dict[str, np.ndarray], object]):
    """Return the list prices of loads that numpy gathers by code; a level's code is its number."""
    codes, coded = batch
    steps, loads = alike.price_columns(coded, threads=1, buffers=into), by_level.loadings
    tables = loads.tables(by_level.codings)
    fraud, factor = tables["fraud_load"][codes["category"]], tables["filed_factor"][codes["channel"]]
    claims = steps["expected_claims"]
    costs = steps["pure_premium"] * (1.0 + fraud) + loads.claim_handling * claims + loads.policy_cost
    micro = loads.filed_micro(costs * (1.0 / loads.retained), factor)
    return np.maximum(np.rint(micro / 10_000), alike.floor_fen).astype(np.int32)
