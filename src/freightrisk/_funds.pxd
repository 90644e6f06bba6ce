"""Budgets that several rules draw on."""

from libc.stdint cimport int32_t, int64_t, uint8_t

cdef class Funds:
    cdef const int32_t[::1] of_rule, keys
    cdef int64_t[::1] left
    cdef const int64_t[::1] budget, per_day
    cdef const uint8_t[::1] by_day, paced, shared
    cdef uint8_t[::1] met
    cdef const int64_t[:, ::1] days_left
    cdef int64_t[:, ::1] before, spent
    cdef int count, days
    cdef bint is_shared
    cdef bint astray  # whether the ship day of an order was out of range

    cdef int prove(self, int rules, Py_ssize_t stop) except -1

cdef int64_t fund_room(Funds funds, int f, Py_ssize_t row) noexcept nogil
cdef void draw_on_fund(Funds funds, int f, int64_t value, Py_ssize_t row) noexcept nogil
cdef bint funds_suffice(Funds funds, const int32_t* rounded, int32_t floor, Py_ssize_t start, int n) noexcept nogil
