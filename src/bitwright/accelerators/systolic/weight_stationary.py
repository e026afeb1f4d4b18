"""`systolic-ws`: weights rest in the array, inputs stream through the rows, partial sums through the columns.

k lies on the rows and n on the columns; each fold of them streams all m of a tile.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from bitwright.accelerators.systolic.dataflow import SramElements, fold_cycles, weight_stationary_elements
from bitwright.accelerators.systolic.machine import DenseArray
from bitwright.memory import Gemm, IntArray, Tilings


class WeightStationary(DenseArray):
    """A weight-stationary systolic array; parameters are those of `DenseArray`.

    Examples
    --------
    >>> WeightStationary(rows=16, cols=16).peak_macs_per_cycle
    256
    """

    summary: ClassVar[str] = "weight-stationary systolic array: dense, one multiplier width, weights rest in the array"
    native: ClassVar[Mapping[str, Any]] = {"rows": 32}
    """The ANT artifact's array is 32 x 32."""

    @property
    def tile_unit(self) -> tuple[int, int, int]:
        """The smallest worthwhile tile (m, k, n): one fold, streaming as many rows as the array has (our choice)."""
        return self.rows, self.rows, self.cols

    def compute_cycles(self, *, m: IntArray, k: IntArray, n: IntArray) -> IntArray:
        """Cycles of the array for one tile of m x k x n, element-wise."""
        return fold_cycles(on_rows=k, on_cols=n, stream=m, rows=self.rows, cols=self.cols)

    def sram_elements(self, *, gemm: Gemm, tilings: Tilings) -> SramElements:
        """Elements that move between array and SRAMs, over all groups [candidates]."""
        return weight_stationary_elements(gemm=gemm, tilings=tilings, rows=self.rows, cols=self.cols)
