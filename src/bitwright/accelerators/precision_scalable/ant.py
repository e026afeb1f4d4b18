"""`ant`: an array of 4-bit PEs for integers, powers of two and flints (Guo et al., MICRO 2022, arXiv 2208.14286).

Sources: the authors' artifact (github.com/clevercool/ANT-Quantization, ant_simulator) for how the array goes with the
widths: 8 bits of x take two rows of PEs, 8 bits of w two columns. The area of a PE is that of a 4-bit one in SPARK
(HPCA 2024); LPA's poster charts as much for ANT and BitFusion, shared out among 64. As we know the paper, decoders at
the edges turn each 4-bit word to a base integer and an exponent, whatever its type, and PEs multiply integers, add
exponents and shift. Of 8 bits there are integers only.

Parts are ours: one decoder per row and column of PEs, sums of 32 bits as on the common substrate; what fuses four PEs
to one is not modelled. Encoders are assumed.
"""

from typing import ClassVar

from bitwright.accelerators.circuits import Built, Circuit, Part
from bitwright.accelerators.precision_scalable.fusing import FusingArray
from bitwright.accelerators.precision_scalable.operands import Types
from bitwright.circuits import AntDecoder, AntPe


class Ant(FusingArray):
    """ANT; parameters are those of `FusingArray`.

    Examples
    --------
    >>> array = Ant(rows=8, cols=8)
    >>> [array.mode(*widths).macs_per_cycle for widths in ((8, 8), (8, 4), (4, 4))]
    [16, 32, 64]
    """

    summary: ClassVar[str] = "4-bit integers, powers of two and flints; four PEs make a product of 8-bit integers (ANT)"

    types: ClassVar[Types] = Types(
        kinds={"int": 8, "uint": 8, "pot": 4, "upot": 4, "flint": 4, "uflint": 4},
        said="integers of up to 8 bits, and powers of two and flints of up to 4",
        lever="use the method ant with 4 or 8 bits, or choose an accelerator made for that format",
    )
    widths: ClassVar[tuple[int, ...]] = (4, 8)
    pe: ClassVar[Circuit] = Circuit(
        name="processing element of ANT",
        published="pe_int4",
        parts=(
            Part(event="multiply_int4", count=1, what="base integers"),
            Part(event="add_int8", count=0.5, what="exponents, 4 bits"),
            Part(event="shift_int32", count=1, what="product by the exponent"),
            Part(event="add_int32", count=1, what="accumulation"),
            Part(event="register_bit", count=8 + 8 + 32, what="x and w decoded, partial sum"),
        ),
        rtl=(Built(circuit=AntPe()),),
    )
    decoder: ClassVar[Circuit] = Circuit(
        name="4-bit decoder of ANT",
        parts=(
            Part(event="add_int8", count=0.5, what="leading-zero counter, 4 bits"),
            Part(event="shift_int8", count=0.5, what="base integer, 4 bits"),
        ),
        rtl=(Built(circuit=AntDecoder()),),
    )
    encoder: ClassVar[Circuit] = Circuit(
        name="encoder of ANT, assumed",
        parts=(
            Part(event="add_int8", count=1, what="leading-zero counter of the sum"),
            Part(event="add_int8", count=1, what="rounding"),
            Part(event="shift_int8", count=1, what="mantissa"),
        ),
    )
