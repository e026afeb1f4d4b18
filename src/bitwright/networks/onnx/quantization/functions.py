"""Operators on codes as they are written: of constants when a file is read, and of scales that are computed.

What has constant scales is a module of its own (`bitwright.networks.onnx.quantization.reading`).
"""

from typing import Any

import torch

from bitwright.networks.onnx.node import Node, Value
from bitwright.networks.onnx.operators.products import convolution
from bitwright.networks.onnx.operators.table import QONNX
from bitwright.networks.onnx.quantization.grids import Grid, grid_of
from bitwright.networks.onnx.quantization.roundings import BIPOLAR, rounding_of
from bitwright.networks.onnx.types import INTEGERS

WIDTHS: dict[torch.dtype, tuple[int, bool]] = {
    torch.uint8: (8, False), torch.int8: (8, True), torch.uint16: (16, False), torch.int16: (16, True),
    torch.int32: (32, True),
}  # fmt: skip
KINDS = {width: kind for kind, width in WIDTHS.items()}
QUANTIZERS, BIPOLAR_QUANT = ("Quant", "IntQuant"), "BipolarQuant"
"""QONNX's operators; IntQuant is what Quant is called since version 1.0 of the package."""


def quantize(node: Node, x: torch.Tensor, scale: torch.Tensor, zero: Value = None) -> torch.Tensor:
    """The codes of reals; those of fewer than 8 bits are carried in 8."""
    width = width_of(node, zero)
    grid = grid_of(node, scale, zero, width, x.dim())
    return grid.codes(x.float()).to(KINDS.get(width, torch.int8 if grid.signed else torch.uint8))


def dequantize(node: Node, codes: torch.Tensor, scale: torch.Tensor, zero: Value = None) -> torch.Tensor:
    """The reals of codes."""
    return grid_of(node, scale, zero, width_of(node, zero, codes), codes.dim()).reals(codes).to(scale.dtype)


def width_of(node: Node, zero: Value, codes: Value = None) -> tuple[int, bool]:
    """Bits and sign of codes, by the type of the zero point as the file has it, opset 21's attribute, or their own."""
    stated = node.attributes.get("width")
    if stated is not None:
        return tuple(stated)
    kind = int(node.number("output_dtype", 0))
    if kind:
        if kind not in INTEGERS:
            raise node.refusal(f"makes numbers of ONNX's type {kind}, which are no integers that are read")
        return INTEGERS[kind]
    typed = codes if zero is None else zero
    return (8, False) if typed is None else WIDTHS.get(typed.dtype, (8, False))


def quant(node: Node, x: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
    """QONNX's Quant of constants: reals on a grid of any width."""
    grid = quant_grid(node, scale, zero, bits, x.dim())
    return grid.reals(grid.codes(x.float()))


def quant_width(node: Node, bits: torch.Tensor) -> tuple[int, bool]:
    """Bits and sign of a Quant's codes; signed ones of 1 bit are -1 and 1."""
    width, signed = int(bits.reshape(-1)[0]), bool(node.number("signed", 1))
    if bits.numel() != 1 or float(bits.reshape(-1)[0]) != width or not 2 - int(signed) <= width <= 16:
        raise node.refusal(
            f"has {bits.reshape(-1)[0].item()} bits; whole numbers from 2 (signed: 1) to 16 are supported"
        )
    return width, signed


def quant_grid(node: Node, scale: torch.Tensor, zero: torch.Tensor, bits: torch.Tensor, rank: int | None) -> Grid:
    """The grid of a Quant of a tensor with `rank` axes; without, several scales are spread over their own."""
    width, signed = quant_width(node, bits)
    axes = [axis for axis, length in enumerate(scale.shape) if length > 1]
    one = len(axes) == 1 and rank is not None and rank >= scale.dim()
    axis = axes[0] + rank - scale.dim() if one and rank is not None else None
    if not torch.equal(zero, zero.round()):
        raise node.refusal("has a zero point that is no whole number, which is not supported")
    zeros = zero.to(torch.int32).expand(scale.shape)
    flat = (-1,) if one else () if not axes else tuple(scale.shape)
    if not bool((scale > 0).all()):
        raise node.refusal("has a scale that is not above 0")
    bipolar = width == 1
    return Grid(
        scale=scale.float().reshape(flat),
        zero=zeros.reshape(flat),
        bits=2 if bipolar else width,
        signed=signed,
        narrow=bipolar or bool(node.number("narrow", 0)),
        axis=axis,
        zero_first=True,
        rounding=BIPOLAR if bipolar else rounding_of(node),
    )


def bipolar_quant(node: Node, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """QONNX's BipolarQuant of constants: -scale of what is below 0, scale of all else."""
    grid = bipolar_grid(node, scale, x.dim())
    return grid.reals(grid.codes(x.float()))


def bipolar_grid(node: Node, scale: torch.Tensor, rank: int | None) -> Grid:
    """The grid of a BipolarQuant: codes -1 and 1, which are held in two bits, two of whose four are unused."""
    return quant_grid(node, scale, torch.zeros(()), torch.ones(()), rank)


def dynamic_quantize(node: Node, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # noqa: ARG001
    """Unsigned codes of 8 bits by the range of x, which includes 0; their scale and zero point."""
    low, high = x.amin().clamp(max=0), x.amax().clamp(min=0)
    scale = (high - low) / 255
    by = torch.where(scale == 0, 1.0, scale)
    zero = torch.clamp(torch.round((0 - low) / by), 0, 255)
    codes = (torch.round(x / by) + zero).clamp(0, 255)
    return codes.to(torch.uint8), scale, zero.to(torch.uint8)


def whole_matmul(
    node: Node,  # noqa: ARG001
    a: torch.Tensor,
    b: torch.Tensor,
    of_a: Value = None,
    of_b: Value = None,
) -> torch.Tensor:
    """Sums of products of codes less their zero points; those of A are one or one a row, of B one or one a column.

    Of matrices they are vectors, of stacks of matrices they have as many axes: [..., M, 1] and [..., 1, N].
    """
    a = a.double() if of_a is None else a.double() - (of_a.double().unsqueeze(-1) if of_a.dim() == 1 else of_a.double())
    b = b.double() if of_b is None else b.double() - of_b.double()
    return torch.matmul(a, b).to(torch.int32)


def whole_convolution(
    node: Node, x: torch.Tensor, w: torch.Tensor, of_x: Value = None, of_w: Value = None
) -> torch.Tensor:
    """The same of a convolution, where zero points of filters are one, or one each."""
    x = x.double() if of_x is None else x.double() - of_x.double().reshape(())
    if of_w is not None:
        w = w.double() - of_w.double().reshape(-1, *[1] * (w.dim() - 1))
    return convolution(node, x, w.double()).to(torch.int32)


FUNCTIONS: dict[tuple[str, str], Any] = {
    ("", "QuantizeLinear"): quantize,
    ("", "DequantizeLinear"): dequantize,
    ("", "DynamicQuantizeLinear"): dynamic_quantize,
    ("", "MatMulInteger"): whole_matmul,
    ("", "ConvInteger"): whole_convolution,
    **{(domain, name): quant for domain in QONNX for name in QUANTIZERS},
    **{(domain, BIPOLAR_QUANT): bipolar_quant for domain in QONNX},
}
