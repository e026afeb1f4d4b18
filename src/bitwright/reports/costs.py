"""Costs as tables: a network on one or several machines, its sites, and what the machines do not run."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from bitwright.reports.tables import (
    PICO,
    Column,
    area_column,
    energies,
    percents,
    print_fitting,
    quantity,
    ranked,
    say,
    text,
)
from bitwright.studies.machines import COMMON, Footing
from bitwright.studies.simulate import Simulation, Unsupported
from bitwright.units import DASH, number, scaled

if TYPE_CHECKING:
    from rich.console import Console

LISTED = 12  # lines of a list that may be long
LARGEST = 3  # parts of an energy that are named where all of them do not fit
SYSTEM, AREA, BESIDE, GAIN, BRIEF, EFFICIENCY, BUSY, CYCLES, PARTS = range(1, 10)
"""Ranks of columns, the last ones for wide pages."""


def print_simulations(
    simulations: Mapping[str, Simulation], substrate: Footing, console: "Console", *, sites: bool
) -> None:
    """All machines side by side, then what each leaves out, and the sites if asked for."""
    found = list(simulations.values())
    first = found[0]
    say(
        console,
        f"{first.network}, method {first.method}: one inference {_of_batch(first)}{scaled(first.macs, 'MACs')} on "
        f"{first.input}.",
    )
    running = [simulation for simulation in found if simulation.refusal is None]
    if running:
        names = text("accelerator", [simulation.accelerator for simulation in running])
        print_fitting([names], cost_columns(running), console)
    for simulation in found:
        if simulation.refusal is not None:
            say(console, f"{simulation.accelerator}: not supported: {simulation.refusal}.")
        _print_unsupported(simulation, console)
    _print_others(first, console)
    if sites:
        for simulation in running:
            _print_sites(simulation, console)
    say(console, *substrate_lines(substrate))
    _print_parameters(found, console)
    say(console, *(f"Note: {note}" for note in first.notes))


def _of_batch(simulation: Simulation) -> str:
    """Which inference it is, where several samples are in it."""
    return "of " if simulation.batch == 1 else f"of a batch of {simulation.batch:,}: "


def substrate_lines(substrate: Footing) -> list[str]:
    """Which substrate the machines stand on, and a line for each that differs from the common one."""
    first = "the machines' defaults" if substrate.base == COMMON else "each machine's published configuration"
    changed = "" if substrate.name == substrate.base else ", and what its file states"
    return [
        f"Substrate: {substrate.name} ({first}{changed}).",
        *(f"  {name} is {kind} with parameters of its own." for name, kind in substrate.kinds.items()),
        *(
            f"  {name}: {', '.join(f'{key}={each.value} (common: {each.common})' for key, each in of.items())}"
            for name, of in substrate.differences.items()
        ),
        *synthesis_lines(substrate),
    ]


def synthesis_lines(substrate: Footing) -> list[str]:
    """A line for each machine whose circuits are priced by their synthesis: which are not."""
    return [
        f"  {name}: circuits by their synthesis; at published prices, beside memories: {', '.join(kept) or 'none'}"
        for name, kept in substrate.published.items()
    ]


def cost_columns(simulations: Sequence[Simulation | None]) -> list[Column]:
    """Cycles, latency, energy with its parts in the same unit, area, efficiency; a dash where there is no cost.

    Where a machine does not run everything, the share of multiply-accumulates that columns are of comes first.
    """

    def of(get: Callable[[Simulation], float | None]) -> list[float | None]:
        return [None if simulation is None else get(simulation) for simulation in simulations]

    def energy_of(part: str) -> list[float | None]:
        return of(lambda simulation: simulation.cost.energy_pj.get(part, 0))

    energy = of(lambda simulation: simulation.cost.total_energy_pj)
    parts = dict.fromkeys(part for simulation in simulations if simulation for part in simulation.cost.energy_pj)
    skips = any(simulation is not None and simulation.cost.macs_skipped for simulation in simulations)
    total, *of_parts = energies(energy, {part: energy_of(part) for part in parts})
    efficiency = of(lambda simulation: simulation.tops_per_watt)
    executed = of(lambda simulation: simulation.executed_share)
    costed = of(lambda simulation: simulation.supported_share)
    return [
        *([percents("costed", costed)] if any(share is not None and share < 1 for share in costed) else []),
        *ranked(CYCLES, quantity("cycles", of(lambda simulation: simulation.cost.cycles), "")),
        quantity("latency", of(lambda simulation: simulation.latency_us), "s", -6),
        *ranked(BUSY, percents("busy", of(lambda simulation: simulation.utilization))),
        *(ranked(BUSY, percents("executed", executed)) if skips else []),
        total,
        _largest_parts(simulations),
        *ranked(PARTS, *of_parts),
        *ranked(AREA, area_column("area", of(lambda simulation: simulation.area.total_um2))),
        *ranked(EFFICIENCY, Column(header="TOPS/W", cells=[number(each) for each in efficiency])),
    ]


def _largest_parts(simulations: Sequence[Simulation | None]) -> Column:
    """What energy goes to most, in percent of all."""

    def largest(simulation: Simulation | None) -> str:
        if simulation is None or not simulation.cost.total_energy_pj:
            return DASH
        found = sorted(simulation.cost.energy_pj.items(), key=lambda part: -part[1])[:LARGEST]
        whole = simulation.cost.total_energy_pj
        return ", ".join(f"{name.replace('_', ' ')} {number(100 * pj / whole, 2)}" for name, pj in found)

    cells = [largest(simulation) for simulation in simulations]
    return Column(header="of it [%]", cells=cells, right=False, rank=BRIEF, instead_of=PARTS)


def _print_sites(simulation: Simulation, console: "Console") -> None:
    """One line per site that the machine runs."""
    entries = simulation.sites
    shapes = [(e.site.groups, e.site.m, e.site.k, e.site.n) for e in entries]
    columns = [
        *ranked(BUSY, text("op", [entry.site.op for entry in entries])),
        *ranked(EFFICIENCY, text("groups x m x k x n", [" x ".join(map(str, shape)) for shape in shapes])),
        *ranked(CYCLES, text("x, w", [f"{entry.plan.x_type}, {entry.plan.w_type}" for entry in entries])),
        quantity("cycles", [entry.cost.cycles for entry in entries], ""),
        *ranked(BUSY, percents("busy", [simulation.utilization_of(entry.cost) for entry in entries])),
        quantity("energy", [entry.cost.total_energy_pj for entry in entries], "J", PICO),
        *ranked(CYCLES, quantity("DRAM", [_dram(entry.cost.traffic_bytes) for entry in entries], "B")),
    ]
    say(console, f"Sites on {simulation.accelerator}:")
    print_fitting([text("site", [entry.site.name for entry in entries])], columns, console)


def _dram(traffic_bytes: Mapping[str, float]) -> float:
    return traffic_bytes.get("dram_read", 0) + traffic_bytes.get("dram_write", 0)


def _print_unsupported(simulation: Simulation, console: "Console") -> None:
    """Entries with one reason together; nothing to say where a refusal said it all."""
    by_reason: dict[str, list[Unsupported]] = {}
    for entry in simulation.unsupported:
        if simulation.refusal is None or entry.kind == "operation":
            by_reason.setdefault(entry.reason, []).append(entry)
    if by_reason and simulation.refusal is None:
        share = number(100 * simulation.supported_share)
        say(console, f"{simulation.accelerator} runs {share} % of the multiply-accumulates; not in its figures:")
    for reason, entries in by_reason.items():
        names = [entry.name for entry in entries]
        rest = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
        percent = number(100 * sum(entry.share for entry in entries), 3)
        say(console, f"  {', '.join(names[:LISTED])}{rest}: {percent} % of the MACs: {reason}.")


def _print_others(simulation: Simulation, console: "Console") -> None:
    if simulation.others:
        names = [f"{other.name} {scaled(other.elements, '', digits=3)}" for other in simulation.others]
        rest = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
        say(
            console,
            "On the vector unit, or free (operators without products, output elements): "
            f"{', '.join(names[:LISTED])}{rest}.",
        )


def _print_parameters(simulations: Sequence[Simulation], console: "Console") -> None:
    for simulation in simulations:
        values = ", ".join(f"{key}={value}" for key, value in simulation.parameters.items())
        say(console, f"{simulation.accelerator}: {values}")
