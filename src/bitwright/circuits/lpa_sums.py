"""Sums of LPA's processing element, a lane each: exact ones in fixed point, and floating ones of few significant bits.

What each lane adds is a product of logarithms made linear: a sign, an exponent, and a significand of q + 1 bits that is
0 of 0. Twins take and give arrays [..., lanes].
"""

import dataclasses
import functools
import operator
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from bitwright.circuits.circuit import Integers, Port
from bitwright.circuits.log_posit_decoder import LANES
from bitwright.circuits.multiply_accumulate import wrapped
from bitwright.circuits.narrow_adder import Number, Rounding, added, adder

PARTS = tuple(f"sum_{part}" for part in Number._fields)
MODES_OF_LANES = ((0, 1, 2, 3), (0,), (0, 1), (0,))
"""Modes in which a lane has weights."""


class Sums(Protocol):
    """What stands behind the converters."""

    def ports(self, suffix: str, what: str) -> tuple[Port, ...]:
        """Of all lanes."""

    def add(self, product: Number, stored: Mapping[str, Integers], mode: Integers) -> dict[str, Integers]:
        """Sums by port, from those `stored` by port without its suffix."""

    def build(self, m: Any, io: Any, lane: int, product: Number) -> None:
        """An adder and a register between the ports of a lane."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExactSums:
    """Fixed point.

    Attributes
    ----------
    scales : tuple of int
        By lane: exponents of products are from -scale to scale - 1.
    fraction_bits, growth_bits : int
        Of a product, and log2 of how many are added.
    """

    scales: tuple[int, ...]
    fraction_bits: int
    growth_bits: int

    @property
    def bits(self) -> tuple[int, ...]:
        """Of a lane's sum, with its sign."""
        return tuple(2 * scale + self.fraction_bits + 1 + self.growth_bits for scale in self.scales)

    def ports(self, suffix: str, what: str) -> tuple[Port, ...]:
        """As wide as the widest lane."""
        return (Port(name=f"sum{suffix}", bits=max(self.bits), signed=True, lanes=LANES, what=f"sums, {what}"),)

    def add(self, product: Number, stored: Mapping[str, Integers], mode: Integers) -> dict[str, Integers]:  # noqa: ARG002
        """What is shifted further than a lane is wide is lost."""
        found = []
        for lane, (scale, bits) in enumerate(zip(self.scales, self.bits, strict=True)):
            amount = (product.exponent[..., lane] + scale) & ((1 << bits.bit_length()) - 1)
            value = product.significand[..., lane] << amount
            value = np.where(product.sign[..., lane] == 1, -value, value)
            found.append(wrapped(stored["sum"][..., lane] + value, bits))
        return {"sum": np.stack(found, -1)}

    def build(self, m: Any, io: Any, lane: int, product: Number) -> None:
        """A shifter, and an adder that subtracts by the sign."""
        from amaranth.hdl import Signal, signed

        bits = self.bits[lane]
        total = Signal(signed(bits), name=f"total{lane}")
        shifted, amount = Signal(bits, name=f"shifted{lane}"), Signal(bits.bit_length(), name=f"amount{lane}")
        m.d.comb += [amount.eq(product.exponent + self.scales[lane]), shifted.eq(product.significand << amount)]
        m.d.sync += total.eq(io.sum_in[lane] + (shifted ^ product.sign.replicate(bits)) + product.sign)
        m.d.comb += io.sum[lane].eq(total)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FloatingSums:
    """Few significant bits.

    Attributes
    ----------
    kept : tuple of int
        Significant bits by mode.
    product_bits, exponent_bits : int
        Of a product's significand, and of exponents.
    rounding : str
        As of `NarrowAdder`.
    """

    kept: tuple[int, ...]
    product_bits: int
    exponent_bits: int
    rounding: Rounding

    def ports(self, suffix: str, what: str) -> tuple[Port, ...]:
        """Significands of lanes that hold fewer bits have zeros below, and are not read there."""
        sign, exponent, significand = (f"{part}{suffix}" for part in PARTS)
        return (
            Port(name=sign, bits=1, lanes=LANES, what=f"sums' signs, {what}"),
            Port(name=exponent, bits=self.exponent_bits, signed=True, lanes=LANES, what=f"exponents, {what}"),
            Port(name=significand, bits=max(self.kept), lanes=LANES, what=f"bits from the leading one, {what}"),
        )

    def _most(self, lane: int) -> int:
        """Significant bits that a lane holds."""
        return max(self.kept[mode] for mode in MODES_OF_LANES[lane])

    def add(self, product: Number, stored: Mapping[str, Integers], mode: Integers) -> dict[str, Integers]:
        """By the adder's twin, lane by lane."""
        found = Number(*([] for _ in PARTS))
        for lane in range(LANES):
            most = self._most(lane)
            below = max(self.kept) - most
            sign, exponent, significand = (stored[part][..., lane] for part in PARTS)
            total = added(
                Number(*(each[..., lane] for each in product)),
                Number(sign, exponent, significand >> below),
                (self.product_bits, most, self.exponent_bits),
                self.rounding,
                np.minimum(self.kept, most)[mode],
            )
            for into, each in zip(found, total._replace(significand=total.significand << below), strict=True):
                into.append(each)
        return {part: np.stack(lanes, -1) for part, lanes in zip(PARTS, found, strict=True)}

    def build(self, m: Any, io: Any, lane: int, product: Number) -> None:
        """The adder, for the modes in which the lane works."""
        from amaranth.hdl import Cat, Const, Signal

        below = max(self.kept) - self._most(lane)
        sign, exponent, significand = (getattr(io, f"{part}_in")[lane] for part in PARTS)
        stored = Number(sign, exponent, significand[below:])
        found = adder(m, f"lane{lane}_", product, stored, self._holds(io.mode, lane), self.rounding)
        for part, value in zip(PARTS, found, strict=True):
            register = Signal(len(value), name=f"{part}{lane}")
            m.d.sync += register.eq(value)
            out = getattr(io, part)[lane]
            m.d.comb += out.eq(Cat(Const(0, below), register) if part == PARTS[-1] else register)

    def _holds(self, mode: Any, lane: int) -> dict[int, Any]:
        """Significant bits of the lane's sum -> the signal in which they hold; the most in all other modes."""
        from amaranth.hdl import Const

        found, other, most = {}, Const(1, 1), self._most(lane)
        for bits in sorted({bits for bits in self.kept if bits < most}):
            found[bits] = functools.reduce(
                operator.or_, [mode == at for at, each in enumerate(self.kept) if each == bits]
            )
            other = other & ~found[bits]
        return found | {most: other}
