"""AdaptivFloat's processing element: a product of two small floats, accumulated in fixed point (DAC 2020, 1909.13271).

After the paper's hybrid float-integer PE as we know it: mantissas with their hidden one are multiplied, exponents
added, the product shifted to fixed point, given its sign and accumulated, in 30 bits there and 32 here. The bias is the
tensor's and stays outside, so sums count in units of the smallest product's last bit. A word whose exponent and
mantissa are 0 is 0 (`bitwright.formats.adaptive_float`). Weights rest, as in the other arrays here.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import pydantic

from bitwright.circuits.circuit import Circuit, Integers, Port, Ports, Values, Words
from bitwright.circuits.multiply_accumulate import LENGTH, wrapped
from bitwright.circuits.resting import later, loaded, resting, sums_before
from bitwright.errors import InputError
from bitwright.formats import AdaptivFloat
from bitwright.settings import OURS, about

ADAPTIVFLOAT = "AdaptivFloat, DAC 2020"


class AdaptivFloatPe(Circuit):
    """A multiplier of mantissas, an adder of exponents, a shifter and an adder, and registers for x, w and the sum."""

    name: ClassVar[str] = "adaptivfloat-pe"
    summary: ClassVar[str] = "product of two AdaptivFloats added in fixed point, weights rest (AdaptivFloat's PE)"
    source: ClassVar[str] = "AdaptivFloat (DAC 2020, arXiv 1909.13271) for the datapath; the width of sums is ours"
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {"8 bits, 3 of them exponent": {}}
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"bits": 4, "exponent_bits": 2, "sum_bits": 9},
        {"bits": 3, "exponent_bits": 1, "sum_bits": 7},
    )

    bits: int = pydantic.Field(
        8, ge=2, le=8, description="width of a word", json_schema_extra=about(ADAPTIVFLOAT, unit="bits")
    )
    exponent_bits: int = pydantic.Field(
        3, ge=1, le=4, description="width of its exponent", json_schema_extra=about(ADAPTIVFLOAT, unit="bits")
    )
    sum_bits: int = pydantic.Field(
        32, ge=2, le=48, description="width of the sum, which wraps", json_schema_extra=about(OURS, unit="bits")
    )

    @pydantic.model_validator(mode="after")
    def _words(self) -> Self:
        if self.exponent_bits > self.bits - 1:
            raise ValueError(f"a word of {self.bits} bits has at most {self.bits - 1} of them for its exponent")
        return self

    @property
    def mantissa_bits(self) -> int:
        """Without the hidden one."""
        return self.bits - 1 - self.exponent_bits

    def ports(self) -> Ports:
        """Words as they are stored; `load` takes a weight in."""
        return Ports(
            inputs=(
                Port(name="x", bits=self.bits, what="activation"),
                Port(name="w", bits=self.bits, what="weight"),
                Port(name="load", bits=1, what="w is taken in"),
                Port(name="sum_in", bits=self.sum_bits, signed=True, what="sum of the row above"),
            ),
            outputs=(
                Port(name="sum", bits=self.sum_bits, signed=True, what="sum, a clock later"),
                Port(name="x_out", bits=self.bits, what="x for the next column, a clock later"),
                Port(name="w_out", bits=self.bits, what="w for the next row: the one that rests"),
            ),
        )

    def controls(self, clocks: int, streams: int) -> dict[str, Integers]:
        """A weight rests for `LENGTH` clocks."""
        load = np.zeros((clocks, streams), np.int64)
        load[::LENGTH] = 1
        return {"load": load}

    def feed_words(self, x: Words, w: Words, begins: Integers) -> dict[str, Integers]:
        """x by w, every product a weight that is loaded for one clock, on top of the products before it."""
        own = AdaptivFloat(bits=self.bits, exponent_bits=self.exponent_bits)
        for operand in (x, w):
            if operand.format != own:
                raise InputError(
                    f"operands of the layer are {operand.format.name}, and {self.name} takes {own.name} of "
                    f"{self.exponent_bits} exponent bits; choose --method adaptivfloat with such, or set bits and "
                    "exponent_bits"
                )
        products = self._fixed(x.codes) * self._fixed(later(loaded(w.codes)))
        return {
            "x": x.codes,
            "w": loaded(w.codes),
            "load": np.ones_like(x.codes),
            "sum_in": wrapped(sums_before(products, begins), self.sum_bits),
        }

    def _fixed(self, words: Integers) -> Integers:
        """Words as integers: in units of the last bit of the smallest binade."""
        magnitude = words & ((1 << (self.bits - 1)) - 1)
        one = 1 << self.mantissa_bits
        value = (one + (magnitude & (one - 1))) << (magnitude >> self.mantissa_bits)
        value = np.where(magnitude == 0, 0, value)
        return np.where(words >> (self.bits - 1) == 1, -value, value)

    def model(self, inputs: Values) -> dict[str, Integers]:
        """Sums, and what is passed on, a clock after their operands."""
        weight = resting(inputs["w"], inputs["load"])
        total = inputs["sum_in"] + self._fixed(inputs["x"]) * self._fixed(weight)
        return {"sum": later(wrapped(total, self.sum_bits)), "x_out": later(inputs["x"]), "w_out": weight}

    def build(self, m: Any, io: Any) -> None:
        """As the datapath is drawn."""
        from amaranth.hdl import Cat, Mux, Signal, signed

        weight, x = Signal(self.bits, name="weight"), Signal(self.bits, name="held_x")
        total = Signal(signed(self.sum_bits), name="total")
        with m.If(io.load):
            m.d.sync += weight.eq(io.w)
        mantissas, exponents, zero = [], [], []
        for word in (io.x, weight):
            mantissas.append(Cat(word[: self.mantissa_bits], 1))
            exponents.append(word[self.mantissa_bits : -1])
            zero.append(~word[:-1].any())
        product = Signal(2 * self.mantissa_bits + 2, name="product")
        shifted = Signal(signed(self.sum_bits), name="shifted")
        exponent = Signal(self.exponent_bits + 1, name="exponent")
        m.d.comb += [
            product.eq(Mux(zero[0] | zero[1], 0, mantissas[0] * mantissas[1])),
            exponent.eq(exponents[0] + exponents[1]),
            shifted.eq(product << exponent),
        ]
        minus = io.x[-1] ^ weight[-1]
        m.d.sync += [total.eq(io.sum_in + (shifted ^ minus.replicate(self.sum_bits)) + minus), x.eq(io.x)]
        m.d.comb += [io.sum.eq(total), io.x_out.eq(x), io.w_out.eq(weight)]
