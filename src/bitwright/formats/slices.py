"""Slices of 4 bits: signed ones of weights, unsigned ones of 8-bit activations.

Signed bit-slice representation (SBR; Sibia, Im et al., HPCA 2023; KAIST, US 2024/0330664): a signed integer of
B = 3n + 4 bits is w = sum_i 8^i w_i with n low-order slices and one of high order, each a signed 4-bit value in -8..7.
Negative numbers borrow: from the lowest slice up, while what is left is negative, the slice takes -8 and what is left
above it one more, so that small numbers of either sign have high-order slices of 0. Unsigned 8-bit codes are cut at a
split l = 4, 5 or 6 (Panacea, arXiv 2412.10059): the high-order slice is x >> l, the low-order one keeps the upper 4 of
the l bits below.
"""

from __future__ import annotations

import dataclasses

from bitwright.formats.integer import Integer
from bitwright.formats.rounding import Saturation
from bitwright.later import torch

SLICED_WIDTHS = (4, 7, 10, 13)
SPLITS = (4, 5, 6)


def low_slices(bits: int) -> int:
    """n, the number of low-order slices of a signed integer of `bits` = 3n + 4 bits."""
    if bits not in SLICED_WIDTHS:
        raise ValueError(f"signed slices make integers of 3n + 4 bits, not of {bits}; choose 4, 7, 10 or 13")
    return (bits - 4) // 3


def signed_slices(w: torch.Tensor, bits: int) -> list[torch.Tensor]:
    """Slices [LO_0, .., LO_n-1, HO] of signed integers of `bits` bits; int8, each of the shape of `w`.

    Raises
    ------
    ValueError
        If there are no slices of this width, or integers that it does not hold.
    """
    count = low_slices(bits)
    limit = 1 << (bits - 1)
    if w.numel():
        # Before they become int32: 2^32 would wrap around to 0 and pass.
        low, high = w.min().item(), w.max().item()
        if not (-limit <= low and high < limit):
            raise ValueError(f"integers of {bits} bits lie in {-limit} .. {limit - 1}, not {low} .. {high}")
    rest = w.to(torch.int32)
    slices = []
    for _ in range(count):
        # The sign of what is left decides, not that of w: else -1 of 10 bits were -1, -8, 1, its high slice not 0.
        borrow = (rest < 0).to(torch.int32)
        slices.append(((rest & 7) - 8 * borrow).to(torch.int8))
        rest = (rest >> 3) + borrow
    return [*slices, rest.to(torch.int8)]


def combine_signed(slices: list[torch.Tensor]) -> torch.Tensor:
    """The int32 integers whose slices these are: sum of 8^i w_i."""
    total = torch.zeros_like(slices[0], dtype=torch.int32)
    for i, part in enumerate(slices):
        total += part.to(torch.int32) << (3 * i)
    return total


def zero_window(bits: int) -> tuple[int, int]:
    """The integers of `bits` bits whose high-order slice is 0, lowest and highest.

    With n low-order slices: up to 8^n - 1, where all of them are 7; down to -(8 + 64 + .. + 8^n), where all are -8.
    """
    count = low_slices(bits)
    return -sum(8**i for i in range(1, count + 1)), 8**count - 1


def unsigned_slices(x: torch.Tensor, split: int) -> tuple[torch.Tensor, torch.Tensor]:
    """High- and low-order slice of unsigned 8-bit codes cut at `split`; uint8 in 0 .. 15, of the shape of `x`."""
    _check_split(split)
    codes = x.to(torch.int32)
    return (codes >> split).to(torch.uint8), ((codes & ((1 << split) - 1)) >> (split - 4)).to(torch.uint8)


def combine_unsigned(high: torch.Tensor, low: torch.Tensor, split: int) -> torch.Tensor:
    """The int32 codes with these slices: 2^l HO + 2^(l-4) LO."""
    _check_split(split)
    return (high.to(torch.int32) << split) + (low.to(torch.int32) << (split - 4))


def truncate(x: torch.Tensor, split: int) -> torch.Tensor:
    """Codes without the l - 4 low-order bits that a split at l does not keep; int32."""
    _check_split(split)
    return (x.to(torch.int32) >> (split - 4)) << (split - 4)


def frequent_slice(zero_point: int, split: int) -> int:
    """r, the high-order slice of real zero: where a distribution around it is densest."""
    _check_split(split)
    return zero_point >> split


def slice_window(high: int, split: int) -> tuple[int, int]:
    """The codes whose high-order slice is `high`, lowest and highest."""
    _check_split(split)
    return high << split, ((high + 1) << split) - 1


def _check_split(split: int) -> None:
    if split not in SPLITS:
        raise ValueError(f"8-bit codes are cut into 4-bit slices at a split of 4, 5 or 6, not {split}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlicedUnsigned(Integer):
    """Unsigned 8-bit codes stored as two slices cut at `split`; the split - 4 lowest bits are dropped.

    Its largest code stays 255, of which 255 without the dropped bits is stored.
    """

    bits: int = 8
    signed: bool = False
    split: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bits != 8 or self.signed:
            raise ValueError(f"sliced unsigned codes have 8 bits and no sign, not {self.name}")
        if self.saturation is not Saturation.CLIP:
            raise ValueError("sliced unsigned codes are clipped to their range; they do not wrap around")
        _check_split(self.split)

    @property
    def dropped_bits(self) -> int:
        """Low-order bits that are not stored."""
        return self.split - 4

    def table(self) -> torch.Tensor:
        """Every code that is stored, ascending."""
        return torch.arange(self.low, self.high + 1, 1 << self.dropped_bits, dtype=torch.int32)
