"""Bytes, events and area of a packed array.

Ours: a PE burns the same in every mode, because all of its lanes work; decoders stand at the two edges, one per row and
column of PEs, and work once per word that enters; an encoder stands beside each requantizer and works once per finished
output. Requantizers are one per column of 8-bit units.
"""

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bitwright.accelerators.cost import Area, Cost, Event
from bitwright.accelerators.systolic.costs import movement_pj, sram_bytes
from bitwright.accelerators.events import (
    Leaking,
    MemoryPrices,
    leakage_events,
    memory_events,
    requantize_event,
    requantizer_area,
    requantizer_leakage,
)
from bitwright.accelerators.precision_scalable.circuits import Priced
from bitwright.accelerators.precision_scalable.modes import Mode
from bitwright.memory import FloatArray, Gemm, Mapping, Tilings, traffic
from bitwright.technology import Technology

if TYPE_CHECKING:
    from bitwright.accelerators.precision_scalable.machine import PackedArray

ARRAY, DECODERS, ENCODERS = "pe_array", "decoders", "encoders"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prices:
    """Everything a packed array pays for.

    Attributes
    ----------
    pe : Priced
        One processing element.
    decoder, encoder : Priced or None
        One of each, where the machine has such.
    memory : MemoryPrices
        SRAMs and DRAM.
    technology : Technology
        Prices of everything else.
    """

    pe: Priced
    decoder: Priced | None
    encoder: Priced | None
    memory: MemoryPrices
    technology: Technology


def energy_pj(machine: "PackedArray", mode: Mode, gemm: Gemm, tilings: Tilings) -> FloatArray:
    """Energy but for leakage, in pJ [candidates]."""
    prices = machine.prices
    moved = traffic(gemm=gemm, tilings=tilings, dram_bytes_per_cycle=machine.dram_bytes_per_cycle)
    sram = sram_bytes(gemm=gemm, elements=mode.sram_elements(gemm=gemm, tilings=tilings), moved=moved)
    outputs = gemm.groups * gemm.m * gemm.n
    energy = movement_pj(sram=sram, moved=moved, prices=prices.memory)
    energy = energy + mode.pe_cycles(gemm) * prices.pe.energy_pj
    energy = energy + requantize_event(outputs, prices.technology).energy_pj
    if prices.encoder is not None:
        energy = energy + outputs * prices.encoder.energy_pj
    if prices.decoder is not None:
        x, w = mode.words(gemm=gemm, tilings=tilings, word_bits=machine.word_bits)
        energy = energy + (x + w) * prices.decoder.energy_pj
    return energy


def cost_of(machine: "PackedArray", mode: Mode, gemm: Gemm, mapping: Mapping) -> Cost:
    """The cost of a product under its mapping."""
    prices, tilings = machine.prices, mapping.tilings()
    moved = traffic(gemm=gemm, tilings=tilings, dram_bytes_per_cycle=machine.dram_bytes_per_cycle)
    sram = sram_bytes(gemm=gemm, elements=mode.sram_elements(gemm=gemm, tilings=tilings), moved=moved)
    traffic_bytes: dict[str, float] = {
        "dram_read": mapping.dram_read_bytes,
        "dram_write": mapping.dram_write_bytes,
        **{name: float(each[0]) for name, each in sram.items()},
    }
    return Cost(
        cycles=mapping.cycles,
        compute_cycles=mapping.compute_cycles,
        macs_dense=gemm.macs,
        macs_executed=gemm.macs,
        macs_skipped=0,
        traffic_bytes=traffic_bytes,
        unique_bytes=gemm.unique_bytes,
        events=(
            _event("mac", "pe", mode.pe_cycles(gemm), "cycle", prices.pe),
            *_code_events(machine, mode, gemm, tilings),
            requantize_event(gemm.groups * gemm.m * gemm.n, prices.technology),
            *memory_events(traffic_bytes, prices.memory),
            *leakage_events(mapping.cycles, leaking(machine), prices.memory.clock_mhz),
        ),
    )


def _code_events(machine: "PackedArray", mode: Mode, gemm: Gemm, tilings: Tilings) -> Iterator[Event]:
    """Decoding at the edges, encoding of finished outputs."""
    prices = machine.prices
    if prices.decoder is not None:
        x, w = mode.words(gemm=gemm, tilings=tilings, word_bits=machine.word_bits)
        yield _event("decode", "x", int(x[0]), "word", prices.decoder)
        yield _event("decode", "w", int(w[0]), "word", prices.decoder)
    if prices.encoder is not None:
        yield _event("encode", "y", gemm.groups * gemm.m * gemm.n, "element", prices.encoder)


def _event(component: str, name: str, count: int, unit: str, price: Priced) -> Event:
    return Event(
        component=component,
        name=name,
        count=count,
        unit=unit,
        price_pj=price.energy_pj,
        source=price.energy_source,
    )


def _circuits(machine: "PackedArray") -> dict[str, tuple[int, Priced]]:
    """Number and price of each circuit that has an area of its own, by component."""
    prices = machine.prices
    found = {ARRAY: (machine.rows * machine.cols, prices.pe)}
    if prices.decoder is not None and not machine.decoders_in_array:
        found[DECODERS] = (machine.rows + machine.cols, prices.decoder)
    if prices.encoder is not None:
        found[ENCODERS] = (machine.requantizers, prices.encoder)
    return found


def area_of(machine: "PackedArray") -> Area:
    """PEs, decoders, encoders, requantizers, SRAMs."""
    prices, circuits = machine.prices, _circuits(machine)
    requantizers = requantizer_area(machine.requantizers, prices.technology)
    srams = prices.memory.srams
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


def compute_area_um2(machine: "PackedArray") -> float:
    """Area of the PEs and decoders: what the published areas of these machines seem to be of."""
    components = area_of(machine).components_um2
    return components[ARRAY] + components.get(DECODERS, 0.0)


def leaking(machine: "PackedArray") -> list[Leaking]:
    """All parts that leak."""
    leakage = machine.technology.price("logic_leakage")
    return [
        *(
            (name, count * each.leakage_uw, f"area x logic_leakage: {leakage.source}")
            for name, (count, each) in _circuits(machine).items()
        ),
        requantizer_leakage(machine.requantizers, machine.technology),
        *machine.prices.memory.leaking,
    ]
