"""Presets: what Taobao, 1688 and JD sell, as programmes on models of your own; every number has its source."""

from freightrisk.programme.comparison import compare
from freightrisk.programme.preset_1688 import buyer_protection_1688
from freightrisk.programme.preset_data import illustrative, names, table
from freightrisk.programme.preset_jd import jd_2023, jd_2024
from freightrisk.programme.preset_parts import account_integrity, negotiation_tool, order_rescue
from freightrisk.programme.preset_taobao import return_treasure, taobao_buyer, taobao_seller

__all__ = [
    "account_integrity",
    "buyer_protection_1688",
    "compare",
    "illustrative",
    "jd_2023",
    "jd_2024",
    "names",
    "negotiation_tool",
    "order_rescue",
    "return_treasure",
    "table",
    "taobao_buyer",
    "taobao_seller",
]
