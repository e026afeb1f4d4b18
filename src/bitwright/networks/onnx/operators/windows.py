"""Pools, and their windows: pads, strides and dilations as ONNX has them, on both sides and by rules (`auto_pad`)."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from bitwright.networks.onnx.node import Node

MAX_POOLS: tuple[Callable[..., Any], ...] = (F.max_pool1d, F.max_pool2d, F.max_pool3d)
AVERAGE_POOLS: tuple[Callable[..., Any], ...] = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)
LOW = float("-inf")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Window:
    """Extents per spatial axis; `begin` and `end` are pads, in pixels."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]

    @property
    def symmetric(self) -> bool:
        """Whether there is as much around an image on either side."""
        return self.begin == self.end

    @property
    def flat_pads(self) -> list[int]:
        """As `F.pad` takes them, the last axis first."""
        return [side for pair in reversed(list(zip(self.begin, self.end, strict=True))) for side in pair]


def window_of(node: Node, sizes: Sequence[int], kernel: Sequence[int]) -> Window:
    """The windows of a node over an image of these sizes."""
    spatial = len(kernel)
    ones = [1] * spatial
    stride = _extents(node, "strides", ones, spatial)
    dilation = _extents(node, "dilations", ones, spatial)
    pads = node.integers("pads", [0] * 2 * spatial) or []
    if len(pads) != 2 * spatial:
        raise node.refusal(f"has {len(pads)} pads for {spatial} axes")
    begin, end = pads[:spatial], pads[spatial:]
    rule = node.text("auto_pad", "NOTSET")
    if rule == "VALID":
        begin, end = [0] * spatial, [0] * spatial
    elif rule in ("SAME_UPPER", "SAME_LOWER"):
        for axis in range(spatial):
            length = -(-sizes[axis] // stride[axis])
            total = (length - 1) * stride[axis] + dilation[axis] * (kernel[axis] - 1) + 1 - sizes[axis]
            small, large = max(0, total) // 2, -(-max(0, total) // 2)
            begin[axis], end[axis] = (small, large) if rule == "SAME_UPPER" else (large, small)
    elif rule != "NOTSET":
        raise node.refusal(f"its auto_pad {rule!r} is not known")
    return Window(kernel=tuple(kernel), stride=stride, dilation=dilation, begin=tuple(begin), end=tuple(end))


def _extents(node: Node, name: str, default: list[int], spatial: int) -> tuple[int, ...]:
    values = node.integers(name, default) or default
    if len(values) != spatial or any(each < 1 for each in values):
        raise node.refusal(f"its {name} are {values}; {spatial} numbers of 1 or more are expected")
    return tuple(values)


def _kernel(node: Node, x: torch.Tensor) -> list[int]:
    kernel = node.integers("kernel_shape")
    if not kernel or len(kernel) != x.dim() - 2 or len(kernel) > 3 or min(kernel) < 1:
        raise node.refusal(f"its kernel_shape is {kernel} on a tensor with {x.dim()} axes")
    return kernel


def _fits(window: Window) -> bool:
    """Whether torch's pools take these pads themselves."""
    return window.symmetric and all(2 * side <= size for side, size in zip(window.begin, window.kernel, strict=True))


def _begun(y: torch.Tensor, sizes: Sequence[int], window: Window) -> torch.Tensor:
    """y without windows that begin in the pads behind an image of these sizes, which `ceil_mode` leaves out."""
    for axis, (size, begin, step) in enumerate(zip(sizes, window.begin, window.stride, strict=True)):
        y = y.narrow(axis + 2, 0, min(y.shape[axis + 2], -(-(size + begin) // step)))
    return y


def max_pool(node: Node, x: torch.Tensor) -> Any:
    """The largest element of each window."""
    if len([name for name in node.outputs if name]) > 1:
        raise node.refusal("hands out where the largest elements are, which is not supported")
    window, ceil = window_of(node, x.shape[2:], _kernel(node, x)), bool(node.number("ceil_mode", 0))
    pool = MAX_POOLS[x.dim() - 3]
    kind = x.dtype
    x = x if x.is_floating_point() else x.float()
    inside = window.begin
    if not _fits(window):
        sizes, x = x.shape[2:], F.pad(x, window.flat_pads, value=LOW)
        return _begun(pool(x, window.kernel, window.stride, 0, window.dilation, ceil), sizes, window).to(kind)
    return pool(x, window.kernel, window.stride, inside, window.dilation, ceil).to(kind)


def average_pool(node: Node, x: torch.Tensor) -> torch.Tensor:
    """The mean of each window, of what lies outside the image too where `count_include_pad` says so."""
    window, ceil = window_of(node, x.shape[2:], _kernel(node, x)), bool(node.number("ceil_mode", 0))
    outside, pool = bool(node.number("count_include_pad", 0)), AVERAGE_POOLS[x.dim() - 3]
    if any(each > 1 for each in window.dilation):
        return _dilated_average(node, x, window, outside=outside)
    if _fits(window):
        return pool(x, window.kernel, window.stride, window.begin, ceil, outside)

    def padded(values: torch.Tensor) -> torch.Tensor:
        means = pool(F.pad(values, window.flat_pads), window.kernel, window.stride, 0, ceil)
        return _begun(means, values.shape[2:], window)

    return padded(x) if outside else padded(x) / padded(torch.ones_like(x[:1, :1]))


def _dilated_average(node: Node, x: torch.Tensor, window: Window, *, outside: bool) -> torch.Tensor:
    if node.number("ceil_mode", 0):
        raise node.refusal("has dilations and ceil_mode at once, which is not supported")
    padded = F.pad(x, window.flat_pads)
    ones = F.pad(torch.ones_like(x[:1, :1]), window.flat_pads, value=float(outside))

    def total(values: torch.Tensor) -> torch.Tensor:
        for axis, (size, step, apart) in enumerate(zip(window.kernel, window.stride, window.dilation, strict=True)):
            values = values.unfold(axis + 2, apart * (size - 1) + 1, step)[..., ::apart].sum(-1)
        return values

    return total(padded) / total(ones)


def lp_pool(node: Node, x: torch.Tensor) -> torch.Tensor:
    """The p-norm of each window."""
    window, p = window_of(node, x.shape[2:], _kernel(node, x)), int(node.number("p", 2))
    if any(each > 1 for each in window.dilation):
        raise node.refusal("has dilations, which are not supported")
    powers = F.pad(torch.pow(torch.abs(x), p), window.flat_pads)
    if node.number("ceil_mode", 0):  # as many zeros more as a last window may hang over
        powers = F.pad(powers, [side for step in reversed(window.stride) for side in (0, step - 1)])
    mean = _begun(AVERAGE_POOLS[x.dim() - 3](powers, window.kernel, window.stride), x.shape[2:], window)
    return torch.pow(mean * math.prod(window.kernel), 1 / p)


def global_average(node: Node, x: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
    """The mean of each channel."""
    if x.dim() == 4:
        return F.adaptive_avg_pool2d(x, 1)
    return torch.mean(x, tuple(range(2, x.dim())), True)


def global_max(node: Node, x: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
    """The largest element of each channel."""
    return torch.amax(x, tuple(range(2, x.dim())), True)


def global_lp(node: Node, x: torch.Tensor) -> torch.Tensor:
    """The p-norm of each channel."""
    return torch.linalg.vector_norm(x, int(node.number("p", 2)), tuple(range(2, x.dim())), True)


WINDOWS: dict[str, Callable[..., Any]] = {
    "AveragePool": average_pool, "GlobalAveragePool": global_average, "GlobalLpPool": global_lp,
    "GlobalMaxPool": global_max, "LpPool": lp_pool, "MaxPool": max_pool,
}  # fmt: skip
"""Operators of ONNX's own domain."""
