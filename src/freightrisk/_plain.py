"""Documents as text: JSON and YAML in which no key repeats, and files that appear only when they are complete."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from freightrisk import _check
from freightrisk._staged import staged
from freightrisk.errors import FreightRiskError, InputError

MOST_LEVELS = 100
"""Levels of brackets that a text may have. A document has about ten, and versions of Python differ in their limits."""

TOO_DEEP = "brackets are nested too deeply; a document has about ten levels"

JSON_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)


def json_document(data: bytes, kind: Any = Any) -> Any:
    """Return a JSON text as an object of a kind; refuse repeated keys, of which msgspec alone would take the last."""
    refuse_depth(data)
    refuse_repeated_keys(data)
    return msgspec.json.decode(data, type=kind)


def refuse_depth(data: bytes) -> None:
    """Raise `msgspec.DecodeError` if a JSON text has more than `MOST_LEVELS` levels, before any parser reads it."""
    if data.count(b"[") + data.count(b"{") <= MOST_LEVELS:
        return
    # The running sum of +1 for each opening and -1 for each closing bracket is the level; texts are removed first.
    step = np.zeros(256, dtype=np.int8)
    step[list(b"[{")] = 1
    step[list(b"]}")] = -1
    steps = step[np.frombuffer(JSON_TEXT.sub(b"", data), dtype=np.uint8)]
    levels = np.cumsum(steps[steps != 0], dtype=np.int64)  # of brackets alone, which are few in a list of numbers
    if levels.max(initial=0) > MOST_LEVELS:
        raise msgspec.DecodeError(TOO_DEEP)


@contextmanager
def refusing_depth() -> Iterator[None]:
    """Raise `msgspec.DecodeError` if YAML is nested too deeply for its parser, which is recursive Python."""
    try:
        yield
    except RecursionError:
        raise msgspec.DecodeError(TOO_DEEP) from None


def refuse_repeated_keys(data: bytes) -> None:
    """Raise if an object of a JSON text has a key twice; a text that is not JSON passes, and msgspec refuses it."""
    repeated: list[tuple[dict[str, Any], str]] = []

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            counts = Counter(key for key, _ in pairs)
            repeated.append((found, next(key for key, count in counts.items() if count > 1)))
        return found

    # Numbers are not needed. Their length replaces them, because it is fast to find and cannot overflow.
    try:
        whole = json.loads(data, object_pairs_hook=once, parse_float=len, parse_int=len, parse_constant=len)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return
    if repeated:
        # An inner object ends before its outer object. The last object found is therefore never inside a value that a
        # repeated key has replaced, and `_place` can find it.
        holder, key = repeated[-1]
        raise InputError(f"key '{key}' is given twice - at `{_place(whole, holder)}`; keep the one that is meant.")


def _place(whole: Any, wanted: dict[str, Any]) -> str:
    """Return the place of an object in a parsed text, in the notation of msgspec."""
    open_places = [("$", whole)]
    while open_places:
        place, value = open_places.pop()
        if value is wanted:
            return place
        if isinstance(value, dict):
            open_places += [(f"{place}.{key}", item) for key, item in value.items()]
        elif isinstance(value, list):
            open_places += [(f"{place}[{k}]", item) for k, item in enumerate(value)]
    return "$"


def import_yaml() -> Any:
    """Return the module yaml; the error, if it is absent, says how to install it."""
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}; campaigns in YAML need pip install 'freightrisk[yaml]'") from None
    return yaml


def yaml_document(data: bytes) -> Any:
    """Return a YAML text as plain data; refuse repeated keys, of which the loader alone would take the last."""
    yaml = import_yaml()
    try:
        with refusing_depth():
            loader = yaml.SafeLoader(data)
            node = loader.get_single_node()
            _refuse_repeated_nodes(node, yaml)
            return None if node is None else loader.construct_document(node)
    except FreightRiskError:
        raise
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # ValueError for a date such as 2026-02-30
        raise InputError(f"it cannot be parsed: {' '.join(str(error).split())}.") from None
    except (LookupError, AttributeError, TypeError):  # PyYAML does not check a value under a tag such as !!int
        raise InputError("it cannot be parsed: a value does not have the form that its tag (!!) says.") from None


def _refuse_repeated_nodes(root: Any, yaml: Any) -> None:
    """Raise if a mapping of a YAML text has a key twice, or merges another mapping into itself."""
    nodes, seen = [root], set()
    while nodes:
        node = nodes.pop()
        if id(node) in seen or not isinstance(node, yaml.CollectionNode):
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
            continue
        nodes += [value for _, value in node.value]
        keys = set()
        for key, _ in node.value:
            line = f"line {key.start_mark.line + 1}"
            if key.tag == "tag:yaml.org,2002:merge":
                raise InputError(f"'<<' in {line} merges rules, so their keys would be given twice; write them out.")
            if str(key.value) in keys:
                raise InputError(f"key '{key.value}' is given twice, again in {line}; keep the one that is meant.")
            keys.add(str(key.value))


def write_whole(path: str | Path, text: bytes, *, private: bool = False) -> None:
    """Write a file that appears only when it is complete; only the owner can read a new private file.

    Raises
    ------
    InputError
        If the path cannot be written. A full or failing disk is not a fault of the path and stays an OSError.
    """
    final = _check.output_path(path, argument="path")
    with staged([final], private=[final] if private else []) as (part,):
        part.write_bytes(text)
