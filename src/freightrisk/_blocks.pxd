"""Shared parts of all kernels: the functions of `_simd.h`, columns of codes, and loops over a block of rows."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

cdef extern from "_simd.h" nogil:
    int32_t low_word "freightrisk_low_word"(double x) noexcept
    int64_t word_of "freightrisk_word"(double x) noexcept
    double real_of "freightrisk_real"(int64_t word) noexcept
    double exponential "freightrisk_exponential"(double x) noexcept
    void four_pieces "freightrisk_four_pieces"(const double* curve, const int32_t* piece, const double* u,
                                               double* value) noexcept
    void all_pairs "freightrisk_pairs"(const int32_t** place, const double** tables, int n_tables, int n, double base,
                                       double beside, double* first, double* second) noexcept
    void four_singles "freightrisk_four_singles"(const double* table, const int32_t* code, double* value) noexcept
    const int64_t ONE_WORD "0x3ff0000000000000LL"  # the bits of 1.0
    const int FREIGHTRISK_CHECKED
    ctypedef void wide_void "FREIGHTRISK_WIDE void"
    # An output overlaps no array that its loop reads. Without this promise the compiler does not vectorise gathers.
    ctypedef double* real_out "double* FREIGHTRISK_ALONE"
    ctypedef int32_t* int_out "int32_t* FREIGHTRISK_ALONE"
    ctypedef int64_t* long_out "int64_t* FREIGHTRISK_ALONE"
    ctypedef uint32_t* mask_out "uint32_t* FREIGHTRISK_ALONE"
    ctypedef uint64_t* whole_out "uint64_t* FREIGHTRISK_ALONE"
    ctypedef uint8_t* flag_out "uint8_t* FREIGHTRISK_ALONE"

cdef enum:
    BLOCK = 512  # rows of a block: its codes, means and money stay in the first two cache levels
    MAX_COLUMNS = 48

cdef class CodeColumns:
    cdef const uint8_t* column[MAX_COLUMNS]
    cdef int itemsize[MAX_COLUMNS]
    cdef int64_t size[MAX_COLUMNS]
    cdef int64_t largest[MAX_COLUMNS]
    cdef readonly int count
    cdef readonly Py_ssize_t rows
    cdef list views

cdef int need(bint holds, str what) except -1


cdef inline bint reaches(Py_ssize_t length, Py_ssize_t stop) noexcept:
    """Return whether a column has all rows before `stop`, or no rows because it is optional."""
    return length == 0 or length >= stop


cdef inline Py_ssize_t blocks(Py_ssize_t start, Py_ssize_t stop) noexcept nogil:
    """Return the number of blocks in rows [start, stop)."""
    return (stop - start + BLOCK - 1) // BLOCK


cdef inline int block_rows(Py_ssize_t block, Py_ssize_t stop) noexcept nogil:
    """Return the number of rows in the block that begins at row `block`."""
    return <int>min(<Py_ssize_t>BLOCK, stop - block)


cdef inline wide_void widen(const uint8_t* column, int itemsize, Py_ssize_t start, int n, int_out out) noexcept nogil:
    """Write codes of one, two or four bytes as int32."""
    cdef int i
    if itemsize == 1:
        for i in range(n):
            out[i] = (column + start)[i]
    elif itemsize == 2:
        for i in range(n):
            out[i] = (<const uint16_t*>column + start)[i]
    else:
        for i in range(n):
            out[i] = <int32_t>(<const uint32_t*>column + start)[i]


cdef inline bint in_range(const int32_t* codes, int n, int64_t size) noexcept nogil:
    cdef int i
    for i in range(n):
        if codes[i] < 0 or codes[i] >= size:
            return False
    return True


cdef inline wide_void fill(double value, int n, real_out out) noexcept nogil:
    cdef int i
    for i in range(n):
        out[i] = value


cdef inline wide_void fuse(const int32_t* first, const int32_t* second, int32_t width, int times, int n,
                           int_out fused) noexcept nogil:
    """Write (first * width + second) * times for each row; `times` is 1 or 2."""
    cdef int i
    for i in range(n):
        fused[i] = (first[i] * width + second[i]) * times


cdef inline wide_void fuse_bytes(const uint8_t* first, const uint8_t* second, uint16_t width, uint16_t times, int n,
                                 int_out fused) noexcept nogil:
    """Like `fuse`, for columns of bytes whose fused codes are below 2**15, so that 16 bits hold twice a code."""
    cdef int i
    cdef uint16_t place
    for i in range(n):
        place = <uint16_t>(<uint16_t>(<uint16_t>first[i] * width) + second[i])
        fused[i] = <uint16_t>(place * times)


cdef inline wide_void fuse_byte(const int32_t* first, const uint8_t* second, int32_t width, int times, int n,
                                int_out fused) noexcept nogil:
    cdef int i
    for i in range(n):
        fused[i] = (first[i] * width + second[i]) * times


cdef inline wide_void add_eights(const double* values, int n, real_out eights) noexcept nogil:
    cdef int i, k
    for i in range(n // 8):
        for k in range(8):
            eights[k] += values[8 * i + k]


cdef inline double total_of(const double* values, int n) noexcept nogil:
    """Return the sum of values, from eight interleaved partial sums.

    The order of the additions is fixed, so the sum is the same on every machine. Each partial sum waits for an eighth
    of the additions only.
    """
    cdef double eights[8]
    cdef double rest = 0.0
    cdef int i
    memset(&eights[0], 0, sizeof(eights))
    add_eights(values, n, &eights[0])
    for i in range(n - n % 8, n):
        rest += values[i]
    return (((eights[0] + eights[1]) + (eights[2] + eights[3])) + ((eights[4] + eights[5]) + (eights[6] + eights[7]))
            + rest)
