"""An ONNX file as `onnx` parses and checks it; nothing in it is executed, and nothing outside its folder is read.

A file is told by its content: ONNX has no magic number, but its first field is the version of its own form.
"""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bitwright.errors import InputError
from bitwright.networks.onnx.node import short
from bitwright.networks.packages import first_line

FIRST, LAST = 7, 23
"""Opsets of ONNX's own domain that are read."""
STARTS = frozenset({0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42})
"""What may follow the version: the tags of ModelProto's fields 2 to 8."""
SUFFIX = ".onnx"
MOST_LEVELS = 16  # of graphs inside graphs, and of functions that call functions
MOST_NODES = 2**18
"""Of a graph whose functions are written out: the largest real ones have some 50,000; our choice."""
LARGEST_BYTES = 2**31 - 1
"""Of a protocol buffer; what is larger has its tensors in other files."""
MICROSOFT = "com.microsoft"
RUNTIME_S = frozenset({"SimplifiedLayerNormalization"})
"""What onnxruntime writes into ONNX's own domain."""
INSTALL = "pip install 'bitwright[onnx]'"


def is_onnx(path: Path) -> bool:
    """Whether a file begins as ONNX files do, or is called one."""
    try:
        with path.open("rb") as file:
            head = file.read(3)
    except OSError:
        return False
    begins = len(head) == 3 and head[0] == 0x08 and 1 <= head[1] < 0x40 and head[2] in STARTS
    return begins or path.suffix.lower() == SUFFIX


def read(path: Path) -> Any:
    """The model in a file, its external data in memory, functions of its own written out.

    Raises
    ------
    InputError
        The package `onnx` is missing; a file that is damaged or no ONNX, whose data lie elsewhere, or of an opset that
        is not read.
    """
    if importlib.util.find_spec("onnx") is None:
        raise InputError(f"{path} is an ONNX file, and the package onnx is not installed here; run: {INSTALL}")
    import onnx

    content = _content(path)
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:
        raise InputError(
            f"{path} cannot be parsed as ONNX ({first_line(error)[:200]}); it is damaged, or no ONNX file: export it "
            "anew"
        ) from error
    if not model.HasField("graph") or not model.graph.node:
        raise InputError(f"{path} has no graph with nodes, so it is no ONNX network; export it anew")
    _check_names(model.graph, path)
    if not model.graph.output:
        raise InputError(f"{path} has no outputs, so that nothing is to be computed; export it with the ones you need")
    _check_opset(model, path)
    _check_functions(model, path)
    external = _external(model, path)
    _to_their_domain(model)
    try:
        onnx.checker.check_model(str(path) if external else model)
        if external:
            onnx.load_external_data_for_model(model, str(path.parent))
        if model.functions:
            from onnx import inliner

            model = inliner.inline_local_functions(model)
    except Exception as error:
        raise InputError(f"{path} is no valid ONNX: {_sentence(error)}; export it anew") from error
    return model


def _content(path: Path) -> bytes:
    """The bytes of a file that is no larger than a protocol buffer."""
    try:
        size = path.stat().st_size
        if size > LARGEST_BYTES:
            raise InputError(
                f"{path} has {size:,} bytes, and an ONNX file has at most {LARGEST_BYTES:,}; export it with its "
                "tensors as external data"
            )
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def _sentence(error: Exception) -> str:
    """What onnx says, in a line; it tells the context of an error in later lines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and "==>" not in line]
    text = " ".join(lines[:2]) or type(error).__name__
    return "".join(character if character.isprintable() else "?" for character in text)[:300].rstrip(".")


def _to_their_domain(model: Any) -> None:
    """Operators that onnxruntime writes into ONNX's own domain, which does not have them, are its own."""
    found = False
    for node in model.graph.node:
        if node.op_type in RUNTIME_S and not node.domain:
            node.domain, found = MICROSOFT, True
    if found and MICROSOFT not in opsets(model):
        entry = model.opset_import.add()
        entry.domain, entry.version = MICROSOFT, 1


def opsets(model: Any) -> dict[str, int]:
    """Domain -> its version; ONNX's own is the empty domain."""
    return {("" if each.domain == "ai.onnx" else each.domain): each.version for each in model.opset_import}


def _check_names(graph: Any, path: Path, level: int = 0) -> None:
    """Refuse names that are no texts: protobuf hands out bytes that are no UTF-8 as they are."""
    names = [each.name for each in (*graph.initializer, *graph.input, *graph.output)]
    for node in graph.node:
        names += [node.name, node.op_type, node.domain, *node.input, *node.output]
        names += [each.name for each in node.attribute]
        for attribute in node.attribute:
            if attribute.HasField("g") and level < MOST_LEVELS:
                _check_names(attribute.g, path, level + 1)
    if not all(isinstance(name, str) for name in names):
        raise InputError(f"{path} has names that are no text in UTF-8; it is damaged: export it anew")


def _check_opset(model: Any, path: Path) -> None:
    version = opsets(model).get("")
    if version is None:
        return
    if not FIRST <= version <= LAST:
        raise InputError(
            f"{path} is of ONNX's opset {version}; {FIRST} to {LAST} are read: export it with one of these, or "
            "convert it with onnx.version_converter"
        )


def _check_functions(model: Any, path: Path) -> None:
    """Refuse functions that stand for more nodes than any network has, before they are written out.

    Twenty lines that call each other twice are a million nodes.
    """
    bodies = {(each.domain, each.name, each.overload): each.node for each in model.functions}
    known: dict[tuple[str, str, str], tuple[int, int]] = {}

    def measured(nodes: Any, level: int) -> tuple[int, int]:
        """How many nodes they are, and how many levels of functions are below them."""
        total = deepest = 0
        for node in nodes:
            key = (node.domain, node.op_type, node.overload)
            own = (1, 0)
            if key in bodies:
                if level >= MOST_LEVELS:
                    raise InputError(
                        f"{path} has functions that call themselves, or others, more than {MOST_LEVELS} levels deep; "
                        "export it without functions"
                    )
                if key not in known:
                    known[key] = measured(bodies[key], level + 1)
                own = (known[key][0], known[key][1] + 1)
            for graph in graphs_of(node):
                inner = measured(graph.node, level)
                own = (own[0] + inner[0], max(own[1], inner[1]))
            total, deepest = total + own[0], max(deepest, own[1])
        return total, deepest

    total, deepest = measured(model.graph.node, 0)
    if model.functions and (total > MOST_NODES or deepest > MOST_LEVELS):
        raise InputError(
            f"{path} is {total:,} nodes in {deepest} levels of functions when these are written out; at most "
            f"{MOST_NODES:,} in {MOST_LEVELS} are read: export it without functions"
        )


def _external(model: Any, path: Path) -> bool:
    """Whether tensors lie in other files; each must be below the model's folder, and long enough."""
    found = False
    for tensor in all_tensors_of(model):
        if tensor.data_location != 1 and not tensor.external_data:
            continue
        found = True
        fields = {entry.key: entry.value for entry in tensor.external_data}
        location = fields.get("location", "")
        folder = path.parent.resolve()
        inside = location and "\0" not in location and (folder / location).resolve().is_relative_to(folder)
        if not inside or Path(location).is_absolute():
            raise InputError(
                f"{path}: the data of {short(tensor.name)!r} lie in {short(location)!r}, outside the model's folder; "
                "only files beside the model are read"
            )
        target = folder / location
        if not target.is_file():
            raise InputError(
                f"{path}: the data of {short(tensor.name)!r} lie in {short(location)!r}, which is missing; put that "
                "file beside the model"
            )
        _check_extent(fields, target, tensor, path)
    return found


def _check_extent(fields: dict[str, str], target: Path, tensor: Any, path: Path) -> None:
    try:
        offset, length = int(fields.get("offset", 0)), int(fields.get("length", 0))
    except ValueError:
        offset = -1
        length = 0
    if offset < 0 or length < 0 or offset + length > target.stat().st_size:
        raise InputError(
            f"{path}: the data of {short(tensor.name)!r} go beyond the end of {short(target.name)!r}; copy that file "
            "anew"
        )


def all_tensors_of(model: Any) -> Iterator[Any]:
    """Every tensor of a model, its functions included."""
    yield from tensors_of(model.graph)
    for function in model.functions:
        yield from _constants(function.node)


def tensors_of(graph: Any) -> Iterator[Any]:
    """Every tensor of a graph: initializers, attributes, and those of graphs inside."""
    yield from graph.initializer
    yield from _constants(graph.node)


def _constants(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
        for inner in graphs_of(node):
            yield from tensors_of(inner)


def graphs_of(node: Any) -> list[Any]:
    """The graphs that a node has as attributes."""
    return [graph for each in node.attribute for graph in ([each.g] if each.HasField("g") else [*each.graphs])]
