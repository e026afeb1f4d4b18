"""The product as the machine forms it: four products of classes per block, scattered back and shifted. Slow.

A block of the reduction gathers its wide and its narrow rows and columns, multiplies each of the four classes on its
own integers (narrow codes as u, at most 4 bits), and adds u * 2**shift where they belong. Where narrow codes count from
a smallest code (affine), that times the sum of the other operand is added besides. Twin of one product on the wide
grid.
"""

import torch
import torch.nn.functional as F

from bitwright.formats import Quantized
from bitwright.methods.classes import block_lengths
from bitwright.networks.calls import Call


def class_product(call: Call, x: Quantized, w: Quantized, *, affine: bool) -> torch.Tensor:
    """Sums of products of centred codes, int64, in the call's output layout; `affine`: see the module."""
    assert x.shifts is not None
    assert w.shifts is not None
    rows, columns = _centred(x), _centred(w)
    if call.layout == "conv2d":
        return _convolution(call, rows, columns, x.shifts, w.shifts, affine)
    if call.layout == "batched":
        columns = columns.transpose(-1, -2)
    lead = rows.shape[:-1]
    groups = columns.shape[:-2].numel() if call.layout == "batched" else 1
    rows, columns = (each.reshape(groups, -1, each.shape[-1]) for each in (rows, columns))
    x_shifts, w_shifts = (
        shifts.reshape(groups, each.shape[1], -1) for shifts, each in ((x.shifts, rows), (w.shifts, columns))
    )
    found = torch.stack([_blocks(*each, affine) for each in zip(rows, columns, x_shifts, w_shifts, strict=True)])
    return found.reshape(*lead, -1)


def _centred(operand: Quantized) -> torch.Tensor:
    return operand.codes.to(torch.int64) - operand.zero_point


def _convolution(
    call: Call, x: torch.Tensor, w: torch.Tensor, x_shifts: torch.Tensor, w_shifts: torch.Tensor, affine: bool
) -> torch.Tensor:
    """Every position of the kernel is a product of the pixels that it reads, each group of channels one of its own."""
    vertical, horizontal = call.padding
    x = F.pad(x.permute(0, 2, 3, 1), (0, 0, horizontal, horizontal, vertical, vertical))
    x_shifts = F.pad(x_shifts, (0, 0, horizontal, horizontal, vertical, vertical), value=0)
    (height, width), (down, right) = call.output_size, call.stride
    channels, filters = x.shape[3] // call.groups, len(w) // call.groups
    blocks = x_shifts.shape[3] // call.groups
    total = torch.zeros(len(x) * height * width, len(w), dtype=torch.int64)
    for i in range(w.shape[2]):
        for j in range(w.shape[3]):
            top, left = i * call.dilation[0], j * call.dilation[1]
            reads = (
                slice(None),
                slice(top, top + down * (height - 1) + 1, down),
                slice(left, left + right * (width - 1) + 1, right),
            )
            pixels, shifts = x[reads].reshape(-1, x.shape[3]), x_shifts[reads].reshape(-1, x_shifts.shape[3])
            for group in range(call.groups):
                own = slice(group * filters, (group + 1) * filters)
                total[:, own] += _blocks(
                    pixels[:, group * channels : (group + 1) * channels],
                    w[own, :, i, j],
                    shifts[:, group * blocks : (group + 1) * blocks],
                    w_shifts[own, i, j],
                    affine,
                )
    return total.reshape(len(x), height, width, -1).permute(0, 3, 1, 2)


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
