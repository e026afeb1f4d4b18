"""What bounds a network, as a table, a roofline of characters, and a record."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, TypedDict

from bitwright.accelerators.cost import Cost
from bitwright.reports.tables import Column, percents, print_fitting, ranked, say, table, text
from bitwright.studies.bounds import VECTOR, Bounds
from bitwright.studies.provenance import Provenance
from bitwright.units import number

if TYPE_CHECKING:
    from rich.console import Console

WIDTH, HEIGHT = 64, 12
MEANINGS = {
    "array": "array (multipliers, words at its edges)",
    "banks": "SRAM banks",
    "dram": "DRAM",
    VECTOR: "vector unit (what is no product)",
}


class BoundSite(TypedDict):
    """A site in the roofline."""

    name: Annotated[str, "the site's"]
    bound: Annotated[str, "the resource that is busiest: array, banks or dram"]
    cycles: Annotated[int, "of all its runs"]
    macs_per_dram_byte: Annotated[float, "multiply-accumulates by bytes of DRAM"]
    macs_per_cycle: Annotated[float, "multiply-accumulates per cycle that it reaches"]


class BoundsRecord(TypedDict):
    """What bounds a network on a machine."""

    network: Annotated[str, "its name"]
    method: Annotated[str, "of quantization"]
    accelerator: Annotated[str, "the machine's name"]
    cycles: Annotated[int, "of one inference"]
    cycles_by_bound: Annotated[Mapping[str, int], "resource -> cycles of what it bounds"]
    busy_cycles: Annotated[Mapping[str, int], "resource -> cycles in which it is busy"]
    peak_macs_per_cycle: Annotated[float, "multiply-accumulates per cycle of the machine, at 8 bits: the roof"]
    dram_bytes_per_cycle: Annotated[float, "what the slope is"]
    ridge_macs_per_dram_byte: Annotated[float, "from which on multipliers are the limit"]
    sites: Annotated[list[BoundSite], "in the order of execution"]
    provenance: Annotated[Provenance, "command, seed, versions"]


def print_bounds(found: Bounds, console: "Console") -> None:
    """Cycles by what bounds them, then the roofline, then the sites that take longest."""
    simulation = found.simulation
    say(console, f"{simulation.network} by {simulation.method} on {simulation.accelerator}; input: {simulation.input}.")
    names = [name for name in MEANINGS if name in found.cycles]
    sites = [sum(point.bound == name for point in found.points) for name in names]
    whole = simulation.cost.cycles
    console.print(
        table(
            [
                text("bound by", [MEANINGS[name] for name in names]),
                Column(header="sites", cells=[str(count) if count else "-" for count in sites]),
                Column(header="cycles", cells=[f"{found.cycles[name]:,}" for name in names]),
                percents("share", [found.cycles[name] / whole for name in names]),
            ]
        )
    )
    say(console, *roofline(found))
    executed = {entry.site.name: _executed(entry.cost) for entry in simulation.sites}
    skips = simulation.cost.macs_skipped > 0
    if skips:
        share = 100 * _executed(simulation.cost)
        say(console, f"{number(share, 3)} % of the multiply-accumulates are executed, the others are skipped.")
    longest = sorted(found.points, key=lambda point: -point.cycles)[:10]
    print_fitting(
        [text("longest sites", [point.site.name for point in longest])],
        [
            text("bound by", [point.bound for point in longest]),
            percents("of cycles", [point.cycles / whole for point in longest]),
            percents("of peak", [point.rate / found.peak for point in longest]),
            *([percents("executed", [executed[point.site.name] for point in longest])] if skips else []),
            *ranked(1, Column(header="MACs [per cycle]", cells=[number(point.rate) for point in longest])),
            *ranked(2, Column(header="MACs [per DRAM byte]", cells=[number(point.intensity) for point in longest])),
        ],
        console,
    )
    say(console, *(f"Note: {note}" for note in simulation.notes))
    say(console, "bitwright explain ... --site NAME says where one site's cycles and energy come from.")


def _executed(cost: Cost) -> float:
    return cost.macs_executed / max(1, cost.macs_dense)


def roofline(found: Bounds, width: int = WIDTH, height: int = HEIGHT) -> list[str]:
    """Lines of a picture: rate over intensity, both in logarithms; a digit is as many sites, + more than nine."""
    if not found.points:
        return []
    lefts = [point.intensity for point in found.points] + [found.ridge]
    low, high = math.log2(min(lefts) / 2), math.log2(max(lefts) * 2)
    top = math.log2(found.peak)
    bottom = min(math.log2(point.rate) for point in found.points) - 1
    grid = [[" "] * width for _ in range(height)]

    def place(intensity: float, rate: float) -> tuple[int, int]:
        x = round((math.log2(intensity) - low) / (high - low) * (width - 1))
        y = round((top - math.log2(rate)) / max(1e-9, top - bottom) * (height - 1))
        return min(max(y, 0), height - 1), min(max(x, 0), width - 1)

    for column in range(width):
        intensity = 2 ** (low + (high - low) * column / (width - 1))
        rate = min(found.peak, intensity * found.dram_bytes_per_cycle)
        if math.log2(rate) >= bottom:
            y, x = place(intensity, rate)
            grid[y][x] = "·"
    counts: dict[tuple[int, int], int] = {}
    for point in found.points:
        where = place(point.intensity, point.rate)
        counts[where] = counts.get(where, 0) + 1
    for (y, x), count in counts.items():
        grid[y][x] = str(count) if count <= 9 else "+"
    lines = ["".join(row).rstrip() for row in grid]
    axis = f"{number(2**low)} .. {number(2**high)} MACs per byte of DRAM; ridge {number(found.ridge)}"
    return [f"MACs per cycle, up to {number(found.peak)} (sites in each place, roof dotted):", *lines, axis]


def bounds_record(found: Bounds, provenance: Provenance) -> BoundsRecord:
    """The same for programs."""
    simulation = found.simulation
    return {
        "network": simulation.network,
        "method": simulation.method,
        "accelerator": simulation.accelerator,
        "cycles": simulation.cost.cycles,
        "cycles_by_bound": dict(found.cycles),
        "busy_cycles": dict(simulation.cost.busy_cycles),
        "peak_macs_per_cycle": found.peak,
        "dram_bytes_per_cycle": found.dram_bytes_per_cycle,
        "ridge_macs_per_dram_byte": found.ridge,
        "sites": [
            {
                "name": point.site.name,
                "bound": point.bound,
                "cycles": point.cycles,
                "macs_per_dram_byte": point.intensity,
                "macs_per_cycle": point.rate,
            }
            for point in found.points
        ],
        "provenance": provenance,
    }
