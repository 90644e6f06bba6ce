"""Severity from a freight schedule, priced on the distribution of weight."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from freightrisk import _check
from freightrisk._shown import counted, named, repr_of, shown
from freightrisk._types import Array
from freightrisk.book.book import OrderBook
from freightrisk.book.codings import Coding, CrossCoding
from freightrisk.book.factors import Band
from freightrisk.errors import InputError
from freightrisk.models.design import Whole
from freightrisk.models.schedule import FEN, FreightSchedule

if TYPE_CHECKING:
    import pandas as pd

BASES = ("actual", "scheduled")
LIGHTEST_G = 20  # if the median weight is lower, the weights are probably in kilograms


@dataclass(frozen=True, eq=False)
class ScheduleSeverity:
    """Severity from a freight schedule, priced on the distribution of weight.

    If fees are filed or contracted, the freight of a claim depends only on its zone and weight. The mean freight is the
    mean of the fees over the weights of the parcels, and not the fee of the mean weight. The model assumes that a level
    of `weight` has the same distribution of weight in every zone.

    Parameters
    ----------
    schedule : FreightSchedule
    zone : str
        Factor of the book whose levels are the schedule's zones: a Factor, or for zone pairs a Hierarchy of their
        columns.
    weight : str, optional
        Factor with a distribution of weight for each level, such as the category. By default all orders share one
        distribution.
    prior_parcels : float
        Number of parcels that the parent's distribution counts as, beside the level's own parcels. A level with few
        parcels therefore stays close to its parent.
    basis : {"actual", "scheduled"}
        The amount paid for a claim: the freight of its parcel (实赔), or the fixed `scheduled_payout` of its zone,
        whatever the parcel cost (定额).

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
            Weight of each order's parcel, grams, above 0, by position; an index is not read. A weight of 0 is refused,
            because it has no fee; fill in the weight of such parcels, or leave their orders out (`OrderBook.select`).
        volume_cm3 : array, shape (n_orders,), optional
            Volume of each order's parcel; needed if the schedule bills by volume too.
        claims_only : bool
            Use only the weights of orders with claims, once for each claim, instead of the weights of all orders.

        Raises
        ------
        InputError
            If a weight is not above 0, a zone has no fees, or an argument has the wrong shape.
        """
        _check.instance(book, OrderBook, argument="book")
        claims_only = _check.flag(claims_only, argument="claims_only")
        _warn_of_kilograms(weight_g)
        zone = _coding(book, self.zone, "zone")
        weight = None if self.weight is None else _coding(book, self.weight, "weight")
        rows = _fee_rows(self.schedule, zone)
        billed = self.schedule.billed_weight(weight_g, volume_cm3)
        if len(billed) != book.n_orders:
            raise InputError(
                f"weight_g has {counted(len(billed), 'value')}; give one for each of {book.n_orders:,} orders."
            )
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
        The factor with a distribution of weight for each level.
    edges : int64 array, shape (intervals,)
        Upper ends of the intervals of billed weight in which every zone's fee is constant, grams.
    paid : float64 array, shape (zone levels, intervals)
        Freight of a parcel in each interval of billed weight, yuan; on a scheduled basis, the scheduled payout.
    weight_shares : float64 array, shape (weight slots, intervals)
        Distribution of billed weight at each level and fallback.
    zone_parcels, weight_parcels : float64 array
        Number of parcels of each zone slot and of each weight slot.
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
        """Return the mean freight over the parcels, yuan, as if zone and weight were independent."""
        mean = self._mean_freight
        weights = np.outer(self.zone_parcels, self.weight_parcels)
        return float((mean * weights).sum() / weights.sum())

    @property
    def tables(self) -> dict[str, Array]:
        """Return the log relativity of every slot of the table."""
        return {self.cell.name: np.log(self._mean_freight / self.base).ravel()}

    @property
    def provenance(self) -> dict[str, Any]:
        """Return the family, basis and number of parcels, which a tariff records."""
        return {"family": "schedule", "basis": self.basis, "parcels": float(self.weight_parcels.sum())}

    @property
    def _mean_freight(self) -> Array:
        return self.expected_paid(np.inf)

    def expected_paid(self, limit: ArrayLike) -> Array:
        """Return the expected payment of a claim under a limit, yuan.

        Parameters
        ----------
        limit : float, or array of shape (zone slots, weight slots) or (zone slots, weight slots, levels of a third)
            Largest amount paid for a claim, yuan. Axes may have length 1, as in broadcasting.

        Returns
        -------
        float64 array, shape (zone slots, weight slots), or with the limit's third axis

        Notes
        -----
        Fees are constant between neighbouring weights at which a step begins. The expectation is therefore a finite sum
        over these intervals, exact for the given distribution of weights.
        """
        given: Array = np.asarray(limit, dtype=np.float64)
        third: Array = given.reshape(given.shape + (1,) * (3 - given.ndim))
        wide = np.broadcast_to(third, (self.zone.n_slots, len(self.weight_shares), third.shape[-1]))
        value = np.empty(wide.shape)
        # A limit usually has few distinct values, so the full table is computed once for each of them.
        for most in np.unique(wide):
            table = self._all_zones(np.minimum(self.paid, most) @ self.weight_shares.T)
            np.copyto(value, table[:, :, None], where=wide == most)
        return value if given.ndim == 3 else value[:, :, 0]

    def paid_share(self, limit: ArrayLike) -> Array:
        """Return the share of the mean freight that is paid under a limit, at most 1, in `expected_paid`'s shape."""
        found = self.expected_paid(limit)
        mean = self._mean_freight
        return np.minimum(found / (mean[:, :, None] if found.ndim == 3 else mean), 1.0)

    def _all_zones(self, table: Array) -> Array:
        """Return the table with one more row for each fallback: the mean of its zones, weighted by parcels."""
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
                    f"book: its coding of factor '{coding.name}' differs from the fit's; select rows of the fitted "
                    "book."
                )
        second = 0 if self.weight is None else book.codes[self.weight.name]
        return np.asarray(self._mean_freight[book.codes[self.zone.name], second])

    @property
    def table(self) -> "pd.DataFrame":
        """Return one row for each zone and weight level.

        Columns: zone, the weight factor if there is one, parcels (of the weight level, or of the zone without a weight
        factor), mean_freight, first_weight_share (share of the mean freight within the first-weight fee) and steps
        (expected fee of continued weight). If the fees have a scheduled payout, there are also scheduled_payout and
        gain, the payout less the mean freight.
        """
        import pandas as pd

        zones, weights = self.zone.n_levels, 1 if self.weight is None else self.weight.n_levels
        rows = _fee_rows(self.schedule, self.zone)
        actual = np.stack([self.schedule.fen(np.full(len(self.edges), row), self.edges) / FEN for row in rows])
        mean = (actual @ self.weight_shares.T)[:, :weights]
        # The first edge is the smallest first weight, up to which no zone charges a step.
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
        raise InputError(
            f"{argument} is '{name}', which is not a factor of the book; the book has "
            f"{named(book.codings, 'no factors')}."
        )
    return book.codings[name]


def _fee_rows(schedule: FreightSchedule, zone: Coding) -> Whole:
    """Return, for each level of the zone factor, its row in the fees."""
    place = {tuple(map(str, path)): k for k, path in enumerate(schedule.zones)}
    if isinstance(zone.declared, Band) or len(zone.columns) != len(schedule.zone):
        raise InputError(
            f"zone: factor '{zone.name}' reads {', '.join(zone.columns)}, but the schedule's zones are given by "
            f"{', '.join(schedule.zone)}; declare a Factor or a Hierarchy of the schedule's columns."
        )
    unknown = [label for label, path in zip(zone.labels, zone.paths, strict=True) if tuple(map(str, path)) not in place]
    if unknown:
        raise InputError(
            f"zone: the schedule has no fees for {counted(len(unknown), 'level')} of '{zone.name}' (first: "
            f"'{unknown[0]}'); add them, and declare the factor without min_claims or min_exposure."
        )
    return np.array([place[tuple(map(str, path))] for path in zone.paths], dtype=np.int64)


def _shrunk(counts: Array, coding: Coding | None, prior: float) -> Array:
    """Return the distribution of each slot: its own parcels and `prior` parcels with the parent's distribution."""
    if coding is None:
        return np.asarray(counts / counts.sum())
    shares = np.empty_like(counts)
    # A node comes after its parent, so the parent's distribution is known when a node or a level needs it.
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


def _warn_of_kilograms(weight_g: ArrayLike) -> None:
    found = np.asarray(weight_g)
    median = float(np.median(found)) if found.dtype.kind in "iuf" and found.size else np.inf
    if median < LIGHTEST_G:
        _check.warn(
            f"weight_g has a median of {median:.3g} g, which is too light for parcels (below {LIGHTEST_G} g). It may "
            "be in kilograms; multiply it by 1,000."
        )
