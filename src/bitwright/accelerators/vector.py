"""The vector unit: what a network does beside products, on the same lanes in every machine.

Ours: a lane does one float16 operation per cycle; an operator takes as many operations per element that it goes over as
`OPERATIONS` says, a polynomial's worth for functions, and none where it only moves them; it runs by itself, after the
products that it waits for. Its elements pass through the output SRAM, once in and once out, at 16 bits; between DRAM
and SRAM they move as the operands and outputs of the sites around it, which are charged there. A clamp (ReLU, ReLU6) is
part of requantization. Copies and gathers that change where elements lie are free here: a limit of this model.
"""

from collections.abc import Mapping, Sequence

from bitwright.accelerators.books import LANE, LANE_RTL, VECTOR, Billed, books_of
from bitwright.accelerators.circuits import listed
from bitwright.accelerators.cost import Cost, Event
from bitwright.accelerators.events import BITS_PER_BYTE, leakage_events
from bitwright.networks.sites import OtherOperation

ELEMENT_BITS = 16
FUNCTION = 6
"""Operations of an exponential, a logarithm, a hyperbolic tangent: range reduction and a polynomial of degree 4."""
ROOT = 4
"""Of a division, a root or their inverses: a guess and two Newton steps."""
MOVES = (
    *("cat", "stack", "clone", "copy", "to_copy", "contiguous", "constant_pad_nd", "repeat", "expand_copy"),
    *("embedding", "index", "index_select", "index_put", "gather", "scatter", "slice_scatter", "flip", "roll", "fill"),
    *("zeros", "ones", "full", "arange", "empty", "zeros_like", "ones_like", "full_like", "new_zeros", "new_ones"),
)
"""What only moves or makes elements: addresses that DRAM transfers go by, as keys and values join their cache."""
OPERATIONS: Mapping[str, int] = {
    **dict.fromkeys(MOVES, 0),
    **dict.fromkeys(("relu", "hardtanh", "clamp", "clamp_min", "clamp_max", "threshold"), 0),
    **dict.fromkeys(
        ("exp", "exp2", "expm1", "log", "log2", "log1p", "tanh", "erf", "sin", "cos", "softplus"), FUNCTION
    ),
    **dict.fromkeys(("div", "sqrt", "rsqrt", "reciprocal", "pow"), ROOT),
    "sigmoid": FUNCTION + ROOT,
    "silu": FUNCTION + ROOT + 1,
    "gelu": FUNCTION + 3,
    "mish": 2 * FUNCTION + 1,
    "elu": FUNCTION + 2,
    "hardsigmoid": 2,
    "hardswish": 3,
    "glu": FUNCTION + ROOT + 1,
    "softmax": 4 + FUNCTION,  # largest, difference, exponential, sum, times the sum's inverse
    "log_softmax": 4 + FUNCTION,
    "scaled_dot_product_attention": 4 + FUNCTION,
    **dict.fromkeys(("native_layer_norm", "layer_norm", "native_group_norm", "group_norm"), 7),
    **dict.fromkeys(("rms_norm", "fused_rms_norm"), 4),
    **dict.fromkeys(("native_batch_norm", "native_batch_norm_legit", "native_batch_norm_legit_no_training"), 2),
    **dict.fromkeys(("batch_norm", "cudnn_batch_norm", "instance_norm"), 2),
    **dict.fromkeys(("var", "var_mean", "std", "std_mean"), 3),
}
"""Per element; of an operator that is not here, 1."""


def vector_cost(machine: Billed, operations: Sequence[OtherOperation]) -> Cost:
    """What operators without products take on a machine's vector unit.

    Parameters
    ----------
    machine : Billed
        Its lanes, SRAMs and prices.
    operations : sequence of OtherOperation
        What a network does beside its sites; products among them are none of this unit's work.
    """
    books, lane = books_of(machine), listed(LANE, machine.technology, LANE_RTL)
    output = books.srams["sram_output"]
    work = {each.name: 0 for each in operations}
    moved = 0
    for each in operations:
        per_element = OPERATIONS.get(each.name, 1)
        work[each.name] += per_element * max(each.work, each.elements)
        moved += each.elements * ELEMENT_BITS // BITS_PER_BYTE if per_element else 0
    cycles = sum(-(-count // machine.vector_lanes) for count in work.values())
    if not cycles:
        return Cost()
    words = moved * BITS_PER_BYTE / output.word_bits
    events = [
        Event(
            component=VECTOR,
            name=name,
            count=count,
            unit="operation",
            price_pj=lane.energy_pj,
            source=lane.energy_source,
        )
        for name, count in work.items()
        if count
    ]
    events += [
        Event(component="sram_output", name=name, count=words, unit="word", price_pj=price_pj, source=output.source)
        for name, price_pj in (("read", output.read_pj), ("write", output.write_pj))
    ]
    return Cost(
        cycles=cycles,
        busy_cycles={"vector": cycles},
        traffic_bytes={"sram_output_read": float(moved), "sram_output_write": float(moved)},
        events=(*events, *leakage_events(books, cycles, machine.clock_mhz)),
    )
