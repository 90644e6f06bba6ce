"""The two walks over coded orders: scatter into tables (fit) and gather from them (price).

Every function walks blocks of rows that stay in cache, holds no GIL, allocates nothing and never raises; codes
were proved in range by `_check` before they came here. Each kernel has a slow twin in `_reference`.
"""

cimport cython
from libc.math cimport exp, expm1, log, log1p, pow, sqrt
from libc.string cimport memcpy, memset
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

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
    """
    const int FREIGHTRISK_CHECKED
    ctypedef void wide_void "FREIGHTRISK_WIDE void"
    # What a loop writes overlaps nothing that it reads; without that promise gathers are not vectorised.
    ctypedef double* real_out "double* FREIGHTRISK_ALONE"
    ctypedef int32_t* int_out "int32_t* FREIGHTRISK_ALONE"
    ctypedef uint64_t* mask_out "uint64_t* FREIGHTRISK_ALONE"
    ctypedef uint8_t* flag_out "uint8_t* FREIGHTRISK_ALONE"

cdef enum:
    BLOCK = 512          # rows a block: codes, means and money of a block stay in L1 and L2
    MAX_COLUMNS = 48
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
RULE_KINDS = {
    "percent_of_list": PERCENT_OF_LIST, "percent_of_rest": PERCENT_OF_REST,
    "fixed_fen": FIXED, "price_to_fen": PRICE_TO,
}
FLAGS = {
    "floor_bound": FLOOR_BOUND, "limit_bound": LIMIT_BOUND,
    "filed_bound": FILED_BOUND, "unseen_level": UNSEEN_LEVEL,
}

# Adding and subtracting 1.5 * 2**52 rounds a double below 2**51 to the nearest integer, ties to even.
cdef double ROUND_TO_INTEGER = 6755399441055744.0
cdef double LARGEST_MICRO = 1e15
cdef double FARTHEST = 690.0  # exp(-690) is above the smallest double


@cython.auto_pickle(False)
cdef class CodeColumns:
    """Code columns of one length and how many slots each may name; keeps the arrays alive.

    Parameters
    ----------
    codes : list of uint8, uint16 or uint32 arrays, contiguous, of one length
    sizes : int64 array, slots of each column; every code is below its column's size
    """

    cdef const uint8_t* column[MAX_COLUMNS]
    cdef int itemsize[MAX_COLUMNS]
    cdef int64_t size[MAX_COLUMNS]
    cdef readonly int count
    cdef readonly Py_ssize_t rows
    cdef list views

    def __init__(self, list codes not None, const int64_t[::1] sizes not None, Py_ssize_t rows):
        cdef const uint8_t[::1] view
        cdef int f
        self.count = <int>len(codes)
        self.rows = rows
        self.views = [array.view("u1") for array in codes]
        for f in range(self.count):
            view = self.views[f]
            self.itemsize[f] = codes[f].dtype.itemsize
            self.size[f] = sizes[f]
            self.column[f] = &view[0] if view.shape[0] > 0 else NULL


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


# --- the fit -------------------------------------------------------------------------------------------------------


cdef inline void poisson_rows(const double* eta, const double* y, const double* scale, const double* weight, int n,
                              double* score, double* information, double* sums) noexcept nogil:
    """Counts with mean m = scale exp(eta): score w (y - m), information w m."""
    cdef int i
    cdef double mean, residual
    for i in range(n):
        mean = scale[i] * exp(eta[i])
        residual = y[i] - mean
        score[i] = weight[i] * residual
        information[i] = weight[i] * mean
        sums[0] += weight[i] * (y[i] * eta[i] - mean)
        sums[1] += weight[i] * residual * residual / mean


cdef inline void bernoulli_rows(const double* eta, const double* y, const double* scale, const double* weight, int n,
                                double* score, double* information, double* sums) noexcept nogil:
    """At most one claim: p = 1 - exp(-m), m = scale exp(eta); information is the expected one, w m^2 (1-p) / p."""
    cdef int i
    cdef double mean, p, none
    for i in range(n):
        mean = scale[i] * exp(eta[i])
        p = -expm1(-mean)
        none = exp(-mean)
        score[i] = weight[i] * mean * (y[i] - p) / p
        information[i] = weight[i] * mean * (mean * none) / p
        sums[0] += weight[i] * ((y[i] * log(p) if y[i] > 0.0 else 0.0) - (1.0 - y[i]) * mean)
        sums[1] += weight[i] * (y[i] - p) * (y[i] - p) / (p * none) if none > 0.0 else 0.0


cdef inline void gamma_rows(const double* eta, const double* y, const double* scale, const double* weight, int n,
                            bint observed, double* score, double* information, double* sums) noexcept nogil:
    """Amounts with mean m = scale exp(eta): score w (y/m - 1), information w, or the observed w y/m."""
    cdef int i
    cdef double ratio
    for i in range(n):
        ratio = y[i] * exp(-eta[i]) / scale[i]
        score[i] = weight[i] * (ratio - 1.0)
        information[i] = weight[i] * ratio if observed else weight[i]
        sums[0] -= weight[i] * (ratio + eta[i])
        sums[1] += weight[i] * (ratio - 1.0) * (ratio - 1.0)


cdef inline void negative_binomial_rows(const double* eta, const double* y, const double* scale, const double* weight,
                                        int n, double shape, double* score, double* information,
                                        double* sums) noexcept nogil:
    """Counts with variance v = m + shape m^2: score w m (y - m) / v, expected information w m^2 / v."""
    cdef int i
    cdef double mean, spread, residual
    for i in range(n):
        mean = scale[i] * exp(eta[i])
        spread = 1.0 + shape * mean
        residual = y[i] - mean
        score[i] = weight[i] * residual / spread
        information[i] = weight[i] * mean / spread
        sums[0] += weight[i] * (y[i] * eta[i] - (y[i] + 1.0 / shape) * log1p(shape * mean))
        sums[1] += weight[i] * residual * residual / (mean * spread)


cdef inline void lognormal_rows(const double* eta, const double* y, const double* scale, const double* weight, int n,
                                double* score, double* information, double* sums) noexcept nogil:
    """Amounts whose log has mean log scale + eta: score w r, r the residual of the log, information w."""
    cdef int i
    cdef double residual
    for i in range(n):
        residual = log(y[i] / scale[i]) - eta[i]
        score[i] = weight[i] * residual
        information[i] = weight[i]
        sums[0] -= 0.5 * weight[i] * residual * residual
        sums[1] += weight[i] * residual * residual


cdef inline void inverse_gaussian_rows(const double* eta, const double* y, const double* scale, const double* weight,
                                       int n, double* score, double* information, double* sums) noexcept nogil:
    """Amounts with variance ~ m^3: score w (y - m) / m^2, expected information w / m."""
    cdef int i
    cdef double rate, residual
    for i in range(n):
        rate = exp(-eta[i]) / scale[i]
        residual = y[i] * rate - 1.0
        score[i] = weight[i] * residual * rate
        information[i] = weight[i] * rate
        sums[0] += weight[i] * rate * (1.0 - 0.5 * y[i] * rate)
        sums[1] += weight[i] * residual * residual * rate


cdef inline void tweedie_rows(const double* eta, const double* y, const double* scale, const double* weight, int n,
                              double shape, bint observed, double* score, double* information,
                              double* sums) noexcept nogil:
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
        sums[0] += weight[i] * (y[i] * low / (1.0 - shape) - high / (2.0 - shape))
        sums[1] += weight[i] * (y[i] - mean) * (y[i] - mean) * low / mean


cdef inline void beta_binomial_rows(const double* eta, const double* y, const double* scale, const double* weight,
                                    const double* trials, int n, double shape, double* score, double* information,
                                    double* sums) noexcept nogil:
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
        sums[0] += weight[i] * at
        share = y[i] - trials[i] * p
        sums[1] += weight[i] * share * share / (trials[i] * p * none * (1.0 + (trials[i] - 1.0) * shape))
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


cdef inline void read_real(const double[::1] values, double fill, Py_ssize_t start, int n, double* out) noexcept nogil:
    cdef int i
    if values.shape[0] == 0:
        for i in range(n):
            out[i] = fill
    else:
        for i in range(n):
            out[i] = values[start + i]


cdef inline void scatter_pair(const int32_t* row, const int32_t* column, Py_ssize_t width, const double* values,
                              int n, double* table) noexcept nogil:
    cdef int i
    for i in range(n):
        table[row[i] * width + column[i]] += values[i]


cdef inline void scatter(const int32_t* codes, const double* values, int n, double* table) noexcept nogil:
    cdef int i
    for i in range(n):
        table[codes[i]] += values[i]


def accumulate(int family, double shape, CodeColumns columns not None, const int64_t[::1] offsets not None, double base,
               const double[::1] tables not None, const double[::1] y not None, const double[::1] scale not None,
               const double[::1] weight not None, const double[::1] trials not None, Py_ssize_t start, Py_ssize_t stop,
               bint with_pairs,
               double[::1] score_out not None, double[::1] information_out not None, double[::1] pairs_out not None,
               double[::1] sums_out not None):
    """Add the score, information and objective of rows [start, stop) to the outputs.

    Parameters
    ----------
    family : one of FAMILIES, all with eta = base + sum of log tables and expected information unless it says observed
    shape : dispersion of a negative binomial, power of a Tweedie variance, correlation of a beta binomial (0 for a
        binomial); not read by the others
    offsets : (F,) where each factor's table starts in `tables`, `score_out` and `information_out`
    y, scale, weight, trials : (n,) response, multiplicative offset, prior weight and lines of a beta binomial; empty
        means ones
    with_pairs : also add the cross tables
    pairs_out : the cross tables of factors f < g, one after another, each (size_f, size_g) row-major
    sums_out : (4,) objective, Pearson sum, total score, total information
    """
    cdef int32_t codes[MAX_COLUMNS][BLOCK]
    cdef double eta[BLOCK]
    cdef double response[BLOCK]
    cdef double factor[BLOCK]
    cdef double prior[BLOCK]
    cdef double lines[BLOCK]
    cdef double score[BLOCK]
    cdef double information[BLOCK]
    cdef const double* table
    cdef Py_ssize_t step, block, pair
    cdef int n, f, g, i, count = columns.count
    with nogil:
        for step in range((stop - start + BLOCK - 1) // BLOCK):
            block = start + step * BLOCK
            n = <int>min(<Py_ssize_t>BLOCK, stop - block)
            for i in range(n):
                eta[i] = base
            for f in range(count):
                widen(columns.column[f], columns.itemsize[f], block, n, &codes[f][0])
                if FREIGHTRISK_CHECKED and not in_range(&codes[f][0], n, columns.size[f]):
                    with gil:
                        raise IndexError("a code is out of its table's range")
                table = &tables[offsets[f]]
                for i in range(n):
                    eta[i] += table[codes[f][i]]
            read_real(y, 1.0, block, n, &response[0])
            read_real(scale, 1.0, block, n, &factor[0])
            read_real(weight, 1.0, block, n, &prior[0])
            if family == POISSON:
                poisson_rows(&eta[0], &response[0], &factor[0], &prior[0], n, &score[0], &information[0], &sums_out[0])
            elif family == BERNOULLI:
                bernoulli_rows(&eta[0], &response[0], &factor[0], &prior[0], n, &score[0], &information[0],
                               &sums_out[0])
            elif family == GAMMA or family == GAMMA_OBSERVED:
                gamma_rows(&eta[0], &response[0], &factor[0], &prior[0], n, family == GAMMA_OBSERVED, &score[0],
                           &information[0], &sums_out[0])
            elif family == NEGATIVE_BINOMIAL:
                negative_binomial_rows(&eta[0], &response[0], &factor[0], &prior[0], n, shape, &score[0],
                                       &information[0], &sums_out[0])
            elif family == LOGNORMAL:
                lognormal_rows(&eta[0], &response[0], &factor[0], &prior[0], n, &score[0], &information[0],
                               &sums_out[0])
            elif family == INVERSE_GAUSSIAN:
                inverse_gaussian_rows(&eta[0], &response[0], &factor[0], &prior[0], n, &score[0], &information[0],
                                      &sums_out[0])
            elif family == BETA_BINOMIAL:
                read_real(trials, 1.0, block, n, &lines[0])
                beta_binomial_rows(&eta[0], &response[0], &factor[0], &prior[0], &lines[0], n, shape, &score[0],
                                   &information[0], &sums_out[0])
            else:
                tweedie_rows(&eta[0], &response[0], &factor[0], &prior[0], n, shape, family == TWEEDIE_OBSERVED,
                             &score[0], &information[0], &sums_out[0])
            for i in range(n):
                sums_out[2] += score[i]
                sums_out[3] += information[i]
            pair = 0
            for f in range(count):
                scatter(&codes[f][0], &score[0], n, &score_out[offsets[f]])
                scatter(&codes[f][0], &information[0], n, &information_out[offsets[f]])
                if with_pairs:
                    for g in range(f + 1, count):
                        scatter_pair(&codes[f][0], &codes[g][0], columns.size[g], &information[0], n, &pairs_out[pair])
                        pair += columns.size[f] * columns.size[g]


# --- the price -----------------------------------------------------------------------------------------------------


@cython.auto_pickle(False)
cdef class PricePlan:
    """A tariff as flat arrays, the form in which the kernel reads it; see `tariff.tariff.plan_arguments`.

    `*_columns` name code columns, `*_offsets` say where that column's table starts in `*_tables`.
    """

    cdef double frequency_base, severity_base, limit
    cdef const int32_t[::1] frequency_columns, severity_columns, share_columns, limit_columns, mask_columns
    cdef const int64_t[::1] frequency_offsets, severity_offsets, share_offsets, limit_offsets, mask_offsets, known
    cdef const double[::1] frequency_tables, severity_tables, share_tables, limit_tables
    cdef int count_column, count_pieces  # the column that chooses the claim-count curve, -1 for one curve
    cdef const uint64_t[::1] mask_tables
    cdef const double[:, ::1] count_curve, limit_curve  # (4, pieces): all starts, then all slopes, ...
    cdef double fraud, handling, policy, retained, filed_factor, filed_min_micro, filed_max_micro
    cdef int32_t floor_fen
    cdef const int32_t[::1] rule_kind, rule_cap, rule_payer, rule_group
    cdef const int64_t[::1] rule_amount
    cdef readonly int rules

    def __init__(self, double frequency_base, double severity_base, double limit,
                 frequency_columns not None, frequency_offsets not None, frequency_tables not None,
                 severity_columns not None, severity_offsets not None, severity_tables not None,
                 share_columns not None, share_offsets not None, share_tables not None,
                 limit_columns not None, limit_offsets not None, limit_tables not None,
                 mask_columns not None, mask_offsets not None, mask_tables not None, known not None,
                 count_curve not None, int count_column, int count_curves, limit_curve not None,
                 double fraud_load, double claim_handling, double policy_cost, double retained, double filed_factor,
                 double filed_min_micro, double filed_max_micro, int32_t floor_fen,
                 rule_kind not None, rule_amount not None, rule_cap not None, rule_payer not None,
                 rule_group not None):
        self.frequency_base, self.severity_base, self.limit = frequency_base, severity_base, limit
        self.frequency_columns, self.severity_columns = frequency_columns, severity_columns
        self.share_columns, self.share_offsets, self.share_tables = share_columns, share_offsets, share_tables
        self.limit_columns, self.mask_columns, self.known = limit_columns, mask_columns, known
        self.frequency_offsets, self.severity_offsets = frequency_offsets, severity_offsets
        self.limit_offsets, self.mask_offsets = limit_offsets, mask_offsets
        self.frequency_tables, self.severity_tables = frequency_tables, severity_tables
        self.limit_tables, self.mask_tables = limit_tables, mask_tables
        self.count_curve, self.limit_curve = count_curve.T.copy(), limit_curve.T.copy()
        self.count_column, self.count_pieces = count_column, <int>(len(count_curve) // count_curves)
        self.fraud, self.handling, self.policy, self.retained = fraud_load, claim_handling, policy_cost, retained
        self.filed_factor, self.filed_min_micro, self.filed_max_micro = filed_factor, filed_min_micro, filed_max_micro
        self.floor_fen = floor_fen
        self.rule_kind, self.rule_amount, self.rule_cap = rule_kind, rule_amount, rule_cap
        self.rule_payer, self.rule_group = rule_payer, rule_group
        self.rules = <int>rule_kind.shape[0]


cdef inline double nearest_integer(double x) noexcept nogil:
    return (x + ROUND_TO_INTEGER) - ROUND_TO_INTEGER


cdef wide_void fill(double value, int n, real_out out) noexcept nogil:
    cdef int i
    for i in range(n):
        out[i] = value


cdef wide_void gather_product(const int32_t* codes, const double* table, int n, real_out value) noexcept nogil:
    cdef int i
    for i in range(n):
        value[i] *= table[codes[i]]


cdef wide_void gather_minimum(const int32_t* codes, const double* table, int n, real_out value) noexcept nogil:
    cdef int i
    cdef double found
    for i in range(n):
        found = table[codes[i]]
        value[i] = found if found < value[i] else value[i]


cdef wide_void gather_mask(const int32_t* codes, const uint64_t* table, int n, mask_out mask) noexcept nogil:
    cdef int i
    for i in range(n):
        mask[i] &= table[codes[i]]


cdef wide_void curve_values(const double* t, const double* curve, int32_t pieces, int n, real_out value) noexcept nogil:
    """The cubic piece of each t in [0, 1]: ((d u + c) u + b) u + a with u the place inside the piece."""
    cdef const double* start = curve
    cdef const double* slope = curve + pieces
    cdef const double* square = curve + 2 * pieces
    cdef const double* cubic = curve + 3 * pieces
    cdef int i
    cdef int32_t k, last = pieces - 1
    cdef double u
    for i in range(n):
        u = t[i] * pieces
        k = <int32_t>u
        k = k if k < last else last
        u -= k
        value[i] = ((cubic[k] * u + square[k]) * u + slope[k]) * u + start[k]


cdef wide_void chosen_curve_values(const double* t, const int32_t* curve_of, const double* curve, int32_t pieces,
                                   int32_t all_pieces, int n, real_out value) noexcept nogil:
    """As `curve_values`, on the curve that each row's code chooses among several of `pieces` each."""
    cdef const double* start = curve
    cdef const double* slope = curve + all_pieces
    cdef const double* square = curve + 2 * all_pieces
    cdef const double* cubic = curve + 3 * all_pieces
    cdef int i
    cdef int32_t k, last = pieces - 1
    cdef double u
    for i in range(n):
        u = t[i] * pieces
        k = <int32_t>u
        k = k if k < last else last
        u -= k
        k += curve_of[i] * pieces
        value[i] = ((cubic[k] * u + square[k]) * u + slope[k]) * u + start[k]


cdef wide_void count_place(const double* intensity, int n, real_out t) noexcept nogil:
    """t = lambda / (1 + lambda); the expected claims are t times the curve at t."""
    cdef int i
    for i in range(n):
        t[i] = intensity[i] / (1.0 + intensity[i])


cdef wide_void limit_place(const double* mean, const double* limit, int n, real_out share, real_out s) noexcept nogil:
    """share = limit / (mu + limit), s its fourth root; the expected payout is mu share times the curve at s."""
    cdef int i
    for i in range(n):
        share[i] = mean[i] * (1.0 - mean[i] / (mean[i] + limit[i]))
        s[i] = sqrt(sqrt(1.0 - mean[i] / (mean[i] + limit[i])))


cdef wide_void multiply(const double* factor, int n, real_out value) noexcept nogil:
    cdef int i
    for i in range(n):
        value[i] *= factor[i]


cdef wide_void flag_limit(const double* mean, const double* payout, int n, flag_out flags) noexcept nogil:
    cdef int i
    for i in range(n):
        flags[i] |= LIMIT_BOUND if payout[i] < 0.99 * mean[i] else 0


cdef wide_void load_premium(const double* claims, const double* payout, double fraud, double handling, double policy,
                            double retained, int n, real_out pure, real_out technical) noexcept nogil:
    cdef int i
    cdef double premium
    for i in range(n):
        premium = claims[i] * payout[i]
        pure[i] = premium
        technical[i] = (premium * (1.0 + fraud) + handling * claims[i] + policy) / retained


cdef wide_void list_price(const double* technical, double filed_factor, double lowest, double highest, int32_t floor,
                          int n, int_out price, flag_out flags) noexcept nogil:
    """Technical premium to whole micro-yuan, filed limits, then half-even to fen.

    Micro-yuan are whole numbers below 2**51 held in a double. micro / 10000 is then either a tie held exactly or at
    least 1e-4 from one, far more than the rounding of the division, so the nearest integer is the exact one.
    """
    cdef int i
    cdef double micro, clamped
    cdef int32_t fen
    for i in range(n):
        micro = technical[i] * filed_factor * 1e6
        micro = nearest_integer(micro if micro < LARGEST_MICRO else LARGEST_MICRO)
        clamped = micro if micro > lowest else lowest
        clamped = clamped if clamped < highest else highest
        fen = <int32_t>nearest_integer(clamped / 10000.0)
        price[i] = fen if fen > floor else floor
        flags[i] |= (FILED_BOUND if clamped != micro else 0) | (FLOOR_BOUND if fen < floor else 0)


cdef wide_void share_of(const int32_t* amount, double points, int n, int_out wanted) noexcept nogil:
    """Basis points of an amount of fen, half-even to fen; exact as in `list_price`."""
    cdef int i
    for i in range(n):
        wanted[i] = <int32_t>nearest_integer(amount[i] * points / 10000.0)


cdef wide_void rest_above(const int32_t* rest, int32_t target, int n, int_out wanted) noexcept nogil:
    cdef int i
    for i in range(n):
        wanted[i] = rest[i] - target


cdef wide_void fill_fen(int32_t value, int n, int_out out) noexcept nogil:
    cdef int i
    for i in range(n):
        out[i] = value


cdef wide_void bound_offer(int32_t cap, int32_t floor, uint64_t bit, const int32_t* rest, const uint64_t* eligible,
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


cdef wide_void keep_best(const int32_t* offer, int32_t rule, int n, int_out best, int_out winner) noexcept nogil:
    cdef int i
    for i in range(n):
        winner[i] = rule if offer[i] > best[i] else winner[i]
        best[i] = offer[i] if offer[i] > best[i] else best[i]


cdef wide_void pay_from(const int32_t* best, const int32_t* winner, int32_t rule, int n, int_out paid) noexcept nogil:
    cdef int i
    for i in range(n):
        paid[i] += best[i] if winner[i] == rule else 0


cdef wide_void pay_all(const int32_t* offer, int n, int_out rest, int_out paid) noexcept nogil:
    """A rule without rivals pays what it offers."""
    cdef int i
    for i in range(n):
        rest[i] -= offer[i]
        paid[i] += offer[i]


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


def price(CodeColumns columns not None, PricePlan plan not None, Py_ssize_t start, Py_ssize_t stop,
          double[:, ::1] detail_out not None, int32_t[::1] list_out not None, int32_t[:, ::1] payers_out not None,
          int32_t[::1] merchant_out not None, uint8_t[::1] flags_out not None):
    """Price rows [start, stop): the premium's steps, the list price and who pays each fen of it.

    Parameters
    ----------
    detail_out : (5, n) claim intensity, expected claims, expected payout, pure and technical premium; (0, 0) to skip
    list_out, merchant_out : (n,) fen
    payers_out : (payers, n) fen
    flags_out : (n,) sum of FLAGS
    """
    cdef int32_t codes[MAX_COLUMNS][BLOCK]
    cdef double intensity[BLOCK]
    cdef double counted[BLOCK]
    cdef double mean[BLOCK]
    cdef double limited[BLOCK]
    cdef double limit[BLOCK]
    cdef double place[BLOCK]
    cdef double full[BLOCK]
    cdef double pure[BLOCK]
    cdef double technical[BLOCK]
    cdef uint64_t eligible[BLOCK]
    cdef int32_t offer[BLOCK]
    cdef int32_t best[BLOCK]
    cdef int32_t winner[BLOCK]
    cdef double* claims
    cdef double* payout
    cdef int32_t* rest
    cdef uint8_t* flags
    cdef bint last
    cdef const double* count_curve = &plan.count_curve[0, 0] if plan.count_curve.shape[1] else NULL
    cdef const double* limit_curve = &plan.limit_curve[0, 0] if plan.limit_curve.shape[1] else NULL
    cdef int count_pieces = plan.count_pieces, limit_pieces = <int>plan.limit_curve.shape[1]
    cdef Py_ssize_t step, block
    cdef int n, f, j, first, column
    cdef int32_t floor = plan.floor_fen
    with nogil:
        for step in range((stop - start + BLOCK - 1) // BLOCK):
            block = start + step * BLOCK
            n = <int>min(<Py_ssize_t>BLOCK, stop - block)
            flags = &flags_out[block]
            rest = &merchant_out[block]
            memset(flags, 0, n)
            memset(&eligible[0], 0xFF, n * sizeof(uint64_t))
            fill(plan.frequency_base, n, &intensity[0])
            fill(plan.severity_base, n, &mean[0])
            fill(plan.limit, n, &limit[0])
            for f in range(columns.count):
                widen(columns.column[f], columns.itemsize[f], block, n, &codes[f][0])
                if FREIGHTRISK_CHECKED and not in_range(&codes[f][0], n, columns.size[f]):
                    with gil:
                        raise IndexError("a code is out of its table's range")
                if plan.known[f] < columns.size[f]:
                    flag_unseen(&codes[f][0], plan.known[f], n, flags)
            for f in range(<int>plan.frequency_columns.shape[0]):
                column = plan.frequency_columns[f]
                gather_product(&codes[column][0], &plan.frequency_tables[plan.frequency_offsets[f]], n, &intensity[0])
            for f in range(<int>plan.severity_columns.shape[0]):
                column = plan.severity_columns[f]
                gather_product(&codes[column][0], &plan.severity_tables[plan.severity_offsets[f]], n, &mean[0])
            for f in range(<int>plan.limit_columns.shape[0]):
                column = plan.limit_columns[f]
                gather_minimum(&codes[column][0], &plan.limit_tables[plan.limit_offsets[f]], n, &limit[0])
            for f in range(<int>plan.mask_columns.shape[0]):
                column = plan.mask_columns[f]
                gather_mask(&codes[column][0], &plan.mask_tables[plan.mask_offsets[f]], n, &eligible[0])
            claims = &intensity[0]
            if count_pieces:
                claims = &counted[0]
                count_place(&intensity[0], n, &place[0])
                if plan.count_column < 0:
                    curve_values(&place[0], count_curve, count_pieces, n, claims)
                else:
                    chosen_curve_values(&place[0], &codes[plan.count_column][0], count_curve, count_pieces,
                                        <int32_t>plan.count_curve.shape[1], n, claims)
                multiply(&place[0], n, claims)
            payout = &mean[0]
            if plan.share_columns.shape[0]:
                payout = &limited[0]
                memcpy(payout, &mean[0], n * sizeof(double))
                for f in range(<int>plan.share_columns.shape[0]):
                    column = plan.share_columns[f]
                    gather_product(&codes[column][0], &plan.share_tables[plan.share_offsets[f]], n, payout)
                flag_limit(&mean[0], payout, n, flags)
            elif limit_pieces:
                payout = &limited[0]
                limit_place(&mean[0], &limit[0], n, &full[0], &place[0])
                curve_values(&place[0], limit_curve, limit_pieces, n, payout)
                multiply(&full[0], n, payout)
                flag_limit(&mean[0], payout, n, flags)
            load_premium(claims, payout, plan.fraud, plan.handling, plan.policy, plan.retained, n, &pure[0],
                         &technical[0])
            list_price(&technical[0], plan.filed_factor, plan.filed_min_micro, plan.filed_max_micro, floor, n,
                       &list_out[block], flags)
            if detail_out.shape[0] == 5:
                memcpy(&detail_out[0, block], &intensity[0], n * sizeof(double))
                memcpy(&detail_out[1, block], claims, n * sizeof(double))
                memcpy(&detail_out[2, block], payout, n * sizeof(double))
                memcpy(&detail_out[3, block], &pure[0], n * sizeof(double))
                memcpy(&detail_out[4, block], &technical[0], n * sizeof(double))
            memcpy(rest, &list_out[block], n * sizeof(int32_t))
            for f in range(<int>payers_out.shape[0]):
                memset(&payers_out[f, block], 0, n * sizeof(int32_t))
            first = 0
            for j in range(plan.rules):
                if plan.rule_kind[j] == PERCENT_OF_LIST:
                    share_of(&list_out[block], <double>plan.rule_amount[j], n, &offer[0])
                elif plan.rule_kind[j] == PERCENT_OF_REST:
                    share_of(rest, <double>plan.rule_amount[j], n, &offer[0])
                elif plan.rule_kind[j] == FIXED:
                    fill_fen(<int32_t>plan.rule_amount[j], n, &offer[0])
                else:
                    rest_above(rest, <int32_t>plan.rule_amount[j], n, &offer[0])
                bound_offer(plan.rule_cap[j], floor, (<uint64_t>1) << j, rest, &eligible[0], n, &offer[0])
                last = j + 1 == plan.rules or plan.rule_group[j + 1] != plan.rule_group[j]
                if first == j and last:
                    pay_all(&offer[0], n, rest, &payers_out[plan.rule_payer[j], block])
                    first = j + 1
                    continue
                if first == j:
                    fill_fen(0, n, &best[0])
                    fill_fen(j, n, &winner[0])
                keep_best(&offer[0], j, n, &best[0], &winner[0])
                if last:
                    take_off(&best[0], n, rest)
                    for f in range(first, j + 1):
                        pay_from(&best[0], &winner[0], f, n, &payers_out[plan.rule_payer[f], block])
                    first = j + 1
            if plan.rules:
                flag_floor(rest, &list_out[block], floor, n, flags)
