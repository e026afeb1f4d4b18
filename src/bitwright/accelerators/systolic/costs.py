"""Bytes, accesses and picojoules of a mapped product on a systolic array.

Our choice: elements are packed into full SRAM words, whatever their width, and an integer multiplier costs the same for
narrower operands; outputs leave the output SRAM as partial sums and are requantized on their way to DRAM. Leakage is
charged for every cycle.
"""

import dataclasses
from collections.abc import Mapping as Dictionary

import numpy as np

from bitwright.accelerators.cost import Cost, Event
from bitwright.accelerators.systolic.dataflow import SramElements
from bitwright.accelerators.systolic.srams import SramMacros
from bitwright.memory import FloatArray, Gemm, Mapping, Traffic
from bitwright.technology import Price

BITS_PER_BYTE = 8
SRAMS = ("sram_input", "sram_weight", "sram_output")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prices:
    """Everything a systolic array pays for.

    Attributes
    ----------
    mac : Price
        Of one multiply-accumulate, registers of the processing element included.
    macs : int
        Processing elements.
    srams : mapping
        By component: sram_input, sram_weight, sram_output.
    dram_pj_per_bit : float
        Reading or writing a bit of DRAM.
    dram_source : str
        Where that comes from.
    clock_mhz : float
        Turns leakage into energy per cycle.
    """

    mac: Price
    macs: int
    srams: Dictionary[str, SramMacros]
    dram_pj_per_bit: float
    dram_source: str
    clock_mhz: float


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


def movement_pj(*, sram: Dictionary[str, FloatArray], moved: Traffic, prices: Prices) -> FloatArray:
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
        events=(executed, *_memory_events(traffic_bytes, prices), *_leakage_events(mapping.cycles, prices)),
    )


def _memory_events(traffic_bytes: Dictionary[str, float], prices: Prices) -> list[Event]:
    events = []
    for component, macros in prices.srams.items():
        for name, price_pj in (("read", macros.read_pj), ("write", macros.write_pj)):
            accesses = traffic_bytes[f"{component}_{name}"] * BITS_PER_BYTE / macros.port_bits
            events.append(
                Event(
                    component=component,
                    name=name,
                    count=accesses,
                    unit="access",
                    price_pj=price_pj,
                    source=macros.source,
                )
            )
    events += [
        Event(
            component="dram",
            name=name,
            count=traffic_bytes[f"dram_{name}"] * BITS_PER_BYTE,
            unit="bit",
            price_pj=prices.dram_pj_per_bit,
            source=prices.dram_source,
        )
        for name in ("read", "write")
    ]
    return events


def _leakage_events(cycles: int, prices: Prices) -> list[Event]:
    """1 uW at 1 MHz is 1 pJ per cycle."""
    leaking = [("mac_array", prices.macs * prices.mac.leakage(), prices.mac.source)]
    leaking += [(component, macros.leakage_uw, macros.source) for component, macros in prices.srams.items()]
    return [
        Event(
            component="leakage",
            name=name,
            count=cycles,
            unit="cycle",
            price_pj=leakage_uw / prices.clock_mhz,
            source=source,
        )
        for name, leakage_uw, source in leaking
    ]
