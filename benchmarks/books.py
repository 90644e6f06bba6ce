"""Books and a tariff with fixed seeds for the benchmarks: six categorical factors, a score and 50,000 merchants."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

import freightrisk as fr
from freightrisk.book.codings import Coding, code_type
from freightrisk.models.shapes import ScaleShape
from freightrisk.tariff.curves import count_curve, limit_curve
from freightrisk.tariff.quotes import CodedOrders
from freightrisk.tariff.rates import CoverCurves, RateTables
from freightrisk.tariff.tariff import Tariff

if TYPE_CHECKING:
    import pandas as pd

SIZES = {"category": 200, "zone_pair": 34, "channel": 5, "campaign": 12, "weight": 16, "price": 20, "score": 20}
SEVERITY_FACTORS = ("category", "zone_pair", "channel", "campaign", "weight", "price")
MERCHANTS = 50_000
ORDER_SIZES = SIZES | {"merchant_id": MERCHANTS}
DISPERSION = 0.12


@dataclass(frozen=True)
class CodedBook:
    """Codes, exposure and claims of a simulated book, and the claim intensity behind them."""

    codes: dict[str, NDArray[np.unsignedinteger]]
    exposure: NDArray[np.float64]
    claims: NDArray[np.float64]
    intensity: NDArray[np.float64]

    def amounts(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the mean claim amount of some rows, drawn from a gamma around the product of tables."""
        rng = np.random.default_rng(8)
        mean = np.full(len(rows), 9.0)
        for name, table in tables(SEVERITY_FACTORS, rng).items():
            mean *= table[self.codes[name][rows]]
        return mean * rng.gamma(1.0 / DISPERSION, DISPERSION, len(rows))


def coding(name: str, size: int) -> Coding:
    """Return a flat factor with `size` numbered levels."""
    paths = tuple((level,) for level in range(size))
    return Coding(fr.Factor(name, unseen="parent"), paths, {path: code for code, path in enumerate(paths)})


def codes(n: int, rng: np.random.Generator) -> dict[str, NDArray[np.unsignedinteger]]:
    """Return code columns with heavy-tailed level shares."""
    return {name: _heavy_tailed(n, size, rng) for name, size in SIZES.items()}


def orders(n: int, rng: np.random.Generator) -> dict[str, NDArray[np.unsignedinteger]]:
    """Return code columns and the merchant of each order; the shares of merchants are heavy-tailed too."""
    return codes(n, rng) | {"merchant_id": _heavy_tailed(n, MERCHANTS, rng)}


def _heavy_tailed(n: int, size: int, rng: np.random.Generator) -> NDArray[np.unsignedinteger]:
    share = 1.0 / np.arange(1, size + 1) ** 0.8  # few large and many small levels, as in real books
    edges = np.cumsum(share / share.sum())
    return np.searchsorted(edges[:-1], rng.random(n)).astype(code_type(size + 1))


def tables(names: tuple[str, ...], rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
    """Return relativities of every slot of some factors; the fallback is last."""
    return {name: np.exp(0.3 * rng.standard_normal(SIZES[name] + 1)) for name in names}


def coded_book(n: int, *, seed: int = 5) -> CodedBook:
    """Return a Poisson book of n orders at about 7 claims in 100."""
    rng = np.random.default_rng(seed)
    columns = codes(n, rng)
    exposure = rng.uniform(0.2, 1.0, n)
    intensity = np.full(n, 0.1)
    for name, table in tables(tuple(SIZES), rng).items():
        intensity *= table[columns[name]]
    return CodedBook(columns, exposure, rng.poisson(exposure * intensity).astype(np.float64), intensity)


def tariff(*, seed: int = 6) -> Tariff:
    """Return a tariff with seven factors in both models, 50,000 merchants, two curves and three subsidy rules."""
    rng = np.random.default_rng(seed)
    return Tariff(
        name="benchmark",
        codings={name: coding(name, size) for name, size in SIZES.items()},
        frequency=RateTables(0.06, tables(tuple(SIZES), rng)),
        severity=RateTables(9.0, tables(tuple(SIZES), rng)),
        experience=fr.ExperienceRating(mods=dict(enumerate(np.exp(0.2 * rng.standard_normal(MERCHANTS)).tolist()))),
        cover=fr.Cover(max_claims=1, limit=25.0),
        loadings=fr.Loadings(fraud_load=0.01, claim_handling=0.3, policy_cost=0.0005, channel=0.15, profit=0.02),
        subsidies=(
            fr.Subsidy("live", "platform", percent_of_list=0.2, where={"channel": [1, 3]}, cap_fen=50),
            fr.Subsidy("score", "insurer", percent_of_rest=0.1, where={"score": list(range(5))}),
            fr.Subsidy("penny", "supplier", price_to_fen=1, where={"price": [17, 18, 19]}),
        ),
        curves=CoverCurves(count_curve(1), limit_curve(ScaleShape(DISPERSION))),
    )


def campaigns(*, budget_fen: int) -> tuple[fr.Subsidy, ...]:
    """Return twelve campaigns of three payers; three have a budget, and two are rivals in one group."""
    budget = {"budget_fen": budget_fen}
    return (
        fr.Subsidy("live", "platform", percent_of_list=0.2, where={"channel": [1, 3]}, cap_fen=50, **budget),
        fr.Subsidy("new", "platform", percent_of_rest=0.15, where={"category": list(range(40, 90))}),
        fr.Subsidy("industry", "platform", percent_of_list=0.1, where={"category": list(range(30))}),
        fr.Subsidy("group buying", "platform", fixed_fen=3, where={"channel": [2]}, group="sale", **budget),
        fr.Subsidy("ten billion", "platform", percent_of_rest=0.3, where={"channel": [2, 4]}, group="sale"),
        fr.Subsidy("score", "insurer", percent_of_rest=0.1, where={"score": list(range(5))}),
        fr.Subsidy("near", "insurer", percent_of_list=0.05, where={"zone_pair": list(range(12))}),
        fr.Subsidy("light", "insurer", percent_of_rest=0.08, where={"weight": list(range(6))}, cap_fen=20),
        fr.Subsidy("autumn", "platform", fixed_fen=2, where={"campaign": [3, 4, 5]}, **budget),
        fr.Subsidy("winter", "supplier", fixed_fen=1, where={"campaign": [6, 7]}),
        fr.Subsidy("low price", "supplier", percent_of_rest=0.25, where={"price": [10, 11, 12]}),
        fr.Subsidy("penny", "supplier", price_to_fen=1, where={"price": [17, 18, 19]}),
    )


def coded_orders(
    n: int, priced_by: Tariff, *, seed: int = 7
) -> tuple[dict[str, NDArray[np.unsignedinteger]], CodedOrders]:
    """Return n orders as plain code columns and as the tariff's coded orders."""
    import pyarrow as pa

    columns = orders(n, np.random.default_rng(seed))
    days = np.datetime64("2026-06-01") + (np.arange(n) * 30 // max(n, 1)).astype("timedelta64[D]")
    keys = {"order_id": np.arange(n), "ship_date": days} if priced_by.in_sequence else {}
    return columns, priced_by.encode(pa.table(columns | keys))


def orders_frame(n: int, *, seed: int = 7) -> "pd.DataFrame":
    """Return n orders as a pandas frame of categorical columns."""
    import pandas as pd

    drawn = orders(n, np.random.default_rng(seed))
    return pd.DataFrame(
        {
            name: pd.Categorical.from_codes(drawn[name].astype(np.int32), range(size))
            for name, size in ORDER_SIZES.items()
        }
    )


def plain_tariff() -> Tariff:
    """Return a tariff with six tables, a claim-count curve, a floor and rounding, and nothing else."""
    full = tariff()
    six = {name: full.frequency.tables[name] for name in SEVERITY_FACTORS}
    return Tariff(
        name="plain",
        codings={name: coding(name, SIZES[name]) for name in six},
        frequency=RateTables(0.06, six),
        severity=RateTables(9.0, {}),
        cover=fr.Cover(max_claims=1),
        loadings=fr.Loadings(),
        subsidies=(),
        curves=CoverCurves(count_curve(1)),
    )
