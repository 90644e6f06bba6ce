"""The hot path: the price of every order, from codes to premium, list price and payers.

`price` takes each block of rows through six stages: read codes, rate, cover, load, round, settle. A `Block` on the
stack passes the results on. The last two stages are in `_rounding` and `_settle`.
"""

from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from freightrisk._blocks cimport (
    BLOCK, FREIGHTRISK_CHECKED, MAX_COLUMNS, CodeColumns, all_pairs, block_rows, blocks, fill, flag_out, four_singles,
    fuse, fuse_byte, fuse_bytes, in_range, int_out, long_out, need, real_out, wide_void, widen,
)
from freightrisk._curves cimport expected_counts, limited_mean, pay_above, reach_limits
from freightrisk._limits cimport LimitBlock, choose_limits
from freightrisk._loads cimport load_premium
from freightrisk._masks cimport control, gather_masks, whole_masks
from freightrisk._plan cimport CARRY, DITHER, PricePlan, TableSet
from freightrisk._rounding cimport round_rows
from freightrisk._settle cimport (
    LIMIT_CONFLICT, UNSEEN_LEVEL, MoneyBlock, MoneyColumns, prove_outputs, settle_rows,
)

cdef double LARGEST_FILED = 1e13  # micro-yuan, the largest filed limit; fen of it fit into int32
cdef double LIMIT_MATTERS = 0.99  # a payout below this share of the mean freight is flagged as limited
cdef uint64_t EVERY_RULE = 0xFFFFFFFFFFFFFFFF


cdef wide_void twice(const int32_t* codes, int n, int_out place) noexcept nogil:
    cdef int i
    for i in range(n):
        place[i] = 2 * codes[i]


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
    """Write the products of base and relativities for two models. A table's entry is a pair of relativities.

    Places are twice the codes.
    """
    all_pairs(place, tables, n_tables, n, base, beside, first, second)


cdef wide_void gather_minimum(const int32_t* codes, const double* table, int n, real_out value) noexcept nogil:
    cdef int i
    cdef double found
    for i in range(n):
        found = table[codes[i]]
        value[i] = found if found < value[i] else value[i]


cdef wide_void scale(double factor, int n, real_out value) noexcept nogil:
    cdef int i
    for i in range(n):
        value[i] *= factor


cdef wide_void multiply_by(const double* measure, int n, real_out value) noexcept nogil:
    cdef int i
    for i in range(n):
        value[i] *= measure[i]


cdef wide_void gather_shares(const int32_t* codes, const int32_t* choice, const double* table, int choices, int n,
                             real_out value) noexcept nogil:
    cdef int i
    for i in range(n):
        value[i] *= table[codes[i] * choices + choice[i]]


cdef wide_void add_real(const double* more, int n, real_out sum) noexcept nogil:
    cdef int i
    for i in range(n):
        sum[i] += more[i]


cdef wide_void add_whole(const int64_t* beside, int n, real_out value) noexcept nogil:
    cdef int i
    cdef double sum
    for i in range(n):
        sum = value[i] + <double>beside[i]
        value[i] = sum if sum < LARGEST_FILED else LARGEST_FILED


cdef wide_void flag_conflicts(const int32_t* conflict, int n, flag_out flags) noexcept nogil:
    cdef int i
    for i in range(n):
        flags[i] |= LIMIT_CONFLICT if conflict[i] else 0


cdef wide_void add_flags(const int32_t* bound, int n, flag_out flags) noexcept nogil:
    cdef int i
    for i in range(n):
        flags[i] |= <uint8_t>bound[i]


cdef wide_void write_whole(const double* value, int n, long_out out) noexcept nogil:
    cdef int i
    for i in range(n):
        out[i] = <int64_t>value[i]


cdef wide_void flag_unseen(const int32_t* codes, int64_t known, int n, flag_out flags) noexcept nogil:
    cdef int i
    cdef int32_t limit = <int32_t>known
    for i in range(n):
        flags[i] |= UNSEEN_LEVEL if codes[i] >= limit else 0


cdef struct Block:
    Py_ssize_t start
    int n
    int32_t codes[2 * MAX_COLUMNS][BLOCK]  # the orders' columns, then fused columns
    uint8_t widened[2 * MAX_COLUMNS]  # whether a column is needed as int32; bytes that are only fused are not
    uint8_t paired[2 * MAX_COLUMNS]  # whether tables of pairs read a column
    int32_t twofold[MAX_COLUMNS][BLOCK]  # twice the codes, for tables of pairs
    const int32_t* pair_places[MAX_COLUMNS]
    const double* pair_tables[MAX_COLUMNS]
    double* steps[5]  # claim intensity, claims, payout, pure and technical premium; the caller's or own_steps
    double own_steps[5][BLOCK]
    double mean[BLOCK]  # freight of a claim
    double limit[BLOCK]
    double inverse[BLOCK]  # of the limit
    double below[BLOCK]  # what a claim pays under the deductible
    double inside[BLOCK]  # position inside a curve's piece
    int32_t piece[BLOCK]
    double micro[BLOCK]
    int32_t rounded[BLOCK]
    const double* measures  # measure k of the first order of the block is `stride` * k further
    Py_ssize_t stride
    LimitBlock limits
    uint32_t controlled[2][BLOCK]  # masks of the controls whose conditions an order meets

cdef enum:
    INTENSITY = 0
    CLAIMS = 1
    PAYOUT = 2
    PURE = 3
    TECHNICAL = 4


cdef void mark(const int32_t[::1] columns, uint8_t* marks) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(columns.shape[0]):
        marks[columns[k]] = 1


cdef void prepare(Block* b, CodeColumns columns, PricePlan plan) noexcept nogil:
    """Decide in which form each column is needed, and find the tables of pairs. All blocks share the result."""
    cdef int f, column
    for f in range(columns.count):
        b.widened[f] = columns.itemsize[f] > 1 or plan.known[f] <= columns.largest[f] or FREIGHTRISK_CHECKED
    memset(&b.widened[columns.count], 1, MAX_COLUMNS)
    mark(plan.frequency.columns, &b.widened[0])
    mark(plan.severity.columns, &b.widened[0])
    mark(plan.shares.columns, &b.widened[0])
    mark(plan.limits.columns, &b.widened[0])
    mark(plan.masks.columns, &b.widened[0])
    mark(plan.limit_rules.masks.columns, &b.widened[0])
    mark(plan.limit_rules.shares.columns, &b.widened[0])
    mark(plan.controls.masks.columns, &b.widened[0])
    mark(plan.loads.with_fraud.columns, &b.widened[0])
    mark(plan.loads.filed_factor.columns, &b.widened[0])
    if plan.count_curve.column >= 0:
        b.widened[plan.count_curve.column] = 1
    for f in range(plan.fused.count):  # no loop fuses a column of bytes with a widened second column
        if b.widened[plan.fused.second[f]]:
            b.widened[plan.fused.first[f]] = 1
    memset(&b.paired[0], 0, 2 * MAX_COLUMNS)
    for f in range(plan.pairs.count):
        column = plan.pairs.columns[f]
        b.paired[column] = 1
        b.pair_places[f] = &b.codes[column][0] if column >= columns.count else &b.twofold[f][0]
        b.pair_tables[f] = &plan.pairs.entries[plan.pairs.offsets[f]]
    b.limit[0] = plan.payout_terms.deductible + plan.limits.base / plan.payout_terms.kept
    b.inverse[0] = 1.0 / b.limit[0]


cdef bint read_codes(Block* b, CodeColumns columns, PricePlan plan, uint8_t* flags) noexcept nogil:
    """Read the codes and flag unseen levels. Return False if a code is out of range; only a checked build tests this.
    """
    cdef int f
    memset(flags, 0, b.n)
    for f in range(columns.count):
        if b.widened[f]:
            widen(columns.column[f], columns.itemsize[f], b.start, b.n, &b.codes[f][0])
        if FREIGHTRISK_CHECKED and not in_range(&b.codes[f][0], b.n, columns.size[f]):
            return False
        if plan.known[f] <= columns.largest[f]:
            flag_unseen(&b.codes[f][0], plan.known[f], b.n, flags)
    fuse_codes(b, columns, plan)
    return True


cdef void fuse_codes(Block* b, CodeColumns columns, PricePlan plan) noexcept nogil:
    """Write the fused columns; a column that tables of pairs read holds twice its codes."""
    cdef int f, first, second, times
    cdef int32_t width
    cdef int32_t* fused
    for f in range(plan.fused.count):
        first, second, width = plan.fused.first[f], plan.fused.second[f], plan.fused.width[f]
        fused = &b.codes[columns.count + f][0]
        times = 1 + b.paired[columns.count + f]
        if b.widened[second]:
            fuse(&b.codes[first][0], &b.codes[second][0], width, times, b.n, fused)
        elif b.widened[first]:
            fuse_byte(&b.codes[first][0], columns.column[second] + b.start, width, times, b.n, fused)
        else:
            fuse_bytes(columns.column[first] + b.start, columns.column[second] + b.start, width, times, b.n, fused)
    for f in range(plan.pairs.count):
        if plan.pairs.columns[f] < columns.count:
            twice(&b.codes[plan.pairs.columns[f]][0], b.n, &b.twofold[f][0])


cdef void multiply(Block* b, TableSet tables, int first, double* value) noexcept nogil:
    """Multiply by the tables from number `first` on. If `first` is 0, start with the base."""
    cdef int f
    if first == 0 and tables.count == 0:
        fill(tables.base, b.n, value)
    for f in range(first, tables.count):
        if f == 0:
            gather_first(&b.codes[tables.columns[f]][0], &tables.entries[tables.offsets[f]], tables.base, b.n, value)
        else:
            gather_product(&b.codes[tables.columns[f]][0], &tables.entries[tables.offsets[f]], b.n, value)


cdef void rate(Block* b, PricePlan plan) noexcept nogil:
    """Write claim intensity and mean freight, starting with the tables that both models share."""
    if plan.pairs.count:
        gather_pairs(&b.pair_places[0], &b.pair_tables[0], plan.pairs.count, plan.frequency.base, plan.severity.base,
                     b.n, b.steps[INTENSITY], &b.mean[0])
    multiply(b, plan.frequency, plan.pairs.count, b.steps[INTENSITY])
    multiply(b, plan.severity, plan.pairs.count, &b.mean[0])
    if plan.payout_terms.measure >= 0:
        multiply_by(b.measures + plan.payout_terms.measure * b.stride, b.n, &b.mean[0])
    if plan.controls.count:
        gather_masks(b.codes, plan.controls.masks, plan.controls.count, EVERY_RULE, b.n, b.controlled)
        control(plan.controls, b.controlled, b.n, b.steps[INTENSITY])


cdef void cover_claims(Block* b, PricePlan plan) noexcept nogil:
    """Write the expected number of claims that the cover pays for a claim intensity."""
    cdef const int32_t* codes = NULL
    if not plan.count_curve.each:
        memcpy(b.steps[CLAIMS], b.steps[INTENSITY], b.n * sizeof(double))
        return
    if plan.count_curve.column >= 0:
        codes = &b.codes[plan.count_curve.column][0]
    expected_counts(plan.count_curve, codes, b.steps[INTENSITY], b.n, b.steps[CLAIMS], &b.piece[0], &b.inside[0])


cdef void cover_payout(Block* b, PricePlan plan, uint8_t* flags) noexcept nogil:
    """Write the expected payout of a claim: the mean freight, reduced by limits, the deductible and shares."""
    cdef double* payout = b.steps[PAYOUT]
    cdef int f, choices = plan.limit_rules.count + 1
    if plan.limit_rules.count:
        gather_masks(b.codes, plan.limit_rules.masks, plan.limit_rules.count, plan.limit_rules.every, b.n,
                     b.limits.holds)
        choose_limits(&b.limits, plan.limit_rules, b.measures, b.stride, b.n)
        if plan.limit_rules.conflicts:
            flag_conflicts(&b.limits.conflict[0], b.n, flags)
    if plan.limit_curve.count:
        limit_payout(b, plan, payout)
    else:
        memcpy(payout, &b.mean[0], b.n * sizeof(double))
    for f in range(plan.limit_rules.shares.count):
        gather_shares(&b.codes[plan.limit_rules.shares.columns[f]][0], &b.limits.choice[0],
                      &plan.limit_rules.shares.entries[plan.limit_rules.shares.offsets[f]], choices, b.n, payout)
    for f in range(plan.shares.count):
        gather_product(&b.codes[plan.shares.columns[f]][0], &plan.shares.entries[plan.shares.offsets[f]], b.n, payout)
    if plan.payout_terms.kept != 1.0:
        scale(plan.payout_terms.kept, b.n, payout)


cdef void limit_payout(Block* b, PricePlan plan, double* payout) noexcept nogil:
    """Write the mean of a claim between the deductible and the amount at which its limit is reached."""
    cdef double deductible = plan.payout_terms.deductible, inverse
    cdef bint flat = plan.limits.count == 0 and plan.limit_rules.count == 0
    cdef double* limit = &b.limit[0]
    cdef double* by_rule = &b.limits.limit[0] if plan.limit_rules.count else NULL
    cdef int f
    if not flat:
        if plan.limits.count or plan.limits.base != INFINITY:
            fill(plan.limits.base, b.n, limit)
            for f in range(plan.limits.count):
                gather_minimum(&b.codes[plan.limits.columns[f]][0], &plan.limits.entries[plan.limits.offsets[f]], b.n,
                               limit)
        else:
            limit, by_rule = by_rule, NULL
        reach_limits(by_rule, plan.payout_terms.kept, deductible, b.n, limit, &b.inverse[0])
    limited_mean(plan.limit_curve, &b.mean[0], limit, &b.inverse[0], flat, b.n, payout, &b.piece[0],
                 &b.inside[0])
    if deductible > 0.0:
        inverse = 1.0 / deductible
        limited_mean(plan.limit_curve, &b.mean[0], &deductible, &inverse, True, b.n, &b.below[0], &b.piece[0],
                     &b.inside[0])
        pay_above(&b.below[0], b.n, payout)


cdef void load(Block* b, PricePlan plan, uint8_t* flags) noexcept nogil:
    """Write pure, technical and filed premium, and flag limits that bind."""
    if plan.loads.with_fraud.count or plan.loads.filed_factor.count:
        # The payout is known, so that two of its arrays are free.
        multiply(b, plan.loads.with_fraud, 0, &b.below[0])
        multiply(b, plan.loads.filed_factor, 0, &b.inside[0])
    # `rounded` holds the flags until rounding writes to it.
    load_premium(plan.loads, b.steps[CLAIMS], b.steps[PAYOUT], &b.mean[0], &b.below[0], &b.inside[0],
                 LIMIT_MATTERS * plan.payout_terms.kept, b.n, b.steps[PURE], b.steps[TECHNICAL], &b.micro[0],
                 &b.rounded[0])
    add_flags(&b.rounded[0], b.n, flags)


cdef void write_money(Block* b, MoneyBlock* m, MoneyColumns money) noexcept nogil:
    """Add the premiums of other covers, and write premiums and masks, if the caller wants them."""
    cdef int k
    for k in range(<int>money.sums.shape[0]):
        if money.beside.shape[0]:
            add_real(b.steps[PURE + k], b.n, &money.sums[k, b.start])
        else:
            memcpy(&money.sums[k, b.start], b.steps[PURE + k], b.n * sizeof(double))
    if money.beside.shape[0]:
        add_whole(&money.beside[b.start], b.n, &b.micro[0])
    if money.micro.shape[0]:
        write_whole(&b.micro[0], b.n, &money.micro[b.start])
    if money.masks.shape[0]:
        whole_masks(m.eligible, b.n, &money.masks[b.start])


cdef void round_block(Block* b, PricePlan plan, MoneyColumns money) noexcept nogil:
    round_rows(plan.rounding, &b.micro[0], &money.draws[b.start] if plan.rounding == DITHER else NULL, b.n,
               &b.rounded[0])
    if money is not None and money.rounded.shape[0]:
        memcpy(&money.rounded[b.start], &b.rounded[0], b.n * sizeof(int32_t))


def price(CodeColumns columns not None, PricePlan plan not None, Py_ssize_t start, Py_ssize_t stop,
          double[:, ::1] detail_out not None, int32_t[::1] list_out not None, int32_t[:, ::1] payers_out not None,
          int32_t[::1] merchant_out not None, uint8_t[::1] flags_out not None, MoneyColumns money=None,
          int64_t[::1] spent_out=None, uint64_t allowed=EVERY_RULE, const double[:, ::1] measures=None):
    """Write the premium's steps, the list price and the payments of each payer for rows [start, stop).

    Budgets and caps by merchant do not bind here; `settle` applies them. If rounding carries, only premiums and masks
    are written, because `carry` and `settle` follow.

    Parameters
    ----------
    detail_out : (5, n) claim intensity, expected claims, expected payout, pure and technical premium; (0, 0) to skip
    list_out, merchant_out : (n,) fen
    payers_out : (payers, n) fen
    flags_out : (n,) sum of FLAGS
    money : further columns; dithering needs its draws, carrying needs its micro-yuan and masks
    spent_out : (rules,) the payments of limited rules are added to it
    allowed : a bit for each rule that may pay
    measures : (M, n) yuan, at least as many as the plan reads
    """
    cdef Block b
    cdef MoneyBlock m
    cdef Py_ssize_t step
    cdef int k
    cdef bint detailed = detail_out.shape[0] == 5
    if stop <= start:
        return
    need(columns.rows >= stop, "fewer codes than rows")
    need(not detailed or detail_out.shape[1] >= stop, "outputs with too few rows")
    plan.prove_columns(columns)
    prove_outputs(plan, start, stop, list_out, payers_out, merchant_out, flags_out, money, spent_out)
    need(plan.measures == 0 or (measures is not None and measures.shape[0] >= plan.measures
                                and measures.shape[1] >= stop), "fewer measures than the plan reads")
    need(plan.rounding != DITHER or (money is not None and money.draws.shape[0] > 0), "no draws, which dithering needs")
    need(plan.rounding != CARRY or (money is not None and money.micro.shape[0] > 0
                                    and (money.masks.shape[0] > 0 or plan.rules.count == 0)),
         "no micro-yuan or masks, which carrying needs")
    m.floor, m.allowed = plan.floor_fen, allowed
    m.spent = &spent_out[0] if spent_out is not None and spent_out.shape[0] else NULL
    memset(&m.eligible[0][0], 0, sizeof(m.eligible))
    with nogil:
        prepare(&b, columns, plan)
        for step in range(blocks(start, stop)):
            b.start = m.start = start + step * BLOCK
            b.measures = &measures[0, b.start] if plan.measures else NULL
            b.stride = measures.shape[1] if plan.measures else 0
            b.n = m.n = block_rows(b.start, stop)
            m.price, m.rest, m.flags = &list_out[b.start], &merchant_out[b.start], &flags_out[b.start]
            for k in range(5):
                b.steps[k] = &detail_out[k, b.start] if detailed else &b.own_steps[k][0]
            if not read_codes(&b, columns, plan, m.flags):
                with gil:
                    raise IndexError("a code is out of its table's range")
            gather_masks(b.codes, plan.masks, plan.rules.count, EVERY_RULE, b.n, m.eligible)
            rate(&b, plan)
            cover_claims(&b, plan)
            cover_payout(&b, plan, m.flags)
            load(&b, plan, m.flags)
            if money is not None:
                write_money(&b, &m, money)
            if plan.rounding != CARRY:
                round_block(&b, plan, money)
                settle_rows(&m, plan.rules, &b.rounded[0], payers_out, money, None)
