"""Quotes as sums of a settlement: what payers, the account of the premium and fees come to by day and merchant."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._columns import ColumnNames, Table, read
from freightrisk.errors import InputError
from freightrisk.pipeline.filed import filed_factors
from freightrisk.pipeline.settlement_frames import ACCOUNTS, FEE_SUMS, PAYER_SUMS, check_sums, most_of
from freightrisk.programme.priced import TariffOrProgramme, covers_of, fees_of, has_filed
from freightrisk.programme.quoted import Fen, check_same_rows, whole_fen
from freightrisk.programme.record import FILED
from freightrisk.tariff.rounding import MICRO_PER_FEN, whole_sums

if TYPE_CHECKING:
    import pandas as pd

LIST, MERCHANT = "list_fen", "merchant_fen"
TECHNICAL = "technical_premium"


@dataclass(frozen=True, eq=False)
class PricedOrders:
    """Priced orders, checked: the fen of each column of quotes, and their premium before rounding.

    Parameters
    ----------
    tariff : Tariff or Programme
    asked : Table
        Columns of the orders.
    fen : dict of column of quotes to int64 array, shape (n,)
        The list price, the merchant's part, each subsidy and each fee.
    filed : int64 array, shape (n,), micro-yuan
    merchant_id, day : str
        Columns of the orders.
    """

    tariff: TariffOrProgramme
    asked: Table
    fen: Fen
    filed: NDArray[np.int64]
    merchant_id: str
    day: str

    @classmethod
    def read(
        cls,
        tariff: TariffOrProgramme,
        orders: Any,
        quotes: Any,
        *,
        merchants: Any,
        merchant_id: str,
        order_id: str,
        day: str,
        date_format: str | None,
    ) -> "PricedOrders":
        """Return orders with their quotes, with the refusals of `Settlement.of`."""
        due = [fee.due for fee in fees_of(tariff) if fee.due is not None]
        asked = read(
            orders, [merchant_id, day, order_id, *due], argument="orders", key=merchant_id, clock=tariff.clock,
            date_format=date_format,
        )  # fmt: skip
        _check.columns_present([merchant_id, day], asked.names, argument="orders")
        for fee in fees_of(tariff):
            if fee.due is not None and fee.due not in asked.names:
                raise InputError(
                    f"orders: missing column '{fee.due}', the day on which fee '{fee.name}' is charged; add it, with "
                    "missing values for orders that are not charged yet."
                )
        told = _told(quotes, tariff, order_id)
        check_same_rows(asked, told, order_id)
        fen = whole_fen(told, [LIST, MERCHANT, *_paid(tariff), *_fees(tariff)])
        names = ColumnNames(order_id=order_id, merchant_id=merchant_id, date_format=date_format)
        filed = _filed(told, tariff, lambda: filed_factors(covers_of(tariff)[0], orders, merchants, names))
        total = sum((fen[name] for name in _paid(tariff)), fen[MERCHANT])
        _check.refuse_rows(
            total != fen[LIST], "quotes: payers do not sum to list_fen in {rows}; price these orders again."
        )
        return cls(tariff, asked, fen, filed, merchant_id, day)

    def payers_and_accounts(self, insurer: str) -> "tuple[pd.DataFrame, pd.DataFrame]":
        """Return the sums of payers and the accounts, by day and merchant."""
        group, place = _groups(self.asked, self.merchant_id, self.day)
        return (
            _by_payer(self.tariff, self.fen, group, place),
            _by_account(self.tariff, self.fen, self.filed, insurer, group, place),
        )

    def fees(self) -> "pd.DataFrame | None":
        """Return the orders and the fen of each due day, merchant and fee; None without fees."""
        import pandas as pd

        rows = []
        for fee, column in zip(fees_of(self.tariff), _fees(self.tariff), strict=True):
            group, place = _groups(self.asked, self.merchant_id, fee.due or self.day)
            part = place.assign(payer=fee.payer, payee=fee.payee, fee=fee.name)
            for name, values in zip(FEE_SUMS, _counted(self.fen[column]), strict=True):
                part[name] = _summed(values, group, len(place), most_of(name))
            charged = part["fen"] > 0
            rows.append(part[charged if fee.due is None else charged & part["day"].notna()])
        return pd.concat(rows) if rows else None


def _counted(amount: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the number of orders with an amount, and the amount, of each order."""
    return (amount > 0).astype(np.int64), amount


def _paid(tariff: TariffOrProgramme) -> list[str]:
    """Return the columns of quotes with the fen of each subsidy."""
    return [f"paid: {rule.name}" for rule in tariff.subsidies]


def _fees(tariff: TariffOrProgramme) -> list[str]:
    """Return the columns of quotes with the fen of each fee."""
    return [f"fee: {fee.name}" for fee in fees_of(tariff)]


def told_columns(tariff: TariffOrProgramme) -> list[str]:
    """Return the columns of quotes that a settlement reads."""
    return [FILED if has_filed(tariff) else TECHNICAL, LIST, MERCHANT, *_paid(tariff), *_fees(tariff)]


def _told(quotes: Any, tariff: TariffOrProgramme, order_id: str) -> Table:
    """Return the columns of quotes that a settlement reads, refusing quotes without campaigns or detail."""
    wanted = told_columns(tariff)
    told = read(quotes, [*wanted, order_id], argument="quotes", key=order_id)
    lost = [name for name in _paid(tariff) if name not in told.names]
    if lost:
        raise InputError(
            f"quotes: missing column '{lost[0]}', the fen of that subsidy; price these orders with campaigns=True."
        )
    _check.columns_present(wanted, told.names, argument="quotes")
    return told


def _filed(
    told: Table, tariff: TariffOrProgramme, factors: Callable[[], float | NDArray[np.float64]]
) -> NDArray[np.int64]:
    """Return the premium before rounding in micro-yuan: that of the only cover, or the sum that quotes have."""
    if has_filed(tariff):
        return whole_fen(told, [FILED], "micro-yuan")[FILED]
    technical = told.real(TECHNICAL)
    told.refuse(
        ~((technical >= 0.0) & np.isfinite(technical)),
        "quotes: 'technical_premium' is no premium in {rows}; give what price returned.",
        TECHNICAL,
    )
    return tariff.loadings.filed_micro(technical, factors())


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


def _by_payer(tariff: TariffOrProgramme, fen: Fen, group: NDArray[np.int64], place: "pd.DataFrame") -> "pd.DataFrame":
    """Return the orders and the fen of each day, merchant, payer and campaign."""
    import pandas as pd

    who = [("merchant", "", fen["merchant_fen"])]
    who += [(rule.payer, rule.name, fen[name]) for rule, name in zip(tariff.subsidies, _paid(tariff), strict=True)]
    rows = []
    for payer, campaign, amount in who:
        part = place.assign(payer=payer, campaign=campaign)
        for name, values in zip(PAYER_SUMS, _counted(amount), strict=True):
            part[name] = _summed(values, group, len(place), most_of(name))
        rows.append(part[part["fen"] > 0])
    return pd.concat(rows)


def _by_account(
    tariff: TariffOrProgramme,
    fen: Fen,
    filed: NDArray[np.int64],
    insurer: str,
    group: NDArray[np.int64],
    place: "pd.DataFrame",
) -> "pd.DataFrame":
    """Return the accounts of each day and merchant: orders, list price and premium, rounding and floor apart."""
    none = np.zeros(len(filed), dtype=np.int64)
    own = sum((fen[f"paid: {rule.name}"] for rule in tariff.subsidies if rule.payer == insurer), none)
    floor_income = np.maximum(tariff.floor_fen * MICRO_PER_FEN - filed, 0)
    columns = [
        np.ones(len(filed), dtype=np.int64),
        fen["list_fen"],
        fen["list_fen"] - own,
        filed,
        fen["list_fen"] * MICRO_PER_FEN - filed - floor_income,
        floor_income,
    ]
    sums = zip(ACCOUNTS, columns, strict=True)
    return place.assign(**{name: _summed(column, group, len(place), most_of(name)) for name, column in sums})
