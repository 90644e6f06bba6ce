"""Money of claims in whole fen: amounts of yuan by their decimals, shares in basis points, and exact rounding."""

from decimal import ROUND_FLOOR, Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk._shown import repr_of
from freightrisk.errors import InputError

Whole = NDArray[np.int64]

WHOLE_SHARE = 10_000  # basis points
MOST_FEN = 10**11  # 1e9 yuan; times the largest share of a limit, 100,000 basis points, it fits into 64 bits


def basis_points(share: float, *, argument: str) -> int:
    """Return a share in basis points by its decimals; refuse a finer share, whose money would need more digits."""
    points = Decimal(repr(share)) * WHOLE_SHARE
    if points != points.to_integral_value():
        raise InputError(f"{argument} is {repr_of(share)}; claims are settled in whole basis points, so give at most "
                         "four decimals.")  # fmt: skip
    return int(points)


def floor_fen(yuan: float) -> int:
    """Return the whole fen in an amount of yuan by its decimals: a limit of 12.345 yuan pays at most 12.34 yuan."""
    return int((Decimal(repr(yuan)) * 100).to_integral_value(rounding=ROUND_FLOOR))


def exact_fen(yuan: float, *, argument: str) -> int:
    """Return an amount of yuan in fen; refuse a fraction of a fen."""
    fen = Decimal(repr(yuan)) * 100
    if fen != fen.to_integral_value():
        raise InputError(f"{argument} is {repr_of(yuan)} yuan; claims are settled in whole fen, so give at most two "
                         "decimals.")  # fmt: skip
    return int(fen)


def fen_of(yuan: NDArray[np.float64]) -> tuple[Whole, NDArray[np.bool_]]:
    """Return amounts of yuan in fen, and which rows are no whole number of fen, are missing or are above 1e9 yuan.

    A double holds an amount of two decimals below 1e9 yuan as the double nearest to it. A hundredth of a whole number,
    correctly rounded, is the same double. So the test is exact.
    """
    known = (yuan >= 0.0) & (yuan <= MOST_FEN / 100)
    fen = np.rint(np.where(known, yuan, 0.0) * 100.0)
    return fen.astype(np.int64), ~(known & (fen / 100.0 == yuan))


def half_even(numerator: Any, divisor: int) -> Whole:
    """Return whole numbers of at least 0 divided by a whole number, rounded to the nearest, ties to even."""
    quotient, rest = np.divmod(numerator, divisor)
    up = (2 * rest > divisor) | ((2 * rest == divisor) & (quotient % 2 == 1))
    return np.asarray(quotient + up, dtype=np.int64)
