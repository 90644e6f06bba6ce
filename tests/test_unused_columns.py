"""A column that no factor, claim or option uses is not read: whatever it holds changes no book and no price."""

import sqlite3
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest

from freightrisk import Band, Cover, Factor, FrequencyModel, OrderBook, SeverityModel, Tariff, price_parquet, store_book
from freightrisk.cli import main
from freightrisk.ledger import Ledger

ORDERS = pd.DataFrame({"order_id": range(8), "zone": ["near", "far"] * 4})
CLAIMS = pd.DataFrame({"order_id": [0, 1, 3], "freight": [8.0, 15.0, 17.0]})
CELLS = pd.DataFrame({"zone": ["near", "far"], "claims": [1, 2], "freight": [8.0, 32.0]})
NO_DATES = {"ship_date": None, "report_date": None}
NAMES = (
    *("price", "weight_kg", "weight_g", "volume_cm3", "experience_score", "exposure", "lines", "priority", "score"),
    *("merchant_id", "ship_date", "report_date", "reversed_date", "claims", "amount", "date", "day", "notes", "owner"),
)
BAD = {
    "gaps": [np.nan] * 8,
    "below zero": [-1.0] * 8,
    "too large": [np.inf, 1e308] * 4,
    "grams": [1_250.0] * 8,
    "texts": ["?", None] * 4,
    "twice": [7] * 8,
}


def with_column(frame, name, values):
    return frame if name in frame else frame.assign(**{name: values[: len(frame)]})


def facts(book):
    return [
        book.codings, book.counts.tolist(), *(codes.tolist() for codes in book.codes.values()),
        book.claim_amount.tolist(), book.total_exposure,
    ]  # fmt: skip


def book_of(orders, claims):
    return OrderBook.from_frames(orders, claims, factors=[Factor("zone")], **NO_DATES)


PLAIN = book_of(ORDERS, CLAIMS)
TARIFF = Tariff.build(FrequencyModel().fit(PLAIN), SeverityModel().fit(PLAIN), cover=Cover(max_claims=1))
PRICES = TARIFF.price(ORDERS)["list_fen"].tolist()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("values", BAD.values(), ids=BAD)
def test_an_unused_column_of_any_table_changes_no_book_and_no_price(name, values):
    orders, claims = with_column(ORDERS, name, values), with_column(CLAIMS, name, values)
    assert facts(book_of(orders, claims)) == facts(PLAIN)
    counts = {"claims": "claims", "amount": "freight", "factors": [Factor("zone")]}
    cells = with_column(CELLS, name, values)
    assert facts(OrderBook.from_counts(cells, **counts)) == facts(OrderBook.from_counts(CELLS, **counts))
    frames = [orders, pl.from_pandas(orders.astype({name: str}) if orders[name].dtype == object else orders)]
    for frame in frames:
        assert TARIFF.price(frame)["list_fen"].to_list() == PRICES
        assert TARIFF.encode(frame).n_orders == 8
    for k, order in enumerate(orders.to_dict("records")):
        assert TARIFF.quote(order)["list_fen"] == PRICES[k]
    assert f"list {PRICES[0]} fen" in repr(TARIFF.explain(orders.iloc[0]))


@pytest.mark.parametrize("values", BAD.values(), ids=BAD)
def test_files_and_ledgers_take_any_unused_column(tmp_path, values):
    orders = ORDERS
    for name in NAMES:
        orders = with_column(orders, name, values)
    orders.to_parquet(tmp_path / "orders.parquet")
    claims = CLAIMS.assign(price=values[:3], weight_kg=values[:3])
    kept = store_book(tmp_path / "book", tmp_path / "orders.parquet", claims, factors=[Factor("zone")], **NO_DATES)
    assert facts(kept) == facts(PLAIN)
    told = price_parquet(TARIFF, tmp_path / "orders.parquet", tmp_path / "quotes.parquet")
    assert told["list_fen"] == sum(PRICES)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.price(TARIFF, orders, batch="one")["list_fen"].tolist() == PRICES
    with sqlite3.connect(tmp_path / "ledger.sqlite") as database:
        assert database.execute("select count(*) from freightrisk_batches").fetchone() == (1,)


@pytest.mark.parametrize("values", BAD.values(), ids=BAD)
def test_the_command_line_takes_any_unused_column(tmp_path, values, capsys):
    orders = ORDERS
    for name in NAMES:
        orders = with_column(orders, name, values)
    orders.to_csv(tmp_path / "orders.csv", index=False)
    TARIFF.save(tmp_path / "tariff.json")
    out = tmp_path / "quotes.csv"
    files = ["--tariff", str(tmp_path / "tariff.json"), "--orders", str(tmp_path / "orders.csv")]
    assert main(["price", *files, "--out", str(out)]) == 0
    assert pd.read_csv(out)["list_fen"].tolist() == PRICES
    capsys.readouterr()


def test_ids_that_stand_twice_are_refused_only_where_they_are_used(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    twice = pa.table([ORDERS["zone"], ORDERS["order_id"], ORDERS["order_id"], ORDERS["zone"], ORDERS["zone"]],
                     names=["zone", "order_id", "order_id", "merchant_id", "merchant_id"])  # fmt: skip
    pq.write_table(twice, tmp_path / "orders.parquet")
    assert TARIFF.price(tmp_path / "orders.parquet")["list_fen"].tolist() == PRICES
    assert price_parquet(TARIFF, tmp_path / "orders.parquet", tmp_path / "q.parquet")["list_fen"] == sum(PRICES)
    with pytest.raises(ValueError, match=r"'order_id' stands .*twice"):
        OrderBook.from_frames(tmp_path / "orders.parquet", CLAIMS, factors=[Factor("zone")], **NO_DATES)


def test_a_gap_is_refused_where_a_factor_reads_the_column():
    orders = ORDERS.assign(price=[1.0, np.nan] * 4)
    with pytest.raises(ValueError, match="column 'price' is missing"):
        OrderBook.from_frames(orders, CLAIMS, factors=[Band("price", [2.0])], **NO_DATES)


def test_only_a_weight_that_a_factor_reads_is_warned_of():
    orders = ORDERS.assign(weight_kg=1_250.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        OrderBook.from_frames(orders, CLAIMS, factors=[Factor("zone")], **NO_DATES)
    with pytest.warns(UserWarning, match="'weight_kg' has a median of 1,250 kg"):
        OrderBook.from_frames(orders, CLAIMS, factors=[Band("weight_kg", [2.0])], **NO_DATES)
