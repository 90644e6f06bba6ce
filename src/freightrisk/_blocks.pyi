from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

CHECKED: bool
BLOCK_ROWS: int
COLUMN_LIMIT: int
__pyx_capi__: dict[str, object]
__test__: dict[str, str]

@disjoint_base
class CodeColumns:
    @property
    def count(self) -> int: ...
    @property
    def rows(self) -> int: ...
    @property
    def sizes(self) -> tuple[int, ...]: ...
    @property
    def arrays(self) -> list[NDArray[np.unsignedinteger[Any]]]: ...
    def __init__(
        self,
        codes: list[NDArray[np.unsignedinteger[Any]]],
        sizes: NDArray[np.int64],
        rows: int,
        largest: NDArray[np.int64] | None = None,
    ) -> None: ...
