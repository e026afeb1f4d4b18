"""Costs as tables: a network on one or several machines, its sites, and what the machines do not run."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bitwright.reports.tables import (
    PICO,
    Column,
    area_column,
    energies,
    percents,
    print_spread,
    quantity,
    say,
    table,
    text,
)
from bitwright.reports.units import number, scaled
from bitwright.studies.machines import COMMON, Footing
from bitwright.studies.simulate import Simulation, Unsupported

if TYPE_CHECKING:
    from rich.console import Console

LISTED = 12  # lines of a list that may be long


def print_simulations(
    simulations: Mapping[str, Simulation], substrate: Footing, console: "Console", *, sites: bool
) -> None:
    """All machines side by side, then what each leaves out, and the sites if asked for."""
    found = list(simulations.values())
    first = found[0]
    say(
        console,
        f"{first.network}, method {first.method}: one inference of {scaled(first.macs, 'MACs')} on {first.input}.",
    )
    running = [simulation for simulation in found if simulation.refusal is None]
    if running:
        names = text("accelerator", [simulation.accelerator for simulation in running])
        print_spread([names], cost_columns(running), console)
    for simulation in found:
        if simulation.refusal is not None:
            say(console, f"{simulation.accelerator}: not supported: {simulation.refusal}.")
        _print_unsupported(simulation, console)
    _print_others(first, console)
    if sites:
        for simulation in running:
            console.print(site_table(simulation))
    say(console, *substrate_lines(substrate))
    _print_parameters(found, console)
    say(console, *(f"Note: {note}" for note in first.notes))


def substrate_lines(substrate: Footing) -> list[str]:
    """Which substrate the machines stand on, and a line for each that differs from the common one."""
    common = substrate.name == COMMON
    first = "the machines' defaults" if common else "each machine's published configuration"
    return [
        f"Substrate: {substrate.name} ({first}).",
        *(
            f"  {name}: {', '.join(f'{key}={each.value} (common: {each.common})' for key, each in of.items())}"
            for name, of in substrate.differences.items()
        ),
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
    executed = of(lambda simulation: simulation.executed_share)
    costed = of(lambda simulation: simulation.supported_share)
    return [
        *([percents("costed", costed)] if any(share is not None and share < 1 for share in costed) else []),
        quantity("cycles", of(lambda simulation: simulation.cost.cycles), ""),
        quantity("latency", of(lambda simulation: simulation.latency_us), "s", -6),
        percents("busy", of(lambda simulation: simulation.utilization)),
        *([percents("executed", executed)] if skips else []),
        *energies(energy, {part: energy_of(part) for part in parts}),
        area_column("area", of(lambda simulation: simulation.area.total_um2)),
        Column(header="TOPS/W", cells=[number(value) for value in of(lambda simulation: simulation.tops_per_watt)]),
    ]


def site_table(simulation: Simulation) -> Any:
    """One line per site that the machine runs."""
    entries = simulation.sites
    shapes = [(e.site.groups, e.site.m, e.site.k, e.site.n) for e in entries]
    return table(
        [
            text("site", [entry.site.name for entry in entries]),
            text("op", [entry.site.op for entry in entries]),
            text("groups x m x k x n", [" x ".join(map(str, shape)) for shape in shapes]),
            text("x, w", [f"{entry.plan.x_type}, {entry.plan.w_type}" for entry in entries]),
            quantity("cycles", [entry.cost.cycles for entry in entries], ""),
            percents("busy", [simulation.utilization_of(entry.cost) for entry in entries]),
            quantity("energy", [entry.cost.total_energy_pj for entry in entries], "J", PICO),
            quantity("DRAM", [_dram(entry.cost.traffic_bytes) for entry in entries], "B"),
        ],
        title=f"Sites on {simulation.accelerator}",
    )


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
