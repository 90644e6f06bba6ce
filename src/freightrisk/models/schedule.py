"""Freight schedules: the freight of a parcel by zone and weight."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from freightrisk import _check
from freightrisk._shown import counted, repr_of, shown
from freightrisk._types import Array
from freightrisk.errors import InputError
from freightrisk.models.design import Whole

if TYPE_CHECKING:
    import pandas as pd

FEN = 100
MOST_STEPS = 20_000  # of one parcel: more steps than any real weight needs
FEE_COLUMNS = ("first_fee", "step_fee", "first_weight_g", "step_weight_g")
OPTIONAL_COLUMNS = ("remote_fee", "scheduled_payout")


@dataclass(frozen=True, eq=False, repr=False)
class FreightSchedule:
    """The fees of a parcel by zone: a fee for the first weight, then a fee for each begun step of further weight.

    Parameters
    ----------
    fees : pandas.DataFrame
        One row for each zone. Required columns: first_fee and step_fee (yuan, whole fen), first_weight_g and
        step_weight_g (whole grams). Optional columns: remote_fee (added for each parcel, yuan, 0 by default) and
        scheduled_payout (yuan a claim under a cover that pays a fixed amount by route, 定额).
    zone : str or sequence of str
        Column of the zone, or columns of a zone pair such as origin and destination.
    packaging_fee : float
        Fee added for each parcel, yuan; 0 if packaging is free or not covered.
    volume_divisor : float, optional
        Cubic centimetres that count as a kilogram, such as 8,000. A parcel is then billed at the larger of its weight
        and its volume weight. With None, it is billed at its weight.

    Notes
    -----
    A parcel of billed weight w grams costs first_fee + step_fee max(0, ceil((w - first_weight_g) / step_weight_g)),
    plus remote_fee and packaging_fee. The result is exact, because fees are whole fen and weights are whole grams.

    Examples
    --------
    >>> import pandas as pd
    >>> from freightrisk import FreightSchedule
    >>> fees = pd.DataFrame({"zone": ["near", "far"], "first_fee": [8.0, 12.0], "step_fee": [2.0, 6.0],
    ...                      "first_weight_g": 1000, "step_weight_g": 1000})
    >>> FreightSchedule(fees).freight(["near", "near", "far"], [1000, 1001, 2600]).tolist()
    [8.0, 10.0, 24.0]
    """

    fees: "pd.DataFrame"
    zone: str | Sequence[str] = "zone"
    packaging_fee: float = field(default=0.0, kw_only=True)
    volume_divisor: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        names = (self.zone,) if isinstance(self.zone, str) else _check.items(self.zone, argument="zone")
        if not names:
            raise InputError("zone is empty; name one column of the fees, or several whose values make a zone.")
        present = list(map(str, _check.frame(self.fees, argument="fees").columns))
        _check.columns_present([*names, *FEE_COLUMNS], present, argument="fees")
        frame = self.fees.reset_index(drop=True).copy()
        if frame.duplicated(list(names)).any():
            raise InputError(f"fees has a zone twice (first: {_first_twice(frame, names)}); give each zone one row.")
        for column in (*FEE_COLUMNS, *(name for name in OPTIONAL_COLUMNS if name in frame)):
            _check_fees(frame, column)
        object.__setattr__(self, "fees", frame)
        object.__setattr__(self, "zone", names)
        packaging = _check.number(self.packaging_fee, argument="packaging_fee", low=0.0, high=1e4)
        object.__setattr__(self, "packaging_fee", packaging)
        _refuse_parts_of_fen(np.array([packaging]), "packaging_fee")
        if self.volume_divisor is not None:
            divisor = _check.number(self.volume_divisor, argument="volume_divisor", low=1.0, high=1e6)
            object.__setattr__(self, "volume_divisor", divisor)

    @property
    def zones(self) -> tuple[tuple[Any, ...], ...]:
        """Return each zone as a tuple of its parts, in the order of the fees."""
        return tuple(self.fees[list(self.zone)].itertuples(index=False, name=None))

    @property
    def first_fees(self) -> dict[str, float]:
        """Return the first-weight fee by zone, for `ByLevel` in a first-weight cover."""
        names = (" > ".join(map(str, zone)) for zone in self.zones)
        return dict(zip(names, self.fees["first_fee"].astype(float).tolist(), strict=True))

    def billed_weight(self, weight_g: ArrayLike, volume_cm3: ArrayLike | None = None) -> Whole:
        """Return the billed weight of parcels in whole grams: the larger of weight and volume weight, rounded up."""
        weight = _check.numbers(weight_g, argument="weight_g")
        weight = _check.real_array(weight, argument="weight_g", length=weight.size)
        _check.refuse_rows(
            ~(weight > 0.0), "weight_g is not above zero in {rows}; give the weight of a parcel in grams."
        )
        if self.volume_divisor is None:
            if volume_cm3 is not None:
                raise InputError(
                    "volume_cm3 is given, but the schedule has no volume_divisor; give the divisor, or leave out "
                    "volume_cm3."
                )
            return _up(weight)
        if volume_cm3 is None:
            raise InputError("the schedule bills by volume too; give volume_cm3.")
        volume = _check.real_array(volume_cm3, argument="volume_cm3", length=len(weight))
        _check.refuse_rows(volume < 0.0, "volume_cm3 is negative in {rows}; give cubic centimetres.")
        return np.maximum(_up(weight), _up(volume * (1000.0 / self.volume_divisor)))

    def freight(self, zone: ArrayLike, weight_g: ArrayLike, volume_cm3: ArrayLike | None = None) -> Array:
        """Return the freight of parcels, yuan.

        Parameters
        ----------
        zone : array, shape (n,), or (n, parts) for zone pairs
        weight_g : array, shape (n,)
        volume_cm3 : array, shape (n,), optional
            Needed if the schedule bills by volume too.
        """
        import pandas as pd

        known = pd.MultiIndex.from_frame(self.fees[list(self.zone)].astype(object))
        try:
            keys = pd.DataFrame(np.asarray(zone, dtype=object).reshape(-1, len(self.zone)), columns=list(self.zone))
            rows = known.get_indexer(pd.MultiIndex.from_frame(keys))
        except Exception:  # values may be of any class, and their errors too
            raise InputError(f"zone is {repr_of(zone)}; give the zone of each parcel, as in the fees.") from None
        _check.refuse_rows(np.asarray(rows < 0), "zone is not in the schedule in {rows}; add its fees.")
        billed = self.billed_weight(weight_g, volume_cm3)
        if len(billed) != len(rows):
            raise InputError(
                f"zone has {counted(len(rows), 'value')} and weight_g has {len(billed):,}; give one of each for every "
                "parcel."
            )
        return np.asarray(self.fen(rows, billed) / FEN)

    def expected(self, zone: Any, weight: Any, *, limit: float = np.inf) -> float:
        """Return the expected freight of a parcel over a distribution of billed weight, yuan.

        Parameters
        ----------
        zone : value or tuple
        weight : array of grams, or frozen distribution of scipy.stats
            A sample of parcels that count alike, or a continuous distribution with a method ``sf``.
        limit : float
            Largest amount paid, yuan.

        Examples
        --------
        The mean of the freight is not the freight of the mean:

        >>> import pandas as pd
        >>> from scipy.stats import lognorm
        >>> from freightrisk import FreightSchedule
        >>> fees = pd.DataFrame({"zone": ["near"], "first_fee": [8.0], "step_fee": [2.0], "first_weight_g": 1000,
        ...                      "step_weight_g": 1000})
        >>> schedule = FreightSchedule(fees)
        >>> weight = lognorm(0.6, scale=1200.0)
        >>> round(schedule.expected("near", weight), 2), schedule.freight(["near"], [weight.mean()]).item()
        (9.84, 10.0)
        """
        path = zone if isinstance(zone, tuple) else (zone,)
        if path not in self.zones:
            raise InputError(f"zone {repr_of(zone)} is not in the schedule; add its fees, or give one of its zones.")
        row = np.array([self.zones.index(path)])
        if not hasattr(weight, "sf"):
            freight = self.fen(np.repeat(row, np.size(weight)), _up(np.asarray(weight, dtype=np.float64))) / FEN
            return float(np.minimum(freight, limit).mean())
        first, step = (int(self.fees[name].iloc[row[0]]) for name in ("first_weight_g", "step_weight_g"))
        edges = first + step * np.arange(MOST_STEPS)
        paid = np.minimum(self.fen(np.repeat(row, MOST_STEPS + 1), np.append(edges, edges[-1] + 1)) / FEN, limit)
        # The fee rises by a step at each edge, so each rise counts with the probability that the weight exceeds it.
        return float(paid[0] + (np.diff(paid) * weight.sf(edges)).sum())

    def breakpoints(self, largest_g: int) -> Whole:
        """Return the weights at which a fee of some zone ends, in rising order; the last is at or above `largest_g`."""
        found: set[int] = set()
        for first, step in set(
            zip(self.fees["first_weight_g"].tolist(), self.fees["step_weight_g"].tolist(), strict=True)
        ):
            steps = max(0, -(-(largest_g - int(first)) // int(step)))  # -(-a // b) rounds a / b up
            if steps > MOST_STEPS:
                raise InputError(
                    f"a parcel of {largest_g:,} g needs {steps:,} steps of {int(step):,} g; correct its weight, or "
                    "give longer steps."
                )
            found.update(range(int(first), int(first) + int(step) * steps + 1, int(step)))
        return np.array(sorted(found), dtype=np.int64)

    def fen(self, rows: NDArray[Any], billed: Whole) -> Whole:
        """Return the freight of parcels in whole fen, given their rows in the fees and their billed weights."""
        fen = {name: _fen_of(self.fees[name].to_numpy()) for name in ("first_fee", "step_fee")}
        first, step = (self.fees[name].to_numpy(dtype=np.int64)[rows] for name in ("first_weight_g", "step_weight_g"))
        steps = np.maximum(0, -(-(billed - first) // step))
        more = _fen_of(self.fees["remote_fee"].to_numpy())[rows] if "remote_fee" in self.fees else 0
        return np.asarray(
            fen["first_fee"][rows] + fen["step_fee"][rows] * steps + more + round(self.packaging_fee * FEN)
        )

    def __repr__(self) -> str:
        bills = "weight" if self.volume_divisor is None else f"weight or volume / {self.volume_divisor:g}"
        return shown(
            f"FreightSchedule: {counted(len(self.fees), 'zone')} by {' and '.join(self.zone)}, billed by {bills}"
        )


def _first_twice(frame: "pd.DataFrame", names: tuple[str, ...]) -> str:
    row = frame.loc[frame.duplicated(list(names)), list(names)].iloc[0]
    return f"'{' > '.join(map(str, row))}'"


def _check_fees(frame: "pd.DataFrame", column: str) -> None:
    values = _check.real_array(frame[column].to_numpy(), argument=f"fees column '{column}'", length=len(frame))
    positive = column in ("first_fee", "first_weight_g", "step_weight_g", "scheduled_payout")
    _check.refuse_rows(
        (values < 0.0) | ((values == 0.0) & positive) | (values > 1e6),
        f"fees: '{column}' must be {'above' if positive else 'at or above'} zero and at most 1e6; correct it in "
        "{rows}.",
    )
    if column.endswith("_g"):
        _check.refuse_rows(values != np.floor(values), f"fees: '{column}' is not in whole grams in {{rows}}.")
    else:
        _refuse_parts_of_fen(values, f"fees column '{column}'")


def _refuse_parts_of_fen(values: Array, what: str) -> None:
    _check.refuse_rows(
        np.abs(values * FEN - np.rint(values * FEN)) > 1e-6,
        f"{what} is not in whole fen in {{rows}}; round it to 0.01.",
    )


def _fen_of(yuan: ArrayLike) -> Whole:
    return np.rint(np.asarray(yuan, dtype=np.float64) * FEN).astype(np.int64)


def _up(grams: Array) -> Whole:
    """Return whole grams, rounded up; an excess that is only rounding does not count as a further gram.

    For example, 1.1 kg in single precision is 1,100.00002 g. The weight is therefore first reduced by the largest
    rounding error of single precision, half a unit in the last place.
    """
    return np.ceil(grams * (1.0 - 2.0**-24) - 1e-6).astype(np.int64)
