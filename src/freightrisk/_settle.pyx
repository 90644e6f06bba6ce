"""Who pays each fen of a list price: the floor, subsidies, budgets and caps by merchant.

The rules apply to a block one after another (docs/method.md, equations 33 and 34).
"""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from freightrisk._blocks cimport BLOCK, block_rows, blocks, flag_out, int_out, mask_out, need, reaches, wide_void
from freightrisk._funds cimport Funds, draw_on_fund, fund_room, funds_suffice
from freightrisk._plan cimport FIXED, MAX_RULES, PERCENT_OF_LIST, PERCENT_OF_REST, PricePlan, Rules
from freightrisk._rounding cimport nearest_fen

FLAGS = {
    "floor_bound": FLOOR_BOUND, "limit_bound": LIMIT_BOUND, "filed_bound": FILED_BOUND, "unseen_level": UNSEEN_LEVEL,
    "limit_conflict": LIMIT_CONFLICT,
}

cdef uint64_t EVERY_RULE = 0xFFFFFFFFFFFFFFFF
cdef int ALONE = 32  # orders that are settled one by one before a block is tried again


@cython.auto_pickle(False)
cdef class MoneyColumns:
    """Columns of money that pricing reads and writes besides the quote. A column that is not needed has no rows.

    draws : (n,) 0 to 9999, for rounding by dither
    micro, rounded : (n,) the filed premium in micro-yuan, and in fen before the floor
    masks : (n,) the rules for which an order is eligible, one bit a rule
    paid : (rules, n) fen
    beside : (n,) micro-yuan of an order's other covers, which are rounded together with the filed premium
    sums : (2, n) pure and technical premium of all covers, yuan; the first cover without any `beside` begins the sums
    """

    def __init__(self, draws not None, micro not None, rounded not None, masks not None, paid not None,
                 beside not None, sums not None):
        self.draws, self.micro, self.rounded, self.masks, self.paid = draws, micro, rounded, masks, paid
        self.beside, self.sums = beside, sums


@cython.auto_pickle(False)
cdef class Limits:
    """Amounts left in budgets and in caps by merchant. Settling subtracts its payments from them.

    budget : (rules,) fen left in the rule's budget; without a budget, an amount too large to spend
    keys : (periods, n) number of the merchant and period that each order counts against, -1 for none
    rule_keys : (rules,) row of `keys` that the rule's cap by merchant reads, -1 without such a cap
    rule_start : (rules,) where the rule's merchants and periods start in `left`
    left : fen left for each merchant and period
    budget_met, left_met : shaped as `budget` and `left`; set to 1 if the limit reduced the offer to an order
    funds : funds that several rules draw on; None if the tariff has no fund
    """

    def __init__(self, budget not None, keys not None, rule_keys not None, rule_start not None, left not None,
                 budget_met not None, left_met not None, Funds funds=None):
        self.budget, self.keys, self.rule_keys, self.rule_start = budget, keys, rule_keys, rule_start
        self.left, self.budget_met, self.left_met, self.funds = left, budget_met, left_met, funds

    cdef int prove(self, int rules, Py_ssize_t stop) except -1:
        """Raise unless there is a limit for every rule and a key for every row."""
        need(min(self.budget.shape[0], self.budget_met.shape[0], self.rule_keys.shape[0],
                 self.rule_start.shape[0]) >= rules, "limits for fewer rules")
        need(self.left_met.shape[0] == self.left.shape[0], "limits of unequal length")
        need(self.keys.shape[0] == 0 or self.keys.shape[1] >= stop, "limits with keys for fewer rows")
        need(max([key for key in self.rule_keys], default=-1) < self.keys.shape[0], "limits without keys")
        return 0 if self.funds is None else self.funds.prove(rules, stop)


cdef int prove_outputs(PricePlan plan, Py_ssize_t start, Py_ssize_t stop, const int32_t[::1] list_out,
                       const int32_t[:, ::1] payers_out, const int32_t[::1] merchant_out, const uint8_t[::1] flags_out,
                       MoneyColumns money, const int64_t[::1] spent_out) except -1:
    """Raise unless the outputs have room for rows [start, stop) of a quote."""
    cdef int rules = plan.rules.count, payers = plan.rules.payers
    need(0 <= start, "rows below zero")
    need(min(list_out.shape[0], merchant_out.shape[0], flags_out.shape[0]) >= stop, "outputs with too few rows")
    need(payers <= payers_out.shape[0] <= MAX_RULES, "outputs for another number of payers")
    need(payers_out.shape[0] == 0 or payers_out.shape[1] >= stop, "outputs with too few rows")
    need(spent_out is None or spent_out.shape[0] == 0 or spent_out.shape[0] >= rules, "fewer sums than rules")
    if money is not None:
        need(reaches(money.draws.shape[0], stop) and reaches(money.micro.shape[0], stop)
             and reaches(money.rounded.shape[0], stop) and reaches(money.masks.shape[0], stop)
             and reaches(money.beside.shape[0], stop),
             "columns of money with too few rows")
        need(money.sums.shape[0] == 0 or (money.sums.shape[0] == 2 and money.sums.shape[1] >= stop),
             "sums with too few rows")
        need(money.paid.shape[0] == 0 or (money.paid.shape[0] >= rules and money.paid.shape[1] >= stop),
             "payments by rule with too few rows")
    return 0


cdef wide_void list_price(const int32_t* fen, int32_t floor, int n, int_out price, flag_out flags) noexcept nogil:
    cdef int i
    for i in range(n):
        price[i] = fen[i] if fen[i] > floor else floor
        flags[i] |= FLOOR_BOUND if fen[i] < floor else 0


cdef wide_void share_of(const int32_t* amount, double points, int n, int_out wanted) noexcept nogil:
    """Write basis points of an amount, rounded half-even to fen; exact (docs/method.md, Money, step 5)."""
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
    """Write a rule's offer to each order: at most the cap and the rest above the floor; 0 if not eligible."""
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
    """Like `bound_offer`, for a rule without rivals, and pay the offer; `first` is set for the payer's first rule."""
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
        paid[i] = value if first else paid[i] + value  # the first rule overwrites whatever the column held


cdef wide_void keep_best(const int32_t* offer, int32_t rule, int n, int_out best, int_out winner) noexcept nogil:
    cdef int i
    for i in range(n):  # strictly greater, so that the first of equal offers wins
        winner[i] = rule if offer[i] > best[i] else winner[i]
        best[i] = offer[i] if offer[i] > best[i] else best[i]


cdef wide_void add_fen(const int32_t* fen, int n, int_out paid) noexcept nogil:
    cdef int i
    for i in range(n):
        paid[i] += fen[i]


cdef wide_void take_off(const int32_t* best, int n, int_out rest) noexcept nogil:
    cdef int i
    for i in range(n):
        rest[i] -= best[i]


cdef wide_void flag_floor(const int32_t* rest, const int32_t* price, int32_t floor, int n,
                          flag_out flags) noexcept nogil:
    """Flag the orders whose merchant price was brought down to the floor by a subsidy."""
    cdef int i
    for i in range(n):
        flags[i] |= FLOOR_BOUND if rest[i] == floor and rest[i] < price[i] else 0


cdef wide_void clear_floor(int n, flag_out flags) noexcept nogil:
    cdef int i
    for i in range(n):
        flags[i] &= ~FLOOR_BOUND


cdef wide_void half_mask(const uint64_t* whole, int shift, int n, mask_out mask) noexcept nogil:
    cdef int i
    for i in range(n):
        mask[i] = <uint32_t>(whole[i] >> shift)


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


cdef inline int32_t within(int32_t value, int j, Py_ssize_t row, Limits limits) noexcept nogil:
    """Return an offer, reduced to the amounts left in the rule's budget, its fund and the merchant's cap."""
    cdef int64_t least = limits.budget[j], place
    cdef int32_t key
    cdef int f
    if least < value:
        limits.budget_met[j] = 1
    if limits.rule_keys[j] >= 0:
        key = limits.keys[limits.rule_keys[j], row]
        if key < 0:  # no merchant or no ship date: not eligible for a rule with a cap by merchant
            return 0
        place = limits.rule_start[j] + key
        if not 0 <= place < limits.left.shape[0]:
            limits.astray = True
            return 0
        if limits.left[place] < value:
            limits.left_met[place] = 1
        least = min(least, limits.left[place])
    if limits.funds is not None and limits.funds.of_rule[j] >= 0:
        f = limits.funds.of_rule[j]
        place = fund_room(limits.funds, f, row)
        if place < value:
            limits.funds.met[f] = 1
        least = min(least, place)
    return <int32_t>min(<int64_t>value, least)


cdef inline void spend(int32_t value, int j, Py_ssize_t row, Limits limits) noexcept nogil:
    limits.budget[j] -= value
    if limits.rule_keys[j] >= 0:
        limits.left[limits.rule_start[j] + limits.keys[limits.rule_keys[j], row]] -= value
    if limits.funds is not None and limits.funds.of_rule[j] >= 0:
        draw_on_fund(limits.funds, limits.funds.of_rule[j], value, row)


cdef inline bint may_end(Limits limits, Rules rules, int j) noexcept nogil:
    """Return whether limits apply in this call and this rule has one."""
    return limits is not None and rules.limited[j]


cdef inline uint64_t bit_of(int k) noexcept nogil:
    return <uint64_t>1 << k


cdef inline uint32_t half_bit(MoneyBlock* b, int j) noexcept nogil:
    """Return the bit of a rule in its half of the masks, 0 for a rule that may not pay."""
    return <uint32_t>1 << j % 32 if b.allowed & bit_of(j) else 0


cdef void ask(MoneyBlock* b, Rules rules, int j, int32_t* offer) noexcept nogil:
    """Write the amount of a rule before cap, floor and mask."""
    if rules.kind[j] == PERCENT_OF_LIST:
        share_of(b.price, <double>rules.amount[j], b.n, offer)
    elif rules.kind[j] == PERCENT_OF_REST:
        share_of(b.rest, <double>rules.amount[j], b.n, offer)
    elif rules.kind[j] == FIXED:
        fill_fen(<int32_t>rules.amount[j], b.n, offer)
    else:
        rest_above(b.rest, <int32_t>rules.amount[j], b.n, offer)


cdef void credit(MoneyBlock* b, int payer, const int32_t* fen, int32_t[:, ::1] payers_out) noexcept nogil:
    """Add fen to a payer's column, or start the column with them."""
    if b.written & bit_of(payer):
        add_fen(fen, b.n, &payers_out[payer, b.start])
    else:
        memcpy(&payers_out[payer, b.start], fen, b.n * sizeof(int32_t))
        b.written |= bit_of(payer)


cdef void record(MoneyBlock* b, Rules rules, int j, const int32_t* fen, MoneyColumns money) noexcept nogil:
    """Store the payments of a rule, and add up the payments of a limited rule, if the caller asks for them."""
    if money is not None and money.paid.shape[0] > 0:
        memcpy(&money.paid[j, b.start], fen, b.n * sizeof(int32_t))
    if b.spent and rules.limited[j]:
        b.spent[j] += total(fen, b.n)


cdef void pay_alone(MoneyBlock* b, Rules rules, int j, int32_t[:, ::1] payers_out, MoneyColumns money,
                    Limits limits) noexcept nogil:
    """Let a rule without rivals pay its offers."""
    cdef int32_t* offer = &b.offers[0][0]
    cdef const uint32_t* mask = &b.eligible[j // 32][0]
    cdef int i, payer = rules.payer[j]
    ask(b, rules, j, offer)
    if not may_end(limits, rules, j):
        pay_offer(rules.cap[j], b.floor, half_bit(b, j), mask, not b.written & bit_of(payer), b.n, offer, b.rest,
                  &payers_out[payer, b.start])
        b.written |= bit_of(payer)
    else:
        bound_offer(rules.cap[j], b.floor, half_bit(b, j), b.rest, mask, b.n, offer)
        # The rule depends on earlier orders only through the amounts left, so it takes all rows before the next rule.
        for i in range(b.n):
            if offer[i]:
                offer[i] = within(offer[i], j, b.start + i, limits)
            if offer[i]:
                spend(offer[i], j, b.start + i, limits)
        take_off(offer, b.n, b.rest)
        credit(b, payer, offer, payers_out)
    record(b, rules, j, offer, money)


cdef void choose_best(MoneyBlock* b, Rules rules, int first, int stop, Limits limits) noexcept nogil:
    """Write the best offer of the rules [first, stop) and its rule; the first of equal offers wins."""
    cdef bint limited = False
    cdef int32_t value
    cdef int i, j
    fill_fen(0, b.n, &b.best[0])
    fill_fen(first, b.n, &b.winner[0])
    for j in range(first, stop):
        limited = limited or may_end(limits, rules, j)
    if not limited:
        for j in range(first, stop):
            keep_best(&b.offers[j - first][0], j, b.n, &b.best[0], &b.winner[0])
        return
    # Row by row, because the winner of one order decides which budgets are left to the rivals for the next order.
    for i in range(b.n):
        for j in range(first, stop):
            value = b.offers[j - first][i]
            if value > b.best[i] and rules.limited[j]:
                value = within(value, j, b.start + i, limits)
            if value > b.best[i]:
                b.best[i], b.winner[i] = value, j
        if b.best[i] and rules.limited[b.winner[i]]:
            spend(b.best[i], b.winner[i], b.start + i, limits)


cdef void pay_best(MoneyBlock* b, Rules rules, int first, int stop, int32_t[:, ::1] payers_out, MoneyColumns money,
                   Limits limits) noexcept nogil:
    """Let the best of the rules [first, stop) pay each order."""
    cdef int32_t* offer
    cdef int j
    for j in range(first, stop):
        offer = &b.offers[j - first][0]
        ask(b, rules, j, offer)
        bound_offer(rules.cap[j], b.floor, half_bit(b, j), b.rest, &b.eligible[j // 32][0], b.n, offer)
    choose_best(b, rules, first, stop, limits)
    take_off(&b.best[0], b.n, b.rest)
    for j in range(first, stop):
        offer = &b.offers[j - first][0]
        winner_only(&b.best[0], &b.winner[0], j, b.n, offer)
        credit(b, rules.payer[j], offer, payers_out)
        record(b, rules, j, offer, money)


cdef void settle_rows(MoneyBlock* b, Rules rules, const int32_t* rounded, int32_t[:, ::1] payers_out,
                      MoneyColumns money, Limits limits) noexcept nogil:
    """Write the list price of a block and the payments of each payer. Without `limits`, every rule is unlimited."""
    cdef int first = 0, stop, payer
    list_price(rounded, b.floor, b.n, b.price, b.flags)
    memcpy(b.rest, b.price, b.n * sizeof(int32_t))
    b.written = 0
    while first < rules.count:
        stop = first + 1
        while stop < rules.count and rules.group[stop] == rules.group[first]:
            stop += 1
        if stop == first + 1:
            pay_alone(b, rules, first, payers_out, money, limits)
        else:
            pay_best(b, rules, first, stop, payers_out, money, limits)
        first = stop
    for payer in range(<int>payers_out.shape[0]):
        if not b.written & bit_of(payer):
            memset(&payers_out[payer, b.start], 0, b.n * sizeof(int32_t))
    if rules.count:
        flag_floor(b.rest, b.price, b.floor, b.n, b.flags)


def settle(PricePlan plan not None, Py_ssize_t start, Py_ssize_t stop, int32_t[::1] list_out not None,
           int32_t[:, ::1] payers_out not None, int32_t[::1] merchant_out not None, uint8_t[::1] flags_out not None,
           MoneyColumns money not None, int64_t[::1] spent_out=None, uint64_t allowed=EVERY_RULE,
           Limits limits=None):
    """Settle rows [start, stop) that `price` has priced, from their rounded fen and masks.

    With `limits`, budgets and caps bind and earlier rows are served first. Pieces of rows must then come in order.
    """
    cdef MoneyBlock b
    cdef Py_ssize_t step, row, end
    cdef int alone
    cdef bint by_row = limits is not None and limits.funds is not None and limits.funds.is_shared
    if stop <= start:
        return
    prove_outputs(plan, start, stop, list_out, payers_out, merchant_out, flags_out, money, spent_out)
    need(money.rounded.shape[0] > 0 and money.masks.shape[0] > 0, "no rounded fen to settle")
    if limits is not None:
        limits.prove(plan.rules.count, stop)
    b.floor, b.allowed = plan.floor_fen, allowed
    b.spent = &spent_out[0] if spent_out is not None and spent_out.shape[0] else NULL
    with nogil:
        for step in range(blocks(start, stop)):
            row = start + step * BLOCK
            end, alone = row + block_rows(row, stop), 0
            while row < end:
                b.start, b.n = row, <int>(end - row)
                # Two rules that draw on one fund must alternate order by order. If the fund may run short within these
                # rows, the next orders are blocks of their own.
                if by_row and alone == 0 and not funds_suffice(
                        limits.funds, &money.rounded[row], b.floor, row, b.n):
                    alone = ALONE
                if alone:
                    b.n = 1
                    alone -= 1
                row += b.n
                b.price, b.rest, b.flags = &list_out[b.start], &merchant_out[b.start], &flags_out[b.start]
                clear_floor(b.n, b.flags)
                half_mask(&money.masks[b.start], 0, b.n, &b.eligible[0][0])
                half_mask(&money.masks[b.start], 32, b.n, &b.eligible[1][0])
                settle_rows(&b, plan.rules, &money.rounded[b.start], payers_out, money, limits)
    need(limits is None or not limits.astray, "a merchant and period out of range")
    need(limits is None or limits.funds is None or not limits.funds.astray, "a day of a fund out of range")


cdef wide_void one_flag(const uint8_t* flags, int bit, Py_ssize_t n, flag_out hit) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        hit[i] = flags[i] >> bit & 1


cdef wide_void four_flags(const uint8_t* flags, Py_ssize_t n, flag_out floor, flag_out limit, flag_out filed,
                          flag_out unseen) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        floor[i] = flags[i] & 1
        limit[i] = flags[i] >> 1 & 1
        filed[i] = flags[i] >> 2 & 1
        unseen[i] = flags[i] >> 3 & 1


def spread_flags(const uint8_t[::1] flags not None, Py_ssize_t start, Py_ssize_t stop, uint8_t[:, ::1] hits not None):
    """Write each flag of rows [start, stop) to its own row of `hits`, as many flags as `hits` has rows."""
    cdef int bit
    need(stop <= start or (start >= 0 and flags.shape[0] >= stop and 4 <= hits.shape[0] <= 8 and hits.shape[1] >= stop),
         "flags or hits with too few rows")
    with nogil:
        if stop > start:
            four_flags(&flags[start], stop - start, &hits[0, start], &hits[1, start], &hits[2, start], &hits[3, start])
            for bit in range(4, <int>hits.shape[0]):
                one_flag(&flags[start], bit, stop - start, &hits[bit, start])
