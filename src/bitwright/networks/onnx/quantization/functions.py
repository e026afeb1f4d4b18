"""QuantizeLinear, DequantizeLinear and QONNX's Quant of constants, computed when a file is read."""

from typing import Any

import torch

from bitwright.networks.onnx.node import Node, Value
from bitwright.networks.onnx.operators.table import QONNX
from bitwright.networks.onnx.quantization.grids import Grid, grid_of
from bitwright.networks.onnx.types import INTEGERS

WIDTHS: dict[torch.dtype, tuple[int, bool]] = {
    torch.uint8: (8, False), torch.int8: (8, True), torch.int16: (16, True), torch.int32: (32, True),
}  # fmt: skip
QUANT = ("ROUND", "FLOOR", "CEIL", "ROUND_TO_ZERO")


def quantize(node: Node, x: torch.Tensor, scale: torch.Tensor, zero: Value = None) -> torch.Tensor:
    """The codes of constants."""
    grid = grid_of(node, scale, zero, width_of(node, zero), x.dim())
    kind = torch.int32 if grid.bits > 8 else torch.int8 if grid.signed else torch.uint8
    return grid.codes(x.float()).to(kind)


def dequantize(node: Node, codes: torch.Tensor, scale: torch.Tensor, zero: Value = None) -> torch.Tensor:
    """The reals of constant codes."""
    return grid_of(node, scale, zero, width_of(node, zero), codes.dim()).reals(codes).to(scale.dtype)


def width_of(node: Node, zero: Value) -> tuple[int, bool]:
    """Bits and sign of codes, by the type of the zero point as the file has it, or the attribute of opset 21."""
    stated = node.attributes.get("width")
    if stated is not None:
        return tuple(stated)
    kind = int(node.number("output_dtype", 0))
    if kind:
        if kind not in INTEGERS:
            raise node.refusal(f"makes numbers of ONNX's type {kind}, which are no integers that are read")
        return INTEGERS[kind]
    return (8, False) if zero is None else WIDTHS.get(zero.dtype, (8, False))


def quant(node: Node, x: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
    """QONNX's Quant of constants: reals on a grid of any width."""
    grid = quant_grid(node, scale, zero, bits, x)
    return grid.reals(grid.codes(x.float()))


def quant_grid(node: Node, scale: torch.Tensor, zero: torch.Tensor, bits: torch.Tensor, x: Value) -> Grid:
    """The grid of a Quant: scales broadcast to the tensor along one axis at most."""
    if node.text("rounding_mode", "ROUND").upper() != "ROUND":
        raise node.refusal(f"rounds by {node.text('rounding_mode', '')}; only ROUND (half to even) is supported")
    width, signed = int(bits.reshape(-1)[0]), bool(node.number("signed", 1))
    if bits.numel() != 1 or float(bits.reshape(-1)[0]) != width or not 2 <= width <= 16:
        raise node.refusal(f"has {bits.reshape(-1)[0].item()} bits; whole numbers from 2 to 16 are supported")
    axes = [axis for axis, length in enumerate(scale.shape) if length > 1]
    if len(axes) > 1 or (axes and x is None):
        raise node.refusal(f"has scales {list(scale.shape)}, which is not supported")
    rank = 0 if x is None else x.dim()
    axis = None if not axes else axes[0] + rank - scale.dim()
    zeros = zero.round().to(torch.int32).expand(scale.shape)
    flat = () if axis is None else (-1,)
    if not bool((scale > 0).all()):
        raise node.refusal("has a scale that is not above 0")
    return Grid(
        scale=scale.float().reshape(flat),
        zero=zeros.reshape(flat),
        bits=width,
        signed=signed,
        narrow=bool(node.number("narrow", 0)),
        axis=axis,
    )


FUNCTIONS: dict[tuple[str, str], Any] = {
    ("", "QuantizeLinear"): quantize,
    ("", "DequantizeLinear"): dequantize,
    **{(domain, "Quant"): quant for domain in QONNX},
}
