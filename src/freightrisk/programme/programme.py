"""Programmes: several covers in one price, with fees, loss controls, payers of claims and dates."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from freightrisk import _check
from freightrisk._document import to_plain
from freightrisk._plain import write_whole
from freightrisk._sealed import Seal
from freightrisk._shown import counted, shown
from freightrisk.errors import TariffDocumentError
from freightrisk.programme.phase_in import PhaseIn
from freightrisk.programme.pricing import ProgrammePricer
from freightrisk.programme.record import ProgrammeRecord
from freightrisk.tariff.funds import Fund
from freightrisk.tariff.loss_control import Funnel, LossControl
from freightrisk.tariff.priced import Priced
from freightrisk.tariff.pricing import Pricer
from freightrisk.tariff.subsidy import Subsidy

SEAL = Seal("programme", "freightrisk/programme", 1, TariffDocumentError)


@dataclass(frozen=True, repr=False, eq=False)
class Programme(ProgrammeRecord, Priced):
    """Several covers that are sold in one price, with fees, payers of claims and dates.

    The premiums of the covers are filed one by one and added in micro-yuan. The sum is rounded once, with one floor,
    and subsidies apply to the whole. The first cover decides how: its subsidies, funds, rounding, floor and clock are
    those of the programme.

    Parameters
    ----------
    name : str
    covers : Tariff, or sequence of Tariff
        The covers, by their names; that of the return freight first. The others have no subsidies. An `EventCover` is a
        cover by its `tariff()`.
    fees : sequence of Fee
        What is owed beside the premium.
    claim_payers : sequence of ClaimPayer
        Who pays the claims of the first cover.
    start, end : datetime.date, or text such as "2026-06-18", optional
        First and last ship date. `Versions` chooses by them; a programme by itself prices every order.
    refund_rule : {"before_shipment", "always", "never"}
        Whether the premium goes back when an order is cancelled: only before the goods were sent, always or never
        (`refunds`).
    phase_in : PhaseIn, optional
        How far list prices may move from those of the version before, in `Versions`.

    Notes
    -----
    Quotes have the columns of `Tariff.price`. With several covers, the steps of each stand under names such as
    ``freight: pure_premium``, and `pure_premium` and `technical_premium` are sums; `filed_micro` is the sum that is
    rounded. With fees there are ``fee: <name>`` and `merchant_total_fen`, the premium and the fees of the merchant.

    Examples
    --------
    >>> import pandas as pd
    >>> from freightrisk import Cover
    >>> from freightrisk.events import EventCover
    >>> from freightrisk.programmes import Fee, Programme
    >>> freight = EventCover("freight", frequency=0.02, severity=9.0, cover=Cover(max_claims=None)).tariff()
    >>> transit = EventCover("transit loss", frequency=0.001, severity=60.0, cover=Cover(max_claims=None)).tariff()
    >>> service = Fee("service", basis_points=60, of="paid_fen", cap_fen=1800)
    >>> programme = Programme("1688", [freight, transit], fees=[service])
    >>> quotes = programme.price(pd.DataFrame({"paid_fen": [299_900, 1_000_000]}))
    >>> quotes[["list_fen", "merchant_fen", "fee: service", "merchant_total_fen"]].values.tolist()
    [[24, 24, 1799, 1823], [24, 24, 1800, 1824]]
    """

    @cached_property
    def pricer(self) -> Pricer:
        """Return the pricer, made at first use; a programme of one cover and nothing else has that of the cover."""
        return ProgrammePricer(self) if self.fees or self.has_filed else self.lead.pricer

    @cached_property
    def listing(self) -> "Programme":
        """Return the programme without what depends on other orders, for list prices alone: no subsidies, no carry."""
        mode = self.rounding_rule
        rounding = replace(mode, mode="half_even") if mode.mode == "carry" else mode
        lead = replace(self.lead, subsidies=(), funds=(), rounding_rule=rounding)
        return Programme(self.name, (lead, *self.covers[1:]), phase_in=PhaseIn(0.0))  # has the filed sum as a column

    def with_subsidies(self, subsidies: Sequence[Subsidy], *, funds: Sequence[Fund] = ()) -> "Programme":
        """Return the programme with other subsidies, as `Tariff.with_subsidies` does."""
        return replace(self, covers=(self.lead.with_subsidies(subsidies, funds=funds), *self.covers[1:]))

    def with_loss_controls(
        self, rules: Sequence[LossControl], *, funnel: Funnel | None = None, cover: str | None = None
    ) -> "Programme":
        """Return the programme with loss controls of a cover, in place of the cover's own.

        Parameters
        ----------
        rules : sequence of LossControl
        funnel : Funnel, optional
            Shares of causes and of the stages. By default that of the cover.
        cover : str, optional
            Name of the cover, by default the first.
        """
        names = [one.name for one in self.covers]
        name = names[0] if cover is None else _check.one_of(cover, names, argument="cover")
        controlled = [one.with_loss_controls(rules, funnel=funnel) if one.name == name else one for one in self.covers]
        return replace(self, covers=tuple(controlled))

    def save(self, path: str | Path) -> None:
        """Write the programme as one JSON document; the file appears complete or not at all.

        If a cover has a `dither_key`, which is secret, only the owner can read a new file.

        Parameters
        ----------
        path : str or Path
        """
        write_whole(path, document_of(self), private=any(cover.dither_key for cover in self.covers))

    @cached_property
    def digest(self) -> str:
        """Return the digest of the programme's document; equal programmes have equal digests."""
        return str(plain_of(self)["digest"])

    @cached_property
    def version(self) -> str:
        """Return a hash of all that decides prices and claims: the document without provenance."""
        covers = tuple(replace(cover, provenance={}) for cover in self.covers)
        return replace(self, covers=covers).digest

    def __repr__(self) -> str:
        dates = "" if self.start is None and self.end is None else f", {self.start or ''} to {self.end or ''}"
        return shown(
            f"Programme '{self.name}': {counted(len(self.covers), 'cover')} "
            f"({', '.join(cover.name for cover in self.covers)}), {counted(len(self.fees), 'fee')}, "
            f"{len(self.subsidies)} subsidies, floor {self.floor_fen} fen{dates}"
        )


def plain_of(programme: Programme) -> dict[str, Any]:
    """Return the document of a programme as plain data."""
    return SEAL.plain(to_plain(programme))


def document_of(programme: Programme) -> bytes:
    """Return the document of a programme."""
    return msgspec.json.format(msgspec.json.encode(plain_of(programme)), indent=1)


def load_programme(path: str | Path) -> Programme:
    """Return the programme of a document written by `Programme.save`; it prices to the same fen.

    Raises
    ------
    TariffDocumentError
        If the file is truncated, is not a programme document of this version, or contradicts itself.
    """
    data, source = SEAL.file(path)
    return SEAL.read(Programme, data, source=source)
