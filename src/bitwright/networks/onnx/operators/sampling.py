"""What takes elements from computed places: GridSample, AffineGrid, DeformConv; and Col2Im, which puts them there."""

import itertools
import math
from typing import Any

import torch
import torch.nn.functional as F

from bitwright.networks.onnx.node import Node, Value, check_size, integers_of
from bitwright.networks.onnx.operators.windows import window_of


def grid_sample(node: Node, x: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """x at places that another tensor gives."""
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(node.text("mode", "bilinear"), node.text("mode", "bilinear"))
    padding = node.text("padding_mode", "zeros")
    return F.grid_sample(x, grid, mode, padding, bool(node.number("align_corners", 0)))


def affine_grid(node: Node, matrices: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
    """The places of the pixels of an image of these sizes, moved by a matrix for each."""
    check_size(node, integers_of(sizes))
    return F.affine_grid(matrices, integers_of(sizes), bool(node.number("align_corners", 0)))


def deformed(
    node: Node, x: torch.Tensor, w: torch.Tensor, offset: torch.Tensor, bias: Value = None, mask: Value = None
) -> torch.Tensor:
    """A convolution of two spatial axes, each tap of which is moved, and weighted, by what is computed.

    Offsets [B, groups * taps * 2, rows, columns] are (y, x) in pixels, weights [B, groups * taps, rows, columns].
    """
    if w.dim() != 4:
        raise node.refusal(f"convolves by {list(w.shape)}; two spatial axes are expected")
    window = window_of(node, x.shape[2:], w.shape[2:])
    groups, parts = int(node.number("group", 1)), int(node.number("offset_group", 1))
    taps, (rows, columns) = math.prod(w.shape[2:]), offset.shape[2:]
    moved = offset.reshape(len(x), parts, taps, 2, rows, columns)
    places = [
        moved[:, :, :, axis] + _taps(window, axis, (rows, columns), x.device) for axis in (0, 1)
    ]  # [B, parts, taps, rows, columns] each
    size = torch.tensor([x.shape[3], x.shape[2]], device=x.device, dtype=x.dtype)
    grid = (2 * torch.stack((places[1], places[0]), -1) + 1) / size - 1  # by pixels' outer edges: an axis may be 1 long
    image = x.reshape(len(x) * parts, -1, *x.shape[2:])
    found = F.grid_sample(image, grid.flatten(0, 1).flatten(1, 2), "bilinear", "zeros", False)
    found = found.reshape(len(x), parts, -1, taps, rows, columns)
    if mask is not None:
        found = found * mask.reshape(len(x), parts, 1, taps, rows, columns)
    columns_of = found.reshape(len(x), groups, -1, rows * columns)
    filters = w.reshape(groups, w.shape[0] // groups, -1)
    y = torch.matmul(filters, columns_of).reshape(len(x), w.shape[0], rows, columns)
    return y if bias is None else y + bias.reshape(-1, 1, 1)


def _taps(window: Any, axis: int, sizes: tuple[int, int], device: torch.device) -> torch.Tensor:
    """Where the taps of each output lie along an axis, unmoved: [taps, rows, columns]."""
    lines = torch.arange(sizes[axis], device=device) * window.stride[axis] - window.begin[axis]
    taps = torch.arange(window.kernel[axis], device=device) * window.dilation[axis]
    other = window.kernel[1 - axis]
    taps = taps.repeat_interleave(other) if axis == 0 else taps.repeat(other)
    return taps[:, None, None] + (lines[:, None] if axis == 0 else lines[None, :])


def columns_to_image(node: Node, x: torch.Tensor, sizes: torch.Tensor, block: torch.Tensor) -> torch.Tensor:
    """Blocks [B, channels * taps, count] added up where they overlap, in an image of these sizes."""
    image, kernel = integers_of(sizes), integers_of(block)
    window = window_of(node, image, kernel)
    channels = x.shape[1] // math.prod(kernel)
    full = [size + begin + end for size, begin, end in zip(image, window.begin, window.end, strict=True)]
    reach = [step * (taps - 1) + 1 for step, taps in zip(window.dilation, kernel, strict=True)]
    counts = [(size - each) // step + 1 for size, each, step in zip(full, reach, window.stride, strict=True)]
    check_size(node, [len(x), channels, *full])
    parts = x.reshape(len(x), channels, math.prod(kernel), *counts)
    made = x.new_zeros(len(x), channels, *full)
    for i, tap in enumerate(itertools.product(*map(range, kernel))):
        first = [at * step for at, step in zip(tap, window.dilation, strict=True)]
        spans = zip(first, counts, window.stride, strict=True)
        taken = [slice(at, at + (count - 1) * step + 1, step) for at, count, step in spans]
        made[(slice(None), slice(None), *taken)] += parts[:, :, i]
    cut = zip(window.begin, image, strict=True)
    return made[(slice(None), slice(None), *[slice(begin, begin + size) for begin, size in cut])]


SAMPLING: dict[str, Any] = {
    "AffineGrid": affine_grid, "Col2Im": columns_to_image, "DeformConv": deformed, "GridSample": grid_sample,
}  # fmt: skip
"""Operators of ONNX's own domain."""
