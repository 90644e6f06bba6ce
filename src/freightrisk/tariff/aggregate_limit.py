"""AggregateLimit: the largest sum of payments for the claims of one merchant or order in a period."""

from dataclasses import dataclass, field

from freightrisk import _check

HOLDERS = ("merchant", "order")
PERIODS = ("day", "month")


@dataclass(frozen=True)
class AggregateLimit:
    """The largest sum of payments for all claims of one merchant, or of one order, in a calendar period.

    Parameters
    ----------
    amount : float
        Yuan, above 0 and at most 1e9.
    by : {"merchant", "order"}
        Whose claims count together.
    period : {"day", "month"} or None
        Calendar period of the ship date of the order; None counts all claims together. All claims of an order have its
        one ship date.

    Examples
    --------
    >>> from freightrisk import AggregateLimit
    >>> AggregateLimit(300.0)
    AggregateLimit(amount=300.0, by='merchant', period='month')
    """

    amount: float
    by: str = field(default="merchant", kw_only=True)
    period: str | None = field(default="month", kw_only=True)

    def __post_init__(self) -> None:
        amount = _check.number(self.amount, argument="amount of AggregateLimit", low=0.0, high=1e9, open_low=True)
        object.__setattr__(self, "amount", amount)
        _check.one_of(self.by, HOLDERS, argument="by of AggregateLimit")
        if self.period is not None:
            _check.one_of(self.period, PERIODS, argument="period of AggregateLimit")
