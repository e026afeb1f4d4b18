"""ANT's numerical types beside the integer: powers of two and flint (Guo et al., MICRO 2022, arXiv 2208.14286).

The values are those of the authors' public code (clevercool/ANT-Quantization, `quant_modules.py`: `pot_value`,
`flint_value`), which scales each list to a maximum of 10; here the smallest magnitude is 1. Signed types spend one bit
on the sign, the rest on the unsigned type of one bit less. The code lists values, not words. Flint's words are those of
the paper as we know it: the position of the first one gives the exponent, what follows it the mantissa. Words of
powers of two, exponent + 1 with 0 for zero, and the redundant word of -0, which is read as 0 and never written, are
our choice. ANT's `int` is `bitwright.formats.Integer`.
"""

import dataclasses

from bitwright.formats.format import TableFormat


@dataclasses.dataclass(frozen=True, kw_only=True)
class PowerOfTwo(TableFormat):
    """Zero and the powers of two 1, 2, 4, .., 2^(2^b - 2) of b magnitude bits.

    Encoding takes the nearest value, ties to the even word, and saturates; NaN becomes the largest value.

    Attributes
    ----------
    bits : int
        Width of a word, 2 to 8.
    signed : bool
        Sign and magnitude (True), or magnitudes only (False; at most 7 bits, as 2^254 is no float32).

    Examples
    --------
    >>> PowerOfTwo(bits=4).values()[:8]
    [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]
    """

    bits: int
    signed: bool = True

    def __post_init__(self) -> None:
        most = 8 if self.signed else 7
        if not 2 <= self.bits <= most:
            kind = "signed" if self.signed else "unsigned"
            raise ValueError(f"{kind} powers of two have 2 to {most} bits here, not {self.bits}")

    @property
    def name(self) -> str:
        """Short name: pot4, upot4."""
        return f"{'' if self.signed else 'u'}pot{self.bits}"

    def values(self) -> list[float]:
        """The value of each word: sign, exponent + 1."""
        count = 1 << (self.bits - self.signed)
        return _with_signs([0.0, *(2.0**exponent for exponent in range(count - 1))], signed=self.signed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flint(TableFormat):
    """Float-int: dense like an integer up to 2^(b - 1), then a float whose mantissa shrinks, up to 2^(2b - 2).

    A magnitude of b bits whose first bit is 0 is that integer. One whose first bit is 1 has z zeros after it, then a
    one, then a mantissa of the b - 2 - z bits left: 2^(b - 1 + z) * (1 + mantissa). Encoding takes the nearest value,
    ties to the even word, and saturates; NaN becomes the largest value.

    Attributes
    ----------
    bits : int
        Width of a word, 3 to 8 (unsigned: 2 to 8).
    signed : bool
        Sign and magnitude of one bit less (True), or magnitudes only (False).

    Examples
    --------
    >>> sorted(Flint(bits=4, signed=False).values())
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 14.0, 16.0, 24.0, 32.0, 64.0]
    """

    bits: int
    signed: bool = True

    def __post_init__(self) -> None:
        least = 3 if self.signed else 2
        if not least <= self.bits <= 8:
            kind = "signed" if self.signed else "unsigned"
            raise ValueError(f"{kind} flint has {least} to 8 bits here, not {self.bits}")

    @property
    def name(self) -> str:
        """Short name: flint4, uflint4."""
        return f"{'' if self.signed else 'u'}flint{self.bits}"

    def values(self) -> list[float]:
        """The value of each word."""
        width = self.bits - self.signed
        return _with_signs([_flint(word, width) for word in range(1 << width)], signed=self.signed)


def _flint(word: int, width: int) -> float:
    """The value of a magnitude of `width` bits, as the decoder's shifter computes it."""
    first = 1 << (width - 1)
    if word < first:
        return float(word)
    rest = word - first
    zeros = width - 1 - rest.bit_length()  # of 100..0, all bits after the first
    return float((rest << 1 or 1) << (2 * zeros))


def _with_signs(magnitudes: list[float], *, signed: bool) -> list[float]:
    return magnitudes + [-magnitude for magnitude in magnitudes] if signed else magnitudes
