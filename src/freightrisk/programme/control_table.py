"""What each loss control of a tariff or a programme changes over a book, and what it costs the merchant beside."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from freightrisk._columns import PricingColumns
from freightrisk.errors import InputError
from freightrisk.programme.programme import Programme
from freightrisk.tariff.loss_control import LossControl, LossControls
from freightrisk.tariff.tariff import Tariff

if TYPE_CHECKING:
    import pandas as pd


def control_table(
    priced_by: Tariff | Programme,
    orders: Any,
    *,
    merchants: Any = None,
    threads: int | None = None,
    **columns: Unpack[PricingColumns],
) -> "pd.DataFrame":
    """Return for each loss control what it changes over a book: the book with all controls less the book without it.

    Parameters
    ----------
    priced_by : Tariff or Programme
    orders, merchants, columns
        As for `Tariff.price`.
    threads : int, optional
        All cores by default.

    Returns
    -------
    pandas.DataFrame
        A row for each control, indexed by cover and control: stage; factor on the claim intensity; orders, the number
        for which it holds; claims, the change of the sum of claim intensities; pure_premium, its change in yuan;
        list_fen, its change with the rounding and the floor of the whole; and merchant_cost, yuan that the merchant
        pays beside the premium for what the control prevents.

    Notes
    -----
    Factors multiply, so the changes of several controls do not add up to their joint change.

    Examples
    --------
    >>> import pandas as pd
    >>> from freightrisk import Cover
    >>> from freightrisk.events import EventCover
    >>> from freightrisk.programmes import Funnel, LossControl, control_table
    >>> tool = LossControl("negotiation", "request", effect=-0.13, evidence=0.3, where={"tool": ["yes"]}, cost=2.0)
    >>> tariff = EventCover("freight", frequency=0.1, severity=10.0, cover=Cover(max_claims=None)).tariff()
    >>> tariff = tariff.with_loss_controls([tool], funnel=Funnel(returns=0.5))
    >>> table = control_table(tariff, pd.DataFrame({"tool": ["yes"] * 300 + ["no"] * 700})).round(3)
    >>> table.iloc[0].to_dict()  # doctest: +NORMALIZE_WHITESPACE
    {'stage': 'request', 'factor': 0.961, 'orders': 300, 'claims': -1.17, 'pure_premium': -11.7, 'list_fen': -1200,
     'merchant_cost': 4.68}
    """
    import pandas as pd

    if not isinstance(priced_by, (Tariff, Programme)):
        raise InputError(f"priced_by is a {type(priced_by).__name__}; give a Tariff or a Programme.")
    told: dict[str, Any] = {"merchants": merchants, "threads": threads, **columns}
    covers = (priced_by,) if isinstance(priced_by, Tariff) else priced_by.covers
    if not any(cover.loss_controls.rules for cover in covers):
        raise InputError(f"'{priced_by.name}' has no loss controls; give some with with_loss_controls([...]).")
    listed = _list_fen(priced_by, orders, told)
    rows = [row for cover in covers for row in _rows(priced_by, cover, orders, told, listed)]
    return pd.DataFrame(rows).set_index(["cover", "control"])


def _rows(
    priced_by: Tariff | Programme, cover: Tariff, orders: Any, told: dict[str, Any], listed: int
) -> Iterator[dict[str, Any]]:
    """Yield the row of each control of a cover."""
    rules, funnel = [*cover.loss_controls.rules], cover.loss_controls.funnel
    if not rules:
        return
    alone = replace(cover, subsidies=(), funds=())
    intensity, pure = _steps(alone, orders, told)
    for k, rule in enumerate(rules):
        others = [*rules[:k], *rules[k + 1 :]]
        without = _steps(_controlled(alone, others, funnel), orders, told)
        twice = LossControl(rule.name, "request", effect=1.0, where=rule.where, start=rule.start, end=rule.end)
        doubled = _steps(_controlled(alone, [*others, twice], funnel), orders, told)
        holds = doubled[0] > 1.5 * without[0]
        of_cover = {} if isinstance(priced_by, Tariff) else {"cover": cover.name}
        changed = priced_by.with_loss_controls(others, funnel=funnel, **of_cover)
        yield {
            "cover": cover.name,
            "control": rule.name,
            "stage": rule.stage,
            "factor": float(cover.loss_controls.factors[k]),
            "orders": int(holds.sum()),
            "claims": float((intensity - without[0]).sum()),
            "pure_premium": float((pure - without[1]).sum()),
            "list_fen": listed - _list_fen(changed, orders, told),
            "merchant_cost": cover.loss_controls.cost(k, float(intensity[holds].sum())),
        }


def _controlled(tariff: Tariff, rules: list[LossControl], funnel: Any) -> Tariff:
    return replace(tariff, loss_controls=LossControls(rules, funnel))


def _steps(tariff: Tariff, orders: Any, told: dict[str, Any]) -> tuple[Any, Any]:
    """Return claim intensity and pure premium of each order."""
    priced = tariff.price_columns(tariff.encode(orders, **told), threads=told["threads"])
    return priced["claim_intensity"], priced["pure_premium"]


def _list_fen(priced_by: Any, orders: Any, told: dict[str, Any]) -> int:
    priced = priced_by.price_columns(priced_by.encode(orders, **told), threads=told["threads"], detail=False)
    return int(priced["list_fen"].sum(dtype=np.int64))
