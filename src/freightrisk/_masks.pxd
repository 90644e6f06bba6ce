"""Which rules hold for each order of a block."""

from libc.stdint cimport int32_t, uint32_t, uint64_t

from freightrisk._blocks cimport BLOCK
from freightrisk._plan cimport Controls, MaskSet

cdef void gather_masks(const int32_t (*codes)[BLOCK], MaskSet tables, int n_rules, uint64_t every, int n,
                       uint32_t (*masks)[BLOCK]) noexcept nogil
cdef void whole_masks(const uint32_t (*masks)[BLOCK], int n, uint64_t* whole) noexcept nogil
cdef void control(Controls controls, const uint32_t (*masks)[BLOCK], int n, double* intensity) noexcept nogil
