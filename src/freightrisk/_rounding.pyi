import numpy as np
from numpy.typing import NDArray

__pyx_capi__: dict[str, object]
__test__: dict[str, str]

def carry(
    micro: NDArray[np.int64],
    merchants: NDArray[np.int32],
    sequence: NDArray[np.int64],
    remainders: NDArray[np.int64],
    rounded_out: NDArray[np.int32],
) -> None: ...
