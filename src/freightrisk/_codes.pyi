import numpy as np
from numpy.typing import NDArray

__test__: dict[str, str]

def recode(
    categories: NDArray[np.uint8],
    itemsize: int,
    table: NDArray[np.uint8],
    slot_size: int,
    start: int,
    stop: int,
    out: NDArray[np.uint8],
) -> None: ...
def pair_categories(
    categories: NDArray[np.uint8],
    itemsize: int,
    size: int,
    start: int,
    stop: int,
    which: NDArray[np.int32],
    seen: NDArray[np.uint8],
) -> None: ...
def band_codes(
    values: NDArray[np.float64], edges: NDArray[np.float64], start: int, stop: int, out: NDArray[np.uint8]
) -> None: ...
def keyed_hash(
    texts: NDArray[np.uint8], trimmed: bool, first_key: int, second_key: int, out: NDArray[np.uint64]
) -> None: ...
