"""Which rule limits the payment for a claim of each order."""

from libc.stdint cimport int32_t, uint32_t

from freightrisk._blocks cimport BLOCK
from freightrisk._plan cimport LimitRules

cdef struct LimitBlock:
    uint32_t holds[2][BLOCK]  # a bit for each rule whose conditions the order meets; rules 0 to 31, then 32 to 63
    double limit[BLOCK]  # yuan, infinite if no rule holds
    int32_t choice[BLOCK]  # the rank of the deciding rule; the number of rules if none holds
    int32_t conflict[BLOCK]  # not 0 if rules of the deciding priority have different amounts
    double amount[BLOCK]  # of one rule
    double value[BLOCK]  # of the best rule of a group so far
    int32_t best[BLOCK]  # its rank, -1 for none
    int32_t apart[BLOCK]  # 1 if another rule of the group has another amount

cdef void choose_limits(LimitBlock* l, LimitRules rules, const double* measures, Py_ssize_t stride,
                        int n) noexcept nogil
