"""Where scales lie after a Reshape or a Transpose, of tensors that have several."""

import dataclasses
import itertools
import math

import torch

from bitwright.networks.onnx.node import Node, integers_of
from bitwright.networks.onnx.quantization.grids import Grid

Sizes = tuple[int, ...]
MOST_SCALES = 2**28  # that are spread over all elements of a tensor


def carried(grid: Grid, node: Node, before: Sizes, after: Sizes) -> Grid | None:
    """The grid of what a node makes, of a tensor that had `before`; None where it is none that is known.

    Parameters
    ----------
    grid : Grid
        With several scales.
    node : Node
        Which moves elements.
    before, after : tuple of int
        Sizes of what it reads and makes.
    """
    if grid.block:
        return None
    if node.op == "Transpose":
        return _transposed(grid, node.integers("perm") or list(reversed(range(len(before)))))
    if node.op not in ("Reshape", "Flatten"):
        return None
    if grid.axis is None:
        lengths = [axis for axis, size in enumerate(grid.scale.shape) if size > 1]
        if grid.scale.dim() != len(before) or len(lengths) > 1:
            return _spread(grid, before, after)
        grid = dataclasses.replace(grid, axis=lengths[0], scale=grid.scale.reshape(-1), zero=grid.zero.reshape(-1))
    return _reshaped(grid, before, after)


def sizes_after(node: Node, before: Sizes, target: torch.Tensor | None) -> Sizes | None:
    """The sizes of what a Transpose, or a Reshape to `target`, makes of a tensor that has `before`."""
    if node.op == "Transpose":
        order = node.integers("perm") or list(reversed(range(len(before))))
        return tuple(before[axis] for axis in order) if sorted(order) == list(range(len(before))) else None
    if node.op != "Reshape" or target is None:
        return None
    sizes = integers_of(target)
    if any(size == 0 and index >= len(before) for index, size in enumerate(sizes)):
        return None
    kept = [
        before[index] if size == 0 and not node.number("allowzero", 0) else size for index, size in enumerate(sizes)
    ]
    known = math.prod(size for size in kept if size != -1)
    if kept.count(-1) > 1 or not known:
        return None
    found = tuple(math.prod(before) // known if size == -1 else size for size in kept)
    return found if math.prod(found) == math.prod(before) else None


def _transposed(grid: Grid, order: list[int]) -> Grid | None:
    if grid.axis is not None:
        return dataclasses.replace(grid, axis=order.index(grid.axis))
    if len(order) != grid.scale.dim():
        return None
    return dataclasses.replace(grid, scale=grid.scale.permute(order), zero=grid.zero.permute(order))


def _spread(grid: Grid, before: Sizes, after: Sizes) -> Grid | None:
    """Scales along several axes as one for each element: those of blocks, whose axes become one."""
    if math.prod(before) > MOST_SCALES:
        return None
    scale, zero = (each.expand(before).reshape(after) for each in (grid.scale, grid.zero))
    return dataclasses.replace(grid, scale=scale, zero=zero)


def _reshaped(grid: Grid, before: Sizes, after: Sizes) -> Grid | None:
    """The channels' axis as it is, or as the several that it is parted into."""
    assert grid.axis is not None
    outer, inner = math.prod(before[: grid.axis]), math.prod(before[: grid.axis + 1])
    ends = list(itertools.accumulate(after, initial=1, func=lambda product, size: product * size))
    if outer not in ends or inner not in ends:
        return None
    start = max(index for index, product in enumerate(ends) if product == outer)
    stop = next((index for index, product in enumerate(ends) if product == inner and index > start), start)
    if stop - start == 1:
        return dataclasses.replace(grid, axis=start)
    if stop <= start:
        return None
    sizes = [size if start <= axis < stop else 1 for axis, size in enumerate(after)]
    return dataclasses.replace(grid, axis=None, scale=grid.scale.reshape(sizes), zero=grid.zero.reshape(sizes))
