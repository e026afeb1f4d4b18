"""What every number format can do, and what those share whose words are looked up in a table.

A format maps words (codes) to reals. Where its words lie on the real axis belongs to the operand
(`bitwright.formats.quantized`): real = scale * value of the word.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from typing import Protocol, runtime_checkable

from bitwright.formats.lookup import Lookup
from bitwright.later import torch


@runtime_checkable
class Format(Protocol):
    """A number format. Instances are frozen dataclasses; equal fields mean equal words."""

    @property
    def bits(self) -> int:
        """Width of a word."""

    def __hash__(self) -> int:
        """Equal fields, equal hash."""

    @property
    def name(self) -> str:
        """Its number type as machines and prices know it: int8, lp4, flint4."""

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Words of reals given in units of the scale."""

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Reals of words, float32, in units of the scale."""

    def table(self) -> torch.Tensor:
        """The value of every code of a format of at most 8 bits."""


class TableFormat:
    """A format whose words are bit patterns 0 .. 2^bits - 1 with a value each.

    Subclasses are frozen dataclasses with `bits` and `name` that list their `values`. Words are uint8, int32 of more
    than 8 bits. Encoding takes the nearest value and saturates; ties go to the even word, or to the smaller magnitude
    where both or neither are even. NaN becomes NaR where there is one, else the word of the largest value.

    Examples
    --------
    >>> from bitwright.formats import Flint
    >>> sorted(set(Flint(bits=4).values()))[-4:]  # magnitudes of 3 bits: 0, 1, 2, 3, then 4, 6, then 8, then 16
    [4.0, 6.0, 8.0, 16.0]
    """

    bits: int

    @property
    @abstractmethod
    def name(self) -> str:
        """Its number type."""

    @abstractmethod
    def values(self) -> list[float]:
        """The value of each word 0 .. 2^bits - 1, NaN for words that stand for no real."""

    def encode(self, x: torch.Tensor, scale: torch.Tensor | None = None) -> torch.Tensor:
        """Words of reals, divided by `scale` before if it is given."""
        return self.lookup().encode(x, scale)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Reals of words, float32; NaN for words that stand for none."""
        return self.lookup().decode(codes)

    def table(self) -> torch.Tensor:
        """The value of every word, in the order of words [2^bits], float64."""
        return torch.tensor(self.values(), dtype=torch.float64)

    def lookup(self) -> Lookup:
        """Edges and values, made once per format."""
        return _lookup(self)


@functools.lru_cache(maxsize=4096)
def _lookup(fmt: TableFormat) -> Lookup:
    return Lookup.nearest(fmt.table())
