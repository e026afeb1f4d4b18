"""A lane of the vector unit: one floating-point operation a clock, with a register that it can read back.

Ours, as `bitwright.accelerators.vector` counts operations: additions, differences, products, multiply-adds, the larger
or smaller of two. Functions, divisions and roots are sequences of these; tables and first guesses are not built. One
correctly rounded multiply-add (`FloatMultiplyAdd`) does all arithmetic: a sum is a * 1 + b, a product a * b - 0 or + 0,
whichever keeps the sign of zero.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pydantic

from bitwright.circuits.circuit import Circuit, Integers, Port, Ports, Values, place
from bitwright.circuits.float_multiply_add import IEEE, FloatMultiplyAdd
from bitwright.settings import about

ADD, SUBTRACT, MULTIPLY, MULTIPLY_ADD, LARGER, SMALLER, HOLD, PASS = range(8)


class VectorLane(Circuit):
    """A multiply-add between selectors, a comparison, and a register."""

    name: ClassVar[str] = "vector-lane"
    summary: ClassVar[str] = "one float16 operation a clock: add, subtract, multiply, multiply-add, larger, smaller"
    source: ClassVar[str] = "ours; operations as the vector unit counts them, IEEE 754 for what comes out"
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "float16": {},
        "6 bits": {"exponent_bits": 3, "fraction_bits": 2},
    }

    exponent_bits: int = pydantic.Field(
        5, ge=2, le=8, description="width of the exponent", json_schema_extra=about(IEEE, unit="bits")
    )
    fraction_bits: int = pydantic.Field(
        10, ge=1, le=23, description="width of the fraction", json_schema_extra=about(IEEE, unit="bits")
    )

    @property
    def arithmetic(self) -> FloatMultiplyAdd:
        """What it computes with."""
        return FloatMultiplyAdd(exponent_bits=self.exponent_bits, fraction_bits=self.fraction_bits)

    def ports(self) -> Ports:
        """`again` reads the lane's register instead of b (of c, where it multiplies and adds)."""
        bits = self.arithmetic.bits
        inputs = (
            Port(
                name="operation",
                bits=3,
                what="0: a + b, 1: a - b, 2: a * b, 3: a * b + c, 4: larger, 5: smaller, 6: hold, 7: a",
            ),
            *(Port(name=name, bits=bits, what="number") for name in "abc"),
            Port(name="again", bits=1, what="the register is read instead of b, or of c in a * b + c"),
        )
        return Ports(inputs=inputs, outputs=(Port(name="y", bits=bits, what="the register: result, a clock later"),))

    def controls(self, clocks: int, streams: int) -> dict[str, Integers]:
        """A polynomial by Horner's rule: multiply-adds of fresh numbers."""
        whole = np.ones((clocks, streams), np.int64)
        return {"operation": MULTIPLY_ADD * whole, "again": 0 * whole}

    def model(self, inputs: Values) -> dict[str, Integers]:
        """By the multiply-add's twin, clock by clock."""
        unit, found = self.arithmetic, np.zeros_like(inputs["a"])
        sign, one = 1 << (unit.bits - 1), int(unit.encode(np.ones(1))[0])
        held = np.zeros_like(inputs["a"][0])
        for clock in range(len(found)):
            found[clock] = held
            operation, a, b, c, again = (inputs[name][clock] for name in ("operation", "a", "b", "c", "again"))
            multiplies = (operation == MULTIPLY) | (operation == MULTIPLY_ADD)
            b = np.where((again == 1) & (operation != MULTIPLY_ADD), held, b)
            c = np.where((again == 1) & (operation == MULTIPLY_ADD), held, c)
            zero = (a ^ b) & sign
            addend = np.select([operation == ADD, operation == SUBTRACT, operation == MULTIPLY], [b, b ^ sign, zero], c)
            made = unit.model({"a": a, "b": np.where(multiplies, b, one), "c": addend})["y"]
            of_a, of_b = (np.where(word & sign, -(word ^ sign), word) for word in (a, b))
            nan = np.isnan(unit.decode(a)) | np.isnan(unit.decode(b))
            larger = np.where(nan, unit.encode(np.full(len(a), np.nan)), np.where(of_a >= of_b, a, b))
            smaller = np.where(nan, unit.encode(np.full(len(a), np.nan)), np.where(of_a >= of_b, b, a))
            choices = [operation == LARGER, operation == SMALLER, operation == HOLD, operation == PASS]
            held = np.select(choices, [larger, smaller, held, a], made)
        return {"y": found}

    def build(self, m: Any, io: Any) -> None:
        """As `model`; words are compared as signed magnitudes, where 0 and -0 are equal."""
        from amaranth.hdl import Cat, Const, Mux, Signal, signed

        unit = self.arithmetic
        bits, fma = unit.bits, place(m, unit, "unit")
        held, b, c = (Signal(bits, name=name) for name in ("held", "b_taken", "c_taken"))
        adds_to = io.operation == MULTIPLY_ADD
        m.d.comb += [
            b.eq(Mux(io.again & ~adds_to, held, io.b)),
            c.eq(Mux(io.again & adds_to, held, io.c)),
            io.y.eq(held),
        ]
        one = int(unit.encode(np.ones(1))[0])
        multiplies = adds_to | (io.operation == MULTIPLY)
        zero = Cat(Const(0, bits - 1), io.a[-1] ^ b[-1])
        subtracted = Cat(b[:-1], ~b[-1])
        of_sum = Mux(io.operation == ADD, b, subtracted)
        m.d.comb += [
            fma.a.eq(io.a),
            fma.b.eq(Mux(multiplies, b, one)),
            fma.c.eq(Mux(multiplies, Mux(adds_to, c, zero), of_sum)),
        ]

        def value(name: str, word: Any) -> Any:
            found = Signal(signed(bits), name=name)
            m.d.comb += found.eq(Mux(word[-1], -word[:-1], word[:-1]))
            return found

        infinity = ((1 << unit.exponent_bits) - 1) << unit.fraction_bits
        nan = (io.a[:-1] > infinity) | (b[:-1] > infinity)
        quiet = infinity | 1 << (unit.fraction_bits - 1)
        a_first = value("a_value", io.a) >= value("b_value", b)
        picked = Mux(nan, quiet, Mux(a_first ^ io.operation[0], io.a, b))
        compares = (io.operation == LARGER) | (io.operation == SMALLER)
        result = Mux(io.operation == PASS, io.a, Mux(compares, picked, fma.y))
        with m.If(io.operation != HOLD):
            m.d.sync += held.eq(result)
