"""The monotone curve of the merchants' score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from freightrisk import _check
from freightrisk._columns import JoinedColumns, value_of
from freightrisk._frozen import EqualByContent
from freightrisk._intake import level_of, spelling
from freightrisk._shown import repr_of, shown
from freightrisk._types import Array
from freightrisk.book.book import OrderBook
from freightrisk.book.codings import Coding
from freightrisk.book.factors import Band
from freightrisk.book.maturity import ReportLag
from freightrisk.errors import InputError
from freightrisk.models.fitted import FittedModel

if TYPE_CHECKING:
    import pandas as pd

LARGEST_MOD = 1e4


@dataclass(frozen=True, eq=False, repr=False)
class ScoreCurve(EqualByContent):
    """The relativity g of a score: monotone over the bands of the score and 1 on average.

    The curve uses the score as a risk factor only. If a programme grants money above some score, write a `Subsidy` with
    the condition ``where={"experience_score": Interval(above=4.8)}``, which does not change the technical premium.

    Parameters
    ----------
    coding : Coding
        Coding of a `Band` of the score.
    relativity : float64 array, shape (n_slots,)
        Relativity of every band, of missing scores and of the fallback. It is scaled to 1 on average over `weight`.
    weight : float64 array, shape (n_slots,)
        Expected claims of each slot without the score, in the book on which the average is 1.
    version : str
        Version of the score's definition. Scores of different versions are not comparable.
    version_column : str, optional
        Column of orders or merchants with the version of each score. Pricing refuses scores of another version.
    lag_days : int
        The score is taken this many days before shipment (`lagged_scores`), because it depends on returns itself.
    higher_is_better : bool
        True: the relativity must not rise with the score. False, for inputs such as a bad-review rate: it must not
        fall.
    base_factor : float
        Average of the fitted relativities before they were scaled. A tariff multiplies its base by it.

    Raises
    ------
    InputError
        If the curve is not monotone, or if relativities and weights do not have the size of the coding.
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
        if self.version_column is not None:
            _check.label(self.version_column, argument="version_column")
        _check.flag(self.higher_is_better, argument="higher_is_better")
        _check.whole(self.lag_days, argument="lag_days", low=0, high=3650)
        _check.number(self.base_factor, argument="base_factor", low=0.0, high=LARGEST_MOD, open_low=True)
        size = self.coding.n_slots
        found = _check.real_array(self.relativity, argument="relativity", length=size)
        weight = self._weight_of(self.weight)
        if not np.all((found > 0.0) & (found < LARGEST_MOD)):
            raise InputError(
                f"the curve of '{self.name}' has a relativity outside its range; it must be above zero and below "
                f"{LARGEST_MOD:g}."
            )
        steps = np.diff(found[self._bands])
        wrong = np.flatnonzero(steps > 0.0 if self.higher_is_better else steps < 0.0)
        if len(wrong):
            raise InputError(
                f"the curve of '{self.name}' {'rises' if self.higher_is_better else 'falls'} from band "
                f"{self.coding.labels[wrong[0]]} to the next; fit the factor with "
                f"Smooth('{self.name}', monotone='{'decreasing' if self.higher_is_better else 'increasing'}')."
            )
        mean = float(weight @ found / weight.sum())
        # A mean that is 1 already is not divided out again, so that a loaded tariff equals the saved one bit for bit.
        object.__setattr__(self, "relativity", found if abs(mean - 1.0) < 1e-12 else found / mean)
        object.__setattr__(self, "weight", weight)

    def _weight_of(self, weight: ArrayLike) -> Array:
        """Return weights of the slots as an array; refuses weights below zero and weights that are all zero."""
        found = _check.real_array(weight, argument="weight", length=self.coding.n_slots)
        if not np.all(found >= 0.0) or found.sum() <= 0.0:
            raise InputError(f"weight of the curve of '{self.name}' must be zero or more, and above zero somewhere.")
        return found

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
        """Return the fitted curve of a frequency model, scaled to 1 on average over its book.

        Parameters
        ----------
        frequency : FittedModel
            A model with the score as a smooth, monotone factor.
        book : OrderBook
        factor : str
        version, version_column, lag_days, higher_is_better
            As for `ScoreCurve`.
        lag : ReportLag, optional
            Scales the expected claims of immature orders by their reported share.

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
        """Return the codes of the bands from the lowest score up, without the code of missing scores."""
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
        """Return a row for each band: band, relativity, share (of the expected claims without the score)."""
        import pandas as pd

        shown = np.arange(self.coding.n_levels)
        return pd.DataFrame(
            {
                "band": [self.coding.slot_label(code) for code in shown.tolist()],
                "relativity": self.relativity[shown],
                "share": self.weight[shown] / self.weight.sum(),
            }
        )

    def premium_loss(self, weight: ArrayLike) -> float:
        """Return the share of premium that the curve loses (gains, if negative) on a book whose scores have moved.

        Parameters
        ----------
        weight : array, shape (n_slots,)
            As `ScoreCurve.weight`, of the new book.

        Returns
        -------
        float
            1 minus the average of the curve over the new weights.
        """
        new = self._weight_of(weight)
        return 1.0 - float(new @ self.relativity / new.sum())

    def rebalanced(self, weight: ArrayLike) -> "ScoreCurve":
        """Return the curve scaled to mean 1 over new weights; the ratio of any two bands is unchanged.

        Examples
        --------
        The share of merchants above 4.8 grows from 30 % to 36 %. They cost 0.85 times as much as the others.

        >>> import numpy as np
        >>> from freightrisk import Band, ScoreCurve
        >>> from freightrisk.results import Coding
        >>> bands = Coding(Band("score", [4.8]), ((0,), (1,)), {(0,): 0, (1,): 1}, (4.8,))
        >>> curve = ScoreCurve(bands, np.array([1.0, 0.85, 1.0]), np.array([70.0, 30.0, 0.0]), version="2025")
        >>> now = np.array([64.0, 36.0, 0.0])
        >>> round(curve.premium_loss(now), 4), round(curve.rebalanced(now).premium_loss(now), 12)
        (0.0094, 0.0)
        """
        return replace(self, weight=np.asarray(weight, dtype=np.float64))

    def step_at(self, score: float) -> float:
        """Return the relative change of the relativity just above a score; 0 inside a band."""
        edges = np.asarray(self.coding.edges)
        below = int(np.searchsorted(edges, score, side="left"))
        above = int(np.searchsorted(edges, score, side="right"))
        bands = self.relativity[self._bands]
        return float(bands[above] / bands[below] - 1.0)

    def check_versions(self, columns: JoinedColumns) -> None:
        """Raise if a score of the orders has another version than the curve."""
        if self.version_column is not None:
            codes, values = columns.levels(self.version_column)
            right = np.array([spelling(value) == self.version for value in values] + [False], dtype=bool)
            columns.refuse(~right[codes], self._other_version("is another version in {rows}"), self.version_column)

    def check_version_of(self, order: Mapping[str, Any]) -> None:
        """Raise if the score of the order has another version than the curve."""
        if self.version_column is not None:
            value = value_of(order, self.version_column, level_of)
            if value is None or spelling(value) != self.version:
                raise InputError(self._other_version(f"is {repr_of(order[self.version_column])}"))

    def _other_version(self, what: str) -> str:
        return (
            f"'{self.version_column}' {what}; the curve of '{self.name}' has version '{self.version}' and does not "
            "apply to scores of other versions."
        )

    def __repr__(self) -> str:
        bands = self.relativity[self._bands]
        return shown(
            f"ScoreCurve of '{self.name}', version {self.version}: {len(bands)} bands, relativities from "
            f"{bands.max():.3f} to {bands.min():.3f}, {self.lag_days} days before shipment"
        )


def _without(frequency: FittedModel, book: OrderBook, names: Sequence[str], lag: ReportLag | None) -> Array:
    return frequency.expected_claims(book, offset=None if lag is None else lag.offset(book), without=names)


def _band_of(coding: Coding) -> Band:
    _check.instance(coding, Coding, argument="coding")
    if not isinstance(coding.declared, Band):
        raise InputError(f"a score is a Band; factor '{coding.name}' is a {type(coding.declared).__name__}.")
    return coding.declared
