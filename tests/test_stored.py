"""Books on disk: the same as books in memory, whatever the files and batches, or nothing at all."""

import os
import shutil
import tempfile
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freightrisk import (
    Band,
    Credibility,
    Factor,
    FreightRiskWarning,
    FrequencyModel,
    Hierarchy,
    InputError,
    OrderBook,
    ReportLag,
    SeverityModel,
    Smooth,
    _mapped,
    open_book,
    store_book,
)
from freightrisk.book.opened import checksum
from interrupts import interrupted, lines_of

FACTORS = (
    Factor("zone", min_claims=12, unseen="parent"),
    Band("weight_kg", [0.5, 1, 2, 5, 9], missing="level", min_claims=5),
    Hierarchy("category", ["industry", "leaf"], min_exposure=15.0),
    Factor("score"),
)
N = 3_000


@pytest.fixture(scope="module")
def frames():
    """Orders, claims and merchants with what books leave out and pool."""
    rng = np.random.default_rng(11)
    leaf = rng.integers(0, 40, N) // rng.integers(1, 9, N)
    shipped = pd.Timestamp("2026-03-01") + pd.to_timedelta(rng.integers(0, 90, N), unit="D")
    orders = pd.DataFrame({
        "order_id": rng.permutation(N) + 10**12,
        "merchant_id": rng.integers(0, 50, N),
        "zone": rng.choice(["city", "near", "far", "island"], N, p=[0.5, 0.3, 0.195, 0.005]),
        "weight_kg": np.where(rng.random(N) < 0.03, np.nan, rng.gamma(2.0, 0.9, N)),
        "industry": np.array(["apparel", "shoes", "home"])[leaf % 3],
        "leaf": [f"leaf {k}" for k in leaf],
        "ship_date": np.where(rng.random(N) < 0.04, np.datetime64("NaT", "D"), shipped),
        "exposed": rng.uniform(0.2, 1.0, N),
        "lines": rng.integers(2, 5, N),
    })  # fmt: skip
    merchants = pd.DataFrame({"merchant_id": range(50), "score": np.round(rng.uniform(4.0, 5.0, 50), 1)})
    claimed = orders[orders["ship_date"].notna() & (rng.random(N) < 0.25)]
    claimed = pd.concat([claimed, claimed.sample(60, random_state=1)]).sample(frac=1.0, random_state=2)
    days = pd.to_timedelta(rng.integers(0, 40, len(claimed)), unit="D")
    reported = (pd.to_datetime(claimed["ship_date"]) + days).to_numpy()
    undone = np.where(rng.random(len(claimed)) < 0.1, reported + np.timedelta64(9, "D"), np.datetime64("NaT", "D"))
    claims = pd.DataFrame({
        "order_id": claimed["order_id"].to_numpy(), "freight": rng.gamma(5.0, 2.0, len(claimed)),
        "report_date": reported, "undone": undone,
    })  # fmt: skip
    return orders, claims, merchants


NAMES = {"exposure": "exposed", "lines": "lines", "reversed_date": "undone", "as_of": "2026-06-01"}


def parquet(orders, folder, files):
    """Write the orders as some files, of row groups that fit nothing."""
    folder.mkdir()
    for k, part in enumerate(np.array_split(np.arange(len(orders)), files)):
        orders.iloc[part].to_parquet(folder / f"{k:03}.parquet", row_group_size=311, index=False)
    return folder


def assert_same_book(stored, whole):
    assert dict(stored.codings) == dict(whole.codings)
    for name in whole.codes:
        assert stored.codes[name].dtype == whole.codes[name].dtype
        np.testing.assert_array_equal(stored.codes[name], whole.codes[name])
    np.testing.assert_array_equal(stored.claim_count, whole.claim_count)
    for name in ("exposure", "ship_day", "order_row"):
        mine, theirs = getattr(stored, name), getattr(whole, name)
        assert (mine is None) == (theirs is None)
        np.testing.assert_array_equal(mine, theirs)
    mine, theirs = (
        sorted(zip(book.claim_row.tolist(), book.claim_amount.tolist(), book.claim_day.tolist(), strict=True))
        for book in (stored, whole)
    )
    assert mine == theirs
    mine, theirs = (
        sorted(zip(book.reversed_row, book.reversed_report_day, book.reversed_day, strict=True))
        for book in (stored, whole)
    )
    assert mine == theirs
    for name in ("as_of", "left_out", "lines", "table_rows", "n_claims", "total_exposure"):
        assert getattr(stored, name) == getattr(whole, name), name


@pytest.mark.parametrize(("files", "batch_rows"), [(1, 10**6), (1, 500), (3, 211), (2, 1499)])
def test_a_stored_book_is_the_book_of_all_orders_at_once(tmp_path, frames, files, batch_rows):
    orders, claims, merchants = frames
    source = parquet(orders, tmp_path / "orders", files)
    options = {"factors": FACTORS, "merchants": merchants, **NAMES}
    stored = store_book(tmp_path / "book", source, claims, batch_rows=batch_rows, **options)
    whole = OrderBook.from_frames(orders, claims, **options)
    assert whole.codings["zone"].labels == ("city", "near", "(other)")
    assert_same_book(stored, whole)
    assert_same_book(open_book(tmp_path / "book"), whole)
    assert isinstance(stored.codes["zone"], np.memmap)
    assert not stored.codes["zone"].flags.writeable


@settings(max_examples=15)
@given(
    sizes=st.lists(st.sampled_from([1, 3, 3, 3]), min_size=3, max_size=6),
    rules=st.sampled_from([{"min_claims": 2}, {"min_claims": 3}, {"min_exposure": 0.6}]),
    batch_rows=st.integers(1, 16),
    data=st.data(),
)
def test_the_order_of_rows_and_the_batches_change_no_level(sizes, rules, batch_rows, data):
    # Levels of three orders tie: 0.1 + 0.2 + 0.3 in some order.
    levels = [(zone, exposed) for zone, size in enumerate(sizes) for exposed in (0.1, 0.2, 0.3)[:size]]
    orders = pd.DataFrame(levels, columns=["zone", "exposed"]).assign(order_id=range(len(levels)))
    orders["zone"] = "zone " + orders["zone"].astype(str)
    claims = pd.DataFrame({"order_id": range(len(levels)), "freight": 5.0})
    moved = orders.iloc[data.draw(st.permutations(range(len(orders))))]
    options = {"factors": [Factor("zone", **rules)], "exposure": "exposed", "ship_date": None, "report_date": None}
    with tempfile.TemporaryDirectory() as folder:
        moved.to_parquet(Path(folder, "orders.parquet"), index=False)
        stored = store_book(
            Path(folder, "book"), Path(folder, "orders.parquet"), claims, batch_rows=batch_rows, **options
        )
        assert dict(stored.codings) == dict(OrderBook.from_frames(orders, claims, **options).codings)
        del stored


@pytest.mark.parametrize("kind", ["polars", "arrow", "path", "texts"])
def test_claims_of_any_kind(tmp_path, frames, kind):
    orders, claims, merchants = frames
    if kind == "texts":
        orders, claims = (frame.assign(order_id="A" + frame["order_id"].astype(str)) for frame in (orders, claims))
    claims.to_parquet(tmp_path / "claims.parquet")
    given = {
        "polars": lambda: pl.from_pandas(claims), "arrow": lambda: pa.Table.from_pandas(claims),
        "path": lambda: tmp_path / "claims.parquet", "texts": lambda: claims,
    }[kind]()  # fmt: skip
    options = {"factors": FACTORS, "merchants": merchants, **NAMES}
    stored = store_book(
        tmp_path / "book", parquet(orders, tmp_path / "orders", 2), given, batch_rows=700, progress=True, **options
    )
    assert_same_book(stored, OrderBook.from_frames(orders, claims, **options))


def test_levels_of_another_book_are_kept(tmp_path, frames):
    orders, claims, merchants = frames
    first = OrderBook.from_frames(orders, claims, factors=FACTORS, merchants=merchants, **NAMES)
    codings = [coding for name, coding in first.codings.items() if name != "lines"]
    source = parquet(orders, tmp_path / "orders", 1)
    for k, factors in enumerate(([*codings, first.codings["lines"]], codings)):
        stored = store_book(tmp_path / f"{k}", source, claims, factors=factors, merchants=merchants, **NAMES)
        assert_same_book(stored, first)


def test_without_dates_and_with_every_order_in_force(tmp_path):
    orders = pd.DataFrame({"order_id": range(9), "zone": list("abcabcabc")})
    claims = pd.DataFrame({"order_id": [3, 3, 8], "freight": [5.0, 6.0, 7.0]})
    orders.to_parquet(tmp_path / "orders.parquet")
    options = {"factors": [Factor("zone")], "ship_date": None, "report_date": None}
    stored = store_book(tmp_path / "book", [tmp_path / "orders.parquet"], claims, batch_rows=4, **options)
    assert stored.order_row is None
    assert stored.exposure is None
    assert stored.ship_day is None
    assert stored.claim_day is None
    assert stored.claim_row.tolist() == [3, 3, 8]
    assert stored.claim_count.tolist() == [0, 0, 0, 2, 0, 0, 0, 0, 1]
    none = store_book(tmp_path / "none", tmp_path / "orders.parquet", claims.head(0), **options)
    assert none.n_claims == 0


@pytest.mark.parametrize(
    "model",
    [
        FrequencyModel(),
        FrequencyModel([Credibility("category"), Smooth("weight_kg"), "zone"]),
        FrequencyModel(["zone", "score"], family="negative_binomial"),
        FrequencyModel(["zone", "category"], family="binomial"),
        SeverityModel(["zone", "weight_kg"]),
    ],
    ids=lambda model: f"{type(model).__name__} {model.family}",
)
@pytest.mark.filterwarnings("ignore:about .* of the book's claims are still to be reported")
@pytest.mark.parametrize("part_rows", [2**20, 700])
def test_models_fit_a_stored_book_as_one_in_memory(tmp_path, frames, model, part_rows, monkeypatch):
    for module in ("passes", "terms"):
        monkeypatch.setattr(f"freightrisk.models.{module}.PART_ROWS", part_rows)
    orders, claims, merchants = frames
    few = [Factor("zone", min_claims=30), FACTORS[1], Hierarchy("category", ["industry", "leaf"], min_claims=9)]
    options = {"factors": [*few, Band("score", [4.3, 4.6])], "merchants": merchants, "as_of": "2026-06-01"}
    options |= {"lines": "lines", "exposure": "exposed"}
    claims = claims.drop_duplicates("order_id") if model.family == "binomial" else claims
    stored = store_book(tmp_path / "book", parquet(orders, tmp_path / "orders", 2), claims, batch_rows=999, **options)
    ours, theirs = model.fit(stored), model.fit(OrderBook.from_frames(orders, claims, **options))
    assert ours.intercept == pytest.approx(theirs.intercept, abs=1e-10)
    for name, table in theirs.tables.items():
        np.testing.assert_allclose(ours.tables[name], table, atol=1e-9)
        np.testing.assert_allclose(ours.std_errors[name], theirs.std_errors[name], rtol=1e-8)
        np.testing.assert_allclose(ours.exposure[name], theirs.exposure[name], rtol=1e-12)
    for name in ("deviance", "null_deviance", "log_likelihood", "dispersion"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=1e-9), name


def test_a_stored_book_has_ages_and_can_be_selected_from(tmp_path, frames):
    orders, claims, merchants = frames
    options = {"factors": FACTORS, "merchants": merchants, **NAMES}
    whole = OrderBook.from_frames(orders, claims, **options)
    stored = store_book(tmp_path / "book", parquet(orders, tmp_path / "orders", 1), claims, **options)
    np.testing.assert_array_equal(stored.age_days, whole.age_days)
    assert_same_book(stored.mature(40), whole.mature(40))
    np.testing.assert_array_equal(stored.align(orders["zone"]), whole.align(orders["zone"]))
    ours, theirs = (ReportLag.fit(book).share([10, 30]) for book in (stored, whole))
    np.testing.assert_array_equal(ours, theirs)


def bad(tmp_path, orders, claims, **options):
    source = parquet(orders, tmp_path / "orders", 2)
    given = {"factors": [Factor("zone")], "batch_rows": 900, **options}
    try:
        return store_book(tmp_path / "book", source, claims, **given)
    finally:
        assert sorted(path.name for path in tmp_path.iterdir()) == ["orders"]


def test_refusals_leave_no_folder(tmp_path, frames):
    orders, claims, _ = frames
    orders = orders.assign(weight_kg=1.0)
    astray = claims.assign(order_id=claims["order_id"].where(claims.index != 4, 5))
    absent = orders.assign(zone=orders["zone"].where(orders.index != 1_700))
    cases = [
        (absent, claims, {}, r"001.parquet', rows counted from row 0: factor 'zone': .* in 1 row \(first: 200\)"),
        (orders, astray, {}, r"claims: 'order_id' names no order in 1 row \(first: 4\)"),
        (orders, claims.assign(freight=-1.0), {}, "'freight'"),
        (orders, claims.drop(columns="order_id"), {}, "'order_id'"),
        (orders.drop(columns="order_id"), claims, {}, "'order_id'"),
        (orders.assign(ship_date=pd.NaT), claims.head(0), {}, "no order is in force"),
        (orders, claims, {"factors": [Band("exposed", 5)]}, "edges of band 'exposed' asks for 5 quantiles"),
        (orders, claims, {"factors": [Factor("zone"), Factor("zone")]}, "'zone' is used twice"),
        (orders, claims, {"batch_rows": 0}, "batch_rows"),
    ]  # fmt: skip
    for k, (orders_given, claims_given, options, match) in enumerate(cases):
        (tmp_path / f"{k}").mkdir()
        with pytest.raises(InputError, match=match):
            bad(tmp_path / f"{k}", orders_given, claims_given, **options)


def test_a_claim_in_two_rows_is_refused_or_warned_of_once(tmp_path, frames):
    orders, claims, merchants = frames
    source = parquet(orders, tmp_path / "orders", 1)
    options = {"factors": FACTORS, "merchants": merchants, "batch_rows": 500, **NAMES}
    twice = pd.concat([claims, claims.iloc[:100]])
    numbered = twice.assign(claim_id=[*range(len(claims)), *range(100)])
    with pytest.raises(
        InputError, match=r"'claim_id' repeats an earlier row in 100 rows .* such as ids 0, 1, 2, 3, 4; keep"
    ):
        store_book(tmp_path / "a", source, numbered, **options)
    with pytest.warns(FreightRiskWarning, match=f"claims: 100 of {len(twice)} rows equal an earlier row") as found:
        book = store_book(tmp_path / "b", source, twice, **options)
    assert len(found) == 1
    assert book.n_claims > store_book(tmp_path / "c", source, numbered.iloc[: len(claims)], **options).n_claims


def test_an_order_in_two_batches_is_refused_if_it_has_a_claim(tmp_path, frames):
    orders, claims, _ = frames
    orders = orders.assign(weight_kg=1.0)
    twice = pd.concat([orders, orders[orders["order_id"] == claims["order_id"].iloc[0]]])
    with pytest.raises(InputError, match=r"'order_id' repeats for 1 order in several batches \(first: [0-9]"):
        bad(tmp_path, twice, claims)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"folder": 3}, "folder is 3; it must be a path"),
        ({"folder": 300 * "x"}, "folder is .* which cannot be"),
        ({"folder": "in.parquet/book"}, "there is no folder"),
        ({"claims": "none.parquet"}, "claims is the path 'none.parquet', which does not exist"),
        ({"claims": __file__}, "claims is the file '.*', which is not readable as Parquet"),
        ({"merchants": "none.parquet"}, "merchants is the path 'none.parquet', which does not exist"),
        ({"merchants": __file__}, "merchants is the file '.*', which is not readable as Parquet"),
        ({"orders": "none"}, "there is no file"),
        ({"orders": __file__}, "not readable as Parquet"),
        ({"orders": 3}, "orders is 3; give the path of a Parquet file"),
        ({"order_id": "id"}, "missing column 'id'"),
    ],
)
def test_paths_are_checked_before_any_work(tmp_path, frames, monkeypatch, more, message):
    def without_work(*arguments, **more):
        raise AssertionError("no order is to be read before the paths were checked")

    monkeypatch.setattr("freightrisk.book.stored.frames_book", without_work)
    orders, claims, _ = frames
    orders.to_parquet(tmp_path / "in.parquet")
    given_here = {"folder": "book", "orders": "in.parquet", "claims": claims} | more
    for name in ("folder", "orders"):
        if isinstance(given_here[name], str):
            given_here[name] = tmp_path / given_here[name]
    with pytest.raises(InputError, match=message):
        store_book(**given_here, factors=[Factor("zone")])
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


def test_names_that_are_no_data_and_columns_that_stand_twice(tmp_path, frames):
    orders, claims, _ = frames
    orders = orders.assign(weight_kg=1.0)
    source = parquet(orders, tmp_path / "orders", 2)
    for name in (".0a1b2c3d.000.parquet", "_temporary.parquet"):
        (source / name).write_bytes((source / "000.parquet").read_bytes())
    book = store_book(tmp_path / "book", source, claims, factors=[Factor("zone")])
    assert book.table_rows == len(orders)
    table = pa.Table.from_pandas(orders, preserve_index=False)
    pq.write_table(table.append_column("zone", table["zone"]), source / "twice.parquet")
    with pytest.raises(InputError, match=r"column 'zone' stands twice in '.*twice\.parquet'"):
        store_book(tmp_path / "other", source, claims, factors=[Factor("zone")])


# Interrupted in the midst of its clean-up, contextlib leaves the other files to the collector, which tells of them.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@given(st.data())
def test_an_interrupt_at_any_line_stores_the_whole_book_or_nothing(tmp_path_factory, frames, data):
    orders, claims, _ = frames
    orders = orders.head(300).assign(weight_kg=1.0)
    claims = claims[claims["order_id"].isin(orders["order_id"])]
    folder = tmp_path_factory.mktemp("books")
    orders.to_parquet(folder / "in.parquet")

    def store(name):
        return store_book(folder / name, folder / "in.parquet", claims, factors=[Factor("zone")], batch_rows=100)

    lines = lines_of(lambda: store("counted"))
    share, end = data.draw(st.floats(0.0, 1.0)), data.draw(st.integers(0, 120))
    interrupted(lambda: store("book"), data.draw(st.sampled_from([1 + int(share * (lines - 1)), lines - end])))
    is_there = (folder / "book").exists()
    assert {path.name for path in folder.iterdir()} == {"in.parquet", "counted"} | ({"book"} if is_there else set())
    assert_same_book(open_book(folder / "book") if is_there else store("book"), open_book(folder / "counted"))


def test_a_folder_in_use_or_broken_is_refused(tmp_path, frames):
    orders, claims, _ = frames
    orders = orders.assign(weight_kg=1.0)
    source = parquet(orders, tmp_path / "orders", 1)
    with pytest.raises(InputError, match="where a file or a folder with files exists already"):
        store_book(tmp_path / "orders", source, claims, factors=[Factor("zone")])
    with pytest.raises(InputError, match="there is no folder"):
        store_book(tmp_path / "no" / "book", source, claims, factors=[Factor("zone")])
    with pytest.raises(InputError, match="holds no stored book"):
        open_book(tmp_path / "orders")
    store_book(tmp_path / "book", source, claims, factors=[Factor("zone")])
    description = tmp_path / "book" / "book.json"
    whole = description.read_text()
    for damage in (whole.replace('"lines"', '"table_rows": 3,\n"lines"'), "[" * 5_000, whole[:-9]):
        description.write_text(damage)
        with pytest.raises(InputError, match=r"holds no stored book: (key 'table_rows' is given twice - at `\$`|\w+)"):
            open_book(tmp_path / "book")
    description.write_text(whole)
    with (tmp_path / "book" / "claim_count.bin").open("ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match=r"is damaged: '.*claim_count.bin' should hold [\d,]+ values of type \|u1"):
        open_book(tmp_path / "book")


def signed(folder, change):
    """Change the document of a stored book and sign it again, as one who means harm could."""
    path = folder / "book.json"
    document = msgspec.json.decode(path.read_bytes())
    change(document)
    path.write_bytes(msgspec.json.encode(document | {"checksum": checksum(document)}))


def test_an_exposure_that_is_a_whole_number_can_be_stored(frames, tmp_path):
    orders, claims, _ = frames
    names = {"exposure": "exposed", "reversed_date": "undone", "as_of": "2026-06-01"}
    book = store_book(
        tmp_path / "book", parquet(orders.assign(weight_kg=1.0), tmp_path / "orders", 1), claims,
        factors=[Factor("zone", min_exposure=5)], **names,
    )  # fmt: skip
    assert open_book(tmp_path / "book").codings == book.codings


def retype(name, kind):
    """Return a change of a column's type, by whose size its length becomes another."""

    def change(document):
        was, length = document["columns"][name]
        size = max(1, np.dtype(kind).itemsize) if kind != "what" else 8
        document["columns"][name] = [kind, length * np.dtype(was).itemsize // size]

    return change


def put(*keys):
    """Return a change that sets the value at a path of keys."""
    *path, last, value = keys

    def change(document):
        for key in path:
            document = document[key]
        document[last] = value

    return change


def without(name):
    return lambda document: document["columns"].pop(name)


DAMAGES = [
    *(retype("exposure", kind) for kind in ("<f4", "<c16", "|O", "|V8", "|S8", ">f8", "what", "<M8[D]", "<i8")),
    *(retype("claim_row", kind) for kind in ("<u8", "<i4", "|O", "<f8")),
    *(retype("codes.0", kind) for kind in (">u2", "<u2", "|i1", "|b1", "|S1")),
    *(without(name) for name in ("codes.0", "claim_count", "claim_row", "claim_amount", "reversed_day")),
    put("columns", "../book/exposure", ["<f8", 200]),
    put("columns", "exposure", ["<f8", -5]),
    put("columns", "exposure", ["<f8", 2**62]),
    put("columns", "exposure", ["<f8", "5"]),
    put("as_of", "yesterday"),
    put("as_of", "0001-01-01"),
    put("clock", "Mars/Olympus"),
    put("lines", "zone of another book"),
    put("table_rows", 3),
    put("factors", []),
    put("factors", 0, "kind", "x"),
    put("factors", 0, "levels", []),
    put("left_out", {"a": {"b": 1}}),
    put("format", 1),
    put("format", "2"),
]


@pytest.fixture(scope="module")
def stored(tmp_path_factory, frames):
    orders, claims, _ = frames
    folder = tmp_path_factory.mktemp("stored")
    source = parquet(orders.assign(weight_kg=1.0), folder / "orders", 1)
    names = {"exposure": "exposed", "reversed_date": "undone", "as_of": "2026-06-01"}
    return store_book(folder / "book", source, claims, factors=[Factor("zone")], **names), folder / "book"


@pytest.mark.parametrize("change", DAMAGES)
def test_a_book_whose_document_contradicts_its_columns_is_refused(tmp_path, stored, change):
    shutil.copytree(stored[1], tmp_path / "book")
    signed(tmp_path / "book", change)
    with pytest.raises(InputError, match=r"is damaged: .* Store it again|holds no stored book"):
        open_book(tmp_path / "book")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("codes.0", 250),
        ("claim_row", 10**12),
        ("claim_row", -1),
        ("order_row", -1),
        ("order_row", 10**9),
        ("exposure", np.nan),
        ("exposure", -1e9),
        ("exposure", 0.0),
        ("exposure", np.inf),
        ("claim_amount", np.nan),
        ("claim_amount", -8.0),
        ("claim_count", 200),
        ("ship_day", np.datetime64("NaT", "D")),
        ("ship_day", np.datetime64("2026-06-02")),
        ("claim_day", np.datetime64("NaT", "D")),
        ("claim_day", 10**9),
        ("claim_day", np.datetime64("2026-02-01")),
        ("reversed_day", np.datetime64("2026-03-01")),
        ("reversed_report_day", -(10**9)),
    ],
)
@pytest.mark.parametrize("piece", [2**24, 7])
def test_a_book_with_values_that_no_book_has_is_refused(tmp_path, stored, name, value, piece, monkeypatch):
    monkeypatch.setattr(_mapped, "PIECE", piece)
    shutil.copytree(stored[1], tmp_path / "book")
    kinds = msgspec.json.decode((tmp_path / "book" / "book.json").read_bytes())["columns"]
    column = np.memmap(tmp_path / "book" / f"{name}.bin", kinds[name][0], mode="r+")
    column[len(column) // 2] = value
    column.flush()
    with pytest.raises(InputError, match=r"is damaged: .* Store it again"):
        open_book(tmp_path / "book")


def test_columns_of_other_lengths_are_refused(tmp_path, stored):
    names = msgspec.json.decode((stored[1] / "book.json").read_bytes())["columns"]
    assert len(names) == 11
    for name, (kind, length) in names.items():
        for other in {0, 1, length - 1} - {length, -1}:
            folder = tmp_path / f"{name} {other}"
            shutil.copytree(stored[1], folder)
            os.truncate(folder / f"{name}.bin", other * np.dtype(kind).itemsize)
            signed(folder, put("columns", name, [kind, other]))
            with pytest.raises(InputError, match=r"is damaged: .* Store it again"):
                open_book(folder)


def test_a_changed_document_is_seen_and_a_whole_one_opens(tmp_path, stored):
    shutil.copytree(stored[1], tmp_path / "book")
    signed(tmp_path / "book", lambda document: None)
    assert_same_book(open_book(tmp_path / "book"), stored[0])
    path = tmp_path / "book" / "book.json"
    path.write_text(path.read_text().replace("near", "afar", 1))
    with pytest.raises(InputError, match=r"book\.json was changed after it was written"):
        open_book(tmp_path / "book")
