"""A lane that turns finished sums into codes of the next site: bias, scale, rounding, zero point, slices.

A code is clip(round(total * scale / 2^(scale_bits - 1 + shift)) + zero_point), with total = 2^dropped * sum + bias: a
static multiplication in fixed point and a shift, ours, as in the bills of all machines here, where the multiplication
has 32 bits. Networks are executed with the scale as a real number, so a code differs only where the scale's own
rounding decides; scales of 16 bits that use their highest one move what is rounded by 2^-8 of a code at most. What is
Panacea's (arXiv 2412.10059) is where the zero point lies (ZPM: in the centre of a bin, chosen beforehand, so it costs
nothing here) and where codes are cut (DBS: a shift by site): sums of slices cut at l = 4 + dropped count 2^dropped, and
codes leave as two slices cut at 4 + split, without their `split` lowest bits. The bias holds all that is known
beforehand: the layer's own, r's and the zero point's constants.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import pydantic

from bitwright.circuits.circuit import Circuit, Integers, Port, Ports, Values
from bitwright.circuits.multiply_accumulate import wrapped
from bitwright.circuits.slice_operator import PANACEA
from bitwright.formats import Rounding
from bitwright.settings import OURS, about

SHIFT_BITS = 5
SPLIT_BITS = 2
SLICE_BITS = 4
CODE_BITS = 8


class Requantizer(Circuit):
    """An adder, a multiplier and a shifter with what rounds and clips, a register behind each."""

    name: ClassVar[str] = "requantizer"
    summary: ClassVar[str] = "static multiplication and shift of sums to 8-bit codes, and their slices (ZPM, DBS)"
    source: ClassVar[str] = "ours; slices, splits and zero points follow Panacea (arXiv 2412.10059)"
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "to slices": {},
        "to codes of 8 bits": {"slices": False},
        "to codes of 8 bits, halves rounded up": {"slices": False, "rounding": Rounding.HALF_UP},
    }

    slices: bool = pydantic.Field(
        True, description="codes are cut into slices, and sums are of slices", json_schema_extra=about(PANACEA)
    )
    sum_bits: int = pydantic.Field(
        32, ge=2, le=32, description="width of sums, which wrap", json_schema_extra=about(OURS, unit="bits")
    )
    scale_bits: int = pydantic.Field(
        16, ge=2, le=31, description="width of scales, unsigned", json_schema_extra=about(OURS, unit="bits")
    )
    rounding: Literal[Rounding.HALF_EVEN, Rounding.HALF_UP] = pydantic.Field(
        Rounding.HALF_EVEN, description="rounding to codes", json_schema_extra=about("IEEE 754, as methods have it")
    )

    def ports(self) -> Ports:
        """What belongs to a site or column comes when it is needed: the scale a clock after the sum, the rest two."""
        inputs = [
            Port(name="sum", bits=self.sum_bits, signed=True, what="a finished sum"),
            Port(name="bias", bits=self.sum_bits, signed=True, what="what is added to it"),
            Port(name="scale", bits=self.scale_bits, what="its factor, in the next clock"),
            Port(name="shift", bits=SHIFT_BITS, what="what the product is divided by, in the clock after that"),
            Port(name="zero_point", bits=CODE_BITS, what="the code of real zero, in the same"),
        ]
        if not self.slices:
            code = Port(name="code", bits=CODE_BITS, what="the code, three clocks later")
            return Ports(inputs=tuple(inputs), outputs=(code,))
        inputs += [
            Port(name="dropped", bits=SPLIT_BITS, what="bits that x's codes leave out, l - 4; with the sum"),
            Port(name="split", bits=SPLIT_BITS, what="bits that codes leave out, l - 4; with the zero point"),
        ]
        high = Port(name="high", bits=SLICE_BITS, what="the high-order slice, three clocks later")
        return Ports(inputs=tuple(inputs), outputs=(high, Port(name="low", bits=SLICE_BITS, what="the other")))

    def controls(self, clocks: int, streams: int) -> dict[str, Integers]:
        """A column's constants, by which uniform sums of all their bits become codes of all theirs."""
        constants = {
            "bias": 0,
            "scale": (3 << (self.scale_bits - 2)) | 1,
            "shift": max(0, self.sum_bits - CODE_BITS),
            "zero_point": 104,
            **({"dropped": 0, "split": 0} if self.slices else {}),
        }
        return {name: np.full((clocks, streams), value) for name, value in constants.items()}

    def model(self, inputs: Values) -> dict[str, Integers]:
        """Codes three clocks after their sums; what is held at first is 0, and so is what follows from it."""
        dropped = inputs.get("dropped", np.zeros_like(inputs["sum"]))
        total = _later(wrapped((inputs["sum"] << dropped) + inputs["bias"], self.sum_bits))
        product = _later(total * inputs["scale"])
        shift = self.scale_bits - 1 + inputs["shift"]
        floor = product >> shift
        above = product - (floor << shift) - (np.int64(1) << (shift - 1))
        up = above >= 0
        if self.rounding is Rounding.HALF_EVEN:
            up = (above > 0) | ((above == 0) & (floor & 1 == 1))
        code = np.clip(floor + up + inputs["zero_point"], 0, (1 << CODE_BITS) - 1)
        if not self.slices:
            return {"code": _later(code)}
        return {
            "high": _later(code >> (SLICE_BITS + inputs["split"])),
            "low": _later(code >> inputs["split"] & ((1 << SLICE_BITS) - 1)),
        }

    def build(self, m: Any, io: Any) -> None:
        """Of a product, one bit below the least shift and whether there is anything below that are kept."""
        from amaranth.hdl import Cat, Mux, Signal, signed

        total = Signal(signed(self.sum_bits), name="total", reset_less=True)
        m.d.sync += total.eq((io.sum << io.dropped if self.slices else io.sum) + io.bias)

        product = Signal(signed(self.sum_bits + self.scale_bits), name="product")
        m.d.comb += product.eq(total * io.scale)
        below = self.scale_bits - 2
        kept = Signal(signed(len(product) - below), name="kept", reset_less=True)
        rest = Signal(name="rest", reset_less=True)
        m.d.sync += [kept.eq(product[below:].as_signed()), rest.eq(product[:below].any() if below else 0)]

        value, sticky = kept, rest
        for bit in range(SHIFT_BITS):
            by = 1 << bit
            sticky = sticky | (io.shift[bit] & value[:by].any())
            value = Mux(io.shift[bit], value.as_signed() >> by, value.as_signed())
        half, floor = value[0], value[1:].as_signed()
        up = half & (sticky | floor[0]) if self.rounding is Rounding.HALF_EVEN else half
        moved = Signal(signed(max(len(floor), CODE_BITS + 1) + 1), name="moved")
        m.d.comb += moved.eq(floor + io.zero_point + up)
        code = Signal(CODE_BITS, name="clipped")
        over = moved[CODE_BITS:-1].any()
        m.d.comb += code.eq(Mux(moved[-1], 0, moved[:CODE_BITS] | over.replicate(CODE_BITS)))
        outputs = {"code": code}
        if self.slices:
            low = Cat(code, 0)
            outputs = {"high": code >> SLICE_BITS >> io.split, "low": (low >> io.split)[:SLICE_BITS]}
        for name, value in outputs.items():
            held = Signal(len(getattr(io, name)), name=f"{name}_held", reset_less=True)
            m.d.sync += held.eq(value)
            m.d.comb += getattr(io, name).eq(held)


def _later(values: Integers) -> Integers:
    """A clock later; registers hold what they took in while all inputs were 0, which is 0."""
    return np.concatenate([np.zeros_like(values[:1]), values[:-1]])
