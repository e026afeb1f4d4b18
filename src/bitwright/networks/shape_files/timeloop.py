"""Timeloop's problems: one layer as data spaces over dimensions, with sizes (its YAML of version 3 and of 0.4).

    problem:
      version: 0.4
      shape:
        dimensions: [C, M, R, P]
        coefficients: [{name: Stride, default: 1}]
        data_spaces:
          - {name: Weights, projection: [[[C]], [[M]], [[R]]]}
          - {name: Inputs, projection: [[[C]], [[R], [P, Stride]]]}
          - {name: Outputs, projection: [[[M]], [[P]]], read_write: true}
      instance: {C: 64, M: 64, R: 3, P: 56, Stride: 2}

A projection is a list of indices, an index a sum, a term of it a dimension and what it is multiplied by. Version 3
writes `data-spaces` and `read-write`, may put sizes beside `shape`, and knows two shapes by name. The front end's files
may include others by `{{include_text('FILE')}}` on a line of its own, which stand in their folder or the one above it;
its `<<<` merges mappings as deep as they go. A folder of problems is a network.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bitwright.errors import InputError
from bitwright.networks.network import Network
from bitwright.networks.shape_files.layers import Layer, brief, listed, name_of, network_of, size_of
from bitwright.networks.shape_files.nests import Axis, Index, Nest, site_of
from bitwright.strict_yaml import DEEP_MERGE, SUFFIXES, Document, Place, parse, read_text

PROBLEM = "problem"
INCLUDE = re.compile(r"\s*\{\{\s*include_text\(\s*(['\"])([\w./ +-]{1,200})\1\s*\)\s*\}\}\s*")
TEMPLATE = "{{"
CONV_SPACES = (
    {"name": "Weights", "projection": [[["C"]], [["K"]], [["R"]], [["S"]]]},
    {
        "name": "Inputs",
        "projection": [
            [["N"]],
            [["C"]],
            [["R", "Wdilation"], ["P", "Wstride"]],
            [["S", "Hdilation"], ["Q", "Hstride"]],
        ],
    },
    {"name": "Outputs", "projection": [[["N"]], [["K"]], [["Q"]], [["P"]]], "read-write": True},
)
GEMM_SPACES = (
    {"name": "A", "projection": [[["M"]], [["K"]]]},
    {"name": "B", "projection": [[["N"]], [["K"]]]},
    {"name": "Z", "projection": [[["M"]], [["N"]]], "read-write": True},
)
SHAPES: dict[str, dict[str, Any]] = {
    "cnn_layer": {
        "dimensions": ["R", "S", "P", "Q", "C", "K", "N"],
        "coefficients": [{"name": key, "default": 1} for key in ("Wstride", "Hstride", "Wdilation", "Hdilation")],
        "data-spaces": list(CONV_SPACES),
    },
    "gemm_ABZ": {"dimensions": ["M", "N", "K"], "data-spaces": list(GEMM_SPACES)},
}
"""Shapes that Timeloop knows by name (problem-shapes/ of its repository)."""
DEFAULT_SHAPE = "cnn_layer"
"""Of a problem of version 3 that states none."""
STRUCTURE = ("version", "shape", "instance", "name", "notes")
SPATIAL = ("D", "H", "W")
PADDED = (*SPATIAL, *(f"{letter}pad" for letter in SPATIAL))
WEIGHT_NAMES = ("weight", "filter", "kernel")
WIDTH = "W"


def is_problem(data: Any) -> bool:
    """Whether a document has a problem of Timeloop."""
    return isinstance(data, Mapping) and PROBLEM in data


def is_templated(text: str) -> bool:
    """Whether a text has what only Timeloop's front end reads."""
    return any(line.lstrip().startswith((TEMPLATE, DEEP_MERGE)) for line in text.splitlines())


def parse_templated(text: str, path: str) -> Document:
    """A document of the front end: its lines include others, and mappings are merged.

    Raises
    ------
    InputError
        A line is another template, or includes what is not to be had.
    """
    above, lines = [], []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.lstrip().startswith(TEMPLATE):
            lines.append(line)
            continue
        match = INCLUDE.fullmatch(line)
        if match is None:
            raise InputError(
                f"{path}, line {number}: of templates only {{{{include_text('FILE.yaml')}}}} is read, alone on its "
                "line; let Timeloop's front end write the file out."
            )
        file = _included(path, number, match[2])
        above.append((str(file), read_text(file, what="included file")))
        lines.append("")
    return parse("\n".join(lines), file=path, above=above)


def _included(path: str, number: int, name: str) -> Path:
    """A file in the folder of `path` or the one above it, and nowhere else."""
    folder = Path(path).resolve().parent
    file = (folder / name).resolve()
    if Path(name).is_absolute() or file.parent not in (folder, folder.parent) or file.suffix not in SUFFIXES:
        raise InputError(
            f"{path}, line {number}: {brief(name)} is included; a YAML file beside this one, or in the folder above, "
            "is expected."
        )
    return file


def build(document: Document, path: str) -> Network:
    """The network of one problem. Raises `InputError` with file and line."""
    layers, notes = [layer(document, Path(path).stem)], _unread([document])
    return network_of(layers, name=Path(path).stem, source=f"Timeloop problem {path}", notes=notes)


def build_folder(files: Sequence[tuple[Path, Document]], folder: str) -> Network:
    """The network of a folder of problems, in the order of their files' names. Raises as `build`."""
    layers = [layer(document, file.stem) for file, document in files]
    notes = _unread([document for _, document in files])
    return network_of(layers, name=Path(folder).resolve().name, source=f"Timeloop problems in {folder}", notes=notes)


def _unread(documents: Sequence[Document]) -> list[str]:
    """What instances have beside sizes: what has no meaning here, and what may be a coefficient's name misspelt."""
    unread: dict[str, None] = {}
    for document in documents:
        problem = document.data[PROBLEM]
        shape, instance = _shape(problem), problem.get("instance", problem)
        names = {str(each["name"]) for each in shape.get("coefficients") or ()}
        known = {*shape["dimensions"], *names, *STRUCTURE, *PADDED}
        unread |= dict.fromkeys(name_of(key, "?") for key in instance if key not in known)
    return [f"keys of instances that are not read: {listed(list(unread))}"] if unread else []


def layer(document: Document, name: str) -> Layer:
    """The layer of a problem. Raises `InputError` with file and line."""
    try:
        nest = _nest(document.data[PROBLEM], name_of(name, PROBLEM))
        return Layer(site=site_of(nest), where=document.where((PROBLEM,)))
    except _PlaceError as error:
        raise InputError(f"{document.where((PROBLEM, *error.place))}: problem {name!r}: {error}.") from error
    except ValueError as error:
        raise InputError(f"{document.where((PROBLEM, 'shape'))}: problem {name!r}: {error}.") from error


class _PlaceError(ValueError):
    """What is wrong at a place of a problem."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.place = place


def _nest(problem: Any, name: str) -> Nest:
    """A problem as loops. Raises ValueError."""
    if not isinstance(problem, Mapping):
        raise _PlaceError((), f"it is {brief(problem)}; a mapping with shape and instance is expected")
    shape = _shape(problem)
    instance = problem.get("instance", problem)
    if not isinstance(instance, Mapping):
        raise _PlaceError(("instance",), f"instance is {brief(instance)}; a mapping of dimensions to sizes is expected")
    sizes = _sizes(shape, instance)
    factors = _factors(shape, instance)
    x, w, y = _spaces(shape)
    operands = {each["name"]: _projection(each, factors) for each in (x, w, y)}
    axes = operands[x["name"]]
    return Nest(
        name=name,
        sizes=sizes,
        x=tuple(sorted(_indices(axes, factors), key=lambda index: _is_width(index, axes))),
        w=tuple(_indices(operands[w["name"]], factors)),
        y=tuple(_indices(operands[y["name"]], factors)),
        names=(x["name"], w["name"], y["name"]),
        axes=tuple(_padded(axes, factors, instance)),
    )


def _shape(problem: Mapping[str, Any]) -> Mapping[str, Any]:
    """The shape that a problem states; without one, or with a name, Timeloop's own."""
    shape = problem.get("shape", DEFAULT_SHAPE if set(problem) >= set(SHAPES[DEFAULT_SHAPE]["dimensions"]) else None)
    if isinstance(shape, str):
        if shape not in SHAPES:
            raise _PlaceError(("shape",), f"{brief(shape)} is no shape; {' and '.join(SHAPES)} are, or write it out")
        shape = SHAPES[shape]
    if not isinstance(shape, Mapping):
        raise _PlaceError(("shape",), "shape is missing; a mapping with dimensions and data_spaces is expected")
    return shape


def _sizes(shape: Mapping[str, Any], instance: Mapping[str, Any]) -> dict[str, int]:
    dimensions = shape.get("dimensions")
    if not isinstance(dimensions, list) or not all(isinstance(each, str) for each in dimensions) or not dimensions:
        raise _PlaceError(("shape", "dimensions"), f"dimensions is {brief(dimensions)}; a list of names is expected")
    extents = {}
    for each in dimensions:
        if each not in instance:
            raise _PlaceError(("instance",), f"dimension {brief(each)} has no size in instance")
        try:
            extents[each] = size_of(instance[each], f"size of {each}")
        except ValueError as error:
            raise _PlaceError(("instance", each), str(error)) from error
    return extents


def _factors(shape: Mapping[str, Any], instance: Mapping[str, Any]) -> dict[str, int]:
    """Coefficients by name: what the instance says, else their defaults."""
    given = shape.get("coefficients") or []
    if not isinstance(given, list):
        raise _PlaceError(("shape", "coefficients"), "coefficients is no list of names and defaults")
    coefficients = {}
    for i, each in enumerate(given):
        place: Place = ("shape", "coefficients", i)
        name = each.get("name") if isinstance(each, Mapping) else None
        if not isinstance(name, str):
            raise _PlaceError(place, f"a coefficient is {brief(each)}; a mapping with name and default is expected")
        try:
            coefficients[name] = size_of(instance.get(name, each.get("default", 1)), f"coefficient {name}")
        except ValueError as error:
            raise _PlaceError(("instance", name) if name in instance else place, str(error)) from error
    return coefficients


def _spaces(shape: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]]:
    """The data spaces of x, w and y: y is the one that is written, w is called so or the second of the others."""
    key = "data-spaces" if "data-spaces" in shape else "data_spaces"
    given = shape.get(key)
    if not isinstance(given, list) or not all(isinstance(each, Mapping) for each in given):
        raise _PlaceError(("shape", key), f"{key} is {brief(given)}; a list of data spaces is expected")
    if len({name_of(each.get("name"), "") for each in given} - {""}) != len(given):
        raise _PlaceError(("shape", key), f"{key} need names that differ")
    written = [each for each in given if each.get("read-write") or each.get("read_write")]
    read = [each for each in given if each not in written]
    if len(written) != 1 or len(read) != 2:
        raise _PlaceError(
            ("shape", key),
            f"{len(read)} data spaces are read and {len(written)} have read_write; of a product two are and one has",
        )
    named = [any(word in str(each["name"]).lower() for word in WEIGHT_NAMES) for each in read]
    x, w = reversed(read) if named == [True, False] else read
    return x, w, written[0]


def _projection(space: Mapping[str, Any], factors: Mapping[str, int]) -> list[list[list[Any]]]:
    """A data space's indices as they are written, once they are known to be lists of terms."""
    name, given = space["name"], space.get("projection")
    indices = given if isinstance(given, list) and all(isinstance(index, list) for index in given) else None
    if indices is None or not all(_is_term(term, factors) for index in indices for term in index):
        raise _PlaceError(
            ("shape",),
            f"the projection of {brief(name)} is not of the form [[[R, Stride], [P]], [[C]]]: a list of indices, each "
            "a list of terms, each a dimension and what multiplies it (a coefficient or a number)",
        )
    return [[list(term) for term in index] for index in indices if index]


def _is_term(term: Any, factors: Mapping[str, int]) -> bool:
    return (
        isinstance(term, list)
        and 1 <= len(term) <= 2
        and isinstance(term[0], str)
        and all((isinstance(each, str) and each in factors) or _is_number(each) for each in term[1:])
    )


def _is_number(given: Any) -> bool:
    return isinstance(given, int) and not isinstance(given, bool) and 0 < given < 2**31


def _indices(projection: list[list[list[Any]]], factors: Mapping[str, int]) -> list[Index]:
    return [_index(index, factors) for index in projection]


def _index(index: list[list[Any]], factors: Mapping[str, int]) -> Index:
    return tuple((term[0], _factor(term[1:], factors)) for term in index)


def _factor(given: list[Any], factors: Mapping[str, int]) -> int:
    if not given:
        return 1
    return factors[given[0]] if isinstance(given[0], str) else int(given[0])


def _padded(axes: list[list[list[Any]]], factors: Mapping[str, int], instance: Mapping[str, Any]) -> list[Axis]:
    """Sizes and padding that an instance has as H, Hpad, W, Wpad, D, Dpad, for axes whose coefficients begin so."""
    stated = []
    for index in axes:
        letters = {str(each)[0] for term in index for each in term[1:] if isinstance(each, str)}
        letter = letters.pop() if len(letters) == 1 else ""
        size, padding = instance.get(letter), instance.get(f"{letter}pad")
        if letter not in SPATIAL or not isinstance(size, int) or not isinstance(padding, int):
            continue
        if _is_number(size) and 0 <= padding < 2**31:
            stated.append(Axis(index=_index(index, factors), size=size, before=int(padding), after=int(padding)))
    return stated


def _is_width(index: Index, axes: list[list[list[Any]]]) -> bool:
    """Whether an index is along the width, by the names of its coefficients: it is told last."""
    written = next((each for each in axes if len(each) == len(index) and each[0][0] == index[0][0]), [])
    return any(str(each).startswith(WIDTH) for term in written for each in term[1:])
