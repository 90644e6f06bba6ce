"""The two curves of a cover over a block of orders: claims by intensity, and the mean of a claim under a limit."""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from freightrisk._blocks cimport ONE_WORD, four_pieces, int_out, real_of, real_out, wide_void, word_of
from freightrisk._plan cimport CountPieces, LimitPieces


cdef wide_void choose_curve(const int32_t* curve_of, int32_t pieces, int n, int_out piece) noexcept nogil:
    """Move each row from its piece of the first curve to the same piece of the curve that its code selects."""
    cdef int i
    for i in range(n):
        piece[i] += 4 * curve_of[i] * pieces


cdef wide_void curve_values(const double* curve, const int32_t* piece, const double* u, int n,
                            real_out value) noexcept nogil:
    """Multiply each value by the cubic ((d u + c) u + b) u + a of its piece, which is four entries of the curve."""
    cdef int i
    cdef const double* p
    for i in range(0, n - n % 4, 4):
        four_pieces(curve, piece + i, u + i, value + i)
    for i in range(n - n % 4, n):
        p = curve + piece[i]
        value[i] *= ((p[3] * u[i] + p[2]) * u[i] + p[1]) * u[i] + p[0]


# A curve over [0, 1] has pieces of equal width. t lies in piece k, and u in [0, 1] is the position inside the piece.

cdef wide_void count_place(const double* intensity, int32_t pieces, int n, real_out t, int_out piece,
                           real_out u) noexcept nogil:
    """Write t = lambda / (1 + lambda) and its place; expected claims are t times the curve at t (equation 24)."""
    cdef int i
    cdef int32_t k, last = pieces - 1
    cdef double place
    for i in range(n):
        place = intensity[i] / (1.0 + intensity[i])
        t[i] = place
        place *= pieces
        k = <int32_t>place
        k = <int32_t>min(<uint32_t>k, <uint32_t>last)  # unsigned, so that a NaN gets a valid piece too
        piece[i] = 4 * k
        u[i] = place - k


# The curve of docs/method.md, equation 27. The upper bits of the double mean / limit give the octave and the piece in
# it; the lower bits give the position inside the piece. A constant piece precedes the first octave, and another follows
# the last octave. There the mean exceeds `top` limits, and the payout stays at its value for a mean of `top` limits.

cdef wide_void limit_place(const double* mean, const double* limit, const double* inverse, bint flat, int bits,
                           int64_t first, int32_t last, double top, int n, real_out factor, int_out piece,
                           real_out u) noexcept nogil:
    """Write the factor of the curve, the piece and the position in it; if `flat`, all rows have the first limit."""
    cdef int i
    cdef int64_t word, inside = (<int64_t>1 << bits) - 1
    cdef int32_t k
    cdef double most
    for i in range(n):
        most = (limit[0] if flat else limit[i]) * top
        factor[i] = mean[i] if mean[i] < most else most
        word = word_of(mean[i] * (inverse[0] if flat else inverse[i]))
        k = <int32_t>(<int64_t>(<uint64_t>word >> bits) - first)
        k = k if k > 0 else 0
        piece[i] = 4 * (k if k < last else last)
        u[i] = real_of((word & inside) | ONE_WORD) - 1.0  # under the exponent of 1.0 the bits are 1 + u


cdef wide_void smaller(const double* other, int n, real_out value) noexcept nogil:
    cdef int i
    for i in range(n):
        value[i] = other[i] if other[i] < value[i] else value[i]


cdef wide_void reach(double kept, double deductible, int n, real_out limit) noexcept nogil:
    """Replace a largest payment by the amount of the claim at which it is reached."""
    cdef int i
    for i in range(n):
        limit[i] = deductible + limit[i] / kept


cdef wide_void take_off(const double* below, int n, real_out value) noexcept nogil:
    cdef int i
    cdef double rest
    for i in range(n):
        rest = value[i] - below[i]
        value[i] = rest if rest > 0.0 else 0.0


cdef wide_void invert(const double* value, int n, real_out inverse) noexcept nogil:
    cdef int i
    for i in range(n):
        inverse[i] = 1.0 / value[i]


cdef void expected_counts(CountPieces curve, const int32_t* codes, const double* intensity, int n, double* claims,
                          int32_t* piece, double* inside) noexcept nogil:
    """Write the paid claims of each intensity; `codes` select each order's curve, NULL if there is one curve."""
    count_place(intensity, curve.each, n, claims, piece, inside)
    if codes is not NULL:
        choose_curve(codes, curve.each, n, piece)
    curve_values(&curve.pieces[0, 0], piece, inside, n, claims)


cdef void limited_mean(LimitPieces curve, const double* mean, const double* limit, const double* inverse, bint flat,
                       int n, double* value, int32_t* piece, double* inside) noexcept nogil:
    """Write the mean of a claim under its limit; if `flat`, all orders have the first limit."""
    limit_place(mean, limit, inverse, flat, curve.bits, curve.first, curve.count - 1, curve.top, n, value, piece,
                inside)
    curve_values(&curve.pieces[0, 0], piece, inside, n, value)


cdef void reach_limits(const double* by_rule, double kept, double deductible, int n, double* limit,
                       double* inverse) noexcept nogil:
    """Lower limits to the limits by rule, NULL if there are none; write the amounts at which payments reach them."""
    if by_rule is not NULL:
        smaller(by_rule, n, limit)
    if kept != 1.0 or deductible > 0.0:
        reach(kept, deductible, n, limit)
    invert(limit, n, inverse)


cdef void pay_above(const double* below, int n, double* value) noexcept nogil:
    """Take the mean below the deductible off the mean under a limit."""
    take_off(below, n, value)
