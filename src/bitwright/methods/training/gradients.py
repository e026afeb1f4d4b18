"""Gradients through rounding: learned step sizes (LSQ, Esser et al., ICLR 2020) for operands and for partial sums.

A quantizer s * clip(round(x / s)) passes gradients of x straight through inside its range and nothing outside; its own
scale s gets round(x / s) - x / s inside and the end of the range outside. Scales are learned in logarithms, and Adam
takes the place of LSQ's gradient scale (our choices). Partial sums are quantized many times on the way; gradients of
the operands pass all of these quantizers straight through, as if products had been added exactly (our choice: saturated
sums are few), gradients of their scales follow the schedule backwards, saturation included.
"""

import math
from typing import Any

import torch

from bitwright.formats import Integer


class Codes(torch.autograd.Function):
    """Centred codes of x, as floats, by a scale whose logarithm learns."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, log_scale: torch.Tensor, zero_point: int, fmt: Integer) -> torch.Tensor:
        """clip(round(x / s) + zero_point) - zero_point, without the bits that the format drops."""
        scaled = x / log_scale.exp()
        ctx.save_for_backward(scaled, log_scale)
        ctx.limits = fmt.low - zero_point, fmt.high - zero_point
        return fmt.encode(scaled, zero_point) - zero_point

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        """Straight through inside the range; d round(x / s) / d log s = -x / s there."""
        scaled, log_scale = ctx.saved_tensors
        low, high = ctx.limits
        inside = gradient * ((scaled >= low - 0.5) & (scaled <= high + 0.5))
        of_scale = -(inside * scaled).sum_to_size(log_scale.shape)
        return inside / log_scale.exp(), of_scale, None, None


class PartialSumScales(torch.autograd.Function):
    """Sums as they are; backwards, what the logarithms of the scales of their steps get."""

    @staticmethod
    def forward(
        ctx: Any, sums: torch.Tensor, tile_logs: torch.Tensor, sum_logs: torch.Tensor, product: Any
    ) -> torch.Tensor:
        """`product` is asked for the gradients of the scales that it used."""
        ctx.product, ctx.tiles, ctx.sums = product, len(tile_logs), len(sum_logs)
        return sums.view_as(sums)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        """d / d log2 a = a ln 2 d / d a."""
        tile, total = ctx.product.scale_gradients(gradient)
        return gradient, tile * math.log(2), total * math.log(2), None
