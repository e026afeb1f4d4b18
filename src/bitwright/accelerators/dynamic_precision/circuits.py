"""Circuits of arrays with run-time precision, and what they do for a product.

Ours: a bit group is four processing elements of `pe_int4`, like those of BitFusion and ANT here, and burns by its area
(`bitwright.accelerators.circuits`), the same in every mode; what cutting takes, multiplexers at the cuts and links in
both directions, is a percentage of it. Row lists live in a double-buffered SRAM of 2 x 2048 entries of 19 bits: 16 of a
row, 3 of how many low bits it dropped; rows that are gathered and scattered take an access each per block, columns are
scattered only. Sums of narrow classes are shifted into place as they leave the array. Precision is decided in the
requantizers' lanes in two passes, as Drift's density test is about the mean: each finished output is added to a sum and
compared with both ends; then it is read again from the output SRAM, its distance from the mean is added to another sum,
and it is made narrow by a rounding addition and a shift, whether it stays so or not. A lane has what both passes take,
since one sub-tensor is measured while the next one is gathered. DRQ's mask is of magnitudes alone, in one pass. Narrow
codes that count from a smallest one (affine) add that times the sum of the other operand's block to each output of it,
once for rows and once for columns, in the lanes that shift; they need no cycles of their own, but entries hold the
smallest code and the block's sum besides, and take as many accesses as they have words of 19 bits. The scheduler does a
step of a closed form per cycle. RTL of the decision takes every output twice, so two of it keep pace, and it leaves the
rounding to others. What cutting takes is as much as RTL says: by its synthesis a group is 9.2 % larger with its
selectors, of x from either side, and of sums from above, from below or, at the row line, from nowhere.
"""

from bitwright.accelerators.circuits import Built, Circuit, Part, Priced, times
from bitwright.accelerators.dynamic_precision.bit_group import MULTIPLIERS
from bitwright.circuits import CutScheduler, DrqMask, PrecisionDecider
from bitwright.methods.classes import WIDE_BITS

BITS_PER_BYTE = 8
LISTS, LIST_ENTRIES, ENTRY_BITS = 2, 2048, 19
INDEX, SCHEDULER, DECIDERS, ALIGNERS, BASES = "index", "scheduler", "deciders", "aligners", "bases"
ARRAY = "bit_groups"
PASSES = 2
"""In which RTL that decides on precision takes an element: it gathers, then it measures or rounds."""
MULTIPLIER = Circuit(name="multiplier of a bit group", published="pe_int4", parts=())
STEP = Circuit(
    name="scheduler",
    parts=(
        Part(event="multiply_int32", count=1, what="products, and steps of a division"),
        Part(event="add_int32", count=2, what="sums and comparisons"),
        Part(event="register_bit", count=16 * 32, what="counts, cuts, latencies"),
    ),
    rtl=(Built(circuit=CutScheduler()),),
)
DECIDER = Circuit(
    name="decision on precision",
    parts=(
        Part(event="add_int32", count=2, what="sums of codes, then of their distances from the mean"),
        Part(event="add_int32", count=9 / 32, what="the mean: nine steps of a division for 32 codes"),
        Part(event="add_int8", count=4, what="comparison with both ends, distance, rounding"),
        Part(event="shift_int8", count=1, what="low bits dropped"),
        Part(event="register_bit", count=32 + 32 + 3 * 9, what="sums, ends, mean"),
    ),
    rtl=(Built(circuit=PrecisionDecider(), count=PASSES),),
)
MASKER = Circuit(
    name="decision on precision by magnitudes",
    parts=(
        Part(event="add_int32", count=2, what="sums of codes and of magnitudes"),
        Part(event="add_int8", count=2, what="comparison with the maximum, rounding"),
        Part(event="shift_int8", count=1, what="low bits dropped"),
        Part(event="register_bit", count=32 + 32 + 8, what="sums, maximum"),
    ),
    rtl=(Built(circuit=DrqMask(), count=PASSES),),
)
ALIGNER = Circuit(
    name="shift of a partial sum",
    parts=(Part(event="shift_int32", count=1, what="low bits that its row and its column dropped"),),
)
BASE = Circuit(
    name="smallest code times a sum",
    parts=(
        Part(event="multiply_int16", count=1, what="smallest code of a block by the sum of what it meets"),
        Part(event="add_int32", count=1, what="to the partial sum"),
    ),
)


def bit_group_of(multiplier: Priced, overhead_percent: float) -> Priced:
    """Four multipliers, and what cutting takes."""
    said = (
        f"{MULTIPLIERS} x {{}} + {overhead_percent:g} % (ours) for cuts"
        if overhead_percent
        else f"{MULTIPLIERS} x {{}}"
    )
    return times(multiplier, MULTIPLIERS * (1 + overhead_percent / 100), said)


def entry_bits(length: int, *, affine: bool) -> int:
    """Bits of an entry of the lists, of a sub-tensor of so many elements; affine: its smallest code and sum too.

    Examples
    --------
    >>> entry_bits(32, affine=False), entry_bits(32, affine=True)  # 8 bits, and 32 times 8 bits in the sum
    (19, 40)
    """
    return ENTRY_BITS + (WIDE_BITS + WIDE_BITS + (length - 1).bit_length() if affine else 0)


def list_bytes() -> int:
    """Capacity of the SRAM of row lists.

    Examples
    --------
    >>> list_bytes()
    9728
    """
    return LISTS * LIST_ENTRIES * ENTRY_BITS // BITS_PER_BYTE
