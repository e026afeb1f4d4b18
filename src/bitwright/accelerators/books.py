"""The books of a machine: its bill of components, memories and common circuits, with prices, leakage and area.

Ours, the same for all: a requantizer is one 32-bit multiplication (the scale), one addition (bias, rounding) and one
shift; beside each stands what quantizes at run time and adds up what meets a zero point, because operands are outputs
that have left through these lanes; leakage is that of every component; control and wiring of the array are not
modelled.
"""

import dataclasses
import functools
from collections.abc import Mapping as Dictionary
from collections.abc import Sequence

from bitwright.accelerators.bill import Component, Use, use
from bitwright.accelerators.circuits import Built, Circuit, Part, Priced, listed, priced
from bitwright.accelerators.cost import Area
from bitwright.accelerators.srams import CACHED_MACHINES, Sram, srams_of
from bitwright.accelerators.substrate import Substrate
from bitwright.circuits import PartialSumAdder, Requantizer, VectorLane

REQUANTIZERS, RESCALERS, SUM_ADDERS, VECTOR = "requantizers", "rescalers", "sum_adders", "vector_unit"
OPERANDS, CENTRING = "operands", "centring"
MULTIPLY, ADD, SHIFT = "multiply_int32", "add_int32", "shift_int32"
REQUANTIZER = Circuit(
    name="requantizer",
    parts=(
        Part(event=MULTIPLY, count=1, what="scale"),
        Part(event=ADD, count=1, what="bias and rounding"),
        Part(event=SHIFT, count=1, what="to the output's width"),
    ),
    rtl=(Built(circuit=Requantizer(slices=False)),),
)
RESCALER = Circuit(
    name="rescaler of block sums",
    parts=(
        Part(event=MULTIPLY, count=1, what="scale of the block"),
        Part(event=SHIFT, count=1, what="to the exponent of the blocks before"),
    ),
)
SUM_ADDER = Circuit(
    name="adder of a partial sum",
    parts=(Part(event=ADD, count=1, what="to the sum before"),),
    rtl=(Built(circuit=PartialSumAdder(lanes=1, tile_bits=32)),),
)
RUN_TIME_SCALE = Circuit(
    name="quantizer of an element at run time",
    parts=(
        Part(event=ADD, count=1, what="comparison with the largest so far"),
        Part(event=MULTIPLY, count=1, what="by the inverse of the scale"),
        Part(event=SHIFT, count=1, what="to the code"),
    ),
)
ZERO_POINT_SUM = Circuit(
    name="sum of the operand that meets a zero point",
    parts=(Part(event=ADD, count=1, what="one more element"),),
)
ROW_RANGE = Circuit(
    name="comparison of an element with the least of its row",
    parts=(Part(event=ADD, count=1, what="comparison with the least so far"),),
)
ROW_ZERO_POINT = Circuit(
    name="corrector of a sum for the zero point of its row",
    parts=(
        Part(event=MULTIPLY, count=1, what="zero point by the sum of the column"),
        Part(event=ADD, count=1, what="off the sum"),
    ),
)
CENTRING_LANE = Circuit(
    name="what zero points of rows take: a comparison, and a corrector of sums",
    parts=(*ROW_RANGE.parts, *ROW_ZERO_POINT.parts),
)
OPERAND_LANE = Circuit(
    name="what an operand takes at run time: its quantizer, and its sum that meets a zero point",
    parts=(*RUN_TIME_SCALE.parts, *ZERO_POINT_SUM.parts),
)
LANE = "mac_float16"
LANE_RTL = (Built(circuit=VectorLane()),)


class Billed(Substrate):
    """A substrate with a bill."""

    @property
    def requantizer_lanes(self) -> int:
        """Outputs that are requantized per cycle."""
        raise NotImplementedError

    @property
    def sum_lanes(self) -> int:
        """Sums that leave the array per cycle, in the mode with most."""
        return self.requantizer_lanes

    @property
    def rescaler_lanes(self) -> int:
        """Sums of blocks that are rescaled per cycle; 0: scales cannot change along the reduction."""
        return 0

    @property
    def centring_lanes(self) -> int:
        """Sums that are corrected for zero points of rows per cycle; 0: rows of x have none."""
        return 0

    def components(self) -> Sequence[Component]:
        """What it has beside SRAMs, requantizers, rescalers and the vector unit."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Books:
    """What the engine needs of a machine's bill: all components, memories, common uses, leakage."""

    components: tuple[Component, ...]
    srams: Dictionary[str, Sram]
    dram_pj_per_bit: float
    dram_source: str
    accumulate: Use
    requantize: Use
    leaking: tuple[tuple[str, float, str], ...]
    leakage_pj_per_cycle: float


@functools.lru_cache(maxsize=CACHED_MACHINES)
def books_of(machine: Billed) -> Books:
    """The books of a machine.

    Raises
    ------
    InputError, MissingPriceError
        If the node, a price or an SRAM bank is unknown, or a bank is too slow.
    """
    prices = machine.technology
    requantizer, adder = (priced(circuit, prices, "parts") for circuit in (REQUANTIZER, SUM_ADDER))
    rescaler, lane = rescaler_of(machine), listed(LANE, prices, LANE_RTL)
    components = (
        *machine.components(),
        Component(name=REQUANTIZERS, count=machine.requantizer_lanes, circuit=requantizer),
        *(
            [Component(name=RESCALERS, count=machine.rescaler_lanes, circuit=rescaler)]
            if machine.rescaler_lanes
            else []
        ),
        *(
            [Component(name=CENTRING, count=machine.centring_lanes, circuit=priced(CENTRING_LANE, prices, "parts"))]
            if machine.centring_lanes
            else []
        ),
        Component(name=SUM_ADDERS, count=machine.sum_lanes, circuit=adder),
        Component(name=OPERANDS, count=machine.requantizer_lanes, circuit=priced(OPERAND_LANE, prices, "parts")),
        Component(name=VECTOR, count=machine.vector_lanes, circuit=lane),
    )
    srams = srams_of(machine)
    dram_pj, dram_source = machine.dram_price
    logic = prices.price("logic_leakage").source
    leaking = (
        *(
            (each.name, each.count * each.circuit.leakage_uw, f"{each.circuit.area_source}; {logic}")
            for each in components
        ),
        *((name, sram.leakage_uw, sram.source) for name, sram in srams.items()),
    )
    return Books(
        components=components,
        srams=srams,
        dram_pj_per_bit=dram_pj,
        dram_source=dram_source,
        accumulate=use(SUM_ADDERS, "accumulate", "operation", adder),
        requantize=use(REQUANTIZERS, "requantize", "operation", requantizer),
        leaking=leaking,
        leakage_pj_per_cycle=sum(leakage_uw for _, leakage_uw, _ in leaking) / machine.clock_mhz,
    )


def rescaler_of(machine: Billed) -> Priced:
    """One rescaler at the machine's node."""
    return priced(RESCALER, machine.technology, "parts")


def area_of(machine: Billed) -> Area:
    """Silicon area by component; control and wiring are not modelled."""
    books = books_of(machine)
    return Area(
        components_um2={
            **{each.name: each.count * each.circuit.area_um2 for each in books.components},
            **{name: sram.area_um2 for name, sram in books.srams.items()},
        },
        sources={
            **{each.name: each.circuit.area_source for each in books.components},
            **{name: sram.source for name, sram in books.srams.items()},
        },
    )
