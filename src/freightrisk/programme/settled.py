"""SettledClaims: claims with what was paid, by whom, and why not; and their sums."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from freightrisk._frames import frame_like
from freightrisk._shown import counted, shown
from freightrisk.programme.claim_columns import DECISIONS
from freightrisk.programme.claim_totals import REASONS, ClaimTotals

if TYPE_CHECKING:
    import pandas as pd

MONEY = ("freight_fen", "paid_fen")
FLAGS = ("limit_bound", "limit_conflict", "aggregate_bound")


@dataclass(frozen=True, eq=False)
class ClaimPayments:
    """Payments and reversals of a batch, for a settlement by day.

    Parameters
    ----------
    day, back_day : datetime64[D] arrays, shape (n,)
        Days of the report and of the reversal of each claim.
    paid, back : mapping of payer to int64 array, shape (n,), fen
        What each payer pays for a claim of this batch at its report, and what each gets back for a claim of this or of
        an earlier batch.
    """

    day: NDArray[np.datetime64]
    back_day: NDArray[np.datetime64]
    paid: Mapping[str, NDArray[np.int64]]
    back: Mapping[str, NDArray[np.int64]]


@dataclass(frozen=True, eq=False, repr=False)
class SettledClaims:
    """Settled claims, one row for each claim in the sequence of the caller.

    For each claim freight_fen is the sum of the payers' fen and buyer_fen.

    Parameters
    ----------
    claims : frame of the caller's kind
        freight_fen; paid_fen, what all payers pay; ``<payer>_fen`` of each payer; buyer_fen, what is left with the
        buyer; reversed_fen, what was paid and given back; decision ("paid", "refused" or "reversed"); reason, see
        Notes; limit_rule, the name of the rule that gives the limit of the claim, also if another reason refused the
        claim, or "limit", "first_weight_fee", or "" without a limit;
        limit_bound, whether the limit reduced the payment; limit_conflict, whether rules of the deciding priority have
        different amounts; aggregate_bound, whether the aggregate limit reduced the payment.
    totals : ClaimTotals
        Totals from which the next batch starts.
    payers : tuple of str
    payments : ClaimPayments
        What `Settlement.of_claims` sums.
    covers : tuple of str
        Names of the covers, if there are several; `claims` then has a column cover.

    Notes
    -----
    The reason is "" for claims that are paid or reversed. Of several reasons the first of this list holds:

    - "refused_before": the claim came with the decision "refused";
    - "not_in_force": reported before the ship day, or the order was never shipped;
    - "not_eligible": the conditions of the cover do not hold;
    - "limit_zero": the limit is below one fen;
    - "over_max_claims": the order has its number of claims;
    - "under_deductible": the deductible and the coinsurance leave less than half a fen, but the claim counts for its
      order;
    - "aggregate_exhausted": earlier claims have used up the aggregate limit.
    """

    claims: Any
    totals: ClaimTotals
    payers: tuple[str, ...]
    payments: ClaimPayments
    covers: tuple[str, ...] = ()

    def by_payer(self) -> "pd.DataFrame":
        """Return claims with a payment and fen for each payer and the buyer.

        Returns
        -------
        pandas.DataFrame
            payer, claims, fen. The fen sum to the freight.
        """
        import pandas as pd

        who = (*self.payers, "buyer")
        fen = [self._column(f"{name}_fen") for name in who]
        return pd.DataFrame(
            {"payer": who, "claims": [int((one > 0).sum()) for one in fen], "fen": [int(one.sum()) for one in fen]}
        )

    def by_reason(self) -> "pd.DataFrame":
        """Return claims and freight for each decision and reason that occurs.

        Returns
        -------
        pandas.DataFrame
            decision, reason, claims, freight_fen, paid_fen.
        """
        import pandas as pd

        names = ("decision", "reason", "freight_fen", "paid_fen")
        frame = pd.DataFrame({name: self._column(name) for name in names}).assign(claims=1)
        sums = (
            frame.groupby(["decision", "reason"], sort=False)[["claims", "freight_fen", "paid_fen"]].sum().reset_index()
        )
        place = sums["decision"].map(DECISIONS.index) * len(REASONS) + sums["reason"].map(REASONS.index)
        return sums.iloc[np.argsort(place.to_numpy(), kind="stable")].reset_index(drop=True)

    def by_cover(self) -> "pd.DataFrame":
        """Return claims and money for each of several covers.

        Returns
        -------
        pandas.DataFrame
            cover, claims, freight_fen, paid_fen; no rows if there is one cover.

        Examples
        --------
        ``settle(programme, claims).by_cover().set_index("cover")["paid_fen"]``
        """
        import pandas as pd

        cover = self._column("cover") if self.covers else np.empty(0, dtype=object)
        rows = [
            (name, int((cover == name).sum()), *(int(self._column(one)[cover == name].sum()) for one in MONEY))
            for name in self.covers
        ]
        return pd.DataFrame(rows, columns=["cover", "claims", *MONEY])

    def _column(self, name: str) -> NDArray[Any]:
        return np.asarray(self.claims[name].to_numpy())

    def __repr__(self) -> str:
        paid = ", ".join(f"{row.payer} {row.fen / 100:,.2f}" for row in self.by_payer().itertuples())
        return shown(f"SettledClaims: {counted(len(self._column('paid_fen')), 'claim')}, yuan by {paid}")


def settled_names(settled: SettledClaims) -> tuple[str, ...]:
    """Return the names of the columns of settled claims."""
    money = (*MONEY, *(f"{name}_fen" for name in settled.payers), "buyer_fen", "reversed_fen")
    return *(("cover",) if settled.covers else ()), *money, "decision", "reason", "limit_rule", *FLAGS


def claims_frame(columns: Mapping[str, NDArray[Any]], kind: str, index: Any) -> Any:
    """Return columns of numbers and texts as a frame of a kind; polars takes texts through pyarrow."""
    if kind != "polars":
        return frame_like(columns, kind, index)
    import polars as pl
    import pyarrow as pa

    return pl.from_arrow(pa.table(dict(columns)))
