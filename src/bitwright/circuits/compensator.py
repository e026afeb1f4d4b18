"""Panacea's compensator: what restores the outer products of skipped slices, whose activations are all r.

Where a vector of activations is skipped because its high-order slices are all r, r times the vector of weights is
missing. It is cheaper to count what is there: with the constant 2^l r sum_k W_k in the bias, 2^l r times the sum of
those weights that were multiplied has to be taken off, and these are loaded anyway (arXiv 2412.10059: the compensator
reuses loaded slices; this form is derived). So one vector addition goes with every outer product that has a high-order
activation slice, and one multiplication by r with every vector of outputs. Ours: a compensator beside every dynamic
operator, which share the multipliers by r; the recollected four of them. The 2^l is left to the merger and the
requantizer.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import pydantic

from bitwright.circuits.circuit import Circuit, Integers, Port, Ports, Values
from bitwright.circuits.multiply_accumulate import LENGTH, wrapped
from bitwright.circuits.slice_merger import SIGNED_STEP, shifted
from bitwright.circuits.slice_operator import PANACEA
from bitwright.settings import OURS, RECOLLECTED, about

FREQUENT = 6
"""r where energy is measured: that of a zero point of 104; ours."""


class Compensator(Circuit):
    """Sums of weights beside the dynamic operators of a processing element, and their multiplication by r."""

    name: ClassVar[str] = "compensator"
    summary: ClassVar[str] = "sums of multiplied weights by the frequent activation slice r (Panacea's compensation)"
    source: ClassVar[str] = "Panacea (arXiv 2412.10059) for reusing loaded weight slices; form and widths are ours"
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "4 operators, 7-bit weights": {},
        "1 operator, 7-bit weights": {"operators": 1},
        "1 operator, weights of up to 13 bits": {"operators": 1, "w_slices": 4, "sum_bits": 22},
    }
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"operators": 1, "vector": 1, "sum_bits": 9},
        {"operators": 1, "vector": 2, "w_slices": 1, "sum_bits": 6},
        {"operators": 2, "vector": 1, "slice_bits": 3, "sum_bits": 6},
    )

    operators: Literal[1, 2, 4, 8] = pydantic.Field(
        4, description="dynamic operators of a processing element", json_schema_extra=about(RECOLLECTED)
    )
    vector: int = pydantic.Field(4, ge=1, le=8, description="slices in a vector", json_schema_extra=about(RECOLLECTED))
    w_slices: int = pydantic.Field(2, ge=1, le=4, description="slices of w", json_schema_extra=about(PANACEA))
    slice_bits: int = pydantic.Field(
        4, ge=2, le=8, description="width of w's slices and of r", json_schema_extra=about(PANACEA, unit="bits")
    )
    sum_bits: int = pydantic.Field(
        16,
        ge=2,
        le=40,
        description="width of a sum of weights, which wraps: 16 bits hold 512 weights of 7 bits",
        json_schema_extra=about(OURS, unit="bits"),
    )

    def ports(self) -> Ports:
        """Vectors of the operators lie one after the other in the lanes."""
        lanes, orders = self.operators * self.vector, (self.w_slices - 1).bit_length()
        inputs = [
            Port(
                name="w", bits=self.slice_bits, signed=True, lanes=lanes, what="slices of weights that are multiplied"
            ),
            Port(name="take", bits=self.operators, what="whose are met by high-order activations, a bit each"),
            Port(name="clear", bits=self.operators, what="whose sums begin anew with these, a bit each"),
            Port(name="r", bits=self.slice_bits, what="the frequent high-order slice of activations"),
        ]
        if orders:
            inputs.append(Port(name="order", bits=orders, lanes=self.operators, what="order of the slices"))
        if self.operators > 1:
            inputs.append(Port(name="read", bits=(self.operators - 1).bit_length(), what="whose sums are read"))
        bits = self.sum_bits + self.slice_bits
        return Ports(
            inputs=tuple(inputs),
            outputs=(
                Port(name="part", bits=bits, signed=True, lanes=self.vector, what="what is to be added, by 2^-l"),
            ),
        )

    def controls(self, clocks: int, streams: int) -> dict[str, Integers]:
        """Every vector is taken, orders alternate, sums of `LENGTH` are read in turn."""
        clock = np.broadcast_to(np.arange(clocks)[:, None], (clocks, streams))
        every = (1 << self.operators) - 1
        found = {
            "take": np.full((clocks, streams), every),
            "clear": np.where(clock % LENGTH == 0, every, 0),
            "r": np.full((clocks, streams), FREQUENT % (1 << self.slice_bits)),
        }
        if self.w_slices > 1:
            found["order"] = np.repeat(clock[..., None] % self.w_slices, self.operators, -1)
        if self.operators > 1:
            found["read"] = clock // LENGTH % self.operators
        return found

    def model(self, inputs: Values) -> dict[str, Integers]:
        """-r times the sum of what was taken until the clock before."""
        w = inputs["w"].reshape(*inputs["w"].shape[:2], self.operators, self.vector)
        each = np.arange(self.operators)
        taken, cleared = ((inputs[name][..., None] >> each & 1)[..., None] for name in ("take", "clear"))
        order = inputs["order"][..., None] if self.w_slices > 1 else 0
        added = taken * (w << (SIGNED_STEP * order))
        read = inputs["read"] if self.operators > 1 else np.zeros(w.shape[:2], np.int64)
        found = np.zeros((*w.shape[:2], self.vector), np.int64)
        total = np.zeros_like(w[0])
        for clock in range(len(w)):
            held = np.take_along_axis(total, read[clock, :, None, None], 1)[:, 0]
            found[clock] = inputs["r"][clock, :, None] * held
            total = wrapped(np.where(cleared[clock], 0, total) - added[clock], self.sum_bits)
        return {"part": found}

    def build(self, m: Any, io: Any) -> None:
        """Sums are kept with their sign turned, so that nothing is negated after the multiplication."""
        from amaranth.hdl import Array, Mux, Signal, signed

        totals: list[list[Any]] = [[] for _ in range(self.vector)]
        for lane, w in enumerate(io.w):
            operator, at = divmod(lane, self.vector)
            weight = Signal(signed(self.slice_bits), name=f"weight{lane}")
            m.d.comb += weight.eq(Mux(io.take[operator], w, 0))
            moved = shifted(weight, io.order[operator], SIGNED_STEP) if self.w_slices > 1 else weight
            total = Signal(signed(self.sum_bits), name=f"total{lane}")
            m.d.sync += total.eq(Mux(io.clear[operator], 0, total) - moved)
            totals[at].append(total)
        for at, part in enumerate(io.part):
            held = totals[at][0]
            if self.operators > 1:
                held = Signal(signed(self.sum_bits), name=f"held{at}")
                m.d.comb += held.eq(Array(totals[at])[io.read])
            m.d.comb += part.eq(held * io.r)
