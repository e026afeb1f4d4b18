"""From 8 bits to 4 at run time: which sub-tensors become narrow, and what becomes of their codes.

Our reconstruction of Drift (Liu et al., DAC 2024, DOI 10.1145/3649329.3655986). Public is that tensors of a statically
quantized network drop precision at run time by their distribution; the range and density tests are recollections of the
paper, and the formulas are derived here and not the paper's.

A sub-tensor holds centred codes c = code - zero_point. It drops `shift` low-order bits:

    narrow code u = clip(round(c / 2**shift)),   c ~ u * 2**shift        (ties to even)

with u in -7 .. 7, or in 0 .. 15 where the operand is never negative. Range test: `shift` is the smallest of 0 .. 4 that
fits the largest |c|; at 4 the last codes saturate. Density test, for a Laplace density: the mean absolute deviation b =
mean |c - mean(c)| must be at least delta steps, b >= delta * 2**shift; what needs no shift loses nothing and passes. It
is about the mean, so a machine goes through a sub-tensor twice. `affine` (ours) counts from the sub-tensor's smallest
code instead of zero, c ~ low + u * 2**shift with u in 0 .. 15: the constant low times the sum of each column of w is
one more term of the output. Narrow codes stay within the wide format. Ties go to even (ours): one integer in 2**shift
is a tie, and rounding all of them one way would add up along one-sided codes.

A round-to-nearest quantizer of unlimited range has on Laplace data the relative squared error 1 - u / sinh(u), where
u = 1 / (2 * delta) (`expected_error`).
"""

from __future__ import annotations

import dataclasses
import enum
import math

from bitwright.errors import InputError
from bitwright.formats import Quantized
from bitwright.later import torch
from bitwright.methods.classes import block_size

DROPPED_MOST = 4
WIDE = -1
"""Shift of a sub-tensor that stays wide."""


class Conversion(enum.StrEnum):
    """What narrow codes count from."""

    ZERO = "zero"
    AFFINE = "affine"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Narrowing:
    """How an operand's sub-tensors become narrow.

    Attributes
    ----------
    delta : float
        Least mean absolute deviation, in steps of the narrow code; infinite: only what loses nothing.
    block : int
        Most elements of the reduction in a sub-tensor; 0: all.
    region : int
        Pixels along each side of a sub-tensor of images.
    conversion : Conversion
        What narrow codes count from.
    """

    delta: float
    block: int = 0
    region: int = 1
    conversion: Conversion = Conversion.ZERO


def expected_error(delta: float) -> float:
    """Relative squared error of Laplace data whose mean absolute deviation is `delta` steps.

    Examples
    --------
    >>> round(expected_error(1.0), 4)
    0.0405
    """
    u = 1 / (2 * delta)
    return 1 - u / math.sinh(u)


def reaches(*, signed: bool) -> list[int]:
    """The largest |c| (span of c where codes are unsigned) that each shift takes, 0 .. 4.

    Examples
    --------
    >>> reaches(signed=True)
    [7, 15, 30, 60, 127]
    """
    top = 7 if signed else 15
    return [*(top * 2**shift + 2**shift // 2 for shift in range(DROPPED_MOST)), 127 if signed else 255]


def narrow_rows(operand: Quantized, how: Narrowing, *, images: int = 0) -> Quantized:
    """An operand [..., channels] with narrow sub-tensors: blocks of its last axis, where the reduction runs.

    `images`: how many of the axes before it are those of images, whose regions of pixels (along the last two of them)
    are sub-tensors of their own.
    """
    codes = _dense(operand, operand.codes)
    channels, region = codes.shape[-1], how.region if images else 1
    height, width = (codes.shape[-3] if images > 1 else 1, codes.shape[-2]) if images else (1, codes[..., 0].numel())
    shifts = _narrow(codes.view(-1, height, width, channels), operand, how, region=region)
    return dataclasses.replace(operand, codes=codes, shifts=shifts.view(*codes.shape[:-1], -1))


def _dense(operand: Quantized, codes: torch.Tensor) -> torch.Tensor:
    """Contiguous codes, on the CPU in the type that the kernel takes."""
    fmt = operand.integer
    if fmt.bits <= 8 and codes.device.type == "cpu":
        codes = codes.to(torch.int8 if fmt.signed else torch.uint8)
    return codes.contiguous()


def _narrow(codes: torch.Tensor, operand: Quantized, how: Narrowing, *, region: int) -> torch.Tensor:
    """Narrow contiguous codes [batch, height, width, channels] in place; shifts [batch, height, width, blocks]."""
    fmt = operand.integer
    if fmt.bits > 8:
        raise InputError(
            f"an operand of {fmt.name} cannot drop to 4 bits by 4 low-order ones; use codes of at most 8 bits"
        )
    signed = how.conversion is Conversion.ZERO and (fmt.signed or operand.zero_point > fmt.low)
    limits = fmt.low - operand.zero_point, fmt.high - operand.zero_point
    size = block_size(codes.shape[-1], how.block)
    tests = Decision(
        delta=how.delta,
        size=size,
        region=region,
        signed=signed,
        affine=how.conversion is Conversion.AFFINE,
        zero_point=operand.zero_point,
        low=limits[0],
        high=limits[1],
    )
    if codes.device.type == "cpu" and codes.dtype in (torch.int8, torch.uint8):
        from bitwright.methods.drift import kernels

        return kernels.narrow(codes, tests)
    return narrow_by_torch(codes, tests)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decision:
    """Both tests and the conversion of one operand, in numbers.

    Attributes
    ----------
    delta : float
        Of the density test.
    size, region : int
        Elements of a block; pixels along a region's side.
    signed, affine : bool
        Whether narrow codes are signed; whether they count from the smallest code.
    zero_point : int
        Of the codes.
    low, high : int
        Range of centred codes in the wide format.
    """

    delta: float
    size: int
    region: int
    signed: bool
    affine: bool
    zero_point: int
    low: int
    high: int


def narrow_by_torch(codes: torch.Tensor, tests: Decision) -> torch.Tensor:
    """The same by torch operators on any device and type of codes; twin of the kernel, and not in blocks of memory."""
    batch, height, width, channels = codes.shape
    rows, columns, blocks = -(-height // tests.region), -(-width // tests.region), -(-channels // tests.size)
    shape = (batch, rows, tests.region, columns, tests.region, blocks, tests.size)
    grid = torch.zeros(batch, shape[1] * shape[2], shape[3] * shape[4], shape[5] * shape[6], dtype=torch.float64)
    grid, there = grid.to(codes.device), grid.bool().to(codes.device)
    grid[:, :height, :width, :channels] = codes.double() - tests.zero_point
    there[:, :height, :width, :channels] = True
    axes = (0, 1, 3, 5, 2, 4, 6)
    c = grid.view(shape).permute(axes).flatten(4)
    inside = there.view(shape).permute(axes).flatten(4)
    count = inside.sum(-1)
    smallest = torch.where(inside, c, torch.inf).amin(-1)
    largest = torch.where(inside, c, -torch.inf).amax(-1)
    reached = largest - smallest if tests.affine else torch.maximum(largest, -smallest)
    fits = torch.tensor(reaches(signed=tests.signed), device=codes.device)
    shift = (reached.unsqueeze(-1) > fits).sum(-1)
    mean = _rounded_mean(c.sum(-1), count)
    deviation = torch.where(inside, (c - mean.unsqueeze(-1)).abs(), 0.0).sum(-1)
    dense = deviation >= tests.delta * torch.ldexp(count.double(), shift)
    narrow = (shift <= DROPPED_MOST) & ((shift == 0) | dense)
    base = smallest.unsqueeze(-1) if tests.affine else torch.zeros_like(c)
    step = torch.ldexp(torch.ones_like(shift, dtype=torch.float64), shift).unsqueeze(-1)
    u = ((c - base) / step).round()
    top = 7 if tests.signed else 15
    u = u.clamp(-top if tests.signed else 0, top)
    u = u.maximum(-((base - tests.low) / step).floor()).minimum(((tests.high - base) / step).floor())
    c = torch.where(narrow.unsqueeze(-1), base + u * step, c)
    unfolded = c.view(batch, rows, columns, blocks, tests.region, tests.region, tests.size)
    result = unfolded.permute(0, 1, 4, 2, 5, 3, 6).reshape(grid.shape)[:, :height, :width, :channels]
    codes.copy_(result + tests.zero_point)
    chosen = torch.where(narrow, shift, WIDE).to(torch.int8)
    spread = chosen.repeat_interleave(tests.region, 1).repeat_interleave(tests.region, 2)
    return spread[:, :height, :width].contiguous()


def _rounded_mean(total: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """total / count to the next integer, halves up."""
    return ((2 * total + count) / (2 * count)).floor()
