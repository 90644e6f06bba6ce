"""The kernel of a fit: gradient, information and objective of each row, added up by table cell.

docs/method.md has the formulas. Equation 1 is the mean of a row, the table "Nine likelihoods" covers the families, and
equation 5 is the sums.
"""

cimport cython
from libc.math cimport exp, expm1, log, log1p, pow
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy

from freightrisk._blocks cimport (
    BLOCK, FREIGHTRISK_CHECKED, MAX_COLUMNS, CodeColumns, block_rows, blocks, exponential, fill, fuse, in_range, need,
    reaches, real_out, total_of, wide_void, widen,
)

cdef enum:  # columns of values, and their types
    RESPONSE, MULTIPLIER, WEIGHT, TRIALS
    ONES = 0, DOUBLE, SINGLE, BYTE, SHORT, LONG

NUMBERS = {"f8": DOUBLE, "f4": SINGLE, "u1": BYTE, "u2": SHORT, "u4": LONG}

cdef double FARTHEST = 690.0, LARGEST_ETA = 708.0  # exp(708) is finite; exp(-690) and exp(-708) are normal doubles


@cython.auto_pickle(False)
cdef class RowValues:
    """Response, multiplicative offset, prior weight and lines of each row. The object keeps the arrays alive.

    `arrays` are four contiguous arrays of float64, float32, uint8, uint16 or uint32. An empty array stands for ones.
    """

    cdef const uint8_t* column[4]
    cdef int kind[4]
    cdef Py_ssize_t length[4]
    cdef list views

    def __init__(self, list arrays not None):
        cdef const uint8_t[::1] view
        cdef int k
        need(len(arrays) == 4, "a list of values that is not four columns")
        self.views = [array.view("u1") for array in arrays]
        for k in range(4):
            need(arrays[k].ndim == 1, "values that are not one-dimensional")
            need(arrays[k].dtype.isnative, "values of another byte order than the machine's")
            view, self.length[k] = self.views[k], len(arrays[k])
            self.kind[k] = NUMBERS[arrays[k].dtype.str[1:]] if len(arrays[k]) else ONES
            self.column[k] = &view[0] if view.shape[0] > 0 else NULL


cdef wide_void poisson_rows(const double* eta, const double* y, const double* multiplier, const double* weight,
                            const double* trials, double _, bint observed, int n, real_out gradient,
                            real_out information, real_out likely, real_out pearson) noexcept nogil:
    """Counts with mean m = multiplier exp(eta): gradient w (y - m), information w m."""
    cdef int i
    cdef double mean, residual
    for i in range(n):
        mean = multiplier[i] * exponential(eta[i])
        residual = y[i] - mean
        gradient[i] = weight[i] * residual
        information[i] = weight[i] * mean
        likely[i] = weight[i] * (y[i] * eta[i] - mean)
        pearson[i] = weight[i] * residual * residual / mean


cdef void bernoulli_rows(const double* eta, const double* y, const double* multiplier, const double* weight,
                         const double* trials, double _, bint observed, int n, double* gradient,
                         double* information, double* likely, double* pearson) noexcept nogil:
    """At most one claim: p = 1 - exp(-m), m = multiplier exp(eta).

    Gradient w m (y - p) / p, expected information w m^2 (1-p) / p. With a = m (1-p) / p, the observed information is
    w (y a (a + m - 1) + (1-y) m).
    """
    cdef int i
    cdef double mean, p, none, a, past
    for i in range(n):
        mean = multiplier[i] * exp(eta[i])
        p = -expm1(-mean)  # keeps its digits for small means (docs/method.md, equation 2)
        none = exp(-mean)
        gradient[i] = weight[i] * mean * (y[i] - p) / p
        if observed:
            a = mean * none / p
            past = a + mean - 1.0 if mean > 1e-3 else mean * (0.5 + mean / 12.0)  # its terms cancel for small m
            information[i] = weight[i] * (y[i] * a * past + (1.0 - y[i]) * mean)
        else:
            information[i] = weight[i] * mean * (mean * none) / p
        likely[i] = weight[i] * ((y[i] * log(p) if y[i] > 0.0 else 0.0) - (1.0 - y[i]) * mean)
        pearson[i] = weight[i] * (y[i] - p) * (y[i] - p) / (p * none) if none > 0.0 else 0.0


cdef wide_void gamma_rows(const double* eta, const double* y, const double* multiplier, const double* weight,
                          const double* trials, double _, bint observed, int n, real_out gradient,
                          real_out information, real_out likely, real_out pearson) noexcept nogil:
    """Amounts with mean m = multiplier exp(eta): gradient w (y/m - 1), expected information w, observed w y/m."""
    cdef int i
    cdef double ratio
    for i in range(n):
        ratio = y[i] * exponential(-eta[i]) / multiplier[i]
        gradient[i] = weight[i] * (ratio - 1.0)
        information[i] = weight[i] * ratio
        likely[i] = -weight[i] * (ratio + eta[i])
        pearson[i] = weight[i] * (ratio - 1.0) * (ratio - 1.0)
    if not observed:  # a branch inside the loop would cost a sixth of the loop's time
        memcpy(information, weight, n * sizeof(double))


cdef void negative_binomial_rows(const double* eta, const double* y, const double* multiplier, const double* weight,
                                 const double* trials, double dispersion, bint observed, int n, double* gradient,
                                 double* information, double* likely, double* pearson) noexcept nogil:
    """Counts with variance v = m + d m^2: gradient w m (y - m) / v, expected information w m^2 / v.

    The observed information is the expected information times (1 + d y) / (1 + d m).
    """
    cdef int i
    cdef double mean, spread, residual
    for i in range(n):
        mean = multiplier[i] * exp(eta[i])
        spread = 1.0 + dispersion * mean
        residual = y[i] - mean
        gradient[i] = weight[i] * residual / spread
        information[i] = weight[i] * mean / spread * ((1.0 + dispersion * y[i]) / spread if observed else 1.0)
        likely[i] = weight[i] * (y[i] * eta[i] - (y[i] + 1.0 / dispersion) * log1p(dispersion * mean))
        pearson[i] = weight[i] * residual * residual / (mean * spread)


cdef void lognormal_rows(const double* eta, const double* y, const double* multiplier, const double* weight,
                         const double* trials, double _, bint observed, int n, double* gradient,
                         double* information, double* likely, double* pearson) noexcept nogil:
    """Amounts whose log has mean log multiplier + eta: gradient w r, r the residual of the log, information w."""
    cdef int i
    cdef double residual
    for i in range(n):
        residual = log(y[i] / multiplier[i]) - eta[i]
        gradient[i] = weight[i] * residual
        information[i] = weight[i]
        likely[i] = -0.5 * weight[i] * residual * residual
        pearson[i] = weight[i] * residual * residual


cdef void inverse_gaussian_rows(const double* eta, const double* y, const double* multiplier, const double* weight,
                                const double* trials, double _, bint observed, int n, double* gradient,
                                double* information, double* likely, double* pearson) noexcept nogil:
    """Amounts with variance ~ m^3: gradient w (y - m) / m^2, expected information w / m, observed w (2y - m) / m^2."""
    cdef int i
    cdef double rate, residual
    for i in range(n):
        rate = exp(-eta[i]) / multiplier[i]
        residual = y[i] * rate - 1.0
        gradient[i] = weight[i] * residual * rate
        information[i] = weight[i] * rate * (2.0 * residual + 1.0 if observed else 1.0)
        likely[i] = weight[i] * rate * (1.0 - 0.5 * y[i] * rate)
        pearson[i] = weight[i] * residual * residual * rate


cdef void tweedie_rows(const double* eta, const double* y, const double* multiplier, const double* weight,
                       const double* trials, double power, bint observed, int n, double* gradient,
                       double* information, double* likely, double* pearson) noexcept nogil:
    """Amounts, some zero, with variance ~ m^p, 1 < p < 2: gradient w m^(1-p) (y - m), information w m^(2-p).

    The observed information is w ((2-p) m^(2-p) + (p-1) y m^(1-p)).
    """
    cdef int i
    cdef double mean, low, high
    for i in range(n):
        mean = multiplier[i] * exp(eta[i])
        low = pow(mean, 1.0 - power)
        high = low * mean
        gradient[i] = weight[i] * (y[i] * low - high)
        information[i] = weight[i] * (((2.0 - power) * high + (power - 1.0) * y[i] * low) if observed else high)
        likely[i] = weight[i] * (y[i] * low / (1.0 - power) - high / (2.0 - power))
        pearson[i] = weight[i] * (y[i] - mean) * (y[i] - mean) * low / mean


cdef void beta_binomial_rows(const double* eta, const double* y, const double* multiplier, const double* weight,
                             const double* trials, double correlation, bint observed, int n, double* gradient,
                             double* information, double* likely, double* pearson) noexcept nogil:
    """Returned lines y of `trials`, each with p = 1 - exp(-m), m = multiplier exp(eta); two lines have correlation r.

    The log likelihood is the sum of log(p (1-r) + k r) over k < y and of log((1-p) (1-r) + k r) over k < trials - y
    (docs/method.md, equations 3 and 4). The expected information is the sum of the squared slopes of all terms, each
    weighted by its probability. The observed information has the terms that occur, less (1-m) times the gradient.
    """
    cdef int i, k, lines, back
    cdef double mean, p, none, apart = 1.0 - correlation, slope, first, second, chance, seen, at, share, squares
    for i in range(n):
        mean = multiplier[i] * exp(eta[i])
        p = -expm1(-mean)
        none = exp(-mean) if mean < FARTHEST else exp(-FARTHEST)  # above zero, because sums below divide by it
        slope = apart * mean * none  # of p (1-r) along eta
        lines, back = <int>trials[i], <int>y[i]
        first, second, at, squares = 0.0, 0.0, 0.0, 0.0
        for k in range(back):
            share = p * apart + k * correlation
            first += 1.0 / share
            at += log(share)
            squares += (slope / share) * (slope / share)
        for k in range(lines - back):
            share = none * apart + k * correlation
            second += 1.0 / share
            at += log(share)
            squares += (slope / share) * (slope / share)
        gradient[i] = weight[i] * slope * (first - second)
        likely[i] = weight[i] * at
        share = y[i] - trials[i] * p
        pearson[i] = weight[i] * share * share / (trials[i] * p * none * (1.0 + (trials[i] - 1.0) * correlation))
        if observed:
            information[i] = weight[i] * (squares - (1.0 - mean) * slope * (first - second))
            continue
        if correlation == 0.0:
            information[i] = weight[i] * mean * (mean * none) / p * trials[i]
            continue
        # `chance` is P(y = k), here for k = 0. Each probability is the previous one times a ratio.
        chance = 1.0
        for k in range(lines):
            chance *= (none * apart + k * correlation) / (apart + k * correlation)
        seen, first, second = 1.0 - chance, 0.0, 0.0
        for k in range(lines):
            # seen = P(y > k), and P(trials - y > lines - 1 - k) = P(y <= k)
            first += seen / ((p * apart + k * correlation) * (p * apart + k * correlation))
            at = none * apart + (lines - 1 - k) * correlation
            second += (1.0 - seen) / (at * at)
            chance *= (lines - k) * (p * apart + k * correlation) / ((k + 1) * at)
            seen = seen - chance if seen > chance else 0.0
        information[i] = weight[i] * slope * slope * (first + second)


# Two loops, because the branches of one loop with both bounds are not vectorised.
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


cdef void scatter(const int32_t* cells, const double* values, int n, double* table) noexcept nogil:
    cdef int i
    for i in range(n):
        table[cells[i]] += values[i]


cdef void scatter_both(const int32_t* cells, const double* first, const double* second, int n,
                       double* table) noexcept nogil:
    cdef int i
    for i in range(n):
        table[2 * cells[i]] += first[i]
        table[2 * cells[i] + 1] += second[i]


ctypedef void (*RowsOf)(
    const double*, const double*, const double*, const double*, const double*, double, bint, int, double*, double*,
    double*, double*) noexcept nogil

cdef struct Family:
    RowsOf rows
    bint observed

cdef enum:
    MAX_FAMILIES = 16

cdef Family KERNELS[MAX_FAMILIES]
FAMILIES = {}


cdef int register(str name, RowsOf rows, bint both=True) except -1:
    """Give a family the next number, and another one with the observed information if it has `both`."""
    cdef int observed
    for observed in range(2 if both else 1):
        need(len(FAMILIES) < MAX_FAMILIES, "too many families")
        KERNELS[len(FAMILIES)] = Family(rows, observed == 1)
        FAMILIES[name + "_observed" if observed else name] = len(FAMILIES)
    return 0


# A cast turns outputs that promise not to overlap (`real_out`) into plain pointers, as the other families take them.
register("poisson", <RowsOf>poisson_rows, both=False)
register("bernoulli", bernoulli_rows)
register("gamma", <RowsOf>gamma_rows)
register("negative_binomial", negative_binomial_rows)
register("lognormal", lognormal_rows, both=False)
register("inverse_gaussian", inverse_gaussian_rows)
register("tweedie", tweedie_rows)
register("beta_binomial", beta_binomial_rows)


cdef struct FitBlock:
    Py_ssize_t start
    int n
    int32_t codes[MAX_COLUMNS][BLOCK]
    int32_t fused[2][BLOCK]
    double converted[4][BLOCK]  # float64 copies of the other types' columns of values
    double eta[BLOCK]
    double gradient[BLOCK]
    double information[BLOCK]
    double likely[BLOCK]
    double pearson[BLOCK]


cdef const double* read_values(RowValues values, int which, FitBlock* b) noexcept nogil:
    """Return the block's rows of a column of values: in place if they are float64, else as a converted copy."""
    cdef const uint8_t* column = values.column[which]
    cdef double* out = &b.converted[which][0]
    cdef int i
    if values.kind[which] == DOUBLE:
        return <const double*>column + b.start
    if values.kind[which] == SINGLE:
        for i in range(b.n):
            out[i] = (<const float*>column + b.start)[i]
    elif values.kind[which] == BYTE:
        for i in range(b.n):
            out[i] = (column + b.start)[i]
    elif values.kind[which] == SHORT:
        for i in range(b.n):
            out[i] = (<const uint16_t*>column + b.start)[i]
    elif values.kind[which] == LONG:
        for i in range(b.n):
            out[i] = (<const uint32_t*>column + b.start)[i]
    return out


cdef void fill_ones(FitBlock* b, RowValues values) noexcept nogil:
    """Fill the columns that stand for ones; `read_values` does not write to them."""
    cdef int which
    for which in range(4):
        if values.kind[which] == ONES:
            fill(1.0, BLOCK, &b.converted[which][0])


cdef bint predict(FitBlock* b, CodeColumns columns, const int64_t[::1] offsets, double base,
                  const double[::1] tables) noexcept nogil:
    """Read the codes and add up eta. Return False if a code is out of range; only a checked build tests this."""
    cdef int f
    fill(base, b.n, &b.eta[0])
    for f in range(columns.count):
        widen(columns.column[f], columns.itemsize[f], b.start, b.n, &b.codes[f][0])
        if FREIGHTRISK_CHECKED and not in_range(&b.codes[f][0], b.n, columns.size[f]):
            return False
        gather_sum(&b.codes[f][0], &tables[offsets[f]], b.n, &b.eta[0])
    bound_above(LARGEST_ETA, b.n, &b.eta[0])
    bound_below(-LARGEST_ETA, b.n, &b.eta[0])
    return True


cdef void differentiate(FitBlock* b, Family family, double parameter, RowValues values) noexcept nogil:
    """Write gradient, information, objective and Pearson term of each row."""
    cdef const double* y = read_values(values, RESPONSE, b)
    cdef const double* multiplier = read_values(values, MULTIPLIER, b)
    cdef const double* weight = read_values(values, WEIGHT, b)
    cdef const double* trials = read_values(values, TRIALS, b)
    family.rows(&b.eta[0], y, multiplier, weight, trials, parameter, family.observed, b.n, &b.gradient[0],
                &b.information[0], &b.likely[0], &b.pearson[0])


cdef void add_totals(FitBlock* b, double* sums) noexcept nogil:
    sums[0] += total_of(&b.likely[0], b.n)
    sums[1] += total_of(&b.pearson[0], b.n)
    sums[2] += total_of(&b.gradient[0], b.n)
    sums[3] += total_of(&b.information[0], b.n)


cdef void add_cells(FitBlock* b, CodeColumns columns, const int32_t[::1] members, const int32_t[::1] firsts,
                    const int64_t[::1] places, int n_gradients, double[::1] cells_out) noexcept nogil:
    """Add gradient and information to the cells of the first `n_gradients` tables, only information to all others."""
    cdef const int32_t* cells
    cdef int t, m, side
    for t in range(<int>firsts.shape[0] - 1):
        cells = &b.codes[members[firsts[t]]][0]
        side = 0  # two buffers in turn, because `fuse` must not write to its input
        for m in range(firsts[t] + 1, firsts[t + 1]):
            fuse(cells, &b.codes[members[m]][0], <int32_t>columns.size[members[m]], 1, b.n, &b.fused[side][0])
            cells = &b.fused[side][0]
            side = 1 - side
        if t < n_gradients:
            scatter_both(cells, &b.gradient[0], &b.information[0], b.n, &cells_out[places[t]])
        else:
            scatter(cells, &b.information[0], b.n, &cells_out[places[t]])


cdef int prove_cells(CodeColumns columns, const int32_t[::1] members, const int32_t[::1] firsts,
                     const int64_t[::1] places, int n_gradients, Py_ssize_t length) except -1:
    """Raise unless the cells of every table lie in the output."""
    cdef int t, m
    cdef int64_t cells
    need(places.shape[0] >= firsts.shape[0] - 1, "tables without places")
    for t in range(<int>firsts.shape[0] - 1):
        need(0 <= firsts[t] < firsts[t + 1] <= members.shape[0], "tables without columns")
        cells = 1
        for m in range(firsts[t], firsts[t + 1]):
            need(0 <= members[m] < columns.count, "a table of a column that does not exist")
            cells *= columns.size[members[m]]
            need(cells < <int64_t>1 << 31, "a table of too many cells")  # fused codes are int32
        need(0 <= places[t] <= length - (2 * cells if t < n_gradients else cells), "fewer cells than tables have")
    return 0


def accumulate(int family, double parameter, CodeColumns columns not None, const int64_t[::1] offsets not None,
               double base, const double[::1] tables not None, RowValues values not None, Py_ssize_t start,
               Py_ssize_t stop, const int32_t[::1] members not None, const int32_t[::1] firsts not None,
               const int64_t[::1] places not None, int n_gradients, double[::1] cells_out not None,
               double[::1] sums_out not None):
    """Add the gradient, information and objective of rows [start, stop) to the outputs.

    Parameters
    ----------
    family : one of FAMILIES. For all of them eta = base + sum of log tables, bounded to [-708, 708]. The information
        is the expected information, unless the name of the family ends in "observed"
    parameter : dispersion of a negative binomial, power of a Tweedie variance, correlation of a beta binomial (0 for
        a binomial); other families do not read it
    offsets : (F,) where each factor's table starts in `tables`
    members : columns whose codes number the cells of each table in `cells_out`; the last column varies fastest
    firsts : (T + 1,) where each table's columns start in `members`
    places : (T,) where each table starts in `cells_out`
    n_gradients : number of tables, from the first on, that hold gradient and information of each cell; the other
        tables hold only information
    sums_out : (4,) objective, Pearson sum, total gradient, total information
    """
    cdef FitBlock b
    cdef Py_ssize_t step
    cdef int f, count = columns.count
    if stop <= start:
        return
    need(0 <= family < len(FAMILIES), "a family that does not exist")
    need(start >= 0 and columns.rows >= stop and sums_out.shape[0] >= 4,
         "rows beyond the columns of codes, or fewer than four sums")
    need(all([reaches(values.length[f], stop) for f in range(4)]), "fewer values than rows")
    need(offsets.shape[0] >= count, "fewer tables than columns")
    for f in range(count):
        need(0 <= offsets[f] <= tables.shape[0] - columns.size[f], "tables that are shorter than their columns")
    prove_cells(columns, members, firsts, places, n_gradients, cells_out.shape[0])
    with nogil:
        fill_ones(&b, values)
        for step in range(blocks(start, stop)):
            b.start = start + step * BLOCK
            b.n = block_rows(b.start, stop)
            if not predict(&b, columns, offsets, base, tables):
                with gil:
                    raise IndexError("a code is out of its table's range")
            differentiate(&b, KERNELS[family], parameter, values)
            add_totals(&b, &sums_out[0])
            add_cells(&b, columns, members, firsts, places, n_gradients, cells_out)
