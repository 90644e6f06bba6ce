"""What a fit knows of one effect, and how well the whole fit describes its rows."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from freightrisk._document import ExactArray, ExactFloat, IndexArray
from freightrisk._shown import counted, shown
from freightrisk._types import Array
from freightrisk.book.book import OrderBook
from freightrisk.book.codings import Coding, CrossCoding
from freightrisk.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

NORMAL_975 = 1.959963984540054


@dataclass(frozen=True, eq=False, repr=False)
class Nodes:
    """The nodes of a credibility effect, depth by depth from the top.

    Parameters
    ----------
    labels, parents : tuple of str
        Name of each node and of its parent.
    depth : int64 array, shape (n_nodes,)
    exposure, claims : float64 array
    own_rate, parent_rate, rate : float64 array
        At the base level of all other factors: the rate of the node's own data, the fitted rate of its parent, and its
        own fitted rate; claims an order, or yuan a claim.
    credibility_z : float64 array
        Weight of the node's own data, net of what its children explain, against its parent.
    """

    labels: tuple[str, ...]
    parents: tuple[str, ...]
    depth: IndexArray
    exposure: ExactArray
    claims: ExactArray
    own_rate: ExactArray
    parent_rate: ExactArray
    credibility_z: ExactArray
    rate: ExactArray

    def __repr__(self) -> str:
        depths = np.unique(self.depth)
        return f"Nodes: {counted(len(self.labels), 'node')} of {counted(len(depths), 'depth')}"


@dataclass(frozen=True)
class LimitedMeans:
    """What limits leave of the claims that a severity was fitted to.

    The claims are grouped by their fitted mean, into at most ten groups. Amounts are scaled so that their total is the
    total of the fitted means. A limit of r stands for r times the average mean of a group.

    Parameters
    ----------
    n_claims : int
        Number of claims behind the means: 65,536 of a larger book.
    shares : tuple of float
        Share of these claims in each group.
    freight : tuple of float, yuan
        Average fitted mean freight of each group, ascending.
    ratios : tuple of float
        The limits r, from 1/8 to 32.
    paid : tuple of tuples of float
        For each group the average of min(amount, limit) at each r, over the average mean of the group.
    expected : tuple of tuples of float
        The same by the curve of the family, at the fitted mean of each claim and the dispersion of the residuals.
    means : tuple of float
        Average of min(Z, r) over all claims, where Z is a claim's amount over its fitted mean, divided by the average
        of these ratios.
    """

    n_claims: int
    shares: tuple[float, ...]
    freight: tuple[float, ...]
    ratios: tuple[float, ...]
    paid: tuple[tuple[float, ...], ...]
    expected: tuple[tuple[float, ...], ...]
    means: tuple[float, ...]


@dataclass(frozen=True)
class FitStatistics:
    """How well a fit describes its rows; `FittedModel` has a property of the same name for each.

    Parameters
    ----------
    deviance, null_deviance, log_likelihood, dispersion, df_residual : float
    n_rows : int
    n_clusters : int
        Number of clusters that the standard errors allow for; 0 without `cluster=`.
    n_censored : int
        Number of amounts at their limit, which are fitted as at least the limit; 0 without `limit=`.
    options : tuple of str
        Which of the optional columns "exposure", "offset" and "weight" entered the fit.
    largest_offset : float
        Largest value of the `offset` of a frequency; 0 without one. A log share of reported claims is near 0 or below.
    limited_means : LimitedMeans, optional
        The limited means of the claims, for gamma and lognormal severities. There are none if amounts reached a limit,
        if no amount is the amount of a single claim, or if the fit has many parameters for its claims (see
        docs/method.md).
    exposure, claims : float
        Exposure (orders; lines if the relativities rate a line; claims for a severity) and claims of the fitted rows.
    null_base : float
        Log of the base of the model with a base and nothing else; of the median for a lognormal severity.
    likelihood_dispersion : float
        Dispersion at which `log_likelihood` is; 1 for counts, 0 if amounts equal their means and have no likelihood.
    """

    deviance: ExactFloat
    null_deviance: ExactFloat
    log_likelihood: ExactFloat
    dispersion: ExactFloat
    df_residual: ExactFloat
    n_rows: int
    n_clusters: int = 0
    n_censored: int = 0
    options: tuple[str, ...] = ()
    largest_offset: float = 0.0
    limited_means: LimitedMeans | None = None
    exposure: ExactFloat = 0.0
    claims: ExactFloat = 0.0
    null_base: ExactFloat = 0.0
    likelihood_dispersion: ExactFloat = 1.0


DOUBTS = ("unsettled", "thin")


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class FittedEffect:
    """The table of one effect and what the fit knows of it; each array has an entry for each slot of the coding.

    Parameters
    ----------
    coding : Coding or CrossCoding
    kind : {"free", "credibility", "smooth", "interaction", "given", "lines"}
    table, std_errors : float64 array, shape (n_slots,)
        Log relativities and their standard errors; see `FittedModel.tables` and `FittedModel.std_errors`.
    exposure, claims, amount : float64 array, shape (n_slots,)
        Exposure (orders; claims for a severity), claims and freight (yuan) in the fitted rows.
    effective_parameters : float
    variances : tuple of float
        Variances of the penalty, from the top of a tree down; empty for an effect without a penalty.
    reference : int, optional
        Code of the reference level of a free effect.
    nodes : Nodes, optional
        Nodes of a credibility effect.
    monotone : {"increasing", "decreasing"}, optional
        Direction that a free or smooth effect of a band was held to.
    doubts : tuple of str
        "unsettled" if the variances are held although the restricted likelihood asks for a change; the fit warned of
        it. "thin" if the variances were estimated from counts with fewer than 5 claims a leaf; they are then too small,
        by up to half (docs/method.md, Thin leaves).
    """

    coding: Coding | CrossCoding
    kind: str
    table: Array
    std_errors: Array
    exposure: Array
    claims: Array
    amount: Array
    effective_parameters: float = 0.0
    variances: tuple[float, ...] = ()
    reference: int | None = None
    nodes: Nodes | None = None
    monotone: str | None = None
    doubts: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return shown(f"FittedEffect: {self.size_text(self.coding.name)}")

    @property
    def n_exposed(self) -> int:
        """Return the number of slots with exposure."""
        return int((self.exposure > 0).sum())

    def codes(self, book: OrderBook) -> NDArray[Any]:
        """Return the code of each order of a book in this effect's table."""
        return _table_codes(book, self.coding)

    def relativities(self, name: str, *, with_amount: bool) -> "pd.DataFrame":
        """Return the rows of `FittedModel.relativities` for this effect."""
        import pandas as pd

        # A table lists every level of a factor, but only those pairs of an interaction that orders have.
        n_listed = self.coding.n_levels if isinstance(self.coding, Coding) else 0
        listed = np.flatnonzero((np.arange(self.coding.n_slots) < n_listed) | (self.exposure > 0))
        log_relativity, error = self.table[listed], self.std_errors[listed]
        with np.errstate(over="ignore"):
            # An infinite error times zero would be NaN, so it is set aside before the exponential.
            known = np.exp(np.where(np.isinf(error), 0.0, log_relativity + NORMAL_975 * error))
        columns = {
            "factor": name,
            "level": [self.coding.slot_label(code) for code in listed.tolist()],
            "relativity": np.exp(log_relativity),
            "log_relativity": log_relativity,
            "std_error": error,
            "lower": np.exp(log_relativity - NORMAL_975 * error),
            "upper": np.where(np.isinf(error), np.inf, known),
            "exposure": self.exposure[listed],
            "claims": self.claims[listed],
        }
        return pd.DataFrame(columns | ({"amount": self.amount[listed]} if with_amount else {}))

    def size_text(self, name: str) -> str:
        """Return the effect's name with its number of levels, kind and direction, for `FittedModel.summary`."""
        levels = self.n_exposed if self.kind == "interaction" else self.coding.n_levels
        kind = "" if self.kind == "free" else f", {self.kind}"
        direction = f", monotone {self.monotone}" if self.monotone else ""
        return f"{name} ({levels}{kind}{direction})"


def _table_codes(book: OrderBook, coding: Coding | CrossCoding) -> NDArray[Any]:
    if isinstance(coding, CrossCoding):
        return coding.pair(_table_codes(book, coding.first), _table_codes(book, coding.second))
    return _codes(book, coding)


def _codes(book: OrderBook, coding: Coding) -> NDArray[Any]:
    """Return the codes of a factor in a book, or raise where the book codes it differently."""
    if book.codings.get(coding.name) != coding:
        raise InputError(
            f"book: its coding of factor '{coding.name}' is not the model's; select rows of the fitted book, or build "
            "the new book with factors=list(fitted_book.codings.values())."
        )
    return book.codes[coding.name]
