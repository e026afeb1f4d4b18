"""A lane that shifts a sum of slice products to its significance and adds it to an output's sum.

A slice of w of order i counts 8^i; a slice of x of order j counts 8^j where it is signed (Sibia), and 16^j where it is
unsigned (Panacea). Panacea's splits at l = 5 and 6 scale all sums of a site alike, by 2^(l-4), which is left to the
requantizer. What a compensator says is merged as a sum of x's order 1 and w's order 0. Sourced: products of slices are
shifted and accumulated; the lane with its stored sum outside, in an accumulator's register, is ours.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pydantic

from bitwright.circuits.circuit import Circuit, Integers, Port, Ports, Values
from bitwright.circuits.multiply_accumulate import LENGTH, wrapped
from bitwright.circuits.slice_operator import PANACEA
from bitwright.settings import OURS, about

SIGNED_STEP, UNSIGNED_STEP = 3, 4
"""Bits between slices that are neighbours."""


class SliceMerger(Circuit):
    """A shifter and an adder."""

    name: ClassVar[str] = "slice-merger"
    summary: ClassVar[str] = "shift and accumulation of a sum of slice products (Panacea's, Sibia's)"
    source: ClassVar[str] = "Panacea (arXiv 2412.10059) and Sibia (HPCA 2023) for significances; the lane is ours"
    clocked: ClassVar[bool] = False
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "Panacea, 7-bit weights": {},
        "Panacea, weights of up to 13 bits": {"w_slices": 4},
        "Sibia, 7 x 7 bits": {"x_signed": True},
    }
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"part_bits": 4, "sum_bits": 10},
        {"part_bits": 4, "sum_bits": 8, "x_signed": True, "w_slices": 3},
        {"part_bits": 5, "sum_bits": 9, "w_slices": 1, "x_slices": 1},
    )

    x_signed: bool = pydantic.Field(
        False, description="slices of x are signed (Sibia's) or unsigned (Panacea's)", json_schema_extra=about(PANACEA)
    )
    x_slices: int = pydantic.Field(2, ge=1, le=4, description="slices of x", json_schema_extra=about(PANACEA))
    w_slices: int = pydantic.Field(2, ge=1, le=4, description="slices of w", json_schema_extra=about(PANACEA))
    part_bits: int = pydantic.Field(
        20, ge=2, le=48, description="width of a sum of one kind", json_schema_extra=about(OURS, unit="bits")
    )
    sum_bits: int = pydantic.Field(
        32, ge=2, le=63, description="width of an output's sum, which wraps", json_schema_extra=about(OURS, unit="bits")
    )

    def ports(self) -> Ports:
        """An order of a slice count that is no power of two may be any that its bits say."""
        part = Port(name="part", bits=self.part_bits, signed=True, what="sum of one kind of slice products")
        orders = [
            Port(name=f"{side}_order", bits=(slices - 1).bit_length(), what=f"order of the slices of {side}")
            for side, slices in (("x", self.x_slices), ("w", self.w_slices))
            if slices > 1
        ]
        first = Port(name="first", bits=1, what="the output's sum begins with this")
        stored = Port(name="stored", bits=self.sum_bits, signed=True, what="the output's sum so far")
        total = Port(name="sum", bits=self.sum_bits, signed=True, what="the output's sum")
        return Ports(inputs=(part, *orders, first, stored), outputs=(total,))

    def controls(self, clocks: int, streams: int) -> dict[str, Integers]:
        """All kinds in turn; sums of `LENGTH` of them."""
        clock = np.broadcast_to(np.arange(clocks)[:, None], (clocks, streams))
        found = {"first": (clock % LENGTH == 0).astype(np.int64)}
        if self.x_slices > 1:
            found["x_order"] = clock % self.x_slices
        if self.w_slices > 1:
            found["w_order"] = clock // self.x_slices % self.w_slices
        return found

    def model(self, inputs: Values) -> dict[str, Integers]:
        """stored + part * 2^shift."""
        none = np.zeros_like(inputs["first"])
        shift = self._x_step * inputs.get("x_order", none) + SIGNED_STEP * inputs.get("w_order", none)
        moved = wrapped(inputs["part"] << shift, self.sum_bits)
        return {"sum": wrapped(np.where(inputs["first"], 0, inputs["stored"]) + moved, self.sum_bits)}

    def build(self, m: Any, io: Any) -> None:
        """Shifts by x's order, then by w's, and one adder."""
        from amaranth.hdl import Mux, Signal, signed

        moved = io.part
        if self.x_slices > 1:
            moved = shifted(moved, io.x_order, self._x_step)
        if self.w_slices > 1:
            moved = shifted(moved, io.w_order, SIGNED_STEP)
        aligned = Signal(signed(self.sum_bits), name="aligned")
        m.d.comb += [aligned.eq(moved), io.sum.eq(Mux(io.first, 0, io.stored) + aligned)]

    @property
    def _x_step(self) -> int:
        return SIGNED_STEP if self.x_signed else UNSIGNED_STEP


def shifted(value: Any, order: Any, step: int) -> Any:
    """An Amaranth value by 2^(step * order): a multiplexer between wires for every bit of the order."""
    from amaranth.hdl import Mux

    for bit in range(len(order)):
        value = Mux(order[bit], value << (step << bit), value)
    return value
