"""Limits by rule compared with one flat limit, with five subsidies, and with choosing the limits in numpy."""

from dataclasses import replace
from functools import partial

import numpy as np

import freightrisk as fr
from benchmarks.books import coded_orders, tariff
from benchmarks.timing import Line, medians, over
from freightrisk.tariff.limits import ChosenLimits, choose_limits

BATCH = 500_000
RULES = (
    fr.Limit("base", 25.0),
    fr.Limit("large", 50.0, where={"category": list(range(40)), "price": [15, 16, 17, 18, 19]}),
    fr.Limit("live", 15.0, where={"channel": [1, 3]}, priority=1),
    fr.Limit("far", 60.0, where={"zone_pair": list(range(12, 20))}, priority=1),
    fr.Limit("super", 200.0, where={"category": list(range(5)), "campaign": [3]}, priority=2),
)
SUBSIDIES = tuple(fr.Subsidy(rule.name, "platform", fixed_fen=1, where=rule.where) for rule in RULES)


def limit_lines(n: int, repeats: int) -> list[Line]:
    """Return kernel pricing under five limits, under one, and with five subsidies; and numpy's choice of the limits.

    All on one thread. Before, the payouts are checked against those of tariffs with numpy's limit as a flat one.
    """
    flat = replace(tariff(), subsidies=())
    ruled = replace(flat, cover=replace(flat.cover, limit=None, limits=RULES))
    paying = replace(flat, subsidies=SUBSIDIES)
    tariffs = (flat, ruled, paying)
    books = [[coded_orders(BATCH, one, seed=seed) for seed in range(max(1, n // BATCH))] for one in tariffs]
    codes, coded = books[1][0]
    chosen = _by_numpy(codes)
    payout = ruled.price_columns(coded)["expected_payout"]
    for limit in np.unique(chosen.limit):
        one = replace(flat, cover=replace(flat.cover, limit=float(limit)))
        rows = chosen.limit == limit
        expected = one.price_columns(books[0][0][1])["expected_payout"]
        if not np.array_equal(expected[rows], payout[rows]):
            raise AssertionError(f"payouts under the limit of {limit:g} yuan differ from a flat limit's")
    buffers = [one.buffers(BATCH) for one in tariffs]
    routes = [over(book, partial(_price, one, into)) for one, book, into in zip(tariffs, books, buffers, strict=True)]
    numpy = over(books[1], lambda batch: _by_numpy(batch[0]))
    one, five, subsidies, by_numpy = medians(repeats, *routes, numpy)
    return [
        Line("limits: one flat limit, 1 thread", n, one),
        Line("limits: five by rule, 1 thread", n, five, subsidies / five, (0.8, 0.6)),
        Line("limits: five subsidies, 1 thread", n, subsidies),
        Line("limits: numpy chooses five limits and prices nothing", n, by_numpy),
    ]


def _price(one: fr.Tariff, into: object, batch: tuple[object, object]) -> object:
    return one.price_columns(batch[1], threads=1, buffers=into)


def _by_numpy(codes: dict[str, np.ndarray]) -> ChosenLimits:
    masks = _masks(codes)
    amounts = [np.full(len(masks), rule.amount) for rule in RULES]
    return choose_limits(RULES, "largest", masks=masks, amounts=amounts, unlimited=np.inf)


def _masks(codes: dict[str, np.ndarray]) -> np.ndarray:
    """Return a bit for each rule whose conditions the orders meet; a level's code is its number."""
    masks = np.zeros(len(codes["channel"]), dtype=np.uint64)
    for k, rule in enumerate(RULES):
        holds = np.ones(len(masks), dtype=bool)
        for column, levels in rule.where.items():
            holds &= np.isin(codes[column], levels)
        masks |= holds.astype(np.uint64) << np.uint64(k)
    return masks
