"""A programme of four covers compared with its covers as four tariffs, and a programme of one cover with the tariff."""

from dataclasses import replace

import numpy as np

import freightrisk as fr
from benchmarks.books import DISPERSION, SIZES, coded_orders, coding, orders_frame, tables, tariff
from benchmarks.timing import Line, cores, medians, over
from freightrisk.models.shapes import ScaleShape
from freightrisk.programmes import Programme
from freightrisk.tariff.curves import count_curve, limit_curve
from freightrisk.tariff.rates import CoverCurves, RateTables
from freightrisk.tariff.tariff import Tariff

BATCH = 500_000
COVERS = {
    "damage": (("category", "price", "weight"), 0.004, 40.0, fr.Cover(max_claims=1, limit=200.0)),
    "late arrival": (("zone_pair", "campaign", "channel"), 0.03, 5.0, fr.Cover(max_claims=1, limit=5.0)),
    "transit loss": (("category", "zone_pair", "price"), 0.0005, 90.0, fr.Cover(max_claims=1, limit=50_000.0)),
}


def cover(name: str) -> Tariff:
    """Return the tariff of a cover beside the return freight: three factors in both models."""
    factors, frequency, severity, terms = COVERS[name]
    rng = np.random.default_rng(sum(map(ord, name)))
    return Tariff(
        name=name,
        codings={factor: coding(factor, SIZES[factor]) for factor in factors},
        frequency=RateTables(frequency, tables(factors, rng)),
        severity=RateTables(severity, tables(factors, rng)),
        cover=terms,
        loadings=fr.Loadings(channel=0.15, profit=0.02),
        subsidies=(),
        curves=CoverCurves(count_curve(1), limit_curve(ScaleShape(DISPERSION))),
    )


def programme_lines(n: int, repeats: int) -> list[Line]:
    """Return pricing of frames under a programme and under its covers one by one, and pricing of encoded orders.

    Before, the sums that the programme rounds are checked against the premiums of its covers.
    """
    threads = cores()
    freight = tariff()
    covers = [replace(freight, name="freight"), *map(cover, COVERS)]
    whole, alone = Programme("four covers", covers), Programme("one cover", freight)
    frames = [orders_frame(BATCH, seed=seed) for seed in range(max(1, n // BATCH))]
    priced = whole.price(frames[0], threads=threads)
    filed = [one.loadings.filed_micro(one.price(frames[0])["technical_premium"].to_numpy()) for one in covers]
    if not np.array_equal(priced["filed_micro"], np.sum(filed, axis=0)):
        raise AssertionError("the sum of a programme is not the sum of its covers")
    n = BATCH * len(frames)
    coded = [whole.encode(frame) for frame in frames]
    apart = [[one.encode(frame) for one in covers] for frame in frames]
    buffers, each = whole.buffers(BATCH), [one.buffers(BATCH) for one in covers]
    lone = [coded_orders(BATCH, freight, seed=seed)[1] for seed in range(len(frames))]
    into = freight.buffers(BATCH)
    together, separate, kernel, kernels, one, plain = medians(
        repeats,
        over(frames, lambda frame: whole.price(frame, threads=threads)),
        over(frames, lambda frame: [one.price(frame, threads=threads) for one in covers]),
        over(coded, lambda orders: whole.price_columns(orders, threads=1, buffers=buffers)),
        over(apart, lambda parts: [
            one.price_columns(orders, threads=1, buffers=room)
            for one, orders, room in zip(covers, parts, each, strict=True)
        ]),
        over(lone, lambda orders: alone.price_columns(orders, threads=1, buffers=into)),
        over(lone, lambda orders: freight.price_columns(orders, threads=1, buffers=into)),
    )  # fmt: skip
    return [
        Line(f"programme: four covers, frames, {threads} threads", n, together, separate / together, (1.25, 0.0)),
        Line(f"programme: its covers as four tariffs, {threads} threads", n, separate),
        Line("programme: four covers, encoded, 1 thread", n, kernel, kernels / kernel, (0.0, 0.0)),
        Line("programme: its covers as four tariffs, encoded, 1 thread", n, kernels),
        Line("programme: one cover, encoded, 1 thread", n, one, plain / one, (0.97, 0.0)),
        Line("programme: the tariff alone, encoded, 1 thread", n, plain),
    ]
