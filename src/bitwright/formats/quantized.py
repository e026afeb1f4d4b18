"""An operand as its machine sees it: codes, their format, and what the codes mean.

real = scale * (code - zero_point - offset + dropped_mean) for integers, all broadcast against the codes;
real = scale * value of the code for any other format, times the scale of the tensor where it has one besides.
`PerGroup` codes [..., K] have scales [..., ceil(K / size)], and minima of as many that are added, where there are any.
"""

from __future__ import annotations

import dataclasses

from bitwright.errors import InputError
from bitwright.formats.format import Format
from bitwright.formats.granularity import Granularity, PerGroup, PerTensor
from bitwright.formats.integer import Integer
from bitwright.later import torch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quantized:
    """Codes of one operand with their meaning.

    Attributes
    ----------
    codes : torch.Tensor
        Integer-valued, laid out as a product's operands are (`bitwright.networks.view`: x [*groups, *rows, *size,
        channels], w [*groups, columns, *kernel, channels]); any dtype that holds them exactly.
    format : Format
        The format of the codes.
    scale : torch.Tensor
        float32, broadcastable to codes (`PerGroup`: one for each block of the last axis).
    zero_point : int
        The code of real zero; one per tensor, because hardware subtracts one constant.
    offsets : torch.Tensor or None
        int32 [.., rows, 1], what the code of real zero is beside that in each row of x (`PerTokenRange`).
    granularity : Granularity
        What shares a scale.
    minimum : torch.Tensor or None
        float32, of the scales' sizes (`PerGroup`): what is added to the reals of a block's codes.
    sums : torch.Tensor or None
        Of a static weight, the sum of each column's codes [groups * N] as int32: known offline, it corrects for x's
        zero point.
    dropped_mean : float
        Mean of the low-order bits that the format drops; in a product it is a constant per output, added offline.
    tensor_scale : torch.Tensor or None
        float32, of the whole operand, where scales of blocks are narrow numbers that are multiples of it.
    shifts : torch.Tensor or None
        Where precision goes by sub-tensors: int8, the low-order bits that each one dropped when it became narrow, or
        -1 where it stayed wide. `codes` are then multiples of 2**shift beside the zero point, on the grid of the wide
        format. A sub-tensor is a block of the codes' last axis, which has blocks instead of elements here.
    """

    codes: torch.Tensor
    format: Format
    scale: torch.Tensor
    zero_point: int = 0
    granularity: Granularity = PerTensor()
    minimum: torch.Tensor | None = None
    sums: torch.Tensor | None = None
    dropped_mean: float = 0.0
    shifts: torch.Tensor | None = None
    offsets: torch.Tensor | None = None
    tensor_scale: torch.Tensor | None = None

    @property
    def integer(self) -> Integer:
        """The format, where codes are integers.

        Raises
        ------
        InputError
            Where they are not.
        """
        return integer_of(self.format)

    def centred(self) -> torch.Tensor:
        """code - zero_point as float32: exact integers that multiply like the machine's."""
        codes = self.codes.to(torch.float32)
        codes = codes if self.offsets is None else codes - self.offsets
        return codes - self.zero_point if self.zero_point else codes

    def dequantize(self) -> torch.Tensor:
        """The reals that the codes stand for, float32."""
        if not isinstance(self.format, Integer):
            return self.format.decode(self.codes) * self.spread_scale()
        centred = self.centred() + self.dropped_mean
        reals = centred * self.spread_scale()
        return reals if self.minimum is None else reals + self._spread(self.minimum)

    def spread_scale(self) -> torch.Tensor:
        """The scales, broadcastable to codes whatever the granularity."""
        return self._spread(self.scale if self.tensor_scale is None else self.scale * self.tensor_scale)

    def _spread(self, each: torch.Tensor) -> torch.Tensor:
        if not isinstance(self.granularity, PerGroup):
            return each
        return each.repeat_interleave(self.granularity.size, dim=-1)[..., : self.codes.shape[-1]]


def integer_of(fmt: Format) -> Integer:
    """`fmt` itself, where its codes are integers.

    Raises
    ------
    InputError
        Where they are not.
    """
    if not isinstance(fmt, Integer):
        raise InputError(
            f"integers are needed here and the operand is {fmt.name}; use a method of integers such as int8"
        )
    return fmt


def largest_magnitude(fmt: Integer, zero_point: int = 0) -> int:
    """The largest |code - zero_point| that codes of `fmt` can have: what bounds an accumulator."""
    return max(fmt.high - zero_point, zero_point - fmt.low)
