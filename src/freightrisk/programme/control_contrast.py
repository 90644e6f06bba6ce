"""The ratio of ratios of two groups before and after: Poisson with merchant effects, with errors robust by merchant."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from freightrisk.errors import FitError

Reals: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]

SIDES = (("control", "before"), ("control", "after"), ("treated", "before"), ("treated", "after"))
NOTHING = 1e-12  # share of a stratum's Poisson variance below which a cluster says nothing
DOMINANT = 0.5  # share of a stratum above which a cluster's own variation is taken from all strata
CLOSE = 1e-8  # largest gradient of a solution, as a share of the events
LARGEST_CONDITION = 1e10  # of the information, beyond which it does not determine the parameters


@dataclass(frozen=True, eq=False)
class StageRows:
    """Rows of a table of two groups before and after; all arrays have shape (n,).

    Parameters
    ----------
    events, trials : float64 arrays
        Counts, with events <= trials and trials > 0.
    treated, after : bool arrays
    merchant : int64 array
        Code of the merchant; -1 in all rows without merchants.
    period : int64 array
        Rank of the period; `after` as 0 and 1 if the table has no periods.
    """

    events: Reals
    trials: Reals
    treated: Flags
    after: Flags
    merchant: Integers
    period: Integers

    def __len__(self) -> int:
        return len(self.events)

    @property
    def cell(self) -> Integers:
        """Return the number of each row's cell in `SIDES`."""
        return 2 * self.treated.astype(np.int64) + self.after

    def take(self, kept: Flags) -> "StageRows":
        """Return some of the rows."""
        return StageRows(**{name: values[kept] for name, values in vars(self).items()})

    def paired(self) -> Flags:
        """Return the rows of merchants that have trials both before and after, if each group has such a merchant."""
        count = int(self.merchant.max(initial=-1)) + 1
        seen = np.zeros((2, count + 1), dtype=bool)  # code -1 is the last column
        seen[self.after.astype(np.int64), self.merchant] = True
        kept = (seen.all(axis=0) & (np.arange(count + 1) < count))[self.merchant]
        each = all((kept & (self.treated == side) & (self.events > 0)).any() for side in (False, True))
        return kept if each else np.zeros(len(self), dtype=bool)


@dataclass(frozen=True)
class Contrast:
    """An estimate of the log ratio of ratios.

    Parameters
    ----------
    log_effect, variance : float
    poisson_variance : float
        Variance of the estimate if the counts were Poisson.
    degrees_of_freedom : float
        Of the estimated variance; infinite if the variance is that of Poisson counts.
    lone : tuple of str
        Groups with a single merchant or row, which does not show how merchants vary.
    """

    log_effect: float
    variance: float
    poisson_variance: float
    degrees_of_freedom: float
    lone: tuple[str, ...]


def contrast(rows: StageRows, *, with_merchants: bool) -> Contrast:
    """Return the change of the treated rows' rate over that of the control rows, as a log.

    Parameters
    ----------
    rows : StageRows
        Each of the four cells has events.
    with_merchants : bool
        Whether each merchant has its own rate, and each period its own factor. Otherwise each cell has one rate.

    Raises
    ------
    FitError
        If a cell has no events, or the periods leave the effect open.
    """
    empty = [k for k in range(4) if not rows.events[rows.cell == k].any()]
    if empty:
        group, side = SIDES[empty[0]]
        raise FitError(
            f"the {group} rows {side} the control have no events, so their rate has no logarithm; give longer periods "
            "or more merchants, or measure a stage of the funnel that has more events."
        )
    unit = rows.merchant if with_merchants else rows.treated.astype(np.int64)
    time = rows.period if with_merchants else rows.after.astype(np.int64)
    # A unit or a period without events has the rate 0 in this model, and says nothing about the effect.
    kept = (np.bincount(unit, rows.events) > 0)[unit] & (np.bincount(time, rows.events) > 0)[time]
    rows, unit, time = rows.take(kept), _dense(unit[kept]), _dense(time[kept])
    model = _Model.of(rows, unit, time)
    solution = model.solved()
    influence, poisson, binomial = model.influence(solution)
    if with_merchants:
        cluster, stratum = unit, rows.treated.astype(np.int64)
        names: tuple[str, ...] = ("control", "treated")
    else:
        # Before and after count as independent: rows of one merchant move together, so the variance is not too small.
        cluster = np.arange(len(rows)) if rows.merchant[0] < 0 else _dense(4 * rows.merchant + rows.cell)
        stratum, names = rows.cell, tuple(" ".join(side) for side in SIDES)
    sums = [np.bincount(cluster, values) for values in (influence, poisson, binomial)]
    home = np.zeros(len(sums[0]), dtype=np.int64)
    home[cluster] = stratum
    parts = [_Stratum.of(name, *(one[home == k] for one in sums)) for k, name in enumerate(names)]
    variance, freedom = _variance(parts)
    lone = tuple(part.name for part in parts if part.is_lone)
    return Contrast(float(solution[-1]), variance, float(poisson.sum()), freedom, lone)


def _dense(codes: Integers) -> Integers:
    """Return codes as 0, 1, ... in their order."""
    return np.unique(codes, return_inverse=True)[1].astype(np.int64)


@dataclass(frozen=True, eq=False)
class _Model:
    """The likelihood of the events given the sum of each unit's events (docs/method.md, equation 48).

    It is the Poisson likelihood in which each unit's own rate stands at its maximum. The parameters are the log
    factors of the periods after the first, and the log effect.
    """

    events: Reals
    trials: Reals
    unit: Integers
    total: Reals  # events of each unit
    design: Any  # sparse, rows by parameters
    units: Any  # sparse, units by rows
    start: Reals  # parameters near the solution: log rates of the periods, and no effect

    @classmethod
    def of(cls, rows: StageRows, unit: Integers, time: Integers) -> "_Model":
        from scipy.sparse import csr_array, hstack

        n, row = len(rows), np.arange(len(rows))
        times = csr_array((np.ones(n), (row, time)), shape=(n, int(time.max()) + 1))[:, 1:]
        effect = csr_array((rows.treated & rows.after).astype(np.float64)[:, None])
        units = csr_array((np.ones(n), (unit, row)), shape=(int(unit.max()) + 1, n))
        rates = np.log(np.bincount(time, rows.events) / np.bincount(time, rows.trials))
        start = np.r_[rates[1:] - rates[0], 0.0]
        design = hstack([times, effect], format="csr")
        return cls(rows.events, rows.trials, unit, units @ rows.events, design, units, start)

    def means(self, parameters: Reals) -> tuple[Reals, float]:
        """Return the mean of each row, and the log likelihood."""
        log_rate = self.design @ parameters
        top = np.full(len(self.total), -np.inf)
        np.maximum.at(top, self.unit, log_rate)
        weight = self.trials * np.exp(log_rate - top[self.unit])
        share = weight / (self.units @ weight)[self.unit]
        some = self.events > 0
        with np.errstate(divide="ignore"):
            likelihood = float(self.events[some] @ np.log(share[some]))
        return self.total[self.unit] * share, likelihood

    def information(self, mean: Reals) -> Reals:
        """Return the information of the parameters."""
        weighted = self.design.multiply(mean[:, None]).tocsr()
        by_unit = self.units @ weighted
        rest = by_unit.T @ by_unit.multiply(1.0 / self.total[:, None]).tocsr()
        return np.asarray((self.design.T @ weighted - rest).toarray())

    def solved(self) -> Reals:
        """Return the parameters of the largest likelihood, which is concave in them."""
        from scipy.optimize import minimize

        size = float(self.total.sum())
        found = minimize(
            lambda at: -self.means(at)[1] / size,
            self.start,
            jac=lambda at: self.design.T @ (self.means(at)[0] - self.events) / size,
            hess=lambda at: self.information(self.means(at)[0]) / size,
            method="trust-exact",
            options={"gtol": CLOSE},
        )
        parameters = np.asarray(found.x)
        step = np.full(1, np.inf)
        for _ in range(2):  # the last digits
            mean, _ = self.means(parameters)
            information = self.information(mean)
            scale = np.sqrt(np.maximum(information.diagonal(), 1e-300))
            # Without a unit length of each parameter, a rare period would look like an open one.
            values = np.linalg.eigvalsh(information / np.outer(scale, scale))
            if not values[0] * LARGEST_CONDITION > values[-1]:
                break
            step = np.linalg.solve(information, self.design.T @ (self.events - mean))
            parameters = parameters + step
        if not np.abs(step).max() <= 1e-6:
            raise FitError(
                "the events leave the effect open, because in some periods only one of the groups has events; leave "
                "period= out, or join short periods."
            )
        return parameters

    def influence(self, parameters: Reals) -> tuple[Reals, Reals, Reals]:
        """Return each row's influence on the log effect, and its variance for Poisson and for binomial events."""
        mean, _ = self.means(parameters)
        target = np.zeros(len(parameters))
        target[-1] = 1.0
        weight = self.design @ np.linalg.solve(self.information(mean), target)
        weight = weight - (self.units @ (mean * weight) / self.total)[self.unit]
        poisson = weight**2 * mean
        return weight * (self.events - mean), poisson, poisson * np.clip(1.0 - mean / self.trials, 0.0, 1.0)


@dataclass(frozen=True, eq=False)
class _Stratum:
    """The clusters whose deviations sum to zero: their influence, its variance by family, and their leverage."""

    name: str
    influence: Reals
    poisson: Reals
    binomial: Reals

    @classmethod
    def of(cls, name: str, influence: Reals, poisson: Reals, binomial: Reals) -> "_Stratum":
        # A merchant whose periods no other merchant has says nothing about the effect; rounding leaves it a little.
        some = poisson > NOTHING * poisson.sum()
        return cls(name, influence[some], poisson[some], binomial[some])

    @property
    def is_lone(self) -> bool:
        return len(self.influence) < 2

    @property
    def leverage(self) -> Reals:
        return np.asarray(self.poisson / self.poisson.sum())

    def excess(self) -> tuple[float, float]:
        """Return the sum of squared influences beyond Poisson, and its expectation for a between-variance of 1."""
        h = self.leverage
        beyond = float(self.influence @ self.influence - self.poisson @ (1.0 - h))
        return beyond, float(h**2 @ (1.0 - 2.0 * h + h @ h))

    def variance(self, between: float) -> tuple[float, float]:
        """Return the variance of the stratum's sum and its degrees of freedom (docs/method.md, equation 50)."""
        h = self.leverage
        w = self.poisson + between * h**2
        total = w.sum()
        # The deviations are w-noise less h times its sum, so a cluster's square is too small by this factor.
        k = w / (w * (1.0 - 2.0 * h) + h**2 * total)
        a, b, c = k @ h**2, k @ w**2, k @ (h * w)
        both = 2.0 * a * b + total**2 * a**2 + 2.0 * c**2 - 4.0 * total * a * c
        same = k**2 @ (2.0 * h * w - total * h**2) ** 2
        freedom = total**2 / (both - same + float(w @ w))
        # The influence of a cluster with more than half of its stratum is small, however much it varies.
        least = float(total) if h.max() > DOMINANT else float(self.binomial.sum())
        return max(float(k @ self.influence**2), least), float(freedom)


def _variance(parts: list[_Stratum]) -> tuple[float, float]:
    """Return the variance of the log effect and its degrees of freedom, over all strata."""
    many = [part for part in parts if not part.is_lone]
    beyond, unit = np.sum([part.excess() for part in many], axis=0) if many else (0.0, 0.0)
    between = max(0.0, float(beyond / unit)) if unit > 0.0 else 0.0
    found = [part.variance(between) for part in many]
    # A lone cluster shows nothing of its own variation, so it has the variation that the other strata show.
    freedom = sum(one for _, one in found) if found else np.inf
    found += [(float(part.poisson.sum()) + between, freedom) for part in parts if part.is_lone]
    variances, freedoms = np.array(found).T
    total, spread = float(variances.sum()), float(np.sum(variances**2 / freedoms))
    return total, total**2 / spread if spread > 0.0 else np.inf
