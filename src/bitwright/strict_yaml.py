"""YAML files that people write, read strictly: a key given twice is an error, and every value knows its line.

Only plain values (mappings, lists, numbers, text, booleans, null); no tags that build Python objects. Files are
strangers': their size, what their aliases stand for and how deep they go are bounded, and text is printable.
"""

import dataclasses
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from bitwright.errors import InputError

Place = tuple[str | int, ...]  # keys and indices from the top to a value, e.g. ("layers", 0, "m")
SUFFIXES = (".yaml", ".yml")
LARGEST_MIB = 8
MOST_VALUES = 1_000_000  # with everything that aliases stand for


@dataclasses.dataclass(frozen=True, kw_only=True)
class Document:
    """The content of a YAML file.

    Attributes
    ----------
    data : object
        Plain Python values; None for an empty file.
    file : str
        What messages call the file.
    lines : mapping
        Place -> line (from 1) of a mapping's key or a list's item.
    """

    data: Any
    file: str
    lines: Mapping[Place, int]

    def where(self, place: Place) -> str:
        """`FILE, line N` of a place, or of the nearest one around it that has a line."""
        while place and place not in self.lines:
            place = place[:-1]
        return f"{self.file}, line {self.lines.get(place, 1)}"


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, except that a key given twice in one mapping is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Build one mapping after checking that its keys differ."""
        first: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line = key.start_mark.line + 1
            if key.value in first:
                raise InputError(
                    f"line {line}: key {key.value!r} is given twice, first on line {first[key.value]}; remove one."
                )
            first[key.value] = line
        return super().construct_mapping(node, deep=deep)


def read(path: str | Path, *, what: str = "file") -> Document:
    """Read a YAML file; `what` names it in messages (`workload`, `price list`).

    Raises
    ------
    InputError
        The file cannot be read, is too large, is not YAML, or gives a key twice; the message has the file and the line.
    """
    try:
        with Path(path).open("rb") as stream:
            content = stream.read(LARGEST_MIB * 2**20 + 1)
        if len(content) > LARGEST_MIB * 2**20:
            raise InputError(f"cannot read the {what} {path}: it is larger than {LARGEST_MIB} MiB.")
        text = content.decode("utf-8")
    except OSError as error:
        raise InputError(f"cannot read the {what} {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"cannot read the {what} {path}: it is not UTF-8 text.") from error
    return parse(text, file=str(path))


def parse(text: str, *, file: str) -> Document:
    """Parse YAML text; `file` is what messages call it. Raises `InputError` as `read` does."""
    try:
        loader = _Loader(text)
    except yaml.YAMLError as error:
        raise InputError(f"{file}: not the YAML that is expected: {' '.join(str(error).split())}.") from error
    try:
        node = loader.get_single_node()
        lines: dict[Place, int] = {}
        if node is None:
            return Document(data=None, file=file, lines=lines)
        _count(node, {}, set())
        _note_lines(node, (), lines, set())
        return Document(data=loader.construct_document(node), file=file, lines=lines)
    except InputError as error:
        raise InputError(f"{file}, {error}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise InputError(f"{file}{line}: not the YAML that is expected: {error.problem}.") from error
    except RecursionError as error:
        raise InputError(f"{file}: not the YAML that is expected: it is nested too deeply.") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2026-99-99
        raise InputError(f"{file}: not the YAML that is expected: {' '.join(str(error).split())}.") from error
    finally:
        loader.dispose()


def _note_lines(node: yaml.Node, place: Place, lines: dict[Place, int], seen: set[int]) -> None:
    """Write the line of every key and item under `node` into `lines`; an anchor's content counts where it first is."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                lines[(*place, key.value)] = key.start_mark.line + 1
                _note_lines(value, (*place, key.value), lines, seen)
    elif isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            lines[(*place, i)] = item.start_mark.line + 1
            _note_lines(item, (*place, i), lines, seen)


def _count(node: yaml.Node, known: dict[int, int], above: set[int]) -> int:
    """How many values a node stands for, each alias counted as what it repeats; text is looked at on the way."""
    if id(node) in known:
        return known[id(node)]
    line = node.start_mark.line + 1
    if id(node) in above:
        raise InputError(f"line {line}: an alias stands for what it is a part of; write it out.")
    if isinstance(node, yaml.ScalarNode):
        if not all(character.isprintable() or character in "\n\t" for character in node.value):
            raise InputError(f"line {line}: text has characters that cannot be printed; remove them.")
        return 1
    inner = [each for pair in node.value for each in pair] if isinstance(node, yaml.MappingNode) else node.value
    found = 1 + sum(_count(each, known, above | {id(node)}) for each in inner)
    if found > MOST_VALUES:
        raise InputError(f"line {line}: aliases and all make more than {MOST_VALUES:,} values; write fewer.")
    known[id(node)] = found
    return found
