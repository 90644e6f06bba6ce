"""A tariff or a programme: what the doors of pricing take, and what differs between the two."""

from typing import Any

from freightrisk._shown import repr_of
from freightrisk.errors import InputError
from freightrisk.programme.fee import Fee
from freightrisk.programme.programme import Programme
from freightrisk.tariff.quotes import quote_names
from freightrisk.tariff.tariff import Tariff

TariffOrProgramme = Tariff | Programme


def check_priced(value: Any, *, argument: str = "tariff") -> TariffOrProgramme:
    """Return `value` if it is a tariff or a programme."""
    if not isinstance(value, (Tariff, Programme)):
        raise InputError(f"{argument} is {repr_of(value)}; it must be a Tariff or a Programme.")
    return value


def quote_columns(priced: TariffOrProgramme) -> tuple[str, ...]:
    """Return the names of the columns of quotes, with detail."""
    return quote_names(priced.payers, priced.flags) if isinstance(priced, Tariff) else priced.quote_columns


def covers_of(priced: TariffOrProgramme) -> tuple[Tariff, ...]:
    """Return the covers; a tariff is one."""
    return (priced,) if isinstance(priced, Tariff) else tuple(priced.covers)


def has_filed(priced: TariffOrProgramme) -> bool:
    """Return whether quotes have the premium that is rounded as a column: with several covers, or a phase-in."""
    return isinstance(priced, Programme) and (len(priced.covers) > 1 or priced.phase_in is not None)


def fees_of(priced: TariffOrProgramme) -> tuple[Fee, ...]:
    """Return the fees beside the premium."""
    return () if isinstance(priced, Tariff) else tuple(priced.fees)
