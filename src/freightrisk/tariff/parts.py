"""Tariff documents as bytes: the head, the digest of the content, and the messages for damaged documents.

Fields have no defaults, because a lost field would then change the price silently. The exceptions are the digest and
the rules of subsidies, which people also write by hand. In a rule, an absent field means that there is no limit.
"""

from hashlib import blake2b
from typing import Any, TypeVar

import msgspec

from freightrisk._document import noun_of, struct_of, to_plain
from freightrisk._plain import json_document
from freightrisk.errors import FreightRiskError, TariffDocumentError
from freightrisk.tariff.record import TariffRecord

SCHEMA = "freightrisk/tariff"
VERSION = 1
KEYS = (
    *("name", "factors", "frequency", "severity", "cover", "count_curve", "limit_curve", "loadings", "subsidies"),
    *("floor_fen", "rounding", "provenance", "pairs", "lines", "shares", "dither_key", "experience", "clock"),
)
"""The keys of a document in their order."""

Record = TypeVar("Record", bound=TariffRecord)


class Head(msgspec.Struct, kw_only=True):
    """The head that marks a file as a tariff document. `digest` covers the rest of the document; it may be empty."""

    schema: str = ""
    version: int = 0
    digest: str = ""


def document_of(tariff: TariffRecord) -> bytes:
    """Return the document of a tariff."""
    return msgspec.json.format(msgspec.json.encode(plain_of(tariff)), indent=1)


def plain_of(tariff: TariffRecord) -> dict[str, Any]:
    """Return the document of a tariff as plain data."""
    fields = to_plain(tariff)
    plain = {"schema": SCHEMA, "version": VERSION, "digest": "", **{key: fields[key] for key in KEYS}}
    return plain | {"digest": _digest(plain)}


def tariff_digest(tariff: TariffRecord) -> str:
    """Return the digest of a tariff's document; two tariffs have the same digest exactly when they are equal."""
    return str(plain_of(tariff)["digest"])


def _digest(undigested: Any) -> str:
    """Return a hash of a document whose digest is empty; spaces and the order of keys do not change it."""
    return blake2b(msgspec.json.encode(undigested, order="sorted", enc_hook=repr), digest_size=16).hexdigest()


def record_of(kind: type[Record], data: bytes, *, source: str) -> Record:
    """Return the tariff of a document's bytes.

    Raises
    ------
    TariffDocumentError
    """
    try:
        head = json_document(data, Head)
        if head.schema != SCHEMA:
            raise TariffDocumentError(
                f"'{source}' is not a tariff document: its schema is '{head.schema}' instead of '{SCHEMA}'."
            )
        if head.version != VERSION:
            raise TariffDocumentError(
                f"'{source}' is a tariff document of version {head.version}; this release reads version {VERSION}."
            )
        part: Any = msgspec.json.decode(data, type=struct_of(kind, Head))
        tariff = noun_of(kind, part)
    except msgspec.ValidationError as error:
        raise TariffDocumentError(f"'{source}' is not a valid tariff document: {error}.") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise TariffDocumentError(
            f"'{source}' is truncated or corrupt: {error}. Export or download it again."
        ) from None
    except TariffDocumentError:
        raise
    except FreightRiskError as error:
        raise TariffDocumentError(f"'{source}' contradicts itself: {error}") from None
    if part.digest not in ("", _digest(msgspec.structs.replace(part, digest=""))):
        raise TariffDocumentError(
            f"'{source}' was changed after it was saved: its digest does not match its content. Export or download it "
            "again. If the change is intended, remove the key 'digest'."
        )
    return tariff
