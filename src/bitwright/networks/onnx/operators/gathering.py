"""Taking elements by index, putting them there, and finding where they are."""

from typing import Any

import torch

from bitwright.networks.onnx.node import Node, axis_of, check_size
from bitwright.networks.unseen import unseen


def gather(node: Node, x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Slices of x along an axis, by index; negative ones count from the end."""
    axis = axis_of(node, int(node.number("axis", 0)), x.dim())
    if indices.device.type == "cpu" and indices.dim() == 0:
        return torch.select(x, axis, int(indices))
    index = wrapped(indices, x.shape[axis]).to(x.device)
    if indices.dim() == 1:
        return torch.index_select(x, axis, index)
    found = torch.index_select(x, axis, index.reshape(-1))
    return found.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def wrapped(indices: torch.Tensor, length: int) -> torch.Tensor:
    """Indices counted from 0."""
    indices = indices.long()
    with unseen():
        negative = bool((indices < 0).any())
    return torch.where(indices < 0, indices + length, indices) if negative else indices


def gather_elements(node: Node, x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Elements along an axis, by an index each."""
    axis = axis_of(node, int(node.number("axis", 0)), x.dim())
    return torch.gather(x, axis, wrapped(indices, x.shape[axis]))


def gather_nd(node: Node, x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Slices of x by several indices each."""
    batch, depth = int(node.number("batch_dims", 0)), indices.shape[-1]
    wide = x.reshape(-1, *x.shape[batch:]) if batch else x
    rows = indices.reshape(-1, *indices.shape[batch:]) if batch else indices
    parts = [wrapped(rows[..., i], x.shape[batch + i]) for i in range(depth)]
    if not batch:
        return x[tuple(parts)]
    of = torch.arange(len(rows), device=x.device).reshape(-1, *[1] * (rows.dim() - 2)).expand(rows.shape[:-1])
    return wide[(of, *parts)].reshape(*x.shape[:batch], *indices.shape[batch:-1], *x.shape[batch + depth :])


REDUCTIONS = {"none": None, "add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def scatter_elements(node: Node, x: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor) -> torch.Tensor:
    """x with elements replaced, or joined by a reduction, along an axis."""
    axis = axis_of(node, int(node.number("axis", 0)), x.dim())
    index, how = wrapped(indices, x.shape[axis]), REDUCTIONS.get(node.text("reduction", "none"))
    if how is None:
        return torch.scatter(x, axis, index, updates)
    return torch.scatter_reduce(x, axis, index, updates, reduce=how, include_self=True)


def scatter_nd(node: Node, x: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor) -> torch.Tensor:
    """x with slices replaced, or added to, by several indices each."""
    parts = tuple(wrapped(indices[..., i], x.shape[i]) for i in range(indices.shape[-1]))
    how = node.text("reduction", "none")
    if how not in ("none", "add"):
        return _scatter_by_place(node, x, parts, updates, how)
    return x.clone().index_put_(parts, updates.to(x.dtype), accumulate=how == "add")


def _scatter_by_place(
    node: Node, x: torch.Tensor, parts: tuple[torch.Tensor, ...], updates: torch.Tensor, how: str
) -> torch.Tensor:
    """As `scatter_nd` by a reduction: every place of x has a number."""
    if REDUCTIONS.get(how) is None:
        raise node.refusal(f"its reduction {how!r} is not known")
    numbers = torch.arange(x.numel(), device=x.device).reshape(x.shape)[parts]
    by = REDUCTIONS[how] or ""
    flat = torch.scatter_reduce(x.reshape(-1), 0, numbers.reshape(-1), updates.reshape(-1), reduce=by)
    return flat.reshape(x.shape)


def one_hot(node: Node, indices: torch.Tensor, depth: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Classes as vectors of off and on values along a new axis."""
    classes, rank = int(depth.reshape(-1)[0]), indices.dim() + 1
    axis = axis_of(node, int(node.number("axis", -1)), rank)
    check_size(node, [classes, *indices.shape])
    index = torch.where(indices < 0, indices + classes, indices).unsqueeze(axis)
    along = torch.arange(classes, device=indices.device).reshape([-1 if i == axis else 1 for i in range(rank)])
    return torch.where(index == along, values[1], values[0])


def non_zero(node: Node, x: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
    """Where x is not 0: [axes of x, count]."""
    return torch.nonzero(x).t()


def compress(node: Node, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
    """The slices for which a condition holds."""
    chosen = torch.nonzero(condition.bool()).reshape(-1).to(x.device)
    if "axis" not in node.attributes:
        return torch.index_select(x.reshape(-1), 0, chosen)
    return torch.index_select(x, axis_of(node, int(node.number("axis")), x.dim()), chosen)


def unique(node: Node, x: torch.Tensor) -> Any:
    """Distinct elements, or slices along an axis; where each is first, which each was, how often it is there."""
    along = None if "axis" not in node.attributes else axis_of(node, int(node.number("axis")), x.dim())
    values, back, counts = torch.unique(x, return_inverse=True, return_counts=True, dim=along)
    back = back.reshape(-1)
    numbers = torch.arange(len(back), device=x.device)
    first = torch.full_like(counts, len(back)).scatter_reduce(0, back, numbers, "amin")
    if not node.number("sorted", 1):
        order = torch.argsort(first)
        values = torch.index_select(values, along or 0, order)
        first, counts, back = first[order], counts[order], torch.argsort(order)[back]
    made = (values, first, back, counts)[: len(node.outputs)]
    return made if len(made) > 1 else values


GATHERING: dict[str, Any] = {
    "Compress": compress, "Gather": gather, "GatherElements": gather_elements, "GatherND": gather_nd,
    "NonZero": non_zero, "OneHot": one_hot, "Scatter": scatter_elements, "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd, "Unique": unique,
}  # fmt: skip
"""Operators of ONNX's own domain."""
