"""Freight schedules: what a parcel costs by zone and weight, and severity priced on the distribution of weight."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from freightrisk import _check
from freightrisk._shown import repr_of, shown
from freightrisk._types import Array
from freightrisk.book.book import OrderBook
from freightrisk.book.factors import Band, Coding, CrossCoding
from freightrisk.errors import InputError
from freightrisk.models.design import Whole

if TYPE_CHECKING:
    import pandas as pd

BASES = ("actual", "scheduled")
FEN = 100
LIGHTEST_G = 20  # parcels of a lower median weight are taken to be in kilograms
MOST_STEPS = 20_000
FEE_COLUMNS = ("first_fee", "step_fee", "first_weight_g", "step_weight_g")
OPTIONAL_COLUMNS = ("remote_fee", "scheduled_payout")


@dataclass(frozen=True, eq=False, repr=False)
class FreightSchedule:
    """The fees of a parcel by zone: a first weight, then steps, each begun step in full.

    Parameters
    ----------
    fees : pandas.DataFrame
        A row a zone, with first_fee and step_fee (yuan, whole fen), first_weight_g and step_weight_g (whole grams) and,
        where there are such, remote_fee (yuan a parcel on top, 0 by default) and scheduled_payout (yuan a claim under
        a cover that pays a fixed amount by route, 定额).
    zone : str or sequence of str
        Column of the zone, or columns of a zone pair such as origin and destination.
    packaging_fee : float
        Yuan a parcel on top; 0 where packaging is free or not covered.
    volume_divisor : float, optional
        Cubic centimetres that count as a kilogram, such as 8,000: a parcel is billed at the larger of its weight and
        its volume weight. None bills the weight.

    Notes
    -----
    A parcel of billed weight w grams costs first_fee + step_fee ceil((w - first_weight_g) / step_weight_g), the steps
    not below zero, plus remote_fee and packaging_fee; in whole fen and grams, so that it is exact.

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
        """Return the zones, each as its parts, in the order of the fees."""
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
                    "volume_cm3 is given, but the schedule has no volume_divisor; give one, or leave it out."
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
            Needed where the schedule bills by volume too.
        """
        import pandas as pd

        known = pd.MultiIndex.from_frame(self.fees[list(self.zone)].astype(object))
        try:
            keys = pd.DataFrame(np.asarray(zone, dtype=object).reshape(-1, len(self.zone)), columns=list(self.zone))
            rows = known.get_indexer(pd.MultiIndex.from_frame(keys))
        except Exception:  # of whatever class the values are
            raise InputError(f"zone is {repr_of(zone)}; give the zone of each parcel, as in the fees.") from None
        _check.refuse_rows(np.asarray(rows < 0), "zone is none of the schedule's in {rows}; add its fees.")
        billed = self.billed_weight(weight_g, volume_cm3)
        if len(billed) != len(rows):
            raise InputError(f"zone has {len(rows):,} values and weight_g {len(billed):,}; give one of each a parcel.")
        return np.asarray(self.fen(rows, billed) / FEN)

    def expected(self, zone: Any, weight: Any, *, limit: float = np.inf) -> float:
        """Return the expected freight of a parcel whose billed weight has a distribution, yuan.

        Parameters
        ----------
        zone : value or tuple
        weight : array of grams, or frozen distribution of scipy.stats
            A sample, each with the same weight, or a continuous distribution with a method ``sf``.
        limit : float
            Most that is paid, yuan.

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
            raise InputError(f"zone {repr_of(zone)} is none of the schedule's.")
        row = np.array([self.zones.index(path)])
        if not hasattr(weight, "sf"):
            freight = self.fen(np.repeat(row, np.size(weight)), _up(np.asarray(weight, dtype=np.float64))) / FEN
            return float(np.minimum(freight, limit).mean())
        first, step = (int(self.fees[name].iloc[row[0]]) for name in ("first_weight_g", "step_weight_g"))
        edges = first + step * np.arange(MOST_STEPS)
        paid = np.minimum(self.fen(np.repeat(row, MOST_STEPS + 1), np.append(edges, edges[-1] + 1)) / FEN, limit)
        return float(paid[0] + (np.diff(paid) * weight.sf(edges)).sum())

    def breakpoints(self, largest_g: int) -> Whole:
        """Return the weights up to which a fee holds, of all zones together, the last at or above `largest_g`."""
        found: set[int] = set()
        for first, step in set(
            zip(self.fees["first_weight_g"].tolist(), self.fees["step_weight_g"].tolist(), strict=True)
        ):
            steps = max(0, -(-(largest_g - int(first)) // int(step)))
            if steps > MOST_STEPS:
                raise InputError(
                    f"a parcel of {largest_g:,} g is {steps:,} steps of {int(step):,} g; correct its weight, or give "
                    "longer steps."
                )
            found.update(range(int(first), int(first) + int(step) * steps + 1, int(step)))
        return np.array(sorted(found), dtype=np.int64)

    def fen(self, rows: NDArray[Any], billed: Whole) -> Whole:
        """Return the freight of parcels of some rows of the fees and billed weights, whole fen."""
        fen = {name: _fen_of(self.fees[name].to_numpy()) for name in ("first_fee", "step_fee")}
        first, step = (self.fees[name].to_numpy(dtype=np.int64)[rows] for name in ("first_weight_g", "step_weight_g"))
        steps = np.maximum(0, -(-(billed - first) // step))
        more = _fen_of(self.fees["remote_fee"].to_numpy())[rows] if "remote_fee" in self.fees else 0
        return np.asarray(
            fen["first_fee"][rows] + fen["step_fee"][rows] * steps + more + round(self.packaging_fee * FEN)
        )

    def __repr__(self) -> str:
        bills = "weight" if self.volume_divisor is None else f"weight or volume / {self.volume_divisor:g}"
        return shown(f"FreightSchedule: {len(self.fees)} zones by {' and '.join(self.zone)}, billed by {bills}")


@dataclass(frozen=True, eq=False)
class ScheduleSeverity:
    """Severity from a freight schedule, priced on the distribution of weight.

    Where fees are filed or contracted, the freight of a claim is known but for its weight: its mean is the schedule's
    fees over the weights of the parcels, not the fee of the mean weight. Within a level of `weight` the distribution is
    taken to be the same in every zone.

    Parameters
    ----------
    schedule : FreightSchedule
    zone : str
        Factor of the book whose levels are the schedule's zones: a Factor, or for zone pairs a Hierarchy of their
        columns.
    weight : str, optional
        Factor whose levels have a distribution of weight each, such as the category; one for all by default.
    prior_parcels : float
        Parcels that the distribution of a level's parent counts as beside its own: few parcels lean on the parent.
    basis : {"actual", "scheduled"}
        What a claim is paid: the freight of its parcel (实赔), or the schedule's `scheduled_payout` of its zone,
        whatever it cost (定额).

    Examples
    --------
    >>> import pandas as pd
    >>> from freightrisk import Factor, FreightSchedule, OrderBook, ScheduleSeverity
    >>> fees = pd.DataFrame({"zone": ["near", "far"], "first_fee": [8.0, 12.0], "step_fee": [2.0, 6.0],
    ...                      "first_weight_g": 1000, "step_weight_g": 1000})
    >>> orders = pd.DataFrame({"order_id": range(4), "zone": ["near", "near", "far", "far"]})
    >>> book = OrderBook.from_frames(orders, orders.head(1).assign(freight=8.0), factors=[Factor("zone")],
    ...                              ship_date=None, report_date=None)
    >>> fitted = ScheduleSeverity(FreightSchedule(fees), zone="zone").fit(book, weight_g=[400, 1500, 900, 2500])
    >>> fitted.table[["zone", "mean_freight"]].values.tolist()
    [['far', 16.5], ['near', 9.5]]
    """

    schedule: FreightSchedule
    zone: str
    weight: str | None = None
    prior_parcels: float = field(default=50.0, kw_only=True)
    basis: str = field(default="actual", kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.schedule, FreightSchedule):
            raise InputError(f"schedule is {repr_of(self.schedule)}; it must be a FreightSchedule.")
        _check.one_of(self.basis, BASES, argument="basis")
        _check.label(self.zone, argument="zone")
        if self.weight is not None:
            _check.label(self.weight, argument="weight")
        prior = _check.number(self.prior_parcels, argument="prior_parcels", low=0.0, high=1e9)
        object.__setattr__(self, "prior_parcels", prior)
        if self.basis == "scheduled" and "scheduled_payout" not in self.schedule.fees:
            raise InputError("basis='scheduled' needs a column scheduled_payout in the schedule's fees.")
        if self.zone == self.weight:
            raise InputError(f"zone and weight are both '{self.zone}'; give two factors.")

    def fit(
        self,
        book: OrderBook,
        weight_g: ArrayLike,
        *,
        volume_cm3: ArrayLike | None = None,
        claims_only: bool = False,
    ) -> "FittedSchedule":
        """Return the severity of a book's parcels.

        Parameters
        ----------
        book : OrderBook
        weight_g : array, shape (n_orders,)
            Weight of each order's parcel, grams, by place; an index is not read.
        volume_cm3 : array, shape (n_orders,), optional
            Needed where the schedule bills by volume too.
        claims_only : bool
            Take the weights of orders with claims, one for each claim, and not of all orders.
        """
        _check.instance(book, OrderBook, argument="book")
        claims_only = _check.flag(claims_only, argument="claims_only")
        _warn_of_kilograms(weight_g)
        zone = _coding(book, self.zone, "zone")
        weight = None if self.weight is None else _coding(book, self.weight, "weight")
        rows = _fee_rows(self.schedule, zone)
        billed = self.schedule.billed_weight(weight_g, volume_cm3)
        if len(billed) != book.n_orders:
            raise InputError(f"weight_g has {len(billed):,} values; give one for each of {book.n_orders:,} orders.")
        parcels = book.counts.astype(np.float64) if claims_only else np.ones(book.n_orders)
        if not parcels.any():
            raise InputError("the book has no claims, so claims_only=True leaves no parcel; use all orders.")
        edges = self.schedule.breakpoints(int(billed[parcels > 0].max()))
        interval = np.searchsorted(edges, billed)
        by_zone = np.bincount(book.codes[self.zone], parcels, zone.n_slots).astype(np.float64)
        codes = np.zeros(book.n_orders, dtype=np.int64) if weight is None else book.codes[weight.name].astype(np.int64)
        n_slots = 1 if weight is None else weight.n_slots
        used = parcels > 0
        flat = np.bincount(codes[used] * len(edges) + interval[used], parcels[used], n_slots * len(edges))
        counts = flat.astype(np.float64).reshape(n_slots, len(edges))
        shares = _shrunk(counts, weight, self.prior_parcels)
        if self.basis == "scheduled":
            paid = np.repeat(self.schedule.fees["scheduled_payout"].to_numpy(float)[rows, None], len(edges), axis=1)
        else:
            paid = np.stack([self.schedule.fen(np.full(len(edges), row), edges) / FEN for row in rows.tolist()])
        return FittedSchedule(self.schedule, self.basis, zone, weight, edges, paid, shares, by_zone, counts.sum(axis=1))


@dataclass(frozen=True, eq=False, repr=False)
class FittedSchedule:
    """The severity of a freight schedule on the weights of a book: a table of zone by weight class.

    Parameters
    ----------
    schedule : FreightSchedule
    basis : {"actual", "scheduled"}
    zone : Coding
    weight : Coding or None
        The factor whose levels have a distribution of weight each.
    edges : int64 array, shape (intervals,)
        Upper ends of the intervals of billed weight in which every zone's fee is constant, grams.
    paid : float64 array, shape (zone levels, intervals)
        Freight of a parcel in each interval of billed weight, yuan; the payout on a scheduled basis.
    weight_shares : float64 array, shape (weight slots, intervals)
        Distribution of billed weight at each level and fallback.
    zone_parcels, weight_parcels : float64 array
        Parcels of each zone and weight slot.
    """

    schedule: FreightSchedule
    basis: str
    zone: Coding
    weight: Coding | None
    edges: Whole
    paid: Array
    weight_shares: Array
    zone_parcels: Array
    weight_parcels: Array
    kind: str = field(default="severity", init=False)

    @property
    def cell(self) -> Coding | CrossCoding:
        """Return the coding of the table: zone by weight class, or the zone alone."""
        return self.zone if self.weight is None else CrossCoding(self.zone, self.weight)

    @property
    def codings(self) -> dict[str, Coding | CrossCoding]:
        """Return the coding of the table by its name, as a fitted model has one for each of its tables."""
        return {self.cell.name: self.cell}

    @property
    def base(self) -> float:
        """Return the mean freight over zones and weights of the parcels, as if these were independent, yuan."""
        mean = self._mean_freight
        weights = np.outer(self.zone_parcels, self.weight_parcels)
        return float((mean * weights).sum() / weights.sum())

    @property
    def tables(self) -> dict[str, Array]:
        """Return the log relativity of every slot of the table."""
        return {self.cell.name: np.log(self._mean_freight / self.base).ravel()}

    @property
    def provenance(self) -> dict[str, Any]:
        """Return what a tariff records of it."""
        return {"family": "schedule", "basis": self.basis, "parcels": float(self.weight_parcels.sum())}

    @property
    def _mean_freight(self) -> Array:
        return self.expected_paid(np.inf)

    def expected_paid(self, limit: ArrayLike) -> Array:
        """Return the expected payment of a claim under a limit, yuan.

        Parameters
        ----------
        limit : float, or array of shape (zone slots, weight slots) or (zone slots, weight slots, levels of a third)
            Most that is paid for a claim, yuan; sides may be 1, as in broadcasting.

        Returns
        -------
        float64 array, shape (zone slots, weight slots), or with the limit's third axis

        Notes
        -----
        Fees are constant between neighbouring weights at which a step begins, so the expectation is a finite sum over
        those intervals, exact for the distribution of weights.
        """
        given: Array = np.asarray(limit, dtype=np.float64)
        third: Array = given.reshape(given.shape + (1,) * (3 - given.ndim))
        wide = np.broadcast_to(third, (self.zone.n_slots, len(self.weight_shares), third.shape[-1]))
        value = np.empty(wide.shape)
        for most in np.unique(wide):
            table = self._all_zones(np.minimum(self.paid, most) @ self.weight_shares.T)
            np.copyto(value, table[:, :, None], where=wide == most)
        return value if given.ndim == 3 else value[:, :, 0]

    def paid_share(self, limit: ArrayLike) -> Array:
        """Return what a limit leaves of the mean freight, in the shape of `expected_paid`; at most 1."""
        found = self.expected_paid(limit)
        mean = self._mean_freight
        return np.minimum(found / (mean[:, :, None] if found.ndim == 3 else mean), 1.0)

    def _all_zones(self, table: Array) -> Array:
        """Return a table by zone level with a row for each fallback: the mean of its zones, by parcels."""
        parcels = self.zone_parcels[: self.zone.n_levels]
        rows = [
            np.average(table[members], axis=0, weights=parcels[members] if parcels[members].any() else None)
            for members in self.zone.members
        ]
        return np.concatenate([table, np.stack(rows)])

    def predict(self, book: OrderBook) -> Array:
        """Return the mean freight of a claim of each order of a book with the same codings, yuan."""
        for coding in self.cell.factors:
            if book.codings.get(coding.name) != coding:
                raise InputError(
                    f"book: its coding of factor '{coding.name}' is not the fit's; select rows of that book."
                )
        second = 0 if self.weight is None else book.codes[self.weight.name]
        return np.asarray(self._mean_freight[book.codes[self.zone.name], second])

    @property
    def table(self) -> "pd.DataFrame":
        """Return a row for each zone and weight level.

        Columns: zone, the weight factor if there is one, parcels of the weight level (of the zone where there is none),
        mean_freight, first_weight_share (share of the mean that is within the first-weight fee), steps (expected fee of
        continued weight) and, where the fees have one, scheduled_payout and gain, what a claimant keeps of it.
        """
        import pandas as pd

        zones, weights = self.zone.n_levels, 1 if self.weight is None else self.weight.n_levels
        rows = _fee_rows(self.schedule, self.zone)
        actual = np.stack([self.schedule.fen(np.full(len(self.edges), row), self.edges) / FEN for row in rows])
        mean = (actual @ self.weight_shares.T)[:, :weights]
        first = actual[:, :1] * np.ones((1, weights))
        columns: dict[str, Any] = {"zone": np.repeat(self.zone.labels, weights)}
        if self.weight is None:
            columns["parcels"] = self.zone_parcels[:zones]
        else:
            columns[self.weight.name] = np.tile(self.weight.labels, zones)
            columns["parcels"] = np.tile(self.weight_parcels[:weights], zones)
        columns |= {
            "mean_freight": mean.ravel(),
            "first_weight_share": (first / mean).ravel(),
            "steps": (mean - first).ravel(),
        }
        if "scheduled_payout" in self.schedule.fees:
            payout = np.repeat(self.schedule.fees["scheduled_payout"].to_numpy(float)[rows], weights)
            columns |= {"scheduled_payout": payout, "gain": payout - mean.ravel()}
        return pd.DataFrame(columns)

    def __repr__(self) -> str:
        by = "" if self.weight is None else f" by {self.weight.n_levels:,} levels of {self.weight.name}"
        return shown(
            f"FittedSchedule: {self.zone.n_levels} zones{by}, {self.basis} basis; "
            f"{self.weight_parcels.sum():,.0f} parcels, mean freight {self.base:.2f} yuan"
        )


def _coding(book: OrderBook, name: str, argument: str) -> Coding:
    if name not in book.codings:
        raise InputError(f"{argument} is '{name}', which is no factor of the book; it has {', '.join(book.codings)}.")
    return book.codings[name]


def _fee_rows(schedule: FreightSchedule, zone: Coding) -> Whole:
    """Return the row of the fees of each level of the zone factor."""
    place = {tuple(map(str, path)): k for k, path in enumerate(schedule.zones)}
    if isinstance(zone.declared, Band) or len(zone.columns) != len(schedule.zone):
        raise InputError(
            f"zone: factor '{zone.name}' reads {', '.join(zone.columns)}, the schedule's zones are by "
            f"{', '.join(schedule.zone)}; declare a Factor, or a Hierarchy of those columns."
        )
    unknown = [label for label, path in zip(zone.labels, zone.paths, strict=True) if tuple(map(str, path)) not in place]
    if unknown:
        raise InputError(
            f"zone: the schedule has no fees for {len(unknown)} level(s) of '{zone.name}' (first: '{unknown[0]}'); add "
            "them, and declare the factor without min_claims or min_exposure."
        )
    return np.array([place[tuple(map(str, path))] for path in zone.paths], dtype=np.int64)


def _shrunk(counts: Array, coding: Coding | None, prior: float) -> Array:
    """Return the distribution of each slot: its parcels with those of its parent as `prior` parcels beside them."""
    if coding is None:
        return np.asarray(counts / counts.sum())
    shares = np.empty_like(counts)
    for k, node in enumerate(coding.nodes):
        slot = coding.n_levels + k
        own = counts[coding.members[k]].sum(axis=0) + counts[slot]
        shares[slot] = own / own.sum() if not node else _mixed(own, shares[coding.fallback[node[:-1]]], prior)
    for code, path in enumerate(coding.paths):
        parent = next(path[:depth] for depth in range(len(path) - 1, -1, -1) if path[:depth] in coding.fallback)
        shares[code] = _mixed(counts[code], shares[coding.fallback[parent]], prior)
    return shares


def _mixed(own: Array, parent: Array, prior: float) -> Array:
    total = own.sum() + prior
    return np.asarray((own + prior * parent) / total) if total > 0 else parent


def _first_twice(frame: "pd.DataFrame", names: tuple[str, ...]) -> str:
    row = frame.loc[frame.duplicated(list(names)), list(names)].iloc[0]
    return f"'{' > '.join(map(str, row))}'"


def _check_fees(frame: "pd.DataFrame", column: str) -> None:
    values = _check.real_array(frame[column].to_numpy(), argument=f"fees column '{column}'", length=len(frame))
    positive = column in ("first_fee", "first_weight_g", "step_weight_g", "scheduled_payout")
    _check.refuse_rows(
        (values < 0.0) | ((values == 0.0) & positive) | (values > 1e6),
        f"fees: '{column}' is not {'above' if positive else 'at or above'} zero and at most 1e6 in {{rows}}.",
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


def _warn_of_kilograms(weight_g: ArrayLike) -> None:
    found = np.asarray(weight_g)
    median = float(np.median(found)) if found.dtype.kind in "iuf" and found.size else np.inf
    if median < LIGHTEST_G:
        _check.warn(
            f"weight_g has a median of {median:.3g} g, less than parcels weigh ({LIGHTEST_G} g), so it may be in "
            "kilograms; multiply it by 1,000."
        )


def _fen_of(yuan: ArrayLike) -> Whole:
    return np.rint(np.asarray(yuan, dtype=np.float64) * FEN).astype(np.int64)


def _up(grams: Array) -> Whole:
    """Return whole grams, rounded up; a part of a gram that is only rounding does not count.

    1.1 kg in single precision is 1,100.00002 g, so that half a last place of single precision counts as nothing.
    """
    return np.ceil(grams * (1.0 - 2.0**-24) - 1e-6).astype(np.int64)
