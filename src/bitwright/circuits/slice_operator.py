"""An operator of a bit-slice array: the outer product of a vector of x's slices and one of w's, added up per output.

Panacea's dynamic and static operators multiply unsigned 4-bit slices of activations by signed 4-bit slices of weights
(arXiv 2412.10059; the two differ in the work that they are given), Sibia's signed ones by signed ones: 3 bits and a
sign, so -8 to 7 (signed bit slices, HPCA 2023). Vectors of four are recollected. Ours: sums of one kind of slice
product lie in registers at the multipliers until `SliceMerger` shifts them to their significance; and how many products
of an output an adder tree adds per clock: as many as a processing element of this project's machines has operators of
a kind, which share their sums.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pydantic

from bitwright.circuits.circuit import Circuit, Integers, Port, Ports, Values, Words
from bitwright.circuits.feeding import neighbours, numbers, slices_of
from bitwright.circuits.multiply_accumulate import LENGTH, wrapped
from bitwright.errors import InputError
from bitwright.settings import OURS, RECOLLECTED, about

PANACEA = "Panacea, HPCA 2025"


class SliceOperator(Circuit):
    """Multipliers of slices, an adder tree per output where it takes several products, and the outputs' sums."""

    name: ClassVar[str] = "slice-operator"
    summary: ClassVar[str] = "outer product of 4-bit slices with a sum per output (Panacea's and Sibia's operators)"
    source: ClassVar[str] = (
        "Panacea (arXiv 2412.10059) and Sibia (HPCA 2023) for slices; sums and their widths are ours"
    )
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "Panacea": {},
        "Panacea, 4 products per output (dynamic)": {"products": 4, "sum_bits": 22},
        "Panacea, 8 products per output (static)": {"products": 8, "sum_bits": 23},
        "Sibia": {"x_signed": True},
        "Sibia, 12 products per output": {"x_signed": True, "products": 12, "sum_bits": 24},
        "Sibia, slices of 3 bits by 4": {"x_signed": True, "x_bits": 3},
    }
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"vector": 1, "sum_bits": 9},
        {"vector": 1, "x_signed": True, "sum_bits": 9},
        {"vector": 1, "products": 2, "x_bits": 3, "w_bits": 3, "sum_bits": 8},
        {"vector": 2, "x_bits": 2, "w_bits": 2, "sum_bits": 6},
    )

    x_signed: bool = pydantic.Field(
        False, description="slices of x are signed (Sibia's) or unsigned (Panacea's)", json_schema_extra=about(PANACEA)
    )
    x_bits: int = pydantic.Field(
        4, ge=2, le=8, description="width of x's slices", json_schema_extra=about(PANACEA, unit="bits")
    )
    w_bits: int = pydantic.Field(
        4, ge=2, le=8, description="width of w's slices, signed", json_schema_extra=about(PANACEA, unit="bits")
    )
    vector: int = pydantic.Field(
        4, ge=1, le=8, description="slices in a vector, of x as of w", json_schema_extra=about(RECOLLECTED)
    )
    products: int = pydantic.Field(
        1, ge=1, le=64, description="products of an output that are added per clock", json_schema_extra=about(OURS)
    )
    sum_bits: int = pydantic.Field(
        20,
        ge=2,
        le=48,
        description="width of a sum, which wraps: 20 bits hold 4,369 products of Panacea's slices",
        json_schema_extra=about(OURS, unit="bits"),
    )

    @property
    def longest(self) -> int:
        """So many products of any slices add up without wrapping."""
        x, w, _, _ = self.ports().inputs
        least = min(a * b for a in (x.smallest, x.largest) for b in (w.smallest, w.largest))
        most = max(a * b for a in (x.smallest, x.largest) for b in (w.smallest, w.largest))
        half = 1 << (self.sum_bits - 1)
        return min(half // -least, (half - 1) // most)

    def ports(self) -> Ports:
        """Vectors lie one after the other in the lanes; sum i * vector + j is that of x's i-th by w's j-th slice."""
        lanes = self.products * self.vector
        x = Port(name="x", bits=self.x_bits, signed=self.x_signed, lanes=lanes, what="slices of activations")
        w = Port(name="w", bits=self.w_bits, signed=True, lanes=lanes, what="slices of weights")
        take = Port(name="take", bits=self.products, what="which vectors are multiplied, a bit each")
        clear = Port(name="clear", bits=1, what="new sums begin with these products")
        total = Port(name="sum", bits=self.sum_bits, signed=True, lanes=self.vector**2, what="sums, a clock later")
        return Ports(inputs=(x, w, take, clear), outputs=(total,))

    def controls(self, clocks: int, streams: int) -> dict[str, Integers]:
        """Every vector is multiplied, in sums of `LENGTH` clocks."""
        begins = np.zeros((clocks, streams), np.int64)
        begins[::LENGTH] = 1
        return {"take": np.full((clocks, streams), (1 << self.products) - 1), "clear": begins}

    def feed_words(self, x: Words, w: Words, begins: Integers) -> dict[str, Integers]:
        """Lists of one kind of slices each, all kinds in turn; lanes are of outputs that follow one another.

        Raises
        ------
        InputError
            What has no slices of this kind, or where an adder tree takes several products of an output.
        """
        if self.products > 1:
            raise InputError(
                f"a layer's products come one by one, and {self.name} takes {self.products}; set products=1"
            )
        of_x, of_w = slices_of(x, self.name), slices_of(w, self.name)
        number = numbers(begins)
        picked = {}
        for name, slices, order in (("x", of_x, number), ("w", of_w, number // len(of_x))):
            lanes = [neighbours(each, begins, self.vector) for each in slices]
            picked[name] = np.choose((order % len(slices))[..., None], lanes)
        return picked | {"take": np.ones_like(begins), "clear": begins}

    def model(self, inputs: Values) -> dict[str, Integers]:
        """Sums a clock after their slices."""
        x, w = (inputs[name].reshape(*inputs[name].shape[:2], self.products, self.vector) for name in ("x", "w"))
        taken = inputs["take"][..., None] >> np.arange(self.products) & 1
        added = np.einsum("ctp,ctpi,ctpj->ctij", taken, x, w).reshape(*x.shape[:2], -1)
        found = np.zeros_like(added)
        total = np.zeros_like(added[0])
        for clock in range(len(x)):
            found[clock] = total
            total = wrapped(np.where(inputs["clear"][clock, :, None], 0, total) + added[clock], self.sum_bits)
        return {"sum": found}

    def build(self, m: Any, io: Any) -> None:
        """Slices of w that are not taken become 0 before they are multiplied."""
        from amaranth.hdl import Mux, Signal, signed

        weights = []
        for lane, w in enumerate(io.w):
            weight = Signal(signed(self.w_bits), name=f"weight{lane}")
            m.d.comb += weight.eq(Mux(io.take[lane // self.vector], w, 0))
            weights.append(weight)
        for at, out in enumerate(io.sum):
            i, j = divmod(at, self.vector)
            first = range(0, self.products * self.vector, self.vector)
            added = tree([weights[start + j] * io.x[start + i] for start in first])
            total = Signal(signed(self.sum_bits), name=f"total{at}")
            m.d.sync += total.eq(Mux(io.clear, 0, total) + added)
            m.d.comb += out.eq(total)


def tree(values: list[Any]) -> Any:
    """The sum of Amaranth's values, added in pairs, as wide as it can get."""
    while len(values) > 1:
        pairs = [one + other for one, other in zip(values[::2], values[1::2], strict=False)]
        values = pairs + values[len(pairs) * 2 :]
    return values[0]
