"""A matrix product as memories see it: its extents, the bits of its operands, and how much of them is distinct.

Our choice: SRAMs hold the product's own operands, x [m, k] and w [k, n] of each group; DRAM holds the distinct elements
only. A convolution's im2col happens on chip, on the way from DRAM to SRAM, and reads no pixel twice for one tile; halos
between tiles are neglected. Tiles lie in memory in whole bytes.
"""

import dataclasses
import functools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.floating[Any]]
BoolArray = npt.NDArray[np.bool_]

Bits = int | Fraction
BITS_PER_BYTE = 8
FINEST_SHARE = 2**20
"""Fractions with a larger denominator are rounded up to one with this."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gemm:
    """`groups` equal products of x [m, k] by w [k, n].

    Attributes
    ----------
    m, k, n, groups : int
        Extents of each group, and number of groups.
    x_bits, w_bits, y_bits : int or Fraction
        Bits of one element of the operands, its share of scales and constants included, and of the finished output.
    psum_bits : int or Fraction
        Bits that an unfinished output keeps.
    x_distinct, w_distinct : int or None
        Distinct elements over all groups, at most m * k * groups and k * n * groups (larger values count as these);
        None: all are distinct.
    x_on_chip, y_on_chip : bool
        Whether x is in its SRAM already, and the output stays there: they do not cross DRAM.
    kept_bytes : int
        Of the input SRAM, what others take meanwhile.
    """

    m: int
    k: int
    n: int
    groups: int = 1
    x_bits: Bits
    w_bits: Bits
    y_bits: Bits
    psum_bits: Bits
    x_distinct: int | None = None
    w_distinct: int | None = None
    x_on_chip: bool = False
    y_on_chip: bool = False
    kept_bytes: int = 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all groups."""
        return self.groups * self.m * self.k * self.n

    @property
    def x_share(self) -> Fraction:
        """Elements of x that cross DRAM at least once by elements of x, 0 .. 1."""
        if self.x_on_chip:
            return Fraction(0)
        return _share(self.x_distinct, self.groups * self.m * self.k)

    @property
    def y_dram_bits(self) -> Bits:
        """Bits of an output that cross DRAM."""
        return 0 if self.y_on_chip else self.y_bits

    @property
    def w_share(self) -> Fraction:
        """Distinct elements of w by elements of w, 0 .. 1."""
        return _share(self.w_distinct, self.groups * self.k * self.n)

    @property
    def unique_bytes(self) -> int:
        """Bytes of the distinct elements of x and w, and of y: what DRAM must at least move."""
        x_elements, w_elements = self.groups * self.m * self.k, self.groups * self.k * self.n
        x = x_elements if self.x_distinct is None else min(x_elements, self.x_distinct)
        w = w_elements if self.w_distinct is None else min(w_elements, self.w_distinct)
        y = self.groups * self.m * self.n
        return sum(
            math.ceil(elements * bits / BITS_PER_BYTE)
            for elements, bits in ((x * (not self.x_on_chip), self.x_bits), (w, self.w_bits), (y, self.y_dram_bits))
        )


def packed_bytes(elements: IntArray, bits: Bits, share: Fraction = Fraction(1)) -> IntArray:
    """Whole bytes that a `share` of so many elements of so many bits take, element-wise.

    Whole multiples of the denominator apart, so that no step exceeds 64 bits where the bytes do not.
    """
    numerator, denominator = _bytes_of(bits, share)
    if denominator == 1:
        return elements * numerator
    multiples, rest = np.divmod(elements, denominator)
    return multiples * numerator - (-rest * numerator // denominator)


@functools.lru_cache
def _bytes_of(bits: Bits, share: Fraction) -> tuple[int, int]:
    """Bytes of a `share` of an element, as a quotient."""
    each = finest(Fraction(bits) * share) / BITS_PER_BYTE
    return each.numerator, each.denominator


def finest(value: Fraction) -> Fraction:
    """A fraction rounded up where its denominator is large, so that byte counts stay within 64 bits."""
    if value.denominator <= FINEST_SHARE:
        return value
    return Fraction(math.ceil(value * FINEST_SHARE), FINEST_SHARE)


def _share(distinct: int | None, elements: int) -> Fraction:
    if distinct is None or distinct >= elements:
        return Fraction(1)
    return finest(Fraction(distinct, elements))
