"""The operands of a call as plain products: rows of x by columns of w, expanded block by block.

A convolution's rows are the pixels under its kernel, positions outside channels, as execution expands them; a depthwise
one's have a column per channel. Tiles are filled up to whole chunks of the kernels with codes that contribute nothing.
"""

import dataclasses
from collections.abc import Iterator

import torch
import torch.nn.functional as F

from bitwright.formats import Quantized
from bitwright.methods.products import is_depthwise, patches
from bitwright.networks.calls import Call

BLOCK_BYTES = 2**24
"""Patches are expanded in blocks of about this many bytes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Operands:
    """One call as products of groups.

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


def operands(call: Call, x: Quantized, w: Quantized, centres: torch.Tensor | None = None) -> list[Operands]:
    """The products that a call consists of: one, or one per group of a grouped convolution that is not depthwise.

    `centres` are codes by channel of x [channels]; None: its zero point.
    """
    codes = x.codes
    if call.layout == "batched":
        k, n = w.codes.shape[-2:]
        rows, columns = codes.reshape(-1, codes.shape[-2], k), w.codes.reshape(-1, k, n)
        return [_plain(rows, columns, torch.full((len(rows), k), x.zero_point, dtype=torch.int32))]
    channels = codes.shape[1 if call.layout == "conv2d" else -1]
    middle = torch.full((channels,), x.zero_point, dtype=torch.int32) if centres is None else centres.to(torch.int32)
    if call.layout == "linear":
        return [_plain(codes.reshape(1, -1, channels), w.codes.t().unsqueeze(0), middle.unsqueeze(0))]
    positions = w.codes.shape[2] * w.codes.shape[3]
    if is_depthwise(call):
        taps = w.codes[:, 0].flatten(1).t()
        blocks = (block.flatten(0, 2).flatten(1, 2) for block in patches(call, x, BLOCK_BYTES))
        return [Operands(x=blocks, w=taps, centres=middle.expand(positions, channels), depthwise=True)]
    per_group, filters = channels // call.groups, len(w.codes) // call.groups
    found = []
    for group in range(call.groups):
        own = slice(group * per_group, (group + 1) * per_group)
        part = dataclasses.replace(x, codes=codes[:, own])
        weight = w.codes[group * filters : (group + 1) * filters].permute(0, 2, 3, 1).flatten(1)
        pixels = (block.flatten(0, 2).flatten(1).unsqueeze(0) for block in patches(call, part, BLOCK_BYTES))
        repeated = middle[own].repeat(positions).unsqueeze(0)
        found.append(Operands(x=pixels, w=weight.t().unsqueeze(0), centres=repeated, depthwise=False))
    return found


def output(call: Call, x: Quantized, w: Quantized, parts: list[torch.Tensor]) -> torch.Tensor:
    """Sums of `operands`, rows [groups, rows, n] or [rows, channels] of each, in the call's output layout."""
    if call.layout == "linear":
        return parts[0].reshape(*x.codes.shape[:-1], -1)
    if call.layout == "batched":
        return parts[0].reshape(*x.codes.shape[:-1], w.codes.shape[-1])
    rows = torch.cat([part.flatten(0, -2) for part in parts], dim=-1)
    height, width = call.output_size
    return rows.reshape(len(x.codes), height, width, -1).permute(0, 3, 1, 2)


def padded(codes: torch.Tensor, *, axis: int, tile: int, chunk: int) -> torch.Tensor:
    """Codes whose `axis`, the reduction, has every tile of `tile` elements filled up with 0 to whole `chunk`s."""
    codes = codes.movedim(axis, -1)
    k = codes.shape[-1]
    width = -(-tile // chunk) * chunk
    codes = F.pad(codes, (0, -k % tile))
    if width != tile:
        codes = F.pad(codes.unflatten(-1, (-1, tile)), (0, width - tile)).flatten(-2)
    return codes.movedim(-1, axis).contiguous()


def _plain(x: torch.Tensor, w: torch.Tensor, centres: torch.Tensor) -> Operands:
    return Operands(x=iter([x]), w=w, centres=centres, depthwise=False)
