"""From micro-yuan to fen: the modes, the draws of dithering, and what each mode does to merchants."""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from freightrisk import _check, _codes, _plan, _settle
from freightrisk._columns import id_array
from freightrisk._reference import MICRO_PER_FEN as MICRO_PER_FEN  # for settlement too
from freightrisk._shown import repr_of
from freightrisk.book.factors import edge_text
from freightrisk.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

MOST_MICRO = 2**62  # half of what 64 bits hold, so that sums of two accounts are whole too
ROUNDING_MODES = tuple(_plan.ROUNDING_MODES)
ADDED = {"down": 0, "half_up": 5_000, "ceiling": 9_999}
SHORT_BYTES = 64
BANDS_YUAN = (0.01, 0.02, 0.05, 0.1, 0.5)


def dither_draws(ids: NDArray[Any], key: str) -> NDArray[np.uint16]:
    """Return a number from 0 to 9,999 for each order id, as good as random to who does not know the key.

    Parameters
    ----------
    ids : array, shape (n_orders,)
        Ids: int64, or objects that are whole numbers and texts.
    key : str
        Secret text, new with every version of the tariff.

    Notes
    -----
    The upper half of SipHash-2-4 of the id's bytes (whole numbers as eight, texts as UTF-8), scaled to 10,000; no draw
    is likelier than another by more than 3e-6.
    """
    first, second = np.frombuffer(hashlib.blake2b(key.encode(), digest_size=16).digest(), dtype="<u8").tolist()
    found = np.empty(len(ids), dtype=np.uint64)
    for rows, texts, trimmed in _as_bytes(ids):
        hashed = np.empty(len(texts), dtype=np.uint64)
        _codes.keyed_hash(texts, trimmed, first, second, hashed)
        found[rows] = hashed
    return ((found >> np.uint64(32)) * np.uint64(MICRO_PER_FEN) >> np.uint64(32)).astype(np.uint16)


def _as_bytes(ids: NDArray[Any]) -> Iterator[tuple[Any, NDArray[np.uint8], bool]]:
    """Yield rows, the bytes of their ids as a row each, and whether zeros at the end of a row are padding.

    Long texts come by themselves, so that one of them does not widen the rows of all others.
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
    _check.refuse_rows(bad, "an order id is missing or no id in {rows}; dithering needs one for every order.")
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
        For dither, see `dither_draws`.
    merchants, remainders : int32 array, shape (n_orders,), and int64 array, shape (n_merchants,)
        For carry: the merchant's code, and the micro-yuan charged too little so far, which are updated.
    """
    if mode == "half_even":
        whole, rest = np.divmod(micro, MICRO_PER_FEN)
        up: NDArray[np.bool_] = (2 * rest > MICRO_PER_FEN) | ((2 * rest == MICRO_PER_FEN) & (whole % 2 == 1))
        return np.asarray(whole + up)
    if mode == "dither" and draws is not None:
        return (micro + draws) // MICRO_PER_FEN
    if mode == "carry" and merchants is not None and remainders is not None:
        fen = np.empty(len(micro), dtype=np.int32)
        _settle.carry(micro, merchants, np.empty(0, dtype=np.int64), remainders, fen)
        return fen.astype(np.int64)
    return (micro + ADDED[mode]) // MICRO_PER_FEN


def rounding_report(
    premium: ArrayLike,
    merchant: ArrayLike,
    *,
    order_id: ArrayLike | None = None,
    modes: Sequence[str] = ROUNDING_MODES,
    floor_fen: int = 1,
    min_orders: int = 100,
    bands: Sequence[float] = BANDS_YUAN,
    key: str = "rounding report",
) -> "pd.DataFrame":
    """Return what each rounding mode charges merchants more or less than their premiums before rounding.

    At a few fen a premium rounding is an error that matters: it averages out over a book, but not for a merchant whose
    orders share a price.

    Parameters
    ----------
    premium : array, shape (n_orders,)
        Filed premiums before rounding, yuan; they are taken to whole micro-yuan. Arrays are paired by place, and an
        index is not read.
    merchant : array, shape (n_orders,)
        The merchant of each order.
    order_id : array, shape (n_orders,), optional
        Ids for dithering; row numbers by default.
    modes : sequence of str
        Any of half_even, half_up, ceiling, down, dither and carry.
    floor_fen : int
        Least that an order costs; with 1 no mode can be free of bias for premiums below 0.01 yuan.
    min_orders : int
        Merchants with fewer orders are left out of all but the totals.
    bands : sequence of float
        Edges, yuan, of the bands of a merchant's mean premium.
    key : str
        Key of the draws.

    Returns
    -------
    pandas.DataFrame
        Indexed by mode and band ("all" first): merchants and orders (of merchants with `min_orders`), premium (yuan),
        bias (charged over premium, less 1, of the band's orders; for "all" of every order), p05, p95 and rms (of that
        of its merchants), floor_income (yuan that the floor adds), per merchant unweighted.

    Examples
    --------
    >>> import numpy as np
    >>> from freightrisk import rounding_report
    >>> report = rounding_report(np.full(400, 0.015), np.repeat(["a", "b"], 200), modes=["half_up", "carry"])
    >>> report.loc[("half_up", "all"), "bias"].round(4), report.loc[("carry", "all"), "bias"].round(4)
    (np.float64(0.3333), np.float64(0.0))
    """
    import pandas as pd

    names = id_array(merchant, argument="merchant")
    if names.ndim != 1:
        raise InputError(f"merchant has shape {names.shape}; give one for each order, shape (n_orders,).")
    yuan = _check.real_array(premium, argument="premium", length=len(names))
    _check.refuse_rows((yuan < 0.0) | (yuan > 1e7), "premium is negative or above 1e7 yuan in {rows}; correct these.")
    floor_fen = _check.whole(floor_fen, argument="floor_fen", low=0, high=10**6)
    min_orders = _check.whole(min_orders, argument="min_orders", low=1, high=10**12)
    _check.label(key, argument="key")
    modes = _check.items(modes, argument="modes")
    for mode in modes:
        _check.one_of(mode, ROUNDING_MODES, argument="modes")
    edges_of = _check.items(bands, argument="bands")
    edges = np.array([_check.number(edge, argument="bands", low=0.0, open_low=True) for edge in edges_of])
    if np.any(np.diff(edges) <= 0):
        raise InputError(f"bands is {repr_of(bands)}; edges ascend.")
    codes, _ = pd.factorize(names)
    _check.refuse_rows(codes < 0, "merchant is missing in {rows}; name one for every order.")
    codes = codes.astype(np.int32)
    total = yuan.sum() * 1e6 + len(yuan) * (floor_fen + 1.0) * MICRO_PER_FEN
    if total >= MOST_MICRO:
        raise InputError(
            f"premiums and floors come to {total / 1e6:.3g} yuan, and their sums hold {MOST_MICRO / 1e6:.3g} at most; "
            "report on fewer orders."
        )
    micro = np.rint(yuan * 1e6).astype(np.int64)
    count = np.bincount(codes)
    ids = np.arange(len(micro)) if order_id is None else id_array(order_id, argument="order_id")
    if ids.shape != micro.shape:
        raise InputError(f"order_id has shape {ids.shape}; give one for each order, shape {micro.shape}.")
    due = whole_sums(codes, micro, len(count))
    listed = (count >= min_orders) & (due > 0)
    labels = _band_labels(edges)
    band = np.searchsorted(edges, due / np.maximum(count, 1) / 1e6, side="right")
    rows = {}
    for mode in modes:
        draws = dither_draws(ids, key) if mode == "dither" else None
        fen = round_micro(micro, mode, draws=draws, merchants=codes, remainders=np.zeros(len(count), dtype=np.int64))
        floored = np.maximum(fen, floor_fen)
        charged = whole_sums(codes, floored * MICRO_PER_FEN, len(count))
        extra = whole_sums(codes, (floored - fen) * MICRO_PER_FEN, len(count))
        rows[mode, "all"] = _row(listed, count, due, charged, extra, whole=True)
        for k, text in enumerate(labels):
            if np.any(listed & (band == k)):
                rows[mode, text] = _row(listed & (band == k), count, due, charged, extra)
    columns = ["merchants", "orders", "premium", "bias", "p05", "p95", "rms", "floor_income"]
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    frame.index = pd.MultiIndex.from_tuples(frame.index, names=["mode", "band"])
    return frame.astype({"merchants": np.int64, "orders": np.int64})


def whole_sums(codes: NDArray[Any], values: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Return whole sums by code: a double would lose the last micro-yuan of a large merchant."""
    found = np.zeros(size, dtype=np.int64)
    np.add.at(found, codes, values)
    return found


def _band_labels(edges: NDArray[np.float64]) -> list[str]:
    if not len(edges):
        return []
    texts = list(map(edge_text, edges.tolist()))
    inner = [f"{low} to {high}" for low, high in pairwise(texts)]
    return [f"below {texts[0]}", *inner, f"{texts[-1]} and above"]


def _row(
    of: NDArray[np.bool_],
    count: NDArray[np.int64],
    due: NDArray[np.int64],
    charged: NDArray[np.int64],
    extra: NDArray[np.int64],
    *,
    whole: bool = False,
) -> list[float]:
    errors = charged[of] / due[of] - 1.0
    every = np.ones(len(of), dtype=bool) if whole else of
    bias = float(charged[every].sum() / due[every].sum() - 1.0) if due[every].sum() else np.nan
    spread = [*np.quantile(errors, [0.05, 0.95]), np.sqrt(np.mean(errors**2))] if len(errors) else [np.nan] * 3
    return [int(of.sum()), int(count[of].sum()), due[of].sum() / 1e6, bias, *spread, extra[every].sum() / 1e6]
