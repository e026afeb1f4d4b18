"""Moving elements: reshapes, slices, gathers, pads; and what makes tensors of a few numbers."""

import math
from typing import Any

import torch
import torch.nn.functional as F

from bitwright.networks.onnx.node import Node, Value, axis_of, check_size, integers_of, needed
from bitwright.networks.onnx.types import INTEGERS, torch_type

HOST_OPERATORS = ("Shape", "Size", "SequenceLength", "OptionalHasElement")


def shape(node: Node, x: torch.Tensor) -> torch.Tensor:
    """The sizes of x, or of some of its axes."""
    rank = x.dim()
    start, end = node.number("start", 0), node.attributes.get("end", rank)
    return torch.tensor(list(x.shape)[slice(int(start), int(end))], dtype=torch.int64)


def size(node: Node, x: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
    """How many elements x has."""
    return torch.tensor(x.numel(), dtype=torch.int64)


def reshape(node: Node, x: torch.Tensor, sizes: Value = None) -> torch.Tensor:
    """x in other sizes: 0 keeps an axis's, -1 is what is left."""
    wanted = node.given("shape", sizes)
    if wanted is None:
        raise node.refusal("has no shape")
    if not node.number("allowzero", 0):
        wanted = [x.shape[i] if not each and i < x.dim() else each for i, each in enumerate(wanted)]
    return torch.reshape(x, wanted)


def flatten(node: Node, x: torch.Tensor) -> torch.Tensor:
    """x as a matrix, split before an axis."""
    axis = int(node.number("axis", 1))
    axis = axis + x.dim() if axis < 0 else axis
    if axis == 1 and x.dim() > 1:
        return torch.flatten(x, 1)
    return torch.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


def squeeze(node: Node, x: torch.Tensor, axes: Value = None) -> torch.Tensor:
    """x without axes of 1."""
    chosen = node.given("axes", axes)
    if chosen is None:
        return torch.squeeze(x)
    return torch.squeeze(x, tuple(axis_of(node, axis, x.dim()) for axis in chosen))


def unsqueeze(node: Node, x: torch.Tensor, axes: Value = None) -> torch.Tensor:
    """x with axes of 1 more, at places of the result."""
    chosen = node.given("axes", axes) or []
    rank = x.dim() + len(chosen)
    for axis in sorted(axis_of(node, axis, rank) for axis in chosen):
        x = torch.unsqueeze(x, axis)
    return x


def transpose(node: Node, x: torch.Tensor) -> torch.Tensor:
    """x with its axes in another order, by default reversed."""
    order = node.integers("perm")
    return x.permute(list(reversed(range(x.dim()))) if order is None else order)


def concat(node: Node, *values: torch.Tensor) -> torch.Tensor:
    """Tensors one after the other."""
    return values[0] if len(values) == 1 else torch.cat(values, dim=int(node.number("axis")))


def split(node: Node, x: torch.Tensor, sizes: Value = None) -> Any:
    """Parts of x along an axis."""
    axis = axis_of(node, int(node.number("axis", 0)), x.dim())
    lengths = node.given("split", sizes)
    if lengths is None:
        parts = int(node.number("num_outputs", len(node.outputs)))
        each = -(-x.shape[axis] // max(1, parts))
        lengths = [max(0, min(each, x.shape[axis] - i * each)) for i in range(parts)]
    return tuple(torch.split(x, lengths, dim=axis))


def slices(
    node: Node, x: torch.Tensor, starts: Value = None, ends: Value = None, axes: Value = None, steps: Value = None
) -> torch.Tensor:
    """A part of x along some axes, in steps, which may go backwards."""
    first, last = node.given("starts", starts), node.given("ends", ends)
    if first is None or last is None:
        raise node.refusal("has no starts or ends")
    along = node.given("axes", axes) or list(range(len(first)))
    by = [1] * len(first) if steps is None else integers_of(steps)
    for start, end, axis, step in zip(first, last, along, by, strict=True):
        at = axis_of(node, axis, x.dim())
        if step == 0:
            raise node.refusal("has a step of 0")
        chosen = range(x.shape[at])[slice(start, end, step)] if step > 0 else _backward(x, at, start, end, step)
        x = _sliced(x, at, chosen)
    return x


def _backward(x: torch.Tensor, axis: int, start: int, end: int, step: int) -> range:
    length = x.shape[axis]
    low = -1 if end < -length else end + length if end < 0 else end
    high = start + length if start < 0 else start
    return range(max(-1, min(high, length - 1)), max(-1, min(low, length)), step)


def _sliced(x: torch.Tensor, axis: int, chosen: range) -> torch.Tensor:
    if chosen.step > 0:
        if chosen == range(x.shape[axis]):
            return x
        index = (slice(None),) * axis + (slice(chosen.start, chosen.stop, chosen.step),)
        return x[index]
    return torch.index_select(x, axis, torch.tensor(list(chosen), dtype=torch.int64, device=x.device))


def expand(node: Node, x: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
    """x repeated along axes of 1."""
    wanted = torch.broadcast_shapes(x.shape, tuple(integers_of(sizes)))
    check_size(node, wanted)
    return x.expand(wanted)


def tile(node: Node, x: torch.Tensor, repeats: torch.Tensor) -> torch.Tensor:
    """x several times side by side."""
    times = integers_of(repeats)
    check_size(node, [length * each for length, each in zip(x.shape, times, strict=False)])
    return x.repeat(times)


def pad(node: Node, x: torch.Tensor, pads: Value = None, value: Value = None, axes: Value = None) -> torch.Tensor:
    """x with elements around it: constant, reflected, repeated from the edge, or wrapped."""
    sides = node.given("pads", pads) or []
    along = [axis_of(node, a, x.dim()) for a in integers_of(axes)] if axes is not None else list(range(x.dim()))
    if len(sides) != 2 * len(along):
        raise node.refusal(f"has {len(sides)} pads for {len(along)} axes")
    before, after = dict(zip(along, sides, strict=False)), dict(zip(along, sides[len(along) :], strict=True))
    check_size(node, [x.shape[a] + max(0, before.get(a, 0)) + max(0, after.get(a, 0)) for a in range(x.dim())])
    mode = node.text("mode", "constant")
    if mode == "constant":
        fill = node.number("value", 0.0) if value is None else value.reshape(-1)[0].item() if value.numel() else 0.0
        flat = [side for a in reversed(range(x.dim())) for side in (before.get(a, 0), after.get(a, 0))]
        return F.pad(x, flat, value=fill)
    for axis in along:
        if before[axis] or after[axis]:
            x = torch.index_select(x, axis, _around(node, x.shape[axis], before[axis], after[axis], mode).to(x.device))
    return x


def _around(node: Node, length: int, before: int, after: int, mode: str) -> torch.Tensor:
    places = torch.arange(-before, length + after)
    if mode == "edge":
        return places.clamp(0, length - 1)
    if mode == "wrap":
        return places % length
    if mode != "reflect":
        raise node.refusal(f"its mode {mode!r} is not known")
    period = max(1, 2 * (length - 1))
    folded = places % period
    return torch.where(folded < length, folded, period - folded)


def centred(node: Node, x: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
    """x cut, or with zeros around it, to other sizes of some axes, evenly on both sides."""
    wanted = integers_of(sizes)
    axes = node.integers("axes") or list(range(x.dim()))
    if len(axes) != len(wanted):
        raise node.refusal(f"has {len(wanted)} sizes for {len(axes)} axes")
    check_size(node, wanted)
    for axis, size in zip((axis_of(node, each, x.dim()) for each in axes), wanted, strict=True):
        length = x.shape[axis]
        if length > size:
            x = x.narrow(axis, (length - size) // 2, size)
        elif length < size:
            before = (size - length) // 2
            x = F.pad(x, [0, 0] * (x.dim() - 1 - axis) + [before, size - length - before])
    return x


def constant_of_shape(node: Node, sizes: torch.Tensor) -> torch.Tensor:
    """One value everywhere."""
    value = node.attributes.get("value")
    one = value.reshape(-1)[:1] if isinstance(value, torch.Tensor) else torch.zeros(1)
    check_size(node, integers_of(sizes))
    return one.expand(integers_of(sizes) or ()) if sizes.numel() else one.reshape(())


def arange(node: Node, start: torch.Tensor, limit: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
    """Numbers at equal distances."""
    first, last, step = (each.reshape(()).item() for each in (start, limit, delta))
    if not step:
        raise node.refusal("has a step of 0")
    count = max(0, math.ceil((last - first) / step))
    check_size(node, [count])
    return first + step * torch.arange(count, dtype=start.dtype, device=start.device)


def cast(node: Node, x: torch.Tensor) -> torch.Tensor:
    """x in another type."""
    kind = int(node.number("to"))
    if INTEGERS.get(kind, (8, True))[0] < 8:
        raise node.refusal(
            f"makes numbers of {INTEGERS[kind][0]} bits, which only constants and QuantizeLinear have here"
        )
    wanted = torch_type(node, kind)
    return x if x.dtype == wanted else x.to(wanted)


def cast_like(node: Node, x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
    """x in another tensor's type."""
    return x.to(like.dtype)


def triangle(node: Node, x: torch.Tensor, k: Value = None) -> torch.Tensor:
    """The upper or lower triangle."""
    diagonal = 0 if k is None else int(k)
    return torch.triu(x, diagonal) if node.number("upper", 1) else torch.tril(x, diagonal)


def eye_like(node: Node, x: torch.Tensor) -> torch.Tensor:
    """Ones on a diagonal."""
    kind = torch_type(node, int(node.number("dtype"))) if "dtype" in node.attributes else x.dtype
    k = int(node.number("k", 0))
    ones = torch.ones(x.shape, dtype=torch.int64, device=x.device)
    return (torch.triu(ones, k) - torch.triu(ones, k + 1)).to(kind)


def depth_to_space(node: Node, x: torch.Tensor) -> torch.Tensor:
    """Channels to blocks of pixels."""
    b, c, h, w = x.shape
    block = int(node.number("blocksize"))
    if node.text("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, block)
    parts = x.reshape(b, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return parts.reshape(b, c // block**2, h * block, w * block)


def space_to_depth(node: Node, x: torch.Tensor) -> torch.Tensor:
    """Blocks of pixels to channels."""
    b, c, h, w = x.shape
    block = int(node.number("blocksize"))
    if node.text("mode", "DCR") == "CRD":
        return F.pixel_unshuffle(x, block)
    parts = x.reshape(b, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
    return parts.reshape(b, c * block**2, h // block, w // block)


def reverse_sequence(node: Node, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """The first elements of each sequence in reverse order."""
    batch, time = int(node.number("batch_axis", 1)), int(node.number("time_axis", 0))
    moved = x.movedim((batch, time), (0, 1))
    steps = torch.arange(moved.shape[1], device=x.device)[None]
    counts = lengths.to(x.device)[:, None]
    index = torch.where(steps < counts, counts - 1 - steps, steps)
    rows = torch.arange(len(moved), device=x.device)[:, None]
    return moved[rows, index].movedim((0, 1), (batch, time))


def constant(node: Node) -> torch.Tensor:
    """The value of an attribute."""
    kinds = {"value_float": torch.float32, "value_floats": torch.float32, "value_int": torch.int64}
    for name, value in node.attributes.items():
        if name == "value" and isinstance(value, torch.Tensor):
            return value
        if name in (*kinds, "value_ints"):
            return torch.tensor(value, dtype=kinds.get(name, torch.int64))
    raise node.refusal("has no value that is a dense tensor of numbers")


def quick_shape(node: Node, x: Value) -> torch.Tensor:
    """The shape of what must be there."""
    return shape(node, needed(node, x, "data"))


SHAPES: dict[str, Any] = {
    "Cast": cast, "CastLike": cast_like, "CenterCropPad": centred, "Concat": concat, "Constant": constant,
    "ConstantOfShape": constant_of_shape, "DepthToSpace": depth_to_space, "Expand": expand, "EyeLike": eye_like,
    "Flatten": flatten, "Pad": pad, "Range": arange, "Reshape": reshape,
    "ReverseSequence": reverse_sequence, "Shape": quick_shape, "Size": size, "Slice": slices,
    "SpaceToDepth": space_to_depth,
    "Split": split, "Squeeze": squeeze, "Tile": tile, "Transpose": transpose, "Trilu": triangle,
    "Unsqueeze": unsqueeze,
}  # fmt: skip
"""Operators of ONNX's own domain."""
