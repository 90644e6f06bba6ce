"""Tariff documents as bytes: the head, the digest of the content, and the messages for damaged documents.

Fields have no defaults, because a lost field would then change the price silently. The exceptions are the digest, the
rules of subsidies and their funds, which people also write by hand. In a rule, an absent field means that there is no
limit. A tariff whose rules name a fund is refused without the fund.
"""

from typing import Any, TypeVar

import msgspec

from freightrisk._document import to_plain
from freightrisk._sealed import Seal
from freightrisk.errors import TariffDocumentError
from freightrisk.tariff.record import TariffRecord

SEAL = Seal("tariff", "freightrisk/tariff", 1, TariffDocumentError)
KEYS = (
    *("name", "factors", "frequency", "severity", "cover", "count_curve", "limit_curve", "loadings", "subsidies"),
    *("floor_fen", "rounding", "provenance", "pairs", "lines", "shares", "dither_key", "experience", "clock", "funds"),
    "aggregate_shares",
    "loss_controls",
)
"""The keys of a document in their order."""

Record = TypeVar("Record", bound=TariffRecord)


def document_of(tariff: TariffRecord) -> bytes:
    """Return the document of a tariff."""
    return msgspec.json.format(msgspec.json.encode(plain_of(tariff)), indent=1)


def plain_of(tariff: TariffRecord) -> dict[str, Any]:
    """Return the document of a tariff as plain data."""
    fields = to_plain(tariff)
    return SEAL.plain({key: fields[key] for key in KEYS if key in fields})


def tariff_digest(tariff: TariffRecord) -> str:
    """Return the digest of a tariff's document; two tariffs have the same digest exactly when they are equal."""
    return str(plain_of(tariff)["digest"])


def record_of(kind: type[Record], data: bytes, *, source: str) -> Record:
    """Return the tariff of a document's bytes.

    Raises
    ------
    TariffDocumentError
    """
    return SEAL.read(kind, data, source=source)
