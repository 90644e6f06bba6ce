"""Six tables, a curve, a floor and rounding as a numba programmer would write them: one parallel loop over orders."""

import numba
import numpy as np
from numpy.typing import NDArray

from freightrisk.tariff.tariff import Tariff


@numba.njit(parallel=True, cache=False)
def _price(c0, c1, c2, c3, c4, c5, t0, t1, t2, t3, t4, t5, base, mean, curve, low, high, floor, out):
    pieces = curve.shape[0]
    for i in numba.prange(len(out)):
        intensity = base * t0[c0[i]] * t1[c1[i]] * t2[c2[i]] * t3[c3[i]] * t4[c4[i]] * t5[c5[i]]
        t = intensity / (1.0 + intensity)  # docs/method.md, equation 24
        u = t * pieces
        k = min(int(u), pieces - 1)
        u -= k
        claims = t * (((curve[k, 3] * u + curve[k, 2]) * u + curve[k, 1]) * u + curve[k, 0])
        micro = min(max(np.rint(claims * mean * 1e6), low), high)
        out[i] = max(np.int32(np.rint(micro / 10000.0)), floor)


@numba.njit(parallel=True, cache=False)
def _read(codes, table, out):
    for part in numba.prange(len(out)):
        total = 0.0
        for i in range(part * len(codes) // len(out), (part + 1) * len(codes) // len(out)):
            total += table[codes[i]]
        out[part] = total


def read_table(codes: NDArray[np.uint8], table: NDArray[np.float64], *, threads: int) -> float:
    """Return the sum of a table's entries over some codes; each code costs one read from the L1 cache."""
    numba.set_num_threads(threads)
    sums = np.empty(16)
    _read(codes, table, sums)
    return float(sums.sum())


class NumbaRoute:
    """A tariff without subsidies, loadings and limit, in the form that the numba loop reads.

    Parameters
    ----------
    tariff : Tariff
        A tariff with six frequency tables and one mean freight for all orders.
    """

    def __init__(self, tariff: Tariff):
        self.names = tuple(tariff.frequency.tables)
        tables = [np.ascontiguousarray(tariff.frequency.tables[name]) for name in self.names]
        self.fixed = (*tables, tariff.frequency.base, tariff.severity.base, np.ascontiguousarray(tariff.count_curve))
        loads = tariff.loadings
        self.bounds = (float(loads.filed_min_micro), float(loads.filed_max_micro), np.int32(tariff.floor_fen))

    def price(self, codes: dict[str, NDArray[np.unsignedinteger]], out: NDArray[np.int32], *, threads: int) -> None:
        """Write the list price of every order in fen."""
        numba.set_num_threads(threads)
        _price(*(codes[name] for name in self.names), *self.fixed, *self.bounds, out)
