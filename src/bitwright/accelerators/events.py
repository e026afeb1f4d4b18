"""The priced events that all machines have: memory accesses, leakage, and the requantization of finished outputs.

Our choice: elements are packed into full SRAM words, whatever their width; leakage is charged for every cycle; a
finished output is requantized by one 32-bit multiplication (the scale), one addition (the bias or the rounding offset)
and one shift, in lanes that hold one of each and no registers.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

from bitwright.accelerators.cost import Area, Event
from bitwright.accelerators.srams import SramMacros, sram_macros
from bitwright.accelerators.substrate import Substrate
from bitwright.technology import Technology

BITS_PER_BYTE = 8
CACHED_MACHINES = 64
REQUANTIZER = "ppu"
WITHOUT_LEAKAGE = ("multiply_int32", "add_int32")
WITH_LEAKAGE = "shift_int32"

Leaking = tuple[str, float, str]
"""What leaks: its name, its leakage in uW, and the source."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryPrices:
    """What a machine pays for its memories.

    Attributes
    ----------
    srams : mapping
        By component: sram_input, sram_weight, sram_output.
    dram_pj_per_bit : float
        Reading or writing a bit of DRAM.
    dram_source : str
        Where that comes from.
    clock_mhz : float
        Turns leakage into energy per cycle.
    """

    srams: Mapping[str, SramMacros]
    dram_pj_per_bit: float
    dram_source: str
    clock_mhz: float

    @property
    def leaking(self) -> list[Leaking]:
        """The SRAMs' leakage, for `leakage_events`."""
        return [(component, macros.leakage_uw, macros.source) for component, macros in self.srams.items()]


def memory_prices(substrate: Substrate, ports: Mapping[str, int]) -> MemoryPrices:
    """The prices of a machine's memories; cached.

    Parameters
    ----------
    substrate : Substrate
        The machine: its node and the capacities of its SRAMs.
    ports : mapping
        Bits of one access by SRAM: some or all of `sram_input`, `sram_weight`, `sram_output`.

    Raises
    ------
    InputError, MissingPriceError
        If the node, the price of DRAM or an SRAM macro is unknown.

    Examples
    --------
    >>> memory_prices(Substrate(), {"sram_input": 256}).srams["sram_input"].port_bits
    256
    """
    return _memory_prices(substrate, tuple(ports.items()))


@functools.lru_cache(maxsize=CACHED_MACHINES)
def _memory_prices(substrate: Substrate, ports: tuple[tuple[str, int], ...]) -> MemoryPrices:
    prices, buffers = substrate.technology, substrate.buffers
    capacity_bytes = {
        "sram_input": buffers.input_bytes,
        "sram_weight": buffers.weight_bytes,
        "sram_output": buffers.output_bytes,
    }
    dram = prices.price("dram")
    return MemoryPrices(
        srams={
            component: sram_macros(technology=prices, capacity_bytes=capacity_bytes[component], port_bits=port_bits)
            for component, port_bits in ports
        },
        dram_pj_per_bit=dram.energy(),
        dram_source=dram.source,
        clock_mhz=substrate.clock_mhz,
    )


def memory_events(traffic_bytes: Mapping[str, float], prices: MemoryPrices) -> list[Event]:
    """Accesses of every SRAM and bits of DRAM, from the bytes moved (`sram_input_read`, ..., `dram_write`)."""
    events = []
    for component, macros in prices.srams.items():
        for name, price_pj in (("read", macros.read_pj), ("write", macros.write_pj)):
            events.append(
                Event(
                    component=component,
                    name=name,
                    count=traffic_bytes[f"{component}_{name}"] * BITS_PER_BYTE / macros.port_bits,
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


def leakage_events(cycles: int, leaking: Sequence[Leaking], clock_mhz: float) -> list[Event]:
    """Leakage of every part for so many cycles; 1 uW at 1 MHz is 1 pJ per cycle."""
    return [
        Event(
            component="leakage",
            name=name,
            count=cycles,
            unit="cycle",
            price_pj=leakage_uw / clock_mhz,
            source=source,
        )
        for name, leakage_uw, source in leaking
    ]


def leakage_pj_per_cycle(leaking: Sequence[Leaking], clock_mhz: float) -> float:
    """What every cycle costs."""
    return sum(leakage_uw for _, leakage_uw, _ in leaking) / clock_mhz


def requantize_event(outputs: int, technology: Technology) -> Event:
    """Requantization of so many finished outputs: a 32-bit multiplication, an addition and a shift each."""
    prices = [technology.price(part) for part in (*WITHOUT_LEAKAGE, WITH_LEAKAGE)]
    return Event(
        component=REQUANTIZER,
        name="requantize",
        count=outputs,
        unit="operation",
        price_pj=sum(price.energy() for price in prices),
        source=_sources(technology),
    )


def requantizer_area(lanes: int, technology: Technology) -> Area:
    """Area of so many requantizers, one output per cycle each."""
    area = sum(technology.price(part).area() for part in (*WITHOUT_LEAKAGE, WITH_LEAKAGE))
    return Area(components_um2={REQUANTIZER: lanes * area}, sources={REQUANTIZER: _sources(technology)})


def requantizer_leakage(lanes: int, technology: Technology) -> Leaking:
    """Leakage of so many requantizers; the multiplier's and adder's is their area at the leakage of logic."""
    logic = technology.price("logic_leakage")
    area = sum(technology.price(part).area() for part in WITHOUT_LEAKAGE)
    leakage_uw = lanes * (area * logic.leakage() + technology.price(WITH_LEAKAGE).leakage())
    estimated = " and ".join(WITHOUT_LEAKAGE)
    return REQUANTIZER, leakage_uw, f"{_sources(technology)}; {estimated} leak by area, logic_leakage: {logic.source}"


def _sources(technology: Technology) -> str:
    """Sources of all parts, those that share one together."""
    by_source: dict[str, list[str]] = {}
    for part in (*WITHOUT_LEAKAGE, WITH_LEAKAGE):
        by_source.setdefault(technology.price(part).source, []).append(part)
    return "; ".join(f"{', '.join(parts)}: {source}" for source, parts in by_source.items())
