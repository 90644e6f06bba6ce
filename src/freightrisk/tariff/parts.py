"""The parts of a tariff document: the record as one versioned JSON object, checked as a whole when it is read.

Fields have no defaults, because a lost field would then change the price without a word. The exceptions are the digest
of the content, and rules of subsidies, which are also written by hand: there an absent field means no such limit.
"""

from hashlib import blake2b
from typing import Any

import msgspec
import numpy as np

from freightrisk.book.factors import Band, Coding, Declaration, Factor, Hierarchy, Value
from freightrisk.errors import FreightRiskError, TariffDocumentError
from freightrisk.tariff.campaigns import SubsidyPart, subsidy_from_part, subsidy_part
from freightrisk.tariff.cover import ByLevel, Cover, LimitCurve
from freightrisk.tariff.experience import Experience
from freightrisk.tariff.loading import Loadings
from freightrisk.tariff.plain import json_document
from freightrisk.tariff.rates import RateTables
from freightrisk.tariff.record import TariffRecord
from freightrisk.tariff.score import ScoreCurve

SCHEMA = "freightrisk/tariff"
CURVE_FIELDS = ("version", "version_column", "lag_days", "higher_is_better", "base_factor")
VERSION = 1


class FactorPart(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A factor: its declaration, its levels as paths, and the rare paths pooled into a level."""

    kind: str
    name: str
    columns: list[str]
    missing: str
    unseen: str
    min_exposure: float
    min_claims: int
    levels: list[list[Value]]
    pooled: list[tuple[list[Value], int]]
    edges: list[float]
    declared_edges: list[float] | int
    valid: tuple[float | None, float | None]


class RatesPart(msgspec.Struct, forbid_unknown_fields=True):
    """A base and the relativities of each factor's slots."""

    base: float
    tables: dict[str, list[float]]


class LevelsPart(msgspec.Struct, forbid_unknown_fields=True):
    """Amounts by level of a factor, yuan."""

    factor: str
    values: dict[str, float]
    default: float | None


class CoverPart(msgspec.Struct, forbid_unknown_fields=True):
    """The cover's terms."""

    max_claims: int | None
    limit: float | LevelsPart | None
    first_weight_fee: LevelsPart | None
    merge_share: float


class CurvePart(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The curve of a score."""

    factor: FactorPart
    relativity: list[float]
    weight: list[float]
    version: str
    version_column: str | None
    lag_days: int
    higher_is_better: bool
    base_factor: float


class ExperiencePart(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Merchants' modifications and the curves of scores."""

    version: str
    scale: float
    curves: list[CurvePart]
    merchants: list[int | str]
    mods: list[float]


class LimitCurvePart(msgspec.Struct, forbid_unknown_fields=True):
    """What a limit leaves of the mean, by octaves of the mean over the limit."""

    first: int
    last: int
    octaves: list[list[tuple[float, float, float, float]]]


class TariffPart(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The whole document; `digest` is that of all the rest, empty where none was taken."""

    schema: str
    version: int
    digest: str = ""
    name: str
    factors: list[FactorPart]
    frequency: RatesPart
    severity: RatesPart
    cover: CoverPart
    count_curve: list[tuple[float, float, float, float]]
    limit_curve: LimitCurvePart | None
    loadings: dict[str, float]
    subsidies: list[SubsidyPart]
    floor_fen: int
    rounding: str
    provenance: dict[str, Any]
    pairs: list[tuple[str, str]]
    lines: str | None
    shares: dict[str, list[float]]
    dither_key: str
    experience: ExperiencePart | None
    clock: str


class Head(msgspec.Struct):
    """What tells a tariff document from other files."""

    schema: str = ""
    version: int = 0


def document_of(tariff: TariffRecord) -> bytes:
    """Return the document of a tariff."""
    return msgspec.json.format(msgspec.json.encode(_to_parts(tariff)), indent=1)


def tariff_digest(tariff: TariffRecord) -> str:
    """Return the digest of a tariff's document: that of an equal tariff is the same, that of another is not."""
    return _to_parts(tariff).digest


def _digest(part: TariffPart) -> str:
    """Return a hash of a document but for its digest; spaces and the order of keys do not count."""
    plain = msgspec.structs.replace(part, digest="")
    return blake2b(msgspec.json.encode(plain, order="sorted", enc_hook=repr), digest_size=16).hexdigest()


def fields_of(data: bytes, *, source: str) -> tuple[dict[str, Any], bool]:
    """Return the fields of a `TariffRecord` that a document's bytes hold, and whether they are those that were saved.

    Raises
    ------
    TariffDocumentError
    """
    try:
        head = json_document(data, Head)
        if head.schema != SCHEMA:
            raise TariffDocumentError(
                f"'{source}' is no tariff document: its schema is '{head.schema}', not '{SCHEMA}'."
            )
        if head.version != VERSION:
            raise TariffDocumentError(
                f"'{source}' is a tariff document of version {head.version}; this release reads version {VERSION}."
            )
        part = msgspec.json.decode(data, type=TariffPart)
        return _from_parts(part, source), part.digest in ("", _digest(part))
    except msgspec.ValidationError as error:
        raise TariffDocumentError(f"'{source}' is not a valid tariff document: {error}.") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise TariffDocumentError(f"'{source}' is not whole: {error}. Take the file from its source again.") from None
    except TariffDocumentError:
        raise
    except FreightRiskError as error:
        raise contradiction(source, error) from None


def changed(source: str) -> TariffDocumentError:
    """Return what is wrong with a document whose content is not the one that was saved."""
    return TariffDocumentError(
        f"'{source}' was changed after it was saved: its digest is that of another content. Take the file from its "
        "source again; where the change is meant, remove the key 'digest'."
    )


def contradiction(source: str, error: FreightRiskError) -> TariffDocumentError:
    """Return what is wrong with a document whose parts are sound, but not together."""
    return TariffDocumentError(f"'{source}' contradicts itself: {error}")


def _to_parts(tariff: TariffRecord) -> TariffPart:
    cover = tariff.cover
    loadings = {name: getattr(tariff.loadings, name) for name in Loadings.__dataclass_fields__}
    part = TariffPart(
        schema=SCHEMA,
        version=VERSION,
        name=tariff.name,
        factors=[factor_part(coding) for coding in tariff.codings.values()],
        frequency=_rates_part(tariff.frequency),
        severity=_rates_part(tariff.severity),
        cover=CoverPart(
            cover.max_claims, _limit_part(cover.limit), _levels_part(cover.first_weight_fee), cover.merge_share
        ),
        count_curve=tariff.count_curve.tolist(),
        limit_curve=None if tariff.limit_curve is None else _limit_curve_part(tariff.limit_curve),
        loadings=loadings,
        subsidies=[subsidy_part(rule) for rule in tariff.subsidies],
        floor_fen=tariff.floor_fen,
        rounding=tariff.rounding,
        provenance=dict(tariff.provenance),
        pairs=list(tariff.pairs),
        lines=tariff.lines,
        shares={name: table.tolist() for name, table in tariff.shares.items()},
        dither_key=tariff.dither_key,
        experience=None if tariff.experience is None else _experience_part(tariff.experience),
        clock=tariff.clock,
    )
    return msgspec.structs.replace(part, digest=_digest(part))


def _experience_part(experience: Experience) -> ExperiencePart:
    curves = [
        CurvePart(
            factor=factor_part(curve.coding),
            relativity=curve.relativity.tolist(),
            weight=curve.weight.tolist(),
            **{name: getattr(curve, name) for name in CURVE_FIELDS},
        )
        for curve in experience.curves
    ]
    return ExperiencePart(
        version=experience.version,
        scale=experience.scale,
        curves=curves,
        merchants=list(experience.mods),
        mods=list(experience.mods.values()),
    )


def factor_part(coding: Coding) -> FactorPart:
    """Return a coding as it stands in a document."""
    declared = coding.declared
    kinds = {Factor: "factor", Band: "band", Hierarchy: "hierarchy"}
    levels = set(coding.paths)
    return FactorPart(
        kind=kinds[type(declared)],
        name=declared.name,
        columns=list(declared.columns),
        missing=declared.missing,
        unseen=declared.unseen,
        min_exposure=declared.min_exposure,
        min_claims=declared.min_claims,
        levels=[list(path) for path in coding.paths],
        pooled=[(list(path), code) for path, code in coding.lookup.items() if path not in levels],
        edges=list(coding.edges),
        declared_edges=_declared_edges(declared),
        valid=_valid_part(declared),
    )


def _valid_part(declared: Declaration) -> tuple[float | None, float | None]:
    low, high = declared.valid if isinstance(declared, Band) else (-np.inf, np.inf)
    return low if np.isfinite(low) else None, high if np.isfinite(high) else None


def _declared_edges(declared: Declaration) -> list[float] | int:
    if not isinstance(declared, Band):
        return []
    return declared.edges if isinstance(declared.edges, int) else list(declared.edges)


def _rates_part(rates: RateTables) -> RatesPart:
    return RatesPart(rates.base, {name: table.tolist() for name, table in rates.tables.items()})


def _levels_part(limit: ByLevel | None) -> LevelsPart | None:
    return None if limit is None else LevelsPart(limit.factor, dict(limit.values), limit.default)


def _limit_part(limit: float | ByLevel | None) -> float | LevelsPart | None:
    return _levels_part(limit) if isinstance(limit, ByLevel) else limit


def _from_parts(part: TariffPart, source: str) -> dict[str, Any]:
    codings = {factor.name: coding_from_part(factor) for factor in part.factors}
    if len(codings) != len(part.factors):
        names = [factor.name for factor in part.factors]
        twice = next(name for name in names if names.count(name) > 1)
        raise TariffDocumentError(f"'{source}' has two factors named '{twice}'.")
    unknown_loads = set(part.loadings) - set(Loadings.__dataclass_fields__)
    if unknown_loads:
        raise TariffDocumentError(
            f"'{source}': loadings names '{sorted(unknown_loads)[0]}', which is none of this version's."
        )
    lost = [name for name in Loadings.__dataclass_fields__ if name not in part.loadings]
    if lost:
        raise TariffDocumentError(
            f"'{source}': loadings lacks '{lost[0]}'; every loading is named, 0 where there is none."
        )
    return {
        "name": part.name,
        "codings": codings,
        "frequency": _rates(part.frequency),
        "severity": _rates(part.severity),
        "cover": Cover(
            max_claims=part.cover.max_claims,
            limit=_limit(part.cover.limit),
            first_weight_fee=_levels(part.cover.first_weight_fee),
            merge_share=part.cover.merge_share,
        ),
        "loadings": Loadings(**part.loadings),
        "subsidies": tuple(subsidy_from_part(rule) for rule in part.subsidies),
        "count_curve": np.array(part.count_curve, dtype=np.float64).reshape(-1, 4),
        "limit_curve": None if part.limit_curve is None else _limit_curve(part.limit_curve),
        "floor_fen": part.floor_fen,
        "rounding": part.rounding,
        "provenance": part.provenance,
        "pairs": tuple(part.pairs),
        "lines": part.lines,
        "shares": {name: np.array(table, dtype=np.float64) for name, table in part.shares.items()},
        "dither_key": part.dither_key,
        "experience": None if part.experience is None else _experience(part.experience),
        "clock": part.clock,
    }


def _limit_curve_part(curve: LimitCurve) -> LimitCurvePart:
    return LimitCurvePart(curve.first, curve.last, curve.pieces.tolist())


def _limit_curve(part: LimitCurvePart) -> LimitCurve:
    if len(part.octaves) != part.last - part.first:
        raise TariffDocumentError(
            f"limit_curve has {len(part.octaves)} octaves for those from {part.first} to {part.last}."
        )
    if len({len(octave) for octave in part.octaves}) > 1:
        raise TariffDocumentError("the octaves of limit_curve have different numbers of pieces.")
    return LimitCurve(part.first, np.array(part.octaves) if part.octaves else np.empty((0, 1, 4)))


def _experience(part: ExperiencePart) -> Experience:
    mods = dict(zip(part.merchants, part.mods, strict=False))
    if not len(part.merchants) == len(part.mods) == len(mods):
        raise TariffDocumentError(
            f"the experience names {len(part.merchants)} merchants, {len(mods)} of them once, "
            f"and has {len(part.mods)} modifications."
        )
    curves = [
        ScoreCurve(
            coding=coding_from_part(curve.factor),
            relativity=np.array(curve.relativity),
            weight=np.array(curve.weight),
            **{name: getattr(curve, name) for name in CURVE_FIELDS},
        )
        for curve in part.curves
    ]
    return Experience(curves, mods, part.version, part.scale)


def coding_from_part(part: FactorPart) -> Coding:
    """Return the coding of a document's factor."""
    paths = tuple(tuple(path) for path in part.levels)
    lookup = {path: code for code, path in enumerate(paths)}
    for path, code in part.pooled:
        if not 0 <= code < len(paths):
            raise TariffDocumentError(
                f"factor '{part.name}': a pooled level has code {code}, but there are {len(paths)} levels."
            )
        lookup[tuple(path)] = code
    deepest = len(part.columns) if part.kind == "hierarchy" else 1
    for known in lookup:
        if not 1 <= len(known) <= deepest:
            raise TariffDocumentError(
                f"factor '{part.name}': level {list(known)} is no path of at most {deepest} parts."
            )
    if len(lookup) != len(paths) + len(part.pooled) or not paths:
        raise TariffDocumentError(f"factor '{part.name}' has no level, or names one twice.")
    if part.kind == "band":
        _check_bands(part, paths)
    return Coding(_declaration(part), paths, lookup, tuple(part.edges))


def _check_bands(part: FactorPart, paths: tuple[tuple[Value, ...], ...]) -> None:
    numbered = [path for path in paths if isinstance(path[0], int)]
    if numbered != [(k,) for k in range(len(part.edges) + 1)] or any(np.diff(part.edges) <= 0):
        raise TariffDocumentError(
            f"band '{part.name}' has {len(numbered)} bands for {len(part.edges)} edges; edges ascend, "
            "and there is one band more than edges."
        )


def _declaration(part: FactorPart) -> Declaration:
    rules = {name: getattr(part, name) for name in ("missing", "unseen", "min_exposure", "min_claims")}
    if part.kind == "hierarchy":
        return Hierarchy(part.name, part.columns, **rules)
    if len(part.columns) != 1 or part.kind not in ("factor", "band"):
        raise TariffDocumentError(
            f"factor '{part.name}' is a '{part.kind}' of {len(part.columns)} columns; that kind is not known."
        )
    if part.kind == "factor":
        return Factor(part.name, column=part.columns[0], **rules)
    low, high = part.valid
    valid = (-np.inf if low is None else low, np.inf if high is None else high)
    return Band(part.name, part.declared_edges, column=part.columns[0], valid=valid, **rules)


def _rates(part: RatesPart) -> RateTables:
    return RateTables(part.base, {name: np.array(table, dtype=np.float64) for name, table in part.tables.items()})


def _levels(part: LevelsPart | None) -> ByLevel | None:
    return None if part is None else ByLevel(part.factor, dict(part.values), default=part.default)


def _limit(part: float | LevelsPart | None) -> float | ByLevel | None:
    return _levels(part) if isinstance(part, LevelsPart) else part
