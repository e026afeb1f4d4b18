"""Hadamard rotations: orthogonal matrices of +1 and -1, divided by the root of their order, applied block by block.

A block is of an order that divides the width: the largest power of two, or the largest that Kronecker products of
Paley's matrices with these reach (`bitwright.networks.paley`: 576 = 12 * 12 * 4). A rotation takes one addition per
element for each factor of 2, half the order for each of Paley's, and no multiplication but one, which a quantizer's
scale takes over. In this order of additions a row's result does not depend on the rows around it. Spreading an outlier
over its block is QuaRot's use of it (Ashkboos et al., NeurIPS 2024).

What all channels have in common, their mean, the first row of ones would collect in one channel. So signs of x may be
flipped first, as in randomized Hadamard transforms; they are known beforehand, so that a machine subtracts where it
would add. Here they are those of the sequence of Golay, Rudin and Shapiro, whose transform by a power of two is as flat
as can be (Rudin, Proc. AMS 10, 1959).
"""

import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bitwright.networks import paley

NAMESPACE = "bitwright"
"""Of the operator, as torch lists it."""
ROTATE = "hadamard_rotation"
"""What reports call it."""


def block_of(width: int) -> int:
    """Channels that are rotated together in blocks of a power of two; 1: an odd width, which has no rotation.

    Examples
    --------
    >>> block_of(512), block_of(1536), block_of(104), block_of(7)
    (512, 512, 8, 1)
    """
    return width & -width


def is_order(block: int) -> bool:
    """Whether blocks of this size can be rotated."""
    return block >= 1 and paley.factors(block) is not None


def additions(block: int) -> int:
    """Additions per element of a rotation in blocks of this order.

    Examples
    --------
    >>> additions(64), additions(576), additions(384)
    (6, 14, 11)
    """
    return sum(map(paley.additions_of, _factors(block)))


@functools.cache
def signs_of(block: int) -> torch.Tensor:
    """1 and -1 by channel of a block, float32: -1 where the binary index has an odd number of neighbouring ones.

    Examples
    --------
    >>> signs_of(8).tolist()
    [1.0, 1.0, 1.0, -1.0, 1.0, 1.0, -1.0, 1.0]
    """
    return torch.tensor([1.0 - 2.0 * ((i & (i >> 1)).bit_count() % 2) for i in range(block)])


@functools.cache
def matrix(width: int, block: int = 0, *, signs: bool = False) -> torch.Tensor:
    """The whole rotation [width, width] in blocks, float64; y = x @ matrix.

    A block of 0 is the largest power of two. Without flipped signs it is symmetric, and its own inverse.

    Examples
    --------
    >>> found = matrix(12)
    >>> bool(torch.allclose(found @ found, torch.eye(12, dtype=torch.float64)))
    True
    """
    block = block or block_of(width)
    found = functools.reduce(
        torch.kron, map(paley.signs, _factors(block)), torch.ones(1, 1, dtype=torch.int64)
    ).double()
    found = found * signs_of(block).double().unsqueeze(1) if signs else found
    return torch.block_diag(*[found / math.sqrt(block)] * (width // block))


def rotated(x: torch.Tensor, block: int = 0, *, signs: bool = False) -> torch.Tensor:
    """x [..., width] rotated along its last axis, in float32; gradients pass."""
    return torch.ops.bitwright.rotate(x, 0.0, 0, block or block_of(x.shape[-1]), signs)


def rotated_fixed(x: torch.Tensor, step: float, limit: int, block: int = 0, *, signs: bool = False) -> torch.Tensor:
    """The same of x in multiples of `step`, -limit .. limit of them, by exact sums; gradients pass straight through."""
    return torch.ops.bitwright.rotate(x, step, limit, block or block_of(x.shape[-1]), signs)


def _factors(block: int) -> tuple[int, ...]:
    found = paley.factors(block)
    assert found is not None, f"no Hadamard matrix of order {block} is known here"
    return found


@torch.library.custom_op(f"{NAMESPACE}::rotate", mutates_args=(), device_types="cpu")
def _rotate(x: torch.Tensor, step: float, limit: int, block: int, signs: bool) -> torch.Tensor:
    """x [..., width] rotated in blocks; with a limit, in multiples of a step."""
    from bitwright.formats.lookup_kernels import use_torch_threads
    from bitwright.networks import hadamard_kernels as kernels

    rows = x.detach().reshape(-1, block)
    rows = (rows.double() / step).round().clamp(-limit, limit) if limit else rows.float()
    values, result = rows.contiguous().numpy(), torch.empty(rows.shape, dtype=rows.dtype)
    flips, orders, conferences = _constants(block, signs, values.dtype.name)
    scale = values.dtype.type((step if limit else 1.0) / math.sqrt(block))
    alone = torch.get_num_threads() == 1  # without OpenMP, which a forked process must not use again
    if not alone:
        use_torch_threads()
    kernel = kernels.rotate_alone if alone else kernels.rotate
    kernel(values, result.numpy(), flips, orders, conferences, scale)
    return result.reshape(x.shape).to(x.dtype)


@functools.cache
def _constants(block: int, signs: bool, kind: str) -> tuple[npt.NDArray[Any], ...]:
    """What the kernels need of a block: signs, the orders of Paley's among its factors, and their matrices."""
    flips = signs_of(block) if signs else torch.ones(block)
    orders = [factor for factor in _factors(block) if factor != 2]
    matrices = [paley.conference(order).numpy().ravel() for order in orders]
    conferences = np.concatenate(matrices) if matrices else np.zeros(0)
    return flips.numpy().astype(kind), np.array(orders, np.int64), conferences.astype(kind)


@_rotate.register_kernel("cuda")
def _(x: torch.Tensor, step: float, limit: int, block: int, signs: bool) -> torch.Tensor:
    root = math.sqrt(block)
    values = (x.double() / step).round().clamp(-limit, limit) if limit else x.double()
    ones = (matrix(x.shape[-1], block, signs=signs) * root).round().to(x.device)
    return ((values @ ones) * ((step if limit else 1.0) / root)).to(x.dtype)


@_rotate.register_fake
def _(x: torch.Tensor, step: float, limit: int, block: int, signs: bool) -> torch.Tensor:  # noqa: ARG001
    return x.new_empty(x.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001
    ctx.block, ctx.signs = inputs[3:]


def _backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None, None]:
    back = torch.ops.bitwright.rotate(gradient, 0.0, 0, ctx.block, False)
    if ctx.signs:
        back = back * signs_of(ctx.block).to(back).repeat(back.shape[-1] // ctx.block)
    return back, None, None, None, None


_rotate.register_autograd(_backward, setup_context=_keep)
