"""The code column of an aggregate limit: a merchant with a share of its own, or a size band for all others."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk._columns import MERCHANT_ID, JoinedColumns, value_of
from freightrisk._frozen import digest
from freightrisk._intake import id_of, level_of, spelling
from freightrisk._types import Array
from freightrisk._vectors import NEAR
from freightrisk.book.codings import code_type
from freightrisk.book.recode import Places, looked_up
from freightrisk.tariff.aggregate_shares import AggregateShares

AGGREGATE = "aggregate limit"
"""Name of the code column."""


@dataclass(frozen=True, eq=False)
class AggregateCodes:
    """Codes of orders for the shares of an aggregate limit: merchants first, then size bands, then the default."""

    shares: AggregateShares

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns of orders or merchants that give the code."""
        size = self.shares.size_column
        return (MERCHANT_ID, *([] if size is None or not self.shares.size_shares else [size]))

    @cached_property
    def table(self) -> Array:
        """Return the share of every code."""
        found = [*self.shares.shares.values(), *self.shares.size_shares.values(), self.shares.default]
        return np.array(found, dtype=np.float64)

    @cached_property
    def digest(self) -> str:
        """Return a hash of the meaning of the codes."""
        return digest((tuple(self.shares.shares), tuple(self.shares.size_shares), self.columns))

    @cached_property
    def _places(self) -> Places:
        return Places([*self.shares.shares])

    @cached_property
    def _bands(self) -> dict[str, int]:
        return {name: len(self.shares.shares) + k for k, name in enumerate(self.shares.size_shares)}

    def _band_code(self, level: Any) -> int:
        return len(self.table) - 1 if level is None else self._bands.get(spelling(level), len(self.table) - 1)

    def encode(self, columns: JoinedColumns) -> NDArray[Any]:
        """Return the code of every row."""
        kind, none = code_type(len(self.table)), len(self.shares.shares)
        codes, merchants = columns.id_codes(MERCHANT_ID, max(NEAR, columns.n_rows))
        places = np.append(self._places.of(merchants), none).astype(kind)
        own = looked_up(codes, places, threads=columns.threads)
        if len(self.columns) == 1:
            return np.where(own < none, own, kind(len(self.table) - 1)).astype(kind, copy=False)
        codes, levels = columns.levels(self.columns[1])
        bands = np.array([*(self._band_code(level) for level in levels), len(self.table) - 1], dtype=kind)
        other = looked_up(codes, bands, threads=columns.threads)
        return np.where(own < none, own, other).astype(kind, copy=False)

    def encode_one(self, order: Mapping[str, Any]) -> int:
        """Return the code of one order given as a mapping."""
        none = len(self.shares.shares)
        place = self._places.of_one.get(value_of(order, MERCHANT_ID, id_of), none)
        if place < none:
            return place
        return self._band_code(value_of(order, self.columns[1], level_of) if len(self.columns) > 1 else None)

    def slot_label(self, code: int) -> str:
        """Return the merchant or the size band of a code."""
        own, bands = [*self.shares.shares], [*self.shares.size_shares]
        if code < len(own):
            return f"merchant {own[code]}"
        return f"size band '{bands[code - len(own)]}'" if code < len(own) + len(bands) else "all other merchants"
