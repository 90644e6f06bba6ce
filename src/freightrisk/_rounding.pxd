"""From micro-yuan to whole fen."""

from libc.stdint cimport int32_t, uint16_t

from freightrisk._blocks cimport low_word

cdef enum:
    MICRO_PER_FEN = 10000


# Rounds a whole number m below 2**45 over 10,000 to the nearest whole number, ties to even, without a division.
#
# m / 10,000 is a whole number, a tie, or at least 1e-4 away from both. Its product with 1e-4 is off by less than 1e-6.
# Rounded to a multiple of 2**-16 the product is exact at whole numbers and ties, and still 9e-5 away from them
# elsewhere. So rounding it to a whole number rounds the quotient. Both roundings add 1.5 * 2**52 (or 2**-16 times as
# much) and take it off again; the lower bits of the last sum are the whole number.
cdef inline int32_t nearest_fen(double fen) noexcept nogil:
    cdef double to_fraction = 103079215104.0, to_integer = 6755399441055744.0
    return low_word((fen + to_fraction) + (to_integer - to_fraction))

cdef void round_rows(int rounding, const double* micro, const uint16_t* draws, int n, int32_t* fen) noexcept nogil
