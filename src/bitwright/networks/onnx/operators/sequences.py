"""Sequences, which are lists of tensors here, and optional values, which are values or None."""

from typing import Any

import torch

from bitwright.networks.onnx.node import Node, Value, axis_of, integers_of
from bitwright.networks.onnx.types import torch_type

Sequence = list[torch.Tensor]


def made(node: Node, *values: torch.Tensor) -> Sequence:  # noqa: ARG001
    """A sequence of tensors."""
    return list(values)


def empty(node: Node) -> Sequence:
    """A sequence of none."""
    torch_type(node, int(node.number("dtype", 1)))
    return []


def at(node: Node, values: Sequence, position: torch.Tensor) -> torch.Tensor:
    """One of them; negative positions count from the end."""
    return values[_place(node, position, len(values) - 1, values)]


def inserted(node: Node, values: Sequence, value: torch.Tensor, position: Value = None) -> Sequence:
    """With one more, before a position or behind all."""
    place = len(values) if position is None else _place(node, position, len(values), values)
    return [*values[:place], value, *values[place:]]


def erased(node: Node, values: Sequence, position: Value = None) -> Sequence:
    """Without one of them, or without the last."""
    place = len(values) - 1 if position is None else _place(node, position, len(values) - 1, values)
    return [*values[:place], *values[place + 1 :]]


def length(node: Node, values: Sequence) -> torch.Tensor:  # noqa: ARG001
    """How many there are."""
    return torch.tensor(len(values), dtype=torch.int64)


def split(node: Node, x: torch.Tensor, sizes: Value = None) -> Sequence:
    """Parts of x along an axis: of these sizes, of one size, or without any each slice alone."""
    axis = axis_of(node, int(node.number("axis", 0)), x.dim())
    if sizes is not None:
        return list(torch.split(x, integers_of(sizes) if sizes.dim() else integers_of(sizes)[0], axis))
    slices = torch.split(x, 1, axis)
    return list(slices) if node.number("keepdims", 1) else [each.squeeze(axis) for each in slices]


def joined(node: Node, values: Sequence) -> torch.Tensor:
    """All one after the other, or side by side along a new axis."""
    axis = int(node.number("axis"))
    return torch.stack(values, axis) if node.number("new_axis", 0) else torch.cat(values, axis)


def optional(node: Node, value: Any = None) -> Any:
    """A value that may be left out."""
    if value is None:
        raise node.refusal("holds nothing, which is not supported; export the network without optional values")
    return value


def there(node: Node, value: Any = None) -> torch.Tensor:  # noqa: ARG001
    """Whether a value is there."""
    return torch.tensor(value is not None)


def _place(node: Node, position: torch.Tensor, last: int, values: Sequence) -> int:
    place = integers_of(position)[0]
    place += len(values) if place < 0 else 0
    if not 0 <= place <= last:
        raise node.refusal(f"asks for place {integers_of(position)[0]} of a sequence of {len(values)}")
    return place


SEQUENCES: dict[str, Any] = {
    "ConcatFromSequence": joined, "Optional": optional, "OptionalGetElement": optional, "OptionalHasElement": there,
    "SequenceAt": at, "SequenceConstruct": made, "SequenceEmpty": empty, "SequenceErase": erased,
    "SequenceInsert": inserted, "SequenceLength": length, "SplitToSequence": split,
}  # fmt: skip
"""Operators of ONNX's own domain."""
