"""From expected claims and payouts to the filed premium: loads, the filed factor and the filed limits.

docs/method.md, equation 22. A filed premium is a whole number of micro-yuan, held in a double.
"""

from libc.stdint cimport int32_t

from freightrisk._blocks cimport int_out, real_out, wide_void
from freightrisk._plan cimport Loads
from freightrisk._settle cimport FILED_BOUND, LIMIT_BOUND

# Adding and subtracting 1.5 * 2**52 rounds a double below 2**51 to the nearest integer, ties to even (docs/method.md,
# Money, step 1).
cdef double ROUND_TO_INTEGER = 6755399441055744.0
cdef double LARGEST_MICRO = 1e15  # below 2**51, and above every filed limit


cdef inline double technical_premium(double pure, double claims, double with_fraud, double handling, double policy,
                                     double gross_up) noexcept nogil:
    """Return the technical premium; `with_fraud` is 1 plus the fraud load."""
    return (pure * with_fraud + handling * claims + policy) * gross_up


cdef inline double whole_micro(double premium, double filed_factor) noexcept nogil:
    """Return the premium before the filed limits."""
    cdef double micro = premium * filed_factor * 1e6
    micro = micro if micro < LARGEST_MICRO else LARGEST_MICRO
    return (micro + ROUND_TO_INTEGER) - ROUND_TO_INTEGER


cdef wide_void load_alike(const double* claims, const double* payout, const double* mean, double with_fraud,
                          double handling, double policy, double gross_up, double filed_factor, double lowest,
                          double highest, double matters, int n, real_out pure, real_out technical,
                          real_out filed, int_out bound) noexcept nogil:
    """Write pure, technical and filed premium, and the flags of the limits that bind."""
    cdef int i
    cdef double premium, micro, clamped
    for i in range(n):
        premium = claims[i] * payout[i]
        pure[i] = premium
        premium = technical_premium(premium, claims[i], with_fraud, handling, policy, gross_up)
        technical[i] = premium
        micro = whole_micro(premium, filed_factor)
        clamped = micro if micro > lowest else lowest
        clamped = clamped if clamped < highest else highest
        filed[i] = clamped
        bound[i] = LIMIT_BOUND if payout[i] < matters * mean[i] else 0
        bound[i] |= FILED_BOUND if clamped != micro else 0


cdef wide_void load_by_level(const double* claims, const double* payout, const double* mean, const double* with_fraud,
                             double handling, double policy, double gross_up, const double* filed_factor, double lowest,
                             double highest, double matters, int n, real_out pure, real_out technical,
                             real_out filed, int_out bound) noexcept nogil:
    """Do the same as `load_alike`, with a fraud load and a filed factor for each order."""
    cdef int i
    cdef double premium, micro, clamped
    for i in range(n):
        premium = claims[i] * payout[i]
        pure[i] = premium
        premium = technical_premium(premium, claims[i], with_fraud[i], handling, policy, gross_up)
        technical[i] = premium
        micro = whole_micro(premium, filed_factor[i])
        clamped = micro if micro > lowest else lowest
        clamped = clamped if clamped < highest else highest
        filed[i] = clamped
        bound[i] = LIMIT_BOUND if payout[i] < matters * mean[i] else 0
        bound[i] |= FILED_BOUND if clamped != micro else 0


cdef void load_premium(Loads loads, const double* claims, const double* payout, const double* mean,
                       const double* with_fraud, const double* filed_factor, double matters, int n, double* pure,
                       double* technical, double* filed, int32_t* bound) noexcept nogil:
    """Write pure, technical and filed premium, and the flags of the limits that bind.

    `with_fraud` and `filed_factor` hold a number for each order if a load has a table, and are not read otherwise.
    """
    if loads.with_fraud.count or loads.filed_factor.count:
        load_by_level(claims, payout, mean, with_fraud, loads.handling, loads.policy, loads.gross_up, filed_factor,
                      loads.filed_min_micro, loads.filed_max_micro, matters, n, pure, technical, filed, bound)
    else:
        load_alike(claims, payout, mean, loads.with_fraud.base, loads.handling, loads.policy, loads.gross_up,
                   loads.filed_factor.base, loads.filed_min_micro, loads.filed_max_micro, matters, n, pure, technical,
                   filed, bound)
