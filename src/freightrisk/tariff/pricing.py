"""The flow of a batch: from columns of orders to codes, through the kernel in pieces, to columns of money."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check, _core
from freightrisk._columns import kind
from freightrisk._parallel import chunks, in_order
from freightrisk.book.book import Names, join
from freightrisk.book.factors import CrossCoding
from freightrisk.tariff.balances import (
    NO_DRAWS,
    Balances,
    Left,
    periods_of,
    sequence_of,
    settle_in_order,
    waves,
)
from freightrisk.tariff.quotes import DETAIL, CodedOrders, QuoteBuffers, index_of, with_progress
from freightrisk.tariff.rounding import dither_draws
from freightrisk.tariff.subsidy import SHIP_DATE

if TYPE_CHECKING:
    from freightrisk.tariff.tariff import Tariff

PRICE_CHUNK = 2**16


def encode(
    tariff: "Tariff",
    orders: Any,
    *,
    merchants: Any,
    merchant_id: str,
    order_id: str,
    priority: str | None,
    threads: int | None,
) -> CodedOrders:
    """Return orders as a tariff's code columns; see `Tariff.encode`."""
    also = [order_id] if tariff.in_sequence or tariff.rounding == "dither" else []
    if tariff.in_sequence:
        also += [SHIP_DATE] if priority is None else [SHIP_DATE, priority]
    periods, carries = periods_of(tariff.subsidies), tariff.rounding == "carry"
    mods = tariff.experience is not None and len(tariff.experience.mods) > 0
    also += [merchant_id] if periods or carries or mods else []
    names = Names(merchant_id=merchant_id, order_id=order_id)
    joined = join(orders, merchants, tariff.column_names, names=names, also=also, threads=threads)
    codes = {name: coding.encode(joined) for name, coding in tariff.codings.items()}
    for coding in tariff.tabled.values():
        if isinstance(coding, CrossCoding):
            codes[coding.name] = coding.pair(codes[coding.first.name], codes[coding.second.name])
    if tariff.experience is not None:
        found = tariff.experience.encode(joined, merchant_id)
        codes |= dict(zip(tariff.experience.tables, found, strict=True))
    codes |= {f"{gate.kind} of {gate.column}": gate.encode(joined) for gate in tariff.gates}
    columns = (
        _check.code_columns(codes, tariff.sizes)
        if codes
        else _core.CodeColumns([], np.empty(0, np.int64), joined.n_rows)
    )
    draws = dither_draws(joined.ids(order_id), tariff.dither_key) if tariff.rounding == "dither" else NO_DRAWS
    sequence = None
    if tariff.in_sequence:
        sequence = sequence_of(
            joined, periods=periods, carries=carries, merchant_id=merchant_id, order_id=order_id, priority=priority
        )
    return CodedOrders(columns, joined.n_rows, index_of(joined), kind(orders), tariff.key, draws, sequence)


def price_columns(
    tariff: "Tariff",
    coded: CodedOrders,
    *,
    threads: int,
    detail: bool,
    campaigns: bool,
    progress: bool,
    balances: Balances | None,
    buffers: QuoteBuffers | None,
) -> dict[str, NDArray[Any]]:
    """Return quotes as arrays; see `Tariff.price_columns`."""
    n = coded.n_orders
    coded.check(tuple(tariff.sizes.values()), draws=tariff.rounding == "dither", in_sequence=tariff.in_sequence)
    rules = len(tariff.subsidies)
    into = tariff.buffers(n, detail=detail, campaigns=campaigns) if buffers is None else buffers
    into.check(n, len(tariff.payers), detail=detail, settles=tariff.in_sequence, campaigns=rules if campaigns else 0)
    plan, pieces, sequence = tariff.plan, chunks(n, PRICE_CHUNK), coded.sequence
    steps = into.steps if detail else np.empty((0, 0))
    asked = len(coded.draws) or len(into.micro) or len(into.masks) or len(into.paid)
    money = into.money(coded.draws) if asked else None
    known = Balances() if balances is None else balances
    left = None if sequence is None else Left.of(tariff.subsidies, sequence, known)
    opening = None if left is None else left.copy()
    sums = np.zeros((len(pieces), rules), dtype=np.int64) if left is not None else None

    def work(start: int, stop: int) -> int:
        if left is None or sums is None:
            _core.price(coded.columns, plan, start, stop, steps, *into.outputs, money)
            into.spread_flags(start, stop)
        else:
            spent, allowed = sums[start // PRICE_CHUNK], left.allowed()
            _core.price(coded.columns, plan, start, stop, steps, *into.outputs, money, spent, allowed)
        return stop - start

    def in_waves() -> Iterator[int]:
        for wave in waves(pieces, sequence, left):
            yield from in_order(work, wave, threads=threads)
            if left is not None and sums is not None:
                first = wave[0][0] // PRICE_CHUNK if wave else 0
                paid = sums[first : first + len(wave)]
                settle_in_order(plan, into, sequence, left, paid, wave, known, threads=threads)
                for _ in in_order(into.spread_flags, wave, threads=threads):
                    pass

    for _ in with_progress(in_waves(), n) if progress else in_waves():
        pass
    if left is not None and opening is not None:
        left.spend(opening, known)
    columns: dict[str, NDArray[Any]] = dict(zip(DETAIL, into.steps, strict=True)) if detail else {}
    columns |= {"list_fen": into.list_fen}
    columns |= {f"{payer}_fen": paid for payer, paid in zip(tariff.payers, into.payers, strict=True)}
    columns |= {"merchant_fen": into.merchant_fen}
    columns |= dict(zip(_core.FLAGS, into.hits, strict=True))
    if campaigns:
        columns |= {f"paid: {rule.name}": fen for rule, fen in zip(tariff.subsidies, into.paid, strict=False)}
    return {name: values[:n] for name, values in columns.items()}
