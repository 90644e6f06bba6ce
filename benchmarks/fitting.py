"""Fits compared with glum at equal accuracy: claim frequency, severity, and a category with many leaves."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.books import SIZES, CodedBook, coded_book
from benchmarks.timing import LARGE, Line, apart, cores, medians
from freightrisk import Credibility, Factor, FrequencyModel, OrderBook, Solver
from freightrisk.models.design import Layout, free_term
from freightrisk.models.passes import Problem
from freightrisk.models.table_model import solve

AGREED = 1e-7  # largest allowed difference of a coefficient
LEAVES = 20_000
LABELS = {name: tuple(map(str, range(size))) for name, size in SIZES.items()}


@dataclass(frozen=True)
class Fits:
    """One model in our form and in glum's; the coefficients of both are the log base, then log relativities."""

    problem: Problem
    layout: Layout
    references: dict[str, int]
    rate: NDArray[np.float64]
    weight: NDArray[np.float64]

    @classmethod
    def of(cls, family: str, book: CodedBook) -> "Fits":
        """Return the claim frequency of a book, or the severity of its claims."""
        codes, response, exposure = book.codes, book.claims, book.exposure
        if family == "gamma":
            claimed = np.flatnonzero(book.claims)
            codes = {name: np.ascontiguousarray(column[claimed]) for name, column in codes.items()}
            response, exposure = book.amounts(claimed), np.ones(len(claimed))
            problem = Problem("gamma", codes, SIZES, response)
        else:
            problem = Problem("poisson", codes, SIZES, response, exposure)
        references = {name: int(np.bincount(column, exposure).argmax()) for name, column in codes.items()}
        layout = Layout(tuple(free_term(name, np.ones(n, bool), references[name]) for name, n in SIZES.items()))
        return cls(problem, layout, references, response / exposure, exposure)

    def ours(self, threads: int) -> NDArray[np.float64]:
        """Return our coefficients."""
        return solve(
            self.problem, self.layout, LABELS, solver=Solver(tolerance=1e-8, max_iterations=50, threads=threads)
        ).state.dense

    def design(self) -> object:
        """Return glum's design matrix."""
        import tabmat

        codes = self.problem.codes
        return tabmat.SplitMatrix(
            [
                tabmat.CategoricalMatrix(_categorical(codes[name], size, self.references[name]), drop_first=True)
                for name, size in SIZES.items()
            ]
        )

    def theirs(self, design: object) -> NDArray[np.float64]:
        """Return glum's coefficients."""
        from glum import GeneralizedLinearRegressor

        # The default gradient tolerance leaves differences of 1e-3 in coefficients, which would not be equal accuracy.
        model = GeneralizedLinearRegressor(
            family=self.problem.family, alpha=0, fit_intercept=True, gradient_tol=1e-10, max_iter=50, link="log"
        )
        model.fit(design, self.rate, sample_weight=self.weight)
        return np.concatenate([[model.intercept_], model.coef_])


def poisson_lines(n: int, repeats: int) -> list[Line]:
    """Return claim frequency fits, after checking that the coefficients agree."""
    return _lines("poisson", "fit", n, repeats, bars=(6.0, 2.0))


def gamma_lines(n: int, repeats: int) -> list[Line]:
    """Return severity fits of the book's claims, after checking that the coefficients agree."""
    return _lines("gamma", "severity fit", n, repeats, bars=(8.0, 0.0))


def _lines(family: str, what: str, n: int, repeats: int, bars: tuple[float, float]) -> list[Line]:
    fits, threads = Fits.of(family, coded_book(n)), cores()
    design, rows = fits.design(), fits.problem.n_rows
    # The two fits must agree before their times are compared.
    gap = np.abs(fits.ours(threads) - fits.theirs(design)).max()
    if gap > AGREED:
        raise SystemExit(f"glum's coefficients differ by up to {gap:.2g}")
    peaks = [apart(route, family, n) if n >= LARGE else None for route in ("ours", "glum")]
    one, many, peer = medians(repeats, lambda: fits.ours(1), lambda: fits.ours(threads), lambda: fits.theirs(design))
    return [
        Line(f"{what}: freightrisk, 1 thread", rows, one, peer / one),
        Line(f"{what}: freightrisk, {threads} threads", rows, many, peer / many, bars, peaks[0]),
        Line(f"{what}: glum (coefficients within {gap:.0e})", rows, peer, None, None, peaks[1]),
    ]


def leaf_lines(n: int, repeats: int) -> list[Line]:
    """Return lines of the fit without and with a category of many leaves as a credibility effect.

    The ratio is the time without the category over the time with it.
    """
    import pandas as pd

    book, threads, rng = coded_book(n), cores(), np.random.default_rng(11)
    share = 1.0 / np.arange(1, LEAVES + 1) ** 0.8
    leaf = np.searchsorted(np.cumsum(share / share.sum())[:-1], rng.random(n)).astype(np.int32)
    effect = rng.normal(0.0, 0.3, LEAVES)
    claims = rng.poisson(book.intensity * book.exposure * np.exp(effect[leaf]))
    columns = {"leaf": leaf} | {name: codes.astype(np.int16) for name, codes in book.codes.items()}
    sizes = {"leaf": LEAVES} | SIZES
    cells = {name: pd.Categorical.from_codes(codes, range(sizes[name])) for name, codes in columns.items()}
    frame = pd.DataFrame(cells | {"claims": claims, "exposure": book.exposure})
    orders = OrderBook.from_counts(
        frame, claims="claims", exposure="exposure", factors=[Factor(name) for name in cells]
    )
    plain, leafy = FrequencyModel([*SIZES]), FrequencyModel([Credibility("leaf"), *SIZES])
    without, full = medians(
        repeats,
        lambda: plain.fit(orders, solver=Solver(threads=threads)),
        lambda: leafy.fit(orders, solver=Solver(threads=threads)),
    )
    return [
        Line(f"fit: FrequencyModel, {threads} threads", n, without),
        Line(f"fit: and {LEAVES:,} leaves by credibility", n, full, without / full, (1 / 3, 1 / 8)),
    ]


def _categorical(codes: NDArray[np.unsignedinteger], size: int, reference: int) -> object:
    """Return a pandas categorical with the reference level first, so that both fits drop the same level."""
    import pandas as pd

    order = np.concatenate([[reference], np.delete(np.arange(size), reference)])
    place = np.empty(size, dtype=np.int32)
    place[order] = np.arange(size)
    return pd.Categorical.from_codes(place[codes], categories=order)
