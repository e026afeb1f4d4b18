"""An adder of floating sums of few significant bits, as LPA's are drawn (arXiv 2403.05465; the authors' posters).

A sum travels as sign, exponent and fraction with its leading one. The smaller of sum and product is shifted to the
larger, both are added, and what comes out is normalized and cut to the sum's bits. `nearest` is what the method
`narrow` computes: exact until it is rounded, half to even, for which three bits below the larger number suffice, the
last of which stands for all that was shifted out. `truncated` has no such bits and no rounding, as none are drawn.
A number whose leading bit is 0 is 0. Exponents wrap, where `narrow` has no bounds.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import pydantic

from bitwright.circuits.circuit import Circuit, Integers, Port, Ports, Values
from bitwright.circuits.leading import normalized
from bitwright.circuits.log_converter import DRAWN
from bitwright.circuits.multiply_accumulate import wrapped
from bitwright.settings import OURS, about

Rounding = Literal["nearest", "truncated"]
GUARDS: Mapping[Rounding, int] = {"nearest": 3, "truncated": 0}
"""Bits that are kept below the larger number's."""


class Number(NamedTuple):
    """Floating numbers: twins in NumPy, or signals in Amaranth; a significand whose leading bit is 0 is 0."""

    sign: Any
    exponent: Any
    significand: Any


class NarrowAdder(Circuit):
    """Sum of a product and a sum."""

    name: ClassVar[str] = "narrow-adder"
    summary: ClassVar[str] = "floating sum of few significant bits, aligned, added, rounded or cut (LPA's)"
    source: ClassVar[str] = f"{DRAWN}; rounding and exponents are ours"
    clocked: ClassVar[bool] = False
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "8 bits": {},
        "8 bits, truncated": {"rounding": "truncated"},
    }
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"bits": 3, "product_bits": 3, "exponent_bits": 4},
        {"bits": 2, "product_bits": 4, "exponent_bits": 4},
        {"bits": 3, "product_bits": 3, "exponent_bits": 4, "rounding": "truncated"},
    )

    bits: int = pydantic.Field(
        8,
        ge=2,
        le=16,
        description="significant bits of a sum, the leading one included",
        json_schema_extra=about("LPA's adders as drawn on the authors' poster", unit="bits"),
    )
    product_bits: int = pydantic.Field(
        4, ge=2, le=16, description="significant bits of a product", json_schema_extra=about(OURS, unit="bits")
    )
    exponent_bits: int = pydantic.Field(
        8, ge=2, le=12, description="width of exponents, which wrap", json_schema_extra=about(OURS, unit="bits")
    )
    rounding: Rounding = pydantic.Field(
        "nearest",
        description="nearest: as the method narrow rounds; truncated: bits that do not fit are dropped",
        json_schema_extra=about(OURS),
    )

    def ports(self) -> Ports:
        """Signs, exponents of leading bits, significands with these."""
        return Ports(
            inputs=(*self._number("product", self.product_bits), *self._number("stored", self.bits)),
            outputs=self._number("sum", self.bits),
        )

    def _number(self, name: str, bits: int) -> tuple[Port, Port, Port]:
        return (
            Port(name=f"{name}_sign", bits=1, what=f"{name} is negative"),
            Port(name=f"{name}_exponent", bits=self.exponent_bits, signed=True, what=f"of {name}'s leading one"),
            Port(name=f"{name}_significand", bits=bits, what=f"bits of {name}; the first is 0 of 0"),
        )

    def model(self, inputs: Values) -> dict[str, Integers]:
        """Exact, then rounded; or cut as it is aligned."""
        product, stored = (
            Number(*(inputs[f"{name}_{part}"] for part in Number._fields)) for name in ("product", "stored")
        )
        widths = self.product_bits, self.bits, self.exponent_bits
        found = added(product, stored, widths, self.rounding, self.bits)
        return {f"sum_{part}": value for part, value in found._asdict().items()}

    def build(self, m: Any, io: Any) -> None:
        """As `adder`."""
        product, stored, total = (
            Number(*(getattr(io, f"{name}_{part}") for part in Number._fields)) for name in ("product", "stored", "sum")
        )
        found = adder(m, "", product, stored, {self.bits: 1}, self.rounding)
        m.d.comb += [port.eq(value) for port, value in zip(total, found, strict=True)]


def added(product: Number, stored: Number, widths: tuple[int, int, int], rounding: Rounding, kept: Any) -> Number:
    """What the adder makes of arrays of numbers.

    Parameters
    ----------
    product, stored : Number
        int64 arrays of one shape.
    widths : tuple of int
        Bits of a product's significand, of a sum's, and of exponents.
    rounding : str
        As of `NarrowAdder`.
    kept : int or array
        Significant bits of what comes out, at most as many as a sum has; the rest of its significand is 0.
    """
    of_product, of_sum, exponent_bits = widths
    wide = max(of_product, of_sum)
    one, other = (_aligned(*each, wide) for each in ((product, of_product), (stored, of_sum)))
    distance = product.exponent - stored.exponent
    larger = (other == 0) | ((one != 0) & (distance >= 0))
    big, small = np.where(larger, one, other), np.where(larger, other, one)
    signs = np.where(larger, product.sign, stored.sign), np.where(larger, stored.sign, product.sign)
    apart, exponent = np.abs(distance), np.where(larger, product.exponent, stored.exponent)
    if rounding == "nearest":  # numbers so far apart that only the side of the larger one counts
        down = np.where(small == 0, 0, np.minimum(apart, wide + 3))
        big, small = big << down, np.where(apart <= wide + 3, small, np.minimum(small, 1))
    else:
        down, small = np.zeros_like(apart), small >> np.minimum(apart, wide)
    total = np.where(signs[0] == 1, -big, big) + np.where(signs[1] == 1, -small, small)
    magnitude = np.abs(total)
    length = np.frexp(magnitude.astype(np.float64))[1].astype(np.int64)
    dropped = np.maximum(length - kept, 0)
    digits = (magnitude >> dropped) << np.maximum(kept - length, 0)
    rest, half = magnitude - (digits << dropped), (np.int64(1) << dropped) >> 1
    if rounding == "nearest":
        digits = digits + ((dropped > 0) & ((rest > half) | ((rest == half) & (digits & 1 == 1))))
    carry = digits >> kept
    exponent = exponent - down - wide + length + carry
    return Number(
        sign=np.where(total < 0, 1, 0),
        exponent=np.where(total == 0, 0, wrapped(exponent, exponent_bits)),
        significand=(digits >> carry) << (of_sum - kept),
    )


def _aligned(number: Number, bits: int, wide: int) -> Integers:
    some = number.significand >> (bits - 1) == 1
    found: Integers = np.where(some, number.significand << (wide - bits), 0)
    return found


def adder(m: Any, name: str, product: Number, stored: Number, kept: Mapping[int, Any], rounding: Rounding) -> Number:
    """The same in Amaranth: `kept` are significant bits of what comes out, and the signal in which they hold."""
    from amaranth.hdl import Cat, Const, Mux, Signal

    def signal(bits: int, suffix: str, value: Any) -> Any:
        found = Signal(bits, name=f"{name}{suffix}")
        m.d.comb += found.eq(value)
        return found

    exponent_bits, of_sum = len(stored.exponent), len(stored.significand)
    wide, guards = max(len(product.significand), of_sum), GUARDS[rounding]
    one, other = (
        signal(wide, f"aligned{at}", Cat(Const(0, wide - len(each)), Mux(each[-1], each, 0)))
        for at, each in enumerate((product.significand, stored.significand))
    )
    distance = signal(exponent_bits + 1, "distance", product.exponent - stored.exponent)
    apart = signal(exponent_bits + 1, "apart", Mux(distance[-1], -distance, distance))
    larger = signal(1, "larger", ~other[-1] | (one[-1] & ~distance[-1]))
    big = signal(wide + guards, "big", Mux(larger, one, other) << guards)
    small = signal(wide + guards, "small", Mux(larger, other, one) << guards)
    moved, lost = _moved(small, apart)
    moved = signal(wide + guards, "moved", moved | lost if rounding == "nearest" else moved)
    minus = signal(1, "minus", product.sign ^ stored.sign)
    total = signal(wide + guards + 2, "total", Mux(minus, big - moved, big + moved))
    negative = total[-1]  # the larger exponent was that of an equal one
    magnitude = signal(wide + guards + 1, "magnitude", Mux(negative, -total, total))
    digits, zeros = normalized(m, f"{name}digits", magnitude)
    some = digits[-1]
    cut, up = _rounded(digits, kept, of_sum, nearest=rounding == "nearest")
    rounded = signal(of_sum + 1, "rounded", cut + up)
    carry = rounded[-1]
    exponent = Mux(larger, product.exponent, stored.exponent) + 1 - zeros + carry
    return Number(
        sign=some & (negative ^ Mux(larger, product.sign, stored.sign)),
        exponent=signal(exponent_bits, "exponent", Mux(some, exponent, 0)).as_signed(),
        significand=signal(of_sum, "significand", Cat(rounded[:-2], rounded[-2] | carry)),
    )


def _moved(value: Any, by: Any) -> tuple[Any, Any]:
    """A value shifted down, and whether any of it was lost."""
    from amaranth.hdl import Mux

    bits, lost = len(value), 0
    near = bits.bit_length()
    for at in range(near):
        step = 1 << at
        lost = lost | (by[at] & value[:step].any())
        value = Mux(by[at], value >> step, value)[:bits]
    far = by[near:].any()
    return Mux(far, 0, value), lost | (far & value.any())


def _rounded(digits: Any, kept: Mapping[int, Any], bits: int, *, nearest: bool) -> tuple[Any, Any]:
    """The first `bits` digits without those that are not kept, and what is to be added to them."""
    from amaranth.hdl import Cat, Const, Mux

    cut, up = Const(0, bits), Const(0, bits)
    for count, holds in kept.items():
        below = len(digits) - count
        whole = digits[below:]
        half = digits[below - 1] & (digits[: below - 1].any() | whole[0]) if nearest else Const(0, 1)
        low = Const(0, bits - count)
        cut, up = cut | Mux(holds, Cat(low, whole), 0), up | Mux(holds, Cat(low, half), 0)
    return cut, up
