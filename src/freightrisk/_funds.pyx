"""Funds: budgets that several rules draw on, and what of their rest each ship day may spend."""

cimport cython
from libc.stdint cimport int32_t, int64_t

from freightrisk._blocks cimport need


@cython.auto_pickle(False)
cdef class Funds:
    """Amounts left in funds that several rules draw on. Settling subtracts its payments from them.

    of_rule : (rules,) number of the rule's fund, -1 for none
    left : (funds,) fen left in the fund; without a budget, an amount too large to spend
    budget, per_day : (funds,) the whole budget, and the largest payment of a day; too large to spend for none
    by_day, paced, shared : (funds,) whether the fund limits days; whether it spreads its rest over the days; whether
        rules at several places of the stacking order draw on it
    met : (funds,) set to 1 if the fund reduced the offer to an order
    keys : (n,) number of the ship day of each order, in the order of days, -1 for none; empty if no fund limits days
    days_left : (funds, days) days from this day to the fund's last day, both included
    before, spent : (funds, days) fen paid for orders of earlier days, and of this day
    """

    def __init__(self, of_rule not None, left not None, budget not None, per_day not None, by_day not None,
                 paced not None, shared not None, met not None, keys not None, days_left not None, before not None,
                 spent not None):
        self.of_rule, self.left, self.budget, self.per_day = of_rule, left, budget, per_day
        self.by_day, self.paced, self.shared, self.met = by_day, paced, shared, met
        self.keys, self.days_left, self.before, self.spent = keys, days_left, before, spent
        self.count, self.days = <int>self.left.shape[0], <int>self.spent.shape[1]
        self.is_shared = bool(max([one for one in self.shared], default=0))

    cdef int prove(self, int rules, Py_ssize_t stop) except -1:
        """Raise unless every rule's fund has its amounts, and every row and day a place in them."""
        cdef int f = self.count
        need(self.of_rule.shape[0] >= rules and max([one for one in self.of_rule], default=-1) < f,
             "funds for fewer rules")
        need(f == self.budget.shape[0] == self.per_day.shape[0] == self.by_day.shape[0] == self.paced.shape[0]
             == self.shared.shape[0] == self.met.shape[0] == self.days_left.shape[0] == self.before.shape[0]
             == self.spent.shape[0], "funds of unequal length")
        need(self.days == self.days_left.shape[1] == self.before.shape[1], "funds of unequal days")
        need(self.keys.shape[0] >= stop or not max([one for one in self.by_day], default=0),
             "funds with days for fewer rows")
        return 0


cdef int64_t fund_room(Funds funds, int f, Py_ssize_t row) noexcept nogil:
    """Return the fen that a fund has left for an order (docs/method.md, equation 34a)."""
    cdef int64_t room = funds.left[f], quota, rest
    cdef int32_t day
    if funds.by_day[f]:
        day = funds.keys[row]
        if day < 0:  # without a ship date, an order belongs to no day of the fund
            return 0
        if day >= funds.days:
            funds.astray = True
            return 0
        quota = funds.per_day[f]
        if funds.paced[f]:
            rest = funds.budget[f] - funds.before[f, day]
            rest = rest if rest > 0 else 0
            quota = min(quota, rest // funds.days_left[f, day] if funds.days_left[f, day] > 0 else 0)
        room = min(room, quota - funds.spent[f, day])
    return room if room > 0 else 0


cdef void draw_on_fund(Funds funds, int f, int64_t value, Py_ssize_t row) noexcept nogil:
    """Subtract a payment from a fund; the later days of a paced fund have it as spent before them."""
    cdef int day
    funds.left[f] -= value
    if funds.by_day[f]:
        funds.spent[f, funds.keys[row]] += value
        if funds.paced[f]:  # only pacing asks what earlier days spent, and a batch may have thousands of days
            for day in range(funds.keys[row] + 1, funds.days):
                funds.before[f, day] += value


cdef bint funds_suffice(Funds funds, const int32_t* rounded, int32_t floor, Py_ssize_t start, int n) noexcept nogil:
    """Return whether no shared fund can run short within rows, or each one that can is empty for all of them.

    All rules together pay at most the price above the floor. The rows must have one ship day, because payments of one
    day change the room of later days.
    """
    cdef int i, f
    cdef int64_t most = 0, room
    for i in range(n):
        most += rounded[i] - floor if rounded[i] > floor else 0
    for f in range(funds.count):
        if not funds.shared[f]:
            continue
        if funds.by_day[f]:
            for i in range(1, n):
                if funds.keys[start + i] != funds.keys[start]:
                    return False
        room = fund_room(funds, f, start)
        if 0 < room < most:
            return False
    return True
