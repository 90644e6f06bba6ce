"""Opening books on disk: every statement of the document about the columns is proved before anything reads them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from freightrisk import _check, _intake
from freightrisk._document import from_plain, to_plain
from freightrisk._intake import FIRST_TIME, LAST_TIME
from freightrisk._mapped import PIECE, bounds
from freightrisk._plain import json_document
from freightrisk.book.book import OrderBook
from freightrisk.book.claims import ClaimRecords, Reversals
from freightrisk.book.codings import Coding, code_type
from freightrisk.book.joined import LARGEST, SMALLEST
from freightrisk.errors import FreightRiskError, InputError

FORMAT = 2  # to be raised when the columns or the document of a stored book change
DESCRIPTION = "book.json"
COUNT, PLACE, REAL, DAY = ("|u1", "<u2", "<u4"), ("<i8",), ("<f8",), ("<M8[D]",)
ORDER_KINDS = {"claim_count": COUNT, "exposure": REAL, "ship_day": DAY, "order_row": PLACE}
CLAIM_KINDS = {"claim_row": PLACE, "claim_amount": REAL, "claim_day": DAY}
REVERSED_KINDS = {"reversed_row": PLACE, "reversed_report_day": DAY, "reversed_day": DAY}
MAY_LACK = ("exposure", "ship_day", "order_row", "claim_day")


@dataclass(frozen=True, kw_only=True)
class StoredBook:
    """The document of a stored book.

    `columns` has the type and length of each column, and `checksum` is the hash of all other fields.
    """

    format: int = FORMAT
    codings: Annotated[Mapping[str, Coding], "name"] = field(metadata={"key": "factors"})
    columns: Mapping[str, tuple[str, int]]
    as_of: str | None
    left_out: Mapping[str, int]
    lines: str | None
    table_rows: int
    clock: str
    checksum: str = ""

    def document(self) -> bytes:
        """Return the document as JSON, with its checksum."""
        plain = to_plain(self)
        return msgspec.json.format(msgspec.json.encode(plain | {"checksum": checksum(plain)}), indent=1)


def checksum(plain: dict[str, Any]) -> str:
    """Return the hash of all keys of a document except the checksum."""
    return blake2b(msgspec.json.encode(plain | {"checksum": ""}), digest_size=16).hexdigest()


def open_book(folder: str | Path) -> OrderBook:
    """Return the book that `store_book` has stored in a folder; its columns are read when they are needed.

    Every column is first read once, piece by piece. This proves that it has its type and length, that codes lie in
    their tables and that claims belong to orders.

    Raises
    ------
    InputError
        If the folder holds no stored book, or its columns differ from its document.
    """
    folder = _check.path(folder, argument="folder")
    plain = _described(folder)
    try:
        stored = from_plain(StoredBook, plain)
        codings = [*stored.codings.values()]
        _intake.check_clock(stored.clock)
        as_of = None if stored.as_of is None else _check.day(stored.as_of, argument="as_of")
        if stored.lines is not None and stored.lines not in stored.codings:
            raise InputError(f"lines is '{stored.lines}', which is not a factor.")
        columns = _columns(folder, stored, codings)
    except msgspec.ValidationError as error:
        raise InputError(f"the book in '{folder}' is damaged: {error}. Store it again.") from None
    except FreightRiskError as error:
        raise InputError(f"the book in '{folder}' is damaged: {error} Store it again.") from None
    codes = {coding.name: columns.pop(f"codes.{k}") for k, coding in enumerate(codings)}
    claims, reversals = _apart(columns, "claim_", CLAIM_KINDS), _apart(columns, "reversed_", REVERSED_KINDS)
    return OrderBook(
        codings=stored.codings,
        codes=codes,
        counts=columns.pop("claim_count"),
        claims=ClaimRecords(**claims),
        reversals=Reversals(**reversals),
        as_of=as_of,
        left_out=dict(stored.left_out),
        lines=stored.lines,
        table_rows=stored.table_rows,
        clock=stored.clock,
        exposure=columns.pop("exposure", None),
        **columns,
    )


def _apart(columns: dict[str, Any], prefix: str, kinds: Iterable[str]) -> dict[str, Any]:
    """Remove the columns with these names from all columns, and return them by their names without the prefix."""
    return {name.removeprefix(prefix): columns.pop(name) for name in kinds if name in columns}


def _described(folder: Path) -> dict[str, Any]:
    """Return the document of a book as plain data; raise if it was changed after it was written."""
    try:
        data = (folder / DESCRIPTION).read_bytes()
        plain: dict[str, Any] = json_document(data, dict[str, Any])
        found = plain.get("format")
        if found != FORMAT and isinstance(found, int):
            raise InputError(f"it has format {found}, but this release reads format {FORMAT}; store the book again.")
        if plain.get("checksum") != checksum(plain):
            raise InputError(f"{DESCRIPTION} was changed after it was written; store the book again.")
    except (OSError, ValueError, msgspec.DecodeError, InputError) as error:
        raise InputError(f"folder is '{folder}', which holds no stored book: {error}") from None
    return plain


def _columns(folder: Path, stored: StoredBook, codings: list[Coding]) -> dict[str, Any]:
    """Return the columns of a book after proving that they agree with its document."""
    kinds: dict[str, tuple[str, ...]] = {
        f"codes.{k}": (np.dtype(code_type(coding.n_slots)).str,) for k, coding in enumerate(codings)
    }
    orders = [*kinds, *ORDER_KINDS]
    kinds |= ORDER_KINDS | CLAIM_KINDS | REVERSED_KINDS
    _check_names(stored.columns, kinds)
    lengths = {name: length for name, (_, length) in stored.columns.items()}
    for group in (orders, [*CLAIM_KINDS], [*REVERSED_KINDS]):
        if len({lengths[name] for name in group if name in lengths}) > 1:
            raise InputError(f"columns {', '.join(name for name in group if name in lengths)} differ in length.")
    if not lengths["claim_count"]:
        raise InputError("it has no orders.")
    columns = {name: _mapped(folder / f"{name}.bin", *kind) for name, kind in stored.columns.items()}
    n_orders = lengths["claim_count"]
    for k, coding in enumerate(codings):
        _within(columns, f"codes.{k}", 0, coding.n_slots - 1)
    for name, size in (("claim_row", n_orders), ("reversed_row", n_orders), ("order_row", stored.table_rows)):
        _within(columns, name, 0, size - 1)
    for name in ("exposure", "claim_amount"):
        _within(columns, name, SMALLEST, LARGEST)
    _check_days(columns, stored.as_of)
    if stored.table_rows < n_orders:
        raise InputError(f"its table had {stored.table_rows:,} rows, fewer than its {n_orders:,} orders.")
    if int(columns["claim_count"].sum(dtype=np.int64)) != lengths["claim_row"]:
        raise InputError(f"the claim counts of its orders do not add up to its {lengths['claim_row']:,} claims.")
    return columns


def _check_names(columns: Mapping[str, tuple[str, int]], kinds: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse columns that no book has, that are absent, or that are of another type."""
    for name, (kind, length) in columns.items():
        if name not in kinds:
            raise InputError(f"it has a column '{name}', which no book has.")
        if kind not in kinds[name] or length < 0:
            raise InputError(f"column '{name}' has type {kind} and length {length}; its type must be {kinds[name][0]}.")
    absent = [name for name in kinds if name not in columns and name not in MAY_LACK]
    if absent:
        raise InputError(f"it lacks the column '{absent[0]}'.")


def _mapped(path: Path, kind: str, length: int) -> NDArray[Any]:
    dtype = np.dtype(kind)
    if not path.is_file() or path.stat().st_size != length * dtype.itemsize:
        raise InputError(f"'{path}' should hold {length:,} values of type {kind}.")
    return np.memmap(path, dtype, mode="r", shape=(length,)) if length else np.empty(0, dtype)


def _check_days(columns: Mapping[str, NDArray[Any]], as_of: str | None) -> None:
    """Refuse days outside the range of dates, days after the valuation date, and claims before their shipment."""
    first, last = FIRST_TIME.astype("M8[D]"), LAST_TIME.astype("M8[D]")
    for name in ("ship_day", "claim_day", "reversed_report_day", "reversed_day"):
        _within(columns, name, first, last if as_of is None else np.datetime64(as_of, "D"))
    for row, shipped, reported in (
        ("claim_row", "ship_day", "claim_day"),
        ("reversed_row", "ship_day", "reversed_report_day"),
        (None, "reversed_report_day", "reversed_day"),
    ):
        if shipped not in columns or reported not in columns:
            continue
        for start in range(0, len(columns[reported]), PIECE):
            some = slice(start, start + PIECE)
            before = columns[shipped][some if row is None else columns[row][some]]
            if np.any(columns[reported][some] < before):
                raise InputError(f"column '{reported}' has days that precede the days in column '{shipped}'.")


def _within(columns: Mapping[str, NDArray[Any]], name: str, low: Any, high: Any) -> None:
    """Refuse values of a column that lie outside an interval or are NaN."""
    if name not in columns or not len(columns[name]):
        return
    least, most = bounds(columns[name])  # NaN if any value is NaN, so that the comparison fails
    if not (least >= low and most <= high):
        raise InputError(f"column '{name}' has values from {least} to {most}, outside {low} to {high}.")
