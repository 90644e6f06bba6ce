"""Offers of subsidies: what each costs in each segment, and how many orders it covers."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from freightrisk import _check
from freightrisk._shown import counted, repr_of
from freightrisk.errors import InputError
from freightrisk.tariff.rounding import round_micro

if TYPE_CHECKING:
    import pandas as pd

INSURER = "insurer"
MICRO_PER_YUAN = 1e6
LARGEST_YUAN = 1e8  # of one order; 64 bits hold the sum of about 900 million such orders in fen
AMOUNTS = ("subsidy_fen", "received_fen", "technical_fen", "margin_fen")
RESPONSE = ("segment", "subsidy_fen", "take_up")


def subsidy_offers(
    quotes: "pd.DataFrame",
    segment: ArrayLike,
    response: "pd.DataFrame",
    *,
    payer: str = "platform",
    shortfall_payer: str | None = None,
    floor_fen: int = 1,
) -> "pd.DataFrame":
    """Return the expected cost and the covered orders of each subsidy in each segment, priced order by order.

    Parameters
    ----------
    quotes : pandas.DataFrame
        Quotes of `Tariff.price` without these subsidies: list_fen and technical_premium of every order that may be
        covered.
    segment : array, shape (n_orders,)
        The segment of each order.
    response : pandas.DataFrame
        A row for each segment and subsidy that may be offered: segment, subsidy_fen (an order), take_up (share of the
        segment's orders that are then covered, 0 to 1). A row with subsidy 0 gives the take-up without a subsidy.
    payer : str
        Payer of the subsidy. An insurer pays only as much as leaves it the technical premium of the order.
    shortfall_payer : str, optional
        Payer of the part of the insurer's subsidies that would leave it less than the technical premium. By default
        nobody pays it, and `allocate` refuses such offers.
    floor_fen : int
        Least that a merchant pays an order, fen.

    Returns
    -------
    pandas.DataFrame
        A row for each row of `response`: segment, subsidy_fen, take_up, payer, orders, covered (orders times take-up),
        one ``<payer>_fen`` a payer (expected spending), received_fen and technical_fen (expected receipts of the
        insurer for covered orders, and their technical premiums), margin_fen (their difference), below_technical
        (share of orders whose subsidy leaves the insurer less than the technical premium).

    Raises
    ------
    InputError
        If a column is missing, a segment has no orders, or take-up is not a share or falls as the subsidy rises.

    Notes
    -----
    By rounding, the list price of an order may be below its technical premium without any subsidy. Such an order gets
    no money from the insurer. Orders that take up the cover are assumed to be like the other orders of their segment.

    Examples
    --------
    >>> import pandas as pd
    >>> from freightrisk.campaigns import subsidy_offers
    >>> quotes = pd.DataFrame({"list_fen": [30, 50], "technical_premium": [0.20, 0.50]})
    >>> response = pd.DataFrame({"segment": "new", "subsidy_fen": [0, 20], "take_up": [0.5, 0.8]})
    >>> subsidy_offers(quotes, ["new", "new"], response)[["covered", "platform_fen", "received_fen"]].values.tolist()
    [[1.0, 0.0, 40.0], [1.6, 32.0, 64.0]]
    """
    import pandas as pd

    given = {"quotes": (quotes, ("list_fen", "technical_premium")), "response": (response, RESPONSE)}
    for argument, (frame, wanted) in given.items():
        present = list(map(str, _check.frame(frame, argument=argument).columns))
        _check.columns_present(wanted, present, argument=argument)
    _check_payers(payer, shortfall_payer)
    floor_fen = _check.whole(floor_fen, argument="floor_fen", low=0, high=10**6)
    try:
        codes, names = pd.factorize(np.asarray(segment))
    except Exception:  # comparing values of any class may raise any error
        raise InputError(f"segment is {repr_of(segment)}; give the name of a segment for each order.") from None
    if len(codes) != len(quotes) or (codes < 0).any():
        raise InputError(
            f"segment has {counted(int((codes >= 0).sum()), 'value')}; give one for each of {len(quotes):,} orders."
        )
    take_up = _check.real_array(response["take_up"].to_numpy(), argument="take_up", length=len(response))
    _check.refuse_rows((take_up < 0.0) | (take_up > 1.0), "response: 'take_up' is not a share from 0 to 1 in {rows}.")
    _refuse_falling(response)
    by_segment = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(names)))
    listed = _money(quotes, "list_fen", LARGEST_YUAN * 100)
    _check.refuse_rows(
        listed != np.floor(listed), "quotes: 'list_fen' is not a whole number in {rows}; give whole fen."
    )
    list_fen = listed.astype(np.int64)[by_segment]
    # Rounded up to fen: the insurer needs at least the technical premium.
    premium = _money(quotes, "technical_premium", LARGEST_YUAN)[by_segment]
    needed = round_micro(np.rint(premium * MICRO_PER_YUAN).astype(np.int64), "ceiling")
    place = {name: slice(0 if k == 0 else int(ends[k - 1]), int(ends[k])) for k, name in enumerate(names)}
    rows = []
    for name, amount, share in response[list(RESPONSE)].itertuples(index=False, name=None):
        if name not in place:
            raise InputError(f"response: segment {repr_of(name)} has no orders; leave it out.")
        amount = _check.whole(amount, argument="subsidy_fen", low=0, high=10**9)
        mine = place[name]
        cost = _cost(list_fen[mine], needed[mine], amount, payer, shortfall_payer, floor_fen)
        orders = mine.stop - mine.start
        rows.append(
            {"segment": name, "subsidy_fen": amount, "take_up": share, "payer": payer, "orders": orders,
             "covered": orders * share, **{column: fen * share for column, fen in cost.items()},
             "below_technical": cost["below_technical"] / orders}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _check_payers(*names: str | None) -> None:
    """Refuse a payer whose name is no column name, or that of another column."""
    for name in names:
        if name is not None and (not _check.label(name, argument="payer").isidentifier() or f"{name}_fen" in AMOUNTS):
            raise InputError(f"payer is '{name}'; it names a column, so give a word such as 'platform'.")


def _cost(
    list_fen: NDArray[np.int64],
    needed: NDArray[np.int64],
    amount: int,
    payer: str,
    shortfall_payer: str | None,
    floor_fen: int,
) -> dict[str, int]:
    """Return the cost in fen of a subsidy for all orders of a segment, and the number left below technical premium."""
    paid = np.minimum(amount, np.maximum(list_fen - floor_fen, 0))
    own = np.minimum(paid, np.maximum(list_fen - needed, 0))
    if payer != INSURER:
        given, spent, short = 0, {payer: int(paid.sum())}, 0
    elif shortfall_payer is None:
        given, short = int(paid.sum()), int((paid > own).sum())
        spent = {payer: given}
    else:
        given, short = int(own.sum()), 0
        spent = {payer: given, shortfall_payer: int((paid - own).sum())}
    received, technical = int(list_fen.sum()) - given, int(needed.sum())
    return {
        **{f"{who}_fen": fen for who, fen in spent.items()}, "received_fen": received, "technical_fen": technical,
        "margin_fen": received - technical, "below_technical": short,
    }  # fmt: skip


def _money(quotes: "pd.DataFrame", name: str, most: float) -> NDArray[np.float64]:
    """Return a column of money, bounded so that its sums fit into 64 bits."""
    values = _check.real_array(quotes[name].to_numpy(), argument=f"quotes: '{name}'", length=len(quotes))
    _check.in_interval(values, column=name, low=0.0, high=most)
    return values


def _refuse_falling(response: "pd.DataFrame") -> None:
    ordered = response.sort_values(["segment", "subsidy_fen"], kind="stable")
    same = (ordered["segment"] == ordered["segment"].shift()).to_numpy()
    twice = same & (ordered["subsidy_fen"] == ordered["subsidy_fen"].shift()).to_numpy()
    falls = same & (ordered["take_up"] < ordered["take_up"].shift()).to_numpy()
    if twice.any() or falls.any():
        row = ordered[twice | falls].iloc[0]
        what = "is given twice" if twice.any() else "has a lower take-up than a smaller subsidy"
        raise InputError(f"response: {row['subsidy_fen']} fen to segment {repr_of(row['segment'])} {what}; correct it.")
