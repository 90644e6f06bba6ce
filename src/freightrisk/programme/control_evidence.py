"""The effect of a loss control, from a table of merchants before and after with a control group."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._columns import Table, read
from freightrisk._shown import counted, repr_of
from freightrisk.errors import FitError, InputError
from freightrisk.programme.control_contrast import SIDES, Contrast, Flags, Integers, StageRows, contrast
from freightrisk.tariff.loss_control import LossControl

MOST_UNPAIRED = 0.2  # share of the events that may be left out without a warning
DOUBTFUL = 2.0  # standard errors of the trend before


@dataclass(frozen=True)
class ControlCell:
    """The rows of one group before or after, as `control_effect` used them.

    Parameters
    ----------
    rows : int
    merchants : int or None
        None if the table names no merchants.
    events, trials : float
    """

    rows: int
    merchants: int | None
    events: float
    trials: float

    @property
    def rate(self) -> float:
        """Return events divided by trials."""
        return self.events / self.trials


@dataclass(frozen=True)
class ControlEffect:
    """The effect of a loss control on the rate of one stage, with its error and the part of it that is believed.

    Parameters
    ----------
    effect : float
        Relative change of the rate where the control is used: -0.13 if 13 % fewer requests become returns.
    standard_error : float
        Of the log effect, log(1 + effect).
    low, high : float
        Ends of the confidence interval of `effect`.
    degrees_of_freedom : float
        Of the standard error; the interval uses Student's distribution.
    overdispersion : float
        Variance of the log effect, divided by its variance if the counts were Poisson.
    pre_trend, pre_trend_error : float or None
        The same estimate with the later half of the periods before as if it were after, and the standard error of its
        log. A pre-trend far from 0 says that the groups did not move alike. None with less than two periods before, or
        if a half has no events in one of the groups.
    cells : tuple of ControlCell
        Control before, control after, treated before, treated after.
    with_merchants : bool
        Whether each merchant is compared with itself.
    unpaired : int
        Merchants that were left out, because they have no trials before or no trials after.
    level : float
        Of the confidence interval.
    prior_sd : float
        Standard deviation of true log effects around 0, as judged before the table was seen.
    """

    effect: float
    standard_error: float
    low: float
    high: float
    degrees_of_freedom: float
    overdispersion: float
    pre_trend: float | None
    pre_trend_error: float | None
    cells: tuple[ControlCell, ControlCell, ControlCell, ControlCell]
    with_merchants: bool
    unpaired: int
    level: float
    prior_sd: float

    @property
    def credibility_z(self) -> float:
        """Return the weight of the log effect: Z = prior_sd^2 / (prior_sd^2 + standard_error^2)."""
        return float(1.0 / (1.0 + np.square(self.standard_error / self.prior_sd)))

    @property
    def evidence(self) -> float:
        """Return the share of the effect that is believed, in [0, 1]: `shrunk_effect` divided by `effect`.

        It differs from `credibility_z`, because Z shrinks the log effect and `LossControl` multiplies the effect
        itself. The difference is about -log(1 + effect) Z (1 - Z) / 2.
        """
        log_effect = np.log1p(self.effect)
        if log_effect == 0.0:
            return self.credibility_z
        return float(min(1.0, np.expm1(self.credibility_z * log_effect) / self.effect))

    @property
    def shrunk_effect(self) -> float:
        """Return evidence times effect, which is (1 + effect)^Z - 1."""
        return self.evidence * self.effect

    def as_control(self, name: str, stage: str, **terms: Any) -> LossControl:
        """Return the loss control with this effect, its interval and its evidence.

        Parameters
        ----------
        name, stage : str
        **terms
            Further arguments of `LossControl`, such as `where` and `cost`.
        """
        interval = (self.low, self.high)
        return LossControl(name, stage, effect=self.effect, evidence=self.evidence, interval=interval, **terms)

    def __str__(self) -> str:
        percent = f"{100 * self.level:g} %"
        model = "with" if self.with_merchants else "without"
        lines = [
            f"effect {self.effect:+.1%}, {percent} interval {self.low:+.1%} to {self.high:+.1%}",
            f"standard error {self.standard_error:.4f} (log), {self.degrees_of_freedom:.1f} degrees of freedom",
            f"evidence {self.evidence:.3f}, shrunk effect {self.shrunk_effect:+.1%} (prior sd {self.prior_sd:g})",
            f"{model} merchant effects, overdispersion {self.overdispersion:.2f}",
        ]
        if self.unpaired:
            lines.append(f"{counted(self.unpaired, 'merchant')} left out: no trials before, or none after")
        if self.pre_trend is not None and self.pre_trend_error is not None:
            lines.append(f"pre-trend {self.pre_trend:+.1%}, standard error {self.pre_trend_error:.4f} (log)")
        for (group, time), cell in zip(SIDES, self.cells, strict=True):
            merchants = "" if cell.merchants is None else f" of {counted(cell.merchants, 'merchant')}"
            lines.append(
                f"{group} {time}: {cell.events:,.10g} events in {cell.trials:,.10g} trials ({cell.rate:.4f}), "
                f"{counted(cell.rows, 'row')}{merchants}"
            )
        return "\n".join(lines)


def control_effect(
    table: Any,
    *,
    treated: str = "treated",
    after: str = "after",
    events: str = "events",
    trials: str = "trials",
    cluster: str | None = "merchant_id",
    period: str | None = None,
    level: float = 0.95,
    prior_sd: float = 0.1,
) -> ControlEffect:
    """Return the effect of a loss control on the rate of one stage, by differences in differences of log rates.

    Parameters
    ----------
    table : pandas, polars or pyarrow table, or path of a Parquet file
        One row for each merchant and period, or for each cell.
    treated : str
        Column of booleans: whether the merchant is in the group that got the control. It holds in all rows of the
        merchant, also before.
    after : str
        Column of booleans: whether the period is after the start of the control. It is the same for both groups.
    events, trials : str
        Columns of counts: the events of the stage, such as returns, out of the events of the stage before, such as
        requests, or out of orders. Rows without trials are ignored.
    cluster : str or None
        Column of merchants. Rows of one merchant may depend on each other. If None, the rows are independent cells.
    period : str, optional
        Column of periods, which are sorted: numbers, dates, or texts such as "2026-05". With it, each period has its
        own factor, and the periods before give `pre_trend`.
    level : float
        Of the confidence interval, between 0 and 1.
    prior_sd : float
        Standard deviation of true log effects around 0. The default 0.1 is a judgement: about two of three controls
        change the rate of their stage by less than 10 %.

    Returns
    -------
    ControlEffect

    Raises
    ------
    InputError
        If columns are missing, flags are not boolean, counts are missing or negative, events exceed trials, one of the
        four cells has no rows, a merchant is in both groups, or a period is both before and after.
    FitError
        If a cell has no events, or the periods leave the effect open.

    Warns
    -----
    FreightRiskWarning
        If the groups did not move alike before, a group has a single merchant, or merchants with more than 20 % of the
        events are left out.

    Notes
    -----
    If both groups have merchants with trials before and after, each of them is compared with itself: Poisson with one
    rate for each merchant and one factor for each period (or for after), which both groups share. Other merchants are
    left out. Otherwise each of the four cells has one rate, and `period` serves the pre-trend only. The standard error
    allows for any dependence and dispersion within merchants (docs/method.md, equations 48 to 51). The variation of a
    merchant that is alone in its group, or has more than half of it, comes from the other merchants.

    Events and trials may be amounts in fen, such as freight out of sales, if both groups have several merchants. The
    standard error then comes from the merchants and not from the size of the numbers.

    The effect is an average over all trials of the treated rows. If the control reached only a part of them, the
    effect holds for a reach of 1 in a `LossControl`, and not for the trials that it reached. A merchant whose result
    was published because it was good is not a random merchant. No table shows this; a smaller `prior_sd` allows for it.

    References
    ----------
    Wooldridge 1999 (Poisson with effects under any distribution); Bell and McCaffrey 2002 (few clusters).

    Examples
    --------
    >>> import pandas as pd
    >>> from freightrisk.programmes import control_effect
    >>> table = pd.DataFrame({"merchant_id": [1, 1, 2, 2, 3, 3, 4, 4], "treated": [True] * 4 + [False] * 4,
    ...                       "after": [False, True] * 4, "trials": 10_000,
    ...                       "events": [4000, 3450, 3000, 2640, 5000, 5050, 2500, 2475]})
    >>> found = control_effect(table)
    >>> round(found.effect, 4), round(found.standard_error, 4), round(found.evidence, 3)
    (-0.1329, 0.0239, 0.949)
    >>> found.evidence * found.effect == found.shrunk_effect
    True
    """
    level = _check.number(level, argument="level", low=0.0, high=1.0, open_low=True, open_high=True)
    prior_sd = _check.number(prior_sd, argument="prior_sd", low=0.0, high=10.0, open_low=True)
    names = {
        "treated": treated,
        "after": after,
        "events": events,
        "trials": trials,
        "cluster": cluster,
        "period": period,
    }
    every = _rows(table, names)
    paired = every.paired()
    with_merchants = bool(paired.any())
    rows = every.take(paired) if with_merchants else every
    unpaired = len(np.unique(every.merchant[~paired])) if with_merchants else 0
    found = contrast(rows, with_merchants=with_merchants)
    if not found.variance > 0.0:
        raise FitError(
            "the merchants of the table do not vary at all, so the effect has no error; give their own counts, not "
            "shares of a total."
        )
    before = _pre_trend(every) if period is not None else None
    _warn(found, before, rows, every)
    return _effect(found, before, rows, with_merchants, unpaired, level, prior_sd)


def _effect(
    found: Contrast,
    before: Contrast | None,
    rows: StageRows,
    with_merchants: bool,
    unpaired: int,
    level: float,
    prior_sd: float,
) -> ControlEffect:
    from scipy.stats import t

    error = float(np.sqrt(found.variance))
    wide = float(t.ppf(0.5 + level / 2.0, found.degrees_of_freedom)) * error
    with np.errstate(over="ignore"):  # a variance with less than one degree of freedom has hardly an upper end
        low, high = (float(np.expm1(found.log_effect + side * wide)) for side in (-1.0, 1.0))
    cells = tuple(_cell(rows.take(rows.cell == k)) for k in range(4))
    return ControlEffect(
        effect=float(np.expm1(found.log_effect)),
        standard_error=error,
        low=low,
        high=high,
        degrees_of_freedom=found.degrees_of_freedom,
        overdispersion=found.variance / found.poisson_variance,
        pre_trend=None if before is None else float(np.expm1(before.log_effect)),
        pre_trend_error=None if before is None else float(np.sqrt(before.variance)),
        cells=(cells[0], cells[1], cells[2], cells[3]),
        with_merchants=with_merchants,
        unpaired=unpaired,
        level=level,
        prior_sd=prior_sd,
    )


def _cell(rows: StageRows) -> ControlCell:
    merchants = None if rows.merchant[0] < 0 else len(np.unique(rows.merchant))
    return ControlCell(len(rows), merchants, float(rows.events.sum()), float(rows.trials.sum()))


def _warn(found: Contrast, before: Contrast | None, rows: StageRows, every: StageRows) -> None:
    if before is not None:
        error = np.sqrt(before.variance)
        if abs(before.log_effect) > DOUBTFUL * error:
            _check.warn(
                f"before the control, the rate of the treated changed by {np.expm1(before.log_effect):+.1%} relative "
                f"to the control group, which is {abs(before.log_effect) / error:.1f} standard errors. The groups did "
                "not move alike, so the effect is in doubt. Compare with merchants of the same kind and season."
            )
    if found.lone:
        what = "row" if rows.merchant[0] < 0 else "merchant"
        source = "the other rows" if np.isfinite(found.degrees_of_freedom) else "Poisson counts alone"
        _check.warn(
            f"{' and '.join(found.lone)}: a single {what} does not show how {what}s vary, so the standard error takes "
            f"their variation from {source}; give more {what}s."
        )
    share = 1.0 - rows.events.sum() / every.events.sum()
    if share > MOST_UNPAIRED:
        _check.warn(
            f"merchants with {share:.0%} of the events are left out, because they have no trials before or none after; "
            "give their other periods, or cluster=None to compare the groups without merchants."
        )


def _pre_trend(every: StageRows) -> Contrast | None:
    """Return the estimate for the later half of the periods before as if it were after; None if there is none."""
    before = every.take(~every.after)
    ranks = np.unique(before.period)
    if len(ranks) < 2:
        return None
    later = before.period >= ranks[(len(ranks) + 1) // 2]
    halves = StageRows(before.events, before.trials, before.treated, later, before.merchant, before.period)
    paired = halves.paired()
    try:
        return contrast(halves.take(paired) if paired.any() else halves, with_merchants=bool(paired.any()))
    except FitError:
        return None


def _rows(table: Any, names: dict[str, str | None]) -> StageRows:
    """Return the rows with trials, checked."""
    given = {argument: _check.label(name, argument=argument) for argument, name in names.items()
             if name is not None or argument not in ("cluster", "period")}  # fmt: skip
    columns = read(table, list(given.values()), argument="table")
    cure = f"{_check.RENAME} If the table names no merchants, give cluster=None."
    _check.columns_present(given.values(), columns.names, argument="table", cure=cure)
    treated, after = (_flags(columns, given[argument]) for argument in ("treated", "after"))
    events, trials = (_counts(columns, given[argument]) for argument in ("events", "trials"))
    columns.refuse(
        events > trials,
        f"table: column '{given['events']}' exceeds column '{given['trials']}' in {{rows}}; events are counted out of "
        "trials, so give the stage before as trials.",
        given["events"],
    )
    merchant = np.full(columns.n_rows, -1, dtype=np.int64)
    if "cluster" in given:
        codes, _ = columns.id_codes(given["cluster"])
        columns.refuse(
            codes < 0,
            f"table: column '{given['cluster']}' is missing in {{rows}}; name the merchant.",
            given["cluster"],
        )
        merchant = codes.astype(np.int64)
        _refuse_both(columns, merchant, treated, given["cluster"], given["treated"])
    rank = _periods(columns, given["period"], after, given["after"]) if "period" in given else after.astype(np.int64)
    rows = StageRows(events, trials, treated, after, merchant, rank).take(trials > 0.0)
    for k, (group, time) in enumerate(SIDES):
        if not (rows.cell == k).any():
            raise InputError(
                f"table has no row with trials of the {group} group {time} the control; the effect needs both groups "
                f"before and after, so give rows with {given['treated']}={group == 'treated'} and "
                f"{given['after']}={time == 'after'}."
            )
    return rows


def _flags(columns: Table, name: str) -> Flags:
    codes, levels = columns.levels(name)
    columns.refuse(codes < 0, f"table: column '{name}' is missing in {{rows}}; give True or False.", name)
    occur = [levels[code] for code in np.unique(codes)]
    odd = next((level for level in occur if not isinstance(level, bool)), None)
    if odd is not None:
        raise InputError(
            f"table: column '{name}' has the value {repr_of(odd)}; it must hold True or False. Convert it to booleans, "
            f"such as table['{name}'] == 1."
        )
    return np.asarray(np.array([*levels, False], dtype=bool)[codes])


def _counts(columns: Table, name: str) -> NDArray[np.float64]:
    values = columns.real(name)
    columns.refuse(np.isnan(values), f"table: column '{name}' is missing in {{rows}}; give a count.", name)
    columns.refuse(values < 0.0, f"table: column '{name}' is negative in {{rows}}; give counts of 0 or more.", name)
    columns.refuse(values > 1e15, f"table: column '{name}' is beyond 1e15 in {{rows}}; give counts.", name)
    return values


def _refuse_both(columns: Table, codes: Integers, flags: Flags, of: str, flag: str) -> None:
    """Raise if a merchant is in both groups."""
    seen = np.zeros((2, int(codes.max(initial=-1)) + 1), dtype=bool)
    seen[flags.astype(np.int64), codes] = True
    columns.refuse(
        (seen[0] & seen[1])[codes],
        f"table: '{flag}' is True and False for one value of '{of}' in {{rows}}; it names the group of the merchant, "
        "so it must be the same in all rows of the merchant, before and after.",
        of,
    )


def _periods(columns: Table, name: str, after: Flags, flag: str) -> Integers:
    """Return the rank of each row's period; all periods before come before all periods after."""
    try:
        codes, levels = columns.levels(name)
    except InputError as error:
        try:
            times = columns.times(name)
        except InputError:
            raise error from None
        rank, missing = np.unique(times, return_inverse=True)[1].astype(np.int64), np.isnat(times)
    else:
        if len({isinstance(level, str) for level in levels}) > 1:
            raise InputError(f"table: column '{name}' has texts and numbers, which have no order; give one of them.")
        rank_of = np.empty(len(levels) + 1, dtype=np.int64)
        rank_of[sorted(range(len(levels)), key=lambda k: levels[k])] = np.arange(len(levels))
        rank, missing = np.asarray(rank_of[codes]), codes < 0
    columns.refuse(missing, f"table: column '{name}' is missing in {{rows}}; name the period.", name)
    first = rank[after].min(initial=len(rank))
    columns.refuse(
        ~after & (rank >= first),
        f"table: '{flag}' is False in {{rows}}, but True in the same or an earlier period of '{name}'; all periods "
        "before the control must be earlier than all periods after. Periods are sorted: write months as 2026-05.",
        name,
    )
    return rank
