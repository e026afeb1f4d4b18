"""Prices, events and area of a split array.

Ours: a bit group is four processing elements of `pe_int4`, like those of BitFusion and ANT here, and burns by its area
(`bitwright.accelerators.precision_scalable.circuits`), the same in every mode; what cutting takes, multiplexers at the cuts and
links in both directions, is a percentage of it. Row lists live in a double-buffered SRAM of 2 x 2048 entries of 19
bits: 16 of a row, 3 of how many low bits it dropped; rows that are gathered and scattered take an access each per
block, columns are scattered only. Sums of narrow classes are shifted into place as they leave the array. Precision is
decided in the requantizers' lanes, where each finished output is added to two sums, of codes and of magnitudes, and
compared with a maximum, and made narrow by a rounding addition and a shift, whether it stays so or not. Narrow codes
that count from a smallest one (affine) add that times the sum of the other operand's block to each output of it, once
for rows and once for columns, in the lanes that shift; they need no cycles of their own, but entries hold the
smallest code and the block's sum besides, and take as many accesses as they have words of 19 bits. The scheduler does
a step of a closed form per cycle. Circuits that have no published area are sums of parts. A machine that does not
gather has none of the lists, shifts and smallest codes.
"""

import dataclasses
from typing import TYPE_CHECKING

from bitwright.accelerators.cost import Area, Cost, Event
from bitwright.accelerators.events import (
    BITS_PER_BYTE,
    Leaking,
    MemoryPrices,
    leakage_events,
    memory_events,
    requantize_event,
    requantizer_area,
    requantizer_leakage,
)
from bitwright.accelerators.precision_scalable.circuits import Circuit, Part, Priced
from bitwright.accelerators.dynamic_precision.bit_group import MULTIPLIERS
from bitwright.accelerators.srams import SramMacros
from bitwright.methods.classes import PAIRS, WIDE_BITS
from bitwright.technology import Technology

if TYPE_CHECKING:
    from bitwright.accelerators.dynamic_precision.machine import SplitArray
    from bitwright.accelerators.dynamic_precision.measured import Measured

LISTS, LIST_ENTRIES, ENTRY_BITS = 2, 2048, 19
INDEX, SCHEDULER, DECIDERS, ALIGNERS, BASES = "index", "scheduler", "deciders", "aligners", "bases"
ARRAY = "bit_groups"
MULTIPLIER = Circuit(name="multiplier of a bit group", published="pe_int4", parts=())
STEP = Circuit(
    name="scheduler",
    parts=(
        Part(event="multiply_int32", count=1, what="products, and steps of a division"),
        Part(event="add_int32", count=2, what="sums and comparisons"),
        Part(event="register_bit", count=16 * 32, what="counts, cuts, latencies"),
    ),
)
DECIDER = Circuit(
    name="decision on precision",
    parts=(
        Part(event="add_int32", count=2, what="sums of codes and of magnitudes"),
        Part(event="add_int8", count=2, what="comparison with the maximum, rounding"),
        Part(event="shift_int8", count=1, what="low bits dropped"),
        Part(event="register_bit", count=32 + 32 + 8, what="sums, maximum"),
    ),
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prices:
    """Everything a split array pays for; `bit_group` includes what cutting takes."""

    bit_group: Priced
    step: Priced
    decider: Priced
    aligner: Priced
    base: Priced
    index: SramMacros
    memory: MemoryPrices
    technology: Technology


def bit_group_price(multiplier: Priced, overhead_percent: float) -> Priced:
    """Four multipliers, and what cutting takes."""
    factor = MULTIPLIERS * (1 + overhead_percent / 100)
    said = (
        f"{MULTIPLIERS} x {{}} + {overhead_percent:g} % (ours) for cuts"
        if overhead_percent
        else f"{MULTIPLIERS} x {{}}"
    )
    return Priced(
        area_um2=factor * multiplier.area_um2,
        energy_pj=factor * multiplier.energy_pj,
        leakage_uw=factor * multiplier.leakage_uw,
        area_source=said.format(multiplier.area_source),
        energy_source=said.format(multiplier.energy_source),
    )


def cost_of(machine: "SplitArray", found: "Measured") -> Cost:
    """The cost of one execution of a site."""
    prices, line, gemm = machine.prices, found.timeline, found.gemm
    traffic_bytes = {
        "dram_read": float(line.dram_read_bytes),
        "dram_write": float(line.dram_write_bytes),
        **found.sram_bytes,
    }
    return Cost(
        cycles=line.cycles,
        compute_cycles=line.compute_cycles,
        macs_dense=gemm.macs,
        macs_executed=gemm.macs,
        macs_skipped=0,
        traffic_bytes=traffic_bytes,
        unique_bytes=found.unique_bytes,
        events=(
            *_array_events(prices, found),
            *(_dynamic_events(machine, found) if found.dynamic else ()),
            requantize_event(gemm.groups * gemm.m * gemm.n, prices.technology),
            *memory_events(traffic_bytes, prices.memory),
            *leakage_events(line.cycles, leaking(machine), prices.memory.clock_mhz),
        ),
    )


def _array_events(prices: Prices, found: "Measured") -> list[Event]:
    """Bit groups that work, by mode."""
    return [
        _event("mac", f"bit_group_a{x}w{w}", int(cycles), "cycle", prices.bit_group)
        for (x, w), cycles in zip(PAIRS, found.counts.bit_group_cycles, strict=True)
        if cycles
    ]


def _dynamic_events(machine: "SplitArray", found: "Measured") -> list[Event]:
    """What run-time precision takes: lists, shifts of sums, decisions, schedules."""
    decided = _event(DECIDERS, "decide", found.outputs, "operation", machine.prices.decider)
    if not machine.gathers:
        return [decided]
    return [decided, *_gathering_events(machine, found)]


def _gathering_events(machine: "SplitArray", found: "Measured") -> list[Event]:
    """Lists of rows and columns, shifts of their sums, smallest codes, schedules."""
    prices, gemm, blocks = machine.prices, found.gemm, found.placed.spent.size
    words = -(-entry_bits(int(found.classes.k.max()), affine=found.affine) // ENTRY_BITS)
    rows, columns = gemm.m * blocks * words, gemm.n * blocks * words
    accesses = {"read": (2 * rows + columns, prices.index.read_pj), "write": (rows + columns, prices.index.write_pj)}
    events = [
        Event(component=INDEX, name=name, count=count, unit="access", price_pj=price, source=prices.index.source)
        for name, (count, price) in accesses.items()
    ]
    events.append(_event(ALIGNERS, "shift", int(found.counts.psum_write.sum()), "operation", prices.aligner))
    if found.affine:
        classes = found.classes
        met = int((classes.m_narrow * classes.n + classes.m * classes.n_narrow).sum())
        events.append(_event(BASES, "base", met, "operation", prices.base))
    steps = int(found.placed.evaluations.sum()) * machine.scheduler_steps
    if machine.schedules:
        events.append(_event(SCHEDULER, "step", steps, "cycle", prices.step))
    return events


def _event(component: str, name: str, count: int, unit: str, price: Priced) -> Event:
    return Event(
        component=component, name=name, count=count, unit=unit, price_pj=price.energy_pj, source=price.energy_source
    )


def _circuits(machine: "SplitArray") -> dict[str, tuple[int, Priced]]:
    """Number and price of each circuit, by component."""
    prices = machine.prices
    found = {
        ARRAY: (machine.rows * machine.cols, prices.bit_group),
        DECIDERS: (machine.cols, prices.decider),
    }
    if machine.gathers:
        found |= {ALIGNERS: (machine.sum_ports, prices.aligner), BASES: (machine.sum_ports, prices.base)}
    return found | ({SCHEDULER: (1, prices.step)} if machine.schedules else {})


def _lists(machine: "SplitArray") -> dict[str, SramMacros]:
    """The SRAM of row lists, where there are any."""
    return {INDEX: machine.prices.index} if machine.gathers else {}


def area_of(machine: "SplitArray") -> Area:
    """Bit groups, lists, scheduler, lanes, SRAMs."""
    prices, circuits = machine.prices, _circuits(machine)
    requantizers = requantizer_area(machine.cols, prices.technology)
    srams = {**_lists(machine), **prices.memory.srams}
    return Area(
        components_um2={
            **{name: count * each.area_um2 for name, (count, each) in circuits.items()},
            **requantizers.components_um2,
            **{component: macros.area_um2 for component, macros in srams.items()},
        },
        sources={
            **{name: each.area_source for name, (_, each) in circuits.items()},
            **requantizers.sources,
            **{component: macros.source for component, macros in srams.items()},
        },
    )


def leaking(machine: "SplitArray") -> list[Leaking]:
    """All parts that leak."""
    prices = machine.prices
    logic = f"area x logic_leakage: {prices.technology.price('logic_leakage').source}"
    return [
        *((name, count * each.leakage_uw, logic) for name, (count, each) in _circuits(machine).items()),
        requantizer_leakage(machine.cols, prices.technology),
        *((name, macros.leakage_uw, macros.source) for name, macros in _lists(machine).items()),
        *prices.memory.leaking,
    ]


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
