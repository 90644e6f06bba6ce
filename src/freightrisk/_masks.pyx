"""Which rules hold for each order of a block: masks of bits, gathered from the codes of the columns of conditions."""

from libc.stdint cimport int32_t, uint32_t, uint64_t

from freightrisk._blocks cimport BLOCK, mask_out, real_out, whole_out, wide_void
from freightrisk._plan cimport Controls, MaskSet


cdef wide_void first_mask(const int32_t* codes, const uint32_t* table, int n, mask_out mask) noexcept nogil:
    cdef int i
    for i in range(n):
        mask[i] = table[codes[i]]


cdef wide_void gather_mask(const int32_t* codes, const uint32_t* table, int n, mask_out mask) noexcept nogil:
    cdef int i
    for i in range(n):
        mask[i] &= table[codes[i]]


cdef wide_void fill_mask(uint32_t value, int n, mask_out mask) noexcept nogil:
    cdef int i
    for i in range(n):
        mask[i] = value


cdef wide_void join_halves(const uint32_t* low, const uint32_t* high, int n, whole_out whole) noexcept nogil:
    cdef int i
    for i in range(n):
        whole[i] = <uint64_t>high[i] << 32 | low[i]


cdef wide_void multiply_where(const uint32_t* mask, uint32_t bit, double factor, int n, real_out value) noexcept nogil:
    cdef int i
    for i in range(n):
        value[i] *= factor if mask[i] & bit else 1.0


cdef void gather_masks(const int32_t (*codes)[BLOCK], MaskSet tables, int n_rules, uint64_t every, int n,
                       uint32_t (*masks)[BLOCK]) noexcept nogil:
    """Write a bit for each rule whose conditions an order meets; without conditions, the mask `every`.

    codes : the codes of each column of the orders
    """
    cdef const uint32_t* table
    cdef int f, half
    if not tables.count:
        for half in range(2):
            fill_mask(<uint32_t>(every >> 32 * half), n, &masks[half][0])
    for f in range(tables.count):
        for half in range(1 if n_rules <= 32 else 2):
            table = &tables.halves[half, tables.offsets[f]]
            if f == 0:
                first_mask(&codes[tables.columns[f]][0], table, n, &masks[half][0])
            else:
                gather_mask(&codes[tables.columns[f]][0], table, n, &masks[half][0])


cdef void whole_masks(const uint32_t (*masks)[BLOCK], int n, uint64_t* whole) noexcept nogil:
    """Write both halves of each mask as one number."""
    join_halves(&masks[0][0], &masks[1][0], n, whole)


cdef void control(Controls controls, const uint32_t (*masks)[BLOCK], int n, double* intensity) noexcept nogil:
    """Multiply the claim intensity by the factors of the controls whose conditions an order meets."""
    cdef int k
    for k in range(controls.count):
        multiply_where(&masks[k // 32][0], <uint32_t>1 << k % 32, controls.factors[k], n, intensity)
