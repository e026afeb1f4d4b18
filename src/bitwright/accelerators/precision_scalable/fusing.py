"""Arrays whose 4-bit PEs join for wide operands: what ANT and BitFusion share.

Sources: the ANT artifact (github.com/clevercool/ANT-Quantization, ant_simulator), where x goes with the rows and w with
the columns: 8 bits of x take two rows of PEs, 8 bits of w two columns.
"""

from typing import ClassVar

from pydantic import Field

from bitwright.accelerators.precision_scalable.machine import COLS_8B, ROWS_8B, WIDEST, WORTH, PackedArray
from bitwright.accelerators.precision_scalable.modes import Mode, fusing_mode
from bitwright.settings import about

PE_BITS = 4
SIDE = WIDEST // PE_BITS  # PEs along each side of a unit of 8 by 8 bits
FUSED = f"an even number, as {SIDE} x {SIDE} make a product of 8 by 8 bits; {WORTH}"


class FusingArray(PackedArray):
    """Parameters are those of `PackedArray`, but that PEs multiply 4 by 4 bits."""

    word_bits: ClassVar[int] = PE_BITS

    rows: int = Field(
        default=SIDE * ROWS_8B,
        gt=0,
        multiple_of=SIDE,
        description="Rows of processing elements",
        json_schema_extra=about(FUSED),
    )
    cols: int = Field(
        default=SIDE * COLS_8B,
        gt=0,
        multiple_of=SIDE,
        description="Columns of processing elements",
        json_schema_extra=about(FUSED),
    )

    def mode(self, x_bits: int, w_bits: int) -> Mode:
        """Wide operands take two rows or columns of PEs; narrow ones share a PE where it takes them."""
        return fusing_mode(rows=self.rows, cols=self.cols, x_bits=x_bits, w_bits=w_bits, pe_bits=PE_BITS)
