"""A dot product of two blocks of integers with a shared exponent each, added to a float32: for block formats.

Elements are integers of two's complement that count 2^exponent, as in the MX formats (OCP, 2023; MXINT8's elements
count 2^-6 besides, which a bias of the exponents says). Ours: the elements' products are added exactly, and their sum,
which fits a significand of float32, is added to the running sum by one correctly rounded addition
(`FloatMultiplyAdd` times 1), a block per clock. The machines here scale exact sums of blocks as they leave the array;
this is what stands there if every processing element did so.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pydantic

from bitwright.circuits.circuit import Circuit, Integers, Port, Ports, Values, place
from bitwright.circuits.float_multiply_add import FloatMultiplyAdd
from bitwright.circuits.multiply_accumulate import LENGTH
from bitwright.circuits.slice_operator import tree
from bitwright.settings import about

MX = "OCP microscaling formats, 2023"
EXPONENT = 8
"""Bits of a shared exponent, which is signed here: a bias lies outside."""
ADDER = FloatMultiplyAdd(exponent_bits=8, fraction_bits=23)
ONE = 0x3F800000
BIAS = 127


class BlockDotProduct(Circuit):
    """Multipliers, an adder tree, what makes a float of its sum, and a float adder with its register."""

    name: ClassVar[str] = "block-dot-product"
    summary: ClassVar[str] = "dot product of blocks with shared exponents, added to a float32 (for block formats)"
    source: ClassVar[str] = "ours; blocks of integers with a shared exponent are MX's (OCP, 2023)"
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "8 elements of 8 bits": {"length": 8},
        "32 elements of 4 bits": {"length": 32, "bits": 4},
    }

    length: int = pydantic.Field(32, ge=2, le=64, description="elements of a block", json_schema_extra=about(MX))
    bits: int = pydantic.Field(
        8, ge=2, le=8, description="width of an element, signed", json_schema_extra=about(MX, unit="bits")
    )

    @property
    def sum_bits(self) -> int:
        """Of the exact sum, at most 22: its magnitude fits a significand."""
        return 2 * self.bits + (self.length - 1).bit_length()

    def ports(self) -> Ports:
        """A block of both operands a clock."""
        inputs = [
            Port(name=name, bits=self.bits, signed=True, lanes=self.length, what=f"elements of {name}") for name in "xw"
        ]
        inputs += [
            Port(name=f"{name}_exponent", bits=EXPONENT, signed=True, what=f"elements of {name} count 2 to this")
            for name in "xw"
        ]
        inputs.append(Port(name="clear", bits=1, what="a new sum begins with this block"))
        return Ports(inputs=tuple(inputs), outputs=(Port(name="sum", bits=32, what="float32, a clock later"),))

    def controls(self, clocks: int, streams: int) -> dict[str, Integers]:
        """Sums of `LENGTH` blocks, with exponents that wander by a few."""
        clock = np.broadcast_to(np.arange(clocks)[:, None], (clocks, streams))
        exponents = {"x_exponent": clock * 5 % 7 - 9, "w_exponent": clock * 3 % 5 - 12}
        return {"clear": (clock % LENGTH == 0).astype(np.int64), **exponents}

    def model(self, inputs: Values) -> dict[str, Integers]:
        """Exact sums of blocks, each added to a float32 and rounded once."""
        exact = (inputs["x"] * inputs["w"]).sum(-1)
        block = ADDER.encode(np.ldexp(exact.astype(np.float64), inputs["x_exponent"] + inputs["w_exponent"]))
        found = np.zeros_like(exact)
        total = np.zeros_like(exact[0])
        for clock in range(len(exact)):
            found[clock] = total
            before = np.where(inputs["clear"][clock], 0, total)
            total = ADDER.model({"a": block[clock], "b": np.full_like(total, ONE), "c": before})["y"]
        return {"sum": found}

    def build(self, m: Any, io: Any) -> None:
        """A sum's highest bit becomes the hidden one; exponents out of range are infinite or go down to zero."""
        from amaranth.hdl import Cat, Const, Mux, Signal, signed

        exact = Signal(signed(self.sum_bits), name="exact")
        m.d.comb += exact.eq(tree([x * w for x, w in zip(io.x, io.w, strict=True)]))
        size = Signal(self.sum_bits, name="size")
        m.d.comb += size.eq(Mux(exact[-1], -exact, exact))
        fraction_bits = ADDER.fraction_bits
        value: Any = Cat(Const(0, fraction_bits + 1 - self.sum_bits), size)
        shifts: list[Any] = []
        for bit in reversed(range((self.sum_bits - 1).bit_length())):
            empty, moved = Signal(name=f"empty{bit}"), Signal(fraction_bits + 1, name=f"moved{bit}")
            m.d.comb += [
                empty.eq(~value[fraction_bits + 1 - (1 << bit) :].any()),
                moved.eq(Mux(empty, value << (1 << bit), value)),
            ]
            value, shifts = moved, [empty, *shifts]
        normal, exponent = Signal(fraction_bits + 1, name="normal"), Signal(signed(EXPONENT + 3), name="exponent")
        m.d.comb += normal.eq(value)
        m.d.comb += exponent.eq(io.x_exponent + io.w_exponent + (self.sum_bits - 1 + BIAS) - Cat(*shifts))
        self._added(m, io, exact[-1], normal, exponent)

    def _added(self, m: Any, io: Any, sign: Any, normal: Any, exponent: Any) -> None:
        """The block's float, and the running sum."""
        from amaranth.hdl import Cat, Const, Mux, Signal

        fraction_bits, top = ADDER.fraction_bits, (1 << ADDER.exponent_bits) - 1
        down = Signal(range(fraction_bits + 3), name="down")  # of a number below the least exponent
        m.d.comb += down.eq(Mux(exponent > 0, 0, Mux(exponent < -fraction_bits - 1, fraction_bits + 2, 1 - exponent)))
        long = Cat(Const(0, fraction_bits + 2), normal) >> down
        kept, half = long[fraction_bits + 2 :], long[fraction_bits + 1]
        rest = long[: fraction_bits + 1].any()
        magnitude = Signal(32, name="magnitude")
        number = Cat(kept[:fraction_bits], Mux(kept[-1], Mux(exponent > 0, exponent, 1), 0)[: ADDER.exponent_bits])
        m.d.comb += magnitude.eq(number + (half & (rest | kept[0])))
        over = exponent >= top
        block = Signal(32, name="block")
        infinity = Const(top << fraction_bits, 31)
        nothing = ~normal.any()
        m.d.comb += block.eq(Mux(nothing, 0, Cat(Mux(over, infinity, magnitude[:31]), sign)))
        total, adder = Signal(32, name="total"), place(m, ADDER, "adder")
        m.d.comb += [adder.a.eq(block), adder.b.eq(ONE), adder.c.eq(Mux(io.clear, 0, total)), io.sum.eq(total)]
        m.d.sync += total.eq(adder.y)
