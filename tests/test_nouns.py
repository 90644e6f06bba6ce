"""Nouns as documents: what is declared is what is written, for every noun and for those that a test makes up."""

import importlib
import json
import pkgutil
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, make_dataclass, replace
from datetime import date
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import freightrisk
from freightrisk import Band, ByLevel, Factor, Hierarchy, InputError, Interval
from freightrisk._document import from_plain, noun_of, sparse, struct_of, tagged, to_plain
from freightrisk._frozen import EqualByContent
from freightrisk.models.effects import Credibility, Free, Given, Interaction, Smooth
from freightrisk.tariff.document import parse_tariff
from freightrisk.tariff.parts import document_of
from freightrisk.tariff.subsidy import Subsidy
from strategies import CODINGS, covers, limited_programmes, loadings, programmes, tariffs

NUMBERS = st.floats(-1e9, 1e9) | st.integers(-(10**6), 10**6)
NAMES = st.text("ab平 .", min_size=1, max_size=4)


@tagged(shape="round")
@dataclass(frozen=True)
class Round:
    name: str
    radius: float


@tagged(shape="square")
@dataclass(frozen=True)
class Square:
    name: str
    side: float
    tilt: float | None = None


@sparse
@dataclass(frozen=True)
class Note:
    text: str
    day: date | None = None
    weights: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Plan(EqualByContent):
    """Every kind of hint that a noun may have."""

    title: str
    shapes: Sequence[Round | Square | str]
    numbered: Annotated[Mapping[str, Round], "name"] = field(metadata={"key": "wheels"})
    points: Annotated[np.ndarray, (-1, 2)]
    weights: Mapping[str, NDArray[np.float64]]
    values: Sequence[str | int | float | bool | None]
    pairs: tuple[tuple[str, int], ...]
    width: float | Sequence[float] | int | None
    note: Note
    top: float = np.inf
    bottom: float = -np.inf
    file: Path | None = None


@st.composite
def plans(draw):
    rounds = st.builds(Round, NAMES, NUMBERS.map(float))
    wheels = draw(st.lists(rounds, max_size=3, unique_by=lambda wheel: wheel.name))
    return Plan(
        draw(NAMES),
        tuple(draw(st.lists(rounds | st.builds(Square, NAMES, NUMBERS, st.none() | NUMBERS) | NAMES, max_size=4))),
        {wheel.name: wheel for wheel in wheels},
        np.array(draw(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=3)), dtype=np.float64).reshape(-1, 2),
        {name: np.array(draw(st.lists(NUMBERS, max_size=3)), dtype=np.float64) for name in draw(st.sets(NAMES))},
        tuple(draw(st.lists(NAMES | NUMBERS | st.booleans() | st.none(), max_size=4))),
        tuple(draw(st.lists(st.tuples(NAMES, st.integers(0, 9)), max_size=3))),
        draw(st.none() | st.integers(0, 9) | st.lists(NUMBERS.map(float), max_size=3).map(tuple)),
        Note(draw(NAMES), draw(st.none() | st.dates()), draw(st.dictionaries(NAMES, NUMBERS, max_size=2))),
        draw(st.just(np.inf) | NUMBERS),
        draw(st.just(-np.inf) | NUMBERS),
        draw(st.none() | NAMES.map(Path)),
    )


def again(noun):
    """Return a noun from the text of its document."""
    return from_plain(type(noun), json.loads(msgspec.json.encode(to_plain(noun))))


# What is written comes back


@given(plans())
def test_a_noun_of_every_hint_comes_back(plan):
    assert again(plan) == plan
    part = msgspec.json.decode(msgspec.json.encode(to_plain(plan)), type=struct_of(Plan))
    assert noun_of(Plan, part) == plan


@dataclass(frozen=True)
class Labelled:
    name: str
    made_for: str | None = field(default=None, init=False, compare=False)


def test_a_field_that_is_no_argument_has_no_key():
    noun = Labelled("a")
    object.__setattr__(noun, "made_for", "b")
    assert to_plain(noun) == {"name": "a"}
    assert again(noun).made_for is None
    with pytest.raises(InputError, match="unknown key 'made_for'"):
        from_plain(Labelled, {"name": "a", "made_for": "b"})


@given(plans())
def test_what_is_read_is_written_as_the_same_text(plan):
    assert msgspec.json.encode(to_plain(again(plan))) == msgspec.json.encode(to_plain(plan))


@given(covers() | loadings() | st.sampled_from([*CODINGS.values()]) | tariffs().map(lambda tariff: tariff.frequency))
def test_the_parts_of_a_tariff_come_back(noun):
    assert again(noun) == noun


@given(programmes() | limited_programmes())
def test_rules_come_back(rules):
    assert tuple(map(again, rules)) == tuple(rules)


@pytest.mark.parametrize(
    "noun",
    [
        Factor("zone", column="route", min_exposure=5, unseen="parent"), Band("price", 4, valid=(0, 9)),
        Band("price", [1, 2], missing="level"), Hierarchy("path", ["a", "b"], min_claims=3), Free("zone"),
        Credibility("path", variance=[0.2, 1]), Smooth("price", order=1, monotone="increasing"),
        Given("zone", {"near": 1, "far": 1.5}), Given("zone", [1.0, 1.5]), Interaction("zone", "price", variance=0.1),
        Interval(above=4.8), Interval(), ByLevel("zone", {"near": 5}, default=8),
    ],
)  # fmt: skip
def test_declarations_effects_and_conditions_come_back(noun):
    plain = to_plain(noun)
    tag = getattr(type(noun), "__document_tag__", None)
    assert tag is None or plain.pop(tag[0]) == type(noun).__name__.lower()
    assert list(plain) == [one.name for one in fields(noun)]
    if not (isinstance(noun, Band) and np.inf in noun.valid):  # JSON has no infinity, TOML has
        assert again(noun) == noun
    assert from_plain(type(noun), to_plain(noun), whole=False) == noun


@given(tariffs())
def test_a_factor_whose_exposure_is_a_whole_number_can_be_loaded(tariff):
    codings = {
        name: replace(coding, declared=replace(coding.declared, min_exposure=5))
        for name, coding in tariff.codings.items()
    }
    changed = replace(tariff, codings=codings)
    assert parse_tariff(document_of(changed)) == changed


# Keys


def a_plan(**more):
    plan = Plan("p", (Round("a", 1.0),), {"b": Round("b", 2.0)}, np.ones((1, 2)), {}, (), (), None, Note("n"))
    return to_plain(plan) | more


def test_keys_are_the_fields_in_their_order():
    names = [one.metadata.get("key", one.name) for one in fields(Plan)]
    assert list(a_plan()) == names
    assert names[2] == "wheels"
    assert a_plan()["note"] == {"text": "n"}
    assert a_plan()["top"] is None


@pytest.mark.parametrize("name", [one.metadata.get("key", one.name) for one in fields(Plan)])
def test_a_lost_field_is_refused_unless_its_default_is_infinite(name):
    plain = a_plan()
    del plain[name]
    if name in ("top", "bottom"):
        assert from_plain(Plan, plain) == from_plain(Plan, a_plan())
    else:
        with pytest.raises(msgspec.ValidationError, match=f"missing required field `{name}`"):
            from_plain(Plan, plain)


def test_fields_with_defaults_may_be_absent_from_what_is_written_by_hand():
    plain = {one.metadata.get("key", one.name): a_plan()[one.metadata.get("key", one.name)] for one in fields(Plan)
             if one.default is MISSING}  # fmt: skip
    assert from_plain(Plan, plain, whole=False) == from_plain(Plan, a_plan())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"color": 1}, "^the top level: unknown key 'color'; the keys there are 'title', 'shapes', 'wheels', "),
        ({"note": {"text": "n", "x": 1}}, "^note: unknown key 'x'; the keys there are 'text', 'day', 'weights'"),
        ({"shapes": ["a", {"shape": "round", "name": "b", "radius": 1.0, "side": 2}]},
         r"^shapes, entry 2 \('b'\): unknown key 'side'; the keys there are 'shape', 'name', 'radius'"),
        ({"shapes": [{"shape": "oval", "name": "b"}]},
         r"^shapes, entry 1 \('b'\): shape is 'oval'; it must be one of 'round', 'square'"),
        ({"shapes": [{"name": "b"}]}, r"^shapes, entry 1 \('b'\): 'shape' is absent; it must be one of"),
        ({"wheels": [{"shape": "round", "name": "b", "radius": 1.0}] * 2}, "two entries of one list have the name 'b'"),
        ({1: 2}, "^the top level: unknown key 1"),
    ],
)  # fmt: skip
def test_a_key_or_tag_that_no_noun_has_is_refused_by_its_place(change, message):
    with pytest.raises(InputError, match=message):
        from_plain(Plan, a_plan() | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"title": 1}, r"Expected `str`, got `int` - at `\$.title`"),
        ({"points": [[1.0]]}, r"length 2.* at `\$.points\[0\]`"),
        ({"points": 3.0}, r"Expected `array`, got `float` - at `\$.points`"),
        ({"shapes": [1]}, r"got `int` - at `\$.shapes\[0\]`"),
        ({"note": []}, r"Expected `object`, got `array` - at `\$.note`"),
    ],
)
def test_a_value_of_another_type_is_refused_by_its_place(change, message):
    with pytest.raises(msgspec.ValidationError, match=message):
        from_plain(Plan, a_plan() | change)


@pytest.mark.parametrize("data", [None, 3, "text", [], [{}]])
def test_data_that_are_no_object_are_refused(data):
    with pytest.raises(msgspec.ValidationError, match="Expected `object`"):
        from_plain(Plan, data)


KEYS = st.sampled_from(["name", "payer", "fixed_fen", "where", "start", "above"]) | st.integers()
DATA = st.recursive(
    st.none() | st.integers() | st.text(max_size=3), lambda some: st.lists(some) | st.dictionaries(KEYS, some)
)


@given(DATA)
def test_any_data_are_a_rule_or_refused(data):
    with suppress(InputError, msgspec.ValidationError):
        assert isinstance(from_plain(Subsidy, data), Subsidy)


def dataclasses_of_the_package():
    for module in pkgutil.walk_packages(freightrisk.__path__, "freightrisk."):
        if not module.name.endswith("__main__"):
            inside = vars(importlib.import_module(module.name)).values()
            yield from (one for one in inside if is_dataclass(one) and getattr(one, "__module__", "") == module.name)


def test_nothing_that_holds_arrays_has_the_equality_of_a_dataclass():
    found = [
        f"{one.__name__}.{held.name}"
        for one in dataclasses_of_the_package()
        if isinstance(one, type) and one.__dataclass_params__.eq and "__eq__" in vars(one)
        for held in fields(one)
        if held.compare and re.search("(?i)array|Days|DataFrame", str(held.type))
    ]
    assert found == []


def test_aliases_of_type_statements_are_what_they_stand_for():
    # numpy's NDArray is such an alias from Python 3.12 on; typing_extensions makes them on any Python.
    extensions = pytest.importorskip("typing_extensions")
    item = TypeVar("item")
    numbers = extensions.TypeAliasType("numbers", NDArray[np.float64])
    pairs = extensions.TypeAliasType("pairs", tuple[item, item], type_params=(item,))
    noun = make_dataclass("noun", [("tables", Mapping[str, numbers]), ("ends", pairs[int])], frozen=True)
    written = to_plain(noun({"a": np.array([1.0, 2.0])}, (3, 4)))
    assert written == {"tables": {"a": [1.0, 2.0]}, "ends": (3, 4)}
    again = from_plain(noun, json.loads(json.dumps(written)))
    np.testing.assert_array_equal(again.tables["a"], [1.0, 2.0])
    assert again.ends == (3, 4)
