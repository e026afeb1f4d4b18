"""Modules of what rounds tensors as a network runs: quantizers of a graph, sums and products of codes.

A maker is given what is known of the graph, and adds to it what its node says; None where a node is computed as it is
written.
"""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from bitwright.networks.onnx import layers
from bitwright.networks.onnx.file import MICROSOFT
from bitwright.networks.onnx.layer import Layer
from bitwright.networks.onnx.node import Node
from bitwright.networks.onnx.operators.table import QONNX
from bitwright.networks.onnx.quantization.blocks import BLOCKS, blocks_of
from bitwright.networks.onnx.quantization.cells import LSTM, coded_cells
from bitwright.networks.onnx.quantization.functions import (
    BIPOLAR_QUANT,
    QUANTIZERS,
    bipolar_grid,
    quant_grid,
    quant_width,
    width_of,
)
from bitwright.networks.onnx.quantization.grids import CODES, Grid, Rows, SiteGrids, grid_of
from bitwright.networks.onnx.quantization.modules import (
    Dequantizing,
    DynamicRounding,
    Pass,
    Regridding,
    RoundedSoftmax,
    RoundedSum,
    Rounding,
    RowRounding,
    WholeProduct,
)
from bitwright.networks.onnx.quantization.narrowing import shifts_of, within_bounds
from bitwright.networks.onnx.quantization.readers import by_constant, computed_with, only_read_by
from bitwright.networks.onnx.quantization.roundings import HALF_EVEN, rounding_of
from bitwright.networks.onnx.quantization.rows import rows_of

if TYPE_CHECKING:
    from bitwright.networks.onnx.build import Builder
    from bitwright.networks.onnx.quantization.reading import Quantization

ONE = torch.ones(())


def _quantize(known: "Quantization", builder: "Builder", node: Node) -> Layer | None:
    """What rounds reals to those of their codes; None where the scale is computed, or something computes by codes.

    Then codes are what they are, numbers.
    """
    scale, zero = builder.constant(node, 1), builder.constant(node, 2)
    if computed_with(builder, node.outputs[0]):
        return _shifted(known, builder, node)
    if scale is None:
        return _by_rows(known, builder, node)
    if builder.has(node, 2) and zero is None:
        return None
    grid = within_bounds(builder, node, grid_of(node, scale, zero, width_of(node, zero), None))
    return _rounding(known, node, grid, coded=True)


def _by_rows(known: "Quantization", builder: "Builder", node: Node) -> Layer | None:
    """What rounds rows by scales of their own, where all that reads the codes makes them real by these again."""
    readers = [builder.nodes[index] for index in builder.all_readers.get(node.outputs[0], ())]
    if not all(each.op == "DequantizeLinear" and each.inputs[1:] == node.inputs[1:] for each in readers):
        return None
    if any(each.number("axis", 1) for each in (node, *readers)):
        return None
    rows = rows_of(builder, node, known.sizes.get(node.outputs[0]), width_of(node, builder.constant(node, 2)))
    return None if rows is None else _row_rounding(known, node, rows)


def _row_rounding(known: "Quantization", node: Node, rows: Rows) -> Layer:
    known.rows[node.outputs[0]] = rows
    known.tensors += 1
    module = RowRounding(rows, known.switched())
    return Layer(module=module, inputs=node.inputs[:2], outputs=node.outputs)


def _shifted(known: "Quantization", builder: "Builder", node: Node) -> Layer | None:
    """What rounds reals and drops the lowest bits of codes, by shifts to the right and to the left again."""
    scale, zero, shifts = builder.constant(node, 1), builder.constant(node, 2), shifts_of(builder, node)
    if shifts is None or scale is None or zero is None or scale.numel() > 1:
        return None
    bits, *joins = shifts
    grid = dataclasses.replace(grid_of(node, scale, zero, width_of(node, zero), None), dropped=bits)
    layer = _rounding(known, dataclasses.replace(node, outputs=builder.nodes[joins[-1]].outputs), grid, coded=True)
    return dataclasses.replace(layer, joins=tuple(joins))


def _rounding(known: "Quantization", node: Node, grid: Grid, *, coded: bool) -> Layer:
    name = node.outputs[0]
    before = known.grids.get(node.inputs[0])
    rounded = node.inputs[0] in known.products or (before is not None and before.equals(grid))
    known.grids[name] = grid
    if coded:
        known.coded.add(name)
    known.tensors += 1
    module = Rounding(grid, known.switched(), after_product=rounded)
    return Layer(module=module, inputs=node.inputs[:1], outputs=node.outputs)


def _dequantize(known: "Quantization", builder: "Builder", node: Node) -> Layer | None:
    scale, zero = builder.constant(node, 1), builder.constant(node, 2)
    if node.inputs[0] in known.rows:
        known.rows[node.outputs[0]] = known.rows[node.inputs[0]]
        return Layer(module=Pass(), inputs=node.inputs[:1], outputs=node.outputs)
    if scale is None or (builder.has(node, 2) and zero is None):
        return None
    made = known.grids.get(node.inputs[0]) if node.inputs[0] in known.coded else None
    width = (made.bits, made.signed) if made is not None else width_of(node, zero)
    read = grid_of(node, scale, zero, width, None)
    if made is not None:
        read = dataclasses.replace(read, narrow=made.narrow, dropped=made.dropped)
        known.sizes |= {node.outputs[0]: known.sizes[node.inputs[0]]} if node.inputs[0] in known.sizes else {}
    stated = made is not None or zero is not None or "width" in node.attributes
    known.grids |= {node.outputs[0]: read} if stated else {}  # else nothing says how wide codes are
    module: torch.nn.Module = Dequantizing(read, scale.dtype)
    if made is not None:
        module = Pass() if made.equals(read) else Regridding(made, read, known.switched())
    return Layer(module=module, inputs=node.inputs[:1], outputs=node.outputs)


def _sum(known: "Quantization", builder: "Builder", node: Node) -> Layer | None:
    """An Add between tensors of 8 bits that nothing but a QuantizeLinear reads; None for any other."""
    a, b = (known.grids.get(name) for name in node.inputs[:2])
    c = next_grid(known, builder, node.outputs[0])
    if a is None or b is None or c is None or not all(each.per_tensor and each.bits == 8 for each in (a, b, c)):
        return None
    known.products.add(node.outputs[0])  # rounded with it
    held = tuple(builder.constants.get(name) for name in node.inputs[:2])
    inputs = tuple(name for name, value in zip(node.inputs[:2], held, strict=True) if value is None)
    return Layer(module=RoundedSum(node, (a, b, c), held, known.switched()), inputs=inputs, outputs=node.outputs)


def _softmax(known: "Quantization", builder: "Builder", node: Node) -> Layer | None:
    """A Softmax of codes of 8 bits that nothing but a QuantizeLinear to 8 bits reads; None for any other."""
    x, y = known.grids.get(node.inputs[0]), next_grid(known, builder, node.outputs[0])
    if x is None or y is None or not all(each.per_tensor and each.bits == 8 for each in (x, y)):
        return None
    return Layer(module=RoundedSoftmax(node, y, known.switched()), inputs=node.inputs[:1], outputs=node.outputs)


def next_grid(known: "Quantization", builder: "Builder", name: str) -> Grid | None:
    """The grid of the QuantizeLinear that alone reads a value."""
    after = builder.only_reader(name, "QuantizeLinear")
    if after is None:
        return None
    reader = known.with_width(builder.nodes[after])
    scale, zero = builder.constant(reader, 1), builder.constant(reader, 2)
    return None if scale is None else grid_of(reader, scale, zero, width_of(reader, zero), None)


def _quant(known: "Quantization", builder: "Builder", node: Node) -> Layer | None:
    scale, zero, bits = (builder.constant(node, position) for position in (1, 2, 3))
    sizes = known.sizes.get(node.outputs[0])
    if zero is None or bits is None:
        return None
    if scale is None:
        width = quant_width(node, bits)
        if rounding_of(node) != HALF_EVEN or width[0] < 2:
            return None  # by the scale as it is computed
        rows = rows_of(builder, node, sizes, width)
        return None if rows is None else _row_rounding(known, node, rows)
    grid = quant_grid(node, scale, zero, bits, None if sizes is None else len(sizes))
    return _rounding(known, node, grid, coded=False)


def _bipolar(known: "Quantization", builder: "Builder", node: Node) -> Layer | None:
    scale, sizes = builder.constant(node, 1), known.sizes.get(node.outputs[0])
    if scale is None:
        return None
    return _rounding(known, node, bipolar_grid(node, scale, None if sizes is None else len(sizes)), coded=False)


def _dynamic(known: "Quantization", builder: "Builder", node: Node) -> Layer | None:
    """Codes that only products of integers by constants read; None where others see them."""
    if not all(_only_products(builder, name) for name in (node.outputs[0], *node.outputs[2:3]) if name):
        return None
    if len(node.outputs) > 1 and not only_read_by(builder, node.outputs[1], ("Mul",)):
        return None
    known.dynamic.add(node.outputs[0])
    known.tensors += 1
    return Layer(module=DynamicRounding(known.switched()), inputs=node.inputs, outputs=node.outputs)


def _only_products(builder: "Builder", name: str) -> bool:
    """Whether a value is read by products of integers by constants alone."""
    if not only_read_by(builder, name, ("MatMulInteger", "ConvInteger")):
        return False
    return all(by_constant(builder, builder.nodes[index]) for index in builder.all_readers.get(name, ()))


def _whole(known: "Quantization", builder: "Builder", node: Node) -> Layer | None:
    """A product by a constant of the codes that a DynamicQuantizeLinear made; None for any other."""
    if node.inputs[0] not in known.dynamic:
        return None
    codes, zero = builder.constant(node, 1), builder.constant(node, 3)
    assert codes is not None
    signed = known.widths.get(node.inputs[1], (8, codes.dtype == torch.int8))[1]
    zeros = torch.zeros((), dtype=torch.int32) if zero is None else zero.to(torch.int32)
    first = node.op == "ConvInteger"
    shape = (-1, *[1] * (codes.dim() - 1)) if first else (-1,)
    centred = (codes.to(torch.int32) - (zeros.reshape(shape) if zeros.numel() > 1 else zeros.reshape(()))).float()
    product: torch.nn.Module
    if first:
        weight, product = centred, layers.convolution(node, centred, None)
    else:
        weight = centred.t().contiguous()
        product = layers.linear(layers.parameter(weight), None)
    grid = Grid(
        scale=torch.ones(zeros.reshape(-1).shape) if zeros.numel() > 1 else ONE,
        zero=zeros.reshape(-1) if zeros.numel() > 1 else zeros.reshape(()),
        bits=8,
        signed=signed,
        axis=None if zeros.numel() == 1 else 0,
    )
    known.below["product"] = SiteGrids(x=CODES, w=grid)
    inputs = (node.inputs[0], *node.inputs[2:3])
    module = WholeProduct(node, product, weight)
    return Layer(module=module, inputs=inputs, outputs=node.outputs, weight=node.inputs[1])


def _cells(known: "Quantization", builder: "Builder", node: Node) -> Layer:
    layer, known.below = coded_cells(builder, node, known.switched())
    known.tensors += 1
    return layer


def _blocks(known: "Quantization", builder: "Builder", node: Node) -> Layer:
    layer, known.below[""] = blocks_of(builder, node)
    return layer


MAKERS: dict[tuple[str, str], Callable[["Quantization", "Builder", Node], Layer | None]] = {
    ("", "Add"): _sum,
    ("", "Softmax"): _softmax,
    ("", "QuantizeLinear"): _quantize,
    ("", "DequantizeLinear"): _dequantize,
    ("", "DynamicQuantizeLinear"): _dynamic,
    ("", "MatMulInteger"): _whole,
    ("", "ConvInteger"): _whole,
    (MICROSOFT, LSTM): _cells,
    (MICROSOFT, BLOCKS): _blocks,
    **{(domain, name): _quant for domain in QONNX for name in QUANTIZERS},
    **{(domain, BIPOLAR_QUANT): _bipolar for domain in QONNX},
}
