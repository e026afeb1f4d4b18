"""What was counted, as priced events: uses of circuits, words of SRAMs, bits of DRAM, cycles of leakage."""

from collections.abc import Iterable
from collections.abc import Mapping as Dictionary

from bitwright.accelerators.bill import Use
from bitwright.accelerators.books import Books
from bitwright.accelerators.cost import Cost, Event

BITS_PER_BYTE = 8
PARTIAL_SUMS = "partial sums"


def use_events(uses: Iterable[tuple[Use, float]]) -> list[Event]:
    """Uses as events, those of one kind together."""
    counts: dict[Use, float] = {}
    for what, count in uses:
        counts[what] = counts.get(what, 0) + count
    return [
        Event(
            component=what.component,
            name=what.name,
            count=count,
            unit=what.unit,
            price_pj=what.price_pj,
            source=what.source,
        )
        for what, count in counts.items()
        if count
    ]


def sram_events(books: Books, sram: Dictionary[str, float], psums: Dictionary[str, float]) -> list[Event]:
    """Words of all SRAMs; those of partial sums apart."""
    events = []
    for component, each in books.srams.items():
        for direction, price_pj in (("read", each.read_pj), ("write", each.write_pj)):
            partial = psums.get(f"{component}_{direction}", 0.0)
            for name, moved in (
                (direction, sram[f"{component}_{direction}"] - partial),
                (f"{direction} {PARTIAL_SUMS}", partial),
            ):
                if moved or name == direction:
                    count = moved * BITS_PER_BYTE / each.word_bits
                    events.append(
                        Event(
                            component=component,
                            name=name,
                            count=count,
                            unit="word",
                            price_pj=price_pj,
                            source=each.source,
                        )
                    )
    return events


def dram_events(books: Books, dram: Dictionary[str, int]) -> list[Event]:
    """Bits of DRAM; those of partial sums apart."""
    counts = {
        "read": dram["read"] - dram["psum_read"],
        "write": dram["write"] - dram["psum_write"],
        f"read {PARTIAL_SUMS}": dram["psum_read"],
        f"write {PARTIAL_SUMS}": dram["psum_write"],
    }
    return [
        Event(
            component="dram",
            name=name,
            count=count * BITS_PER_BYTE,
            unit="bit",
            price_pj=books.dram_pj_per_bit,
            source=books.dram_source,
        )
        for name, count in counts.items()
        if count or name in ("read", "write")
    ]


def leakage_events(books: Books, cycles: int, clock_mhz: float) -> list[Event]:
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
        for name, leakage_uw, source in books.leaking
    ]


def partial_sum_pj(cost: Cost) -> float:
    """Energy of moving partial sums between the array, the output SRAM and DRAM, in pJ."""
    return sum(event.energy_pj for event in cost.events if event.name.endswith(PARTIAL_SUMS))
