"""Exact products of tabled formats.

Values of AdaptivFloat, flint, powers of two and integers are multiples of a power of two: their products are exact in
float32 or float64 while a checked bound holds, like integers (`bitwright.methods.products`). Log posits multiply as
`bitwright.methods.tabled.log_products` says.
"""

import dataclasses
import functools
import math
from fractions import Fraction

import torch

from bitwright.errors import InputError
from bitwright.formats import Format, Integer, LogPosit, Quantized
from bitwright.methods.products import FLOAT32_LIMIT, FLOAT64_LIMIT, exact_float_kernels, float_product
from bitwright.methods.tabled.log_products import fast_log_product, log_product, pair_of
from bitwright.networks.view import GemmView


def exact_sums(view: GemmView, x: Quantized, w: Quantized) -> torch.Tensor:
    """Sums of products of two operands' values in units of their scales, as y.

    Raises
    ------
    InputError
        If the formats have no product here, or it could exceed 53 bits.
    """
    if isinstance(x.format, LogPosit) and isinstance(w.format, LogPosit):
        return log_product(view, x, w)
    _refuse_mixed(x, w)
    return dyadic_product(view, x, w)


def fast_sums(view: GemmView, x: Quantized, w: Quantized) -> torch.Tensor:
    """The same in float32, whose sums round."""
    if isinstance(x.format, LogPosit) and isinstance(w.format, LogPosit):
        return fast_log_product(view, x, w)
    _refuse_mixed(x, w)
    return product_of_values(view, x, w)


def product_of_values(view: GemmView, x: Quantized, w: Quantized) -> torch.Tensor:
    """Float32 sums of products of what codes stand for, in units of the scales."""
    return view.product(_reals(x).float(), _reals(w).float())


def sum_unit(x: Format, w: Format) -> float:
    """The least significant bit of a product of two values, in units of the scales.

    Of log posits, whose values are spread over many binades, it is that of a product in [1, 2).
    """
    if isinstance(x, LogPosit) and isinstance(w, LogPosit):
        return 2.0 ** -pair_of(x, w).fraction_bits
    return 2.0 ** -(grid(x).fraction_bits + grid(w).fraction_bits)


def _refuse_mixed(x: Quantized, w: Quantized) -> None:
    for one, other in ((x, w), (w, x)):
        if isinstance(one.format, LogPosit):
            raise InputError(
                f"a log posit multiplies log posits only and the other operand is {other.format.name}; "
                "use one method for both"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grid:
    """Values of a format are integers times 2^-fraction_bits, of at most `largest` in magnitude."""

    fraction_bits: int
    largest: int


@functools.lru_cache(maxsize=1024)
def grid(fmt: Format) -> Grid:
    """The grid on which all values of a format lie."""
    if isinstance(fmt, Integer):
        return Grid(fraction_bits=0, largest=max(-fmt.low, fmt.high))
    values = [Fraction(value) for value in fmt.table().tolist() if not math.isnan(value)]
    bits = max(value.denominator.bit_length() - 1 for value in values)
    return Grid(fraction_bits=bits, largest=max(abs(int(value * 2**bits)) for value in values))


def dyadic_product(view: GemmView, x: Quantized, w: Quantized) -> torch.Tensor:
    """Exact sums of values that are multiples of a power of two; float32 or float64.

    Raises
    ------
    InputError
        If 53 bits could overflow.
    """
    bound = view.k * _largest(x) * _largest(w)
    if bound >= FLOAT64_LIMIT:
        raise InputError(
            f"a sum of {view.k} products of {x.format.name} by {w.format.name} could exceed 2**53; "
            "use narrower operands"
        )
    dtype = torch.float32 if bound < FLOAT32_LIMIT else torch.float64
    with exact_float_kernels():
        return float_product(view, _reals(x).to(dtype), _reals(w).to(dtype))


def _largest(operand: Quantized) -> int:
    return grid(operand.format).largest + abs(operand.zero_point)


def _reals(operand: Quantized) -> torch.Tensor:
    """Values in units of the scale."""
    return operand.centred() if isinstance(operand.format, Integer) else operand.format.decode(operand.codes)
