"""Tariff documents: load and parse; `Tariff.save` writes them."""

from pathlib import Path

from freightrisk.tariff.parts import SEAL, record_of
from freightrisk.tariff.tariff import Tariff


def load_tariff(path: str | Path) -> Tariff:
    """Return the tariff of a document written by `Tariff.save`; it prices to the same fen.

    Raises
    ------
    TariffDocumentError
        If the file is truncated, is not a tariff document of this version, or contradicts itself.
    """
    data, source = SEAL.file(path)
    return parse_tariff(data, source=source)


def parse_tariff(data: bytes, *, source: str = "tariff document") -> Tariff:
    """Return the tariff of a document's bytes."""
    return record_of(Tariff, data, source=source)
