"""Versions: several programmes, of which the ship date and the merchant choose one for each order."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from freightrisk._document import to_plain
from freightrisk._plain import write_whole
from freightrisk._sealed import Seal
from freightrisk._shown import shown
from freightrisk.errors import TariffDocumentError
from freightrisk.programme.version_pricing import VERSION, VersionsPricer
from freightrisk.programme.version_record import VersionsRecord
from freightrisk.tariff.priced import Priced

if TYPE_CHECKING:
    import pandas as pd

SEAL = Seal("versions", "freightrisk/versions", 1, TariffDocumentError)


@dataclass(frozen=True, repr=False, eq=False)
class Versions(VersionsRecord, Priced):
    """Several programmes, of which the ship date of an order chooses one.

    Parameters
    ----------
    programmes : sequence of Programme
        In any order, each with its own name. Their days from `start` to `end` neither overlap nor leave a gap. The
        first may have no start and the last no end.
    pilots : mapping of str to collection of merchants
        Programmes that hold for some merchants only, by their names. For these merchants and its days, a pilot stands
        before the others. Days of pilots may overlap those of others, but not those of a pilot with the same merchant.
    enrolment : Enrolment, optional
        Who takes part. An order of another merchant or day is not priced: its `version` is empty, `enrolled` is False,
        its fen are 0 and its steps are missing. By default everyone takes part.

    Notes
    -----
    Quotes have the columns of all programmes that price them, and two more: `version`, the hash of the programme
    (`Programme.version`), and `enrolled`. A payer, fee or step that a programme does not have is 0 or missing.
    `merchant_total_fen` of a programme without fees is its `merchant_fen`.

    A campaign may go on in the next version. Versions then spend its money in the order of their days, and `priority`
    decides within a version. A pilot shares no limited campaign, fund or carried remainder with a version of its days.

    Examples
    --------
    >>> import pandas as pd
    >>> from freightrisk import Cover
    >>> from freightrisk.events import EventCover
    >>> from freightrisk.programmes import Programme, Versions
    >>> tariffs = [EventCover("freight", frequency=rate, severity=9.0, cover=Cover(max_claims=None)).tariff()
    ...            for rate in (0.05, 0.04)]
    >>> old, new = Programme("old", tariffs[0], end="2024-09-12"), Programme("new", tariffs[1], start="2024-09-13")
    >>> orders = pd.DataFrame({"ship_date": ["2024-09-12 23:59", "2024-09-13 00:00"]})
    >>> Versions([old, new]).price(orders)["list_fen"].tolist()
    [45, 36]
    """

    @cached_property
    def pricer(self) -> Any:
        """Return the pricer, made at first use."""
        return VersionsPricer(self, self.digest)

    def table(self) -> "pd.DataFrame":
        """Return a frame with the name, hash, first and last day of each version, and the number of pilot merchants."""
        import pandas as pd

        return pd.DataFrame(
            {
                "programme": [one.name for one in self.programmes],
                VERSION: [one.version for one in self.programmes],
                "start": pd.to_datetime([one.start for one in self.programmes]),
                "end": pd.to_datetime([one.end for one in self.programmes]),
                "pilot_merchants": [len(self.pilots.get(one.name, ())) for one in self.programmes],
            }
        )

    @property
    def quote_columns(self) -> tuple[str, ...]:
        """Return the names of the columns of quotes, with detail: those of every programme, and of the version."""
        return tuple(self.pricer.kinds(detail=True, campaigns=False))

    def save(self, path: str | Path) -> None:
        """Write the versions as one JSON document; the file appears complete or not at all.

        Parameters
        ----------
        path : str or Path
        """
        private = any(cover.dither_key for one in self.programmes for cover in one.covers)
        write_whole(path, msgspec.json.format(msgspec.json.encode(self._plain()), indent=1), private=private)

    def _plain(self) -> dict[str, Any]:
        return SEAL.plain(to_plain(self))

    @cached_property
    def digest(self) -> str:
        """Return the digest of the document; equal versions have equal digests."""
        return str(self._plain()["digest"])

    def __repr__(self) -> str:
        parts = (f"{one.name} ({one.start or ''} to {one.end or ''})" for one in self.programmes)
        return shown(f"Versions: {', '.join(parts)}")


def load_versions(path: str | Path) -> Versions:
    """Return the versions of a document written by `Versions.save`; they price to the same fen.

    Raises
    ------
    TariffDocumentError
        If the file is truncated, is not a document of versions of this release, or contradicts itself.
    """
    data, source = SEAL.file(path)
    return SEAL.read(Versions, data, source=source)
