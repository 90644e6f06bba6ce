"""Rounding from micro-yuan to fen: the modes, and the draws of dithering."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check, _codes, _plan, _rounding
from freightrisk._reference import MICRO_PER_FEN as MICRO_PER_FEN  # for settlement too
from freightrisk.errors import InputError

MOST_MICRO = 2**62  # half the range of 64 bits, so that the sum of two accounts does not overflow
ROUNDING_MODES = tuple(_plan.ROUNDING_MODES)
ADDED = {"down": 0, "half_up": 5_000, "ceiling": 9_999}  # micro-yuan added before the fraction of a fen is dropped
SHORT_BYTES = 64  # ids up to this length share one padded array


@dataclass(frozen=True)
class Rounding:
    """The rule by which micro-yuan are rounded to fen, and the floor of the price.

    Parameters
    ----------
    mode : {"half_even", "half_up", "ceiling", "down", "dither", "carry"}
        "half_even" and "half_up" round to the nearest fen, with ties to even or up. "ceiling" and "down" round up or
        down to a whole fen. "dither" rounds up with a probability equal to the fraction, by a keyed hash of the order
        id. "carry" adds the rounding remainder of the merchant's earlier orders.
    dither_key : str
        Secret key of the hash, for "dither" only; new with every version of the tariff.
    floor_fen : int
        Smallest price of an order for the merchant, in fen.

    Raises
    ------
    InputError
        For an unknown mode, for "dither" without a key, and for a key with another mode.
    """

    mode: str = field(default="half_even", metadata={"key": "rounding"})
    dither_key: str = field(default="", repr=False)
    floor_fen: int = 1

    def __post_init__(self) -> None:
        floor_fen = _check.whole(self.floor_fen, argument="floor_fen", low=0, high=10**6)
        object.__setattr__(self, "floor_fen", floor_fen)
        _check.one_of(self.mode, ROUNDING_MODES, argument="rounding")
        key: Any = self.dither_key
        if self.mode == "dither":
            _check.secret(key, argument="dither_key of a tariff that rounds by dither")
        elif not isinstance(key, str) or key:
            raise InputError(
                f"dither_key is given, but rounding is '{self.mode}'; leave the key out or round by 'dither'."
            )


def dither_draws(ids: NDArray[Any], key: str) -> NDArray[np.uint16]:
    """Return a pseudo-random number from 0 to 9,999 for each order id; it cannot be predicted without the key.

    Parameters
    ----------
    ids : array, shape (n_orders,)
        Ids: int64, or objects that are whole numbers and texts.
    key : str
        Secret text, new with every version of the tariff.

    Notes
    -----
    A draw is the upper half of SipHash-2-4 of the id's bytes, scaled to 10,000. A whole number has eight bytes, and a
    text is encoded as UTF-8. The probabilities of two draws differ by less than 3e-6 in relative terms.
    """
    first, second = np.frombuffer(hashlib.blake2b(key.encode(), digest_size=16).digest(), dtype="<u8").tolist()
    found = np.empty(len(ids), dtype=np.uint64)
    for rows, texts, trimmed in _as_bytes(ids):
        hashed = np.empty(len(texts), dtype=np.uint64)
        _codes.keyed_hash(texts, trimmed, first, second, hashed)
        found[rows] = hashed
    # Multiplying and shifting spreads 32 bits evenly over 0 to 9,999 without a division.
    return ((found >> np.uint64(32)) * np.uint64(MICRO_PER_FEN) >> np.uint64(32)).astype(np.uint16)


def _as_bytes(ids: NDArray[Any]) -> Iterator[tuple[Any, NDArray[np.uint8], bool]]:
    """Yield rows, the bytes of their ids (one row each), and whether zeros at the end of a row are padding.

    Each long text comes separately, so that it does not widen the rows of all others.
    """
    if ids.dtype.kind in "iu":
        yield slice(None), ids.astype("<i8").view(np.uint8).reshape(len(ids), 8), False
        return
    listed = ids.tolist()
    whole = np.array([type(value) is int for value in listed], dtype=bool)
    if whole.any():
        yield whole, ids[whole].astype("<i8").view(np.uint8).reshape(-1, 8), False
    texts = {row: value.encode() for row, value in enumerate(listed) if isinstance(value, str)}
    bad = ~whole
    bad[list(texts)] = False
    _check.refuse_rows(bad, "an order id is missing or not an id in {rows}; dithering needs an id for every order.")
    short = [row for row, text in texts.items() if len(text) <= SHORT_BYTES]
    for rows in (short, *([row] for row, text in texts.items() if len(text) > SHORT_BYTES)):
        if rows:
            found = np.array([texts[row] for row in rows], dtype=np.bytes_)
            yield rows, found.view(np.uint8).reshape(len(rows), found.itemsize), True


def round_micro(
    micro: NDArray[np.int64],
    mode: str,
    *,
    draws: NDArray[np.uint16] | None = None,
    merchants: NDArray[np.int32] | None = None,
    remainders: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Return premiums in fen, before any floor.

    Parameters
    ----------
    micro : int64 array, shape (n_orders,)
        Premiums, micro-yuan.
    mode : {"half_even", "half_up", "ceiling", "down", "dither", "carry"}
    draws : uint16 array, shape (n_orders,)
        For dither; see `dither_draws`.
    merchants, remainders : int32 array, shape (n_orders,), and int64 array, shape (n_merchants,)
        For carry: the merchant's code of each order, and the micro-yuan that each merchant was undercharged so far.
        The remainders are updated.
    """
    if mode == "half_even":
        # In whole numbers, so that a tie is exact: docs/method.md, steps before equation 32.
        whole, rest = np.divmod(micro, MICRO_PER_FEN)
        up: NDArray[np.bool_] = (2 * rest > MICRO_PER_FEN) | ((2 * rest == MICRO_PER_FEN) & (whole % 2 == 1))
        return np.asarray(whole + up)
    if mode == "dither" and draws is not None:
        return (micro + draws) // MICRO_PER_FEN
    if mode == "carry" and merchants is not None and remainders is not None:
        fen = np.empty(len(micro), dtype=np.int32)
        _rounding.carry(micro, merchants, np.empty(0, dtype=np.int64), remainders, fen)
        return fen.astype(np.int64)
    return (micro + ADDED[mode]) // MICRO_PER_FEN


def whole_sums(codes: NDArray[Any], values: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Return exact integer sums by code, because doubles would lose the last micro-yuan of a large merchant."""
    found = np.zeros(size, dtype=np.int64)
    np.add.at(found, codes, values)
    return found
