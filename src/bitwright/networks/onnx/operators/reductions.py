"""Reductions, orders, softmax and norms."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from bitwright.networks.onnx.node import Node, Value, axis_of, integers_of

Reduction = Callable[[torch.Tensor, tuple[int, ...], bool], torch.Tensor]


def reduced(function: Reduction) -> Callable[..., torch.Tensor]:
    """An operator that reduces axes: all where none are named, or none of them with `noop_with_empty_axes`.

    What it does to each element before and after (squares, logarithms) is done either way, and integers stay integers.
    """

    def run(node: Node, x: torch.Tensor, axes: Value = None) -> torch.Tensor:
        chosen = node.given("axes", axes)
        left = () if node.number("noop_with_empty_axes", 0) else tuple(range(x.dim()))
        every = tuple(axis_of(node, axis, x.dim()) for axis in chosen) if chosen else left
        found = function(x, every, bool(node.number("keepdims", 1)))
        return found if found.dtype == x.dtype else found.to(x.dtype)

    return run


def _mean(x: torch.Tensor, axes: tuple[int, ...], keep: bool) -> torch.Tensor:
    if not axes:
        return x
    return torch.mean(x if x.is_floating_point() else x.double(), axes, keep)


def _sum(x: torch.Tensor, axes: tuple[int, ...], keep: bool) -> torch.Tensor:
    return torch.sum(x, axes, keep, dtype=x.dtype) if axes else x


def _product(x: torch.Tensor, axes: tuple[int, ...], keep: bool) -> torch.Tensor:
    for axis in sorted(axes, reverse=True):
        x = torch.prod(x, axis, keep, dtype=x.dtype)
    return x


def _extreme(function: Callable[..., torch.Tensor], *, largest: bool) -> Reduction:
    def run(x: torch.Tensor, axes: tuple[int, ...], keep: bool) -> torch.Tensor:
        if not axes:
            return x
        if any(not x.shape[axis] for axis in axes):  # of nothing: less, or more, than any number
            least, most = _ends(x.dtype)
            kept = [1 if i in axes else size for i, size in enumerate(x.shape) if keep or i not in axes]
            return torch.full(kept, least if largest else most, dtype=x.dtype, device=x.device)
        return function(x, axes, keep)

    return run


def _ends(kind: torch.dtype) -> tuple[Any, Any]:
    if kind.is_floating_point:
        return float("-inf"), float("inf")
    return (False, True) if kind == torch.bool else (torch.iinfo(kind).min, torch.iinfo(kind).max)


def _log_sum_exp(x: torch.Tensor, axes: tuple[int, ...], keep: bool) -> torch.Tensor:
    return torch.logsumexp(x if x.is_floating_point() else x.double(), axes, keep) if axes else x


REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceMean": reduced(_mean),
    "ReduceSum": reduced(_sum),
    "ReduceProd": reduced(_product),
    "ReduceMax": reduced(_extreme(torch.amax, largest=True)),
    "ReduceMin": reduced(_extreme(torch.amin, largest=False)),
    "ReduceL1": reduced(lambda x, axes, keep: _sum(torch.abs(x), axes, keep)),
    "ReduceL2": reduced(lambda x, axes, keep: torch.sqrt(_sum(torch.square(x), axes, keep))),
    "ReduceLogSum": reduced(lambda x, axes, keep: torch.log(_sum(x, axes, keep))),
    "ReduceLogSumExp": reduced(_log_sum_exp),
    "ReduceSumSquare": reduced(lambda x, axes, keep: _sum(torch.square(x), axes, keep)),
}


def extreme_index(largest: bool) -> Callable[..., torch.Tensor]:
    """Where along an axis the largest or smallest element is: the first such, or the last (`select_last_index`)."""

    def run(node: Node, x: torch.Tensor) -> torch.Tensor:
        axis = axis_of(node, int(node.number("axis", 0)), x.dim())
        last = bool(node.number("select_last_index", 0))
        numbers = torch.flip(x, (axis,)) if last else x
        found = torch.argmax(numbers, axis, True) if largest else torch.argmin(numbers, axis, True)
        found = x.shape[axis] - 1 - found if last else found
        return found if node.number("keepdims", 1) else found.squeeze(axis)

    return run


def top_k(node: Node, x: torch.Tensor, k: Value = None) -> Any:
    """The largest or smallest k elements along an axis, and where they are; equal ones in order."""
    count = int(node.number("k")) if k is None else integers_of(k)[0]
    axis = axis_of(node, int(node.number("axis", -1)), x.dim())
    if not 0 <= count <= x.shape[axis]:
        raise node.refusal(f"takes {count} of {x.shape[axis]} elements")
    values, places = torch.sort(x, dim=axis, descending=bool(node.number("largest", 1)), stable=True)
    return values.narrow(axis, 0, count), places.narrow(axis, 0, count)


def cumulative_sum(node: Node, x: torch.Tensor, axis: torch.Tensor) -> torch.Tensor:
    """Sums of all elements so far."""
    at = axis_of(node, integers_of(axis)[0], x.dim())
    backward, exclusive = bool(node.number("reverse", 0)), bool(node.number("exclusive", 0))
    x = torch.flip(x, (at,)) if backward else x
    if exclusive and x.shape[at]:  # the sums without the last element, behind a 0: no sum is taken back
        x = torch.cat((torch.zeros_like(x.narrow(at, 0, 1)), x.narrow(at, 0, x.shape[at] - 1)), at)
    total = torch.cumsum(x, at, dtype=x.dtype)
    return torch.flip(total, (at,)) if backward else total


def determinant(node: Node, x: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
    """Of each matrix."""
    return torch.linalg.det(x)


def _rows(node: Node, x: torch.Tensor, function: Callable[..., torch.Tensor]) -> torch.Tensor:
    """A softmax along one axis, or before opset 13 over all axes from one on, as a matrix's rows."""
    if node.opset >= 13:
        return function(x, axis_of(node, int(node.number("axis", -1)), x.dim()))
    axis = axis_of(node, int(node.number("axis", 1)), x.dim())
    if axis == x.dim() - 1:
        return function(x, axis)
    return function(x.flatten(axis), axis).reshape(x.shape)


def softmax(node: Node, x: torch.Tensor) -> torch.Tensor:
    """e^x as shares of their sum."""
    return _rows(node, x, torch.softmax)


def log_softmax(node: Node, x: torch.Tensor) -> torch.Tensor:
    """The logarithm of the softmax."""
    return _rows(node, x, torch.log_softmax)


def hardmax(node: Node, x: torch.Tensor) -> torch.Tensor:
    """1 at the first largest element, else 0."""

    def run(rows: torch.Tensor, axis: int) -> torch.Tensor:
        return torch.zeros_like(rows).scatter(axis, torch.argmax(rows, axis, True), 1.0)

    return _rows(node, x, run)


def instance_norm(node: Node, x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Each channel of each sample with mean 0 and deviation 1, scaled and shifted."""
    if math.prod(x.shape[2:]) == 1:  # which torch takes for a mistake: nothing differs from its own mean
        return torch.zeros_like(x) + bias.reshape(-1, *[1] * (x.dim() - 2))
    return F.instance_norm(x, weight=scale, bias=bias, eps=node.number("epsilon", 1e-5))


def layer_norm(node: Node, x: torch.Tensor, scale: torch.Tensor, bias: Value = None) -> Any:
    """Rows over all axes from one on with mean 0 and deviation 1, scaled and shifted."""
    axis = axis_of(node, int(node.number("axis", -1)), x.dim())
    sizes = list(x.shape[axis:])
    wide = [None if each is None else each.expand(sizes) for each in (scale, bias)]
    epsilon = node.number("epsilon", 1e-5)
    y = F.layer_norm(x, sizes, wide[0], wide[1], epsilon)
    if len([name for name in node.outputs if name]) < 2:
        return y
    axes = tuple(range(axis, x.dim()))
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    return y, mean, torch.rsqrt(variance + epsilon)


def rms_norm(node: Node, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Rows divided by the root of their mean square, scaled."""
    axis = axis_of(node, int(node.number("axis", -1)), x.dim())
    sizes = list(x.shape[axis:])
    return F.rms_norm(x, sizes, scale.expand(sizes), node.number("epsilon", 1e-5))


def group_norm(node: Node, x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Groups of channels with mean 0 and deviation 1; scales are a group's before opset 21, then a channel's."""
    groups, epsilon = int(node.number("num_groups")), node.number("epsilon", 1e-5)
    if scale.numel() != x.shape[1]:
        scale, bias = (each.repeat_interleave(x.shape[1] // groups) for each in (scale, bias))
    return F.group_norm(x, groups, scale, bias, epsilon)


def lp_norm(node: Node, x: torch.Tensor) -> torch.Tensor:
    """Vectors of length 1."""
    axis, p = axis_of(node, int(node.number("axis", -1)), x.dim()), int(node.number("p", 2))
    length = torch.linalg.vector_norm(x, p, axis, True)
    return torch.where(length == 0, 0.0, x / length)


def mean_variance(node: Node, x: torch.Tensor) -> torch.Tensor:
    """Mean 0 and deviation 1 over some axes."""
    axes = node.integers("axes", [0, 2, 3])
    mean = torch.mean(x, axes, True)
    deviation = torch.sqrt(torch.mean(torch.square(x), axes, True) - torch.square(mean))
    return (x - mean) / (deviation + 1e-9)


def local_response(node: Node, x: torch.Tensor) -> torch.Tensor:
    """Channels divided by a power of the squares of those around them."""
    size, alpha = int(node.number("size")), node.number("alpha", 1e-4)
    beta, bias = node.number("beta", 0.75), node.number("bias", 1.0)
    squares = torch.square(x).flatten(2).unsqueeze(1)
    before = (size - 1) // 2
    padded = F.pad(squares, (0, 0, before, size - 1 - before))
    total = F.avg_pool2d(padded, (size, 1), stride=1).squeeze(1).reshape(x.shape)
    return x / torch.pow(total * alpha + bias, beta)


def batch_norm(
    node: Node,
    x: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor,
    mean: torch.Tensor,
    variance: torch.Tensor,
) -> torch.Tensor:
    """Channels by statistics that are computed."""
    shape = (1, -1, *[1] * (x.dim() - 2))
    gain = scale * torch.rsqrt(variance + node.number("epsilon", 1e-5))
    return x * gain.reshape(shape) + (bias - mean * gain).reshape(shape)


NORMS: dict[str, Callable[..., Any]] = {
    "ArgMax": extreme_index(True), "ArgMin": extreme_index(False), "BatchNormalization": batch_norm,
    "CumSum": cumulative_sum, "Det": determinant, "GroupNormalization": group_norm, "Hardmax": hardmax,
    "InstanceNormalization": instance_norm, "LRN": local_response,
    "LayerNormalization": layer_norm, "LogSoftmax": log_softmax, "LpNormalization": lp_norm,
    "MeanVarianceNormalization": mean_variance, "RMSNormalization": rms_norm, "Softmax": softmax, "TopK": top_k,
    **REDUCTIONS,
}  # fmt: skip
"""Operators of ONNX's own domain."""
