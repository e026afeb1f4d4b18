"""YAML files that people write, read strictly: a key given twice is an error, and every value knows its line.

Only plain values (mappings, lists, numbers, text, booleans, null); no tags that build Python objects. Files are
strangers': their size, what their aliases stand for and how deep they go are bounded, and text is printable.
"""

import contextlib
import dataclasses
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from bitwright import files
from bitwright.errors import InputError

Place = tuple[str | int, ...]  # keys and indices from the top to a value, e.g. ("layers", 0, "m")
Pair = tuple[yaml.Node, yaml.Node]
DEEP_MERGE = "<<<"
TAG = "!"
"""In mappings that the front end's YAML calls `!Name`, the key with that name."""
SUFFIXES = (".yaml", ".yml")
LARGEST_MIB = 8
NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
LONGEST_NUMBER = 64
MOST_WRITTEN = 200_000  # keys, values, lists and mappings: some 18,000 layers of a workload
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
    repeated : tuple of str
        Keys that are given twice, with their lines, where that is no error.
    """

    data: Any
    file: str
    lines: Mapping[Place, int]
    repeated: tuple[str, ...] = ()

    def where(self, place: Place) -> str:
        """`FILE, line N` of a place, or of the nearest one around it that has a line."""
        while place and place not in self.lines:
            place = place[:-1]
        return f"{self.file}, line {self.lines.get(place, 1)}"


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, except that a key given twice in one mapping is an error, or where it may be is kept."""

    repeated: list[str] | None = None
    written = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose one value, unless there are too many: each takes a thousand bytes and more."""
        self.written += 1
        if self.written > MOST_WRITTEN:
            raise InputError(f"line {self.peek_event().start_mark.line + 1}: more than {MOST_WRITTEN:,} values.")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Build one mapping after checking that its keys differ."""
        first: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line = key.start_mark.line + 1
            if key.value in first and self.repeated is not None:
                self.repeated.append(f"{key.value} on line {line}")
            elif key.value in first:
                raise InputError(
                    f"line {line}: key {key.value!r} is given twice, first on line {first[key.value]}; remove one."
                )
            first[key.value] = line
        return super().construct_mapping(node, deep=deep)


class _AnchorLoader(_Loader):
    """The strict loader, which keeps the anchors of a document."""

    kept: dict[str, yaml.Node]

    def compose_document(self) -> yaml.Node | None:
        """The document's node; its anchors are in `kept`."""
        self.get_event()
        node = self.compose_node(None, None)
        self.kept = dict(self.anchors)
        self.get_event()
        return node

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.kept = {}


class _MergingLoader(_Loader):
    """The strict loader, except that `<<<` merges as `<<` does and mappings within mappings too."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put what `<<<` and `<<` bring into the mapping, below what is written."""
        given = [(key, value) for key, value in node.value if key.value != DEEP_MERGE]
        for key, value in node.value:
            if key.value == DEEP_MERGE:
                for below in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    if not isinstance(below, yaml.MappingNode):
                        line = key.start_mark.line + 1
                        raise InputError(f"line {line}: {DEEP_MERGE} merges mappings; something else is there.")
                    given = self._merged(below, given)
        node.value = given
        super().flatten_mapping(node)

    def _merged(self, below: yaml.MappingNode, given: list[Pair]) -> list[Pair]:
        """`given`, with what only `below` has."""
        self.flatten_mapping(below)
        by_key = {key.value: (key, value) for key, value in given if isinstance(key, yaml.ScalarNode)}
        merged: list[Pair] = []
        for key, value in below.value:
            if not isinstance(key, yaml.ScalarNode) or key.value not in by_key:
                merged.append((key, value))
                continue
            written, over = by_key.pop(key.value)
            if isinstance(value, yaml.MappingNode) and isinstance(over, yaml.MappingNode):
                over = yaml.MappingNode(over.tag, self._merged(value, list(over.value)), over.start_mark, over.end_mark)
            merged.append((written, over))
        left = {id(key) for key, _ in by_key.values()}
        return merged + [pair for pair in given if id(pair[0]) in left or not isinstance(pair[0], yaml.ScalarNode)]


def _named(loader: _MergingLoader, suffix: str, node: yaml.Node) -> Any:
    """What stands behind a name of the front end, such as `!Component`: plain values, and the name in mappings."""
    if isinstance(node, yaml.MappingNode):
        return {**loader.construct_mapping(node, deep=True), TAG: suffix}
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    assert isinstance(node, yaml.ScalarNode)
    return loader.construct_scalar(node)


_MergingLoader.add_multi_constructor(TAG, _named)
L = TypeVar("L", bound=_Loader)


def read(path: str | Path, *, what: str = "file") -> Document:
    """Read a YAML file; `what` names it in messages (`workload`, `price list`).

    Raises
    ------
    InputError
        The file cannot be read, is too large, is not YAML, or gives a key twice; the message has the file and the line.
    """
    return parse(read_text(path, what=what), file=str(path))


def read_text(path: str | Path, *, what: str = "file") -> str:
    """The text of a file of at most `LARGEST_MIB`, in UTF-8 with or without a mark of it. Raises as `read` does."""
    return files.read_text(path, what=what, most=LARGEST_MIB * files.MIB)


def parse(text: str, *, file: str, above: Sequence[tuple[str, str]] | None = None, twice: bool = False) -> Document:
    """Parse YAML text; `file` is what messages call it.

    Parameters
    ----------
    text, file : str
        The text, and its name.
    above : sequence of (str, str) or None
        Names and texts of files that stand above it, whose anchors are known in it; given, even if there are none, it
        is YAML as Timeloop's front end has it, in which `<<<` merges mappings as deep as they go.
    twice : bool
        Whether a key may be given twice, of which the last counts, as other readers of YAML have it.

    Raises
    ------
    InputError
        As `read` does.
    """
    anchors: dict[str, yaml.Node] = {}
    for name, other in above or ():
        anchors |= _anchors(other, name, anchors)
    with _telling(file, _Loader if above is None else _MergingLoader, text, anchors) as loader:
        loader.repeated = [] if twice else None
        node = loader.get_single_node()
        lines: dict[Place, int] = {}
        if node is None:
            return Document(data=None, file=file, lines=lines)
        _count(node, {}, set())
        _note_lines(node, (), lines, {id(each) for top in anchors.values() for each in _nodes(top)})
        data = loader.construct_document(node)
        return Document(data=data, file=file, lines=lines, repeated=tuple(loader.repeated or ()))


@contextlib.contextmanager
def _telling(file: str, kind: type[L], text: str, anchors: Mapping[str, yaml.Node]) -> Iterator[L]:
    """A loader of a text; what is wrong in it is told with its file and line."""
    try:
        loader = kind(text)
    except yaml.YAMLError as error:
        raise InputError(f"{file}: not the YAML that is expected: {' '.join(str(error).split())}.") from error
    loader.anchors.update(anchors)
    try:
        yield loader
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


def _anchors(text: str, file: str, above: Mapping[str, yaml.Node]) -> dict[str, yaml.Node]:
    """What the anchors of a text stand for."""
    with _telling(file, _AnchorLoader, text, above) as loader:
        node = loader.get_single_node()
        if node is not None:
            _count(node, {}, set())
            loader.construct_document(node)  # what is wrong in it is told as its own
        return loader.kept


def _nodes(top: yaml.Node) -> Iterator[yaml.Node]:
    """A node and all under it, each once."""
    left, seen = [top], set[int]()
    while left:
        node = left.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, yaml.MappingNode):
            left += [each for pair in node.value for each in pair]
        elif isinstance(node, yaml.SequenceNode):
            left += node.value


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
        if node.tag in NUMBERS and len(node.value) > LONGEST_NUMBER:
            raise InputError(f"line {line}: a number of {len(node.value):,} characters; {LONGEST_NUMBER} do.")
        return 1
    inner = [each for pair in node.value for each in pair] if isinstance(node, yaml.MappingNode) else node.value
    found = 1 + sum(_count(each, known, above | {id(node)}) for each in inner)
    if found > MOST_VALUES:
        raise InputError(f"line {line}: aliases and all make more than {MOST_VALUES:,} values; write fewer.")
    known[id(node)] = found
    return found
