"""Budget allocation: the subsidy of each segment that makes the best use of a budget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from freightrisk import _check
from freightrisk._shown import counted, repr_of
from freightrisk._types import Array
from freightrisk.errors import FitError, InputError
from freightrisk.portfolio.offers import AMOUNTS
from freightrisk.tariff.subsidy import Subsidy

if TYPE_CHECKING:
    import pandas as pd

LIMITS = ("max_fen", "min_fen", "max_covered", "min_covered")


@dataclass(frozen=True, eq=False, repr=False)
class Allocation:
    """Offers of subsidies by segment that maximise the objective within a budget.

    Parameters
    ----------
    offers : pandas.DataFrame
        The offers made: the columns of the given offers, and share (of the segment's orders that receive the offer).
        Amounts are for this share.
    limits : pandas.DataFrame
        A row for each budget and for each limit of a segment, indexed by the payer or the segment. Columns: kind
        ("budget", or the column of `limits` that gave the limit), limit, used, shadow_price (gain of the objective if
        the limit rises by one fen or one covered order; negative for a minimum).
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
            f"Allocation: {counted(len(self.offers), 'offer')}, {spent}; objective {self.objective:,.2f}, "
            f"at most {self.bound:,.2f}; {counted(len(self.refused), 'offer')} refused"
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
