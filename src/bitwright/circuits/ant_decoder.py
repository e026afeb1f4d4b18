"""ANT's decoder: a word of any of its types becomes a base integer and an exponent (MICRO 2022, arXiv 2208.14286).

Types are those of `bitwright.formats.ant` and the integer: value = base * 2^exponent. As we know the paper, one decoder
for a type that is said by the layer: of a flint whose first bit is 1, a counter of leading zeros makes the exponent and
a shift the base. An integer of twice the bits is two words, of which the upper has an exponent (`high`) and the lower
no sign. The way from words to bits is ours.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pydantic

from bitwright.circuits.circuit import Circuit, Integers, Port, Ports, Values
from bitwright.circuits.leading import normalized
from bitwright.settings import about

ANT = "ANT, MICRO 2022"
INTEGER, POWER, FLINT = 0, 1, 2


class AntDecoder(Circuit):
    """A word to base and exponent."""

    name: ClassVar[str] = "ant-decoder"
    summary: ClassVar[str] = "integer, power of two or flint to base integer and exponent (ANT's)"
    source: ClassVar[str] = "ANT (MICRO 2022, arXiv 2208.14286) for types and what comes out; the gates are ours"
    clocked: ClassVar[bool] = False
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {"4 bits": {}}
    small: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"bits": 3}, {"bits": 6})

    bits: int = pydantic.Field(4, ge=3, le=7, description="width of a word", json_schema_extra=about(ANT, unit="bits"))

    def ports(self) -> Ports:
        """Type and sign are the layer's."""
        inputs = (
            Port(name="word", bits=self.bits, what="a word"),
            Port(name="kind", bits=2, what="0: integer, 1: power of two, 2 and 3: flint"),
            Port(name="is_signed", bits=1, what="two's complement of integers, sign and magnitude of the others"),
            Port(name="high", bits=1, what="the upper half of an integer of twice the bits"),
        )
        base = Port(name="base", bits=self.bits + 1, signed=True, what="base integer")
        exponent = Port(name="exponent", bits=self.bits, what="power of two that it counts; 0 of a power that is 0")
        return Ports(inputs=inputs, outputs=(base, exponent))

    def model(self, inputs: Values) -> dict[str, Integers]:
        """Type by type."""
        word, signed, kind = inputs["word"], inputs["is_signed"], inputs["kind"]
        negative = signed & (word >> (self.bits - 1)) == 1
        magnitude = np.where(negative, word - (1 << (self.bits - 1)), word)
        width = self.bits - signed  # of a magnitude
        rest = magnitude - (np.int64(1) << (width - 1))
        zeros = width - 1 - np.frexp(np.maximum(rest, 0).astype(np.float64))[1].astype(np.int64)
        floats = rest >= 0
        flint = np.where(floats, np.where(rest == 0, 1, rest << 1), magnitude)
        base = np.where(kind == POWER, np.minimum(magnitude, 1), flint)
        exponent = np.where(kind == POWER, np.maximum(magnitude - 1, 0), np.where(floats, 2 * zeros, 0))
        integer = np.where(negative, word - (1 << self.bits), word)
        return {
            "base": np.where(kind == INTEGER, integer, np.where(negative, -base, base)),
            "exponent": np.where(kind == INTEGER, self.bits * inputs["high"], exponent),
        }

    def build(self, m: Any, io: Any) -> None:
        """A magnitude lies at the top of the word, above a zero where there is a sign."""
        from amaranth.hdl import Cat, Const, Mux, Signal

        bits, sign, signed = self.bits, Signal(name="sign"), io.is_signed
        aligned, magnitude = Signal(bits, name="aligned"), Signal(bits, name="magnitude")
        m.d.comb += [
            sign.eq(signed & io.word[-1]),
            aligned.eq(Mux(signed, io.word << 1, io.word)),
            magnitude.eq(Cat(io.word[:-1], io.word[-1] & ~signed)),
        ]
        rest = Signal(bits, name="rest")  # what follows a flint's first bit, and a one that ends it
        m.d.comb += rest.eq(Cat(~signed, Mux(signed, aligned[: bits - 1] | 1, aligned[: bits - 1])))
        _, zeros = normalized(m, "zeros", rest)
        empty = Signal(name="empty")
        m.d.comb += empty.eq(~aligned[: bits - 1].any())
        after = Cat(Mux(signed, aligned[0], 0) | empty, Mux(signed, aligned[1 : bits - 1], aligned[: bits - 1]))
        flint = Mux(aligned[-1], after, magnitude)
        some = magnitude.any()
        base, exponent = Signal(bits, name="unsigned_base"), Signal(bits, name="own_exponent")
        power = io.kind == POWER
        m.d.comb += [
            base.eq(Mux(power, some, flint)),
            exponent.eq(Mux(power, Mux(some, magnitude - 1, 0), Mux(aligned[-1], zeros << 1, 0))),
        ]
        with m.If(io.kind == INTEGER):
            m.d.comb += [io.base.eq(Cat(io.word, sign).as_signed()), io.exponent.eq(Mux(io.high, Const(bits, bits), 0))]
        with m.Else():
            m.d.comb += [io.base.eq(Mux(sign, -base, base)), io.exponent.eq(exponent)]
