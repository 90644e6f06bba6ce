"""The order book: what enters it, what leaves it, and what it refuses."""

# ruff: noqa: E501 -- one line for each bad call

import datetime as dt
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from book_strategies import treatment_contrasts
from freightrisk import Band, Factor, FrequencyModel, Hierarchy, OrderBook, SeverityModel, Tariff, simulate_book
from freightrisk.errors import FitError, FreightRiskWarning, InputError
from freightrisk.lines import at_most_one_claim
from freightrisk.results import Reversals

FACTORS = [Factor("channel"), Band("weight_kg", [1.0]), Factor("segment")]


def orders_frame(**columns):
    """Six orders: the third never left, the last was shipped on 10 May."""
    orders = pd.DataFrame(
        {
            "order_id": [11, 12, 13, 14, 15, 16],
            "merchant_id": [1, 2, 2, 1, 3, 3],
            "ship_date": pd.to_datetime(
                ["2026-05-01", "2026-05-02", None, "2026-05-03", "2026-05-04 18:30", "2026-05-10"], format="ISO8601"
            ),
            "channel": ["shelf", "live", "live", "shelf", "live", "live"],
            "weight_kg": [0.5, 1.0, 9.0, 2.0, 1.5, 0.2],
            "insured": [1.0, 2.0, 1.0, 0.5, 1.0, 3.0],
        }
    )
    return orders.assign(**columns)


def claims_frame(**columns):
    claims = pd.DataFrame(
        {
            "order_id": [12, 15, 12, 11],
            "freight": [8.0, 12.5, 6.5, 10.0],
            "report_date": pd.to_datetime(["2026-05-05", "2026-05-20", "2026-05-08", "2026-05-08"]),
        }
    )
    return claims.assign(**columns)


MERCHANTS = pd.DataFrame({"merchant_id": [3, 1, 2], "segment": ["large", "new", "new"], "score": [4.9, 4.1, 4.7]})


def build(orders=None, claims=None, **options):
    options = {"merchants": MERCHANTS, "factors": FACTORS} | options
    return OrderBook.from_frames(
        orders_frame() if orders is None else orders, claims_frame() if claims is None else claims, **options
    )


def assert_same_book(left, right):
    assert left.codings == right.codings
    assert {name: coding.labels for name, coding in left.codings.items()} == {
        name: coding.labels for name, coding in right.codings.items()
    }
    for name in left.codes:
        np.testing.assert_array_equal(left.codes[name], right.codes[name])
        assert left.codes[name].dtype == right.codes[name].dtype
    for name in (
        "claim_count",
        "exposure",
        "claim_row",
        "claim_amount",
        "claim_weight",
        "ship_day",
        "as_of",
    ):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
    assert left.left_out == right.left_out


# --- what enters ---------------------------------------------------------------------------------------------------


def test_one_row_an_order_in_force_with_its_claims():
    book = build()
    assert (book.n_orders, book.n_claims, book.total_exposure) == (5, 4, 5.0)
    assert book.claim_count.tolist() == [1, 2, 0, 1, 0]
    assert book.counts.dtype == np.uint8
    assert book.exposure is None
    assert book.claim_row.tolist() == [1, 3, 1, 0]
    assert book.claim_amount.tolist() == [8.0, 12.5, 6.5, 10.0]
    assert book.claim_weight is None
    assert book.ship_day.astype(str).tolist() == [f"2026-05-{day}" for day in ("01", "02", "03", "04", "10")]
    assert dict(book.left_out) == {"not_shipped": 1, "shipped_after_as_of": 0, "claims_after_as_of": 0}


def test_each_order_has_its_own_levels_and_those_of_its_merchant():
    book = build()
    labels = {name: [book.codings[name].labels[code] for code in codes] for name, codes in book.codes.items()}
    assert labels == {
        "channel": ["shelf", "live", "shelf", "live", "live"],
        "weight_kg": ["(-inf, 1]", "(-inf, 1]", "(1, inf)", "(1, inf)", "(-inf, 1]"],
        "segment": ["new", "new", "new", "large", "large"],
    }


def test_align_takes_the_rows_that_are_in_the_book():
    shipped = pd.to_datetime(["2026-01-01", None, "2026-01-02", "2026-01-03", "2026-01-03"])
    orders = pd.DataFrame({"order_id": range(5), "zone": "n", "ship_date": shipped})
    claims = pd.DataFrame({"order_id": [0], "freight": [8.0], "report_date": pd.to_datetime(["2026-01-09"])})
    book = OrderBook.from_frames(orders, claims, factors=[Factor("zone")])
    assert book.align(orders["order_id"]).tolist() == [0, 2, 3, 4]
    assert book.select(np.array([True, False, True, False])).align(orders["order_id"]).tolist() == [0, 3]
    whole = OrderBook.from_frames(orders, claims, factors=[Factor("zone")], ship_date=None, report_date=None)
    assert whole.align(orders["order_id"]).tolist() == list(range(5))
    assert whole.select(np.arange(5) > 3).align(orders["order_id"]).tolist() == [4]
    for bad in (np.zeros(4), np.zeros((5, 2))):
        with pytest.raises(InputError, match="give one for each row of the orders"):
            whole.align(bad)
    for bad in (np.zeros(4), np.zeros(6)):
        with pytest.raises(InputError, match=r"give one for each row of the orders .* shape \(5,\)"):
            book.align(bad)


def test_a_column_of_the_orders_goes_before_one_of_the_merchants():
    book = build(orders_frame(segment=list("abcdef")))
    assert book.codings["segment"].labels == ("a", "b", "d", "e", "f")


def test_as_of_cuts_orders_and_claims_after_that_day():
    book = build(as_of="2026-05-08")
    assert book.n_orders == 4
    assert book.claim_count.tolist() == [1, 2, 0, 0]
    assert dict(book.left_out) == {"not_shipped": 1, "shipped_after_as_of": 1, "claims_after_as_of": 1}
    assert book.age_days.tolist() == [7, 6, 5, 4]
    assert build(as_of="2026-05-10").n_orders == 5
    assert build(as_of="2026-05-20").n_claims == 4
    assert build(as_of="2026-05-07").claim_count.tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize(
    "as_of",
    ["2026-05-08", dt.date(2026, 5, 8), dt.datetime(2026, 5, 8, 23), np.datetime64("2026-05-08"), pd.Timestamp("2026-05-08 12:00")],
)  # fmt: skip
def test_valuation_date_may_be_any_kind_of_date(as_of):
    assert_same_book(build(as_of=as_of), build(as_of="2026-05-08"))


def test_exposure_comes_from_its_column():
    book = build(exposure="insured")
    assert book.exposure.tolist() == [1.0, 2.0, 0.5, 1.0, 3.0]
    assert book.total_exposure == 7.5


def test_names_of_columns_can_be_chosen():
    renamed = {
        "orders": orders_frame().rename(columns={"order_id": "no", "merchant_id": "shop", "ship_date": "sent"}),
        "claims": claims_frame().rename(columns={"order_id": "no", "freight": "fee", "report_date": "told"}),
        "merchants": MERCHANTS.rename(columns={"merchant_id": "shop"}),
    }
    names = {"order_id": "no", "merchant_id": "shop", "ship_date": "sent", "freight": "fee", "report_date": "told"}
    assert_same_book(build(**renamed, **names), build())


def test_dates_are_optional():
    book = build(orders_frame().iloc[[0, 1, 3, 4]], ship_date=None, report_date=None)
    assert (book.n_orders, book.n_claims, book.ship_day, book.as_of) == (4, 4, None, None)


def test_claim_on_the_day_of_shipment_is_sound():
    assert build(claims=claims_frame(report_date=pd.to_datetime("2026-05-04"))).n_claims == 4


def test_an_order_may_have_any_number_of_claims():
    claims = pd.DataFrame({"order_id": 12, "freight": np.full(300, 4.0), "report_date": pd.Timestamp("2026-06-01")})
    book = build(claims=claims.assign(claim_id=range(300)))
    assert book.counts.dtype == np.uint16
    assert book.claim_count.tolist() == [0, 300, 0, 0, 0]


@given(
    ids=st.lists(st.integers(1, 6) | st.none(), min_size=4, max_size=4),
    kind=st.sampled_from(["pandas", "polars", "texts"]),
    name=st.sampled_from(["claim_id", "voucher"]),
)
def test_claims_of_one_id_never_count_twice(ids, kind, name):
    column = pd.array([None if one is None else f"C{one}" for one in ids] if kind == "texts" else ids,
                      dtype="string" if kind == "texts" else "Int64")  # fmt: skip
    claims = claims_frame(**{name: column})
    claims = pl.from_pandas(claims) if kind == "polars" else claims
    assert build(claims=claims, claim_id=None).n_claims == 4
    if None in ids:
        with pytest.raises(InputError, match=f"claims: '{name}' is missing in .* rows? .*give every claim its id"):
            build(claims=claims, claim_id=name)
    elif len(set(ids)) < 4:
        with pytest.raises(
            InputError, match=f"claims: '{name}' repeats an earlier row in .* such as ids C?[1-6].*; keep one"
        ):
            build(claims=claims, claim_id=name)
    else:
        assert build(claims=claims, claim_id=name).n_claims == 4


def test_a_file_of_claims_given_twice_is_refused_or_warned_of():
    twice = pd.concat([claims_frame()] * 2)
    with pytest.raises(
        InputError, match=r"'claim_id' repeats an earlier row in 4 rows \(first: 0, 1, 2, 3\).*, such as ids 0, 1"
    ):
        build(claims=twice.assign(claim_id=twice.index))
    match = (
        r"4 of 8 rows equal an earlier row in order, freight, report_date \(first orders: 12, 15, 11\), and every row"
    )
    for options in ({}, {"claim_id": None}):
        with pytest.warns(FreightRiskWarning, match=match):
            assert build(claims=twice, **options).n_claims == 8
    with pytest.raises(InputError, match="missing column 'voucher'"):
        build(claims=twice, claim_id="voucher")


def test_few_equal_claims_are_no_cause_of_a_warning():
    """An order of two parcels has two claims of one fee on one day; simulated claims have no such pair."""
    sim = simulate_book(3_000, seed=4)
    bare = sim.claims.drop(columns="claim_id")
    options = {"factors": [Factor("zone")], "as_of": sim.as_of}
    assert OrderBook.from_frames(sim.orders, bare, **options).n_claims > 100
    pair = pd.concat([bare, bare.iloc[[0]]])
    OrderBook.from_frames(sim.orders, pair, **options)
    no_day = pd.concat([claims_frame()] * 2).drop(columns="report_date")
    assert build(claims=no_day, report_date=None, orders=orders_frame()).n_claims == 8


def test_a_book_may_have_no_claims():
    book = build(claims=claims_frame().iloc[:0])
    assert (book.n_orders, book.n_claims) == (5, 0)


@pytest.mark.parametrize("kind", ["polars", "lazy", "arrow", "parquet", "nullable"])
def test_every_kind_of_frame_gives_the_same_book(kind, tmp_path):
    def converted(frame, name):
        if kind == "parquet":
            frame.to_parquet(tmp_path / f"{name}.parquet")
            return str(tmp_path / f"{name}.parquet")
        if kind == "nullable":
            return frame.convert_dtypes()
        polars = pl.from_pandas(frame)
        return {"polars": polars, "lazy": polars.lazy(), "arrow": polars.to_arrow()}[kind]

    orders = orders_frame(channel=pd.Categorical(orders_frame()["channel"]), tier=[1, 2, 1, 1, 2, 3])
    options = {"factors": [*FACTORS, Factor("tier")], "exposure": "insured", "as_of": "2026-05-12"}
    book = build(
        converted(orders, "orders"),
        converted(claims_frame(), "claims"),
        merchants=converted(MERCHANTS, "merchants"),
        **options,
    )
    assert_same_book(book, build(orders, claims_frame(), **options))


def test_string_ids_join_too():
    orders = orders_frame(order_id=[f"A-{k}" for k in range(6)], merchant_id=list("nppnqq"))
    claims = claims_frame(order_id=["A-1", "A-4", "A-1", "A-0"])
    merchants = MERCHANTS.assign(merchant_id=list("qnp"))
    assert_same_book(build(orders, claims, merchants=merchants), build())
    arrow = [pa.Table.from_pandas(frame) for frame in (orders, claims, merchants)]
    assert_same_book(build(arrow[0], arrow[1], merchants=arrow[2]), build())


def test_callers_index_does_not_matter():
    orders = orders_frame().set_index(pd.Index(list("ffeeaa")))
    assert_same_book(build(orders, claims_frame().set_index(pd.Index([9, 9, 9, 9]))), build())


@given(order=st.permutations(range(4)), rows=st.permutations(range(6)))
def test_order_of_rows_and_claims_changes_nothing_but_the_order(order, rows):
    plain = build(exposure="insured")
    shuffled = build(orders_frame().iloc[rows], claims_frame().iloc[order], exposure="insured")
    assert shuffled.codings == plain.codings
    in_force = [row for row in rows if row != 2]
    place = [[0, 1, 3, 4, 5].index(row) for row in in_force]
    for name in ("claim_count", "exposure", "ship_day"):
        assert getattr(shuffled, name).tolist() == getattr(plain, name)[place].tolist()
    for name, codes in plain.codes.items():
        assert shuffled.codes[name].tolist() == codes[place].tolist()
    assert sorted(zip(np.array(place)[shuffled.claim_row], shuffled.claim_amount, strict=True)) == sorted(
        zip(plain.claim_row, plain.claim_amount, strict=True)
    )


def test_one_claim_cover_sees_the_claim_that_was_reported_first():
    claims = claims_frame()
    for order in ([0, 1, 2, 3], [2, 1, 0, 3]):
        book = at_most_one_claim(build(claims=claims.iloc[order]))
        assert book.claim_count.tolist() == [1, 1, 0, 1, 0]
        assert book.claim_amount[book.claim_row == 1].tolist() == [8.0]


# --- what leaves ---------------------------------------------------------------------------------------------------


@given(mask=st.lists(st.booleans(), min_size=5, max_size=5))
def test_a_selection_and_its_rest_hold_the_whole_book(mask):
    book, mask = build(exposure="insured", as_of="2026-06-01"), np.array(mask)
    parts = [book.select(mask), book.select(~mask)]
    assert sum(part.n_orders for part in parts) == book.n_orders
    assert sum(part.n_claims for part in parts) == book.n_claims
    for part, rows in zip(parts, (mask, ~mask), strict=True):
        assert part.codings == book.codings
        assert part.claim_count.tolist() == book.claim_count[rows].tolist()
        assert part.exposure.tolist() == book.exposure[rows].tolist()
        assert np.bincount(part.claim_row, minlength=part.n_orders).tolist() == part.claim_count.tolist()
        by_order = np.bincount(book.claim_row, book.claim_amount, minlength=book.n_orders)[rows]
        assert np.bincount(part.claim_row, part.claim_amount, minlength=part.n_orders).tolist() == by_order.tolist()


def test_mature_orders_are_old_enough():
    book = build(as_of="2026-05-12")
    assert book.age_days.tolist() == [11, 10, 9, 8, 2]
    mature = book.mature(9)
    assert mature.age_days.tolist() == [11, 10, 9]
    assert mature.claim_count.tolist() == [1, 2, 0]
    assert book.mature(0).n_orders == 5


def test_a_book_does_not_change():
    book = build(exposure="insured")
    arrays = (book.claim_count, book.exposure, book.claim_row, book.claim_amount, book.ship_day)
    for array in (*book.codes.values(), *arrays):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = array[1]
    with pytest.raises(TypeError, match="does not change"):
        book.codes["channel"] = book.codes["segment"]
    with pytest.raises(AttributeError, match="cannot assign"):
        book.exposure = None


def test_the_callers_frames_do_not_change():
    orders, claims = orders_frame(), claims_frame()
    book = build(orders, claims, exposure="insured")
    pd.testing.assert_frame_equal(orders, orders_frame())
    orders.loc[:, "insured"] = 99.0
    claims.loc[:, "freight"] = 99.0
    assert book.total_exposure == 7.5
    assert book.claim_amount.tolist() == [8.0, 12.5, 6.5, 10.0]


def test_a_book_says_what_it_holds():
    text = "OrderBook: 5 orders, 4 claims, as of 2026-06-01; factors channel (2), weight_kg (2), segment (2)"
    assert repr(build(as_of="2026-06-01")) == text


# --- rows that are already counted ---------------------------------------------------------------------------------

CELLS = pd.DataFrame(
    {"zone": [1, 2, 1, 3], "n": [3, 0, 1, 400], "paid": [30.0, 0.0, 7.0, 800.0], "insured": [9.0, 1.0, 2.0, 99.5]}
)


def counted(cells=CELLS, **options):
    return OrderBook.from_counts(cells, **({"claims": "n", "factors": [Factor("zone")]} | options))


def test_counted_rows():
    book = counted(amount="paid", exposure="insured")
    assert (book.n_orders, book.n_claims, book.total_exposure) == (4, 404, 111.5)
    assert book.claim_row.tolist() == [0, 2, 3]
    assert book.claim_amount.tolist() == [10.0, 7.0, 2.0]
    assert book.claim_weight.tolist() == [3.0, 1.0, 400.0]
    assert book.counts.dtype == np.uint16
    assert counted(CELLS.assign(n=[70_000, 1, 2, 3])).counts.dtype == np.uint32
    assert counted().claim_amount.size == 0


def test_counted_rows_are_selected_with_their_weights():
    part = counted(amount="paid", exposure="insured").select(np.array([True, True, False, True]))
    assert part.claim_row.tolist() == [0, 2]
    assert part.claim_weight.tolist() == [3.0, 400.0]


def test_a_book_of_one_row_reports_its_exposure_and_claims():
    book = counted(CELLS.iloc[:1], exposure="insured")
    row = FrequencyModel().fit(book).relativities.iloc[0]
    assert (row["exposure"], row["claims"]) == (9.0, 3.0)


def test_orders_and_their_counts_give_the_same_model():
    rng = np.random.default_rng(4)
    orders = pd.DataFrame({"order_id": range(400), "zone": rng.integers(1, 4, 400)})
    claims = pd.DataFrame({"order_id": rng.integers(0, 400, 150), "freight": rng.gamma(5.0, 2.0, 150)})
    book = OrderBook.from_frames(orders, claims, factors=[Factor("zone")], ship_date=None, report_date=None)
    by_zone = orders.groupby("zone").size().rename("insured").to_frame()
    joined = claims.merge(orders).groupby("zone")["freight"].agg(n="size", paid="sum")
    cells = OrderBook.from_counts(
        by_zone.join(joined).reset_index(), claims="n", amount="paid", exposure="insured", factors=[Factor("zone")]
    )
    for model in (FrequencyModel(), SeverityModel()):
        one, other = model.fit(book), model.fit(cells)
        ours, theirs = treatment_contrasts(one), treatment_contrasts(other)
        np.testing.assert_allclose(ours["coefficient"], theirs["coefficient"], rtol=0, atol=1e-9)


# --- bad input -----------------------------------------------------------------------------------------------------

REPEATED = orders_frame(order_id=[11, 12, 12, 14, 11, 16])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"orders": orders_frame().drop(columns="channel")}, "orders and merchants: missing column 'channel'; the columns present are 'order_id', 'merchant_id'"),
        ({"orders": orders_frame().drop(columns=["channel", "weight_kg"]), "merchants": None, "factors": FACTORS[:2]}, "orders: missing columns 'channel', 'weight_kg'; the columns present are 'order_id'"),
        ({"orders": orders_frame().drop(columns="order_id")}, "missing column 'order_id'"),
        ({"orders": orders_frame().drop(columns="ship_date")}, "missing column 'ship_date'"),
        ({"orders": orders_frame().drop(columns="merchant_id")}, "orders: missing column 'merchant_id'"),
        ({"exposure": "earned"}, "missing column 'earned'"),
        ({"claims": claims_frame().drop(columns="freight")}, "claims: missing column 'freight'; the columns present are 'order_id', 'report_date'"),
        ({"claims": claims_frame().drop(columns=["order_id", "report_date"])}, "claims: missing columns 'order_id', 'report_date'"),
        ({"merchants": MERCHANTS.drop(columns="merchant_id")}, "merchants: missing column 'merchant_id'; the columns present are 'segment', 'score'"),
        ({"orders": orders_frame(e=[1, np.nan, 1, 1, np.nan, 1.0]), "exposure": "e"}, r"column 'e' is missing \(NaN\) in 2 rows \(first: 1, 4\)"),
        ({"orders": orders_frame(e=[1, -1, 1, 1, 1, 1.0]), "exposure": "e"}, r"column 'e' must be above 0, and at least 1e-15, but is not in 1 row \(first: 1\)"),
        ({"orders": orders_frame(e=[1, 1, 1, 0, 0, 0.0]), "exposure": "e"}, r"column 'e' must be above 0, .* in 3 rows \(first: 3, 4, 5\)"),
        ({"orders": orders_frame(e=[1, 1, 1, 1e18, 2e18, 1e-15]), "exposure": "e"}, r"column 'e' is above 1e\+18 in 1 row \(first: 4\)"),
        ({"orders": orders_frame(e=[1, 1, 1, np.inf, 1, 1]), "exposure": "e"}, r"column 'e' is infinite in 1 row \(first: 3\)"),
        ({"orders": orders_frame(e=list("123x56")), "exposure": "e"}, r"orders: column 'e' is not a number in 1 row \(first: 3\)"),
        ({"orders": orders_frame(e=orders_frame()["ship_date"]), "exposure": "e"}, "orders: column 'e' is not a number but a datetime in "),
        ({"orders": orders_frame(weight_kg=[1, 1, 1, -2, 1, np.nan])}, "weight_kg"),
        ({"orders": orders_frame(weight_kg=[1, 1, 1, -2, 1, -3.0])}, r"column 'weight_kg' is outside \[0, inf\] in 2 rows \(first: 3, 5\)"),
        ({"orders": orders_frame(weight_kg=[1, 1, 1, np.nan, 1, 1])}, r"factor 'weight_kg': column 'weight_kg' is missing in 1 row \(first: 3\)"),
        ({"orders": REPEATED}, r"orders: 'order_id' repeats an earlier row in 2 rows \(first: 2, 4\).*; keep one"),
        ({"orders": orders_frame(order_id=[11, 12, None, 14, 15, 16])}, r"orders: 'order_id' is missing in 1 row \(first: 2\)"),
        ({"claims": claims_frame(order_id=[12, 99, 12, 98])}, r"claims: 'order_id' names no order in 2 rows \(first: 1, 3\).*; add the orders"),
        ({"claims": claims_frame(order_id=[12, None, 12, 11])}, r"claims: 'order_id' names no order in 1 row \(first: 1\)"),
        ({"claims": claims_frame(report_date=pd.to_datetime(["2026-05-01", "2026-05-20", "2026-05-08", "2026-04-30"]))}, r"claims: 'report_date' is before the order's 'ship_date' .* in 2 rows \(first: 0, 3\).*; correct"),
        ({"claims": claims_frame(order_id=[12, 13, 12, 13])}, r"\(or the order was never shipped\) in 2 rows \(first: 1, 3\)"),
        ({"claims": claims_frame(order_id=[12, 13, 12, 13]), "report_date": None}, r"never shipped.* in 2 rows \(first: 1, 3\)"),
        ({"claims": claims_frame(report_date=pd.to_datetime(["2026-05-05", None, None, "2026-05-08"]))}, r"claims: 'report_date' is missing in 2 rows \(first: 1, 2\)"),
        ({"claims": claims_frame(freight=[8, np.nan, 1, 1])}, r"column 'freight' is missing \(NaN\) in 1 row \(first: 1\)"),
        ({"claims": claims_frame(freight=[8, 0, -1, 1.0])}, r"column 'freight' must be above 0, and at least 1e-15, but is not in 2 rows \(first: 1, 2\), such as 0.0 .*; correct or drop these claims"),
        ({"claims": claims_frame(freight=[1e-15, 1e308, 1e18, 1e-15])}, r"column 'freight' is above 1e\+18 in 1 row \(first: 1\)"),
        ({"claims": claims_frame(freight=["8", "9", "ten", "1"])}, r"claims: column 'freight' is not a number in 1 row \(first: 2\)"),
        ({"orders": orders_frame(channel=["a", "b", "a", None, "a", "b"])}, r"factor 'channel': column 'channel' is missing in 1 row \(first: 3\)"),
        ({"orders": orders_frame(ship_date=["2026-05-01", "soon", None, "2026-05-03", "2026-05-04", "later"])}, r"orders: column 'ship_date' cannot be read as dates by ISO 8601 in 2 rows \(first: 1, 5\)"),
        ({"orders": orders_frame(ship_date=20260501)}, "orders: column 'ship_date' cannot be read as dates"),
        ({"claims": claims_frame(report_date=["soon"] * 4)}, "claims: column 'report_date' cannot be read as dates"),
        ({"factors": [Factor("channel"), Factor("score"), Band("channel", [1], column="score")]}, "factors: the name 'channel' is used twice"),
        ({"factors": ["channel"]}, "factors"),
        ({"factors": Factor("channel")}, "factors"),
        ({"factors": [Band("score", [4.5], valid=(4.5, 5.0))]}, r"column 'score' is outside \[4.5, 5\] in 2 rows \(first: 0, 3\)"),
        ({"merchants": pd.concat([MERCHANTS, MERCHANTS.iloc[:1]])}, r"merchants: 'merchant_id' repeats an earlier row in 1 row \(first: 0\), such as 3"),
        ({"merchants": MERCHANTS.iloc[:2]}, r"orders: 'merchant_id' names no row of merchants in 2 rows \(first: 1, 2\)"),
        ({"orders": orders_frame(merchant_id=[1, None, 2, 1, 3, 3])}, r"orders: 'merchant_id' names no row of merchants in 1 row \(first: 1\)"),
        ({"ship_date": None, "as_of": "2026-06-01"}, "as_of needs the day of shipment; name its column with ship_date="),
        ({"as_of": "2026-04-01"}, "orders: no order is in force on 2026-04-01; a book needs at least one shipped order; 1 were never shipped; 5 were shipped after that day. Check as_of"),
        ({"orders": orders_frame().iloc[:0], "claims": claims_frame().iloc[:0]}, "no order is in force"),
        ({"as_of": "yesterday"}, "as_of is 'yesterday'"),
        ({"as_of": pd.NaT}, "as_of is NaT"),
        ({"orders": [1, 2, 3]}, "orders is a list; it must be a pandas, polars or pyarrow table"),
        ({"claims": None}, "claims is a NoneType; it must be"),
        ({"merchants": {"merchant_id": [1]}}, "merchants is a dict; it must be"),
        ({"orders": "no_such_file.parquet"}, "orders is the path 'no_such_file.parquet', which does not exist"),
        ({"orders": __file__}, "orders is the file '.*test_book.py', which is not readable as Parquet"),
        ({"orders": orders_frame().iloc[:, [0, 1, 2, 3, 3, 4]]}, "orders: .*'channel'"),
    ],
)  # fmt: skip
def test_bad_frames_are_refused(change, match):
    with pytest.raises(InputError, match=match):
        OrderBook.from_frames(
            **(
                {"orders": orders_frame(), "claims": claims_frame(), "merchants": MERCHANTS, "factors": FACTORS}
                | change
            )
        )


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"claims": "m"}, "cells: missing column 'm'; the columns present are 'zone', 'n', 'paid', 'insured'"),
        ({"factors": [Factor("area")]}, "missing column 'area'"),
        ({"cells": CELLS.assign(n=[1, 2.5, 0, 0.5])}, r"column 'n' is not a whole number in 2 rows \(first: 1, 3\)"),
        ({"cells": CELLS.assign(n=[1, -1, 0, 0])}, r"column 'n' is outside \[0, 4.29497e\+09\] in 1 row \(first: 1\)"),
        ({"cells": CELLS.assign(n=[1, np.nan, 0, 0])}, r"column 'n' is missing \(NaN\) in 1 row \(first: 1\)"),
        ({"cells": CELLS.assign(paid=[1, 5, 0, 0]), "amount": "paid"}, r"column 'paid' .* in 2 rows \(first: 2, 3\)"),
        ({"cells": CELLS.assign(paid=[1, 5, 1, 1]), "amount": "paid"}, r"column 'paid' .* in 1 row \(first: 1\)"),
        ({"cells": CELLS.assign(insured=[1, 0, 1, -1]), "exposure": "insured"}, r"column 'insured' must be above 0, .* in 2 rows \(first: 1, 3\)"),
        ({"cells": CELLS.assign(paid=[1e19, 0, 1e18, 1e-15]), "amount": "paid"}, r"column 'paid' is above 1e\+18 in 1 row \(first: 0\)"),
        ({"cells": CELLS.iloc[:0]}, "a book needs at least one"),
    ],
)  # fmt: skip
def test_bad_counts_are_refused(change, match):
    with pytest.raises(InputError, match=match):
        counted(**change)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda book: book.select([1, 0, 1, 0, 1]), r"rows is int64 of shape \(5,\); give a boolean for each of 5 orders"),
        (lambda book: book.select(np.ones(4, dtype=bool)), r"rows is bool of shape \(4,\)"),
        (lambda book: book.age_days, "no order ages; build it by OrderBook.from_frames with ship_date= and as_of="),
        (lambda book: book.mature(30), "the book has no order ages"),
        (lambda book: build(as_of="2026-06-01").mature(-1), r"min_age_days is -1; it must be a whole number in \[0, 36500\]"),
        (lambda book: build(as_of="2026-06-01").mature(1.5), "min_age_days is 1.5"),
        (lambda book: at_most_one_claim(counted(amount="paid")), "book was built from counts"),
    ],
)  # fmt: skip
def test_bad_selections_are_refused(call, match):
    with pytest.raises(InputError, match=match):
        call(build())


def test_row_numbers_in_messages_are_those_of_the_callers_frame():
    orders = orders_frame(channel=["a", "b", None, "a", "b", None])
    for declared in (Factor("channel"), Hierarchy("tree", ["channel"])):
        with pytest.raises(InputError, match=r"is missing in 1 row \(first: 5\)"):
            build(orders, factors=[declared])
    with pytest.raises(InputError, match=r"is missing in 1 row \(first: 4\)"):
        build(orders_frame(length=[1, 1, np.nan, 1, np.nan, 1]), factors=[Band("length", [1])])
    with pytest.raises(InputError, match=r"is outside \[0, inf\] in 1 row \(first: 4\)"):
        build(orders_frame(length=[1, 1, -1, 1, -1, 1]), factors=[Band("length", [1])])
    coding = build(factors=[Factor("channel")]).codings["channel"]
    with pytest.raises(InputError, match=r"level 'b' was not in the book, in 1 row \(first: 4\)"):
        build(orders_frame(channel=["live", "shelf", "live", "live", "b", "live"]), factors=[coding])


def test_a_book_without_claims_cannot_be_fitted():
    book = build(claims=claims_frame().iloc[:0])
    for model in (FrequencyModel(), SeverityModel()):
        with pytest.raises(FitError, match=r"there are no claims in \d rows to fit; a model needs some"):
            model.fit(book)


@pytest.mark.parametrize(("factor", "tells"), [(1.0, False), (1000.0, True)])
def test_weights_in_grams_are_told(factor, tells):
    orders = orders_frame()
    orders["weight_kg"] *= factor
    if not tells:
        build(orders=orders)
        return
    with pytest.warns(FreightRiskWarning, match=r"'weight_kg' has a median of 1,250 kg, .* divide it by 1,000"):
        build(orders=orders)


def test_what_is_no_book_and_a_book_without_orders_are_refused():
    book = build()
    fitted = FrequencyModel([]).fit(book)
    for call in (FrequencyModel().fit, SeverityModel().fit, fitted.rates, fitted.expected_claims):
        with pytest.raises(InputError, match="book is a DataFrame; it must be an OrderBook"):
            call(orders_frame())
    with pytest.raises(FitError, match=r"the book has no rows to fit; mature\(\) or select\(\) may have left none"):
        FrequencyModel().fit(book.select(np.zeros(5, dtype=bool)))
    with pytest.raises(InputError, match=r"factors is the text 'channel'; give a list, such as \['channel'\]"):
        FrequencyModel("channel").fit(book)
    bare = claims_frame(order_id=[12, 15, 13, 11]).drop(columns="report_date")
    with pytest.raises(
        InputError, match=r"claims: the order was never shipped \(no 'ship_date'\) in 1 row \(first: 2\)"
    ):
        build(claims=bare, report_date=None)


@pytest.mark.parametrize("column", [pd.array, pd.Series, pl.Series, pa.array])
def test_aligned_whole_numbers_beside_missing_ones_stay_whole(column):
    orders = orders_frame()
    book = OrderBook.from_frames(orders, claims_frame(), factors=[])
    far = [2608260000000000017, None, 3, 4, 5, 6]
    values = column(far, dtype="Int64") if column in (pd.array, pd.Series) else column(far)
    aligned = book.align(values).tolist()
    kept = range(len(far)) if book.order_row is None else book.order_row.tolist()
    assert [None if pd.isna(one) else one for one in aligned] == [far[row] for row in kept]


def test_a_tariff_has_the_clock_of_its_book():
    orders, claims = orders_frame(), claims_frame()
    book = OrderBook.from_frames(orders, claims, factors=[], clock="Europe/London")
    frequency, severity = FrequencyModel([]).fit(book), SeverityModel([]).fit(book)
    assert Tariff.build(frequency, severity).clock == "Europe/London"
    assert Tariff.build(frequency, severity, clock="Etc/UTC").clock == "Etc/UTC"


@pytest.mark.parametrize(
    "changes",
    [
        {"exposure": np.ones(2)},
        {"counts": np.zeros(2, np.uint8)},
        {"counts": [0, 0, 0]},
        {"counts": np.zeros((3, 1), np.uint8)},
        {"claims": lambda claims: replace(claims, row=np.zeros(2, np.int64))},
        {"claims": lambda claims: replace(claims, weight=np.ones(5))},
        {"order_row": np.arange(4)},
        {"reversals": lambda reversals: replace(reversals, day=np.zeros(1, "M8[D]"))},
        {"codes": {}},
        {"codes": {"zone": np.zeros(2, np.uint8)}},
    ],
)
def test_columns_of_other_lengths_are_no_book(changes):
    orders = pd.DataFrame({"order_id": [1, 2, 3], "zone": ["near", "far", "near"]})
    claims = pd.DataFrame({"order_id": [1], "freight": [8.0]})
    book = OrderBook.from_frames(orders, claims, factors=[Factor("zone")], ship_date=None, report_date=None)
    ((name, change),) = changes.items()
    with pytest.raises(
        InputError,
        match=r"has shape \(.*; \w+ is a column of shape|codes are given for the factors|is \[0, 0, 0\]; it must be an array",
    ):
        replace(book, **{name: change(getattr(book, name)) if callable(change) else change})


def test_claims_of_an_order_are_numbers_to_compute_with():
    book = counted(CELLS.assign(n=[0, 1, 2, 300]))
    assert (book.claim_count - 1).tolist() == [-1, 0, 1, 299]
    assert (book.claim_count * 10**9).tolist() == [0, 10**9, 2 * 10**9, 300 * 10**9]
    assert book.counts.dtype == np.uint16
    assert not book.claim_count.flags.writeable


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"claims": None}, "claims of a book is None"),
        ({"claims": lambda claims: replace(claims, amount=[8.0])}, r"claim_amount is \[8.0\]; it must be an array"),
        ({"claims": lambda claims: replace(claims, amount=None)}, "claim_amount is None"),
        (
            {"claims": lambda claims: replace(claims, row=np.array([-1]))},
            "claim_row is from -1 to -1; it must be from 0",
        ),
        ({"claims": lambda claims: replace(claims, row=np.array([10**12]))}, "claim_row is from 1e"),
        ({"claims": lambda claims: replace(claims, amount=np.array([8.0], ">f8"))}, "claim_amount is of type >f8"),
        ({"claims": lambda claims: replace(claims, amount=np.array([np.nan]))}, "claim_amount is from nan"),
        ({"counts": np.full(3, 0.5)}, "counts is of type float64; it must be an array of type uint8 or"),
        ({"counts": np.zeros(3, np.int64)}, "counts is of type int64"),
        ({"exposure": np.zeros(3)}, "exposure is from 0 to 0; it must be from 1e-15"),
        ({"ship_day": np.zeros(3, "M8[ns]")}, r"ship_day is of type datetime64\[ns\]"),
        (
            {"reversals": lambda reversals: Reversals(np.array([3]), *np.zeros((2, 1), "M8[D]"))},
            "reversed_row is from 3",
        ),
        ({"lines": "x"}, "lines is 'x', which is not a factor of the book"),
        ({"clock": "Mars"}, "Mars"),
    ],
)
def test_columns_of_other_types_or_ranges_are_no_book(changes, message):
    orders = pd.DataFrame({"order_id": [1, 2, 3], "zone": ["near", "far", "near"]})
    claims = pd.DataFrame({"order_id": [1], "freight": [8.0]})
    book = OrderBook.from_frames(orders, claims, factors=[Factor("zone")], ship_date=None, report_date=None)
    ((name, change),) = changes.items()
    with pytest.raises(InputError, match=message):
        replace(book, **{name: change(getattr(book, name)) if callable(change) else change})


def test_a_book_shares_no_memory_with_the_callers_table():
    cells = pd.DataFrame({"zone": ["near", "far"], "claims": [3.0, 4.0], "exposure": [5.0, 6.0], "amount": [9.0, 8.0]})
    book = OrderBook.from_counts(cells, claims="claims", exposure="exposure", amount="amount", factors=[Factor("zone")])
    before = [book.exposure.copy(), book.claim_count.copy(), book.claim_amount.copy()]
    for name in ("claims", "exposure", "amount"):
        cells.loc[:, name] = 1e6
    for was, now in zip(before, [book.exposure, book.claim_count, book.claim_amount], strict=True):
        np.testing.assert_array_equal(was, now)
