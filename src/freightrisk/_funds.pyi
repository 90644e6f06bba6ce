import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

__pyx_capi__: dict[str, object]
__test__: dict[str, str]

@disjoint_base
class Funds:
    def __init__(
        self,
        of_rule: NDArray[np.int32],
        left: NDArray[np.int64],
        budget: NDArray[np.int64],
        per_day: NDArray[np.int64],
        by_day: NDArray[np.uint8],
        paced: NDArray[np.uint8],
        shared: NDArray[np.uint8],
        met: NDArray[np.uint8],
        keys: NDArray[np.int32],
        days_left: NDArray[np.int64],
        before: NDArray[np.int64],
        spent: NDArray[np.int64],
    ) -> None: ...
