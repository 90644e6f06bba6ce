"""From expected claims and payouts to the filed premium of each order."""

from libc.stdint cimport int32_t

from freightrisk._plan cimport Loads

cdef void load_premium(Loads loads, const double* claims, const double* payout, const double* mean,
                       const double* with_fraud, const double* filed_factor, double matters, int n, double* pure,
                       double* technical, double* filed, int32_t* bound) noexcept nogil
