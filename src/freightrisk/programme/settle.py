"""settle: claims under the terms of a cover, or of the covers of a programme, to the fen of each payer."""

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from freightrisk import _check
from freightrisk._columns import kind
from freightrisk.errors import InputError
from freightrisk.programme.claim_columns import ClaimColumns, column_names
from freightrisk.programme.claim_payer import ClaimPayer
from freightrisk.programme.claim_totals import ClaimTotals
from freightrisk.programme.cover_claims import check_one_cover, limits_of, rules_of, settle_covers
from freightrisk.programme.cover_settle import ClaimTables, settle_cover
from freightrisk.programme.record import ProgrammeRecord
from freightrisk.programme.settled import SettledClaims, claims_frame
from freightrisk.programme.version_record import VersionsRecord
from freightrisk.tariff.aggregate_limit import AggregateLimit
from freightrisk.tariff.cover import Cover
from freightrisk.tariff.record import TariffRecord

Aggregates = AggregateLimit | Mapping[str, AggregateLimit]
Payers = Sequence[ClaimPayer] | Mapping[str, Sequence[ClaimPayer]]


def settle(
    terms: Cover | TariffRecord | ProgrammeRecord,
    claims: Any,
    *,
    orders: Any = None,
    merchants: Any = None,
    payers: Payers | None = None,
    aggregate: Aggregates | None = None,
    totals: ClaimTotals | None = None,
    **columns: Unpack[ClaimColumns],
) -> SettledClaims:
    """Return what the cover pays for each claim, who pays it, and what is left with the buyer, in whole fen.

    Parameters
    ----------
    terms : Cover, Tariff or Programme
        The cover, or a tariff with it. Limits by level of a factor need the tariff. Days are days of its clock. Each
        claim of a programme is settled by the terms of its own cover.
    claims : pandas, polars or pyarrow table, or path of a Parquet file
        One row a claim, with order_id, report_date, and freight (yuan, at most two decimals) or freight_fen. These
        columns are read if they are there: claim_id; decision, which is "paid", "refused", "reversed" or missing;
        reversed_date, the time of a reversal; ship_date of the order; cover, the name of the claim's cover under a
        programme, by default the first one.
    orders : like claims, optional
        One row an order, with order_id. It has the columns of conditions, limits and factors that the claims lack.
    merchants : like claims, optional
        One row a merchant, joined by merchant_id, with the columns that claims and orders lack.
    payers : sequence of ClaimPayer, or mapping of cover to sequences, optional
        Who pays, by conditions. The insurer pays the rest. By default the `claim_payers` of a programme. Of several
        covers, a sequence is for claims of the first one, and a mapping names the payers of each cover.
    aggregate : AggregateLimit, or mapping of cover to AggregateLimit, optional
        Largest sum of payments of a merchant or an order in a period of the ship date. By default the limit of the
        cover, if it has one. Several covers need a mapping.
    totals : ClaimTotals, optional
        Totals of earlier batches, from `SettledClaims.totals`. By default nothing was paid before.
    **columns
        Names of the columns order_id, merchant_id, ship_date, freight, report_date, reversed_date, claim_id, decision
        and cover; by default their own names. With ``report_date=None`` all claims are reported at one time.
        date_format is the format of dates written as text, ISO 8601 by default.

    Returns
    -------
    SettledClaims

    Raises
    ------
    InputError
        For missing columns, ids and times, amounts that are no whole number of fen, claims of unknown orders, claims
        that an earlier batch has settled, payers that never pay, and terms with fractions of a fen or of a basis point.

    Notes
    -----
    A claim of X yuan is paid min((1 - coinsurance) max(X - deductible, 0), limit). The product is rounded half-even to
    fen, and limits are cut to whole fen. Claims are paid in a fixed sequence: by time of the report, then by claim id
    (without ids by order id and the content of the row). A claim that the cover takes counts for `max_claims` of its
    order, also if the deductible leaves nothing of it; a refused claim does not. A reversal gives money and place back
    to the claims that are reported after it; a claim that was refused stays refused (docs/method.md, Claims). The
    covers of a programme share nothing: each counts its own claims of an order and its own payments of a merchant.

    Examples
    --------
    >>> import pandas as pd
    >>> from freightrisk import ClaimPayer, Cover, Limit, settle
    >>> cover = Cover(limits=[Limit("base", 25.0)], eligible={"official_pickup": ["yes"]})
    >>> claims = pd.DataFrame({"order_id": [1, 2, 3], "report_date": "2026-06-20", "freight": [12.0, 31.5, 9.9]})
    >>> claims["official_pickup"] = ["yes", "yes", "no"]
    >>> claims["fault"] = ["merchant", "not_merchant", "merchant"]
    >>> settled = settle(cover, claims, payers=[ClaimPayer("platform", where={"fault": ["not_merchant"]})])
    >>> settled.claims[["paid_fen", "platform_fen", "insurer_fen", "buyer_fen", "reason"]]
       paid_fen  platform_fen  insurer_fen  buyer_fen        reason
    0      1200             0         1200          0
    1      2500          2500            0        650
    2         0             0            0        990  not_eligible
    """
    if isinstance(terms, VersionsRecord):
        names = ", ".join(f"'{one.name}'" for one in terms.programmes)
        raise InputError(
            f"terms are versions with the programmes {names}; settle the claims of each version with its programme."
        )
    before = ClaimTotals() if totals is None else _check.instance(totals, ClaimTotals, argument="totals")
    tables = ClaimTables(claims, orders, merchants, column_names(columns))
    if isinstance(terms, ProgrammeRecord):
        payers = terms.claim_payers if payers is None else payers
        if len(terms.covers) > 1:
            return settle_covers(terms.covers, tables, payers, aggregate, totals=before)
        check_one_cover(terms.lead.name, tables)
        (payers,), (aggregate,) = rules_of(payers, terms.covers), limits_of(aggregate, terms.covers)
        terms = terms.lead
    before.check_covers(())
    rules: Any = () if payers is None else payers
    limit: Any = aggregate
    found = settle_cover(terms, tables, rules, aggregate=limit, totals=before)
    frame = claims_frame(found.columns, kind(claims), found.index)
    return SettledClaims(frame, found.totals, found.payers, found.payments)
