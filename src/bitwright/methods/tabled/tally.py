"""All values of a tensor, counted: what formats are chosen by where rare large values decide.

A value counts for its first 16 bits as a float32 (sign, exponent and 7 bits of mantissa) and is taken as the middle of
those that share them, within 0.4 %. A draw instead of a tally would miss outliers: a GELU's largest outputs are a few
in a million, and a format that clips them costs a transformer more than all rounding does.
"""

import dataclasses

import torch

PATTERNS = 2**16


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Tally:
    """Values with how often each occurs.

    Attributes
    ----------
    values : torch.Tensor
        float32 [values].
    counts : torch.Tensor
        float64 [values].
    """

    values: torch.Tensor
    counts: torch.Tensor

    @classmethod
    def of(cls, values: torch.Tensor) -> "Tally":
        """Of every element; as they are where they are few, else counted by `patterns`."""
        flat = values.detach().float().reshape(-1).cpu()
        if len(flat) <= PATTERNS // 16:
            return cls(values=flat, counts=torch.ones(len(flat), dtype=torch.float64))
        return cls.from_patterns(patterns(flat))

    @classmethod
    def from_patterns(cls, counts: torch.Tensor) -> "Tally":
        """Of counts as `patterns` makes them."""
        some = counts.nonzero().reshape(-1)
        values = ((some << 16) + 2**15).to(torch.int32).view(torch.float32)  # beyond 2^31 the sign bit is meant
        tiny = values.abs() < torch.finfo(torch.float32).tiny
        return cls(values=torch.where(tiny, 0.0, values), counts=counts[some].double())

    def mean_of(self, numbers: torch.Tensor) -> torch.Tensor:
        """The mean over all elements of `numbers` [..., values]."""
        return (numbers * self.counts).sum(-1) / self.counts.sum()


def patterns(x: torch.Tensor) -> torch.Tensor:
    """How many elements of `x` have each pattern of first 16 bits [65536], int64."""
    bits = x.detach().float().contiguous().reshape(-1).view(torch.int32)
    return torch.bincount((bits >> 16) & (PATTERNS - 1), minlength=PATTERNS).cpu()
