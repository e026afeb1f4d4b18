"""The product as the machine forms it: four products of classes per block, scattered back and shifted. Slow.

A block of the reduction gathers its wide and its narrow rows and columns, multiplies each of the four classes on its
own integers (narrow codes as u, at most 4 bits), and adds u * 2**shift where they belong. Where narrow codes count from
a smallest code (affine), that times the sum of the other operand is added besides. Twin of one product on the wide
grid.
"""

import math

import torch

from bitwright.formats import Quantized
from bitwright.methods.classes import block_lengths
from bitwright.networks import windows
from bitwright.networks.view import GemmView


def class_product(view: GemmView, x: Quantized, w: Quantized, *, affine: bool) -> torch.Tensor:
    """Sums of products of centred codes, int64, as y; `affine`: see the module.

    Every position of a kernel is a product of the pixels that it reads, each group one of its own.
    """
    assert x.shifts is not None
    assert w.shifts is not None
    rows, x_shifts = (
        windows.padded(each, view).reshape(
            view.groups, -1, *(n + 2 * p for n, p in zip(view.size, view.padding, strict=True)), each.shape[-1]
        )
        for each in (_centred(x), x.shifts)
    )
    columns, w_shifts = (each.reshape(view.groups, view.n, *view.kernel, -1) for each in (_centred(w), w.shifts))
    total = torch.zeros(view.groups, math.prod(view.rows) * math.prod(view.output_size), view.n, dtype=torch.int64)
    for tap, read in windows.taps(view):
        for group in range(view.groups):
            pixels, shifts = (each[group][read].flatten(0, -2) for each in (rows, x_shifts))
            total[group] += _blocks(pixels, columns[group][tap], shifts, w_shifts[group][tap], affine)
    return total.reshape(view.output_shape)


def _centred(operand: Quantized) -> torch.Tensor:
    return operand.codes.to(torch.int64) - operand.zero_point


def _blocks(
    x: torch.Tensor, w: torch.Tensor, x_shifts: torch.Tensor, w_shifts: torch.Tensor, affine: bool
) -> torch.Tensor:
    """Sums [M, N] of x [M, K] and w [N, K], whose blocks dropped x_shifts [M, blocks] and w_shifts [N, blocks]."""
    total = torch.zeros(len(x), len(w), dtype=torch.int64)
    start = 0
    for block, length in enumerate(block_lengths(x.shape[1], x_shifts.shape[1])):
        part = slice(start, start + length)
        total += _four(x[:, part], w[:, part], x_shifts[:, block], w_shifts[:, block], affine)
        start += length
    return total


def _four(x: torch.Tensor, w: torch.Tensor, x_shift: torch.Tensor, w_shift: torch.Tensor, affine: bool) -> torch.Tensor:
    """One block: its four classes, each gathered, multiplied and scattered."""
    total = torch.zeros(len(x), len(w), dtype=torch.int64)
    for wide_x in (True, False):
        for wide_w in (True, False):
            rows, columns = ((x_shift < 0) == wide_x).nonzero()[:, 0], ((w_shift < 0) == wide_w).nonzero()[:, 0]
            u, x_base, x_step = _narrow_codes(x[rows], x_shift[rows], affine)
            v, w_base, w_step = _narrow_codes(w[columns], w_shift[columns], affine)
            sums = (u @ v.t()) * x_step * w_step.t()
            sums += x_base * (v.sum(1, keepdim=True) * w_step).t() + (u.sum(1, keepdim=True) * x_step) * w_base.t()
            sums += x_base * w_base.t() * x.shape[1]
            total[rows.unsqueeze(1), columns] += sums
    return total


def _narrow_codes(
    codes: torch.Tensor, shift: torch.Tensor, affine: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Codes u of 4 bits, what they count from [rows, 1] and their step [rows, 1]; wide rows as they are."""
    narrow = (shift >= 0).unsqueeze(1)
    step = (1 << shift.clamp_min(0).long()).unsqueeze(1)
    smallest = codes.amin(1, keepdim=True) if codes.numel() else torch.zeros_like(step)
    base = torch.where(narrow & affine, smallest, 0)
    u = torch.div(codes - base, step, rounding_mode="floor")
    assert bool((u * step + base == codes).all()), "narrow codes lie on a grid"
    assert bool(((u >= -7) & (u <= 15) | ~narrow).all()), "narrow codes have 4 bits"
    return u, base, step
