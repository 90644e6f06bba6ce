"""Settlement: what each payer owes for each merchant, campaign and day, and where rounding and the floor have gone."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._columns import MERCHANT_ID, ORDER_ID, SHIP_DATE, ColumnNames, Table, read
from freightrisk._shown import shown
from freightrisk._staged import staged
from freightrisk.errors import InputError
from freightrisk.pipeline.claim_sums import claim_sums
from freightrisk.pipeline.filed import filed_factors
from freightrisk.pipeline.settlement_frames import (
    ACCOUNT_KEYS,
    ACCOUNTS,
    CLAIM_KEYS,
    CLAIM_SUMS,
    PAYER_KEYS,
    PAYER_SUMS,
    check_column,
    check_sums,
    most_of,
    no_rows,
    read_frame,
    tidy,
)
from freightrisk.programme.settled import SettledClaims
from freightrisk.tariff.rounding import MICRO_PER_FEN, whole_sums
from freightrisk.tariff.tariff import Tariff

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("parquet", "csv")


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

    def __post_init__(self) -> None:
        parts = [("payers", PAYER_KEYS, PAYER_SUMS), ("accounts", ACCOUNT_KEYS, ACCOUNTS)]
        for argument, keys, names in [*parts, *([] if self.claims is None else [("claims", CLAIM_KEYS, CLAIM_SUMS)])]:
            frame = _check.frame(getattr(self, argument), argument=argument)
            _check.columns_present([*keys, *names], list(frame.columns), argument=argument)
            for name in names:
                check_column(frame[name], most_of(name))

    @classmethod
    def of(
        cls,
        tariff: Tariff,
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
        tariff : Tariff
            That priced them.
        orders : pandas, polars or pyarrow table, or path of a Parquet file
            One row an order, with merchant and day; with the columns of the factor if `filed_factor` is a `ByLevel`.
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
            the list price; for sums of a merchant and day that 64 bits do not hold.
        """
        _check.instance(tariff, Tariff, argument="tariff")
        named = {"merchant_id": merchant_id, "order_id": order_id, "day": day, "insurer": insurer}
        for argument, name in named.items():
            _check.label(name, argument=argument)
        wanted, clock = [merchant_id, day, order_id], tariff.clock
        asked = read(orders, wanted, argument="orders", key=merchant_id, clock=clock, date_format=date_format)
        _check.columns_present([merchant_id, day], asked.names, argument="orders")
        told = _told(quotes, tariff, order_id)
        if told.n_rows != asked.n_rows:
            raise InputError(f"quotes have {told.n_rows:,} rows and orders {asked.n_rows:,}; give those of one batch.")
        _check_same_rows(asked, told, order_id)
        fen, technical = _fen(told, ["list_fen", "merchant_fen", *_paid(tariff)]), _premium(told)
        total = sum((fen[name] for name in _paid(tariff)), fen["merchant_fen"])
        _check.refuse_rows(
            total != fen["list_fen"], "quotes: payers do not sum to list_fen in {rows}; price these orders again."
        )
        group, place = _groups(asked, merchant_id, day)
        payers = _by_payer(tariff, fen, group, place)
        names = ColumnNames(order_id=order_id, merchant_id=merchant_id, date_format=date_format)
        micro = tariff.loadings.filed_micro(technical, filed_factors(tariff, orders, merchants, names))
        accounts = _by_account(tariff, fen, micro, insurer, group, place)
        return cls(tidy(payers, PAYER_KEYS), tidy(accounts, ACCOUNT_KEYS))

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

        claims = [one for one in (self.claims, other.claims) if one is not None]
        return Settlement(
            tidy(pd.concat([self.payers, other.payers]), PAYER_KEYS),
            tidy(pd.concat([self.accounts, other.accounts]), ACCOUNT_KEYS),
            tidy(pd.concat(claims), CLAIM_KEYS) if claims else None,
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
        )

    @property
    def is_balanced(self) -> bool:
        """Return whether payers sum to the list price, and the list price to its parts, of every merchant and day."""
        import pandas as pd

        listed = self.accounts[ACCOUNT_KEYS].assign(fen=-self.accounts["list_fen"])
        gap = pd.concat([self.payers[[*ACCOUNT_KEYS, "fen"]], listed]).groupby(ACCOUNT_KEYS, dropna=False)["fen"].sum()
        parts = self.accounts[["filed_micro", "rounding_micro", "floor_income_micro"]].sum(axis=1)
        return bool((gap == 0).all() and (parts == self.accounts["list_fen"] * MICRO_PER_FEN).all())

    def by_fund(self, tariff: Tariff) -> "pd.DataFrame":
        """Return what each fund of a tariff paid, of all merchants together: day, fund, payer, fen.

        Parameters
        ----------
        tariff : Tariff
            The tariff whose rules name their funds.

        Examples
        --------
        ``settled.by_fund(tariff).groupby("fund")["fen"].sum()``
        """
        _check.instance(tariff, Tariff, argument="tariff")
        fund = self.payers["campaign"].map({rule.name: rule.fund for rule in tariff.subsidies if rule.fund is not None})
        drawn = self.payers.assign(fund=fund.astype(object))[fund.notna().to_numpy()]
        return drawn.groupby(["day", "fund", "payer"], dropna=False, sort=True)["fen"].sum().reset_index()

    def save(self, folder: str | Path, *, format: str = "parquet") -> list[Path]:  # noqa: A002
        """Write payers, accounts and claims into a folder as Parquet or CSV; all files appear whole or not at all.

        Returns
        -------
        list of Path
            ``payers.parquet``, ``accounts.parquet`` and, if claims were settled, ``claims.parquet``; or with ``.csv``.
        """
        _check.one_of(format, FORMATS, argument="format")
        folder = _check.path(folder, argument="folder")
        if not folder.is_dir():
            raise InputError(f"folder '{folder}' does not exist; create it first.")
        frames = {"payers": self.payers, "accounts": self.accounts}
        if self.claims is not None:
            frames["claims"] = self.claims
        elif (folder / f"claims.{format}").exists():
            raise InputError(f"folder '{folder}' has the claims of another settlement; save into a folder of its own.")
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
        with_claims = (folder / f"claims.{format}").exists()
        names = ("payers", "accounts", *(["claims"] if with_claims else []))
        found = cls(*(read_frame(folder / f"{name}.{format}") for name in names))
        claims = None if found.claims is None else tidy(found.claims, CLAIM_KEYS)
        return cls(tidy(found.payers, PAYER_KEYS), tidy(found.accounts, ACCOUNT_KEYS), claims)

    def __repr__(self) -> str:
        # All merchants and days together may be more than 64 bits hold.
        sums = self.accounts[ACCOUNTS].astype(np.float64).sum()
        priced = (
            f"{int(sums['orders']):,} orders, {sums['list_fen'] / 100:,.2f} yuan (rounding "
            f"{sums['rounding_micro'] / 1e6:+,.2f}, floor {sums['floor_income_micro'] / 1e6:+,.2f}); "
            f"paid by {_by_name(self.payers) or 'nobody'}"
        )
        parts = [priced]
        if self.claims is not None:
            fen, n = self.claims["fen"].astype(np.float64).sum(), int(self.claims["claims"].sum())
            owed = f"{n:,} claims, {fen / 100:,.2f} yuan; paid by {_by_name(self.claims) or 'nobody'}"
            parts = [owed] if self.accounts.empty and self.payers.empty else [*parts, owed]
        return shown("Settlement: " + "; ".join(parts))


def _by_name(sums: "pd.DataFrame") -> str:
    """Return the yuan of each payer."""
    by_payer = sums["fen"].astype(np.float64).groupby(sums["payer"], sort=False).sum()
    return ", ".join(f"{payer} {fen / 100:,.2f}" for payer, fen in by_payer.items())


def _paid(tariff: Tariff) -> list[str]:
    """Return the columns of quotes with the fen of each subsidy."""
    return [f"paid: {rule.name}" for rule in tariff.subsidies]


def _told(quotes: Any, tariff: Tariff, order_id: str) -> Table:
    """Return the columns of quotes that a settlement reads, refusing quotes without campaigns or detail."""
    wanted = ["technical_premium", "list_fen", "merchant_fen", *_paid(tariff)]
    told = read(quotes, [*wanted, order_id], argument="quotes", key=order_id)
    lost = [name for name in _paid(tariff) if name not in told.names]
    if lost:
        raise InputError(
            f"quotes: missing column '{lost[0]}', the fen of that subsidy; price these orders with campaigns=True."
        )
    _check.columns_present(wanted, told.names, argument="quotes")
    return told


def _fen(told: Table, names: list[str]) -> dict[str, NDArray[np.int64]]:
    """Return columns of fen as whole numbers; floats hold them exactly below 2**53."""
    floats = {name: told.real(name) for name in names}
    for name, values in floats.items():
        told.refuse(
            ~((np.abs(values) < 2.0**53) & (values == np.floor(values))),
            f"quotes: '{name}' is no whole number of fen in {{rows}}; give what price returned.",
            name,
        )
    return {name: values.astype(np.int64) for name, values in floats.items()}


def _premium(told: Table) -> NDArray[np.float64]:
    technical = told.real("technical_premium")
    told.refuse(
        ~((technical >= 0.0) & np.isfinite(technical)),
        "quotes: 'technical_premium' is no premium in {rows}; give what price returned.",
        "technical_premium",
    )
    return technical


def _groups(asked: Table, merchant_id: str, day: str) -> tuple[NDArray[np.int64], "pd.DataFrame"]:
    """Return the number of each order's day and merchant, and the day and merchant of each number."""
    import pandas as pd

    merchants, values = asked.id_codes(merchant_id)
    names = [None, *values.tolist()]  # a missing merchant, whose code is -1, comes first
    days, when = pd.factorize(asked.days(day), use_na_sentinel=False)
    group, keys = pd.factorize(days.astype(np.int64) * len(names) + merchants + 1)
    owners = pd.Series(names, dtype=object).to_numpy()[keys % len(names)]
    return group, pd.DataFrame({"day": when[keys // len(names)], "merchant_id": owners})


def _summed(values: NDArray[np.int64], group: NDArray[np.int64], n: int, most: int) -> NDArray[np.int64]:
    """Return the sum of each of `n` groups."""
    check_sums(values, lambda: group, most)
    return whole_sums(group, values, n)


def _by_payer(
    tariff: Tariff, fen: dict[str, NDArray[np.int64]], group: NDArray[np.int64], place: "pd.DataFrame"
) -> "pd.DataFrame":
    """Return the orders and the fen of each day, merchant, payer and campaign."""
    import pandas as pd

    who = [("merchant", "", fen["merchant_fen"])]
    who += [(rule.payer, rule.name, fen[name]) for rule, name in zip(tariff.subsidies, _paid(tariff), strict=True)]
    rows = []
    for payer, campaign, amount in who:
        part = place.assign(payer=payer, campaign=campaign)
        for name, values in zip(PAYER_SUMS, ((amount > 0).astype(np.int64), amount), strict=True):
            part[name] = _summed(values, group, len(place), most_of(name))
        rows.append(part[part["fen"] > 0])
    return pd.concat(rows)


def _by_account(
    tariff: Tariff,
    fen: dict[str, NDArray[np.int64]],
    micro: NDArray[np.int64],
    insurer: str,
    group: NDArray[np.int64],
    place: "pd.DataFrame",
) -> "pd.DataFrame":
    """Return the accounts of each day and merchant: orders, list price and premium, rounding and floor apart."""
    none = np.zeros(len(micro), dtype=np.int64)
    own = sum((fen[f"paid: {rule.name}"] for rule in tariff.subsidies if rule.payer == insurer), none)
    floor_income = np.maximum(tariff.floor_fen * MICRO_PER_FEN - micro, 0)
    columns = [
        np.ones(len(micro), dtype=np.int64),
        fen["list_fen"],
        fen["list_fen"] - own,
        micro,
        fen["list_fen"] * MICRO_PER_FEN - micro - floor_income,
        floor_income,
    ]
    sums = zip(ACCOUNTS, columns, strict=True)
    return place.assign(**{name: _summed(column, group, len(place), most_of(name)) for name, column in sums})


def _check_same_rows(orders: Table, quotes: Table, order_id: str) -> None:
    """Raise where the ids of orders, or the indexes of two pandas frames, say that rows are not the same."""
    if order_id in orders.names and order_id in quotes.names:
        apart = np.asarray(orders.ids(order_id) != quotes.ids(order_id), dtype=bool)
        quotes.refuse(
            apart if apart.shape else np.full(quotes.n_rows, apart),
            f"quotes: '{order_id}' is another than that of the orders in {{rows}}, so the rows are not the same; give "
            "quotes in the order of the orders.",
            order_id,
        )
    mine, theirs = (getattr(table.frame, "index", None) for table in (orders, quotes))
    if mine is None or theirs is None or mine.equals(theirs):
        return
    place = next((k for k, (one, other) in enumerate(zip(mine, theirs, strict=True)) if str(one) != str(other)), 0)
    raise InputError(
        f"quotes and orders have different indexes (first at row {place}: {theirs[place]} and {mine[place]}), so "
        "their rows are not the same. Give quotes.loc[orders.index], or reset both indexes if the rows do correspond."
    )
