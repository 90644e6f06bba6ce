"""The TOML configuration of ``freightrisk fit``: typed parts, the plan made from them, and the fit of the plan."""

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from freightrisk import _check
from freightrisk._intake import DEFAULT_CLOCK, zone
from freightrisk.book.book import OrderBook
from freightrisk.book.factors import Band, Declaration, Factor, Hierarchy
from freightrisk.errors import FreightRiskError, InputError
from freightrisk.models.effects import Credibility, Effect, Free, Given, Interaction, Smooth
from freightrisk.models.fitted import FittedModel
from freightrisk.models.frequency import FrequencyModel, at_most_one_claim
from freightrisk.models.severity import SeverityModel
from freightrisk.models.solver import Solver
from freightrisk.tariff.campaigns import IntervalPart, SubsidyPart, subsidy_from_part
from freightrisk.tariff.cover import ByLevel, Cover
from freightrisk.tariff.loading import Loadings
from freightrisk.tariff.subsidy import Subsidy
from freightrisk.tariff.tariff import Tariff

if TYPE_CHECKING:
    import pandas as pd

INFINITY = float("inf")
UNKNOWN = re.compile(r"Object contains unknown field `(?P<key>.+?)`(?: - at `(?P<place>.*)`)?$")


class DataPart(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Input files, relative to the folder of the configuration."""

    orders: str | None = None
    claims: str | None = None
    merchants: str | None = None


class ColumnsPart(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Names of columns besides those of the factors, and how dates are written; an empty text stands for none."""

    order_id: str = "order_id"
    merchant_id: str = "merchant_id"
    ship_date: str = "ship_date"
    report_date: str = "report_date"
    freight: str = "freight"
    exposure: str = ""
    lines: str = ""
    date_format: str = ""
    claim_id: str = "claim_id"


class RulesPart(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True, tag_field="kind"):
    """What every kind of factor can declare."""

    name: str
    missing: str = "error"
    unseen: str = "error"
    min_exposure: float = 0.0
    min_claims: int = 0

    def rules(self) -> dict[str, Any]:
        """Return the rules for missing, unseen and rare levels."""
        return {name: getattr(self, name) for name in ("missing", "unseen", "min_exposure", "min_claims")}


class FactorPart(RulesPart, kw_only=True, frozen=True, tag="factor"):
    """A factor of one column's values."""

    column: str | None = None

    def declaration(self) -> Declaration:
        """Return the library's declaration."""
        return Factor(self.name, column=self.column, **self.rules())


class BandPart(RulesPart, kw_only=True, frozen=True, tag="band"):
    """A factor of bands of a number."""

    edges: list[float] | int
    column: str | None = None
    valid: tuple[float, float] = (0.0, INFINITY)

    def declaration(self) -> Declaration:
        """Return the library's declaration."""
        return Band(self.name, self.edges, column=self.column, valid=self.valid, **self.rules())


class HierarchyPart(RulesPart, kw_only=True, frozen=True, tag="hierarchy"):
    """A factor of paths in a tree."""

    columns: list[str]

    def declaration(self) -> Declaration:
        """Return the library's declaration."""
        return Hierarchy(self.name, self.columns, **self.rules())


class EffectPart(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True, tag_field="effect"):
    """A factor of a model as other than a free relativity for each level."""

    @property
    def names(self) -> tuple[str, ...]:
        """Return the factors that the effect needs."""
        return tuple(getattr(self, field) for field in ("name", "first", "second") if hasattr(self, field))

    def effect(self) -> Effect:
        """Return the library's effect."""
        given = {field: getattr(self, field) for field in self.__struct_fields__}
        return EFFECTS[type(self)](**given)


class FreePart(EffectPart, kw_only=True, frozen=True, tag="free"):
    """A free relativity for each level, in order where bands ask for it."""

    name: str
    monotone: str | None = None


class CredibilityPart(EffectPart, kw_only=True, frozen=True, tag="credibility"):
    """Relativities shrunk to their parent's."""

    name: str
    variance: float | list[float] | None = None


class SmoothPart(EffectPart, kw_only=True, frozen=True, tag="smooth"):
    """A curve over bands."""

    name: str
    order: int = 2
    variance: float | None = None
    monotone: str | None = None


class GivenPart(EffectPart, kw_only=True, frozen=True, tag="given"):
    """Relativities that are filed and not fitted."""

    name: str
    relativities: dict[str, float] | list[float]


class InteractionPart(EffectPart, kw_only=True, frozen=True, tag="interaction"):
    """Pairs of levels of two factors, shrunk to their main effects."""

    first: str
    second: str
    variance: float | None = None


EFFECTS: dict[type[EffectPart], Callable[..., Effect]] = {
    FreePart: Free, CredibilityPart: Credibility, SmoothPart: Smooth, GivenPart: Given, InteractionPart: Interaction,
}  # fmt: skip


class ModelPart(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A model: its family, its factors (all by default), and the least age of the orders that it is fitted on.

    A factor is a name, or a table that says which effect it has: ``{effect = "credibility", name = "category_path"}``.
    """

    family: str | None = None
    factors: list[str | FreePart | CredibilityPart | SmoothPart | GivenPart | InteractionPart] | None = None
    min_age_days: int = 0

    @property
    def names(self) -> list[str]:
        """Return the factors that the model needs."""
        parts = self.factors or []
        return [name for part in parts for name in ((part,) if isinstance(part, str) else part.names)]

    @property
    def effects(self) -> list[str | Effect] | None:
        """Return the factors as the library takes them."""
        if self.factors is None:
            return None
        return [part if isinstance(part, str) else part.effect() for part in self.factors]


class LevelsPart(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Amounts by level of a factor, yuan."""

    factor: str
    values: dict[str, float]
    default: float | None = None


class CoverPart(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The cover's terms; `max_claims` may be "all"."""

    max_claims: int | str = 1
    limit: float | LevelsPart | None = None
    first_weight_fee: LevelsPart | None = None
    merge_share: float = 0.0

    def cover(self) -> Cover:
        """Return the library's cover."""
        if isinstance(self.max_claims, str) and self.max_claims != "all":
            raise InputError(f"max_claims is '{self.max_claims}'; give a whole number, or \"all\" for no limit.")
        return Cover(
            max_claims=None if isinstance(self.max_claims, str) else self.max_claims,
            limit=_by_level(self.limit) if isinstance(self.limit, LevelsPart) else self.limit,
            first_weight_fee=None if self.first_weight_fee is None else _by_level(self.first_weight_fee),
            merge_share=self.merge_share,
        )


class Config(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The whole configuration."""

    factors: list[FactorPart | BandPart | HierarchyPart]
    name: str = "tariff"
    as_of: date | None = None
    floor_fen: int = 1
    clock: str = DEFAULT_CLOCK
    data: DataPart = DataPart()
    columns: ColumnsPart = ColumnsPart()
    frequency: ModelPart = ModelPart()
    severity: ModelPart = ModelPart()
    cover: CoverPart = CoverPart()
    loadings: dict[str, float] = {}
    subsidies: list[SubsidyPart] = []


@dataclass(frozen=True)
class FitPlan:
    """A configuration as the library's objects, checked as far as it can be without the data.

    Parameters
    ----------
    frequency_age_days, severity_age_days : int
        Least age of the orders that each model is fitted on.
    """

    name: str
    as_of: date | None
    floor_fen: int
    clock: str
    orders: Path | None
    claims: Path | None
    merchants: Path | None
    columns: ColumnsPart
    factors: tuple[Declaration, ...]
    frequency: FrequencyModel
    severity: SeverityModel
    frequency_age_days: int
    severity_age_days: int
    cover: Cover
    loadings: Loadings
    subsidies: tuple[Subsidy, ...]

    @property
    def book_columns(self) -> dict[str, Any]:
        """Return the names of columns as `OrderBook.from_frames` takes them."""
        return {name: getattr(self.columns, name) or None for name in ColumnsPart.__struct_fields__}


def read_plan(path: Path) -> FitPlan:
    """Return the plan of a TOML file; paths in it are relative to its folder."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"configuration '{path}' cannot be read: {error}; give a TOML file.") from None
    return parse_plan(text, source=str(path), folder=path.parent)


def parse_plan(text: str, *, source: str, folder: Path) -> FitPlan:
    """Return the plan of a configuration's text."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"configuration '{source}' is not valid TOML: {error}; correct it there.") from None
    except RecursionError:
        raise InputError(f"configuration '{source}' nests brackets too deeply; no key needs more than four.") from None
    try:
        return _plan(msgspec.convert(table, Config), folder)
    except msgspec.ValidationError as error:
        raise InputError(f"configuration '{source}': {_taught(str(error), table)}") from None
    except FreightRiskError as error:
        raise InputError(f"configuration '{source}': {error}") from None


def _plan(config: Config, folder: Path) -> FitPlan:
    files = {name: getattr(config.data, name) for name in DataPart.__struct_fields__}
    return FitPlan(
        name=_check.label(config.name, argument="name"),
        as_of=config.as_of,
        floor_fen=_check.whole(config.floor_fen, argument="floor_fen", low=0, high=10**6),
        clock=zone(config.clock).key,
        **{name: None if file is None else folder / file for name, file in files.items()},
        columns=config.columns,
        factors=_declarations(config),
        frequency=FrequencyModel(config.frequency.effects, family=config.frequency.family or "poisson"),
        severity=SeverityModel(config.severity.effects, family=config.severity.family or "gamma"),
        frequency_age_days=_age(config.frequency, "frequency"),
        severity_age_days=_age(config.severity, "severity"),
        cover=config.cover.cover(),
        loadings=_loadings(config.loadings),
        subsidies=tuple(subsidy_from_part(rule) for rule in config.subsidies),
    )


def _declarations(config: Config) -> tuple[Declaration, ...]:
    names = [part.name for part in config.factors]
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise InputError(f"factors declares '{repeated[0]}' twice; give each factor its own name.")
    for model in ("frequency", "severity"):
        unknown = [name for name in getattr(config, model).names if name not in names]
        if unknown:
            raise InputError(
                f"{model}.factors names '{unknown[0]}', which no [[factors]] entry declares; "
                f"declared are {_quoted(names)}."
            )
    return tuple(part.declaration() for part in config.factors)


def _age(part: ModelPart, model: str) -> int:
    return _check.whole(part.min_age_days, argument=f"{model}.min_age_days", low=0, high=36500)


def _loadings(given: dict[str, float]) -> Loadings:
    allowed = list(Loadings.__dataclass_fields__)
    unknown = [name for name in given if name not in allowed]
    if unknown:
        raise InputError(_unknown_key(unknown[0], "loadings", allowed))
    return Loadings(**given)


def _by_level(part: LevelsPart) -> ByLevel:
    return ByLevel(part.factor, dict(part.values), default=part.default)


def _taught(message: str, table: dict[str, Any]) -> str:
    """Return what msgspec found, in the words of the file."""
    unknown = UNKNOWN.match(message)
    if unknown:
        place = unknown["place"] or "$"
        return _unknown_key(unknown["key"], _place(place, table), _keys_at(place, table))
    found, _, place = message.replace(" | null", "").partition(" - at ")
    kinds = "; kind is 'factor', 'band' or 'hierarchy'" if re.search(r"\bkind`", message) else ""
    if ".factors[" in place and ("`effect`" in message or "$.effect" in message or ".effect" in place):
        kinds = "; effect is 'free', 'credibility', 'smooth', 'given' or 'interaction'"
    return f"{_place(place.strip('`') or '$', table)}: {found.replace('`', chr(39))}{kinds}."


def _unknown_key(key: str, place: str, allowed: list[str]) -> str:
    return f"{place}: unknown key '{key}'; the keys there are {_quoted(allowed)}. Correct or remove it."


def _place(place: str, table: dict[str, Any]) -> str:
    """Return a place such as "factors, entry 2 ('zone')" for msgspec's ``$.factors[1]``."""
    entry = re.match(r"\$\.(\w+)\[(\d+)\](.*)", place)
    if not entry:
        return place.removeprefix("$").removeprefix(".") or "the top level"
    section, number, rest = entry[1], int(entry[2]), entry[3]
    found = table[section][number]
    named = f" ('{found['name']}')" if isinstance(found, dict) and "name" in found else ""
    return f"{section}, entry {number + 1}{named}" + (f", {rest.lstrip('.')}" if rest else "")


def _keys_at(place: str, table: dict[str, Any]) -> list[str]:
    """Return the keys that are allowed at a place."""
    if entry := re.fullmatch(r"\$\.factors\[(\d+)\]", place):
        kinds = {"factor": FactorPart, "band": BandPart, "hierarchy": HierarchyPart}
        return ["kind", *kinds[table["factors"][int(entry[1])]["kind"]].__struct_fields__]
    if place.startswith("$.subsidies"):
        return list((IntervalPart if ".where" in place else SubsidyPart).__struct_fields__)
    if place.startswith("$.cover."):
        return list(LevelsPart.__struct_fields__)
    parts = {"$.data": DataPart, "$.columns": ColumnsPart, "$.cover": CoverPart}
    parts |= {"$.frequency": ModelPart, "$.severity": ModelPart}
    if entry := re.fullmatch(r"\$\.(frequency|severity)\.factors\[(\d+)\]", place):
        kind = table[entry[1]]["factors"][int(entry[2])]["effect"]
        part = next(part for part in EFFECTS if part.__struct_config__.tag == kind)
        return ["effect", *part.__struct_fields__]
    return list(parts.get(place, Config).__struct_fields__)


def _quoted(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


@dataclass(frozen=True)
class Fitted:
    """Both models and the tariff built from them."""

    frequency: FittedModel
    severity: FittedModel
    tariff: Tariff

    @property
    def relativities(self) -> "pd.DataFrame":
        """Return the relativities of both models, one under the other."""
        import pandas as pd

        models = (self.frequency, self.severity)
        frames = [model.relativities.assign(model=model.kind) for model in models]
        table = pd.concat(frames, ignore_index=True)
        return table[["model", *(name for name in table.columns if name != "model")]]


def book_of(plan: FitPlan, orders: Any, claims: Any, merchants: Any, as_of: date | None) -> OrderBook:
    """Return the book of the plan's factors."""
    return OrderBook.from_frames(
        orders, claims, merchants=merchants, factors=plan.factors, as_of=as_of, clock=plan.clock, **plan.book_columns
    )


def fit_models(plan: FitPlan, book: OrderBook, threads: int) -> Fitted:
    """Return the models fitted to a book, and their tariff."""
    counted = at_most_one_claim(book) if plan.frequency.family == "bernoulli" else book
    frequency = plan.frequency.fit(_aged(counted, plan.frequency_age_days), solver=Solver(threads=threads))
    severity = plan.severity.fit(_aged(book, plan.severity_age_days), solver=Solver(threads=threads))
    tariff = Tariff.build(
        frequency,
        severity,
        cover=plan.cover,
        loadings=plan.loadings,
        subsidies=plan.subsidies,
        floor_fen=plan.floor_fen,
        clock=plan.clock,
        name=plan.name,
    )
    return Fitted(frequency, severity, tariff)


def _aged(book: OrderBook, min_age_days: int) -> OrderBook:
    return book.mature(min_age_days) if min_age_days else book
