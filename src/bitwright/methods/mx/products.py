"""Exact sums of products of elements and the scales of their blocks, rounded once.

A value times the scale of its block is a small integer times a power of two, and so is every product of two of them.
In float64 a sum of these is exact, in any order, while it stays below 2^53 in units of its lowest bit, which is held
against a bound: a row of x whose lowest bit counts 2^a and a column of w of 2^b have partial sums of at most |x| |w|
(Cauchy and Schwarz) in units of 2^(a + b). Rows for which that is too much are cut into windows of bits, each of which
meets the bound (the error-free transformation of Ozaki et al., Numerical Algorithms 2012); the windows' exact sums are
added to one float64 that is rounded to odd, so that rounding it to float32 rounds the sum once. `reference_sums` is the
slow twin, in rational numbers.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator
from fractions import Fraction

import torch

from bitwright.formats import PerGroup, Quantized
from bitwright.methods.products import exact_float_kernels, float_product
from bitwright.methods.tabled.log_products import odd_sum
from bitwright.networks.view import GemmView

MANTISSA_BITS = 53
MOST_BITS = MANTISSA_BITS - 1
"""Of a bound: one bit for what it rounds itself."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Reals:
    """An operand as float64, with what bounds its products.

    Attributes
    ----------
    values : torch.Tensor
        Values times the scales of blocks, laid out as codes are.
    lowest : torch.Tensor
        Exponent of the lowest bit of each row of the last axis, float64; infinity of a row of zeros.
    squares : torch.Tensor
        Sum of squares of each such row, float64.
    """

    values: torch.Tensor
    lowest: torch.Tensor
    squares: torch.Tensor

    def over(self, axes: tuple[int, ...]) -> "Reals":
        """With bounds of what is added up over more axes than the last; sizes stay, 1 along these."""
        if not axes:
            return self
        return Reals(
            values=self.values,
            lowest=self.lowest.amin(axes, keepdim=True),
            squares=self.squares.sum(axes, keepdim=True),
        )

    @property
    def bits(self) -> torch.Tensor:
        """log2 of the norm of what is added up together, in units of its lowest bit; -infinity of zeros."""
        return torch.where(self.squares > 0, self.squares.log2() / 2 - self.lowest, -torch.inf)

    def windows(self, bits: int) -> Iterator[torch.Tensor]:
        """Parts that add up to the values, each of numbers below 2^bits in units of its lowest bit."""
        rest, step = self.values, torch.where(self.lowest.isinf(), 0.0, self.lowest).unsqueeze(-1)
        while bool((rest != 0).any()):
            step = step + bits
            unit = torch.exp2(step)
            above = (rest / unit).trunc() * unit
            yield rest - above
            rest = above


def reals_of(operand: Quantized) -> Reals:
    """Values times scales of blocks, exact, with their bounds; a scale of the whole tensor is left out."""
    table = operand.format.table().to(operand.codes.device)
    if operand.codes.device.type == "cpu":
        from bitwright.methods.mx import kernels

        return Reals(**kernels.reals(operand, table, lowest_bits(table)))
    return bounded(values_of(operand))


def values_of(operand: Quantized) -> torch.Tensor:
    """Those values alone, by torch on any device."""
    reals = operand.format.table().to(operand.codes.device)[operand.codes.int()]
    if not isinstance(operand.granularity, PerGroup):
        return reals
    return reals * operand.spread(operand.scale).double()


def bounded(values: torch.Tensor) -> Reals:
    """Values with their bounds, by torch."""
    lowest = torch.where(values != 0, lowest_bits(values), torch.inf).amin(-1)
    return Reals(values=values, lowest=lowest, squares=values.square().sum(-1))


def lowest_bits(values: torch.Tensor) -> torch.Tensor:
    """Exponent of the lowest bit of each float64, as one; -infinity of 0, and of what is no finite number."""
    mantissa, exponent = torch.frexp(values.nan_to_num(0, 0, 0))
    integer = torch.ldexp(mantissa, torch.tensor(MANTISSA_BITS)).to(torch.int64)
    return (integer & -integer).double().log2() + exponent - MANTISSA_BITS


def exact_sums(view: GemmView, x: Quantized, w: Quantized) -> torch.Tensor:
    """Sums of products as y, float64: exact, or rounded to odd, so that the nearest float32 is that of the sum.

    Scales of whole tensors are left out.
    """
    of_x, of_w = reals_of(x), reals_of(w).over(view.column_axes[:-1])
    if view.spatial:  # any window of the tensor counts as its largest pixels at every tap
        largest = of_x.squares.amax() * math.prod(view.kernel)
        of_x = Reals(values=of_x.values, lowest=of_x.lowest.amin(), squares=largest)
    with exact_float_kernels():
        if view.lead or view.spatial:
            return _by_windows(view, of_x, of_w)
        return _by_rows(view, of_x, of_w)


def _by_rows(view: GemmView, x: Reals, w: Reals) -> torch.Tensor:
    """Rows that keep the bound at once, the others by windows."""
    wide = x.bits + w.bits.amax() > MOST_BITS
    if not bool(wide.any()):
        return float_product(view, x.values, w.values)
    rows = wide.reshape(-1)
    flat = Reals(values=x.values.reshape(len(rows), -1), lowest=x.lowest.reshape(-1), squares=x.squares.reshape(-1))
    total = torch.nn.functional.linear(flat.values, w.values)
    part = Reals(values=flat.values[rows], lowest=flat.lowest[rows], squares=flat.squares[rows])
    total[rows] = _by_windows(dataclasses.replace(view, x=part.values), part, w)
    return total.reshape(view.output_shape)


def _by_windows(view: GemmView, x: Reals, w: Reals) -> torch.Tensor:
    """As few windows of both operands as keep the bound; most often one of each."""
    of_w = float(w.bits.amax())
    if float(x.bits.amax()) + of_w <= MOST_BITS:
        return float_product(view, x.values, w.values)
    width = math.log2(view.k) / 2  # by so much at most a norm is above the largest element
    beside = int(MOST_BITS - of_w - width)
    bits = int(MOST_BITS / 2 - width)
    parts_of_w = [w.values] if beside >= bits else list(w.windows(bits))
    parts_of_x = list(x.windows(max(beside, bits)))
    return odd_sum([float_product(view, one, other) for one in parts_of_x for other in parts_of_w])


def fast_sums(view: GemmView, x: Quantized, w: Quantized) -> torch.Tensor:
    """The same in float32, whose sums round."""
    return view.product(values_of(x).float(), values_of(w).float())


def reference_sums(view: GemmView, x: Quantized, w: Quantized) -> list[Fraction]:
    """The twin by rational numbers, output by output of the flattened y: shapes as small as tests have."""
    return [sum((a * b for a, b in terms), Fraction(0)) for terms in terms_of(view, x, w)]


def terms_of(view: GemmView, x: Quantized, w: Quantized) -> Iterator[list[tuple[Fraction, Fraction]]]:
    """The pairs of numbers that are multiplied for each output, in the order of K: taps outside, channels inside."""
    of_x, of_w = values_of(x), values_of(w)
    for place in itertools.product(*map(range, view.output_shape)):
        group, rest = place[: view.lead], place[view.lead :]
        row, pixel, column = rest[: len(view.rows)], rest[len(view.rows) : -1], rest[-1]
        terms = []
        for tap in itertools.product(*map(range, view.kernel)):
            at = [
                o * stride + t * dilation - padding
                for o, t, stride, dilation, padding in zip(
                    pixel, tap, view.stride, view.dilation, view.padding, strict=True
                )
            ]
            inside = all(0 <= a < size for a, size in zip(at, view.size, strict=True))
            for c in range(view.channels):
                one = Fraction(float(of_x[(*group, *row, *at, c)])) if inside else Fraction(0)
                terms.append((one, Fraction(float(of_w[(*group, column, *tap, c)]))))
        yield terms
