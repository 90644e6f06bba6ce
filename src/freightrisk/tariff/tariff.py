"""The tariff: tables, cover, loadings and subsidies as one document that prices orders to the fen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check, _core
from freightrisk._frozen import FrozenDict
from freightrisk.book.factors import Coding, CrossCoding
from freightrisk.errors import InputError
from freightrisk.models.fitted import FittedModel
from freightrisk.models.freight import FittedSchedule
from freightrisk.tariff.balances import MERCHANT_ID, Balances, periods_of, spending
from freightrisk.tariff.build import check_kind, parts_of_models
from freightrisk.tariff.cover import Cover, LimitCurve
from freightrisk.tariff.experience import Experience
from freightrisk.tariff.loading import Loadings
from freightrisk.tariff.one_order import ORDER_ID, Quoter, codes_of, encode_one
from freightrisk.tariff.plan import RateTables, check_curves, check_rates, limit_table, plan_arguments
from freightrisk.tariff.pricing import encode, price_columns
from freightrisk.tariff.quotes import DETAIL, CodedOrders, QuoteBuffers, frame_of
from freightrisk.tariff.rounding import ROUNDING_MODES
from freightrisk.tariff.shapes import SeverityShape
from freightrisk.tariff.subsidy import Gate, Subsidy, compile_gates, in_stacking_order

if TYPE_CHECKING:
    from freightrisk.tariff.worksheet import Worksheet

Array = NDArray[np.float64]

WIDEST_SCALE = 6.9  # log of 1,000


@dataclass(frozen=True, repr=False)
class Tariff:
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
    """

    name: str
    codings: Mapping[str, Coding]
    frequency: RateTables
    severity: RateTables
    cover: Cover
    loadings: Loadings
    subsidies: tuple[Subsidy, ...]
    count_curve: Array
    limit_curve: LimitCurve | None
    floor_fen: int = 1
    rounding: str = "half_even"
    provenance: Mapping[str, Any] = field(default_factory=dict)
    pairs: tuple[tuple[str, str], ...] = ()
    lines: str | None = None
    shares: Mapping[str, Array] = field(default_factory=dict)
    dither_key: str = field(default="", repr=False)
    experience: Experience | None = None

    def __post_init__(self) -> None:
        _check.label(self.name, argument="name of the tariff")
        floor_fen = _check.whole(self.floor_fen, argument="floor_fen", low=0, high=10**6)
        object.__setattr__(self, "floor_fen", floor_fen)
        _check.one_of(self.rounding, ROUNDING_MODES, argument="rounding")
        if self.rounding == "dither":
            _check.label(self.dither_key, argument="dither_key of a tariff that rounds by dither")
        elif self.dither_key:
            raise InputError(f"dither_key is given, but rounding is '{self.rounding}'; leave one out.")
        object.__setattr__(self, "codings", FrozenDict(dict(self.codings)))
        object.__setattr__(self, "provenance", FrozenDict(dict(self.provenance)))
        object.__setattr__(self, "shares", FrozenDict(dict(self.shares)))
        _check_terms(self.cover, self.loadings, self.subsidies)
        for limit in self.cover.limits:
            limit_table(limit, self.codings)
        _check_pairs(self.pairs, self.codings)
        if self.lines is not None and self.lines not in self.codings:
            raise InputError(f"lines names factor '{self.lines}', which is no factor of the tariff.")
        check_rates(self.frequency, self.tabled, "frequency")
        check_rates(self.severity, self.tabled, "severity")
        check_rates(RateTables(1.0, self.shares), self.tabled, "shares")
        check_curves(self.count_curve, self._count_ends, "count_curve", of_lines=self.lines is not None)
        if (self.limit_curve is not None) != (self.cover.is_limited and not self.shares):
            raise InputError(
                "limit_curve is given for a cover without a limit, or none for one with; build the tariff again."
            )
        names = [rule.name for rule in self.subsidies]
        twice = [rule.name for rule in self.subsidies if rule.is_limited and names.count(rule.name) > 1]
        if twice:
            raise InputError(
                f"subsidies: two are named '{twice[0]}', so it is not clear whose budget is spent; rename."
            )
        if in_stacking_order(self.subsidies) != tuple(self.subsidies):
            raise InputError("subsidies: members of a group stand apart; put the rules of a group next to each other.")
        if self.experience is not None:
            self.experience.check_counted_once({name: self.tabled[name].columns for name in self.frequency.tables})
        if len(self.sizes) > _core.COLUMN_LIMIT:
            raise InputError(
                f"the tariff reads {len(self.gates)} eligibility columns and {len(self.sizes) - len(self.gates)} "
                f"factors; together they may be at most {_core.COLUMN_LIMIT}."
            )

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
        name : str

        Examples
        --------
        >>> import pandas as pd
        >>> from freightrisk import *
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
        _check_terms(cover, loadings, subsidies)
        return cls(
            name=name,
            cover=cover,
            loadings=loadings,
            subsidies=in_stacking_order(subsidies),
            floor_fen=floor_fen,
            rounding=rounding,
            dither_key=dither_key,
            experience=experience,
            **parts_of_models(frequency, severity, cover=cover, shape=shape, experience=experience),
        )

    def with_subsidies(self, subsidies: Sequence[Subsidy]) -> "Tariff":
        """Return the tariff with other subsidies, such as those of `load_campaigns`."""
        return replace(self, subsidies=in_stacking_order(subsidies))

    def centred(
        self, orders: Any, *, merchants: Any = None, merchant_id: str = MERCHANT_ID, threads: int | None = None
    ) -> "Tariff":
        """Return the tariff with its experience scaled to leave the pure premium of a book where it would be without.

        Scores drift upwards (a share above 4.8 of 30 % becomes 36 %), modifications are capped, and credibility is not
        balanced by itself; each would move the whole book's premium.

        Parameters
        ----------
        orders, merchants, merchant_id
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
        coded = levelled.encode(orders, merchants=merchants, merchant_id=merchant_id)
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

    @property
    def payers(self) -> tuple[str, ...]:
        """Return the payers of subsidies, in the order of their first rule."""
        return tuple(dict.fromkeys(rule.payer for rule in self.subsidies))

    @cached_property
    def tabled(self) -> dict[str, Coding | CrossCoding]:
        """Return the coding of every table: the factors, then the interactions."""
        found: dict[str, Coding | CrossCoding] = dict(self.codings)
        for first, second in self.pairs:
            coding = CrossCoding(found[first], found[second])
            found[coding.name] = coding
        return found

    @property
    def _count_ends(self) -> list[float]:
        """Return the most paid claims of an order on each claim-count curve."""
        if self.lines is None:
            return [] if self.cover.max_claims is None else [self.cover.paid_at_most(self.cover.max_claims)]
        coding = self.codings[self.lines]
        return [self.cover.paid_at_most(min(slot + 1, coding.n_levels)) for slot in range(coding.n_slots)]

    @cached_property
    def gates(self) -> tuple[Gate, ...]:
        """Return the eligibility columns of the subsidies."""
        return compile_gates(self.subsidies)

    @property
    def in_sequence(self) -> bool:
        """Return whether what is paid for an order depends on the orders before it."""
        return self.rounding == "carry" or any(rule.is_limited for rule in self.subsidies)

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """Return the columns of orders (or merchants) that pricing reads."""
        rated = [column for coding in self.codings.values() for column in coding.declared.columns]
        rated += [] if self.experience is None else self.experience.columns
        return tuple(dict.fromkeys([*rated, *(gate.column for gate in self.gates)]))

    @cached_property
    def plan_arguments(self) -> dict[str, Any]:
        """Return the tariff as the flat arrays and numbers that the pricing kernel and its slow twin read."""
        return plan_arguments(self)

    @cached_property
    def plan(self) -> _core.PricePlan:
        """Return the tariff as the kernel holds it."""
        return _core.PricePlan(**self.plan_arguments)

    @cached_property
    def quoter(self) -> Quoter | None:
        """Return what prices single orders where nothing but their codes matters."""
        return Quoter(self) if Quoter.serves(self) else None

    @property
    def sizes(self) -> dict[str, int]:
        """Return the number of codes of each code column."""
        rated = {name: coding.n_slots for name, coding in self.tabled.items()}
        rated |= {} if self.experience is None else {name: len(t) for name, t in self.experience.tables.items()}
        return rated | {f"{gate.kind} of {gate.column}": gate.n_slots for gate in self.gates}

    @cached_property
    def key(self) -> tuple[Any, ...]:
        """Return what the codes of encoded orders mean."""
        return (
            tuple(self.tabled.values()),
            tuple((gate.column, gate.kind, gate.marks) for gate in self.gates),
            self.rounding if self.rounding in ("carry", "dither") else "",
            self.dither_key,
            self.in_sequence,
            periods_of(self.subsidies),
            None if self.experience is None else self.experience.key,
        )

    def encode(
        self,
        orders: Any,
        *,
        merchants: Any = None,
        merchant_id: str = MERCHANT_ID,
        order_id: str = ORDER_ID,
        priority: str | None = None,
        threads: int | None = None,
    ) -> CodedOrders:
        """Return orders as the tariff's code columns, to be priced once or many times.

        Parameters
        ----------
        orders : pandas, polars or pyarrow table, or path of a Parquet file
            One row an order, with the tariff's columns (`column_names`).
        merchants : like orders, optional
            One row a merchant, joined by `merchant_id`, with those of the columns that orders lack.
        merchant_id, order_id : str
        priority : str, optional
            Column by which budgets serve orders, highest first; then by ship time, then by order id. The id is read
            where budgets, caps by merchant or carried rounding need an order of orders, and for rounding by dither.
        threads : int, optional
            All cores by default.
        """
        return encode(
            self, orders, merchants=merchants, merchant_id=merchant_id, order_id=order_id, priority=priority,
            threads=threads,
        )  # fmt: skip

    def price(
        self,
        orders: Any,
        *,
        merchants: Any = None,
        merchant_id: str = MERCHANT_ID,
        order_id: str = ORDER_ID,
        priority: str | None = None,
        balances: Balances | None = None,
        threads: int | None = None,
        detail: bool = True,
        campaigns: bool = False,
        progress: bool = False,
    ) -> Any:
        """Return a row for each order: the steps of its premium, the list price, and who pays each fen of it.

        Parameters
        ----------
        orders : CodedOrders, or pandas, polars or pyarrow table, or path of a Parquet file
        merchants, merchant_id, order_id, priority
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
        coded = (
            orders
            if isinstance(orders, CodedOrders)
            else self.encode(
                orders, merchants=merchants, merchant_id=merchant_id, order_id=order_id, priority=priority,
                threads=threads,
            )
        )  # fmt: skip
        if coded.key is not self.key and coded.key != self.key:
            raise InputError("orders were encoded for a tariff with other levels or rules; encode them with this one.")
        threads = _check.threads(threads)
        with spending(balances) as after:
            columns = price_columns(
                self, coded, threads=threads, detail=detail, campaigns=campaigns, progress=progress, balances=after,
                buffers=None,
            )  # fmt: skip
            return frame_of(columns, coded)

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
            return price_columns(
                self, coded, threads=threads, detail=detail, campaigns=campaigns, progress=progress, balances=after,
                buffers=buffers,
            )  # fmt: skip

    def buffers(self, n_orders: int, *, detail: bool = True, campaigns: bool = False) -> QuoteBuffers:
        """Return arrays for the quotes of up to `n_orders` orders, to price batch after batch without new memory.

        Examples
        --------
        ``columns = tariff.price_columns(tariff.encode(batch), threads=2, buffers=tariff.buffers(1_000_000))``
        """
        n = _check.whole(n_orders, argument="n_orders", low=0, high=2**40)
        return QuoteBuffers(
            steps=np.empty((len(DETAIL) if detail else 0, n)),
            list_fen=np.empty(n, dtype=np.int32),
            payers=np.empty((len(self.payers), n), dtype=np.int32),
            merchant_fen=np.empty(n, dtype=np.int32),
            flags=np.empty(n, dtype=np.uint8),
            hits=np.empty((len(_core.FLAGS), n), dtype=np.bool_),
            micro=np.empty(n if self.rounding == "carry" else 0, dtype=np.int64),
            rounded=np.empty(n if self.in_sequence else 0, dtype=np.int32),
            masks=np.empty(n if self.in_sequence else 0, dtype=np.uint64),
            paid=np.empty((len(self.subsidies), n) if campaigns else (0, 0), dtype=np.int32),
        )

    def codes_of(self, order: Mapping[str, Any]) -> list[int]:
        """Return the code of one order in each of the tariff's code columns."""
        return codes_of(self, order)

    def quote(self, order: Mapping[str, Any], *, balances: Balances | None = None) -> dict[str, Any]:
        """Return the price of one order, a mapping of column to value, with the names of `price`.

        Budgets and caps have left what `balances` say, which the quote does not change.

        Examples
        --------
        See `Tariff.build` for a tariff; then ``tariff.quote({"zone": "far"})["list_fen"]``.
        """
        if self.quoter is not None:
            return self.quoter.quote(order)
        coded = encode_one(self, order)
        before = None if balances is None else balances.copy()
        priced = self.price_columns(coded, threads=1, balances=before)
        return {name: values[0].item() for name, values in priced.items()}

    def explain(self, order: Mapping[str, Any], *, balances: Balances | None = None) -> "Worksheet":
        """Print and return the worksheet of one order, step by step; its last line is the kernel's fen."""
        from freightrisk.tariff.worksheet import worksheet

        sheet = worksheet(self, order, balances=balances)
        print(sheet)  # noqa: T201
        return sheet

    def save(self, path: str | Path) -> None:
        """Write the tariff as one JSON document; the file appears whole or not at all."""
        from freightrisk.tariff.document import save_tariff

        save_tariff(self, path)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("plan", "quoter")}

    def __repr__(self) -> str:
        return (
            f"Tariff '{self.name}': {len(self.codings)} factors, "
            f"{sum(coding.n_levels for coding in self.codings.values())} levels, "
            f"{len(self.subsidies)} subsidies by {', '.join(self.payers) or 'nobody'}, floor {self.floor_fen} fen"
        )


def _check_pairs(pairs: Sequence[tuple[str, str]], codings: Mapping[str, Coding]) -> None:
    known = set(codings)
    for first, second in pairs:
        unknown = [name for name in (first, second) if name not in known]
        if unknown:
            raise InputError(f"pairs names factor '{unknown[0]}', which is no factor of the tariff.")
        known.add(f"{first} x {second}")


def _check_terms(cover: object, loadings: object, subsidies: object) -> None:
    """Refuse terms of the wrong kind, which would fail later and less clearly."""
    if not isinstance(cover, Cover):
        raise InputError(f"cover is {cover!r}; it must be a Cover.")
    if not isinstance(loadings, Loadings):
        raise InputError(f"loadings is {loadings!r}; it must be a Loadings.")
    if not isinstance(subsidies, Sequence) or not all(isinstance(rule, Subsidy) for rule in subsidies):
        raise InputError(f"subsidies is {subsidies!r}; it must be a list whose items are each a Subsidy.")
