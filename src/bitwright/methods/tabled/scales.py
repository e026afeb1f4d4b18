"""Scales of a format by least squared error: clippings of the largest magnitude, row by row.

Our choice of candidates: the largest value of the format stands for 100 % down to 20 % of the largest magnitude.
"""

import torch

from bitwright.formats import Format

CLIPPINGS = torch.linspace(1.0, 0.2, 41)
SMALLEST = torch.finfo(torch.float32).tiny


def least_error_scales(
    rows: torch.Tensor, fmt: Format, counts: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The scale of each row of `rows` [R, V] in a format, and its sum of squared errors; both [R, 1].

    `counts` [V] says how often each value occurs; None: once.
    """
    peak = rows.abs().amax(1, keepdim=True)
    largest = float(fmt.table().nan_to_num(0).max())
    best = torch.where(peak > 0, (peak / largest).clamp_min(SMALLEST), torch.ones_like(peak))
    least = torch.full_like(peak, torch.inf, dtype=torch.float64)
    full = best
    for clipping in CLIPPINGS.tolist():
        scale = full * clipping
        squares = (fmt.decode(fmt.encode(rows / scale)) * scale - rows).square()
        error = (squares if counts is None else squares * counts).sum(1, keepdim=True)
        best = torch.where(error < least, scale, best)
        least = torch.minimum(error.double(), least)
    return best, least
