"""What a fit returns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from freightrisk import _check
from freightrisk._frozen import FrozenDict
from freightrisk._intake import DEFAULT_CLOCK
from freightrisk._shown import repr_of, shown
from freightrisk._types import Array
from freightrisk.book.book import OrderBook, check_book
from freightrisk.book.factors import Coding, CrossCoding
from freightrisk.errors import InputError
from freightrisk.models.families import expected_response
from freightrisk.models.table_model import Step

if TYPE_CHECKING:
    import pandas as pd

NORMAL_975 = 1.959963984540054


@dataclass(frozen=True, eq=False)
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
    depth: NDArray[np.int64]
    exposure: Array
    claims: Array
    own_rate: Array
    parent_rate: Array
    credibility_z: Array
    rate: Array


@dataclass(frozen=True, repr=False)
class FittedModel:
    """A fitted sum of log tables: ``log mean = log base + sum of tables``.

    Parameters
    ----------
    kind : {"frequency", "severity", "pure premium"}
    family : str
        See `FrequencyModel`, `SeverityModel` and `PurePremiumModel`.
    codings : dict of str to Coding
        Levels of each factor in the model, and pairs of levels of each interaction.
    intercept, intercept_std_error : float
        Log of `base`, the mean where every relativity is 1, and its standard error.
    tables : dict of str to float64 array, shape (n_slots,)
        Log relativity of each level and, behind the levels, of each fallback. Free effects have a reference level at 0;
        credibility effects and curves have relativities of exposure-weighted mean 1.
    std_errors : dict of str to float64 array, shape (n_slots,)
        Standard errors of the log relativities: 0 for the reference and for given tables, infinite where the rows had
        no such level. Those of penalised effects are posterior standard deviations at the fitted variances.
    references : dict of str to int
        Code of the reference level of each free effect, the one with the most exposure.
    exposure, claims, amount : dict of str to float64 array, shape (n_slots,)
        Exposure (orders; claims for a severity), claims and freight (yuan) of each level in the fitted rows.
    covariance : float64 array
        Covariance of intercept and log relativities, in the order of `parameters`. The levels of the largest
        credibility effect are not in it.
    parameters : tuple of (factor, code)
        Levels behind the intercept.
    deviance, null_deviance, log_likelihood : float
        Deviances are nan for a beta-binomial and for amounts seen through a limit, which have none.
    dispersion : float
        Pearson statistic over residual degrees of freedom. Standard errors use it for amounts and 1 for counts.
    df_residual : float
        Rows less effective parameters.
    n_rows : int
    steps : tuple of Step
        Convergence record; the first steps may be on a sample of the rows.
    engine : {"newton", "statsmodels"}
    shape : float
        Dispersion of a negative binomial (variance m + shape m^2), power of a Tweedie variance, or correlation of two
        lines of an order in a beta-binomial model; else 0.
    kinds : dict of str to str
        Kind of each table: free, credibility, smooth, interaction or given; lines for the number of lines of an order,
        whose relativity is that number.
    effective_parameters : dict of str to float
        Effective number of parameters of each table: what it would have if free, less what its penalty holds.
    variances : dict of str to tuple of float
        Variances of penalised effects on the log scale, from the top of a tree down.
    nodes : dict of str to Nodes
        Own data, parent and credibility of the nodes of each credibility effect.
    clock : str
        Time zone of the book's days.
    """

    kind: str
    family: str
    codings: Mapping[str, Coding | CrossCoding]
    intercept: float
    intercept_std_error: float
    tables: Mapping[str, Array]
    std_errors: Mapping[str, Array]
    references: Mapping[str, int]
    exposure: Mapping[str, Array]
    claims: Mapping[str, Array]
    amount: Mapping[str, Array]
    covariance: Array
    parameters: tuple[tuple[str, int], ...]
    deviance: float
    null_deviance: float
    log_likelihood: float
    dispersion: float
    df_residual: float
    n_rows: int
    steps: tuple[Step, ...]
    engine: str
    shape: float = 0.0
    kinds: Mapping[str, str] = field(default_factory=dict)
    effective_parameters: Mapping[str, float] = field(default_factory=dict)
    variances: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    nodes: Mapping[str, Nodes] = field(default_factory=dict)
    clock: str = DEFAULT_CLOCK

    def __post_init__(self) -> None:
        for name in (
            "codings", "tables", "std_errors", "references", "exposure", "claims", "amount", "kinds",
            "effective_parameters", "variances", "nodes",
        ):  # fmt: skip
            object.__setattr__(self, name, FrozenDict(dict(getattr(self, name))))

    @property
    def provenance(self) -> dict[str, Any]:
        """Return what a tariff records of the fit; a deviance that is not defined is left out."""
        found = {
            "family": self.family, "engine": self.engine, "rows": self.n_rows, "deviance": self.deviance,
            "dispersion": self.dispersion,
        }  # fmt: skip
        return {name: value for name, value in found.items() if not (isinstance(value, float) and np.isnan(value))}

    @property
    def base(self) -> float:
        """Return the mean where every relativity is 1: claims an order, or yuan a claim."""
        return float(np.exp(self.intercept))

    @property
    def aic(self) -> float:
        """Return Akaike's criterion, of effective parameters; an estimated dispersion counts as one."""
        return 2.0 * (self._n_parameters - self.log_likelihood)

    @property
    def bic(self) -> float:
        """Return Schwarz's criterion."""
        return float(np.log(self.n_rows)) * self._n_parameters - 2.0 * self.log_likelihood

    @property
    def _n_parameters(self) -> float:
        return self.n_rows - self.df_residual + (self.family not in ("poisson", "bernoulli", "binomial"))

    @cached_property
    def convergence(self) -> "pd.DataFrame":
        """Return a row for each Newton step: rows used, objective before it, largest move, halvings."""
        import pandas as pd

        return pd.DataFrame([vars(step) for step in self.steps], columns=list(Step.__dataclass_fields__))

    @cached_property
    def relativities(self) -> "pd.DataFrame":
        """Return a row for each level of each factor.

        Columns: factor, level, relativity, log_relativity, std_error, lower and upper (95 % bounds of the
        relativity), exposure, claims, and for a severity the amount in yuan.
        """
        import pandas as pd

        return pd.concat([self._factor_frame(name) for name in self.tables] or [pd.DataFrame()], ignore_index=True)

    def _factor_frame(self, name: str) -> "pd.DataFrame":
        import pandas as pd

        coding = self.codings[name]
        shown = np.flatnonzero(_listed(coding) | (self.exposure[name] > 0))
        log_relativity, error = self.tables[name][shown], self.std_errors[name][shown]
        columns = {
            "factor": name,
            "level": [coding.slot_label(code) for code in shown.tolist()],
            "relativity": np.exp(log_relativity),
            "log_relativity": log_relativity,
            "std_error": error,
            "lower": np.exp(log_relativity - NORMAL_975 * error),
            "upper": np.where(
                np.isinf(error), np.inf, np.exp(np.where(np.isinf(error), 0.0, log_relativity + NORMAL_975 * error))
            ),
            "exposure": self.exposure[name][shown],
            "claims": self.claims[name][shown],
        }
        return pd.DataFrame(columns | ({"amount": self.amount[name][shown]} if self.kind == "severity" else {}))

    @cached_property
    def effects(self) -> "pd.DataFrame":
        """Return a row for each table of the model.

        Columns: factor, effect, levels (slots with exposure), effective_parameters, std_deviation (of the log
        relativities, or of a curve's differences; of the last depth of a tree), variances (all depths).
        """
        import pandas as pd

        return pd.DataFrame(
            {
                "factor": name,
                "effect": self.kinds[name],
                "levels": int((self.exposure[name] > 0).sum()),
                "effective_parameters": self.effective_parameters[name],
                "std_deviation": float(np.sqrt(self.variances[name][-1])) if self.variances.get(name) else np.nan,
                "variances": self.variances.get(name, ()),
            }
            for name in self.tables
        )

    def credibility(self, factor: str) -> "pd.DataFrame":
        """Return a row for each node of a credibility effect, from the top of the tree down.

        Parameters
        ----------
        factor : str
            A factor that entered the model as `Credibility`.

        Returns
        -------
        pandas.DataFrame
            Columns: node, parent, depth, exposure, claims, own_rate, parent_rate, credibility_z, rate. Rates are
            claims an order (yuan a claim for a severity) where the relativities of all other factors are 1.
        """
        import pandas as pd

        if _check.label(factor, argument="factor") not in self.nodes:
            raise InputError(
                f"factor is {repr_of(factor)}; "
                f"the model has credibility effects for {', '.join(self.nodes) or 'no factor'}."
            )
        nodes = self.nodes[factor]
        return pd.DataFrame({"node": nodes.labels, "parent": nodes.parents} | {
            name: getattr(nodes, name)
            for name in ("depth", "exposure", "claims", "own_rate", "parent_rate", "credibility_z", "rate")
        })  # fmt: skip

    def predict(self, book: OrderBook) -> Array:
        """Return the mean of every order of a book.

        Parameters
        ----------
        book : OrderBook
            A book with the same codings, such as a selection of the one that was fitted.

        Returns
        -------
        float64 array, shape (n_orders,)
            Claim intensity per unit of exposure (of all lines of an order together), or expected ground-up freight of
            a claim in yuan. Compare claims with `expected_claims`, which counts the exposure of each order.
        """
        check_book(book)
        total = np.full(book.n_orders, self.intercept)
        for name, table in self.tables.items():
            total += table[_table_codes(book, self.codings[name])]
        return np.asarray(np.exp(total))

    @property
    def lines(self) -> str | None:
        """Return the factor that counts an order's lines, None where the model is not of lines."""
        return next((name for name, kind in self.kinds.items() if kind == "lines"), None)

    def expected_claims(
        self, book: OrderBook, *, offset: ArrayLike | None = None, without: Sequence[str] = ()
    ) -> Array:
        """Return the expected claims of every order of a book, each counted, whatever the cover pays.

        Parameters
        ----------
        book : OrderBook
            As for `predict`.
        offset : array, shape (n_orders,), optional
            Added to the log of claim intensity, such as the log share of claims already reported (`ReportLag.offset`).
        without : sequence of str
            Factors to leave out.

        Returns
        -------
        float64 array, shape (n_orders,)
            Intensity times exposure for counts; 1 - exp(-that) where an order has at most one claim; for n lines
            n (1 - exp(-that / n)).

        Examples
        --------
        >>> import pandas as pd
        >>> from freightrisk import Factor, FrequencyModel, OrderBook
        >>> cells = pd.DataFrame({"channel": ["shelf", "live"] * 2, "n_lines": [2] * 4, "claims": [0, 1, 1, 2]})
        >>> book = OrderBook.from_counts(cells, claims="claims", factors=[Factor("channel")], lines="n_lines")
        >>> FrequencyModel(family="binomial").fit(book).expected_claims(book).round(6).tolist()
        [0.5, 1.5, 0.5, 1.5]
        """
        if self.kind != "frequency":
            raise InputError(f"the model is a {self.kind} model; expected claims come from a frequency model.")
        without = [_check.label(name, argument="without") for name in _check.items(without, argument="without")]
        unknown = [name for name in without if name not in self.tables]
        if unknown:
            raise InputError(f"without: the model has no factor '{unknown[0]}'; it has {', '.join(self.tables)}.")
        mean = self.predict(book)
        for name in without:
            mean *= np.exp(-self.tables[name][_table_codes(book, self.codings[name])])
        if book.exposure is not None:
            mean *= book.exposure
        if offset is not None:
            mean *= np.exp(_check.real_array(offset, argument="offset", length=book.n_orders))
        if self.lines is None:
            return expected_response(self.family, mean, np.empty(0))
        trials = np.exp(self.tables[self.lines])[_table_codes(book, self.codings[self.lines])]
        return expected_response(self.family, mean / trials, trials)

    def summary(self) -> str:
        """Return the fit on one screen: what was fitted, how well, and how it converged."""
        factors = ", ".join(map(self._factor_text, self.tables)) or "none"
        deviance = f"deviance {self.deviance:,.2f} (null {self.null_deviance:,.2f}); "
        deviance = "" if np.isnan(self.deviance) else deviance
        shape = f"; shape {self.shape:.4g}" if self.shape else ""
        parameters = self.n_rows - self.df_residual
        lines = [
            f"{self.kind} model, {self.family}, log link, engine {self.engine}",
            f"rows {self.n_rows:,}; parameters {parameters:.6g}; residual df {self.df_residual:,.10g}",
            f"factors: {factors}",
            f"base {self.base:.6g} (intercept {self.intercept:.6f}, std error {self.intercept_std_error:.6f})",
            f"{deviance}dispersion {self.dispersion:.4f}{shape}",
            f"log likelihood {self.log_likelihood:,.2f}; AIC {self.aic:,.2f}; BIC {self.bic:,.2f}",
            f"converged in {len(self.steps)} steps, last move {self.steps[-1].largest_move:.1e}",
        ]
        return "\n".join(map(shown, lines))

    def _factor_text(self, name: str) -> str:
        kind, levels = self.kinds[name], self.codings[name].n_levels
        if kind == "free":
            return f"{name} ({levels})"
        if kind == "interaction":
            levels = int((self.exposure[name] > 0).sum())
        return f"{name} ({levels}, {kind})"

    def __repr__(self) -> str:
        return self.summary()


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


def _listed(coding: Coding | CrossCoding) -> NDArray[np.bool_]:
    """Return which slots a table shows even without exposure: the levels of a factor, no pair of two."""
    return np.arange(coding.n_slots) < (coding.n_levels if isinstance(coding, Coding) else 0)
