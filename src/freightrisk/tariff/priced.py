"""Priced: the faces that a tariff and a programme share: encode, price, quote, explain."""

from functools import cached_property
from typing import Any, Unpack

from numpy.typing import NDArray

from freightrisk._columns import ColumnNames, PricingColumns
from freightrisk.tariff.balances import Balances, spending
from freightrisk.tariff.pricing import PLAIN_NAMES, Pricer
from freightrisk.tariff.quotes import CodedOrders, QuoteBuffers
from freightrisk.tariff.worksheet import Worksheet


class Priced:
    """What turns orders into prices: a `Tariff`, a `Programme` or `Versions`."""

    @cached_property
    def pricer(self) -> Pricer:
        """Return the pricer, made at first use."""
        raise NotImplementedError

    @cached_property
    def digest(self) -> str:
        """Return the digest of the document; equal documents have equal digests."""
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Priced) or type(other) is not type(self):
            return NotImplemented
        return self is other or self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "pricer"}

    def encode(
        self,
        orders: Any,
        *,
        merchants: Any = None,
        threads: int | None = None,
        **columns: Unpack[PricingColumns],
    ) -> CodedOrders:
        """Return orders as the tariff's code columns, to be priced once or many times.

        Parameters
        ----------
        orders : pandas, polars or pyarrow table, or path of a Parquet file
            One row an order, with the tariff's columns (`columns_read`).
        merchants : like orders, optional
            One row a merchant, joined by `merchant_id`, with the columns that the orders lack.
        threads : int, optional
            All cores by default.
        **columns
            order_id, merchant_id, ship_date : names of these columns; by default their own names. The id is read if
            budgets, caps by merchant or carried rounding need a sequence of orders, and for dithered rounding.
            priority : column by which budgets serve orders, highest first; then by ship time, then by order id.
            date_format : format of texts with dates, as for `datetime.strptime`; ISO 8601 by default.
        """
        return self.pricer.encode(orders, merchants=merchants, names=ColumnNames.of(columns), threads=threads)

    def price(
        self,
        orders: Any,
        *,
        merchants: Any = None,
        balances: Balances | None = None,
        threads: int | None = None,
        detail: bool = True,
        campaigns: bool = False,
        progress: bool = False,
        **columns: Unpack[PricingColumns],
    ) -> Any:
        """Return one row for each order: the steps of its premium, the list price, and the fen of each payer.

        Parameters
        ----------
        orders : CodedOrders, or pandas, polars or pyarrow table, or path of a Parquet file
        merchants, columns
            As for `encode`.
        balances : Balances, optional
            Spending of budgets and rounding remainders before these orders. It is updated once all orders are priced,
            and unchanged if pricing fails. By default nothing was spent, and the spending of these orders is not kept.
        threads : int, optional
            All cores by default; the fen do not depend on it.
        detail : bool
            Include the steps before the list price.
        campaigns : bool
            Include a column ``paid: <name>`` for each subsidy, with the fen that it pays.
        progress : bool
            Show a progress bar.

        Returns
        -------
        table of the caller's kind (pandas for a path), with the caller's index
            claim_intensity, expected_claims (an order); expected_payout (yuan a claim); pure_premium and
            technical_premium (yuan an order); list_fen, one ``<payer>_fen`` a payer and merchant_fen (integers; the
            list price is the sum of the others); floor_bound (the floor raised the list price, or subsidies brought the
            merchant down to it), limit_bound (limits, the aggregate limit, deductible or conditions of the cover take
            more than 1 % off the payout), filed_bound (a filed limit changed the price) and unseen_level (a factor
            was priced on a fallback; bool). With limits by rule there is also limit_conflict (limits of the deciding
            priority have different amounts).

        Raises
        ------
        InputError
            If columns are missing, values are missing or impossible, or the tariff does not know a level.
        """
        return self.pricer.price(
            orders, merchants=merchants, names=ColumnNames.of(columns), balances=balances, threads=threads,
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
    ) -> dict[str, NDArray[Any]]:
        """Return the columns of `price` as arrays.

        Parameters
        ----------
        coded : CodedOrders
        threads : int, optional
            All cores by default.
        detail, campaigns, progress, balances
            As for `price`.
        buffers : QuoteBuffers, optional
            Arrays for the columns, from `buffers`. The returned columns are views of them and stay valid until the next
            call with the same buffers. By default every call makes new arrays.
        """
        with spending(balances) as after:
            return self.pricer.price_columns(
                coded, threads=threads, detail=detail, campaigns=campaigns, progress=progress, balances=after,
                buffers=buffers,
            )  # fmt: skip

    def buffers(self, n_orders: int, *, detail: bool = True, campaigns: bool = False) -> QuoteBuffers:
        """Return arrays for the quotes of up to `n_orders` orders, so that many batches need no new memory.

        Examples
        --------
        ``columns = tariff.price_columns(tariff.encode(batch), threads=2, buffers=tariff.buffers(1_000_000))``
        """
        return self.pricer.buffers(n_orders, detail=detail, campaigns=campaigns)

    def quote(
        self, order: Any, *, merchants: Any = None, balances: Balances | None = None, **columns: Unpack[PricingColumns]
    ) -> dict[str, Any]:
        """Return the price of one order as a dict with the names of `price`.

        `balances` gives the money left in budgets and caps; the quote does not change it.

        Parameters
        ----------
        order : mapping of column to value, or a row of a pandas frame
            The order, with the tariff's columns (`columns_read`).
        merchants : as for `encode`, optional
            Merchants, with the columns that the order lacks; read again for every order.
        balances : Balances, optional
        **columns
            As for `encode`.

        Examples
        --------
        See `Tariff.build` for a tariff; then ``tariff.quote({"zone": "far"})["list_fen"]``.
        """
        names = ColumnNames.of(columns) if columns else PLAIN_NAMES
        return self.pricer.quote(order, merchants=merchants, balances=balances, names=names)

    def explain(
        self, order: Any, *, merchants: Any = None, balances: Balances | None = None, **columns: Unpack[PricingColumns]
    ) -> Worksheet:
        """Print and return the worksheet of one order, step by step; its last line is the kernel's fen.

        Parameters
        ----------
        order, merchants, balances, columns
            As for `quote`.
        """
        sheet = self.pricer.explain(order, merchants=merchants, balances=balances, names=ColumnNames.of(columns))
        print(sheet)  # noqa: T201
        return sheet
