"""Bytes, events and area of the APSQ array.

Ours: a partial sum that is quantized takes a shift and the addition of its rounding offset; one that is read back takes
a shift and an addition, which the RAE's tree and its input adder share out among those of a group. Finding the exponent
of a block at run time takes a comparison, priced as an addition, per quantized sum. An exact sum that is read back
takes an addition. Shifters and adders are priced at 32 bits whatever the width of what is stored. The RAE of a lane is
the figure's: five shifters and four adders, of which an array without it has one.
"""

import dataclasses
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING

from bitwright.accelerators.partial_sums.accumulation import Stored
from bitwright.accelerators.partial_sums.dataflow import Accesses, Grid, candidates
from bitwright.accelerators.cost import Area, Cost, Event
from bitwright.accelerators.events import (
    BITS_PER_BYTE,
    Leaking,
    leakage_events,
    memory_events,
    memory_prices,
    requantize_event,
    requantizer_area,
    requantizer_leakage,
)
from bitwright.memory import Gemm
from bitwright.technology import Technology

if TYPE_CHECKING:
    from bitwright.accelerators.partial_sums.machine import Apsq

MULTIPLIER = "mac_int8"
ADDER, SHIFTER = "add_int32", "shift_int32"
RAE_ADDERS, RAE_SHIFTERS = 4, 5
PARTIAL_SUMS = "partial sums"
MEMORIES = ("dram", "sram_input", "sram_weight", "sram_output")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moved:
    """What one execution of a site moves.

    Attributes
    ----------
    gemm, grid, stored
        The product, its tiles on the array, and how partial sums are stored.
    accesses : Accesses
        Of one group.
    live_tiles : int
        Partial sums of an output that live at once.
    live_bytes : float
        Of all outputs that live at once.
    spills : bool
        Whether that is more than the output SRAM.
    operand_bytes, psum_bytes : mapping
        By memory and direction (`dram_read`, ...): operands and finished outputs, and partial sums.
    dram_cycles : int
        Cycles in which DRAM is busy.
    """

    gemm: Gemm
    grid: Grid
    stored: Stored
    accesses: Accesses
    live_tiles: int
    live_bytes: float
    spills: bool
    operand_bytes: Mapping[str, float]
    psum_bytes: Mapping[str, float]
    dram_cycles: int

    @property
    def pieces(self) -> int:
        """In how many pieces what streams is walked; 1 if it is not cut."""
        tiles = {"m": self.grid.row_tiles, "k": self.grid.psum_tiles, "n": self.grid.column_tiles}
        return -(-tiles[self.accesses.order[-1]] // self.accesses.piece)

    @property
    def traffic_bytes(self) -> dict[str, float]:
        """Everything."""
        return {name: count + self.psum_bytes[name] for name, count in self.operand_bytes.items()}


def moved_by(machine: "Apsq", gemm: Gemm, stored: Stored) -> Moved:
    """What a product moves on a machine, under the loops with the fewest DRAM bytes, and of those fewest SRAM bytes."""
    grid = machine.grid(gemm)
    choices = candidates(grid, machine.dataflow, machine.capacity(gemm), cut=machine.variant == "tiled")
    return min((_moved(machine, gemm, stored, grid, each) for each in choices), key=_cheapness)


def _cheapness(moved: Moved) -> tuple[float, float]:
    """Bytes of DRAM, and of all memories."""
    traffic = moved.traffic_bytes
    return traffic["dram_read"] + traffic["dram_write"], sum(traffic.values())


def _moved(machine: "Apsq", gemm: Gemm, stored: Stored, grid: Grid, accesses: Accesses) -> Moved:
    live_tiles = stored.live_tiles(grid.psum_tiles)
    live_bytes = stored.bits * live_tiles * accesses.live_outputs / BITS_PER_BYTE
    spills = live_bytes > machine.buffers.output_bytes
    operands = _operand_bytes(machine, gemm, accesses)
    psums = _psum_bytes(machine, gemm, accesses, stored, spills=spills)
    moved = sum(each[f"dram_{name}"] for each in (operands, psums) for name in ("read", "write"))
    return Moved(
        gemm=gemm,
        grid=grid,
        stored=stored,
        accesses=accesses,
        live_tiles=live_tiles,
        live_bytes=float(live_bytes),
        spills=spills,
        operand_bytes=operands,
        psum_bytes=psums,
        dram_cycles=math.ceil(moved / machine.dram_bytes_per_cycle),
    )


def _bytes(elements: int, bits: int | Fraction, share: Fraction = Fraction(1)) -> int:
    return math.ceil(elements * share * bits / BITS_PER_BYTE)


def _dram_operands(gemm: Gemm, accesses: Accesses) -> int:
    """DRAM bytes of x and w: distinct elements only, as im2col happens on chip."""
    x = _bytes(gemm.groups * accesses.x_dram, gemm.x_bits, gemm.x_share)
    return x + _bytes(gemm.groups * accesses.w_dram, gemm.w_bits, gemm.w_share)


def _operand_bytes(machine: "Apsq", gemm: Gemm, accesses: Accesses) -> dict[str, float]:
    x_fill = _bytes(gemm.groups * accesses.x_dram, gemm.x_bits)
    w_fill = _bytes(gemm.groups * accesses.w_dram, gemm.w_bits)
    y = _bytes(gemm.groups * gemm.m * gemm.n, gemm.y_bits)
    filled = machine.variant != "published"
    return {
        "dram_read": _dram_operands(gemm, accesses),
        "dram_write": y,
        "sram_input_read": gemm.groups * accesses.x_read * gemm.x_bits / BITS_PER_BYTE,
        "sram_input_write": x_fill * filled,
        "sram_weight_read": gemm.groups * accesses.w_read * gemm.w_bits / BITS_PER_BYTE,
        "sram_weight_write": w_fill * filled,
        "sram_output_read": y * filled,
        "sram_output_write": y,
    }


def _psum_bytes(machine: "Apsq", gemm: Gemm, accesses: Accesses, stored: Stored, *, spills: bool) -> dict[str, float]:
    read = _bytes(gemm.groups * accesses.psum_read, stored.bits)
    write = _bytes(gemm.groups * accesses.psum_write, stored.bits)
    through = not spills or machine.spill_through_sram
    filled = spills and through and machine.variant != "published"
    return {
        **{f"{memory}_{name}": 0 for memory in MEMORIES for name in ("read", "write")},
        "dram_read": read * spills,
        "dram_write": write * spills,
        "sram_output_read": read * through + write * filled,
        "sram_output_write": write * through + read * filled,
    }


def cost_of(machine: "Apsq", moved: Moved) -> Cost:
    """The cost of what is moved and computed."""
    gemm, grid, prices = moved.gemm, moved.grid, machine.technology
    compute = gemm.groups * grid.steps + machine.fill_cycles
    cycles = max(compute + _exposed(machine, moved), moved.dram_cycles)
    memory = memory_prices(machine, machine.ports)
    psums = (event for event in memory_events(moved.psum_bytes, memory) if event.count)
    return Cost(
        cycles=cycles,
        compute_cycles=compute,
        macs_dense=gemm.macs,
        macs_executed=gemm.macs,
        macs_skipped=0,
        traffic_bytes=moved.traffic_bytes,
        unique_bytes=gemm.unique_bytes,
        events=(
            _event("mac", MULTIPLIER, gemm.macs, prices),
            *_accumulation_events(moved, prices),
            requantize_event(gemm.groups * gemm.m * gemm.n, prices),
            *memory_events(moved.operand_bytes, memory),
            *(dataclasses.replace(event, name=f"{event.name} {PARTIAL_SUMS}") for event in psums),
            *leakage_events(cycles, _leaking(machine), machine.clock_mhz),
        ),
    )


def partial_sum_pj(cost: Cost) -> float:
    """Energy of moving partial sums between the array, the output SRAM and DRAM, in pJ."""
    return sum(event.energy_pj for event in cost.events if event.name.endswith(PARTIAL_SUMS))


def _exposed(machine: "Apsq", moved: Moved) -> int:
    """Cycles of DRAM before the first step and after the last."""
    gemm, grid = moved.gemm, moved.grid
    rows, depth, columns = min(grid.po, grid.m), min(grid.pci, grid.k), min(grid.pco, grid.n)
    first = _bytes(rows * depth, gemm.x_bits, gemm.x_share) + _bytes(depth * columns, gemm.w_bits, gemm.w_share)
    last = _bytes(rows * columns, gemm.y_bits)
    return sum(math.ceil(each / machine.dram_bytes_per_cycle) for each in (first, last))


def _accumulation_events(moved: Moved, prices: Technology) -> list[Event]:
    """What stored partial sums are added and quantized with; nothing where they rest in the array."""
    gemm, grid, stored = moved.gemm, moved.grid, moved.stored
    loaded = gemm.groups * moved.accesses.psum_read
    if not stored.quantized:
        return [_event("accumulate", ADDER, loaded, prices)] if loaded else []
    if not moved.accesses.live_outputs:
        return []
    quantized = gemm.groups * gemm.m * gemm.n * grid.psum_tiles
    compared = quantized * stored.exponent_is_dynamic
    return [
        _event("rae", SHIFTER, quantized + loaded, prices),
        _event("rae", ADDER, quantized + loaded + compared, prices),
    ]


def _event(component: str, name: str, count: int, prices: Technology) -> Event:
    price = prices.price(name)
    return Event(
        component=component, name=name, count=count, unit=price.unit, price_pj=price.energy(), source=price.source
    )


def area_of(machine: "Apsq") -> Area:
    """Multipliers, RAE, requantizers, SRAMs."""
    prices = machine.technology
    multiplier, adder, shifter = (prices.price(part) for part in (MULTIPLIER, ADDER, SHIFTER))
    requantizers = requantizer_area(machine.lanes, prices)
    srams = memory_prices(machine, machine.ports).srams
    return Area(
        components_um2={
            "mac_array": machine.po * machine.pci * machine.pco * multiplier.area(),
            "rae": machine.lanes * (RAE_ADDERS * adder.area() + RAE_SHIFTERS * shifter.area()),
            **requantizers.components_um2,
            **{component: macros.area_um2 for component, macros in srams.items()},
        },
        sources={
            "mac_array": multiplier.source,
            "rae": f"{ADDER}: {adder.source}; {SHIFTER}: {shifter.source}",
            **requantizers.sources,
            **{component: macros.source for component, macros in srams.items()},
        },
    )


def _leaking(machine: "Apsq") -> list[Leaking]:
    prices = machine.technology
    multiplier, logic, shifter = prices.price(MULTIPLIER), prices.price("logic_leakage"), prices.price(SHIFTER)
    adders_uw = RAE_ADDERS * prices.price(ADDER).area() * logic.leakage()
    return [
        ("mac_array", machine.po * machine.pci * machine.pco * multiplier.leakage(), multiplier.source),
        (
            "rae",
            machine.lanes * (adders_uw + RAE_SHIFTERS * shifter.leakage()),
            f"{SHIFTER}: {shifter.source}; {ADDER} leaks by area, logic_leakage: {logic.source}",
        ),
        requantizer_leakage(machine.lanes, prices),
        *memory_prices(machine, machine.ports).leaking,
    ]
