"""`systolic-os`: partial sums rest in the array, inputs stream through the rows, weights through the columns."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from bitwright.accelerators.systolic import dataflow
from bitwright.accelerators.systolic.machine import NATIVE, DenseArray


class OutputStationary(DenseArray):
    """An output-stationary systolic array; parameters are those of `DenseArray`.

    Examples
    --------
    >>> OutputStationary(rows=16, cols=16).peak_macs_per_cycle
    256
    """

    summary: ClassVar[str] = "output-stationary systolic array: dense, one multiplier width, sums rest in the array"
    native: ClassVar[Mapping[str, Any]] = NATIVE
    folds: ClassVar[type[dataflow.Folds]] = dataflow.OutputStationary
    rests: ClassVar[Literal["weights", "outputs"]] = "outputs"

    @property
    def resting_bits(self) -> int:
        """A partial sum."""
        return self.psum_bits

    @property
    def has_second_registers(self) -> bool:
        """In any case: sums leave behind the next fold, as in SCALE-Sim."""
        return True
