"""What a programme does to a report lag: it moves reports by whole days, or it stops them at a limit."""

from typing import Any

import numpy as np

from freightrisk import _check
from freightrisk._shown import repr_of
from freightrisk._types import Array
from freightrisk.errors import InputError

HOURS = 24  # of a day; the ages of a lag are whole days
LONGEST = 3650  # days


def whole_days(days: Any) -> int:
    """Return a shift in whole days."""
    found = _check.number(days, argument="days", low=-LONGEST, high=LONGEST)
    if found != int(found):
        raise InputError(
            f"days is {repr_of(days)}; the lag is known for whole days only, so it can be moved by whole days only."
        )
    return int(found)


def limit_age(hours: Any, transit_days: Any, since: str) -> int:
    """Return the last age at which a claim can be reported under a limit of some hours after receipt."""
    found = _check.number(hours, argument="hours", low=HOURS, high=HOURS * LONGEST)
    if found % HOURS:
        raise InputError(
            f"hours is {repr_of(hours)}; the lag is known for whole days only, so give a multiple of {HOURS}."
        )
    days = int(found) // HOURS
    if since == "receipt":
        if transit_days is not None:
            raise InputError("transit_days is given, but the lag counts from receipt itself; leave transit_days out.")
        return days
    if transit_days is None:
        raise InputError(
            "hours count from receipt, and the lag counts from shipment; give transit_days, the days from shipment to "
            "receipt, or fit the lag to book.aged_from_receipt(...), which knows the receipt of each order."
        )
    return days + _check.whole(transit_days, argument="transit_days", low=0, high=LONGEST)


def moved(reported: Array, errors: Array, days: int) -> tuple[Array, Array, Array]:
    """Return reported shares, standard errors and kept shares after all reports move by some days (equation 20a).

    Arrays have a row for each curve and a column for each age. Kept shares have one value for each curve.
    """
    ages = np.arange(reported.shape[1])
    if days <= 0:
        later = np.minimum(ages - days, ages[-1])
        return reported[:, later], errors[:, later], np.ones(len(reported))
    earlier = np.maximum(ages - days, 0)
    shares, spread = (np.where(ages >= days, values[:, earlier], 0.0) for values in (reported, errors))
    return _within(shares, spread, shares[:, -1], relative=_relative(shares, spread)[:, -1:])


def cut(reported: Array, errors: Array, limit: int, *, independent: bool) -> tuple[Array, Array, Array]:
    """Return reported shares, standard errors and kept shares if no claim is reported after a limit (equation 20b).

    `independent` says that the factors of the product limit are independent, so that the variance of a conditional
    share is a difference of Greenwood's sums. For other curves these standard errors are not known, and are NaN.
    """
    last = min(limit, reported.shape[1] - 1)
    upto = np.minimum(np.arange(reported.shape[1]), last)
    relative = _relative(reported, errors)
    found = _within(reported[:, upto], errors[:, upto], reported[:, last], relative=relative[:, last : last + 1])
    if not independent and last < reported.shape[1] - 1:
        found[1][:, :last] = np.nan
    return found


def _relative(shares: Array, errors: Array) -> Array:
    """Return the variance of the log of each share; 0 if the share is 0."""
    return np.square(np.divide(errors, shares, out=np.zeros_like(shares), where=shares > 0.0))


def _within(shares: Array, errors: Array, kept: Array, *, relative: Array) -> tuple[Array, Array, Array]:
    """Return shares of the claims that are kept, their standard errors, and the kept shares."""
    if not (kept > 0.0).all():
        raise InputError(
            "no claim of the lag would be reported in time, so no maturity is left; allow a longer time, or leave the "
            "cover out."
        )
    conditional = shares / kept[:, None]
    variance = np.maximum(_relative(shares, errors) - relative, 0.0)
    return conditional, conditional * np.sqrt(variance), kept
