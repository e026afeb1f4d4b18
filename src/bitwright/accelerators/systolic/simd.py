"""`simd`: lanes that multiply and accumulate what is broadcast to them, the plain baseline of bit-slice machines.

All our choice, because nothing public was found about Panacea's SIMD baseline: rows x cols lanes; every cycle one x of
each of `rows` rows and one w of each of `cols` columns are broadcast along the lanes' other axis; sums rest in the
lanes. m lies on the rows and n on the columns; a fold streams all k of a tile, then its sums leave, a row per cycle,
while nothing is multiplied. So it is output-stationary without the skew, at the price of wires that are not modelled.
"""

from typing import ClassVar

from bitwright.accelerators.systolic.dataflow import SramElements, broadcast_cycles, output_stationary_elements
from bitwright.accelerators.systolic.machine import DenseArray
from bitwright.memory import Gemm, IntArray, Tilings


class Simd(DenseArray):
    """Broadcast lanes; parameters are those of `DenseArray`.

    Examples
    --------
    >>> Simd(rows=24, cols=32).multipliers_4b
    3072
    """

    summary: ClassVar[str] = "SIMD lanes: dense, one multiplier width, operands are broadcast, sums rest in the lanes"

    @property
    def tile_unit(self) -> tuple[int, int, int]:
        """The smallest worthwhile tile (m, k, n): one fold, streaming as many elements as there are rows."""
        return self.rows, self.rows, self.cols

    def compute_cycles(self, *, m: IntArray, k: IntArray, n: IntArray) -> IntArray:
        """Cycles of the lanes for one tile of m x k x n, element-wise."""
        return broadcast_cycles(on_rows=m, on_cols=n, stream=k, rows=self.rows, cols=self.cols)

    def sram_elements(self, *, gemm: Gemm, tilings: Tilings) -> SramElements:
        """Elements that move between lanes and SRAMs, over all groups [candidates]."""
        return output_stationary_elements(gemm=gemm, tilings=tilings, rows=self.rows, cols=self.cols)
