"""The two curves of a cover over a block of orders."""

from libc.stdint cimport int32_t

from freightrisk._plan cimport CountPieces, LimitPieces

cdef void expected_counts(CountPieces curve, const int32_t* codes, const double* intensity, int n, double* claims,
                          int32_t* piece, double* inside) noexcept nogil
cdef void limited_mean(LimitPieces curve, const double* mean, const double* limit, const double* inverse, bint flat,
                       int n, double* value, int32_t* piece, double* inside) noexcept nogil
cdef void reach_limits(const double* by_rule, double kept, double deductible, int n, double* limit,
                       double* inverse) noexcept nogil
cdef void pay_above(const double* below, int n, double* value) noexcept nogil
