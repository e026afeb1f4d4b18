"""Grids of a quantized file: real = scale * (code - zero point), per tensor, per channel of an axis, or per block.

QuantizeLinear: code = saturate(round half to even(x / scale) + zero point); DequantizeLinear is the line above (ONNX,
opsets 10 to 23); QONNX's Quant adds the zero point before it rounds. Codes that flow through a graph are carried as the
reals that they stand for: what only moves elements needs no other form, and what multiplies them is a site, which makes
codes of its own again, the very same.
"""

import dataclasses
import math
from collections.abc import Mapping

import torch

from bitwright.networks.onnx.node import Node, axis_of
from bitwright.networks.onnx.quantization.roundings import HALF_EVEN, ROUNDINGS

QUANTIZED = "onnx_quantized"
"""The tool of a network that holds a `QuantizedFile`."""
SWITCH = "quantization"
"""The path of the module whose parameter `as_written` says whether activations are rounded as the file says."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """Where the codes of a tensor lie on the real axis.

    Attributes
    ----------
    scale : torch.Tensor
        float32: one, one per channel of `axis`, or with `block` one per block along it, in the tensor's rank; where
        there is no axis and several scales, these have the tensor's rank and are spread over it.
    zero : torch.Tensor
        int32, of the same shape.
    bits : int
        Of a code.
    signed : bool
        Whether codes are in two's complement.
    narrow : bool
        Whether the most negative code is left out.
    axis : int or None
        Of the channels, or of the blocks.
    block : int
        Elements of a block; 0: there are none.
    dropped : int
        Lowest bits that codes do not have: they are rounded down to multiples of 2^dropped.
    zero_first : bool
        Whether the zero point is added before reals are rounded: halves go to the even code, not to the even multiple.
    rounding : str
        How reals are rounded (`bitwright.networks.onnx.quantization.roundings`).
    """

    scale: torch.Tensor
    zero: torch.Tensor
    bits: int
    signed: bool
    narrow: bool = False
    axis: int | None = None
    block: int = 0
    dropped: int = 0
    zero_first: bool = False
    rounding: str = HALF_EVEN

    @property
    def low(self) -> int:
        """The smallest code."""
        return -(2 ** (self.bits - 1)) + int(self.narrow) if self.signed else 0

    @property
    def high(self) -> int:
        """The largest code."""
        return int(2 ** (self.bits - int(self.signed))) - 1 - int(self.narrow and not self.signed)

    @property
    def per_tensor(self) -> bool:
        """Whether there is one scale alone."""
        return self.scale.numel() == 1

    def turned(self) -> "Grid":
        """The grid of a matrix whose axes change places."""
        if self.per_tensor:
            return self
        if self.axis is None:
            return dataclasses.replace(self, scale=self.scale.transpose(-1, -2), zero=self.zero.transpose(-1, -2))
        if not self.block:
            return dataclasses.replace(self, axis=1 - self.axis)
        return dataclasses.replace(self, axis=1 - self.axis, scale=self.scale.t(), zero=self.zero.t())

    def equals(self, other: "Grid") -> bool:
        """Whether codes mean the same on both."""
        own, others = ((each.bits, each.signed, each.axis, each.block, each.dropped) for each in (self, other))
        return own == others and torch.equal(self.scale, other.scale) and torch.equal(self.zero, other.zero)

    def spread(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scale and zero point, broadcastable to x."""
        if self.per_tensor:
            return self.scale.reshape(()).to(x.device), self.zero.reshape(()).to(x.device)
        if self.axis is None:
            return self.scale.to(x.device), self.zero.to(x.device)
        if self.block:
            length = x.shape[self.axis]
            parts = (
                each.to(x.device).repeat_interleave(self.block, self.axis).narrow(self.axis, 0, length)
                for each in (self.scale, self.zero)
            )
            return next(parts), next(parts)
        shape = [-1 if axis == self.axis else 1 for axis in range(x.dim())]
        return self.scale.to(x.device).reshape(shape), self.zero.to(x.device).reshape(shape)

    def codes(self, x: torch.Tensor) -> torch.Tensor:
        """The codes of reals, as integers carried in float32."""
        scale, zero = self.spread(x)
        rounded = ROUNDINGS[self.rounding]
        codes = rounded(x / scale + zero) if self.zero_first else rounded(x / scale) + zero
        codes = codes.clamp(self.low, self.high)
        return codes if not self.dropped else (codes / 2**self.dropped).floor() * 2**self.dropped

    def reals(self, codes: torch.Tensor) -> torch.Tensor:
        """What codes stand for, in float32."""
        scale, zero = self.spread(codes)
        return (codes.to(torch.int32) - zero).to(torch.float32) * scale


CODES = Grid(scale=torch.ones(()), zero=torch.zeros((), dtype=torch.int32), bits=8, signed=False)
"""Of what a DynamicQuantizeLinear makes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rows:
    """Codes of rows whose scales are computed as the network runs: max |x| by the largest code, or 1 for zeros.

    Attributes
    ----------
    bits : int
        Of a code; zero is the code 0.
    signed : bool
        Whether codes are in two's complement.
    count, length : int
        Rows that have a scale each, and elements of one.
    sizes : tuple of int
        Of the tensor as it lies now.
    axis : int
        Along which the elements of a row lie; with those behind it, where a row is a whole image.
    """

    bits: int
    signed: bool
    count: int
    length: int
    sizes: tuple[int, ...]
    axis: int

    @property
    def images(self) -> bool:
        """Whether a row is one element of the first axis, whole."""
        return self.sizes[0] == self.count and math.prod(self.sizes[1:]) == self.length


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SiteGrids:
    """The grids of one product: of both operands, of what its output is rounded to at once, and of its bias.

    Attributes
    ----------
    x, w : Grid, Rows or None
        As the node's operands are called, of which the second has the reduction along its last axis; None: float.
    y : Grid or None
        Where nothing but a QuantizeLinear reads the output.
    weight_first : bool
        Whether the constant is the first operand.
    whole_bias : bool
        Whether the bias is none, or of integers in units of scale x times scale w, so that it joins the sums.
    """

    x: Grid | Rows | None
    w: Grid | Rows | None
    y: Grid | None = None
    weight_first: bool = False
    whole_bias: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class QuantizedFile:
    """What a file says of its products and its tensors: by the path of the module that multiplies.

    Attributes
    ----------
    sites : mapping
        Path -> grids.
    tensors : int
        QuantizeLinear nodes, and the like, that round tensors as the network runs.
    notes : tuple of str
        What is not read as the file says it.
    loose_rows : bool
        Whether anything but a product reads what is rounded by scales of its rows.
    """

    sites: Mapping[str, SiteGrids]
    tensors: int
    notes: tuple[str, ...] = ()
    loose_rows: bool = False


def grid_of(
    node: Node, scale: torch.Tensor, zero: torch.Tensor | None, width: tuple[int, bool], rank: int | None
) -> Grid:
    """The grid that a QuantizeLinear or DequantizeLinear states.

    Parameters
    ----------
    node : Node
        Its axis (1, from opset 13) and block size.
    scale, zero : torch.Tensor and torch.Tensor or None
        As the file has them.
    width : tuple of int and bool
        Bits, and whether codes are signed.
    rank : int or None
        Of the tensor; None where it is not known.
    """
    if not bool((scale > 0).all()) or not bool(scale.isfinite().all()):
        raise node.refusal("has a scale that is no number above 0")
    zero = torch.zeros(scale.shape, dtype=torch.int32) if zero is None else zero.to(torch.int32)
    if zero.numel() != scale.numel():
        raise node.refusal(f"has {scale.numel()} scales and {zero.numel()} zero points")
    bits, signed = width
    if scale.numel() == 1:
        return Grid(scale=scale.float().reshape(()), zero=zero.reshape(()), bits=bits, signed=signed)
    axis, block = int(node.number("axis", 1)), int(node.number("block_size", 0))
    if rank is None and axis < 0:
        raise node.refusal("counts its axis from the end of a tensor whose axes are not known")
    axis = axis if rank is None else axis_of(node, axis, rank)
    if scale.dim() != 1 and not block:
        raise node.refusal(f"has scales {list(scale.shape)} and no blocks")
    return Grid(scale=scale.float(), zero=zero, bits=bits, signed=signed, axis=axis, block=block)
