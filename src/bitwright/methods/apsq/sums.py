"""Sums of products whose partial sums are quantized: the fused kernels on a CPU, a loop over tiles in torch elsewhere.

Integers are carried in float32 below 2^23 and in float64 above, one bit less than they hold, because rounding adds a
half. Which one is decided by a bound that is checked. Twin: `bitwright.methods.apsq.reference`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from bitwright.errors import InputError
from bitwright.formats import Quantized, Rounding, Saturation
from bitwright.methods.apsq.layouts import operands, output, padded
from bitwright.methods.apsq.rule import Kind, PartialSums
from bitwright.methods.kernels import use_torch_threads
from bitwright.methods.products import accumulator_bound, reduction_length
from bitwright.networks.calls import Call

FLOAT32_LIMIT = 2**23
ACCUMULATOR_BITS = 32
CHUNK = 8
ROWS = 2**18  # elements of a sum that the loop in torch works on at once, so that they stay in the cache

Multiply = Callable[[torch.Tensor, torch.Tensor, int, PartialSums, torch.dtype], torch.Tensor]


def sums(call: Call, x: Quantized, w: Quantized, rule: PartialSums) -> torch.Tensor:
    """Sums of products of centred codes in the call's output layout: integers carried in float32 or float64.

    Raises
    ------
    InputError
        If the accumulator of 32 bits that adds a tile to what is stored could overflow, or there are no scales.
    """
    k = reduction_length(call)
    bound = largest_sum(rule, k, accumulator_bound(rule.tile, x, w), accumulator_bound(k, x, w))
    if bound >= 2 ** (ACCUMULATOR_BITS - 1):
        raise InputError(
            f"a tile of {rule.tile} products of {x.format.name} by {w.format.name} and what is stored could add up to "
            f"{bound}, which overflows an accumulator of 32 bits; use fewer partial-sum bits, narrower operands or "
            "another tile"
        )
    grown = bound * (1 + 1 / rule.high) ** rule.tiles(k) if rule.kind is Kind.BLOCK else bound
    multiply = fused if x.codes.device.type == "cpu" and rule.saturation is Saturation.CLIP else looped
    return _each(call, x, w, rule, torch.float32 if grown < FLOAT32_LIMIT else torch.float64, multiply)


def fast_sums(call: Call, x: Quantized, w: Quantized, rule: PartialSums) -> torch.Tensor:
    """The same, tile by tile in float32 with torch."""
    return _each(call, x, w, rule, torch.float32, looped)


def largest_sum(rule: PartialSums, k: int, tile_bound: int, sum_bound: int) -> int:
    """The largest integer that the accumulator can hold: a tile's sum and everything stored.

    The lesser of two bounds: registers give back at most their largest integer by their scale; and quantizing moves a
    value by at most its scale. The sum of a `block` rule is taken as exact: its scales are known at run time only.
    """
    if rule.kind is Kind.BLOCK:
        return sum_bound
    tiles = rule.tiles(k)
    scales = rule.scales(tiles).astype(np.float64)
    stored, largest = 0.0, float(tile_bound)
    for step, most in zip(rule.additive(tiles), scales * 2.0 ** (rule.bits - 1), strict=True):
        largest = max(largest, tile_bound + (stored if step else 0.0))
        stored = most if step else stored + most
    limited, moved = int(max(largest, stored)), sum_bound + int(scales.sum())
    wraps = rule.saturation is Saturation.WRAP and moved > rule.high * scales.min()  # to anywhere
    return limited if wraps else min(limited, moved)


def _each(
    call: Call, x: Quantized, w: Quantized, rule: PartialSums, dtype: torch.dtype, multiply: Multiply
) -> torch.Tensor:
    parts = []
    for each in operands(call, x, w):
        if each.depthwise and rule.kind is Kind.BLOCK:
            multiply = looped  # a column of its own for each channel: blocks of one, which no kernel is worth
        k_axis = 0 if each.depthwise else 1
        chunk = CHUNK if multiply is fused else 1
        weights = padded(each.w.to(dtype), axis=k_axis, tile=rule.tile, chunk=chunk, value=0)
        blocks = [
            multiply(
                padded(rows, axis=1 if each.depthwise else 2, tile=rule.tile, chunk=chunk, value=x.zero_point),
                weights,
                x.zero_point,
                rule,
                dtype,
            )
            for rows in each.x
        ]
        parts.append(blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=-2))
    return output(call, x, w, parts)


def fused(x: torch.Tensor, w: torch.Tensor, zero_point: int, rule: PartialSums, dtype: torch.dtype) -> torch.Tensor:
    """Sums [groups, rows, n] or [rows, channels] by the kernels."""
    from bitwright.methods.apsq import kernels

    number = w.numpy().dtype.type
    half = number(0.5 if rule.rounding is Rounding.HALF_UP else 0)
    limits = half, number(rule.low), number(rule.high)
    width = -(-rule.tile // CHUNK) * CHUNK
    depthwise = w.dim() == 2
    shape = (len(x), w.shape[1]) if depthwise else (*x.shape[:2], w.shape[2])
    out = torch.empty(shape, dtype=dtype)
    codes, weights = x.numpy(), w.numpy()
    use_torch_threads()
    if rule.kind is Kind.BLOCK:
        kernels.blocks(codes, number(zero_point), weights, width, rule.block, *limits, out.numpy())
        return out
    tiles = w.shape[0 if depthwise else 1] // width
    scale, flags = rule.scales(tiles).astype(number), rule.additive(tiles)
    arguments: tuple[Any, ...] = (codes, number(zero_point), weights, scale, 1 / scale, flags, *limits, out.numpy())
    if depthwise:
        kernels.depthwise(*arguments)
    else:
        kernels.recurrence(*arguments)
    return out


def looped(x: torch.Tensor, w: torch.Tensor, zero_point: int, rule: PartialSums, dtype: torch.dtype) -> torch.Tensor:
    """The same with torch's operators, a tile at a time."""
    if w.dim() == 2:  # one column per channel: groups of their own
        return looped(x.permute(2, 0, 1), w.t().unsqueeze(-1), zero_point, rule, dtype).squeeze(-1).t()
    rows = max(1, ROWS // (w.shape[0] * w.shape[2]))
    return torch.cat([_loop(part, w, zero_point, rule, dtype) for part in x.split(rows, dim=1)], dim=1)


def _loop(x: torch.Tensor, w: torch.Tensor, zero_point: int, rule: PartialSums, dtype: torch.dtype) -> torch.Tensor:
    tiles = w.shape[1] // rule.tile
    centred = x.to(dtype) - zero_point
    stored = torch.zeros(x.shape[0], x.shape[1], w.shape[2], dtype=dtype, device=x.device)
    additive = rule.additive(tiles)
    scales = None if rule.kind is Kind.BLOCK else rule.scales(tiles)
    for i in range(tiles):
        part = slice(i * rule.tile, (i + 1) * rule.tile)
        total = torch.matmul(centred[..., part], w[:, part])
        if additive[i]:
            total += stored
        scale = block_scales(total, rule) if scales is None else float(scales[i])
        kept = quantized(total, scale, rule)
        stored = kept if additive[i] else stored.add_(kept)
    return stored


def quantized(v: torch.Tensor, scale: torch.Tensor | float, rule: PartialSums) -> torch.Tensor:
    """a Q(v; a), v and the result integers carried in floats."""
    shifted = v / scale
    rounded = (shifted + 0.5).floor() if rule.rounding is Rounding.HALF_UP else shifted.floor()
    if rule.saturation is Saturation.WRAP and rule.bits < ACCUMULATOR_BITS:  # wider sums are refused, none wraps
        rounded = torch.remainder(rounded - rule.low, 2.0**rule.bits) + rule.low
    else:
        rounded = rounded.clamp(rule.low, rule.high)
    return rounded * scale


def block_scales(v: torch.Tensor, rule: PartialSums) -> torch.Tensor:
    """The smallest power of two, at least 1, by which each block of columns of v [.., n] fits; broadcast to v."""
    n = v.shape[-1]
    blocks = torch.nn.functional.pad(v.abs(), (0, -n % rule.block)).unflatten(-1, (-1, rule.block)).amax(-1)
    mantissa, exponent = torch.frexp((blocks / rule.high).clamp_min(1))
    scale = torch.ldexp(torch.ones_like(blocks), exponent - (mantissa == 0.5).to(exponent.dtype))
    return scale.repeat_interleave(rule.block, dim=-1)[..., :n]
