"""A batch of orders before it is recorded: priced from a snapshot, with its spending and the limits it depends on."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk.errors import LedgerError
from freightrisk.pipeline.tables import WHOLE
from freightrisk.programme.priced import TariffOrProgramme, fees_of
from freightrisk.tariff.balances import Balances, OrderSequence
from freightrisk.tariff.funds import FUND_DAY, Fund, funds_by_name, paid_before
from freightrisk.tariff.quotes import CodedOrders, QuoteBuffers
from freightrisk.tariff.subsidy import Subsidy

LIMITS = ("budget_fen", "merchant_cap_fen", "period")
Key = tuple[str, str, str]  # campaign, period, merchant
FundKey = tuple[str, str]  # fund, day


@dataclass(frozen=True)
class Snapshot:
    """Spending and rounding remainders at one moment.

    Parameters
    ----------
    spent : dict of (campaign, period, merchant) to fen
    remainders : dict of merchant to micro-yuan
    funds : dict of (fund, day) to fen
        Spending of funds by ship day; "" for funds without a limit by day.
    """

    spent: dict[Key, int]
    remainders: dict[str, int]
    funds: dict[FundKey, int] = field(default_factory=dict)

    def balances(self, rules: Iterable[Subsidy], sequence: OrderSequence) -> Balances:
        """Return the balances with which a batch starts."""
        balances = Balances()
        for (fund, day), fen in self.funds.items():
            balances.spent_by_fund.setdefault(fund, {})[day] = fen
        for rule in rules:
            if not rule.is_limited:
                continue
            balances.spent[rule.name] = self.spent.get((rule.name, WHOLE, WHOLE), 0)
            # The ledger keeps merchants as texts, whereas a sequence may have integers.
            if rule.period is not None:
                pairs = sequence.labels[rule.period]
                spent = ((pair, self.spent.get((rule.name, pair[1], str(pair[0])), 0)) for pair in pairs)
                balances.spent_by_merchant[rule.name] = {pair: fen for pair, fen in spent if fen}
        if len(sequence.merchants):
            balances.remainders.update({name: self.remainders.get(str(name), 0) for name in sequence.names})
        return balances


@dataclass(frozen=True, eq=False)
class PricedBatch:
    """A priced batch and its spending, not yet recorded.

    Parameters
    ----------
    columns : dict of str to array
        The quotes.
    opening : Snapshot
        The state from which the batch was priced.
    spent : dict of (campaign, period, merchant) to fen
        Spending of the batch.
    met : set of (campaign, period, merchant)
        Limits that reduced an offer, so that the fen depend on earlier spending.
    remainders : dict of merchant to micro-yuan
        Rounding remainders after the batch.
    entries : list of dict
        One entry for each order and campaign: the fen paid.
    fingerprint : str
        Hash of everything that the fen depend on besides the opening.
    fund_spent : dict of (fund, day) to fen
        Spending of the batch from funds.
    fund_met : set of str
        Funds that reduced an offer.
    fund_lines : list of dict
        The fund and the day of each entry that a fund paid.
    """

    columns: dict[str, NDArray[Any]]
    opening: Snapshot
    spent: dict[Key, int]
    met: set[Key]
    remainders: dict[str, int]
    entries: list[dict[str, Any]]
    fingerprint: str
    fund_spent: dict[FundKey, int] = field(default_factory=dict)
    fund_met: set[str] = field(default_factory=set)
    fund_lines: list[dict[str, Any]] = field(default_factory=list)

    def holds(self, now: Snapshot, limits: dict[str, Subsidy], funds: Iterable[Fund] = ()) -> bool:
        """Return whether pricing the batch from another snapshot would give the same fen."""
        # The three checks of docs/method.md, "The ledger": remainders unchanged, limits still sufficient, and spending
        # under each limit that reduced an offer unchanged.
        if any(now.remainders.get(name, 0) != self.opening.remainders.get(name, 0) for name in self.remainders):
            return False
        for key, fen in self.spent.items():
            rule, before = limits[key[0]], now.spent.get(key, 0)
            limit = rule.budget_fen if key[1] == WHOLE else rule.merchant_cap_fen
            if limit is not None and before + fen > limit:
                return False
        if not all(self._holds_in(fund, now) for fund in funds):
            return False
        return all(now.spent.get(key, 0) == self.opening.spent.get(key, 0) for key in self.met)

    def _holds_in(self, fund: Fund, now: Snapshot) -> bool:
        """Return whether a fund would pay the same from another snapshot."""
        was, has = ({day: fen for (name, day), fen in one.items() if name == fund.name and fen}
                    for one in (self.opening.funds, now.funds))  # fmt: skip
        if fund.name in self.fund_met:
            return was == has
        # No offer was reduced. None is reduced now if the limits cover all payments of the batch: the limit of a day
        # only falls while the batch spends on earlier days, and the limits are compared with its end.
        spent = {day: fen for (name, day), fen in self.fund_spent.items() if name == fund.name}
        after = {day: has.get(day, 0) + spent.get(day, 0) for day in {*has, *spent}}
        if fund.budget_fen is not None and any(spent.values()) and sum(after.values()) > fund.budget_fen:
            return False
        days = [day for day, fen in spent.items() if fen]
        return not fund.is_by_day or all(
            after[day] <= fund.day_limit(day, spent_before=before)
            for day, before in zip(days, paid_before(after, days), strict=True)
        )


@dataclass(frozen=True, eq=False)
class Recorded:
    """The record of a batch in a ledger, from which the batch can be priced again to the same fen.

    Parameters
    ----------
    opening : Snapshot
        Spending and remainders before the batch.
    fingerprint : str
    terms : dict of campaign to limits
        The limits when the batch was recorded.
    funds : dict of campaign to Fund
        The fund of each campaign that had one.
    """

    opening: Snapshot
    fingerprint: str
    terms: dict[str, dict[str, Any]]
    funds: dict[str, Fund] = field(default_factory=dict)

    def tariff(self, tariff: TariffOrProgramme) -> TariffOrProgramme:
        """Return a tariff or programme with the recorded limits."""
        # A rule that became limited later had no limit in this batch.
        none = dict.fromkeys(LIMITS)
        named = {name: fund.name for name, fund in self.funds.items()}
        rules = [
            replace(rule, fund=named.get(rule.name), **self.terms.get(rule.name, none))
            if rule.is_limited or rule.name in self.terms
            else rule
            for rule in tariff.subsidies
        ]
        kept = {fund.name: fund for name, fund in self.funds.items() if name in {rule.name for rule in rules}}
        # The funds stand in the tariff's own order, on which the fingerprint depends.
        funds = [kept.pop(fund.name) for fund in tariff.funds if fund.name in kept] + [*kept.values()]
        if rules == list(tariff.subsidies) and funds == list(tariff.funds):
            return tariff
        return tariff.with_subsidies(rules, funds=funds)


@dataclass(frozen=True, eq=False)
class Unpriced:
    """The orders of a batch as codes, to be priced from any snapshot.

    Parameters
    ----------
    tariff : Tariff or Programme
    coded : CodedOrders
    options : dict
        Arguments of `Tariff.price_columns`: threads, detail and progress.
    moved : int64 array, shape (n_orders,), micro-yuan, optional
        What a phase-in adds to the premiums. It does not depend on spending.
    """

    tariff: TariffOrProgramme
    coded: CodedOrders
    options: dict[str, Any]
    moved: NDArray[np.int64] | None = None

    @cached_property
    def into(self) -> QuoteBuffers:
        """Return the buffers that every pricing of the batch writes to."""
        return self.tariff.buffers(self.coded.n_orders, detail=self.options["detail"], campaigns=True)

    @property
    def limited(self) -> dict[str, Subsidy]:
        """Return the rules with limits by name."""
        return {rule.name: rule for rule in self.tariff.subsidies if rule.is_limited}

    @property
    def funds(self) -> tuple[Fund, ...]:
        """Return the funds on which the rules draw."""
        return self.tariff.funds

    def priced(self, opening: Snapshot) -> PricedBatch:
        """Return the batch priced from a snapshot."""
        options = self.options if self.moved is None else self.options | {"moved": self.moved}
        return price_batch(self.tariff, self.coded, opening, self.into, options)

    def priced_again(self, recorded: Recorded, batch: str) -> PricedBatch:
        """Return the batch priced from its record; refuses other orders or another tariff."""
        done = self.priced(recorded.opening)
        if done.fingerprint != recorded.fingerprint:
            raise LedgerError(
                f"batch '{batch}' is in the ledger with other orders, merchants or another tariff; give new orders a "
                "new id. To price the same orders again, release the batch; if it is confirmed, reverse its orders."
            )
        return done


def price_batch(
    tariff: TariffOrProgramme, coded: CodedOrders, opening: Snapshot, into: QuoteBuffers, options: dict[str, Any]
) -> PricedBatch:
    """Return a batch priced from a snapshot."""
    moved = options.get("moved")
    price_columns: Any = tariff.price_columns if moved is None else tariff.pricer.price_columns
    if coded.sequence is None:  # no campaign is limited and no remainder is carried
        columns = price_columns(coded, **options, campaigns=True, buffers=into)
        return PricedBatch(columns, opening, {}, set(), {}, [], _fingerprint(tariff, coded, into, columns, moved))
    sequence: OrderSequence = coded.sequence
    before = opening.balances(tariff.subsidies, sequence)
    after = before.copy()
    columns = price_columns(coded, **options, campaigns=True, balances=after, buffers=into)
    spent: dict[Key, int] = {}
    met = {(name, period, WHOLE if merchant is None else str(merchant)) for name, merchant, period in after.met}
    entries: list[dict[str, Any]] = []
    for k, rule in enumerate(tariff.subsidies):
        if not rule.is_limited:
            continue
        whole = (rule.name, WHOLE, WHOLE)
        spent[whole] = after.spent[rule.name] - before.spent[rule.name]
        labels = [] if rule.period is None else sequence.labels[rule.period]
        was, then = before.spent_by_merchant.get(rule.name, {}), after.spent_by_merchant.get(rule.name, {})
        for merchant, period in labels:
            key, pair = (rule.name, period, str(merchant)), (merchant, period)
            if then.get(pair, 0) != was.get(pair, 0):
                spent[key] = then[pair] - was.get(pair, 0)
        rows = np.flatnonzero(into.paid[k, : coded.n_orders])
        keys = [-1] * len(rows)
        if rule.period is not None:
            keys = sequence.keys[list(sequence.labels).index(rule.period), rows].tolist()
        for order, key_code, fen in zip(sequence.ids[rows].tolist(), keys, into.paid[k, rows].tolist(), strict=True):
            merchant, period = labels[key_code] if key_code >= 0 else (WHOLE, WHOLE)
            entries.append(
                {"order_id": str(order), "campaign": rule.name, "period": period, "merchant": str(merchant), "fen": fen}
            )
    remainders = {str(name): micro for name, micro in after.remainders.items()}
    fund_spent = {
        (name, day): fen - paid
        for name, by_day in after.spent_by_fund.items()
        for day, fen in by_day.items()
        if fen != (paid := before.spent_by_fund.get(name, {}).get(day, 0))
    }
    return PricedBatch(
        columns, opening, spent, met, remainders, entries, _fingerprint(tariff, coded, into, columns, moved),
        fund_spent, after.met_funds, _fund_lines(tariff, sequence, into, coded.n_orders),
    )  # fmt: skip


def _fund_lines(
    tariff: TariffOrProgramme, sequence: OrderSequence, into: QuoteBuffers, n_orders: int
) -> list[dict[str, Any]]:
    """Return the fund, the day and the fen of each order and rule that a fund paid."""
    known, lines = funds_by_name(tariff.funds), []
    for k, rule in enumerate(tariff.subsidies):
        if rule.fund is None:
            continue
        rows = np.flatnonzero(into.paid[k, :n_orders])
        days = [""] * len(rows)
        if known[rule.fund].is_by_day:
            labels = [day for _, day in sequence.labels[FUND_DAY]]
            days = [labels[code] for code in sequence.keys[-1, rows].tolist()]
        for order, day, fen in zip(sequence.ids[rows].tolist(), days, into.paid[k, rows].tolist(), strict=True):
            lines.append({"order_id": str(order), "campaign": rule.name, "fund": rule.fund, "day": day, "fen": fen})
    return lines


class _Written:
    """A rule in a fingerprint. A rule without a fund has no word of funds, as in ledgers from before there were any."""

    def __init__(self, rule: Subsidy) -> None:
        self.rule = rule

    def __repr__(self) -> str:
        names = [one.name for one in fields(self.rule) if one.name != "fund" or self.rule.fund is not None]
        return f"Subsidy({', '.join(f'{name}={getattr(self.rule, name)!r}' for name in names)})"


def _fingerprint(
    tariff: TariffOrProgramme,
    coded: CodedOrders,
    into: QuoteBuffers,
    columns: dict[str, NDArray[Any]],
    moved: NDArray[np.int64] | None,
) -> str:
    """Return a hash of all that the fen of a batch depend on besides earlier spending; the order of rows is ignored."""
    found = hashlib.blake2b(digest_size=16)
    rules = [(_Written(rule), rule.kind) for rule in tariff.subsidies]
    funds = (tariff.funds,) if tariff.funds else ()
    found.update(repr((rules, tariff.rounding, tariff.floor_fen, coded.n_orders, *funds)).encode())
    owed = [columns[f"fee: {fee.name}"] for fee in fees_of(tariff)]  # without fees the hash is that of a tariff
    if owed:
        found.update(repr([(fee.name, fee.payer, fee.payee) for fee in fees_of(tariff)]).encode())
    if moved is not None:
        found.update(b"phase-in")
        owed.append(moved)
    if coded.sequence is None:  # the orders may have no ids, so the sorted fen stand for them
        money = np.column_stack([into.list_fen[: coded.n_orders], *into.payers[:, : coded.n_orders], *owed])
        found.update(np.ascontiguousarray(money[np.lexsort(money.T)]).tobytes())
        return found.hexdigest()
    sequence: OrderSequence = coded.sequence
    # With carried rounding the fen depend on the remainders too, so the premium is taken before rounding.
    premium = into.micro if tariff.rounding == "carry" else into.rounded
    for values in (sequence.ids, premium[: coded.n_orders], into.masks[: coded.n_orders], *owed):
        ordered = values[sequence.permutation] if len(sequence.permutation) else values
        # The joined texts identify the ids: no id holds a zero character, and no text id spells a whole number.
        found.update("\0".join(map(str, ordered.tolist())).encode() if ordered.dtype == object else ordered.tobytes())
    return found.hexdigest()
