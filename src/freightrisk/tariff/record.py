"""The tariff as data: its fields, their checks, and the properties that follow from them without pricing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any

import numpy as np

from freightrisk import _blocks, _check, _intake, _settle
from freightrisk._columns import MERCHANT_ID, ORDER_ID, SHIP_DATE
from freightrisk._document import INLINE, OPTIONAL
from freightrisk._frozen import FrozenDict, digest
from freightrisk._intake import DEFAULT_CLOCK, NUMBER, nearest_spelling, spelling
from freightrisk._shown import counted, repr_of
from freightrisk._types import Array
from freightrisk.book.codings import Coding, CrossCoding
from freightrisk.book.factors import Band
from freightrisk.errors import InputError
from freightrisk.tariff.aggregate_codes import AGGREGATE, AggregateCodes
from freightrisk.tariff.conditions import CONTROLS, COVER, Gate, Interval, compile_gates
from freightrisk.tariff.cover import Cover
from freightrisk.tariff.curves import Cubics, LimitCurve
from freightrisk.tariff.experience_rating import ExperienceRating
from freightrisk.tariff.funds import Fund, check_funds, keyed_periods, windows_of
from freightrisk.tariff.limits import Limit, ranked
from freightrisk.tariff.loading import Loadings
from freightrisk.tariff.loss_control import LossControls
from freightrisk.tariff.made_for import check_made_for
from freightrisk.tariff.pooled_amounts import refuse_pooled_amounts, refuse_pooled_limits
from freightrisk.tariff.rates import (
    CoverCurves,
    RateTables,
    check_aggregate,
    check_curves,
    check_products,
    check_rates,
    check_shares,
    limit_table,
)
from freightrisk.tariff.rounding import Rounding
from freightrisk.tariff.subsidy import Subsidy, conditions_of, in_stacking_order, periods_of, refuse_same_names


@dataclass(frozen=True, repr=False, eq=False)
class TariffRecord:
    """All data that determine a price. A document holds them, and a `Pricer` prices with them.

    `Tariff` has the same fields and describes them.
    """

    name: str
    codings: Annotated[Mapping[str, Coding], "name"] = field(metadata={"key": "factors"})
    frequency: RateTables
    severity: RateTables
    cover: Cover
    loadings: Loadings
    subsidies: tuple[Subsidy, ...]
    curves: CoverCurves = field(metadata=INLINE)
    rounding_rule: Rounding = field(default=Rounding(), metadata=INLINE)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    pairs: tuple[tuple[str, str], ...] = ()
    experience: ExperienceRating | None = None
    clock: str = DEFAULT_CLOCK
    funds: tuple[Fund, ...] = field(default=(), metadata=OPTIONAL)
    loss_controls: LossControls = field(default=LossControls(), metadata=OPTIONAL)

    def __post_init__(self) -> None:
        _intake.check_clock(self.clock)
        _check.label(self.name, argument="name of the tariff")
        _check.mapping(self.codings, argument="codings")
        for name, kind in (("frequency", RateTables), ("severity", RateTables), ("curves", CoverCurves)):
            _check.instance(getattr(self, name), kind, argument=name)
        if self.experience is not None:
            _check.instance(self.experience, ExperienceRating, argument="experience")
        _check.instance(self.rounding_rule, Rounding, argument="rounding_rule")
        _check.instance(self.loss_controls, LossControls, argument="loss_controls")
        object.__setattr__(self, "codings", FrozenDict(dict(self.codings)))
        object.__setattr__(self, "provenance", FrozenDict(dict(self.provenance)))
        check_terms(self.cover, self.loadings, self.subsidies)
        self._check_rates()
        refuse_same_names(self.subsidies)
        object.__setattr__(self, "funds", check_funds(self.subsidies, self.funds))
        if in_stacking_order(self.subsidies) != tuple(self.subsidies):
            raise InputError(
                "subsidies: the rules of a group are separated by other rules; put them next to each other."
            )
        if self.experience is not None:
            self.experience.check_counted_once({name: self.tabled[name].columns for name in self.frequency.tables})
        if len(self.sizes) > _blocks.COLUMN_LIMIT:
            raise InputError(
                f"the tariff reads {len(self._gates)} columns of conditions and {len(self.sizes) - len(self._gates)} "
                f"factors; together at most {_blocks.COLUMN_LIMIT} are allowed."
            )
        self._check_names()
        self._check_levels()

    def _check_rates(self) -> None:
        """Refuse tables, curves and columns of amounts that do not belong together."""
        made_for = self.curves.made_for
        check_made_for(self.curves, self.cover, self.provenance)
        for limit in self.cover.level_limits:
            limit_table(limit, self.codings)
        if made_for is not None and made_for.level_limits != self.cover.level_limits:
            refuse_pooled_limits(self.cover, self.codings)
        object.__setattr__(self, "curves", self.curves.of_cover(self.cover))
        self.loadings.tables(self.codings)
        _check_pairs(self.pairs, self.codings)
        if self.lines is not None and self.lines not in self.codings:
            raise InputError(f"lines names factor '{self.lines}', which is not a factor of the tariff.")
        check_aggregate(self.curves.aggregate, self.cover)
        check_rates(self.frequency, self.tabled, "frequency")
        check_rates(self.severity, self.tabled, "severity")
        check_shares(self.shares, self.tabled, self.cover)
        rated = {} if self.experience is None else self.experience.tables
        controls = dict(zip((rule.name for rule in self.loss_controls.rules), self.loss_controls.factors, strict=True))
        rated |= {f"loss control {name}": np.array([1.0, factor]) for name, factor in controls.items()}
        check_products("frequency", self.intensity_base, {**self.frequency.tables, **rated})
        shares = {f"shares of {name}": table[table > 0.0] for name, table in self.shares.items()}
        check_products("severity", self.severity.base, {**self.severity.tables, **shares})
        check_curves(self.count_curve, self._count_ends, "count_curve", of_lines=self.lines is not None)
        if (self.limit_curve is not None) != (self.cover.needs_curve and not self.shares):
            raise InputError(
                "limit_curve must be given exactly when the cover has a limit or a deductible, and no shares. Rebuild "
                "with Tariff.build."
            )

    def _check_names(self) -> None:
        """Refuse two code columns with one name, because the codes of one would be read as codes of the other."""
        other = next((name for name, coding in self.codings.items() if name != coding.name), None)
        if other is not None:
            raise InputError(f"codings has factor '{self.codings[other].name}' under '{other}'; use its own name.")
        names = [*self.codings, *(" x ".join(pair) for pair in self.pairs)]
        names += [] if self.experience is None else self.experience.tables
        names += [] if self.aggregate is None else [AGGREGATE]
        names += [f"{gate.kind} of {gate.column}" for gate in self._gates]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InputError(
                f"the tariff has two code columns named '{twice}' among its factors, pairs, experience and conditions "
                "of subsidies; rename a factor."
            )

    def _check_levels(self) -> None:
        """Refuse a rule for a level that no order of the tariff can have."""
        for rule, column, level, coding in _unknown_levels(self):
            known = [*coding.spellings[list(coding.columns).index(column)].known]
            what = f"{rule} is for {column} {repr_of(level)}, which factor '{coding.name}' does not have"
            numeric = not any(isinstance(value, str) for value in known)
            if numeric and isinstance(level, str) and not NUMBER.fullmatch(level):
                raise InputError(f"{what}: its levels are numbers, such as {repr_of(known[0])}. Correct the rule.")
            if coding.declared.unseen == "error":
                raise InputError(
                    f"{what}. Such orders are refused, so the rule never holds{_nearest(level, known)}. Correct the "
                    "rule, or declare the factor with unseen='parent'."
                )

    @property
    def count_curve(self) -> Cubics:
        """Return the curves of paid claims by claim intensity."""
        return self.curves.count_curve

    @property
    def limit_curve(self) -> LimitCurve | None:
        """Return the curve of the share of the mean freight under a limit."""
        return self.curves.limit_curve

    @property
    def shares(self) -> Mapping[str, Array]:
        """Return the tables of the share of a claim's mean freight under the limits."""
        return self.curves.shares

    @property
    def lines(self) -> str | None:
        """Return the factor that counts the lines of an order and selects the claim-count curve."""
        return self.curves.lines

    @property
    def rounding(self) -> str:
        """Return the mode of rounding."""
        return self.rounding_rule.mode

    @property
    def floor_fen(self) -> int:
        """Return the smallest price of an order for the merchant, in fen."""
        return self.rounding_rule.floor_fen

    @property
    def dither_key(self) -> str:
        """Return the secret key of dithered rounding."""
        return self.rounding_rule.dither_key

    @property
    def intensity_base(self) -> float:
        """Return the base of the claim intensity under the cover, with moral hazard (docs/method.md, equation 21a)."""
        return self.frequency.base * (1.0 + self.loadings.moral_hazard)

    @property
    def payers(self) -> tuple[str, ...]:
        """Return the payers of subsidies, in the order of their first rule."""
        return tuple(dict.fromkeys(rule.payer for rule in self.subsidies))

    @cached_property
    def tabled(self) -> dict[str, Coding | CrossCoding]:
        """Return the coding of every table: the factors, then the interactions."""
        found: dict[str, Coding | CrossCoding] = dict(self.codings)
        for first, second in self.pairs:
            coding = CrossCoding(found[first], found[second])
            found[coding.name] = coding
        return found

    @property
    def _count_ends(self) -> list[float]:
        """Return for each claim-count curve the largest number of paid claims of an order."""
        if self.lines is None:
            return [] if self.cover.max_claims is None else [self.cover.paid_at_most(self.cover.max_claims)]
        coding = self.codings[self.lines]
        return [self.cover.paid_at_most(min(slot + 1, coding.n_levels)) for slot in range(coding.n_slots)]

    @cached_property
    def _gates(self) -> tuple[Gate, ...]:
        """Return the columns that conditions of subsidies, limits, loss controls and the cover read."""
        asked = {
            "subsidies": conditions_of(self.subsidies, windows_of(self.subsidies, self.funds)),
            "limits": [limit.conditions for limit in self.ranked_limits],
            CONTROLS: [rule.conditions for rule in self.loss_controls.rules],
            COVER: self.cover.conditions,
        }
        return compile_gates(asked)

    @cached_property
    def aggregate(self) -> AggregateCodes | None:
        """Return the code column of the aggregate limit, None without one."""
        return None if self.curves.aggregate is None else AggregateCodes(self.curves.aggregate)

    @cached_property
    def ranked_limits(self) -> tuple[Limit, ...]:
        """Return the limits by rule by rank, as the kernel numbers them."""
        return ranked(self.cover.limits, self.cover.choose)

    @property
    def measures(self) -> tuple[str, ...]:
        """Return the columns of amounts in yuan that pricing reads: the insured amount, and amounts of limits."""
        return self.cover.measures

    @property
    def flags(self) -> tuple[str, ...]:
        """Return the names of the flags of quotes; `limit_conflict` is among them only if limits are rules."""
        return tuple(name for name in _settle.FLAGS if name != "limit_conflict" or self.cover.limits)

    @property
    def periods(self) -> tuple[str, ...]:
        """Return the periods by which limits count orders: of caps by merchant, and the days of funds."""
        return keyed_periods(self.subsidies, self.funds)

    @property
    def in_sequence(self) -> bool:
        """Return whether the payments of an order depend on earlier orders."""
        return self.rounding == "carry" or any(rule.is_limited for rule in self.subsidies)

    @cached_property
    def columns_read(self) -> tuple[str, ...]:
        """Return the columns of orders (or merchants) that pricing reads, under the names in the tariff.

        A table may have other names for order_id, merchant_id and ship_date; pass them to the call, as in
        ``tariff.price(orders, ship_date="shipped_at")``.
        """
        found = [column for coding in self.codings.values() for column in coding.columns]
        if self.experience is not None:
            found += [*self.experience.columns, *([MERCHANT_ID] if self.experience.mods else [])]
        found += [] if self.aggregate is None else self.aggregate.columns
        found += [*(gate.column for gate in self._gates), *self.measures]
        if self.in_sequence or self.rounding == "dither":
            found.append(ORDER_ID)
        if self.in_sequence:
            found.append(SHIP_DATE)
        if self.rounding == "carry" or periods_of(self.subsidies):
            found.append(MERCHANT_ID)
        return tuple(dict.fromkeys(found))

    @property
    def sizes(self) -> dict[str, int]:
        """Return the number of codes of each code column."""
        rated = {name: coding.n_slots for name, coding in self.tabled.items()}
        rated |= {} if self.experience is None else {name: len(t) for name, t in self.experience.tables.items()}
        rated |= {} if self.aggregate is None else {AGGREGATE: len(self.aggregate.table)}
        return rated | {f"{gate.kind} of {gate.column}": gate.n_slots for gate in self._gates}

    @cached_property
    def key(self) -> str:
        """Return a hash of the meaning of the codes of encoded orders; it is the same in every process."""
        return digest(
            (
                tuple(coding.digest for coding in self.tabled.values()),
                tuple(gate.meaning for gate in self._gates),
                self.rounding if self.rounding in ("carry", "dither") else "",
                self.dither_key,
                self.in_sequence,
                self.periods,
                None if self.experience is None else self.experience.digest,
                self.clock,
                *([self.measures] if self.measures else []),
                *([] if self.aggregate is None else [self.aggregate.digest]),
            )
        )


def _conditions(tariff: TariffRecord) -> Iterator[tuple[str, str, Any]]:
    """Yield the name of a rule, a column and its condition, for every condition of the tariff."""
    rules = [(f"subsidy '{rule.name}'", rule.where) for rule in tariff.subsidies]
    rules += [(f"limit '{rule.name}'", rule.where) for rule in tariff.cover.limits]
    rules += [(f"loss control '{rule.name}'", rule.where) for rule in tariff.loss_controls.rules]
    for name, where in [*rules, ("eligible of the cover", tariff.cover.eligible)]:
        for column, condition in where.items():
            yield name, column, condition


def _unknown_levels(tariff: TariffRecord) -> Iterator[tuple[str, str, Any, Coding]]:
    """Yield rule, column, level and factor for each level of a rule that the factor of the column does not have."""
    for rule, column, condition in _conditions(tariff):
        if not isinstance(condition, Interval):
            for coding in tariff.codings.values():
                if isinstance(coding.declared, Band):
                    continue
                if column in coding.columns:
                    known = coding.spellings[list(coding.columns).index(column)]
                    unmet = (level for level in condition if level is not None and known.meet(level) is None)
                    yield from ((rule, column, level, coding) for level in unmet)


def check_new_cover(tariff: TariffRecord) -> None:
    """Refuse or warn of terms that a new tariff cannot keep; documents of earlier tariffs are read without it."""
    refuse_pooled_limits(tariff.cover, tariff.codings)
    for name, amounts in tariff.loadings.by_level.items():
        refuse_pooled_amounts(amounts, tariff.codings, what=name)
    warn_of_unknown_levels(tariff)


def warn_of_unknown_levels(tariff: TariffRecord) -> None:
    """Warn of rules for levels that the book never had, and for single values of a banded number."""
    banded = {coding.columns[0] for coding in tariff.codings.values() if isinstance(coding.declared, Band)}
    for rule, column, condition in _conditions(tariff):
        if column in banded and not isinstance(condition, Interval):
            _check.warn(
                f"{rule} is only for the values {repr_of(list(condition))} of {column}, which is banded; for a range "
                "give Interval(above=, at_most=)."
            )
    unknown: dict[tuple[str, str, str], list[tuple[Any, Coding]]] = {}
    for rule, column, level, coding in _unknown_levels(tariff):
        unknown.setdefault((rule, column, coding.name), []).append((level, coding))
    for (name, column, factor), levels in unknown.items():
        level, coding = levels[0]
        known = [*coding.spellings[list(coding.columns).index(column)].known]
        more = f" (and {counted(len(levels) - 1, 'more level')})" if len(levels) > 1 else ""
        _check.warn(
            f"{name} is for {column} {repr_of(level)}{more}, which factor '{factor}' does not have. It holds only for "
            f"orders with levels newer than the fit{_nearest(level, known)}."
        )


def _nearest(level: Any, known: Sequence[Any]) -> str:
    close = nearest_spelling(spelling(level), map(spelling, known))
    return "" if close is None else f"; the most similar known level is '{close}'"


def _check_pairs(pairs: Sequence[tuple[str, str]], codings: Mapping[str, Coding]) -> None:
    known = set(codings)
    for first, second in pairs:
        unknown = [name for name in (first, second) if name not in known]
        if unknown:
            raise InputError(f"pairs names factor '{unknown[0]}', which is not a factor of the tariff.")
        known.add(f"{first} x {second}")


def check_terms(cover: object, loadings: object, subsidies: object) -> None:
    """Refuse terms of the wrong type here, because they would fail later with a less clear message."""
    if not isinstance(cover, Cover):
        raise InputError(f"cover is {repr_of(cover)}; it must be a Cover.")
    if not isinstance(loadings, Loadings):
        raise InputError(f"loadings is {repr_of(loadings)}; it must be a Loadings.")
    if not isinstance(subsidies, Sequence) or not all(isinstance(rule, Subsidy) for rule in subsidies):
        raise InputError(f"subsidies is {repr_of(subsidies)}; it must be a list of Subsidy.")
