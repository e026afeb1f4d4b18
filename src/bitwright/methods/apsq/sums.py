"""Sums of products whose partial sums are quantized: the fused kernels on a CPU, a loop over tiles in torch elsewhere.

Integers are int32 below 2^30 where the processor multiplies bytes (`vnni`); else they are carried in float32 below 2^23
and in float64 above: one bit less than each holds, because rounding adds a half. A bound that is checked decides.
Twin: `bitwright.methods.apsq.reference`.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from bitwright.errors import InputError
from bitwright.formats import Quantized, Rounding, Saturation, largest_magnitude
from bitwright.formats.lookup_kernels import use_torch_threads
from bitwright.methods.apsq.rule import Kind, PartialSums
from bitwright.methods.layouts import Operands, operands, output, padded
from bitwright.methods.products import accumulator_bound, exact_float_kernels, integer_product, two_axes
from bitwright.networks import windows
from bitwright.networks.view import GemmView
from bitwright.words import counted

FLOAT32_LIMIT, INT32_LIMIT = 2**23, 2**30
ACCUMULATOR_BITS = 32
CHUNK = 8
ROWS = 2**18  # elements of a sum that the loop in torch works on at once, so that they stay in the cache

Multiply = Callable[[torch.Tensor], torch.Tensor]
"""From rows [groups, rows, k] to their sums [groups, rows, n]; depthwise, [rows, k, channels] to [rows, channels]."""
Engine = Callable[[torch.Tensor, torch.Tensor, PartialSums], Multiply]
"""What is prepared once of a product: w [groups, k, n] or [k, channels], and what x is centred on, without columns."""


def sums(view: GemmView, x: Quantized, w: Quantized, rule: PartialSums) -> torch.Tensor:
    """Sums of products of centred codes as y: int32, or integers carried in float32 or float64.

    Raises
    ------
    InputError
        If the accumulator of 32 bits that adds a tile to what is stored could overflow, there are no scales, or centres
        are not codes of x, one per channel.
    """
    k = view.k
    _check_centres(view, x, rule)
    bound = largest_sum(rule, k, *(_bound(length, x, w, rule) for length in (rule.tile, k)))
    if bound >= 2 ** (ACCUMULATOR_BITS - 1):
        raise InputError(
            f"a tile of {rule.tile} products of {x.format.name} by {w.format.name} and what is stored could add up to "
            f"{bound}, which overflows an accumulator of 32 bits; use fewer partial-sum bits, narrower operands or "
            "another tile"
        )
    if rule.kind is not Kind.BLOCK and rule.saturation is Saturation.CLIP and rule.tiles(k) == 1 and not w.zero_point:
        return _one_tile(view, x, w, rule)
    on_cpu = x.codes.device.type == "cpu" and rule.saturation is Saturation.CLIP
    if on_cpu and rule.kind is not Kind.BLOCK and _in_images(view, x, w, bound):
        return _depthwise(view, x, w, rule)
    if on_cpu and _multiplies_bytes(view, x, w, rule, bound):
        from bitwright.methods.apsq import vnni

        codes, moved = vnni.as_bytes(x, rule)
        return _each(view, codes, w, moved, vnni.fused)
    bits = math.log2(max(bound, 1))
    if rule.kind is Kind.BLOCK:  # each tile may round up what is stored by the largest code's share
        bits += rule.tiles(k) * math.log2(1 + 1 / rule.high)
    dtype = torch.float32 if bits < math.log2(FLOAT32_LIMIT) else torch.float64
    return _each(view, x, w, rule, functools.partial(fused if on_cpu else looped, dtype=dtype))


def _one_tile(view: GemmView, x: Quantized, w: Quantized, rule: PartialSums) -> torch.Tensor:
    """A reduction that is one tile: the exact product, stored once."""
    total = integer_product(view, x, w)
    fits = total.dtype == torch.int32 and _bound(view.k, x, w, rule) < INT32_LIMIT
    total = total if fits else total.double()
    moved = 0 if rule.centres is None or (view.lead and not view.spatial) else _moved(view, x, w, rule.centres)
    scale = int(rule.scales(1)[0])
    total -= moved
    if rule.rounding is Rounding.HALF_UP:
        total += scale // 2 if fits else scale / 2
    if fits:
        total >>= scale.bit_length() - 1
        total.clamp_(rule.low, rule.high)
        total <<= scale.bit_length() - 1
    else:
        total.div_(scale).floor_().clamp_(rule.low, rule.high).mul_(scale)
    total += moved
    return total


def _in_images(view: GemmView, x: Quantized, w: Quantized, bound: int) -> bool:
    """Whether the kernel that reads images serves this product."""
    bytes_only = x.integer.bits <= 8 and w.integer.bits <= 8 and w.integer.signed and not w.zero_point
    return view.depthwise and view.spatial <= 2 and bytes_only and bound < INT32_LIMIT


def _depthwise(view: GemmView, x: Quantized, w: Quantized, rule: PartialSums) -> torch.Tensor:
    """A convolution of one channel per group, from images as they are."""
    from bitwright.methods.apsq import kernels
    from bitwright.methods.apsq.vnni import steps_of

    flat = view.spatial == 1  # one axis is a row of pixels
    codes = x.codes.to(torch.int8 if x.integer.signed else torch.uint8)
    images = windows.padded(view.pixels(codes), view, x.zero_point).contiguous()
    taps = w.codes.to(torch.int8).reshape(view.groups, -1).t().contiguous()
    centres = torch.full((view.groups,), x.zero_point, dtype=torch.int32) if rule.centres is None else rule.centres
    out = torch.empty(*view.rows, *view.output_size, view.groups, dtype=torch.int32)
    steps, half = steps_of(rule, rule.tiles(view.k))
    use_torch_threads()
    kernels.depthwise_images(
        (images.unsqueeze(1) if flat else images).numpy(),
        centres.contiguous().numpy(),
        taps.numpy(),
        rule.tile,
        steps,
        half,
        (two_axes(view.kernel, 1), two_axes(view.stride, 1), two_axes(view.dilation, 1)),
        (out.unsqueeze(1) if flat else out).numpy(),
    )
    sums = view.from_pixels(out)
    return sums if rule.centres is None else sums.add_(_moved(view, x, w, rule.centres))


def _moved(view: GemmView, x: Quantized, w: Quantized, centres: torch.Tensor) -> torch.Tensor:
    """What centring x elsewhere than on its zero point takes from each column's sum, int32, broadcastable to y."""
    by_channel = centres.view(*[view.groups] * view.lead, *[1] * (w.codes.dim() - 1 - view.lead), view.channels)
    sums = ((by_channel - x.zero_point).to(w.codes.device).double() * w.codes.double()).sum(
        view.column_axes, keepdim=True
    )
    return view.columns(sums.to(torch.int32))


def fast_sums(view: GemmView, x: Quantized, w: Quantized, rule: PartialSums) -> torch.Tensor:
    """The same, tile by tile in float32 with torch."""
    return _each(view, x, w, rule, functools.partial(looped, dtype=torch.float32))


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


def _multiplies_bytes(view: GemmView, x: Quantized, w: Quantized, rule: PartialSums, bound: int) -> bool:
    """Whether the processor's product of bytes serves this one."""
    from bitwright.methods.apsq import vnni

    plain = rule.kind is not Kind.BLOCK and not view.depthwise
    return plain and bound < INT32_LIMIT and vnni.covers(x, w) and vnni.available()


def _check_centres(view: GemmView, x: Quantized, rule: PartialSums) -> None:
    """Refuse centres of another site's plan."""
    if rule.centres is None or (view.lead and not view.spatial):
        return
    channels, low, high = view.groups * view.channels, *torch.aminmax(rule.centres)
    if rule.centres.shape != (channels,) or int(low) < x.integer.low or int(high) > x.integer.high:
        raise InputError(
            f"x has {counted(channels, 'channel')} of {x.format.name}, and partial sums are centred on "
            f"{counted(len(rule.centres), 'code')} "
            f"from {int(low)} to {int(high)}; calibrate anew"
        )


def _bound(k: int, x: Quantized, w: Quantized, rule: PartialSums) -> int:
    """Of |any sum of k products|, whatever the codes of x are centred on."""
    if rule.centres is None:
        return accumulator_bound(k, x, w)
    return k * (x.integer.high - x.integer.low) * largest_magnitude(w.integer, w.zero_point)


def _each(view: GemmView, x: Quantized, w: Quantized, rule: PartialSums, engine: Engine) -> torch.Tensor:
    parts = []
    for each in operands(view, x, w, rule.centres):
        multiply = engine(each.w, each.centres, rule)
        blocks = [multiply(rows) for rows in each.x]
        found = blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=-2)
        parts.append(found if rule.centres is None else _off_centre(found, each, x.zero_point))
    return output(view, parts)


def _off_centre(sums: torch.Tensor, product: Operands, zero_point: int) -> torch.Tensor:
    """Sums of what x was centred on, less its zero point, added: a constant of each output, known beforehand."""
    moved, w = (product.centres - zero_point).to(product.w.device).double(), product.w.double()
    constant = (moved * w).sum(0) if product.depthwise else (moved.unsqueeze(1) @ w)
    if sums.dtype == torch.int32 and float(constant.abs().max()) < INT32_LIMIT:
        return sums.add_(constant.to(torch.int32))
    return sums.double().add_(constant)


def fused(w: torch.Tensor, centres: torch.Tensor, rule: PartialSums, *, dtype: torch.dtype) -> Multiply:
    """The kernels, for integers carried in `dtype`."""
    from bitwright.methods.apsq import kernels

    depthwise = w.dim() == 2
    if depthwise and rule.kind is Kind.BLOCK:  # a column of its own for each channel: blocks of one
        return looped(w, centres, rule, dtype=dtype)
    fill = functools.partial(padded, tile=rule.tile, chunk=CHUNK)
    weights, middle = (fill(each.to(dtype), axis=0 if depthwise else 1).numpy() for each in (w, centres))
    number = weights.dtype.type
    half = number(0.5 if rule.rounding is Rounding.HALF_UP else 0)
    limits = half, number(rule.low), number(rule.high)
    width = -(-rule.tile // CHUNK) * CHUNK

    def multiply(rows: torch.Tensor) -> torch.Tensor:
        x = fill(rows, axis=1 if depthwise else 2).numpy()
        out = torch.empty(*x.shape[: 1 if depthwise else 2], weights.shape[-1], dtype=dtype)
        use_torch_threads()
        if rule.kind is Kind.BLOCK:
            kernels.blocks(x, middle, weights, width, rule.block, *limits, out.numpy())
            return out
        tiles = weights.shape[-2] // width
        scale, flags = rule.scales(tiles).astype(number), rule.additive(tiles)
        arguments: tuple[Any, ...] = (x, middle, weights, scale, 1 / scale, flags, *limits, out.numpy())
        if depthwise:
            kernels.depthwise(*arguments)
        else:
            kernels.recurrence(*arguments)
        return out

    return multiply


def looped(w: torch.Tensor, centres: torch.Tensor, rule: PartialSums, *, dtype: torch.dtype) -> Multiply:
    """The same with torch's operators, a tile at a time."""
    if w.dim() == 2:  # one column per channel: groups of their own
        each = looped(w.t().unsqueeze(-1), centres.t(), rule, dtype=dtype)
        return lambda rows: each(rows.permute(2, 0, 1)).squeeze(-1).t()
    fill = functools.partial(padded, tile=rule.tile, chunk=1)
    weights, middle = (fill(each.to(dtype), axis=1) for each in (w, centres.to(w.device)))
    count = max(1, ROWS // (w.shape[0] * w.shape[2]))

    def multiply(rows: torch.Tensor) -> torch.Tensor:
        parts = fill(rows, axis=2).split(count, dim=1)
        with exact_float_kernels():
            return torch.cat([_loop(part.to(dtype) - middle.unsqueeze(1), weights, rule) for part in parts], dim=1)

    return multiply


def _loop(centred: torch.Tensor, w: torch.Tensor, rule: PartialSums) -> torch.Tensor:
    tiles = w.shape[1] // rule.tile
    stored = torch.zeros(*centred.shape[:2], w.shape[2], dtype=w.dtype, device=w.device)
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
