"""The programme as data: its fields, their checks, and the properties that follow from them without pricing."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property

from freightrisk import _check
from freightrisk._document import OPTIONAL
from freightrisk.errors import InputError
from freightrisk.programme.claim_payer import ClaimPayer, check_payers
from freightrisk.programme.fee import FEES, Fee, check_fees, columns_of
from freightrisk.programme.phase_in import PhaseIn
from freightrisk.tariff.beside import SUMMED
from freightrisk.tariff.conditions import Gate, checked_window, compile_gates
from freightrisk.tariff.cover import Cover
from freightrisk.tariff.funds import Fund
from freightrisk.tariff.loading import Loadings
from freightrisk.tariff.quotes import DETAIL, quote_names
from freightrisk.tariff.rounding import Rounding
from freightrisk.tariff.subsidy import Subsidy
from freightrisk.tariff.tariff import Tariff

NEVER, BEFORE_SHIPMENT, ALWAYS = REFUNDS = ("never", "before_shipment", "always")
FILED = "filed_micro"
TOTAL = "merchant_total_fen"


@dataclass(frozen=True, repr=False, eq=False)
class ProgrammeRecord:
    """All data of a programme. `Programme` has the same fields and describes them."""

    name: str
    covers: Sequence[Tariff]
    fees: Sequence[Fee] = field(default=(), metadata=OPTIONAL)
    claim_payers: Sequence[ClaimPayer] = field(default=(), metadata=OPTIONAL)
    start: date | None = field(default=None, kw_only=True, metadata=OPTIONAL)
    end: date | None = field(default=None, kw_only=True, metadata=OPTIONAL)
    refund_rule: str = field(default=BEFORE_SHIPMENT, kw_only=True, metadata=OPTIONAL)
    phase_in: PhaseIn | None = field(default=None, kw_only=True, metadata=OPTIONAL)

    def __post_init__(self) -> None:
        _check.one_of(self.refund_rule, REFUNDS, argument="refund_rule")
        if self.phase_in is not None:
            _check.instance(self.phase_in, PhaseIn, argument="phase_in")
        _check.label(self.name, argument="name of the programme")
        covers = (self.covers,) if isinstance(self.covers, Tariff) else self.covers
        object.__setattr__(self, "covers", _check.members(covers, Tariff, argument="covers"))
        self._check_covers()
        object.__setattr__(self, "fees", check_fees(self.fees))
        object.__setattr__(self, "claim_payers", check_payers(self.claim_payers, eligible=self.cover.eligible))
        for name, day in zip(("start", "end"), checked_window(self.start, self.end, f"'{self.name}'"), strict=True):
            object.__setattr__(self, name, day)
        names = [*self.quote_columns, *(f"paid: {rule.name}" for rule in self.subsidies)]
        clash = next((name for name in names if names.count(name) > 1), None)
        if clash is not None:
            raise InputError(f"'{clash}' would be two columns of quotes; rename the cover, fee, subsidy or payer.")

    def _check_covers(self) -> None:
        """Refuse covers that cannot be one price."""
        if not self.covers:
            raise InputError(f"programme '{self.name}' has no covers; give at least one Tariff.")
        names = [cover.name for cover in self.covers]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InputError(
                f"covers: {names.count(twice)} are named '{twice}', but the name identifies a cover's columns; give "
                "each its own name, such as dataclasses.replace(tariff, name=...)."
            )
        for cover in self.covers[1:]:
            if cover.subsidies or cover.funds:
                raise InputError(
                    f"cover '{cover.name}' has subsidies, but those of a programme are those of its first cover, "
                    f"'{names[0]}'; give them there: covers[0].with_subsidies([...])."
                )
            if cover.clock != self.clock:
                raise InputError(
                    f"cover '{cover.name}' has the clock '{cover.clock}', the first cover has '{self.clock}'; build "
                    "all covers with one clock."
                )

    @property
    def lead(self) -> Tariff:
        """Return the first cover."""
        return self.covers[0]

    @property
    def cover(self) -> Cover:
        """Return the terms of the first cover."""
        return self.lead.cover

    @property
    def subsidies(self) -> tuple[Subsidy, ...]:
        """Return the subsidies in stacking order."""
        return self.lead.subsidies

    @property
    def funds(self) -> tuple[Fund, ...]:
        """Return the budgets that several subsidies share."""
        return self.lead.funds

    @property
    def payers(self) -> tuple[str, ...]:
        """Return the payers of subsidies, in the order of their first rule."""
        return self.lead.payers

    @property
    def loadings(self) -> Loadings:
        """Return the loadings of the first cover."""
        return self.lead.loadings

    @property
    def rounding_rule(self) -> Rounding:
        """Return the rounding of the summed premium, and its floor."""
        return self.lead.rounding_rule

    @property
    def rounding(self) -> str:
        """Return the mode of rounding."""
        return self.lead.rounding

    @property
    def dither_key(self) -> str:
        """Return the secret key of dithered rounding."""
        return self.lead.dither_key

    @property
    def floor_fen(self) -> int:
        """Return the smallest price of an order for the merchant, in fen."""
        return self.lead.floor_fen

    @property
    def clock(self) -> str:
        """Return the time zone that decides the day of a time."""
        return self.lead.clock

    @property
    def in_sequence(self) -> bool:
        """Return whether the payments of an order depend on earlier orders."""
        return self.lead.in_sequence

    @property
    def flags(self) -> tuple[str, ...]:
        """Return the names of the flags of quotes, which are those of any cover."""
        return max((cover.flags for cover in self.covers), key=len)

    @cached_property
    def fee_gates(self) -> tuple[Gate, ...]:
        """Return the columns that conditions of fees read."""
        return compile_gates({FEES: [fee.conditions for fee in self.fees]})

    @cached_property
    def columns_read(self) -> tuple[str, ...]:
        """Return the columns of orders (or merchants) that pricing reads, under their own names."""
        found = [column for cover in self.covers[:1] for column in cover.columns_read]
        for cover in self.covers[1:]:
            found += replace(cover, rounding_rule=Rounding()).columns_read
        return tuple(dict.fromkeys([*found, *(gate.column for gate in self.fee_gates), *columns_of(self.fees)]))

    @property
    def has_filed(self) -> bool:
        """Return whether quotes have the premium that is rounded as a column: with several covers, or a phase-in."""
        return len(self.covers) > 1 or self.phase_in is not None

    @property
    def quote_columns(self) -> tuple[str, ...]:
        """Return the names of the columns of quotes, with detail."""
        listed = quote_names(self.payers, self.flags)
        if len(self.covers) == 1 and self.phase_in is not None:
            listed = (*DETAIL, FILED, *listed[len(DETAIL) :])
        if len(self.covers) > 1:
            steps = (f"{cover.name}: {name}" for cover in self.covers for name in DETAIL)
            listed = (*steps, *SUMMED, FILED, *listed[len(DETAIL) :])
        return (*listed, *((*(f"fee: {fee.name}" for fee in self.fees), TOTAL) if self.fees else ()))
