"""Campaigns as a document of their own: the subsidy rules of a tariff in JSON or YAML, checked as a whole."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from freightrisk import _check
from freightrisk._shown import repr_of
from freightrisk.book.factors import Value
from freightrisk.errors import FreightRiskError, InputError
from freightrisk.tariff.plain import import_yaml, json_document, refusing_depth, write_whole, yaml_document
from freightrisk.tariff.subsidy import Interval, Subsidy, in_stacking_order, refuse_same_names

SCHEMA = "freightrisk/campaigns"
VERSION = 1
YAML = (".yaml", ".yml")


class IntervalPart(msgspec.Struct, forbid_unknown_fields=True):
    """A condition on a number."""

    above: float | None = None
    at_most: float | None = None


class SubsidyPart(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """A subsidy rule."""

    name: str
    payer: str
    percent_of_list: float | None = None
    percent_of_rest: float | None = None
    fixed_fen: int | None = None
    price_to_fen: int | None = None
    where: dict[str, list[Value] | IntervalPart] = {}
    start: date | None = None
    end: date | None = None
    cap_fen: int | None = None
    group: str | None = None
    budget_fen: int | None = None
    merchant_cap_fen: int | None = None
    period: str | None = None


class CampaignsPart(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The whole document."""

    schema: str
    version: int
    subsidies: list[SubsidyPart]


def save_campaigns(subsidies: Sequence[Subsidy], path: str | Path) -> None:
    """Write subsidy rules as a document, JSON or (by the suffix .yaml or .yml) YAML; it appears whole or not at all.

    Parameters
    ----------
    subsidies : sequence of Subsidy
        In the order in which they apply.
    path : str or Path

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from freightrisk import Interval, Subsidy
    >>> from freightrisk.campaigns import load_campaigns, save_campaigns
    >>> rules = [Subsidy("live", "platform", price_to_fen=1, where={"experience_score": Interval(above=4.8)})]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "618.json")
    ...     save_campaigns(rules, path)
    ...     load_campaigns(path) == tuple(rules)
    True
    """
    path = _check.output_path(path, argument="path")
    subsidies = _check.members(subsidies, Subsidy, argument="subsidies")
    part = CampaignsPart(schema=SCHEMA, version=VERSION, subsidies=[subsidy_part(rule) for rule in subsidies])
    if path.suffix.lower() in YAML:
        plain = msgspec.to_builtins(part, builtin_types=(date,))
        write_whole(path, import_yaml().safe_dump(plain, allow_unicode=True, sort_keys=False).encode())
    else:
        write_whole(path, msgspec.json.format(msgspec.json.encode(part), indent=1))


def load_campaigns(path: str | Path) -> tuple[Subsidy, ...]:
    """Return the subsidy rules of a document, in the order in which they apply.

    Parameters
    ----------
    path : str or Path
        JSON, or YAML by its suffix; fields as in `campaign_schema`. YAML needs the extra ``yaml``.

    Raises
    ------
    InputError
        Where the file cannot be read, is no such document or of another version, or a rule contradicts itself; the
        message names the place.

    Examples
    --------
    ``tariff = tariff.with_subsidies(load_campaigns("campaigns/618.yaml"))``
    """
    path = _check.path(path, argument="path")
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(f"campaigns '{path}' cannot be read: {error}.") from None
    try:
        plain = yaml_document(data) if path.suffix.lower() in YAML else json_document(data)
        head = (plain.get("schema"), plain.get("version")) if isinstance(plain, dict) else (None, None)
        if head != (SCHEMA, VERSION):
            raise InputError(
                f"campaigns '{path}' have schema {repr_of(head[0])} and version {repr_of(head[1])}; "
                f"this release reads '{SCHEMA}' of version {VERSION}."
            )
        with refusing_depth():
            part = msgspec.convert(plain, type=CampaignsPart)
        rules = in_stacking_order([subsidy_from_part(rule) for rule in part.subsidies])
        refuse_same_names(rules)
        return rules
    except msgspec.ValidationError as error:
        raise InputError(f"campaigns '{path}' are not valid: {error}.") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise InputError(f"campaigns '{path}' cannot be parsed: {error}.") from None
    except FreightRiskError as error:
        raise InputError(f"campaigns '{path}': {error}") from None


def campaign_schema() -> dict[str, Any]:
    """Return the JSON Schema of campaign documents, for editors and for the systems that write them.

    Examples
    --------
    >>> from freightrisk.campaigns import campaign_schema
    >>> schema = campaign_schema()
    >>> sorted(schema["$defs"]["SubsidyPart"]["required"])
    ['name', 'payer']
    """
    return msgspec.json.schema(CampaignsPart)


def subsidy_part(rule: Subsidy) -> SubsidyPart:
    """Return a rule as it stands in documents."""
    fields = {name: getattr(rule, name) for name in Subsidy.__dataclass_fields__}
    fields["where"] = {column: _condition_part(condition) for column, condition in rule.where.items()}
    return SubsidyPart(**fields)


def _condition_part(condition: Any) -> list[Value] | IntervalPart:
    if not isinstance(condition, Interval):
        return list(condition)
    bounds = (condition.above, condition.at_most)
    return IntervalPart(*(bound if np.isfinite(bound) else None for bound in bounds))


def subsidy_from_part(part: SubsidyPart) -> Subsidy:
    """Return the rule of its document part."""
    fields = {name: getattr(part, name) for name in Subsidy.__dataclass_fields__}
    fields["where"] = {column: _condition(condition) for column, condition in part.where.items()}
    return Subsidy(**fields)


def _condition(part: list[Value] | IntervalPart) -> Interval | list[Value]:
    if not isinstance(part, IntervalPart):
        return part
    return Interval(
        above=-np.inf if part.above is None else part.above,
        at_most=np.inf if part.at_most is None else part.at_most,
    )
