"""Fraud loads from audited claims: the share of paid claims that is undetected fraud, with credibility by segment."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from freightrisk import _check
from freightrisk._columns import JoinedColumns, read
from freightrisk._shown import counted
from freightrisk._types import Array
from freightrisk.book.by_level import ByLevel
from freightrisk.book.joined import LARGEST, SMALLEST
from freightrisk.errors import FitError, InputError

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    *("audited", "fraud", "effective_audits", "observed_share", "credibility_z"),
    *("undetected_share", "share_std_error", "fraud_load", "load_std_error"),
)
MOST_AUDITS = 2.0**53  # a double holds every whole number up to it exactly
SMALLEST_PRIOR, LARGEST_PRIOR = 1e-6, 1e9


@dataclass(frozen=True, eq=False, repr=False)
class FraudLoads:
    """Fraud loads by segment, from audited claims.

    Parameters
    ----------
    by : str
        Column of the segments.
    collective : float
        Share of paid claims that is undetected fraud in a segment of which nothing is known.
    prior_audits : float
        Audited claims at which a segment has a credibility of 1/2; infinite if the audits show no difference between
        segments.
    table : pandas.DataFrame
        One row for each segment: the segment, audited and fraud (claims), effective_audits (equal to audited if all
        weights of the segment are equal), observed_share, credibility_z, undetected_share and share_std_error,
        fraud_load and load_std_error.
    """

    by: str
    collective: float
    prior_audits: float
    table: "pd.DataFrame"

    @property
    def collective_load(self) -> float:
        """Return the fraud load of a segment of which nothing is known."""
        return self.collective / (1.0 - self.collective)

    def by_level(self, factor: str | None = None, *, default: float | None = None) -> ByLevel:
        """Return the loads for `Loadings(fraud_load=)`.

        Parameters
        ----------
        factor : str, optional
            Rating factor whose levels, or parents of levels, are the segments; by default the column of the segments.
        default : float, optional
            Load of levels without audits; the load of the collective by default.
        """
        loads = dict(zip(self.table[self.by].tolist(), self.table["fraud_load"].tolist(), strict=True))
        rest = self.collective_load if default is None else default
        return ByLevel(self.by if factor is None else factor, loads, default=rest)

    def __repr__(self) -> str:
        audited, fraud = int(self.table["audited"].sum()), int(self.table["fraud"].sum())
        differ = f"half credibility at {self.prior_audits:,.0f} audits"
        return (
            f"FraudLoads: {fraud:,} of {audited:,} audited claims are fraud; collective {self.collective:.4g}, "
            f"{'no difference' if np.isinf(self.prior_audits) else differ}; {counted(len(self.table), 'segment')}"
        )


def fraud_loads(
    audits: Any, *, by: str, audited: str | None = "audited", fraud: str = "fraud", weight: str | None = None
) -> FraudLoads:
    """Return fraud loads by segment from a random sample of paid claims that were audited.

    Parameters
    ----------
    audits : pandas, polars or pyarrow table, or path of a Parquet file
        One row for each group of audited claims, such as a segment and month, or for each audited claim.
    by : str
        Column of the segment.
    audited : str or None
        Column with the number of audited claims of the row, 0 or more; None if each row is one claim.
    fraud : str
        Column with the number of these claims that are fraud.
    weight : str, optional
        Column of the sampling weight: the number of paid claims for which each audited claim of the row stands, which
        is one over its probability of being audited. Needed if audits are targeted.

    Returns
    -------
    FraudLoads

    Raises
    ------
    InputError
        If columns or segments are missing, or counts or weights are outside their range.
    FitError
        If no audited claim is fraud, or every one, so that no load follows.

    Notes
    -----
    The share of a segment is ``Z x observed share + (1 - Z) x collective`` with ``Z = n / (n + K)``. This is the exact
    posterior mean if the shares of segments follow a beta distribution. Its mean and K are the maximum of the
    beta-binomial likelihood. The load is ``share / (1 - share)`` (docs/method.md, equations 22a to 22d).

    The standard errors contain the error of the collective, but not the error of K. The audits are taken to find every
    fraud that they look at.

    Examples
    --------
    >>> import pandas as pd
    >>> audits = pd.DataFrame({"category": ["phones", "shoes", "toys"], "audited": [900, 1500, 60],
    ...                        "fraud": [36, 15, 2]})
    >>> found = fraud_loads(audits, by="category")
    >>> found.table[["category", "credibility_z", "fraud_load"]].round(4).values.tolist()
    [['phones', 0.8843, 0.0399], ['shoes', 0.9272, 0.0113], ['toys', 0.3375, 0.0293]]
    >>> found.by_level().values["phones"] > found.by_level().default
    True
    """
    import pandas as pd

    segments, rows, counts, found, weights = _audited(audits, by, audited, fraud, weight)
    n, k = (np.bincount(rows, values, len(segments)) for values in (counts, found))
    represented = np.bincount(rows, weights * counts, len(segments))
    # Kish's effective number, equation 22d; it is the number of audits if the weights of a segment are equal.
    squares = np.bincount(rows, weights**2 * counts, len(segments))
    effective = np.divide(represented**2, squares, out=np.zeros_like(n, dtype=np.float64), where=squares > 0.0)
    positive = np.bincount(rows, weights * found, len(segments))
    observed = np.divide(positive, represented, out=np.full(len(segments), np.nan), where=represented > 0.0)
    mean, prior = _collective(effective, effective * np.where(effective > 0.0, observed, 0.0))
    share, z, error = _shrunk(effective, observed, mean, prior)
    values = (n.astype(np.int64), k.astype(np.int64), effective, observed, z)
    loads = (share, error, share / (1.0 - share), error / (1.0 - share) ** 2)
    table = pd.DataFrame({by: segments, **dict(zip(COLUMNS, (*values, *loads), strict=True))})
    return FraudLoads(by, mean, prior, table)


def _audited(
    audits: Any, by: str, audited: str | None, fraud: str, weight: str | None
) -> tuple[list[Any], Any, Array, Array, Array]:
    """Return the segments, and for each row the number of its segment, audited claims, fraud found and weight."""
    named = {"by": by, "audited": audited, "fraud": fraud, "weight": weight}
    wanted = [_check.label(name, argument=argument) for argument, name in named.items() if name is not None]
    columns = JoinedColumns(read(audits, wanted, argument="audits"))
    _check.columns_present(wanted, columns.names, argument="audits")
    if by in COLUMNS:
        raise InputError(f"by is '{by}', a column of the result; rename the column of the segments.")
    codes, segments = columns.levels(by)
    if not len(codes):
        raise InputError("audits has no rows; give the audited claims of at least one segment.")
    _check.refuse_rows(codes < 0, f"column '{by}' is missing in {{rows}}; name the segment.")
    used, codes = np.unique(np.asarray(codes), return_inverse=True)  # a category may have levels without rows
    segments = [segments[code] for code in used.tolist()]
    counts = np.ones(len(codes)) if audited is None else columns.real(audited)
    found = columns.real(fraud)
    for name, values in ((audited, counts), (fraud, found)):
        _check.refuse_rows(
            ~((values >= 0.0) & (values <= MOST_AUDITS) & (values == np.floor(values))),
            f"column '{name}' is no whole number of claims in {{rows}}; give 0 or more claims.",
        )
    if counts.sum() > MOST_AUDITS:
        raise InputError(f"audits come to {counts.sum():.3g} claims, more than can be counted; give fewer.")
    _check.refuse_rows(
        found > counts, f"column '{fraud}' is above the number of audited claims in {{rows}}; correct these."
    )
    weights = np.ones(len(codes)) if weight is None else columns.real(weight)
    if weight is not None:
        _check.in_interval(weights, column=weight, low=SMALLEST, high=LARGEST)
    return list(segments), codes, counts, found, weights


def _collective(n: Array, k: Array) -> tuple[float, float]:
    """Return mean and prior audits of the beta distribution with the largest beta-binomial likelihood.

    The likelihood is concave in the mean for given prior audits (docs/method.md, after equation 22b).
    """
    if not k.sum() > 0.0:
        bound = -np.expm1(np.log(0.05) / max(n.sum(), 1.0))
        raise FitError(
            f"no fraud among {n.sum():,.0f} audited claims; their share is below {bound:.2g} with 95 % confidence. "
            "Audit more claims, or assume a load."
        )
    if not k.sum() < n.sum():
        raise FitError("every audited claim is fraud, so no load follows; audit a random sample of paid claims.")
    pooled = float(k.sum() / n.sum())
    # The slope of the likelihood at equal shares, by 1 / prior audits. Without a slope upwards, segments do not differ.
    pairs = k * (k - 1.0) / pooled + (n - k) * (n - k - 1.0) / (1.0 - pooled) - n * (n - 1.0)
    if not pairs.sum() > 0.0:
        return pooled, np.inf

    def slope(log_prior: float) -> float:
        prior = float(np.exp(log_prior))
        return _slopes(n, k, _best_mean(n, k, prior), prior)[1]

    low, high = np.log(SMALLEST_PRIOR), np.log(LARGEST_PRIOR)
    ends = np.linspace(low, high, 70)
    falling = next((end for end in ends[1:] if slope(end) <= 0.0), None)
    if falling is None:
        return pooled, np.inf
    before = float(falling - (ends[1] - ends[0]))
    prior = float(np.exp(_root(slope, before, float(falling)) if slope(before) > 0.0 else before))
    return _best_mean(n, k, prior), prior


def _best_mean(n: Array, k: Array, prior: float) -> float:
    """Return the mean with the largest likelihood for given prior audits."""
    return _root(lambda mean: _slopes(n, k, mean, prior)[0], 1e-12, 1.0 - 1e-12)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    from scipy.optimize import brentq

    return float(brentq(function, low, high, xtol=1e-14, rtol=1e-14))


def _slopes(n: Array, k: Array, mean: float, prior: float) -> tuple[float, float]:
    """Return the slopes of the beta-binomial log likelihood by the mean, and by the log of the prior audits."""
    from scipy.special import digamma

    fraud, genuine = mean * prior, (1.0 - mean) * prior
    both = digamma(prior) - digamma(prior + n)
    of_fraud = float(np.sum(digamma(k + fraud) - digamma(fraud) + both))
    of_genuine = float(np.sum(digamma(n - k + genuine) - digamma(genuine) + both))
    return prior * (of_fraud - of_genuine), fraud * of_fraud + genuine * of_genuine


def _shrunk(n: Array, observed: Array, mean: float, prior: float) -> tuple[Array, Array, Array]:
    """Return share, credibility and standard error of each segment (docs/method.md, equations 22b and 22c)."""
    spread = mean * (1.0 - mean)
    z = n / (n + prior)
    share = np.where(n > 0.0, z * np.where(n > 0.0, observed, 0.0) + (1.0 - z) * mean, mean)
    if np.isinf(prior):
        within, precision = np.zeros(len(n)), n / spread
    else:
        within = share * (1.0 - share) / (n + prior + 1.0)
        precision = n * (prior + 1.0) / (spread * (n + prior))
    return share, z, np.sqrt(within + (1.0 - z) ** 2 / precision.sum())
