"""A fit as data: its tables, errors and statistics, and the properties that follow from them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from freightrisk._frozen import FrozenDict
from freightrisk._intake import DEFAULT_CLOCK
from freightrisk._types import Array
from freightrisk.book.codings import Coding, CrossCoding
from freightrisk.models.families import PARAMETER_BOUNDS
from freightrisk.models.fitted_effect import FitStatistics, FittedEffect, Nodes
from freightrisk.models.objective import Step
from freightrisk.models.posterior import Posterior


@dataclass(frozen=True, eq=False, repr=False)
class FitRecord:
    """All data of a fitted model. `FittedModel` has the same fields and describes them."""

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
    joint: Posterior | Callable[[], Posterior]
    family_parameter: float = 0.0
    clock: str = DEFAULT_CLOCK
    off_balance: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "fitted_effects", FrozenDict(dict(self.fitted_effects)))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"joint": self.posterior}  # a copy needs no part of the solution that it came from

    @cached_property
    def posterior(self) -> Posterior:
        """Return the joint covariance of intercept and all levels, for the standard errors of predictions.

        It is computed when it is first asked for, because for many leaves it takes as long as a few steps of the fit.
        """
        found = self.joint() if callable(self.joint) else self.joint
        object.__setattr__(self, "joint", found)
        return found

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
        """Return the log likelihood; nan for amounts that equal their fitted means, because they have no density."""
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
    def unsettled(self) -> tuple[str, ...]:
        """Return the effects whose variances are held although the restricted likelihood asks for a change."""
        return tuple(name for name, effect in self.fitted_effects.items() if "unsettled" in effect.doubts)

    @property
    def thin(self) -> tuple[str, ...]:
        """Return the effects whose variances come from thin leaves of counts, and are too small."""
        return tuple(name for name, effect in self.fitted_effects.items() if "thin" in effect.doubts)

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

    @property
    def lines(self) -> str | None:
        """Return the factor that counts an order's lines, None where the model is not of lines."""
        return next((name for name, kind in self.kinds.items() if kind == "lines"), None)
