"""What the circuits of a bit-slice machine do for a product, and what they are.

Ours: a slice product is priced as a 4-bit multiply-accumulate with its register, signed or not. Operators of a kind
work on one kind of slice product of one vector of outputs at a time, whose sums are merged into the accumulators where
such a list ends: by a shift, an addition and a write of the accumulator per output, piece of k and kind, in 16 lanes
beside every kind of operators, so that the next list follows at once (found by RTL: fewer lanes make operators wait, or
want registers for sums of all kinds of a block). The compensator (sourced: it reuses loaded weight slices) adds each
weight vector that meets a kept activation vector, 4 additions of 16 bits, and multiplies its 4 sums by r once per
activation vector and piece of k. What it says is merged with the list of w's lowest slice and x's high one, which has
the same significance. Reading or writing a run-length entry is an 8-bit addition (the run counter) and registers for
its bits; cutting and comparing four finished outputs is four 8-bit additions. Slices are stored in SRAM as in DRAM and
read once per block, into buffers of the elements (`bitwright.accelerators.bit_slice.buffers`). Sums lie in
accumulators, a block's worth, and in second ones while the post-processing unit takes them.
"""

from collections.abc import Iterator, Sequence

from bitwright.accelerators.bill import Component, Use, listed_use, use
from bitwright.accelerators.bit_slice.blocks import Blocks, Stored
from bitwright.accelerators.bit_slice.products import Products
from bitwright.accelerators.bit_slice.slicing import SLICE_BITS, Slicing
from bitwright.accelerators.circuits import Built, Circuit, Part, listed, priced, times
from bitwright.accelerators.systolic.machine import ARRAY, REGISTER, SHADOW
from bitwright.circuits import Compensator, RunLengthDecoder, RunLengthEncoder, SliceMerger, SliceOperator
from bitwright.memory import Gemm
from bitwright.methods.vectors import VECTOR
from bitwright.technology import Technology

MULTIPLIER = "mac_int4"
MERGERS, ACCUMULATORS = "mergers", "accumulators"
BUILT = {True: {4: 22, 8: 23}, False: {12: 24}}
"""RTL whose synthesis prices operators of a kind: how many, and bits of their sums, by whether x is unsigned."""
COMPENSATED = 4
"""Products a clock of the compensator that is RTL."""


def compensator(operators: int) -> Circuit:
    """Sums of weights that so many operators multiply; RTL holds the multipliers by r."""
    return Circuit(
        name="compensator",
        parts=(
            Part(event="add_int16", count=VECTOR * operators, what="weights of vectors"),
            Part(event="register_bit", count=VECTOR * 16, what="their sums"),
        ),
        rtl=(_compensator_rtl(operators),),
    )


def by_r(operators: int) -> Circuit:
    """What multiplies them by r; the compensator's RTL holds it."""
    return Circuit(
        name="multiplication of compensated sums by r",
        parts=(Part(event="multiply_int16", count=VECTOR, what="sums of a vector"),),
        rtl=(_compensator_rtl(operators, 0),),
    )


def _compensator_rtl(operators: int, count: float = 1) -> Built:
    """Other numbers of operators cost in proportion."""
    return Built(circuit=Compensator(operators=1, products=COMPENSATED), count=count * operators / COMPENSATED)


def multiplier(unsigned_x: bool, teams: Sequence[int]) -> tuple[Built, ...]:
    """A multiplier with its share of trees and sums as RTL, where all operators of an element work.

    Where there are other numbers of a kind than are built, those of the next one cost the same each.
    """
    found = []
    for operators in teams:
        _, built = min((abs(size - operators), size) for size in BUILT[unsigned_x])
        circuit = SliceOperator(
            x_signed=not unsigned_x, vector=VECTOR, products=built, sum_bits=BUILT[unsigned_x][built]
        )
        found.append(Built(circuit=circuit, count=operators / sum(teams) / (VECTOR**2 * built)))
    return tuple(found)


def merger(unsigned_x: bool) -> Circuit:
    """What shifts a sum of one kind of slice product, and adds it."""
    return Circuit(
        name="merger of sums of one kind of slice product",
        parts=(
            Part(event="shift_int32", count=1, what="to their significance"),
            Part(event="add_int32", count=1, what="to the accumulator"),
        ),
        rtl=(Built(circuit=SliceMerger(x_signed=not unsigned_x)),),
    )


def decoder(run_bits: int) -> Circuit:
    """A run-length decoder: a run counter and an entry."""
    return Circuit(
        name="run-length decoder",
        parts=(
            Part(event="add_int8", count=1, what="run counter"),
            Part(event="register_bit", count=run_bits + VECTOR * SLICE_BITS, what="entry"),
        ),
        rtl=(Built(circuit=RunLengthDecoder(vector=VECTOR, slice_bits=SLICE_BITS, run_bits=run_bits)),),
    )


def encoder(run_bits: int) -> Circuit:
    """A run-length encoder: a decoder's parts, and comparisons of a vector's outputs."""
    compared = Part(event="add_int8", count=VECTOR, what="comparison of outputs")
    return Circuit(
        name="run-length encoder",
        parts=(*decoder(run_bits).parts, compared),
        rtl=(Built(circuit=RunLengthEncoder(vector=VECTOR, slice_bits=SLICE_BITS, run_bits=run_bits)),),
    )


def components(
    *,
    prices: Technology,
    unsigned_x: bool,
    peas: int,
    teams: Sequence[int],
    accumulator_bits: int,
    second: bool,
    run_bits: int,
    decoders: int,
    encoders: int,
    mergers: int,
    compensated: int,
) -> Sequence[Component]:
    """Multipliers, accumulators, mergers, run-length logic, compensators, so many of each."""
    register, multipliers = priced(REGISTER, prices, "parts"), peas * sum(teams) * VECTOR**2
    found = [
        Component(name=ARRAY, count=multipliers, circuit=listed(MULTIPLIER, prices, multiplier(unsigned_x, teams))),
        Component(name=ACCUMULATORS, count=accumulator_bits, circuit=register),
        Component(name=MERGERS, count=mergers, circuit=priced(merger(unsigned_x), prices, "parts")),
        Component(name="run_length_decoders", count=decoders, circuit=priced(decoder(run_bits), prices, "parts")),
        Component(name="run_length_encoders", count=encoders, circuit=priced(encoder(run_bits), prices, "parts")),
    ]
    if second:
        found.append(Component(name=SHADOW, count=accumulator_bits, circuit=register))
    if compensated:
        found += [
            Component(name="compensators", count=peas, circuit=priced(compensator(compensated), prices, "parts")),
            Component(name="multipliers_by_r", count=peas, circuit=priced(by_r(compensated), prices, "parts")),
        ]
    return found


def uses_of(
    *,
    gemm: Gemm,
    slicing: Slicing,
    blocks: Blocks,
    products: Products,
    x: Stored,
    w: Stored,
    compensates: bool,
    column_blocks: int,
    row_blocks: int,
    run_bits: int,
    unsigned_x: bool,
    teams: Sequence[int],
    psum_bits: int,
    prices: Technology,
) -> Iterator[tuple[Use, float]]:
    """Multiplications, merging of their sums, compensation, run-length decoding and encoding."""
    pieces, outputs = len(blocks.k_sizes), gemm.groups * gemm.m * gemm.n
    yield listed_use("mac", MULTIPLIER, prices, multiplier(unsigned_x, teams)), VECTOR * VECTOR * products.executed
    merged = outputs * slicing.products * pieces
    yield use(MERGERS, "merge", "operation", priced(merger(unsigned_x), prices, "parts")), merged
    register = times(priced(REGISTER, prices, "parts"), psum_bits, f"{psum_bits} x {{}}")
    yield use(ACCUMULATORS, "write", "sum", register), merged
    if compensates:
        x_vectors, w_vectors = int(blocks.x_vectors.sum()), blocks.both.shape[3]
        added = (_compensator_rtl(1, 1 / VECTOR),)
        yield listed_use("compensation", "add_int16", prices, added), VECTOR * products.with_high_x
        multiplied = VECTOR * gemm.groups * x_vectors * w_vectors * pieces
        yield listed_use("compensation", "multiply_int16", prices, by_r(teams[0]).rtl), multiplied
    decoded = column_blocks * int(x.entries.sum()) + row_blocks * int(w.entries.sum())
    encoded = gemm.groups * -(-gemm.m // VECTOR) * gemm.n
    yield use("run_length", "decode", "entry", priced(decoder(run_bits), prices, "parts")), decoded
    yield use("run_length", "encode", "vector", priced(encoder(run_bits), prices, "parts")), encoded
