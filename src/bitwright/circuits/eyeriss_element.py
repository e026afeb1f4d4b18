"""A processing element of Eyeriss: a 16-bit multiply-accumulate unit between three register files.

Sources: Eyeriss (Chen et al., JSSC 2017): rows of pixels, of filters and of partial sums are kept in files of 12, 224
and 24 words of 16 bits in each element, and a sum that begins is that of the element below or what the file holds.
Ours: sums are kept exact, in more bits, as everything here is compared by exact sums; files are made of flip-flops,
read in the clock of their address and written at its end (the chip's filter file is an SRAM); one product per clock;
what is read and written comes from outside, since row-stationary mappings are not modelled here.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pydantic

from bitwright.circuits.circuit import Circuit, Integers, Port, Ports, Values
from bitwright.circuits.multiply_accumulate import LENGTH, wrapped
from bitwright.settings import OURS, about

EYERISS = "Eyeriss, JSSC 2017"
TAPS = 3
"""Of a row of a filter, where energy is measured."""


class EyerissElement(Circuit):
    """Files of x, w and sums, a multiplier, an adder."""

    name: ClassVar[str] = "eyeriss-element"
    summary: ClassVar[str] = "16-bit multiply-accumulate unit with register files (Eyeriss' processing element)"
    source: ClassVar[str] = "Eyeriss (JSSC 2017) for files and their sizes; exact sums and flip-flops are ours"
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "files of 12, 16 and 24 words": {"w_words": 16},
        "files of 4 words": {"x_words": 4, "w_words": 4, "sum_words": 4},
    }
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"bits": 2, "sum_bits": 3, "x_words": 2, "w_words": 2, "sum_words": 2},
    )

    bits: int = pydantic.Field(
        16, ge=2, le=16, description="width of x and w, signed", json_schema_extra=about(EYERISS, unit="bits")
    )
    sum_bits: int = pydantic.Field(
        32, ge=2, le=48, description="width of a sum, which wraps", json_schema_extra=about(OURS, unit="bits")
    )
    x_words: int = pydantic.Field(12, ge=2, le=32, description="words of x", json_schema_extra=about(EYERISS))
    w_words: int = pydantic.Field(224, ge=2, le=256, description="words of w", json_schema_extra=about(EYERISS))
    sum_words: int = pydantic.Field(24, ge=2, le=32, description="words of sums", json_schema_extra=about(EYERISS))

    def ports(self) -> Ports:
        """Places beyond a file's end read 0 and hold nothing."""
        inputs = []
        for name, bits, words in (("x", self.bits, self.x_words), ("w", self.bits, self.w_words)):
            places = (words - 1).bit_length()
            inputs += [
                Port(name=name, bits=bits, signed=True, what=f"a word for the file of {name}"),
                Port(name=f"{name}_write", bits=1, what="it is written"),
                Port(name=f"{name}_to", bits=places, what="where"),
                Port(name=f"{name}_at", bits=places, what=f"which word of {name} is multiplied"),
            ]
        inputs += [
            Port(name="sum_in", bits=self.sum_bits, signed=True, what="sum of the element below"),
            Port(name="enters", bits=1, what="that is added to the product, and not the file's word"),
            Port(name="clear", bits=1, what="neither is"),
            Port(name="sum_at", bits=(self.sum_words - 1).bit_length(), what="which sum is read and written"),
            Port(name="sum_write", bits=1, what="it is written"),
        ]
        total = Port(name="sum", bits=self.sum_bits, signed=True, what="the sum with this product, in the same clock")
        return Ports(inputs=tuple(inputs), outputs=(total,))

    def controls(self, clocks: int, streams: int) -> dict[str, Integers]:
        """Rows of a filter slide over pixels that come one every `TAPS` clocks; filters change every `LENGTH`."""
        clock = np.broadcast_to(np.arange(clocks)[:, None], (clocks, streams))
        pixel, tap = clock // TAPS, clock % TAPS
        return {
            "x_write": (tap == 0).astype(np.int64),
            "x_to": pixel % self.x_words,
            "x_at": (pixel - tap) % self.x_words,
            "w_write": (clock % LENGTH < self.w_words).astype(np.int64),
            "w_to": clock % LENGTH % self.w_words,
            "w_at": tap % self.w_words,
            "enters": np.zeros_like(clock),
            "clear": (tap == 0).astype(np.int64),
            "sum_at": pixel % self.sum_words,
            "sum_write": np.ones_like(clock),
        }

    def model(self, inputs: Values) -> dict[str, Integers]:
        """Sums at once; files hold what was written until the clock before."""
        streams = inputs["x"].shape[1]
        files = {
            name: np.zeros((streams, 1 << (words - 1).bit_length()), np.int64)
            for name, words in (("x", self.x_words), ("w", self.w_words), ("sum", self.sum_words))
        }
        sizes = {"x": self.x_words, "w": self.w_words, "sum": self.sum_words}
        every = np.arange(streams)
        found = np.zeros_like(inputs["sum_in"])
        for clock in range(len(found)):
            now = {name: values[clock] for name, values in inputs.items()}
            x, w, held = (files[name][every, now[f"{name}_at"]] for name in files)
            before = np.where(now["clear"], 0, np.where(now["enters"], now["sum_in"], held))
            found[clock] = wrapped(before + x * w, self.sum_bits)
            for name, to, value in (("x", "x_to", now["x"]), ("w", "w_to", now["w"]), ("sum", "sum_at", found[clock])):
                writes = (now[f"{name}_write"] == 1) & (now[to] < sizes[name])
                files[name][every[writes], now[to][writes]] = value[writes]
        return {"sum": found}

    def build(self, m: Any, io: Any) -> None:
        """As `model`."""
        from amaranth.hdl import Array, Mux, Signal, signed

        def file(name: str, bits: int, words: int, to: Any, write: Any, value: Any) -> list[Any]:
            registers = [Signal(signed(bits), name=f"{name}_word{at}") for at in range(words)]
            for at, register in enumerate(registers):
                with m.If(write & (to == at)):
                    m.d.sync += register.eq(value)
            return registers

        def read(name: str, registers: list[Any], at: Any) -> Any:
            found = Signal(signed(len(registers[0])), name=f"{name}_read")
            padded = [*registers, *[0] * ((1 << len(at)) - len(registers))]
            m.d.comb += found.eq(Array(padded)[at])
            return found

        total = Signal(signed(self.sum_bits), name="total")
        x = read("x", file("x", self.bits, self.x_words, io.x_to, io.x_write, io.x), io.x_at)
        w = read("w", file("w", self.bits, self.w_words, io.w_to, io.w_write, io.w), io.w_at)
        held = read("sum", file("sum", self.sum_bits, self.sum_words, io.sum_at, io.sum_write, total), io.sum_at)
        m.d.comb += [total.eq(Mux(io.clear, 0, Mux(io.enters, io.sum_in, held)) + x * w), io.sum.eq(total)]
