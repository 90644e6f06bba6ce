import numpy as np
from numpy.typing import NDArray

from freightrisk._blocks import CodeColumns
from freightrisk._plan import PricePlan
from freightrisk._settle import MoneyColumns

__test__: dict[str, str]

def price(
    columns: CodeColumns,
    plan: PricePlan,
    start: int,
    stop: int,
    detail_out: NDArray[np.float64],
    list_out: NDArray[np.int32],
    payers_out: NDArray[np.int32],
    merchant_out: NDArray[np.int32],
    flags_out: NDArray[np.uint8],
    money: MoneyColumns | None = None,
    spent_out: NDArray[np.int64] | None = None,
    allowed: int = ...,
    measures: NDArray[np.float64] | None = None,
) -> None: ...
