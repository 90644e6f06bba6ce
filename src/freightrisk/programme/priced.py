"""A tariff, a programme or versions: what the doors of pricing take, and what differs between them."""

from pathlib import Path
from typing import Any

import msgspec

from freightrisk._plain import json_document
from freightrisk._sealed import Head
from freightrisk._shown import repr_of
from freightrisk.errors import FreightRiskError, InputError, TariffDocumentError
from freightrisk.programme.fee import Fee
from freightrisk.programme.programme import SEAL as PROGRAMME
from freightrisk.programme.programme import Programme
from freightrisk.programme.versions import SEAL as VERSIONS
from freightrisk.programme.versions import Versions
from freightrisk.tariff.document import parse_tariff
from freightrisk.tariff.parts import SEAL as TARIFF
from freightrisk.tariff.quotes import quote_names
from freightrisk.tariff.tariff import Tariff

TariffOrProgramme = Tariff | Programme
PricedBy = Tariff | Programme | Versions


def check_priced(value: Any, *, argument: str = "tariff") -> PricedBy:
    """Return `value` if it is a tariff, a programme or versions."""
    if not isinstance(value, (Tariff, Programme, Versions)):
        raise InputError(f"{argument} is {repr_of(value)}; it must be a Tariff, a Programme or Versions.")
    return value


def load_priced(path: str | Path) -> PricedBy:
    """Return the tariff, programme or versions of a document, whichever it holds.

    Parameters
    ----------
    path : str or Path
        A document written by `Tariff.save`, `Programme.save` or `Versions.save`.

    Raises
    ------
    TariffDocumentError
        If the file is truncated, is another document, or contradicts itself.

    Examples
    --------
    ``load_priced("versions.json").price(orders)``
    """
    data, source = TARIFF.file(path)
    try:
        schema = json_document(data, Head).schema
    except (msgspec.MsgspecError, FreightRiskError):
        schema = TARIFF.schema  # the tariff's own reader tells what is wrong
    if schema == PROGRAMME.schema:
        return PROGRAMME.read(Programme, data, source=source)
    if schema == VERSIONS.schema:
        return VERSIONS.read(Versions, data, source=source)
    if schema != TARIFF.schema:
        raise TariffDocumentError(
            f"'{source}' is not a document of a tariff, programme or versions: its schema is '{schema}'; give a "
            "document that the method save of one of them has written."
        )
    return parse_tariff(data, source=source)


def programmes_of(priced: PricedBy) -> tuple[TariffOrProgramme, ...]:
    """Return the programmes of versions in the order of their days; a tariff or a programme stands for itself."""
    return tuple(priced.programmes) if isinstance(priced, Versions) else (priced,)


def batch_ids(priced: PricedBy, batch: str) -> list[str]:
    """Return the ids under which a ledger keeps a batch of orders: one, or one for each version."""
    return [f"{batch}/{one.name}" for one in priced.programmes] if isinstance(priced, Versions) else [batch]


def quote_columns(priced: PricedBy) -> tuple[str, ...]:
    """Return the names of the columns of quotes, with detail."""
    return quote_names(priced.payers, priced.flags) if isinstance(priced, Tariff) else priced.quote_columns


def payers_of(priced: PricedBy) -> tuple[str, ...]:
    """Return the payers of subsidies, in the order of their first rule."""
    return tuple(dict.fromkeys(payer for one in programmes_of(priced) for payer in one.payers))


def covers_of(priced: TariffOrProgramme) -> tuple[Tariff, ...]:
    """Return the covers; a tariff is one."""
    return (priced,) if isinstance(priced, Tariff) else tuple(priced.covers)


def has_filed(priced: TariffOrProgramme) -> bool:
    """Return whether quotes have the premium that is rounded as a column; those of a tariff do not."""
    return isinstance(priced, Programme) and priced.has_filed


def fees_of(priced: PricedBy) -> tuple[Fee, ...]:
    """Return the fees beside the premium; of versions, each fee once."""
    found = (fee for one in programmes_of(priced) if isinstance(one, Programme) for fee in one.fees)
    return tuple(dict.fromkeys(found))
