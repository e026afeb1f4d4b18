"""Scales and zero points from observed ranges: real = scale * (code - zero_point).

Asymmetric: scale = (max - min) / (codes - 1), zero_point = round(low code - min / scale), with 0 always in the range so
that padding is exact. Symmetric: scale = max |x| / largest code. Calibrators choose the range: min-max, a percentile
of |x|, or the clipping with the least mean squared error on a histogram.
"""

from __future__ import annotations

import functools
import math

from bitwright.formats import Integer
from bitwright.later import torch

SMALLEST = 2.0**-126  # a float32 scale below would be denormal, and dividing by it infinite


@functools.cache
def clippings() -> torch.Tensor:
    """Candidate shares of the full range, for the least-error search (ours)."""
    return torch.linspace(1.0, 0.3, 36)


def affine(low: float, high: float, fmt: Integer, *, symmetric: bool) -> tuple[torch.Tensor, int]:
    """Scale (float32 scalar) and zero point of a tensor in [`low`, `high`]."""
    low, high = min(low, 0.0), max(high, 0.0)
    if symmetric:
        return symmetric_scale(torch.tensor(max(-low, high)), fmt), 0
    width = (high - low) / (fmt.high - fmt.low)
    scale = torch.tensor(max(width, SMALLEST) if width else 1.0, dtype=torch.float32)
    zero_point = round(fmt.low - low / float(scale))
    return scale, min(max(zero_point, fmt.low), fmt.high)


def row_ranges(x: torch.Tensor, fmt: Integer) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and zero point [.., rows, 1], float32, of every row of `x` as `affine` has them; codes are unsigned."""
    low, high = x.amin(-1, keepdim=True).clamp_max(0), x.amax(-1, keepdim=True).clamp_min(0)
    width = (high - low) / fmt.high
    scale = torch.where(width > 0, width.clamp_min(SMALLEST), torch.ones_like(width))
    return scale, (-low / scale).round().clamp_(0, fmt.high)


def same_zero_point(low: float, high: float, fmt: Integer, zero_point: int) -> torch.Tensor:
    """The least scale (float32 scalar) by which [`low`, `high`] fits a zero point that is given.

    A range on a side of zero that the zero point leaves no code for is clipped.
    """
    above, below = fmt.high - zero_point, zero_point - fmt.low
    wanted = [side / codes for side, codes in ((max(high, 0.0), above), (max(-low, 0.0), below)) if codes]
    width = max(wanted)
    return torch.tensor(max(width, SMALLEST) if width else 1.0, dtype=torch.float32)


def symmetric_scale(peak: torch.Tensor, fmt: Integer) -> torch.Tensor:
    """Scales of the shape of `peak` = max |x|; 1 where a slice is all zeros."""
    return torch.where(peak > 0, (peak / fmt.high).clamp_min(SMALLEST), torch.ones_like(peak)).to(torch.float32)


def weight_peaks(w: torch.Tensor, fmt: Integer, calibrator: str, percentile: float) -> torch.Tensor:
    """The magnitude [rows, 1] that the largest code of each row of `w` [rows, elements] stands for."""
    magnitude = w.abs()
    peak = magnitude.amax(dim=1, keepdim=True)
    if calibrator == "minmax":
        return peak
    if calibrator == "percentile":
        kept = magnitude.kthvalue(math.ceil(w.shape[1] * percentile / 100), dim=1, keepdim=True).values
        return torch.where(kept > 0, kept, peak)  # a row that is mostly zeros keeps its largest
    clipped = peak * clippings().to(peak)
    scales = symmetric_scale(clipped, fmt)
    from bitwright.methods import kernels

    search = kernels.least_error if kernels.can_search(w, fmt) else least_error
    return clipped.gather(1, search(w, scales, fmt))


def least_error(w: torch.Tensor, scales: torch.Tensor, fmt: Integer) -> torch.Tensor:
    """Which of the `scales` [rows, many] of each row of `w` has the least squared error, int64 [rows, 1]; the first."""
    errors = [
        (w - fmt.encode(w / scale) * scale).square().sum(dim=1, dtype=torch.float64)
        for scale in scales.unsqueeze(-1).unbind(1)
    ]
    return torch.stack(errors, 1).argmin(1, keepdim=True)


def clipped_range(
    histogram: torch.Tensor,
    low: float,
    high: float,
    fmt: Integer,
    *,
    calibrator: str,
    percentile: float,
    symmetric: bool,
) -> tuple[float, float]:
    """The range to keep of values counted in equal bins over [`low`, `high`]."""
    centres = low + (torch.arange(len(histogram)) + 0.5) * ((high - low) / len(histogram))
    if calibrator == "percentile":
        magnitude, order = centres.abs().sort()
        share = histogram[order].cumsum(0) / histogram.sum()
        limit = float(magnitude[int(torch.searchsorted(share, percentile / 100).clamp(max=len(share) - 1))])
        return max(low, -limit), min(high, limit)
    errors = []
    for clipping in clippings().tolist():
        scale, zero_point = affine(low * clipping, high * clipping, fmt, symmetric=symmetric)
        codes = fmt.encode(centres / scale, zero_point)
        errors.append(float((histogram * ((codes - zero_point) * scale - centres).square()).sum()))
    clipping = float(clippings()[int(torch.tensor(errors).argmin())])
    return low * clipping, high * clipping
