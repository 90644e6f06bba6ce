"""Nouns as documents: one converter between frozen dataclasses and the plain data that JSON, YAML and TOML hold.

A document holds exactly the declared fields of a noun. Its keys are the fields in their order, and the type of a value
is the type hint of its field:

- A sequence is written as a list, a mapping as an object, and a path as a text. An array is one list of numbers by
  default; the shape in ``Annotated[Array, (-1, 4)]`` asks for a list of rows of four numbers.
- ``Annotated[Mapping[str, Coding], "name"]`` is a list of nouns, and their attribute `name` is the key of the mapping.
- A field whose default is infinite may be null or absent, because JSON has no infinity.
- A field with ``metadata={"key": "factor"}`` stands under that key.
- The keys of a noun in a field with ``metadata=INLINE`` stand among the keys of the noun that has the field.
- Numbers of an `ExactFloat` or an `ExactArray` that JSON lacks are written as the texts "inf", "-inf" and "nan". An
  `IndexArray` has whole numbers.
- `tagged` gives each noun of a union a key and a word that identify it.
- `sparse` leaves out the fields of a noun that have their default.
- A field with ``metadata=OPTIONAL`` is left out if it has its default, in documents of a noun that is not sparse too.
  Documents from before the field existed therefore keep their meaning and their digest.
- A field with ``init=False`` has no key, because it is not an argument of the noun.
- A noun with another layout has two methods: `as_document` returns the values by key, and the parameters of the class
  method `of_document` are the keys and their types. A parameter with a default is like a field with OPTIONAL.

msgspec parses the documents. This module makes a Struct from the hints of each noun. msgspec then refuses a value of
the wrong type and names its place, and it can write the JSON schema of a document.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from functools import cache, partial
from inspect import Parameter, signature
from math import isinf
from pathlib import Path
from types import GenericAlias, UnionType
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
import numpy as np
from msgspec import inspect
from numpy.typing import NDArray

from freightrisk._shown import repr_of
from freightrisk.errors import InputError

Noun = TypeVar("Noun")
Turn = Callable[[Any], Any]

TAG, SPARSE = "__document_tag__", "__document_sparse__"
INLINE = {"inline": True}
OPTIONAL = {"optional": True}
EXACT, INDEX = object(), object()
ExactFloat: TypeAlias = Annotated[float, EXACT]
ExactArray: TypeAlias = Annotated[NDArray[np.float64], EXACT]
IndexArray: TypeAlias = Annotated[NDArray[np.int64], INDEX]
NO_NUMBERS = Literal["nan", "inf", "-inf"]  # what JSON has no numbers for


def tagged(**tag: str) -> Callable[[type[Noun]], type[Noun]]:
    """Return a decorator that gives a noun a key and a word of its own in documents, such as ``kind="band"``."""
    ((key, word),) = tag.items()

    def mark(noun: type[Noun]) -> type[Noun]:
        setattr(noun, TAG, (key, word))
        return noun

    return mark


def sparse(noun: type[Noun]) -> type[Noun]:
    """Mark a noun, as a decorator: its documents leave out every field that has its default."""
    setattr(noun, SPARSE, True)
    return noun


def to_plain(noun: Any) -> dict[str, Any]:
    """Return a noun as plain data, with every field that is not sparse."""
    plain: dict[str, Any] = _form(type(noun), True).write(noun)
    return plain


def from_plain(kind: type[Noun], data: Any, *, whole: bool = True) -> Noun:
    """Return the noun that plain data describe.

    Parameters
    ----------
    kind : type
    data : dict
    whole : bool
        If true, refuse data that lack a field. Otherwise an absent field takes its default.

    Raises
    ------
    InputError
        If a key is unknown, or the noun refuses a value.
    msgspec.ValidationError
        If a field is absent or a value has the wrong type; the error names the place.
    """
    form = _form(kind, whole)
    _refuse_keys(inspect.type_info(form.parsed), data)
    return noun_of(kind, msgspec.convert(data, form.parsed), whole=whole)


def noun_of(kind: type[Noun], part: Any, *, whole: bool = True) -> Noun:
    """Return the noun of an instance of its Struct."""
    noun: Noun = _form(kind, whole).read(part)
    return noun


def struct_of(kind: Any, head: type[msgspec.Struct] | None = None) -> type[msgspec.Struct]:
    """Return the Struct of a noun that must have all fields, preceded by the fields of `head`."""
    struct: type[msgspec.Struct] = _form(kind, True, head).parsed
    return struct


@dataclass(frozen=True)
class _Form:
    """The form of the values of a type hint in a document: the type that msgspec parses, a writer and a reader.

    `classes` are the classes of a value and of its parsed form. A union uses them to find the member of a value.
    """

    parsed: Any
    writer: Turn | None = None
    reader: Turn | None = None
    classes: tuple[type, ...] = ()

    def write(self, value: Any) -> Any:
        """Return a value as plain data."""
        return value if self.writer is None else self.writer(value)

    def read(self, part: Any) -> Any:
        """Return the value of a part that msgspec has parsed."""
        return part if self.reader is None else self.reader(part)


@dataclass(frozen=True)
class _Key:
    """A key of a noun: its argument, the default if the key is absent, and the inlined field that has it, if any."""

    name: str
    argument: str
    form: _Form
    default: Any = None
    required: bool = True
    optional: bool = False
    inside: tuple[str, Any] | None = None

    @property
    def infinite(self) -> bool:
        """Return whether null stands for an infinite default."""
        return isinstance(self.default, float) and isinf(self.default)

    def struct_field(self) -> tuple[Any, ...]:
        """Return the name, type and default of the field of a Struct."""
        if self.optional:  # unset fields have no key in what msgspec encodes, so digests do not see them
            return self.name, self.form.parsed | msgspec.UnsetType, msgspec.UNSET
        parsed = self.form.parsed | None if self.infinite else self.form.parsed
        if self.required and not self.infinite:
            return self.name, parsed
        plain = None if self.infinite else self.form.write(self.default)
        if plain and isinstance(plain, (list, dict)):  # msgspec refuses a default that can change
            return self.name, parsed, msgspec.field(default_factory=lambda: msgspec.convert(plain, parsed))
        return self.name, parsed, plain


def _form(hint: Any, whole: bool, head: type[msgspec.Struct] | None = None) -> _Form:
    """Return the form of a type hint; `whole` as in `from_plain`, `head` as in `struct_of`."""
    # The cache takes equal calls for different ones if they name their arguments differently, so all calls pass here.
    return _made(hint, whole, head)


@cache
def _made(hint: Any, whole: bool, head: type[msgspec.Struct] | None) -> _Form:
    hint = _without_alias(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if is_dataclass(hint):
        return _noun(hint, whole, head)
    if hint is float:  # a float field may hold an integer, which is written as a float so that it reads back the same
        return _Form(float, float, None, (int, float))
    if hint is Path:
        return _Form(str, str, Path, (Path, str))
    if origin is Annotated:
        inner, mark = arguments
        if mark is EXACT or mark is INDEX:
            return _exact_number() if inner is float else _exact_array() if mark is EXACT else _indices()
        return _array(mark) if isinstance(mark, tuple) else _listed(_form(get_args(inner)[1], whole), mark)
    if np.ndarray in (hint, origin):
        return _array((-1,))
    if origin in (Union, UnionType):
        return _union(hint, [_form(member, whole) for member in arguments])
    if origin is tuple and arguments[-1] is not Ellipsis:
        return _row([_form(member, whole) for member in arguments])
    if origin in (tuple, list, Sequence):
        item = _form(arguments[0], whole)
        written, read = _each(item.writer, list), _each(item.reader, tuple)
        return _Form(GenericAlias(list, item.parsed), written, read, (tuple, list))
    if origin in (dict, Mapping):
        item = _form(arguments[1], whole)
        written, read = _values(item.writer), _values(item.reader)
        return _Form(GenericAlias(dict, (str, item.parsed)), written, read, (Mapping,))
    return _Form(hint)


def _without_alias(hint: Any) -> Any:
    """Return the hint that an alias of a `type` statement stands for; numpy's NDArray is one from Python 3.12 on."""
    alias, arguments = get_origin(hint) or hint, get_args(hint)
    if not hasattr(alias, "__value__"):
        return hint
    return _without_alias(alias.__value__[arguments] if arguments else alias.__value__)


def _each(turn: Turn | None, kind: type) -> Turn:
    return kind if turn is None else lambda values: kind(map(turn, values))


def _values(turn: Turn | None) -> Turn:
    return dict if turn is None else lambda values: {key: turn(value) for key, value in values.items()}


def _row(members: list[_Form]) -> _Form:
    """Return the form of a tuple of fixed length."""

    def write(row: Any) -> Any:
        return tuple(one.write(value) for one, value in zip(members, row, strict=True))

    def read(row: Any) -> Any:
        return tuple(one.read(part) for one, part in zip(members, row, strict=True))

    return _Form(GenericAlias(tuple, tuple(one.parsed for one in members)), write, read, (tuple,))


def _array(shape: tuple[int, ...]) -> _Form:
    """Return the form of an array; a length below zero is free."""
    parsed: Any = float
    for length in reversed(shape):
        parsed = GenericAlias(list, parsed) if length < 0 else GenericAlias(tuple, (parsed,) * length)
    return _Form(
        parsed,
        lambda array: np.asarray(array, dtype=np.float64).tolist(),
        lambda lists: np.array(lists, dtype=np.float64).reshape(shape),
        (np.ndarray, list),
    )


def _exact_number() -> _Form:
    return _Form(float | NO_NUMBERS, _exact, float, (float, int, str))


def _exact(value: float) -> float | str:
    return float(value) if np.isfinite(value) else str(float(value))


def _exact_array() -> _Form:
    """Return the form of an array whose numbers keep every bit, infinite ones and those that are not numbers too."""

    def write(array: Any) -> list[Any]:
        values = np.asarray(array, dtype=np.float64)
        return values.tolist() if np.isfinite(values).all() else [*map(_exact, values.tolist())]

    return _Form(
        GenericAlias(list, float | NO_NUMBERS),
        write,
        lambda numbers: np.array([*map(float, numbers)], dtype=np.float64),
        (np.ndarray, list),
    )


def _indices() -> _Form:
    """Return the form of an array of whole numbers."""
    whole = Annotated[int, msgspec.Meta(ge=-(2**62), le=2**62)]
    return _Form(
        GenericAlias(list, whole),
        lambda array: np.asarray(array, dtype=np.int64).tolist(),
        lambda numbers: np.array(numbers, dtype=np.int64),
        (np.ndarray, list),
    )


def _listed(item: _Form, name: str) -> _Form:
    """Return the form of a mapping whose keys are an attribute of its nouns; a document lists the nouns."""

    def read(parts: list[Any]) -> dict[str, Any]:
        nouns = [*map(item.read, parts)]
        found = {getattr(noun, name): noun for noun in nouns}
        if len(found) < len(nouns):
            twice = Counter(getattr(noun, name) for noun in nouns).most_common(1)[0][0]
            raise InputError(f"two entries of one list have the {name} {repr_of(twice)}; give each its own.")
        return found

    return _Form(GenericAlias(list, item.parsed), lambda nouns: [*map(item.write, nouns.values())], read)


def _union(hint: Any, members: list[_Form]) -> _Form:
    """Return the form of a union; a whole number stays an integer if the union has integers."""
    whole_numbers = int in get_args(hint)
    # The form of a float would turn integers into floats.
    ways = [one for one in members if not (whole_numbers and one.parsed is float)]

    def write(value: Any) -> Any:
        return next((one.write(value) for one in ways if isinstance(value, one.classes)), value)

    def read(part: Any) -> Any:
        return next((one.read(part) for one in ways if isinstance(part, one.classes)), part)

    return _Form(
        Union[tuple(one.parsed for one in members)],  # noqa: UP007  # the members are known only at run time
        write if any(one.writer for one in ways) else None,
        read if any(one.reader for one in ways) else None,
    )


def _noun(kind: Any, whole: bool, head: type[msgspec.Struct] | None) -> _Form:
    """Return the form of a frozen dataclass."""
    keys = tuple(_keys(kind, whole))
    tag = dict([getattr(kind, TAG)]) if hasattr(kind, TAG) else {}
    is_sparse = hasattr(kind, SPARSE)

    def write(noun: Any) -> dict[str, Any]:
        value_of = noun.as_document().__getitem__ if hasattr(kind, "of_document") else partial(getattr, noun)
        plain: dict[str, Any] = dict(tag)
        for key in keys:
            value = value_of(key.argument) if key.inside is None else getattr(value_of(key.inside[0]), key.argument)
            if not ((is_sparse or key.optional) and value == key.default):
                plain[key.name] = None if key.infinite and value == key.default else key.form.write(value)
        return plain

    def read(part: Any) -> Any:
        found: dict[tuple[str, Any] | None, dict[str, Any]] = {key.inside: {} for key in keys}
        for key in keys:
            value = getattr(part, key.name)
            # A null stands for an infinite default, which the noun fills in by itself.
            if not (key.infinite and value is None) and value is not msgspec.UNSET:
                found[key.inside][key.argument] = key.form.read(value)
        inlined = {inside[0]: inside[1](**given) for inside, given in found.items() if inside is not None}
        return getattr(kind, "of_document", kind)(**found.get(None, {}), **inlined)

    struct = _struct(kind, keys, () if head is None else (head,))
    return _Form(struct, write, read, (kind, struct))


def _struct(kind: Any, keys: tuple[_Key, ...], bases: tuple[type[msgspec.Struct], ...]) -> type[msgspec.Struct]:
    tag_field, tag = getattr(kind, TAG, (None, None))
    return msgspec.defstruct(
        kind.__name__, [key.struct_field() for key in keys], bases=bases, module=kind.__module__,
        namespace={"__doc__": (kind.__doc__ or "").partition("\n")[0]}, tag_field=tag_field, tag=tag,
        kw_only=True, forbid_unknown_fields=True, omit_defaults=hasattr(kind, SPARSE),
    )  # fmt: skip


def _keys(kind: Any, whole: bool) -> Iterator[_Key]:
    """Yield the keys of a noun in their order."""
    if hasattr(kind, "of_document"):
        given = signature(kind.of_document).parameters
        for name, hint in get_type_hints(kind.of_document, include_extras=True).items():
            if name != "return":
                default = given[name].default
                needed = default is Parameter.empty
                yield _Key(name, name, _form(hint, whole), None if needed else default, needed, not needed)
        return
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        if not field.init:
            continue
        if field.metadata.get("inline"):
            inner = hints[field.name]
            yield from (replace(key, inside=(field.name, inner)) for key in _keys(inner, whole))
            continue
        default = field.default if field.default_factory is MISSING else field.default_factory()
        optional = bool(field.metadata.get("optional"))
        required = default is MISSING or (whole and not optional and not hasattr(kind, SPARSE))
        form = _form(hints[field.name], whole)
        yield _Key(field.metadata.get("key", field.name), field.name, form, default, required, optional)


def _refuse_keys(info: inspect.Type, data: Any, place: str = "", glue: str = ".") -> None:
    """Raise for the first key or tag that a document may not have; msgspec checks the types of values."""
    kinds = info.types if isinstance(info, inspect.UnionType) else (info,)
    if isinstance(data, list):
        for item_type in [one.item_type for one in kinds if isinstance(one, inspect.ListType)]:
            for k, item in enumerate(data):
                named = f" ({repr_of(item['name'])})" if isinstance(item, dict) and "name" in item else ""
                _refuse_keys(item_type, item, f"{place}, entry {k + 1}{named}", ", ")
    elif isinstance(data, dict):
        for value_type in [one.value_type for one in kinds if isinstance(one, inspect.DictType)]:
            _refuse_inside(dict.fromkeys(data, value_type), None, data, place, glue)
        structs = [one for one in kinds if isinstance(one, inspect.StructType)]
        if structs:
            meant = _meant(structs, data, place)
            _refuse_inside({one.encode_name: one.type for one in meant.fields}, meant.tag_field, data, place, glue)


def _refuse_inside(known: dict[Any, inspect.Type], tag_field: str | None, data: Any, place: str, glue: str) -> None:
    for key, value in data.items():
        if key in known:
            _refuse_keys(known[key], value, f"{place}{glue if place else ''}{key}")
        elif key != tag_field:
            allowed = [*([tag_field] if tag_field else []), *known]
            raise InputError(
                f"{place or 'the top level'}: unknown key {repr_of(key)}; the keys there are "
                f"{', '.join(map(repr, allowed))}. Correct or remove it."
            )


def _meant(structs: list[inspect.StructType], data: dict[Any, Any], place: str) -> inspect.StructType:
    """Return the Struct that the tag of an object names."""
    tag_field = structs[0].tag_field
    found = next((one for one in structs if tag_field is None or one.tag == data.get(tag_field)), None)
    if found is None:
        what = f"{tag_field} is {repr_of(data[tag_field])}" if tag_field in data else f"'{tag_field}' is absent"
        raise InputError(f"{place}: {what}; it must be one of {', '.join(repr(one.tag) for one in structs)}.")
    return found
