"""Settlement: what each payer owes for each merchant, campaign and day, and where rounding and the floor have gone."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._columns import MERCHANT_ID, ORDER_ID, SHIP_DATE, Table, read
from freightrisk._intake import Id, Refused, id_of, is_missing
from freightrisk._shown import repr_of, shown
from freightrisk._staged import staged
from freightrisk.errors import InputError
from freightrisk.tariff.rounding import MICRO_PER_FEN, MOST_MICRO, whole_sums
from freightrisk.tariff.tariff import Tariff

if TYPE_CHECKING:
    import pandas as pd

PAYER_KEYS = ["day", "merchant_id", "payer", "campaign"]
ACCOUNT_KEYS = ["day", "merchant_id"]
PAYER_SUMS = ["orders", "fen"]
ACCOUNTS = ["orders", "list_fen", "received_fen", "filed_micro", "rounding_micro", "floor_income_micro"]
FORMATS = ("parquet", "csv")
DAY = "datetime64[s]"


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

    def __post_init__(self) -> None:
        for argument, keys, names in (("payers", PAYER_KEYS, PAYER_SUMS), ("accounts", ACCOUNT_KEYS, ACCOUNTS)):
            frame = _check.frame(getattr(self, argument), argument=argument)
            _check.columns_present([*keys, *names], list(frame.columns), argument=argument)
            for name in names:
                _check_column(frame[name], _most(name))

    @classmethod
    def of(
        cls,
        tariff: Tariff,
        orders: Any,
        quotes: Any,
        *,
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
            One row an order, with merchant and day.
        quotes : like orders
            Their quotes, from ``price(..., detail=True, campaigns=True)`` of the tariff or a ledger. Rows are paired by
            place, so do not sort one of the two. Two pandas frames must have the same index in the same order, as
            quotes have from `price`, and ids of orders that both have must be the same.
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
        accounts = _by_account(tariff, fen, technical, insurer, group, place)
        return cls(_tidy(payers, PAYER_KEYS), _tidy(accounts, ACCOUNT_KEYS))

    def __add__(self, other: object) -> "Settlement":
        """Return the settlement of both."""
        import pandas as pd

        if not isinstance(other, Settlement):
            return NotImplemented

        return Settlement(
            _tidy(pd.concat([self.payers, other.payers]), PAYER_KEYS),
            _tidy(pd.concat([self.accounts, other.accounts]), ACCOUNT_KEYS),
        )

    def __sub__(self, other: object) -> "Settlement":
        """Return the settlement without another, such as that of a batch that is taken back."""
        return self + (-other) if isinstance(other, Settlement) else NotImplemented

    def __neg__(self) -> "Settlement":
        """Return the reversal: every amount and every number of orders taken back."""
        return Settlement(
            self.payers.assign(orders=-self.payers["orders"], fen=-self.payers["fen"]),
            self.accounts.assign(**{name: -self.accounts[name] for name in ACCOUNTS}),
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
        """Write payers and accounts into a folder as Parquet or CSV; both files appear whole or not at all.

        Returns
        -------
        list of Path
            ``payers.parquet`` and ``accounts.parquet``, or with ``.csv``.
        """
        _check.one_of(format, FORMATS, argument="format")
        folder = _check.path(folder, argument="folder")
        if not folder.is_dir():
            raise InputError(f"folder '{folder}' does not exist; create it first.")
        paths = [_check.output_path(folder / f"{name}.{format}", argument="folder") for name in ("payers", "accounts")]
        with staged(paths) as parts:
            for frame, part in zip((self.payers, self.accounts), parts, strict=True):
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
        frames = [_read(folder / f"{name}.{format}") for name in ("payers", "accounts")]
        found = cls(*frames)
        return cls(_tidy(found.payers, PAYER_KEYS), _tidy(found.accounts, ACCOUNT_KEYS))

    def __repr__(self) -> str:
        by_payer = self.payers["fen"].astype(np.float64).groupby(self.payers["payer"], sort=False).sum()
        paid = ", ".join(f"{payer} {fen / 100:,.2f}" for payer, fen in by_payer.items())
        # All merchants and days together may be more than 64 bits hold.
        sums = self.accounts[ACCOUNTS].astype(np.float64).sum()
        return shown(
            f"Settlement: {int(sums['orders']):,} orders, {sums['list_fen'] / 100:,.2f} yuan (rounding "
            f"{sums['rounding_micro'] / 1e6:+,.2f}, floor {sums['floor_income_micro'] / 1e6:+,.2f}); "
            f"paid by {paid or 'nobody'}"
        )


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
            part[name] = _summed(values, group, len(place), _most(name))
        rows.append(part[part["fen"] > 0])
    return pd.concat(rows)


def _by_account(
    tariff: Tariff,
    fen: dict[str, NDArray[np.int64]],
    technical: NDArray[np.float64],
    insurer: str,
    group: NDArray[np.int64],
    place: "pd.DataFrame",
) -> "pd.DataFrame":
    """Return the accounts of each day and merchant: orders, list price and premium, rounding and floor apart."""
    none = np.zeros(len(technical), dtype=np.int64)
    own = sum((fen[f"paid: {rule.name}"] for rule in tariff.subsidies if rule.payer == insurer), none)
    micro = tariff.loadings.filed_micro(technical)
    floor_income = np.maximum(tariff.floor_fen * MICRO_PER_FEN - micro, 0)
    columns = [
        np.ones(len(technical), dtype=np.int64),
        fen["list_fen"],
        fen["list_fen"] - own,
        micro,
        fen["list_fen"] * MICRO_PER_FEN - micro - floor_income,
        floor_income,
    ]
    sums = zip(ACCOUNTS, columns, strict=True)
    return place.assign(**{name: _summed(column, group, len(place), _most(name)) for name, column in sums})


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


def _read(path: Path) -> "pd.DataFrame":
    """Return a frame of a settlement as it was before it was saved."""
    import pandas as pd
    import pyarrow as pa

    try:
        if path.suffix == ".parquet":
            kept = pd.read_parquet(path)
            return kept.assign(day=kept["day"].astype(DAY)) if "day" in kept else kept
        texts = pd.read_csv(path, dtype=str, keep_default_na=False)
        numbers = [name for name in texts if name in (*PAYER_SUMS, *ACCOUNTS)]
        kept = texts.astype(dict.fromkeys(numbers, "int64"))
        if "day" in kept and "merchant_id" in kept:
            day = pd.to_datetime(kept["day"].replace("", None), format="ISO8601").astype(DAY)
            kept = kept.assign(day=day, merchant_id=kept["merchant_id"].replace("", None))
        return kept
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(
            f"'{path}' cannot be read as part of a saved settlement: {error}; give the folder of a settlement."
        ) from None


def check_sums(values: NDArray[np.int64], codes: Callable[[], NDArray[Any]], most: int) -> None:
    """Refuse whole numbers whose sums by code may not fit: sums that wrap would still agree with each other."""
    if len(values) * max(float(values.max(initial=0)), -float(values.min(initial=0))) < most:
        return
    largest = np.bincount(codes(), np.abs(values.astype(np.float64))).max()
    if largest >= most:
        raise InputError(
            f"amounts of one merchant and day come to about {largest:.3g}, and their sums hold {most:.3g} at most; "
            "look at the premiums of these orders, or settle fewer orders at a time."
        )


def _check_column(column: Any, most: int) -> None:
    """Refuse a column that is not of whole numbers, or whose numbers are larger than sums may be."""
    if column.dtype != np.int64:
        raise InputError(f"settlement: column '{column.name}' is of type {column.dtype}; it must be int64.")
    values = column.to_numpy()
    if len(values) and not -most < values.min() <= values.max() < most:
        raise InputError(
            f"settlement: column '{column.name}' goes from {values.min():,} to {values.max():,}; it must stay within "
            f"{most:.3g} of zero, so that sums of two are right."
        )


def _most(name: str) -> int:
    return MOST_MICRO if name.endswith("_micro") else MOST_MICRO // MICRO_PER_FEN


def _merchant(value: Any) -> Id | None:
    """Return the id of a merchant: texts of whole numbers are these numbers, as a saved settlement has them."""
    try:
        return None if is_missing(value) else id_of(value)
    except Refused as refused:
        raise InputError(f"merchant {repr_of(value)} of a settlement {refused.fault}; {refused.cure}.") from None


def _tidy(frame: "pd.DataFrame", keys: list[str]) -> "pd.DataFrame":
    """Return the sums of a frame's rows by its keys, in their order."""
    import pandas as pd

    # Merchants are grouped by number: pandas would make floats of whole ids beside a missing one, and merge large ones.
    merchants = [_merchant(one) for one in frame["merchant_id"].tolist()]
    known = sorted({one for one in merchants if one is not None}, key=lambda one: (isinstance(one, str), one))
    number = {merchant: k for k, merchant in enumerate(known)}
    numbered = frame.assign(merchant_id=[len(known) if one is None else number[one] for one in merchants])
    groups = numbered.groupby(keys, dropna=False, sort=True)
    for name in frame.columns.difference(keys):
        check_sums(frame[name].to_numpy(), lambda: groups.ngroup().to_numpy(), _most(name))
    sums = groups.sum().reset_index()
    named = [*known, None]
    return sums.assign(merchant_id=pd.Series([named[k] for k in sums["merchant_id"]], index=sums.index, dtype=object))
