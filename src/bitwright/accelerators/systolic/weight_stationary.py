"""`systolic-ws`: weights rest in the array, inputs stream through the rows, partial sums through the columns."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from bitwright.accelerators.systolic import dataflow
from bitwright.accelerators.systolic.machine import NATIVE, DenseArray
from bitwright.accelerators.systolic.operands import MAC_BITS


class WeightStationary(DenseArray):
    """A weight-stationary systolic array; parameters are those of `DenseArray`.

    Examples
    --------
    >>> WeightStationary(rows=16, cols=16).peak_macs_per_cycle
    256
    """

    summary: ClassVar[str] = "weight-stationary systolic array: dense, one multiplier width, weights rest in the array"
    native: ClassVar[Mapping[str, Any]] = NATIVE
    folds: ClassVar[type[dataflow.Folds]] = dataflow.WeightStationary
    rests: ClassVar[Literal["weights", "outputs"]] = "weights"

    @property
    def resting_bits(self) -> int:
        """A weight."""
        return MAC_BITS[self.mac]

    @property
    def has_second_registers(self) -> bool:
        """Where weights are loaded behind the stream."""
        return self.weight_loading == "hidden"
