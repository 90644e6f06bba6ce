"""Documents with a head: a schema, a version and a digest of the content, and the messages for damaged documents."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from freightrisk import _check
from freightrisk._document import noun_of, struct_of
from freightrisk._plain import json_document
from freightrisk.errors import FreightRiskError

Noun = TypeVar("Noun")


class Head(msgspec.Struct, kw_only=True):
    """The head that marks the kind of a document. `digest` covers the rest of the document; it may be empty."""

    schema: str = ""
    version: int = 0
    digest: str = ""


@dataclass(frozen=True)
class Seal:
    """A kind of document: what its head says, and the error for documents that cannot be read.

    Parameters
    ----------
    noun : str
        Name of the kind in messages, such as "tariff".
    schema : str
    version : int
    error : type
    """

    noun: str
    schema: str
    version: int
    error: type[FreightRiskError]

    def plain(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a noun behind their head, as plain data."""
        found = {"schema": self.schema, "version": self.version, "digest": "", **fields}
        return found | {"digest": digest_of(found)}

    def file(self, path: str | Path) -> tuple[bytes, str]:
        """Return the bytes of a document's file and the file's name for messages."""
        path = _check.path(path, argument="path")
        try:
            return path.read_bytes(), str(path)
        except (OSError, ValueError) as error:
            raise self.error(f"{self.noun} document '{path}' cannot be read: {error}.") from None

    def read(self, kind: type[Noun], data: bytes, *, source: str) -> Noun:
        """Return the noun of a document's bytes; raise `error` for anything else."""
        noun, error_of = self.noun, self.error
        try:
            head = json_document(data, Head)
            if head.schema != self.schema:
                raise error_of(
                    f"'{source}' is not a {noun} document: its schema is '{head.schema}' instead of '{self.schema}'."
                )
            if head.version != self.version:
                raise error_of(
                    f"'{source}' is a {noun} document of version {head.version}; this release reads version "
                    f"{self.version}."
                )
            part: Any = msgspec.json.decode(data, type=struct_of(kind, Head))
            found = noun_of(kind, part)
        except msgspec.ValidationError as error:
            raise error_of(f"'{source}' is not a valid {noun} document: {error}.") from None
        except (msgspec.DecodeError, UnicodeError) as error:
            raise error_of(f"'{source}' is truncated or corrupt: {error}. Export or download it again.") from None
        except error_of:
            raise
        except FreightRiskError as error:
            raise error_of(f"'{source}' contradicts itself: {error}") from None
        if part.digest not in ("", digest_of(msgspec.structs.replace(part, digest=""))):
            raise error_of(
                f"'{source}' was changed after it was saved: its digest does not match its content. Export or download "
                "it again. If the change is intended, remove the key 'digest'."
            )
        return found


def digest_of(undigested: Any) -> str:
    """Return a hash of a document whose digest is empty; spaces and the order of keys do not change it."""
    return blake2b(msgspec.json.encode(undigested, order="sorted", enc_hook=repr), digest_size=16).hexdigest()
