"""From micro-yuan to whole fen: six modes, in blocks of rows, and the carrying of what rounding leaves over."""

from libc.stdint cimport int32_t, int64_t, uint16_t

from freightrisk._blocks cimport int_out, need, wide_void
from freightrisk._plan cimport CEILING, DITHER, HALF_EVEN, HALF_UP

cdef double HALF_STEP = 5e-5  # a whole number over 10000 is a multiple of 1e-4: with half of that it never falls short


cdef wide_void round_nearest(const double* micro, int n, int_out fen) noexcept nogil:
    cdef int i
    for i in range(n):
        fen[i] = nearest_fen(micro[i] * 1e-4)


cdef wide_void round_down_after(const double* micro, double added, int n, int_out fen) noexcept nogil:
    """Whole fen of micro-yuan with a constant added: 0 rounds down, 5000 half up, 9999 to the ceiling."""
    cdef int i
    for i in range(n):
        fen[i] = <int32_t>((micro[i] + added) * 1e-4 + HALF_STEP)


cdef wide_void round_drawn(const double* micro, const uint16_t* draw, int n, int_out fen) noexcept nogil:
    """Up with the probability of the fraction: a draw is 0 to 9999, each as likely as the others."""
    cdef int i
    for i in range(n):
        fen[i] = <int32_t>((micro[i] + <double>draw[i]) * 1e-4 + HALF_STEP)


cdef void round_rows(int rounding, const double* micro, const uint16_t* draws, int n, int32_t* fen) noexcept nogil:
    """Round premiums to whole fen by one of ROUNDING_MODES; only dithering reads draws."""
    if rounding == HALF_EVEN:
        round_nearest(micro, n, fen)
    elif rounding == DITHER:
        round_drawn(micro, draws, n, fen)
    else:
        round_down_after(micro, 5000.0 if rounding == HALF_UP else (9999.0 if rounding == CEILING else 0.0), n, fen)


def carry(const int64_t[::1] micro not None, const int32_t[::1] merchants not None,
          const int64_t[::1] sequence not None, int64_t[::1] remainders not None, int32_t[::1] rounded_out not None):
    """Round to fen with what each merchant's earlier orders left over, so that a total is off by half a fen at most.

    Parameters
    ----------
    micro : (n,) premiums, micro-yuan
    merchants : (n,) code of each order's merchant
    sequence : (n,) rows in the sequence in which they are taken; empty to take them as they stand
    remainders : (merchants,) micro-yuan charged too little so far; updated
    rounded_out : (n,) fen
    """
    cdef Py_ssize_t k, row
    cdef int64_t owed, fen, over
    cdef bint astray = False
    need(merchants.shape[0] >= micro.shape[0] and rounded_out.shape[0] >= micro.shape[0]
         and sequence.shape[0] in (0, micro.shape[0]), "columns of other lengths to carry")
    with nogil:
        for k in range(micro.shape[0]):
            row = sequence[k] if sequence.shape[0] else k
            if not (0 <= row < micro.shape[0] and 0 <= merchants[row] < remainders.shape[0]):
                astray = True
                break
            owed = micro[row] + remainders[merchants[row]]
            fen = owed // MICRO_PER_FEN if owed > 0 else 0
            over = 2 * (owed - fen * MICRO_PER_FEN)
            if over > MICRO_PER_FEN or (over == MICRO_PER_FEN and fen % 2 == 1):
                fen += 1
            rounded_out[row] = <int32_t>fen
            remainders[merchants[row]] = owed - fen * MICRO_PER_FEN
    need(not astray, "a place or merchant that is not there")
