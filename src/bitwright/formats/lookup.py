"""Encoding by a table: one search among at most 255 edges per element, one lookup to decode.

An edge is the smallest float32 that is encoded as the upper of its two neighbours, so that encoding is one comparison
per edge and ties are settled when the table is made, exactly.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import torch


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Lookup:
    """A table format, ready to use.

    Attributes
    ----------
    edges : torch.Tensor
        float32, ascending: x >= edges[i] means at least the (i + 1)-th of the values in ascending order.
    words : torch.Tensor
        uint8: the word of each value in ascending order, one more than edges.
    table : torch.Tensor
        float32: the value of each word, NaN for words that stand for no real.
    """

    edges: torch.Tensor
    words: torch.Tensor
    table: torch.Tensor

    @classmethod
    def nearest(cls, table: torch.Tensor) -> "Lookup":
        """For the nearest value of a word's table [words] in float64; ties go to the even word."""
        ordered = ordered_words(table)
        values = table.tolist()
        edges = []
        for lower, upper in itertools.pairwise(ordered):
            middle = (Fraction(values[lower]) + Fraction(values[upper])) / 2
            edges.append(first_float32(middle, included=upper % 2 == 0))
        return cls.of(edges, ordered, table)

    @classmethod
    def of(cls, edges: Sequence[float], ordered: Sequence[int], table: torch.Tensor) -> "Lookup":
        """From edges between the words `ordered` by value."""
        return cls(
            edges=torch.tensor(edges, dtype=torch.float32),
            words=torch.tensor(ordered, dtype=torch.uint8),
            table=table.to(torch.float32),
        )

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Words of reals, uint8, in the layout of `x`; NaN becomes the word of the largest value."""
        place = torch.bucketize(x.detach().float(), self.edges.to(x.device), out_int32=True, right=True)
        return self.words.to(x.device)[place]

    def decode(self, words: torch.Tensor) -> torch.Tensor:
        """Reals of words, float32."""
        return self.table.to(words.device)[words.to(torch.int32)]


def ordered_words(table: torch.Tensor) -> list[int]:
    """Words by ascending value, one for each distinct value (the smallest word), without those that stand for none."""
    values = table.tolist()
    first: dict[float, int] = {}
    for word, value in enumerate(values):
        if not math.isnan(value):
            first.setdefault(value + 0.0, word)  # -0 is 0
    return [first[value] for value in sorted(first)]


def first_float32(edge: Fraction, *, included: bool) -> float:
    """The smallest float32 that is >= `edge` (> `edge` where it is not included)."""
    near = np.float32(float(edge))
    while Fraction(float(near)) > edge:
        near = np.nextafter(near, np.float32(-np.inf))
    beyond: Callable[[Fraction], bool] = (lambda v: v >= edge) if included else (lambda v: v > edge)
    while not beyond(Fraction(float(near))):
        near = np.nextafter(near, np.float32(np.inf))
    return float(near)
