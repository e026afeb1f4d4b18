"""What the search for a mapping must know of a machine at work on one product."""

from typing import Literal, Protocol

from bitwright.memory.gemm import FloatArray, Gemm, IntArray
from bitwright.memory.tiling import Buffers, Kinds
from bitwright.memory.traffic import Traffic

Objective = Literal["latency", "energy", "edp"]
"""Fewest cycles, least energy, or the least product of both."""


class TiledMachine(Protocol):
    """A machine at work on a product. Instances are hashable; equal ones behave equally."""

    @property
    def buffers(self) -> Buffers:
        """SRAM capacities."""

    @property
    def tile_unit(self) -> tuple[int, int, int]:
        """The smallest worthwhile tile (m, k, n): what fills the array."""

    @property
    def unit_divides(self) -> bool:
        """Whether tiles may be smaller than the unit where SRAMs do not hold it."""

    @property
    def dram_bytes_per_cycle(self) -> float:
        """DRAM bandwidth, in bytes per cycle."""

    @property
    def objective(self) -> Objective:
        """What the best mapping has least of."""

    @property
    def leakage_pj_per_cycle(self) -> float:
        """Energy that is spent in every cycle, whatever happens."""

    @property
    def fill_cycles(self) -> int:
        """Cycles that filling the array before the first tile and draining it after the last take, once."""

    @property
    def sram_bits_per_cycle(self) -> tuple[float, float, float]:
        """Bits that the SRAMs of x, of w and of the outputs move in a cycle, for the array and DRAM together."""

    def array_cycles(self, *, m: IntArray, k: IntArray, n: IntArray) -> IntArray:
        """Cycles of the array for one tile of m x k x n, if SRAMs keep pace, element-wise."""

    def array_bits(self, *, m: IntArray, k: IntArray, n: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Bits between the array and the three SRAMs for one tile, element-wise."""

    def energy_pj(self, *, gemm: Gemm, kinds: Kinds, moved: Traffic) -> FloatArray:
        """Energy of all groups but for leakage, in pJ [candidates]; `kinds` of tiles, `moved` is what crosses DRAM."""
