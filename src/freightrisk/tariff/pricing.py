"""The pricer: encodes columns of orders, runs the kernel over pieces of rows, and returns columns of money."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _blocks, _check, _core, _plan
from freightrisk._columns import MERCHANT_ID, ColumnNames, JoinedColumns, kind, one_order, read, value_of
from freightrisk._intake import id_of, number_of
from freightrisk._parallel import chunks, in_order
from freightrisk._shown import repr_of
from freightrisk.book.codings import CrossCoding
from freightrisk.book.doubts import warn_of_grams
from freightrisk.book.joined import columns_with_missing, join, unique_ids
from freightrisk.errors import InputError
from freightrisk.tariff.aggregate_codes import AGGREGATE
from freightrisk.tariff.balances import Balances, check_balances, order_ids, sequence_of, spending
from freightrisk.tariff.beside import CoversBeside
from freightrisk.tariff.measures import measures_of
from freightrisk.tariff.one_order import Quoter, encode_one
from freightrisk.tariff.plan import plan_arguments, price_plan
from freightrisk.tariff.quotes import (
    DETAIL,
    NO_DRAWS,
    CodedOrders,
    QuoteBuffers,
    frame_of,
    index_of,
    with_progress,
)
from freightrisk.tariff.record import TariffRecord
from freightrisk.tariff.rounding import dither_draws
from freightrisk.tariff.settling import RemainingLimits, settle_in_order, waves
from freightrisk.tariff.worksheet import Worksheet, worksheet

PRICE_CHUNK = 2**16
PLAIN_NAMES = ColumnNames()


class Pricer:
    """Pricer of orders under one tariff. `Tariff` documents its methods, under the same names.

    Objects that do not depend on the orders (the kernel's plan, readers of single orders) are made once, at first use.

    Parameters
    ----------
    tariff : TariffRecord
    """

    def __init__(self, tariff: TariffRecord) -> None:
        self.tariff = tariff

    @cached_property
    def plan_arguments(self) -> dict[str, Any]:
        """Return the tariff as the flat arrays and numbers that the pricing kernel and its slow twin read."""
        return plan_arguments(self.tariff)

    @cached_property
    def plan(self) -> _plan.PricePlan:
        """Return the tariff in the form that the kernel reads."""
        return price_plan(self.plan_arguments)

    @property
    def columns_read(self) -> tuple[str, ...]:
        """Return the columns of orders (or merchants) that pricing reads."""
        return self.tariff.columns_read

    @property
    def flags(self) -> tuple[str, ...]:
        """Return the names of the flags of quotes."""
        return self.tariff.flags

    @property
    def may_be_missing(self) -> set[str]:
        """Return the columns that an order may lack because its merchant is not among the merchants."""
        return may_be_missing(self.tariff)

    @cached_property
    def _quoter(self) -> Quoter | None:
        """Return the fast path for single orders, None if quotes depend on more than codes."""
        return Quoter(self.tariff, self.plan) if Quoter.serves(self.tariff) else None

    def encode(
        self, orders: Any, *, merchants: Any = None, names: ColumnNames = PLAIN_NAMES, threads: int | None = None
    ) -> CodedOrders:
        """Return orders as the tariff's code columns."""
        if threads is not None:
            threads = _check.threads(threads)
        joined = join(
            orders, merchants, self.columns_read, names=names, also=[names.priority], threads=threads,
            may_be_missing=self.may_be_missing, clock=self.tariff.clock,
        )  # fmt: skip
        warn_of_grams(joined, self.columns_read)
        return self.encode_joined(joined, kind(orders))

    def encode_joined(
        self, joined: JoinedColumns, of_kind: str, known: dict[str, NDArray[Any]] | None = None
    ) -> CodedOrders:
        """Return joined orders as the tariff's code columns.

        Parameters
        ----------
        joined : JoinedColumns
        of_kind : {"pandas", "polars", "arrow"}
            Kind of frame to return.
        known : dict of digest to array, optional
            Codes that other tariffs have made of these orders, by the digest of the coding; new ones are added.
        """
        tariff, known = self.tariff, {} if known is None else known
        codes = {}
        for name, factor in tariff.codings.items():
            if factor.digest not in known:
                known[factor.digest] = factor.encode(joined)
            codes[name] = known[factor.digest]
        # The table of an interaction is read by one code, which combines the codes of its two factors.
        for coding in tariff.tabled.values():
            if isinstance(coding, CrossCoding):
                codes[coding.name] = coding.pair(codes[coding.first.name], codes[coding.second.name])
        if tariff.experience is not None:
            found = tariff.experience.encode(joined)
            codes |= dict(zip(tariff.experience.tables, found, strict=True))
        if tariff.aggregate is not None:
            codes[AGGREGATE] = tariff.aggregate.encode(joined)
        codes |= {f"{gate.kind} of {gate.column}": gate.encode(joined) for gate in tariff._gates}
        columns = (
            _check.code_columns(codes, tariff.sizes)
            if codes
            else _blocks.CodeColumns([], np.empty(0, np.int64), joined.n_rows)
        )
        draws = dither_draws(order_ids(joined), tariff.dither_key) if tariff.rounding == "dither" else NO_DRAWS
        sequence = None
        if tariff.in_sequence:
            sequence = sequence_of(joined, periods=tariff.periods, carries=tariff.rounding == "carry")
        amounts = measures_of(tariff, joined, codes)
        return CodedOrders(columns, joined.n_rows, index_of(joined), of_kind, tariff.key, draws, sequence, amounts)

    def price(
        self,
        orders: Any,
        *,
        merchants: Any = None,
        names: ColumnNames = PLAIN_NAMES,
        balances: Balances | None = None,
        threads: int | None = None,
        detail: bool = True,
        campaigns: bool = False,
        progress: bool = False,
    ) -> Any:
        """Return one row for each order in the caller's kind of frame."""
        return price_frame(
            self, CodedOrders, orders, merchants=merchants, names=names, balances=balances, threads=threads,
            detail=detail, campaigns=campaigns, progress=progress,
        )  # fmt: skip

    def price_columns(
        self,
        coded: CodedOrders,
        *,
        threads: int | None = None,
        detail: bool = True,
        campaigns: bool = False,
        progress: bool = False,
        balances: Balances | None = None,
        buffers: QuoteBuffers | None = None,
        beside: CoversBeside | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Return quotes as arrays. Balances are updated during pricing and are not restored if it fails.

        The premiums of the covers `beside` are added to the filed premium before it is rounded.
        """
        tariff = self.tariff
        if not isinstance(coded, CodedOrders):
            raise InputError(f"coded is a {type(coded).__name__}; give the result of encode(orders).")
        coded.check(
            tariff.key, tuple(tariff.sizes.values()), draws=tariff.rounding == "dither",
            in_sequence=tariff.in_sequence, measures=len(tariff.measures),
        )  # fmt: skip
        threads = _check.threads(threads)
        detail, campaigns = _check.flag(detail, argument="detail"), _check.flag(campaigns, argument="campaigns")
        progress = _check.flag(progress, argument="progress")
        if buffers is not None:
            _check.instance(buffers, QuoteBuffers, argument="buffers")
        n = coded.n_orders
        into = self.buffers(n, detail=detail, campaigns=campaigns) if buffers is None else buffers
        into.check(
            n, len(tariff.payers), len(tariff.subsidies), n_flags=len(self.flags), detail=detail,
            settles=tariff.in_sequence, carries=tariff.rounding == "carry", campaigns=campaigns,
        )  # fmt: skip
        spent_from = Balances() if balances is None else balances
        self._price_into(into, coded, spent_from, beside, detail=detail, threads=threads, progress=progress)
        columns = self._columns(into, detail=detail, campaigns=campaigns)
        return {name: values[:n] for name, values in columns.items()}

    def _price_into(
        self,
        into: QuoteBuffers,
        coded: CodedOrders,
        balances: Balances,
        beside: CoversBeside | None,
        *,
        detail: bool,
        threads: int,
        progress: bool,
    ) -> None:
        """Price orders into buffers by pieces; if money is spent in a sequence, settle each wave of pieces in order."""
        tariff, plan, sequence = self.tariff, self.plan, coded.sequence
        pieces = chunks(coded.n_orders, PRICE_CHUNK)
        steps = into.steps if detail else np.empty((0, 0))
        asked = len(coded.draws) or len(into.micro) or len(into.masks) or len(into.paid) or beside is not None
        more = () if beside is None else (beside.premium, beside.buffers.sums)
        money = into.money(coded.draws, *more) if asked else None
        left = None if sequence is None else RemainingLimits.of(tariff.subsidies, tariff.funds, sequence, balances)
        opening = None if left is None else left.copy()
        sums = np.zeros((len(pieces), len(tariff.subsidies)), dtype=np.int64) if left is not None else None

        def work(start: int, stop: int) -> int:
            limited: dict[str, Any] = {}
            if left is not None and sums is not None:
                limited = {"spent_out": sums[start // PRICE_CHUNK], "allowed": left.allowed()}
            if beside is not None:
                beside.price(start, stop)
            _core.price(
                coded.columns, plan, start, stop, steps, *into.outputs, money, measures=coded.measures, **limited
            )
            if beside is not None:
                beside.add_flags(into.flags, start, stop)
            if left is None:
                into.spread_flags(start, stop)
            return stop - start

        def in_waves() -> Iterator[int]:
            for wave in waves(pieces, sequence, left):
                yield from in_order(work, wave, threads=threads)
                if left is not None and sums is not None:
                    first = wave[0][0] // PRICE_CHUNK if wave else 0
                    paid = sums[first : first + len(wave)]
                    settle_in_order(plan, into, sequence, left, paid, wave, balances, threads=threads)
                    for _ in in_order(into.spread_flags, wave, threads=threads):
                        pass

        for _ in with_progress(in_waves(), coded.n_orders) if progress else in_waves():
            pass
        if left is not None and opening is not None:
            left.spend(opening, balances)

    def _columns(self, into: QuoteBuffers, *, detail: bool, campaigns: bool) -> dict[str, NDArray[Any]]:
        """Return the columns of quotes by name."""
        tariff = self.tariff
        columns: dict[str, NDArray[Any]] = dict(zip(DETAIL, into.steps, strict=True)) if detail else {}
        columns |= {"list_fen": into.list_fen}
        columns |= {f"{payer}_fen": paid for payer, paid in zip(tariff.payers, into.payers, strict=True)}
        columns |= {"merchant_fen": into.merchant_fen}
        columns |= dict(zip(self.flags, into.hits, strict=True))
        if campaigns:
            columns |= {f"paid: {rule.name}": fen for rule, fen in zip(tariff.subsidies, into.paid, strict=False)}
        return columns

    def kinds(self, *, detail: bool, campaigns: bool) -> dict[str, Any]:
        """Return the type of each column of quotes."""
        into = self.buffers(0, detail=detail, campaigns=campaigns)
        columns = self._columns(into, detail=detail, campaigns=campaigns)
        return {name: values.dtype for name, values in columns.items()}

    def buffers(self, n_orders: int, *, detail: bool = True, campaigns: bool = False) -> QuoteBuffers:
        """Return arrays for the quotes of up to `n_orders` orders."""
        tariff = self.tariff
        n = _check.whole(n_orders, argument="n_orders", low=0, high=2**40)
        detail, campaigns = _check.flag(detail, argument="detail"), _check.flag(campaigns, argument="campaigns")
        return QuoteBuffers(
            steps=np.empty((len(DETAIL) if detail else 0, n)),
            list_fen=np.empty(n, dtype=np.int32),
            payers=np.empty((len(tariff.payers), n), dtype=np.int32),
            merchant_fen=np.empty(n, dtype=np.int32),
            flags=np.empty(n, dtype=np.uint8),
            hits=np.empty((len(self.flags), n), dtype=np.bool_),
            micro=np.empty(n if tariff.rounding == "carry" else 0, dtype=np.int64),
            rounded=np.empty(n if tariff.in_sequence else 0, dtype=np.int32),
            masks=np.empty(n if tariff.in_sequence else 0, dtype=np.uint64),
            paid=np.empty((len(tariff.subsidies), n) if campaigns else (0, 0), dtype=np.int32),
        )

    def whole_order(self, order: Any, merchants: Any, names: ColumnNames) -> Mapping[str, Any]:
        """Return one order under the tariff's own names of columns, joined with the row of its merchant."""
        known = one_order(order, names)
        if names.priority is not None and self.tariff.in_sequence:
            _check.columns_present([names.priority], list(known), argument="order")
            if np.isnan(value_of(known, names.priority, number_of)):
                raise InputError(f"order: '{names.priority}' is missing; give the order a number.")
        if merchants is None:
            if names.renamed:
                _check.columns_present(
                    map(names.of_role, self.columns_read), [*map(names.of_role, known)], argument="order"
                )
            return known
        _check.columns_present([MERCHANT_ID], list(known), argument="order")
        table = read(merchants, None, argument="merchants", key=names.merchant_id)
        _check.columns_present([names.merchant_id], table.names, argument="merchants")
        place = unique_ids(table, names.merchant_id).get_indexer([value_of(known, MERCHANT_ID, id_of)])[0]
        asked = self.columns_read
        needed = [name for name in asked if name not in known and names.of_role(name) in table.names]
        for name in needed:
            table.refuse_twice(names.of_role(name))
        # Columns of the order win over columns of its merchant.
        if place >= 0:
            return {name: table.value(names.of_role(name), int(place)) for name in needed} | dict(known)
        strict = [name for name in needed if name not in self.may_be_missing]
        if strict:
            raise InputError(
                f"order: '{names.merchant_id}' is {repr_of(known[MERCHANT_ID])}, which names no row of merchants; add "
                f"this merchant, or declare the factor of '{strict[0]}' with missing='level'."
            )
        _check.warn(
            f"order: '{names.merchant_id}' is {repr_of(known[MERCHANT_ID])}, which names no row of merchants; the "
            "merchant's columns count as missing."
        )
        return dict.fromkeys(needed) | dict(known)

    def quote(
        self, order: Any, *, merchants: Any = None, balances: Balances | None = None, names: ColumnNames = PLAIN_NAMES
    ) -> dict[str, Any]:
        """Return the price of one order."""
        known = self.whole_order(order, merchants, names)
        if self._quoter is not None and names.date_format is None:
            return self._quoter.quote(known)
        coded = encode_one(self.tariff, known, date_format=names.date_format)
        check_balances(balances)
        # A quote spends nothing, so it is priced on a copy.
        before = None if balances is None else balances.copy()
        priced = self.price_columns(coded, threads=1, balances=before)
        return {name: values[0].item() for name, values in priced.items()}

    def explain(
        self, order: Any, *, merchants: Any = None, balances: Balances | None = None, names: ColumnNames = PLAIN_NAMES
    ) -> Worksheet:
        """Return the worksheet of one order."""
        check_balances(balances)
        known = self.whole_order(order, merchants, names)
        plain = replace(PLAIN_NAMES, date_format=names.date_format)
        return worksheet(
            self.tariff, self.plan_arguments, known, self.quote(known, balances=balances, names=plain),
            balances=Balances() if balances is None else balances, date_format=names.date_format,
        )  # fmt: skip


def price_frame(
    pricer: Any,
    encoded: type,
    orders: Any,
    *,
    merchants: Any,
    names: ColumnNames,
    balances: Balances | None,
    threads: int | None,
    **how: bool,
) -> Any:
    """Return the quotes of a pricer in the caller's kind of frame, for orders of a frame or encoded ones."""
    coded = orders
    if isinstance(orders, encoded) and (merchants is not None or names != PLAIN_NAMES):
        raise InputError("orders are already encoded; give merchants and names of columns to `encode` instead.")
    if not isinstance(orders, encoded):
        coded = pricer.encode(orders, merchants=merchants, names=names, threads=threads)
    threads = _check.threads(threads)
    with spending(balances) as after:
        return frame_of(pricer.price_columns(coded, threads=threads, balances=after, **how), coded)


def may_be_missing(tariff: TariffRecord) -> set[str]:
    """Return the columns that an order may lack because its merchant is not among the merchants."""
    codings = [*tariff.codings.values()]
    codings += [] if tariff.experience is None else [curve.coding for curve in tariff.experience.curves]
    rated = {column for coding in codings for column in coding.columns}
    limited = set() if tariff.aggregate is None else {*tariff.aggregate.columns} - {MERCHANT_ID}
    return columns_with_missing(codings) | (({gate.column for gate in tariff._gates} | limited) - rated)
