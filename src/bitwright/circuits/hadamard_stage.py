"""A level of a fast Hadamard transform: sums and differences of pairs, by which activations are rotated.

A rotation of n values by the matrix of 1 and -1 takes log2(n) levels of n / 2 butterflies; each level here takes
neighbours in its lanes, as wires between levels put them. Ours: numbers in floating point, as rotations are computed
before quantization (`bitwright.networks.hadamard`), each sum rounded by itself; the factor of 1 / sqrt(n) is folded
into the scale.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pydantic

from bitwright.circuits.circuit import Circuit, Integers, Port, Ports, Values, place
from bitwright.circuits.float_multiply_add import IEEE, FloatMultiplyAdd
from bitwright.settings import OURS, about


class HadamardStage(Circuit):
    """Butterflies: two float adders each, and a register behind each of them."""

    name: ClassVar[str] = "hadamard-stage"
    summary: ClassVar[str] = "sums and differences of pairs of floats: a level of a Hadamard rotation"
    source: ClassVar[str] = OURS
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "4 lanes, float16": {"lanes": 4},
        "2 lanes, 6 bits": {"lanes": 2, "exponent_bits": 3, "fraction_bits": 2},
    }
    small: ClassVar[tuple[Mapping[str, Any], ...]] = ({"lanes": 2, "exponent_bits": 3, "fraction_bits": 2},)

    lanes: int = pydantic.Field(
        8, ge=2, le=64, multiple_of=2, description="values per clock", json_schema_extra=about(OURS)
    )
    exponent_bits: int = pydantic.Field(
        5, ge=2, le=8, description="width of the exponent", json_schema_extra=about(IEEE, unit="bits")
    )
    fraction_bits: int = pydantic.Field(
        10, ge=1, le=23, description="width of the fraction", json_schema_extra=about(IEEE, unit="bits")
    )

    @property
    def arithmetic(self) -> FloatMultiplyAdd:
        """An adder is a multiply-add by 1."""
        return FloatMultiplyAdd(exponent_bits=self.exponent_bits, fraction_bits=self.fraction_bits)

    def ports(self) -> Ports:
        """Lanes 2 i and 2 i + 1 are a pair."""
        bits = self.arithmetic.bits
        x = Port(name="x", bits=bits, lanes=self.lanes, what="numbers")
        y = Port(name="y", bits=bits, lanes=self.lanes, what="sum and difference of each pair, a clock later")
        return Ports(inputs=(x,), outputs=(y,))

    def model(self, inputs: Values) -> dict[str, Integers]:
        """x + y and x - y of each pair; registers held the sums of zeros."""
        unit, x = self.arithmetic, inputs["x"]
        one, sign = unit.encode(np.ones(1))[0], 1 << (unit.bits - 1)
        first, second = x[..., ::2], x[..., 1::2]
        ones = np.full_like(first, one)
        pairs = [unit.model({"a": ones, "b": first, "c": other})["y"] for other in (second, second ^ sign)]
        made = np.stack(pairs, -1).reshape(x.shape)
        return {"y": np.concatenate([np.zeros_like(made[:1]), made[:-1]])}

    def build(self, m: Any, io: Any) -> None:
        """As `model`."""
        from amaranth.hdl import Cat, Signal

        unit = self.arithmetic
        one = int(unit.encode(np.ones(1))[0])
        for lane in range(self.lanes):
            first, second = io.x[lane & ~1], io.x[lane | 1]
            adder = place(m, unit, f"adder{lane}")
            addend = Cat(second[:-1], ~second[-1]) if lane & 1 else second
            held = Signal(unit.bits, name=f"held{lane}")
            m.d.comb += [adder.a.eq(one), adder.b.eq(first), adder.c.eq(addend), io.y[lane].eq(held)]
            m.d.sync += held.eq(adder.y)
