"""Random books with outliers: under which families, effects and kinds of data fits arrive.

    python -m benchmarks.arrival [BOOKS] [FIRST_SEED]

Each book has 30 to 3,000 rows and up to three outliers: amounts or counts of 1 to 10,000 times their mean. Its factors
are free levels, a tree of three depths, bands, a thin factor and an interaction. A fit ends in one of four ways:

- settled: it arrives, and its variances maximise the restricted likelihood;
- held: it arrives, but with variances that did not settle, and warns of them;
- refused: an input without a finite maximum is refused before the fit, with the level named;
- stopped: it does not arrive in 60 steps; the error names the level that still moves.

docs/validation.md has the table.
"""

import sys
import warnings
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd

from freightrisk import (
    Band,
    Credibility,
    Factor,
    Free,
    FreightRiskError,
    FrequencyModel,
    Hierarchy,
    Interaction,
    OrderBook,
    PurePremiumModel,
    SeverityModel,
    Smooth,
    Solver,
)
from freightrisk.errors import FitError
from freightrisk.models.fitted import FittedModel

COUNTS = ("poisson", "bernoulli", "negative_binomial", "binomial", "beta_binomial")
AMOUNTS = ("gamma", "lognormal", "inverse_gaussian")
FAMILIES = (*COUNTS, *AMOUNTS, "tweedie")
MOST_STEPS = 60
SOLVER = Solver(max_iterations=MOST_STEPS, threads=1)


@dataclass(frozen=True, eq=False)
class OutlierBook:
    """A book and the model to fit to it.

    Parameters
    ----------
    book : OrderBook
    model : FrequencyModel, SeverityModel or PurePremiumModel
    largest : float
        Largest outlier, as a multiple of its mean; 1 without outliers.
    """

    book: OrderBook
    model: FrequencyModel | SeverityModel | PurePremiumModel
    largest: float

    def fit(self) -> FittedModel:
        """Return the fitted model."""
        return self.model.fit(self.book, solver=SOLVER)


def outlier_book(seed: int, family: str) -> OutlierBook:
    """Return a random book of a family; raise `FreightRiskError` if the book itself is refused."""
    rng = np.random.default_rng(seed)
    n = int(10 ** rng.uniform(np.log10(30.0), 3.5))
    orders = _orders(rng, n)
    effects = _effects(rng)
    mean = _means(rng, orders, family)
    outliers = rng.choice(n, int(rng.integers(0, 4)), replace=False)
    times = 10.0 ** rng.uniform(0.0, 4.0, len(outliers))
    columns = {"claims": "claims", "factors": _factors(rng, effects, orders["price"].to_numpy())}
    if family not in AMOUNTS and rng.uniform() < 0.5:
        orders["exposure"] = rng.uniform(0.05, 1.0, n)
        mean = mean * orders["exposure"].to_numpy()
        columns["exposure"] = "exposure"
    if family in COUNTS:
        orders["lines"] = rng.integers(1, 6, n)
        orders["claims"] = _claims(rng, family, mean, orders["lines"].to_numpy(), outliers, times)
        if family in ("binomial", "beta_binomial"):
            columns["lines"] = "lines"
    else:
        orders["claims"], orders["amount"] = _amounts(rng, family, mean, outliers, times)
        columns["amount"] = "amount"
    book = OrderBook.from_counts(orders, **columns)
    if family == "tweedie":
        return OutlierBook(book, PurePremiumModel(effects, power=float(rng.uniform(1.1, 1.9))), max([1.0, *times]))
    model = FrequencyModel if family in COUNTS else SeverityModel
    return OutlierBook(book, model(effects, family=family), max([1.0, *times]))


def _orders(rng: np.random.Generator, n: int) -> pd.DataFrame:
    industry = rng.integers(0, 3, n)
    category = industry * 10 + rng.integers(0, int(rng.integers(1, 6)), n)
    return pd.DataFrame(
        {
            "zone": rng.choice(["near", "far", "remote", "island"], n, p=[0.5, 0.3, 0.15, 0.05]),
            "channel": rng.choice(["shelf", "search", "live"], n),
            "industry": industry,
            "category": category,
            "leaf": category * 100 + rng.integers(0, int(rng.integers(1, 20)), n),
            "price": rng.gamma(2.0, 50.0, n).round(2),
        }
    )


def _means(rng: np.random.Generator, orders: pd.DataFrame, family: str) -> np.ndarray:
    spread = rng.choice([0.05, 0.3, 1.0])
    base = {"poisson": 0.1, "bernoulli": 0.1, "tweedie": 0.5, **dict.fromkeys(AMOUNTS, 12.0)}.get(family, 0.2)
    zones = orders["zone"].map(dict(zip(["near", "far", "remote", "island"], rng.normal(0.0, spread, 4), strict=True)))
    eta = zones.to_numpy() + rng.normal(0.0, spread, 100)[orders["category"]]
    eta = eta + rng.normal(0.0, spread, 10_000)[orders["leaf"]] + 0.3 * np.log1p(orders["price"].to_numpy() / 100.0)
    return np.asarray(base * 10 ** rng.uniform(-0.5, 0.5) * np.exp(eta))


def _effects(rng: np.random.Generator) -> list[Free | Credibility | Smooth | Interaction]:
    def variance() -> float | None:
        return None if rng.uniform() < 0.7 else float(10.0 ** rng.uniform(-2.0, 1.0))

    def direction() -> str | None:
        return (None, None, "increasing", "decreasing")[rng.integers(4)]

    effects: list[Free | Credibility | Smooth | Interaction] = []
    if rng.uniform() < 0.5:
        effects.append(Free("zone"))
    if rng.uniform() < 0.6:
        effects.append(Credibility("tree" if rng.uniform() < 0.7 else "thin", variance=variance()))
    if rng.uniform() < 0.35:
        effects.append(Smooth("price", order=int(rng.integers(1, 3)), variance=variance(), monotone=direction()))
    elif rng.uniform() < 0.25:
        effects.append(Free("price", monotone=direction()))
    if rng.uniform() < 0.2:
        effects.append(Interaction("zone", "channel", variance=variance()))
    if rng.uniform() < 0.3:
        effects.append(Credibility("channel", variance=variance()))
    return effects or [Credibility("tree")]


def _factors(rng: np.random.Generator, effects: list, price: np.ndarray) -> list[Factor | Band | Hierarchy]:
    free = {effect.name for effect in effects if isinstance(effect, Free)}
    edges = np.unique(np.quantile(price, np.linspace(0.1, 0.9, int(rng.integers(3, 12)))).round(2)).tolist()
    pooled = {name: {"min_claims": 1} if name in free else {} for name in ("zone", "price")}
    return [
        Factor("zone", **pooled["zone"]),
        Factor("channel"),
        Hierarchy("tree", ["industry", "category", "leaf"]),
        Factor("thin", column="leaf"),
        Band("price", edges, **pooled["price"]),
    ]


def _claims(
    rng: np.random.Generator,
    family: str,
    mean: np.ndarray,
    lines: np.ndarray,
    outliers: np.ndarray,
    times: np.ndarray,
) -> np.ndarray:
    """Return random counts; outliers are that many times their mean, or as far off as the family allows."""
    if family == "bernoulli":
        found = (rng.uniform(size=len(mean)) < -np.expm1(-mean)).astype(int)
        found[outliers] = 1 - found[outliers]
        return found
    if family in ("binomial", "beta_binomial"):
        share = np.clip(-np.expm1(-mean / lines), 1e-9, 1.0 - 1e-9)
        if family == "beta_binomial":
            share = np.clip(rng.beta(share * 7.0 / 3.0 + 1e-9, (1.0 - share) * 7.0 / 3.0 + 1e-9), 0.0, 1.0)
        found = rng.binomial(lines, share)
        found[outliers] = lines[outliers]
        return found
    frailty = rng.gamma(2.0, 0.5, len(mean)) if family == "negative_binomial" else 1.0
    found = rng.poisson(np.minimum(mean * frailty, 1e5))
    found[outliers] = np.ceil(times * mean[outliers] + 1.0)
    return found


def _amounts(
    rng: np.random.Generator, family: str, mean: np.ndarray, outliers: np.ndarray, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return claims and their freight."""
    n = len(mean)
    if family == "tweedie":
        claims = rng.poisson(np.minimum(mean, 1e4))
        claims[outliers] = np.maximum(claims[outliers], 1)
        amount = np.array([rng.gamma(3.0, 4.0, count).sum() for count in claims])
        amount[outliers] = 12.0 * times
        return claims, amount
    spread = {
        "gamma": lambda: rng.gamma(4.0, 0.25, n),
        "lognormal": lambda: np.exp(rng.normal(0.0, 0.6, n)),
        "inverse_gaussian": lambda: rng.wald(1.0, 2.0, n),
    }
    amount = mean * spread[family]()
    amount[outliers] *= times
    return np.ones(n, dtype=int), amount


def ended(seed: int, family: str) -> tuple[str, int, str]:
    """Return how a fit ends, its number of steps, and the message of an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            fitted = outlier_book(seed, family).fit()
        except FitError as error:
            return ("stopped" if "did not converge" in str(error) else "refused"), 0, str(error)
        except FreightRiskError as error:
            return "no book", 0, str(error)
    return ("held" if fitted.unsettled else "settled"), len(fitted.steps), ""


def main() -> None:
    """Print a row for each family."""
    books = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    print("| family | books | settled | held | refused | stopped | steps, median | steps, 99 % |")
    print("|---|---|---|---|---|---|---|---|")
    for family in FAMILIES:
        found: Counter[str] = Counter()
        steps = []
        for seed in range(first, first + books):
            how, count, message = ended(seed, family)
            found[how] += 1
            steps += [count] if count else []
            if how == "stopped":
                print(f"seed {seed}, {family}: {message}", file=sys.stderr)
        fits = books - found["no book"]
        print(
            f"| {family} | {fits} | {found['settled']} | {found['held']} | {found['refused']} | {found['stopped']} | "
            f"{np.median(steps):.0f} | {np.quantile(steps, 0.99):.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
