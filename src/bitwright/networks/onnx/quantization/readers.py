"""What reads the codes of a graph: operators that move them, make them real, or compute with them."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from bitwright.networks.onnx.node import Node
from bitwright.networks.onnx.quantization.grids import Grid

if TYPE_CHECKING:
    from bitwright.networks.onnx.build import Builder

MOVES = frozenset(
    {
        *("Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Pad", "Reshape", "Slice"),
        *("SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"),
    }
)
"""Operators that move elements, or choose among them, so that codes stay on their grid."""


def computed_with(builder: "Builder", name: str) -> bool:
    """Whether codes go out of the network, or to a node that neither moves them nor makes them real."""
    if name in builder.outputs:
        return True
    for index in builder.all_readers.get(name, ()):
        node = builder.nodes[index]
        if node.domain or (node.op != "DequantizeLinear" and node.op not in MOVES):
            return True
        if node.op in MOVES and any(computed_with(builder, each) for each in node.outputs):
            return True
    return False


def only_read_by(builder: "Builder", name: str, operators: Sequence[str]) -> bool:
    """Whether nothing but nodes of these operators reads a value."""
    readers = [builder.nodes[index] for index in builder.all_readers.get(name, ())]
    reads = sum(each.inputs.count(name) for each in readers)
    return builder.readers[name] == reads and all(each.op in operators and not each.domain for each in readers)


def by_constant(builder: "Builder", node: Node) -> bool:
    """Whether a product of integers is by constant filters, or by one constant matrix."""
    codes = builder.constant(node, 1)
    if codes is None or (builder.has(node, 3) and builder.constant(node, 3) is None):
        return False
    return node.op == "ConvInteger" or codes.dim() == 2


def pads_on(builder: "Builder", node: Node, grid: Grid) -> bool:
    """Whether what a Pad of reals puts around them is on their grid too."""
    if node.text("mode", "constant") != "constant":
        return True
    value = builder.constant(node, 2)
    if value is None and builder.has(node, 2):
        return False
    around = torch.tensor([float(node.number("value", 0.0))]) if value is None else value.reshape(-1).float()
    return torch.equal(grid.reals(grid.codes(around)), around)


def padded(builder: "Builder", node: Node, grid: Grid) -> Node:
    """A Pad of codes whose value is the real that its code stands for."""
    value = builder.constant(node, 2)
    code = torch.zeros(1) if value is None else value.reshape(-1)[:1]
    name = f"{node.outputs[0]}/padding"
    builder.constants[name] = grid.reals(code)
    inputs = [*node.inputs[:2], *([""] * (2 - len(node.inputs[:2]))), name, *node.inputs[3:]]
    return dataclasses.replace(node, inputs=tuple(inputs))
