"""The score of merchants: its monotone curve, the score an order is rated by, and gates that programmes set on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from freightrisk import _check
from freightrisk._columns import JoinedColumns, read, value_of
from freightrisk._frozen import EqualByContent
from freightrisk._intake import DEFAULT_CLOCK, level_of, spelling
from freightrisk._shown import repr_of, shown
from freightrisk.book.book import OrderBook
from freightrisk.book.factors import Band, Coding
from freightrisk.book.maturity import ReportLag
from freightrisk.errors import InputError
from freightrisk.models.fitted import FittedModel

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]

LARGEST_MOD = 1e4


@dataclass(frozen=True, eq=False, repr=False)
class ScoreCurve(EqualByContent):
    """The relativity g of a score, monotone over its bands and 1 on average.

    A score is never more than a risk factor here: what a programme grants above some score is a condition of a
    `Subsidy`, ``where={"experience_score": Interval(above=4.8)}``, and moves no technical premium.

    Parameters
    ----------
    coding : Coding
        Of a `Band` of the score.
    relativity : float64 array, shape (n_slots,)
        Of every band, of missing scores and of the fallback; scaled to 1 on average over `weight`.
    weight : float64 array, shape (n_slots,)
        Claims that are expected in each slot without the score, of the book on which the curve is centred.
    version : str
        Of the score's definition. Scores of another version mean something else.
    version_column : str, optional
        Column of orders or merchants with the version of each score; pricing refuses any other than `version`.
    lag_days : int
        Days before shipment at which the score is taken (`lagged_scores`), since it is made of returns in part.
    higher_is_better : bool
        Whether the relativity may never rise with the score. False for inputs such as a bad-review rate, with which it
        may never fall.
    base_factor : float
        Average of the fitted relativities before centring; a tariff takes it into its base.

    Raises
    ------
    InputError
        For a curve that is not monotone, or relativities and weights that are not of the coding's size.
    """

    coding: Coding = field(hash=False, metadata={"key": "factor"})
    relativity: Array
    weight: Array
    version: str
    version_column: str | None = None
    lag_days: int = 30
    higher_is_better: bool = True
    base_factor: float = 1.0

    def __post_init__(self) -> None:
        _band_of(self.coding)
        _check.label(self.version, argument=f"version of the score '{self.name}'")
        _check.flag(self.higher_is_better, argument="higher_is_better")
        _check.whole(self.lag_days, argument="lag_days", low=0, high=3650)
        _check.number(self.base_factor, argument="base_factor", low=0.0, high=LARGEST_MOD, open_low=True)
        size = self.coding.n_slots
        found = _check.real_array(self.relativity, argument="relativity", length=size)
        weight = _check.real_array(self.weight, argument="weight", length=size)
        if not np.all((found > 0.0) & (found < LARGEST_MOD)):
            raise InputError(
                f"the curve of '{self.name}' has a relativity not above zero and below {LARGEST_MOD:g}; correct it."
            )
        if not np.all(weight >= 0.0) or weight.sum() <= 0.0:
            raise InputError(f"weight of the curve of '{self.name}' has to be zero or more, and not zero throughout.")
        steps = np.diff(found[self._bands])
        wrong = np.flatnonzero(steps > 0.0 if self.higher_is_better else steps < 0.0)
        if len(wrong):
            raise InputError(
                f"the curve of '{self.name}' {'rises' if self.higher_is_better else 'falls'} from band "
                f"{self.coding.labels[wrong[0]]} to the next; fit the factor with "
                f"Smooth('{self.name}', monotone='{'decreasing' if self.higher_is_better else 'increasing'}')."
            )
        mean = float(weight @ found / weight.sum())
        # What is centred stays as it is, to the last bit: a tariff that is loaded prices as the one that was saved.
        object.__setattr__(self, "relativity", found if abs(mean - 1.0) < 1e-12 else found / mean)
        object.__setattr__(self, "weight", weight)

    @classmethod
    def of(
        cls,
        frequency: FittedModel,
        book: OrderBook,
        factor: str = "experience_score",
        *,
        version: str,
        version_column: str | None = None,
        lag_days: int = 30,
        higher_is_better: bool = True,
        lag: ReportLag | None = None,
    ) -> "ScoreCurve":
        """Return the curve that a frequency model has fitted, centred on its book.

        Parameters
        ----------
        frequency : FittedModel
            With the score as a smooth and monotone factor.
        book : OrderBook
        factor : str
        version, version_column, lag_days, higher_is_better
            As for `ScoreCurve`.
        lag : ReportLag, optional
            Scales the expectation of immature orders.

        Examples
        --------
        >>> import numpy as np, pandas as pd
        >>> from freightrisk import Band, FrequencyModel, OrderBook, ScoreCurve, Smooth
        >>> cells = pd.DataFrame({"score": [4.5, 4.7, 4.9], "claims": [30, 20, 10], "exposure": [100, 100, 100]})
        >>> book = OrderBook.from_counts(
        ...     cells, claims="claims", exposure="exposure", factors=[Band("score", [4.6, 4.8], valid=(0, 5))]
        ... )
        >>> frequency = FrequencyModel([Smooth("score", monotone="decreasing", variance=10.0)]).fit(book)
        >>> ScoreCurve.of(frequency, book, "score", version="2025").table()["relativity"].round(2).tolist()
        [1.5, 1.0, 0.5]
        """
        _check.instance(frequency, FittedModel, argument="frequency")
        _check.instance(book, OrderBook, argument="book")
        if (
            _check.label(factor, argument="factor") not in frequency.tables
            or frequency.kinds.get(factor) == "interaction"
        ):
            raise InputError(f"factor is '{factor}'; the model rates {', '.join(frequency.tables) or 'none'}.")
        coding = frequency.codings[factor].factors[0]
        without = _without(frequency, book, [factor], lag)
        weight = np.bincount(book.codes[factor], without, coding.n_slots).astype(np.float64)
        relativity = np.exp(frequency.tables[factor])
        return cls(
            coding=coding,
            relativity=relativity,
            weight=weight,
            version=version,
            version_column=version_column,
            lag_days=lag_days,
            higher_is_better=higher_is_better,
            base_factor=float(weight @ relativity / weight.sum()),
        )

    @property
    def name(self) -> str:
        """Return the name of the score's factor."""
        return self.coding.name

    @property
    def _bands(self) -> NDArray[np.int64]:
        """Return the codes of the bands, from the lowest score up; not those of missing scores."""
        return np.array([k for k, path in enumerate(self.coding.paths) if isinstance(path[0], int)], dtype=np.int64)

    def at(self, scores: ArrayLike) -> Array:
        """Return the relativity of scores, NaN for a missing one.

        Parameters
        ----------
        scores : array, shape (n,)

        Returns
        -------
        float64 array, shape (n,)
        """
        values = _check.numbers(scores, argument="scores")
        low, high = _band_of(self.coding).valid
        _check.refuse_rows(
            (values.ravel() < low) | (values.ravel() > high),
            f"scores are outside [{low:g}, {high:g}] in {{rows}}; correct them.",
        )
        found = self.relativity[np.searchsorted(np.asarray(self.coding.edges), values, side="left")]
        return np.where(np.isnan(values), np.nan, found)

    def table(self) -> "pd.DataFrame":
        """Return a row for each band: band, relativity, share (of the claims expected without the score)."""
        import pandas as pd

        shown = np.arange(self.coding.n_levels)
        return pd.DataFrame(
            {
                "band": [self.coding.slot_label(code) for code in shown.tolist()],
                "relativity": self.relativity[shown],
                "share": self.weight[shown] / self.weight.sum(),
            }
        )

    def leak(self, weight: ArrayLike) -> float:
        """Return the share of premium that is lost (or won, if below zero) where scores have moved.

        Parameters
        ----------
        weight : array, shape (n_slots,)
            As `ScoreCurve.weight`, of the new book.

        Returns
        -------
        float
            1 less the curve's average over the new weights.
        """
        new = _check.real_array(weight, argument="weight", length=self.coding.n_slots)
        return 1.0 - float(new @ self.relativity / new.sum())

    def recentred(self, weight: ArrayLike) -> "ScoreCurve":
        """Return the curve with mean 1 over new weights; every ratio of two bands stays.

        Examples
        --------
        The share of merchants above 4.8 moves from 30 % to 36 %; these cost 0.85 of the others.

        >>> import numpy as np
        >>> from freightrisk import Band, ScoreCurve
        >>> from freightrisk.book.factors import Coding
        >>> bands = Coding(Band("score", [4.8]), ((0,), (1,)), {(0,): 0, (1,): 1}, (4.8,))
        >>> curve = ScoreCurve(bands, np.array([1.0, 0.85, 1.0]), np.array([70.0, 30.0, 0.0]), version="2025")
        >>> now = np.array([64.0, 36.0, 0.0])
        >>> round(curve.leak(now), 4), round(curve.recentred(now).leak(now), 12)
        (0.0094, 0.0)
        """
        return replace(self, weight=np.asarray(weight, dtype=np.float64))

    def step_at(self, score: float) -> float:
        """Return by what share the relativity changes just above a score; 0 where a band goes across it."""
        edges = np.asarray(self.coding.edges)
        below = int(np.searchsorted(edges, score, side="left"))
        above = int(np.searchsorted(edges, score, side="right"))
        bands = self.relativity[self._bands]
        return float(bands[above] / bands[below] - 1.0)

    def check_versions(self, columns: JoinedColumns) -> None:
        """Raise where scores of orders are of another version."""
        if self.version_column is not None:
            codes, values = columns.levels(self.version_column)
            right = np.array([spelling(value) == self.version for value in values] + [False], dtype=bool)
            columns.refuse(~right[codes], self._other_version("is another in {rows}"), self.version_column)

    def check_version_of(self, order: Mapping[str, Any]) -> None:
        """Raise where the score of one order is of another version."""
        if self.version_column is not None:
            value = value_of(order, self.version_column, level_of)
            if value is None or spelling(value) != self.version:
                raise InputError(self._other_version(f"is {repr_of(order[self.version_column])}"))

    def _other_version(self, what: str) -> str:
        return (
            f"'{self.version_column}' {what}; the curve of '{self.name}' is of version '{self.version}' "
            "and says nothing of other scores."
        )

    def __repr__(self) -> str:
        bands = self.relativity[self._bands]
        return shown(
            f"ScoreCurve of '{self.name}', version {self.version}: {len(bands)} bands, relativities from "
            f"{bands.max():.3f} to {bands.min():.3f}, {self.lag_days} days before shipment"
        )


def lagged_scores(
    orders: Any,
    history: Any,
    *,
    days: int = 30,
    score: str = "experience_score",
    merchant_id: str = "merchant_id",
    ship_date: str = "ship_date",
    score_date: str = "date",
    clock: str = DEFAULT_CLOCK,
    date_format: str | None = None,
) -> "pd.Series":
    """Return for each order the last score that its merchant had some days before it shipped.

    A score is made of the merchant's returns in part; that of the day of shipment would know of claims that the rate
    is about to predict.

    Parameters
    ----------
    orders : pandas, polars or pyarrow table, or path of a Parquet file
        With columns `merchant_id` and `ship_date`.
    history : like orders
        With columns `merchant_id`, `score_date` (the first day on which the score stood) and `score`.
    days : int
        The lag, see `ScoreCurve.lag_days`.
    score, merchant_id, ship_date, score_date : str
        Names of columns.
    clock, date_format : str
        As for `OrderBook.from_frames`.

    Returns
    -------
    pandas.Series
        With the index of `orders`; missing where the merchant had no score yet.

    Examples
    --------
    >>> import pandas as pd
    >>> from freightrisk import lagged_scores
    >>> orders = pd.DataFrame({"merchant_id": ["a", "a"], "ship_date": ["2026-03-01", "2026-04-15"]})
    >>> history = pd.DataFrame({"merchant_id": ["a", "a"], "date": ["2026-01-01", "2026-03-10"],
    ...                         "experience_score": [4.6, 4.9]})
    >>> lagged_scores(orders, history).tolist()
    [4.6, 4.9]
    """
    import pandas as pd

    days = _check.whole(days, argument="days", low=0, high=3650)
    how: dict[str, Any] = {"key": merchant_id, "clock": clock, "date_format": date_format}
    asked = read(orders, [merchant_id, ship_date], argument="orders", **how)
    known = read(history, [merchant_id, score_date, score], argument="history", **how)
    _check.columns_present([merchant_id, ship_date], asked.names, argument="orders")
    _check.columns_present([merchant_id, score_date, score], known.names, argument="history")
    owners = [table.ids(merchant_id).astype(object) for table in (asked, known)]
    codes, _ = pd.factorize(np.concatenate(owners))
    left = pd.DataFrame(
        {
            "merchant": codes[: asked.n_rows],
            "when": asked.times(ship_date) - np.timedelta64(days, "D"),
            "row": np.arange(asked.n_rows),
        }
    ).query("merchant >= 0")
    right = pd.DataFrame(
        {"merchant": codes[asked.n_rows :], "when": known.times(score_date), "score": known.real(score)}
    ).dropna(subset=["when"])
    found = np.full(asked.n_rows, np.nan)
    shipped = left.dropna(subset=["when"]).sort_values("when", kind="stable")
    joined = pd.merge_asof(shipped, right.sort_values("when", kind="stable"), on="when", by="merchant")
    found[joined["row"].to_numpy()] = joined["score"].to_numpy()
    return pd.Series(found, index=getattr(orders, "index", None), name=score)


def gate_report(
    scores: ArrayLike, claims: ArrayLike, expected: ArrayLike, *, gate: float = 4.8, width: float = 0.1
) -> "pd.DataFrame":
    """Return counts and claims on both sides of a programme's gate, where merchants gather who want to pass it.

    Parameters
    ----------
    scores : array, shape (n,)
        Of merchants (or orders); missing ones are left out. Arrays are paired by place; an index is not read.
    claims, expected : arrays, shape (n,)
        Claims, and those expected without the score.
    gate : float
        Rights are for scores strictly above it.
    width : float
        Width of the two bands that are compared.

    Returns
    -------
    pandas.DataFrame
        Rows below (up to and with the gate) and above. Columns: from_score, to_score, units, claims, expected, ratio
        (claims over expected), p_gathering (of so many units above or more, if both sides were as likely; McCrary's
        question, by a binomial test) and p_ratio (of ratios so different, if they were equal; exact, claims given
        their sum are binomial).

    Examples
    --------
    >>> import numpy as np
    >>> from freightrisk import gate_report
    >>> scores = np.r_[np.full(40, 4.75), np.full(80, 4.85)]
    >>> report = gate_report(scores, np.ones(120), np.ones(120))
    >>> report["units"].tolist(), bool(report["p_gathering"].iloc[0] < 0.001)
    ([40, 80], True)
    """
    import pandas as pd
    from scipy.stats import binomtest

    width = _check.number(width, argument="width", low=0.0, high=1e6, open_low=True)
    gate = _check.number(gate, argument="gate", low=-1e9, high=1e9)
    values = _check.numbers(scores, argument="scores")
    if values.ndim != 1:
        raise InputError(f"scores has shape {values.shape}; give one for each merchant or order, shape (n,).")
    counted = _check.real_array(claims, argument="claims", length=len(values))
    at_risk = _check.real_array(expected, argument="expected", length=len(values))
    _check.refuse_rows((counted < 0.0) | (at_risk < 0.0), "claims or expected is negative in {rows}; correct them.")
    low, high = round(gate - width, 9), round(gate + width, 9)  # 4.8 + 0.1 is a little less than 4.9
    below, above = (values > low) & (values <= gate), (values > gate) & (values <= high)
    frame = pd.DataFrame(
        {
            "from_score": [low, gate],
            "to_score": [gate, high],
            "units": [int(below.sum()), int(above.sum())],
            "claims": [counted[below].sum(), counted[above].sum()],
            "expected": [at_risk[below].sum(), at_risk[above].sum()],
        },
        index=pd.Index(["below", "above"], name="side"),
    )
    if (frame["units"] == 0).any():
        raise InputError(f"there are {frame['units'].tolist()} scores within {width:g} of {gate:g}; widen the bands.")
    if (frame["expected"] <= 0.0).any():
        raise InputError(f"no claims are expected on one side of {gate:g}; widen the bands.")
    frame["ratio"] = frame["claims"] / frame["expected"]
    units, total = frame["units"].to_numpy(), round(float(frame["claims"].sum()))
    frame["p_gathering"] = binomtest(int(units[1]), int(units.sum()), 0.5, alternative="greater").pvalue
    share = float(frame["expected"].iloc[1] / frame["expected"].sum())
    frame["p_ratio"] = binomtest(round(float(frame["claims"].iloc[1])), total, share).pvalue if total else 1.0
    return frame


def _without(frequency: FittedModel, book: OrderBook, names: Sequence[str], lag: ReportLag | None) -> Array:
    return frequency.expected_claims(book, offset=None if lag is None else lag.offset(book), without=names)


def _band_of(coding: Coding) -> Band:
    _check.instance(coding, Coding, argument="coding")
    if not isinstance(coding.declared, Band):
        raise InputError(f"a score is a Band; factor '{coding.name}' is a {type(coding.declared).__name__}.")
    return coding.declared
