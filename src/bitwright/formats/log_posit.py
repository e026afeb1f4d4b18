"""Logarithmic posits LP<n, es, rs, sf> of 2 to 16 bits (Ramachandran et al., DAC 2024, arXiv 2403.05465).

A posit whose exponent and fraction bits are one fixed-point number ulfx of log2 |x| (posters of the authors):
x = (-1)^s * 2^(2^es * k - sf) * 2^ulfx. n is the precision, es the dynamic range, rs the longest run of the regime,
which tapers the distribution, and sf, a real, moves it. Words are laid out as posits (`bitwright.formats.posit`).

What ends a regime of rs bits is not certain from the public material. Reading R1, our default, caps the run at rs and
has no terminator there, as a posit's run has none that fills the word; it uses every word. Reading R2 is that of the
first author's public code: words are read as plain posits and rs limits what the encoder emits, a regime field of
at most rs bits with its terminator. They are one at rs = n - 1. How reals are rounded is not published: both rules
are ours.
"""

from __future__ import annotations

import dataclasses
import decimal
import enum
import functools
import itertools
import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from bitwright.formats.format import TableFormat
from bitwright.formats.lookup import Lookup, Thresholds, ordered_words
from bitwright.formats.posit import LARGEST_ES, split_words
from bitwright.later import torch

LARGEST_SF = 512

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]


class RegimeRule(enum.StrEnum):
    """What rs means."""

    CAPPED = "capped"  # R1: a run ends at rs bits, without a terminator
    TERMINATED = "terminated"  # R2: a plain posit; only words with a regime of at most rs bits are emitted


class LogRounding(enum.StrEnum):
    """Which word stands for a real between two."""

    NEAREST = "nearest"  # E2: the nearest value, ties to the even word; zero is a value like any other
    LOG = "log"  # E1: the nearest log2 |x|, ties to the even word; zero only for zero


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogPosit(TableFormat):
    """A logarithmic posit format.

    Words are uint8, int32 for more than 8 bits. Encoding saturates, infinities too; NaN becomes NaR, which decodes to
    NaN. `decode` gives float32: values beyond its range, which stand for no finite float32, become infinite or 0.

    Attributes
    ----------
    n : int
        Bits of a word, 2 to 16.
    es : int
        Exponent bits, 0 to 5.
    rs : int
        Longest run of the regime, 1 to n - 1; see `rule`.
    sf : float
        Scale factor: values are 2^-sf times those at 0; at most 512 in magnitude.
    rule : RegimeRule
        The reading of rs.
    rounding : LogRounding
        How reals become words.

    Examples
    --------
    >>> fmt = LogPosit(n=4, es=1, rs=2)
    >>> fmt.values()[:8]
    [0.0, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0]
    >>> fmt.encode(torch.tensor([0.3, -100.0])).tolist()
    [2, 9]
    """

    n: int
    es: int
    rs: int
    sf: float = 0.0
    rule: RegimeRule = RegimeRule.CAPPED
    rounding: LogRounding = LogRounding.NEAREST

    def __post_init__(self) -> None:
        if not 2 <= self.n <= 16:
            raise ValueError(f"a log posit has 2 to 16 bits (n), not {self.n}")
        if not 0 <= self.es <= LARGEST_ES:
            raise ValueError(f"a log posit has 0 to {LARGEST_ES} exponent bits (es), not {self.es}")
        if not 1 <= self.rs <= self.n - 1:
            raise ValueError(f"a log posit of {self.n} bits has a regime of 1 to {self.n - 1} bits (rs), not {self.rs}")
        if not abs(self.sf) <= LARGEST_SF:
            raise ValueError(f"the scale factor sf is a number from -{LARGEST_SF} to {LARGEST_SF}, not {self.sf}")
        if self.rule == RegimeRule.TERMINATED and self.rs == 1 and self.n > 2:
            raise ValueError(f"a regime with its terminator has 2 to {self.n - 1} bits (rs) of {self.n}, not 1")

    @property
    def bits(self) -> int:  # type: ignore[override]  # a field under its paper's name
        """Width of a word."""
        return self.n

    @property
    def name(self) -> str:
        """Short name: lp8."""
        return f"lp{self.n}"

    @property
    def fraction_bits(self) -> int:
        """The most bits that any word has for the fraction of log2 |x|."""
        return max(0, self.n - 1 - (2 if self._longest_run > 1 else 1) - self.es)

    @property
    def _longest_run(self) -> int:
        return self.rs if self.rule == RegimeRule.CAPPED else self.n - 1

    def log2_parts(self) -> tuple[Integers, Integers]:
        """Sign and log2 |x| of every word at sf = 0, exact, as a log-domain multiplier sees them.

        Returns
        -------
        sign : int64 [2^n]
            1 or -1; 0 for zero and NaR.
        log2 : int64 [2^n]
            In units of 2^-fraction_bits; 0 where the sign is 0.
        """
        return _log2_parts(self.n, self.es, self._longest_run)

    def emitted(self) -> Integers:
        """The words that encoding gives, ascending, without NaR."""
        half = 1 << (self.n - 1)
        if self.rule == RegimeRule.CAPPED or self.rs == self.n - 1:
            lowest, highest = 1, half - 1
        else:
            lowest = 1 << (self.n - 1 - self.rs)  # rs - 1 zeros and the terminator, then zeros
            highest = half - 1 - lowest
        positive = np.arange(lowest, highest + 1)
        return np.concatenate([np.zeros(1, dtype=np.int64), positive, (2 * half - positive)[::-1]])

    def values(self) -> list[float]:
        """The value of each word, emitted or not; NaN at NaR."""
        return self._reals().tolist()

    def table(self) -> torch.Tensor:
        """The value of every word, in the order of words [2^n], float64."""
        return torch.from_numpy(self._reals())

    def lookup(self) -> Lookup:
        """Edges and values, made once per format."""
        return _lookup(self)

    def _reals(self) -> Reals:
        sign, log2 = self.log2_parts()
        values = sign * _exp2(log2 / 2.0**self.fraction_bits - self.sf)
        values[1 << (self.n - 1)] = np.nan
        return values


def distinct_tables(n: int, max_es: int = LARGEST_ES, rule: RegimeRule = RegimeRule.CAPPED) -> list[tuple[int, int]]:
    """Pairs (es, rs) of formats of n bits whose emitted values all differ, es up to `max_es`.

    LP<n, es, 1> has the values of LP<n, es - 1, 2>, and of 2 bits there is one table; of equal ones the first in the
    order of es, then rs, stays.
    """
    found: dict[tuple[Fraction, ...], tuple[int, int]] = {}
    lowest = 2 if rule == RegimeRule.TERMINATED and n > 2 else 1
    for es, rs in itertools.product(range(max_es + 1), range(lowest, n)):
        fmt = LogPosit(n=n, es=es, rs=rs, rule=rule)
        positive = fmt.emitted()[1:]
        logs = fmt.log2_parts()[1][positive[: len(positive) // 2]]
        found.setdefault(tuple(Fraction(int(log), 1 << fmt.fraction_bits) for log in logs), (es, rs))
    return list(found.values())


def converter_table(bits: int) -> list[int]:
    """2^t - 1 of every fraction t of `bits` bits, rounded to as many: what a log-linear converter adds to the one.

    Examples
    --------
    >>> converter_table(3)
    [0, 1, 2, 2, 3, 4, 5, 7]
    """
    return [round(2**bits * (2 ** (t / 2**bits) - 1)) for t in range(2**bits)]


@functools.lru_cache(maxsize=1024)
def _log2_parts(n: int, es: int, longest_run: int) -> tuple[Integers, Integers]:
    fields = split_words(np.arange(1 << n), n, es, longest_run)
    log2 = np.where(fields.sign == 0, 0, (fields.regime << fields.width) + fields.tail)
    for part in (fields.sign, log2):
        part.flags.writeable = False  # shared by all who ask
    return fields.sign, log2


def _exp2(log2: Reals) -> Reals:
    """2^log2, as accurate for large exponents as for small ones."""
    whole = np.floor(log2)
    return np.ldexp(np.exp2(log2 - whole), whole.astype(np.int64))


@functools.lru_cache(maxsize=4096)
def _lookup(fmt: LogPosit) -> Lookup:
    table, emitted = fmt.table(), fmt.emitted()
    if fmt.rounding == LogRounding.NEAREST:
        return Lookup.nearest(table, emitted)
    ordered = ordered_words(table.numpy(), emitted)
    return Lookup.of(_log_thresholds(fmt, ordered), ordered, table)


def _log_thresholds(fmt: LogPosit, ordered: Integers) -> Thresholds:
    """Half-way in log2 |x|; next to zero, zero itself."""
    positive = ordered[len(ordered) // 2 + 1 :]
    logs = fmt.log2_parts()[1][positive]
    doubled = logs[:-1] + logs[1:]  # in units of 2^-(fraction_bits + 1)
    high = _exp2(doubled / 2.0 ** (fmt.fraction_bits + 1) - fmt.sf)
    low = np.zeros_like(high)
    with np.errstate(over="ignore", under="ignore"):
        near = high.astype(np.float32).astype(np.float64)
    # A float32 so near that the error of high could put it on the wrong side is compared with the exact threshold.
    for i in np.flatnonzero(np.abs(near - high) < high * 2.0**-36):
        exact = _exact_exp2(Fraction(int(doubled[i]), 2 << fmt.fraction_bits) - Fraction(fmt.sf))
        high[i], low[i] = near[i], float(exact - Fraction(float(near[i])))
    upper = ordered[1:] % 2 == 0
    upper[len(positive) - 1 : len(positive) + 1] = True, False  # zero is zero's
    zeros = np.zeros(2)
    return Thresholds(np.concatenate([-high[::-1], zeros, high]), np.concatenate([-low[::-1], zeros, low]), upper)


def _exact_exp2(log2: Fraction) -> Fraction:
    """2^log2: exact where log2 is an integer; otherwise it is irrational, and this is it to 80 digits."""
    if log2.denominator == 1:
        return Fraction(2) ** int(log2)
    with decimal.localcontext(prec=80):
        whole = math.floor(log2)
        part = log2 - whole
        power = decimal.Decimal(2) ** (decimal.Decimal(part.numerator) / decimal.Decimal(part.denominator))
        return Fraction(power) * Fraction(2) ** whole
