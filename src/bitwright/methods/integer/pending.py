"""Integer sums of one site on their way to the next one's codes: scale, bias, clamp, pad and encode in one pass.

The floats between are the same, operation by operation, as in the passes that this replaces (`gemm.finish`, torch's
clamp, `Integer.encode`); tests hold codes and values equal to theirs, bit by bit.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from bitwright.formats import Integer
from bitwright.methods import kernels

INFINITE = float("inf")
UNPADDED = (0, 0, 0, 0)
LARGEST = float(np.finfo(np.float32).max)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PendingSums:
    """float32(acc) * step + bias, clamped, with zeros around.

    Attributes
    ----------
    acc : torch.Tensor
        int32 sums [rows, N], contiguous; their memory is the values' of what is neither clamped nor padded.
    step, bias : torch.Tensor
        float32 by column, [N] or [1]; no bias is None.
    low, high : float
        Limits of the values.
    sides : tuple of int
        Zeros left, right, above and below of each image.
    size : tuple of int or None
        Images, height and width that the rows are, where they are padded.
    """

    acc: torch.Tensor
    step: torch.Tensor
    bias: torch.Tensor | None
    low: float = -INFINITE
    high: float = INFINITE
    sides: tuple[int, ...] = UNPADDED
    size: tuple[int, int, int] | None = None

    def fill(self, memory: torch.Tensor) -> None:
        """See `bitwright.networks.deferred.Recipe`."""
        n = self.acc.shape[1]
        if memory.untyped_storage().data_ptr() == self.acc.untyped_storage().data_ptr():
            self._clamp(kernels.scale_columns(self.acc, self.step, self.bias))
            return
        values = self._clamp(kernels.scale_columns(self.acc.clone(), self.step, self.bias))
        if self.size is not None:
            values = F.pad(values.view(*self.size, n), (0, 0, *self.sides))
        memory.as_strided((values.numel(),), (1,)).copy_(values.view(-1))

    def _clamp(self, values: torch.Tensor) -> torch.Tensor:
        """In place, by the operator of the limits there are."""
        if self.low > -INFINITE and self.high < INFINITE:
            return values.clamp_(self.low, self.high)
        if self.low > -INFINITE:
            return values.clamp_min_(self.low)
        return values.clamp_max_(self.high) if self.high < INFINITE else values

    def clamped(self, low: float, high: float) -> "PendingSums | None":
        """See `bitwright.networks.deferred.Recipe`; zeros around are beyond one clamp."""
        if self.size is not None:
            return None
        # clamping is monotonic, so that a second one moves the limits of the first
        return dataclasses.replace(self, low=min(max(self.low, low), high), high=min(max(self.high, low), high))

    def padded(self, sides: Sequence[int], shape: torch.Size) -> "PendingSums | None":
        """See `bitwright.networks.deferred.Recipe`."""
        if self.size is not None or shape[0] * shape[2] * shape[3] != len(self.acc) or shape[1] != self.acc.shape[1]:
            return None
        return dataclasses.replace(self, sides=tuple(sides), size=(shape[0], shape[2], shape[3]))

    def codes(self, like: torch.Tensor, fmt: Integer, scale: torch.Tensor, zero_point: int) -> torch.Tensor:
        """Codes of the values, in the layout of `like`, a view of the values' memory."""
        size = self.size or (1, 1, len(self.acc))
        found = kernels.encode_sums(
            self.acc.view(*size, -1), self.step, self.bias, (self.low, self.high), self.sides, fmt, scale, zero_point
        )
        return found.as_strided(like.shape, like.stride(), like.storage_offset())


def can_wait(step: torch.Tensor, bias: torch.Tensor | None) -> bool:
    """Whether no int32 sum becomes infinite, so that values need not be looked at."""
    largest = float(step.abs().amax()) * 2.0**31 + (0.0 if bias is None else float(bias.abs().amax()))
    return largest < LARGEST  # false for NaN
