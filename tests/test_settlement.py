"""Settlement: sums equal those of the orders exactly, every account has its fen, reversals leave nothing."""

from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from freightrisk import ClaimPayer, Settlement, Subsidy, settle
from freightrisk.errors import InputError
from freightrisk.pipeline.settlement_frames import ACCOUNTS, MOST_MICRO
from freightrisk.programmes import Fee, Programme
from programme_strategies import N_ORDERS, covered_programmes, orders_of
from strategies import draw_batch, limited_programmes, loadings, seeds
from test_balances import FLOORS, MODES, no_missing_merchants, orders_at, tariff_of

SIZES = st.integers(1, 60)


def settled(rules, rounding, floor, size, seed):
    tariff = tariff_of(rules, rounding, floor)
    orders = no_missing_merchants(draw_batch(np.random.default_rng(seed), size), rounding)
    quotes = tariff.price(orders, campaigns=True)
    return tariff, orders, quotes, Settlement.of(tariff, orders, quotes)


@given(limited_programmes(), MODES, FLOORS, SIZES, seeds)
def test_sums_are_those_of_the_orders(rules, rounding, floor, size, seed):
    tariff, orders, quotes, found = settled(rules, rounding, floor, size, seed)
    assert found.is_balanced
    days = orders["ship_date"].dt.normalize()
    for rule in tariff.subsidies:
        of = found.payers[(found.payers["campaign"] == rule.name) & (found.payers["payer"] == rule.payer)]
        by_hand = {}
        for day, merchant, fen in zip(days, orders["merchant_id"], quotes[f"paid: {rule.name}"], strict=True):
            key = (None if pd.isna(day) else day, None if pd.isna(merchant) else merchant)
            by_hand[key] = by_hand.get(key, 0) + fen
        table = {
            (None if pd.isna(row.day) else row.day, None if pd.isna(row.merchant_id) else row.merchant_id): row.fen
            for row in of.itertuples()
        }
        assert table == {key: fen for key, fen in by_hand.items() if fen}
    for payer in (*tariff.payers, "merchant"):
        assert found.payers.loc[found.payers["payer"] == payer, "fen"].sum() == quotes[f"{payer}_fen"].sum()
    assert found.accounts["list_fen"].sum() == quotes["list_fen"].sum()
    assert found.accounts["orders"].sum() == size
    insurer = quotes["insurer_fen"].sum() if "insurer" in tariff.payers else 0
    assert found.accounts["received_fen"].sum() == quotes["list_fen"].sum() - insurer


@given(limited_programmes(), SIZES, seeds, st.data())
def test_quotes_of_rows_in_another_order_are_refused(rules, size, seed, data):
    tariff, orders, quotes, found = settled(rules, "half_even", 1, size, seed)
    moved = quotes.iloc[data.draw(st.permutations(range(size)))]
    if moved.index.equals(orders.index):
        assert Settlement.of(tariff, orders, moved).payers.equals(found.payers)
        return
    with pytest.raises(InputError, match="different indexes"):
        Settlement.of(tariff, orders, moved)
    again = Settlement.of(tariff, orders.loc[moved.index], moved)
    pd.testing.assert_frame_equal(again.payers, found.payers)
    pd.testing.assert_frame_equal(again.accounts, found.accounts)


@given(limited_programmes(), MODES, FLOORS, SIZES, seeds, st.integers(0, 60))
def test_batches_add_up_and_reversing_every_line_leaves_nothing(rules, rounding, floor, size, seed, cut):
    tariff, orders, quotes, found = settled(rules, rounding, floor, size, seed)
    parts = [slice(0, min(cut, size)), slice(min(cut, size), size)]
    both = [Settlement.of(tariff, orders.iloc[part], quotes.iloc[part]) for part in parts]
    added = both[0] + both[1]
    pd.testing.assert_frame_equal(added.payers, found.payers)
    pd.testing.assert_frame_equal(added.accounts, found.accounts)
    nothing = found + -both[1] + -both[0]
    assert nothing.is_balanced
    for frame in (nothing.payers, nothing.accounts):
        assert not frame.select_dtypes("number").any().any()


def test_rounding_and_floor_have_accounts_of_their_own():
    # 0.37 fen rounds to 0 and is raised to 1: 0.63 fen of floor income. 1.48 fen round to 1: 0.48 fen too little.
    tariff = tariff_of([Subsidy("grant", "insurer", fixed_fen=1)])
    orders = pd.concat([orders_at(0.37, 2), orders_at(1.48, 3), orders_at(37, 1)])
    found = Settlement.of(tariff, orders, tariff.price(orders, campaigns=True))
    row = found.accounts.iloc[0]
    assert row["floor_income_micro"] == 2 * 6_300
    assert row["rounding_micro"] == -3 * 4_800
    assert row["filed_micro"] == 2 * 3_700 + 3 * 14_800 + 370_000
    assert (row["list_fen"], row["received_fen"], row["orders"]) == (42, 41, 6)
    assert found.payers[["payer", "campaign", "orders", "fen"]].values.tolist() == [
        ["insurer", "grant", 1, 1],
        ["merchant", "", 6, 41],
    ]
    assert str(found) == (
        "Settlement: 6 orders, 0.42 yuan (rounding -0.01, floor +0.01); paid by insurer 0.01, merchant 0.41"
    )


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_files_hold_the_same_sums(tmp_path, kind):
    *_, found = settled([Subsidy("a", "平台", fixed_fen=2)], "half_even", 1, 50, 3)
    paths = found.save(tmp_path, format=kind)
    assert [path.name for path in paths] == [f"payers.{kind}", f"accounts.{kind}"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in paths)
    payers, accounts = (pd.read_parquet(p) if kind == "parquet" else pd.read_csv(p) for p in paths)
    assert payers["fen"].tolist() == found.payers["fen"].tolist()
    assert set(payers["payer"]) == {"merchant", "平台"}
    assert accounts["rounding_micro"].tolist() == found.accounts["rounding_micro"].tolist()
    with pytest.raises(InputError, match="format is 'xlsx'"):
        found.save(tmp_path, format="xlsx")
    for place in (tmp_path / "nowhere", paths[0]):
        with pytest.raises(InputError, match="does not exist; create it first"):
            found.save(place)
    with pytest.raises(InputError, match="folder is 3; it must be a path"):
        found.save(3)
    before = paths[0].read_bytes()
    paths[1].unlink()
    paths[1].mkdir()
    with pytest.raises(InputError, match=r"folder is '.*accounts\..*', which is a folder"):
        found.save(tmp_path, format=kind)
    assert paths[0].read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


@given(loadings(), seeds)
def test_the_filed_premium_is_the_kernels_to_the_micro_yuan(loads, seed):
    tariff = replace(tariff_of([], "carry"), loadings=loads)
    orders = no_missing_merchants(draw_batch(np.random.default_rng(seed), 60), "carry")
    buffers = tariff.buffers(60)
    columns = tariff.price_columns(tariff.encode(orders), threads=1, buffers=buffers)
    np.testing.assert_array_equal(tariff.loadings.filed_micro(columns["technical_premium"]), buffers.micro)


@given(st.lists(st.sampled_from([1e3, 1e5, 1e7]), min_size=1, max_size=4), st.integers(0, 230_000))
def test_sums_are_exact_or_refused(premiums, times):
    tariff = tariff_of([])
    orders = orders_at(37, len(premiums))
    quotes = tariff.price(orders, campaigns=True).assign(technical_premium=premiums)
    one = Settlement.of(tariff, orders, quotes)
    payers = one.payers.assign(fen=times * one.payers["fen"])
    accounts = one.accounts.assign(**{name: times * one.accounts[name] for name in ACCOUNTS})
    if accounts[ACCOUNTS].abs().max().max() >= MOST_MICRO:
        with pytest.raises(InputError, match="it must stay within"):
            Settlement(payers, accounts)
        return
    many = Settlement(payers, accounts)
    exact = {name: 2 * times * int(one.accounts[name].iloc[0]) for name in ACCOUNTS}
    if max(map(abs, exact.values())) >= MOST_MICRO:
        with pytest.raises(InputError, match="amounts of one merchant and day come to"):
            many + many
    else:
        both = many + many
        assert {name: int(both.accounts[name].iloc[0]) for name in ACCOUNTS} == exact
        assert both.is_balanced
    assert "Settlement: " in repr(many)


@pytest.mark.parametrize("premium", [0.02, 3.0, 9e3, 1e7])
def test_ten_thousand_million_orders_by_doubling_are_exact_or_refused(premium):
    tariff = tariff_of([])
    orders = orders_at(37, 10)
    found = Settlement.of(tariff, orders, tariff.price(orders, campaigns=True).assign(technical_premium=premium))
    exact = {name: [*map(int, found.accounts[name])] for name in ACCOUNTS}
    fen = [*map(int, found.payers["fen"])]
    for k in range(30):  # ten orders doubled thirty times are 10,737,418,240
        largest = max(abs(value) for name in ACCOUNTS for value in exact[name]) << k + 1
        if largest >= MOST_MICRO:
            for wrong in (found, -found):
                with pytest.raises(InputError, match="amounts of one merchant and day come to"):
                    wrong + wrong
                with pytest.raises(InputError, match="amounts of one merchant and day come to"):
                    wrong - -wrong
            assert premium > 1e3
            return
        found = found + found
        assert found.is_balanced
        assert {name: found.accounts[name].tolist() for name in ACCOUNTS} == {
            name: [value << k + 1 for value in exact[name]] for name in ACCOUNTS
        }
        assert found.payers["fen"].tolist() == [value << k + 1 for value in fen]
        if 2 * largest < MOST_MICRO:
            nothing = found - found
            assert nothing.is_balanced
            assert not nothing.accounts[ACCOUNTS].any().any()
    assert found.accounts["orders"].sum() == 10 << 30
    assert premium < 1e3


@pytest.mark.parametrize("value", [-(2**63), -(2**62), 2**62, 2**63 - 1])
@pytest.mark.parametrize("name", ACCOUNTS)
def test_settlements_that_no_orders_come_to_are_refused(name, value):
    tariff, orders = tariff_of([]), orders_at(37, 3)
    found = Settlement.of(tariff, orders, tariff.price(orders, campaigns=True))
    with pytest.raises(InputError, match=f"settlement: column '{name}' goes from "):
        replace(found, accounts=found.accounts.assign(**{name: np.int64(value)}))
    with pytest.raises(InputError, match=f"settlement: column '{name}' is of type float64; it must be int64"):
        replace(found, accounts=found.accounts.assign(**{name: 1.0}))


def test_orders_whose_sum_would_wrap_are_refused():
    # The most that an order is charged is 10^7 yuan, 10^13 micro-yuan.
    tariff, n = tariff_of([]), 500_000
    orders = orders_at(37, 1).loc[[0] * n].reset_index(drop=True)
    quotes = tariff.price(orders, campaigns=True).assign(technical_premium=1e7)
    with pytest.raises(InputError, match=r"amounts of one merchant and day come to about 5e\+18"):
        Settlement.of(tariff, orders, quotes)
    assert Settlement.of(tariff, orders.assign(merchant_id=np.arange(n) % 2), quotes).is_balanced


def test_quotes_of_other_orders_are_refused():
    tariff, orders, quotes, _ = settled([Subsidy("a", "platform", fixed_fen=2)], "half_even", 1, 5, 3)
    with pytest.raises(InputError, match="quotes have 4 rows and orders 5"):
        Settlement.of(tariff, orders, quotes.iloc[:4])
    with pytest.raises(InputError, match="missing column 'paid: a'"):
        Settlement.of(tariff, orders, tariff.price(orders))
    with pytest.raises(InputError, match=r"payers do not sum to list_fen in 5 rows"):
        Settlement.of(tariff, orders, quotes.assign(merchant_fen=quotes["merchant_fen"] + 1))
    with pytest.raises(InputError, match="missing column 'shop'"):
        Settlement.of(tariff, orders, quotes, merchant_id="shop")


def test_polars_in():
    polars = pytest.importorskip("polars")
    tariff, orders, quotes, found = settled([Subsidy("a", "platform", fixed_fen=2)], "half_even", 1, 40, 3)
    again = Settlement.of(tariff, polars.DataFrame(orders), polars.DataFrame(quotes))
    assert again.payers["fen"].tolist() == found.payers["fen"].tolist()
    assert again.is_balanced


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow"])
def test_whole_ids_beside_missing_ones_stay_whole(kind, tmp_path):
    far = [2608260000000000017, 2608260000000000018, None, 5]
    orders = orders_at(37, 4).assign(merchant_id=pd.array(far, dtype="Int64"))
    frame = {"pandas": orders, "polars": pl.from_pandas(orders), "arrow": pa.Table.from_pandas(orders)}[kind]
    tariff = tariff_of([Subsidy("grant", "platform", fixed_fen=5)])
    settled = Settlement.of(tariff, frame, tariff.price(frame, campaigns=True))
    for one in (settled, settled + settled, settled + settled - settled):
        assert one.accounts["merchant_id"].tolist() == [5, *far[:2], None]
        assert one.is_balanced
    settled.save(tmp_path, format="csv")
    assert pd.read_csv(tmp_path / "accounts.csv", dtype=str)["merchant_id"].tolist()[0] == "5"


def test_quotes_of_other_orders_are_refused_by_their_ids():
    orders = orders_at(37, 4)
    tariff = tariff_of([])
    quotes = tariff.price(orders, campaigns=True).assign(order_id=orders["order_id"])
    assert Settlement.of(tariff, pl.from_pandas(orders), pl.from_pandas(quotes)).is_balanced
    with pytest.raises(InputError, match="'order_id' is another than that of the orders in 4 rows"):
        Settlement.of(tariff, pl.from_pandas(orders), pl.from_pandas(quotes[::-1]))


def test_a_saved_settlement_adds_up_with_a_live_one(tmp_path):
    tariff = tariff_of([])
    orders = orders_at(37, 6).assign(merchant_id=[17, 17, 5, None, 5, 17])
    live = Settlement.of(tariff, orders, tariff.price(orders, campaigns=True))
    live.save(tmp_path)
    saved = Settlement(*(pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("payers", "accounts")))
    both = saved + live
    assert both.accounts["merchant_id"].tolist() == live.accounts["merchant_id"].tolist() == [5, 17, None]
    assert (both.accounts["list_fen"] == 2 * live.accounts["list_fen"]).all()
    assert not (saved - live).accounts["list_fen"].any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"technical_premium": np.nan}, "'technical_premium' is no premium in 4 rows"),
        ({"technical_premium": np.inf}, "'technical_premium' is no premium in 4 rows|is infinite"),
        ({"technical_premium": -5.0}, "'technical_premium' is no premium in 4 rows"),
        ({"list_fen": np.nan}, "'list_fen' is no whole number of fen in 4 rows"),
        ({"merchant_fen": 0.5}, "'merchant_fen' is no whole number of fen in 4 rows"),
    ],
)
def test_quotes_that_no_tariff_gives_are_refused(changes, message):
    tariff = tariff_of([])
    orders = orders_at(37, 4)
    quotes = tariff.price(orders, campaigns=True).assign(**changes)
    with pytest.raises(InputError, match=message):
        Settlement.of(tariff, orders, quotes)


def test_what_is_no_settlement_is_refused():
    tariff, orders = tariff_of([]), orders_at(37, 4)
    settled = Settlement.of(tariff, orders, tariff.price(orders, campaigns=True))
    with pytest.raises(InputError, match="payers: missing columns"):
        Settlement(orders, orders)
    with pytest.raises(InputError, match="payers is a list; it must be a DataFrame of pandas"):
        Settlement([], settled.accounts)
    for wrong in (None, 0, settled.accounts):
        with pytest.raises(TypeError):
            settled + wrong


@pytest.mark.parametrize("kind", ["parquet", "csv"])
@given(limited_programmes(), SIZES, seeds)
def test_a_loaded_settlement_is_the_one_that_was_saved(tmp_path_factory, kind, rules, size, seed):
    folder = tmp_path_factory.mktemp("settled")
    *_, found = settled(rules, "half_even", 1, size, seed)
    found.save(folder, format=kind)
    again = Settlement.load(folder, format=kind)
    for name in ("payers", "accounts"):
        assert_frame_equal(getattr(again, name), getattr(found, name), check_dtype=False)
    assert not (again - found).accounts["list_fen"].any()
    again.save(folder, format=kind)
    assert repr(Settlement.load(folder, format=kind)) == repr(found)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_files_that_hold_no_settlement_are_refused(tmp_path, kind):
    *_, found = settled([], "half_even", 1, 20, 3)
    with pytest.raises(
        InputError,
        match=r"payers\..*' cannot be read as part of a saved settlement: .*; give the folder of a settlement",
    ):
        Settlement.load(tmp_path, format=kind)
    payers, accounts = found.save(tmp_path, format=kind)
    accounts.write_bytes(accounts.read_bytes()[: -len(accounts.read_bytes()) // 2])
    with pytest.raises(InputError, match=r"cannot be read as part|missing column|settlement: column"):
        Settlement.load(tmp_path, format=kind)
    accounts.write_bytes(payers.read_bytes())
    with pytest.raises(InputError, match="accounts: missing columns 'list_fen'"):
        Settlement.load(tmp_path, format=kind)
    with pytest.raises(InputError, match="format is 'xlsx'"):
        Settlement.load(tmp_path, format="xlsx")


# Programmes: several covers, fees, and the balance of all parties


def same(one, other):
    """Assert that two settlements have the same frames."""
    for name in ("payers", "accounts", "claims", "fees"):
        mine, theirs = getattr(one, name), getattr(other, name)
        assert (mine is None) == (theirs is None), name
        if mine is not None:
            assert_frame_equal(mine, theirs)


def summed(rows):
    """Sum (key, fen) pairs by key, without zeros."""
    found = {}
    for key, fen in rows:
        found[key] = found.get(key, 0) + int(fen)
    return {key: fen for key, fen in found.items() if fen}


def day_of(value):
    return None if pd.isna(value) else pd.Timestamp(value).normalize()


@given(covered_programmes(), N_ORDERS, seeds, st.integers(0, 40))
def test_settlements_of_programmes_sum_their_orders_and_add_up(programme, size, seed, cut):
    orders = orders_of(programme, size, seed)
    quotes = programme.price(orders, campaigns=True)
    found = Settlement.of(programme, orders, quotes)
    assert found.is_balanced
    assert (found.fees is not None) == bool(programme.fees)
    if len(programme.covers) > 1:
        assert found.accounts["filed_micro"].sum() == quotes["filed_micro"].sum()
    if programme.fees:
        by_hand = summed(
            ((fee.payer, fee.payee, fee.name, day_of(day), None if pd.isna(who) else who), fen)
            for fee in programme.fees
            for day, who, fen in zip(
                orders[fee.due or "ship_date"], orders["merchant_id"], quotes[f"fee: {fee.name}"], strict=True
            )
            if fee.due is None or not pd.isna(day)
        )
        rows = found.fees.itertuples()
        assert by_hand == summed(
            ((row.payer, row.payee, row.fee, day_of(row.day), row.merchant_id), row.fen) for row in rows
        )
    cut = min(cut, size)
    parts = [
        Settlement.of(programme, orders.iloc[rows], quotes.iloc[rows]) for rows in (slice(0, cut), slice(cut, size))
    ]
    same(parts[0] + parts[1], found)
    nothing = found - parts[1] - parts[0]
    for frame in (nothing.payers, nothing.accounts, *([] if nothing.fees is None else [nothing.fees])):
        assert not frame.select_dtypes("number").any().any()


@given(covered_programmes(), N_ORDERS, seeds)
def test_on_each_day_all_parties_paid_what_they_received(programme, size, seed):
    rng = np.random.default_rng(seed)
    orders = orders_of(programme, size, seed)
    quotes = programme.price(orders, campaigns=True)
    claims = orders.sample(min(size, 15), random_state=seed).reset_index(drop=True)
    n = len(claims)
    claims["freight"] = rng.integers(1, 9_000, n) / 100
    claims["report_date"] = claims["ship_date"].fillna(pd.Timestamp("2025-06-03")) + pd.Timedelta(days=2)
    claims["reversed_date"] = claims["report_date"].where(rng.random(n) < 0.4) + pd.Timedelta(days=3)
    claims["cover"] = rng.choice([cover.name for cover in programme.covers], n)
    payers = [ClaimPayer("platform", where={"tier": [1]}, share=0.5)]
    settled = settle(programme, claims, payers=payers)
    found = Settlement.of(programme, orders, quotes) + Settlement.of_claims(settled, claims)
    parties = found.by_party()
    by_kind = parties.groupby(["day", "kind"], dropna=False)[["paid_fen", "received_fen"]].sum()
    assert (by_kind["paid_fen"] == by_kind["received_fen"]).all()

    def flows():
        """Yield (day, payer, payee, kind, fen) of every order and claim."""
        for k, (shipped, completed) in enumerate(zip(orders["ship_date"], orders["completed"], strict=True)):
            row = quotes.iloc[k]
            yield shipped, "merchant", "insurer", "premium", row["merchant_fen"]
            for rule in programme.subsidies:
                yield shipped, rule.payer, "insurer", "subsidies", row[f"paid: {rule.name}"]
            for fee in programme.fees:
                if fee.due is None or not pd.isna(completed):
                    yield completed if fee.due else shipped, fee.payer, fee.payee, "fees", row[f"fee: {fee.name}"]
        for k, claim in enumerate(claims.itertuples()):
            row = settled.claims.iloc[k]
            for payer in ("insurer", "platform"):
                now = row[f"{payer}_fen"]
                yield claim.report_date, payer, "buyer", "claims", now if pd.isna(claim.reversed_date) else 0

    forward = list(flows())
    paid = summed(((day_of(day), kind, payer), fen) for day, payer, _, kind, fen in forward if kind != "claims")
    got = summed(((day_of(day), kind, payee), fen) for day, _, payee, kind, fen in forward if kind != "claims")
    rows = [row for row in parties.itertuples() if row.kind != "claims"]
    assert summed(((day_of(row.day), row.kind, row.party), row.paid_fen) for row in rows) == paid
    assert summed(((day_of(row.day), row.kind, row.party), row.received_fen) for row in rows) == got
    # A payment and its reversal cancel over all days, so the claims that stand are left.
    stands = summed((payer, fen) for _, payer, _, kind, fen in forward if kind == "claims")
    claim_rows = parties[parties["kind"] == "claims"]
    assert summed(zip(claim_rows["party"], claim_rows["paid_fen"], strict=True)) == stands
    # The insurer keeps what the accounts say, and merchants owe premium and fees.
    own = parties[(parties["party"] == "insurer") & parties["kind"].isin(["premium", "subsidies"])]
    assert own["received_fen"].sum() - own["paid_fen"].sum() == found.accounts["received_fen"].sum()
    if programme.fees and all(fee.due is None for fee in programme.fees):
        merchant = parties[parties["party"] == "merchant"]
        assert merchant["paid_fen"].sum() == quotes["merchant_total_fen"].sum()


@given(limited_programmes(), MODES, FLOORS, SIZES, seeds)
def test_a_programme_of_one_tariff_settles_as_the_tariff(rules, rounding, floor, size, seed):
    tariff, orders, quotes, found = settled(rules, rounding, floor, size, seed)
    programme = Programme("p", tariff)
    same(Settlement.of(programme, orders, programme.price(orders, campaigns=True)), found)
    assert str(Settlement.of(programme, orders, quotes)) == str(found)
    assert found.by_fund(programme).equals(found.by_fund(tariff))


def service_programme(**more):
    tariff = tariff_of([Subsidy("grant", "platform", fixed_fen=10)])
    return Programme("p", tariff, fees=[Fee("service", basis_points=60, of="paid_fen", **more)])


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_files_hold_fees_too(tmp_path, kind):
    programme = service_programme(due="completed")
    orders = orders_at(37, 3, paid_fen=10_000, completed=pd.to_datetime(["2025-06-07", None, "2025-06-09"]))
    found = Settlement.of(programme, orders, programme.price(orders, campaigns=True))
    assert found.fees[["day", "payer", "payee", "fee", "orders", "fen"]].astype({"day": str}).values.tolist() == [
        ["2025-06-07", "merchant", "platform", "service", 1, 60],
        ["2025-06-09", "merchant", "platform", "service", 1, 60],
    ]
    assert str(found) == (
        "Settlement: 3 orders, 1.11 yuan (rounding +0.00, floor +0.00); paid by merchant 0.81, platform 0.30; fees "
        "1.20 yuan; paid by merchant 1.20"
    )
    paths = found.save(tmp_path, format=kind)
    assert [path.stem for path in paths] == ["payers", "accounts", "fees"]
    same(Settlement.load(tmp_path, format=kind), found)
    without = Settlement(found.payers, found.accounts)
    with pytest.raises(InputError, match="has the fees of another settlement"):
        without.save(tmp_path, format=kind)
    same(without + found - without, found)


def test_a_fee_is_charged_once_its_day_is_known():
    programme = service_programme(due="completed")
    orders = orders_at(37, 2, paid_fen=10_000, completed=pd.to_datetime([None, None]))
    quotes = programme.price(orders, campaigns=True)
    first = Settlement.of(programme, orders, quotes)
    assert first.fees.empty
    assert set(first.by_party()["kind"]) == {"premium", "subsidies"}
    later = orders.assign(completed=pd.to_datetime(["2025-06-07", None]))
    again = Settlement.of(programme, later, quotes)
    total = first - first + again
    assert total.fees["fen"].tolist() == [60]
    with pytest.raises(InputError, match="missing column 'completed', the day on which fee 'service' is charged"):
        Settlement.of(programme, orders.drop(columns="completed"), quotes)
    with pytest.raises(InputError, match="missing column 'fee: service'"):
        Settlement.of(programme, orders, quotes.drop(columns="fee: service"))
    with pytest.raises(InputError, match="tariff is 3; it must be a Tariff, a Programme or Versions"):
        Settlement.of(3, orders, quotes)


def test_several_covers_need_their_filed_premium():
    first = tariff_of([])
    programme = Programme("p", [first, replace(first, name="transit")])
    orders = orders_at(37, 2)
    quotes = programme.price(orders)
    with pytest.raises(InputError, match="missing column 'filed_micro'"):
        Settlement.of(programme, orders, quotes.drop(columns="filed_micro"))
    with pytest.raises(InputError, match="'filed_micro' is no whole number of micro-yuan in 2 rows"):
        Settlement.of(programme, orders, quotes.assign(filed_micro=0.5))
    found = Settlement.of(programme, orders, quotes)
    assert found.accounts["filed_micro"].tolist() == [2 * 2 * 370_000]


def test_the_name_of_the_insurer_receives_the_premium():
    programme = service_programme(payee="picc")
    orders = orders_at(37, 2, paid_fen=10_000)
    found = Settlement.of(programme, orders, programme.price(orders, campaigns=True), insurer="picc")
    parties = found.by_party(insurer="picc").drop(columns="day").values.tolist()
    assert parties == [
        ["merchant", "fees", 120, 0],
        ["merchant", "premium", 54, 0],
        ["picc", "fees", 0, 120],
        ["picc", "premium", 0, 54],
        ["picc", "subsidies", 0, 20],
        ["platform", "subsidies", 20, 0],
    ]
    assert (found - found).by_party()[["paid_fen", "received_fen"]].sum().tolist() == [0, 0]
    claims = pd.DataFrame({"order_id": [1], "freight": [3.0], "report_date": "2025-06-09", "merchant_id": "m1"})
    owed = Settlement.of_claims(settle(programme, claims), claims).by_party(insurer="picc")
    assert owed.drop(columns="day").values.tolist() == [["buyer", "claims", 0, 300], ["picc", "claims", 300, 0]]
    with pytest.raises(InputError, match="insurer is 3"):
        found.by_party(insurer=3)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_files_without_any_fee_due_are_read_again(tmp_path, kind):
    programme = service_programme(due="completed")
    orders = orders_at(37, 2, paid_fen=10_000, completed=pd.to_datetime([None, None]))
    found = Settlement.of(programme, orders, programme.price(orders, campaigns=True))
    found.save(tmp_path, format=kind)
    again = Settlement.load(tmp_path, format=kind)
    assert again.fees.empty
    assert_frame_equal((again + found).fees, found.fees, check_dtype=False)
    with pytest.raises(InputError, match="fees: missing column"):
        Settlement(found.payers, found.accounts, None, found.payers)
