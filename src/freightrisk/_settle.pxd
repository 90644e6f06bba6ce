"""Who pays each fen of a list price."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from freightrisk._blocks cimport BLOCK
from freightrisk._funds cimport Funds
from freightrisk._plan cimport MAX_RULES, PricePlan, Rules

cdef enum:
    FLOOR_BOUND = 1
    LIMIT_BOUND = 2
    FILED_BOUND = 4
    UNSEEN_LEVEL = 8
    LIMIT_CONFLICT = 16

cdef class MoneyColumns:
    cdef const uint16_t[::1] draws
    cdef int64_t[::1] micro
    cdef int32_t[::1] rounded
    cdef uint64_t[::1] masks
    cdef int32_t[:, ::1] paid
    cdef const int64_t[::1] beside
    cdef double[:, ::1] sums

cdef class Limits:
    cdef Funds funds
    cdef int64_t[::1] budget, left
    cdef uint8_t[::1] budget_met, left_met
    cdef const int32_t[:, ::1] keys
    cdef const int32_t[::1] rule_keys
    cdef const int64_t[::1] rule_start
    cdef bint astray  # whether the merchant and period of an order were out of range

    cdef int prove(self, int rules, Py_ssize_t stop) except -1

cdef struct MoneyBlock:
    Py_ssize_t start
    int n
    int32_t floor
    uint32_t eligible[2][BLOCK]  # masks of 64 rules in two halves; 32 bits are as wide as fen
    int32_t* price  # list price
    int32_t* rest  # amount left for the merchant to pay
    uint8_t* flags
    uint64_t allowed  # a bit for each rule that may pay
    int64_t* spent  # payments of each limited rule; NULL if the caller does not want them
    uint64_t written  # a bit for each payer whose column has been written
    int32_t offers[MAX_RULES][BLOCK]
    int32_t best[BLOCK]
    int32_t winner[BLOCK]

cdef int prove_outputs(PricePlan plan, Py_ssize_t start, Py_ssize_t stop, const int32_t[::1] list_out,
                       const int32_t[:, ::1] payers_out, const int32_t[::1] merchant_out, const uint8_t[::1] flags_out,
                       MoneyColumns money, const int64_t[::1] spent_out) except -1
cdef void settle_rows(MoneyBlock* b, Rules rules, const int32_t* rounded, int32_t[:, ::1] payers_out,
                      MoneyColumns money, Limits limits) noexcept nogil
