"""Campaigns as a document of their own: the subsidy rules and funds of a tariff in JSON or YAML, checked as a whole."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from freightrisk import _check
from freightrisk._document import OPTIONAL, from_plain, struct_of, to_plain
from freightrisk._plain import import_yaml, json_document, refusing_depth, write_whole, yaml_document
from freightrisk._shown import repr_of
from freightrisk.errors import FreightRiskError, InputError
from freightrisk.tariff.funds import Fund, check_funds
from freightrisk.tariff.subsidy import Subsidy, in_stacking_order, refuse_same_names

SCHEMA = "freightrisk/campaigns"
VERSION = 1
YAML = (".yaml", ".yml")


@dataclass(frozen=True, kw_only=True)
class Campaigns:
    """The subsidy rules of a tariff, in the order in which they apply, and the funds that they draw on."""

    schema: str
    version: int
    subsidies: Sequence[Subsidy]
    funds: Sequence[Fund] = field(default=(), metadata=OPTIONAL)


def save_campaigns(subsidies: Sequence[Subsidy], path: str | Path, *, funds: Sequence[Fund] = ()) -> None:
    """Write rules and funds as a document, JSON or (by the suffix .yaml or .yml) YAML; it appears whole or not at all.

    Parameters
    ----------
    subsidies : sequence of Subsidy
        In the order in which they apply.
    path : str or Path
    funds : sequence of Fund
        The funds that the rules name.

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
    funds = check_funds(subsidies, funds)
    plain = to_plain(Campaigns(schema=SCHEMA, version=VERSION, subsidies=subsidies, funds=funds))
    if path.suffix.lower() in YAML:
        write_whole(path, import_yaml().safe_dump(plain, allow_unicode=True, sort_keys=False).encode())
    else:
        write_whole(path, msgspec.json.format(msgspec.json.encode(plain), indent=1))


def load_campaigns(path: str | Path) -> tuple[Subsidy, ...]:
    """Return the subsidy rules of a document, in the order in which they apply; `load_funds` returns its funds.

    Parameters
    ----------
    path : str or Path
        JSON, or YAML by its suffix; fields as in `campaign_schema`. YAML needs the extra ``yaml``.

    Raises
    ------
    InputError
        If the file cannot be read, is not a campaign document of this version, or has a rule that contradicts itself.
        The message names the place.

    Examples
    --------
    ``tariff = tariff.with_subsidies(load_campaigns("campaigns/618.yaml"))``
    """
    return _loaded(path)[0]


def load_funds(path: str | Path) -> tuple[Fund, ...]:
    """Return the funds of a document of campaigns, on which its rules draw.

    Parameters
    ----------
    path : str or Path
        As for `load_campaigns`.

    Raises
    ------
    InputError
        As for `load_campaigns`.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from freightrisk import Fund, Subsidy
    >>> from freightrisk.campaigns import load_funds, save_campaigns
    >>> rules = [Subsidy(name, "platform", fixed_fen=5, fund="618") for name in ("live", "new")]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "618.json")
    ...     save_campaigns(rules, path, funds=[Fund("618", budget_fen=1000)])
    ...     load_funds(path)[0].budget_fen
    1000
    """
    return _loaded(path)[1]


def _loaded(path: str | Path) -> tuple[tuple[Subsidy, ...], tuple[Fund, ...]]:
    """Return the rules and the funds of a document."""
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
                f"the schema is {repr_of(head[0])} and the version {repr_of(head[1])}; "
                f"this release reads '{SCHEMA}' of version {VERSION}."
            )
        with refusing_depth():
            found = from_plain(Campaigns, plain)
        rules = in_stacking_order(found.subsidies)
        refuse_same_names(rules)
        return rules, check_funds(rules, found.funds)
    except msgspec.ValidationError as error:
        # YAML reads 618 as a number and yes as a boolean, and such names are the usual reason for this error.
        quotes = (
            " A text that looks like a number needs quotes, such as '618'." if "Expected `str" in str(error) else ""
        )
        raise InputError(f"campaigns '{path}' are not valid: {error}.{quotes}") from None
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
    >>> sorted(schema["$defs"]["Subsidy"]["required"])
    ['name', 'payer']
    """
    return msgspec.json.schema(struct_of(Campaigns))
