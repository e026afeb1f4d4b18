"""ANT's processing element, and four of them that make a product of 8-bit integers (MICRO 2022, arXiv 2208.14286).

As we know the paper, a PE multiplies base integers, adds exponents, shifts the product and accumulates, whatever the
types were before the decoders at the edges. Weights rest, x goes on to the next column and the sum to the next row, as
in the authors' artifact (clevercool/ANT-Quantization, ant_simulator), where an 8-bit x takes two rows of PEs and an
8-bit w two columns. Ours: a shifter as wide as the sum; sums of 32 bits as on the common substrate; and an adder below
two columns, which is all that a product of 8 by 8 bits takes beside four PEs.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pydantic

from bitwright.circuits.ant_decoder import ANT, FLINT, INTEGER, POWER, AntDecoder
from bitwright.circuits.circuit import Circuit, Integers, Port, Ports, Values, Words, place
from bitwright.circuits.multiply_accumulate import LENGTH, wrapped
from bitwright.circuits.resting import later, loaded, resting, sums_before
from bitwright.errors import InputError
from bitwright.formats import Flint, Integer, PowerOfTwo
from bitwright.settings import OURS, about

SIDE = 2
"""PEs along each side of a unit."""


class AntPe(Circuit):
    """A multiplier, an adder of exponents, a shifter, an adder, and registers for x, w and the sum."""

    name: ClassVar[str] = "ant-pe"
    summary: ClassVar[str] = "multiply-accumulate of base integers with exponents, weights rest (ANT's PE)"
    source: ClassVar[str] = "ANT (MICRO 2022, arXiv 2208.14286); widths of shifter and sum are ours"
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {"4 bits": {}, "4 bits, sums of 16": {"sum_bits": 16}}
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"base_bits": 3, "exponent_bits": 1, "sum_bits": 8},
        {"base_bits": 2, "exponent_bits": 2, "sum_bits": 8},
    )

    base_bits: int = pydantic.Field(
        5, ge=2, le=8, description="width of a base integer, signed", json_schema_extra=about(ANT, unit="bits")
    )
    exponent_bits: int = pydantic.Field(
        4, ge=1, le=4, description="width of an exponent", json_schema_extra=about(ANT, unit="bits")
    )
    sum_bits: int = pydantic.Field(
        32, ge=2, le=48, description="width of the sum, which wraps", json_schema_extra=about(OURS, unit="bits")
    )

    def ports(self) -> Ports:
        """As decoders have them; `load` takes a weight in."""
        return Ports(
            inputs=(
                *self._operand("x", "x", "activation"),
                *self._operand("w", "w", "weight"),
                Port(name="load", bits=1, what="w is taken in"),
                Port(name="sum_in", bits=self.sum_bits, signed=True, what="sum of the row above"),
            ),
            outputs=(
                Port(name="sum", bits=self.sum_bits, signed=True, what="sum, a clock later"),
                *self._operand("x_out", "x", "x for the next column, a clock later"),
                *self._operand("w_out", "w", "w for the next row: the one that rests"),
            ),
        )

    def _operand(self, name: str, side: str, what: str) -> tuple[Port, Port]:
        suffix = name[1:]
        return (
            Port(name=name, bits=self.base_bits, signed=True, what=f"base integer of {what}"),
            Port(name=f"{side}_exponent{suffix}", bits=self.exponent_bits, what=f"exponent of {what}"),
        )

    def controls(self, clocks: int, streams: int) -> dict[str, Integers]:
        """A weight rests for `LENGTH` clocks."""
        load = np.zeros((clocks, streams), np.int64)
        load[::LENGTH] = 1
        return {"load": load}

    def feed_words(self, x: Words, w: Words, begins: Integers) -> dict[str, Integers]:
        """x by w, every product a weight that is loaded for one clock, on top of the products before it."""
        (base, exponent), (w_base, w_exponent) = self._decoded(x), self._decoded(w)
        # The first product of all meets a weight that is not there yet.
        products = (base * later(loaded(w_base))) << (exponent + later(loaded(w_exponent)))
        return {
            "x": base,
            "x_exponent": exponent,
            "w": loaded(w_base),
            "w_exponent": loaded(w_exponent),
            "load": np.ones_like(base),
            "sum_in": wrapped(sums_before(products, begins), self.sum_bits),
        }

    def _decoded(self, words: Words) -> tuple[Integers, Integers]:
        """Base integers and exponents of codes."""
        codes, fmt = words.codes, words.format
        if not isinstance(fmt, Integer | PowerOfTwo | Flint) or not 3 <= fmt.bits < self.base_bits:
            raise InputError(
                f"operands of the layer are {fmt.name}, and {self.name} takes integers, powers of two and flints of 3 "
                f"to {self.base_bits - 1} bits; choose --method ant with such, or set base_bits"
            )
        kind = INTEGER if isinstance(fmt, Integer) else POWER if isinstance(fmt, PowerOfTwo) else FLINT
        decoder = AntDecoder(bits=fmt.bits)
        full = {name: np.full_like(codes, value) for name, value in (("kind", kind), ("high", 0))}
        ports = {"word": codes & ((1 << fmt.bits) - 1), "is_signed": np.full_like(codes, fmt.signed), **full}
        found = decoder.model(ports)
        return found["base"], found["exponent"]

    def model(self, inputs: Values) -> dict[str, Integers]:
        """Sums, and what is passed on, a clock after their operands."""
        held = {name: resting(inputs[name], inputs["load"]) for name in ("w", "w_exponent")}
        product = (inputs["x"] * held["w"]) << (inputs["x_exponent"] + held["w_exponent"])
        return {
            "sum": later(wrapped(inputs["sum_in"] + wrapped(product, self.sum_bits), self.sum_bits)),
            "x_out": later(inputs["x"]),
            "x_exponent_out": later(inputs["x_exponent"]),
            "w_out": held["w"],
            "w_exponent_out": held["w_exponent"],
        }

    def build(self, m: Any, io: Any) -> None:
        """As `model`."""
        from amaranth.hdl import Signal, signed

        weight = Signal(signed(self.base_bits), name="weight")
        exponent = Signal(self.exponent_bits, name="weight_exponent")
        held = (io.sum, io.x_out, io.x_exponent_out)
        total, x, x_exponent = (Signal.like(port, name=f"held_{at}") for at, port in enumerate(held))
        with m.If(io.load):
            m.d.sync += [weight.eq(io.w), exponent.eq(io.w_exponent)]
        product = Signal(signed(self.sum_bits), name="product")
        m.d.comb += product.eq((io.x * weight) << (io.x_exponent + exponent))
        m.d.sync += [total.eq(io.sum_in + product), x.eq(io.x), x_exponent.eq(io.x_exponent)]
        m.d.comb += [port.eq(register) for port, register in zip(held, (total, x, x_exponent), strict=True)]
        m.d.comb += [io.w_out.eq(weight), io.w_exponent_out.eq(exponent)]


class AntUnit(Circuit):
    """Two rows of two PEs each, and an adder that makes one sum of those of both columns."""

    name: ClassVar[str] = "ant-unit"
    summary: ClassVar[str] = "four PEs of ANT: four products of 4 bits, or one of 8-bit integers"
    source: ClassVar[str] = "ANT's artifact (clevercool/ANT-Quantization) for rows and columns; the adder is ours"
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {"4 PEs": {}}

    sum_bits: int = pydantic.Field(
        32, ge=2, le=48, description="width of sums, which wrap", json_schema_extra=about(OURS, unit="bits")
    )

    @property
    def _pe(self) -> AntPe:
        return AntPe.model_validate({"sum_bits": self.sum_bits})

    def ports(self) -> Ports:
        """Of an 8-bit x row 0 takes the upper half, of an 8-bit w column 0; w of row i and column j is lane 2 i + j."""
        pe = self._pe

        def lanes(name: str, exponent: str, count: int, what: str) -> tuple[Port, Port]:
            return (
                Port(name=name, bits=pe.base_bits, signed=True, lanes=count, what=f"base integers of {what}"),
                Port(name=exponent, bits=pe.exponent_bits, lanes=count, what=f"exponents of {what}"),
            )

        def total(name: str, lanes: int, what: str) -> Port:
            return Port(name=name, bits=self.sum_bits, signed=True, lanes=lanes, what=what)

        return Ports(
            inputs=(
                *lanes("x", "x_exponent", SIDE, "activations, by row, a clock after each other"),
                *lanes("w", "w_exponent", SIDE**2, "weights"),
                Port(name="load", bits=1, what="weights are taken in"),
                total("sum_in", SIDE, "sums of the rows above, by column"),
            ),
            outputs=(
                total("sum", SIDE, "sums by column: x of row 0 meets column 0 two clocks before, column 1 three"),
                total("fused", 0, "both columns' sums of the same x, added"),
                *lanes("x_out", "x_exponent_out", SIDE, "x for the next unit, two clocks later"),
            ),
        )

    def controls(self, clocks: int, streams: int) -> dict[str, Integers]:
        """As a PE's."""
        return self._pe.controls(clocks, streams)

    def model(self, inputs: Values) -> dict[str, Integers]:
        """Four PEs' twins, and an adder of what the columns say of the same x."""
        pe, sums, passed = self._pe, [inputs["sum_in"][..., at] for at in range(SIDE)], []
        for row in range(SIDE):
            x, x_exponent = inputs["x"][..., row], inputs["x_exponent"][..., row]
            for col in range(SIDE):
                w, w_exponent = (inputs[name][..., SIDE * row + col] for name in ("w", "w_exponent"))
                own = {"x": x, "x_exponent": x_exponent, "w": w, "w_exponent": w_exponent}
                found = pe.model({**own, "load": inputs["load"], "sum_in": sums[col]})
                sums[col], x, x_exponent = (found[name] for name in ("sum", "x_out", "x_exponent_out"))
            passed.append((x, x_exponent))
        return {
            "sum": np.stack(sums, -1),
            "fused": wrapped(later(sums[0]) + sums[1], self.sum_bits),
            "x_out": np.stack([x for x, _ in passed], -1),
            "x_exponent_out": np.stack([exponent for _, exponent in passed], -1),
        }

    def build(self, m: Any, io: Any) -> None:
        """As `model`."""
        from amaranth.hdl import Signal, signed

        sums = list(io.sum_in)
        for row in range(SIDE):
            x, x_exponent = io.x[row], io.x_exponent[row]
            for col in range(SIDE):
                pe = place(m, self._pe, f"pe{row}{col}")
                at = SIDE * row + col
                m.d.comb += [
                    pe.x.eq(x),
                    pe.x_exponent.eq(x_exponent),
                    pe.w.eq(io.w[at]),
                    pe.w_exponent.eq(io.w_exponent[at]),
                    pe.load.eq(io.load),
                    pe.sum_in.eq(sums[col]),
                ]
                sums[col], x, x_exponent = pe.sum, pe.x_out, pe.x_exponent_out
            m.d.comb += [io.x_out[row].eq(x), io.x_exponent_out[row].eq(x_exponent)]
        before = Signal(signed(self.sum_bits), name="before")
        m.d.sync += before.eq(sums[0])
        m.d.comb += [*[out.eq(each) for out, each in zip(io.sum, sums, strict=True)], io.fused.eq(before + sums[1])]
