"""Values to codes: each kernel is the one line of numpy that it stands for."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from freightrisk import _codes
from freightrisk.book.recode import CHUNK_ROWS, MOST_EDGES, Places, banded, exact_sums, in_doubles, looked_up, paired

INTEGERS = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64, ">i4"]
numbers = st.floats(allow_nan=True, allow_infinity=True, width=64)


def clipped(categories, size):
    """Return categories as places of a table of a size, the last for what is outside."""
    return np.array([k if 0 <= k < size else size - 1 for k in categories.tolist()], dtype=np.int64)


@given(data=st.data(), kind=st.sampled_from(INTEGERS), slot=st.sampled_from([np.uint8, np.uint16, np.uint32]))
def test_looking_up_is_indexing(data, kind, slot):
    # Above 2**63 a code is no category that any frame has.
    elements = st.integers(0, min(int(np.iinfo(kind).max), 2**63 - 1)) | st.integers(
        max(int(np.iinfo(kind).min), -3), 12
    )
    categories = data.draw(hnp.arrays(kind, st.integers(0, 1100), elements=elements, fill=st.just(3)))
    table = data.draw(hnp.arrays(slot, st.integers(1, 9)))
    for step in (1, 2):
        found = looked_up(categories[::step], table, threads=2)
        assert found.dtype == slot
        assert np.array_equal(found, table[clipped(categories[::step], len(table))])


@given(
    rows=st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1e15) | st.sampled_from([0.1, 5e-324])), max_size=40),
    cut=st.integers(0, 40),
)
def test_exact_sums_are_those_of_fsum_in_one_piece_or_two(rows, cut):
    which = np.array([code for code, _ in rows], dtype=np.int64)
    weights = np.array([weight for _, weight in rows], dtype=np.float64)
    whole = exact_sums(which, weights, 4)
    assert in_doubles(whole) == [math.fsum(weights[which == code]) for code in range(4)]
    pieces = [exact_sums(which[part], weights[part], 4) for part in (slice(cut, None), slice(cut))]
    assert [sum(both) for both in zip(*pieces, strict=True)] == whole
    assert in_doubles(exact_sums(which, None, 4)) == np.bincount(which, minlength=4).tolist()


WHOLE = st.integers(-(2**63), 2**64 - 1) | st.integers(-3, 3)


@given(st.lists(WHOLE, unique=True, max_size=9) | st.lists(st.text(max_size=2), unique=True, max_size=9), st.data())
def test_places_are_those_of_the_list(listed, data):
    kind = data.draw(st.sampled_from([*INTEGERS, np.float64, bool, object]))
    of = {value: place for place, value in enumerate(listed)}
    if kind is object:
        drawn = data.draw(st.lists(WHOLE | st.text(max_size=2) | st.none() | st.sampled_from(listed or [0])))
        values = np.array([*drawn, None], dtype=object)[:-1]
    else:
        values = data.draw(hnp.arrays(kind, st.integers(0, 20)))
        among = [value for value in listed if isinstance(value, int) and np.can_cast(np.min_scalar_type(value), kind)]
        values = np.append(values, np.array(among, dtype=kind))
    expected = [of.get(value, len(listed)) for value in values.tolist()]
    assert Places(listed).of(values).tolist() == expected


@given(values=hnp.arrays(np.float64, st.integers(0, 600), elements=numbers), edges=st.sets(numbers.filter(np.isfinite)))
def test_banding_counts_the_edges_below(values, edges):
    edges = np.array(sorted(edges))
    expected = np.where(np.isnan(values), 0, np.searchsorted(edges, values, side="left"))
    assert np.array_equal(banded(values, edges, threads=1), expected)


@pytest.mark.parametrize("n_edges", [0, 1, 2, 3, 127, 128, MOST_EDGES])
def test_banding_takes_every_number_of_edges(n_edges):
    edges = np.arange(n_edges, dtype=np.float64)
    values = np.array([-np.inf, -1.0, *np.repeat(edges, 2), n_edges, np.inf, np.nan])
    values[2:-3:2] -= 0.25
    expected = np.where(np.isnan(values), 0, np.searchsorted(edges, values, side="left"))
    assert np.array_equal(banded(values, edges, threads=1), expected)


@given(data=st.data(), kind=st.sampled_from(INTEGERS))
def test_pairing_is_arithmetic(data, kind):
    n, n_paths, n_values = data.draw(st.integers(0, 700)), data.draw(st.integers(1, 5)), data.draw(st.integers(1, 6))
    elements = st.integers(max(int(np.iinfo(kind).min), -3), 9)
    categories = data.draw(hnp.arrays(kind, n, elements=elements))
    which = data.draw(hnp.arrays(np.int32, n, elements=st.integers(0, n_paths - 1)))
    expected = which * n_values + clipped(categories, n_values)
    seen = np.zeros(n_paths * n_values, dtype=np.uint8)
    paired(which, categories, n_values, seen, threads=2)
    assert np.array_equal(which, expected)
    assert np.array_equal(np.flatnonzero(seen), np.unique(expected))


def test_chunks_and_threads_leave_no_row_out():
    rng = np.random.default_rng(1)
    n = 2 * CHUNK_ROWS + 77
    categories, values = rng.integers(-1, 300, n).astype(np.int16), rng.normal(size=n)
    table, edges = rng.integers(0, 2**16, 300).astype(np.uint16), np.array([-1.0, 0.0, 0.5])
    for threads in (1, 3):
        assert np.array_equal(looked_up(categories, table, threads=threads), table[categories])
        assert np.array_equal(banded(values, edges, threads=threads), np.searchsorted(edges, values))


@pytest.mark.parametrize(("itemsize", "slot_size"), [(0, 1), (-1, 1), (3, 1), (1, 0), (1, 3)])
def test_the_kernel_of_recoding_refuses_sizes_of_no_type(itemsize, slot_size):
    with pytest.raises(ValueError, match="of the wrong type"):
        _codes.recode(np.zeros(16, "u1"), itemsize, np.zeros(4, "u1"), slot_size, 0, 4, np.zeros(16, "u1"))
