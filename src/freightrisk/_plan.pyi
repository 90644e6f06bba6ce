import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

RULE_KINDS: dict[str, int]
ROUNDING_MODES: dict[str, int]
__test__: dict[str, str]

@disjoint_base
class TableSet:
    def __init__(
        self,
        base: float,
        columns: NDArray[np.int32],
        offsets: NDArray[np.int64],
        entries: NDArray[np.float64],
    ) -> None: ...

@disjoint_base
class MaskSet:
    def __init__(
        self,
        columns: NDArray[np.int32],
        offsets: NDArray[np.int64],
        entries: NDArray[np.uint64],
    ) -> None: ...

@disjoint_base
class FusedColumns:
    def __init__(
        self,
        first: NDArray[np.int32],
        second: NDArray[np.int32],
        width: NDArray[np.int32],
    ) -> None: ...

@disjoint_base
class CountPieces:
    def __init__(
        self,
        pieces: NDArray[np.float64],
        curves: int,
        column: int,
    ) -> None: ...

@disjoint_base
class LimitPieces:
    def __init__(
        self,
        pieces: NDArray[np.float64],
        bits: int,
        first: int,
        top: float,
    ) -> None: ...

@disjoint_base
class LimitRules:
    def __init__(
        self,
        amount: NDArray[np.float64],
        share: NDArray[np.float64],
        measure: NDArray[np.int32],
        rivals: NDArray[np.uint64],
        ends: NDArray[np.int32],
        choose: int,
        masks: MaskSet,
        shares: TableSet,
    ) -> None: ...

@disjoint_base
class Controls:
    def __init__(self, masks: MaskSet, factors: NDArray[np.float64]) -> None: ...

@disjoint_base
class PayoutTerms:
    def __init__(self, kept: float, deductible: float, measure: int) -> None: ...

@disjoint_base
class Loads:
    def __init__(
        self,
        with_fraud: TableSet,
        claim_handling: float,
        policy_cost: float,
        retained: float,
        filed_factor: TableSet,
        filed_min_micro: float,
        filed_max_micro: float,
    ) -> None: ...

@disjoint_base
class Rules:
    def __init__(
        self,
        kind: NDArray[np.int32],
        amount: NDArray[np.int64],
        cap: NDArray[np.int32],
        payer: NDArray[np.int32],
        group: NDArray[np.int32],
        limited: NDArray[np.uint8],
    ) -> None: ...

@disjoint_base
class PricePlan:
    @property
    def rounding(self) -> int: ...
    @property
    def measures(self) -> int: ...
    def __init__(
        self,
        sizes: NDArray[np.int64],
        known: NDArray[np.int64],
        frequency: TableSet,
        severity: TableSet,
        shares: TableSet,
        limits: TableSet,
        masks: MaskSet,
        pairs: TableSet,
        fused: FusedColumns,
        count_curve: CountPieces,
        limit_curve: LimitPieces,
        limit_rules: LimitRules,
        controls: Controls,
        payout_terms: PayoutTerms,
        loads: Loads,
        rules: Rules,
        rounding: int,
        floor_fen: int,
    ) -> None: ...
