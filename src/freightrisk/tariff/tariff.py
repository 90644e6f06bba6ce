"""The tariff: tables, cover, loadings and subsidies as one document that prices orders to the fen."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check, _core
from freightrisk._columns import JoinedColumns, kind
from freightrisk._frozen import FrozenDict
from freightrisk._parallel import chunks, in_order
from freightrisk.book.book import Names, join
from freightrisk.book.factors import Coding, CrossCoding
from freightrisk.errors import InputError
from freightrisk.models.fitted import FittedModel
from freightrisk.tariff.cover import CURVE_PIECES, SCALE_FAMILIES, ByLevel, Cover, count_curve, limit_curve
from freightrisk.tariff.loading import Loadings
from freightrisk.tariff.subsidy import Gate, Subsidy, compile_gates, group_numbers, in_stacking_order

if TYPE_CHECKING:
    from freightrisk.tariff.worksheet import Worksheet

Array = NDArray[np.float64]

PRICE_CHUNK = 2**17
UNLIMITED = 2**31 - 1
LARGEST_RATE = 1e9
DETAIL = ("claim_intensity", "expected_claims", "expected_payout", "pure_premium", "technical_premium")
ROUNDING_MODES = ("half_even",)


@dataclass(frozen=True)
class RateTables:
    """A base and, for each factor, the relativity of every slot: levels first, then fallbacks."""

    base: float
    tables: Mapping[str, Array]

    def __post_init__(self) -> None:
        object.__setattr__(self, "tables", FrozenDict(dict(self.tables)))

    @classmethod
    def of(cls, fitted: FittedModel) -> "RateTables":
        """Return the base and relativities of a fitted model."""
        return cls(fitted.base, {name: np.exp(table) for name, table in fitted.tables.items()})


@dataclass(frozen=True)
class CodedOrders:
    """Orders as code columns of one tariff, ready to be priced again and again.

    Parameters
    ----------
    columns : CodeColumns
    n_orders : int
    index : pandas Index or None
        The caller's index.
    kind : {"pandas", "polars", "arrow"}
        Kind of frame to return.
    key : object
        What the codes mean; a tariff with the same key can price them.
    """

    columns: _core.CodeColumns
    n_orders: int
    index: Any
    kind: str
    key: tuple[Any, ...] = field(repr=False)


@dataclass(frozen=True, eq=False, repr=False)
class QuoteBuffers:
    """Arrays that take the quotes of a batch of orders; made by `Tariff.buffers`.

    Parameters
    ----------
    steps : float64 array, shape (5, n_orders), or (0, n_orders) without detail
    list_fen, merchant_fen : int32 arrays, shape (n_orders,)
    payers : int32 array, shape (n_payers, n_orders)
    flags : uint8 array, shape (n_orders,)
    hits : bool array, shape (n_flags, n_orders)
    """

    steps: Array
    list_fen: NDArray[np.int32]
    payers: NDArray[np.int32]
    merchant_fen: NDArray[np.int32]
    flags: NDArray[np.uint8]
    hits: NDArray[np.bool_]

    def check(self, n_orders: int, n_payers: int, *, detail: bool) -> None:
        """Raise unless the arrays can take so many orders and payers."""
        if len(self.list_fen) < n_orders:
            raise InputError(f"buffers hold {len(self.list_fen):,} orders, fewer than the {n_orders:,} to price.")
        if len(self.payers) != n_payers or (detail and not len(self.steps)):
            raise InputError("buffers were made by a tariff with other payers, or without detail; make new ones.")


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
    count_curve, limit_curve : float64 arrays, shape (pieces, 4)
        Curves of the cover, see `freightrisk.tariff.cover`.
    floor_fen : int
        Least that the merchant pays an order.
    rounding : {"half_even"}
        How micro-yuan become fen.
    provenance : dict
        What the tariff was built from.
    pairs : tuple of (str, str)
        Factors whose interaction has a table, named with " x " between them.
    """

    name: str
    codings: Mapping[str, Coding]
    frequency: RateTables
    severity: RateTables
    cover: Cover
    loadings: Loadings
    subsidies: tuple[Subsidy, ...]
    count_curve: Array
    limit_curve: Array
    floor_fen: int = 1
    rounding: str = "half_even"
    provenance: Mapping[str, Any] = field(default_factory=dict)
    pairs: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        _check.label(self.name, argument="name of the tariff")
        floor_fen = _check.whole(self.floor_fen, argument="floor_fen", low=0, high=10**6)
        object.__setattr__(self, "floor_fen", floor_fen)
        _check.one_of(self.rounding, ROUNDING_MODES, argument="rounding")
        object.__setattr__(self, "codings", FrozenDict(dict(self.codings)))
        object.__setattr__(self, "provenance", FrozenDict(dict(self.provenance)))
        _check_terms(self.cover, self.loadings, self.subsidies)
        for limit in self.cover.limits:
            limit_table(limit, self.codings)
        for name in (name for pair in self.pairs for name in pair):
            if name not in self.codings:
                raise InputError(f"pairs names factor '{name}', which is no factor of the tariff.")
        _check_rates(self.frequency, self.tabled, "frequency")
        _check_rates(self.severity, self.tabled, "severity")
        _check_curve(self.count_curve, self.cover.max_claims, "count_curve")
        _check_curve(self.limit_curve, 1 if self.cover.is_limited else None, "limit_curve")
        if in_stacking_order(self.subsidies) != tuple(self.subsidies):
            raise InputError("subsidies: members of a group stand apart; put the rules of a group next to each other.")
        if len(self.gates) + len(self.tabled) > _core.COLUMN_LIMIT:
            raise InputError(
                f"the tariff reads {len(self.gates)} eligibility columns and {len(self.tabled)} factors; "
                f"together they may be at most {_core.COLUMN_LIMIT}."
            )

    @classmethod
    def build(
        cls,
        frequency: FittedModel,
        severity: FittedModel,
        *,
        cover: Cover | None = None,
        loadings: Loadings | None = None,
        subsidies: Sequence[Subsidy] = (),
        floor_fen: int = 1,
        rounding: str = "half_even",
        name: str = "tariff",
    ) -> "Tariff":
        """Return the tariff of two fitted models, a cover, loadings and subsidies.

        Parameters
        ----------
        frequency, severity : FittedModel
            Where both rate a factor, they must have the same levels of it.
        cover : Cover, optional
            One claim an order and no limit by default.
        loadings : Loadings, optional
            None by default: the technical premium is the pure premium.
        subsidies : sequence of Subsidy
            In the order in which they apply.
        floor_fen : int
            Least that a merchant pays an order, in fen; 1 is 0.01 yuan.
        rounding : {"half_even"}
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
        _check_kind(frequency, "frequency")
        _check_kind(severity, "severity")
        cover = Cover() if cover is None else cover
        loadings = Loadings() if loadings is None else loadings
        _check_terms(cover, loadings, subsidies)
        found = [_factors_of(frequency), _factors_of(severity)]
        shared = [name for name in found[0] if found[1].get(name, found[0][name]) != found[0][name]]
        if shared:
            raise InputError(
                f"factor '{shared[0]}' has other levels in severity than in frequency; "
                "fit both to books with one coding."
            )
        return cls(
            name=name,
            codings={**found[0], **found[1]},
            frequency=RateTables.of(frequency),
            severity=RateTables.of(severity),
            cover=cover,
            loadings=loadings,
            subsidies=in_stacking_order(subsidies),
            count_curve=count_curve(cover.max_claims, _count_dispersion(frequency)),
            limit_curve=_limit_curve(severity) if cover.is_limited else np.empty((0, 4)),
            floor_fen=floor_fen,
            rounding=rounding,
            provenance=_provenance(frequency, severity),
            pairs=tuple(dict.fromkeys([*_pairs_of(frequency), *_pairs_of(severity)])),
        )

    @property
    def payers(self) -> tuple[str, ...]:
        """Return the payers of subsidies, in the order of their first rule."""
        return tuple(dict.fromkeys(rule.payer for rule in self.subsidies))

    @cached_property
    def tabled(self) -> dict[str, Coding | CrossCoding]:
        """Return the coding of every table: the factors, then the interactions."""
        crossed = (CrossCoding(self.codings[first], self.codings[second]) for first, second in self.pairs)
        return {**self.codings, **{coding.name: coding for coding in crossed}}

    @cached_property
    def gates(self) -> tuple[Gate, ...]:
        """Return the eligibility columns of the subsidies."""
        return compile_gates(self.subsidies)

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """Return the columns of orders (or merchants) that pricing reads."""
        rated = [column for coding in self.codings.values() for column in coding.declared.columns]
        return tuple(dict.fromkeys([*rated, *(gate.column for gate in self.gates)]))

    @cached_property
    def plan_arguments(self) -> dict[str, Any]:
        """Return the tariff as the flat arrays and numbers that the pricing kernel and its slow twin read."""
        return plan_arguments(self)

    @cached_property
    def _plan(self) -> _core.PricePlan:
        return _core.PricePlan(**self.plan_arguments)

    @property
    def _sizes(self) -> dict[str, int]:
        rated = {name: coding.n_slots for name, coding in self.tabled.items()}
        return rated | {f"{gate.kind} of {gate.column}": gate.n_slots for gate in self.gates}

    @cached_property
    def _key(self) -> tuple[Any, ...]:
        return (
            tuple(self.tabled.values()),
            tuple((gate.column, gate.kind, gate.marks) for gate in self.gates),
        )

    def encode(self, orders: Any, *, merchants: Any = None, merchant_id: str = "merchant_id") -> CodedOrders:
        """Return orders as the tariff's code columns, to be priced once or many times.

        Parameters
        ----------
        orders : pandas, polars or pyarrow table, or path of a Parquet file
            One row an order, with the tariff's columns (`column_names`).
        merchants : like orders, optional
            One row a merchant, joined by `merchant_id`, with those of the columns that orders lack.
        merchant_id : str
        """
        joined = join(orders, merchants, self.column_names, names=Names(merchant_id=merchant_id), also=())
        codes = {name: coding.encode(joined) for name, coding in self.codings.items()}
        for coding in self.tabled.values():
            if isinstance(coding, CrossCoding):
                codes[coding.name] = coding.pair(codes[coding.first.name], codes[coding.second.name])
        codes |= {f"{gate.kind} of {gate.column}": gate.encode(joined) for gate in self.gates}
        columns = (
            _check.code_columns(codes, self._sizes)
            if codes
            else _core.CodeColumns([], np.empty(0, np.int64), joined.n_rows)
        )
        return CodedOrders(columns, joined.n_rows, _index(joined), kind(orders), self._key)

    def price(
        self,
        orders: Any,
        *,
        merchants: Any = None,
        merchant_id: str = "merchant_id",
        threads: int | None = None,
        detail: bool = True,
        progress: bool = False,
    ) -> Any:
        """Return a row for each order: the steps of its premium, the list price, and who pays each fen of it.

        Parameters
        ----------
        orders : CodedOrders, or pandas, polars or pyarrow table, or path of a Parquet file
        merchants, merchant_id
            As for `encode`.
        threads : int, optional
            All cores by default; the fen do not depend on it.
        detail : bool
            Include the steps before the list price.
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
            else self.encode(orders, merchants=merchants, merchant_id=merchant_id)
        )
        if coded.key is not self._key and coded.key != self._key:
            raise InputError("orders were encoded for a tariff with other levels or rules; encode them with this one.")
        columns = self.price_columns(coded, threads=_check.threads(threads), detail=detail, progress=progress)
        return _frame(columns, coded)

    def price_columns(
        self,
        coded: CodedOrders,
        *,
        threads: int,
        detail: bool = True,
        progress: bool = False,
        buffers: QuoteBuffers | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Return the columns of `price` as arrays.

        Parameters
        ----------
        coded : CodedOrders
        threads : int
        detail, progress : bool
            As for `price`.
        buffers : QuoteBuffers, optional
            Where to write the columns, from `buffers`; the columns returned are views of them and hold until the next
            call that is given the same. By default every call has new ones.
        """
        n = coded.n_orders
        into = self.buffers(n, detail=detail) if buffers is None else buffers
        into.check(n, len(self.payers), detail=detail)
        plan = self._plan

        def work(start: int, stop: int) -> int:
            steps = into.steps if detail else np.empty((0, 0))
            _core.price(
                coded.columns, plan, start, stop, steps, into.list_fen, into.payers, into.merchant_fen, into.flags
            )
            for bit, hit in zip(_core.FLAGS.values(), into.hits, strict=True):
                np.not_equal(into.flags[start:stop] & bit, 0, out=hit[start:stop])
            return stop - start

        done = in_order(work, chunks(n, PRICE_CHUNK), threads=threads)
        for _ in _with_progress(done, n) if progress else done:
            pass
        columns: dict[str, NDArray[Any]] = dict(zip(DETAIL, into.steps, strict=True)) if detail else {}
        columns |= {"list_fen": into.list_fen}
        columns |= {f"{payer}_fen": paid for payer, paid in zip(self.payers, into.payers, strict=True)}
        columns |= {"merchant_fen": into.merchant_fen}
        columns |= dict(zip(_core.FLAGS, into.hits, strict=True))
        return {name: values[:n] for name, values in columns.items()}

    def buffers(self, n_orders: int, *, detail: bool = True) -> QuoteBuffers:
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
        )

    def codes_of(self, order: Mapping[str, Any]) -> list[int]:
        """Return the code of one order in each of the tariff's code columns."""
        _check.columns_present(self.column_names, list(order), argument="order")
        for name in self.column_names:
            if not isinstance(order[name], Hashable):
                raise InputError(f"order: '{name}' is {order[name]!r}; give one value.")
        rated = [coding.encode_one(order) for coding in self.tabled.values()]
        return rated + [gate.encode_one(order) for gate in self.gates]

    def quote(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Return the price of one order, a mapping of column to value, with the names of `price`.

        Examples
        --------
        See `Tariff.build` for a tariff; then ``tariff.quote({"zone": "far"})["list_fen"]``.
        """
        codes = [np.array([code], dtype=np.uint32) for code in self.codes_of(order)]
        columns = _core.CodeColumns(codes, np.array(list(self._sizes.values()), dtype=np.int64), 1)
        priced = self.price_columns(CodedOrders(columns, 1, None, "pandas", self._key), threads=1)
        return {name: values[0].item() for name, values in priced.items()}

    def explain(self, order: Mapping[str, Any]) -> "Worksheet":
        """Print and return the worksheet of one order, step by step; its last line is the kernel's fen."""
        from freightrisk.tariff.worksheet import worksheet

        sheet = worksheet(self, order)
        print(sheet)  # noqa: T201
        return sheet

    def save(self, path: str | Path) -> None:
        """Write the tariff as one JSON document; the file appears whole or not at all."""
        from freightrisk.tariff.document import save_tariff

        save_tariff(self, path)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_plan"}

    def __repr__(self) -> str:
        return (
            f"Tariff '{self.name}': {len(self.codings)} factors, "
            f"{sum(coding.n_levels for coding in self.codings.values())} levels, "
            f"{len(self.subsidies)} subsidies by {', '.join(self.payers) or 'nobody'}, floor {self.floor_fen} fen"
        )


def _count_dispersion(frequency: FittedModel) -> float:
    return frequency.shape if frequency.family == "negative_binomial" else 0.0


def _limit_curve(severity: FittedModel) -> Array:
    if severity.family not in SCALE_FAMILIES:
        raise InputError(
            f"severity is {severity.family}, whose spread depends on its mean, so that no one curve limits its claims; "
            f"for a cover with a limit fit {' or '.join(SCALE_FAMILIES)}."
        )
    return limit_curve(severity.dispersion, severity.family)


def _factors_of(fitted: FittedModel) -> dict[str, Coding]:
    """Return the codings of a model's factors, those of its interactions included."""
    found: dict[str, Coding] = {}
    for coding in fitted.codings.values():
        for one in (coding.first, coding.second) if isinstance(coding, CrossCoding) else (coding,):
            found.setdefault(one.name, one)
    return found


def _pairs_of(fitted: FittedModel) -> list[tuple[str, str]]:
    crossed = [coding for coding in fitted.codings.values() if isinstance(coding, CrossCoding)]
    return [(coding.first.name, coding.second.name) for coding in crossed]


def limit_table(limit: ByLevel, codings: Mapping[str, Coding]) -> Array:
    """Return the limit of every slot of its factor, yuan."""
    if limit.factor not in codings:
        raise InputError(
            f"the cover limits by factor '{limit.factor}', which no model rates; the factors are {', '.join(codings)}."
        )
    coding = codings[limit.factor]
    unknown = [level for level in limit.values if level not in coding.labels]
    if unknown:
        raise InputError(
            f"the cover names level '{unknown[0]}' of factor '{limit.factor}'; "
            f"its levels are {', '.join(coding.labels)}."
        )
    absent = [label for label in coding.labels if label not in limit.values]
    if absent and limit.default is None:
        raise InputError(
            f"the cover has no amount for {len(absent)} level(s) of factor '{limit.factor}' (first: '{absent[0]}'); "
            "list them or give a default."
        )
    rest = max(limit.values.values()) if limit.default is None else limit.default
    return np.array([limit.values.get(coding.slot_label(code), rest) for code in range(coding.n_slots)])


def plan_arguments(tariff: Tariff) -> dict[str, Any]:
    """Return the arguments of `_core.PricePlan` for a tariff."""
    place = {name: k for k, name in enumerate(tariff.tabled)}
    loads, rules = tariff.loadings, tariff.subsidies
    gates = {len(place) + k: gate.masks for k, gate in enumerate(tariff.gates)}
    limits = [(place[limit.factor], limit_table(limit, tariff.codings)) for limit in tariff.cover.limits]
    known = [coding.n_levels for coding in tariff.tabled.values()] + [gate.n_slots for gate in tariff.gates]
    return {
        "frequency_base": tariff.frequency.base,
        "severity_base": tariff.severity.base,
        "limit": tariff.cover.flat_limit,
        **_flat("frequency", [(place[name], table) for name, table in tariff.frequency.tables.items()], np.float64),
        **_flat("severity", [(place[name], table) for name, table in tariff.severity.tables.items()], np.float64),
        **_flat("limit", limits, np.float64),
        **_flat("mask", list(gates.items()), np.uint64),
        "known": np.array(known, dtype=np.int64),
        "count_curve": tariff.count_curve,
        "limit_curve": tariff.limit_curve,
        **{
            name: getattr(loads, name)
            for name in ("fraud_load", "claim_handling", "policy_cost", "retained", "filed_factor")
        },
        "filed_min_micro": float(loads.filed_min_micro),
        "filed_max_micro": float(loads.filed_max_micro),
        "floor_fen": tariff.floor_fen,
        "rule_kind": np.array([_core.RULE_KINDS[rule.kind] for rule in rules], dtype=np.int32),
        "rule_amount": np.array([rule.amount for rule in rules], dtype=np.int64),
        "rule_cap": np.array([UNLIMITED if rule.cap_fen is None else rule.cap_fen for rule in rules], dtype=np.int32),
        "rule_payer": np.array([tariff.payers.index(rule.payer) for rule in rules], dtype=np.int32),
        "rule_group": np.array(group_numbers(rules), dtype=np.int32),
    }


def _flat(what: str, tables: Sequence[tuple[int, NDArray[Any]]], dtype: type) -> dict[str, NDArray[Any]]:
    lengths = [len(table) for _, table in tables]
    return {
        f"{what}_columns": np.array([column for column, _ in tables], dtype=np.int32),
        f"{what}_offsets": np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
        if tables
        else np.empty(0, np.int64),
        f"{what}_tables": np.concatenate([table for _, table in tables]).astype(dtype)
        if tables
        else np.empty(0, dtype),
    }


def _check_terms(cover: object, loadings: object, subsidies: object) -> None:
    """Refuse terms of the wrong kind, which would fail later and less clearly."""
    if not isinstance(cover, Cover):
        raise InputError(f"cover is {cover!r}; it must be a Cover.")
    if not isinstance(loadings, Loadings):
        raise InputError(f"loadings is {loadings!r}; it must be a Loadings.")
    if not isinstance(subsidies, Sequence) or not all(isinstance(rule, Subsidy) for rule in subsidies):
        raise InputError(f"subsidies is {subsidies!r}; it must be a list whose items are each a Subsidy.")


def _check_rates(rates: RateTables, codings: Mapping[str, Coding | CrossCoding], what: str) -> None:
    if not 0.0 < rates.base < LARGEST_RATE:
        raise InputError(f"{what} base is {rates.base}; it must be above zero and below {LARGEST_RATE:g}.")
    for name, table in rates.tables.items():
        if name not in codings:
            raise InputError(f"{what} has a table for '{name}', which is no factor of the tariff.")
        if np.shape(table) != (codings[name].n_slots,):
            raise InputError(
                f"{what} table '{name}' has {np.size(table)} relativities; "
                f"its factor has {codings[name].n_slots} slots."
            )
        if not np.all((table > 0.0) & (table < LARGEST_RATE)):
            raise InputError(f"{what} table '{name}' has a relativity not above zero and below {LARGEST_RATE:g}.")


def _check_curve(curve: Array, end: int | None, what: str) -> None:
    """Refuse a curve that the cover does not call for, does not run from 1 to its end, or is broken in between."""
    if end is None:
        if len(curve):
            raise InputError(f"{what} has {len(curve)} pieces, but the cover has no such limit; it must be empty.")
        return
    whole = np.ndim(curve) == 2 and np.shape(curve)[1] == 4 and len(curve) in CURVE_PIECES
    stops = np.append(curve[1:, 0], end) if whole else np.empty(0)
    if not whole or curve[0, 0] != 1.0 or not np.allclose(curve.sum(axis=1), stops, rtol=1e-9, atol=0.0):
        raise InputError(
            f"{what} is no unbroken curve from 1 to {end} of {', '.join(map(str, CURVE_PIECES))} cubic pieces; build "
            "the tariff again."
        )


def _check_kind(fitted: object, wanted: str) -> None:
    if not isinstance(fitted, FittedModel) or fitted.kind != wanted:
        found = getattr(fitted, "kind", type(fitted).__name__)
        raise InputError(f"{wanted} is a {found} model; give the result of a {wanted} model's fit.")


def _provenance(frequency: FittedModel, severity: FittedModel) -> dict[str, Any]:
    return {
        fitted.kind: {
            "family": fitted.family,
            "engine": fitted.engine,
            "rows": fitted.n_rows,
            "deviance": fitted.deviance,
            "dispersion": fitted.dispersion,
        }
        for fitted in (frequency, severity)
    }


def _index(joined: JoinedColumns) -> Any:
    frame = getattr(joined.orders, "frame", None)
    return None if frame is None else frame.index


def _frame(columns: Mapping[str, NDArray[Any]], coded: CodedOrders) -> Any:
    if coded.kind == "polars":
        import polars as pl

        return pl.DataFrame(dict(columns))
    if coded.kind == "arrow":
        import pyarrow as pa

        return pa.table(dict(columns))
    import pandas as pd

    return pd.DataFrame(dict(columns), index=coded.index, copy=False)


def _with_progress(done: Any, n_orders: int) -> Any:
    from tqdm.auto import tqdm

    with tqdm(total=n_orders, unit=" orders", unit_scale=True, desc="pricing") as bar:
        for priced in done:
            bar.update(priced)
            yield priced
