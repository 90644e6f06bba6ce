"""Settlement: what each payer owes for each merchant, campaign and day, and where rounding and the floor have gone."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from freightrisk import _check
from freightrisk._columns import MERCHANT_ID, ORDER_ID, SHIP_DATE
from freightrisk._shown import shown
from freightrisk._staged import staged
from freightrisk.errors import InputError
from freightrisk.pipeline.claim_sums import claim_sums
from freightrisk.pipeline.parties import sums_of_parties
from freightrisk.pipeline.quote_sums import PricedOrders
from freightrisk.pipeline.settlement_frames import (
    ACCOUNT_KEYS,
    ACCOUNTS,
    CLAIM_KEYS,
    CLAIM_SUMS,
    FEE_KEYS,
    FEE_SUMS,
    PAYER_KEYS,
    PAYER_SUMS,
    check_column,
    most_of,
    no_rows,
    read_frame,
    tidy,
)
from freightrisk.pipeline.version_settlement import funds_of_campaigns, rows_by_version
from freightrisk.programme.priced import PricedBy, check_priced
from freightrisk.programme.settled import SettledClaims
from freightrisk.programme.versions import Versions
from freightrisk.tariff.rounding import MICRO_PER_FEN

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("parquet", "csv")
MORE = ("claims", "fees")  # frames that a settlement may lack


@dataclass(frozen=True, eq=False, repr=False)
class Settlement:
    """Sums of quotes by day and merchant, whole numbers throughout.

    Settlements of batches add up with ``+``, and ``a - b`` takes a batch back.

    Parameters
    ----------
    payers : pandas.DataFrame
        A row for each day, merchant, payer and campaign: orders (that the payer paid for), fen. The merchant is the
        payer "merchant", of no campaign ("").
    accounts : pandas.DataFrame
        A row for each day and merchant: orders; list_fen, the sum of what all payers pay; received_fen, that without
        the insurer's own concessions; filed_micro, the premium in micro-yuan before rounding; floor_income_micro, what
        the filed premium falls short of the floor; rounding_micro, the rest of list_fen over filed_micro.
    claims : pandas.DataFrame, optional
        A row for each day, merchant and payer: claims (paid, less reversed ones), fen. `of_claims` makes it. None if no
        claims were settled.
    fees : pandas.DataFrame, optional
        A row for each day, merchant, payer, payee and fee: orders (that owe it), fen. None without fees.

    Notes
    -----
    `accounts` are those of the premium. What a merchant owes in total is its premium (the payer "merchant" of `payers`)
    and its fees (the payer "merchant" of `fees`); `by_party` adds them up.

    Examples
    --------
    >>> import pandas as pd
    >>> from freightrisk import Cover, Factor, FrequencyModel, OrderBook, Settlement, SeverityModel, Subsidy, Tariff
    >>> orders = pd.DataFrame({"order_id": range(8), "zone": ["near", "far"] * 4, "merchant_id": list("aaaabbbb")})
    >>> orders["ship_date"] = pd.Timestamp("2026-06-01")
    >>> claims = pd.DataFrame({"order_id": [0, 1, 3], "freight": [8.0, 15.0, 17.0]})
    >>> book = OrderBook.from_frames(orders, claims, factors=[Factor("zone")], report_date=None)
    >>> tariff = Tariff.build(FrequencyModel().fit(book), SeverityModel().fit(book), cover=Cover(max_claims=1),
    ...                       subsidies=[Subsidy("618 live", "platform", fixed_fen=30)])
    >>> settled = Settlement.of(tariff, orders, tariff.price(orders, campaigns=True))
    >>> settled.payers.groupby("payer")["fen"].sum().to_dict(), int(settled.accounts["list_fen"].sum())
    ({'merchant': 2988, 'platform': 240}, 3228)
    """

    payers: "pd.DataFrame"
    accounts: "pd.DataFrame"
    claims: "pd.DataFrame | None" = None
    fees: "pd.DataFrame | None" = None

    def __post_init__(self) -> None:
        parts = [("payers", PAYER_KEYS, PAYER_SUMS), ("accounts", ACCOUNT_KEYS, ACCOUNTS)]
        more = [("claims", CLAIM_KEYS, CLAIM_SUMS), ("fees", FEE_KEYS, FEE_SUMS)]
        for argument, keys, names in [*parts, *(one for one in more if getattr(self, one[0]) is not None)]:
            frame = _check.frame(getattr(self, argument), argument=argument)
            _check.columns_present([*keys, *names], list(frame.columns), argument=argument)
            for name in names:
                check_column(frame[name], most_of(name))

    @classmethod
    def of(
        cls,
        tariff: PricedBy,
        orders: Any,
        quotes: Any,
        *,
        merchants: Any = None,
        merchant_id: str = MERCHANT_ID,
        order_id: str = ORDER_ID,
        day: str = SHIP_DATE,
        insurer: str = "insurer",
        date_format: str | None = None,
    ) -> "Settlement":
        """Return the settlement of priced orders.

        Parameters
        ----------
        tariff : Tariff, Programme or Versions
            That priced them. Of versions, the rows of each version are settled with its programme (column `version` of
            the quotes) and added up. Orders without a version count in no account.
        orders : pandas, polars or pyarrow table, or path of a Parquet file
            One row an order, with merchant and day, the days on which fees are due, and the columns of the factor if
            `filed_factor` is a `ByLevel`.
        quotes : like orders
            Their quotes, from ``price(..., detail=True, campaigns=True)`` of the tariff or a ledger. Rows are paired by
            place, so do not sort one of the two. Two pandas frames must have the same index in the same order, as
            quotes have from `price`, and ids of orders that both have must be the same.
        merchants : like orders, optional
            One row a merchant, with columns of the filed factor that the orders lack.
        merchant_id, day : str
            Columns of the orders; a missing day or merchant has rows of its own.
        order_id : str
            Column that tells whether rows are the same, if both orders and quotes have it.
        insurer : str
            The payer whose subsidies are concessions rather than receipts.
        date_format : str, optional
            How texts with days are written; ISO 8601 by default. Days are those of the tariff's clock.

        Raises
        ------
        InputError
            For quotes of other orders or in another order, without campaigns or detail, or whose payers do not sum to
            the list price; for sums of a merchant and day that 64 bits do not hold; for unknown versions.

        Notes
        -----
        A fee counts on its `due` day, a column of the orders, and not at all while this day is missing. Once the day is
        known, settle the same orders again and put the result in the place of the first: ``total - first + again``.
        """
        tariff = check_priced(tariff)
        named = {"merchant_id": merchant_id, "order_id": order_id, "day": day, "insurer": insurer}
        for argument, name in named.items():
            _check.label(name, argument=argument)
        if isinstance(tariff, Versions):
            return cls._of_versions(tariff, orders, quotes, named, merchants=merchants, date_format=date_format)
        priced = PricedOrders.read(
            tariff, orders, quotes, merchants=merchants, merchant_id=merchant_id, order_id=order_id, day=day,
            date_format=date_format,
        )  # fmt: skip
        payers, accounts = priced.payers_and_accounts(insurer)
        return cls(tidy(payers, PAYER_KEYS), tidy(accounts, ACCOUNT_KEYS), None, _tidy_all([priced.fees()], FEE_KEYS))

    @classmethod
    def _of_versions(
        cls, versions: Versions, orders: Any, quotes: Any, named: dict[str, str], **more: Any
    ) -> "Settlement":
        """Return the settlement of the orders of several versions."""
        columns = {name: value for name, value in named.items() if name != "insurer"}
        found: Settlement | None = None
        for programme, some, theirs in rows_by_version(versions, orders, quotes, **columns):
            try:
                one = cls.of(programme, some, theirs, **named, **more)
            except InputError as error:
                raise InputError(f"{error} (orders of programme '{programme.name}')") from None
            found = one if found is None else found + one
        return cls(no_rows(PAYER_KEYS, PAYER_SUMS), no_rows(ACCOUNT_KEYS, ACCOUNTS)) if found is None else found

    @classmethod
    def of_claims(
        cls,
        settled: SettledClaims,
        claims: Any,
        *,
        orders: Any = None,
        merchant_id: str = MERCHANT_ID,
        order_id: str = ORDER_ID,
    ) -> "Settlement":
        """Return the settlement of claims; add it to the settlement of priced orders with ``+``.

        Parameters
        ----------
        settled : SettledClaims
            From `settle`.
        claims, orders : pandas, polars or pyarrow table, or path of a Parquet file
            The claims that were settled, in their sequence, with the merchant; or their orders with the merchant.
        merchant_id, order_id : str
            Columns of claims and orders. A missing merchant has rows of its own.

        Notes
        -----
        A payment counts on the day of the report. A reversal counts on its own day with a minus sign, also if the claim
        was paid in an earlier batch. So batches that are settled one after another add up to all claims at once.

        Examples
        --------
        >>> import pandas as pd
        >>> from freightrisk import Cover, Settlement, settle
        >>> claims = pd.DataFrame({"order_id": [1, 2], "freight": [12.0, 8.5], "report_date": "2026-06-20"})
        >>> claims["merchant_id"] = "m1"
        >>> settled = settle(Cover(limit=10.0), claims)
        >>> Settlement.of_claims(settled, claims).claims[["merchant_id", "payer", "claims", "fen"]]
          merchant_id    payer  claims   fen
        0          m1  insurer       2  1850
        """
        sums = claim_sums(settled, claims, orders, merchant_id=merchant_id, order_id=order_id)
        return cls(no_rows(PAYER_KEYS, PAYER_SUMS), no_rows(ACCOUNT_KEYS, ACCOUNTS), tidy(sums, CLAIM_KEYS))

    def __add__(self, other: object) -> "Settlement":
        """Return the settlement of both."""
        import pandas as pd

        if not isinstance(other, Settlement):
            return NotImplemented

        return Settlement(
            tidy(pd.concat([self.payers, other.payers]), PAYER_KEYS),
            tidy(pd.concat([self.accounts, other.accounts]), ACCOUNT_KEYS),
            _tidy_all([self.claims, other.claims], CLAIM_KEYS),
            _tidy_all([self.fees, other.fees], FEE_KEYS),
        )

    def __sub__(self, other: object) -> "Settlement":
        """Return the settlement without another, such as that of a batch that is taken back."""
        return self + (-other) if isinstance(other, Settlement) else NotImplemented

    def __neg__(self) -> "Settlement":
        """Return the reversal: every amount and every number of orders taken back."""
        return Settlement(
            self.payers.assign(orders=-self.payers["orders"], fen=-self.payers["fen"]),
            self.accounts.assign(**{name: -self.accounts[name] for name in ACCOUNTS}),
            None if self.claims is None else self.claims.assign(**{name: -self.claims[name] for name in CLAIM_SUMS}),
            None if self.fees is None else self.fees.assign(**{name: -self.fees[name] for name in FEE_SUMS}),
        )

    @property
    def is_balanced(self) -> bool:
        """Return whether payers sum to the list price, and the list price to its parts, of every merchant and day."""
        import pandas as pd

        listed = self.accounts[ACCOUNT_KEYS].assign(fen=-self.accounts["list_fen"])
        gap = pd.concat([self.payers[[*ACCOUNT_KEYS, "fen"]], listed]).groupby(ACCOUNT_KEYS, dropna=False)["fen"].sum()
        parts = self.accounts[["filed_micro", "rounding_micro", "floor_income_micro"]].sum(axis=1)
        return bool((gap == 0).all() and (parts == self.accounts["list_fen"] * MICRO_PER_FEN).all())

    def by_party(self, *, insurer: str = "insurer") -> "pd.DataFrame":
        """Return what each party paid and received: day, party, kind, paid_fen, received_fen.

        The kinds are premium (from the merchant to the insurer), subsidies (from their payers to the insurer), fees
        (from payer to payee) and claims (from their payers to the buyer). On each day, all parties together paid what
        they received, of each kind. A reversed claim has minus signs on its day. What a merchant pays in total is
        premium and fees.

        Parameters
        ----------
        insurer : str
            Name of the insurer, as for `of`. Its own subsidies are paid and received by it; claims of the payer
            "insurer" are its claims.

        Examples
        --------
        ``settled.by_party().groupby("party")[["paid_fen", "received_fen"]].sum()``
        """
        return sums_of_parties(self.payers, self.claims, self.fees, _check.label(insurer, argument="insurer"))

    def by_fund(self, tariff: PricedBy) -> "pd.DataFrame":
        """Return what each fund paid, of all merchants together: day, fund, payer, fen.

        Parameters
        ----------
        tariff : Tariff, Programme or Versions
            Whose rules name their funds.

        Examples
        --------
        ``settled.by_fund(tariff).groupby("fund")["fen"].sum()``
        """
        tariff = check_priced(tariff)
        funds = funds_of_campaigns(tariff)
        fund = self.payers["campaign"].map({name: one for name, one in funds.items() if one is not None})
        drawn = self.payers.assign(fund=fund.astype(object))[fund.notna().to_numpy()]
        return drawn.groupby(["day", "fund", "payer"], dropna=False, sort=True)["fen"].sum().reset_index()

    def save(self, folder: str | Path, *, format: str = "parquet") -> list[Path]:  # noqa: A002
        """Write the frames into a folder as Parquet or CSV; all files appear whole or not at all.

        Returns
        -------
        list of Path
            ``payers.parquet``, ``accounts.parquet`` and, if there are any, ``claims.parquet`` and ``fees.parquet``; or
            with ``.csv``.
        """
        _check.one_of(format, FORMATS, argument="format")
        folder = _check.path(folder, argument="folder")
        if not folder.is_dir():
            raise InputError(f"folder '{folder}' does not exist; create it first.")
        frames = {"payers": self.payers, "accounts": self.accounts}
        for name in MORE:
            if getattr(self, name) is not None:
                frames[name] = getattr(self, name)
            elif (folder / f"{name}.{format}").exists():
                raise InputError(
                    f"folder '{folder}' has the {name} of another settlement; save into a folder of its own."
                )
        paths = [_check.output_path(folder / f"{name}.{format}", argument="folder") for name in frames]
        with staged(paths) as parts:
            for frame, part in zip(frames.values(), parts, strict=True):
                # An id that is a number in one batch and a text in another has no one type; a text holds both.
                texts = frame.assign(merchant_id=frame["merchant_id"].astype("string"))
                texts.to_parquet(part, index=False) if format == "parquet" else texts.to_csv(part, index=False)
        return paths

    @classmethod
    def load(cls, folder: str | Path, *, format: str = "parquet") -> "Settlement":  # noqa: A002
        """Return the settlement that `save` has written into a folder.

        Raises
        ------
        InputError
            Where a file is missing or damaged, or holds no settlement.

        Examples
        --------
        >>> import tempfile
        >>> import pandas as pd
        >>> from freightrisk import Settlement
        >>> days = {"day": pd.to_datetime(["2026-06-01"]), "merchant_id": "m1"}
        >>> payers = pd.DataFrame({**days, "payer": "merchant", "campaign": "", "orders": 2, "fen": 75})
        >>> sums = {"list_fen": 75, "received_fen": 75, "filed_micro": 748_000, "rounding_micro": 2_000}
        >>> settled = Settlement(payers, pd.DataFrame({**days, "orders": 2, **sums, "floor_income_micro": 0}))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = settled.save(folder)
        ...     Settlement.load(folder)
        Settlement: 2 orders, 0.75 yuan (rounding +0.00, floor +0.00); paid by merchant 0.75
        """
        _check.one_of(format, FORMATS, argument="format")
        folder = _check.path(folder, argument="folder")
        more = {name: path for name in MORE if (path := folder / f"{name}.{format}").exists()}
        read = {name: read_frame(path) for name, path in more.items()}
        found = cls(*(read_frame(folder / f"{name}.{format}") for name in ("payers", "accounts")), **read)
        return cls(
            tidy(found.payers, PAYER_KEYS), tidy(found.accounts, ACCOUNT_KEYS),
            _tidy_all([found.claims], CLAIM_KEYS), _tidy_all([found.fees], FEE_KEYS),
        )  # fmt: skip

    def __repr__(self) -> str:
        # All merchants and days together may be more than 64 bits hold.
        sums = self.accounts[ACCOUNTS].astype(np.float64).sum()
        priced = (
            f"{int(sums['orders']):,} orders, {sums['list_fen'] / 100:,.2f} yuan (rounding "
            f"{sums['rounding_micro'] / 1e6:+,.2f}, floor {sums['floor_income_micro'] / 1e6:+,.2f}); "
            f"paid by {_by_name(self.payers) or 'nobody'}"
        )
        parts = [priced]
        if self.fees is not None:
            fees = self.fees["fen"].astype(np.float64).sum() / 100
            parts.append(f"fees {fees:,.2f} yuan; paid by {_by_name(self.fees) or 'nobody'}")
        if self.claims is not None:
            fen, n = self.claims["fen"].astype(np.float64).sum(), int(self.claims["claims"].sum())
            owed = f"{n:,} claims, {fen / 100:,.2f} yuan; paid by {_by_name(self.claims) or 'nobody'}"
            parts = [owed] if self.accounts.empty and self.payers.empty and self.fees is None else [*parts, owed]
        return shown("Settlement: " + "; ".join(parts))


def _tidy_all(frames: "list[pd.DataFrame | None]", keys: list[str]) -> "pd.DataFrame | None":
    """Return the sums of all frames that are there, by key; None if there are none."""
    import pandas as pd

    found = [frame for frame in frames if frame is not None]
    return tidy(pd.concat(found), keys) if found else None


def _by_name(sums: "pd.DataFrame") -> str:
    """Return the yuan of each payer."""
    by_payer = sums["fen"].astype(np.float64).groupby(sums["payer"], sort=False).sum()
    return ", ".join(f"{payer} {fen / 100:,.2f}" for payer, fen in by_payer.items())
