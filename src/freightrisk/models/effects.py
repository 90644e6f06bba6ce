"""Effects of factors in a model: free, shrunk by credibility, smooth, monotone, given, or an interaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from freightrisk import _check
from freightrisk._document import tagged
from freightrisk._shown import counted
from freightrisk.errors import InputError

MONOTONE = ("increasing", "decreasing")


def _check_monotone(monotone: str | None, name: str) -> None:
    if monotone is not None:
        _check.one_of(monotone, MONOTONE, argument=f"monotone of factor '{name}'")


def _variance(value: Any, name: str) -> float | None:
    return None if value is None else _check.number(value, argument=f"variance of factor '{name}'", low=1e-9, high=1e6)


@tagged(effect="free")
@dataclass(frozen=True)
class Free:
    """A relativity for each level from its own data; a bare name in a model's `factors` means this effect.

    Parameters
    ----------
    name : str
        A factor of the book.
    monotone : {"increasing", "decreasing"}, optional
        "increasing" keeps the relativities of a `Band` from falling from one band to the next; "decreasing" keeps them
        from rising.

    Examples
    --------
    >>> from freightrisk import Free
    >>> Free("score", monotone="decreasing").monotone
    'decreasing'
    """

    name: str
    monotone: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _check.label(self.name, argument="name of a factor")
        _check_monotone(self.monotone, self.name)


@tagged(effect="credibility")
@dataclass(frozen=True)
class Credibility:
    """Relativities shrunk to the parent, for factors with many thin levels.

    Each node of a `Hierarchy` has a normal effect on the log scale around its parent, with one variance for each depth
    (docs/method.md, equation 9). A `Factor` is a tree with one depth. Levels without data and unseen levels take their
    parent's rate.

    Parameters
    ----------
    name : str
        A factor of the book.
    variance : float or sequence of float, optional
        Variances of the effects on the log scale, from the top of the tree down. By default they are estimated by
        restricted maximum likelihood.

    Examples
    --------
    >>> from freightrisk import Credibility
    >>> Credibility("category", variance=(0.2, 0.05)).variance
    (0.2, 0.05)
    """

    name: str
    variance: float | Sequence[float] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _check.label(self.name, argument="name of a factor")
        if self.variance is None or isinstance(self.variance, (int, float, np.integer, np.floating)):
            _variance(self.variance, self.name)
            return
        given = _check.items(self.variance, argument=f"variance of factor '{self.name}'")
        object.__setattr__(self, "variance", tuple(_variance(value, self.name) for value in given))


@tagged(effect="smooth")
@dataclass(frozen=True)
class Smooth:
    """Relativities of a `Band` that form a smooth curve with an exposure-weighted mean of 1.

    The differences of the log relativities between bands are normal with mean 0. The default is second differences, so
    with few data the curve is a straight line on the log scale. Empty bands lie on the curve.

    Parameters
    ----------
    name : str
        A factor of the book that is a `Band`.
    order : {1, 2, 3}
        Order of the differences.
    variance : float, optional
        Variance of the differences. By default it is estimated by restricted maximum likelihood.
    monotone : {"increasing", "decreasing"}, optional
        "increasing" also keeps the curve from falling; "decreasing" keeps it from rising.

    Examples
    --------
    >>> from freightrisk import Smooth
    >>> Smooth("score", monotone="decreasing").order
    2
    """

    name: str
    order: int = field(default=2, kw_only=True)
    variance: float | None = field(default=None, kw_only=True)
    monotone: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _check.label(self.name, argument="name of a factor")
        object.__setattr__(self, "order", _check.whole(self.order, argument="order", low=1, high=3))
        object.__setattr__(self, "variance", _variance(self.variance, self.name))
        _check_monotone(self.monotone, self.name)


@tagged(effect="given")
@dataclass(frozen=True)
class Given:
    """A table that is not fitted, such as a filed relativity.

    Parameters
    ----------
    name : str
        A factor of the book.
    relativities : mapping of level to float, or sequence of float
        A relativity above zero for each level of the factor in the book. The keys of a mapping are values, paths of a
        `Hierarchy` or labels of a `Band`. A sequence has the order of the levels.

    Examples
    --------
    >>> from freightrisk import Given
    >>> Given("zone", {"near": 1.0, "far": 1.6}).relativities["far"]
    1.6
    """

    name: str
    relativities: Mapping[Any, float] | Sequence[float]

    def __post_init__(self) -> None:
        _check.label(self.name, argument="name of a factor")
        values = self.relativities.values() if isinstance(self.relativities, Mapping) else self.relativities
        for value in _check.items(values, argument=f"relativities of factor '{self.name}'"):
            _check.number(
                value, argument=f"a given relativity of factor '{self.name}'", low=0.0, high=1e9, open_low=True
            )
        kept = dict(self.relativities) if isinstance(self.relativities, Mapping) else tuple(self.relativities)
        object.__setattr__(self, "relativities", kept)


@tagged(effect="interaction")
@dataclass(frozen=True)
class Interaction:
    """The joint effect of two factors beyond their separate effects: a relativity for each pair of levels, shrunk to 1.

    Parameters
    ----------
    first, second : str
        Factors of the book; each is usually in the model by itself as well.
    variance : float, optional
        Variance of the effects on the log scale. By default it is estimated by restricted maximum likelihood.

    Examples
    --------
    >>> from freightrisk import Interaction
    >>> Interaction("channel", "zone").name
    'channel x zone'
    """

    first: str
    second: str
    variance: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        for name in (self.first, self.second):
            _check.label(name, argument="name of a factor")
        if self.first == self.second:
            raise InputError(f"an interaction needs two factors, but both are '{self.first}'; name another one.")
        object.__setattr__(self, "variance", _variance(self.variance, self.name))

    @property
    def name(self) -> str:
        """Return the name of the table: both factors with " x " between them."""
        return f"{self.first} x {self.second}"


Effect: TypeAlias = Free | Credibility | Smooth | Given | Interaction


def given_table(effect: Given, labels: Sequence[str], paths: Sequence[tuple[Any, ...]]) -> np.ndarray[Any, Any]:
    """Return the log relativity of each level of a given table."""
    known = effect.relativities
    if not isinstance(known, Mapping):
        if len(known) != len(paths):
            raise InputError(
                f"relativities of factor '{effect.name}' have {counted(len(known), 'value')}, but the factor has "
                f"{counted(len(paths), 'level')} in the book: {', '.join(labels[:8])}."
            )
        return np.log(np.array(known, dtype=np.float64))
    # A label, a path, and the value of a path of length one are three ways to name a level.
    keys = [
        next((key for key in (label, path, path[0] if len(path) == 1 else path) if key in known), None)
        for label, path in zip(labels, paths, strict=True)
    ]
    lacking = [label for label, key in zip(labels, keys, strict=True) if key is None]
    if lacking:
        raise InputError(
            f"relativities of factor '{effect.name}' lack {len(lacking)} of {len(labels)} levels (first: "
            f"'{lacking[0]}'); give a relativity for each level in the book."
        )
    return np.log(np.array([known[key] for key in keys], dtype=np.float64))
