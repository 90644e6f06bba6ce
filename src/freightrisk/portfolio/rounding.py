"""What each rounding mode charges merchants more or less than their premiums before rounding."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from freightrisk import _check
from freightrisk._columns import id_array
from freightrisk._shown import repr_of
from freightrisk.book.factors import edge_text
from freightrisk.errors import InputError
from freightrisk.tariff.rounding import (
    MICRO_PER_FEN,
    MOST_MICRO,
    ROUNDING_MODES,
    dither_draws,
    round_micro,
    whole_sums,
)

if TYPE_CHECKING:
    import pandas as pd

BANDS_YUAN = (0.01, 0.02, 0.05, 0.1, 0.5)


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
    >>> from freightrisk.reports import rounding_report
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
    edges = _edges(bands)
    codes, _ = pd.factorize(names)
    _check.refuse_rows(codes < 0, "merchant is missing in {rows}; name one for every order.")
    codes = codes.astype(np.int32)
    _check_sum(yuan, floor_fen)
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


def _edges(bands: Sequence[float]) -> NDArray[np.float64]:
    """Return the edges of bands, refusing edges that do not ascend."""
    given = _check.items(bands, argument="bands")
    edges = np.array([_check.number(edge, argument="bands", low=0.0, open_low=True) for edge in given])
    if np.any(np.diff(edges) <= 0):
        raise InputError(f"bands is {repr_of(bands)}; edges ascend.")
    return edges


def _check_sum(yuan: NDArray[np.float64], floor_fen: int) -> None:
    """Refuse premiums whose sums, after rounding up and the floor, 64 bits may not hold."""
    total = yuan.sum() * 1e6 + len(yuan) * (floor_fen + 1.0) * MICRO_PER_FEN
    if total >= MOST_MICRO:
        raise InputError(
            f"premiums and floors come to {total / 1e6:.3g} yuan, and their sums hold {MOST_MICRO / 1e6:.3g} at most; "
            "report on fewer orders."
        )


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
