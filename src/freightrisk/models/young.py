"""Orders that are too young to have reported their claims."""

import numpy as np

from freightrisk import _check
from freightrisk._mapped import let_go
from freightrisk.book.book import OrderBook

MOST_UNREPORTED = 0.05  # share of claims; a smaller shortfall is not worth a warning
PIECE = 2**20  # rows at a time, so that temporary arrays stay small


def unreported_share(book: OrderBook) -> float:
    """Return the estimated share of a book's claims that is not reported yet; 0 if the book has no dates.

    For each order, take the share of the book's claims with a lag (from shipment to report) longer than the order's
    age at the valuation date. The result is the mean over orders. The book contains only short lags of young orders,
    so the result is at most the true share.
    """
    if book.ship_day is None or book.claim_day is None or book.as_of is None or not len(book.claim_row):
        return 0.0
    lag = (book.claim_day - book.ship_day[book.claim_row]).astype(np.int64)
    counts = np.bincount(lag)
    later = 1.0 - np.cumsum(counts) / len(lag)
    ages = np.zeros(len(counts), dtype=np.int64)
    for start in range(0, book.n_orders, PIECE):
        age = (book.as_of - book.ship_day[start : start + PIECE]).astype(np.int64)
        ages += np.bincount(np.minimum(age, len(counts) - 1), minlength=len(counts))
        let_go([book.ship_day], start, start + PIECE)
    return float(ages @ later) / book.n_orders


def warn_of_young_orders(book: OrderBook) -> None:
    """Warn if orders are so young that a model without an offset is clearly too low."""
    share = unreported_share(book)
    if share > MOST_UNREPORTED:
        _check.warn(
            f"about {share:.1%} of the book's claims are still to be reported on {book.as_of}, because many orders are "
            "younger than the lag of its claims; the fit is too low by this share. Leave young orders out "
            "(book.mature(days)), or give offset=ReportLag.fit(book).offset(book)."
        )
