"""Pricing compared with numpy, numba and pyarrow: the full quote, its core, coding, one quote, files, campaigns."""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.books import (
    DISPERSION,
    ORDER_SIZES,
    SIZES,
    campaigns,
    coded_orders,
    orders_frame,
    plain_tariff,
    tariff,
)
from benchmarks.numba_route import NumbaRoute
from benchmarks.routes import Columns, NumpyRoute, haute_plan, price_whole_columns, rates_of
from benchmarks.timing import LARGE, Line, apart, cores, medians, over, seconds_of_import
from freightrisk import Balances, Tariff, price_parquet
from freightrisk.book.codings import code_type
from freightrisk.tariff.quotes import CodedOrders

BATCH = 500_000
QUOTES = 500


def price_lines(n: int, repeats: int) -> list[Line]:
    """Return kernel and numpy pricing of the full quote, after checking that they give the same quotes.

    The routes take turns. Each prices the book in batches, into the same buffers each time, as a pipeline would.
    """
    priced_by = tariff()
    threads = cores()
    blocks = NumpyRoute(priced_by, DISPERSION)
    into, out = priced_by.buffers(BATCH), blocks.buffers(BATCH)
    batches = [coded_orders(BATCH, priced_by, seed=seed) for seed in range(n // BATCH)]

    def ours(used: int, codes: Columns, coded: CodedOrders) -> Columns:
        return priced_by.price_columns(coded, threads=used, buffers=into)

    def numpy_in_blocks(used: int, codes: Columns, coded: CodedOrders) -> Columns:
        return blocks.price(codes, BATCH, threads=used, out=out)

    def numpy_whole(codes: Columns, coded: CodedOrders) -> Columns:
        return price_whole_columns(priced_by, DISPERSION, codes)

    for batch in batches[:2]:
        _same_ledger(ours(threads, *batch), numpy_in_blocks(threads, *batch))
        _same_ledger(ours(threads, *batch), numpy_whole(*batch))
    routes = [partial(ours, 1), partial(ours, threads), partial(numpy_in_blocks, 1), partial(numpy_in_blocks, threads)]
    one, many, numpy_one, numpy_many, whole = medians(
        repeats, *(over(batches, lambda batch, route=route: route(*batch)) for route in [*routes, numpy_whole])
    )
    best = min(numpy_one, numpy_many, whole)
    return [
        Line("price: freightrisk, 1 thread", n, one, numpy_one / one),
        Line(f"price: freightrisk, {threads} threads", n, many, best / many, (30.0, 1.5)),
        Line("price: numpy in blocks, 1 thread", n, numpy_one),
        Line(f"price: numpy in blocks, {threads} threads", n, numpy_many),
        Line("price: numpy on whole columns", n, whole),
    ]


def haute_lines(n: int, repeats: int) -> list[Line]:
    """Return kernel pricing of coded orders and haute's pricing of the same orders in polars, after checking the fen.

    haute needs an older pandas and forty other packages, so it runs in a separate interpreter, which the variable
    HAUTE_PYTHON names. Without this interpreter there is no line.
    """
    python = os.environ.get("HAUTE_PYTHON")
    if not python:
        return []
    import pyarrow as pa
    import pyarrow.parquet as pq

    priced_by, threads = tariff(), cores()
    codes, coded = coded_orders(n, priced_by)
    into, route = priced_by.buffers(n), NumpyRoute(priced_by, DISPERSION)
    with tempfile.TemporaryDirectory() as folder:
        orders = pa.table({name: column.astype(np.int32) for name, column in codes.items()})
        pq.write_table(orders, f"{folder}/orders.parquet")
        Path(folder, "plan.json").write_text(json.dumps(haute_plan(route)))
        script = Path(__file__).with_name("haute_route.py")
        found = subprocess.run(
            [python, str(script), folder, str(repeats)], check=True, capture_output=True, text=True, cwd=folder
        )
        theirs = pq.read_table(f"{folder}/quotes.parquet")
    (ours,) = medians(repeats, lambda: priced_by.price_columns(coded, threads=threads, buffers=into))
    priced = priced_by.price_columns(coded, threads=threads, buffers=into)
    _same_ledger(priced, {name: theirs[name].to_numpy() for name in theirs.column_names})
    peer = float(found.stdout)
    return [
        Line(f"price: freightrisk, {threads} threads, one batch", n, ours, peer / ours, (100.0, 0.0)),
        Line("price: haute", n, peer),
    ]


def core_lines(n: int, repeats: int) -> list[Line]:
    """Return six tables, a curve, floor and rounding in the kernel and in numba, after checking that the fen agree."""
    priced_by, threads = plain_tariff(), cores()
    batches = [coded_orders(BATCH, priced_by, seed=seed) for seed in range(max(1, n // BATCH))]
    route, fen = NumbaRoute(priced_by), np.empty(BATCH, dtype=np.int32)
    into = priced_by.buffers(BATCH, detail=False)

    def ours(used: int) -> Callable[[], object]:
        return over(batches, lambda batch: priced_by.price_columns(batch[1], threads=used, detail=False, buffers=into))

    def theirs(used: int) -> Callable[[], object]:
        return over(batches, lambda batch: route.price(batch[0], fen, threads=used))

    for codes, coded in batches[:2]:
        route.price(codes, fen, threads=threads)
        found = priced_by.price_columns(coded, threads=threads, detail=False, buffers=into)["list_fen"]
        # numba multiplies the tables in another order, so a premium within 1e-15 of a tie may round the other way.
        if np.abs(found - fen).max() > 1 or (found != fen).mean() > 1e-6:
            raise SystemExit(f"numba prices {(found != fen).sum()} orders differently")
    n = BATCH * len(batches)
    one, many, numba_one, numba_many = medians(repeats, ours(1), ours(threads), theirs(1), theirs(threads))
    return [
        Line("core: freightrisk, 1 thread", n, one, numba_one / one),
        Line(f"core: freightrisk, {threads} threads", n, many, numba_many / many, (1.0, 0.0)),
        Line("core: numba, 1 thread", n, numba_one),
        Line(f"core: numba, {threads} threads", n, numba_many),
    ]


def frame_lines(n: int, repeats: int) -> list[Line]:
    """Return coding and pricing of a pandas frame of categorical columns, in batches.

    The peer of coding looks up the codes of each column in numpy. The peer of pricing maps each column to relativities
    in pandas and multiplies them, which gives the premium but no money.
    """
    priced_by, threads = tariff(), cores()
    frames = [orders_frame(BATCH, seed=seed) for seed in range(max(1, n // BATCH))]
    places = {name: np.arange(size + 1, dtype=code_type(size + 1)) for name, size in ORDER_SIZES.items()}
    gates = {gate.column: np.zeros(SIZES[gate.column] + 1, dtype=np.uint8) for gate in priced_by._gates}

    def looked_up(frame: pd.DataFrame) -> object:
        tables = [*places.items(), *gates.items()]
        return [table[frame[name].cat.codes.to_numpy()] for name, table in tables]

    def mapped(frame: pd.DataFrame) -> object:
        value = np.ones(len(frame))
        for rates in rates_of(priced_by):
            for name, table in rates.tables.items():
                value *= frame[name].map(dict(enumerate(table.tolist()))).to_numpy(np.float64)
        return value

    n = BATCH * len(frames)
    coding, numpy_coding, pricing, pandas_pricing = medians(
        repeats,
        over(frames, lambda frame: priced_by.encode(frame, threads=threads)),
        over(frames, looked_up),
        over(frames, lambda frame: priced_by.price(frame, threads=threads)),
        over(frames, mapped),
    )
    return [
        Line(f"encode a frame: freightrisk, {threads} threads", n, coding, numpy_coding / coding, (1.5, 0.0)),
        Line("encode a frame: numpy", n, numpy_coding),
        Line(f"price a frame: freightrisk, {threads} threads", n, pricing, pandas_pricing / pricing, (2.0, 0.0)),
        Line("price a frame: pandas map, the premium alone", n, pandas_pricing),
    ]


def quote_lines(n: int, repeats: int) -> list[Line]:
    """Return one quote from a mapping of values, and one by numpy from codes."""
    priced_by, frame = tariff(), orders_frame(1000)
    orders = [dict(zip(frame, row, strict=True)) for row in frame.astype(int).itertuples(index=False, name=None)]
    route = NumpyRoute(priced_by, DISPERSION)
    out = route.buffers(1)
    kinds = {name: code_type(size + 1) for name, size in ORDER_SIZES.items()}
    codes = [{name: np.array([code], dtype=kinds[name]) for name, code in order.items()} for order in orders]

    def ours() -> None:
        for order in orders[:QUOTES]:
            priced_by.quote(order)

    def theirs() -> None:
        for coded in codes[:QUOTES]:
            route.price(coded, 1, threads=1, out=out)

    one, peer = (seconds / QUOTES for seconds in medians(max(repeats, 9), ours, theirs))
    return [
        Line("quote: freightrisk, from values", 1, one, peer / one, (2.0, 1.0)),
        Line("quote: numpy, from codes", 1, peer),
    ]


def import_lines(n: int, repeats: int) -> list[Line]:
    """Return the time to import the package, and the time to import numpy, which it needs."""
    package, base = seconds_of_import("freightrisk", repeats), seconds_of_import("numpy", repeats)
    return [Line("import: freightrisk", 1, package, base / package), Line("import: numpy alone", 1, base)]


def parquet_lines(n: int, repeats: int) -> list[Line]:
    """Return pricing from Parquet to Parquet, and by pyarrow and numpy in batches, which write one flag of four."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    priced_by, threads = tariff(), cores()
    route = NumpyRoute(priced_by, DISPERSION)
    with tempfile.TemporaryDirectory() as folder:
        source, quotes = Path(folder, "orders.parquet"), Path(folder, "quotes.parquet")
        frame = orders_frame(BATCH)
        texts = pa.table({name: pa.array(frame[name].astype(int)).dictionary_encode() for name in frame})
        n = BATCH * max(1, n // BATCH)
        with pq.ParquetWriter(source, texts.schema) as writer:
            for _ in range(n // BATCH):
                writer.write_table(texts)

        def ours() -> None:
            price_parquet(priced_by, source, quotes, threads=threads)

        def theirs() -> None:
            out, writer = route.buffers(BATCH), None
            for batch in pq.ParquetFile(source).iter_batches(batch_size=BATCH):
                columns = {name: batch.column(name).to_numpy(zero_copy_only=False) for name in ORDER_SIZES}
                codes = {name: column.astype(code_type(ORDER_SIZES[name] + 1)) for name, column in columns.items()}
                table = pa.table(route.price(codes, batch.num_rows, threads=threads, out=out))
                if writer is None:
                    kinds = {name: "lz4" if name.endswith("_fen") else "none" for name in table.column_names}
                    writer = pq.ParquetWriter(quotes, table.schema, use_dictionary=False, compression=kinds)
                writer.write_table(table)
            writer.close()

        one, peer = medians(max(1, repeats // 2), ours, theirs)
        return [
            Line(
                f"Parquet to Parquet: freightrisk, {threads} threads",
                n,
                one,
                peer / one,
                (1.0, 0.0),
                apart("parquet", source) if n >= LARGE else None,
            ),
            Line("Parquet to Parquet: pyarrow and numpy", n, peer),
        ]


def campaign_lines(n: int, repeats: int) -> list[Line]:
    """Return pricing without subsidies, and with twelve campaigns whose three budgets end within the book or do not.

    The book is priced in batches, and budgets continue from one batch to the next. The time of the book is the sum of
    the median times of its batches. A pause of the machine then has no effect, and a batch in which a budget ends has
    its own median. Every timed run follows an untimed run of the same batch, so that its orders are in the cache.
    """
    threads = cores()
    plain = replace(tariff(), subsidies=())
    ample = plain.with_subsidies(campaigns(budget_fen=10**13))
    numbers = range(max(1, n // BATCH))
    orders = [coded_orders(BATCH, ample, seed=seed)[1] for seed in numbers]
    plain_orders = [coded_orders(BATCH, plain, seed=seed)[1] for seed in numbers]
    into, plain_into = ample.buffers(BATCH, detail=False), plain.buffers(BATCH, detail=False)

    def price(priced_by: Tariff, k: int, balances: Balances) -> None:
        if priced_by is plain:
            plain.price_columns(plain_orders[k], threads=threads, detail=False, buffers=plain_into)
        else:
            priced_by.price_columns(orders[k], threads=threads, detail=False, balances=balances, buffers=into)

    def spent(priced_by: Tariff) -> dict[str, int]:
        balances = Balances()
        for k in numbers:
            price(priced_by, k, balances)
        return balances.spent

    # A quarter, a half and three quarters of the unlimited spending, so that each budget ends in another batch.
    budgets = {name: fen * (k + 1) // 4 for k, (name, fen) in enumerate(spent(ample).items())}
    ending = plain.with_subsidies(
        [replace(rule, budget_fen=budgets[rule.name]) if rule.is_limited else rule for rule in ample.subsidies]
    )
    if spent(ending) != budgets:
        raise SystemExit("the budgets did not end at zero")
    routes, repeats = (plain, ending, ample), max(repeats, 9)  # at least 9: a stall is long beside a short batch
    seconds = np.empty((len(routes), len(numbers), repeats))
    for repeat in range(repeats):
        balances = [Balances() for _ in routes]
        for k in numbers:
            for route, priced_by in enumerate(routes):
                price(priced_by, k, balances[route].copy())
                start = time.perf_counter()
                price(priced_by, k, balances[route])
                seconds[route, k, repeat] = time.perf_counter() - start
    base, harsh, mild = np.median(seconds, axis=2).sum(axis=1).tolist()
    n = BATCH * len(numbers)
    return [
        Line(f"price: no subsidies, {threads} threads", n, base),
        Line("price: 12 campaigns, 3 budgets that end", n, harsh, base / harsh, (0.4, 0.25)),
        Line("price: 12 campaigns, 3 budgets that do not end", n, mild, base / mild),
    ]


def _same_ledger(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    """Raise unless both routes give the same fen, except for rare differences of one fen in the list price."""
    # numpy interpolates linearly, so a premium within 1e-7 of a tie may round the other way.
    gap = np.abs(ours["list_fen"] - theirs["list_fen"])
    if gap.max() > 1 or (gap > 0).mean() > 1e-5:
        raise SystemExit(f"the numpy route prices {(gap > 0).sum()} orders differently, by up to {gap.max()} fen")
    same = gap == 0
    for name in ("platform_fen", "insurer_fen", "supplier_fen", "merchant_fen"):
        if not np.array_equal(ours[name][same], theirs[name][same]):
            raise SystemExit(f"the numpy route has another {name}")
