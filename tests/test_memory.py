"""Memory: whatever a call is given, no kernel leaves its arrays, and nothing that another tariff made is priced."""

import pickle
import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freightrisk import (
    Band,
    ByLevel,
    Cover,
    Factor,
    Limit,
    Loadings,
    Subsidy,
    _blocks,
    _codes,
    _core,
    _fit,
    _plan,
    _rounding,
    _settle,
    load_tariff,
)
from freightrisk.book.codings import Coding
from freightrisk.errors import InputError
from freightrisk.tariff.plan import price_plan
from freightrisk.tariff.rates import RateTables
from strategies import blank, draw_batch, draw_codes, put_together, rate_tables, seeds, slots_of, tariffs

GRANT = Subsidy("grant", "platform", fixed_fen=5)
BUDGET = Subsidy("budget", "platform", fixed_fen=5, budget_fen=40)
CAPPED = Subsidy("cap", "insurer", percent_of_list=0.2, merchant_cap_fen=9, period="day")
RULES = [(), (GRANT,), (BUDGET,), (GRANT, CAPPED), (BUDGET, CAPPED, GRANT)]
ROUNDINGS = ["half_even", "dither", "carry"]


def tariff_of(rules=(), rounding="half_even", *, seed=0, factors=("zone", "channel")):
    rng = np.random.default_rng(seed)
    return put_together(
        frequency=rate_tables(list(factors), rng, 0.05),
        severity=rate_tables(["zone"], rng, 9.0),
        subsidies=rules,
        rounding=rounding,
        dither_key="a secret" if rounding == "dither" else "",
    )


def some_orders(n=40):
    frame = draw_batch(np.random.default_rng(3), n)
    return frame.assign(merchant_id=frame["merchant_id"].fillna("m1"))


def or_refusal(call, *given, **more):
    """Return what a call returns, or what it says when it refuses."""
    try:
        return call(*given, **more)
    except InputError as error:
        return str(error)


KINDS = st.tuples(st.sampled_from(RULES), st.sampled_from(ROUNDINGS))


@given(KINDS, KINDS, *[st.booleans()] * 4, seeds)
def test_buffers_of_any_tariff_give_the_right_fen_or_are_refused(
    own, other, detail, campaigns, detailed, itemised, seed
):
    tariff, coded = tariff_of(*own), tariff_of(*own).encode(some_orders())
    buffers = tariff_of(*other).buffers(45, detail=detailed, campaigns=itemised)
    rng = np.random.default_rng(seed)
    for field in fields(buffers):
        array = getattr(buffers, field.name)
        array.view(np.uint8)[...] = rng.integers(0, 2, array.view(np.uint8).shape) * (1 if array.dtype == bool else 77)
    asked = {"threads": 1, "detail": detail, "campaigns": campaigns}
    found = or_refusal(tariff.price_columns, coded, buffers=buffers, **asked)
    if isinstance(found, str):
        assert own != other or (detail, campaigns) != (detailed, itemised)
        assert "make new ones" in found
        return
    right = tariff.price_columns(coded, **asked)
    assert found.keys() == right.keys()
    for name, values in right.items():
        np.testing.assert_array_equal(found[name], values)


def wrong_arrays(array):
    """Yield arrays that are not the one that was asked for."""
    yield array[..., :-1].copy()
    yield np.zeros(array.shape, dtype=np.float32)
    yield np.ascontiguousarray(array[None])
    yield array.repeat(2, axis=-1)[..., ::2]
    yield array.tolist()
    yield None
    locked = array.copy()
    locked.flags.writeable = False
    yield locked


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_every_wrong_array_of_buffers_is_refused_by_name(rounding):
    tariff = tariff_of((BUDGET, CAPPED), rounding)
    coded = tariff.encode(some_orders())
    buffers = tariff.buffers(40, campaigns=True)
    for field in fields(buffers):
        array = getattr(buffers, field.name)
        for k, wrong in enumerate(wrong_arrays(array) if array.size else ()):
            other = replace(buffers, **{field.name: wrong})
            found = or_refusal(tariff.price_columns, coded, threads=1, campaigns=True, buffers=other)
            assert isinstance(found, str), f"{field.name} {k} was taken"
            assert field.name in found or "buffers hold" in found


@given(tariffs(), tariffs(), seeds)
def test_orders_of_another_tariff_are_refused_at_every_call(one, other, seed):
    frame = some_orders(20)
    coded = one.encode(frame)
    for price in (other.price, lambda coded: other.price_columns(coded, threads=1)):
        found = or_refusal(price, coded)
        if isinstance(found, str):
            assert one.key != other.key
            assert "encoded for a tariff with other levels" in found
            continue
        right = other.price(frame)
        for name in right:
            np.testing.assert_array_equal(np.asarray(found[name]), right[name].to_numpy())


def coded_as(levels):
    paths = tuple((level,) for level in levels)
    coding = Coding(Factor("tier"), paths, {path: k for k, path in enumerate(paths)})
    rates = RateTables(0.1, {"tier": np.ones(len(paths) + 1)})
    return replace(tariff_of(), codings={"tier": coding}, frequency=rates, severity=RateTables(9.0, {}), subsidies=())


def test_keys_tell_apart_what_python_calls_equal():
    keys = [coded_as(levels).key for levels in ([1, 2], [True, 2], [1.0, 2], ["1", 2], ["1", "2"], [2, 1])]
    assert len(set(keys)) == len(keys)


@given(tariffs())
def test_keys_outlive_documents_and_pickles(tmp_path_factory, tariff):
    path = tmp_path_factory.mktemp("key") / "tariff.json"
    tariff.save(path)
    assert load_tariff(path).key == pickle.loads(pickle.dumps(tariff)).key == tariff.key


def test_keys_are_the_same_in_another_process(tmp_path):
    tariff = tariff_of((GRANT, CAPPED), "dither")
    tariff.save(tmp_path / "tariff.json")
    (tmp_path / "orders.pickle").write_bytes(pickle.dumps(tariff.encode(some_orders())))
    code = (
        "import pickle, sys, freightrisk as fr\n"
        "tariff, coded = fr.load_tariff(sys.argv[1]), pickle.load(open(sys.argv[2], 'rb'))\n"
        "print(tariff.key, int(tariff.price(coded)['list_fen'].sum()))"
    )
    names = [str(tmp_path / name) for name in ("tariff.json", "orders.pickle")]
    told = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, check=True).stdout
    assert told.split() == [tariff.key, str(tariff.price(some_orders())["list_fen"].sum())]


def test_no_secret_is_in_encoded_orders():
    assert b"a secret" not in pickle.dumps(tariff_of((), "dither").encode(some_orders()))


def test_what_the_kernel_trusts_cannot_be_written_to():
    coded = tariff_of((BUDGET, CAPPED), "carry").encode(some_orders().iloc[::-1])
    arrays = [*coded.columns.arrays, coded.sequence.permutation, coded.sequence.merchants, coded.sequence.keys]
    assert all(array.size and not array.flags.writeable for array in arrays)
    with pytest.raises(InputError, match="coded orders are damaged"):
        replace(coded, n_orders=41)
    with pytest.raises(InputError, match="coded orders are damaged"):
        replace(coded, sequence=replace(coded.sequence, permutation=coded.sequence.permutation + 1))


@pytest.mark.parametrize("given", [None, 5, "orders", pd.DataFrame({"zone": ["near"]})])
def test_what_is_no_encoded_orders_is_refused(given):
    with pytest.raises(InputError, match=r"coded is a .*; give the result of encode\(orders\)"):
        tariff_of().price_columns(given, threads=1)


def test_a_coding_names_no_code_beyond_its_levels():
    whole = coded_as(["a", "b"]).codings["tier"]
    for code in (3, -1, 10**6, 1.0):
        with pytest.raises(InputError, match="codes of factor 'tier' are not below its"):
            replace(whole, lookup={("a",): 0, ("b",): code})
    with pytest.raises(TypeError, match="does not change"):
        whole.lookup["a",] = 9
    with pytest.raises(InputError, match="codes of factor 'kg' are not below its 3 levels"):
        Coding(Band("kg", [1, 2, 3]), ((0,), (1,)), {(0,): 0, (1,): 1}, (1.0, 2.0, 3.0))


# The kernels

N = 700  # more than one block of rows


def call_of(tariff, **changes):
    """Return the arguments of the pricing kernel by name, some of them changed."""
    rng = np.random.default_rng(1)
    columns = _blocks.CodeColumns(draw_codes(tariff, rng, N), np.array(slots_of(tariff), dtype=np.int64), N)
    out = blank(tariff, N)
    arguments = {
        "columns": columns,
        "plan": price_plan(tariff.pricer.plan_arguments),
        "start": 0,
        "stop": N,
        "detail_out": out.detail,
        "list_out": out.list_fen,
        "payers_out": out.payers,
        "merchant_out": out.merchant_fen,
        "flags_out": out.flags,
        "money": money_of(tariff),
        "spent_out": np.zeros(len(tariff.subsidies), dtype=np.int64),
    }
    return arguments | changes


def money_of(tariff, **changes):
    columns = {
        "draws": np.zeros(N, dtype=np.uint16),
        "micro": np.zeros(N, dtype=np.int64),
        "rounded": np.zeros(N, dtype=np.int32),
        "masks": np.zeros(N, dtype=np.uint64),
        "paid": np.zeros((len(tariff.subsidies), N), dtype=np.int32),
        "beside": np.zeros(N, dtype=np.int64),
        "sums": np.zeros((2, N)),
    }
    return _settle.MoneyColumns(**{name: changes.get(name, column) for name, column in columns.items()})


def shorter(array):
    """Return an array with one row less."""
    return np.ascontiguousarray(array[..., :-1])


REFUSED = "a kernel was given"


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_pricing_refuses_outputs_that_are_too_short(rounding):
    tariff = tariff_of((BUDGET, GRANT), rounding)
    whole = call_of(tariff)
    _core.price(**whole)
    for name in ("detail_out", "list_out", "payers_out", "merchant_out", "flags_out", "spent_out"):
        with pytest.raises(ValueError, match=REFUSED):
            _core.price(**whole | {name: shorter(whole[name])})
    with pytest.raises(ValueError, match=REFUSED):
        _core.price(**whole | {"payers_out": whole["payers_out"][:0]})
    for bounds in ((0, N + 1), (-1, N), (N, N + 1), (2**40, 2**41)):
        with pytest.raises(ValueError, match=REFUSED):
            _core.price(**whole | dict(zip(("start", "stop"), bounds, strict=True)))
    for column in ("draws", "micro", "rounded", "masks", "paid", "beside", "sums"):
        short = np.zeros(N - 1, np.int64)
        kinds = {"draws": np.uint16, "micro": np.int64, "rounded": np.int32, "masks": np.uint64, "beside": np.int64}
        wide = {"paid": np.zeros((2, N - 1), np.int32), "sums": np.zeros((2, N - 1))}
        wrong = wide[column] if column in wide else short.astype(kinds[column])
        with pytest.raises(ValueError, match=REFUSED):
            _core.price(**whole | {"money": money_of(tariff, **{column: wrong})})
    if rounding != "half_even":
        with pytest.raises(ValueError, match=REFUSED):
            _core.price(**whole | {"money": None})


def test_settling_refuses_outputs_and_limits_that_are_too_short():
    tariff = tariff_of((BUDGET, CAPPED))
    given = call_of(tariff)
    del given["columns"], given["detail_out"]
    keys = {
        "budget": np.full(2, 40),
        "keys": np.zeros((1, N), dtype=np.int32),
        "rule_keys": np.array([-1, 0], dtype=np.int32),
        "rule_start": np.zeros(2, dtype=np.int64),
        "left": np.full(1, 9),
        "budget_met": np.zeros(2, dtype=np.uint8),
        "left_met": np.zeros(1, dtype=np.uint8),
    }
    money = money_of(tariff, rounded=np.full(N, 50, np.int32), masks=np.full(N, 3, np.uint64))

    def settle(limits=None, **changes):
        _settle.settle(**given | {"money": money} | changes, limits=_settle.Limits(**keys | (limits or {})))

    settle()
    for name in ("list_out", "payers_out", "merchant_out", "flags_out", "spent_out"):
        with pytest.raises(ValueError, match=REFUSED):
            settle(**{name: shorter(given[name])})
    for name, array in keys.items():
        with pytest.raises(ValueError, match=REFUSED):
            settle({name: shorter(array)})
    for astray in ({"keys": keys["keys"] + 1}, {"rule_start": keys["rule_start"] - 1}, {"rule_keys": np.ones(2, "i4")}):
        with pytest.raises(ValueError, match=REFUSED):
            settle(astray)
    with pytest.raises(ValueError, match=REFUSED):
        settle(money=money_of(tariff, masks=np.empty(0, np.uint64)))


def changed(plan, part, name, value):
    """Return a plan's arguments with one of a part, or of its own, in place of what it has."""
    return plan | ({part: plan[part] | {name: value}} if part else {name: value})


def test_a_plan_refuses_tables_that_are_shorter_than_their_columns():
    tariff = tariff_of((BUDGET, replace(GRANT, where={"channel": ["store"]})), factors=("zone", "channel", "weight_kg"))
    whole = tariff.pricer.plan_arguments
    price_plan(whole)
    parts = {part: value for part, value in whole.items() if isinstance(value, dict)} | {"": whole}
    arrays = {
        (part, name): array
        for part, values in parts.items()
        for name, array in values.items()
        if isinstance(array, np.ndarray) and len(array)
    }
    expected = {("", "sizes"), ("", "known"), ("fused", "first"), ("rules", "cap")}
    assert expected | {(part, "entries") for part in ("frequency", "pairs", "masks")} <= arrays.keys()
    for (part, name), array in arrays.items():
        if name == "pieces":
            continue
        with pytest.raises(ValueError, match=REFUSED):
            price_plan(changed(whole, part, name, array[:-1]))
        if name in ("offsets", "columns") or part == "fused":
            for beyond in (array + 10**6, array - 10**6):
                with pytest.raises(ValueError, match=REFUSED):
                    price_plan(changed(whole, part, name, beyond))
    for name, value in (("curves", 0), ("column", 40), ("curves", 7)):
        with pytest.raises(ValueError, match=REFUSED):
            price_plan(changed(whole, "count_curve", name, value))
    with pytest.raises(TypeError, match="incorrect type"):
        _plan.PricePlan(**whole)  # whose parts are mappings still


SHARE = Limit("custom", 30.0, share=0.05, of="price", where={"channel": ["store"]})
RULED = Cover(limits=[Limit("base", 9.0), Limit("city", 12.0, where={"zone": ["city"]}, priority=1), SHARE])


def test_a_plan_refuses_limits_that_do_not_belong_together():
    tariff = put_together(frequency=RateTables(0.1, {}), severity=RateTables(8.0, {}), cover=RULED)
    whole = tariff.pricer.plan_arguments
    price_plan(whole)
    rules = whole["limit_rules"]
    wrong = [{name: rules[name][:-1]} for name in ("amount", "share", "measure", "rivals", "ends")]
    wrong += [{"ends": rules["ends"][::-1].copy()}, {"ends": rules["ends"] + 1}, {"choose": 3}, {"choose": -1}]
    wrong += [{"measure": rules["measure"] - 1}]
    masks = rules["masks"]
    wrong += [{"masks": masks | {name: masks[name][:-1]}} for name in ("columns", "offsets", "entries")]
    wrong += [
        {"masks": masks | {"offsets": masks["offsets"] + 1}},
        {"masks": masks | {"columns": masks["columns"] + 9}},
    ]
    wrong += [{"masks": masks | {"entries": masks["entries"] | np.uint64(1 << bit)}} for bit in (3, 31, 63)]
    table = {"columns": np.array([0], "i4"), "offsets": np.array([0], "i8"), "entries": np.ones(7)}
    wrong += [{"shares": rules["shares"] | table}]
    for change in wrong:
        with pytest.raises(ValueError, match=REFUSED):
            price_plan(changed(whole, "", "limit_rules", rules | change))
    terms = whole["payout_terms"]
    with pytest.raises(ValueError, match=REFUSED):
        price_plan(changed(whole, "", "payout_terms", terms | {"measure": -2}))


def test_a_plan_refuses_loads_by_level_that_are_shorter_than_their_column():
    loads = Loadings(fraud_load=ByLevel("zone", {"far": 0.1}, default=0.0),
                     filed_factor=ByLevel("zone", {"far": 1.1}, default=1.0))  # fmt: skip
    whole = replace(tariff_of(factors=("zone",)), loadings=loads).pricer.plan_arguments
    price_plan(whole)
    for part in ("with_fraud", "filed_factor"):
        table = whole["loads"][part]
        wrong = [{name: table[name][:-1]} for name in ("columns", "offsets", "entries")]
        wrong += [{"offsets": table["offsets"] + 1}, {"offsets": table["offsets"] - 1}]
        wrong += [{"columns": table["columns"] + 9}, {"columns": table["columns"] - 9}]
        for change in wrong:
            with pytest.raises(ValueError, match=REFUSED):
                price_plan(changed(whole, "loads", part, table | change))


def test_amounts_that_are_too_few_never_reach_the_kernel():
    tariff = put_together(frequency=RateTables(0.1, {}), severity=RateTables(8.0, {}), cover=RULED)
    call = call_of(tariff)
    n = call["stop"]
    _core.price(**call, measures=np.ones((1, n)))
    for measures in (None, np.ones((0, n)), np.ones((1, n - 1))):
        with pytest.raises(ValueError, match="fewer measures than the plan reads"):
            _core.price(**call, measures=measures)


def test_codes_of_another_plan_are_refused():
    tariff, other = tariff_of(), tariff_of(factors=("zone", "category"))
    with pytest.raises(ValueError, match="codes of another plan"):
        _core.price(**call_of(tariff, columns=call_of(other)["columns"]))


@pytest.mark.parametrize(
    ("codes", "sizes", "rows"),
    [
        ([np.zeros(3, np.uint8)], [2], 4),
        ([np.zeros(3, np.uint8)], [2, 2], 3),
        ([np.zeros(3, np.int64)], [2], 3),
        ([np.zeros((3, 1), np.uint8)], [2], 3),
        ([np.zeros(1, np.uint8)] * 49, [2] * 49, 1),
        ([], [], -1),
    ],
)
def test_columns_of_codes_are_of_one_length_and_a_known_type(codes, sizes, rows):
    with pytest.raises(ValueError, match=REFUSED):
        _blocks.CodeColumns(codes, np.array(sizes, dtype=np.int64), rows)


def test_the_other_kernels_refuse_arrays_that_are_too_short():
    bytes_, doubles = np.zeros(8, np.uint8), np.zeros(8)
    edges = np.array([1.0, np.inf])
    calls = [
        (_codes.recode, (bytes_, 1, np.zeros(4, np.uint8), 1, 0, 8, bytes_.copy()), (0, 6)),
        (_codes.pair_categories, (bytes_, 1, 2, 0, 8, np.zeros(8, np.int32), np.zeros(2, np.uint8)), (0, 5, 6)),
        (_codes.band_codes, (doubles, edges, 0, 8, bytes_.copy()), (0, 1, 4)),
        (_settle.spread_flags, (bytes_, 0, 8, np.zeros((4, 8), np.uint8)), (0, 3)),
        (_rounding.carry, (np.zeros(8, np.int64), np.zeros(8, np.int32), np.arange(8), np.zeros(1, np.int64),
                       np.zeros(8, np.int32)), (1, 2, 3, 4)),
        (_codes.keyed_hash, (np.zeros((8, 2), np.uint8), True, 1, 2, np.zeros(8, np.uint64)), (4,)),
    ]  # fmt: skip
    for kernel, arguments, places in calls:
        kernel(*arguments)
        for place in places:
            wrong = list(arguments)
            wrong[place] = np.zeros(3) if kernel is _codes.band_codes and place == 1 else shorter(arguments[place])
            if kernel is _codes.pair_categories and place == 6:
                wrong[0], wrong[5] = np.ones(8, np.uint8), np.zeros(8, np.int32)
            with pytest.raises(ValueError, match=REFUSED):
                kernel(*wrong)
    with pytest.raises(ValueError, match=REFUSED):
        _rounding.carry(
            np.zeros(8, np.int64), np.ones(8, np.int32), np.arange(8), np.zeros(1, np.int64), np.zeros(8, "i4")
        )


def test_the_fit_refuses_arrays_that_are_too_short():
    ones = [np.ones(8)] * 3 + [np.empty(0)]
    whole = {
        "family": _fit.FAMILIES["poisson"],
        "parameter": 0.0,
        "columns": _blocks.CodeColumns([np.arange(8, dtype=np.uint8)], np.array([8]), 8),
        "offsets": np.zeros(1, np.int64),
        "base": 0.0,
        "tables": np.zeros(8),
        "values": _fit.RowValues(ones),
        "start": 0,
        "stop": 8,
        "members": np.zeros(1, np.int32),
        "firsts": np.array([0, 1], np.int32),
        "places": np.zeros(1, np.int64),
        "n_gradients": 1,
        "cells_out": np.zeros(16),
        "sums_out": np.zeros(4),
    }
    _fit.accumulate(**whole)
    for name in ("offsets", "tables", "members", "places", "cells_out", "sums_out"):
        with pytest.raises(ValueError, match=REFUSED):
            _fit.accumulate(**whole | {name: shorter(whole[name])})
    wrong = [
        {"values": _fit.RowValues([np.ones(8), np.ones(7), np.ones(8), np.empty(0)])},
        {"stop": 9},
        {"start": -1},
        {"members": np.ones(1, np.int32)},
        {"firsts": np.array([0, 2], np.int32)},
        {"places": np.array([1])},
        {"family": len(_fit.FAMILIES)},
        {"family": -1},
        {"offsets": np.array([-1])},
    ]
    for changes in wrong:
        with pytest.raises(ValueError, match=REFUSED):
            _fit.accumulate(**whole | changes)
