"""From micro-yuan to whole fen: five modes in blocks of rows, and one that carries remainders between orders."""

from libc.stdint cimport int32_t, int64_t, uint16_t

from freightrisk._blocks cimport int_out, need, wide_void
from freightrisk._plan cimport CEILING, DITHER, HALF_EVEN, HALF_UP

# Micro-yuan over 10,000 are multiples of 1e-4. Half a step outweighs the error of the product with 1e-4, so the product
# never falls short of a whole fen (docs/method.md, Money, step 4).
cdef double HALF_STEP = 5e-5


cdef wide_void round_nearest(const double* micro, int n, int_out fen) noexcept nogil:
    cdef int i
    for i in range(n):
        fen[i] = nearest_fen(micro[i] * 1e-4)


cdef wide_void round_down_after(const double* micro, double added, int n, int_out fen) noexcept nogil:
    """Add a constant to micro-yuan and round down to fen: 0 rounds down, 5000 half up, 9999 to the ceiling."""
    cdef int i
    for i in range(n):
        fen[i] = <int32_t>((micro[i] + added) * 1e-4 + HALF_STEP)


cdef wide_void round_drawn(const double* micro, const uint16_t* draw, int n, int_out fen) noexcept nogil:
    """Round up with a probability equal to the fraction of a fen: draws are uniform from 0 to 9999."""
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
    """Write the half-even fen of each premium plus the remainder of its merchant's earlier orders.

    A merchant's total is therefore off by at most half a fen.

    Parameters
    ----------
    micro : (n,) premiums, micro-yuan
    merchants : (n,) code of each order's merchant
    sequence : (n,) rows in the sequence of service; empty to serve rows as they stand
    remainders : (merchants,) micro-yuan that each merchant was charged too little so far; updated
    rounded_out : (n,) fen
    """
    cdef Py_ssize_t k, row
    cdef int64_t owed, fen, over
    cdef bint astray = False
    need(merchants.shape[0] >= micro.shape[0] and rounded_out.shape[0] >= micro.shape[0]
         and sequence.shape[0] in (0, micro.shape[0]), "columns of unequal length")
    with nogil:
        for k in range(micro.shape[0]):
            row = sequence[k] if sequence.shape[0] else k
            if not (0 <= row < micro.shape[0] and 0 <= merchants[row] < remainders.shape[0]):
                astray = True
                break
            owed = micro[row] + remainders[merchants[row]]
            # A merchant who was charged too much pays 0 fen, and the balance stays in the remainder.
            fen = owed // MICRO_PER_FEN if owed > 0 else 0
            over = 2 * (owed - fen * MICRO_PER_FEN)
            if over > MICRO_PER_FEN or (over == MICRO_PER_FEN and fen % 2 == 1):
                fen += 1
            rounded_out[row] = <int32_t>fen
            remainders[merchants[row]] = owed - fen * MICRO_PER_FEN
    need(not astray, "a row or merchant out of range")
