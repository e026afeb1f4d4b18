"""What a plain accumulator does with a partial sum: it adds a tile's exact sum to the one that was stored, in full.

Ours: the path from the memory of sums to itself that an array has without APSQ's engine, for comparison with `Rae`.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pydantic

from bitwright.circuits.circuit import Circuit, Integers, Port, Ports, Values
from bitwright.circuits.multiply_accumulate import LENGTH, wrapped
from bitwright.circuits.rae import TILES
from bitwright.settings import OURS, RECOLLECTED, about


class PartialSumAdder(Circuit):
    """Lanes of an adder between the memory of sums and itself."""

    name: ClassVar[str] = "partial-sum-adder"
    summary: ClassVar[str] = "adder of exact partial sums at their memory, what an array has without the RAE"
    source: ClassVar[str] = OURS
    clocked: ClassVar[bool] = False
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {"8 lanes": {}, "1 lane": {"lanes": 1}}
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"lanes": 1, "tile_bits": 7, "sum_bits": 9},
        {"lanes": 2, "tile_bits": 3, "sum_bits": 4},
    )

    lanes: int = pydantic.Field(
        8,
        ge=1,
        le=64,
        description="partial sums per clock: as a line has outputs",
        json_schema_extra=about(RECOLLECTED),
    )
    tile_bits: int = pydantic.Field(
        19,
        ge=2,
        le=32,
        description="width of a tile's sum: 19 bits hold 8 products of a centred 8-bit code by an int8 one",
        json_schema_extra=about(OURS, unit="bits"),
    )
    sum_bits: int = pydantic.Field(
        32, ge=2, le=63, description="width of a sum, which wraps", json_schema_extra=about(OURS, unit="bits")
    )

    def ports(self) -> Ports:
        """A tile of every lane."""
        tile = Port(name="tile", bits=self.tile_bits, signed=True, lanes=self.lanes, what="exact sums of a tile")
        stored = Port(name="stored", bits=self.sum_bits, signed=True, lanes=self.lanes, what="sums of the tiles before")
        first = Port(name="first", bits=1, what="nothing is stored yet")
        total = Port(name="sum", bits=self.sum_bits, signed=True, lanes=self.lanes, what="sums")
        return Ports(inputs=(tile, stored, first), outputs=(total,))

    def controls(self, clocks: int, streams: int) -> dict[str, Integers]:
        """`LENGTH` outputs after one another, of `TILES` tiles each."""
        first = np.arange(clocks) // LENGTH % TILES == 0
        return {"first": np.repeat(first[:, None], streams, 1).astype(np.int64)}

    def model(self, inputs: Values) -> dict[str, Integers]:
        """tile + stored, or tile alone."""
        stored = np.where(inputs["first"][..., None], 0, inputs["stored"])
        return {"sum": wrapped(inputs["tile"] + stored, self.sum_bits)}

    def build(self, m: Any, io: Any) -> None:
        """As `model`."""
        from amaranth.hdl import Mux

        for tile, stored, total in zip(io.tile, io.stored, io.sum, strict=True):
            m.d.comb += total.eq(tile + Mux(io.first, 0, stored))
