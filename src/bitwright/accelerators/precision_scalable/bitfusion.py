"""`bitfusion`: an array of 2-bit bricks that fuse to any mix of 2, 4 and 8 bits (Sharma et al., ISCA 2018).

Sources: the paper's bricks, 2 by 2 bits signed or not, whose shifted products add up to wider ones; precision is fixed
for a layer. Sixteen bricks make one product of 8 by 8 bits, two of 8 by 4, four of 4 by 4, sixteen of 2 by 2. Ours: a
PE is a quarter of the paper's fusion unit, four bricks, one product of 4 by 4 bits, so that it stands beside a PE of
ANT; its area is the one that SPARK (HPCA 2024) prints. How the array goes with the widths is the ANT artifact's, whose
BitFusion this is: x on the rows, w on the columns (BitFusion's own simulator puts all that is gained along k). Other
widths take the next of 2, 4, 8. With static 4- and 8-bit layers it is the rival of run-time precision.

Not used: `fusion_unit_int4` of the price lists, the BitFusion artifact's synthesis of this very PE. At 28 nm it has
twice the area above, which all machines of this room are compared by.
"""

from typing import ClassVar

from bitwright.accelerators.circuits import Built, Circuit, Part
from bitwright.accelerators.precision_scalable.fusing import FusingArray
from bitwright.accelerators.precision_scalable.machine import WIDEST
from bitwright.accelerators.precision_scalable.operands import Types
from bitwright.circuits import FusionUnit


class BitFusion(FusingArray):
    """BitFusion; parameters are those of `FusingArray`, whose PEs are four bricks of 2 by 2 bits here.

    Examples
    --------
    >>> array = BitFusion(rows=8, cols=8)
    >>> [array.mode(*widths).macs_per_cycle for widths in ((8, 8), (8, 4), (4, 4), (8, 2), (2, 2))]
    [16, 32, 64, 64, 256]
    """

    summary: ClassVar[str] = "2-bit bricks that fuse to integers of 2, 4 and 8 bits, a static mix per layer (BitFusion)"

    types: ClassVar[Types] = Types(
        kinds={"int": WIDEST, "uint": WIDEST},
        said="integers of 2 to 8 bits",
        lever="use a method of integers of 8 bits or less, or choose an accelerator made for that format",
    )
    widths: ClassVar[tuple[int, ...]] = (2, 4, 8)
    pe: ClassVar[Circuit] = Circuit(
        name="processing element of BitFusion",
        published="pe_int4",
        parts=(
            Part(event="multiply_int4", count=1, what="four bricks, worth a multiplier of 4 by 4 bits"),
            Part(event="add_int8", count=3, what="shift-add tree of four bricks"),
            Part(event="add_int32", count=2, what="accumulation of up to two sums"),
            Part(event="register_bit", count=4 + 4 + 64, what="x, w, two partial sums"),
        ),
        rtl=(Built(circuit=FusionUnit(widest=4)),),
    )
