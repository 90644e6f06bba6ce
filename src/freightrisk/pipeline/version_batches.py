"""A batch of orders of several versions in a ledger: the orders of each version are a batch of their own."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from freightrisk.errors import LedgerError
from freightrisk.pipeline.batch import PricedBatch, Recorded, Unpriced
from freightrisk.pipeline.tables import campaign_row
from freightrisk.programme.priced import PricedBy, TariffOrProgramme, batch_ids, programmes_of
from freightrisk.programme.version_pricing import PHASED
from freightrisk.programme.versions import Versions
from freightrisk.tariff.funds import Fund
from freightrisk.tariff.quotes import frame_of
from freightrisk.tariff.subsidy import Subsidy


@dataclass(frozen=True, eq=False)
class VersionBatches:
    """The batches of one call of `Ledger.price` with versions.

    A recorded batch is priced again with its recorded limits, and the others are recorded in the order of their days.
    If the call is stopped in between, the same call records the rest.

    Parameters
    ----------
    versions : Versions
    batch : str
        Id of the call; the batch of each version has the id ``<batch>/<name of the programme>``.
    options : dict
        threads, detail and progress.
    find : callable
        Returns the record of a batch, None if the ledger has none.
    price_new : callable
        Prices and records a batch, or returns its record if another process was faster.
    """

    versions: Versions
    batch: str
    options: dict[str, Any]
    find: Callable[[str], Recorded | None]
    price_new: Callable[[str, Unpriced], PricedBatch | Recorded]

    def price(self, encode: Callable[[Versions], Any], *, campaigns: bool) -> Any:
        """Return the quotes in the rows of the orders; `encode` encodes the orders for some versions."""
        if self.find(self.batch) is not None:
            raise LedgerError(
                f"batch '{self.batch}' is in the ledger as a batch of one tariff or programme; give orders of versions "
                "another id."
            )
        found = None
        while found is None:
            found = self._priced(encode, campaigns=campaigns)
        return found

    def _priced(self, encode: Callable[[Versions], Any], *, campaigns: bool) -> Any:
        """Return the quotes, or None if another process has recorded one of the batches meanwhile."""
        names = batch_ids(self.versions, self.batch)
        known = {k: one for k, name in enumerate(names) if (one := self.find(name)) is not None}
        then = as_recorded(self.versions, known)
        coded = encode(then)
        self._check_whole(coded, known)
        check_one_meaning(then.programmes[part.place] for part in coded.parts if part.place not in known)
        done: dict[int, Any] = {}
        # Recorded batches come first, so that other orders are refused before anything new is recorded.
        for part in sorted(coded.parts, key=lambda one: one.place not in known):
            moves = then.pricer.moves(part, self.options["threads"])
            moved, bound = (None, {}) if moves is None else (moves[0], {PHASED: moves[1]})
            unpriced = Unpriced(then.programmes[part.place], part.coded, self.options, moved)
            name, record = names[part.place], known.get(part.place)
            priced = self.price_new(name, unpriced) if record is None else unpriced.priced_again(record, name)
            if isinstance(priced, Recorded):
                return None
            done[part.place] = priced.columns | bound
        columns = self.versions.pricer.together(
            coded, [done[part.place] for part in coded.parts], detail=self.options["detail"], campaigns=campaigns
        )
        return frame_of(columns, coded)

    def _check_whole(self, coded: Any, known: Iterable[int]) -> None:
        """Refuse orders that lack those of a recorded batch."""
        lost = {*known} - {part.place for part in coded.parts}
        if lost:
            programme = self.versions.programmes[min(lost)].name
            raise LedgerError(
                f"batch '{self.batch}/{programme}' is in the ledger, but none of these orders has the version "
                f"'{programme}'; give new orders a new id."
            )


def as_recorded(versions: Versions, known: dict[int, Recorded]) -> Versions:
    """Return versions whose programmes have the limits of their recorded batches, by place."""
    programmes: list[Any] = [known[k].tariff(one) if k in known else one for k, one in enumerate(versions.programmes)]
    if all(one is other for one, other in zip(programmes, versions.programmes, strict=True)):
        return versions
    return replace(versions, programmes=programmes)


def check_one_meaning(programmes: Iterable[TariffOrProgramme]) -> tuple[list[Subsidy], list[Fund]]:
    """Return the campaigns and funds with limits of all programmes; a name must have the same limits in each."""
    rules: dict[str, Subsidy] = {}
    funds: dict[str, Fund] = {}
    for programme in programmes:
        for rule in programme.subsidies:
            if rule.is_limited and _terms(rules.setdefault(rule.name, rule)) != _terms(rule):
                _refuse("campaign", rule.name)
        for fund in programme.funds:
            if funds.setdefault(fund.name, fund) != fund:
                _refuse("fund", fund.name)
    return [*rules.values()], [*funds.values()]


def limits_of(priced: PricedBy) -> tuple[list[Subsidy], list[Fund]]:
    """Return the campaigns with limits and the funds of a tariff, a programme, or all programmes of versions."""
    return check_one_meaning(programmes_of(priced))


def _terms(rule: Subsidy) -> tuple[Any, ...]:
    return (*campaign_row(rule).values(), rule.fund)


def _refuse(what: str, name: str) -> None:
    raise LedgerError(
        f"{what} '{name}' has other limits in one programme than in another, and a ledger keeps one set of limits for "
        "a name; give the two different names, or the same limits."
    )
