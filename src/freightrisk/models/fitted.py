"""What a fit returns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from freightrisk import _check
from freightrisk._frozen import FrozenDict
from freightrisk._intake import DEFAULT_CLOCK
from freightrisk._shown import counted, named, repr_of, shown
from freightrisk._types import Array
from freightrisk.book.book import OrderBook, check_book
from freightrisk.book.codings import Coding, CrossCoding
from freightrisk.errors import InputError
from freightrisk.models.families import FAMILIES, SMALLEST_PARAMETER, expected_response
from freightrisk.models.fitted_effect import FitStatistics, FittedEffect, Nodes
from freightrisk.models.objective import Step

if TYPE_CHECKING:
    import pandas as pd

PARAMETER_BOUNDS = {"negative_binomial": (SMALLEST_PARAMETER, 1e3), "beta_binomial": (SMALLEST_PARAMETER, 1.0 - 1e-6)}
"""Least and largest estimate of a family's parameter: of a dispersion of counts, and of a correlation of lines."""


@dataclass(frozen=True, eq=False, repr=False)
class FittedModel:
    """A fitted sum of log tables: ``log mean = log base + sum of tables``.

    Parameters
    ----------
    kind : {"frequency", "severity", "pure premium"}
    family : str
        See `FrequencyModel`, `SeverityModel` and `PurePremiumModel`.
    intercept, intercept_std_error : float
        Log of `base`, the mean where every relativity is 1, and its standard error.
    covariance : float64 array
        Covariance of intercept and log relativities, in the order of `parameters`. The levels of the largest
        credibility effect are not in it.
    parameters : tuple of (factor, code)
        Levels behind the intercept.
    fitted_effects : dict of str to FittedEffect
        What the fit knows of each effect, by its name. `tables`, `std_errors` and the like are read from it.
    statistics : FitStatistics
        How well the fit describes its rows. `deviance`, `dispersion` and the like are read from it.
    steps : tuple of Step
        Convergence record; the first steps may be on a sample of the rows.
    engine : {"newton", "statsmodels"}
    family_parameter : float
        Dispersion d of a negative binomial (variance m + d m^2), power of a Tweedie variance, or correlation of two
        lines of an order in a beta-binomial model; else 0.
    clock : str
        Time zone of the book's days.
    """

    kind: str
    family: str
    intercept: float
    intercept_std_error: float
    covariance: Array
    parameters: tuple[tuple[str, int], ...]
    fitted_effects: Mapping[str, FittedEffect]
    statistics: FitStatistics
    steps: tuple[Step, ...]
    engine: str
    family_parameter: float = 0.0
    clock: str = DEFAULT_CLOCK

    def __post_init__(self) -> None:
        object.__setattr__(self, "fitted_effects", FrozenDict(dict(self.fitted_effects)))

    # What is known of each effect, by the effect's name

    @cached_property
    def codings(self) -> Mapping[str, Coding | CrossCoding]:
        """Return the levels of each factor in the model, and the pairs of levels of each interaction."""
        return FrozenDict({name: effect.coding for name, effect in self.fitted_effects.items()})

    @cached_property
    def kinds(self) -> Mapping[str, str]:
        """Return the kind of each table: free, credibility, smooth, interaction or given, or lines.

        A table of kind lines is for the number of lines of an order, and its relativity is that number.
        """
        return FrozenDict({name: effect.kind for name, effect in self.fitted_effects.items()})

    @cached_property
    def tables(self) -> Mapping[str, Array]:
        """Return the log relativity of each level and, behind the levels, of each fallback.

        Free effects have a reference level at 0. Credibility effects and curves have relativities whose
        exposure-weighted mean is 1.
        """
        return FrozenDict({name: effect.table for name, effect in self.fitted_effects.items()})

    @cached_property
    def std_errors(self) -> Mapping[str, Array]:
        """Return the standard error of each log relativity: 0 for the reference and for given tables.

        It is infinite for a level that no row had. Standard errors of penalised effects are posterior standard
        deviations at the fitted variances.
        """
        return FrozenDict({name: effect.std_errors for name, effect in self.fitted_effects.items()})

    @cached_property
    def references(self) -> Mapping[str, int]:
        """Return the code of the reference level of each free effect, the one with the most exposure."""
        found = {name: effect.reference for name, effect in self.fitted_effects.items()}
        return FrozenDict({name: code for name, code in found.items() if code is not None})

    @cached_property
    def exposure(self) -> Mapping[str, Array]:
        """Return the exposure of each level in the fitted rows: orders, or claims for a severity."""
        return FrozenDict({name: effect.exposure for name, effect in self.fitted_effects.items()})

    @cached_property
    def claims(self) -> Mapping[str, Array]:
        """Return the claims of each level in the fitted rows."""
        return FrozenDict({name: effect.claims for name, effect in self.fitted_effects.items()})

    @cached_property
    def amount(self) -> Mapping[str, Array]:
        """Return the freight of each level in the fitted rows, yuan."""
        return FrozenDict({name: effect.amount for name, effect in self.fitted_effects.items()})

    @cached_property
    def effective_parameters(self) -> Mapping[str, float]:
        """Return the effective number of parameters of each table: all of them, less those that its penalty holds."""
        return FrozenDict({name: effect.effective_parameters for name, effect in self.fitted_effects.items()})

    @cached_property
    def variances(self) -> Mapping[str, tuple[float, ...]]:
        """Return the variances of each penalised effect on the log scale, from the top of a tree down."""
        return FrozenDict({name: effect.variances for name, effect in self.fitted_effects.items() if effect.variances})

    @cached_property
    def nodes(self) -> Mapping[str, Nodes]:
        """Return own data, parent and credibility of the nodes of each credibility effect."""
        found = {name: effect.nodes for name, effect in self.fitted_effects.items()}
        return FrozenDict({name: nodes for name, nodes in found.items() if nodes is not None})

    # How well the fit describes its rows

    @property
    def deviance(self) -> float:
        """Return the deviance; nan for a beta-binomial and for amounts seen through a limit, which have none."""
        return self.statistics.deviance

    @property
    def null_deviance(self) -> float:
        """Return the deviance of the model with a base and nothing else; nan where the deviance is."""
        return self.statistics.null_deviance

    @property
    def log_likelihood(self) -> float:
        """Return the log likelihood of the fitted rows."""
        return self.statistics.log_likelihood

    @property
    def dispersion(self) -> float:
        """Return the Pearson statistic over residual degrees of freedom.

        Standard errors use it for amounts, and 1 for counts.
        """
        return self.statistics.dispersion

    @property
    def df_residual(self) -> float:
        """Return the number of rows less effective parameters."""
        return self.statistics.df_residual

    @property
    def n_rows(self) -> int:
        """Return the number of fitted rows."""
        return self.statistics.n_rows

    @property
    def provenance(self) -> dict[str, Any]:
        """Return what a tariff records of the fit; a deviance that is not defined is left out."""
        found = {
            "family": self.family, "engine": self.engine, "rows": self.n_rows, "deviance": self.deviance,
            "dispersion": self.dispersion,
        }  # fmt: skip
        return {name: value for name, value in found.items() if not (isinstance(value, float) and np.isnan(value))}

    @property
    def parameter_bound(self) -> str | None:
        """Return "lower" or "upper" if the estimate of `family_parameter` is at a bound of its range, otherwise None.

        At the lower bound, the fit found no overdispersion, or no correlation of lines. At the upper bound the
        likelihood may still rise, so the estimate is no maximum; the fit then gives a `FreightRiskWarning`.
        """
        low, high = PARAMETER_BOUNDS.get(self.family, (-np.inf, np.inf))
        return "lower" if self.family_parameter <= low else "upper" if self.family_parameter >= high else None

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

        with_amount = self.kind == "severity"
        found = [effect.relativities(name, with_amount=with_amount) for name, effect in self.fitted_effects.items()]
        return pd.concat(found or [pd.DataFrame()], ignore_index=True)

    @cached_property
    def effects(self) -> "pd.DataFrame":
        """Return a row for each table of the model.

        Columns: factor, effect, monotone (increasing, decreasing or empty), levels (slots with exposure),
        effective_parameters, std_deviation (of the log relativities, or of a curve's differences; of the last depth of
        a tree), variances (all depths).
        """
        import pandas as pd

        return pd.DataFrame(
            {
                "factor": name,
                "effect": effect.kind,
                "monotone": effect.monotone or "",
                "levels": effect.n_exposed,
                "effective_parameters": effect.effective_parameters,
                "std_deviation": float(np.sqrt(effect.variances[-1])) if effect.variances else np.nan,
                "variances": effect.variances,
            }
            for name, effect in self.fitted_effects.items()
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
        for effect in self.fitted_effects.values():
            total += effect.table[effect.codes(book)]
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
            raise InputError(f"without: the model has no factor '{unknown[0]}'; it has {named(self.tables, 'none')}.")
        mean = self.predict(book)
        for effect in (self.fitted_effects[name] for name in without):
            mean *= np.exp(-effect.table[effect.codes(book)])
        if book.exposure is not None:
            mean *= book.exposure
        if offset is not None:
            mean *= np.exp(_check.real_array(offset, argument="offset", length=book.n_orders))
        if self.lines is None:
            return expected_response(self.family, mean, np.empty(0))
        counter = self.fitted_effects[self.lines]
        trials = np.exp(counter.table)[counter.codes(book)]
        return expected_response(self.family, mean / trials, trials)

    def summary(self) -> str:
        """Return the fit on one screen: what was fitted, how well, and how it converged."""
        factors = ", ".join(effect.size_text(name) for name, effect in self.fitted_effects.items()) or "none"
        family, how = FAMILIES[self.family], self.statistics
        options = f", with {' and '.join(how.options)}" if how.options else ""
        parameter = family.parameter_text(self.family_parameter)
        if self.parameter_bound is not None:
            parameter += f" (the estimate is at its {self.parameter_bound} bound {self.family_parameter:g})"
        parameters, df_residual = map(_at_most_two_decimals, (self.n_rows - self.df_residual, self.df_residual))
        by = "fitted by statsmodels" if self.engine == "statsmodels" else "converged"
        lines = [
            f"{self.kind} model, {self.family}, {family.link} link, engine {self.engine}{options}",
            f"rows {self.n_rows:,}; parameters {parameters}; residual df {df_residual}",
            f"factors: {factors}",
            f"base {self.base:.6g} (intercept {self.intercept:.6f}, std error {self.intercept_std_error:.6f})",
            f"{self._deviance_text}; dispersion {self.dispersion:.4f}{parameter and '; '}{parameter}",
            f"log likelihood {self.log_likelihood:,.2f}; AIC {self.aic:,.2f}; BIC {self.bic:,.2f}",
            f"{by} in {counted(len(self.steps), 'step')}, last move {self.steps[-1].largest_move:.1e}",
        ]
        if how.n_clusters:
            lines.insert(4, f"standard errors allow for dependence within {counted(how.n_clusters, 'cluster')}")
        return "\n".join(map(shown, lines))

    @property
    def _deviance_text(self) -> str:
        """Return the deviance as the summary shows it, or why there is none."""
        if not np.isnan(self.deviance):
            return f"deviance {self.deviance:,.2f} (null {self.null_deviance:,.2f})"
        if self.statistics.n_censored:
            return f"no deviance, because {counted(self.statistics.n_censored, 'amount')} reached the limit"
        return "no deviance for this family"

    def __repr__(self) -> str:
        return self.summary()


def _at_most_two_decimals(value: float) -> str:
    """Return a number with at most two decimals; a whole number has none."""
    return f"{value:,.2f}".rstrip("0").removesuffix(".")
