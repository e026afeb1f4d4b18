"""Hadamard rotations: orthogonal matrices of +1 and -1, divided by the root of their order, applied block by block.

A block is the largest power of two that divides the width, so that a rotation takes log2(block) additions per element
and no multiplication but one, which a quantizer's scale takes over. In this order of additions a row's result does not
depend on the rows around it. Spreading an outlier over its block is QuaRot's use of it (Ashkboos et al., NeurIPS 2024);
there, widths that are no powers of two have matrices of Paley's, which take twice the additions here and measured no
better (MiniLM, 384 channels: 26.5 dB in one block of 12 * 32, 27.0 dB in blocks of 128).
"""

import functools
import math
from typing import Any

import torch

NAMESPACE = "bitwright"
"""Of the operator, as torch lists it."""
ROTATE = "hadamard_rotation"
"""What reports call it."""


def block_of(width: int) -> int:
    """Channels that are rotated together; 1: an odd width, which has no rotation.

    Examples
    --------
    >>> block_of(512), block_of(1536), block_of(104), block_of(7)
    (512, 512, 8, 1)
    """
    return width & -width


def additions(width: int) -> int:
    """Additions per element of a rotation of `width` channels."""
    return block_of(width).bit_length() - 1


@functools.cache
def matrix(width: int) -> torch.Tensor:
    """The whole rotation [width, width], float64; y = x @ matrix. It is symmetric, and its own inverse.

    Examples
    --------
    >>> found = matrix(12)
    >>> bool(torch.allclose(found @ found, torch.eye(12, dtype=torch.float64)))
    True
    """
    block = torch.ones(1, 1, dtype=torch.float64)
    for _ in range(additions(width)):
        block = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64), block)
    return torch.block_diag(*[block / math.sqrt(len(block))] * (width // len(block)))


def rotated(x: torch.Tensor) -> torch.Tensor:
    """x [..., width] rotated along its last axis, in float32; gradients pass."""
    return torch.ops.bitwright.rotate(x, 0.0, 0)


def rotated_fixed(x: torch.Tensor, step: float, limit: int) -> torch.Tensor:
    """The same of x in multiples of `step`, -limit .. limit of them, by exact sums; gradients pass straight through."""
    return torch.ops.bitwright.rotate(x, step, limit)


@torch.library.custom_op(f"{NAMESPACE}::rotate", mutates_args=(), device_types="cpu")
def _rotate(x: torch.Tensor, step: float, limit: int) -> torch.Tensor:
    """x [..., width] rotated; with a limit, in multiples of a step."""
    from bitwright.formats.lookup_kernels import use_torch_threads
    from bitwright.networks.hadamard_kernels import rotate, rotate_alone

    block = block_of(x.shape[-1])
    rows = x.detach().reshape(-1, block)
    rows = (rows.double() / step).round().clamp(-limit, limit) if limit else rows.float()
    values = rows.clone(memory_format=torch.contiguous_format).numpy()
    scale = values.dtype.type((step if limit else 1.0) / math.sqrt(block))
    if torch.get_num_threads() == 1:  # without OpenMP, which a forked process must not use again
        rotate_alone(values, scale)
    else:
        use_torch_threads()
        rotate(values, scale)
    return torch.from_numpy(values).reshape(x.shape).to(x.dtype)


@_rotate.register_kernel("cuda")
def _(x: torch.Tensor, step: float, limit: int) -> torch.Tensor:
    root = math.sqrt(block_of(x.shape[-1]))
    values = (x.double() / step).round().clamp(-limit, limit) if limit else x.double()
    signs = (matrix(x.shape[-1]) * root).round().to(x.device)
    return ((values @ signs) * ((step if limit else 1.0) / root)).to(x.dtype)


@_rotate.register_fake
def _(x: torch.Tensor, step: float, limit: int) -> torch.Tensor:  # noqa: ARG001
    return x.new_empty(x.shape)


def _backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:  # noqa: ARG001
    return torch.ops.bitwright.rotate(gradient, 0.0, 0), None, None


_rotate.register_autograd(_backward)
