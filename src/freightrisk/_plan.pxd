"""A tariff as flat arrays, as the kernels read it."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from freightrisk._blocks cimport CodeColumns

cdef enum:
    MAX_RULES = 64
    LARGEST_AMOUNT = 0
    SMALLEST_AMOUNT = 1
    FIRST_AMOUNT = 2
    PERCENT_OF_LIST = 0
    PERCENT_OF_REST = 1
    FIXED = 2
    PRICE_TO = 3
    HALF_EVEN = 0
    HALF_UP = 1
    CEILING = 2
    DOWN = 3
    DITHER = 4
    CARRY = 5

cdef class TableSet:
    cdef double base
    cdef const int32_t[::1] columns
    cdef const int64_t[::1] offsets
    cdef const double[::1] entries
    cdef int count

cdef class MaskSet:
    cdef const int32_t[::1] columns
    cdef const int64_t[::1] offsets
    cdef const uint32_t[:, ::1] halves  # (2, entries)
    cdef int count

cdef class FusedColumns:
    cdef const int32_t[::1] first, second, width
    cdef int count

cdef class CountPieces:
    cdef const double[:, ::1] pieces
    cdef int column, curves, each  # pieces of each curve

cdef class LimitPieces:
    cdef const double[:, ::1] pieces
    cdef int bits, count
    cdef int64_t first
    cdef double top

cdef class Loads:
    cdef TableSet with_fraud, filed_factor
    cdef double handling, policy, gross_up, filed_min_micro, filed_max_micro

cdef class LimitRules:
    cdef const double[::1] amount, share
    cdef const int32_t[::1] measure, ends
    cdef const double[::1] tops  # (1 + R,) infinity, then the amounts
    cdef const int32_t[::1] rivals  # (1 + R,) no bit, then a bit for each rival
    cdef MaskSet masks
    cdef TableSet shares
    cdef int count, groups, choose
    cdef bint flat, conflicts
    cdef uint64_t every  # a bit for each rule

cdef class PayoutTerms:
    cdef double kept, deductible
    cdef int measure

cdef class Controls:
    cdef MaskSet masks
    cdef const double[::1] factors
    cdef int count

cdef class Rules:
    cdef const int32_t[::1] kind, cap, payer, group
    cdef const int64_t[::1] amount
    cdef const uint8_t[::1] limited
    cdef int count, payers

cdef class PricePlan:
    cdef const int64_t[::1] sizes, known
    cdef TableSet frequency, severity, shares, limits, pairs
    cdef MaskSet masks
    cdef FusedColumns fused
    cdef CountPieces count_curve
    cdef LimitPieces limit_curve
    cdef LimitRules limit_rules
    cdef Controls controls
    cdef PayoutTerms payout_terms
    cdef Loads loads
    cdef Rules rules
    cdef int32_t floor_fen
    cdef readonly int rounding, measures

    cdef int _prove(self) except -1
    cdef int prove_columns(self, CodeColumns columns) except -1
