"""From pure premium to technical premium: fraud, expenses, channel, levy, profit, and the filed limits."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._document import OPTIONAL
from freightrisk._reference import LARGEST_MICRO
from freightrisk._shown import brief
from freightrisk._types import Array
from freightrisk.book.by_level import ByLevel, level_table
from freightrisk.book.codings import Coding
from freightrisk.errors import InputError

LARGEST_PRICE_YUAN = 10_000_000.0
LARGEST_LOAD, LARGEST_FACTOR, LARGEST_MORAL_HAZARD = 1e6, 1e3, 10.0
BY_LEVEL = ("fraud_load", "filed_factor")  # loads that may differ by level of a factor


@dataclass(frozen=True, kw_only=True)
class Loadings:
    """Loadings on the pure premium, and the filed range of the price.

    ``technical = (pure * (1 + fraud_load) + claim_handling * claims + policy_cost) / (1 - channel - levy - profit)``
    The list price is the technical premium times `filed_factor`, limited to [`filed_min`, `filed_max`].

    Parameters
    ----------
    fraud_load : float or ByLevel
        Undetected fraud as a share of expected payouts, e.g. 0.01, overall or by level of a factor. `fraud_loads`
        estimates it from audited claims.
    claim_handling : float
        Yuan for each expected claim.
    policy_cost : float
        Yuan for each order. With premiums of a few fen, keep it below about 0.001.
    channel, levy, profit : float
        Shares of the premium; their sum is below one.
    filed_factor : float or ByLevel
        Commercial factor on the technical premium, within the filed range of factors, overall or by level of a factor.
    filed_min, filed_max : float
        Filed limits of the price in yuan, whole micro-yuan.
    moral_hazard : float
        Share by which the claim intensity under the cover is expected to exceed the intensity of the history, for
        example because the cover becomes free for the buyer. It is an assumption, from 0 to 10; `moral_hazard_table`
        shows what it changes.

    Notes
    -----
    The fraud load is on top of genuine claims. If the history of the fit contains undetected fraud, the pure premium
    already pays for it (docs/method.md, after equation 22).

    Examples
    --------
    >>> from freightrisk import ByLevel, Loadings
    >>> Loadings(channel=0.15, levy=0.01, profit=0.02).retained
    0.82
    >>> Loadings(fraud_load=ByLevel("category", {"phones": 0.03}, default=0.005)).by_level["fraud_load"].factor
    'category'
    """

    fraud_load: float | ByLevel = 0.0
    claim_handling: float = 0.0
    policy_cost: float = 0.0
    channel: float = 0.0
    levy: float = 0.0
    profit: float = 0.0
    filed_factor: float | ByLevel = 1.0
    filed_min: float = 0.0
    filed_max: float = LARGEST_PRICE_YUAN
    moral_hazard: float = field(default=0.0, metadata=OPTIONAL)

    __repr__ = brief

    def __post_init__(self) -> None:
        self._check_loads("fraud_load", high=LARGEST_LOAD, open_low=False)
        for name in ("claim_handling", "policy_cost"):
            self._set(name, _check.number(getattr(self, name), argument=name, low=0.0, high=LARGEST_LOAD))
        for name in ("channel", "levy", "profit"):
            self._set(name, _check.number(getattr(self, name), argument=name, low=0.0, high=1.0, open_high=True))
        self._check_loads("filed_factor", high=LARGEST_FACTOR, open_low=True)
        hazard = _check.number(self.moral_hazard, argument="moral_hazard", low=0.0, high=LARGEST_MORAL_HAZARD)
        self._set("moral_hazard", hazard)
        for name in ("filed_min", "filed_max"):
            self._set(name, _check.number(getattr(self, name), argument=name, low=0.0, high=LARGEST_PRICE_YUAN))
        if self.retained <= 0.0:
            raise InputError(f"channel + levy + profit is {1 - self.retained:g}; the sum must be below 1.")
        if self.filed_min > self.filed_max:
            raise InputError(f"filed_min is {self.filed_min:g}, above filed_max {self.filed_max:g}; exchange them.")

    def _check_loads(self, name: str, *, high: float, open_low: bool) -> None:
        """Refuse a load outside its range, for all orders or for a level."""
        value = getattr(self, name)
        if isinstance(value, ByLevel):
            value.check_amounts(name, high=high, open_low=open_low)
        else:
            self._set(name, _check.number(value, argument=name, low=0.0, high=high, open_low=open_low))

    def _set(self, name: str, value: float) -> None:
        object.__setattr__(self, name, value)

    @property
    def by_level(self) -> dict[str, ByLevel]:
        """Return the loads that depend on a factor, by name."""
        return {name: value for name in BY_LEVEL if isinstance(value := getattr(self, name), ByLevel)}

    def tables(self, codings: Mapping[str, Coding]) -> dict[str, Array]:
        """Return the loads that depend on a factor as an amount for every slot of its coding."""
        return {name: level_table(value, codings, name) for name, value in self.by_level.items()}

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

    def filed_micro(self, technical: Array, factor: float | Array | None = None) -> NDArray[np.int64]:
        """Return the filed premiums of technical premiums in micro-yuan, by the same operations as the kernel.

        Parameters
        ----------
        technical : float64 array, shape (n,), yuan
        factor : float64 array, shape (n,), optional
            The filed factor of each order; needed if it depends on a factor.
        """
        if factor is None:
            if isinstance(self.filed_factor, ByLevel):
                raise InputError(
                    f"filed_factor differs by level of '{self.filed_factor.factor}'; give factor=, the filed factor of "
                    "each order."
                )
            factor = self.filed_factor
        bounded = np.minimum(technical, 1e100)  # keeps the product finite, and is above every filed limit
        micro = np.rint(np.minimum(bounded * factor * 1e6, LARGEST_MICRO)).astype(np.int64)
        return np.clip(micro, self.filed_min_micro, self.filed_max_micro)
