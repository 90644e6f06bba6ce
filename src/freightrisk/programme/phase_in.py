"""PhaseIn: how far the list price of an order may move when a new version starts."""

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk.errors import InputError
from freightrisk.programme.fen import WHOLE_SHARE, Whole, basis_points
from freightrisk.tariff.conditions import whole_day
from freightrisk.tariff.subsidy import LARGEST_FEN

LAST = np.datetime64("9999-12-31", "D")


@dataclass(frozen=True)
class PhaseIn:
    """A cap on the change that a merchant sees at a new version.

    The list price of an order differs from its list price under the version before by at most a share of the latter, in
    whole fen, before subsidies. The floor of the new version holds all the same.

    Parameters
    ----------
    share : float
        Largest change up or down as a share of the list price before, a whole number of basis points. It is cut to
        whole fen.
    at_least_fen : int
        Change that is allowed in any case, 1 fen by default: a share of a price of 3 fen is less than a fen.
    until : datetime.date, or text such as "2025-03-31", optional
        Last ship date on which the cap holds; by default until the version ends.

    Examples
    --------
    >>> import numpy as np
    >>> from freightrisk.programmes import PhaseIn
    >>> PhaseIn(0.1).bounded(np.array([60, 60, 3]), np.array([40, 59, 9])).tolist()
    [44, 60, 8]
    """

    share: float
    at_least_fen: int = 1
    until: date | None = None

    def __post_init__(self) -> None:
        share = _check.number(self.share, argument="share of a phase-in", low=0.0, high=100.0)
        basis_points(share, argument="share of a phase-in")
        object.__setattr__(self, "share", share)
        least = _check.whole(self.at_least_fen, argument="at_least_fen of a phase-in", low=0, high=LARGEST_FEN)
        object.__setattr__(self, "at_least_fen", least)
        if self.until is not None:
            object.__setattr__(self, "until", whole_day(self.until, "until of a phase-in"))

    def bounded(self, new: Whole, before: Whole) -> Whole:
        """Return list prices in fen, moved towards those before as far as the cap asks.

        Parameters
        ----------
        new, before : int64 arrays, shape (n,), fen
        """
        new, before = np.asarray(new), np.asarray(before)
        if new.dtype.kind not in "iu" or before.dtype.kind not in "iu":
            raise InputError("list prices of a phase-in are not whole fen; give arrays of whole numbers.")
        points = basis_points(self.share, argument="share of a phase-in")
        change = np.maximum(before * points // WHOLE_SHARE, self.at_least_fen)
        return np.asarray(np.clip(new, np.maximum(before - change, 0), before + change))

    def holds(self, days: NDArray[np.datetime64]) -> NDArray[np.bool_]:
        """Return whether the cap holds on each day."""
        last = LAST if self.until is None else np.datetime64(self.until, "D")
        return np.asarray(days.astype("datetime64[D]") <= last)
