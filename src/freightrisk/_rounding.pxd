"""From micro-yuan to whole fen."""

from libc.stdint cimport int32_t, uint16_t

from freightrisk._blocks cimport low_word

cdef enum:
    MICRO_PER_FEN = 10000


# Round m / 10,000 to the nearest whole number, ties to even, without a division (docs/method.md, equation 32). m is a
# whole number below 2**45, and `fen` is the product m * 1e-4.
#
# m / 10,000 is a whole number, a tie, or at least 1e-4 away from both. The product has an error below 1e-6. Rounded to
# a multiple of 2**-16, it is exact at whole numbers and ties, and still 9e-5 away from them elsewhere. Rounding it
# further to a whole number therefore rounds the quotient. Adding 1.5 * 2**36 rounds to a multiple of 2**-16. The second
# sum exchanges this constant for 1.5 * 2**52, which rounds to a whole number and leaves the number in the low bits.
cdef inline int32_t nearest_fen(double fen) noexcept nogil:
    cdef double to_fraction = 103079215104.0, to_integer = 6755399441055744.0
    return low_word((fen + to_fraction) + (to_integer - to_fraction))

cdef void round_rows(int rounding, const double* micro, const uint16_t* draws, int n, int32_t* fen) noexcept nogil
