"""What the circuits of a bit-slice machine do for a product, and what they are.

Ours: a slice product is priced as a 4-bit multiply-accumulate with its register, signed or not. An operator works on
one kind of slice product of one vector of outputs at a time, whose sums lie in its multipliers' registers until they
are merged into the accumulators: by a shift and an addition per output, tile of k and kind, in lanes of which there are
as many per output of the post-processing unit as 8 by 8 bits have kinds, so that they keep pace with it; wider operands
have more kinds and wait. The
compensator (sourced: it reuses loaded weight slices) adds each weight vector that meets a kept activation vector, 4
additions of 16 bits, and multiplies its 4 sums by r once per activation vector and tile of k. Reading or writing a
run-length entry is an 8-bit addition (the run counter) and registers for its bits; cutting and comparing four finished
outputs is four 8-bit additions. Slices are stored in SRAM as in DRAM and read once per block. Sums lie in accumulators,
a block's worth, and in second ones while the post-processing unit takes them.
"""

from collections.abc import Iterator, Sequence

from bitwright.accelerators.bill import Component, Use, listed_use, use
from bitwright.accelerators.bit_slice.blocks import Blocks, Stored
from bitwright.accelerators.bit_slice.products import Products
from bitwright.accelerators.bit_slice.slicing import SLICE_BITS, Slicing
from bitwright.accelerators.circuits import Built, Circuit, Part, listed, priced
from bitwright.accelerators.systolic.machine import ARRAY, REGISTER, SHADOW
from bitwright.circuits import Compensator, RunLengthDecoder, RunLengthEncoder, SliceMerger, SliceOperator
from bitwright.memory import Gemm
from bitwright.methods.vectors import VECTOR
from bitwright.technology import Technology

MULTIPLIER = "mac_int4"
SHARING = 4
"""Compensators of the RTL that share multipliers by r."""
COMPENSATOR = Circuit(
    name="compensator",
    parts=(
        Part(event="add_int16", count=VECTOR, what="weights of a vector"),
        Part(event="register_bit", count=VECTOR * 16, what="their sums"),
    ),
    rtl=(Built(circuit=Compensator(operators=SHARING), count=1 / SHARING),),
)
"""RTL holds its share of the multipliers by r."""
COMPENSATED = (Built(circuit=Compensator(operators=SHARING), count=1 / SHARING / VECTOR),)
"""One addition."""
MERGERS = "mergers"
MERGED_KINDS = 4
"""Kinds of slice products of 8 by 8 bits."""
BY_R = Circuit(
    name="multiplication of compensated sums by r",
    parts=(Part(event="multiply_int16", count=VECTOR, what="sums of a vector"),),
    rtl=(Built(circuit=Compensator(operators=SHARING), count=0),),
)
"""A compensator's RTL holds it."""


def multiplier(unsigned_x: bool) -> tuple[Built, ...]:
    """A multiplier with its sum as RTL: its share of an operator."""
    return (Built(circuit=SliceOperator(x_signed=not unsigned_x, vector=VECTOR), count=1 / VECTOR**2),)


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
    multipliers: int,
    accumulator_bits: int,
    second: bool,
    run_bits: int,
    decoders: int,
    encoders: int,
    mergers: int,
    compensators: int,
    multipliers_by_r: int,
) -> Sequence[Component]:
    """Multipliers, accumulators, mergers, run-length logic, compensators, so many of each."""
    register = priced(REGISTER, prices, "parts")
    found = [
        Component(name=ARRAY, count=multipliers, circuit=listed(MULTIPLIER, prices, multiplier(unsigned_x))),
        Component(name="accumulators", count=accumulator_bits, circuit=register),
        Component(name=MERGERS, count=mergers, circuit=priced(merger(unsigned_x), prices, "parts")),
        Component(name="run_length_decoders", count=decoders, circuit=priced(decoder(run_bits), prices, "parts")),
        Component(name="run_length_encoders", count=encoders, circuit=priced(encoder(run_bits), prices, "parts")),
    ]
    if second:
        found.append(Component(name=SHADOW, count=accumulator_bits, circuit=register))
    if compensators:
        found += [
            Component(name="compensators", count=compensators, circuit=priced(COMPENSATOR, prices, "parts")),
            Component(name="multipliers_by_r", count=multipliers_by_r, circuit=priced(BY_R, prices, "parts")),
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
    prices: Technology,
) -> Iterator[tuple[Use, float]]:
    """Multiplications, merging of their sums, compensation, run-length decoding and encoding."""
    k_tiles, outputs = len(blocks.k_sizes), gemm.groups * gemm.m * gemm.n
    yield listed_use("mac", MULTIPLIER, prices, multiplier(unsigned_x)), VECTOR * VECTOR * products.executed
    merged = outputs * slicing.products * k_tiles
    yield use(MERGERS, "merge", "operation", priced(merger(unsigned_x), prices, "parts")), merged
    if compensates:
        x_vectors, w_vectors = int(blocks.x_vectors.sum()), blocks.both.shape[3]
        yield listed_use("compensation", "add_int16", prices, COMPENSATED), VECTOR * products.with_high_x
        by_r = VECTOR * gemm.groups * x_vectors * w_vectors * k_tiles
        yield listed_use("compensation", "multiply_int16", prices, BY_R.rtl), by_r
    decoded = column_blocks * int(x.entries.sum()) + row_blocks * int(w.entries.sum())
    encoded = gemm.groups * -(-gemm.m // VECTOR) * gemm.n
    yield use("run_length", "decode", "entry", priced(decoder(run_bits), prices, "parts")), decoded
    yield use("run_length", "encode", "vector", priced(encoder(run_bits), prices, "parts")), encoded
