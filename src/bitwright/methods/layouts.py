"""The operands of a view as matrices: rows of x by columns of w, expanded block by block.

A convolution's rows are the pixels under its kernel, positions outside channels, as execution expands them; a depthwise
one's have a column per channel. Tiles are filled up to whole chunks of the kernels with codes that contribute nothing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

from bitwright.formats import Quantized
from bitwright.later import functional as F
from bitwright.later import torch
from bitwright.networks import windows
from bitwright.networks.view import GemmView

BLOCK_BYTES = 2**24
"""Patches are expanded in blocks of about this many bytes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Operands:
    """One view as products of groups.

    Attributes
    ----------
    x : iterator of torch.Tensor
        Blocks of rows, codes [groups, rows, k], one after the other; depthwise: [rows, k, channels].
    w : torch.Tensor
        Codes [groups, k, n]; depthwise: [k, channels].
    centres : torch.Tensor
        What codes of x are centred on, int32 [groups, k]; depthwise: [k, channels].
    depthwise : bool
        Which of the two.
    """

    x: Iterator[torch.Tensor]
    w: torch.Tensor
    centres: torch.Tensor
    depthwise: bool


def operands(view: GemmView, x: Quantized, w: Quantized, centres: torch.Tensor | None = None) -> list[Operands]:
    """The products that a view consists of: one, or one per group of a grouped convolution that is not depthwise.

    `centres` are codes by channel of x [groups * channels]; None: its zero point.
    """
    channels, groups, taps = view.channels, view.groups, math.prod(view.kernel)
    plain = centres is None or bool(view.lead and not view.spatial)
    middle = torch.full((groups * channels,), x.zero_point) if plain or centres is None else centres
    repeated = middle.to(torch.int32).view(groups, 1, channels).expand(-1, taps, -1).flatten(1)
    if not view.spatial:
        rows, columns = x.codes.reshape(groups, -1, channels), w.codes.reshape(groups, view.n, channels)
        return [_plain(iter([rows]), columns, repeated)]
    if view.depthwise:
        flat = w.codes.reshape(groups, taps).t()
        pixels = patches(view, x.codes, x.zero_point, BLOCK_BYTES)
        blocks = (block.flatten(0, view.spatial).flatten(1, -2) for block in pixels)
        return [Operands(x=blocks, w=flat, centres=repeated.t(), depthwise=True)]
    found = []
    for group in range(groups):
        own = patches(view, x.codes[group : group + 1] if view.lead else x.codes, x.zero_point, BLOCK_BYTES)
        pixels = (block.flatten(0, view.spatial).flatten(1).unsqueeze(0) for block in own)
        columns = (w.codes[group] if view.lead else w.codes).reshape(1, view.n, -1)
        found.append(_plain(pixels, columns, repeated[group : group + 1]))
    return found


def patches(view: GemmView, codes: torch.Tensor, zero_point: int, block_bytes: int) -> Iterator[torch.Tensor]:
    """What each output pixel of a convolution reads, by blocks of images: views [images, *output, *kernel, channels].

    `codes` are x's, channels those of all their groups, and padding is the zero point. A copy of a block takes about
    `block_bytes` bytes, or those of one image.
    """
    codes = windows.padded(view.pixels(codes), view, zero_point).contiguous()  # torch may pad in another order
    batch, channels, size, step = len(codes), codes.shape[-1], view.output_size, codes.stride()
    along = [step[axis + 1] * stride for axis, stride in enumerate(view.stride)]
    inside = [step[axis + 1] * dilation for axis, dilation in enumerate(view.dilation)]
    every = codes.as_strided((batch, *size, *view.kernel, channels), (step[0], *along, *inside, 1))
    taps = math.prod(view.kernel)
    bytes_each = math.prod(size) * taps * channels * codes.element_size()
    block = batch if taps == 1 else max(1, block_bytes // max(1, bytes_each))
    return (every[i : i + block] for i in range(0, batch, block))


def rows_of(view: GemmView, y: torch.Tensor) -> list[torch.Tensor]:
    """y as the rows of `operands`: [groups, rows, n] of each product; depthwise: [channels, rows, 1]."""
    flat = y.reshape(view.groups, -1, view.n)
    return [flat] if not view.spatial or view.depthwise else list(flat.split(1))


def output(view: GemmView, parts: list[torch.Tensor]) -> torch.Tensor:
    """Sums of `operands`, rows [groups, rows, n] or [rows, channels] of each, as y."""
    if not view.spatial:
        return parts[0].reshape(view.output_shape)
    rows = torch.cat([part.flatten(0, -2) for part in parts], dim=-1)
    return view.from_pixels(rows.reshape(*view.rows, *view.output_size, -1))


def padded(codes: torch.Tensor, *, axis: int, tile: int, chunk: int) -> torch.Tensor:
    """Codes whose `axis`, the reduction, has every tile of `tile` elements filled up with 0 to whole `chunk`s."""
    codes = codes.movedim(axis, -1)
    k = codes.shape[-1]
    width = -(-tile // chunk) * chunk
    codes = F.pad(codes, (0, -k % tile))
    if width != tile:
        codes = F.pad(codes.unflatten(-1, (-1, tile)), (0, width - tile)).flatten(-2)
    return codes.movedim(-1, axis).contiguous()


def _plain(x: Iterator[torch.Tensor], columns: torch.Tensor, centres: torch.Tensor) -> Operands:
    return Operands(x=x, w=columns.transpose(1, 2), centres=centres, depthwise=False)
