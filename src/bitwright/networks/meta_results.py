"""What operators of convolutional networks give on the meta device, by their shapes alone.

torch finds most of these by Python decompositions, behind its compiler, whose import takes more than a second. Tests
hold shapes, types and strides equal to torch's.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from bitwright.networks.view import output_size

aten = torch.ops.aten


def meta_result(func: Any, args: Sequence[Any], kwargs: Any) -> Any:
    """What operator `func` gives, where its first argument is on the meta device and it is known here; else None."""
    known = RESULTS.get(func)
    if known is None or kwargs or not args or not isinstance(args[0], torch.Tensor) or not args[0].is_meta:
        return None
    return known(*args)


def _like(x: torch.Tensor) -> torch.Tensor | None:
    """A tensor laid out as x, if its memory has no gaps: torch finds `empty_like` by Python here."""
    dense = x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=x.device) if dense else None


def _alike(x: torch.Tensor, *numbers: Any) -> torch.Tensor | None:
    """As large as x: an operator of each element by itself."""
    plain = x.is_floating_point() and not any(isinstance(each, torch.Tensor) for each in numbers)
    return _like(x) if plain else None


def _sum(x: torch.Tensor, other: Any) -> torch.Tensor | None:
    alike = isinstance(other, torch.Tensor) and other.is_meta and (x.shape, x.dtype) == (other.shape, other.dtype)
    return _like(x) if alike and x.stride() == other.stride() else None


def _batch_norm(x: torch.Tensor, *_: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
    y = _like(x)
    if x.dtype != torch.float32 or y is None:
        return None
    return y, torch.empty(x.shape[1], device=x.device), torch.empty(x.shape[1], device=x.device)


def _mean(x: torch.Tensor, axes: Sequence[int] | None, keeps: bool = False) -> torch.Tensor | None:
    if not axes or not x.is_floating_point() or not x.is_contiguous():
        return None
    reduced = {axis % x.dim() for axis in axes}
    sizes = [1 if axis in reduced else size for axis, size in enumerate(x.shape) if keeps or axis not in reduced]
    return torch.empty(sizes, dtype=x.dtype, device=x.device)


def _max_pool(
    x: torch.Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil_mode: bool = False,
) -> tuple[torch.Tensor, torch.Tensor] | None:
    if x.dim() != 4 or not x.is_contiguous() or ceil_mode:
        return None
    taps, steps, sides, apart = (
        tuple(each) * (3 - len(each)) for each in (kernel, stride or kernel, padding, dilation)
    )
    sizes = *x.shape[:2], *output_size(tuple(x.shape[2:]), taps, steps, sides, apart)
    return torch.empty(sizes, dtype=x.dtype, device=x.device), torch.empty(sizes, dtype=torch.int64, device=x.device)


RESULTS: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys((aten.relu.default, aten.hardtanh.default, aten.silu.default, aten.gelu.default), _alike),
    aten.add.Tensor: _sum,
    aten.mean.dim: _mean,
    aten.max_pool2d_with_indices.default: _max_pool,
    aten.native_batch_norm.default: _batch_norm,
}
