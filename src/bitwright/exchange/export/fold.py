"""A graph without what is known beforehand: sizes, constants of constants, and nodes that nobody reads.

torch's exporter writes every size that a module looks at as nodes (Shape, Gather, Unsqueeze, ..), also where shapes
are fixed. Shapes follow by ONNX's own inference, constants by its reference implementation, until nothing changes.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from bitwright.exchange.export.coded import Array
from bitwright.exchange.export.operators import DOMAIN, WEIGHT

if TYPE_CHECKING:
    import onnx

LARGEST = 2**16
"""Elements of a constant that takes the place of nodes; layouts of whole weights are changed whatever their size."""
LAYOUTS = {"Transpose", "Reshape", "Identity", "Squeeze", "Unsqueeze", "Flatten"}
ARITHMETIC = {
    *("Constant", "Shape", "ConstantOfShape", "Range", "Gather", "Concat", "Slice", "Expand", "Cast", "CastLike"),
    *("Add", "Sub", "Mul", "Div", "Neg", "Floor", "Ceil", "Round", "Max", "Min", "Mod", "Pow", "Sqrt"),
    *("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "And", "Or", "Where"),
}
"""What sizes and masks are computed by; other nodes of constants stay."""
PASSES = 100
PREFIX = "module."
"""What torch's exporter puts before the names of a wrapped module's parameters."""


def folded(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """The model, changed in place."""
    from onnx import numpy_helper

    graph = model.graph
    constants: dict[str, Array] = {}
    for initializer in graph.initializer:
        constants[initializer.name] = numpy_helper.to_array(initializer)
    for _ in range(PASSES):
        shapes = shapes_of(model)
        kept, changed = [], False
        for node in graph.node:
            values = _value(node, constants, shapes)
            if values is None:
                kept.append(node)
            else:
                constants |= dict(zip(node.output, values, strict=True))
                changed = True
        del graph.node[:]
        graph.node.extend(kept)
        _store(graph, constants)
        if not changed:
            break
    _without_idle(graph, shapes_of(model))
    pruned(graph)
    _renamed(graph)
    return model


def shapes_of(model: "onnx.ModelProto") -> dict[str, tuple[int, ...]]:
    """Static shapes of everything in the graph, where they follow.

    Our own nodes have the shape of what they read; the numbers of initializers that are no sizes are left out, which
    are most of a file.
    """
    import onnx
    from onnx import helper, shape_inference

    light = onnx.ModelProto()
    light.ir_version = model.ir_version
    light.opset_import.extend(each for each in model.opset_import if not each.domain)
    light.graph.name = "shapes"
    light.graph.input.extend(model.graph.input)
    light.graph.output.extend(model.graph.output)
    for initializer in model.graph.initializer:
        if initializer.data_type == onnx.TensorProto.INT64 and np.prod(initializer.dims) <= LARGEST:
            light.graph.initializer.append(initializer)
        else:
            kind = helper.make_tensor_value_info(initializer.name, initializer.data_type, list(initializer.dims))
            light.graph.input.append(kind)
    for node in model.graph.node:
        light.graph.node.append(
            helper.make_node("Identity", [node.input[0]], list(node.output)) if node.domain == DOMAIN else node
        )
    inferred = shape_inference.infer_shapes(light, data_prop=True)
    shapes = {}
    for info in (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output):
        sizes = info.type.tensor_type.shape.dim
        if info.type.tensor_type.HasField("shape") and all(each.HasField("dim_value") for each in sizes):
            shapes[info.name] = tuple(each.dim_value for each in sizes)
    return shapes


def _value(
    node: "onnx.NodeProto", constants: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]]
) -> list[Array] | None:
    """What a node gives, where that is known beforehand."""
    if node.domain or node.op_type not in LAYOUTS | ARITHMETIC:
        return None
    if node.op_type == "Shape" and node.input[0] in shapes and not node.attribute:
        return [np.array(shapes[node.input[0]], dtype=np.int64)]
    if not all(name in constants for name in node.input if name):
        return None
    layout = node.op_type in LAYOUTS
    if not layout and any(constants[name].size > LARGEST for name in node.input if name):
        return None
    if not layout and any(np.prod(shapes.get(name, (0,))) > LARGEST for name in node.output):
        return None
    from onnx.reference import ReferenceEvaluator

    values: Any = ReferenceEvaluator(node).run(None, {name: constants[name] for name in node.input if name})
    return [np.asarray(value) for value in values]


def _store(graph: "onnx.GraphProto", constants: Mapping[str, Array]) -> None:
    """As initializers, those constants that are not yet."""
    from onnx import numpy_helper

    there = {initializer.name for initializer in graph.initializer}
    read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    for name in read & constants.keys() - there:
        graph.initializer.append(numpy_helper.from_array(np.asarray(constants[name], order="C"), name))


def _without_idle(graph: "onnx.GraphProto", shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Leave out expansions and reshapes to the very shape that there is already."""
    same: dict[str, str] = {}
    outputs = {output.name for output in graph.output}
    kept = []
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = same.get(name, name)
        shape = shapes.get(node.input[0]) if node.input else None
        idle = node.op_type in ("Expand", "Reshape", "Identity") and not node.domain and shape is not None
        if idle and shape == shapes.get(node.output[0]) and node.output[0] not in outputs:
            same[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)


def pruned(graph: "onnx.GraphProto") -> None:
    """Without nodes and initializers that lead to no output; the numbers behind a stored weight are its codes'."""
    wanted = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(node.input if node.op_type != WEIGHT else ())
    del graph.node[:]
    graph.node.extend(reversed(kept))
    stored = [initializer for initializer in graph.initializer if initializer.name in wanted]
    del graph.initializer[:]
    graph.initializer.extend(stored)


def _renamed(graph: "onnx.GraphProto") -> None:
    """Initializers by the names of the network's own parameters."""
    names: Iterable[str] = [each.name for each in graph.initializer if each.name.startswith(PREFIX)]
    own = {name: name.removeprefix(PREFIX) for name in names}
    for initializer in graph.initializer:
        initializer.name = own.get(initializer.name, initializer.name)
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = own.get(name, name)
