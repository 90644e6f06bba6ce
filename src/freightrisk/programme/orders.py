"""Orders encoded for a programme: the codes of its covers and what its fees read; and arrays for their quotes."""

from dataclasses import dataclass, fields
from typing import Any

from freightrisk.errors import InputError
from freightrisk.programme.fee import FeeColumns
from freightrisk.tariff.beside import CoverBuffers
from freightrisk.tariff.quotes import DAMAGED, CodedOrders, QuoteBuffers


@dataclass(frozen=True, eq=False, kw_only=True)
class ProgrammeOrders(CodedOrders):
    """Orders as the code columns of a programme's first cover, beside those of its other covers.

    Parameters
    ----------
    beside : tuple of CodedOrders
    fees : FeeColumns or None
        None for a programme without fees.
    """

    beside: tuple[CodedOrders, ...] = ()
    fees: FeeColumns | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        apart = any(one.n_orders != self.n_orders for one in self.beside)
        if apart or (self.fees is not None and len(self.fees.owed) != self.n_orders):
            raise InputError(DAMAGED)

    @classmethod
    def of(cls, first: CodedOrders, beside: tuple[CodedOrders, ...], fees: FeeColumns | None) -> "ProgrammeOrders":
        """Return the orders of the first cover, with those of the others."""
        return cls(**{one.name: getattr(first, one.name) for one in fields(CodedOrders)}, beside=beside, fees=fees)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the call that unpickles these orders; each cover's codes are proved again."""
        first = CodedOrders(**{one.name: getattr(self, one.name) for one in fields(CodedOrders)})
        return ProgrammeOrders.of, (first, self.beside, self.fees)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ProgrammeBuffers(QuoteBuffers):
    """Arrays for the quotes of a programme; made by `Programme.buffers`.

    Parameters
    ----------
    covers : CoverBuffers
        Arrays for the covers beside the first.
    """

    covers: CoverBuffers

    @classmethod
    def of(cls, first: QuoteBuffers, covers: CoverBuffers) -> "ProgrammeBuffers":
        """Return the arrays of the first cover, with those of the others."""
        return cls(**{one.name: getattr(first, one.name) for one in fields(QuoteBuffers)}, covers=covers)
