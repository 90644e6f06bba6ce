"""The tariff: tables, cover, loadings and subsidies as one document that prices orders to the fen."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from freightrisk import _check
from freightrisk._columns import PricingColumns
from freightrisk._plain import write_whole
from freightrisk._shown import counted, shown
from freightrisk.errors import InputError
from freightrisk.models.fitted import FittedModel
from freightrisk.models.freight import FittedSchedule
from freightrisk.models.shapes import SeverityShape
from freightrisk.tariff.aggregate_shares import AggregateShares
from freightrisk.tariff.build import check_kind, parts_of_models
from freightrisk.tariff.cover import Cover
from freightrisk.tariff.experience_rating import ExperienceRating
from freightrisk.tariff.funds import Fund
from freightrisk.tariff.loading import Loadings
from freightrisk.tariff.loss_control import Funnel, LossControl, LossControls
from freightrisk.tariff.parts import document_of, tariff_digest
from freightrisk.tariff.priced import Priced
from freightrisk.tariff.pricing import Pricer
from freightrisk.tariff.record import TariffRecord, check_new_cover, check_terms, warn_of_unknown_levels
from freightrisk.tariff.rounding import Rounding
from freightrisk.tariff.subsidy import Subsidy, in_stacking_order

WIDEST_OFF_BALANCE = 6.9  # log of 1,000


@dataclass(frozen=True, repr=False, eq=False)
class Tariff(TariffRecord, Priced):
    """A tariff: everything that turns an order into a price. Make one with `Tariff.build` or `load_tariff`.

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
    curves : CoverCurves
        Curves of the cover. `count_curve`, `limit_curve`, `shares` and `lines` are read from it.
    rounding_rule : Rounding
        Rounding of micro-yuan to fen, and the floor of the price. `rounding` (the mode), `dither_key` and `floor_fen`
        are read from it.
    provenance : dict
        The models and data from which the tariff was built.
    pairs : tuple of (str, str)
        Pairs of factors whose interaction has a table. A pair is named with " x " between its two names; either name
        may be an earlier pair.
    experience : ExperienceRating, optional
        Modifications of merchants and the curve of their score.
    clock : str
        Time zone that decides the day of a time. Times with another zone are converted to it; times without a zone are
        taken as they are.
    funds : tuple of Fund
        Budgets that several subsidies share.
    loss_controls : LossControls
        Factors on the claim intensity, for what changes the way from a request to a paid claim.
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
        funds: Sequence[Fund] = (),
        floor_fen: int = 1,
        rounding: str = "half_even",
        dither_key: str = "",
        experience: ExperienceRating | None = None,
        aggregate_shares: AggregateShares | None = None,
        clock: str | None = None,
        name: str = "tariff",
    ) -> "Tariff":
        """Return the tariff of two fitted models, a cover, loadings and subsidies.

        Parameters
        ----------
        frequency : FittedModel
        severity : FittedModel or FittedSchedule
            If both models rate a factor, the factor must have the same levels in both.
        shape : SeverityShape, optional
            Distribution of claim amounts around their mean, which determines the mean payout under a limit: an
            `EmpiricalShape` or a `ParetoTail`. By default, the distribution of the severity's family. A
            `FreightRiskWarning` then tells if its payout differs clearly from the payout by the severity's own claims.
        cover : Cover, optional
            One claim an order and no limit by default.
        loadings : Loadings, optional
            No loadings by default, so the technical premium is the pure premium.
        subsidies : sequence of Subsidy
            Rules, in the order in which they apply.
        funds : sequence of Fund
            The funds that rules name as their `fund`.
        floor_fen : int
            Smallest price of an order for the merchant, in fen; 1 is 0.01 yuan.
        rounding : {"half_even", "half_up", "ceiling", "down", "dither", "carry"}
            Mode of rounding micro-yuan to fen, see `Rounding`; `rounding_report` compares the modes.
        dither_key : str
            Secret text, for dithered rounding.
        experience : ExperienceRating, optional
            Merchants' modifications and the curve of their score, which replace the frequency's table of that score.
        aggregate_shares : AggregateShares, optional
            Share of each merchant's payouts under the aggregate limit of the cover.
        clock : str, optional
            Time zone that decides the day of a time, see `Tariff`; by default, the clock of the frequency's book.
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
            funds=_check.members(funds, Fund, argument="funds"),
            rounding_rule=Rounding(rounding, dither_key, floor_fen),
            experience=experience,
            clock=frequency.clock if clock is None else clock,
            **parts_of_models(
                frequency,
                severity,
                cover=cover,
                shape=shape,
                experience=experience,
                aggregate=aggregate_shares,
                loads=loadings.by_level,
            ),
        )
        check_new_cover(tariff)
        return tariff

    def with_subsidies(self, subsidies: Sequence[Subsidy], *, funds: Sequence[Fund] = ()) -> "Tariff":
        """Return the tariff with other subsidies, for example from `load_campaigns`.

        Parameters
        ----------
        subsidies : sequence of Subsidy
            Rules, in the order in which they apply.
        funds : sequence of Fund
            The funds that the rules name, for example from `load_funds`.
        """
        funds = _check.members(funds, Fund, argument="funds")
        changed = replace(self, subsidies=in_stacking_order(subsidies), funds=funds)
        warn_of_unknown_levels(changed)
        return changed

    def with_loss_controls(self, rules: Sequence[LossControl], *, funnel: Funnel | None = None) -> "Tariff":
        """Return the tariff with loss controls in place of its own.

        Parameters
        ----------
        rules : sequence of LossControl
        funnel : Funnel, optional
            Shares of causes and of the stages. By default that of the tariff.
        """
        funnel = self.loss_controls.funnel if funnel is None else funnel
        changed = replace(self, loss_controls=LossControls(rules, funnel))
        warn_of_unknown_levels(changed)
        return changed

    def with_off_balance(
        self, orders: Any, *, merchants: Any = None, threads: int | None = None, **columns: Unpack[PricingColumns]
    ) -> "Tariff":
        """Return the tariff with an off-balance factor that gives a book the same pure premium as without experience.

        Scores drift upwards (the share above 4.8 grows from 30 % to 36 %), modifications are capped, and credibility
        does not balance by itself. Without the factor, each of these would change the premium of the whole book. The
        off-balance factor is c of docs/method.md, equation 41.

        Parameters
        ----------
        orders, merchants, columns
            As for `encode`.
        threads : int, optional

        Examples
        --------
        ``tariff = tariff.with_off_balance(this_months_orders)``, then ``tariff.experience.off_balance``
        """
        from scipy.optimize import brentq

        if self.experience is None:
            raise InputError("the tariff has no experience to balance; build it with one.")
        levelled = replace(
            self,
            experience=replace(self.experience, off_balance=1.0),
            subsidies=(),
            rounding_rule=Rounding(),
        )
        coded = levelled.encode(orders, merchants=merchants, **columns)
        if not coded.n_orders:
            raise InputError("orders has no rows; give the book on which to balance the experience.")
        plain = replace(levelled, experience=self.experience.without_effect())
        threads = _check.threads(threads)

        def pure(tariff: Tariff) -> float:
            return float(tariff.price_columns(coded, threads=threads)["pure_premium"].sum())

        wanted, experience = pure(plain), self.experience

        def excess(log_factor: float) -> float:
            scaled = replace(experience, off_balance=float(np.exp(log_factor)))
            return pure(replace(levelled, experience=scaled)) / wanted - 1.0

        if excess(-WIDEST_OFF_BALANCE) * excess(WIDEST_OFF_BALANCE) > 0.0:
            raise InputError(
                "no off-balance factor from 0.001 to 1,000 balances the experience on these orders; look at its mods."
            )
        # By root finding, because with a limit on claims the premium is not proportional to the intensity.
        factor = float(np.exp(brentq(excess, -WIDEST_OFF_BALANCE, WIDEST_OFF_BALANCE, xtol=1e-14, rtol=1e-14)))
        return replace(self, experience=replace(experience, off_balance=factor))

    @cached_property
    def pricer(self) -> Pricer:
        """Return the pricer of the tariff, made at first use."""
        return Pricer(self)

    def save(self, path: str | Path) -> None:
        """Write the tariff as one JSON document; the file appears complete or not at all.

        An existing file is replaced and keeps its mode; a link is followed. If the document holds a `dither_key`, which
        is secret, only the owner can read a new file.

        Parameters
        ----------
        path : str or Path
        """
        write_whole(path, document_of(self), private=bool(self.dither_key))
        if self.dither_key and os.name == "posix" and Path(path).stat().st_mode & 0o044:
            _check.warn(
                f"tariff document '{path}' holds a dither_key and can be read by others, like the file that it "
                "replaced; remove this right (chmod 600)."
            )

    @cached_property
    def digest(self) -> str:
        """Return the digest of the tariff's document; two tariffs are equal if and only if their digests are equal."""
        return tariff_digest(self)

    def __repr__(self) -> str:
        return shown(
            f"Tariff '{self.name}': {counted(len(self.codings), 'factor')}, "
            f"{counted(sum(coding.n_levels for coding in self.codings.values()), 'level')}, "
            f"{len(self.subsidies)} subsidies{' by ' if self.payers else ''}{', '.join(self.payers)}, "
            f"floor {self.floor_fen} fen"
        )
