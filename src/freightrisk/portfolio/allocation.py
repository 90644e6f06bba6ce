"""Budget allocation: the subsidy of each segment that makes the best use of a budget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from freightrisk import _check
from freightrisk._shown import repr_of
from freightrisk._types import Array
from freightrisk.errors import FitError, InputError
from freightrisk.tariff.rounding import round_micro
from freightrisk.tariff.subsidy import Subsidy

if TYPE_CHECKING:
    import pandas as pd

INSURER = "insurer"
MICRO_PER_YUAN = 1e6
LARGEST_YUAN = 1e8  # of one order; 64 bits hold the sum of about 900 million such orders in fen
LIMITS = ("max_fen", "min_fen", "max_covered", "min_covered")
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
        raise InputError(f"segment has {int((codes >= 0).sum())} values; give one for each of {len(quotes):,} orders.")
    take_up = _check.real_array(response["take_up"].to_numpy(), argument="take_up", length=len(response))
    _check.refuse_rows((take_up < 0.0) | (take_up > 1.0), "response: 'take_up' is not a share from 0 to 1 in {rows}.")
    _refuse_falling(response)
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(names)))
    listed = _money(quotes, "list_fen", LARGEST_YUAN * 100)
    _check.refuse_rows(
        listed != np.floor(listed), "quotes: 'list_fen' is not a whole number in {rows}; give whole fen."
    )
    list_fen = listed.astype(np.int64)[order]
    # Rounded up to fen: the insurer needs at least the technical premium.
    premium = _money(quotes, "technical_premium", LARGEST_YUAN)[order]
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


@dataclass(frozen=True, eq=False, repr=False)
class Allocation:
    """Offers of subsidies by segment that maximise the objective within a budget.

    Parameters
    ----------
    offers : pandas.DataFrame
        The offers made: the columns of the given offers, and share (of the segment's orders that receive the offer).
        Amounts are for this share.
    limits : pandas.DataFrame
        A row for each budget and for each limit of a segment: limit, used, shadow_price (gain of the objective if the
        limit rises by one fen or one covered order; negative for a minimum).
    objective : float
        Value of the objective.
    bound : float
        Value of the objective if offers were divisible; no allocation exceeds it.
    refused : pandas.DataFrame
        Offers left out because the insurer would receive less than the technical premium.
    whole : bool
        Whether each segment has at most one offer, made to all its orders.
    """

    offers: "pd.DataFrame"
    limits: "pd.DataFrame"
    objective: float
    bound: float
    refused: "pd.DataFrame"
    whole: bool

    def subsidies(self, column: str, *, prefix: str = "offer") -> list[Subsidy]:
        """Return the allocation as rules of a tariff that pay fixed fen, conditional on the segment.

        Parameters
        ----------
        column : str
            Column of orders or merchants that holds the segment.
        prefix : str
            Start of the rules' names.

        Raises
        ------
        InputError
            If an offer goes to a part of a segment, or if two payers share a subsidy. A rule can express neither.
        """
        if (self.offers["share"] < 1.0 - 1e-9).any():
            raise InputError("the allocation has an offer to a part of a segment; allocate with whole=True.")
        payers = [name for name in self.offers.columns if name.endswith("_fen") and name not in AMOUNTS]
        rules = []
        for offer in self.offers[self.offers["subsidy_fen"] > 0].to_dict("records"):
            others = [name for name in payers if offer[name] > 0 and name != f"{offer['payer']}_fen"]
            if others:
                raise InputError(
                    f"the offer to segment {repr_of(offer['segment'])} is paid by {offer['payer']} and "
                    f"{others[0][:-4]}, but a rule has one payer; allocate offers without a shortfall_payer."
                )
            rules.append(
                Subsidy(
                    f"{prefix} {offer['segment']}",
                    offer["payer"],
                    fixed_fen=int(offer["subsidy_fen"]),
                    where={column: [offer["segment"]]},
                )
            )
        return rules

    def __repr__(self) -> str:
        budgets = self.limits[self.limits["kind"] == "budget"]
        spent = ", ".join(f"{row.used / 100:,.2f} of {row.limit / 100:,.2f} yuan" for row in budgets.itertuples())
        return (
            f"Allocation: {len(self.offers):,} offers, {spent}; objective {self.objective:,.2f}, "
            f"at most {self.bound:,.2f}; {len(self.refused):,} offers refused"
        )


def allocate(
    offers: "pd.DataFrame",
    budget_fen: "float | Mapping[str, float]",
    *,
    objective: str = "covered",
    limits: "pd.DataFrame | None" = None,
    whole: bool = True,
    gap: float = 1e-6,
    seconds: float = 60.0,
) -> Allocation:
    """Return the offers, at most one a segment, that maximise an objective within a budget.

    Parameters
    ----------
    offers : pandas.DataFrame
        Result of `subsidy_offers`; results for several payers can be concatenated. The orders of a segment without an
        offer count as not covered. To count them, include an offer of 0 fen.
    budget_fen : float, or mapping of payer to float
        Budget of all payers together, or of each payer, fen.
    objective : str
        Column of the offers to maximise: "covered", "margin_fen", "received_fen" or a column of your own (a total of
        the offer, not a value of one order).
    limits : pandas.DataFrame, optional
        Indexed by segment, with any of the columns max_fen, min_fen (spending), max_covered and min_covered. A missing
        value means no limit.
    whole : bool
        True makes one offer to a whole segment, by mixed-integer programming. False allows an offer to a share of a
        segment.
    gap : float
        Relative distance from the best objective at which the search may stop.
    seconds : float
        Time limit of the search for whole offers.

    Returns
    -------
    Allocation

    Raises
    ------
    InputError
        If columns or budgets are missing, or if no allocation meets the limits.
    FitError
        If the search ends without an allocation.

    Notes
    -----
    The problem is docs/method.md, equation 42. HiGHS solves it through scipy. Shadow prices belong to the divisible
    problem. With whole offers they are a guide only, because the true gain from one more fen is a step function.

    Examples
    --------
    >>> import pandas as pd
    >>> from freightrisk.campaigns import allocate
    >>> offers = pd.DataFrame({"segment": ["new", "new", "old"], "subsidy_fen": [5, 10, 5], "payer": "platform",
    ...     "covered": [40.0, 60.0, 30.0], "platform_fen": [200.0, 600.0, 150.0]})
    >>> best = allocate(offers, 400)
    >>> best.offers["segment"].tolist(), best.objective
    (['new', 'old'], 70.0)
    >>> best.limits["shadow_price"].round(3).tolist()
    [0.05]
    """
    import pandas as pd

    _check.frame(offers, argument="offers")
    whole = _check.flag(whole, argument="whole")
    gap = _check.number(gap, argument="gap", low=0.0, high=1.0)
    seconds = _check.number(seconds, argument="seconds", low=0.0, high=1e9, open_low=True)
    payers = _payers(offers, budget_fen)
    _check.columns_present(["segment", "subsidy_fen", "payer", "covered", objective], [*map(str, offers.columns)],
                           argument="offers")  # fmt: skip
    offers = offers.reset_index(drop=True)  # concatenated tables repeat index labels
    short = (
        offers["below_technical"].to_numpy() > 0 if "below_technical" in offers else np.zeros(len(offers), dtype=bool)
    )
    kept = offers[~short].reset_index(drop=True)
    if not len(kept):
        raise InputError(
            "every offer would leave the insurer less than the technical premium; name a shortfall_payer or offer less."
        )
    spending = kept[payers].fillna(0.0).to_numpy(dtype=np.float64)
    rows, names, kinds, low, high = _constraints(kept, spending, payers, budget_fen, limits)
    gain = _check.real_array(kept[objective].to_numpy(), argument=f"offers column '{objective}'", length=len(kept))
    relaxed, shadow = _divisible(gain, rows, low, high)
    share = _whole(gain, rows, low, high, gap, seconds) if whole else relaxed
    asked = np.array([kind != "segment" for kind in kinds])
    limited = {"kind": kinds, "limit": np.where(np.isfinite(high), high, low), "used": rows @ share}
    table = pd.DataFrame(limited | {"shadow_price": shadow}, index=pd.Index(names, name="of"))[asked]
    made = share > 1e-9
    chosen = kept[made].assign(share=share[made])
    totals = [name for name in chosen.columns if name in ("orders", "covered", *payers, *AMOUNTS[1:])]
    for name in dict.fromkeys([*totals, objective]):
        chosen[name] = chosen[name] * chosen["share"]
    return Allocation(
        chosen.reset_index(drop=True), table, float(gain @ share), float(gain @ relaxed), offers[short], whole
    )


def _payers(offers: "pd.DataFrame", budget_fen: "float | Mapping[str, float]") -> list[str]:
    found = [str(name) for name in offers.columns if str(name).endswith("_fen") and name not in AMOUNTS]
    if not found:
        raise InputError("offers has no column '<payer>_fen' with the spending of a payer; see subsidy_offers.")
    if isinstance(budget_fen, Mapping) and {name[:-4] for name in found} != set(budget_fen):
        raise InputError(
            f"budget_fen names {repr_of(list(budget_fen))}, but offers are paid by {[n[:-4] for n in found]}."
        )
    return found


def _constraints(
    offers: "pd.DataFrame",
    spending: Array,
    payers: Sequence[str],
    budget_fen: "float | Mapping[str, float]",
    limits: "pd.DataFrame | None",
) -> tuple[Any, list[Any], list[str], Array, Array]:
    """Return the sparse rows of the constraints, their names and kinds, and their bounds."""
    import pandas as pd
    from scipy import sparse

    codes, segments = pd.factorize(offers["segment"])
    # Indices of 32 bits, because scipy 1.14 hands them to the solver unchanged, and the solver accepts no others.
    number = np.arange(len(offers), dtype=np.int32)
    cells = (codes.astype(np.int32), number)
    rows = [sparse.csr_array((np.ones(len(offers)), cells), shape=(len(segments), len(offers)))]
    # At most one offer a segment: the shares of its offers sum to at most 1.
    names, kinds = list(segments), ["segment"] * len(segments)
    low, high = [-np.inf] * len(segments), [1.0] * len(segments)

    def limit(values: Array, of: Any, kind: str, least: float, most: float) -> None:
        rows.append(sparse.csr_array(values[None, :]))
        names.append(of)
        kinds.append(kind)
        low.append(least)
        high.append(most)

    if isinstance(budget_fen, Mapping):
        for k, name in enumerate(payers):
            most = _check.number(budget_fen[name[:-4]], argument=f"budget_fen of {name[:-4]}", low=0.0)
            limit(spending[:, k], name[:-4], "budget", -np.inf, most)
    else:
        limit(spending.sum(axis=1), "all", "budget", -np.inf, _check.number(budget_fen, argument="budget_fen", low=0.0))
    if limits is not None:
        _check.frame(limits, argument="limits")
        unknown = [name for name in limits.columns if name not in LIMITS]
        if unknown:
            raise InputError(f"limits has column '{unknown[0]}'; it may have {', '.join(LIMITS)}.")
        absent = [name for name in limits.index if name not in set(segments)]
        if absent:
            raise InputError(f"limits names segment {repr_of(absent[0])}, for which no offer is allowed; leave it out.")
        covered = offers["covered"].to_numpy(dtype=np.float64)
        for name, row in limits.iterrows():
            mine = (codes == list(segments).index(name)).astype(np.float64)
            for kind in limits.columns:
                if not np.isnan(row[kind]):
                    values = mine * (spending.sum(axis=1) if kind.endswith("fen") else covered)
                    least = kind.startswith("min")
                    limit(values, name, kind, row[kind] if least else -np.inf, np.inf if least else row[kind])
    return sparse.vstack(rows).tocsr(), names, kinds, np.array(low), np.array(high)


def _divisible(gain: Array, rows: Any, low: Array, high: Array) -> tuple[Array, Array]:
    """Return the best shares and the shadow price of each constraint."""
    from scipy.optimize import linprog
    from scipy.sparse import vstack

    above, below = np.isfinite(low), np.isfinite(high)
    found = linprog(
        -gain,
        A_ub=vstack([rows[below], -rows[above]]),
        b_ub=np.concatenate([high[below], -low[above]]),
        bounds=(0.0, 1.0),
        method="highs",
    )
    if found.status == 2:  # infeasible
        raise InputError("no allocation meets the limits and the budget; lower min_fen and min_covered.")
    if not found.success:
        raise FitError(f"the allocation ended without a solution: {found.message}")
    # Marginals are derivatives of the minimised negative gain, so their signs change.
    shadow = np.zeros(len(low))
    shadow[below] = -found.ineqlin.marginals[: below.sum()]
    shadow[above] += found.ineqlin.marginals[below.sum() :]
    return np.asarray(found.x), shadow


def _whole(gain: Array, rows: Any, low: Array, high: Array, gap: float, seconds: float) -> Array:
    from scipy.optimize import Bounds, LinearConstraint, milp

    found = milp(
        -gain,
        constraints=LinearConstraint(rows, low, high),
        integrality=np.ones(len(gain)),
        bounds=Bounds(0.0, 1.0),
        options={"mip_rel_gap": gap, "time_limit": seconds},
    )
    if found.status == 2:  # infeasible
        raise InputError("no allocation of whole offers meets the limits and the budget; try whole=False.")
    if found.x is None:
        raise FitError(f"the allocation ended without a solution: {found.message}")
    return np.asarray(np.round(found.x), dtype=np.float64)
