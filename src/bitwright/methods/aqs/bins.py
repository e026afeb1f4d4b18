"""Where codes fall among the bins of the high-order slice, and zero points moved to the centres of bins (ZPM).

A split l cuts the 256 codes into bins of 2^l; codes in the zero point's bin have the frequent slice r = zp >> l and can
be skipped. ZPM (sourced: Panacea moves the zero point at calibration so that more slices are the compressible one)
puts the zero point at the centre of a bin, of its own: zp' = 2^l floor(zp / 2^l) + 2^(l-1) (derived). A tensor is
one-sided if its zero point is the first or last code: then its bin already holds everything near zero.
"""

import dataclasses
import math

import torch

from bitwright.formats import SPLITS, Integer, PerPosition, SlicedUnsigned, frequent_slice, slice_window
from bitwright.methods.integer.observe import Ranges
from bitwright.methods.integer.scales import same_zero_point
from bitwright.methods.plan import OperandPlan

CODES = 256
WIDENINGS = 9  # candidates between keeping the scale and keeping both ends of the range; our choice


def sliced(operand: OperandPlan, split: int) -> OperandPlan:
    """The unsigned 8-bit operand cut at `split`; a zero point that this could not store moves to one that it can.

    So padding, which is the zero point's code, stays an exact zero.
    """
    fmt = SlicedUnsigned(split=split, rounding=operand.integer.rounding)
    kept = operand.zero_point >> fmt.dropped_bits << fmt.dropped_bits
    if kept == 0 < operand.zero_point:  # the first code would leave no room for negative numbers
        kept = 1 << fmt.dropped_bits
    return dataclasses.replace(operand, format=fmt, zero_point=kept)


def one_sided(zero_point: int) -> bool:
    """Whether no code, or next to none, lies on one side of real zero."""
    return zero_point in (0, CODES - 1)


def centred_zero_point(zero_point: int, split: int) -> int:
    """The centre of the zero point's bin."""
    return (zero_point >> split << split) + (1 << (split - 1))


def centred(operand: OperandPlan, split: int, seen: Ranges) -> OperandPlan:
    """The operand with its zero point at the centre of its bin or of one beside it.

    A range around another zero point loses codes at one end unless the scale is widened. Which centre, and how much
    widening, from none to all that both ends need, is decided by the least squared error of full codes on the histogram
    of calibration (our choice).
    """
    own = centred_zero_point(operand.zero_point, split)
    values, counts = histogram_of(seen)
    best, least = operand, math.inf
    for centre in (own - (1 << split), own, own + (1 << split)):
        if not 0 < centre < CODES - 1:
            continue
        needed = widening(operand.zero_point, centre)
        for part in range(WIDENINGS):
            scale = operand.usual_scale * (1 + (needed - 1) * part / (WIDENINGS - 1))
            codes = full(operand.integer).encode(values / scale.cpu(), centre)
            error = float((counts * ((codes - centre) * scale.cpu() - values).square()).sum())
            if error < least:
                best, least = _around(operand, scale, centre, seen), error
    return best


def _around(operand: OperandPlan, scale: torch.Tensor, centre: int, seen: Ranges) -> OperandPlan:
    """The operand with this scale and zero point, by which first rows with a scale of their own are scaled anew."""
    if isinstance(operand.granularity, PerPosition) and seen.first_range is not None:
        first = same_zero_point(*seen.first_range, full(operand.integer), centre)
        scale = torch.stack([first.to(scale), scale])
    return dataclasses.replace(operand, zero_point=centre, scale=scale)


def widening(old: int, new: int) -> float:
    """The scale that a range takes around another zero point, by the one it took, if both ends are to fit."""
    top = CODES - 1
    return max((top - old) / (top - new), old / new)


def full(fmt: Integer) -> Integer:
    """The format with all its bits stored."""
    return dataclasses.replace(fmt, split=SPLITS[0]) if isinstance(fmt, SlicedUnsigned) else fmt


def histogram_of(seen: Ranges) -> tuple[torch.Tensor, torch.Tensor]:
    """Centres of the bins of calibration's histogram, and their counts."""
    assert seen.histogram is not None
    low, high = seen.x_range
    bins = len(seen.histogram)
    return low + (torch.arange(bins) + 0.5) * ((high - low) / bins), seen.histogram


def code_shares(seen: Ranges, operand: OperandPlan) -> torch.Tensor:
    """Share of each of the 256 codes [256], low-order bits included, from the histogram of calibration."""
    values, counts = histogram_of(seen)
    codes = full(operand.integer).encode(values / operand.usual_scale.cpu(), operand.zero_point).long()
    shares = torch.zeros(CODES, dtype=torch.float64).index_add_(0, codes, counts)
    return shares / shares.sum()


def skipped_share(shares: torch.Tensor, zero_point: int, split: int) -> float:
    """Share of codes in the zero point's bin: single slices, not vectors of four."""
    low, high = slice_window(frequent_slice(zero_point, split), split)
    return float(shares[low : high + 1].sum())


def dropped_mean(shares: torch.Tensor, split: int) -> float:
    """Mean of the low-order bits that a split leaves out; (2^(l-4) - 1) / 2 where codes are spread evenly."""
    return float((shares * dropped_bits(split)).sum())


def dropped_variance(shares: torch.Tensor, split: int, *, corrected: bool) -> float:
    """Mean square, in codes, of what a split leaves out; about its mean where that is added back."""
    square = float((shares * dropped_bits(split).square()).sum())
    return square - dropped_mean(shares, split) ** 2 if corrected else square


def dropped_bits(split: int) -> torch.Tensor:
    """What is left out of each of the 256 codes [256]."""
    return torch.arange(CODES, dtype=torch.float64) % (1 << (split - 4))
