"""Bytes, accesses and picojoules of a mapped product on a dense array.

Our choice: an integer multiplier costs the same for narrower operands; outputs leave the output SRAM as partial sums
and are requantized on their way to DRAM, a lane per column of the array. A float array's outputs are scaled and rounded
at the price of the integer requantizer.
"""

import dataclasses
from collections.abc import Mapping as Dictionary

import numpy as np

from bitwright.accelerators.cost import Area, Cost, Event
from bitwright.accelerators.systolic.dataflow import SramElements
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
from bitwright.memory import FloatArray, Gemm, Mapping, Traffic
from bitwright.technology import Price, Technology


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prices:
    """Everything a dense array pays for.

    Attributes
    ----------
    mac : Price
        Of one multiply-accumulate, registers of the processing element included.
    macs : int
        Processing elements.
    requantizers : int
        Lanes that requantize an output per cycle each.
    memory : MemoryPrices
        SRAMs and DRAM.
    technology : Technology
        Prices of everything else.
    """

    mac: Price
    macs: int
    requantizers: int
    memory: MemoryPrices
    technology: Technology

    @property
    def leaking(self) -> list[Leaking]:
        """All parts that leak."""
        return [
            ("mac_array", self.macs * self.mac.leakage(), self.mac.source),
            requantizer_leakage(self.requantizers, self.technology),
            *self.memory.leaking,
        ]


def sram_bytes(*, gemm: Gemm, elements: SramElements, moved: Traffic) -> dict[str, FloatArray]:
    """Bytes by SRAM and direction (`sram_input_read`, ...), all groups [candidates]: for the array, and for DRAM."""
    drained = gemm.groups * gemm.m * gemm.n * gemm.psum_bits / BITS_PER_BYTE
    return {
        "sram_input_read": elements.x_read * (gemm.x_bits / BITS_PER_BYTE),
        "sram_input_write": moved.x_fill.astype(np.float64),
        "sram_weight_read": elements.w_read * (gemm.w_bits / BITS_PER_BYTE),
        "sram_weight_write": moved.w_fill.astype(np.float64),
        "sram_output_read": elements.psum_read * (gemm.psum_bits / BITS_PER_BYTE) + moved.psum_write + drained,
        "sram_output_write": elements.psum_write * (gemm.psum_bits / BITS_PER_BYTE) + moved.psum_read,
    }


def movement_pj(*, sram: Dictionary[str, FloatArray], moved: Traffic, prices: MemoryPrices) -> FloatArray:
    """Energy of moving data between DRAM, SRAMs and array [candidates], in pJ."""
    energy = (moved.dram_read + moved.dram_write) * (BITS_PER_BYTE * prices.dram_pj_per_bit)
    for component, macros in prices.srams.items():
        energy = energy + sram[f"{component}_read"] * (macros.read_pj * BITS_PER_BYTE / macros.port_bits)
        energy = energy + sram[f"{component}_write"] * (macros.write_pj * BITS_PER_BYTE / macros.port_bits)
    return energy


def priced_cost(*, gemm: Gemm, mapping: Mapping, sram: Dictionary[str, FloatArray], prices: Prices) -> Cost:
    """The cost of a product under its mapping; `sram` holds the bytes of this one mapping."""
    traffic_bytes: dict[str, float] = {
        "dram_read": mapping.dram_read_bytes,
        "dram_write": mapping.dram_write_bytes,
        **{name: float(moved[0]) for name, moved in sram.items()},
    }
    executed = Event(
        component="mac",
        name=prices.mac.event,
        count=gemm.macs,
        unit="operation",
        price_pj=prices.mac.energy(),
        source=prices.mac.source,
    )
    return Cost(
        cycles=mapping.cycles,
        compute_cycles=mapping.compute_cycles,
        macs_dense=gemm.macs,
        macs_executed=gemm.macs,
        macs_skipped=0,
        traffic_bytes=traffic_bytes,
        unique_bytes=gemm.unique_bytes,
        events=(
            executed,
            requantize_event(gemm.groups * gemm.m * gemm.n, prices.technology),
            *memory_events(traffic_bytes, prices.memory),
            *leakage_events(mapping.cycles, prices.leaking, prices.memory.clock_mhz),
        ),
    )


def array_area(prices: Prices) -> Area:
    """Area of the multipliers, the requantizers and the SRAMs."""
    requantizers = requantizer_area(prices.requantizers, prices.technology)
    srams = prices.memory.srams
    return Area(
        components_um2={
            "mac_array": prices.macs * prices.mac.area(),
            **requantizers.components_um2,
            **{component: macros.area_um2 for component, macros in srams.items()},
        },
        sources={
            "mac_array": prices.mac.source,
            **requantizers.sources,
            **{component: macros.source for component, macros in srams.items()},
        },
    )
