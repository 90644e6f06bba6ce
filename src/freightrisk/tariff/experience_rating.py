"""Experience rating: a merchant's own modification if there is one, else the curve of the score."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from freightrisk import _check
from freightrisk._columns import MERCHANT_ID, JoinedColumns, id_array, value_of
from freightrisk._frozen import EqualByContent, digest
from freightrisk._intake import by_id, id_of
from freightrisk._shown import repr_of, shown
from freightrisk._types import Array
from freightrisk._vectors import NEAR
from freightrisk.book.book import OrderBook
from freightrisk.book.codings import Coding, code_type
from freightrisk.book.maturity import ReportLag
from freightrisk.book.recode import Places, looked_up
from freightrisk.errors import InputError
from freightrisk.models.fitted import FittedModel
from freightrisk.models.merchant_experience import PROCESSES, MerchantExperience, merchant_experience, merchant_periods
from freightrisk.tariff.rates import RateTables
from freightrisk.tariff.score import LARGEST_MOD, ScoreCurve

if TYPE_CHECKING:
    import pandas as pd


Reader = Callable[[Mapping[str, Any]], int]


@dataclass(frozen=True, eq=False, repr=False)
class ExperienceRating(EqualByContent):
    """Experience modifications of merchants, and the curve of the score for all other merchants.

    The modification of a merchant is Z O / E + (1 - Z) g(score), computed when merchants were last rated. It replaces
    the curve, so that the score does not count the merchant's own claims a second time.

    Parameters
    ----------
    curves : sequence of ScoreCurve
        One curve for the score, or one for each sub-score. Their relativities multiply.
    mods : mapping of merchant to float
        Modification of each rated merchant.
    version : str
        Version of the rating, such as its date.
    off_balance : float
        Factor on all modifications and on the first curve, set by `Tariff.with_off_balance`.
    rated : MerchantExperience, optional
        The result from which the modifications come. Documents do not keep it.

    Raises
    ------
    InputError
        For a modification outside its range, an invalid merchant id, and two curves of one column.
    """

    curves: Sequence[ScoreCurve] = ()
    mods: Mapping[Any, float] = field(default_factory=dict)
    version: str = "1"
    off_balance: float = 1.0
    rated: MerchantExperience | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        _check.label(self.version, argument="version of the experience")
        off_balance = _check.number(self.off_balance, argument="off_balance", low=0.0, high=LARGEST_MOD, open_low=True)
        object.__setattr__(self, "off_balance", off_balance)
        object.__setattr__(self, "curves", _check.members(self.curves, ScoreCurve, argument="curves"))
        _check.mapping(self.mods, argument="mods")
        columns = [curve.coding.columns[0] for curve in self.curves]
        twice = [column for column in columns if columns.count(column) > 1]
        if twice:
            raise InputError(f"two curves read column '{twice[0]}', which would count it twice; leave one out.")
        names = [curve.name for curve in self.curves]
        same = [name for name in names if names.count(name) > 1]
        if same:
            raise InputError(
                f"two curves are named '{same[0]}', but each needs a code column of its own name; rename a factor."
            )
        if not self.curves and not len(self.mods):
            raise InputError("an experience rating needs a curve or modifications; give at least one of them.")
        mods = {}
        for merchant, mod in by_id(self.mods, "mods").items():
            argument = f"the modification of merchant {repr_of(merchant)}"
            mods[merchant] = _check.number(
                mod, argument=argument, low=0.0, high=LARGEST_MOD, open_low=True, open_high=True
            )
        object.__setattr__(self, "mods", mods)

    def as_document(self) -> dict[str, Any]:
        """Return the values of a document by key. Merchants are a list, because JSON keys are texts."""
        plain = {"version": self.version, "scale": self.off_balance, "curves": self.curves}
        return plain | {"merchants": [*self.mods], "mods": [*self.mods.values()]}

    @classmethod
    def of_document(
        cls,
        version: str,
        scale: float,
        curves: Sequence[ScoreCurve],
        merchants: Sequence[int | str],
        mods: Sequence[float],
    ) -> "ExperienceRating":
        """Return the experience of the values of a document."""
        kept = dict(zip(merchants, mods, strict=False))
        if not len(merchants) == len(mods) == len(kept):
            raise InputError(
                f"the experience has {len(mods)} modifications for {len(merchants)} merchants ({len(kept)} different); "
                "give one for each merchant."
            )
        return cls(curves, kept, version, scale)

    @classmethod
    def of(
        cls,
        book: OrderBook,
        frequency: FittedModel,
        merchant: ArrayLike,
        curves: Sequence[ScoreCurve] = (),
        *,
        version: str = "1",
        lag: ReportLag | None = None,
        days: int = 30,
        excluded: ArrayLike | None = None,
        owner: "Mapping[Any, Any] | pd.Series | None" = None,
        group: "Mapping[Any, Any] | pd.Series | None" = None,
        previous: "ExperienceRating | None" = None,
        half_life_days: float | None = None,
        max_change: float | None = 0.25,
        min_units: int = 30,
        min_credibility: float = 0.0,
        process: str = "poisson",
    ) -> "ExperienceRating":
        """Rate the merchants of a book around the curve of their score.

        Expected claims are computed without the scores, so that each claim counts once. The prior of a merchant is the
        value of the curve at the score of its last order.

        Parameters
        ----------
        book : OrderBook
            The orders on which merchants are rated; the book needs a valuation date.
        frequency : FittedModel
            A model of a book with the same codings.
        merchant : array, shape (n_orders,)
            The merchant of each order of the book, by position; an index is not read. `OrderBook.align` takes it out of
            a column of the orders.
        curves : sequence of ScoreCurve
            Curves of factors of the model.
        version : str
        lag : ReportLag, optional
            Scales the expected claims of immature orders by their reported share.
        days : int
            Length of a period. All claims of a period have the same recency weight.
        excluded : array, shape (n_orders,), optional
            Number of claims of each order that do not count, such as confirmed fraud.
        owner, group : mapping of merchant to text, optional
            Legal owner and category group of each merchant. The merchants of one owner are rated as one unit.
        previous : ExperienceRating, optional
            The rating in force. A new modification differs from the one in force by at most `max_change`.
        half_life_days, max_change, min_units
            As for `merchant_experience`.
        min_credibility : float
            Merchants with a lower credibility get no modification; the curve prices them at their current score.
        process : {"poisson", "bernoulli"}
            Variance of a merchant's claims around its own mean, as for `merchant_experience`. Bernoulli is for orders,
            or lines of orders, that claim at most once. It needs a model of family bernoulli, binomial or
            beta_binomial. Variance between merchants and credibility are then larger, above all at high claim
            probabilities.
        """
        _check.one_of(process, PROCESSES, argument="process")
        periods = merchant_periods(
            book, frequency, merchant, without=[curve.name for curve in curves], lag=lag, days=days,
            excluded=excluded,
        )  # fmt: skip
        for curve in curves:
            periods["expected"] *= curve.base_factor
        more: dict[str, Any] = {} if excluded is None else {"without_claims": ["excluded"]}
        if process == "bernoulli":
            periods["squared_expected"] = _squares(periods, frequency, curves)
        else:
            periods = periods.drop(columns="squared_expected", errors="ignore")
        periods["prior"] = periods["merchant_id"].map(
            _last_prior(book, id_array(merchant, argument="merchant"), curves)
        )
        for name, values in (("owner", owner), ("group", group)):
            if values is not None:
                periods[name] = periods["merchant_id"].map(by_id(dict(values), name))
                more[name] = name
        if previous is not None:
            periods["previous"] = periods["merchant_id"].map(dict(previous.mods)).astype(np.float64)
            more["previous"] = "previous"
        if half_life_days is not None:
            more |= {"age_days": "age_days", "half_life_days": half_life_days}
        rated = merchant_experience(
            periods, prior="prior", process=process, max_change=max_change, min_units=min_units, **more,
        )  # fmt: skip
        low = _check.number(min_credibility, argument="min_credibility", low=0.0, high=1.0)
        kept = rated.merchants[rated.merchants["credibility_z"] >= low]
        return cls(tuple(curves), kept["experience_mod"].to_dict(), version, rated=rated)

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns of scores and of their versions that pricing reads."""
        versions = [curve.version_column for curve in self.curves if curve.version_column is not None]
        return tuple(dict.fromkeys([*(curve.coding.columns[0] for curve in self.curves), *versions]))

    @cached_property
    def _places(self) -> Places:
        return Places([*self.mods])

    @cached_property
    def tables(self) -> dict[str, Array]:
        """Return the relativities of each code column: of each rated merchant, then of each slot of the score.

        The first column holds the modifications. In every further column rated merchants have relativity 1.
        """
        mods = np.array(list(self.mods.values()), dtype=np.float64) * self.off_balance
        if not self.curves:
            return {"experience": np.append(mods, self.off_balance)}
        first, *rest = self.curves
        found = {f"experience: {first.name}": np.concatenate([mods, first.relativity * self.off_balance])}
        for curve in rest:
            found[f"experience: {curve.name}"] = np.append(np.ones(min(1, len(mods))), curve.relativity)
        return found

    @property
    def known(self) -> list[int]:
        """Return the number of codes of each column that are not fallbacks."""
        if not self.curves:
            return [len(self.mods) + 1]
        fallbacks = [curve.coding.n_slots - curve.coding.n_levels for curve in self.curves]
        return [len(table) - more for table, more in zip(self.tables.values(), fallbacks, strict=True)]

    def slot_label(self, column: str, code: int) -> str:
        """Return the merchant or the band of a code."""
        rated = len(self.tables[column]) - (self._curve_of(column).coding.n_slots if self.curves else 1)
        if code < rated:
            own = next(iter(self.tables)) == column
            return f"own experience of merchant {list(self.mods)[code]}" if own else "in the own experience"
        return self._curve_of(column).coding.slot_label(code - rated) if self.curves else "merchant without experience"

    def _curve_of(self, column: str) -> ScoreCurve:
        return next(curve for curve in self.curves if column == f"experience: {curve.name}")

    def encode(self, columns: JoinedColumns) -> Iterator[NDArray[Any]]:
        """Yield the code of every row for each column of `tables`."""
        none, first = len(self.mods), next(iter(self.tables.values()))
        for curve in self.curves:
            curve.check_versions(columns)
        scores = [curve.coding.encode(columns) for curve in self.curves]
        if not self.mods:
            yield from scores
            return
        codes, merchants = columns.id_codes(MERCHANT_ID, max(NEAR, columns.n_rows))
        places = np.append(self._places.of(merchants), none).astype(code_type(len(first)))
        own = looked_up(codes, places, threads=columns.threads)
        if not scores:
            yield own
            return
        for k, (score, table) in enumerate(zip(scores, self.tables.values(), strict=True)):
            rated, shift = (own, none) if k == 0 else (0, 1)
            kind = code_type(len(table))
            yield np.where(own < none, rated, score.astype(kind) + kind(shift)).astype(kind, copy=False)

    def encode_one(self, order: Mapping[str, Any]) -> list[int]:
        """Return the codes of one order given as a mapping."""
        return [read(order) for read in self.readers([curve.coding.encode_one for curve in self.curves])]

    def readers(self, scores: Sequence[Reader]) -> list[Reader]:
        """Return a function for each column of `tables` that reads its code from an order."""
        place, none = self._places.of_one, len(self.mods)

        def own(order: Mapping[str, Any]) -> int:
            return place.get(value_of(order, MERCHANT_ID, id_of), none) if none else none

        def reader(k: int) -> Reader:
            curve, score, shift = self.curves[k], scores[k], none if k == 0 else min(1, none)

            def read(order: Mapping[str, Any]) -> int:
                curve.check_version_of(order)
                code, mine = score(order), own(order)
                return code + shift if mine == none else mine if k == 0 else 0

            return read

        return [reader(k) for k in range(len(scores))] or [own]

    @cached_property
    def digest(self) -> str:
        """Return a hash of the meaning of the codes."""
        curves = tuple((curve.coding.digest, curve.version, curve.version_column) for curve in self.curves)
        return digest((curves, tuple(self.mods)))

    def without_effect(self) -> "ExperienceRating":
        """Return the experience with the same codes and every relativity 1."""
        flat = tuple(replace(curve, relativity=np.ones(curve.coding.n_slots)) for curve in self.curves)
        return ExperienceRating(flat, dict.fromkeys(self.mods, 1.0), self.version)

    def check_counted_once(self, columns: Mapping[str, Sequence[str]]) -> None:
        """Raise if a frequency table reads a score or a merchant that the experience rating also reads.

        Parameters
        ----------
        columns : dict of str to sequence of str
            The columns behind each frequency table.
        """
        scores = {curve.coding.columns[0] for curve in self.curves} | ({MERCHANT_ID} if self.mods else set())
        for name, read in columns.items():
            both = scores.intersection(read)
            if both:
                raise InputError(
                    f"frequency rates '{name}', and the experience also reads '{both.pop()}': the same claims would "
                    "count twice. Fit the frequency without it, or leave it out of the experience."
                )

    def taken_out_of(self, rates: RateTables, codings: Mapping[str, Coding]) -> RateTables:
        """Return the frequency tables without the tables of the curves, whose averages move into the base."""
        base, tables = rates.base, dict(rates.tables)
        for curve in self.curves:
            if tables.pop(curve.name, None) is not None:
                if codings[curve.name] != curve.coding:
                    raise InputError(
                        f"the curve of '{curve.name}' has other bands than the frequency model; make it with "
                        "ScoreCurve.of from this model."
                    )
                base *= curve.base_factor
        return RateTables(base, tables)

    @property
    def provenance(self) -> dict[str, Any]:
        """Return the record of the experience in a tariff's provenance."""
        scores = {
            curve.name: {"version": curve.version, "lag_days": curve.lag_days, "base_factor": curve.base_factor}
            for curve in self.curves
        }
        return {"version": self.version, "merchants": len(self.mods), "scores": scores}

    def __repr__(self) -> str:
        mods = np.array(list(self.mods.values()))
        own = f"{len(mods):,} merchants" + (f" from {mods.min():.3f} to {mods.max():.3f}" if len(mods) else "")
        scores = ", ".join(f"'{curve.name}' {curve.version}" for curve in self.curves) or "no score"
        return shown(f"ExperienceRating, version {self.version}: {own}; {scores}; off-balance {self.off_balance:.4f}")


def _squares(periods: "pd.DataFrame", frequency: FittedModel, curves: Sequence[ScoreCurve]) -> "pd.Series":
    """Return the squared expected claims of periods, with the average of the curves in the expectation."""
    if "squared_expected" not in periods:
        raise InputError(
            f"process is 'bernoulli', but the model is of family '{frequency.family}', in which an order may have "
            "several claims; fit family='bernoulli', 'binomial' or 'beta_binomial', or leave process='poisson'."
        )
    squares = periods["squared_expected"] * prod(curve.base_factor for curve in curves) ** 2
    # The average of a curve can take probabilities near 1 above it.
    return squares.clip(upper=periods["expected"])


def _last_prior(book: OrderBook, merchant: NDArray[Any], curves: Sequence[ScoreCurve]) -> dict[Any, float]:
    """Return for each merchant the product of the curves at its last order."""
    import pandas as pd

    prior = np.ones(book.n_orders)
    for curve in curves:
        if book.codings.get(curve.name) != curve.coding:
            raise InputError(
                f"book: its coding of '{curve.name}' differs from the curve's coding; make the curve from a model of "
                "this book."
            )
        prior *= curve.relativity[book.codes[curve.name]]
    frame = pd.DataFrame({"merchant": merchant, "prior": prior, "age": -book.age_days})
    last = frame.sort_values("age", kind="stable").groupby("merchant")["prior"].last()
    return dict(last.items())
