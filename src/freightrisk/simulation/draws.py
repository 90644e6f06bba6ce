"""Draws by number: what is drawn for an order, a line or a buyer does not depend on what is drawn for the others."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk.simulation.orders import Codes, Floats

FIRST_PART = 4  # the four parts of every book take the children 0 to 3 of the seed
GOLDEN, MIX_A, MIX_B = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
PARTS = ("merchants", "orders", "buyers", "rings", "shifts", "opt_in", "lines", "funnel", "signs")


@dataclass(frozen=True)
class Draws:
    """The random numbers of one part of a book: a number for each name and row.

    The numbers of a name are the sequence of SplitMix64 (Steele, Lea and Flood 2014) from a state of its own, and a
    row takes the number at its place. So an order keeps its draws if other orders change.
    """

    seed: int
    part: str

    def uniform(self, name: str, rows: Codes) -> Floats:
        """Return numbers in (0, 1), one for each row."""
        # The letters of the name are the address of its state below the seed.
        place = (FIRST_PART + PARTS.index(self.part), *name.encode())
        state = np.random.SeedSequence(self.seed, spawn_key=place).generate_state(1, np.uint64)
        z = state + (np.asarray(rows).astype(np.uint64) + np.uint64(1)) * np.uint64(GOLDEN)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(MIX_A)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(MIX_B)
        z = (z ^ (z >> np.uint64(31))) >> np.uint64(12)
        return np.asarray((z.astype(np.float64) + 0.5) * 2.0**-52)

    def happens(self, name: str, rows: Codes, chance: float | Floats) -> NDArray[np.bool_]:
        """Return which rows an event of the given chance happens to."""
        return np.asarray(self.uniform(name, rows) < chance)

    def normal(self, name: str, rows: Codes) -> Floats:
        """Return standard normal numbers."""
        from scipy.special import ndtri

        return np.asarray(ndtri(self.uniform(name, rows)))

    def gamma(self, name: str, rows: Codes, *, shape: float, upper: float = np.inf) -> Floats:
        """Return gamma numbers of mean 1, conditional on being at most `upper`."""
        from scipy.special import gammainc, gammaincinv

        most = 1.0 if upper == np.inf else float(gammainc(shape, shape * upper))
        return np.asarray(gammaincinv(shape, most * self.uniform(name, rows)) / shape)

    def factor(self, name: str, rows: Codes, *, deviation: float) -> Floats:
        """Return gamma factors of mean 1 and the given standard deviation."""
        # Below 1e-3 the inverse of the gamma loses its digits, and the factor is 1 to three.
        if deviation < 1e-3:
            return np.ones(len(rows))
        return self.gamma(name, rows, shape=deviation**-2)

    def whole(self, name: str, rows: Codes, below: int | NDArray[Any]) -> NDArray[np.int64]:
        """Return whole numbers from 0, each below its bound."""
        return np.asarray(np.floor(self.uniform(name, rows) * below)).astype(np.int64)
