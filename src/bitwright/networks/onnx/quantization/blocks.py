"""onnxruntime's MatMulNBits: x by a constant matrix, whose codes of 4 or 8 bits lie in blocks with a scale each."""

from typing import TYPE_CHECKING

import torch

from bitwright.networks.onnx import layers
from bitwright.networks.onnx.layer import Layer
from bitwright.networks.onnx.node import Node
from bitwright.networks.onnx.quantization.grids import Grid, SiteGrids

if TYPE_CHECKING:
    from bitwright.networks.onnx.build import Builder

BLOCKS = "MatMulNBits"
PACKED, SCALES, ZEROS, ORDER, BIAS = range(1, 6)
"""Inputs behind x."""


def blocks_of(builder: "Builder", node: Node) -> tuple[Layer, SiteGrids]:
    """The layer of a MatMulNBits, and the grid of its weight [N, K].

    Raises
    ------
    InputError
        Weights that are computed, or a form that is not read.
    """
    n, k, bits, block = (int(node.number(name)) for name in ("N", "K", "bits", "block_size"))
    packed, scales, zeros, bias = (builder.constant(node, place) for place in (PACKED, SCALES, ZEROS, BIAS))
    computed = (zeros is None and builder.has(node, ZEROS)) or (bias is None and builder.has(node, BIAS))
    if packed is None or scales is None or computed:
        raise node.refusal("has weights that are computed, which is not supported")
    if bits not in (4, 8) or builder.has(node, ORDER) or k % block:
        raise node.refusal(f"has codes of {bits} bits in blocks of {block}, in an order that is not read")
    count = k // block
    scale = scales.float().reshape(n, count)
    if zeros is None:
        zero = torch.full((n, count), 2 ** (bits - 1), dtype=torch.int32)
    elif zeros.is_floating_point():
        raise node.refusal("has zero points that are no codes, which is not supported")
    else:
        zero = _unpacked(zeros.reshape(n, -1), bits)[:, :count]
    codes = _unpacked(packed.reshape(n, -1), bits)[:, :k]
    grid = Grid(scale=scale, zero=zero, bits=bits, signed=False, axis=1, block=block)
    module = layers.linear(layers.parameter(grid.reals(codes).to(scales.dtype)), bias)
    layer = Layer(module=module, inputs=node.inputs[:1], outputs=node.outputs, weight=node.inputs[PACKED])
    return layer, SiteGrids(x=None, w=grid, whole_bias=False)


def _unpacked(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Codes of a row of bytes; of two in a byte the lower half is the first."""
    whole = codes.to(torch.int32)
    return whole if bits == 8 else torch.stack((whole & 15, whole >> 4), -1).flatten(1)
