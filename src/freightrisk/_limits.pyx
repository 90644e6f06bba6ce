"""Which rule limits the payment for a claim of each order: the highest priority, then the choice among its rules.

docs/method.md, equation 27c. `_core` reads the masks of the conditions and uses the result.
"""

from libc.math cimport INFINITY
from libc.stdint cimport int32_t, uint32_t
from libc.string cimport memset

from freightrisk._blocks cimport fill, int_out, real_out, wide_void, word_of
from freightrisk._plan cimport FIRST_AMOUNT, LARGEST_AMOUNT, LimitRules


cdef wide_void set_choice(int32_t choice, int n, int_out chosen) noexcept nogil:
    cdef int i
    for i in range(n):
        chosen[i] = choice


cdef wide_void share_of(const double* measure, double share, double most, int n, real_out amount) noexcept nogil:
    """Write the smaller of a share of each measure and the largest amount."""
    cdef int i
    cdef double part
    for i in range(n):
        part = share * measure[i]
        amount[i] = part if part < most else most


cdef wide_void take_alone(const uint32_t* holds, int place, int32_t rule, const double* amount, int n, real_out limit,
                          int_out choice, int_out conflict) noexcept nogil:
    """Let the only rule of its priority decide wherever it holds."""
    cdef int i
    for i in range(n):
        limit[i] = amount[i] if holds[i] >> place & 1 else limit[i]
        choice[i] = rule if holds[i] >> place & 1 else choice[i]
        conflict[i] = 0 if holds[i] >> place & 1 else conflict[i]


cdef wide_void take_flat(const uint32_t* holds, int place, int32_t rule, double amount, int n, real_out limit,
                         int_out choice, int_out conflict) noexcept nogil:
    """As `take_alone`, for a rule with the same amount for every order."""
    cdef int i
    for i in range(n):
        limit[i] = amount if holds[i] >> place & 1 else limit[i]
        choice[i] = rule if holds[i] >> place & 1 else choice[i]
        conflict[i] = 0 if holds[i] >> place & 1 else conflict[i]


cdef wide_void take_better(const uint32_t* holds, int place, int32_t rule, const double* amount, int choose, int n,
                           real_out value, int_out best, int_out apart) noexcept nogil:
    """Let one rule of a group replace the best rule before it, where it holds and is the better choice."""
    cdef int i
    cdef int32_t here, better
    for i in range(n):
        here = holds[i] >> place & 1
        apart[i] |= here & (best[i] >= 0) & (amount[i] != value[i])
        if choose == LARGEST_AMOUNT:
            better = amount[i] > value[i]
        else:  # of the first rules the first has the highest rank, so it comes last
            better = choose == FIRST_AMOUNT or amount[i] < value[i]
        better = here & ((best[i] < 0) | better)
        value[i] = amount[i] if better else value[i]
        best[i] = rule if better else best[i]


cdef wide_void take_group(const double* value, const int32_t* best, const int32_t* apart, int n, real_out limit,
                          int_out choice, int_out conflict) noexcept nogil:
    """Let the best rule of a group decide wherever one of its rules holds."""
    cdef int i
    for i in range(n):
        limit[i] = value[i] if best[i] >= 0 else limit[i]
        choice[i] = best[i] if best[i] >= 0 else choice[i]
        conflict[i] = apart[i] if best[i] >= 0 else conflict[i]


cdef wide_void place_of_highest(const uint32_t* holds, int n, int_out place) noexcept nogil:
    """Write 0 for an empty mask of up to 30 bits, and otherwise 1 plus the place of its highest bit.

    This is the exponent of the double 2 * mask + 1.
    """
    cdef int i
    for i in range(n):
        place[i] = <int32_t>(word_of(<double><int32_t>(2 * holds[i] + 1)) >> 52) - 1023


cdef wide_void amount_at(const int32_t* place, const double* tops, int n, real_out limit) noexcept nogil:
    cdef int i
    for i in range(n):
        limit[i] = tops[place[i]]


cdef wide_void choice_at(const int32_t* place, int32_t none, int n, int_out choice) noexcept nogil:
    cdef int i
    for i in range(n):
        choice[i] = place[i] - 1 if place[i] else none


cdef wide_void conflict_at(const uint32_t* holds, const int32_t* place, const int32_t* rivals, int n,
                           int_out conflict) noexcept nogil:
    cdef int i
    for i in range(n):
        conflict[i] = <int32_t>holds[i] & rivals[place[i]]


cdef void choose_flat(LimitBlock* l, LimitRules rules, int n) noexcept nogil:
    """Choose among up to 30 rules whose amounts are the same for every order: the highest rank decides."""
    place_of_highest(&l.holds[0][0], n, &l.best[0])
    amount_at(&l.best[0], &rules.tops[0], n, &l.limit[0])
    if rules.shares.count:
        choice_at(&l.best[0], rules.count, n, &l.choice[0])
    if rules.conflicts:
        conflict_at(&l.holds[0][0], &l.best[0], &rules.rivals[0], n, &l.conflict[0])


cdef void choose_limits(LimitBlock* l, LimitRules rules, const double* measures, Py_ssize_t stride,
                        int n) noexcept nogil:
    """Write the limit of each order of a block, the rule that decides it, and whether amounts conflict.

    Measure k of the block's first order is at ``measures + k * stride``. Conflicts are written only if amounts may
    differ. The rule is written only if tables of shares or amounts by order need it.
    """
    cdef int g, k, start = 0, place
    cdef const uint32_t* holds
    if rules.flat:
        choose_flat(l, rules, n)
        return
    fill(INFINITY, n, &l.limit[0])
    set_choice(rules.count, n, &l.choice[0])
    memset(&l.conflict[0], 0, n * sizeof(int32_t))
    for g in range(rules.groups):
        if rules.ends[g] - start > 1:
            memset(&l.apart[0], 0, n * sizeof(int32_t))
            set_choice(-1, n, &l.best[0])
        for k in range(start, rules.ends[g]):
            holds, place = &l.holds[k // 32][0], k % 32
            if rules.measure[k] >= 0:
                share_of(measures + rules.measure[k] * stride, rules.share[k], rules.amount[k], n, &l.amount[0])
            elif rules.ends[g] - start == 1:
                take_flat(holds, place, k, rules.amount[k], n, &l.limit[0], &l.choice[0], &l.conflict[0])
                continue
            else:
                fill(rules.amount[k], n, &l.amount[0])
            if rules.ends[g] - start == 1:
                take_alone(holds, place, k, &l.amount[0], n, &l.limit[0], &l.choice[0], &l.conflict[0])
            else:
                take_better(holds, place, k, &l.amount[0], rules.choose, n, &l.value[0], &l.best[0], &l.apart[0])
        if rules.ends[g] - start > 1:
            take_group(&l.value[0], &l.best[0], &l.apart[0], n, &l.limit[0], &l.choice[0], &l.conflict[0])
        start = rules.ends[g]
