"""Bytes, events and area of bit-slice machines.

Ours: a slice product is priced as a 4-bit multiply-accumulate with its register, signed or not. Sums of equal
significance are merged once per output and tile of k by a shift and an addition per kind of slice product. The
compensator (sourced: it reuses loaded weight slices) adds each weight vector that meets a kept activation vector, 4
additions of 16 bits, and multiplies its 4 sums by r once per activation vector and tile of k. Reading or writing a
run-length entry is an 8-bit addition (the run counter) and registers for its bits; cutting and comparing four finished
outputs is four 8-bit additions. Slices are stored in SRAM as in DRAM and read once per block.
"""

from typing import TYPE_CHECKING

from bitwright.accelerators.cost import Area, Cost, Event
from bitwright.accelerators.systolic.costs import movement_pj, sram_bytes
from bitwright.accelerators.systolic.dataflow import output_stationary_elements
from bitwright.accelerators.events import (
    Leaking,
    leakage_events,
    memory_events,
    memory_prices,
    requantize_event,
    requantizer_area,
    requantizer_leakage,
)
from bitwright.accelerators.bit_slice.products import dense_products
from bitwright.accelerators.bit_slice.slicing import SLICE_BITS
from bitwright.memory import FloatArray, Gemm, Tilings, traffic
from bitwright.methods.vectors import VECTOR
from bitwright.technology import Technology

if TYPE_CHECKING:
    from bitwright.accelerators.bit_slice.machine import Measured, SliceArray

BITS_PER_BYTE = 8
MULTIPLIER = "mac_int4"


def dense_energy_pj(machine: "SliceArray", products: int, gemm: Gemm, tilings: Tilings) -> FloatArray:
    """Energy but for leakage of raw operands of so many slice products per multiplication, in pJ [candidates]."""
    moved = traffic(gemm=gemm, tilings=tilings, dram_bytes_per_cycle=machine.dram_bytes_per_cycle)
    elements = output_stationary_elements(
        gemm=gemm, tilings=tilings, rows=machine.block_rows, cols=machine.block_columns
    )
    sram = sram_bytes(gemm=gemm, elements=elements, moved=moved)
    multiplied = gemm.macs * products * machine.technology.price(MULTIPLIER).energy()
    requantized = requantize_event(gemm.groups * gemm.m * gemm.n, machine.technology).energy_pj
    moving = movement_pj(sram=sram, moved=moved, prices=memory_prices(machine, machine.ports))
    return multiplied + requantized + moving


def cost_of(machine: "SliceArray", found: "Measured") -> Cost:
    """The cost of one measured execution."""
    gemm, products = found.gemm, found.products
    dense = dense_products(found.blocks, found.slicing)
    executed = round(gemm.macs * products.executed / dense)
    moved = _traffic_bytes(machine, found)
    prices = machine.technology
    return Cost(
        cycles=found.timeline.cycles,
        compute_cycles=found.timeline.compute_cycles,
        macs_dense=gemm.macs,
        macs_executed=executed,
        macs_skipped=gemm.macs - executed,
        traffic_bytes=moved,
        unique_bytes=_unique_bytes(found),
        events=(
            *_array_events(found, prices),
            *_run_length_events(machine, found, prices),
            requantize_event(gemm.groups * gemm.m * gemm.n, prices),
            *memory_events(moved, memory_prices(machine, machine.ports)),
            *leakage_events(found.timeline.cycles, leaking(machine), machine.clock_mhz),
        ),
    )


def _traffic_bytes(machine: "SliceArray", found: "Measured") -> dict[str, float]:
    """Bytes by memory and direction; operands at their stored sizes, sums and outputs raw."""
    gemm, time = found.gemm, found.timeline
    column_blocks, row_blocks = -(-gemm.n // machine.block_columns), -(-gemm.m // machine.block_rows)
    k_tiles = len(found.blocks.k_sizes)
    sums = gemm.groups * gemm.m * gemm.n * gemm.psum_bits / BITS_PER_BYTE
    return {
        "dram_read": time.dram_read_bytes,
        "dram_write": time.dram_write_bytes,
        "sram_input_read": column_blocks * int(found.x.bits.sum()) / BITS_PER_BYTE,
        "sram_input_write": float((found.x.bits * time.x_visits).sum()) / BITS_PER_BYTE,
        "sram_weight_read": row_blocks * int(found.w.bits.sum()) / BITS_PER_BYTE,
        "sram_weight_write": float((found.w.bits.transpose(0, 2, 1) * time.w_visits).sum()) / BITS_PER_BYTE,
        "sram_output_read": sums * k_tiles + time.psum_write_bytes,
        "sram_output_write": sums * k_tiles + time.psum_read_bytes,
    }


def _unique_bytes(found: "Measured") -> int:
    """Distinct bytes of the operands as stored, and of the output."""
    gemm = found.gemm
    x = int(found.x.bits.sum()) * gemm.x_share
    w = int(found.w.bits.sum()) * gemm.w_share
    return (
        int(x / BITS_PER_BYTE)
        + int(w / BITS_PER_BYTE)
        + -(-gemm.groups * gemm.m * gemm.n * gemm.y_bits // BITS_PER_BYTE)
    )


def _array_events(found: "Measured", prices: Technology) -> list[Event]:
    """Multiplications, the merging of their sums, and the compensation."""
    gemm, products = found.gemm, found.products
    k_tiles = len(found.blocks.k_sizes)
    merged = gemm.groups * gemm.m * gemm.n * found.slicing.products * k_tiles
    events = [
        _event("mac", MULTIPLIER, VECTOR * VECTOR * products.executed, prices),
        _event("accumulate", "shift_int32", merged, prices),
        _event("accumulate", "add_int32", merged, prices),
    ]
    if found.compensates:
        x_vectors, w_vectors = int(found.blocks.x_vectors.sum()), found.blocks.both.shape[3]
        by_r = VECTOR * gemm.groups * x_vectors * w_vectors * k_tiles
        events += [
            _event("compensation", "add_int16", VECTOR * products.with_high_x, prices),
            _event("compensation", "multiply_int16", by_r, prices),
        ]
    return events


def _run_length_events(machine: "SliceArray", found: "Measured", prices: Technology) -> list[Event]:
    gemm = found.gemm
    column_blocks, row_blocks = -(-gemm.n // machine.block_columns), -(-gemm.m // machine.block_rows)
    decoded = column_blocks * int(found.x.entries.sum()) + row_blocks * int(found.w.entries.sum())
    encoded = gemm.groups * -(-gemm.m // VECTOR) * gemm.n
    add, register = prices.price("add_int8"), prices.price("register_bit")
    entry_bits = machine.run_bits + VECTOR * SLICE_BITS
    entry_pj = add.energy() + entry_bits * register.energy()
    source = f"add_int8: {add.source}; {entry_bits} register_bit: {register.source}"
    return [
        Event(component="run_length", name="decode", count=decoded, unit="entry", price_pj=entry_pj, source=source),
        Event(
            component="run_length",
            name="encode",
            count=encoded,
            unit="vector",
            price_pj=entry_pj + VECTOR * add.energy(),
            source=f"{source}; comparison of {VECTOR} outputs: add_int8",
        ),
    ]


def _event(component: str, name: str, count: int, prices: Technology) -> Event:
    price = prices.price(name)
    return Event(
        component=component, name=name, count=count, unit=price.unit, price_pj=price.energy(), source=price.source
    )


def area_of(machine: "SliceArray") -> Area:
    """Multipliers, accumulators of a block, compensators and run-length logic, requantizers, SRAMs."""
    prices = machine.technology
    requantizers = requantizer_area(machine.ppu_lanes, prices)
    srams = memory_prices(machine, machine.ports).srams
    own = _logic_area(machine, prices)
    multiplier = prices.price(MULTIPLIER)
    return Area(
        components_um2={
            "mac_array": machine.multipliers_4b * multiplier.area(),
            **{name: area for name, (area, _) in own.items()},
            **requantizers.components_um2,
            **{component: macros.area_um2 for component, macros in srams.items()},
        },
        sources={
            "mac_array": multiplier.source,
            **{name: source for name, (_, source) in own.items()},
            **requantizers.sources,
            **{component: macros.source for component, macros in srams.items()},
        },
    )


def _logic_area(machine: "SliceArray", prices: Technology) -> dict[str, tuple[float, str]]:
    """Area in um2 and its source of what is neither multiplier nor memory."""
    register, add8 = prices.price("register_bit"), prices.price("add_int8")
    add16, multiply = prices.price("add_int16"), prices.price("multiply_int16")
    entry = (machine.run_bits + VECTOR * SLICE_BITS) * register.area() + add8.area()
    decoders = machine.block_rows // VECTOR + machine.peas
    encoders = -(-machine.ppu_lanes // VECTOR)
    accumulators = machine.block_rows * machine.block_columns * machine.psum_bits
    parts = {
        "accumulators": (accumulators * register.area(), f"register_bit: {register.source}"),
        "run_length": (
            decoders * entry + encoders * (entry + VECTOR * add8.area()),
            f"register_bit: {register.source}; add_int8: {add8.source}",
        ),
    }
    compensators = machine.compensators_per_pe
    if compensators:
        unit = VECTOR * (add16.area() + 16 * register.area())
        parts["compensators"] = (
            machine.peas * (compensators * unit + VECTOR * multiply.area()),
            f"add_int16: {add16.source}; register_bit: {register.source}; multiply_int16: {multiply.source}",
        )
    return parts


def leaking(machine: "SliceArray") -> list[Leaking]:
    """All parts that leak."""
    prices = machine.technology
    multiplier, logic, register = prices.price(MULTIPLIER), prices.price("logic_leakage"), prices.price("register_bit")
    own = _logic_area(machine, prices)
    accumulators = machine.block_rows * machine.block_columns * machine.psum_bits * register.leakage()
    rest = sum(area for name, (area, _) in own.items() if name != "accumulators") * logic.leakage()
    return [
        ("mac_array", machine.multipliers_4b * multiplier.leakage(), multiplier.source),
        ("accumulators", accumulators, register.source),
        ("compensators, run_length", rest, f"logic_leakage x area: {logic.source}"),
        requantizer_leakage(machine.ppu_lanes, prices),
        *memory_prices(machine, machine.ports).leaking,
    ]
