"""An integer multiply-accumulate unit: sum += x * w, the cell of every dense array here.

Ours, as arrays' cells are drawn everywhere: weight-stationary cells keep w in a register of their own, pass x on to the
next column and the sum on to the next row; where weights are exchanged behind the stream they enter a second register,
and rest from the x on that comes with `take`, which is multiplied by them in the same clock. Output-stationary cells
keep the sum, and pass x and w on. `stationary` none has a sum alone.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import pydantic

from bitwright.circuits.circuit import Circuit, Integers, Port, Ports, Values
from bitwright.settings import OURS, about

LENGTH = 64
"""Products of a sum, and inputs that a resting weight meets, where energy is measured; ours."""


class MultiplyAccumulate(Circuit):
    """One multiplier, one adder and the registers of its place in an array."""

    name: ClassVar[str] = "multiply-accumulate"
    summary: ClassVar[str] = "integer multiply-accumulate unit of a weight- or output-stationary array"
    source: ClassVar[str] = OURS
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "8 x 8 bits": {},
        "8 x 8 bits, weights rest": {"stationary": "weights"},
        "8 x 8 bits, weights rest, others wait": {"stationary": "double"},
        "8 x 8 bits, outputs rest": {"stationary": "outputs"},
        "2 x 2 bits": {"x_bits": 2, "w_bits": 2, "sum_bits": 20},
        "4 x 4 bits": {"x_bits": 4, "w_bits": 4, "sum_bits": 24},
        "unsigned 7 x 5 bits": {"x_signed": False, "x_bits": 7, "w_bits": 5, "sum_bits": 20},
        "16 x 16 bits": {"x_bits": 16, "w_bits": 16, "sum_bits": 48},
    }
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"x_bits": 4, "w_bits": 4, "sum_bits": 9},
        {"x_bits": 1, "w_bits": 1, "sum_bits": 2, "x_signed": False},
    )

    x_bits: int = pydantic.Field(8, ge=1, le=16, description="width of x", json_schema_extra=about(OURS, unit="bits"))
    w_bits: int = pydantic.Field(8, ge=1, le=16, description="width of w", json_schema_extra=about(OURS, unit="bits"))
    sum_bits: int = pydantic.Field(
        32, ge=2, le=63, description="width of the sum, which wraps", json_schema_extra=about(OURS, unit="bits")
    )
    x_signed: bool = pydantic.Field(True, description="x is signed", json_schema_extra=about(OURS))
    stationary: Literal["none", "weights", "double", "outputs"] = pydantic.Field(
        "none",
        description="what rests: nothing but the sum, weights (x and sums pass; double: others wait), or outputs",
        json_schema_extra=about(OURS),
    )

    def ports(self) -> Ports:
        """x and w; `clear` starts a sum anew, `load` takes a weight in."""
        x = Port(name="x", bits=self.x_bits, signed=self.x_signed, what="activation")
        w = Port(name="w", bits=self.w_bits, signed=True, what="weight")
        total = Port(name="sum", bits=self.sum_bits, signed=True, what="sum, a clock later")
        x_out = Port(name="x_out", bits=self.x_bits, signed=self.x_signed, what="x for the next column, a clock later")
        w_out = Port(name="w_out", bits=self.w_bits, signed=True, what="w for the next row, a clock later")
        if self.stationary in ("weights", "double"):
            load = Port(name="load", bits=1, what="w is taken in")
            take = Port(name="take", bits=1, what="from this x on the weight that was taken in rests")
            above = Port(name="sum_in", bits=self.sum_bits, signed=True, what="sum of the row above")
            taken = (take,) if self.stationary == "double" else ()
            return Ports(inputs=(x, w, load, *taken, above), outputs=(total, x_out, w_out))
        clear = Port(name="clear", bits=1, what="a new sum begins with this product")
        outputs = (total, x_out, w_out) if self.stationary == "outputs" else (total,)
        return Ports(inputs=(x, w, clear), outputs=outputs)

    def controls(self, clocks: int, streams: int) -> dict[str, Integers]:
        """Sums of `LENGTH` products; a weight rests as long as that."""
        begins = np.zeros((clocks, streams), np.int64)
        begins[::LENGTH] = 1
        if self.stationary == "double":
            return {"take": begins, "load": np.roll(begins, LENGTH // 2, 0)}
        return {"load" if self.stationary == "weights" else "clear": begins}

    def feed(self, x: Integers, w: Integers, begins: Integers) -> dict[str, Integers]:
        """x by w, product by product; where weights rest, every product is a weight that is loaded for one clock."""
        if self.stationary in ("none", "outputs"):
            return {"x": x, "w": w, "clear": begins}
        ahead = np.concatenate([w[1:], np.zeros_like(w[:1])])
        fed = {"x": x, "w": ahead, "load": np.ones_like(x), "sum_in": np.zeros_like(x)}
        return fed | ({"take": np.ones_like(x)} if self.stationary == "double" else {})

    def model(self, inputs: Values) -> dict[str, Integers]:
        """Sums, and what is passed on, a clock after their operands."""
        x, w = inputs["x"], inputs["w"]
        found = {port.name: np.zeros_like(x) for port in self.ports().outputs}
        total, weight = np.zeros_like(x[0]), np.zeros_like(x[0])
        x_held, w_held = np.zeros_like(x[0]), np.zeros_like(x[0])
        passes = self.stationary in ("weights", "double")
        for clock in range(len(x)):
            found["sum"][clock] = total
            if "x_out" in found:
                found["x_out"][clock], found["w_out"][clock] = x_held, w_held
            if passes:
                weight = np.where(inputs["take"][clock], w_held, weight) if "take" in inputs else w_held
                total = inputs["sum_in"][clock] + x[clock] * weight
                w_held = np.where(inputs["load"][clock], w[clock], w_held)
            else:
                total = np.where(inputs["clear"][clock], 0, total) + x[clock] * w[clock]
                w_held = w[clock]
            total = wrapped(total, self.sum_bits)
            x_held = x[clock]
        return found

    def build(self, m: Any, io: Any) -> None:
        """As `model`."""
        from amaranth.hdl import Mux, Signal, signed

        total = Signal(signed(self.sum_bits), name="total")
        m.d.comb += io.sum.eq(total)
        if self.stationary in ("weights", "double"):
            weight, entered = (Signal(signed(self.w_bits), name=name) for name in ("weight", "entered"))
            with m.If(io.load):
                m.d.sync += entered.eq(io.w)
            if self.stationary == "double":
                resting = Signal(signed(self.w_bits), name="resting")
                m.d.comb += weight.eq(Mux(io.take, entered, resting))
                m.d.sync += resting.eq(weight)
            else:
                m.d.comb += weight.eq(entered)
            m.d.sync += [total.eq(io.sum_in + io.x * weight), io.x_out.eq(io.x)]
            m.d.comb += io.w_out.eq(entered)
            return
        m.d.sync += total.eq(Mux(io.clear, 0, total) + io.x * io.w)
        if self.stationary == "outputs":
            m.d.sync += [io.x_out.eq(io.x), io.w_out.eq(io.w)]


def wrapped(values: Integers, bits: int) -> Integers:
    """Values in two's complement of so many bits.

    Examples
    --------
    >>> wrapped(np.array([8, -9, 7]), 4).tolist()
    [-8, 7, 7]
    """
    unused = np.int64(64 - bits)
    return (values << unused) >> unused
