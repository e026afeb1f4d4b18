"""`lpa`: the accelerator of log posits (Ramachandran et al., DAC 2024, arXiv 2403.05465).

Sources: the authors' posters and architecture figure (the paper's text was not available). A PE multiplies by adding
logarithms and adds linearly, in four lanes: one 8-bit weight, two of 4 bits or four of 2 bits (MODE) meet one
activation per cycle, whatever its width, which is how the one-bit sign of the activation beside the four of the weights
is read here. A decoder per row and column of the array turns words to sign, regime and ulfx; an encoder below makes
words of sums. Other widths take the next of 2, 4, 8 (ours).

Parts of the PE, ours as far as counting goes, with the operators as drawn: MUL adds regimes and ulfx with four 4-bit
adders each; ADD converts the sum's fraction to linear, complements it by the sign, compares scales, aligns, adds with
four 2-bit adders, and complements again. Registers hold the drawn words: activation 1 + 4 + 4 bits, weights 4 + 16 +
16, partial sum 4 + 16 + 16. Four 4-bit or 2-bit adders are priced as 8-bit ones of as many bits in all. The drawn
partial sum is narrower than the 32 bits of each that leave the array here (`psum_bits`), the common substrate's. RTL is
that of the drawn PE, whose sums have 8, 4 and 2 bits by mode; exact ones would take 1.6 times as much.
"""

import dataclasses
from typing import ClassVar

from bitwright.accelerators.circuits import Built, Circuit, Part
from bitwright.accelerators.precision_scalable.machine import WIDEST, PackedArray
from bitwright.accelerators.precision_scalable.modes import Mode
from bitwright.accelerators.precision_scalable.operands import Types
from bitwright.circuits import LogPositDecoder, LogPositEncoder, LpaPe
from bitwright.methods.narrow.rule import NarrowSums
from bitwright.methods.plan import SitePlan
from bitwright.methods.rules import EXACT


class Lpa(PackedArray):
    """LPA; parameters are those of `PackedArray`.

    Examples
    --------
    >>> array = Lpa(rows=8, cols=8)
    >>> [array.mode(8, w_bits).macs_per_cycle for w_bits in (8, 4, 2)]
    [64, 128, 256]
    """

    summary: ClassVar[str] = "log posits: multiplies by adding, 1, 2 or 4 weights of 8, 4, 2 bits per PE (LPA)"

    types: ClassVar[Types] = Types(
        kinds={"lp": WIDEST},
        said="log posits of 2 to 8 bits",
        lever="use the method lpq, or choose an accelerator made for that format",
    )
    widths: ClassVar[tuple[int, ...]] = (2, 4, 8)
    published_decoders: ClassVar[bool] = True
    pe: ClassVar[Circuit] = Circuit(
        name="processing element of LPA",
        published="pe_lpa",
        parts=(
            Part(event="add_int8", count=2, what="regimes, four 4-bit adders"),
            Part(event="add_int8", count=2, what="ulfx, four 4-bit adders"),
            Part(event="add_int8", count=1, what="log-linear converter, gates said to be few: assumed"),
            Part(event="add_int8", count=2, what="two's complement before and after the addition"),
            Part(event="add_int8", count=3, what="comparison of scales, 16 bits of regime and 8 of exponent: assumed"),
            Part(event="shift_int16", count=1, what="alignment of fractions"),
            Part(event="add_int8", count=1, what="fractions, four 2-bit adders"),
            Part(event="register_bit", count=9, what="activation"),
            Part(event="register_bit", count=36, what="weights"),
            Part(event="register_bit", count=36, what="partial sum"),
        ),
        rtl=(Built(circuit=LpaPe(rounding="truncated")),),
    )
    decoder: ClassVar[Circuit] = Circuit(
        name="unified LP decoder",
        parts=(
            Part(event="add_int8", count=1, what="segmented two's complement"),
            Part(event="add_int8", count=1, what="leading-zero counter, its detectors merged by adders"),
            Part(event="add_int8", count=1, what="regime from the count"),
            Part(event="shift_int8", count=2, what="removal of the regime, scaling by es and sf"),
        ),
        rtl=(Built(circuit=LogPositDecoder()),),
    )
    encoder: ClassVar[Circuit] = Circuit(
        name="unified LP encoder, assumed as nothing of it is drawn",
        parts=(
            Part(event="add_int8", count=1, what="leading-zero counter of the sum"),
            Part(event="add_int8", count=1, what="linear-log converter"),
            Part(event="add_int8", count=1, what="rounding"),
            Part(event="add_int8", count=1, what="segmented two's complement"),
            Part(event="shift_int8", count=2, what="normalization, insertion of the regime"),
        ),
        rtl=(Built(circuit=LogPositEncoder()),),
    )

    def refusal(self, plan: SitePlan) -> str | None:
        """As the other arrays; sums rounded at every addition (`narrow`) are what its adders are drawn to make."""
        narrow = isinstance(plan.accumulation, NarrowSums)
        return super().refusal(dataclasses.replace(plan, accumulation=EXACT) if narrow else plan)

    def mode(self, x_bits: int, w_bits: int) -> Mode:
        """Weights side by side along n; the activation takes all lanes."""
        return Mode(x_bits=x_bits, w_bits=w_bits, rows=self.rows, cols=self.cols, wide=WIDEST // w_bits)
