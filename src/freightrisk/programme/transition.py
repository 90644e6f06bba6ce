"""The change from one version to the next: list prices within the phase-in of the new one."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk.programme.fen import Whole
from freightrisk.programme.phase_in import PhaseIn
from freightrisk.programme.pricing import ProgrammePricer
from freightrisk.programme.programme import Programme
from freightrisk.programme.record import FILED
from freightrisk.programme.version_record import VersionsRecord
from freightrisk.tariff.rounding import MICRO_PER_FEN

LISTED = "list_fen"


@dataclass(frozen=True, eq=False)
class Transition:
    """A programme whose list prices are phased in, and the version before it."""

    programme: Programme
    before: Programme
    cap: PhaseIn

    @cached_property
    def pricer(self) -> ProgrammePricer:
        """Return the pricer of the programme, which can move its premiums."""
        return ProgrammePricer(self.programme)

    def moved(
        self, new: Mapping[str, NDArray[Any]], before: NDArray[Any], holds: NDArray[np.bool_]
    ) -> tuple[Whole, NDArray[np.bool_]]:
        """Return the micro-yuan that bring list prices within the phase-in, and where it binds.

        Parameters
        ----------
        new : dict of str to array
            Quotes of `Programme.listing`.
        before : int array, shape (n,), fen
            List prices of the version before.
        holds : bool array, shape (n,)
            Whether the phase-in holds for the order.
        """
        listed = new[LISTED].astype(np.int64)
        wanted = np.where(holds, self.cap.bounded(listed, before.astype(np.int64)), listed)
        # A sum of whole fen is rounded to these fen in every mode.
        return np.where(wanted != listed, wanted * MICRO_PER_FEN - new[FILED], 0), wanted != listed


def transitions(versions: VersionsRecord) -> dict[int, Transition]:
    """Return the phased changes of versions, by the place of the new programme."""
    found = {}
    for k, programme in enumerate(versions.programmes):
        before = versions.before(k)
        if programme.phase_in is not None and before is not None:
            found[k] = Transition(programme, before, programme.phase_in)
    return found
