"""The pricing kernel against its slow twin, and its money against a judge that knows the rules only in words."""

import itertools
from dataclasses import dataclass, replace
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from freightrisk import Cover, Interval, Subsidy, _blocks, _check, _core, _plan, _reference, _settle
from freightrisk.errors import InputError
from freightrisk.tariff.plan import RateTables, price_plan
from strategies import (
    CODINGS,
    FEW,
    blank,
    changed,
    coded_tariffs,
    draw_codes,
    draw_orders,
    orders,
    programmes,
    put_together,
    rate_tables,
    run_kernel,
    seeds,
    slots_of,
    tariffs,
)

# The judge: raw order values in, Decimal all through, nothing of the package but the rules' own fields.


def whole(amount):
    """Round a Decimal to a whole number, ties to even."""
    return int(amount.to_integral_value(rounding=ROUND_HALF_EVEN))


def is_missing(value):
    return value is None or value is pd.NaT or value != value


def meets(condition, value):
    if is_missing(value):
        return False
    if isinstance(condition, Interval):
        return condition.above < value <= condition.at_most
    return value in condition


def is_eligible(rule, order):
    if not all(meets(condition, order[column]) for column, condition in rule.where.items()):
        return False
    if rule.start is None and rule.end is None:
        return True
    day = order["ship_date"]
    if is_missing(day):
        return False
    return (rule.start or date.min) <= day.date() <= (rule.end or date.max)


def offered_fen(rule, order, listed, rest, floor):
    """What a rule would pay: its amount, at most the cap, at most what the floor leaves."""
    if not is_eligible(rule, order):
        return 0
    if rule.percent_of_list is not None:
        fen = whole(Decimal(str(rule.percent_of_list)) * listed)
    elif rule.percent_of_rest is not None:
        fen = whole(Decimal(str(rule.percent_of_rest)) * rest)
    elif rule.fixed_fen is not None:
        fen = rule.fixed_fen
    else:
        fen = rest - rule.price_to_fen
    if rule.cap_fen is not None:
        fen = min(fen, rule.cap_fen)
    return max(0, min(fen, rest - floor))


@dataclass(frozen=True)
class Filed:
    """What the filing says of the price: factor and limits, in micro-yuan, and the floor in fen."""

    micro_factor: Decimal
    lowest: int
    highest: int
    floor: int

    @classmethod
    def of(cls, tariff):
        loads = tariff.loadings
        lowest, highest = (whole(Decimal(str(limit)) * 10**6) for limit in (loads.filed_min, loads.filed_max))
        return cls(Decimal(loads.filed_factor) * 10**6, lowest, highest, tariff.floor_fen)

    def price(self, technical):
        """Return the list price, and whether the floor and the filed limits bound it."""
        micro = whole(Decimal(technical) * self.micro_factor)
        filed = min(max(micro, self.lowest), self.highest)
        fen = whole(Decimal(filed) / 10**4)
        return max(fen, self.floor), fen < self.floor, filed != micro


def judge(technical, order, filed, rules):
    """Return list price, fen by payer, the merchant's fen, and the floor and filed flags, of one order."""
    listed, floor_bound, filed_bound = filed.price(technical)
    paid = {rule.payer: 0 for rule in rules}
    rest, settled = listed, set()
    for rule in rules:
        if rule.group in settled:
            continue
        rivals = [rule]
        if rule.group is not None:
            rivals = [rival for rival in rules if rival.group == rule.group]
            settled.add(rule.group)
        offers = [offered_fen(rival, order, listed, rest, filed.floor) for rival in rivals]
        best = offers.index(max(offers))
        paid[rivals[best].payer] += offers[best]
        rest -= offers[best]
    return listed, paid, rest, floor_bound or (rest == filed.floor and rest < listed), filed_bound


def check_against_judge(tariff, rules, frame):
    """Hold every fen column and money flag of a priced frame against the judge."""
    priced = tariff.price(frame, threads=1)
    payers = tuple(dict.fromkeys(rule.payer for rule in rules))
    fen = zip(*(priced[f"{payer}_fen"].tolist() for payer in payers), strict=True) if payers else [()] * len(frame)
    names = ("technical_premium", "list_fen", "merchant_fen", "floor_bound", "filed_bound")
    told = zip(*(priced[name].tolist() for name in names), fen, strict=True)
    with localcontext(prec=400):
        filed = Filed.of(tariff)
        for order, (technical, *kernel) in zip(frame.to_dict("records"), told, strict=True):
            listed, paid, rest, floor_bound, filed_bound = judge(technical, order, filed, rules)
            assert kernel == [listed, rest, floor_bound, filed_bound, tuple(paid[payer] for payer in payers)]
    check_ledger(priced, tariff)


def check_ledger(priced, tariff):
    """Payers and merchant sum to the list price, nobody is paid, the merchant never pays less than the floor."""
    payers = [priced[f"{payer}_fen"].to_numpy() for payer in tariff.payers]
    merchant, listed = priced["merchant_fen"].to_numpy(), priced["list_fen"].to_numpy()
    np.testing.assert_array_equal(sum(payers) + merchant, listed)
    assert all((fen >= 0).all() for fen in [*payers, merchant, listed])
    assert (merchant >= tariff.floor_fen).all()


@st.composite
def tariffs_with_rules(draw):
    """A tariff and its subsidies in the order in which the user wrote them."""
    rules = draw(programmes())
    return draw(tariffs(programme=st.just(rules))), rules


@given(tariffs_with_rules(), orders())
def test_money_is_what_the_judge_says(tariff_and_rules, frame):
    tariff, rules = tariff_and_rules
    check_against_judge(tariff, rules, frame)


@pytest.mark.slow
@settings(
    max_examples=100, phases=[Phase.generate], derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
@given(tariffs_with_rules(), seeds)
def test_money_of_100_000_orders_is_what_the_judge_says(tariff_and_rules, seed):
    tariff, rules = tariff_and_rules
    check_against_judge(tariff, rules, draw_orders(np.random.default_rng(seed), 1_000))


@given(coded_tariffs(sizes=FEW))
def test_kernel_is_its_slow_twin_to_the_last_bit(tariff_and_codes):
    tariff, codes = tariff_and_codes
    n = len(codes[0]) if codes else 3
    priced = run_kernel(tariff, codes, n)
    for k in range(n):
        order = _reference.price_order(
            [int(column[k]) for column in codes], tariff.pricer.plan_arguments, len(tariff.payers)
        )
        assert [order.claim_intensity, order.expected_claims, order.expected_payout] == priced.detail[:3, k].tolist()
        assert [order.pure_premium, order.technical_premium] == priced.detail[3:, k].tolist()
        assert order.list_fen == priced.list_fen[k]
        assert order.payers_fen == tuple(priced.payers[:, k].tolist())
        assert order.merchant_fen == priced.merchant_fen[k]
        assert order.flags == priced.flags[k]


@given(coded_tariffs(), st.data())
def test_cutting_the_rows_changes_nothing(tariff_and_codes, data):
    tariff, codes = tariff_and_codes
    n = len(codes[0]) if codes else 700
    cuts = sorted({0, n, *data.draw(st.lists(st.integers(0, n), max_size=6))})
    pieces = data.draw(st.permutations(list(itertools.pairwise(cuts))))
    assert run_kernel(tariff, codes, n, pieces).same_as(run_kernel(tariff, codes, n))


@given(coded_tariffs(), seeds)
def test_row_order_changes_nothing(tariff_and_codes, seed):
    tariff, codes = tariff_and_codes
    assume(codes)
    order = np.random.default_rng(seed).permutation(len(codes[0]))
    shuffled = run_kernel(tariff, [column[order] for column in codes], len(order))
    assert shuffled.same_as(run_kernel(tariff, codes, len(order)).rows(order))


@given(coded_tariffs())
def test_width_of_the_codes_changes_nothing(tariff_and_codes):
    tariff, codes = tariff_and_codes
    assume(codes)
    n = len(codes[0])
    wide = run_kernel(tariff, [column.astype(np.uint32) for column in codes], n)
    for width in (np.uint8, np.uint16):
        narrow = [
            column.astype(width) if slots <= np.iinfo(width).max + 1 else column.astype(np.uint32)
            for column, slots in zip(codes, slots_of(tariff), strict=True)
        ]
        assert run_kernel(tariff, narrow, n).same_as(wide)


@given(coded_tariffs())
def test_intensity_is_the_base_times_every_factors_own_table(tariff_and_codes):
    # Kernel and twin both read fused tables; this does not.
    tariff, codes = tariff_and_codes
    n = len(codes[0]) if codes else 5
    steps = run_kernel(tariff, codes, n).detail
    column = dict(zip(tariff.tabled, codes, strict=False))
    for rates, found in ((tariff.frequency, steps[0]), (tariff.severity, steps[2])):
        expected = np.full(n, rates.base)
        for name, table in rates.tables.items():
            expected = expected * table[column[name]]
        if rates is tariff.severity and (tariff.shares or tariff.limit_curve is not None):
            assert (found <= expected * (1.0 + 1e-6)).all()
        else:
            np.testing.assert_allclose(found, expected, rtol=1e-13)


@given(coded_tariffs())
def test_leaving_out_the_detail_changes_no_fen(tariff_and_codes):
    tariff, codes = tariff_and_codes
    n = len(codes[0]) if codes else 5
    columns = _blocks.CodeColumns(codes, np.array(slots_of(tariff), dtype=np.int64), n)
    out = replace(blank(tariff, n), detail=np.empty((0, 0)))
    plan = price_plan(tariff.pricer.plan_arguments)
    _core.price(columns, plan, 0, n, out.detail, out.list_fen, out.payers, out.merchant_fen, out.flags)
    full = run_kernel(tariff, codes, n)
    assert replace(full, detail=out.detail).same_as(out)


# Money of any size: filed limits that meet force the micro-yuan. Ties, whole fen and their neighbours come often.
MICRO = st.one_of(
    st.integers(0, 10**13),
    st.builds(
        lambda fen, off: max(0, min(10_000 * fen + off, 10**13)), st.integers(0, 10**9), st.sampled_from(range(-1, 2))
    ),
    st.builds(lambda fen, off: 10_000 * fen + 5_000 + off, st.integers(0, 10**9 - 1), st.sampled_from(range(-1, 2))),
)


@given(
    micro=MICRO,
    mode=st.sampled_from(["half_even", "half_up", "ceiling", "down", "dither"]),
    points=st.integers(1, 10_000),
    draw=st.integers(0, 9_999),
)
@settings(max_examples=200)
def test_money_of_any_size_is_rounded_exactly(micro, mode, points, draw):
    rules = [
        Subsidy("list", "platform", percent_of_list=points / 10_000, cap_fen=10**9),
        Subsidy("rest", "insurer", percent_of_rest=points / 10_000),
    ]
    plain = RateTables(0.05, {})
    tariff = put_together(frequency=plain, severity=plain, subsidies=rules, floor_fen=0)
    given = tariff.pricer.plan_arguments
    filed = {"filed_min_micro": float(micro), "filed_max_micro": float(micro)}
    arguments = given | {"loads": given["loads"] | filed, "rounding": _plan.ROUNDING_MODES[mode]}
    none = np.empty(0, dtype=np.int64)
    columns, out = _blocks.CodeColumns([], none, 1), blank(tariff, 1)
    drawn = np.array([draw], dtype=np.uint16)
    money = _settle.MoneyColumns(
        drawn, none, none.astype(np.int32), none.astype(np.uint64), np.empty((0, 0), np.int32), none, np.empty((0, 0))
    )
    plan = price_plan(arguments)
    _core.price(columns, plan, 0, 1, out.detail, out.list_fen, out.payers, out.merchant_fen, out.flags, money)
    priced = _reference.price_order([], arguments, 2, draw=draw)
    assert out.list_fen[0] == priced.list_fen
    assert out.payers[:, 0].tolist() == list(priced.payers_fen)
    assert out.merchant_fen[0] == priced.merchant_fen


@pytest.fixture
def tariff():
    rng = np.random.default_rng(5)
    return put_together(
        frequency=rate_tables(["channel", "merchant_class", "category"], rng, 0.05),
        severity=rate_tables(["zone", "weight_kg"], rng, 9.0),
        cover=Cover(limit=20.0),
        subsidies=[
            Subsidy("live", "platform", percent_of_list=0.2, where={"channel": ["live_stream"]}, cap_fen=50),
            Subsidy("score", "insurer", percent_of_rest=0.1, where={"experience_score": Interval(above=4.8)}),
        ],
    )


def test_rows_outside_the_piece_are_left_alone(tariff):
    codes = draw_codes(tariff, np.random.default_rng(1), 2000)
    priced = run_kernel(tariff, codes, 2000, [(700, 1300)])
    outside = np.r_[0:700, 1300:2000]
    assert priced.rows(outside).same_as(blank(tariff, len(outside)))
    assert priced.rows(np.arange(700, 1300)).same_as(run_kernel(tariff, [c[700:1300].copy() for c in codes], 600))


@pytest.mark.parametrize("n", [0, 1, 511, 512, 513, 1024])
def test_sizes_around_a_block(tariff, n):
    codes = draw_codes(tariff, np.random.default_rng(n), 1024)
    first = run_kernel(tariff, [column[:n].copy() for column in codes], n)
    assert first.same_as(run_kernel(tariff, codes, 1024).rows(slice(0, n)))


def test_read_only_and_strided_codes(tariff):
    codes = draw_codes(tariff, np.random.default_rng(2), 1200)
    expected = run_kernel(tariff, [column[::2].copy() for column in codes], 600)
    for column in codes:
        column.setflags(write=False)
    names = [f"column {k}" for k in range(len(codes))]
    sizes = dict(zip(names, slots_of(tariff), strict=True))
    columns = _check.code_columns({name: column[::2] for name, column in zip(names, codes, strict=True)}, sizes)
    out = blank(tariff, 600)
    plan = price_plan(tariff.pricer.plan_arguments)
    _core.price(columns, plan, 0, 600, out.detail, out.list_fen, out.payers, out.merchant_fen, out.flags)
    assert out.same_as(expected)
    whole_book = [column[:600] for column in codes]
    assert run_kernel(tariff, whole_book, 600).same_as(run_kernel(tariff, [c.copy() for c in whole_book], 600))


def test_more_than_65_536_slots(tariff):
    declared = CODINGS["merchant_class"]
    paths = tuple((k,) for k in range(70_000))
    coding = replace(declared, paths=paths, lookup={path: k for k, path in enumerate(paths)})
    rates = rate_tables([], None, 0.1)
    large = replace(
        tariff,
        codings={"merchant_class": coding},
        frequency=replace(rates, tables={"merchant_class": np.linspace(0.1, 3.0, 70_001)}),
        severity=rate_tables([], None, 10.0),
        subsidies=(),
    )
    coded = large.encode(pd.DataFrame({"merchant_class": [0, 255, 256, 65_535, 65_536, 69_999, 70_000]}))
    priced = large.price(coded)
    np.testing.assert_array_equal(
        priced["claim_intensity"], 0.1 * np.linspace(0.1, 3.0, 70_001)[[0, 255, 256, 65_535, 65_536, 69_999, 70_000]]
    )
    assert priced["unseen_level"].tolist() == [False] * 6 + [True]


@pytest.mark.parametrize("n_tables", range(1, 9))
def test_any_number_of_tables_that_both_models_read(tariff, n_tables):
    # Of 60 levels each, which are not fused; rows that are no multiple of four.
    rng, names = np.random.default_rng(n_tables), [f"f{k}" for k in range(n_tables)]
    paths = tuple((k,) for k in range(60))
    declared = CODINGS["merchant_class"].declared
    codings = {
        name: replace(CODINGS["merchant_class"], declared=replace(declared, name=name, column=name), paths=paths,
                      lookup={path: k for k, path in enumerate(paths)})
        for name in names
    }  # fmt: skip
    rates = [replace(rate_tables([], None, base), tables={name: rng.uniform(0.5, 1.5, 61) for name in names})
             for base in (0.05, 9.0)]  # fmt: skip
    wide = changed(tariff, codings=codings, frequency=rates[0], severity=rates[1], subsidies=(), cover=Cover(),
                   limit_curve=None)  # fmt: skip
    codes = [rng.integers(0, 61, 1_031).astype(np.uint8) for _ in names]
    steps = run_kernel(wide, codes, 1_031).detail
    for found, model in ((steps[0], rates[0]), (steps[2], rates[1])):
        expected = model.base * np.prod(
            [model.tables[name][code] for name, code in zip(names, codes, strict=True)], axis=0
        )
        np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_sixty_four_rules_and_their_last_bit(tariff):
    rules = [Subsidy(f"rule {k}", "platform", fixed_fen=1, where={"tier": [k]}) for k in range(64)]
    plain = changed(tariff, subsidies=tuple(rules), floor_fen=0, cover=Cover(), limit_curve=None)
    frame = draw_orders(np.random.default_rng(3), 66).assign(tier=range(66))
    paid = plain.price(frame)["platform_fen"]
    assert paid.tolist() == [1] * 64 + [0, 0]


def test_largest_price_fits_its_column(tariff):
    rule = Subsidy("all", "platform", percent_of_list=1.0)
    costly = put_together(
        frequency=rate_tables(["channel"], np.random.default_rng(0), 5.0),
        severity=rate_tables([], None, 1e8),
        cover=Cover(max_claims=None),
        loadings=tariff.loadings,
        subsidies=(rule,),
    )
    quote = costly.quote({"channel": "store"})
    assert (quote["list_fen"], quote["platform_fen"], quote["merchant_fen"]) == (10**9, 10**9 - 1, 1)
    assert quote["filed_bound"]


# None into an unguarded memoryview would end the process.
@pytest.mark.parametrize("argument", range(4, 9))
def test_none_is_refused(tariff, argument):
    codes = draw_codes(tariff, np.random.default_rng(4), 3)
    columns = _blocks.CodeColumns(codes, np.array(slots_of(tariff), dtype=np.int64), 3)
    out = blank(tariff, 3)
    call = [columns, price_plan(tariff.pricer.plan_arguments), 0, 3]
    call += [out.detail, out.list_fen, out.payers, out.merchant_fen, out.flags]
    call[argument] = None
    with pytest.raises(TypeError, match="must not be None"):
        _core.price(*call)


@pytest.mark.parametrize(
    ("codes", "sizes", "message"),
    [
        (
            {"zone": np.array([0, 3], np.uint8)},
            {"zone": 3},
            r"codes of 'zone' are at or above the 3 slots .* 1 row \(first: 1\)",
        ),
        ({"zone": np.array([0, 1])}, {"zone": 3}, "codes of 'zone' are int64; they must be uint8, uint16 or uint32"),
        (
            {"zone": np.zeros(2, np.uint8), "leaf": np.zeros(3, np.uint8)},
            {"zone": 3, "leaf": 3},
            r"different lengths \[2, 3\]",
        ),
        (
            {f"factor {k}": np.zeros(1, np.uint8) for k in range(49)},
            {f"factor {k}": 1 for k in range(49)},
            "49 code columns were given; the kernels take at most 48",
        ),
    ],
)
def test_bad_codes_never_reach_the_kernel(codes, sizes, message):
    with pytest.raises(InputError, match=message):
        _check.code_columns(codes, sizes)
