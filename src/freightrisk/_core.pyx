"""The walks over orders: from values to codes, scatter codes into tables (fit) and gather from them (price).

Every function walks blocks of rows that stay in cache, holds no GIL, allocates nothing and never raises; codes
were proved in range by `_check` before they came here. Each kernel has a slow twin, in `_reference` or its test.
"""

cimport cython
from libc.math cimport exp, expm1, log, log1p, pow
from libc.string cimport memcpy, memset
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from *:
    """
    #ifndef FREIGHTRISK_CHECKED
    #define FREIGHTRISK_CHECKED 0
    #endif
    /* One binary, several instruction sets: the loader picks the widest the machine has. With -ffp-contract=off the
       arithmetic is the same IEEE operations in each, so the fen are too. */
    #if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12 \
        && !FREIGHTRISK_CHECKED && !defined(CYTHON_TRACE)
    #define FREIGHTRISK_WIDE __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
    #else
    #define FREIGHTRISK_WIDE
    #endif
    #ifdef _MSC_VER
    #define FREIGHTRISK_ALONE __restrict
    #else
    #define FREIGHTRISK_ALONE __restrict__
    #endif
    #include <string.h>
    static inline int freightrisk_low_word(double x) {
        long long word;
        memcpy(&word, &x, 8);
        return (int)word;
    }
    static inline long long freightrisk_word(double x) {
        long long word;
        memcpy(&word, &x, 8);
        return word;
    }
    static inline double freightrisk_real(long long word) {
        double x;
        memcpy(&x, &word, 8);
        return x;
    }
    static inline void freightrisk_some_pairs(const int *const *place, const double *const *tables, int n_tables,
                                              long long row, long long stop, double base, double beside,
                                              double *first, double *second) {
        int t;
        for (; row < stop; row++) {
            double x = base, y = beside;
            for (t = 0; t < n_tables; t++) {
                x *= tables[t][place[t][row]];
                y *= tables[t][place[t][row] + 1];
            }
            first[row] = x;
            second[row] = y;
        }
    }
    /* Rows of a table whose entries stand together are loaded whole and turned into columns, four rows at a time: a
       gather takes as long for each single entry. */
    #ifdef __has_builtin
    #if __has_builtin(__builtin_shufflevector)
    #define FREIGHTRISK_VECTORS
    #endif
    #endif
    #ifdef FREIGHTRISK_VECTORS
    typedef double freightrisk_two __attribute__((vector_size(16), aligned(8), may_alias));
    typedef double freightrisk_four __attribute__((vector_size(32), aligned(8), may_alias));
    #define FREIGHTRISK_INLINE __attribute__((always_inline)) static inline
    #define FREIGHTRISK_PICK __builtin_shufflevector
    #define FREIGHTRISK_TWO(from) (*(const freightrisk_two *)(from))
    #define FREIGHTRISK_FOUR(from) (*(const freightrisk_four *)(from))
    FREIGHTRISK_INLINE void freightrisk_four_pieces(const double *curve, const int *piece, const double *u,
                                                    double *value) {
        freightrisk_four p = FREIGHTRISK_FOUR(curve + piece[0]), a, b, c, d;
        freightrisk_four q = FREIGHTRISK_FOUR(curve + piece[1]);
        freightrisk_four r = FREIGHTRISK_FOUR(curve + piece[2]);
        freightrisk_four s = FREIGHTRISK_FOUR(curve + piece[3]);
        freightrisk_four v = FREIGHTRISK_FOUR(u);
        a = FREIGHTRISK_PICK(p, q, 0, 4, 2, 6);
        b = FREIGHTRISK_PICK(p, q, 1, 5, 3, 7);
        c = FREIGHTRISK_PICK(r, s, 0, 4, 2, 6);
        d = FREIGHTRISK_PICK(r, s, 1, 5, 3, 7);
        p = FREIGHTRISK_PICK(a, c, 0, 1, 4, 5);
        q = FREIGHTRISK_PICK(b, d, 0, 1, 4, 5);
        r = FREIGHTRISK_PICK(a, c, 2, 3, 6, 7);
        s = FREIGHTRISK_PICK(b, d, 2, 3, 6, 7);
        *(freightrisk_four *)value = (((s * v + r) * v + q) * v + p) * FREIGHTRISK_FOUR(value);
    }
    /* Rows 0 and 2 in one vector, 1 and 3 in the other: each as both relativities, until the last table. */
    FREIGHTRISK_INLINE void freightrisk_four_pairs(const int *const *place, const double *const *tables, int n_tables,
                                                   long long row, double base, double beside, double *first,
                                                   double *second) {
        freightrisk_four p = {base, beside, base, beside}, q = p;
        int t;
        for (t = 0; t < n_tables; t++) {
            const int *at = place[t] + row;
            p *= FREIGHTRISK_PICK(FREIGHTRISK_TWO(tables[t] + at[0]), FREIGHTRISK_TWO(tables[t] + at[2]), 0, 1, 2, 3);
            q *= FREIGHTRISK_PICK(FREIGHTRISK_TWO(tables[t] + at[1]), FREIGHTRISK_TWO(tables[t] + at[3]), 0, 1, 2, 3);
        }
        *(freightrisk_four *)(first + row) = FREIGHTRISK_PICK(p, q, 0, 4, 2, 6);
        *(freightrisk_four *)(second + row) = FREIGHTRISK_PICK(p, q, 1, 5, 3, 7);
    }
    FREIGHTRISK_INLINE void freightrisk_four_singles(const double *table, const int *code, double *value) {
        freightrisk_four found = {table[code[0]], table[code[1]], table[code[2]], table[code[3]]};
        *(freightrisk_four *)value *= found;
    }
    #else
    static inline void freightrisk_four_pieces(const double *curve, const int *piece, const double *u,
                                               double *value) {
        int k;
        for (k = 0; k < 4; k++) {
            const double *p = curve + piece[k];
            value[k] *= ((p[3] * u[k] + p[2]) * u[k] + p[1]) * u[k] + p[0];
        }
    }
    static inline void freightrisk_four_pairs(const int *const *place, const double *const *tables, int n_tables,
                                              long long row, double base, double beside, double *first,
                                              double *second) {
        freightrisk_some_pairs(place, tables, n_tables, row, row + 4, base, beside, first, second);
    }
    static inline void freightrisk_four_singles(const double *table, const int *code, double *value) {
        int k;
        for (k = 0; k < 4; k++) value[k] *= table[code[k]];
    }
    #define FREIGHTRISK_INLINE static inline
    #endif
    /* Of few tables each number has a loop of its own, which keeps their addresses in registers. */
    #define FREIGHTRISK_PAIRS(N) \
        for (row = 0; row + 4 <= n; row += 4) freightrisk_four_pairs(at, in, N, row, base, beside, first, second)
    FREIGHTRISK_INLINE void freightrisk_pairs(const int *const *place, const double *const *tables, int n_tables,
                                              int n, double base, double beside, double *first, double *second) {
        const int *at[6];
        const double *in[6];
        long long row;
        int t;
        for (t = 0; t < n_tables && t < 6; t++) { at[t] = place[t]; in[t] = tables[t]; }
        switch (n_tables) {
            case 1: FREIGHTRISK_PAIRS(1); break;
            case 2: FREIGHTRISK_PAIRS(2); break;
            case 3: FREIGHTRISK_PAIRS(3); break;
            case 4: FREIGHTRISK_PAIRS(4); break;
            case 5: FREIGHTRISK_PAIRS(5); break;
            case 6: FREIGHTRISK_PAIRS(6); break;
            default:
                for (row = 0; row + 4 <= n; row += 4)
                    freightrisk_four_pairs(place, tables, n_tables, row, base, beside, first, second);
        }
        freightrisk_some_pairs(place, tables, n_tables, n - n % 4, n, base, beside, first, second);
    }
    /* exp of x between -708 and 709 to one unit in the last place: 2^k times a polynomial of what is left, all plain
       products and sums, so that loops of it are vectorised. */
    static inline double freightrisk_exponential(double x) {
        long long bits;
        double t, k, r, p;
        t = x * 1.4426950408889634 + 6755399441055744.0;
        k = t - 6755399441055744.0;
        r = (x - k * 6.93147180369123816490e-01) - k * 1.90821492927058770002e-10;
        p = 1.0 + r * (1.0 + r * (1.0 / 2 + r * (1.0 / 6 + r * (1.0 / 24 + r * (1.0 / 120 + r * (1.0 / 720
            + r * (1.0 / 5040 + r * (1.0 / 40320 + r * (1.0 / 362880 + r * (1.0 / 3628800 + r * (1.0 / 39916800
            + r * (1.0 / 479001600 + r / 6227020800.0))))))))))));
        memcpy(&bits, &t, 8);
        bits = (long long)(((unsigned long long)bits + 1023) << 52);
        memcpy(&t, &bits, 8);
        return p * t;
    }
    """
    int32_t low_word "freightrisk_low_word"(double x) noexcept nogil
    int64_t word_of "freightrisk_word"(double x) noexcept nogil
    double real_of "freightrisk_real"(int64_t word) noexcept nogil
    void four_pieces "freightrisk_four_pieces"(const double* curve, const int32_t* piece, const double* u,
                                               double* value) noexcept nogil
    void all_pairs "freightrisk_pairs"(const int32_t** place, const double** tables, int n_tables, int n, double base,
                                       double beside, double* first, double* second) noexcept nogil
    void four_singles "freightrisk_four_singles"(const double* table, const int32_t* code, double* value) noexcept nogil
    double exponential "freightrisk_exponential"(double x) noexcept nogil
    const int64_t ONE_WORD "0x3ff0000000000000LL"  # the bits of 1.0
    const int FREIGHTRISK_CHECKED
    ctypedef void wide_void "FREIGHTRISK_WIDE void"
    # What a loop writes overlaps nothing that it reads; without that promise gathers are not vectorised.
    ctypedef double* real_out "double* FREIGHTRISK_ALONE"
    ctypedef int32_t* int_out "int32_t* FREIGHTRISK_ALONE"
    ctypedef int64_t* long_out "int64_t* FREIGHTRISK_ALONE"
    ctypedef uint32_t* mask_out "uint32_t* FREIGHTRISK_ALONE"
    ctypedef uint64_t* whole_out "uint64_t* FREIGHTRISK_ALONE"
    ctypedef uint8_t* flag_out "uint8_t* FREIGHTRISK_ALONE"

cdef enum:
    BLOCK = 512          # rows a block: codes, means and money of a block stay in L1 and L2
    MAX_COLUMNS = 48
    RESPONSE = 0
    SCALE = 1
    WEIGHT = 2
    TRIALS = 3
    ONES = 0
    DOUBLE = 1
    SINGLE = 2
    BYTE = 3
    SHORT = 4
    LONG = 5
    POISSON = 0
    BERNOULLI = 1
    GAMMA = 2
    GAMMA_OBSERVED = 3
    NEGATIVE_BINOMIAL = 4
    LOGNORMAL = 5
    INVERSE_GAUSSIAN = 6
    TWEEDIE = 7
    TWEEDIE_OBSERVED = 8
    BETA_BINOMIAL = 9
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
    MAX_RULES = 64
    MICRO_PER_FEN = 10000
    FLOOR_BOUND = 1
    LIMIT_BOUND = 2
    FILED_BOUND = 4
    UNSEEN_LEVEL = 8

CHECKED = bool(FREIGHTRISK_CHECKED)
BLOCK_ROWS = BLOCK
COLUMN_LIMIT = MAX_COLUMNS
FAMILIES = {
    "poisson": POISSON, "bernoulli": BERNOULLI, "gamma": GAMMA, "gamma_observed": GAMMA_OBSERVED,
    "negative_binomial": NEGATIVE_BINOMIAL, "lognormal": LOGNORMAL, "inverse_gaussian": INVERSE_GAUSSIAN,
    "tweedie": TWEEDIE, "tweedie_observed": TWEEDIE_OBSERVED, "beta_binomial": BETA_BINOMIAL,
}
NUMBERS = {"f8": DOUBLE, "f4": SINGLE, "u1": BYTE, "u2": SHORT, "u4": LONG}
RULE_KINDS = {
    "percent_of_list": PERCENT_OF_LIST, "percent_of_rest": PERCENT_OF_REST,
    "fixed_fen": FIXED, "price_to_fen": PRICE_TO,
}
ROUNDING_MODES = {
    "half_even": HALF_EVEN, "half_up": HALF_UP, "ceiling": CEILING, "down": DOWN, "dither": DITHER, "carry": CARRY,
}
FLAGS = {
    "floor_bound": FLOOR_BOUND, "limit_bound": LIMIT_BOUND,
    "filed_bound": FILED_BOUND, "unseen_level": UNSEEN_LEVEL,
}

# Adding and subtracting 1.5 * 2**52 rounds a double below 2**51 to the nearest integer, ties to even.
cdef double ROUND_TO_INTEGER = 6755399441055744.0
cdef double ROUND_TO_FRACTION = 103079215104.0  # as much, times 2**-16
cdef double HALF_STEP = 5e-5  # a whole number over 10000 is a multiple of 1e-4: with half of that it never falls short
cdef double LARGEST_MICRO = 1e15
cdef uint64_t EVERY_RULE = 0xFFFFFFFFFFFFFFFF
cdef double FARTHEST = 690.0  # exp(-690) is above the smallest double
cdef double LARGEST_ETA = 708.0


# What the kernels take on trust is proved once a call: lengths here, codes by whoever makes the columns.

cdef int need(bint holds, str what) except -1:
    """Raise unless arrays are as long as a kernel is told."""
    if not holds:
        raise ValueError(f"a kernel was given {what}")
    return 0


cdef inline bint reaches(Py_ssize_t length, Py_ssize_t stop) noexcept:
    """Whether a column that may have no rows has those up to `stop`."""
    return length == 0 or length >= stop


cdef int prove_tables(const int32_t[::1] columns, const int64_t[::1] offsets, Py_ssize_t length, list slots,
                      str what) except -1:
    """Raise unless each table lies in an array of `length`, with an entry for each slot of its column."""
    cdef Py_ssize_t f
    need(columns.shape[0] == offsets.shape[0], f"{what} tables without places")
    for f in range(columns.shape[0]):
        need(0 <= columns[f] < len(slots) and 0 <= offsets[f] <= length - slots[columns[f]],
             f"{what} tables that are shorter than their columns")
    return 0


@cython.auto_pickle(False)
cdef class CodeColumns:
    """Code columns of one length and how many slots each may name; keeps the arrays alive.

    Parameters
    ----------
    codes : list of uint8, uint16 or uint32 arrays, contiguous, of one length
    sizes : int64 array, slots of each column; every code is below its column's size
    largest : int64 array, the largest code of each column, where it is known
    """

    cdef const uint8_t* column[MAX_COLUMNS]
    cdef int itemsize[MAX_COLUMNS]
    cdef int64_t size[MAX_COLUMNS]
    cdef int64_t largest[MAX_COLUMNS]
    cdef readonly int count
    cdef readonly Py_ssize_t rows
    cdef list views

    def __init__(self, list codes not None, const int64_t[::1] sizes not None, Py_ssize_t rows,
                 const int64_t[::1] largest=None):
        cdef const uint8_t[::1] view
        cdef int f
        need(len(codes) <= MAX_COLUMNS and sizes.shape[0] == len(codes) and rows >= 0, "too many columns of codes")
        need(largest is None or largest.shape[0] == len(codes), "another number of largest codes")
        self.count = <int>len(codes)
        self.rows = rows
        self.views = [array.view("u1") for array in codes]
        for f in range(self.count):
            need(codes[f].dtype.str in ("|u1", "<u2", "<u4") and codes[f].shape == (rows,), "other columns of codes")
            view = self.views[f]
            self.itemsize[f] = codes[f].dtype.itemsize
            self.size[f] = sizes[f]
            self.largest[f] = sizes[f] - 1 if largest is None else largest[f]
            self.column[f] = &view[0] if view.shape[0] > 0 else NULL

    @property
    def sizes(self):
        """Return the slots of each column."""
        return tuple([self.size[f] for f in range(self.count)])

    @property
    def arrays(self):
        """Return the codes of each column in their own type, which cannot be written to."""
        found = [self.views[f].view(f"u{self.itemsize[f]}") for f in range(self.count)]
        for codes in found:
            codes.flags.writeable = False
        return found


@cython.auto_pickle(False)
cdef class RowValues:
    """Response, multiplicative offset, prior weight and lines of each row; keeps the arrays alive.

    Parameters
    ----------
    arrays : list of four contiguous arrays
        Each of float64, float32, uint8, uint16 or uint32; one without rows stands for ones.
    """

    cdef const uint8_t* column[4]
    cdef int kind[4]
    cdef Py_ssize_t length[4]
    cdef list views

    def __init__(self, list arrays not None):
        cdef const uint8_t[::1] view
        cdef int k
        need(len(arrays) == 4, "other than four columns of values")
        self.views = [array.view("u1") for array in arrays]
        for k in range(4):
            need(arrays[k].ndim == 1, "values of two dimensions")
            view, self.length[k] = self.views[k], len(arrays[k])
            self.kind[k] = NUMBERS[arrays[k].dtype.str[1:]] if len(arrays[k]) else ONES
            self.column[k] = &view[0] if view.shape[0] > 0 else NULL


cdef wide_void widen(const uint8_t* column, int itemsize, Py_ssize_t start, int n, int_out out) noexcept nogil:
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


# --- the codes -----------------------------------------------------------------------------------------------------

cdef wide_void read_places(const uint8_t* categories, int itemsize, Py_ssize_t start, int n, int32_t last,
                           int_out place) noexcept nogil:
    """Signed categories as places of a table; those below zero or beyond it are its last."""
    cdef int i
    cdef int64_t found
    if itemsize == 1:
        for i in range(n):
            place[i] = (<const int8_t*>categories + start)[i]
    elif itemsize == 2:
        for i in range(n):
            place[i] = (<const int16_t*>categories + start)[i]
    elif itemsize == 4:
        for i in range(n):
            place[i] = (<const int32_t*>categories + start)[i]
    else:
        for i in range(n):
            found = (<const int64_t*>categories + start)[i]
            place[i] = <int32_t>found if 0 <= found < last else last
    for i in range(n):
        place[i] = <int32_t>min(<uint32_t>place[i], <uint32_t>last)


cdef void write_slots(const int32_t* place, const uint8_t* table, int slot_size, int n, flag_out out) noexcept nogil:
    cdef int i
    if slot_size == 1:
        for i in range(n):
            out[i] = table[place[i]]
    elif slot_size == 2:
        for i in range(n):
            (<uint16_t*>out)[i] = (<const uint16_t*>table)[place[i]]
    else:
        for i in range(n):
            (<uint32_t*>out)[i] = (<const uint32_t*>table)[place[i]]


def recode(const uint8_t[::1] categories not None, int itemsize, const uint8_t[::1] table not None, int slot_size,
           Py_ssize_t start, Py_ssize_t stop, uint8_t[::1] out not None):
    """Write what a table has for the categories of rows [start, stop); those outside it have its last entry.

    Parameters
    ----------
    categories : the bytes of an int8, int16, int32 or int64 array of `itemsize`
    table, out : the bytes of uint8, uint16 or uint32 arrays of `slot_size`
    """
    cdef int32_t place[BLOCK]
    cdef int32_t last = <int32_t>(table.shape[0] // slot_size) - 1
    cdef Py_ssize_t step, block
    cdef int n
    if stop <= start:
        return
    need(start >= 0 and categories.shape[0] >= stop * itemsize and last >= 0 and out.shape[0] >= stop * slot_size,
         "categories, a table or slots of other lengths")
    with nogil:
        for step in range((stop - start + BLOCK - 1) // BLOCK):
            block = start + step * BLOCK
            n = <int>min(<Py_ssize_t>BLOCK, stop - block)
            read_places(&categories[0], itemsize, block, n, last, &place[0])
            write_slots(&place[0], &table[0], slot_size, n, &out[block * slot_size])


def pair_categories(const uint8_t[::1] categories not None, int itemsize, int32_t size, Py_ssize_t start,
                    Py_ssize_t stop, int32_t[::1] which not None, uint8_t[::1] seen not None):
    """Write which * size + category over `which` for rows [start, stop), and mark in `seen` what occurs.

    A category outside [0, size) counts as the last. `seen` has a place for every pair.
    """
    cdef int32_t place[BLOCK]
    cdef Py_ssize_t step, block
    cdef int n, i
    cdef int64_t pair
    cdef bint fits = True
    if stop <= start:
        return
    need(start >= 0 and categories.shape[0] >= stop * itemsize and which.shape[0] >= stop and size > 0,
         "categories of other lengths")
    with nogil:
        for step in range((stop - start + BLOCK - 1) // BLOCK):
            block = start + step * BLOCK
            n = <int>min(<Py_ssize_t>BLOCK, stop - block)
            read_places(&categories[0], itemsize, block, n, size - 1, &place[0])
            for i in range(n):
                pair = <int64_t>which[block + i] * size + place[i]
                if 0 <= pair < seen.shape[0]:
                    which[block + i] = <int32_t>pair
                    seen[pair] = 1
                else:
                    fits = False
    need(fits, "pairs of categories without a place")


cdef wide_void search_half(const double* values, const double* edges, int64_t half, int n,
                           long_out place) noexcept nogil:
    cdef int i
    for i in range(n):
        place[i] += half if values[i] > edges[place[i] + half - 1] else 0


cdef wide_void narrow(const int64_t* place, int n, flag_out out) noexcept nogil:
    cdef int i
    for i in range(n):
        out[i] = <uint8_t>place[i]


def band_codes(const double[::1] values not None, const double[::1] edges not None, Py_ssize_t start, Py_ssize_t stop,
               uint8_t[::1] out not None):
    """Write how many of at most 255 ascending edges each value of rows [start, stop) is above; 0 for a NaN.

    `edges` ends with infinities, up to a power of two in all.
    """
    cdef int64_t place[BLOCK]
    cdef int64_t half
    cdef Py_ssize_t step, block
    cdef int n
    if stop <= start:
        return
    need(start >= 0 and values.shape[0] >= stop and out.shape[0] >= stop, "values or bands of other lengths")
    need(0 < edges.shape[0] <= 256 and not edges.shape[0] & (edges.shape[0] - 1), "edges that are no power of two")
    with nogil:
        for step in range((stop - start + BLOCK - 1) // BLOCK):
            block = start + step * BLOCK
            n = <int>min(<Py_ssize_t>BLOCK, stop - block)
            memset(&place[0], 0, n * sizeof(int64_t))
            half = edges.shape[0] // 2
            while half > 0:
                search_half(&values[block], &edges[0], half, n, &place[0])
                half //= 2
            narrow(&place[0], n, &out[block])


# --- the fit -------------------------------------------------------------------------------------------------------


cdef wide_void poisson_rows(const double* eta, const double* y, const double* scale, const double* weight, int n,
                            real_out score, real_out information, real_out likely, real_out pearson) noexcept nogil:
    """Counts with mean m = scale exp(eta): score w (y - m), information w m."""
    cdef int i
    cdef double mean, residual
    for i in range(n):
        mean = scale[i] * exponential(eta[i])
        residual = y[i] - mean
        score[i] = weight[i] * residual
        information[i] = weight[i] * mean
        likely[i] = weight[i] * (y[i] * eta[i] - mean)
        pearson[i] = weight[i] * residual * residual / mean


cdef inline void bernoulli_rows(const double* eta, const double* y, const double* scale, const double* weight, int n,
                                double* score, double* information, double* likely, double* pearson) noexcept nogil:
    """At most one claim: p = 1 - exp(-m), m = scale exp(eta); information is the expected one, w m^2 (1-p) / p."""
    cdef int i
    cdef double mean, p, none
    for i in range(n):
        mean = scale[i] * exp(eta[i])
        p = -expm1(-mean)
        none = exp(-mean)
        score[i] = weight[i] * mean * (y[i] - p) / p
        information[i] = weight[i] * mean * (mean * none) / p
        likely[i] = weight[i] * ((y[i] * log(p) if y[i] > 0.0 else 0.0) - (1.0 - y[i]) * mean)
        pearson[i] = weight[i] * (y[i] - p) * (y[i] - p) / (p * none) if none > 0.0 else 0.0


cdef wide_void gamma_rows(const double* eta, const double* y, const double* scale, const double* weight, int n,
                          real_out score, real_out information, real_out likely, real_out pearson) noexcept nogil:
    """Amounts with mean m = scale exp(eta): score w (y/m - 1), observed information w y/m; the expected one is w."""
    cdef int i
    cdef double ratio
    for i in range(n):
        ratio = y[i] * exponential(-eta[i]) / scale[i]
        score[i] = weight[i] * (ratio - 1.0)
        information[i] = weight[i] * ratio
        likely[i] = -weight[i] * (ratio + eta[i])
        pearson[i] = weight[i] * (ratio - 1.0) * (ratio - 1.0)


cdef inline void negative_binomial_rows(const double* eta, const double* y, const double* scale, const double* weight,
                                        int n, double shape, double* score, double* information,
                                        double* likely, double* pearson) noexcept nogil:
    """Counts with variance v = m + shape m^2: score w m (y - m) / v, expected information w m^2 / v."""
    cdef int i
    cdef double mean, spread, residual
    for i in range(n):
        mean = scale[i] * exp(eta[i])
        spread = 1.0 + shape * mean
        residual = y[i] - mean
        score[i] = weight[i] * residual / spread
        information[i] = weight[i] * mean / spread
        likely[i] = weight[i] * (y[i] * eta[i] - (y[i] + 1.0 / shape) * log1p(shape * mean))
        pearson[i] = weight[i] * residual * residual / (mean * spread)


cdef inline void lognormal_rows(const double* eta, const double* y, const double* scale, const double* weight, int n,
                                double* score, double* information, double* likely, double* pearson) noexcept nogil:
    """Amounts whose log has mean log scale + eta: score w r, r the residual of the log, information w."""
    cdef int i
    cdef double residual
    for i in range(n):
        residual = log(y[i] / scale[i]) - eta[i]
        score[i] = weight[i] * residual
        information[i] = weight[i]
        likely[i] = -0.5 * weight[i] * residual * residual
        pearson[i] = weight[i] * residual * residual


cdef inline void inverse_gaussian_rows(const double* eta, const double* y, const double* scale, const double* weight,
                                       int n, double* score, double* information, double* likely,
                                       double* pearson) noexcept nogil:
    """Amounts with variance ~ m^3: score w (y - m) / m^2, expected information w / m."""
    cdef int i
    cdef double rate, residual
    for i in range(n):
        rate = exp(-eta[i]) / scale[i]
        residual = y[i] * rate - 1.0
        score[i] = weight[i] * residual * rate
        information[i] = weight[i] * rate
        likely[i] = weight[i] * rate * (1.0 - 0.5 * y[i] * rate)
        pearson[i] = weight[i] * residual * residual * rate


cdef inline void tweedie_rows(const double* eta, const double* y, const double* scale, const double* weight, int n,
                              double shape, bint observed, double* score, double* information,
                              double* likely, double* pearson) noexcept nogil:
    """Amounts, some zero, with variance ~ m^p, 1 < p < 2: score w m^(1-p) (y - m), information w m^(2-p).

    The observed information is w ((2-p) m^(2-p) + (p-1) y m^(1-p)).
    """
    cdef int i
    cdef double mean, low, high
    for i in range(n):
        mean = scale[i] * exp(eta[i])
        low = pow(mean, 1.0 - shape)
        high = low * mean
        score[i] = weight[i] * (y[i] * low - high)
        information[i] = weight[i] * (((2.0 - shape) * high + (shape - 1.0) * y[i] * low) if observed else high)
        likely[i] = weight[i] * (y[i] * low / (1.0 - shape) - high / (2.0 - shape))
        pearson[i] = weight[i] * (y[i] - mean) * (y[i] - mean) * low / mean


cdef inline void beta_binomial_rows(const double* eta, const double* y, const double* scale, const double* weight,
                                    const double* trials, int n, double shape, double* score, double* information,
                                    double* likely, double* pearson) noexcept nogil:
    """Returns y of `trials` lines, p = 1 - exp(-m) each, m = scale exp(eta), correlation `shape` of two of one order.

    The log likelihood is the sum of log(p (1-r) + k r), k < y, and of log((1-p) (1-r) + k r), k < trials - y. The
    expected information weighs each term's square by how likely it is to be there.
    """
    cdef int i, k, lines, back
    cdef double mean, p, none, apart = 1.0 - shape, slope, first, second, chance, seen, at, share
    for i in range(n):
        mean = scale[i] * exp(eta[i])
        p = -expm1(-mean)
        none = exp(-mean) if mean < FARTHEST else exp(-FARTHEST)
        slope = apart * mean * none
        lines, back = <int>trials[i], <int>y[i]
        first, second, at = 0.0, 0.0, 0.0
        for k in range(back):
            first += 1.0 / (p * apart + k * shape)
            at += log(p * apart + k * shape)
        for k in range(lines - back):
            second += 1.0 / (none * apart + k * shape)
            at += log(none * apart + k * shape)
        score[i] = weight[i] * slope * (first - second)
        likely[i] = weight[i] * at
        share = y[i] - trials[i] * p
        pearson[i] = weight[i] * share * share / (trials[i] * p * none * (1.0 + (trials[i] - 1.0) * shape))
        if shape == 0.0:
            information[i] = weight[i] * mean * (mean * none) / p * trials[i]
            continue
        chance = 1.0
        for k in range(lines):
            chance *= (none * apart + k * shape) / (apart + k * shape)
        seen, first, second = 1.0 - chance, 0.0, 0.0
        for k in range(lines):
            # seen = P(y > k), and P(trials - y > lines - 1 - k) = P(y <= k)
            first += seen / ((p * apart + k * shape) * (p * apart + k * shape))
            at = none * apart + (lines - 1 - k) * shape
            second += (1.0 - seen) / (at * at)
            chance *= (lines - k) * (p * apart + k * shape) / ((k + 1) * at)
            seen = seen - chance if seen > chance else 0.0
        information[i] = weight[i] * slope * slope * (first + second)


# Two loops, since one with both bounds has branches that are not vectorised.

cdef wide_void bound_above(double most, int n, real_out eta) noexcept nogil:
    cdef int i
    for i in range(n):
        eta[i] = most if eta[i] > most else eta[i]


cdef wide_void bound_below(double least, int n, real_out eta) noexcept nogil:
    cdef int i
    for i in range(n):
        eta[i] = least if eta[i] < least else eta[i]


cdef wide_void gather_sum(const int32_t* codes, const double* table, int n, real_out value) noexcept nogil:
    cdef int i
    for i in range(n):
        value[i] += table[codes[i]]


cdef inline const double* read_values(RowValues values, int which, Py_ssize_t start, int n, double* own) noexcept nogil:
    """Some rows of a column of values: where they stand, or as doubles in `own`."""
    cdef const uint8_t* column = values.column[which]
    cdef int i
    if values.kind[which] == DOUBLE:
        return <const double*>column + start
    if values.kind[which] == SINGLE:
        for i in range(n):
            own[i] = (<const float*>column + start)[i]
    elif values.kind[which] == BYTE:
        for i in range(n):
            own[i] = (column + start)[i]
    elif values.kind[which] == SHORT:
        for i in range(n):
            own[i] = (<const uint16_t*>column + start)[i]
    elif values.kind[which] == LONG:
        for i in range(n):
            own[i] = (<const uint32_t*>column + start)[i]
    else:
        for i in range(n):
            own[i] = 1.0
    return own


cdef inline void scatter(const int32_t* cells, const double* values, int n, double* table) noexcept nogil:
    cdef int i
    for i in range(n):
        table[cells[i]] += values[i]


cdef inline void scatter_both(const int32_t* cells, const double* first, const double* second, int n,
                              double* table) noexcept nogil:
    cdef int i
    for i in range(n):
        table[2 * cells[i]] += first[i]
        table[2 * cells[i] + 1] += second[i]


cdef wide_void add_eights(const double* values, int n, real_out eights) noexcept nogil:
    cdef int i, k
    for i in range(n // 8):
        for k in range(8):
            eights[k] += values[8 * i + k]


cdef double total_of(const double* values, int n) noexcept nogil:
    """The sum of values, every eighth apart: the same on every machine, and eight times fewer sums in a row."""
    cdef double eights[8]
    cdef double rest = 0.0
    cdef int i
    memset(&eights[0], 0, sizeof(eights))
    add_eights(values, n, &eights[0])
    for i in range(n - n % 8, n):
        rest += values[i]
    return (((eights[0] + eights[1]) + (eights[2] + eights[3])) + ((eights[4] + eights[5]) + (eights[6] + eights[7]))
            + rest)


cdef int prove_cells(CodeColumns columns, const int32_t[::1] members, const int32_t[::1] firsts,
                     const int64_t[::1] places, int n_scores, Py_ssize_t length) except -1:
    """Raise unless the cells of every table lie in the output."""
    cdef int t, m
    cdef int64_t cells
    need(places.shape[0] >= firsts.shape[0] - 1, "tables without places")
    for t in range(<int>firsts.shape[0] - 1):
        need(0 <= firsts[t] < firsts[t + 1] <= members.shape[0], "tables without columns")
        cells = 1
        for m in range(firsts[t], firsts[t + 1]):
            need(0 <= members[m] < columns.count, "a table of a column that is not there")
            cells *= columns.size[members[m]]
            need(cells < <int64_t>1 << 31, "a table of too many cells")
        need(0 <= places[t] <= length - (2 * cells if t < n_scores else cells), "fewer cells than tables have")
    return 0


def accumulate(int family, double shape, CodeColumns columns not None, const int64_t[::1] offsets not None, double base,
               const double[::1] tables not None, RowValues values not None, Py_ssize_t start, Py_ssize_t stop,
               const int32_t[::1] members not None, const int32_t[::1] firsts not None,
               const int64_t[::1] places not None, int n_scores, double[::1] cells_out not None,
               double[::1] sums_out not None):
    """Add the score, information and objective of rows [start, stop) to the outputs.

    Parameters
    ----------
    family : one of FAMILIES, all with eta = base + sum of log tables, held between -708 and 708, and expected
        information unless it says observed
    shape : dispersion of a negative binomial, power of a Tweedie variance, correlation of a beta binomial (0 for a
        binomial); not read by the others
    offsets : (F,) where each factor's table starts in `tables`
    members : columns whose codes count the cells of each table in `cells_out`, the last one fastest
    firsts : (T + 1,) where each table's columns start in `members`
    places : (T,) where it starts in `cells_out`
    n_scores : so many tables, the first ones, hold score and information of each cell, the others information alone
    sums_out : (4,) objective, Pearson sum, total score, total information
    """
    cdef int32_t codes[MAX_COLUMNS][BLOCK]
    cdef int32_t fused[2][BLOCK]
    cdef double own[4][BLOCK]
    cdef double eta[BLOCK]
    cdef double score[BLOCK]
    cdef double information[BLOCK]
    cdef double likely[BLOCK]
    cdef double pearson[BLOCK]
    cdef const double* y
    cdef const double* scale
    cdef const double* weight
    cdef const int32_t* cells
    cdef Py_ssize_t step, block
    cdef int n, f, t, m, side, count = columns.count, n_tables = <int>firsts.shape[0] - 1
    if stop <= start:
        return
    need(start >= 0 and columns.rows >= stop and sums_out.shape[0] >= 4, "fewer rows than to add")
    need(all([reaches(values.length[f], stop) for f in range(4)]), "fewer values than rows")
    need(offsets.shape[0] >= count, "fewer tables than columns")
    for f in range(count):
        need(0 <= offsets[f] <= tables.shape[0] - columns.size[f], "tables that are shorter than their columns")
    prove_cells(columns, members, firsts, places, n_scores, cells_out.shape[0])
    with nogil:
        for step in range((stop - start + BLOCK - 1) // BLOCK):
            block = start + step * BLOCK
            n = <int>min(<Py_ssize_t>BLOCK, stop - block)
            fill(base, n, &eta[0])
            for f in range(count):
                widen(columns.column[f], columns.itemsize[f], block, n, &codes[f][0])
                if FREIGHTRISK_CHECKED and not in_range(&codes[f][0], n, columns.size[f]):
                    with gil:
                        raise IndexError("a code is out of its table's range")
                gather_sum(&codes[f][0], &tables[offsets[f]], n, &eta[0])
            bound_above(LARGEST_ETA, n, &eta[0])
            bound_below(-LARGEST_ETA, n, &eta[0])
            y = read_values(values, RESPONSE, block, n, &own[RESPONSE][0])
            scale = read_values(values, SCALE, block, n, &own[SCALE][0])
            weight = read_values(values, WEIGHT, block, n, &own[WEIGHT][0])
            if family == POISSON:
                poisson_rows(&eta[0], y, scale, weight, n, &score[0], &information[0], &likely[0], &pearson[0])
            elif family == BERNOULLI:
                bernoulli_rows(&eta[0], y, scale, weight, n, &score[0], &information[0], &likely[0], &pearson[0])
            elif family == GAMMA or family == GAMMA_OBSERVED:
                gamma_rows(&eta[0], y, scale, weight, n, &score[0], &information[0], &likely[0], &pearson[0])
                if family == GAMMA:
                    memcpy(&information[0], weight, n * sizeof(double))
            elif family == NEGATIVE_BINOMIAL:
                negative_binomial_rows(&eta[0], y, scale, weight, n, shape, &score[0], &information[0], &likely[0],
                                       &pearson[0])
            elif family == LOGNORMAL:
                lognormal_rows(&eta[0], y, scale, weight, n, &score[0], &information[0], &likely[0], &pearson[0])
            elif family == INVERSE_GAUSSIAN:
                inverse_gaussian_rows(&eta[0], y, scale, weight, n, &score[0], &information[0], &likely[0],
                                      &pearson[0])
            elif family == BETA_BINOMIAL:
                beta_binomial_rows(&eta[0], y, scale, weight, read_values(values, TRIALS, block, n, &own[TRIALS][0]),
                                   n, shape, &score[0], &information[0], &likely[0], &pearson[0])
            else:
                tweedie_rows(&eta[0], y, scale, weight, n, shape, family == TWEEDIE_OBSERVED, &score[0],
                             &information[0], &likely[0], &pearson[0])
            sums_out[0] += total_of(&likely[0], n)
            sums_out[1] += total_of(&pearson[0], n)
            sums_out[2] += total_of(&score[0], n)
            sums_out[3] += total_of(&information[0], n)
            for t in range(n_tables):
                cells = &codes[members[firsts[t]]][0]
                side = 0
                for m in range(firsts[t] + 1, firsts[t + 1]):
                    fuse(cells, &codes[members[m]][0], <int32_t>columns.size[members[m]], 1, n, &fused[side][0])
                    cells = &fused[side][0]
                    side = 1 - side
                if t < n_scores:
                    scatter_both(cells, &score[0], &information[0], n, &cells_out[places[t]])
                else:
                    scatter(cells, &information[0], n, &cells_out[places[t]])


# --- the price -----------------------------------------------------------------------------------------------------


@cython.auto_pickle(False)
cdef class PricePlan:
    """A tariff as flat arrays, the form in which the kernel reads it; see `tariff.plan.plan_arguments`.

    `*_columns` name code columns, `*_offsets` say where that column's table starts in `*_tables`. After the columns of
    the orders come fused ones, each `fused_first` times `fused_width` plus `fused_second`, whose tables are products.
    The first columns of both models are the same, as many as there are `pair_offsets`: `pair_tables` has their
    relativities of the frequency beside those of the severity.
    """

    cdef double frequency_base, severity_base, limit
    cdef const int32_t[::1] frequency_columns, severity_columns, share_columns, limit_columns, mask_columns
    cdef const int32_t[::1] fused_first, fused_second, fused_width
    cdef const int64_t[::1] frequency_offsets, severity_offsets, share_offsets, limit_offsets, mask_offsets, known
    cdef const double[::1] frequency_tables, severity_tables, share_tables, limit_tables, pair_tables
    cdef const int64_t[::1] pair_offsets
    cdef int count_column, count_pieces  # the column that chooses the claim-count curve, -1 for one curve
    cdef const uint32_t[:, ::1] mask_halves  # of all mask tables, (2, entries)
    cdef const double[:, ::1] count_curve, limit_curve  # (pieces, 4)
    cdef int limit_bits
    cdef int64_t limit_first
    cdef double limit_top
    cdef double fraud, handling, policy, gross_up, filed_factor, filed_min_micro, filed_max_micro
    cdef int32_t floor_fen
    cdef const int32_t[::1] rule_kind, rule_cap, rule_payer, rule_group
    cdef const int64_t[::1] rule_amount
    cdef const uint8_t[::1] rule_limited  # whether a budget or a cap by merchant may stop the rule
    cdef const int64_t[::1] sizes  # slots of each code column
    cdef int payers
    cdef readonly int rules, rounding

    def __init__(self, sizes not None, double frequency_base, double severity_base, double limit,
                 frequency_columns not None, frequency_offsets not None, frequency_tables not None,
                 severity_columns not None, severity_offsets not None, severity_tables not None,
                 share_columns not None, share_offsets not None, share_tables not None,
                 limit_columns not None, limit_offsets not None, limit_tables not None,
                 pair_offsets not None, pair_tables not None,
                 mask_columns not None, mask_offsets not None, mask_tables not None, known not None,
                 fused_first not None, fused_second not None, fused_width not None,
                 count_curve not None, int count_column, int count_curves,
                 limit_curve not None, int limit_bits, int64_t limit_first, double limit_top,
                 double fraud_load, double claim_handling, double policy_cost, double retained, double filed_factor,
                 double filed_min_micro, double filed_max_micro, int32_t floor_fen,
                 int rounding, rule_kind not None, rule_amount not None, rule_cap not None, rule_payer not None,
                 rule_group not None, rule_limited not None):
        need(count_curves > 0, "no curve of counts")
        self.frequency_base, self.severity_base, self.limit = frequency_base, severity_base, limit
        self.frequency_columns, self.severity_columns = frequency_columns, severity_columns
        self.share_columns, self.share_offsets, self.share_tables = share_columns, share_offsets, share_tables
        self.limit_columns, self.mask_columns, self.known = limit_columns, mask_columns, known
        self.fused_first, self.fused_second, self.fused_width = fused_first, fused_second, fused_width
        self.frequency_offsets, self.severity_offsets = frequency_offsets, severity_offsets
        self.limit_offsets, self.mask_offsets = limit_offsets, mask_offsets
        self.frequency_tables, self.severity_tables = frequency_tables, severity_tables
        self.pair_offsets, self.pair_tables = pair_offsets, pair_tables
        self.limit_tables = limit_tables
        halves = mask_tables.astype("<u8").view("<u4")
        self.mask_halves = halves.reshape(-1, 2).T.astype("u4", order="C")
        self.count_curve, self.limit_curve = count_curve.copy(), limit_curve.copy()
        self.limit_bits, self.limit_first, self.limit_top = limit_bits, limit_first, limit_top
        self.count_column, self.count_pieces = count_column, <int>(len(count_curve) // count_curves)
        self.fraud, self.handling, self.policy, self.gross_up = fraud_load, claim_handling, policy_cost, 1.0 / retained
        self.filed_factor, self.filed_min_micro, self.filed_max_micro = filed_factor, filed_min_micro, filed_max_micro
        self.floor_fen = floor_fen
        self.rule_kind, self.rule_amount, self.rule_cap = rule_kind, rule_amount, rule_cap
        self.rule_payer, self.rule_group, self.rule_limited = rule_payer, rule_group, rule_limited
        self.rounding = rounding
        self.rules = <int>rule_kind.shape[0]
        self.sizes = sizes
        self.payers = 1 + max([payer for payer in rule_payer], default=-1)
        self._prove(count_curves)

    cdef int _prove(self, int count_curves) except -1:
        """Raise unless every table has an entry for each code of its column."""
        cdef list slots = list(self.sizes)
        cdef int64_t products
        cdef Py_ssize_t k, fused = self.fused_first.shape[0], pairs = self.pair_offsets.shape[0]
        need(len(slots) <= MAX_COLUMNS and len(slots) == self.known.shape[0], "too many columns of codes")
        need(fused == self.fused_second.shape[0] == self.fused_width.shape[0] <= MAX_COLUMNS, "other fused columns")
        for k in range(fused):
            need(0 <= self.fused_first[k] < len(slots) and 0 <= self.fused_second[k] < len(slots)
                 and self.fused_width[k] == slots[self.fused_second[k]], "fused columns of other columns")
            products = slots[self.fused_first[k]] * slots[self.fused_second[k]]
            need(products < <int64_t>1 << 15, "fused columns of too many products")
            slots.append(products)
        prove_tables(self.frequency_columns, self.frequency_offsets, self.frequency_tables.shape[0], slots, "frequency")
        prove_tables(self.severity_columns, self.severity_offsets, self.severity_tables.shape[0], slots, "severity")
        prove_tables(self.share_columns, self.share_offsets, self.share_tables.shape[0], slots, "share")
        prove_tables(self.limit_columns, self.limit_offsets, self.limit_tables.shape[0], slots, "limit")
        prove_tables(self.mask_columns, self.mask_offsets, self.mask_halves.shape[1], slots, "mask")
        need(pairs <= min(self.frequency_columns.shape[0], self.severity_columns.shape[0], MAX_COLUMNS), "other pairs")
        if pairs:
            prove_tables(self.frequency_columns[:pairs], self.pair_offsets, self.pair_tables.shape[0],
                         [2 * size for size in slots], "paired")
        need(self.count_curve.shape[0] == self.count_pieces * count_curves
             and (self.count_curve.shape[0] == 0 or self.count_curve.shape[1] == 4), "other curves of counts")
        need(self.count_column < self.sizes.shape[0], "curves of counts by a column that is not there")
        need(count_curves >= (1 if self.count_column < 0 else slots[self.count_column]), "fewer curves of counts")
        need(self.limit_curve.shape[0] == 0 or self.limit_curve.shape[1] == 4, "another curve of limits")
        need(self.rules <= MAX_RULES and self.payers <= MAX_RULES
             and min([payer for payer in self.rule_payer], default=0) >= 0, "too many rules or payers")
        need(self.rules == self.rule_amount.shape[0] == self.rule_cap.shape[0] == self.rule_payer.shape[0]
             == self.rule_group.shape[0] == self.rule_limited.shape[0], "rules of other lengths")
        return 0

    cdef int prove_columns(self, CodeColumns columns) except -1:
        """Raise unless codes are of the columns that this plan has tables for."""
        cdef int f
        need(columns.count == self.sizes.shape[0], "codes of another plan")
        for f in range(columns.count):
            need(columns.size[f] == self.sizes[f], "codes of another plan")
        return 0

    cdef int prove_outputs(self, Py_ssize_t start, Py_ssize_t stop, const int32_t[::1] list_out,
                           const int32_t[:, ::1] payers_out, const int32_t[::1] merchant_out,
                           const uint8_t[::1] flags_out, MoneyColumns money, const int64_t[::1] spent_out) except -1:
        """Raise unless the outputs take rows [start, stop) of a quote."""
        need(0 <= start, "rows below zero")
        need(min(list_out.shape[0], merchant_out.shape[0], flags_out.shape[0]) >= stop, "outputs of fewer rows")
        need(self.payers <= payers_out.shape[0] <= MAX_RULES, "outputs of other payers")
        need(payers_out.shape[0] == 0 or payers_out.shape[1] >= stop, "outputs of fewer rows")
        need(spent_out is None or spent_out.shape[0] == 0 or spent_out.shape[0] >= self.rules, "fewer sums than rules")
        if money is not None:
            need(reaches(money.draws.shape[0], stop) and reaches(money.micro.shape[0], stop)
                 and reaches(money.rounded.shape[0], stop) and reaches(money.masks.shape[0], stop),
                 "columns of money of fewer rows")
            need(money.paid.shape[0] == 0 or (money.paid.shape[0] >= self.rules and money.paid.shape[1] >= stop),
                 "what rules pay with fewer rows")
        return 0


cdef inline double nearest_integer(double x) noexcept nogil:
    return (x + ROUND_TO_INTEGER) - ROUND_TO_INTEGER


cdef wide_void fill(double value, int n, real_out out) noexcept nogil:
    cdef int i
    for i in range(n):
        out[i] = value


cdef wide_void fuse(const int32_t* first, const int32_t* second, int32_t width, int times, int n,
                    int_out fused) noexcept nogil:
    """The code of a pair of codes, once or twice."""
    cdef int i
    for i in range(n):
        fused[i] = (first[i] * width + second[i]) * times


cdef wide_void fuse_bytes(const uint8_t* first, const uint8_t* second, uint16_t width, uint16_t times, int n,
                          int_out fused) noexcept nogil:
    """As `fuse` of bytes, whose pair is below 2**15."""
    cdef int i
    cdef uint16_t place
    for i in range(n):
        place = <uint16_t>(<uint16_t>(<uint16_t>first[i] * width) + second[i])
        fused[i] = <uint16_t>(place * times)


cdef wide_void fuse_byte(const int32_t* first, const uint8_t* second, int32_t width, int times, int n,
                         int_out fused) noexcept nogil:
    cdef int i
    for i in range(n):
        fused[i] = (first[i] * width + second[i]) * times


cdef wide_void twice(const int32_t* codes, int n, int_out place) noexcept nogil:
    cdef int i
    for i in range(n):
        place[i] = 2 * codes[i]


cdef void mark(const int32_t[::1] columns, uint8_t* marks) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(columns.shape[0]):
        marks[columns[k]] = 1


cdef wide_void gather_product(const int32_t* codes, const double* table, int n, real_out value) noexcept nogil:
    cdef int i
    for i in range(0, n - n % 4, 4):
        four_singles(table, codes + i, value + i)
    for i in range(n - n % 4, n):
        value[i] *= table[codes[i]]


cdef wide_void gather_first(const int32_t* codes, const double* table, double base, int n,
                            real_out value) noexcept nogil:
    cdef int i
    for i in range(n):
        value[i] = base * table[codes[i]]


cdef wide_void gather_pairs(const int32_t** place, const double** tables, int n_tables, double base, double beside,
                            int n, real_out first, real_out second) noexcept nogil:
    """Products of two bases with tables of pairs, the relativities of one code in two models; places are twice codes.
    """
    all_pairs(place, tables, n_tables, n, base, beside, first, second)


cdef wide_void gather_minimum(const int32_t* codes, const double* table, int n, real_out value) noexcept nogil:
    cdef int i
    cdef double found
    for i in range(n):
        found = table[codes[i]]
        value[i] = found if found < value[i] else value[i]


# Masks of up to 64 rules are held as halves of 32 bits, as wide as the money that they let pass.

cdef wide_void first_mask(const int32_t* codes, const uint32_t* table, int n, mask_out mask) noexcept nogil:
    cdef int i
    for i in range(n):
        mask[i] = table[codes[i]]


cdef wide_void gather_mask(const int32_t* codes, const uint32_t* table, int n, mask_out mask) noexcept nogil:
    cdef int i
    for i in range(n):
        mask[i] &= table[codes[i]]


cdef wide_void half_mask(const uint64_t* whole, int shift, int n, mask_out mask) noexcept nogil:
    cdef int i
    for i in range(n):
        mask[i] = <uint32_t>(whole[i] >> shift)


cdef wide_void whole_mask(const uint32_t* low, const uint32_t* high, int n, whole_out whole) noexcept nogil:
    cdef int i
    for i in range(n):
        whole[i] = <uint64_t>high[i] << 32 | low[i]


cdef wide_void choose_curve(const int32_t* curve_of, int32_t pieces, int n, int_out piece) noexcept nogil:
    """From pieces of one curve to those of the curve that each row's code chooses among several of as many each."""
    cdef int i
    for i in range(n):
        piece[i] += 4 * curve_of[i] * pieces


cdef wide_void curve_values(const double* curve, const int32_t* piece, const double* u, int n,
                            real_out value) noexcept nogil:
    """Multiply by the cubic ((d u + c) u + b) u + a of each piece, four entries of the curve."""
    cdef int i
    cdef const double* p
    for i in range(0, n - n % 4, 4):
        four_pieces(curve, piece + i, u + i, value + i)
    for i in range(n - n % 4, n):
        p = curve + piece[i]
        value[i] *= ((p[3] * u[i] + p[2]) * u[i] + p[1]) * u[i] + p[0]


# A curve over [0, 1] has pieces of equal width: t lies in piece k, at the place u inside it.

cdef wide_void count_place(const double* intensity, int32_t pieces, int n, real_out t, int_out piece,
                           real_out u) noexcept nogil:
    """t = lambda / (1 + lambda); the expected claims are t times the curve at t."""
    cdef int i
    cdef int32_t k, last = pieces - 1
    cdef double place
    for i in range(n):
        place = intensity[i] / (1.0 + intensity[i])
        t[i] = place
        place *= pieces
        k = <int32_t>place
        k = <int32_t>min(<uint32_t>k, <uint32_t>last)  # unsigned, so that a NaN has a piece too
        piece[i] = 4 * k
        u[i] = place - k


# The upper bits of a mean over its limit are the octave and the piece in it, the lower ones the place inside. There are
# a constant piece before the first and one behind the last, whose payout stays as it is at `top` limits.

cdef wide_void limit_place(const double* mean, const double* limit, const double* inverse, bint flat, int bits,
                           int64_t first, int32_t last, double top, int n, real_out factor, int_out piece,
                           real_out u) noexcept nogil:
    """Where `flat`, the first limit and its inverse hold for all rows."""
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
        u[i] = real_of((word & inside) | ONE_WORD) - 1.0


cdef wide_void invert(const double* value, int n, real_out inverse) noexcept nogil:
    cdef int i
    for i in range(n):
        inverse[i] = 1.0 / value[i]


cdef wide_void load_premium(const double* claims, const double* payout, const double* mean, double fraud,
                            double handling, double policy, double gross_up, double filed_factor, double lowest,
                            double highest, int n, real_out pure, real_out technical, real_out filed,
                            int_out bound) noexcept nogil:
    """Pure, technical and filed premium, the last in whole micro-yuan held in a double, and which limits bind."""
    cdef int i
    cdef double premium, micro, clamped
    for i in range(n):
        premium = claims[i] * payout[i]
        pure[i] = premium
        premium = (premium * (1.0 + fraud) + handling * claims[i] + policy) * gross_up
        technical[i] = premium
        micro = premium * filed_factor * 1e6
        micro = nearest_integer(micro if micro < LARGEST_MICRO else LARGEST_MICRO)
        clamped = micro if micro > lowest else lowest
        clamped = clamped if clamped < highest else highest
        filed[i] = clamped
        bound[i] = (LIMIT_BOUND if payout[i] < 0.99 * mean[i] else 0) | (FILED_BOUND if clamped != micro else 0)


cdef wide_void add_flags(const int32_t* bound, int n, flag_out flags) noexcept nogil:
    cdef int i
    for i in range(n):
        flags[i] |= <uint8_t>bound[i]


# A whole number below 2**45 over 10000 is a whole number, a tie, or at least 1e-4 from both. Its product with 1e-4 is
# off by less than 1e-6; to the nearest multiple of 2**-16 it is exact at both and still 9e-5 from both elsewhere. So
# rounding that to a whole number, ties to even, is rounding the quotient, without a division.

# Both roundings are sums, the whole number is then the lower bits of the last.

cdef inline int32_t nearest_fen(double fen) noexcept nogil:
    return low_word((fen + ROUND_TO_FRACTION) + (ROUND_TO_INTEGER - ROUND_TO_FRACTION))


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


cdef wide_void list_price(const int32_t* fen, int32_t floor, int n, int_out price, flag_out flags) noexcept nogil:
    cdef int i
    for i in range(n):
        price[i] = fen[i] if fen[i] > floor else floor
        flags[i] |= FLOOR_BOUND if fen[i] < floor else 0


cdef wide_void write_whole(const double* value, int n, long_out out) noexcept nogil:
    cdef int i
    for i in range(n):
        out[i] = <int64_t>value[i]


cdef wide_void share_of(const int32_t* amount, double points, int n, int_out wanted) noexcept nogil:
    """Basis points of an amount of fen, half-even to fen; exact for the same reason."""
    cdef int i
    cdef double share = points * 1e-4
    for i in range(n):
        wanted[i] = nearest_fen(amount[i] * share)


cdef wide_void rest_above(const int32_t* rest, int32_t target, int n, int_out wanted) noexcept nogil:
    cdef int i
    for i in range(n):
        wanted[i] = rest[i] - target


cdef wide_void fill_fen(int32_t value, int n, int_out out) noexcept nogil:
    cdef int i
    for i in range(n):
        out[i] = value


cdef wide_void bound_offer(int32_t cap, int32_t floor, uint32_t bit, const int32_t* rest, const uint32_t* eligible,
                           int n, int_out offer) noexcept nogil:
    """What one rule would pay each order: at most its cap and what the floor leaves, and only where eligible."""
    cdef int i
    cdef int32_t room, value
    for i in range(n):
        room = rest[i] - floor
        value = offer[i] if offer[i] < cap else cap
        value = value if value < room else room
        value = value if value > 0 else 0
        offer[i] = value if eligible[i] & bit else 0


cdef wide_void pay_offer(int32_t cap, int32_t floor, uint32_t bit, const uint32_t* eligible, bint first, int n,
                         int_out offer, int_out rest, int_out paid) noexcept nogil:
    """As `bound_offer`, of a rule without rivals, which pays what it offers; `first` of its payer's rules or not."""
    cdef int i
    cdef int32_t room, value
    for i in range(n):
        room = rest[i] - floor
        value = offer[i] if offer[i] < cap else cap
        value = value if value < room else room
        value = value if value > 0 else 0
        value = value if eligible[i] & bit else 0
        offer[i] = value
        rest[i] -= value
        paid[i] = value if first else paid[i] + value


cdef wide_void keep_best(const int32_t* offer, int32_t rule, int n, int_out best, int_out winner) noexcept nogil:
    cdef int i
    for i in range(n):
        winner[i] = rule if offer[i] > best[i] else winner[i]
        best[i] = offer[i] if offer[i] > best[i] else best[i]


cdef wide_void add_fen(const int32_t* fen, int n, int_out paid) noexcept nogil:
    cdef int i
    for i in range(n):
        paid[i] += fen[i]


cdef inline uint64_t add_to(const int32_t* fen, int payer, uint64_t written, int n, int32_t* paid) noexcept nogil:
    """Add to a payer's column, which is written where it has not been; return which have been, a bit each."""
    cdef uint64_t bit = <uint64_t>1 << payer
    if written & bit:
        add_fen(fen, n, paid)
    else:
        memcpy(paid, fen, n * sizeof(int32_t))
    return written | bit


cdef wide_void take_off(const int32_t* best, int n, int_out rest) noexcept nogil:
    cdef int i
    for i in range(n):
        rest[i] -= best[i]


cdef wide_void flag_floor(const int32_t* rest, const int32_t* price, int32_t floor, int n,
                          flag_out flags) noexcept nogil:
    """The floor binds on the merchant too, once a subsidy has brought the price down to it."""
    cdef int i
    for i in range(n):
        flags[i] |= FLOOR_BOUND if rest[i] == floor and rest[i] < price[i] else 0


cdef wide_void flag_unseen(const int32_t* codes, int64_t known, int n, flag_out flags) noexcept nogil:
    cdef int i
    cdef int32_t limit = <int32_t>known
    for i in range(n):
        flags[i] |= UNSEEN_LEVEL if codes[i] >= limit else 0


cdef wide_void clear_floor(int n, flag_out flags) noexcept nogil:
    cdef int i
    for i in range(n):
        flags[i] &= ~FLOOR_BOUND


cdef wide_void winner_only(const int32_t* best, const int32_t* winner, int32_t rule, int n,
                           int_out paid) noexcept nogil:
    cdef int i
    for i in range(n):
        paid[i] = best[i] if winner[i] == rule else 0


cdef int64_t total(const int32_t* fen, int n) noexcept nogil:
    cdef int i
    cdef int64_t sum = 0
    for i in range(n):
        sum += fen[i]
    return sum


@cython.auto_pickle(False)
cdef class MoneyColumns:
    """What pricing reads and writes about money besides the quote; a column that nobody asked for has no rows.

    draws : (n,) 0 to 9999, for rounding by dither
    micro, rounded : (n,) the filed premium in micro-yuan, and in fen before the floor
    masks : (n,) the rules for which an order is eligible, a bit each
    paid : (rules, n) fen
    """

    cdef const uint16_t[::1] draws
    cdef int64_t[::1] micro
    cdef int32_t[::1] rounded
    cdef uint64_t[::1] masks
    cdef int32_t[:, ::1] paid

    def __init__(self, draws not None, micro not None, rounded not None, masks not None, paid not None):
        self.draws, self.micro, self.rounded, self.masks, self.paid = draws, micro, rounded, masks, paid


@cython.auto_pickle(False)
cdef class Limits:
    """What budgets and caps by merchant have left; settling takes from it what it pays.

    budget : (rules,) fen; of a rule without budget a number that nobody can spend
    keys : (periods, n) of each order the merchant and period that it counts against, -1 for none
    rule_keys : (rules,) the row of `keys` that the rule's cap by merchant goes by, -1 without such a cap
    rule_start : (rules,) where the rule's merchants and periods start in `left`
    left : fen
    budget_met, left_met : as `budget` and `left`, set to 1 where an order was offered less for want of money
    """

    cdef int64_t[::1] budget, left
    cdef uint8_t[::1] budget_met, left_met
    cdef const int32_t[:, ::1] keys
    cdef const int32_t[::1] rule_keys
    cdef const int64_t[::1] rule_start
    cdef bint astray  # whether an order counted against a place that is not there

    def __init__(self, budget not None, keys not None, rule_keys not None, rule_start not None, left not None,
                 budget_met not None, left_met not None):
        self.budget, self.keys, self.rule_keys, self.rule_start = budget, keys, rule_keys, rule_start
        self.left, self.budget_met, self.left_met = left, budget_met, left_met

    cdef int prove(self, int rules, Py_ssize_t stop) except -1:
        """Raise unless there is a limit for every rule and a key for every row."""
        need(min(self.budget.shape[0], self.budget_met.shape[0], self.rule_keys.shape[0],
                 self.rule_start.shape[0]) >= rules, "limits of fewer rules")
        need(self.left_met.shape[0] == self.left.shape[0], "limits of other lengths")
        need(self.keys.shape[0] == 0 or self.keys.shape[1] >= stop, "limits of fewer rows")
        need(max([key for key in self.rule_keys], default=-1) < self.keys.shape[0], "limits without keys")
        return 0


cdef inline int32_t within(int32_t value, int j, Py_ssize_t row, Limits limits) noexcept nogil:
    """At most what the rule's budget and the merchant's cap have left."""
    cdef int64_t least = limits.budget[j], place
    cdef int32_t key
    if least < value:
        limits.budget_met[j] = 1
    if limits.rule_keys[j] >= 0:
        key = limits.keys[limits.rule_keys[j], row]
        if key < 0:
            return 0
        place = limits.rule_start[j] + key
        if not 0 <= place < limits.left.shape[0]:
            limits.astray = True
            return 0
        if limits.left[place] < value:
            limits.left_met[place] = 1
        least = min(least, limits.left[place])
    return <int32_t>min(<int64_t>value, least)


cdef inline void spend(int32_t value, int j, Py_ssize_t row, Limits limits) noexcept nogil:
    limits.budget[j] -= value
    if limits.rule_keys[j] >= 0:
        limits.left[limits.rule_start[j] + limits.keys[limits.rule_keys[j], row]] -= value


cdef void settle_rows(PricePlan plan, const int32_t* price, const uint32_t (*eligible)[BLOCK], Py_ssize_t block, int n,
                      int32_t* rest, int32_t[:, ::1] payers_out, uint8_t* flags, MoneyColumns money,
                      int64_t* spent, uint64_t allowed, Limits limits) noexcept nogil:
    """Who pays each fen of up to a block of list prices, by the allowed rules; without `limits` as if they had none."""
    cdef int32_t offers[MAX_RULES][BLOCK]
    cdef int32_t best[BLOCK]
    cdef int32_t winner[BLOCK]
    cdef int32_t floor = plan.floor_fen
    cdef int32_t value
    cdef int32_t* offer
    cdef int i, j, f, first = 0
    cdef uint32_t bit
    cdef const uint32_t* mask
    cdef uint64_t written = 0  # the payers whose column has been, a bit each
    cdef bint last, limited, itemised = money is not None and money.paid.shape[0] > 0
    memcpy(rest, price, n * sizeof(int32_t))
    for j in range(plan.rules):
        offer = &offers[j - first][0]
        if plan.rule_kind[j] == PERCENT_OF_LIST:
            share_of(price, <double>plan.rule_amount[j], n, offer)
        elif plan.rule_kind[j] == PERCENT_OF_REST:
            share_of(rest, <double>plan.rule_amount[j], n, offer)
        elif plan.rule_kind[j] == FIXED:
            fill_fen(<int32_t>plan.rule_amount[j], n, offer)
        else:
            rest_above(rest, <int32_t>plan.rule_amount[j], n, offer)
        mask, bit = &eligible[j // 32][0], <uint32_t>1 << j % 32 if allowed & <uint64_t>1 << j else 0
        last = j + 1 == plan.rules or plan.rule_group[j + 1] != plan.rule_group[j]
        if first == j and last and (limits is None or not plan.rule_limited[j]):
            f = plan.rule_payer[j]
            pay_offer(plan.rule_cap[j], floor, bit, mask, not written & <uint64_t>1 << f, n, offer, rest,
                      &payers_out[f, block])
            written |= <uint64_t>1 << f
        else:
            bound_offer(plan.rule_cap[j], floor, bit, rest, mask, n, offer)
        if not last:
            continue
        if first == j:
            if limits is not None and plan.rule_limited[j]:
                for i in range(n):
                    if offer[i]:
                        offer[i] = within(offer[i], j, block + i, limits)
                    if offer[i]:
                        spend(offer[i], j, block + i, limits)
                take_off(offer, n, rest)
                written = add_to(offer, plan.rule_payer[j], written, n, &payers_out[plan.rule_payer[j], block])
            if itemised:
                memcpy(&money.paid[j, block], offer, n * sizeof(int32_t))
            if spent and plan.rule_limited[j]:
                spent[j] += total(offer, n)
        else:
            limited = False
            for f in range(first, j + 1):
                limited = limited or plan.rule_limited[f]
            fill_fen(0, n, &best[0])
            fill_fen(first, n, &winner[0])
            if limits is not None and limited:
                for i in range(n):
                    for f in range(first, j + 1):
                        value = offers[f - first][i]
                        if value > best[i] and plan.rule_limited[f]:
                            value = within(value, f, block + i, limits)
                        if value > best[i]:
                            best[i], winner[i] = value, f
                    if best[i] and plan.rule_limited[winner[i]]:
                        spend(best[i], winner[i], block + i, limits)
            else:
                for f in range(first, j + 1):
                    keep_best(&offers[f - first][0], f, n, &best[0], &winner[0])
            take_off(&best[0], n, rest)
            for f in range(first, j + 1):
                offer = &offers[f - first][0]
                winner_only(&best[0], &winner[0], f, n, offer)
                written = add_to(offer, plan.rule_payer[f], written, n, &payers_out[plan.rule_payer[f], block])
                if itemised:
                    memcpy(&money.paid[f, block], offer, n * sizeof(int32_t))
                if spent and plan.rule_limited[f]:
                    spent[f] += total(offer, n)
        first = j + 1
    for f in range(<int>payers_out.shape[0]):
        if not written & <uint64_t>1 << f:
            memset(&payers_out[f, block], 0, n * sizeof(int32_t))
    if plan.rules:
        flag_floor(rest, price, floor, n, flags)


cdef inline void rate_product(const int32_t (*codes)[BLOCK], const int32_t[::1] columns, const int64_t[::1] offsets,
                              const double[::1] tables, int first, double base, int n, double* value) noexcept nogil:
    """Products with the tables of one model from the first of its own on; its base where there was none before."""
    cdef int f
    if first == 0 and columns.shape[0] == 0:
        fill(base, n, value)
    for f in range(first, <int>columns.shape[0]):
        if f == 0:
            gather_first(&codes[columns[f]][0], &tables[offsets[f]], base, n, value)
        else:
            gather_product(&codes[columns[f]][0], &tables[offsets[f]], n, value)


def price(CodeColumns columns not None, PricePlan plan not None, Py_ssize_t start, Py_ssize_t stop,
          double[:, ::1] detail_out not None, int32_t[::1] list_out not None, int32_t[:, ::1] payers_out not None,
          int32_t[::1] merchant_out not None, uint8_t[::1] flags_out not None, MoneyColumns money=None,
          int64_t[::1] spent_out=None, uint64_t allowed=EVERY_RULE):
    """Price rows [start, stop): the premium's steps, the list price and who pays each fen of it.

    Budgets and caps by merchant do not bind here; `settle` does that. Where rounding carries, only premiums and masks
    are written: `carry` and `settle` follow.

    Parameters
    ----------
    detail_out : (5, n) claim intensity, expected claims, expected payout, pure and technical premium; (0, 0) to skip
    list_out, merchant_out : (n,) fen
    payers_out : (payers, n) fen
    flags_out : (n,) sum of FLAGS
    money : columns besides; rounding by dither needs its draws, by carry its micro-yuan
    spent_out : (rules,) to which is added what limited rules paid
    allowed : a bit for each rule that may pay
    """
    cdef int32_t codes[2 * MAX_COLUMNS][BLOCK]
    cdef uint8_t widened[2 * MAX_COLUMNS]
    cdef uint8_t paired[2 * MAX_COLUMNS]  # whether the last of fused columns is only read by tables of pairs
    cdef int32_t twofold[MAX_COLUMNS][BLOCK]
    cdef const int32_t* pair_places[MAX_COLUMNS]
    cdef const double* pair_tables[MAX_COLUMNS]
    cdef double own_steps[5][BLOCK]
    cdef double mean[BLOCK]
    cdef double limit[BLOCK]
    cdef double inverse[BLOCK]
    cdef double inside[BLOCK]
    cdef double micro[BLOCK]
    cdef int32_t piece[BLOCK]
    cdef uint32_t eligible[2][BLOCK]
    cdef int32_t rounded[BLOCK]
    cdef double* steps[5]  # written where the caller wants them, or here
    cdef double* intensity
    cdef double* claims
    cdef double* payout
    cdef double added
    cdef uint8_t* flags
    cdef int32_t* fused
    cdef const double* count_curve = &plan.count_curve[0, 0] if plan.count_curve.shape[0] else NULL
    cdef const double* limit_curve = &plan.limit_curve[0, 0] if plan.limit_curve.shape[0] else NULL
    cdef int count_pieces = plan.count_pieces, limit_pieces = <int>plan.limit_curve.shape[0]
    cdef int pairs = <int>plan.pair_offsets.shape[0]
    cdef Py_ssize_t step, block
    cdef const uint32_t* masks
    cdef int n, f, column, first, second, times, half
    cdef bint detailed = detail_out.shape[0] == 5
    cdef int64_t* spent = NULL
    if stop <= start:
        return
    need(columns.rows >= stop, "fewer codes than rows")
    need(not detailed or detail_out.shape[1] >= stop, "outputs of fewer rows")
    plan.prove_columns(columns)
    plan.prove_outputs(start, stop, list_out, payers_out, merchant_out, flags_out, money, spent_out)
    need(plan.rounding != DITHER or (money is not None and money.draws.shape[0] > 0), "no draws to round by")
    need(plan.rounding != CARRY or (money is not None and money.micro.shape[0] > 0 and money.masks.shape[0] > 0),
         "no columns to carry by")
    if spent_out is not None and spent_out.shape[0]:
        spent = &spent_out[0]
    with nogil:
        # Bytes that are only fused with others are read where they stand.
        for f in range(columns.count):
            widened[f] = columns.itemsize[f] > 1 or plan.known[f] <= columns.largest[f] or FREIGHTRISK_CHECKED
        memset(&widened[columns.count], 1, MAX_COLUMNS)
        mark(plan.frequency_columns, &widened[0])
        mark(plan.severity_columns, &widened[0])
        mark(plan.share_columns, &widened[0])
        mark(plan.limit_columns, &widened[0])
        mark(plan.mask_columns, &widened[0])
        if plan.count_column >= 0:
            widened[plan.count_column] = 1
        for f in range(<int>plan.fused_first.shape[0]):
            if widened[plan.fused_second[f]]:
                widened[plan.fused_first[f]] = 1
        memset(&paired[0], 0, 2 * MAX_COLUMNS)
        memset(&eligible[0][0], 0, sizeof(eligible))
        for f in range(pairs):
            column = plan.frequency_columns[f]
            paired[column] = 1
            pair_places[f] = &codes[column][0] if column >= columns.count else &twofold[f][0]
            pair_tables[f] = &plan.pair_tables[plan.pair_offsets[f]]
        limit[0], inverse[0] = plan.limit, 1.0 / plan.limit
        for step in range((stop - start + BLOCK - 1) // BLOCK):
            block = start + step * BLOCK
            n = <int>min(<Py_ssize_t>BLOCK, stop - block)
            flags = &flags_out[block]
            memset(flags, 0, n)
            if not plan.mask_columns.shape[0]:
                memset(&eligible[0][0], 0xFF, sizeof(eligible))
            for f in range(5):
                steps[f] = &detail_out[f, block] if detailed else &own_steps[f][0]
            intensity, claims, payout = steps[0], steps[1], steps[2]
            if plan.limit_columns.shape[0]:
                fill(plan.limit, n, &limit[0])
            for f in range(columns.count):
                if widened[f]:
                    widen(columns.column[f], columns.itemsize[f], block, n, &codes[f][0])
                if FREIGHTRISK_CHECKED and not in_range(&codes[f][0], n, columns.size[f]):
                    with gil:
                        raise IndexError("a code is out of its table's range")
                if plan.known[f] <= columns.largest[f]:
                    flag_unseen(&codes[f][0], plan.known[f], n, flags)
            for f in range(<int>plan.fused_first.shape[0]):
                first, second = plan.fused_first[f], plan.fused_second[f]
                fused = &codes[columns.count + f][0]
                times = 1 + paired[columns.count + f]
                if widened[second]:
                    fuse(&codes[first][0], &codes[second][0], plan.fused_width[f], times, n, fused)
                elif widened[first]:
                    fuse_byte(&codes[first][0], columns.column[second] + block, plan.fused_width[f], times, n, fused)
                else:
                    fuse_bytes(columns.column[first] + block, columns.column[second] + block, plan.fused_width[f],
                               times, n, fused)
            for f in range(pairs):
                if plan.frequency_columns[f] < columns.count:
                    twice(&codes[plan.frequency_columns[f]][0], n, &twofold[f][0])
            if pairs:
                gather_pairs(&pair_places[0], &pair_tables[0], pairs, plan.frequency_base, plan.severity_base, n,
                             intensity, &mean[0])
            rate_product(codes, plan.frequency_columns, plan.frequency_offsets, plan.frequency_tables, pairs,
                         plan.frequency_base, n, intensity)
            rate_product(codes, plan.severity_columns, plan.severity_offsets, plan.severity_tables, pairs,
                         plan.severity_base, n, &mean[0])
            for f in range(<int>plan.limit_columns.shape[0]):
                column = plan.limit_columns[f]
                gather_minimum(&codes[column][0], &plan.limit_tables[plan.limit_offsets[f]], n, &limit[0])
            if plan.limit_columns.shape[0]:
                invert(&limit[0], n, &inverse[0])
            for f in range(<int>plan.mask_columns.shape[0]):
                column = plan.mask_columns[f]
                for half in range(1 if plan.rules <= 32 else 2):
                    masks = &plan.mask_halves[half, plan.mask_offsets[f]]
                    if f == 0:
                        first_mask(&codes[column][0], masks, n, &eligible[half][0])
                    else:
                        gather_mask(&codes[column][0], masks, n, &eligible[half][0])
            if not count_pieces:
                memcpy(claims, intensity, n * sizeof(double))
            else:
                count_place(intensity, count_pieces, n, claims, &piece[0], &inside[0])
                if plan.count_column >= 0:
                    choose_curve(&codes[plan.count_column][0], count_pieces, n, &piece[0])
                curve_values(count_curve, &piece[0], &inside[0], n, claims)
            if plan.share_columns.shape[0] or not limit_pieces:
                memcpy(payout, &mean[0], n * sizeof(double))
                for f in range(<int>plan.share_columns.shape[0]):
                    column = plan.share_columns[f]
                    gather_product(&codes[column][0], &plan.share_tables[plan.share_offsets[f]], n, payout)
            else:
                limit_place(&mean[0], &limit[0], &inverse[0], plan.limit_columns.shape[0] == 0, plan.limit_bits,
                            plan.limit_first, limit_pieces - 1, plan.limit_top, n, payout, &piece[0], &inside[0])
                curve_values(limit_curve, &piece[0], &inside[0], n, payout)
            load_premium(claims, payout, &mean[0], plan.fraud, plan.handling, plan.policy, plan.gross_up,
                         plan.filed_factor, plan.filed_min_micro, plan.filed_max_micro, n, steps[3], steps[4],
                         &micro[0], &rounded[0])
            add_flags(&rounded[0], n, flags)
            if money is not None:
                if money.micro.shape[0]:
                    write_whole(&micro[0], n, &money.micro[block])
                if money.masks.shape[0]:
                    whole_mask(&eligible[0][0], &eligible[1][0], n, &money.masks[block])
            if plan.rounding == CARRY:
                continue
            if plan.rounding == HALF_EVEN:
                round_nearest(&micro[0], n, &rounded[0])
            elif plan.rounding == DITHER:
                round_drawn(&micro[0], &money.draws[block], n, &rounded[0])
            else:
                added = 5000.0 if plan.rounding == HALF_UP else (9999.0 if plan.rounding == CEILING else 0.0)
                round_down_after(&micro[0], added, n, &rounded[0])
            if money is not None and money.rounded.shape[0]:
                memcpy(&money.rounded[block], &rounded[0], n * sizeof(int32_t))
            list_price(&rounded[0], plan.floor_fen, n, &list_out[block], flags)
            settle_rows(plan, &list_out[block], eligible, block, n, &merchant_out[block], payers_out, flags, money,
                        spent, allowed, None)


cdef wide_void each_flag(const uint8_t* flags, Py_ssize_t n, flag_out floor, flag_out limit, flag_out filed,
                         flag_out unseen) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        floor[i] = flags[i] & 1
        limit[i] = flags[i] >> 1 & 1
        filed[i] = flags[i] >> 2 & 1
        unseen[i] = flags[i] >> 3 & 1


def spread_flags(const uint8_t[::1] flags not None, Py_ssize_t start, Py_ssize_t stop, uint8_t[:, ::1] hits not None):
    """Write the four bits of the flags of rows [start, stop) to a row of `hits` each."""
    need(stop <= start or (start >= 0 and flags.shape[0] >= stop and hits.shape[0] >= 4 and hits.shape[1] >= stop),
         "flags of fewer rows")
    with nogil:
        if stop > start:
            each_flag(&flags[start], stop - start, &hits[0, start], &hits[1, start], &hits[2, start], &hits[3, start])


def carry(const int64_t[::1] micro not None, const int32_t[::1] merchants not None, const int64_t[::1] order not None,
          int64_t[::1] remainders not None, int32_t[::1] rounded_out not None):
    """Round to fen with what each merchant's earlier orders left over, so that a total is off by half a fen at most.

    Parameters
    ----------
    micro : (n,) premiums, micro-yuan
    merchants : (n,) code of each order's merchant
    order : (n,) rows in the order in which they are taken; empty for as they stand
    remainders : (merchants,) micro-yuan charged too little so far; updated
    rounded_out : (n,) fen
    """
    cdef Py_ssize_t k, row
    cdef int64_t owed, fen, over
    cdef bint astray = False
    need(merchants.shape[0] >= micro.shape[0] and rounded_out.shape[0] >= micro.shape[0]
         and order.shape[0] in (0, micro.shape[0]), "columns of other lengths to carry")
    with nogil:
        for k in range(micro.shape[0]):
            row = order[k] if order.shape[0] else k
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


def settle(PricePlan plan not None, Py_ssize_t start, Py_ssize_t stop, int32_t[::1] list_out not None,
           int32_t[:, ::1] payers_out not None, int32_t[::1] merchant_out not None, uint8_t[::1] flags_out not None,
           MoneyColumns money not None, int64_t[::1] spent_out=None, uint64_t allowed=EVERY_RULE,
           Limits limits=None):
    """Settle rows [start, stop) that were priced before, from their rounded fen and masks.

    With `limits` rows are taken one after another, and budgets and caps bind; pieces of rows must then come in order.
    """
    cdef uint32_t eligible[2][BLOCK]
    cdef Py_ssize_t step, block
    cdef int n
    cdef int64_t* spent = NULL
    if stop <= start:
        return
    plan.prove_outputs(start, stop, list_out, payers_out, merchant_out, flags_out, money, spent_out)
    need(money.rounded.shape[0] > 0 and money.masks.shape[0] > 0, "no rounded fen to settle")
    if limits is not None:
        limits.prove(plan.rules, stop)
    if spent_out is not None and spent_out.shape[0]:
        spent = &spent_out[0]
    with nogil:
        for step in range((stop - start + BLOCK - 1) // BLOCK):
            block = start + step * BLOCK
            n = <int>min(<Py_ssize_t>BLOCK, stop - block)
            clear_floor(n, &flags_out[block])
            list_price(&money.rounded[block], plan.floor_fen, n, &list_out[block], &flags_out[block])
            half_mask(&money.masks[block], 0, n, &eligible[0][0])
            half_mask(&money.masks[block], 32, n, &eligible[1][0])
            settle_rows(plan, &list_out[block], eligible, block, n, &merchant_out[block], payers_out,
                        &flags_out[block], money, spent, allowed, limits)
    need(limits is None or not limits.astray, "a merchant and period that are not there")


@cython.overflowcheck(False)
cdef inline uint64_t rotated(uint64_t x, int bits) noexcept nogil:
    return (x << bits) | (x >> (64 - bits))


@cython.overflowcheck(False)
cdef inline void sip_round(uint64_t* v) noexcept nogil:
    v[0] += v[1]
    v[2] += v[3]
    v[1] = rotated(v[1], 13) ^ v[0]
    v[3] = rotated(v[3], 16) ^ v[2]
    v[0] = rotated(v[0], 32)
    v[2] += v[1]
    v[0] += v[3]
    v[1] = rotated(v[1], 17) ^ v[2]
    v[3] = rotated(v[3], 21) ^ v[0]
    v[2] = rotated(v[2], 32)


@cython.overflowcheck(False)
def keyed_hash(const uint8_t[:, ::1] texts not None, bint trimmed, uint64_t first_key, uint64_t second_key,
               uint64_t[::1] out not None):
    """SipHash-2-4 (Aumasson and Bernstein 2012) of each row of bytes; trimmed of its zero bytes at the end or not."""
    cdef uint64_t v[4]
    cdef uint64_t word
    cdef Py_ssize_t row, length, place, k
    need(out.shape[0] >= texts.shape[0], "fewer places than texts")
    with nogil:
        for row in range(texts.shape[0]):
            length = texts.shape[1]
            while trimmed and length > 0 and texts[row, length - 1] == 0:
                length -= 1
            v[0] = first_key ^ <uint64_t>0x736F6D6570736575
            v[1] = second_key ^ <uint64_t>0x646F72616E646F6D
            v[2] = first_key ^ <uint64_t>0x6C7967656E657261
            v[3] = second_key ^ <uint64_t>0x7465646279746573
            for place in range(length // 8 + 1):
                word = <uint64_t>length << 56 if place == length // 8 else 0
                for k in range(min(<Py_ssize_t>8, length - 8 * place)):
                    word |= <uint64_t>texts[row, 8 * place + k] << (8 * k)
                v[3] ^= word
                sip_round(v)
                sip_round(v)
                v[0] ^= word
            v[2] ^= 0xFF
            sip_round(v)
            sip_round(v)
            sip_round(v)
            sip_round(v)
            out[row] = v[0] ^ v[1] ^ v[2] ^ v[3]
