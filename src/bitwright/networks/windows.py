"""Windows over pixels: what a convolution's outputs read at each position of its kernel, for any number of axes.

Pixels are laid out [..., *size, channels]; `GemmView` and `ConvGeometry` are windows.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Protocol

from bitwright.later import functional as F
from bitwright.later import torch

Extents = tuple[int, ...]


class Window(Protocol):
    """The extents of a convolution along its spatial axes."""

    @property
    def kernel(self) -> Extents:
        """Positions."""

    @property
    def stride(self) -> Extents:
        """Of outputs, in pixels."""

    @property
    def padding(self) -> Extents:
        """At both ends, in pixels."""

    @property
    def dilation(self) -> Extents:
        """Of the kernel's positions, in pixels."""

    @property
    def output_size(self) -> Extents:
        """In pixels."""


def padded(pixels: torch.Tensor, window: Window, value: float = 0) -> torch.Tensor:
    """`pixels` with the window's padding."""
    if not any(window.padding):
        return pixels
    return F.pad(pixels, (0, 0, *(side for each in reversed(window.padding) for side in (each, each))), value=value)


def taps(window: Window) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    """Every position of the kernel, and the index by which padded pixels [..., *size, channels] give what it reads.

    The position is an index too, of a kernel [..., *kernel, channels].

    Without spatial axes there is one position, at which everything is read.
    """
    for tap in itertools.product(*map(range, window.kernel)):
        along = zip(tap, window.dilation, window.stride, window.output_size, strict=True)
        reads = (slice(t * d, t * d + step * (size - 1) + 1, step) for t, d, step, size in along)
        yield (..., *tap, slice(None)), (..., *reads, slice(None))
