"""Costs as lines of tables: by site, by component, by both, by priced event, and in total; units in the columns' names.

Each line begins with what it is of: network, method and machine.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from bitwright.accelerators.cost import Area, Cost, EventLine
from bitwright.shown import Table

if TYPE_CHECKING:
    from bitwright.studies.simulation import Simulation


class Named(TypedDict):
    """Something of a network by a method on a machine."""

    network: Annotated[str, "its name"]
    method: Annotated[str, "of quantization, or the name of a saved plan"]
    accelerator: Annotated[str, "the machine's name"]


class CostFigures(TypedDict):
    """What something costs; further columns are energies by component (`energy_dram_pj`) and bytes moved by place."""

    cycles: Annotated[int, "from the first DRAM read to the last DRAM write"]
    compute_cycles: Annotated[int, "cycles in which the array works, its own fill and drain included"]
    utilization: Annotated[float | None, "executed multiply-accumulates by the array's peak over all cycles, 0 .. 1"]
    latency_us: Annotated[float, "cycles by clock, in microseconds"]
    total_energy_pj: Annotated[float, "of everything, in pJ"]


class TotalFigures(CostFigures):
    """A network on a machine."""

    input: Annotated[str, "what the network ran on"]
    macs: Annotated[int, "multiply-accumulates of the whole network, run or not"]
    supported_share: Annotated[float, "of these, what the machine runs, 0 .. 1"]
    executed_share: Annotated[float | None, "multiply-accumulates executed by those of the dense products, 0 .. 1"]
    area_um2: Annotated[float, "of the machine, in um2"]
    tops_per_watt: Annotated[float | None, "2 x dense multiply-accumulates per picojoule"]


class SiteLine(Named, CostFigures):
    """A site of a network on a machine, all its runs in one inference."""

    site: Annotated[str, "its name"]
    op: Annotated[str, "linear, conv2d, matmul, attention_qk, ..."]
    groups: Annotated[int, "independent products"]
    m: Annotated[int, "rows of x, of each group"]
    k: Annotated[int, "the reduction axis"]
    n: Annotated[int, "columns of w"]
    runs: Annotated[int, "how often it runs in one inference"]
    macs: Annotated[int, "multiply-accumulates of all groups and runs, skipped ones included"]
    x_type: Annotated[str, "number type of x"]
    w_type: Annotated[str, "number type of w"]
    bound: Annotated[str, "the resource that is busiest: array, banks or dram"]


class PartLine(TypedDict):
    """A part of a machine."""

    component: Annotated[str, "its name"]
    energy_pj: Annotated[float | None, "that it takes, in pJ"]
    energy_share: Annotated[float | None, "of all energy, 0 .. 1"]
    area_um2: Annotated[float | None, "in um2"]
    area_source: Annotated[str | None, "where the area comes from"]


class ComponentLine(Named, PartLine):
    """A part of a machine, with its energy of one inference."""


class SiteComponentLine(Named):
    """A part of a machine at a site."""

    site: Annotated[str, "its name"]
    component: Annotated[str, "its name"]
    energy_pj: Annotated[float, "of one inference, in pJ"]


class MachineEventLine(Named, EventLine):
    """A priced event of a network on a machine."""


class TotalLine(Named):
    """A network on a machine; the figures of its cost follow where it has one."""

    status: Annotated[str, "ok, partial or unsupported"]
    reason: Annotated[str, "why sites, or all of them, are missing; empty otherwise"]


Line = dict[str, Any]
Costed = Iterable[tuple[Named, "Simulation"]]
"""Simulations, each with what its lines begin with."""


def cost_tables(costed: Callable[[Any], Costed], first: str = "sites") -> dict[str, Table]:
    """The tables of a result that has simulations, one of them first."""

    def table(line: type, lines_of: Callable[[Named, "Simulation"], Iterable[Mapping[str, Any]]]) -> Table:
        return Table(line, lambda result: itertools.chain.from_iterable(lines_of(*each) for each in costed(result)))

    tables = {
        "sites": table(SiteLine, _sites),
        "components": table(ComponentLine, _components),
        "site_components": table(SiteComponentLine, _site_components),
        "events": table(MachineEventLine, _events),
        "total": table(TotalLine, _totals),
    }
    return {first: tables[first], **tables}


def names_of(simulation: "Simulation") -> Named:
    """What it is of."""
    return {"network": simulation.network, "method": simulation.method, "accelerator": simulation.accelerator}


def total_figures(simulation: "Simulation") -> Line:
    """What a network costs on a machine, energies by component and bytes by place included."""
    cost = simulation.cost
    figures: TotalFigures = {
        "input": simulation.input,
        "macs": simulation.macs,
        "supported_share": simulation.supported_share,
        **_figures(simulation, cost),
        "executed_share": simulation.executed_share,
        "area_um2": simulation.area.total_um2,
        "tops_per_watt": simulation.tops_per_watt,
    }
    return {**figures, **_parts(cost)}


def _totals(names: Named, simulation: "Simulation") -> Iterator[Line]:
    refusal = simulation.refusal
    if refusal is not None:
        yield {**names, "status": "unsupported", "reason": refusal}
        return
    status = "partial" if simulation.left_out else "ok"
    yield {**names, "status": status, "reason": simulation.left_out, **total_figures(simulation)}


def _events(names: Named, simulation: "Simulation") -> Iterator[MachineEventLine]:
    for event in simulation.cost.event_records():
        yield {**names, **event}


def _sites(names: Named, simulation: "Simulation") -> Iterator[Line]:
    for entry in simulation.sites:
        site, cost = entry.site, entry.cost
        line: SiteLine = {
            **names,
            "site": site.name,
            "op": site.op,
            "groups": site.groups,
            "m": site.m,
            "k": site.k,
            "n": site.n,
            "runs": site.count,
            "macs": cost.macs_dense,
            "x_type": entry.plan.x_type,
            "w_type": entry.plan.w_type,
            "bound": cost.bound,
            **_figures(simulation, cost),
        }
        yield {**line, **_parts(cost)}


def part_lines(cost: Cost, area: Area) -> Iterator[PartLine]:
    """Parts that have an energy, an area or both: those of events, then the other parts of the bill."""
    energy, whole = cost.energy_pj, cost.total_energy_pj or 1.0
    for name in dict.fromkeys((*energy, *area.components_um2)):
        yield {
            "component": name,
            "energy_pj": energy.get(name),
            "energy_share": energy[name] / whole if name in energy else None,
            "area_um2": area.components_um2.get(name),
            "area_source": area.sources.get(name),
        }


def _components(names: Named, simulation: "Simulation") -> Iterator[ComponentLine]:
    for part in part_lines(simulation.cost, simulation.area):
        yield {**names, **part}


def _site_components(names: Named, simulation: "Simulation") -> Iterator[SiteComponentLine]:
    for entry in simulation.sites:
        for component, energy in entry.cost.energy_pj.items():
            yield {**names, "site": entry.site.name, "component": component, "energy_pj": energy}


def _figures(simulation: "Simulation", cost: Cost) -> CostFigures:
    return {
        "cycles": cost.cycles,
        "compute_cycles": cost.compute_cycles,
        "utilization": simulation.utilization_of(cost),
        "latency_us": simulation.latency_us_of(cost),
        "total_energy_pj": cost.total_energy_pj,
    }


def _parts(cost: Cost) -> Line:
    return {
        **{f"energy_{component}_pj": energy for component, energy in cost.energy_pj.items()},
        **{f"{place}_bytes": moved for place, moved in cost.traffic_bytes.items()},
    }
