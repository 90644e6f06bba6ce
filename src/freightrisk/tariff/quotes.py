"""Orders on their way into the kernel, and quotes on their way out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _core
from freightrisk._columns import JoinedColumns
from freightrisk.errors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class CodedOrders:
    """Orders as code columns of one tariff, ready to be priced again and again.

    Parameters
    ----------
    columns : CodeColumns
    n_orders : int
    index : pandas Index or None
        The caller's index.
    kind : {"pandas", "polars", "arrow"}
        Kind of frame to return.
    key : object
        What the codes mean; a tariff with the same key can price them.
    """

    columns: _core.CodeColumns
    n_orders: int
    index: Any
    kind: str
    key: tuple[Any, ...] = field(repr=False)


@dataclass(frozen=True, eq=False, repr=False)
class QuoteBuffers:
    """Arrays that take the quotes of a batch of orders; made by `Tariff.buffers`.

    Parameters
    ----------
    steps : float64 array, shape (5, n_orders), or (0, n_orders) without detail
    list_fen, merchant_fen : int32 arrays, shape (n_orders,)
    payers : int32 array, shape (n_payers, n_orders)
    flags : uint8 array, shape (n_orders,)
    hits : bool array, shape (n_flags, n_orders)
    """

    steps: Array
    list_fen: NDArray[np.int32]
    payers: NDArray[np.int32]
    merchant_fen: NDArray[np.int32]
    flags: NDArray[np.uint8]
    hits: NDArray[np.bool_]

    def check(self, n_orders: int, n_payers: int, *, detail: bool) -> None:
        """Raise unless the arrays can take so many orders and payers."""
        if len(self.list_fen) < n_orders:
            raise InputError(f"buffers hold {len(self.list_fen):,} orders, fewer than the {n_orders:,} to price.")
        if len(self.payers) != n_payers or (detail and not len(self.steps)):
            raise InputError("buffers were made by a tariff with other payers, or without detail; make new ones.")


def index_of(joined: JoinedColumns) -> Any:
    """Return the caller's index, None where the frame has none."""
    frame = getattr(joined.orders, "frame", None)
    return None if frame is None else frame.index


def frame_of(columns: Mapping[str, NDArray[Any]], coded: CodedOrders) -> Any:
    """Return quotes as the caller's kind of frame."""
    if coded.kind == "polars":
        import polars as pl

        return pl.DataFrame(dict(columns))
    if coded.kind == "arrow":
        import pyarrow as pa

        return pa.table(dict(columns))
    import pandas as pd

    return pd.DataFrame(dict(columns), index=coded.index, copy=False)


def with_progress(done: Any, n_orders: int) -> Any:
    """Yield what is yielded, with a progress bar of orders."""
    from tqdm.auto import tqdm

    with tqdm(total=n_orders, unit=" orders", unit_scale=True, desc="pricing") as bar:
        for priced in done:
            bar.update(priced)
            yield priced
