"""Parquet to Parquet: what a frame of the same orders costs, whatever the batches, or no file at all."""

import _thread
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import test_balances
from freightrisk import Balances, Cover, Factor, InputError, Loadings, Subsidy, price_parquet
from freightrisk._parquet import parquet_files
from freightrisk.book.codings import Coding
from freightrisk.programmes import Fee, Programme
from freightrisk.tariff.curves import count_curve
from freightrisk.tariff.rates import CoverCurves, RateTables
from freightrisk.tariff.tariff import Tariff
from interrupts import interrupted, lines_of
from programme_strategies import N_ORDERS, covered_programmes, orders_of
from strategies import draw_batch, seeds

ZONES = ("city", "near", "far")


def tariff_of(*rules):
    coding = Coding(Factor("zone"), tuple((zone,) for zone in ZONES), {(zone,): k for k, zone in enumerate(ZONES)})
    return Tariff(
        name="files",
        codings={"zone": coding},
        frequency=RateTables(0.06, {"zone": np.array([0.5, 1.0, 2.0, 1.0])}),
        severity=RateTables(9.0, {"zone": np.array([0.8, 1.0, 1.7, 1.1])}),
        cover=Cover(max_claims=1),
        loadings=Loadings(),
        subsidies=tuple(rules),
        curves=CoverCurves(count_curve(1)),
    )


@pytest.fixture
def orders():
    rng = np.random.default_rng(3)
    days = pd.Timestamp("2026-06-01") + pd.to_timedelta(np.sort(rng.integers(0, 5, 1000)), unit="D")
    return pd.DataFrame(
        {
            "order_id": np.arange(1000),
            "zone": rng.choice(ZONES, 1000),
            "ship_date": days,
            "note": rng.choice(list("ab"), 1000),
        }
    )


@pytest.mark.parametrize("batch_rows", [1, 77, 1000, 5000])
@pytest.mark.parametrize("row_groups", [130, 1000])
def test_files_are_priced_as_frames(tmp_path, orders, batch_rows, row_groups):
    if batch_rows == 1:
        orders = orders.head(40)
    tariff = tariff_of(Subsidy("half", "platform", percent_of_list=0.5, where={"zone": ["far"]}))
    orders.to_parquet(tmp_path / "in.parquet", row_group_size=row_groups)
    out = tmp_path / "out.parquet"
    totals = price_parquet(tariff, tmp_path / "in.parquet", out, keep=["note", "order_id"], batch_rows=batch_rows)
    expected = pd.concat([orders[["note", "order_id"]], tariff.price(orders)], axis=1)
    found = pd.read_parquet(out)
    pd.testing.assert_frame_equal(found, expected)
    fen = [name for name in expected if name.endswith("_fen")]
    assert totals == {"orders": len(orders)} | {name: int(expected[name].sum()) for name in fen}


def test_budgets_go_on_from_batch_to_batch(tmp_path, orders):
    tariff = tariff_of(Subsidy("grant", "platform", fixed_fen=9, budget_fen=5_000))
    folder = tmp_path / "orders"
    folder.mkdir()
    for k in range(4):
        orders[250 * k : 250 * (k + 1)].to_parquet(folder / f"{k}.parquet")
    balances, known = Balances(), Balances()
    totals = price_parquet(tariff, folder, tmp_path / "out.parquet", balances=balances, batch_rows=100, campaigns=True)
    expected = pd.concat(
        [
            tariff.price(orders[250 * k + a : min(250 * k + a + 100, 250 * (k + 1))], balances=known, campaigns=True)
            for k in range(4)
            for a in (0, 100, 200)
        ]
    ).reset_index(drop=True)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out.parquet"), expected)
    assert totals["platform_fen"] == balances.spent["grant"] == known.spent["grant"] == 5_000


def test_merchants_come_from_a_file_too(tmp_path, orders):
    tariff = tariff_of(Subsidy("key", "insurer", percent_of_list=0.3, where={"segment": ["key"]}))
    orders["merchant_id"] = np.arange(1000) % 3
    merchants = pd.DataFrame({"merchant_id": [0, 1, 2], "segment": ["key", "small", "key"]})
    orders.to_parquet(tmp_path / "in.parquet")
    merchants.to_parquet(tmp_path / "merchants.parquet")
    price_parquet(
        tariff, tmp_path / "in.parquet", tmp_path / "out.parquet", merchants=tmp_path / "merchants.parquet",
        detail=False, progress=True, batch_rows=300,
    )  # fmt: skip
    expected = tariff.price(orders, merchants=merchants, detail=False)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out.parquet"), expected)


def test_no_orders_give_a_file_of_none(tmp_path, orders):
    tariff = tariff_of()
    orders.head(0).to_parquet(tmp_path / "in.parquet")
    assert price_parquet(tariff, tmp_path / "in.parquet", tmp_path / "out.parquet", keep="order_id")["orders"] == 0
    found = pd.read_parquet(tmp_path / "out.parquet")
    assert list(found) == ["order_id", *tariff.price(orders)]
    assert not len(found)


def test_a_wrong_row_is_named_and_leaves_no_file(tmp_path, orders):
    orders.loc[777, "zone"] = None
    orders.to_parquet(tmp_path / "in.parquet")
    with pytest.raises(InputError, match=r"in '.*in\.parquet', rows counted from row 700: factor 'zone'.*first: 77"):
        price_parquet(tariff_of(), tmp_path / "in.parquet", tmp_path / "out.parquet", batch_rows=100)
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


def test_a_weight_that_the_tariff_does_not_read_is_ignored_as_in_a_frame(tmp_path, orders):
    plain = tariff_of().price(orders)["list_fen"].tolist()
    orders["weight_kg"] = np.where(orders["order_id"] == 5, -1.0, np.nan)
    orders.to_parquet(tmp_path / "in.parquet")
    assert tariff_of().price(tmp_path / "in.parquet")["list_fen"].tolist() == plain
    price_parquet(tariff_of(), tmp_path / "in.parquet", tmp_path / "out.parquet")
    assert pd.read_parquet(tmp_path / "out.parquet")["list_fen"].tolist() == plain


def test_kept_columns_of_types_that_do_not_meet_are_refused(tmp_path, orders):
    folder = tmp_path / "orders"
    folder.mkdir()
    orders.to_parquet(folder / "a.parquet")
    orders.assign(order_id=[f"no {k}" for k in range(1000)]).to_parquet(folder / "b.parquet")
    with pytest.raises(InputError, match="a column of keep has another type"):
        price_parquet(tariff_of(), folder, tmp_path / "out.parquet", keep=["order_id"])


# Runs that fail or are stopped


class Run:
    """Four files of 20 orders, priced in eight batches, with a budget, caps by merchant and carried remainders."""

    TARIFF = test_balances.tariff_of(
        [
            Subsidy("grant", "platform", fixed_fen=9, budget_fen=300),
            Subsidy("capped", "insurer", fixed_fen=3, merchant_cap_fen=40, period="day"),
        ],
        "carry",
    )

    def __init__(self, folder):
        self.source, self.out = folder / "orders", folder / "out" / "quotes.parquet"
        self.source.mkdir()
        self.out.parent.mkdir()
        rng = np.random.default_rng(8)
        for k in range(4):
            self.write(k, test_balances.no_missing_merchants(draw_batch(rng, 20), "carry"))
        self.opening = Balances(spent={"grant": 7})
        self.balances = self.opening.copy()
        self.result = self.price()
        self.closing, self.balances = self.balances, self.opening.copy()
        self.whole = self.out.read_bytes()
        self.out.unlink()

    def write(self, k, frame):
        frame.to_parquet(self.source / f"{k}.parquet")

    def price(self):
        return price_parquet(
            self.TARIFF, self.source, self.out, balances=self.balances, batch_rows=10, threads=1, campaigns=True
        )

    def check_all_or_nothing(self, *, nothing=None):
        """Check that the file and the spending are both there or both not, and that running again gives the same."""
        is_there = self.out.exists()
        assert nothing is None or nothing != is_there
        assert [path.name for path in self.out.parent.iterdir()] == (["quotes.parquet"] if is_there else [])
        assert self.balances == (self.closing if is_there else self.opening)
        if is_there:
            assert self.out.read_bytes() == self.whole
        else:
            assert self.price() == self.result
            assert self.balances == self.closing
            assert self.out.read_bytes() == self.whole


def failing_after(calls, error, method):
    """Return a method that does its work some times and then raises."""
    done = []

    def fail(self, *arguments, **more):
        done.append(True)
        if len(done) > calls:
            raise error
        return method(self, *arguments, **more)

    return fail


@pytest.mark.parametrize("calls", range(8))
@pytest.mark.parametrize("error", [OSError("no space left"), pa.ArrowInvalid("no"), KeyboardInterrupt(), MemoryError()])
def test_a_writer_that_fails_leaves_no_trace(tmp_path, monkeypatch, calls, error):
    run = Run(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetWriter, "write_table", failing_after(calls, error, pq.ParquetWriter.write_table))
        with pytest.raises(type(error)) as raised:
            run.price()
    assert raised.value is error
    run.check_all_or_nothing(nothing=True)


@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()])
@pytest.mark.parametrize(("owner", "name"), [(pq.ParquetWriter, "close"), (os, "replace")])
def test_a_file_that_cannot_be_ended_or_moved_leaves_no_trace(tmp_path, monkeypatch, owner, name, error):
    run, whole = Run(tmp_path), getattr(owner, name)

    def fail(*arguments):
        if name == "close":
            whole(*arguments)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail)
        with pytest.raises(type(error)):
            run.price()
    run.check_all_or_nothing(nothing=True)


@pytest.mark.parametrize("k", range(4))
@pytest.mark.parametrize("fault", ["damaged", "a name", "no parquet", "an id is missing", "a column is missing"])
def test_orders_that_are_refused_leave_no_trace(tmp_path, k, fault):
    run = Run(tmp_path)
    path = run.source / f"{k}.parquet"
    sound, frame = path.read_bytes(), pd.read_parquet(path)
    if fault == "damaged":  # behind a head that reads well
        path.write_bytes(sound[:4] + bytes(byte ^ 255 for byte in sound[4:600]) + sound[600:])
    elif fault == "a name":  # that is not UTF-8
        path.write_bytes(sound.replace(b"merchant_class", b"merchant\x84class"))
    elif fault == "no parquet":
        path.write_bytes(b"no orders")
    elif fault == "an id is missing":
        run.write(k, frame.assign(order_id=frame["order_id"].astype(str).where(frame.index != 15, None)))
    else:
        run.write(k, frame.drop(columns="merchant_class"))
    with pytest.raises(InputError, match=f"{k}.parquet"):
        run.price()
    path.write_bytes(sound)
    run.check_all_or_nothing(nothing=True)


@given(st.data())
def test_an_interrupt_at_any_line_prices_all_or_nothing(tmp_path_factory, data):
    run = Run(tmp_path_factory.mktemp("run"))
    lines = lines_of(run.price)
    run.out.unlink()
    run.balances = run.opening.copy()
    # The first and last lines, when arguments are checked and when the file appears, are drawn as often as all others.
    # Their number is not always the same, so it may not be a bound of what is drawn.
    share, end = data.draw(st.floats(0.0, 1.0)), data.draw(st.integers(-60, 100))
    at = data.draw(st.sampled_from([int(share * (lines - 1)), end % lines])) + 1
    interrupted(run.price, at)
    run.check_all_or_nothing()


def test_an_interrupt_while_the_file_is_moved_keeps_file_and_spending_together(tmp_path, monkeypatch):
    run, replace = Run(tmp_path), os.replace

    def stopped(part, final):
        _thread.interrupt_main()
        replace(part, final)

    monkeypatch.setattr(os, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        run.price()
    run.check_all_or_nothing(nothing=False)


# Names


@pytest.mark.parametrize("name", [".0a1b2c3d.1.parquet", "_temporary.parquet", "._1.parquet", "_.parquet"])
@pytest.mark.parametrize("content", ["orders", "cut short"])
def test_names_that_begin_with_a_dot_or_line_are_no_data(tmp_path, orders, name, content):
    folder = tmp_path / "orders"
    folder.mkdir()
    orders.to_parquet(folder / "1.parquet")
    orders.to_parquet(folder / name)
    if content == "cut short":
        (folder / name).write_bytes(b"PAR1" + bytes(1000))
    assert parquet_files(folder) == [folder / "1.parquet"]
    assert price_parquet(tariff_of(), folder, tmp_path / "out.parquet")["orders"] == 1000
    if content == "orders":  # a file that is named is meant
        assert price_parquet(tariff_of(), folder / name, tmp_path / "out.parquet")["orders"] == 1000
    (folder / "1.parquet").unlink()
    with pytest.raises(InputError, match="begin with"):
        price_parquet(tariff_of(), folder, tmp_path / "out.parquet")


def test_a_column_that_stands_twice_is_refused_if_it_is_read(tmp_path, orders):
    table = pa.Table.from_pandas(orders, preserve_index=False)
    sound, twice = tmp_path / "1.parquet", tmp_path / "2.parquet"
    pq.write_table(table, sound)
    pq.write_table(table.append_column("zone", table["zone"]), twice)
    with pytest.raises(InputError, match=r"column 'zone' stands twice in '.*2\.parquet'"):
        price_parquet(tariff_of(), [sound, twice], tmp_path / "out.parquet")
    pq.write_table(table.append_column("note", table["note"]), twice)
    with pytest.raises(InputError, match="column 'note' stands twice"):
        price_parquet(tariff_of(), [sound, twice], tmp_path / "out.parquet", keep=["note"])
    assert price_parquet(tariff_of(), [sound, twice], tmp_path / "out.parquet")["orders"] == 2000


def without_work(self, *arguments, **more):
    raise AssertionError("no order is to be read before the arguments were checked")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"keep": ["list_fen"]}, "keep names 'list_fen'"),
        ({"keep": ["absent"]}, "missing column 'absent'"),
        ({"orders": "none.parquet"}, "there is no file '.*none.parquet'"),
        ({"orders": []}, "there is no"),
        ({"orders": "notes.txt"}, "not readable as Parquet"),
        ({"out": "in.parquet"}, "one of the files that are read"),
        ({"batch_rows": 0}, "batch_rows is 0"),
        ({"keep": ["note", "zone", "note"]}, "keep names 'note' twice"),
        ({"orders": 3}, "orders is 3; give the path of a Parquet file"),
        ({"out": 3}, "out is 3; it must be a path"),
        ({"out": "no/such/out.parquet"}, "out is '.*out.parquet' in '.*such', which does not exist"),
        ({"out": "in.parquet/out.parquet"}, "out is .* which does not exist"),
        ({"out": "folder"}, "out is '.*folder', which is a folder"),
        ({"out": "folder/out.parquet", "orders": "folder"}, "out is .* in a folder of orders"),
        ({"out": 300 * "x"}, "out is .* which cannot be"),
        ({"out": "a\0b"}, "out is .* which cannot be"),
        ({"merchants": "none.parquet"}, "merchants is the path 'none.parquet', which does not exist"),
        ({"merchants": __file__}, "merchants is the file '.*', which is not readable as Parquet"),
        ({"merchants": os.path.dirname(__file__)}, "merchants is the file '.*', which is not readable as Parquet"),
        ({"compression": "lzma"}, "compression is 'lzma'; it must be one of 'none', 'snappy'"),
        ({"compression": None}, "compression is None"),
        ({"priority": 3}, "priority is 3"),
        ({"priority": ""}, "priority is ''"),
        ({"priority": "rank"}, "missing column 'rank'"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_bad_calls(tmp_path, orders, monkeypatch, more, message):
    orders.to_parquet(tmp_path / "in.parquet")
    (tmp_path / "notes.txt").write_text("no orders")
    (tmp_path / "folder").mkdir()
    orders.to_parquet(tmp_path / "folder" / "1.parquet")
    monkeypatch.setattr(Tariff, "encode", without_work)
    given_here = {"orders": "in.parquet", "out": "out.parquet"} | more
    places = [given_here.pop(name) for name in ("orders", "out")]
    source, out = (tmp_path / place if isinstance(place, str) else place for place in places)
    before = sorted(tmp_path.rglob("*"))
    tariff = tariff_of(Subsidy("grant", "platform", fixed_fen=9, budget_fen=5_000))
    with pytest.raises(InputError, match=message):
        price_parquet(tariff, source, out, **given_here)
    assert sorted(tmp_path.rglob("*")) == before


def test_files_of_other_types_are_written_as_the_first(tmp_path, orders):
    folder = tmp_path / "orders"
    folder.mkdir()
    orders.to_parquet(folder / "a.parquet")
    narrow = pa.Table.from_pandas(orders.astype({"order_id": "int32", "note": "category"}), preserve_index=False)
    pq.write_table(narrow, folder / "b.parquet")
    price_parquet(tariff_of(), folder, tmp_path / "out.parquet", keep=["order_id", "note"])
    found = pd.read_parquet(tmp_path / "out.parquet")
    assert found["order_id"].tolist() == 2 * list(range(1000))
    assert found["note"].tolist() == 2 * orders["note"].tolist()


# Programmes


@given(covered_programmes(), N_ORDERS, seeds, st.integers(1, 9), st.booleans())
def test_files_of_programmes_are_priced_as_frames(programme, size, seed, batch_rows, detail):
    orders = orders_of(programme, size, seed).drop(columns="completed")
    balances, known = Balances(), Balances()
    parts = [orders.iloc[start : start + batch_rows] for start in range(0, size, batch_rows)]
    told = {"detail": detail, "campaigns": True}
    expected = pd.concat([programme.price(part, balances=known, **told) for part in parts])
    expected = pd.concat([orders[["order_id"]], expected], axis=1)
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "in.parquet"), Path(folder, "out.parquet")
        orders.to_parquet(source)
        totals = price_parquet(
            programme, source, out, keep=["order_id"], batch_rows=batch_rows, balances=balances, **told
        )
        found = pd.read_parquet(out)
        columns = {
            one.path_in_schema: one.compression
            for one in (pq.ParquetFile(out).metadata.row_group(0).column(k) for k in range(found.shape[1]))
        }
    pd.testing.assert_frame_equal(found, expected, check_index_type=False)
    assert balances == known
    money = [name for name in expected if name.endswith("_fen") or name.startswith("fee: ")]
    assert totals == {"orders": size} | {name: int(expected[name].sum()) for name in money}
    steps = [name for name in expected if expected[name].dtype == np.float64]
    assert {name for name, kind in columns.items() if kind == "UNCOMPRESSED"} == {*steps}


def test_a_programme_of_one_tariff_writes_the_file_of_the_tariff(tmp_path, orders):
    tariff = tariff_of(Subsidy("half", "platform", percent_of_list=0.5, where={"zone": ["far"]}))
    orders.to_parquet(tmp_path / "in.parquet")
    outs = [tmp_path / f"{name}.parquet" for name in "ab"]
    totals = [
        price_parquet(one, tmp_path / "in.parquet", out, keep=["order_id", "note"], batch_rows=300)
        for one, out in zip((tariff, Programme("p", tariff)), outs, strict=True)
    ]
    assert totals[0] == totals[1]
    assert outs[0].read_bytes() == outs[1].read_bytes()


def test_columns_of_fees_and_covers_are_not_kept_twice(tmp_path, orders):
    tariff = tariff_of()
    fee = Fee("service", fixed_fen=3)
    programme = Programme("p", [tariff, replace(tariff, name="transit")], fees=[fee])
    clashes = ["fee: service", "transit: pure_premium", "filed_micro", "merchant_total_fen", "paid: x", "list_fen"]
    for name in clashes:
        orders.assign(**{name: 1}).to_parquet(tmp_path / "in.parquet")
        with pytest.raises(InputError, match=f"keep names '{name}', which is also a column of the quotes"):
            price_parquet(programme, tmp_path / "in.parquet", tmp_path / "out.parquet", keep=[name])
    orders.assign(**{"fee: service": 1.5}).to_parquet(tmp_path / "in.parquet")
    price_parquet(tariff, tmp_path / "in.parquet", tmp_path / "out.parquet", keep=["fee: service"])
    kept = pq.ParquetFile(tmp_path / "out.parquet").metadata.row_group(0).column(0)
    assert (kept.path_in_schema, kept.compression) == ("fee: service", "LZ4")
    with pytest.raises(InputError, match="tariff is 'p'; it must be a Tariff, a Programme or Versions"):
        price_parquet("p", tmp_path / "in.parquet", tmp_path / "out.parquet")
