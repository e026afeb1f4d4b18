"""`simd`: lanes that multiply and accumulate what is broadcast to them, the plain baseline of bit-slice machines.

All our choice, because nothing public was found about Panacea's SIMD baseline: rows x cols lanes; every cycle one x of
each of `rows` rows and one w of each of `cols` columns are broadcast along the lanes' other axis; sums rest in the
lanes. So it is output-stationary without the skew, at the price of wires that are not modelled.
"""

from typing import ClassVar, Literal

from bitwright.accelerators.systolic import dataflow
from bitwright.accelerators.systolic.machine import DenseArray


class Simd(DenseArray):
    """Broadcast lanes; parameters are those of `DenseArray`.

    Examples
    --------
    >>> Simd(rows=24, cols=32).multipliers_4b
    3072
    """

    summary: ClassVar[str] = "SIMD lanes: dense, one multiplier width, operands are broadcast, sums rest in the lanes"
    folds: ClassVar[type[dataflow.Folds]] = dataflow.Broadcast
    rests: ClassVar[Literal["weights", "outputs"]] = "outputs"

    @property
    def resting_bits(self) -> int:
        """A partial sum."""
        return self.psum_bits

    @property
    def has_second_registers(self) -> bool:
        """Where sums leave behind the next fold."""
        return self.fold_pipelining
