"""Merchant experience: credibility-weighted claims over expected claims, with the relativity by score as the prior."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from freightrisk import _check
from freightrisk._columns import id_array
from freightrisk._shown import counted
from freightrisk._types import Array
from freightrisk.book.book import OrderBook
from freightrisk.book.maturity import ReportLag
from freightrisk.errors import InputError
from freightrisk.models.families import FAMILIES
from freightrisk.models.fitted import FittedModel
from freightrisk.models.merchant_columns import (
    NEARLY,
    column,
    known_ids,
    previous_mods,
    priors,
    recency,
    refuse_several,
    squares,
    sums,
)

if TYPE_CHECKING:
    import pandas as pd

ROUNDS = 200  # at most, of the fixed point for the variance
SQUARED = "squared_expected"  # column of `merchant_periods`
PROCESSES = ("poisson", "bernoulli")


@dataclass(frozen=True, eq=False, repr=False)
class MerchantExperience:
    """Experience modifications of merchants.

    Parameters
    ----------
    merchants : pandas.DataFrame
        One row for each merchant, with the merchant as index. Columns: unit (the owner, or the merchant itself), group,
        claims and expected (adjusted and weighted by recency), prior (the relativity by score), ratio (claims over
        expected claims of the unit), credibility_z, uncapped_mod, experience_mod, capped.
    groups : pandas.DataFrame
        One row for each group. Columns: units, expected, balance (claims over the sum of expected times prior;
        modifications are relative to it), variance (between units, of the ratio to the prior),
        expected_claims_for_half (expected claims at which Z = 1/2, at the group's average process variance), pooled
        (whether the variance was estimated from the units of all groups).
    """

    merchants: "pd.DataFrame"
    groups: "pd.DataFrame"

    def __repr__(self) -> str:
        z = self.merchants["credibility_z"]
        return (
            f"MerchantExperience: {counted(len(self.merchants), 'merchant')}, {int(self.merchants['capped'].sum()):,} "
            f"capped; Z from {z.min():.3f} to {z.max():.3f}, mods from {self.merchants['experience_mod'].min():.3f} "
            f"to {self.merchants['experience_mod'].max():.3f}"
        )


def merchant_experience(
    periods: "pd.DataFrame",
    *,
    merchant: str = "merchant_id",
    claims: str = "claims",
    expected: str = "expected",
    process: str = "poisson",
    squared_expected: str = SQUARED,
    without_claims: Sequence[str] = (),
    without_expected: str | None = None,
    age_days: str | None = None,
    half_life_days: float | None = None,
    group: str | None = None,
    owner: str | None = None,
    prior: str | None = None,
    previous: str | None = None,
    max_change: float | None = 0.25,
    min_units: int = 30,
    variance: float | None = None,
) -> MerchantExperience:
    """Return the experience modification of each merchant: Z O / E + (1 - Z) g(score).

    Parameters
    ----------
    periods : pandas.DataFrame
        One row for each merchant and period. `merchant_periods` makes such a frame.
    merchant, claims, expected : str
        Columns: the merchant, its claims O, and its expected claims E. E is the expectation of the model without the
        score, for the same orders at the same maturity.
    process : {"poisson", "bernoulli"}
        Variance of a unit's claims around its own mean, as in `ExperienceRating.of`. Bernoulli is for orders, or lines
        of orders, that claim at most once. It reads the column `squared_expected`.
    squared_expected : str
        Column with the sum of q^2 over the orders behind `expected`, where q is the expected claims of one order.
        `merchant_periods` computes it for a model of family bernoulli, binomial or beta_binomial. If only the number of
        orders n is known, use E^2 / n, the smallest possible sum: s2 and Z are then too low rather than too high.
    without_claims : sequence of str
        Columns of claims that `claims` includes but that do not count, such as confirmed fraud and reversed claims.
    without_expected : str, optional
        Column of expected claims to subtract, for orders that were fraud themselves. By default the denominator keeps
        every insured order, because an order whose claim was reversed was at risk like any other. `squared_expected`
        must already exclude these orders.
    age_days, half_life_days : str and float, optional
        Column with the age of a period, and the age at which a period counts half. By default all periods count alike.
    group : str, optional
        Column with the category group. Each group has its own variance. A unit belongs to the group in which it has
        most expected claims.
    owner : str, optional
        Column with the owner. Merchants of one owner are one unit. A missing value is a merchant without an owner. All
        periods of a merchant must have the same owner, and the same value in the next two columns.
    prior : str, optional
        Column with g(score), the merchant's relativity by score; 1 by default.
    previous : str, optional
        Column with the modification in force, missing if there is none. The new modification differs from it by at
        most `max_change`.
    max_change : float or None
        Largest change per update, as a share; None for no cap.
    min_units : int
        Groups with fewer units take the variance of all units together.
    variance : float, optional
        Variance between units, instead of the estimated variances.

    Returns
    -------
    MerchantExperience

    Raises
    ------
    InputError
        If a column is missing, a count is negative or outside its range, a merchant has two owners, priors or
        modifications in force, `without_claims` exceeds `claims`, or `squared_expected` exceeds
        what orders with at most one claim can have.

    Notes
    -----
    Let theta be a unit's ratio to the prior. Given theta, the unit's weighted claims have mean m theta and variance
    v theta - v2 theta^2. Here m is the sum of w E g and v the sum of w^2 E g over the unit's periods, with recency
    weights w. m2 is the sum of w S g^2 and v2 the sum of w^2 S g^2, where S is `squared_expected`. For Poisson claims
    m2 and v2 are 0. The ratio theta has mean 1 and variance s2. Then Z = m / (m + k) with
    k = (1 - (1 + s2) m2 / m) / s2. For orders with equal q, k / q = (1 - q) / (s2 q) - 1 orders.

    Old experience has small weights, so a merchant who has only old claims returns to the prior. In each group, s2 is
    the root of sum of [(O - m)^2 - v + v2 - (m^2 - v2) s2] (m^2 - v2) / V^2 = 0 with V = v - v2 + (m^2 - v2) s2, or 0
    if there is no root. Expected claims are first scaled by the group's balance, so that ratios to the prior average 1.

    With at most one claim, q theta is a probability, so theta is at most 1 / q and s2 at most 1 / q - 1. One variance
    for merchants of very different q can exceed this bound for some of them. Their process variance is then 0 and
    Z = 1, and a `FreightRiskWarning` says how many they are. A unit with a single order does not inform s2.

    Examples
    --------
    >>> import pandas as pd
    >>> from freightrisk import merchant_experience
    >>> periods = pd.DataFrame({"merchant_id": ["a", "b", "c"], "claims": [30, 5, 0], "expected": [20.0, 10.0, 5.0]})
    >>> rated = merchant_experience(periods, variance=0.1)
    >>> rated.merchants["credibility_z"].round(3).tolist(), rated.merchants["experience_mod"].round(3).tolist()
    ([0.667, 0.5, 0.333], [1.333, 0.75, 0.667])

    These 35 expected claims came from 70 orders that each return at most once. Own experience then tells more:

    >>> periods["squared"] = periods["expected"] ** 2 / [40, 20, 10]
    >>> rated = merchant_experience(periods, process="bernoulli", squared_expected="squared", variance=0.1)
    >>> rated.merchants["credibility_z"].round(3).tolist()
    [0.816, 0.69, 0.526]
    """
    import pandas as pd

    wanted = [merchant, claims, expected, *_check.items(without_claims, argument="without_claims")]
    min_units = _check.whole(min_units, argument="min_units", low=1, high=10**9)
    if variance is not None:
        variance = _check.number(variance, argument="variance", low=0.0, high=1e9)
    _check.one_of(process, PROCESSES, argument="process")
    bernoulli = process == "bernoulli"
    more = (squared_expected if bernoulli else None, without_expected, age_days, group, owner, prior, previous)
    wanted += [name for name in more if name is not None]
    if not isinstance(periods, pd.DataFrame):
        raise InputError(f"periods is a {type(periods).__name__}; give a pandas DataFrame.")
    _check.columns_present(wanted, list(map(str, periods.columns)), argument="periods")
    if not bernoulli:
        _check_poisson(periods.columns, squared_expected)
    if max_change is not None:
        max_change = _check.number(max_change, argument="max_change", low=0.0, high=10.0)
    weight = recency(periods, age_days, half_life_days)
    rows = pd.DataFrame({"merchant": known_ids(periods, merchant)})
    rows["group"] = "(all)" if group is None else known_ids(periods, group)
    rows["unit"] = rows["merchant"] if owner is None else id_array(periods[owner], argument="owner")
    rows["unit"] = rows["unit"].where(pd.notna(rows["unit"]), rows["merchant"])
    reported = sums(periods, claims)
    for name in without_claims:
        reported = reported - column(periods, name)
    _check.refuse_rows(reported < 0.0, f"periods: {list(without_claims)} exceed '{claims}' in {{rows}}; correct them.")
    at_risk = sums(periods, expected) - (0.0 if without_expected is None else column(periods, without_expected))
    _check.refuse_rows(at_risk < 0.0, f"periods: '{without_expected}' exceeds '{expected}' in {{rows}}; correct them.")
    squared = squares(periods, squared_expected, at_risk) if bernoulli else np.zeros(len(rows))
    rows["claims"], rows["expected"] = weight * reported, weight * at_risk
    rows["prior"] = 1.0 if prior is None else priors(periods, prior)
    rows["second"] = weight * rows["expected"]
    rows["squared"], rows["second_squared"] = weight * squared, weight * weight * squared
    rows["previous"] = np.nan if previous is None else previous_mods(periods, previous)
    named = {"unit": owner, "prior": prior, "previous": previous}
    refuse_several(rows, {column: name for column, name in named.items() if name is not None})
    return _rate(rows, max_change, min_units, variance)


def _check_poisson(columns: "pd.Index", squared_expected: str) -> None:
    told = f"process is 'poisson', which does not read '{squared_expected}'; give process='bernoulli', or leave it out."
    if squared_expected != SQUARED:
        raise InputError(told)
    if SQUARED in columns:  # made by `merchant_periods` for orders that claim at most once
        _check.warn(f"periods: {told}")


def _rate(rows: "pd.DataFrame", max_change: float | None, min_units: int, variance: float | None) -> MerchantExperience:
    import pandas as pd

    merchants = _merchant_sums(rows)
    with_prior = merchants.assign(with_prior=merchants["expected"] * merchants["prior"])
    sums = with_prior.groupby("group")[["claims", "expected", "with_prior"]].sum()
    # A group without claims has no balance to estimate and keeps 1.
    balance = (sums["claims"] / sums["with_prior"]).where((sums["with_prior"] > 0) & (sums["claims"] > 0), 1.0)
    balanced = balance.loc[merchants["group"]].to_numpy()
    weighted = merchants["prior"] * balanced
    # "mean" is m, "spread" v, and the squared ones m2 and v2 of equation 39a, all with expected claims in balance.
    units = pd.DataFrame(
        {
            "group": merchants["group"], "unit": merchants["unit"], "claims": merchants["claims"],
            "mean": merchants["expected"] * weighted, "spread": merchants["second"] * weighted,
            "mean_squared": merchants["squared"] * weighted**2,
            "spread_squared": merchants["second_squared"] * weighted**2,
            "expected": merchants["expected"] * balanced,
        }
    ).groupby(["group", "unit"], sort=True).sum()  # fmt: skip
    groups = _group_variances(sums.assign(balance=balance), units, min_units, variance)
    unit = _rated_units(units, groups).reset_index().set_index("unit").loc[merchants["unit"]]
    # theta g = Z O / E + (1 - Z) g: merchants of one owner share theta, and each has its own g.
    uncapped = unit["theta"].to_numpy() * merchants["prior"]
    mod = _capped(uncapped, merchants["previous"], max_change)
    table = pd.DataFrame(
        {
            "unit": merchants["unit"], "group": merchants["group"], "claims": merchants["claims"],
            "expected": merchants["expected"], "prior": merchants["prior"], "ratio": unit["ratio"].to_numpy(),
            "credibility_z": unit["z"].to_numpy(), "uncapped_mod": uncapped, "experience_mod": mod,
            "capped": mod != uncapped,
        }
    )  # fmt: skip
    columns = ["units", "expected", "balance", "variance", "expected_claims_for_half", "pooled"]
    return MerchantExperience(table, groups[columns])


def _merchant_sums(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Return each merchant's sums, last unit, prior and modification, and the group where its unit expects most."""
    by_merchant = rows.groupby("merchant", sort=True)
    merchants = by_merchant[["claims", "expected", "second", "squared", "second_squared"]].sum()
    merchants[["unit", "prior", "previous"]] = by_merchant[["unit", "prior", "previous"]].last()
    shares = rows.groupby(["unit", "group"], sort=True)["expected"].sum().reset_index()
    largest = shares.sort_values(["unit", "expected"], kind="stable").groupby("unit").last()["group"]
    merchants["group"] = largest.loc[merchants["unit"]].to_numpy()
    return merchants


def _group_variances(
    groups: "pd.DataFrame", units: "pd.DataFrame", min_units: int, variance: float | None
) -> "pd.DataFrame":
    """Return the groups with the number of units and the variance between units, pooled for small groups."""
    whole = _variance(units) if variance is None else variance
    groups["units"] = units.groupby("group").size()
    groups["pooled"] = groups["units"] < min_units
    groups["variance"] = [
        whole if pooled or variance is not None else _variance(units.loc[[name]])
        for name, pooled in groups["pooled"].items()
    ]
    sums = units.groupby("group")[["mean", "mean_squared"]].sum()
    within = _process(sums["mean"], sums["mean_squared"], groups["variance"])
    groups["expected_claims_for_half"] = 1.0 / groups["variance"].where(groups["variance"] > 0) * within
    return groups


def _process(mean: "pd.Series", mean_squared: "pd.Series", between: "pd.Series | Array") -> "pd.Series":
    """Return k s2 of equation 39a: the process variance over the mean, 1 for Poisson claims.

    It is 0 if s2 exceeds its largest value at these claim probabilities.
    """
    return (1.0 - (mean_squared / mean.where(mean > 0)).fillna(0.0) * (1.0 + between)).clip(lower=0.0)


def _rated_units(units: "pd.DataFrame", groups: "pd.DataFrame") -> "pd.DataFrame":
    """Return the units with Z of equation 39a, theta = Z O / m + 1 - Z, and claims over expected."""
    between = groups["variance"].loc[units.index.get_level_values("group")].to_numpy()
    _warn_of_bound(units, between)
    own = units["mean"] * between
    units["z"] = (own / (own + _process(units["mean"], units["mean_squared"], between))).where(own > 0, 0.0)
    apart = (units["claims"] / units["mean"].where(units["mean"] > 0)).fillna(1.0)
    units["theta"] = units["z"] * apart + (1.0 - units["z"])
    units["ratio"] = (units["claims"] / units["expected"].where(units["expected"] > 0)).astype(float)
    return units


def _warn_of_bound(units: "pd.DataFrame", between: Array) -> None:
    """Warn of units whose probabilities are so high that theta cannot have the group's variance."""
    beyond = units["mean_squared"] * (1.0 + between) > units["mean"] * (1.0 + NEARLY)
    if beyond.any():
        _check.warn(
            f"{counted(int(beyond.sum()), 'unit')} of {len(units):,} expect so many claims an order that their ratio "
            "cannot have the variance of their group, because an order has at most one claim. Their credibility is 1. "
            "Give groups whose merchants have similar claim probabilities, or a smaller variance."
        )


def _capped(uncapped: "pd.Series", before: "pd.Series", max_change: float | None) -> "pd.Series":
    """Return modifications at most `max_change` away from the modifications in force; a new merchant has no cap."""
    mod = uncapped if max_change is None else uncapped.clip(before * (1 - max_change), before * (1 + max_change))
    return mod.where(before.notna(), uncapped)


def _variance(units: "pd.DataFrame") -> float:
    """Return the variance between units, the root of equation 40a (40 for Poisson claims), or 0 if there is none."""
    certain = units["spread_squared"] > units["spread"] * (1.0 - NEARLY)  # theta cannot vary around such claims
    known = units[(units["mean"] > 0) & ~certain]
    mean, spread, squared = (known[name].to_numpy() for name in ("mean", "spread", "spread_squared"))
    excess = (known["claims"].to_numpy() - mean) ** 2 - (spread - squared)
    # The share of m^2 that comes from pairs of orders. A single order has none, so its share is rounding error.
    pairs = 1.0 - squared / mean / mean
    pairs[pairs < NEARLY] = 0.0
    if not pairs.any():
        return 0.0
    # The first weights are those of Poisson claims, so that units with probabilities near 1 do not outweigh all others.
    # Their weights change fast near 0. Whole steps could then go back and forth, so steps are halved.
    value, total, poisson = 0.0, spread, not squared.any()
    for k in range(ROUNDS):
        # Equation 40a solved for s2, with the weights at the previous s2.
        weight = (mean / total) ** 2 * pairs
        found = max(0.0, float((weight * excess).sum() / (weight * mean * mean * pairs).sum()))
        settled = (poisson or k > 0) and abs(found - value) <= 1e-12 + 1e-10 * found
        value = found if poisson or settled or k == 0 else (value + found) / 2.0
        if settled:
            break
        total = spread + mean * mean * value - squared * (1.0 + value)
    return value


def merchant_periods(
    book: OrderBook,
    fitted: FittedModel,
    merchant: ArrayLike,
    *,
    without: Sequence[str] = (),
    lag: ReportLag | None = None,
    days: int = 30,
    excluded: ArrayLike | None = None,
) -> "pd.DataFrame":
    """Return claims and expected claims of each merchant by period of order age, for `merchant_experience`.

    Parameters
    ----------
    book : OrderBook
        A book with a valuation date.
    fitted : FittedModel
        A frequency model of a book with the same codings.
    merchant : array, shape (n_orders,)
        The merchant of each order of the book, by position; an index is not read. `OrderBook.align` makes this array
        from a column of the orders.
    without : sequence of str
        Factors of the model to leave out of the expectation, such as the experience score, because its curve is the
        prior.
    lag : ReportLag, optional
        Scales the expected claims of immature orders; by default all claims count as reported.
    days : int
        Length of a period.
    excluded : array, shape (n_orders,), optional
        Claims of each order that do not count.

    Returns
    -------
    pandas.DataFrame
        Columns: merchant_id, age_days (middle of the period), orders, claims, expected, squared_expected if an order or
        a line of it has at most one claim in the model, and excluded if it was given.

    Notes
    -----
    squared_expected is the sum of q^2 over orders for family bernoulli, with q the expected claims of the order as in
    `expected`. For binomial and beta_binomial it is the sum over lines, n (q / n)^2 for an order of n lines. The fitted
    correlation of lines is not in it, because differences between merchants contribute to this correlation.
    """
    import pandas as pd

    _check.instance(book, OrderBook, argument="book")
    _check.instance(fitted, FittedModel, argument="fitted")
    if lag is not None:
        _check.instance(lag, ReportLag, argument="lag")
    names = id_array(merchant, argument="merchant")
    if names.shape != (book.n_orders,):
        raise InputError(f"merchant has shape {names.shape}; give one value for each of {book.n_orders:,} orders.")
    days = _check.whole(days, argument="days", low=1, high=3650)
    offset = None if lag is None else lag.offset(book)
    expected = fitted.expected_claims(book, offset=offset, without=without)
    frame = pd.DataFrame({"merchant_id": names, "period": book.age_days // days, "expected": expected})
    frame["claims"], frame["orders"] = book.claim_count, 1
    sums_of = ["orders", "claims", "expected"]
    if FAMILIES[fitted.family].lines or fitted.family == "bernoulli":
        frame[SQUARED] = expected**2 / (book.line_count if FAMILIES[fitted.family].lines else 1)
        sums_of.append(SQUARED)
    if excluded is not None:
        frame["excluded"] = _check.real_array(excluded, argument="excluded", length=book.n_orders)
        sums_of.append("excluded")
    sums = frame.groupby(["merchant_id", "period"], sort=True)[sums_of].sum().reset_index()
    sums["age_days"] = days * sums.pop("period") + days / 2
    return sums[["merchant_id", "age_days", *sums_of]]
