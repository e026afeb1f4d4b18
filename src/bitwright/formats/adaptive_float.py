"""AdaptivFloat: floating point whose exponent bias follows the tensor (Tambe et al., DAC 2020, arXiv 1909.13271).

AdaptivFloat<n, e> has a sign, e exponent bits and a mantissa of n - 1 - e bits with an implied one, no subnormals, no
infinities and no NaN; the smallest magnitude, exponent and mantissa 0, stands for zero. The paper stores a bias per
tensor such that the largest binade holds max |x|. Here the bias is the operand's scale, a power of two: the format's
own largest binade is [1, 2), and `adaptivfloat_scale` gives 2^exp_max.
"""

import dataclasses
import math

from bitwright.formats.format import TableFormat


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdaptivFloat(TableFormat):
    """An AdaptivFloat format.

    Encoding takes the nearest value and saturates; values below the smallest go to it or to zero by the same rule, half
    of it being the threshold, as in the paper. Ties go to the even word (our choice). NaN becomes the largest value.

    Attributes
    ----------
    bits : int
        Width of a word, 2 to 8.
    exponent_bits : int
        e, 1 to bits - 1 (the paper's accuracy study takes 3).

    Examples
    --------
    >>> AdaptivFloat(bits=4, exponent_bits=2).values()[:8]
    [0.0, 0.1875, 0.25, 0.375, 0.5, 0.75, 1.0, 1.5]
    """

    bits: int
    exponent_bits: int = 3

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 8:
            raise ValueError(f"an AdaptivFloat has 2 to 8 bits here, not {self.bits}")
        if not 1 <= self.exponent_bits <= self.bits - 1:
            raise ValueError(
                f"an AdaptivFloat of {self.bits} bits has 1 to {self.bits - 1} exponent bits, not {self.exponent_bits}"
            )

    @property
    def name(self) -> str:
        """Short name: af8."""
        return f"af{self.bits}"

    @property
    def largest_exponent(self) -> int:
        """Exponent of the largest binade, which is [1, 2): the bias is the scale's."""
        return 0

    def values(self) -> list[float]:
        """The value of each word: sign, exponent, mantissa."""
        mantissa_bits = self.bits - 1 - self.exponent_bits
        lowest = self.largest_exponent + 1 - (1 << self.exponent_bits)
        magnitudes = [0.0]
        for word in range(1, 1 << (self.bits - 1)):
            exponent, mantissa = divmod(word, 1 << mantissa_bits)
            magnitudes.append(2.0 ** (exponent + lowest) * (1 + mantissa / (1 << mantissa_bits)))
        return magnitudes + [-magnitude for magnitude in magnitudes]


def adaptivfloat_scale(largest: float, fmt: AdaptivFloat) -> float:
    """The scale whose largest binade of `fmt` holds `largest` = max |x|: 2^exp_max <= max |x| < 2^(exp_max + 1).

    It stands for the paper's bias, exp_max - (2^e - 1) at exponent 0. Of a tensor of zeros it is 1.

    Raises
    ------
    ValueError
        If the magnitude is negative, infinite or NaN.

    Examples
    --------
    >>> [adaptivfloat_scale(largest, AdaptivFloat(bits=8)) for largest in (3.9, 0.5, 0.0)]
    [2.0, 0.5, 1.0]
    """
    if not 0 <= largest < math.inf:
        raise ValueError(f"the largest magnitude of a tensor is a finite number of at least 0, not {largest}")
    exponent = math.frexp(largest)[1] - 1  # its mantissa lies in [1/2, 1)
    return math.ldexp(1.0, exponent - fmt.largest_exponent) if largest else 1.0
