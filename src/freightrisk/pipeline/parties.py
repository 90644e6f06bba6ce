"""Who paid and who received: the premium, subsidies, fees and claims of a settlement by day and party."""

from typing import TYPE_CHECKING

from freightrisk.pipeline.settlement_frames import check_sums, most_of
from freightrisk.programme.claim_payer import INSURER
from freightrisk.programme.fee import MERCHANT

if TYPE_CHECKING:
    import pandas as pd

BUYER = "buyer"
PARTY_KEYS = ["day", "party", "kind"]
PARTY_SUMS = ["paid_fen", "received_fen"]


def sums_of_parties(
    payers: "pd.DataFrame", claims: "pd.DataFrame | None", fees: "pd.DataFrame | None", insurer: str
) -> "pd.DataFrame":
    """Return what each party paid and received of each kind of money, by day.

    Parameters
    ----------
    payers, claims, fees : frames of a `Settlement`
    insurer : str
        Who receives the premium and the subsidies, and pays the claims that no other payer pays.
    """
    import pandas as pd

    by_merchant = payers["payer"] == MERCHANT
    flows = [
        payers[by_merchant].assign(kind="premium", payee=insurer),
        payers[~by_merchant].assign(kind="subsidies", payee=insurer),
    ]
    if fees is not None:
        named = {side: fees[side].replace(INSURER, insurer) for side in ("payer", "payee")}
        flows.append(fees.assign(kind="fees", **named))
    if claims is not None:
        flows.append(claims.assign(kind="claims", payee=BUYER, payer=claims["payer"].replace(INSURER, insurer)))
    sides = [
        flow[["day", "kind"]].assign(party=flow[side], paid_fen=0, received_fen=0).assign(**{name: flow["fen"]})
        for flow in flows
        for side, name in (("payer", "paid_fen"), ("payee", "received_fen"))
        if len(flow)
    ]
    if not sides:
        sides = [flows[0][["day", "kind"]].assign(party="", paid_fen=0, received_fen=0)]
    groups = pd.concat(sides)[[*PARTY_KEYS, *PARTY_SUMS]].groupby(PARTY_KEYS, dropna=False, sort=True)
    for name in PARTY_SUMS:
        check_sums(groups.obj[name].to_numpy(), lambda: groups.ngroup().to_numpy(), most_of(name))
    return groups.sum().reset_index()
