"""compare: one book under several programmes, as one frame of money and measures."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._columns import ColumnNames, JoinedColumns, PricingColumns
from freightrisk.book.joined import join
from freightrisk.errors import InputError
from freightrisk.programme.priced import PricedBy, check_priced, payers_of, programmes_of
from freightrisk.programme.record import TOTAL
from freightrisk.programme.version_pricing import ENROLLED
from freightrisk.tariff.rounding import whole_sums

if TYPE_CHECKING:
    import pandas as pd

EXPECTED_CLAIMS = "expected_claims"


def compare(
    orders: Any,
    offers: Sequence[PricedBy] | Mapping[str, PricedBy],
    *,
    merchants: Any = None,
    by: str | None = None,
    threads: int | None = None,
    **columns: Unpack[PricingColumns],
) -> "pd.DataFrame":
    """Return what one book of orders costs under several programmes, a row for each of them.

    Parameters
    ----------
    orders : pandas, polars or pyarrow table, or path of a Parquet file
        One row an order, with the columns that the programmes read.
    offers : sequence of Programme, Versions or Tariff, or mapping of str to these
        A sequence takes the names of the programmes; versions are named by their programmes.
    merchants : like orders, optional
        One row a merchant, joined by `merchant_id`, with the columns that the orders lack.
    by : str, optional
        Column of orders or merchants: a row for each programme and level of it, the missing level last.
    threads : int, optional
        All cores by default.
    **columns
        As for `Tariff.price`.

    Returns
    -------
    pandas.DataFrame
        programme; the column `by`, if given; orders; priced (orders whose merchant takes part); list_fen, merchant_fen
        and one ``<payer>_fen`` for each payer of any programme, which add up to the list price; fees_fen (of the
        merchant) and merchant_total_fen; pure_premium (yuan); expected_claims (of all covers together);
        premium_per_order (list price over priced orders, yuan); floor_share (share of the priced orders whose price the
        floor decides); and loss_ratio (pure premium over list price). A ratio without orders or premium is missing.

    Raises
    ------
    InputError
        For no programmes, two of one name, missing columns, and all that pricing refuses.

    Examples
    --------
    >>> import pandas as pd
    >>> from freightrisk import Cover, presets
    >>> from freightrisk.events import EventCover
    >>> from freightrisk.programmes import Fee, Programme
    >>> freight = EventCover("freight", frequency=0.05, severity=9.0, cover=Cover(max_claims=None)).tariff()
    >>> old, new = Programme("old", freight), Programme("new", freight, fees=[Fee("service", fixed_fen=2)])
    >>> orders = pd.DataFrame({"channel": ["shelf", "live", "live"]})
    >>> presets.compare(orders, [old, new])[["programme", "list_fen", "merchant_total_fen"]].values.tolist()
    [['old', 135, 135], ['new', 135, 141]]
    >>> presets.compare(orders, [new], by="channel")[["channel", "orders", "fees_fen"]].values.tolist()
    [['live', 2, 4], ['shelf', 1, 2]]
    """
    import pandas as pd

    named = _named(offers)
    payers = tuple(dict.fromkeys(payer for offer in named.values() for payer in payers_of(offer)))
    groups, levels = None, [None]
    if by is not None:
        groups, levels = _groups(orders, merchants, _check.label(by, argument="by"), ColumnNames.of(columns), threads)
    parts = []
    for name, offer in named.items():
        quotes = offer.price(orders, merchants=merchants, threads=threads, **columns)
        row = _sums(_columns(quotes), payers, groups, len(levels))
        parts.append(pd.DataFrame({"programme": name, **({} if by is None else {by: levels}), **row}))
    return pd.concat(parts, ignore_index=True)


def _named(offers: Any) -> dict[str, PricedBy]:
    """Return programmes by name."""
    if isinstance(offers, Mapping):
        found = {_check.label(name, argument="name of an offer"): offer for name, offer in offers.items()}
    else:
        given = _check.items(offers, argument="offers", such="list programmes, or map names to programmes")
        names = [_name(offer) for offer in given]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InputError(
                f"offers: {names.count(twice)} are named '{twice}'; give a mapping of names to programmes."
            )
        found = dict(zip(names, given, strict=True))
    for offer in found.values():
        _name(offer)
    if not found:
        raise InputError("offers is empty; give at least one programme.")
    return found


def _name(offer: Any) -> str:
    return " / ".join(one.name for one in programmes_of(check_priced(offer, argument="an offer")))


def _columns(quotes: Any) -> dict[str, NDArray[Any]]:
    """Return the columns of quotes of any kind of frame as arrays."""
    names = quotes.column_names if hasattr(quotes, "column_names") else quotes.columns
    return {str(name): np.asarray(quotes[name]) for name in names}


def _groups(
    orders: Any, merchants: Any, by: str, names: ColumnNames, threads: int | None
) -> tuple[NDArray[np.int64], list[Any]]:
    """Return the group of each order, and the levels of the groups in their order, None for a missing one."""
    joined: JoinedColumns = join(orders, merchants, [by], names=names, also=[], threads=threads, may_be_missing=[by])
    codes, levels = joined.levels(by)
    place = np.where(codes < 0, len(levels), codes).astype(np.int64)
    counts = np.bincount(place, minlength=len(levels) + 1)
    ranked = sorted(range(len(levels)), key=lambda k: (isinstance(levels[k], str), levels[k]))
    shown = [k for k in [*ranked, len(levels)] if counts[k]]
    number = np.zeros(len(levels) + 1, dtype=np.int64)
    number[shown] = np.arange(len(shown))
    return number[place], [levels[k] if k < len(levels) else None for k in shown]


def _sums(
    quotes: Mapping[str, NDArray[Any]],
    payers: Sequence[str],
    groups: NDArray[np.int64] | None,
    n: int,
) -> dict[str, NDArray[Any]]:
    """Return the sums and ratios of quotes by group."""
    size = len(quotes["list_fen"])
    place = np.zeros(size, dtype=np.int64) if groups is None else groups

    def whole(values: NDArray[Any]) -> NDArray[np.int64]:
        return whole_sums(place, values.astype(np.int64), n)

    def real(*names: str) -> NDArray[np.float64]:
        values = sum((np.nan_to_num(quotes[name]) for name in names), np.zeros(size))
        return np.bincount(place, values, n).astype(np.float64)

    priced = whole(quotes.get(ENROLLED, np.ones(size, dtype=np.bool_)))
    money = {f"{payer}_fen": whole(quotes.get(f"{payer}_fen", np.zeros(size))) for payer in payers}
    listed, merchant = whole(quotes["list_fen"]), whole(quotes["merchant_fen"])
    total_fen = whole(quotes.get(TOTAL, quotes["merchant_fen"]))
    claims = [name for name in quotes if name == EXPECTED_CLAIMS or name.endswith(f": {EXPECTED_CLAIMS}")]
    pure, floor = real("pure_premium"), whole(quotes["floor_bound"] & quotes.get(ENROLLED, np.True_))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = {
            "premium_per_order": listed / 100.0 / priced,
            "floor_share": floor / priced,
            "loss_ratio": pure / (listed / 100.0),
        }
    return {
        "orders": np.bincount(place, minlength=n), "priced": priced, "list_fen": listed, "merchant_fen": merchant,
        **money, "fees_fen": total_fen - merchant, TOTAL: total_fen, "pure_premium": pure,
        EXPECTED_CLAIMS: real(*claims),
        **{name: np.where(np.isfinite(one), one, np.nan) for name, one in ratios.items()},
    }  # fmt: skip
