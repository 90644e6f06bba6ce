import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from freightrisk._funds import Funds
from freightrisk._plan import PricePlan

FLAGS: dict[str, int]
__pyx_capi__: dict[str, object]
__test__: dict[str, str]

@disjoint_base
class MoneyColumns:
    def __init__(
        self,
        draws: NDArray[np.uint16],
        micro: NDArray[np.int64],
        rounded: NDArray[np.int32],
        masks: NDArray[np.uint64],
        paid: NDArray[np.int32],
        beside: NDArray[np.int64],
        sums: NDArray[np.float64],
    ) -> None: ...

@disjoint_base
class Limits:
    def __init__(
        self,
        budget: NDArray[np.int64],
        keys: NDArray[np.int32],
        rule_keys: NDArray[np.int32],
        rule_start: NDArray[np.int64],
        left: NDArray[np.int64],
        budget_met: NDArray[np.uint8],
        left_met: NDArray[np.uint8],
        funds: Funds | None = None,
    ) -> None: ...

def settle(
    plan: PricePlan,
    start: int,
    stop: int,
    list_out: NDArray[np.int32],
    payers_out: NDArray[np.int32],
    merchant_out: NDArray[np.int32],
    flags_out: NDArray[np.uint8],
    money: MoneyColumns,
    spent_out: NDArray[np.int64] | None = None,
    allowed: int = ...,
    limits: Limits | None = None,
) -> None: ...
def spread_flags(flags: NDArray[np.uint8], start: int, stop: int, hits: NDArray[np.uint8]) -> None: ...
