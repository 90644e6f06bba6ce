"""Several lines in one order: the number of returned lines, if the lines of an order tend to come back together."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from freightrisk import _check
from freightrisk._types import Array
from freightrisk.errors import FitError, InputError

if TYPE_CHECKING:
    import pandas as pd

INDEPENDENT = 1e-9  # smaller correlations count as 0, because differences of log beta functions lose their digits
LARGEST_LOGIT = 18.0  # keeps p and r away from 0 and 1 by 1.5e-8
LARGEST_SLOPE = 1e-6  # of the log likelihood for each order, at a point that counts as its maximum
LONGEST_ORDER = 10_000  # largest number of lines of an order; the recursion takes one step for each line


@dataclass(frozen=True, eq=False, repr=False)
class LineReturns:
    """Returned lines of an order as beta-binomial counts.

    Parameters
    ----------
    probability : float
        Share of lines that come back, over all orders.
    correlation : float
        Correlation of two lines of one order; 0 for independent lines (binomial).
    by_size : dict of int to float
        Probability for each number of lines if fitted with `by_size`, else empty.
    log_likelihood, independent_log_likelihood : float
        Log likelihood of the fit, and of the best fit without correlation.
    table : pandas.DataFrame
        One row for each number of lines: orders, and the shares none, partial and complete. The columns fitted_* are
        the fitted shares, and independent_* are the fitted shares of independent lines.
    """

    probability: float
    correlation: float
    by_size: dict[int, float]
    log_likelihood: float
    independent_log_likelihood: float
    table: "pd.DataFrame"

    def __repr__(self) -> str:
        gain = 2.0 * (self.log_likelihood - self.independent_log_likelihood)
        return (
            f"LineReturns: probability {self.probability:.4f}, correlation {self.correlation:.4f}; "
            f"likelihood ratio to independent lines {gain:,.1f}"
        )

    def expected_claims(self, lines: ArrayLike, *, max_claims: int | None) -> Array:
        """Return E[min(N, K)] for orders with the given numbers of lines; see `expected_line_claims`."""
        n = np.asarray(lines)
        p = np.array([self.by_size.get(int(size), self.probability) for size in n.ravel()]).reshape(n.shape)
        return expected_line_claims(n, p, correlation=self.correlation, max_claims=max_claims)


def expected_line_claims(
    lines: ArrayLike,
    probability: ArrayLike,
    *,
    correlation: float = 0.0,
    max_claims: int | None,
    merge_share: float = 0.0,
) -> Array:
    """Return E[min(N, K)] of binomial or beta-binomial counts N of an order's returned lines, in claims or parcels.

    Parameters
    ----------
    lines : array of int, shape (n,)
        Lines of each order, from 1 to 10,000.
    probability : float or array, shape (n,)
        Probability that a line comes back, in [0, 1].
    correlation : float
        Correlation of two lines of one order, in [0, 1); 0 for independent lines.
    max_claims : int or None
        Largest number of claims paid, K; None for no limit.
    merge_share : float
        Share g of an order's further claims that are picked up with the first claim, in [0, 1]. If g is above 0, the
        result counts parcels.

    Returns
    -------
    float64 array, shape (n,)
        Claims (or parcels) an order.

    Raises
    ------
    InputError
        If an argument is outside its range, or the shapes differ.

    Notes
    -----
    The result is the sum of P(N >= k) over k = 1 .. K. The probabilities follow from P(N = 0) by the ratios of
    neighbouring probabilities. With correlation r, the line probability varies between orders. It has a beta
    distribution with parameters p s and (1 - p) s, s = 1 / r - 1 (docs/method.md, equation 38). Merged pickup is
    equation 25 there.

    References
    ----------
    Johnson, Kemp and Kotz 2005, section 6.9.2.

    Examples
    --------
    >>> from freightrisk.lines import expected_line_claims
    >>> expected_line_claims([1, 2, 3], 0.5, max_claims=1).tolist()
    [0.5, 0.75, 0.875]
    """
    try:
        n = np.asarray(lines)
    except Exception:  # values may be of any class, and their errors too
        n = np.empty(())
    if n.dtype.kind not in "iu" or (n < 1).any() or (n > LONGEST_ORDER).any():
        raise InputError(f"lines must be whole numbers from 1 to {LONGEST_ORDER:,}.")
    p = _check.numbers(probability, argument="probability")
    if p.shape not in ((), n.shape):
        raise InputError(f"probability has shape {p.shape}; give one value, or one for each of {n.size:,} orders.")
    p = np.broadcast_to(p, n.shape)
    if not np.all((p >= 0.0) & (p <= 1.0)):
        raise InputError("probability is outside [0, 1]; give the share of lines that come back.")
    correlation = _check.number(correlation, argument="correlation", low=0.0, high=1.0 - 1e-9)
    merged = _check.number(merge_share, argument="merge_share", low=0.0, high=1.0)
    most = int(n.max(initial=1))
    if max_claims is not None:
        max_claims = _check.whole(max_claims, argument="max_claims", low=1, high=10_000)
    certain = p >= 1.0
    paid = n if max_claims is None else np.minimum(n, max_claims)
    q, apart = np.where(certain, 0.5, p), 1.0 - correlation  # 0.5 stands in for p = 1, whose log of 1 - p is infinite
    log_none = np.zeros(n.shape)
    for k in range(most):
        log_none += np.where(k < n, np.log1p(-q * apart / (apart + k * correlation)), 0.0)
    any_claim = -np.expm1(log_none)  # keeps its digits if claims are rare
    total, at_least, chance = any_claim, any_claim, np.exp(log_none)
    for k in range(1, most if max_claims is None else min(most, max_claims)):
        stay = (1.0 - q) * apart + np.maximum(n - k, 0) * correlation
        chance = np.where(k <= n, chance * (n - k + 1) / k * (q * apart + (k - 1) * correlation) / stay, 0.0)
        at_least = np.maximum(at_least - chance, 0.0)
        total = total + at_least
    total = n * q if max_claims is None else total  # without a limit, E[N] is n p
    parcels = any_claim + (1.0 - merged) * (total - any_claim)
    return np.asarray(np.where(certain, 1.0 + (1.0 - merged) * (paid - 1.0), parcels))


def fit_line_returns(
    orders: "pd.DataFrame",
    *,
    lines: str = "n_lines",
    none: str = "none",
    partial: str = "partial",
    complete: str = "complete",
    by_size: bool = False,
) -> LineReturns:
    """Return the beta-binomial fit to counts of orders with none, some or all of their lines returned.

    Parameters
    ----------
    orders : pandas.DataFrame
        One row for each number of lines, with counts of orders.
    lines, none, partial, complete : str
        Columns: the number of lines, and the counts of orders with none, some but not all, and all lines returned.
    by_size : bool
        Whether to fit a probability for each number of lines, with one correlation; by default one probability for all.

    Returns
    -------
    LineReturns

    Raises
    ------
    InputError
        If columns are missing, counts are negative, or a single line was partially returned.
    FitError
        If no order has two lines or more, or the fit does not converge.

    Notes
    -----
    The fit maximises the likelihood with P(none) = B(a, b + n) / B(a, b), P(complete) = B(a + n, b) / B(a, b),
    a = p s and b = (1 - p) s. P(partial) is the remaining probability. The correlation of two lines is 1 / (s + 1)
    (docs/method.md, equation 38).

    Examples
    --------
    >>> import pandas as pd
    >>> from freightrisk.lines import fit_line_returns
    >>> orders = pd.DataFrame({"n_lines": [1, 2], "none": [60, 50], "partial": [0, 20], "complete": [40, 30]})
    >>> fit_line_returns(orders)
    LineReturns: probability 0.4000, correlation 0.5833; likelihood ratio to independent lines 35.5
    """
    from scipy.optimize import minimize

    wanted = [lines, none, partial, complete]
    by_size = _check.flag(by_size, argument="by_size")
    present = list(map(str, _check.frame(orders, argument="orders").columns))
    _check.columns_present(wanted, present, argument="orders")
    n, seen = _line_counts(orders, wanted)
    sizes = len(n) if by_size else 1
    total = seen.sum()

    def unpack(parameters: Array) -> tuple[Array, float]:
        p, r = np.split(1.0 / (1.0 + np.exp(-np.clip(parameters, -LARGEST_LOGIT, LARGEST_LOGIT))), [sizes])
        return np.broadcast_to(p, n.shape), float(r[0]) if len(r) else 0.0

    def loss(parameters: Array) -> tuple[float, Array]:
        p, r = unpack(parameters)
        chances = np.maximum(_split(n, p, r), 1e-300)
        by_p, by_r = (((seen / chances) * slope).sum(axis=1) for slope in _slopes(n, p, r))
        inside = np.abs(parameters) < LARGEST_LOGIT
        by_p = by_p * p * (1.0 - p)
        slopes = [by_p if sizes == len(n) else by_p.sum(keepdims=True)]
        slopes += [np.array([by_r.sum() * r * (1.0 - r)])] if len(parameters) > sizes else []
        value = -float((seen * np.log(chances)).sum())
        return value / float(total), -np.concatenate(slopes) * inside / float(total)

    # The start assumes that half of a partial order's lines came back.
    share = float((seen[:, 1] * n / 2.0 + seen[:, 2] * n).sum() / (seen.sum(axis=1) * n).sum())
    middle = np.full(sizes, np.log(max(share, 1e-6) / max(1.0 - share, 1e-6)))
    alone = minimize(loss, middle, jac=True, method="BFGS", options={"gtol": 1e-9})
    joint = minimize(loss, np.append(alone.x, -1.0), jac=True, method="BFGS", options={"gtol": 1e-9})
    if not np.abs(alone.jac).max() < LARGEST_SLOPE or not joint.fun <= alone.fun + LARGEST_SLOPE:
        raise FitError(f"the fit of returned lines did not converge ({joint.message}); merge sizes with few orders.")
    p, r = unpack(joint.x)
    fitted, independent = _split(n, p, r), _split(n, *unpack(alone.x))
    mean = float((p * n * seen.sum(axis=1)).sum() / (n * seen.sum(axis=1)).sum())
    each = dict(zip(n.tolist(), p.tolist(), strict=True)) if by_size else {}
    table = _table(n, seen, fitted, independent)
    return LineReturns(mean, r, each, -float(joint.fun) * float(total), -float(alone.fun) * float(total), table)


def _line_counts(orders: "pd.DataFrame", wanted: list[str]) -> tuple[NDArray[Any], Array]:
    """Return the number of lines and the counts of none, partial and complete, for the rows that have orders."""
    lines, _, partial, _ = wanted
    counts = np.stack([_counts(orders, name) for name in wanted], axis=1)
    n, seen = counts[:, 0].astype(np.int64), counts[:, 1:]
    _check.refuse_rows(n < 1, f"orders: '{lines}' is below 1 in {{rows}}; an order has at least one line.")
    _check.refuse_rows(
        (n == 1) & (seen[:, 1] > 0),
        f"orders: '{partial}' is above 0 for a single line in {{rows}}; count it as none or complete.",
    )
    kept = seen.sum(axis=1) > 0
    if not (n[kept] > 1).any():
        raise FitError(
            "no order has two lines or more, so the correlation of lines is not determined; give orders with several "
            "lines."
        )
    return n[kept], seen[kept]


def _counts(orders: "pd.DataFrame", name: str) -> Array:
    values = _check.real_array(orders[name].to_numpy(), argument=f"orders column '{name}'", length=len(orders))
    _check.refuse_rows(values < 0.0, f"orders: '{name}' is negative in {{rows}}; counts are zero or more.")
    return values


def _split(n: Array, p: Array, correlation: float) -> Array:
    """Return the probabilities of none, partial and complete, shape (sizes, 3)."""
    from scipy.special import betaln

    if correlation < INDEPENDENT:
        nothing, all_ = (1.0 - p) ** n, p**n
    else:
        size = 1.0 / correlation - 1.0
        a, b = p * size, (1.0 - p) * size
        nothing, all_ = np.exp(betaln(a, b + n) - betaln(a, b)), np.exp(betaln(a + n, b) - betaln(a, b))
    return np.stack([nothing, np.maximum(1.0 - nothing - all_, 0.0), all_], axis=1)


def _slopes(n: Array, p: Array, correlation: float) -> tuple[Array, Array]:
    """Return the derivatives of `_split` by p and by the correlation (0 if lines are practically independent)."""
    from scipy.special import digamma

    none, _, complete = _split(n, p, correlation).T
    if correlation < INDEPENDENT:
        by_p = -n * (1.0 - p) ** (n - 1), n * p ** (n - 1)
        by_r = np.zeros_like(p), np.zeros_like(p)
    else:
        size = 1.0 / correlation - 1.0
        a, b = p * size, (1.0 - p) * size
        # By the chain rule: da/dp = size, db/dp = -size, and dsize/dr = -1 / r^2.
        both = digamma(size) - digamma(size + n)
        by_a = none * both, complete * (digamma(a + n) - digamma(a) + both)
        by_b = none * (digamma(b + n) - digamma(b) + both), complete * both
        by_p = tuple(size * (first - second) for first, second in zip(by_a, by_b, strict=True))
        by_r = tuple(
            -(p * first + (1.0 - p) * second) / correlation**2 for first, second in zip(by_a, by_b, strict=True)
        )
    first, second = (np.stack([part[0], -part[0] - part[1], part[1]], axis=1) for part in (by_p, by_r))
    return first, second


def _table(n: Array, seen: Array, fitted: Array, independent: Array) -> "pd.DataFrame":
    import pandas as pd

    kinds = ("none", "partial", "complete")
    columns = {"n_lines": n, "orders": seen.sum(axis=1)}
    shares = seen / seen.sum(axis=1, keepdims=True)
    for prefix, values in (("", shares), ("fitted_", fitted), ("independent_", independent)):
        columns |= {f"{prefix}{kind}": values[:, k] for k, kind in enumerate(kinds)}
    return pd.DataFrame(columns)
