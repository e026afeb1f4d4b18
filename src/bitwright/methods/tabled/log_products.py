"""Exact products of log posits, as LPA's processing elements multiply (arXiv 2403.05465; datapath from the posters).

log2 of the magnitudes are added as fixed-point numbers, and the sum, an integer part e and a fraction t of q bits, is
converted to 2^e * (1 + T[t] / 2^q) with the converter's table T[t] = round(2^q * (2^(t / 2^q) - 1)); q is the larger
number of fraction bits of the two formats. Sums of these are exact (a wide accumulator, our choice; `narrow` is the
other one). On a CPU the product of every pair of words is looked up and added in int64. On other devices, and where
63 bits do not hold the sums, words are grouped by the fraction of one operand: a product depends on both fractions
through their sum only, so that within a group it is a power of two times a number that belongs to the other operand,
and a group is one matrix product in float64; where exponents span more than 53 bits can hold, they are cut into
windows, whose exact sums are added with one rounding. `reference_log_product` is the slow twin in integers of Python.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from bitwright.formats import LogPosit, Quantized, converter_table
from bitwright.formats.lookup_kernels import use_torch_threads
from bitwright.methods.layouts import operands, output
from bitwright.methods.products import exact_float_kernels, float_product
from bitwright.networks.view import GemmView

MANTISSA_BITS = 53
INT64_BITS = 63
FLOAT32_EXPONENT = 127


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Words:
    """A log posit's words, taken apart for a product with `fraction_bits`.

    Attributes
    ----------
    sign : torch.Tensor
        int64 [words]: -1, 0 or 1; 0 and NaR have 0.
    exponent : torch.Tensor
        int64 [words]: floor(log2 |x|).
    fraction : torch.Tensor
        int64 [words]: what is left of log2 |x|, in units of 2^-fraction_bits.
    """

    sign: torch.Tensor
    exponent: torch.Tensor
    fraction: torch.Tensor

    @property
    def exponents(self) -> tuple[int, int]:
        """The smallest and the largest exponent of any word that is not 0."""
        some = self.exponent[self.sign != 0]
        return int(some.min()), int(some.max())

    @functools.cached_property
    def fractions(self) -> list[int]:
        """The different fractions."""
        return sorted(set(self.fraction[self.sign != 0].tolist()))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """Two log posit formats that are multiplied.

    Attributes
    ----------
    x, w : Words
        Of the operands.
    fraction_bits : int
        q, of the sum of logarithms and of the converter's output.
    converter : torch.Tensor
        float64 [2^(q + 1)]: 2^t of a sum t of two fractions, in units of 2^-q: 1 + T below 1, twice that above.
    """

    x: Words
    w: Words
    fraction_bits: int
    converter: torch.Tensor

    @property
    def unit(self) -> int:
        """Exponent of what all products are multiples of."""
        return self.x.exponents[0] + self.w.exponents[0] - self.fraction_bits

    def sum_bits(self, k: int) -> int:
        """Bits of a sum of k products in that unit, without its sign."""
        return self.x.exponents[1] + self.w.exponents[1] + 2 - self.unit + math.ceil(math.log2(k))

    @functools.cached_property
    def reals(self) -> torch.Tensor:
        """The product of every word of w with every word of x, exact, float64 [words of w, words of x].

        Words of up to 8 bits reach from 2^-511 to 2^511, within what float64 has.
        """
        fraction = self.w.fraction.unsqueeze(1) + self.x.fraction
        exponent = self.w.exponent.unsqueeze(1) + self.x.exponent
        sign = self.w.sign.unsqueeze(1) * self.x.sign
        return sign * torch.ldexp(self.converter[fraction], exponent)

    @functools.cached_property
    def products(self) -> torch.Tensor:
        """The same in the unit, int64; only where those hold one."""
        assert self.sum_bits(1) < INT64_BITS, "products of these formats exceed int64; take `reals`"
        return torch.ldexp(self.reals, torch.tensor(-self.unit)).to(torch.int64)

    def in_float32(self, k: int) -> bool:
        """Whether float32 has the range of both operands and of sums of k products."""
        (x_low, x_high), (w_low, w_high) = self.x.exponents, self.w.exponents
        highest = max(x_high, w_high, x_high + w_high + 2 + math.ceil(math.log2(k)))
        return highest <= FLOAT32_EXPONENT and min(x_low, w_low, self.unit) >= 1 - FLOAT32_EXPONENT

    @property
    def by_w(self) -> bool:
        """Whether w has fewer different fractions, so that words are grouped by its."""
        return len(self.w.fractions) <= len(self.x.fractions)


@functools.lru_cache(maxsize=4096)
def pair_of(x: LogPosit, w: LogPosit) -> Pair:
    """How words of two formats meet."""
    bits = max(x.fraction_bits, w.fraction_bits)
    table = converter_table(bits)
    linear = [1 + entry / 2**bits for entry in table]
    return Pair(
        x=_words(x, bits),
        w=_words(w, bits),
        fraction_bits=bits,
        converter=torch.tensor(linear + [2 * value for value in linear], dtype=torch.float64),
    )


def _words(fmt: LogPosit, bits: int) -> Words:
    signs, logs = fmt.log2_parts()
    sign = torch.tensor(signs, dtype=torch.int64)
    log2 = torch.tensor(logs, dtype=torch.int64) << (bits - fmt.fraction_bits)
    log2 = torch.where(sign != 0, log2, 0)
    exponent = log2 >> bits
    return Words(sign=sign, exponent=exponent, fraction=log2 - (exponent << bits))


def log_product(view: GemmView, x: Quantized, w: Quantized) -> torch.Tensor:
    """Sums of LPA's products, float64: exact, rounded once where 53 bits do not hold them.

    On a CPU products are looked up and added as int64 where those hold them; else words are grouped by fraction.
    """
    assert isinstance(x.format, LogPosit)
    assert isinstance(w.format, LogPosit)
    pair = pair_of(x.format, w.format)
    if x.codes.device.type == "cpu" and pair.sum_bits(view.k) < INT64_BITS:
        return looked_up(view, x, w, pair)
    return grouped(view, x, w, pair)


def fast_log_product(view: GemmView, x: Quantized, w: Quantized) -> torch.Tensor:
    """The same in float32, whose sums round; in float64 where float32 has not the formats' range."""
    assert isinstance(x.format, LogPosit)
    assert isinstance(w.format, LogPosit)
    pair = pair_of(x.format, w.format)
    dtype = torch.float32 if pair.in_float32(view.k) else torch.float64
    found: torch.Tensor | None = None
    for left, right in _groups(x, w, _occurring(pair, x, w), by_w=pair.by_w):
        part = view.product(left.to(dtype), right.to(dtype))
        found = part if found is None else found + part
    return _zeros(view, x, w).to(dtype) if found is None else found


def looked_up(view: GemmView, x: Quantized, w: Quantized, pair: Pair) -> torch.Tensor:
    """Sums by the table of all products of two words, in int64, then float64."""
    from bitwright.methods.tabled import kernels

    added = add_products(view, x, w, pair.products, kernels.products, kernels.depthwise)
    return torch.ldexp(added.double(), torch.tensor(pair.unit))


Kernel = Callable[[Any, Any, Any, Any], None]
"""(words of x, words of w, table, out): see `bitwright.methods.tabled.kernels`."""


def add_products(
    view: GemmView, x: Quantized, w: Quantized, table: torch.Tensor, products: Kernel, depthwise: Kernel
) -> torch.Tensor:
    """Sums of table[word of w, word of x] as y, of the table's type, on a CPU.

    Words are the codes, uint8; pixels of padding are x's zero point.
    """
    parts, numbers = [], table.numpy()
    use_torch_threads()
    for each in operands(view, x, w):
        weights, blocks = each.w.to(torch.uint8), []
        for block in each.x:
            if each.depthwise:
                out = np.empty((len(block), block.shape[2]), dtype=numbers.dtype)
                depthwise(block.contiguous().numpy(), weights.contiguous().numpy(), numbers, out)
                blocks.append(torch.from_numpy(out))
                continue
            columns = weights.transpose(1, 2).contiguous().numpy()
            rows = block.transpose(1, 2).contiguous().numpy()
            out = np.empty((len(columns), columns.shape[1], rows.shape[2]), dtype=numbers.dtype)
            products(rows, columns, numbers, out)
            blocks.append(torch.from_numpy(out).transpose(1, 2))
        parts.append(torch.cat(blocks, dim=0 if each.depthwise else 1))
    return output(view, parts)


def grouped(view: GemmView, x: Quantized, w: Quantized, pair: Pair) -> torch.Tensor:
    """Sums by one matrix product in float64 for each fraction of one operand, and each pair of windows.

    Both are taken of words that occur: formats of 16 bits have thousands of windows, of which data fill a few.
    """
    sums: list[torch.Tensor] = []
    there = _occurring(pair, x, w)
    if not (there.x.sign.any() and there.w.sign.any()):
        return _zeros(view, x, w)
    with exact_float_kernels():
        for windows in _windows(there, view.k):
            total: torch.Tensor | None = None
            for left, right in _groups(x, w, there, windows, by_w=there.by_w):
                part = float_product(view, left, right)
                total = part if total is None else total.add_(part)
            if total is not None:
                sums.append(total)
    return rounded_sum(sums) if sums else _zeros(view, x, w)


def _occurring(pair: Pair, x: Quantized, w: Quantized) -> Pair:
    """The pair with 0 for every word that is not among the codes."""
    return dataclasses.replace(pair, x=_with(pair.x, x.codes), w=_with(pair.w, w.codes))


def _with(words: Words, codes: torch.Tensor) -> Words:
    there = torch.zeros_like(words.sign, dtype=torch.bool)
    there[codes.unique().long().cpu()] = True
    return dataclasses.replace(words, sign=torch.where(there, words.sign, 0))


def _zeros(view: GemmView, x: Quantized, w: Quantized) -> torch.Tensor:
    """The product of operands that are all 0."""
    return float_product(view, torch.zeros(x.codes.shape), torch.zeros(w.codes.shape)).double()


Window = tuple[int, int]


def _windows(pair: Pair, k: int) -> Iterator[tuple[Window, Window]]:
    """Pairs of windows [low, high] of exponents of x and of w whose sums of k products fit 53 bits.

    A product is less than 4 * 2^(exponents above the windows' lowest) in units of 2^-q of those.
    """
    allowed = MANTISSA_BITS - pair.fraction_bits - math.ceil(math.log2(k)) if k > 1 else MANTISSA_BITS - 8
    spans = [high - low + 1 for low, high in (pair.x.exponents, pair.w.exponents)]
    tried = [
        (of_x * of_w, of_x, of_w)
        for of_x in range(1, spans[0] + 1)
        for of_w in range(1, spans[1] + 1)
        if -(-spans[0] // of_x) + -(-spans[1] // of_w) <= allowed
    ]
    _, of_x, of_w = min(tried)
    for left in _cut(pair.x.exponents, of_x):
        for right in _cut(pair.w.exponents, of_w):
            yield left, right


def _cut(whole: Window, parts: int) -> Iterator[Window]:
    low, high = whole
    width = -(-(high - low + 1) // parts)
    for start in range(low, high + 1, width):
        yield start, min(high, start + width - 1)


def _groups(
    x: Quantized, w: Quantized, pair: Pair, windows: tuple[Window | None, Window | None] = (None, None), *, by_w: bool
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Operands (x, w) in float64 whose products add up to the whole; one pair for each fraction of one operand."""
    of_x, of_w = _magnitudes(pair.x, windows[0]), _magnitudes(pair.w, windows[1])
    grouped, inside, words = (pair.w, of_w, w.codes) if by_w else (pair.x, of_x, x.codes)
    other, reach, others = (pair.x, of_x, x.codes) if by_w else (pair.w, of_w, w.codes)
    if not reach.any():
        return
    for fraction in sorted(set(grouped.fraction[inside != 0].tolist())):
        powers = torch.where(grouped.fraction == fraction, inside, 0).to(words.device)[words.int()]
        numbers = (reach * pair.converter[other.fraction + fraction]).to(others.device)[others.int()]
        yield (numbers, powers) if by_w else (powers, numbers)


def _magnitudes(words: Words, window: Window | None) -> torch.Tensor:
    """sign * 2^exponent of each word, float64; 0 for those outside the window, if there is one."""
    powers = words.sign * torch.exp2(words.exponent.double())
    if window is None:
        return powers
    return torch.where((words.exponent >= window[0]) & (words.exponent <= window[1]), powers, 0)


def rounded_sum(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """The sum of float64 tensors, as if added exactly and rounded once to nearest, ties to even.

    Each is added to a list of numbers that do not overlap (Shewchuk, 1997, as `math.fsum` does); what is below the
    largest decides ties.
    """
    if len(parts) == 1:
        return parts[0]
    largest, tail = _apart(parts)
    return largest + tail


def odd_sum(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """The same rounded to odd, so that rounding it again to fewer bits rounds the exact sum."""
    return parts[0] if len(parts) == 1 else sum_to_odd(*_apart(parts))


def _apart(parts: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum's largest part, and the sum of all that is below it rounded to odd."""
    if len(parts) == 2:
        return parts[0], parts[1]
    held: list[torch.Tensor] = []
    for part in parts:
        rest, kept = part, []
        for number in held:
            rest, lost = _two_sum(rest, number)
            kept.append(lost)
        held = [*kept, rest]
    tail = held[0]
    for number in held[1:-1]:
        tail = sum_to_odd(tail, number)
    return held[-1], tail


def sum_to_odd(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The sum of float64 rounded to odd: where not exact, the neighbour whose last bit is 1; no later tie lies."""
    total, error = _two_sum(one, other)
    even = (total.view(torch.int64) & 1) == 0
    toward = torch.where(error > 0, torch.inf, -torch.inf)
    return torch.where((error != 0) & even, torch.nextafter(total, toward.to(total.dtype)), total)


def _two_sum(one: torch.Tensor, other: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The rounded sum, and what rounding lost, exactly (Knuth)."""
    total = one + other
    back = total - one
    return total, (one - (total - back)) + (other - back)


def reference_log_product(x: Sequence[int], w: Sequence[int], x_format: LogPosit, w_format: LogPosit) -> Fraction:
    """The sum of products of words `x` and `w`, by integers only: the slow twin of one output."""
    bits = max(x_format.fraction_bits, w_format.fraction_bits)
    table, total = converter_table(bits), Fraction(0)
    (x_signs, x_logs), (w_signs, w_logs) = x_format.log2_parts(), w_format.log2_parts()
    for one, other in zip(x, w, strict=True):
        sign = int(x_signs[one]) * int(w_signs[other])
        if not sign:
            continue
        of_x = int(x_logs[one]) << (bits - x_format.fraction_bits)
        of_w = int(w_logs[other]) << (bits - w_format.fraction_bits)
        exponent, fraction = divmod(of_x + of_w, 2**bits)
        total += sign * Fraction(2**bits + table[fraction], 2**bits) * Fraction(2) ** exponent
    return total
