"""YAML files that people write, read strictly: a key given twice is an error, and every value knows its line.

Only plain values (mappings, lists, numbers, text, booleans, null); no tags that build Python objects.
"""

import dataclasses
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from bitwright.errors import InputError

Place = tuple[str | int, ...]  # keys and indices from the top to a value, e.g. ("layers", 0, "m")


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
        The file cannot be read, is not YAML, or gives a key twice; the message has the file and the line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read the {what} {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"cannot read the {what} {path}: it is not UTF-8 text.") from error
    return parse(text, file=str(path))


def parse(text: str, *, file: str) -> Document:
    """Parse YAML text; `file` is what messages call it. Raises `InputError` as `read` does."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[Place, int] = {}
        if node is None:
            return Document(data=None, file=file, lines=lines)
        _note_lines(node, (), lines, set())
        return Document(data=loader.construct_document(node), file=file, lines=lines)
    except InputError as error:
        raise InputError(f"{file}, {error}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise InputError(f"{file}{line}: not the YAML that is expected: {error.problem}.") from error
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
