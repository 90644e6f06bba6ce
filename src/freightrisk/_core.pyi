from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

CHECKED: bool
BLOCK_ROWS: int
COLUMN_LIMIT: int
FAMILIES: dict[str, int]
NUMBERS: dict[str, int]
RULE_KINDS: dict[str, int]
ROUNDING_MODES: dict[str, int]
FLAGS: dict[str, int]
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

@disjoint_base
class RowValues:
    def __init__(self, arrays: list[NDArray[Any]]) -> None: ...

@disjoint_base
class PricePlan:
    @property
    def rules(self) -> int: ...
    @property
    def rounding(self) -> int: ...
    def __init__(
        self,
        sizes: NDArray[np.int64],
        frequency_base: float,
        severity_base: float,
        limit: float,
        frequency_columns: NDArray[np.int32],
        frequency_offsets: NDArray[np.int64],
        frequency_tables: NDArray[np.float64],
        severity_columns: NDArray[np.int32],
        severity_offsets: NDArray[np.int64],
        severity_tables: NDArray[np.float64],
        share_columns: NDArray[np.int32],
        share_offsets: NDArray[np.int64],
        share_tables: NDArray[np.float64],
        limit_columns: NDArray[np.int32],
        limit_offsets: NDArray[np.int64],
        limit_tables: NDArray[np.float64],
        pair_offsets: NDArray[np.int64],
        pair_tables: NDArray[np.float64],
        mask_columns: NDArray[np.int32],
        mask_offsets: NDArray[np.int64],
        mask_tables: NDArray[np.uint64],
        known: NDArray[np.int64],
        fused_first: NDArray[np.int32],
        fused_second: NDArray[np.int32],
        fused_width: NDArray[np.int32],
        count_curve: NDArray[np.float64],
        count_column: int,
        count_curves: int,
        limit_curve: NDArray[np.float64],
        limit_bits: int,
        limit_first: int,
        limit_top: float,
        fraud_load: float,
        claim_handling: float,
        policy_cost: float,
        retained: float,
        filed_factor: float,
        filed_min_micro: float,
        filed_max_micro: float,
        floor_fen: int,
        rounding: int,
        rule_kind: NDArray[np.int32],
        rule_amount: NDArray[np.int64],
        rule_cap: NDArray[np.int32],
        rule_payer: NDArray[np.int32],
        rule_group: NDArray[np.int32],
        rule_limited: NDArray[np.uint8],
    ) -> None: ...

@disjoint_base
class MoneyColumns:
    def __init__(
        self,
        draws: NDArray[np.uint16],
        micro: NDArray[np.int64],
        rounded: NDArray[np.int32],
        masks: NDArray[np.uint64],
        paid: NDArray[np.int32],
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
    ) -> None: ...

def accumulate(
    family: int,
    shape: float,
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
    n_scores: int,
    cells_out: NDArray[np.float64],
    sums_out: NDArray[np.float64],
) -> None: ...
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
) -> None: ...
def spread_flags(flags: NDArray[np.uint8], start: int, stop: int, hits: NDArray[np.uint8]) -> None: ...
def carry(
    micro: NDArray[np.int64],
    merchants: NDArray[np.int32],
    order: NDArray[np.int64],
    remainders: NDArray[np.int64],
    rounded_out: NDArray[np.int32],
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
def keyed_hash(
    texts: NDArray[np.uint8], trimmed: bool, first_key: int, second_key: int, out: NDArray[np.uint64]
) -> None: ...
