"""Panacea's compensator: what restores the outer products of skipped slices, whose activations are all r.

Where a vector of activations is skipped because its high-order slices are all r, r times the vector of weights is
missing. It is cheaper to count what is there: with the constant 2^l r sum_k W_k in the bias, 2^l r times the sum of
those weights that were multiplied has to be taken off, and these are loaded anyway (arXiv 2412.10059: the compensator
reuses loaded slices; this form is derived). So one vector addition goes with every outer product that has a high-order
activation slice, and one multiplication by r with every vector of outputs. Ours: all dynamic operators of a processing
element, the recollected four, work on one vector of outputs at a time, so that one sum per column holds their weights;
or each has a sum of its own (`operators`), and they share the multipliers by r. The 2^l is left to the merger and the
requantizer.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import pydantic

from bitwright.circuits.circuit import Circuit, Integers, Port, Ports, Values, Words
from bitwright.circuits.feeding import neighbours, numbers, slices_of
from bitwright.circuits.multiply_accumulate import LENGTH, wrapped
from bitwright.circuits.slice_merger import SIGNED_STEP, shifted
from bitwright.circuits.slice_operator import PANACEA, tree
from bitwright.errors import InputError
from bitwright.formats import SlicedUnsigned, frequent_slice
from bitwright.settings import OURS, RECOLLECTED, about

FREQUENT = 6
"""r where energy is measured: that of a zero point of 104; ours."""


class Compensator(Circuit):
    """Sums of weights beside the dynamic operators of a processing element, and their multiplication by r."""

    name: ClassVar[str] = "compensator"
    summary: ClassVar[str] = "sums of multiplied weights by the frequent activation slice r (Panacea's compensation)"
    source: ClassVar[str] = "Panacea (arXiv 2412.10059) for reusing loaded weight slices; form and widths are ours"
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "4 products of one vector, 7-bit weights": {"operators": 1, "products": 4},
        "4 operators, 7-bit weights": {},
        "1 operator, 7-bit weights": {"operators": 1},
        "1 operator, weights of up to 13 bits": {"operators": 1, "w_slices": 4, "sum_bits": 22},
    }
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"operators": 1, "vector": 1, "sum_bits": 9},
        {"operators": 1, "vector": 2, "w_slices": 1, "sum_bits": 6},
        {"operators": 2, "vector": 1, "slice_bits": 3, "sum_bits": 6},
        {"operators": 1, "products": 2, "vector": 1, "slice_bits": 3, "sum_bits": 6},
    )

    operators: Literal[1, 2, 4, 8] = pydantic.Field(
        4, description="dynamic operators with sums of their own", json_schema_extra=about(RECOLLECTED)
    )
    products: int = pydantic.Field(
        1,
        ge=1,
        le=64,
        description="vectors of weights that are added to a sum per clock",
        json_schema_extra=about(OURS),
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
        taken, orders = self.operators * self.products, (self.w_slices - 1).bit_length()
        inputs = [
            Port(
                name="w",
                bits=self.slice_bits,
                signed=True,
                lanes=taken * self.vector,
                what="slices of weights that are multiplied",
            ),
            Port(name="take", bits=taken, what="which vectors are met by high-order activations, a bit each"),
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
            "take": np.full((clocks, streams), (1 << self.operators * self.products) - 1),
            "clear": np.where(clock % LENGTH == 0, every, 0),
            "r": np.full((clocks, streams), FREQUENT % (1 << self.slice_bits)),
        }
        if self.w_slices > 1:
            found["order"] = np.repeat(clock[..., None] % self.w_slices, self.operators, -1)
        if self.operators > 1:
            found["read"] = clock // LENGTH % self.operators
        return found

    def feed_words(self, x: Words, w: Words, begins: Integers) -> dict[str, Integers]:
        """Weights' slices, an order a sum, taken where high-order slices of a vector of activations are not all r.

        Raises
        ------
        InputError
            What has no slices, or more of them than this has orders.
        """
        if not isinstance(x.format, SlicedUnsigned):
            raise InputError(
                f"operands of the layer are {x.format.name}, and {self.name} compensates for slices of unsigned ones; "
                "choose --method aqs"
            )
        slices, high = slices_of(w, self.name), slices_of(x, self.name)[-1]
        if len(slices) > self.w_slices:
            raise InputError(f"weights of the layer have {len(slices)} slices; set w_slices={len(slices)}")
        order, taken = numbers(begins) % len(slices), self.operators * self.products
        r = frequent_slice(x.zero_point, x.format.split)
        rows = neighbours(high, begins, taken * self.vector).reshape(*begins.shape, taken, self.vector)
        bits = (rows != r).any(-1) << np.arange(taken)
        found = {
            "w": np.choose(order[..., None], [neighbours(each, begins, taken * self.vector) for each in slices]),
            "take": bits.sum(-1),
            "clear": begins * ((1 << self.operators) - 1),
            "r": np.full_like(begins, r),
        }
        if self.w_slices > 1:
            found["order"] = np.repeat(order[..., None], self.operators, -1)
        if self.operators > 1:
            found["read"] = np.arange(len(begins))[:, None] % self.operators
        return found

    def model(self, inputs: Values) -> dict[str, Integers]:
        """-r times the sum of what was taken until the clock before."""
        shape = (*inputs["w"].shape[:2], self.operators, self.products)
        taken = (inputs["take"][..., None] >> np.arange(self.operators * self.products) & 1).reshape(*shape, 1)
        cleared = (inputs["clear"][..., None] >> np.arange(self.operators) & 1)[..., None]
        order = inputs["order"][..., None] if self.w_slices > 1 else 0
        w = (taken * inputs["w"].reshape(*shape, self.vector)).sum(3)
        added = w << (SIGNED_STEP * order)
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
        weights = []
        for lane, w in enumerate(io.w):
            weight = Signal(signed(self.slice_bits), name=f"weight{lane}")
            m.d.comb += weight.eq(Mux(io.take[lane // self.vector], w, 0))
            weights.append(weight)
        for lane in range(self.operators * self.vector):
            operator, at = divmod(lane, self.vector)
            first = operator * self.products * self.vector + at
            added = tree(weights[first : first + self.products * self.vector : self.vector])
            moved = shifted(added, io.order[operator], SIGNED_STEP) if self.w_slices > 1 else added
            total = Signal(signed(self.sum_bits), name=f"total{lane}")
            m.d.sync += total.eq(Mux(io.clear[operator], 0, total) - moved)
            totals[at].append(total)
        for at, part in enumerate(io.part):
            held = totals[at][0]
            if self.operators > 1:
                held = Signal(signed(self.sum_bits), name=f"held{at}")
                m.d.comb += held.eq(Array(totals[at])[io.read])
            m.d.comb += part.eq(held * io.r)
