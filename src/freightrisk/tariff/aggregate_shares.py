"""The share of the payouts of each merchant that an aggregate limit by merchant leaves."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from freightrisk import _check
from freightrisk._columns import MERCHANT_ID, Table, id_array, read
from freightrisk._frozen import EqualByContent, FrozenDict
from freightrisk._intake import by_id, spelling
from freightrisk._progress import progress_bar
from freightrisk._shown import counted, repr_of
from freightrisk._types import Array
from freightrisk.book.recode import Places
from freightrisk.errors import InputError
from freightrisk.models.claim_counts import ClaimCount, NegativeBinomialCount
from freightrisk.models.limited_sums import limited_shares
from freightrisk.models.payouts import checked_shape
from freightrisk.models.shapes import SeverityShape
from freightrisk.tariff.aggregate_limit import LARGEST_AMOUNT, AggregateLimit

LEAST_PAYOUT, LARGEST_PAYOUT = 1e-3, 1e6  # mean payout of a claim, yuan


@dataclass(frozen=True, eq=False, repr=False)
class AggregateShares(EqualByContent):
    """The share of the expected payouts that an aggregate limit by merchant leaves: E[min(S, A)] / E[S].

    S is the sum of a merchant's payouts in a period, and A the limit. The price of an order under the limit is its
    price without the limit times the share of its merchant.

    Parameters
    ----------
    limit : AggregateLimit
        A limit by merchant.
    shares : mapping of merchant to float
        Share of each merchant, in (0, 1].
    size_shares : mapping of str to float
        Share of each size band, for merchants that have no share of their own.
    default : float
        Share of all other merchants.
    error : float
        Estimate of the largest relative error of a share from grids and interpolation.
    size_column : str, optional
        Column of orders or merchants with the size bands; needed with `size_shares`.

    Raises
    ------
    InputError
        For a share outside (0, 1], an invalid merchant id, or a limit by order.
    """

    limit: AggregateLimit
    shares: Mapping[Any, float]
    size_shares: Mapping[str, float] = field(default_factory=dict)
    default: float = 1.0
    error: float = 0.0
    size_column: str | None = None

    def __post_init__(self) -> None:
        _merchant_limit(self.limit)
        shares = by_id(_check.mapping(self.shares, argument="shares"), "shares")
        sizes = _check.mapping(self.size_shares, argument="size_shares")
        for name in sizes:
            _check.label(name, argument="a size band of size_shares")
        for argument, found in (("shares", shares), ("size_shares", sizes), ("default", {"": self.default})):
            _check_shares(argument, found)
        object.__setattr__(self, "shares", FrozenDict({key: float(share) for key, share in shares.items()}))
        object.__setattr__(self, "size_shares", FrozenDict({key: float(share) for key, share in sizes.items()}))
        object.__setattr__(self, "default", float(self.default))
        object.__setattr__(self, "error", _check.number(self.error, argument="error", low=0.0))
        if self.size_column is not None:
            _check.label(self.size_column, argument="size_column")
        if sizes and self.size_column is None:
            raise InputError("size_shares needs size_column, the column of orders or merchants with the size bands.")

    def as_document(self) -> dict[str, Any]:
        """Return the values of a document by key. Merchants are a list, because JSON keys are texts."""
        return {
            "limit": self.limit, "merchants": [*self.shares], "shares": [*self.shares.values()],
            "sizes": [*self.size_shares], "size_shares": [*self.size_shares.values()],
            "default": self.default, "error": self.error, "size_column": self.size_column,
        }  # fmt: skip

    @classmethod
    def of_document(
        cls,
        limit: AggregateLimit,
        merchants: Sequence[int | str],
        shares: Sequence[float],
        sizes: Sequence[str],
        size_shares: Sequence[float],
        default: float,
        error: float,
        size_column: str | None,
    ) -> "AggregateShares":
        """Return the shares of the values of a document."""
        for names, values, what in ((merchants, shares, "merchants"), (sizes, size_shares, "sizes")):
            if not len(names) == len(values) == len(set(names)):
                raise InputError(
                    f"the aggregate limit has {len(values):,} shares for {len(names):,} {what} ({len(set(names)):,} "
                    "different); give one for each."
                )
        own = dict(zip(merchants, shares, strict=True))
        return cls(limit, own, dict(zip(sizes, size_shares, strict=True)), default, error, size_column)

    @classmethod
    def of(
        cls,
        merchants: Any,
        limit: AggregateLimit,
        *,
        shape: SeverityShape,
        dispersion: float,
        merchant_id: str = MERCHANT_ID,
        claims: str = "expected_claims",
        payout: str = "expected_payout",
        size: str | None = None,
        claim_limit: float | None = None,
        tolerance: float = 1e-5,
        progress: bool = False,
    ) -> "AggregateShares":
        """Return the shares of merchants from their expected claims and mean payouts.

        Parameters
        ----------
        merchants : pandas, polars or pyarrow table, or path of a Parquet file
            One row for each merchant.
        limit : AggregateLimit
            A limit by merchant.
        shape : SeverityShape
            Distribution of a payout around its mean; with `claim_limit`, of the freight around its mean.
        dispersion : float
            Dispersion d of the claims of a merchant and period, with variance m + d m^2; 0 for Poisson counts. Claims
            of a merchant vary more than Poisson counts, because campaigns and batches of goods differ.
        merchant_id, claims, payout : str
            Columns: the merchant, its expected claims in a period (declared or expected orders times the expected
            claims of an order), and the mean payout of a claim in yuan. A merchant without expected claims gets the
            share of its size band.
        size : str, optional
            Column with the size band of a merchant, such as "small". By default all merchants are one band.
        claim_limit : float, optional
            Largest payout of one claim, yuan. The mean payout is then the mean under this limit.
        tolerance : float
            Largest relative error of a share from interpolation, from 1e-9 to 0.01.
        progress : bool
            Show a progress bar.

        Returns
        -------
        AggregateShares

        Raises
        ------
        InputError
            If a column is missing, a merchant has two rows, a number is outside its range, or no merchant has expected
            claims.

        Warns
        -----
        FreightRiskWarning
            If the estimated error exceeds the tolerance, for example if all payouts are equal.

        Notes
        -----
        The share of a size band is the sum of E[min(S, A)] over the sum of E[S] of its merchants, and so is the default
        over all merchants (docs/method.md, equation 47). So the total payout of the band is right on average.

        Examples
        --------
        >>> import pandas as pd
        >>> from freightrisk.aggregates import AggregateLimit, AggregateShares
        >>> from freightrisk.shapes import ScaleShape
        >>> merchants = pd.DataFrame({
        ...     "merchant_id": ["a", "b", "c"], "expected_claims": [5.0, 60.0, None], "expected_payout": [10.0] * 3,
        ...     "size_band": ["small", "large", "small"],
        ... })
        >>> shares = AggregateShares.of(
        ...     merchants, AggregateLimit(300.0), shape=ScaleShape(0.3), dispersion=0.2, size="size_band"
        ... )
        >>> shares.share_of(["a", "b", "c", "d"]).round(3).tolist()
        [1.0, 0.484, 1.0, 0.524]
        """
        limit = _merchant_limit(limit)
        checked_shape(shape)
        dispersion = _check.number(dispersion, argument="dispersion", low=0.0, high=1e6)
        ids, expected, mean, bands = _columns_of(merchants, merchant_id, claims, payout, size)
        declared = np.flatnonzero(~np.isnan(expected))
        if not len(declared):
            raise InputError(f"merchants: '{claims}' is missing in every row; give some merchants expected claims.")

        def count_of(mean_claims: float) -> NegativeBinomialCount:
            return NegativeBinomialCount(mean_claims, dispersion=dispersion)

        found, error = checked_shares(
            expected[declared], mean[declared], count_of, limit=limit, shape=shape, claim_limit=claim_limit,
            tolerance=tolerance, progress=progress,
        )  # fmt: skip
        weight = expected[declared] * mean[declared]
        default = _average(found, weight)
        names, place = np.unique(bands, return_inverse=True)
        by_size = {
            str(name): _average(found[rows], weight[rows])
            for k, name in enumerate(names)
            if name and (rows := place[declared] == k).any()
        }
        share = np.array([by_size.get(str(name), default) for name in names])[place]
        share[declared] = found
        return cls(limit, dict(zip(ids, share.tolist(), strict=True)), by_size, default, error, size)

    @cached_property
    def _places(self) -> Places:
        return Places([*self.shares])

    def share_of(self, merchant_ids: ArrayLike, *, sizes: ArrayLike | None = None) -> Array:
        """Return the share of each merchant.

        Parameters
        ----------
        merchant_ids : array, shape (n,)
        sizes : array, shape (n,), optional
            Size bands. A merchant without a share of its own gets the share of its band, or the default if the band is
            missing or has no share.

        Returns
        -------
        float64 array, shape (n,), in (0, 1]
        """
        ids = id_array(merchant_ids, argument="merchant_ids")
        place = self._places.of(ids)
        own = np.append(np.fromiter(self.shares.values(), np.float64, len(self.shares)), np.nan)[place]
        other = np.full(len(ids), self.default)
        if sizes is not None:
            bands = _check.groups(sizes, argument="sizes", length=len(ids))
            if bands.shape != ids.shape:
                raise InputError(
                    f"sizes has shape {bands.shape}; give one size band for each of {len(ids):,} merchants."
                )
            texts = [name if isinstance(name, str) else spelling(name) for name in bands.tolist()]
            other = np.array([self.size_shares.get(name, self.default) for name in texts], dtype=np.float64)
        return np.where(np.isnan(own), other, own)

    def __repr__(self) -> str:
        smallest = min(self.shares.values(), default=self.default)
        return (
            f"AggregateShares of {self.limit.amount:,.2f} yuan a merchant{_a(self.limit.period)}: "
            f"{counted(len(self.shares), 'merchant')} with shares from {smallest:.4f}, "
            f"{counted(len(self.size_shares), 'size band')}, default {self.default:.4f}"
        )


def checked_shares(
    claims: Array,
    payout: Array,
    count_of: Callable[[float], ClaimCount],
    *,
    limit: AggregateLimit,
    shape: SeverityShape,
    claim_limit: float | None,
    tolerance: float,
    progress: bool,
) -> tuple[Array, float]:
    """Return checked shares with their error; warns if it exceeds the tolerance."""
    tolerance = _check.number(tolerance, argument="tolerance", low=1e-9, high=0.01)
    largest = np.inf
    if claim_limit is not None:
        largest = _check.number(claim_limit, argument="claim_limit", low=0.0, high=LARGEST_AMOUNT, open_low=True)
        _check.refuse_rows(
            payout > largest * (1.0 + 1e-9),
            f"a mean payout exceeds claim_limit, {largest:g} yuan, in {{rows}}; give the mean payout under this limit.",
        )
    watched = (
        progress_bar(None, "aggregate limits", unit="shares") if _check.flag(progress, argument="progress") else None
    )
    with watched if watched is not None else nullcontext():
        share, error = limited_shares(
            claims, np.minimum(payout, largest), amount=limit.amount, count_of=count_of,
            shape=shape, limit=largest, tolerance=tolerance,
            watcher=(lambda _: None) if watched is None else watched.update,
        )  # fmt: skip
    if error > tolerance:
        _check.warn(
            f"aggregate limit: the estimated relative error of a share is {error:.2g}, above the tolerance of "
            f"{tolerance:g}; payouts that are nearly equal, or far smaller than the limit, need a larger tolerance."
        )
    return share, error


def _columns_of(
    merchants: Any, merchant_id: str, claims: str, payout: str, size: str | None
) -> tuple[list[Any], Array, Array, NDArray[Any]]:
    """Return ids, expected claims (NaN if missing), mean payouts and size bands ("" if missing) of merchants."""
    wanted = [merchant_id, claims, payout, *([] if size is None else [size])]
    table = read(merchants, wanted, argument="merchants", key=merchant_id)
    _check.columns_present(wanted, table.names, argument="merchants")
    ids = _ids_of(table, merchant_id)
    expected, mean = table.real(claims), table.real(payout)
    table.refuse(
        (expected < 0.0) | (expected > 1e9),
        f"merchants: '{claims}' is outside [0, 1e+09] in {{rows}}; give expected claims, or leave them empty.",
        claims,
    )
    table.refuse(
        ~np.isnan(expected) & ~((mean >= LEAST_PAYOUT) & (mean <= LARGEST_PAYOUT)),
        f"merchants: '{payout}' is not in [0.001, 1e+06] yuan in {{rows}}; give the mean payout of a claim.",
        payout,
    )
    if size is None:
        return ids, expected, mean, np.full(len(ids), "", dtype=object)
    codes, levels = table.levels(size)
    texts = np.array([*(spelling(level) for level in levels), ""], dtype=object)
    return ids, expected, mean, texts[codes]


def _ids_of(table: Table, merchant_id: str) -> list[Any]:
    ids = table.ids(merchant_id)
    table.refuse(
        np.array([one is None for one in ids.tolist()], dtype=bool),
        f"merchants: '{merchant_id}' is missing in {{rows}}; give each merchant its id.",
        merchant_id,
    )
    first: dict[Any, int] = {}
    again = np.array([first.setdefault(one, row) != row for row, one in enumerate(ids.tolist())], dtype=bool)
    table.refuse(again, f"merchants: '{merchant_id}' repeats in {{rows}}; give each merchant one row.", merchant_id)
    return list(ids.tolist())


def _average(share: Array, weight: Array) -> float:
    """Return the share of a sum of payouts; a plain mean if no payout is expected."""
    total = float(weight.sum())
    return float(np.clip(share @ weight / total if total > 0.0 else share.mean(), 0.0, 1.0))


def _merchant_limit(limit: Any) -> AggregateLimit:
    found: AggregateLimit = _check.instance(limit, AggregateLimit, argument="limit")
    if found.by != "merchant":
        raise InputError("limit is by order; AggregateShares needs a limit by merchant, see order_aggregate_shares.")
    return found


def _check_shares(argument: str, shares: Mapping[Any, Any]) -> None:
    for name, share in shares.items():
        what = argument + (f" of {repr_of(name)}" if name != "" else "")
        _check.number(share, argument=what, low=0.0, high=1.0, open_low=True)


def _a(period: str | None) -> str:
    return "" if period is None else f" and {period}"
