"""Damage to documents, drawn from a seeded generator: to the parsed tree, to its text, and to YAML."""

import copy
import json
import random
import re
from collections.abc import Callable
from typing import Any

Place = tuple[Any, Any]

STRANGE: list[Any] = [
    None, True, False, 0, 1, -1, 2, 255, 256, 65_536, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63, 2**64,
    -(2**63), 10**30, 0.0, -0.0, 0.5, 1.0000001, 5e-324, 1e-300, 9.9e8, 1e9, 1e15, 1e300, 1e308, -1e308,
    "", " ", "a", "1", "\0", "\x1b[31m", "\u202e", "line\nline", "é" * 3_000, "=1+1", "(missing)", "(other)", "(all)",
    "zone", "channel", "zone x weight_kg", "merchant", "list", "2026-02-30", "day", "carry", "dither", "level",
    [], {}, [[]], [{}], [None], [1], ["a"], [0.25] * 4, [[0.25] * 4], [["city"]], {"a": 1}, {"above": 1.0},
    {"factor": "zone", "values": {"city": 1.0}, "default": None},
]  # fmt: skip
TOKENS = [
    b"1e999", b"-1e999", b"NaN", b"Infinity", b"1e308", b"5e-324", b"-0", b"1E400", b"00", b"1.", b".5", b"0x10",
    b"9" * 5_000, b"18446744073709551616", b"-9223372036854775809", b"2147483648", b"1e-300", b"null", b"true",
    b'"\\ud800"', b'"\\u0000"', b"[" * 99, b"[" * 5_000, b'{"a":' * 3_000, b"[" * 500 + b"]" * 500, b"\xef\xbb\xbf",
    b"\xff", b"/**/", b",", b"}",
]  # fmt: skip
NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
FACTORS = (-1.0, 0.0, 0.5, 2.0, 10.0, 100.0, 1e6, 1e9, 1e12, 1e-9, 1e-300, 1e300, 1.0 + 1e-9)
LAUGHS = "".join(f"l{k}: &l{k} [{', '.join([f'*l{k - 1}'] * 9)}]\n" for k in range(1, 9))
YAML_PIECES = [
    "a: &a {x: 1}\n", "<<: *a\n", "b: &b [*b]\n", "? [1, 2]\n: 3\n", "!!python/object:os.system x\n", "--- \n", "...\n",
    "\t- x\n", "d: 2026-02-30\n", "n: .nan\n", "o: 0o17\n", "s: 1:30:15\n", "t: !!timestamp 2026-99-01\n", "e: 1_000\n",
    "m: !!set {a, b}\n", "z: &z " + "[" * 400 + "]" * 400 + "\n", "l0: &l0 x\n" + LAUGHS, "version: 1\n", "y: yes\n",
    "q: 'a\n\nb'\n", 'u: "\\x1b[31m"\n', "k: {a: 1, a: 2}\n",
]  # fmt: skip


def any_place(tree: Any, rng: random.Random) -> Place | None:
    """Return a container and one of its keys, found by a walk from the root that may stop at each step."""
    holder, key = None, None
    while isinstance(tree, (dict, list)) and len(tree) and (holder is None or rng.random() < 0.8):
        holder, key = tree, rng.choice(list(tree)) if isinstance(tree, dict) else rng.randrange(len(tree))
        tree = holder[key]
    return None if holder is None else (holder, key)


def _strange(holder: Any, key: Any, tree: Any, rng: random.Random) -> None:
    holder[key] = copy.deepcopy(rng.choice(STRANGE))


def _lost(holder: Any, key: Any, tree: Any, rng: random.Random) -> None:
    del holder[key]


def _scaled(holder: Any, key: Any, tree: Any, rng: random.Random) -> None:
    if isinstance(holder[key], (int, float)) and not isinstance(holder[key], bool):
        found = holder[key] * rng.choice(FACTORS)
        holder[key] = rng.choice([found, int(found) if abs(found) < 1e300 else 0, holder[key] + rng.choice((1, -1))])


def _all_scaled(holder: Any, key: Any, tree: Any, rng: random.Random) -> None:
    """Scale every number of a list, because the tables of a tariff are lists and their products are checked."""
    if isinstance(holder[key], list) and all(isinstance(item, float) for item in holder[key]):
        factor = rng.choice(FACTORS)
        holder[key] = [item * factor for item in holder[key]]


def _reordered(holder: Any, key: Any, tree: Any, rng: random.Random) -> None:
    if isinstance(holder[key], list):
        rng.shuffle(holder[key])


def _longer(holder: Any, key: Any, tree: Any, rng: random.Random) -> None:
    if isinstance(holder[key], list) and holder[key]:
        holder[key] += copy.deepcopy(holder[key][: rng.choice((1, 2, len(holder[key])))])


def _shorter(holder: Any, key: Any, tree: Any, rng: random.Random) -> None:
    if isinstance(holder[key], list):
        del holder[key][rng.randrange(len(holder[key]) + 1) :]


def _renamed(holder: Any, key: Any, tree: Any, rng: random.Random) -> None:
    if isinstance(holder, dict):
        value = holder.pop(key)
        holder[rng.choice([key + "x", key.upper(), "", "\0", "zone", "channel", key + " ", "\x1b[0m", "__class__"])] = (
            value
        )


def _grafted(holder: Any, key: Any, tree: Any, rng: random.Random) -> None:
    other = any_place(tree, rng)
    if other is not None:
        holder[key] = copy.deepcopy(other[0][other[1]])


def _respelled(holder: Any, key: Any, tree: Any, rng: random.Random) -> None:
    if isinstance(holder[key], str):
        text = holder[key]
        holder[key] = rng.choice(
            [text[:-1], text * 2, text.upper(), text + "\u202e", text + "\n", text + " ", "\x1b" + text]
        )
    elif not isinstance(holder[key], (dict, list)):
        holder[key] = str(holder[key])


def _wrapped(holder: Any, key: Any, tree: Any, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 40, 120))):
        holder[key] = rng.choice(([holder[key]], {"x": holder[key]}))


DAMAGES: list[Callable[[Any, Any, Any, random.Random], None]] = [
    _strange, _lost, _scaled, _scaled, _all_scaled, _reordered, _longer, _shorter, _renamed, _grafted, _respelled,
    _wrapped,
]  # fmt: skip
GENTLE = [_scaled, _all_scaled, _respelled]


def damaged_tree(text: bytes, rng: random.Random) -> Any:
    """Return a parsed JSON document with some damage; half of the time, only to numbers and texts."""
    tree = json.loads(text)
    damages = GENTLE if rng.random() < 0.5 else DAMAGES
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        place = any_place(tree, rng)
        if place is not None:
            rng.choice(damages)(*place, tree, rng)
    return tree


def damaged_text(data: bytes, rng: random.Random) -> bytes:
    """Return the bytes of a document after cutting, changing, reversing, repeating or inserting pieces."""
    text = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at, width = rng.randrange(len(text) + 1), rng.randrange(1, 80)
        match rng.randrange(7):
            case 0:
                del text[at:]
            case 1:
                text[at : at + 1] = bytes([rng.randrange(256)])
            case 2:
                text[at:at] = rng.choice(TOKENS)
            case 3:
                del text[at : at + width]
            case 4:
                text[at:at] = text[max(at - width, 0) : at]
            case 5:
                text[at : at + width] = text[at : at + width][::-1]
            case _:
                found = NUMBER.search(text, at)
                if found:
                    text[slice(*found.span())] = rng.choice(TOKENS)
    return bytes(text)


def repeated_key(data: bytes, rng: random.Random) -> bytes:
    """Return a JSON text in which one key is repeated with its value."""
    keys = [found.span() for found in re.finditer(rb'"[a-z_]+":\s*(?:-?[\d.]+|null|"[^"]*"),', data)]
    if not keys:
        return data
    start, stop = rng.choice(keys)
    return data[:stop] + data[start:stop] + data[stop:]


def damaged_yaml(text: str, rng: random.Random) -> bytes:
    """Return a YAML text with a piece that is YAML but not allowed in a document, between two lines or as a value."""
    lines = text.splitlines(keepends=True)
    for _ in range(rng.choice((1, 1, 2))):
        piece = rng.choice(YAML_PIECES)
        if rng.random() < 0.7:
            lines.insert(rng.randrange(len(lines) + 1), piece)
        else:
            k = rng.randrange(len(lines))
            lines[k] = lines[k].partition(":")[0] + ": " + piece.partition(":")[2]
    return "".join(lines).encode()


def as_json(tree: Any) -> bytes:
    """Return a tree as JSON, with NaN and infinity spelled as Python spells them."""
    return json.dumps(tree, ensure_ascii=False).encode("utf-8", "surrogatepass")
