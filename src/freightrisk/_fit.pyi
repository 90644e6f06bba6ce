from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from freightrisk._blocks import CodeColumns

FAMILIES: dict[str, int]
NUMBERS: dict[str, int]
__test__: dict[str, str]

@disjoint_base
class RowValues:
    def __init__(self, arrays: list[NDArray[Any]]) -> None: ...

def accumulate(
    family: int,
    parameter: float,
    columns: CodeColumns,
    offsets: NDArray[np.int64],
    base: float,
    tables: NDArray[np.float64],
    values: RowValues,
    start: int,
    stop: int,
    members: NDArray[np.int32],
    firsts: NDArray[np.int32],
    places: NDArray[np.int64],
    n_gradients: int,
    cells_out: NDArray[np.float64],
    sums_out: NDArray[np.float64],
) -> None: ...
