"""Integers of 2 to 16 bits: signed, narrow signed (without the most negative code) or unsigned.

A format is a grid of codes. Where that grid lies on the real axis, its scale and zero point, belongs to the
operand (`bitwright.formats.quantized`): real = scale * (code - zero_point).
"""

from __future__ import annotations

import dataclasses

from bitwright.formats.rounding import Rounding, Saturation, round_to_integer, saturate
from bitwright.later import torch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Integer:
    """An integer format.

    Attributes
    ----------
    bits : int
        Width of a code, 2 to 16.
    signed : bool
        Two's complement (True) or unsigned (False).
    narrow : bool
        Leaves out the most negative signed code, so that the range is symmetric: -127 .. 127 for 8 bits.
    rounding, saturation : Rounding, Saturation
        How reals become codes.
    """

    bits: int
    signed: bool = True
    narrow: bool = False
    rounding: Rounding = Rounding.HALF_EVEN
    saturation: Saturation = Saturation.CLIP

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 16:
            raise ValueError(f"an integer format has 2 to 16 bits, not {self.bits}")
        if self.narrow and not self.signed:
            raise ValueError("only signed integers have a narrow range")
        if self.narrow and self.saturation is Saturation.WRAP:
            raise ValueError("a register that wraps around uses all its codes; it has no narrow range")

    @property
    def low(self) -> int:
        """The smallest code."""
        if not self.signed:
            return 0
        return -(2 ** (self.bits - 1)) + int(self.narrow)

    @property
    def high(self) -> int:
        """The largest code."""
        return int(2 ** (self.bits - int(self.signed))) - 1

    @property
    def dropped_bits(self) -> int:
        """Low-order bits that are not stored: codes are multiples of 2^dropped_bits."""
        return 0

    @property
    def name(self) -> str:
        """Short name: int8, uint8."""
        return f"{'int' if self.signed else 'uint'}{self.bits}"

    def encode(self, x: torch.Tensor, zero_point: int | torch.Tensor = 0, *, overwrite: bool = False) -> torch.Tensor:
        """Codes of reals given in units of the scale: saturate(round(x) + zero_point), as float32 integers.

        `overwrite` lets the result use the memory of `x`.
        """
        if self.rounding is Rounding.HALF_EVEN and self.saturation is Saturation.CLIP:
            codes = x.round_() if overwrite else x.round()
            if isinstance(zero_point, torch.Tensor) or zero_point:
                codes += zero_point
            return self._kept(codes.clamp_(self.low, self.high))
        return self._kept(
            saturate(round_to_integer(x, self.rounding) + zero_point, self.low, self.high, self.saturation)
        )

    def _kept(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes without the bits that are not stored, as hardware drops them: rounded down."""
        step = 1 << self.dropped_bits
        return codes if step == 1 else codes.div_(step).floor_().mul_(step)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Reals of codes: the integers themselves, as float32."""
        return codes.to(torch.float32)

    def table(self) -> torch.Tensor:
        """Every code of a format of at most 8 bits, ascending."""
        if self.bits > 8:
            raise ValueError(f"tables exist for at most 8 bits, not {self.bits}")
        return torch.arange(self.low, self.high + 1, dtype=torch.int32)
