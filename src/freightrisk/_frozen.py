"""Immutable objects: a dictionary that cannot change and can be pickled, and dataclasses that are equal by content."""

from collections.abc import Mapping
from dataclasses import fields
from hashlib import blake2b
from typing import Any, NoReturn, TypeVar

import numpy as np

Key = TypeVar("Key")
Item = TypeVar("Item")


def digest(content: object) -> str:
    """Return a hash of nested tuples of plain values, the same in every process; 1, 1.0, True and "1" differ."""
    return blake2b(repr(content).encode(errors="surrogatepass"), digest_size=16).hexdigest()


class FrozenDict(dict[Key, Item]):
    """A dict whose items cannot change after it is made."""

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("this mapping does not change; make a new one from dict(mapping)")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __hash__(self) -> int:  # type: ignore[override]  # possible, because the items cannot change
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)


class EqualByContent:
    """Equality and hash for a frozen dataclass with array fields; arrays are compared by shape and bytes."""

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        names = [field.name for field in fields(self) if field.compare]  # type: ignore[arg-type]
        return all(_content(getattr(self, name)) == _content(getattr(other, name)) for name in names)

    def __hash__(self) -> int:
        names = [field.name for field in fields(self) if field.compare and field.hash is not False]  # type: ignore[arg-type]
        return hash(tuple(_content(getattr(self, name)) for name in names))


def _content(value: Any) -> Any:
    """Return a value in a form that can be compared and hashed."""
    if isinstance(value, np.ndarray):
        return value.shape, value.tobytes()
    if isinstance(value, Mapping):
        return frozenset((key, _content(item)) for key, item in value.items())
    return value
