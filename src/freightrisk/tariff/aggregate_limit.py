"""Aggregate limits: the largest total payout by merchant and period, or by order."""

from dataclasses import dataclass, field

from freightrisk import _check
from freightrisk.errors import InputError
from freightrisk.tariff.subsidy import PERIODS

AGGREGATES = ("merchant", "order")
LARGEST_AMOUNT = 1e9  # yuan
WHOLE = 1e-6  # of a fen: a limit this close to a whole number of fen is one


@dataclass(frozen=True)
class AggregateLimit:
    """The largest total payout for the claims of one merchant and period, or of one order.

    Parameters
    ----------
    amount : float
        Largest total payout, yuan, above 0 and in whole fen.
    by : {"merchant", "order"}
        Whose claims count together.
    period : {"day", "month"} or None
        Calendar period in which the claims of a merchant count together, by the ship dates of their orders. None for
        all orders of the merchant. The claims of an order have no period.

    Examples
    --------
    >>> from freightrisk.aggregates import AggregateLimit
    >>> AggregateLimit(300.0).amount_fen, AggregateLimit(50.0, by="order").period
    (30000, None)
    """

    amount: float
    by: str = field(default="merchant", kw_only=True)
    period: str | None = field(default="month", kw_only=True)

    def __post_init__(self) -> None:
        what = "amount of an aggregate limit"
        amount = _check.number(self.amount, argument=what, low=0.0, high=LARGEST_AMOUNT, open_low=True)
        fen = round(amount * 100.0)
        if fen < 1 or abs(amount * 100.0 - fen) > WHOLE * max(1.0, fen * 1e-6):
            raise InputError(f"{what} is {amount!r} yuan; it must be a whole number of fen, such as 300.0 or 0.05.")
        object.__setattr__(self, "amount", fen / 100.0)
        _check.one_of(self.by, AGGREGATES, argument="by of an aggregate limit")
        if self.period is not None:
            _check.one_of(self.period, PERIODS, argument="period of an aggregate limit")
        if self.by == "order":
            if self.period == "day":
                raise InputError(
                    "period is 'day' with by='order'; the claims of an order have no period, leave it out."
                )
            object.__setattr__(self, "period", None)

    @property
    def amount_fen(self) -> int:
        """Return the limit in fen."""
        return round(self.amount * 100.0)
