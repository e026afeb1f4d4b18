"""How an operand is stored: the format of its codes, which elements share a scale, and how many bits a scale takes.

What a machine moves and keeps are the codes and their scales, so the bits of an element are a fraction: an 8-bit code
of which every 32 share a scale of 32 bits takes 9.
"""

import dataclasses
from fractions import Fraction

from bitwright.formats.format import Format
from bitwright.formats.granularity import Granularity, PerGroup, PerPosition, PerTensor, PerTokenRange

FLOAT32_BITS = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Encoding:
    """How an operand [groups, rows, k] is stored, whose rows have scales of their own.

    These are rows of x and columns of w of a GEMM, images of a convolution's x, heads of keys and values.

    Attributes
    ----------
    format : Format
        Of the codes.
    granularity : Granularity
        Which elements share a scale.
    scale_bits : int
        Of one scale, with the minimum beside it where there is one; 32: float32, as everything here computes with.
        Zero points that rows have of their own (`PerTokenRange`) are codes, and take as many bits as one besides.
    scale_format : Format or None
        What scales of blocks are themselves, where that is no float32 as it is: its words are what is stored, in the
        place of `scale_bits`, and blocks are stored whole, filled up with zeros. A scale of the whole tensor beside
        those (NVFP4) is a number of the layer's configuration and not counted.

    Examples
    --------
    >>> from bitwright.formats import Integer, PerGroup
    >>> Encoding(format=Integer(bits=8), granularity=PerGroup(32)).bits_per_element(rows=128, k=768)
    Fraction(9, 1)
    """

    format: Format
    granularity: Granularity = PerTensor()
    scale_bits: int = FLOAT32_BITS
    scale_format: Format | None = None

    def scales(self, *, rows: int, k: int, groups: int = 1) -> int:
        """How many scales such an operand has.

        Examples
        --------
        >>> from bitwright.formats import Integer, PerChannel, PerGroup
        >>> [Encoding(format=Integer(bits=4), granularity=g).scales(rows=6, k=70) for g in (PerChannel(), PerGroup(32))]
        [6, 18]
        """
        if isinstance(self.granularity, PerTensor):
            return 1
        if isinstance(self.granularity, PerPosition):
            return 2
        blocks = -(-k // self.granularity.size) if isinstance(self.granularity, PerGroup) else 1
        return groups * rows * blocks

    def stored_bits(self, *, rows: int, k: int, groups: int = 1) -> int:
        """Bits of all codes and scales, and of zero points of rows.

        Examples
        --------
        >>> from bitwright.formats import Integer, PerTokenRange
        >>> Encoding(format=Integer(bits=8, signed=False), granularity=PerTokenRange()).stored_bits(rows=2, k=10)
        240
        """
        scales = self.scales(rows=rows, k=k, groups=groups)
        if self.scale_format is not None and isinstance(self.granularity, PerGroup):
            return scales * (self.granularity.size * self.format.bits + self.scale_format.bits)
        codes = groups * rows * k * self.format.bits
        beside = self.scale_bits + (self.format.bits if isinstance(self.granularity, PerTokenRange) else 0)
        return codes + scales * beside

    def bits_per_element(self, *, rows: int, k: int, groups: int = 1) -> Fraction:
        """Bits of an element, its share of the scales included."""
        return Fraction(self.stored_bits(rows=rows, k=k, groups=groups), groups * rows * k)
