"""Layer norms that an exporter wrote as nine nodes (before opset 17), found again by their structure.

mean, x - mean, its square's mean, + epsilon, root, quotient, times a constant, plus a constant: each read by the next
alone. What is found runs as one norm, which is what the network had, and what smoothing and rotation look for.
"""

from typing import TYPE_CHECKING

import torch

from bitwright.networks.onnx import layers
from bitwright.networks.onnx.layer import Layer
from bitwright.networks.onnx.node import Node, integers_of

if TYPE_CHECKING:
    from bitwright.networks.onnx.build import Builder


def layer_norm(builder: "Builder", node: Node, index: int) -> "Layer | None":  # noqa: ARG001
    """The layer norm that begins with a ReduceMean over the last axis; None where there is none."""
    x, mean = node.inputs[0], node.outputs[0]
    if not _last_axis(builder, node) or not x:
        return None
    centred = _next(builder, mean, "Sub")
    if centred is None or builder.nodes[centred].inputs != (x, mean):
        return None
    d = builder.nodes[centred].outputs[0]
    square, root = _square(builder, d), None
    variance = None if square is None else _next(builder, builder.nodes[square].outputs[0], "ReduceMean")
    if square is None or variance is None or not _last_axis(builder, builder.nodes[variance]):
        return None
    added = _next(builder, builder.nodes[variance].outputs[0], "Add")
    root = None if added is None else _next(builder, builder.nodes[added].outputs[0], "Sqrt")
    quotient = None if root is None else _next(builder, builder.nodes[root].outputs[0], "Div")
    if added is None or root is None or quotient is None:
        return None
    epsilon = _other(builder, added, builder.nodes[variance].outputs[0])
    if builder.nodes[quotient].inputs != (d, builder.nodes[root].outputs[0]) or epsilon is None or epsilon.numel() != 1:
        return None
    if {*builder.all_readers[d]} != {square, quotient}:
        return None
    scaled = _next(builder, builder.nodes[quotient].outputs[0], "Mul")
    gain = None if scaled is None else _other(builder, scaled, builder.nodes[quotient].outputs[0])
    if scaled is None or gain is None or gain.dim() != 1 or gain.numel() < 2:
        return None
    shifted = _next(builder, builder.nodes[scaled].outputs[0], "Add")
    bias = None if shifted is None else _other(builder, shifted, builder.nodes[scaled].outputs[0])
    if shifted is None or bias is None or bias.shape != gain.shape:
        return None
    joins = (centred, square, variance, added, root, quotient, scaled, shifted)
    name = next(name for name in builder.nodes[scaled].inputs if name in builder.constants)
    module = layers.layer_norm(gain, bias, gain.numel(), float(epsilon.reshape(())))
    outputs = builder.nodes[shifted].outputs
    return Layer(module=module, inputs=(x,), outputs=outputs, weight=name, joins=joins)


def _next(builder: "Builder", name: str, op: str) -> int | None:
    """The one node that reads a value, where it is of this operator."""
    return builder.only_reader(name, op)


def _square(builder: "Builder", d: str) -> int | None:
    """The node that squares a value which two nodes read."""
    for index in builder.all_readers[d]:
        node = builder.nodes[index]
        exponent = builder.constant(node, 1)
        if node.op == "Pow" and exponent is not None and exponent.numel() == 1 and float(exponent) == 2:
            return index
        if node.op == "Mul" and node.inputs == (d, d):
            return index
    return None


def _other(builder: "Builder", index: int, name: str) -> torch.Tensor | None:
    """The constant that a node reads beside a value."""
    others = [each for each in builder.nodes[index].inputs if each != name]
    return builder.constants.get(others[0]) if len(others) == 1 else None


def _last_axis(builder: "Builder", node: Node) -> bool:
    """Whether a ReduceMean keeps its axes and reduces the last one, counted from the end."""
    axes = builder.constant(node, 1)
    chosen = integers_of(axes) if axes is not None else node.integers("axes")
    return chosen == [-1] and bool(node.number("keepdims", 1))
