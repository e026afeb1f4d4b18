"""Which regions are sensitive: a mean filter over |codes|, against a threshold.

Sources: DRQ (Song et al., ISCA 2020), abstract and secondary descriptions: the feature map of each channel is cut into
regions; where the mean of a region is at least the threshold it is sensitive and multiplied as 8 by 8 bits; elsewhere
both operands drop their low-order bits until 4 are left. Ours: rounding to nearest, ties to even, saturating; and for
tokens, blocks of neighbouring elements instead of pixels.
"""

from __future__ import annotations

import dataclasses

from bitwright.formats import Quantized
from bitwright.later import functional as F
from bitwright.later import torch
from bitwright.methods.classes import NARROW_BITS

WIDE = -1


def narrow_images(x: Quantized, threshold: float, region: int, *, spatial: int = 2) -> Quantized:
    """x [..., *size, channels] with narrow codes in the regions whose mean |code| is below `threshold`.

    Regions lie along the last two of the `spatial` axes, in each channel by itself.
    """
    size = (x.codes.float() - x.zero_point).abs().movedim(-1, -1 - spatial)
    size = size.unsqueeze(-2) if spatial == 1 else size
    planes = size.reshape(-1, 1, *size.shape[-2:])
    means = F.avg_pool2d(planes, region, ceil_mode=True)  # exact: at most 64 codes of 8 bits; edges count what is there
    low = means < threshold
    spread = low.repeat_interleave(region, 2).repeat_interleave(region, 3)[..., : size.shape[-2], : size.shape[-1]]
    spread = spread.reshape(size.shape)
    spread = (spread.squeeze(-2) if spatial == 1 else spread).movedim(-1 - spatial, -1)
    shifts = torch.where(spread, low_bits(x), WIDE).to(torch.int8)
    return dataclasses.replace(x, codes=torch.where(spread, dropped(x), x.codes), shifts=shifts)


def narrow_rows(x: Quantized, threshold: float, block: int) -> Quantized:
    """x [..., rows, K] likewise, by equal blocks of at most `block` elements of a row."""
    length = x.codes.shape[-1]
    blocks = -(-length // block)
    size = -(-length // blocks)
    padded = F.pad((x.codes.float() - x.zero_point).abs(), (0, blocks * size - length)).unflatten(-1, (blocks, size))
    counts = torch.full((blocks,), float(size), device=x.codes.device)
    counts[-1] = length - (blocks - 1) * size
    low = padded.sum(-1) < threshold * counts
    spread = low.repeat_interleave(size, -1)[..., :length]
    shifts = torch.where(low, low_bits(x), WIDE).to(torch.int8)
    return dataclasses.replace(x, codes=torch.where(spread, dropped(x), x.codes), shifts=shifts)


def low_bits(operand: Quantized) -> int:
    """How many bits an operand has to drop until 4 are left."""
    return max(0, operand.format.bits - NARROW_BITS)


def dropped(operand: Quantized) -> torch.Tensor:
    """Codes of the operand without `low_bits`: u * 2**bits beside the zero point, u saturating at 4 bits."""
    if not low_bits(operand):
        return operand.codes
    fmt, zero_point = operand.integer, operand.zero_point
    signed = fmt.signed or zero_point > fmt.low
    low, high = (-7, 7) if signed else (0, 15)
    step = 1 << low_bits(operand)
    low, high = max(low, -((zero_point - fmt.low) // step)), min(high, (fmt.high - zero_point) // step)
    u = ((operand.codes.float() - zero_point) / step).round().clamp(low, high)
    return (u * step + zero_point).to(operand.codes.dtype)


def narrow_elements(x: Quantized) -> torch.Tensor:
    """Which elements of x are narrow, bool of the shape of its codes."""
    assert x.shifts is not None
    narrow = x.shifts >= 0
    length, blocks = x.codes.shape[-1], narrow.shape[-1]
    return narrow.repeat_interleave(-(-length // blocks), -1)[..., :length]
