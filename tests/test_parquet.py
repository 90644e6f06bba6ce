"""Parquet to Parquet: what a frame of the same orders costs, whatever the batches, or no file at all."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from freightrisk import Balances, Cover, Factor, InputError, Loadings, Subsidy, price_parquet
from freightrisk.book.factors import Coding
from freightrisk.tariff.cover import count_curve
from freightrisk.tariff.plan import RateTables
from freightrisk.tariff.tariff import Tariff

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
        count_curve=count_curve(1),
        limit_curve=None,
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


def test_a_weight_that_the_tariff_does_not_read_is_checked_as_in_a_frame(tmp_path, orders):
    orders["weight_kg"] = np.where(orders["order_id"] == 5, -1.0, 1.0)
    orders.to_parquet(tmp_path / "in.parquet")
    for price in (tariff_of().price, lambda path: price_parquet(tariff_of(), path, tmp_path / "out.parquet")):
        with pytest.raises(InputError, match="column 'weight_kg' is outside"):
            price(tmp_path / "in.parquet")


def test_kept_columns_of_types_that_do_not_meet_are_refused(tmp_path, orders):
    folder = tmp_path / "orders"
    folder.mkdir()
    orders.to_parquet(folder / "a.parquet")
    orders.assign(order_id=[f"no {k}" for k in range(1000)]).to_parquet(folder / "b.parquet")
    with pytest.raises(InputError, match="a column of keep has another type"):
        price_parquet(tariff_of(), folder, tmp_path / "out.parquet", keep=["order_id"])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"keep": ["list_fen"]}, "keep names 'list_fen'"),
        ({"keep": ["absent"]}, "missing column 'absent'"),
        ({"orders": "none.parquet"}, "there is no file '.*none.parquet'"),
        ({"orders": []}, "there is no"),
        ({"orders": "notes.txt"}, "not readable as Parquet"),
        ({"out": "in.parquet"}, "one of the orders' files"),
        ({"batch_rows": 0}, "batch_rows is 0"),
    ],
)
def test_bad_calls(tmp_path, orders, more, message):
    orders.to_parquet(tmp_path / "in.parquet")
    (tmp_path / "notes.txt").write_text("no orders")
    more = {"orders": "in.parquet", "out": "out.parquet"} | more
    source = tmp_path / more.pop("orders") if isinstance(more["orders"], str) else more.pop("orders")
    with pytest.raises(InputError, match=message):
        price_parquet(tariff_of(), source, tmp_path / more.pop("out"), **more)
    assert not (tmp_path / "out.parquet").exists()


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
