"""The TOML configuration of ``freightrisk fit``: a plan made of the library's nouns, and the fit of this plan."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from freightrisk import _check
from freightrisk._document import from_plain
from freightrisk._intake import DEFAULT_CLOCK, zone
from freightrisk.book.book import OrderBook
from freightrisk.book.factors import Declaration
from freightrisk.errors import FreightRiskError, InputError
from freightrisk.models.effects import Effect, Interaction
from freightrisk.models.fitted import FittedModel
from freightrisk.models.frequency import FrequencyModel, at_most_one_claim
from freightrisk.models.severity import SeverityModel
from freightrisk.models.solver import Solver
from freightrisk.tariff.cover import Cover
from freightrisk.tariff.funds import Fund, check_funds
from freightrisk.tariff.loading import Loadings
from freightrisk.tariff.loss_control import LossControls
from freightrisk.tariff.subsidy import Subsidy
from freightrisk.tariff.tariff import Tariff

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class DataFiles:
    """Input files, with paths relative to the folder of the configuration."""

    orders: Path | None = None
    claims: Path | None = None
    merchants: Path | None = None

    def under(self, folder: Path) -> "DataFiles":
        """Return the files as paths relative to the folder in which the command runs."""
        return DataFiles(**{name: None if file is None else folder / file for name, file in vars(self).items()})


@dataclass(frozen=True)
class Columns:
    """Names of the columns that are not factors, and the format of dates; an empty text means no such column."""

    order_id: str = "order_id"
    merchant_id: str = "merchant_id"
    ship_date: str = "ship_date"
    report_date: str = "report_date"
    freight: str = "freight"
    exposure: str = ""
    lines: str = ""
    date_format: str = ""
    claim_id: str = "claim_id"


@dataclass(frozen=True)
class MatureFrequency(FrequencyModel):
    """A frequency model, and the minimum age of the orders in its fit.

    A factor is a name, or a table that gives its effect: ``{effect = "credibility", name = "category_path"}``.
    """

    min_age_days: int = 0


@dataclass(frozen=True)
class MatureSeverity(SeverityModel):
    """A severity model, and the minimum age of the orders whose claims are in its fit."""

    min_age_days: int = 0


@dataclass(frozen=True, kw_only=True)
class FitPlan:
    """A configuration, checked as far as possible without the data."""

    factors: Sequence[Declaration]
    name: str = "tariff"
    as_of: date | None = None
    floor_fen: int = 1
    clock: str = DEFAULT_CLOCK
    data: DataFiles = DataFiles()
    columns: Columns = Columns()
    frequency: MatureFrequency = MatureFrequency()
    severity: MatureSeverity = MatureSeverity()
    cover: Cover = field(default_factory=Cover)
    loadings: Loadings = field(default_factory=Loadings)
    subsidies: Sequence[Subsidy] = ()
    funds: Sequence[Fund] = ()
    loss_controls: LossControls = field(default_factory=LossControls)

    def __post_init__(self) -> None:
        _check.label(self.name, argument="name")
        _check.whole(self.floor_fen, argument="floor_fen", low=0, high=10**6)
        object.__setattr__(self, "clock", zone(self.clock).key)
        check_funds(self.subsidies, self.funds)
        if self.cover.aggregate is not None:
            raise InputError(
                "cover.aggregate needs the share of each merchant (AggregateShares), which a configuration does not "
                "have; build this tariff in Python with aggregate_shares=, or limit the payments alone with "
                "freightrisk settle --aggregate."
            )
        names = [factor.name for factor in self.factors]
        repeated = [name for name in names if names.count(name) > 1]
        if repeated:
            raise InputError(f"factors declares '{repeated[0]}' twice; give each factor its own name.")
        for kind in ("frequency", "severity"):
            model: MatureFrequency | MatureSeverity = getattr(self, kind)
            _check.whole(model.min_age_days, argument=f"{kind}.min_age_days", low=0, high=36500)
            unknown = [name for factor in model.factors or () for name in factors_of(factor) if name not in names]
            if unknown:
                raise InputError(
                    f"{kind}.factors names '{unknown[0]}', which no [[factors]] entry declares; "
                    f"the declared factors are {', '.join(map(repr, names))}."
                )

    @property
    def book_columns(self) -> dict[str, Any]:
        """Return the names of columns as keyword arguments of `OrderBook.from_frames`."""
        return {name: column or None for name, column in vars(self.columns).items()}


def factors_of(effect: str | Effect) -> tuple[str, ...]:
    """Return the factors of the book that an effect needs."""
    if isinstance(effect, str):
        return (effect,)
    return (effect.first, effect.second) if isinstance(effect, Interaction) else (effect.name,)


def read_plan(path: Path) -> FitPlan:
    """Return the plan of a TOML file; paths in it are relative to its folder."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"configuration '{path}' cannot be read: {error}; give a TOML file.") from None
    return parse_plan(text, source=str(path), folder=path.parent)


def parse_plan(text: str, *, source: str, folder: Path) -> FitPlan:
    """Return the plan that the text of a configuration describes."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"configuration '{source}' is not valid TOML: {error}; correct this line.") from None
    except RecursionError:
        raise InputError(
            f"configuration '{source}' nests brackets too deeply; no key needs more than four levels of brackets."
        ) from None
    try:
        plan = from_plain(FitPlan, _without_all(table), whole=False)
    except msgspec.ValidationError as error:
        raise InputError(f"configuration '{source}': {error}.") from None
    except FreightRiskError as error:
        raise InputError(f"configuration '{source}': {error}") from None
    return replace(plan, data=plan.data.under(folder))


def _without_all(table: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with None for ``max_claims = "all"``, because TOML has no null."""
    cover = table.get("cover")
    most = cover.get("max_claims") if isinstance(cover, dict) else None
    if not isinstance(most, str):
        return table
    if most != "all":
        raise InputError(f"max_claims is '{most}'; give a whole number, or \"all\" for no limit.")
    return table | {"cover": table["cover"] | {"max_claims": None}}


@dataclass(frozen=True)
class Fitted:
    """The frequency model, the severity model, and the tariff built from both."""

    frequency: FittedModel
    severity: FittedModel
    tariff: Tariff

    @property
    def relativities(self) -> "pd.DataFrame":
        """Return the relativities of both models in one table, frequency first."""
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
    # A Bernoulli response is at most 1; severity still uses every claim.
    counted = at_most_one_claim(book) if plan.frequency.family == "bernoulli" else book
    frequency = plan.frequency.fit(_aged(counted, plan.frequency.min_age_days), solver=Solver(threads=threads))
    severity = plan.severity.fit(_aged(book, plan.severity.min_age_days), solver=Solver(threads=threads))
    tariff = Tariff.build(
        frequency,
        severity,
        cover=plan.cover,
        loadings=plan.loadings,
        subsidies=plan.subsidies,
        funds=plan.funds,
        floor_fen=plan.floor_fen,
        clock=plan.clock,
        name=plan.name,
    )
    if plan.loss_controls.rules:
        tariff = tariff.with_loss_controls(plan.loss_controls.rules, funnel=plan.loss_controls.funnel)
    return Fitted(frequency, severity, tariff)


def _aged(book: OrderBook, min_age_days: int) -> OrderBook:
    return book.mature(min_age_days) if min_age_days else book
