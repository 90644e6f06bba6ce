"""The tariff: tables, cover, loadings and subsidies as one document that prices orders to the fen."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._columns import ColumnNames, PricingColumns
from freightrisk._shown import shown
from freightrisk.errors import InputError
from freightrisk.models.fitted import FittedModel
from freightrisk.models.freight import FittedSchedule
from freightrisk.models.shapes import SeverityShape
from freightrisk.tariff.balances import Balances, spending
from freightrisk.tariff.build import check_kind, parts_of_models
from freightrisk.tariff.cover import Cover
from freightrisk.tariff.experience import Experience
from freightrisk.tariff.loading import Loadings
from freightrisk.tariff.one_order import codes_of
from freightrisk.tariff.parts import document_of, tariff_digest
from freightrisk.tariff.plain import write_whole
from freightrisk.tariff.pricing import PLAIN_NAMES, Pricer
from freightrisk.tariff.quotes import CodedOrders, QuoteBuffers
from freightrisk.tariff.record import TariffRecord, check_terms, warn_of_unknown_levels
from freightrisk.tariff.subsidy import Subsidy, in_stacking_order
from freightrisk.tariff.worksheet import Worksheet

WIDEST_SCALE = 6.9  # log of 1,000


@dataclass(frozen=True, repr=False, eq=False)
class Tariff(TariffRecord):
    """Everything that turns an order into a price. Build one with `Tariff.build` or load one with `load_tariff`.

    Parameters
    ----------
    name : str
    codings : dict of str to Coding
        Levels of every rating factor.
    frequency, severity : RateTables
        Claim intensity an order and mean ground-up freight of a claim, yuan.
    cover : Cover
    loadings : Loadings
    subsidies : tuple of Subsidy
        In stacking order.
    count_curve : float64 array, shape (pieces, 4)
        Curves of the cover, see `freightrisk.tariff.cover`.
    floor_fen : int
        Least that the merchant pays an order.
    rounding : {"half_even", "half_up", "ceiling", "down", "dither", "carry"}
        How micro-yuan become fen: to the nearest, ties to even or up; to the next or the last whole fen; up with the
        probability of the fraction, by a keyed hash of the order id; or with what the merchant's earlier orders left.
    dither_key : str
        Secret key of the hash, new with every version of the tariff; for rounding by dither alone.
    provenance : dict
        What the tariff was built from.
    pairs : tuple of (str, str)
        Factors whose interaction has a table, named with " x " between them; either may be a pair named before.
    lines : str, optional
        Factor that counts the lines of an order and so chooses among the claim-count curves.
    shares : dict of str to float64 array
        Tables of the share of a claim's mean freight that is paid, in place of a limit curve, where a freight schedule
        says what is left under a limit.
    experience : Experience, optional
        Modifications of merchants and the curve of their score.
    clock : str
        Time zone whose days count: times with a zone are converted to it, those without are taken as they stand.
    """

    @classmethod
    def build(
        cls,
        frequency: FittedModel,
        severity: FittedModel | FittedSchedule,
        *,
        shape: SeverityShape | None = None,
        cover: Cover | None = None,
        loadings: Loadings | None = None,
        subsidies: Sequence[Subsidy] = (),
        floor_fen: int = 1,
        rounding: str = "half_even",
        dither_key: str = "",
        experience: Experience | None = None,
        clock: str | None = None,
        name: str = "tariff",
    ) -> "Tariff":
        """Return the tariff of two fitted models, a cover, loadings and subsidies.

        Parameters
        ----------
        frequency : FittedModel
        severity : FittedModel or FittedSchedule
            Where both rate a factor, they must have the same levels of it.
        shape : SeverityShape, optional
            How the amounts of claims spread around their mean, which says what is left of it under a limit: an
            `EmpiricalShape`, a `ParetoTail`. By default that of the severity's family.
        cover : Cover, optional
            One claim an order and no limit by default.
        loadings : Loadings, optional
            None by default: the technical premium is the pure premium.
        subsidies : sequence of Subsidy
            In the order in which they apply.
        floor_fen : int
            Least that a merchant pays an order, in fen; 1 is 0.01 yuan.
        rounding : {"half_even", "half_up", "ceiling", "down", "dither", "carry"}
            How micro-yuan become fen, see `Tariff`; `rounding_report` compares them.
        dither_key : str
            Secret text, for rounding by dither.
        experience : Experience, optional
            Merchants' modifications and the curve of their score, which replace the frequency's table of that score.
        clock : str, optional
            Time zone whose days count, see `Tariff`; that of the book of the frequency by default.
        name : str

        Examples
        --------
        >>> import pandas as pd
        >>> from freightrisk import Cover, Factor, FrequencyModel, OrderBook, SeverityModel, Subsidy, Tariff
        >>> orders = pd.DataFrame({"order_id": range(8), "zone": ["near", "far"] * 4})
        >>> claims = pd.DataFrame({"order_id": [0, 1, 3], "freight": [8.0, 15.0, 17.0]})
        >>> book = OrderBook.from_frames(orders, claims, factors=[Factor("zone")], ship_date=None, report_date=None)
        >>> tariff = Tariff.build(FrequencyModel().fit(book), SeverityModel().fit(book), cover=Cover(max_claims=1),
        ...                       subsidies=[Subsidy("launch", "platform", percent_of_list=0.5)])
        >>> tariff.price(orders.head(2))[["list_fen", "platform_fen", "merchant_fen"]].values.tolist()
        [[177, 88, 89], [630, 315, 315]]
        """
        check_kind(frequency, "frequency")
        check_kind(severity, "severity")
        cover = Cover() if cover is None else cover
        loadings = Loadings() if loadings is None else loadings
        check_terms(cover, loadings, subsidies)
        tariff = cls(
            name=name,
            cover=cover,
            loadings=loadings,
            subsidies=in_stacking_order(subsidies),
            floor_fen=floor_fen,
            rounding=rounding,
            dither_key=dither_key,
            experience=experience,
            clock=frequency.clock if clock is None else clock,
            **parts_of_models(frequency, severity, cover=cover, shape=shape, experience=experience),
        )
        warn_of_unknown_levels(tariff)
        return tariff

    def with_subsidies(self, subsidies: Sequence[Subsidy]) -> "Tariff":
        """Return the tariff with other subsidies, such as those of `load_campaigns`."""
        changed = replace(self, subsidies=in_stacking_order(subsidies))
        warn_of_unknown_levels(changed)
        return changed

    def centred(
        self, orders: Any, *, merchants: Any = None, threads: int | None = None, **columns: Unpack[PricingColumns]
    ) -> "Tariff":
        """Return the tariff with its experience scaled to leave the pure premium of a book where it would be without.

        Scores drift upwards (a share above 4.8 of 30 % becomes 36 %), modifications are capped, and credibility is not
        balanced by itself; each would move the whole book's premium.

        Parameters
        ----------
        orders, merchants, columns
            As for `encode`.
        threads : int, optional

        Examples
        --------
        ``tariff = tariff.centred(this_months_orders)``, then ``tariff.experience.scale``
        """
        from scipy.optimize import brentq

        if self.experience is None:
            raise InputError("the tariff has no experience to centre; build it with one.")
        levelled = replace(
            self, experience=replace(self.experience, scale=1.0), subsidies=(), rounding="half_even", dither_key=""
        )
        coded = levelled.encode(orders, merchants=merchants, **columns)
        if not coded.n_orders:
            raise InputError("orders has no rows; give the book on which to centre the experience.")
        plain = replace(levelled, experience=self.experience.without_effect())
        threads = _check.threads(threads)

        def pure(tariff: Tariff) -> float:
            return float(tariff.price_columns(coded, threads=threads)["pure_premium"].sum())

        wanted, experience = pure(plain), self.experience

        def excess(log_scale: float) -> float:
            scaled = replace(experience, scale=float(np.exp(log_scale)))
            return pure(replace(levelled, experience=scaled)) / wanted - 1.0

        if excess(-WIDEST_SCALE) * excess(WIDEST_SCALE) > 0.0:
            raise InputError("no scale from 0.001 to 1,000 centres the experience on these orders; look at its mods.")
        # A limit on claims bends the premium, so that one division is not enough.
        scale = float(np.exp(brentq(excess, -WIDEST_SCALE, WIDEST_SCALE, xtol=1e-14, rtol=1e-14)))
        return replace(self, experience=replace(experience, scale=scale))

    @cached_property
    def pricer(self) -> Pricer:
        """Return what prices orders under the tariff, made when it is first needed."""
        return Pricer(self)

    def encode(
        self,
        orders: Any,
        *,
        merchants: Any = None,
        threads: int | None = None,
        **columns: Unpack[PricingColumns],
    ) -> CodedOrders:
        """Return orders as the tariff's code columns, to be priced once or many times.

        Parameters
        ----------
        orders : pandas, polars or pyarrow table, or path of a Parquet file
            One row an order, with the tariff's columns (`columns_read`).
        merchants : like orders, optional
            One row a merchant, joined by `merchant_id`, with those of the columns that orders lack.
        threads : int, optional
            All cores by default.
        **columns
            order_id, merchant_id, ship_date : what these columns are called, by default so. The id is read where
            budgets, caps by merchant or carried rounding need an order of orders, and for rounding by dither.
            priority : column by which budgets serve orders, highest first; then by ship time, then by order id.
            date_format : how texts with dates are written, as for `datetime.strptime`; ISO 8601 by default.
        """
        return self.pricer.encode(orders, merchants=merchants, names=ColumnNames.of(columns), threads=threads)

    def price(
        self,
        orders: Any,
        *,
        merchants: Any = None,
        balances: Balances | None = None,
        threads: int | None = None,
        detail: bool = True,
        campaigns: bool = False,
        progress: bool = False,
        **columns: Unpack[PricingColumns],
    ) -> Any:
        """Return a row for each order: the steps of its premium, the list price, and who pays each fen of it.

        Parameters
        ----------
        orders : CodedOrders, or pandas, polars or pyarrow table, or path of a Parquet file
        merchants, columns
            As for `encode`.
        balances : Balances, optional
            What was spent of budgets and left over by rounding before these orders; updated once all orders are
            priced, and left as it was if pricing fails. By default nothing was spent, and what these orders spend is
            not kept.
        threads : int, optional
            All cores by default; the fen do not depend on it.
        detail : bool
            Include the steps before the list price.
        campaigns : bool
            Include a column ``paid: <name>`` for each subsidy, the fen that it pays.
        progress : bool
            Show a progress bar.

        Returns
        -------
        table of the caller's kind (pandas for a path), with the caller's index
            claim_intensity, expected_claims (an order); expected_payout (yuan a claim); pure_premium and
            technical_premium (yuan an order); list_fen, one ``<payer>_fen`` a payer and merchant_fen (integers; the
            list price is the sum of the others); floor_bound (the floor raised the list price, or subsidies brought the
            merchant down to it), limit_bound (claim limits take 1 % or more off the payout), filed_bound and
            unseen_level (bool).

        Raises
        ------
        InputError
            For missing columns, missing or impossible values, and levels that the tariff does not know.
        """
        return self.pricer.price(
            orders, merchants=merchants, names=ColumnNames.of(columns), balances=balances, threads=threads,
            detail=detail, campaigns=campaigns, progress=progress,
        )  # fmt: skip

    def price_columns(
        self,
        coded: CodedOrders,
        *,
        threads: int,
        detail: bool = True,
        campaigns: bool = False,
        progress: bool = False,
        balances: Balances | None = None,
        buffers: QuoteBuffers | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Return the columns of `price` as arrays.

        Parameters
        ----------
        coded : CodedOrders
        threads : int
        detail, campaigns, progress, balances
            As for `price`.
        buffers : QuoteBuffers, optional
            Where to write the columns, from `buffers`; the columns returned are views of them and hold until the next
            call that is given the same. By default every call has new ones.
        """
        with spending(balances) as after:
            return self.pricer.price_columns(
                coded, threads=threads, detail=detail, campaigns=campaigns, progress=progress, balances=after,
                buffers=buffers,
            )  # fmt: skip

    def buffers(self, n_orders: int, *, detail: bool = True, campaigns: bool = False) -> QuoteBuffers:
        """Return arrays for the quotes of up to `n_orders` orders, to price batch after batch without new memory.

        Examples
        --------
        ``columns = tariff.price_columns(tariff.encode(batch), threads=2, buffers=tariff.buffers(1_000_000))``
        """
        return self.pricer.buffers(n_orders, detail=detail, campaigns=campaigns)

    def codes_of(self, order: Mapping[str, Any]) -> list[int]:
        """Return the code of one order in each of the tariff's code columns."""
        return codes_of(self, order)

    def quote(
        self, order: Any, *, merchants: Any = None, balances: Balances | None = None, **columns: Unpack[PricingColumns]
    ) -> dict[str, Any]:
        """Return the price of one order, with the names of `price`.

        Budgets and caps have left what `balances` say, which the quote does not change.

        Parameters
        ----------
        order : mapping of column to value, or a row of a pandas frame
            With the tariff's columns (`columns_read`).
        merchants : as for `encode`, optional
            With those of the columns that the order lacks; read again for every order.
        balances : Balances, optional
        **columns
            As for `encode`.

        Examples
        --------
        See `Tariff.build` for a tariff; then ``tariff.quote({"zone": "far"})["list_fen"]``.
        """
        names = ColumnNames.of(columns) if columns else PLAIN_NAMES
        return self.pricer.quote(order, merchants=merchants, balances=balances, names=names)

    def explain(
        self, order: Any, *, merchants: Any = None, balances: Balances | None = None, **columns: Unpack[PricingColumns]
    ) -> Worksheet:
        """Print and return the worksheet of one order, step by step; its last line is the kernel's fen.

        Parameters
        ----------
        order, merchants, balances, columns
            As for `quote`.
        """
        sheet = self.pricer.explain(order, merchants=merchants, balances=balances, names=ColumnNames.of(columns))
        print(sheet)  # noqa: T201
        return sheet

    def save(self, path: str | Path) -> None:
        """Write the tariff as one JSON document; the file appears whole or not at all.

        A file that stands there is replaced and its mode kept; a link is followed. A new file can be read by its owner
        alone if the document holds a `dither_key`, which is a secret.
        """
        write_whole(path, document_of(self), private=bool(self.dither_key))
        if self.dither_key and os.name == "posix" and Path(path).stat().st_mode & 0o044:
            _check.warn(
                f"tariff document '{path}' holds a dither_key and can be read by others, as the file that it replaced; "
                "take their right away (chmod 600)."
            )

    @cached_property
    def digest(self) -> str:
        """Return the digest of the tariff's document: that of an equal tariff is the same, that of another is not."""
        return tariff_digest(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tariff):
            return NotImplemented
        return self is other or self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("pricer",)}

    def __repr__(self) -> str:
        return shown(
            f"Tariff '{self.name}': {len(self.codings)} factors, "
            f"{sum(coding.n_levels for coding in self.codings.values())} levels, "
            f"{len(self.subsidies)} subsidies by {', '.join(self.payers) or 'nobody'}, floor {self.floor_fen} fen"
        )
