"""Mutations of what a stranger writes: of bytes, of words, and of trees of values (JSON, YAML, records in headers).

All draw from one `random.Random`, so that a case is its seed.
"""

import random
from collections.abc import Sequence
from typing import Any

WORDS = (
    "", " ", "\n", "\t", "\0", "\x1b[2J", "\u202e", "\ufeff", "\ud800", "é", "0", "-1", "1", "2147483648", "9" * 30, "9" * 5000,
    "1e308", "1e-308", "1e400", "nan", ".inf", "-.inf", "null", "true", "~", "{}", "[]", "[[", "{{", "}}", "&a", "*a", "<<: *a", "!!python/name:os.system",
    "!!binary x", "!Component", "|", ">", "---", "...", "%TAG", "?", ": ", "- ", "#", "'", '"', "\\", "${x}", "{{ 1 }}", "{% include 'x' %}",
    "__class__", "__import__('os')", "os:system", "../../../etc/passwd", "/dev/zero", "gemm:4x4x4", "a" * 3000, "<b>", "=1+1", "%s%n", ",", ";", "x",
)  # fmt: skip
"""What readers trip over: signs, numbers beyond any size, marks of YAML, markup, names of Python's and of files."""
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 2**31 - 1, 2**31, 2**63, 10**30, -(10**30), 0.0, -0.0, 0.5, 1e-300, 1e308, float("inf"), float("nan"),
    "", [], {}, [[]], [None], {"": None}, "int8", "gemm:4x4x4", [1] * 300, {"a": {"a": {"a": {}}}},
)  # fmt: skip


def of_bytes(rng: random.Random, content: bytes, others: Sequence[bytes] = ()) -> bytes:
    """A file with one to eight changes of bits, bytes, spans and words."""
    made = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at, to = sorted((rng.randrange(len(made) + 1), rng.randrange(len(made) + 1)))
        to = min(to, at + rng.choice((1, 2, 4, 8, 64, len(made) + 1)))
        match rng.randrange(8):
            case 0 if made:
                made[at % len(made)] ^= 1 << rng.randrange(8)
            case 1 if made:
                made[at % len(made)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            case 2:
                del made[at:to]
            case 3:
                del made[at:]
            case 4:
                made[at:at] = made[at:to] * rng.choice((1, 2, 50))
            case 5 if others:
                other = rng.choice(others)
                place = rng.randrange(len(other) + 1)
                made[at:to] = other[place : place + rng.choice((1, 16, 256, len(other) + 1))]
            case 6:
                number = rng.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1))
                made[at : at + 8] = number.to_bytes(8, rng.choice(("little", "big")))
            case _:
                made[at:at] = rng.choice(WORDS).encode("utf-8", "surrogatepass")
    return bytes(made[: 1 << 20])


def of_text(rng: random.Random, text: str) -> str:
    """A text with one to five of its words or characters changed, taken away, doubled or put elsewhere."""
    for _ in range(rng.choice((1, 1, 2, 5))):
        at, to = sorted((rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)))
        to = min(to, at + rng.choice((0, 1, 3, 12)))
        new = rng.choice(
            (rng.choice(WORDS), text[at:to] * 2, "", chr(rng.randrange(32, 0x250)), str(rng.choice(VALUES)))
        )
        text = text[:at] + new + text[to:]
    return text[: 1 << 20]


def of_tree(rng: random.Random, tree: Any, others: Sequence[Any] = ()) -> Any:
    """A tree of dicts, lists and values with one to three changes in any places; the one given stays as it is."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        path = _somewhere(rng, tree)
        tree = _changed(rng, tree, path, others)
    return tree


def _somewhere(rng: random.Random, tree: Any) -> list[Any]:
    path: list[Any] = []
    while isinstance(tree, dict | list) and tree and (not path or rng.random() < 0.8):
        key = rng.choice(list(tree)) if isinstance(tree, dict) else rng.randrange(len(tree))
        path.append(key)
        tree = tree[key]
    return path


def _changed(rng: random.Random, tree: Any, path: Sequence[Any], others: Sequence[Any]) -> Any:
    """`tree` with what lies at `path` changed; what is beside it is shared."""
    if not path:
        return _value(rng, tree, others)
    key, rest = path[0], path[1:]
    made = dict(tree) if isinstance(tree, dict) else list(tree)
    if rest or rng.random() < 0.5:
        made[key] = _changed(rng, made[key], rest, others)
    elif isinstance(made, dict):
        match rng.randrange(3):
            case 0:
                del made[key]
            case 1:
                made[rng.choice((*WORDS, 0, None, 1.5, True))] = made.pop(key)
            case _:
                made[rng.choice(list(made))] = made[key]
    elif rng.random() < 0.5:
        del made[key]
    else:
        made[key:key] = [made[key]] * rng.choice((1, 2, 100))
    if isinstance(made, dict):
        made = {
            key if isinstance(key, str | int | float | bool | None) else str(key): each for key, each in made.items()
        }
    return made


def _value(rng: random.Random, value: Any, others: Sequence[Any]) -> Any:
    if isinstance(value, bool) or rng.random() < 0.4:
        return rng.choice((*VALUES, *others))
    if isinstance(value, int):
        return rng.choice((value + 1, -value, value * 2, value << 40, value / 3, str(value), [value], value - 1))
    if isinstance(value, float):
        return rng.choice(
            (
                -value,
                value * 1e30,
                value / 1e30,
                float("nan"),
                float("inf"),
                str(value),
                int(value) if abs(value) < 1e9 else 0,
            )
        )
    if isinstance(value, str):
        return of_text(rng, value)
    return rng.choice((*VALUES, *others, [value], {"x": value}))
