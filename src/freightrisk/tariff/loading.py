"""From pure premium to technical premium: fraud, expenses, channel, levy, profit, and the filed limits."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._reference import LARGEST_MICRO
from freightrisk._shown import brief
from freightrisk._types import Array
from freightrisk.errors import InputError

LARGEST_PRICE_YUAN = 10_000_000.0


@dataclass(frozen=True, kw_only=True)
class Loadings:
    """Loadings on the pure premium, and the filed range of the price.

    ``technical = (pure * (1 + fraud_load) + claim_handling * claims + policy_cost) / (1 - channel - levy - profit)``
    The list price is the technical premium times `filed_factor`, limited to [`filed_min`, `filed_max`].

    Parameters
    ----------
    fraud_load : float
        Undetected fraud as a share of expected payouts, e.g. 0.01.
    claim_handling : float
        Yuan for each expected claim.
    policy_cost : float
        Yuan for each order. With premiums of a few fen, keep it below about 0.001.
    channel, levy, profit : float
        Shares of the premium; their sum is below one.
    filed_factor : float
        Commercial factor on the technical premium, within the filed range of factors.
    filed_min, filed_max : float
        Filed limits of the price in yuan, whole micro-yuan.

    Examples
    --------
    >>> from freightrisk import Loadings
    >>> Loadings(channel=0.15, levy=0.01, profit=0.02).retained
    0.82
    """

    fraud_load: float = 0.0
    claim_handling: float = 0.0
    policy_cost: float = 0.0
    channel: float = 0.0
    levy: float = 0.0
    profit: float = 0.0
    filed_factor: float = 1.0
    filed_min: float = 0.0
    filed_max: float = LARGEST_PRICE_YUAN

    __repr__ = brief

    def __post_init__(self) -> None:
        for name in ("fraud_load", "claim_handling", "policy_cost"):
            self._set(name, _check.number(getattr(self, name), argument=name, low=0.0, high=1e6))
        for name in ("channel", "levy", "profit"):
            self._set(name, _check.number(getattr(self, name), argument=name, low=0.0, high=1.0, open_high=True))
        self._set(
            "filed_factor",
            _check.number(self.filed_factor, argument="filed_factor", low=0.0, high=1e3, open_low=True),
        )
        for name in ("filed_min", "filed_max"):
            self._set(name, _check.number(getattr(self, name), argument=name, low=0.0, high=LARGEST_PRICE_YUAN))
        if self.retained <= 0.0:
            raise InputError(f"channel + levy + profit is {1 - self.retained:g}; the sum must be below 1.")
        if self.filed_min > self.filed_max:
            raise InputError(f"filed_min is {self.filed_min:g}, above filed_max {self.filed_max:g}; exchange them.")

    def _set(self, name: str, value: float) -> None:
        object.__setattr__(self, name, value)

    @property
    def retained(self) -> float:
        """Return the share of the premium left for claims and claim costs."""
        return round(1.0 - (self.channel + self.levy + self.profit), 12)

    @property
    def filed_min_micro(self) -> int:
        """Return the lower filed limit in micro-yuan."""
        return round(self.filed_min * 1e6)

    @property
    def filed_max_micro(self) -> int:
        """Return the upper filed limit in micro-yuan."""
        return round(self.filed_max * 1e6)

    def filed_micro(self, technical: Array) -> NDArray[np.int64]:
        """Return the filed premiums of technical premiums in micro-yuan, by the same operations as the kernel.

        Parameters
        ----------
        technical : float64 array, shape (n,), yuan
        """
        bounded = np.minimum(technical, 1e100)  # keeps the product finite, and is above every filed limit
        micro = np.rint(np.minimum(bounded * self.filed_factor * 1e6, LARGEST_MICRO)).astype(np.int64)
        return np.clip(micro, self.filed_min_micro, self.filed_max_micro)
