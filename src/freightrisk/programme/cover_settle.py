"""The claims of one cover, settled in their sequence, to the fen of each payer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._columns import JoinedColumns
from freightrisk._intake import DEFAULT_CLOCK
from freightrisk._shown import repr_of
from freightrisk.book.by_level import ByLevel
from freightrisk.book.codings import Coding
from freightrisk.errors import InputError
from freightrisk.programme.claim_batch import UNDER, SettledBatch, settle_batch
from freightrisk.programme.claim_columns import (
    DECISIONS,
    PAID,
    REFUSED,
    REVERSED,
    ClaimNames,
    ClaimRows,
    needed_for,
    read_claims,
)
from freightrisk.programme.claim_payer import ClaimPayer, check_payers
from freightrisk.programme.claim_terms import FIRST_WEIGHT, FLAT, ClaimOffers, level_fen, offers_of
from freightrisk.programme.claim_totals import REASONS, ClaimTotals
from freightrisk.programme.fen import Whole, fen_of
from freightrisk.programme.settled import ClaimPayments
from freightrisk.tariff.aggregate_limit import AggregateLimit
from freightrisk.tariff.conditions import COVER, Gate, compile_gates
from freightrisk.tariff.cover import Cover
from freightrisk.tariff.limits import Limit, measures_of
from freightrisk.tariff.record import TariffRecord

Masks = Mapping[str, NDArray[np.uint64]]


@dataclass(frozen=True, eq=False)
class ClaimTables:
    """The claims of a call with their orders, merchants and names of columns.

    Parameters
    ----------
    claims, orders, merchants
        As for `settle`.
    names : ClaimNames
    """

    claims: Any
    orders: Any
    merchants: Any
    names: ClaimNames


@dataclass(frozen=True, eq=False)
class CoverSettled:
    """Settled claims of one cover.

    Parameters
    ----------
    columns : dict of column of `SettledClaims.claims` to array, shape (n,)
    totals : ClaimTotals
    payers : tuple of str
    payments : ClaimPayments
    index : pandas Index or None
        The index of the claims.
    """

    columns: dict[str, NDArray[Any]]
    totals: ClaimTotals
    payers: tuple[str, ...]
    payments: ClaimPayments
    index: Any


def settle_cover(
    terms: Cover | TariffRecord,
    tables: ClaimTables,
    payers: Sequence[ClaimPayer],
    *,
    aggregate: AggregateLimit | None = None,
    totals: ClaimTotals,
    chosen: Whole | None = None,
) -> CoverSettled:
    """Return the claims of one cover, settled.

    Parameters
    ----------
    terms : Cover or Tariff
    tables : ClaimTables
    payers, aggregate, totals
        As for `settle`.
    chosen : int64 array, optional
        The rows of the cover's claims; all by default.
    """
    cover, clock, codings = _terms(terms)
    rules = check_payers(payers, eligible=cover.eligible)
    aggregate = _aggregate_of(cover, aggregate)
    totals.check(aggregate)
    asked = {"limits": [one.conditions for one in cover.limits], COVER: cover.conditions}
    gates = compile_gates({**asked, "payers": [rule.conditions for rule in rules]})
    by_level = _by_level(cover)
    wanted = [gate.column for gate in gates] + [*measures_of(cover.limits)]
    wanted += [column for limit in by_level.values() for column in codings[limit.factor].columns]
    wanted += [] if aggregate is None else needed_for(aggregate.by, aggregate.period)
    rows = read_claims(
        tables.claims, tables.orders, wanted, merchants=tables.merchants, named=tables.names, clock=clock,
        merged=cover.merge_share > 0.0, chosen=chosen,
    )  # fmt: skip
    masks = _masks(gates, rows.joined, (*asked, "payers"))
    levels = {what: level_fen(one, codings, codings[one.factor].encode(rows.joined)) for what, one in by_level.items()}
    measures = _measures(cover.limits, rows.joined, masks["limits"])
    offers = offers_of(cover, rows.freight, masks=masks["limits"], measures=measures, levels=levels)
    reason = _reasons(rows, offers, masks[COVER] & np.uint64(1) == 1)
    batch = settle_batch(
        rows, np.where(reason == 0, offers.offer, 0), reason=reason, ties=[offers.offer, offers.rule],
        payers=rules, payer_masks=masks["payers"],
        max_claims=cover.max_claims, aggregate=aggregate, totals=totals,
    )  # fmt: skip
    index = getattr(rows.joined.orders.frame, "index", None)
    return CoverSettled(_columns(rows, offers, batch), batch.totals, tuple(batch.parts), _payments(rows, batch), index)


def _terms(terms: Any) -> tuple[Cover, str, Mapping[str, Coding]]:
    """Return the cover, the clock and the codings of a cover or tariff."""
    if isinstance(terms, TariffRecord):
        return terms.cover, terms.clock, terms.codings
    if not isinstance(terms, Cover):
        raise InputError(f"terms is {repr_of(terms)}; it must be a Cover, a Tariff or a Programme.")
    if terms.level_limits:
        raise InputError(
            f"the cover has a limit by level of factor '{terms.level_limits[0].factor}', whose levels only a tariff "
            "knows; give the tariff instead of the cover."
        )
    return terms, DEFAULT_CLOCK, {}


def _aggregate_of(cover: Cover, aggregate: AggregateLimit | None) -> AggregateLimit | None:
    """Return the aggregate limit of the cover or of the call; refuses two different ones."""
    if aggregate is None:
        return cover.aggregate
    _check.instance(aggregate, AggregateLimit, argument="aggregate")
    if cover.aggregate is not None and cover.aggregate != aggregate:
        raise InputError(
            f"aggregate is {aggregate}, but the cover has {cover.aggregate}; leave aggregate out, or settle under a "
            "cover with the other limit."
        )
    return aggregate


def _by_level(cover: Cover) -> dict[str, ByLevel]:
    """Return the limits by level, by their field of the cover."""
    both = {FIRST_WEIGHT: cover.first_weight_fee, FLAT: cover.limit}
    return {name: one for name, one in both.items() if isinstance(one, ByLevel)}


def _masks(gates: Sequence[Gate], joined: JoinedColumns, kinds: Sequence[str]) -> Masks:
    """Return for each kind of rules a bit mask of the rules whose conditions each claim meets."""
    masks = {what: np.full(joined.n_rows, 2**64 - 1, dtype=np.uint64) for what in kinds}
    for gate in gates:
        codes = gate.encode(joined)
        for what, table in gate.masks.items():
            masks[what] &= table[codes]
    return masks


def _measures(limits: Sequence[Limit], joined: JoinedColumns, masks: NDArray[np.uint64]) -> dict[str, Whole]:
    """Return the columns of which limits are a share in fen; a missing amount that no limit of the claim reads is 0."""
    found = {}
    for column in measures_of(limits):
        values = joined.real(column)
        absent = np.isnan(values)
        shares = np.uint64(sum(1 << k for k, rule in enumerate(limits) if rule.of == column))
        joined.refuse(
            absent & (masks & shares != 0),
            f"claims: '{column}' is missing in {{rows}}, but a limit is a share of it; give its amount in yuan.",
            column,
        )
        found[column], bad = fen_of(np.where(absent, 0.0, values))
        joined.refuse(
            bad,
            f"claims: '{column}' is not an amount of yuan with at most two decimals, from 0 to 1e9, in {{rows}}; round "
            "the amounts to whole fen first.",
            column,
        )
    return found


def _reasons(rows: ClaimRows, offers: ClaimOffers, is_eligible: NDArray[np.bool_]) -> NDArray[np.int8]:
    """Return why the terms leave nothing of each claim, as a place in `REASONS`; the first reason counts."""
    faults = {
        "refused_before": rows.decision == REFUSED,
        "not_in_force": rows.not_in_force,
        "not_eligible": ~is_eligible,
        "limit_zero": offers.limit == 0,
        UNDER: offers.kept == 0,
    }
    reason = np.zeros(len(rows.freight), dtype=np.int8)
    for name, holds in reversed(faults.items()):
        reason[holds] = REASONS.index(name)
    return reason


def _payments(rows: ClaimRows, batch: SettledBatch) -> ClaimPayments:
    """Return what each payer paid in this batch, and what was given back in it."""
    undone = rows.decision == REVERSED
    when = np.where(undone, rows.reversed_at, 0).view("datetime64[us]").astype("datetime64[D]")
    back_day = np.where(undone, when, np.datetime64("NaT", "D"))
    paid = {name: np.where(batch.is_new, fen, 0) for name, fen in batch.parts.items()}
    back = {name: np.where(undone, fen, 0) for name, fen in batch.parts.items()}
    return ClaimPayments(rows.day, back_day, paid, back)


def _columns(rows: ClaimRows, offers: ClaimOffers, batch: SettledBatch) -> dict[str, NDArray[Any]]:
    """Return the columns of settled claims by name."""
    undone = (rows.decision == REVERSED) & (batch.fen > 0)
    paid = np.where(undone, 0, batch.fen)
    decided = np.where(undone, REVERSED, np.where(paid > 0, PAID, REFUSED))
    covered = ~np.isin(batch.reason, [REASONS.index(one) for one in ("refused_before", "not_in_force", "not_eligible")])
    return {
        "freight_fen": rows.freight,
        "paid_fen": paid,
        **{f"{name}_fen": np.where(undone, 0, fen) for name, fen in batch.parts.items()},
        "buyer_fen": rows.freight - paid,
        "reversed_fen": np.where(undone, batch.fen, 0),
        "decision": np.array(DECISIONS, dtype=object)[decided],
        "reason": np.array(REASONS, dtype=object)[batch.reason],
        "limit_rule": np.array(offers.names, dtype=object)[offers.rule],
        "limit_bound": covered & (offers.kept > offers.limit),
        "limit_conflict": covered & offers.conflict,
        "aggregate_bound": batch.cut,
    }
