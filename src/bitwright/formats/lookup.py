"""Encoding by a table: one search among the edges between values per element, one lookup to decode.

An edge is the smallest float32 that is encoded as the upper of its two neighbours, so that encoding is one comparison
per edge and ties are settled when the table is made, exactly. Large float32 tensors on the CPU are encoded by
`bitwright.formats.lookup_kernels`, where a cell of float32 patterns holds one edge at most.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bitwright.later import torch

Reals = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]
Cells = npt.NDArray[np.uint32]

LARGE = 32768  # elements from which kernels are worth their start
CELL_BITS = 16  # bits of a float32 that tell the place in a cell
SIGN = 1 << 31
INFINITY = 0x7F800000  # its float32 pattern; larger ones are NaN


class Thresholds(NamedTuple):
    """Reals between neighbouring values, from which on (or above which) the upper one is taken.

    Attributes
    ----------
    high, low : Reals
        Each threshold is high + low exactly, |low| at most half a unit in the last place of high.
    included : Booleans
        Whether the threshold itself belongs to the upper value.
    """

    high: Reals
    low: Reals
    included: Booleans


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Lookup:
    """A table format, ready to use.

    Attributes
    ----------
    edges : torch.Tensor
        float32, ascending: x >= edges[i] means at least the (i + 1)-th of the values in ascending order.
    words : torch.Tensor
        uint8 (int32 for more than 8 bits): the word of each value in ascending order, one more than edges.
    table : torch.Tensor
        float32: the value of each word, NaN for words that stand for no real.
    nan_word : int
        What NaN becomes: the first word that stands for no real, or that of the largest value where all do.
    """

    edges: torch.Tensor
    words: torch.Tensor
    table: torch.Tensor
    nan_word: int

    @classmethod
    def nearest(cls, table: torch.Tensor, among: Integers | None = None) -> Lookup:
        """For the nearest value of a word's table [words] in float64 (only words `among`).

        Ties go to the even word; where both or none are even, to the smaller magnitude.
        """
        ordered = ordered_words(table.numpy(), among)
        values = table.numpy()[ordered]
        return cls.of(middles(values, ordered), ordered, table)

    @classmethod
    def of(cls, thresholds: Thresholds, ordered: Integers, table: torch.Tensor) -> Lookup:
        """From thresholds between the words `ordered` by value."""
        without = torch.nonzero(table.isnan())
        return cls(
            edges=torch.from_numpy(first_float32(thresholds)),
            words=torch.from_numpy(ordered).to(torch.uint8 if len(table) <= 256 else torch.int32),
            table=table.to(torch.float32),
            nan_word=int(without[0]) if len(without) else int(ordered[-1]),
        )

    def encode(self, x: torch.Tensor, scale: torch.Tensor | None = None) -> torch.Tensor:
        """Words of reals, or of x / scale, in the layout of `x`."""
        values = x.detach().float()
        if scale is not None and scale.numel() != 1:
            values, scale = values / scale, None
        if _is_large(values) and (cells := cells_of(self)) is not None:
            from bitwright.formats import lookup_kernels

            return lookup_kernels.encode(values, cells, scale)
        return self.search(values if scale is None else values / scale)

    def rounded(self, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """The reals that words of x / scale stand for, times the scale: encoded and decoded, float32."""
        values = x.detach().float()
        if scale.numel() == 1 and _is_large(values) and (cells := cells_of(self)) is not None:
            from bitwright.formats import lookup_kernels

            return lookup_kernels.rounded(values, cells, self.table, scale)
        return self.decode(self.encode(values, scale)) * scale

    def search(self, x: torch.Tensor) -> torch.Tensor:
        """Words of float32 reals by binary search, on any device."""
        place = torch.bucketize(x.contiguous(), self.edges.to(x.device), out_int32=True, right=True)
        words = self.words.to(x.device)[place]
        if not x.is_contiguous():
            words = torch.empty_like(x, dtype=words.dtype).copy_(words)
        return words if self.nan_word == int(self.words[-1]) else words.masked_fill_(x.isnan(), self.nan_word)

    def decode(self, words: torch.Tensor) -> torch.Tensor:
        """Reals of words, float32."""
        if _is_large(words) and words.dtype == torch.uint8 and len(self.table) <= 256:
            from bitwright.formats import lookup_kernels

            return lookup_kernels.decode(words, self.table)
        return self.table.to(words.device)[words.to(torch.int32)]


def _is_large(x: torch.Tensor) -> bool:
    return x.device.type == "cpu" and x.numel() >= LARGE


@functools.lru_cache(maxsize=64)
def cells_of(lookup: Lookup) -> Cells | None:
    """For each cell of 2^16 float32 patterns that differ in their lower bits, where its word changes and to what.

    Bits 0-15: the first lower bits with the second word; 16-23: the word before; 24-31: the word from there on. A cell
    whose word does not change has 0 and its word. None where a cell has two changes, or words have more than 8 bits.
    """
    if lookup.words.dtype != torch.uint8:
        return None
    edges, words = lookup.edges.numpy(), lookup.words.numpy()
    magnitudes = np.abs(edges).view(np.uint32).astype(np.int64)
    # Patterns of negative numbers ascend as numbers descend: a word ends with its lower edge, not before it.
    positive, negative = magnitudes[edges > 0], magnitudes[edges <= 0][::-1]
    after_edges = np.concatenate([positive, negative + SIGN + 1])
    changes = np.unique(np.concatenate([after_edges, [0, INFINITY + 1, SIGN, SIGN + INFINITY + 1]]))
    magnitude = changes % SIGN
    above = len(negative) + np.searchsorted(positive, magnitude, side="right")
    below = len(negative) - np.searchsorted(negative, magnitude, side="left")
    found = words[np.where(changes < SIGN, above, below)]
    found = np.where(magnitude > INFINITY, lookup.nan_word, found).astype(np.uint32)

    whole = np.append(-(-changes >> CELL_BITS), 1 << (32 - CELL_BITS))  # the first cell that is the change's as a whole
    first = np.repeat(found, np.diff(whole))
    cells = first << np.uint32(16) | first << np.uint32(24)
    inside = changes % (1 << CELL_BITS) != 0
    number = changes[inside] >> CELL_BITS
    if len(np.unique(number)) != len(number):
        return None
    cells[number] = changes[inside] % (1 << CELL_BITS) | first[number] << np.uint32(16) | found[inside] << np.uint32(24)
    return cells


def ordered_words(values: Reals, among: Integers | None = None) -> Integers:
    """Words by ascending value, one for each distinct value (the smallest word), without NaN and infinities."""
    words = np.arange(len(values)) if among is None else np.sort(among)
    words = words[np.isfinite(values[words])]
    _, first = np.unique(values[words], return_index=True)
    return words[first]


def middles(values: Reals, words: Integers) -> Thresholds:
    """Half-way between ascending values: the even word's; where both or none are even, the smaller magnitude's."""
    lower, upper = values[:-1], values[1:]
    total = lower + upper
    back = total - lower
    lost = (lower - (total - back)) + (upper - back)  # what the sum lost in rounding, exactly (Knuth's two-sum)
    even = words % 2 == 0
    included = np.where(even[:-1] == even[1:], np.abs(upper) < np.abs(lower), even[1:])
    return Thresholds(total / 2, lost / 2, included)


def first_float32(thresholds: Thresholds) -> npt.NDArray[np.float32]:
    """The smallest float32 that is >= each threshold (> it where it is not included), infinities counted.

    A threshold beyond all finite float32 has the edge inf; one below them that of the most negative finite number.
    """
    with np.errstate(over="ignore", under="ignore"):
        near = thresholds.high.astype(np.float32)
        rest = near.astype(np.float64) - thresholds.high
        # Where it is not 0, the rest is a unit in the last place of high at least, and so more than low.
        side = np.where(rest != 0, rest, -thresholds.low)
        reached = (side > 0) | ((side == 0) & thresholds.included)
        return np.where(reached, near, np.nextafter(near, np.float32(np.inf))) + np.float32(0)  # no -0
