"""Pools, and their windows: pads, strides and dilations as ONNX has them, on both sides and by rules (`auto_pad`)."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from bitwright.networks.onnx.node import Node, Value, check_size, integers_of

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
    """The largest element of each window, and where in the flat tensor it is, if that is asked for."""
    window, ceil = window_of(node, x.shape[2:], _kernel(node, x)), bool(node.number("ceil_mode", 0))
    pool = MAX_POOLS[x.dim() - 3]
    kind, sizes = x.dtype, x.shape[2:]
    x = x if x.is_floating_point() else x.float()
    inside, fits = window.begin, _fits(window)
    if not fits:
        x, inside = F.pad(x, window.flat_pads, value=LOW), (0,) * len(sizes)
    own = (x, window.kernel, window.stride, inside, window.dilation, ceil)
    if len([name for name in node.outputs if name]) > 1:
        y, places = pool(*own, return_indices=True)
        y, places = (each if fits else _begun(each, sizes, window) for each in (y, places))
        return y.to(kind), _flat_places(node, places, x.shape[2:], sizes, (0,) * len(sizes) if fits else window.begin)
    y = pool(*own)
    return (y if fits else _begun(y, sizes, window)).to(kind)


def _flat_places(
    node: Node, places: torch.Tensor, padded: Sequence[int], sizes: Sequence[int], begin: Sequence[int]
) -> torch.Tensor:
    """Places in a padded image's plane as places in the whole tensor, its rows first or its columns first."""
    along, rest = [], places
    for size in reversed(padded):
        along.append(rest % size)
        rest = rest // size
    at = [each - first for each, first in zip(reversed(along), begin, strict=True)]
    order = range(len(sizes)) if not node.number("storage_order", 0) else reversed(range(len(sizes)))
    flat = torch.zeros_like(places)
    for axis in order:
        flat = flat * sizes[axis] + at[axis]
    planes = torch.arange(places.shape[0] * places.shape[1], device=places.device) * math.prod(sizes)
    return flat + planes.reshape(*places.shape[:2], *[1] * len(sizes))


def max_unpool(node: Node, x: torch.Tensor, places: torch.Tensor, sizes: Value = None) -> torch.Tensor:
    """Elements at places of a larger tensor, zeros elsewhere."""
    if sizes is not None:
        wanted = integers_of(sizes)
    else:
        window = window_of(node, x.shape[2:], _kernel(node, x))
        axes = zip(x.shape[2:], window.stride, window.kernel, window.begin, window.end, strict=True)
        wanted = [*x.shape[:2], *((size - 1) * step + taps - sum(ends) for size, step, taps, *ends in axes)]
    check_size(node, wanted)
    flat = x.new_zeros(math.prod(wanted)).scatter(0, places.reshape(-1), x.reshape(-1))
    return flat.reshape(wanted)


def average_pool(node: Node, x: torch.Tensor) -> torch.Tensor:
    """The mean of each window, of what lies outside the image too where `count_include_pad` says so."""
    window, ceil = window_of(node, x.shape[2:], _kernel(node, x)), bool(node.number("ceil_mode", 0))
    outside, pool = bool(node.number("count_include_pad", 0)), AVERAGE_POOLS[x.dim() - 3]
    if _fits(window) and max(window.dilation) == 1:
        return pool(x, window.kernel, window.stride, window.begin, ceil, outside)
    ones = F.pad(torch.ones_like(x[:1, :1]), window.flat_pads, value=float(outside))
    return _totals(F.pad(x, window.flat_pads), x.shape[2:], window, ceil) / _totals(ones, x.shape[2:], window, ceil)


def _totals(padded: torch.Tensor, sizes: Sequence[int], window: Window, ceil: bool) -> torch.Tensor:
    """The sum of each window of a padded image; with `ceil` a last one may hang over its end."""
    if ceil:
        padded = F.pad(padded, [side for step in reversed(window.stride) for side in (0, step - 1)])
    if max(window.dilation) == 1:
        means = AVERAGE_POOLS[len(sizes) - 1](padded, window.kernel, window.stride)
        return _begun(means, sizes, window) * math.prod(window.kernel)
    for axis, (size, step, apart) in enumerate(zip(window.kernel, window.stride, window.dilation, strict=True)):
        padded = padded.unfold(axis + 2, apart * (size - 1) + 1, step)[..., ::apart].sum(-1)
    return _begun(padded, sizes, window)


def lp_pool(node: Node, x: torch.Tensor) -> torch.Tensor:
    """The p-norm of each window."""
    window, p = window_of(node, x.shape[2:], _kernel(node, x)), int(node.number("p", 2))
    powers = F.pad(torch.pow(torch.abs(x), p), window.flat_pads)
    return torch.pow(_totals(powers, x.shape[2:], window, bool(node.number("ceil_mode", 0))), 1 / p)


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
    "GlobalMaxPool": global_max, "LpPool": lp_pool, "MaxPool": max_pool, "MaxUnpool": max_unpool,
}  # fmt: skip
"""Operators of ONNX's own domain."""
