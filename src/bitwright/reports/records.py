"""What things cost, as records for JSON: simulations, explanations, comparisons. Keys carry their unit.

Records are TypedDicts, of which `bitwright.reports.schema` makes their JSON Schema; `bitwright.reports.files.plain`
makes the values JSON's.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypedDict, cast

from bitwright.accelerators.cost import Area, Cost, EventLine
from bitwright.networks.sites import OtherOperation
from bitwright.reports.schema import Columns
from bitwright.studies.compare import Comparison, GainFigures
from bitwright.studies.cost_tables import TotalFigures
from bitwright.studies.explain import Explanation
from bitwright.studies.machines import Footing
from bitwright.studies.price_lists import PriceLine
from bitwright.studies.provenance import Provenance
from bitwright.studies.row import RowNames
from bitwright.studies.simulate import Simulation, SiteCost, Unsupported
from bitwright.tasks.evaluate import ScoreLine

ENERGY = Annotated[float, "energy of a part of the machine, in pJ"]
MOVED = Annotated[float, "bytes moved by memory and direction"]
FIGURE = Annotated[float, "a further figure of the task, by its name"]
FLAT = Columns(
    always=(RowNames, GainFigures),
    sometimes=(ScoreLine, TotalFigures),
    patterns={"^energy_[a-z0-9_]+_pj$": ENERGY, "^[a-z0-9_]+_(read|write)_bytes$": MOVED},
    others=FIGURE,
)


class CostRecord(TypedDict):
    """Of everything that ran; all null where nothing did, which did not cost nothing."""

    cycles: Annotated[int | None, "from the first DRAM read to the last DRAM write"]
    compute_cycles: Annotated[int | None, "cycles in which the array works, its own fill and drain included"]
    macs_executed: Annotated[int | None, "multiply-accumulates that are executed"]
    macs_skipped: Annotated[int | None, "multiply-accumulates of the dense product that are not"]
    latency_us: Annotated[float | None, "cycles by clock, in microseconds"]
    utilization: Annotated[float | None, "executed multiply-accumulates by the array's peak over all cycles, 0 .. 1"]
    energy_pj: Annotated[Mapping[str, float] | None, "by component, in pJ"]
    total_energy_pj: Annotated[float | None, "their sum, in pJ"]
    tops_per_watt: Annotated[float | None, "2 x dense multiply-accumulates per picojoule"]
    traffic_bytes: Annotated[Mapping[str, float] | None, "moved by memory and direction, in bytes"]
    unique_bytes: Annotated[int | None, "distinct bytes of operands and results: DRAM traffic is at least this"]


class AreaRecord(TypedDict):
    """Silicon area of the machine."""

    area_um2: Annotated[Mapping[str, float], "by component, in um2"]
    total_area_um2: Annotated[float, "their sum, in um2"]
    area_sources: Annotated[Mapping[str, str], "component -> where its figure comes from"]


class SiteFields(TypedDict):
    """A site: a product of x [groups, m, k] by w [groups, k, n]."""

    name: Annotated[str, "module path and, where one module makes several products, what it is"]
    op: Annotated[str, "linear, conv2d, matmul, attention_qk, ..."]
    m: Annotated[int, "rows of x, of each group"]
    k: Annotated[int, "the reduction axis"]
    n: Annotated[int, "columns of w"]
    groups: Annotated[int, "independent products"]
    macs: Annotated[int, "multiply-accumulates of all groups and runs"]
    x_type: Annotated[str, "number type of x"]
    w_type: Annotated[str, "number type of w"]


class CostedSite(SiteFields, CostRecord):
    """A site on a machine, all its runs in one inference."""

    x_vectors_skipped_share: Annotated[float | None, "of slice vectors of x, 0 .. 1; null where nobody counts them"]
    w_vectors_skipped_share: Annotated[float | None, "of slice vectors of w, 0 .. 1; null where nobody counts them"]
    class_shares: Annotated[Mapping[str, float], "bits of x x bits of w -> share of multiply-accumulates, 0 .. 1"]


class SimulationRecord(CostRecord, AreaRecord):
    """One network on one machine."""

    model: Annotated[str, "the network's name"]
    method: Annotated[str, "of quantization"]
    accelerator: Annotated[str, "the machine's name"]
    input: Annotated[str, "what the network ran on"]
    batch: Annotated[int, "samples in the one inference"]
    supported: Annotated[bool, "whether the machine runs any of it"]
    reason: Annotated[str | None, "why it runs nothing"]
    macs: Annotated[int, "multiply-accumulates of the whole network, run or not"]
    supported_share: Annotated[float, "of these, what the machine runs, 0 .. 1"]
    events: Annotated[list[EventLine], "everything that is priced"]
    unsupported: Annotated[Sequence[Unsupported], "what the machine does not run"]
    other_operations: Annotated[Sequence[OtherOperation], "what the network does beside its sites"]
    sites: Annotated[list[CostedSite], "in the order of execution"]
    parameters: Annotated[Mapping[str, Any], "of the machine"]
    notes: Annotated[Sequence[str], "what every report must say"]


class Made(TypedDict):
    """What a record was made with."""

    substrate: Annotated[Footing, "what the machines stand on"]
    provenance: Annotated[Provenance, "command, seed, versions"]


class OneMachineRecord(SimulationRecord, Made):
    """One network on one machine."""


class SeveralMachinesRecord(Made):
    """One network on several machines."""

    accelerators: Annotated[Mapping[str, SimulationRecord], "by the machine's name"]


class ExplanationRecord(AreaRecord, Made):
    """Where one site's cycles and energy come from."""

    model: Annotated[str, "the network's name"]
    method: Annotated[str, "of quantization"]
    accelerator: Annotated[str, "the machine's name"]
    site: Annotated[SiteFields, "which it is"]
    cycles: Annotated[int, "from the first DRAM read to the last DRAM write"]
    compute_cycles: Annotated[int, "cycles in which the array works"]
    cycles_by_cause: Annotated[
        Mapping[str, float], "busy (at the array's peak), array (fill, drain, idle edges), memory (waiting)"
    ]
    mapping: Annotated[Mapping[str, Any], "what the machine itself tells: tiles, loop order, bound"]
    energy_pj: Annotated[Mapping[str, float], "by component, in pJ"]
    total_energy_pj: Annotated[float, "their sum, in pJ"]
    events: Annotated[list[EventLine], "everything that is priced"]
    prices: Annotated[Sequence[PriceLine], "where published and synthesized prices are 1.5 times apart or more"]
    traffic_bytes: Annotated[Mapping[str, float], "moved by memory and direction, in bytes"]
    unique_bytes: Annotated[int, "distinct bytes of operands and result"]
    parameters: Annotated[Mapping[str, Any], "of the machine"]
    input: Annotated[str, "what the network ran on"]
    notes: Annotated[Sequence[str], "what every report must say"]


class Missing(TypedDict):
    """What a row lacks."""

    unsupported: Annotated[Sequence[Unsupported] | None, "what the machine does not run"]


class ComparedWith(Made):
    """What all rows of a comparison were made with."""

    left_out: Annotated[int, "pairs of a method and an accelerator that do not fit, and that nobody asked for by name"]
    parameters: Annotated[Mapping[str, Mapping[str, Any]], "of every machine"]
    sources: Annotated[Mapping[str, Mapping[str, str]], "machine -> event or area -> where its figure comes from"]
    notes: Annotated[Sequence[str], "what every report must say"]


class ComparisonRecord(ComparedWith):
    """Networks x methods x accelerators."""

    rows: Annotated[
        Sequence[Annotated[Mapping[str, Any], dataclasses.replace(FLAT, always=(*FLAT.always, Missing))]],
        "one each; what a row does not have is null",
    ]


def simulation_record(simulation: Simulation) -> SimulationRecord:
    """One network on one machine, its figures at the top level and its sites in a list."""
    refusal = simulation.refusal
    return {
        "model": simulation.network,
        "method": simulation.method,
        "accelerator": simulation.accelerator,
        "input": simulation.input,
        "batch": simulation.batch,
        "supported": refusal is None,
        "reason": refusal,
        "macs": simulation.macs,
        "supported_share": simulation.supported_share,
        **_cost_record(simulation, simulation.cost if refusal is None else None),
        "events": [] if refusal else simulation.cost.event_records(),
        **area_record(simulation.area),
        "unsupported": simulation.unsupported,
        "other_operations": simulation.others,
        "sites": [_site_record(simulation, entry) for entry in simulation.sites],
        "parameters": simulation.parameters,
        "notes": simulation.notes,
    }


def _cost_record(simulation: Simulation, cost: Cost | None) -> CostRecord:
    """A cost's figures; all null where nothing ran, which did not cost nothing."""
    if cost is None:
        return cast(CostRecord, dict.fromkeys(CostRecord.__annotations__))
    return {
        "cycles": cost.cycles,
        "compute_cycles": cost.compute_cycles,
        "macs_executed": cost.macs_executed,
        "macs_skipped": cost.macs_skipped,
        "latency_us": simulation.latency_us_of(cost),
        "utilization": simulation.utilization_of(cost),
        "energy_pj": cost.energy_pj,
        "total_energy_pj": cost.total_energy_pj,
        "tops_per_watt": simulation.tops_per_watt_of(cost),
        "traffic_bytes": cost.traffic_bytes,
        "unique_bytes": cost.unique_bytes,
    }


def _site_record(simulation: Simulation, entry: SiteCost) -> CostedSite:
    return {
        **site_fields(entry),
        **_cost_record(simulation, entry.cost),
        "x_vectors_skipped_share": entry.shares.x_skipped,
        "w_vectors_skipped_share": entry.shares.w_skipped,
        "class_shares": entry.shares.classes,
    }


def site_fields(entry: SiteCost) -> SiteFields:
    """A site's name, shape and number types."""
    site, plan = entry.site, entry.plan
    return {
        "name": site.name,
        "op": site.op,
        "m": site.m,
        "k": site.k,
        "n": site.n,
        "groups": site.groups,
        "macs": site.macs,
        "x_type": plan.x_type,
        "w_type": plan.w_type,
    }


def area_record(area: Area) -> AreaRecord:
    """Area by component, its sum, and where the figures come from."""
    return {
        "area_um2": area.components_um2,
        "total_area_um2": area.total_um2,
        "area_sources": area.sources,
    }


def simulations_record(
    simulations: Mapping[str, Simulation], substrate: Footing, made: Provenance
) -> OneMachineRecord | SeveralMachinesRecord:
    """One machine's record itself, or several under `accelerators`."""
    records = {name: simulation_record(simulation) for name, simulation in simulations.items()}
    common: Made = {"substrate": substrate, "provenance": made}
    if len(records) == 1:
        return {**next(iter(records.values())), **common}
    return {"accelerators": records, **common}


def explanation_record(explanation: Explanation, made: Provenance) -> ExplanationRecord:
    """Where one site's cycles and energy come from."""
    cost = explanation.entry.cost
    return {
        "model": explanation.network,
        "method": explanation.method,
        "accelerator": explanation.accelerator,
        "site": site_fields(explanation.entry),
        "cycles": cost.cycles,
        "compute_cycles": cost.compute_cycles,
        "cycles_by_cause": explanation.cycles,
        "mapping": explanation.mapping,
        "energy_pj": cost.energy_pj,
        "total_energy_pj": cost.total_energy_pj,
        "events": cost.event_records(),
        "prices": explanation.prices,
        "traffic_bytes": cost.traffic_bytes,
        "unique_bytes": cost.unique_bytes,
        **area_record(explanation.area),
        "parameters": explanation.parameters,
        "substrate": explanation.substrate,
        "input": explanation.input,
        "notes": explanation.notes,
        "provenance": made,
    }


def comparison_record(comparison: Comparison) -> ComparisonRecord:
    """All rows with what they were made with, and the source of every price."""
    found = comparison.records()
    keys = list(dict.fromkeys(key for record in found for key in record))
    rows = [
        {**dict.fromkeys(keys), **record, "unsupported": row.simulation.unsupported if row.simulation else None}
        for row, record in zip(comparison.rows, found, strict=True)
    ]
    return {"rows": rows, **compared_with(comparison)}


def compared_with(comparison: Comparison) -> ComparedWith:
    """What all rows were made with, and the source of every price."""
    return {
        "left_out": comparison.left_out,
        "parameters": comparison.parameters,
        "substrate": comparison.substrate,
        "sources": _sources(comparison),
        "notes": notes_of(comparison),
        "provenance": comparison.provenance,
    }


def notes_of(comparison: Comparison) -> list[str]:
    """What every report on it must say, each once."""
    plans = [note for row in comparison.rows if row.evaluation for note in row.evaluation.plan.notes]
    costs = [note for row in comparison.rows if row.simulation for note in row.simulation.notes]
    return list(dict.fromkeys([*plans, *costs]))


def _sources(comparison: Comparison) -> dict[str, dict[str, str]]:
    sources: dict[str, dict[str, str]] = {}
    for row in comparison.rows:
        if row.simulation is not None:
            found = sources.setdefault(row.accelerator, {})
            found |= {f"{event.component}: {event.name}": event.source for event in row.simulation.cost.events}
            found |= {f"area: {part}": source for part, source in row.simulation.area.sources.items()}
    return sources
