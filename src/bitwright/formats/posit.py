"""Posits of 2 to 8 bits: regime, exponent and a linear fraction (Posit Standard 2022; Gustafson and Yonemoto, 2017).

A word is 0 (real zero), 2^(n-1) (NaR) or a sign and a body, the body of a negative word being that of its two's
complement. The body starts with a run of equal bits that the opposite bit ends: m ones give k = m - 1, m zeros k = -m.
Then come `es` exponent bits e and the fraction f; bits that the word has no room for are 0:
value = (-1)^s * 2^(2^es * k + e) * (1 + f). `split_words` is shared with `bitwright.formats.log_posit`.
"""

import dataclasses
import enum
import functools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bitwright.formats.format import TableFormat
from bitwright.formats.lookup import Lookup, Thresholds, ordered_words

LARGEST_ES = 5

Integers = npt.NDArray[np.int64]


class PositRounding(enum.StrEnum):
    """Which word stands for a real between two."""

    STANDARD = "standard"  # of the bit string, ties to even: the edge is the posit with one more bit; never to 0
    NEAREST = "nearest"  # the nearest value, ties to the even word; zero is a value like any other


class Fields(NamedTuple):
    """Words taken apart, int64 [words]; fields of the words 0 and NaR mean nothing, their sign is 0.

    Attributes
    ----------
    sign : Integers
        1, -1, or 0 for zero and NaR.
    regime : Integers
        k.
    tail : Integers
        Exponent and fraction bits as one number of `width` bits, with zeros below what the word has room for.
    width : int
        Bits of the tail: es and the most fraction bits that any word has.
    """

    sign: Integers
    regime: Integers
    tail: Integers
    width: int


def split_words(words: Integers, n: int, es: int, longest_run: int) -> Fields:
    """Fields of words of n bits; a run of `longest_run` bits ends without a terminator (n - 1 for posits)."""
    half = 1 << (n - 1)
    negative = words >= half
    body = np.where(negative, 2 * half - words, words) & (half - 1)
    ones = body >= max(half >> 1, 1)
    # The run is the leading zeros of the body, or of its complement; frexp gives the bit length of an integer.
    run = n - 1 - np.frexp(np.where(ones, half - 1 - body, body).astype(np.float64))[1].astype(np.int64)
    run = np.minimum(run, longest_run)
    room = n - 1 - run - (run < longest_run)
    width = max(es, n - 1 - (2 if longest_run > 1 else 1))
    return Fields(
        sign=np.where(words % half == 0, 0, np.where(negative, -1, 1)),
        regime=np.where(ones, run - 1, -run),
        tail=(body & ((1 << room) - 1)) << (width - room),
        width=width,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Posit(TableFormat):
    """A posit format.

    Attributes
    ----------
    n : int
        Bits of a word, 2 to 8.
    es : int
        Exponent bits, 0 to 5 (the standard's posits have 2).
    rounding : PositRounding
        How reals become words; infinities saturate, NaN becomes NaR.
    """

    n: int
    es: int = 2
    rounding: PositRounding = PositRounding.STANDARD

    def __post_init__(self) -> None:
        if not 2 <= self.n <= 8:
            raise ValueError(f"a posit has 2 to 8 bits here, not {self.n}")
        if not 0 <= self.es <= LARGEST_ES:
            raise ValueError(f"a posit has 0 to {LARGEST_ES} exponent bits (es), not {self.es}")

    @property
    def bits(self) -> int:  # type: ignore[override]  # a field under its paper's name
        """Width of a word."""
        return self.n

    @property
    def name(self) -> str:
        """Short name: posit8."""
        return f"posit{self.n}"

    def values(self) -> list[float]:
        """The value of each word; NaN at NaR."""
        return _values(self.n, self.es).tolist()

    def lookup(self) -> Lookup:
        """Edges and values, made once per format."""
        return _lookup(self)


def _values(n: int, es: int) -> npt.NDArray[np.float64]:
    fields = split_words(np.arange(1 << n), n, es, n - 1)
    fraction_bits = fields.width - es
    exponent = (fields.regime << es) + (fields.tail >> fraction_bits)
    significand = (1 << fraction_bits) + (fields.tail & ((1 << fraction_bits) - 1))
    values = np.ldexp((fields.sign * significand).astype(np.float64), exponent - fraction_bits)
    values[1 << (n - 1)] = np.nan
    return values


@functools.lru_cache(maxsize=256)
def _lookup(fmt: Posit) -> Lookup:
    table = fmt.table()
    if fmt.rounding == PositRounding.NEAREST:
        return Lookup.nearest(table)
    ordered = ordered_words(table.numpy())
    # Between two neighbours lies the posit of n + 1 bits whose last bit is 1; of two of opposite sign it is 0.
    middle = _values(fmt.n + 1, fmt.es)[(2 * ordered[:-1] + 1) % (2 << fmt.n)]
    upper = ordered[1:]
    at_zero = (ordered[:-1] == 0) | (upper == 0)
    middle[at_zero] = 0.0
    included = np.where(at_zero, upper == 0, upper % 2 == 0)
    return Lookup.of(Thresholds(middle, np.zeros_like(middle), included), ordered, table)
