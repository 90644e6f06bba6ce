"""The pricer of a programme: codes of all covers from one reading of the orders, their sum, and the fees."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._columns import ColumnNames, JoinedColumns
from freightrisk._plan import ROUNDING_MODES
from freightrisk.errors import InputError
from freightrisk.programme.fee import MERCHANT, FeeColumns, columns_of, key_of
from freightrisk.programme.orders import ProgrammeBuffers, ProgrammeOrders
from freightrisk.programme.record import FILED, TOTAL, ProgrammeRecord
from freightrisk.tariff.balances import Balances, check_balances
from freightrisk.tariff.beside import SUMMED, CoverBuffers, CoversBeside
from freightrisk.tariff.one_order import encode_one
from freightrisk.tariff.plan import price_plan
from freightrisk.tariff.pricing import PLAIN_NAMES, Pricer, may_be_missing
from freightrisk.tariff.quotes import DETAIL, CodedOrders, QuoteBuffers
from freightrisk.tariff.rounding import Rounding
from freightrisk.tariff.worksheet import CoverSheet, Worksheet, cover_sheet, worksheet


class ProgrammePricer(Pricer):
    """Pricer of orders under a programme. Its first cover does all that follows the sum of the premiums.

    Parameters
    ----------
    programme : ProgrammeRecord
    """

    def __init__(self, programme: ProgrammeRecord) -> None:
        super().__init__(programme.covers[0])
        self.programme = programme
        # Only the first cover rounds, so draws and sequences of the others would have no use.
        self.beside = [Pricer(replace(cover, rounding_rule=Rounding())) for cover in programme.covers[1:]]

    @property
    def columns_read(self) -> tuple[str, ...]:
        """Return the columns of orders (or merchants) that pricing reads."""
        return self.programme.columns_read

    @property
    def flags(self) -> tuple[str, ...]:
        """Return the names of the flags of quotes."""
        return self.programme.flags

    @property
    def may_be_missing(self) -> set[str]:
        """Return the columns that an order may lack because its merchant is not among the merchants."""
        found = [may_be_missing(cover) for cover in self.programme.covers]
        needed = [{*cover.columns_read} - lacks for cover, lacks in zip(self.programme.covers, found, strict=True)]
        of_fees = (*(gate.column for gate in self.programme.fee_gates), *columns_of(self.programme.fees))
        return set().union(*found, of_fees) - set().union(*needed)

    @cached_property
    def _plans_beside(self) -> list[Any]:
        """Return the plans of the covers beside the first; a plan that carries remainders stops before rounding."""
        return [price_plan(pricer.plan_arguments | {"rounding": ROUNDING_MODES["carry"]}) for pricer in self.beside]

    def encode_joined(
        self, joined: JoinedColumns, of_kind: str, known: dict[str, NDArray[Any]] | None = None
    ) -> ProgrammeOrders:
        """Return joined orders as the code columns of all covers; a factor that covers share is encoded once."""
        known = {} if known is None else known
        first = super().encode_joined(joined, of_kind, known)
        beside = tuple(pricer.encode_joined(joined, of_kind, known) for pricer in self.beside)
        programme = self.programme
        fees = FeeColumns.read(programme.fees, programme.fee_gates, joined) if programme.fees else None
        return ProgrammeOrders.of(first, beside, fees)

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
        moved: NDArray[np.int64] | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Return quotes as arrays. Balances are updated during pricing and are not restored if it fails.

        `moved` are micro-yuan that are added to the sum of the premiums, such as those of a phase-in.
        """
        programme = self.programme
        if not isinstance(coded, ProgrammeOrders) or len(coded.beside) != len(self.beside):
            raise InputError("orders were not encoded for this programme; give the result of its encode(orders).")
        if ("" if coded.fees is None else coded.fees.key) != (key_of(programme.fees) if programme.fees else ""):
            raise InputError("orders were encoded for a programme with other fees; encode them with this programme.")
        for pricer, mine in zip(self.beside, coded.beside, strict=True):
            mine.check(
                pricer.tariff.key, tuple(pricer.tariff.sizes.values()), draws=False, in_sequence=False,
                measures=len(pricer.tariff.measures),
            )  # fmt: skip
        detail = _check.flag(detail, argument="detail")
        n = coded.n_orders
        into = self.buffers(n, detail=detail, campaigns=campaigns) if buffers is None else buffers
        if not isinstance(into, ProgrammeBuffers) or (detail and self.programme.has_filed and len(into.micro) < n):
            raise InputError("buffers were made by a tariff or without detail; make them with the programme's buffers.")
        covers = into.covers
        covers.check(len(self.beside), n, detail=detail)
        if moved is not None:
            covers.begin(moved)
        added = CoversBeside(self._plans_beside, coded.beside, covers, moved is not None)
        found = super().price_columns(
            coded, threads=threads, detail=detail, campaigns=campaigns, progress=progress, balances=balances,
            buffers=into, beside=None if moved is None and not self.beside else added,
        )  # fmt: skip
        if detail and self.programme.has_filed:
            found = self._detailed(found, into, n)
        return found if coded.fees is None else found | self._fees(coded.fees, found["merchant_fen"])

    def _detailed(self, found: Mapping[str, NDArray[Any]], into: ProgrammeBuffers, n: int) -> dict[str, NDArray[Any]]:
        """Return columns of quotes whose steps are those of each cover, with their sums."""
        first = {name: found[name] for name in DETAIL}
        if not self.beside:
            rest = {name: values for name, values in found.items() if name not in DETAIL}
            return {**first, FILED: into.micro[:n], **rest}
        covers = into.covers
        steps = [first, *(dict(zip(DETAIL, one[:, :n], strict=True)) for one in covers.steps)]
        columns = {
            f"{cover.name}: {name}": values[name]
            for cover, values in zip(self.programme.covers, steps, strict=True)
            for name in DETAIL
        }
        columns |= {name: values[:n] for name, values in zip(SUMMED, covers.sums, strict=True)}
        columns[FILED] = into.micro[:n]
        return columns | {name: values for name, values in found.items() if name not in DETAIL}

    def _fees(self, read: FeeColumns, merchant_fen: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return the columns of fees, and the sum of what the merchant owes."""
        fen = read.fen(self.programme.fees)
        owed = (fen[fee.name] for fee in self.programme.fees if fee.payer == MERCHANT)
        total = merchant_fen.astype(np.int64) + sum(owed, np.zeros(len(merchant_fen), dtype=np.int64))
        return {f"fee: {name}": values for name, values in fen.items()} | {TOTAL: total}

    def kinds(self, *, detail: bool, campaigns: bool) -> dict[str, Any]:
        """Return the type of each column of quotes."""
        into = self.buffers(0, detail=detail, campaigns=campaigns)
        columns = self._columns(into, detail=detail, campaigns=campaigns)
        columns = self._detailed(columns, into, 0) if detail and self.programme.has_filed else columns
        fees = [*(f"fee: {fee.name}" for fee in self.programme.fees), *([TOTAL] if self.programme.fees else [])]
        return {name: values.dtype for name, values in columns.items()} | dict.fromkeys(fees, np.dtype(np.int64))

    def buffers(self, n_orders: int, *, detail: bool = True, campaigns: bool = False) -> ProgrammeBuffers:
        """Return arrays for the quotes of up to `n_orders` orders."""
        first = super().buffers(n_orders, detail=detail, campaigns=campaigns)
        if detail and self.programme.has_filed:
            first = replace(first, micro=np.empty(len(first.list_fen), dtype=np.int64))
        return ProgrammeBuffers.of(first, CoverBuffers.of(len(self.beside), len(first.list_fen), detail=detail))

    def quote(
        self,
        order: Any,
        *,
        merchants: Any = None,
        balances: Balances | None = None,
        names: ColumnNames = PLAIN_NAMES,
        moved: int = 0,
    ) -> dict[str, Any]:
        """Return the price of one order; `moved` micro-yuan are added to the sum of the premiums."""
        known = self.whole_order(order, merchants, names)
        check_balances(balances)
        programme, date_format = self.programme, names.date_format
        _check.columns_present(self.columns_read, list(known), argument="order")
        first = encode_one(self.tariff, known, date_format=date_format)
        beside = tuple(encode_one(pricer.tariff, known, date_format=date_format) for pricer in self.beside)
        fees = None
        if programme.fees:
            gates, clock = programme.fee_gates, self.tariff.clock
            fees = FeeColumns.read_one(programme.fees, gates, known, clock=clock, date_format=date_format)
        coded = ProgrammeOrders.of(first, beside, fees)
        # A quote spends nothing, so it is priced on a copy.
        priced = self.price_columns(
            coded, threads=1, balances=None if balances is None else balances.copy(),
            moved=np.array([moved], dtype=np.int64) if moved else None,
        )  # fmt: skip
        return {name: values[0].item() for name, values in priced.items()}

    def explain(
        self,
        order: Any,
        *,
        merchants: Any = None,
        balances: Balances | None = None,
        names: ColumnNames = PLAIN_NAMES,
        moved: CoverSheet | None = None,
    ) -> Worksheet:
        """Return the worksheet of one order; `moved` is added to the sum of the premiums, with its lines."""
        check_balances(balances)
        known = self.whole_order(order, merchants, names)
        plain = replace(PLAIN_NAMES, date_format=names.date_format)
        quote = self.quote(known, balances=balances, names=plain, moved=0 if moved is None else moved.filed_micro)
        sheets = [
            cover_sheet(pricer.tariff, pricer.plan_arguments, known, date_format=names.date_format)
            for pricer in self.beside
        ]
        return worksheet(
            self.tariff, self.plan_arguments, known, quote, balances=Balances() if balances is None else balances,
            date_format=names.date_format, beside=sheets if moved is None else [*sheets, moved],
            title=f"Worksheet of programme '{self.programme.name}'",
            more=self._fee_lines(quote),
        )  # fmt: skip

    def _fee_lines(self, quote: Mapping[str, Any]) -> list[str]:
        lines = []
        for fee in self.programme.fees:
            fen = quote[f"fee: {fee.name}"]
            share = f"{fee.basis_points} basis points of {fee.of}" if fee.fixed_fen is None else "fixed"
            most = "" if fee.cap_fen is None else f", at most {fee.cap_fen:,}"
            why = f"{fee.payer} to {fee.payee}: {share}{most}" if fen else "not owed, or less than half a fen"
            lines.append(f"fee {fee.name:<20} {fen:>14,d}  {why}")
        if lines:
            lines.append(f"merchant total           {quote[TOTAL]:>14,d}  premium and fees of the merchant")
        return lines
