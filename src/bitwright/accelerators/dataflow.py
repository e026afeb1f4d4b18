"""What a dataflow tells of one tile: cycles, accesses of the SRAMs, and how often circuits work.

Everything else follows from it in the engine. A tile is m x k x n, of operands that lie in the SRAMs.
"""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

from bitwright.accelerators.bill import Use
from bitwright.memory import Bits, IntArray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accesses:
    """Elements between array and SRAMs for one tile, element-wise.

    Attributes
    ----------
    x, w : IntArray
        Elements of the operands that are read.
    sums : IntArray
        Sums that leave the array. All but the first of an output are added to one that is read back; the last one is
        finished.
    """

    x: IntArray
    w: IntArray
    sums: IntArray


class Dataflow(Protocol):
    """How an array works on a product. Instances are frozen and hashable."""

    @property
    def tile_unit(self) -> tuple[int, int, int]:
        """The smallest worthwhile tile (m, k, n): what fills the array."""

    @property
    def unit_divides(self) -> bool:
        """Whether tiles may be smaller where SRAMs do not hold the unit."""

    @property
    def read_back(self) -> tuple[Use, ...]:
        """What works once for every sum that is read back, beside the adder that all machines have."""

    @property
    def rescales(self) -> int:
        """How many operations rescale a sum as it leaves the array, since scales change along the reduction; 0: none.

        A block's minimum, by the sum of its part of x, is a second one.
        """

    @property
    def fill_cycles(self) -> int:
        """Cycles that filling the array before the first tile and draining it after the last take, once."""

    @property
    def sum_bits(self) -> Bits:
        """Bits of a partial sum between array and SRAM."""

    def cycles(self, *, m: IntArray, k: IntArray, n: IntArray) -> IntArray:
        """Cycles of the array for one tile, if SRAMs keep pace, element-wise."""

    def accesses(self, *, m: IntArray, k: IntArray, n: IntArray) -> Accesses:
        """Elements between array and SRAMs for one tile, element-wise."""

    def uses(self, *, m: IntArray, k: IntArray, n: IntArray) -> Sequence[tuple[Use, IntArray]]:
        """How often circuits work for one tile, element-wise."""
