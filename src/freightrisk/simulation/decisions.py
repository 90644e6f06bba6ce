"""Decisions about claims, and the appeals that change them."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from freightrisk.simulation.draws import Draws
from freightrisk.simulation.orders import Floats, labelled
from freightrisk.simulation.parts import FunnelTruth

DECISIONS = ("paid", "refused", "reversed")
REFUSALS = ("waybill_mismatch", "late_request", "goods_excluded")
REVERSALS = ("swapped_goods", "false_return", "edited_pictures")
REASONS = ("none", *REFUSALS, "fraud", *REVERSALS)
FRAUD, FIRST_REVERSAL = REASONS.index("fraud"), REASONS.index(REVERSALS[0])
APPEALS = ("none", "buyer", "merchant")
APPEAL_OUTCOMES = ("none", "rejected", "accepted")
DECIDED_WITHIN_DAYS, APPEALED_WITHIN_DAYS, ANSWERED_WITHIN_DAYS = 3.0, 15.0, 7.0


def decided(draws: Draws, funnel: FunnelTruth, claims: pd.DataFrame, *, detected: Floats) -> pd.DataFrame:
    """Return the claims with decision, reason, dates and appeals; `detected` is the chance that a ring is found out."""
    place = claims["place"].to_numpy()
    fraud = draws.happens("fraud", place, detected)
    refused = fraud | draws.happens("refused", place, funnel.refused_share)
    by_buyer = refused & ~fraud & draws.happens("appeal", place, funnel.buyer_appeal_share)
    by_merchant = ~refused & draws.happens("appeal", place, funnel.merchant_appeal_share)
    accepted = (by_buyer | by_merchant) & draws.happens("success", place, funnel.appeal_success)
    reversed_ = by_merchant & accepted
    reason = np.where(refused, 1 + draws.whole("refusal", place, len(REFUSALS)), 0)
    reason[fraud] = FRAUD
    reason = np.where(reversed_, FIRST_REVERSAL + draws.whole("reversal", place, len(REVERSALS)), reason)
    decided_at = claims["report_date"].to_numpy() + _within(draws, "decided", place, DECIDED_WITHIN_DAYS)
    appealed_at = decided_at + _within(draws, "appealed", place, APPEALED_WITHIN_DAYS)
    answered_at = appealed_at + _within(draws, "answered", place, ANSWERED_WITHIN_DAYS)
    appealed = by_buyer | by_merchant
    final = np.where(reversed_, 2, (refused & ~accepted).astype(np.int8))
    return claims.assign(
        decision=labelled(final, DECISIONS),
        reason=labelled(reason, REASONS),
        decision_date=decided_at,
        appeal=labelled(np.where(by_buyer, 1, np.where(by_merchant, 2, 0)), APPEALS),
        appeal_date=_only(appealed, appealed_at),
        appeal_outcome=labelled(np.where(accepted, 2, np.where(appealed, 1, 0)), APPEAL_OUTCOMES),
        closed_date=np.where(appealed, answered_at, decided_at),
        reversed_date=_only(reversed_, answered_at),
    )


def _within(draws: Draws, name: str, place: NDArray[np.int64], days: float) -> NDArray[np.timedelta64]:
    return np.asarray((draws.uniform(name, place) * days * 86_400).astype("m8[s]"))


def _only(which: NDArray[np.bool_], dates: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    return np.where(which, dates, np.datetime64("NaT", "us"))
