"""From values to codes: recoding of categories, bands of numbers, and keyed hashes of texts."""

cimport cython
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from freightrisk._blocks cimport BLOCK, block_rows, blocks, flag_out, int_out, long_out, need, wide_void


cdef wide_void read_places(const uint8_t* categories, int itemsize, Py_ssize_t start, int n, int32_t last,
                           int_out place) noexcept nogil:
    """Write signed categories as places in a table. A category below zero or beyond the table gets the last place."""
    cdef int i
    cdef int64_t found
    if itemsize == 1:
        for i in range(n):
            place[i] = (<const int8_t*>categories + start)[i]
    elif itemsize == 2:
        for i in range(n):
            place[i] = (<const int16_t*>categories + start)[i]
    elif itemsize == 4:
        for i in range(n):
            place[i] = (<const int32_t*>categories + start)[i]
    else:
        for i in range(n):
            found = (<const int64_t*>categories + start)[i]
            place[i] = <int32_t>found if 0 <= found < last else last
    # As unsigned numbers, negative categories exceed `last`, so one minimum bounds both ends.
    for i in range(n):
        place[i] = <int32_t>min(<uint32_t>place[i], <uint32_t>last)


cdef void write_slots(const int32_t* place, const uint8_t* table, int slot_size, int n, flag_out out) noexcept nogil:
    cdef int i
    if slot_size == 1:
        for i in range(n):
            out[i] = table[place[i]]
    elif slot_size == 2:
        for i in range(n):
            (<uint16_t*>out)[i] = (<const uint16_t*>table)[place[i]]
    else:
        for i in range(n):
            (<uint32_t*>out)[i] = (<const uint32_t*>table)[place[i]]


def recode(const uint8_t[::1] categories not None, int itemsize, const uint8_t[::1] table not None, int slot_size,
           Py_ssize_t start, Py_ssize_t stop, uint8_t[::1] out not None):
    """Write the table's entry for the category of each row in [start, stop); a category outside gets the last entry.

    Parameters
    ----------
    categories : the bytes of an int8, int16, int32 or int64 array of `itemsize`
    table, out : the bytes of uint8, uint16 or uint32 arrays of `slot_size`
    """
    need(itemsize in (1, 2, 4, 8) and slot_size in (1, 2, 4), "categories or a table of the wrong type")
    cdef int32_t place[BLOCK]
    cdef int32_t last = <int32_t>(table.shape[0] // slot_size) - 1
    cdef Py_ssize_t step, block
    cdef int n
    if stop <= start:
        return
    need(start >= 0 and categories.shape[0] >= stop * itemsize and last >= 0 and out.shape[0] >= stop * slot_size,
         "categories, a table or an output of the wrong length")
    with nogil:
        for step in range(blocks(start, stop)):
            block = start + step * BLOCK
            n = block_rows(block, stop)
            read_places(&categories[0], itemsize, block, n, last, &place[0])
            write_slots(&place[0], &table[0], slot_size, n, &out[block * slot_size])


def pair_categories(const uint8_t[::1] categories not None, int itemsize, int32_t size, Py_ssize_t start,
                    Py_ssize_t stop, int32_t[::1] which not None, uint8_t[::1] seen not None):
    """Replace `which` by which * size + category for rows [start, stop), and mark the pairs that occur in `seen`.

    A category outside [0, size) counts as size - 1. `seen` has a place for every pair.
    """
    cdef int32_t place[BLOCK]
    cdef Py_ssize_t step, block
    cdef int n, i
    cdef int64_t pair
    cdef bint fits = True
    if stop <= start:
        return
    need(start >= 0 and categories.shape[0] >= stop * itemsize and which.shape[0] >= stop and size > 0,
         "categories of the wrong length")
    with nogil:
        for step in range(blocks(start, stop)):
            block = start + step * BLOCK
            n = block_rows(block, stop)
            read_places(&categories[0], itemsize, block, n, size - 1, &place[0])
            for i in range(n):
                pair = <int64_t>which[block + i] * size + place[i]
                if 0 <= pair < seen.shape[0]:
                    which[block + i] = <int32_t>pair
                    seen[pair] = 1
                else:
                    fits = False
    need(fits, "pairs of categories without a place")


cdef wide_void search_half(const double* values, const double* edges, int64_t half, int n,
                           long_out place) noexcept nogil:
    """One step of a binary search for all rows of a block; it has no branch, so it is vectorised."""
    cdef int i
    for i in range(n):
        place[i] += half if values[i] > edges[place[i] + half - 1] else 0


cdef wide_void narrow(const int64_t* place, int n, flag_out out) noexcept nogil:
    cdef int i
    for i in range(n):
        out[i] = <uint8_t>place[i]


def band_codes(const double[::1] values not None, const double[::1] edges not None, Py_ssize_t start, Py_ssize_t stop,
               uint8_t[::1] out not None):
    """Write the number of edges below the value of each row in [start, stop); 0 for NaN.

    `edges` holds at most 255 ascending edges, followed by infinities up to a power of two.
    """
    cdef int64_t place[BLOCK]
    cdef int64_t half
    cdef Py_ssize_t step, block
    cdef int n
    if stop <= start:
        return
    need(start >= 0 and values.shape[0] >= stop and out.shape[0] >= stop, "values or bands of the wrong length")
    need(0 < edges.shape[0] <= 256 and not edges.shape[0] & (edges.shape[0] - 1),
         "a number of edges that is not a power of two")
    with nogil:
        for step in range(blocks(start, stop)):
            block = start + step * BLOCK
            n = block_rows(block, stop)
            memset(&place[0], 0, n * sizeof(int64_t))
            # The steps add up to at most edges.shape[0] - 1, so a band fits a byte. A NaN is above no edge.
            half = edges.shape[0] // 2
            while half > 0:
                search_half(&values[block], &edges[0], half, n, &place[0])
                half //= 2
            narrow(&place[0], n, &out[block])


@cython.overflowcheck(False)
cdef inline uint64_t rotated(uint64_t x, int bits) noexcept nogil:
    return (x << bits) | (x >> (64 - bits))


@cython.overflowcheck(False)
cdef inline void sip_round(uint64_t* v) noexcept nogil:
    v[0] += v[1]
    v[2] += v[3]
    v[1] = rotated(v[1], 13) ^ v[0]
    v[3] = rotated(v[3], 16) ^ v[2]
    v[0] = rotated(v[0], 32)
    v[2] += v[1]
    v[0] += v[3]
    v[1] = rotated(v[1], 17) ^ v[2]
    v[3] = rotated(v[3], 21) ^ v[0]
    v[2] = rotated(v[2], 32)


@cython.overflowcheck(False)
def keyed_hash(const uint8_t[:, ::1] texts not None, bint trimmed, uint64_t first_key, uint64_t second_key,
               uint64_t[::1] out not None):
    """Write SipHash-2-4 (Aumasson and Bernstein 2012) of each row of bytes.

    If `trimmed`, zero bytes at the end of a row are left out.
    """
    cdef uint64_t v[4]
    cdef uint64_t word
    cdef Py_ssize_t row, length, place, k
    need(out.shape[0] >= texts.shape[0], "fewer places than texts")
    with nogil:
        for row in range(texts.shape[0]):
            length = texts.shape[1]
            while trimmed and length > 0 and texts[row, length - 1] == 0:
                length -= 1
            # The paper's constants: "somepseudorandomlygeneratedbytes" in ASCII.
            v[0] = first_key ^ <uint64_t>0x736F6D6570736575
            v[1] = second_key ^ <uint64_t>0x646F72616E646F6D
            v[2] = first_key ^ <uint64_t>0x6C7967656E657261
            v[3] = second_key ^ <uint64_t>0x7465646279746573
            # The last word holds the remaining bytes, and the length modulo 256 in its highest byte.
            for place in range(length // 8 + 1):
                word = <uint64_t>length << 56 if place == length // 8 else 0
                for k in range(min(<Py_ssize_t>8, length - 8 * place)):
                    word |= <uint64_t>texts[row, 8 * place + k] << (8 * k)
                v[3] ^= word
                sip_round(v)
                sip_round(v)
                v[0] ^= word
            v[2] ^= 0xFF
            sip_round(v)
            sip_round(v)
            sip_round(v)
            sip_round(v)
            out[row] = v[0] ^ v[1] ^ v[2] ^ v[3]
