"""Floating point of a few bits: a sign, e exponent bits, m mantissa bits, with the rules of the OCP for specials.

Sources: OCP 8-bit floating point specification (OFP8) v1.0 for E4M3 and E5M2; OCP microscaling formats (MX)
specification v1.0, section 5.3, for E2M3, E3M2 and E2M1, and section 5.4.1 for E8M0, the format of shared scales. A
word is sign, exponent E, mantissa M from the highest bit down, and stands for

    (-1)^S * 2^(E - bias) * (1 + M / 2^m)  where E > 0,    (-1)^S * 2^(1 - bias) * M / 2^m  where E = 0 (subnormal).

What the words of the largest exponent stand for is a rule of each type (`Specials`). Zero has both signs.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import math

from bitwright.formats.format import TableFormat
from bitwright.later import torch

FLOAT_BIAS, FLOAT_MANTISSA = 127, 23
"""Of float32."""
INFINITY = 0x7F800000
MAGNITUDE = 0x7FFFFFFF
LARGE = 32768  # elements from which kernels are worth their start


class Specials(enum.StrEnum):
    """Which words stand for no finite number."""

    IEEE = "ieee"  # all of the largest exponent: mantissa 0 is infinity, every other one NaN
    NAN = "nan"  # all ones beside the sign is NaN; there is no infinity
    NONE = "none"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rounded:
    """What encoding needs of a minifloat, as integers of a float32's pattern.

    Attributes
    ----------
    shift : int
        Bits of a float32's mantissa that are rounded away.
    least_normal : int
        Pattern of the smallest normal number.
    offset : int
        What the shifted pattern is larger than the word by.
    grid : float
        1 / the smallest subnormal.
    largest : int
        Word of the largest finite magnitude.
    over : int
        Word of what is larger.
    nan : int
        Word of NaN.
    sign : int
        The sign's bit.
    """

    shift: int
    least_normal: int
    offset: int
    grid: float
    largest: int
    over: int
    nan: int
    sign: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Minifloat(TableFormat):
    """A floating-point format of 3 to 8 bits.

    Encoding takes the nearest value, ties to the even mantissa, and keeps the sign of zero. What rounds beyond the
    largest finite number becomes that (`saturate`, as OFP8's saturating mode has it for infinities too), or infinity,
    or NaN where there is none; a type without specials always saturates. NaN stays NaN with its sign, or becomes the
    largest number where there is none (the MX specification leaves that open).

    Attributes
    ----------
    exponent_bits, mantissa_bits : int
        e, 2 to 5, and m, 0 to 3.
    bias : int or None
        Of the exponent; None: 2^(e - 1) - 1, as all of the OCP's types have it.
    specials : Specials
        Which words are infinities and NaN.
    saturate : bool
        Whether conversion saturates.

    Examples
    --------
    >>> E2M1.values()[:8]
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
    >>> [fmt.largest for fmt in (E4M3, E5M2, E2M3, E3M2)]
    [448.0, 57344.0, 7.5, 28.0]
    """

    exponent_bits: int
    mantissa_bits: int
    bias: int | None = None
    specials: Specials = Specials.NONE
    saturate: bool = True

    def __post_init__(self) -> None:
        if not 2 <= self.exponent_bits <= 5 or not 0 <= self.mantissa_bits <= 3:
            raise ValueError(
                f"a minifloat has 2 to 5 exponent bits and 0 to 3 mantissa bits here, not {self.exponent_bits} and "
                f"{self.mantissa_bits}"
            )
        if self.specials is Specials.IEEE and not self.mantissa_bits:
            raise ValueError("infinity and NaN need a mantissa bit to differ by")
        if self.bias is not None and not 0 <= self.bias <= 63:
            raise ValueError(f"the bias of a minifloat is 0 to 63 here, not {self.bias}")

    @property
    def bits(self) -> int:  # type: ignore[override]
        """Width of a word."""
        return 1 + self.exponent_bits + self.mantissa_bits

    @property
    def name(self) -> str:
        """Short name: e4m3."""
        return f"e{self.exponent_bits}m{self.mantissa_bits}"

    @property
    def offset(self) -> int:
        """The exponent's bias."""
        return 2 ** (self.exponent_bits - 1) - 1 if self.bias is None else self.bias

    @property
    def largest(self) -> float:
        """The largest finite number."""
        return self._value(self._largest_word)

    @property
    def largest_exponent(self) -> int:
        """Exponent of the largest power of two: emax of the MX specification."""
        return math.frexp(self.largest)[1] - 1

    def values(self) -> list[float]:
        """The value of each word: sign, exponent, mantissa; infinities are."""
        magnitudes = [self._value(word) for word in range(1 << (self.bits - 1))]
        return magnitudes + [-magnitude for magnitude in magnitudes]

    def encode(self, x: torch.Tensor, scale: torch.Tensor | None = None) -> torch.Tensor:
        """Words of reals, divided by `scale` before if it is given, uint8."""
        reals = x.detach().float()
        if reals.device.type == "cpu" and reals.numel() >= LARGE and (scale is None or scale.numel() == 1):
            from bitwright.formats import block_kernels

            return block_kernels.encode(reals, self.rounded, scale)
        return rounded_words(reals if scale is None else reals / scale, self.rounded)

    @functools.cached_property
    def rounded(self) -> Rounded:
        """How float32 becomes words."""
        mantissa_bits, bias = self.mantissa_bits, self.offset
        top = (1 << (self.bits - 1)) - 1
        infinity = top - (1 << mantissa_bits) + 1
        over = {Specials.IEEE: infinity, Specials.NAN: top, Specials.NONE: top}[self.specials]
        return Rounded(
            shift=FLOAT_MANTISSA - mantissa_bits,
            least_normal=(1 - bias + FLOAT_BIAS) << FLOAT_MANTISSA,
            offset=(FLOAT_BIAS - bias) << mantissa_bits,
            grid=2.0 ** (mantissa_bits + bias - 1),
            largest=self._largest_word,
            over=self._largest_word if self.saturate else over,
            nan=top,
            sign=1 << (self.bits - 1),
        )

    @property
    def _largest_word(self) -> int:
        top = (1 << (self.bits - 1)) - 1
        return {Specials.IEEE: top - (1 << self.mantissa_bits), Specials.NAN: top - 1, Specials.NONE: top}[
            self.specials
        ]

    def _value(self, word: int) -> float:
        """Of a word without its sign."""
        exponent, mantissa = divmod(word, 1 << self.mantissa_bits)
        last = exponent == (1 << self.exponent_bits) - 1
        if self.specials is Specials.IEEE and last:
            return math.nan if mantissa else math.inf
        if self.specials is Specials.NAN and last and mantissa == (1 << self.mantissa_bits) - 1:
            return math.nan
        hidden = 1 if exponent else 0
        return math.ldexp(hidden + mantissa / (1 << self.mantissa_bits), max(exponent, 1) - self.offset)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FixedPoint(TableFormat):
    """Two's complement with a binary point: the INT8 elements of MX, codes of 8 bits that count 2^-6 (section 5.3.4).

    Encoding takes the nearest value, ties to even, and saturates; NaN becomes the largest. The MX specification lets an
    implementation leave -2, the code 0x80, unused so that the range is symmetric: `narrow`, which decodes it still.

    Attributes
    ----------
    bits : int
        Width of a word, 2 to 8.
    fraction_bits : int
        Bits behind the point.
    narrow : bool
        Whether the most negative code is never made.

    Examples
    --------
    >>> INT8.largest, INT8.values()[0x81], INT8.values()[0x80]
    (1.984375, -1.984375, -2.0)
    """

    bits: int
    fraction_bits: int
    narrow: bool = True

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 8 or not 0 <= self.fraction_bits < self.bits:
            raise ValueError(
                f"fixed point has 2 to 8 bits here and fewer behind the point, not {self.bits} and {self.fraction_bits}"
            )

    @property
    def name(self) -> str:
        """Short name, as of integers, which its words are: int8."""
        return f"int{self.bits}"

    @property
    def highest(self) -> int:
        """The largest code."""
        return int(2 ** (self.bits - 1)) - 1

    @property
    def lowest(self) -> int:
        """The smallest code that is made."""
        return -self.highest - (not self.narrow)

    @property
    def largest(self) -> float:
        """The largest number."""
        return math.ldexp(self.highest, -self.fraction_bits)

    @property
    def largest_exponent(self) -> int:
        """Exponent of the largest power of two: emax of the MX specification, 0 for its INT8."""
        return self.bits - 2 - self.fraction_bits

    def values(self) -> list[float]:
        """The value of each word: two's complement."""
        half = 1 << (self.bits - 1)
        return [math.ldexp(word - 2 * half * (word >= half), -self.fraction_bits) for word in range(2 * half)]

    def encode(self, x: torch.Tensor, scale: torch.Tensor | None = None) -> torch.Tensor:
        """Words of reals, divided by `scale` before if it is given, uint8."""
        reals = x.detach().float()
        reals = reals if scale is None else reals / scale
        codes = (reals.nan_to_num(nan=torch.inf) * 2.0**self.fraction_bits).round_()
        codes = codes.clamp_(self.lowest, self.highest).to(torch.int16)
        return (codes & ((1 << self.bits) - 1)).to(torch.uint8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class E8M0(TableFormat):
    """Powers of two 2^-127 to 2^127 by their biased exponent, without sign and zero; 0xFF is NaN (MX, section 5.4.1).

    Encoding takes the nearest value, ties to the even word, and saturates; what is no positive number of a block's
    scale becomes the smallest.

    Examples
    --------
    >>> [E8M0().values()[word] for word in (127, 128, 126)]
    [1.0, 2.0, 0.5]
    """

    @property
    def bits(self) -> int:  # type: ignore[override]
        """Width of a word."""
        return 8

    @property
    def name(self) -> str:
        """Short name."""
        return "e8m0"

    def values(self) -> list[float]:
        """The value of each word."""
        return [*(math.ldexp(1.0, word - FLOAT_BIAS) for word in range(255)), math.nan]


ElementFormat = Minifloat | FixedPoint
"""What elements of blocks are."""

E4M3 = Minifloat(exponent_bits=4, mantissa_bits=3, specials=Specials.NAN)
E5M2 = Minifloat(exponent_bits=5, mantissa_bits=2, specials=Specials.IEEE)
E2M3 = Minifloat(exponent_bits=2, mantissa_bits=3)
E3M2 = Minifloat(exponent_bits=3, mantissa_bits=2)
E2M1 = Minifloat(exponent_bits=2, mantissa_bits=1)
INT8 = FixedPoint(bits=8, fraction_bits=6)


def rounded_words(x: torch.Tensor, to: Rounded) -> torch.Tensor:
    """Words of float32 reals by integer arithmetic on their patterns, uint8, on any device.

    A normal number's pattern is rounded at `shift`, a carry running into the exponent as it should; in the subnormal
    range x / smallest subnormal is rounded to an integer.
    """
    pattern = x.contiguous().view(torch.int32)
    magnitude = pattern & MAGNITUDE
    half = (1 << (to.shift - 1)) - 1 + ((magnitude >> to.shift) & 1)
    normal = ((magnitude + half) >> to.shift) - to.offset
    subnormal = (x.abs() * to.grid).nan_to_num_(0, 0, 0).clamp_max_(256).round_().to(torch.int32)
    word = torch.where(magnitude < to.least_normal, subnormal, normal)
    word = torch.where(word > to.largest, to.over, word)
    word = torch.where(magnitude > INFINITY, to.nan, word)
    signed = (pattern < 0) & ((magnitude <= INFINITY) | (to.nan != to.largest))
    return torch.where(signed, word | to.sign, word).to(torch.uint8).view(x.shape)
