"""A processing element of DRQ: one multiplier of 4 by 4 bits that works 1, 2 or 4 clocks for a product.

Sources: DRQ (Song et al., ISCA 2020): sensitive regions are multiplied as 8 by 8 bits, elsewhere both operands drop
their low-order bits on the fly; SPARK (HPCA 2024) on its array: 4 by 4 bits take a cycle, 8 by 8 four, and the sum is
shared. Ours: weights rest with all 8 bits, and what multiplies narrow elements is rounded to nearest, ties to even, as
the method `drq` has it; x comes as 8 bits, or as the 4 of its narrow code; the array's control says which digits are
multiplied, since all elements go at the pace of the slowest. Narrow products count 2^8, so sums need no shift after.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pydantic

from bitwright.circuits.circuit import Circuit, Integers, Port, Ports, Values
from bitwright.circuits.multiply_accumulate import wrapped
from bitwright.settings import OURS, about

DIGIT = 4
CODE = 2 * DIGIT
STEPS = 4
"""Of a product of 8 by 8 bits."""


class DrqElement(Circuit):
    """A multiplier of digits, a shifter, a resting weight and its narrow code, and a sum on its way down."""

    name: ClassVar[str] = "drq-element"
    summary: ClassVar[str] = "4-bit multiplier that takes four clocks for 8 by 8 bits (DRQ's processing element)"
    source: ClassVar[str] = "DRQ (ISCA 2020) and SPARK (HPCA 2024) for speeds and the shared sum; the rest is ours"
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {"8 and 4 bits": {}}

    sum_bits: int = pydantic.Field(
        32, ge=2, le=48, description="width of the sum, which wraps", json_schema_extra=about(OURS, unit="bits")
    )

    def ports(self) -> Ports:
        """A product of narrow elements is one step; x is passed on where `passes` says that its last step is done."""
        inputs = (
            Port(name="x", bits=CODE, what="an element of x: 8 bits, or a narrow code in the lower 4"),
            Port(name="x_signed", bits=1, what="whether it is signed"),
            Port(name="narrow", bits=1, what="x is narrow, and so is the weight that it meets"),
            Port(name="x_high", bits=1, what="the higher digit of a wide x is multiplied"),
            Port(name="w_high", bits=1, what="the higher digit of a wide weight is multiplied"),
            Port(name="first", bits=1, what="the product's first step: it is added to the row above's sum"),
            Port(name="passes", bits=1, what="the product's last step: x goes on"),
            Port(name="w", bits=CODE, signed=True, what="weight"),
            Port(name="load", bits=1, what="it is taken in"),
            Port(name="sum_in", bits=self.sum_bits, signed=True, what="sum of the row above"),
        )
        x_out = Port(name="x_out", bits=CODE, what="x for the next column, a clock after it passed")
        total = Port(name="sum", bits=self.sum_bits, signed=True, what="sum, a clock after each step")
        return Ports(inputs=inputs, outputs=(x_out, total))

    def controls(self, clocks: int, streams: int) -> dict[str, Integers]:
        """Wide signed products, four clocks each; x, w and the sum above should be held meanwhile, and are not."""
        step = np.broadcast_to(np.arange(clocks)[:, None] % STEPS, (clocks, streams))
        return {
            "x_signed": np.ones_like(step),
            "narrow": np.zeros_like(step),
            "x_high": step & 1,
            "w_high": step >> 1,
            "first": (step == 0).astype(np.int64),
            "passes": (step == STEPS - 1).astype(np.int64),
            "load": (np.arange(clocks)[:, None] % 256 == 0) * np.ones_like(step),
        }

    def model(self, inputs: Values) -> dict[str, Integers]:
        """Digits' products where they belong, a clock later."""
        x = inputs["x"]
        low, high = x & 15, x >> DIGIT
        of_x = np.where(inputs["x_high"] & (1 - inputs["narrow"]), high, low)
        signed = inputs["x_signed"] & (inputs["narrow"] | inputs["x_high"])
        of_x = np.where(signed, wrapped(of_x, DIGIT), of_x)
        places = DIGIT * (inputs["x_high"] + inputs["w_high"])
        shift = np.where(inputs["narrow"], CODE, places)
        found = {"x_out": np.zeros_like(x), "sum": np.zeros_like(x)}
        weight, total, passed = (np.zeros_like(x[0]) for _ in range(3))
        for clock in range(len(x)):
            found["x_out"][clock], found["sum"][clock] = passed, total
            digit = np.where(inputs["w_high"][clock], weight >> DIGIT, weight & 15)
            of_w = np.where(inputs["narrow"][clock], narrow(weight), digit)
            before = np.where(inputs["first"][clock], inputs["sum_in"][clock], total)
            total = wrapped(before + (of_x[clock] * of_w << shift[clock]), self.sum_bits)
            passed = np.where(inputs["passes"][clock], x[clock], passed)
            weight = np.where(inputs["load"][clock], inputs["w"][clock], weight)
        return found

    def build(self, m: Any, io: Any) -> None:
        """As `model`."""
        from amaranth.hdl import Mux, Signal, signed

        weight, total = Signal(signed(CODE), name="weight"), Signal(signed(self.sum_bits), name="total")
        with m.If(io.load):
            m.d.sync += weight.eq(io.w)
        with m.If(io.passes):
            m.d.sync += io.x_out.eq(io.x)

        bits, of_x = Signal(DIGIT, name="x_bits"), Signal(signed(DIGIT + 1), name="x_digit")
        sign = bits[-1] & io.x_signed & (io.narrow | io.x_high)
        m.d.comb += [
            bits.eq(Mux(io.x_high & ~io.narrow, io.x[DIGIT:], io.x[:DIGIT])),
            of_x[:DIGIT].eq(bits),
            of_x[DIGIT].eq(sign),
        ]

        # rounding to nearest, ties to even, never reaches -8 but from -128 and -120 .. -127, where it saturates
        high, half, rest = weight[DIGIT:].as_signed(), weight[DIGIT - 1], weight[: DIGIT - 1].any()
        rounded, clipped = Signal(signed(DIGIT + 1), name="rounded"), Signal(signed(DIGIT), name="clipped")
        m.d.comb += rounded.eq(high + (half & (rest | high[0])))
        m.d.comb += clipped.eq(Mux(rounded > 7, 7, Mux(rounded < -7, -7, rounded)))
        of_w = Signal(signed(DIGIT + 1), name="w_digit")
        m.d.comb += of_w.eq(Mux(io.narrow, clipped, Mux(io.w_high, high, weight[:DIGIT])))

        product = Signal(signed(2 * DIGIT + 2), name="product")
        m.d.comb += product.eq(of_x * of_w)
        once = Mux(io.narrow | (io.x_high ^ io.w_high), product << DIGIT, product)
        twice = Mux(io.narrow, once << DIGIT, Mux(io.x_high & io.w_high, product << CODE, once))
        m.d.sync += total.eq(Mux(io.first, io.sum_in, total) + twice)
        m.d.comb += io.sum.eq(total)


def narrow(codes: Integers) -> Integers:
    """Signed codes of 8 bits in steps of 16: to nearest, ties to even, within -7 .. 7.

    Examples
    --------
    >>> narrow(np.array([8, 24, 25, -128, 127, -40])).tolist()
    [0, 2, 2, -7, 7, -2]
    """
    return np.clip(np.rint(codes / (1 << DIGIT)).astype(np.int64), -7, 7)
