"""Single orders: their codes, and their prices from the kernel without a frame."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from datetime import date
from functools import partial
from threading import local
from typing import Any

import numpy as np

from freightrisk import _blocks, _check, _core, _plan, _settle
from freightrisk._columns import MERCHANT_ID, ORDER_ID, value_of
from freightrisk._intake import id_of
from freightrisk.book.codings import Coding, CrossCoding
from freightrisk.book.factors import Band
from freightrisk.errors import InputError
from freightrisk.tariff.balances import sequence_of_one
from freightrisk.tariff.conditions import Gate
from freightrisk.tariff.experience_rating import Reader
from freightrisk.tariff.measures import measures_of_one
from freightrisk.tariff.quotes import DETAIL, NO_DRAWS, CodedOrders, quote_names
from freightrisk.tariff.record import TariffRecord
from freightrisk.tariff.rounding import dither_draws

REMEMBERED = 2**14  # most values that a reader remembers, to bound its memory
LARGEST_PLAIN = 1e15  # below 2**53, so a double holds every int up to it exactly
ABSENT = object()
FIRST_ORDINAL = date(1970, 1, 1).toordinal()
# Only values of these types are remembered, because equal values of other types may differ. For example, two times of
# one instant in two zones are equal but may fall on different days.
KEPT_TYPES = frozenset({str, int, float, bool, date})


def codes_of(tariff: TariffRecord, order: Mapping[str, Any], *, date_format: str | None = None) -> list[int]:
    """Return the code of one order in each of a tariff's code columns."""
    _check.columns_present(tariff.columns_read, list(order), argument="order")
    rated = [coding.encode_one(order) for coding in tariff.tabled.values()]
    if tariff.experience is not None:
        rated += tariff.experience.encode_one(order)
    if tariff.aggregate is not None:
        rated.append(tariff.aggregate.encode_one(order))
    return rated + [gate.encode_one(order, tariff.clock, date_format) for gate in tariff._gates]


def encode_one(tariff: TariffRecord, order: Mapping[str, Any], *, date_format: str | None = None) -> CodedOrders:
    """Return one order, given as a mapping, as a batch of one row."""
    codes = [np.array([code], dtype=np.uint32) for code in codes_of(tariff, order, date_format=date_format)]
    columns = _blocks.CodeColumns(codes, np.array(list(tariff.sizes.values()), dtype=np.int64), 1)
    draws, sequence = NO_DRAWS, None
    if tariff.rounding == "dither":
        draws = draw_of(order, tariff.dither_key)
    if tariff.in_sequence:
        sequence = sequence_of_one(
            order, periods=tariff.periods, carries=tariff.rounding == "carry", clock=tariff.clock,
            date_format=date_format,
        )  # fmt: skip
    amounts = measures_of_one(tariff, order, dict(zip(tariff.sizes, (int(code[0]) for code in codes), strict=True)))
    return CodedOrders(columns, 1, None, "pandas", tariff.key, draws, sequence, amounts)


def draw_of(order: Mapping[str, Any], key: str) -> Any:
    """Return the dither draw of one order, as an array of one."""
    ids = np.empty(1, dtype=object)
    ids[0] = value_of(order, ORDER_ID, id_of)
    if ids[0] is None:
        raise InputError(f"order: '{ORDER_ID}' is missing; give the order an id.")
    return dither_draws(ids, key)


class Quoter:
    """Quotes of single orders, under a tariff whose quotes depend only on the order's codes.

    Everything that does not depend on the order is made once. This is a reader for each code column, which remembers
    the values it has met, and arrays of one row for the kernel in each thread.
    """

    def __init__(self, tariff: TariffRecord, plan: _plan.PricePlan) -> None:
        self.tariff, self.plan = tariff, plan
        self.names = quote_names(tariff.payers, tariff.flags)
        # Quotes look their flags up by the kernel's byte, which is faster than testing its bits for each order.
        self.flags = [
            tuple(bool(bits & _settle.FLAGS[name]) for name in tariff.flags) for bits in range(2 ** len(_settle.FLAGS))
        ]
        self.readers = [*self._readers()]
        # Columns for which readers take a missing value, so that they do not notice an absent column.
        self.unnoticed = {*tariff.measures, *(() if tariff.aggregate is None else tariff.aggregate.columns)}
        self.unnoticed |= {MERCHANT_ID} if tariff.experience is not None and tariff.experience.mods else set()
        self.rows = local()

    @staticmethod
    def serves(tariff: TariffRecord) -> bool:
        """Return whether quotes depend only on codes: no budget, no remainder, no draw."""
        return not tariff.in_sequence and tariff.rounding != "dither"

    def quote(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Return the price of one order, as `Tariff.quote` does."""
        rows = getattr(self.rows, "own", None)
        if rows is None:
            rows = self.rows.own = _Rows(self.tariff)
        rows.codes[:] = self._codes(order)
        if self.tariff.measures:
            rows.measures[:] = measures_of_one(
                self.tariff, order, dict(zip(self.tariff.sizes, map(int, rows.codes), strict=True))
            )
        listed, payers, merchant, flags = rows.outputs
        _core.price(rows.columns, self.plan, 0, 1, rows.steps, listed, payers, merchant, flags, measures=rows.measures)
        values = [*rows.steps_flat.tolist(), *rows.money.tolist(), *self.flags[rows.flags.item()]]
        return dict(zip(self.names, values, strict=True))

    def _codes(self, order: Mapping[str, Any]) -> list[int]:
        try:
            if not self.unnoticed.issubset(order):
                raise KeyError
            codes: list[int] = []
            for read, first, second, size in self.readers:
                codes.append(codes[first] * size + codes[second] if read is None else read(order))
        except (KeyError, TypeError, InputError):  # on any problem use the slow path, which raises the full message
            return codes_of(self.tariff, order)
        return codes

    def _readers(self) -> Iterator[tuple[Reader | None, int, int, int]]:
        """Yield a reader of each code column; for a pair, None, two earlier columns, and the slots of the second."""
        place: dict[str, int] = {}
        for name, coding in self.tariff.tabled.items():
            place[name] = len(place)
            if isinstance(coding, CrossCoding):
                yield None, place[coding.first.name], place[coding.second.name], coding.second.n_slots
            else:
                yield _reader(coding), 0, 0, 0
        experience = self.tariff.experience
        if experience is not None:
            for read in experience.readers([_reader(curve.coding) for curve in experience.curves]):
                yield read, 0, 0, 0
        if self.tariff.aggregate is not None:
            yield self.tariff.aggregate.encode_one, 0, 0, 0
        for gate in self.tariff._gates:
            yield _reader(gate, partial(gate.encode_one, clock=self.tariff.clock)), 0, 0, 0


class _Rows:
    """Arrays of one row: codes for the kernel, and its steps, fen and flags."""

    def __init__(self, tariff: TariffRecord) -> None:
        sizes, payers = np.array(list(tariff.sizes.values()), dtype=np.int64), len(tariff.payers)
        self.codes = np.zeros(len(sizes), dtype=np.uint32)
        self.columns = _blocks.CodeColumns([self.codes[k : k + 1] for k in range(len(sizes))], sizes, 1)
        self.steps, self.money = np.empty((len(DETAIL), 1)), np.empty(payers + 2, dtype=np.int32)
        self.measures = np.zeros((len(tariff.measures), 1))
        self.steps_flat, self.flags = self.steps.ravel(), np.zeros(1, dtype=np.uint8)
        payer_fen = self.money[1 : payers + 1, None]
        self.outputs = (self.money[:1], payer_fen, self.money[payers + 1 :], self.flags)


def _reader(coding: Coding | Gate, encode: Reader | None = None) -> Reader:
    """Return a function that reads the code of one column; `encode` is its slow path, for values not seen before."""
    encode = coding.encode_one if encode is None else encode
    columns = coding.columns if isinstance(coding, Coding) else (coding.column,)
    if isinstance(coding, Coding) and isinstance(coding.declared, Band):
        return _number_reader(encode, columns[0], coding.edges, *coding.declared.valid)
    if isinstance(coding, Gate) and coding.kind == "numbers":
        return _number_reader(encode, columns[0], coding.marks, -np.inf, np.inf)
    if isinstance(coding, Gate) and coding.kind == "days":
        return _day_reader(encode, columns[0], coding.marks)
    one = len(columns) == 1
    return _value_reader(encode, columns[0]) if one else _path_reader(encode, tuple(columns))


def _number_reader(encode: Reader, column: str, edges: tuple[float, ...], low: float, high: float) -> Reader:
    low, high = max(low, -LARGEST_PLAIN), min(high, LARGEST_PLAIN)

    def read(order: Mapping[str, Any]) -> int:
        value = order.get(column, ABSENT)
        if value.__class__ in (float, int) and low <= value <= high:
            return bisect_left(edges, value)
        if value is ABSENT:
            raise KeyError(column)
        return encode(order)

    return read


def _day_reader(encode: Reader, column: str, marks: tuple[float, ...]) -> Reader:
    def read(order: Mapping[str, Any]) -> int:
        value = order.get(column, ABSENT)
        # NaT of pandas is a date that does not equal itself. A time with a zone needs the clock to give its day.
        if isinstance(value, date) and value == value and getattr(value, "tzinfo", None) is None:
            return bisect_left(marks, value.toordinal() - FIRST_ORDINAL)
        if value is ABSENT:
            raise KeyError(column)
        return encode(order)

    return read


def _value_reader(encode: Reader, column: str) -> Reader:
    known: dict[Any, int] = {}

    def read(order: Mapping[str, Any]) -> int:
        value = order.get(column, ABSENT)
        key = (value.__class__, value)  # 1 and True are the same key of a dictionary, but not the same value
        code = known.get(key)
        if code is None:
            if value is ABSENT:
                raise KeyError(column)
            code = encode(order)
            if value.__class__ in KEPT_TYPES and len(known) < REMEMBERED:
                known[key] = code
        return code

    return read


def _path_reader(encode: Reader, columns: tuple[str, ...]) -> Reader:
    known: dict[Any, int] = {}

    def read(order: Mapping[str, Any]) -> int:
        values = [order.get(column, ABSENT) for column in columns]
        key = (*map(type, values), *values)
        code = known.get(key)
        if code is None:
            if ABSENT in values:
                raise KeyError(columns)
            code = encode(order)
            if KEPT_TYPES.issuperset(map(type, values)) and len(known) < REMEMBERED:
                known[key] = code
        return code

    return read
