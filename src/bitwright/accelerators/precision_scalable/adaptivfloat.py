"""`adaptivfloat`: an array for AdaptivFloat numbers (Tambe et al., DAC 2020, arXiv 1909.13271).

A PE makes one product of 8 by 8 bits per cycle, at any narrower width too: the ANT artifact, which LPA's charts seem to
follow, has one mode for it. Narrower elements take 8 bits. The area of a PE is that of SPARK (HPCA 2024).

Parts are ours after the paper's hybrid float-integer PE as we know it, for 8 bits of which 3 are exponent: mantissas of
5 bits with their hidden one are multiplied, exponents added, the product shifted to fixed point and accumulated (in 30
bits there, 32 here). The encoder finds the leading one of a finished sum and shifts. Words need no decoder.
"""

from typing import ClassVar

from bitwright.accelerators.circuits import Built, Circuit, Part
from bitwright.accelerators.precision_scalable.machine import WIDEST, PackedArray
from bitwright.accelerators.precision_scalable.modes import Mode
from bitwright.accelerators.precision_scalable.operands import Types
from bitwright.circuits import AdaptivFloatPe


class AdaptivFloatArray(PackedArray):
    """The array for AdaptivFloat; parameters are those of `PackedArray`.

    Examples
    --------
    >>> AdaptivFloatArray(rows=8, cols=8).peak_macs_per_cycle
    64
    """

    summary: ClassVar[str] = "8-bit floats with a bias per tensor, one product per PE and cycle (AdaptivFloat)"

    types: ClassVar[Types] = Types(
        kinds={"af": WIDEST},
        said="AdaptivFloats of up to 8 bits",
        lever="use the method adaptivfloat, or choose an accelerator made for that format",
    )
    widths: ClassVar[tuple[int, ...]] = (WIDEST,)
    pe: ClassVar[Circuit] = Circuit(
        name="processing element of AdaptivFloat",
        published="pe_adaptivfloat8",
        parts=(
            Part(event="multiply_int4", count=25 / 16, what="mantissas of 5 bits, by the square of the width"),
            Part(event="add_int8", count=0.5, what="exponents"),
            Part(event="shift_int32", count=1, what="product to fixed point"),
            Part(event="add_int32", count=1, what="accumulation"),
            Part(event="register_bit", count=8 + 8 + 32, what="x, w, partial sum"),
        ),
        rtl=(Built(circuit=AdaptivFloatPe()),),
    )
    encoder: ClassVar[Circuit] = Circuit(
        name="AdaptivFloat encoder",
        parts=(
            Part(event="add_int32", count=1, what="leading-one detector of the sum"),
            Part(event="shift_int32", count=1, what="normalization"),
            Part(event="add_int8", count=1, what="rounding and exponent"),
        ),
    )

    def mode(self, x_bits: int, w_bits: int) -> Mode:
        """The only one."""
        return Mode(x_bits=x_bits, w_bits=w_bits, rows=self.rows, cols=self.cols)
