"""Where codes fall among the bins of the high-order slice, and zero points moved to the centres of bins (ZPM).

A split l cuts the 256 codes into bins of 2^l; codes in the zero point's bin have the frequent slice r = zp >> l and can
be skipped. ZPM (sourced: Panacea moves the zero point at calibration so that more slices are the compressible one)
puts the zero point at the centre of a bin, of its own: zp' = 2^l floor(zp / 2^l) + 2^(l-1) (derived). A tensor is
one-sided if its zero point is the first or last code: then its bin already holds everything near zero.
"""

import dataclasses
from typing import Literal

import torch

from bitwright.formats import SlicedUnsigned, frequent_slice, slice_window
from bitwright.methods.integer.observe import Ranges
from bitwright.methods.plan import OperandPlan

CODES = 256


def sliced(operand: OperandPlan, split: int) -> OperandPlan:
    """The unsigned 8-bit operand cut at `split`; a zero point that this could not store moves to one that it can.

    So padding, which is the zero point's code, stays an exact zero.
    """
    fmt = SlicedUnsigned(split=split, rounding=operand.format.rounding)
    kept = operand.zero_point >> fmt.dropped_bits << fmt.dropped_bits
    if kept == 0 < operand.zero_point:  # the first code would leave no room for negative numbers
        kept = 1 << fmt.dropped_bits
    return _moved(dataclasses.replace(operand, format=fmt), kept, "rescale")


def one_sided(zero_point: int) -> bool:
    """Whether no code, or next to none, lies on one side of real zero."""
    return zero_point in (0, CODES - 1)


def centred_zero_point(zero_point: int, split: int) -> int:
    """The centre of the zero point's bin."""
    return (zero_point >> split << split) + (1 << (split - 1))


def centred(operand: OperandPlan, split: int, keep: Literal["rescale", "clip"]) -> OperandPlan:
    """The operand with its zero point at the centre of a bin.

    To `clip` is to keep the scale and the bin, and to lose codes at one end. To `rescale` is to widen the scale until
    both ends fit again, in that of the neighbouring bins where this takes least.
    """
    own = centred_zero_point(operand.zero_point, split)
    if keep == "clip":
        return _moved(operand, own, keep)
    centres = [centre for centre in (own - (1 << split), own, own + (1 << split)) if 0 < centre < CODES]
    return _moved(operand, min(centres, key=lambda centre: _widening(operand.zero_point, centre)), keep)


def _widening(old: int, new: int) -> float:
    """The scale that a range takes around another zero point, by the one it took."""
    top = CODES - 1
    return max((top - old) / (top - new), old / new)


def _moved(operand: OperandPlan, new: int, keep: Literal["rescale", "clip"]) -> OperandPlan:
    if new == operand.zero_point or operand.scale is None or keep == "clip":
        return dataclasses.replace(operand, zero_point=new)
    widened = operand.scale * _widening(operand.zero_point, new)
    return dataclasses.replace(operand, zero_point=new, scale=widened)


def code_shares(seen: Ranges, operand: OperandPlan) -> torch.Tensor:
    """Share of each of the 256 codes [256], low-order bits included, from the histogram of calibration."""
    assert seen.histogram is not None
    assert operand.scale is not None
    low, high = seen.x_range
    bins = len(seen.histogram)
    values = low + (torch.arange(bins) + 0.5) * ((high - low) / bins)
    full = (
        dataclasses.replace(operand.format, split=4) if isinstance(operand.format, SlicedUnsigned) else operand.format
    )
    codes = full.encode(values / operand.scale.float().cpu(), operand.zero_point).long()
    counts = torch.zeros(CODES, dtype=torch.float64).index_add_(0, codes, seen.histogram)
    return counts / counts.sum()


def skipped_share(shares: torch.Tensor, zero_point: int, split: int) -> float:
    """Share of codes in the zero point's bin: single slices, not vectors of four."""
    low, high = slice_window(frequent_slice(zero_point, split), split)
    return float(shares[low : high + 1].sum())


def dropped_mean(shares: torch.Tensor, split: int) -> float:
    """Mean of the low-order bits that a split leaves out; (2^(l-4) - 1) / 2 where codes are spread evenly."""
    return float((shares * (torch.arange(CODES) % (1 << (split - 4)))).sum())
